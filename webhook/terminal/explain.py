"""`policy explain`: which policies speak about an image, which rule of each decides, and what it demands.

The answer is found as the webhook finds it, up to the point where it would ask a registry; no network is used. Where
the matter is settled before that point, the decision itself is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from webhook import settings
from webhook.errors import Code, OperatorError
from webhook.evidence.model import Signer
from webhook.oci.reference import Reference
from webhook.policy import decide, demand, select
from webhook.policy.decision import REFUSED, ImageDecision, PolicyDecision, Result, Selection
from webhook.policy.model import AttestationDemand, Mode, Pick, PolicySet, Rule
from webhook.settings import NoMatch
from webhook.terminal import given
from webhook.terminal.facts import Document
from webhook.terminal.paper import BAD, DIM, GOOD, STRONG, UNSURE, Output, Paper
from webhook.trust.kms import KMSKey
from webhook.trust.material import PublicKey
from webhook.trust.notary.levels import Action, Actions, CertificateRule, VerifyTimestamp
from webhook.trust.notary.profile import SigningProfile
from webhook.trust.root import RootSource
from webhook.trust.stored import StoredKey


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where one policy stopped, and what it demands there."""

    selection: Selection
    decision: PolicyDecision  # what it says while nothing was examined
    why: str

    @property
    def demands(self) -> bool:
        return self.selection.rule is not None

    @property
    def enforces(self) -> bool:
        return self.selection.mode is Mode.ENFORCE


def explain(
    image: str, paths: Sequence[Path], configured: settings.Policy, *, namespace: str, output: Output, paper: Paper
) -> int:
    """What each policy says of `image` is told, and what follows. Raises: OperatorError."""
    if not paths:
        raise OperatorError("--policy expected: which policies should be asked?")
    parsed = given.image(image)
    policies = given.policies(paths, configured)
    stands = _stands(policies, parsed, namespace)
    outcome = _outcome(policies, parsed, stands, configured.no_match)
    if output is Output.JSON:
        paper.document(_explain_document(parsed, namespace, stands, outcome))
    else:
        _write_explanation(parsed, namespace, stands, outcome, paper)
    return 0


def _stands(policies: PolicySet, parsed: Reference, namespace: str) -> tuple[_Stand, ...]:
    now = datetime.now(UTC)
    selections = select.select(policies, reference=parsed, digest=parsed.digest, namespace=namespace, now=now)
    blocked = select.blocked(policies)
    return tuple(
        _Stand(
            selection,
            selection.decision
            or demand.decide_policy(selection, (), blocked=blocked, candidates_listed=False, now=now),
            _why(selection, parsed),
        )
        for selection in selections
    )


def _why(selection: Selection, parsed: Reference) -> str:
    if selection.decision is not None:
        return selection.decision.detail
    assert selection.rule is not None  # one of both is always there
    for pattern in selection.rule.images:
        if pattern.matches(parsed.repository):
            return f"{pattern.text} matches, in the first rule that does"
    return "no rule matches this image" if selection.policy.rules else "the policy has no rules"


def _outcome(
    policies: PolicySet, parsed: Reference, stands: Sequence[_Stand], no_match: NoMatch
) -> ImageDecision | None:
    """The decision, where it needs neither the digest nor a signature; `None` where it does."""
    blocked = any(stand.decision.blocked for stand in stands)
    if not blocked and any(s.selection.needs_digest or (s.demands and s.enforces) for s in stands):
        return None
    return decide.decide_image(
        reference=parsed,
        paths=(),
        digest=parsed.digest,
        decisions=[stand.decision for stand in stands if not stand.demands],
        policies=policies,
        no_match=no_match,
    )


def _write_explanation(
    parsed: Reference, namespace: str, stands: Sequence[_Stand], outcome: ImageDecision | None, paper: Paper
) -> None:
    paper.line((_full(parsed), STRONG), f'  in namespace "{namespace}"')
    for stand in stands:
        paper.blank()
        _write_stand(stand, paper)
    paper.blank()
    if outcome is None:
        paper.line(("UNDECIDED", f"{STRONG} {UNSURE}"), f"  {_open(stands)}", hang=2)
        return
    word, style = _ending(outcome.result)
    code = f"  {outcome.code}: " if outcome.code else "  "
    paper.line((word, f"{STRONG} {style}"), f"{code}{outcome.detail}", hang=2)
    if outcome.code is Code.NO_POLICY or outcome.result is Result.UNMATCHED:
        paper.line("so the setting COUNTERSIGN_NO_MATCH decides: deny, warn or allow", indent=2)
    if outcome.result not in REFUSED and (warning := _named(s for s in stands if s.demands)):
        paper.line(f"whatever is missing for {warning} becomes a warning", indent=2)


def _write_stand(stand: _Stand, paper: Paper) -> None:
    selection, decision = stand.selection, stand.decision
    policy = selection.policy
    mode = "enforces" if stand.enforces else "only warns"
    paper.line((f'policy "{policy.name}"', STRONG), (f" (rev {policy.revision}, {policy.origin}) ", DIM), mode, hang=2)
    says, rule = _says(stand), f"{decision.rule}: " if decision.rule else ""
    paper.line((f"{says:<8}", _STYLES[says]), rule, stand.why, indent=2, hang=2)
    if selection.needs_digest:
        paper.line("the digest is looked up first: this policy names digests", indent=10)
    if selection.rule is None:
        return
    _write_rule(selection.rule, decision, paper)


def _write_rule(rule: Rule, decision: PolicyDecision, paper: Paper) -> None:
    paper.line(("wants   ", UNSURE), decision.wants, indent=2, hang=2)
    signers = _signers(rule)
    width = max((len(signer.name) for signer in signers), default=0)
    for signer in signers:
        barred = decision.barred.get(signer.name, "")
        paper.line(
            f"{signer.name:<{width}}  ",
            (_material(signer), DIM),
            (f"  {barred}" if barred else "", BAD),
            indent=10,
            hang=2,
        )
    for line in _conditions(rule):
        paper.line(line, indent=10, hang=2)


def _signers(rule: Rule) -> tuple[Signer, ...]:
    """Each once, those of attestations too."""
    attesting = (signer for demand in rule.attestations for signer in demand.signers)
    return tuple(dict.fromkeys((*rule.signers, *attesting)))


def _material(signer: Signer) -> str:
    material, root = signer.material, signer.trust_root
    match material:
        case PublicKey():
            shown = f"{material.algorithm} sha256:{material.fingerprint}"
            return f"{shown}, logged in {_root(root)}" if signer.require_log and root else shown
        case KMSKey() | StoredKey():
            shown = ", ".join((str(material), *(str(option) for option in (material.hash, material.padding) if option)))
            return f"{shown}, logged in {_root(root)}" if signer.require_log and root else shown
        case SigningProfile():
            return "; ".join((f"{material}, trust store {material.store.name}", *_lenient(material.actions)))
        case CertificateRule():
            return "; ".join((str(material), *_stamped(material), *_lenient(material.actions)))
    return f"{material}, trust root {_root(root)}" if root else str(material)


def _stamped(rule: CertificateRule) -> Iterator[str]:
    if rule.timestamp_stores:
        when = "" if rule.verify_timestamp is VerifyTimestamp.ALWAYS else " once a certificate has ended"
        yield f"stamped by {' or '.join(store.name for store in rule.timestamp_stores)}{when}"


def _lenient(actions: Actions) -> Iterator[str]:
    """The checks that refuse nothing."""
    for action, done in ((Action.LOG, "only told"), (Action.SKIP, "not checked")):
        if checks := [check for check, chosen in actions if chosen is action]:
            yield f"{done}: {', '.join(checks)}"


def _root(root: RootSource) -> str:
    wanted = {"log": root.require_log, "SCT": root.require_sct, "timestamp": root.require_timestamp}
    return f"{root.name} ({root.kind}; demands {', '.join(name for name, demanded in wanted.items() if demanded)})"


def _conditions(rule: Rule) -> Iterator[str]:
    """What is demanded beyond signers, one line each."""
    for name, value in rule.annotations:
        yield f"signed along: {name}={value}"
    if rule.max_age is not None:
        yield f"signed at most {_age(rule.max_age)} ago"
    for one in rule.attestations:
        yield f"{one.label}: {one.predicate_type} by {', '.join(signer.name for signer in one.signers)}"
        if one.condition is not None:
            yield f"  where {' '.join(one.condition.text.split())}"
        if one.max_age is not None:
            clock = f", by {'.'.join(one.time_field)} too" if one.time_field else ""
            yield f"  at most {_age(one.max_age)} old{clock}"
        yield f"  {_PICKS[one.pick]}"


_PICKS = {
    Pick.ANY: "any one of several will do",
    Pick.NEWEST: "of several the newest counts",
    Pick.ALL: "of several all must hold",
}


_STYLES = {"demands": UNSURE, "denies": BAD, "admits": GOOD, "silent": DIM}


def _says(stand: _Stand) -> str:
    match stand.decision.result:
        case _ if stand.demands:
            return "demands"
        case Result.SILENT:
            return "silent"
        case Result.DENIED | Result.ERROR:
            return "denies"
        case _:
            return "admits"


def _open(stands: Sequence[_Stand]) -> str:
    """What it still depends on."""
    if enforcing := _named(s for s in stands if s.demands and s.enforces):
        attested = any(s.selection.rule.attestations for s in stands if s.selection.rule and s.enforces)
        evidence = "signatures and attestations" if attested else "signatures"
        return f"{evidence} decide: {enforcing} must be satisfied"
    return f"the digest decides: {_named(s for s in stands if s.selection.needs_digest)} names digests"


def _named(stands: Iterable[_Stand]) -> str:
    return " and ".join(f'"{stand.selection.policy.name}"' for stand in stands)


def _ending(result: Result) -> tuple[str, str]:
    match result:
        case Result.DENIED:
            return "DENIED", BAD
        case Result.ERROR:
            return "COULD NOT TELL", UNSURE
        case Result.WARNED:
            return "ADMITTED WITH A WARNING", UNSURE
        case _:
            return "ADMITTED", GOOD


def _full(parsed: Reference) -> str:
    tag = f":{parsed.tag}" if parsed.tag and parsed.digest is None else ""
    digest = f"@{parsed.digest}" if parsed.digest else ""
    return f"{parsed.repository}{tag}{digest}"


def _explain_document(
    parsed: Reference, namespace: str, stands: Sequence[_Stand], outcome: ImageDecision | None
) -> Document:
    return {
        "image": parsed.text,
        "reference": _full(parsed),
        "namespace": namespace,
        "result": outcome.result if outcome else "undecided",
        "code": outcome.code if outcome else None,
        "detail": outcome.detail if outcome else None,
        "policies": [_stand_document(stand) for stand in stands],
    }


def _stand_document(stand: _Stand) -> Document:
    policy, decision, rule = stand.selection.policy, stand.decision, stand.selection.rule
    return {
        "name": policy.name,
        "revision": policy.revision,
        "origin": policy.origin,
        "mode": stand.selection.mode,
        "says": _says(stand),
        "rule": decision.rule,
        "why": stand.why,
        "code": None if rule else decision.code,
        "wants": decision.wants,
        "needed": decision.needed,
        "needs_digest": stand.selection.needs_digest,
        "signers": [_signer_document(signer, decision) for signer in (_signers(rule) if rule else ())],
        "annotations": dict(rule.annotations) if rule else {},
        "max_age_seconds": _seconds(rule.max_age) if rule else None,
        "attestations": [_attestation_document(one) for one in (rule.attestations if rule else ())],
    }


def _signer_document(signer: Signer, decision: PolicyDecision) -> Document:
    material, root = signer.material, signer.trust_root
    is_key = isinstance(material, PublicKey | KMSKey | StoredKey)
    notation = material if isinstance(material, SigningProfile | CertificateRule) else None
    return {
        "name": signer.name,
        "kind": signer.kind,
        "fingerprint": signer.fingerprint or None,
        "algorithm": material.algorithm if isinstance(material, PublicKey) else None,
        "identity": None if isinstance(material, PublicKey) else str(material),
        "trust_root": root.key if root else None,
        "trust_stores": [str(store) for store in notation.stores] if notation else [],
        "checks": dict(notation.actions) if notation else {},
        "requires": {
            "log": signer.require_log or (not is_key and root is not None and root.require_log),
            "sct": not is_key and root is not None and root.require_sct,
            "timestamp": not is_key and root is not None and root.require_timestamp,
        },
        "blocked": decision.barred.get(signer.name),
    }


def _attestation_document(one: AttestationDemand) -> Document:
    return {
        "label": one.label,
        "predicate_type": one.predicate_type,
        "signers": [signer.name for signer in one.signers],
        "condition": one.condition.text if one.condition else None,
        "pick": one.pick,
        "max_age_seconds": _seconds(one.max_age),
        "time_field": ".".join(one.time_field) or None,
    }


def _age(age: timedelta) -> str:
    """As a policy writes it: `90d`, `24h`, `30m`."""
    minutes = int(age.total_seconds()) // 60
    for unit, length in (("d", 24 * 60), ("h", 60)):
        if minutes % length == 0:
            return f"{minutes // length}{unit}"
    return f"{minutes}m"


def _seconds(age: timedelta | None) -> int | None:
    return None if age is None else int(age.total_seconds())
