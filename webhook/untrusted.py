"""Documents that strangers wrote: JSON and base64, read strictly.

A reader here accepts one spelling of a thing and refuses the rest, since two programs that read one document
differently are how signatures get bypassed: names may not repeat, numbers may not be NaN, text is UTF-8, nothing
trails. Errors are `MalformedError` with the code `malformed`, or `limit_exceeded` for size. specs: RFC 8259, RFC 4648.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import NoReturn

from webhook.errors import Code, MalformedError, quote

MAX_VALUES = 250_000  # of one document: reading holds up everything else, and a value may take 60 bytes of memory


def parse_json(data: bytes, *, max_bytes: int, what: str) -> object:
    """The value of a JSON text of at most `max_bytes`; `what` names the document in errors.

    Raises: MalformedError.
    """
    if len(data) > max_bytes:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: {len(data)} bytes, at most {max_bytes} are read")
    check_values(data, max_values=MAX_VALUES, what=what)
    try:
        return _decode(data)
    except RecursionError:
        raise MalformedError(Code.MALFORMED, f"{what}: nested too deeply") from None
    except ValueError as error:
        raise MalformedError(Code.MALFORMED, f"{what}: not JSON as expected: {str(error)[:120]}") from error


def _decode(data: bytes) -> object:
    value: object = _DECODER.decode(data.decode("utf-8"))
    if _MAYBE_SURROGATE.search(data):
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # RFC 8259 8.2: half a surrogate pair is no text
    return value


def check_values(data: bytes, *, max_values: int, what: str) -> None:
    """Reading the JSON text `data` makes no more than about `max_values` values. Raises: MalformedError."""
    many = len(data) > max_values and _separators(data, 0, len(data)) > max_values
    if many and _has_more(data, max_values):
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: at most {max_values} values are read")


def as_object(value: object, what: str) -> Mapping[str, object]:
    """`value`, which is a JSON object. Raises: MalformedError."""
    if isinstance(value, dict):
        return value
    raise _mistyped(value, "an object", what)


def as_array(value: object, what: str, *, max_items: int) -> list[object]:
    """`value`, which is a JSON array of at most `max_items`. Raises: MalformedError."""
    if not isinstance(value, list):
        raise _mistyped(value, "an array", what)
    if len(value) > max_items:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: {len(value)} entries, at most {max_items} are read")
    return value


def as_string(value: object, what: str) -> str:
    """`value`, which is a JSON string. Raises: MalformedError."""
    if isinstance(value, str):
        return value
    raise _mistyped(value, "a string", what)


def as_integer(value: object, what: str) -> int:
    """`value`, which is a JSON integer, not a boolean. Raises: MalformedError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _mistyped(value, "an integer", what)


def as_count(value: object, what: str) -> int:
    """`value`, which is a JSON integer of a signed 64-bit field, from 0. Raises: MalformedError."""
    number = as_integer(value, what)
    if not 0 <= number < 1 << 63:
        raise MalformedError(Code.MALFORMED, f"{what}: a number from 0 to 2^63 - 1 expected")
    return number


def as_bytes(value: object, what: str) -> bytes:
    """The bytes of `value`, which is a JSON string of base64 and not empty. Raises: MalformedError."""
    data = decode_base64(as_string(value, what), what)
    if not data:
        raise MalformedError(Code.MALFORMED, f"{what}: empty")
    return data


def kind_of(value: object) -> str:
    """What a JSON value is, for a message; members that are absent count as null."""
    return _KINDS.get(type(value), "a number")


def decode_base64(text: str, what: str) -> bytes:
    """The bytes of standard, padded base64 in its one spelling: RFC 4648 3.5. Raises: MalformedError."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise MalformedError(Code.MALFORMED, f"{what}: not base64: {quote(text, max_chars=40)}") from None
    if base64.b64encode(data).decode("ascii") != text:
        raise MalformedError(Code.MALFORMED, f"{what}: not the canonical base64 of its content")
    return data


def _has_more(data: bytes, max_values: int) -> bool:
    """Whether more than `max_values` separators stand outside of strings, or more strings than they could separate."""
    text = data.replace(b"\\\\", b"").replace(b'\\"', b"")  # RFC 8259 7: every quote left begins a string, or ends it
    found = start = 0
    for _ in range(2 * max_values + 2):
        begin = text.find(b'"', start)
        found += _separators(text, start, len(text) if begin < 0 else begin)
        start = text.find(b'"', begin + 1) + 1
        if begin < 0 or not start or found > max_values:
            return found > max_values
    return True


def _separators(data: bytes, start: int, end: int) -> int:
    return sum(data.count(mark, start, end) for mark in (b",", b"[", b"{"))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {quote(repeated, max_chars=60)} stands twice in one object")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number too large to be read")
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _mistyped(value: object, expected: str, what: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, f"{what}: {expected} expected, found {kind_of(value)}")


_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
_MAYBE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
