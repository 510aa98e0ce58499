"""The five checks of a Notary Project signature, and what becomes of each one's failure.

spec: Notary Project, trust store and trust policy specification, signature verification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from webhook.trust.notary.stores import TrustStore
from webhook.trust.notary.subject import Subject


class Check(StrEnum):
    INTEGRITY = "integrity"
    AUTHENTICITY = "authenticity"
    AUTHENTIC_TIMESTAMP = "authenticTimestamp"
    EXPIRY = "expiry"
    REVOCATION = "revocation"


class Action(StrEnum):
    """What a check's failure does: it ends the signature, it is recorded, or the check is not made."""

    ENFORCE = "enforce"
    LOG = "log"
    SKIP = "skip"


class Level(StrEnum):
    STRICT = "strict"
    PERMISSIVE = "permissive"
    AUDIT = "audit"
    SKIP = "skip"


class VerifyTimestamp(StrEnum):
    """When the countersignature of a timestamp authority is looked at."""

    ALWAYS = "always"
    AFTER_CERT_EXPIRY = "afterCertExpiry"


Actions = tuple[tuple[Check, Action], ...]  # one for each check, in the order of `Check`


@dataclass(frozen=True, slots=True)
class CertificateRule:
    """Whose Notary Project signatures are believed: chains with a certificate of `stores` (of the type `ca` or
    `signingAuthority`), whose leaf has one of `subjects`.

    `subjects` is empty where any subject will do, which a policy says in so many words. `timestamp_stores` are of the
    type `tsa`; without one no countersignature is looked at.

    Raises: ValueError: a check is skipped that never may be.
    """

    stores: tuple[TrustStore, ...]
    subjects: tuple[Subject, ...]
    actions: Actions
    timestamp_stores: tuple[TrustStore, ...] = ()
    verify_timestamp: VerifyTimestamp = VerifyTimestamp.ALWAYS

    def __post_init__(self) -> None:
        actions = dict(self.actions)
        if actions[Check.INTEGRITY] is not Action.ENFORCE:
            raise ValueError("integrity is enforced whatever the level")
        if any(action is Action.SKIP for check, action in self.actions if check is not Check.REVOCATION):
            raise ValueError("revocation is the only check that may be skipped alone")

    def with_stores(self, find: Callable[[TrustStore], TrustStore]) -> Self:
        """The same rule, with what `find` finds in the place of each store."""
        clocks = tuple(map(find, self.timestamp_stores))
        return replace(self, stores=tuple(map(find, self.stores)), timestamp_stores=clocks)

    @property
    def terms(self) -> tuple[str, ...]:
        """All by which another rule may judge the same signature otherwise."""
        stores = (f"{one} {one.fingerprint}" for one in (*self.stores, *self.timestamp_stores))
        actions = (f"{check} {action}" for check, action in self.actions)
        return (*map(str, self.subjects), *stores, *actions, self.verify_timestamp.value)

    def __str__(self) -> str:
        whose = " or ".join(map(str, self.subjects)) or "any subject"
        return f"{whose} under {', '.join(map(str, self.stores))}"


def actions_of(level: Level, override: Mapping[Check, Action] = MappingProxyType({})) -> Actions:
    """The action of each check under `level`, with `override` over it; what may be overridden is for the policy.

    spec: signature verification details, level and override.
    """
    actions = {**_ACTIONS[level], **override}
    return tuple((check, actions[check]) for check in Check)


_ENFORCED, _LOGGED = dict.fromkeys(Check, Action.ENFORCE), dict.fromkeys(Check, Action.LOG)
_ACTIONS: Mapping[Level, Mapping[Check, Action]] = {
    Level.STRICT: _ENFORCED,
    Level.PERMISSIVE: {**_LOGGED, Check.INTEGRITY: Action.ENFORCE, Check.AUTHENTICITY: Action.ENFORCE},
    Level.AUDIT: {**_LOGGED, Check.INTEGRITY: Action.ENFORCE},
    Level.SKIP: dict.fromkeys(Check, Action.SKIP),
}
