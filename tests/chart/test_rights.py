"""What the chart lets the webhook do is what it does, on a real API server: nothing is refused, nothing granted idly.

A replica serves as the chart's service account, by its rendered settings; every feature of them is used once. Then the
API server's own audit log says who asked for what.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.chart.installed import ACCOUNT, CONFIGURATIONS, Installed, configmap, installed
from tests.chart.rendering import NAMESPACE, RELEASE, Object, Rendered, Values
from tests.cluster.certificates import Authority
from tests.conftest import API_SERVER, TOOLS
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.doubles.registry import HostileRegistry, running
from tests.doubles.verifying import RELEASE as SIGNER
from tests.doubles.verifying import Shelf
from tests.kube.apiserver import Server, User
from tests.policy.documents import policy
from tests.test_private_images import TENANT, Private
from webhook.terminal import selftest, unregister
from webhook.terminal.paper import Paper

pytestmark = pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART)

HOOK = User(f"system:serviceaccount:{NAMESPACE}:{RELEASE}-unregister", ("system:serviceaccounts",))
EVERYTHING: Values = {
    "failurePolicy": "Fail",
    "pin": {"enabled": True},
    "workloads": {"customResources": ["argo-rollouts"]},
    "trustSecrets": ["release-key"],
    "pullSecrets": {"mode": "cluster"},
    "events": {"location": "both"},
}
LISTED: Values = {
    "failurePolicy": "Fail",
    "pullSecrets": {"mode": "listed", "namespaces": ["shop"]},
    "events": {"location": "releaseNamespace"},
}
NOTHING: Values = {
    "starterPolicy": False,
    "workloads": {"action": "off"},
    "events": {"location": "off"},
    "warmStart": 0,
    "tls": {"mode": "provided", "secret": "tls"},  # and its authority
}


@dataclass(frozen=True, slots=True)
class Right:
    """What a rule grants for one resource, verb and name; empty is any namespace, and any name."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def covers(self, other: Right) -> bool:
        same = (self.verb, self.group, self.resource) == (other.verb, other.group, other.resource)
        return same and self.namespace in ("", other.namespace) and self.name in ("", other.name)


def granted(rendered: Rendered, account: str) -> Iterator[Right]:
    """All that the chart's bindings grant to the service account."""
    for binding in (*rendered.all("RoleBinding"), *rendered.all("ClusterRoleBinding")):
        if account not in [subject["name"] for subject in binding["subjects"]]:
            continue
        [role] = [one for one in rendered.all(binding["roleRef"]["kind"]) if is_in_role(one, binding)]
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        namespace = binding["metadata"].get("namespace", "")
                        yield from (Right(verb, group, resource, namespace, name) for verb in rule["verbs"])


def is_in_role(role: Object, binding: Object) -> bool:
    same_place = role["metadata"].get("namespace") == binding["metadata"].get("namespace")
    return same_place and bool(role["metadata"]["name"] == binding["roleRef"]["name"])


def asked(server: Server, user: User) -> list[tuple[Right, int]]:
    """All that `user` asked the API server for, and the status of each answer."""
    found: list[tuple[Right, int]] = []
    for one in server.audit():
        if one["user"]["username"] == user.name and (about := one.get("objectRef")):
            named = (about.get("apiGroup", ""), about["resource"], about.get("namespace", ""), about.get("name", ""))
            found.append((Right(one["verb"], *named), one["responseStatus"]["code"]))
    return found


def idle(rights: Iterable[Right], used: Iterable[Right]) -> list[Right]:
    """The rights by which nothing was done."""
    asked_for = list(used)
    return [right for right in rights if not any(map(right.covers, asked_for))]


def check(server: Server, user: User, rendered: Rendered, account: str) -> None:
    requests = asked(server, user)
    assert [right for right, status in requests if status in (401, 403)] == []
    rights = list(granted(rendered, account))
    assert rights
    assert idle(rights, (right for right, _ in requests)) == []


@dataclass(frozen=True, slots=True)
class Site:
    server: Server
    folder: Path
    shelf: Shelf
    stored: HostileRegistry

    def image(self, tag: str) -> str:
        return f"{self.shelf.host}/{self.shelf.name}:{tag}"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """An API server of its own, whose log knows of one installation; a registry in which `signed` is private."""
    async with AsyncExitStack() as opened:
        stored = HostileRegistry()
        shelf = Shelf(await opened.enter_async_context(running(stored)), stored)
        shelf.sign(shelf.image("signed"), SIGNER)
        shelf.image("unsigned", tag="unsigned")
        stored.rules.append(Private("basic", shelf.host))
        server = opened.enter_context(Server(tmp_path / "api", TOOLS / "bin", ACCOUNT, HOOK))
        server.namespace("shop")
        yield Site(server, tmp_path, shelf, stored)


def secret(name: str, namespace: str, kind: str, key: str, value: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "data": data}


def production(*, in_secret: bool) -> dict[str, Any]:
    trusted: Mapping[str, Any] = {"secret": {"name": "release-key"}} if in_secret else {"publicKey": SIGNER.public_pem}
    more = f"  trustedKeys: {json.dumps([{'name': 'release', **trusted}])}\n"
    return configmap("production", policy("production", more=more))


async def prepare(site: Site) -> None:
    """What tenants and the platform's team have, beside the chart."""
    pair = base64.b64encode(f"{TENANT.username}:{TENANT.password}".encode()).decode()
    config = json.dumps({"auths": {site.shelf.host: {"auth": pair}}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}}
    site.server.namespace(NAMESPACE)
    site.server.apply(
        secret("release-key", NAMESPACE, "Opaque", "cosign.pub", SIGNER.public_pem),
        secret("regcred", "shop", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", config),
        {**account, "imagePullSecrets": [{"name": "regcred"}]},
    )


async def use_everything(site: Site, at: Installed, *, in_secret: bool) -> None:
    """Every feature of the installation was used once."""

    async def is_in_force(word: str) -> bool:
        return (await at.status("production")).get("inForce") == word

    assert (await at.apply(production(in_secret=in_secret))).returncode == 0
    await at.until(lambda: is_in_force("this"), "the policy is in force")
    await at.unregister()
    await at.apply(configmap("production", "kind: TrustPolicy\n"))  # slips in while nobody is asked
    await at.until(lambda: is_in_force("last good"), "the last good version is in force")
    await at.register()
    await at.ready()
    for _ in range(2):  # the second time becomes a series, when the replica ends
        await create_pods(site, at)
    deployment = ("create", "deployment", "api", f"--image={site.image('1')}", "-n=shop", "--dry-run=server")
    await at.kubectl(*deployment)
    code = await command(selftest.run, at.server.kubeconfig(ACCOUNT.name))
    assert code == 1  # no name leads from here to a Service


async def create_pods(site: Site, at: Installed) -> None:
    overrides = json.dumps({"spec": {"imagePullSecrets": [{"name": "regcred"}]}})
    for tag in ("1", "unsigned"):
        run = ("run", f"pod-{tag}", f"--image={site.image(tag)}", "-n=shop", f"--overrides={overrides}")
        await at.kubectl(*run, *(("--dry-run=server",) if tag == "1" else ()))


async def command(run: Callable[..., int], kubeconfig: Path) -> int:
    return await asyncio.to_thread(run, RELEASE, kubeconfig=kubeconfig, context=None, paper=Paper(io.StringIO()))


@pytest.mark.parametrize("values", [EVERYTHING, LISTED, NOTHING], ids=["everything", "listed", "nothing"])
async def test_what_is_granted_is_what_is_needed(site: Site, values: Values) -> None:
    await prepare(site)
    files: Mapping[str, str] = {}
    if "tls" in values:
        values, files = provided(site.folder, values)
    hosts = [{"host": site.shelf.host}]
    async with installed(site.server, site.folder, values, registries=hosts, files=files) as at:
        await use_everything(site, at, in_secret="trustSecrets" in values)
        rendered = at.rendered
    check(site.server, ACCOUNT, rendered, RELEASE)
    await uninstall(site, rendered)


def provided(folder: Path, values: Values) -> tuple[Values, Mapping[str, str]]:
    """A certificate of somebody else's authority, as the values name the one and a pod has the other mounted."""
    authority = Authority(folder / "pki")
    certificate, key = authority.issue("server", common_name="countersign", hosts=[f"{RELEASE}.{NAMESPACE}.svc"])
    bundle = {**values["tls"], "caBundle": authority.certificate.read_text()}
    return {**values, "tls": bundle}, {"COUNTERSIGN_CERTIFICATE": str(certificate), "COUNTERSIGN_KEY": str(key)}


async def uninstall(site: Site, rendered: Rendered) -> None:
    """What the chart's hook does before anything is deleted."""
    name = f"{RELEASE}-unregister"
    hooks = [one for one in rendered.objects if one["metadata"]["name"] == name and "Role" in one["kind"]]
    site.server.apply(*hooks, *(one for kind in CONFIGURATIONS for one in rendered.all(kind)))
    assert await command(unregister.run, site.server.kubeconfig(HOOK.name)) == 0
    check(site.server, HOOK, rendered, name)


ONE = Right("patch", "", "configmaps", NAMESPACE, "one")


@pytest.mark.parametrize(
    ("right", "used", "is_idle"),
    [
        (ONE, ONE, False),
        (replace(ONE, name=""), ONE, False),
        (replace(ONE, namespace=""), ONE, False),
        (ONE, replace(ONE, name="two"), True),
        (ONE, replace(ONE, namespace="shop"), True),
        (ONE, replace(ONE, verb="get"), True),
        (ONE, replace(ONE, resource="secrets"), True),
        (ONE, replace(ONE, group="apps"), True),
    ],
)
def test_a_right_is_used_by_what_it_is_for(right: Right, used: Right, is_idle: bool) -> None:
    assert bool(idle([right], [used])) == is_idle
