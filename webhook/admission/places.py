"""Who may examine an image now, and who is next: a bounded number of places, shared fairly.

A namespace holds at most a quarter of the places, and a registry that the operator does not list at most four, so that
neither one tenant nor one slow host stops everybody else. Who waits is served by namespaces in turn. How many may
wait, and for how long, is left to the caller. For one event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

UNLISTED_HOST_MAX = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    host: str
    turn: asyncio.Future[None]


class Places:
    """`take` and `wait` get a place, `release` gives it back: exactly once for each."""

    def __init__(self, *, places: int, listed: frozenset[str]) -> None:
        self.per_namespace = max(1, places // 4)
        self._free = places
        self._listed = listed
        self._namespaces: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._queues: dict[str, deque[_Waiter]] = {}  # by namespace, the next to be served first

    def take(self, namespace: str, host: str) -> bool:
        """Whether a place was free for this namespace and host; it is now held."""
        # Who comes now does not overtake those of the same namespace who wait.
        if namespace in self._queues or not self._fits(namespace, host):
            return False
        self._hold(namespace, host)
        return True

    async def wait(self, namespace: str, host: str) -> None:
        """A place is held, however long that took. Cancelled, none is."""
        waiter = _Waiter(host, asyncio.get_running_loop().create_future())
        self._queues.setdefault(namespace, deque()).append(waiter)
        self._serve()  # this host may fit where those of the waiters before it do not
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.cancelled():
                self._forget(namespace, waiter)
            else:  # cancelled in the very moment in which the turn had come
                self.release(namespace, host)
            raise

    def release(self, namespace: str, host: str) -> None:
        """The place is free; whose turn it is holds it already."""
        self._free += 1
        for held, key in ((self._namespaces, namespace), (self._hosts, host)):
            held[key] -= 1
            if not held[key]:
                del held[key]
        if self._queues:
            self._serve()

    def _fits(self, namespace: str, host: str) -> bool:
        return (
            self._free > 0
            and self._namespaces[namespace] < self.per_namespace
            and (host in self._listed or self._hosts[host] < UNLISTED_HOST_MAX)
        )

    def _hold(self, namespace: str, host: str) -> None:
        self._free -= 1
        self._namespaces[namespace] += 1
        self._hosts[host] += 1

    def _serve(self) -> None:
        """Every place that somebody may have is handed over, to namespaces in turn."""
        served = True
        while served and self._free:
            served = False
            for namespace in tuple(self._queues):
                served |= self._serve_one_of(namespace)

    def _serve_one_of(self, namespace: str) -> bool:
        queue = self._queues[namespace]
        # Who was cancelled in this moment is about to leave.
        waiting = (waiter for waiter in queue if not waiter.turn.done())
        waiter = next((waiter for waiter in waiting if self._fits(namespace, waiter.host)), None)
        if waiter is None:
            return False
        self._hold(namespace, waiter.host)
        waiter.turn.set_result(None)
        self._forget(namespace, waiter)
        if queue:
            self._queues[namespace] = self._queues.pop(namespace)  # to the end of the line
        return True

    def _forget(self, namespace: str, waiter: _Waiter) -> None:
        queue = self._queues[namespace]
        queue.remove(waiter)
        if not queue:
            del self._queues[namespace]
