"""Private images of one namespace beside pods of another: what is admitted for the one is denied to the other.

The last test has all parts real: pods' Secrets in an API server, the handler, and a registry that wants a password.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.conftest import API_SERVER
from tests.doubles.registry import HostileRegistry, Lending, on
from tests.doubles.verifying import NAME, NOW, RELEASE, Cluster, opened, told
from tests.kube.apiserver import Server
from webhook import settings
from webhook.admission import review
from webhook.admission.handler import Handler
from webhook.admission.places import Places
from webhook.admission.workloads import Workloads
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code
from webhook.kube import client
from webhook.kube.extractors import BUILT_IN
from webhook.kube.pull_secrets import PullSecretSource
from webhook.oci import authn
from webhook.oci.authn import Credential
from webhook.policy import document
from webhook.policy.decision import Result, ReviewDecision
from webhook.policy.model import PolicySet
from webhook.settings import Early, PullSecrets

TENANT = Credential(username="tenant", password="s3cr3t-passw0rd")
OTHER = Credential(username="other", password="s3cr3t-passw0rd")
AWAY = "pull secret 'regcred' could not be read"


@dataclass(slots=True)
class Private:
    """Asks for the tenant's password, as basic authentication or for a token of it; or hides what it holds."""

    scheme: str
    host: str = ""

    def __call__(self, request: Incoming) -> Outgoing | None:
        sent, known = request.headers.get("authorization"), authn.basic(TENANT)
        if self.scheme == "bearer":
            if request.path == "/token":
                return Outgoing(200, (), b'{"token": "tenants"}' if sent == known else b'{"token": "anybodys"}')
            known = "Bearer tenants"
        if sent == known:
            return None
        return Outgoing(404) if self.scheme == "hidden" and sent else self._challenge()

    def _challenge(self) -> Outgoing:
        named = f'Bearer realm="http://{self.host}/token",service="s"' if self.scheme == "bearer" else 'Basic realm="r"'
        return Outgoing(401, (("www-authenticate", named),))


@pytest.fixture
async def stored() -> HostileRegistry:
    return HostileRegistry()


@pytest.fixture
async def cluster(stored: HostileRegistry) -> AsyncIterator[Cluster]:
    async with opened(stored=stored) as cluster:
        yield cluster


def guard(cluster: Cluster, stored: HostileRegistry, scheme: str) -> str:
    """A signed image, the registry of which asks for a password from here on; its digest."""
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    stored.rules.append(Private(scheme, cluster.host))
    return digest


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize("by_tag", [True, False])
@pytest.mark.parametrize("rival", [None, Lending(), Lending((OTHER,))], ids=["none", "no match", "another"])
async def test_one_namespace_gains_and_loses_nothing_by_another(
    cluster: Cluster, stored: HostileRegistry, scheme: str, by_tag: bool, rival: Lending | None
) -> None:
    cluster.policy()
    digest = guard(cluster, stored, scheme)
    text = ":1" if by_tag else f"@{digest}"
    for _ in range(2):
        assert told(await cluster.verify(text, credentials=Lending((TENANT,)))) == (Result.VERIFIED, None)
        decision = await cluster.verify(text, credentials=rival)
        assert told(decision) == (Result.ERROR, Code.ACCESS_DENIED)
        assert decision.digest is None or not by_tag


async def test_a_denial_of_one_hides_nothing_from_another(cluster: Cluster, stored: HostileRegistry) -> None:
    cluster.policy()
    digest = guard(cluster, stored, "hidden")
    for _ in range(2):
        for text, code in ((":1", Code.IMAGE_NOT_FOUND), (f"@{digest}", Code.NO_SIGNATURE)):
            decision = await cluster.verify(text, credentials=Lending((OTHER,)))
            assert told(decision) == (Result.DENIED, code)
            assert told(await cluster.verify(text, credentials=Lending((TENANT,)))) == (Result.VERIFIED, None)


@pytest.mark.parametrize("text", [":1", "@"])
async def test_a_secret_that_could_not_be_read_makes_nothing_absent(
    cluster: Cluster, stored: HostileRegistry, text: str
) -> None:
    cluster.policy()
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    text = f"@{digest}" if text == "@" else text
    own = Lending(away=AWAY)
    assert told(await cluster.verify(text, credentials=own)) == (Result.VERIFIED, None)  # it was public
    stored.rules.append(on("/v2/", 404))
    decision = await cluster.verify(text, credentials=own)
    assert told(decision) == (Result.ERROR, Code.ACCESS_DENIED)
    assert AWAY in decision.detail


async def test_where_an_image_was_found_is_a_hint_for_who_asks_by_the_same_credentials(cluster: Cluster) -> None:
    cluster.policy()
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    every_place, place_and_blob = 4, 2
    for own, expected in (
        (Lending((TENANT,)), every_place),
        (Lending((TENANT,)), place_and_blob),
        (Lending((OTHER,)), every_place),
        (Lending(), every_place),
        (None, place_and_blob),
    ):
        cluster.stored.requests.clear()
        assert told(await cluster.verify(f"@{digest}", credentials=own)) == (Result.VERIFIED, None)
        assert cluster.stored.requests.total() == expected


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_in_an_outage_an_image_is_known_to_who_could_read_it(
    cluster: Cluster, stored: HostileRegistry, scheme: str
) -> None:
    cluster.policy(rules=[{"images": ["**"], "onUnavailable": "known"}])
    digest = guard(cluster, stored, scheme)
    text = f"@{digest}"
    assert told(await cluster.verify(text, credentials=Lending((TENANT,)))) == (Result.VERIFIED, None)
    stored.rules.insert(0, on("/", 503))
    assert told(await cluster.verify(text, credentials=Lending((TENANT,)))) == (Result.VERIFIED, None)
    for rival in (None, Lending(), Lending((OTHER,)), Lending(away=AWAY)):
        assert (await cluster.verify(text, credentials=rival)).result is Result.ERROR


async def test_in_an_outage_a_public_image_is_known_to_everybody(cluster: Cluster, stored: HostileRegistry) -> None:
    cluster.policy(rules=[{"images": ["**"], "onUnavailable": "known"}])
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    assert told(await cluster.verify(f"@{digest}", credentials=Lending())) == (Result.VERIFIED, None)
    stored.rules.insert(0, on("/", 503))
    for who in (None, Lending(), Lending((OTHER,)), Lending(away=AWAY)):
        assert told(await cluster.verify(f"@{digest}", credentials=who)) == (Result.VERIFIED, None)


async def test_without_a_policy_that_asks_nothing_is_read(cluster: Cluster, stored: HostileRegistry) -> None:
    cluster.policy(exemptRegistries=[cluster.host])
    own = Lending((TENANT,))
    assert (await cluster.verify(":1", credentials=own)).result is Result.EXEMPT
    assert (own.asked, stored.seen) == ([], [])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"imagePullSecrets": [{"name": "regcred"}]}, (("regcred",), "")),
        ({"serviceAccountName": "builder"}, ((), "builder")),
        ({}, ((), "default")),
    ],
)
async def test_a_template_is_judged_with_what_its_pods_will_have(
    cluster: Cluster, spec: dict[str, object], expected: tuple[tuple[str, ...], str]
) -> None:
    handler = Handler(
        policies=lambda: PolicySet((), "", ""),
        verifier=cluster.verifier,
        places=Places(places=64, listed=frozenset()),
        limits=settings.Admission(),
    )
    entry = Workloads(handler=handler, extractors=lambda: BUILT_IN, early=Early.WARN, references_max=10)
    pod = {"containers": [{"name": "api", "image": "ghcr.io/team/app"}], **spec}
    found = entry.parse(asked("apps", "deployments", {"spec": {"template": {"spec": pod}}})).request
    assert (found.pull_secrets, found.service_account) == expected


def asked(group: str, resource: str, obj: object, namespace: str = "shop") -> bytes:
    """A review of the making of `obj`."""
    request = {
        "uid": "1",
        "operation": "CREATE",
        "namespace": namespace,
        "object": obj,
        "resource": {"group": group, "version": "v1", "resource": resource},
        "kind": {"group": group, "version": "v1", "kind": resource},
    }
    return json.dumps({"apiVersion": review.API_VERSION, "kind": review.KIND, "request": request}).encode()


@pytest.mark.tools(*API_SERVER)
async def test_pods_with_and_without_their_secret(
    cluster: Cluster, stored: HostileRegistry, api_server: Server
) -> None:
    cluster.policy()
    text = f"{cluster.host}/{NAME}@{guard(cluster, stored, 'bearer')}"
    for namespace in ("tenant-a", "tenant-b"):
        api_server.namespace(namespace)
        api_server.kubectl("create", "role", "pull", "-n", namespace, "--verb=get", "--resource=secrets")
        api_server.kubectl("create", "rolebinding", "pull", "-n", namespace, "--role=pull", "--user=webhook")
    login = f"--docker-server={cluster.host}", "--docker-username=tenant", f"--docker-password={TENANT.password}"
    api_server.kubectl("create", "secret", "docker-registry", "regcred", "-n", "tenant-a", *login)
    kube = await client.by_kubeconfig(api_server.kubeconfig("webhook"))
    limits = settings.Cluster(pull_secrets=PullSecrets.LISTED, pull_secret_namespaces=("tenant-a", "tenant-b"))
    source = PullSecretSource(kube, limits)
    policies = PolicySet(document.parse(json.dumps(cluster.policies[0]).encode(), origin="x", now=NOW), "r", "x")
    handler = Handler(
        policies=lambda: policies,
        verifier=cluster.verifier,
        places=Places(places=64, listed=frozenset()),
        limits=settings.Admission(),
        clock=lambda: NOW,
        lend=source.lend,
    )

    async def ask(namespace: str, *names: str) -> ReviewDecision:
        spec = {"containers": [{"name": "api", "image": text}], "imagePullSecrets": [{"name": name} for name in names]}
        body = asked("", "pods", {"spec": spec}, namespace)
        return await handler.review(review.parse(body, max_images=10), timeout=10.0)

    for _ in range(2):
        assert (await ask("tenant-a", "regcred")).allowed
        for denied in (await ask("tenant-b", "regcred"), await ask("tenant-a"), await ask("elsewhere", "regcred")):
            assert (denied.allowed, denied.status, denied.images[0].code) == (False, 503, Code.ACCESS_DENIED)
            assert TENANT.password not in repr(denied)
    assert "pull secret 'regcred' of namespace 'tenant-b'" in (await ask("tenant-b", "regcred")).images[0].detail
    await source.close()
    await kube.close()
