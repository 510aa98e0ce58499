"""The fuzzer: mutants until the time is over, and what must be true of each.

No exception leaves but an outcome, and none is an internal error; each takes less CPU than its budget; and what is
accepted differs from its seed only in what nobody signs. The same numbers make the same mutants of real evidence.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import logging
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from types import FrameType
from typing import TypeVar

from tests.fuzz import mutants, unsigned
from tests.fuzz.mutants import Mutant
from tests.fuzz.seeds import Judged, Seed
from webhook.errors import Code

CPU_BUDGET = 1.0  # seconds for one mutant; real evidence takes 0.006
STOP_AFTER = 20  # findings

_Seed = TypeVar("_Seed", bound=Seed)
Mutate = Callable[[Seed, tuple[Seed, ...], Random], Mutant]


class HangError(BaseException):
    """A mutant took more than its budget. No `Exception`, so that nothing of ours swallows it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    what: str
    seed: Seed
    mutant: Mutant

    def __str__(self) -> str:
        data = base64.b64encode(self.mutant.payload[:20_000]).decode()
        annotations = json.dumps(self.mutant.annotations)[:20_000]
        where = f"{self.what}\n  seed {self.seed.name!r}\n  mutant {self.mutant.how}\n  of {self.mutant.subject}"
        return f"{where}\n  payload {data}\n  annotations {annotations}"


@dataclass(slots=True)
class Report:
    """What came of it: how many, by form and verdict."""

    counts: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: float = 0.0

    def __str__(self) -> str:
        lines = [f"{count:9,}  {name}" for name, count in sorted(self.counts.items())]
        lines += [f"{count:9,}  {code}" for code, count in self.codes.most_common()]
        lines.append(f"{self.slowest * 1000:9.1f}  milliseconds of CPU at most")
        lines += [f"FINDING {finding}" for finding in self.findings]
        return "\n".join(lines)


def random_mutants(
    seeds: tuple[_Seed, ...], seed: int, *, first: int = 0, mutate: Mutate = mutants.mutant_of
) -> Iterator[tuple[_Seed, Mutant]]:
    """Without end; each by a random number generator of its own."""
    for number in itertools.count(first):
        random = Random(f"{seed}:{number}")
        chosen = random.choice(seeds)
        yield chosen, mutate(chosen, seeds, random)


def every_member(seeds: tuple[Seed, ...]) -> Iterator[tuple[Seed, Mutant]]:
    """Each value of each document of each seed, replaced by each odd one."""
    return ((seed, mutant) for seed in seeds for mutant in mutants.every_member(seed))


class Fuzzer:
    """Judges mutants of `seeds`, and keeps count. `differences` says where a mutant differs in what is signed."""

    def __init__(
        self, seeds: tuple[Seed, ...], differences: Callable[[Seed, Mutant], list[str]] = unsigned.differences
    ) -> None:
        self.seeds, self._differences = seeds, differences
        self.report = Report()
        self._straight = {seed: seed.again() for seed in seeds}

    def run(self, cases: Iterable[tuple[Seed, Mutant]], *, until: float) -> Report:
        """What came of `cases` until the monotonic time `until`, or until there are so many findings."""
        with _quiet():
            for seed, mutant in cases:
                if time.monotonic() >= until or len(self.report.findings) >= STOP_AFTER:
                    break
                self._judge(seed, mutant)
        return self.report

    def _judge(self, seed: Seed, mutant: Mutant) -> None:
        begun = time.process_time()
        try:
            with _budget():
                judged = seed.judge(mutant.payload, mutant.annotations, mutant.subject)
        except HangError:
            self._found(f"more than {CPU_BUDGET} s of CPU", seed, mutant)
            return
        except Exception as error:  # noqa: BLE001  # this is what is looked for
            self._found(f"{type(error).__name__}: {error}", seed, mutant)
            return
        self.report.slowest = max(self.report.slowest, time.process_time() - begun)
        self.report.counts[f"{seed.form or seed.what}, {'accepted' if judged.accepted else 'refused'}"] += 1
        self.report.codes[judged.code or "accepted"] += 1
        if judged.code == Code.INTERNAL_ERROR:
            self._found(f"an internal error: {judged.detail}", seed, mutant)
        if judged.accepted and (problem := self._problem(seed, mutant, judged)):
            self._found(problem, seed, mutant)

    def _problem(self, seed: Seed, mutant: Mutant, judged: Judged) -> str:
        """What is wrong with an accepted mutant. One that is another seed of the same image by now is none."""
        if mutant.may_pass is not None:
            return "" if mutant.may_pass else "accepted"
        siblings = [
            one for one in self.seeds if (one.form, one.subject) == (seed.form, seed.subject) and one is not seed
        ]
        problems = [self._compare(one, mutant, judged) for one in (seed, *siblings)]
        return problems[0] if all(problems) else ""

    def _compare(self, seed: Seed, mutant: Mutant, judged: Judged) -> str:
        if more := unsigned.says_more(self._straight[seed], judged):
            return f"accepted, and proves {more}"
        changed = self._differences(seed, mutant)
        return f"accepted, and differs at {', '.join(changed)}" if changed else ""

    def _found(self, what: str, seed: Seed, mutant: Mutant) -> None:
        self.report.findings.append(Finding(what, seed, mutant))


@contextlib.contextmanager
def _budget() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_BUDGET)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No log line for each internal error, no warning for each odd certificate, and an alarm that ends a hang."""
    before = signal.signal(signal.SIGVTALRM, _raise)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        signal.signal(signal.SIGVTALRM, before)


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise HangError
