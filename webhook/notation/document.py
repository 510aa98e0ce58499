"""The JSON documents of an envelope: the envelope itself, its protected header, its payload.

Read as `webhook.untrusted` reads, no deeper than 32 levels, and each name in one spelling only. The reference
implementation matches names without regard to case: a name that differs from one we know in nothing else would be read
there and overlooked here.

spec: RFC 8259; Notary Project, signature specification, signature envelope JWS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from webhook import untrusted
from webhook.errors import Code, MalformedError, quote

MAX_DEPTH = 32  # objects and arrays; real documents have three levels
MAX_VALUES = 10_000  # of one document, as of CBOR; real ones have thirty, and a megabyte of them takes 80 ms


def parse_object(data: bytes, *, names: frozenset[str], max_bytes: int, what: str) -> Mapping[str, object]:
    """The JSON object that `data` is, none of whose own names is another spelling of one of `names`.

    Raises: MalformedError.
    """
    untrusted.check_values(data, max_values=MAX_VALUES, what=what)
    value = untrusted.parse_json(data, max_bytes=max_bytes, what=what)
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:  # otherwise it cannot be that deep
        _check_depth(value, what)
    members = untrusted.as_object(value, what)
    check_names(members, names, what)
    return members


def check_names(members: Mapping[str, object], names: frozenset[str], what: str) -> None:
    """No name in `members` is another spelling of one of `names`. Raises: MalformedError."""
    folded = {name.casefold() for name in names}
    for name in members.keys() - names:
        if name.casefold() in folded:
            raise MalformedError(Code.MALFORMED, f"{what}: the name {quote(name, max_chars=60)} differs in case only")


def _check_depth(value: object, what: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
    if any(isinstance(one, dict | list) for one in level):
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: at most {MAX_DEPTH} levels are read")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
