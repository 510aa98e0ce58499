"""One review as a record that explains it to a stranger: who asked for what, what was found, and what was decided.

A record is a mapping that JSON can hold, bounded in every direction: text that somebody else wrote is printable ASCII
of at most `TEXT_MAX_CHARS`, of many outcomes those that counted come first and the rest are only numbered. It holds no
credential, since nothing it is made of does. Words are those of the documentation and of metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from webhook.evidence.model import Outcome, Proof, Verdict
from webhook.kube.workload import Owner, Request
from webhook.policy.decision import AttestationLine, ImageDecision, PolicyDecision, Result, ReviewDecision, Stale

UNAUTHENTICATED = "unauthenticated"  # no proof was asked for: whoever reaches the port may have sent this
TEXT_MAX_CHARS = 200
NAME_MAX_CHARS = 253  # of an object: RFC 1123, subdomain
OWNER_MAX_CHARS = 317  # an `apiVersion` is a name, a slash and a label
OUTCOMES_MAX = 20  # of one policy and image
OUTCOMES_OF_REVIEW_MAX = 400  # shared by the images of one review, each of which may show one at least
PLACES_MAX = 20
ATTESTATIONS_MAX = 10  # of one policy and image
PROVED_MAX = 5  # names in a certificate, times, log entries, signed annotations, parts of a condition: of one each
PROVED = (Verdict.VERIFIED, Verdict.ATTESTED)

Record = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Entry:
    """One answered review. `decision` is `None` where no image was looked at: then `word` and `detail` say why.

    `word` is `allow`, `warn`, `deny`, `error` or `skip`; `duration` is in seconds; `status` is that of the answer;
    `webhook` is the entry that was asked: `pods`, `workloads`, `policies`, `pin`. `stale` are references to which
    pinning wrote a digest from memory, and why; what of a decision was from memory stands in that.
    """

    at: datetime
    duration: float
    request: Request
    word: str
    status: int
    decision: ReviewDecision | None = None
    code: str | None = None
    detail: str = ""
    webhook: str = "pods"
    stale: tuple[tuple[str, str], ...] = ()


def word_of(decision: ReviewDecision) -> str:
    """A decision in the one word by which metrics, records and the API server's audit annotations count it."""
    if not decision.allowed:
        return "error" if decision.status >= 500 else "deny"
    results = {image.result for image in decision.images}
    if Result.WARNED in results:
        return "warn"
    return "allow" if results - {Result.UNCHANGED} else "skip"


def compose(entry: Entry, *, caller: str = UNAUTHENTICATED) -> Record:
    """The record of `entry`. `caller` says how it is known who asked."""
    request = entry.request
    record: dict[str, object] = {
        "time": entry.at.isoformat(timespec="milliseconds"),
        "event": "review",
        "webhook": entry.webhook,
        "uid": request.uid,
        "decision": entry.word,
        "status": entry.status,
        "operation": clean(request.operation),
        "group": clean(request.group),
        "resource": clean(request.resource),
        "subresource": clean(request.subresource),
        "kind": clean(request.kind),
        "namespace": clean(request.namespace, NAME_MAX_CHARS),
        "name": clean(request.name or request.generate_name, NAME_MAX_CHARS),
        "user": clean(request.user),
        "caller": caller,
        "dry_run": request.dry_run,
        "duration_ms": round(entry.duration * 1000, 3),
    }
    for field, text in (("api_version", request.api_version), ("object_uid", request.object_uid)):
        if text:
            record[field] = clean(text, OWNER_MAX_CHARS)
    if request.owner is not None:
        record["owner"] = _owner(request.owner)
    if entry.code is not None:
        record["code"] = entry.code
    if entry.detail:
        record["detail"] = clean(entry.detail)
    if entry.stale:
        record["stale"] = {Stale.TAG.value: [clean(f"{text}: {why}") for text, why in entry.stale[:PLACES_MAX]]}
    if entry.decision is not None:
        images = entry.decision.images
        outcomes_max = min(OUTCOMES_MAX, max(1, OUTCOMES_OF_REVIEW_MAX // max(1, len(images))))
        record["policy_revision"] = entry.decision.revision
        record["images"] = [_image(image, outcomes_max) for image in images]
    return record


def clean(text: str, max_chars: int = TEXT_MAX_CHARS) -> str:
    """`text` as it may stand in a log: printable ASCII, the rest escaped, cut."""
    if len(text) > max_chars:
        text = text[: max_chars - 3] + "..."
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def _owner(owner: Owner) -> Record:
    texts = {"api_version": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
    return {field: clean(text, OWNER_MAX_CHARS) for field, text in texts.items()}


def _image(image: ImageDecision, outcomes_max: int) -> Record:
    shown: dict[str, object] = {
        "paths": [f"{path} {clean(name)}" for path, name in image.paths[:PLACES_MAX]],
        "reference": clean(image.reference),
        "digest": str(image.digest) if image.digest else None,
        "result": image.result,
        "code": image.code,
    }
    if len(image.paths) > PLACES_MAX:
        shown["paths_total"] = len(image.paths)
    if image.detail:
        shown["detail"] = clean(image.detail)
    if image.warnings:
        shown["warnings"] = [clean(warning) for warning in image.warnings[:PLACES_MAX]]
    if image.stale:
        shown["stale"] = {kind.value: clean(said) for kind, said in image.stale.items()}
    if image.policies:
        shown["policies"] = [_policy(policy, outcomes_max) for policy in image.policies]
    if image.asked:
        shown["asked"] = {asked.place.value: asked.answer for asked in image.asked}
    return shown


def _policy(decision: PolicyDecision, outcomes_max: int) -> Record:
    shown: dict[str, object] = {
        "policy": decision.policy.name,
        "revision": decision.policy.revision,
        "mode": decision.mode,
        "result": decision.result,
        "code": decision.code,
        "rule": decision.rule,
        "wants": clean(decision.wants),
        "needed": decision.needed,
        "counted": decision.counted,
    }
    if decision.detail:
        shown["detail"] = clean(decision.detail)
    if decision.notes:
        shown["notes"] = [clean(note) for note in decision.notes[:PROVED_MAX]]
    if decision.tampered:
        shown["tampered"] = True
    if decision.blocked:
        shown["blocked"] = True
    if decision.attestations:
        shown["attestations"] = [_attestation(line) for line in decision.attestations[:ATTESTATIONS_MAX]]
    if len(decision.attestations) > ATTESTATIONS_MAX:
        shown["attestations_total"] = len(decision.attestations)
    if decision.outcomes:
        shown["outcomes"] = [_outcome(outcome) for outcome in _first(decision.outcomes, outcomes_max)]
    if len(decision.outcomes) > outcomes_max:
        shown["outcomes_total"] = len(decision.outcomes)
    return shown


def _attestation(line: AttestationLine) -> Record:
    shown: dict[str, object] = {
        "demand": clean(line.label),
        "predicate_type": clean(line.predicate_type),
        "code": line.code,
        "detail": clean(line.detail),
    }
    if line.saw:
        shown["saw"] = {clean(name): clean(value) for name, value in line.saw[:PROVED_MAX]}
    return shown


def _first(outcomes: Sequence[Outcome], limit: int) -> Sequence[Outcome]:
    """At most `limit` of them, what proves something before what does not."""
    if len(outcomes) <= limit:
        return outcomes
    return sorted(outcomes, key=lambda outcome: outcome.verdict not in PROVED)[:limit]


def _outcome(outcome: Outcome) -> Record:
    shown: dict[str, object] = {"verdict": outcome.verdict, "code": outcome.code}
    if outcome.signer is not None:
        shown["signer"] = outcome.signer.name
        shown["identity"] = clean(outcome.signer.identity)
    if outcome.evidence is not None:
        shown["form"] = outcome.evidence.form
        shown["place"] = outcome.evidence.place
        shown["manifest"] = str(outcome.evidence.manifest)
        shown["candidate"] = str(outcome.evidence.layer)
    elif outcome.place is not None:
        shown["place"] = outcome.place
    if outcome.detail:
        shown["detail"] = clean(outcome.detail)
    if outcome.facts:
        shown["facts"] = {clean(name): clean(value) for name, value in outcome.facts.items()}
    if outcome.notes:
        shown["notes"] = [clean(note) for note in outcome.notes[:PROVED_MAX]]
    if outcome.proof is not None:
        shown["proof"] = _proof(outcome.proof)
    return shown


def _proof(proof: Proof) -> Record:
    """Who signed, when by whose clock, and where that is logged; never the statement itself."""
    shown: dict[str, object] = {"material": clean(proof.material), "key_fingerprint": proof.key_fingerprint}
    if proof.certificate_fingerprint:
        shown["certificate_fingerprint"] = proof.certificate_fingerprint
    if proof.claims is not None:
        shown["issuer"] = clean(proof.claims.issuer)
        shown["subjects"] = [f"{clean(kind)}:{clean(name)}" for kind, name in proof.claims.subjects[:PROVED_MAX]]
    if proof.times:
        times = sorted(proof.times, key=lambda time: time.at)[:PROVED_MAX]
        shown["times"] = [{"at": time.at.isoformat(), "source": clean(time.source)} for time in times]
    if proof.logged:
        shown["logged"] = [{"log": clean(log), "index": index} for log, index in proof.logged[:PROVED_MAX]]
    if proof.annotations:
        first = list(proof.annotations.items())[:PROVED_MAX]
        shown["annotations"] = {clean(name): clean(value) for name, value in first}
    if proof.attestation is not None:
        shown["predicate_type"] = clean(proof.attestation.predicate_type)
    return shown
