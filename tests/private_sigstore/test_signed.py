"""Statements, payloads, envelopes and layers that differ in one thing from what is right, each with its code.

Names of vulnerabilities stand where others took such a thing for good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pytest

from tests.private_sigstore import documents
from tests.private_sigstore.asked import (
    ALONE,
    BY_KEY,
    IMAGE,
    OTHER,
    OURS,
    SLSA,
    STRAIGHT,
    STRANGER,
    THIRD_KEY,
    Asked,
    bundle,
    judge,
    member,
    of_image,
    rows,
    told,
    twisted,
)
from tests.private_sigstore.documents import edit, put
from tests.private_sigstore.instance import (
    CERTIFICATE,
    CHAIN,
    REKOR_BUNDLE,
    TIMESTAMP,
    Layer,
    key_of,
)
from tests.private_sigstore.recipe import Twist
from webhook.demo.content import digest_of
from webhook.evidence.model import Form

# --- near misses: what is signed


def statement(path: documents.Path, value: object) -> Callable[[], bytes]:
    return twisted(payload=lambda document: put(document, path, value))


HUNDRED = [{"digest": {"sha256": digest_of(str(number).encode())[7:]}} for number in range(100)]


@pytest.mark.parametrize(
    ("make", "asked", "expected"),
    rows([
        ("another image", of_image, Asked(image=OTHER), "subject_mismatch"),
        ("a hundred images, ours the last", statement(("subject",), lambda subject: [*HUNDRED, *subject]), STRAIGHT,
         "verified"),
        ("a hundred images, not ours", statement(("subject",), HUNDRED), STRAIGHT, "subject_mismatch"),
        ("CVE-2024-45395: 1025 images", statement(("subject",), lambda subject: subject * 1025), STRAIGHT,
         "limit_exceeded"),
        ("CVE-2024-45395: 33 digests", statement(("subject", 0, "digest"), lambda digest: {
            **digest, **{f"x{number}": "0" for number in range(32)}}), STRAIGHT, "limit_exceeded"),
        ("only under another algorithm", statement(("subject", 0, "digest"), {"sha512": IMAGE[7:]}), STRAIGHT,
         "subject_mismatch"),
        ("no image", statement(("subject",), []), STRAIGHT, "malformed"),
        ("statement 0.1", lambda: bundle(IMAGE, kind=documents.STATEMENT_V01), STRAIGHT, "verified"),
        ("statement 2", lambda: bundle(IMAGE, kind="https://in-toto.io/Statement/v2"), STRAIGHT, "unsupported"),
        ("CVE-2022-35929: an attestation is no signature", lambda: bundle(IMAGE, predicate_type=SLSA), STRAIGHT,
         "claim_mismatch"),
        ("an attestation that is asked for", lambda: bundle(IMAGE, predicate_type=SLSA),
         Asked(predicates=frozenset({SLSA})), "attested"),
        ("CVE-2022-35930: another attestation", lambda: bundle(IMAGE, predicate_type=SLSA),
         Asked(predicates=frozenset({"https://slsa.dev/provenance/v0.2"})), "claim_mismatch"),
        ("not JSON", twisted(payload=lambda _: b"{"), STRAIGHT, "malformed"),
        ("something else was signed", twisted(signed=lambda data: data + b"x"), STRAIGHT, "signature_invalid"),
        ("two signatures", member(("dsseEnvelope", "signatures"), lambda signatures: signatures * 2), STRAIGHT,
         "malformed"),
        ("no signature", member(("dsseEnvelope", "signatures"), []), STRAIGHT, "malformed"),
        ("another type of payload", member(("dsseEnvelope", "payloadType"), "application/json"), STRAIGHT,
         "unsupported"),
        ("both contents", member(("messageSignature",), {"signature": "AAAA"}), STRAIGHT, "malformed"),
        ("a message", lambda: OURS.message_bundle(b"x"), STRAIGHT, "unsupported"),
        ("a message by a key", lambda: OURS.message_bundle(b"x", keyless=False), BY_KEY, "unsupported"),
        ("both materials", member(("verificationMaterial", "publicKey"), {"hint": ""}), STRAIGHT, "malformed"),
        ("version 0.2 with its issuer", lambda: bundle(IMAGE, version="0.2", chain=OURS.authority.chain[:1]), STRAIGHT,
         "verified"),
        ("version 0.2 with a root", lambda: bundle(IMAGE, version="0.2", chain=OURS.authority.chain), STRAIGHT,
         "malformed"),
        ("a chain in version 0.3", lambda: edit(bundle(IMAGE, version="0.2"), ("mediaType",), documents.BUNDLES["0.3"]),
         STRAIGHT, "malformed"),
        ("version 9", member(("mediaType",), "application/vnd.dev.sigstore.bundle.v9+json"), STRAIGHT, "unsupported"),
        ("by a key, where an identity is asked", lambda: OURS.key_bundle(IMAGE), STRAIGHT, "unsupported"),
        ("by an identity, where a key is asked", of_image, BY_KEY, "unsupported"),
        ("another key", lambda: OURS.key_bundle(IMAGE, key=THIRD_KEY), BY_KEY, "signature_invalid"),
        ("a key, not logged", lambda: OURS.key_bundle(IMAGE, log="none"), BY_KEY, "tlog_invalid"),
        ("a key, and no log asked for", lambda: OURS.key_bundle(IMAGE, log="none"), ALONE, "verified"),
        ("a key, and another was logged", lambda: OURS.key_bundle(IMAGE, twist=Twist(verifier=lambda _: THIRD_KEY)),
         Asked(key=key_of("p256"), log=False), "tlog_entry_mismatch, tampered"),
    ]),
)  # fmt: skip
def test_what_is_signed(make: Callable[[], bytes], asked: Asked, expected: str) -> None:
    assert told(judge(Form.BUNDLE, (make(), {}), asked)) == expected


# --- near misses: layers

legacy = OURS.legacy_signature
FOREIGN_CHAIN = "".join(documents.pem(one) for one in STRANGER.authority.chain)


def annotated(changes: Mapping[str, str | None], **how: object) -> Callable[[], Layer]:
    def make() -> Layer:
        payload, annotations = legacy(IMAGE, **how)  # type: ignore[arg-type]
        merged = {**annotations, **changes}
        return payload, {name: value for name, value in merged.items() if value is not None}

    return make


def rekor_annotation(path: documents.Path, value: object) -> Callable[[], Layer]:
    def make() -> Layer:
        payload, annotations = legacy(IMAGE)
        changed = edit(annotations[REKOR_BUNDLE].encode(), path, value).decode()
        return payload, {**annotations, REKOR_BUNDLE: changed}

    return make


def payload(path: documents.Path, value: object) -> Callable[[], Layer]:
    return lambda: legacy(IMAGE, twist=Twist(payload=lambda document: put(document, path, value)))


def certificate_of_another() -> str:
    return documents.pem(OURS.issue(THIRD_KEY))


@pytest.mark.parametrize(
    ("make", "asked", "expected"),
    rows([
        ("another image", lambda: legacy(IMAGE), Asked(image=OTHER), "subject_mismatch"),
        ("of podman", payload(("critical", "type"), "atomic container signature"), STRAIGHT, "claim_mismatch"),
        ("payload changed", lambda: (legacy(IMAGE)[0] + b" ", legacy(IMAGE)[1]), STRAIGHT,
         "tlog_entry_mismatch, tampered"),
        ("no chain", annotated({CHAIN: None}), STRAIGHT, "verified"),
        ("a chain of another instance", annotated({CHAIN: FOREIGN_CHAIN}), STRAIGHT, "verified"),
        ("no certificate", annotated({CERTIFICATE: None}), STRAIGHT, "unsupported"),
        ("a certificate of another key", annotated({CERTIFICATE: certificate_of_another()}), STRAIGHT,
         "tlog_entry_mismatch, tampered"),
        ("no entry", annotated({REKOR_BUNDLE: None}), STRAIGHT, "tlog_invalid"),
        ("no entry, none asked for, no time", annotated({REKOR_BUNDLE: None}), Asked(log=False), "time_invalid"),
        ("a timestamp alone", lambda: legacy(IMAGE, log="none", timestamp=True), Asked(log=False), "verified"),
        ("a timestamp over something else", lambda: legacy(
            IMAGE, log="none", timestamp=True, twist=Twist(stamped=lambda _: b"x")), Asked(log=False), "time_invalid"),
        ("garbage as a timestamp", annotated({TIMESTAMP: '{"SignedRFC3161Timestamp":"AAAA"}'}), STRAIGHT, "malformed"),
        ("another time", rekor_annotation(("Payload", "integratedTime"), 1772366406), STRAIGHT, "tlog_invalid"),
        ("another index", rekor_annotation(("Payload", "logIndex"), 1), STRAIGHT, "tlog_invalid"),
        ("another log", rekor_annotation(("Payload", "logID"), "0" * 64), STRAIGHT, "tlog_invalid"),
        ("CVE-2022-36056: entry of another signature", lambda: (
            (one := legacy(IMAGE))[0], {**one[1], REKOR_BUNDLE: legacy(IMAGE)[1][REKOR_BUNDLE]}), STRAIGHT,
         "tlog_entry_mismatch, tampered"),
        ("CVE-2022-23649: entry of another image", lambda: (
            (one := legacy(IMAGE))[0], {**one[1], REKOR_BUNDLE: legacy(OTHER)[1][REKOR_BUNDLE]}), STRAIGHT,
         "tlog_entry_mismatch, tampered"),
        ("a key", lambda: legacy(IMAGE, keyless=False), BY_KEY, "verified"),
        ("a key beside its certificate", lambda: legacy(IMAGE), BY_KEY, "verified"),
        ("a key beside a certificate of another", annotated({CERTIFICATE: certificate_of_another()}, keyless=False),
         BY_KEY, "signature_invalid"),
        ("a key, and the entry names a certificate that is not there", annotated({CERTIFICATE: None}), BY_KEY,
         "tlog_entry_mismatch, tampered"),
        ("a key that was not logged", lambda: legacy(IMAGE, keyless=False, log="none"), BY_KEY, "tlog_invalid"),
        ("another key", lambda: legacy(IMAGE, keyless=False, key=THIRD_KEY), BY_KEY, "signature_invalid"),
    ]),
)  # fmt: skip
def test_legacy_near_misses(make: Callable[[], Layer], asked: Asked, expected: str) -> None:
    assert told(judge(Form.LEGACY, make(), asked)) == expected


attest = partial(OURS.legacy_attestation, IMAGE, predicate_type=SLSA)
SLSA_ASKED = Asked(predicates=frozenset({SLSA}))


def other_envelope(**how: object) -> Callable[[], Layer]:
    """The same statement, signed again, beside the annotations of the first."""
    return lambda: (attest(**how)[0], attest(**how)[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "asked", "expected"),
    rows([
        ("stamped", lambda: attest(timestamp=True), SLSA_ASKED, "attested"),
        ("another image", attest, Asked(image=OTHER, predicates=frozenset({SLSA})), "subject_mismatch"),
        ("another type", attest, Asked(predicates=frozenset({"https://spdx.dev/Document"})), "claim_mismatch"),
        ("as a signature", attest, STRAIGHT, "claim_mismatch"),
        ("a signature in a layer of attestations", lambda: OURS.legacy_attestation(IMAGE), SLSA_ASKED,
         "claim_mismatch"),
        ("dsse entry of another envelope", other_envelope(), SLSA_ASKED, "tlog_entry_mismatch, tampered"),
        ("intoto 0.0.1 entry of another envelope", other_envelope(entry="intoto 0.0.1"), SLSA_ASKED,
         "tlog_entry_mismatch, tampered"),
        ("intoto 0.0.2 entry of another envelope", other_envelope(entry="intoto 0.0.2"), SLSA_ASKED,
         "tlog_entry_mismatch, tampered"),
        ("written anew", lambda: ((one := attest())[0] + b"\n", one[1]), SLSA_ASKED, "tlog_entry_mismatch, tampered"),
    ]),
)  # fmt: skip
def test_attestation_near_misses(make: Callable[[], Layer], asked: Asked, expected: str) -> None:
    assert told(judge(Form.DSSE, make(), asked)) == expected
