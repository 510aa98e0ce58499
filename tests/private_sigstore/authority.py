"""Certificate authorities in memory: one like Fulcio, which issues certificates about identities, with whatever is
wrong with them that a test asks for; and the chain of a timestamp authority.

spec: fulcio, certificate specification and OID information; RFC 5280 4; RFC 6962 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.private_sigstore.logs import CTLog, der, timestamp_list
from webhook.demo import signing
from webhook.demo.signing import SigningKey

FULCIO = "1.3.6.1.4.1.57264.1"
USERNAME = x509.ObjectIdentifier(f"{FULCIO}.7")
SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")

# fulcio, OID information; the first six hold their text as it is, later ones a DER UTF8String
EXTENSIONS: Mapping[str, int] = {
    "issuer": 1,
    "githubWorkflowTrigger": 2,
    "githubWorkflowSha": 3,
    "githubWorkflowName": 4,
    "githubWorkflowRepository": 5,
    "githubWorkflowRef": 6,
    "issuerV2": 8,
    "buildSignerURI": 9,
    "buildSignerDigest": 10,
    "runnerEnvironment": 11,
    "sourceRepositoryURI": 12,
    "sourceRepositoryDigest": 13,
    "sourceRepositoryRef": 14,
    "sourceRepositoryIdentifier": 15,
    "sourceRepositoryOwnerURI": 16,
    "sourceRepositoryOwnerIdentifier": 17,
    "buildConfigURI": 18,
    "buildConfigDigest": 19,
    "buildTrigger": 20,
    "runInvocationURI": 21,
    "sourceRepositoryVisibilityAtSigning": 22,
    "deploymentEnvironment": 23,
    "tokenSubject": 24,
}
LAST_RAW = 6


class NameKind(StrEnum):
    """What kind of name a certificate gives its subject."""

    EMAIL = "email"
    URI = "uri"
    USERNAME = "username"  # an OtherName
    DNS = "dns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a certificate about an identity shall say. The defaults are right.

    `issuer` is written in both extensions; `issuer_v1` and `issuer_v2` replace it in one, and `None` leaves it out.
    `logs` sign its timestamps. `extensions` are by name, as in `EXTENSIONS`, or by the whole dotted OID, as bytes.
    """

    subject: str | None = "dev@example.com"
    kind: NameKind = NameKind.EMAIL
    issuer: str = "https://issuer.example.com"
    issuer_v1: str | None = ""
    issuer_v2: str | None = ""
    extensions: Mapping[str, str | bytes] = field(default_factory=dict)
    lifetime: timedelta = timedelta(minutes=10)
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,)
    digital_signature: bool = True
    signs_certificates: bool = False
    ca: bool | None = None
    logs: Sequence[CTLog] = ()
    sct_at: datetime | None = None
    sct_extensions: bytes = b""


@dataclass(frozen=True, slots=True)
class Authority:
    """Who issues certificates: `key` and `certificate`, and the `issuers` of that certificate, the root last."""

    key: SigningKey
    certificate: x509.Certificate
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self.issuers)

    def issue(self, key: SigningKey, at: datetime, wanted: Leaf) -> x509.Certificate:
        """A certificate of `key` that begins at `at`."""
        builder = _extended(self._builder(key, at, at + wanted.lifetime), wanted)
        precertificate = builder.sign(self.key.private, _hash(self.key))
        if not wanted.logs:
            return precertificate
        when = wanted.sct_at or at
        timestamps = [
            log.timestamp(precertificate, _spki(self.certificate), when, wanted.sct_extensions) for log in wanted.logs
        ]
        listed = x509.UnrecognizedExtension(SCTS, timestamp_list(timestamps))
        return builder.add_extension(listed, critical=False).sign(self.key.private, _hash(self.key))

    def intermediate(self, name: str, start: datetime, end: datetime, *,
                     usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
                     kind: str = "p384") -> Authority:  # fmt: skip
        """An authority below this one."""
        key = signing.new_key(kind)
        builder = _as_ca(self._builder(key, start, end, name), path_length=0)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return Authority(key, builder.sign(self.key.private, _hash(self.key)), self.chain)

    def timestamper(self, name: str, start: datetime, end: datetime, *, kind: str = "p256") -> Authority:
        """A clock below this authority: its key and certificate, which issue nothing. RFC 3161 2.3."""
        key = signing.new_key(kind)
        builder = (
            self._builder(key, start, end, name)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        )
        return Authority(key, builder.sign(self.key.private, _hash(self.key)), self.chain)

    def _builder(self, key: SigningKey, start: datetime, end: datetime, name: str = "") -> x509.CertificateBuilder:
        subject = _name(name) if name else x509.Name([])
        return _builder(key, subject, start, end).issuer_name(self.certificate.subject).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.private.public_key()), critical=False
        )  # fmt: skip


def root(name: str, start: datetime, end: datetime, *, kind: str = "p384") -> Authority:
    """An authority that certifies itself."""
    key = signing.new_key(kind)
    builder = _as_ca(_builder(key, _name(name), start, end).issuer_name(_name(name)), path_length=None)
    return Authority(key, builder.sign(key.private, _hash(key)))


def _builder(key: SigningKey, subject: x509.Name, start: datetime, end: datetime) -> x509.CertificateBuilder:
    public = key.private.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _as_ca(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    usage = _key_usage(signs_certificates=True)
    return builder.add_extension(constraints, critical=True).add_extension(usage, critical=True)


def _extended(builder: x509.CertificateBuilder, wanted: Leaf) -> x509.CertificateBuilder:
    usage = _key_usage(digital_signature=wanted.digital_signature, signs_certificates=wanted.signs_certificates)
    builder = builder.add_extension(usage, critical=True)
    if wanted.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.usages), critical=False)
    if wanted.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(wanted.ca, path_length=None), critical=True)
    if wanted.subject is not None:
        names = x509.SubjectAlternativeName([_alternative(wanted.kind, wanted.subject)])
        builder = builder.add_extension(names, critical=True)
    for extension in _fulcio(wanted):
        builder = builder.add_extension(extension, critical=False)
    return builder


def _alternative(kind: NameKind, subject: str) -> x509.GeneralName:
    match kind:
        case NameKind.EMAIL:
            return x509.RFC822Name(subject)
        case NameKind.URI:
            return x509.UniformResourceIdentifier(subject)
        case NameKind.DNS:
            return x509.DNSName(subject)
        case NameKind.USERNAME:
            return x509.OtherName(USERNAME, utf8(subject))


def _fulcio(wanted: Leaf) -> list[x509.UnrecognizedExtension]:
    values: dict[str, str | bytes] = {}
    for name, said in (("issuer", wanted.issuer_v1), ("issuerV2", wanted.issuer_v2)):
        if said is not None:
            values[name] = said or wanted.issuer
    return [_extension(name, value) for name, value in (values | dict(wanted.extensions)).items()]


def _extension(name: str, value: str | bytes) -> x509.UnrecognizedExtension:
    number = EXTENSIONS.get(name)
    identifier = x509.ObjectIdentifier(name if number is None else f"{FULCIO}.{number}")
    if isinstance(value, bytes):
        return x509.UnrecognizedExtension(identifier, value)
    raw = number is not None and number <= LAST_RAW
    return x509.UnrecognizedExtension(identifier, value.encode() if raw else utf8(value))


def utf8(text: str) -> bytes:
    """A DER UTF8String."""
    return der(0x0C, text.encode())


def _key_usage(*, digital_signature: bool = False, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "private.test")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _hash(key: SigningKey) -> hashes.SHA256 | hashes.SHA384 | None:
    if key.name == "ed25519":
        return None
    return hashes.SHA384() if key.name == "p384" else hashes.SHA256()
