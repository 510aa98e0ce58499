"""When a review began, by each of the clocks that somebody asks later.

Started once, where the request arrives, and handed on as it is: deadlines, durations and records of one review count
from one moment. For one event loop.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class Watch:
    """`arrived` is by the loop's clock, on which deadlines are set; `at` is for people."""

    __slots__ = ("_started", "arrived", "at")

    def __init__(self) -> None:
        self.arrived, self.at = asyncio.get_running_loop().time(), datetime.now(UTC)
        self._started = time.perf_counter()  # the loop's clock stands still between two of its turns

    def seconds(self) -> float:
        """Since then, for people."""
        return time.perf_counter() - self._started
