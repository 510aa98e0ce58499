"""A Notary Project envelope, JWS or COSE, parsed and found whole: its own leaf signed it, and its payload reads.

`open_envelope` is the first check, integrity, all of it. Nothing of an envelope is used for a decision before that has
succeeded, and nothing in it is trusted after: whose certificates these are is for `verifier`. `parse` stops before
anything is verified, for whoever shows what an envelope says of itself.

spec: Notary Project, signature specification, signature envelope; RFC 7515; RFC 9052.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from webhook import untrusted
from webhook.errors import Code, MalformedError, quote
from webhook.notation import algorithm, chain, cose, document, jws
from webhook.notation.attributes import MAX_PAYLOAD_BYTES, PAYLOAD_TYPE, Candidate, Scheme
from webhook.trust.token import MAX_TOKEN_BYTES

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "Candidate",
    "Envelope",
    "Scheme",
    "Target",
    "claimed_target",
    "open_envelope",
    "parse",
]

MAX_ENVELOPE_BYTES = 4 << 20  # real ones have 3 to 15 KiB


@dataclass(frozen=True, slots=True)
class Target:
    """What was signed. `annotations` are the signed user metadata."""

    media_type: str
    digest: str  # as it stands there, of any form: who compares it with a subject's finds all others unequal
    size: int
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Envelope:
    """`extended` are the protected attributes that the specification does not name, and the plugin's two; `critical`
    are the names that are marked so. `chain` is leaf first, root last, and each certificate issued the one before."""

    media_type: str
    scheme: Scheme
    signed_at: datetime  # aware, UTC: authentic for SIGNING_AUTHORITY, only claimed for X509
    expires_at: datetime | None
    extended: Mapping[str | int, object]
    critical: frozenset[str | int]
    chain: tuple[x509.Certificate, ...]
    ders: tuple[bytes, ...] = field(repr=False)  # the same, as they came
    signature: bytes = field(repr=False)  # decoded; what a timestamp token is about
    timestamp_token: bytes | None = field(repr=False)  # DER, not looked at yet
    signing_agent: str  # unsigned; empty where there is none
    target: Target


def open_envelope(payload: bytes, media_type: str) -> Envelope:
    """The envelope in `payload`, whole.

    Raises: MalformedError: `malformed`, `unsupported` (media type, content type), `limit_exceeded`; TamperedError,
    `signature_invalid`: its own leaf did not sign these bytes; RejectedError, `cert_chain_invalid`.
    """
    candidate = parse(payload, media_type)
    said = candidate.attributes
    key = algorithm.signing_key(candidate.chain[0])
    key.verify(candidate.signature, candidate.message, algorithm=said.algorithm)
    chain.verify(candidate.chain)
    return Envelope(
        media_type=candidate.media_type,
        scheme=said.scheme,
        signed_at=said.signed_at,
        expires_at=said.expires_at,
        extended=said.extended,
        critical=said.critical,
        chain=candidate.chain,
        ders=candidate.ders,
        signature=candidate.signature,
        timestamp_token=candidate.timestamp_token,
        signing_agent=candidate.signing_agent,
        target=claimed_target(candidate),
    )


def parse(payload: bytes, media_type: str) -> Candidate:
    """The envelope in `payload`, of which nothing was verified.

    Raises: MalformedError: `malformed`, `unsupported` for another media type, `limit_exceeded`.
    """
    match media_type:
        case jws.MEDIA_TYPE:
            candidate = jws.parse(payload, max_bytes=MAX_ENVELOPE_BYTES)
        case cose.MEDIA_TYPE:
            candidate = cose.parse(payload, max_bytes=MAX_ENVELOPE_BYTES)
        case _:
            raise MalformedError(
                Code.UNSUPPORTED,
                f"envelope: {jws.MEDIA_TYPE} or {cose.MEDIA_TYPE} expected, found {quote(media_type, max_chars=80)}",
            )
    token = candidate.timestamp_token
    if token is not None and len(token) > MAX_TOKEN_BYTES:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"timestamp token: {len(token)} bytes, at most {MAX_TOKEN_BYTES} are read"
        )
    return candidate


_PAYLOAD = frozenset({"targetArtifact"})
_TARGET = frozenset({"mediaType", "digest", "size", "annotations"})


def claimed_target(candidate: Candidate) -> Target:
    """What `candidate` says that it signs. Raises: MalformedError, `unsupported` for another content type."""
    content_type = candidate.attributes.content_type
    if content_type != PAYLOAD_TYPE:
        raise MalformedError(
            Code.UNSUPPORTED, f"content type: {PAYLOAD_TYPE} expected, found {quote(content_type, max_chars=80)}"
        )
    document_ = document.parse_object(candidate.payload, names=_PAYLOAD, max_bytes=MAX_PAYLOAD_BYTES, what="payload")
    target = untrusted.as_object(document_.get("targetArtifact"), "payload.targetArtifact")
    document.check_names(target, _TARGET, "payload.targetArtifact")
    return Target(
        media_type=untrusted.as_string(target.get("mediaType"), "payload.targetArtifact.mediaType"),
        digest=untrusted.as_string(target.get("digest"), "payload.targetArtifact.digest"),
        size=untrusted.as_count(target.get("size"), "payload.targetArtifact.size"),
        annotations=_annotations(target.get("annotations")),
    )


def _annotations(value: object) -> Mapping[str, str]:
    what = "payload.targetArtifact.annotations"
    if value is None:
        return {}
    return {name: untrusted.as_string(text, what) for name, text in untrusted.as_object(value, what).items()}
