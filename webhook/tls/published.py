"""Whether an API server would take the certificate that is served: it has to chain to what the configuration publishes.

The path is sought the way an API server's TLS does, as far as it can differ between a certificate and a bundle:
signatures and validity. What such a path is allowed to hold besides is left to it, since to be stricter here would take
a replica out of service that works.

specs: RFC 5280 6.1; Go crypto/x509, in which whatever stands in the bundle is trusted, authority or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from webhook.kube import registration
from webhook.tls.authority import UNREADABLE

ENTRY = registration.PODS
REMEDY = "publish the authority of the certificate there, see https://countersign.dev/docs/operations.md#certificates"
MAX_STEPS = 8  # from a certificate up; real paths have two or three
MAX_CERTIFICATES = 100
BEGIN = b"-----BEGIN CERTIFICATE-----"
END = b"-----END CERTIFICATE-----"


def refusal(chain: bytes, bundle: bytes | None, now: datetime) -> str:
    """Why API servers refuse what is served; empty where they take it, or `bundle` is unknown."""
    if bundle is None or is_vouched(chain, bundle, now):
        return ""
    if not bundle.strip():
        return f"{ENTRY} has no caBundle, so no API server trusts what is served here: {REMEDY}"
    return f"caBundle of {ENTRY} does not vouch for the certificate that is served here: {REMEDY}"


def is_vouched(chain: bytes, bundle: bytes, now: datetime) -> bool:
    """Whether the first certificate of `chain` is one of `bundle`, or was issued by one, perhaps by way of `chain`.

    Both are PEM. Everything on the way has to hold at `now`.
    """
    trusted, (leaf, *others) = tuple(_certificates(bundle)), tuple(_certificates(chain)) or (None,)
    for _ in range(MAX_STEPS):
        if leaf is None or not _holds(leaf, now):
            return False
        if leaf in trusted or any(_holds(one, now) and _issued(one, leaf) for one in trusted):
            return True
        leaf = next((one for one in others if one != leaf and _issued(one, leaf)), None)
    return False


def _certificates(pem: bytes) -> Iterator[x509.Certificate]:
    """Those in `pem` that can be read, which is what an API server makes of a bundle."""
    for block in pem.split(BEGIN)[1 : MAX_CERTIFICATES + 1]:
        try:
            yield x509.load_pem_x509_certificate(BEGIN + block.partition(END)[0] + END)
        except UNREADABLE:
            continue


def _holds(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True
