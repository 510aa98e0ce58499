"""Denials on their way to a topic of Amazon SNS: one message each, the same one only once in a while.

The trail's thread finds the denials among its records and queues them; `run`, a task of the server's, publishes them
one after another. No review waits for either. The queue is bounded, and so is what is remembered; where AWS refuses or
is away, messages wait, the newest are lost, and what is lost is counted. What a message says is `denial`'s.

spec: Amazon SNS API reference, Publish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson

from webhook.audit.denial import REFUSING, Denial, denials
from webhook.aws.calls import AWSError, Kind
from webhook.aws.door import AWS

WINDOW = 600.0  # seconds in which the same denial is told once: a ReplicaSet tries again for as long as it is denied
REMEMBERED_MAX = 10_000  # denials told within the window; beyond, the oldest may be told again
QUEUE_MAX = 1_000  # messages that wait: some 5 MiB
ATTEMPTS = 5
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds; doubled after each failure
PASSING = frozenset({Kind.THROTTLED, Kind.UNREACHABLE, Kind.FAULT, Kind.OVERLOADED, Kind.NO_CREDENTIALS})
SUBJECT_MAX_CHARS = 99
# Records are JSON without blanks, in whose texts a quotation mark has a backslash before it
_MARKS = tuple(f'"decision":"{word}"'.encode() for word in REFUSING)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Told:
    until: float
    repeats: int = 0


class SNSSink:
    """`topic` is an ARN. `dropped` is told how many messages were lost; `clock` is monotonic, in seconds."""

    name = "sns"

    def __init__(
        self,
        *,
        topic: str,
        aws: AWS,
        dropped: Callable[[str, int], None],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._topic, self._region = topic, topic.split(":")[3]
        self._aws, self._dropped, self._clock, self._sleep = aws, dropped, clock, pause
        self._told: OrderedDict[str, _Told] = OrderedDict()  # the one that ends first comes first
        self._queue: deque[Mapping[str, object]] = deque()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause = FIRST_PAUSE
        self._complained: Kind | None = None

    def write(self, lines: bytes) -> None:
        """Each denial in `lines` waits to be told, or is counted: with others like it, or as lost."""
        for line in lines.splitlines():
            if any(mark in line for mark in _MARKS):
                for denial in denials(orjson.loads(line)):
                    self._take(denial)
        if self._queue and self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Messages are published as they come, until this is cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if not self._queue:
                await self._wake.wait()
            while self._queue:
                await self._tell_next()

    async def close(self, *, grace: float) -> None:
        """After `run` has ended: all that waited was told, or is counted as lost after `grace` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._queue:
                    await self._tell_next()
        if self._queue:
            self._dropped(self.name, len(self._queue))
            self._queue.clear()

    def _take(self, denial: Denial) -> None:
        now = self._clock()
        told = self._told.get(denial.key)
        if told is not None and now < told.until:
            told.repeats += 1
        elif len(self._queue) >= QUEUE_MAX:
            self._dropped(self.name, 1)  # and not remembered: the next like it may find room
        else:
            self._told.pop(denial.key, None)
            self._told[denial.key] = _Told(now + WINDOW)
            if len(self._told) > REMEMBERED_MAX:
                self._told.popitem(last=False)
            self._queue.append(self._message(denial, told.repeats if told else 0))

    def _message(self, denial: Denial, repeats: int) -> Mapping[str, object]:
        """The parameters of Publish: ASCII of a record's, so that neither subject nor message can be refused."""
        message = {
            "TopicArn": self._topic,
            "Subject": denial.headline[:SUBJECT_MAX_CHARS],
            "Message": denial.body(repeats).decode(),
        }
        if self._topic.endswith(".fifo"):
            # SNS drops what has the same id within 5 minutes: what two replicas denied is told once
            message |= {"MessageGroupId": "countersign", "MessageDeduplicationId": denial.key}
        return message

    async def _tell_next(self) -> None:
        """The oldest message was published or is counted as lost; it waits until then, should this be cancelled."""
        try:
            told = await self._publish(self._queue[0])
        except Exception:  # the task goes on with the next
            log.exception("publishing a denial to %s failed", self._topic)
            told = False
        self._queue.popleft()
        if not told:
            self._dropped(self.name, 1)

    async def _publish(self, message: Mapping[str, object]) -> bool:
        for _ in range(ATTEMPTS):
            try:
                await self._aws.call("sns", "publish", self._region, message)
            except AWSError as error:
                await self._back_off(error)
                if error.kind not in PASSING:
                    return False
            else:
                self._pause, self._complained = FIRST_PAUSE, None
                return True
        return False

    async def _back_off(self, error: AWSError) -> None:
        if error.kind is not self._complained:  # said once, until it is another trouble or over
            log.warning("denials cannot be published to %s: %s", self._topic, error.detail)
        self._complained = error.kind
        await self._sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
