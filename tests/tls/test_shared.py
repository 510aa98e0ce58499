"""The authority that replicas share, in a real API server: made once, replaced under load, never overwritten."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from tests.conftest import API_SERVER
from tests.kube.apiserver import Server, webhook_service
from tests.kube.configurations import GROUP, MUTATING, PIN, PODS, VALIDATING, WORKLOADS, configuration, rights
from webhook import settings
from webhook.kube import client
from webhook.kube.client import Kube, KubeError
from webhook.kube.registration import Registration
from webhook.tls import authority, published, rotation
from webhook.tls.authority import AUTHORITY_LIFETIME, LEAF_LIFETIME, SKEW
from webhook.tls.certificate import ServingCertificate
from webhook.tls.rotation import OVERLAP
from webhook.tls.shared import SharedAuthority

pytestmark = pytest.mark.tools(*API_SERVER)

SECRETS = ("get", "list", "watch", "update")
CONFIGURATIONS = ("list", "watch", "patch")
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which would look at the real clock
NOW = datetime.now(UTC).replace(microsecond=0)  # the time of every test, however long after it is run
_numbers = itertools.count(1)


@dataclass
class Installation:
    """What the chart makes: an empty Secret, two configurations, and the rights to keep them, all called `name`."""

    server: Server
    admin: Kube
    name: str
    replicas: list[Replica] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"countersign.{self.name}.svc"

    @property
    def secret_path(self) -> str:
        return f"/api/v1/namespaces/{self.name}/secrets/{self.name}"

    async def make_secret(self, data: dict[str, str] | None = None) -> None:
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}}
        await self.admin.create(self.secret_path.rpartition("/")[0], body | ({"data": data} if data else {}))

    async def items(self) -> dict[str, bytes]:
        data = (await self.admin.get(self.secret_path)).get("data") or {}
        return {name: base64.b64decode(value) for name, value in data.items()}

    async def write(self, data: object) -> None:
        await self.admin.patch(self.secret_path, {"data": data})

    async def bundles(self, kind: str = VALIDATING) -> list[bytes]:
        found = await self.admin.get(f"{GROUP}/{kind}/{self.name}")
        return [base64.b64decode(entry["clientConfig"].get("caBundle", "")) for entry in found["webhooks"]]

    async def overwrite(self, bundle: bytes, *, index: int = 0) -> None:
        value = base64.b64encode(bundle).decode()
        place = f"/webhooks/{index}/clientConfig/caBundle"
        patch = [{"op": "add", "path": place, "value": value}]
        await self.admin.patch(f"{GROUP}/{VALIDATING}/{self.name}", patch, kind="json")

    async def replica(self, *, user: str = "webhook", clock: Callable[[], datetime] | None = None) -> Replica:
        kube = await client.by_kubeconfig(self.server.kubeconfig(user), namespace=self.name)
        registration = Registration(kube, self.name, pinning=True)
        certificate = ServingCertificate(settings.Server(names=(self.host,)), now=NOW)
        shared = SharedAuthority(
            kube=kube,
            name=self.name,
            registration=registration,
            certificate=certificate,
            clock=clock or (lambda: NOW),
        )
        made = Replica(kube, registration, certificate, shared)
        self.replicas.append(made)
        return made


@dataclass
class Replica:
    kube: Kube
    registration: Registration
    certificate: ServingCertificate
    shared: SharedAuthority

    async def look(self, now: datetime = NOW) -> bool:
        """All that a replica does at `now`, once it has seen the configurations."""
        with contextlib.suppress(KubeError):
            await self.registration.look()
        return await self.shared.look(now)

    def refusal(self, now: datetime = NOW) -> str:
        return published.refusal(self.certificate.chain, self.registration.bundle, now)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in (self.registration.run(), self.shared.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def installed(api_server: Server) -> AsyncIterator[Installation]:
    name = api_server.namespace(f"shared-{next(_numbers)}")
    api_server.apply(*rights("webhook", name, name, configurations=CONFIGURATIONS, secrets=SECRETS))
    admin = await client.by_kubeconfig(api_server.kubeconfig())
    made = Installation(api_server, admin, name)
    await made.make_secret()
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(name, PODS, WORKLOADS, namespace=name))
    await admin.create(f"{GROUP}/{MUTATING}", configuration(name, PIN, namespace=name, mutating=True))
    yield made
    for replica in made.replicas:
        await replica.kube.close()
    await admin.close()


async def until(holds: Callable[[], Awaitable[bool] | bool], *, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


async def shake_hands(replica: Replica, bundle: bytes, host: str, now: datetime) -> None:
    """A real handshake, as who trusts `bundle` makes it. Raises where it would fail at `now`."""
    trust = ssl.create_default_context(cadata=bundle.decode())
    trust.verify_flags |= NO_CHECK_TIME
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=replica.certificate.context
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=host)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
    store = Store(x509.load_pem_x509_certificates(bundle))
    verifier = PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(host))
    assert verifier.verify(x509.load_der_x509_certificate(shown), [])
    assert published.is_vouched(replica.certificate.chain, bundle, now)


def certificates(pem: bytes) -> int:
    return pem.count(b"-----BEGIN CERTIFICATE-----")


# --- the first authority


async def test_replicas_that_start_at_once_share_one_authority(installed: Installation) -> None:
    replicas = [await installed.replica() for _ in range(4)]
    assert not any(replica.shared.is_at_hand for replica in replicas)
    await asyncio.gather(*(replica.look() for replica in replicas))
    items = await installed.items()
    assert set(items) == {"ca.crt", "ca.key"}
    assert await installed.bundles() == [items["ca.crt"]] * 2
    assert await installed.bundles(MUTATING) == [items["ca.crt"]]
    for replica in replicas:
        assert not replica.shared.problem
        assert replica.certificate.authority_pem == items["ca.crt"]
        assert replica.shared.not_after == NOW + AUTHORITY_LIFETIME
        await shake_hands(replica, items["ca.crt"], installed.host, NOW)
        assert not await replica.look(), "nothing is left to write"
        assert not replica.refusal()
    serials = {x509.load_pem_x509_certificate(replica.certificate.chain).serial_number for replica in replicas}
    assert len(serials) == len(replicas), "each replica has a certificate of its own"


async def test_a_replica_that_starts_is_soon_trusted(installed: Installation) -> None:
    replica = await installed.replica()
    async with replica.running():
        await until(lambda: replica.shared.is_at_hand and bool(replica.registration.bundle))
        assert not replica.refusal()
        assert not replica.shared.problem


async def test_what_the_chart_says_of_the_secret_stays(installed: Installation) -> None:
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    await installed.admin.patch(installed.secret_path, {"metadata": {"labels": labels, "annotations": {"a": "b"}}})
    await installed.write({"notes": "aGk="})
    await (await installed.replica()).look()
    metadata = (await installed.admin.get(installed.secret_path))["metadata"]
    assert (metadata["labels"], metadata["annotations"]) == (labels, {"a": "b"})
    assert set(await installed.items()) == {"ca.crt", "ca.key", "notes"}


# --- its replacement


async def rotate(installed: Installation, order: Callable[[list[Replica]], list[Replica]]) -> list[int]:
    """The whole of a rotation, replica after replica, with handshakes with all of them after whatever one does.

    Returns how many certificates were published along the way.
    """
    replicas = [await installed.replica() for _ in range(2)]
    for replica in replicas:
        await replica.look()
    began = NOW - SKEW + (AUTHORITY_LIFETIME + SKEW) * rotation.REPLACED_AFTER
    took = began + OVERLAP
    sizes: list[int] = []
    for moment in (NOW, began, began + OVERLAP / 2, took, took + timedelta(days=20), took + LEAF_LIFETIME + SKEW):
        for replica in order(replicas):
            bundle, *others = await installed.bundles()
            assert others == [bundle]
            for one in replicas:
                one.certificate.refresh(moment)
                await shake_hands(one, bundle, installed.host, moment)
            await replica.look(moment + timedelta(seconds=1))
            assert not replica.shared.problem
            bundle = (await installed.bundles())[0]
            for one in replicas:
                await shake_hands(one, bundle, installed.host, moment)
            sizes.append(certificates(bundle))
    return sizes


async def test_an_authority_is_replaced_and_no_handshake_fails(installed: Installation) -> None:
    first = (await installed.items()).get("ca.crt")
    sizes = await rotate(installed, lambda replicas: replicas)
    assert sizes == [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1]
    items = await installed.items()
    assert set(items) == {"ca.crt", "ca.key"}
    assert items["ca.crt"] != first


async def test_a_replica_may_be_ahead_of_another(installed: Installation) -> None:
    """One does all, the other only hears of it when a month has gone by."""
    replicas = [await installed.replica() for _ in range(2)]
    ahead, behind = replicas
    for replica in replicas:
        await replica.look()
    began = NOW + AUTHORITY_LIFETIME * rotation.REPLACED_AFTER
    for moment in (began, began + OVERLAP + SKEW, began + timedelta(days=29)):
        await ahead.look(moment)
        for replica in replicas:
            replica.certificate.refresh(moment)
            await shake_hands(replica, (await installed.bundles())[0], installed.host, moment)
    assert ahead.certificate.authority_pem != behind.certificate.authority_pem
    await behind.look(began + timedelta(days=29))
    assert ahead.certificate.authority_pem == behind.certificate.authority_pem
    await shake_hands(behind, (await installed.bundles())[0], installed.host, began + timedelta(days=29))


async def test_replicas_that_step_at_once_take_each_step_once(installed: Installation) -> None:
    replicas = [await installed.replica() for _ in range(3)]
    began = NOW + AUTHORITY_LIFETIME * rotation.REPLACED_AFTER
    seen = []
    for moment in (NOW, began, began + OVERLAP + SKEW, began + timedelta(days=31)):
        await asyncio.gather(*(replica.look(moment) for replica in replicas))
        bundle = (await installed.bundles())[0]
        seen.append(certificates(bundle))
        for replica in replicas:
            assert not replica.shared.problem
            replica.certificate.refresh(moment)
            await shake_hands(replica, bundle, installed.host, moment)
    assert seen == [1, 2, 2, 1]


@pytest.mark.parametrize("steps", [1, 2])
async def test_a_replica_goes_on_where_another_ended(installed: Installation, steps: int) -> None:
    began = NOW + AUTHORITY_LIFETIME * rotation.REPLACED_AFTER
    moments = (began, began + OVERLAP + SKEW, began + timedelta(days=31))
    first = await installed.replica()
    await first.look()
    for moment in moments[:steps]:
        await first.look(moment)
    before = await installed.items()
    second = await installed.replica()
    await second.look(moments[steps - 1] + timedelta(seconds=1))
    assert await installed.items() == before, "no step is taken twice"
    assert second.certificate.authority_pem == before["ca.crt"]
    for moment in moments[steps:]:
        await second.look(moment)
    items = await installed.items()
    assert set(items) == {"ca.crt", "ca.key"}
    assert items["ca.crt"] in (before["ca.crt"], before.get("next.crt"))


async def test_the_api_server_itself_calls_throughout(installed: Installation) -> None:
    name = installed.name
    old = authority.make(NOW - AUTHORITY_LIFETIME * rotation.REPLACED_AFTER - timedelta(minutes=15))
    await installed.write(rotation.to_data(rotation.Held(old)))
    replica = await installed.replica()
    reviews = 0

    async def allow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reviews
        reviews += 1
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        review = orjson.loads(await reader.readexactly(length))
        answer = {**review, "response": {"uid": review["request"]["uid"], "allowed": True}}
        body = orjson.dumps(answer)
        header = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        writer.write(f"{header}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(allow, "127.0.0.1", 0, ssl=replica.certificate.context)
    async with server:
        installed.server.apply(webhook_service(name))
        port = server.sockets[0].getsockname()[1]
        await ask_about_configmaps(installed, port)
        for step, moment in enumerate((-20, -10, -4, 0, 31 * 24 * 60)):
            await replica.look(NOW + timedelta(minutes=moment))
            assert not replica.shared.problem
            for number in range(5):
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"asked-{step}-{number}"}}
                await installed.admin.create(f"/api/v1/namespaces/{name}/configmaps", body)
    assert reviews >= 25, "and each was a handshake of its own"
    assert replica.certificate.authority_pem != old.pem
    assert await installed.bundles() == [replica.certificate.authority_pem] * 2


async def ask_about_configmaps(installed: Installation, port: int) -> None:
    """The entry of pods asks about the ConfigMaps of this namespace, and a failure is one."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": installed.name}}
    patch = [
        {"op": "replace", "path": "/webhooks/0/rules", "value": [rule]},
        {"op": "add", "path": "/webhooks/0/namespaceSelector", "value": selector},
        {"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": port},
    ]
    await installed.admin.patch(f"{GROUP}/{VALIDATING}/{installed.name}", patch, kind="json")


async def test_who_is_published_nowhere_does_not_issue(installed: Installation, api_server: Server) -> None:
    replica = await installed.replica()
    await replica.look()
    first = (await installed.items())["ca.crt"]
    began = NOW + AUTHORITY_LIFETIME * rotation.REPLACED_AFTER
    may_not = rights("webhook", installed.name, installed.name, configurations=("list", "watch"), secrets=SECRETS)
    api_server.apply(*may_not)
    await until(lambda: _is_refused(replica, began))
    for days in (1, 2):
        await replica.look(began + timedelta(days=days))
        assert "403" in replica.shared.problem
        assert replica.certificate.authority_pem == first
        await shake_hands(replica, (await installed.bundles())[0], installed.host, NOW)
    api_server.apply(*rights("webhook", installed.name, installed.name, configurations=CONFIGURATIONS, secrets=SECRETS))
    await until(lambda: _is_well(replica, began + timedelta(days=2)))
    await replica.look(began + timedelta(days=3))
    assert replica.certificate.authority_pem != first


async def test_what_is_trusted_is_served_while_its_successor_cannot_be_published(installed: Installation) -> None:
    name = installed.name
    replica = await installed.replica()
    await replica.look()
    first = (await installed.items())["ca.crt"]
    may_not = rights("webhook", name, name, configurations=("list", "watch"), secrets=SECRETS)
    installed.server.apply(*may_not)
    await installed.overwrite(b"")
    await until(lambda: _is_refused(replica, NOW))
    await installed.overwrite(first)
    await installed.admin.patch(installed.secret_path, [{"op": "remove", "path": "/data"}], kind="json")
    await replica.look()
    assert "403" in replica.shared.problem
    assert (await installed.items())["ca.crt"] != first
    assert replica.certificate.authority_pem == first
    await replica.registration.look()
    assert not replica.refusal()


async def _is_refused(replica: Replica, now: datetime) -> bool:
    await replica.look(now)
    return "403" in replica.shared.problem


async def _is_well(replica: Replica, now: datetime) -> bool:
    await replica.look(now)
    return not replica.shared.problem


async def test_an_authority_that_ended_is_followed_by_another(installed: Installation) -> None:
    await (await installed.replica()).look()
    late = NOW + AUTHORITY_LIFETIME + timedelta(days=300)
    replica = await installed.replica()
    await replica.look(late)
    assert "the authority is good from" in replica.shared.problem
    assert not replica.shared.is_at_hand
    await replica.look(late + OVERLAP)
    assert not replica.shared.problem
    assert replica.certificate.not_after > late


async def test_an_authority_from_the_future_is_not_served(installed: Installation) -> None:
    """Somebody's clock was wrong."""
    replica = await installed.replica()
    await replica.look()
    good = replica.certificate.authority_pem
    ahead = authority.make(NOW + timedelta(days=900))
    held = rotation.Held(ahead, previous=good or b"", since=NOW + timedelta(days=900))
    await installed.write(rotation.to_data(held))
    await replica.look()
    assert "the authority is good from" in replica.shared.problem
    assert replica.certificate.authority_pem == good
    await shake_hands(replica, (await installed.bundles())[0], installed.host, NOW)


# --- what others do


async def test_a_bundle_that_somebody_overwrites_is_put_right(installed: Installation) -> None:
    replica = await installed.replica()
    async with replica.running():
        await until(lambda: replica.shared.is_at_hand and bool(replica.registration.bundle))
        good = (await installed.bundles())[0]
        for index in (0, 1):
            await installed.overwrite(authority.make(NOW).pem, index=index)
            await until(lambda: _has(installed, [good, good]), seconds=5)
        await until(lambda: not replica.refusal())


async def _has(installed: Installation, bundles: list[bytes]) -> bool:
    return await installed.bundles() == bundles


async def test_a_replica_is_told_when_the_bundle_is_not_of_its_authority(installed: Installation) -> None:
    replica = await installed.replica()
    await replica.look()
    await replica.registration.look()
    assert not replica.refusal()
    await installed.overwrite(authority.make(NOW).pem, index=1)
    await replica.registration.look()
    assert not replica.refusal(), "another entry's bundle keeps nobody from asking about pods"
    await installed.overwrite(authority.make(NOW).pem)
    await replica.registration.look()
    assert "does not vouch" in replica.refusal()
    await replica.look()
    await replica.registration.look()
    assert not replica.refusal()


async def test_a_replica_whose_view_is_old_overwrites_nothing_newer(installed: Installation) -> None:
    quick, slow = [await installed.replica() for _ in range(2)]
    await quick.look()
    await slow.look()
    await quick.look(NOW + AUTHORITY_LIFETIME * rotation.REPLACED_AFTER)
    published_now = await installed.bundles()
    assert certificates(published_now[0]) == 2
    await slow.shared.look(NOW)  # which has not heard of what is published now
    assert await installed.bundles() == published_now


async def test_a_configuration_that_was_deleted_stays_so(installed: Installation) -> None:
    replica = await installed.replica()
    async with replica.running():
        await until(lambda: replica.shared.is_at_hand and bool(replica.registration.bundle))
        await installed.admin.delete(f"{GROUP}/{VALIDATING}/{installed.name}")
        await until(lambda: "there is no" in replica.registration.problems.get(VALIDATING, ""))
        await asyncio.sleep(0.5)
        with pytest.raises(KubeError) as gone:
            await installed.bundles()
        assert gone.value.status == 404
        assert not replica.refusal()
        body = configuration(installed.name, PODS, namespace=installed.name)
        await installed.admin.create(f"{GROUP}/{VALIDATING}", body)
        await until(lambda: not replica.refusal() and bool(replica.registration.bundle))


async def test_an_emptied_secret_gets_a_new_authority(installed: Installation) -> None:
    replica = await installed.replica()
    async with replica.running():
        await until(lambda: replica.shared.is_at_hand and bool(replica.registration.bundle))
        first = replica.certificate.authority_pem
        await installed.admin.patch(installed.secret_path, [{"op": "remove", "path": "/data"}], kind="json")
        await until(lambda: replica.certificate.authority_pem != first)
        await until(lambda: _has(installed, [replica.certificate.authority_pem or b""] * 2))


async def test_a_secret_that_is_gone_changes_nothing(installed: Installation, caplog: pytest.LogCaptureFixture) -> None:
    replica = await installed.replica()
    async with replica.running():
        await until(lambda: replica.shared.is_at_hand and bool(replica.registration.bundle))
        first, before = replica.certificate.authority_pem, await installed.bundles()
        await installed.admin.delete(installed.secret_path)
        await until(lambda: "run its 'helm upgrade' again" in replica.shared.problem)
        assert replica.certificate.authority_pem == first
        assert await installed.bundles() == before
        assert len([record for record in caplog.records if "helm upgrade" in record.getMessage()]) == 1, "said once"
        await shake_hands(replica, before[0], installed.host, NOW)
        await installed.make_secret()
        await until(lambda: not replica.shared.problem)
        assert replica.certificate.authority_pem != first


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param({"ca.crt": "aGVsbG8=", "ca.key": "aGVsbG8="}, "one certificate of an authority", id="no-pem"),
        pytest.param({"ca.key": "aGVsbG8="}, "ca.crt and ca.key expected", id="half"),
    ],
)
async def test_garbage_is_told_and_kept(installed: Installation, data: dict[str, str], message: str) -> None:
    replica, fresh = [await installed.replica() for _ in range(2)]
    await replica.look()
    good, before = replica.certificate.authority_pem, await installed.bundles()
    await installed.admin.patch(installed.secret_path, [{"op": "replace", "path": "/data", "value": data}], kind="json")
    for one in (replica, fresh):
        await one.look()
        assert message in one.shared.problem
        assert "it is left as it is" in one.shared.problem
    assert await installed.items() == {name: base64.b64decode(value) for name, value in data.items()}
    assert await installed.bundles() == before
    assert replica.certificate.authority_pem == good
    assert replica.certificate.refresh(NOW + LEAF_LIFETIME * 2 / 3), "and it is renewed by what is at hand"
    assert not fresh.shared.is_at_hand
    await installed.admin.patch(installed.secret_path, [{"op": "remove", "path": "/data"}], kind="json")
    await fresh.look()
    assert fresh.shared.is_at_hand


@pytest.mark.parametrize("allowed", [(), ("get", "list", "watch")], ids=["nothing", "reading"])
async def test_who_may_not_is_told(installed: Installation, allowed: tuple[str, ...]) -> None:
    name = installed.name
    installed.server.apply(*rights("stranger", f"{name}-x", name, configurations=(), secrets=()))
    role = rights("stranger", name, name, configurations=CONFIGURATIONS, secrets=allowed)
    installed.server.apply(*({**one, "metadata": {**one["metadata"], "name": f"{name}-x"}} for one in role[::2]))
    replica = await installed.replica(user="stranger")
    await replica.look()
    assert "403" in replica.shared.problem
    assert "secrets" in replica.shared.problem
    assert not replica.shared.is_at_hand
    assert await installed.items() == {}


async def test_an_api_server_that_is_away_changes_nothing(tools: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "server", tools) as server:
        admin = await client.by_kubeconfig(server.kubeconfig(), namespace="default")
        made = Installation(server, admin, "default")
        await made.make_secret()
        await admin.create(f"{GROUP}/{VALIDATING}", configuration("default", PODS))
        replica = await made.replica(user="admin")
        await replica.look()
        await replica.registration.look()
        bundle = (await made.bundles())[0]
        await asyncio.to_thread(server.stop)
        await replica.look()
        assert replica.shared.problem
        assert replica.registration.bundle == bundle, "what was seen last counts"
        assert not replica.refusal()
        late = await made.replica(user="admin")
        await late.look()
        assert late.shared.problem
        assert not late.shared.is_at_hand
        await asyncio.to_thread(server.start)
        for one in (replica, late):
            await one.look()
            assert not one.shared.problem
            await shake_hands(one, bundle, made.host, NOW)
        for one in made.replicas:
            await one.kube.close()
        await admin.close()
