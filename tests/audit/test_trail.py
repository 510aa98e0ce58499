"""Records reach every sink, and no sink ever holds up a review or another sink."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from webhook.audit.sinks import JsonLog
from webhook.audit.trail import PENDING_MAX_BYTES, Trail


class Kept:
    """A sink in memory; `gate` is what it waits for before it keeps anything."""

    def __init__(self, name: str = "kept", *, stuck: bool = False) -> None:
        self.name = name
        self.lines: list[bytes] = []
        self.gate = threading.Event()
        if not stuck:
            self.gate.set()

    def write(self, lines: bytes) -> None:
        self.gate.wait(30)
        self.lines += lines.splitlines()


class Broken:
    name = "broken"

    def write(self, lines: bytes) -> None:
        raise OSError("disk full")


class Drops:
    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def __call__(self, sink: str, records: int) -> None:
        self.counted[sink] += records


async def test_every_record_is_one_line_in_its_order() -> None:
    kept, drops = Kept(), Drops()
    trail = Trail((kept,), dropped=drops)
    for number in range(100):
        trail.put({"number": number, "text": "a\nb"})
    await trail.close(grace=10)
    assert [json.loads(line)["number"] for line in kept.lines] == list(range(100))
    assert not drops.counted


async def test_records_are_written_without_being_asked_to() -> None:
    kept = Kept()
    trail = Trail((kept,), dropped=Drops())
    trail.put({"number": 1})
    async with asyncio.timeout(10):
        while not kept.lines:
            await asyncio.sleep(0.01)
    await trail.close(grace=10)


async def test_a_stuck_sink_loses_the_newest_and_holds_up_nobody() -> None:
    stuck, kept, drops = Kept("stuck", stuck=True), Kept(), Drops()
    trail = Trail((stuck, kept), dropped=drops)
    record = {"filler": "x" * 1024 * 1024}
    loop = asyncio.get_running_loop()
    for _ in range(20):
        trail.put(record)
        trail._send()
    before = loop.time()
    await trail.close(grace=0.1)
    assert loop.time() - before < 5, "the end waits no longer than the grace"
    assert len(kept.lines) == 20 - drops.counted["kept"]
    assert drops.counted["stuck"] == 20 - PENDING_MAX_BYTES // (1024 * 1024 + 20)
    stuck.gate.set()


async def test_a_sink_that_fails_is_counted_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    kept, drops = Kept(), Drops()
    trail = Trail((Broken(), kept), dropped=drops)
    trail.put({"number": 1})
    await trail.close(grace=10)
    assert len(kept.lines) == 1
    assert drops.counted == {"broken": 1}
    assert "disk full" in caplog.text


def test_the_log_survives_a_pipe_that_does_not_block() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    line = b"x" * 1_000_000 + b"\n"
    thread = threading.Thread(target=JsonLog(writer).write, args=(line,))
    thread.start()
    found = bytearray()
    while len(found) < len(line):
        found += os.read(reader, 65536)
    thread.join(10)
    os.close(reader)
    os.close(writer)
    assert bytes(found) == line


def test_the_log_writes_all_of_a_batch(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        JsonLog(file.fileno()).write(b"one\ntwo\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
