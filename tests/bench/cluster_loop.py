"""`countersign serve`, whose event loop tells of every gap: how long nobody could have been answered.

A timer of one millisecond notes when it came late, as JSON lines in the file that the variable GAPS names.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from webhook import runtime

TICK = 0.001  # seconds
TOLD = 0.005  # shorter ones are everyday


def main() -> int:
    made = uvloop.new_event_loop
    with Path(os.environ["GAPS"]).open("w", buffering=1) as told:
        collecting = 0.0

        def tick(loop: asyncio.AbstractEventLoop, due: float) -> None:
            now = time.monotonic()
            if now - due > TOLD:
                told.write(json.dumps({"at": time.time(), "seconds": now - due, "collecting": collecting}) + "\n")
            forget()
            loop.call_later(TICK, tick, loop, now + TICK)

        def forget() -> None:
            nonlocal collecting
            collecting = 0.0

        def collect(phase: str, _: object) -> None:
            nonlocal collecting
            collecting += time.monotonic() if phase == "stop" else -time.monotonic()

        def ticking_loop() -> asyncio.AbstractEventLoop:
            loop = made()
            loop.call_soon(tick, loop, time.monotonic())
            return loop

        uvloop.new_event_loop = ticking_loop  # type: ignore[assignment]
        gc.callbacks.append(collect)
        return runtime.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
