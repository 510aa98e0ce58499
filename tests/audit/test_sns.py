"""Denials reach the topic, the same one once in a while, and nothing that AWS does holds up a review or grows."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.sns.models import sns_backends

from tests.audit.test_record import POLICY
from tests.doubles import aws as aws_double
from webhook import settings
from webhook.audit.denial import IMAGES_MAX, denials
from webhook.audit.record import Entry, compose
from webhook.audit.sns import ATTEMPTS, LONGEST_PAUSE, QUEUE_MAX, REMEMBERED_MAX, WINDOW, SNSSink
from webhook.audit.trail import Trail
from webhook.aws.calls import AWSError, Call, Client, Identity, Kind
from webhook.aws.door import AWS
from webhook.aws.sdk import SDK
from webhook.errors import Code
from webhook.kube.workload import Request
from webhook.oci.reference import Digest
from webhook.policy.decision import ImageDecision, PolicyDecision, Result, ReviewDecision
from webhook.policy.model import Mode

TOPIC = "arn:aws:sns:us-west-2:111122223333:denials"
AT = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
REQUEST = Request("uid-1", "CREATE", "shop", "", "pods", "", "Pod", "api-7f", "jane", False, (), ())


@dataclass
class Topic:
    """What answers calls in the place of the SDK: keeps messages, or fails as it is told."""

    published: list[Mapping[str, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    failures: list[AWSError] = field(default_factory=list)  # of the next calls
    gate: threading.Event = field(default_factory=threading.Event)
    down: AWSError | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    def call(self, call: Call) -> Mapping[str, object]:
        self.calls.append(call)
        self.gate.wait(30)
        if self.down is not None:
            raise self.down
        if self.failures:
            raise self.failures.pop(0)
        self.published.append(call.parameters)
        return {"MessageId": str(len(self.published))}

    def identity(self, region: str) -> Identity:
        raise NotImplementedError

    def partition_of(self, region: str) -> str:
        raise NotImplementedError

    def home(self) -> str:
        return ""

    def endpoint_of(self, client: Client) -> str:
        raise NotImplementedError

    def close(self) -> None:
        pass

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(one["Message"]) for one in self.published]


@dataclass
class Desk:
    """A sink that publishes, with a clock and pauses of the test's."""

    topic: Topic
    sink: SNSSink
    lost: Counter[str]
    pauses: list[float]
    now: list[float]

    def deny(self, *entries: Entry) -> None:
        self.sink.write(b"".join(orjson.dumps(compose(entry), option=orjson.OPT_APPEND_NEWLINE) for entry in entries))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def desk(topic: Topic | None = None, *, arn: str = TOPIC) -> AsyncIterator[Desk]:
    topic = topic or Topic()
    lost: Counter[str] = Counter()
    pauses: list[float] = []
    now = [1000.0]

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    aws = AWS(lambda: topic, clock=itertools.count(0, 60).__next__)  # each call a minute later: its breaker is shut
    sink = SNSSink(
        topic=arn,
        aws=aws,
        dropped=lambda name, count: lost.update({name: count}),
        clock=lambda: now[0],
        pause=pause,
    )
    task = asyncio.create_task(sink.run())
    yield Desk(topic, sink, lost, pauses, now)
    topic.gate.set()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    aws.close()


def denied(
    *,
    digest: str = "ab",
    code: Code = Code.NO_SIGNATURE,
    namespace: str = "shop",
    policy: str = "production",
    result: Result = Result.DENIED,
    images: int = 1,
    dry_run: bool = False,
    mode: Mode = Mode.ENFORCE,
    blocked: bool = False,
) -> Entry:
    """A review that one policy refuses."""
    named = Digest("sha256", digest.zfill(64))
    said = PolicyDecision(
        replace(POLICY, name=policy),
        mode,
        result,
        code,
        "nothing signed with this key was found",
        "rules[0]",
        "any of: release",
        blocked=blocked,
    )
    found = tuple(
        ImageDecision(
            f"registry.example.com/pay/api:{index}",
            (("spec.containers[0]", "api"),),
            named if index == 0 else Digest("sha256", f"{index:064x}"),
            result,
            code,
            "nothing signed with this key was found",
            (said,),
        )
        for index in range(images)
    )
    request = Request("uid-1", "CREATE", namespace, "", "pods", "", "Pod", "api-7f", "jane", dry_run, (), ())
    word = {Result.DENIED: "deny", Result.ERROR: "error", Result.WARNED: "warn", Result.VERIFIED: "allow"}[result]
    return Entry(AT, 0.1, request, word, 403, ReviewDecision(word in ("allow", "warn"), 403, found, "rev"))


# --- what a message says


async def test_a_denial_says_what_where_who_why_and_by_which_policy() -> None:
    async with desk() as at:
        at.deny(denied())
        await at.until(lambda: len(at.topic.published) == 1)
    assert at.topic.calls[0].client.service == "sns"
    assert at.topic.calls[0].operation == "publish"
    assert at.topic.calls[0].client.region == "us-west-2"  # the topic's, whatever the server's own
    assert at.topic.published[0]["TopicArn"] == TOPIC
    assert at.topic.published[0]["Subject"] == (
        "countersign denied (no_signature) in shop: registry.example.com/pay/api:0"
    )
    assert at.topic.messages == [
        {
            "event": "denial",
            "time": "2026-11-21T13:00:00.000+00:00",
            "decision": "deny",
            "status": 403,
            "code": "no_signature",
            "detail": "nothing signed with this key was found",
            "image": "registry.example.com/pay/api:0",
            "digest": "sha256:" + "ab".zfill(64),
            "paths": ["spec.containers[0] api"],
            "namespace": "shop",
            "kind": "Pod",
            "name": "api-7f",
            "operation": "CREATE",
            "user": "jane",
            "uid": "uid-1",
            "policies": [
                {
                    "policy": "production",
                    "revision": "3f9c3f9c3f9c",
                    "rule": "rules[0]",
                    "code": "no_signature",
                    "wants": "any of: release",
                    "detail": "nothing signed with this key was found",
                }
            ],
            "policy_revision": "rev",
            "repeats": 0,
        }
    ]


UNTOLD = {
    "allowed": denied(result=Result.VERIFIED),
    "warned": denied(result=Result.WARNED),
    "dry-run": denied(dry_run=True),
}


@pytest.mark.parametrize("entry", UNTOLD.values(), ids=UNTOLD)
def test_what_was_no_denial_is_not_told(entry: Entry) -> None:
    assert not list(denials(compose(entry)))


def test_an_outage_does_not_look_like_a_refusal() -> None:
    (told,) = denials(compose(denied(result=Result.ERROR, code=Code.REGISTRY_UNAVAILABLE)))
    assert told.headline.startswith("countersign could not examine (registry_unavailable)")
    assert told.content["decision"] == "error"


def test_only_the_policies_that_refuse_are_named() -> None:
    (warn,) = denials(compose(denied(mode=Mode.WARN)))
    (blocking,) = denials(compose(denied(mode=Mode.WARN, blocked=True)))
    assert warn.content["policies"] == []
    assert blocking.content["policies"] != []


def test_a_review_of_many_images_makes_few_messages() -> None:
    told = list(denials(compose(denied(images=25))))
    assert len(told) == IMAGES_MAX
    assert {denial.content["more_images"] for denial in told} == {5}


def test_a_review_of_no_image_is_told_by_what_was_asked() -> None:
    entry = Entry(AT, 0.1, REQUEST, "deny", 400, code="limit_exceeded", detail="too many")
    (told,) = denials(compose(entry))
    assert told.headline == "countersign denied (limit_exceeded) in shop: Pod api-7f"


@given(st.text(), st.text(), st.text())
def test_whatever_a_pod_says_sns_takes_it(reference: str, namespace: str, user: str) -> None:
    image = ImageDecision(reference, ((user, reference),), None, Result.DENIED, Code.REFERENCE_INVALID, reference)
    request = Request("u", "CREATE", namespace, "", "pods", "", "Pod", user, user, False, (), ())
    sink = SNSSink(topic=TOPIC, aws=AWS(lambda: Topic()), dropped=lambda name, count: None)
    for denial in denials(compose(Entry(AT, 0, request, "deny", 400, ReviewDecision(False, 400, (image,), "r")))):
        message = sink._message(denial, 0)
        subject = str(message["Subject"])
        assert subject.isascii()
        assert subject.isprintable()
        assert 0 < len(subject) < 100  # Amazon SNS API reference, Publish, Subject
        assert len(str(message["Message"]).encode()) < 32 * 1024


# --- the same denial


async def test_the_same_denial_is_told_once_in_a_while_with_its_count() -> None:
    async with desk() as at:
        at.deny(*[denied()] * 5)
        await at.until(lambda: len(at.topic.published) == 1)
        at.now[0] += WINDOW
        at.deny(denied(), denied())
        await at.until(lambda: len(at.topic.published) == 2)
    assert [message["repeats"] for message in at.topic.messages] == [0, 4]


OTHERS = {
    "digest": denied(digest="cd"),
    "code": denied(code=Code.REVOKED),
    "namespace": denied(namespace="bank"),
    "policy": denied(policy="other"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
async def test_another_denial_is_told(other: Entry) -> None:
    async with desk() as at:
        at.deny(denied(), other)
        await at.until(lambda: len(at.topic.published) == 2)
    assert [message["repeats"] for message in at.topic.messages] == [0, 0]


# --- limits


async def test_a_storm_of_one_denial_is_one_message() -> None:
    async with desk() as at:
        entry = denied()
        for _ in range(100):
            at.deny(*[entry] * 100)
        await at.until(lambda: len(at.topic.published) == 1)
        at.now[0] += WINDOW
        at.deny(entry)
        await at.until(lambda: len(at.topic.published) == 2)
    assert at.topic.messages[1]["repeats"] == 9_999
    assert not at.lost


async def test_a_storm_of_many_denials_is_bounded_and_counted() -> None:
    topic = Topic()
    topic.gate.clear()
    async with desk(topic) as at:
        for number in range(10_000):
            at.deny(denied(digest=f"{number:x}"))
        assert len(at.sink._queue) == QUEUE_MAX
        topic.gate.set()
        await at.until(lambda: len(topic.published) >= QUEUE_MAX)
    assert len(topic.published) + at.lost["sns"] == 10_000
    assert len(at.sink._told) <= REMEMBERED_MAX


async def test_what_was_lost_is_told_when_there_is_room_again() -> None:
    topic = Topic()
    topic.gate.clear()
    async with desk(topic) as at:
        for number in range(QUEUE_MAX + 1):
            at.deny(denied(digest=f"{number:x}"))
        assert at.lost["sns"] == 1
        topic.gate.set()
        await at.until(lambda: not at.sink._queue)
        at.deny(denied(digest=f"{QUEUE_MAX:x}"))
        await at.until(lambda: len(topic.published) == QUEUE_MAX + 1)


# --- what AWS may do


def failure(kind: Kind, code: str = "") -> AWSError:
    return AWSError(kind, "sns:Publish", "us-west-2", code=code)


async def test_throttling_is_waited_out_longer_each_time() -> None:
    async with desk(Topic(failures=[failure(Kind.THROTTLED)] * 3)) as at:
        at.deny(denied())
        await at.until(lambda: len(at.topic.published) == 1)
        assert at.pauses == [1, 2, 4]
        at.topic.failures.append(failure(Kind.THROTTLED))
        at.deny(denied(digest="cd"))
        await at.until(lambda: len(at.topic.published) == 2)
    assert at.pauses[3:] == [1], "what succeeds ends the trouble"
    assert not at.lost


async def test_a_message_is_given_up_at_some_time(caplog: pytest.LogCaptureFixture) -> None:
    async with desk(Topic(down=failure(Kind.UNREACHABLE))) as at:
        for number in range(3):
            at.deny(denied(digest=f"{number:x}"))
        await at.until(lambda: at.lost["sns"] == 3)
    assert len(at.topic.calls) == 3 * ATTEMPTS
    assert max(at.pauses) == LONGEST_PAUSE
    assert caplog.text.count("cannot be published") == 1


HOPELESS = {"no-topic": failure(Kind.INVALID, "NotFound"), "no-permission": failure(Kind.DENIED, "AuthorizationError")}


@pytest.mark.parametrize("error", HOPELESS.values(), ids=HOPELESS)
async def test_what_cannot_succeed_is_not_tried_again_and_said_once(
    error: AWSError, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(Topic(down=error)) as at:
        at.deny(denied(), denied(digest="cd"))
        await at.until(lambda: at.lost["sns"] == 2)
    assert len(at.topic.calls) == 2
    assert at.pauses == [1, 2], "and AWS is not asked without end"
    assert caplog.text.count("cannot be published") == 1


async def test_missing_credentials_are_said_once_and_told_when_they_are_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with desk(Topic(failures=[failure(Kind.NO_CREDENTIALS)] * 4)) as at:
        at.deny(denied())
        await at.until(lambda: len(at.topic.published) == 1)
    assert caplog.text.count("no credentials") == 1
    assert not at.lost


async def test_a_topic_that_hangs_holds_up_neither_the_trail_nor_the_end() -> None:
    topic = Topic()
    topic.gate.clear()
    async with desk(topic) as at:
        trail = Trail((at.sink,), dropped=lambda name, count: None)
        begun = asyncio.get_running_loop().time()
        for number in range(50):
            trail.put(compose(denied(digest=f"{number:x}")))
        await trail.close(grace=10)
        assert len(at.sink._queue) == 50
        assert asyncio.get_running_loop().time() - begun < 5


async def test_at_the_end_what_waits_is_told_or_counted() -> None:
    for hangs in (False, True):
        topic, lost = Topic(), Counter[str]()
        if hangs:
            topic.gate.clear()
        aws = AWS(lambda: topic)  # noqa: B023
        sink = SNSSink(topic=TOPIC, aws=aws, dropped=lambda name, count: lost.update({name: count}))  # noqa: B023
        sink.write(orjson.dumps(compose(denied())) + b"\n")
        await sink.close(grace=0.2 if hangs else 10)
        assert (len(topic.published), lost["sns"]) == ((0, 1) if hangs else (1, 0))
        topic.gate.set()
        aws.close()


async def test_a_fifo_topic_gets_a_group_and_the_same_id_from_each_replica() -> None:
    async with desk(arn=TOPIC + ".fifo") as one, desk(arn=TOPIC + ".fifo") as other:
        for at in (one, other):
            at.deny(denied())
            await at.until(lambda: len(at.topic.published) == 1)  # noqa: B023
    (first,), (second,) = one.topic.published, other.topic.published
    assert first["MessageGroupId"] == "countersign"
    assert first["MessageDeduplicationId"] == second["MessageDeduplicationId"]


# --- through the SDK, to moto


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with aws_double.moto() as url:
        yield url


def enter(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_a_topic_of_sns_takes_what_is_published(moto: str, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    enter(monkeypatch, aws_double.variables(moto))
    sdk, lost = SDK(settings.AWS()), Counter[str]()
    attributes = {"FifoTopic": "true"} if suffix else {}
    elsewhere = Client("sns", "eu-central-1")  # than the SDK's own region
    made = sdk.call(Call(elsewhere, "create_topic", {"Name": f"denials{suffix}", "Attributes": attributes}))
    topic = str(made["TopicArn"])
    aws = AWS(lambda: sdk)
    sink = SNSSink(topic=topic, aws=aws, dropped=lambda name, count: lost.update({name: count}))
    sink.write(orjson.dumps(compose(denied())) + b"\n")
    await sink.close(grace=20)
    aws.close()
    ((_, message, subject, *_),) = sns_backends[aws_double.ACCOUNT]["eu-central-1"].topics[topic].sent_notifications
    assert json.loads(message)["code"] == "no_signature"
    assert subject is not None
    assert subject.startswith("countersign denied (no_signature) in shop: ")
    assert not lost


MISSING: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "topic": aws_double.variables,
    "credentials": lambda url: aws_double.without_credentials() | {"AWS_ENDPOINT_URL_SNS": url},
}


@pytest.mark.parametrize("missing", MISSING)
async def test_what_is_missing_is_said_once_and_the_loss_is_counted(
    moto: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    enter(monkeypatch, MISSING[missing](moto))
    lost, aws = Counter[str](), AWS(lambda: SDK(settings.AWS()))

    async def pause(seconds: float) -> None:
        await asyncio.sleep(0)

    sink = SNSSink(
        topic="arn:aws:sns:us-west-2:123456789012:nowhere",
        aws=aws,
        dropped=lambda name, count: lost.update({name: count}),
        pause=pause,
    )
    for digest in ("ab", "cd"):
        sink.write(orjson.dumps(compose(denied(digest=digest))) + b"\n")
    await sink.close(grace=20)
    aws.close()
    assert lost["sns"] == 2
    assert caplog.text.count("denials cannot be published to arn:aws:sns:us-west-2:123456789012:nowhere") == 1
