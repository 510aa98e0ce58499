"""Judging evidence in processes of their own, so that the event loop goes on answering while elliptic curves are added.

A worker is this package again, told by length-prefixed pickles on its standard input and answering on its output, one
piece of evidence at a time. It runs at a lower priority than the server and with bounded memory; one that takes longer
than the limit, or dies, is replaced, and only what it was judging is inconclusive. Both ends are one program in one
container: a worker keeps the loop free, and is no sandbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import pickle  # between two processes of one program
import resource
import signal
import struct
import sys
from typing import BinaryIO

from webhook import judging, settings
from webhook.errors import Code, CountersignError, InconclusiveError
from webhook.evidence.model import Evidence, failed
from webhook.judging import Judgement, Question

log = logging.getLogger(__name__)

NICENESS = 10
MAX_MEMORY_BYTES = 1 << 30  # of address space; a bundle of the largest size takes some 100 MiB
_LENGTH = struct.Struct("!Q")
_KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "MALLOC_ARENA_MAX")


class Workers:
    """As many processes as are needed, up to `limits.workers`; none is started before the first piece of evidence."""

    def __init__(self, limits: settings.Verification) -> None:
        self._limits = limits
        self._free: asyncio.Queue[_Worker | None] | None = None
        self._alive: set[_Worker] = set()
        self._tasks: set[asyncio.Task[Judgement]] = set()

    async def judge(self, evidence: Evidence, question: Question) -> Judgement:
        """As `judging.judge`; inconclusive for every signer where a worker failed."""
        # in a task of its own: whoever waits may give up, and the worker would go on with what nobody reads
        task = asyncio.create_task(self._judge(evidence, question))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """No worker is left."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in tuple(self._alive):
            await self._end(worker)

    async def _judge(self, evidence: Evidence, question: Question) -> Judgement:
        free = self._places()
        worker = await free.get()
        try:
            worker = worker or await self._start()
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
            free.put_nowait(worker)
        return Judgement(
            tuple(failed(error, signer=one, evidence=evidence, place=evidence.place) for one in question.signers)
        )

    def _places(self) -> asyncio.Queue[_Worker | None]:
        if self._free is None:
            self._free = asyncio.LifoQueue()  # the one that worked last has its memory warm
            for _ in range(self._limits.workers):
                self._free.put_nowait(None)
        return self._free

    async def _start(self) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
        )
        worker = _Worker(process)
        self._alive.add(worker)
        return worker

    async def _give_up(self, worker: _Worker | None, why: str) -> None:
        if worker is not None:
            log.warning("a verification worker %s and is replaced", why)
            await self._end(worker)

    async def _end(self, worker: _Worker) -> None:
        self._alive.discard(worker)
        await worker.end()


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, evidence: Evidence, question: Question) -> Judgement:
        """Raises: OSError, EOFError, pickle.PickleError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # both are pipes
        assert stdout is not None
        data = pickle.dumps((evidence, question), pickle.HIGHEST_PROTOCOL)
        stdin.write(_LENGTH.pack(len(data)))
        stdin.write(data)
        await stdin.drain()
        [length] = _LENGTH.unpack(await stdout.readexactly(_LENGTH.size))
        judgement: Judgement = _Reader(await stdout.readexactly(length), evidence, question).load()
        return judgement

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class _Writer(pickle.Pickler):
    """Writes a judgement without what the asker has: evidence, signers and demands are named by their place."""

    def __init__(self, file: BinaryIO, evidence: Evidence, question: Question) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        known = (evidence, *question.signers, *question.demands)
        self._places = {id(one): place for place, one in enumerate(known)}

    def persistent_id(self, obj: object) -> int | None:
        return self._places.get(id(obj))


class _Reader(pickle.Unpickler):  # of our own process
    def __init__(self, data: bytes, evidence: Evidence, question: Question) -> None:
        super().__init__(io.BytesIO(data))
        self._known = (evidence, *question.signers, *question.demands)

    def persistent_load(self, pid: int) -> object:
        return self._known[pid]


def serve(tasks: BinaryIO, answers: BinaryIO) -> None:
    """Judges what comes in on `tasks` until it ends."""
    while header := tasks.read(_LENGTH.size):
        [length] = _LENGTH.unpack(header)
        evidence, question = pickle.loads(tasks.read(length))  # noqa: S301  # of our own process
        told = io.BytesIO()
        _Writer(told, evidence, question).dump(judging.judge(evidence, question))
        answers.write(_LENGTH.pack(told.tell()))
        answers.write(told.getbuffer())
        answers.flush()


def main() -> None:
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, it is for the server, which ends this by the pipe
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
