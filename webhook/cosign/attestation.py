"""DSSE envelopes and the in-toto statements inside them.

An `Envelope` is only parsed: whoever holds one verifies `signature` over `signed_bytes` first and reads the statement
out of `payload` afterwards, so no text that nobody signed decides anything. Which predicate type is wanted, and which
key, is left to the caller.

spec: DSSE 1.0, envelope and protocol; in-toto attestation framework, statement 1 and 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from webhook import untrusted
from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.evidence.model import IN_TOTO
from webhook.oci.reference import Digest

STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")

MAX_STATEMENT_BYTES = 16 << 20  # no more than the envelope around it
MAX_SUBJECTS = 1024  # CVE-2024-45395: as sigstore-go, so that nobody makes us compare for ever
MAX_DIGESTS = 32
MAX_SIGNATURES = 16  # that are counted before more than one is refused


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope with one signature, not yet believed. `payload` are the decoded bytes as received."""

    payload_type: str
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over. DSSE 1.0, protocol: PAE, lengths in bytes."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that a statement is about: its digest by each algorithm, and what a cosign signature notes beside."""

    digests: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto statement: what kind of thing it says, and of which digests; `document` is all of it."""

    predicate_type: str
    subjects: tuple[Subject, ...]
    document: Mapping[str, object] = field(default_factory=dict, repr=False)


def parse_envelope(value: object) -> Envelope:
    """The DSSE envelope of an in-toto statement with exactly one signature.

    Raises: MalformedError, `unsupported` for another type of payload.
    """
    envelope = untrusted.as_object(value, "dsseEnvelope")
    payload_type = untrusted.as_string(envelope.get("payloadType"), "dsseEnvelope.payloadType")
    if payload_type != IN_TOTO:
        raise MalformedError(
            Code.UNSUPPORTED, f"dsseEnvelope.payloadType: {IN_TOTO} expected, found {quote(payload_type)}"
        )
    payload = untrusted.as_string(envelope.get("payload"), "dsseEnvelope.payload")
    return Envelope(
        payload_type, untrusted.decode_base64(payload, "dsseEnvelope.payload"), _signature(envelope.get("signatures"))
    )


def _signature(value: object) -> bytes:
    signatures = untrusted.as_array(value, "dsseEnvelope.signatures", max_items=MAX_SIGNATURES)
    if len(signatures) != 1:
        raise MalformedError(Code.MALFORMED, f"dsseEnvelope.signatures: one expected, found {len(signatures)}")
    text = untrusted.as_string(untrusted.as_object(signatures[0], "signatures[0]").get("sig"), "signatures[0].sig")
    signature = untrusted.decode_base64(text, "signatures[0].sig")
    if not signature:
        raise MalformedError(Code.MALFORMED, "signatures[0].sig: empty")
    return signature


def parse_statement(payload: bytes) -> Statement:
    """The in-toto statement in `payload`, whose signature the caller has verified.

    Raises: MalformedError, `unsupported` for another `_type`.
    """
    document = untrusted.as_object(
        untrusted.parse_json(payload, max_bytes=MAX_STATEMENT_BYTES, what="statement"), "statement"
    )
    kind = untrusted.as_string(document.get("_type"), "statement._type")
    if kind not in STATEMENT_TYPES:
        raise MalformedError(Code.UNSUPPORTED, f"statement._type: {STATEMENT_TYPES[0]} expected, found {quote(kind)}")
    if document.get("predicate") is not None:
        untrusted.as_object(document["predicate"], "statement.predicate")
    predicate_type = untrusted.as_string(document.get("predicateType"), "statement.predicateType")
    return Statement(predicate_type, _subjects(document.get("subject")), document)


def _subjects(value: object) -> tuple[Subject, ...]:
    subjects = untrusted.as_array(value, "statement.subject", max_items=MAX_SUBJECTS)
    if not subjects:
        raise MalformedError(Code.MALFORMED, "statement.subject: at least one expected, found none")
    return tuple(_subject(subject) for subject in subjects)


def _subject(value: object) -> Subject:
    subject = untrusted.as_object(value, "statement.subject[]")
    noted = subject.get("annotations")
    annotations = {} if noted is None else untrusted.as_object(noted, "statement.subject[].annotations")
    texts = {name: text for name, text in annotations.items() if isinstance(text, str)}
    return Subject(_digests(subject), texts)


def _digests(subject: Mapping[str, object]) -> Mapping[str, str]:
    digests = untrusted.as_object(subject.get("digest"), "statement.subject[].digest")
    if len(digests) > MAX_DIGESTS:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"statement.subject[].digest: {len(digests)} entries, at most {MAX_DIGESTS} are read"
        )
    return {name: untrusted.as_string(text, "statement.subject[].digest") for name, text in digests.items()}


def verify_subject(statement: Statement, digest: Digest) -> Subject:
    """The subject that has `digest`, by the same algorithm. Raises: RejectedError, `subject_mismatch`."""
    for subject in statement.subjects:
        if subject.digests.get(digest.algorithm) == digest.hex:
            return subject
    raise RejectedError(Code.SUBJECT_MISMATCH, f"a valid signature, but of another image: {_named(statement, digest)}")


def _named(statement: Statement, digest: Digest) -> str:
    """What `statement` is about instead of `digest`: the first of it, and how much more there is."""
    found = [subject.digests.get(digest.algorithm) for subject in statement.subjects]
    hexes = [value for value in found if value is not None]
    if not hexes:
        return f"no {digest.algorithm} digest is named"
    more = f" and {len(hexes) - 1} more" if len(hexes) > 1 else ""
    return f"{quote(f'{digest.algorithm}:{hexes[0]}')}{more}"
