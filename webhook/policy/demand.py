"""One policy's demand on one image, held against what was found.

It is met by distinct material that verified, and by nothing else; what a blocked key signed never counts. An
inconclusive outcome counts only where it could still have changed the result: then the image could not be examined,
otherwise it was refused. The mode changes nothing here: what a warn policy refuses is `decide`'s to weigh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from webhook.errors import Code
from webhook.evidence.model import Outcome, Signer, Verdict
from webhook.policy import reasons
from webhook.policy.decision import REFUSED, PolicyDecision, Result, Selection
from webhook.policy.model import Deny, Mode, OnUnavailable, Rule, TrustPolicy

Blocked = Mapping[str, tuple[TrustPolicy, Deny]]

UNAVAILABLE = frozenset({Code.REGISTRY_UNAVAILABLE, Code.RATE_LIMITED, Code.DEADLINE_EXCEEDED})
JUDGED = frozenset(
    {
        Code.NO_SIGNATURE,
        Code.UNSUPPORTED,
        Code.MALFORMED,
        Code.SIGNATURE_INVALID,
        Code.CLAIM_MISMATCH,
        Code.SUBJECT_MISMATCH,
    }
)


def is_met(selection: Selection, outcomes: Iterable[Outcome], blocked: Blocked) -> bool:
    """No further evidence is needed: the matter was settled without any, or enough distinct material verified."""
    if selection.rule is None:
        return selection.decision is not None
    return len(_count(selection.rule, outcomes, blocked)) >= _needed(selection.rule)


def decide_policy(
    selection: Selection,
    outcomes: Iterable[Outcome],
    *,
    blocked: Blocked,
    known: frozenset[str] = frozenset(),
    candidates_listed: bool,
) -> PolicyDecision:
    """What the policy says, now that everything that could be examined was.

    `known` are signers verified for this digest before, each as `known_as` says; they and `onUnavailable` count only
    where the registry could not answer. `candidates_listed` says that some place has named evidence.
    """
    rule = selection.rule
    if rule is None:
        return _settled(selection, tuple(outcomes))
    relevant = tuple(o for o in outcomes if o.signer is None or o.signer in rule.signers)
    counted = _count(rule, relevant, blocked)
    found = _Found(selection, rule, relevant, counted, blocked)
    if selection.needs_digest and any(entry.digest is not None for entry in selection.policy.deny):
        return _refuse(found)
    if len(counted) >= _needed(rule):
        return _decision(found, Result.VERIFIED, None, f"signed by {_names(counted)}")
    return _unavailable(found, known, candidates_listed=candidates_listed) or _refuse(found)


@dataclass(frozen=True, slots=True)
class _Found:
    selection: Selection
    rule: Rule
    outcomes: tuple[Outcome, ...]
    counted: tuple[Signer, ...]
    blocked: Blocked


def _needed(rule: Rule) -> int:
    return max(rule.needed, 1)  # whoever made the rule: no demand is met by nothing


def _count(rule: Rule, outcomes: Iterable[Outcome], blocked: Blocked) -> tuple[Signer, ...]:
    """The rule's signers that verified, one for each distinct material.

    By the signer and not by its key: another policy may take a hash or padding of that key that this one does not.
    """
    verified = {o.signer for o in outcomes if o.verdict is Verdict.VERIFIED and o.signer is not None}
    return _distinct(signer for signer in _unblocked(rule, blocked) if signer in verified)


def _unblocked(rule: Rule, blocked: Blocked) -> tuple[Signer, ...]:
    return tuple(signer for signer in rule.signers if signer.material.fingerprint not in blocked)


def _distinct(signers: Iterable[Signer]) -> tuple[Signer, ...]:
    first: dict[str, Signer] = {}
    for signer in signers:
        first.setdefault(signer.identity, signer)
    return tuple(first.values())


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


def _unavailable(found: _Found, known: frozenset[str], *, candidates_listed: bool) -> PolicyDecision | None:
    """The admission that the rule's `onUnavailable` allows, if it does."""
    choice = found.rule.on_unavailable
    if choice is OnUnavailable.DENY or not _could_change(found):
        return None
    codes = {o.code for o in found.outcomes if o.code is not None}
    cause = reasons.most_telling([o for o in found.outcomes if o.code in UNAVAILABLE])
    if cause is None or (candidates_listed and Code.DEADLINE_EXCEEDED in codes):
        return None
    if choice is OnUnavailable.ALLOW:
        if candidates_listed or not codes <= UNAVAILABLE | {Code.NO_SIGNATURE}:
            return None
        loud = f"admitted without verification (onUnavailable: allow): {cause.code}"
        return _decision(found, Result.WARNED, cause.code, cause.detail, loud=loud)
    before = _distinct(
        signer
        for signer in _unblocked(found.rule, found.blocked)
        if signer.known_as in known or signer in found.counted
    )
    if len(before) < _needed(found.rule) or not codes <= UNAVAILABLE | JUDGED:
        return None
    loud = f"admitted because {_names(before)} verified it before (onUnavailable: known): {cause.code}"
    return _decision(found, Result.VERIFIED, None, f"verified before by {_names(before)}", loud=loud, counted=before)


def _could_change(found: _Found) -> bool:
    """What could not be examined might have held as many signatures as are missing."""
    missing = [o for o in found.outcomes if o.verdict is Verdict.INCONCLUSIVE]
    if not missing:
        return False
    everybody = any(o.signer is None for o in missing)
    open_to = {o.signer.identity for o in missing if o.signer is not None}
    possible = _distinct(
        signer
        for signer in _unblocked(found.rule, found.blocked)
        if everybody or signer.identity in open_to or signer in found.counted
    )
    return len(possible) >= _needed(found.rule)


def _refuse(found: _Found) -> PolicyDecision:
    if not found.outcomes:
        return _decision(found, Result.ERROR, reasons.NOT_EXAMINED.code, reasons.NOT_EXAMINED.detail)
    tampered = _is_tampered(found)
    if _could_change(found):
        cause = (
            reasons.most_telling([o for o in found.outcomes if o.verdict is Verdict.INCONCLUSIVE])
            or reasons.NOT_EXAMINED
        )
        return _decision(found, Result.ERROR, cause.code, cause.detail, tampered=tampered)
    code, detail, blocked = _rejection(found)
    return _decision(found, Result.DENIED, code, detail, tampered=tampered, blocked=blocked)


def _rejection(found: _Found) -> tuple[Code, str, bool]:
    if found.counted:
        wanted = _needed(found.rule)
        return Code.NOT_ENOUGH_SIGNERS, f"signed by {_names(found.counted)}, {wanted} distinct signers wanted", False
    if stolen := [signer.material.fingerprint for signer in _count(found.rule, found.outcomes, {})]:
        policy, entry = found.blocked[stolen[0]]
        # Elsewhere the entry only takes the key's signatures away; in its own policy it denies, whatever the mode.
        own = any(entry.key_fingerprint in stolen for entry in found.selection.policy.deny)
        return Code.BLOCKED, f"signed only with a key that policy {policy.name} blocks: {entry.reason}", own
    cause = reasons.most_telling([o for o in found.outcomes if o.verdict is Verdict.REJECTED])
    if cause is not None and cause.code is not None:
        return cause.code, _detail(found, cause), False
    return Code.BLOCKED, "too few of the rule's signers are left that no policy blocks", False


def _detail(found: _Found, cause: Outcome) -> str:
    if cause.code is Code.NO_SIGNATURE:
        return f"nothing signed by {_names(found.rule.signers)} was found for this digest"
    if cause.signer is None:
        return cause.detail
    return reasons.tell(
        cause, [o for o in found.outcomes if o.signer is None or o.signer.identity == cause.signer.identity]
    )


def _is_tampered(found: _Found) -> bool:
    """The registry served other bytes than it announced, and nothing else that was found is whole."""
    if found.selection.policy.tampered is Mode.WARN or found.counted:
        return False
    return any(o.tampered for o in found.outcomes)


def _decision(
    found: _Found,
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
    return PolicyDecision(
        policy=found.selection.policy,
        mode=found.selection.mode,
        result=result,
        code=code,
        detail=detail,
        rule=rule.label,
        wants=_wants(rule),
        needed=_needed(rule),
        counted=tuple(signer.name for signer in (found.counted if counted is None else counted)),
        outcomes=found.outcomes,
        tampered=tampered,
        blocked=blocked,
        signers=rule.signers,
        barred=_barred(found) if found.blocked else {},
        loud=loud,
    )


def _wants(rule: Rule) -> str:
    names = _names(rule.signers)
    if len(rule.signers) == 1:
        return f"a signature by {names}"
    if _needed(rule) == 1:
        return f"any of: {names}"
    return f"all of: {names}" if _needed(rule) == len(rule.signers) else f"{_needed(rule)} of: {names}"


def _barred(found: _Found) -> Mapping[str, str]:
    entries = ((signer.name, found.blocked.get(signer.material.fingerprint)) for signer in found.rule.signers)
    return {name: f"policy {entry[0].name} blocks this key: {entry[1].reason}" for name, entry in entries if entry}


def _names(signers: Iterable[Signer]) -> str:
    return ", ".join(signer.name for signer in signers)
