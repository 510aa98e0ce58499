"""A bounded cache in memory: one load per key at a time, shared by all who ask, each value with its own lifetime.

A load runs in a task that the cache owns: a caller that is cancelled cancels nobody else, and a load that nobody waits
for any more still ends in the cache, so it must bound its own time. Errors go to all who waited and are not kept. Not
safe for use by more than one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[V]):
    """A value and how many seconds it may be served; zero serves only those who wait for it now."""

    value: V
    lifetime: float


class Cache(Generic[K, V]):
    """At most `max_entries` values, the least recently used leaving first. `clock` is monotonic, in seconds."""

    def __init__(self, *, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._entries: dict[K, tuple[V, float]] = {}  # in the order of use
        self._loads: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, where there is one that may still be served."""
        entry = self._entries.pop(key, None)
        if entry is None or entry[1] <= self._clock():
            return None
        self._entries[key] = entry
        return entry[0]

    def put(self, key: K, value: V, lifetime: float) -> None:
        """`value` is served for `lifetime` seconds."""
        self._entries.pop(key, None)
        if lifetime <= 0:
            return
        while len(self._entries) >= self._max_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (value, self._clock() + lifetime)

    def discard(self, key: K, value: V) -> None:
        """`value` is served no more; a newer one stays."""
        entry = self._entries.get(key)
        if entry is not None and entry[0] == value:
            del self._entries[key]

    async def get_or_load(self, key: K, load: Callable[[], Awaitable[Loaded[V]]]) -> V:
        """The cached value, or what `load` brings; whoever asks while it loads shares its value or its error."""
        value = self.get(key)
        if value is not None:
            return value
        task = self._loads.get(key)
        if task is None:
            task = asyncio.create_task(self._load(key, load))
            self._loads[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Loads under way are cancelled."""
        loads = list(self._loads.values())
        for task in loads:
            task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    async def _load(self, key: K, load: Callable[[], Awaitable[Loaded[V]]]) -> V:
        loaded = await load()
        self.put(key, loaded.value, loaded.lifetime)
        return loaded.value

    def _finished(self, key: K, task: asyncio.Task[V]) -> None:
        if self._loads.get(key) is task:
            del self._loads[key]
        if not task.cancelled():
            task.exception()  # seen, even where nobody waits any more
