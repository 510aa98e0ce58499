"""What users are told when an API server cannot ask a webhook: each text of docs/troubleshooting.md, by its cause."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import API_SERVER
from tests.kube import broken
from tests.kube.apiserver import Server, webhook_service
from tests.kube.broken import Answering

pytestmark = pytest.mark.tools(*API_SERVER)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/troubleshooting.md"
NAME = "pods.countersign.dev"
SERVICE, NAMESPACE = "countersign", "{namespace}"
ROUTED = ("empty", "elsewhere")  # what only an API server notices that dials pods
PATIENCE_SECONDS = 20.0
FAILED = f'Error from server (InternalError): Internal error occurred: failed calling webhook "{NAME}": '
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Webhook:
    """One that works, but for what is said here. `text` is what users see, as the document has it."""

    id: str
    text: str
    answer: Answering = broken.allow
    listens: str = "yes"  # "no": its port is closed; "deaf": connections to it do not come about
    speaks_tls: bool = True
    host: str = f"{SERVICE}.{NAMESPACE}.svc"
    issued_ago: timedelta = timedelta()
    trusted: bool = True
    service: str = "there"  # "gone"; "empty": no pod is ready; "elsewhere": on another port


BROKEN = (
    Webhook("slow", "context deadline exceeded", answer=broken.hang),
    Webhook("packets dropped", "context deadline exceeded", listens="deaf"),
    Webhook("port closed", "connect: connection refused", listens="no"),
    Webhook("no pod ready", 'no endpoints available for service "…"', service="empty"),
    Webhook("another port", 'no service port … found for service "…"', service="elsewhere"),
    Webhook("service gone", 'service "…" not found', service="gone"),
    Webhook("another authority", "x509: certificate signed by unknown authority…", trusted=False),
    Webhook("another name", "x509: certificate is valid for …, not …", host=f"{SERVICE}.elsewhere.svc"),
    Webhook("expired", "x509: certificate has expired or is not yet valid: …", issued_ago=timedelta(days=31)),
    Webhook("no TLS", "http: server gave HTTP response to HTTPS client", speaks_tls=False),
    Webhook("closed meanwhile", "EOF", answer=broken.close),
    Webhook("wrong path", "the server could not find the requested resource", answer=broken.find_nothing),
    Webhook(
        "failed", 'an error on the server ("…") has prevented the request from succeeding', answer=broken.fail
    ),
    Webhook("another's answer", 'expected response.uid="…", got "…"', answer=broken.allow_another),
)  # fmt: skip


@pytest.fixture(scope="module")
def dialling_pods(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API server that looks for pods behind a Service by itself, as those of EKS and GKE do."""
    flags = ("--enable-aggregator-routing=true",)
    with Server(tmp_path_factory.mktemp("api-server"), tools, flags=flags) as running:
        yield running


@contextlib.asynccontextmanager
async def listening(webhook: Webhook, namespace: str, folder: Path) -> AsyncIterator[tuple[int, bytes]]:
    """The port of `webhook`, and the authority by which it should be trusted."""
    authority, pair = broken.issued(webhook.host.replace(NAMESPACE, namespace), ago=webhook.issued_ago)
    another, _ = broken.issued("another", ago=webhook.issued_ago)
    bundle = (authority if webhook.trusted else another).pem
    if webhook.listens == "deaf":
        with broken.swallowing() as port:
            yield port, bundle
        return
    async with broken.answering(
        webhook.answer, broken.context_of(pair, folder) if webhook.speaks_tls else None
    ) as port:  # fmt: skip
        yield port if webhook.listens == "yes" else 1, bundle


@dataclass(frozen=True, slots=True)
class Site:
    """A namespace whose pods are asked about."""

    server: Server
    namespace: str

    async def run(self) -> subprocess.CompletedProcess[str]:
        arguments = ("run", "app", "--image=shop:1", f"--namespace={self.namespace}", "--dry-run=server")
        return await asyncio.to_thread(self.server.kubectl, *arguments, check=False)

    async def until_refused(self, *, refused: bool) -> str:
        """What kubectl says, once a change of the configuration has reached the API server."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (said := await self.run()).returncode != refused:
                await asyncio.sleep(0.05)
        return said.stderr


@contextlib.asynccontextmanager
async def asked(server: Server, webhook: Webhook, folder: Path) -> AsyncIterator[Site]:
    namespace = await asyncio.to_thread(server.namespace, f"breaks-{next(_numbers)}")
    async with listening(webhook, namespace, folder) as (port, bundle):
        objects = [*services(webhook, namespace, port), configuration(namespace, port, bundle, policy="Fail")]
        await asyncio.to_thread(server.apply, *objects)
        yield Site(server, namespace)
        await asyncio.to_thread(server.kubectl, "delete", "validatingwebhookconfiguration", namespace)


def services(webhook: Webhook, namespace: str, port: int) -> list[Any]:
    if webhook.service == "gone":
        return []
    if webhook.service not in ROUTED:
        return [webhook_service(namespace)]
    ports = [{"port": port if webhook.service == "empty" else 443, "targetPort": 9443}]
    spec = {"selector": {"app": "countersign"}, "ports": ports}
    metadata = {"name": SERVICE, "namespace": namespace}
    return [{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}]


def configuration(namespace: str, port: int, bundle: bytes, *, policy: str) -> dict[str, Any]:
    where = {"name": SERVICE, "namespace": namespace, "path": "/validate", "port": port}
    entry = {
        "name": NAME,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": policy,
        "timeoutSeconds": 2,
        "clientConfig": {"service": where, "caBundle": base64.b64encode(bundle).decode()},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [entry],
    }


@pytest.mark.parametrize("webhook", BROKEN, ids=attrgetter("id"))
async def test_users_are_told_this_with_fail_and_nothing_with_ignore(
    request: pytest.FixtureRequest, webhook: Webhook, tmp_path: Path
) -> None:
    server: Server = request.getfixturevalue("dialling_pods" if webhook.service in ROUTED else "api_server")
    async with asked(server, webhook, tmp_path) as site:
        said = await site.until_refused(refused=True)
        assert said.startswith(FAILED)
        assert pattern(webhook.text).search(said), said
        ignore = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
        patch = ("patch", "validatingwebhookconfiguration", site.namespace, "--type=json", f"-p={json.dumps(ignore)}")
        await asyncio.to_thread(server.kubectl, *patch)
        assert await site.until_refused(refused=False) == ""


async def test_a_webhook_that_works_is_asked(api_server: Server, tmp_path: Path) -> None:
    """The near miss of them all: what is broken above is not the test's own."""
    heard: list[bytes] = []

    async def hear(body: bytes) -> bytes:
        heard.append(body)
        return await broken.allow(body)

    async with (
        asked(api_server, Webhook("heard", "", answer=hear), tmp_path) as site,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        while not heard:
            assert (await site.run()).returncode == 0


async def test_an_answer_that_asks_to_come_back_is_no_failure(api_server: Server, tmp_path: Path) -> None:
    """As a replica that is full answers: the API server comes back by itself."""
    heard: list[bytes] = []

    async def be_full_once(body: bytes) -> bytes:
        heard.append(body)
        return broken.FULL if len(heard) == 1 else await broken.allow(body)

    webhook = Webhook("full", "", answer=be_full_once)
    async with asked(api_server, webhook, tmp_path) as site, asyncio.timeout(PATIENCE_SECONDS):
        while len(heard) < 2:
            assert (await site.run()).returncode == 0


def pattern(text: str) -> re.Pattern[str]:
    """Of what ends a message: `…` stands for what differs from case to case."""
    return re.compile(".*".join(map(re.escape, text.split("…"))) + r"\n?$")


def test_the_document_has_these_texts_and_no_others() -> None:
    _, _, section = DOCUMENT.read_text().partition("| the message ends with |")
    table = re.findall(r"^\| `([^|]+)` \|", section, re.MULTILINE)
    assert sorted(table) == sorted({webhook.text for webhook in BROKEN})
