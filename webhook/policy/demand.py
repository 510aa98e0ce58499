"""One policy's demand on one image, held against what was found.

It is met by distinct material that verified, and by the attestations that it names, and by nothing else; what somebody
blocks never counts. An inconclusive outcome counts only where it could still have changed the result: then the image
could not be examined, otherwise it was refused. The mode changes nothing here: what a warn policy refuses is
`decide`'s to weigh.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from webhook.errors import Code
from webhook.evidence.model import Form, Outcome, Place, Signer, Verdict
from webhook.policy import attestations, counting, reasons, remembered
from webhook.policy.counting import Standing
from webhook.policy.decision import REFUSED, AttestationLine, Blocked, PolicyDecision, Result, Selection, Weighed
from webhook.policy.model import Mode, OnUnavailable, Rule

UNAVAILABLE = frozenset({Code.REGISTRY_UNAVAILABLE, Code.RATE_LIMITED, Code.DEADLINE_EXCEEDED})
JUDGED = frozenset(
    {
        Code.NO_SIGNATURE,
        Code.UNSUPPORTED,
        Code.MALFORMED,
        Code.SIGNATURE_INVALID,
        Code.CERT_CHAIN_INVALID,
        Code.VERIFICATION_PLUGIN_UNAVAILABLE,
        Code.CRITICAL_ATTRIBUTE_UNPROCESSED,
        Code.UNTRUSTED_MATERIAL,
        Code.TLOG_INVALID,
        Code.TIME_INVALID,
        Code.IDENTITY_MISMATCH,
        Code.CLAIM_MISMATCH,
        Code.SUBJECT_MISMATCH,
        Code.BLOCKED,
    }
)
# Of a Notary Project signature that its own certificate made, about this very image: integrity has passed
INTACT = frozenset(
    {
        Code.VERIFICATION_PLUGIN_UNAVAILABLE,
        Code.CRITICAL_ATTRIBUTE_UNPROCESSED,
        Code.UNTRUSTED_MATERIAL,
        Code.IDENTITY_MISMATCH,
        Code.TIME_INVALID,
        Code.SIGNATURE_EXPIRED,
        Code.REVOKED,
        Code.REVOCATION_UNKNOWN,
    }
)


def is_met(
    selection: Selection,
    outcomes: Iterable[Outcome],
    blocked: Blocked,
    *,
    weighed: Sequence[Weighed] = (),
    now: datetime,
) -> bool:
    """No further evidence is needed: the matter was settled without any, or all that is demanded was found.

    Never true of a rule that demands the newest of some attestations, or all: those that are not seen yet count too.
    """
    rule = selection.rule
    if rule is None:
        return selection.decision is not None
    verified = counting.narrow(rule, (o for o in outcomes if o.verdict is Verdict.VERIFIED), blocked, now)
    signed = counting.match(counting.offers(rule, verified))
    return len(signed) >= counting.needed(rule) and all(
        attestations.is_met(demand, weighed, blocked) for demand in rule.attestations
    )


def decide_policy(
    selection: Selection,
    outcomes: Iterable[Outcome],
    *,
    blocked: Blocked,
    known: frozenset[str] = frozenset(),
    candidates_listed: bool,
    weighed: Sequence[Weighed] = (),
    now: datetime,
) -> PolicyDecision:
    """What the policy says, now that everything that could be examined was.

    `known` are signers verified for this digest before, each as `known_as` says; they and `onUnavailable` count only
    where the registry could not answer. `candidates_listed` says that some place has named evidence. `weighed` is what
    `attestations.weigh` made of the outcomes.
    """
    rule = selection.rule
    if rule is None:
        return _settled(selection, tuple(outcomes))
    found = _find(selection, rule, outcomes, blocked, now)
    judged = tuple(
        attestations.judge(demand, found.raw, weighed, blocked=blocked, policy=selection.policy)
        for demand in rule.attestations
    )
    standings = (_signatures(found), *judged)
    if selection.needs_digest and any(entry.digest is not None for entry in selection.policy.deny):
        return _refuse(found, standings)
    if all(standing.code is None for standing in standings):
        return _decision(found, standings, Result.VERIFIED, None, _admission(found))
    return _unavailable(found, standings, known, candidates_listed=candidates_listed) or _refuse(found, standings)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found for one rule: `raw` as it was verified, `outcomes` as the rule can use it, in the same order, and
    `signing` those that tell of its signatures."""

    selection: Selection
    rule: Rule
    raw: tuple[Outcome, ...]
    outcomes: tuple[Outcome, ...]
    signing: tuple[Outcome, ...]
    offered: Mapping[Signer, set[str]]
    counted: tuple[Signer, ...]
    blocked: Blocked


def _find(selection: Selection, rule: Rule, outcomes: Iterable[Outcome], blocked: Blocked, now: datetime) -> _Found:
    signers = frozenset(rule.signers)
    attesting = frozenset(signer for demand in rule.attestations for signer in demand.signers)
    raw = tuple(_of_rule(o, rule) for o in outcomes if _is_relevant(o, signers, attesting))
    narrowed = counting.narrow(rule, raw, blocked, now)
    signing = tuple(o for o in reasons.signatures(narrowed) if o.signer is None or o.signer in signers)
    offered = counting.offers(rule, narrowed)
    return _Found(selection, rule, raw, narrowed, signing, offered, counting.match(offered), blocked)


def _is_relevant(outcome: Outcome, signers: frozenset[Signer], attesting: frozenset[Signer]) -> bool:
    if outcome.signer is None or outcome.signer in signers:
        return True
    return outcome.signer in attesting and outcome.verdict is not Verdict.VERIFIED


def _of_rule(outcome: Outcome, rule: Rule) -> Outcome:
    """Where the rule demands no attestation, or no signature, one that another policy had looked for tells it nothing:
    neither an outage nor tampering there changes what it says."""
    if outcome.proof is not None:
        return outcome
    foreign = (
        (not rule.attestations and reasons.is_attestation(outcome))
        or (not counting.needed(rule) and reasons.is_signature(outcome))
        or (outcome.signer is None and outcome.place in _useless_places(rule))
    )
    if not foreign:
        return outcome
    detail = "looked at for another rule, which wants another kind of thing"
    return Outcome(Verdict.REJECTED, Code.NO_SIGNATURE, detail, outcome.signer, outcome.evidence, outcome.place)


def _useless_places(rule: Rule) -> Collection[Place]:
    """Where nothing can be that `rule` wants: Notary Project signatures are referrers."""
    if rule.attestations or not all(signer.kind.is_notation for signer in rule.signers):
        return ()
    return Place.SIGNATURE_TAG, Place.ATTESTATION_TAG


def _signatures(found: _Found) -> Standing:
    """Where the rule stands with signatures alone."""
    if len(found.counted) >= counting.needed(found.rule):
        return Standing(None, f"signed by {reasons.names(found.counted)}")
    if _could_change(found):
        cause = _telling(found, Verdict.INCONCLUSIVE) or reasons.NOT_EXAMINED
        return Standing(cause.code, cause.detail, is_open=True)
    return _rejection(found)


def _could_change(found: _Found) -> bool:
    """What could not be examined might have held as many signatures as are missing."""
    missing = [o for o in found.signing if o.verdict is Verdict.INCONCLUSIVE]
    if not missing:
        return False
    everybody = any(o.signer is None for o in missing)
    open_to = {o.signer.identity for o in missing if o.signer is not None}
    possible = {
        signer: {*materials, signer.identity} if everybody or signer.identity in open_to else materials
        for signer, materials in found.offered.items()
        if signer.fingerprint not in found.blocked.keys
    }
    return len(counting.match(possible)) >= counting.needed(found.rule)


def _telling(found: _Found, verdict: Verdict) -> Outcome | None:
    return reasons.most_telling(o for o in found.signing if o.verdict is verdict)


def _settled(selection: Selection, outcomes: tuple[Outcome, ...]) -> PolicyDecision:
    decision = selection.decision
    if decision is None:
        raise ValueError("a selection with neither decision nor rule")
    if not selection.needs_digest or decision.result in REFUSED:
        return decision
    # The policy denies digests, and which one this is could not be learned.
    cause = (
        reasons.most_telling([o for o in outcomes if o.verdict is Verdict.INCONCLUSIVE])
        or reasons.most_telling(outcomes)
        or reasons.NOT_EXAMINED
    )
    result = Result.ERROR if cause.verdict is Verdict.INCONCLUSIVE else Result.DENIED
    detail = f"the policy denies digests, and this image's is not known: {cause.detail}"
    return PolicyDecision(selection.policy, selection.mode, result, cause.code, detail, "deny", "", outcomes=outcomes)


def _unavailable(
    found: _Found, standings: Sequence[Standing], known: frozenset[str], *, candidates_listed: bool
) -> PolicyDecision | None:
    """The admission that the rule's `onUnavailable` allows, if it does."""
    choice = found.rule.on_unavailable
    if choice is OnUnavailable.DENY or any(one.code is not None and not one.is_open for one in standings):
        return None
    codes = {o.code for o in found.outcomes if o.code is not None}
    cause = reasons.most_telling([o for o in found.outcomes if o.code in UNAVAILABLE])
    if cause is None or (candidates_listed and Code.DEADLINE_EXCEEDED in codes):
        return None
    if choice is OnUnavailable.ALLOW:
        if candidates_listed or not codes <= UNAVAILABLE | {Code.NO_SIGNATURE}:
            return None
        loud = f"admitted without verification (onUnavailable: allow): {cause.code}"
        return _decision(found, standings, Result.WARNED, cause.code, cause.detail, loud=loud)
    before = remembered.match(found.rule, found.offered, known, found.blocked)
    if len(before) < counting.needed(found.rule) or not codes <= UNAVAILABLE | JUDGED:
        return None
    loud = f"admitted because {reasons.names(before)} verified it before (onUnavailable: known): {cause.code}"
    detail = f"verified before by {reasons.names(before)}"
    return _decision(found, standings, Result.VERIFIED, None, detail, loud=loud, counted=before)


def _refuse(found: _Found, standings: Sequence[Standing]) -> PolicyDecision:
    """By what would be refused however often it was tried, if there is any; else by what could not be examined."""
    failing = [one for one in standings if one.code is not None]
    if not found.outcomes or not failing:
        return _decision(found, standings, Result.ERROR, reasons.NOT_EXAMINED.code, reasons.NOT_EXAMINED.detail)
    tampered = _is_tampered(found)
    settled = [one for one in failing if not one.is_open]
    if not settled:
        return _decision(found, standings, Result.ERROR, failing[0].code, failing[0].detail, tampered=tampered)
    # Elsewhere an entry only takes away what it blocks; in its own policy it denies, whatever the mode.
    first = next((one for one in settled if one.is_own), settled[0])
    code, detail = first.code, first.detail
    altered = reasons.most_telling(o for o in found.raw if o.tampered)
    if tampered and altered and found.selection.mode is Mode.WARN and not first.is_own:
        code, detail = altered.code, altered.detail  # or nobody could tell why a warn policy denies
    return _decision(found, standings, Result.DENIED, code, detail, tampered=tampered, blocked=first.is_own)


def _rejection(found: _Found) -> Standing:
    if found.counted:
        detail = f"signed by {reasons.names(found.counted)}, {counting.needed(found.rule)} distinct signers wanted"
        return Standing(Code.NOT_ENOUGH_SIGNERS, detail)
    stolen = [raw for raw, one in zip(found.raw, found.outcomes, strict=True) if one.code is Code.BLOCKED]
    if entries := [entry for entry in (counting.blocked_by(one, found.blocked) for one in stolen) if entry]:
        own = any(counting.denies(found.selection.policy, one) for one in stolen)
        return Standing(Code.BLOCKED, f"signed only with {min(map(counting.told, entries))}", is_own=own)
    cause = _telling(found, Verdict.REJECTED)
    if cause is not None and cause.code is not None:
        return Standing(cause.code, _detail(found, cause))
    if any(signer.fingerprint in found.blocked.keys for signer in found.rule.signers):
        return Standing(Code.BLOCKED, "too few of the rule's signers are left that no policy blocks")
    return Standing(Code.NO_SIGNATURE, _nothing(found.rule))


def _detail(found: _Found, cause: Outcome) -> str:
    if cause.code is Code.NO_SIGNATURE:
        return _nothing(found.rule)
    if cause.signer is None:
        return cause.detail
    same = cause.signer.identity
    return reasons.tell(cause, [o for o in found.signing if o.signer is None or o.signer.identity == same])


def _nothing(rule: Rule) -> str:
    return f"nothing signed by {reasons.names(rule.signers)} was found for this digest"


def _is_tampered(found: _Found) -> bool:
    """The registry served other bytes than it announced, or a log vouches for another thing, and nothing else that was
    found is whole."""
    if found.selection.policy.tampered is Mode.WARN or found.counted:
        return False
    altered = [o for o in found.raw if o.tampered]
    pieces = {id(o.evidence) for o in altered if o.evidence is not None}
    return bool(altered) and not any(_is_whole(o, found.blocked) and id(o.evidence) not in pieces for o in found.raw)


def _is_whole(outcome: Outcome, blocked: Blocked) -> bool:
    if outcome.evidence is not None and outcome.evidence.form is Form.NOTATION and outcome.code in INTACT:
        return True
    return outcome.proof is not None and counting.blocked_by(outcome, blocked) is None


def _admission(found: _Found) -> str:
    kinds = ", ".join(reasons.short_type(demand.predicate_type) for demand in found.rule.attestations)
    parts = (
        f"signed by {reasons.names(found.counted)}" if found.counted else "",
        f"attested: {kinds}" if kinds else "",
    )
    return "; ".join(part for part in parts if part)


def _decision(
    found: _Found,
    standings: Sequence[Standing],
    result: Result,
    code: Code | None,
    detail: str,
    *,
    tampered: bool = False,
    blocked: bool = False,
    loud: str = "",
    counted: tuple[Signer, ...] | None = None,
) -> PolicyDecision:
    rule = found.rule
    needed = counting.needed(rule)
    return PolicyDecision(
        policy=found.selection.policy,
        mode=found.selection.mode,
        result=result,
        code=code,
        detail=detail,
        rule=rule.label,
        wants=reasons.wants(rule),
        needed=needed,
        counted=tuple(signer.name for signer in (found.counted if counted is None else counted)),
        outcomes=found.outcomes,
        tampered=tampered,
        blocked=blocked,
        signers=rule.signers if needed else (),
        barred=_barred(found) if found.blocked.keys else {},
        loud=loud,
        attestations=_attestation_lines(rule, standings[1:]),
        notes=_notes(found) if result is Result.VERIFIED else (),
    )


def _notes(found: _Found) -> tuple[str, ...]:
    """Of each signer that counted, what is wrong with the best of its signatures."""
    noted: list[str] = []
    for signer in found.counted:
        made = [o.notes for o in found.outcomes if o.signer == signer and o.verdict is Verdict.VERIFIED]
        noted += (f"{signer.name}: {note}" for note in min(made, key=lambda notes: (len(notes), notes), default=()))
    return tuple(noted)


def _attestation_lines(rule: Rule, judged: Sequence[Standing]) -> tuple[AttestationLine, ...]:
    return tuple(
        AttestationLine(demand.label, demand.predicate_type, one.code, one.detail, one.saw)
        for demand, one in zip(rule.attestations, judged, strict=True)
    )


def _barred(found: _Found) -> Mapping[str, str]:
    entries = ((signer.name, found.blocked.keys.get(signer.fingerprint)) for signer in found.rule.signers)
    return {name: f"policy {entry[0].name} blocks this key: {entry[1].reason}" for name, entry in entries if entry}
