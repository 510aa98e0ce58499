"""AWS, KMS and responders that change or go away while a review lasts; and policies that name what cannot be meant.

Beside `test_named_bad_input`, whose rows are about what is wrong with evidence.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml

from tests.bad_input import aws as by_aws
from tests.bad_input import envelopes, revocation
from tests.bad_input.aws import OURS, failing, hanging, losing_credentials, revoking, signed, signed_and
from tests.bad_input.world import SOON, World, surrounded
from tests.doubles import aws
from tests.doubles.registry import HostileRegistry
from tests.doubles.verifying import NOW, TRUST, opened, told
from tests.policy.notary_documents import aws_pem
from tests.private_sigstore.images import Attach, Fields
from webhook import settings
from webhook.aws import signer
from webhook.breaker import FAILURES
from webhook.demo import signing
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code
from webhook.policy import decide, document
from webhook.policy.decision import ImageDecision, Result, Stale
from webhook.policy.syntax.mistakes import PolicyErrors
from webhook.settings import NoMatch
from webhook.trust import kms, material
from webhook.trust.keys import KeySource
from webhook.trust.kms import Fetched, KMSKey

HEAD = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "production"}}
DENIED, ERROR, VERIFIED, WARNED = Result.DENIED, Result.ERROR, Result.VERIFIED, Result.WARNED


def speak(world: World, fields: Fields, **more: object) -> None:
    """What `fields` say is the one policy."""
    kept = {name: value for name, value in {"mode": "enforce", **fields, **more}.items() if value is not None}
    world.policies[:] = [{**HEAD, "spec": kept}]


async def review(world: World, make: Attach, name: str = "image", **how: float) -> ImageDecision:
    """What becomes of a new image, which `make` signs."""
    image = world.image(name, tag=name)
    make(world, image)
    return await world.verify(f"@{image}", **how)  # type: ignore[arg-type]


# --- AWS Signer


async def test_throttling_ends_within_the_review_whatever_the_sdk_tries() -> None:
    async with surrounded(settings.AWS()) as world:
        speak(world, by_aws.PROFILE)
        started = time.monotonic()
        found = await review(world, signed_and(failing(aws.refusal(429, "TooManyRequestsException"))))
        assert (*told(found), decide.image_status(found)) == (ERROR, Code.REVOCATION_UNKNOWN, 503)
        assert len(world.signer.requests) == settings.AWS().attempts
        assert time.monotonic() - started < 5.0

        world.signer.failing = None
        assert told(await review(world, signed(), "next")) == (VERIFIED, None)


async def test_after_some_failures_nobody_is_asked_for_a_while() -> None:
    async with surrounded() as world:
        speak(world, by_aws.PROFILE)
        assert told(await review(world, signed(), "before")) == (VERIFIED, None)
        world.signer.requests.clear()
        world.signer.failing = aws.refusal(500, "InternalServiceErrorException")
        for number in range(FAILURES + 3):
            assert (await review(world, signed(), f"image-{number}")).code is Code.REVOCATION_UNKNOWN
        assert len(world.signer.requests) == FAILURES
        assert told(await world.verify(":before")) == (VERIFIED, None)  # an answer that is kept needs nobody


@pytest.mark.parametrize("mode", ["enforce", "warn"])
async def test_whoever_hangs_does_not_keep_a_review_beyond_its_deadline(mode: str) -> None:
    async with surrounded(settings.AWS()) as world:
        speak(world, by_aws.PROFILE, mode=mode)
        assert told(await review(world, signed(), "before"))[1] is None
        started = time.monotonic()
        late = await review(world, signed_and(hanging), "late", seconds=0.5)
        assert time.monotonic() - started < 3.0
        assert "in time" in late.detail
        assert late.code is Code.REVOCATION_UNKNOWN  # which says more than that the time was used up
        assert (late.result, decide.image_status(late)) == ((ERROR, 503) if mode == "enforce" else (WARNED, 200))

        world.signer.release()
        assert told(await world.verify(":late"))[1] is None  # by the call that was under way
        assert len(world.signer.requests) == 2


@pytest.mark.parametrize(
    ("then", "code"),
    [
        pytest.param(failing(aws.refusal(403, "AccessDeniedException")), Code.REVOCATION_UNKNOWN, id="denied"),
        pytest.param(failing(aws.refusal(429, "TooManyRequestsException")), Code.REVOCATION_UNKNOWN, id="throttled"),
        pytest.param(failing(aws.refusal(500, "InternalServiceErrorException")), Code.REVOCATION_UNKNOWN, id="failing"),
        pytest.param(hanging, Code.REVOCATION_UNKNOWN, id="hanging"),
        pytest.param(losing_credentials, Code.REVOCATION_UNKNOWN, id="no credentials"),
        pytest.param(revoking(lambda one: one.job_arn), Code.REVOKED, id="revoked"),
    ],
)
async def test_what_aws_says_is_enforced_only_told_or_not_asked_for(then: Callable[..., None], code: Code) -> None:
    for wanted in ("enforce", "warn", "off"):
        async with surrounded() as world:
            speak(world, by_aws.by_profile(revocation=wanted))
            found = await review(world, signed_and(then))
            match wanted:
                case "enforce":
                    assert found.code is code
                case "warn":
                    assert told(found) == (VERIFIED, None)
                    assert [str(code) in warning for warning in found.warnings] == [True]
                case "off":
                    assert (*told(found), found.warnings) == (VERIFIED, None, ())
            assert len(world.signer.requests) == (wanted != "off" and then is not losing_credentials)


EACH_REVIEW_ASKS = replace(SOON, signer_lifetime=0.0)


@pytest.mark.parametrize(
    ("status", "error", "stands_in"),
    [
        pytest.param(500, "InternalServiceErrorException", True, id="failing"),
        pytest.param(429, "TooManyRequestsException", True, id="throttled"),
        pytest.param(403, "AccessDeniedException", False, id="denied"),
    ],
)
async def test_while_aws_signer_is_away_what_it_said_stands_in_and_is_told(
    status: int, error: str, stands_in: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer, "PATIENCE", 30.0)  # this machine may be slow
    async with surrounded(EACH_REVIEW_ASKS) as world:
        speak(world, by_aws.PROFILE)
        before = await review(world, signed(), "before")
        assert (told(before), before.stale) == ((VERIFIED, None), {})
        world.signer.failing = aws.refusal(status, error)
        found = await world.verify(":before")
        assert told(found) == ((VERIFIED, None) if stands_in else (ERROR, Code.REVOCATION_UNKNOWN))
        assert list(found.stale) == ([Stale.REVOCATION] if stands_in else [])
        never_seen = await review(world, signed(), "never-seen")
        assert told(never_seen) == (ERROR, Code.REVOCATION_UNKNOWN)


async def test_what_was_revoked_stays_denied_while_aws_signer_is_away() -> None:
    async with surrounded(EACH_REVIEW_ASKS) as world:
        speak(world, by_aws.PROFILE)
        assert told(await review(world, signed(), "before")) == (VERIFIED, None)
        world.signer.revoked.add(world.signer.questions[-1]["jobArn"][0])
        assert told(await world.verify(":before")) == (DENIED, Code.REVOKED)
        world.signer.failing = aws.refusal(500, "InternalServiceErrorException")
        assert told(await world.verify(":before")) == (DENIED, Code.REVOKED)


async def test_a_hundred_pods_of_one_image_make_one_call() -> None:
    async with surrounded() as world:
        speak(world, by_aws.PROFILE)
        image = world.image()
        signed()(world, image)
        found = await asyncio.gather(*(world.verify(f"@{image}") for _ in range(100)))
        assert {told(one) for one in found} == {(VERIFIED, None)}
        assert len(world.signer.requests) == 1


async def test_a_chain_that_is_only_tolerated_leads_nobody_anywhere() -> None:
    """At the level audit a stranger's certificates could name any address."""
    async with surrounded() as world:
        speak(world, envelopes.by_certificate(level="audit", subjects=["C=US, ST=WA, O=nobody.example"]))
        found = await review(world, revocation.by_ocsp(revocation.response()))
        assert told(found) == (VERIFIED, None)
        assert world.asked == 0
        assert any("identity_mismatch" in warning for warning in found.warnings)


# --- a KMS alias that is pointed elsewhere

ALIAS = "awskms:///arn:aws:kms:us-west-2:111122223333:alias/image-signing"
BEFORE, AFTER = signing.new_key(), signing.new_key()


class Aliases:
    """KMS, as far as one alias goes; `point` has it lead elsewhere, and the new key is at hand when it returns."""

    def __init__(self) -> None:
        self.key, self.seconds = BEFORE, 0.0
        self.source = KeySource(
            settings.AWS(), self._fetch, observe=lambda uri, result: None, monotonic=lambda: self.seconds
        )
        self.source.use([kms.parse(ALIAS)])

    def point(self, key: signing.SigningKey) -> None:
        self.key = key
        self.seconds += settings.AWS().kms_refresh
        concurrent.futures.wait(self.source.ask_due(), timeout=20)

    def _fetch(self, place: KMSKey) -> Fetched:
        name = "before" if self.key is BEFORE else "after"
        return Fetched(material.parse_public_key(self.key.public_pem), f"arn:aws:kms:us-west-2:111122223333:key/{name}")


@pytest.mark.parametrize("moment", ["/manifests/1", ".sig", "blobs/"], ids=["tag", "manifest", "payload"])
@pytest.mark.parametrize("signer", [BEFORE, AFTER], ids=["before", "after"])
async def test_an_alias_that_changes_during_a_review_counts_from_the_next(
    moment: str, signer: signing.SigningKey
) -> None:
    aliases = Aliases()
    stored = HostileRegistry()
    async with opened(NoMatch.ALLOW, stored=stored) as cluster:

        def trust_now() -> object:
            now = aliases.source.current
            return replace(TRUST, keys=now.keys, key_problems=now.key_problems)

        cluster.verifier.trust = trust_now  # type: ignore[assignment]
        cluster.policy(trustedKeys=[{"name": "pipeline", "kms": ALIAS}])
        cluster.sign(cluster.image(), signer)

        def pointing(request: Incoming) -> Outgoing | None:
            if moment in request.path and aliases.key is BEFORE:
                aliases.point(AFTER)
            return None

        stored.rules.append(pointing)
        begun_before, next_one = await cluster.verify(":1"), await cluster.verify(":1")
    aliases.source.close()
    refused = (DENIED, Code.SIGNATURE_INVALID)
    assert aliases.key is AFTER
    assert told(begun_before) == ((VERIFIED, None) if signer is BEFORE else refused)
    assert told(next_one) == ((VERIFIED, None) if signer is AFTER else refused)


# --- policies, with the path and the line of what is wrong


def mistakes_of(fields: Fields) -> list[tuple[str, str, str]]:
    """The path of each mistake, what stands in its line, and what is said of it."""
    spec = {"mode": "enforce", **{name: value for name, value in fields.items() if value is not None}}
    text = yaml.safe_dump({**HEAD, "spec": spec}, sort_keys=False, width=10_000)
    try:
        document.parse(text.encode(), origin="policies.yaml", now=NOW)
    except PolicyErrors as errors:
        lines = text.splitlines()
        return [(one.path, lines[one.line - 1].strip(" -"), one.message) for one in errors.mistakes]
    return []


ARN = OURS.arn
AN_ARN = "spec.signerProfiles[0].arn"


@pytest.mark.parametrize(
    ("arn", "said"),
    [
        pytest.param(ARN, "", id="a profile"),
        pytest.param(OURS.version_arn, "", id="one version of it"),
        pytest.param(ARN.replace("us-west-2", "US-WEST-2"), "", id="region in upper case"),
        pytest.param(ARN.replace("demo_profile", "DEMO_PROFILE"), "", id="name in upper case"),
        pytest.param(f"{ARN}/", "nothing expected behind the profile name, found /", id="slash behind it"),
        pytest.param(f"{OURS.version_arn}/", "a version of 10 letters and digits", id="slash behind its version"),
        pytest.param(ARN.upper(), "an ARN expected", id="in upper case"),
        pytest.param(ARN.replace(":aws:", ":AWS:"), "found 'AWS'", id="partition in upper case"),
        pytest.param(f"{ARN[:-3]}*", "wildcards are not known", id="wildcard"),
        pytest.param(f"{ARN}/*", "wildcards are not known", id="wildcard for the version"),
        pytest.param(f"{ARN}/AAAAAAAAA?", "wildcards are not known", id="wildcard in the version"),
        pytest.param("*", "an ARN expected", id="any"),
        pytest.param(ARN.replace(":signer:", ":kms:"), "the service signer expected", id="another service"),
        pytest.param(ARN.replace(":aws:", ":aws-moon:"), "found 'aws-moon'", id="partition that is none"),
        pytest.param(f" {ARN}", "an ARN expected", id="space before it"),
        pytest.param(OURS.job_arn, "/signing-profiles/<name> expected", id="a job"),
    ],
)
def test_a_profile_that_cannot_be_meant_is_a_mistake_in_its_line(arn: str, said: str) -> None:
    found = mistakes_of(by_aws.by_profile(arn=arn))
    if not said:
        assert found == []
        return
    [(path, line, message)] = found
    assert (path, line.startswith("arn:"), arn.strip() in line) == (AN_ARN, True, True)
    assert said in message


CHINESE = ARN.replace(":aws:", ":aws-cn:").replace("us-west-2", "cn-north-1")
ROOT_AS_CA = {"name": "amazon", "type": "ca", "certificates": aws_pem()}
BUILT_IN_ROOT = {"name": "aws", "trustStore": "aws-signer", "unsafeAnySubject": True}


@pytest.mark.parametrize(
    ("fields", "path", "line", "said"),
    [
        pytest.param(
            {"signerProfiles": [{"name": "cn", "arn": CHINESE}]}, "spec.signerProfiles[0].trustStore", "name: cn",
            "no root of AWS Signer is built in for the partition aws-cn", id="another partition, without a root",
        ),
        pytest.param(
            {"signerProfiles": [{"name": "cn", "arn": CHINESE, "trustStore": "aws-signer"}]},
            "spec.signerProfiles[0].trustStore", "trustStore: aws-signer", "of the partition aws, and the profile of",
            id="another partition, with this one's root",
        ),
        pytest.param(
            {"signerProfiles": [{"name": "ecr", "arn": ARN, "trustStore": "amazon"}], "trustStores": [ROOT_AS_CA]},
            "spec.signerProfiles[0].trustStore", "trustStore: amazon", "of the type signingAuthority expected",
            id="AWS's root in a store of the type ca",
        ),
        pytest.param(
            {"certificates": [BUILT_IN_ROOT]}, "spec.certificates[0].trustStore", "trustStore: aws-signer",
            "name your profile, under signerProfiles", id="every customer of AWS",
        ),
        pytest.param(
            {"certificates": [{**BUILT_IN_ROOT, "trustStore": "amazon"}], "trustStores": [ROOT_AS_CA]},
            "spec.certificates[0].trustStore", "trustStore: amazon", "name your profile, under signerProfiles",
            id="every customer of AWS, in a store of the type ca",
        ),
        pytest.param(
            envelopes.by_certificate(subjects=["*"]), "spec.certificates[0].subjects[0]", "'*'", "unsafeAnySubject",
            id="any subject",
        ),
        pytest.param(
            envelopes.by_certificate(level="skip"), "spec.certificates[0].level", "level: skip", "exemptRegistries",
            id="nothing checked",
        ),
        pytest.param(
            envelopes.by_certificate(override={"integrity": "log"}), "spec.certificates[0].override.integrity",
            "integrity: log", "", id="integrity only told",
        ),
        pytest.param(
            {"trustedKeys": [{"name": "pipeline", "kms": "awskms://alias/image-signing"}]}, "spec.trustedKeys[0].kms",
            "kms: awskms://alias/image-signing", "three slashes expected", id="KMS key with two slashes",
        ),
    ],
)  # fmt: skip
def test_a_policy_that_trusts_what_it_cannot_mean_is_a_mistake_in_its_line(
    fields: Fields, path: str, line: str, said: str
) -> None:
    [(found_at, found_in, message)] = mistakes_of(fields)
    assert (found_at, found_in) == (path, line)
    assert said in message
