"""CBOR as envelopes use it: the examples of RFC 8949 that are read, and all others, which are not."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import CountersignError, MalformedError
from webhook.notation import cbor
from webhook.notation.cbor import MAX_DEPTH, MAX_VALUES, Tagged

TAGS = frozenset({1})


def decode(data: bytes) -> object:
    return cbor.decode(data, tags=TAGS, what="document")


def told(data: bytes) -> str:
    with pytest.raises(MalformedError) as caught:
        decode(data)
    assert caught.value.detail.startswith("document: ")
    return str(caught.value.code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # RFC 8949, appendix A
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1a000f4240", 1000000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("3bffffffffffffffff", -18446744073709551616),
        ("20", -1),
        ("3903e7", -1000),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("40", b""),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("60", ""),
        ("6449455446", "IETF"),
        ("62c3bc", "\u00fc"),
        ("64f0908591", "\U00010151"),
        ("80", []),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a0", {}),
        ("a201020304", {1: 2, 3: 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("826161a161626163", ["a", {"b": "c"}]),
        ("c11a514b67b0", Tagged(1, 1363896240)),
        # longer than they need be: who signs may write them so, since what is signed are bytes
        ("1817", 23),
        ("1b0000000000000001", 1),
        ("5a0000000161", b"a"),
        ("98020102", [1, 2]),
    ],
)
def test_what_is_read(text: str, expected: object) -> None:
    assert decode(bytes.fromhex(text)) == expected
    assert type(decode(bytes.fromhex(text))) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("0000", id="two values"),
        pytest.param("f600", id="a byte behind it"),
        pytest.param("19ff", id="a number cut short"),
        pytest.param("1b00", id="a long number cut short"),
        pytest.param("42ff", id="bytes cut short"),
        pytest.param("5bffffffffffffffff00", id="bytes without end"),
        pytest.param("8201", id="an array cut short"),
        pytest.param("9bffffffffffffffff", id="an array without end"),
        pytest.param("a101", id="a map without its value"),
        pytest.param("bbffffffffffffffff", id="a map without end"),
        pytest.param("1c", id="reserved 28"),
        pytest.param("1c" + "00" * 16, id="reserved 28, with 16 bytes"),
        pytest.param("5f" + "00" * 128, id="indefinite bytes, with 128 more"),
        pytest.param("7e", id="reserved 30"),
        pytest.param("1f", id="an indefinite number"),
        pytest.param("5f42010243030405ff", id="indefinite bytes"),
        pytest.param("7f657374726561646d696e67ff", id="indefinite text"),
        pytest.param("9fff", id="an indefinite array"),
        pytest.param("bf61610161629f0203ffff", id="an indefinite map"),
        pytest.param("ff", id="a break"),
        pytest.param("f90000", id="float 0.0"),
        pytest.param("f93c00", id="float 1.0"),
        pytest.param("fa47c35000", id="float of 32 bits"),
        pytest.param("fb3ff199999999999a", id="float of 64 bits"),
        pytest.param("f97e00", id="NaN"),
        pytest.param("f97c00", id="infinity"),
        pytest.param("f7", id="undefined"),
        pytest.param("f0", id="simple 16"),
        pytest.param("f8ff", id="simple 255"),
        pytest.param("f814", id="false in two bytes"),
        pytest.param("a201020103", id="a key twice"),
        pytest.param("a20102180103", id="a key twice, once longer"),
        pytest.param("a2616101616102", id="a text key twice"),
        pytest.param("a1f601", id="a key null"),
        pytest.param("a1f501", id="a key true"),
        pytest.param("a1416101", id="a key of bytes"),
        pytest.param("a18001", id="a key an array"),
        pytest.param("a1c10001", id="a key with a tag"),
        pytest.param("62c328", id="no UTF-8"),
        pytest.param("63eda080", id="half a surrogate pair"),
        pytest.param("c074323031332d30332d32315432303a30343a30305a", id="another tag, 0"),
        pytest.param("c249010000000000000000", id="another tag, 2"),
        pytest.param("d82363612a62", id="another tag, 35: a regular expression"),
        pytest.param("d9d9f700", id="another tag, 55799"),
        pytest.param("c1", id="a tag of nothing"),
    ],
)
def test_what_is_not_read(text: str) -> None:
    assert told(bytes.fromhex(text)) == "malformed"


def test_no_tag_is_read_unasked() -> None:
    with pytest.raises(MalformedError, match="the tag 1"):
        cbor.decode(bytes.fromhex("c100"), what="document")


@pytest.mark.parametrize("opened", ["81", "a100", "c1"], ids=["arrays", "maps", "tags"])
def test_depth_is_bounded(opened: str) -> None:
    assert decode(bytes.fromhex(opened * MAX_DEPTH + "00")) is not None
    assert told(bytes.fromhex(opened * (MAX_DEPTH + 1) + "00")) == "limit_exceeded"
    assert told(bytes.fromhex(opened * 100_000)) == "limit_exceeded"


def test_the_number_of_values_is_bounded() -> None:
    inside = MAX_VALUES - 1  # beside the array itself
    assert decode(b"\x99" + inside.to_bytes(2) + bytes(inside)) == [0] * inside
    assert told(b"\x99" + (inside + 1).to_bytes(2) + bytes(inside + 1)) == "limit_exceeded"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-99, 99) | st.text(), inner, max_size=4),
    max_leaves=10,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)
    return 0


@given(value=VALUES.filter(lambda value: depth_of(value) <= MAX_DEPTH))
def test_what_another_implementation_writes_is_read(value: object) -> None:
    assert decode(cbor2.dumps(value)) == value


@given(data=st.binary(max_size=60))
def test_what_is_read_another_implementation_reads_alike(data: bytes) -> None:
    try:
        found = decode(data)
    except CountersignError:
        return
    if b"\xc1" not in data:  # there a tag becomes a time
        assert cbor2.loads(data) == found


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65535, 65536, 1 << 18])
def test_bytes_are_written_as_another_implementation_does(size: int) -> None:
    assert cbor.encode_bytes(bytes(size)) == cbor2.dumps(bytes(size))
