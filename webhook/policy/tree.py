"""The syntax tree of a condition: the library's own, read from the form in which it serializes a checked expression, so
that nothing can be read here in another way than it is evaluated. Macros stand in it as the loops that they are.

A path is a chain of members below a name, `predicate.builder["id"]`: what a condition reads of a statement, and what
people are shown.

spec: cel/expr/checked.proto and syntax.proto; Protocol Buffers, encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from webhook.errors import Code, MalformedError

AND, OR, NOT, INDEX, STILL_OPEN = "_&&_", "_||_", "!_", "_[_]", "@not_strictly_false"

# Numbers of fields in CheckedExpr and SourceInfo.
_EXPRESSION, _SOURCE, _POSITIONS = 4, 5, 4

Path = tuple[str, ...]
Reads = Mapping[str, "Reads | None"]  # what is read below each name; `None`: all of it


@dataclass(frozen=True, slots=True)
class Node:
    """One place of a syntax tree: `at` counts the characters before it, `raw` is how the library serializes it."""

    at: int
    raw: bytes = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Constant(Node):
    value: str | bytes | int | float | None


@dataclass(frozen=True, slots=True)
class Name(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`operand.member`, or `has(operand.member)` where it only `tests`."""

    operand: Node
    member: str
    tests: bool


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function or operator; what stands before its dot is the first of `arguments`."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Collection(Node):
    """A list, a map (keys and values in turn) or a message, whose `message` is its name."""

    parts: tuple[Node, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Loop(Node):
    """A macro, written out: `variable` takes each value of `source`; `result` collects by `step` while `condition`."""

    variable: str
    source: Node
    collected: str
    start: Node
    condition: Node
    step: Node
    result: Node


def parse(checked: bytes) -> Node:
    """The tree of a serialized CheckedExpr."""
    return _Tree(checked).read()


def part(checked: bytes, node: Node) -> bytes:
    """The CheckedExpr that is only `node` of `checked`."""
    return b"".join(encode(number, node.raw if number == _EXPRESSION else value) for number, value in fields(checked))


def walk(node: Node) -> Iterator[Node]:
    """`node` and all below it."""
    todo = [node]
    while todo:
        yield (one := todo.pop())
        todo.extend(reversed(below(one)))


def below(node: Node) -> tuple[Node, ...]:
    match node:
        case Select(operand=operand):
            return (operand,)
        case Call(arguments=parts) | Collection(parts=parts):
            return parts
        case Loop():
            return (node.source, node.start, node.condition, node.step, node.result)
    return ()


def path_of(node: Node) -> Path | None:
    """The name, and the members below it, where `node` is nothing else."""
    match node:
        case Name(name=name):
            return (name,)
        case Select(operand=Select(tests=True)):
            return None
        case (
            Select(operand=operand, member=member)
            | Call(function="_[_]", arguments=(operand, Constant(value=str() as member)))
        ):
            above = path_of(operand)
            return (*above, member) if above else None
    return None


def paths(node: Node) -> Iterator[tuple[Path, bool]]:
    """The longest paths in `node`, and whether it is only asked if they are there."""
    path = path_of(node)
    if path is not None:
        yield path, isinstance(node, Select) and node.tests
        return
    for one in below(node):
        yield from paths(one)


def reads(node: Node) -> Reads:
    """What of each name `node` can read."""
    found: dict[str, Reads | None] = {}
    for path, _ in paths(node):
        _add(found, path)
    return found


def _add(found: dict[str, Reads | None], path: Path) -> None:
    first, *rest = path
    if not rest or found.get(first, found) is None:
        found[first] = None
        return
    inner = found.setdefault(first, {})
    assert isinstance(inner, dict)
    _add(inner, tuple(rest))


class _Tree:
    def __init__(self, checked: bytes) -> None:
        self._checked = dict(fields(checked))
        places = (dict(fields(_bytes(value))) for number, value in self._source() if number == _POSITIONS)
        self._places = {_number(entry.get(1, 0)): _number(entry.get(2, 0)) for entry in places}

    def read(self) -> Node:
        return self._node(_bytes(self._checked[_EXPRESSION]))

    def _source(self) -> Iterator[tuple[int, int | bytes]]:
        return fields(_bytes(self._checked.get(_SOURCE, b"")))

    def _node(self, raw: bytes) -> Node:
        members = dict(fields(raw))
        at = self._places.get(_number(members.get(2, 0)), 0)
        kind = next((number for number in members if number != 2), 0)
        body = tuple(fields(_bytes(members.get(kind, b""))))
        one = dict(body)
        match kind:
            case 3:
                return Constant(at, raw, _constant(body))
            case 4:
                return Name(at, raw, _text(one[1]))
            case 5:
                return Select(at, raw, self._node(_bytes(one[1])), _text(one[2]), bool(one.get(3)))
            case 6:
                arguments = ([one[1]] if 1 in one else []) + [value for number, value in body if number == 3]
                return Call(at, raw, _text(one[2]), tuple(self._node(_bytes(value)) for value in arguments))
            case 7:
                return Collection(at, raw, tuple(self._node(_bytes(value)) for number, value in body if number == 1))
            case 8:
                entries = (dict(fields(_bytes(value))) for number, value in body if number == 2)
                parts = tuple(self._node(_bytes(entry[n])) for entry in entries for n in (3, 4) if n in entry)
                return Collection(at, raw, parts, _text(one.get(1, b"")))
            case 9:
                nodes = {number: self._node(_bytes(one[number])) for number in (2, 4, 5, 6, 7)}
                return Loop(at, raw, _text(one[1]), nodes[2], _text(one[3]), nodes[4], nodes[5], nodes[6], nodes[7])
        raise MalformedError(Code.MALFORMED, f"an expression of an unknown kind, {kind}")


def _constant(body: tuple[tuple[int, int | bytes], ...]) -> str | bytes | int | float | None:
    number, value = body[0]
    match number, value:
        case 2, int():
            return bool(value)
        case 4, int():
            return value
        case 3, int():
            return value - (1 << 64) if value >> 63 else value
        case 5, bytes():
            return float(struct.unpack("<d", value)[0])
        case 6, bytes():
            return value.decode("utf-8")
        case 7, bytes():
            return value
    return None


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message: Protocol Buffers, encoding."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if tag & 7 == 2:
            size, at = _varint(data, at)
        yield tag >> 3, data[at : at + size]
        at += size


def encode(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _encoded(number << 3) + _encoded(value)
    return _encoded(number << 3 | 2) + _encoded(len(value)) + value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def _encoded(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _number(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8")
