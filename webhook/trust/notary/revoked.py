"""One revocation as an authority states it, and whose signature makes such a statement count.

Both kinds of statements, OCSP responses and revocation lists, come over plain http from whoever answers, so that the
signature of the certificate's issuer is all that holds them up. What is wrong with a statement never proves anything
about the certificate: every problem is an `InconclusiveError`.

spec: RFC 5280 5.3; Notary Project, signature specification, revocation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from webhook.errors import Code, InconclusiveError
from webhook.trust import path
from webhook.trust.certificates import UNREADABLE

SHA2 = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True)
class Revocation:
    """`invalid_from` is when the key must be taken for compromised, which may be long before `at`."""

    at: datetime  # aware, UTC
    reason: x509.ReasonFlags | None = None
    invalid_from: datetime | None = None

    def counts(self, signed_at: datetime | None) -> bool:
        """Whether it is against what was authentically signed at `signed_at`; `None` where nobody vouches for a time.

        Notary Project, signature specification, invalidity date: what was signed before it stays good.
        """
        return signed_at is None or self.invalid_from is None or signed_at >= self.invalid_from


def unusable(problem: str) -> InconclusiveError:
    """The error that a statement says nothing, or nothing that may be believed."""
    return InconclusiveError(Code.REVOCATION_UNKNOWN, problem)


def verify_signature(
    issuer: x509.Certificate,
    signature: bytes,
    signed: bytes | memoryview,
    algorithm: hashes.HashAlgorithm | None,
    rsa_padding: padding.AsymmetricPadding | None = None,
) -> None:
    """The key of `issuer` made `signature` over `signed`; with RSA, padded as in PKCS #1 v1.5 unless told otherwise.

    Raises: InconclusiveError.
    """
    if not isinstance(algorithm, SHA2):
        raise unusable("it is signed with another hash than SHA-2")
    try:
        key = issuer.public_key()
        digest = hashlib.new(algorithm.name, signed).digest()  # other threads go on meanwhile, however much it is
        if isinstance(key, rsa.RSAPublicKey) and path.is_affordable(key):
            key.verify(signature, digest, rsa_padding or padding.PKCS1v15(), Prehashed(algorithm))
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(Prehashed(algorithm)))
        else:
            raise unusable("the key of its signer is of a kind or size that is not supported")
    except (InvalidSignature, *UNREADABLE):
        raise unusable("its signature is not the issuer's") from None
