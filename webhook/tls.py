"""The serving certificate: from files that are read again when they change, or issued here at start and renewed.

One live `SSLContext` is kept up to date, so new handshakes get the new certificate and open connections live on. A new
pair goes into force only when it parses, fits together and has not expired; otherwise the old one stays, and
`problem` says why. Private keys never touch a disk here. Whether clients trust the authority is left to who installs
it: a self-issued authority is written to `ca_out_file`. specs: RFC 5280; RFC 9325.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webhook import files, settings
from webhook.errors import OperatorError

AUTHORITY_LIFETIME = timedelta(days=5 * 365)
LEAF_LIFETIME = timedelta(days=30)
SKEW = timedelta(minutes=5)  # an API server's clock may be behind ours
FILE_MAX_BYTES = settings.MIB

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A chain in PEM, leaf first, and its key. `renew_at` is when a pair issued here wants its successor."""

    chain: bytes
    key: bytes
    not_after: datetime
    renew_at: datetime | None = None


class ServingCertificate:
    """`context` is what a server listens with. Raises: OperatorError, when there is no pair to begin with."""

    def __init__(self, options: settings.Server, *, now: datetime) -> None:
        self.context = new_context()
        self.problem: str | None = None
        self._options = options
        self._seen = b""
        self._authority = None if options.certificate_file else Authority(now)
        if self._authority and options.ca_out_file:
            files.save(options.ca_out_file, self._authority.pem)
        self._pair = self._next(now)
        _use(self.context, self._pair)

    @property
    def not_after(self) -> datetime:
        """When the certificate in force expires."""
        return self._pair.not_after

    @property
    def authority_pem(self) -> bytes | None:
        """The authority of a self-issued certificate."""
        return self._authority.pem if self._authority else None

    async def watch(self) -> None:
        """Until cancelled, the pair in force follows its files or its age."""
        while True:
            await asyncio.sleep(self._options.reload_interval)
            try:
                self.refresh(datetime.now(UTC))
            except Exception:
                log.exception("the serving certificate could not be looked at; the one in force stays")

    def refresh(self, now: datetime) -> bool:
        """Whether another pair is in force now. A new pair that cannot be used is said once, in the log."""
        if self._pair.renew_at is not None and now < self._pair.renew_at:
            return False
        try:
            pair = self._next(now)
            if pair is self._pair:
                return False
            _use(self.context, pair)
        except OperatorError as error:
            if self.problem != str(error):
                log.error("the serving certificate stays as it was: %s", error)  # noqa: TRY400 - no traceback wanted
            self.problem = str(error)
            return False
        self._pair, self.problem = pair, None
        log.info("the serving certificate was replaced; the new one expires %s", pair.not_after.isoformat())
        return True

    def _next(self, now: datetime) -> Pair:
        if self._authority is not None:
            return self._authority.issue(self._options.names, now)
        assert self._options.certificate_file is not None  # settings: both files, or neither
        assert self._options.key_file is not None
        chain = files.load(self._options.certificate_file, FILE_MAX_BYTES)
        key = files.load(self._options.key_file, FILE_MAX_BYTES)
        seen = hashlib.sha256(chain + b"\0" + key).digest()
        if seen == self._seen:
            return self._pair
        pair = Pair(chain, key, _expiry(chain, self._options.certificate_file))
        if self._seen and pair.not_after <= now:
            raise OperatorError(f"{self._options.certificate_file}: expired at {pair.not_after.isoformat()}")
        _use(new_context(), pair)  # a trial, so that a key that does not fit never reaches the live context
        self._seen = seen
        return pair


class Authority:
    """An authority in memory; its key ends with the process."""

    def __init__(self, now: datetime) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "countersign")])
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), now, AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, names: tuple[str, ...], now: datetime) -> Pair:
        """A new key and a certificate of this authority for a server called `names`."""
        if not all(names) or not names:
            raise OperatorError("COUNTERSIGN_NAMES: one name or more expected, none of them empty")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        leaf = (
            _builder(subject, self._name, key.public_key(), now, LEAF_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Pair(
            chain=leaf.public_bytes(serialization.Encoding.PEM) + self.pem,
            key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            not_after=leaf.not_valid_after_utc,
            renew_at=now + LEAF_LIFETIME * 2 / 3,
        )


def new_context() -> ssl.SSLContext:
    """A server's context without a certificate yet: TLS 1.2 or later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise OperatorError(f"COUNTERSIGN_NAMES: a DNS name or an IP address expected, found {name!a}") from error


def _use(context: ssl.SSLContext, pair: Pair) -> None:
    """`context` serves with `pair`, which goes to OpenSSL through memory: it takes nothing but names of files."""
    files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("certificate", "key")]
    try:
        for file, content in zip(files, (pair.chain, pair.key), strict=True):
            os.write(file, content)
        chain, key = (f"/proc/self/fd/{file}" for file in files)
        context.load_cert_chain(chain, key, password="")  # an encrypted key is an error, not a question on a terminal
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise OperatorError(f"the certificate and its key cannot be used: {str(reason).lower()}") from error
    finally:
        for file in files:
            os.close(file)


def _expiry(chain: bytes, path: Path) -> datetime:
    try:
        return x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc
    except (ValueError, IndexError) as error:
        raise OperatorError(f"{path}: no certificate in PEM found") from error
