"""Evidence attached to an image in a registry in memory, as cosign attaches it.

Whatever the evidence holds, and whatever image it is of: a copied signature is attached like any other.

spec: cosign SIGNATURE_SPEC and BUNDLE_SPEC; OCI image 1.1, manifest, subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.private_sigstore.instance import Layer
from webhook.demo.content import as_json, descriptor
from webhook.demo.registry import MemoryRegistry
from webhook.demo.signing import BUNDLE, EMPTY, IMAGE_CONFIG
from webhook.evidence.model import DSSE_ENVELOPE, SIGN_PREDICATE, SIMPLE_SIGNING
from webhook.oci import manifest


@dataclass(frozen=True, slots=True)
class Attachment:
    """What is pushed: `blobs`, and the manifest that names them, under `tag` or, without one, by its digest."""

    manifest: bytes
    blobs: tuple[bytes, ...]
    tag: str = ""


def push(stored: MemoryRegistry, repository: str, attachment: Attachment) -> str:
    """`attachment` is in the registry; returns the digest of its manifest."""
    for blob in attachment.blobs:
        stored.push_blob(repository, blob)
    return stored.push_manifest(repository, attachment.manifest, manifest.OCI_MANIFEST, tag=attachment.tag or None)


def bundle(stored: MemoryRegistry, repository: str, image: str, data: bytes, *,
           predicate_type: str = SIGN_PREDICATE) -> str:  # fmt: skip
    """The bundle `data` is a referrer of the image with that digest."""
    size = len(stored.repository(repository).manifests[image].data)
    subject: dict[str, object] = {"mediaType": manifest.OCI_MANIFEST, "size": size, "digest": image}
    return push(stored, repository, referrer(data, subject, predicate_type=predicate_type))


def signatures(stored: MemoryRegistry, repository: str, image: str, layers: Sequence[Layer]) -> str:
    """`layers` stand under the `.sig` tag of the image with that digest."""
    return push(stored, repository, tagged(f"{image.replace(':', '-')}.sig", SIMPLE_SIGNING, layers))


def attestations(stored: MemoryRegistry, repository: str, image: str, layers: Sequence[Layer]) -> str:
    """`layers` stand under the `.att` tag of the image with that digest."""
    return push(stored, repository, tagged(f"{image.replace(':', '-')}.att", DSSE_ENVELOPE, layers))


def referrer(data: bytes, subject: dict[str, object], *, predicate_type: str = SIGN_PREDICATE,
             media_type: str = BUNDLE) -> Attachment:  # fmt: skip
    config = b"{}"
    body = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "artifactType": media_type,
        "config": {**descriptor(EMPTY, config), "artifactType": media_type},
        "layers": [descriptor(media_type, data)],
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": predicate_type,
        },
        "subject": subject,
    }
    return Attachment(as_json(body), (config, data))


def tagged(tag: str, media_type: str, layers: Sequence[Layer]) -> Attachment:
    config = b"{}"
    body = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "config": descriptor(IMAGE_CONFIG, config),
        "layers": [{**descriptor(media_type, data), "annotations": annotations} for data, annotations in layers],
    }
    return Attachment(as_json(body), (config, *(data for data, _ in layers)), tag)
