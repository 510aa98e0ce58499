"""An image decision seen from its evidence: the places asked, each signature once, what every signer makes of it.

A decision is sorted by policy, since that is how it is made; a person asks what lies beside the image. Both the text
and the document of `verify` are written from these values, so that they cannot tell two stories.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from webhook.errors import Code
from webhook.evidence.model import Evidence, Outcome
from webhook.policy.decision import ImageDecision, Result


class Ending(StrEnum):
    """How a verification ends, and for whom: the exit code is the position."""

    ADMITTED = "admitted"
    DENIED = "denied"
    COULD_NOT_TELL = "could_not_tell"

    @property
    def exit_code(self) -> int:
        return tuple(Ending).index(self)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature that was found, and what became of it for each signer it was held against."""

    evidence: Evidence
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One verification from the outside: `decision`, how long it took, and how often a registry was asked."""

    decision: ImageDecision
    namespace: str
    seconds: float
    requests: int

    @property
    def ending(self) -> Ending:
        match self.decision.result:
            case Result.DENIED:
                return Ending.DENIED
            case Result.ERROR:
                return Ending.COULD_NOT_TELL
            case _:
                return Ending.ADMITTED

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """In the order in which they were found."""
        found: list[tuple[Evidence, list[Outcome]]] = []
        for outcome in _distinct(self.decision):
            if outcome.evidence is None:
                continue
            same = next((outcomes for evidence, outcomes in found if evidence == outcome.evidence), None)
            if same is None:
                found.append((outcome.evidence, [outcome]))
            else:
                same.append(outcome)
        return tuple(Signature(evidence, tuple(outcomes)) for evidence, outcomes in found)

    @property
    def problems(self) -> tuple[Outcome, ...]:
        """What could not become a signature: a place, a manifest or a layer that could not be had, or was wrong."""
        return tuple(
            outcome
            for outcome in _distinct(self.decision)
            if outcome.evidence is None and outcome.signer is None and outcome.code is not Code.NO_SIGNATURE
        )


def _distinct(decision: ImageDecision) -> list[Outcome]:
    """Each outcome once: several policies may have looked at the same one."""
    distinct: list[Outcome] = []
    for policy in decision.policies:
        distinct += [outcome for outcome in policy.outcomes if outcome not in distinct]
    return distinct
