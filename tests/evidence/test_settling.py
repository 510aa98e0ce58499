"""Answers about revocation are awaited beside what a collection finds, and nobody's silence holds up another's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import cast

import pytest

from webhook.errors import Code
from webhook.evidence import settling
from webhook.evidence.collect import Collection
from webhook.evidence.model import Evidence, Outcome, Signer, SignerKind, Verdict
from webhook.evidence.settling import AT_ONCE, Finds, Settled
from webhook.evidence.unsettled import Ask, Unsettled
from webhook.trust.identity import Identity
from webhook.trust.notary.inquiry import Inquiry, SignerInquiry, Standing, Status
from webhook.trust.notary.levels import Action, Check

GOOD, REVOKED = Status(Standing.GOOD), Status(Standing.REVOKED, "the job")
FOUND = Outcome(Verdict.REJECTED, Code.MALFORMED, "found meanwhile")


def inquiry(job: str) -> SignerInquiry:
    return SignerInquiry("aws", "us-west-2", datetime(2026, 1, 1, tzinfo=UTC), "arn:profile", job, ("a" * 192,))


def signer(name: str) -> Signer:
    return Signer(name, SignerKind.KEYLESS, Identity(issuer="https://issuer.example.com", subject=name))


ECR, CI = signer("ecr"), signer("ci")


def waiting(job: str, *, by: Signer = ECR) -> Unsettled:
    verified = Outcome(Verdict.VERIFIED, None, job, by)
    return Unsettled(verified, (Ask(Check.REVOCATION, Action.ENFORCE, inquiry(job)),))


class Shelf:
    """A collection with one place that has answered, and another that is asked after `before_more`."""

    def __init__(self, *found: Outcome) -> None:
        self.found = list(found)
        self.went_on = False

    async def next(self, before_more: Callable[[], Awaitable[None]] | None = None) -> Evidence | Outcome | None:
        if self.found:
            return self.found.pop(0)
        if before_more is not None:
            await before_more()
        self.went_on = True
        return None


class Desk:
    """Whoever is asked: each question waits until it is answered here."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: dict[str, asyncio.Future[Status]] = {}

    async def __call__(self, asked: Inquiry) -> Status:
        assert isinstance(asked, SignerInquiry)
        self.asked.append(asked.job_arn)
        return await self._of(asked.job_arn)

    def answer(self, job: str, status: Status | Exception) -> None:
        future = self._of(job)
        if isinstance(status, Exception):
            future.set_exception(status)
        else:
            future.set_result(status)

    def _of(self, job: str) -> asyncio.Future[Status]:
        return self._answers.setdefault(job, asyncio.get_running_loop().create_future())


def opened(desk: Desk, *found: Outcome) -> tuple[Finds, Shelf]:
    shelf = Shelf(*found)
    return Finds(cast(Collection, shelf), desk), shelf


async def rest(finds: Finds) -> list[Evidence | Outcome]:
    found: list[Evidence | Outcome] = []
    while (one := await finds.next()) is not None:
        found.append(one.outcome if isinstance(one, Settled) else one)
    return found


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_without_questions_it_is_the_collection() -> None:
    finds, _ = opened(Desk(), FOUND)
    assert await rest(finds) == [FOUND]
    assert finds.end() == []


@pytest.mark.parametrize(("answer", "code"), [(GOOD, None), (REVOKED, Code.REVOKED)])
async def test_what_waited_comes_with_its_answer(answer: Status, code: Code | None) -> None:
    desk = Desk()
    finds, _ = opened(desk)
    finds.settle([waiting("job")])
    desk.answer("job", answer)
    [outcome] = await rest(finds)
    assert isinstance(outcome, Outcome)
    assert outcome.code is code
    assert finds.end() == []


async def test_finds_come_while_somebody_does_not_answer() -> None:
    desk = Desk()
    finds, _ = opened(desk, FOUND)
    finds.settle([waiting("silent"), waiting("quick", by=CI)])
    desk.answer("quick", GOOD)
    came = [await finds.next(), await finds.next()]
    assert FOUND in came
    [settled] = (one for one in came if isinstance(one, Settled))
    assert settled.outcome.detail == "quick"
    [late] = finds.end()
    assert (late.code, late.verdict) == (Code.REVOCATION_UNKNOWN, Verdict.INCONCLUSIVE)
    assert "in time" in late.detail


async def test_an_answer_that_came_counts_though_nobody_fetched_it() -> None:
    desk = Desk()
    finds, _ = opened(desk)
    finds.settle([waiting("job")])
    await turns()
    desk.answer("job", REVOKED)
    await turns()
    assert [one.code for one in finds.end()] == [Code.REVOKED]
    assert finds.end() == []


async def test_one_question_is_asked_once() -> None:
    desk = Desk()
    finds, _ = opened(desk)
    finds.settle([waiting("job"), waiting("job", by=CI)])
    finds.settle([waiting("job")])
    desk.answer("job", GOOD)
    assert len(await rest(finds)) == 3
    assert desk.asked == ["job"]


async def test_of_one_signer_a_few_at_a_time_and_of_others_besides() -> None:
    desk = Desk()
    finds, _ = opened(desk)
    finds.settle([waiting(f"job {number}") for number in range(AT_ONCE + 2)])
    finds.settle([waiting("another's", by=CI)])
    await turns()
    assert desk.asked == [*(f"job {number}" for number in range(AT_ONCE)), "another's"]
    desk.answer("job 0", GOOD)
    await turns()
    assert desk.asked[-1] == f"job {AT_ONCE}"
    finds.end()


async def test_whoever_fails_to_answer_has_not_said_that_all_is_good(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    finds, _ = opened(desk)
    finds.settle([waiting("broken"), waiting("good")])
    desk.answer("broken", RuntimeError("a defect"))
    desk.answer("good", GOOD)
    outcomes = {one.detail: one.code for one in await rest(finds) if isinstance(one, Outcome)}
    assert outcomes.pop("good") is None
    assert list(outcomes.values()) == [Code.REVOCATION_UNKNOWN]
    assert "a defect" in caplog.text


async def test_further_places_wait_for_an_answer_that_may_be_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 3600.0)
    desk = Desk()
    finds, shelf = opened(desk)
    finds.settle([waiting("job")])
    coming = asyncio.create_task(finds.next())
    await turns()
    assert not shelf.went_on
    desk.answer("job", REVOKED)
    assert isinstance(await coming, Settled)
    assert not shelf.went_on  # whoever reads may have enough now
    assert await finds.next() is None
    assert shelf.went_on


async def test_they_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 0.0)
    desk = Desk()
    finds, shelf = opened(desk)
    finds.settle([waiting("silent")])
    coming = asyncio.create_task(finds.next())
    while not shelf.went_on:
        await asyncio.sleep(0)
    desk.answer("silent", GOOD)
    assert isinstance(await coming, Settled)
    assert await finds.next() is None


async def test_whose_asking_was_given_up_is_unknown() -> None:
    desk = Desk()
    finds, _ = opened(desk)
    finds.settle([waiting("job")])
    await turns()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await turns()
    assert [one.code for one in finds.end()] == [Code.REVOCATION_UNKNOWN]
