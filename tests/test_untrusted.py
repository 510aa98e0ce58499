"""JSON and base64 of strangers in their one spelling, and foreign text made fit for a message."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook import untrusted
from webhook.errors import MAX_QUOTED_CHARS, Code, MalformedError, quote


def refusal(act: Callable[[], object]) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        act()
    return caught.value


def parse(data: bytes) -> object:
    return untrusted.parse_json(data, max_bytes=100_000, what="the document")


@pytest.mark.parametrize(
    ("data", "value"),
    {
        "object": (b'{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        "blanks around": (b" \r\n\t{} \n", {}),
        "escapes": (b'"\\u00e9\\n\\u0000"', "é\n\0"),
        "a pair of surrogates": (b'"\\ud83d\\ude00"', "😀"),
        "an escaped backslash before what looks like a surrogate": (b'"\\\\ud800"', "\\ud800"),
        "the same name in two objects": (b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        "names that differ in case": (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
        "a large number": (b"1e308", 1e308),
        "a large integer": (b"9223372036854775808", 2**63),
    }.values(),
)
def test_json_is_read(data: bytes, value: object) -> None:
    assert parse(data) == value


@pytest.mark.parametrize(
    "data",
    {
        "empty": b"",
        "blank": b" ",
        "byte order mark": b"\xef\xbb\xbf{}",
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "not UTF-8": b'"\xff"',
        "surrogate in UTF-8": b'"\xed\xa0\x80"',
        "overlong UTF-8": b'"\xc0\xaf"',
        "half a surrogate pair": b'"\\ud800"',
        "the other half": b'["\\uDE00"]',
        "half a surrogate pair as a name": b'{"\\ud83d": 1}',
        "surrogates the wrong way round": b'"\\ude00\\ud83d"',
        "truncated": b'{"a": 1',
        "something trails": b"{} {}",
        "comma trails": b"[1,]",
        "comment": b"{} // x",
        "single quotes": b"{'a': 1}",
        "control character in text": b'"a\nb"',
        "NUL trails": b"{}\0",
        "NaN": b"NaN",
        "Infinity": b"[Infinity]",
        "-Infinity": b"-Infinity",
        "number that becomes infinite": b"1e999",
        "zero in front": b"01",
        "sign in front": b"+1",
        "integer of 5,000 digits": b"1" * 5000,
        "a name twice": b'{"a": 1, "b": 2, "a": 1}',
        "a name twice, deep": b'[{"x": {"a": 1, "a": 2}}]',
        "a name twice, once escaped": b'{"a": 1, "\\u0061": 2}',
        "depth 10,000": b"[" * 10_000 + b"]" * 10_000,
        "depth 10,000 of objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_not_json_in_its_one_spelling_is_malformed(data: tuple[str, bytes]) -> None:
    error = refusal(lambda: parse(data[1]))
    assert error.code is Code.MALFORMED
    assert error.detail.startswith("the document: ")
    assert error.detail.isascii()


def test_the_repeated_name_is_told_and_quoted() -> None:
    assert "'a\\nb' stands twice" in refusal(lambda: parse(b'{"a\\nb": 1, "a\\nb": 2}')).detail


def test_size_is_limited_to_the_byte() -> None:
    assert untrusted.parse_json(b"[1]", max_bytes=3, what="x") == [1]
    error = refusal(lambda: untrusted.parse_json(b"[10]", max_bytes=3, what="x"))
    assert (error.code, error.detail) == (Code.LIMIT_EXCEEDED, "x: 4 bytes, at most 3 are read")


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_malformed_error(data: bytes) -> None:
    try:
        value = parse(data)
    except MalformedError as error:
        assert error.code is Code.MALFORMED  # noqa: PT017 - most bytes are no JSON, some are
        return
    assert value == json.loads(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_what_is_written_is_read_back(value: object) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


def limited(value: object, what: str) -> object:
    return untrusted.as_array(value, what, max_items=2)


READERS: dict[str, Callable[[object, str], object]] = {
    "object": untrusted.as_object,
    "array": limited,
    "string": untrusted.as_string,
    "integer": untrusted.as_integer,
}
VALUES: dict[str, object] = {
    "object": {},
    "array": [1, 2],
    "string": "",
    "integer": 0,
    "null": None,
    "true": True,
    "fraction": 1.0,
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("given_kind", VALUES)
def test_a_reader_takes_its_own_kind_only(kind: str, given_kind: str) -> None:
    value = VALUES[given_kind]
    if kind == given_kind:
        assert READERS[kind](value, "spec.x") is value
    else:
        error = refusal(lambda: READERS[kind](value, "spec.x"))
        assert error.code is Code.MALFORMED
        assert error.detail.startswith("spec.x: a")


def test_null_is_called_null() -> None:
    assert refusal(lambda: untrusted.as_string(None, "x")).detail == "x: a string expected, found null"
    values: tuple[object, ...] = ({}, [], "", True, 1, 1.5)
    found = [untrusted.kind_of(value) for value in values]
    assert found == ["an object", "an array", "a string", "a boolean", "a number", "a number"]


def test_one_entry_too_many_is_a_limit() -> None:
    error = refusal(lambda: limited([1, 2, 3], "x"))
    assert (error.code, error.detail) == (Code.LIMIT_EXCEEDED, "x: 3 entries, at most 2 are read")


@pytest.mark.parametrize(
    "text",
    {
        "no padding": "YQ",
        "half the padding": "YQ=",
        "padding too long": "YWJj=",
        "padding alone": "====",
        "blank": "YWJ j",
        "newline": "YWJj\n",
        "newline inside": "YWJj\nYWJj",
        "alphabet of URLs": "-_-_",
        "bits left over": "YR==",
        "more bits left over": "YWK=",
        "something trails": "YQ==YQ==",
        "NUL": "YWJj\0",
        "umlaut": "YWJä",
        "a wide letter": "\uff39WJj",
        "half a surrogate pair": "YWJ\ud800",
        "one character": "Y",
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_not_base64_in_its_one_spelling_is_malformed(text: tuple[str, str]) -> None:
    error = refusal(lambda: untrusted.decode_base64(text[1], "x.data"))
    assert error.code is Code.MALFORMED
    assert error.detail.startswith("x.data: not")


@given(st.binary())
def test_base64_is_read_back(data: bytes) -> None:
    assert untrusted.decode_base64(base64.b64encode(data).decode(), "x") == data


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "''"),
        ("nginx", "'nginx'"),
        ("a\nb\0\x1b[31m\x7f", r"'a\nb\x00\x1b[31m\x7f'"),
        ("\u202eé\u2026\U0001f600", r"'\u202e\xe9\u2026\U0001f600'"),
        ("\ud800", r"'\ud800'"),
        ("it's", '"it\'s"'),
        ("\\n", r"'\\n'"),
        ("a" * MAX_QUOTED_CHARS, "'" + "a" * MAX_QUOTED_CHARS + "'"),
        ("a" * (MAX_QUOTED_CHARS + 1), "'" + "a" * MAX_QUOTED_CHARS + "'..."),
    ],
)
def test_quoted_text_is_printable(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@given(st.text(st.characters()), st.integers(0, 50))
def test_quoted_text_is_ascii_of_bounded_length(text: str, max_chars: int) -> None:
    quoted = quote(text, max_chars=max_chars)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert len(quoted) <= max_chars + len("''...")


def test_escapes_count_and_a_cut_is_told() -> None:
    assert quote("\U0001f600" * 1_000_000, max_chars=25) == r"'\U0001f600\U0001f600'..."
    assert quote("a...", max_chars=10) == "'a...'"


@pytest.mark.parametrize(
    ("data", "is_read"),
    [
        pytest.param(b'["' + b"," * 1000 + b'"]', True, id="text is one value"),
        pytest.param(b'["\\"' + b"[" * 1000 + b'"]', True, id="after an escaped quote"),
        pytest.param(b'["\\\\",' + b'"[",' * 98 + b"0]", True, id="as many as may be"),
        pytest.param(b'["\\\\"' + b",1" * 101 + b"]", False, id="after an escaped backslash"),
        pytest.param(b"[" * 101, False, id="nothing but openings"),
        pytest.param(b'{"a":{"b":"' + b"," * 1000 + b'"}' + b',"c":[{}]' * 50 + b"}", False, id="beside text"),
        pytest.param(b'""' * 100_000 + b"," * 101, False, id="strings that nothing separates"),
        pytest.param(b'["' + b"," * 1000, True, id="a string without an end"),
    ],
)
def test_values_are_counted_outside_of_text(data: bytes, is_read: bool) -> None:
    """Nobody may have an object refused for the commas in its text: what it says is no structure."""
    if is_read:
        untrusted.check_values(data, max_values=100, what="the document")
    else:
        said = refusal(lambda: untrusted.check_values(data, max_values=100, what="the document"))
        assert said.code == Code.LIMIT_EXCEEDED


@given(st.recursive(st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_counting_agrees_with_what_is_read(value: object) -> None:
    def count(found: object) -> int:
        inside = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else ()
        commas = max(len(inside) - 1, 0)
        return (isinstance(found, dict | list)) + commas + sum(map(count, inside))

    data, most = json.dumps(value, ensure_ascii=False).encode(), count(value)
    untrusted.check_values(data, max_values=most, what="the document")
    if len(data) >= most > 0:
        assert refusal(lambda: untrusted.check_values(data, max_values=most - 1, what="it")).code == Code.LIMIT_EXCEEDED
