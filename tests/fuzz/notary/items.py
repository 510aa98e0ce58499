"""CBOR as it is written, item by item: what is read is written again to the byte, and can be written otherwise.

Other libraries hand out values, of which it cannot be told how they were written, nor any be written as nobody should.
A byte string that holds items, as a protected header does, is opened too.

spec: RFC 8949 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

BYTES, TEXT, ARRAY, MAP, TAG = 2, 3, 4, 5, 6
INDEFINITE, BREAK = 31, b"\xff"

# One of each kind, right and wrong: numbers, bytes, text, lists, maps, simple values, floating-point numbers, tags
ODD = tuple(
    bytes.fromhex(text)
    for text in (
        *("00", "01", "20", "1bffffffffffffffff", "3bffffffffffffffff", "40", "4100", "60", "6178", "61ff", "80"),
        *("8100", "a0", "a10000", "f4", "f5", "f6", "f7", "f97e00", "fb41d9000000000000", "e0", "f820", "ff", "1c"),
        *("c000", "c100", "c11a65000000", "c1fb41d9000000000000", "c24101", "d2840000", "d8230a", "9bffffffffffffffff"),
        *("bbffffffffffffffff", "5bffffffffffffffff", "7bffffffffffffffff", "9fff", "bfff", "5fff", "7fff"),
    )
)


@dataclass(frozen=True, slots=True)
class Item:
    """`inner` are those in it: of a map keys and values in turn, of bytes the one that they hold, where they do.

    `width` is how many bytes its argument takes, the fewest where it is `None`; `raw` is written in its place.
    """

    major: int
    argument: int
    content: bytes = b""
    inner: tuple[Item, ...] = field(default=())
    width: int | None = None
    is_indefinite: bool = False
    raw: bytes | None = None

    def write(self) -> bytes:
        if self.raw is not None:
            return self.raw
        inner = b"".join(item.write() for item in self.inner)
        if self.major == BYTES and self.inner:
            return self._bytes(inner)
        if self.is_indefinite:
            chunk = _head(self.major, len(self.content)) + self.content if self.content else b""
            return bytes([self.major << 5 | INDEFINITE]) + chunk + inner + BREAK
        return _head(self.major, self._argument(), self.width) + self.content + inner

    def _bytes(self, content: bytes) -> bytes:
        if self.is_indefinite:
            return bytes([BYTES << 5 | INDEFINITE]) + _head(BYTES, len(content)) + content + BREAK
        return _head(BYTES, len(content), self.width) + content

    def _argument(self) -> int:
        """What was read, or how much there is by now."""
        return {ARRAY: len(self.inner), MAP: len(self.inner) // 2}.get(self.major, self.argument)


def parse(data: bytes) -> Item:
    """The item that `data` is. Raises: ValueError, where it is none, or not written as usual."""
    item, end = _read(data, 0)
    if end != len(data):
        raise ValueError("bytes behind its end")
    return item


def _read(data: bytes, at: int) -> tuple[Item, int]:
    if at >= len(data) or data[at] & 31 > 27:
        raise ValueError("no item")
    major, info = data[at] >> 5, data[at] & 31
    size = 0 if info < 24 else 1 << info - 24
    argument, at = (info if info < 24 else int.from_bytes(data[at + 1 : at + 1 + size])), at + 1 + size
    if major in (BYTES, TEXT):
        content = data[at : at + argument]
        return Item(major, argument, content, _opened(content) if major == BYTES else ()), at + argument
    inner = []
    for _ in range({ARRAY: argument, MAP: 2 * argument, TAG: 1}.get(major, 0)):
        item, at = _read(data, at)
        inner.append(item)
    return Item(major, argument, inner=tuple(inner), width=size if size and argument < 24 else None), at


def _opened(content: bytes) -> tuple[Item, ...]:
    try:
        item = parse(content)
    except (ValueError, RecursionError):
        return ()
    return (item,) if item.major == MAP else ()


def _head(major: int, argument: int, width: int | None = None) -> bytes:
    if width is None and argument < 24:
        return bytes([major << 5 | argument])
    power = next(power for power in range(4) if argument < 1 << (8 << power) and (width or 0) <= 1 << power)
    return bytes([major << 5 | 24 + power]) + argument.to_bytes(1 << power)


# --- one thing changed

Path = tuple[int, ...]


def paths(item: Item, before: Path = ()) -> Iterator[Path]:
    """Where every item in `item` stands, itself first."""
    yield before
    for number, inner in enumerate(item.inner):
        yield from paths(inner, (*before, number))


def change(item: Item, path: Path, how: Callable[[Item], Item]) -> Item:
    """`item`, but at `path`."""
    if not path:
        return how(item)
    inner = list(item.inner)
    inner[path[0]] = change(inner[path[0]], path[1:], how)
    return replace(item, inner=tuple(inner))


def retype(item: Item, random: Random) -> Item:
    return replace(item, raw=random.choice(ODD))


def tag(item: Item, random: Random) -> Item:
    return Item(TAG, random.choice((0, 1, 2, 18, 35, 55799, 2**40)), inner=(item,))


def untag(item: Item, random: Random) -> Item:
    del random
    return item.inner[0] if item.major == TAG else item


def lengthen(item: Item, random: Random) -> Item:
    """With an argument of more bytes than it needs."""
    return replace(item, width=random.choice((1, 2, 4, 8)))


def unbound(item: Item, random: Random) -> Item:
    del random
    return replace(item, is_indefinite=True) if item.major in (BYTES, TEXT, ARRAY, MAP) else item


def reinterpret(item: Item, random: Random) -> Item:
    """The same argument and content as of another kind."""
    return replace(item, major=random.randrange(8))


def count(item: Item, random: Random) -> Item:
    return replace(item, argument=max(0, item.argument + random.choice((-1, 1, 256))))


def reorder(item: Item, random: Random) -> Item:
    return _with_parts(item, lambda parts: random.sample(parts, len(parts)))


def omit(item: Item, random: Random) -> Item:
    return _with_parts(item, lambda parts: _without(parts, random.randrange(len(parts))))


def repeat(item: Item, random: Random) -> Item:
    return _with_parts(item, lambda parts: [*parts, random.choice(parts)])


CHANGES = (retype, retype, tag, untag, lengthen, unbound, reinterpret, count, reorder, omit, repeat)

_Parts = list[tuple[Item, ...]]


def _with_parts(item: Item, how: Callable[[_Parts], _Parts]) -> Item:
    """Of a map each key with its value."""
    step = 2 if item.major == MAP else 1
    parts = [item.inner[at : at + step] for at in range(0, len(item.inner), step)]
    return replace(item, inner=tuple(one for part in how(parts) for one in part)) if parts else item


def _without(parts: _Parts, number: int) -> _Parts:
    return [*parts[:number], *parts[number + 1 :]]
