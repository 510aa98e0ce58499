"""A record explains a review to a stranger, stays bounded whatever was found, and is always plain JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from webhook.audit.record import OUTCOMES_MAX, TEXT_MAX_CHARS, Entry, clean, compose
from webhook.errors import Code
from webhook.evidence.model import (
    Asked,
    Attestation,
    Evidence,
    Form,
    Outcome,
    Place,
    Proof,
    SignedTime,
    Verdict,
)
from webhook.kube.workload import Request
from webhook.oci.reference import Digest
from webhook.policy.decision import AttestationLine, ImageDecision, PolicyDecision, Result, ReviewDecision
from webhook.policy.model import Mode, Namespaces, Tags, TrustPolicy
from webhook.trust.identity import Claims

AT = datetime(2026, 11, 21, 13, 0, 0, 5000, tzinfo=UTC)
DIGEST = Digest("sha256", "ab" * 32)
POLICY = TrustPolicy(
    name="production",
    revision="3f9c3f9c3f9c",
    origin="production.yaml:1",
    mode=Mode.ENFORCE,
    namespaces=Namespaces(),
    signers=(),
    exempt=(),
    rules=(),
    default=None,
    deny=(),
    exceptions=(),
    enforce_in=(),
    help="",
    tags=Tags.ALLOW,
    tampered=Mode.ENFORCE,
)
EVIDENCE = Evidence(
    form=Form.LEGACY,
    subject=DIGEST,
    place=Place.SIGNATURE_TAG,
    manifest=Digest("sha256", "cd" * 32),
    layer=Digest("sha256", "ef" * 32),
    media_type="application/vnd.dev.cosign.simplesigning.v1+json",
    annotations={"dev.cosignproject.cosign/signature": "SECRETLY-LONG"},
    payload=b"not for a log",
)


def request(**fields: Any) -> Request:
    values: dict[str, Any] = {
        "uid": "u-1",
        "operation": "CREATE",
        "namespace": "shop",
        "group": "",
        "resource": "pods",
        "subresource": "",
        "kind": "Pod",
        "name": "api-1",
        "user": "jane",
        "dry_run": False,
        "images": (),
        "unchanged": (),
    }
    return Request(**values | fields)


def review(
    *outcomes: Outcome, paths: int = 1, images: int = 1, attestations: tuple[AttestationLine, ...] = ()
) -> ReviewDecision:
    policy = PolicyDecision(
        policy=POLICY,
        mode=Mode.ENFORCE,
        result=Result.DENIED,
        code=Code.SIGNATURE_INVALID,
        detail="no signature verifies",
        rule="rules[0]",
        wants="any of: release",
        needed=1,
        outcomes=outcomes,
        attestations=attestations,
    )
    image = ImageDecision(
        reference="ghcr.io/acme/shop:1",
        paths=tuple((f"spec.containers[{index}]", "api") for index in range(paths)),
        digest=DIGEST,
        result=Result.DENIED,
        code=Code.SIGNATURE_INVALID,
        detail="no signature verifies",
        policies=(policy,),
        asked=(Asked(Place.SIGNATURE_TAG, 1, "1 found"), Asked(Place.REFERRERS, 0, "none")),
    )
    return ReviewDecision(False, 403, (image,) * images, "rev1")


def plain(entry: Entry) -> dict[str, Any]:
    """The record as whoever reads the log has it."""
    value: dict[str, Any] = orjson.loads(orjson.dumps(compose(entry)))
    return value


def test_a_record_says_who_asked_what_and_why_it_was_decided_so() -> None:
    outcome = Outcome(Verdict.REJECTED, Code.SIGNATURE_INVALID, "made with another key", evidence=EVIDENCE)
    found = plain(Entry(AT, 0.0123, request(), "deny", 403, review(outcome)))
    assert found == {
        "time": "2026-11-21T13:00:00.005+00:00",
        "event": "review",
        "webhook": "pods",
        "uid": "u-1",
        "decision": "deny",
        "status": 403,
        "operation": "CREATE",
        "group": "",
        "resource": "pods",
        "subresource": "",
        "kind": "Pod",
        "namespace": "shop",
        "name": "api-1",
        "user": "jane",
        "caller": "unauthenticated",
        "dry_run": False,
        "duration_ms": 12.3,
        "policy_revision": "rev1",
        "images": [
            {
                "paths": ["spec.containers[0] api"],
                "reference": "ghcr.io/acme/shop:1",
                "digest": str(DIGEST),
                "result": "denied",
                "code": "signature_invalid",
                "detail": "no signature verifies",
                "asked": {"signature_tag": "1 found", "referrers": "none"},
                "policies": [
                    {
                        "policy": "production",
                        "revision": "3f9c3f9c3f9c",
                        "mode": "enforce",
                        "result": "denied",
                        "code": "signature_invalid",
                        "rule": "rules[0]",
                        "wants": "any of: release",
                        "needed": 1,
                        "counted": [],
                        "detail": "no signature verifies",
                        "outcomes": [
                            {
                                "verdict": "rejected",
                                "code": "signature_invalid",
                                "form": "legacy",
                                "place": "signature_tag",
                                "manifest": str(EVIDENCE.manifest),
                                "candidate": str(EVIDENCE.layer),
                                "detail": "made with another key",
                            }
                        ],
                    }
                ],
            }
        ],
    }


def test_a_review_without_a_look_says_why() -> None:
    found = plain(Entry(AT, 0.001, request(), "error", 503, code=Code.OVERLOADED, detail="256 reviews wait already"))
    assert (found["decision"], found["code"], found["detail"]) == ("error", "overloaded", "256 reviews wait already")
    assert "images" not in found


def test_a_generated_name_stands_where_there_is_no_other() -> None:
    assert plain(Entry(AT, 0, request(name="", generate_name="api-"), "allow", 200))["name"] == "api-"


def test_of_many_outcomes_those_that_verified_come_first_and_the_rest_are_counted() -> None:
    bad = Outcome(Verdict.REJECTED, Code.SIGNATURE_INVALID, "wrong")
    good = Outcome(Verdict.VERIFIED, None, "right")
    found = plain(Entry(AT, 0, request(), "allow", 200, review(*[bad] * 1000, good)))
    policy = found["images"][0]["policies"][0]
    assert (len(policy["outcomes"]), policy["outcomes_total"]) == (OUTCOMES_MAX, 1001)
    assert policy["outcomes"][0]["verdict"] == "verified"


def test_a_record_stays_small_however_much_was_found() -> None:
    outcome = Outcome(Verdict.REJECTED, Code.MALFORMED, "x" * 10_000, evidence=EVIDENCE, facts={"k" * 999: "v" * 9999})
    record = compose(Entry(AT, 0, request(), "deny", 403, review(*[outcome] * 500, paths=500, images=500)))
    assert len(orjson.dumps(record)) < 2 * 1024 * 1024


PROOF = Proof(
    material="identity:[]",
    key_fingerprint="12" * 32,
    certificate_fingerprint="34" * 32,
    claims=Claims("https://issuer.example.com", (("uri", "https://ci.example.com/a"), ("email", "a@example.com"))),
    times=(SignedTime(AT, "tsa.example.com"), SignedTime(AT - timedelta(hours=1), "rekor.example.com")),
    logged=(("https://rekor.example.com", 77),),
    annotations={"env": "prod"},
    attestation=Attestation("https://slsa.dev/provenance/v1", {"predicate": "NOT FOR A LOG"}),
)


def test_what_was_proved_says_who_and_when_by_whose_clock() -> None:
    outcome = Outcome(Verdict.ATTESTED, None, "right", evidence=EVIDENCE, proof=PROOF)
    found = plain(Entry(AT, 0, request(), "allow", 200, review(outcome)))
    (shown,) = found["images"][0]["policies"][0]["outcomes"]
    assert shown["proof"] == {
        "material": "identity:[]",
        "key_fingerprint": "12" * 32,
        "certificate_fingerprint": "34" * 32,
        "issuer": "https://issuer.example.com",
        "subjects": ["uri:https://ci.example.com/a", "email:a@example.com"],
        "times": [
            {"at": "2026-11-21T12:00:00.005000+00:00", "source": "rekor.example.com"},
            {"at": "2026-11-21T13:00:00.005000+00:00", "source": "tsa.example.com"},
        ],
        "logged": [{"log": "https://rekor.example.com", "index": 77}],
        "annotations": {"env": "prod"},
        "predicate_type": "https://slsa.dev/provenance/v1",
    }
    assert "NOT FOR A LOG" not in str(found)


def test_what_became_of_each_attestation_is_told() -> None:
    line = AttestationLine(
        "rules[0].attestations[0]", "https://slsa.dev/provenance/v1", Code.CLAIM_MISMATCH, "condition is false",
        (("predicate.builder.id", "'evil'"),),
    )  # fmt: skip
    found = plain(Entry(AT, 0, request(), "deny", 403, review(attestations=(line,) * 11)))
    policy = found["images"][0]["policies"][0]
    assert (len(policy["attestations"]), policy["attestations_total"]) == (10, 11)
    assert policy["attestations"][0] == {
        "demand": "rules[0].attestations[0]",
        "predicate_type": "https://slsa.dev/provenance/v1",
        "code": "claim_mismatch",
        "detail": "condition is false",
        "saw": {"predicate.builder.id": "'evil'"},
    }


def test_what_was_proved_is_bounded() -> None:
    long = "x" * 10_000
    much = Proof(
        material=long,
        key_fingerprint="12" * 32,
        claims=Claims(long, (("uri", long),) * 100),
        times=(SignedTime(AT, long),) * 100,
        logged=((long, 1),) * 100,
        annotations={f"{long}{n}": long for n in range(100)},
        attestation=Attestation(long, {}),
    )
    line = AttestationLine(long, long, None, long, tuple((f"{n}{long}", long) for n in range(100)))
    outcome = Outcome(Verdict.ATTESTED, None, long, evidence=EVIDENCE, proof=much)
    record = compose(Entry(AT, 0, request(), "allow", 200, review(outcome, attestations=(line,) * 100)))
    assert len(orjson.dumps(record)) < 40_000


def test_evidence_itself_is_not_in_a_record() -> None:
    outcome = Outcome(Verdict.REJECTED, Code.SIGNATURE_INVALID, "wrong", evidence=EVIDENCE)
    line = orjson.dumps(compose(Entry(AT, 0, request(), "deny", 403, review(outcome))))
    assert b"SECRETLY-LONG" not in line
    assert b"not for a log" not in line


@given(st.text())
def test_foreign_text_is_printable_ascii_and_bounded(text: str) -> None:
    shown = clean(text)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= TEXT_MAX_CHARS * len("\\U0010ffff")


@given(st.text(), st.text(), st.text())
def test_every_record_is_json(user: str, name: str, detail: str) -> None:
    outcome = Outcome(Verdict.REJECTED, Code.MALFORMED, detail, facts={"docker_reference": detail})
    assert plain(Entry(AT, 0, request(user=user, name=name), "deny", 403, review(outcome)))
