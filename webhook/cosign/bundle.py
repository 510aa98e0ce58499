"""Sigstore bundles, versions 0.1 to 0.3: one document with a signature and all that vouches for it.

A bundle is parsed whole before anything of it is believed. For images only a DSSE envelope counts: a message signature
signs the bytes of a file and says nothing of an image. Hints and identifiers of keys are never read, and of a chain of
certificates only the leaf is.

spec: sigstore protobuf-specs, Bundle; ProtoJSON; cosign BUNDLE_SPEC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from webhook import untrusted
from webhook.cosign import attestation, certificate
from webhook.cosign.attestation import Envelope
from webhook.cosign.candidate import Candidate
from webhook.cosign.certificate import Leaf
from webhook.cosign.log import InclusionProof, LogEntry
from webhook.errors import Code, MalformedError, quote

MAX_BUNDLE_BYTES = 4 << 20  # real ones are 1 to 12 KiB
MAX_LOG_ENTRIES = 32  # CVE-2024-45395: these three as sigstore-go
MAX_TIMESTAMPS = 32
MAX_TIMESTAMPS_BYTES = 256 << 10  # all together; one has 1 to 6 KiB, and reading 64 KiB can take 3 ms
MAX_CERTIFICATES = 10
MAX_PROOF_HASHES = 64
MAX_CHECKPOINT_CHARS = 64 << 10

_VERSIONS = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": "0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2": "0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3": "0.3",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "0.3",
}
_INT64 = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)  # ProtoJSON: a decimal string, or a number


class Material(StrEnum):
    """By what a bundle says it can be verified. Named as in the bundle."""

    KEY = "publicKey"
    CERTIFICATE = "certificate"
    CHAIN = "x509CertificateChain"


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """A signature over the bytes of a file. `digest` is what the bundle says these bytes have, which may be absent."""

    signature: bytes = field(repr=False)
    algorithm: str = ""  # `SHA2_256`
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that keeps its own format, not yet believed: exactly one of `envelope` and `message` is there.

    `leaf` is `None` where it was made with a key.
    """

    version: str
    leaf: Leaf | None
    entries: tuple[LogEntry, ...]
    timestamps: tuple[bytes, ...] = field(repr=False)
    envelope: Envelope | None = None
    message: MessageSignature | None = None


def parse_image_signature(payload: bytes) -> Candidate:
    """The candidate in a bundle that was attached to an image. Raises: MalformedError."""
    bundle = parse(payload)
    if bundle.envelope is None:
        raise MalformedError(
            Code.UNSUPPORTED,
            "a bundle with a message signature: it signs the bytes of a file and says nothing of an image",
        )
    if bundle.leaf is None and bundle.version != "0.3":
        # Nothing ever wrote one: cosign signs images in bundles since 0.3
        raise MalformedError(
            Code.UNSUPPORTED, f"a bundle of version {bundle.version} made with a key: version 0.3 expected (cosign 3)"
        )
    return Candidate(
        signature=bundle.envelope.signature,
        message=bundle.envelope.signed_bytes,
        leaf=bundle.leaf,
        entries=bundle.entries,
        timestamps=bundle.timestamps,
        payload=bundle.envelope.payload,
    )


def parse(payload: bytes) -> Bundle:
    """The bundle in `payload`, of any version. Raises: MalformedError, `unsupported` for an unknown version."""
    document = untrusted.as_object(untrusted.parse_json(payload, max_bytes=MAX_BUNDLE_BYTES, what="bundle"), "bundle")
    version = _version(document.get("mediaType"))
    material = untrusted.as_object(document.get("verificationMaterial"), "verificationMaterial")
    leaf = _leaf(material, version)
    content = _one_of(document, ("dsseEnvelope", "messageSignature"), "bundle")
    value = untrusted.as_object(document[content], content)
    return Bundle(
        version=version,
        leaf=leaf,
        entries=tuple(_entry(entry, version) for entry in _objects(material, "tlogEntries", MAX_LOG_ENTRIES)),
        timestamps=_timestamps(material),
        envelope=attestation.parse_envelope(value) if content == "dsseEnvelope" else None,
        message=_message(value) if content == "messageSignature" else None,
    )


def _version(media_type: object) -> str:
    version = _VERSIONS.get(media_type) if isinstance(media_type, str) else None
    if version is None:
        found = quote(media_type) if isinstance(media_type, str) else "none"
        raise MalformedError(Code.UNSUPPORTED, f"bundle.mediaType: version 0.1 to 0.3 expected, found {found}")
    return version


def _leaf(document: Mapping[str, object], version: str) -> Leaf | None:
    material = Material(_one_of(document, tuple(Material), "verificationMaterial"))
    known = untrusted.as_object(document[material], material)
    match material:
        case Material.KEY:
            return None
        case Material.CERTIFICATE:
            return certificate.parse(untrusted.as_bytes(known.get("rawBytes"), "certificate.rawBytes"))
        case Material.CHAIN:
            return _first_of_chain(known, version)


def _first_of_chain(chain: Mapping[str, object], version: str) -> Leaf:
    if version == "0.3":  # protobuf-specs, Bundle: from 0.3 on only the leaf is sent
        raise MalformedError(Code.MALFORMED, "verificationMaterial: a certificate chain in a bundle of version 0.3")
    listed = _objects(chain, "certificates", MAX_CERTIFICATES)
    if not listed:
        raise MalformedError(Code.MALFORMED, "certificates: at least one expected, found none")
    first, *issuers = (
        certificate.parse(untrusted.as_bytes(one.get("rawBytes"), "certificates[].rawBytes")) for one in listed
    )
    if any(_is_self_issued(issuer) for issuer in issuers):
        raise MalformedError(Code.MALFORMED, "certificates: a root, which only a trust root may name")
    return first


def _is_self_issued(leaf: Leaf) -> bool:
    try:
        return leaf.certificate.issuer == leaf.certificate.subject
    except ValueError as error:  # names are read only when they are asked for
        raise MalformedError(Code.MALFORMED, "certificates: one whose names are not as X.509 has them") from error


def _entry(entry: Mapping[str, object], version: str) -> LogEntry:
    kind = untrusted.as_object(entry.get("kindVersion"), "tlogEntries[].kindVersion")
    promise = _member(entry, "inclusionPromise")
    proof = _proof(entry, version)
    if version == "0.1" and promise is None:
        raise MalformedError(Code.MALFORMED, "tlogEntries[]: an inclusion promise expected in version 0.1, found none")
    if version != "0.1" and proof is None:
        raise MalformedError(Code.MALFORMED, "tlogEntries[]: an inclusion proof expected, found none")
    log_id = untrusted.as_object(entry.get("logId"), "tlogEntries[].logId")
    return LogEntry(
        body=untrusted.as_bytes(entry.get("canonicalizedBody"), "tlogEntries[].canonicalizedBody"),
        log_id=untrusted.as_bytes(log_id.get("keyId"), "tlogEntries[].logId.keyId"),
        log_index=_int64(entry.get("logIndex"), "tlogEntries[].logIndex"),
        integrated_time=_int64(entry.get("integratedTime"), "tlogEntries[].integratedTime"),
        kind=untrusted.as_string(kind.get("kind"), "kindVersion.kind"),
        version=untrusted.as_string(kind.get("version"), "kindVersion.version"),
        promise=untrusted.as_bytes(promise.get("signedEntryTimestamp"), "signedEntryTimestamp")
        if promise is not None
        else None,
        proof=proof,
    )


def _proof(entry: Mapping[str, object], version: str) -> InclusionProof | None:
    proof = _member(entry, "inclusionProof")
    if proof is None:
        return None
    checkpoint = _checkpoint(proof)
    if not checkpoint:
        if version == "0.1":
            return None  # protobuf-specs, Bundle: the promise is what counts there
        raise MalformedError(Code.MALFORMED, "inclusionProof: a checkpoint expected, found none")
    listed = proof.get("hashes")  # ProtoJSON: an empty list is left out
    hashes = untrusted.as_array([] if listed is None else listed, "inclusionProof.hashes", max_items=MAX_PROOF_HASHES)
    return InclusionProof(
        log_index=_int64(proof.get("logIndex"), "inclusionProof.logIndex"),
        tree_size=_int64(proof.get("treeSize"), "inclusionProof.treeSize"),
        root_hash=untrusted.as_bytes(proof.get("rootHash"), "inclusionProof.rootHash"),
        hashes=tuple(untrusted.as_bytes(one, "inclusionProof.hashes[]") for one in hashes),
        checkpoint=checkpoint,
    )


def _checkpoint(proof: Mapping[str, object]) -> str:
    checkpoint = _member(proof, "checkpoint")
    if checkpoint is None or checkpoint.get("envelope") is None:
        return ""
    text = untrusted.as_string(checkpoint["envelope"], "checkpoint.envelope")
    if len(text) > MAX_CHECKPOINT_CHARS:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"checkpoint: {len(text)} characters, at most {MAX_CHECKPOINT_CHARS} are read"
        )
    return text


def _timestamps(material: Mapping[str, object]) -> tuple[bytes, ...]:
    data = _member(material, "timestampVerificationData")
    if data is None:
        return ()
    listed = _objects(data, "rfc3161Timestamps", MAX_TIMESTAMPS)
    stamps = tuple(
        untrusted.as_bytes(one.get("signedTimestamp"), "rfc3161Timestamps[].signedTimestamp") for one in listed
    )
    size = sum(map(len, stamps))
    if size > MAX_TIMESTAMPS_BYTES:
        limit = f"at most {MAX_TIMESTAMPS_BYTES} are read"
        raise MalformedError(Code.LIMIT_EXCEEDED, f"rfc3161Timestamps: {size} bytes together, {limit}")
    return stamps


def _message(value: Mapping[str, object]) -> MessageSignature:
    signature = untrusted.as_bytes(value.get("signature"), "messageSignature.signature")
    digest = _member(value, "messageDigest")
    if digest is None:
        return MessageSignature(signature)
    algorithm = untrusted.as_string(digest.get("algorithm"), "messageDigest.algorithm")
    return MessageSignature(signature, algorithm, untrusted.as_bytes(digest.get("digest"), "messageDigest.digest"))


def _one_of(document: Mapping[str, object], names: tuple[str, ...], what: str) -> str:
    found = [str(name) for name in names if document.get(name) is not None]  # ProtoJSON: null is absent
    if len(found) != 1:
        raise MalformedError(Code.MALFORMED, f"{what}: one of {', '.join(names)} expected, found {len(found)}")
    return found[0]


def _member(document: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    value = document.get(name)
    return None if value is None else untrusted.as_object(value, name)


def _objects(document: Mapping[str, object], name: str, max_items: int) -> list[Mapping[str, object]]:
    """The objects that `name` lists; absent and null are none. Raises: MalformedError."""
    value = document.get(name)
    items = [] if value is None else untrusted.as_array(value, name, max_items=max_items)
    return [untrusted.as_object(item, f"{name}[]") for item in items]


def _int64(value: object, what: str) -> int:
    """Absent and null are 0, as ProtoJSON leaves it out."""
    if isinstance(value, str) and _INT64.fullmatch(value):
        value = int(value)
    return 0 if value is None else untrusted.as_count(value, what)
