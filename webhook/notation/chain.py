"""The certificates of an envelope: complete, in order, each issued by the next, and each fit for what it does there.

Whether one of them is trusted is for the verifier, and so is whether they were valid at some time: a chain that keeps
these rules proves nothing about anybody. What is in a certificate besides the fields named here is not looked at, even
where it is critical. Chains of timestamp authorities are `webhook.trust.timestamp`'s.

spec: Notary Project, signature specification, certificate requirements; RFC 5280 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from webhook.errors import Code, MalformedError, RejectedError
from webhook.notation import algorithm
from webhook.trust import certificates, path
from webhook.trust.certificates import UNREADABLE

MAX_CERTIFICATES = 10  # real chains have one to four
MAX_CERTIFICATE_BYTES = 64 << 10  # real ones have 1 to 2 KiB
MAX_CHAIN_BYTES = 128 << 10  # all together: reading 64 KiB of names takes 20 ms

Chain = tuple[x509.Certificate, ...]


def parse(listed: Sequence[bytes]) -> Chain:
    """The certificates whose DER is `listed`, at least one, in this order.

    Raises: MalformedError: `malformed`; `limit_exceeded` for too many, or for what is too long.
    """
    if not listed:
        raise MalformedError(Code.MALFORMED, "chain: at least one certificate expected, found none")
    if len(listed) > MAX_CERTIFICATES:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"chain: {len(listed)} certificates, at most {MAX_CERTIFICATES} are read"
        )
    if max(map(len, listed)) > MAX_CERTIFICATE_BYTES or sum(map(len, listed)) > MAX_CHAIN_BYTES:
        limits = f"{MAX_CERTIFICATE_BYTES} bytes of a certificate are read, and {MAX_CHAIN_BYTES} of all"
        raise MalformedError(Code.LIMIT_EXCEEDED, f"chain: at most {limits}")
    return tuple(_certificate(der, f"chain: certificate {index}") for index, der in enumerate(listed))


def _certificate(der: bytes, what: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
    except UNREADABLE as error:
        raise MalformedError(Code.MALFORMED, f"{what}: not as X.509 has it: {type(error).__name__}") from error
    # X.690 8.6.2: bits of the last byte that are not used; whoever could change them could change the fingerprint
    if der[-1 - len(certificate.signature)] != 0:
        raise MalformedError(Code.MALFORMED, f"{what}: not as X.509 has it: a signature that ends within a byte")
    return certificate


def verify(chain: Chain) -> None:
    """`chain` goes from a leaf that may sign code to a root that is self-signed, or is such a leaf, self-signed.

    Raises: RejectedError, `cert_chain_invalid`.
    """
    try:
        _check_issuers(chain)
        check_leaf(chain[0])
        for below, certificate in enumerate(chain[1:]):
            check_authority(certificate, below=below)
    except UNREADABLE as error:
        problem = f"chain: a certificate cannot be read: {type(error).__name__}"
        raise RejectedError(Code.CERT_CHAIN_INVALID, problem) from error


def _check_issuers(chain: Chain) -> None:
    for certificate, issuer in pairwise(chain):
        if not path.issued(certificate, issuer):
            raise _unfit(certificate, f"it was not issued by the next one, {path.name_of(issuer)}")
        # Self-signed is what its own key signed, which then is the issuer's: a leaf and its root may have one name
        if certificate.public_key() == issuer.public_key() and path.issued(certificate, certificate):
            raise _unfit(certificate, "it is self-signed, and others follow it")
    if not path.issued(chain[-1], chain[-1]):
        raise _unfit(chain[-1], "a self-signed root expected at the end")


_OTHER_PURPOSES = {
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.TIME_STAMPING,
    ExtendedKeyUsageOID.OCSP_SIGNING,
}


def check_leaf(certificate: x509.Certificate) -> None:
    """`certificate` may sign code. Raises: RejectedError, `cert_chain_invalid`; any of `UNREADABLE`."""
    if certificates.is_authority(certificate):
        raise _unfit(certificate, "a CA signs no code")
    usage = _key_usage(certificate)
    others = (usage.key_encipherment, usage.data_encipherment, usage.key_agreement, usage.key_cert_sign, usage.crl_sign)
    if not usage.digital_signature or any(others):
        raise _unfit(certificate, "the key usage digitalSignature is expected, and at most contentCommitment more")
    purposes = certificates.extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and not _OTHER_PURPOSES.isdisjoint(purposes.value):
        raise _unfit(certificate, "its extended key usage is not for signing code alone")
    algorithm.signing_key(certificate)


def check_authority(certificate: x509.Certificate, *, below: int) -> None:
    """`certificate` may issue others, `below` of them CAs, one under the other.

    Raises: RejectedError, `cert_chain_invalid`; any of `UNREADABLE`.
    """
    constraints = certificates.extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.critical or not constraints.value.ca:
        raise _unfit(certificate, "a CA is expected, with critical basic constraints")
    longest = constraints.value.path_length
    if longest is not None and longest < below:
        raise _unfit(certificate, f"it allows {longest} CAs below it, found {below}")
    if not _key_usage(certificate).key_cert_sign:
        raise _unfit(certificate, "the key usage keyCertSign is expected")


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage:
    usage = certificates.extension(certificate, x509.KeyUsage)  # of version 3 only: others have none
    if usage is None or not usage.critical:
        raise _unfit(certificate, "a critical key usage is expected, in version 3")
    return usage.value


def _unfit(certificate: x509.Certificate, problem: str) -> RejectedError:
    return RejectedError(Code.CERT_CHAIN_INVALID, f"certificate {path.name_of(certificate)}: {problem}")
