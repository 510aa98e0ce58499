"""Sigstore trust roots: whose certificates, logs and clocks a policy believes, and when.

A `TrustRoot` is what a trusted_root.json says, parsed whole or refused; a `RootSource` is where a policy says that one
comes from, with what must vouch for a signature under it. What one source demands holds for its own material only:
roots are never merged. Keys and chains in PEM become such a document first (`byhand`), so that there is one way to be
trusted. Which roots are at hand now is for `at_hand`.

spec: sigstore protobuf-specs, TrustedRoot; protobuf JSON mapping; C2SP signed-note.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NoReturn
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from webhook import untrusted
from webhook.errors import Code, MalformedError, quote
from webhook.trust import certificates, material
from webhook.trust.material import Hash, PublicKey
from webhook.trust.stored import StoredRoot

MEDIA_TYPES = (
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
)
MAX_ROOT_BYTES = 4 << 20
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")  # of a file that policies may name
MAX_RESTORED = 64
MAX_ENTRIES = 256  # of each kind: a root that has rotated its keys every month for twenty years
MAX_CERTIFICATES = 10  # of one chain
LOG_ID_BYTES = 32  # RFC 6962 3.2; C2SP signed-note


@dataclass(frozen=True, slots=True)
class Window:
    """When something is valid: both ends belong to it; `None` is without end. Aware UTC."""

    start: datetime | None = None
    end: datetime | None = None

    def __contains__(self, moment: datetime) -> bool:
        return (self.start is None or self.start <= moment) and (self.end is None or moment <= self.end)


@dataclass(frozen=True, slots=True)
class Log:
    """A transparency log of signatures or of certificates. `log_id` as entries and SCTs name it."""

    url: str
    key: PublicKey
    log_id: bytes
    window: Window

    @property
    def host(self) -> str:
        return host_of(self.url)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate or timestamp authority. `chain` as the root lists it: leaf or intermediate first, root last."""

    chain: tuple[x509.Certificate, ...]
    window: Window
    url: str = ""

    @property
    def host(self) -> str:
        return host_of(self.url)


def key_id(key: PublicKey, name: str = "") -> bytes:
    """By which entries, promises and notes name the log with this `key`; of the Rekor v2 kind by its `name` too."""
    if not name or key.algorithm != "Ed25519":
        return hashlib.sha256(key.spki).digest()  # RFC 6962 3.2
    raw = key.spki[-32:]  # RFC 8410 4: the last part of the encoding, of fixed length
    return hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()  # C2SP signed-note, signature types


def host_of(url: str) -> str:
    """The host in `url`, or all of it where it is none."""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """One Sigstore instance. Two are equal when their `fingerprint`, the hex SHA-256 of the document, is.

    `notes` say what of the document is not believed since it is outside what we verify with.
    """

    fingerprint: str
    logs: tuple[Log, ...] = field(default=(), compare=False, repr=False)
    ct_logs: tuple[Log, ...] = field(default=(), compare=False, repr=False)
    certificate_authorities: tuple[Authority, ...] = field(default=(), compare=False, repr=False)
    timestamp_authorities: tuple[Authority, ...] = field(default=(), compare=False, repr=False)
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)
    document: bytes = field(default=b"", compare=False, repr=False)  # as it was parsed

    def __reduce__(self) -> tuple[Callable[[bytes], TrustRoot], tuple[bytes]]:
        return _restore, (self.document,)


class RootKind(StrEnum):
    BUILT_IN = "built-in"  # the public-good instance, shipped and refreshed
    INLINE = "inline"  # in the policy itself
    FILE = "file"  # a file beside the policies
    TUF = "tuf"  # a TUF repository, by its own root
    OBJECT = "object"  # a Secret or ConfigMap in the release namespace


@dataclass(frozen=True, slots=True)
class RootSource:
    """Where a trust root comes from, and what must vouch for a signature under it.

    `key` tells sources apart wherever policies name them: `public-good`, `inline sha256:…`, `file NAME`, `tuf URL …`,
    `secret NAME/KEY`, `configmap NAME/KEY`.
    """

    name: str  # as the policy calls it
    kind: RootKind
    key: str
    require_log: bool = True
    require_sct: bool = True
    require_timestamp: bool = False
    inline: TrustRoot | None = field(default=None, compare=False, repr=False)
    url: str = field(default="", compare=False, repr=False)  # of the TUF repository
    tuf_root: bytes = field(default=b"", compare=False, repr=False)  # its root.json, with which trust in it begins
    place: StoredRoot | None = field(default=None, compare=False, repr=False)


PUBLIC_GOOD = RootSource("public-good", RootKind.BUILT_IN, "public-good")


def parse(data: bytes) -> TrustRoot:
    """The trust root in a trusted_root.json of at most 4 MiB.

    A key of an algorithm that we do not know is left out, with a note; whatever else is not as specified refuses the
    whole document.

    Raises: MalformedError, with the path in the document.
    """
    document = untrusted.as_object(untrusted.parse_json(data, max_bytes=MAX_ROOT_BYTES, what=_WHAT), _WHAT)
    if document.get("mediaType") not in MEDIA_TYPES:
        _refuse(f"{_WHAT}: mediaType: {MEDIA_TYPES[0]} expected", Code.UNSUPPORTED)
    notes: list[str] = []

    def logs(name: str) -> tuple[Log, ...]:
        found = [_log(entry, where, notes) for entry, where in _entries(document, name, _WHAT, MAX_ENTRIES)]
        return _distinct([log for log in found if log is not None], _below(_WHAT, name))

    def authorities(name: str) -> tuple[Authority, ...]:
        return tuple(_authority(entry, where) for entry, where in _entries(document, name, _WHAT, MAX_ENTRIES))

    return TrustRoot(
        fingerprint=_fingerprint(document),
        logs=logs("tlogs"),
        ct_logs=logs("ctlogs"),
        certificate_authorities=authorities("certificateAuthorities"),
        timestamp_authorities=authorities("timestampAuthorities"),
        notes=tuple(notes),
        document=data,
    )


@functools.lru_cache(MAX_RESTORED)
def _restore(document: bytes) -> TrustRoot:
    """A root that went to another process, there."""
    return parse(document)


_WHAT = "trust root"

# keyDetails: what a key must be, and the hash that signatures with it use where its kind leaves a choice
KEY_DETAILS: Mapping[str, tuple[str, Hash | None]] = {
    "PKIX_ECDSA_P256_SHA_256": ("ECDSA P-256", None),
    "PKIX_ECDSA_P384_SHA_384": ("ECDSA P-384", Hash.SHA384),
    "PKIX_ECDSA_P521_SHA_512": ("ECDSA P-521", Hash.SHA512),
    "PKIX_RSA_PKCS1V15_2048_SHA256": ("RSA 2048", None),
    "PKIX_RSA_PKCS1V15_3072_SHA256": ("RSA 3072", None),
    "PKIX_RSA_PKCS1V15_4096_SHA256": ("RSA 4096", None),
    "PKCS1_RSA_PKCS1V5": ("RSA", None),  # of any size
    "PKIX_ED25519": ("Ed25519", None),
}


def _log(entry: Mapping[str, object], where: str, notes: list[str]) -> Log | None:
    key = _object(entry, "publicKey", where)
    # Without a beginning a key that was stolen and replaced would count for all times, so it must be said
    window = _window(_object(key, "validFor", f"{where}.publicKey"), f"{where}.publicKey.validFor", start_required=True)
    log_id = _bytes(_object(entry, "logId", where), "keyId", f"{where}.logId")
    if len(log_id) != LOG_ID_BYTES:
        _refuse(f"{where}.logId.keyId: {LOG_ID_BYTES} bytes expected, found {len(log_id)}")
    details, tree_hash = _text(key, "keyDetails", f"{where}.publicKey"), _text(entry, "hashAlgorithm", where)
    if details not in KEY_DETAILS or tree_hash not in ("", "SHA2_256"):
        unknown = f"keyDetails {quote(details)}" if details not in KEY_DETAILS else f"hashAlgorithm {quote(tree_hash)}"
        notes.append(f"{where}: {unknown} is not known, this log is not believed")
        return None
    url = _text(entry, "baseUrl", where)
    return Log(url, _public_key(_bytes(key, "rawBytes", f"{where}.publicKey"), details, where), log_id, window)


def _authority(entry: Mapping[str, object], where: str) -> Authority:
    chain = _object(entry, "certChain", where)
    listed = _entries(chain, "certificates", f"{where}.certChain", MAX_CERTIFICATES)
    if not listed:
        _refuse(f"{where}.certChain.certificates: at least one certificate expected")
    issuers = tuple(_certificate(_bytes(one, "rawBytes", path), f"{path}.rawBytes") for one, path in listed)
    valid = entry.get("validFor")
    window = Window() if valid is None else _window(untrusted.as_object(valid, where), f"{where}.validFor")
    return Authority(issuers, window, _text(entry, "uri", where))


def _window(value: Mapping[str, object], where: str, *, start_required: bool = False) -> Window:
    start, end = _time(value, "start", where), _time(value, "end", where)
    if start_required and start is None:
        _refuse(f"{where}.start: a time expected, since when the key is valid")
    if start is not None and end is not None and end < start:
        _refuse(f"{where}: it ends before it starts")
    return Window(start, end)


# RFC 3339 5.6, with upper-case letters as the protobuf JSON mapping writes them
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def _time(value: Mapping[str, object], name: str, where: str) -> datetime | None:
    text = _text(value, name, where)
    if not text:
        if value.get(name) is not None:
            _refuse(f"{where}.{name}: a time of RFC 3339 expected, found ''")
        return None
    match = _TIME.fullmatch(text)
    try:
        if match is not None:
            micros = (match[2] or "")[:6].ljust(6, "0")  # Python counts no nanoseconds
            return datetime.fromisoformat(f"{match[1]}.{micros}{match[3].replace('Z', '+00:00')}").astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return _refuse(f"{where}.{name}: a time of RFC 3339 expected, found {quote(text, max_chars=40)}")


def _public_key(raw: bytes, details: str, where: str) -> PublicKey:
    wanted, hash_name = KEY_DETAILS[details]
    try:
        key = serialization.load_der_public_key(raw)
        found = material.public_key(key)
        if found.algorithm == wanted or (wanted == "RSA" and found.algorithm.startswith("RSA ")):
            return material.public_key(key, hash=hash_name) if hash_name else found
    except MalformedError as error:
        raise MalformedError(error.code, f"{where}.publicKey: {error.detail}") from error
    except (ValueError, OverflowError, UnsupportedAlgorithm) as error:
        raise MalformedError(Code.MALFORMED, f"{where}.publicKey.rawBytes: no public key in DER") from error
    return _refuse(f"{where}.publicKey: keyDetails {details} does not fit a key of {found.algorithm}")


def _certificate(der: bytes, where: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Parts are read when first looked at: now, where a mistake can still be told to whom it concerns
        _ = (certificate.extensions, certificate.public_key())
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except x509.UnsupportedGeneralNameType as error:
        raise MalformedError(Code.UNSUPPORTED, f"{where}: a certificate with a kind of name not supported") from error
    except certificates.UNREADABLE as error:
        raise MalformedError(Code.MALFORMED, f"{where}: not an X.509 certificate in DER as expected") from error
    return certificate


def _distinct(logs: Sequence[Log], where: str) -> tuple[Log, ...]:
    """One key for each log: of two, the one that was checked would depend on their order."""
    seen: set[bytes] = set()
    for log in logs:
        if log.log_id in seen:
            _refuse(f"{where}: the log id {log.log_id.hex()} stands twice")
        seen.add(log.log_id)
    return tuple(logs)


def _fingerprint(document: Mapping[str, object]) -> str:
    try:
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        _refuse(f"{_WHAT}: nested too deeply")
    return hashlib.sha256(canonical.encode()).hexdigest()


# Protobuf JSON mapping: null is the same as absent, and absent the same as empty


def _entries(
    value: Mapping[str, object], name: str, where: str, max_items: int
) -> list[tuple[Mapping[str, object], str]]:
    path = _below(where, name)
    listed = value.get(name)
    found = [] if listed is None else untrusted.as_array(listed, path, max_items=max_items)
    return [(untrusted.as_object(one, f"{path}[{index}]"), f"{path}[{index}]") for index, one in enumerate(found)]


def _below(where: str, name: str) -> str:
    return f"{where}: {name}" if where == _WHAT else f"{where}.{name}"


def _object(value: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    return untrusted.as_object(value.get(name), f"{where}.{name}")


def _text(value: Mapping[str, object], name: str, where: str) -> str:
    text = value.get(name)
    return "" if text is None else untrusted.as_string(text, f"{where}.{name}")


def _bytes(value: Mapping[str, object], name: str, where: str) -> bytes:
    path = f"{where}.{name}"
    data = untrusted.decode_base64(untrusted.as_string(value.get(name), path), path)
    return data or _refuse(f"{path}: it is empty")


def _refuse(problem: str, code: Code = Code.MALFORMED) -> NoReturn:
    raise MalformedError(code, problem)
