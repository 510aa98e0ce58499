"""Signatures as cosign 1 and 2 store them: a simple signing payload as layer, the signature in its annotations.

The order is the promise: the signature is verified over the bytes as stored, and only then are they read. Certificate
chains, log entries and timestamps in the annotations are claims that nothing here trusts; a certificate must merely be
of the same key, as cosign demands. Where the payload is found, and which key to hold against it, is left to others.

spec: cosign SIGNATURE_SPEC; containers/image, atomic signature format (the payload).
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from webhook import untrusted
from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.evidence.model import Evidence
from webhook.oci.reference import Digest
from webhook.trust.material import PublicKey

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
PAYLOAD_TYPE = "cosign container image signature"

MAX_PAYLOAD_BYTES = 64 << 10  # real ones are about 250 bytes
MAX_CERTIFICATE_CHARS = 128 << 10
MAX_CERTIFICATES = 10


def verify_signature(evidence: Evidence, key: PublicKey) -> str:
    """`key` signed, as cosign container image signature, exactly the digest that `evidence` was found for.

    Returns the docker reference that the payload names: the signer's claim, which need not be the image's name.

    Raises: MalformedError, RejectedError.
    """
    if len(evidence.payload) > MAX_PAYLOAD_BYTES:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"payload: {len(evidence.payload)} bytes, at most {MAX_PAYLOAD_BYTES} are read"
        )
    signature = _signature(evidence.annotations)
    _verify_certificate(evidence.annotations.get(CERTIFICATE, ""), key)
    key.verify(signature, evidence.payload)
    return _verify_payload(evidence.payload, evidence.subject)


def _signature(annotations: Mapping[str, str]) -> bytes:
    text = annotations.get(SIGNATURE, "")
    # Line breaks, and nothing else, stand in real annotations: some signers wrap their base64
    signature = untrusted.decode_base64(text.replace("\r", "").replace("\n", ""), f"annotation {SIGNATURE}")
    if not signature:
        raise MalformedError(Code.MALFORMED, f"annotation {SIGNATURE}: a signature expected, found none")
    return signature


def _verify_certificate(text: str, key: PublicKey) -> None:
    """A certificate beside a signature made with a key gives no trust, but must be of that key, as for cosign."""
    if not text:
        return
    if len(text) > MAX_CERTIFICATE_CHARS or text.count("-----BEGIN ") > MAX_CERTIFICATES:
        limit = f"at most {MAX_CERTIFICATES} certificates in {MAX_CERTIFICATE_CHARS} characters are read"
        raise MalformedError(Code.LIMIT_EXCEEDED, f"annotation {CERTIFICATE}: {limit}")
    if _spki_of_first(text) != key.spki:
        raise RejectedError(Code.SIGNATURE_INVALID, f"annotation {CERTIFICATE}: not a certificate of the {key}")


def _spki_of_first(text: str) -> bytes:
    try:
        leaf = x509.load_pem_x509_certificates(text.encode("ascii"))[0]  # leaf first
        return leaf.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError(Code.MALFORMED, f"annotation {CERTIFICATE}: no certificate in PEM") from error


def _verify_payload(payload: bytes, subject: Digest) -> str:
    document = untrusted.as_object(
        untrusted.parse_json(payload, max_bytes=MAX_PAYLOAD_BYTES, what="payload"), "payload"
    )
    if document.get("optional") is not None:
        untrusted.as_object(document["optional"], "payload.optional")
    critical = untrusted.as_object(document.get("critical"), "payload.critical")
    reference = _docker_reference(critical)
    _verify_type(critical.get("type"))
    _verify_subject(critical.get("image"), subject)
    return reference


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
