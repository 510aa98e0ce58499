"""Bad input by name, through a real API server and kubectl: policies, Secrets, pull secrets and objects of any shape.

The webhook is that of the chart, see `tests.chart.installed`. Whatever it was sent, it says what it expected and where,
or takes no notice, and goes on: after each case it is ready, and the good policy is in force.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.chart.installed import ACCOUNT, Installed, installed
from tests.chart.rendering import NAMESPACE
from tests.conftest import API_SERVER, TOOLS
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.doubles.registry import HostileRegistry, running
from tests.doubles.verifying import NAME, RELEASE, STRANGER, Shelf
from tests.kube.apiserver import ADMIN, Server, User
from tests.policy.documents import KEY_A, head, key, policy
from tests.test_private_images import Private
from webhook.kube import client
from webhook.kube.client import Kube

pytestmark = [pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART), pytest.mark.asyncio(loop_scope="module")]

GROUP = "shapes.example.com"  # of a custom resource that may be of any shape
VALUES: Mapping[str, Any] = {
    "failurePolicy": "Fail",
    "noMatch": "deny",
    "starterPolicy": False,
    "trustSecrets": ["release"],
    "pullSecrets": {"mode": "listed", "namespaces": ["shop"]},
    "workloads": {
        "action": "deny",
        "extractors": [{"apiGroup": GROUP, "version": "v1", "resource": "shapes", "podSpecs": ["spec.template.spec"]}],
    },
}
LABELS = {"countersign.dev/policy": "true"}
SECRET = "  trustedKeys:\n    - name: release\n      secret:\n        name: {name}\n"
BY_SECRET = head("by-secret") + SECRET.format(name="release") + "  rules:\n    - images: ['*/by-secret']\n"
HUB = "docker.io/team/app:1"  # which is served on loopback, and wants a password
UNLISTED = "127.0.0.1:1/shop:1"  # which the operator does not allow
MANY = 1_000


@dataclass
class Site:
    at: Installed
    shelf: Shelf
    hub: HostileRegistry
    api: httpx.AsyncClient
    kube: Kube

    @property
    def image(self) -> str:
        return f"{self.shelf.host}/{NAME}"

    async def judged(self, image: str) -> str:
        """What is said of a pod of `image`."""
        return await self.tried(pod(image))

    async def tried(self, obj: Mapping[str, Any] | str, resource: str = "/api/v1/namespaces/shop/pods") -> str:
        """What the API server says where `obj` would be created: as kubectl does, which asks for 20 s on a 503."""
        content = obj if isinstance(obj, str) else json.dumps(obj)
        response = await self.api.post(f"{resource}?dryRun=All", content=content)
        return "created" if response.status_code == 201 else str(response.json()["message"])

    async def until_judged(self, image: str, *words: str) -> None:
        async def said() -> bool:
            told = await self.judged(image)
            return all(word in told for word in words)

        await self.at.until(said, f"{image}: {words}")

    async def policies(self) -> int:
        return int((await self.at.readyz())[1]["notes"]["policies"])

    async def until_policies(self, count: int) -> None:
        async def loaded() -> bool:
            return await self.policies() == count

        await self.at.until(loaded, f"{count} policies")

    async def create(self, *objects: Mapping[str, Any]) -> None:
        """The ConfigMaps are there."""
        places = asyncio.Semaphore(20)

        async def create(obj: Mapping[str, Any]) -> None:
            async with places:
                await self.kube.create(f"/api/v1/namespaces/{NAMESPACE}/configmaps", obj)

        await asyncio.gather(*map(create, objects))

    @asynccontextmanager
    async def unheard(self) -> AsyncIterator[None]:
        """Nothing is asked of the webhook meanwhile."""
        await self.at.unregister()
        try:
            yield
        finally:
            await self.at.register()
            await self.at.ready()
            await self.until_judged(f"{self.image}:unsigned", "no_signature")

    @asynccontextmanager
    async def having(self, obj: Mapping[str, Any]) -> AsyncIterator[str]:
        """`obj` was applied, and is deleted in the end. What kubectl warned of."""
        done = await self.at.apply(obj)
        assert done.returncode == 0, done.stderr
        try:
            yield done.stderr
        finally:
            where = f"--namespace={obj['metadata']['namespace']}"
            await self.at.kubectl("delete", obj["kind"], obj["metadata"]["name"], where, "--ignore-not-found")


def configmap(
    name: str, data: Mapping[str, str] | None = None, binary: Mapping[str, bytes] | None = None
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": LABELS}
    made: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    made |= {"data": data} if data is not None else {}
    encoded = {one: base64.b64encode(content).decode() for one, content in (binary or {}).items()}
    return made | ({"binaryData": encoded} if binary else {})


def secret(name: str, data: Mapping[str, bytes], kind: str = "Opaque", namespace: str = NAMESPACE) -> dict[str, Any]:
    encoded = {one: base64.b64encode(content).decode() for one, content in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "data": encoded}


def pod(*images: object, pull: Sequence[str] = (), **spec: object) -> dict[str, Any]:
    containers = [{"name": f"c{index}", "image": image} for index, image in enumerate(images)]
    named = [{"name": name} for name in pull]
    body = {"containers": containers, "automountServiceAccountToken": False, "imagePullSecrets": named, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "shop"}, "spec": body}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("bad-input")
    async with AsyncExitStack() as opened:
        stored, hub = HostileRegistry(), HostileRegistry()
        shelf = Shelf(await opened.enter_async_context(running(stored)), stored)
        for name, signer in ((NAME, RELEASE), ("by-secret", RELEASE), ("by-stranger", STRANGER)):
            one = Shelf(shelf.host, stored, name=name)
            one.sign(one.image(name), signer)
            one.image("unsigned", tag="unsigned")
        hub_host = await opened.enter_async_context(running(hub))
        private = Shelf(hub_host, hub, name="team/app")
        private.sign(private.image(), RELEASE)
        hub.rules.append(Private("basic"))
        server = opened.enter_context(Server(folder / "api", TOOLS / "bin", ACCOUNT))
        server.namespace("shop")
        server.apply(definition())
        registries = [{"host": shelf.host}, {"host": "docker.io", "endpoint": hub_host}]
        at = await opened.enter_async_context(installed(server, folder, VALUES, registries=registries))
        kube = await client.by_kubeconfig(server.kubeconfig(ADMIN))
        opened.push_async_callback(kube.close)
        made = Site(at, shelf, hub, await opened.enter_async_context(direct(server)), kube)
        await at.apply(configmap("good", {"good.yaml": good()}))
        await made.until_judged(f"{made.image}:1", "created")
        yield made


def direct(server: Server) -> httpx.AsyncClient:
    """As the administrator, to the API itself."""
    context = ssl.create_default_context(cafile=str(server.root / "pki/ca.crt"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {User(ADMIN).token}", "Content-Type": "application/json"}
    return httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{server.port}", verify=context, headers=headers, timeout=30, trust_env=False
    )


def good() -> str:
    return policy("good", more="  trustedKeys:\n" + key("release", RELEASE.public_pem))


def definition() -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "shapes", "singular": "shape", "kind": "Shape", "listKind": "ShapeList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"shapes.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _goes_on(site: Site) -> AsyncIterator[None]:
    yield
    status, told = await site.at.readyz()
    assert (status, told["problems"]) == (200, {})
    await site.until_policies(1)
    assert "created" in await site.judged(f"{site.image}:1")
    assert "no_signature" in await site.judged(f"{site.image}:unsigned")


# --- policies that are refused by `kubectl apply`

NO_KEY = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
GARBAGE = head() + "  trustedKeys:\n" + key("release", NO_KEY)
REFUSED: Mapping[str, tuple[dict[str, Any], Sequence[str]]] = {
    "not YAML": (configmap("bad", {"a.yaml": "kind: [\nfoo"}), ["a.yaml:3:1: not YAML: did not find expected ','"]),
    "a tab": (configmap("bad", {"a.yaml": "kind:\n\tfoo: 1"}), ["a.yaml:2:1: a tab, where YAML takes only spaces"]),
    "a word": (configmap("bad", {"a.yaml": "hello"}), ["a.yaml:1:1: a mapping of fields expected, found 'hello'"]),
    "empty": (configmap("bad", {"a.yaml": ""}), ["a.yaml:1:1: no TrustPolicy found: the file is empty"]),
    "nothing": (configmap("bad"), ["data: a key that ends in .yaml or .yml expected"]),
    "another ending": (configmap("bad", {"policy.json": "{}"}), [".yaml or .yml expected, found policy.json"]),
    "two documents of which one is bad": (
        configmap("bad", {"a.yaml": policy("one") + "---\n" + policy("two", mode="enforced")}),
        ["a.yaml:26:3: spec.mode: 'enforce' or 'warn' expected, found 'enforced'"],
    ),
    "two keys of which one is bad": (
        configmap("bad", {"a.yaml": policy("one"), "b.yaml": policy("two", more="  trustedKey: []\n")}),
        ["b.yaml:5:1: spec: says nothing", "b.yaml:7:3: spec.trustedKey: unknown field; did you mean trustedKeys?"],
    ),
    "binary data": (
        configmap("bad", {"a.yaml": policy("one")}, {"b.yaml": b"\xff\xfe\0"}),
        ["binaryData[b.yaml]: policies are text: put it under data"],
    ),
    "a character that nobody sees": (
        configmap("bad", {"a.yaml": policy("one") + "# \u202e\n"}),
        ["a.yaml:20:3: the character U+202E cannot be seen"],
    ),
    "1 MiB of openings": (configmap("bad", {"a.yaml": "[" * 1_000_000}), ["a.yaml:1:17:", "at most 16 levels"]),
    "1 MiB of fields": (
        configmap("bad", {"a.yaml": policy() + "".join(f"  x{index}: 1\n" for index in range(80_000))}),
        ["a.yaml:25007:11: spec.x24987: too much: at most 50000 values are read"],
    ),
    "more than 1 MiB": (configmap("bad", {"a.yaml": "#" * 2_000_000}), ["may not be more than 1048576 bytes"]),
    "key garbage": (
        configmap("bad", {"a.yaml": GARBAGE}),
        ["a.yaml:9:7: spec.trustedKeys[0].publicKey: there is no public key in it"],
    ),
    "a private key": (
        configmap("bad", {"a.yaml": GARBAGE.replace("PUBLIC", "PRIVATE")}),
        ["spec.trustedKeys[0].publicKey: this is a private key: use the public one (cosign public-key --key KEY)"],
    ),
    "one key twice": (
        configmap("bad", {"a.yaml": head() + "  trustedKeys:\n" + key("one", KEY_A) + key("two", KEY_A)}),
        ["a.yaml:15:7: spec.trustedKeys[1].publicKey: the same key as one in line 8"],
    ),
    "the name of a policy in another ConfigMap": (
        configmap("bad", {"a.yaml": policy("good")}),
        ["a.yaml:4:1: metadata.name: the policy good is in configmap/good already"],
    ),
    "one name twice": (
        configmap("bad", {"a.yaml": policy("one"), "b.yaml": policy("one")}),
        ["b.yaml:4:1: metadata.name: the policy one is in configmap/bad: a.yaml:1 already"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("obj", "said"), REFUSED.values(), ids=REFUSED)
async def test_a_bad_policy_is_refused_by_kubectl_apply(site: Site, obj: dict[str, Any], said: Sequence[str]) -> None:
    done = await site.at.apply(obj)
    assert done.returncode == 1
    for words in said:
        assert words in done.stderr
    assert len(done.stderr) < 3_000
    found = await site.at.kubectl("get", "configmap", "bad", f"--namespace={NAMESPACE}")
    assert "not found" in found.stderr


# --- policies that are taken


async def test_a_policy_of_1_mib_is_taken(site: Site) -> None:
    text = policy("large", more="  exemptRegistries: [registry.example]\n")
    async with site.having(configmap("large", {"a.yaml": text + "#" * (1_000_000 - len(text))})):
        await site.until_policies(2)


async def test_a_thousand_config_maps(site: Site) -> None:
    """Each has a policy, and one of them a mistake; a change of one more is told and in force as ever."""
    async with site.unheard():
        texts = [policy(f"p{index}", more="  exemptRegistries: [registry.example]\n") for index in range(MANY - 1)]
        await site.create(*[configmap(f"many-{index}", {"a.yaml": text}) for index, text in enumerate(texts)])
        await site.create(configmap("many-bad", {"a.yaml": "kind: TrustPolicy\n"}))
    await site.until_policies(MANY)
    status, told = await site.at.readyz()
    assert (status, len(told["notes"]) < 10) == (200, True)
    assert "1:1" in told["notes"]["policy-file configmap/many-bad"]
    done = await site.at.apply(configmap("bad", {"a.yaml": policy("p500")}))
    assert "the policy p500 is in configmap/many-500 already" in done.stderr
    async with site.having(configmap("more", {"a.yaml": policy("more")})):
        await site.until_policies(MANY + 1)
    async with site.unheard():
        others = {"labelSelector": "countersign.dev/policy", "fieldSelector": "metadata.name!=good"}
        (await site.api.delete(f"/api/v1/namespaces/{NAMESPACE}/configmaps", params=others)).raise_for_status()


async def test_a_label_that_is_taken_off_takes_the_policies_along(site: Site) -> None:
    async with site.having(configmap("labelled", {"a.yaml": policy("labelled")})):
        await site.until_policies(2)
        done = await site.at.kubectl("label", "configmap/labelled", "countersign.dev/policy-", f"-n={NAMESPACE}")
        assert done.returncode == 0
        await site.until_policies(1)
        await site.at.kubectl("label", "configmap/labelled", "countersign.dev/policy=true", f"-n={NAMESPACE}")
        await site.until_policies(2)


async def test_what_is_written_while_nobody_watches(site: Site) -> None:
    """Good and bad alike are noticed once the API server is heard again, and what was good before stays in force."""
    async with site.having(configmap("later", {"a.yaml": policy("later")})):
        await site.until_policies(2)
        async with site.unheard():
            await asyncio.to_thread(site.at.server.stop)
            await asyncio.to_thread(site.at.server.start)
            await site.at.apply(configmap("later", {"a.yaml": "kind: TrustPolicy\n"}))
            async with site.having(configmap("also", {"a.yaml": policy("also")})):
                await site.until_policies(3)

                async def told() -> bool:
                    return (await site.at.status("later")).get("inForce") == "last good"

                await site.at.until(told, "the mistake is told")
        assert "a.yaml:1:1" in (await site.at.status("later"))["errors"][0]


# --- keys in Secrets


async def test_a_secret_that_nobody_lets_the_webhook_read(site: Site) -> None:
    text = head("other") + SECRET.format(name="other") + "  rules:\n    - images: ['*/by-secret']\n"
    async with site.having(configmap("other", {"a.yaml": text})) as warned:
        assert "the webhook may not read the Secret other: list it in the chart's value trustSecrets" in warned
        image = f"{site.shelf.host}/by-secret:1"
        await site.until_judged(image, "trust_unavailable", "list it in the chart's value trustSecrets")


async def test_a_secret_that_is_missing_then_garbage_then_good_then_deleted(site: Site) -> None:
    image = f"{site.shelf.host}/by-secret:1"
    async with site.having(configmap("by-secret", {"a.yaml": BY_SECRET})):
        await site.until_judged(image, "trust_unavailable", "there is no Secret release")
        for content, said in (
            ({"cosign.pub": NO_KEY.encode()}, "there is no public key in it"),
            ({"cosign.key": RELEASE.public_pem.encode()}, "cosign.pub"),
            ({"cosign.pub": b"\0" * 900_000}, "bytes"),
            ({"cosign.pub": STRANGER.public_pem.encode()}, "signature_invalid"),
        ):
            await site.at.apply(secret("release", content))
            await site.until_judged(image, said)
        async with site.having(secret("release", {"cosign.pub": RELEASE.public_pem.encode()})):
            await site.until_judged(image, "created")
        await site.until_judged(image, "trust_unavailable", "there is no Secret release")
        notes = (await site.at.readyz())[1]["notes"]
        assert "there is no Secret release" in notes["trust-object secret release/cosign.pub"]


# --- pull secrets


def docker_config(*hosts: str, user: str = "tenant") -> bytes:
    auth = base64.b64encode(f"{user}:s3cr3t-passw0rd".encode()).decode()
    return json.dumps({"auths": {host: {"auth": auth} for host in hosts}}).encode()


JSON_TYPE, OLD_TYPE = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
LOOK_ALIKES = ("https://index.docker.io.example.com/v1/", "docker.io.example.com", "xdocker.io", "docker.io:8443")
PULL: Mapping[str, tuple[str, bytes | None, bool]] = {  # type and content of the Secret, whether the image is admitted
    "for Docker Hub as docker login writes it": (JSON_TYPE, docker_config("https://index.docker.io/v1/"), True),
    "for Docker Hub by name": (JSON_TYPE, docker_config("docker.io"), True),
    "of the older form": (OLD_TYPE, json.dumps(json.loads(docker_config("docker.io"))["auths"]).encode(), True),
    "for look-alikes": (JSON_TYPE, docker_config(*LOOK_ALIKES), False),
    "missing": (JSON_TYPE, None, False),
    "no credentials": (JSON_TYPE, b"{}", False),
    "garbage in its JSON": (JSON_TYPE, b'{"auths": {"docker.io": 7, "": {}, "a b": {"auth": "%%"}}}', False),
    "auths that are no object": (JSON_TYPE, b'{"auths": []}', False),
    "huge": (JSON_TYPE, docker_config(*(f"h{index}.example.com" for index in range(9_000)), "docker.io"), False),
    "of another type": ("Opaque", docker_config("docker.io"), False),
    "of another user": (JSON_TYPE, docker_config("docker.io", user="other"), False),
}


@pytest.mark.parametrize("case", PULL, ids=PULL)
async def test_a_pull_secret(site: Site, case: str) -> None:
    """What it holds for a registry is sent there and nowhere else; without it the image is told as out of reach."""
    kind, content, is_admitted = PULL[case]
    name = case.lower().replace(" ", "-")  # what was read of a Secret is kept for a while
    asked = pod(HUB, pull=[name])
    if content is None:
        said = await site.tried(asked)
    else:
        key_of_data = ".dockercfg" if kind == OLD_TYPE else ".dockerconfigjson"
        async with site.having(secret(name, {key_of_data: content}, kind, "shop")):
            said = await site.tried(asked)
    if is_admitted:
        assert said == "created"
    else:
        assert "access_denied" in said
        assert name in said or case == "of another user"
    assert "s3cr3t" not in said
    assert "passw0rd" not in site.at.folder.joinpath("audit.jsonl").read_text()


# --- objects of any shape


def shape(spec: object) -> dict[str, Any]:
    metadata = {"name": "one", "namespace": "shop"}
    return {"apiVersion": f"{GROUP}/v1", "kind": "Shape", "metadata": metadata, "spec": spec}


def deployment(pods: object) -> dict[str, Any]:
    metadata, labels = {"name": "one", "namespace": "shop"}, {"app": "one"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pods}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def many(count: int) -> dict[str, Any]:
    return {"containers": [{"name": f"c{index}", "image": f"registry.example/i{index}:1"} for index in range(count)]}


NULL_TEMPLATE = {
    "apiVersion": "v1",
    "kind": "ReplicationController",
    "metadata": {"name": "one", "namespace": "shop"},
    "spec": {"replicas": 0, "selector": {"app": "one"}, "template": None},
}
RESOURCES = {
    "Pod": "/api/v1/namespaces/shop/pods",
    "ReplicationController": "/api/v1/namespaces/shop/replicationcontrollers",
    "Deployment": "/apis/apps/v1/namespaces/shop/deployments",
    "Shape": f"/apis/{GROUP}/v1/namespaces/shop/shapes",
}
NUMBERS = {"name": 7, "image": 7}
SHAPES: Mapping[str, tuple[dict[str, Any], str]] = {
    "null template": (NULL_TEMPLATE, "spec.template: Required value"),  # the API server's own words
    "no template": (shape({}), "created"),
    "a template that is null": (shape({"template": None}), "created"),
    "a template that is text": (shape({"template": "spec"}), "created"),
    "no spec at all": (shape(None), "created"),
    "numbers where strings are due": (shape({"template": {"spec": {"containers": [NUMBERS]}}}), "created"),
    "a list where an object is due": (shape({"template": [{"spec": []}]}), "created"),
    "10,000 containers": (shape({"template": {"spec": many(10_000)}}), "too_many_references"),
    "10,000 containers of a Deployment": (deployment(many(10_000)), "too_many_references"),
    "10,000 containers of a pod": (pod(**many(10_000)), "too_many_references"),
    "numbers in a Deployment": (deployment({"containers": [NUMBERS]}), "cannot unmarshal number"),
    "text that looks like structure": (
        pod(containers=[{"name": "a", "image": UNLISTED, "args": ["," * 700_000]}]),
        "host_refused",
    ),
    "an image of 1 MiB": (pod("registry.example/" + "a" * 1_000_000), "reference_invalid"),
    "an image that only looks right": (pod("registry.example/shop\u202e:1"), "reference_invalid"),
}  # fmt: skip


@pytest.mark.parametrize(("obj", "said"), SHAPES.values(), ids=SHAPES)
async def test_objects_of_any_shape(site: Site, obj: dict[str, Any], said: str) -> None:
    told = await site.tried(obj, RESOURCES[obj["kind"]])
    assert said in told
    assert "failed calling webhook" not in told
    assert len(told) < 4_000


@pytest.mark.parametrize(("levels", "said"), [(100, "created"), (4_000, "created"), (6_000, "exceeded max depth")])
async def test_a_custom_resource_that_is_deeply_nested(site: Site, levels: int, said: str) -> None:
    """What cannot be read is no reason to refuse a workload: its pods are judged."""
    nested = '{"containers": [' * levels + "]}" * levels
    text = json.dumps(shape({"template": {"spec": "NESTED"}})).replace('"NESTED"', nested)
    assert said in await site.tried(text, RESOURCES["Shape"])
