"""The images that a pod runs, by digest, as far as its specification and the kubelet's status of it tell.

A tag beside which no digest stands is taken with the digest that the node has of the same repository. Nothing here says
that an image may run: that it does is no reason to trust it. Pure. spec: Kubernetes core/v1, ContainerStatus.imageID.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from webhook.errors import MalformedError, RejectedError
from webhook.kube import pulling, workload
from webhook.kube.workload import Image
from webhook.oci import reference

# Excluded by every installation of the chart: the webhook is never asked about them
UNSEEN = ("kube-system", "kube-node-lease", "kube-public")
IMAGES_MAX = 500  # of one pod

_ENDED = frozenset({"Succeeded", "Failed"})
_STATUSES = {
    "containers": "containerStatuses",
    "initContainers": "initContainerStatuses",
    "ephemeralContainers": "ephemeralContainerStatuses",
}


@dataclass(frozen=True, slots=True)
class RunningImage:
    """`text` is a reference with a digest; `pull_secrets` are the names by which its pod pulls."""

    namespace: str
    text: str
    pull_secrets: tuple[str, ...] = ()


def images_of(pod: Mapping[str, object]) -> Iterator[RunningImage]:
    """What `pod` runs and the webhook may be asked about again; nothing of a pod that has ended or cannot be read."""
    namespace, status = str(_object(pod, "metadata").get("namespace", "")), _object(pod, "status")
    if namespace in UNSEEN or not runs(pod):
        return
    try:
        images = workload.images_of("pods", "", "CREATE", pod, None, max_images=IMAGES_MAX).images
    except (MalformedError, RejectedError):
        return
    for image in images:
        if text := _by_digest(image, status):
            yield RunningImage(namespace, text, pulling.of_pod(pod))


def runs(pod: Mapping[str, object]) -> bool:
    """Whether a pod that is stored has not ended, and is none that its node runs whatever the answer."""
    annotations = _object(_object(pod, "metadata"), "annotations")
    return _object(pod, "status").get("phase") not in _ENDED and workload.MIRROR_ANNOTATION not in annotations


def _by_digest(image: Image, status: Mapping[str, object]) -> str:
    """The reference with a digest; empty where none is known."""
    try:
        parsed = reference.parse(image.text)
        if parsed.digest is not None:
            return image.text
        found = reference.parse(_image_id(image, status).rpartition("://")[2])  # Docker's `docker-pullable://`
    except MalformedError:
        return ""
    same = found.digest is not None and found.repository == parsed.repository
    return f"{image.text}@{found.digest}" if same else ""


def _image_id(image: Image, status: Mapping[str, object]) -> str:
    listed = status.get(_STATUSES.get(image.path.split(".")[1].partition("[")[0], ""))
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("name") == image.container:
            return str(one.get("imageID", ""))
    return ""


def _object(value: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}
