"""Documents that strangers wrote: JSON and base64, read strictly.

A reader here accepts one spelling of a thing and refuses the rest, since two programs that read one document
differently are how signatures get bypassed: names may not repeat, numbers may not be NaN, text is UTF-8, nothing
trails. Errors are `MalformedError` with the code `malformed`, or `limit_exceeded` for size. specs: RFC 8259, RFC 4648 4.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import NoReturn

from webhook.errors import Code, MalformedError, quote


def parse_json(data: bytes, *, max_bytes: int, what: str) -> object:
    """The value of a JSON text of at most `max_bytes`; `what` names the document in errors.

    Raises: MalformedError.
    """
    if len(data) > max_bytes:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: {len(data)} bytes, at most {max_bytes} are read")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise MalformedError(Code.MALFORMED, f"{what}: nested too deeply") from None
    except ValueError as error:
        raise MalformedError(Code.MALFORMED, f"{what}: not JSON as expected: {str(error)[:120]}") from error


def as_object(value: object, what: str) -> Mapping[str, object]:
    """`value`, which is a JSON object. Raises: MalformedError."""
    if isinstance(value, dict):
        return value
    _refuse_type(value, "an object", what)


def as_array(value: object, what: str, *, max_items: int) -> list[object]:
    """`value`, which is a JSON array of at most `max_items`. Raises: MalformedError."""
    if not isinstance(value, list):
        _refuse_type(value, "an array", what)
    if len(value) > max_items:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: {len(value)} entries, at most {max_items} are read")
    return value


def as_string(value: object, what: str) -> str:
    """`value`, which is a JSON string. Raises: MalformedError."""
    if isinstance(value, str):
        return value
    _refuse_type(value, "a string", what)


def as_integer(value: object, what: str) -> int:
    """`value`, which is a JSON integer, not a boolean. Raises: MalformedError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    _refuse_type(value, "an integer", what)


def decode_base64(text: str, what: str) -> bytes:
    """The bytes of standard, padded base64. Raises: MalformedError."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError(Code.MALFORMED, f"{what}: not base64: {quote(text, max_chars=40)}") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {quote(repeated, max_chars=60)} stands twice in one object")
    return members


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _refuse_type(value: object, expected: str, what: str) -> NoReturn:
    found = "null" if value is None else type(value).__name__
    raise MalformedError(Code.MALFORMED, f"{what}: {expected} expected, found {found}")
