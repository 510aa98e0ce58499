"""The bench and the soak in short: every answer is right, the registry counts what is promised. No time is judged."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.bench import images, report, rows, run, soak
from tests.bench.mix import Asked
from tests.bench.soak import Tally


@pytest.mark.tools("bench-drive", "bench-registry")
def test_every_row_answers_rightly_in_the_promised_requests(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--short", "--out", str(tmp_path / "results")])
    status = run.main()
    told = capsys.readouterr()
    assert status == 0, told.err
    assert all(row.title in told.out for row in (*rows.ROWS, *rows.AWS_COLD, rows.AWS_WARM, rows.BESIDE))
    measured = json.loads((tmp_path / "results.json").read_text())
    assert {row["name"] for row in measured["rows"]} >= {row.title for row in rows.ROWS}


@pytest.mark.tools("bench-drive", "bench-registry")
def test_nothing_is_wrong_or_lost_before_a_hostile_registry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Half a minute is all warm-up: what is kept of images may still grow to its bounds.
    monkeypatch.setattr("sys.argv", ["soak", "--minutes", "0.5", "--reviews", "1500", "--growth", "60"])
    status = soak.main()
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "placed", [list(rows.placed(rows.ROWS)), list(rows.placed((*rows.AWS_COLD, rows.AWS_WARM)))], ids=["rows", "aws"]
)
def test_no_row_asks_for_an_image_of_another_and_there_are_enough(placed: list[tuple[rows.Row, int]]) -> None:
    planned = {field.replace("_", "-"): getattr(images.Plan(), field) for field in images.Plan.__dataclass_fields__}
    ends: Counter[str] = Counter()
    for row, start in placed:
        if not row.copies:
            assert start >= ends[row.kind], row.title
            ends[row.kind] = start + row.needs
    assert {kind: end for kind, end in ends.items() if end > planned[kind]} == {}


GOOD, BAD = Asked("good", b"", "1", allowed=True), Asked("bad", b"", "1", allowed=False)


def _answer(*, uid: str = "1", code: int = 0, reason: str = "") -> bytes:
    response = {"uid": uid, "allowed": not code, "auditAnnotations": {"reason": reason}}
    return json.dumps({"response": response | ({"status": {"code": code}} if code else {})}).encode()


@pytest.mark.parametrize(
    ("asked", "status", "answer", "noted"),
    [
        (GOOD, 200, _answer(), "right"),
        (BAD, 200, _answer(code=403, reason="no_signature"), "right"),
        (GOOD, 200, _answer(code=503), "inconclusive"),
        (BAD, 200, _answer(code=503), "inconclusive"),
        (GOOD, 200, _answer(code=403, reason="registry_violation"), "blaming"),
        (GOOD, 200, _answer(code=403, reason="malformed,rate_limited"), "blaming"),
        (GOOD, 200, _answer(code=403, reason="malformed,no_signature"), "wrong"),
        (GOOD, 200, _answer(code=403, reason="no_signature"), "wrong"),
        (GOOD, 200, _answer(code=403, reason="signature_invalid"), "wrong"),
        (BAD, 200, _answer(), "wrong"),
        (GOOD, 200, _answer(uid="2"), "lost"),
        (GOOD, 500, _answer(), "lost"),
        (GOOD, 200, b"", "lost"),
    ],
)
def test_an_answer_is_right_or_not(asked: Asked, status: int, answer: bytes, noted: str) -> None:
    tally = Tally()
    tally.note(asked, status, answer)
    found = {name: len(list(getattr(tally, name))) for name in ("right", "inconclusive", "blaming", "wrong", "lost")}
    assert found == dict.fromkeys(found, 0) | {noted: 1}


@pytest.mark.parametrize(("now", "marked"), [(1.0, False), (1.14, False), (1.16, True)])
def test_a_row_that_grew_dearer_is_marked(now: float, marked: bool) -> None:
    row = {"name": "warm", "registry_per_review": 0, "of_constant": 1.0, "p50": 1.0, "rss_after_mib": 80.0}
    last = {"commit": "0123456789", "at": "2026-11-22", "rows": [row]}
    told = report.comparison({"rows": [row | {"of_constant": now}]}, last)
    assert ("worse" in told) is marked


def test_what_stood_between_the_marks_is_written_anew(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_into(document, "new")
    assert document.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
