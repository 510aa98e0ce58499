"""Workers judge as the function they wrap does, and one that fails takes nothing else along. Real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cosign import made
from webhook import judging, settings, wire
from webhook.errors import Code
from webhook.evidence.model import Evidence, Signer, Verdict, Wants
from webhook.judging import Judgement, Question
from webhook.trust.at_hand import Trust
from webhook.workers import Workers, _Line, _Worker

QUESTION = Question(
    signers=(made.signer(), made.signer(made.public_key("p384"))),
    demands=(),
    wants=Wants(),
    trust=Trust(),
    image={"reference": "registry.example/app:1"},
    now=made.NOW,
)


@asynccontextmanager
async def working(**limits: float) -> AsyncIterator[Workers]:
    workers = Workers(replace(settings.Verification(), **limits))  # type: ignore[arg-type]  # of numbers
    try:
        yield workers
    finally:
        await workers.close()


def children() -> set[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in text.split() if "webhook.workers" in Path(f"/proc/{pid}/cmdline").read_text()}


@asynccontextmanager
async def stopped(workers: Workers) -> AsyncIterator[int]:
    """The one worker takes what it is given, and answers nothing."""
    workers.warm()
    while workers._tasks:
        await asyncio.sleep(0.001)
    [pid] = children()
    os.kill(pid, signal.SIGSTOP)
    yield pid


@pytest.mark.parametrize("found", [made.legacy(), made.bundle(), made.legacy(b"{}")], ids=["legacy", "bundle", "bad"])
async def test_a_worker_finds_what_this_process_would(found: Evidence) -> None:
    async with working() as workers:
        judgement = await workers.judge(found, QUESTION)

    assert judgement == judging.judge(found, QUESTION)
    assert all(outcome.evidence is found for outcome in judgement.outcomes)
    assert [outcome.signer for outcome in judgement.outcomes] == list(QUESTION.signers)


@pytest.mark.parametrize("told_max", [1000, 1], ids=["remembered", "forgotten each time"])
async def test_a_worker_asks_by_what_this_question_names_whatever_it_was_told_before(
    monkeypatch: pytest.MonkeyPatch, told_max: int
) -> None:
    monkeypatch.setattr(wire, "TOLD_MAX", told_max)
    (right, wrong), found = QUESTION.signers, made.bundle()
    orders = [(right, wrong), (wrong,), (right,), (wrong, right), (right, right), ()]
    async with working(workers=1) as working_:
        for signers in orders:
            question = replace(QUESTION, signers=signers)
            assert await working_.judge(found, question) == judging.judge(found, question)
        assert len(children()) == 1


async def test_many_at_once_share_the_workers_there_are() -> None:
    async with working(workers=2) as workers:
        judgements = await asyncio.gather(*(workers.judge(made.bundle(), QUESTION) for _ in range(30)))
        assert len(children()) == 2

    assert {judgement.outcomes[0].verdict for judgement in judgements} == {Verdict.VERIFIED}
    assert children() == set()


async def test_a_worker_that_dies_is_replaced_and_only_its_own_work_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = record_asked(monkeypatch)
    async with working() as workers, stopped(workers) as pid:
        waiting = [asyncio.create_task(workers.judge(made.bundle(), QUESTION)) for _ in range(3)]
        while not asked:
            await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)

        lost, *others = await asyncio.gather(*waiting)
        assert [(o.verdict, o.code) for o in lost.outcomes] == [(Verdict.INCONCLUSIVE, Code.INTERNAL_ERROR)] * 2
        assert [judgement.outcomes[0].verdict for judgement in others] == [Verdict.VERIFIED] * 2
        assert pid not in children()


async def test_a_worker_that_died_with_nothing_to_do_costs_nobody_anything() -> None:
    async with working() as workers:
        await workers.judge(made.bundle(), QUESTION)
        [pid] = children()
        os.kill(pid, signal.SIGKILL)
        [worker] = workers._alive
        while worker.is_alive:
            await asyncio.sleep(0.001)
        assert (await workers.judge(made.bundle(), QUESTION)).outcomes[0].verdict is Verdict.VERIFIED


async def test_a_worker_that_takes_too_long_is_ended() -> None:
    async with working(time_limit=0.1) as workers, stopped(workers):
        late = await workers.judge(made.bundle(), QUESTION)

        assert [(o.verdict, o.code) for o in late.outcomes] == [(Verdict.INCONCLUSIVE, Code.DEADLINE_EXCEEDED)] * 2
        assert children() == set()


async def test_who_gives_up_waiting_ends_no_worker() -> None:
    async with working() as workers:
        await workers.judge(made.bundle(), QUESTION)
        before = children()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await workers.judge(made.bundle(), QUESTION)

        assert (await workers.judge(made.bundle(), QUESTION)).outcomes[0].verdict is Verdict.VERIFIED
        assert children() == before


async def test_what_nobody_waits_for_any_more_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = record_asked(monkeypatch)
    async with working() as workers, stopped(workers) as pid:
        first = asyncio.create_task(workers.judge(made.bundle(), QUESTION))
        await asyncio.sleep(0)
        gone = [asyncio.create_task(workers.judge(made.legacy(), QUESTION)) for _ in range(20)]
        last = asyncio.create_task(workers.judge(made.bundle(), QUESTION))
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        os.kill(pid, signal.SIGCONT)
        await asyncio.gather(first, last)
        assert len(asked) == 2
        assert children() == {pid}


async def test_the_small_do_not_wait_for_the_large(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = record_asked(monkeypatch)
    large, small = made.legacy(b" " * 100_000), made.legacy()
    async with working() as workers, stopped(workers) as pid:
        tasks = [asyncio.create_task(workers.judge(each, QUESTION)) for each in (small, large, large, small, small)]
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGCONT)
        await asyncio.gather(*tasks)
    assert asked == [small, small, small, large, large]


async def test_who_is_a_little_larger_does_not_wait_for_ever() -> None:
    line = _Line(1)
    await line.take(0)
    first = asyncio.create_task(line.take(4_000))
    await asyncio.sleep(0.01)  # many times what reading as much takes
    later = [asyncio.create_task(line.take(1_000)) for _ in range(3)]
    await asyncio.sleep(0)
    line.give_back(None)
    await first
    assert not any(task.done() for task in later)
    for task in later:
        line.give_back(None)
        await task


async def test_warm_starts_one_worker_once() -> None:
    async with working(workers=2) as workers:
        for _ in range(3):
            workers.warm()
        while workers._tasks:
            await asyncio.sleep(0.001)
        before = children()
        workers.warm()
        await workers.judge(made.bundle(), QUESTION)
        assert len(before) == 1
        assert children() == before


async def test_warm_starts_none_where_there_shall_be_none() -> None:
    async with working(workers=0) as workers:
        workers.warm()
        assert children() == set()


@pytest.mark.parametrize("cancelled_late", [False, True])
async def test_who_leaves_the_line_takes_no_place_along(cancelled_late: bool) -> None:
    line = _Line(1)
    assert await line.take(1) is None
    waiting = [asyncio.create_task(line.take(size)) for size in (3, 2)]
    await asyncio.sleep(0)
    if cancelled_late:
        line.give_back(None)
    waiting[1].cancel()
    await asyncio.wait({waiting[1]})
    if not cancelled_late:
        line.give_back(None)
    assert await waiting[0] is None
    line.give_back(None)
    assert await line.take(1) is None


def record_asked(monkeypatch: pytest.MonkeyPatch) -> list[Evidence]:
    asked: list[Evidence] = []
    ask = _Worker.ask

    async def recorded(self: _Worker, evidence: Evidence, question: Question) -> Judgement:
        asked.append(evidence)
        return await ask(self, evidence, question)

    monkeypatch.setattr(_Worker, "ask", recorded)
    return asked


@pytest.mark.parametrize(
    ("signers", "payload", "costly"),
    [
        ([made.signer()], b"", False),
        ([made.signer()] * 10, b"", False),
        ([made.signer()] * 11, b"", True),
        ([made.signer(made.public_key("rsa4096"))], b"", False),
        ([made.signer(made.public_key("p384"))], b"", True),
        ([made.signer()], bytes(settings.OFF_LOOP_BYTES), False),
        ([made.signer()], bytes(settings.OFF_LOOP_BYTES + 1), True),
    ],
    ids=["one key", "ten keys", "more keys", "another kind", "a slow kind", "much", "too much"],
)
def test_what_takes_a_millisecond_is_for_a_worker(signers: list[Signer], payload: bytes, costly: bool) -> None:
    question = replace(QUESTION, signers=tuple(signers))
    assert judging.is_costly(replace(made.legacy(), payload=payload), question) is costly


async def test_what_a_worker_loads_is_not_for_the_time_of_any_evidence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    late = tmp_path / "python"
    late.write_text(f'#!/bin/sh\nsleep 6\nexec "{sys.executable}" "$@"\n')
    late.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(late))
    async with working(time_limit=5.0) as workers:
        judgement = await workers.judge(made.bundle(), QUESTION)
    assert judgement.outcomes[0].verdict is Verdict.VERIFIED


async def test_a_worker_that_cannot_start_is_told_and_costs_only_what_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with working() as workers:
        failed = await workers.judge(made.bundle(), QUESTION)
        assert [(o.verdict, o.code) for o in failed.outcomes] == [(Verdict.INCONCLUSIVE, Code.INTERNAL_ERROR)] * 2
        assert not workers._alive
        monkeypatch.undo()
        assert (await workers.judge(made.bundle(), QUESTION)).outcomes[0].verdict is Verdict.VERIFIED
