"""A timestamp authority in memory, whose clock shows whatever time it is asked for.

spec: RFC 3161 2.4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.private_sigstore.authority import Authority
from tests.trust import tokens
from tests.trust.tokens import NONE, PLAIN, Details, Mistakes


@dataclass(frozen=True, slots=True)
class Clock:
    """`authority` is the clock's own key and certificate, and the chain above."""

    authority: Authority

    def stamp(
        self, message: bytes, at: datetime, *, embed: bool = True, details: Details = PLAIN, mistakes: Mistakes = NONE
    ) -> bytes:
        """A DER TimeStampResp: `message` existed at `at`. `embed` puts the clock's certificate in."""
        key = self.authority.key.private
        assert not isinstance(key, ed25519.Ed25519PrivateKey)
        certificate = self.authority.certificate
        return tokens.make_response(
            message, key=key, certificate=certificate, at=at, embed=embed, details=details, mistakes=mistakes
        )
