"""How a denial begins, whoever shows it: kubectl, an event, a client library."""

from __future__ import annotations

from tests.e2e.signing import Image

DENIED = 'admission webhook "pods.countersign.dev" denied the request: '


def heading(where: str, reference: str, image: Image) -> str:
    """`where` is as in `container "main" (spec.containers[0])`; the digest stands there once, short."""
    return f"{DENIED}{where}: {reference.partition('@')[0]} @{image.digest[:11]}…{image.digest[-2:]}\n"
