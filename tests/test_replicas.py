"""Several replicas, one registry that counts, and a real Valkey between them: whoever owns, kills or fills it."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles.ports import free_port
from tests.doubles.registry import FixedResolver, HostileRegistry, listed, on, running
from tests.doubles.store import USER, ValkeyServer
from tests.doubles.verifying import NAME, NOW, RELEASE, STRANGER, TRUST, Cluster, signature_tag, told, trusted
from tests.private_sigstore import images
from tests.test_attestation_attacks import BAD, VULN, scan
from tests.test_findings import KEPT, VERIFIED
from tests.web.serving import review
from webhook import settings
from webhook.cache import Loaded
from webhook.errors import Code
from webhook.evidence.collect import Collector
from webhook.network import Network
from webhook.oci.documents import FOUND_LIFETIME, Document
from webhook.oci.registry import Registry
from webhook.policy.decision import Result
from webhook.sealing import Sealer
from webhook.shared_cache import SharedCache
from webhook.valkey import Store
from webhook.verification import Verifier

pytestmark = pytest.mark.packages("valkey-server")

DENIED, ERROR = Result.DENIED, Result.ERROR
HOUR, DAY = 3600.0, 24 * 3600.0
PROCESSES, PODS, AT_ONCE = 10, 200, 20
PATIENCE = 90.0  # seconds until all of them serve, however busy the machine is
SLOW = 10.0  # seconds, for one review: an API server would wait no longer


@dataclass
class Clock:
    now: float = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """What replicas, which come and go, have in common."""

    host: str
    stored: HostileRegistry
    valkey: ValkeyServer
    clock: Clock

    def cluster(self, verifier: Verifier) -> Cluster:
        return Cluster(self.host, self.stored, verifier)

    @asynccontextmanager
    async def replica(self, cache: settings.Cache = KEPT) -> AsyncIterator[Cluster]:
        """One that has just begun; it trusts the key, or demands what `demand` says."""
        shared = SharedCache(
            Store(self.valkey.settings(), clock=self.clock),
            Sealer(self.valkey.key_file.read_bytes()),
            observe=lambda word: None,
            now=self.clock,
            clock=self.clock,
        )
        registry = Registry(
            limits=settings.Registry(hosts=(listed(self.host),), backoff=0.0),
            network=Network(settings.Network(), resolver=FixedResolver({})),
            cache=cache,
            shared=shared,
        )
        collector = Collector(registry=registry, limits=settings.Evidence(), observe=lambda stage, seconds: None)
        verifier = Verifier(
            registry=registry,
            collector=collector,
            policy=settings.Policy(),
            observe=lambda stage, seconds: None,
            trust=lambda: TRUST,
            cache=cache,
            monotonic=self.clock,
        )
        cluster = self.cluster(verifier)
        cluster.policy()
        try:
            yield cluster
        finally:
            await verifier.close()
            await collector.close()
            await shared.close()
            await registry.close()

    def asked(self) -> list[str]:
        """What the registry was asked since the last time."""
        lines = self.stored.lines
        self.stored.seen.clear()
        return lines

    def away(self, status: int = 503) -> None:
        self.stored.rules.append(on("/v2/", status))

    def entries(self) -> dict[bytes, bytes]:
        """All that Valkey holds, as its owner sees it."""
        with self.valkey.owner() as client:
            return {name: client.get(name) for name in client.scan_iter() if not name.endswith(b":claim")}

    def write(self, entries: Mapping[bytes, bytes]) -> None:
        with self.valkey.owner() as client:
            for name, entry in entries.items():
                client.set(name, entry)


@pytest.fixture(scope="module")
def running_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as found:
        yield found


@pytest.fixture
async def stage(running_valkey: ValkeyServer) -> AsyncIterator[Stage]:
    running_valkey.reset()
    stored = HostileRegistry()
    async with running(stored) as host:
        yield Stage(host, stored, running_valkey, Clock())


async def signed_and_seen(stage: Stage) -> str:
    """An image that some replica has verified, and that replica is gone."""
    async with stage.replica() as cluster:
        digest = cluster.image()
        cluster.sign(digest, RELEASE)
        assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    stage.asked()
    return digest


def demand_newest(cluster: Cluster) -> None:
    wanted = {"predicateType": VULN, "condition": "predicate.critical == 0", "pick": "newest", "maxAge": "30d"}
    spec: dict[str, Any] = images.spec(**images.demanding(**wanted))
    cluster.policies.clear()
    cluster.policy(**spec)
    del cluster.policies[0]["spec"]["trustedKeys"]  # type: ignore[attr-defined]


# --- a restart during an outage


@pytest.mark.parametrize(
    ("seconds", "status", "expected", "stale"),
    [
        pytest.param(10.0, 503, VERIFIED, False, id="as fresh as any"),
        pytest.param(HOUR, 503, VERIFIED, True, id="an hour later"),
        pytest.param(DAY - 60, 503, VERIFIED, True, id="nearly a day later"),
        pytest.param(DAY, 503, (ERROR, Code.REGISTRY_UNAVAILABLE), False, id="a day later"),
        pytest.param(HOUR, 403, (ERROR, Code.ACCESS_DENIED), False, id="refused, which is no outage"),
        pytest.param(HOUR, 404, (DENIED, Code.NO_SIGNATURE), False, id="gone, which is no outage"),
    ],
)
async def test_a_restart_during_an_outage_is_survived_by_documents_that_are_verified_again(
    stage: Stage, seconds: float, status: int, expected: object, stale: bool
) -> None:
    digest = await signed_and_seen(stage)
    seen = NOW.isoformat()[:13]
    stage.away(status)
    stage.clock.now += seconds
    async with stage.replica() as cluster:
        unsigned = cluster.image("nobody signed this")
        for _ in range(2):
            decision = await cluster.verify(f"@{digest}")
            assert told(decision) == expected
            assert bool(decision.stale) is stale
            assert all(text.startswith(seen) for text in decision.stale.values())
            assert (await cluster.verify(f"@{unsigned}")).result in (DENIED, ERROR)
        stage.stored.rules.clear()
        cluster.policy("security", mode="warn", deny=[{"digest": digest, "reason": "CVE"}])
        assert told(await cluster.verify(f"@{digest}")) == (DENIED, Code.BLOCKED)


async def test_a_changed_policy_bites_after_a_restart_during_an_outage(stage: Stage) -> None:
    digest = await signed_and_seen(stage)
    stage.away()
    stage.clock.now += HOUR
    async with stage.replica() as cluster:
        cluster.policies.clear()
        cluster.policy(trustedKeys=[trusted("release", RELEASE)], rules=[{"images": ["**"], "annotations": {"a": "b"}}])
        decision = await cluster.verify(f"@{digest}")
        assert decision.result is ERROR
        assert not decision.stale


async def test_the_registry_is_asked_as_soon_as_it_is_back(stage: Stage) -> None:
    digest = await signed_and_seen(stage)
    stage.away()
    stage.clock.now += HOUR
    async with stage.replica() as cluster:
        assert (await cluster.verify(f"@{digest}")).stale
        stage.stored.rules.clear()
        async with asyncio.timeout(PATIENCE):
            while (decision := await cluster.verify(f"@{digest}")).stale:  # for some seconds nobody asks again
                await asyncio.sleep(0.1)
        assert told(decision) == VERIFIED


async def test_the_newest_attestation_that_was_seen_counts_after_a_restart_during_an_outage(stage: Stage) -> None:
    async with stage.replica() as cluster:
        demand_newest(cluster)
        good, bad = cluster.image("clean"), cluster.image("vulnerable")
        images.attestations(scan(9))(cluster, good)
        images.attestations(scan(9), scan(1, BAD))(cluster, bad)
        assert told(await cluster.verify(f"@{good}")) == VERIFIED
        assert told(await cluster.verify(f"@{bad}")) == (DENIED, Code.CLAIM_MISMATCH)
    stage.away()
    stage.clock.now += HOUR
    async with stage.replica() as cluster:
        demand_newest(cluster)
        decision = await cluster.verify(f"@{good}")
        assert told(decision) == VERIFIED
        assert decision.stale
        assert (await cluster.verify(f"@{bad}")).result is ERROR


async def test_what_was_seen_to_be_gone_does_not_come_back(stage: Stage) -> None:
    digest = await signed_and_seen(stage)
    del stage.stored.repository(NAME).tags[signature_tag(digest)]
    stage.clock.now += FOUND_LIFETIME
    async with stage.replica() as cluster:
        assert told(await cluster.verify(f"@{digest}")) == (DENIED, Code.NO_SIGNATURE)
    stage.away()
    async with stage.replica() as cluster:
        assert (await cluster.verify(f"@{digest}")).result is ERROR


async def test_nothing_old_is_used_where_the_operator_says_so(stage: Stage) -> None:
    never = replace(KEPT, presence_stale=0.0)
    async with stage.replica(never) as cluster:
        digest = cluster.image()
        cluster.sign(digest, RELEASE)
        assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    stage.away()
    stage.clock.now += FOUND_LIFETIME
    async with stage.replica(never) as cluster:
        assert told(await cluster.verify(f"@{digest}")) == (ERROR, Code.REGISTRY_UNAVAILABLE)


# --- whoever owns it


def flipped(entries: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    return {name: entry[:-40] + bytes([entry[-40] ^ 1]) + entry[-39:] for name, entry in entries.items()}


def swapped(entries: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    names = sorted(entries)
    return {name: entries[other] for name, other in zip(names, [*names[1:], names[0]], strict=True)}


def garbage(entries: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    return dict.fromkeys(entries, b"found\n" * 1000)


@pytest.mark.parametrize("change", [flipped, swapped, garbage])
async def test_what_its_owner_changes_is_not_used(
    stage: Stage, change: Callable[[Mapping[bytes, bytes]], Mapping[bytes, bytes]]
) -> None:
    digest = await signed_and_seen(stage)
    held = stage.entries()
    assert len(held) >= 3
    stage.write(change(held))
    async with stage.replica() as cluster:
        assert told(await cluster.verify(f"@{digest}")) == VERIFIED
        assert stage.asked()
    stage.write(change(held))
    stage.away()
    async with stage.replica() as cluster:
        decision = await cluster.verify(f"@{digest}")
        assert told(decision) == (ERROR, Code.REGISTRY_UNAVAILABLE)
        assert not decision.stale


async def test_an_old_list_hides_no_newer_attestation(stage: Stage) -> None:
    async with stage.replica() as cluster:
        demand_newest(cluster)
        digest = cluster.image()
        images.attestations(scan(9))(cluster, digest)
        assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    old = stage.entries()
    images.attestations(scan(9), scan(1, BAD))(cluster, digest)
    async with stage.replica() as cluster:
        demand_newest(cluster)
        stage.write(old)
        assert told(await cluster.verify(f"@{digest}")) == (DENIED, Code.CLAIM_MISMATCH)
    stage.clock.now += HOUR
    async with stage.replica() as cluster:
        demand_newest(cluster)
        stage.write(old)
        assert told(await cluster.verify(f"@{digest}")) == (DENIED, Code.CLAIM_MISMATCH)


async def test_what_one_replica_saw_afresh_is_there_for_the_others(stage: Stage) -> None:
    async with stage.replica() as cluster:
        digest = cluster.image()
        cluster.sign(digest, STRANGER)
        assert (await cluster.verify(f"@{digest}")).result is DENIED
    cluster.sign(digest, STRANGER, RELEASE)
    stage.clock.now += FOUND_LIFETIME / 2
    async with stage.replica() as cluster:
        assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    stage.asked()
    async with stage.replica() as cluster:
        assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    assert stage.asked() == []


async def test_who_has_even_the_key_gets_nothing_admitted(stage: Stage) -> None:
    digest = await signed_and_seen(stage)
    manifests = stage.stored.repository(NAME).manifests
    stolen = manifests[stage.stored.repository(NAME).tags[signature_tag(digest)]]
    async with stage.replica() as cluster:
        victim = cluster.image("nobody signed this")
        shared = cluster.verifier.registry._documents.shared
        assert shared is not None

        async def forged() -> Loaded[bytes]:
            return Loaded(Document(stolen.data, stolen.media_type).pack(), FOUND_LIFETIME, stale=DAY)

        name = f"manifests/{signature_tag(victim)}"
        await shared.get_or_load(f"listing {stage.host}/{NAME} {name}", forged)
        assert told(await cluster.verify(f"@{victim}"))[0] is DENIED
        stage.away()
        stage.clock.now += HOUR
        decision = await cluster.verify(f"@{victim}")
        assert decision.result in (DENIED, ERROR)
        assert not decision.stale


# --- processes


@dataclass
class Served:
    """Server processes, asked in turn."""

    clients: list[httpx.AsyncClient]
    stored: HostileRegistry
    host: str

    async def ask(self, number: int, image: str) -> tuple[bool, float]:
        """Whether it was admitted, and after how long."""
        began = time.monotonic()
        client = self.clients[number % len(self.clients)]
        answer = await client.post("/validate?timeout=10s", json=review(image))
        assert answer.status_code == 200, answer.text
        return answer.json()["response"]["allowed"], time.monotonic() - began


@asynccontextmanager
async def served(folder: Path, valkey: ValkeyServer, stored: HostileRegistry) -> AsyncIterator[Served]:
    async with running(stored) as host, AsyncExitStack() as stack:
        spec = {"mode": "enforce", "trustedKeys": [trusted("release", RELEASE)]}
        head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "test"}}
        (folder / "policies").mkdir()
        (folder / "policies/test.yaml").write_text(json.dumps({**head, "spec": spec}))
        entry = {"host": host, "insecureHTTP": True, "loopback": True}
        (folder / "registries.yaml").write_text(json.dumps({"registries": [entry]}))
        ports = [stack.enter_context(process(folder, number, valkey)) for number in range(PROCESSES)]
        clients = [await connected(stack, folder, number, *pair) for number, pair in enumerate(ports)]
        yield Served(clients, stored, host)


@contextmanager
def process(folder: Path, number: int, valkey: ValkeyServer) -> Iterator[tuple[int, int]]:
    """A server is starting; yields its ports, of reviews and of operations."""
    admission, operations = free_port(), free_port()
    environment = {
        "COUNTERSIGN_POLICIES": str(folder / "policies"),
        "COUNTERSIGN_REGISTRIES": str(folder / "registries.yaml"),
        "COUNTERSIGN_ADDRESS": "127.0.0.1",
        "COUNTERSIGN_ADMISSION_PORT": str(admission),
        "COUNTERSIGN_OPERATIONS_PORT": str(operations),
        "COUNTERSIGN_CA_OUT": str(folder / f"ca-{number}.pem"),
        "COUNTERSIGN_SHUTDOWN_DELAY": "0",
        "COUNTERSIGN_TRUST_REFRESH": "off",
        "COUNTERSIGN_WORKERS": "0",
        "COUNTERSIGN_VALKEY": f"valkeys://{USER}@127.0.0.1:{valkey.port}",
        "COUNTERSIGN_VALKEY_PASSWORD_FILE": str(valkey.password_file),
        "COUNTERSIGN_VALKEY_CA_FILE": str(valkey.ca_file),
        "COUNTERSIGN_VALKEY_KEY_FILE": str(valkey.key_file),
        "COUNTERSIGN_VALKEY_TIMEOUT": "1",  # all of them share the machine with others
    }
    with (folder / f"server-{number}.log").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "webhook.cli", "serve"],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield admission, operations
    finally:
        started.kill()
        started.wait()


async def connected(
    stack: AsyncExitStack, folder: Path, number: int, admission: int, operations: int
) -> httpx.AsyncClient:
    """A client of that server, which is ready."""

    async def ready() -> bool:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{operations}/readyz")).status_code == 200

    await until(ready, folder / f"server-{number}.log")
    trust = ssl.create_default_context(cafile=str(folder / f"ca-{number}.pem"))
    client = httpx.AsyncClient(base_url=f"https://localhost:{admission}", verify=trust, timeout=60)
    return await stack.enter_async_context(client)


async def until(ready: Callable[[], Awaitable[bool]], log: Path) -> None:
    by = time.monotonic() + PATIENCE
    while time.monotonic() < by and not log.read_bytes().startswith(b"countersign: "):  # which says why it ended
        try:
            if await ready():
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])


async def test_ten_processes_with_one_valkey(tmp_path: Path, running_valkey: ValkeyServer) -> None:
    running_valkey.reset()
    stored = HostileRegistry()
    async with served(tmp_path, running_valkey, stored) as processes:
        shelf = Cluster(processes.host, stored, None)  # type: ignore[arg-type]
        await all_start_one_image(processes, shelf)
        await valkey_comes_and_goes(processes, shelf, running_valkey)


async def all_start_one_image(processes: Served, shelf: Cluster) -> None:
    digest = shelf.image()
    shelf.sign(digest, RELEASE)
    image = f"{shelf.host}/{NAME}@{digest}"
    found = await asyncio.gather(*(processes.ask(number, image) for number in range(PODS)))
    assert all(allowed for allowed, _ in found)
    assert len(processes.stored.seen) <= 4, processes.stored.lines


async def valkey_comes_and_goes(processes: Served, shelf: Cluster, valkey: ValkeyServer) -> None:
    """New images all the while, every third unsigned: none is judged otherwise, none is lost, none waits for ever."""
    reviews = []
    for number in range(PODS):
        digest = shelf.image(f"image {number}")
        if is_signed := number % 3 != 0:
            shelf.sign(digest, RELEASE)
        reviews.append((number, f"{shelf.host}/{NAME}@{digest}", is_signed))
    for begin in range(0, PODS, AT_ONCE):
        if begin == 3 * AT_ONCE:
            await asyncio.to_thread(valkey.kill)
        some = reviews[begin : begin + AT_ONCE]
        asking = asyncio.gather(*(processes.ask(number, image) for number, image, _ in some))
        if begin == AT_ONCE:  # in the middle of them
            await asyncio.sleep(0.01)
            await asyncio.to_thread(valkey.kill)
            await asyncio.to_thread(valkey.start)
        found = await asking
        assert [allowed for allowed, _ in found] == [is_signed for _, _, is_signed in some]
        assert max(seconds for _, seconds in found) < SLOW
        if begin == 6 * AT_ONCE:
            await asyncio.to_thread(valkey.start)
