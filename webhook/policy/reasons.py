"""Which of several reasons is shown, and what is told of each signer and each attestation.

Many pieces of evidence may have failed in many ways. The one that came furthest speaks for all, with counts, and the
choice is the same in whatever order the outcomes arrived. Only for people and records: nothing is admitted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from webhook.errors import Code
from webhook.evidence.model import Form, Outcome, Place, Signer, SignerKind, Verdict
from webhook.policy import counting
from webhook.policy.decision import PolicyDecision, Result, SignerLine
from webhook.policy.model import PREDICATE_TYPES, Rule

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
            Code.CERT_CHAIN_INVALID,
            Code.VERIFICATION_PLUGIN_UNAVAILABLE,
            Code.CRITICAL_ATTRIBUTE_UNPROCESSED,
            Code.UNTRUSTED_MATERIAL,
            Code.TIME_INVALID,
            Code.TLOG_INVALID,
            Code.TLOG_ENTRY_MISMATCH,
            Code.IDENTITY_MISMATCH,
            Code.SIGNATURE_EXPIRED,
            Code.REVOKED,
            Code.CLAIM_MISMATCH,
            Code.CONDITION_ERROR,
            Code.SUBJECT_MISMATCH,
            Code.NOT_ENOUGH_SIGNERS,
            Code.NO_POLICY,
            Code.TAG_NOT_ALLOWED,
            Code.REFERENCE_INVALID,
            Code.TOO_MANY_REFERENCES,
            # What could not be examined: the more it takes to mend it, the further on.
            Code.NOT_PINNED,
            Code.OVERLOADED,
            Code.DEADLINE_EXCEEDED,
            Code.RATE_LIMITED,
            Code.REGISTRY_UNAVAILABLE,
            Code.REVOCATION_UNKNOWN,
            Code.TRUST_UNAVAILABLE,
            Code.INTERNAL_ERROR,
            Code.NOT_CACHED,
            Code.ACCESS_DENIED,
            Code.POLICY_UNAVAILABLE,
            # What makes every other reason beside the point.
            Code.CROSSCHECK_DISAGREEMENT,
            Code.HOST_REFUSED,
            Code.IMAGE_NOT_FOUND,
            Code.REGISTRY_VIOLATION,
            Code.BLOCKED,
        )
    )
}
NOT_EXAMINED = Outcome(Verdict.INCONCLUSIVE, Code.INTERNAL_ERROR, "the image was not examined")
NOT_FOUND: Mapping[SignerKind, str] = {
    SignerKind.KEY: "nothing signed with this key was found for this digest",
    SignerKind.KEYLESS: "nothing signed by this identity was found for this digest",
    SignerKind.PROFILE: "nothing signed with this profile was found for this digest",
    SignerKind.CERTIFICATE: "no Notary Project signature was found for this digest",
}
_SHORT_TYPES = {uri: name for name, uri in reversed(tuple(PREDICATE_TYPES.items()))}


def signer_lines(decision: PolicyDecision) -> tuple[SignerLine, ...]:
    """For each signer of the rule, in its order, what became of it."""
    about = signatures(decision.outcomes)
    return tuple(_line(signer, decision, about) for signer in decision.signers)


def attestation_lines(decision: PolicyDecision) -> tuple[SignerLine, ...]:
    """The same for each attestation that the rule demands: `attestation slsaprovenance1`."""
    return tuple(
        SignerLine(f"attestation {short_type(line.predicate_type)}", line.code, line.detail)
        for line in decision.attestations
    )


def short_type(predicate_type: str) -> str:
    """A predicate type as people call it; one without a short name is told without its scheme."""
    return _SHORT_TYPES.get(predicate_type) or predicate_type.removeprefix("https://")


def wants(rule: Rule) -> str:
    """What the rule demands, in words: `any of: release, ci and attestations https://… (by ci)`."""
    signed = _wanted_signers(rule)
    if not rule.attestations:
        return signed
    attested = ", ".join(f"{demand.predicate_type} (by {names(demand.signers)})" for demand in rule.attestations)
    return f"{signed} and attestations {attested}" if signed else f"attestations {attested}"


def _wanted_signers(rule: Rule) -> str:
    listed, needed = names(rule.signers), counting.needed(rule)
    if not needed:
        return ""
    if len(rule.signers) == 1:
        return f"a signature by {listed}"
    if needed == 1:
        return f"any of: {listed}"
    return f"all of: {listed}" if needed == len(rule.signers) else f"{needed} of: {listed}"


def names(signers: Iterable[Signer]) -> str:
    return ", ".join(signer.name for signer in signers)


def signatures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those of `outcomes` that tell anything of signatures: nothing that can be, or is known to be, an attestation."""
    attested = {id(o.evidence) for o in outcomes if o.verdict is Verdict.ATTESTED}
    return [o for o in outcomes if o.verdict is Verdict.VERIFIED or _tells_of_signatures(o, attested)]


def is_attestation(outcome: Outcome) -> bool:
    """It is of evidence that can only be an attestation, or of the tag that holds nothing else."""
    if outcome.evidence is None:
        return outcome.place is Place.ATTESTATION_TAG
    return outcome.evidence.form is Form.DSSE


def is_signature(outcome: Outcome) -> bool:
    """It is of evidence that can only be a signature, or of the tag that holds nothing else."""
    if outcome.evidence is None:
        return outcome.place is Place.SIGNATURE_TAG
    return outcome.evidence.form in (Form.LEGACY, Form.NOTATION)


def most_telling(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The one that came furthest; among equals always the same, in whatever order they arrived."""
    return max((o for o in outcomes if o.code is not None), key=_standing, default=None)


def rank(code: Code | None) -> int:
    """How far a reason is from "nothing was there"; the higher is shown."""
    return RANK.get(code, 0) if code is not None else -1


def _standing(outcome: Outcome) -> tuple[int, str, str]:
    return rank(outcome.code), outcome.signer.name if outcome.signer else "", outcome.detail


def _tells_of_signatures(outcome: Outcome, attested: set[int]) -> bool:
    if outcome.evidence is not None and id(outcome.evidence) in attested:
        return False
    # One that a trusted signer made where a signature is wanted is worth telling.
    return outcome.code is Code.CLAIM_MISMATCH or not is_attestation(outcome)


def _line(signer: Signer, decision: PolicyDecision, about: Sequence[Outcome]) -> SignerLine:
    if signer.name in decision.barred:
        return SignerLine(signer.name, Code.BLOCKED, decision.barred[signer.name])
    own = [o for o in about if o.signer is None or o.signer.identity == signer.identity]
    verified = min((o.detail for o in own if o.verdict is Verdict.VERIFIED and o.signer is not None), default=None)
    if verified is not None:
        return SignerLine(signer.name, None, verified)
    cause = most_telling([o for o in own if o.verdict is Verdict.INCONCLUSIVE]) or most_telling(own)
    if cause is None or cause.code is Code.NO_SIGNATURE:
        return SignerLine(signer.name, Code.NO_SIGNATURE, NOT_FOUND[signer.kind])
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
    kind = _kind({o.evidence.form for o in outcomes if o.evidence is not None})
    found = f"{total} {kind if total == 1 else kind.replace(' or ', 's or ') + 's'} found"
    if set(counts) == {Code.SIGNATURE_INVALID} and kind != _NOTATION:
        _, mark, hint = telling.detail.partition("; ")
        key = " with this key" if telling.signer is None or telling.signer.kind is SignerKind.KEY else ""
        return f"{found}, {'none verifies' if total > 1 else 'it does not verify'}{key}{mark}{hint}"
    if total == 1:
        return telling.detail
    listed = ", ".join(f"{counts[code]} {code}" for code in sorted(counts, key=rank, reverse=True))
    return f"{found}: {listed}: {telling.detail}"


_NOTATION = "Notary Project signature"


def _kind(forms: set[Form]) -> str:
    if Form.DSSE in forms:
        return "signature or attestation"
    if Form.NOTATION not in forms:
        return "cosign signature"
    return _NOTATION if forms == {Form.NOTATION} else "signature"


def worst_first(decisions: Iterable[PolicyDecision]) -> list[PolicyDecision]:
    """A `deny[]` entry before a refusal before what could not be examined; always in the same order."""
    return sorted(decisions, key=_severity)


def _severity(decision: PolicyDecision) -> tuple[bool, bool, int, str]:
    return not decision.blocked, decision.result is not Result.DENIED, -rank(decision.code), decision.policy.name
