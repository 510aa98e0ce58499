"""Sigstore bundles made with a key: what verifies, and for each check what just misses it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cosign import made
from tests.cosign.made import IMAGE, OTHER_IMAGE
from webhook.cosign import bundle
from webhook.demo import signing
from webhook.errors import CountersignError
from webhook.evidence.model import SIGN_PREDICATE, Form
from webhook.oci.reference import Digest

DESCRIPTOR = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 25, "digest": str(IMAGE)}


@pytest.mark.parametrize("kind", made.KINDS)
def test_each_kind_of_key(kind: str) -> None:
    signed = signing.sign_bundle(made.key_of(kind), str(IMAGE), DESCRIPTOR)
    by = made.signer(made.public_key(kind))

    assert made.told(made.verify(made.bundle(signed.bundle), by)) == "verified"
    other = made.evidence(Form.BUNDLE, signed.bundle, {}, subject=OTHER_IMAGE)
    assert made.told(made.verify(other, by)) == "subject_mismatch"
    stranger = made.signer(made.public_key("p256" if kind != "p256" else "p384"))
    assert made.told(made.verify(made.bundle(signed.bundle), stranger)) == "signature_invalid"


def test_the_facts_tell_what_was_proved() -> None:
    found = made.bundle()

    assert made.verify(found).facts == {
        "form": "bundle",
        "candidate": str(found.layer),
        "manifest": str(found.manifest),
        "place": "signature_tag",
        "fingerprint": made.public_key().fingerprint,
    }


# --- around the envelope

V01, V02, V03 = (f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3))
KEY = {"publicKey": {"hint": made.key_of("p256").hint}}
LEAF = {"certificate": {"rawBytes": "AAAA"}}
CHAIN = {"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}}
MESSAGE = {"messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": "AAAA"}, "signature": "AAAA"}}
PROOF = {"logIndex": "1", "treeSize": "2", "rootHash": "AAAA", "hashes": ["AAAA"], "checkpoint": {"envelope": "x"}}
ENTRY = {
    "logIndex": "1",
    "logId": {"keyId": "AAAA"},
    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
    "integratedTime": "1",
    "inclusionProof": PROOF,
    "canonicalizedBody": "AAAA",
}
CERTIFIED = {"rawBytes": base64.b64encode(made.certificate_of(made.key_of("p256"))).decode()}
ISSUED = {"rawBytes": base64.b64encode(made.certificate_of(made.key_of("p256"), issuer="ca")).decode()}
OWN = {"certificate": CERTIFIED}
OWN_CHAIN = {"x509CertificateChain": {"certificates": [CERTIFIED, ISSUED]}}
WITH_ROOT = {"x509CertificateChain": {"certificates": [ISSUED, CERTIFIED]}}


def material(**members: object) -> dict[str, object]:
    return {"verificationMaterial": {**KEY, **members}}


def entry(**members: object) -> dict[str, object]:
    return material(tlogEntries=[{**ENTRY, **members}])


def stamps(count: int, size: int) -> Mapping[str, object]:
    """`count` timestamps of `size` bytes each."""
    listed = [{"signedTimestamp": base64.b64encode(bytes(size)).decode()}] * count
    return material(timestampVerificationData={"rfc3161Timestamps": listed})


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param({}, "verified", id="as cosign writes it"),
        pytest.param({"mediaType": V03}, "verified", id="version 0.3, older spelling"),
        pytest.param({"mediaType": V02}, "unsupported", id="version 0.2"),
        pytest.param({"mediaType": V01}, "unsupported", id="version 0.1"),
        pytest.param({"mediaType": f"{signing.BUNDLE};x=1"}, "unsupported", id="a parameter"),
        pytest.param({"mediaType": signing.BUNDLE.upper()}, "unsupported", id="upper case"),
        pytest.param({"mediaType": "application/vnd.dev.sigstore.bundle.v0.4+json"}, "unsupported", id="version 0.4"),
        pytest.param({"mediaType": None}, "unsupported", id="no version"),
        pytest.param({"mediaType": [signing.BUNDLE]}, "unsupported", id="version an array"),
        pytest.param({"unknown": {"x": 1}}, "verified", id="unknown member"),
        pytest.param({"verificationMaterial": None}, "malformed", id="no material"),
        pytest.param({"verificationMaterial": []}, "malformed", id="material an array"),
        pytest.param({"verificationMaterial": {}}, "malformed", id="CVE-2026-44310 material empty"),
        pytest.param({"verificationMaterial": {"publicKey": {}}}, "verified", id="no hint"),
        pytest.param({"verificationMaterial": {"publicKey": {"hint": "x"}}}, "verified", id="hint is not trusted"),
        pytest.param({"verificationMaterial": {"publicKey": "x"}}, "malformed", id="key a string"),
        pytest.param(material(**LEAF), "malformed", id="key and certificate"),
        pytest.param(material(certificate=None), "verified", id="certificate null"),
        pytest.param({"verificationMaterial": LEAF}, "malformed", id="certificate garbage"),
        pytest.param({"verificationMaterial": OWN}, "unsupported", id="certificate, even of this key"),
        pytest.param({"verificationMaterial": CHAIN}, "malformed", id="chain in 0.3"),
        pytest.param({"verificationMaterial": CHAIN, "mediaType": V01}, "malformed", id="chain of garbage in 0.1"),
        pytest.param({"verificationMaterial": OWN_CHAIN, "mediaType": V01}, "unsupported", id="chain in 0.1"),
        pytest.param({"verificationMaterial": WITH_ROOT, "mediaType": V01}, "malformed", id="chain with a root"),
        pytest.param(
            {"verificationMaterial": {"x509CertificateChain": {"certificates": []}}, "mediaType": V02},
            "malformed",
            id="CVE-2026-44310 chain empty",
        ),
        pytest.param({"dsseEnvelope": None}, "malformed", id="no content"),
        pytest.param(MESSAGE, "malformed", id="two contents"),
        pytest.param({"dsseEnvelope": None, **MESSAGE}, "unsupported", id="message signature"),
        pytest.param({"dsseEnvelope": None, "messageSignature": 1}, "malformed", id="message signature a number"),
        pytest.param({"dsseEnvelope": "x"}, "malformed", id="envelope a string"),
        pytest.param(material(tlogEntries=[]), "verified", id="log entries empty"),
        pytest.param(material(tlogEntries=None), "verified", id="log entries null"),
        pytest.param(material(tlogEntries=[ENTRY] * 32), "verified", id="32 entries of a log that nobody asked for"),
        pytest.param(material(tlogEntries=[{}]), "malformed", id="log entry empty"),
        pytest.param(entry(logIndex="01"), "malformed", id="index with a zero before it"),
        pytest.param(entry(logIndex="-1"), "malformed", id="index negative"),
        pytest.param(entry(logIndex=str(1 << 63)), "malformed", id="index beyond 64 bits"),
        pytest.param(entry(logIndex=7), "verified", id="index a number"),
        pytest.param(entry(logIndex=None), "verified", id="index null is 0"),
        pytest.param(entry(logIndex=1.0), "malformed", id="index a fraction"),
        pytest.param(entry(inclusionProof=None), "malformed", id="no proof"),
        pytest.param(entry(inclusionProof={**PROOF, "checkpoint": None}), "malformed", id="no checkpoint"),
        pytest.param(entry(inclusionProof={**PROOF, "hashes": ["AAAA"] * 65}), "limit_exceeded", id="65 hashes"),
        pytest.param(
            entry(inclusionProof={**PROOF, "checkpoint": {"envelope": "x" * 65537}}), "limit_exceeded", id="checkpoint"
        ),
        pytest.param(entry(kindVersion=None), "malformed", id="no kind"),
        pytest.param(entry(logId={"keyId": ""}), "malformed", id="log id empty"),
        pytest.param(entry(inclusionPromise={}), "malformed", id="promise empty"),
        pytest.param(material(tlogEntries=[{}] * 33), "limit_exceeded", id="CVE-2024-45395 33 log entries"),
        pytest.param(material(tlogEntries={}), "malformed", id="log entries an object"),
        pytest.param(material(tlogEntries=["x"]), "malformed", id="log entry a string"),
        pytest.param(material(timestampVerificationData=None), "verified", id="timestamps null"),
        pytest.param(material(timestampVerificationData=[]), "malformed", id="timestamps an array"),
        pytest.param(
            material(timestampVerificationData={"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}] * 32}),
            "verified",
            id="32 timestamps of nobody",
        ),
        pytest.param(
            material(timestampVerificationData={"rfc3161Timestamps": [{}]}), "malformed", id="timestamp empty"
        ),
        pytest.param(
            material(timestampVerificationData={"rfc3161Timestamps": [{}] * 33}),
            "limit_exceeded",
            id="CVE-2024-45395 33 timestamps",
        ),
        pytest.param(stamps(4, 64 << 10), "verified", id="256 KiB of timestamps of nobody"),
        pytest.param(stamps(5, 52_429), "limit_exceeded", id="a byte more of timestamps"),
    ],
)
def test_the_bundle(members: Mapping[str, object], expected: str) -> None:
    assert made.told(made.verify(made.bundle(made.bundle_document(**members)))) == expected


def test_a_message_signature_says_why_it_is_not_of_an_image() -> None:
    outcome = made.verify(made.bundle(made.bundle_document(dsseEnvelope=None, **MESSAGE)))

    assert "message signature" in outcome.detail
    assert "says nothing of an image" in outcome.detail


GOOD = made.as_bytes(made.bundle_document())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b" " + GOOD + b"\n", "verified", id="space around"),
        pytest.param(GOOD + b" " * ((4 << 20) - len(GOOD)), "verified", id="4 MiB"),
        pytest.param(GOOD + b" " * ((4 << 20) + 1 - len(GOOD)), "limit_exceeded", id="CVE-2024-29902 over 4 MiB"),
        pytest.param(GOOD + GOOD, "malformed", id="trailing data"),
        pytest.param(GOOD[:-1] + b',"dsseEnvelope":{}}', "malformed", id="a name twice"),
        pytest.param(GOOD[:-1] + b',"x":{"y":1,"y":1}}', "malformed", id="a name twice, deep"),
        pytest.param(GOOD[:-1] + b',"x":Infinity}', "malformed", id="Infinity"),
        pytest.param(GOOD[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}", "malformed", id="5000 deep"),
        pytest.param(GOOD.replace(b"dsseEnvelope", b"dsse_envelope"), "malformed", id="proto names"),
        pytest.param(b"", "malformed", id="empty"),
        pytest.param(b"null", "malformed", id="null"),
        pytest.param(b"[]", "malformed", id="an array"),
        pytest.param(b"{}", "unsupported", id="no members"),
        pytest.param(b"\0" * 10, "malformed", id="zeros"),
        pytest.param(b"{" * 9000, "malformed", id="9000 braces"),
        pytest.param(b"\xff\xfe", "malformed", id="not UTF-8"),
    ],
)
def test_the_document(data: bytes, expected: str) -> None:
    assert made.told(made.verify(made.bundle(data))) == expected


# --- the envelope

ENVELOPE = made.envelope()
SIGNATURE = ENVELOPE["signatures"][0]["sig"]  # type: ignore[index]
PAYLOAD = str(ENVELOPE["payload"])


def signed_by(sig: object) -> dict[str, object]:
    return {"signatures": [{"sig": sig}]}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param({}, "verified", id="as cosign writes it"),
        pytest.param({"signatures": [{"sig": SIGNATURE, "keyid": "x"}]}, "verified", id="keyid is not trusted"),
        pytest.param({"payloadType": "application/json"}, "unsupported", id="payloadType"),
        pytest.param({"payloadType": "application/vnd.in-toto+json "}, "unsupported", id="payloadType and a space"),
        pytest.param({"payloadType": None}, "malformed", id="no payloadType"),
        pytest.param({"payload": None}, "malformed", id="no payload"),
        pytest.param({"payload": ""}, "signature_invalid", id="payload empty"),
        pytest.param({"payload": PAYLOAD + "!"}, "malformed", id="payload not base64"),
        pytest.param({"payload": PAYLOAD[:60] + "\n" + PAYLOAD[60:]}, "malformed", id="payload wrapped"),
        pytest.param(
            {"payload": made.envelope(made.statement(x=1))["payload"]}, "signature_invalid", id="other payload"
        ),
        pytest.param({"signatures": None}, "malformed", id="signatures null"),
        pytest.param({"signatures": []}, "malformed", id="CVE-2026-44310 no signature"),
        pytest.param({"signatures": [{"sig": SIGNATURE}] * 2}, "malformed", id="two signatures"),
        pytest.param({"signatures": [{"sig": SIGNATURE}] * 17}, "limit_exceeded", id="17 signatures"),
        pytest.param({"signatures": ["x"]}, "malformed", id="signature a string"),
        pytest.param(signed_by(None), "malformed", id="sig null"),
        pytest.param(signed_by(""), "malformed", id="sig empty"),
        pytest.param(signed_by("AAAA"), "signature_invalid", id="sig too short"),
        pytest.param(signed_by(base64.b64encode(b"0" * 65537).decode()), "limit_exceeded", id="sig over 64 KiB"),
    ],
)
def test_the_envelope(members: Mapping[str, object], expected: str) -> None:
    document = made.bundle_document(sealed={**ENVELOPE, **members})

    assert made.told(made.verify(made.bundle(document))) == expected


def test_the_type_and_the_lengths_are_signed_with_the_payload() -> None:
    key, payload = made.key_of("p256"), made.as_bytes(made.statement())
    for signed in (payload, b"DSSEv1 0  %d %b" % (len(payload), payload)):
        sealed = {**ENVELOPE, **signed_by(signing.base64_of(key.sign(signed)))}
        assert made.told(made.verify(made.bundle(made.bundle_document(sealed)))) == "signature_invalid"


# --- the statement, which is signed well each time


def subject(*digests: Mapping[str, str]) -> dict[str, object]:
    return {"subject": [{"digest": one} for one in digests]}


RIGHT, WRONG = {"sha256": IMAGE.hex}, {"sha256": OTHER_IMAGE.hex}
SBOM = {"predicateType": "https://spdx.dev/Document"}
VULN = {"predicateType": "https://cosign.sigstore.dev/attestation/vuln/v1"}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param({}, "verified", id="as cosign writes it"),
        pytest.param({"_type": "https://in-toto.io/Statement/v0.1"}, "verified", id="statement 0.1"),
        pytest.param({"_type": "https://in-toto.io/Statement/v2"}, "unsupported", id="statement 2"),
        pytest.param({"_type": None}, "malformed", id="no _type"),
        pytest.param({"predicate": None}, "verified", id="predicate null"),
        pytest.param({"predicate": {"x": 1}}, "verified", id="predicate with members"),
        pytest.param({"predicate": "x"}, "malformed", id="CVE-2026-39395 predicate a string"),
        pytest.param(SBOM, "claim_mismatch", id="CVE-2022-35929 SBOM"),
        pytest.param(VULN, "claim_mismatch", id="CVE-2022-35930 scan result"),
        pytest.param({"predicateType": f"{SIGN_PREDICATE}/"}, "claim_mismatch", id="predicateType and a slash"),
        pytest.param({"predicateType": ""}, "claim_mismatch", id="predicateType empty"),
        pytest.param({"predicateType": None}, "malformed", id="CVE-2022-35929 no predicateType"),
        pytest.param(subject(WRONG), "subject_mismatch", id="other image"),
        pytest.param(subject(WRONG, RIGHT), "verified", id="second subject"),
        pytest.param(subject({**RIGHT, "sha512": "00"}), "verified", id="two algorithms"),
        pytest.param(subject({"sha512": IMAGE.hex}), "subject_mismatch", id="other algorithm"),
        pytest.param(subject({"SHA256": IMAGE.hex}), "subject_mismatch", id="algorithm in other case"),
        pytest.param(subject({"sha256": IMAGE.hex.upper()}), "subject_mismatch", id="hex in upper case"),
        pytest.param(subject({"sha256": str(IMAGE)}), "subject_mismatch", id="algorithm within the hex"),
        pytest.param(subject({"sha256": ""}), "subject_mismatch", id="digest empty"),
        pytest.param({"subject": [{"name": str(IMAGE), "digest": WRONG}]}, "subject_mismatch", id="name is ignored"),
        pytest.param(subject({}), "subject_mismatch", id="no digest"),
        pytest.param({"subject": [{"name": "x"}]}, "malformed", id="digest absent"),
        pytest.param({"subject": [{"digest": {"sha256": [IMAGE.hex]}}]}, "malformed", id="digest an array"),
        pytest.param({"subject": []}, "malformed", id="CVE-2026-44310 no subject"),
        pytest.param({"subject": None}, "malformed", id="subject null"),
        pytest.param({"subject": RIGHT}, "malformed", id="subject an object"),
        pytest.param(subject(*[RIGHT] * 1024), "verified", id="1024 subjects"),
        pytest.param(subject(*[RIGHT] * 1025), "limit_exceeded", id="CVE-2024-45395 1025 subjects"),
        pytest.param(subject({**RIGHT, **{f"x{n}": "" for n in range(31)}}), "verified", id="32 digests"),
        pytest.param(
            subject({**RIGHT, **{f"x{n}": "" for n in range(32)}}), "limit_exceeded", id="CVE-2024-45395 33 digests"
        ),
    ],
)
def test_the_statement(members: Mapping[str, object], expected: str) -> None:
    document = made.bundle_document(made.envelope(made.statement(**members)))

    assert made.told(made.verify(made.bundle(document))) == expected


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"[" * 5000, b'{"_type":NaN}', made.as_bytes(made.statement()) + b"{}"]
)
def test_the_statement_is_read_only_when_its_signature_is_right(payload: bytes) -> None:
    sealed = made.envelope(payload)
    forged = {**sealed, **signed_by(SIGNATURE)}

    assert made.told(made.verify(made.bundle(made.bundle_document(sealed)))) == "malformed"
    assert made.told(made.verify(made.bundle(made.bundle_document(forged)))) == "signature_invalid"


def test_a_digest_of_another_algorithm_with_the_same_hex_is_another_image() -> None:
    found = made.evidence(Form.BUNDLE, GOOD, {}, subject=Digest("sha512", IMAGE.hex))

    assert made.told(made.verify(found)) == "subject_mismatch"


# --- flipped bits

STATEMENT = base64.b64decode(PAYLOAD)


@given(bit=st.integers(0, len(STATEMENT) * 8 - 1))
def test_a_flipped_bit_in_the_payload_never_verifies(bit: int) -> None:
    changed = bytearray(STATEMENT)
    changed[bit // 8] ^= 1 << bit % 8
    sealed = {**ENVELOPE, "payload": signing.base64_of(bytes(changed))}

    assert made.told(made.verify(made.bundle(made.bundle_document(sealed)))) == "signature_invalid"


@given(bit=st.integers(0, len(GOOD) * 8 - 1))
def test_a_flipped_bit_in_the_bundle_verifies_only_where_what_is_signed_is_the_same(bit: int) -> None:
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8

    if made.told(made.verify(made.bundle(bytes(changed)))) == "verified":  # the hint, names nobody reads
        assert bundle.parse(bytes(changed)).envelope == bundle.parse(GOOD).envelope


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise_anything_but_our_own(data: bytes) -> None:
    with pytest.raises(CountersignError):
        bundle.parse(data)


def test_the_bundle_of_cosign_has_these_members() -> None:
    document = json.loads(signing.sign_bundle(made.key_of("p256"), str(IMAGE), DESCRIPTOR).bundle)

    assert list(document) == ["mediaType", "verificationMaterial", "dsseEnvelope"]
