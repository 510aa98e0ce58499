"""The serving certificate: from files that are read again when they change, or issued here and renewed.

One live `SSLContext` is kept up to date, so new handshakes get the new certificate and open connections live on. A new
pair goes into force only when it parses, fits together and has not expired; otherwise the old one stays, and
`problem` says why. Private keys never touch a disk here. What is issued at start is of an authority of this process
alone, until `use` is given the one that all replicas share; whether clients trust either is left to `published`.

specs: RFC 5280; RFC 9325.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from webhook import files, settings
from webhook.errors import OperatorError
from webhook.tls import authority
from webhook.tls.authority import Authority, Pair

FILE_MAX_BYTES = settings.MIB

log = logging.getLogger(__name__)


class ServingCertificate:
    """`context` is what a server listens with. Raises: OperatorError, when there is no pair to begin with."""

    def __init__(self, options: settings.Server, *, now: datetime) -> None:
        self.context = new_context()
        if options.client_ca_file:
            _ask_for_certificates(self.context, options.client_ca_file)
        self.problem: str | None = None
        self._options = options
        self._seen = b""
        self._authority = None if options.certificate_file else authority.make(now)
        if self._authority:
            self._save(self._authority)
        self._pair = self._next(now)
        _serve(self.context, self._pair)

    @property
    def not_after(self) -> datetime:
        """When the certificate in force expires."""
        return self._pair.not_after

    @property
    def chain(self) -> bytes:
        """The certificate in force and what it came with, in PEM, leaf first."""
        return self._pair.chain

    @property
    def authority_pem(self) -> bytes | None:
        """The authority of a self-issued certificate."""
        return self._authority.pem if self._authority else None

    def use(self, shared: Authority, now: datetime) -> None:
        """The certificate in force is of `shared`, and so are those that follow it.

        Raises: OperatorError; then the one in force stays.
        """
        pair = shared.issue(self._options.names, now)
        self._save(shared)
        _serve(self.context, pair)
        self._authority, self._pair, self.problem = shared, pair, None

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
            _serve(self.context, pair)
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
        _serve(new_context(), pair)  # a trial, so that a key that does not fit never reaches the live context
        self._seen = seen
        return pair

    def _save(self, issuer: Authority) -> None:
        if self._options.ca_out_file:
            files.save(self._options.ca_out_file, issuer.pem)


def new_context() -> ssl.SSLContext:
    """A server's context without a certificate yet: TLS 1.2 or later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _ask_for_certificates(context: ssl.SSLContext, authorities: Path) -> None:
    """No handshake succeeds without a certificate of one of `authorities`, a file in PEM. Raises: OperatorError."""
    pem = files.load(authorities, FILE_MAX_BYTES)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise OperatorError(f"{authorities}: no certificate in PEM found") from error
    context.verify_mode = ssl.CERT_REQUIRED


def _serve(context: ssl.SSLContext, pair: Pair) -> None:
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
