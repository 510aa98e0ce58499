"""The trust material that policies name, whoever has it: files, mirrors, KMS, objects of the cluster."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webhook.evidence.model import Signer, SignerKind
from webhook.policy.model import PolicySet
from webhook.trust.at_hand import Trust
from webhook.trust.keys import KeySource
from webhook.trust.kms import KMSKey
from webhook.trust.root import PUBLIC_GOOD, RootSource
from webhook.trust.sources import TrustSource

if TYPE_CHECKING:
    from webhook.installation import Installation


@dataclass(frozen=True, slots=True)
class Material:
    """What policies name, and who has it."""

    roots: TrustSource
    keys: KeySource
    installed: Installation | None

    def parts(self) -> tuple[Trust, ...]:
        """What each source has at hand now: another value where anything of it changed."""
        objects = (self.installed.objects.current,) if self.installed else ()
        return (self.roots.current, self.keys.current, *objects)

    def look_for(self, policies: PolicySet) -> None:
        """What `policies` name was looked for, before they are in force."""
        signers = [signer for policy in policies.policies for signer in policy.signers]
        self.roots.use(_roots_of(signers))
        self.keys.use(signer.material for signer in signers if isinstance(signer.material, KMSKey))
        if self.installed:
            self.installed.look_for(signers)


class AtHand:
    """All that is at hand, joined anew only where something changed: most reviews find what the last one found."""

    def __init__(self, material: Material) -> None:
        self._material, self._joined = material, Trust()
        self._parts: tuple[Trust, ...] = ()

    def __call__(self) -> Trust:
        parts = self._material.parts()
        if len(parts) != len(self._parts) or any(new is not old for new, old in zip(parts, self._parts, strict=True)):
            self._parts, self._joined = parts, functools.reduce(operator.or_, parts)
        return self._joined


def _roots_of(signers: Sequence[Signer]) -> Iterator[RootSource]:
    """The roots that are needed. A key for which no log is demanded makes do with the one that is shipped."""
    return (
        signer.trust_root
        for signer in signers
        if signer.trust_root is not None
        and (signer.kind is SignerKind.KEYLESS or signer.require_log or signer.trust_root != PUBLIC_GOOD)
    )
