"""One image as a registry holds it, what may be asked about it, and how a refusal is caught."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest

from tests.doubles.registry import HostileRegistry, Rule
from webhook.demo.content import digest_of
from webhook.errors import CountersignError
from webhook.oci import manifest
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Repository, parse_digest
from webhook.oci.registry import Registry

LAYER = b"a layer"
CONFIG = b"{}"
SECRET = "s3cr3t-passw0rd"


def descriptor(data: bytes, media_type: str = "application/octet-stream") -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def manifest_bytes(**changes: object) -> bytes:
    fields = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "config": descriptor(CONFIG, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(LAYER)],
    }
    return json.dumps(fields | changes).encode()


MANIFEST = manifest_bytes()
DIGEST = parse_digest(digest_of(MANIFEST))
BLOB = Descriptor(
    "application/octet-stream",
    parse_digest(digest_of(LAYER)),
    len(LAYER),
    artifact_type=None,
    annotations={},
    data=None,
)


def filled(*rules: Rule, referrers: bool = True) -> HostileRegistry:
    app = HostileRegistry(*rules, referrers=referrers)
    app.push_blob("team/app", LAYER)
    app.push_manifest("team/app", MANIFEST, manifest.OCI_MANIFEST, tag="v1")
    return app


def ask_resolve(registry: Registry, repository: Repository) -> Awaitable[object]:
    return registry.resolve(repository, "v1")


def ask_manifest(registry: Registry, repository: Repository) -> Awaitable[object]:
    return registry.fetch_manifest(repository, DIGEST)


def ask_blob(registry: Registry, repository: Repository) -> Awaitable[object]:
    return registry.fetch_blob(repository, BLOB, max_bytes=1000)


def ask_referrers(registry: Registry, repository: Repository) -> Awaitable[object]:
    return registry.fetch_referrers(repository, DIGEST)


Ask = Callable[[Registry, Repository], Awaitable[object]]
EVERY: list[Ask] = [ask_resolve, ask_manifest, ask_blob, ask_referrers]


async def refusal(outcome: Awaitable[object]) -> CountersignError:
    """The error that awaiting brings, which names no secret."""
    with pytest.raises(CountersignError) as caught:
        await outcome
    return checked(caught.value)


def checked(error: CountersignError) -> CountersignError:
    """`error`, which names no secret."""
    assert SECRET not in error.detail
    return error
