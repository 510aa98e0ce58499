"""What a collection finds, and what becomes of that which waits for an answer about revocation, as either comes.

Somebody is asked while other evidence is looked at: whoever does not answer holds up what rests on the answer, and
nothing else. One question is asked once, whoever has it, and of one signer's signatures a few at a time. What an answer
means is `unsettled`'s to say; one that fails to come is never a good one.

spec: Notary Project, trust store and trust policy specification, signature verification, revocation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from webhook.evidence.collect import Collection
from webhook.evidence.model import Evidence, Outcome, Signer
from webhook.evidence.unsettled import Unsettled, settle
from webhook.trust.notary.inquiry import Inquiry, Standing, Status

# Signatures of one signer: one of which nobody answers must not hide the next, nor one image use up the calls of all
AT_ONCE = 4
PATIENCE = 0.5  # seconds for which an answer that may be enough is awaited before further places are asked
log = logging.getLogger(__name__)
AskRevocation = Callable[[Inquiry], Awaitable[Status]]

_FAILED = Status(Standing.UNKNOWN, "asking whether it was revoked failed; the log says why")
_LATE = Status(Standing.UNKNOWN, "nobody said in time whether it was revoked")


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of something that waited for answers; the next review asks anew, and may be told another thing."""

    outcome: Outcome


class Finds:
    """The finds of `collection` in one examination; `ask` brings the answers. Whoever opens it must `end` it."""

    def __init__(self, collection: Collection, ask: AskRevocation) -> None:
        self._collection, self._ask = collection, ask
        self._coming: asyncio.Task[Evidence | Outcome | None] | None = None
        self._waiting: dict[asyncio.Task[Outcome], Unsettled] = {}
        self._asked: dict[Inquiry, asyncio.Task[Status]] = {}
        self._turns: dict[Signer | None, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._none_waits = asyncio.Event()  # and whoever reads has seen what became of them, and wants more

    def settle(self, unsettled: Iterable[Unsettled]) -> None:
        """What becomes of them will be among what comes next."""
        for one in unsettled:
            self._none_waits.clear()
            self._waiting[asyncio.create_task(self._settle(one))] = one

    async def next(self) -> Evidence | Outcome | Settled | None:
        """What comes next; `None` when the collection is at its end, and nothing waits any more."""
        while self._waiting:
            if self._coming is None:
                self._coming = asyncio.create_task(self._collection.next(self._be_patient))
            at_end = self._coming.done() and self._coming.result() is None
            pending = (*self._waiting,) if at_end else (self._coming, *self._waiting)
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if settled := next((task for task in self._waiting if task.done()), None):
                del self._waiting[settled]
                return Settled(settled.result())
            if (found := self._coming.result()) is not None:
                self._coming = None
                return found
        self._none_waits.set()
        coming, self._coming = self._coming, None
        return await (coming or self._collection.next())

    def so_far(self) -> list[Outcome]:
        """What becomes of all that still waits, by the answers that came."""
        answers = dict.fromkeys(self._asked, _LATE)
        came = {inquiry: task for inquiry, task in self._asked.items() if task.done() and not task.cancelled()}
        answers |= {inquiry: task.result() for inquiry, task in came.items()}
        return [settle(one, answers) for one in self._waiting.values()]

    def end(self) -> list[Outcome]:
        """Nobody is waited for any more. Returns what becomes of all that still waited."""
        outcomes = self.so_far()
        for task in (*self._waiting, *self._asked.values(), *filter(None, [self._coming])):
            task.cancel()
        self._waiting.clear()
        return outcomes

    async def _be_patient(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none_waits.wait(), PATIENCE)

    async def _settle(self, unsettled: Unsettled) -> Outcome:
        inquiries = [ask.inquiry for ask in unsettled.asks]
        async with self._turns[unsettled.outcome.signer]:
            answers = await asyncio.gather(*map(self._standing, inquiries))
        return settle(unsettled, dict(zip(inquiries, answers, strict=True)))

    async def _standing(self, inquiry: Inquiry) -> Status:
        if inquiry not in self._asked:
            self._asked[inquiry] = asyncio.create_task(_answer(self._ask, inquiry))
        return await self._asked[inquiry]


async def settle_again(unsettled: Sequence[Unsettled], ask: AskRevocation, *, seconds: float) -> list[Outcome]:
    """What becomes of what was found before, by the answers that come within `seconds`."""
    inquiries = dict.fromkeys(one.inquiry for each in unsettled for one in each.asks)
    tasks = {inquiry: asyncio.create_task(_answer(ask, inquiry)) for inquiry in inquiries}
    try:
        if tasks:
            await asyncio.wait(tasks.values(), timeout=seconds)
        answers = {inquiry: task.result() if task.done() else _LATE for inquiry, task in tasks.items()}
    finally:
        for task in tasks.values():
            task.cancel()
    return [settle(one, answers) for one in unsettled]


async def _answer(ask: AskRevocation, inquiry: Inquiry) -> Status:
    try:
        return await ask(inquiry)
    except Exception:
        log.exception("asking whether a signature was revoked failed")
        return _FAILED
