"""The door to the Kubernetes API, and watching a collection through it, before a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from kubernetes.aio.client import Configuration

from tests.conftest import API_SERVER
from tests.kube.apiserver import Server
from tests.kube.reached import reached
from webhook.errors import OperatorError
from webhook.kube import client
from webhook.kube.client import Kube, KubeError
from webhook.kube.watching import Collection, Objects, Watching

pytestmark = pytest.mark.tools(*API_SERVER)


@pytest.fixture
async def kube(api_server: Server, namespace: str) -> AsyncIterator[Kube]:
    async with reached(api_server, namespace=namespace) as made:
        yield made


class Seen:
    """What `changed` was told last."""

    def __init__(self) -> None:
        self.objects: Objects | None = None
        self._news = asyncio.Event()

    async def __call__(self, objects: Objects) -> None:
        self.objects = objects
        self._news.set()

    async def until(self, holds: Callable[[Objects], bool]) -> Objects:
        async with asyncio.timeout(20):
            while self.objects is None or not holds(self.objects):
                self._news.clear()
                await self._news.wait()
        return self.objects


@contextlib.asynccontextmanager
async def watched(kube: Kube, seen: Seen, **selectors: str) -> AsyncIterator[Watching]:
    path = f"/api/v1/namespaces/{kube.namespace}/configmaps"
    watching = Watching(kube, Collection(path, **selectors), seen)
    task = asyncio.create_task(watching.run())
    try:
        yield watching
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def configmap(name: str, **labels: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


async def test_what_is_there_comes_goes_and_changes(kube: Kube) -> None:
    path, seen = f"/api/v1/namespaces/{kube.namespace}/configmaps", Seen()
    await kube.create(path, configmap("first", wanted="yes"))
    await kube.create(path, configmap("other"))
    async with watched(kube, seen, label_selector="wanted=yes") as watching:
        assert set(await seen.until(lambda objects: len(objects) == 1)) == {"first"}
        assert watching.seconds_unheard < 60
        assert not watching.problem
        await kube.create(path, configmap("second", wanted="yes"))
        await seen.until(lambda objects: "second" in objects)
        await kube.patch(f"{path}/second", {"data": {"a": "2"}})
        objects = await seen.until(lambda objects: objects["second"]["data"] == {"a": "2"})
        assert not any("managedFields" in obj["metadata"] for obj in objects.values())
        await kube.patch(f"{path}/first", {"metadata": {"labels": {"wanted": None}}})
        await seen.until(lambda objects: set(objects) == {"second"})  # a label that is taken off arrives as DELETED
        await kube.delete(f"{path}/second")
        await seen.until(lambda objects: not objects)


async def test_an_object_by_its_name(kube: Kube) -> None:
    path, seen = f"/api/v1/namespaces/{kube.namespace}/configmaps", Seen()
    async with watched(kube, seen, field_selector="metadata.name=one"):
        await seen.until(lambda objects: objects == {})
        await kube.create(path, configmap("one"))
        await kube.create(path, configmap("two"))
        assert set(await seen.until(bool)) == {"one"}


async def test_a_place_that_is_lost_is_found_by_listing(kube: Kube) -> None:
    path, seen = f"/api/v1/namespaces/{kube.namespace}/configmaps", Seen()
    await kube.create(path, configmap("first"))
    async with watched(kube, seen) as watching:
        await seen.until(lambda objects: "first" in objects)
    watching._version = "1"  # long compacted, or from before the API server's cache
    with contextlib.suppress(KubeError):
        async for _ in kube.watch(path, {"resourceVersion": "1", "timeoutSeconds": "1"}, idle=5):
            pass
    await kube.create(path, configmap("second"))
    task = asyncio.create_task(watching.run())
    await seen.until(lambda objects: "second" in objects)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_may_not_watch_is_told_so(api_server: Server, namespace: str) -> None:
    stranger, seen = await client.by_kubeconfig(api_server.kubeconfig("stranger"), namespace=namespace), Seen()
    async with watched(stranger, seen) as watching:
        async with asyncio.timeout(20):
            while not watching.denied:
                await asyncio.sleep(0.01)
        assert "403" in watching.problem
        assert "configmaps is forbidden" in watching.problem
        assert watching.seconds_unheard == float("inf")
    await stranger.close()


async def test_an_api_server_that_goes_away_and_comes_back(tools: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "server", tools) as server:
        kube = await client.by_kubeconfig(server.kubeconfig(), namespace="default")
        path, seen = "/api/v1/namespaces/default/configmaps", Seen()
        await kube.create(path, configmap("kept"))
        async with watched(kube, seen) as watching:
            await seen.until(lambda objects: "kept" in objects)
            await asyncio.to_thread(server.stop)
            async with asyncio.timeout(20):
                while not watching.problem:
                    await asyncio.sleep(0.02)
            assert seen.objects is not None
            assert "kept" in seen.objects
            await asyncio.to_thread(server.start)
            server.apply(configmap("new"))
            await seen.until(lambda objects: "new" in objects)
            assert not watching.problem
        with pytest.raises(KubeError) as missing:
            await kube.get(f"{path}/nobody")
        assert (missing.value.status, missing.value.reason, missing.value.is_outage) == (404, "NotFound", False)
        await kube.close()


async def test_pages(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_ENTRIES", 2)
    path = f"/api/v1/namespaces/{kube.namespace}/configmaps"
    for number in range(5):
        await kube.create(path, configmap(f"c{number}"))
    found, version = await kube.list(path)
    assert len([obj for obj in found if obj["metadata"]["name"].startswith("c")]) == 5
    assert version


async def test_a_conflict_is_said(kube: Kube) -> None:
    path = f"/api/v1/namespaces/{kube.namespace}/configmaps"
    made = await kube.create(path, configmap("one"))
    await kube.patch(f"{path}/one", [{"op": "add", "path": "/data/b", "value": "2"}], kind="json")
    with pytest.raises(KubeError) as conflict:
        await kube.replace(f"{path}/one", made)
    assert conflict.value.status == 409
    with pytest.raises(KubeError) as twice:
        await kube.create(path, configmap("one"))
    assert (twice.value.status, twice.value.reason) == (409, "AlreadyExists")


async def test_nobody_there() -> None:
    configured = Configuration()
    configured.host = "https://127.0.0.1:1"
    kube = Kube(configured)
    with pytest.raises(KubeError) as away:
        await kube.get("/api")
    assert away.value.status == 0
    assert away.value.is_outage
    await kube.close()


async def test_a_kubeconfig_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("clusters: 7")
    for name in ("missing", "broken"):
        with pytest.raises(OperatorError, match=name):
            await client.by_kubeconfig(tmp_path / name)


def test_a_process_that_is_no_pod_has_no_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(OperatorError, match="COUNTERSIGN_KUBECONFIG"):
        client.in_cluster(namespace="countersign")
