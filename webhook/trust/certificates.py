"""X.509 certificates that strangers wrote: how one is read, without trust and without noise.

A certificate that loads may still be unreadable in part, since names, extensions and keys are parsed when asked for:
whoever reads one catches `UNREADABLE`. What breaks a rule and does no harm is not told to anybody: our libraries would
write to stderr, as often as a stranger likes. Paths and purposes are left to `path` and `webhook.cosign.certificate`.

spec: RFC 5280 4.
"""

from __future__ import annotations

import warnings
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
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
