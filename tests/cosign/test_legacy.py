"""Signatures as cosign 1 and 2 store them: what verifies, and for each check what just misses it."""

from __future__ import annotations

import base64
import json
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cosign import made
from tests.cosign.made import CERTIFICATE, IMAGE, OTHER_IMAGE, SIGNATURE
from webhook.demo import signing
from webhook.demo.signing import SigningKey
from webhook.evidence.model import Evidence, Form


@pytest.mark.parametrize("kind", made.KINDS)
def test_each_kind_of_key(kind: str) -> None:
    signed = signing.sign_legacy(made.key_of(kind), str(IMAGE), made.REFERENCE)
    found = made.evidence(Form.LEGACY, signed.payload, signed.layers[0].annotations)
    by = made.signer(made.public_key(kind))

    assert made.told(made.verify(found, by)) == "verified"
    changed = made.evidence(Form.LEGACY, signed.payload.replace(b"app", b"apq"), found.annotations)
    assert made.told(made.verify(changed, by)) == "signature_invalid"
    other = made.evidence(Form.LEGACY, signed.payload, found.annotations, subject=OTHER_IMAGE)
    assert made.told(made.verify(other, by)) == "subject_mismatch"
    assert made.told(made.verify(found, made.signer(made.public_key("p256" if kind != "p256" else "p384")))) == (
        "signature_invalid"
    )


def test_the_facts_tell_what_was_proved() -> None:
    found = made.legacy(made.simple_payload(identity={"docker-reference": "evil\n\x1b[31m"}))

    outcome = made.verify(found)

    assert outcome.facts == {
        "form": "legacy",
        "candidate": str(found.layer),
        "manifest": str(found.manifest),
        "place": "signature_tag",
        "fingerprint": made.public_key().fingerprint,
        "docker_reference": r"'evil\n\x1b[31m'",
    }
    assert outcome.detail == f"legacy signature by ECDSA P-256 key sha256:{made.public_key().fingerprint[:12]}"


# --- the payload, which is signed well each time

GOOD = signing.simple_payload(str(IMAGE), made.REFERENCE)


def critical(**members: object) -> bytes:
    return made.as_bytes(made.simple_payload(**members))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(GOOD, "verified", id="as cosign writes it"),
        pytest.param(signing.simple_payload(str(IMAGE), "a", {"env": "prod"}), "verified", id="annotations"),
        pytest.param(GOOD.replace(b"null", b"{}"), "verified", id="optional empty"),
        pytest.param(GOOD.replace(b',"optional":null', b""), "verified", id="optional absent"),
        pytest.param(GOOD.replace(b"null", b"[]"), "malformed", id="optional an array"),
        pytest.param(b" " + GOOD + b"\n", "verified", id="space around"),
        pytest.param(GOOD + b" " * (65536 - len(GOOD)), "verified", id="64 KiB"),
        pytest.param(GOOD + b" " * (65537 - len(GOOD)), "limit_exceeded", id="CVE-2024-29902 over 64 KiB"),
        pytest.param(critical(identity={"docker-reference": "other.example/x:1"}), "verified", id="mirrored"),
        pytest.param(critical(identity=[]), "malformed", id="identity an array"),
        pytest.param(critical(identity={"docker-reference": 1}), "malformed", id="reference a number"),
        pytest.param(critical(type="atomic container signature"), "claim_mismatch", id="podman's type"),
        pytest.param(critical(type="Cosign container image signature"), "claim_mismatch", id="type in other case"),
        pytest.param(critical(type="cosign container image signature "), "claim_mismatch", id="type and a space"),
        pytest.param(critical(type=None), "claim_mismatch", id="type null"),
        pytest.param(critical(type=["cosign container image signature"]), "claim_mismatch", id="type an array"),
        pytest.param(critical(image=None), "malformed", id="image null"),
        pytest.param(critical(image={}), "malformed", id="no digest"),
        pytest.param(critical(image={"docker-manifest-digest": [str(IMAGE)]}), "malformed", id="digest an array"),
        pytest.param(critical(image={"docker-manifest-digest": str(OTHER_IMAGE)}), "subject_mismatch", id="other"),
        pytest.param(critical(image={"docker-manifest-digest": IMAGE.hex}), "subject_mismatch", id="bare hex"),
        pytest.param(
            critical(image={"docker-manifest-digest": str(IMAGE).upper()}), "subject_mismatch", id="upper case"
        ),
        pytest.param(
            critical(image={"docker-manifest-digest": f"sha512:{IMAGE.hex}"}), "subject_mismatch", id="sha512"
        ),
        pytest.param(critical(image={"docker-manifest-digest": f"{IMAGE}\n"}), "subject_mismatch", id="newline"),
        pytest.param(critical(image={"docker-manifest-digest": ""}), "subject_mismatch", id="empty digest"),
        pytest.param(GOOD[:-1] + b',"critical":{}}', "malformed", id="a name twice"),
        pytest.param(
            GOOD.replace(b'{"docker-m', b'{"docker-manifest-digest":"x","docker-m'), "malformed", id="twice deep"
        ),
        pytest.param(GOOD + b"{}", "malformed", id="trailing data"),
        pytest.param(GOOD.replace(b"null", b'{"x":NaN}'), "malformed", id="NaN"),
        pytest.param(GOOD.replace(b"null", b'{"x":' + b"9" * 5000 + b"}"), "malformed", id="endless number"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, "malformed", id="byte order mark"),
        pytest.param(GOOD.decode().encode("utf-16"), "malformed", id="UTF-16"),
        pytest.param(b"", "malformed", id="empty"),
        pytest.param(b"null", "malformed", id="null"),
        pytest.param(b"[]", "malformed", id="an array"),
        pytest.param(b"{}", "malformed", id="no members"),
        pytest.param(b'{"critical":[]}', "malformed", id="critical an array"),
        pytest.param(b'{"critical":{}}', "claim_mismatch", id="critical empty"),
        pytest.param(b"\xff", "malformed", id="not UTF-8"),
        pytest.param(b"[" * 5000, "malformed", id="5000 deep"),
    ],
)
def test_the_payload(payload: bytes, expected: str) -> None:
    assert made.told(made.verify(made.legacy(payload))) == expected


@pytest.mark.parametrize("payload", [b"", b"{", b"[" * 5000, GOOD + b"{}", GOOD.replace(b"sha256", b"sha999")])
def test_the_signature_is_checked_before_the_payload_is_read(payload: bytes) -> None:
    found = made.evidence(Form.LEGACY, payload, made.legacy().annotations)

    assert made.told(made.verify(found)) == "signature_invalid"


def test_an_oversized_payload_is_not_even_hashed() -> None:
    found = made.evidence(Form.LEGACY, b" " * 65537, made.legacy().annotations)

    assert made.told(made.verify(found)) == "limit_exceeded"


# --- the signature annotation


def with_signature(text: str) -> Evidence:
    return made.evidence(Form.LEGACY, GOOD, {SIGNATURE: text})


SIGNED = signing.base64_of(made.key_of("p256").sign(GOOD))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(SIGNED, "verified", id="as cosign writes it"),
        pytest.param("\n".join((SIGNED[:40], SIGNED[40:], "")), "verified", id="wrapped with LF"),
        pytest.param("\r\n".join((SIGNED[:40], SIGNED[40:], "")), "verified", id="wrapped with CRLF"),
        pytest.param(f"{SIGNED[:40]} {SIGNED[40:]}", "malformed", id="a space inside"),
        pytest.param(f"{SIGNED}\t", "malformed", id="a tab after"),
        pytest.param(f"{SIGNED}\0", "malformed", id="NUL after"),
        pytest.param(f"{SIGNED[:40]}\N{NO-BREAK SPACE}{SIGNED[40:]}", "malformed", id="not ASCII"),
        pytest.param(SIGNED.replace("=", "") + "!", "malformed", id="not base64"),
        pytest.param("AA==AA==", "malformed", id="data after the padding"),
        pytest.param("", "malformed", id="empty"),
        pytest.param("\r\n", "malformed", id="only a line break"),
        pytest.param("A", "malformed", id="one letter"),
        pytest.param("AAAA", "signature_invalid", id="too short"),
        pytest.param(base64.b64encode(b"0" * 65536).decode(), "signature_invalid", id="64 KiB"),
        pytest.param(base64.b64encode(b"0" * 65537).decode(), "limit_exceeded", id="over 64 KiB"),
        pytest.param(
            base64.b64encode(base64.b64decode(SIGNED) + b"\0").decode(), "signature_invalid", id="DER and more"
        ),
    ],
)
def test_the_signature_annotation(text: str, expected: str) -> None:
    assert made.told(made.verify(with_signature(text))) == expected


def test_no_signature_annotation_is_malformed() -> None:
    assert made.told(made.verify(made.evidence(Form.LEGACY, GOOD, {}))) == "malformed"


def test_a_signature_of_another_payload_by_the_same_key() -> None:
    other = made.legacy(critical(image={"docker-manifest-digest": str(OTHER_IMAGE)}))

    assert made.told(made.verify(made.evidence(Form.LEGACY, GOOD, other.annotations))) == "signature_invalid"
    assert made.told(made.verify(other)) == "subject_mismatch"


# --- the certificate annotation


def pem_of(key: SigningKey) -> str:
    return ssl.DER_cert_to_PEM_cert(made.certificate_of(key))


OWN, FOREIGN = pem_of(made.key_of("p256")), pem_of(signing.new_key())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "verified", id="empty, as cosign writes it for keys"),
        pytest.param(OWN, "verified", id="of the key"),
        pytest.param(OWN + FOREIGN * 9, "verified", id="of the key and a chain"),
        pytest.param(OWN + FOREIGN * 10, "limit_exceeded", id="eleven certificates"),
        pytest.param(FOREIGN, "signature_invalid", id="of another key"),
        pytest.param(FOREIGN + OWN, "signature_invalid", id="of the key, but not first"),
        pytest.param("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "malformed", id="garbage"),
        pytest.param("certificate", "malformed", id="no PEM"),
        pytest.param(made.key_of("p256").public_pem, "malformed", id="a key"),
        pytest.param(OWN.replace("MI", "\N{LATIN SMALL LETTER E WITH ACUTE}I", 1), "malformed", id="not ASCII"),
        pytest.param(OWN + "\n" * (131072 - len(OWN)), "verified", id="128 KiB"),
        pytest.param(OWN + "\n" * (131073 - len(OWN)), "limit_exceeded", id="over 128 KiB"),
    ],
)
def test_a_certificate_must_be_of_the_key_and_proves_nothing(text: str, expected: str) -> None:
    assert made.told(made.verify(made.legacy(annotations={CERTIFICATE: text}))) == expected


def test_a_certificate_of_the_attacker_does_not_replace_the_key() -> None:
    attacker = signing.new_key()

    found = made.legacy(key=attacker, annotations={CERTIFICATE: pem_of(attacker)})

    assert made.told(made.verify(found)) == "signature_invalid"


LOGGED = {"body": "e30=", "integratedTime": 1, "logIndex": 1, "logID": "00" * 32}


def logged(**members: object) -> str:
    return json.dumps({"SignedEntryTimestamp": "AAAA", "Payload": {**LOGGED, **members}})


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("chain", "garbage", "verified", id="a chain is never read"),
        pytest.param("bundle", "", "verified", id="no log entry"),
        pytest.param("bundle", logged(), "verified", id="an entry of a log that nobody asked for"),
        pytest.param("bundle", "garbage", "malformed", id="log entry no JSON"),
        pytest.param("bundle", '{"SignedEntryTimestamp":null}', "malformed", id="no promise"),
        pytest.param("bundle", logged(logID="00" * 31), "malformed", id="log id too short"),
        pytest.param("bundle", logged(logID="AA" * 32), "malformed", id="log id in upper case"),
        pytest.param("bundle", logged(logIndex="1"), "malformed", id="index a string"),
        pytest.param("bundle", logged(logIndex=-1), "malformed", id="index negative"),
        pytest.param("bundle", logged(integratedTime=1 << 63), "malformed", id="time beyond 64 bits"),
        pytest.param("bundle", logged(integratedTime=True), "malformed", id="time a boolean"),
        pytest.param("bundle", logged(body=""), "malformed", id="body empty"),
        pytest.param("bundle", logged(x="x" * (2 << 20)), "limit_exceeded", id="log entry over 2 MiB"),
        pytest.param("rfc3161timestamp", '{"SignedRFC3161Timestamp":"AAAA"}', "verified", id="timestamp of nobody"),
        pytest.param("rfc3161timestamp", "{}", "malformed", id="no timestamp"),
        pytest.param("rfc3161timestamp", "garbage", "malformed", id="timestamp no JSON"),
    ],
)
def test_what_vouches_must_be_well_formed_also_where_nobody_asks(name: str, text: str, expected: str) -> None:
    found = made.legacy(annotations={f"dev.sigstore.cosign/{name}": text})

    assert made.told(made.verify(found)) == expected


# --- several signers


def test_each_layer_of_one_manifest_stands_for_itself() -> None:
    first, second = made.key_of("p256"), made.key_of("p384")
    one = signing.sign_legacy(first, str(IMAGE), made.REFERENCE)
    both = signing.sign_legacy(second, str(IMAGE), made.REFERENCE, onto=one)

    listed = json.loads(both.manifest)["layers"]

    assert len(listed) == 2
    for layer, (good, bad) in zip(both.layers, (("p256", "p384"), ("p384", "p256")), strict=True):
        found = made.evidence(Form.LEGACY, layer.payload, layer.annotations)
        assert made.told(made.verify(found, made.signer(made.public_key(good)))) == "verified"
        assert made.told(made.verify(found, made.signer(made.public_key(bad)))) == "signature_invalid"


# --- flipped bits


@given(bit=st.integers(0, len(GOOD) * 8 - 1))
def test_a_flipped_bit_in_the_payload_never_verifies(bit: int) -> None:
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8

    assert (
        made.told(made.verify(made.evidence(Form.LEGACY, bytes(changed), {SIGNATURE: SIGNED}))) == "signature_invalid"
    )


@given(bit=st.integers(0, len(SIGNED) * 8 - 1))
def test_a_flipped_bit_in_the_annotation_verifies_only_where_the_signature_is_the_same(bit: int) -> None:
    changed = bytearray(SIGNED.encode())
    changed[bit // 8] ^= 1 << bit % 8
    text = changed.decode("latin-1")

    if made.told(made.verify(with_signature(text))) == "verified":  # unused bits before the padding
        assert base64.b64decode(text) == base64.b64decode(SIGNED)
