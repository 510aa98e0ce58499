"""The chart on a real API server without a node: its objects are applied, and its webhook is served in this process.

What a pod of the chart's Deployment would be, this process is: by the rendered environment, as the rendered service
account, with the rights of the rendered roles, reached by the API server through the rendered webhook configurations,
whose `caBundle` the server itself publishes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from tests.chart.rendering import NAMESPACE, RELEASE, Object, Rendered, Values, render
from tests.conftest import TOOLS
from tests.doubles.registry import HostileRegistry, running
from tests.doubles.verifying import RELEASE as SIGNER
from tests.doubles.verifying import Shelf
from tests.kube.apiserver import ADMIN, Server, User, webhook_service
from webhook import composition, environment, installation, runtime
from webhook.settings import Settings

ACCOUNT = User(
    f"system:serviceaccount:{NAMESPACE}:{RELEASE}",
    ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"),
)
POD = "countersign-5d8c7b9f64-x2x9p"
WITHOUT = ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "Job", "Pod")  # what needs a node
CONFIGURATIONS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
SECONDS = 30.0
STATUS = "countersign.dev/status"


@dataclass
class Installed:
    """`folder` holds the records; `files` are settings that name what a pod has mounted; `service` serves now."""

    server: Server
    folder: Path
    rendered: Rendered
    registries: Sequence[Mapping[str, object]]
    files: Mapping[str, str] = field(default_factory=dict)
    service: runtime.Service = field(init=False)
    operations: httpx.AsyncClient = field(init=False)

    async def kubectl(self, *arguments: str, stdin: str = "", user: str = ADMIN) -> subprocess.CompletedProcess[str]:
        """What it wrote and returned, whatever that is."""

        def call() -> subprocess.CompletedProcess[str]:
            return self.server.kubectl(*arguments, stdin=stdin, user=user, check=False)

        return await asyncio.to_thread(call)

    async def apply(self, *objects: Object, user: str = ADMIN) -> subprocess.CompletedProcess[str]:
        """What `kubectl apply` wrote and returned; on the server's side, since annotations do not hold a megabyte."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return await self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=listed, user=user)

    async def get(self, kind: str, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        done = await self.kubectl("get", kind, name, f"--namespace={namespace}", "--output=json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    async def status(self, name: str) -> dict[str, Any]:
        """What the webhook wrote on the ConfigMap; empty where nothing is."""
        annotations = (await self.get("configmap", name))["metadata"].get("annotations", {})
        found: dict[str, Any] = json.loads(annotations.get(STATUS, "{}"))
        return found

    async def readyz(self) -> tuple[int, dict[str, Any]]:
        response = await self.operations.get("/readyz?verbose")
        return response.status_code, response.json()

    async def until(self, holds: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        """What the coroutine that `holds` makes returns, once that is true."""
        deadline = time.monotonic() + seconds
        while not (found := await holds()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            await asyncio.sleep(0.02)
        return found

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return (await self.readyz())[0] == 200

        await self.until(is_ready, "ready")

    async def register(self, *kinds: str) -> None:
        """The webhook configurations are there, and lead to this process."""
        found = [self.rendered.one(kind) for kind in kinds or CONFIGURATIONS if self.rendered.all(kind)]
        for entry in (entry for one in found for entry in one["webhooks"]):
            entry["clientConfig"]["service"]["port"] = self.service.admission_port
        done = await self.apply(*found)
        assert done.returncode == 0, done.stderr

    async def unregister(self) -> None:
        """Nothing is asked any more."""
        kinds = ",".join(CONFIGURATIONS)
        await self.kubectl("delete", kinds, f"--selector=app.kubernetes.io/instance={RELEASE}")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """A replica serves, from start to end; it need not be ready yet."""
        configured = self._configured()
        kube = await installation.connect(configured.cluster)
        with (self.folder / "audit.jsonl").open("ab") as audit:
            parts = composition.build(configured, kube=kube, audit_descriptor=audit.fileno())
            self.service = runtime.Service(parts)
            stop, listening = asyncio.Event(), asyncio.Event()
            running = asyncio.create_task(self.service.run(stop, ready=listening.set))
            running.add_done_callback(lambda _: listening.set())
            try:
                await listening.wait()
                base = f"http://127.0.0.1:{self.service.operations_port}"
                async with httpx.AsyncClient(base_url=base, timeout=30) as self.operations:
                    yield
            finally:
                stop.set()
                await running

    def _configured(self) -> Settings:
        path = self.folder / "registries.json"
        hosts = [{"insecureHTTP": True, "loopback": True, **one} for one in self.registries]
        path.write_text(json.dumps({"registries": hosts}))
        configured = environment.read(
            {
                **self.rendered.environment,
                "COUNTERSIGN_NAMESPACE": NAMESPACE,
                "COUNTERSIGN_POD": POD,
                "COUNTERSIGN_KUBECONFIG": str(self.server.kubeconfig(ACCOUNT.name)),
                "COUNTERSIGN_REGISTRIES": str(path),
                "COUNTERSIGN_ADDRESS": "127.0.0.1",
                "COUNTERSIGN_ADMISSION_PORT": "0",
                "COUNTERSIGN_OPERATIONS_PORT": "0",
                "COUNTERSIGN_SHUTDOWN_DELAY": "0",
                "COUNTERSIGN_TRUST_REFRESH": "off",
                **self.files,
            }
        )
        return replace(configured, server=replace(configured.server, shutdown_grace=2.0))


@asynccontextmanager
async def installed(
    server: Server,
    folder: Path,
    values: Values | None = None,
    *,
    registries: Sequence[Mapping[str, object]] = (),
    files: Mapping[str, str] | None = None,
) -> AsyncIterator[Installed]:
    """The chart's release is applied by `values`, and a replica serves and is ready.

    `registries` are entries of the registries file, which speak plain HTTP; `server` knows the user `ACCOUNT`.
    """
    rendered = render(values)
    await asyncio.to_thread(server.namespace, NAMESPACE)
    made = Installed(server, folder, rendered, registries, files or {})
    async with AsyncExitStack() as opened:
        done = await made.apply(*_objects(rendered))
        assert done.returncode == 0, done.stderr
        await opened.enter_async_context(made.serving())
        await made.register()
        opened.push_async_callback(made.unregister)
        await made.ready()
        yield made


@asynccontextmanager
async def shop(folder: Path, values: Values, *users: User) -> AsyncIterator[tuple[Installed, Shelf]]:
    """The release on an API server of its own with a namespace `shop`, and images: `:1` is signed, `:unsigned` not."""
    async with AsyncExitStack() as opened:
        stored = HostileRegistry()
        shelf = Shelf(await opened.enter_async_context(running(stored)), stored)
        shelf.sign(shelf.image("signed"), SIGNER)
        shelf.image("unsigned", tag="unsigned")
        server = opened.enter_context(Server(folder / "api", TOOLS / "bin", ACCOUNT, *users))
        server.namespace("shop")
        at = await opened.enter_async_context(installed(server, folder, values, registries=[{"host": shelf.host}]))
        yield at, shelf


def configmap(name: str, text: str) -> dict[str, Any]:
    """A ConfigMap of the release's namespace that holds policies."""
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"countersign.dev/policy": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {f"{name}.yaml": text}}


def _objects(rendered: Rendered) -> list[Object]:
    """All but what needs a node, and the webhooks, as Helm 4 puts them last."""
    left = (*WITHOUT, *CONFIGURATIONS)
    kept = [one for one in rendered.objects if one["kind"] not in left and not _is_hook(one)]
    return [webhook_service(NAMESPACE, RELEASE), *kept]


def _is_hook(found: Mapping[str, Any]) -> bool:
    return "helm.sh/hook" in found["metadata"].get("annotations", {})
