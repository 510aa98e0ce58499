"""One review, one deadline: every distinct image once, under one snapshot of the policies and one reading of the clock.

What could not be examined by the deadline is decided like any other outage. Images that need no network are settled
at once, the others in their turn (`turns`). Nothing here judges: `verification` decides an image, `policy.decide` the
review.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import compress

from webhook import settings
from webhook.admission.places import Places
from webhook.admission.turns import Times, Turns, times_of
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.kube.workload import Image, Request
from webhook.oci.authn import PrivateCredentials
from webhook.policy import decide
from webhook.policy.decision import ImageDecision, Paths, ReviewDecision
from webhook.policy.model import PolicySet
from webhook.verification import Pending, Verifier


class Handler:
    def __init__(
        self,
        *,
        policies: Callable[[], PolicySet],
        verifier: Verifier,
        places: Places,
        limits: settings.Admission,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        refuse: Callable[[Request, Pending], ImageDecision | None] = lambda request, image: None,
        lend: Callable[[Request], PrivateCredentials | None] = lambda request: None,
    ) -> None:
        """`refuse` says of which images no registry needs to be asked, whatever is attached to them; `lend` has the
        credentials by which the images of a request are pulled."""
        self._policies, self._verifier, self._refuse, self._lend = policies, verifier, refuse, lend
        self._turns = Turns(places=places, queue_max=limits.queue_max)
        self._limits, self._clock = limits, clock

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
        policies, now = self._policies().within(request.namespace), self._clock()
        images = [decide.unchanged_image(text, paths) for text, paths in by_text(request.unchanged)]
        if len(request.images) > self._limits.references_max:
            images.append(_too_many(self._limits.references_max))
            return decide.decide_review(images, revision=policies.revision)
        own = self._lend(request)
        begun = [
            self._begin(request, text, paths, policies=policies, now=now, credentials=own)
            for text, paths in by_text(request.images)
        ]
        pending = [image for image in begun if isinstance(image, Pending)]
        examined: Iterator[ImageDecision] = iter(())
        if pending:
            times = times_of(timeout, self._limits.timeout, arrived=arrived)
            examined = iter(await self._examine(pending, times))
        images += [next(examined) if isinstance(image, Pending) else image for image in begun]
        return decide.decide_review(images, revision=policies.revision)

    def _begin(
        self,
        request: Request,
        text: str,
        paths: Paths,
        *,
        policies: PolicySet,
        now: datetime,
        credentials: PrivateCredentials | None,
    ) -> ImageDecision | Pending:
        begun = self._verifier.begin(
            text, paths=paths, namespace=request.namespace, policies=policies, now=now, credentials=credentials
        )
        refused = self._refuse(request, begun) if isinstance(begun, Pending) else None
        return refused or begun

    async def _examine(self, pending: list[Pending], times: Times) -> list[ImageDecision]:
        """Who waits for what another review is looking for already needs no place for that."""
        joining = [self._verifier.is_underway(image) for image in pending]
        waiting = [self._finish(image, times) for image in compress(pending, joining)]
        rest = [image for image, joins in zip(pending, joining, strict=True) if not joins]
        joined, in_turn = await asyncio.gather(asyncio.gather(*waiting), self._in_turn(rest, times))
        decided = {True: iter(joined), False: iter(in_turn)}
        return [next(decided[joins]) for joins in joining]

    async def _in_turn(self, pending: list[Pending], times: Times) -> list[ImageDecision]:
        if not pending:
            return []
        return await self._turns.each(pending, times, work=lambda image: self._finish(image, times), late=self._give_up)

    async def _finish(self, image: Pending, times: Times) -> ImageDecision:
        return await self._verifier.finish(image, deadline=times.end)

    def _give_up(self, image: Pending) -> ImageDecision:
        # Nobody asked its registry, which is no outage of the registry's.
        busy = InconclusiveError(Code.OVERLOADED, "no place to examine it was free in time")
        return self._verifier.give_up(image, busy)


def by_text(images: Iterable[Image]) -> Iterable[tuple[str, Paths]]:
    """Each distinct text once, in the object's order, with all places at which it stands."""
    places: dict[str, list[tuple[str, str]]] = {}
    for image in images:
        places.setdefault(image.text, []).append((image.path, image.container))
    return [(text, tuple(paths)) for text, paths in places.items()]


def _too_many(limit: int) -> ImageDecision:
    error = MalformedError(Code.TOO_MANY_REFERENCES, f"the object has more than {limit} images, and none was examined")
    return decide.error_image("spec", (), error)
