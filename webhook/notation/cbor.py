"""CBOR, as far as envelopes need it: one way to write each thing, and no code behind any tag.

Lengths are definite, keys of maps are integers or text and do not repeat, and there are no floating-point numbers:
nothing that signs writes them, and two readers may make two times of one. Tags are refused but for those that the
caller names, and stay as they are. What is read is bounded in depth and in the number of values.

spec: RFC 8949 3; the profile of RFC 9052 that Notary Project envelopes use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from webhook.errors import Code, MalformedError, quote

MAX_DEPTH = 8  # arrays, maps and tags; real envelopes have three levels
MAX_VALUES = 10_000  # of one document, keys included; real ones have thirty, and reading one takes a microsecond


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value with a tag that the caller allowed."""

    tag: int
    value: object


def decode(data: bytes, *, tags: frozenset[int] = frozenset(), what: str) -> object:
    """The one value that `data` is: integers, bytes, text, lists, dicts, booleans, `None`, and `Tagged` of `tags`.

    Raises: MalformedError: `malformed`; `limit_exceeded` for what is nested too deeply or has too many values.
    """
    reader = _Reader(data, tags, what)
    value = reader.read(0)
    if reader.position != len(data):
        raise reader.malformed("bytes behind its end")
    return value


def encode_bytes(data: bytes) -> bytes:
    """`data` as a byte string with its length in the fewest bytes: RFC 8949 4.2.1."""
    size = len(data)
    if size < 24:
        return bytes([0x40 | size]) + data
    width = next(power for power in range(4) if size < 1 << (8 << power))
    return bytes([0x40 | 24 + width]) + size.to_bytes(1 << width) + data


_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)  # RFC 8949 3.1
_SIMPLE_VALUES = {20: False, 21: True, 22: None}  # RFC 8949 3.3


@dataclass(slots=True)
class _Reader:
    data: bytes
    tags: frozenset[int]
    what: str
    position: int = field(default=0, init=False)
    values: int = field(default=0, init=False)

    def read(self, depth: int) -> object:
        self.values += 1
        if self.values > MAX_VALUES:
            raise self._too_much(f"{MAX_VALUES} values")
        kind, argument = self._head()
        if kind == _UNSIGNED:
            return argument
        if kind == _NEGATIVE:
            return -1 - argument
        if kind == _BYTES:
            return self._take(argument)
        if kind == _TEXT:
            return self._text(argument)
        if kind == _SIMPLE:
            return _SIMPLE_VALUES[argument]
        if depth == MAX_DEPTH:
            raise self._too_much(f"{MAX_DEPTH} levels")
        return self._inner(kind, argument, depth + 1)

    def malformed(self, problem: str) -> MalformedError:
        return MalformedError(Code.MALFORMED, f"{self.what}: not CBOR as expected: {problem}")

    def _inner(self, kind: int, argument: int, depth: int) -> object:
        if kind == _ARRAY:
            return [self.read(depth) for _ in range(argument)]
        if kind == _MAP:
            return self._map(argument, depth)
        if argument not in self.tags:
            raise self.malformed(f"the tag {argument}")
        return Tagged(argument, self.read(depth))

    def _head(self) -> tuple[int, int]:
        [first] = self._take(1)
        kind, info = first >> 5, first & 31
        if kind == _SIMPLE:
            if info not in _SIMPLE_VALUES:
                raise self.malformed("a floating-point number or a simple value other than false, true and null")
            return kind, info
        if info < 24:
            return kind, info
        if info > 27:  # RFC 8949 3: 28 to 30 are reserved, 31 is an indefinite length
            raise self.malformed("an indefinite length")
        return kind, int.from_bytes(self._take(1 << (info - 24)))

    def _take(self, size: int) -> bytes:
        taken = self.data[self.position : self.position + size]
        if len(taken) != size:
            raise self.malformed("it is cut short")
        self.position += size
        return taken

    def _text(self, size: int) -> str:
        try:
            return self._take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise self.malformed("text that is not UTF-8") from None

    def _map(self, size: int, depth: int) -> dict[int | str, object]:
        members: dict[int | str, object] = {}
        for _ in range(size):
            key = self.read(depth)
            if isinstance(key, bool) or not isinstance(key, int | str):
                raise self.malformed("a key that is neither an integer nor text")
            if key in members:
                raise self.malformed(f"the key {quote(str(key), max_chars=60)} stands twice in one map")
            members[key] = self.read(depth)
        return members

    def _too_much(self, limit: str) -> MalformedError:
        return MalformedError(Code.LIMIT_EXCEEDED, f"{self.what}: at most {limit} are read")
