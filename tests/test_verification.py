"""One image from its text to a decision: real signatures, a registry on loopback, policies as a user writes them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
import yaml

from tests.doubles.registry import HostileRegistry, on, registry_for, running
from tests.doubles.verifying import (
    NAME,
    NOW,
    PIPELINE,
    RELEASE,
    STRANGER,
    Cluster,
    opened,
    told,
    trusted,
)
from tests.notation import aws_like
from webhook import settings
from webhook.demo import signing
from webhook.demo.content import digest_of
from webhook.demo.registry import MemoryRegistry
from webhook.errors import Code
from webhook.evidence.collect import Collector
from webhook.evidence.model import Outcome, Place, Proof, Signer, SignerKind, Verdict
from webhook.findings import Known
from webhook.oci import manifest
from webhook.policy import document
from webhook.policy.decision import ImageDecision, Result
from webhook.policy.model import PolicySet
from webhook.settings import NoMatch
from webhook.trust import material
from webhook.verification import Verifier


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with opened() as cluster:
        yield cluster


@pytest.mark.parametrize("form", ["legacy", "bundle"])
@pytest.mark.parametrize("by", ["tag", "digest", "both"])
async def test_signed_image_is_verified_in_few_requests(cluster: Cluster, form: str, by: str) -> None:
    cluster.policy()
    for number in range(2):  # the second time the form is known
        digest = cluster.image(f"image {number}", tag=str(number))
        if form == "legacy":
            cluster.sign(digest, RELEASE)
        else:
            cluster.bundle(digest, RELEASE)
        cluster.stored.requests.clear()
        written = {"tag": f":{number}", "digest": f"@{digest}", "both": f":other@{digest}"}[by]
        decision = await cluster.verify(written)
        assert told(decision) == (Result.VERIFIED, None)
        assert str(decision.digest) == digest
    expected = {"legacy": 2, "bundle": 3}[form] + (1 if by == "tag" else 0)
    assert cluster.stored.requests.total() == expected


async def test_unsigned_image_is_denied_after_every_place_was_asked(cluster: Cluster) -> None:
    cluster.policy()
    decision = await cluster.verify(f"@{cluster.image()}")
    assert told(decision) == (Result.DENIED, Code.NO_SIGNATURE)
    assert {asked.place for asked in decision.asked} == set(Place) - {Place.ATTESTATION_TAG}
    assert cluster.stored.requests.total() == 3


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ([RELEASE], None),
        ([STRANGER], Code.SIGNATURE_INVALID),
        ([STRANGER, RELEASE], None),
        ([RELEASE, STRANGER], None),
    ],
    ids=["trusted", "stranger", "stranger-then-trusted", "trusted-then-stranger"],
)
async def test_one_bad_signature_neither_hides_nor_helps_a_good_one(
    cluster: Cluster, keys: Sequence[signing.SigningKey], code: Code | None
) -> None:
    cluster.policy()
    digest = cluster.image()
    cluster.sign(digest, *keys)
    assert (await cluster.verify(f"@{digest}")).code is code


async def test_good_bundle_counts_beside_a_bad_legacy_signature(cluster: Cluster) -> None:
    cluster.policy()
    digest = cluster.image()
    cluster.sign(digest, STRANGER)
    cluster.bundle(digest, RELEASE)
    assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)


async def test_bundle_of_a_stranger_does_not_count(cluster: Cluster) -> None:
    cluster.policy()
    digest = cluster.image()
    cluster.bundle(digest, STRANGER)
    assert told(await cluster.verify(f"@{digest}")) == (Result.DENIED, Code.SIGNATURE_INVALID)
    cluster.bundle(digest, RELEASE)
    assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)


async def test_copied_bundle_is_of_another_image(cluster: Cluster) -> None:
    cluster.policy()
    signed, other = cluster.image("signed", tag="1"), cluster.image("other", tag="2")
    cluster.bundle(other, RELEASE, of=signed)
    assert told(await cluster.verify(f"@{other}")) == (Result.DENIED, Code.SUBJECT_MISMATCH)


async def test_copied_signature_is_of_another_image(cluster: Cluster) -> None:
    cluster.policy()
    signed, other = cluster.image("signed", tag="1"), cluster.image("other", tag="2")
    cluster.sign(other, RELEASE, subject=signed)
    assert told(await cluster.verify(f"@{other}")) == (Result.DENIED, Code.SUBJECT_MISMATCH)


@pytest.mark.parametrize(
    ("require", "keys", "code"),
    [
        ("any", [PIPELINE], None),
        ("any", [STRANGER], Code.SIGNATURE_INVALID),
        ("all", [RELEASE, PIPELINE], None),
        ("all", [RELEASE], Code.NOT_ENOUGH_SIGNERS),
        ("all", [RELEASE, RELEASE], Code.NOT_ENOUGH_SIGNERS),
        (2, [RELEASE, PIPELINE], None),
        (2, [PIPELINE, STRANGER], Code.NOT_ENOUGH_SIGNERS),
    ],
)
async def test_requirement_counts_distinct_keys(
    cluster: Cluster, require: object, keys: Sequence[signing.SigningKey], code: Code | None
) -> None:
    cluster.policy(
        trustedKeys=[trusted("release", RELEASE), trusted("pipeline", PIPELINE)],
        rules=[{"images": ["**"], "require": require}],
    )
    digest = cluster.image()
    cluster.sign(digest, *keys)
    assert (await cluster.verify(f"@{digest}")).code is code


async def test_every_enforcing_policy_must_be_met(cluster: Cluster) -> None:
    cluster.policy()
    cluster.policy("second", trustedKeys=[trusted("pipeline", PIPELINE)])
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    assert told(await cluster.verify(f"@{digest}")) == (Result.DENIED, Code.SIGNATURE_INVALID)
    cluster.sign(digest, RELEASE, PIPELINE)
    assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)


async def test_warn_policy_warns_and_its_namespaces_enforce(cluster: Cluster) -> None:
    cluster.policy("trial", mode="warn", enforceIn=["payments"])
    cluster.policy("all", exemptRegistries=[cluster.host])
    digest = cluster.image()
    warned = await cluster.verify(f"@{digest}")
    assert warned.result is Result.WARNED
    assert warned.warnings
    assert told(await cluster.verify(f"@{digest}", namespace="payments")) == (Result.DENIED, Code.NO_SIGNATURE)


async def test_warn_policy_denies_tampering(cluster: Cluster) -> None:
    cluster.policy("trial", mode="warn")
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    blobs = cluster.stored.repository(NAME).blobs
    payload = next(found for found, data in blobs.items() if b"docker-manifest-digest" in data)
    blobs[payload] = blobs[payload].replace(b"cosign", b"c0sign")
    assert told(await cluster.verify(f"@{digest}")) == (Result.DENIED, Code.REGISTRY_VIOLATION)


@pytest.mark.parametrize(
    ("no_match", "result", "code"),
    [
        (NoMatch.DENY, Result.DENIED, Code.NO_POLICY),
        (NoMatch.WARN, Result.WARNED, Code.NO_POLICY),
        (NoMatch.ALLOW, Result.UNMATCHED, None),
    ],
)
async def test_no_policy_follows_no_match_without_a_request(
    no_match: NoMatch, result: Result, code: Code | None
) -> None:
    async with opened(no_match) as cluster:
        decision = await cluster.verify("registry.example.com/app:1")
        assert told(decision) == (result, code)
        assert "policies.yaml" in decision.detail
        assert not cluster.stored.requests


async def test_exempt_registry_needs_no_request(cluster: Cluster) -> None:
    cluster.policy(exemptRegistries=["registry.k8s.io"])
    assert told(await cluster.verify("registry.k8s.io/pause:3.10")) == (Result.EXEMPT, None)
    near_miss = await cluster.verify("registry.k8s.io.example.com/pause:3.10")
    assert told(near_miss) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)
    assert not cluster.stored.requests


async def test_tag_is_denied_where_a_digest_is_demanded(cluster: Cluster) -> None:
    cluster.policy(tags="deny")
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    assert told(await cluster.verify(":1")) == (Result.DENIED, Code.TAG_NOT_ALLOWED)
    assert not cluster.stored.requests
    assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)


@pytest.mark.parametrize(
    "refusal", [{"tags": "deny"}, {"deny": [{"image": "**", "reason": "closed"}]}], ids=["tags", "deny"]
)
async def test_what_is_refused_anyway_is_not_asked_for(cluster: Cluster, refusal: dict[str, object]) -> None:
    cluster.policy()
    cluster.policy("second", **refusal)
    assert (await cluster.verify(":1")).result is Result.DENIED
    assert not cluster.stored.requests


async def test_denied_digest_beats_a_signature_and_an_exemption(cluster: Cluster) -> None:
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    cluster.policy()
    cluster.policy("block", mode="warn", deny=[{"digest": digest, "reason": "CVE-2026-0001"}])
    cluster.policy("exempt", exemptRegistries=[cluster.host])
    for written in (":1", f"@{digest}"):
        decision = await cluster.verify(written)
        assert told(decision) == (Result.DENIED, Code.BLOCKED)
        assert "CVE-2026-0001" in decision.detail


async def test_stolen_key_counts_in_no_policy(cluster: Cluster) -> None:
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    cluster.policy()
    assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)
    parsed = document.parse(yaml.safe_dump_all(cluster.policies).encode(), origin="x", now=NOW)
    fingerprint = parsed[0].signers[0].fingerprint
    cluster.policy("block", mode="warn", deny=[{"keyFingerprint": fingerprint, "reason": "stolen"}])
    assert told(await cluster.verify(f"@{digest}")) == (Result.DENIED, Code.BLOCKED)


async def test_exception_admits_until_it_ends_and_says_so(cluster: Cluster) -> None:
    digest = cluster.image()
    exception = {"digest": digest, "namespaces": ["shop"], "until": "2026-12-01", "reason": "vendor is late"}
    cluster.policy(exceptions=[exception])
    for written in (":1", f"@{digest}"):
        decision = await cluster.verify(written)
        assert told(decision) == (Result.EXCEPTION, None)
        assert "vendor is late" in decision.warnings[0]
    assert (await cluster.verify(f"@{digest}", namespace="other")).code is Code.NO_SIGNATURE
    assert (await cluster.verify(f"@{cluster.image('other', tag='2')}")).code is Code.NO_SIGNATURE
    later = datetime(2026, 12, 2, tzinfo=UTC)
    assert (await cluster.verify(f"@{digest}", now=later)).code is Code.NO_SIGNATURE


@pytest.mark.parametrize(
    "text", ["", "ghcr.io/UPPER", "a@sha256:abc", "sha256:" + "a" * 64, "x\ny", "registry.k8s.io/é"]
)
async def test_what_is_no_reference_is_denied(cluster: Cluster, text: str) -> None:
    cluster.policy(exemptRegistries=["registry.k8s.io"])
    begun = cluster.verifier.begin(text, paths=(), namespace="x", policies=PolicySet((), "", ""), now=NOW)
    assert isinstance(begun, ImageDecision)
    assert told(begun) == (Result.DENIED, Code.REFERENCE_INVALID)


async def test_missing_tag_is_a_denial_and_an_outage_is_not(cluster: Cluster) -> None:
    cluster.policy()
    cluster.image()
    assert told(await cluster.verify(":nowhere")) == (Result.DENIED, Code.IMAGE_NOT_FOUND)
    refused = await cluster.verify("127.0.0.1:1/pay/api:1")
    assert told(refused) == (Result.DENIED, Code.HOST_REFUSED)


async def test_spent_deadline_is_an_error(cluster: Cluster) -> None:
    cluster.policy()
    decision = await cluster.verify(f"@{cluster.image()}", seconds=0)
    assert told(decision) == (Result.ERROR, Code.DEADLINE_EXCEEDED)


class Outage(MemoryRegistry):
    """Answers 503 to everything while `down`."""

    down = False

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if self.down:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await super().__call__(scope, receive, send)


@pytest.mark.parametrize(
    ("choice", "seen_before", "result"),
    [
        ("deny", False, Result.ERROR),
        ("deny", True, Result.ERROR),
        ("known", True, Result.VERIFIED),
        ("known", False, Result.ERROR),
        ("allow", False, Result.WARNED),
    ],
)
async def test_outage_follows_on_unavailable(choice: str, seen_before: bool, result: Result) -> None:
    stored = Outage()
    async with running(stored) as host, registry_for(host) as registry:
        collector = Collector(registry=registry, limits=settings.Evidence(), observe=lambda stage, seconds: None)
        verifier = Verifier(
            registry=registry, collector=collector, policy=settings.Policy(), observe=lambda stage, seconds: None
        )
        cluster = Cluster(host, stored, verifier)
        cluster.policy(rules=[{"images": [host], "onUnavailable": choice}])
        digest = cluster.image()
        cluster.sign(digest, RELEASE)
        if seen_before:
            assert (await cluster.verify(f"@{digest}")).result is Result.VERIFIED
        stored.down = True
        decision = await cluster.verify(f"@{digest}")
        assert decision.result is result
        if result is Result.ERROR:
            assert decision.code is Code.REGISTRY_UNAVAILABLE
        else:
            assert decision.warnings
        await collector.close()


async def test_an_outage_of_one_place_admits_nothing_that_another_place_speaks_against() -> None:
    stored = HostileRegistry()
    async with opened(stored=stored) as cluster:
        cluster.policy(rules=[{"images": [cluster.host], "onUnavailable": "allow"}])
        digest = cluster.image()
        cluster.sign(digest, STRANGER)
        stored.rules[:] = [on("/referrers/", 503)]
        assert told(await cluster.verify(f"@{digest}")) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)
        stored.rules[:] = [on("/v2/", 403)]
        assert told(await cluster.verify(f"@{digest}")) == (Result.ERROR, Code.ACCESS_DENIED)
        stored.rules[:] = [on("/v2/", 503)]
        assert (await cluster.verify(f"@{digest}")).result is Result.WARNED


@pytest.mark.parametrize("key", [RELEASE, STRANGER], ids=["ours", "a stranger's"])
async def test_an_outage_after_a_candidate_was_listed_admits_nothing(key: signing.SigningKey) -> None:
    stored = HostileRegistry()
    async with opened(stored=stored) as cluster:
        cluster.policy(rules=[{"images": [cluster.host], "onUnavailable": "allow"}])
        digest = cluster.image()
        cluster.sign(digest, key)
        stored.rules.append(on("/blobs/", 503))
        assert told(await cluster.verify(f"@{digest}")) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)
        stored.rules[:] = [on("/v2/", 503)]
        assert (await cluster.verify(f"@{digest}")).result is Result.WARNED


async def test_known_digest_counts_for_the_keys_that_signed_it_only() -> None:
    stored = Outage()
    async with running(stored) as host, registry_for(host) as registry:
        collector = Collector(registry=registry, limits=settings.Evidence(), observe=lambda stage, seconds: None)
        verifier = Verifier(
            registry=registry, collector=collector, policy=settings.Policy(), observe=lambda stage, seconds: None
        )
        cluster = Cluster(host, stored, verifier)
        cluster.policy(onUnavailable="known")
        digest = cluster.image()
        cluster.sign(digest, RELEASE)
        assert (await cluster.verify(f"@{digest}")).result is Result.VERIFIED
        stored.down = True
        cluster.policies.clear()
        cluster.policy(onUnavailable="known", trustedKeys=[trusted("pipeline", PIPELINE)])
        assert (await cluster.verify(f"@{digest}")).result is Result.ERROR
        await collector.close()


@pytest.mark.parametrize(("key", "code"), [(RELEASE, None), (STRANGER, Code.SIGNATURE_INVALID)], ids=["good", "bad"])
async def test_large_bundle_is_judged_in_a_thread_all_the_same(
    cluster: Cluster, key: signing.SigningKey, code: Code | None
) -> None:
    cluster.policy()
    digest = cluster.image()
    stored = cluster.stored.repository(NAME)
    cluster.bundle(digest, key)
    large = next(found for found, data in stored.blobs.items() if b"dsseEnvelope" in data)
    data = stored.blobs.pop(large) + b" " * (100 * 1024)
    stored.blobs[digest_of(data)] = data
    for name, found in list(stored.manifests.items()):
        fields = json.loads(found.data)
        if fields.get("subject"):
            fields["layers"][0] |= {"digest": digest_of(data), "size": len(data)}
            del stored.manifests[name]
            cluster.stored.push_manifest(NAME, json.dumps(fields).encode(), manifest.OCI_MANIFEST)
    assert (await cluster.verify(f"@{digest}")).code is code


def verified(signer: Signer) -> Outcome:
    return Outcome(Verdict.VERIFIED, None, "signed", signer, proof=Proof("spki:00", "00"))


def test_known_signers_add_up_and_each_ends_by_itself() -> None:
    signers = [
        Signer(name, SignerKind.KEY, material.parse_public_key(key.public_pem))
        for name, key in (("release", RELEASE), ("pipeline", PIPELINE))
    ]
    known, image = Known(settings.Policy(known_max=2)), ("registry.example.com/app", None, ())
    for signer in signers:  # in half an outage only one of two is met
        known.add(image, [verified(signer)])
    known.add(image, [Outcome(Verdict.REJECTED, Code.SIGNATURE_INVALID, "forged", signers[0])])
    assert known.signers(image) == {signer.known_as for signer in signers}
    for number in range(2):
        known.add((f"other/{number}", None, ()), [verified(signers[0])])
    assert known.signers(image) == frozenset()
    ended = Known(settings.Policy(known_lifetime=0.0))
    ended.add(image, [verified(signers[0])])
    assert ended.signers(image) == frozenset()


async def test_what_one_rule_finds_is_no_answer_to_another(cluster: Cluster) -> None:
    """A signature is there, and no attestation, which a second policy wants instead: missing, not unexamined."""
    cluster.policy()
    demand = {"predicateType": "https://slsa.dev/provenance/v1"}
    rule = {"images": [f"{cluster.host}/**"], "require": "none", "attestations": [demand]}
    cluster.policy("provenance", rules=[rule])
    digest = cluster.image()
    cluster.sign(digest, RELEASE)

    decision = await cluster.verify(f"@{digest}")

    assert told(decision) == (Result.DENIED, Code.NO_SIGNATURE)
    assert "no attestation of type https://slsa.dev/provenance/v1" in decision.detail


async def test_each_kind_of_signature_is_missed_by_itself(cluster: Cluster) -> None:
    """One is there that cosign made, with another key: of the kind that Notation makes there is none."""
    acme = aws_like.issue("C=US,ST=WA,O=acme.example,CN=root")
    store = {"name": "acme", "type": "ca", "certificates": acme.pem}
    rule = {"name": "acme", "trustStore": "acme", "subjects": ["C=US, ST=WA, O=acme.example"]}
    digest = cluster.image()
    cluster.sign(digest, PIPELINE)

    cluster.policy("keys")
    cluster.policy("both", trustStores=[store], certificates=[rule], namespaces={"include": ["mixed"]})
    alone = await cluster.verify(f"@{digest}")
    mixed = await cluster.verify(f"@{digest}", namespace="mixed")

    assert {one.code for one in alone.policies[0].outcomes} == {Code.SIGNATURE_INVALID}
    assert {one.code for one in mixed.policies[1].outcomes} == {Code.SIGNATURE_INVALID, Code.NO_SIGNATURE}
