from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.terminal.conftest import Commands
from webhook.demo import stage

DEMO = [sys.executable, "-m", "webhook.cli", "demo"]
LONGEST = 60.0  # seconds, on a machine that does much else; alone it takes two


def test_once_shows_every_answer_and_ends_with_0(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*DEMO, "--once"], capture_output=True, text=True, timeout=LONGEST, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("6 of 6 answers as expected\n")
    assert "   pod/signed created\n" in done.stdout
    assert "   Warning: " in done.stdout
    assert 'admission webhook "pods.countersign.dev" denied the request: container "unsigned"' in done.stdout
    assert "- release  subject_mismatch" in done.stdout
    assert list(tmp_path.iterdir()) == []


@contextmanager
def staying(folder: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        killer = threading.Timer(LONGEST, process.kill)
        killer.start()
        try:
            yield process
        finally:
            killer.cancel()
            process.kill()


def test_it_stays_up_for_tries_until_it_is_interrupted(tmp_path: Path) -> None:
    with staying(tmp_path) as process:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if line.startswith("Ctrl-C"):
                break
        answer = _try_as_shown(shown)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=LONGEST)
    assert b"no_signature" in answer
    assert (process.returncode, rest, errors) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def _try_as_shown(shown: str) -> bytes:
    """What the printed curl command would bring."""
    options = r" \\\n +--cacert (\S+) \\\n +-H 'Content-Type: application/json' -d @(\S+)"
    found = re.search(rf"curl (https://\S+){options}", shown)
    assert found is not None
    url, ca_file, body = found.groups()
    request = urllib.request.Request(url, Path(body).read_bytes(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ca_file), timeout=10) as answer:
        return bytes(answer.read())


def test_an_answer_that_should_not_be_ends_with_1(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "POLICY", f"{stage.POLICY}  namespaces: {{{{exclude: [{stage.NAMESPACE}]}}}}\n")
    told = commands.run("demo", "--once")
    assert told.code == 1
    assert "✗ expected: denied" in told.out
    assert told.last == "NOT AS EXPECTED: unsigned, tampered, wrong-key"
