"""Pinning: the entry that writes digests beside tags, and what the entry that enforces demands where it had to.

Both ask `Demand`, so that nothing is pinned that needs no digest, and none is demanded where nothing is pinned: only
references that an enforcing rule judges, in pods that the operator does not exclude. The mutating entry never denies;
what it cannot read, resolve or finish in time it leaves as it is and says why, and the other entry decides. Where a
registry does not answer, the digest that a tag had before is written, and said to be from memory. The digest that was
written is the one that is judged, and the one that runs. spec: kubernetes.md 5, 17; oci-registry.md 8.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from webhook import settings
from webhook.admission import review
from webhook.admission.handler import by_text
from webhook.admission.places import Places
from webhook.admission.review import ObjectError
from webhook.admission.turns import Times, Turns, times_of
from webhook.admission.watch import Watch
from webhook.audit.record import Entry
from webhook.errors import Code, CountersignError, InconclusiveError
from webhook.kube import pin
from webhook.kube.workload import Request
from webhook.oci.authn import PrivateCredentials
from webhook.oci.reference import Digest
from webhook.policy import message, select
from webhook.policy.decision import ImageDecision
from webhook.policy.demand import UNAVAILABLE
from webhook.policy.model import PolicySet
from webhook.verification import Pending, Verifier

TIMEOUT = 5.0  # seconds: kubernetes.md 3, since mutating webhooks are called one after another

log = logging.getLogger(__name__)

_INSTALLED: Mapping[bool | None, str] = {
    True: "the webhook pin.countersign.dev is installed, and did not write one in time",
    False: "the webhook pin.countersign.dev, which writes it, is not installed",
    None: "the webhook pin.countersign.dev did not write one in time, or is not installed",
}


class Demand:
    """Which images must carry a digest. `installed` says whether the mutating entry is, if that is known."""

    def __init__(
        self, *, verifier: Verifier, configured: settings.Pin, installed: Callable[[], bool | None] = lambda: None
    ) -> None:
        self._verifier, self._configured, self._installed = verifier, configured, installed

    def is_for(self, request: Request, image: Pending) -> bool:
        """Whether `image` has no digest, and an enforcing rule judges it in a pod that is not excluded."""
        return (
            image.reference.digest is None
            and pin.is_pod(request)
            and not pin.is_excluded(request, self._configured)
            and bool(select.enforced(image.selections))
        )

    def refuse(self, request: Request, image: Pending) -> ImageDecision | None:
        """The decision on an image that should have been pinned; no registry is asked for it."""
        if not self._configured.enabled or not self.is_for(request, image):
            return None
        said = f"pinning is on, and the reference has no digest: {_INSTALLED[self._installed()]}"
        # Policies that only warn ask for no digest, and are not told as if they did.
        asking = replace(image, selections=select.enforced(image.selections))
        return self._verifier.give_up(asking, InconclusiveError(Code.NOT_PINNED, said))


@dataclass(frozen=True, slots=True)
class _Resolved:
    """`stale` says since when nobody said that this digest is behind the tag, and why; empty where it was said now."""

    digest: Digest
    stale: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """What became of the tags of one request, by the text of each reference."""

    resolved: Mapping[str, _Resolved] = field(default_factory=dict)
    unresolved: Mapping[str, CountersignError] = field(default_factory=dict)

    @property
    def digests(self) -> Mapping[str, Digest]:
        return {text: found.digest for text, found in self.resolved.items()}

    @property
    def stale(self) -> tuple[tuple[str, str], ...]:
        return tuple((text, found.stale) for text, found in self.resolved.items() if found.stale)


class Pinning:
    """Reads and answers what `pin.countersign.dev` is asked, which is asked of nobody unless it is installed: while
    pinning is being turned on, replicas that demand no digest yet write them for those that do."""

    def __init__(
        self,
        *,
        policies: Callable[[], PolicySet],
        verifier: Verifier,
        demand: Demand,
        places: Places,
        limits: settings.Admission,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lend: Callable[[Request], PrivateCredentials | None] = lambda request: None,
    ) -> None:
        """`lend` has the credentials by which the images of a request are pulled."""
        self._policies, self._verifier, self._demand, self._lend = policies, verifier, demand, lend
        self._turns = Turns(places=places, queue_max=limits.queue_max)
        self._limits, self._clock = limits, clock

    def parse(self, body: bytes) -> Request:
        """The request in `body`; without images where its object cannot be read. Raises: MalformedError."""
        try:
            return review.parse(body, max_images=self._limits.references_max)
        except ObjectError as error:
            return error.request

    async def decide(self, watch: Watch, request: Request, timeout: float | None) -> tuple[Entry, bytes]:  # noqa: ASYNC109
        """What is kept of the review, and the answer to it, which always allows."""
        times = times_of(timeout, min(TIMEOUT, self._limits.timeout), arrived=watch.arrived)
        try:
            found = await self._resolve_all(self._wanted(request), times)
        except Exception:
            log.exception("pinning for review %s failed", request.uid)
            failure = InconclusiveError(Code.INTERNAL_ERROR, "pinning failed; the log says why")
            found = _Found(unresolved=dict.fromkeys((image.text for image in request.images), failure))
        return _entry(watch, request, found), _answer(request, found)

    def _wanted(self, request: Request) -> dict[str, Pending]:
        """The images that must carry a digest, by their text."""
        if len(request.images) > self._limits.references_max:
            return {}  # which the other entry refuses
        policies, now, own = self._policies().within(request.namespace), self._clock(), self._lend(request)
        wanted: dict[str, Pending] = {}
        for text, paths in by_text(pin.patchable(request)):
            begun = self._verifier.begin(
                text, paths=paths, namespace=request.namespace, policies=policies, now=now, credentials=own
            )
            if isinstance(begun, Pending) and self._demand.is_for(request, begun):
                wanted[text] = begun
        return wanted

    async def _resolve_all(self, wanted: Mapping[str, Pending], times: Times) -> _Found:
        """Each tag once, however it is spelled, so that one review knows one digest of it."""
        tags = {str(image.reference): image for image in wanted.values()}
        if not tags:
            return _Found()
        try:
            results = await self._turns.each(
                tuple(tags.values()), times, work=lambda image: self._resolve(image, times), late=_too_late
            )
        except InconclusiveError as error:  # too many wait already
            return _Found(unresolved=dict.fromkeys(wanted, error))
        answers = dict(zip(tags, results, strict=True))
        by_spelling = {text: answers[str(image.reference)] for text, image in wanted.items()}
        return _Found(
            {text: answer for text, answer in by_spelling.items() if isinstance(answer, _Resolved)},
            {text: answer for text, answer in by_spelling.items() if isinstance(answer, CountersignError)},
        )

    async def _resolve(self, image: Pending, times: Times) -> _Resolved | CountersignError:
        try:
            async with asyncio.timeout_at(times.end):
                return _Resolved(await self._verifier.resolve(image))
        except TimeoutError:
            error: CountersignError = InconclusiveError(Code.DEADLINE_EXCEEDED, "the time for this review was used up")
        except CountersignError as raised:
            error = raised
        # What the registry says now, a refusal too, is not outweighed by what it said before
        return (self._remember(image, error) if error.code in UNAVAILABLE else None) or error

    def _remember(self, image: Pending, error: CountersignError) -> _Resolved | None:
        found = self._verifier.remembered_digest(image)
        if found is None:
            return None
        digest, at = found
        return _Resolved(digest, f"the digest of {at.isoformat(timespec='seconds')}; {error.code}: {error.detail}")


def _too_late(image: Pending) -> _Resolved | CountersignError:
    del image
    return InconclusiveError(Code.OVERLOADED, "no place to resolve it was free in time")


def _pinned(found: _Found) -> Sequence[str]:
    return [pin.with_digest(text, digest) for text, digest in found.digests.items()]


def _entry(watch: Watch, request: Request, found: _Found) -> Entry:
    seconds = watch.seconds()
    if not found.resolved and not found.unresolved:
        return Entry(watch.at, seconds, request, "skip", 200, detail="nothing to pin")
    first = next(iter(found.unresolved.values()), None)
    told = [f"pinned {len(found.resolved)} of {len(found.resolved) + len(found.unresolved)}", *_pinned(found)]
    code = first.code if first is not None else None
    return Entry(watch.at, seconds, request, "allow", 200, code=code, detail=", ".join(told), stale=found.stale)


def _answer(request: Request, found: _Found) -> bytes:
    unresolved = found.unresolved
    return review.respond_patch(
        request,
        pin.patch(pin.patchable(request), found.digests),
        annotations=message.pin_annotations(
            _pinned(found), unresolved.values(), [f"{text}: {why}" for text, why in found.stale]
        ),
        warnings=message.pin_warnings(unresolved.items()),
    )
