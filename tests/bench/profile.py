"""Where the time of a row goes: a flame graph of the server while it answers that row, and its dearest functions.

    python -m tests.bench.profile                       of "warm: digest"
    python -m tests.bench.profile "cold, form known: tag" --seconds 20

Writes `.tools/bench/profile.svg`; own time is that in which a function was at the top of a sampled stack. Samples are
py-spy's, from outside the process, which stands still for each: shares are true, and reviews per second are not.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.bench import rows, world
from tests.bench.driving import driven
from tests.bench.world import DATA, World

WORLD = World("profile", 28000)
DEFAULT = "warm: digest"
ENDLESS = 1_000_000  # reviews: more than are answered while anybody looks
SAMPLES_PER_SECOND = 100  # of which each takes some milliseconds
SETTLE_SECONDS = 6.0  # in which the load begins, and what is to be warm becomes so
SHOWN = 25


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw a flame graph of the server.")
    parser.add_argument("row", nargs="?", default=DEFAULT, help=f"its title in the table (default {DEFAULT!r})")
    parser.add_argument("--seconds", type=int, default=15, help="how long samples are taken, twice")
    parser.add_argument("--out", type=Path, default=DATA / "profile.svg")
    options = parser.parse_args()
    found = [(row, start) for row, start in rows.placed(rows.ROWS) if row.title == options.row]
    if not found:
        parser.error(f"no such row; there are: {'; '.join(row.title for row in rows.ROWS)}")
    if missing := world.missing():
        print(f"profile: {' '.join(missing)} not found: `make tools`, with Go", file=sys.stderr)
        return 2
    ((row, start),) = found
    WORLD.prepare()
    endless = dataclasses.replace(row, reviews=ENDLESS, copies=True)
    with WORLD.registry(), WORLD.server() as server, driven(WORLD, server, endless, start):
        time.sleep(SETTLE_SECONDS)
        _record(server.pid, options.seconds, "flamegraph", options.out)
        _record(server.pid, options.seconds, "raw", options.out.with_suffix(".txt"))
    print(_own_time(options.out.with_suffix(".txt").read_text().splitlines()))
    print(f"\n{options.out}")
    return 0


def _record(pid: int, seconds: int, form: str, out: Path) -> None:
    sampler = Path(sys.executable).with_name("py-spy")
    options = ["--pid", str(pid), "--duration", str(seconds), "--rate", str(SAMPLES_PER_SECOND), "--format", form]
    world.run(sampler, "record", "--native", "--gil", "--function", *options, "--output", out, timeout=seconds + 60)


def _own_time(stacks: Iterable[str]) -> str:
    """The functions at the top of most samples; a line of `stacks` is frames, outermost first, and their count."""
    own: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        own[frames.rpartition(";")[2]] += int(count)
    total = sum(own.values())
    lines = [f"{100 * count / total:5.1f} %  {frame}" for frame, count in own.most_common(SHOWN)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
