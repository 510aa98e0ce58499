"""Finite automata over characters: what texts a pattern is about, position by position.

A pattern is a tree of nodes; `build` makes the automaton in which each position reads one character and says where to
go on, so that sets of positions are plain integers. Repetitions are written out, and what that may cost is bounded.

spec: V. Glushkov, the abstract theory of automata.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from webhook.errors import Code, MalformedError

MAX_POSITIONS = 600  # places where a character is read, repetitions written out
MAX_STEPS = 6_000  # from one such place to another

# Sets of characters are bit masks: a bit for each of ASCII, and one that stands for all the others.
OTHERS = 1 << 128
EVERY = (1 << 129) - 1


def characters(*ranges: str) -> int:
    """The mask of single characters, `/`, and ranges, `a-z`."""
    mask = 0
    for one in ranges:
        mask |= span(one[0], one[-1])
    return mask


def span(first: str, last: str) -> int:
    """The mask of all characters from `first` to `last`."""
    low, high = min(ord(first), 128), min(ord(last), 128)
    return (1 << (high + 1)) - (1 << low)


_PRINTABLE = characters(" -~")


@dataclass(frozen=True, slots=True)
class Characters:
    """One character of `mask`; `choices` is for questions: how many there must be to choose from at that place."""

    mask: int
    choices: int = 0


@dataclass(frozen=True, slots=True)
class Sequence:
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    node: Node
    least: int
    most: int | None


Node = Characters | Sequence | Choice | Repeat


@dataclass(frozen=True, slots=True)
class Automaton:
    """What a text may be, position by position: `follow[p]`, `first` and `last` are sets of positions as bit masks."""

    reads: tuple[Characters, ...]
    follow: tuple[int, ...]
    first: int
    last: int
    empty: bool  # the empty text is one of them

    def reading(self, mask: int) -> int:
        """The positions that read one of these characters."""
        return sum(1 << position for position, one in enumerate(self.reads) if one.mask & mask)

    def choices(self, positions: int) -> int:
        """How many printable characters of ASCII can be read at one of `positions`."""
        mask = 0
        for position in bits(positions):
            mask |= self.reads[position].mask
        return (mask & _PRINTABLE).bit_count()


def bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def build(node: Node) -> Automaton:
    """Raises: MalformedError, where it would be too large."""
    return _Builder().build(node)


class _Builder:
    def __init__(self) -> None:
        self._reads: list[Characters] = []
        self._follow: list[int] = []
        self._steps = 0

    def build(self, node: Node) -> Automaton:
        first, last, empty = self._add(node)
        return Automaton(tuple(self._reads), tuple(self._follow), first, last, empty)

    def _add(self, node: Node) -> tuple[int, int, bool]:
        match node:
            case Characters():
                if len(self._reads) >= MAX_POSITIONS:
                    raise _too_large(f"at most {MAX_POSITIONS} characters with repetitions written out")
                self._reads.append(node)
                self._follow.append(0)
                place = 1 << (len(self._reads) - 1)
                return place, place, False
            case Sequence(nodes):
                return self._chain(nodes)
            case Choice(nodes):
                parts = [self._add(one) for one in nodes]
                first = last = 0
                for part in parts:
                    first, last = first | part[0], last | part[1]
                return first, last, any(empty for _, _, empty in parts)
            case Repeat(inner, least, most):
                return self._repeat(inner, least, most)

    def _chain(self, nodes: tuple[Node, ...]) -> tuple[int, int, bool]:
        first, last, empty = 0, 0, True
        for node in nodes:
            next_first, next_last, next_empty = self._add(node)
            self._join(last, next_first)
            first = first | next_first if empty else first
            last = next_last | last if next_empty else next_last
            empty = empty and next_empty
        return first, last, empty

    def _repeat(self, node: Node, least: int, most: int | None) -> tuple[int, int, bool]:
        optional = Choice((node, Sequence()))
        if most is not None:
            return self._chain((node,) * least + (optional,) * (most - least))
        first, last, empty = self._chain((node,) * max(least - 1, 0))
        loop_first, loop_last, loop_empty = self._add(node)
        self._join(loop_last, loop_first)
        self._join(last, loop_first)
        skipped = loop_empty or least == 0
        return (
            first | loop_first if empty else first,
            loop_last | last if skipped else loop_last,
            empty and skipped,
        )

    def _join(self, last: int, first: int) -> None:
        self._steps += last.bit_count() * first.bit_count()
        if self._steps > MAX_STEPS:
            raise _too_large("too much of it can be left out or repeated")
        for position in bits(last):
            self._follow[position] |= first


def _too_large(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, f"too large: {problem}")
