"""How many requests are under way, with one host and in all: whoever is slow leaves room for others.

A host has a bounded number of lanes, and fewer as they get scarce: never more than a sixteenth of those that are free,
but one. So a hundred hosts that stall take four or five each, and the next host finds as many free at once. Who waits
for a host is served in the order of coming, and hosts in turn. How long is waited is left to the caller. For one event
loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque

SHARE = 16


class Lanes:
    """`enter` takes a lane, `leave` gives it back: exactly once for each."""

    def __init__(self, *, lanes: int, per_host: int) -> None:
        self._free, self._per_host = lanes, per_host
        self._taken: Counter[str] = Counter()
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}  # by host, the next to be served first

    async def enter(self, host: str) -> bool:
        """A lane is held; whether it had to be waited for. Cancelled, none is."""
        if host not in self._queues and self._fits(host):
            self._hold(host)
            return False
        turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(host, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(host, turn)
            else:  # cancelled in the very moment in which the turn had come
                self.leave(host)
            raise
        return True

    def leave(self, host: str) -> None:
        """The lane is free; whose turn it is holds it already."""
        self._free += 1
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]
        if self._queues:
            self._serve()

    def _fits(self, host: str) -> bool:
        return self._free > 0 and self._taken[host] < min(self._per_host, max(1, self._free // SHARE))

    def _hold(self, host: str) -> None:
        self._free -= 1
        self._taken[host] += 1

    def _serve(self) -> None:
        """Every lane that somebody may have is handed over, to hosts in turn."""
        served = True
        while served and self._free:
            served = False
            for host in tuple(self._queues):
                served |= self._fits(host) and self._serve_one_of(host)

    def _serve_one_of(self, host: str) -> bool:
        queue = self._queues[host]
        turn = next((turn for turn in queue if not turn.done()), None)  # who was cancelled is about to leave
        if turn is None:
            return False
        self._hold(host)
        turn.set_result(None)
        self._forget(host, turn)
        if queue:
            self._queues[host] = self._queues.pop(host)  # to the end of the line
        return True

    def _forget(self, host: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues[host]
        queue.remove(turn)
        if not queue:
            del self._queues[host]
