"""Pinning before a real API server: both webhooks are called as they are in a cluster, and objects are what it stores.

Webhooks are served by this process. What defaulting, a second mutating webhook, re-invocation and controllers make of
patched objects is the API server's to say.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.admission.pinned import ON, Scene, scene
from tests.cluster.certificates import Authority
from tests.conftest import API_SERVER
from tests.doubles.verifying import RELEASE
from tests.kube.apiserver import Server, webhook_service
from webhook import settings
from webhook.audit.sinks import Metrics
from webhook.audit.trail import Trail
from webhook.kube import client
from webhook.kube.client import Kube, KubeError
from webhook.web import server
from webhook.web.app import Admission
from webhook.web.entrance import LARGE_BODIES, Entrance, Life

pytestmark = pytest.mark.tools(*API_SERVER)

_numbers = itertools.count(1)


@dataclass
class Site:
    """A namespace whose pods both entries see; the registry, and who pins, are `at`'s."""

    server: Server
    namespace: str
    at: Scene
    kube: Kube

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    async def create(self, pod: dict[str, Any]) -> list[dict[str, Any]]:
        """The containers that the API server stored."""
        containers: list[dict[str, Any]] = (await self.kube.create(self.pods, pod))["spec"]["containers"]
        return containers

    async def refused(self, pod: dict[str, Any]) -> KubeError:
        """Why the API server did not store it."""
        with pytest.raises(KubeError) as caught:
            await self.kube.create(self.pods, pod)
        return caught.value

    async def kubectl(self, *arguments: str, stdin: str = "") -> str:
        done = await asyncio.to_thread(self.server.kubectl, f"--namespace={self.namespace}", *arguments, stdin=stdin)
        return done.stdout


@contextlib.asynccontextmanager
async def site(
    api_server: Server, folder: Path, configured: settings.Pin = ON, *, pins: bool = True
) -> AsyncIterator[Site]:
    """`pins` says whether the mutating entry is registered."""
    namespace = await asyncio.to_thread(api_server.namespace, f"pinning-{next(_numbers)}")
    authority = Authority(folder)
    certificate, key = authority.issue("server", common_name="countersign", hosts=[f"countersign.{namespace}.svc"])
    async with scene(configured=configured) as at:
        metrics, trail = Metrics(hosts={}, version="0"), Trail((), dropped=lambda sink, count: None)
        shared: dict[str, Any] = {
            "trail": trail,
            "metrics": metrics,
            "life": Life(problems=dict, notes=dict),
            "large": asyncio.Semaphore(LARGE_BODIES),
            "body_max_bytes": settings.Admission().body_max_bytes,
            "fails_open": lambda: False,
        }
        entrances: dict[str, ASGIApp] = {
            "/validate": Entrance(webhook="pods", reviewer=at.pods, **shared),
            "/mutate": Entrance(webhook="pin", reviewer=at.pinning, **shared),
            "/inject": Injector(f"{at.image}:1"),
        }
        app = Admission(entrances)
        listener = server.listen("127.0.0.1", 0, "a free port")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        async with server.running(server.make(app, settings.Server(), context), listener):
            port = listener.getsockname()[1]
            registered = configurations(namespace, authority.certificate.read_bytes(), port, pins=pins)
            await asyncio.to_thread(api_server.apply, webhook_service(namespace), *registered)
            kube = await client.by_kubeconfig(api_server.kubeconfig(), namespace=namespace)
            try:
                yield Site(api_server, namespace, at, kube)
            finally:
                await kube.close()
                named = [f"{one['kind'].lower()}/{one['metadata']['name']}" for one in registered]
                await asyncio.to_thread(api_server.kubectl, "delete", *named)
    await trail.close(grace=1)


def configurations(namespace: str, authority: bytes, port: int, *, pins: bool) -> list[dict[str, Any]]:
    def entry(name: str, path: str, **fields: Any) -> dict[str, Any]:
        return webhook(name, path, namespace, authority, port) | fields

    again = {"reinvocationPolicy": "IfNeeded"}
    pinning = entry("pin.countersign.dev", "/mutate", failurePolicy="Ignore", timeoutSeconds=5, **again)
    return [
        *([configuration("Mutating", namespace, pinning)] if pins else []),
        # Configurations are called in the order of their names: this one after pinning.
        configuration("Mutating", namespace, entry("sidecars.countersign.test", "/inject")),
        configuration("Validating", namespace, entry("pods.countersign.dev", "/validate")),
    ]


class Injector:
    """A mutating webhook of somebody else's: pods that ask for it get a sidecar."""

    def __init__(self, image: str) -> None:
        self._image = image

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            received: Any = await receive()
            body, more = body + received.get("body", b""), received.get("more_body", False)
        request = json.loads(body)["request"]
        response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        containers = request["object"]["spec"]["containers"]
        if "inject" in request["object"]["metadata"].get("labels", {}) and len(containers) == 1:
            sidecar = {"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": self._image}}
            patch = base64.b64encode(json.dumps([sidecar]).encode()).decode()
            response |= {"patchType": "JSONPatch", "patch": patch}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": json.dumps(review).encode()})


def configuration(kind: str, namespace: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": f"{namespace}-{entry['name']}"},
        "webhooks": [entry],
    }


def webhook(name: str, path: str, namespace: str, authority: bytes, port: int) -> dict[str, Any]:
    def rule(resource: str, *operations: str) -> dict[str, Any]:
        return {"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": [resource]}

    service = {"namespace": namespace, "name": "countersign", "port": port, "path": path}
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
        "clientConfig": {"service": service, "caBundle": base64.b64encode(authority).decode()},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [rule("pods", "CREATE", "UPDATE"), rule("pods/ephemeralcontainers", "UPDATE")],
    }


def pod(name: str, *images: str, **metadata: Any) -> dict[str, Any]:
    containers = [{"name": f"c{index}", "image": image} for index, image in enumerate(images)]
    spec = {"containers": containers, "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


async def test_the_api_server_stores_the_digest_that_was_verified(api_server: Server, tmp_path: Path) -> None:
    async with site(api_server, tmp_path) as there:
        at = there.at
        stored = await there.create(pod("tagged", f"{at.image}:1", f"{at.image}@{at.signed}"))
        assert [one["image"] for one in stored] == [f"{at.image}:1@{at.signed}", f"{at.image}@{at.signed}"]
        assert [line for line in at.asked if line.endswith("/1")] == ["HEAD /v2/pay/api/manifests/1"]
        unsigned = await there.refused(pod("unsigned", f"{at.image}:unsigned"))
        assert (unsigned.status, "no_signature" in unsigned.detail) == (403, True)
        missing = await there.refused(pod("missing", f"{at.image}:missing"))
        assert (missing.status, "not_pinned" in missing.detail) == (503, True)
        annotations = [event.get("annotations", {}) for event in api_server.audit()]
        pinned = [found["pin.countersign.dev/pinned"] for found in annotations if "pin.countersign.dev/pinned" in found]
        assert f"{at.image}:1@{at.signed}" in pinned


async def test_how_images_are_pulled_is_settled_before_they_are_pinned(api_server: Server, tmp_path: Path) -> None:
    """Without a tag `Always`: defaulting has read the reference as it was written."""
    async with site(api_server, tmp_path) as there:
        at = there.at
        at.cluster.sign(at.cluster.image("signed", tag="latest"), RELEASE)
        texts = (at.image, f"{at.image}:latest", f"{at.image}:1", f"{at.image}@{at.signed}")
        stored = await there.create(pod("pulled", *texts))
        assert [(one["image"], one["imagePullPolicy"]) for one in stored] == [
            (f"{at.image}@{at.signed}", "Always"),
            (f"{at.image}:latest@{at.signed}", "Always"),
            (f"{at.image}:1@{at.signed}", "IfNotPresent"),
            (f"{at.image}@{at.signed}", "IfNotPresent"),
        ]


async def test_a_sidecar_injected_later_is_pinned_when_pinning_is_asked_again(
    api_server: Server, tmp_path: Path
) -> None:
    async with site(api_server, tmp_path) as there:
        pinned = f"{there.at.image}:1@{there.at.signed}"
        stored = await there.create(pod("meshed", f"{there.at.image}:1", labels={"inject": "please"}))
        assert [(one["name"], one["image"]) for one in stored] == [("c0", pinned), ("sidecar", pinned)]


async def test_a_dry_run_and_an_ephemeral_container_by_kubectl(api_server: Server, tmp_path: Path) -> None:
    async with site(api_server, tmp_path) as there:
        tagged, pinned = f"{there.at.image}:1", f"{there.at.image}:1@{there.at.signed}"
        shown = await there.kubectl("run", "shop", f"--image={tagged}", "--dry-run=server", "-o", "json")
        assert json.loads(shown)["spec"]["containers"][0]["image"] == pinned
        await there.create(pod("shop", tagged))
        await there.kubectl("debug", "shop", f"--image={tagged}", "--container=debug")
        found = await there.kube.get(f"{there.pods}/shop")
        assert [one["image"] for one in found["spec"]["ephemeralContainers"]] == [pinned]


async def test_without_the_mutating_webhook_tags_are_refused_for_now(api_server: Server, tmp_path: Path) -> None:
    async with site(api_server, tmp_path, pins=False) as there:
        there.at.installed = False
        error = await there.refused(pod("tagged", f"{there.at.image}:1"))
        assert (error.status, error.reason) == (503, "ServiceUnavailable")
        assert "not_pinned   pinning is on, and the reference has no digest" in error.detail
        assert await there.create(pod("digested", f"{there.at.image}@{there.at.signed}"))


class Operator:
    """A controller that compares the image that runs with the one it wants, and makes its pod anew if they differ."""

    def __init__(self, there: Site) -> None:
        self._there, self.wanted = there, f"{there.at.image}:1"
        self.made = 0

    async def reconcile(self) -> None:
        found = (await self._there.kube.get(self._there.pods))["items"]
        if found and found[0]["spec"]["containers"][0]["image"] == self.wanted:
            return
        for one in found:
            await self._there.kube.delete(f"{self._there.pods}/{one['metadata']['name']}")
        owner = {"apiVersion": "db.example.com/v1", "kind": "Cluster", "name": "db", "uid": "u1", "controller": True}
        await self._there.create(pod("db", self.wanted, ownerReferences=[owner]))
        self.made += 1


@pytest.mark.parametrize(("excluded", "made"), [((), 3), (("Cluster.db.example.com",), 1)], ids=["pinned", "excluded"])
async def test_an_operator_that_compares_images_needs_its_pods_left_alone(
    api_server: Server, tmp_path: Path, excluded: tuple[str, ...], made: int
) -> None:
    configured = settings.Pin(enabled=True, exclude_owners=excluded)
    async with site(api_server, tmp_path, configured) as there:
        operator = Operator(there)
        for _ in range(3):
            await operator.reconcile()
        assert operator.made == made
