"""A timestamp authority for tests: tokens with any time, and with the one mistake that a test is about.

`make_response` and `make_token` are right in everything that `Mistakes` does not say otherwise. Certificates come from
`make_certificate`; without arguments beyond its name it makes a root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from asn1crypto import cms, core, tsp  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

POLICY = "1.3.6.1.4.1.57264.2"
TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
CertificateHash = hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What is wrong with a token; `None` and the other defaults are right."""

    status: str = "granted"  # of the response: `rejection`, `granted_with_mods`
    version: int = 1  # of the TSTInfo
    signed_data_version: int = 3
    signer_version: int = 1
    content_type: str = "tst_info"  # of what is signed
    content_type_attribute: str | None = "tst_info"
    message_digest: bytes | None = b""  # empty is the right one, None leaves the attribute out
    imprint: bytes | None = None
    imprint_hash: str = "sha256"
    digest: str = "sha256"  # of the content and the signed attributes
    signature_algorithm: str = ""  # asn1crypto's name; empty is the right one
    named: x509.Certificate | None = None  # by ESSCertIDv2
    named_hash: str = "sha256"
    named_issuer_serial: x509.Certificate | None = None  # in ESSCertIDv2, beside the hash
    name_signer: bool = True  # in ESSCertIDv2 at all
    named_v1: bool = False  # with ESSCertID
    sid: x509.Certificate | None = None  # the certificate that the signer identifier names
    key_identifier: bool = False  # as signer identifier
    twice: str | None = None  # a signed attribute that is there twice
    unsigned: bool = False  # no signed attributes
    flip_signature: bool = False
    no_signers: bool = False
    critical_extension: bool = False
    accuracy: tuple[tuple[str, int], ...] = ()  # instead of the right one: `seconds`, `millis`, `micros`


NONE = Mistakes()


@dataclass(frozen=True, slots=True)
class CoSigner:
    """One more signer of the same token."""

    key: PrivateKey
    certificate: x509.Certificate
    mistakes: Mistakes = NONE


@dataclass(frozen=True, slots=True)
class Details:
    """What a token may say beside its time."""

    accuracy: timedelta | None = timedelta(seconds=1)
    policy: str = POLICY
    serial: int = 1
    nonce: int | None = None
    ordering: bool = False
    signing_time: datetime | None = None
    certificates: tuple[x509.Certificate, ...] = field(default=(), repr=False)  # in the bag, in front of the signer's
    co_signers: tuple[CoSigner, ...] = ()  # behind the signer


PLAIN = Details()


def make_response(
    message: bytes,
    *,
    key: PrivateKey,
    certificate: x509.Certificate,
    at: datetime,
    embed: bool = True,
    details: Details = PLAIN,
    mistakes: Mistakes = NONE,
) -> bytes:
    """A DER TimeStampResp over `message`, made with `key` at the aware time `at`; `embed` puts `certificate` in."""
    token = make_token(
        message, key=key, certificate=certificate, at=at, embed=embed, details=details, mistakes=mistakes
    )
    response = {"status": {"status": mistakes.status}, "time_stamp_token": cms.ContentInfo.load(token)}
    return _der(tsp.TimeStampResp(response))


def make_token(
    message: bytes,
    *,
    key: PrivateKey,
    certificate: x509.Certificate,
    at: datetime,
    embed: bool = True,
    details: Details = PLAIN,
    mistakes: Mistakes = NONE,
) -> bytes:
    """The DER ContentInfo alone, as Notary Project envelopes carry it."""
    info = _der(_info(message, at, details, mistakes))
    bag = (*details.certificates, *([certificate] if embed else []))
    signers = [(key, certificate, mistakes), *((one.key, one.certificate, one.mistakes) for one in details.co_signers)]
    infos = [] if mistakes.no_signers else [_signer(info, details, *signer) for signer in signers]
    signed: dict[str, object] = {
        "version": mistakes.signed_data_version,
        "digest_algorithms": [{"algorithm": name} for name in sorted({one.digest for _, _, one in signers})],
        "encap_content_info": {
            "content_type": mistakes.content_type,
            "content": core.ParsableOctetString(info),
        },
        "signer_infos": infos,
    }
    if bag:
        signed["certificates"] = [cms.CertificateChoices("certificate", _asn1(one)) for one in bag]
    return _der(cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(signed)}))


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True, slots=True)
class Issuer:
    key: PrivateKey
    certificate: x509.Certificate


START = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(2040, 1, 1, tzinfo=UTC)


def make_certificate(
    name: str,
    key: PrivateKey,
    *,
    issuer: Issuer | None = None,
    ca: bool | None = None,
    ca_critical: bool = True,
    path_length: int | None = None,
    usage: Sequence[str] | None = None,
    usage_critical: bool = True,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    purposes_critical: bool = True,
    start: datetime = START,
    end: datetime = END,
    algorithm: CertificateHash | None = None,
    serial: int | None = None,
) -> x509.Certificate:
    """A root by default; with `issuer` a CA below it, with `purposes` and `ca=False` an end entity.

    `ca=None` leaves basicConstraints out; `usage=()` leaves keyUsage out, and `None` is what the kind needs.
    """
    is_ca = ca if ca is not None else not purposes
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if is_ca or ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(is_ca, path_length), critical=ca_critical)
    used = usage if usage is not None else (["key_cert_sign", "crl_sign"] if is_ca else ["digital_signature"])
    if used:
        builder = builder.add_extension(_usage(used), critical=usage_critical)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=purposes_critical)
    return builder.sign(issuer.key if issuer else key, algorithm or hashes.SHA256())


def _usage(used: Sequence[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital_signature" in used,
        content_commitment="content_commitment" in used,
        key_encipherment="key_encipherment" in used,
        data_encipherment="data_encipherment" in used,
        key_agreement="key_agreement" in used,
        key_cert_sign="key_cert_sign" in used,
        crl_sign="crl_sign" in used,
        encipher_only=False,
        decipher_only=False,
    )


def _info(message: bytes, at: datetime, details: Details, mistakes: Mistakes) -> tsp.TSTInfo:
    imprint = mistakes.imprint or hashlib.new(mistakes.imprint_hash, message).digest()
    members: dict[str, object] = {
        "version": mistakes.version,
        "policy": details.policy,
        "message_imprint": {"hash_algorithm": {"algorithm": mistakes.imprint_hash}, "hashed_message": imprint},
        "serial_number": details.serial,
        "gen_time": at,
    }
    if mistakes.accuracy:
        members["accuracy"] = dict(mistakes.accuracy)
    elif details.accuracy is not None:
        members["accuracy"] = _accuracy(details.accuracy)
    if details.ordering:
        members["ordering"] = True
    if details.nonce is not None:
        members["nonce"] = details.nonce
    if mistakes.critical_extension:
        members["extensions"] = [{"extn_id": "1.2.3.4", "critical": True, "extn_value": b"\x05\x00"}]
    return tsp.TSTInfo(members)


def _accuracy(accuracy: timedelta) -> dict[str, int]:
    millis, micros = divmod(accuracy.microseconds, 1000)
    parts = {"seconds": accuracy.days * 86400 + accuracy.seconds, "millis": millis, "micros": micros}
    return {name: value for name, value in parts.items() if value}


def _signer(
    info: bytes, details: Details, key: PrivateKey, certificate: x509.Certificate, mistakes: Mistakes
) -> cms.SignerInfo:
    attributes = _attributes(info, details, certificate, mistakes)
    signed = info if mistakes.unsigned else _der(attributes)
    members: dict[str, object] = {
        "version": mistakes.signer_version,
        "sid": _sid(mistakes.sid or certificate, by_key=mistakes.key_identifier),
        "digest_algorithm": {"algorithm": mistakes.digest},
        "signature_algorithm": {"algorithm": mistakes.signature_algorithm or _algorithm(key, mistakes.digest)},
        "signature": _sign(key, signed, mistakes),
    }
    if not mistakes.unsigned:
        members["signed_attrs"] = attributes
    return cms.SignerInfo(members)


def _sid(certificate: x509.Certificate, *, by_key: bool) -> cms.SignerIdentifier:
    if by_key:
        digest = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
        return cms.SignerIdentifier("subject_key_identifier", core.OctetString(digest))
    issued = {"issuer": _asn1(certificate).issuer, "serial_number": certificate.serial_number}
    return cms.SignerIdentifier("issuer_and_serial_number", cms.IssuerAndSerialNumber(issued))


def _attributes(info: bytes, details: Details, certificate: x509.Certificate, mistakes: Mistakes) -> cms.CMSAttributes:
    values: list[tuple[str, object]] = []
    if mistakes.content_type_attribute is not None:
        values.append(("content_type", mistakes.content_type_attribute))
    if details.signing_time is not None:
        values.append(("signing_time", cms.Time({"utc_time": core.UTCTime(details.signing_time)})))
    if mistakes.message_digest is not None:
        values.append(("message_digest", mistakes.message_digest or hashlib.new(mistakes.digest, info).digest()))
    named = mistakes.named or certificate
    if mistakes.name_signer:
        values.append(("signing_certificate_v2", tsp.SigningCertificateV2({"certs": [_named(named, mistakes)]})))
    if mistakes.named_v1:
        values.append(("signing_certificate", tsp.SigningCertificate({"certs": [{"cert_hash": _hash(named, "sha1")}]})))
    values += [(name, value) for name, value in values if name == mistakes.twice]
    return cms.CMSAttributes([cms.CMSAttribute({"type": name, "values": [value]}) for name, value in values])


def _named(certificate: x509.Certificate, mistakes: Mistakes) -> tsp.ESSCertIDv2:
    members: dict[str, object] = {"cert_hash": _hash(certificate, mistakes.named_hash)}
    if mistakes.named_hash != "sha256":
        members["hash_algorithm"] = {"algorithm": mistakes.named_hash}
    if mistakes.named_issuer_serial is not None:
        other = _asn1(mistakes.named_issuer_serial)
        name = asn1_x509.GeneralName("directory_name", other.issuer)
        members["issuer_serial"] = tsp.IssuerSerial({"issuer": [name], "serial_number": other.serial_number})
    return tsp.ESSCertIDv2(members)


def _hash(certificate: x509.Certificate, name: str) -> bytes:
    return hashlib.new(name, certificate.public_bytes(serialization.Encoding.DER)).digest()


def _algorithm(key: PrivateKey, digest: str) -> str:
    return f"{digest}_ecdsa" if isinstance(key, ec.EllipticCurvePrivateKey) else f"{digest}_rsa"


def _sign(key: PrivateKey, data: bytes, mistakes: Mistakes) -> bytes:
    algorithm = _HASHES[mistakes.digest]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(data, ec.ECDSA(algorithm))
    else:
        signature = key.sign(data, padding.PKCS1v15(), algorithm)
    return signature[:-1] + bytes([signature[-1] ^ 1]) if mistakes.flip_signature else signature


def _asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))


def _der(value: core.Asn1Value) -> bytes:
    der: bytes = value.dump()
    return der
