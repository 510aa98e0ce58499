"""A cache that replicas share, for documents that anybody may read: one asks a registry, and all have it.

The store is trusted with nothing. What is put there is sealed (`sealing`), so that its owner can neither make an entry
nor serve one beyond its lifetime; and its loss costs time alone: where it fails, or is slow, what it might have had is
loaded at once. One replica claims a key and loads it, the others wait for that a short time. Callers of one key within
a process are joined by whoever calls this.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from webhook.cache import Loaded
from webhook.sealing import PAYLOAD_MAX_BYTES, RefusedError, Sealer
from webhook.settings import OFF_LOOP_BYTES
from webhook.valkey import FailedError, Reply, SkippedError, Store

CLAIM_SECONDS = 2.0  # after which the claim of a replica that died counts no more
WAIT_SECONDS = 2.0  # for what another replica loads
PAUSE_SECONDS = 10.0  # for which nobody waits, after a wait that brought nothing: a claim may be a lie
FIRST_LOOK, LONGEST_LOOK = 0.002, 0.1  # seconds between two looks for it, more each time

# The entry, or else 1 where the key is now claimed, and 0 where it is somebody else's
_LOOK = """
local found = redis.call('GET', KEYS[1])
if found then return found end
return redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""
# A claim of one's own ends, and what was loaded under it is there; as the last one too, or the last one is gone
_SETTLE = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  if ARGV[4] then redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[4]) else redis.call('DEL', KEYS[3]) end
end
return 1
"""

Load = Callable[[], Awaitable[Loaded[bytes]]]
Observer = Callable[[str], None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Claim:
    """One call's wish for `key`. `token` tells its claim from that of every other."""

    key: str
    name: str
    token: bytes = field(default_factory=lambda: secrets.token_bytes(16))


class SharedCache:
    """Entries in `store`, sealed by `sealer`. `now` is the wall clock, `clock` is monotonic, both in seconds.

    `observe` is told what came of each call: `hit`, `joined` (what another replica has just loaded), `miss`, `put`,
    `skipped` (the store was not asked), `failed`, and `refused_…` for an entry that counts as none.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        *,
        observe: Observer,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._sealer, self._observe = store, sealer, observe
        self._now, self._clock = now, clock
        self._waits_again = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> str:
        """How the store answers, for a person."""
        return self._store.state

    async def get_or_load(self, key: str, load: Load) -> Loaded[bytes]:
        """What some replica loaded for `key`, with what is left of its lifetime, or what `load` brings.

        What it brings is there for the others, unless its lifetime is 0. Raises nothing but what `load` raises.
        """
        claim = _Claim(key, self._sealer.name(key))
        try:
            found = await self._look(claim)
            if isinstance(found, Loaded):
                self._observe("hit")
                return found
            if not found and (joined := await self._wait(claim)) is not None:
                self._observe("joined")
                return joined
        except SkippedError:
            self._observe("skipped")
            return await load()
        except FailedError:
            self._observe("failed")
            return await load()
        self._observe("miss")
        return await self._load(claim, load)

    async def renew(self, key: str, load: Load) -> Loaded[bytes]:
        """What `load` brings; it is there for the others, whatever was there before. Raises nothing but what `load`
        raises."""
        return await self._load(_Claim(key, self._sealer.name(key)), load)

    async def last(self, key: str, max_age: float) -> tuple[bytes, float] | None:
        """What some replica loaded last for `key` at most `max_age` seconds ago, and when; good or not any more.

        Only what was loaded with a stale time is there for as long as that.
        """
        try:
            reply = await self._store.ask("GET", _last(self._sealer.name(key)))
            if not isinstance(reply, bytes):
                return None
            found = await _aside(len(reply), lambda: self._sealer.open_last(key, reply, self._now(), max_age=max_age))
        except (SkippedError, FailedError) as error:
            self._observe("skipped" if isinstance(error, SkippedError) else "failed")
            return None
        except RefusedError as error:
            self._observe(f"refused_{error.refusal}")
            return None
        self._observe("hit")
        return found

    async def close(self) -> None:
        """What was about to be put is put, if the store answers in time, and connections are closed."""
        await asyncio.gather(*self._tasks)
        await self._store.close()

    async def _look(self, claim: _Claim) -> Loaded[bytes] | bool:
        """The entry, or whether it is now for us to load it."""
        reply = await self._eval(_LOOK, claim, int(CLAIM_SECONDS * 1000))
        if not isinstance(reply, bytes):
            return reply == 1
        try:
            return await _aside(len(reply), lambda: self._sealer.open(claim.key, reply, self._now()))
        except RefusedError as error:
            self._observe(f"refused_{error.refusal}")
            return True  # what counts as none is replaced

    async def _wait(self, claim: _Claim) -> Loaded[bytes] | None:
        """What another replica loaded meanwhile; none where that is now for us."""
        if self._clock() < self._waits_again:
            return None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                for pause in _pauses():
                    await asyncio.sleep(pause)
                    found = await self._look(claim)
                    if isinstance(found, Loaded):
                        return found
                    if found:
                        return None
        except TimeoutError:
            self._waits_again = self._clock() + PAUSE_SECONDS
            self._observe("failed")
        return None

    async def _load(self, claim: _Claim, load: Load) -> Loaded[bytes]:
        began, loaded = self._now(), None
        try:
            loaded = await load()
            return loaded
        finally:
            self._begin(self._settle(claim, loaded, began))  # nobody waits for that

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, claim: _Claim, loaded: Loaded[bytes] | None, began: float) -> None:
        """What was `loaded` is there for the others, good from when it was asked for; in any case nobody waits."""
        age = self._now() - began
        left, stale = (int((s - age) * 1000) for s in ((loaded.lifetime, loaded.stale) if loaded else (0.0, 0.0)))
        try:
            if loaded is None or len(loaded.value) > PAYLOAD_MAX_BYTES or left <= 0:
                await self._eval(_SETTLE, claim)
                return
            entry = await _aside(len(loaded.value), lambda: self._sealer.seal(claim.key, loaded, began))
            await self._eval(_SETTLE, claim, entry, left, *([stale] if stale > 0 else []))
            self._observe("put")
        except SkippedError:
            self._observe("skipped")
        except FailedError:
            self._observe("failed")

    async def _eval(self, script: str, claim: _Claim, *arguments: bytes | int) -> Reply:
        keys = (claim.name, f"{claim.name}:claim", _last(claim.name))
        return await self._store.ask("EVAL", script, len(keys), *keys, claim.token, *arguments)


def _last(name: str) -> str:
    return f"{name}:last"


def _pauses() -> Iterator[float]:
    pause = FIRST_LOOK
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_LOOK)


async def _aside(size: int, work: Callable[[], _T]) -> _T:
    return work() if size <= OFF_LOOP_BYTES else await asyncio.to_thread(work)
