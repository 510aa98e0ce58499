"""A long run of everything at once, before a registry that misbehaves: does memory grow, is an answer wrong or lost?

    python -m tests.bench.soak --minutes 30 --reviews 300000

A *wrong* answer admits what is unsigned or signed by a stranger, or says of what is signed well that it is not. An
*inconclusive* one says that an image could not be examined (5xx), one that *blames the registry* that it served other
bytes than were asked for: both are right while answers are hostile, the second for no more reviews than there were such
answers. A *lost* review got no answer over HTTP though somebody waited for it. The exit code is 1 for a wrong or a lost
one, and where the server at the end holds more memory, descriptors, threads or reviews than after its warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import ssl
import statistics
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson

from tests.bench import report, world
from tests.bench.mix import Asked, Mix
from tests.bench.world import DATA, LOAD_CORE, Server, World, workers

WORLD = World("soak", 30000)
SEED = 7
HOSTILE_SHARE = 0.02  # of the registry's answers
HANGING_UP_EACH = 20  # reviews, for one of which nobody waits
AT_ONCE = 48
ANSWER_SECONDS = 35.0  # an API server waits for 30
SAMPLES = 200  # of the server's memory, over the whole run
WARM_SHARE = 0.25  # of the run, which counts as its warm-up
MEMORY_GROWTH_MIB = 5.0
DESCRIPTORS_GROWTH = THREADS_GROWTH = 16  # connections and threads that come and go
REQUESTS = ("manifest", "manifest-head", "blob", "referrers")
BLAME = frozenset({"registry_violation", "limit_exceeded", "malformed"})
OUTAGE = frozenset({"registry_unavailable", "rate_limited", "deadline_exceeded", "overloaded"})  # of other images
FOREIGN_BYTES = ("truncated", "changed", "huge", "garbage")  # hostile answers that are a reason for blame
BLAMED_FOR_ONE = 2  # reviews, since several may wait for the same answer
REST_SECONDS = 5.0  # after the last answer, until nothing may be under way
EXAMPLES = 10


@dataclass(slots=True)
class Tally:
    """What became of the reviews."""

    right: Counter[str] = field(default_factory=Counter)
    inconclusive: Counter[str] = field(default_factory=Counter)
    blaming: Counter[str] = field(default_factory=Counter)
    hung_up: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        answered = self.right.total() + self.inconclusive.total() + self.blaming.total()
        return answered + self.hung_up + len(self.wrong) + len(self.lost)

    def note(self, asked: Asked, status: int, answer: bytes) -> None:
        try:
            response = orjson.loads(answer)["response"]
            told = response.get("status", {})
            allowed, code, text = response["allowed"], told.get("code", 200), told.get("message", "")
            reasons = response.get("auditAnnotations", {}).get("reason", "").split(",")
            known = status == 200 and response["uid"] == asked.uid
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            self.lost.append(f"{asked.kind}: {status}: {answer[:300]!r}")
        elif allowed == asked.allowed and (allowed or code == 403):
            self.right[asked.kind] += 1
        elif not allowed and code >= 500:
            self.inconclusive[asked.kind] += 1
        elif not allowed and not BLAME.isdisjoint(reasons) and (BLAME | OUTAGE).issuperset(reasons):
            self.blaming[asked.kind] += 1
        else:
            self.wrong.append(f"{asked.kind}: allowed {allowed}, {code}: {text[:600]}")


@dataclass(frozen=True, slots=True)
class Sample:
    """Of the server at one time; memory in MiB, its own processes' too."""

    seconds: float
    memory: float
    workers: float
    descriptors: int
    threads: int


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask for long, and see whether anything grows, is wrong or is lost.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--reviews", type=int, default=300_000)
    parser.add_argument("--growth", type=float, default=MEMORY_GROWTH_MIB, help="MiB that memory may grow by")
    options = parser.parse_args()
    if missing := world.missing():
        print(f"soak: {' '.join(missing)} not found: `make tools`, with Go", file=sys.stderr)
        return 2
    WORLD.prepare()
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    mix = Mix(DATA / "images.json", host=WORLD.registry_host, seed=SEED)
    with WORLD.registry(), WORLD.server() as server:
        _misbehave(HOSTILE_SHARE)
        tally, samples = asyncio.run(_run(server, mix, reviews=options.reviews, seconds=60 * options.minutes))
        _misbehave(0)
        time.sleep(REST_SECONDS)
        under_way, requests = _under_way(server), _requests()
    print(_told(tally, samples, requests))
    problems = [*_misjudged(tally, requests), *_grown(samples, growth=options.growth)]
    if under_way:
        problems.append(f"soak: {under_way:.0f} reviews are under way still")
    print("\n".join(problems) or "soak: nothing grew, nothing was wrong, nothing was lost")
    return 1 if problems else 0


def _misbehave(share: float) -> None:
    """From now on the registry's answers are hostile in so many cases."""
    url = f"http://{WORLD.registry_host}/_ctl/set?hostile={share}&seed={SEED}"
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10).close()


async def _run(server: Server, mix: Mix, *, reviews: int, seconds: float) -> tuple[Tally, list[Sample]]:
    """All of `reviews` were sent, evenly over `seconds`, or as fast as they are answered where that takes longer."""
    tally, numbers, started = Tally(), itertools.count(), time.monotonic()
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE  # the server issued its certificate itself

    async def ask(session: aiohttp.ClientSession) -> None:
        while (number := next(numbers)) < reviews:
            await asyncio.sleep(started + seconds * number / reviews - time.monotonic())
            asked = mix.next(hanging_up=number % HANGING_UP_EACH == 0)
            await _ask(session, server.url, asked, tally)

    samples: list[Sample] = []
    connector = aiohttp.TCPConnector(ssl=trust, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        sampling = asyncio.create_task(_sample(server.pid, seconds / SAMPLES, samples))
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(ask(session))
        sampling.cancel()
    return tally, samples


async def _ask(session: aiohttp.ClientSession, url: str, asked: Asked, tally: Tally) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS if asked.hangs_up is None else asked.hangs_up):
            async with session.post(url, data=asked.body, headers={"Content-Type": "application/json"}) as response:
                status, answer = response.status, await response.read()
    except (TimeoutError, aiohttp.ClientError) as error:
        if asked.hangs_up is None:
            tally.lost.append(f"{asked.kind}: {type(error).__name__}: {error}")
        else:
            tally.hung_up += 1
    else:
        tally.note(asked, status, answer)


async def _sample(pid: int, interval: float, samples: list[Sample]) -> None:
    started = time.monotonic()
    while True:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        samples.append(Sample(
            seconds=time.monotonic() - started,
            memory=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            workers=sum(memory for _, memory in workers(pid).values()),
            descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
            threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
        ))  # fmt: skip
        await asyncio.sleep(interval)


def _under_way(server: Server) -> float:
    """Reviews that are being answered now, by the server's own metrics."""
    with urllib.request.urlopen(server.metrics, timeout=10) as response:
        lines = response.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("countersign_admission_inflight "))


def _requests() -> dict[str, int]:
    """How often the registry was asked, by kind; of hostile answers, by `hostile.…`."""
    with urllib.request.urlopen(f"http://{WORLD.registry_host}/_ctl/counts", timeout=10) as response:
        counts: dict[str, int] = orjson.loads(response.read())
    return {name: count for name, count in counts.items() if name.startswith("hostile.") or name in REQUESTS}


def _told(tally: Tally, samples: Sequence[Sample], requests: dict[str, int]) -> str:
    kinds = sorted(tally.right.keys() | tally.inconclusive.keys() | tally.blaming.keys())
    tallies = (tally.right, tally.inconclusive, tally.blaming)
    reviews = report.table(
        ("reviews", "answered rightly", "inconclusive", "blaming the registry"),
        ((kind, *(str(one[kind]) for one in tallies)) for kind in kinds),
    )
    shown = samples[:: max(1, len(samples) // 12)]
    server = report.table(
        ("after s", "memory MiB", "workers MiB", "descriptors", "threads"),
        (
            (f"{s.seconds:.0f}", f"{s.memory:.1f}", f"{s.workers:.1f}", str(s.descriptors), str(s.threads))
            for s in shown
        ),
    )
    asked = ", ".join(f"{name} {count}" for name, count in sorted(requests.items()))
    counted = f"{tally.sent} reviews, of which {tally.hung_up} were given up by who asked; requests: {asked}"
    return f"{counted}\n\n{reviews}\n\n{server}\n"


def _misjudged(tally: Tally, requests: dict[str, int]) -> list[str]:
    found = [f"soak: wrong, one of {len(tally.wrong)}: {text}" for text in tally.wrong[:EXAMPLES]]
    found += [f"soak: lost, one of {len(tally.lost)}: {text}" for text in tally.lost[:EXAMPLES]]
    cause, blaming = sum(requests.get(f"hostile.{how}", 0) for how in FOREIGN_BYTES), tally.blaming.total()
    if blaming > BLAMED_FOR_ONE * cause:
        found.append(f"soak: {blaming} answers blame the registry, which served foreign bytes {cause} times")
    return found


def _grown(samples: Sequence[Sample], *, growth: float) -> list[str]:
    found = []
    for name, limit in (("memory", growth), ("descriptors", DESCRIPTORS_GROWTH), ("threads", THREADS_GROWTH)):
        first, last = _levels([getattr(sample, name) for sample in samples])
        print(f"{name}: {first:.1f} after the warm-up, {last:.1f} at the end")
        if last - first > limit:
            found.append(f"soak: {name} grew from {first:.1f} to {last:.1f}, by more than {limit:g}")
    return found


def _levels(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and of the last quarter of what was measured after the warm-up."""
    settled = values[int(len(values) * WARM_SHARE) :]
    quarter = max(1, len(settled) // 4)
    return statistics.median(settled[:quarter]), statistics.median(settled[-quarter:])


if __name__ == "__main__":
    sys.exit(main())
