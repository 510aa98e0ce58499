"""What was found before: when it answers a review, and what ends it at the next one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
import yaml

from tests.doubles.registry import HostileRegistry, Lending, on
from tests.doubles.verifying import (
    NOW,
    PIPELINE,
    RELEASE,
    STRANGER,
    TRUST,
    Cluster,
    Shelf,
    opened,
    told,
    trusted,
)
from tests.notation.aws_like import DAY
from tests.test_attacks_notation import AWS, ECR, attach, described, nothing_revoked
from webhook import settings
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code
from webhook.oci.authn import Credential
from webhook.policy import document
from webhook.policy.decision import Result
from webhook.policy.model import PolicySet
from webhook.trust import material
from webhook.trust.notary.inquiry import Inquiry, Standing, Status

FINGERPRINT = material.parse_public_key(RELEASE.public_pem).fingerprint
VERIFIED = (Result.VERIFIED, None)
KEPT = settings.Cache()
LONG = 600.0  # seconds; for a thousand reviews in one event loop, however busy the machine
PATIENT = replace(KEPT, search_seconds=LONG)


@dataclass
class World:
    cluster: Cluster
    stored: HostileRegistry
    seconds: float = 1000.0  # of the monotonic clock

    def __call__(self) -> float:
        return self.seconds

    def signed(self, text: str = "an image") -> str:
        digest = self.cluster.image(text)
        self.cluster.sign(digest, RELEASE)
        return digest

    def policies(self) -> PolicySet:
        """One policy, read once."""
        self.cluster.policy()
        text = yaml.safe_dump_all(self.cluster.policies).encode()
        return PolicySet(document.parse(text, origin="policies.yaml", now=NOW), "revision", "policies.yaml")

    def asked(self) -> list[str]:
        """What the registry was asked since the last time."""
        lines = self.stored.lines
        self.stored.seen.clear()
        return lines


@asynccontextmanager
async def world_of(cache: settings.Cache = KEPT) -> AsyncIterator[World]:
    stored = HostileRegistry()
    times: list[World] = []
    async with opened(stored=stored, cache=cache, monotonic=lambda: times[0].seconds if times else 1000.0) as cluster:
        times.append(World(cluster, stored))
        yield times[0]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with world_of() as world:
        yield world


# --- what is kept


async def test_a_digest_that_was_verified_is_asked_for_again_when_its_time_is_over(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    assert world.asked()
    for namespace in ("shop", "other"):
        for reference in (f"@{digest}", f":elsewhere@{digest}"):
            assert told(await cluster.verify(reference, namespace=namespace)) == VERIFIED
    assert world.asked() == []
    world.seconds += KEPT.findings_lifetime
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    assert world.asked()


async def test_nothing_is_kept_where_the_operator_says_so() -> None:
    async with world_of(replace(KEPT, findings_lifetime=0.0, presence_stale=0.0)) as world:
        world.cluster.policy()
        digest = world.signed()
        for _ in range(2):
            assert told(await world.cluster.verify(f"@{digest}")) == VERIFIED
            assert world.asked()


async def test_a_refusal_is_never_kept(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = cluster.image()
    assert told(await cluster.verify(f"@{digest}")) == (Result.DENIED, Code.NO_SIGNATURE)
    cluster.sign(digest, RELEASE)
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED


async def test_another_repository_s_digest_is_another_image(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    other = Shelf(cluster.host, cluster.stored, name="evil/x")
    other.image()
    decision = await cluster.verify(f"{cluster.host}/evil/x@{digest}")
    assert told(decision) == (Result.DENIED, Code.NO_SIGNATURE)


async def test_what_a_pod_s_own_credentials_opened_is_for_who_has_the_same(world: World) -> None:
    cluster, stored = world.cluster, world.stored
    cluster.policy()
    digest = world.signed()
    tenant = Credential(username="tenant", password="s3cr3t-passw0rd")

    def private(request: Incoming) -> Outgoing | None:
        known = request.headers.get("authorization", "").startswith("Basic ")
        return None if known else Outgoing(401, (("www-authenticate", 'Basic realm="r"'),))

    stored.rules.append(private)
    assert told(await cluster.verify(f"@{digest}", credentials=Lending((tenant,)))) == VERIFIED
    world.asked()
    assert told(await cluster.verify(f"@{digest}", credentials=Lending((tenant,)))) == VERIFIED
    assert world.asked() == []
    for nobody in (None, Lending()):
        assert told(await cluster.verify(f"@{digest}", credentials=nobody)) == (Result.ERROR, Code.ACCESS_DENIED)


# --- what ends it at the next review


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"trustedKeys": [trusted("release", PIPELINE)]}, Code.SIGNATURE_INVALID, id="another key"),
        pytest.param(
            {"trustedKeys": [trusted("release", RELEASE), trusted("ci", PIPELINE)], "rules": "all"},
            Code.NOT_ENOUGH_SIGNERS,
            id="a tightened rule",
        ),
        pytest.param({"deny": "digest"}, Code.BLOCKED, id="a denied digest"),
        pytest.param({"deny": "image"}, Code.BLOCKED, id="a denied image"),
        pytest.param({"deny": "key"}, Code.BLOCKED, id="a denied key"),
    ],
)
async def test_a_changed_policy_bites_at_the_next_review(world: World, spec: dict[str, Any], expected: Code) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    if spec.get("rules") == "all":
        spec = spec | {"rules": [{"images": ["**"], "require": "all"}]}
    denied = {"digest": {"digest": digest}, "image": {"image": f"{cluster.host}/{cluster.name}"}}
    denied |= {"key": {"keyFingerprint": FINGERPRINT}}
    if "deny" in spec:
        spec = spec | {"deny": [denied[spec["deny"]] | {"reason": "CVE"}]}
    cluster.policies.clear()
    cluster.policy(**spec)
    assert told(await cluster.verify(f"@{digest}")) == (Result.DENIED, expected)


async def test_a_key_that_another_policy_denies_counts_no_more(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    entry = {"keyFingerprint": FINGERPRINT, "reason": "stolen"}
    cluster.policy("security", mode="warn", deny=[entry])
    assert told(await cluster.verify(f"@{digest}"))[0] is Result.DENIED


async def test_other_material_is_other_findings(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    world.asked()
    cluster.verifier.trust = lambda: replace(TRUST)
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    assert world.asked() == []
    cluster.verifier.trust = lambda: replace(TRUST, roots={})
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED  # which a key does not need
    assert world.asked()


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta()])
async def test_a_clock_that_jumps_changes_no_verdict(world: World, jump: timedelta) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    for now in (NOW, NOW + jump, NOW):
        assert told(await cluster.verify(f"@{digest}", now=now)) == VERIFIED


async def test_a_profile_that_was_revoked_bites_at_the_next_review(world: World) -> None:
    cluster = world.cluster
    image = described(cluster, cluster.image())
    attach(cluster, image, AWS.sign(image=image))
    cluster.policy(**ECR)
    asked: list[Inquiry] = []
    standing = Status(Standing.GOOD)

    async def answer(inquiry: Inquiry) -> Status:
        asked.append(inquiry)
        return standing

    cluster.verifier.means.revocation = answer
    for count in (1, 2):
        assert told(await cluster.verify(f"@{image.digest}")) == VERIFIED
        assert len(asked) == count
    world.asked()
    assert told(await cluster.verify(f"@{image.digest}")) == VERIFIED
    assert world.asked() == []
    standing = Status(Standing.REVOKED, "AWS Signer has revoked the profile")
    assert told(await cluster.verify(f"@{image.digest}")) == (Result.DENIED, Code.REVOKED)
    standing = Status(Standing.UNKNOWN, "throttled")
    assert told(await cluster.verify(f"@{image.digest}")) == (Result.ERROR, Code.REVOCATION_UNKNOWN)


async def test_a_signature_that_expires_meanwhile_bites_at_that_moment(world: World) -> None:
    cluster = world.cluster
    image = described(cluster, cluster.image())
    attach(cluster, image, AWS.sign(image=image, expires_at=NOW + DAY))
    cluster.policy(**ECR)
    cluster.verifier.means.revocation = nothing_revoked
    world.asked()
    for now in (NOW, NOW + DAY - timedelta(seconds=1)):
        assert told(await cluster.verify(f"@{image.digest}", now=now)) == VERIFIED
    decision = await cluster.verify(f"@{image.digest}", now=NOW + DAY)
    assert told(decision) == (Result.DENIED, Code.SIGNATURE_EXPIRED)


# --- while nobody answers


@pytest.mark.parametrize(
    ("hours", "status", "expected"),
    [
        (1.0, 503, VERIFIED),
        (23.9, 503, VERIFIED),
        (24.0, 503, (Result.ERROR, Code.REGISTRY_UNAVAILABLE)),
        (1.0, 403, (Result.ERROR, Code.ACCESS_DENIED)),
    ],
)
async def test_older_findings_stand_in_for_a_registry_that_is_away(
    world: World, hours: float, status: int, expected: tuple[Result, Code | None]
) -> None:
    cluster = world.cluster
    cluster.policy()
    digest, other = world.signed(), world.signed("another image")
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    world.stored.rules.append(on("/v2/", status))
    world.seconds += hours * 3600
    decision = await cluster.verify(f"@{digest}")
    assert told(decision) == expected
    assert bool(decision.stale) == (expected == VERIFIED)
    unseen = await cluster.verify(f"@{other}")
    assert unseen.result is Result.ERROR
    assert not unseen.stale


async def test_evidence_that_is_gone_is_not_stood_in_for(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    world.seconds += KEPT.findings_lifetime
    tags = cluster.stored.repository(cluster.name).tags
    del tags[f"{digest.replace(':', '-')}.sig"]
    world.stored.rules.append(on("/referrers/", 503))
    decision = await cluster.verify(f"@{digest}")
    assert (decision.result, decision.stale) == (Result.ERROR, {})


async def test_what_was_revoked_is_not_stood_in_for(world: World) -> None:
    cluster = world.cluster
    image = described(cluster, cluster.image())
    attach(cluster, image, AWS.sign(image=image))
    cluster.policy(**ECR)
    standing = Status(Standing.GOOD)

    async def answer(inquiry: Inquiry) -> Status:
        del inquiry
        return standing

    cluster.verifier.means.revocation = answer
    assert told(await cluster.verify(f"@{image.digest}")) == VERIFIED
    world.seconds += KEPT.findings_lifetime
    world.stored.rules.append(on("/v2/", 503))
    assert (await cluster.verify(f"@{image.digest}")).stale
    standing = Status(Standing.REVOKED, "AWS Signer has revoked the profile")
    assert told(await cluster.verify(f"@{image.digest}"))[0] is Result.ERROR


async def test_a_policy_that_only_warns_keeps_nobody_from_what_was_found(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    cluster.policy("strict", mode="warn", trustedKeys=[trusted("stranger", STRANGER)])
    digest = world.signed()
    first = await cluster.verify(f"@{digest}")
    assert world.asked()
    again = await cluster.verify(f"@{digest}")
    assert world.asked() == []
    assert told(first) == told(again) == (Result.WARNED, Code.SIGNATURE_INVALID)
    assert first.warnings == again.warnings


# --- many at once


async def test_all_who_ask_the_same_at_once_wait_for_one_search() -> None:
    async with world_of(PATIENT) as world:
        digest, policies = world.signed(), world.policies()
        reviews = [world.cluster.judge(f"@{digest}", policies, seconds=LONG) for _ in range(1000)]
        assert {told(decision) for decision in await asyncio.gather(*reviews)} == {VERIFIED}
        assert len(world.asked()) <= 4


async def test_who_gives_up_stops_nobody_and_what_comes_late_is_there_for_the_next(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    gate = asyncio.Event()
    original = cluster.verifier.registry.fetch_manifest

    async def slowly(*arguments: Any) -> Any:
        await gate.wait()
        return await original(*arguments)

    cluster.verifier.registry.fetch_manifest = slowly  # type: ignore[method-assign, assignment]
    gone = asyncio.create_task(cluster.verify(f"@{digest}"))
    waiting = asyncio.create_task(cluster.verify(f"@{digest}"))
    late = asyncio.create_task(cluster.verify(f"@{digest}", seconds=0.05))
    assert told(await late) == (Result.ERROR, Code.DEADLINE_EXCEEDED)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    gate.set()
    assert told(await waiting) == VERIFIED
    world.asked()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    assert world.asked() == []


async def test_who_joins_a_search_that_began_before_the_image_was_signed_is_not_told_what_it_saw(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = cluster.image("signed in between")
    seen, gate = asyncio.Event(), asyncio.Event()
    original = cluster.verifier.registry.fetch_manifest

    async def late(*arguments: Any) -> Any:
        found = await original(*arguments)
        seen.set()
        await gate.wait()
        return found

    cluster.verifier.registry.fetch_manifest = late  # type: ignore[method-assign, assignment]
    before = asyncio.create_task(cluster.verify(f"@{digest}"))
    await seen.wait()
    cluster.sign(digest, RELEASE)
    after = [asyncio.create_task(cluster.verify(f"@{digest}")) for _ in range(20)]
    await asyncio.sleep(0.05)
    gate.set()
    assert told(await before) == (Result.DENIED, Code.NO_SIGNATURE)
    assert {told(decision) for decision in await asyncio.gather(*after)} == {VERIFIED}


# --- tags


async def test_a_tag_is_resolved_once_within_its_time(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    for _ in range(3):
        assert told(await cluster.verify(":1")) == VERIFIED
    assert [line for line in world.asked() if line.startswith("HEAD")] == ["HEAD /v2/pay/api/manifests/1"]
    unsigned = cluster.image("another image")
    assert digest != unsigned
    world.seconds += KEPT.tag_lifetime
    assert told(await cluster.verify(":1")) == (Result.DENIED, Code.NO_SIGNATURE)


async def test_a_tag_whose_registry_is_away_is_not_judged_by_what_it_meant_before(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    world.signed()
    assert told(await cluster.verify(":1")) == VERIFIED
    world.seconds += KEPT.tag_lifetime
    world.stored.rules.append(on("/v2/", 503))
    assert told(await cluster.verify(":1")) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)


async def test_tags_that_move_while_they_are_reviewed() -> None:
    async with world_of(PATIENT) as world:
        cluster, policies = world.cluster, world.policies()
        good, bad = world.signed(), cluster.image("unsigned")
        tags = cluster.stored.repository(cluster.name).tags
        names = [f"t{number}" for number in range(1000)]
        tags.update(dict.fromkeys(names, good))
        reviews = [asyncio.create_task(cluster.judge(f":{name}", policies, seconds=LONG)) for name in names]
        for name in names[::2]:
            tags[name] = bad
            await asyncio.sleep(0)
        for decision in await asyncio.gather(*reviews):
            assert decision.digest is not None
            found = VERIFIED if str(decision.digest) == good else (Result.DENIED, Code.NO_SIGNATURE)
            assert told(decision) == found
