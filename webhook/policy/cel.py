"""The Common Expression Language: a text to a `Program`, and a program's answer. The only module that imports the
library, which parses, checks and evaluates; it takes 6 MiB of memory, and comes with the first condition.

Three variables exist, `predicate`, `statement` and `image`, and the standard functions; there is no clock, and nothing
is read from outside. What a program may hold and cost is the subject of `cost`.

spec: Common Expression Language, language definition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from webhook.errors import Code, MalformedError, quote
from webhook.policy import tree
from webhook.policy.tree import Node

ROOTS = ("predicate", "statement", "image")
TURNS = 10_000  # of all loops of one evaluation: cel-cpp, RuntimeOptions::comprehension_max_iterations

_TYPE_URL = b"type.googleapis.com/cel.expr.CheckedExpr"
_PLACE = re.compile(r"<input>:(-?\d+):(-?\d+): (.+)")
_STATUS = re.compile(r"^[A-Z_]+: |(?: \[[A-Z_]+\])?$")
_WORDS = {
    "Iteration budget exceeded": f"more than {TURNS} entries of lists were looked at",
    "Applying SELECT to non-message type": "a member is asked of what is no object",
}
_BOOLEAN, _ERROR, _UNKNOWN = "BOOL", "ERROR", "DYN"


class EvaluationError(Exception):
    """A program did not come to true or false; the message may be shown to people."""


@dataclass(frozen=True, slots=True)
class Program:
    """A checked expression that can be evaluated, by many threads at once."""

    text: str
    node: Node
    _checked: bytes = field(repr=False)
    _expression: Any = field(repr=False, compare=False)

    def evaluate(self, variables: Mapping[str, object]) -> bool:
        """Raises: EvaluationError."""
        try:
            value = self._expression.eval(data=variables)
            kind = value.type().name()
            found = value.value() if kind in (_BOOLEAN, _ERROR) else None
        except (RuntimeError, ValueError, TypeError) as error:
            raise EvaluationError(_in_words(str(error))) from error
        if kind == _BOOLEAN:
            return found is True
        if kind == _ERROR:
            raise EvaluationError(_in_words(str(found)))
        raise EvaluationError(f"it gives {kind.lower()}, not true or false")

    def part(self, node: Node) -> Program:
        """The program that is only `node`, which must stand outside of all macros. Raises: MalformedError."""
        checked = tree.part(self._checked, node)
        serialized = tree.encode(1, _TYPE_URL) + tree.encode(2, checked)
        try:
            return Program(self.text, node, checked, _environment().deserialize(serialized))
        except (RuntimeError, ValueError, TypeError) as error:
            raise _refusal(str(error)) from error


def compile_text(text: str) -> Program:
    """Raises: MalformedError, saying where in `text` and what was expected."""
    try:
        expression = _environment().compile(text)
    except (RuntimeError, ValueError, TypeError) as error:
        raise _refusal(str(error)) from error
    kind = expression.return_type().name()
    if kind not in (_BOOLEAN, _UNKNOWN):
        raise MalformedError(Code.MALFORMED, f"true or false expected, this gives {quote(kind.lower(), max_chars=60)}")
    envelope = dict(tree.fields(expression.serialize()))  # google.protobuf.Any
    checked = envelope.get(2)
    if envelope.get(1) != _TYPE_URL or not isinstance(checked, bytes):
        raise MalformedError(Code.MALFORMED, "the library gave another kind of document than a checked expression")
    return Program(text, tree.parse(checked), checked, expression)


def place(text: str, at: int) -> str:
    """Line and column of a character, for people."""
    before = text[:at].split("\n")
    return f"line {len(before)}, column {len(before[-1]) + 1}"


def _in_words(said: str) -> str:
    said = _STATUS.sub("", said)
    return _WORDS.get(said) or quote(said, max_chars=120)


def _refusal(said: str) -> MalformedError:
    found = _PLACE.search(said)
    if found is None:
        return MalformedError(Code.MALFORMED, quote(_STATUS.sub("", said), max_chars=160))
    line, column, problem = found.groups()
    problem = problem.removesuffix(" [INVALID_ARGUMENT]").removesuffix(" (in container '')")
    where = f"line {line}, column {column}: " if int(line) > 0 else ""
    hint = f"; known are {', '.join(ROOTS)} and the standard functions" if problem.startswith("undeclared") else ""
    return MalformedError(Code.MALFORMED, f"{where}{quote(problem, max_chars=160)}{hint}")


@cache
def _environment() -> Any:
    from cel_expr_python import cel  # type: ignore[import-untyped]

    text, anything = cel.Type.STRING, cel.Type.DYN
    return cel.NewEnv(variables={"predicate": anything, "statement": anything, "image": cel.Type.Map(text, text)})
