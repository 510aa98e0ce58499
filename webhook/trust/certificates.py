"""X.509 certificates that strangers wrote: how one is read, without trust and without noise.

A certificate that loads may still be unreadable in part, since names, extensions and keys are parsed when asked for:
whoever reads one catches `UNREADABLE`. What breaks a rule and does no harm is not told to anybody: our libraries would
write to stderr, as often as a stranger likes. Paths and purposes are left to `path` and `webhook.cosign.certificate`.

spec: RFC 5280 4.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.utils import CryptographyDeprecationWarning

# Serial numbers that are not positive, DH keys, policies that are no text; and country codes that are none.
# Once for the process, since filters that come and go are not safe among threads.
warnings.filterwarnings("ignore", category=CryptographyDeprecationWarning)
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)

UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_E = TypeVar("_E", bound=x509.ExtensionType)


def extension(certificate: x509.Certificate, kind: type[_E]) -> x509.Extension[_E] | None:
    """The extension of this `kind`, if there is one. Raises: any of `UNREADABLE`."""
    if certificate.version is not x509.Version.v3:  # RFC 5280 4.1.2.1: what other versions carry there means nothing
        return None
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it says that it issues others. Raises: any of `UNREADABLE`."""
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.value.ca


# SEC 2, 2.4.2, 2.5.1, 2.6.1: the orders of P-256, P-384 and P-521
_ORDERS = (
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    int("01ff" + "ff" * 31 + "fa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 16),
)


def twins(certificate: x509.Certificate, der: bytes) -> tuple[str, ...]:
    """The fingerprints of `certificate`, which is `der`, with the other signature of ECDSA that verifies wherever its
    own does.

    Whoever holds a certificate can write its twin, so what is said of one must be said of both. Its issuer's curve is
    not known here, hence one for each.
    """
    signature = certificate.signature
    try:
        r, s = decode_dss_signature(signature)
    except ValueError:  # of another algorithm, which has one signature only
        return ()
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    rest = der[start : -len(_tlv(0x03, b"\x00" + signature))]
    others = (encode_dss_signature(r, order - s) for order in _ORDERS if s < order)
    written = (_tlv(0x30, rest + _tlv(0x03, b"\x00" + other)) for other in others)
    return tuple(hashlib.sha256(der).hexdigest() for der in written)


def header(tag: int, length: int) -> bytes:
    """Tag and length as DER has them: X.690 8.1, 10.1."""
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets


def _tlv(tag: int, content: bytes) -> bytes:
    return header(tag, len(content)) + content
