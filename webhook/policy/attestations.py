"""Attestations that a rule demands, held against those that were verified.

`weigh` looks at one statement once, where time may be spent: its age, and what the demand's condition says of it; what
it finds is small. `judge` and `is_met` only compare that. Which of several attestations must hold is the demand's
`pick`; where all or the newest must, nothing is met while something that was not examined might hide another.

spec: in-toto attestation framework, statement; RFC 3339 5.6 for signed times.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from webhook.errors import Code, CountersignError, RejectedError, quote
from webhook.evidence.model import Attestation, Outcome, Proof, Verdict
from webhook.policy import counting, reasons
from webhook.policy.counting import Standing
from webhook.policy.decision import Blocked, Weighed
from webhook.policy.model import AttestationDemand, Pick, TrustPolicy

MAX_SEEN = 3  # parts of a condition that are told
MAX_SEEN_CHARS = 100
MAX_TIME_CHARS = 40
# Of evidence that is there, and may be as good as any: the registry would not hand it over as announced, it is over a
# limit, or two implementations disagree about it.
HIDING = frozenset(
    {
        Code.LIMIT_EXCEEDED,
        Code.REGISTRY_VIOLATION,
        Code.HOST_REFUSED,
        Code.IMAGE_NOT_FOUND,
        Code.CROSSCHECK_DISAGREEMENT,
    }
)

_log = logging.getLogger(__name__)
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")


def weigh(
    outcomes: Iterable[Outcome], demands: Iterable[AttestationDemand], *, image: Mapping[str, str], now: datetime
) -> list[Weighed]:
    """Each attested outcome held against each demand that its predicate type and signer meet. Never raises."""
    distinct = tuple(dict.fromkeys(demands))
    return [weighed for outcome in outcomes for weighed in _weigh_all(outcome, distinct, image, now)]


def is_met(demand: AttestationDemand, weighed: Iterable[Weighed], blocked: Blocked) -> bool:
    """No further evidence can change that `demand` is met: never, where all or the newest must hold."""
    return demand.pick is Pick.ANY and any(w.code is None for w in _free(demand, weighed, blocked))


def judge(
    demand: AttestationDemand,
    outcomes: Sequence[Outcome],
    weighed: Iterable[Weighed],
    *,
    blocked: Blocked,
    policy: TrustPolicy,
) -> Standing:
    """Where `demand` stands, now that everything that could be examined was. `policy` is the one it belongs to."""
    weighed = tuple(weighed)
    free = _free(demand, weighed, blocked)
    picked, is_settled = _pick(demand.pick, free)
    failing = [one for one in picked if one.code is not None]
    unread, unanswered = _unseen(demand, outcomes, blocked)
    if picked and not failing and (demand.pick is Pick.ANY or not (unread or unanswered)):
        return _met(picked)
    if unanswered and not (is_settled or unread):
        return Standing(unanswered.code, unanswered.detail, is_open=True)
    if failing:
        worst = max(failing, key=_standing)
        return Standing(worst.code, worst.detail, saw=worst.saw)
    if unread:
        return Standing(unread.code, f"another one may be hidden: {unread.detail}")
    return _missing(demand, outcomes, weighed, blocked, policy)


def _weigh_all(
    outcome: Outcome, demands: Sequence[AttestationDemand], image: Mapping[str, str], now: datetime
) -> Iterable[Weighed]:
    proof = outcome.proof
    if outcome.verdict is not Verdict.ATTESTED or proof is None or proof.attestation is None:
        return
    attestation = proof.attestation
    small = replace(outcome, proof=replace(proof, attestation=replace(attestation, statement={})))
    for demand in demands:
        # The whole type, as it is written: another version says another thing. CVE-2022-35930
        if demand.predicate_type == attestation.predicate_type and outcome.signer in demand.signers:
            yield _weigh(small, proof, attestation, demand, image, now)


def _weigh(
    small: Outcome,
    proof: Proof,
    attestation: Attestation,
    demand: AttestationDemand,
    image: Mapping[str, str],
    now: datetime,
) -> Weighed:
    at: datetime | None = None
    try:
        at = _time_of(demand, proof, attestation.statement)
        _check_age(demand, at, now)
        if demand.condition is None:
            return Weighed(demand, small, at, None, small.detail)
        found = demand.condition.evaluate(attestation.statement, image)
        if found.holds:
            return Weighed(demand, small, at, None, small.detail, found.saw)
        return Weighed(demand, small, at, Code.CLAIM_MISMATCH, _told(found.saw), found.saw)
    except CountersignError as error:
        return Weighed(demand, small, at, error.code, error.detail)
    except Exception as error:  # noqa: BLE001  # one statement that we cannot cope with must not hide the others
        _log.exception("unexpected error while weighing %s", small.facts.get("candidate", "an attestation"))
        detail = f"unexpected {type(error).__name__} while the attestation was weighed"
        return Weighed(demand, small, at, Code.CONDITION_ERROR, detail)


def _time_of(demand: AttestationDemand, proof: Proof, statement: Mapping[str, object]) -> datetime | None:
    """The earlier of the trusted time and the signed one, of those that are there."""
    signed = _signed_time(statement, demand.time_field) if demand.time_field else None
    return min((time for time in (proof.at, signed) if time is not None), default=None)


def _signed_time(statement: Mapping[str, object], path: Sequence[str]) -> datetime | None:
    """The time at `path`; `None` where nothing stands there. Raises: RejectedError, `condition_error`."""
    value: object = statement
    for name in path:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise _unreadable(path, "no object on the way")
        value = value.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _unreadable(path, "no text")
    return _parse_time(value, path)


def _parse_time(text: str, path: Sequence[str]) -> datetime:
    # RFC 3339 5.6; a time without an offset is nobody's
    if len(text) > MAX_TIME_CHARS or not _RFC_3339.fullmatch(text.upper()):
        raise _unreadable(path, quote(text, max_chars=MAX_TIME_CHARS))
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _unreadable(path, quote(text)) from None


def _unreadable(path: Sequence[str], found: str) -> RejectedError:
    return RejectedError(Code.CONDITION_ERROR, f"timeField {'.'.join(path)}: an RFC 3339 time expected, found {found}")


def _check_age(demand: AttestationDemand, at: datetime | None, now: datetime) -> None:
    """Raises: RejectedError, `time_invalid`; `condition_error` where no time is known and one is needed."""
    if at is None:
        if demand.max_age is None:
            return
        where = f", nor does timeField {'.'.join(demand.time_field)}" if demand.time_field else ""
        raise RejectedError(Code.CONDITION_ERROR, f"no trusted log or timestamp says when it was signed{where}")
    if fault := counting.age_fault(at, demand.max_age, now):
        raise RejectedError(Code.TIME_INVALID, fault)


def _told(saw: Sequence[tuple[str, str]]) -> str:
    parts = [f"{_cut(name)} was {_cut(value)}" for name, value in saw[:MAX_SEEN]]
    return f"condition is false: {', '.join(parts)}" if parts else "condition is false"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SEEN_CHARS else f"{text[: MAX_SEEN_CHARS - 3]}..."


def _free(demand: AttestationDemand, weighed: Iterable[Weighed], blocked: Blocked) -> list[Weighed]:
    """What was found for `demand`, without what somebody blocks: that counts in nothing, nor hides anything."""
    return [w for w in weighed if w.demand == demand and counting.blocked_by(w.outcome, blocked) is None]


def _pick(pick: Pick, free: Sequence[Weighed]) -> tuple[list[Weighed], bool]:
    """Those that must hold, and whether they fail whatever else may be found."""
    match pick:
        case Pick.ANY:
            return [one for one in free if one.code is None] or list(free), False
        case Pick.ALL:
            return list(free), any(one.code is not None for one in free)
        case Pick.NEWEST:
            if timeless := [_timeless(one) for one in free if one.at is None]:
                return timeless, True
            newest = max((one.at for one in free if one.at is not None), default=None)
            return [one for one in free if one.at == newest], False


def _timeless(one: Weighed) -> Weighed:
    if one.code is not None:
        return one
    return replace(one, code=Code.CONDITION_ERROR, detail="its time is not known, nor therefore which is the newest")


def _unseen(
    demand: AttestationDemand, outcomes: Iterable[Outcome], blocked: Blocked
) -> tuple[Outcome | None, Outcome | None]:
    """What may be an attestation of this kind and was not read: it can never be; or not this time."""
    able = {signer for signer in demand.signers if signer.fingerprint not in blocked.keys}
    about = [o for o in outcomes if (o.signer in able if o.signer else able) and not reasons.is_signature(o)]
    unanswered = reasons.most_telling(o for o in about if o.verdict is Verdict.INCONCLUSIVE)
    if demand.pick is Pick.ANY:
        return None, unanswered
    return reasons.most_telling(o for o in about if o.verdict is Verdict.REJECTED and o.code in HIDING), unanswered


def _met(holding: Sequence[Weighed]) -> Standing:
    first = min(holding, key=lambda one: (one.detail, one.saw))
    return Standing(None, first.detail, saw=first.saw)


def _missing(
    demand: AttestationDemand,
    outcomes: Sequence[Outcome],
    weighed: Iterable[Weighed],
    blocked: Blocked,
    policy: TrustPolicy,
) -> Standing:
    stolen = [w.outcome for w in weighed if w.demand == demand and w.code is None]
    entries = [entry for entry in (counting.blocked_by(outcome, blocked) for outcome in stolen) if entry is not None]
    if entries:
        detail = f"attested only with {min(map(counting.told, entries))}"
        return Standing(Code.BLOCKED, detail, is_own=any(counting.denies(policy, outcome) for outcome in stolen))
    able = [signer for signer in demand.signers if signer.fingerprint not in blocked.keys]
    rest = _perhaps(demand, outcomes)
    cause = reasons.most_telling(rest)
    if cause is not None and cause.code is not None and able:
        return Standing(cause.code, reasons.tell(cause, rest))
    if demand.signers and not able:
        return Standing(Code.BLOCKED, "none of those who may attest it is left that no policy blocks")
    return Standing(Code.NO_SIGNATURE, f"no attestation of type {demand.predicate_type} was found for this digest")


def _perhaps(demand: AttestationDemand, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What was refused and may have been an attestation of this type: nothing that is known to be another thing."""
    others = {id(o.evidence) for o in outcomes if o.evidence is not None and _is_another_thing(o, demand)}
    return [
        o
        for o in outcomes
        if o.verdict is Verdict.REJECTED
        and (o.signer is None or o.signer in demand.signers)
        and o.code is not Code.NO_SIGNATURE
        and not reasons.is_signature(o)
        and id(o.evidence) not in others
    ]


def _is_another_thing(outcome: Outcome, demand: AttestationDemand) -> bool:
    """Some signer's, but not of this type; one that nothing asks for is `claim_mismatch`."""
    if outcome.proof is None:
        return outcome.code is Code.CLAIM_MISMATCH
    said = outcome.proof.attestation
    return said is None or said.predicate_type != demand.predicate_type


def _standing(one: Weighed) -> tuple[int, str, str]:
    return reasons.rank(one.code), one.outcome.signer.name if one.outcome.signer else "", one.detail
