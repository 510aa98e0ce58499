"""The bench: a server on one core, load and a counting registry on the other; each figure beside a floor of this run.

    python -m tests.bench.run                        the whole table, some ten minutes
    python -m tests.bench.run --short                a glance: a tenth of the reviews, no memory
    python -m tests.bench.run warm exempt            the rows whose title has such a word, and the floors
    python -m tests.bench.run --times 3 --record     medians of three; what is committed of them is written anew

Prints Markdown, writes it and a JSON document into `.tools/bench`, and compares with the last committed run. CPU per
review is the steadiest figure on a noisy machine; a ratio to a floor of the same run is steadier still.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import costs, report, rows, signatures, world
from tests.bench.driving import Result, busy, measure
from tests.bench.rows import Row
from tests.bench.world import LOAD_CORE, ROOT, Server, World
from tests.doubles import aws
from tests.doubles.signer import FakeSigner

WORLD = World("run", 24000)
LAST = ROOT / "tests/bench/last.json"
DOCUMENT = ROOT / "docs/performance.md"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the webhook on this machine.")
    parser.add_argument("words", nargs="*", metavar="word", help="measure rows with such a word in their title alone")
    parser.add_argument("--short", action="store_true", help="a tenth of the reviews, no memory rows")
    parser.add_argument("--times", type=int, default=1, help="measure all so often; medians stand for all")
    parser.add_argument("--record", action="store_true", help=f"write {LAST.name} and docs/{DOCUMENT.name} anew")
    parser.add_argument("--out", type=Path, default=world.DATA / "results", help="files, with .json and .md")
    options = parser.parse_args()
    if options.record and (options.short or options.words):
        parser.error("--record is for the whole table")
    if missing := world.missing():
        print(f"bench: {' '.join(missing)} not found: `make tools`, with Go", file=sys.stderr)
        return 2
    WORLD.prepare()
    plan = Plan(options.words, short=options.short)
    runs = []
    with WORLD.registry():
        for _ in range(options.times):
            runs.append(list(plan.run()))  # noqa: PERF401 - minutes each
    cost = costs.table(signatures.measure(20 if options.short else signatures.ROUNDS)) if not options.words else ""
    problems = [f"{row['name']}: {row['problem']}" for found in runs for row in found if row["problem"]]
    _tell(report.document(runs, cost, short=options.short), options.out, record=options.record and not problems)
    for problem in problems:
        print(f"bench: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _tell(found: report.Document, out: Path, *, record: bool) -> None:
    text = report.markdown(found)
    print(text)
    if LAST.exists():
        print(f"\n{report.comparison(found, json.loads(LAST.read_text()))}")
    written = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    out.with_suffix(".json").write_text(written)
    out.with_suffix(".md").write_text(text + "\n")
    if record:
        LAST.write_text(written)
        report.write_into(DOCUMENT, text)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which rows are measured: those with one of `words` in their title, or all."""

    words: Sequence[str]
    short: bool

    def run(self) -> Iterator[Result]:
        """Every row of it, between the floors before and after: machines drift."""
        yield from self._floors("")
        if self._any(rows.ROWS):
            with WORLD.server() as server:
                yield from self._each(server, rows.ROWS)
        if self._any([rows.BESIDE]):
            yield self._beside()
        if self._any([*rows.AWS_COLD, rows.AWS_WARM]):
            yield from self._aws()
        if self._any([rows.SHARED]):
            yield from self._shared()
        if not self.short:
            yield from self._memory()
        yield from self._floors(report.AGAIN)

    @property
    def _scale(self) -> float:
        return 0.1 if self.short else 1.0

    def _wanted(self, row: Row) -> bool:
        return not self.words or any(word in row.title for word in self.words)

    def _any(self, found: Sequence[Row]) -> bool:
        return any(map(self._wanted, found))

    def _each(self, server: Server, found: Sequence[Row]) -> Iterator[Result]:
        for row, start in rows.placed(found):
            if self._wanted(row):
                yield measure(WORLD, [server], row, start, scale=self._scale)

    def _floors(self, which: str) -> Iterator[Result]:
        for title, application, row in rows.FLOORS:
            with WORLD.floor(application) as server:
                yield measure(WORLD, [server], row, title=title + which, scale=self._scale)

    def _beside(self) -> Result:
        """A constant answer's times while signatures that are dear to judge are judged all along."""
        with WORLD.server() as server, busy(WORLD, server, rows.BUSY) as asking:
            result = measure(WORLD, [server], rows.BESIDE, scale=self._scale)
            if asking.poll() is not None and not result["problem"]:
                result["problem"] = "the keyless reviews beside it were over before"
        return result

    def _aws(self) -> Iterator[Result]:
        """What AWS Signer signed, in a server of its own, since the SDK is loaded there."""
        os.sched_setaffinity(0, {int(LOAD_CORE)})  # of AWS, which is a thread here
        with FakeSigner() as signer, WORLD.server("aws", aws.variables(signer_data=signer.url)) as server:
            for result in self._each(server, (*rows.AWS_COLD, rows.AWS_WARM)):
                asked, signer.requests[:] = len(signer.requests), []
                promised = result["set"] or result["warmup"] + result["n"]
                if asked != promised and not result["problem"]:
                    result["problem"] = f"{promised} calls of AWS promised, counted {asked}"
                yield result

    def _shared(self) -> Iterator[Result]:
        if not shutil.which("valkey-server"):
            if os.environ.get("COUNTERSIGN_REQUIRE_TOOLS") == "1":
                raise SystemExit("bench: no valkey-server (`make packages`), and COUNTERSIGN_REQUIRE_TOOLS is 1")
            print(f"bench: left out, for want of valkey-server: {rows.SHARED.title}", file=sys.stderr)
            return
        with WORLD.replicas(rows.REPLICAS) as servers:
            yield measure(WORLD, servers, rows.SHARED)

    def _memory(self) -> Iterator[Result]:
        first, last = rows.MEMORY_FIRST, rows.MEMORY_LAST
        if self._any([first, last]):
            with WORLD.server() as server:
                for row, start in ((first, 0), (last, first.reviews)):
                    result = measure(WORLD, [server], row, start)
                    result["descriptors"] = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))
                    yield result
        if self._any([rows.MEMORY_CROSSCHECK]):
            with WORLD.server(variables={"COUNTERSIGN_CROSSCHECK": "enforce"}) as server:
                yield measure(WORLD, [server], rows.MEMORY_CROSSCHECK)


if __name__ == "__main__":
    sys.exit(main())
