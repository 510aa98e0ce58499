"""The real webhook on loopback for a test, with its ports, its authority, and the records that it wrote."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.admission import checker
from webhook import composition, runtime, settings
from webhook.settings import Settings

EXEMPT = "registry.k8s.io/pause:3.10"
UNEXEMPT = "127.0.0.1:1/shop:1"  # nothing listens there, and the operator does not allow loopback


@dataclass
class Serving:
    folder: Path
    service: runtime.Service
    client: httpx.AsyncClient
    operations: httpx.AsyncClient
    stop: asyncio.Event
    finished: asyncio.Future[None] = field(repr=False)

    async def post(self, body: bytes, *, query: str = "?timeout=10s", **headers: str) -> httpx.Response:
        """The answer to a body sent as an API server sends one; `content_type` overrides."""
        sent = {"content-type": "application/json", "user-agent": "kube-apiserver-admission"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"/validate{query}", content=body, headers=sent)

    async def ask(self, document: Mapping[str, Any], *, query: str = "?timeout=10s") -> checker.Answer:
        """The decision, which an API server would take for one."""
        response = await self.post(json.dumps(document).encode(), query=query)
        return checker.check(
            response.content,
            uid=document["request"]["uid"],
            status=response.status_code,
            content_type=response.headers["content-type"],
        )

    async def record(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The record of this review, once it is written."""
        uid = document["request"]["uid"].encode()
        async with asyncio.timeout(10):
            while True:
                for line in (self.folder / "audit.jsonl").read_bytes().splitlines(keepends=True):
                    if uid in line and line.endswith(b"\n"):
                        found: dict[str, Any] = json.loads(line)
                        return found
                await asyncio.sleep(0.01)

    async def metric(self, line: str) -> float:
        """The value of the metric that stands in the exposition as `line`; 0 where it does not."""
        text = (await self.operations.get("/metrics")).text
        return next((float(found.rpartition(" ")[2]) for found in text.splitlines() if found.startswith(line + " ")), 0)


@asynccontextmanager
async def serving(
    folder: Path,
    configured: Settings | None = None,
    *,
    mode: str = "enforce",
    key: str | None = None,
    spec: Mapping[str, object] | None = None,
) -> AsyncIterator[Serving]:
    """The webhook answers, with one policy: that of `spec`, or registry.k8s.io exempt and `key`, or one that signed
    nothing."""
    write_policy(folder / "policies", mode=mode, key=key, spec=spec)
    configured = configured or Settings(trust=settings.Trust(refresh_interval=None))
    server = replace(
        configured.server,
        address="127.0.0.1",
        admission_port=0,
        operations_port=0,
        names=("localhost",),
        ca_out_file=folder / "ca.pem",
        shutdown_delay=0.0,
        shutdown_grace=2.0,
    )
    policy = replace(configured.policy, directory=folder / "policies")
    configured = replace(configured, server=server, policy=policy)
    with (folder / "audit.jsonl").open("wb") as audit:
        service = runtime.Service(composition.build(configured, audit_descriptor=audit.fileno()))
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(service.run(stop, ready=ready.set))
        running.add_done_callback(lambda _: ready.set())
        try:
            await ready.wait()
            trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
            async with (
                httpx.AsyncClient(
                    base_url=f"https://localhost:{service.admission_port}", verify=trust, timeout=30
                ) as client,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.operations_port}") as operations,
            ):
                yield Serving(folder, service, client, operations, stop, running)
        finally:
            stop.set()
            await running


def write_policy(
    folder: Path, *, mode: str = "enforce", key: str | None = None, spec: Mapping[str, object] | None = None
) -> None:
    folder.mkdir(exist_ok=True)
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    policy = {
        "apiVersion": "countersign.dev/v1",
        "kind": "TrustPolicy",
        "metadata": {"name": "test"},
        "spec": spec
        or {
            "mode": mode,
            "trustedKeys": [{"name": "release", "publicKey": key or pem}],
            "exemptRegistries": ["registry.k8s.io"],
        },
    }
    (folder / "test.yaml").write_text(json.dumps(policy))


def listed(host: str) -> Settings:
    """Settings that allow plain HTTP to `host` on loopback."""
    entry = settings.RegistryHost(host, insecure_http=True, loopback=True)
    offline = settings.Trust(refresh_interval=None)
    return Settings(registry=settings.Registry(hosts=(entry,)), trust=offline)


def review(*images: str, operation: str = "CREATE", **request: Any) -> dict[str, Any]:
    """An AdmissionReview for a pod of `images`; `request` overrides fields of the request."""
    pod = pod_of(*images)
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    fields: dict[str, Any] = {
        "uid": str(uuid.uuid4()),
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": "shop",
        "namespace": "shop",
        "operation": operation,
        "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": fields | request}


def pod_of(*images: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop", "namespace": "shop"} | metadata,
        "spec": {"containers": [{"name": f"c{index}", "image": image} for index, image in enumerate(images)]},
    }
