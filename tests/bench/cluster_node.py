"""Countersign as the chart installs it on a real node: how long that takes, and a policy until it is in force.

Both are told beside what they consist of: when a replica's container started and was ready, and what its own log says;
for a policy the time from the moment `kubectl apply` began, and from when it returned, until the slower of two replicas
says another revision.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.cluster import Cluster
from tests.e2e.install import CHART, NAME, REGISTRY_AUTHORITY, REPLICAS, VALUES, helm, policy, policy_configmap

NAMESPACE = "inside"
OPERATIONS_PORT = 8080
APPLY_SECONDS = 20.0
HERE = f"--namespace={NAMESPACE}"
SIGNIFICANT = ("serving on", "policies in force")


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds: of `helm install --wait`, and of its last replica, after its pod was made."""

    helm: float
    parts: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"{self.helm:.1f} s ({', '.join(f'{what} {seconds:.1f}' for what, seconds in self.parts)})"


@dataclass(frozen=True, slots=True)
class InForce:
    """Seconds, one for each change, until both replicas had it: since kubectl was called, and since it returned."""

    since_called: Sequence[float]
    since_returned: Sequence[float]

    def __str__(self) -> str:
        shown = (("called", self.since_called), ("returned", self.since_returned))
        return "; ".join(
            f"since kubectl {what}: p50 {statistics.median(times):.2f} s, longest {max(times):.2f} s"
            for what, times in shown
        )


def install(cluster: Cluster, image_archive: Path, times: int) -> list[Start]:
    """The chart is installed, so many times one after the other; the last installation stays."""
    cluster.load(image_archive)
    authority = (cluster.node.root / REGISTRY_AUTHORITY).read_text()
    metadata = {"name": "registry-ca", "namespace": NAMESPACE}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": authority}},
    )
    values = cluster.node.root / "tests/values.yaml"
    values.parent.mkdir(exist_ok=True)
    values.write_text(json.dumps(VALUES))
    found = []
    for turn in range(times):
        if turn:
            helm(cluster, "uninstall", NAME, HERE, "--wait")
            cluster.kubectl("wait", "--for=delete", "pods", REPLICAS, HERE, "--timeout=50s")
        started = time.monotonic()
        helm(cluster, "install", NAME, CHART, HERE, f"--values={values}", "--wait", "--timeout=60s")
        found.append(Start(time.monotonic() - started, _parts(cluster)))
    return found


def in_force(cluster: Cluster, changes: int) -> InForce:
    """A policy was changed by `kubectl apply`, so many times."""
    called, returned = [], []
    with _replicas(cluster) as replicas:
        for number in range(changes):
            text = policy("changing", {}, trustedKeys=[], help=f"change {number}", exemptRegistries=["example.com"])
            document = json.loads(text)
            del document["spec"]["trustedKeys"]
            applied = policy_configmap("changing", json.dumps(document))
            with _noticed(replicas) as seen:
                started = time.monotonic()
                cluster.apply(applied)
                ended = time.monotonic()
            called.append(max(seen) - started)
            returned.append(max(0.0, max(seen) - ended))
    return InForce(called, returned)


def _parts(cluster: Cluster) -> tuple[tuple[str, float], ...]:
    """What the last replica to be ready did, in whole seconds where Kubernetes says it."""
    listed = json.loads(cluster.kubectl("get", "pods", REPLICAS, HERE, "--output=json").stdout)["items"]
    last = max(listed, key=lambda pod: _ready(pod))
    made = datetime.fromisoformat(last["metadata"]["creationTimestamp"])
    started = last["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    moments = [("container started", datetime.fromisoformat(started))]
    for line in cluster.kubectl("logs", last["metadata"]["name"], HERE).stdout.splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        said = str(entry.get("message", ""))
        moments += [(words, datetime.fromisoformat(entry["time"])) for words in SIGNIFICANT if said.startswith(words)]
    moments.append(("ready", _ready(last)))
    return tuple((what, (moment - made).total_seconds()) for what, moment in moments)


def _ready(pod: Any) -> datetime:
    (found,) = (one for one in pod["status"]["conditions"] if one["type"] == "Ready")
    return datetime.fromisoformat(found["lastTransitionTime"])


@contextmanager
def _replicas(cluster: Cluster) -> Iterator[list[httpx.Client]]:
    """Each replica's port for probes."""
    addresses = cluster.kubectl("get", "pods", REPLICAS, HERE, "--output=jsonpath={.items[*].status.podIP}")
    with ExitStack() as opened:
        found = []
        for address in addresses.stdout.split():
            host, port = opened.enter_context(cluster.reach(OPERATIONS_PORT, address))
            found.append(opened.enter_context(httpx.Client(base_url=f"http://{host}:{port}", timeout=10)))
        yield found


@contextmanager
def _noticed(replicas: list[httpx.Client]) -> Iterator[list[float]]:
    """When each of `replicas` had another revision than on entry; all of them have on exit."""
    seen: list[float] = []

    def notice(replica: httpx.Client, before: str) -> None:
        deadline = time.monotonic() + APPLY_SECONDS
        while time.monotonic() < deadline:
            if _revision(replica) != before:
                seen.append(time.monotonic())
                return
            time.sleep(0.005)

    noticing = [threading.Thread(target=notice, args=(replica, _revision(replica))) for replica in replicas]
    for thread in noticing:
        thread.start()
    try:
        yield seen
    finally:
        for thread in noticing:
            thread.join()
    if len(seen) < len(replicas):
        raise SystemExit(f"bench: a policy was not in force within {APPLY_SECONDS:g} s")


def _revision(replica: httpx.Client) -> str:
    text = replica.get("/readyz", params={"verbose": ""}).text
    return next((line for line in text.splitlines() if "policy-revision" in line), text)
