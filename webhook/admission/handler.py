"""One review, one deadline: every distinct image once, under one snapshot of the policies and one reading of the clock.

The deadline leaves a margin in which an answer of ours still reaches the API server; what could not be examined by
then is decided like any other outage. Images that need no network are settled at once, the others wait for a place.
Nothing here judges: `verification` decides an image, `policy.decide` the review.
spec: Kubernetes dynamic admission control, timeouts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
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
LONG_AGO = 0.0  # a deadline that has passed


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
        self._waiting = 0  # reviews that wait for their first place

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
        deadline = started + time_for_review(timeout, self._limits.timeout)
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
        examined = iter(await self._examine_all(pending, deadline) if pending else ())
        images += [next(examined) if isinstance(image, Pending) else image for image in begun]
        return decide.decide_review(images, revision=policies.revision)

    async def _examine_all(self, pending: list[Pending], deadline: float) -> list[ImageDecision]:
        first = pending[0]
        held = self._take(first) or await self._wait_in_queue(first, deadline)
        if len(pending) == 1:
            return [await self._examine(first, deadline, held=held)]
        decisions: dict[int, ImageDecision] = {}
        rest = iter(enumerate(pending[1:], start=1))
        # One review has one namespace, and can use no more places than that may hold.
        helpers = min(len(pending), self._places.per_namespace) - 1
        async with asyncio.TaskGroup() as group:
            for _ in range(helpers):
                group.create_task(self._work(rest, decisions, deadline))
            decisions[0] = await self._examine(first, deadline, held=held)
            await self._work(rest, decisions, deadline)
        return [decisions[index] for index in range(len(pending))]

    async def _work(
        self, images: Iterator[tuple[int, Pending]], decisions: dict[int, ImageDecision], deadline: float
    ) -> None:
        for index, image in images:
            held = self._take(image) or await self._wait(image, deadline)
            decisions[index] = await self._examine(image, deadline, held=held)

    async def _examine(self, image: Pending, deadline: float, *, held: bool) -> ImageDecision:
        """The decision on `image`; without a place its time is over, and its policies say what that means."""
        try:
            return await self._verifier.finish(image, deadline=deadline if held else LONG_AGO)
        finally:
            if held:
                self._places.release(image.namespace, _host(image))

    def _take(self, image: Pending) -> bool:
        return self._places.take(image.namespace, _host(image))

    async def _wait_in_queue(self, image: Pending, deadline: float) -> bool:
        if self._waiting >= self._limits.queue_max:
            raise InconclusiveError(Code.OVERLOADED, f"{self._waiting} reviews wait already", retry_after=1)
        self._waiting += 1
        try:
            return await self._wait(image, deadline)
        finally:
            self._waiting -= 1

    async def _wait(self, image: Pending, deadline: float) -> bool:
        """Whether a place is held; false when the deadline came first."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.wait(image.namespace, _host(image))
        except TimeoutError:
            return False
        return True


def time_for_review(asked: float | None, configured: float) -> float:
    """Seconds from a review's arrival until its answer must be made."""
    allowed = min(configured, LONGEST) if asked is None else min(asked, configured, LONGEST)
    return allowed - min(MARGIN, allowed / 5)


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
