"""What a condition saw, for people: which of its clauses decided, and what stood where they looked.

A condition is taken apart at its outermost `&&` and `||`; each clause can be evaluated alone. Where a clause looks at
each entry of a list, the one entry that makes it what it is is found by halving the list. All of this is told beside an
answer and never changes it: what cannot be found out at little cost is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import orjson

from webhook.errors import quote
from webhook.policy import cel, tree
from webhook.policy.cel import EvaluationError, Program
from webhook.policy.tree import Call, Loop, Node

MAX_PARTS = 6  # of what was seen
MAX_CHARS = 120  # of each, and of its name
MAX_CLAUSES = 16
MAX_EVALUATIONS = 64  # of clauses
MAX_BYTES = 8 << 20  # of JSON, handed to the library in all of them
MAX_ITEMS = 3  # of a list; of an object twice as many members

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EACH = "*"

Seen = tuple[tuple[str, str], ...]
Steps = tuple[str | int, ...]
Variables = Mapping[str, object]


class Answer(Enum):
    TRUE = "true"
    FALSE = "false"
    ERROR = "error"


class Absence(Enum):
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition, or one of the clauses that its `parts` are, which `&&` or `||` joins."""

    text: str
    program: Program
    parts: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What stood at `steps`: the value, or `ABSENT` where the last of them leads nowhere."""

    steps: Steps
    value: object
    is_tested: bool = False  # it may be absent

    @property
    def told(self) -> tuple[str, str]:
        return _cut(_name(self.steps)), _cut(_shown(self.value))


def clauses(program: Program) -> Clause:
    """Raises: MalformedError."""
    return _take_apart(program, program.node, 0, len(program.text), [MAX_CLAUSES])


def _take_apart(program: Program, node: Node, start: int, end: int, left: list[int]) -> Clause:
    own = program if node is program.node else program.part(node)
    joined = list(_joined(node, start, end))
    text = _clause_text(program.text[start:end])
    if len(joined) == 1 or len(joined) > left[0]:
        return Clause(text, own)
    left[0] -= len(joined)
    return Clause(text, own, tuple(_take_apart(program, *one, left) for one in joined))


def _joined(node: Node, start: int, end: int, by: str = "") -> Iterator[tuple[Node, int, int]]:
    """The clauses that one operator joins, and where they stand."""
    if isinstance(node, Call) and node.function in (tree.AND, tree.OR) and by in ("", node.function):
        yield from _joined(node.arguments[0], start, node.at, node.function)
        yield from _joined(node.arguments[1], node.at + 2, end, node.function)
    else:
        yield node, start, end


def _clause_text(text: str) -> str:
    """On one line, without the parentheses of what stood around it."""
    text = " ".join(text.split())
    while text.startswith("(") and text.count("(") > text.count(")"):
        text = text[1:].lstrip()
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1].rstrip()
    return text


class Witness:
    """Looks again at what was evaluated. `may_evaluate` is asked, once at most, whether clauses are cheap enough."""

    def __init__(self, condition: Clause, variables: Variables, may_evaluate: Callable[[], bool]) -> None:
        self._condition = condition
        self._variables = variables
        self._may_evaluate = may_evaluate
        self._left: int | None = None
        self._left_bytes = MAX_BYTES

    def of_true(self) -> Seen:
        """What the condition read."""
        return _told(self._read(self._condition.program.node))

    def of_false(self) -> Seen:
        """What the clauses read that made it false."""
        return _told(
            part for clause in self._blamed(self._condition, Answer.FALSE) for part in self._seen(clause, Answer.FALSE)
        )

    def of_error(self, said: str) -> str:
        """What went wrong, in which clause, and what else that clause saw."""
        clause = next(iter(self._blamed(self._condition, Answer.ERROR)), self._condition)
        parts = list(self._seen(clause, Answer.ERROR))
        absent = next((part for part in parts if part.value is Absence.ABSENT and not part.is_tested), None)
        problem = f"no such key: {_absence(absent.steps)}" if absent else said
        seen = [f"{name} = {value}" for name, value in _told(part for part in parts if part is not absent)]
        where = "" if clause is self._condition else f", in {quote(clause.text, max_chars=MAX_CHARS)}"
        return f"{problem}{where}" + (f"; it saw {', '.join(seen[:MAX_ITEMS])}" if seen else "")

    def _blamed(self, clause: Clause, answer: Answer) -> list[Clause]:
        """The clauses that gave this answer where `clause` did; all of them where that cannot be found out."""
        if not clause.parts:
            return [clause]
        answers = [self._answer(part, self._variables) for part in clause.parts]
        blamed = [part for part, found in zip(clause.parts, answers, strict=True) if found in (answer, None)]
        return [one for part in blamed or clause.parts for one in self._blamed(part, answer)]

    def _answer(self, clause: Clause, variables: Variables) -> Answer | None:
        """What the clause alone says; `None` where enough was asked."""
        if self._left is None:
            self._left = MAX_EVALUATIONS if self._may_evaluate() else 0
        if self._left <= 0 or self._left_bytes <= 0:
            return None
        self._left -= 1
        self._left_bytes -= len(orjson.dumps(variables))
        try:
            return Answer.TRUE if clause.program.evaluate(variables) else Answer.FALSE
        except EvaluationError:
            return Answer.ERROR

    def _seen(self, clause: Clause, answer: Answer) -> Iterator[Part]:
        """What decided in lists, then what was read besides."""
        sources: set[Steps] = set()
        for loop in _loops(clause.program.node):
            path = tree.path_of(loop.source)
            if path and path[0] in cel.ROOTS:
                parts = list(self._in_list(clause, answer, loop, self._variables, path, path))
                sources.update({path} if parts else ())
                yield from parts
        yield from (part for part in self._read(clause.program.node) if part.steps not in sources)

    def _read(self, node: Node) -> Iterator[Part]:
        for path, is_tested in tree.paths(node):
            if path[0] in cel.ROOTS:
                yield _resolve(self._variables, path[:1], path, is_tested=is_tested)

    def _in_list(self, clause: Clause, answer: Answer, loop: Loop, variables: Variables, at: Steps, known_as: Steps
                 ) -> Iterator[Part]:  # fmt: skip
        """What `loop` read in the list at `at`, whose place in the statement is `known_as`."""
        items = _resolve({"": variables}, ("",), ("", *at)).value
        if not isinstance(items, list) or not items:
            return
        index = self._culprit(clause, answer, variables, at, items)
        if index is None:
            yield from _of_several(loop, items, known_as)
            return
        here = (*known_as, index)
        alone = _replaced(variables, at, items[index : index + 1])
        inner = [
            part
            for nested in _loops(loop.step)
            if (path := tree.path_of(nested.source)) and path[0] == loop.variable
            for part in self._in_list(clause, answer, nested, alone, (*at, 0, *path[1:]), (*here, *path[1:]))
        ]
        if inner:
            yield from inner
            return
        for path, is_tested in tree.paths(loop.step):
            if path[0] == loop.variable and path[1:]:
                yield _resolve({"": items[index]}, here, ("", *path[1:]), is_tested=is_tested)
        yield Part(here, items[index])

    def _culprit(
        self, clause: Clause, answer: Answer, variables: Variables, at: Steps, items: list[object]
    ) -> int | None:
        """The index of an item with which alone the clause gives this answer, which it does not without any."""
        if self._answer(clause, _replaced(variables, at, [])) in (answer, None):
            return None
        low, high = 0, len(items)
        while high - low > 1:
            middle = (low + high) // 2
            if self._answer(clause, _replaced(variables, at, items[low:middle])) is answer:
                high = middle
            elif self._answer(clause, _replaced(variables, at, items[middle:high])) is answer:
                low = middle
            else:
                return None
        return low


def _loops(node: Node) -> Iterator[Loop]:
    """The outermost ones."""
    if isinstance(node, Loop):
        yield node
        return
    for one in tree.below(node):
        yield from _loops(one)


def _resolve(within: Variables, known_as: Steps, path: Steps, *, is_tested: bool = False) -> Part:
    """What stands at `path`, as far as it leads; its first step is known as `known_as`."""
    value: object = within
    steps = known_as
    for number, step in enumerate(path):
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step, Absence.ABSENT)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
        else:
            break
        steps = (*steps, step) if number else steps
        if value is Absence.ABSENT:
            break
    return Part(steps, value, is_tested)


def _of_several(loop: Loop, items: list[object], known_as: Steps) -> Iterator[Part]:
    """Some of what was read in a list of which no single item decided."""
    paths = dict.fromkeys(path[1:] for path, _ in tree.paths(loop.step) if path[0] == loop.variable)
    for path in list(filter(None, paths)) or [()]:
        some = [_resolve({"": item}, (), ("", *path)).value for item in items[:MAX_ITEMS]]
        yield Part((*known_as, _EACH, *path), _Several(some, len(items) - len(some)))


@dataclass(frozen=True, slots=True)
class _Several:
    values: list[object]
    more: int


def _replaced(value: object, at: Steps, by: object) -> dict[str, object]:
    """The variables with another value in one place."""
    replaced = _with(value, at, by)
    assert isinstance(replaced, dict)
    return replaced


def _with(value: object, at: Steps, by: object) -> object:
    if not at:
        return by
    step, rest = at[0], at[1:]
    if isinstance(value, list) and isinstance(step, int):
        return [*value[:step], _with(value[step], rest, by), *value[step + 1 :]]
    if isinstance(value, Mapping) and isinstance(step, str):
        return {**value, step: _with(value[step], rest, by)}
    return value


def _told(parts: Iterator[Part]) -> Seen:
    told: dict[str, str] = {}
    for part in parts:
        if len(told) == MAX_PARTS:
            break
        name, shown = part.told
        told.setdefault(name, shown)
    return tuple(told.items())


def _name(steps: Steps) -> str:
    first, *rest = steps
    return str(first) + "".join(map(_step, rest))


def _step(step: str | int) -> str:
    if isinstance(step, int) or step == _EACH:
        return f"[{step}]"
    return f".{step}" if _PLAIN.fullmatch(step) else f"[{quote(step, max_chars=60)}]"


def _absence(steps: Steps) -> str:
    return f"{quote(str(steps[-1]), max_chars=60)} in {_cut(_name(steps[:-1]))}"


def _shown(value: object) -> str:
    match value:
        case Absence.ABSENT:
            return "absent"
        case str():
            return quote(value, max_chars=MAX_CHARS - 5)
        case _Several(values, more):
            return ", ".join(map(_shown, values)) + (f" and {more} more" if more else "")
        case list():
            return f"a list of {len(value)}"
        case dict():
            return _shown_object(value)
    return json.dumps(value)


def _shown_object(members: Mapping[str, object]) -> str:
    plain = {name[:40]: _short(value) for name, value in members.items() if not isinstance(value, dict | list)}
    some = dict(list(plain.items())[: 2 * MAX_ITEMS])
    return json.dumps(some) if some else f"an object of {len(members)}"


def _short(value: object) -> object:
    return value[:40] if isinstance(value, str) else value


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 3]}..."
