"""Text as people may be shown it: a stranger's in plain ASCII, an operator's own without control characters, all cut.

What is cut ends in an ellipsis. Nothing here decides what is said, nor of whom.
"""

from __future__ import annotations

from webhook.errors import quote

MAX_CHARS = 300  # of one piece: two ARNs of signing profiles, and a few words


def foreign(text: str, max_chars: int = MAX_CHARS) -> str:
    """What a stranger wrote, all but plain ASCII escaped."""
    return _cut(to_ascii(text), max_chars)


def quoted(text: str, max_chars: int) -> str:
    """The same in quotation marks, where it might be taken for words of ours."""
    return _cut(quote(text, max_chars=max_chars), max_chars)  # an escape is longer than what it stands for


def own(text: str, max_chars: int = MAX_CHARS) -> str:
    """What an operator wrote, in its own letters."""
    return _cut(_printable(text), max_chars)


def own_bytes(text: str, max_bytes: int) -> str:
    """The same, cut where its UTF-8 would be longer than `max_bytes`."""
    data = _printable(text).encode()
    return data.decode() if len(data) <= max_bytes else f"{data[: max_bytes - 3].decode(errors='ignore')}…"


def is_plain(text: str) -> bool:
    """Whether nobody could take `text` for anything but one word."""
    return text.isascii() and text.isprintable() and not any(mark in text for mark in " \"'\\") and bool(text)


def to_ascii(text: str) -> str:
    """`text` uncut, all but plain ASCII and our own ellipsis escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        mark if mark == "…" or (mark.isascii() and mark.isprintable()) else ascii(mark)[1:-1] for mark in text
    )


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
