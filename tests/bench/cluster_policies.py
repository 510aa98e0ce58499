"""A thousand policies of ten rules in ConfigMaps of a real API server, without a node: memory, gaps, selection, churn.

The server is a process of its own, on the second core, ahead of all else there; what it is asked meanwhile is a
review that no registry is needed for. Gaps of its event loop are its own account, see `cluster_loop`; those of the
server that has nothing to do are the floor.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.bench.world import LOAD_CORE, ROOT, SERVER_CORE
from tests.kube.apiserver import Server
from tests.web.serving import pod_of, review
from webhook.kube import client
from webhook.kube.client import Kube
from webhook.oci import reference
from webhook.policy import document, select
from webhook.policy.model import PolicySet

ADMISSION_PORT, OPERATIONS_PORT = 27443, 27080
NAMESPACE, LAST_GOOD = "countersign", "last-good"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
RULES = 10
REST_SECONDS = 10.0  # of a server that is left alone
CHANGE_SECONDS = 0.5  # between two changes
READY_SECONDS = 120.0
PAUSE = 0.005  # between two reviews
AHEAD = -15  # niceness of who asks and who answers: whatever else this machine does is no matter of theirs
IMAGE = f"registry.example.com/team-7/app-3/api@sha256:{'a' * 64}"


@dataclass(frozen=True, slots=True)
class Scale:
    policies: int = 1000
    changes: int = 20


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds and MiB; `gaps` are those of the loop, `collecting` what of the longest was garbage collection."""

    title: str
    memory: float
    gaps: tuple[float, ...]
    collecting: float
    p50: float
    p99: float
    cpu: float  # per cent of a core

    @property
    def cells(self) -> tuple[str, ...]:
        over = sum(gap > 50 for gap in self.gaps)
        gap = f"{max(self.gaps, default=0.0):.0f}"
        times = (f"{value:.2f}" for value in (self.p50, self.p99))
        return self.title, f"{self.memory:.1f}", gap, f"{self.collecting:.0f}", str(over), *times, f"{self.cpu:.0f}"


COLUMNS = (
    *("case", "memory MiB", "longest gap ms", "of it collecting", "gaps over 50 ms"),
    *("review p50 ms", "p99", "CPU %"),
)


def measure(tools: Path, scale: Scale) -> list[Measured]:
    """Every case, each with a server of its own."""
    os.sched_setaffinity(0, {int(LOAD_CORE)})  # of the API server too, which is begun here
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder, Server(Path(folder), tools) as server:
        os.nice(AHEAD)
        try:
            return asyncio.run(_measure(server, scale))
        finally:
            os.nice(-AHEAD)
            os.sched_setaffinity(0, range(os.cpu_count() or 1))


def selection(policies: int, rounds: int = 50) -> list[tuple[str, float]]:
    """Microseconds of CPU to find what is demanded of an image."""
    now, asked = datetime.now(UTC), reference.parse(IMAGE)
    found = []
    for title, number, own in (
        ("one policy", 1, True),
        (f"{policies} policies, each in a namespace of its own", policies, True),
        (f"{policies} policies in all namespaces, each of which must be satisfied", policies, False),
    ):
        texts = [policy(index + 7 * (number == 1), own=own) for index in range(number)]
        parsed = [one for text in texts for one in document.parse(text.encode(), origin="bench", now=now)]
        in_force = PolicySet(tuple(parsed), "bench", "bench")

        def work(in_force: PolicySet = in_force) -> object:
            there = in_force.within("team-7")
            select.blocked(there)
            return select.select(there, reference=asked, digest=asked.digest, namespace="team-7", now=now)

        found.append((title, 1e6 * _median(work, rounds)))
    return found


def policy(index: int, *, own: bool, text: str = "") -> str:
    """A policy of ten rules and a key, about its own namespace or all, as YAML that is JSON."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    spec: dict[str, object] = {
        "mode": "enforce",
        "trustedKeys": [{"name": "release", "publicKey": pem}],
        "rules": [
            {"images": [f"registry.example.com/team-{index}/app-{rule}/**"], "signers": ["release"]}
            for rule in range(RULES)
        ],
        "help": text or "ask in #platform",
    }
    if own:
        spec["namespaces"] = {"include": [f"team-{index}"]}
    head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": f"policy-{index}"}}
    return json.dumps(head | {"spec": spec}, indent=2)


async def _measure(server: Server, scale: Scale) -> list[Measured]:
    server.namespace(NAMESPACE)
    server.apply(_configmap(LAST_GOOD, {}, labels={}))
    kube = await client.by_kubeconfig(server.kubeconfig(), namespace=NAMESPACE)
    rows: list[Measured] = []
    try:
        with _serving({"COUNTERSIGN_POLICIES": str(server.root)}) as found:
            rows.append(await _watch(found, "files, no policy: the floor", asyncio.sleep(REST_SECONDS)))
        with _serving(_variables(server)) as found:
            rows.append(await _watch(found, "cluster, no policy", asyncio.sleep(REST_SECONDS)))
        for own, where in ((True, "each in a namespace of its own"), (False, "all in all namespaces")):
            await _write(kube, scale.policies, own=own)
            with _serving(_variables(server)) as found:
                title = f"{scale.policies} policies, {where}"
                rows.append(await _watch(found, f"{title}: loaded, statuses written", _settled(kube, scale.policies)))
                rows.append(await _watch(found, "the same, at rest", asyncio.sleep(REST_SECONDS)))
                rows.append(await _watch(found, "the same, two changes a second", _change(kube, scale, own=own)))
    finally:
        await kube.close()
    return rows


def _variables(server: Server) -> Mapping[str, str]:
    return {
        "COUNTERSIGN_NAMESPACE": NAMESPACE,
        "COUNTERSIGN_KUBECONFIG": str(server.kubeconfig()),
        "COUNTERSIGN_LAST_GOOD": LAST_GOOD,
    }


def _configmap(name: str, data: Mapping[str, str], *, labels: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def _write(kube: Kube, policies: int, *, own: bool) -> None:
    """There are so many policies, and none of them has a status."""
    turns = asyncio.Semaphore(20)

    async def write(index: int) -> None:
        name = f"policy-{index}"
        made = _configmap(name, {"policy.yaml": policy(index, own=own)}, labels={"countersign.dev/policy": "true"})
        async with turns:
            with suppress(client.KubeError):
                await kube.delete(f"{MAPS}/{name}")
            await kube.create(MAPS, made)

    async with asyncio.TaskGroup() as group:
        for index in range(policies):
            group.create_task(write(index))


async def _settled(kube: Kube, policies: int) -> None:
    """Until every ConfigMap has its status."""
    told = 0
    while told < policies:
        await asyncio.sleep(1)
        objects, _ = await kube.list(MAPS, {"labelSelector": "countersign.dev/policy=true"})
        told = sum("countersign.dev/status" in (one["metadata"].get("annotations") or {}) for one in objects)
    await asyncio.sleep(3)  # for the last of them to be taken in, and what was good to be kept


async def _change(kube: Kube, scale: Scale, *, own: bool) -> None:
    for number in range(scale.changes):
        index = number % scale.policies
        text = policy(index, own=own, text=f"change {number}")
        await kube.patch(f"{MAPS}/policy-{index}", {"data": {"policy.yaml": text}})
        await asyncio.sleep(CHANGE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Serving:
    pid: int
    gaps: Path
    authority: Path


@contextmanager
def _serving(variables: Mapping[str, str]) -> Iterator[_Serving]:
    folder = Path(tempfile.mkdtemp(prefix="countersign-bench-"))
    environment = {
        **variables,
        "COUNTERSIGN_ADDRESS": "127.0.0.1",
        "COUNTERSIGN_ADMISSION_PORT": str(ADMISSION_PORT),
        "COUNTERSIGN_OPERATIONS_PORT": str(OPERATIONS_PORT),
        "COUNTERSIGN_SHUTDOWN_DELAY": "0",
        "COUNTERSIGN_CA_OUT": str(folder / "ca.pem"),
        "COUNTERSIGN_NAMES": "localhost",
        "COUNTERSIGN_NO_MATCH": "allow",
        "GAPS": str(folder / "gaps"),
        "MALLOC_ARENA_MAX": "2",
    }
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "tests.bench.cluster_loop"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        _wait_until_ready(process, folder / "log")
        yield _Serving(process.pid, folder / "gaps", folder / "ca.pem")
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{OPERATIONS_PORT}/readyz", timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"bench: the server is not ready:\n{log.read_text()[-2000:]}")


async def _watch(found: _Serving, title: str, doing: Any) -> Measured:
    """What was measured while `doing` went on."""
    since, started, spent = time.time(), time.monotonic(), _cpu(found.pid)
    times: list[float] = []
    async with _asking(found, times):
        await doing
    cpu = 100 * (_cpu(found.pid) - spent) / (time.monotonic() - started)
    gaps = [gap for line in found.gaps.read_text().splitlines() if (gap := json.loads(line))["at"] > since]
    longest = max(gaps, key=lambda gap: gap["seconds"], default={"collecting": 0.0})
    quantiles = statistics.quantiles(times, n=100)
    return Measured(
        title=title,
        memory=_memory(found.pid),
        gaps=tuple(1e3 * gap["seconds"] for gap in gaps),
        collecting=1e3 * longest["collecting"],
        p50=1e3 * quantiles[49],
        p99=1e3 * quantiles[98],
        cpu=cpu,
    )


@asynccontextmanager
async def _asking(found: _Serving, times: list[float]) -> AsyncIterator[None]:
    """While entered, the server is asked for a review that needs no registry, one after the other's answer."""
    body = json.dumps(review(IMAGE, namespace="team-7", operation="UPDATE", oldObject=pod_of(IMAGE))).encode()
    lines = ("POST /validate?timeout=10s HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", ""))
    trust = ssl.create_default_context(cafile=str(found.authority))
    reader, writer = await asyncio.open_connection("localhost", ADMISSION_PORT, ssl=trust)

    async def ask() -> None:
        while True:
            started = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if b'"allowed":true' not in await reader.readexactly(length):
                raise SystemExit("bench: an update that changes no image was not admitted")
            times.append(time.perf_counter() - started)
            await asyncio.sleep(PAUSE)

    asking = asyncio.create_task(ask())
    try:
        yield
        if asking.done():
            asking.result()
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        writer.transport.abort()


def _median(work: Any, rounds: int) -> float:
    work()
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
