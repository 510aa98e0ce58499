"""`countersign serve`, whose event loop tells of every gap: how long nobody could have been answered.

A timer of one millisecond notes when it came late, as JSON lines in the file that the variable GAPS names. Time for
which the loop's thread could have run, and the machine had no core for it, is not counted: it says nothing of us.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import uvloop

from webhook import runtime

TICK = 0.001  # seconds
TOLD = 0.005  # shorter ones are everyday
SCHEDULED = "/proc/thread-self/schedstat"  # nanoseconds on a core, and in wait for one


class Ticking:
    """The timer of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, told: TextIO) -> None:
        self._loop, self._told = loop, told
        self._scheduled = os.open(SCHEDULED, os.O_RDONLY)
        self._due, self._waited, self._collecting = time.monotonic(), self._waits(), 0.0
        gc.callbacks.append(self._collect)
        loop.call_soon(self._tick)

    def _tick(self) -> None:
        now, waited = time.monotonic(), self._waits()
        own = now - self._due - (waited - self._waited)
        if own > TOLD:
            self._told.write(json.dumps({"at": time.time(), "seconds": own, "collecting": self._collecting}) + "\n")
        self._due, self._waited, self._collecting = now + TICK, waited, 0.0
        self._loop.call_later(TICK, self._tick)

    def _waits(self) -> float:
        return int(os.pread(self._scheduled, 100, 0).split()[1]) / 1e9

    def _collect(self, phase: str, _: object) -> None:
        self._collecting += time.monotonic() if phase == "stop" else -time.monotonic()


def main() -> int:
    made = uvloop.new_event_loop
    with Path(os.environ["GAPS"]).open("w", buffering=1) as told:

        def ticking() -> uvloop.Loop:
            loop = made()
            Ticking(loop, told)
            return loop

        uvloop.new_event_loop = ticking
        return runtime.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
