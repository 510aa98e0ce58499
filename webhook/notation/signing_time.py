"""When an envelope was signed, by whose clock, and that its certificates were valid then: the fourth check.

The signing time of the scheme notary.x509 is a claim of the signer's and decides nothing. There a timestamp authority
says when, if the rule names one, and otherwise only the present counts. Whether the authority's own certificates were
revoked is handed back as a question.

spec: Notary Project, trust store and trust policy specification, authentic timestamp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.errors import Code, MalformedError, RejectedError
from webhook.evidence.model import SignedTime
from webhook.notation.envelope import Envelope, Scheme
from webhook.notation.signature import Signature
from webhook.trust import path, timestamp
from webhook.trust.notary.inquiry import ChainInquiry
from webhook.trust.notary.levels import VerifyTimestamp
from webhook.trust.notary.stores import TrustStore


@dataclass(frozen=True, slots=True)
class Clock:
    """Whom a rule believes about the time: `stores` are of the type `tsa`, and may be none."""

    stores: tuple[TrustStore, ...] = ()
    used: VerifyTimestamp = VerifyTimestamp.ALWAYS


@dataclass(frozen=True, slots=True)
class Told:
    """`time` is `None` where nobody but the signer says one; `inquiry` is about the chain of a timestamp authority."""

    time: SignedTime | None = None
    inquiry: ChainInquiry | None = None


def verify(signature: Signature, clock: Clock, *, now: datetime) -> Told:
    """Each certificate of `signature` was valid when it was made, or is valid `now` where nobody can say when.

    Raises: RejectedError, `time_invalid`.
    """
    envelope = signature.envelope
    if envelope.scheme is Scheme.SIGNING_AUTHORITY:  # in which a countersignature has no part
        _check_validity(envelope, envelope.signed_at, envelope.signed_at, "signed")
        return Told(SignedTime(envelope.signed_at, signature.authority))
    if not _is_used(envelope, clock, now):
        _check_validity(envelope, now, now, "verified")
        return Told()
    return _countersigned(envelope, clock.stores)


def _is_used(envelope: Envelope, clock: Clock, now: datetime) -> bool:
    if not clock.stores or clock.used is VerifyTimestamp.ALWAYS:
        return bool(clock.stores)
    return any(now > certificate.not_valid_after_utc for certificate in envelope.chain)


def _countersigned(envelope: Envelope, stores: tuple[TrustStore, ...]) -> Told:
    if not envelope.timestamp_token:
        raise _invalid("it has no countersignature of a timestamp authority, which the policy demands")
    try:
        token = timestamp.parse_token(envelope.timestamp_token)
        stamp = timestamp.verify(token, envelope.signature, roots=tuple(_roots(stores)))
    except (MalformedError, RejectedError) as error:
        # Notary Project, authentic timestamp: whatever is wrong with a countersignature is wrong with the time
        raise _invalid(error.detail) from error
    _check_validity(envelope, stamp.time - stamp.accuracy, stamp.time + stamp.accuracy, "timestamped")
    chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in stamp.chain)
    return Told(SignedTime(stamp.time, path.name_of(stamp.chain[0])), ChainInquiry(chain))


def _roots(stores: tuple[TrustStore, ...]) -> Iterator[x509.Certificate]:
    return (x509.load_der_x509_certificate(der) for store in stores for der in store.certificates)


def _check_validity(envelope: Envelope, earliest: datetime, latest: datetime, what: str) -> None:
    """Each certificate was valid from `earliest` to `latest`."""
    for certificate in envelope.chain:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not (start <= earliest and latest <= end):
            named = path.name_of(certificate)
            raise _invalid(
                f"{what} at {_written(latest)}, but the certificate {named} was valid from {_written(start)}"
                f" to {_written(end)}"
            )


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _invalid(problem: str) -> RejectedError:
    return RejectedError(Code.TIME_INVALID, problem)
