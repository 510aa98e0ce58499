"""What of a decision rests on answers that are older than they should be, since nobody gave newer ones.

For how long such answers may stand in is for who keeps them; here they are only found, so that records, metrics and the
API server's audit log can tell them. Nothing is decided by it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from webhook.evidence.model import Outcome, Verdict
from webhook.evidence.unsettled import STALE
from webhook.policy.decision import ImageDecision, Stale
from webhook.trust.at_hand import Trust
from webhook.trust.kms import KMSKey


def told(image: ImageDecision, trust: Trust, *, presence: str = "") -> ImageDecision:
    """`image`, with what stands in for newer answers. `trust` is what was at hand; `presence` says since when its
    evidence was not seen in its registry, and why, and is empty where it was seen now."""
    stale = {Stale.PRESENCE: presence} if presence else {}
    for outcome in _counted(image):
        stale |= _of(outcome, trust)
    return replace(image, stale=stale) if stale else image


def _counted(image: ImageDecision) -> Iterator[Outcome]:
    for decision in image.policies:
        for outcome in decision.outcomes:
            attested = outcome.verdict is Verdict.ATTESTED
            if outcome.signer is not None and (attested or outcome.signer.name in decision.counted):
                yield outcome


def _of(outcome: Outcome, trust: Trust) -> Mapping[Stale, str]:
    assert outcome.signer is not None
    material = outcome.signer.material
    found = {
        Stale.REVOCATION: outcome.facts.get(STALE, ""),
        Stale.KEY: trust.stale_keys.get(material, "") if isinstance(material, KMSKey) else "",
    }
    return {kind: said for kind, said in found.items() if said}
