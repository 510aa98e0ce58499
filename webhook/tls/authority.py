"""The authority that serving certificates are issued by: made here, or read from PEM that somebody kept.

A certificate issued here is what an API server verifies: names in the alternatives, EKU of a server, and never longer
than its authority. Keys stay in memory; where an authority is kept, and whether anybody trusts it, is left to others.

spec: RFC 5280 4.2.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webhook.errors import Code, MalformedError, OperatorError

AUTHORITY_LIFETIME = timedelta(days=5 * 365)
LEAF_LIFETIME = timedelta(days=30)
SKEW = timedelta(minutes=5)  # an API server's clock may be behind ours

# What reading a certificate or a key raises, where it is none or of a kind that is not known
UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A chain in PEM, leaf first, and its key. `renew_at` is when a pair issued here wants its successor."""

    chain: bytes
    key: bytes
    not_after: datetime
    renew_at: datetime | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Authority:
    """A certificate that issues others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return _key_pem(self.key)

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc

    def issue(self, names: tuple[str, ...], now: datetime) -> Pair:
        """A new key and a certificate of this authority for a server called `names`. Raises: OperatorError."""
        if not all(names) or not names:
            raise OperatorError("COUNTERSIGN_NAMES: one name or more expected, none of them empty")
        if not self.not_before <= now < self.not_after:
            span = f"from {self.not_before.isoformat()} to {self.not_after.isoformat()}"
            raise OperatorError(f"the authority is good {span}, and it is {now.isoformat()} here")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        lifetime = min(LEAF_LIFETIME, self.not_after - now)
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        leaf = (
            _builder(subject, self.certificate.subject, key.public_key(), now, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return Pair(
            chain=leaf.public_bytes(serialization.Encoding.PEM) + self.pem,
            key=_key_pem(key),
            not_after=leaf.not_valid_after_utc,
            renew_at=now + lifetime * 2 / 3,
        )


def make(now: datetime) -> Authority:
    """A new authority of five years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "countersign")])
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def parse(certificate_pem: bytes, key_pem: bytes, what: str) -> Authority:
    """The authority that was kept as two texts in PEM; `what` names it in errors. Raises: MalformedError."""
    certificate = parse_certificate(certificate_pem, what)
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except UNREADABLE as error:
        raise MalformedError(Code.MALFORMED, f"{what}: no private key in PEM found") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MalformedError(Code.MALFORMED, f"{what}: a private key of ECDSA expected")
    if certificate.public_key() != key.public_key():
        raise MalformedError(Code.MALFORMED, f"{what}: certificate and private key do not belong together")
    return Authority(certificate, key)


def parse_certificate(pem: bytes, what: str) -> x509.Certificate:
    """The one certificate in `pem`, which says that it issues others. Raises: MalformedError."""
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem)
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.public_key()
    except UNREADABLE as error:
        raise MalformedError(Code.MALFORMED, f"{what}: one certificate of an authority in PEM expected") from error
    if not is_authority:
        raise MalformedError(Code.MALFORMED, f"{what}: the certificate is none of an authority")
    return certificate


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise OperatorError(f"COUNTERSIGN_NAMES: a DNS name or an IP address expected, found {name!a}") from error
