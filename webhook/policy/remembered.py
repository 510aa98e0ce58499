"""Signers that verified a digest before, and count for it once more while its registry cannot answer.

What is remembered is who they were, as `Signer.known_as` says; not what they signed along, when, or by which
certificate. Where that would matter, what was before counts for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from webhook.evidence.model import Signer, SignerKind
from webhook.policy import counting
from webhook.policy.decision import Blocked
from webhook.policy.model import Rule

KNOWN_IDENTITY = "some identity"  # which it was is not remembered: it is one material for all of them
KNOWN_CERTIFICATE = "some certificate"


def match(
    rule: Rule, offered: Mapping[Signer, Collection[str]], known: frozenset[str], blocked: Blocked
) -> tuple[Signer, ...]:
    """The signers that verified now, as `offered` says, or before."""
    if rule.attestations or rule.annotations or rule.max_age is not None:
        return ()
    identified = any(materials for signer, materials in offered.items() if signer.kind is SignerKind.KEYLESS)
    found = {signer: set(materials) for signer, materials in offered.items()}
    for signer, materials in found.items():
        if signer.known_as not in known or blocked.certificates or blocked.log_indices:
            continue
        if material := counting.sole_material(signer):
            # Of a profile it is not remembered with which key it signed
            is_free = signer.fingerprint not in blocked.keys if signer.fingerprint else not blocked.keys
            materials.update([material] if is_free else [])
        elif signer.kind is SignerKind.KEYLESS and not blocked.keys and not identified:
            materials.add(KNOWN_IDENTITY)
        elif signer.kind is SignerKind.CERTIFICATE and not blocked.keys and counting.needed(rule) == 1:
            materials.add(KNOWN_CERTIFICATE)  # its key may be another signer's too, and be counted twice
    return counting.match(found)
