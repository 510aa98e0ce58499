"""Transparency logs in memory: Rekor 1 with promises, Rekor 2 with witnesses, and a log of certificates.

The trees are real, so proofs and checkpoints are of whatever was appended; every log starts with some entries of
strangers. A log promises and proves whatever it is handed, at any time: it is for tests to lie.

spec: RFC 9162 2.1; RFC 6962 3.2; rekor, signed entry timestamp; C2SP tlog-checkpoint, signed-note, tlog-cosignature.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.private_sigstore.documents import Document, as_bytes, rfc3339
from webhook.demo import signing
from webhook.demo.content import as_json
from webhook.demo.signing import SigningKey, base64_of

STRANGERS = 5  # entries that stand in a log from the beginning
DETAILS: Mapping[str, str] = {
    "p256": "PKIX_ECDSA_P256_SHA_256",
    "p384": "PKIX_ECDSA_P384_SHA_384",
    "p521": "PKIX_ECDSA_P521_SHA_512",
    "rsa2048": "PKIX_RSA_PKCS1V15_2048_SHA256",
    "rsa3072": "PKIX_RSA_PKCS1V15_3072_SHA256",
    "rsa4096": "PKIX_RSA_PKCS1V15_4096_SHA256",
    "ed25519": "PKIX_ED25519",
}


def spki(key: SigningKey) -> bytes:
    return key.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# --- the tree


@dataclass(slots=True)
class Tree:
    """RFC 9162 2.1: leaves are hashed as they come."""

    leaves: list[bytes] = field(default_factory=list)

    def append(self, data: bytes) -> int:
        self.leaves.append(sha256(b"\x00" + data))
        return len(self.leaves) - 1

    def root(self) -> bytes:
        return _root(self.leaves)

    def path(self, index: int) -> list[bytes]:
        return _path(self.leaves, index)


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = _half(len(leaves))
    return sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:]))


def _path(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = _half(len(leaves))
    if index < half:
        return [*_path(leaves[:half], index), _root(leaves[half:])]
    return [*_path(leaves[half:], index - half), _root(leaves[:half])]


def _half(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


# --- checkpoints


@dataclass(frozen=True, slots=True)
class Witness:
    """C2SP tlog-cosignature: somebody who has seen a checkpoint."""

    name: str
    key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    def line(self, note: str, at: datetime) -> str:
        seconds = int(at.timestamp())
        signature = self.key.sign(f"cosignature/v1\ntime {seconds}\n{note}".encode())
        hint = sha256(self.name.encode() + b"\n\x04" + self.key.public_key().public_bytes_raw())[:4]
        return signature_line(self.name, hint, struct.pack("!Q", seconds) + signature)


def signature_line(name: str, hint: bytes, signature: bytes) -> str:
    return f"\u2014 {name} {base64_of(hint + signature)}\n"


# --- Rekor


class RekorV1:
    """A log with signed entry timestamps, in shards: entries have an index of their own in each tree."""

    def __init__(
        self, host: str = "rekor.private.test", *, kind: str = "p256", tree_id: int = 3904496407287907110,
        first_index: int = 25_579,
    ) -> None:  # fmt: skip
        self.url, self.host, self.kind = f"https://{host}", host, kind
        self.origin = f"{host} - {tree_id}"
        self.key = signing.new_key(kind)
        self.first_index = first_index
        self.tree = _tree_of_strangers()

    @property
    def log_id(self) -> bytes:
        return sha256(spki(self.key))

    def promise(self, body: bytes, at: datetime, index: int) -> bytes:
        """The signed entry timestamp."""
        return self.key.sign(_sorted_json({**self.payload(body, at, index), "body": base64_of(body)}))

    def payload(self, body: bytes, at: datetime, index: int) -> Document:
        """The entry as annotations of a legacy signature hold it."""
        return {
            "body": base64_of(body),
            "integratedTime": int(at.timestamp()),
            "logIndex": index,
            "logID": self.log_id.hex(),
        }

    def annotation(self, body: object, at: datetime) -> str:
        """`body` is logged: the value of annotation `dev.sigstore.cosign/bundle`."""
        data = as_bytes(body)
        index = self.first_index + self.tree.append(data)
        document: Document = {
            "SignedEntryTimestamp": base64_of(self.promise(data, at, index)),
            "Payload": self.payload(data, at, index),
        }
        return as_json(document).decode()

    def entry(self, body: Document, at: datetime, *, promise: bool = True, proof: bool = True) -> Document:
        """`body` is logged: the entry as bundles hold it."""
        data = as_bytes(body)
        index = self.tree.append(data)
        entry = _entry(self.log_id, self.first_index + index, body, data)
        entry["integratedTime"] = str(int(at.timestamp()))
        if promise:
            set_ = self.promise(data, at, self.first_index + index)
            entry["inclusionPromise"] = {"signedEntryTimestamp": base64_of(set_)}
        if proof:
            entry["inclusionProof"] = self.proof(index)
        return entry

    def proof(self, index: int) -> Document:
        """That the entry with this index in the tree is in it now."""
        return _proof(self.tree, index, self.checkpoint())

    def checkpoint(self, *, origin: str = "", size: int | None = None, root: bytes | None = None,
                   hint: bytes | None = None, name: str = "") -> str:  # fmt: skip
        """Signed well, whatever it says. `hint` and `name` are those of the signature's line."""
        note = _note(origin or self.origin, size or len(self.tree.leaves), root or self.tree.root())
        named = name or (origin or self.origin).split(" - ")[0]
        used = self.log_id[:4] if hint is None else hint
        return f"{note}\n{signature_line(named, used, self.key.sign(note.encode()))}"

    def trusted(self, start: datetime | None, end: datetime | None) -> Document:
        return trusted_log(self.url, self.key, self.log_id, start, end)


class RekorV2:
    """A log of tiles: no promises, checkpoints that witnesses have seen."""

    def __init__(
        self, host: str = "log2026-1.rekor.private.test", *, kind: str = "ed25519",
        witnesses: tuple[Witness, ...] = (Witness("witness.private.test/w1"),),
    ) -> None:  # fmt: skip
        self.url, self.host, self.kind = f"https://{host}", host, kind
        self.origin = host
        self.key = signing.new_key(kind)
        self.witnesses = witnesses
        self.tree = _tree_of_strangers()

    @property
    def log_id(self) -> bytes:
        if isinstance(self.key.private, ed25519.Ed25519PrivateKey):
            return sha256(self.origin.encode() + b"\n\x01" + self.key.private.public_key().public_bytes_raw())
        return sha256(spki(self.key))

    def entry(self, body: Document, at: datetime) -> Document:
        """`body` is logged: the entry as bundles hold it. `at` is when witnesses saw it; it stands nowhere else."""
        data = as_bytes(body)
        index = self.tree.append(data)
        return {**_entry(self.log_id, index, body, data), "inclusionProof": self.proof(index, at)}

    def proof(self, index: int, at: datetime) -> Document:
        """That the entry with this index is in the tree now."""
        return _proof(self.tree, index, self.checkpoint(at))

    def checkpoint(self, at: datetime, *, origin: str = "", size: int | None = None, root: bytes | None = None,
                   hint: bytes | None = None) -> str:  # fmt: skip
        note = _note(origin or self.origin, size or len(self.tree.leaves), root or self.tree.root())
        own = signature_line(
            origin or self.origin, self.log_id[:4] if hint is None else hint, self.key.sign(note.encode())
        )
        return f"{note}\n{own}{''.join(witness.line(note, at) for witness in self.witnesses)}"

    def trusted(self, start: datetime | None, end: datetime | None) -> Document:
        return trusted_log(self.url, self.key, self.log_id, start, end)


def _tree_of_strangers() -> Tree:
    tree = Tree()
    for number in range(STRANGERS):
        tree.append(b"an entry of a stranger, number %d" % number)
    return tree


def _entry(log_id: bytes, index: int, body: Document, data: bytes) -> Document:
    return {
        "logIndex": str(index),
        "logId": {"keyId": base64_of(log_id)},
        "kindVersion": {"kind": body.get("kind"), "version": body.get("apiVersion")},
        "canonicalizedBody": base64_of(data),
    }


def _proof(tree: Tree, index: int, checkpoint: str) -> Document:
    return {
        "logIndex": str(index),
        "treeSize": str(len(tree.leaves)),
        "rootHash": base64_of(tree.root()),
        "hashes": [base64_of(part) for part in tree.path(index)],
        "checkpoint": {"envelope": checkpoint},
    }


def _note(origin: str, size: int, root: bytes) -> str:
    return f"{origin}\n{size}\n{base64_of(root)}\n"


def _sorted_json(document: Document) -> bytes:
    return as_json(dict(sorted(document.items())))


# --- certificates


class CTLog:
    """RFC 6962 3.2: signed certificate timestamps of certificates that are about to be issued."""

    def __init__(self, host: str = "ct.private.test", *, kind: str = "p256") -> None:
        self.url, self.kind = f"https://{host}", kind
        self.key = signing.new_key(kind)

    @property
    def log_id(self) -> bytes:
        return sha256(spki(self.key))

    def timestamp(self, precertificate: x509.Certificate, issuer_spki: bytes, at: datetime, extensions: bytes) -> bytes:
        """The serialised SCT of `precertificate`, which is the certificate without any."""
        when = struct.pack("!Q", int(at.timestamp() * 1000))
        tbs = precertificate.tbs_certificate_bytes
        extra = struct.pack("!H", len(extensions)) + extensions
        signed = b"\x00\x00" + when + b"\x00\x01" + sha256(issuer_spki) + len(tbs).to_bytes(3) + tbs + extra
        signature = self.key.sign(signed)
        algorithms = b"\x04\x03"  # SHA-256, ECDSA
        return b"\x00" + self.log_id + when + extra + algorithms + struct.pack("!H", len(signature)) + signature

    def trusted(self, start: datetime | None, end: datetime | None) -> Document:
        return trusted_log(self.url, self.key, self.log_id, start, end)


def timestamp_list(timestamps: list[bytes]) -> bytes:
    """RFC 6962 3.3: the value of the extension that holds them, a DER OCTET STRING."""
    entries = b"".join(struct.pack("!H", len(one)) + one for one in timestamps)
    return der(0x04, struct.pack("!H", len(entries)) + entries)


def der(tag: int, content: bytes) -> bytes:
    """X.690 8.1: tag, length in its shortest form, content."""
    length = len(content)
    if length < 128:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + content


def trusted_log(url: str, key: SigningKey, log_id: bytes, start: datetime | None, end: datetime | None) -> Document:
    """A log as a trusted_root.json lists it."""
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": base64_of(spki(key)),
            "keyDetails": DETAILS[key.name],
            "validFor": valid_for(start, end),
        },
        "logId": {"keyId": base64_of(log_id)},
    }


def valid_for(start: datetime | None, end: datetime | None) -> Document:
    named = {"start": start, "end": end}
    return {name: rfc3339(moment) for name, moment in named.items() if moment is not None}
