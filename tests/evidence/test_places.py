"""Where evidence may be, and what of it is not worth fetching."""

from __future__ import annotations

import pytest

from tests.evidence.shop import BOTH, PROVENANCE, SIGNATURES, SLSA, SPDX
from webhook.errors import MalformedError
from webhook.evidence import places
from webhook.evidence.model import (
    COSE_ENVELOPE,
    IN_TOTO,
    JWS_ENVELOPE,
    NOTARY_SIGNATURE,
    SIGN_PREDICATE,
    SIMPLE_SIGNING,
    Place,
    Wants,
)
from webhook.oci.manifest import OCI_MANIFEST, Descriptor, Manifest
from webhook.oci.reference import Digest

SHA256, SHA512 = Digest("sha256", "a" * 64), Digest("sha512", "b" * 128)
NOTATION = Wants(signatures=False, notation=True)
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def listed(name: str, artifact_type: str | None = BUNDLE, *, hint: str = "", created: str = "") -> Descriptor:
    annotations = {places.BUNDLE_PREDICATE: hint, places.CREATED: created}
    digest = Digest("sha256", name.encode().hex().ljust(64, "0"))
    given = {key: value for key, value in annotations.items() if value}
    return Descriptor(OCI_MANIFEST, digest, 1, artifact_type, given, None)


def chosen(wants: Wants, *entries: Descriptor) -> list[str]:
    found = places.candidates(entries, wants)
    return [bytes.fromhex(each.digest.hex).rstrip(b"\0").decode() for each in found]


@pytest.mark.parametrize(
    ("wants", "asked"),
    [
        (SIGNATURES, {Place.SIGNATURE_TAG, Place.REFERRERS, Place.FALLBACK_TAG}),
        (PROVENANCE, {Place.ATTESTATION_TAG, Place.REFERRERS, Place.FALLBACK_TAG}),
        (BOTH, set(Place)),
        (NOTATION, {Place.REFERRERS, Place.FALLBACK_TAG}),
        (Wants(signatures=False), set()),
    ],
    ids=["signatures", "attestations", "both", "notation", "nothing"],
)
def test_only_places_that_may_hold_what_is_wanted_are_asked(wants: Wants, asked: set[Place]) -> None:
    assert set(places.to_ask(wants)) == asked


@pytest.mark.parametrize(
    ("place", "digest", "tag"),
    [
        (Place.SIGNATURE_TAG, SHA256, f"sha256-{'a' * 64}.sig"),
        (Place.ATTESTATION_TAG, SHA256, f"sha256-{'a' * 64}.att"),
        (Place.FALLBACK_TAG, SHA256, f"sha256-{'a' * 64}"),
        (Place.FALLBACK_TAG, SHA512, f"sha512-{'b' * 64}"),
        (Place.SIGNATURE_TAG, SHA512, None),
        (Place.ATTESTATION_TAG, SHA512, None),
    ],
)
def test_a_digest_has_its_tags(place: Place, digest: Digest, tag: str | None) -> None:
    assert places.tag(place, digest) == tag


def test_each_kind_has_its_turn_and_of_a_kind_the_likeliest_and_newest_are_first() -> None:
    entries = (
        listed("untold", None),
        listed("untold, says", None, hint=SLSA),
        listed("silent"),
        listed("older", hint=SLSA, created="2026-01-01T00:00:00Z"),
        listed("newer", hint=SLSA, created="2026-02-01T00:00:00Z"),
        listed("of no time", hint=SLSA),
    )
    assert chosen(PROVENANCE, *entries) == ["newer", "silent", "older", "untold", "of no time", "untold, says"]


@pytest.mark.parametrize(
    ("wants", "kept"),
    [
        (SIGNATURES, ["signature", "silent", "in-toto", "cosign", "untold"]),
        (PROVENANCE, ["provenance", "silent", "in-toto", "untold"]),
        (BOTH, ["signature", "provenance", "silent", "in-toto", "cosign", "untold"]),
        (NOTATION, ["notation", "untold"]),
        (Wants(notation=True), ["signature", "notation", "silent", "in-toto", "cosign", "untold"]),
    ],
    ids=["signatures", "attestations", "both", "notation", "signatures of any scheme"],
)
def test_what_says_that_it_is_something_else_is_discarded(wants: Wants, kept: list[str]) -> None:
    entries = (
        listed("signature", hint=SIGN_PREDICATE),
        listed("provenance", hint=SLSA),
        listed("inventory", hint=SPDX),
        listed("silent"),
        listed("in-toto", IN_TOTO),
        listed("cosign", places.SIGNATURE_ARTIFACT),
        listed("notation", NOTARY_SIGNATURE),
        listed("spdx", "application/spdx+json"),
        listed("untold", ""),
    )
    assert chosen(wants, *entries) == kept


def test_bundles_that_say_nothing_do_not_crowd_out_a_notary_signature() -> None:
    entries = (*(listed(f"silent {number}") for number in range(60)), listed("notation", NOTARY_SIGNATURE))
    assert chosen(Wants(notation=True), *entries).index("notation") <= 1


def signature_manifest(
    *layers: str, artifact_type: str | None = NOTARY_SIGNATURE, config: str = "application/vnd.oci.empty.v1+json"
) -> Manifest:
    def part(media_type: str) -> Descriptor:
        return Descriptor(media_type, SHA256, 1, None, {}, None)

    return Manifest(SHA256, OCI_MANIFEST, artifact_type, part(config), tuple(map(part, layers)), part(OCI_MANIFEST), {})


@pytest.mark.parametrize("envelope", [JWS_ENVELOPE, COSE_ENVELOPE])
@pytest.mark.parametrize(
    ("artifact_type", "config", "found"),
    [
        (NOTARY_SIGNATURE, "application/vnd.oci.empty.v1+json", 1),
        (None, NOTARY_SIGNATURE, 1),
        (IN_TOTO, NOTARY_SIGNATURE, 0),
        (None, "application/vnd.oci.empty.v1+json", 0),
    ],
    ids=["current", "by its config", "said to be something else", "untold"],
)
def test_a_signature_manifest_is_known_by_its_type(
    envelope: str, artifact_type: str | None, config: str, found: int
) -> None:
    manifest = signature_manifest(envelope, artifact_type=artifact_type, config=config)
    assert len(places.referrer_layers(manifest, SHA256, NOTATION)) == found
    assert places.referrer_layers(manifest, SHA256, SIGNATURES) == []


@pytest.mark.parametrize(
    ("layers", "code"),
    [
        ((), "malformed"),
        ((JWS_ENVELOPE, JWS_ENVELOPE), "malformed"),
        (("application/pkcs7-signature",), "unsupported"),
        ((SIMPLE_SIGNING,), "unsupported"),
    ],
    ids=["no layer", "two layers", "another envelope", "a cosign payload"],
)
def test_a_signature_manifest_has_one_envelope(layers: tuple[str, ...], code: str) -> None:
    with pytest.raises(MalformedError) as caught:
        places.referrer_layers(signature_manifest(*layers), SHA256, NOTATION)
    assert caught.value.code == code
