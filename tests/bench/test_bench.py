"""The short form of the bench: every answer is right, and the registry counts what is promised. No time is judged."""

from __future__ import annotations

import pytest

from tests.bench import run


@pytest.mark.tools("bench-drive", "bench-registry")
def test_every_row_answers_rightly_in_the_promised_requests(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--short"])
    assert run.main() == 0
    table = capsys.readouterr().out
    assert all(row.title in table for row in run.ROWS)
