"""The images of an object under review, with the path of each, and which of them an update left alone.

Takes JSON values as an API server sent them and promises that no place of a Pod that starts an image is passed over:
`containers`, `initContainers`, `ephemeralContainers`, and `volumes[*].image`. Text is handed on as it stands, also
empty or absurd: whether it is a reference is for `oci/reference` to say. Nothing that a user may write into an object
(labels, annotations, owner references, a deletion timestamp) exempts it; mirror pods are told by who asks.
spec: Kubernetes core/v1 PodSpec; admission.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from webhook import untrusted
from webhook.errors import Code, MalformedError, RejectedError, quote

EPHEMERAL_CONTAINERS = "ephemeralcontainers"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
NODE_USER_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"

_CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")
_OPERATIONS = frozenset({"CREATE", "UPDATE"})
_OPERATIONS_THAT_START_NOTHING = frozenset({"DELETE", "CONNECT"})
_SUBRESOURCES = frozenset({"", EPHEMERAL_CONTAINERS})
_LIST_MAX = 100_000  # an API server's objects end at 3 MiB; whoever else reaches our port gets no more either

_OWNERS_MAX = 100
_OWNER_MAX_CHARS = 317  # group, slash, version: the longest of its texts

_Key = tuple[str, str]  # list, name of the container or volume
_Place = tuple[str, int, str, str]  # list, index, name, text


@dataclass(frozen=True, slots=True)
class Image:
    """`path` as in `spec.initContainers[1]` or `spec.volumes[2].image`; `container` names the container or volume."""

    path: str
    container: str
    text: str


@dataclass(frozen=True, slots=True)
class Images:
    """`images` are to be judged, one more than the limit at most; `unchanged` stood in the old object too.

    `unexpected` says that this kind of request starts no image, and should not have been sent here.
    """

    images: tuple[Image, ...] = ()
    unchanged: tuple[Image, ...] = ()
    unexpected: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller that an object names as its owner. Whoever writes the object chooses it: it exempts from nothing
    that starts an image."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Request:
    """One admission request. `namespace` is the request's own, which the object cannot contradict.

    `generate_name`, `api_version`, `object_uid` and `owner` are what the object says, empty where it does not.
    """

    uid: str
    operation: str
    namespace: str
    group: str
    resource: str
    subresource: str
    kind: str
    name: str
    user: str
    dry_run: bool
    images: tuple[Image, ...]
    unchanged: tuple[Image, ...]
    mirror: bool = False
    unexpected: bool = False
    generate_name: str = ""
    api_version: str = ""
    object_uid: str = ""
    owner: Owner | None = None
    groups: frozenset[str] = frozenset()  # of the user
    pull_secrets: tuple[str, ...] = ()  # names, as `pulling` finds them
    service_account: str = ""  # of a template that names no pull secrets


def images_of(
    resource: str,
    subresource: str,
    operation: str,
    obj: object,
    old_object: object,
    *,
    max_images: int,
    group: str = "",
) -> Images:
    """What is to be judged of this request. More than `max_images` is the caller's to refuse: no further are read.

    Raises: MalformedError (no such object can exist), RejectedError (`unsupported`: no extractor for this resource).
    """
    if not starts_images(operation, subresource):
        return Images(unexpected=True)
    if operation not in _OPERATIONS:
        raise MalformedError(Code.MALFORMED, f"operation: CREATE or UPDATE expected, found {quote(operation)}")
    if group or resource != "pods":
        found = f"{quote(resource, max_chars=80)} of group {quote(group, max_chars=80)}"
        raise RejectedError(Code.UNSUPPORTED, f"no extractor for the images of {found}: pods expected")
    spec = _pod_spec(obj, "object")
    _require_containers(spec)
    # A CREATE has no old object, whatever stands there.
    unchanged = _unchanged(spec, old_object) if operation == "UPDATE" and old_object is not None else frozenset()
    return _divide(spec, unchanged, max_images)


def starts_images(operation: str, subresource: str) -> bool:
    """Whether a request of this kind can start an image; what no API server asks counts as one that can."""
    return operation not in _OPERATIONS_THAT_START_NOTHING and subresource in _SUBRESOURCES


def controller_of(metadata: Mapping[str, object]) -> Owner | None:
    """The controller among the owners in an object's `metadata`; `None` where none is named in plain, short text."""
    owners = metadata.get("ownerReferences")
    if not isinstance(owners, list):
        return None
    for one in owners[:_OWNERS_MAX]:
        if isinstance(one, dict) and one.get("controller") is True:
            return _owner(one)  # the API server stores one controller at most
    return None


def is_mirror(pod: object, username: str, groups: list[str] | tuple[str, ...] | frozenset[str]) -> bool:
    """Whether the node itself shows the API server a pod that it runs already, whatever the answer.

    The annotation alone is a user's claim; only the node that the pod names may make it.
    """
    if not isinstance(pod, dict):
        return False
    metadata, spec = pod.get("metadata"), pod.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        return False
    annotations, node = metadata.get("annotations"), spec.get("nodeName")
    if not isinstance(annotations, dict) or MIRROR_ANNOTATION not in annotations:
        return False
    return isinstance(node, str) and node != "" and username == NODE_USER_PREFIX + node and NODES_GROUP in groups


def _owner(named: Mapping[str, object]) -> Owner | None:
    texts: list[str] = []
    for member in ("apiVersion", "kind", "name", "uid"):
        text = named.get(member)
        if not isinstance(text, str) or not 0 < len(text) <= _OWNER_MAX_CHARS:
            return None
        texts.append(text)
    return Owner(*texts)


def _pod_spec(pod: object, what: str) -> Mapping[str, object]:
    return untrusted.as_object(untrusted.as_object(pod, what).get("spec"), f"{what}.spec")


def _require_containers(spec: Mapping[str, object]) -> None:
    # The API server stores no Pod without containers: what looks like one is no Pod, and must not pass as empty.
    if not spec.get("containers"):
        raise MalformedError(Code.MALFORMED, "object.spec.containers: at least one container expected, found none")


def _unchanged(spec: Mapping[str, object], old_object: object) -> frozenset[_Key]:
    """The places whose text is what it was. A name that stands twice in a list is never among them."""
    same = _texts(spec, "object.spec").items() & _texts(_pod_spec(old_object, "oldObject"), "oldObject.spec").items()
    return frozenset(key for key, text in same if text is not None)


def _texts(spec: Mapping[str, object], what: str) -> dict[_Key, str | None]:
    """The text of each place by its key, `None` where it is ambiguous."""
    texts: dict[_Key, str | None] = {}
    for listed, _, name, text in _places(spec, what):
        texts[listed, name] = None if (listed, name) in texts else text
    return texts


def _divide(spec: Mapping[str, object], unchanged: frozenset[_Key], max_images: int) -> Images:
    judged: list[Image] = []
    kept: list[Image] = []
    for listed, index, name, text in _places(spec, "object.spec"):
        image = Image(_path(listed, index), name, text)
        if (listed, name) not in unchanged:
            judged.append(image)
        elif len(kept) < max_images:
            kept.append(image)
        if len(judged) > max_images:
            break
    return Images(tuple(judged), tuple(kept))


def _path(listed: str, index: int) -> str:
    return f"spec.volumes[{index}].image" if listed == "volumes" else f"spec.{listed}[{index}]"


def _places(spec: Mapping[str, object], what: str) -> Iterator[_Place]:
    """Every place of a PodSpec that starts an image; a missing text is empty, which no reference is."""
    for listed in _CONTAINER_LISTS:
        for index, container in _entries(spec, listed, what):
            name = _text(container, "name", what, listed, index)
            yield listed, index, name, _text(container, "image", what, listed, index)
    for index, volume in _entries(spec, "volumes", what):
        source = volume.get("image")
        if source is None:
            continue  # of another kind; `rbd.image` names no OCI image
        image = untrusted.as_object(source, f"{what}.volumes[{index}].image")
        name = _text(volume, "name", what, "volumes", index)
        yield "volumes", index, name, _text(image, "reference", what, "volumes", index)


def _entries(spec: Mapping[str, object], listed: str, what: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    value = spec.get(listed)
    if value is None:
        return
    for index, entry in enumerate(untrusted.as_array(value, f"{what}.{listed}", max_items=_LIST_MAX)):
        # The place is put in words only for an error: this runs for every container of every review.
        yield index, entry if isinstance(entry, dict) else untrusted.as_object(entry, f"{what}.{listed}[{index}]")


def _text(entry: Mapping[str, object], name: str, what: str, listed: str, index: int) -> str:
    value = entry.get(name)
    if isinstance(value, str):
        return value
    member = "image.reference" if name == "reference" else name
    return "" if value is None else untrusted.as_string(value, f"{what}.{listed}[{index}].{member}")
