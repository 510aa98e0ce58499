"""Which keys are at hand while KMS answers well, ends them, or says nothing; and how long."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from tests.doubles import aws
from webhook import settings
from webhook.aws.kms import KMS
from webhook.aws.sdk import SDK
from webhook.demo import signing
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError, RejectedError
from webhook.trust import keys, kms, material
from webhook.trust.keys import KeySource
from webhook.trust.kms import Fetched, KMSKey

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
REFRESH, STALE = settings.AWS().kms_refresh, settings.AWS().kms_stale
RELEASE, PIPELINE = kms.parse("awskms:///alias/release"), kms.parse("awskms:///alias/pipeline")
FIRST, SECOND = (
    Fetched(material.parse_public_key(signing.new_key("p256").public_pem), f"arn:aws:kms:us-west-2:1:key/{name}")
    for name in ("first", "second")
)
THROTTLED = InconclusiveError(Code.TRUST_UNAVAILABLE, "kms:GetPublicKey: too many requests")
DISABLED = RejectedError(Code.TRUST_UNAVAILABLE, "the key is disabled")
UNSUPPORTED = MalformedError(Code.UNSUPPORTED, "keys of the kind 'SM2' are not supported")


class Service:
    """A key service, by what `says` holds of each name; counts who is asked for."""

    def __init__(self) -> None:
        self.says: dict[KMSKey, Fetched | Exception] = {RELEASE: FIRST, PIPELINE: SECOND}
        self.asked = Counter[KMSKey]()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, place: KMSKey) -> Fetched:
        self.asked[place] += 1
        assert self.gate.wait(20)
        said = self.says[place]
        if isinstance(said, Exception):
            raise said
        return said


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def clock(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds - 1000.0)


class Counted(list[tuple[str, str]]):
    def __call__(self, key: str, result: str) -> None:
        self.append((key, result))


class World:
    """A source, its service and its time."""

    def __init__(self, fetch: Callable[[KMSKey], Fetched] | None = None) -> None:
        self.service, self.time, self.counted = Service(), Time(), Counted()
        self.source = KeySource(
            settings.AWS(),
            fetch or self.service,
            observe=self.counted,
            clock=self.time.clock,
            monotonic=self.time.monotonic,
        )

    def passes(self, seconds: float) -> None:
        """Time goes on, and whoever is due was asked for."""
        self.time.seconds += seconds
        concurrent.futures.wait(self.source.ask_due(), timeout=20)

    def said(self) -> str:
        return self.source.states[0].describe(self.time.clock())

    def key(self, place: KMSKey = RELEASE) -> str:
        """The fingerprint of the key at hand, or why there is none."""
        try:
            return self.source.current.key_of(place).fingerprint
        except InconclusiveError as error:
            return f"{error.code}: {error.detail}"


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.service.gate.set()
    made.source.close()


def test_a_key_is_at_hand_when_its_policy_loads_and_no_review_asks_for_it(world: World) -> None:
    world.source.use([RELEASE, PIPELINE, RELEASE])

    assert (world.key(RELEASE), world.key(PIPELINE)) == (FIRST.key.fingerprint, SECOND.key.fingerprint)
    assert world.service.asked == {RELEASE: 1, PIPELINE: 1}
    assert world.said() == f"{FIRST.key}, {FIRST.arn}, fetched 0 s ago"
    assert sorted(world.counted) == [(str(PIPELINE), "success"), (str(RELEASE), "success")]
    current = world.source.current
    assert pickle.loads(pickle.dumps(current.keys)) == current.keys


def test_what_is_named_already_is_not_asked_for_again(world: World) -> None:
    world.source.use([RELEASE])
    for _ in range(3):
        world.source.use([RELEASE])
    world.source.use([RELEASE, PIPELINE])
    assert world.service.asked == {RELEASE: 1, PIPELINE: 1}


def test_a_policy_waits_a_bounded_time_for_its_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FIRST_SECONDS", 0.05)
    world.service.gate.clear()
    world.source.use([RELEASE])
    assert "it was not fetched yet" in world.key()

    world.service.gate.set()
    world.passes(0)
    assert world.key() == FIRST.key.fingerprint


def test_each_key_is_asked_for_by_one_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FIRST_SECONDS", 0.05)
    world.service.gate.clear()
    world.source.use([RELEASE])
    for _ in range(10):
        world.time.seconds += 2 * REFRESH
        world.source.ask_due()
        world.source.use([PIPELINE])
        world.source.use([RELEASE])
    assert world.service.asked[RELEASE] == 1


def test_keys_are_refreshed_before_the_interval_ends_and_not_much_sooner(world: World) -> None:
    world.source.use([RELEASE])
    world.passes(0.79 * REFRESH)
    assert world.service.asked[RELEASE] == 1
    world.passes(0.21 * REFRESH)
    assert world.service.asked[RELEASE] == 2


def test_an_alias_pointed_elsewhere_is_another_key_and_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world.source.use([RELEASE])
    before = world.source.current
    world.service.says[RELEASE] = SECOND
    world.passes(REFRESH)

    assert world.key() == SECOND.key.fingerprint
    assert before.key_of(RELEASE) == FIRST.key  # a review that had begun goes on with what it had
    said = caplog.messages[-1]
    assert all(part in said for part in (FIRST.arn, FIRST.key.fingerprint, SECOND.arn, SECOND.key.fingerprint))


@pytest.mark.parametrize("end", [DISABLED, UNSUPPORTED])
def test_what_ends_a_key_ends_it_at_the_next_refresh(
    world: World, end: CountersignError, caplog: pytest.LogCaptureFixture
) -> None:
    world.source.use([RELEASE])
    world.service.says[RELEASE] = end
    assert world.key() == FIRST.key.fingerprint
    world.passes(REFRESH)

    assert world.key() == f"trust_unavailable: the key {RELEASE} is not at hand: {end.detail}"
    assert world.said() == f"not at hand; {end.detail}"
    assert world.counted[-1] == (str(RELEASE), "ended")
    assert f"{end.detail} (not at hand)" in caplog.messages[-1]

    world.service.says[RELEASE] = FIRST
    world.passes(keys.RETRY_SECONDS)
    assert world.key() == FIRST.key.fingerprint


@pytest.mark.parametrize("silence", [THROTTLED, RuntimeError("a mistake of ours")])
def test_the_last_good_key_stays_for_an_hour_without_answers_and_says_so(
    world: World, silence: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.source.use([RELEASE])
    world.service.says[RELEASE] = silence
    world.passes(REFRESH)
    assert world.key() == FIRST.key.fingerprint
    assert "fetched 5 min ago; not refreshed: " in world.said()
    assert sum("the last good one stays" in message for message in caplog.messages) == 1
    said = world.source.current.stale_keys[RELEASE]
    assert said.startswith("fetched at 2026-11-21T12:00:00+00:00; not refreshed: ")

    world.passes(STALE - REFRESH - 1)
    assert world.key() == FIRST.key.fingerprint
    world.time.seconds += 1  # nobody watches
    assert "the last good key is too old by now" in world.key()
    world.passes(0)
    assert world.said().startswith("not at hand; not refreshed")

    assert world.source.current.stale_keys == {}, "it is not at hand any more"

    world.service.says[RELEASE] = FIRST
    world.passes(REFRESH)
    assert world.key() == FIRST.key.fingerprint
    assert world.source.current.stale_keys == {}


def test_what_ended_is_not_brought_back_by_silence(world: World) -> None:
    world.source.use([RELEASE])
    world.service.says[RELEASE] = DISABLED
    world.passes(REFRESH)
    world.service.says[RELEASE] = THROTTLED
    world.passes(REFRESH)
    assert "too many requests" in world.key()


def test_a_key_that_never_came_is_asked_for_again_soon_and_ever_less_often(world: World) -> None:
    world.service.says[RELEASE] = THROTTLED
    world.source.use([RELEASE])
    assert world.key().endswith(THROTTLED.detail)
    for _ in range(int(3600 / keys.TICK_SECONDS)):
        world.passes(keys.TICK_SECONDS)
    assert 3600 / REFRESH < world.service.asked[RELEASE] < 3600 / REFRESH * 1.25 + 8


def test_a_key_that_no_policy_names_any_more_stays_for_the_reviews_that_began(world: World) -> None:
    world.source.use([RELEASE, PIPELINE])
    world.source.use([PIPELINE])
    assert world.key(RELEASE) == FIRST.key.fingerprint
    assert [state.place for state in world.source.states] == [PIPELINE]

    world.passes(keys.LEFT_SECONDS)
    assert "it was not fetched yet" in world.key(RELEASE)
    assert world.service.asked[RELEASE] == 1


def test_a_key_that_is_named_again_is_asked_for_again(world: World) -> None:
    world.source.use([RELEASE])
    world.source.use([])
    world.service.says[RELEASE] = DISABLED
    world.source.use([RELEASE])
    assert "disabled" in world.key()


def test_more_keys_than_may_be_are_not_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KEYS_MAX", 1)
    world.source.use([RELEASE, PIPELINE])
    assert world.key(RELEASE) == FIRST.key.fingerprint
    assert "more than 1 keys are named" in world.key(PIPELINE)
    assert world.service.asked == {RELEASE: 1}


async def test_watching_goes_on_after_an_error_and_ends_when_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "TICK_SECONDS", 0.001)
    await asyncio.to_thread(world.source.use, [RELEASE])
    watching = asyncio.create_task(world.source.watch())
    for _ in range(3):
        world.time.seconds += REFRESH
        asked = world.service.asked[RELEASE]
        async with asyncio.timeout(5):
            while world.service.asked[RELEASE] == asked:
                await asyncio.sleep(0.001)
    world.source.close()  # nothing can be asked for any more
    world.time.seconds += REFRESH
    await asyncio.sleep(0.05)
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert watching.cancelled()


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of moto as an owner of keys has it."""
    with aws.moto() as url:
        for name, value in aws.variables(url).items():
            monkeypatch.setenv(name, value)
        client = boto3.client("kms", region_name=aws.REGION)
        yield client
        client.close()


def test_a_key_rotated_by_its_alias_and_deleted(owner: Any) -> None:
    """All of it: the SDK's call, its answer, the key; two keys under one alias, then none."""
    data = b"the signed bytes"
    first, second = (owner.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"] for _ in range(2))
    by_first, by_second = (
        owner.sign(KeyId=made["KeyId"], Message=data, SigningAlgorithm="ECDSA_SHA_256")["Signature"]
        for made in (first, second)
    )
    owner.create_alias(AliasName="alias/release", TargetKeyId=first["KeyId"])
    sdk = SDK(settings.AWS())
    world = World(KMS(sdk.call, settings.AWS()).fetch)

    world.source.use([RELEASE])
    world.source.current.key_of(RELEASE).verify(by_first, data)

    owner.update_alias(AliasName="alias/release", TargetKeyId=second["KeyId"])
    world.passes(REFRESH)
    world.source.current.key_of(RELEASE).verify(by_second, data)
    with pytest.raises(RejectedError):
        world.source.current.key_of(RELEASE).verify(by_first, data)

    owner.delete_alias(AliasName="alias/release")
    world.passes(REFRESH)
    assert "there is no such key or alias" in world.key()
    world.source.close()
    sdk.close()
