"""The images of running pods are verified again after a start; pods are those of a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import API_SERVER
from tests.doubles.verifying import NOW, RELEASE, Cluster, opened
from tests.kube.apiserver import Server
from webhook import settings
from webhook.admission import warm_start
from webhook.admission.warm_start import WarmStart
from webhook.kube import client
from webhook.kube.client import Kube
from webhook.kube.workload import Request
from webhook.oci.authn import PrivateCredentials
from webhook.policy import document
from webhook.policy.decision import ImageDecision, Result
from webhook.policy.model import PolicySet
from webhook.settings import NoMatch
from webhook.verification import Pending

pytestmark = pytest.mark.tools(*API_SERVER)

FAST = 1000.0  # images per second
_numbers = itertools.count(1)


@dataclass
class Scene:
    """Pods of one namespace, and the server that starts; `seen` is what became of each image."""

    cluster: Cluster
    admin: Kube
    webhook: Kube
    namespace: str
    policies: PolicySet
    seen: Counter[str] = field(default_factory=Counter)
    asked: list[Request] = field(default_factory=list)
    ready: bool = True
    stopping: bool = False

    def begin(self, text: str) -> ImageDecision | Pending:
        """What a review of that image begins with."""
        return self.cluster.verifier.begin(text, paths=(), namespace=self.namespace, policies=self.policies, now=NOW)

    async def pod(self, name: str, image: str, image_id: str, *, phase: str = "Running", **spec: Any) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        spec = {"containers": [{"name": "api", "image": image}], **spec}
        await self.admin.create(path, {"metadata": {"name": name}, "spec": spec})
        container = {"name": "api", "imageID": image_id, "image": image, "ready": True, "restartCount": 0}
        await self.admin.patch(f"{path}/{name}/status", {"status": {"phase": phase, "containerStatuses": [container]}})

    @contextlib.asynccontextmanager
    async def started(self, *, kube: Kube | None = None, rate: float = FAST) -> AsyncIterator[WarmStart]:
        made = WarmStart(
            kube or self.admin,
            rate=rate,
            policies=lambda: self.policies,
            verifier=self.cluster.verifier,
            lend=self._lend,
            ready=lambda: self.ready,
            stopping=lambda: self.stopping,
            observe=lambda result: self.seen.update([result]),
            clock=lambda: NOW,
        )
        running = asyncio.create_task(made.run())
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def _lend(self, request: Request) -> PrivateCredentials | None:
        if request.namespace == self.namespace:
            self.asked.append(request)
        return None


@pytest.fixture
async def scene(api_server: Server) -> AsyncIterator[Scene]:
    admin = await client.by_kubeconfig(api_server.kubeconfig())
    webhook = await client.by_kubeconfig(api_server.kubeconfig("webhook"))
    namespace = api_server.namespace(f"warm-{next(_numbers)}")
    async with opened(NoMatch.ALLOW, cache=settings.Cache()) as cluster:
        cluster.policy(namespaces={"include": [namespace]})
        found = document.parse(yaml.safe_dump_all(cluster.policies).encode(), origin="policies.yaml", now=NOW)
        yield Scene(cluster, admin, webhook, namespace, PolicySet(found, "revision", "policies.yaml"))
    for kube in (admin, webhook):
        await kube.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_runs_is_known_before_anybody_asks_and_nothing_is_admitted_for_running(scene: Scene) -> None:
    image = f"{scene.cluster.host}/{scene.cluster.name}"
    signed, unsigned = scene.cluster.image("signed"), scene.cluster.image("unsigned", tag="2")
    scene.cluster.sign(signed, RELEASE)
    await scene.pod("good", f"{image}:1", f"{image}@{signed}", imagePullSecrets=[{"name": "regcred"}])
    await scene.pod("same", f"{image}:1", f"{image}@{signed}", imagePullSecrets=[{"name": "regcred"}])
    await scene.pod("bad", f"{image}:2", f"{image}@{unsigned}")
    await scene.pod("exempt", "registry.k8s.io/pause:3", f"registry.k8s.io/pause@{signed}")
    await scene.pod("over", f"{image}:3", f"{image}@{signed}", phase="Succeeded")
    assert isinstance(scene.begin(f"{image}@{signed}"), Pending)

    async with scene.started():
        await until(lambda: scene.seen["verified"] and scene.seen["denied"])
    assert (scene.seen["verified"], scene.seen["denied"]) == (1, 1)
    assert [request.pull_secrets for request in scene.asked if request.pull_secrets] == [("regcred",)]
    known = scene.begin(f"{image}@{signed}")
    assert isinstance(known, ImageDecision)
    assert known.result is Result.VERIFIED
    assert isinstance(scene.begin(f"{image}@{unsigned}"), Pending), "what was denied is looked at again"


async def test_nothing_begins_before_policies_are_loaded_and_nothing_more_once_the_process_ends(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_start, "LOOK_PAUSE", 0.01)
    image = f"{scene.cluster.host}/{scene.cluster.name}"
    await scene.pod("one", f"{image}:1", f"{image}@{scene.cluster.image()}")
    scene.ready, scene.stopping = False, True
    async with scene.started() as warm:
        await asyncio.sleep(0.1)
        assert "not listed yet" in warm.note
        scene.ready = True
        await until(lambda: "not listed yet" not in warm.note)
    assert warm.note.startswith("0 of ")
    assert not scene.seen


async def test_images_are_looked_at_slowly(scene: Scene) -> None:
    image = f"{scene.cluster.host}/{scene.cluster.name}"
    for number in range(2):
        digest = scene.cluster.image(f"image {number}", tag=f"{number}")
        await scene.pod(f"pod-{number}", f"{image}:{number}", f"{image}@{digest}")
    async with scene.started(rate=0.01):
        await until(lambda: scene.seen["denied"])
        await asyncio.sleep(0.2)
    assert scene.seen["denied"] == 1


async def test_an_api_server_that_refuses_the_list_is_asked_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene.started(kube=scene.webhook) as warm:
        await until(lambda: "not listed yet" not in warm.note)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (line,) = [line for line in lines if "running pods" in line]
    assert line.startswith("images of running pods are not verified again: /api/v1/pods: 403 ")


async def test_an_api_server_that_is_away_is_waited_for(
    scene: Scene, api_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warm_start, "OUTAGE_PAUSE", 0.01)
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        found = json.loads(api_server.kubeconfig().read_text())
        found["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(found))
        away = await client.by_kubeconfig(path)
        async with scene.started(kube=away) as warm:
            await asyncio.sleep(0.2)
            assert "not listed yet" in warm.note
        await away.close()
    assert "not verified again" not in caplog.text
