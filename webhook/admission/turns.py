"""The images of one review, each worked on when its turn has come: at once where a place is free, later, or never.

The deadline leaves a margin in which an answer of ours still reaches the API server. A review waits for its first
place in a queue of bounded length, which no namespace fills for others; then it takes as many places as its namespace
may hold. What is done with an image, and what is said of one whose turn did not come in time, is left to the caller.
spec: Kubernetes dynamic admission control, timeouts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from webhook.admission.places import Places
from webhook.errors import Code, InconclusiveError
from webhook.oci import reference
from webhook.verification import Pending

LONGEST = 29.0  # seconds: an API server waits for 30 at most
MARGIN = 1.0  # seconds, or a fifth of the time where that is less
BEGIN_BEFORE = 1.0  # seconds, or a quarter of the time: who begins later would blame a registry for our own queue

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Times:
    """In the event loop's time: when the last image may be begun, and when all of them end."""

    latest: float
    end: float


def times_of(asked: float | None, configured: float, *, arrived: float | None = None) -> Times:
    """The times of a review that arrived then, or now; `asked` is what the API server said, in seconds."""
    started = asyncio.get_running_loop().time() if arrived is None else arrived
    seconds = time_for_review(asked, configured)
    return Times(started + seconds - min(BEGIN_BEFORE, seconds / 4), started + seconds)


def time_for_review(asked: float | None, configured: float) -> float:
    """Seconds from a review's arrival until its answer must be made."""
    allowed = min(configured, LONGEST) if asked is None else min(asked, configured, LONGEST)
    return allowed - min(MARGIN, allowed / 5)


class Turns:
    def __init__(self, *, places: Places, queue_max: int) -> None:
        self._places, self._queue_max = places, queue_max
        self._waiting: Counter[str] = Counter()  # reviews that wait for their first place, by namespace

    async def each(
        self,
        images: Sequence[Pending],
        times: Times,
        *,
        work: Callable[[Pending], Awaitable[T]],
        late: Callable[[Pending], T],
    ) -> list[T]:
        """What `work` makes of each image while it holds a place, or `late` of one that got none in time.

        All are of one review; there is at least one. Raises: InconclusiveError (`overloaded`), when too many reviews
        wait already and nothing was begun.
        """
        running = _Running(self._places, times, work, late)
        first = images[0]
        held = running.take(first) or await self._wait_in_queue(first, running)
        if len(images) == 1:
            return [await running.handle(first, held=held)]
        done: dict[int, T] = {}
        rest = iter(enumerate(images[1:], start=1))
        # One review has one namespace, and can use no more places than that may hold.
        helpers = min(len(images), self._places.per_namespace) - 1
        async with asyncio.TaskGroup() as group:
            for _ in range(helpers):
                group.create_task(running.work_off(rest, done))
            done[0] = await running.handle(first, held=held)
            await running.work_off(rest, done)
        return [done[index] for index in range(len(images))]

    async def _wait_in_queue(self, image: Pending, running: _Running[T]) -> bool:
        self._check_queue(image.namespace)
        self._waiting[image.namespace] += 1
        try:
            return await running.wait(image)
        finally:
            self._waiting[image.namespace] -= 1
            if not self._waiting[image.namespace]:
                del self._waiting[image.namespace]

    def _check_queue(self, namespace: str) -> None:
        """A namespace may fill the queue alone, and does not keep out another that waits with less than its share.

        Raises: InconclusiveError, `overloaded`.
        """
        own = self._waiting[namespace]
        sharing = len(self._waiting) + (not own)
        if self._waiting.total() >= self._queue_max and own >= self._queue_max // sharing:
            raise InconclusiveError(Code.OVERLOADED, f"{self._waiting.total()} reviews wait already")


@dataclass(frozen=True, slots=True)
class _Running(Generic[T]):
    """One review at work."""

    places: Places
    times: Times
    work: Callable[[Pending], Awaitable[T]]
    late: Callable[[Pending], T]

    async def work_off(self, images: Iterator[tuple[int, Pending]], done: dict[int, T]) -> None:
        for index, image in images:
            held = self.take(image) or await self.wait(image)
            done[index] = await self.handle(image, held=held)

    async def handle(self, image: Pending, *, held: bool) -> T:
        if not held:
            return self.late(image)
        try:
            return await self.work(image)
        finally:
            self.places.release(image.namespace, _host(image))

    def take(self, image: Pending) -> bool:
        return not self._is_late() and self.places.take(image.namespace, _host(image))

    async def wait(self, image: Pending) -> bool:
        """Whether a place is held; false when it came too late to begin."""
        if self._is_late():
            return False
        try:
            async with asyncio.timeout_at(self.times.latest):
                await self.places.wait(image.namespace, _host(image))
        except TimeoutError:
            return False
        return True

    def _is_late(self) -> bool:
        return asyncio.get_running_loop().time() >= self.times.latest


def _host(image: Pending) -> str:
    return reference.matching_host(image.reference.repository.host)
