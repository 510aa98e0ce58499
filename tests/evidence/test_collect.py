"""What is attached to a digest is found wherever it is, in as few requests as can be, and within limits."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator

import pytest

from tests.evidence.shop import BOTH, KEY, NAME, PROVENANCE, SIGNATURES, Shop, opened
from webhook import settings
from webhook.demo import signing
from webhook.demo.content import digest_of
from webhook.demo.registry import OCI_INDEX, StoredManifest
from webhook.errors import Code
from webhook.evidence import places
from webhook.evidence.model import Form, Outcome, Place, Verdict, Wants
from webhook.oci import manifest
from webhook.oci.reference import Repository

ASKED = frozenset(places.to_ask(SIGNATURES))


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with opened() as shop:
        yield shop


async def test_legacy_signature_is_found_and_its_repository_remembered(shop: Shop) -> None:
    signed = shop.sign()
    (found,), outcomes = await shop.collect(enough=1)
    assert (found.form, found.place, found.payload) == (Form.LEGACY, Place.SIGNATURE_TAG, signed.payload)
    assert found.annotations == signed.layers[0].annotations
    assert outcomes == []
    assert shop.requests == 4  # the three places at once, and the payload
    await shop.collect(enough=1)
    assert shop.registry.requests == {"manifest": 1, "blob": 1}


@pytest.mark.parametrize("place", [Place.REFERRERS, Place.FALLBACK_TAG])
async def test_bundle_is_found_and_its_repository_remembered(place: Place) -> None:
    async with opened(referrers=place is Place.REFERRERS) as shop:
        signed = shop.bundle(listed_by=place)
        (found,), outcomes = await shop.collect(enough=1)
        assert (found.form, found.place, found.payload) == (Form.BUNDLE, place, signed.bundle)
        assert outcomes == []
        assert shop.requests == 5
        await shop.collect(enough=1)
        assert shop.requests == 3


async def test_known_absence_of_the_referrers_api_saves_a_request_but_no_denial() -> None:
    async with opened(referrers=False) as shop:
        shop.sign()
        await shop.collect()  # reads the repository to its end, and learns
        shop.collector._hints.clear()
        await shop.collect(enough=1)
        assert shop.requests == 3
        await shop.collect()
        assert shop.asked[Place.REFERRERS] == "not supported"
        assert shop.requests == 4


async def test_unsigned_image_was_asked_for_in_every_place(shop: Shop) -> None:
    assert await shop.collect() == ([], [])
    assert shop.requests == 3
    assert shop.asked == dict.fromkeys(ASKED, "none")


async def test_remembered_place_never_hides_another(shop: Shop) -> None:
    shop.collector.remember(shop.repository, [Place.SIGNATURE_TAG])
    shop.bundle()
    (found,), _ = await shop.collect()
    assert found.place is Place.REFERRERS
    assert set(shop.asked) == ASKED


async def test_same_referrer_in_both_lists_is_fetched_once(shop: Shop) -> None:
    shop.fallback([dict(shop.bundle().descriptor)])
    evidence, _ = await shop.collect()
    assert len(evidence) == 1
    assert shop.registry.requests["blob"] == 1


async def test_signatures_over_one_payload_fetch_it_once(shop: Shop) -> None:
    first = shop.sign()
    layers = (*first.layers, dataclasses.replace(first.layers[0], annotations={"other": "signer"}))
    both = signing.legacy_manifest(str(shop.digest), layers)
    shop.push(both.blobs, both.manifest, tag=both.tag)
    evidence, _ = await shop.collect()
    assert [found.annotations for found in evidence] == [layer.annotations for layer in layers]
    assert shop.registry.requests["blob"] == 1


async def test_bad_layer_does_not_hide_the_good_one_beside_it(shop: Shop) -> None:
    signed = shop.sign(onto=shop.sign(key=signing.new_key("p384")))
    del shop.registry.repository(NAME).blobs[digest_of(signed.layers[0].payload)]
    other = signing.sign_legacy(KEY, str(shop.digest), "another/name", onto=signed)
    shop.push((other.config, other.payload), other.manifest, tag=other.tag)
    evidence, outcomes = await shop.collect()
    assert [found.payload for found in evidence] == [other.payload]
    assert {outcome.code for outcome in outcomes} == {Code.MALFORMED}


def legacy_beside_the_subject(shop: Shop) -> None:
    shop.registry.push_manifest(
        NAME, json.dumps({"schemaVersion": 2, "manifests": []}).encode(), OCI_INDEX, tag=f"sha256-{shop.digest.hex}.sig"
    )


def manifest_in_the_fallback_tag(shop: Shop) -> None:
    signed = shop.sign()
    del shop.registry.repository(NAME).tags[signed.tag]
    shop.registry.push_manifest(NAME, signed.manifest, manifest.OCI_MANIFEST, tag=f"sha256-{shop.digest.hex}")


def referrer_of_another_image(shop: Shop) -> None:
    other = {**shop.descriptor, "digest": f"sha256:{'0' * 64}"}
    signed = signing.sign_bundle(KEY, str(shop.digest), other)
    shop.push(signed.blobs, signed.manifest)
    shop.fallback([dict(signed.descriptor)])


def referrer_that_is_gone(shop: Shop) -> None:
    shop.fallback([dict(signing.sign_bundle(KEY, str(shop.digest), shop.descriptor).descriptor)])


def two_layers_in_a_bundle(shop: Shop) -> None:
    signed = signing.sign_bundle(KEY, str(shop.digest), shop.descriptor)
    fields = json.loads(signed.manifest)
    fields["layers"] *= 2
    shop.push(signed.blobs, json.dumps(fields).encode())


def changed_payload(shop: Shop) -> None:
    signed = shop.sign()
    blobs = shop.registry.repository(NAME).blobs
    blobs[digest_of(signed.payload)] = signed.payload.replace(b"critical", b"crltical")


def changed_manifest(shop: Shop) -> None:
    signed = shop.bundle()
    stored = shop.registry.repository(NAME).manifests
    stored[digest_of(signed.manifest)] = StoredManifest(signed.manifest + b" ", manifest.OCI_MANIFEST)


def huge_payload(shop: Shop) -> None:
    signed = shop.sign()
    fields = json.loads(signed.manifest)
    fields["layers"][0]["size"] = 1 << 20
    shop.push((), json.dumps(fields).encode(), tag=signed.tag)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (legacy_beside_the_subject, Code.MALFORMED),
        (manifest_in_the_fallback_tag, Code.MALFORMED),
        (referrer_of_another_image, Code.MALFORMED),
        (referrer_that_is_gone, Code.MALFORMED),
        (two_layers_in_a_bundle, Code.MALFORMED),
        (changed_payload, Code.REGISTRY_VIOLATION),
        (changed_manifest, Code.REGISTRY_VIOLATION),
        (huge_payload, Code.LIMIT_EXCEEDED),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_what_breaks_the_rules_is_an_outcome_and_no_evidence(shop: Shop, spoil: object, code: Code) -> None:
    assert callable(spoil)
    spoil(shop)
    evidence, outcomes = await shop.collect()
    assert evidence == []
    assert [outcome.code for outcome in outcomes] == [code]
    assert set(shop.asked) == ASKED


@pytest.mark.parametrize("listed_type", ["application/vnd.oci.empty.v1+json", "", None])
async def test_referrer_whose_type_the_registry_does_not_tell_is_looked_at(listed_type: str | None) -> None:
    async with opened(referrers=False) as shop:
        listed = {**shop.bundle().descriptor, "artifactType": listed_type}
        shop.fallback([listed])
        evidence, _ = await shop.collect()
        assert [found.form for found in evidence] == [Form.BUNDLE]


async def test_another_artifact_is_no_candidate(shop: Shop) -> None:
    signed = shop.bundle(listed_by=Place.FALLBACK_TAG)
    del shop.registry.repository(NAME).manifests[digest_of(signed.manifest)]
    shop.fallback([{**signed.descriptor, "artifactType": "application/vnd.cncf.notary.signature"}])
    assert await shop.collect() == ([], [])


async def test_signatures_beyond_the_limit_are_said_not_dropped() -> None:
    async with opened(limits=settings.Evidence(candidates_max=3)) as shop:
        signed = None
        for number in range(5):
            signed = signing.sign_legacy(KEY, str(shop.digest), f"name/{number}", onto=signed)
        assert signed is not None
        shop.push(signed.blobs, signed.manifest, tag=signed.tag)
        evidence, (limit,) = await shop.collect()
        assert len(evidence) == 3
        assert limit.code is Code.LIMIT_EXCEEDED
        assert limit.detail == "5 signatures in the .sig tag, of which 3 were examined"


async def test_one_crowded_place_does_not_hide_another() -> None:
    async with opened(limits=settings.Evidence(candidates_max=2)) as shop:
        signed = None
        for number in range(9):
            signed = signing.sign_legacy(KEY, str(shop.digest), f"name/{number}", onto=signed)
        assert signed is not None
        shop.push(signed.blobs, signed.manifest, tag=signed.tag)
        shop.bundle()
        evidence, _ = await shop.collect()
        assert Form.BUNDLE in {found.form for found in evidence}


async def test_bytes_of_one_image_are_bounded() -> None:
    async with opened(limits=settings.Evidence(image_max_bytes=300)) as shop:
        shop.sign()
        shop.bundle()
        _, outcomes = await shop.collect()
        assert Code.LIMIT_EXCEEDED in {outcome.code for outcome in outcomes}


async def test_place_that_could_not_be_asked_is_inconclusive() -> None:
    async with opened() as shop:
        nowhere = Repository("127.0.0.1:9", NAME)
        collection = shop.collector.open(nowhere, shop.digest)
        outcomes = []
        while (found := await collection.next()) is not None:
            assert isinstance(found, Outcome)
            outcomes.append(found)
        assert {outcome.place for outcome in outcomes} == ASKED
        assert {outcome.code for outcome in outcomes} == {Code.HOST_REFUSED}
        assert {outcome.verdict for outcome in outcomes} == {Verdict.REJECTED}


async def test_a_hint_of_one_kind_of_review_is_none_for_another(shop: Shop) -> None:
    shop.sign()
    await shop.collect(SIGNATURES, enough=1)
    shop.attest(shop.layer(shop.envelope()))
    await shop.collect(PROVENANCE, enough=1)
    assert shop.requests == 4, "the three places where an attestation may be, and its envelope"
    await shop.collect(PROVENANCE, enough=1)
    assert shop.requests == 2
    await shop.collect(SIGNATURES, enough=1)
    assert shop.requests == 2


async def test_all_places_that_supplied_what_counts_are_asked_together_next_time(shop: Shop) -> None:
    shop.sign()
    shop.attest(shop.layer(shop.envelope()))
    await shop.collect(BOTH, enough=2)
    assert shop.requests == 6
    await shop.collect(BOTH, enough=2)
    assert shop.registry.requests == {"manifest": 2, "blob": 2}
    assert [line.partition("/manifests/")[2][-4:] for line in shop.registry.lines[:2]] == [".sig", ".att"]
    assert (await shop.collect(BOTH))[0]
    assert set(shop.asked) == set(Place), "whoever reads on has asked every place"


async def test_nothing_wanted_is_nothing_asked(shop: Shop) -> None:
    shop.sign()
    assert await shop.collect(Wants(signatures=False)) == ([], [])
    assert shop.requests == 0


async def test_hints_are_bounded() -> None:
    async with opened(limits=settings.Evidence(hints_max=2)) as shop:
        for number in range(5):
            shop.collector.remember(Repository("host", f"name/{number}"), [Place.REFERRERS])
        assert len(shop.collector._hints) == 2


async def test_reader_that_gives_up_leaves_no_request_behind(shop: Shop) -> None:
    shop.sign()
    collection = shop.collector.open(shop.repository, shop.digest)
    asking = asyncio.create_task(collection.next())
    await asyncio.sleep(0)
    asking.cancel()
    collection.cancel_unless_stopped()
    await asyncio.gather(asking, *shop.collector.tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert not shop.collector.tasks
