"""What an operator trusts, as values: public keys, with the signature schemes that each may have been used with.

A `PublicKey` that verifies anything is made by `parse_public_key`, which refuses each kind, size and encoding that we
do not verify with. The schemes are fixed when a key loads: nothing in a signature chooses how it is checked.
The same key has the same fingerprint however it was written down, since only one encoding of each key is taken.

spec: cosign key formats; FIPS 186-5; RFC 8017; RFC 8032; RFC 5280 4.1.2.7; see docs/keys.md.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from webhook.errors import Code, MalformedError, RejectedError, quote

MAX_KEY_BYTES = 64 << 10
MAX_SIGNATURE_BYTES = 64 << 10
MAX_RESTORED = 4096

RSA_BITS = range(2048, 8192 + 1)  # more costs the verifier too much, less can be broken
RSA_EXPONENTS = range((1 << 16) + 1, 1 << 31, 2)  # FIPS 186-5 A.1.1 from below; Go, and so cosign, from above

_ED25519_HINT = (
    "; cosign 3 signs with Ed25519ph, which nothing verifies: sign with an ECDSA P-256 key instead, "
    "see https://countersign.dev/docs/keys.md#ed25519"
)


class Hash(StrEnum):
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


class Padding(StrEnum):
    PKCS1V15 = "pkcs1v15"
    PSS = "pss"


_Check = Callable[[bytes, bytes], None]  # signature, data; raises InvalidSignature


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that was checked to be of a kind we verify with.

    `fingerprint` is the lower-case hex SHA-256 of its DER SPKI, `spki`; `algorithm` is for people: `ECDSA P-256`,
    `RSA 3072`. `schemes` are tried in this order: `sha384`, `pss-sha256`, `pure`. Without any, nothing verifies.
    """

    fingerprint: str
    algorithm: str
    schemes: tuple[str, ...] = ()
    spki: bytes = field(default=b"", repr=False, compare=False)
    _checks: tuple[_Check, ...] = field(default=(), repr=False, compare=False)

    def verify(self, signature: bytes, data: bytes) -> None:
        """`signature` over `data` was made with this key.

        Raises: RejectedError, `signature_invalid`; MalformedError, `limit_exceeded`, for a signature over 64 KiB.
        """
        if len(signature) > MAX_SIGNATURE_BYTES:
            raise MalformedError(
                Code.LIMIT_EXCEEDED, f"signature: {len(signature)} bytes, at most {MAX_SIGNATURE_BYTES} are read"
            )
        if not any(_holds(check, signature, data) for check in self._checks):
            hint = _ED25519_HINT if self.algorithm == "Ed25519" else ""
            raise RejectedError(Code.SIGNATURE_INVALID, f"the signature does not verify with the {self}{hint}")

    def __str__(self) -> str:
        return f"{self.algorithm} key sha256:{self.fingerprint[:12]}"

    def __reduce__(self) -> tuple[Callable[..., PublicKey], tuple[bytes, tuple[str, ...]]]:
        return _restore, (self.spki, self.schemes)


def parse_public_key(pem: str | bytes, *, hash: Hash | None = None, padding: Padding = Padding.PKCS1V15) -> PublicKey:  # noqa: A002
    """The key in one PEM block, `PUBLIC KEY` or `RSA PUBLIC KEY`.

    `hash` replaces the hashes that the kind of key is tried with; `padding` is for RSA only.

    Raises: MalformedError: `malformed` when it is not exactly one such block, `unsupported` when the kind of key, its
    size, its encoding or the options do not fit what we verify, `limit_exceeded` over 64 KiB.
    """
    label, der = _read_pem(pem)
    return public_key(_load(label, der), hash=hash, padding=padding)


def public_key(key: PublicKeyTypes, *, hash: Hash | None = None, padding: Padding = Padding.PKCS1V15) -> PublicKey:  # noqa: A002
    """`key`, of a certificate or a trust root, as one that verifies. Options as for `parse_public_key`.

    Raises: MalformedError, `unsupported`.
    """
    algorithm, schemes = _schemes_of(key, hash, padding)
    return _tried_with(key, algorithm, schemes)


def parse_spki(der: bytes, *, hash: Hash | None = None, padding: Padding = Padding.PKCS1V15) -> PublicKey:  # noqa: A002
    """The key in DER, as key services hand it out. Options as for `parse_public_key`. Raises: MalformedError."""
    if len(der) > MAX_KEY_BYTES:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"public key: {len(der)} bytes, at most {MAX_KEY_BYTES} are read")
    return public_key(_load("PUBLIC KEY", der), hash=hash, padding=padding)


def tried_with(key: PublicKey, schemes: tuple[str, ...]) -> PublicKey:
    """The same key, which may have been used with any of `schemes`, at least one and all of its kind."""
    return _restore(key.spki, schemes)


@functools.lru_cache(MAX_RESTORED)
def _restore(spki: bytes, schemes: tuple[str, ...]) -> PublicKey:
    """A key that went to another process, there."""
    key = serialization.load_der_public_key(spki)
    return _tried_with(key, public_key(key).algorithm, schemes)


def _tried_with(key: PublicKeyTypes, algorithm: str, schemes: tuple[str, ...]) -> PublicKey:
    spki = _encode(key, "PUBLIC KEY")
    checks = tuple(_check_of(key, scheme) for scheme in schemes)
    return PublicKey(hashlib.sha256(spki).hexdigest(), algorithm, schemes, spki, checks)


# RFC 7468 3, strict text: one label, base64 lines, the same label; no headers and nothing around it
_PEM = re.compile(r"-----BEGIN ((?:RSA )?PUBLIC KEY)-----([A-Za-z0-9+/=\r\n]+)-----END \1-----")
_PEM_LABEL = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----")


def _read_pem(pem: str | bytes) -> tuple[str, bytes]:
    if len(pem) > MAX_KEY_BYTES:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"public key: {len(pem)} bytes, at most {MAX_KEY_BYTES} are read")
    text = (pem if isinstance(pem, str) else pem.decode("latin-1")).strip(" \t\r\n")
    block = _PEM.fullmatch(text)
    if block is None:
        raise MalformedError(Code.MALFORMED, f"public key: {_problem(text)}")
    try:
        return block[1], base64.b64decode(block[2].replace("\r", "").replace("\n", ""), validate=True)
    except binascii.Error:
        raise MalformedError(Code.MALFORMED, "public key: the PEM block is not base64") from None


def _problem(text: str) -> str:
    labels = _PEM_LABEL.findall(text)
    if any("PRIVATE KEY" in label for label in labels):
        return "this is a private key: use the public one (cosign public-key --key KEY)"
    if "CERTIFICATE" in labels:
        return "this is a certificate: use its public key (openssl x509 -pubkey -noout -in FILE)"
    if len(labels) > 1:
        return f"one PEM block expected, found {len(labels)}: name each key by itself"
    if not labels:
        return "a PEM block expected, -----BEGIN PUBLIC KEY-----, found none"
    if labels[0] in ("PUBLIC KEY", "RSA PUBLIC KEY"):
        return f"the PEM block {labels[0]} is cut short, or has text around or inside it"
    return f"a PEM block PUBLIC KEY expected, found {quote(labels[0])}"


def _load(label: str, der: bytes) -> PublicKeyTypes:
    try:
        key = serialization.load_der_public_key(der)
    except UnsupportedAlgorithm as error:
        raise _unsupported("a kind of key that is not supported") from error
    except (ValueError, OverflowError) as error:
        raise MalformedError(Code.MALFORMED, "public key: there is no public key in it") from error
    if label == "RSA PUBLIC KEY" and not isinstance(key, rsa.RSAPublicKey):
        raise MalformedError(Code.MALFORMED, "public key: the PEM block RSA PUBLIC KEY holds another kind of key")
    # One key, one encoding, as Go reads it: no compressed points, spelled-out curves or RSASSA-PSS identifiers.
    # Otherwise a key would have several fingerprints, and a PSS-only key would be used with PKCS#1 v1.5.
    if isinstance(key, _ENCODABLE) and _encode(key, label) != der:
        raise _unsupported(f"not the usual encoding of a {label} (named curve, uncompressed point, rsaEncryption)")
    return key


_ENCODABLE = (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey)


def _encode(key: PublicKeyTypes, label: str) -> bytes:
    spki = label == "PUBLIC KEY"
    form = serialization.PublicFormat.SubjectPublicKeyInfo if spki else serialization.PublicFormat.PKCS1
    return key.public_bytes(serialization.Encoding.DER, form)


_HASHES: dict[Hash, hashes.HashAlgorithm] = {
    Hash.SHA256: hashes.SHA256(),
    Hash.SHA384: hashes.SHA384(),
    Hash.SHA512: hashes.SHA512(),
}

# cosign signs with the hash of the curve, but its command line long verified everything with SHA-256: both are in use
_CURVES: dict[str, tuple[str, tuple[Hash, ...]]] = {
    "secp256r1": ("P-256", (Hash.SHA256,)),
    "secp384r1": ("P-384", (Hash.SHA384, Hash.SHA256)),
    "secp521r1": ("P-521", (Hash.SHA512, Hash.SHA256)),
}


def _schemes_of(key: PublicKeyTypes, chosen: Hash | None, padding: Padding) -> tuple[str, tuple[str, ...]]:
    match key:
        case rsa.RSAPublicKey():
            return _rsa_schemes(key, chosen or Hash.SHA256, padding)
        case ec.EllipticCurvePublicKey() | ed25519.Ed25519PublicKey() if padding is not Padding.PKCS1V15:
            raise _unsupported(f"the option padding: {padding} is for RSA keys only")
        case ec.EllipticCurvePublicKey():
            return _ecdsa_schemes(key, chosen)
        case ed25519.Ed25519PublicKey():
            return _ed25519_schemes(chosen)
    raise _unsupported(f"{type(key).__name__.removesuffix('PublicKey')} keys are not supported")


def _check_of(key: PublicKeyTypes, scheme: str) -> _Check:
    match key:
        case rsa.RSAPublicKey():
            padding = Padding.PSS if scheme.startswith(_PSS) else Padding.PKCS1V15
            return _rsa_check(key, _HASHES[Hash(scheme.removeprefix(_PSS))], padding)
        case ec.EllipticCurvePublicKey():
            return _ecdsa_check(key, _HASHES[Hash(scheme)])
        case ed25519.Ed25519PublicKey():
            return key.verify
    raise _unsupported(f"{type(key).__name__.removesuffix('PublicKey')} keys are not supported")


_PSS = "pss-"


def _ecdsa_schemes(key: ec.EllipticCurvePublicKey, chosen: Hash | None) -> tuple[str, tuple[str, ...]]:
    if key.curve.name not in _CURVES:
        raise _unsupported(f"the curve {key.curve.name} is not supported, only P-256, P-384 and P-521")
    name, usual = _CURVES[key.curve.name]
    return f"ECDSA {name}", tuple(one.value for one in (usual if chosen is None else (chosen,)))


def _ecdsa_check(key: ec.EllipticCurvePublicKey, algorithm: hashes.HashAlgorithm) -> _Check:
    scheme = ec.ECDSA(algorithm)
    half = (key.key_size + 7) // 8

    def check(signature: bytes, data: bytes) -> None:
        try:
            key.verify(signature, data, scheme)
        except InvalidSignature:
            if len(signature) != 2 * half:
                raise
            # IEEE P1363, r and s side by side, as PKCS#11 tokens and Azure write it
            r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            key.verify(encode_dss_signature(r, s), data, scheme)

    return check


def _rsa_schemes(key: rsa.RSAPublicKey, chosen: Hash, padding: Padding) -> tuple[str, tuple[str, ...]]:
    if key.key_size not in RSA_BITS:
        raise _unsupported(f"RSA keys of {key.key_size} bits are not supported, only {RSA_BITS[0]} to {RSA_BITS[-1]}")
    if key.public_numbers().e not in RSA_EXPONENTS:
        raise _unsupported("RSA keys with this exponent are not supported, only odd ones from 65537 to 2147483647")
    return f"RSA {key.key_size}", (chosen.value if padding is Padding.PKCS1V15 else f"{_PSS}{chosen.value}",)


def _rsa_check(key: rsa.RSAPublicKey, algorithm: hashes.HashAlgorithm, padding: Padding) -> _Check:
    # Signers differ in the length of the salt: Go takes the longest, key services that of the hash
    pss = rsa_padding.PSS(rsa_padding.MGF1(algorithm), rsa_padding.PSS.AUTO)
    scheme = rsa_padding.PKCS1v15() if padding is Padding.PKCS1V15 else pss

    def check(signature: bytes, data: bytes) -> None:
        key.verify(signature, data, scheme, algorithm)

    return check


def _ed25519_schemes(chosen: Hash | None) -> tuple[str, tuple[str, ...]]:
    if chosen is not None:
        raise _unsupported("the option hash: is not for Ed25519 keys, they sign the data itself (RFC 8032 5.1)")
    return "Ed25519", ("pure",)


def _unsupported(problem: str) -> MalformedError:
    return MalformedError(Code.UNSUPPORTED, f"public key: {problem}")


def _holds(check: _Check, signature: bytes, data: bytes) -> bool:
    try:
        check(signature, data)
    except InvalidSignature:
        return False
    return True
