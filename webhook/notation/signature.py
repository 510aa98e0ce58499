"""A signature of this image, whoever made it: its envelope whole, and nothing critical in it left unprocessed.

These checks are made whatever a policy's level, before it matters who signed. What is the same for every signer is
found here once: who made it, what has to be asked about its revocation, and what it proves if it is believed.

spec: Notary Project, signature specification, payload; trust policy specification, signature verification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.evidence.model import Evidence, Proof
from webhook.notation import plugin, signer
from webhook.notation.envelope import Envelope
from webhook.notation.plugin import Plugin
from webhook.notation.signer import Signing
from webhook.trust import certificates, path
from webhook.trust.notary.inquiry import ChainInquiry, Inquiry


@dataclass(frozen=True, slots=True)
class Signature:
    """`signing` is there where AWS Signer made it."""

    envelope: Envelope
    signing: Signing | None

    @property
    def whom(self) -> str:
        """Who signed, for a message; whether anybody believes it is another question."""
        return f"AWS Signer, {self.signing.profile}" if self.signing else path.name_of(self.envelope.chain[0])

    @property
    def authority(self) -> str:
        """Who says when it was signed, under the scheme of signing authorities."""
        return "AWS Signer" if self.signing else self.root

    @property
    def root(self) -> str:
        """The subject of its root, for a message."""
        return path.name_of(self.envelope.chain[-1])

    def inquiry(self, signed_at: datetime | None) -> Inquiry:
        """What has to be asked about its revocation; `signed_at` is when it was signed, where that is beyond doubt."""
        if self.signing is not None:
            return signer.inquiry(self.envelope, self.signing)
        return ChainInquiry(self.envelope.ders, signed_at)

    def proof(self) -> Proof:
        """What it proves, but for the time."""
        key, *authorities = map(_key_fingerprint, self.envelope.chain)
        fingerprint, *others = (hashlib.sha256(der).hexdigest() for der in self.envelope.ders)
        chain = zip(self.envelope.chain, self.envelope.ders, strict=True)
        return Proof(
            material=f"profile:{self.signing.profile.profile}".lower() if self.signing else f"spki:{key}",
            key_fingerprint=key,
            certificate_fingerprint=fingerprint,
            # Whoever blocks an authority blocks what it signed, so the others of the chain count as the leaf does
            certificate_twins=(*others, *(twin for one, der in chain for twin in certificates.twins(one, der))),
            authority_keys=tuple(authorities),
            claimed_at=self.envelope.signed_at,
            annotations=self.envelope.target.annotations,
        )


def read(envelope: Envelope, evidence: Evidence, plugins: Mapping[str, Plugin]) -> Signature:
    """The signature in `envelope`, which is about the image of `evidence` and processed here in all that is critical.

    Raises: RejectedError: `subject_mismatch`, `verification_plugin_unavailable`, `critical_attribute_unprocessed`;
    MalformedError: `unsupported` for an envelope that AWS Signer does not make and that says it did, `malformed`.
    """
    _check_subject(envelope, evidence)
    asked = plugin.required(envelope, plugins)
    signing = signer.parse(envelope) if asked is not None and asked.name == signer.PLUGIN.name else None
    try:
        _ = envelope.chain[0].subject  # which is read when it is asked for; from here on nobody needs to be prepared
    except certificates.UNREADABLE as error:
        raise MalformedError(Code.MALFORMED, f"chain: a subject cannot be read: {type(error).__name__}") from error
    return Signature(envelope, signing)


def _key_fingerprint(certificate: x509.Certificate) -> str:
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def _check_subject(envelope: Envelope, evidence: Evidence) -> None:
    """Notary Project, signature specification, payload: media type, digest and size of what was signed."""
    signed, described = envelope.target, evidence.described
    if signed.digest != str(evidence.subject):
        raise _mismatch(f"the digest {evidence.subject} expected, and {quote(signed.digest)} was signed")
    if described is None:
        return
    if signed.media_type != described.media_type:
        expected, found = quote(described.media_type, max_chars=100), quote(signed.media_type, max_chars=100)
        raise _mismatch(f"the media type {expected} expected, and {found} was signed")
    if signed.size != described.size:
        raise _mismatch(f"{described.size} bytes expected, and {signed.size} were signed")


def _mismatch(problem: str) -> RejectedError:
    return RejectedError(Code.SUBJECT_MISMATCH, problem)
