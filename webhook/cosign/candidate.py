"""A signature as it was found, in one shape for every form it may be wrapped in; nothing of it is believed yet.

`legacy` and `bundle` make candidates, `material` looks for who vouches for one, `verifier` holds it against signers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from webhook.cosign.certificate import Leaf
from webhook.cosign.entry import Logged
from webhook.cosign.log import LogEntry
from webhook.trust.material import PublicKey

# By which a signer of this kind of key hashes what is signed, besides SHA-256 which old clients take for all
_OWN_HASH = {"ECDSA P-384": "sha384", "ECDSA P-521": "sha512"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """`message` are the bytes that `signature` is over. `leaf` is the certificate that came along, if one did.

    `timestamps` are DER TimeStampResp over one of `stamped`. `payload` is that of a DSSE envelope, and `envelope` the
    layer of a `.att` manifest, which older clients logged and stamped whole.
    """

    signature: bytes = field(repr=False)
    message: bytes = field(repr=False)
    leaf: Leaf | None = None
    entries: tuple[LogEntry, ...] = ()
    timestamps: tuple[bytes, ...] = field(default=(), repr=False)
    payload: bytes | None = field(default=None, repr=False)
    envelope: bytes | None = field(default=None, repr=False)

    @property
    def stamped(self) -> tuple[bytes, ...]:
        return (self.signature,) if self.envelope is None else (self.signature, self.envelope)

    def logged_by(self, key: PublicKey | None) -> Logged:
        """What a log entry of this must be about, where `key` made it; `None`: the certificate's."""
        if key is None:
            assert self.leaf is not None  # an identity is only held against a certificate
            return self._logged(self.leaf.key, self.leaf.der, by_certificate=True, beside=None)
        beside = self.leaf.der if self.leaf is not None else None
        return self._logged(key, key.spki, by_certificate=False, beside=beside)

    def _logged(self, key: PublicKey, verifier: bytes, *, by_certificate: bool, beside: bytes | None) -> Logged:
        names = ("sha256", _OWN_HASH[key.algorithm]) if key.algorithm in _OWN_HASH else ("sha256",)
        return Logged(
            signature=self.signature,
            verifier=verifier,
            by_certificate=by_certificate,
            key=key,
            digests={name: hashlib.new(name, self.message).digest() for name in names},
            payload=self.payload,
            envelope=self.envelope,
            beside=beside,
        )
