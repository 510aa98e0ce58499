"""The trust store folder of Notation: `x509/<type>/<name>/`, each with the certificates of one store as files.

A store is read as Notation reads it: whole, or not at all. A link, a folder or a file without certificates in it is a
mistake, since nobody could say what else was meant to be trusted.

spec: Notary Project, trust store and trust policy specification, trust store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook import files
from webhook.errors import MalformedError, OperatorError, quote
from webhook.migration.notation import StoreName
from webhook.trust import certificates
from webhook.trust.notary import stores
from webhook.trust.notary.stores import TrustStore

SUFFIXES = (".pem", ".crt", ".cer", ".der")
MAX_FILES = 100  # as many certificates as a store may have


def load(directory: Path, wanted: Iterable[StoreName]) -> Mapping[StoreName, TrustStore]:
    """The stores of these names in `directory`, each with one certificate at least. Raises: OperatorError."""
    if not (directory / "x509").is_dir():
        raise OperatorError(f"{directory}: Notation's folder `truststore` expected, with x509/<type>/<name>/ in it")
    return {name: _store(directory / "x509" / name.kind / name.name, name) for name in wanted}


def _store(folder: Path, name: StoreName) -> TrustStore:
    pem = "".join(_read(path) for path in _files(folder, name))
    try:
        return stores.parse(name.name, name.kind, pem)
    except MalformedError as error:
        raise OperatorError(f"{folder}: {error.detail}") from error


def _files(folder: Path, name: StoreName) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise OperatorError(f"{folder}: cannot be read, and {name} is trusted: {error.strerror}") from error
    if folder.is_symlink() or not 0 < len(found) <= MAX_FILES:
        raise OperatorError(f"{folder}: a folder, no link, with 1 to {MAX_FILES} files expected")
    for path in found:
        if path.is_symlink() or not path.is_file() or path.suffix.lower() not in SUFFIXES:
            expected = f"files that end in {', '.join(SUFFIXES)} expected, no links and no folders"
            raise OperatorError(f"{folder}: {expected}, found {quote(path.name, max_chars=80)}")
    return found


def _read(path: Path) -> str:
    """The certificates in `path` as PEM. Raises: OperatorError."""
    data = files.load(path, stores.MAX_PEM_BYTES)
    if b"-----BEGIN " in data:
        return data.decode("utf-8", "replace") + "\n"
    try:
        return x509.load_der_x509_certificate(data).public_bytes(Encoding.PEM).decode()
    except certificates.UNREADABLE as error:
        raise OperatorError(f"{path}: a certificate in PEM or DER expected, found neither") from error
