"""Attacks on an installation in a cluster, by whoever may: who reaches the port, who may annotate, who writes policies.

A real API server without a node, the chart's objects, and the server that they describe; what one party alone does has
its tests beside the parts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.chart.installed import ACCOUNT, STATUS, Installed, configmap, shop
from tests.chart.rendering import NAMESPACE, RELEASE
from tests.conftest import API_SERVER
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.doubles.verifying import RELEASE as SIGNER
from tests.policy.documents import policy
from tests.web.serving import pod_of, review

pytestmark = [pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART), pytest.mark.asyncio(loop_scope="module")]

VALUES: Mapping[str, Any] = {
    "failurePolicy": "Fail", "noMatch": "deny", "starterPolicy": False, "pin": {"enabled": True},
    "pullSecrets": {"mode": "cluster"},
}  # fmt: skip
KEYS = f"  trustedKeys: {json.dumps([{'name': 'release', 'publicKey': SIGNER.public_pem}])}\n"
ODD = "x\x1b[31m\u202e\n# TYPE evil gauge"
QUIET_SECONDS = 3.0  # in which somebody who writes again and again would have written


@dataclass
class Site:
    at: Installed
    image: str

    async def run(self, tag: str, *options: str) -> tuple[str, float]:
        """What kubectl says when a pod is to be made, which is not stored, and after how many seconds."""
        started = time.monotonic()
        done = await self.at.kubectl(
            "run", "one", f"--image={self.image}:{tag}", "-n=shop", "--dry-run=server", *options
        )
        return done.stdout + done.stderr, time.monotonic() - started

    @asynccontextmanager
    async def stranger(self) -> AsyncIterator[httpx.AsyncClient]:
        """A pod of the cluster that has found the port: nothing but a certificate is asked of the other end."""
        port = self.at.service.admission_port
        async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=False, timeout=60) as client:
            yield client

    def written(self) -> list[tuple[str, str]]:
        """What the webhook changed in the cluster so far, but for Events: verb and object."""
        own = [one for one in self.at.server.audit() if one["user"]["username"] == ACCOUNT.name]
        changes = [one for one in own if one["verb"] in ("create", "update", "patch", "delete")]
        told = [(one["verb"], one["objectRef"]) for one in changes]
        return [
            (verb, f"{about['resource']}/{about.get('name', '')}")
            for verb, about in told
            if about["resource"] not in ("events", "selfsubjectreviews")
        ]

    async def quiet(self) -> list[tuple[str, str]]:
        """What the webhook had written when it stopped writing."""

        async def is_quiet() -> bool:
            before = self.written()
            await asyncio.sleep(QUIET_SECONDS)  # what must not happen has no end to wait for
            return self.written() == before

        await self.at.until(is_quiet, "nothing more is written")
        return self.written()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with shop(tmp_path_factory.mktemp("attacked"), VALUES) as (at, shelf):
        assert (await at.apply(configmap("production", policy("production", more=KEYS)))).returncode == 0
        await at.until(lambda: at.status("production"), "production is in force")
        yield Site(at, f"{shelf.host}/{shelf.name}")


# --- whoever reaches the port


def forged(path: str, document: Mapping[str, Any]) -> tuple[str, bytes]:
    return f"{path}?timeout=10s", json.dumps(document).encode()


def forged_policy(name: str, text: str, **request: Any) -> dict[str, Any]:
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    about = {"resource": resource, "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "name": name}
    told = {"namespace": NAMESPACE, "object": configmap(name, text), "userInfo": {"username": "system:admin"}}
    return review(**(about | told | request))


async def test_forged_reviews_change_nothing_and_name_nothing(site: Site) -> None:
    """Whatever they claim: policies in force, objects of the cluster and the names of metrics stay as they are."""
    before, revision = await site.quiet(), (await site.at.readyz())[1]["notes"]["policy-revision"]
    open_to_all = policy("open", mode="enforce", more="  exemptRegistries: [registry.k8s.io]\n")
    odd = {"group": ODD, "version": ODD, "resource": ODD}
    owner = {"apiVersion": "v1", "kind": "Node", "name": ODD, "uid": ODD, "controller": True}
    requests = [
        forged("/validate-policy", forged_policy("open", open_to_all)),
        forged("/validate-policy", forged_policy("production", open_to_all, operation="DELETE", oldObject=None)),
        forged("/validate-policy", forged_policy(f"{RELEASE}-last-good", "{}", userInfo={"username": ACCOUNT.name})),
        forged("/validate", review(f"{site.image}:unsigned", namespace="../../kube-system", operation=ODD)),
        forged("/validate", review(f"{site.image}:unsigned", namespace=ODD, name=ODD, userInfo={"username": ODD})),
        forged("/validate", review(object=pod_of(f"{site.image}:unsigned", ownerReferences=[owner]), dryRun=True)),
        forged("/mutate", review(f"{site.image}:1", namespace=ODD)),
        forged("/validate-workloads", review(resource=odd, kind=odd, object={"spec": [[ODD]] * 10_000})),
        forged("/validate-workloads", review(resource=odd, kind=odd, object=None)),
    ]
    async with site.stranger() as client:
        for path, body in requests:
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400), answer.text
            assert "\x1b" not in answer.text
    assert (await site.at.readyz())[1]["notes"]["policy-revision"] == revision
    assert site.written() == before
    exposed = (await site.at.operations.get("/metrics")).text
    assert "evil" not in exposed
    assert "\x1b" not in (site.at.folder / "audit.jsonl").read_text()


async def test_forged_secrets_are_read_where_a_registry_asks_and_shown_to_nobody(site: Site) -> None:
    secret = base64.b64encode(b'{"auths": {"elsewhere.example": {"auth": "bWU6czNjcjN0"}}}').decode()
    site.at.server.apply({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "regcred", "namespace": "shop"},
        "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": secret},
    })  # fmt: skip
    answers: set[str] = set()
    async with site.stranger() as client:
        for name in ("regcred", "no-such", "../../kube-system/secrets/x"):
            pod = pod_of(f"{site.image}:none")
            pod["spec"]["imagePullSecrets"] = [{"name": name}]
            path, body = forged("/validate", review(object=pod, uid="1"))
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            answers.add(answer.text)
    assert len(answers) == 1, "who asks learns nothing of which Secrets there are"
    assert "s3cr3t" not in answers.pop()
    asked = [one["objectRef"] for one in site.at.server.audit() if one["user"]["username"] == ACCOUNT.name]
    assert not [one for one in asked if one["resource"] == "secrets" and one["namespace"] not in (NAMESPACE, "shop")]


async def test_a_flood_of_policies_holds_up_no_pod(site: Site) -> None:
    """A thousand policies that enforce, in less than a megabyte: once each of them was compared with each other."""
    text = "---\n".join(policy(f"p{number}", more=KEYS + "  exemptRegistries: [r.io]\n") for number in range(1000))
    path, body = forged("/validate-policy", forged_policy("flood", text))
    async with site.stranger() as client:
        posts = [client.post(path, content=body, headers={"content-type": "application/json"}) for _ in range(6)]
        flood = asyncio.gather(*posts)
        took = []
        while not flood.done():
            said, seconds = await site.run("unsigned")
            assert "no_signature" in said
            took.append(seconds)
        answers = await flood
    assert max(took) < 10, "within the time of the webhook"
    assert {answer.status_code for answer in answers} <= {200, 503}


# --- whoever writes ConfigMaps of the release namespace


async def test_who_fights_for_the_status_gets_no_war(site: Site) -> None:
    """Each foreign status is put right once a minute at most; one made anew has its own at once."""
    statuses = ["", "{}", "[" * 5_000, '{"revision": 7, "inForce": []}', json.dumps({"revision": "\u202e"})]
    before = len(await site.quiet())
    for status in statuses * 4:
        annotation = json.dumps({"metadata": {"annotations": {STATUS: status}}})
        await site.at.kubectl("patch", "configmap", "production", f"-n={NAMESPACE}", "--type=merge", f"-p={annotation}")
    assert len(await site.quiet()) - before <= 2
    assert "no_signature" in (await site.run("unsigned"))[0]
    await site.at.kubectl("delete", "configmap", "production", f"-n={NAMESPACE}")
    await site.at.apply(configmap("production", policy("production", more=KEYS)))
    await site.at.until(lambda: site.at.status("production"), "a new one has its status")


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client", "server"])
async def test_the_status_disturbs_nobody_who_applies(site: Site, how: tuple[str, ...]) -> None:
    """What is applied again from a repository conflicts with nothing, keeps the status, and leads to no write."""
    document = json.dumps(configmap("applied", policy("applied", mode="warn", more=KEYS)))
    apply = ("apply", *how, "--field-manager=gitops", "-f", "-")
    assert (await site.at.kubectl(*apply, stdin=document)).returncode == 0
    status = await site.at.until(lambda: site.at.status("applied"), "it has its status")
    before = await site.quiet()
    for _ in range(3):
        done = await site.at.kubectl(*apply, stdin=document)
        assert (done.returncode, "conflict" in done.stderr) == (0, False), done.stderr
    assert (await site.at.kubectl("diff", *how, "-f", "-", stdin=document)).stdout == ""
    assert await site.quiet() == before
    assert await site.at.status("applied") == status
    await site.at.kubectl("delete", "configmap", "applied", f"-n={NAMESPACE}")


async def test_what_a_bad_policy_says_is_told_in_plain_characters(site: Site) -> None:
    await site.at.unregister()
    spelled = json.dumps({"kind": "TrustPolicy", ODD: ODD, "metadata": {"name": ODD}})
    await site.at.apply(configmap("odd", spelled))
    await site.at.register()
    await site.at.ready()
    status = await site.at.until(lambda: site.at.status("odd"), "it has its status")
    assert status["inForce"] == "none"

    async def events() -> list[dict[str, Any]]:
        found = await site.at.kubectl("get", "events.events.k8s.io", f"-n={NAMESPACE}", "--output=json")
        return [one for one in json.loads(found.stdout)["items"] if one["regarding"]["name"] == "odd"]

    (event,) = await site.at.until(events, "an Event on the ConfigMap")
    notes = (await site.at.readyz())[1]["notes"]
    for text in (*status["errors"], event["note"], *notes.values()):
        assert text.isprintable(), text
    await site.at.kubectl("delete", "configmap", "odd", f"-n={NAMESPACE}")


# --- replicas among themselves


async def test_a_second_replica_finds_all_as_it_should_be(site: Site) -> None:
    """Neither the authority nor what is published, kept or told is written again because another one looks."""
    before = await site.quiet()
    again = Installed(site.at.server, site.at.folder, site.at.rendered, site.at.registries)
    async with again.serving():
        await again.ready()
        assert await site.quiet() == before
