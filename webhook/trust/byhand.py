"""Trust roots by hand: the chains and keys in PEM that deployments had before there was a trusted_root.json.

They become such a document, which is then read as any other is. PEM says neither whose something is nor when it was
valid: every part is valid for all times, and its name says which of those handed over it is.

spec: sigstore protobuf-specs, TrustedRoot; RFC 7468; C2SP signed-note.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from webhook.errors import Code, MalformedError, quote
from webhook.trust import certificates, material, root
from webhook.trust.root import TrustRoot

MAX_CHAIN_BYTES = 128 << 10  # of PEM


@dataclass(frozen=True, slots=True)
class LogKey:
    """A log's public key in PEM, by hand. `origin` only for a log of the Rekor v2 kind: the first line of its
    checkpoints, `log2025-1.rekor.sigstore.dev`."""

    pem: str | bytes
    url: str = ""
    origin: str = ""


def from_material(
    *,
    certificate_authorities: Sequence[str | bytes] = (),
    transparency_logs: Sequence[LogKey] = (),
    ct_logs: Sequence[LogKey] = (),
    timestamp_authorities: Sequence[str | bytes] = (),
) -> TrustRoot:
    """The root that chains and keys in PEM make: each valid for all times, since PEM does not say when.

    A chain is one authority: its root, and intermediates up to it, in one order or the other.

    Raises: MalformedError.
    """
    return root.parse(
        assemble(
            certificate_authorities=certificate_authorities,
            transparency_logs=transparency_logs,
            ct_logs=ct_logs,
            timestamp_authorities=timestamp_authorities,
        )
    )


def assemble(
    *,
    certificate_authorities: Sequence[str | bytes] = (),
    transparency_logs: Sequence[LogKey] = (),
    ct_logs: Sequence[LogKey] = (),
    timestamp_authorities: Sequence[str | bytes] = (),
    fulcio_url: str = "",
) -> bytes:
    """The trusted_root.json that `from_material` reads. Raises: MalformedError."""
    document = {
        "mediaType": root.MEDIA_TYPES[0],
        "tlogs": [_write_log(log, f"transparency log {n}") for n, log in enumerate(transparency_logs, 1)],
        "certificateAuthorities": [
            _write_authority(pem, fulcio_url, f"certificate authority {n}")
            for n, pem in enumerate(certificate_authorities, 1)
        ],
        "ctlogs": [_write_log(log, f"certificate transparency log {n}") for n, log in enumerate(ct_logs, 1)],
        "timestampAuthorities": [
            _write_authority(pem, "", f"timestamp authority {n}") for n, pem in enumerate(timestamp_authorities, 1)
        ],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


_ALWAYS = {"start": "1970-01-01T00:00:00Z"}
_DETAILS_OF = {algorithm: details for details, (algorithm, _) in root.KEY_DETAILS.items()}


def _write_log(log: LogKey, where: str) -> dict[str, object]:
    try:
        key = material.parse_public_key(log.pem)
    except MalformedError as error:
        raise MalformedError(error.code, f"{where}: {error.detail}") from error
    url = log.url or (f"https://{log.origin}" if log.origin else "")
    if log.origin and root.host_of(url) != log.origin:  # nothing that the log signs would ever be believed
        _refuse(f"{where}: origin: the host of its URL expected, {quote(root.host_of(url))}, found {quote(log.origin)}")
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _base64(key.spki),
            "keyDetails": _DETAILS_OF.get(key.algorithm, "PKCS1_RSA_PKCS1V5"),
            "validFor": _ALWAYS,
        },
        "logId": {"keyId": _base64(root.key_id(key, log.origin))},
    }


def _write_authority(pem: str | bytes, url: str, where: str) -> dict[str, object]:
    chain = _chain(pem, where)
    name = {
        part: attributes[0].value
        for part, oid in (("organization", NameOID.ORGANIZATION_NAME), ("commonName", NameOID.COMMON_NAME))
        if (attributes := chain[-1].subject.get_attributes_for_oid(oid))
    }
    return {
        "subject": {"organization": "", "commonName": where, **name},  # other programs insist on both
        "uri": url,
        "certChain": {
            "certificates": [{"rawBytes": _base64(one.public_bytes(serialization.Encoding.DER))} for one in chain]
        },
        "validFor": _ALWAYS,
    }


def _chain(pem: str | bytes, where: str) -> list[x509.Certificate]:
    data = pem.encode() if isinstance(pem, str) else pem
    if len(data) > MAX_CHAIN_BYTES:
        _refuse(f"{where}: {len(data)} bytes, at most {MAX_CHAIN_BYTES} are read", Code.LIMIT_EXCEEDED)
    if b"PRIVATE KEY" in data:
        _refuse(f"{where}: there is a private key in it; certificates only expected")
    try:
        chain = x509.load_pem_x509_certificates(data)
        _ = [one.subject for one in chain]  # names are read when they are asked for
    except certificates.UNREADABLE as error:
        raise MalformedError(Code.MALFORMED, f"{where}: certificates in PEM expected") from error
    if len(chain) > root.MAX_CERTIFICATES:
        _refuse(f"{where}: {len(chain)} certificates, at most {root.MAX_CERTIFICATES} are read", Code.LIMIT_EXCEEDED)
    for ordered in (chain, chain[::-1]):
        if all(_issued(one, issuer) for one, issuer in pairwise(ordered)):
            return ordered
    return _refuse(f"{where}: its certificates are no chain; give each authority's chain by itself, its root last")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *certificates.UNREADABLE):
        return False
    return True


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _refuse(problem: str, code: Code = Code.MALFORMED) -> NoReturn:
    raise MalformedError(code, problem)
