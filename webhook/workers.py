"""Judging evidence in processes of their own, so that the event loop goes on answering while elliptic curves are added.

A worker is this package again, told by length-prefixed pickles on its standard input and answering on its output, one
piece of evidence at a time. It runs at a lower priority than the server and with bounded memory; one that takes longer
than the limit, or dies, is replaced, and only what it was judging is inconclusive. Evidence that nobody waits for any
more is not begun. Both ends are one program in one container: a worker keeps the loop free, and is no sandbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import io
import itertools
import logging
import os
import pickle  # between two processes of one program
import resource
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any, BinaryIO, TypeVar

from webhook import judging, logs, settings
from webhook.errors import Code, CountersignError, InconclusiveError
from webhook.evidence.model import Evidence, failed
from webhook.judging import Judgement, Question
from webhook.settings import Crosscheck
from webhook.wire import LENGTH, Heard, Reader, Task, Told, Writer

log = logging.getLogger(__name__)
T = TypeVar("T")

NICENESS = 19  # a constant answer's 99th percentile stays twice what it is alone; at 10 it was five times that
READ_PER_SECOND = 8 << 20  # bytes of evidence that a worker gets through, about
MAX_MEMORY_BYTES = 1 << 30  # of address space; the largest attestation takes some 270 MiB
START_SECONDS = 30.0  # half of one where nothing else is going on; more with the second implementation
STARTED = b"."
_KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "MALLOC_ARENA_MAX")


class Workers:
    """As many processes as are needed, up to `limits.workers`; none is started before `warm` or the first evidence."""

    def __init__(self, limits: settings.Verification) -> None:
        self._limits = limits
        self._line = _Line(limits.workers)
        self._alive: set[_Worker] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def warm(self) -> None:
        """A first worker is on its way, so that no evidence has to wait until it has loaded. Within an event loop."""
        if self._limits.workers and not self._alive and not self._tasks:
            self._spawn(self._warm())

    async def judge(self, evidence: Evidence, question: Question) -> Judgement:
        """As `judging.judge`; inconclusive for every signer where a worker failed."""
        worker = await self._line.take(len(evidence.payload))
        # in a task of its own: whoever waits may give up, and the worker would go on with what nobody reads
        return await asyncio.shield(self._spawn(self._judge(worker, evidence, question)))

    async def close(self) -> None:
        """No worker is left."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in tuple(self._alive):
            await self._end(worker)

    def _spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _warm(self) -> None:
        worker = await self._line.take(0)
        try:
            worker = await self._ready(worker)
        except (OSError, EOFError):  # a time that has run out is an OSError
            log.exception("no verification worker could be started")
        finally:
            self._line.give_back(worker)

    async def _judge(self, worker: _Worker | None, evidence: Evidence, question: Question) -> Judgement:
        try:
            worker = await self._ready(worker)
            async with asyncio.timeout(self._limits.time_limit):
                return await worker.ask(evidence, question)
        except TimeoutError:
            await self._give_up(worker, "took too long")
            worker = None
            error: CountersignError = InconclusiveError(
                Code.DEADLINE_EXCEEDED, f"judging it took longer than {self._limits.time_limit:g} s"
            )
        except Exception:
            log.exception("a verification worker failed on layer %s", evidence.layer)
            await self._give_up(worker, "failed")
            worker = None
            error = InconclusiveError(Code.INTERNAL_ERROR, "the worker that judged it ended; the log says why")
        except BaseException:
            await self._give_up(worker, "was interrupted")
            worker = None
            raise
        finally:
            self._line.give_back(worker)
        return Judgement(
            tuple(failed(error, signer=one, evidence=evidence, place=evidence.place) for one in question.signers)
        )

    async def _ready(self, worker: _Worker | None) -> _Worker:
        """`worker`, or a new one where none was started yet, or it died while it had nothing to do."""
        if worker is not None and worker.is_alive:
            return worker
        if worker is not None:
            await self._give_up(worker, "ended while idle")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            self._limits.crosscheck,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
        )
        worker = _Worker(process)
        self._alive.add(worker)
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker.started()
        except BaseException:
            await self._give_up(worker, "did not start")
            raise
        return worker

    async def _give_up(self, worker: _Worker | None, why: str) -> None:
        if worker is not None:
            log.warning("a verification worker %s and is replaced", why)
            await self._end(worker)

    async def _end(self, worker: _Worker) -> None:
        self._alive.discard(worker)
        await worker.end()


class _Line:
    """Places that are free, each with its worker or `None`, and who waits for one.

    Who came first is next, but that each lets those pass who come while a piece of its size would be read: what takes
    long does not hold up what does not, and nobody waits for ever. An image has one piece in the line at a time, so
    that none with many candidates holds up one with few.
    """

    def __init__(self, places: int) -> None:
        self._free: list[_Worker | None] = [None] * places
        self._waiting: list[tuple[float, int, asyncio.Future[_Worker | None]]] = []
        self._numbers = itertools.count()

    async def take(self, size: int) -> _Worker | None:
        """What is held now: it must come back. Cancelled, nothing is."""
        if self._free:
            return self._free.pop()  # the one that worked last has its memory warm
        turn: asyncio.Future[_Worker | None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (time.monotonic() + size / READ_PER_SECOND, next(self._numbers), turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # cancelled in the very moment in which the turn had come
                self.give_back(turn.result())
            raise

    def give_back(self, worker: _Worker | None) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[-1]
            if not turn.cancelled():
                turn.set_result(worker)
                return
        self._free.append(worker)


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self._told = process, Told()

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def started(self) -> None:
        """All that it needs is loaded, which is not for the time of any evidence. Raises: EOFError."""
        assert self._process.stdout is not None  # a pipe
        await self._process.stdout.readexactly(len(STARTED))

    async def ask(self, evidence: Evidence, question: Question) -> Judgement:
        """Raises: OSError, EOFError, pickle.PickleError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # both are pipes
        assert stdout is not None
        data = pickle.dumps(self._told.task(evidence, question), pickle.HIGHEST_PROTOCOL)
        stdin.write(LENGTH.pack(len(data)))
        stdin.write(data)
        await stdin.drain()
        [length] = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        judgement: Judgement = Reader(await stdout.readexactly(length), evidence, question).load()
        return judgement

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


def serve(tasks: BinaryIO, answers: BinaryIO) -> None:
    """Judges what comes in on `tasks` until it ends."""
    heard = Heard()
    while header := tasks.read(LENGTH.size):
        [length] = LENGTH.unpack(header)
        task: Task = pickle.loads(tasks.read(length))  # noqa: S301  # of our own process
        question, told = heard.question(task), io.BytesIO()
        Writer(told, task.evidence, question).dump(judging.judge(task.evidence, question))
        answers.write(LENGTH.pack(told.tell()))
        answers.write(told.getbuffer())
        answers.flush()


def main() -> None:
    logs.to_stderr()
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, it is for the server, which ends this by the pipe
    if sys.argv[1] != Crosscheck.OFF:
        judging.second_implementation()
    sys.stdout.buffer.write(STARTED)
    sys.stdout.buffer.flush()
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
