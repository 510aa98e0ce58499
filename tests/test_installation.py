"""An installation by the chart without a node: an API server, the chart's objects, and the server that asks them all.

What is proved here is the join: that policies, reviews of every entry, Events, statuses and certificates meet as they
do in a cluster, by the rights that the chart grants. What each of them does has its tests elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.admission.test_pinning_server import Injector, configuration, pod, webhook
from tests.chart.installed import ACCOUNT, Installed, configmap, shop
from tests.chart.rendering import NAMESPACE, RELEASE
from tests.cluster.certificates import Authority
from tests.conftest import API_SERVER
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.doubles.verifying import NAME, Shelf
from tests.doubles.verifying import RELEASE as SIGNER
from tests.kube.apiserver import User, webhook_service
from tests.policy.documents import policy
from webhook import settings
from webhook.policy import kept, parcel
from webhook.web import server as web

pytestmark = [pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART), pytest.mark.asyncio(loop_scope="module")]

JANE = User("jane")
VALUES: Mapping[str, Any] = {
    "failurePolicy": "Fail",
    "noMatch": "deny",
    "starterPolicy": False,
    "pin": {"enabled": True},
    "workloads": {"action": "deny"},
}
IN_FORCE_SECONDS = 1.0  # from the end of `kubectl apply`


@dataclass
class Site:
    """`shop` is a namespace whose pods are judged, by the policy `production`; `image:1` is signed, `:unsigned` not."""

    at: Installed
    shelf: Shelf

    @property
    def image(self) -> str:
        return f"{self.shelf.host}/{NAME}"

    async def run(self, tag: str, *options: str) -> str:
        """What kubectl says when a pod is to be made, which is not stored."""
        done = await self.at.kubectl(
            "run", "one", f"--image={self.image}:{tag}", "-n=shop", "--dry-run=server", *options
        )
        return done.stdout + done.stderr

    async def enforce(self) -> None:
        """The policy `production` is in force."""
        assert "serverside-applied" in (await self.at.apply(production())).stdout

        async def loaded() -> bool:
            return bool((await self.at.status("production")).get("inForce") == "this")

        await self.at.until(loaded, "production is in force")


def production(mode: str = "enforce") -> dict[str, Any]:
    keys = [{"name": "release", "publicKey": SIGNER.public_pem}]
    return configmap("production", policy("production", mode=mode, more=f"  trustedKeys: {json.dumps(keys)}\n"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with shop(tmp_path_factory.mktemp("installation"), VALUES, JANE) as (at, shelf):
        yield Site(at, shelf)


async def test_a_policy_is_in_force_as_soon_as_it_is_applied(site: Site) -> None:
    assert "no_policy" in await site.run("1")
    done = await site.at.apply(production())
    applied = time.monotonic()
    assert (done.returncode, done.stderr) == (0, "")
    while "no_policy" in (said := await site.run("1")):
        assert time.monotonic() < applied + IN_FORCE_SECONDS
    assert "pod/one created (server dry run)" in said
    assert "no_signature" in await site.run("unsigned")
    await site.enforce()
    status = await site.at.status("production")
    revision = (await site.at.readyz())[1]["notes"]["policy-revision"]
    assert revision
    assert status == {
        "loaded": True, "revision": status["revision"], "policies": ["production"], "errors": [], "inForce": "this",
    }  # fmt: skip


async def test_a_denial_is_told_where_people_look(site: Site) -> None:
    await site.enforce()
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-7d9", "uid": "u-1", "controller": True}
    denied = pod("api-7d9-x2", f"{site.image}:unsigned", namespace="shop", ownerReferences=[owner])
    said = (await site.at.kubectl("create", "-f", "-", stdin=json.dumps(denied))).stderr
    assert 'admission webhook "pods.countersign.dev" denied the request' in said
    assert "no_signature" in said

    async def events() -> list[dict[str, Any]]:
        found = await site.at.kubectl("get", "events.events.k8s.io", "-n=shop", "--output=json")
        return [one for one in json.loads(found.stdout)["items"] if one["regarding"]["name"] == "api-7d9"]

    (event,) = await site.at.until(events, "an Event on the ReplicaSet")
    assert (event["reason"], event["regarding"]["kind"]) == ("ImageVerificationFailed", "ReplicaSet")
    assert event["reportingInstance"].startswith("countersign-")
    annotated = [one.get("annotations", {}) for one in site.at.server.audit()]
    assert any(one.get("pods.countersign.dev/reason") == "no_signature" for one in annotated)
    record = (site.at.folder / "audit.jsonl").read_text()
    assert '"no_signature"' in record


async def test_a_tag_is_pinned_and_so_is_what_others_inject_later(site: Site, tmp_path: Path) -> None:
    await site.enforce()
    digest = site.shelf.stored.repository(NAME).tags["1"]
    pinned = f"{site.image}:1@{digest}"
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", common_name="sidecars", hosts=["sidecars.shop.svc"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    listener = web.listen("127.0.0.1", 0, "a free port")
    injector = Injector(f"{site.image}:1")
    async with web.running(web.make(injector, settings.Server(), context), listener):
        port = listener.getsockname()[1]
        entry = webhook("sidecars.example.com", "/", "shop", authority.certificate.read_bytes(), port)
        entry["clientConfig"]["service"]["name"] = "sidecars"
        registered = configuration("Mutating", "sidecars", entry)  # after ours, which are called by their names
        await site.at.apply(webhook_service("shop", "sidecars"), registered)
        try:
            said = await site.at.until(lambda: _injected(site), "the sidecar is injected")
        finally:
            await site.at.kubectl("delete", "mutatingwebhookconfiguration", registered["metadata"]["name"])
    images = [one["image"] for one in said["spec"]["containers"]]
    assert images == [pinned, pinned]


async def _injected(site: Site) -> dict[str, Any] | None:
    said = await site.run("1", "--labels=inject=yes", "--output=json")
    found: dict[str, Any] = json.loads(said)
    return found if len(found["spec"]["containers"]) > 1 else None


async def test_a_workload_is_told_early(site: Site) -> None:
    await site.enforce()
    image = f"--image={site.image}:unsigned"
    denied = await site.at.kubectl("create", "deployment", "api", image, "-n=shop")
    assert 'admission webhook "workloads.countersign.dev" denied the request' in denied.stderr
    assert "spec.template.spec.containers[0]" in denied.stderr
    scheduled = await site.at.kubectl("create", "cronjob", "report", image, "--schedule=@daily", "-n=shop")
    assert 'admission webhook "cronjobs.countersign.dev" denied the request' in scheduled.stderr
    made = await site.at.kubectl("create", "deployment", "api", f"--image={site.image}:1", "-n=shop", "-o=json")
    (container,) = json.loads(made.stdout)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{site.image}:1", "templates are left as they were written"


async def test_what_is_probably_not_meant_is_a_warning(site: Site) -> None:
    await site.enforce()
    more = f"  trustedKeys: {json.dumps([{'name': 'release', 'publicKey': SIGNER.public_pem}])}\n"
    more += "  unsafeExemptRegistries: [docker.io]\n"
    done = await site.at.apply(configmap("wide", policy("wide", mode="warn", more=more)))
    assert done.returncode == 0
    assert "Warning: wide.yaml:8: spec.unsafeExemptRegistries[0]: " in done.stderr
    assert "(unsafe_exemption)" in done.stderr
    deleted = await site.at.kubectl("delete", "configmap", "wide", f"-n={NAMESPACE}")
    assert "Warning" not in deleted.stderr
    emptied = await site.at.kubectl("delete", "configmap", "production", f"-n={NAMESPACE}")
    assert "Warning: no policy enforces any more" in emptied.stderr


async def test_only_writers_write_policies(site: Site) -> None:
    group = "rbac.authorization.k8s.io"
    await site.at.apply(
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "jane", "namespace": NAMESPACE},
            "subjects": [{"kind": "User", "name": JANE.name, "apiGroup": group}],
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:aggregate-to-edit"},
        }
    )
    refused = await site.at.apply(production("warn"), user=JANE.name)
    assert refused.returncode == 1
    assert "written by those in the chart's value policyWriters" in refused.stderr


async def test_what_cannot_be_read_lets_no_policy_pass(site: Site) -> None:
    """The failure policy of that entry is Ignore: an error of HTTP would let pass what only writers may write."""
    authority = (await site.at.get("secret", f"{RELEASE}-ca"))["data"]["ca.crt"]
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    context.check_hostname = False
    head = b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a-1",'
    base = f"https://127.0.0.1:{site.at.service.admission_port}"
    async with httpx.AsyncClient(base_url=base, verify=context, headers={"content-type": "application/json"}) as client:
        policy_answer = await client.post("/validate-policy", content=head + b"}")
        workload_answer = await client.post("/validate-workloads", content=head + b"}")
    assert (policy_answer.status_code, workload_answer.status_code) == (200, 400)
    response = policy_answer.json()["response"]
    assert (response["uid"], response["allowed"], response["status"]["code"]) == ("a-1", False, 400)


async def test_the_webhook_does_no_more_than_the_chart_lets_it(site: Site) -> None:
    await site.enforce()
    own = [one for one in site.at.server.audit() if one["user"]["username"] == ACCOUNT.name]
    assert own
    assert [one for one in own if one["responseStatus"]["code"] in (401, 403)] == []


async def test_an_api_server_that_restarts_is_heard_again(site: Site) -> None:
    """What was applied while nobody watched is in force, and certificates are trusted as before."""
    await site.enforce()
    await asyncio.to_thread(site.at.server.stop)
    assert (await site.at.readyz())[0] == 200, "it serves from memory, whoever asks"
    await asyncio.to_thread(site.at.server.start)
    done = await site.at.apply(production("warn"))
    assert done.returncode == 0, done.stderr
    assert "Warning: no policy enforces any more" in done.stderr

    async def is_warned() -> bool:
        return "Warning" in await site.run("unsigned")

    await site.at.until(is_warned, "the new policy is in force")
    await site.enforce()


async def test_what_is_amiss_is_told_by_the_probe(site: Site) -> None:
    """Readiness follows what the API server would find: whom it trusts, and whether it asks at all."""
    await site.enforce()
    at = site.at

    async def refusal() -> str:
        status, told = await at.readyz()
        return str(told["problems"].get("certificate", "")) if status == 503 else ""

    stranger = Authority(at.folder / "stranger").certificate.read_bytes()
    await at.unregister()

    async def unregistered() -> bool:
        return "registration validatingwebhookconfigurations" in (await at.readyz())[1]["notes"]

    await at.until(unregistered, "that nothing is asked is told")
    assert "Error" not in await site.run("unsigned"), "nobody is asked"
    await at.register()
    await at.ready()
    await at.until(lambda: _is_denied(site), "the API server asks again")
    bundle = base64.b64encode(stranger).decode()
    patch = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]
    name = f"validatingwebhookconfiguration/{RELEASE}"
    await at.kubectl("patch", name, "--type=json", f"-p={json.dumps(patch)}")
    await at.ready()
    live = await at.get("validatingwebhookconfiguration", RELEASE)
    await at.until(lambda: _published(at, bundle), "what others wrote is mended")
    assert live["webhooks"][0]["failurePolicy"] == "Fail"


async def _published(at: Installed, foreign: str) -> bool:
    live = await at.get("validatingwebhookconfiguration", RELEASE)
    return bool(live["webhooks"][0]["clientConfig"].get("caBundle", foreign) != foreign)


async def _is_denied(site: Site) -> bool:
    return "no_signature" in await site.run("unsigned")


async def _is_kept(at: Installed) -> bool:
    found, stored = await at.get("configmap", "production"), await at.get("configmap", f"{RELEASE}-last-good")
    entry = kept.read_entry(base64.b64decode(stored.get("binaryData", {}).get("production", "")))
    return entry == kept.of(parcel.read(found))


async def test_a_new_replica_starts_with_what_was_good(site: Site) -> None:
    """A bad version that slipped in while the webhook was down: told everywhere, and the last good one is in force."""
    await site.enforce()
    at = site.at
    await at.until(lambda: _is_kept(at), "it is kept for those who start later")
    again = Installed(at.server, at.folder, at.rendered, at.registries)
    await at.unregister()
    await at.apply(configmap("production", "kind: TrustPolicy\n"))
    async with again.serving():
        await again.register()
        await again.ready()
        await at.until(lambda: _is_denied(site), "the last good version is in force")

        async def told() -> bool:
            return (await again.status("production")).get("inForce") == "last good"

        await at.until(told, "the status")
        notes = (await again.readyz())[1]["notes"]
        (line,) = [text for name, text in notes.items() if "configmap/production" in name]
        assert "production.yaml:1:1" in line
        exposed = (await again.operations.get("/metrics")).text
        assert "countersign_policy_errors 1" in exposed

        async def event() -> bool:
            found = await at.kubectl("get", "events.events.k8s.io", f"-n={NAMESPACE}", "--output=json")
            about = [one for one in json.loads(found.stdout)["items"] if one["regarding"]["name"] == "production"]
            return any(one["reason"] == "PolicyInvalid" for one in about)

        await at.until(event, "an Event on the ConfigMap")
    await at.register()
    await at.ready()
    await site.enforce()
