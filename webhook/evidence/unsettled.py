"""An outcome that stands only if nothing was revoked: what has to be asked first, and what the answers make of it.

Whoever judges evidence cannot ask, and whoever asks does not judge; so what is verified but for revocation is no
outcome yet, and nobody can count it by forgetting to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from webhook.errors import Code, CountersignError, InconclusiveError, RejectedError
from webhook.evidence import model
from webhook.evidence.model import Outcome
from webhook.trust.notary.inquiry import Inquiry, Standing, Status
from webhook.trust.notary.levels import Action, Check

STALE = "revocationStale"  # the fact that the answer was one of before, and why


@dataclass(frozen=True, slots=True)
class Ask:
    """`action` is ENFORCE or LOG: what becomes of it where something was revoked, or nobody can say. `check` is
    REVOCATION, or AUTHENTIC_TIMESTAMP for the chain of a timestamp authority."""

    check: Check
    action: Action
    inquiry: Inquiry


@dataclass(frozen=True, slots=True)
class Unsettled:
    """`outcome` is verified, if all that is asked turns out well."""

    outcome: Outcome
    asks: tuple[Ask, ...]


def settle(unsettled: Unsettled, answers: Mapping[Inquiry, Status]) -> Outcome:
    """What becomes of it by the answers; one that is missing is unknown."""
    outcome = unsettled.outcome
    facts, notes = dict(outcome.facts), list(outcome.notes)
    for ask in unsettled.asks:
        status = answers.get(ask.inquiry) or Status(Standing.UNKNOWN, "nobody was asked whether it was revoked")
        failure = _failure(ask, status)
        if failure is None:
            facts.setdefault(ask.check.value, "ok")
            if status.stale:
                facts[STALE] = status.stale
            continue
        facts[ask.check.value] = said = f"{failure.code}: {failure.detail}"
        if ask.action is Action.ENFORCE:
            failed = model.failed(failure, signer=outcome.signer, evidence=outcome.evidence, place=outcome.place)
            return replace(failed, facts=facts)
        notes.append(said)
    return replace(outcome, facts=facts, notes=tuple(notes))


def _failure(ask: Ask, status: Status) -> CountersignError | None:
    whose = "timestamp authority: " if ask.check is Check.AUTHENTIC_TIMESTAMP else ""
    match status.standing:
        case Standing.GOOD:
            return None
        case Standing.REVOKED:
            # Notary Project, trust policy: a revoked timestamp authority makes its timestamps wrong
            code = Code.TIME_INVALID if whose else Code.REVOKED
            return RejectedError(code, f"{whose}{status.detail}")
    return InconclusiveError(Code.REVOCATION_UNKNOWN, f"{whose}{status.detail}")
