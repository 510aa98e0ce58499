"""The entry that answers early: Deployments, Jobs and whatever else makes pods, judged as their pods would be now.

The pods are judged whatever is said here, so nothing of our own failures denies: overload, a deadline, an object that
is not understood or a fault of ours is a warning. What controllers do is not held up: an update that leaves images
alone, a ReplicaSet or Job that follows from an object judged already. specs: kubernetes.md 3, 5, 6 and 17.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from webhook.admission import early, review
from webhook.admission.handler import Handler
from webhook.admission.watch import Watch
from webhook.audit.record import Entry
from webhook.errors import Code, CountersignError, InconclusiveError, RejectedError, quote
from webhook.kube import extractors, pulling, workload
from webhook.kube.extractors import Extractors
from webhook.kube.workload import Request
from webhook.settings import Early

TIMEOUT = 5.0  # seconds: of the entry; a user waits for `kubectl apply`
OFF = "early feedback is off"

log = logging.getLogger(__name__)

# Who makes which objects of which: the API server says the user, and nobody else can be one of these.
_MADE: dict[tuple[str, str], tuple[str, str, str]] = {
    ("apps", "replicasets"): ("deployment-controller", "apps/v1", "Deployment"),
    ("batch", "jobs"): ("cronjob-controller", "batch/v1", "CronJob"),
}
_CONTROLLERS = ("system:serviceaccount:kube-system:{}", "system:kube-controller-manager")


@dataclass(frozen=True, slots=True)
class Workload:
    """`problem` says why the images of `request` could not be had; `made` that it follows from one judged already."""

    request: Request
    problem: CountersignError | None = None
    made: bool = False


class Workloads:
    """Reads and decides what `workloads.countersign.dev` and `cronjobs.countersign.dev` are asked."""

    def __init__(
        self, *, handler: Handler, extractors: Callable[[], Extractors], early: Early, references_max: int
    ) -> None:
        self._handler, self._extractors, self._early = handler, extractors, early
        self._references_max = references_max

    def parse(self, body: bytes) -> Workload:
        """The request in `body`, whatever its object is like. Raises: MalformedError."""
        if self._early is Early.OFF and (begun := review.begun(body)) is not None:
            return Workload(begun)
        asked = review.read(body)
        request = asked.request
        if not workload.starts_images(request.operation, request.subresource):
            return Workload(replace(request, unexpected=True))
        extractor = self._extractors().get((request.group, request.resource))
        if extractor is None:
            found = f"{quote(request.resource, max_chars=80)} of group {quote(request.group, max_chars=80)}"
            unknown = RejectedError(Code.UNSUPPORTED, f"no extractor for the images of {found}")
            return Workload(replace(request, unexpected=True), unknown)
        try:
            images = extractors.images_of(
                extractor, request.operation, asked.obj, asked.old_object, max_images=self._references_max
            )
        except CountersignError as error:
            return Workload(request, error)
        names, account = pulling.of_template(asked.obj, extractor.pod_specs[0]) if extractor.pod_specs else ((), "")
        request = replace(request, images=images.images, unchanged=images.unchanged)
        return Workload(replace(request, pull_secrets=names, service_account=account), made=_is_made(request))

    async def decide(self, watch: Watch, request: Workload, timeout: float | None) -> tuple[Entry | None, bytes]:  # noqa: ASYNC109
        """What is kept of the review, and the answer to it, which denies nothing that was not examined."""
        asked = request.request
        if self._early is Early.OFF:
            return None, review.respond_skip(asked, OFF)
        if request.problem is not None:
            return self._unread(watch, asked, request.problem)
        if request.made or not (asked.images or asked.unchanged):
            reason = "follows from an object judged already" if request.made else "starts no image"
            entry = Entry(watch.at, watch.seconds(), asked, "skip", 200, detail=reason)
            return entry, review.respond_skip(asked, reason)
        try:
            decision = await self._handler.review(
                asked, timeout=min(timeout or TIMEOUT, TIMEOUT), arrived=watch.arrived
            )
        except InconclusiveError as error:
            return self._unread(watch, asked, error)
        except Exception:
            log.exception("review %s failed", asked.uid)
            return self._unread(watch, asked, InconclusiveError(Code.INTERNAL_ERROR, "the log of the webhook says why"))
        told = early.soften(decision, self._early)
        status = 200 if told.denial is None else told.denial.status
        entry = Entry(watch.at, watch.seconds(), asked, told.word, status, decision)
        return entry, review.respond_early(asked, told)

    def _unread(self, watch: Watch, request: Request, error: CountersignError) -> tuple[Entry, bytes]:
        told = early.unread(error)
        entry = Entry(watch.at, watch.seconds(), request, told.word, 200, code=error.code, detail=error.detail)
        return entry, review.respond_early(request, told)


def _is_made(request: Request) -> bool:
    """Whether one of the cluster's own controllers makes this of an object that this entry was shown."""
    controller, api_version, kind = _MADE.get((request.group, request.resource), ("", "", ""))
    owner = request.owner
    return (
        request.operation == "CREATE"
        and owner is not None
        and (owner.api_version, owner.kind) == (api_version, kind)
        and request.user in [name.format(controller) for name in _CONTROLLERS]
    )
