"""RFC 3161 tokens as ASN.1: read whole, bounded in size and number, and not yet believed.

Whatever `parse_token` returns keeps its format; that any of it is true is for `webhook.trust.timestamp` to show.
DER is demanded with one exception: real authorities do not sort a SET OF, so its order is free. Hence a SET OF is read
as a SEQUENCE OF, of which only the tag differs, and signed attributes are kept as the bytes that were received.

spec: RFC 3161 2.4.2; RFC 5652 5; RFC 5816; RFC 5035 5.4.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.asn1 import TLV, BitString, Explicit, GeneralizedTime, Implicit, UTCTime, decode_der

from webhook.errors import Code, MalformedError

MAX_TOKEN_BYTES = 64 << 10
MAX_CERTIFICATES = 20  # real tokens have up to five
MAX_SIGNERS = 4  # RFC 3161 2.4.2 wants one; each costs the check of a signature
MAX_ATTRIBUTES = 32  # of each signer; real ones have four to seven
MAX_ACCURACY_SECONDS = 86_400  # real ones are at most a few; callers add it to times

SHA256 = "2.16.840.1.101.3.4.2.1"
_SIGNED_DATA = "1.2.840.113549.1.7.2"
TST_INFO = "1.2.840.113549.1.9.16.1.4"
_BASELINE_POLICY = "0.4.0.2023.1.1"  # ETSI EN 319 421 5.2, and 6.2: one second or better

_GRANTED = 0  # RFC 3161 2.4.2; `grantedWithMods` says that something else was stamped than was asked for


@dataclass(frozen=True, slots=True)
class Signer:
    """One signerInfo. `identifier` is issuer name in DER and serial number; `None` where a key identifier stands.

    `signed_attributes` is the SET that was signed; `attributes` are its types, each with the content of its values.
    """

    version: int
    identifier: tuple[bytes, int] | None
    digest_algorithm: str
    signature_algorithm: str
    signature: bytes
    signed_attributes: bytes
    attributes: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Token:
    """A token that keeps its own format, not yet believed."""

    claimed_time: datetime
    claimed_accuracy: timedelta
    imprint_algorithm: str
    imprint: bytes
    critical_extensions: bool
    content: bytes  # the TSTInfo, as it was signed
    signers: tuple[Signer, ...]
    certificates: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """The certificate that an ESSCertIDv2 names: by a hash, and by issuer and serial number where they are there."""

    hash_algorithm: str
    hash: bytes
    issuer_serial: tuple[bytes, int] | None


def parse_response(der: bytes) -> Token:
    """The token in a DER TimeStampResp whose status is granted. Raises: MalformedError."""
    _check_size(der)
    response = _decode(_TimeStampResp, der, "TimeStampResp")
    if response.status.status != _GRANTED:
        raise _malformed("the response says that no token was granted")
    if response.time_stamp_token is None:
        raise _malformed("response without a token")
    return _read(response.time_stamp_token)


def parse_token(der: bytes) -> Token:
    """The token that a DER ContentInfo is. Raises: MalformedError."""
    _check_size(der)
    return _read(_decode(_ContentInfo, der, "ContentInfo"))


def parse_named(der: bytes) -> Named:
    """The signer's certificate, which is the first, in a SigningCertificateV2. Raises: MalformedError."""
    certificates = _decode(_SigningCertificateV2, der, "SigningCertificateV2").certs
    if not certificates:
        raise _malformed("SigningCertificateV2 names no certificate")
    first = certificates[0]
    algorithm = SHA256 if first.hash_algorithm is None else _algorithm(first.hash_algorithm)
    return Named(algorithm, first.cert_hash, _issuer_serial(first.issuer_serial))


def parse_octets(der: bytes) -> bytes:
    """The content of an OCTET STRING. Raises: MalformedError."""
    return _decode(bytes, der, "OCTET STRING")


def parse_identifier(der: bytes) -> str:
    """An OBJECT IDENTIFIER, dotted. Raises: MalformedError."""
    return _decode(x509.ObjectIdentifier, der, "OBJECT IDENTIFIER").dotted_string


def parse_time(der: bytes) -> datetime:
    """A UTCTime or GeneralizedTime, RFC 5652 11.3. Raises: MalformedError."""
    if der.startswith(b"\x17"):
        return _decode(UTCTime, der, "UTCTime").as_datetime()
    return _decode(GeneralizedTime, der, "GeneralizedTime").as_datetime()


_Algorithm = list[TLV]  # an AlgorithmIdentifier: an identifier, and parameters of any type


@asn1.sequence
class _EncapsulatedContentInfo:
    content_type: x509.ObjectIdentifier
    content: Annotated[bytes, Explicit(0)]


@asn1.sequence
class _SignedData:
    version: int
    digest_algorithms: TLV
    content_info: _EncapsulatedContentInfo
    certificates: Annotated[list[TLV] | None, Implicit(0)]
    crls: Annotated[list[TLV] | None, Implicit(1)]
    signer_infos: TLV


@asn1.sequence
class _ContentInfo:
    content_type: x509.ObjectIdentifier
    content: Annotated[_SignedData, Explicit(0)]


@asn1.sequence
class _PKIStatusInfo:
    status: int
    status_string: list[str] | None
    fail_info: BitString | None


@asn1.sequence
class _TimeStampResp:
    status: _PKIStatusInfo
    time_stamp_token: _ContentInfo | None


@asn1.sequence
class _IssuerAndSerialNumber:
    issuer: TLV
    serial_number: int


@asn1.sequence
class _SignerInfo:
    version: int
    sid: _IssuerAndSerialNumber | Annotated[bytes, Implicit(0)]
    digest_algorithm: _Algorithm
    signed_attributes: Annotated[list[TLV] | None, Implicit(0)]
    signature_algorithm: _Algorithm
    signature: bytes
    unsigned_attributes: Annotated[list[TLV] | None, Implicit(1)]


@asn1.sequence
class _SignerInfos:
    items: list[_SignerInfo]


@asn1.sequence
class _Attribute:
    type: x509.ObjectIdentifier
    values: TLV


@asn1.sequence
class _MessageImprint:
    hash_algorithm: _Algorithm
    hashed_message: bytes


@asn1.sequence
class _Accuracy:
    seconds: int | None
    millis: Annotated[int | None, Implicit(0)]
    micros: Annotated[int | None, Implicit(1)]


@asn1.sequence
class _Extension:
    id: x509.ObjectIdentifier
    critical: bool | None  # DER leaves FALSE out, authorities may not: nothing hangs on it, here and for `ordering`
    value: bytes


@asn1.sequence
class _TSTInfo:
    version: int
    policy: x509.ObjectIdentifier
    message_imprint: _MessageImprint
    serial_number: int
    gen_time: GeneralizedTime
    accuracy: _Accuracy | None
    ordering: bool | None
    nonce: int | None
    tsa: Annotated[list[TLV] | None, Implicit(0)]  # EXPLICIT of one GeneralName, which is the same on the wire
    extensions: Annotated[list[_Extension] | None, Implicit(1)]


@asn1.sequence
class _IssuerSerial:
    issuer: list[TLV]
    serial_number: int


@asn1.sequence
class _ESSCertIDv2:
    hash_algorithm: _Algorithm | None
    cert_hash: bytes
    issuer_serial: _IssuerSerial | None


@asn1.sequence
class _SigningCertificateV2:
    certs: list[_ESSCertIDv2]
    policies: list[TLV] | None


def _read(info: _ContentInfo) -> Token:
    _expect("content type", info.content_type.dotted_string, _SIGNED_DATA)
    signed = info.content
    _expect("content type of what is signed", signed.content_info.content_type.dotted_string, TST_INFO)
    _expect("SignedData version", signed.version, 3)  # RFC 5652 5.1, for content that is not id-data
    content = signed.content_info.content
    stamp = _decode(_TSTInfo, content, "TSTInfo")
    _expect("TSTInfo version", stamp.version, 1)
    return Token(
        claimed_time=stamp.gen_time.as_datetime(),
        claimed_accuracy=_accuracy(stamp),
        imprint_algorithm=_algorithm(stamp.message_imprint.hash_algorithm),
        imprint=stamp.message_imprint.hashed_message,
        critical_extensions=any(one.critical for one in stamp.extensions or ()),
        content=content,
        signers=_signers(signed.signer_infos),
        certificates=_certificates(signed.certificates or []),
    )


def _signers(infos: TLV) -> tuple[Signer, ...]:
    if infos.tag_bytes != b"\x31":
        raise _malformed("signerInfos: a SET expected")
    items = _decode(_SignerInfos, _tlv(b"\x30", _tlv(b"\x30", bytes(infos.data))), "SignerInfo").items
    if len(items) > MAX_SIGNERS:
        raise _too_many("signers", len(items), MAX_SIGNERS)
    return tuple(map(_signer, items))


def _signer(info: _SignerInfo) -> Signer:
    listed = info.signed_attributes or []
    if len(listed) > MAX_ATTRIBUTES:
        raise _too_many("signed attributes", len(listed), MAX_ATTRIBUTES)
    attributes = [_whole(one) for one in listed]
    sid = info.sid
    return Signer(
        version=info.version,
        identifier=None if isinstance(sid, bytes) else (_whole(sid.issuer), sid.serial_number),
        digest_algorithm=_algorithm(info.digest_algorithm),
        signature_algorithm=_algorithm(info.signature_algorithm),
        signature=info.signature,
        signed_attributes=_tlv(b"\x31", b"".join(attributes)),  # RFC 5652 5.4: signed as a SET, though sent as [0]
        attributes=tuple(map(_attribute, attributes)),
    )


def _attribute(der: bytes) -> tuple[str, bytes]:
    attribute = _decode(_Attribute, der, "Attribute")
    return attribute.type.dotted_string, bytes(attribute.values.data)


def _certificates(choices: list[TLV]) -> tuple[x509.Certificate, ...]:
    if len(choices) > MAX_CERTIFICATES:
        raise _too_many("certificates", len(choices), MAX_CERTIFICATES)
    # RFC 5652 10.2.2: attribute certificates and others may stand here as well. What does not load vouches for nothing.
    loaded = (_load(_whole(one)) for one in choices)
    return tuple(one for one in loaded if one is not None)


def _load(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, OverflowError, x509.InvalidVersion):
        return None


def _accuracy(stamp: _TSTInfo) -> timedelta:
    parts = stamp.accuracy
    if parts is None:
        total = timedelta()
    else:
        seconds, millis, micros = parts.seconds or 0, parts.millis or 0, parts.micros or 0
        if seconds not in range(MAX_ACCURACY_SECONDS + 1) or millis not in range(1000) or micros not in range(1000):
            raise _malformed("an accuracy of at most a day expected, with millis and micros below 1000")
        total = timedelta(seconds=seconds, milliseconds=millis, microseconds=micros)
    return total or timedelta(seconds=int(stamp.policy.dotted_string == _BASELINE_POLICY))


def _issuer_serial(named: _IssuerSerial | None) -> tuple[bytes, int] | None:
    if named is None:
        return None
    if len(named.issuer) != 1 or named.issuer[0].tag_bytes != b"\xa4":  # RFC 5035 5.4.1.1: one directoryName
        raise _malformed("issuer in SigningCertificateV2: one directory name expected")
    return bytes(named.issuer[0].data), named.serial_number


def _algorithm(items: _Algorithm) -> str:
    if len(items) not in (1, 2):
        raise _malformed("not an AlgorithmIdentifier")
    name = parse_identifier(_whole(items[0]))
    # RFC 5754 2: parameters of a hash are absent or NULL. Others make an algorithm that we do not know.
    return name if len(items) == 1 or _whole(items[1]) == b"\x05\x00" else f"{name} with parameters"


def _whole(value: TLV) -> bytes:
    return _tlv(value.tag_bytes, bytes(value.data))


def _tlv(tag: bytes, content: bytes) -> bytes:
    # Only the shortest length is DER, and only that was read: what is put together here is what was received
    size = len(content)
    if size < 0x80:
        return tag + bytes([size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return tag + bytes([0x80 | len(length)]) + length + content


_T = TypeVar("_T")


def _decode(kind: type[_T], der: bytes, what: str) -> _T:
    try:
        return decode_der(kind, der)
    except (ValueError, TypeError, OverflowError) as error:
        raise _malformed(f"not the DER of {what}: {str(error)[:120]}") from error


def _expect(what: str, found: str | int, expected: str | int) -> None:
    if found != expected:
        raise _malformed(f"{what} {expected} expected, found another")


def _check_size(der: bytes) -> None:
    if len(der) > MAX_TOKEN_BYTES:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"timestamp token: {len(der)} bytes, at most {MAX_TOKEN_BYTES} are read"
        )


def _too_many(what: str, found: int, limit: int) -> MalformedError:
    return MalformedError(Code.LIMIT_EXCEEDED, f"timestamp token: {found} {what}, at most {limit} are read")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, f"timestamp token: {problem}")
