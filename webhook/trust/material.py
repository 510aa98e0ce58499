"""What an operator trusts, as values: public keys, with the signature schemes that each may have been used with.

spec: cosign key formats; FIPS 186-5; RFC 8017; RFC 8032; see docs/keys.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Hash(StrEnum):
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


class Padding(StrEnum):
    PKCS1V15 = "pkcs1v15"
    PSS = "pss"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that was checked to be of a kind we verify with.

    `fingerprint` is the lower-case hex SHA-256 of its DER SPKI; `algorithm` is for people: `ECDSA P-256`, `RSA 3072`.
    """

    fingerprint: str
    algorithm: str

    def verify(self, signature: bytes, data: bytes) -> None:
        """`signature` over `data` was made with this key. Raises: RejectedError, `signature_invalid`."""
        raise NotImplementedError


def parse_public_key(pem: str | bytes, *, hash: Hash | None = None, padding: Padding = Padding.PKCS1V15) -> PublicKey:  # noqa: A002
    """The key in one PEM block, `PUBLIC KEY` or `RSA PUBLIC KEY`.

    Raises: MalformedError: `malformed` when it is not exactly one such block, `unsupported` when the kind of key, its
    size or the options do not fit what we verify, `limit_exceeded` over 64 KiB.
    """
    raise NotImplementedError
