"""Conditions on attestations, in CEL: compiled once when a policy loads, evaluated without any IO, bounded in cost.

A condition sees `predicate`, `statement` and `image` and says true or false. Whatever else comes of it, an error, a
value of another type, a cost beyond the bound, is `condition_error` and never a pass. Only what a condition reads of a
statement is handed to it, and counted.

Whole numbers of JSON are exact from -2^63 to 2^64-1; one beyond, where the condition reads it, is `condition_error`. A
number written with a fraction or an exponent is a double, and a whole one beyond 2^53 is rounded when compared with it.

spec: Common Expression Language, language definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import orjson

from webhook.errors import Code, MalformedError, RejectedError
from webhook.policy import cel, cost, tree, witness
from webhook.policy.cel import EvaluationError, Program
from webhook.policy.cost import VALUE
from webhook.policy.tree import Reads
from webhook.policy.witness import Clause, Witness

MAX_CHARS = 4096
MAX_COMPILED = 1024  # conditions kept, in each process that evaluates them
MAX_READ_BYTES = 16 << 20  # of a statement, as JSON
QUICK = cost.LIMIT // 16  # what one evaluation may cost where clauses are evaluated again, to tell what was seen


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`saw` are parts of the condition and what they were, for people: `("predicate.builder.id", "'https://…'")`."""

    holds: bool
    saw: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that compiles. Two are equal when their text is."""

    text: str

    def evaluate(self, statement: Mapping[str, object], image: Mapping[str, str]) -> Evaluation:
        """What the condition says of `statement`; `predicate` is its member of that name, `{}` where it has none.

        Raises: RejectedError, `condition_error`.
        """
        compiled = _compiled(self.text)
        variables = _read(compiled.reads, statement, image)
        weight = _weight(variables)
        if weight > compiled.affordable and _cost(compiled, variables) > cost.LIMIT:
            raise _error("it would take too long on this statement: too much in it is held against too much")
        found = Witness(
            compiled.clause, variables, lambda: weight <= compiled.quick or _cost(compiled, variables) <= QUICK
        )
        try:
            if compiled.program.evaluate(variables):
                return Evaluation(True, found.of_true())
        except EvaluationError as error:
            raise _error(found.of_error(str(error))) from error
        return Evaluation(False, found.of_false())


def parse(text: str) -> Condition:
    """Raises: MalformedError, saying where in `text` and what was expected."""
    if not text.strip():
        raise MalformedError(Code.MALFORMED, "a condition expected, found empty text")
    if len(text) > MAX_CHARS:
        raise MalformedError(Code.MALFORMED, f"a condition of at most {MAX_CHARS} characters expected")
    _compiled(text)
    return Condition(text)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """`affordable` and `quick` are weights up to which every statement is within `cost.LIMIT` and `QUICK`."""

    program: Program
    clause: Clause
    reads: Reads
    affordable: int
    quick: int


@lru_cache(MAX_COMPILED)  # a condition is sent between processes as its text
def _compiled(text: str) -> _Compiled:
    program = cel.compile_text(text)
    cost.check(text, program.node)
    affordable, quick = (cost.affordable(program.node, limit) for limit in (cost.LIMIT, QUICK))
    return _Compiled(program, witness.clauses(program), tree.reads(program.node), affordable, quick)


def _read(reads: Reads, statement: Mapping[str, object], image: Mapping[str, str]) -> dict[str, object]:
    """The variables, with nothing in them that the condition cannot reach."""
    everything = {"predicate": statement.get("predicate", {}), "statement": dict(statement), "image": dict(image)}
    return {name: _cut(value, reads.get(name, {})) for name, value in everything.items()}


def _cut(value: object, reads: Reads | None) -> object:
    if reads is None or not isinstance(value, dict):
        return value
    return {name: _cut(value[name], inner) for name, inner in reads.items() if name in value}


def _cost(compiled: _Compiled, variables: Mapping[str, object]) -> int:
    return cost.estimate(compiled.program.node, cost.measured(variables))


def _weight(variables: Mapping[str, object]) -> int:
    """No less than `cost` would find, and at the speed of the writer of JSON, which refuses what the library cannot
    take: a nesting of more than 254 levels would end the process, and numbers have 64 bits."""
    try:
        data = orjson.dumps(variables)
    except TypeError as error:
        is_number = "64-bit" in str(error)
        problem = "holds a number of more than 64 bits" if is_number else "is nested too deeply"
        raise _error(f"what it reads {problem}") from error
    if len(data) > MAX_READ_BYTES:
        raise _error(f"it reads {len(data)} bytes of the statement, at most {MAX_READ_BYTES} are read")
    return len(data) + VALUE * (1 + sum(map(data.count, (b",", b":", b"[", b"{"))))


def _error(problem: str) -> RejectedError:
    return RejectedError(Code.CONDITION_ERROR, f"the condition gives no answer: {problem}")
