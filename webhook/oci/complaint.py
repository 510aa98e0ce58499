"""What a registry says of its own errors, as little of it as may stand in a message.

spec: OCI distribution 1.1, error codes.
"""

from __future__ import annotations

from collections.abc import Mapping

from webhook import untrusted
from webhook.errors import MalformedError, quote
from webhook.network import Answer

MAX_CHARS = 200
MAX_ERRORS = 3


def said(answer: Answer) -> str:
    """`: 'CODE: message'` from the error body, or nothing where it holds no such thing."""
    lines = (": ".join(_texts(error, "code", "message")) for error in _errors(answer))
    text = "; ".join(line for line in lines if line)
    return f": {quote(text, max_chars=MAX_CHARS)}" if text else ""


def codes(answer: Answer) -> frozenset[str]:
    """The error codes in the body."""
    return frozenset(code for error in _errors(answer) for code in _texts(error, "code"))


def _errors(answer: Answer) -> list[Mapping[str, object]]:
    try:
        document = untrusted.parse_json(answer.body, max_bytes=len(answer.body), what="error")
        listed = untrusted.as_object(document, "error").get("errors")
        return [error for error in listed[:MAX_ERRORS] if isinstance(error, dict)] if isinstance(listed, list) else []
    except MalformedError:
        return []  # text, HTML or nothing, as registries' front ends answer


def _texts(error: Mapping[str, object], *names: str) -> list[str]:
    return [text for name in names if isinstance(text := error.get(name), str) and text]
