"""Content as registries know it: JSON in bytes, digests, descriptors. spec: OCI image 1.1, descriptor."""

from __future__ import annotations

import hashlib
import json


def descriptor(media_type: str, data: bytes) -> dict[str, object]:
    """What a manifest says of `data`."""
    return {"mediaType": media_type, "size": len(data), "digest": digest_of(data)}


def digest_of(data: bytes) -> str:
    """The digest under which a registry stores `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def as_json(value: object) -> bytes:
    """`value` as compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()
