"""`unregister` and `selftest`, before a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import API_SERVER
from tests.kube.apiserver import Server
from tests.terminal.conftest import Commands

pytestmark = pytest.mark.tools(*API_SERVER)


def configuration(kind: str, name: str, **webhook: object) -> dict[str, Any]:
    rule = {"apiGroups": ["nothing.example"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}
    entry = {
        "name": "pods.countersign.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "clientConfig": {"service": {"namespace": "nowhere", "name": "countersign", "path": "/validate"}},
        "rules": [rule],
        **webhook,
    }
    version = "admissionregistration.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "webhooks": [entry]}


async def run(commands: Commands, api_server: Server, *argv: object, user: str = "admin") -> Any:
    return await asyncio.to_thread(commands.run, *argv, "--kubeconfig", api_server.kubeconfig(user))


async def test_both_configurations_go_and_no_other(api_server: Server, commands: Commands) -> None:
    kinds = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
    api_server.apply(*(configuration(kind, name) for kind in kinds for name in ("mine", "another")))
    told = await run(commands, api_server, "unregister", "mine")
    assert told.code == 0
    assert told.out.count(": deleted") == 2
    left = api_server.kubectl("get", ",".join(kinds), "-o", "name").stdout.split()
    assert [name.partition("/")[2] for name in left if not name.endswith("stock")].count("another") == 2
    assert not any(name.endswith("/mine") for name in left)
    again = await run(commands, api_server, "unregister", "mine")
    assert again.code == 0
    assert again.out.count(": was not there") == 2


async def test_who_may_not_is_told_so(api_server: Server, commands: Commands) -> None:
    api_server.apply(configuration("ValidatingWebhookConfiguration", "kept"))
    told = await run(commands, api_server, "unregister", "kept", user="stranger")
    assert told.code == 2
    assert "forbidden" in told.err


@pytest.mark.parametrize(
    ("webhook", "said"),
    [
        pytest.param({}, "its caBundle is empty", id="nothing was published"),
        pytest.param({"clientConfig": {"url": "https://example.com/validate"}}, "no service stands", id="an address"),
    ],
)
async def test_what_is_wrong_with_an_entry_is_said(
    api_server: Server, commands: Commands, webhook: dict[str, object], said: str
) -> None:
    api_server.apply(configuration("ValidatingWebhookConfiguration", "tested", **webhook))
    told = await run(commands, api_server, "selftest", "tested")
    assert told.code == 1
    assert said in told.out
    api_server.kubectl("delete", "validatingwebhookconfiguration/tested")


async def test_nothing_is_registered(api_server: Server, commands: Commands) -> None:
    told = await run(commands, api_server, "selftest", "nobody")
    assert told.code == 2
    assert "nothing is judged" in told.err
