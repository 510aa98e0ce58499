"""What the parts of the program log, on stderr while a command runs: warnings and worse, one plain line each.

A traceback helps whoever mends the program, and nobody else: it is left out, and the exception named.
"""

from __future__ import annotations

import logging
import sys

from webhook.terminal.paper import BAD, UNSURE, Paper


class PaperHandler(logging.Handler):
    """Writes to stderr as it is now: whoever runs a command in-process may have put another in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        failure = record.exc_info[1] if record.exc_info else None
        cause = f": {type(failure).__name__}: {failure}" if failure else ""
        style = BAD if record.levelno >= logging.ERROR else UNSURE
        Paper(sys.stderr).line((f"{record.levelname.lower()}: ", style), f"{record.getMessage()}{cause}", hang=2)


def to_stderr() -> None:
    """From now on the program's own words are shown."""
    logging.basicConfig(level=logging.WARNING, handlers=[PaperHandler()], force=True)
