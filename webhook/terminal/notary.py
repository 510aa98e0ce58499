"""What a Notary Project signature says of itself, before anybody has verified it: scheme, leaf, times, profile.

All of it is hearsay, as in `claims`: whoever wrote the envelope chose it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from webhook.errors import CountersignError
from webhook.evidence.model import COSE_ENVELOPE
from webhook.notation import attributes, envelope, signer
from webhook.notation.attributes import Candidate
from webhook.trust import certificates

MAX_SHOWN = 1024  # characters of one attribute


@dataclass(frozen=True, slots=True)
class Notary:
    """`subject` is the leaf's and `root` that of the last certificate in the envelope; `signed_at` is the signer's own
    word under the scheme notary.x509. `plugin`, `profile` and `job` are empty where they are not said."""

    envelope: str  # JWS or COSE
    scheme: str
    subject: str
    root: str
    signed_at: datetime
    expires_at: datetime | None
    plugin: str
    profile: str  # ARN of a profile version of AWS Signer
    job: str
    about: str  # the digest that was signed, empty where the payload cannot be read
    agent: str  # not even signed

    @property
    def facts(self) -> Iterator[tuple[str, str]]:
        """What is said, by name, for people."""
        yield "subject", self.subject
        if self.root != self.subject:
            yield "root", self.root
        yield "scheme", self.scheme
        yield "signed", told_time(self.signed_at)
        if self.expires_at is not None:
            yield "expires", told_time(self.expires_at)
        said = (("plugin", self.plugin), ("profile", self.profile), ("job", self.job), ("agent", self.agent))
        yield from ((name, value) for name, value in said if value)

    @property
    def document(self) -> Mapping[str, object]:
        """What is said, for programs."""
        return {
            "envelope": self.envelope,
            "scheme": self.scheme,
            "subject": self.subject,
            "root": self.root,
            "signed_at": self.signed_at.isoformat(),
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "plugin": self.plugin or None,
            "profile": self.profile or None,
            "job": self.job or None,
            "about": self.about or None,
            "agent": self.agent or None,
        }


def told_time(at: datetime) -> str:
    """A time as people read it."""
    return f"{at:%Y-%m-%d %H:%M:%SZ}"


def heard(payload: bytes, media_type: str) -> Notary:
    """What the envelope in `payload` says of itself. Raises: MalformedError."""
    said = envelope.parse(payload, media_type)
    header = said.attributes
    return Notary(
        envelope="COSE" if media_type == COSE_ENVELOPE else "JWS",
        scheme=header.scheme,
        subject=_name(said.chain[0]),
        root=_name(said.chain[-1]),
        signed_at=header.signed_at,
        expires_at=header.expires_at,
        plugin=_text(said, attributes.PLUGIN),
        profile=_text(said, signer.PROFILE_VERSION),
        job=_text(said, signer.JOB),
        about=_about(said),
        agent=said.signing_agent[:MAX_SHOWN],
    )


def _name(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string()[:MAX_SHOWN]
    except certificates.UNREADABLE:
        return "a certificate that cannot be read"


def _text(said: Candidate, attribute: str) -> str:
    value = said.attributes.extended.get(attribute)
    return value[:MAX_SHOWN] if isinstance(value, str) else ""


def _about(said: Candidate) -> str:
    try:
        return envelope.claimed_target(said).digest[:MAX_SHOWN]
    except CountersignError:
        return ""
