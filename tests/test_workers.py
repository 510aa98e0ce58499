"""Workers judge as the function they wrap does, and one that fails takes nothing else along. Real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cosign import made
from webhook import judging, settings
from webhook.errors import Code
from webhook.evidence.model import Evidence, Verdict, Wants
from webhook.judging import Question
from webhook.trust.root import Trust
from webhook.workers import Workers

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


@pytest.mark.parametrize("found", [made.legacy(), made.bundle(), made.legacy(b"{}")], ids=["legacy", "bundle", "bad"])
async def test_a_worker_finds_what_this_process_would(found: Evidence) -> None:
    async with working() as workers:
        judgement = await workers.judge(found, QUESTION)

    assert judgement == judging.judge(found, QUESTION)
    assert all(outcome.evidence is found for outcome in judgement.outcomes)
    assert [outcome.signer for outcome in judgement.outcomes] == list(QUESTION.signers)


async def test_many_at_once_share_the_workers_there_are() -> None:
    async with working(workers=2) as workers:
        judgements = await asyncio.gather(*(workers.judge(made.bundle(), QUESTION) for _ in range(30)))
        assert len(children()) == 2

    assert {judgement.outcomes[0].verdict for judgement in judgements} == {Verdict.VERIFIED}
    assert children() == set()


async def test_a_worker_that_dies_is_replaced_and_only_its_own_work_is_lost() -> None:
    async with working() as workers:
        await workers.judge(made.bundle(), QUESTION)
        [pid] = children()
        os.kill(pid, signal.SIGKILL)

        lost = await workers.judge(made.bundle(), QUESTION)
        assert [(o.verdict, o.code) for o in lost.outcomes] == [(Verdict.INCONCLUSIVE, Code.INTERNAL_ERROR)] * 2

        again = await workers.judge(made.bundle(), QUESTION)
        assert again.outcomes[0].verdict is Verdict.VERIFIED
        assert children() != {pid}


async def test_a_worker_that_takes_too_long_is_ended() -> None:
    async with working(time_limit=0.3) as workers:
        await asyncio.sleep(0)
        first = await workers.judge(made.bundle(), QUESTION)  # starting it takes longer than that, or nearly
        assert first.outcomes[0].code in {None, Code.DEADLINE_EXCEEDED}
        for pid in children():
            os.kill(pid, signal.SIGSTOP)

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
