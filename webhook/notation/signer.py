"""Signatures by AWS Signer: what they say of themselves, whose they are, and what is asked about them.

This is the work of AWS's plug-in for Notation, without the plug-in. All customers of AWS have the same leaf subject
under the same root, so who signed is the profile's ARN in the envelope, and nothing else. That a profile or a job was
revoked is known to AWS alone; asking it is left to whoever may.

spec: aws-signer-notation-plugin 1.0.350; AWS Signer API reference, GetRevocationStatus.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.evidence.model import JWS_ENVELOPE
from webhook.notation.envelope import Envelope, Scheme
from webhook.notation.plugin import Plugin
from webhook.trust.notary import profile
from webhook.trust.notary.inquiry import SignerInquiry
from webhook.trust.notary.profile import ProfileARN, SigningProfile

PROFILE_VERSION = "com.amazonaws.signer.signingProfileVersion"
JOB = "com.amazonaws.signer.signingJob"
PLUGIN = Plugin("com.amazonaws.signer.notation.plugin", "1.0.350", frozenset({PROFILE_VERSION, JOB}))


@dataclass(frozen=True, slots=True)
class Signing:
    """What AWS Signer says of one signature: under which version of a profile, in which job; ARNs of one partition."""

    profile: ProfileARN
    job: str


def parse(envelope: Envelope) -> Signing:
    """What `envelope`, which asks for `PLUGIN`, says of itself, as AWS Signer writes it.

    Raises: MalformedError, `unsupported`, for COSE; RejectedError: `verification_plugin_unavailable` for another
    scheme, `critical_attribute_unprocessed` when an attribute is missing, not critical or not such an ARN.
    """
    if envelope.media_type != JWS_ENVELOPE:
        raise MalformedError(Code.UNSUPPORTED, "AWS Signer makes JWS envelopes, and this is another one")
    if envelope.scheme is not Scheme.SIGNING_AUTHORITY:
        raise RejectedError(
            Code.VERIFICATION_PLUGIN_UNAVAILABLE,
            f"AWS Signer signs under the scheme {Scheme.SIGNING_AUTHORITY}, found {envelope.scheme}",
        )
    signed = _profile(_text(envelope, PROFILE_VERSION))
    job = _text(envelope, JOB)
    found = _JOB.fullmatch(job)
    if found is None:
        raise _unprocessed(f"{JOB}: the ARN of a signing job expected, found {quote(job)}")
    if found["partition"] != signed.partition:
        raise _unprocessed(f"the profile is of the partition {signed.partition}, and the job of {found['partition']}")
    return Signing(signed, job)


def verify(signing: Signing, trusted: SigningProfile) -> None:
    """`signing` was made under the profile that is `trusted`. Raises: RejectedError, `identity_mismatch`."""
    if not trusted.arn.covers(signing.profile):
        raise RejectedError(Code.IDENTITY_MISMATCH, f"signed under {signing.profile}, not under {trusted.arn}")


def inquiry(envelope: Envelope, signing: Signing) -> SignerInquiry:
    """What AWS Signer is asked to know whether anything of this signature was revoked."""
    return SignerInquiry(
        partition=signing.profile.partition,
        region=signing.profile.region,
        signed_at=envelope.signed_at.replace(microsecond=0),
        profile_version_arn=str(signing.profile),
        job_arn=signing.job,
        certificate_hashes=certificate_hashes(envelope.chain),
    )


def certificate_hashes(chain: Sequence[x509.Certificate]) -> tuple[str, ...]:
    """One for each certificate: the hash of what was signed of it, then that of its issuer; a root is its own."""
    hashes = [hashlib.sha384(certificate.tbs_certificate_bytes).hexdigest() for certificate in chain]
    return tuple(own + issuer for own, issuer in zip(hashes, [*hashes[1:], hashes[-1]], strict=True))


_JOB = re.compile(
    f"arn:(?P<partition>{profile.PARTITION}):signer:{profile.REGION}:{profile.ACCOUNT}:/signing-jobs/[0-9a-f-]{{36}}"
)


def _text(envelope: Envelope, attribute: str) -> str:
    value = envelope.extended.get(attribute)
    if not isinstance(value, str) or attribute not in envelope.critical:
        raise _unprocessed(f"{attribute}: expected as text, and critical")
    return value


def _profile(text: str) -> ProfileARN:
    try:
        signed = ProfileARN.parse(text)
    except MalformedError as error:
        raise _unprocessed(f"{PROFILE_VERSION}: {error.detail}") from error
    if not signed.version or str(signed) != text:  # what AWS writes has a version, and its region in lower case
        raise _unprocessed(f"{PROFILE_VERSION}: the ARN of a profile version expected, found {quote(text)}")
    return signed


def _unprocessed(problem: str) -> RejectedError:
    return RejectedError(Code.CRITICAL_ATTRIBUTE_UNPROCESSED, problem)
