"""Lanes are bounded by host and in all, shared fairly, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from webhook.oci.lanes import Lanes

LANES, PER_HOST = 512, 16


@pytest.fixture
async def lanes() -> AsyncIterator[Lanes]:
    made = Lanes(lanes=LANES, per_host=PER_HOST)
    yield made
    # Whatever a test did: all can be had again.
    held = [asyncio.create_task(made.enter(f"end-{number}")) for number in range(LANES)]
    await settled()
    assert all(task.done() and not task.result() for task in held)


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def entering(lanes: Lanes, hosts: Iterable[str]) -> list[tuple[str, asyncio.Task[bool]]]:
    """Whoever asks for a lane of these hosts, one after the other; those who are done hold one."""
    tasks = [(host, asyncio.create_task(lanes.enter(host))) for host in hosts]
    await settled()
    return tasks


def held(tasks: list[tuple[str, asyncio.Task[bool]]]) -> list[str]:
    return [host for host, task in tasks if task.done()]


async def all_leave(lanes: Lanes, tasks: list[tuple[str, asyncio.Task[bool]]]) -> None:
    while tasks:
        gone = [(host, task) for host, task in tasks if task.done()]
        tasks = [(host, task) for host, task in tasks if not task.done()]
        assert gone, "somebody waits for ever"
        for host, _ in gone:
            lanes.leave(host)
        await settled()


async def test_a_host_alone_has_its_own_number(lanes: Lanes) -> None:
    tasks = await entering(lanes, ["a"] * 40)
    assert len(held(tasks)) == PER_HOST
    await all_leave(lanes, tasks)


async def test_a_hundred_hosts_that_stall_leave_room_for_the_next(lanes: Lanes) -> None:
    slow = await entering(lanes, [f"slow-{number % 100}" for number in range(100 * PER_HOST)])
    assert 400 <= len(held(slow)) <= LANES - 64
    healthy = await entering(lanes, ["healthy"] * 4)
    assert [task.result() for _, task in healthy] == [False] * 4
    await all_leave(lanes, slow + healthy)


async def test_who_comes_first_to_a_host_is_served_first_and_hosts_in_turn() -> None:
    lanes, served = Lanes(lanes=1, per_host=1), list[str]()

    async def ask(name: str, host: str) -> None:
        await lanes.enter(host)
        served.append(name)
        lanes.leave(host)

    await lanes.enter("a")
    tasks = [asyncio.create_task(ask(name, name[0])) for name in ("a1", "a2", "a3", "b1", "c1")]
    await settled()
    assert not served
    lanes.leave("a")
    await asyncio.gather(*tasks)
    assert served == ["a1", "b1", "c1", "a2", "a3"]


async def test_a_host_that_is_full_holds_up_no_other(lanes: Lanes) -> None:
    full = await entering(lanes, ["a"] * (PER_HOST + 1))
    assert await lanes.enter("b") is False
    lanes.leave("b")
    assert len(held(full)) == PER_HOST
    await all_leave(lanes, full)


@pytest.mark.parametrize("when", ["waiting", "just served", "in the same moment"])
async def test_who_gives_up_holds_nothing(when: str) -> None:
    lanes = Lanes(lanes=1, per_host=1)
    await lanes.enter("a")
    waiter, next_one = asyncio.create_task(lanes.enter("a")), asyncio.create_task(lanes.enter("a"))
    await settled()
    match when:
        case "waiting":
            waiter.cancel()
            await settled()
            lanes.leave("a")
        case "just served":
            lanes.leave("a")
            waiter.cancel()
        case _:
            waiter.cancel()
            lanes.leave("a")
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert await next_one is True
    lanes.leave("a")
    assert await lanes.enter("b") is False
