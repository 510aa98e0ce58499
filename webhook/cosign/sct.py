"""Signed certificate timestamps inside a certificate: the promise of a CT log to publish it.

One by a log that the trust root names is enough, and none by others counts. Such a promise is over the certificate as
it was before the promises were put in, and over the key of its issuer, which the caller takes from a verified path.

spec: RFC 6962 3.2, 3.3.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp

from webhook.errors import Code, CountersignError, RejectedError
from webhook.trust import certificates
from webhook.trust.root import Log

MAX_TIMESTAMPS = 16  # that are looked at; authorities embed one to three

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def verify(certificate: x509.Certificate, issuer: x509.Certificate, logs: Sequence[Log]) -> None:
    """One of `logs` promised to publish `certificate`, which `issuer` issued, while the log's key was valid.

    Raises: RejectedError, `untrusted_material`.
    """
    found = certificates.extension(certificate, x509.PrecertificateSignedCertificateTimestamps)
    if found is None:
        raise _untrusted("a certificate without any timestamp of a certificate log")
    by_id = {log.log_id: log for log in logs}
    for sct in islice(found.value, MAX_TIMESTAMPS):
        log = by_id.get(sct.log_id)
        if log is not None and _is_by(log, sct, certificate, issuer):
            return
    raise _untrusted("no timestamp of a certificate log of the trust root verifies")


def _is_by(log: Log, sct: SignedCertificateTimestamp, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        at = sct.timestamp.replace(tzinfo=UTC)
        if at not in log.window or not isinstance(sct.signature_hash_algorithm, hashes.SHA256):
            return False
        log.key.verify(sct.signature, _signed_bytes(sct, at, certificate.tbs_precertificate_bytes, issuer))
    except (ValueError, OverflowError, CountersignError):
        return False
    return True


def _signed_bytes(sct: SignedCertificateTimestamp, at: datetime, tbs: bytes, issuer: x509.Certificate) -> bytes:
    """RFC 6962 3.2: `digitally-signed`, of a precert_entry."""
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    spki = issuer.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    extensions = sct.extension_bytes
    return b"".join(
        (
            struct.pack("!BBQH", 0, 0, milliseconds, 1),  # v1, certificate_timestamp, precert_entry
            hashlib.sha256(spki).digest(),
            len(tbs).to_bytes(3),
            tbs,
            struct.pack("!H", len(extensions)),
            extensions,
        )
    )


def _untrusted(problem: str) -> RejectedError:
    return RejectedError(Code.UNTRUSTED_MATERIAL, f"certificate: {problem}")
