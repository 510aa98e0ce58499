"""The bench's images and their signatures, as files that the counting registry loads.

`objects.jsonl` is the registry's content, `images.json` the list that the driver draws from, `key.pub` the one key that
signed. Kinds: `signed` (legacy, 20 images to a repository), `single` (legacy, one image to a repository), `bundle`
(v3, 20 to a repository), `unsigned`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from webhook.demo import signing
from webhook.oci import manifest

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Plan:
    signed: int = 6000
    single: int = 6000
    bundle: int = 2000
    unsigned: int = 400


def write(directory: Path, plan: Plan) -> None:
    """The three files stand in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    key = signing.new_key()
    (directory / "key.pub").write_text(key.public_pem)
    with (directory / "objects.jsonl").open("w") as objects:
        images = [_push(objects, key, kind, repository, tag) for kind, repository, tag in _names(plan)]
    (directory / "images.json").write_text(json.dumps(images))


def _names(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for number in range(plan.signed):  # a repository is met again only after all others
        repositories = max(1, plan.signed // 20)
        yield "signed", f"bench/app-{number % repositories:05d}", f"v{number // repositories}"
    for number in range(plan.bundle):
        repositories = max(1, plan.bundle // 20)
        yield "bundle", f"bench/bundle-{number % repositories:05d}", f"v{number // repositories}"
    for kind in ("single", "unsigned"):
        for number in range(getattr(plan, kind)):
            yield kind, f"bench/{kind}-{number:05d}", "v0"


def _push(objects: TextIO, key: signing.SigningKey, kind: str, repository: str, tag: str) -> dict[str, str]:
    layer = f"layer of {repository}:{tag}".encode()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": [repository, tag]}}).encode()
    image = json.dumps({
        "schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST,
        "config": _descriptor(CONFIG, config), "layers": [_descriptor(LAYER, layer)],
    }).encode()  # fmt: skip
    digest = _digest(image)
    _put(objects, repository, layer)
    _put(objects, repository, config)
    _put(objects, repository, image, tag)
    if kind in ("signed", "single"):
        signed = signing.sign_legacy(key, digest, repository)
        for blob in signed.blobs:
            _put(objects, repository, blob)
        _put(objects, repository, signed.manifest, signed.tag)
    elif kind == "bundle":
        bundle = signing.sign_bundle(key, digest, _descriptor(manifest.OCI_MANIFEST, image))
        for blob in bundle.blobs:
            _put(objects, repository, blob)
        _put(objects, repository, bundle.manifest, _digest(bundle.manifest))
    return {"repo": repository, "tag": tag, "digest": digest, "kind": kind}


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
