"""Envelopes in COSE: what is read, and for each rule what just misses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notation import made
from tests.notation.made import BY_AUTHORITY, COSE, DELETED, SIGNED_AT, SPEC
from webhook.notation import envelope
from webhook.notation.attributes import (
    AUTHENTIC_SIGNING_TIME,
    EXPIRY,
    SCHEME,
    SIGNING_AGENT,
    SIGNING_TIME,
    TIMESTAMP,
)
from webhook.notation.envelope import Scheme

ENVELOPES = Path(__file__).parent.parent / "vectors" / "notation" / "envelopes"
GOOD = made.sign_cose()
PARTS: list[Any] = cbor2.loads(GOOD).value
PROTECTED, HEADER, PAYLOAD, SIGNATURE = PARTS
CHAIN: list[bytes] = HEADER[33]

Labelled = Mapping[int | str, object]


def told(data: bytes) -> str:
    return made.told(data, COSE)


def tagged(*parts: object) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(18, list(parts)))


# --- around it


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(tagged(PROTECTED, HEADER, PAYLOAD, SIGNATURE), "whole", id="as notation writes it"),
        pytest.param(tagged(PROTECTED, HEADER, None, SIGNATURE), "malformed", id="detached payload"),
        pytest.param(tagged(PROTECTED, HEADER, b"", SIGNATURE), "malformed", id="payload empty"),
        pytest.param(tagged(PROTECTED, HEADER, PAYLOAD.decode(), SIGNATURE), "malformed", id="payload text"),
        pytest.param(tagged(PROTECTED, HEADER, PAYLOAD, b""), "malformed", id="signature empty"),
        pytest.param(tagged(PROTECTED, HEADER, PAYLOAD, None), "malformed", id="signature null"),
        pytest.param(tagged(PROTECTED, HEADER, PAYLOAD, bytes(64 << 10)), "signature_invalid", id="signature too long"),
        pytest.param(
            tagged(PROTECTED, HEADER, PAYLOAD, bytes(65 << 10)), "limit_exceeded", id="signature of more than 64 KiB"
        ),
        pytest.param(tagged(cbor2.loads(PROTECTED), HEADER, PAYLOAD, SIGNATURE), "malformed", id="protected a map"),
        pytest.param(tagged(b"", HEADER, PAYLOAD, SIGNATURE), "malformed", id="protected empty"),
        pytest.param(tagged(PROTECTED, cbor2.dumps(HEADER), PAYLOAD, SIGNATURE), "malformed", id="unprotected bytes"),
        pytest.param(tagged(PROTECTED, [HEADER], PAYLOAD, SIGNATURE), "malformed", id="unprotected an array"),
        pytest.param(tagged(PROTECTED, HEADER, PAYLOAD), "malformed", id="three parts"),
        pytest.param(tagged(PROTECTED, HEADER, PAYLOAD, SIGNATURE, None), "malformed", id="five parts"),
        pytest.param(GOOD[1:], "malformed", id="no tag"),
        pytest.param(b"\xd8\x12" + GOOD[1:], "malformed", id="the tag in two bytes"),
        pytest.param(b"\xd2\x98\x04" + GOOD[2:], "malformed", id="the array in two bytes"),
        pytest.param(b"\xd9\xd9\xf7" + GOOD, "malformed", id="the tag of any CBOR before"),
        pytest.param(b"\xd2" + GOOD, "malformed", id="the tag twice"),
        pytest.param(b"\xd2\x9f" + GOOD[2:] + b"\xff", "malformed", id="indefinite length"),
        pytest.param(GOOD + b"\x00", "malformed", id="a byte behind it"),
        pytest.param(GOOD + GOOD, "malformed", id="twice"),
        pytest.param(GOOD[:-1], "malformed", id="cut short"),
        pytest.param(b"\xd2\x84" * 40_000, "malformed", id="soup of tags"),
        pytest.param(b"\xd2\x84" + b"\x81" * 40_000, "limit_exceeded", id="deeper than the stack"),
        pytest.param(b"", "malformed", id="nothing"),
    ],
)
def test_parts(data: bytes, expected: str) -> None:
    assert told(data) == expected


@pytest.mark.parametrize("tag", [98, 16, 17, 96, 97, 61, 1])
def test_other_messages_are_refused(tag: int) -> None:
    """RFC 9052 2: 98 is COSE_Sign, with any number of signers."""
    signers = [[PROTECTED, HEADER, SIGNATURE]] * 2

    assert told(cbor2.dumps(cbor2.CBORTag(tag, [b"", {}, PAYLOAD, signers]))) == "malformed"
    assert told(cbor2.dumps(cbor2.CBORTag(tag, PARTS))) == "malformed"
    assert told(tagged(b"", {}, PAYLOAD, signers)) == "malformed"


def test_lengths_may_be_longer_than_they_need_be() -> None:
    """RFC 9052 4.4: what is signed has the shortest lengths, whatever was received."""
    head = cbor2.dumps(PROTECTED)
    assert head[0] == 0x58
    longer = b"\xd2\x84\x59\x00" + head[1:2] + PROTECTED + GOOD[2 + len(head) :]

    assert longer != GOOD
    assert told(longer) == "whole"


# --- the protected header


@pytest.mark.parametrize(
    ("protected", "expected"),
    [
        pytest.param({4: b"key"}, "whole", id="a key that we never look for"),
        pytest.param({"com.example.note": [1, {"a": b"\x00"}]}, "whole", id="an attribute of somebody's own"),
        pytest.param({258: "x", -65537: "y"}, "whole", id="labels of somebody's own"),
        pytest.param({3: 50}, "malformed", id="content type by its number"),
        pytest.param({2: (SCHEME, EXPIRY, 4), 4: b"key"}, "whole", id="a number is critical"),
        pytest.param({2: (SCHEME, EXPIRY, 4)}, "malformed", id="a number is critical and not there"),
        pytest.param({"x": 1.0}, "malformed", id="a float"),
        pytest.param({"x": float("nan")}, "malformed", id="NaN"),
        pytest.param({"x": cbor2.CBORTag(1, 1)}, "whole", id="a time of somebody's own"),
        pytest.param({"x": cbor2.CBORTag(0, "2026-11-20T08:30:00Z")}, "malformed", id="tag 0"),
        pytest.param({"x": cbor2.CBORTag(18, [])}, "malformed", id="tag 18"),
        pytest.param({"x": cbor2.CBORTag(35, "(a+)+$")}, "malformed", id="tag 35"),
        pytest.param({"x": 2**64}, "malformed", id="a number with a tag of its own"),
        pytest.param({b"x": 1}, "malformed", id="a label of bytes"),
        pytest.param({"x": [[[[[[[]]]]]]]}, "whole", id="8 levels"),
        pytest.param({"x": [[[[[[[[]]]]]]]]}, "limit_exceeded", id="9 levels"),
        pytest.param({"x": b"a" * (255 << 10)}, "whole", id="255 KiB"),
        pytest.param({"x": b"a" * (256 << 10)}, "limit_exceeded", id="more than 256 KiB"),
        pytest.param({"x": [0] * 10_000}, "limit_exceeded", id="10000 values"),
    ],
)
def test_protected_headers(protected: Labelled, expected: str) -> None:
    assert told(made.sign_cose(protected=protected)) == expected


def test_a_chain_that_is_protected() -> None:
    """In either place, never in both; and it is none of the attributes that somebody must understand."""
    within = made.sign_cose(protected={33: CHAIN}, header={33: DELETED})

    assert told(within) == "whole"
    assert envelope.open_envelope(within, COSE).extended == {}
    assert told(made.sign_cose(protected={33: CHAIN})) == "malformed"
    assert told(made.sign_cose(protected={33: None})) == "malformed"
    assert told(made.sign_cose(header={33: DELETED})) == "malformed"


@pytest.mark.parametrize(
    "protected",
    [
        pytest.param(b"\xa0" + PROTECTED[1:], id="a map of nothing, with more behind it"),
        pytest.param(bytes([PROTECTED[0] + 1]) + PROTECTED[1:] + b"\x01\x26", id="the algorithm twice"),
        pytest.param(
            bytes([PROTECTED[0] + 1]) + PROTECTED[1:] + b"\x18\x01\x26", id="the algorithm twice, once longer"
        ),
        pytest.param(b"\xbf" + PROTECTED[1:] + b"\xff", id="a map of indefinite length"),
        pytest.param(PROTECTED + b"\x00", id="a byte behind it"),
        pytest.param(cbor2.dumps([1]), id="an array"),
        pytest.param(cbor2.dumps(PROTECTED), id="bytes in bytes"),
        pytest.param(b"\xa0", id="empty"),
    ],
)
def test_protected_headers_that_are_no_header(protected: bytes) -> None:
    assert told(made.sign_cose(protected=protected)) == "malformed"


@pytest.mark.parametrize("number", [0, -35, -37, -257, -8, 5, -47, -1, 7, 2**63])
def test_the_algorithm_is_that_of_the_key(number: int) -> None:
    """The envelope is signed well each time: naming another algorithm changes nothing of how it is checked."""
    assert told(made.sign_cose(protected={1: number})) == "signature_invalid"


@pytest.mark.parametrize("value", ["ES256", True, False, None, [-7], b"\x26"])
def test_an_algorithm_that_is_no_number_is_none(value: object) -> None:
    assert told(made.sign_cose(protected={1: value})) == "malformed"


# --- times


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (cbor2.CBORTag(1, 1763627400), datetime(2025, 11, 20, 8, 30, tzinfo=UTC)),
        (cbor2.CBORTag(1, 0), datetime(1970, 1, 1, tzinfo=UTC)),
        (cbor2.CBORTag(1, -1), datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (cbor2.CBORTag(1, 253402300799), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (cbor2.CBORTag(1, 253402300800), None),
        (cbor2.CBORTag(1, -62135596801), None),
        (cbor2.CBORTag(1, 2**64 - 1), None),
        (cbor2.CBORTag(1, -(2**64)), None),
        (cbor2.CBORTag(1, 1763627400.0), None),
        (cbor2.CBORTag(1, float("inf")), None),
        (cbor2.CBORTag(1, True), None),
        (cbor2.CBORTag(1, "2026-11-20T08:30:00Z"), None),
        (cbor2.CBORTag(1, cbor2.CBORTag(1, 0)), None),
        (1763627400, None),
        ("2026-11-20T08:30:00Z", None),
        (None, None),
    ],
)
def test_times(value: object, expected: datetime | None) -> None:
    data = made.sign_cose(replace(SPEC, expires_at=None), protected={SIGNING_TIME: value})

    if expected is None:
        assert told(data) == "malformed"
    else:
        found = envelope.open_envelope(data, COSE).signed_at
        assert (found, found.tzinfo) == (expected, UTC)


# --- the unprotected header


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param({33: CHAIN[0]}, "malformed", id="one certificate without an array"),
        pytest.param({33: []}, "malformed", id="chain empty"),
        pytest.param({33: [*CHAIN, None]}, "malformed", id="null in the chain"),
        pytest.param({33: [*CHAIN[:2], b""]}, "malformed", id="an empty certificate"),
        pytest.param({33: [*CHAIN[:2], CHAIN[2] + b"\x00"]}, "malformed", id="a byte behind a certificate"),
        pytest.param({33: [b"\x00", *CHAIN[1:]]}, "malformed", id="no certificate"),
        pytest.param({33: ["x", *CHAIN[1:]]}, "malformed", id="text"),
        pytest.param({33: CHAIN * 6 + CHAIN[:2]}, "limit_exceeded", id="chain of 20"),
        pytest.param({33: [*CHAIN[:2], bytes(1 << 20)]}, "limit_exceeded", id="a certificate of 1 MiB"),
        pytest.param({1: -7}, "malformed", id="algorithm in both headers"),
        pytest.param({2: [SCHEME]}, "malformed", id="critical headers in both"),
        pytest.param({3: "text/plain"}, "malformed", id="content type in both headers"),
        pytest.param({4: b"key", 5: b"iv", 11: [b"", {}, b"x"], "more": [1]}, "whole", id="unknown headers"),
        pytest.param({"more": 0.5}, "malformed", id="a float"),
        pytest.param({"more": cbor2.CBORTag(1, 0)}, "malformed", id="a tag"),
        pytest.param({SIGNING_AGENT: DELETED}, "whole", id="no agent"),
        pytest.param({SIGNING_AGENT: b"made"}, "malformed", id="agent bytes"),
        pytest.param({TIMESTAMP: b"token"}, "whole", id="a token"),
        pytest.param({TIMESTAMP: None}, "malformed", id="token null"),
        pytest.param({TIMESTAMP: "dG9rZW4="}, "malformed", id="token in base64"),
    ],
)
def test_unprotected_headers(header: Labelled, expected: str) -> None:
    assert told(made.sign_cose(header=header)) == expected


# --- what another implementation says


@pytest.mark.parametrize("name", sorted(file.name for file in ENVELOPES.iterdir() if file.read_bytes()[:1] == b"\xd2"))
def test_real_envelopes_elsewhere(name: str) -> None:
    check_elsewhere((ENVELOPES / name).read_bytes())


@pytest.mark.parametrize("spec", [SPEC, BY_AUTHORITY, replace(BY_AUTHORITY, token=b"token", extended={"a": "b"})])
def test_made_envelopes_elsewhere(spec: made.Spec) -> None:
    check_elsewhere(made.sign_cose(spec))


def check_elsewhere(data: bytes) -> None:
    """cbor2 reads the same out of `data` as we do, and writes the same bytes for the signature."""
    found, candidate = envelope.open_envelope(data, COSE), envelope.parse(data, COSE)
    written, header, payload, signature = cbor2.loads(data).value
    protected: dict[Any, Any] = cbor2.loads(written)

    assert (found.signature, candidate.payload) == (signature, payload)
    assert candidate.message == cbor2.dumps(["Signature1", written, b"", payload], canonical=True)
    assert made.der_of(found.chain) == list(header[33])
    assert (found.timestamp_token, found.signing_agent) == (header.get(TIMESTAMP), header.get(SIGNING_AGENT))
    assert found.scheme == protected.pop(SCHEME)
    assert found.critical == set(protected.pop(2))
    time = SIGNING_TIME if found.scheme is Scheme.X509 else AUTHENTIC_SIGNING_TIME
    assert found.signed_at == protected.pop(time)
    assert found.expires_at == protected.pop(EXPIRY, None)
    assert (candidate.attributes.algorithm, candidate.attributes.content_type) == (
        {-37: "PS256", -7: "ES256"}[protected.pop(1)],
        protected.pop(3),
    )
    assert found.extended == protected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers() | st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([1, 2, 3, 33, SCHEME, SIGNING_TIME, EXPIRY, SIGNING_AGENT, TIMESTAMP])


@given(name=NAMES, value=VALUES | VALUES.map(lambda value: cbor2.CBORTag(1, value)), where=st.booleans())
def test_any_value_gives_our_errors_only(name: int | str, value: object, where: bool) -> None:
    told(made.sign_cose(protected={name: value}) if where else made.sign_cose(header={name: value}))


def test_a_later_expiry_is_read() -> None:
    spec = replace(SPEC, expires_at=SIGNED_AT + timedelta(seconds=1))

    assert envelope.open_envelope(made.sign_cose(spec), COSE).expires_at == SIGNED_AT + timedelta(seconds=1)
