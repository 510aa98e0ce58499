"""Where evidence may be, and what of it is not worth fetching."""

from __future__ import annotations

import pytest

from tests.evidence.shop import BOTH, PROVENANCE, SIGNATURES, SLSA, SPDX
from webhook.evidence import places
from webhook.evidence.model import IN_TOTO, SIGN_PREDICATE, Place, Wants
from webhook.oci.manifest import OCI_MANIFEST, Descriptor
from webhook.oci.reference import Digest

SHA256, SHA512 = Digest("sha256", "a" * 64), Digest("sha512", "b" * 128)
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
        (Wants(signatures=False), set()),
    ],
    ids=["signatures", "attestations", "both", "nothing"],
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
    ],
    ids=["signatures", "attestations", "both"],
)
def test_what_says_that_it_is_something_else_is_discarded(wants: Wants, kept: list[str]) -> None:
    entries = (
        listed("signature", hint=SIGN_PREDICATE),
        listed("provenance", hint=SLSA),
        listed("inventory", hint=SPDX),
        listed("silent"),
        listed("in-toto", IN_TOTO),
        listed("cosign", places.SIGNATURE_ARTIFACT),
        listed("notation", "application/vnd.cncf.notary.signature"),
        listed("spdx", "application/spdx+json"),
        listed("untold", ""),
    )
    assert chosen(wants, *entries) == kept
