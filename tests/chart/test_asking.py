"""What a real API server asks the webhooks about, and what it does not: rules, selectors and conditions as rendered."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.chart.asked import Asked
from tests.chart.rendering import Object, render
from tests.conftest import API_SERVER
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.kube.apiserver import Server, webhook_service

pytestmark = pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART)

KINDS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
ACTIVE_SECONDS = 30.0  # until the API server has read a configuration that was just created


@pytest.fixture(scope="module")
def asked(api_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """The chart's webhooks lead here, for every namespace but those that it excludes."""
    namespace = api_server.namespace("asked")
    api_server.namespace("shop")
    rendered = render({"failurePolicy": "Fail", "pin": {"enabled": True}}, release="asked", namespace=namespace)
    configurations = [rendered.one(kind) for kind in KINDS]
    with Asked(tmp_path_factory.mktemp("asked"), "asked-countersign.asked.svc") as double:
        bundle = base64.b64encode(double.authority.certificate.read_bytes()).decode()
        api_server.apply(
            webhook_service(namespace, "asked-countersign"),
            *(redirected(configuration, double.port, bundle) for configuration in configurations),
        )
        try:
            wait_until_asked(api_server, double)
            yield double
        finally:
            api_server.kubectl("delete", ",".join(KINDS), "asked-countersign")


def wait_until_asked(api_server: Server, double: Asked) -> None:
    deadline = time.monotonic() + ACTIVE_SECONDS
    while {one["path"] for one in double.requests} != {"/mutate", "/validate"}:
        assert time.monotonic() < deadline
        api_server.kubectl("run", "probe", "--image=a", "--dry-run=server", "-n=shop")


def redirected(configuration: Object, port: int, bundle: str) -> Object:
    for entry in configuration["webhooks"]:
        entry["clientConfig"]["service"]["port"] = port
        entry["clientConfig"]["caBundle"] = bundle
    return configuration


POD: Mapping[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "one", "namespace": "shop", "finalizers": ["countersign.test/kept"]},
    "spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]},
}
SIDECARS = {"initContainers": [{"name": "i", "image": "i:1"}, {"name": "s", "image": "s:1", "restartPolicy": "Always"}]}


def image(of: str, index: int, name: str) -> str:
    return json.dumps([{"op": "replace", "path": f"/spec/{of}/{index}/image", "value": name}])


@pytest.mark.parametrize(
    ("spec", "patch", "is_asked"),
    [
        ({}, '[{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]', False),
        ({}, '[{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]', False),
        ({}, '[{"op": "remove", "path": "/metadata/finalizers"}]', False),
        ({}, '[{"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 9}]', False),
        ({}, image("containers", 0, "a:2"), True),
        ({}, image("containers", 1, "b:2"), True),
        ({}, image("containers", 0, "a:1"), False),
        (SIDECARS, '[{"op": "remove", "path": "/metadata/finalizers"}]', False),
        (SIDECARS, image("initContainers", 0, "i:2"), True),
        (SIDECARS, image("initContainers", 1, "s:2"), True),
        (SIDECARS, image("containers", 1, "b:2"), True),
    ],
)
def test_an_update_is_asked_about_where_an_image_changes(
    api_server: Server, asked: Asked, spec: Mapping[str, Any], patch: str, is_asked: bool
) -> None:
    api_server.apply({**POD, "spec": {**POD["spec"], **spec}})
    try:
        asked.requests.clear()
        api_server.kubectl("patch", "pod/one", "-n=shop", "--type=json", "-p", patch)
        assert [one["path"] for one in asked.requests] == (["/mutate", "/validate"] if is_asked else [])
    finally:
        remove(api_server)


def remove(api_server: Server) -> None:
    api_server.kubectl("patch", "pod/one", "-n=shop", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    api_server.kubectl("delete", "pod/one", "-n=shop", "--force", "--grace-period=0")


def test_an_ephemeral_container_is_asked_about(api_server: Server, asked: Asked) -> None:
    api_server.apply(POD)
    try:
        asked.requests.clear()
        api_server.kubectl("debug", "one", "-n=shop", "--image=debug:1", "--container=debug", "--attach=false")
        found = [(one["path"], one["operation"], one["subResource"]) for one in asked.requests]
        assert found == [(path, "UPDATE", "ephemeralcontainers") for path in ("/mutate", "/validate")]
    finally:
        remove(api_server)


@pytest.mark.parametrize(
    ("act", "paths"),
    [
        (("run", "x", "--image=a"), ["/mutate", "/validate"]),
        (("create", "deployment", "x", "--image=a"), ["/validate-workloads"]),
        (("create", "job", "x", "--image=a"), ["/validate-workloads"]),
        (("create", "cronjob", "x", "--image=a", "--schedule=@daily"), ["/validate-workloads"]),
        (("create", "configmap", "x"), []),
        (("create", "service", "clusterip", "x", "--tcp=80"), []),
        (("create", "serviceaccount", "x"), []),
    ],
    ids=lambda part: " ".join(part[:2]),
)
def test_each_kind_is_asked_about_where_it_is_judged(
    api_server: Server, asked: Asked, act: tuple[str, ...], paths: list[str]
) -> None:
    asked.requests.clear()
    api_server.kubectl(*act, "--dry-run=server", "-n=shop")
    assert [one["path"] for one in asked.requests] == paths


@pytest.mark.parametrize("namespace", ["asked", "kube-system", "kube-public", "kube-node-lease"])
def test_excluded_namespaces_are_not_asked_about(api_server: Server, asked: Asked, namespace: str) -> None:
    asked.requests.clear()
    api_server.kubectl("run", "x", "--image=a", "--dry-run=server", f"-n={namespace}")
    api_server.kubectl("create", "deployment", "x", "--image=a", "--dry-run=server", f"-n={namespace}")
    assert asked.requests == []


@pytest.mark.parametrize(
    ("namespace", "labels", "paths"),
    [
        ("asked", {"countersign.dev/policy": "true"}, ["/validate-policy"]),
        ("asked", {"countersign.dev/policy": "false"}, []),
        ("asked", {}, []),
        ("shop", {"countersign.dev/policy": "true"}, []),
    ],
)
def test_policies_are_asked_about_where_they_count(
    api_server: Server, asked: Asked, namespace: str, labels: Mapping[str, str], paths: list[str]
) -> None:
    asked.requests.clear()
    metadata = {"name": "x", "namespace": namespace, "labels": labels}
    document = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    api_server.kubectl("apply", "--dry-run=server", "-f", "-", stdin=document)
    assert [one["path"] for one in asked.requests] == paths


def test_a_label_that_is_taken_off_a_policy_is_asked_about(api_server: Server, asked: Asked) -> None:
    labels = {"countersign.dev/policy": "true"}
    api_server.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p", "namespace": "asked", "labels": labels}}
    )
    asked.requests.clear()
    api_server.kubectl("label", "configmap/p", "-n=asked", "countersign.dev/policy-")
    assert [(one["path"], one["operation"]) for one in asked.requests] == [("/validate-policy", "UPDATE")]
