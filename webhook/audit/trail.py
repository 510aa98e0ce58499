"""Records on their way to where they are kept: bounded, and never in the way of an answer.

`put` returns at once. Records gather for a moment and go to each sink in one piece, in a thread of its own, so that a
sink that is stuck stops neither the reviews nor its neighbours. Where a sink does not keep up, the newest records are
dropped for it, and counted. What a record says is `audit/record`'s; what a sink does with it, the sink's.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import orjson

from webhook import settings

GATHER = 0.02  # seconds: one write for the records of a busy moment, and a tail of the log that still feels live
PENDING_MAX_BYTES = 16 * settings.MIB

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where lines are kept. `write` may block and may fail; it runs in a thread of its own."""

    @property
    def name(self) -> str: ...

    def write(self, lines: bytes) -> None:
        """All of `lines`, each of which ends in a newline, are kept."""


class Trail:
    """`dropped` is told the name of a sink and how many records it lost."""

    def __init__(self, sinks: tuple[Sink, ...], *, dropped: Callable[[str, int], None]) -> None:
        self._lanes = tuple(_Lane(sink, dropped) for sink in sinks)
        self._gathered: list[bytes] = []

    def put(self, record: Mapping[str, object]) -> None:
        """`record` goes to every sink soon, or is counted as dropped. For the event loop's thread."""
        if not self._gathered:
            asyncio.get_running_loop().call_later(GATHER, self._send)
        self._gathered.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))

    async def close(self, *, grace: float) -> None:
        """What was put has been written, unless a sink took longer than `grace` seconds."""
        self._send()
        await asyncio.gather(*(asyncio.to_thread(lane.close, grace) for lane in self._lanes))

    def _send(self) -> None:
        if self._gathered:
            lines, count = b"".join(self._gathered), len(self._gathered)
            self._gathered.clear()
            for lane in self._lanes:
                lane.put(lines, count)


class _Lane:
    def __init__(self, sink: Sink, dropped: Callable[[str, int], None]) -> None:
        self._sink, self._dropped = sink, dropped
        self._queue: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._queued = self._written = 0  # bytes; each is counted by one thread only
        self._thread = threading.Thread(target=self._run, name=f"audit-{sink.name}", daemon=True)
        self._thread.start()

    def put(self, lines: bytes, count: int) -> None:
        if self._queued - self._written + len(lines) > PENDING_MAX_BYTES:
            self._dropped(self._sink.name, count)
            return
        self._queued += len(lines)
        self._queue.put((lines, count))

    def close(self, grace: float) -> None:
        self._queue.put(None)
        self._thread.join(grace)

    def _run(self) -> None:
        failing = False
        while (batch := self._queue.get()) is not None:
            lines, count = batch
            try:
                self._sink.write(lines)
                failing = False
            except Exception:  # a sink's failure is its own
                if not failing:  # said once, and counted from then on
                    log.exception("the audit sink %s fails", self._sink.name)
                failing = True
                self._dropped(self._sink.name, count)
            self._written += len(lines)
