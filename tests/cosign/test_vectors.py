"""Real signatures by other tools, kept unedited, held against a key: those that need neither a trust root nor a log.

`tests/vectors/sigstore/index.json` names where each file comes from. Its keyless cases are here as what they are
for a key: evidence that somebody else's signer may want, and this one cannot use.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.cosign import made
from tests.cosign.made import CERTIFICATE
from webhook.evidence.model import Evidence, Form
from webhook.oci.reference import Digest
from webhook.trust import material
from webhook.trust.material import PublicKey

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "sigstore"
INDEX = json.loads((VECTORS / "index.json").read_text())
CASES = {case["id"]: case for case in INDEX["cases"]}


@functools.cache
def key_from(path: str) -> PublicKey:
    return material.parse_public_key((VECTORS / path).read_bytes())


def digest(text: str) -> Digest:
    algorithm, _, value = text.partition(":")
    return Digest(algorithm, value)


def found(case_id: str) -> Evidence:
    case = CASES[case_id]
    files = {name: VECTORS / path for name, path in case["files"].items()}
    if case["kind"] == "bundle":
        subject = digest(case["digest"]) if "digest" in case else made.IMAGE
        return made.evidence(Form.BUNDLE, files["bundle"].read_bytes(), {}, subject=subject)
    annotations = json.loads(files["annotations"].read_text())
    return made.evidence(Form.LEGACY, files["payload"].read_bytes(), annotations, subject=digest(case["digest"]))


@pytest.mark.parametrize(
    ("case_id", "key", "expected"),
    [
        ("legacy/key-only", "legacy/cosign.pub", "verified"),
        ("legacy/key-only", "legacy/cosign2.pub", "signature_invalid"),
        ("legacy/modified-manifest", "legacy/cosign.pub", "subject_mismatch"),
        ("legacy/key-rekor", "legacy/cosign2.pub", "verified"),
        ("legacy/key-rekor+wrong-key", "legacy/cosign.pub", "signature_invalid"),
        ("legacy/keyless-rekor", "legacy/cosign.pub", "signature_invalid"),
        ("bundles/cosign3-sign-keyless", "legacy/cosign.pub", "unsupported"),
        (
            "conformance/managed-key-happy-path",
            "conformance/managed-key-happy-path/key.pub",
            "unsupported",
        ),  # of a file, not of an image
        ("conformance/happy-path-v0.1", "legacy/cosign.pub", "unsupported"),
        ("conformance/happy-path-intoto-in-dsse-v3", "legacy/cosign.pub", "unsupported"),
        ("conformance/bundle-unknown-version_fail", "legacy/cosign.pub", "unsupported"),
        ("conformance/bundle-malformed-json_fail", "legacy/cosign.pub", "malformed"),
        ("conformance/bundle-empty-certificate-chain_fail", "legacy/cosign.pub", "malformed"),
    ],
)
def test_vectors_have_their_verdict(case_id: str, key: str, expected: str) -> None:
    outcome = made.verify(found(case_id), made.signer(key_from(key)))

    assert made.told(outcome) == expected
    if CASES[case_id]["expect"] == "fail":
        assert made.told(outcome) != "verified"


def test_a_keyless_signature_verifies_with_the_bare_key_of_its_certificate() -> None:
    evidence = found("legacy/keyless-rekor")
    leaf = x509.load_pem_x509_certificate(evidence.annotations[CERTIFICATE].encode())
    pem = leaf.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip

    outcome = made.verify(evidence, made.signer(material.parse_public_key(pem)))

    assert made.told(outcome) == "verified"


@pytest.mark.parametrize("path", INDEX["files"])
def test_vectors_are_unedited(path: str) -> None:
    assert hashlib.sha256((VECTORS / path).read_bytes()).hexdigest() == INDEX["files"][path]["sha256"]
