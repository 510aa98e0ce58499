"""Which of several reasons is shown, and what is told of each signer.

Many pieces of evidence may have failed in many ways. The one that came furthest speaks for all, with counts, and the
choice is the same in whatever order the outcomes arrived. Only for people and records: nothing is admitted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from webhook.errors import Code
from webhook.evidence.model import Outcome, Signer, Verdict
from webhook.policy.decision import PolicyDecision, Result, SignerLine

# Of several reasons the one that came furthest is shown. A code that is not listed counts as the least.
RANK: Mapping[Code, int] = {
    code: place
    for place, code in enumerate(
        (
            Code.NO_SIGNATURE,
            Code.UNSUPPORTED,
            Code.MALFORMED,
            Code.LIMIT_EXCEEDED,
            Code.SIGNATURE_INVALID,
            Code.CLAIM_MISMATCH,
            Code.SUBJECT_MISMATCH,
            Code.NOT_ENOUGH_SIGNERS,
            Code.NO_POLICY,
            Code.TAG_NOT_ALLOWED,
            Code.REFERENCE_INVALID,
            Code.TOO_MANY_REFERENCES,
            # What could not be examined: the more it takes to mend it, the further on.
            Code.OVERLOADED,
            Code.DEADLINE_EXCEEDED,
            Code.RATE_LIMITED,
            Code.REGISTRY_UNAVAILABLE,
            Code.INTERNAL_ERROR,
            Code.ACCESS_DENIED,
            Code.POLICY_UNAVAILABLE,
            # What makes every other reason beside the point.
            Code.HOST_REFUSED,
            Code.IMAGE_NOT_FOUND,
            Code.REGISTRY_VIOLATION,
            Code.BLOCKED,
        )
    )
}
NOT_EXAMINED = Outcome(Verdict.INCONCLUSIVE, Code.INTERNAL_ERROR, "the image was not examined")
NOT_FOUND = "nothing signed with this key was found for this digest"


def signer_lines(decision: PolicyDecision) -> tuple[SignerLine, ...]:
    """For each signer of the rule, in its order, what became of it."""
    return tuple(_line(signer, decision) for signer in decision.signers)


def most_telling(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The one that came furthest; among equals always the same, in whatever order they arrived."""
    return max((o for o in outcomes if o.code is not None), key=_standing, default=None)


def rank(code: Code | None) -> int:
    """How far a reason is from "nothing was there"; the higher is shown."""
    return RANK.get(code, 0) if code is not None else -1


def _standing(outcome: Outcome) -> tuple[int, str, str]:
    return rank(outcome.code), outcome.signer.name if outcome.signer else "", outcome.detail


def _line(signer: Signer, decision: PolicyDecision) -> SignerLine:
    if signer.name in decision.barred:
        return SignerLine(signer.name, Code.BLOCKED, decision.barred[signer.name])
    own = [o for o in decision.outcomes if o.signer is None or o.signer.identity == signer.identity]
    verified = min((o.detail for o in own if o.verdict is Verdict.VERIFIED and o.signer is not None), default=None)
    if verified is not None:
        return SignerLine(signer.name, None, verified)
    cause = most_telling([o for o in own if o.verdict is Verdict.INCONCLUSIVE]) or most_telling(own)
    if cause is None or cause.code is Code.NO_SIGNATURE:
        return SignerLine(signer.name, Code.NO_SIGNATURE, NOT_FOUND)
    return SignerLine(signer.name, cause.code, tell(cause, own))


def tell(telling: Outcome, outcomes: Sequence[Outcome]) -> str:
    """What `telling` says, and of how many of `outcomes` it is the best."""
    if telling.verdict is Verdict.INCONCLUSIVE or telling.evidence is None:
        return telling.detail
    cut = most_telling(o for o in outcomes if o.code is Code.LIMIT_EXCEEDED and o.evidence is None)
    return _counted(telling, outcomes) + (f"; not everything was examined: {cut.detail}" if cut else "")


def _counted(telling: Outcome, outcomes: Sequence[Outcome]) -> str:
    # By the piece of evidence: it was held against each name under which a policy knows the same key.
    pieces = {id(o.evidence): o.code for o in outcomes if o.evidence is not None and o.verdict is Verdict.REJECTED}
    counts, total = Counter(pieces.values()), len(pieces)
    found = f"{total} cosign signature{'s' if total > 1 else ''} found"
    if set(counts) == {Code.SIGNATURE_INVALID}:
        _, mark, hint = telling.detail.partition("; ")
        return f"{found}, {'none verifies' if total > 1 else 'it does not verify'} with this key{mark}{hint}"
    if total == 1:
        return telling.detail
    listed = ", ".join(f"{counts[code]} {code}" for code in sorted(counts, key=rank, reverse=True))
    return f"{found}: {listed}: {telling.detail}"


def worst_first(decisions: Iterable[PolicyDecision]) -> list[PolicyDecision]:
    """A `deny[]` entry before a refusal before what could not be examined; always in the same order."""
    return sorted(decisions, key=_severity)


def _severity(decision: PolicyDecision) -> tuple[bool, bool, int, str]:
    return not decision.blocked, decision.result is not Result.DENIED, -rank(decision.code), decision.policy.name
