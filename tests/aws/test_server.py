"""The real webhook before images that AWS Signer's like has signed: what it answers, and whom it asks how often."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from tests.admission.checker import Answer
from tests.aws.serving import LEAF, NOW, ONCE, SIGNER, Gated, Shop, by_certificate, by_profile, opened
from tests.doubles import aws, ecr
from tests.doubles.aws import Response, refusal
from tests.doubles.registry import basic, running
from tests.doubles.signer import FakeSigner
from tests.doubles.verifying import RELEASE, trusted
from tests.notation.aws_like import DAY, SECOND
from tests.test_runtime import answer, close, request
from tests.test_runtime import running as running_process
from tests.web.serving import review
from webhook.settings import NoMatch

TBS = [hashlib.sha384(one.tbs_certificate_bytes).hexdigest() for one in LEAF.chain]


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with aws.moto() as url:
        yield url


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSigner]:
    with FakeSigner() as fake:
        for name, value in aws.variables(signer_data=fake.url).items():
            monkeypatch.setenv(name, value)
        yield fake


def told(found: Answer) -> tuple[bool, int]:
    return found.allowed, found.code


ADMITTED = True, 200
DENIED, UNAVAILABLE = (False, 403), (False, 503)


# --- what is asked, and how often


def asked(shop: Shop) -> list[str]:
    """The kinds of requests that came to the registry since this was last looked at."""
    kinds = []
    for method, _, kind, name in (
        line.replace(f"/v2/{shop.name}", "").replace("/", " ").split(" ") for line in shop.stored.lines
    ):
        fallback = kind == "manifests" and name.startswith("sha256-")
        kinds.append("resolve" if method == "HEAD" else "tag" if fallback else kind)
    shop.stored.seen.clear()
    return sorted(kinds)


@pytest.mark.parametrize("by_tag", [False, True], ids=["digest", "tag"])
async def test_a_new_image_is_three_requests_and_one_call(tmp_path: Path, signer: FakeSigner, by_tag: bool) -> None:
    resolved = ["resolve"] if by_tag else []
    async with opened(tmp_path, by_profile(), workers=1) as shop:
        for number, expected in enumerate(
            (["blobs", "manifests", "referrers", "tag"], ["blobs", "manifests", "referrers"])
        ):
            image = shop.signed(f"image {number}")
            text = f"{shop.host}/{shop.name}:1" if by_tag else image
            for calls, requests in ((number + 1, expected), (number + 1, ["blobs", "manifests", "referrers"])):
                assert told(await shop.ask(text)) == ADMITTED
                assert (number, asked(shop)) == (number, sorted(requests + resolved))
                assert len(signer.requests) == calls, "within five minutes nobody asks again"


async def test_a_signed_image_is_asked_for_like_one_with_a_bundle(tmp_path: Path, signer: FakeSigner) -> None:
    spec = by_profile() | {"trustedKeys": [trusted("release", RELEASE)]}
    found: dict[str, list[list[str]]] = {"bundle": [], "profile": []}
    for kind, lists in found.items():
        async with opened(tmp_path / kind, spec) as shop:
            for text in ("first", "next"):
                if kind == "profile":
                    image = shop.signed(text)
                else:
                    shop.bundle(digest := shop.image(text), RELEASE)
                    image = shop.named(digest)
                assert told(await shop.ask(image)) == ADMITTED
                lists.append(asked(shop))
    assert found["profile"] == found["bundle"]
    assert len(signer.requests) == 2


async def test_another_profile_under_the_same_root_is_denied_and_asked_of_nobody(
    tmp_path: Path, signer: FakeSigner
) -> None:
    async with opened(tmp_path, by_profile()) as shop:
        image = shop.image()
        shop.sign_by_profile(image, SIGNER.another(account="444455556666"))
        found = await shop.ask(shop.named(image))
    assert told(found) == DENIED
    assert "identity_mismatch" in found.message
    assert signer.requests == []


async def test_fifty_pods_of_one_image_are_one_call(tmp_path: Path, signer: FakeSigner) -> None:
    async with opened(tmp_path, by_profile()) as shop:
        image = shop.signed()
        found = await asyncio.gather(*(shop.ask(image) for _ in range(50)))
    assert {told(one) for one in found} == {ADMITTED}
    assert len(signer.requests) == 1


async def test_without_a_cache_every_review_asks(tmp_path: Path, signer: FakeSigner) -> None:
    async with opened(tmp_path, by_profile(), asking=replace(ONCE, signer_lifetime=0.0)) as shop:
        image = shop.signed()
        for count in (1, 2, 3):
            assert told(await shop.ask(image)) == ADMITTED
            assert len(signer.requests) == count
        signer.revoked.add(SIGNER.arn)
        assert told(await shop.ask(image)) == DENIED


async def test_what_is_revoked_within_the_five_minutes_is_denied_after_them(tmp_path: Path, signer: FakeSigner) -> None:
    async with opened(tmp_path, by_profile(), asking=replace(ONCE, signer_lifetime=0.3)) as shop:
        image = shop.signed()
        assert told(await shop.ask(image)) == ADMITTED
        signer.revoked.add(SIGNER.arn)
        async with asyncio.timeout(10):
            while told(await shop.ask(image)) != DENIED:
                await asyncio.sleep(0.05)
        assert len(signer.requests) == 2


# --- revoked, and not known

REVOKED = {
    "job": (SIGNER.job_arn, f"the signing job {SIGNER.job_arn}"),
    "profile": (SIGNER.arn, f"the profile {SIGNER.arn}"),
    "version": (SIGNER.version_arn, f"the profile version {SIGNER.version_arn}"),
    "leaf": (TBS[0] + TBS[1], "a certificate of its chain"),
    "root": (TBS[3] + TBS[3], "a certificate of its chain"),
}
UNANSWERED = {
    "denied": (refusal(403, "AccessDeniedException"), "the permission signer:GetRevocationStatus is missing"),
    "another-partition": (refusal(400, "ValidationException"), "AWS refuses the request"),
    "no-credentials": (refusal(403, "UnrecognizedClientException"), "no credentials that AWS accepts"),
    "throttled": (refusal(429, "TooManyRequestsException"), "too many requests"),
    "throttled-once-called": (refusal(400, "ThrottlingException"), "too many requests"),
    "internal": (refusal(500, "InternalServiceErrorException"), "AWS failed to answer"),
    "unavailable": (Response(503, b""), "AWS failed to answer"),
    "a-page": (Response(200, b"<html>log in</html>"), "not one of this service's"),
    "another-type": (Response(200, b'{"revokedEntities": "none"}'), "ARNs and hashes expected"),
    "an-object": (Response(200, b'{"revokedEntities": {"job": 1}}'), "ARNs and hashes expected"),
    "a-number": (Response(200, b'{"revokedEntities": 7}'), "not one of this service's"),
}


@pytest.mark.parametrize("policy", ["enforce", "warn", "off"])
@pytest.mark.parametrize(("entity", "said"), REVOKED.values(), ids=REVOKED)
async def test_what_is_revoked(tmp_path: Path, signer: FakeSigner, entity: str, said: str, policy: str) -> None:
    signer.revoked.add(entity)
    async with opened(tmp_path, by_profile(revocation=policy)) as shop:
        image = shop.image()
        shop.sign_by_profile(image)
        found = await shop.ask(shop.named(image))
    assert len(signer.requests) == (policy != "off")
    match policy:
        case "enforce":
            assert told(found) == DENIED
            assert "revoked" in found.message
            assert said[:100] in found.message
        case "warn":
            assert told(found) == ADMITTED
            assert any("revoked" in warning for warning in found.warnings)
        case "off":
            assert (told(found), found.warnings) == (ADMITTED, ())


@pytest.mark.parametrize("policy", ["enforce", "warn", "off"])
@pytest.mark.parametrize(("response", "said"), UNANSWERED.values(), ids=UNANSWERED)
async def test_what_nobody_says(tmp_path: Path, signer: FakeSigner, response: Response, said: str, policy: str) -> None:
    signer.failing = response
    async with opened(tmp_path, by_profile(revocation=policy)) as shop:
        image = shop.signed()
        found = await shop.ask(image)
        asked = len(signer.requests)
        signer.failing = None
        after = await shop.ask(image)
    assert (told(after), after.warnings) == (ADMITTED, ()), "what nobody said is not kept"
    assert asked == (policy != "off")
    match policy:
        case "enforce":
            assert told(found) == UNAVAILABLE
            assert "revocation_unknown" in found.message
            assert said in found.message
            assert "has revoked" not in found.message
        case "warn":
            assert told(found) == ADMITTED
            assert any("revocation_unknown" in warning for warning in found.warnings)
        case "off":
            assert (told(found), found.warnings) == (ADMITTED, ())


async def test_a_signer_that_hangs_is_given_up_for_what_it_is(tmp_path: Path, signer: FakeSigner) -> None:
    signer.hanging = True
    async with opened(tmp_path, by_profile(), asking=replace(ONCE, read_timeout=0.2)) as shop:
        found = await shop.ask(shop.signed())
    assert told(found) == UNAVAILABLE
    assert "revocation_unknown" in found.message
    assert "AWS does not answer" in found.message


async def test_a_signer_slower_than_the_review_holds_up_nobody_else(tmp_path: Path, signer: FakeSigner) -> None:
    """Eight threads of the door hang; the review is over in time, and others do not notice."""
    spec = by_profile() | {"trustedKeys": [trusted("release", RELEASE)]}
    async with opened(tmp_path, spec, asking=replace(ONCE, read_timeout=20.0)) as shop:
        known, by_key = shop.signed("known"), shop.image("by key")
        shop.sign(by_key, RELEASE)
        slow = [shop.signed(f"slow {number}") for number in range(10)]
        assert told(await shop.ask(known)) == ADMITTED
        signer.hanging = True
        clock = asyncio.get_running_loop().time
        started = clock()
        waiting = [asyncio.create_task(shop.ask(image, seconds=8)) for image in slow]
        while len(signer.requests) < 3:
            await asyncio.sleep(0.01)
        for image in (shop.named(by_key), known):
            assert told(await shop.ask(image)) == ADMITTED
        assert not any(task.done() for task in waiting)
        found = await asyncio.gather(*waiting)
        assert clock() - started < 8
        signer.release()
    assert {told(one) for one in found} == {UNAVAILABLE}
    assert all("revocation_unknown" in one.message for one in found)


async def test_a_signer_that_hangs_hides_no_other_signature(tmp_path: Path, signer: FakeSigner) -> None:
    """Where the first was found last, further places are asked a little later than usual."""
    spec = by_profile() | {"trustedKeys": [trusted("release", RELEASE)]}
    async with opened(tmp_path, spec, asking=replace(ONCE, read_timeout=20.0)) as shop:
        assert told(await shop.ask(shop.signed("before"))) == ADMITTED
        signer.hanging = True
        image = shop.signed("signed twice")
        shop.sign(image.partition("@")[2], RELEASE)
        started = asyncio.get_running_loop().time()
        assert told(await shop.ask(image)) == ADMITTED
        assert asyncio.get_running_loop().time() - started < 5
        signer.release()


# --- who else may sign

MANY = {
    ("any", "profile"): ADMITTED,
    ("any", "certificate"): ADMITTED,
    ("any", "key"): ADMITTED,
    ("any", ""): DENIED,
    (2, "profile"): DENIED,
    (2, "profile certificate"): ADMITTED,
    (2, "key certificate"): ADMITTED,
    (2, "key profile"): ADMITTED,
    ("all", "key profile"): DENIED,
    ("all", "key profile certificate"): ADMITTED,
}


async def test_signers_of_every_kind_count_in_one_rule(tmp_path: Path, signer: FakeSigner) -> None:
    stores = [*by_profile()["trustStores"], *by_certificate()["trustStores"]]  # type: ignore[misc]
    rules = [{"images": [f"{ecr.ELSEWHERE}/{many}"], "require": many} for many in ("any", 2, "all")]
    spec = by_profile() | by_certificate() | {"trustedKeys": [trusted("release", RELEASE)], "trustStores": stores}
    found = {}
    async with opened(tmp_path, spec | {"rules": rules}, host=ecr.ELSEWHERE) as shop:
        for many, signers in MANY:
            shop.name = str(many)
            image = shop.image(f"signed by {signers}")
            if "key" in signers:
                shop.sign(image, RELEASE)
            if "profile" in signers:
                shop.sign_by_profile(image)
            if "certificate" in signers:
                shop.sign_by_certificate(image)
            found[many, signers] = told(await shop.ask(shop.named(image)))
    assert found == MANY


WARNED = {
    "unsigned": ("", "no_signature"),
    "another profile": ("another", "identity_mismatch"),
    "expired": ("expired", "signature_expired"),
    "revoked": ("revoked", "revoked"),
    "not known": ("unknown", "revocation_unknown"),
}


@pytest.mark.parametrize(("how", "code"), WARNED.values(), ids=WARNED)
async def test_a_policy_that_only_warns_admits_and_says_so(
    tmp_path: Path, signer: FakeSigner, how: str, code: str
) -> None:
    async with opened(tmp_path, {**by_profile(), "mode": "warn"}, no_match=NoMatch.ALLOW) as shop:
        image = shop.image()
        if how:
            shop.sign_by_profile(
                image,
                SIGNER.another(account="444455556666") if how == "another" else SIGNER,
                expires_at=NOW + (SECOND if how == "expired" else DAY),
            )
        if how == "revoked":
            signer.revoked.add(SIGNER.job_arn)
        signer.failing = refusal(503, "ServiceUnavailable") if how == "unknown" else None
        found = await shop.ask(shop.named(image))
    assert told(found) == ADMITTED
    assert any(code in warning for warning in found.warnings)


async def test_a_policy_that_only_warns_denies_what_was_tampered_with(tmp_path: Path, signer: FakeSigner) -> None:
    """AWS Lambda, code signing: integrity is enforced in both modes."""
    async with opened(tmp_path, {**by_profile(), "mode": "warn"}, no_match=NoMatch.ALLOW) as shop:
        image = shop.image()
        shop.sign_by_profile(image, change=lambda envelope: envelope.replace(b'"signature":"', b'"signature":"AAAA', 1))
        found = await shop.ask(shop.named(image))
    assert told(found) == DENIED
    assert "signature_invalid" in found.message
    assert signer.requests == []


# --- what is told of it


async def test_the_record_holds_the_five_checks_and_who_signed_when(tmp_path: Path, signer: FakeSigner) -> None:
    async with opened(tmp_path, by_profile()) as shop:
        image = shop.image()
        shop.sign_by_profile(image)
        document = review(shop.named(image))
        assert (await shop.webhook.ask(document)).allowed
        record = await shop.webhook.record(document)
        assert await shop.webhook.metric('countersign_revocation_total{kind="signer",standing="good"}') == 1
        signer.failing = refusal(500, "InternalServiceErrorException")
        await shop.ask(shop.signed("another"))
        assert await shop.webhook.metric('countersign_revocation_total{kind="signer",standing="unknown"}') == 1
        assert await shop.webhook.metric('countersign_revocation_duration_seconds_count{kind="signer"}') == 2
    [outcome] = record["images"][0]["policies"][0]["outcomes"]
    facts = outcome["facts"]
    checks = ("integrity", "authenticity", "authenticTimestamp", "expiry", "revocation")
    assert {check: facts.get(check) for check in checks} == dict.fromkeys(checks, "ok")
    assert SIGNER.version_arn in facts.values()
    assert SIGNER.job_arn in facts.values()
    assert any(NOW.isoformat().partition("+")[0] in str(value) for value in (*facts.values(), outcome["proof"]))
    assert (outcome["verdict"], outcome["signer"]) == ("verified", "ecr")
    assert outcome["proof"]["material"] == f"profile:{SIGNER.arn}"


async def test_a_denial_is_one_message_to_the_topic(
    tmp_path: Path, signer: FakeSigner, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.variables(moto, signer_data=signer.url).items():
        monkeypatch.setenv(name, value)
    queue, topic = topic_with_queue(moto)
    signer.revoked.add(SIGNER.arn)
    async with opened(tmp_path, by_profile(), asking=replace(ONCE, sns_topic=topic)) as shop:
        images = [shop.signed("one"), shop.signed("two")]
        for image in (*images, *images, images[0]):
            assert told(await shop.ask(image)) == DENIED
        messages = [await asyncio.to_thread(queue) for _ in images]
        assert await asyncio.to_thread(queue, 0) is None
        assert await shop.webhook.metric('countersign_audit_dropped_total{sink="sns"}') == 0
    assert sorted(str(message["image"]) for message in messages if message) == sorted(images)
    assert {message["code"] for message in messages if message} == {"revoked"}


def topic_with_queue(moto: str) -> tuple[Callable[..., dict[str, object] | None], str]:
    """What takes the next message of a new topic, waiting for it some seconds; and the topic's ARN."""
    sns, sqs = (boto3.client(name, region_name=aws.REGION, endpoint_url=moto) for name in ("sns", "sqs"))
    topic = str(sns.create_topic(Name="denials")["TopicArn"])
    url = sqs.create_queue(QueueName="denials")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})

    def take(seconds: int = 10) -> dict[str, object] | None:
        found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=seconds, MaxNumberOfMessages=1).get("Messages", [])
        for message in found:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return json.loads(found[0]["Body"]) if found else None

    return take, topic


# --- a registry of ECR's


async def test_a_registry_of_ecr_is_logged_in_to_once(
    tmp_path: Path, signer: FakeSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many requests as anywhere: how ECR wants to be asked is known before."""
    data = {"authorizationToken": "QVdTOnNlY3JldA==", "expiresAt": time.time() + 43200}
    with aws.Server(lambda request: Response(body=json.dumps({"authorizationData": [data]}).encode())) as login:
        for name, value in aws.variables(ecr=login.url, signer_data=signer.url).items():
            monkeypatch.setenv(name, value)
        async with opened(tmp_path, by_profile(), host=ecr.HOST) as shop:
            shop.stored.rules.append(basic("Basic QVdTOnNlY3JldA=="))
            for text in ("one", "two"):
                assert told(await shop.ask(shop.signed(text))) == ADMITTED
                assert set(shop.stored.authorizations()) == {"Basic QVdTOnNlY3JldA=="}
                found = asked(shop)
    assert found == ["blobs", "manifests", "referrers"]
    assert len(login.requests) == 1
    assert len(signer.requests) == 2


async def test_a_look_alike_gets_no_login(tmp_path: Path, signer: FakeSigner, monkeypatch: pytest.MonkeyPatch) -> None:
    with aws.Server(lambda request: Response()) as login:
        for name, value in aws.variables(ecr=login.url, signer_data=signer.url).items():
            monkeypatch.setenv(name, value)
        async with opened(tmp_path, by_profile(), host=f"{ecr.HOST}.evil.example") as shop:
            assert told(await shop.ask(shop.signed())) == ADMITTED
            assert set(shop.stored.authorizations()) == {None}
    assert login.requests == []


async def test_a_login_by_moto_serves(
    tmp_path: Path, moto: str, signer: FakeSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens ended in 2015: each is for what waits for it now."""
    for name, value in aws.variables(moto, signer_data=signer.url).items():
        monkeypatch.setenv(name, value)
    async with opened(tmp_path, by_profile(), host=ecr.HOST) as shop:
        assert told(await shop.ask(shop.signed())) == ADMITTED
        [header] = set(shop.stored.authorizations())
    assert header is not None
    assert base64.b64decode(header.removeprefix("Basic ")).startswith(b"AWS:")


# --- what is imported

WATCH = """
import sys, threading
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("boto3", "botocore"):
            with open(__file__ + ".seen", "a") as file:
                print(name, threading.current_thread().name, file=file)
sys.meta_path.insert(0, Watch())
"""


@pytest.mark.parametrize("named", [False, True], ids=["key", "profile"])
async def test_the_sdk_is_imported_for_a_profile_alone_and_in_a_thread(
    tmp_path: Path, signer: FakeSigner, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "watch"))
    spec = by_profile() if named else {"trustedKeys": [trusted("release", RELEASE)]}
    head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "own"}}
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.yaml").write_text(json.dumps({**head, "spec": {"mode": "enforce", **spec}}))
    stored = Gated()
    async with running(stored) as host:
        (tmp_path / "registries.yaml").write_text(
            f"registries: [{{host: '{host}', insecureHTTP: true, loopback: true}}]"
        )
        shop = Shop(host, stored)
        image = shop.image()
        shop.sign_by_profile(image) if named else shop.sign(image, RELEASE)
        variables = {"POLICIES": tmp_path / "own", "REGISTRIES": tmp_path / "registries.yaml"}
        async with running_process(tmp_path, **variables) as webhook:
            reader, writer = await webhook.connect()
            writer.write(request(shop.named(image)))
            decision, _ = await answer(reader)
            await close(writer)
            webhook.process.send_signal(signal.SIGTERM)
            code, _, _ = await webhook.ended()
    assert (decision.allowed, code) == (True, 0)
    seen = tmp_path / "watch" / "sitecustomize.py.seen"
    imported = {tuple(line.split("_")[0].split()) for line in seen.read_text().splitlines()} if seen.exists() else set()
    assert imported == ({("boto3", "aws"), ("botocore", "aws")} if named else set())
    assert len(signer.requests) == named
