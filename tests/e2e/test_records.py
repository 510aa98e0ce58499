"""What stays of a decision: the API server's audit log, the line on standard output, metrics; and the health check."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.conftest import Shelf
from tests.e2e.install import NAME, REPLICAS, Webhook

pytestmark = pytest.mark.cluster
inside_only = pytest.mark.parametrize("by", ["inside"], indirect=True)


@pytest.mark.parametrize("options", [(), ("--dry-run=server",)], ids=["real", "dry-run"])
def test_audit_log_holds_the_decision(
    cluster: Cluster, shelf: Shelf, namespace: str, revision: str, options: tuple[str, ...]
) -> None:
    here = f"--namespace={namespace}"
    cluster.kubectl("run", "good", f"--image={shelf.legacy.tagged}", *options, here)
    cluster.kubectl("run", "bad", f"--image={shelf.unsigned.tagged}", *options, here, check=False)
    good, bad = (_annotations(cluster, namespace, name) for name in ("good", "bad"))
    assert (good["decision"], bad["decision"]) == ("allow", "deny")
    assert bad["reason"] == "no_signature"
    assert shelf.legacy.digest in good["digests"]
    assert shelf.unsigned.digest in bad["digests"]
    assert "production" in good["policy"]


def _annotations(cluster: Cluster, namespace: str, name: str) -> Mapping[str, str]:
    prefix = "pods.countersign.dev/"
    (event,) = [
        event
        for event in cluster.audit()
        if (event["objectRef"].get("namespace"), event["objectRef"].get("name")) == (namespace, name)
        and event["verb"] == "create" and not event["objectRef"].get("subresource")
    ]  # fmt: skip
    annotations: Mapping[str, str] = event["annotations"]
    return {key.removeprefix(prefix): value for key, value in annotations.items() if key.startswith(prefix)}


@inside_only
def test_each_review_leaves_one_line(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    here = f"--namespace={namespace}"
    cluster.kubectl("run", "bad", f"--image={shelf.unsigned.tagged}", here, check=False)
    logs = ("logs", REPLICAS, "--tail=-1", "--namespace=inside")
    lines = [line for line in cluster.kubectl(*logs).stdout.splitlines() if f'"{namespace}"' in line]
    assert len(lines) == 1
    assert shelf.unsigned.digest in lines[0]
    assert isinstance(json.loads(lines[0]), dict)


def test_health_check_of_the_image_and_metrics_answer(cluster: Cluster, inside: Webhook, image_archive: Path) -> None:
    _exec(cluster, *_health_check(image_archive))
    read = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8080/metrics').read().decode())"
    assert "countersign_" in _exec(cluster, "python", "-c", read)


def _exec(cluster: Cluster, *command: str) -> str:
    return cluster.kubectl("exec", f"deployment/{NAME}", "--namespace=inside", "--", *command).stdout


def _health_check(image_archive: Path) -> list[str]:
    def read(archive: tarfile.TarFile, name: str) -> Any:
        file = archive.extractfile(name)
        assert file is not None  # it is a regular file
        return json.load(file)

    with tarfile.open(image_archive) as archive:
        test: list[str] = read(archive, read(archive, "manifest.json")[0]["Config"])["config"]["Healthcheck"]["Test"]
    assert test[0] == "CMD"
    return test[1:]
