"""One row, measured: the driver's figures, the CPU of the server's own processes, and whether the row kept its word."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.rows import Row
from tests.bench.world import DATA, LOAD_CORE, ROOT, TOOLS, Server, World, run, workers

ROW_SECONDS = 1800.0
BUSY_SECONDS = 1.0  # of CPU, of which a worker needs half until it is ready
FEWEST = 20  # reviews of a row, however short the run
Result = dict[str, Any]


def measure(
    world: World, servers: Sequence[Server], row: Row, start: int = 0, *, title: str = "", scale: float = 1.0
) -> Result:
    """The figures of `row`, whose first image is `start`, with `scale` of its reviews.

    `problem` among them is empty, or tells of wrong answers or a broken promise.
    """
    title = title or row.title
    reviews = max(FEWEST, int(row.reviews * scale))
    command = _command(world, servers, row, start, title=title, reviews=reviews)
    result: Result = json.loads(run(*command, timeout=ROW_SECONDS).splitlines()[0])
    held = sum(memory for server in servers for _, memory in workers(server.pid).values())
    return {**result, "worker_rss_mib": held, "problem": _problem(row, result)}


@contextmanager
def driven(world: World, server: Server, row: Row, start: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Reviews of `row` are under way, as long as who asks for them runs; nobody counts them."""
    command = _command(world, [server], row, start, title="driven", reviews=row.reviews)
    process = subprocess.Popen(
        [str(word) for word in command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def busy(world: World, server: Server, row: Row) -> Iterator[subprocess.Popen[bytes]]:
    """The server's own processes have work from `row`, as long as who asks runs."""
    with driven(world, server, row) as process:
        while sum(seconds for seconds, _ in workers(server.pid).values()) < BUSY_SECONDS:
            time.sleep(0.05)
        yield process


def _command(
    world: World, servers: Sequence[Server], row: Row, start: int, *, title: str, reviews: int
) -> list[str | Path]:
    options: dict[str, object] = {
        "images": DATA / "images.json", "name": title, "registry": world.registry_host,
        "pid": ",".join(str(server.pid) for server in servers),
        "url": ",".join(server.url for server in servers),
        "metrics": ",".join(server.metrics for server in servers if server.metrics),
        "kind": row.kind, "shape": row.shape, "c": row.concurrency, "delay": row.delay, "n": reviews,
        "warmup": row.warmup, "start": start, "set": row.images, "rate": row.rate, "auth": row.auth,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
    return ["taskset", "-c", LOAD_CORE, TOOLS / "bench-drive", f"-copies={str(row.copies).lower()}", *words, *row.extra]


def _problem(row: Row, result: Result) -> str:
    verified = result["stages"].get("verify", {}).get("times", 0)
    if result["errors"] or (result["allowed"] if row.kind == "unsigned" else result["denied"]):
        told = result.get("first_error") or result.get("first_denial")
        return f"{result['errors']} errors, {result['denied']} denied, {result['allowed']} allowed; the first: {told}"
    if row.requests is not None and result["registry_per_review"] != row.requests:
        return f"{row.requests} requests per review promised, counted {result['registry_by_kind']}"
    if row.in_all is not None and result["registry_total"] > row.in_all:
        return f"{row.in_all} requests in all promised, counted {result['registry_by_kind']} per review"
    if row.verifications is not None and verified != row.verifications:
        return f"{row.verifications} verifications promised, counted {verified}"
    return ""
