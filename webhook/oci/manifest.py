"""Descriptors, manifests and indexes, parsed strictly from bytes whose digest the caller has checked.

spec: OCI image 1.1, manifest, index, descriptor; Docker image manifest version 2, schema 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from webhook.oci.reference import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None
    annotations: Mapping[str, str]
    data: bytes | None  # inlined content, unchecked


@dataclass(frozen=True, slots=True)
class Manifest:
    digest: Digest
    media_type: str
    artifact_type: str | None
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Index:
    digest: Digest
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


def parse(data: bytes, *, media_type: str, digest: Digest, max_entries: int) -> Manifest | Index:
    """The document in `data`, which was served as `media_type` (parameters removed).

    `max_entries` bounds layers or manifests; more are `limit_exceeded`.

    Raises: MalformedError.
    """
    raise NotImplementedError
