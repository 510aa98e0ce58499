"""Traps that have no number: what could be taken for good by one who compares texts, hints or names."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.bad_input.makers import (
    DAY,
    ENTRY,
    NOTE,
    PROOF,
    RELEASE_KEY,
    SPDX,
    Row,
    attested,
    below,
    entry_of,
    instance,
    listed_as,
    with_annotation,
)
from tests.doubles.verifying import Shelf
from tests.private_sigstore import attach, documents, images
from tests.private_sigstore.asked import OTHER, OURS, STRANGER, THIRD_KEY
from tests.private_sigstore.authority import Authority
from tests.private_sigstore.documents import Document, edit, put
from tests.private_sigstore.images import (
    ISSUER,
    SLSA,
    Attach,
    Fields,
    annotated,
    attestation,
    attestations,
    bundle,
    by_key,
    changed,
    demanding,
    made,
    member,
    signature,
    signatures,
    twisted,
    under,
)
from tests.private_sigstore.instance import (
    AT,
    CHAIN,
    REKOR_BUNDLE,
    SIGNATURE,
    YEAR,
    Layer,
    key_of,
)
from tests.private_sigstore.logs import der, spki
from tests.private_sigstore.recipe import Twist
from webhook.demo.signing import base64_of
from webhook.errors import Code
from webhook.evidence.model import SIGN_PREDICATE

SERVERS = OURS.root.intermediate("servers", AT - YEAR, AT + YEAR, usages=(ExtendedKeyUsageOID.SERVER_AUTH,))


def leaf_as_authority() -> Authority:
    return Authority(THIRD_KEY, OURS.issue(THIRD_KEY), OURS.authority.chain)


def self_signed() -> x509.Certificate:
    """A certificate that names whom we want, and that its own key signed."""
    authority = Authority(key_of("p256"), OURS.issue(key_of("p256")), ())
    return authority.issue(key_of("p256"), AT, OURS.leaf())


def respelled(change: Callable[[str], str]) -> Attach:
    """The text of a legacy signature is written otherwise."""

    def make(image: str) -> Layer:
        payload, annotations = OURS.legacy_signature(image)
        return payload, {**annotations, SIGNATURE: change(annotations[SIGNATURE])}

    return signatures(make)


def rewritten(change: Callable[[bytes], bytes], **how: Any) -> Attach:
    """The log entry writes the certificate otherwise."""

    def twist(document: Document) -> object:
        def again(text: object) -> str:
            return base64_of(change(base64.b64decode(str(text))))

        return put(document, ("spec", "signatures", 0, "verifier"), again)

    return bundle(twist=Twist(body=twist), **how)


def payload_of_name(name: Callable[[Shelf], str], of: str = "") -> Attach:
    """A legacy signature whose payload calls the image so."""

    def put_beside(shelf: Shelf, image: str) -> None:
        layer = OURS.legacy_signature(of or image, reference=name(shelf))
        attach.signatures(shelf.stored, shelf.name, image, [layer])

    return put_beside


def its_own_name(shelf: Shelf) -> str:
    return f"{shelf.host}/{shelf.name}:2"


FOREIGN_CHAIN = "".join(documents.pem(one) for one in STRANGER.authority.chain)

STOLEN = OURS.issue(key_of("p256"))
FINGERPRINT = hashlib.sha256(STOLEN.public_bytes(Encoding.DER)).hexdigest()
P384_ORDER = int("f" * 48 + "c7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)  # SEC 2, 2.5.1


def der_of(certificate: x509.Certificate, signature: bytes) -> bytes:
    """The same, with another BIT STRING for a signature of ECDSA with SHA-384."""
    algorithm = bytes.fromhex("300a06082a8648ce3d040303")
    return der(0x30, certificate.tbs_certificate_bytes + algorithm + der(0x03, signature))


def with_other_signature(certificate: x509.Certificate) -> bytes:
    """(r, n - s) verifies wherever (r, s) does, and needs no key."""
    r, s = decode_dss_signature(certificate.signature)
    return der_of(certificate, b"\0" + encode_dss_signature(r, P384_ORDER - s))


def rewritten_certificate(der: bytes) -> Attach:
    """A bundle that was only stamped, so that no log vouches for how its certificate, `STOLEN`, is written."""
    where = ("verificationMaterial", "certificate", "rawBytes")
    return member(where, base64_of(der), certificate=STOLEN, log="none", timestamp=True)


BLOCKED: Fields = {"deny": [{"certificateFingerprint": FINGERPRINT, "reason": "stolen"}]}
BLOCKED_KEY: Fields = {
    "deny": [{"keyFingerprint": hashlib.sha256(spki(key_of("p384"))).hexdigest(), "reason": "stolen"}]
}
BLOCKED_INDEX: Fields = {"deny": [{"logIndex": 1, "reason": "stolen"}]}  # none of ours has it
TIMED: Fields = {**BLOCKED, **under(requireLog=False, requireTimestamp=True)}

TRAPS: Mapping[str, Row] = {
    "attacker's authority in the chain annotation": Row(
        Code.UNTRUSTED_MATERIAL,
        annotated({CHAIN: FOREIGN_CHAIN}, certificate=STRANGER.issue(key_of("p256"))),
        annotated({CHAIN: FOREIGN_CHAIN}),
    ),
    "attacker's authority in the chain of a bundle": Row(
        Code.UNTRUSTED_MATERIAL,
        bundle(version="0.2", certificate=STRANGER.issue(key_of("p256")), chain=STRANGER.authority.chain[:1]),
        bundle(version="0.2", chain=OURS.authority.chain[:1]),
    ),
    "root in the bundle": Row(
        Code.MALFORMED, bundle(version="0.2", chain=OURS.authority.chain),
        bundle(version="0.2", chain=OURS.authority.chain[:1]),
    ),
    "chain in a bundle of version 0.3": Row(
        Code.MALFORMED, made(lambda image: edit(
            OURS.keyless_bundle(image, version="0.2"), ("mediaType",), documents.BUNDLES["0.3"])),
    ),
    "self-signed certificate": Row(Code.UNTRUSTED_MATERIAL, bundle(certificate=self_signed())),
    "certificate of another instance": Row(
        Code.UNTRUSTED_MATERIAL, bundle(certificate=STRANGER.issue(key_of("p256"))),
        bundle(certificate=OURS.issue(key_of("p256"))),
    ),
    "bundle of another instance": Row(Code.TLOG_INVALID, bundle(by=STRANGER)),
    "promise for another signature of the same payload by the same key: legacy": Row(
        Code.TLOG_ENTRY_MISMATCH,
        with_annotation(REKOR_BUNDLE, lambda image: OURS.legacy_signature(image, keyless=False), keyless=False),
        signature(keyless=False), by_key(key_of("p256").public_pem, requireLog=True), tampers=True,
    ),
    "promise for another signature of the same payload by the same key: bundle": Row(
        Code.TLOG_ENTRY_MISMATCH,
        made(lambda image: edit(OURS.key_bundle(image), ENTRY, entry_of(OURS.key_bundle)(image))),
        made(OURS.key_bundle), by_key(key_of("p256").public_pem, requireLog=True), tampers=True,
    ),
    "issuer that begins with ours": Row(Code.IDENTITY_MISMATCH, bundle(issuer=f"{ISSUER}.evil.example")),
    "issuer with a slash behind it": Row(Code.IDENTITY_MISMATCH, signature(issuer=f"{ISSUER}/"), signature()),
    "subject in other letters": Row(Code.IDENTITY_MISMATCH, bundle(subject="DEV@example.com")),
    "key hint of the trusted key": Row(
        Code.SIGNATURE_INVALID,
        made(lambda image: edit(OURS.key_bundle(image, key=THIRD_KEY),
                                ("verificationMaterial", "publicKey", "hint"), key_of("p256").hint)),
        made(lambda image: edit(OURS.key_bundle(image), ("verificationMaterial", "publicKey", "hint"), THIRD_KEY.hint)),
        RELEASE_KEY,
    ),
    "key id of the trusted key in an envelope": Row(
        Code.SIGNATURE_INVALID,
        made(lambda image: edit(OURS.key_bundle(image, key=THIRD_KEY), ("dsseEnvelope", "signatures", 0),
                                lambda one: {**one, "keyid": key_of("p256").hint})),
        made(lambda image: edit(OURS.key_bundle(image), ("dsseEnvelope", "signatures", 0),
                                lambda one: {**one, "keyid": THIRD_KEY.hint})),
        RELEASE_KEY,
    ),
    "PEM in the log entry: another block behind it": Row(
        Code.TLOG_ENTRY_MISMATCH, rewritten(lambda pem: pem + pem),
        rewritten(lambda pem: pem.replace(b"\n", b"\r\n")), tampers=True,
    ),
    "base64 of the signature: another spelling": Row(
        Code.MALFORMED,
        respelled(lambda text: f" {text}"), respelled(lambda text: f"{text[:60]}\r\n{text[60:]}"),
    ),
    "base64 of the signature: without padding": Row(
        Code.MALFORMED, member(("dsseEnvelope", "signatures", 0, "sig"), lambda text: f"{text}="),
    ),
    "proof for a tree of size n, checkpoint of size m": Row(
        Code.TLOG_INVALID, twisted(logged=lambda entry: put(entry, NOTE, OURS.rekor.checkpoint(
            size=int(str(documents.at(entry, ("inclusionProof", "treeSize")))) + 1))),
        twisted(logged=lambda entry: put(entry, NOTE, OURS.rekor.checkpoint(
            size=int(str(documents.at(entry, ("inclusionProof", "treeSize"))))))),
    ),
    "proof at another place of the tree": Row(Code.TLOG_INVALID, member((*PROOF, "logIndex"), "0")),
    "certificate by somebody's certificate": Row(Code.UNTRUSTED_MATERIAL, below(leaf_as_authority())),
    "certificate by an authority for servers": Row(
        Code.UNTRUSTED_MATERIAL, below(SERVERS), below(OURS.authority),
        {"trustRoots": [images.trusted(instance(authority=SERVERS)), {**images.trusted(), "name": "second"}],
         "keyless": [images.DEV, {**images.DEV, "name": "second", "trustRoot": "second"}]},
    ),
    "certificate that is an authority's": Row(Code.UNTRUSTED_MATERIAL, bundle(leaf=OURS.leaf(ca=True))),
    "certificate that is not for code": Row(
        Code.UNTRUSTED_MATERIAL, bundle(leaf=OURS.leaf(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)))
    ),
    "docker-reference taken for the image's name": Row(
        Code.SUBJECT_MISMATCH, payload_of_name(its_own_name, OTHER), payload_of_name(lambda _: "evil.example/other:1")
    ),
    "annotations of the index: an SBOM listed as a signature": Row(
        Code.CLAIM_MISMATCH,
        listed_as(SIGN_PREDICATE, bundle(predicate_type=SPDX, hint=SIGN_PREDICATE)),
        listed_as(SIGN_PREDICATE, bundle()),
    ),
    "annotations of the layer: an SBOM in .att listed as provenance": Row(
        Code.NO_SIGNATURE,
        attestations(changed(lambda image: attested(image, predicate_type=SPDX), {"predicateType": SLSA})),
        attestations(changed(attested, {"predicateType": SLSA})), demanding(), words=f"found '{SPDX}'",
    ),
    "replay of an old signature": Row(
        Code.TIME_INVALID, bundle(at=AT - 60 * DAY), bundle(),
        {"rules": [{"images": ["**"], "maxAge": "300d"}]},
    ),
    "replay of an old attestation": Row(
        Code.TIME_INVALID, attestation(at=AT - 60 * DAY), attestation(), demanding(maxAge="300d")
    ),
    "old signature stamped anew": Row(
        Code.TIME_INVALID,
        bundle(at=AT - 60 * DAY, leaf=OURS.leaf(lifetime=90 * DAY), timestamp=True, stamped_at=AT),
        bundle(timestamp=True), {"rules": [{"images": ["**"], "maxAge": "300d"}]},
    ),
    "blocked certificate": Row(Code.BLOCKED, bundle(certificate=STOLEN), asked=BLOCKED, tampers=True),
    "blocked certificate: stamped only": Row(
        Code.BLOCKED, bundle(certificate=STOLEN, log="none", timestamp=True), bundle(log="none", timestamp=True),
        TIMED, tampers=True,
    ),
    "blocked certificate: with the other signature of ECDSA": Row(
        Code.BLOCKED, rewritten_certificate(with_other_signature(STOLEN)), bundle(log="none", timestamp=True),
        TIMED, tampers=True,
    ),
    "blocked certificate: whose signature ends within a byte": Row(
        Code.MALFORMED, rewritten_certificate(der_of(STOLEN, b"\x01" + STOLEN.signature)),
        bundle(log="none", timestamp=True), TIMED,
    ),
    "blocked key of a certificate": Row(
        Code.BLOCKED, bundle(key=key_of("p384")), bundle(key=key_of("p521")), BLOCKED_KEY, tampers=True
    ),
    "blocked log index, and an entry whose index nobody signed": Row(
        Code.BLOCKED, bundle(promise=False, timestamp=True), bundle(timestamp=True), BLOCKED_INDEX, tampers=True
    ),
    "signed annotation that another rule would want": Row(
        Code.CLAIM_MISMATCH, bundle(annotations={"env": "test"}), bundle(annotations={"env": "prod", "more": "x"}),
        {"rules": [{"images": ["**"], "annotations": {"env": "prod"}}]},
    ),
}  # fmt: skip
