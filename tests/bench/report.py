"""A run of the bench as a document: the machine, the versions, every row; as JSON, as Markdown, beside another run.

Rows are compared by their ratio to a floor of the same run, so that it does not matter which machine measured them;
where the registry's delay makes the time, by that time. Of several runs the median stands for all.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.driving import Result
from tests.bench.rows import CONSTANT, TWO_GETS
from tests.bench.world import ROOT

Document = dict[str, Any]

AGAIN = ", again"  # how the title of a floor ends that is measured after all rows
WORSE = 1.15  # from here on a comparison says so
LIBRARIES = ("aiohttp", "cryptography", "fastapi", "httptools", "orjson", "uvicorn", "uvloop")
STAGES = ("parse", "resolve", "discover", "fetch", "verify", "total")
SPREAD = ("cpu_ms_per_review", "p50_ms", "p99_ms", "rss_after_mib")
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
COLUMNS = (
    *("case", "requests", "CPU ms", "lowest to highest", "worker ms", "of constant", "of two GETs"),
    *("p50 ms", "p95", "p99", "reviews/s", "memory MiB", "worker MiB"),
)
# What is compared: how it is called, and where it stands. Of all of it less is better.
COMPARED = (("requests", "registry_per_review"), ("CPU", "of_constant"), ("p50", "p50"), ("memory", "rss_after_mib"))


def document(runs: Sequence[Sequence[Result]], signatures: str, *, short: bool) -> Document:
    """All of a run, which may have been several: medians, and from where to where they lie."""
    for results in runs:
        _note_ratios(results)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", "webhook", "tests/bench")),
        "short": short,
        "runs": len(runs),
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in LIBRARIES},
        },
        "rows": [_merged(rows) for rows in zip(*runs, strict=True)],
        "signatures": signatures,
    }


def _note_ratios(results: Sequence[Result]) -> None:
    """Each row says what it cost and took, in floors of its own run."""
    constant, gets = (_mean(results, title, "cpu_ms_per_review") for title in (CONSTANT, TWO_GETS))
    quickest = _mean(results, CONSTANT, "p50_ms")
    for result in results:
        cost = result["cpu_ms_per_review"] + result["worker_ms_per_review"]
        result["of_constant"], result["of_two_gets"] = cost / constant, cost / gets
        result["p50"] = result["p50_ms"] if result["delay_ms"] else result["p50_ms"] / quickest


def _mean(results: Iterable[Result], title: str, name: str) -> float:
    return float(statistics.mean(row[name] for row in results if row["name"].removesuffix(AGAIN) == title))


def _merged(rows: Sequence[Result]) -> Result:
    spread = {name: (min(row[name] for row in rows), max(row[name] for row in rows)) for name in SPREAD}
    return {**_median(rows), "spread": spread}


def _median(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        names = [name for name in first if all(name in value for value in values)]
        return {name: _median([value[name] for value in values]) for name in names}
    return statistics.median(values) if isinstance(first, int | float) else first


def _machine() -> dict[str, object]:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "cpu": model.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "kernel": platform.release(),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def markdown(found: Document) -> str:
    """Where and when, the table, what each stage took, and what signatures cost."""
    machine, versions = found["machine"], found["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "python")
    head = (
        f"{found['at'][:10]}, {machine['cores']} cores ({machine['cpu']}), Python {versions['python']},\n{libraries};\n"
        f"commit {found['commit'][:7]}{', changed' if found['changed'] else ''}, medians of {found['runs']}."
    )
    staged, signed = [row for row in found["rows"] if row["stages"]], found["signatures"]
    return "\n\n".join((
        head,
        table(COLUMNS, (_cells(row) for row in found["rows"])),
        "What each stage took, in ms a review, by the server's own metrics:",
        table(("case", *STAGES), ((row["name"], *_staged(row["stages"])) for row in staged)),
        *(("One signature, in one process, ours beside the oracle of the tests:", signed) if signed else ()),
    ))  # fmt: skip


def _cells(row: Result) -> tuple[str, ...]:
    lowest, highest = row["spread"]["cpu_ms_per_review"]
    return (
        row["name"], f"{row['registry_per_review']:.2f}", f"{row['cpu_ms_per_review']:.3f}",
        f"{lowest:.2f} to {highest:.2f}", f"{row['worker_ms_per_review']:.2f}",
        f"{row['of_constant']:.1f}", f"{row['of_two_gets']:.2f}",
        *(f"{row[quantile]:.1f}" for quantile in ("p50_ms", "p95_ms", "p99_ms")), f"{row['per_s']:.0f}",
        f"{row['rss_after_mib']:.1f}", f"{row['worker_rss_mib']:.1f}",
    )  # fmt: skip


def _staged(stages: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    return (f"{stages[name]['ms_per_review']:.3f}" if name in stages else "" for name in STAGES)


def comparison(found: Document, last: Document) -> str:
    """Each row beside the same row of `last`; what is worse by more than 15 % carries a mark."""
    before = {row["name"]: row for row in last["rows"]}
    lines = (
        (row["name"], *(_compared(before[row["name"]][field], row[field]) for _, field in COMPARED))
        for row in found["rows"]
        if row["name"] in before
    )
    return table((f"beside {last['commit'][:7]} of {last['at'][:10]}", *(label for label, _ in COMPARED)), lines)


def _compared(before: float, now: float) -> str:
    mark = " **worse**" if now > before * WORSE else ""
    return f"{before:.2f} → {now:.2f}{mark}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows))


def write_into(path: Path, text: str) -> None:
    """What stood in the document between the marks of the bench is now `text`."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"bench: {path}: {BEGIN} and {END} expected")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
