"""Certificates of a Sigstore authority: profile, path, and whom they name.

A certificate is judged at the times that trusted clocks give, never at the present: it lives for minutes and is not
revoked. What stands beside a certificate gives no trust and helps to build no path: issuers come from the trust root.
Promises of certificate logs are left to `sct`, rules about names to `trust.identity`.

spec: fulcio, certificate specification and OID information; RFC 5280 6; RFC 6962 3.2, 3.3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

from webhook.cosign import sct
from webhook.errors import Code, MalformedError, RejectedError
from webhook.trust import certificates, material
from webhook.trust.identity import EXTENSIONS, Claims
from webhook.trust.material import PublicKey
from webhook.trust.root import Authority, TrustRoot

MAX_CERTIFICATE_BYTES = 16 << 10  # real ones are 1 to 3 KiB
MAX_NAMES = 32  # authorities write one; each is held against the rule of each signer


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate that parses, not yet believed. `fingerprint` is the hex SHA-256 of its DER."""

    certificate: x509.Certificate = field(repr=False)
    der: bytes = field(repr=False)
    fingerprint: str
    key: PublicKey


# --- parsing


def parse(der: bytes) -> Leaf:
    """The certificate that `der` is, whole. Raises: MalformedError, `malformed` or `unsupported` (its kind of key)."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"certificate: {len(der)} bytes, at most {MAX_CERTIFICATE_BYTES} are read"
        )
    try:
        certificate = x509.load_der_x509_certificate(der)
        tuple(certificate.extensions)  # reads them, and finds one that stands there twice
        key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise MalformedError(Code.UNSUPPORTED, "certificate: a kind of key that is not supported") from error
    except certificates.UNREADABLE as error:
        raise MalformedError(Code.MALFORMED, f"certificate: not as X.509 has it: {type(error).__name__}") from error
    # X.690 8.6.2: bits of the last byte that are not used; whoever could change them could change the fingerprint
    if der[-1 - len(certificate.signature)] != 0:
        raise MalformedError(Code.MALFORMED, "certificate: not as X.509 has it: a signature that ends within a byte")
    return Leaf(certificate, der, hashlib.sha256(der).hexdigest(), material.public_key(key))


def twins(leaf: Leaf) -> tuple[str, ...]:
    """The fingerprints of `leaf` with the other signature that verifies wherever its own does."""
    return certificates.twins(leaf.certificate, leaf.der)


# --- trust


def verify(leaf: Leaf, root: TrustRoot, times: Sequence[datetime], *, require_sct: bool) -> None:
    """`leaf` may sign code, and at each of `times`, of which there is one at least, it was valid and had a path to an
    authority of `root` that was valid too; a CT log of `root` has seen it.

    Raises: RejectedError, `untrusted_material` or `time_invalid`; MalformedError.
    """
    if not times:
        raise RejectedError(Code.TIME_INVALID, "no trusted log or timestamp says when this was signed")
    _verify_profile(leaf.certificate)
    for time in times:
        _verify_lifetime(leaf.certificate, time)
    issuer = _verify_paths(leaf.certificate, root.certificate_authorities, times)
    if require_sct:
        sct.verify(leaf.certificate, issuer, root.ct_logs)


def _verify_profile(certificate: x509.Certificate) -> None:
    """fulcio, certificate specification, issued certificate."""
    if certificates.is_authority(certificate):
        raise _untrusted("it is one of an authority")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise _untrusted("its key usage is not that of signatures only")
    if not _may_sign_code(certificate, unless_said=False):
        raise _untrusted("its extended key usage lacks code signing")
    if not _extension(certificate, x509.SubjectAlternativeName):
        raise _untrusted("it names nobody")


def _may_sign_code(certificate: x509.Certificate, *, unless_said: bool) -> bool:
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    return unless_said if usages is None else ExtendedKeyUsageOID.CODE_SIGNING in usages


def _verify_lifetime(certificate: x509.Certificate, time: datetime) -> None:
    if not _is_valid(certificate, time):
        start, end = _written(certificate.not_valid_before_utc), _written(certificate.not_valid_after_utc)
        raise RejectedError(
            Code.TIME_INVALID, f"signed at {_written(time)}, but the certificate was valid from {start} to {end}"
        )


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _is_valid(certificate: x509.Certificate, time: datetime) -> bool:
    return certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc


_Path = tuple[x509.Certificate, ...]  # leaf first, root last


def _verify_paths(
    leaf: x509.Certificate, authorities: Sequence[Authority], times: Sequence[datetime]
) -> x509.Certificate:
    """At each of `times` there was a path. Returns the issuer of `leaf`: the same key in each, since it signed."""
    found: list[tuple[Authority, _Path]] = []
    for time in times:
        # Signatures on a path do not depend on the time, and are what it costs: once is enough
        if not any(time in authority.window and _holds(path, time) for authority, path in found):
            found.append(_path_at(leaf, authorities, time))
    return found[0][1][1]


def _path_at(leaf: x509.Certificate, authorities: Sequence[Authority], time: datetime) -> tuple[Authority, _Path]:
    for authority in authorities:
        if time in authority.window:
            path = _build(leaf, authority, time)
            if _holds(path, time) and all(_may_sign_code(one, unless_said=True) for one in path[1:]):
                return authority, path
    raise _untrusted(f"no path to an authority of the trust root at {_written(time)}")


def _holds(path: _Path, time: datetime) -> bool:
    """CVE-2026-24122: whoever issued the certificate must have been valid as well, up to the root."""
    return len(path) > 1 and all(_is_valid(one, time) for one in path)


# Those of the web, and extended key usages of any kind: they are looked at here
_CA_POLICY = ExtensionPolicy.webpki_defaults_ca().may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)
_LEAF_POLICY = ExtensionPolicy.webpki_defaults_ee().may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)


def _build(leaf: x509.Certificate, authority: Authority, time: datetime) -> _Path:
    """The path from `leaf` to the root of `authority`, RFC 5280 6; empty where there is none."""
    *intermediates, root = authority.chain
    policy = PolicyBuilder().store(Store([root])).time(time)
    policy = policy.extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
    try:
        return tuple(policy.build_client_verifier().verify(leaf, intermediates).chain)
    except (verification.VerificationError, ValueError, x509.UnsupportedGeneralNameType):
        return ()


# --- names

_FULCIO = "1.3.6.1.4.1.57264.1."
_USERNAME = f"{_FULCIO}7"
_ISSUER, _ISSUER_V2 = 1, 8
_LAST_RAW = 6  # up to here an extension holds its text as it is, later ones a DER UTF8String
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def claims_of(leaf: Leaf) -> Claims:
    """Whom `leaf` names. Raises: MalformedError; RejectedError, `identity_mismatch`, without issuer or subject."""
    texts = dict(_texts(leaf.certificate))
    issuer = _issuer(texts)
    subjects = tuple(_subjects(leaf.certificate))
    if not subjects:
        raise RejectedError(Code.IDENTITY_MISMATCH, "the certificate names no subject")
    return Claims(issuer, subjects, {name: texts[arc] for name, arc in EXTENSIONS.items() if arc in texts})


def _issuer(texts: Mapping[int, str]) -> str:
    old, new = texts.get(_ISSUER), texts.get(_ISSUER_V2)
    if old is not None and new is not None and old != new:
        raise MalformedError(Code.MALFORMED, "certificate: its two issuer extensions differ")
    issuer = old if new is None else new
    if not issuer:
        raise RejectedError(Code.IDENTITY_MISMATCH, "the certificate names no issuer of the identity")
    return issuer


def _texts(certificate: x509.Certificate) -> Iterator[tuple[int, str]]:
    """Fulcio's extensions that we know, by the last arc of their identifiers."""
    for extension in certificate.extensions:
        arc = _ARCS.get(extension.oid.dotted_string)
        if arc is not None:
            value = extension.value.public_bytes()
            yield arc, _checked(_decode(value) if arc <= _LAST_RAW else _utf8_string(value))


_ARCS = {f"{_FULCIO}{arc}": arc for arc in (_ISSUER, _ISSUER_V2, *EXTENSIONS.values())}


def _subjects(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    names = tuple(_extension(certificate, x509.SubjectAlternativeName) or ())
    if len(names) > MAX_NAMES:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"certificate: {len(names)} names, at most {MAX_NAMES} are read")
    for name in names:
        match name:
            case x509.RFC822Name():
                yield "email", _checked(name.value)
            case x509.UniformResourceIdentifier():
                yield "uri", _checked(name.value)
            case x509.OtherName() if name.type_id.dotted_string == _USERNAME:
                yield "username", _checked(_utf8_string(name.value))
            case x509.DNSName():
                yield "dns", _checked(name.value)
            case x509.IPAddress():
                yield "ip", str(name.value)


def _utf8_string(der: bytes) -> str:
    """X.690 8.1, 10.1: tag, the one shortest form of the length, content."""
    first = der[1] if len(der) > 1 else 0
    start = 2 if first < 0x80 else 2 + (first & 0x7F)
    content = der[start:]
    if der[:start] != certificates.header(0x0C, len(content)):
        raise MalformedError(Code.MALFORMED, "certificate: a name that is no DER UTF8String")
    return _decode(content)


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(Code.MALFORMED, "certificate: a name that is not UTF-8") from error


def _checked(text: str) -> str:
    if _CONTROL.search(text):
        raise MalformedError(Code.MALFORMED, "certificate: a control character in a name")
    return text


_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    found = certificates.extension(certificate, kind)
    return None if found is None else found.value


def _untrusted(problem: str) -> RejectedError:
    return RejectedError(Code.UNTRUSTED_MATERIAL, f"certificate: {problem}")
