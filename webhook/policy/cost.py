"""What a condition may cost: what it may contain at all, and a bound for one statement before it is evaluated.

Nothing can stop an evaluation once it runs. So it starts only when the most it can take, in nanoseconds of one core and
bytes of memory, is below `LIMIT`. How often loops turn is bounded by the library, which gives up after `cel.TURNS` of
all together; what one turn takes is bounded here, from the syntax tree and the sizes of the values that the statement
really has, by the names they stand under. The bound is an overestimate, by design.

The weights were measured with cel-expr-python 0.1.3 and RE2 on one core at 3 GHz, and are those of the worst input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import re2  # type: ignore[import-untyped]

from webhook.errors import Code, MalformedError, quote
from webhook.policy import cel, tree
from webhook.policy.tree import Call, Collection, Constant, Loop, Name, Node, Select

LIMIT = 400_000_000
VALUE = 150  # of one value: to look at it, to compare it, to make it
COPIED = 8  # times its weight costs what is made anew: the limit is one of memory too, 50 MiB
GROWN = 100  # of a list that map or filter makes: it is made anew for each value in it
MAX_PATTERN_SIZE = 2_000  # instructions of a compiled regular expression; a name of a repository takes some 30
EXACT = 1 << 53  # from here on two whole numbers are one double

_LIGHT = frozenset({bool, int, float, type(None)})  # kinds that are VALUE heavy and hold nothing
_LOGIC = frozenset({tree.AND, tree.OR, tree.NOT, tree.STILL_OPEN, "_?_:_", "type", "dyn"})
_ARITHMETIC = frozenset({"_-_", "_*_", "_/_", "_%_", "-_"})
_COMPARISONS = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "startsWith", "endsWith"})
_CONVERSIONS = frozenset({"size", "string", "bytes", "bool", "int", "uint", "double", "timestamp", "duration"})
_CLOCKS = frozenset({
    "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear",
    "getHours", "getMinutes", "getSeconds", "getMilliseconds",
})  # fmt: skip
_FUNCTIONS = (
    _LOGIC | _ARITHMETIC | _COMPARISONS | _CONVERSIONS | _CLOCKS
    | {"_+_", "@in", "contains", "matches", tree.INDEX}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a value is: how heavy, how many values it holds. Where it is part of the statement, `under` is the
    name it stands under there; `item` is what it holds where that is known better than by its weight."""

    weight: int = VALUE
    length: int = 0
    under: str | None = None
    item: Bound | None = None


Sizes = Callable[[str], Bound]
"""What the values that stand under a name are at most; a name with `[]` is for what those values hold."""


def check(text: str, node: Node) -> None:
    """Raises: MalformedError, where a condition holds what is not taken, or costs too much whatever the statement."""
    for one in tree.walk(node):
        problem = _problem(one)
        if problem:
            raise MalformedError(Code.MALFORMED, f"{cel.place(text, one.at)}: {problem}")
    if estimate(node, uniform(VALUE)) > LIMIT:
        raise MalformedError(Code.MALFORMED, "it would take too long, whatever the statement")


def estimate(node: Node, sizes: Sizes) -> int:
    """The most that evaluating `node` costs, in nanoseconds or bytes."""
    meter = _Meter(sizes)
    meter.read(node, 1, {name: sizes(name) for name in cel.ROOTS})
    return meter.total


def affordable(node: Node, limit: int) -> int:
    """The weight up to which a statement cannot cost more than `limit`, however it is made."""
    return next((1 << power for power in range(30, 12, -1) if estimate(node, uniform(1 << power)) <= limit), 0)


def uniform(weight: int) -> Sizes:
    """For want of better: whatever it stands under, a value is as heavy as all of the statement."""
    return lambda under: Bound(weight, weight // VALUE, under)


def measured(variables: Mapping[str, object]) -> Sizes:
    """What stands under each name; nothing stands under any other, so that reading it is an error."""
    heaviest: dict[str, int] = {}
    longest: dict[str, int] = {}
    _measure(variables, "", heaviest, longest)
    return lambda under: Bound(heaviest.get(under, VALUE), longest.get(under, 0), under)


def _problem(node: Node) -> str:
    match node:
        case Call(function=function) if function not in _FUNCTIONS:
            return f"the function {quote(function, max_chars=40)} is not taken"
        case Call(function=function, arguments=arguments) if function in _CLOCKS and len(arguments) > 1:
            return "a time zone is not taken: times are read in UTC"  # it would be read from a file, by any name
        case Call(function="matches", arguments=(_, pattern)):
            return _pattern_problem(pattern)
        case Loop(variable=variable) if variable in cel.ROOTS:
            return f"the variable {variable} hides what the condition is about"
        case Collection(message=message) if message:
            return f"messages are not taken: {quote(message, max_chars=60)}"
        case Constant(value=float() as value) if abs(value) >= EXACT:
            return "a fraction below 2^53 expected: beyond, numbers are rounded when they are compared"
    return ""


def _pattern_problem(pattern: Node) -> str:
    if not isinstance(pattern, Constant) or not isinstance(pattern.value, str):
        return "matches() takes a text that is written out in the condition"
    size = _size_of(pattern.value)
    if size == 0:
        return f"no regular expression of RE2: {quote(pattern.value, max_chars=60)}"
    if size > MAX_PATTERN_SIZE:
        return f"the regular expression is too large: {quote(pattern.value, max_chars=60)}"
    return ""


@lru_cache(1024)
def _size_of(pattern: str) -> int:
    """How many instructions it compiles to; 0 where it does not."""
    options = re2.Options()
    options.log_errors = False
    try:
        return int(re2.compile(pattern.encode(), options).programsize)
    except re2.error:
        return 0


def _measure(value: object, under: str, heaviest: dict[str, int], longest: dict[str, int]) -> int:
    """The weight of `value`, after it and all that it holds was noted: there may be 250,000 values."""
    weight = VALUE
    if isinstance(value, str):
        weight += len(value) if value.isascii() else 4 * len(value)
    elif isinstance(value, dict):
        weight += _measure_members(value, f"{under}[]", heaviest, longest)
    elif isinstance(value, list):
        inside = f"{under}[]"
        weight += sum([VALUE if type(item) in _LIGHT else _measure(item, inside, heaviest, longest) for item in value])
    if weight > heaviest.get(under, VALUE):
        heaviest[under] = weight
    if isinstance(value, dict | list) and len(value) > longest.get(under, 0):
        longest[under] = len(value)
    return weight


def _measure_members(
    members: Mapping[str, object], inside: str, heaviest: dict[str, int], longest: dict[str, int]
) -> int:
    total, most = 0, VALUE
    for name, member in members.items():
        weight = VALUE if type(member) in _LIGHT else _measure(member, name, heaviest, longest)
        key = VALUE + 4 * len(name)
        total += weight + key
        most = max(most, weight, key)
        if name in longest:
            longest[inside] = max(longest.get(inside, 0), longest[name])
    heaviest[inside] = max(heaviest.get(inside, VALUE), most)
    return total


class _Meter:
    """Adds up what a tree costs; `times` is how often a place is reached at most."""

    def __init__(self, sizes: Sizes) -> None:
        self.total = 0
        self._sizes = sizes

    def read(self, node: Node, times: int, scope: Mapping[str, Bound]) -> Bound:
        self.total += times * VALUE
        match node:
            case Constant(value=str() | bytes() as value):
                return Bound(VALUE + len(value))
            case Name(name=name):
                return scope.get(name, Bound())
            case Select(operand=operand, member=member, tests=tests):
                whole = self.read(operand, times, scope)
                return Bound() if tests else self._held(whole, member)
            case Collection(parts=parts):
                return _together([self.read(part, times, scope) for part in parts])
            case Loop():
                return self._loop(node, times, scope)
            case Call(arguments=arguments):
                return self._call(node, [self.read(argument, times, scope) for argument in arguments], times)
        return Bound()

    def _loop(self, loop: Loop, times: int, scope: Mapping[str, Bound]) -> Bound:
        source = self.read(loop.source, times, scope)
        turns = min(times * source.length, cel.TURNS)
        inner = {**scope, loop.variable: self._item(source), loop.collected: Bound()}
        start = self.read(loop.start, times, scope)
        self.read(loop.condition, turns, inner)
        step = self.read(loop.step, turns, inner)
        self.read(loop.result, times, inner)
        if not isinstance(loop.start, Collection):
            return Bound()  # all, exists, exists_one
        length = min(source.length, cel.TURNS)
        self.total += turns * length * GROWN
        return Bound(start.weight + length * step.weight, length, item=step.item)  # map, filter

    def _call(self, call: Call, bounds: list[Bound], times: int) -> Bound:
        first, last = bounds[0], bounds[-1]
        function = call.function
        match function:
            case "dyn":
                return first
            case "_?_:_":
                return _either(bounds[1], last)
            case tree.INDEX:
                self.total += times * 3 * last.weight  # it is quoted where nothing stands under it
                return self._indexed(first, call.arguments[1])
            case "_+_":
                self.total += times * COPIED * (first.weight + last.weight)
                return Bound(first.weight + last.weight, first.length + last.length, item=_either(first, last).item)
            case "string" | "bytes":
                self.total += times * COPIED * first.weight
                return Bound(first.weight + VALUE)
        self.total += times * self._work(call, first, last)
        return Bound()

    def _work(self, call: Call, first: Bound, last: Bound) -> int:
        """What a function that makes nothing large takes for the heaviest arguments."""
        match call.function:
            case "matches":  # RE2 compiles it each time, and makes a new state for each character at worst
                size = _size_of(_written(call.arguments[1]))
                return 700 * size + first.weight * (2 + 14 * size)
            case "contains":  # character after character, and at each the whole of the other text at worst
                return first.weight * (12 + (last.weight - VALUE) // 8)
            case "@in":
                return last.length * min(first.weight, self._item(last).weight)
            case function if function in _COMPARISONS:
                return min(first.weight, last.weight)
            case function if function in _CONVERSIONS:
                return first.weight
        return 0

    def _held(self, whole: Bound, name: str) -> Bound:
        """What stands under `name` in `whole`."""
        return _part(whole) if whole.under is None else self._sizes(name)

    def _indexed(self, whole: Bound, key: Node) -> Bound:
        if isinstance(key, Constant):
            return self._held(whole, key.value) if isinstance(key.value, str) else self._item(whole)
        return _part(self._item(whole))  # of a map perhaps, whose members stand under names of their own

    def _item(self, whole: Bound) -> Bound:
        return whole.item or self._held(whole, f"{whole.under}[]")


def _part(whole: Bound) -> Bound:
    """What `whole` holds is no heavier than itself."""
    return Bound(whole.weight, whole.weight // VALUE)


def _together(bounds: list[Bound]) -> Bound:
    """A list of these."""
    item = bounds[0] if bounds else None
    for bound in bounds[1:]:
        item = _either(item, bound) if item else bound
    return Bound(VALUE + sum(bound.weight for bound in bounds), len(bounds), item=item)


def _either(one: Bound, other: Bound) -> Bound:
    """One of the two; what it holds is known where both hold the same, or one of them holds nothing."""
    if one == other:
        return one
    item = one.item if other.length == 0 or one.item == other.item else other.item if one.length == 0 else None
    return Bound(max(one.weight, other.weight), max(one.length, other.length), item=item)


def _written(node: Node) -> str:
    assert isinstance(node, Constant)
    return str(node.value)
