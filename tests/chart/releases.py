"""Releases of the chart on a real API server, by a real Helm: commands on them, and what there is of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.chart.rendering import CHART, Values, run
from tests.kube.apiserver import Server


class Release:
    """Commands of Helm on one release, whose files lie in `directory`."""

    def __init__(self, server: Server, directory: Path, helm: str, namespace: str, *, release: str = "life") -> None:
        self._helm, self._options = helm, [f"--kubeconfig={server.kubeconfig()}", f"--namespace={namespace}"]
        self._environment = {"HOME": str(directory)}
        self._release = release

    def __call__(self, command: str, *args: str, values: Values | None = None) -> str:
        chart: list[str | Path] = [CHART, "--values=-"] if command in ("install", "upgrade") else []
        options = [*args, *chart, *self._options]
        done = run(
            self._helm, command, self._release, *options, stdin=json.dumps(values or {}), environment=self._environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def left(server: Server, kinds: str, release: str) -> list[str]:
    """Names of what is there of a release."""
    options = ["--all-namespaces", f"--selector=app.kubernetes.io/instance={release}", "--output=name"]
    found = server.kubectl("get", kinds, *options, "--ignore-not-found")
    return found.stdout.split()


def get(server: Server, name: str, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.kubectl("get", name, f"-n={namespace}", "-o=json").stdout)
    return found
