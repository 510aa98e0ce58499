"""One denial before a real API server, and all that stays of it: as docs/audit.md shows it, with its commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.admission.pinned import scene
from tests.admission.test_pinning_server import configuration, pod, webhook
from tests.audit.test_events import events_in, replica_set
from tests.cluster.certificates import Authority
from tests.conftest import API_SERVER
from tests.kube.apiserver import Server, User, webhook_service
from tests.kube.reached import reached
from webhook import settings
from webhook.audit.events import EventsSink
from webhook.audit.sinks import JsonLog, Metrics
from webhook.audit.trail import Trail
from webhook.kube.client import Kube
from webhook.settings import EventsIn
from webhook.web import server
from webhook.web.app import Admission
from webhook.web.entrance import LARGE_BODIES, Entrance, Life

pytestmark = pytest.mark.tools(*API_SERVER)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/audit.md"
CONTROLLER = "system:serviceaccount:kube-system:replicaset-controller"
USERS = (User("jane"), User(CONTROLLER))
PREFIX = "pods.countersign.dev/"


@dataclass
class Site:
    """`signed` and `unsigned` are references; records are in `log`."""

    server: Server
    kube: Kube
    signed: str
    unsigned: str
    log: Path
    sink: EventsSink
    metrics: Metrics

    async def kubectl(self, *arguments: str, user: str = "admin", stdin: str = "") -> str:
        """What it wrote, errors too."""

        def call() -> subprocess.CompletedProcess[str]:
            return self.server.kubectl("--namespace=shop", *arguments, user=user, stdin=stdin, check=False)

        done = await asyncio.to_thread(call)
        return done.stdout + done.stderr

    async def written(self, events: int) -> None:
        async with asyncio.timeout(20):
            while self.metrics.registry.get_sample_value("countersign_events_emitted_total") != events:
                await asyncio.sleep(0.01)

    def audited(self, name: str) -> list[Mapping[str, Any]]:
        """The API server's own events about pods of this name that were to be made."""
        made = [event for event in self.server.audit() if event["verb"] == "create"]
        about = {"resource": "pods", "name": name}.items()
        return [event for event in made if about <= event["objectRef"].items()]


@contextlib.asynccontextmanager
async def site(folder: Path, tools: Path) -> AsyncIterator[Site]:
    """What `runtime` joins, with the pods' entry alone, and users who may do everything in the namespace `shop`."""
    authority = Authority(folder)
    certificate, key = authority.issue("server", common_name="countersign", hosts=["countersign.shop.svc"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    log, metrics = folder / "records", Metrics(hosts={}, version="0")
    async with contextlib.AsyncExitStack() as opened:
        api = opened.enter_context(Server(folder / "api", tools, *USERS))
        at = await opened.enter_async_context(scene(configured=settings.Pin()))
        kube = await opened.enter_async_context(reached(api))
        sink = EventsSink(
            kube=kube,
            where=EventsIn.OBJECT_NAMESPACE,
            namespace="countersign",
            instance="countersign-6c5f7d9b8-x2x9p",
            emitted=metrics.events_emitted,
            dropped=metrics.events_dropped,
        )
        descriptor = os.open(log, os.O_CREAT | os.O_WRONLY)
        opened.callback(os.close, descriptor)
        trail = Trail((JsonLog(descriptor), sink), dropped=metrics.dropped)
        entrance = Entrance(
            webhook="pods",
            reviewer=at.pods,
            trail=trail,
            metrics=metrics,
            life=Life(problems=dict, notes=dict),
            large=asyncio.Semaphore(LARGE_BODIES),
            body_max_bytes=settings.Admission().body_max_bytes,
            fails_open=lambda: False,
        )
        task = asyncio.create_task(sink.run())
        listener = server.listen("127.0.0.1", 0, "a free port")
        serving = server.make(Admission({"/validate": entrance}), settings.Server(), context)
        await opened.enter_async_context(server.running(serving, listener))
        port = listener.getsockname()[1]
        entry = webhook("pods.countersign.dev", "/validate", "shop", authority.certificate.read_bytes(), port)
        api.namespace("shop")
        registered = configuration("Validating", "shop", entry)
        api.apply(binding(), webhook_service("shop"), replica_set("shop"), registered)
        yield Site(api, kube, f"{at.image}:1", f"{at.image}:unsigned", log, sink, metrics)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await trail.close(grace=5)
        await sink.close(grace=5)


def binding() -> Mapping[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "users", "namespace": "shop"},
        "subjects": [{"kind": "User", "name": user.name, "apiGroup": group} for user in USERS],
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
    }


async def test_everything_that_stays_of_a_denial(tmp_path: Path, tools: Path) -> None:
    async with site(tmp_path, tools) as at:
        said = await at.kubectl("run", "api", f"--image={at.unsigned}", user="jane")
        assert 'admission webhook "pods.countersign.dev" denied the request' in said
        assert "no_signature" in said
        assert "dry run" in await at.kubectl("run", "good", f"--image={at.signed}", "--dry-run=server", user="jane")
        await at.kubectl("run", "rehearsal", f"--image={at.unsigned}", "--dry-run=server", user="jane")
        await at.kubectl("create", "-f", "-", user=CONTROLLER, stdin=await owned(at))
        await at.written(2)

        check_annotations(at)
        check_records(at)
        await check_events(at)
        shown = {name: run(at, command) for name, command in commands().items()}
        print(json.dumps([said, shown, at.audited("api")[0]], indent=1))  # what docs/audit.md was written from
        print(await at.kubectl("get", "events"), await at.kubectl("describe", "replicaset", "api"))
        print(at.log.read_text())
        if shown:
            assert [row.split("\t")[1:4] for row in shown["denied"].splitlines()] == [
                ["jane", "create", "shop/api"],
                ["jane", "create", "shop/rehearsal"],
                [CONTROLLER, "create", "shop/api-x7k2p"],
            ]
            assert shown["reasons"].split() == ["3", "no_signature", "1", "verified"]
            assert "good" in shown["digest"]


async def owned(at: Site) -> str:
    """A pod as the controller of the ReplicaSet makes it."""
    uid = json.loads(await at.kubectl("get", "replicaset", "api", "--output=json"))["metadata"]["uid"]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api", "uid": uid, "controller": True}
    return json.dumps(pod("api-x7k2p", at.unsigned, generateName="api-", ownerReferences=[owner]))


def check_annotations(at: Site) -> None:
    for name, decision in {"api": "deny", "rehearsal": "deny", "good": "allow", "api-x7k2p": "deny"}.items():
        (event,) = at.audited(name)
        annotations = {key.removeprefix(PREFIX): text for key, text in event["annotations"].items() if PREFIX in key}
        assert annotations["decision"] == decision
        assert annotations["policy"] == "p0"
        assert annotations["policy-revision"] == "revision"
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", annotations["digests"])
        assert all(len(text.encode()) < 1024 for text in annotations.values())


def check_records(at: Site) -> None:
    records = [json.loads(line) for line in at.log.read_text().splitlines()]
    assert [record["name"] for record in records] == ["api", "good", "rehearsal", "api-x7k2p"]
    assert records[3]["owner"]["kind"] == "ReplicaSet"


async def check_events(at: Site) -> None:
    alone, owned = sorted(await events_in(at.kube, "shop"), key=lambda event: str(event["eventTime"]))
    assert (alone["regarding"]["kind"], alone["regarding"]["name"]) == ("Pod", "api")
    assert (owned["regarding"]["kind"], owned["related"]["name"]) == ("ReplicaSet", "api-x7k2p")
    assert "nothing signed by release was found for this digest" in owned["note"]
    assert "ImageVerificationFailed" in await at.kubectl("describe", "replicaset", "api")


def commands() -> Mapping[str, str]:
    """Those that the document shows, by the comment above each; none where jq is not installed."""
    if not shutil.which("jq"):
        return {}
    return dict(re.findall(r"^# (\w+)\n(jq .*?)\n```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL))


def run(at: Site, command: str) -> str:
    """What `command` says where the audit log is."""
    (event,) = at.audited("good")
    command = command.replace("sha256:DIGEST", event["annotations"][f"{PREFIX}digests"])
    shell = ["sh", "-ec", command]
    return subprocess.run(shell, cwd=at.server.root, capture_output=True, text=True, check=True, timeout=30).stdout
