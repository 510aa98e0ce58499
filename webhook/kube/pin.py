"""Pinning: the digest behind a tag, written beside the tag in a Pod, as a JSON patch of its image fields and no others.

Says which images of a request may be rewritten, and whose pods are left alone; never those of mirror pods, which the
kubelet would refuse, nor what an update left as it was. Which of them deserve it, and what is behind a tag, is for the
caller to say. Patching what was patched changes nothing, since a reference with a digest has no tag to be looked up.
spec: RFC 6902; RFC 6901; kubernetes.md 5, 17.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from webhook import settings
from webhook.kube.workload import Image, Request
from webhook.oci.reference import Digest

Operation = Mapping[str, str]

_CONTAINER = re.compile(r"spec\.(containers|initContainers|ephemeralContainers)\[([0-9]+)\]")
_VOLUME = re.compile(r"spec\.volumes\[([0-9]+)\]\.image")


def is_pod(request: Request) -> bool:
    """Whether this is about a Pod; templates keep their tags, or whoever applies them would see them drift."""
    return not request.group and request.resource == "pods"


def is_excluded(request: Request, configured: settings.Pin) -> bool:
    """Whether the operator leaves pods of this namespace, or of this kind of owner, as they are.

    The owner is what the object claims, so that this may only ever decide who writes the digest.
    """
    if request.namespace in configured.exclude_namespaces:
        return True
    return request.owner is not None and _kind(request) in configured.exclude_owners


def patchable(request: Request) -> tuple[Image, ...]:
    """The images of a Pod that may still be rewritten."""
    if request.mirror or not is_pod(request):
        return ()
    created = request.operation == "CREATE"  # afterwards the image of a volume cannot change: core/v1 validation
    return tuple(image for image in request.images if created or not _VOLUME.fullmatch(image.path))


def with_digest(text: str, digest: Digest) -> str:
    """The reference `text` as it was written, and its digest: the node then looks up no tag."""
    return f"{text}@{digest}"


def patch(images: Iterable[Image], digests: Mapping[str, Digest]) -> tuple[Operation, ...]:
    """One replacement for each place of `images` whose text is in `digests`.

    Without a `test` before it: an API server applies the patch to the very object that it sent.
    """
    return tuple(
        {"op": "replace", "path": _pointer(image.path), "value": with_digest(image.text, digests[image.text])}
        for image in images
        if image.text in digests
    )


def _kind(request: Request) -> str:
    """`ReplicaSet.apps`; of the core group the kind alone."""
    assert request.owner is not None
    group, slash, _ = request.owner.api_version.rpartition("/")
    return f"{request.owner.kind}.{group}" if slash else request.owner.kind


def _pointer(path: str) -> str:
    if found := _CONTAINER.fullmatch(path):
        return f"/spec/{found[1]}/{found[2]}/image"
    found = _VOLUME.fullmatch(path)
    if found is None:
        raise ValueError(f"no place of a Pod: {path}")
    return f"/spec/volumes/{found[1]}/image/reference"
