"""Bodies of log entries, one function for each kind, as Rekor writes them.

Nothing is checked: a body may be about anything. `verifier` is a certificate, or the key itself.

spec: rekor types hashedrekord 0.0.1, dsse 0.0.1, intoto 0.0.1 and 0.0.2; rekor-tiles hashedrekord 0.0.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.private_sigstore.documents import Document, pem, raw
from tests.private_sigstore.logs import spki
from webhook.demo.signing import SigningKey, base64_of
from webhook.evidence.model import IN_TOTO

Verifier = x509.Certificate | SigningKey

_CURVE_HASHES = {256: 256, 384: 384, 521: 512}  # bits
_V2_HASHES: Mapping[str, Callable[[bytes], bytes]] = {
    "SHA2_256": lambda data: hashlib.sha256(data).digest(),
    "SHA2_384": lambda data: hashlib.sha384(data).digest(),
    "SHA2_512": lambda data: hashlib.sha512(data).digest(),
}


def hashedrekord(message: bytes, signature: bytes, verifier: Verifier, *, algorithm: str = "sha256") -> Document:
    """hashedrekord 0.0.1, of a message."""
    digest = hashlib.new(algorithm, message).hexdigest()
    return _body("hashedrekord", "0.0.1", {
        "data": {"hash": {"algorithm": algorithm, "value": digest}},
        "signature": {"content": base64_of(signature), "publicKey": {"content": _pem(verifier)}},
    })  # fmt: skip


def dsse(envelope: bytes, payload: bytes, signature: bytes, verifier: Verifier) -> Document:
    """dsse 0.0.1."""
    return _body("dsse", "0.0.1", {
        "envelopeHash": _hash(envelope),
        "payloadHash": _hash(payload),
        "signatures": [{"signature": base64_of(signature), "verifier": _pem(verifier)}],
    })  # fmt: skip


def intoto_001(envelope: bytes, payload: bytes, verifier: Verifier) -> Document:
    """intoto 0.0.1: holds no signature."""
    content = {"hash": _hash(envelope), "payloadHash": _hash(payload)}
    return _body("intoto", "0.0.1", {"content": content, "publicKey": _pem(verifier)})


def intoto_002(envelope: bytes, payload: bytes, signature: bytes, verifier: Verifier) -> Document:
    """intoto 0.0.2: the signature is encoded twice."""
    twice = base64_of(base64_of(signature).encode())
    return _body("intoto", "0.0.2", {
        "content": {
            "envelope": {"payloadType": IN_TOTO, "signatures": [{"publicKey": _pem(verifier), "sig": twice}]},
            "hash": _hash(envelope),
            "payloadHash": _hash(payload),
        }
    })  # fmt: skip


def hashedrekord_002(message: bytes, signature: bytes, verifier: Verifier, *, algorithm: str = "SHA2_256") -> Document:
    """hashedrekord 0.0.2 of Rekor 2, of a message or of what a DSSE signature is over."""
    named: Document = (
        {"x509Certificate": raw(verifier)}
        if isinstance(verifier, x509.Certificate)
        else {"publicKey": {"rawBytes": base64_of(spki(verifier))}}
    )
    return _body("hashedrekord", "0.0.2", {
        "hashedRekordV002": {
            "data": {"algorithm": algorithm, "digest": base64_of(_V2_HASHES[algorithm](message))},
            "signature": {"content": base64_of(signature), "verifier": {**named, "keyDetails": key_details(verifier)}},
        }
    })  # fmt: skip


def key_details(verifier: Verifier) -> str:
    """How rekor-tiles names the kind of key: Ed25519 keys sign the hash there."""
    key = verifier.public_key() if isinstance(verifier, x509.Certificate) else verifier.private.public_key()
    match key:
        case ec.EllipticCurvePublicKey():
            return f"PKIX_ECDSA_P{key.key_size}_SHA_{_CURVE_HASHES[key.key_size]}"
        case rsa.RSAPublicKey():
            return f"PKIX_RSA_PKCS1V15_{key.key_size}_SHA256"
    return "PKIX_ED25519_PH"


def verifier_der(verifier: Verifier) -> bytes:
    return verifier.public_bytes(Encoding.DER) if isinstance(verifier, x509.Certificate) else spki(verifier)


def _body(kind: str, version: str, spec: Document) -> Document:
    return {"apiVersion": version, "kind": kind, "spec": spec}


def _hash(data: bytes) -> Document:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _pem(verifier: Verifier) -> str:
    return base64_of((pem(verifier) if isinstance(verifier, x509.Certificate) else verifier.public_pem).encode())
