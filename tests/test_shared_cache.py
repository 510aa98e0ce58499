"""A cache that replicas share, with a real Valkey: one load for all, and no harm by whoever owns, stops or fills it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.doubles.store import MEMORY, PASSWORD, USER, ValkeyServer, talker
from webhook import settings, shared_cache
from webhook.breaker import FAILURES
from webhook.cache import Loaded
from webhook.errors import OperatorError
from webhook.outside import Observers, join
from webhook.sealing import PAYLOAD_MAX_BYTES, Sealer
from webhook.shared_cache import SharedCache
from webhook.valkey import Store

SEALER = Sealer(b"k" * 48)
KEY, OTHER_KEY = "registry.example.com/app sha256:00", "registry.example.com/other sha256:00"
real = pytest.mark.packages("valkey-server")


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """A process of ours: its part of the cache, what came of each call, and how often a registry was asked."""

    def __init__(self, configured: settings.Valkey, clock: Clock) -> None:
        self.results: Counter[str] = Counter()
        self.loads = 0
        self.cache = SharedCache(
            Store(configured, clock=clock),
            SEALER,
            observe=lambda word: self.results.update([word]),
            now=clock,
            clock=clock,
        )

    async def get(self, key: str = KEY, *, value: bytes = b"document", lifetime: float = 60.0) -> Loaded[bytes]:
        async def load() -> Loaded[bytes]:
            self.loads += 1
            await asyncio.sleep(0.01)
            return Loaded(value, lifetime)

        return await self.cache.get_or_load(key, load)

    async def settled(self) -> None:
        """What was loaded has been put, or was not to be."""
        while self.cache._tasks:
            await asyncio.sleep(0.001)

    def took(self) -> dict[str, int]:
        """What came of calls since this was last asked."""
        found = dict(self.results)
        self.results.clear()
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as found:
        yield found


@pytest.fixture
def server(running: ValkeyServer) -> ValkeyServer:
    """Whatever a test before has done to it."""
    running.reset()
    return running


@pytest.fixture
async def replicas(server: ValkeyServer, clock: Clock) -> AsyncIterator[list[Replica]]:
    found = [Replica(server.settings(), clock) for _ in range(10)]
    yield found
    for replica in found:
        await replica.cache.close()


# --- one load for all


@real
async def test_what_one_replica_loaded_all_have(replicas: list[Replica], clock: Clock) -> None:
    one, other, *_ = replicas
    assert await one.get() == Loaded(b"document", 60.0)
    await one.settled()
    clock.now += 20.0
    found = await other.get(value=b"newer")
    assert found.value == b"document"
    assert found.lifetime == pytest.approx(40.0)
    assert (one.took(), other.took()) == ({"miss": 1, "put": 1}, {"hit": 1})


@real
async def test_its_lifetime_ends_by_our_clock_whatever_the_store_keeps(replicas: list[Replica], clock: Clock) -> None:
    one, other, *_ = replicas
    await one.get()
    await one.settled()
    clock.now += 60.0
    assert (await other.get(value=b"newer")).value == b"newer"
    assert other.took() == {"refused_expired": 1, "miss": 1}
    await other.settled()
    assert (await one.get()).value == b"newer"


@real
async def test_ten_replicas_at_once_load_once(replicas: list[Replica]) -> None:
    found = await asyncio.gather(*(replica.get() for replica in replicas for _ in range(2)))
    assert {loaded.value for loaded in found} == {b"document"}
    assert sum(replica.loads for replica in replicas) == 1


@real
async def test_a_load_that_fails_holds_up_nobody(replicas: list[Replica]) -> None:
    one, other, *_ = replicas

    async def fail() -> Loaded[bytes]:
        raise ValueError("the registry's")

    with pytest.raises(ValueError, match="the registry's"):
        await one.cache.get_or_load(KEY, fail)
    await one.settled()
    await other.get()
    assert other.took()["miss"] == 1


@real
async def test_a_load_that_is_cancelled_holds_up_nobody(replicas: list[Replica]) -> None:
    one, other, *_ = replicas
    begun = asyncio.Event()

    async def never() -> Loaded[bytes]:
        begun.set()
        return await asyncio.Future()

    task = asyncio.create_task(one.cache.get_or_load(KEY, never))
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await one.settled()
    await other.get()
    assert other.took()["miss"] == 1


@real
@pytest.mark.parametrize(
    ("value", "lifetime"), [(b"document", 0.0), (bytes(PAYLOAD_MAX_BYTES + 1), 60.0)], ids=["no lifetime", "too large"]
)
async def test_what_is_not_for_others_is_not_put(replicas: list[Replica], value: bytes, lifetime: float) -> None:
    one, other, *_ = replicas
    assert (await one.get(value=value, lifetime=lifetime)).value == value
    await one.settled()
    await other.get()
    assert (one.took(), other.loads) == ({"miss": 1}, 1)


@real
async def test_a_large_document_comes_back_whole(replicas: list[Replica]) -> None:
    one, other, *_ = replicas
    document = bytes(range(256)) * 4096
    await one.get(value=document)
    await one.settled()
    assert (await other.get()).value == document
    assert other.loads == 0


@real
async def test_a_replica_that_was_killed_is_waited_for_no_longer_than_its_claim(
    server: ValkeyServer, replicas: list[Replica]
) -> None:
    with server.owner() as client:
        client.set(f"{SEALER.name(KEY)}:claim", b"whose process is gone", px=200)
    found = await asyncio.gather(*(replica.get() for replica in replicas))
    assert {loaded.value for loaded in found} == {b"document"}
    assert sum(replica.loads for replica in replicas) == 1


# --- a hostile store


@real
async def test_what_its_owner_writes_counts_as_none(server: ValkeyServer, replicas: list[Replica]) -> None:
    one, other, *_ = replicas
    await one.get(OTHER_KEY, value=b"of another repository")
    await one.settled()
    with server.owner() as client:
        moved = client.get(SEALER.name(OTHER_KEY))
        for entry, refused in [
            (b"unsigned", "version"),
            (bytes(200), "version"),
            (moved, "forged"),
            (Sealer(b"o" * 48).seal(KEY, Loaded(b"invented", 60.0), Clock.now), "forged"),
            (bytes(PAYLOAD_MAX_BYTES), "version"),
        ]:
            client.set(SEALER.name(KEY), entry)
            assert (await other.get()).value == b"document"
            await other.settled()
            assert other.took() == {f"refused_{refused}": 1, "miss": 1, "put": 1}
            assert (await other.get(value=b"not asked for")).value == b"document"
            other.took()


@real
async def test_an_old_entry_hides_a_newer_one_for_its_own_lifetime(
    server: ValkeyServer, replicas: list[Replica], clock: Clock
) -> None:
    one, *_ = replicas
    await one.get(value=b"old")
    await one.settled()
    with server.owner() as client:
        old = client.get(SEALER.name(KEY))
        for seconds, expected in [(59.0, b"old"), (60.0, b"new")]:
            client.set(SEALER.name(KEY), old)
            clock.now = Clock.now + seconds
            assert (await one.get(value=b"new")).value == expected


async def test_a_claim_that_never_ends_is_waited_for_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cache, "WAIT_SECONDS", 0.1)
    async with talker(b":0\r\n") as configured:
        replica = Replica(configured, clock)
        for expected in ({"failed": 1, "miss": 1}, {"miss": 1}, {"miss": 1}):
            await replica.get()
            assert {word: count for word, count in replica.took().items() if word != "put"} == expected
        clock.now += shared_cache.PAUSE_SECONDS
        await replica.get()
        assert replica.took()["failed"] == 1
        assert replica.loads == 4
        await replica.cache.close()


# --- a store that fails


async def tried_until_left_alone(replica: Replica) -> set[str]:
    """What came of calls while it failed; each brought what the registry has."""
    took: set[str] = set()
    for _ in range(500):
        assert (await replica.get()).value == b"document"
        took |= set(replica.took())
        if replica.cache.state.startswith("not asked for"):
            return took
    raise AssertionError(replica.cache.state)


async def used_again(replica: Replica, clock: Clock) -> None:
    """After a pause it is asked, and what it holds is good."""
    for _ in range(60):
        clock.now += 30.0
        await replica.get(OTHER_KEY)
        await replica.settled()
        if replica.took().keys() & {"put", "hit"}:
            break
    before = replica.loads
    await replica.get(OTHER_KEY)
    assert (replica.took(), replica.loads) == ({"hit": 1}, before)
    assert replica.cache.state == "it answers"


@real
async def test_it_is_down_at_first_dies_later_and_comes_back(
    server: ValkeyServer, replicas: list[Replica], clock: Clock
) -> None:
    one, *_ = replicas
    server.kill()
    assert await tried_until_left_alone(one) == {"failed"}
    await one.get()
    assert one.took() == {"skipped": 1}
    server.start()
    await used_again(one, clock)
    server.kill()
    assert "failed" in await tried_until_left_alone(one)
    server.start()
    await used_again(one, clock)


@real
async def test_it_stops_answering_and_goes_on(server: ValkeyServer, clock: Clock) -> None:
    replica = Replica(server.settings(timeout=0.5), clock)
    await used_again(replica, clock)
    server.pause()
    try:
        assert await tried_until_left_alone(replica) >= {"failed", "skipped"}
        assert "no answer within" in replica.cache.state
    finally:
        server.resume()
    await used_again(replica, clock)
    await replica.cache.close()


@real
async def test_a_full_one_serves_what_it_has(server: ValkeyServer, replicas: list[Replica]) -> None:
    one, other, *_ = replicas
    await one.get()
    await one.settled()
    one.took()
    with server.owner() as client:
        client.config_set("maxmemory", "1")
        for _ in range(FAILURES + 1):
            await one.get(OTHER_KEY)
        assert set(one.took()) == {"failed"}
        assert "OOM" in one.cache.state or "memory" in one.cache.state
        assert (await one.get()).value == (await other.get()).value == b"document"
        assert (one.took(), other.took()) == ({"hit": 1}, {"hit": 1})
        client.config_set("maxmemory", MEMORY)
    await one.get(OTHER_KEY)
    await one.settled()
    assert one.took() == {"miss": 1, "put": 1}


@real
async def test_a_flushed_one_is_filled_again(server: ValkeyServer, replicas: list[Replica]) -> None:
    one, *_ = replicas
    for _ in range(2):
        await one.get()
        await one.settled()
        assert one.took() == {"miss": 1, "put": 1}
        with server.owner() as client:
            client.flushall()


@real
async def test_a_wrong_password_is_read_again(server: ValkeyServer, replicas: list[Replica], clock: Clock) -> None:
    one, *_ = replicas
    server.password_file.write_text("of somebody else\n")
    assert await tried_until_left_alone(one) == {"failed"}
    assert "WRONGPASS" in one.cache.state or "password" in one.cache.state
    server.password_file.write_text(PASSWORD)
    await used_again(one, clock)


@real
@pytest.mark.parametrize("taken", ["-eval", "-set"])
async def test_a_user_without_a_right_costs_time_alone(
    server: ValkeyServer, replicas: list[Replica], taken: str
) -> None:
    one, *_ = replicas
    with server.owner() as client:
        client.execute_command("ACL", "SETUSER", USER, taken)
    assert await tried_until_left_alone(one) == {"failed"}
    assert "permissions" in one.cache.state


@real
async def test_a_replica_of_valkey_serves_what_it_has(server: ValkeyServer, replicas: list[Replica]) -> None:
    one, *_ = replicas
    await one.get()
    await one.settled()
    with server.owner() as client:
        client.replicaof("127.0.0.1", 1)
    one.took()
    await one.get()
    assert one.took() == {"hit": 1}
    await one.get(OTHER_KEY)
    assert one.took() == {"failed": 1}


@real
async def test_who_has_not_the_name_in_his_certificate_is_not_believed(server: ValkeyServer, clock: Clock) -> None:
    for changes in ({"url": f"valkeys://{USER}@localhost:{server.port}"}, {"ca_file": None}):
        replica = Replica(server.settings(**changes), clock)
        await replica.get()
        assert replica.took() == {"failed": 1}
        assert "CERTIFICATE_VERIFY_FAILED" in replica.cache.state
        await replica.cache.close()


GARBAGE = {
    "closes": b"",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a list": b"*3\r\n",
    "lists in lists": b"*1\r\n" * 50_000,
    "a petabyte": b"$1000000000000000\r\n",
    "more than an entry": b"$5242931\r\n",
    "less than nothing": b"$-5\r\n",
    "no length": b"$abc\r\n",
    "no number": b":x\r\n",
    "another number": b":7\r\n",
    "no value": b"$-1\r\n",
    "a word": b"+OK\r\n",
    "no line": b"+" * 200_000,
    "RESP 3": b"%1\r\n+a\r\n+b\r\n",
    "moved": b"-MOVED 3999 127.0.0.1:6381\r\n",
    "loading": b"-LOADING Valkey is loading the dataset in memory\r\n",
    "nothing but ends": b"\r\n\r\n\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=list(GARBAGE))
@pytest.mark.parametrize("greeting", [True, False], ids=["at once", "after a connection was made"])
async def test_garbage_is_no_entry(
    clock: Clock, garbage: bytes, greeting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_cache, "WAIT_SECONDS", 0.05)
    async with talker(garbage, greeting=garbage if greeting else b"+OK\r\n") as configured:
        replica = Replica(configured, clock)
        assert await replica.get() == Loaded(b"document", 60.0)
        assert replica.took().keys() & {"failed", "refused_version"}
        await replica.cache.close()


# --- joined


def test_a_server_without_it_does_not_load_its_client() -> None:
    script = "import sys, webhook.composition as c; from webhook.settings import Settings; c.build(Settings());"
    script += "sys.exit('valkey' in sys.modules or 'webhook.valkey' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@real
async def test_it_is_joined_where_settings_name_it(server: ValkeyServer) -> None:
    results: list[str] = []
    outside = join(settings.Settings(valkey=server.settings()), Observers(shared=results.append))
    assert outside.shared is not None
    assert outside.shared.state == "not asked yet"
    await outside.shared.get_or_load(KEY, lambda: asyncio.sleep(0, Loaded(b"document", 1.0)))
    assert results == ["miss"]
    await outside.close()


@pytest.mark.parametrize("key", [b"k" * 31, b"k" * 31 + b"\n", None], ids=["short", "short but for its end", "none"])
def test_a_key_that_does_not_protect_stops_the_start(tmp_path: Path, key: bytes | None) -> None:
    path = tmp_path / "key"
    if key is not None:
        path.write_bytes(key)
    configured = settings.Settings(valkey=settings.Valkey(url="valkey://127.0.0.1", key_file=path))
    with pytest.raises(OperatorError, match="COUNTERSIGN_VALKEY_KEY_FILE: "):
        join(configured)


# --- the last one


@real
async def test_the_last_one_is_there_when_it_is_good_no_more(replicas: list[Replica], clock: Clock) -> None:
    one, other, *_ = replicas
    made = clock.now

    async def load(value: bytes, stale: float) -> None:
        async def bring() -> Loaded[bytes]:
            return Loaded(value, 60.0, stale=stale)

        await one.cache.get_or_load(KEY, bring)
        await one.settled()

    await load(b"document", 3600.0)
    clock.now += 3599.0
    assert await other.cache.last(KEY, 3600.0) == (b"document", made)
    assert await other.cache.last(OTHER_KEY, 3600.0) is None
    assert await other.cache.last(KEY, 3000.0) is None
    assert other.took() == {"hit": 1, "refused_expired": 1}
    await load(b"gone", 0.0)  # what is not kept takes the place of what was
    assert await other.cache.last(KEY, 3600.0) is None
