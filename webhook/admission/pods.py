"""The entry that enforces: pods, and the ephemeral containers that are added to them.

Every review gets a decision, or an `UnexaminedError` where this process could make none; which of the two forms of a
refusal that becomes is for whoever knows what the API server makes of an error. Nothing is judged here: `review` reads
and words, the handler decides. spec: kubernetes.md 5.
"""

from __future__ import annotations

import logging

from webhook.admission import review
from webhook.admission.handler import Handler
from webhook.admission.review import UnexaminedError
from webhook.admission.watch import Watch
from webhook.audit import record
from webhook.audit.record import Entry
from webhook.errors import Code, InconclusiveError
from webhook.kube.workload import Request

log = logging.getLogger(__name__)

_SKIPPED = {True: "mirror pod", False: "starts no image"}


class Pods:
    """Reads and decides what `pods.countersign.dev` is asked."""

    def __init__(self, *, handler: Handler, references_max: int) -> None:
        self._handler, self._references_max = handler, references_max

    def parse(self, body: bytes) -> Request:
        """The request in `body`. Raises: MalformedError, ObjectError."""
        return review.parse(body, max_images=self._references_max)

    async def decide(self, watch: Watch, request: Request, timeout: float | None) -> tuple[Entry, bytes]:  # noqa: ASYNC109
        """What is kept of the review, and the answer to it. Raises: UnexaminedError."""
        if request.unexpected or request.mirror:
            reason = _SKIPPED[request.mirror]
            entry = Entry(watch.at, watch.seconds(), request, "skip", 200, detail=reason)
            return entry, review.respond_skip(request, reason)
        try:
            decision = await self._handler.review(request, timeout=timeout, arrived=watch.arrived)
            body = review.respond(request, decision)
        except InconclusiveError as error:
            raise UnexaminedError(error, request=request, status=503) from error
        except Exception as error:
            log.exception("review %s failed", request.uid)
            failure = InconclusiveError(Code.INTERNAL_ERROR, "the review failed; the log says why")
            raise UnexaminedError(failure, request=request, status=500) from error
        entry = Entry(watch.at, watch.seconds(), request, record.word_of(decision), decision.status, decision)
        return entry, body
