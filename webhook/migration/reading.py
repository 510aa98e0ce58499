"""Foreign documents that an operator hands in: what is wrong with one is the operator's to mend, and is told with its
file and place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from webhook import settings, untrusted
from webhook.errors import Code, MalformedError, OperatorError, quote

MAX_BYTES = settings.MIB  # far more than any of these documents takes


@contextlib.contextmanager
def mistakes_in(origin: str) -> Iterator[None]:
    """A `MalformedError` inside comes out as an `OperatorError` that names `origin`."""
    try:
        yield
    except MalformedError as error:
        raise OperatorError(f"{origin}: {error.detail}") from error


@contextlib.contextmanager
def at(path: str) -> Iterator[None]:
    """A `MalformedError` inside, of a value that does not know where it stands, comes out with `path` before it."""
    try:
        yield
    except MalformedError as error:
        raise MalformedError(error.code, f"{path}: {error.detail}") from error


def parse_object(data: bytes, what: str) -> Mapping[str, object]:
    """The JSON object in `data`; `what` names it in errors. Raises: MalformedError."""
    return untrusted.as_object(untrusted.parse_json(data, max_bytes=MAX_BYTES, what=what), what)


def wrong(path: str, problem: str) -> MalformedError:
    """The error that says what is wrong at `path`."""
    return MalformedError(Code.MALFORMED, f"{path}: {problem}")


def shown(value: object) -> str:
    """A value that is not what was expected, for a message."""
    return quote(value, max_chars=80) if isinstance(value, str) else untrusted.kind_of(value)
