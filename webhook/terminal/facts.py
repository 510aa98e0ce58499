"""The documents of `--output json`, for programs: stable names, every fact, nothing worded for the eye.

Fields are added, never renamed or removed, within one major version. spec: docs/verify.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from webhook.evidence.model import Outcome, Proof
from webhook.policy import reasons
from webhook.policy.decision import AttestationLine, PolicyDecision, Weighed
from webhook.terminal.claims import Hearsay
from webhook.terminal.findings import Run, Signature
from webhook.trust.material import PublicKey

Document = dict[str, object]


def verification(run: Run) -> Document:
    """The document of `verify`."""
    decision = run.decision
    return {
        "image": decision.reference,
        "digest": str(decision.digest) if decision.digest else None,
        "namespace": run.namespace,
        "verdict": run.ending,
        "result": decision.result,
        "code": decision.code,
        "detail": decision.detail,
        "asked": [
            {"place": asked.place, "candidates": asked.candidates, "answer": asked.answer} for asked in decision.asked
        ],
        "signatures": [_signature(signature) for signature in run.signatures],
        "problems": [_outcome(problem) for problem in run.problems],
        "policies": [policy(one) for one in decision.policies],
        "warnings": list(decision.warnings),
        "seconds": round(run.seconds, 6),
        "registry_requests": run.requests,
    }


def policy(decision: PolicyDecision) -> Document:
    """One policy, and what it says of an image."""
    return {
        "name": decision.policy.name,
        "revision": decision.policy.revision,
        "origin": decision.policy.origin,
        "mode": decision.mode,
        "result": decision.result,
        "code": decision.code,
        "detail": decision.detail,
        "rule": decision.rule,
        "wants": decision.wants,
        "needed": decision.needed,
        "counted": list(decision.counted),
        "signers": [
            {"name": line.name, "code": line.code, "detail": line.detail} for line in reasons.signer_lines(decision)
        ],
        "attestations": [_attestation(line) for line in decision.attestations],
        "note": decision.loud or None,
        "tampered": decision.tampered,
        "blocked": decision.blocked,
    }


def _signature(signature: Signature) -> Document:
    evidence = signature.evidence
    return {
        "form": evidence.form,
        "place": evidence.place,
        "manifest": str(evidence.manifest),
        "layer": str(evidence.layer),
        "media_type": evidence.media_type,
        "outcomes": [_outcome(outcome) for outcome in signature.outcomes],
        "demands": [_weighed(weighed) for weighed in signature.weighed],
        "unverified": _hearsay(signature.hearsay) if signature.hearsay else None,
    }


def _weighed(weighed: Weighed) -> Document:
    signer, condition = weighed.outcome.signer, weighed.demand.condition
    return {
        "label": weighed.demand.label,
        "signer": signer.name if signer else None,
        "condition": condition.text if condition else None,
        "code": weighed.code,
        "detail": weighed.detail,
        "at": weighed.at.isoformat() if weighed.at else None,
        "saw": _saw(weighed.saw),
    }


def _hearsay(hearsay: Hearsay) -> Document:
    start, end = hearsay.valid or (None, None)
    return {
        "predicate_type": hearsay.predicate_type or None,
        "issuer": hearsay.issuer or None,
        "subjects": list(hearsay.subjects),
        "not_before": start.isoformat() if start else None,
        "not_after": end.isoformat() if end else None,
        "log_entries": [{"index": index, "at": at.isoformat() if at else None} for index, at in hearsay.logged],
        "timestamps": [at.isoformat() for at in hearsay.stamped],
        "notary": hearsay.notary.document if hearsay.notary else None,
    }


def _saw(saw: Iterable[tuple[str, str]]) -> list[Document]:
    return [{"part": part, "value": value} for part, value in saw]


def _outcome(outcome: Outcome) -> Document:
    signer = outcome.signer
    return {
        "signer": signer.name if signer else None,
        "kind": signer.kind if signer else None,
        "fingerprint": (signer.fingerprint or None) if signer else None,
        "algorithm": signer.material.algorithm if signer and isinstance(signer.material, PublicKey) else None,
        "identity": signer.identity if signer else None,
        "place": outcome.place,
        "verdict": outcome.verdict,
        "code": outcome.code,
        "detail": outcome.detail,
        "facts": dict(outcome.facts),
        "notes": list(outcome.notes),
        "proof": _proof(outcome.proof) if outcome.proof else None,
    }


def _proof(proof: Proof) -> Document:
    claims = proof.claims
    return {
        "material": proof.material,
        "key_fingerprint": proof.key_fingerprint,
        "certificate_fingerprint": proof.certificate_fingerprint or None,
        "issuer": claims.issuer if claims else None,
        "subjects": [{"kind": kind, "value": value} for kind, value in claims.subjects] if claims else [],
        "extensions": dict(claims.extensions) if claims else {},
        "times": [{"at": time.at.isoformat(), "source": time.source} for time in proof.times],
        "log_entries": [{"log": log, "index": index} for log, index in proof.logged],
        "annotations": dict(proof.annotations),
        "predicate_type": proof.attestation.predicate_type if proof.attestation else None,
    }


def _attestation(line: AttestationLine) -> Document:
    return {
        "label": line.label,
        "predicate_type": line.predicate_type,
        "code": line.code,
        "detail": line.detail,
        "saw": _saw(line.saw),
    }
