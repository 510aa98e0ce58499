"""One request, sent until there is an answer, no more often than is polite.

Promises: only GET and HEAD are repeated, a bounded number of times; who asked to be left alone is, and so is who does
not answer (`courtesy`), and nobody is asked for too much at once (`lanes`). spec: RFC 9110 10.2.3; RFC 6585 4.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from enum import StrEnum

from webhook import settings
from webhook.errors import Code, InconclusiveError, quote
from webhook.network import CONNECTIONS, Answer, Network, Request, UnreachableError
from webhook.oci import courtesy
from webhook.oci.complaint import said
from webhook.oci.courtesy import Courtesy, CourtesyObserver, Shunned, Whom
from webhook.oci.lanes import Lanes

LIMITED_DEFAULT = 2.0  # seconds, where a 429 names no time
WAIT_LONGEST = 2.0  # seconds; a longer Retry-After is no wait for a review

_REPEATED = frozenset((408, 429, 500, 502, 503, 504))


class RequestKind(StrEnum):
    """What a request asked for, as metrics count it."""

    RESOLVE = "resolve"
    MANIFEST = "manifest"
    BLOB = "blob"
    REFERRERS = "referrers"
    TOKEN = "token"  # noqa: S105 - the name of a kind


Observer = Callable[[RequestKind, str, int, float], None]  # kind, host, status (0: no answer), seconds


class Sender:
    """Not safe for use by more than one event loop. `observe` is called after every request."""

    def __init__(
        self, *, limits: settings.Registry, network: Network, observe: Observer | None, told: CourtesyObserver
    ) -> None:
        self._limits, self._observe = limits, observe
        self._client = network.open(connections_per_host=limits.connections_per_host)
        self._courtesy = Courtesy(told=told)
        self._lanes = Lanes(lanes=CONNECTIONS, per_host=limits.connections_per_host)

    async def send(self, kind: RequestKind, whom: Whom, request: Request) -> Answer:
        """The last answer; never 408, 429 or what a server says that is at fault.

        Raises: InconclusiveError: `rate_limited`, or no answer came.
        """
        for attempt in range(1, self._limits.attempts + 1):
            last = attempt == self._limits.attempts or request.method == "POST"
            backoff = self._limits.backoff * 3.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            try:
                answer = await self._once(kind, whom, request)
            except UnreachableError as error:
                if last or not error.transient:
                    raise
                await asyncio.sleep(backoff)
                continue
            if answer.status not in _REPEATED:
                return answer
            wait = courtesy.retry_after(answer)
            self._note_limit(whom, answer, wait, LIMITED_DEFAULT if last else backoff)
            if last or (wait is not None and wait > WAIT_LONGEST):
                raise _given_up(whom, answer, wait)
            await asyncio.sleep(backoff)
        raise AssertionError("attempts is at least 1")

    def shunned(self) -> tuple[Shunned, ...]:
        """Who does not answer, and is not asked now."""
        return self._courtesy.shunned()

    async def close(self) -> None:
        """Connections are closed."""
        await self._client.close()

    async def _once(self, kind: RequestKind, whom: Whom, request: Request) -> Answer:
        """The answer to one request, made when there is room for it and nobody wants it unmade.

        Raises: UnreachableError; InconclusiveError, where it was not made.
        """
        patience = WAIT_LONGEST
        while True:
            wait = self._courtesy.wait(whom, patience)
            if not wait:
                waited = await self._lanes.enter(whom.origin)
                try:
                    wait = self._courtesy.wait(whom, patience) if waited else 0.0
                    if not wait:
                        return await self._exchange(kind, whom, request)
                finally:
                    self._lanes.leave(whom.origin)
            patience -= wait
            await asyncio.sleep(wait * random.uniform(1.0, 1.25))  # noqa: S311 - so that not all come at once

    async def _exchange(self, kind: RequestKind, whom: Whom, request: Request) -> Answer:
        learned: Answer | UnreachableError | None = None
        started = time.perf_counter()
        self._courtesy.begin(whom)
        try:
            learned = answer = await self._client.exchange(request)
        except UnreachableError as error:
            learned = error
            raise
        else:
            return answer
        finally:
            self._courtesy.note(whom, learned)
            if self._observe is not None:
                status = learned.status if isinstance(learned, Answer) else 0
                self._observe(kind, whom.authority, status, time.perf_counter() - started)

    def _note_limit(self, whom: Whom, answer: Answer, wait: float | None, default: float) -> None:
        """Whoever asks for the same meanwhile waits too. RFC 6585 4; RFC 9110 15.6.4, where 503 names a time"""
        if answer.status == 429 or (answer.status == 503 and wait is not None):
            self._courtesy.limit(whom, answer.status, max(default, wait) if wait is not None else default)


def _given_up(whom: Whom, answer: Answer, wait: float | None) -> InconclusiveError:
    where = quote(whom.authority)
    if answer.status != 429:
        return InconclusiveError(Code.REGISTRY_UNAVAILABLE, f"{where} answered {answer.status}{said(answer)}")
    named = f", retry after {wait:.0f} s" if wait is not None else ""
    return InconclusiveError(Code.RATE_LIMITED, f"{where} limits our requests (429{named}){said(answer)}")
