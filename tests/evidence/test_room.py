"""Bytes are lent as long as there are any, in the order of asking, and come back from whoever gives up."""

from __future__ import annotations

import asyncio

from webhook.evidence.room import Held, Room


async def asking(room: Room, *sizes: int) -> list[asyncio.Task[Held]]:
    tasks = [asyncio.create_task(room.take(size)) for size in sizes]
    await asyncio.sleep(0)
    return tasks


async def test_who_comes_first_is_served_first() -> None:
    room = Room(10)
    first = await room.take(8)
    large, small = await asking(room, 6, 2)
    assert (large.done(), small.done(), room.has(1)) == (False, False, False)
    first.close()
    first.close()
    await asyncio.wait({large, small})
    assert (room.has(2), room.has(3)) == (True, False)


async def test_who_gives_up_keeps_up_nobody() -> None:
    room = Room(10)
    held = await room.take(8)
    large, small = await asking(room, 6, 2)
    large.cancel()
    assert (await small).size == 2
    held.close()
    assert (room.has(8), room.has(9)) == (True, False)


async def test_who_gives_up_when_the_turn_has_come_holds_nothing() -> None:
    room = Room(10)
    held = await room.take(10)
    late, next_one = await asking(room, 10, 10)
    held.close()
    late.cancel()
    assert (await next_one).size == 10


async def test_a_room_within_another_takes_from_both() -> None:
    outer = Room(10)
    one, other = Room(6, within=outer), Room(6, within=outer)
    first = await one.take(6)
    inside, outside = await asking(one, 1), await asking(other, 5)
    assert (inside[0].done(), outside[0].done(), outer.has(4)) == (False, False, False)
    first.close()
    for held in (await inside[0], await outside[0]):
        held.close()
    assert (one.has(6), other.has(6), outer.has(10)) == (True, True, True)


async def test_who_gives_up_outside_gives_back_inside() -> None:
    outer = Room(0)
    room = Room(6, within=outer)
    (waiting,) = await asking(room, 6)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert room.has(6)
