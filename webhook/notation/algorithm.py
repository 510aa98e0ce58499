"""How an envelope is signed: the one algorithm that belongs to the key of its leaf, and the check of the signature.

Nothing in an envelope chooses how it is checked. What it names must be the algorithm of the key: `none`, keyed hashes
and PKCS#1 v1.5 are therefore never an option.

spec: Notary Project, signature specification, signature algorithm requirements; RFC 7518 3.4, 3.5; RFC 8230 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from webhook.errors import Code, RejectedError, TamperedError, quote
from webhook.trust import path
from webhook.trust.certificates import UNREADABLE

_Check = Callable[[bytes, bytes], None]  # signature, message; raises InvalidSignature


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key of a leaf, of a kind that may sign. `algorithm` is a name of RFC 7518 3.1."""

    algorithm: str
    _check: _Check = field(repr=False, compare=False)

    def verify(self, signature: bytes, message: bytes, *, algorithm: str) -> None:
        """`signature` over `message` was made with this key, and its envelope names the `algorithm` of the key.

        Raises: TamperedError, `signature_invalid`.
        """
        if algorithm != self.algorithm:
            found = quote(algorithm, max_chars=60)
            raise _wrong(f"the algorithm of its signing certificate is {self.algorithm}, found {found}")
        try:
            self._check(signature, message)
        except InvalidSignature:
            raise _wrong("changed after it was signed: its own certificate does not verify it") from None


_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
_RSA: dict[int, tuple[str, hashes.HashAlgorithm]] = {
    2048: ("PS256", _SHA256),
    3072: ("PS384", _SHA384),
    4096: ("PS512", _SHA512),
}
_CURVES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "secp256r1": ("ES256", _SHA256),
    "secp384r1": ("ES384", _SHA384),
    "secp521r1": ("ES512", _SHA512),
}


def signing_key(leaf: x509.Certificate) -> SigningKey:
    """The key in `leaf`. Raises: RejectedError, `cert_chain_invalid`: of a kind, size or exponent that may not sign."""
    try:
        key = leaf.public_key()
    except UNREADABLE as error:
        raise _unfit("cannot be read") from error
    match key:
        case rsa.RSAPublicKey() if key.key_size in _RSA and path.is_affordable(key):
            name, algorithm = _RSA[key.key_size]
            return SigningKey(name, _rsa_check(key, algorithm))
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            name, algorithm = _CURVES[key.curve.name]
            return SigningKey(name, _ecdsa_check(key, algorithm))
    raise _unfit("RSA 2048, 3072, 4096 or ECDSA P-256, P-384, P-521 expected")


def _rsa_check(key: rsa.RSAPublicKey, algorithm: hashes.HashAlgorithm) -> _Check:
    scheme = padding.PSS(padding.MGF1(algorithm), padding.PSS.DIGEST_LENGTH)  # RFC 7518 3.5: salt as long as the hash

    def check(signature: bytes, message: bytes) -> None:
        key.verify(signature, message, scheme, algorithm)

    return check


def _ecdsa_check(key: ec.EllipticCurvePublicKey, algorithm: hashes.HashAlgorithm) -> _Check:
    scheme, half = ec.ECDSA(algorithm), (key.key_size + 7) // 8

    def check(signature: bytes, message: bytes) -> None:
        if len(signature) != 2 * half:  # RFC 7518 3.4: r and s side by side, each as long as the field
            raise InvalidSignature
        r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
        key.verify(encode_dss_signature(r, s), message, scheme)

    return check


def _wrong(problem: str) -> TamperedError:
    return TamperedError(f"envelope: {problem}", Code.SIGNATURE_INVALID)


def _unfit(problem: str) -> RejectedError:
    return RejectedError(Code.CERT_CHAIN_INVALID, f"the key of the signing certificate: {problem}")
