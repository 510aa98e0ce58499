"""Every limit: the last that is read and verified, and the first that is not. Also each code, in its plainest form."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.bad_input.makers import (
    ATTESTED_BY_KEY,
    DAY,
    HUNDRED,
    NOTE,
    PROOF,
    REAL,
    RELEASE_KEY,
    SPDX,
    STAMPS,
    UNKNOWN_LOG,
    Row,
    by_release,
    clock,
    crowd,
    entry_of,
    instance,
    more_entries,
    padded,
    serving,
    with_entry,
)
from tests.doubles.registry import HostileRegistry, on
from tests.doubles.verifying import Shelf, signature_tag
from tests.private_sigstore import documents, images
from tests.private_sigstore.asked import OTHER, OURS, STRANGER, THIRD_KEY
from tests.private_sigstore.documents import Document, edit, flipped, put
from tests.private_sigstore.images import (
    ISSUER,
    Attach,
    Fields,
    all_of,
    attestation,
    attestations,
    bundle,
    demanding,
    made,
    member,
    signature,
    signatures,
    statement,
    twisted,
)
from tests.private_sigstore.instance import (
    AT,
    CERTIFICATE,
    Layer,
    key_of,
)
from tests.private_sigstore.logs import Witness, signature_line
from tests.private_sigstore.recipe import Twist
from tests.trust.tokens import Details
from webhook.demo import signing
from webhook.demo.content import as_json
from webhook.demo.registry import OCI_INDEX, Incoming, Outgoing
from webhook.demo.signing import base64_of
from webhook.errors import Code
from webhook.evidence.model import SIGN_PREDICATE
from webhook.oci import manifest
from webhook.settings import KIB, MIB


def to_size(make: Callable[[str], bytes], size: int) -> Attach:
    return made(lambda image: make(image).ljust(size))


def payload_of(size: int) -> Attach:
    """A legacy signature whose payload is so large."""

    def payload(document: Document) -> object:
        bare = len(as_json(put(document, ("optional",), {"filler": ""})))
        return put(document, ("optional",), {"filler": "x" * (size - bare)})

    return signature(twist=Twist(payload=payload))


def sized(size: int) -> Callable[[Document], object]:
    """Changes a manifest so that it is so large."""

    def change(document: Document) -> object:
        bare = len(as_json({**document, "annotations": {"filler": ""}}))
        return {**document, "annotations": {"filler": "x" * (size - bare)}}

    return change


def listing_of(size: int) -> Attach:
    """A good bundle in a listing that is so large."""

    def put_beside(shelf: Shelf, image: str) -> None:
        bundle()(shelf, image)
        stored = shelf.stored.repository(shelf.name)
        [digest] = [name for name, one in stored.manifests.items() if image.encode() in one.data]
        entry = {
            "mediaType": manifest.OCI_MANIFEST, "digest": digest, "size": len(stored.manifests[digest].data),
            "artifactType": signing.BUNDLE,
        }  # fmt: skip
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        data = as_json(sized(size)(index))
        assert isinstance(shelf.stored, HostileRegistry)
        headers = (("content-type", OCI_INDEX),)
        shelf.stored.rules.append(on(f"referrers/{image}", 200, headers=headers, body=data))

    return put_beside


def referrers(before: int, *, pages: int = 1) -> Attach:
    """A good bundle behind so many referrers of other kinds, or on the last of so many pages."""

    def put_beside(shelf: Shelf, image: str) -> None:
        bundle()(shelf, image)
        stored = shelf.stored.repository(shelf.name)
        [digest] = [name for name, one in stored.manifests.items() if image.encode() in one.data]
        good = {
            "mediaType": manifest.OCI_MANIFEST, "digest": digest, "size": len(stored.manifests[digest].data),
            "artifactType": signing.BUNDLE,
        }  # fmt: skip
        other = {**good, "artifactType": "application/vnd.example.sbom"}
        listed = [{**other, "digest": f"sha256:{number:064x}"} for number in range(before)]
        here = f"/v2/{shelf.name}/referrers/{image}"

        def rule(request: Incoming) -> Outgoing | None:
            if request.path != here:
                return None
            page = int(request.query.get("page", "1"))
            shown = [*listed, good] if page == pages else []
            headers = [("content-type", OCI_INDEX)]
            if page < pages:
                headers.append(("link", f'<{here}?page={page + 1}>; rel="next"'))
            body = as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": shown})
            return Outgoing(200, tuple(headers), body)

        assert isinstance(shelf.stored, HostileRegistry)
        shelf.stored.rules.append(rule)

    return put_beside


def announced(count: int) -> Attach:
    """A good attestation, and in front of it so many layers of 16 MiB that are not there."""

    def put_beside(shelf: Shelf, image: str) -> None:
        attestation()(shelf, image)
        stored = shelf.stored.repository(shelf.name)
        tag = signature_tag(image).replace(".sig", ".att")
        body = json.loads(stored.manifests[stored.tags[tag]].data)
        [good] = body["layers"]
        others = [{**good, "size": 16 * MIB, "digest": f"sha256:{number:064x}"} for number in range(count)]
        body["layers"] = [good, *others]  # the newest is asked for first
        shelf.stored.push_manifest(shelf.name, as_json(body), manifest.OCI_MANIFEST, tag=tag)

    return put_beside


def certificates(count: int) -> Attach:
    """A certificate annotation of so many blocks."""

    def make(image: str) -> Layer:
        layer = OURS.legacy_signature(image)
        more = documents.pem(OURS.authority.certificate) * (count - 1)
        return layer[0], {**layer[1], CERTIFICATE: layer[1][CERTIFICATE] + more}

    return signatures(make)


def chain(count: int) -> Attach:
    return bundle(version="0.2", chain=[OURS.authority.certificate] * (count - 1))


def annotation_of(size: int) -> Attach:
    def make(image: str) -> Layer:
        layer = OURS.legacy_signature(image)
        return layer[0], {**layer[1], CERTIFICATE: layer[1][CERTIFICATE].ljust(size, "\n")}

    return signatures(make)


def witnessed(count: int) -> Attach:
    witnesses = tuple(Witness(f"w{number}") for number in range(count))
    log = copy.copy(OURS.rekor2)
    log.witnesses = witnesses
    return bundle(by=instance(rekor2=log), log="v2")


def note_of(size: int) -> Attach:
    """A checkpoint so long, by signatures that nobody knows."""

    def longer(note: object) -> str:
        text = str(note)
        bare = len(signature_line("", b"hint", b"x"))
        return text + signature_line("n" * (size - len(text) - bare), b"hint", b"x")

    return twisted(logged=lambda entry: put(entry, NOTE, longer))


def body_of(size: int) -> Attach:
    """A log entry so large, by a member that nobody knows."""

    def longer(document: Document) -> object:
        bare = len(as_json({**document, "filler": ""}))
        return {**document, "filler": "x" * (size - bare)}

    return twisted(body=longer)


def promised(others: int) -> Attach:
    """Timestamps of so many logs of certificates that nobody knows, and behind them the right one."""
    logs = [UNKNOWN_LOG] * others
    return bundle(leaf=OURS.leaf(logs=(*logs, OURS.ct_log)))


def stamped_often(count: int) -> Attach:
    """So many different tokens, all right."""

    def make(image: str) -> bytes:
        data = OURS.keyless_bundle(image)
        signed = base64.b64decode(json.loads(data)["dsseEnvelope"]["signatures"][0]["sig"])
        tokens = [OURS.clock.stamp(signed, AT + timedelta(seconds=number)) for number in range(count)]
        listed = [{"signedTimestamp": base64_of(token)} for token in tokens]
        return edit(data, STAMPS[:2], {STAMPS[2]: listed})

    return made(make)


def stamped_by_others(count: int) -> Attach:
    """So many tokens by a clock that nobody knows, and then a right one."""

    def make(image: str) -> bytes:
        tokens = [STRANGER.clock.stamp(b"x", AT + timedelta(seconds=number)) for number in range(count)]
        others = [{"signedTimestamp": base64_of(token)} for token in tokens]
        return edit(OURS.keyless_bundle(image, timestamp=True), STAMPS, lambda own: [*others, *own])

    return made(make)


def certificate_of(size: int) -> Attach:
    """A certificate that is larger than that, by an extension that nobody knows."""
    return bundle(leaf=OURS.leaf(extensions={"1.3.6.1.4.1.57264.1.99": b"x" * size}))


def token_of(size: int) -> Attach:
    """A token whose nonce is so large."""
    return bundle(by=clock(REAL, details=Details(nonce=1 << 8 * size)), log="v2")


@dataclass(frozen=True)
class Modulus:
    """The public half of a key that nobody has: `bits` long."""

    bits: int
    name: str = "rsa"

    @property
    def private(self) -> Modulus:
        return self

    def public_key(self) -> rsa.RSAPublicKey:
        return rsa.RSAPublicNumbers(65537, (1 << self.bits) - 1).public_key()


def named_key(bits: int) -> Attach:
    """A certificate of an RSA key so long; the signature is by another."""
    return bundle(certificate=OURS.issue(Modulus(bits)))  # type: ignore[arg-type]  # of which only the key is asked


LIMITS: Mapping[str, Row] = {
    "manifest of 4 MiB": Row(
        Code.LIMIT_EXCEEDED, images.manifest(sized(4 * MIB + 1)), images.manifest(sized(4 * MIB))
    ),
    "index of 4 MiB": Row(Code.LIMIT_EXCEEDED, listing_of(4 * MIB + 1), listing_of(4 * MIB), alone=True),
    "simple signing payload of 64 KiB": Row(Code.LIMIT_EXCEEDED, payload_of(64 * KIB + 1), payload_of(64 * KIB)),
    "bundle of 4 MiB": Row(
        Code.LIMIT_EXCEEDED, to_size(OURS.keyless_bundle, 4 * MIB + 1), to_size(OURS.keyless_bundle, 4 * MIB)
    ),
    "DSSE layer of 16 MiB": Row(
        Code.LIMIT_EXCEEDED, attestations(padded(by_release, 16 * MIB + 1)),
        attestations(padded(by_release, 16 * MIB)), ATTESTED_BY_KEY,
    ),
    "1000 layers": Row(Code.LIMIT_EXCEEDED, crowd(0, 1001), crowd(0, 1000), alone=True),
    "500 referrers": Row(
        Code.LIMIT_EXCEEDED, referrers(500), referrers(499), words="its rest was not read", alone=True
    ),
    "10 pages": Row(
        Code.LIMIT_EXCEEDED, referrers(0, pages=11), referrers(0, pages=10), words="its rest was not read", alone=True
    ),
    "50 candidates": Row(
        Code.LIMIT_EXCEEDED, crowd(50, 51), crowd(49, 51), words="51 signatures in the .sig tag, of which 50 were",
        alone=True,
    ),
    "64 MiB for one image": Row(
        Code.LIMIT_EXCEEDED, announced(4), announced(3), demanding(), words="67108864 bytes of evidence", alone=True
    ),
    "signature of 64 KiB": Row(
        Code.LIMIT_EXCEEDED, bundle(twist=Twist(signature=lambda own: own.ljust(64 * KIB + 1)))
    ),
    "token of 64 KiB": Row(Code.LIMIT_EXCEEDED, token_of(64 * KIB), token_of(62 * KIB)),
    "32 log entries": Row(
        Code.LIMIT_EXCEEDED, more_entries(*[entry_of(STRANGER.keyless_bundle)] * 32),
        more_entries(*[entry_of(STRANGER.keyless_bundle)] * 31),
    ),
    "32 tokens": Row(Code.LIMIT_EXCEEDED, stamped_often(33), stamped_often(32)),
    "4 tokens by others": Row(
        Code.LIMIT_EXCEEDED, stamped_by_others(5), stamped_by_others(3), words="at most 4 by others"
    ),
    "certificate of 16 KiB": Row(Code.LIMIT_EXCEEDED, certificate_of(16 * KIB), certificate_of(12 * KIB)),
    "10 certificates in the chain": Row(Code.LIMIT_EXCEEDED, chain(11), chain(10)),
    "10 certificates in the annotation": Row(Code.LIMIT_EXCEEDED, certificates(11), certificates(10)),
    "certificate annotation of 128 KiB": Row(
        Code.LIMIT_EXCEEDED, annotation_of(128 * KIB + 1), annotation_of(128 * KIB)
    ),
    "1024 subjects": Row(
        Code.LIMIT_EXCEEDED, statement(("subject",), lambda own: [*(HUNDRED * 11)[:1024], *own]),
        statement(("subject",), lambda own: [*(HUNDRED * 11)[:1023], *own]),
    ),
    "32 digests of a subject": Row(
        Code.LIMIT_EXCEEDED,
        statement(("subject", 0, "digest"), lambda own: {**{f"x{n}": "0" for n in range(32)}, **own}),
        statement(("subject", 0, "digest"), lambda own: {**{f"x{n}": "0" for n in range(31)}, **own}),
    ),
    "checkpoint of 64 KiB": Row(Code.LIMIT_EXCEEDED, note_of(64 * KIB + 1), note_of(64 * KIB)),
    "checkpoint of 100 signatures": Row(Code.LIMIT_EXCEEDED, witnessed(100), witnessed(99)),
    "64 hashes of a proof": Row(
        Code.LIMIT_EXCEEDED, member((*PROOF, "hashes"), lambda own: (own * 65)[:65])
    ),
    "64 hashes of a proof: too many for the tree": Row(
        Code.TLOG_INVALID, member((*PROOF, "hashes"), lambda own: (own * 64)[:64])
    ),
    "log entry of 1 MiB": Row(Code.LIMIT_EXCEEDED, body_of(MIB + 1), body_of(MIB)),
    "16 SCTs": Row(Code.UNTRUSTED_MATERIAL, promised(16), promised(15)),
    "RSA key of 2048 bits": Row(Code.UNSUPPORTED, named_key(2047), bundle(key=key_of("rsa2048"))),
    "RSA key of 8192 bits": Row(Code.UNSUPPORTED, named_key(8193), bundle(key=key_of("rsa3072"))),
    "RSA key of 8192 bits: itself": Row(Code.SIGNATURE_INVALID, named_key(8192), bundle()),
}  # fmt: skip


# --- every code that evidence can end with


def failing(status: int) -> Attach:
    """The registry answers so to whatever is asked about this image from now on."""

    def put_beside(shelf: Shelf, image: str) -> None:
        for part in (image.replace(":", "-"), f"referrers/{image}"):
            serving(part, b"", status)(shelf, image)

    return put_beside


def served_otherwise(shelf: Shelf, image: str) -> None:
    """The bytes of the payload are others than its digest."""
    signature()(shelf, image)
    blobs = shelf.stored.repository(shelf.name).blobs
    for digest, data in blobs.items():
        if image.encode() in data:
            blobs[digest] = data.replace(b"cosign", b"c0sign")


BOTH_ROOTS: Fields = {
    "trustRoots": [images.trusted(), {"name": "absent", "file": "nowhere.json"}],
    "keyless": [images.DEV, {**images.DEV, "name": "ops", "subject": "ops@example.com", "trustRoot": "absent"}],
}

CODES: Mapping[str, Row] = {
    "no_signature": Row(Code.NO_SIGNATURE, lambda shelf, image: None),
    "malformed": Row(Code.MALFORMED, made(lambda image: OURS.keyless_bundle(image)[:-1])),
    "unsupported": Row(
        Code.UNSUPPORTED, member(("mediaType",), "application/vnd.dev.sigstore.bundle.v9+json"),
    ),
    "unsupported: a key, where an identity is asked for": Row(Code.UNSUPPORTED, made(OURS.key_bundle)),
    "unsupported: an identity, where a key is asked for": Row(
        Code.UNSUPPORTED, bundle(), made(OURS.key_bundle), RELEASE_KEY
    ),
    "limit_exceeded": Row(Code.LIMIT_EXCEEDED, payload_of(MIB), signature()),
    "signature_invalid": Row(Code.SIGNATURE_INVALID, twisted(signed=flipped)),
    "signature_invalid: by a key": Row(
        Code.SIGNATURE_INVALID, made(lambda image: OURS.key_bundle(image, key=THIRD_KEY)), made(OURS.key_bundle),
        RELEASE_KEY,
    ),
    "untrusted_material": Row(Code.UNTRUSTED_MATERIAL, bundle(certificate=STRANGER.issue(key_of("p256")))),
    "time_invalid": Row(Code.TIME_INVALID, bundle(logged_at=AT + DAY)),
    "tlog_invalid": Row(Code.TLOG_INVALID, bundle(log="none", timestamp=True)),
    "tlog_entry_mismatch": Row(Code.TLOG_ENTRY_MISMATCH, with_entry(entry_of(OURS.keyless_bundle)), tampers=True),
    "identity_mismatch": Row(Code.IDENTITY_MISMATCH, bundle(subject="ops@example.com"), words="ops@example.com"),
    "subject_mismatch": Row(Code.SUBJECT_MISMATCH, bundle(of=OTHER), words=OTHER),
    "claim_mismatch": Row(Code.CLAIM_MISMATCH, bundle(predicate_type=SPDX, hint=SIGN_PREDICATE), words=SPDX),
    "condition_error": Row(
        Code.CONDITION_ERROR, attestation(), attestation(predicate={"n": 1}), demanding(condition="predicate.n > 0")
    ),
    "not_enough_signers": Row(
        Code.NOT_ENOUGH_SIGNERS, bundle(), all_of(bundle(), bundle(subject="ops@example.com")),
        {"keyless": [images.DEV, {**images.DEV, "name": "ops", "subject": "ops@example.com"}],
         "rules": [{"images": ["**"], "require": "all"}]},
    ),
    "not_enough_signers: one certificate under two names": Row(
        Code.NOT_ENOUGH_SIGNERS, all_of(bundle(), bundle()), all_of(bundle(), bundle(subject="ops@example.com")),
        {"keyless": [images.DEV, {"name": "all", "issuer": ISSUER, "subjectGlob": "*@example.com",
                                  "trustRoot": "private"}],
         "rules": [{"images": ["**"], "require": "all"}]},
    ),
    "registry_unavailable": Row(Code.REGISTRY_UNAVAILABLE, failing(500), status=503, alone=True),
    "rate_limited": Row(Code.RATE_LIMITED, failing(429), status=503, alone=True),
    "access_denied": Row(Code.ACCESS_DENIED, failing(403), status=503, alone=True),
    "registry_violation": Row(Code.REGISTRY_VIOLATION, served_otherwise, signature(), tampers=True),
    "trust_unavailable": Row(
        Code.TRUST_UNAVAILABLE, bundle(subject="ops@example.com"), bundle(), BOTH_ROOTS, status=503
    ),
}  # fmt: skip
