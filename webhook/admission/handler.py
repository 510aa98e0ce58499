"""One review, one deadline: every distinct image once, under one snapshot of the policies and one reading of the clock.

The deadline leaves a margin in which an answer of ours still reaches the API server; what could not be examined by
then is decided like any other outage. Images that need no network are settled at once, the others wait for a place.
Nothing here judges: `verification` decides an image, `policy.decide` the review.
spec: Kubernetes dynamic admission control, timeouts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from webhook import settings
from webhook.admission.places import Places
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.kube.workload import Image, Request
from webhook.oci import reference
from webhook.policy import decide
from webhook.policy.decision import ImageDecision, Paths, ReviewDecision
from webhook.policy.model import PolicySet
from webhook.verification import Pending, Verifier

LONGEST = 29.0  # seconds: an API server waits for 30 at most
MARGIN = 1.0  # seconds, or a fifth of the time where that is less
BEGIN_BEFORE = 1.0  # seconds, or a quarter of the time: who begins later would blame a registry for our own queue


@dataclass(frozen=True, slots=True)
class _Time:
    """In the event loop's time: when the last image may be begun, and when all of them end."""

    latest: float
    end: float


class Handler:
    def __init__(
        self,
        *,
        policies: Callable[[], PolicySet],
        verifier: Verifier,
        places: Places,
        limits: settings.Admission,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._policies, self._verifier, self._places = policies, verifier, places
        self._limits, self._clock = limits, clock
        self._waiting: Counter[str] = Counter()  # reviews that wait for their first place, by namespace

    async def review(
        self,
        request: Request,
        *,
        timeout: float | None,  # noqa: ASYNC109 - a value that the caller was told, not a way to cancel
        arrived: float | None = None,
    ) -> ReviewDecision:
        """The decision on every image of `request`, before the time of the review is used up.

        `timeout` is what the API server said, in seconds; `arrived` when its request began, in the event loop's time.
        Raises: InconclusiveError (`overloaded`), when too many reviews wait already and nothing was begun.
        """
        started = asyncio.get_running_loop().time() if arrived is None else arrived
        seconds = time_for_review(timeout, self._limits.timeout)
        end = started + seconds
        times = _Time(end - min(BEGIN_BEFORE, seconds / 4), end)
        policies, now = self._policies(), self._clock()
        images = [decide.unchanged_image(text, paths) for text, paths in _by_text(request.unchanged)]
        if len(request.images) > self._limits.references_max:
            images.append(_too_many(self._limits.references_max))
            return decide.decide_review(images, revision=policies.revision)
        begun = [
            self._verifier.begin(text, paths=paths, namespace=request.namespace, policies=policies, now=now)
            for text, paths in _by_text(request.images)
        ]
        pending = [image for image in begun if isinstance(image, Pending)]
        examined = iter(await self._examine_all(pending, times) if pending else ())
        images += [next(examined) if isinstance(image, Pending) else image for image in begun]
        return decide.decide_review(images, revision=policies.revision)

    async def _examine_all(self, pending: list[Pending], times: _Time) -> list[ImageDecision]:
        first = pending[0]
        held = self._take(first, times) or await self._wait_in_queue(first, times)
        if len(pending) == 1:
            return [await self._examine(first, times, held=held)]
        decisions: dict[int, ImageDecision] = {}
        rest = iter(enumerate(pending[1:], start=1))
        # One review has one namespace, and can use no more places than that may hold.
        helpers = min(len(pending), self._places.per_namespace) - 1
        async with asyncio.TaskGroup() as group:
            for _ in range(helpers):
                group.create_task(self._work(rest, decisions, times))
            decisions[0] = await self._examine(first, times, held=held)
            await self._work(rest, decisions, times)
        return [decisions[index] for index in range(len(pending))]

    async def _work(
        self, images: Iterator[tuple[int, Pending]], decisions: dict[int, ImageDecision], times: _Time
    ) -> None:
        for index, image in images:
            held = self._take(image, times) or await self._wait(image, times)
            decisions[index] = await self._examine(image, times, held=held)

    async def _examine(self, image: Pending, times: _Time, *, held: bool) -> ImageDecision:
        """The decision on `image`; without a place nobody asked its registry, which is no outage of the registry's."""
        if not held:
            busy = InconclusiveError(Code.OVERLOADED, "no place to examine it was free in time")
            return self._verifier.give_up(image, busy)
        try:
            return await self._verifier.finish(image, deadline=times.end)
        finally:
            self._places.release(image.namespace, _host(image))

    def _take(self, image: Pending, times: _Time) -> bool:
        return not _is_late(times) and self._places.take(image.namespace, _host(image))

    async def _wait_in_queue(self, image: Pending, times: _Time) -> bool:
        self._check_queue(image.namespace)
        self._waiting[image.namespace] += 1
        try:
            return await self._wait(image, times)
        finally:
            self._waiting[image.namespace] -= 1
            if not self._waiting[image.namespace]:
                del self._waiting[image.namespace]

    def _check_queue(self, namespace: str) -> None:
        """A namespace may fill the queue alone, and does not keep out another that waits with less than its share.

        Raises: InconclusiveError, `overloaded`.
        """
        own, limit = self._waiting[namespace], self._limits.queue_max
        sharing = len(self._waiting) + (not own)
        if self._waiting.total() >= limit and own >= limit // sharing:
            raise InconclusiveError(Code.OVERLOADED, f"{self._waiting.total()} reviews wait already")

    async def _wait(self, image: Pending, times: _Time) -> bool:
        """Whether a place is held; false when it came too late to begin."""
        if _is_late(times):
            return False
        try:
            async with asyncio.timeout_at(times.latest):
                await self._places.wait(image.namespace, _host(image))
        except TimeoutError:
            return False
        return True


def time_for_review(asked: float | None, configured: float) -> float:
    """Seconds from a review's arrival until its answer must be made."""
    allowed = min(configured, LONGEST) if asked is None else min(asked, configured, LONGEST)
    return allowed - min(MARGIN, allowed / 5)


def _is_late(times: _Time) -> bool:
    return asyncio.get_running_loop().time() >= times.latest


def _host(image: Pending) -> str:
    return reference.matching_host(image.reference.repository.host)


def _by_text(images: Iterable[Image]) -> Iterable[tuple[str, Paths]]:
    """Each distinct text once, in the object's order, with all places at which it stands."""
    places: dict[str, list[tuple[str, str]]] = {}
    for image in images:
        places.setdefault(image.text, []).append((image.path, image.container))
    return [(text, tuple(paths)) for text, paths in places.items()]


def _too_many(limit: int) -> ImageDecision:
    error = MalformedError(Code.TOO_MANY_REFERENCES, f"the object has more than {limit} images, and none was examined")
    return decide.error_image("spec", (), error)
