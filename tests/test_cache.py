"""The cache: bounds, lifetimes, and one load for all who ask."""

from __future__ import annotations

import asyncio

import pytest

from webhook.cache import Cache, Loaded


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Cache[str, str]:
    return Cache(max_entries=3, clock=clock)


def test_a_value_is_served_until_its_end(cache: Cache[str, str], clock: Clock) -> None:
    cache.put("a", "1", 10.0)
    clock.now += 9.9
    assert cache.get("a") == "1"
    clock.now += 0.1
    assert cache.get("a") is None
    assert len(cache) == 0


def test_the_least_recently_used_leaves(cache: Cache[str, str]) -> None:
    for key in "abc":
        cache.put(key, key, 10.0)
    cache.get("a")
    cache.put("d", "d", 10.0)
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]


def test_a_value_without_lifetime_is_not_kept_and_ends_the_former(cache: Cache[str, str]) -> None:
    cache.put("a", "1", 10.0)
    cache.put("a", "2", 0.0)
    assert cache.get("a") is None


def test_only_the_value_meant_is_discarded(cache: Cache[str, str]) -> None:
    cache.put("a", "new", 10.0)
    cache.discard("a", "old")
    assert cache.get("a") == "new"
    cache.discard("a", "new")
    assert cache.get("a") is None


async def test_one_load_serves_all_who_wait(cache: Cache[str, str]) -> None:
    loads = 0
    gate = asyncio.Event()

    async def load() -> Loaded[str]:
        nonlocal loads
        loads += 1
        await gate.wait()
        return Loaded("1", 0.0)

    waiting = [asyncio.ensure_future(cache.get_or_load("a", load)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == ["1"] * 5
    assert loads == 1
    assert await cache.get_or_load("a", load) == "1"
    assert loads == 2


async def test_a_caller_that_is_cancelled_cancels_nobody_else(cache: Cache[str, str]) -> None:
    gate = asyncio.Event()

    async def load() -> Loaded[str]:
        await gate.wait()
        return Loaded("1", 10.0)

    first, second = (asyncio.ensure_future(cache.get_or_load("a", load)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await second == "1"
    assert first.cancelled()
    assert cache.get("a") == "1"


async def test_an_error_goes_to_all_and_is_not_kept(cache: Cache[str, str]) -> None:
    async def fail() -> Loaded[str]:
        raise ValueError("no")

    async def load() -> Loaded[str]:
        return Loaded("1", 10.0)

    outcomes = await asyncio.gather(*(cache.get_or_load("a", fail) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, ValueError) for outcome in outcomes)
    assert await cache.get_or_load("a", load) == "1"


async def test_an_error_that_nobody_waits_for_is_quiet(cache: Cache[str, str]) -> None:
    gate = asyncio.Event()

    async def fail() -> Loaded[str]:
        await gate.wait()
        raise ValueError("no")

    waiting = asyncio.ensure_future(cache.get_or_load("a", fail))
    await asyncio.sleep(0)
    waiting.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_closing_ends_loads(cache: Cache[str, str]) -> None:
    async def load() -> Loaded[str]:
        await asyncio.Event().wait()
        raise AssertionError

    waiting = asyncio.ensure_future(cache.get_or_load("a", load))
    await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
