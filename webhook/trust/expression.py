"""Regular expressions and globs of a policy: read strictly, bounded in size, matched in linear time on the whole text.

An `Expression` is compiled once, by RE2, and read a second time here into an automaton, so that what it may match can
be told for all texts and not for a few samples: `openness` asks. Only a part of RE2's syntax is taken, in which both
readings agree; an assertion (`^`, `$`, `\\b`) is taken by RE2 and left out of the automaton, which then says more than
is matched and never less. Control characters, and other text that cannot be seen, never match.

spec: RE2 syntax.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import re2  # type: ignore[import-untyped]

from webhook.errors import Code, MalformedError, quote
from webhook.trust import automaton
from webhook.trust.automaton import (
    EVERY,
    OTHERS,
    Automaton,
    Characters,
    Choice,
    Node,
    Repeat,
    Sequence,
    characters,
    span,
)

MAX_PATTERN_CHARS = 512
MAX_TEXT_CHARS = 2048  # an identity in a certificate is some 100
MAX_PROGRAM_BYTES = 1 << 20  # of one compiled expression, its caches included
MAX_DEPTH = 16  # of groups

_DIGIT, _WORD = characters("0-9"), characters("0-9", "a-z", "A-Z", "_")
_SPACE = characters("\t", "\n", "\f", "\r", " ")
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE, "D": EVERY & ~_DIGIT, "W": EVERY & ~_WORD, "S": EVERY & ~_SPACE}


@dataclass(frozen=True, slots=True)
class Expression:
    """Two are equal when their `pattern` is."""

    pattern: str
    _program: re2._Regexp = field(compare=False, repr=False)
    automaton: Automaton = field(compare=False, repr=False)

    def matches(self, text: str) -> bool:
        """Whether the whole of `text`, from its first character to its last, is matched."""
        return is_plain(text) and self._program.fullmatch(text.encode()) is not None


def is_plain(text: str) -> bool:
    """Not empty, not too long, and nothing in it that cannot be seen."""
    return 0 < len(text) <= MAX_TEXT_CHARS and text.isprintable()


def parse(pattern: str) -> Expression:
    """Raises: MalformedError, saying what of `pattern` is not taken."""
    if not pattern:
        raise _refusal("a regular expression expected, found empty text")
    if len(pattern) > MAX_PATTERN_CHARS or not pattern.isprintable():
        raise _refusal(
            f"at most {MAX_PATTERN_CHARS} printable characters expected, found {quote(pattern, max_chars=60)}"
        )
    program = _compile(pattern)
    return Expression(pattern, program, automaton.build(_Reader(pattern).read()))


def parse_glob(glob: str) -> Expression:
    """`*` stands for one or more characters but `/`, `**` for one or more of any kind. Raises: MalformedError."""
    if not glob:
        raise _refusal("a glob expected, found empty text")
    if "***" in glob:
        raise _refusal(f"* or ** expected, found *** in {quote(glob, max_chars=60)}")
    parts = (_WILDCARDS.get(part) or re2.escape(part) for part in re.split(r"(\*+)", glob))
    return parse("".join(parts))


_WILDCARDS = {"*": "[^/]+", "**": ".+"}


def _compile(pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.max_mem, options.never_capture, options.log_errors = MAX_PROGRAM_BYTES, True, False
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise _refusal(f"no regular expression of RE2: {quote(said, max_chars=80)}") from error


class _Reader:
    """A pattern that RE2 takes, to the node that it is."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def read(self) -> Node:
        return self._choice()

    def _choice(self) -> Node:
        found = [self._sequence()]
        while self._take("|"):
            found.append(self._sequence())
        return found[0] if len(found) == 1 else Choice(tuple(found))

    def _sequence(self) -> Node:
        found: list[Node] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            found.append(self._repeated(self._atom()))
        return Sequence(tuple(found))

    def _repeated(self, node: Node) -> Node:
        while (count := _COUNT.match(self._pattern, self._at)) is not None:
            self._at = count.end()
            least, comma, most = count["least"], count["comma"], count["most"]
            match count["sign"]:
                case "*" | "+" | "?" as sign:
                    node = Repeat(node, int(sign == "+"), 1 if sign == "?" else None)
                case _:
                    node = Repeat(node, int(least), int(most) if most else None if comma else int(least))
        return node

    def _atom(self) -> Node:
        character = self._next()
        match character:
            case "(":
                return self._group()
            case "[":
                return Characters(self._class())
            case ".":
                return Characters(EVERY)
            case "^" | "$":
                return Sequence()
            case "\\":
                return self._escape()
            case "{":
                raise self._refuse("write \\{ for a brace")
        return Characters(span(character, character))

    def _group(self) -> Node:
        if self._take("?") and not self._take(":"):
            raise self._refuse(
                "flags and names of groups are not taken: text is compared as it is, and upper case counts"
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._refuse(f"at most {MAX_DEPTH} groups within each other")
        node = self._choice()
        self._depth -= 1
        self._next()  # the parenthesis: RE2 has seen that there is one
        return node

    def _escape(self) -> Node:
        character = self._next()
        if character in "bBAz":
            return Sequence()
        return Characters(self._escaped(character))

    def _escaped(self, character: str) -> int:
        if character in _CLASSES:
            return _CLASSES[character]
        if character.isalnum() or not character.isascii():
            raise self._refuse(f"the escape \\{character} is not taken" if character.isascii() else "an escape")
        return span(character, character)

    def _class(self) -> int:
        negated = self._take("^")
        if self._pattern.startswith("]", self._at):
            raise self._refuse("write \\] for a bracket in a class")
        mask = 0
        while not self._take("]"):
            mask |= self._class_item()
        return (EVERY & ~mask) | OTHERS if negated else mask

    def _class_item(self) -> int:
        if self._pattern.startswith("[:", self._at):
            raise self._refuse("named classes are not taken: write [a-z]")
        first, mask = self._class_character()
        ends = self._pattern[self._at : self._at + 1] == "-" and self._pattern[self._at + 1 : self._at + 2] != "]"
        if not ends or not first:
            return mask
        self._next()
        last, _ = self._class_character()
        return span(first, last or first)

    def _class_character(self) -> tuple[str, int]:
        """A character, and its mask; of a class within a class only the mask."""
        character = self._next()
        if character != "\\":
            return character, span(character, character)
        character = self._next()
        return ("" if character in _CLASSES else character), self._escaped(character)

    def _next(self) -> str:
        character = self._pattern[self._at : self._at + 1]
        if not character:
            raise self._refuse("it ends too early")
        self._at += 1
        return character

    def _take(self, expected: str) -> bool:
        taken = self._pattern.startswith(expected, self._at)
        self._at += len(expected) if taken else 0
        return taken

    def _refuse(self, problem: str) -> MalformedError:
        return _refusal(f"{problem}, at character {self._at} of {quote(self._pattern, max_chars=60)}")


_COUNT = re.compile(r"(?:(?P<sign>[*+?])|\{(?P<least>[0-9]{1,4})(?P<comma>,)?(?P<most>[0-9]{1,4})?\})\??", re.ASCII)


def _refusal(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, problem)
