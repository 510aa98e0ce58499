"""What things attached to an image say of themselves, in words: what they are, of which predicate, by whom signed.

All of it is hearsay. Types, annotations, certificates and statements are read as far as they can be, nothing of them is
verified, and what cannot be read is said to be so. Whoever wants to know what is true asks `countersign verify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.cosign import attestation, bundle, certificate, legacy, verifier
from webhook.cosign.candidate import Candidate
from webhook.cosign.certificate import Leaf
from webhook.cosign.log import MAX_TIME
from webhook.errors import CountersignError
from webhook.evidence import places
from webhook.evidence.inventory import BUILDKIT_ATTESTATION, BUILDKIT_TYPE, Item, Shelf
from webhook.evidence.model import (
    BUNDLE_PREFIX,
    DSSE_ENVELOPE,
    IN_TOTO,
    NOTARY_SIGNATURE,
    SIGN_PREDICATE,
    Evidence,
    Form,
)
from webhook.terminal import notary
from webhook.terminal.notary import Notary
from webhook.trust import token

BUILDKIT_DIGEST = "vnd.docker.reference.digest"
BUILDKIT_PREDICATE = "in-toto.io/predicate-type"  # of a layer
MAX_TYPE_CHARS = 1024  # as long as a policy may demand one
A_KEY = "a key"
ANOTHER = "attestation"  # of a type that has no name here
UNREADABLE = "a certificate that cannot be read"

ARTIFACTS = {
    IN_TOTO: "in-toto attestation",
    DSSE_ENVELOPE: "attestation",
    places.SIGNATURE_ARTIFACT: "cosign signatures",
    "application/vnd.dev.cosign.artifact.sbom.v1+json": "SBOM",
    NOTARY_SIGNATURE: "Notary Project signature",
    "application/spdx+json": "SPDX SBOM",
    "text/spdx+json": "SPDX SBOM",
    "text/spdx": "SPDX SBOM",
    "spdx+json": "SPDX SBOM",
    "application/vnd.cyclonedx+json": "CycloneDX SBOM",
    "application/vnd.cyclonedx+xml": "CycloneDX SBOM",
    "application/vnd.cyclonedx": "CycloneDX SBOM",
    "application/vnd.syft+json": "Syft SBOM",
    "application/sarif+json": "SARIF report",
    "application/vnd.openvex+json": "OpenVEX document",
}
# By how they begin: versions follow.
PREDICATES = {
    SIGN_PREDICATE: "signature",
    "https://slsa.dev/provenance/": "SLSA provenance",
    "https://slsa.dev/verification_summary/": "SLSA verification summary",
    "https://spdx.dev/Document": "SPDX SBOM",
    "https://cyclonedx.org/": "CycloneDX SBOM",
    "https://openvex.dev/ns": "OpenVEX statement",
    "https://cosign.sigstore.dev/attestation/vuln/": "vulnerability scan",
    "https://in-toto.io/attestation/vulns": "vulnerability scan",
    "https://in-toto.io/attestation/test-result/": "test result",
    "https://in-toto.io/attestation/release/": "release",
}


@dataclass(frozen=True, slots=True)
class Claims:
    """`what` it is in words; the others are empty where nothing is said. `about` is a digest, where it is another's.

    `signer` is what a certificate names, or that it was a key; `unreadable` why nothing more is known. `notary` is what
    an envelope of the Notary Project says.
    """

    what: str
    predicate_type: str = ""
    signer: str = ""
    created: str = ""
    about: str = ""
    unsigned: bool = False
    unreadable: str = ""
    notary: Notary | None = None


@dataclass(frozen=True, slots=True)
class Hearsay:
    """What a signature says of itself: `valid` is the window of its certificate, `logged` are indices and times of log
    entries, `stamped` the times of timestamps. What it does not say, or not readably, is empty."""

    predicate_type: str = ""
    issuer: str = ""
    subjects: tuple[str, ...] = ()
    valid: tuple[datetime, datetime] | None = None
    logged: tuple[tuple[int, datetime | None], ...] = ()
    stamped: tuple[datetime, ...] = ()
    notary: Notary | None = None


def heard(evidence: Evidence) -> Hearsay | None:
    """What `evidence` says of itself; `None` where it says nothing, or nothing that can be read."""
    try:
        if evidence.form is Form.NOTATION:
            return Hearsay(notary=notary.heard(evidence.payload, evidence.media_type))
        candidate = verifier.parse(evidence)
    except CountersignError:
        return None
    said = Hearsay(
        predicate_type=_predicate_type(candidate),
        valid=_window(candidate.leaf) if candidate.leaf else None,
        logged=tuple((entry.log_index, _moment(entry.integrated_time)) for entry in candidate.entries),
        stamped=tuple(_stamped(candidate)),
    )
    if candidate.leaf is not None:
        said = _with_names(said, candidate.leaf)
    return None if said == Hearsay() else said


def of(item: Item, shelf: Shelf) -> Claims:
    """What `item`, which stands on `shelf` or is nested in something there, says of itself."""
    match shelf:
        case Shelf.PLATFORMS:
            return _of_platform(item)
        case Shelf.SBOM_TAG:
            what = ARTIFACTS.get(item.listed.media_type, f"SBOM of type {item.listed.media_type}")
            return Claims(f"{what}, unsigned", unsigned=True)
    return _of_layer(item) if places.form_of(item.listed) or shelf in _TAGS else _of_referrer(item)


_TAGS = (Shelf.SIGNATURE_TAG, Shelf.ATTESTATION_TAG)


def _of_platform(item: Item) -> Claims:
    annotations = item.listed.annotations
    if annotations.get(BUILDKIT_TYPE) == BUILDKIT_ATTESTATION:
        return Claims("BuildKit attestations, unsigned", about=annotations.get(BUILDKIT_DIGEST, ""), unsigned=True)
    if predicate_type := annotations.get(BUILDKIT_PREDICATE, ""):
        return Claims(f"{_in_words(predicate_type)}, unsigned", predicate_type, unsigned=True)
    return Claims(item.listed.platform or f"of no platform, type {item.listed.media_type}")


def _of_layer(item: Item) -> Claims:
    annotations = item.listed.annotations
    match places.form_of(item.listed):
        case Form.LEGACY:
            return Claims("cosign signature", signer=_by_annotation(annotations.get(legacy.CERTIFICATE, "")))
        case Form.DSSE:
            predicate_type = annotations.get(places.LAYER_PREDICATE, "")
            words = _in_words(predicate_type)
            what = f"attestation: {words}" if words != ANOTHER else words
            return Claims(what, predicate_type, _by_annotation(annotations.get(legacy.CERTIFICATE, "")))
    return Claims(f"something of type {item.listed.media_type}, not looked at")


def _of_referrer(item: Item) -> Claims:
    manifest, kind, annotations = item.manifest, item.listed.artifact_type, dict(item.listed.annotations)
    if manifest is not None:
        annotations |= manifest.annotations
        kind = manifest.artifact_type or kind or manifest.config.media_type
    predicate_type, created = annotations.get(places.BUNDLE_PREDICATE, ""), annotations.get(places.CREATED, "")
    if manifest is not None and item.payload is not None:
        layer = manifest.layers[0]
        if places.form_of(layer) is Form.NOTATION:
            return _of_notary(item.payload, layer.media_type, created)
        return _of_bundle(item.payload, predicate_type, created)
    if (kind or "").startswith(BUNDLE_PREFIX):
        return Claims(_sigstore(predicate_type), predicate_type, created=created)
    return Claims(ARTIFACTS.get(kind or "", f"artifact of type {kind or 'unknown'}"), predicate_type, created=created)


def _of_bundle(payload: bytes, predicate_type: str, created: str) -> Claims:
    """Its statement's predicate type, where it has one, is nearer to the truth than the annotation's."""
    try:
        found = bundle.parse(payload)
        if found.envelope is not None:
            predicate_type = attestation.parse_statement(found.envelope.payload).predicate_type[:MAX_TYPE_CHARS]
    except CountersignError as error:
        return Claims(_sigstore(predicate_type), predicate_type, created=created, unreadable=error.detail)
    return Claims(
        _sigstore(predicate_type), predicate_type, A_KEY if found.leaf is None else _named(found.leaf), created
    )


def _of_notary(payload: bytes, media_type: str, created: str) -> Claims:
    what = ARTIFACTS[NOTARY_SIGNATURE]
    try:
        said = notary.heard(payload, media_type)
    except CountersignError as error:
        return Claims(what, created=created, unreadable=error.detail)
    return Claims(f"{what} ({said.envelope})", signer=said.subject, created=created, notary=said)


def _predicate_type(candidate: Candidate) -> str:
    if candidate.payload is None:
        return ""
    try:
        return attestation.parse_statement(candidate.payload).predicate_type[:MAX_TYPE_CHARS]
    except CountersignError:
        return ""


def _with_names(said: Hearsay, leaf: Leaf) -> Hearsay:
    try:
        claims = certificate.claims_of(leaf)
    except CountersignError:
        return said
    return replace(said, issuer=claims.issuer, subjects=tuple(name for _, name in claims.subjects))


def _window(leaf: Leaf) -> tuple[datetime, datetime]:
    return leaf.certificate.not_valid_before_utc, leaf.certificate.not_valid_after_utc


def _moment(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds <= MAX_TIME else None


def _stamped(candidate: Candidate) -> Iterator[datetime]:
    for stamp in candidate.timestamps:
        try:
            yield token.parse_response(stamp).claimed_time
        except CountersignError:
            continue


def _sigstore(predicate_type: str) -> str:
    return f"Sigstore bundle: {_in_words(predicate_type)}" if predicate_type else "Sigstore bundle"


def _by_annotation(pem: str) -> str:
    if not pem:
        return A_KEY
    if len(pem) > legacy.MAX_CERTIFICATE_CHARS:
        return UNREADABLE
    try:
        first = x509.load_pem_x509_certificates(pem.encode())[0]  # leaf first
        return _named(certificate.parse(first.public_bytes(Encoding.DER)))
    except (ValueError, CountersignError):
        return UNREADABLE


def _named(leaf: Leaf) -> str:
    try:
        claims = certificate.claims_of(leaf)
    except CountersignError:
        return UNREADABLE
    return f"{', '.join(name for _, name in claims.subjects)} (issuer {claims.issuer})"


def _in_words(predicate_type: str) -> str:
    known = (words for start, words in PREDICATES.items() if predicate_type.startswith(start))
    return next(known, ANOTHER)


def short(digest: object) -> str:
    """A digest as people compare it."""
    algorithm, _, value = str(digest).partition(":")
    return f"{algorithm}:{value[:12]}" if value else str(digest)
