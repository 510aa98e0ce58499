"""Trust stores of the Notary Project: named sets of certificates, each for one use.

A certificate of a chain that is byte for byte one of a store's makes the chain trusted; a store of another type is
never consulted. The roots of AWS Signer are built in, as `aws-signer` and `aws-us-gov-signer`. What a store is named,
and where its text comes from, is for the policy; where that is an object of the cluster, a store of a policy says only
which, and `Trust.store_of` gives the one that holds what stands there now.

spec: Notary Project, trust store and trust policy specification, trust store.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.errors import Code, MalformedError
from webhook.trust import certificates, path
from webhook.trust.stored import Entry

MAX_PEM_BYTES = 256 << 10  # what a ConfigMap holds is at most four times as much; a root takes 1 to 2 KiB
MAX_CERTIFICATES = 100  # one certificate of each chain is looked for among them, for each signature
MAX_CERTIFICATE_BYTES = 64 << 10  # larger ones are not read in a chain either

# Each partition of AWS has its own root; of the others' no public copy is known
BUILT_IN: Mapping[str, str] = {"aws": "aws-signer", "aws-us-gov": "aws-us-gov-signer"}


class StoreKind(StrEnum):
    """What the certificates of a store are believed for; the words of the specification."""

    CA = "ca"
    SIGNING_AUTHORITY = "signingAuthority"
    TSA = "tsa"


@dataclass(frozen=True, slots=True)
class StoredCertificates:
    """Certificates in PEM in an object of the cluster, for a store of this kind."""

    entry: Entry
    kind: StoreKind

    def __str__(self) -> str:
        return str(self.entry)


@dataclass(frozen=True, slots=True)
class TrustStore:
    """`certificates` are DER, in the order in which they were given: at least one, or none where `place` has them."""

    name: str
    kind: StoreKind
    certificates: tuple[bytes, ...] = field(repr=False)
    place: StoredCertificates | None = None

    @property
    def fingerprint(self) -> str:
        """The lower-case hex SHA-256 of what is in it, or of where that is: another order is another one, another
        name is not."""
        each = (hashlib.sha256(der).digest() for der in self.certificates)
        where = str(self.place).encode() if self.place else b""
        return hashlib.sha256(self.kind.encode() + where + b"".join(each)).hexdigest()

    @property
    def partition(self) -> str:
        """The partition of AWS whose root this is, where it is a built-in store; empty for all others."""
        return next((one for one, name in BUILT_IN.items() if built_in(name) == self), "")

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def parse(name: str, kind: StoreKind, pem: str) -> TrustStore:
    """The store with the certificates in `pem`, as `parse_certificates` reads them. Raises: MalformedError."""
    return TrustStore(name, kind, parse_certificates(kind, pem))


def parse_certificates(kind: StoreKind, pem: str) -> tuple[bytes, ...]:
    """The certificates in `pem`, DER, each in a block of its own; text around the blocks says nothing.

    Raises: MalformedError: `malformed` when one cannot be read or is not of a kind to be trusted for this use,
    `limit_exceeded`.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{len(pem)} characters, at most {MAX_PEM_BYTES} are read")
    found = _load(pem)
    if len(found) > MAX_CERTIFICATES:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{len(found)} certificates, at most {MAX_CERTIFICATES} are read")
    for number, certificate in enumerate(found, start=1):
        try:
            problem = _problem(certificate, kind)
            _ = certificate.subject
        except certificates.UNREADABLE as error:
            raise _malformed(f"certificate {number}: not as X.509 has it: {type(error).__name__}") from error
        if problem:
            raise _malformed(f"certificate {number}, {path.name_of(certificate)}: {problem}")
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in found)


@functools.cache
def built_in(name: str) -> TrustStore | None:
    """The store of this name that this version ships; `None` where there is none."""
    if name not in BUILT_IN.values():
        return None
    text = resources.files("webhook.trust").joinpath("data", f"{name}.pem").read_text("ascii")
    return parse(name, StoreKind.SIGNING_AUTHORITY, text)


def _load(pem: str) -> list[x509.Certificate]:
    blocks = pem.count("-----BEGIN ")
    if not blocks:
        raise _malformed("a PEM block expected, -----BEGIN CERTIFICATE-----, found none")
    if "PRIVATE KEY-----" in pem:
        raise _malformed("there is a private key among the certificates: nobody but its owner may have it")
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except certificates.UNREADABLE as error:
        raise _malformed(f"not certificates in PEM: {type(error).__name__}") from error
    if len(found) != blocks:
        raise _malformed(f"{blocks} certificates expected, as there are PEM blocks, found {len(found)}")
    return found


def _problem(certificate: x509.Certificate, kind: StoreKind) -> str:
    """Notary Project, trust store: what may be in a store of this `kind`. Raises: any of `UNREADABLE`."""
    size = len(certificate.public_bytes(Encoding.DER))
    if size > MAX_CERTIFICATE_BYTES:
        return f"{size} bytes, at most {MAX_CERTIFICATE_BYTES} are read"
    # By its signature, not by its names. One with SHA-1 is none: no chain that ends in it is believed
    is_authority, is_root = certificates.is_authority(certificate), path.issued(certificate, certificate)
    if kind is StoreKind.TSA and not (is_authority and is_root):
        return f"a store of the type {kind} holds self-signed CAs only"
    if not (is_authority or is_root):
        return "neither a CA nor self-signed"
    return ""


def _malformed(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, problem)
