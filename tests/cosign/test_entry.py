"""What log entries say, by kind: what fits, and for each thing that an entry names what just misses it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.private_sigstore import documents, entries
from tests.private_sigstore.documents import DELETED, Document, Path
from tests.private_sigstore.entries import Verifier
from tests.private_sigstore.instance import PrivateSigstore, key_of
from webhook.cosign import entry
from webhook.cosign.entry import Logged
from webhook.demo import signing
from webhook.demo.content import as_json
from webhook.errors import CountersignError
from webhook.trust import material
from webhook.trust.material import Padding

SIGSTORE = PrivateSigstore()
KEY, OTHER_KEY = key_of("p256"), signing.new_key("p256")
CERTIFICATE, OTHER_CERTIFICATE = SIGSTORE.issue(KEY), SIGSTORE.issue(KEY)
VERIFIERS: dict[str, Verifier] = {"key": KEY, "certificate": CERTIFICATE}
OTHERS: dict[str, Verifier] = {"key": OTHER_KEY, "certificate": OTHER_CERTIFICATE}

SIGNATURE = b"a signature, which is only compared here"
PAYLOAD = b'{"_type": "https://in-toto.io/Statement/v1"}'
MESSAGE = documents.signed_bytes(PAYLOAD)
ENVELOPE = as_json(documents.envelope(PAYLOAD, SIGNATURE))


def body_of(
    kind: str,
    verifier: Verifier = KEY,
    *,
    message: bytes = MESSAGE,
    payload: bytes = PAYLOAD,
    envelope: bytes = ENVELOPE,
    signature: bytes = SIGNATURE,
) -> Document:
    match kind:
        case "hashedrekord 0.0.1":
            return entries.hashedrekord(message, signature, verifier)
        case "dsse 0.0.1":
            return entries.dsse(envelope, payload, signature, verifier)
        case "intoto 0.0.2":
            return entries.intoto_002(envelope, payload, signature, verifier)
        case "intoto 0.0.1":
            return entries.intoto_001(envelope, payload, verifier)
    return entries.hashedrekord_002(message, signature, verifier)


KINDS = ("hashedrekord 0.0.1", "dsse 0.0.1", "intoto 0.0.2", "intoto 0.0.1", "hashedrekord 0.0.2")


def logged_of(kind: str, verifier: Verifier = KEY) -> Logged:
    """What an entry of this kind must be about: a layer of a `.att` manifest, or a message where the kind is so."""
    dsse = kind != "hashedrekord 0.0.1"
    return Logged(
        signature=SIGNATURE,
        verifier=entries.verifier_der(verifier),
        by_certificate=verifier is not KEY,
        key=material.parse_public_key(KEY.public_pem),
        digests={"sha256": hashlib.sha256(MESSAGE).digest()},
        payload=PAYLOAD if dsse else None,
        envelope=ENVELOPE if dsse else None,
    )


def told(body: Document | bytes, logged: Logged, kind: str = "", version: str = "") -> str:
    """The kind of entry that fits, or the code of the error."""
    try:
        return entry.verify(documents.as_bytes(body), kind, version, logged)
    except CountersignError as error:
        return error.code.value


@pytest.mark.parametrize("by", VERIFIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_entry(kind: str, by: str) -> None:
    verifier = VERIFIERS[by]

    assert told(body_of(kind, verifier), logged_of(kind, verifier)) == kind


# CVE-2022-23649, CVE-2022-36056, CVE-2026-22703: an entry of anything else than this very signature proves nothing


@pytest.mark.parametrize("by", VERIFIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_of_another_artifact(kind: str, by: str) -> None:
    verifier = VERIFIERS[by]
    body = body_of(kind, verifier, message=MESSAGE + b" ", payload=PAYLOAD + b" ")

    assert told(body, logged_of(kind, verifier)) == "tlog_entry_mismatch"


@pytest.mark.parametrize("by", VERIFIERS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "intoto 0.0.1"])
def test_an_entry_of_another_signature(kind: str, by: str) -> None:
    """Of the same content by the same key, even: the entry of that one says nothing of this one."""
    verifier = VERIFIERS[by]
    body = body_of(kind, verifier, signature=documents.flipped(SIGNATURE))

    assert told(body, logged_of(kind, verifier)) == "tlog_entry_mismatch"


@pytest.mark.parametrize("by", VERIFIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_of_another_verifier(kind: str, by: str) -> None:
    assert told(body_of(kind, OTHERS[by]), logged_of(kind, VERIFIERS[by])) == "tlog_entry_mismatch"


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_no_certificate_of_it(kind: str) -> None:
    assert told(body_of(kind, KEY), logged_of(kind, CERTIFICATE)) == "tlog_entry_mismatch"
    assert told(body_of(kind, CERTIFICATE), logged_of(kind, KEY)) == "tlog_entry_mismatch"


@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_certificate_beside_the_signature_may_be_named_instead_of_the_key(kind: str) -> None:
    beside = replace(logged_of(kind), beside=entries.verifier_der(CERTIFICATE))

    assert told(body_of(kind, CERTIFICATE), beside) == kind
    assert told(body_of(kind, KEY), beside) == kind
    assert told(body_of(kind, OTHER_CERTIFICATE), beside) == "tlog_entry_mismatch"


# --- envelopes


@pytest.mark.parametrize("kind", ["dsse 0.0.1", "intoto 0.0.2", "intoto 0.0.1"])
def test_another_envelope_around_the_same_payload(kind: str) -> None:
    assert told(body_of(kind, envelope=ENVELOPE + b"\n"), logged_of(kind)) == "tlog_entry_mismatch"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("dsse 0.0.1", "dsse 0.0.1"), ("intoto 0.0.2", "intoto 0.0.2"), ("intoto 0.0.1", "unsupported"),
     ("hashedrekord 0.0.2", "hashedrekord 0.0.2")],
)  # fmt: skip
def test_the_envelope_of_a_bundle_was_written_anew(kind: str, expected: str) -> None:
    in_bundle = replace(logged_of(kind), envelope=None)

    assert told(body_of(kind, envelope=ENVELOPE + b"\n"), in_bundle) == expected


@pytest.mark.parametrize("kind", ["dsse 0.0.1", "intoto 0.0.2", "intoto 0.0.1"])
def test_a_message_has_no_entry_of_an_envelope(kind: str) -> None:
    message = replace(logged_of(kind), payload=None, envelope=None)

    assert told(body_of(kind), message) == "tlog_entry_mismatch"


def test_an_envelope_has_no_hashedrekord_of_rekor_1() -> None:
    envelope = replace(logged_of("hashedrekord 0.0.1"), payload=PAYLOAD)

    assert told(body_of("hashedrekord 0.0.1"), envelope) == "tlog_entry_mismatch"


# --- kinds


@pytest.mark.parametrize(
    ("kind", "version", "expected"),
    [
        ("dsse", "0.0.1", "dsse 0.0.1"),
        ("", "", "dsse 0.0.1"),
        ("dsse", "0.0.2", "tlog_entry_mismatch"),
        ("intoto", "0.0.1", "tlog_entry_mismatch"),
        ("dsse", "", "tlog_entry_mismatch"),
        ("", "0.0.1", "tlog_entry_mismatch"),
    ],
)
def test_the_kind_that_is_announced(kind: str, version: str, expected: str) -> None:
    assert told(body_of("dsse 0.0.1"), logged_of("dsse 0.0.1"), kind, version) == expected


@pytest.mark.parametrize(
    ("kind", "version"),
    [("rekord", "0.0.1"), ("rfc3161", "0.0.1"), ("dsse", "0.0.2"), ("hashedrekord", "0.0.3"), ("intoto", "0.0.3"),
     ("Dsse", "0.0.1"), ("dsse 0.0.1", "")],
)  # fmt: skip
def test_other_kinds(kind: str, version: str) -> None:
    body = {**body_of("dsse 0.0.1"), "kind": kind, "apiVersion": version}

    assert told(body, logged_of("dsse 0.0.1")) == "unsupported"


# --- members

S, D = ("spec",), ("spec", "data", "hash")
V2 = ("spec", "hashedRekordV002")
SIGNED = base64.b64encode(SIGNATURE).decode()


def signatures(*, count: int) -> Callable[[object], object]:
    return lambda found: [*found] * count  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "path", "value", "code"),
    [
        ("hashedrekord 0.0.1", (*D, "algorithm"), "sha512", "tlog_entry_mismatch"),
        ("hashedrekord 0.0.1", (*D, "algorithm"), "SHA256", "tlog_entry_mismatch"),
        ("hashedrekord 0.0.1", (*D, "value"), str.upper, "tlog_entry_mismatch"),
        ("hashedrekord 0.0.1", (*D, "value"), "", "tlog_entry_mismatch"),
        ("hashedrekord 0.0.1", (*D, "value"), None, "malformed"),
        ("hashedrekord 0.0.1", ("spec", "signature", "content"), SIGNED + "\n", "malformed"),
        ("hashedrekord 0.0.1", ("spec", "signature", "content"), "", "malformed"),
        ("dsse 0.0.1", (*S, "payloadHash", "algorithm"), "sha512", "tlog_entry_mismatch"),
        ("dsse 0.0.1", (*S, "payloadHash"), DELETED, "malformed"),
        ("dsse 0.0.1", (*S, "envelopeHash"), DELETED, "malformed"),
        ("dsse 0.0.1", (*S, "signatures"), signatures(count=2), "tlog_entry_mismatch"),
        ("dsse 0.0.1", (*S, "signatures"), signatures(count=17), "limit_exceeded"),
        ("dsse 0.0.1", (*S, "signatures"), [], "tlog_entry_mismatch"),
        ("dsse 0.0.1", (*S, "signatures"), [None], "malformed"),
        ("intoto 0.0.2", (*S, "content", "payloadHash"), DELETED, "malformed"),
        ("intoto 0.0.2", (*S, "content", "hash"), DELETED, "malformed"),
        ("intoto 0.0.2", (*S, "content", "envelope", "signatures"), signatures(count=2), "tlog_entry_mismatch"),
        ("intoto 0.0.2", (*S, "content", "envelope", "signatures", 0, "sig"), SIGNED, "malformed"),
        ("intoto 0.0.1", (*S, "content", "payloadHash"), DELETED, "intoto 0.0.1"),
        ("intoto 0.0.1", (*S, "content", "payloadHash"), None, "malformed"),
        ("intoto 0.0.1", (*S, "content", "hash"), DELETED, "malformed"),
        ("hashedrekord 0.0.2", (*V2, "data", "algorithm"), "SHA2_512", "tlog_entry_mismatch"),
        ("hashedrekord 0.0.2", (*V2, "data", "algorithm"), "sha256", "tlog_entry_mismatch"),
        ("hashedrekord 0.0.2", (*V2, "signature", "verifier", "x509Certificate"), None, "tlog_entry_mismatch"),
        ("hashedrekord 0.0.2", (*V2, "signature", "verifier", "publicKey"), DELETED, "malformed"),
        ("hashedrekord 0.0.2", (*V2, "signature", "verifier", "keyDetails"), DELETED, "malformed"),
        ("hashedrekord 0.0.2", V2, DELETED, "malformed"),
        ("dsse 0.0.1", ("spec",), DELETED, "malformed"),
        ("dsse 0.0.1", ("kind",), 1, "malformed"),
        ("dsse 0.0.1", (), [], "malformed"),
    ],
)
def test_members(kind: str, path: Path, value: object, code: str) -> None:
    body = documents.edit(as_json(body_of(kind)), path, value)

    assert told(body, logged_of(kind)) == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed"),
        (b"\xff", "malformed"),
        (b'{"kind": "dsse", "kind": "dsse", "apiVersion": "0.0.1"}', "malformed"),
        (as_json(body_of("dsse 0.0.1"))[:-1] + b', "spec": {}}', "malformed"),
        (b" " * (entry.MAX_BODY_BYTES + 1), "limit_exceeded"),
    ],
    ids=["empty", "no text", "a name twice", "another spec behind", "too long"],
)
def test_bodies_that_are_not_read(body: bytes, code: str) -> None:
    assert told(body, logged_of("dsse 0.0.1")) == code


# --- verifiers in PEM


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda pem: pem, "dsse 0.0.1"),
        (lambda pem: f"\n{pem}\r\n", "dsse 0.0.1"),
        (lambda pem: pem.replace("\n", "\r\n"), "dsse 0.0.1"),
        (lambda pem: pem + pem, "tlog_entry_mismatch"),
        (lambda pem: pem + OTHER_KEY.public_pem, "tlog_entry_mismatch"),
        (lambda pem: OTHER_KEY.public_pem + pem, "tlog_entry_mismatch"),
        (lambda pem: f"a key:\n{pem}", "tlog_entry_mismatch"),
        (lambda pem: pem.replace("PUBLIC KEY", "CERTIFICATE"), "tlog_entry_mismatch"),
        (lambda pem: pem.replace("PUBLIC KEY", "EC PUBLIC KEY"), "tlog_entry_mismatch"),
        (lambda pem: pem.replace("-----END PUBLIC KEY", "-----END CERTIFICATE"), "tlog_entry_mismatch"),
        (lambda pem: pem.replace("=", ""), "malformed"),
        (lambda pem: pem + "\u00fc", "tlog_entry_mismatch"),
        (lambda _: "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", "tlog_entry_mismatch"),
        (lambda _: "", "malformed"),
    ],
    ids=["as it is", "line breaks around", "line breaks of Windows", "twice", "another behind", "another before",
         "text around", "called a certificate", "another label", "labels that differ", "no padding", "no ASCII",
         "nothing inside", "nothing"],
)  # fmt: skip
def test_the_verifier_is_one_pem_block(change: Callable[[str], str], expected: str) -> None:
    pem = base64.b64encode(change(KEY.public_pem).encode()).decode()
    body = documents.edit(as_json(body_of("dsse 0.0.1")), ("spec", "signatures", 0, "verifier"), pem)

    assert told(body, logged_of("dsse 0.0.1")) == expected


# --- other kinds of keys


@pytest.mark.parametrize(
    ("kind", "hashed", "expected"),
    [
        ("p256", "sha256", "hashedrekord 0.0.1"),
        ("p384", "sha384", "hashedrekord 0.0.1"),
        ("p384", "sha256", "hashedrekord 0.0.1"),
        ("p521", "sha512", "hashedrekord 0.0.1"),
        ("p256", "sha384", "tlog_entry_mismatch"),
    ],
)
def test_hashes_of_the_content(kind: str, hashed: str, expected: str) -> None:
    key = key_of(kind)
    own = {"p384": "sha384", "p521": "sha512"}.get(kind, "sha256")
    digests = {name: hashlib.new(name, MESSAGE).digest() for name in ("sha256", own)}
    logged = replace(
        logged_of("hashedrekord 0.0.1"), digests=digests, verifier=entries.verifier_der(key),
        key=material.parse_public_key(key.public_pem),
    )  # fmt: skip

    assert told(entries.hashedrekord(MESSAGE, SIGNATURE, key, algorithm=hashed), logged) == expected


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("p256", "PKIX_ECDSA_P256_SHA_256"),
        ("p384", "PKIX_ECDSA_P384_SHA_384"),
        ("p521", "PKIX_ECDSA_P521_SHA_512"),
        ("rsa2048", "PKIX_RSA_PKCS1V15_2048_SHA256"),
        ("rsa3072", "PKIX_RSA_PKCS1V15_3072_SHA256"),
        ("rsa-pss", "PKIX_RSA_PSS_2048_SHA256"),
        ("ed25519", "PKIX_ED25519_PH"),
        ("ed25519", "PKIX_ED25519"),
    ],
)
def test_how_rekor_2_names_the_kind_of_key(kind: str, details: str) -> None:
    key = key_of(kind)
    padding = Padding.PSS if kind == "rsa-pss" else Padding.PKCS1V15
    logged = replace(
        logged_of("hashedrekord 0.0.2"), verifier=entries.verifier_der(key),
        key=material.parse_public_key(key.public_pem, padding=padding),
    )  # fmt: skip
    path = ("spec", "hashedRekordV002", "signature", "verifier", "keyDetails")

    def said(name: str) -> str:
        return told(documents.edit(as_json(body_of("hashedrekord 0.0.2", key)), path, name), logged)

    assert said(details) == "hashedrekord 0.0.2"
    assert said(details + "0") == "tlog_entry_mismatch"
    assert said("PKIX_ECDSA_P256_SHA_256" if kind != "p256" else "PKIX_ED25519") == "tlog_entry_mismatch"


# --- whatever it holds

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.just([]), st.just({}), st.just([[]]), st.just({"": None}), st.just("A" * 10_000),
)  # fmt: skip


UNREAD: dict[str, Path] = {  # what need not be there, or is bound by the signature alone
    "intoto 0.0.1": ("spec", "content", "payloadHash"),
    "intoto 0.0.2": ("spec", "content", "envelope", "payloadType"),
}


def read_of(kind: str) -> object:
    """A body of which every member counts."""
    return documents.put(body_of(kind), UNREAD[kind], DELETED) if kind in UNREAD else body_of(kind)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_whatever_stands_in_a_member(kind: str, data: st.DataObject) -> None:
    body = read_of(kind)
    path = data.draw(st.sampled_from(list(documents.paths(body))))

    changed = documents.put(body, path, data.draw(ODD))

    refused = {"tlog_entry_mismatch", "malformed", "unsupported", "limit_exceeded"}
    assert told(as_json(changed), logged_of(kind)) in (refused if changed != body else {kind})


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_flipped_bit_never_fits(kind: str, data: st.DataObject) -> None:
    body = as_json(read_of(kind))

    changed = documents.flipped(body, data.draw(st.integers(0, len(body) - 1)))

    assert told(changed, logged_of(kind)) != kind
