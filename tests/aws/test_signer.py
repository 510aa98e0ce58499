"""What AWS Signer says of a signature's job, profile and certificates: asked once, and no answer is a good one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.doubles import aws as doubles
from tests.doubles.aws import Response
from tests.doubles.signer import FakeSigner
from webhook import settings
from webhook.aws import signer
from webhook.aws.door import AWS
from webhook.aws.sdk import SDK
from webhook.aws.signer import SignerRevocation
from webhook.trust.notary.inquiry import SignerInquiry, Standing, Status

VECTORS = Path(__file__).parent.parent / "vectors" / "aws-signer"
REQUESTS = {
    case["id"]: case
    for case in json.loads((VECTORS / "generated" / "index.json").read_bytes())["cases"]
    if "request" in case["expect"]
}
WIRE = ("signatureTimestamp", "platformId", "profileVersionArn", "jobArn", "certificateHashes")


def inquiry_of(case: str = "profile") -> SignerInquiry:
    request = REQUESTS[case]["expect"]["request"]
    _, partition, _, region, *_ = request["profileVersionArn"].split(":")
    return SignerInquiry(
        partition=partition,
        region=region,
        signed_at=datetime.fromisoformat(request["signatureTimestamp"]),
        profile_version_arn=request["profileVersionArn"],
        job_arn=request["jobArn"],
        certificate_hashes=tuple(request["certificateHashes"]),
        platform=request["platformId"],
    )


INQUIRY = inquiry_of()
PROFILE = INQUIRY.profile_version_arn.rpartition("/")[0]
CERTIFICATE = INQUIRY.certificate_hashes[1][:96]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSigner]:
    with FakeSigner() as running:
        for name, value in doubles.variables(signer_data=running.url).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def aws() -> Iterator[AWS]:
    made = AWS(lambda: SDK(settings.AWS(attempts=1)))
    yield made
    made.close()


async def ask(aws: AWS, inquiry: SignerInquiry = INQUIRY, configured: settings.AWS | None = None) -> Status:
    revocation = SignerRevocation(aws, configured or settings.AWS())
    try:
        return await revocation.status(inquiry)
    finally:
        await revocation.close()


@pytest.mark.parametrize("case", REQUESTS)
async def test_the_request_is_the_vectors_byte_for_byte(aws: AWS, fake: FakeSigner, case: str) -> None:
    await ask(aws, inquiry_of(case))

    expected = {name: REQUESTS[case]["expect"]["request"][name] for name in WIRE}
    assert [request.target for request in fake.requests] == [f"/revocations?{urlencode(expected, doseq=True)}"]
    assert "/us-west-2/signer/aws4_request" in fake.requests[0].headers["Authorization"]


@pytest.mark.parametrize(
    ("revoked", "said"),
    [
        (INQUIRY.job_arn, f"the signing job {INQUIRY.job_arn}"),
        (INQUIRY.profile_version_arn, f"the profile version {INQUIRY.profile_version_arn}"),
        (PROFILE, f"the profile {PROFILE}"),
        (CERTIFICATE, "a certificate of its chain"),
        (INQUIRY.certificate_hashes[0], "a certificate of its chain"),
    ],
)
async def test_each_kind_of_revocation_is_named(aws: AWS, fake: FakeSigner, revoked: str, said: str) -> None:
    assert await ask(aws) == Status(Standing.GOOD)
    fake.revoked = {revoked}
    assert await ask(aws) == Status(Standing.REVOKED, f"AWS Signer has revoked {said}")
    fake.revoked = {f"{revoked}x"}
    assert await ask(aws) == Status(Standing.GOOD)


async def test_several_are_named_and_none_hides_another(aws: AWS, fake: FakeSigner) -> None:
    fake.revoked = {INQUIRY.job_arn, PROFILE, CERTIFICATE}
    detail = (await ask(aws)).detail
    assert all(
        said in detail for said in (f"the signing job {INQUIRY.job_arn}", f"the profile {PROFILE}", "a certificate")
    )


@pytest.mark.parametrize(
    "entry", json.loads((VECTORS / "index.json").read_bytes())["revokedEntities"], ids=lambda e: e["id"]
)
async def test_answers_of_the_plug_ins_own_tests(aws: AWS, fake: FakeSigner, entry: dict[str, object]) -> None:
    body = entry.get("response", {"revokedEntities": entry.get("revokedEntities")})
    fake.failing = Response(body=json.dumps(body).encode())
    expected = Standing.GOOD if entry["expect"] == "ok" else Standing.REVOKED
    assert (await ask(aws)).standing is expected


UNKNOWN = "AWS Signer did not say whether it was revoked: "


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (doubles.refusal(400, "ValidationException", "platformId"), "AWS refuses the request (ValidationException)"),
        (doubles.refusal(403, "AccessDeniedException"), "the permission signer:GetRevocationStatus is missing"),
        (doubles.refusal(429, "TooManyRequestsException"), "too many requests"),
        (doubles.refusal(429, "ThrottlingException"), "too many requests"),
        (doubles.refusal(500, "InternalServiceErrorException"), "AWS failed to answer"),
        (doubles.refusal(403, "UnrecognizedClientException"), "no credentials that AWS accepts"),
        (doubles.refusal(403, "ExpiredTokenException"), "no credentials that AWS accepts"),
        (Response(503, b"<html>"), "AWS failed to answer"),
        (Response(200, b""), "not one of this service's"),
        (Response(200, b"<html>sign in</html>"), "not one of this service's"),
        (Response(200, b"[]"), "not one of this service's"),
        (Response(200, b'"revokedEntities"'), "not one of this service's"),
        (Response(200, b'{"revokedEntities": 7}'), "not one of this service's"),
        (Response(200, b'{"revokedEntities": [], "revokedEntities": ["x"]}'), "not one of this service's"),
        (Response(200, b'{"revokedEntities": [1]}'), "a string expected"),
        (Response(200, b'{"revokedEntities": [null]}'), "a string expected"),
        (Response(200, json.dumps({"revokedEntities": ["x"] * 101}).encode()), "101 entries"),
        (Response(200, b'{"revokedEntities": []'), "not one of this service's"),
    ],
)
async def test_no_answer_is_no_revocation_and_is_not_kept(
    aws: AWS, fake: FakeSigner, response: Response, said: str
) -> None:
    revocation = SignerRevocation(aws, settings.AWS())
    fake.failing = response
    status = await revocation.status(INQUIRY)
    assert status.standing is Standing.UNKNOWN
    assert status.detail.startswith(UNKNOWN)
    assert said in status.detail

    fake.failing = None
    assert (await revocation.status(INQUIRY)).standing is Standing.GOOD
    await revocation.close()


async def test_whoever_hangs_does_not_keep_a_review(aws: AWS, fake: FakeSigner) -> None:
    await ask(aws)  # the SDK is loaded
    fake.hanging = True
    revocation = SignerRevocation(aws, settings.AWS())
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await revocation.status(INQUIRY)
    assert time.monotonic() - started < 5.0

    fake.release()
    assert (await revocation.status(INQUIRY)).standing is Standing.GOOD  # the call that was under way
    assert len(fake.requests) == 2
    await revocation.close()


async def test_a_service_that_is_slow_is_given_up(fake: FakeSigner) -> None:
    aws = AWS(lambda: SDK(settings.AWS(attempts=1, read_timeout=0.1)))
    fake.hanging = True
    status = await ask(aws)
    aws.close()
    assert status.standing is Standing.UNKNOWN
    assert "AWS does not answer (ReadTimeoutError)" in status.detail


async def test_a_call_ends_with_its_time(aws: AWS, fake: FakeSigner, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask(aws)
    monkeypatch.setattr(signer, "TIME_LIMIT", 0.1)
    fake.hanging = True
    assert (await ask(aws)).standing is Standing.UNKNOWN
    fake.release()


async def test_a_hundred_reviews_make_one_call(aws: AWS, fake: FakeSigner) -> None:
    revocation = SignerRevocation(aws, settings.AWS())
    found = await asyncio.gather(*(revocation.status(INQUIRY) for _ in range(100)))
    found += await asyncio.gather(*(revocation.status(INQUIRY) for _ in range(100)))
    assert set(found) == {Status(Standing.GOOD)}
    assert len(fake.requests) == 1
    await revocation.close()


async def test_without_a_lifetime_each_review_asks(aws: AWS, fake: FakeSigner) -> None:
    revocation = SignerRevocation(aws, settings.AWS(signer_lifetime=0))
    await asyncio.gather(*(revocation.status(INQUIRY) for _ in range(10)))
    await revocation.status(INQUIRY)
    assert len(fake.requests) == 2
    await revocation.close()


@pytest.mark.parametrize("lifetime", [0.0, 300.0])
async def test_what_was_revoked_stays_so(aws: AWS, fake: FakeSigner, lifetime: float) -> None:
    revocation = SignerRevocation(aws, settings.AWS(signer_lifetime=lifetime))
    fake.revoked = {PROFILE}
    for _ in range(3):
        assert (await revocation.status(INQUIRY)).standing is Standing.REVOKED
        fake.revoked = set()
    assert len(fake.requests) == 1
    await revocation.close()


@pytest.mark.parametrize(
    "other",
    [
        replace(INQUIRY, signed_at=INQUIRY.signed_at.replace(second=1)),
        replace(INQUIRY, profile_version_arn=f"{PROFILE}/AAAAAAAAAA"),
        replace(INQUIRY, job_arn=INQUIRY.job_arn[:-1] + "0"),
        replace(INQUIRY, certificate_hashes=INQUIRY.certificate_hashes[::-1]),
        replace(INQUIRY, platform="AWSLambda-SHA384-ECDSA"),
    ],
    ids=["time", "profile", "job", "certificates", "platform"],
)
async def test_an_answer_is_of_all_five_parameters(aws: AWS, fake: FakeSigner, other: SignerInquiry) -> None:
    revocation = SignerRevocation(aws, settings.AWS())
    await revocation.status(INQUIRY)
    fake.failing = Response(body=json.dumps({"revokedEntities": [f"{PROFILE}-of-nobody"]}).encode())
    assert (await revocation.status(other)).standing is Standing.REVOKED
    assert (await revocation.status(INQUIRY)).standing is Standing.GOOD
    assert len(fake.requests) == 2
    await revocation.close()


# --- while AWS Signer does not answer

FRESH, STALE = settings.AWS().signer_lifetime, settings.AWS().signer_stale
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DOWN = doubles.refusal(500, "InternalServiceErrorException")
SINCE = "nothing was revoked at 2026-11-21T12:00:00+00:00; since then "


class Time:
    """What a clock and a stopwatch show; the stopwatch has nothing of the clock's jumps."""

    def __init__(self) -> None:
        self.seconds, self.jumped = 1000.0, timedelta()

    def monotonic(self) -> float:
        return self.seconds

    def clock(self) -> datetime:
        return AT + timedelta(seconds=self.seconds - 1000.0) + self.jumped


@pytest.fixture
async def revocation(aws: AWS, time_told: Time, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SignerRevocation]:
    monkeypatch.setattr(signer, "PATIENCE", 30.0)  # this machine may be slow
    made = SignerRevocation(aws, settings.AWS(), clock=time_told.clock, monotonic=time_told.monotonic)
    yield made
    await made.close()


@pytest.fixture
def time_told() -> Time:
    return Time()


@pytest.mark.parametrize(
    ("response", "stands_in", "said"),
    [
        pytest.param(DOWN, True, "AWS failed to answer", id="failing"),
        pytest.param(Response(503, b"<html>"), True, "AWS failed to answer", id="unavailable"),
        pytest.param(doubles.refusal(429, "TooManyRequestsException"), True, "too many requests", id="throttled"),
        pytest.param(doubles.refusal(403, "AccessDeniedException"), False, "is missing", id="denied"),
        pytest.param(doubles.refusal(403, "ExpiredTokenException"), False, "no credentials", id="no-credentials"),
        pytest.param(doubles.refusal(400, "ValidationException"), False, "refuses the request", id="refused"),
        pytest.param(Response(200, b"<html>"), False, "not one of this service's", id="unreadable"),
        pytest.param(Response(200, b'{"revokedEntities": [1]}'), False, "a string expected", id="malformed"),
    ],
)
async def test_only_where_nobody_answers_an_earlier_answer_stands_in(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time, response: Response, stands_in: bool, said: str
) -> None:
    assert await revocation.status(INQUIRY) == Status(Standing.GOOD)
    fake.failing = response
    time_told.seconds += FRESH
    status = await revocation.status(INQUIRY)
    assert said in (status.stale if stands_in else status.detail)
    assert status.stale.startswith(f"{SINCE}{UNKNOWN}") is stands_in
    assert status.standing is (Standing.GOOD if stands_in else Standing.UNKNOWN)
    fake.failing = DOWN
    status = await revocation.status(INQUIRY)
    assert status.standing is (Standing.GOOD if stands_in else Standing.UNKNOWN), "a refusal has ended it"

    fake.failing = None
    time_told.seconds += signer.RETRY
    assert await revocation.status(INQUIRY) == Status(Standing.GOOD)


async def test_it_stands_in_for_as_long_as_is_set_since_it_was_given(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time
) -> None:
    await revocation.status(INQUIRY)
    fake.failing = DOWN
    time_told.seconds += STALE - 1
    assert (await revocation.status(INQUIRY)).standing is Standing.GOOD
    time_told.seconds += 1
    assert (await revocation.status(INQUIRY)).standing is Standing.UNKNOWN
    other = replace(INQUIRY, job_arn=INQUIRY.job_arn[:-1] + "0")
    assert (await revocation.status(other)).standing is Standing.UNKNOWN, "nobody ever said anything of it"


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_jumps_makes_nothing_younger_or_older(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time, hours: int
) -> None:
    await revocation.status(INQUIRY)
    fake.failing = DOWN
    time_told.jumped = timedelta(hours=hours)
    assert await revocation.status(INQUIRY) == Status(Standing.GOOD)
    time_told.seconds += STALE - 1
    assert (await revocation.status(INQUIRY)).stale.startswith(SINCE)
    time_told.seconds += 1
    assert (await revocation.status(INQUIRY)).standing is Standing.UNKNOWN


async def test_an_outage_is_not_asked_about_by_every_review(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time
) -> None:
    await revocation.status(INQUIRY)
    fake.failing = DOWN
    time_told.seconds += FRESH
    for _ in range(100):
        assert (await revocation.status(INQUIRY)).stale
    assert len(fake.requests) == 2


async def test_whoever_hangs_is_not_waited_for_while_an_answer_stands_in(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer, "PATIENCE", 0.05)
    await revocation.status(INQUIRY)
    fake.hanging = True
    time_told.seconds += FRESH
    async with asyncio.timeout(settings.AWS().read_timeout):  # sooner than the SDK gives up
        assert "no answer within 0.05 s" in (await revocation.status(INQUIRY)).stale
        assert (await revocation.status(INQUIRY)).stale
    fake.release()


async def test_a_refusal_that_nobody_waited_for_ends_it_too(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    await revocation.status(INQUIRY)
    fake.failing = doubles.refusal(403, "AccessDeniedException")
    time_told.seconds += FRESH
    monkeypatch.setattr(signer, "PATIENCE", 0.0)
    assert (await revocation.status(INQUIRY)).stale
    async with asyncio.timeout(20):
        while (await revocation.status(INQUIRY)).standing is Standing.GOOD:
            await asyncio.sleep(0.01)
    assert (await revocation.status(INQUIRY)).standing is Standing.UNKNOWN


async def test_what_was_revoked_is_not_forgotten_in_an_outage(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time
) -> None:
    await revocation.status(INQUIRY)
    fake.revoked = {INQUIRY.job_arn}
    time_told.seconds += FRESH
    assert (await revocation.status(INQUIRY)).standing is Standing.REVOKED
    fake.failing = DOWN
    time_told.seconds += signer.REVOKED_LIFETIME - 1
    assert (await revocation.status(INQUIRY)).standing is Standing.REVOKED
    time_told.seconds += 1
    assert (await revocation.status(INQUIRY)).standing is Standing.UNKNOWN


async def test_what_was_revoked_and_is_no_longer_kept_is_unknown_in_an_outage(
    aws: AWS, fake: FakeSigner, time_told: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer, "MAX_ANSWERS", 1)
    revocation = SignerRevocation(aws, settings.AWS(), clock=time_told.clock, monotonic=time_told.monotonic)
    await revocation.status(INQUIRY)
    fake.revoked = {INQUIRY.job_arn}
    time_told.seconds += FRESH
    await revocation.status(INQUIRY)
    await revocation.status(replace(INQUIRY, job_arn=INQUIRY.job_arn[:-1] + "0"))
    fake.failing = DOWN
    assert (await revocation.status(INQUIRY)).standing is Standing.UNKNOWN
    await revocation.close()


SHARED = {
    "job": (INQUIRY.job_arn, {"signed_at": INQUIRY.signed_at.replace(second=1)}),
    "version": (INQUIRY.profile_version_arn, {"job_arn": INQUIRY.job_arn[:-1] + "0"}),
    "profile": (PROFILE, {"profile_version_arn": f"{PROFILE}/AAAAAAAAAA"}),
    "certificate": (CERTIFICATE, {"job_arn": INQUIRY.job_arn[:-1] + "0"}),
}


@pytest.mark.parametrize(("revoked", "changed"), SHARED.values(), ids=SHARED)
async def test_what_one_answer_says_is_revoked_ends_every_other_that_rests_on_it(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time, revoked: str, changed: dict[str, Any]
) -> None:
    await revocation.status(INQUIRY)
    fake.revoked = {revoked}
    time_told.seconds += 1
    assert (await revocation.status(replace(INQUIRY, **changed))).standing is Standing.REVOKED
    fake.failing = DOWN
    assert (await revocation.status(INQUIRY)).standing is Standing.UNKNOWN, "the answer of a second ago is none now"


async def test_what_rests_on_nothing_revoked_goes_on(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time
) -> None:
    await revocation.status(INQUIRY)
    other = replace(INQUIRY, job_arn=INQUIRY.job_arn[:-1] + "0")
    fake.revoked = {other.job_arn}
    assert (await revocation.status(other)).standing is Standing.REVOKED
    fake.failing = DOWN
    time_told.seconds += FRESH
    assert (await revocation.status(INQUIRY)).stale


async def test_an_answer_that_came_after_a_revocation_stands(
    fake: FakeSigner, revocation: SignerRevocation, time_told: Time
) -> None:
    """AWS Signer knows since when a profile is revoked: what was signed before is asked about once more, and stands."""
    other = replace(INQUIRY, job_arn=INQUIRY.job_arn[:-1] + "0")
    await revocation.status(INQUIRY)
    fake.revoked = {PROFILE}
    assert (await revocation.status(other)).standing is Standing.REVOKED
    fake.revoked = set()
    time_told.seconds += 1
    assert await revocation.status(INQUIRY) == Status(Standing.GOOD)
    fake.revoked = {PROFILE}
    assert (await revocation.status(replace(other, job_arn=INQUIRY.job_arn[:-1] + "1"))).standing is Standing.REVOKED
    asked = len(fake.requests)
    assert await revocation.status(INQUIRY) == Status(Standing.GOOD)
    assert len(fake.requests) == asked


async def test_a_fixed_region_is_asked_for_every_signature(aws: AWS, fake: FakeSigner) -> None:
    status = await ask(aws, configured=settings.AWS(signer_region="eu-central-1"))
    assert status.standing is Standing.GOOD
    assert "/eu-central-1/signer/aws4_request" in fake.requests[0].headers["Authorization"]


@pytest.mark.parametrize(
    ("inquiry", "own", "fixed", "said"),
    [
        (replace(INQUIRY, partition="aws-cn", region="cn-north-1"), "us-west-2", "", "made in aws-cn"),
        (replace(INQUIRY, partition="aws-us-gov", region="us-gov-west-1"), "us-west-2", "", "made in aws-us-gov"),
        (INQUIRY, "cn-north-1", "", "this webhook runs in aws-cn"),
        (replace(INQUIRY, region="cn-north-1"), "us-west-2", "", "cn-north-1 is not a region of aws"),
        (INQUIRY, "us-west-2", "us-gov-west-1", "us-gov-west-1 is not a region of aws"),
        (replace(INQUIRY, region="nowhere"), "us-west-2", "", "UnknownRegionError"),
    ],
)
async def test_signatures_of_another_partition_are_not_asked_about(
    aws: AWS,
    fake: FakeSigner,
    monkeypatch: pytest.MonkeyPatch,
    inquiry: SignerInquiry,
    own: str,
    fixed: str,
    said: str,
) -> None:
    monkeypatch.setenv("AWS_REGION", own)
    status = await ask(aws, inquiry, settings.AWS(signer_region=fixed))
    assert status.standing is Standing.UNKNOWN
    assert said in status.detail
    assert not fake.requests


async def test_in_a_partition_of_its_own_it_is_asked(
    aws: AWS, fake: FakeSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "cn-northwest-1")
    status = await ask(aws, replace(INQUIRY, partition="aws-cn", region="cn-north-1"))
    assert status.standing is Standing.GOOD
    assert "/cn-north-1/signer/aws4_request" in fake.requests[0].headers["Authorization"]


async def test_without_a_region_of_its_own_the_signatures_is_asked(
    aws: AWS, fake: FakeSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    assert (await ask(aws)).standing is Standing.GOOD


async def test_names_in_an_answer_are_foreign_text(aws: AWS, fake: FakeSigner) -> None:
    names = ["arn:\u001b[31m" + "x" * 5000] * 10
    fake.failing = Response(body=json.dumps({"revokedEntities": names}).encode())
    status = await ask(aws)
    assert status.standing is Standing.REVOKED
    assert status.detail.isprintable()
    assert len(status.detail) < 1000
    assert "and 7 more" in status.detail
