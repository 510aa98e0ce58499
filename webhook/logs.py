"""What a process of ours says of itself: JSON lines on standard error. Records of reviews have standard output."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson


def to_stderr() -> None:
    """From now on all that is logged in this process, from INFO on, goes to stderr, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()
