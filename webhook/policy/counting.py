"""Which signatures count towards a rule, and for how many of its signers.

`narrow` turns each verified signature that a rule cannot use into a rejected one that says why: what it signed along,
its age, or that somebody blocks what made it; all that follows looks at verdicts only. `match` counts signers so that
each has a material of its own: one certificate that fits two names is one. Neither depends on the order of outcomes.
Attestations are `attestations`' to judge; here they are never signatures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from webhook.errors import Code, InconclusiveError, RejectedError, quote
from webhook.evidence.model import Outcome, Proof, Signer, Verdict, failed
from webhook.policy.decision import Blocked
from webhook.policy.model import Deny, Rule, TrustPolicy
from webhook.trust.material import PublicKey
from webhook.trust.notary.profile import SigningProfile

MAX_AHEAD = timedelta(minutes=5)  # that a clock may go before ours
_UNITS = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one part of a rule stands: its signatures, or one of its attestations. `code` is `None` where it is met.

    `is_open` says that what could not be examined might still meet it; `is_own`, that an entry in the policy's own
    `deny` is why it is not met.
    """

    code: Code | None
    detail: str
    is_open: bool = False
    is_own: bool = False
    saw: tuple[tuple[str, str], ...] = ()


def needed(rule: Rule) -> int:
    """How many signers the rule demands; more than it has where it demands nothing at all, by whose mistake ever."""
    if rule.needed > 0 or rule.attestations:
        return max(rule.needed, 0)
    return len(rule.signers) + 1


def narrow(rule: Rule, outcomes: Iterable[Outcome], blocked: Blocked, now: datetime) -> tuple[Outcome, ...]:
    """`outcomes` with every verified signature that the rule cannot use turned into a rejected one, in their order."""
    return tuple(_narrow(rule, outcome, blocked, now) for outcome in outcomes)


def offers(rule: Rule, narrowed: Iterable[Outcome]) -> dict[Signer, set[str]]:
    """For each of the rule's signers, in its order, the materials that verified as its own.

    By the signer and not by its key: another policy may take a hash or padding of that key that this one does not.
    """
    found: dict[Signer, set[str]] = {signer: set() for signer in rule.signers}
    for outcome in narrowed:
        if outcome.verdict is Verdict.VERIFIED and outcome.proof is not None and outcome.signer in found:
            found[outcome.signer].add(outcome.proof.material)
    return found


def sole_material(signer: Signer) -> str:
    """The material that every signature of `signer` has; empty where only the signature tells."""
    match signer.material:
        case PublicKey():
            return signer.identity
        case SigningProfile() as profile:
            return f"profile:{profile.arn.profile}".lower()
    return ""


def match(offered: Mapping[Signer, Collection[str]]) -> tuple[Signer, ...]:
    """As many signers as can each be given one of their materials for themselves, in the order of `offered`.

    A maximum matching by augmenting paths (H. W. Kuhn, 1955); who stands first is preferred.
    """
    if len(offered) == 1:
        return tuple(signer for signer, materials in offered.items() if materials)
    choices = [sorted(materials) for materials in offered.values()]
    held: dict[int, str] = {}  # the material of each signer that has one
    holder: dict[str, int] = {}
    for signer in range(len(choices)):
        _augment(signer, choices, held, holder)
    return tuple(signer for index, signer in enumerate(offered) if index in held)


def blocked_by(outcome: Outcome, blocked: Blocked) -> tuple[TrustPolicy, Deny] | None:
    """Who blocks the key, the certificate or a log entry of a verified or attested outcome, and by which entry."""
    signer, proof = outcome.signer, outcome.proof
    if signer is None or proof is None or not (blocked.keys or blocked.certificates or blocked.log_indices):
        return None
    found = (
        *(blocked.keys.get(one) for one in _keys(signer, proof)),
        *(blocked.certificates.get(one) for one in _certificates(proof)),
        *(_blocked_index(index, blocked) for _, index in proof.logged),
    )
    return next((entry for entry in found if entry is not None), None)


def _keys(signer: Signer, proof: Proof) -> tuple[str, ...]:
    return (signer.fingerprint, proof.key_fingerprint, *proof.authority_keys)


def _certificates(proof: Proof) -> tuple[str, ...]:
    return (proof.certificate_fingerprint, *proof.certificate_twins)


def _blocked_index(index: int | None, blocked: Blocked) -> tuple[TrustPolicy, Deny] | None:
    """An entry whose index nobody vouches for may be any of them."""
    if index is None:
        return next(iter(blocked.log_indices.values()), None)
    return blocked.log_indices.get(index)


def denies(policy: TrustPolicy, outcome: Outcome) -> bool:
    """Whether `policy` itself blocks what made `outcome`, whoever else does."""
    signer, proof = outcome.signer, outcome.proof
    if signer is None or proof is None:
        return False
    keys = _keys(signer, proof)
    indices = [index for _, index in proof.logged]
    return any(
        (entry.key_fingerprint is not None and entry.key_fingerprint in keys)
        or (entry.certificate_fingerprint is not None and entry.certificate_fingerprint in _certificates(proof))
        or (entry.log_index is not None and (entry.log_index in indices or None in indices))
        for entry in policy.deny
    )


def told(entry: tuple[TrustPolicy, Deny]) -> str:
    """What is blocked, by whom and why: `a key that policy production blocks: stolen in May`."""
    policy, deny = entry
    what = "a key" if deny.key_fingerprint else "a certificate" if deny.certificate_fingerprint else "a log entry"
    return f"{what} that policy {policy.name} blocks: {deny.reason}"


def age_fault(at: datetime, max_age: timedelta | None, now: datetime) -> str:
    """What is wrong with a time, for people: it lies ahead, or longer back than `max_age`; empty where nothing is."""
    if at - now > MAX_AHEAD:
        return f"its time, {at:%Y-%m-%d %H:%M:%S}Z, has not come yet"
    if max_age is not None and now - at > max_age:
        return f"its time is {at:%Y-%m-%d %H:%M:%S}Z, more than {_span(max_age)} ago"
    return ""


def _narrow(rule: Rule, outcome: Outcome, blocked: Blocked, now: datetime) -> Outcome:
    match outcome.verdict:
        case Verdict.VERIFIED:
            fault = _unfit(rule, outcome, blocked, now)
        case Verdict.ATTESTED:
            fault = _undemanded(rule, outcome)
        case _:
            return outcome
    if fault is None:
        return outcome
    return failed(fault, signer=outcome.signer, evidence=outcome.evidence, place=outcome.place)


def _unfit(rule: Rule, outcome: Outcome, blocked: Blocked, now: datetime) -> RejectedError | InconclusiveError | None:
    proof = outcome.proof
    if proof is None:
        return InconclusiveError(Code.INTERNAL_ERROR, "verified without a proof")
    # What is blocked comes last: it then is what would have counted otherwise.
    if detail := _missing_annotation(rule, proof):
        return RejectedError(Code.CLAIM_MISMATCH, detail)
    if rule.max_age is not None and (detail := _too_old(rule.max_age, proof, now)):
        return RejectedError(Code.TIME_INVALID, detail)
    if entry := blocked_by(outcome, blocked):
        return RejectedError(Code.BLOCKED, f"signed with {told(entry)}")
    return None


def _missing_annotation(rule: Rule, proof: Proof) -> str:
    for name, wanted in rule.annotations:
        found = proof.annotations.get(name)
        if found != wanted:
            shown = "none" if found is None else quote(found, max_chars=60)
            return f"annotation {name}: {quote(wanted, max_chars=60)} expected, found {shown}"
    return ""


def _too_old(max_age: timedelta, proof: Proof, now: datetime) -> str:
    if proof.at is None:
        return f"no trusted log or timestamp says when it was signed, and at most {_span(max_age)} ago is wanted"
    # Whoever holds an old signature can have it stamped anew, and cannot change what its signer said
    earliest = min(proof.at, proof.claimed_at or proof.at)
    return age_fault(proof.at, None, now) or age_fault(earliest, max_age, now)


def _undemanded(rule: Rule, outcome: Outcome) -> RejectedError | None:
    kind = outcome.proof.attestation.predicate_type if outcome.proof and outcome.proof.attestation else ""
    if any(kind == demand.predicate_type and outcome.signer in demand.signers for demand in rule.attestations):
        return None
    return RejectedError(
        Code.CLAIM_MISMATCH, f"an attestation, {quote(kind)}, where a signature of the image is wanted"
    )


def _augment(start: int, choices: Sequence[Sequence[str]], held: dict[int, str], holder: dict[str, int]) -> None:
    """One more signer holds a material, if any order of handing on makes room for it."""
    asked_by: dict[str, int] = {}
    asking = [start]
    for signer in asking:
        for material in choices[signer]:
            if material in asked_by:
                continue
            asked_by[material] = signer
            if material not in holder:
                _hand_on(material, asked_by, held, holder)
                return
            asking.append(holder[material])


def _hand_on(free: str, asked_by: Mapping[str, int], held: dict[int, str], holder: dict[str, int]) -> None:
    material: str | None = free
    while material is not None:
        signer = asked_by[material]
        given_up = held.get(signer)
        holder[material], held[signer] = signer, material
        material = given_up


def _span(length: timedelta) -> str:
    name, unit = next((name, unit) for name, unit in _UNITS if length >= unit or unit == _UNITS[-1][1])
    return f"{length / unit:g}{name}"
