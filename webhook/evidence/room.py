"""How many bytes may be held at once, by all who share a room; who wants more than is free waits in line.

A room may lie within another: what is taken from it is taken from that one too. Whoever holds some of a room must come
to give it back without waiting for more of the same room, or all stand still. For one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass


class Room:
    def __init__(self, max_bytes: int, *, within: Room | None = None) -> None:
        self._free, self._within = max_bytes, within
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    def has(self, size: int) -> bool:
        """Whether this room has that much for who does not wait."""
        return not self._line and size <= self._free

    async def take(self, size: int) -> Held:
        """`size` bytes, at most all there are, are held, however long that took. Cancelled, none are."""
        await self._wait(size)
        held = Held(self, size)
        if self._within is not None:
            try:
                held.outside = await self._within.take(size)
            except BaseException:
                held.close()
                raise
        return held

    async def _wait(self, size: int) -> None:
        if self.has(size):
            self._free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._serve()  # it may have kept up those behind it
            else:  # cancelled in the very moment in which the turn had come
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._line:
            size, turn = self._line[0]
            if not turn.cancelled():
                if size > self._free:
                    return
                self._free -= size
                turn.set_result(None)
            self._line.popleft()


@dataclass(slots=True, eq=False)
class Held:
    """Bytes of a room. Given back when it is closed, once, however often that is."""

    room: Room
    size: int
    outside: Held | None = None

    def close(self) -> None:
        size, self.size = self.size, 0
        if size:
            self.room.give_back(size)
        if self.outside is not None:
            self.outside.close()
