"""Signatures and attestations as cosign 1 and 2 store them: a layer, and all else in its annotations.

A `.sig` layer is a simple signing payload with the signature beside it; a `.att` layer is a DSSE envelope. Certificate,
log entry and timestamp stand in annotations too; the chain that may stand there is never read, since issuers come from
the trust root. What is signed is the layer as it was stored, and it is read only when the signature was verified.

spec: cosign SIGNATURE_SPEC; containers/image, atomic signature format (the payload).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook import untrusted
from webhook.cosign import attestation, certificate
from webhook.cosign.candidate import Candidate
from webhook.cosign.certificate import Leaf
from webhook.cosign.log import LogEntry
from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.evidence.model import Evidence
from webhook.oci.reference import Digest

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
LOG_ENTRY = "dev.sigstore.cosign/bundle"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"
PAYLOAD_TYPE = "cosign container image signature"

MAX_PAYLOAD_BYTES = 64 << 10  # real ones are about 250 bytes
MAX_ATTESTATION_BYTES = 16 << 20
MAX_CERTIFICATE_CHARS = 128 << 10
MAX_CERTIFICATES = 10
MAX_LOG_ENTRY_BYTES = 2 << 20  # a body of 1 MiB, in base64
MAX_TIMESTAMP_BYTES = 128 << 10

_LOG_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Payload:
    """What a simple signing payload says besides the digest: a name, which need not be the image's, and annotations."""

    docker_reference: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def parse_signature(evidence: Evidence) -> Candidate:
    """The candidate in a `.sig` layer. Raises: MalformedError."""
    if len(evidence.payload) > MAX_PAYLOAD_BYTES:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"payload: {len(evidence.payload)} bytes, at most {MAX_PAYLOAD_BYTES} are read"
        )
    annotations = evidence.annotations
    return Candidate(
        signature=_signature(annotations),
        message=evidence.payload,
        leaf=_leaf(annotations),
        entries=_entries(annotations),
        timestamps=_timestamps(annotations),
    )


def parse_attestation(evidence: Evidence) -> Candidate:
    """The candidate in a `.att` layer. Raises: MalformedError."""
    document = untrusted.parse_json(evidence.payload, max_bytes=MAX_ATTESTATION_BYTES, what="envelope")
    envelope = attestation.parse_envelope(document)
    annotations = evidence.annotations
    return Candidate(
        signature=envelope.signature,
        message=envelope.signed_bytes,
        leaf=_leaf(annotations),
        entries=_entries(annotations),
        timestamps=_timestamps(annotations),
        payload=envelope.payload,
        envelope=evidence.payload,
    )


def verify_payload(payload: bytes, subject: Digest) -> Payload:
    """`payload`, whose signature the caller has verified, is a cosign container image signature of `subject`.

    Raises: MalformedError; RejectedError, `claim_mismatch` or `subject_mismatch`.
    """
    document = untrusted.as_object(
        untrusted.parse_json(payload, max_bytes=MAX_PAYLOAD_BYTES, what="payload"), "payload"
    )
    optional = untrusted.as_object({} if document.get("optional") is None else document["optional"], "payload.optional")
    critical = untrusted.as_object(document.get("critical"), "payload.critical")
    reference = _docker_reference(critical)
    _verify_type(critical.get("type"))
    _verify_subject(critical.get("image"), subject)
    return Payload(reference, {name: value for name, value in optional.items() if isinstance(value, str)})


def _signature(annotations: Mapping[str, str]) -> bytes:
    text = annotations.get(SIGNATURE, "")
    # Line breaks, and nothing else, stand in real annotations: some signers wrap their base64
    signature = untrusted.decode_base64(text.replace("\r", "").replace("\n", ""), f"annotation {SIGNATURE}")
    if not signature:
        raise MalformedError(Code.MALFORMED, f"annotation {SIGNATURE}: a signature expected, found none")
    return signature


def _leaf(annotations: Mapping[str, str]) -> Leaf | None:
    text = annotations.get(CERTIFICATE, "")
    if not text:
        return None
    if len(text) > MAX_CERTIFICATE_CHARS or text.count("-----BEGIN ") > MAX_CERTIFICATES:
        limit = f"at most {MAX_CERTIFICATES} certificates in {MAX_CERTIFICATE_CHARS} characters are read"
        raise MalformedError(Code.LIMIT_EXCEEDED, f"annotation {CERTIFICATE}: {limit}")
    try:
        first = x509.load_pem_x509_certificates(text.encode("ascii"))[0]  # leaf first
    except (ValueError, x509.InvalidVersion) as error:
        raise MalformedError(Code.MALFORMED, f"annotation {CERTIFICATE}: no certificate in PEM") from error
    return certificate.parse(first.public_bytes(Encoding.DER))


def _entries(annotations: Mapping[str, str]) -> tuple[LogEntry, ...]:
    document = _document(annotations, LOG_ENTRY, MAX_LOG_ENTRY_BYTES)
    if document is None:
        return ()
    payload = untrusted.as_object(document.get("Payload"), "bundle.Payload")
    log_id = untrusted.as_string(payload.get("logID"), "bundle.Payload.logID")
    if not _LOG_ID.fullmatch(log_id):
        raise MalformedError(Code.MALFORMED, "bundle.Payload.logID: 64 lower-case hex digits expected")
    return (
        LogEntry(
            body=untrusted.as_bytes(payload.get("body"), "bundle.Payload.body"),
            log_id=bytes.fromhex(log_id),
            log_index=untrusted.as_count(payload.get("logIndex"), "bundle.Payload.logIndex"),
            integrated_time=untrusted.as_count(payload.get("integratedTime"), "bundle.Payload.integratedTime"),
            promise=untrusted.as_bytes(document.get("SignedEntryTimestamp"), "bundle.SignedEntryTimestamp"),
        ),
    )


def _timestamps(annotations: Mapping[str, str]) -> tuple[bytes, ...]:
    document = _document(annotations, TIMESTAMP, MAX_TIMESTAMP_BYTES)
    if document is None:
        return ()
    return (untrusted.as_bytes(document.get("SignedRFC3161Timestamp"), "SignedRFC3161Timestamp"),)


def _document(annotations: Mapping[str, str], name: str, max_bytes: int) -> Mapping[str, object] | None:
    text = annotations.get(name, "")
    if not text:
        return None
    what = f"annotation {name}"
    # half a surrogate pair passes a lenient reader of the manifest; it is no text
    data = text.encode("utf-8", "surrogatepass")
    return untrusted.as_object(untrusted.parse_json(data, max_bytes=max_bytes, what=what), what)


def _docker_reference(critical: Mapping[str, object]) -> str:
    identity = untrusted.as_object(critical.get("identity", {}), "critical.identity")
    return untrusted.as_string(identity.get("docker-reference", ""), "critical.identity.docker-reference")


def _verify_type(found: object) -> None:
    # cosign does not look at it; podman and skopeo sign the same shape for another purpose, perhaps with the same key
    if found != PAYLOAD_TYPE:
        shown = quote(found) if isinstance(found, str) else "none"
        raise RejectedError(Code.CLAIM_MISMATCH, f"critical.type: {PAYLOAD_TYPE!r} expected, found {shown}")


def _verify_subject(image: object, subject: Digest) -> None:
    digest = untrusted.as_object(image, "critical.image").get("docker-manifest-digest")
    found = untrusted.as_string(digest, "critical.image.docker-manifest-digest")
    if found != str(subject):
        raise RejectedError(Code.SUBJECT_MISMATCH, f"a valid signature, but of another image: {quote(found)}")
