"""`python -m tests.fuzz [--seconds N] [--seed N] [--first N]`: all of it, for as long as is said. Exit 1 on a finding.

In order: every member of every document replaced, and those that are signed again, of Notary Project signatures too;
the same through sigstore-python and through the oracle, whole; then random mutants of each kind in turn until the time
is over. `--first` begins with that random mutant, to see one again.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tests.fuzz import differential, mutants, resigned, run, seeds
from tests.fuzz.mutants import Mutant
from tests.fuzz.notary import differential as notary_differential
from tests.fuzz.notary import mutants as notary_mutants
from tests.fuzz.notary import resigned as notary_resigned
from tests.fuzz.notary import seeds as notary_seeds
from tests.fuzz.notary import statements
from tests.fuzz.notary import unsigned as notary_unsigned
from tests.fuzz.run import STOP_AFTER, Fuzzer
from tests.fuzz.seeds import Seed

_Case = TypeVar("_Case")
COMPARED = 5_000  # random mutants
_ROUND = 10.0  # seconds for random mutants of one kind, before it is the next one's turn


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--seed", type=int, default=0, help="of random mutants; 0 takes one from the clock")
    parser.add_argument("--first", type=int, default=None, help="only random mutants, beginning with this one")
    given = parser.parse_args()
    seed = given.seed or int(time.time())
    print(f"seed {seed}, {given.seconds:.0f} s")
    until = time.monotonic() + given.seconds
    cosign = Fuzzer(seeds.seeds())
    notary = Fuzzer(notary_seeds.seeds(), notary_unsigned.differences)
    told = Fuzzer(statements.seeds(), notary_unsigned.differences)
    compared: list[differential.Differences | notary_differential.Differences] = []
    if given.first is None:
        told.run(statements.resigned(), until=until)
        notary.run(itertools.chain(run.every_member(notary.seeds), notary_resigned.cases()), until=until)
        cosign.run(itertools.chain(run.every_member(cosign.seeds), resigned.mutants()), until=until)
        compared = list(_compare(until, seed))
    streams = [
        (one, run.random_mutants(one.seeds, seed, first=given.first or 0, mutate=mutate))
        for one, mutate in (
            (cosign, mutants.mutant_of),
            (notary, notary_mutants.mutant_of),
            (told, statements.mutant_of),
        )
    ]
    _in_turn(streams, until)
    reports = [cosign.report, notary.report, told.report]
    print(*reports, *compared, sep="\n\n")
    return 1 if any(one.findings for one in (*reports, *compared)) else 0


def _compare(until: float, seed: int) -> Iterator[differential.Differences | notary_differential.Differences]:
    logging.disable(logging.CRITICAL)  # sigstore-python tells of each refusal
    some = run.random_mutants(notary_seeds.seeds(), seed, mutate=notary_mutants.mutant_of)
    whole = itertools.chain(notary_resigned.cases(), itertools.islice(some, COMPARED))
    yield notary_differential.compare(_while_time(whole, until))
    yield differential.compare(_while_time(differential.mutations(), until))
    logging.disable(logging.NOTSET)


def _while_time(cases: Iterable[_Case], until: float) -> Iterator[_Case]:
    return itertools.takewhile(lambda _: time.monotonic() < until, cases)


def _in_turn(streams: list[tuple[Fuzzer, Iterator[tuple[Seed, Mutant]]]], until: float) -> None:
    while time.monotonic() < until:
        for one, cases in streams:
            one.run(cases, until=min(until, time.monotonic() + _ROUND))
        if all(len(one.report.findings) >= STOP_AFTER for one, _ in streams):
            return


if __name__ == "__main__":
    sys.exit(main())
