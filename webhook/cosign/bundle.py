"""Sigstore bundles made with a key, as cosign 3 attaches them to images.

A bundle is parsed whole before anything is believed, then its signature is verified, then its statement is read. For
images only version 0.3 with a DSSE envelope of a cosign signature counts. Log entries and timestamps must be lists of
objects, and are not judged, since no trust root is known here; hints and identifiers of keys are never read.

spec: sigstore protobuf-specs, Bundle; ProtoJSON; cosign BUNDLE_SPEC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from webhook import untrusted
from webhook.cosign import attestation
from webhook.cosign.attestation import Envelope
from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.evidence.model import SIGN_PREDICATE, Evidence
from webhook.trust.material import PublicKey

MAX_BUNDLE_BYTES = 4 << 20  # real ones are 1 to 12 KiB
MAX_LOG_ENTRIES = 32  # CVE-2024-45395: these three as sigstore-go
MAX_TIMESTAMPS = 32
MAX_CERTIFICATES = 10

_VERSIONS = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": "0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2": "0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3": "0.3",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "0.3",
}


class Material(StrEnum):
    """By what a bundle says it can be verified. Named as in the bundle."""

    KEY = "publicKey"
    CERTIFICATE = "certificate"
    CHAIN = "x509CertificateChain"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that keeps its own format, not yet believed. `envelope` is `None` where it holds a message signature."""

    version: str
    material: Material
    envelope: Envelope | None


def verify_signature(evidence: Evidence, key: PublicKey) -> None:
    """`key` signed, as cosign signature, a statement about exactly the digest that `evidence` was found for.

    Raises: MalformedError, RejectedError.
    """
    envelope = _signed_with_key(parse(evidence.payload))
    key.verify(envelope.signature, envelope.signed_bytes)
    statement = attestation.parse_statement(envelope.payload)
    attestation.verify_subject(statement, evidence.subject)
    # An SBOM or a scan report by the same key is no signature: CVE-2022-35929, CVE-2022-35930
    if statement.predicate_type != SIGN_PREDICATE:
        found = quote(statement.predicate_type)
        raise RejectedError(Code.CLAIM_MISMATCH, f"predicateType: {SIGN_PREDICATE} expected, found {found}")


def parse(payload: bytes) -> Bundle:
    """The bundle in `payload`, of any version. Raises: MalformedError, `unsupported` for an unknown version."""
    document = untrusted.as_object(untrusted.parse_json(payload, max_bytes=MAX_BUNDLE_BYTES, what="bundle"), "bundle")
    version = _version(document.get("mediaType"))
    material = _material(document.get("verificationMaterial"), version)
    content = _one_of(document, ("dsseEnvelope", "messageSignature"), "bundle")
    value = untrusted.as_object(document[content], content)
    return Bundle(version, material, attestation.parse_envelope(value) if content == "dsseEnvelope" else None)


def _version(media_type: object) -> str:
    version = _VERSIONS.get(media_type) if isinstance(media_type, str) else None
    if version is None:
        found = quote(media_type) if isinstance(media_type, str) else "none"
        raise MalformedError(Code.UNSUPPORTED, f"bundle.mediaType: version 0.3 expected, found {found}")
    return version


def _material(value: object, version: str) -> Material:
    document = untrusted.as_object(value, "verificationMaterial")
    material = Material(_one_of(document, tuple(Material), "verificationMaterial"))
    known = untrusted.as_object(document[material], material)
    if material is Material.CHAIN:
        _check_chain(known, version)
    _check_list(document, "tlogEntries", MAX_LOG_ENTRIES)
    timestamps = document.get("timestampVerificationData")
    if timestamps is not None:
        _check_list(untrusted.as_object(timestamps, "timestampVerificationData"), "rfc3161Timestamps", MAX_TIMESTAMPS)
    return material


def _check_chain(chain: Mapping[str, object], version: str) -> None:
    if version == "0.3":  # protobuf-specs, Bundle: from 0.3 on only the leaf is sent
        raise MalformedError(Code.MALFORMED, "verificationMaterial: a certificate chain in a bundle of version 0.3")
    if not _check_list(chain, "certificates", MAX_CERTIFICATES):
        raise MalformedError(Code.MALFORMED, "certificates: at least one expected, found none")


def _check_list(document: Mapping[str, object], name: str, max_items: int) -> int:
    """How many objects `name` lists; absent and null are none. Raises: MalformedError."""
    value = document.get(name)
    items = [] if value is None else untrusted.as_array(value, name, max_items=max_items)
    for item in items:
        untrusted.as_object(item, f"{name}[]")
    return len(items)


def _one_of(document: Mapping[str, object], names: tuple[str, ...], what: str) -> str:
    found = [str(name) for name in names if document.get(name) is not None]  # ProtoJSON: null is absent
    if len(found) != 1:
        raise MalformedError(Code.MALFORMED, f"{what}: one of {', '.join(names)} expected, found {len(found)}")
    return found[0]


def _signed_with_key(bundle: Bundle) -> Envelope:
    if bundle.version != "0.3":
        raise MalformedError(
            Code.UNSUPPORTED, f"a bundle of version {bundle.version}: signatures of images need version 0.3 (cosign 3)"
        )
    if bundle.envelope is None:
        raise MalformedError(
            Code.UNSUPPORTED,
            "a bundle with a message signature: it signs the bytes of a file and says nothing of an image",
        )
    if bundle.material is not Material.KEY:
        raise MalformedError(Code.UNSUPPORTED, "a bundle made with a certificate, for which no key is asked")
    return bundle.envelope
