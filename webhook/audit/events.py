"""Notices on their way to the API server, which keeps them as Events: one after another, and never awaited.

The trail's thread finds the notices among its records and hands them to the backlog; `run`, a task of the server's,
writes what is due through the door to the API, at a pace that spares it. An API server that is away is asked again for
a while; what it refuses is lost, said once, and counted. What an Event says is `event`'s, when it is told `backlog`'s.

spec: Kubernetes events.k8s.io/v1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable

import orjson

from webhook.audit import event
from webhook.audit.backlog import Backlog, Bucket, Due
from webhook.audit.event import Notice
from webhook.kube.client import Kube, KubeError
from webhook.settings import EventsIn

BURST, SECONDS_EACH = 50, 0.1  # Events at once, and one more each so many seconds: 10 a second
TRIES = 12
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds; doubled after each outage, with jitter
CONFLICT, NOT_FOUND = 409, 404
TERMINATING = "NamespaceTerminating"  # nobody will look there any more
# Records are JSON without blanks, in whose texts a quotation mark has a backslash before it
_MARKS = (
    b'"decision":"deny"',
    b'"decision":"error"',
    b'"decision":"warn"',
    b'"event":"policy"',
    b'"event":"exception"',
)

log = logging.getLogger(__name__)


class EventsSink:
    """`namespace` is the one of the installation, `instance` the name of this pod.

    `emitted` and `dropped` are told how many Events were written, and how many notices were lost.
    """

    name = "events"

    def __init__(
        self,
        *,
        kube: Kube,
        where: EventsIn,
        namespace: str,
        instance: str,
        emitted: Callable[[int], None],
        dropped: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
        stamp: Callable[[], int] = time.time_ns,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kube, self._where, self._namespace = kube, where, namespace
        self._instance = instance or "countersign"
        self._emitted, self._clock, self._stamp, self._sleep = emitted, clock, stamp, pause
        self._backlog = Backlog(dropped=dropped, clock=clock)
        self._pace = Bucket(BURST, SECONDS_EACH, clock())
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause = FIRST_PAUSE
        self._complained: tuple[int, str] | None = None
        self._last_stamp = 0

    def write(self, lines: bytes) -> None:
        """What is to be told of each record in `lines` waits, or is counted: with others like it, or as lost."""
        for line in lines.splitlines():
            if any(mark in line for mark in _MARKS):
                for notice in event.notices(orjson.loads(line)):
                    for namespace in self._places(notice):
                        self._backlog.take(notice, namespace)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Events are written as they come, until this is cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if due := self._backlog.head():
                await self._tell(due)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._backlog.next_wait()):
                        await self._wake.wait()

    async def close(self, *, grace: float) -> None:
        """After `run` has ended: all that waited was written, or is counted as lost after `grace` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while due := self._backlog.head(ending=True):
                    await self._tell(due)
        self._backlog.give_up()

    def _places(self, notice: Notice) -> set[str]:
        match self._where:
            case EventsIn.OBJECT_NAMESPACE:
                return {notice.namespace}
            case EventsIn.RELEASE_NAMESPACE:
                return {self._namespace}
            case EventsIn.BOTH:
                return {notice.namespace, self._namespace}
            case EventsIn.OFF:
                return set()

    async def _tell(self, due: Due) -> None:
        """`due` was written or is lost; it waits until then, should this be cancelled."""
        while not self._pace.take(self._clock()):
            await self._sleep(self._pace.wait(self._clock()))
        try:
            name = await self._write(due)
        except Exception:  # the task goes on with the next
            log.exception("an Event in %s could not be written", due.namespace)
            name = ""
        if name:
            self._backlog.settle(due, name)
            self._emitted(1)
        else:
            self._backlog.lose(due)

    async def _write(self, due: Due) -> str:
        """The name of the Event that tells `due`; empty where the API server has none of it."""
        name, new, unanswered = due.name or self._new_name(due), not due.name, False
        for _ in range(TRIES):
            try:
                await (self._create(due, name) if new else self._update(due, name))
            except KubeError as error:
                if error.status == CONFLICT and new:
                    if unanswered:  # the answer was lost, not the Event
                        return name
                    name = self._new_name(due)
                elif error.status == NOT_FOUND and not new:  # Events end after an hour
                    name, new = self._new_name(due), True
                elif error.is_outage:
                    unanswered = True
                    await self._back_off(error)
                else:
                    self._complain(error)
                    return ""
            else:
                self._pause, self._complained = FIRST_PAUSE, None
                return name
        return ""

    async def _create(self, due: Due, name: str) -> None:
        body = event.event(
            due.notice, namespace=due.namespace, name=name, instance=self._instance, count=due.count, last=due.last
        )
        await self._kube.create(_path(due.namespace), body)

    async def _update(self, due: Due, name: str) -> None:
        await self._kube.patch(f"{_path(due.namespace)}/{name}", event.series(due.count, due.last))

    def _new_name(self, due: Due) -> str:
        self._last_stamp = max(self._stamp(), self._last_stamp + 1)
        return event.name_of(due.notice, self._last_stamp)

    async def _back_off(self, error: KubeError) -> None:
        self._complain(error)
        await self._sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that replicas take turns
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _complain(self, error: KubeError) -> None:
        """Says so once, until it is another trouble or over."""
        trouble = (error.status, error.reason)
        if trouble != self._complained and error.cause != TERMINATING:
            log.warning("Events cannot be written: %s", error.detail)
            self._complained = trouble


def _path(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
