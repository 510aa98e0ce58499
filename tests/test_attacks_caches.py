"""What somebody tried who wanted what is kept to admit what must not be, to deny what is good, or to grow for ever."""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.doubles.registry import Lending, on
from tests.doubles.verifying import (
    NAME,
    NOW,
    PIPELINE,
    RELEASE,
    STRANGER,
    TRUST,
    Shelf,
    signature_tag,
    told,
    trusted,
)
from tests.private_sigstore import images
from tests.private_sigstore.asked import STRANGER as STRANGERS
from tests.test_attestation_attacks import BAD, VULN, scan
from tests.test_findings import KEPT, VERIFIED, World, world_of
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code
from webhook.evidence.model import Outcome, Place, Proof, Signer, SignerKind, Verdict
from webhook.findings import Findings, Key, Memory
from webhook.oci.authn import Credential
from webhook.oci.documents import Documents
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Digest, Repository
from webhook.oci.reference import parse as parsed
from webhook.policy.decision import Result
from webhook.settings import KIB, MIB
from webhook.trust import kms, material
from webhook.trust.at_hand import Trust

KEY = material.parse_public_key(RELEASE.public_pem)
OTHER_KEY = material.parse_public_key(STRANGER.public_pem)
PLACE = kms.parse("awskms:///alias/release")
HOUR = timedelta(hours=1)
DENIED, ERROR = Result.DENIED, Result.ERROR
NUMBERS = itertools.count()


@pytest.fixture
async def world() -> Any:
    async with world_of() as world:
        yield world


def holding(key: material.PublicKey | None) -> Trust:
    """What is at hand where KMS has that key, or none any more."""
    return TRUST | (Trust(keys={PLACE: key}) if key else Trust(key_problems={PLACE: "it is disabled"}))


def demand(world: World, **how: object) -> None:
    """The policy is one that wants a clean scan."""
    keyless(world, **images.demanding(**{"predicateType": VULN, "condition": CLEAN_SCAN} | how))


CLEAN_SCAN = "predicate.critical == 0"


# --- what ends it at the next review


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(KEY, VERIFIED, id="the same key"),
        pytest.param(None, (ERROR, Code.TRUST_UNAVAILABLE), id="a key that was disabled"),
        pytest.param(OTHER_KEY, (DENIED, Code.SIGNATURE_INVALID), id="another key at the same place"),
    ],
)
@pytest.mark.parametrize("away", [False, True])
async def test_a_key_that_is_held_elsewhere_ends(
    world: World, now: material.PublicKey | None, expected: object, away: bool
) -> None:
    cluster = world.cluster
    cluster.policy(trustedKeys=[{"name": "release", "kms": PLACE.uri}])
    cluster.verifier.trust = lambda: holding(KEY)
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    cluster.verifier.trust = lambda: holding(now)
    if away:
        world.stored.rules.append(on("/v2/", 503))
        expected = expected if now is KEY else (ERROR, None)
    found = told(await cluster.verify(f"@{digest}"))
    assert found == expected or (expected == (ERROR, None) and found[0] is ERROR)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, VERIFIED, id="the same"),
        pytest.param(images.under(STRANGERS), None, id="another root of that name"),
        pytest.param(images.by(subject="other@example.com"), (DENIED, Code.IDENTITY_MISMATCH), id="another identity"),
        pytest.param({"deny": "certificate"}, (DENIED, Code.BLOCKED), id="a denied certificate"),
        pytest.param({"deny": "entry"}, (DENIED, Code.BLOCKED), id="a denied entry of the log"),
    ],
)
async def test_what_a_certificate_signed_ends(world: World, spec: Mapping[str, Any], expected: object) -> None:
    cluster = world.cluster
    keyless(world)
    digest = cluster.image()
    images.bundle()(cluster, digest)
    before = await cluster.verify(f"@{digest}")
    assert told(before) == VERIFIED
    proof = next(o.proof for one in before.policies for o in one.outcomes if o.proof is not None)
    blocks: dict[str, dict[str, object]] = {
        "certificate": {"certificateFingerprint": proof.certificate_fingerprint},
        "entry": {"logIndex": proof.logged[0][1]},
    }
    changed = {"deny": [{**blocks[spec["deny"]], "reason": "stolen"}]} if "deny" in spec else spec
    keyless(world, **changed)
    found = told(await cluster.verify(f"@{digest}"))
    assert found == expected or (expected is None and found[0] is DENIED)


def keyless(world: World, **more: object) -> None:
    spec: dict[str, Any] = images.spec(**more)
    world.cluster.policies.clear()
    world.cluster.policy(**spec)
    del world.cluster.policies[0]["spec"]["trustedKeys"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("pick", ["newest", "all"])
async def test_a_newer_attestation_is_hidden_no_longer_than_findings_last(world: World, pick: str) -> None:
    cluster = world.cluster
    demand(world, pick=pick, maxAge="30d")
    digest = cluster.image()
    images.attestations(scan(9))(cluster, digest)
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    images.attestations(scan(9), scan(1, BAD))(cluster, digest)
    world.seconds += KEPT.findings_lifetime - 1
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    world.seconds += 1
    assert told(await cluster.verify(f"@{digest}")) == (DENIED, Code.CLAIM_MISMATCH)
    # Who was seen to be refused is not admitted as soon as nobody answers
    world.stored.rules.append(on("/v2/", 503))
    assert told(await cluster.verify(f"@{digest}"))[0] is ERROR


async def test_what_was_taken_away_does_not_come_back_in_an_outage(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest, other = world.signed(), world.signed("another image")
    for one in (digest, other):
        assert told(await cluster.verify(f"@{one}")) == VERIFIED
    del cluster.stored.repository(NAME).tags[signature_tag(digest)]
    world.seconds += KEPT.findings_lifetime
    assert told(await cluster.verify(f"@{digest}")) == (DENIED, Code.NO_SIGNATURE)
    world.stored.rules.append(on("/v2/", 503))
    assert told(await cluster.verify(f"@{digest}"))[0] is ERROR
    assert told(await cluster.verify(f"@{other}")) == VERIFIED


async def test_an_age_that_runs_out_between_two_reviews(world: World) -> None:
    cluster = world.cluster
    demand(world, maxAge="24h")
    digest = cluster.image()
    images.attestations(scan(23))(cluster, digest)
    for now in (NOW, NOW + HOUR - timedelta(seconds=1)):
        assert told(await cluster.verify(f"@{digest}", now=now)) == VERIFIED
    late = NOW + HOUR + timedelta(minutes=5)  # the log took a moment
    assert told(await cluster.verify(f"@{digest}", now=late)) == (DENIED, Code.TIME_INVALID)
    world.stored.rules.append(on("/v2/", 503))
    assert told(await cluster.verify(f"@{digest}", now=late))[0] is ERROR


async def test_a_condition_sees_the_reference_of_each_review(world: World) -> None:
    cluster = world.cluster
    demand(world, condition='image.tag == "good" && predicate.critical == 0')
    digest = cluster.image()
    images.attestations(scan(1))(cluster, digest)
    for _ in range(2):
        assert told(await cluster.verify(f":good@{digest}")) == VERIFIED
        assert told(await cluster.verify(f":evil@{digest}")) == (DENIED, Code.CLAIM_MISMATCH)


async def test_a_signature_is_only_demanded_where_a_policy_enforces(world: World) -> None:
    cluster = world.cluster
    cluster.policy(mode="warn", enforceIn=["shop"])
    digest, signed = cluster.image("unsigned"), world.signed()
    for _ in range(2):
        assert told(await cluster.verify(f"@{digest}", namespace="other")) == (DENIED, Code.NO_POLICY)
        assert told(await cluster.verify(f"@{digest}", namespace="shop")) == (DENIED, Code.NO_SIGNATURE)
        assert told(await cluster.verify(f"@{signed}", namespace="shop")) == VERIFIED


async def test_an_exception_leaves_nothing_behind_when_it_ends(world: World) -> None:
    cluster = world.cluster
    digest = cluster.image()
    until = NOW + HOUR
    entry = {"digest": digest, "namespaces": ["shop"], "until": f"{until:%Y-%m-%dT%H:%M:%SZ}", "reason": "release"}
    cluster.policy(exceptions=[entry])
    assert (await cluster.verify(f"@{digest}")).result is Result.EXCEPTION
    assert told(await cluster.verify(f"@{digest}", namespace="other")) == (DENIED, Code.NO_SIGNATURE)
    assert told(await cluster.verify(f"@{digest}", now=until)) == (DENIED, Code.NO_SIGNATURE)


async def test_two_signers_are_two_each_time(world: World) -> None:
    cluster = world.cluster
    both = [trusted("release", RELEASE), trusted("ci", PIPELINE)]
    cluster.policy(trustedKeys=both, rules=[{"images": ["**"], "require": 2}])
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    assert told(await cluster.verify(f"@{digest}")) == (DENIED, Code.NOT_ENOUGH_SIGNERS)
    cluster.sign(digest, RELEASE, PIPELINE)
    for _ in range(2):
        assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    entry = {"keyFingerprint": KEY.fingerprint, "reason": "stolen"}
    cluster.policy("security", mode="warn", deny=[entry])
    assert told(await cluster.verify(f"@{digest}"))[0] is DENIED


async def test_an_annotation_is_demanded_of_what_is_remembered(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    cluster.policies.clear()
    cluster.policy(rules=[{"images": ["**"], "annotations": {"env": "prod"}}])
    assert told(await cluster.verify(f"@{digest}")) == (DENIED, Code.CLAIM_MISMATCH)


# --- what counts as an outage


def violation(request: Incoming) -> Outgoing | None:
    """Something else than what was asked for."""
    if "/manifests/sha256-" not in request.path:
        return None
    return Outgoing(200, (("docker-content-digest", f"sha256:{'0' * 64}"),), b"{}")


def oversized(request: Incoming) -> Outgoing | None:
    if "/manifests/sha256-" not in request.path:
        return None
    return Outgoing(200, (("content-type", "application/vnd.oci.image.manifest.v1+json"),), b" " * (6 * MIB))


@pytest.mark.parametrize(
    ("rule", "admitted"),
    [
        pytest.param(on("/v2/", 503), True, id="away"),
        pytest.param(on("/v2/", 429), True, id="limited"),
        pytest.param(on("/v2/", 401), False, id="access denied"),
        pytest.param(on("/v2/", 403), False, id="forbidden"),
        pytest.param(on("/v2/", 404), False, id="gone"),
        pytest.param(on("/v2/", 302, headers=(("location", "http://127.0.0.9/"),)), False, id="led elsewhere"),
        pytest.param(violation, False, id="another document"),
        pytest.param(oversized, False, id="too large"),
    ],
)
async def test_only_an_outage_is_one(world: World, rule: Callable[[Incoming], Outgoing | None], admitted: bool) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    world.seconds += KEPT.findings_lifetime
    world.stored.rules.append(rule)
    decision = await cluster.verify(f"@{digest}")
    assert (decision.result is Result.VERIFIED) == bool(decision.stale) == admitted


@pytest.mark.parametrize("choice", ["deny", "known", "allow"])
async def test_what_a_policy_says_of_outages_comes_after_what_was_found(world: World, choice: str) -> None:
    cluster = world.cluster
    cluster.policy(onUnavailable=choice, rules=[{"images": [f"{cluster.host}/**"]}])
    seen, unseen = world.signed(), world.signed("another image")
    assert told(await cluster.verify(f"@{seen}")) == VERIFIED
    world.seconds += KEPT.findings_lifetime
    world.stored.rules.append(on("/v2/", 503))
    found = await cluster.verify(f"@{seen}")
    assert told(found) == VERIFIED
    assert found.stale
    assert (await cluster.verify(f"@{unseen}")).result is (Result.WARNED if choice == "allow" else ERROR)


# --- several tenants


async def test_what_was_lent_in_the_middle_of_a_search_is_kept_for_who_has_it(world: World) -> None:
    cluster, stored = world.cluster, world.stored
    cluster.policy()
    digest = world.signed()
    one, other = (Credential(username=name, password="s3cr3t-passw0rd") for name in ("one", "other"))

    def private(request: Incoming) -> Outgoing | None:
        sent = request.headers.get("authorization", "")
        known = sent == "Basic b25lOnMzY3IzdC1wYXNzdzByZA=="
        return None if known else Outgoing(401, (("www-authenticate", 'Basic realm="r"'),))

    stored.rules.append(private)
    assert told(await cluster.verify(f"@{digest}", credentials=Lending((one,)))) == VERIFIED
    world.asked()
    for namespace in ("shop", "other"):
        decision = await cluster.verify(f"@{digest}", credentials=Lending((other,)), namespace=namespace)
        assert told(decision) == (ERROR, Code.ACCESS_DENIED)
    assert told(await cluster.verify(f"@{digest}", credentials=Lending((other, one)))) == VERIFIED
    assert told(await cluster.verify(f"@{digest}", credentials=Lending((one,)), namespace="other")) == VERIFIED
    stored.rules.append(on("/v2/", 503))
    assert told(await cluster.verify(f"@{digest}", credentials=Lending((other,)))) == (ERROR, Code.ACCESS_DENIED)


async def test_a_document_is_kept_by_the_credentials_that_opened_it() -> None:
    documents = Documents(LIMITS)
    lent: list[Credential] = []
    descriptor = Descriptor("text/plain", Digest("sha256", "0" * 64), 6, None, {}, None)
    repository = Repository("registry.example.com", "app")
    tenant = Credential(username="tenant", password="s3cr3t-passw0rd")

    async def open_by_credentials() -> bytes:
        lent.append(tenant)
        return b"secret"

    async def refuse() -> bytes:
        raise PermissionError

    async def get(load: Callable[[], Awaitable[bytes]], by: Callable[[], tuple[Credential, ...]]) -> bytes:
        return await documents.content(repository, by, descriptor, load, share=False)

    assert await get(open_by_credentials, lambda: tuple(lent)) == b"secret"
    assert await get(refuse, lambda: (tenant,)) == b"secret"
    with pytest.raises(PermissionError):
        await get(refuse, tuple)


async def test_evidence_that_was_judged_elsewhere_proves_nothing_here(world: World) -> None:
    cluster = world.cluster
    keyless(world)
    digest = cluster.image()
    images.bundle()(cluster, digest)
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED
    other = Shelf(cluster.host, cluster.stored, name="evil/x")
    victim = other.image("another image")
    images.bundle(of=digest)(other, victim)
    decision = await cluster.verify(f"{cluster.host}/evil/x@{victim}")
    assert told(decision) == (DENIED, Code.SUBJECT_MISMATCH)


# --- clocks


async def test_a_time_that_lay_ahead_by_a_wrong_clock_is_judged_again(world: World) -> None:
    cluster = world.cluster
    demand(world, maxAge="30d")
    digest = cluster.image()
    images.attestations(scan(0.5))(cluster, digest)
    assert told(await cluster.verify(f"@{digest}", now=NOW - HOUR)) == (DENIED, Code.TIME_INVALID)
    assert told(await cluster.verify(f"@{digest}", now=NOW)) == VERIFIED


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_clock_that_jumps_while_a_search_goes_on(world: World, jump: timedelta) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    reviews = [cluster.verify(f"@{digest}", now=moment) for moment in (NOW, NOW + jump, NOW, NOW + jump)]
    assert {told(decision) for decision in await asyncio.gather(*reviews)} == {VERIFIED}
    for moment in (NOW + jump, NOW):
        assert told(await cluster.verify(f"@{digest}", now=moment)) == VERIFIED


# --- nothing is left behind


async def test_a_review_that_is_cancelled_anywhere_leaves_nothing_behind(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    for turns in (*range(24), *range(24, 120, 8)):
        digest = world.signed(f"image {turns}")
        for reference in (f"@{digest}", ":1"):
            review = asyncio.create_task(cluster.verify(reference))
            for _ in range(turns):
                await asyncio.sleep(0)
            review.cancel()
            await asyncio.gather(review, return_exceptions=True)
    await settled(world)
    assert told(await cluster.verify(f"@{digest}")) == VERIFIED


async def test_a_thousand_reviews_of_which_half_are_cancelled(world: World) -> None:
    cluster = world.cluster
    cluster.policy()
    digest = world.signed()
    reviews = [asyncio.create_task(cluster.verify(f"@{digest}")) for _ in range(1000)]
    await asyncio.sleep(0)
    for review in reviews[::2]:
        review.cancel()
    found = await asyncio.gather(*reviews, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in found[::2])
    assert {told(one) for one in found[1::2] if not isinstance(one, BaseException)} == {VERIFIED}
    assert len(world.asked()) <= 4
    await settled(world)


async def settled(world: World) -> None:
    """What went on has come to its end, and nothing of it is held."""
    verifier = world.cluster.verifier
    async with asyncio.timeout(60):
        while verifier.searches._underway or verifier._tags._loads or verifier.means.collector.tasks:
            await asyncio.sleep(0.01)
    assert [task for task in asyncio.all_tasks() if "verification" in repr(task) or "searching" in repr(task)] == []


# --- bounds


SIGNER = Signer("release", SignerKind.KEY, KEY)
LIMITS = replace(KEPT, findings_max_bytes=MIB, documents_max_bytes=MIB, outcomes_max_bytes=MIB)


def found_one(number: int) -> tuple[Key, Findings]:
    repository = parsed(f"registry.example.com/team-{number}/application:1").repository
    proof = Proof(f"spki:{number:064x}", f"{number:064x}", annotations={"build": f"number {number}"})
    facts = {"candidate": f"sha256:{number:064x}", "manifest": f"sha256:{number + 1:064x}", "place": "signature tag"}
    detail = f"signed by release, number {number}"
    outcome = Outcome(Verdict.VERIFIED, None, detail, SIGNER, None, Place.SIGNATURE_TAG, facts, proof=proof)
    key = (repository, Digest("sha256", f"{number:064x}"), (), "demanded")
    return key, Findings(NOW, (outcome,))


def measured(fill: Callable[[int], None], count: int) -> int:
    """The bytes that are held after `fill` was called with each number below `count`."""
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            fill(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_findings_take_about_what_they_are_said_to_take() -> None:
    memory = Memory(LIMITS, lambda: 0.0)
    taken = measured(lambda number: memory.keep(*found_one(number)), 2000)
    assert memory.bytes <= LIMITS.findings_max_bytes
    assert len(memory) < 2000
    assert memory.bytes / 2 < taken < memory.bytes * 2


@pytest.mark.parametrize("size", [200, 2 * KIB, 20 * KIB])
def test_documents_take_about_what_they_are_said_to_take(size: int) -> None:
    documents = Documents(LIMITS)

    def fetch(number: int) -> None:
        repository = Repository("registry.example.com", f"team-{number}/application")
        digest = Digest("sha256", f"{number:064x}")
        descriptor = Descriptor("application/vnd.oci.image.manifest.v1+json", digest, size, None, {}, None)

        async def load() -> bytes:
            return number.to_bytes(size, "big")

        work = documents.content(repository, tuple, descriptor, load, share=False)
        with pytest.raises(StopIteration):
            work.send(None)

    taken = measured(fetch, 3000)
    kept = documents._content
    assert kept.bytes <= LIMITS.documents_max_bytes
    assert kept.bytes / 2 < taken < kept.bytes * 2


async def test_a_flood_of_images_fills_nothing_beyond_its_bounds() -> None:
    small = replace(KEPT, findings_max_bytes=20_000, outcomes_max_bytes=20_000, tags_max=10)
    async with world_of(small) as world:
        cluster = world.cluster
        cluster.policy()
        for number in range(60):
            world.signed(f"image {number}")
            assert told(await cluster.verify(":1")) == VERIFIED
            cluster.stored.repository(NAME).tags[f"t{number}"] = cluster.stored.repository(NAME).tags["1"]
            assert told(await cluster.verify(f":t{number}")) == VERIFIED
            world.seconds += small.tag_lifetime
        verifier = cluster.verifier
        assert verifier.memory.bytes <= small.findings_max_bytes
        assert len(verifier._tags) <= small.tags_max
        assert len(verifier._demands) == 1
        assert not verifier.searches._underway
