"""Envelopes in JWS: what is read, and for each rule what just misses it."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joserfc.jws
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.registry import HeaderParameter

from tests.notation import made
from tests.notation.made import BY_AUTHORITY, DELETED, JWS, SPEC, Spec
from webhook.notation import attributes, envelope, jws
from webhook.notation.attributes import EXPIRY, SCHEME, SIGNING_AGENT, SIGNING_TIME, TIMESTAMP

ENVELOPES = Path(__file__).parent.parent / "vectors" / "notation" / "envelopes"
GOOD = made.sign_jws()
MEMBERS: dict[str, str] = json.loads(GOOD)
HEADER: dict[str, Any] = json.loads(GOOD)["header"]
CHAIN: list[str] = HEADER["x5c"]
PROTECTED = json.loads(base64.urlsafe_b64decode(MEMBERS["protected"] + "=="))


def told(data: bytes) -> str:
    return made.told(data, JWS)


# --- around it


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param({}, "whole", id="as notation writes it"),
        pytest.param({"payload": DELETED}, "malformed", id="detached payload"),
        pytest.param({"payload": None}, "malformed", id="payload null"),
        pytest.param({"payload": ""}, "malformed", id="payload empty"),
        pytest.param({"protected": DELETED}, "malformed", id="nothing protected"),
        pytest.param({"protected": ""}, "malformed", id="protected empty"),
        pytest.param({"header": DELETED}, "malformed", id="no unprotected header"),
        pytest.param({"header": None}, "malformed", id="unprotected header null"),
        pytest.param({"header": [HEADER]}, "malformed", id="unprotected header an array"),
        pytest.param({"signature": DELETED}, "malformed", id="no signature"),
        pytest.param({"signature": ""}, "malformed", id="signature empty"),
        pytest.param({"signature": [MEMBERS["signature"]]}, "malformed", id="signature an array"),
        pytest.param({"signature": "A" * (85 << 10)}, "signature_invalid", id="signature too long"),
        pytest.param({"signature": "A" * (88 << 10)}, "limit_exceeded", id="signature of more than 64 KiB"),
        pytest.param({"signatures": []}, "malformed", id="general serialization beside"),
        pytest.param({"more": 1}, "malformed", id="an unknown member"),
        pytest.param({"Payload": MEMBERS["payload"]}, "malformed", id="payload again, in other case"),
        pytest.param({"payload": DELETED, "Payload": MEMBERS["payload"]}, "malformed", id="payload in other case"),
    ],
)
def test_members(members: Mapping[str, object], expected: str) -> None:
    assert told(made.sign_jws(members=members)) == expected


def test_two_signers_are_refused() -> None:
    """RFC 7515 7.2.1: the general serialization, with one signature or more."""
    one = {"protected": MEMBERS["protected"], "header": HEADER, "signature": MEMBERS["signature"]}

    for signatures in ([one], [one, one]):
        assert told(json.dumps({"payload": MEMBERS["payload"], "signatures": signatures}).encode()) == "malformed"


def test_compact_serialization_is_refused() -> None:
    assert told(".".join(MEMBERS[name] for name in ("protected", "payload", "signature")).encode()) == "malformed"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b" \r\n\t" + GOOD + b"\n", "whole", id="white space around it"),
        pytest.param(GOOD + b"{}", "malformed", id="something behind it"),
        pytest.param(GOOD + b"\x00", "malformed", id="a byte behind it"),
        pytest.param(GOOD[:-1], "malformed", id="cut short"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, "malformed", id="a byte order mark"),
        pytest.param(GOOD.decode().encode("utf-16"), "malformed", id="UTF-16"),
        pytest.param(b"[" + GOOD + b"]", "malformed", id="in an array"),
        pytest.param(GOOD[:-1] + b', "payload": "x"}', "malformed", id="payload twice"),
        pytest.param(
            GOOD.replace(b'"header": {', b'"header": {"a": {"b": 1, "b": 1}, '), "malformed", id="twice within"
        ),
        pytest.param(GOOD.replace(b'"header": {', b'"header": {"a": NaN, '), "malformed", id="NaN"),
        pytest.param(GOOD.replace(b'"header": {', b'"header": {"a": 1e999, '), "malformed", id="infinite"),
        pytest.param(GOOD.replace(b'"header": {', b'"header": {"a": "\xff", '), "malformed", id="no UTF-8"),
        pytest.param(GOOD.replace(b"{", b"{" * 2000), "malformed", id="soup"),
        pytest.param(b"[" * 9_000, "malformed", id="deeper than the stack"),
        pytest.param(b"[" * 100_000, "limit_exceeded", id="more than is read"),
    ],
)
def test_json(data: bytes, expected: str) -> None:
    assert told(data) == expected


# --- base64url


@pytest.mark.parametrize("name", ["protected", "payload", "signature"])
def test_base64url_has_one_spelling(name: str) -> None:
    """RFC 7515 2, RFC 4648 3.5, 5."""
    good = MEMBERS[name]
    standard = good.replace("-", "+").replace("_", "/")
    for bad in (
        f"{good}=",
        f"{good}==",
        f"{good}\n",
        f" {good}",
        f"{good[:9]}\r\n{good[9:]}",
        good[: len(good) // 4 * 4 - 3],  # no bytes are written so
        f"{good}\u00e9",
    ):
        assert told(made.sign_jws(members={name: bad})) == "malformed", bad
    if standard != good:
        assert told(made.sign_jws(members={name: standard})) == "malformed"


@pytest.mark.parametrize("name", ["payload", "protected"])
def test_bits_that_say_nothing_are_zero(name: str) -> None:
    """Where the last character has bits to spare, others mean the same bytes, and are refused all the same."""
    padding = (b"", b" ", b"  ")
    for spaces in padding:
        spec = replace(SPEC, payload=made.payload_of() + spaces)
        protected = json.dumps(PROTECTED).encode() + spaces
        good: dict[str, str] = json.loads(made.sign_jws(spec, protected=protected))
        if len(good[name]) % 4:
            last = chr(ord(good[name][-1]) + 1)
            bad = good[name][:-1] + last
            assert base64.urlsafe_b64decode(bad + "==") == base64.urlsafe_b64decode(good[name] + "==")
            assert told(json.dumps(good).encode()) == "whole"
            assert told(json.dumps({**good, name: bad}).encode()) == "malformed"


# --- the protected header


@pytest.mark.parametrize(
    ("protected", "expected"),
    [
        pytest.param(
            {"kid": "key", "jku": "http://169.254.169.254/", "x5u": "http://a/"}, "whole", id="keys that we never fetch"
        ),
        pytest.param({"jwk": {"kty": "oct", "k": "AAAA"}}, "whole", id="a key that we never use"),
        pytest.param({"b64": False}, "malformed", id="payload not encoded"),
        pytest.param({"b64": True}, "malformed", id="payload said to be encoded"),
        pytest.param({"b64": False, "crit": [SCHEME, EXPIRY, "b64"]}, "malformed", id="payload not encoded, critical"),
        pytest.param({"B64": False}, "malformed", id="payload not encoded, in upper case"),
        pytest.param({"Alg": "none"}, "malformed", id="a second algorithm in other case"),
        pytest.param({"alg": DELETED, "ALG": "ES256"}, "malformed", id="algorithm in upper case"),
        pytest.param({EXPIRY.upper(): "2099-01-01T00:00:00Z"}, "malformed", id="a second expiry in upper case"),
        pytest.param(
            {SCHEME.replace("k", "\u212a").replace("S", "\u017f"): "x"}, "malformed", id="a scheme that folds"
        ),
        pytest.param({attributes.PLUGIN.upper(): "x"}, "malformed", id="a plug-in in upper case"),
        pytest.param({SIGNING_AGENT: "x"}, "malformed", id="the agent in both headers"),
        pytest.param({"x5c": CHAIN}, "malformed", id="the chain in both headers"),
        pytest.param({TIMESTAMP: "AAAA"}, "whole", id="a token where nobody looks for one"),
        pytest.param({"x": "a" * (254 << 10)}, "whole", id="255 KiB"),
        pytest.param({"x": "a" * (256 << 10)}, "limit_exceeded", id="more than 256 KiB"),
        pytest.param({"x": json.loads("[" * 31 + "]" * 31)}, "whole", id="32 levels"),
        pytest.param({"x": json.loads("[" * 32 + "]" * 32)}, "limit_exceeded", id="33 levels"),
    ],
)
def test_protected_headers(protected: Mapping[str, object], expected: str) -> None:
    assert told(made.sign_jws(protected=protected)) == expected


@pytest.mark.parametrize(
    "protected",
    [
        pytest.param(json.dumps(PROTECTED)[:-1].encode() + b', "alg": "none"}', id="the algorithm twice"),
        pytest.param(json.dumps(PROTECTED)[:-1].encode() + b', "crit": ["a"]}', id="the critical headers twice"),
        pytest.param(json.dumps([PROTECTED]).encode(), id="an array"),
        pytest.param(b"null", id="null"),
        pytest.param(json.dumps(PROTECTED).encode() + b"x", id="something behind it"),
        pytest.param(json.dumps(PROTECTED).encode("utf-16"), id="UTF-16"),
    ],
)
def test_protected_headers_that_are_no_header(protected: bytes) -> None:
    assert told(made.sign_jws(protected=protected)) == "malformed"


def test_a_token_that_is_protected_is_none() -> None:
    data = made.sign_jws(protected={TIMESTAMP: "AAAA"})

    assert envelope.open_envelope(data, JWS).timestamp_token is None


@pytest.mark.parametrize(
    "name", ["none", "None", "", "HS256", "RS256", "PS256", "ES384", "EdDSA", "es256", "ES256K", " ES256"]
)
def test_the_algorithm_is_that_of_the_key(name: str) -> None:
    """The envelope is signed well each time: naming another algorithm changes nothing of how it is checked."""
    assert told(made.sign_jws(protected={"alg": name})) == "signature_invalid"


def test_a_keyed_hash_with_the_public_key_is_refused() -> None:
    public = made.leaf_of().key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    protected = made.base64url(json.dumps({**PROTECTED, "alg": "HS256"}).encode())
    signature = hmac.digest(public, f"{protected}.{MEMBERS['payload']}".encode(), "sha256")

    changed = {"protected": protected, "signature": made.base64url(signature)}
    assert told(made.sign_jws(members=changed)) == "signature_invalid"
    assert told(made.sign_jws(members={**changed, "signature": ""})) == "malformed"


# --- times

EIGHT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T08:30:00Z", EIGHT),
        ("2026-11-20T16:30:00+08:00", EIGHT),
        ("2026-11-20T00:30:00-08:00", EIGHT),
        ("2026-11-19T08:31:00-23:59", EIGHT),
        ("2026-11-20T08:30:00-00:00", EIGHT),
        ("2026-11-20T08:30:00.5Z", EIGHT + timedelta(milliseconds=500)),
        ("2026-11-20T08:30:00.123456789+00:00", EIGHT + timedelta(microseconds=123456)),
        ("2026-11-20T08:30:00.1234567890Z", None),
        ("2026-11-20T08:30:00.Z", None),
        ("2026-11-20T08:30:00,5Z", None),
        ("2026-11-20T08:30:00", None),
        ("2026-11-20 08:30:00Z", None),
        ("2026-11-20t08:30:00z", None),
        ("2026-11-20T08:30Z", None),
        ("20261120T083000Z", None),
        ("2026-11-20T08:30:00Z\n", None),
        ("2026-11-20T08:30:00+0800", None),
        ("2026-11-20T08:30:00+24:00", None),
        ("2026-11-20T08:30:00+08:60", None),
        ("2026-11-20T08:30:60Z", None),
        ("2026-11-20T24:00:00Z", None),
        ("2026-02-29T08:30:00Z", None),
        ("2026-13-20T08:30:00Z", None),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("\u0662026-11-20T08:30:00Z", None),
        (1763627400, None),
        ("", None),
        (None, None),
    ],
)
def test_times(text: object, expected: datetime | None) -> None:
    spec = replace(SPEC, expires_at=None)
    data = made.sign_jws(spec, protected={SIGNING_TIME: text})

    if expected is None:
        assert told(data) == "malformed"
    else:
        found = envelope.open_envelope(data, JWS).signed_at
        assert (found, found.tzinfo) == (expected, UTC)


def test_an_expiry_in_another_zone() -> None:
    """What is compared is the moment, not what the clock on the wall says."""
    for text, expected in (("2026-11-20T16:30:01+08:00", "whole"), ("2026-11-20T16:30:00+08:00", "malformed")):
        assert told(made.sign_jws(protected={EXPIRY: text})) == expected
    data = made.sign_jws(protected={EXPIRY: "2026-11-20T00:31:00-08:00"})
    assert envelope.open_envelope(data, JWS).expires_at == EIGHT + timedelta(minutes=1)


# --- the unprotected header


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param({"x5c": DELETED}, "malformed", id="no chain"),
        pytest.param({"x5c": []}, "malformed", id="chain empty"),
        pytest.param({"x5c": CHAIN[0]}, "malformed", id="chain a string"),
        pytest.param({"x5c": [*CHAIN, None]}, "malformed", id="null in the chain"),
        pytest.param({"x5c": [*CHAIN[:2], ""]}, "malformed", id="an empty certificate"),
        pytest.param({"x5c": [*CHAIN[:2], CHAIN[2].rstrip("=") + "\n"]}, "malformed", id="white space in base64"),
        pytest.param({"x5c": [CHAIN[0].replace("+", "-").replace("/", "_"), *CHAIN[1:]]}, "malformed", id="base64url"),
        pytest.param({"x5c": ["AAAA", *CHAIN[1:]]}, "malformed", id="no certificate"),
        pytest.param({"x5c": CHAIN * 6 + CHAIN[:2]}, "limit_exceeded", id="chain of 20"),
        pytest.param({"x5c": [*CHAIN[:2], base64.b64encode(bytes(1 << 20)).decode()]}, "limit_exceeded", id="1 MiB"),
        pytest.param({"X5C": CHAIN}, "malformed", id="chain again, in upper case"),
        pytest.param({"b64": True}, "malformed", id="b64"),
        pytest.param({"kid": "a", "more": {"x": 1}}, "whole", id="unknown headers"),
        pytest.param({"alg": "none"}, "malformed", id="algorithm in both headers"),
        pytest.param({SCHEME: "notary.x509"}, "malformed", id="scheme in both headers"),
        pytest.param({SIGNING_AGENT: DELETED}, "whole", id="no agent"),
        pytest.param({SIGNING_AGENT: 1}, "malformed", id="agent a number"),
        pytest.param({TIMESTAMP: None}, "malformed", id="token null"),
        pytest.param({TIMESTAMP: ""}, "malformed", id="token empty"),
        pytest.param({TIMESTAMP: "AA"}, "malformed", id="token without padding"),
        pytest.param({TIMESTAMP.upper(): "AAAA"}, "malformed", id="token in upper case"),
    ],
)  # fmt: skip
def test_unprotected_headers(header: Mapping[str, object], expected: str) -> None:
    assert told(made.sign_jws(header=header)) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, "made/1.0"),
        ({SIGNING_AGENT: DELETED}, ""),
        ({SIGNING_AGENT: DELETED, jws.OLD_SIGNING_AGENT: "old/1"}, "old/1"),
        ({jws.OLD_SIGNING_AGENT: "old/1"}, "made/1.0"),
    ],
)
def test_who_made_it(header: Mapping[str, object], expected: str) -> None:
    assert envelope.open_envelope(made.sign_jws(header=header), JWS).signing_agent == expected


# --- what another implementation says


def elsewhere(data: bytes, leaf: made.Node | None = None) -> str:
    """Whether joserfc verifies the signature of `data` with the key of its leaf."""
    document: Any = json.loads(data)
    protected = json.loads(base64.urlsafe_b64decode(document["protected"] + "=="))
    certificate = envelope.parse(data, JWS).chain[0] if leaf is None else leaf.certificate
    pem = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = (RSAKey if protected["alg"].startswith("PS") else ECKey).import_key(pem)
    names = {
        name: HeaderParameter("of the Notary Project", "str") for name in protected if "." in name or name == "SomeKey"
    }
    registry = joserfc.jws.JWSRegistry(names, algorithms=[protected["alg"]], strict_check_header=False)
    registry.max_header_length = 64 << 10
    try:
        return str(bool(joserfc.jws.deserialize_json(document, key, registry=registry)))
    except (JoseError, ValueError) as error:
        return type(error).__name__


@pytest.mark.parametrize(
    "name",
    sorted(
        path.name for path in ENVELOPES.iterdir() if path.read_bytes()[:1] == b"{" and "conformance" not in path.name
    ),
)
def test_real_envelopes_elsewhere(name: str) -> None:
    data = (ENVELOPES / name).read_bytes()
    if name == "sa_invalid_sig_env.json":  # its payload is no base64url, which joserfc does not mind
        assert told(data) == "malformed"
    else:
        assert (told(data), elsewhere(data)) == ("whole", "True")


@pytest.mark.parametrize("kind", made.ALGORITHMS)
@pytest.mark.parametrize("spec", [SPEC, BY_AUTHORITY], ids=["claimed", "authentic"])
def test_made_envelopes_elsewhere(kind: str, spec: Spec) -> None:
    leaf = made.leaf_of(kind)
    data = made.sign_jws(spec, leaf)
    forged = made.sign_jws(spec, replace(leaf, key=made.key_of(kind, "somebody")))

    assert (told(data), elsewhere(data)) == ("whole", "True")
    assert (told(forged), elsewhere(forged)) == ("signature_invalid", "BadSignatureError")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    name=st.sampled_from([*PROTECTED, *HEADER, *MEMBERS]),
    value=JSON,
    where=st.sampled_from(["protected", "header", "members"]),
)
def test_any_value_gives_our_errors_only(name: str, value: object, where: str) -> None:
    told(made.sign_jws(**{where: {name: value}}))  # type: ignore[arg-type]
