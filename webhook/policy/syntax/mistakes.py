"""Mistakes in policy files: where each stands and what is wrong, collected so that the owner sees them all at once.

A path is a tuple of names and indices that starts with the number of the YAML document in its file. Over `MAX_MISTAKES`
the collecting stops, so that a hostile file costs little; nothing that was found is ever taken back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from webhook.errors import OperatorError, quote

MAX_MISTAKES = 100

Path = tuple[str | int, ...]
Mark = tuple[int, int]  # line and column, from 1


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """`path` as a person writes it, `spec.rules[0].images`; empty where the file is meant. Lines start at 1.

    Line 0 is none: what holds the text is meant, and not a place in it.
    """

    origin: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class PolicyErrors(OperatorError):  # noqa: N818 - it carries several
    """A policy file that is not taken: every mistake in it, in the order of lines."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class Mistakes:
    """What is wrong with one file so far. `marks` says where each path stands, and grows while the file is read."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._marks: dict[Path, Mark] = {}
        self._found: list[Mistake] = []
        self._paths: set[Path] = set()
        self._around: set[Path] = set()

    @property
    def marks(self) -> Mapping[Path, Mark]:
        return self._marks

    def mark(self, path: Path, mark: Mark) -> None:
        """`path` stands at `mark`; the first mark of a path stays."""
        self._marks.setdefault(path, mark)

    def add(self, path: Path, message: str, *, mark: Mark | None = None) -> None:
        """Something is wrong at `path`; `mark`, where it stands, if elsewhere. Raises: PolicyErrors over the limit."""
        line, column = mark or self.position(path)
        self._found.append(Mistake(self._origin, line, column, show_path(path), message))
        self._paths.add(path)
        self._around.update(path[:end] for end in range(len(path) + 1))
        if len(self._found) >= MAX_MISTAKES:
            self._found.append(Mistake(self._origin, line, column, "", "more mistakes follow, which are not shown"))
            self.raise_any()

    def at(self, path: Path) -> bool:
        """Whether something was found at `path` itself."""
        return path in self._paths

    def at_or_below(self, path: Path) -> bool:
        """Whether something was found at `path`, or in what it holds."""
        return path in self._around

    def position(self, path: Path) -> Mark:
        """Where `path` stands, or the nearest thing around it that does."""
        while path and path not in self._marks:
            path = path[:-1]
        return self._marks.get(path, (1, 1))

    def raise_any(self) -> None:
        """Raises: PolicyErrors, if anything was found."""
        if self._found:
            raise PolicyErrors(self._found)


def show_path(path: Path) -> str:
    """`path` as a person writes it, without the document's number."""
    shown = ""
    for step in path[1:]:
        if isinstance(step, int):
            shown += f"[{step}]"
        elif _PLAIN_NAME.fullmatch(step):
            shown += f".{step}" if shown else step
        else:
            shown += f"[{quote(step, max_chars=60)}]"
    return shown


_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
