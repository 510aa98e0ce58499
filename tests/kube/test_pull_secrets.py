"""Credentials out of the Secrets that pods name, read from a real API server by a user with real rights."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import API_SERVER
from tests.kube.apiserver import Server
from webhook import settings
from webhook.kube import client, pull_secrets
from webhook.kube.client import Kube
from webhook.kube.pull_secrets import PullSecretSource
from webhook.kube.workload import Request
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository
from webhook.settings import PullSecrets

pytestmark = pytest.mark.tools(*API_SERVER)

GHCR = Repository("ghcr.io", "team/app")
HUB = Repository("docker.io", "team/app")
SECRET = "s3cr3t-passw0rd"
ME = Credential(username="me", password=SECRET)
CLUSTER = settings.Cluster(pull_secrets=PullSecrets.CLUSTER)
JSON, OLD = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"

_numbers = itertools.count(1)


@pytest.fixture
async def namespace(admin: Kube) -> str:
    """One in which the webhook may read Secrets and ServiceAccounts by name."""
    name = await lonely(admin)
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}"
    rules = [{"apiGroups": [""], "resources": ["secrets", "serviceaccounts"], "verbs": ["get"]}]
    await admin.create(f"{rbac}/roles", {"metadata": {"name": "pull-secrets"}, "rules": rules})
    await admin.create(
        f"{rbac}/rolebindings",
        {
            "metadata": {"name": "pull-secrets"},
            "subjects": [{"kind": "User", "name": "webhook", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": "Role", "name": "pull-secrets", "apiGroup": "rbac.authorization.k8s.io"},
        },
    )
    return name


async def lonely(admin: Kube) -> str:
    """A namespace in which the webhook may do nothing."""
    name = f"pulling-{next(_numbers)}"
    await admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def request(namespace: str, *names: str, service_account: str = "") -> Request:
    return Request(
        "u", "CREATE", namespace, "", "pods", "", "Pod", "p", "me", dry_run=False, images=(), unchanged=(),
        pull_secrets=names, service_account=service_account,
    )  # fmt: skip


def auths(*hosts: str, credential: Credential = ME) -> dict[str, object]:
    pair = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
    return {host: {"auth": pair} for host in hosts}


async def store(admin: Kube, namespace: str, name: str, content: object, *, kind: str = JSON) -> None:
    """A Secret of that type; text and bytes as they are, anything else as JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    key = ".dockercfg" if kind == OLD else ".dockerconfigjson"
    body = {"metadata": {"name": name}, "type": kind, "data": {key: base64.b64encode(data).decode()}}
    await admin.create(f"/api/v1/namespaces/{namespace}/secrets", body)


async def lent(
    kube: Kube, request: Request, repository: Repository = GHCR, limits: settings.Cluster = CLUSTER
) -> tuple[tuple[Credential, ...], str]:
    """What a pod's credentials are for `repository`, and what is said of what is lacking."""
    source = PullSecretSource(kube, limits)
    try:
        own = source.lend(request)
        assert own is not None
        return await own.credentials(repository), own.lacking(repository)
    finally:
        await source.close()


@pytest.mark.parametrize(
    ("kind", "content", "repository"),
    [
        (JSON, {"auths": auths("ghcr.io")}, GHCR),
        (OLD, auths("ghcr.io"), GHCR),
        (JSON, {"auths": auths("https://index.docker.io/v1/")}, HUB),
        (OLD, auths("https://index.docker.io/v1/"), HUB),
        (JSON, {"auths": auths("ghcr.io/team")}, GHCR),
    ],
    ids=["config.json", "dockercfg", "hub", "hub-dockercfg", "path"],
)
async def test_a_secret_is_used_for_the_registry_that_it_names(
    admin: Kube, kube: Kube, namespace: str, kind: str, content: object, repository: Repository
) -> None:
    await store(admin, namespace, "regcred", content, kind=kind)
    assert await lent(kube, request(namespace, "regcred"), repository) == ((ME,), "")


@pytest.mark.parametrize(
    ("key", "repository"),
    [
        ("https://index.docker.io.evil.example/v1/", HUB),
        ("docker.io.evil.example", HUB),
        ("https://index.docker.io@evil.example/v1/", HUB),
        ("evil.example/index.docker.io", HUB),
        ("https://index.docker.io/v1/", Repository("index.docker.io.evil.example", "team/app")),
        ("https://index.docker.io/v1/", Repository("evil.example", "index.docker.io/app")),
        ("ghcr.io", Repository("ghcr.io.evil.example", "team/app")),
        ("ghcr.io/team", Repository("ghcr.io", "team-evil/app")),
    ],
)
async def test_a_host_that_looks_alike_gets_nothing(
    admin: Kube, kube: Kube, namespace: str, key: str, repository: Repository
) -> None:
    await store(admin, namespace, "regcred", {"auths": auths(key)})
    found, lacking = await lent(kube, request(namespace, "regcred"), repository)
    assert found == ()
    assert "nothing for this registry was found in pull secret 'regcred'" in lacking


# Type, content, and the words by which the log says what is wrong; a denial is the same for all of them.
OF_NO_USE: Mapping[str, tuple[str, object, str]] = {
    "missing": ("", None, "not found"),
    "opaque": ("Opaque", {"auths": auths("ghcr.io")}, "of type 'Opaque'"),
    "garbage": (JSON, {"auths": SECRET}, "an object expected"),  # what is no JSON the API server itself refuses
    "repeated": (JSON, b'{"auths": {}, "auths": {}}', "stands twice"),
    "deep": (JSON, b'{"auths": ' + b"[" * 9000 + b"]" * 9000 + b"}", "nested too deeply"),
    "huge": (JSON, {"auths": auths("ghcr.io"), "x": "x" * 100_000}, "at most 65536 bytes"),
    "many registries": (JSON, {"auths": auths(*map(str, range(101)))}, "101 entries"),
    "other registries": (JSON, {"auths": auths("quay.io")}, ""),
}


@pytest.mark.parametrize("case", OF_NO_USE)
async def test_what_is_of_no_use_is_passed_over_and_a_denial_does_not_tell_why(
    admin: Kube, kube: Kube, namespace: str, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    kind, content, logged = OF_NO_USE[case]
    if kind:
        await store(admin, namespace, "odd", content, kind=kind)
    await store(admin, namespace, "good", {"auths": auths("ghcr.io")})
    with caplog.at_level(logging.WARNING):
        assert await lent(kube, request(namespace, "odd", "good")) == ((ME,), "")
        found, lacking = await lent(kube, request(namespace, "odd"))
    assert found == ()
    where = f"pull secret 'odd' of namespace '{namespace}'"
    assert lacking == f"nothing for this registry was found in {where} (the log of the webhook says more)"
    assert logged in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (base64.b64encode(b"me:with:colons"), Credential(username="me", password="with:colons")),
        (base64.b64encode(b"me:line\n"), Credential(username="me", password="line\n")),
        (b"bWU6czNj\ncjN0\n", Credential(username="me", password="s3cr3t")),
        (b"bWU6czNjcjN0MQ", Credential(username="me", password="s3cr3t1")),
        (base64.b64encode(b":"), None),
        (base64.b64encode(b"no colon"), None),
        (b"bWU6czNj!cjN0", None),
        (b"", None),
    ],
)
async def test_oddly_written_credentials(
    admin: Kube, kube: Kube, namespace: str, auth: bytes, expected: Credential | None
) -> None:
    await store(admin, namespace, "odd", {"auths": {"ghcr.io": {"auth": auth.decode()}}})
    found, _ = await lent(kube, request(namespace, "odd"))
    assert found == ((expected,) if expected else ())


async def test_what_may_not_be_read_is_told(kube: Kube, admin: Kube) -> None:
    namespace = await lonely(admin)
    await store(admin, namespace, "regcred", {"auths": auths("ghcr.io")})
    found, lacking = await lent(kube, request(namespace, "regcred"))
    assert found == ()
    assert lacking == f"the webhook may not read Secrets of namespace '{namespace}' (pull secret 'regcred')"
    found, lacking = await lent(kube, request(namespace, service_account="default"))
    assert "service account 'default'" in lacking


async def test_an_api_server_that_is_away_is_told_and_takes_little_time(tmp_path: Path, api_server: Server) -> None:
    path = tmp_path / "kubeconfig"
    document = json.loads(api_server.kubeconfig("webhook").read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path.write_text(json.dumps(document))
    away = await client.by_kubeconfig(path)
    source = PullSecretSource(away, CLUSTER)
    own = source.lend(request("shop", "regcred"))
    assert own is not None
    async with asyncio.timeout(pull_secrets.READ_SECONDS + 2):
        assert await own.credentials(GHCR) == ()
    said = "pull secret 'regcred' of namespace 'shop' could not be read, as the Kubernetes API did not answer"
    assert (own.unread(GHCR), own.lacking(GHCR)) == (said, said)
    assert own.unread(HUB) == ""  # nobody asked for it
    await source.close()
    await away.close()


async def test_a_service_account_names_what_a_template_does_not(admin: Kube, kube: Kube, namespace: str) -> None:
    await store(admin, namespace, "regcred", {"auths": auths("ghcr.io")})
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await admin.create(accounts, {"metadata": {"name": "builder"}, "imagePullSecrets": [{"name": "regcred"}]})
    await admin.create(accounts, {"metadata": {"name": "bare"}})
    assert await lent(kube, request(namespace, service_account="builder")) == ((ME,), "")
    for name in ("bare", "absent"):
        found, lacking = await lent(kube, request(namespace, service_account=name))
        assert found == ()
        assert f"nothing for this registry was found in service account '{name}'" in lacking


async def test_of_many_secrets_the_first_are_read(admin: Kube, kube: Kube, namespace: str, api_server: Server) -> None:
    names = tuple(f"name-{number}" for number in range(11))
    await store(admin, namespace, names[9], {"auths": auths("ghcr.io")})
    await store(admin, namespace, names[10], {"auths": auths("quay.io")})
    assert (await lent(kube, request(namespace, *names)))[0] == (ME,)
    found, lacking = await lent(kube, request(namespace, *names), Repository("quay.io", "team/app"))
    assert found == ()
    assert "pull secret 'name-2' and 7 more of namespace" in lacking
    assert "10 are read at most" in lacking
    assert f"/{names[10]}" not in reads(api_server, namespace)


def reads(api_server: Server, namespace: str) -> list[str]:
    """What the webhook asked for there: verb, and the path below the namespace."""
    prefix = f"/api/v1/namespaces/{namespace}/"
    return [
        f"{event['verb']} {event['requestURI'].removeprefix(prefix)}"
        for event in api_server.audit()
        if event["user"]["username"] == "webhook" and event["requestURI"].startswith(prefix)
    ]


async def test_a_secret_is_read_once_by_name_and_only_when_needed(
    admin: Kube, kube: Kube, namespace: str, api_server: Server
) -> None:
    await store(admin, namespace, "regcred", {"auths": auths("ghcr.io")})
    now = 0.0
    source = PullSecretSource(kube, CLUSTER, clock=lambda: now)
    asked = request(namespace, "regcred")
    reviews = [source.lend(asked) for _ in range(20)]
    assert reads(api_server, namespace) == []
    found = await asyncio.gather(*(own.credentials(GHCR) for own in reviews if own is not None))
    assert found == [(ME,)] * 20
    assert reads(api_server, namespace) == ["get secrets/regcred"]

    path = f"/api/v1/namespaces/{namespace}/secrets/regcred"
    renewed = Credential(username="me", password="renewed")
    text = json.dumps({"auths": auths("ghcr.io", credential=renewed)})
    await admin.patch(path, {"stringData": {".dockerconfigjson": text}})
    for moment, expected in ((59.0, ME), (61.0, renewed)):
        now = moment
        own = source.lend(asked)
        assert own is not None
        assert await own.credentials(GHCR) == (expected,)
    assert reads(api_server, namespace) == ["get secrets/regcred"] * 2
    await source.close()


async def test_an_absence_is_remembered_for_less(admin: Kube, kube: Kube, namespace: str) -> None:
    now = 0.0
    source = PullSecretSource(kube, CLUSTER, clock=lambda: now)

    async def found() -> tuple[Credential, ...]:
        own = source.lend(request(namespace, "late"))
        assert own is not None
        return await own.credentials(GHCR)

    assert await found() == ()
    await store(admin, namespace, "late", {"auths": auths("ghcr.io")})
    now = 4.0
    assert await found() == ()
    now = 6.0
    assert await found() == (ME,)
    await source.close()


@pytest.mark.parametrize(
    ("limits", "namespace", "expected"),
    [
        (settings.Cluster(), "shop", False),
        (settings.Cluster(pull_secret_namespaces=("shop",)), "shop", False),
        (settings.Cluster(pull_secrets=PullSecrets.LISTED), "shop", False),
        (settings.Cluster(pull_secrets=PullSecrets.LISTED, pull_secret_namespaces=("shop",)), "shop", True),
        (settings.Cluster(pull_secrets=PullSecrets.LISTED, pull_secret_namespaces=("shop",)), "shop-2", False),
        (CLUSTER, "shop", True),
        (CLUSTER, "../kube-system", False),
        (CLUSTER, "a/b", False),
        (CLUSTER, "", False),
    ],
)
async def test_only_where_an_operator_opted_in(
    kube: Kube, limits: settings.Cluster, namespace: str, *, expected: bool
) -> None:
    source = PullSecretSource(kube, limits)
    assert (source.lend(request(namespace, "regcred")) is not None) is expected
    assert source.lend(request(namespace)) is None  # a pod that names none, and has no account to ask


async def test_few_credentials_of_many_are_tried(admin: Kube, kube: Kube, namespace: str) -> None:
    names = [f"name-{number}" for number in range(10)]
    for name in names:
        other = Credential(username=name, password=SECRET)
        await store(admin, namespace, name, {"auths": auths("ghcr.io", credential=other)})
    found, _ = await lent(kube, request(namespace, *names))
    assert [credential.username for credential in found] == names[:8]
