"""Policy ConfigMaps as the API server sends them, and versions of them, for the tests of what reads ConfigMaps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from tests.policy.documents import policy

LABELS = {"countersign.dev/policy": "true"}
BROKEN = "kind: TrustPolicy\n"

_versions = itertools.count(1)


def configmap(name: str, text: str | None = None, *, created: int = 0, **changes: Any) -> dict[str, Any]:
    """A labelled ConfigMap that holds `text`, or else a policy of its own name; `created` orders them by age."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "countersign",
        "uid": f"uid-of-{name}",
        "creationTimestamp": f"2026-11-21T12:00:{created:02}Z",
        "resourceVersion": str(next(_versions)),
        "labels": LABELS,
    }
    data = {"policy.yaml": policy(name) if text is None else text}
    return {"metadata": metadata | changes.pop("metadata", {}), "data": data, **changes}


def by_name(*objects: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {obj["metadata"]["name"]: obj for obj in objects}
