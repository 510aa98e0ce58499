"""One entrance of the admission port: a request's head and body, bounded, to the reviewer behind it, and back.

A bare ASGI callable, for speed. An answer with another status than 200 is no decision: it says in JSON that the request
was no review that can be answered, that this process is full, or that it failed, without details. Bodies are bounded
one by one and all together, since whoever reaches the port may send one. What is decided, and how it is worded, is the
reviewer's. spec: Kubernetes dynamic admission control; RFC 9110.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import orjson
from starlette.types import Receive, Scope, Send

from webhook import settings
from webhook.admission import review
from webhook.admission.review import ObjectError, ReviewError, UnexaminedError
from webhook.admission.turns import time_for_review
from webhook.admission.watch import Watch
from webhook.audit import record
from webhook.audit.record import Entry
from webhook.audit.sinks import Metrics
from webhook.audit.trail import Trail
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.web.server import is_all_there

LARGE_BYTES = 256 * settings.KIB  # a body above this size takes milliseconds to parse: in a thread
LARGE_BODIES = 8  # held at once by all entrances; the others wait with their sockets unread
BODY_SECONDS = 10.0  # at most, for all of a body to arrive, and for its turn among the large ones
RETRY_SECONDS = 1  # an API server repeats the call by itself, and may meet another replica

log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]
R = TypeVar("R")

_GO_DURATION = re.compile(rb"(?:^|&)timeout=([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m)(?:&|$)")
_UNITS = {b"ms": 0.001, b"s": 1.0, b"m": 60.0}
_CLOSE: Header = (b"connection", b"close")


@dataclass(slots=True)
class Life:
    """Where this process stands. `problems` say why it is not ready; `notes` what an operator should know besides."""

    problems: Callable[[], Mapping[str, str]]
    notes: Callable[[], Mapping[str, str]]
    draining: bool = False


class Reviewer(Protocol[R]):
    """Who reads and answers the reviews of one entry of the webhook configuration."""

    def parse(self, body: bytes) -> R:
        """What `body` asks; in a thread where it is large. Raises: MalformedError, ObjectError."""

    async def decide(self, watch: Watch, request: R, timeout: float | None) -> tuple[Entry | None, bytes]:  # noqa: ASYNC109
        """What is kept of the review, and the AdmissionReview that answers it. `timeout` is the API server's, in
        seconds. Raises: UnexaminedError."""


class _RefusedError(Exception):
    """The request gets an answer that is no decision."""

    def __init__(self, status: int, code: str, detail: str, *headers: Header) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers


class Entrance(Generic[R]):
    """The ASGI callable behind one path.

    `webhook` is the name by which metrics and records know the entry: `pods`, `workloads`, `policies`, `pin`.
    `fails_open` says whether the API server would admit what is answered with an error of HTTP; then there is none
    where a denial is possible. `large` is shared by all entrances, `caller` is what records say of who asks.
    """

    def __init__(
        self,
        *,
        webhook: str,
        reviewer: Reviewer[R],
        trail: Trail,
        metrics: Metrics,
        life: Life,
        large: asyncio.Semaphore,
        body_max_bytes: int,
        fails_open: Callable[[], bool],
        caller: str = record.UNAUTHENTICATED,
    ) -> None:
        self._webhook, self._parse, self._decide = webhook, reviewer.parse, reviewer.decide
        self._trail, self._metrics, self._life, self._large = trail, metrics, life, large
        self._body_max_bytes, self._fails_open, self._caller = body_max_bytes, fails_open, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.inflight += 1
        try:
            await self._answer(scope, receive, send)
        except _RefusedError as error:
            await self._refuse(send, error)
        except Exception:
            log.exception("a request could not be answered")
            await self._refuse(send, _internal())
        finally:
            self._metrics.inflight -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = Watch()
        # Where the entry fails open a body is refused by a denial, for which its beginning must have been read.
        _check_head(scope, None if self._fails_open() else self._body_max_bytes)
        entry: Entry | None
        try:
            timeout = _timeout(scope["query_string"])
            request = await self._receive(receive, time_for_review(timeout, BODY_SECONDS))
            self._metrics.stage("parse", watch.seconds())
            entry, body = await self._decide(watch, request, timeout)
        except ObjectError as error:
            entry, body = self._deny(watch, error)
        except UnexaminedError as error:
            entry, body = self._fail(watch, error)
        await self._send(send, 200, body)
        self._keep(entry)

    async def _receive(self, receive: Receive, seconds: float) -> R:
        """What the body asks, all of which must be there within so many `seconds`. Raises: ReviewError."""
        chunk = b""
        ends = asyncio.get_running_loop().time() + seconds
        try:
            if is_all_there(receive):
                chunk, more = await _next(receive)
            else:
                async with asyncio.timeout_at(ends):
                    chunk, more = await _next(receive)
            if not more and len(chunk) <= LARGE_BYTES:
                return self._parse(chunk)
            return await self._receive_long(receive, chunk, more=more, ends=ends)
        except TimeoutError:
            raise self._late(chunk, seconds) from None
        except MalformedError as error:
            raise self._unread(chunk, _RefusedError(400, error.code, error.detail), error) from error

    def _unread(self, head: bytes, refused: _RefusedError, error: MalformedError) -> Exception:
        """How a body that cannot be read is refused: where the entry fails open, by a denial if it began as a review.

        Whoever writes an object may make it too large or too deep, and an error of HTTP would admit it there.
        """
        request = review.begun(head) if self._fails_open() else None
        return refused if request is None else ObjectError(error, request=request, status=400)

    def _late(self, head: bytes, seconds: float) -> Exception:
        """The same of a body that was not there in time: others may keep it from its turn among the large ones."""
        refused = _RefusedError(408, "timeout", f"a body within {seconds:g} s expected", _CLOSE)
        request = review.begun(head) if self._fails_open() else None
        error = InconclusiveError(Code.OVERLOADED, refused.detail)
        return refused if request is None else UnexaminedError(error, request=request, status=503)

    async def _receive_long(self, receive: Receive, chunk: bytes, *, more: bool, ends: float) -> R:
        chunks, size, large = [chunk], len(chunk), False
        async with contextlib.AsyncExitStack() as held:
            async with asyncio.timeout_at(ends):
                while more:
                    if size > LARGE_BYTES and not large:
                        large = True
                        await held.enter_async_context(self._large)
                    chunk, more = await _next(receive)
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self._body_max_bytes:
                        refused = _too_large(self._body_max_bytes)
                        raise self._unread(chunks[0], refused, MalformedError(Code.LIMIT_EXCEEDED, refused.detail))
            body = b"".join(chunks)
            chunks.clear()
            if size <= LARGE_BYTES:
                return self._parse(body)
            return await asyncio.to_thread(self._parse, body)

    def _fail(self, watch: Watch, error: UnexaminedError) -> tuple[Entry, bytes]:
        """A review that was not examined: an error of HTTP, which another replica may do better.

        Where the webhook's entry fails open such an answer would admit: then it is a denial.
        """
        entry, body = self._deny(watch, error)
        if self._fails_open():
            return entry, body
        self._keep(entry)
        again = (b"retry-after", str(RETRY_SECONDS).encode())
        raise _RefusedError(error.status, error.code, error.detail, *((again, _CLOSE) if error.status == 503 else ()))

    def _deny(self, watch: Watch, error: ReviewError) -> tuple[Entry, bytes]:
        request, status = error.request, error.status
        word = "error" if status >= 500 else "deny"
        entry = Entry(watch.at, watch.seconds(), request, word, status, code=error.code, detail=error.detail)
        retry_after = RETRY_SECONDS if status == 503 else None
        return entry, review.respond_refusal(request, status, error, retry_after=retry_after)

    def _keep(self, entry: Entry | None) -> None:
        if entry is None:
            return
        if entry.webhook != self._webhook:  # a reviewer need not know by which name it is asked
            entry = replace(entry, webhook=self._webhook)
        self._metrics.review(entry)
        try:
            self._trail.put(record.compose(entry, caller=self._caller))
        except Exception:
            log.exception("review %s was answered but not recorded", entry.request.uid)
            self._metrics.dropped("record", 1)

    async def _refuse(self, send: Send, error: _RefusedError) -> None:
        self._metrics.refused(error.status)
        await self._send(send, error.status, error_body(error.code, error.detail), *error.headers)

    async def _send(self, send: Send, status: int, body: bytes, *headers: Header) -> None:
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
        if self._life.draining and _CLOSE not in headers:
            head.append(_CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})


def error_body(code: str, detail: str) -> bytes:
    """The JSON of an answer that is no decision."""
    return orjson.dumps({"error": code, "message": detail})


def _check_head(scope: Scope, max_bytes: int | None) -> None:
    if scope["method"] != "POST":
        raise _RefusedError(405, "method_not_allowed", "POST expected", (b"allow", b"POST"))
    content_type = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length" and max_bytes is not None and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)
    if content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise _RefusedError(415, "unsupported_media_type", "content type application/json expected")


async def _next(receive: Receive) -> tuple[bytes, bool]:
    """The next part of a body, and whether there are more."""
    message = await receive()
    if message["type"] != "http.request":
        raise _RefusedError(400, Code.MALFORMED, "the body ended early", _CLOSE)
    return message.get("body", b""), message.get("more_body", False)


def _timeout(query: bytes) -> float | None:
    """What the API server says it will wait, in seconds: a Go duration, whole seconds in practice."""
    found = _GO_DURATION.search(query)
    if found is None:
        return None
    return float(found[1]) * _UNITS[found[2]] or None


def _too_large(max_bytes: int) -> _RefusedError:
    # Closing here would reset a connection on which the client still writes, and take the answer along (RFC 9112 9.6).
    # The rest of the body is thrown away as it arrives.
    return _RefusedError(413, Code.LIMIT_EXCEEDED, f"a body of at most {max_bytes} bytes expected")


def _internal() -> _RefusedError:
    return _RefusedError(500, Code.INTERNAL_ERROR, "the request failed; the log says why")
