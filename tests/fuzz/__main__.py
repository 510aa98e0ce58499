"""`python -m tests.fuzz [--seconds N] [--seed N] [--first N]`: all of it, for as long as is said. Exit 1 on a finding.

In order: every member of every document replaced, and those that are signed again; the same through sigstore-python,
whole; then random mutants until the time is over. `--first` begins with that random mutant, to see one again.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time

from tests.fuzz import differential, resigned, run, seeds
from tests.fuzz.run import Fuzzer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--seed", type=int, default=0, help="of random mutants; 0 takes one from the clock")
    parser.add_argument("--first", type=int, default=None, help="only random mutants, beginning with this one")
    given = parser.parse_args()
    seed = given.seed or int(time.time())
    print(f"seed {seed}, {given.seconds:.0f} s")
    until = time.monotonic() + given.seconds
    fuzzer = Fuzzer(seeds.seeds())
    if given.first is None:
        fuzzer.run(itertools.chain(run.every_member(fuzzer.seeds), resigned.mutants()), until=until)
        compared = _compare(until)
    else:
        compared = differential.Differences()
    report = fuzzer.run(run.random_mutants(fuzzer.seeds, seed, first=given.first or 0), until=until)
    print(report)
    print(compared)
    return 1 if report.findings or compared.findings else 0


def _compare(until: float) -> differential.Differences:
    logging.disable(logging.CRITICAL)  # sigstore-python tells of each refusal
    cases = itertools.takewhile(lambda _: time.monotonic() < until, differential.mutations())
    compared = differential.compare(cases)
    logging.disable(logging.NOTSET)
    return compared


if __name__ == "__main__":
    sys.exit(main())
