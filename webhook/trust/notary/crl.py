"""Revocation lists: which are believed, and what they say of one certificate.

A list counts that the certificate's issuer signed, that is current, and that is for certificates such as this one: a
list over plain http may be another one of the same issuer's. Whatever stands in a list that is not known and critical
makes it say nothing. A delta list changes the base list that names it, and only that one. Indirect lists, which another
authority signs, are not supported.

spec: RFC 5280 5, 6.3; Notary Project, signature specification, revocation with CRLs.
"""

from __future__ import annotations

import base64
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding

from webhook.trust.certificates import UNREADABLE, extension, is_authority
from webhook.trust.notary.revoked import Revocation, unusable, verify_signature

# RFC 5280 5.2.5: the reasons by which a list may be divided
ALL_REASONS = frozenset(x509.ReasonFlags) - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}

_PEM = (b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----")
_KNOWN = (x509.IssuingDistributionPoint, x509.CRLNumber, x509.AuthorityKeyIdentifier, x509.DeltaCRLIndicator)
_LIFTED = x509.ReasonFlags.remove_from_crl
_TEMPORARY = (x509.ReasonFlags.certificate_hold, _LIFTED)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What one list says of one certificate; `base_number` is there in a delta list, `deltas` are where its own are."""

    until: datetime
    entry: Revocation | None
    number: int | None
    base_number: int | None
    scope: x509.IssuingDistributionPoint | None
    deltas: tuple[x509.DistributionPoint, ...]

    @property
    def reasons(self) -> Set[x509.ReasonFlags]:
        """Those for which a certificate would stand in it."""
        some = self.scope.only_some_reasons if self.scope is not None else None
        return ALL_REASONS if some is None else some


def read(
    data: bytes,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    names: Set[x509.GeneralName],
    now: datetime,
) -> RevocationList:
    """What the list `data`, DER or PEM, says of `certificate`, and may be believed at `now`.

    `names` are all by which the certificate calls the places of its lists. A list of 20 MiB takes about 0.1 s.

    Raises: InconclusiveError.
    """
    try:
        der = _der(data)
        crl = x509.load_der_x509_crl(der)
        _verify(crl, der, issuer)
        if crl.next_update_utc is None:  # RFC 5280 5.1.2.5
            raise unusable("the list does not say until when it holds")
        if crl.next_update_utc < now:
            raise unusable(f"the list held until {crl.next_update_utc:%Y-%m-%d %H:%M:%S}Z")
        return _about(certificate, crl, crl.next_update_utc, names)
    except UNREADABLE as error:
        raise unusable(f"the list cannot be read ({type(error).__name__})") from None


def revocations(base: RevocationList, delta: RevocationList | None = None) -> tuple[Revocation, ...]:
    """The revocations that both together state; a delta lifts a hold, and nothing else.

    `delta` is the one that `base` names. Raises: InconclusiveError.
    """
    if base.base_number is not None:
        raise unusable("the list is a delta list, which says nothing alone")
    if delta is not None:
        _check_delta(base, delta)
    latest_first = [one.entry for one in (delta, base) if one is not None and one.entry is not None]
    final = tuple(entry for entry in latest_first if entry.reason not in _TEMPORARY)
    return final or tuple(entry for entry in latest_first[:1] if entry.reason is not _LIFTED)


def _der(data: bytes) -> bytes:
    if not data.startswith(b"-----"):
        return data
    begin, end = data.find(_PEM[0]), data.find(_PEM[1])
    if begin != 0 or end < 0:
        raise unusable("the list is neither DER nor PEM")
    return base64.b64decode(memoryview(data)[len(_PEM[0]) : end])


def _verify(crl: x509.CertificateRevocationList, der: bytes, issuer: x509.Certificate) -> None:
    if crl.issuer != issuer.subject:
        raise unusable("the list is by another issuer")
    usage = extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.value.crl_sign:  # RFC 5280 4.2.1.3
        raise unusable("the issuer's certificate is not for signing lists")
    parameters = crl.signature_algorithm_parameters
    rsa_padding = parameters if isinstance(parameters, padding.PSS) else None
    verify_signature(issuer, crl.signature, _signed(der), crl.signature_hash_algorithm, rsa_padding)


def _signed(der: bytes) -> memoryview:
    """What was signed, of a list that has been read: asked for it, the library would encode the list anew, and hold up
    all other threads for it, 0.2 s with 20 MiB."""
    start, _ = _content(der, 0)
    begin, length = _content(der, start)
    return memoryview(der)[start : begin + length]


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins, and its length. X.690 8.1.3"""
    first = der[at + 1]
    begin = at + 2 + (first & 0x7F if first & 0x80 else 0)
    return begin, int.from_bytes(der[at + 2 : begin]) if first & 0x80 else first


def _about(
    certificate: x509.Certificate, crl: x509.CertificateRevocationList, until: datetime, names: Set[x509.GeneralName]
) -> RevocationList:
    number = base_number = scope = None
    deltas: tuple[x509.DistributionPoint, ...] = ()
    for one in crl.extensions:
        match one.value:
            case x509.CRLNumber():
                number = one.value.crl_number
            case x509.DeltaCRLIndicator():
                base_number = one.value.crl_number
            case x509.IssuingDistributionPoint():
                scope = one.value
                _check_scope(scope, certificate, names)
            case x509.FreshestCRL():
                deltas = tuple(one.value)
        if one.critical and not isinstance(one.value, _KNOWN):  # RFC 5280 5.2
            raise unusable("the list has a critical extension that is not known")
    return RevocationList(until, _entry(crl, certificate.serial_number), number, base_number, scope, deltas)


def _check_scope(
    scope: x509.IssuingDistributionPoint, certificate: x509.Certificate, names: Set[x509.GeneralName]
) -> None:
    if scope.indirect_crl:
        raise unusable("the list is an indirect one, which is not supported")
    # RFC 5280 6.3.3 (b)(2): that the certificate is not in it means something only where it could be
    excluded = scope.only_contains_user_certs if is_authority(certificate) else scope.only_contains_ca_certs
    if excluded or scope.only_contains_attribute_certs:
        raise unusable("the list is for certificates of another kind")
    if scope.relative_name is not None or (scope.full_name is not None and names.isdisjoint(scope.full_name)):
        raise unusable("the list is of another distribution point")


def _entry(crl: x509.CertificateRevocationList, serial_number: int) -> Revocation | None:
    found = crl.get_revoked_certificate_by_serial_number(serial_number)
    if found is None:
        return None
    reason = invalid_from = None
    for one in found.extensions:
        match one.value:
            case x509.CRLReason():
                reason = one.value.reason
            case x509.InvalidityDate():
                invalid_from = one.value.invalidity_date_utc
            case _ if one.critical:  # RFC 5280 5.3
                raise unusable("the certificate's entry in the list has a critical extension that is not known")
    return Revocation(found.revocation_date_utc, reason, invalid_from)


def _check_delta(base: RevocationList, delta: RevocationList) -> None:
    # RFC 5280 5.2.4, 6.3.3 (c)
    if base.number is None or delta.number is None or delta.base_number is None:
        raise unusable("a base list or its delta list is without the number that joins them")
    if not delta.base_number <= base.number < delta.number:
        raise unusable("the delta list does not follow the base list")
    if delta.scope != base.scope:
        raise unusable("the delta list is for other certificates than the base list")
