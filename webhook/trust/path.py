"""Paths from the certificate of a timestamp authority to a root that is trusted, and what each CA on them must be.

A path is leaf first and ends at the first trusted root. Whether its certificates were valid at some time, and whether
the leaf may sign anything, is for the caller. Names are compared as bytes, and only SHA-2 signatures count. The search
is bounded: certificates of strangers that all name each other cost no more than `MAX_ISSUER_CHECKS` signatures.

spec: RFC 5280 6; Notary Project, signature specification, certificate requirements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.trust.certificates import UNREADABLE, extension
from webhook.trust.material import RSA_BITS, RSA_EXPONENTS

MAX_PATH = 8  # certificates, root included; real paths have two to four
MAX_ISSUER_CHECKS = 16  # real searches take two to five; each costs half a millisecond

Path = tuple[x509.Certificate, ...]


@dataclass(slots=True)
class Search:
    """Looks for paths to `roots` through them and `others`. `problem` is why the last candidate was none."""

    roots: Sequence[x509.Certificate]
    others: Sequence[x509.Certificate]
    problem: str = "none of its issuers is known"
    _checks: int = field(default=0, init=False)

    def paths(self, leaf: x509.Certificate) -> Iterator[Path]:
        """Every path from `leaf`. Raises: MalformedError, `limit_exceeded`, when the search takes too long."""
        pool = tuple(dict.fromkeys((*self.roots, *self.others)))
        unfinished: list[Path] = [(leaf,)]
        while unfinished:
            path = unfinished.pop()
            if path[-1] not in self.roots:
                unfinished.extend((*path, issuer) for issuer in pool if self._continues(path, issuer))
            elif self._issued(path[-1], path[-1]):
                yield path
            else:
                self.problem = f"the root {name_of(path[-1])} is not self-signed"

    def _continues(self, path: Path, issuer: x509.Certificate) -> bool:
        try:
            if len(path) == MAX_PATH or issuer in path or issuer.subject != path[-1].issuer:
                return False
            self._check_issuer(path, issuer)
        except RejectedError as error:
            self.problem = error.detail
            return False
        except UNREADABLE:
            self.problem = "the certificate of an issuer cannot be read"
            return False
        return True

    def _check_issuer(self, path: Path, issuer: x509.Certificate) -> None:
        _check_authority(issuer, below=len(path) - 1)
        if not self._issued(path[-1], issuer):
            raise unfit(issuer, f"it did not issue {name_of(path[-1])}")
        if issuer not in self.roots and issuer.subject == issuer.issuer and self._issued(issuer, issuer):
            raise unfit(issuer, "it is self-signed and no trusted root")

    def _issued(self, subject: x509.Certificate, issuer: x509.Certificate) -> bool:
        self._checks += 1
        if self._checks > MAX_ISSUER_CHECKS:
            raise MalformedError(Code.LIMIT_EXCEEDED, f"certificates: over {MAX_ISSUER_CHECKS} possible issuers")
        return issued(subject, issuer)


_TIME_STAMPING = {ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def _check_authority(certificate: x509.Certificate, *, below: int) -> None:
    check_critical(certificate)
    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.critical or not constraints.value.ca:
        raise unfit(certificate, "a CA is expected, with critical basic constraints")
    longest = constraints.value.path_length
    if longest is not None and longest < below:
        raise unfit(certificate, f"it allows {longest} CAs below it, found {below}")
    usage = extension(certificate, x509.KeyUsage)  # critical is expected, RFC 5280 4.2.1.3, and not demanded
    if usage is None or not usage.value.key_cert_sign:
        raise unfit(certificate, "the key usage keyCertSign is expected")
    purposes = extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and _TIME_STAMPING.isdisjoint(purposes.value):
        raise unfit(certificate, "its extended key usage excludes timeStamping")


_KNOWN = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.CertificatePolicies,
)


def check_critical(certificate: x509.Certificate) -> None:
    """RFC 5280 4.2: what is critical and not looked at here may say that the certificate is for something else.

    Raises: RejectedError; any of `UNREADABLE`.
    """
    if certificate.version is not x509.Version.v3:
        return
    for one in certificate.extensions:
        if one.critical and not isinstance(one.value, _KNOWN):
            raise unfit(certificate, f"it has a critical extension {one.oid.dotted_string}, which is not known")


# Authorities are few and stay: without this, checking the P-384 of each path anew would cost more than all the rest
@lru_cache(maxsize=64)
def issued(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    """`issuer` signed `subject` with RSA or ECDSA and SHA-2, and `subject` names it, byte for byte, as who did."""
    try:
        if not isinstance(subject.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
            return False
        key = issuer.public_key()
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            return False
        if isinstance(key, rsa.RSAPublicKey) and not is_affordable(key):
            return False
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def is_affordable(key: rsa.RSAPublicKey) -> bool:
    """A stranger's `key` is of a size and exponent that can be verified with in well under a millisecond."""
    return key.key_size in RSA_BITS and key.public_numbers().e in RSA_EXPONENTS


def unfit(certificate: x509.Certificate, problem: str) -> RejectedError:
    """The error that `certificate` is not of a kind to be believed."""
    return RejectedError(Code.UNTRUSTED_MATERIAL, f"certificate {name_of(certificate)}: {problem}")


@lru_cache(maxsize=64)  # each signer of a policy may want it, and a name of 64 KiB takes 3 ms
def name_of(certificate: x509.Certificate) -> str:
    """The subject, for a message."""
    try:
        return quote(certificate.subject.rfc4514_string(), max_chars=100)
    except UNREADABLE:
        return "whose subject cannot be read"
