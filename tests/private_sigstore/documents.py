"""The documents that signers write, and the means to change one thing in them.

Payloads, statements, envelopes and bundles as cosign 1 to 3 write them, as plain values. Nothing is signed here.

spec: cosign SIGNATURE_SPEC; DSSE 1.0; in-toto statement 1; sigstore protobuf-specs, Bundle.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.demo.content import as_json
from webhook.demo.signing import STATEMENT, base64_of
from webhook.evidence.model import IN_TOTO, SIGN_PREDICATE

STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
SIMPLE_TYPE = "cosign container image signature"
TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
BUNDLES: Mapping[str, str] = {
    "0.1": "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "0.2": "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "0.3": "application/vnd.dev.sigstore.bundle.v0.3+json",
}

Document = dict[str, object]
Path = tuple[str | int, ...]


class _Deleted:
    def __repr__(self) -> str:
        return "DELETED"


DELETED: Final = _Deleted()


# --- what is signed


def simple_payload(
    digest: str, *, reference: str = "registry.example/org/app", annotations: Mapping[str, str] | None = None
) -> Document:
    return {
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": SIMPLE_TYPE,
        },
        "optional": dict(annotations) if annotations else None,
    }


def statement(
    digest: str,
    *,
    predicate_type: str = SIGN_PREDICATE,
    predicate: object = None,
    annotations: Mapping[str, str] | None = None,
    kind: str = STATEMENT,
) -> Document:
    algorithm, _, value = digest.partition(":")
    subject = {"digest": {algorithm: value}, "annotations": dict(annotations or {})}
    return {
        "_type": kind,
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": {} if predicate is None else predicate,
    }


def signed_bytes(payload: bytes, payload_type: str = IN_TOTO) -> bytes:
    """What a DSSE signature is over. DSSE 1.0, protocol."""
    return b"DSSEv1 %d %b %d %b" % (len(payload_type), payload_type.encode(), len(payload), payload)


def envelope(payload: bytes, signature: bytes, payload_type: str = IN_TOTO) -> Document:
    return {
        "payload": base64_of(payload),
        "payloadType": payload_type,
        "signatures": [{"sig": base64_of(signature)}],
    }


def message_signature(digest: bytes, signature: bytes, algorithm: str = "SHA2_256") -> Document:
    return {"messageDigest": {"algorithm": algorithm, "digest": base64_of(digest)}, "signature": base64_of(signature)}


# --- what is around it


def certificate_material(version: str, chain: Sequence[x509.Certificate]) -> Document:
    """The leaf of `chain`, in the form of that version of bundles."""
    if version == "0.3":
        return {"certificate": raw(chain[0])}
    return {"x509CertificateChain": {"certificates": [raw(certificate) for certificate in chain]}}


def bundle(
    version: str,
    material: Document,
    content: Document,
    *,
    entries: Sequence[Document] = (),
    timestamps: Sequence[bytes] = (),
) -> Document:
    """`content` is the member `dsseEnvelope` or `messageSignature`."""
    stamps: Document = {"rfc3161Timestamps": [{"signedTimestamp": base64_of(stamp)} for stamp in timestamps]}
    verification = {**material, "tlogEntries": list(entries)}
    if timestamps:
        verification["timestampVerificationData"] = stamps
    return {"mediaType": BUNDLES[version], "verificationMaterial": verification, **content}


def raw(certificate: x509.Certificate) -> Document:
    return {"rawBytes": base64_of(certificate.public_bytes(Encoding.DER))}


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- one thing changed


def edit(data: bytes, path: Path, value: object) -> bytes:
    """The JSON document `data` with `value` at `path`, or without it where `value` is `DELETED`.

    A function is called with what stands there, and returns what shall.
    """
    return as_json(put(json.loads(data), path, value))


def put(document: object, path: Path, value: object) -> object:
    """A copy of `document` that differs at `path`."""
    if not path:
        return value(document) if callable(value) else value
    changed = copy.deepcopy(document)
    parent = at(changed, path[:-1])
    _set(parent, path[-1], value)
    return changed


def at(document: object, path: Path) -> object:
    """What stands at `path`."""
    for step in path:
        document = document[step]  # type: ignore[index]
    return document


def _set(parent: object, name: str | int, value: object) -> None:
    assert isinstance(parent, dict | list)
    if value is DELETED:
        del parent[name]  # type: ignore[arg-type]
        return
    new = value(parent[name]) if callable(value) else value  # type: ignore[index]
    parent[name] = new  # type: ignore[index]


def paths(document: object, before: Path = ()) -> Iterator[Path]:
    """Where every value of `document` stands, itself first."""
    yield before
    if isinstance(document, dict):
        for name, value in document.items():
            yield from paths(value, (*before, name))
    if isinstance(document, list):
        for number, value in enumerate(document):
            yield from paths(value, (*before, number))


def as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else as_json(value)


def flipped(data: bytes, position: int = -1) -> bytes:
    """`data` with one bit of it changed."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


Change = Callable[[Document], object]
