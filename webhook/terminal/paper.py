"""What a command writes on: a terminal, with colours and long lines folded, or a pipe, plain and never folded.

Every command speaks through a `Paper`, so that foreign text reaches no terminal raw: a character that does not print
is written as its escape, whoever sent it. Colours follow `NO_COLOR`, `FORCE_COLOR` and `TERM`, as rich reads them.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GOOD, BAD, UNSURE, DIM, STRONG = "green", "red", "yellow", "dim", "bold"
PLAIN = str.maketrans({"✓": "+", "✗": "x", "…": "...", "├": "|", "└": "`", "│": "|", "─": "-"})
FOLD_AT = 120  # wider text is hard to read, however wide the window
NARROWEST = 20


class Output(StrEnum):
    """For whom a command writes."""

    TEXT = "text"
    JSON = "json"


Part = str | tuple[str, str]  # text, or text and style


class Paper:
    """Writes lines to `file`."""

    def __init__(self, file: TextIO) -> None:
        self._console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def line(self, *parts: Part, indent: int = 0, hang: int = 0, guide: str = "") -> None:
        """One line; folded on a terminal, where what follows the first fold is indented by `hang` more.

        `guide` stands before each, in the place of an indent: the lines of a tree.
        """
        text = Text.assemble(*(self._printable(part) for part in parts), no_wrap=True)
        start = Text(self._fit(guide), DIM) if guide else Text(" " * indent)
        if not self._console.is_terminal:
            self._console.print(start + text)
            return
        width = min(self._console.width, FOLD_AT) - len(start)
        first = self._fold(text, width)[0]
        self._console.print(start + first)
        rest = text[len(first) :]
        rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
        for folded in self._fold(rest, width - hang) if rest else ():
            self._console.print(start + Text(" " * hang) + folded)

    def _fold(self, text: Text, width: int) -> list[Text]:
        """Between words only: a digest or an ARN is to be copied, and stays whole where no line is long enough."""
        cuts, used = [], 0
        for word in re.finditer(r"\s*\S+\s*", text.plain):
            if used and used + cell_len(word[0].rstrip()) > max(width, NARROWEST):
                cuts.append(word.start())
                used = 0
            used += cell_len(word[0])
        lines = list(text.divide(cuts))
        for line in lines:
            line.rstrip()
        return lines

    def command(self, *parts: str, indent: int = 0) -> None:
        """A command for a shell, to be copied; each of `parts` stands on a line of its own, none is folded."""
        joined = f" \\\n{' ' * (indent + 4)}".join(self._fit(part) for part in parts)
        self._console.print(Text(" " * indent + joined))

    def blank(self) -> None:
        """An empty line."""
        self._console.print()

    def document(self, value: object) -> None:
        """`value` as JSON, for programs; ASCII, so that nothing in it can steer a terminal."""
        self._console.file.write(json.dumps(value, indent=2) + "\n")

    def _printable(self, part: Part) -> Part:
        if isinstance(part, str):
            return self._fit(part)
        text, style = part
        return self._fit(text), style

    def _fit(self, text: str) -> str:
        """`text` as the file can take it: not every terminal and pipe speaks UTF-8."""
        shown, encoding = escape(text), self._console.encoding
        try:
            shown.encode(encoding)
        except UnicodeEncodeError:
            return shown.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)
        return shown


def escape(text: str) -> str:
    """`text` with every character that does not print, line ends among them, written as its escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
