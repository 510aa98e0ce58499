"""What may differ between accepted evidence and a mutant of it that is accepted too: only what nobody signs.

Each entry of the lists is a place in a document, with its reason. Besides, a mutant that is accepted must say nothing
that its seed does not: the same signer, certificate, statement and annotations, no other time and no other log.
These are no differences: how a document is written (white space, order of members, line ends in an annotation), members
that are null instead of absent, members and annotations that nobody reads (`keyid`, the chain, predicateType), and what
stands around the first certificate of an annotation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fuzz.mutants import Mutant
from tests.fuzz.seeds import Judged, Seed
from tests.private_sigstore.documents import BUNDLES, Path
from tests.private_sigstore.instance import CERTIFICATE, REKOR_BUNDLE, SIGNATURE, TIMESTAMP
from webhook.evidence.model import Form, Proof

_ENTRIES = "verificationMaterial/tlogEntries"
_STAMPS = "verificationMaterial/timestampVerificationData"

_ALWAYS = (
    r"mediaType",  # only which version it has the shape of
    r"verificationMaterial/publicKey(/hint)?",  # a hint where to look for the key
    r"verificationMaterial/x509CertificateChain/certificates/[1-9].*",  # only the leaf is used
    r"messageSignature/messageDigest(/.*)?",  # what a bundle says of itself: compared where it is there
    rf"{_ENTRIES}/\d+/inclusionProof/checkpoint/envelope/others",  # witnesses, whom no trust root names
    # An entry or a token beside that of the seed is right, or passed over, and then proves nothing
    rf"{_ENTRIES}/[1-9].*",
    rf"{_STAMPS}/rfc3161Timestamps/[1-9].*",
    # Of a token only what its signature covers is believed; the rest are certificates that it brings
    rf"{_STAMPS}/rfc3161Timestamps/\d+/signedTimestamp",
    r"annotations/timestamp/SignedRFC3161Timestamp",
)
_NOT_PROMISED = (rf"{_ENTRIES}/\d+/logIndex", rf"{_ENTRIES}/\d+/integratedTime")  # only the promise is over them
_OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "promise": (rf"{_ENTRIES}/\d+/inclusionPromise", *_NOT_PROMISED),
    "proof": (rf"{_ENTRIES}/\d+/inclusionProof",),
    "timestamp": (rf"{_STAMPS}(/.*)?", r"annotations/timestamp(/.*)?"),
    "log": (rf"{_ENTRIES}(/.*)?", r"annotations/bundle(/.*)?"),  # an entry of a log that nobody knows is passed over
    "certificate": (r"annotations/certificate(/.*)?",),  # of the same key, and gives no trust
}

# Members that are read, anywhere. Others mean nothing.
_READ = frozenset((
    *("mediaType", "verificationMaterial", "certificate", "rawBytes", "x509CertificateChain", "certificates"),
    *("publicKey", "hint", "tlogEntries", "logIndex", "logId", "keyId", "kindVersion", "kind", "version"),
    *("integratedTime", "inclusionPromise", "signedEntryTimestamp", "inclusionProof", "rootHash", "treeSize"),
    *("hashes", "checkpoint", "envelope", "canonicalizedBody", "timestampVerificationData", "rfc3161Timestamps"),
    *("signedTimestamp", "dsseEnvelope", "payload", "payloadType", "signatures", "sig", "messageSignature"),
    *("messageDigest", "algorithm", "digest", "signature"),
    *("SignedEntryTimestamp", "Payload", "body", "logID", "SignedRFC3161Timestamp"),
))  # fmt: skip
_READ_ANNOTATIONS: Mapping[str, str] = {
    SIGNATURE: "signature",
    CERTIFICATE: "certificate",
    REKOR_BUNDLE: "bundle",
    TIMESTAMP: "timestamp",
}


def differences(seed: Seed, mutant: Mutant) -> list[str]:
    """Where `mutant` differs from `seed` in something that matters."""
    if mutant.subject != seed.subject:
        return ["the image"]
    before = _document(seed.form, seed.payload, seed.annotations)
    after = _document(seed.form, mutant.payload, mutant.annotations)
    _pass_over_strangers(before, after)
    free = re.compile("|".join(f"(?:{pattern})" for pattern in _free(seed, after)))
    places = ("/".join(map(str, path)) for path in _differing(before, after, ()))
    return [place for place in places if not free.fullmatch(place)]


def _pass_over_strangers(before: dict[str, object], after: dict[str, object]) -> None:
    """Entries of logs that nobody knows count for nothing, wherever in the list they stand."""
    known = [_log_id(entry) for entry in _entries(before)]
    entries = _entries(after)
    believed = [entry for entry in entries if _log_id(entry) in known]
    if believed:
        entries[:] = believed


def _entries(document: dict[str, object]) -> list[object]:
    material = document.get("verificationMaterial")
    entries = material.get("tlogEntries") if isinstance(material, dict) else None
    return entries if isinstance(entries, list) else []


def _log_id(entry: object) -> object:
    return entry.get("logId") if isinstance(entry, dict) else None


def says_more(before: Judged, after: Judged) -> str:
    """What `after` proves and `before` does not; empty where it is nothing."""
    if before.signed != after.signed:
        return "something else"
    one, other = before.proof, after.proof
    if one is None or other is None:
        return "" if one is other else "what is not asked for"
    if not set(other.times) <= set(one.times):
        return "another time"
    if not {url for url, _ in other.logged} <= {url for url, _ in one.logged}:
        return "another log"
    return "" if _timeless(one) == _timeless(other) else "something else"


def _timeless(proof: Proof) -> Proof:
    return replace(proof, times=(), logged=())


def _free(seed: Seed, after: Mapping[str, object]) -> Iterator[str]:
    yield from _ALWAYS
    if after.get("mediaType") == BUNDLES["0.1"]:  # nobody signs the version, and in this one the promise is enough
        yield from _OPTIONAL["proof"]
    for name in seed.optional:
        yield from _OPTIONAL[name]
    if not seed.promised:
        yield from _NOT_PROMISED
    if seed.form is Form.DSSE:
        yield r"annotations/signature"  # the signature stands in the envelope


# --- evidence as one value, in which what means the same is the same


def _document(form: Form | None, payload: bytes, annotations: Mapping[str, str]) -> dict[str, object]:
    read = {
        short: _annotation(short, annotations[name])
        for name, short in _READ_ANNOTATIONS.items()
        if annotations.get(name)
    }
    if form is Form.LEGACY:
        return {"payload": payload, "annotations": read}
    parsed = _parsed(payload.decode("utf-8", "replace"))
    return {"payload": parsed, "annotations": read} if not isinstance(parsed, dict) else {**parsed, "annotations": read}


def _annotation(name: str, text: str) -> object:
    match name:
        case "certificate":
            return _first_certificate(text)
        case "signature":
            return text.replace("\r", "").replace("\n", "")
    return _parsed(text)


def _first_certificate(text: str) -> object:
    try:
        return x509.load_pem_x509_certificates(text.encode())[0].public_bytes(Encoding.DER)
    except ValueError:
        return text


def _parsed(text: str) -> object:
    try:
        return _normal(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _normal(value: object) -> object:
    if isinstance(value, list):
        return [_normal(one) for one in value]
    if not isinstance(value, dict):
        return value
    members = {name: _normal(one) for name, one in value.items() if name in _READ and one is not None}
    if isinstance(members.get("envelope"), str):
        members["envelope"] = _checkpoint(str(members["envelope"]))
    return {name: one for name, one in members.items() if not _means_nothing(name, one)}


def _means_nothing(name: str, value: object) -> bool:
    """ProtoJSON leaves out 0 and empty lists; a proof without checkpoint is none, and only version 0.1 may have it."""
    if name == "hashes":
        return value == []
    if name == "inclusionProof":
        return isinstance(value, dict) and not _envelope(value)
    return name in ("logIndex", "integratedTime") and value in ("0", 0) and value is not False


def _envelope(proof: dict[str, object]) -> object:
    checkpoint = proof.get("checkpoint")
    return checkpoint.get("envelope") if isinstance(checkpoint, dict) else checkpoint


def _checkpoint(text: str) -> dict[str, object]:
    """A signed note: what is signed, the first signature, and those of others."""
    if not text:
        return {}
    body, _, lines = text.partition("\n\n")
    own, _, others = lines.partition("\n")
    return {"body": body, "own": own, "others": others}


_ABSENT = object()


def _differing(one: object, other: object, path: Path) -> Iterator[Path]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from _differing(one.get(name, _ABSENT), other.get(name, _ABSENT), (*path, name))
    elif isinstance(one, list) and isinstance(other, list):
        for number in range(max(len(one), len(other))):
            yield from _differing(_item(one, number), _item(other, number), (*path, number))
    elif one != other or isinstance(one, bool) is not isinstance(other, bool):
        yield path


def _item(items: list[object], number: int) -> object:
    return items[number] if number < len(items) else _ABSENT
