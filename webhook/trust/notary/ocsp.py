"""OCSP: what a responder is asked about one certificate, and what its answer is worth.

An answer counts that the certificate's issuer signed, or a delegate that the issuer certified for it and that need not
itself be looked up. It is about exactly the certificate asked for, and current. A nonce is not sent: responders answer
from what they signed ahead, and the time until which an answer holds guards against old ones; one that names no such
time must be young.

spec: RFC 6960 4.2, 4.2.2.2; RFC 5019; Notary Project, signature specification, revocation with OCSP.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from webhook.errors import InconclusiveError, RejectedError
from webhook.trust import path
from webhook.trust.certificates import UNREADABLE, extension
from webhook.trust.notary.revoked import SHA2, Revocation, unusable, verify_signature

MAX_AGE = timedelta(hours=1)  # of an answer that does not say until when it holds: anybody may send it for ever
MAX_DELEGATES = 3  # that an answer may carry; real ones have one. Each costs the check of two signatures


@dataclass(frozen=True, slots=True)
class Standing:
    """What a responder says of the certificate: good where `revocation` is `None`. It holds `until`, if it says so."""

    revocation: Revocation | None
    until: datetime | None


def request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """The question about `certificate`, DER. Raises: any of `UNREADABLE`."""
    # SHA-1 names the issuer, and nothing is believed for it: it is what responders look certificates up by
    asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303
    return asked.build().public_bytes(serialization.Encoding.DER)


def read(data: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> Standing:
    """What the response `data` says of `certificate`, and may be believed at `now`. Raises: InconclusiveError."""
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise unusable(f"the responder answered {response.response_status.name.lower()}")
        _verify(response, issuer, now)
        _check_subject(response, ocsp.load_der_ocsp_request(request(certificate, issuer)))
        _check_time(response, now)
        return Standing(_revocation(response), response.next_update_utc)
    except UNREADABLE as error:
        raise unusable(f"the response cannot be read ({type(error).__name__})") from None


def _verify(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> None:
    delegates = [one for one in response.certificates if one != issuer]
    if len(delegates) > MAX_DELEGATES:
        raise unusable(f"the response carries over {MAX_DELEGATES} certificates")
    problem = unusable("nobody signed the response")
    for signer in (issuer, *delegates):
        try:
            if signer is not issuer:
                _check_delegate(signer, issuer, now)
            algorithm = response.signature_hash_algorithm
            verify_signature(signer, response.signature, response.tbs_response_bytes, algorithm)
        except InconclusiveError as error:
            problem = error
        else:
            return
    raise problem


def _check_delegate(delegate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> None:
    # RFC 6960 4.2.2.2: issued directly by the CA that issued the certificate in question, for this purpose
    purposes = extension(delegate, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes.value:
        raise unusable("the responder's certificate is not for signing OCSP responses")
    if not _is_issued(delegate, issuer):
        raise unusable("the responder's certificate is not by the issuer")
    if not delegate.not_valid_before_utc <= now <= delegate.not_valid_after_utc:
        raise unusable("the responder's certificate is not valid now")
    if extension(delegate, x509.OCSPNoCheck) is None:  # RFC 6960 4.2.2.2.1; else it had to be looked up in turn
        raise unusable("the responder's certificate might itself be revoked (it is without id-pkix-ocsp-nocheck)")
    try:
        path.check_critical(delegate)
    except RejectedError:
        raise unusable("the responder's certificate has a critical extension that is not known") from None


def _is_issued(delegate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if not isinstance(delegate.signature_hash_algorithm, SHA2):
        return False
    try:
        delegate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _check_subject(response: ocsp.OCSPResponse, asked: ocsp.OCSPRequest) -> None:
    # RFC 5019 2.2.1: one certificate was asked for, so that one answer is expected
    if len(list(response.responses)) != 1:
        raise unusable("the response is not about one certificate")
    about = (response.issuer_name_hash, response.issuer_key_hash, response.serial_number)
    if about != (asked.issuer_name_hash, asked.issuer_key_hash, asked.serial_number):
        raise unusable("the response is about another certificate")
    known = (x509.OCSPNonce, x509.CRLReason, x509.InvalidityDate)
    for one in (*response.extensions, *response.single_extensions):
        if one.critical and not isinstance(one.value, known):
            raise unusable("the response has a critical extension that is not known")


def _check_time(response: ocsp.OCSPResponse, now: datetime) -> None:
    until = response.next_update_utc
    if now < response.this_update_utc:
        raise unusable(f"the response holds only from {response.this_update_utc:%Y-%m-%d %H:%M:%S}Z on")
    if until is not None and until < now:
        raise unusable(f"the response held until {until:%Y-%m-%d %H:%M:%S}Z")
    if until is None and now - response.this_update_utc > MAX_AGE:  # RFC 6960 3.2 (5), 4.2.2.1
        raise unusable(f"the response is of {response.this_update_utc:%Y-%m-%d %H:%M:%S}Z, and without an end")


def _revocation(response: ocsp.OCSPResponse) -> Revocation | None:
    match response.certificate_status:
        case ocsp.OCSPCertStatus.GOOD:
            return None
        case ocsp.OCSPCertStatus.UNKNOWN:
            raise unusable("the responder does not know the certificate")
    at = response.revocation_time_utc
    assert at is not None  # RFC 6960 4.2.1: RevokedInfo begins with it
    dates = [one.value for one in response.single_extensions if isinstance(one.value, x509.InvalidityDate)]
    invalid_from = dates[0].invalidity_date_utc if dates else None
    return Revocation(at, response.revocation_reason, invalid_from)
