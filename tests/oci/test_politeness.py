"""Registries that fail, stall or want to be left alone, over real sockets: how often each is asked, and who else is."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

import pytest

from tests.doubles.image import DIGEST, EVERY, Ask, filled, refusal
from tests.doubles.registry import (
    HostileRegistry,
    Lending,
    bearer,
    client,
    listed,
    on,
    raw,
    running,
    stalling,
    times,
    tokens,
)
from webhook import settings
from webhook.breaker import FAILURES
from webhook.errors import Code, InconclusiveError
from webhook.oci import courtesy
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository
from webhook.oci.registry import Registry

ONCE = settings.Registry(attempts=1)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courtesy, "FIRST_PAUSE", 0.2)


@dataclass
class Stalling:
    """A server that takes connections and says nothing, until it `answers`."""

    connections: int = 0
    answers: bool = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.readuntil(b"\r\n\r\n")
        if not self.answers:
            await asyncio.Event().wait()
        found = f"HTTP/1.1 200 OK\r\ndocker-content-digest: {DIGEST}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(found.encode())
        await writer.drain()


@dataclass
class Counting:
    """A server of one image, slow, which counts how many ask at once."""

    seconds: float
    now: int = 0
    most: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(self.seconds)
            self.now -= 1
            head = f"HTTP/1.1 200 OK\r\ndocker-content-digest: {DIGEST}\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())
            await writer.drain()


async def fail(registry: Registry, repository: Repository, *, times: int = FAILURES) -> None:
    for _ in range(times):
        error = await refusal(registry.resolve(repository, "v1"))
        assert (error.code, "row" in error.detail) == (Code.REGISTRY_UNAVAILABLE, False)


class TestNobodyAnswers:
    async def test_who_refuses_connections_is_not_dialled_for_a_while(self) -> None:
        async with client(listed("127.0.0.1:1"), limits=ONCE) as (registry, observed):
            await fail(registry, Repository("127.0.0.1:1", "team/app"))
            error = await refusal(registry.resolve(Repository("127.0.0.1:1", "team/other"), "v1"))
            assert (type(error), error.code) == (InconclusiveError, Code.REGISTRY_UNAVAILABLE)
            assert "'127.0.0.1:1' has not answered for" in error.detail
            assert "5 times in a row, at last: connection refused" in error.detail
            assert re.search(r"not asked again for [12] s", error.detail)
        assert len(observed.requests) == FAILURES

    @pytest.mark.parametrize("ask", EVERY)
    async def test_who_stalls_is_asked_by_one_who_goes_to_see(self, ask: Ask, short_pauses: None) -> None:
        server, network = Stalling(), settings.Network(read_timeout=0.05)
        async with raw(server) as host, client(listed(host), network=network) as (registry, _):
            repository = Repository(host, "team/app")
            for _ in range(FAILURES):
                assert "without data" in (await refusal(ask(registry, repository))).detail
            assert "in a row" in (await refusal(ask(registry, repository))).detail
            assert server.connections == FAILURES
            await asyncio.sleep(0.3)
            errors = await asyncio.gather(*(refusal(ask(registry, repository)) for _ in range(20)))
            assert server.connections == FAILURES + 1
            assert sum("in a row" in error.detail for error in errors) == 19

    async def test_who_is_back_is_asked_by_all_again(self, short_pauses: None) -> None:
        server, network = Stalling(), settings.Network(read_timeout=0.1)
        async with raw(server) as host, client(listed(host), network=network) as (registry, _):
            repository = Repository(host, "team/app")
            await fail(registry, repository)
            assert [one.authority for one in registry.shunned()] == [host]
            server.answers = True
            await asyncio.sleep(0.3)
            for _ in range(3):
                assert await registry.resolve(repository, "v1") == DIGEST
            assert registry.shunned() == ()

    async def test_who_went_to_see_and_gave_up_keeps_nobody_out(self, short_pauses: None) -> None:
        server, network = Stalling(), settings.Network(read_timeout=0.1)
        async with raw(server) as host, client(listed(host), network=network) as (registry, _):
            repository = Repository(host, "team/app")
            await fail(registry, repository)
            await asyncio.sleep(0.3)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await registry.resolve(repository, "v1")
            server.answers = True
            assert await registry.resolve(repository, "v1") == DIGEST

    async def test_who_lends_a_credential_stops_nobody_else(self) -> None:
        async with client(listed("127.0.0.1:1"), limits=ONCE) as (registry, observed):
            repository = Repository("127.0.0.1:1", "team/app")
            tenant = registry.with_credentials(Lending((Credential(username="a", password="b"),)))
            await fail(tenant, repository)
            assert "in a row" in (await refusal(tenant.resolve(repository, "v1"))).detail
            assert "in a row" not in (await refusal(registry.resolve(repository, "v1"))).detail
        assert len(observed.requests) == FAILURES + 1


class TestFailures:
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    async def test_one_repository_that_fails_stops_no_other(self, status: int, app: HostileRegistry) -> None:
        app.rules.append(on("/team/app/", status))
        app.repositories["team/other"] = app.repositories["team/app"]
        async with running(app) as host, client(listed(host)) as (registry, _):
            for _ in range(3):
                error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
                assert error.code is Code.REGISTRY_UNAVAILABLE
            assert f"at last: answered {status}" in error.detail
            assert await registry.resolve(Repository(host, "team/other"), "v1") == DIGEST
        assert len(app.seen) == FAILURES + 1

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
    async def test_an_answer_is_no_failure(self, status: int, app: HostileRegistry) -> None:
        app.rules.append(on("/v2/", status))
        async with running(app) as host, client(listed(host)) as (registry, _):
            for _ in range(3 * FAILURES):
                await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
            assert registry.shunned() == ()
        assert len(app.seen) >= 3 * FAILURES

    async def test_a_token_service_that_is_away_is_not_the_registry(self, app: HostileRegistry) -> None:
        app.repositories["public/app"] = app.repositories["team/app"]
        away = "127.0.0.1:1"
        asks = bearer(f"http://{away}/token", accepts=lambda token: False)
        app.rules.append(lambda request: asks(request) if "/team/" in request.path else None)
        async with running(app) as host, client(listed(host), listed(away), limits=ONCE) as (registry, _):
            for _ in range(FAILURES + 1):
                error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
            assert f"'{away}' has not answered" in error.detail
            assert [one.authority for one in registry.shunned()] == [away]
            assert await registry.resolve(Repository(host, "public/app"), "v1") == DIGEST

    async def test_one_registry_stops_nobody_whom_another_names_too(self, app: HostileRegistry) -> None:
        """Whoever pushes into a registry of his own chooses whither it sends us, and what is asked there."""
        evil, service = filled(), HostileRegistry(on("/token", 500))
        async with running(app) as host, running(evil) as other, running(service) as realm:
            for one in (app, evil):
                one.rules.append(bearer(f"http://{realm}/token", accepts=lambda token: token == "good"))
            entries = (listed(host), listed(other), listed(realm))
            async with client(*entries, limits=ONCE) as (registry, _):
                for _ in range(FAILURES + 1):
                    error = await refusal(registry.resolve(Repository(other, "team/app"), "v1"))
                assert "in a row" in error.detail
                service.rules[:] = [tokens("good")]
                assert await registry.resolve(Repository(host, "team/app"), "v1") == DIGEST


class TestLimits:
    @pytest.mark.parametrize(("status", "code"), [(429, Code.RATE_LIMITED), (503, Code.REGISTRY_UNAVAILABLE)])
    async def test_who_names_an_hour_is_left_alone_by_all_reviews(
        self, status: int, code: Code, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/v2/", status, headers=(("retry-after", "3600"),)))
        async with running(app) as host, client(listed(host)) as (registry, _):
            first = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
            for view in (registry, registry.with_credentials(Lending())):
                error = await refusal(view.resolve(Repository(host, "team/app"), "v1"))
                assert (first.code, error.code) == (code, code)
                found = re.search(r"left alone \((\d+)\) and is not asked again for (\d+) s", error.detail)
                assert found is not None
                assert (int(found[1]), 50 < int(found[2]) <= 60) == (status, True)
        assert len(app.seen) == 1

    async def test_who_waits_already_waits_for_all(self, app: HostileRegistry) -> None:
        """A hundred reviews that find a limit of a second do not ask a hundred times to find it."""
        app.rules.append(times(1, on("/v2/", 429, headers=(("retry-after", "1"),))))
        limits = settings.Registry(connections_per_host=1)
        async with running(app) as host, client(listed(host), limits=limits) as (registry, _):
            started = time.monotonic()
            asked = [registry.resolve(Repository(host, "team/app"), "v1") for _ in range(100)]
            assert await asyncio.gather(*asked) == [DIGEST] * 100
            assert time.monotonic() - started >= 1.0
        assert len(app.seen) == 101


class TestAtOnce:
    async def test_a_host_is_asked_for_so_much_at_once_and_whoever_waits_blames_nobody(self) -> None:
        server = Counting(0.1)
        limits, network = settings.Registry(connections_per_host=2), settings.Network(request_timeout=0.5)
        async with raw(server) as host, client(listed(host), limits=limits, network=network) as (registry, observed):
            asked = [registry.resolve(Repository(host, f"team/{number}"), "v1") for number in range(20)]
            assert await asyncio.gather(*asked) == [DIGEST] * 20, "in a second, which is longer than a request may take"
        assert server.most == 2
        assert {status for _, _, status in observed.requests} == {200}

    async def test_a_hundred_hosts_that_stall_hold_up_no_other(self, app: HostileRegistry) -> None:
        network = settings.Network(read_timeout=30.0, request_timeout=30.0)
        async with running(app) as host, stalling(100) as slow:
            entries = [listed(host), *(listed(one) for one in slow)]
            async with client(*entries, network=network) as (registry, _):
                flood = [
                    asyncio.create_task(registry.resolve(Repository(one, f"team/{number}"), "v1"))
                    for number in range(16)
                    for one in slow
                ]
                await asyncio.sleep(0.5)
                async with asyncio.timeout(10):
                    for _ in range(20):
                        assert await registry.resolve(Repository(host, "team/app"), "v1") == DIGEST
                assert not any(task.done() for task in flood)
                for task in flood:
                    task.cancel()
                await asyncio.gather(*flood, return_exceptions=True)
