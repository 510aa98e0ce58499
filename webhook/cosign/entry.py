"""What the body of a log entry says, compared with what is being verified, one function for each kind.

Bytes are compared decoded, never as text. Each kind names content, signature and verifier, in this order, and all that
it names must be equal: an entry about something else proves nothing, whoever vouches for it. Whether a log does vouch
for the body is left to `log`.

spec: rekor types hashedrekord 0.0.1, dsse 0.0.1, intoto 0.0.1 and 0.0.2; rekor-tiles hashedrekord 0.0.2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from webhook import untrusted
from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.trust.material import PublicKey

MAX_BODY_BYTES = 1 << 20  # real ones are 1 to 6 KiB
MAX_SIGNATURES = 16  # that are counted before more than one is refused

TILED = "hashedrekord 0.0.2"  # the one kind that logs of tiles (Rekor 2) hold


@dataclass(frozen=True, slots=True)
class Logged:
    """What an entry must be about.

    `verifier` is the DER of the certificate, or of the key's SPKI, that made the signature; `payload` is the DSSE
    payload, where that was signed, and `envelope` the bytes of a `.att` layer. `digests` are those of the signed bytes,
    by `sha256`, `sha384`, `sha512`, as far as they are known. `beside` is a certificate of the same key that stood
    beside a signature made with a key: an entry may name it instead.
    """

    signature: bytes
    verifier: bytes
    by_certificate: bool
    key: PublicKey
    digests: dict[str, bytes] = field(default_factory=dict)
    payload: bytes | None = None
    envelope: bytes | None = None
    beside: bytes | None = None


def verify(body: bytes, kind: str, version: str, logged: Logged) -> str:
    """The body of an entry of this kind and version (empty: any) is about `logged`. Returns both: `dsse 0.0.1`.

    Raises: RejectedError, `tlog_entry_mismatch`; MalformedError, `malformed` or `unsupported`.
    """
    document = untrusted.as_object(untrusted.parse_json(body, max_bytes=MAX_BODY_BYTES, what="log entry"), "log entry")
    named = (_text(document, "kind"), _text(document, "apiVersion"))
    found = " ".join(named)
    if (kind or version) and named != (kind, version):
        # nobody signs what is announced, so this proves no attack
        raise MalformedError(
            Code.TLOG_ENTRY_MISMATCH, f"log entry: {quote(f'{kind} {version}')} announced, found {quote(found)}"
        )
    check = _KINDS.get(named)
    if check is None:
        raise MalformedError(Code.UNSUPPORTED, f"log entry: the kind {quote(found)} is not supported")
    check(_object(document, "spec"), logged)
    return found


def _hashedrekord(spec: Mapping[str, object], logged: Logged) -> None:
    if logged.payload is not None:
        raise _mismatch("a hashedrekord 0.0.1, which is about no DSSE envelope")
    digest = _object(spec, "data", "hash")
    expected = logged.digests.get(_text(digest, "algorithm"))
    if expected is None or _text(digest, "value") != expected.hex():
        raise _mismatch("it is about other content")
    signature = _object(spec, "signature")
    _verify_signature(_bytes(signature, "content"), logged)
    _verify_pem(_bytes(_object(signature, "publicKey"), "content"), logged)


def _dsse(spec: Mapping[str, object], logged: Logged) -> None:
    payload = _payload_of(logged)
    _verify_hash(spec, "payloadHash", payload)
    # Clients write the envelope of a bundle anew, so it is only known where it is the layer itself
    if logged.envelope is not None:
        _verify_hash(spec, "envelopeHash", logged.envelope)
    signature = _only_signature(spec)
    _verify_signature(_bytes(signature, "signature"), logged)
    _verify_pem(_bytes(signature, "verifier"), logged)


def _intoto_002(spec: Mapping[str, object], logged: Logged) -> None:
    content = _object(spec, "content")
    _verify_hash(content, "payloadHash", _payload_of(logged))
    if logged.envelope is not None:
        _verify_hash(content, "hash", logged.envelope)
    signature = _only_signature(_object(content, "envelope"))
    twice = _bytes(signature, "sig")  # rekor keeps the envelope's base64, and encodes it once more
    _verify_signature(untrusted.decode_base64(twice.decode("latin-1"), "log entry, sig"), logged)
    _verify_pem(_bytes(signature, "publicKey"), logged)


def _intoto_001(spec: Mapping[str, object], logged: Logged) -> None:
    """It holds no signature: the hash of the layer, which holds it, stands for that."""
    payload = _payload_of(logged)
    if logged.envelope is None:
        raise MalformedError(Code.UNSUPPORTED, "log entry: an intoto 0.0.1 is only supported for .att layers")
    content = _object(spec, "content")
    _verify_hash(content, "hash", logged.envelope)
    if "payloadHash" in content:
        _verify_hash(content, "payloadHash", payload)
    _verify_pem(_bytes(spec, "publicKey"), logged)


def _hashedrekord_002(spec: Mapping[str, object], logged: Logged) -> None:
    record = _object(spec, "hashedRekordV002")
    data = _object(record, "data")
    expected = logged.digests.get(_HASHES.get(_text(data, "algorithm"), ""))
    if expected is None or _bytes(data, "digest") != expected:
        raise _mismatch("it is about other content")
    signature = _object(record, "signature")
    _verify_signature(_bytes(signature, "content"), logged)
    _verify_verifier(_object(signature, "verifier"), logged)


_KINDS: Mapping[tuple[str, str], Callable[[Mapping[str, object], Logged], None]] = {
    ("hashedrekord", "0.0.1"): _hashedrekord,
    ("dsse", "0.0.1"): _dsse,
    ("intoto", "0.0.2"): _intoto_002,
    ("intoto", "0.0.1"): _intoto_001,
    ("hashedrekord", "0.0.2"): _hashedrekord_002,
}

_HASHES = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}  # protobuf-specs, HashAlgorithm


def _payload_of(logged: Logged) -> bytes:
    if logged.payload is None:
        raise _mismatch("it is about a DSSE envelope, which this is not")
    return logged.payload


def _verify_hash(document: Mapping[str, object], name: str, data: bytes) -> None:
    digest = _object(document, name)
    if _text(digest, "algorithm") != "sha256" or _text(digest, "value") != hashlib.sha256(data).hexdigest():
        raise _mismatch(f"it is about other content, {name} differs")


def _only_signature(document: Mapping[str, object]) -> Mapping[str, object]:
    signatures = untrusted.as_array(document.get("signatures"), "log entry, signatures", max_items=MAX_SIGNATURES)
    if len(signatures) != 1:
        raise _mismatch(f"it is about {len(signatures)} signatures")
    return untrusted.as_object(signatures[0], "log entry, signatures[0]")


def _verify_signature(found: bytes, logged: Logged) -> None:
    if found != logged.signature:
        raise _mismatch("it is about another signature")


# RFC 7468 3, strict text: one label, base64 lines, the same label; no headers and nothing around it
_PEM = re.compile(rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----([A-Za-z0-9+/=\r\n]+)-----END \1-----")


def _verify_pem(pem: bytes, logged: Logged) -> None:
    block = _PEM.fullmatch(pem.strip(b" \t\r\n"))
    if block is None:
        raise _mismatch("its verifier is not one PEM block CERTIFICATE or PUBLIC KEY")
    text = block[2].replace(b"\r", b"").replace(b"\n", b"").decode("ascii")
    der = untrusted.decode_base64(text, "log entry, verifier")
    if block[1] == b"CERTIFICATE":
        expected = logged.verifier if logged.by_certificate else logged.beside
    else:
        expected = None if logged.by_certificate else logged.verifier
    if der != expected:
        raise _other_verifier(logged)


def _verify_verifier(verifier: Mapping[str, object], logged: Logged) -> None:
    wanted, other = ("x509Certificate", "publicKey") if logged.by_certificate else ("publicKey", "x509Certificate")
    if other in verifier or _bytes(_object(verifier, wanted), "rawBytes") != logged.verifier:
        raise _other_verifier(logged)
    details = _text(verifier, "keyDetails")
    if details not in _details_of(logged.key):
        raise _mismatch(f"its keyDetails are {quote(details)}, not of an {logged.key.algorithm} key")


def _other_verifier(logged: Logged) -> RejectedError:
    return _mismatch(f"it is about another {'certificate' if logged.by_certificate else 'key'}")


_DETAILS = {
    "ECDSA P-256": ("PKIX_ECDSA_P256_SHA_256",),
    "ECDSA P-384": ("PKIX_ECDSA_P384_SHA_384",),
    "ECDSA P-521": ("PKIX_ECDSA_P521_SHA_512",),
    "Ed25519": ("PKIX_ED25519", "PKIX_ED25519_PH"),  # logs of tiles see only hashes, and call every such key the latter
}


def _details_of(key: PublicKey) -> tuple[str, ...]:
    """How protobuf-specs, PublicKeyDetails, calls `key`."""
    if not key.algorithm.startswith("RSA "):
        return _DETAILS.get(key.algorithm, ())
    padding = "PSS" if any(scheme.startswith("pss") for scheme in key.schemes) else "PKCS1V15"
    return (f"PKIX_RSA_{padding}_{key.algorithm.removeprefix('RSA ')}_SHA256",)


def _object(document: Mapping[str, object], *path: str) -> Mapping[str, object]:
    for name in path:
        document = untrusted.as_object(document.get(name), f"log entry, {name}")
    return document


def _text(document: Mapping[str, object], name: str) -> str:
    return untrusted.as_string(document.get(name), f"log entry, {name}")


def _bytes(document: Mapping[str, object], name: str) -> bytes:
    return untrusted.as_bytes(document.get(name), f"log entry, {name}")


def _mismatch(problem: str) -> RejectedError:
    return RejectedError(Code.TLOG_ENTRY_MISMATCH, f"the log entry does not fit: {problem}")
