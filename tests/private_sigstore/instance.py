"""A whole private Sigstore in memory: what it issues, logs and stamps, and all that cosign makes of it.

    sigstore = PrivateSigstore()
    bundle = sigstore.keyless_bundle(digest, subject="dev@example.com")
    payload, annotations = sigstore.legacy_signature(digest, log="none", timestamp=True)
    root = sigstore.trusted_root()

Everything that it makes verifies under its own `trusted_root`. A `Twist` makes exactly one thing otherwise; what nobody
signs is changed in the result instead, by `documents.edit`. An instance is one deployment: another one is a stranger.

spec: cosign SIGNATURE_SPEC and BUNDLE_SPEC; sigstore protobuf-specs, Bundle and TrustedRoot.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypedDict, Unpack

from cryptography import x509

from tests.private_sigstore import authority, documents, entries, recipe
from tests.private_sigstore.authority import Authority, Leaf, NameKind
from tests.private_sigstore.clock import Clock
from tests.private_sigstore.documents import Change, Document
from tests.private_sigstore.entries import Verifier
from tests.private_sigstore.logs import CTLog, RekorV1, RekorV2, valid_for
from tests.private_sigstore.recipe import STRAIGHT, TO_LOG, TO_STAMP, How, HowSaid, Said
from webhook.demo import signing
from webhook.demo.content import as_json
from webhook.demo.signing import SigningKey, base64_of

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
YEAR = timedelta(days=365)

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
REKOR_BUNDLE = "dev.sigstore.cosign/bundle"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"

Window = tuple[datetime | None, datetime | None]
Layer = tuple[bytes, dict[str, str]]  # bytes and annotations

key_of = functools.cache(signing.new_key)

PARTS: Mapping[str, str] = {
    "rekor": "tlogs",
    "rekor2": "tlogs",
    "ct": "ctlogs",
    "ca": "certificateAuthorities",
    "clock": "timestampAuthorities",
}
_HASH_BITS: Mapping[str, int] = {"p384": 384, "p521": 512}


class LeafChanges(TypedDict, total=False):
    """Fields of `Leaf`."""

    subject: str | None
    kind: NameKind
    issuer: str
    issuer_v1: str | None
    issuer_v2: str | None
    extensions: Mapping[str, str | bytes]
    lifetime: timedelta
    usages: Sequence[x509.ObjectIdentifier]
    digital_signature: bool
    signs_certificates: bool
    ca: bool | None
    logs: Sequence[CTLog]
    sct_at: datetime | None
    sct_extensions: bytes


@dataclass(frozen=True, slots=True)
class _Signed:
    """A signature with all it was made of; `payload`, `envelope` and `document` are those of an attestation."""

    message: bytes  # that the signature is over
    signature: bytes
    verifier: Verifier
    key: SigningKey
    payload: bytes = b""
    envelope: bytes = b""  # as stored
    document: Document = field(default_factory=dict)  # the envelope


class PrivateSigstore:
    """`at` is when it signs, unless a method is told otherwise. Its parts are attributes, and may be replaced."""

    def __init__(self, at: datetime = AT, *, name: str = "private.test", intermediate: Window = (None, None)) -> None:
        self.at = at
        self.name = name
        start, end = at - 10 * YEAR, at + 10 * YEAR
        self.root = authority.root(f"{name} root", start, end)
        self.authority = self.root.intermediate(
            f"{name} intermediate", intermediate[0] or at - YEAR, intermediate[1] or at + YEAR
        )
        self.ct_log = CTLog(f"ct.{name}")
        self.rekor = RekorV1(f"rekor.{name}")
        self.rekor2 = RekorV2(f"log2026-1.rekor.{name}")
        clock_root = authority.root(f"{name} timestamp root", start, end)
        self.clock = Clock(clock_root.timestamper(f"{name} clock", start, end))

    # --- certificates

    def leaf(self, **changes: Unpack[LeafChanges]) -> Leaf:
        """What a certificate of this instance says, with a timestamp of its CT log, with fields of `Leaf` replaced."""
        return replace(Leaf(logs=(self.ct_log,)), **changes)

    def issue(
        self, key: SigningKey, leaf: Leaf | None = None, *, at: datetime | None = None, by: Authority | None = None
    ) -> x509.Certificate:
        """A certificate of `key`."""
        return (by or self.authority).issue(key, at or self.at, leaf or self.leaf())

    # --- bundles

    def keyless_bundle(
        self, digest: str, *, version: str = "0.3", chain: Sequence[x509.Certificate] = (), **how: Unpack[HowSaid]
    ) -> bytes:
        """A bundle that signs a statement about `digest`, of a cosign signature unless `predicate_type` is given.

        `chain` stands behind the certificate, where the version has chains.
        """
        certificate = self._certificate(how)
        material = documents.certificate_material(version, (certificate, *chain))
        return self._dsse_bundle(version, material, digest, certificate, how)

    def key_bundle(self, digest: str, *, version: str = "0.3", **how: Unpack[HowSaid]) -> bytes:
        """The same, signed with a key alone."""
        key = _key(how)
        return self._dsse_bundle(version, {"publicKey": {"hint": key.hint}}, digest, key, how)

    def message_bundle(
        self, message: bytes, *, version: str = "0.3", keyless: bool = True, algorithm: str = "SHA2_256",
        **how: Unpack[How],
    ) -> bytes:  # fmt: skip
        """A bundle that signs the bytes of a file."""
        material: Document = {"publicKey": {"hint": _key(how).hint}}
        verifier = self._verifier(how, keyless=keyless)
        if isinstance(verifier, x509.Certificate):
            material = documents.certificate_material(version, (verifier,))
        signed = _sign(message, verifier, how)
        digest = hashlib.new(algorithm.replace("SHA2_", "sha"), message).digest()
        content: Document = {"messageSignature": documents.message_signature(digest, signed.signature, algorithm)}
        return self._bundle(version, material, content, signed, how)

    def _dsse_bundle(self, version: str, material: Document, digest: str, verifier: Verifier, how: HowSaid) -> bytes:
        signed = _seal(documents.statement(digest, **recipe.statement_of(how)), verifier, how)
        return self._bundle(version, material, {"dsseEnvelope": signed.document}, signed, how)

    def _bundle(self, version: str, material: Document, content: Document, signed: _Signed, how: How) -> bytes:
        log = how.get("log", "v1")
        logged = [] if log == "none" else [_document(_twist(how).logged(self._log(signed, how)))]
        stamped = how.get("timestamp", log == "v2")
        stamps = [self._stamp(signed.signature, how)] if stamped else []
        return as_json(documents.bundle(version, material, content, entries=logged, timestamps=stamps))

    # --- layers

    def legacy_signature(
        self, digest: str, *, keyless: bool = True, reference: str = "registry.example/org/app",
        annotations: Mapping[str, str] | None = None, **how: Unpack[How],
    ) -> Layer:  # fmt: skip
        """A layer of a `.sig` manifest. `annotations` are those that are signed."""
        payload = documents.simple_payload(digest, reference=reference, annotations=annotations)
        signed_payload = documents.as_bytes(_twist(how).payload(payload))
        signed = _sign(signed_payload, self._verifier(how, keyless=keyless), how)
        return signed.message, self._annotations(signed, base64_of(signed.signature), how)

    def legacy_attestation(self, digest: str, *, keyless: bool = True, **how: Unpack[HowSaid]) -> Layer:
        """A layer of a `.att` manifest, with a statement of version 0.1, as `cosign attest` writes it."""
        said: Said = {"kind": documents.STATEMENT_V01, **recipe.statement_of(how)}
        signed = _seal(documents.statement(digest, **said), self._verifier(how, keyless=keyless), how)
        annotations = {"predicateType": said.get("predicate_type", "")}
        return signed.envelope, annotations | self._annotations(signed, "", how)

    def _annotations(self, signed: _Signed, signature: str, how: How) -> dict[str, str]:
        annotations = {SIGNATURE: signature}
        if isinstance(signed.verifier, x509.Certificate):
            annotations[CERTIFICATE] = documents.pem(signed.verifier)
            annotations[CHAIN] = self.ca_pem
        assert how.get("log") != "v2", "cosign writes Rekor 2 entries into bundles only"
        if how.get("log") != "none":
            annotations[REKOR_BUNDLE] = self.rekor.annotation(_body(signed, how), self._log_time(how))
        if how.get("timestamp"):
            # older cosign stamps the whole envelope
            token = self._stamp(signed.envelope or signed.signature, how)
            annotations[TIMESTAMP] = as_json({"SignedRFC3161Timestamp": base64_of(token)}).decode()
        return annotations

    # --- steps

    def _certificate(self, how: How) -> x509.Certificate:
        given = how.get("certificate")
        if given is not None:
            return given
        named = self.leaf(
            subject=how.get("subject", "dev@example.com"), issuer=how.get("issuer", "https://issuer.example.com")
        )
        return self.issue(_key(how), how.get("leaf", named), at=how.get("at"))

    def _verifier(self, how: How, *, keyless: bool) -> Verifier:
        return self._certificate(how) if keyless else _key(how)

    def _log_time(self, how: How) -> datetime:
        return how.get("logged_at", how.get("at", self.at) + TO_LOG)

    def _log(self, signed: _Signed, how: How) -> Document:
        body, at = _body(signed, how), self._log_time(how)
        if how.get("log") == "v2":
            return self.rekor2.entry(body, at)
        return self.rekor.entry(body, at, promise=how.get("promise", True), proof=how.get("proof", True))

    def _stamp(self, message: bytes, how: How) -> bytes:
        twist, at = _twist(how), how.get("stamped_at", how.get("at", self.at) + TO_STAMP)
        return twist.stamp(self.clock.stamp(twist.stamped(message), at, embed=how.get("embed", True)))

    # --- trust

    def trusted_root(
        self, *, windows: Mapping[str, Window] | None = None, without: Sequence[str] = (), change: Change = recipe.same
    ) -> bytes:
        """What whoever trusts this instance is given: a trusted_root.json.

        `windows` replace when a part is valid, and `without` leaves parts out: names of `PARTS`.
        """
        valid: dict[str, Window] = dict.fromkeys(PARTS, (self.at - YEAR, None))
        valid.update(windows or {})
        members: dict[str, list[Document]] = {member: [] for member in PARTS.values()}
        for name, member in PARTS.items():
            if name not in without:
                members[member].append(self._trusted(name, *valid[name]))
        return documents.as_bytes(change({"mediaType": documents.TRUSTED_ROOT, **members}))

    def _trusted(self, part: str, start: datetime | None, end: datetime | None) -> Document:
        match part:
            case "rekor":
                return self.rekor.trusted(start, end)
            case "rekor2":
                return self.rekor2.trusted(start, end)
            case "ct":
                return self.ct_log.trusted(start, end)
            case "clock":
                return self._trusted_chain("tsa", self.clock.authority, start, end)
        return self._trusted_chain("fulcio", self.authority, start, end)

    def _trusted_chain(self, what: str, top: Authority, start: datetime | None, end: datetime | None) -> Document:
        return {
            "subject": {"organization": "private.test", "commonName": f"{self.name} {what}"},
            "uri": f"https://{what}.{self.name}",
            "certChain": {"certificates": [documents.raw(certificate) for certificate in top.chain]},
            "validFor": valid_for(start, end),
        }

    # What old deployments hand out instead: PEM files

    @property
    def ca_pem(self) -> str:
        return "".join(documents.pem(certificate) for certificate in self.authority.chain)

    @property
    def clock_pem(self) -> str:
        return "".join(documents.pem(certificate) for certificate in self.clock.authority.chain)

    @property
    def rekor_pem(self) -> str:
        return self.rekor.key.public_pem

    @property
    def ct_pem(self) -> str:
        return self.ct_log.key.public_pem


def _key(how: How) -> SigningKey:
    return how.get("key", key_of("p256"))


def _twist(how: How) -> recipe.Twist:
    return how.get("twist", STRAIGHT)


def _sign(message: bytes, verifier: Verifier, how: How) -> _Signed:
    key, twist = _key(how), _twist(how)
    return _Signed(message, twist.signature(key.sign(twist.signed(message))), verifier, key)


def _seal(statement: Document, verifier: Verifier, how: How) -> _Signed:
    payload = documents.as_bytes(_twist(how).payload(statement))
    signed = _sign(documents.signed_bytes(payload), verifier, how)
    document = documents.envelope(payload, signed.signature)
    return replace(signed, payload=payload, envelope=as_json(document), document=document)


def _body(signed: _Signed, how: How) -> Document:
    return _document(_twist(how).body(_straight_body(signed, _twist(how).verifier(signed.verifier), how)))


def _straight_body(signed: _Signed, verifier: Verifier, how: How) -> Document:
    bits, kind = _HASH_BITS.get(signed.key.name, 256), how.get("entry", "dsse")
    if how.get("log") == "v2":
        return entries.hashedrekord_002(signed.message, signed.signature, verifier, algorithm=f"SHA2_{bits}")
    if not signed.envelope or kind == "hashedrekord":
        return entries.hashedrekord(signed.message, signed.signature, verifier, algorithm=f"sha{bits}")
    match kind:
        case "intoto 0.0.1":
            return entries.intoto_001(signed.envelope, signed.payload, verifier)
        case "intoto 0.0.2":
            return entries.intoto_002(signed.envelope, signed.payload, signed.signature, verifier)
    return entries.dsse(signed.envelope, signed.payload, signed.signature, verifier)


def _document(value: object) -> Document:
    assert isinstance(value, dict)
    return value
