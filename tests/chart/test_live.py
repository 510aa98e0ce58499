"""The chart on a real API server: its schema takes every object, and both Helms install, upgrade and remove it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.chart.releases import Release, get, left
from tests.chart.rendering import CI, MONITORING, Object, render
from tests.cluster.certificates import Authority
from tests.conftest import API_SERVER
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.kube.apiserver import Server

pytestmark = pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART)

ELSEWHERE = {  # kinds that others define
    "Certificate": ("cert-manager.io", "certificates"),
    "Issuer": ("cert-manager.io", "issuers"),
    "PrometheusRule": ("monitoring.coreos.com", "prometheusrules"),
    "ServiceMonitor": ("monitoring.coreos.com", "servicemonitors"),
}
BUNDLES = (
    ("validatingwebhookconfiguration", 0),
    ("validatingwebhookconfiguration", 3),
    ("mutatingwebhookconfiguration", 0),
)
# What an installation makes
KINDS = (
    "validatingwebhookconfigurations,mutatingwebhookconfigurations,clusterroles,clusterrolebindings,"
    "validatingadmissionpolicies,validatingadmissionpolicybindings,deployments,services,secrets,configmaps,"
    "serviceaccounts,roles,rolebindings,poddisruptionbudgets"
)


@pytest.fixture(scope="module")
def server(api_server: Server) -> Server:
    for namespace in ("countersign", "shop", "pay"):
        api_server.namespace(namespace)
    api_server.apply(*(definition(kind, *where) for kind, where in ELSEWHERE.items()))
    for group, resource in ELSEWHERE.values():
        api_server.kubectl("wait", "--for=condition=Established", f"crd/{resource}.{group}", "--timeout=30s")
    return api_server


def definition(kind: str, group: str, resource: str) -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": resource, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


# --- the API server's own schema


@pytest.mark.parametrize("file", CI, ids=lambda path: path.name)
def test_the_api_server_takes_every_object(server: Server, file: Path) -> None:
    objects = render(file=file, apis=[MONITORING]).objects
    assert len(tried(server, *objects).splitlines()) == len(objects)


def test_a_field_that_is_none_is_found_by_that(server: Server) -> None:
    service = render().one("Service")
    wrong = {**service, "spec": {**service["spec"], "sessionAffinty": "None"}}
    with pytest.raises(AssertionError, match="sessionAffinty"):
        tried(server, wrong)


def tried(server: Server, *objects: Object) -> str:
    """What the API server says of `objects` when it would create them."""
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    done = server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed)
    assert "Warning" not in done.stderr
    return done.stdout


# --- Helm itself


@pytest.mark.parametrize("helm", ["helm", "helm4"])
def test_what_was_written_while_it_ran_survives_upgrades_and_nothing_survives_an_uninstall(
    server: Server, tmp_path: Path, helm: str
) -> None:
    namespace = server.namespace(f"life-{helm}")
    call = Release(server, tmp_path, helm, namespace)
    authority = base64.b64encode(Authority(tmp_path / "pki").certificate.read_bytes()).decode()
    call("install", values={"pin": {"enabled": True}})
    write(server, namespace, authority)
    call("upgrade", values={"pin": {"enabled": True}, "failurePolicy": "Fail", "excludedNamespaces": ["cilium"]})
    assert written(server, namespace) == [authority] * 4
    entries = get(server, "validatingwebhookconfiguration/life-countersign", namespace)["webhooks"]
    assert entries[0]["failurePolicy"] == "Fail"
    call("upgrade", values={"webhook": {"enabled": False}})
    assert not left(server, "validatingwebhookconfigurations,mutatingwebhookconfigurations", "life")
    call("rollback", "2")
    assert get(server, "secret/life-countersign-ca", namespace)["data"] == {"ca.crt": authority}
    call("uninstall", "--no-hooks")
    assert not left(server, KINDS, "life")


def write(server: Server, namespace: str, authority: str) -> None:
    """The authority lies in the Secret and in entries of both webhook configurations, as replicas would write it."""
    secret = json.dumps({"data": {"ca.crt": authority}})
    server.kubectl("patch", "secret/life-countersign-ca", f"-n={namespace}", "-p", secret)
    for kind, index in BUNDLES:
        patch = [{"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": authority}]
        server.kubectl("patch", kind, "life-countersign", "--type=json", "-p", json.dumps(patch))


def written(server: Server, namespace: str) -> list[str]:
    secret = get(server, "secret/life-countersign-ca", namespace)["data"]["ca.crt"]
    entries = (get(server, f"{kind}/life-countersign", namespace)["webhooks"][index] for kind, index in BUNDLES)
    return [secret, *(entry["clientConfig"].get("caBundle", "") for entry in entries)]


@pytest.mark.parametrize("helm", ["helm", "helm4"])
def test_two_installations_live_side_by_side(server: Server, tmp_path: Path, helm: str) -> None:
    namespace = server.namespace(f"two-{helm}")
    one, two = (Release(server, tmp_path, helm, namespace, release=name) for name in (f"one-{helm}", f"two-{helm}"))
    one("install")
    two("install")
    assert len(left(server, "validatingwebhookconfigurations", f"one-{helm}")) == 1
    one("uninstall", "--no-hooks")
    assert len(left(server, "validatingwebhookconfigurations", f"two-{helm}")) == 1
    two("uninstall", "--no-hooks")
