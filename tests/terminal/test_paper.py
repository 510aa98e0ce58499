from __future__ import annotations

import io
import json

import pytest

from webhook.terminal.paper import GOOD, Paper, escape


def written(text: str, *, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Paper(file).line((text, GOOD))
    file.seek(0)
    return file.read()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("Grüße", "Grüße", id="letters"),
        pytest.param("\x1b[31mred", "\\x1b[31mred", id="escape-sequence"),
        pytest.param("two\nlines\r", "two\\nlines\\r", id="line-ends"),
        pytest.param("a\u202eb", "a\\u202eb", id="right-to-left-override"),
        pytest.param("\x9b31m", "\\x9b31m", id="c1-control"),
        pytest.param("\udcff", "\\udcff", id="lone-surrogate"),
        pytest.param("[red]x[/red]", "[red]x[/red]", id="markup"),
    ],
)
def test_foreign_text_cannot_steer_a_terminal(text: str, shown: str) -> None:
    assert escape(text) == shown
    assert written(text) == f"{shown}\n"


def test_a_file_that_speaks_no_unicode_gets_what_it_can_take() -> None:
    assert written("✓ … ü", encoding="ascii") == "+ ... \\xfc\n"


def test_a_pipe_gets_long_lines_whole() -> None:
    assert written("word " * 100).count("\n") == 1


@pytest.mark.parametrize(("width", "lines"), [(40, 4), (80, 2)])
def test_a_terminal_gets_long_lines_folded(monkeypatch: pytest.MonkeyPatch, width: int, lines: int) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    file = io.StringIO()
    Paper(file).line("word " * 25, indent=2, hang=2)
    shown = file.getvalue().splitlines()
    assert len(shown) == lines
    assert all(len(line) <= width for line in shown)
    assert shown[0].startswith("  word")
    assert shown[1].startswith("    word")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("layer " + "a" * 32, ["  layer " + "a" * 32], id="just-fits"),
        pytest.param("layer " + "a" * 33, ["  layer", "    " + "a" * 33], id="just-does-not"),
        pytest.param("layer " + "a" * 60 + " b", ["  layer", "    " + "a" * 60, "    b"], id="longer-than-any-line"),
    ],
)
def test_what_fits_into_a_line_stays_in_one(monkeypatch: pytest.MonkeyPatch, text: str, shown: list[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    file = io.StringIO()
    Paper(file).line(text, indent=2, hang=2)
    assert [line.rstrip() for line in file.getvalue().splitlines()] == shown


def test_the_lines_of_a_tree_go_through_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    file = io.StringIO()
    Paper(file).line("word " * 16, guide="│   ", hang=2)
    first, *rest = file.getvalue().splitlines()
    assert "│   word" in first
    assert rest
    assert all("│" in line and "  word" in line for line in rest)


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in written("good")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32m" in written("good")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in written("good")


def test_a_document_is_ascii() -> None:
    file = io.StringIO()
    Paper(file).document({"text": "ü\x1b"})
    assert file.getvalue().isascii()
    assert "\x1b" not in file.getvalue()
    assert json.loads(file.getvalue()) == {"text": "ü\x1b"}
