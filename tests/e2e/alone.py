"""Countersign in a cluster of its own, which a test may disturb; each leaves it as it found it.

Pods of the namespace `shop` are judged by a policy that enforces, those of `trial` by one that warns. Workloads are
denied early. One image is signed; registries on the node misbehave, each in one way.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import queue
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.cluster import Cluster
from tests.cluster.components import NODE_ADDRESS
from tests.doubles import registry
from tests.e2e import api, install
from tests.e2e.install import ENFORCED, NAME, REPLICAS
from tests.e2e.pods import pod
from tests.e2e.signing import Image, Key, Workshop
from tests.e2e.words import DENIED
from tests.web.serving import review
from webhook.demo.registry import Receive, Scope, Send

HERE = "--namespace=inside"
SHOP, TRIAL = "shop", "trial"
ADMISSION_PORT = 9443
HOSTILE = {name: f"{NODE_ADDRESS}:{port}" for port, name in enumerate(("hanging", "limited", "failing", "lying"), 5002)}
TIMEOUT_SECONDS = 5  # of the entry for pods
CLIENTS = 4
NOT_ASKED = "failed calling webhook"
VALUES: Mapping[str, Any] = {
    "timeoutSeconds": TIMEOUT_SECONDS,
    "noMatch": "warn",
    "workloads": {"action": "deny"},
    "registries": [
        *install.VALUES["registries"],
        *({"host": host, "private": True, "insecureHTTP": True} for host in HOSTILE.values()),
    ],
}
STATUSES = {"hanging": 404, "limited": 429, "failing": 503, "lying": 200}


@dataclass(frozen=True, slots=True)
class Alone:
    cluster: Cluster
    directory: Path
    signed: Image
    unsigned: Image

    def helm(self, *args: str | Path, command: str = "helm") -> str:
        return install.helm(self.cluster, *args, HERE, command=command)

    def upgrade(self, *options: str) -> str:
        """What Helm says to an upgrade to what was installed but for `options`; replicas are ready afterwards."""
        values = f"--values={self.directory / 'values.yaml'}"
        return self.helm("upgrade", NAME, install.CHART, values, *options, "--wait", "--timeout=240s")

    def replicas(self) -> Mapping[str, str]:
        """The address of each, by its name; those that were told to end are none any more."""
        found = json.loads(self.cluster.kubectl("get", "pods", REPLICAS, "--output=json", HERE).stdout)["items"]
        live = (one for one in found if "deletionTimestamp" not in one["metadata"])
        return {one["metadata"]["name"]: one["status"].get("podIP", "") for one in live}

    @contextlib.contextmanager
    def without_replicas(self) -> Iterator[None]:
        """While entered, nobody can be asked; afterwards replicas start again."""
        scale = ("scale", f"deployment/{NAME}", HERE)
        self.cluster.kubectl(*scale, "--replicas=0")
        install.wait_until(lambda: not self.processes(), "no replica runs")
        try:
            yield
        finally:
            self.cluster.kubectl(*scale, "--replicas=2")

    def wait_until_ready(self) -> None:
        self.cluster.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=240s", HERE, seconds=260)

    def processes(self) -> Mapping[str, float]:
        """The numbers of the replicas' processes on the node, and how many seconds of CPU each has had."""
        rows = self.cluster.run("ps", "-eww", "--format=pid,cputimes,args").stdout.splitlines()
        found = (row.split(None, 2) for row in rows if row.endswith("countersign serve"))
        return {number: float(seconds) for number, seconds, _ in found}

    def signal(self, name: str, process: str) -> None:
        self.cluster.run("kill", f"-{name}", process)

    def dry_run(self, reference: str, *, namespace: str = SHOP) -> tuple[int, str]:
        """Whether `kubectl run` succeeds, and what it says."""
        options = (f"--image={reference}", f"--namespace={namespace}", "--dry-run=server")
        done = self.cluster.kubectl("run", "app", *options, check=False)
        return done.returncode, done.stderr

    def ask(self, address: str, bundle: str, image: str, *, namespace: str = SHOP) -> dict[str, Any]:
        """The response of the replica at `address`, asked as an API server would that was given `bundle`."""
        context = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
        with self.cluster.reach(ADMISSION_PORT, address) as (host, port), httpx.Client(verify=context) as http:
            asked = review(image, namespace=namespace)
            name = {"sni_hostname": f"{NAME}.inside.svc"}
            answer = http.post(f"https://{host}:{port}/validate?timeout=5s", json=asked, extensions=name, timeout=10)
        response: dict[str, Any] = answer.json()["response"]
        return response

    def judges(self) -> bool:
        """Whether the one image is admitted and the other denied by a decision."""
        admitted, denied = self.dry_run(self.signed.pinned), self.dry_run(self.unsigned.pinned)
        return admitted[0] == 0 and DENIED in denied[1]


@dataclass
class Load:
    """What clients were told who create pods as fast as they can, by server-side dry run."""

    answers: list[tuple[float, float, api.Answer]] = field(default_factory=list)  # begun, ended, told

    def kinds(self, alone: Alone) -> Counter[tuple[str, str]]:
        return Counter(_kind(answer, alone) for _, _, answer in self.answers)

    def not_asked(self) -> list[tuple[float, float, str]]:
        """When each began and ended, and why."""
        return [(begun, ended, told.message) for begun, ended, told in self.answers if NOT_ASKED in told.message]

    def longest(self) -> float:
        return max(ended - begun for begun, ended, _ in self.answers)


def install_alone(cluster: Cluster, image_archive: Path) -> Alone:
    directory = cluster.node.root / "tests"
    for name in ("signing", "policies"):
        (directory / name).mkdir(parents=True)
    workshop = Workshop(cluster, directory / "signing")
    key = workshop.key("release")
    signed = workshop.sign_legacy(workshop.image("shop/signed"), key)
    for name, text in policies(key).items():
        (directory / f"policies/{name}.yaml").write_text(text)
    install.inside(cluster, directory / "policies", directory, image_archive, **VALUES)
    for name in (SHOP, TRIAL):
        labels = {ENFORCED: "true"}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=240s")
    made = Alone(cluster, directory, signed, workshop.image("shop/unsigned"))
    install.wait_until(made.judges, "both images are judged")
    return made


def policies(key: Key) -> Mapping[str, str]:
    return {
        "production": install.policy("production", {"release": key.pem}, namespaces={"exclude": [TRIAL]}),
        "trial": install.policy("trial", {"release": key.pem}, mode="warn", namespaces={"include": [TRIAL]}),
    }


@contextlib.contextmanager
def load(alone: Alone, *, namespace: str = SHOP) -> Iterator[Load]:
    """While entered, clients create pods of both images."""
    told, over = Load(), threading.Event()
    images = alone.signed.pinned, alone.unsigned.pinned, alone.signed.tagged, alone.unsigned.tagged

    def create(server: api.API) -> None:
        for image in cycle(images):
            if over.is_set():
                return
            begun = time.monotonic()
            answer = server.create(pod("loop", image, namespace=namespace), dry_run=True)
            told.answers.append((begun, time.monotonic(), answer))

    with api.connect(alone.cluster, connections=CLIENTS) as server:
        clients = [threading.Thread(target=create, args=[server]) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield told
        finally:
            over.set()
            for client in clients:
                client.join()


def _kind(answer: api.Answer, alone: Alone) -> tuple[str, str]:
    image = "signed" if answer.image in (alone.signed.pinned, alone.signed.tagged) else "unsigned"
    if answer.code == 201:
        return image, "admitted"
    if answer.code == 403 and answer.message.startswith(DENIED):
        return image, "denied"
    return image, "not asked" if NOT_ASKED in answer.message else answer.message


@contextlib.contextmanager
def hostile_registries(cluster: Cluster) -> Iterator[None]:
    """While entered, those of `HOSTILE` answer, on a thread of their own."""
    loop, over, ports = asyncio.new_event_loop(), asyncio.Event(), queue.SimpleQueue[int]()

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for name in HOSTILE:
                host = await stack.enter_async_context(registry.running(_misbehaving(name)))
                ports.put(int(host.rpartition(":")[2]))
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        with contextlib.ExitStack() as tunnels:
            for host in HOSTILE.values():
                tunnels.enter_context(cluster.offer(int(host.rpartition(":")[2]), ports.get()))
            yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def _misbehaving(name: str) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if name == "hanging":
            await asyncio.sleep(2 * TIMEOUT_SECONDS)
        headers = [
            (b"content-type", b"application/vnd.oci.image.manifest.v1+json"),
            (b"docker-content-digest", b"sha256:" + b"0" * 64),
            (b"content-length", b"2"),
        ]
        await send({"type": "http.response.start", "status": STATUSES[name], "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    return answer
