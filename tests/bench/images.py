"""The bench's images and what is attached to them, as files that the counting registry loads.

`objects.jsonl` is the registry's content, `images.json` the list that the driver draws from, `key.pub` the key that
signed without a certificate, `trusted_root.json` the private Sigstore that signed with one, `aws-root.pem` the root of
what looks like AWS Signer. Images of most kinds share repositories: `signed` (legacy), `otherkey` (legacy, by a key
that nobody trusts), `bundle` (v3), `keyless` (legacy, with certificate and log entry), `keyless-bundle` (with all that
cosign 3 attaches), `attested` (legacy by the key, with a keyless `.att` besides), `profile` (by AWS Signer, each in a
job of its own); of `single` (legacy) and `unsigned` each has its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tests.notation.aws_like import AWSLikeSigner, Node
from tests.private_sigstore import attach
from tests.private_sigstore.attach import Attachment
from tests.private_sigstore.instance import PrivateSigstore
from webhook.demo import signing
from webhook.evidence.model import DSSE_ENVELOPE, JWS_ENVELOPE, NOTARY_SIGNATURE, SIMPLE_SIGNING
from webhook.oci import manifest
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import parse_digest

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SLSA = "https://slsa.dev/provenance/v1"
BUILDER = "https://builder.example"
PREDICATE = {
    "runDetails": {"builder": {"id": BUILDER}},
    "materials": [{"uri": f"git+https://example.com/{n}", "digest": {"sha1": "0" * 40}} for n in range(40)],
}


@dataclass(frozen=True, slots=True)
class Plan:
    signed: int = 13_200
    single: int = 2000
    bundle: int = 1000
    unsigned: int = 400
    otherkey: int = 400
    keyless: int = 1500
    keyless_bundle: int = 2000
    attested: int = 1000
    profile: int = 1000


def write(directory: Path, plan: Plan) -> None:
    """The four files stand in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    key = signing.new_key()
    (directory / "key.pub").write_text(key.public_pem)
    sigstore = PrivateSigstore()
    (directory / "trusted_root.json").write_bytes(sigstore.trusted_root())
    aws = AWSLikeSigner()
    (directory / "aws-root.pem").write_text(aws.root.pem)
    with (directory / "objects.jsonl").open("w") as objects:
        shop = _Shop(objects, key, signing.new_key(), sigstore, aws, aws.leaf)
        images = [shop.push(kind, repository, tag) for kind, repository, tag in _names(plan)]
    (directory / "images.json").write_text(json.dumps(images))


def _names(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for kind, count, folder, repositories in (
        ("signed", plan.signed, "bench/app", 300),
        ("otherkey", plan.otherkey, "bench/otherkey", 20),
        ("bundle", plan.bundle, "bench/bundle", 50),
        ("keyless", plan.keyless, "keyless/app", 50),
        ("keyless-bundle", plan.keyless_bundle, "keyless-bundle/app", 50),
        ("attested", plan.attested, "attested/app", 50),
        ("profile", plan.profile, "profile/app", 50),
        ("single", plan.single, "bench/single", plan.single),
        ("unsigned", plan.unsigned, "bench/unsigned", plan.unsigned),
    ):
        for number in range(count):  # a repository is met again only after all others
            yield kind, f"{folder}-{number % repositories:05d}", f"v{number // repositories}"


@dataclass(frozen=True, slots=True)
class _Shop:
    """Writes images and what is attached to them."""

    objects: TextIO
    key: signing.SigningKey
    other: signing.SigningKey
    sigstore: PrivateSigstore
    aws: AWSLikeSigner
    leaf: Node  # which AWS Signer uses for days

    def push(self, kind: str, repository: str, tag: str) -> dict[str, str]:
        layer = f"layer of {repository}:{tag}".encode()
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": [repository, tag]}}).encode()
        image = json.dumps({
            "schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST,
            "config": _descriptor(CONFIG, config), "layers": [_descriptor(LAYER, layer)],
        }).encode()  # fmt: skip
        digest = _digest(image)
        self._put(repository, layer)
        self._put(repository, config)
        self._put(repository, image, tag)
        for attached in self._attached(kind, repository, digest, _descriptor(manifest.OCI_MANIFEST, image)):
            for blob in attached.blobs:
                self._put(repository, blob)
            self._put(repository, attached.manifest, attached.tag or _digest(attached.manifest))
        return {"repo": repository, "tag": tag, "digest": digest, "kind": kind}

    def _attached(
        self, kind: str, repository: str, digest: str, subject: dict[str, object]
    ) -> Iterator[signing.SignedLegacy | Attachment]:
        stem = digest.replace(":", "-")
        if kind in ("signed", "single", "attested", "otherkey"):
            yield signing.sign_legacy(self.other if kind == "otherkey" else self.key, digest, repository)
        match kind:
            case "bundle":
                signed = signing.sign_bundle(self.key, digest, subject)
                yield Attachment(signed.manifest, signed.blobs)
            case "keyless":
                layer = self.sigstore.legacy_signature(digest, reference=repository)
                yield attach.tagged(f"{stem}.sig", SIMPLE_SIGNING, [layer])
            case "keyless-bundle":
                yield attach.referrer(self.sigstore.keyless_bundle(digest, timestamp=True), subject)
            case "profile":
                yield self._by_aws(digest, subject)
            case "attested":
                layer = self.sigstore.legacy_attestation(digest, predicate_type=SLSA, predicate=PREDICATE)
                yield attach.tagged(f"{stem}.att", DSSE_ENVELOPE, [layer])

    def _by_aws(self, digest: str, subject: dict[str, object]) -> Attachment:
        described = Descriptor(manifest.OCI_MANIFEST, parse_digest(digest), int(str(subject["size"])), None, {}, None)
        signer = self.aws.another(job=str(uuid.uuid4()))
        envelope = signer.sign(image=described, leaf=self.leaf)
        referrer = {
            "schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "artifactType": NOTARY_SIGNATURE,
            "config": _descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [_descriptor(JWS_ENVELOPE, envelope)], "subject": subject,
        }  # fmt: skip
        return Attachment(json.dumps(referrer).encode(), (envelope,))

    def _put(self, repository: str, data: bytes, reference: str = "") -> None:
        _put(self.objects, repository, data, reference)


def _put(objects: TextIO, repository: str, data: bytes, reference: str = "") -> None:
    kind, media_type = ("manifest", manifest.OCI_MANIFEST) if reference else ("blob", "")
    line = {
        "Repo": repository,
        "Kind": kind,
        "Ref": reference,
        "MT": media_type,
        "Data": base64.b64encode(data).decode(),
    }
    objects.write(json.dumps(line) + "\n")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}
