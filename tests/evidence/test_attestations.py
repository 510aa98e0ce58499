"""Attestations are found in each form and place, only those that are wanted, and none hides another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from tests.doubles.registry import on
from tests.evidence.shop import BOTH, NAME, PROVENANCE, SIGNATURES, SLSA, SPDX, Fields, Shop, blob_of, codes, opened
from webhook import settings
from webhook.demo import signing
from webhook.demo.content import as_json, descriptor, digest_of
from webhook.demo.registry import OCI_INDEX, Incoming, Outgoing
from webhook.errors import Code
from webhook.evidence import collect, places
from webhook.evidence.model import SIGN_PREDICATE, SIMPLE_SIGNING, Evidence, Form, Place, Verdict, Wants
from webhook.evidence.room import Room
from webhook.oci import manifest
from webhook.settings import MIB

PLACES = places.to_ask(PROVENANCE)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with opened() as shop:
        yield shop


async def test_an_att_tag_is_read(shop: Shop) -> None:
    layer = shop.layer(shop.envelope())
    shop.attest(layer)
    (found,), outcomes = await shop.collect(PROVENANCE)
    assert (found.form, found.place, found.payload) == (Form.DSSE, Place.ATTESTATION_TAG, shop.envelope())
    assert (str(found.layer), found.annotations) == (layer["digest"], layer["annotations"])
    assert outcomes == []
    assert shop.asked == {Place.ATTESTATION_TAG: "1 found", Place.REFERRERS: "none", Place.FALLBACK_TAG: "none"}


@pytest.mark.parametrize("listed_by", [Place.REFERRERS, Place.FALLBACK_TAG])
async def test_a_bundle_is_three_requests_in_a_row(listed_by: Place) -> None:
    async with opened(referrers=listed_by is Place.REFERRERS) as shop:
        shop.fallback([shop.attest_bundle()] if listed_by is Place.FALLBACK_TAG else [])
        if listed_by is Place.REFERRERS:
            shop.attest_bundle()
        (found,), outcomes = await shop.collect(PROVENANCE, enough=1)
        assert (found.form, found.place) == (Form.BUNDLE, listed_by)
        assert outcomes == []
        assert shop.requests == 5
        await shop.collect(PROVENANCE, enough=1)
        assert shop.requests == 3


async def test_pages_of_referrers_are_followed(shop: Shop) -> None:
    listed = [shop.attest_bundle(), shop.attest_bundle(created="later")]

    def paged(request: Incoming) -> Outgoing | None:
        if "/referrers/" not in request.path:
            return None
        page = int(request.query.get("page", "0"))
        body = as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed[page]]})
        link = (("link", '<?page=1>; rel="next"'),) if page == 0 else ()
        return Outgoing(200, (("content-type", OCI_INDEX), *link), body)

    shop.registry.rules.append(paged)
    evidence, outcomes = await shop.collect(PROVENANCE)
    assert {str(found.manifest) for found in evidence} == {each["digest"] for each in listed}
    assert outcomes == []


@pytest.mark.parametrize(
    "artifact_type", [None, "", "application/vnd.in-toto+json", "application/vnd.dsse.envelope.v1+json"]
)
async def test_envelopes_in_a_referrer_are_found_by_its_layers(shop: Shop, artifact_type: str | None) -> None:
    fields: Fields = {} if artifact_type is None else {"artifactType": artifact_type}
    shop.refer(shop.layer(shop.envelope()), **fields)
    (found,), outcomes = await shop.collect(PROVENANCE)
    assert (found.form, found.place) == (Form.DSSE, Place.REFERRERS)
    assert outcomes == []


async def test_every_form_is_found_beside_the_others(shop: Shop) -> None:
    shop.sign()
    shop.bundle()
    shop.attest(shop.layer(shop.envelope()))
    shop.attest_bundle()
    evidence, outcomes = await shop.collect(BOTH)
    assert sorted((found.form, found.place) for found in evidence) == [
        (Form.BUNDLE, Place.REFERRERS),
        (Form.BUNDLE, Place.REFERRERS),
        (Form.DSSE, Place.ATTESTATION_TAG),
        (Form.LEGACY, Place.SIGNATURE_TAG),
    ]
    assert outcomes == []


class TestWhatIsNotWantedIsNotFetched:
    async def test_without_a_predicate_no_att_tag_is_asked(self, shop: Shop) -> None:
        shop.attest(shop.layer(shop.envelope()))
        assert await shop.collect(SIGNATURES) == ([], [])
        assert shop.requests == 3
        assert not any(".att" in line for line in shop.registry.lines)

    async def test_without_signatures_no_sig_tag_is_asked(self, shop: Shop) -> None:
        shop.sign()
        assert await shop.collect(PROVENANCE) == ([], [])
        assert shop.requests == 3
        assert not any(".sig" in line for line in shop.registry.lines)

    async def test_an_envelope_in_the_sig_tag_is_no_signature(self, shop: Shop) -> None:
        signed = shop.sign()
        fields = json.loads(signed.manifest)
        envelope = shop.layer(shop.envelope(SIGN_PREDICATE))
        shop.put([envelope, *fields["layers"]], signed.tag)
        for wants in (SIGNATURES, BOTH):
            (found,), _ = await shop.collect(wants)
            assert found.form is Form.LEGACY
            assert shop.registry.requests["blob"] == 1

    async def test_a_payload_in_the_att_tag_is_no_attestation(self, shop: Shop) -> None:
        shop.attest(shop.layer(b"{}", media_type=SIMPLE_SIGNING), shop.layer(b"{}", media_type="text/plain"))
        assert await shop.collect(BOTH) == ([], [])
        assert shop.registry.requests["blob"] == 0

    @pytest.mark.parametrize(
        ("wants", "form"), [(SIGNATURES, Form.LEGACY), (PROVENANCE, Form.DSSE)], ids=["signature", "attestation"]
    )
    async def test_of_a_referrer_with_both_kinds_of_layers_one_is_fetched(
        self, shop: Shop, wants: Wants, form: Form
    ) -> None:
        shop.refer(shop.layer(b"{}", media_type=SIMPLE_SIGNING, hint=None), shop.layer(shop.envelope()))
        (found,), outcomes = await shop.collect(wants)
        assert (found.form, outcomes) == (form, [])
        assert shop.registry.requests["blob"] == 1

    async def test_layers_that_say_another_predicate(self, shop: Shop) -> None:
        wanted, silent = shop.layer(shop.envelope()), shop.layer(shop.envelope(padding=1), hint=None)
        other = shop.layer(shop.envelope(SPDX), hint=SPDX)
        shop.attest(silent, other, wanted)
        evidence, _ = await shop.collect(PROVENANCE)
        assert [str(found.layer) for found in evidence] == [wanted["digest"], silent["digest"]]
        assert shop.asked[Place.ATTESTATION_TAG] == "2 found"

    @pytest.mark.parametrize(
        ("wants", "hint", "requests"),
        [
            pytest.param(SIGNATURES, SIGN_PREDICATE, 5, id="signature wanted"),
            pytest.param(SIGNATURES, SLSA, 3, id="attestation, signature wanted"),
            pytest.param(SIGNATURES, "", 5, id="silent, signature wanted"),
            pytest.param(PROVENANCE, SLSA, 5, id="attestation wanted"),
            pytest.param(PROVENANCE, SPDX, 3, id="another attestation"),
            pytest.param(PROVENANCE, SIGN_PREDICATE, 3, id="signature, attestation wanted"),
            pytest.param(PROVENANCE, "", 5, id="silent, attestation wanted"),
            pytest.param(BOTH, SIGN_PREDICATE, 6, id="signature, both wanted"),
            pytest.param(BOTH, SLSA, 6, id="attestation, both wanted"),
            pytest.param(BOTH, SPDX, 4, id="another attestation, both wanted"),
        ],
    )
    async def test_bundles_by_the_hint_of_the_listing(self, shop: Shop, wants: Wants, hint: str, requests: int) -> None:
        shop.attest_bundle(hint=hint)
        await shop.collect(wants)
        assert shop.requests == requests

    async def test_bundles_by_the_hint_of_the_manifest_where_the_listing_is_silent(self) -> None:
        async with opened(referrers=False) as shop:
            shop.fallback([{**shop.attest_bundle(hint=SPDX), "annotations": {}}])
            assert await shop.collect(PROVENANCE) == ([], [])
            assert shop.registry.requests == {"manifest": 3, "referrers": 1}

    async def test_a_wrong_hint_in_the_fallback_tag_hides_nothing_that_the_api_lists(self, shop: Shop) -> None:
        listed = shop.attest_bundle()
        shop.fallback([{**listed, "annotations": {"dev.sigstore.bundle.predicateType": SPDX}}])
        evidence, _ = await shop.collect(PROVENANCE)
        assert [found.place for found in evidence] == [Place.REFERRERS]

    @pytest.mark.parametrize(
        "artifact_type",
        [
            "application/vnd.cncf.notary.signature",
            "application/spdx+json",
            "application/vnd.dev.cosign.artifact.sig.v1+json",
        ],
    )
    async def test_artifacts_of_another_type(self, shop: Shop, artifact_type: str) -> None:
        shop.refer(shop.layer(shop.envelope()), artifactType=artifact_type)
        assert await shop.collect(PROVENANCE) == ([], [])
        assert shop.requests == 3


def index_in_the_att_tag(shop: Shop) -> Code:
    index = as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    shop.registry.push_manifest(NAME, index, OCI_INDEX, tag=f"sha256-{shop.digest.hex}.att")
    return Code.MALFORMED


def manifest_in_the_fallback_tag(shop: Shop) -> Code:
    shop.put([shop.layer(shop.envelope())], f"sha256-{shop.digest.hex}")
    return Code.MALFORMED


def referrer_of_another_image(shop: Shop) -> Code:
    shop.descriptor |= {"digest": f"sha256:{'0' * 64}"}
    shop.fallback([shop.attest_bundle()])
    return Code.MALFORMED


def referrer_without_a_subject(shop: Shop) -> Code:
    pushed = as_json(shop.put([shop.layer(shop.envelope())], None))
    shop.fallback([descriptor(manifest.OCI_MANIFEST, pushed)])
    return Code.MALFORMED


def two_layers_in_a_bundle(shop: Shop) -> Code:
    bundle = descriptor(signing.BUNDLE, b"{}")
    shop.refer(bundle, bundle, artifactType=signing.BUNDLE)
    return Code.MALFORMED


def layer_that_is_gone(shop: Shop) -> Code:
    layer = shop.layer(shop.envelope())
    del shop.registry.repository(NAME).blobs[str(layer["digest"])]
    shop.attest(layer)
    return Code.MALFORMED


def layer_smaller_than_announced(shop: Shop) -> Code:
    shop.attest({**shop.layer(shop.envelope()), "size": len(shop.envelope()) + 1})
    return Code.REGISTRY_VIOLATION


def layer_larger_than_announced(shop: Shop) -> Code:
    shop.attest({**shop.layer(shop.envelope()), "size": len(shop.envelope()) - 1})
    return Code.REGISTRY_VIOLATION


def referrer_larger_than_listed(shop: Shop) -> Code:
    listed = shop.attest_bundle()
    shop.registry.referrers = False
    shop.fallback([{**listed, "size": 10}])
    return Code.REGISTRY_VIOLATION


def referrer_of_another_media_type_than_listed(shop: Shop) -> Code:
    listed = shop.attest_bundle()
    shop.registry.referrers = False
    shop.fallback([{**listed, "mediaType": manifest.DOCKER_MANIFEST}])
    return Code.REGISTRY_VIOLATION


def changed_layer(shop: Shop) -> Code:
    layer = shop.layer(shop.envelope())
    shop.registry.repository(NAME).blobs[str(layer["digest"])] = shop.envelope().swapcase()
    shop.attest(layer)
    return Code.REGISTRY_VIOLATION


def layer_of_32_mebibytes(shop: Shop) -> Code:
    shop.attest({**shop.layer(shop.envelope()), "size": 32 * MIB})
    return Code.LIMIT_EXCEEDED


def bundle_of_32_mebibytes(shop: Shop) -> Code:
    shop.refer({**descriptor(signing.BUNDLE, b"{}"), "size": 32 * MIB}, artifactType=signing.BUNDLE)
    return Code.LIMIT_EXCEEDED


def referrer_of_32_mebibytes(shop: Shop) -> Code:
    listed = shop.attest_bundle()
    shop.registry.referrers = False
    shop.fallback([{**listed, "size": 32 * MIB}])
    return Code.LIMIT_EXCEEDED


def thousand_and_one_layers(shop: Shop) -> Code:
    shop.attest(*[shop.layer(b"{}")] * 1001)
    return Code.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    "spoil",
    [
        index_in_the_att_tag,
        manifest_in_the_fallback_tag,
        referrer_of_another_image,
        referrer_without_a_subject,
        two_layers_in_a_bundle,
        layer_that_is_gone,
        layer_smaller_than_announced,
        layer_larger_than_announced,
        referrer_larger_than_listed,
        referrer_of_another_media_type_than_listed,
        changed_layer,
        layer_of_32_mebibytes,
        bundle_of_32_mebibytes,
        referrer_of_32_mebibytes,
        thousand_and_one_layers,
    ],
    ids=lambda spoil: spoil.__name__,
)
async def test_what_breaks_the_rules_is_an_outcome_and_no_evidence(shop: Shop, spoil: Callable[[Shop], Code]) -> None:
    code = spoil(shop)
    evidence, outcomes = await shop.collect(PROVENANCE)
    assert evidence == []
    assert [outcome.code for outcome in outcomes] == [code]
    assert set(shop.asked) == set(PLACES)


async def test_an_attestation_of_32_mebibytes_is_not_read_where_it_says_less(shop: Shop) -> None:
    layer = shop.layer(bytes(32 * MIB))
    shop.attest({**layer, "size": 1000})
    _, (outcome,) = await shop.collect(PROVENANCE)
    assert (outcome.code, outcome.verdict) == (Code.REGISTRY_VIOLATION, Verdict.REJECTED)


async def test_an_attestation_of_some_mebibytes_is_read(shop: Shop) -> None:
    shop.attest(shop.layer(shop.envelope(padding=5 * MIB)))
    (found,), outcomes = await shop.collect(PROVENANCE)
    assert (len(found.payload) > 5 * MIB, outcomes) == (True, [])


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda layer: {**layer, "size": 1}, id="wrong size"),
        pytest.param(lambda layer: {**layer, "digest": digest_of(b"absent")}, id="missing"),
        pytest.param(lambda layer: {**layer, "size": 32 * MIB}, id="over the limit"),
        pytest.param(lambda layer: {**layer, "data": "AAAA"}, id="wrong data"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["bad first", "good first"])
async def test_one_bad_layer_does_not_hide_the_good_one_beside_it(
    shop: Shop, spoil: Callable[[Fields], Fields], first: bool
) -> None:
    good = shop.layer(shop.envelope())
    layers = [spoil(good), good] if first else [good, spoil(good)]
    shop.attest(*layers)
    (found,), (outcome,) = await shop.collect(PROVENANCE)
    assert found.payload == shop.envelope()
    assert outcome.place is Place.ATTESTATION_TAG


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda listed: {**listed, "size": 10}, id="wrong size"),
        pytest.param(lambda listed: {**listed, "data": "AAAA"}, id="wrong data"),
        pytest.param(lambda listed: {**listed, "mediaType": manifest.DOCKER_MANIFEST}, id="wrong media type"),
    ],
)
async def test_a_bad_entry_in_the_fallback_tag_hides_nothing_that_the_api_lists(
    shop: Shop, spoil: Callable[[Fields], Fields]
) -> None:
    shop.fallback([spoil(shop.attest_bundle())])
    shop.collector.remember(shop.repository, [Place.FALLBACK_TAG], PROVENANCE)  # asked first
    (found,), (outcome,) = await shop.collect(PROVENANCE)
    assert (found.place, outcome.place) == (Place.REFERRERS, Place.FALLBACK_TAG)


class TestOutages:
    @pytest.mark.parametrize(
        ("status", "code", "verdict"),
        [
            (401, Code.ACCESS_DENIED, Verdict.INCONCLUSIVE),
            (403, Code.ACCESS_DENIED, Verdict.INCONCLUSIVE),
            (429, Code.RATE_LIMITED, Verdict.INCONCLUSIVE),
            (500, Code.REGISTRY_UNAVAILABLE, Verdict.INCONCLUSIVE),
        ],
    )
    @pytest.mark.parametrize(
        ("part", "place"),
        [
            pytest.param(".sig", Place.SIGNATURE_TAG, id="signature tag"),
            pytest.param(".att", Place.ATTESTATION_TAG, id="attestation tag"),
            pytest.param("/referrers/", Place.REFERRERS, id="referrers"),
            pytest.param("/manifests/sha256-", Place.FALLBACK_TAG, id="fallback tag"),
        ],
    )
    async def test_of_one_place_are_no_absence(
        self, shop: Shop, part: str, place: Place, status: int, code: Code, verdict: Verdict
    ) -> None:
        def down(request: Incoming) -> Outgoing | None:
            tagged = place is Place.FALLBACK_TAG and request.path.endswith((".sig", ".att"))
            return Outgoing(status) if part in request.path and not tagged else None

        shop.registry.rules.append(down)
        evidence, outcomes = await shop.collect(BOTH)
        assert evidence == []
        if status == 429:  # the registry is then left alone as a whole, whatever else is asked of it
            assert (place, code) in codes(outcomes)
        else:
            assert codes(outcomes) == [(place, code)]
        assert {outcome.verdict for outcome in outcomes} == {verdict}
        assert shop.asked[place] == code
        assert set(shop.asked) == set(Place)

    @pytest.mark.parametrize("status", [401, 403, 500])
    async def test_of_one_blob_hide_no_other(self, shop: Shop, status: int) -> None:
        lost, good = shop.layer(shop.envelope()), shop.layer(shop.envelope(padding=1))
        shop.attest(lost, good)
        shop.registry.rules.append(on(blob_of(lost), status))
        (found,), (outcome,) = await shop.collect(PROVENANCE)
        assert str(found.layer) == good["digest"]
        assert outcome.verdict is Verdict.INCONCLUSIVE


class TestLimits:
    async def test_a_thousand_attestations_are_bounded_and_the_newest_are_examined(self, shop: Shop) -> None:
        layers = [shop.layer(b"%d" % number) for number in range(1000)]
        shop.attest(*layers)
        evidence, (limit,) = await shop.collect(PROVENANCE)
        assert {str(found.layer) for found in evidence} == {layer["digest"] for layer in layers[-50:]}
        assert shop.registry.requests["blob"] == 50
        assert (limit.code, limit.place) == (Code.LIMIT_EXCEEDED, Place.ATTESTATION_TAG)
        assert limit.detail == "1000 attestations in the .att tag, of which 50 were examined"

    async def test_a_thousand_signatures_are_bounded(self, shop: Shop) -> None:
        payload = shop.layer(b"{}", media_type=SIMPLE_SIGNING, hint=None)
        shop.put([{**payload, "annotations": {"n": str(n)}} for n in range(1000)], f"sha256-{shop.digest.hex}.sig")
        evidence, (limit,) = await shop.collect(SIGNATURES)
        assert (len(evidence), shop.registry.requests["blob"]) == (50, 1)
        assert limit.detail == "1000 signatures in the .sig tag, of which 50 were examined"

    async def test_the_newest_of_too_many_referrers_are_examined(self) -> None:
        async with opened(referrers=False, limits=settings.Evidence(candidates_max=2)) as shop:
            listed = [shop.attest_bundle(created=str(day)) for day in range(4)]
            for day, entry in enumerate(listed):
                entry["annotations"] = {"org.opencontainers.image.created": f"2026-01-0{day + 1}T00:00:00Z"}
            shop.fallback(listed)
            evidence, (limit,) = await shop.collect(PROVENANCE)
            assert {str(found.manifest) for found in evidence} == {each["digest"] for each in listed[2:]}
            assert limit.code is Code.LIMIT_EXCEEDED

    async def test_bytes_of_all_places_are_counted_together(self) -> None:
        async with opened(limits=settings.Evidence(image_max_bytes=2000)) as shop:
            shop.attest(*(shop.layer(shop.envelope(padding=number)) for number in range(10)))
            evidence, outcomes = await shop.collect(PROVENANCE)
            assert sum(len(found.payload) for found in evidence) <= 2000
            assert {outcome.code for outcome in outcomes} == {Code.LIMIT_EXCEEDED}
            assert len(evidence) + len(outcomes) == 10

    async def test_what_is_not_read_for_its_size_takes_nothing_from_the_others(self, shop: Shop) -> None:
        huge = [{**shop.layer(b"%d" % number), "size": 32 * MIB} for number in range(10)]
        shop.attest(*huge, shop.layer(shop.envelope()))
        evidence, outcomes = await shop.collect(PROVENANCE)
        assert ([found.payload for found in evidence], len(outcomes)) == ([shop.envelope()], 10)


class TestInlinedData:
    async def test_a_layer_saves_its_blob(self, shop: Shop) -> None:
        shop.attest(shop.layer(shop.envelope(), inline=True))
        (found,), outcomes = await shop.collect(PROVENANCE, enough=1)
        assert (found.payload, outcomes) == (shop.envelope(), [])
        assert shop.registry.requests == {"manifest": 2, "referrers": 1}
        await shop.collect(PROVENANCE, enough=1)
        assert shop.requests == 1

    async def test_a_listing_with_manifest_and_bundle_is_one_request(self) -> None:
        async with opened(referrers=False) as shop:
            bundle = shop.layer(as_json({}), media_type=signing.BUNDLE, inline=True)
            listed = shop.refer(bundle, artifactType=signing.BUNDLE)
            stored = shop.registry.repository(NAME).manifests.pop(str(listed["digest"]))
            shop.fallback([{**listed, "data": signing.base64_of(stored.data)}])
            (found,), outcomes = await shop.collect(PROVENANCE, enough=1)
            assert (found.form, found.payload, outcomes) == (Form.BUNDLE, b"{}", [])
            await shop.collect(PROVENANCE, enough=1)
            assert shop.registry.requests == {"manifest": 1}

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            pytest.param("AAAA", Code.REGISTRY_VIOLATION, id="another size"),
            pytest.param("", Code.REGISTRY_VIOLATION, id="empty"),
            pytest.param("not base64", Code.MALFORMED, id="not base64"),
            pytest.param("A" * 3 * MIB, Code.REGISTRY_VIOLATION, id="huge"),
        ],
    )
    async def test_that_is_wrong(self, shop: Shop, data: str, code: Code) -> None:
        shop.attest({**shop.layer(shop.envelope()), "data": data})
        evidence, (outcome,) = await shop.collect(PROVENANCE)
        assert (evidence, outcome.code) == ([], code)
        assert shop.registry.requests["blob"] == 0

    async def test_of_another_digest(self, shop: Shop) -> None:
        other = signing.base64_of(shop.envelope().swapcase())
        shop.attest({**shop.layer(shop.envelope()), "data": other})
        evidence, (outcome,) = await shop.collect(PROVENANCE)
        assert (evidence, outcome.code, outcome.tampered) == ([], Code.REGISTRY_VIOLATION, False)

    async def test_over_the_limit_of_its_form(self) -> None:
        async with opened(limits=settings.Evidence(attestation_max_bytes=100)) as shop:
            shop.attest(shop.layer(shop.envelope(), inline=True))
            evidence, (outcome,) = await shop.collect(PROVENANCE)
            assert (evidence, outcome.code) == ([], Code.LIMIT_EXCEEDED)

    async def test_counts_for_the_bytes_of_the_image(self) -> None:
        async with opened(limits=settings.Evidence(image_max_bytes=1000)) as shop:
            shop.attest(*(shop.layer(shop.envelope(padding=number), inline=True) for number in range(5)))
            evidence, outcomes = await shop.collect(PROVENANCE)
            assert (len(evidence), {outcome.code for outcome in outcomes}) == (2, {Code.LIMIT_EXCEEDED})


class TestWhatIsHeldAtOnce:
    """Of all collections together: whoever has many images may not take all memory."""

    async def test_what_was_not_judged_yet_holds_up_what_is_large(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collect, "OWN_MAX_BYTES", 5_000)
        shop.collector.payloads = Room(300_000)
        shop.attest(*(shop.layer(shop.envelope(padding=200_000 + number)) for number in range(3)))
        first, second = (shop.collector.open(shop.repository, shop.digest, PROVENANCE) for _ in range(2))
        seen = [await first.next()]
        waiting = asyncio.create_task(second.next())
        while len(shop.collector.payloads._line) < 5:
            await asyncio.sleep(0.001)
        assert (shop.registry.requests["blob"], waiting.done()) == (1, False)
        seen += [await first.next(), await first.next()]
        assert all(isinstance(each, Evidence) for each in seen)
        first.stop()  # who has enough gives all back
        assert isinstance(await waiting, Evidence)
        second.stop()
        await shop.finish()
        assert shop.collector.payloads.has(300_000)

    async def test_one_image_holds_no_more_than_the_largest_piece(self, shop: Shop) -> None:
        shop.attest(*(shop.layer(shop.envelope(padding=9 * MIB + number)) for number in range(3)))
        collection = shop.collector.open(shop.repository, shop.digest, PROVENANCE)
        assert isinstance(await collection.next(), Evidence)
        assert shop.collector.payloads.has(collect.PAYLOADS_MAX_BYTES - 10 * MIB)
        assert isinstance(await collection.next(), Evidence)
        collection.stop()
        await shop.finish()
        assert shop.collector.payloads.has(collect.PAYLOADS_MAX_BYTES)

    async def test_what_is_small_waits_for_nobody(self, shop: Shop) -> None:
        shop.collector.payloads, shop.collector.manifests = Room(0), Room(0)
        shop.attest(shop.layer(shop.envelope()))
        shop.attest_bundle()
        evidence, outcomes = await shop.collect(PROVENANCE)
        assert (len(evidence), outcomes) == (2, [])

    @pytest.mark.parametrize("ends", ["stop", "cancel_unless_stopped"])
    async def test_who_gives_up_leaves_nothing_held(self, shop: Shop, ends: str) -> None:
        shop.attest(*(shop.layer(shop.envelope(padding=2 * MIB + number)) for number in range(9)))
        shop.collector.payloads = Room(8 * MIB)
        collection = shop.collector.open(shop.repository, shop.digest, PROVENANCE)
        assert isinstance(await collection.next(), Evidence)
        getattr(collection, ends)()
        await shop.finish()
        assert shop.collector.payloads.has(8 * MIB)

    async def test_what_is_over_its_limit_takes_no_room(self, shop: Shop) -> None:
        shop.collector.payloads = Room(0)
        shop.attest({**shop.layer(shop.envelope()), "size": 32 * MIB})
        _, (outcome,) = await shop.collect(PROVENANCE)
        assert outcome.code is Code.LIMIT_EXCEEDED
