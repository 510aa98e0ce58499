"""How ECR is logged in to: whom AWS is asked for, how often, and what becomes of a token."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.doubles.ecr import ELSEWHERE, HOST, OWN, REGISTRIES, STRANGERS, entry
from tests.doubles.image import DIGEST, SECRET, checked, filled, refusal
from tests.doubles.registry import Given, HostileRegistry, Rule, bearer, client, on, running, tokens
from tests.evidence import shop
from tests.evidence.shop import Shop
from webhook import settings
from webhook.aws import ecr as login
from webhook.aws.calls import AWSError, Call, Client, Identity, Kind
from webhook.aws.door import AWS
from webhook.aws.ecr import ECRLogin
from webhook.aws.sdk import SDK
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code, CountersignError, InconclusiveError
from webhook.evidence.collect import Collector
from webhook.oci import authn, docker_config
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository

ACTION = "ecr:GetAuthorizationToken"
HOURS = 3600.0
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OTHERS = "444455556666.dkr.ecr.us-west-2.amazonaws.com"


def credential(number: int) -> Credential:
    return Credential(username="AWS", password=f"{SECRET}-{number}")


def encoded(number: int) -> str:
    return base64.b64encode(f"AWS:{SECRET}-{number}".encode()).decode("ascii")


def sent(number: int) -> str:
    return authn.basic(credential(number))


@dataclass(slots=True)
class Clock:
    """Both clocks, which go only when they are told to."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


@dataclass(slots=True)
class Desk:
    """Stands behind the door to AWS and hands out tokens 1, 2, 3 …; `errors` come first, one by one.

    `answer` replaces what is answered; `gate`, where it is closed, keeps every call waiting.
    """

    clock: Clock
    hours: float = 12.0
    partition: str = "aws"
    errors: list[AWSError] = field(default_factory=list)
    answer: Mapping[str, object] | None = None
    calls: list[Call] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def call(self, call: Call) -> Mapping[str, object]:
        self.calls.append(call)
        number = len(self.calls)
        assert self.gate.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        if self.answer is not None:
            return self.answer
        data = {
            "authorizationToken": encoded(number),
            "expiresAt": self.clock.now() + timedelta(hours=self.hours),
            "proxyEndpoint": "https://evil.example",
        }
        return {"authorizationData": data if call.client.service == "ecr-public" else [data]}

    def identity(self, region: str) -> Identity:
        raise AssertionError("nobody asks who we are")

    def partition_of(self, region: str) -> str:
        assert region == ""
        return self.partition

    def home(self) -> str:
        return ""

    def endpoint_of(self, client: Client) -> str:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(clock: Clock) -> Desk:
    return Desk(clock)


@pytest.fixture
async def source(desk: Desk, clock: Clock) -> AsyncIterator[ECRLogin]:
    aws = AWS(lambda: desk)
    source = ECRLogin(aws, public=True, clock=clock, now=clock.now)
    yield source
    desk.gate.set()
    await source.close()
    aws.close()


def accepting(*numbers: int) -> Rule:
    """ECR: asks for Basic wherever none of those tokens came."""
    good = {sent(number) for number in numbers}

    def rule(request: Incoming) -> Outgoing | None:
        if request.headers.get("authorization") in good:
            return None
        return Outgoing(401, (("www-authenticate", f'Basic realm="https://{HOST}/",service="ecr.amazonaws.com"'),))

    return rule


async def settled(source: ECRLogin) -> None:
    """What was begun in the background has ended."""
    while source._renewals:
        await asyncio.sleep(0.001)


class TestForWhom:
    @pytest.mark.parametrize(("host", "expected"), REGISTRIES.items(), ids=REGISTRIES)
    async def test_aws_is_asked_where_and_how_the_host_is(
        self, host: str, expected: tuple[str, str, bool, bool], desk: Desk, source: ECRLogin
    ) -> None:
        region, desk.partition, fips, dual_stack = expected
        assert await source.credentials(Repository(host, OWN)) == (credential(1),)
        (call,) = desk.calls
        assert (call.client.service, call.operation, call.client.region) == ("ecr", "get_authorization_token", region)
        assert call.parameters == {}  # no `registryIds`: it is deprecated, and one token serves all
        # What the host does not say, the SDK's own variables may.
        assert (call.client.fips, call.client.dualstack) == (fips or None, dual_stack or None)

    @pytest.mark.parametrize(
        "host",
        [*(host for name, host in STRANGERS.items() if "public" not in name), "docker.io", "ghcr.io", "localhost:5000"],
    )
    async def test_strangers_get_nothing_and_aws_is_not_asked(self, host: str, desk: Desk, source: ECRLogin) -> None:
        assert await source.credentials(Repository(host, OWN)) == ()
        assert desk.calls == []

    @pytest.mark.parametrize(
        "host", [f"{HOST}.evil.example", HOST.replace("amazonaws", "amazonavs"), f"{HOST}:8443", "evil.example"]
    )
    async def test_a_stolen_look_is_asked_anonymously(self, host: str, desk: Desk, source: ECRLogin) -> None:
        app = filled(accepting(1))
        async with running(app) as address, client(entry(address, host), credentials=(source,)) as (registry, _):
            error = await refusal(registry.resolve(Repository(host, OWN), "v1"))
        assert error.code is Code.ACCESS_DENIED
        assert app.authorizations() == [None]
        assert desk.calls == []

    async def test_one_token_serves_every_account_of_the_region(self, desk: Desk, source: ECRLogin) -> None:
        for host in (HOST, OTHERS):
            assert await source.credentials(Repository(host, OWN)) == (credential(1),)
        assert len(desk.calls) == 1

    async def test_another_region_or_kind_of_host_has_its_own(self, desk: Desk, source: ECRLogin) -> None:
        names = (HOST, HOST.replace("us-west-2", "eu-west-1"), HOST.replace(".ecr.", ".ecr-fips."))
        found = [await source.credentials(Repository(name, OWN)) for name in (*names, *names)]
        assert found[:3] == found[3:] == [(credential(number),) for number in (1, 2, 3)]

    @pytest.mark.parametrize("host", ["public.ecr.aws", "ecr-public.aws.com"])
    async def test_public_ecr_is_logged_in_to_where_that_is_wished(
        self, host: str, desk: Desk, clock: Clock, source: ECRLogin
    ) -> None:
        assert await source.credentials(Repository(host, "eks/x")) == (credential(1),)
        (call,) = desk.calls
        assert (call.client.service, call.client.region) == ("ecr-public", "us-east-1")
        anonymous = ECRLogin(AWS(lambda: desk), clock=clock, now=clock.now)
        assert await anonymous.credentials(Repository(host, "eks/x")) == ()

    async def test_an_identity_of_another_partition_is_not_tried(self, desk: Desk, source: ECRLogin) -> None:
        desk.partition = "aws-us-gov"
        error = await refusal(source.credentials(Repository(HOST, OWN)))
        assert (type(error), error.code) == (InconclusiveError, Code.ACCESS_DENIED)
        assert "us-west-2 is in aws, our identity in aws-us-gov" in error.detail
        assert desk.calls == []


class TestHowLong:
    async def test_a_token_serves_for_half_its_life_and_then_on_while_another_is_had(
        self, desk: Desk, clock: Clock, source: ECRLogin
    ) -> None:
        repository = Repository(HOST, OWN)
        await source.credentials(repository)
        clock.seconds += 6 * HOURS - 1
        assert await source.credentials(repository) == (credential(1),)
        assert len(desk.calls) == 1
        clock.seconds += 1
        desk.gate.clear()
        for _ in range(5):  # nobody waits for AWS
            assert await source.credentials(repository) == (credential(1),)
        desk.gate.set()
        await settled(source)
        assert await source.credentials(repository) == (credential(2),)
        assert len(desk.calls) == 2

    async def test_a_renewal_that_fails_leaves_the_token_until_it_ends(
        self, desk: Desk, clock: Clock, source: ECRLogin, caplog: pytest.LogCaptureFixture
    ) -> None:
        repository = Repository(HOST, OWN)
        await source.credentials(repository)
        desk.errors = [AWSError(Kind.NO_CREDENTIALS, ACTION, "us-west-2") for _ in range(9)]
        clock.seconds += 6 * HOURS
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert await source.credentials(repository) == (credential(1),)
                await settled(source)
        assert len(desk.calls) == 2  # and it is not asked again at once
        assert "no login to ECR" in caplog.text
        assert SECRET not in caplog.text
        clock.seconds += login.RETRY_INTERVAL
        assert await source.credentials(repository) == (credential(1),)
        await settled(source)
        assert len(desk.calls) == 3
        clock.seconds += 6 * HOURS
        error = await refusal(source.credentials(repository))
        assert error.code is Code.ACCESS_DENIED

    @pytest.mark.parametrize("hours", [-90_000.0, 0.0])
    async def test_a_token_that_has_ended_already_is_used_once(
        self, hours: float, desk: Desk, source: ECRLogin
    ) -> None:
        desk.hours = hours
        for number in (1, 2):
            assert await source.credentials(Repository(HOST, OWN)) == (credential(number),)

    async def test_a_short_life_ends_early(self, desk: Desk, clock: Clock, source: ECRLogin) -> None:
        desk.hours = 1.0
        await source.credentials(Repository(HOST, OWN))
        clock.seconds += 1 * HOURS
        assert await source.credentials(Repository(HOST, OWN)) == (credential(2),)

    async def test_a_long_life_is_not_believed(self, desk: Desk, clock: Clock, source: ECRLogin) -> None:
        desk.hours = 10_000.0
        await source.credentials(Repository(HOST, OWN))
        clock.seconds += 12 * HOURS
        assert await source.credentials(Repository(HOST, OWN)) == (credential(2),)

    async def test_one_call_serves_all_who_wait(self, desk: Desk, source: ECRLogin) -> None:
        desk.gate.clear()
        waiting = [asyncio.create_task(source.credentials(Repository(HOST, OWN))) for _ in range(50)]
        while not desk.calls:
            await asyncio.sleep(0.001)
        waiting[0].cancel()  # whoever gives up takes it from nobody
        desk.gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1:] == [(credential(1),)] * 49
        assert len(desk.calls) == 1


class TestRefusedTokens:
    async def test_a_young_one_is_not_renewed(self, desk: Desk, clock: Clock, source: ECRLogin) -> None:
        """Else whoever names repositories that we may not read would use up what AWS lets us ask."""
        repository = Repository(HOST, OWN)
        await source.credentials(repository)
        clock.seconds += login.YOUNG - 1
        assert await source.credentials(repository, refused=(credential(1),)) == ()
        assert len(desk.calls) == 1

    async def test_an_older_one_is_renewed_once_for_all(self, desk: Desk, clock: Clock, source: ECRLogin) -> None:
        repository = Repository(HOST, OWN)
        await source.credentials(repository)
        clock.seconds += login.YOUNG
        found = await asyncio.gather(*(source.credentials(repository, refused=(credential(1),)) for _ in range(20)))
        assert found == [(credential(2),)] * 20
        assert len(desk.calls) == 2
        assert await source.credentials(repository, refused=(credential(1), credential(2))) == ()

    async def test_where_none_can_be_had_the_old_one_stays_for_others(
        self, desk: Desk, clock: Clock, source: ECRLogin
    ) -> None:
        repository = Repository(HOST, OWN)
        await source.credentials(repository)
        clock.seconds += login.YOUNG
        desk.errors = [AWSError(Kind.THROTTLED, ACTION, "us-west-2")]
        assert await source.credentials(repository, refused=(credential(1),)) == ()
        assert await source.credentials(repository) == (credential(1),)

    async def test_the_registry_door_renews_once_and_goes_on(self, desk: Desk, clock: Clock, source: ECRLogin) -> None:
        app = filled(accepting(1))
        async with running(app) as address, client(entry(address), credentials=(source,)) as (registry, _):
            repository = Repository(HOST, OWN)
            assert await registry.resolve(repository, "v1") == DIGEST
            clock.seconds += 1 * HOURS
            app.rules[:] = [accepting(2)]
            assert await registry.resolve(repository, "v1") == DIGEST
        assert app.authorizations() == [sent(1), sent(1), sent(2)]

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_refusal_that_stays_ends(self, status: int, desk: Desk, clock: Clock, source: ECRLogin) -> None:
        app = filled(on("/v2/", status))
        async with running(app) as address, client(entry(address), credentials=(source,)) as (registry, _):
            error = await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
            assert app.authorizations() == [sent(1)]
            clock.seconds += 1 * HOURS
            await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
            await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
        assert app.authorizations()[1:] == [sent(1), sent(2), sent(2)]
        assert (type(error), error.code) == (InconclusiveError, Code.ACCESS_DENIED)
        assert "ecr:BatchGetImage" in error.detail
        assert "do not suffice" in error.detail

    async def test_an_outage_of_aws_does_not_turn_a_refusal_into_an_outage(
        self, desk: Desk, clock: Clock, source: ECRLogin
    ) -> None:
        app = filled(accepting(1))
        async with running(app) as address, client(entry(address), credentials=(source,)) as (registry, _):
            await registry.resolve(Repository(HOST, OWN), "v1")
            clock.seconds += 1 * HOURS
            app.rules[:] = [accepting()]
            desk.errors = [AWSError(Kind.UNREACHABLE, ACTION, "us-west-2")]
            error = await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
        assert error.code is Code.ACCESS_DENIED


class TestAtTheRegistry:
    async def test_the_first_request_has_the_token(self, source: ECRLogin) -> None:
        """No round trip to be asked for it: what a cold review costs is one call to AWS."""
        app = filled(accepting(1))
        async with running(app) as address, client(entry(address), credentials=(source,)) as (registry, observed):
            repository = Repository(HOST, OWN)
            assert await registry.resolve(repository, "v1") == DIGEST
            assert await registry.fetch_manifest(repository, DIGEST)
            assert (await registry.fetch_referrers(repository, DIGEST)).supported
        assert observed.kinds == ["resolve", "manifest", "referrers"]
        assert set(app.authorizations()) == {sent(1)}

    async def test_a_redirect_takes_no_token_along(self, source: ECRLogin) -> None:
        app, storage = filled(accepting(1)), filled()
        async with running(app) as address, running(storage) as elsewhere:
            app.rules.append(on("/blobs/", 307, headers=(("location", f"http://{elsewhere}/v2/{OWN}/blobs/x"),)))
            entries = entry(address), settings.RegistryHost(elsewhere, insecure_http=True, loopback=True)
            async with client(*entries, credentials=(source,)) as (registry, _):
                found = await registry.fetch_manifest(Repository(HOST, OWN), DIGEST)
                await refusal(registry.fetch_blob(Repository(HOST, OWN), found.layers[0], max_bytes=100))  # type: ignore[union-attr]
        assert storage.authorizations() == [None]

    async def test_a_realm_elsewhere_is_not_sent_the_token(self, source: ECRLogin) -> None:
        service = filled(tokens("anonymous"))
        async with running(service) as elsewhere:
            app = filled(bearer(f"http://{elsewhere}/token", accepts=lambda _: False))
            entries = settings.RegistryHost(elsewhere, insecure_http=True, loopback=True)
            async with running(app) as address, client(entry(address), entries, credentials=(source,)) as (registry, _):
                error = await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
        assert error.code is Code.ACCESS_DENIED
        assert set(service.authorizations()) == {None}

    async def test_what_is_given_for_the_host_wins_and_aws_is_not_asked(self, desk: Desk, source: ECRLogin) -> None:
        given = Credential(username="AWS", password="of-docker-config")
        app = filled()
        sources = Given((given,)), source
        async with running(app) as address, client(entry(address), credentials=sources) as (registry, _):
            assert await registry.resolve(Repository(HOST, OWN), "v1") == DIGEST
        assert app.authorizations() == [authn.basic(given)]
        assert desk.calls == []

    @pytest.mark.parametrize(("key", "expected"), [(HOST, "given"), (ELSEWHERE, "of AWS")])
    async def test_the_door_asks_the_docker_config_first(
        self, key: str, expected: str, tmp_path: Path, source: ECRLogin
    ) -> None:
        path, given = tmp_path / "config.json", base64.b64encode(b"AWS:given").decode("ascii")
        path.write_text(json.dumps({"auths": {key: {"auth": given}}}))
        app = filled()
        async with running(app) as address:
            sources = docker_config.load(path), source
            async with client(entry(address), credentials=sources) as (registry, _):
                assert await registry.resolve(Repository(HOST, OWN), "v1") == DIGEST
        assert app.authorizations() == [f"Basic {given}" if expected == "given" else sent(1)]

    async def test_where_what_is_given_has_ended_ecr_s_own_is_tried(self, source: ECRLogin) -> None:
        given = Credential(username="AWS", password="of-twelve-hours-ago")
        app = filled(accepting(1))
        sources = Given((given,)), source
        async with running(app) as address, client(entry(address), credentials=sources) as (registry, _):
            assert await registry.resolve(Repository(HOST, OWN), "v1") == DIGEST
        assert app.authorizations() == [authn.basic(given), sent(1)]

    @pytest.mark.parametrize("kind", [Kind.NO_CREDENTIALS, Kind.UNREACHABLE])
    async def test_a_refusal_stays_one_where_nothing_else_can_be_had(
        self, kind: Kind, desk: Desk, source: ECRLogin
    ) -> None:
        desk.errors = [AWSError(kind, ACTION, "us-west-2")]
        sources = Given((Credential(username="AWS", password="of-docker-config"),)), source
        app = filled(accepting())
        async with running(app) as address, client(entry(address), credentials=sources) as (registry, _):
            error = await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
        assert error.code is Code.ACCESS_DENIED
        assert "answered 401" in error.detail

    async def test_other_registries_are_asked_as_before(self, desk: Desk, source: ECRLogin) -> None:
        app = filled()
        sources = (source,)
        async with (
            running(app) as address,
            client(entry(address, ELSEWHERE), credentials=sources) as (registry, observed),
        ):
            assert await registry.resolve(Repository(ELSEWHERE, OWN), "v1") == DIGEST
        assert app.authorizations() == [None]
        assert observed.kinds == ["resolve"]
        assert desk.calls == []

    async def test_public_ecr_gives_a_token_for_the_token(self, desk: Desk, source: ECRLogin) -> None:
        host = "public.ecr.aws"
        app = filled(tokens("abc"))
        async with running(app) as address:
            app.rules.append(bearer(f"http://{address}/token", accepts="abc".__eq__))
            async with client(entry(address, host), credentials=(source,)) as (registry, _):
                assert await registry.resolve(Repository(host, OWN), "v1") == DIGEST
        assert app.authorizations("/token") == [sent(1)]
        assert app.authorizations("/v2/") == [None, "Bearer abc"]


class TestRequests:
    """How often a registry is asked for what is attached to a digest: of ECR nothing more than of others."""

    @contextlib.asynccontextmanager
    async def shop(self, host: str, source: ECRLogin) -> AsyncIterator[Shop]:
        async with (
            shop.opened() as opened,
            running(opened.registry) as address,
            client(entry(address, host), credentials=(source,)) as (registry, _),
        ):
            collector = Collector(registry=registry, limits=settings.Evidence(), observe=lambda stage, seconds: None)
            yield replace(opened, collector=collector, repository=Repository(host, shop.NAME))
            await collector.close()

    @pytest.mark.parametrize("host", [HOST, ELSEWHERE])
    async def test_a_signature_where_it_was_before_takes_two(self, host: str, source: ECRLogin) -> None:
        async with self.shop(host, source) as opened:
            opened.sign()
            await opened.collect(enough=1)
            evidence, _ = await opened.collect(enough=1)
        assert (len(evidence), opened.requests) == (1, 2)

    @pytest.mark.parametrize("host", [HOST, ELSEWHERE])
    async def test_a_bundle_takes_three(self, host: str, source: ECRLogin) -> None:
        async with self.shop(host, source) as opened:
            opened.bundle()
            await opened.collect(enough=1)
            evidence, _ = await opened.collect(enough=1)
        assert (len(evidence), opened.requests) == (1, 3)

    async def test_a_cold_collection_takes_as_many_as_elsewhere_and_one_call_to_aws(
        self, desk: Desk, source: ECRLogin
    ) -> None:
        counts = []
        for host in (HOST, ELSEWHERE):
            async with self.shop(host, source) as opened:
                opened.bundle()
                await opened.collect()
                counts.append(opened.requests)
                given = set(opened.registry.authorizations())
                assert given == ({sent(1)} if host == HOST else {None})
        assert counts[0] == counts[1]
        assert len(desk.calls) == 1


class TestFailures:
    @pytest.mark.parametrize(
        ("kind", "code", "said"),
        [
            (Kind.DENIED, Code.ACCESS_DENIED, ACTION),
            (Kind.NO_CREDENTIALS, Code.ACCESS_DENIED, "EKS Pod Identity or IRSA"),
            (Kind.INVALID, Code.ACCESS_DENIED, ACTION),
            (Kind.THROTTLED, Code.RATE_LIMITED, ACTION),
            (Kind.UNREACHABLE, Code.REGISTRY_UNAVAILABLE, ACTION),
            (Kind.FAULT, Code.REGISTRY_UNAVAILABLE, ACTION),
            (Kind.OVERLOADED, Code.OVERLOADED, ACTION),
        ],
    )
    async def test_each_says_what_it_is(self, kind: Kind, code: Code, said: str, desk: Desk, source: ECRLogin) -> None:
        desk.errors = [AWSError(kind, ACTION, "us-west-2")]
        app = filled()
        async with running(app) as address, client(entry(address), credentials=(source,)) as (registry, _):
            error = await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
        assert (type(error), error.code) == (InconclusiveError, code)
        assert said in error.detail
        assert isinstance(error.__cause__, AWSError)
        assert app.seen == []

    def test_every_kind_has_a_code(self) -> None:
        assert set(login._CODES) == set(Kind)

    async def test_a_failure_is_remembered_for_a_moment(self, desk: Desk, clock: Clock, source: ECRLogin) -> None:
        desk.errors = [AWSError(Kind.THROTTLED, ACTION, "us-west-2")]
        for _ in range(3):
            assert (await refusal(source.credentials(Repository(HOST, OWN)))).code is Code.RATE_LIMITED
        assert len(desk.calls) == 1
        clock.seconds += login.FAILURE_LIFETIME
        assert await source.credentials(Repository(HOST, OWN)) == (credential(2),)

    async def test_one_region_s_failure_is_not_another_s(self, desk: Desk, source: ECRLogin) -> None:
        desk.errors = [AWSError(Kind.UNREACHABLE, ACTION, "us-west-2")]
        await refusal(source.credentials(Repository(HOST, OWN)))
        assert await source.credentials(Repository(HOST.replace("us-west-2", "eu-west-1"), OWN))

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"authorizationToken": None}, id="no token"),
            pytest.param({"authorizationToken": 7}, id="a number"),
            pytest.param({"authorizationToken": ""}, id="empty"),
            pytest.param({"authorizationToken": f"{SECRET}!"}, id="no base64"),
            pytest.param({"authorizationToken": base64.b64encode(SECRET.encode()).decode()}, id="no colon"),
            pytest.param({"authorizationToken": base64.b64encode(b"AWS:").decode()}, id="no password"),
            pytest.param({"authorizationToken": base64.b64encode(b":x").decode()}, id="no user name"),
            pytest.param({"authorizationToken": base64.b64encode(b"AWS:\xff").decode()}, id="no text"),
            pytest.param({"authorizationToken": base64.b64encode(b"AWS:" + b"x" * 20_000).decode()}, id="20 kB"),
            pytest.param({"expiresAt": None}, id="no end"),
            pytest.param({"expiresAt": "2026-11-21"}, id="an end in words"),
            pytest.param({"expiresAt": datetime(2026, 11, 22)}, id="an end without a zone"),  # noqa: DTZ001
        ],
    )
    async def test_an_answer_that_makes_no_sense_is_an_outage(
        self, changes: dict[str, object], desk: Desk, source: ECRLogin
    ) -> None:
        data = {"authorizationToken": encoded(1), "expiresAt": NOW + timedelta(hours=12)}
        desk.answer = {"authorizationData": [data | changes]}
        error = await refusal(source.credentials(Repository(HOST, OWN)))
        assert (type(error), error.code) == (InconclusiveError, Code.REGISTRY_UNAVAILABLE)
        assert len(error.detail) < 300

    @pytest.mark.parametrize("answer", [{}, {"authorizationData": []}, {"authorizationData": ["x"]}])
    async def test_an_answer_without_data_is_an_outage(
        self, answer: Mapping[str, object], desk: Desk, source: ECRLogin
    ) -> None:
        desk.answer = answer
        assert (await refusal(source.credentials(Repository(HOST, OWN)))).code is Code.REGISTRY_UNAVAILABLE

    async def test_nothing_shows_a_token(self, desk: Desk, source: ECRLogin) -> None:
        found = await source.credentials(Repository(HOST, OWN))
        place = source._place(HOST)
        assert place is not None
        assert SECRET not in repr((found, source._logins.get(place), source))


class TestThroughTheSDK:
    """The calls as they go over the wire, to a service on loopback that answers as ECR does."""

    @pytest.fixture(autouse=True)
    def identity(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_PROFILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_REGION", "us-west-2")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")

    async def ask(self, monkeypatch: pytest.MonkeyPatch, service: HostileRegistry, host: str = HOST) -> object:
        async with running(service) as address:
            for name in ("ECR", "ECR_PUBLIC"):
                monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", f"http://{address}")
            aws = AWS(lambda: SDK(settings.AWS(attempts=1)))
            source = ECRLogin(aws, public=True)
            try:
                return await source.credentials(Repository(host, OWN))
            except CountersignError as error:
                return checked(error)
            finally:
                await source.close()
                aws.close()

    @pytest.mark.parametrize(
        ("host", "target"),
        [
            (HOST, "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"),
            ("public.ecr.aws", "SpencerFrontendService.GetAuthorizationToken"),
        ],
    )
    async def test_a_token(self, host: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        data = {"authorizationToken": encoded(1), "expiresAt": datetime.now(UTC).timestamp() + 12 * HOURS}
        body = json.dumps({"authorizationData": data if host == "public.ecr.aws" else [data]}).encode()
        service = HostileRegistry(on("/", 200, body=body))
        assert await self.ask(monkeypatch, service, host) == (credential(1),)
        (request,) = service.seen
        assert request.headers["x-amz-target"] == target
        region = "us-east-1" if host == "public.ecr.aws" else "us-west-2"
        assert f"/{region}/" in request.headers["authorization"]
        assert json.loads(request.body) == {}

    @pytest.mark.parametrize(
        ("status", "name", "code"),
        [
            (400, "AccessDeniedException", Code.ACCESS_DENIED),
            (400, "UnrecognizedClientException", Code.ACCESS_DENIED),
            (400, "ThrottlingException", Code.RATE_LIMITED),
            (500, "ServerException", Code.REGISTRY_UNAVAILABLE),
        ],
    )
    async def test_a_refusal(self, status: int, name: str, code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
        body = json.dumps(
            {"__type": name, "message": f"no {SECRET}" if name == "ThrottlingException" else "no"}
        ).encode()
        error = await self.ask(monkeypatch, HostileRegistry(on("/", status, body=body)))
        assert isinstance(error, InconclusiveError)
        assert error.code is code
        assert ACTION in error.detail

    async def test_no_identity(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        service = HostileRegistry(on("/", 200))
        error = await self.ask(monkeypatch, service)
        assert isinstance(error, InconclusiveError)
        assert error.code is Code.ACCESS_DENIED
        assert "Pod Identity" in error.detail
        assert service.seen == []

    async def test_a_region_that_is_none_costs_no_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        service = HostileRegistry(on("/", 200))
        error = await self.ask(monkeypatch, service, HOST.replace("us-west-2", "zz-nowhere-1"))
        assert isinstance(error, InconclusiveError)
        assert error.code is Code.ACCESS_DENIED
        assert service.seen == []


async def test_names_that_do_not_exist_are_bounded(desk: Desk, source: ECRLogin) -> None:
    for number in range(login.PLACES_MAX + 10):
        region = f"us-{chr(97 + number % 26)}{chr(97 + number // 26)}-1"
        await source.credentials(Repository(HOST.replace("us-west-2", region), OWN))
    assert len(source._logins) == login.PLACES_MAX


async def test_closing_ends_what_is_under_way(desk: Desk, clock: Clock, source: ECRLogin) -> None:
    await source.credentials(Repository(HOST, OWN))
    clock.seconds += 6 * HOURS
    desk.gate.clear()
    await source.credentials(Repository(HOST, OWN))
    assert source._renewals
    await source.close()
    await asyncio.sleep(0)
    assert not source._renewals
