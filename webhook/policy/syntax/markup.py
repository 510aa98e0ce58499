"""YAML of policy files, read strictly: plain values, and where each of them stands.

Taken is what every reader of YAML understands in the same way: mappings with text as names, lists, text, whole
numbers, `true` and `false`. Refused, with its line, is what hides or doubles meaning: anchors, aliases, merge keys and
tags, names that stand twice, missing values, words and numbers that YAML 1.1 and 1.2 read differently, characters that
cannot be seen. Values are built from parser events, so size, depth and count are bounded before anything exists; what
the values mean is left to `schema` and `document`. Spec: YAML 1.1, and the core schema of 1.2 where both agree.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from webhook.errors import quote
from webhook.policy.syntax.mistakes import Mark, Mistakes, Path

MAX_BYTES = 1 << 20  # what a ConfigMap can hold
MAX_DEPTH = 16  # a policy needs 7
MAX_NODES = 50_000  # as 2,000 keys with a rule each have

Value = None | bool | int | str | list["Value"] | dict[str, "Value"]

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def read(data: bytes, mistakes: Mistakes, *, max_bytes: int = MAX_BYTES) -> dict[int, Value]:
    """The documents in `data` by number; empty ones are left out. What is wrong goes to `mistakes`, as do all marks.

    What can still be read after a mistake is read, so that all are found at once. Raises: PolicyErrors, where there are
    more mistakes than are shown.
    """
    if len(data) > max_bytes:
        mistakes.add((), f"too large: at most {max_bytes} bytes are read", mark=(1, 1))
        return {}
    text = _decode(data, mistakes)
    if text is None:
        return {}
    builder = _Builder(mistakes)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if not builder.take(event):
                break
    except yaml.YAMLError as error:
        _report_syntax(error, text, mistakes)
    return builder.documents


def _decode(data: bytes, mistakes: Mistakes) -> str | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        mistakes.add((), f"not UTF-8 text: the byte 0x{data[error.start]:02x}", mark=_mark_of(data, error.start))
        return None
    for place in _hidden(text):
        mistakes.add((), f"the character U+{ord(text[place]):04X} cannot be seen", mark=_mark_of(text, place))
        return None
    return text


def _hidden(text: str) -> Iterator[int]:
    """Where `text` holds a character by which it reads differently than it looks: YAML 1.1 ends lines at some."""
    suspects = re.finditer(r"[^\t\n\r\x20-\x7e]|\r(?!\n)", text)
    return (found.start() for found in suspects if unicodedata.category(found[0]) in _UNSEEN)


_UNSEEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


def _mark_of(text: str | bytes, place: int) -> Mark:
    before = text[:place].decode("utf-8", "replace") if isinstance(text, bytes) else text[:place]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _report_syntax(error: yaml.YAMLError, text: str, mistakes: Mistakes) -> None:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.split("\n", line)
    if line <= len(lines) and "\t" in lines[line - 1][:column]:
        mistakes.add((), "a tab, where YAML takes only spaces", mark=(line, column))
        return
    if getattr(error, "context", None) == "while scanning an alias":
        mistakes.add((), "a pattern that starts with * must stand in quotes", mark=(line, column))
        return
    shown = problem if isinstance(problem, str) and problem.isascii() and problem.isprintable() else "it cannot be read"
    mistakes.add((), f"not YAML: {shown[:120]}", mark=(line, column))


_NO_KEY = object()
_SKIPPED_KEY = object()


@dataclass(slots=True)
class _Frame:
    path: Path
    holder: list[Value] | dict[str, Value]
    key: object = _NO_KEY  # of the value that comes next, in a mapping


class _Builder:
    """Events to values, with a stack of its own: the depth of a document is never the depth of our calls."""

    def __init__(self, mistakes: Mistakes) -> None:
        self.documents: dict[int, Value] = {}  # read to their end
        self._mistakes = mistakes
        self._root: Value = None
        self._stack: list[_Frame] = []
        self._number = -1
        self._nodes = 0

    def take(self, event: yaml.Event) -> bool:
        """Whether to go on."""
        match event:
            case yaml.DocumentStartEvent():
                self._number, self._root = self._number + 1, None
            case yaml.DocumentEndEvent() if self._root is not None:
                self.documents[self._number] = self._root
            case yaml.ScalarEvent() | yaml.AliasEvent() | yaml.CollectionStartEvent():
                return self._take_node(event)
            case yaml.CollectionEndEvent():
                self._stack.pop()
        return True

    def _take_node(self, event: yaml.NodeEvent) -> bool:
        mark = _mark_of_event(event)
        self._nodes += 1
        if self._nodes > MAX_NODES or len(self._stack) >= MAX_DEPTH:
            limit = f"{MAX_NODES} values" if self._nodes > MAX_NODES else f"{MAX_DEPTH} levels"
            self._mistakes.add(self._path(), f"too much: at most {limit} are read", mark=mark)
            return False
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.holder, dict) and frame.key is _NO_KEY:
            self._take_key(event, frame, mark)
        else:
            self._take_value(event, mark)
        return True

    def _take_key(self, event: yaml.NodeEvent, frame: _Frame, mark: Mark) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            self._mistakes.add(frame.path, "a name must be plain text", mark=mark)
            if isinstance(event, yaml.CollectionStartEvent):
                self._open(event, (*frame.path, "?"))
            frame.key = _SKIPPED_KEY
            return
        frame.key = event.value
        path = (*frame.path, event.value)
        if event.value in frame.holder:
            line, _ = self._mistakes.position(path)
            self._mistakes.add(path, f"stands twice: first in line {line}", mark=mark)
            frame.key = _SKIPPED_KEY
        self._mistakes.mark(path, mark)
        if problem := _decorated(event) or _problem_of_key(event):
            self._mistakes.add(path, problem, mark=mark)

    def _take_value(self, event: yaml.NodeEvent, mark: Mark) -> None:
        path = self._path()
        self._mistakes.mark(path, mark)
        problem = _decorated(event)
        if isinstance(event, yaml.CollectionStartEvent):
            value = self._open(event, path, place=True)
        else:
            value, unclear = _scalar(event) if isinstance(event, yaml.ScalarEvent) else (None, "")
            self._place(value)
            missing = "a value is missing; write one, or leave the field out" if value is None and len(path) > 1 else ""
            problem = problem or unclear or missing
        if problem:
            self._mistakes.add(path, problem, mark=mark)

    def _open(self, event: yaml.CollectionStartEvent, path: Path, *, place: bool = False) -> Value:
        holder: list[Value] | dict[str, Value] = {} if isinstance(event, yaml.MappingStartEvent) else []
        if place:
            self._place(holder)
        self._stack.append(_Frame(path, holder))
        return holder

    def _place(self, value: Value) -> None:
        if not self._stack:
            self._root = value
            return
        frame = self._stack[-1]
        if isinstance(frame.holder, list):
            frame.holder.append(value)
            return
        if isinstance(frame.key, str):
            frame.holder[frame.key] = value
        frame.key = _NO_KEY

    def _path(self) -> Path:
        """Of the value that comes next."""
        if not self._stack:
            return (self._number,)
        frame = self._stack[-1]
        if isinstance(frame.holder, list):
            return (*frame.path, len(frame.holder))
        return (*frame.path, frame.key if isinstance(frame.key, str) else "?")


def _mark_of_event(event: yaml.Event) -> Mark:
    return (event.start_mark.line + 1, event.start_mark.column + 1) if event.start_mark else (1, 1)


def _decorated(event: yaml.NodeEvent) -> str:
    """What is wrong with how a value is written, whatever it is."""
    if isinstance(event, yaml.AliasEvent):
        name = quote(f"*{event.anchor}", max_chars=60)
        return f"the alias {name} is not taken: a policy says what it means in place; a pattern must stand in quotes"
    if event.anchor is not None:
        name = quote(f"&{event.anchor}", max_chars=60)
        return f"the anchor {name} is not taken: a policy says what it means in place"
    if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
        return f"the tag {quote(event.tag, max_chars=60)} is not taken: write the plain value"
    return ""


def _problem_of_key(event: yaml.ScalarEvent) -> str:
    if event.implicit[0] and event.value == "<<":
        return "a merge key is not taken: a policy says what it means in place"
    value, unclear = _scalar(event)
    if unclear or not isinstance(value, str):
        return "a name must be plain text: put it in quotes"
    return ""


def _scalar(event: yaml.ScalarEvent) -> tuple[Value, str]:
    """The value, and what is unclear about it."""
    text = event.value
    if not event.implicit[0] or len(text) > _LONGEST_WORD:
        return text, ""
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if tag == _NULL:
        return None, ""
    if text in _BOOLEANS:
        return _BOOLEANS[text], ""
    if _DECIMAL.fullmatch(text):
        return int(text), ""
    # `revocation: off` means the same in both readings; a field that takes no text refuses it
    if text == "off" or (tag in _TEXT and not _OTHERS_READ.fullmatch(text)):
        return text, ""
    return text, f"{quote(text)} is read as text by some and as another value by others: put it in quotes"


_LONGEST_WORD = 64  # longer text is nothing but text to every reader, or a number that nobody means
_RESOLVER = yaml.resolver.Resolver()
_NULL = "tag:yaml.org,2002:null"
_TEXT = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"}  # a date stays the text that it is
_BOOLEANS: Mapping[str, bool] = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)
# YAML 1.1 and the core schema of 1.2, where PyYAML's own table has less: y and n, octal 0o17, exponents without a point
_OTHERS_READ = re.compile(r"[yYnN]|[-+]?0o[0-7]+|[-+]?[0-9]+[eE][-+]?[0-9]+", re.ASCII)
