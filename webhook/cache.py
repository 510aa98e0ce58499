"""A bounded cache in memory: one load per key at a time, shared by all who ask, each value with its own lifetime.

Bounded in entries, and in bytes where whoever makes it says how large a value is. A value may stay for a while after
its lifetime, for whoever asks for a stale one: nobody else is served it. A load runs in a task that the cache owns: a
caller that is cancelled cancels nobody else, and a load that nobody waits for any more still ends in the cache, so it
must bound its own time. Errors go to all who waited and are not kept. Not safe for use by more than one event loop.
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
    """A value and how many seconds it may be served; zero serves only those who wait for it now. For `stale` seconds
    it is there for who asks for a stale one."""

    value: V
    lifetime: float
    stale: float = 0.0


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    until: float
    stale_until: float
    size: int


class Cache(Generic[K, V]):
    """At most `max_entries` values of `max_bytes` in all, the least recently used leaving first.

    `size_of` says how many bytes a value takes; without it bytes are not counted. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        max_entries: int,
        max_bytes: int = 0,
        size_of: Callable[[V], int] = lambda value: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries, self._max_bytes, self._size_of = max_entries, max_bytes, size_of
        self._clock = clock
        self._entries: dict[K, _Entry[V]] = {}  # in the order of use
        self._bytes = 0
        self._loads: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """What all values take, by `size_of`."""
        return self._bytes

    def get(self, key: K) -> V | None:
        """The value, where there is one that may still be served."""
        entry = self._look_up(key)
        return entry.value if entry is not None and self._clock() < entry.until else None

    def get_stale(self, key: K) -> V | None:
        """The value, also where its lifetime is over and its stale time is not."""
        entry = self._look_up(key)
        return entry.value if entry is not None else None

    def put(self, key: K, value: V, lifetime: float, *, stale: float = 0.0) -> None:
        """`value` is served for `lifetime` seconds, and for `stale` seconds from now to who asks for a stale one."""
        self._drop(key)
        size, now = self._size_of(value), self._clock()
        if max(lifetime, stale) <= 0 or size > self._max_bytes:
            return
        self._entries[key] = _Entry(value, now + lifetime, now + max(lifetime, stale), size)
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def discard(self, key: K, value: V) -> None:
        """`value` is served no more; a newer one stays."""
        entry = self._entries.get(key)
        if entry is not None and entry.value == value:
            self._drop(key)

    def remove(self, key: K) -> None:
        """Whatever value there is, is served no more."""
        self._drop(key)

    def is_loading(self, key: K) -> bool:
        """Whether somebody asked for the value, and it is on its way."""
        return key in self._loads

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

    def _look_up(self, key: K) -> _Entry[V] | None:
        """The entry, now the one used last; none that is past its stale time."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        if entry.stale_until <= self._clock():
            self._bytes -= entry.size
            return None
        self._entries[key] = entry
        return entry

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size

    async def _load(self, key: K, load: Callable[[], Awaitable[Loaded[V]]]) -> V:
        loaded = await load()
        self.put(key, loaded.value, loaded.lifetime, stale=loaded.stale)
        return loaded.value

    def _finished(self, key: K, task: asyncio.Task[V]) -> None:
        if self._loads.get(key) is task:
            del self._loads[key]
        if not task.cancelled():
            task.exception()  # seen, even where nobody waits any more
