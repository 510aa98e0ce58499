"""What runs in a cluster: every image of pods, and of what will make pods, with who owns it and where it stands.

Pods count as they are, injected sidecars included; of what has none now (a CronJob between two runs, a Deployment that
was scaled to nothing) the template counts. Pods that the node itself runs whatever the answer, and those that have
ended, do not. Nothing is changed, and nothing is read but these objects: the rights of the role `view` suffice.

spec: Kubernetes core/v1, apps/v1, batch/v1; owner references.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from webhook.errors import CountersignError, OperatorError
from webhook.kube import extractors, workload
from webhook.kube.client import Kube, KubeError, Object
from webhook.kube.workload import Image

# Excluded by every installation of the chart: the webhook is never asked about them
UNSEEN = ("kube-system", "kube-node-lease", "kube-public")
PODS_MAX = 200_000
IMAGES_MAX = 500  # of one object

_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class _Resource:
    path: str  # the API group's
    group: str
    name: str
    kind: str


_PODS = _Resource("/api/v1", "", "pods", "Pod")
_MAKERS = (
    _Resource("/apis/apps/v1", "apps", "deployments", "Deployment"),
    _Resource("/apis/apps/v1", "apps", "replicasets", "ReplicaSet"),
    _Resource("/apis/apps/v1", "apps", "statefulsets", "StatefulSet"),
    _Resource("/apis/apps/v1", "apps", "daemonsets", "DaemonSet"),
    _Resource("/apis/batch/v1", "batch", "jobs", "Job"),
    _Resource("/apis/batch/v1", "batch", "cronjobs", "CronJob"),
    _Resource("/api/v1", "", "replicationcontrollers", "ReplicationController"),
)


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """An image stands at `path` of what `owner` (`Deployment/api`) makes in `namespace`."""

    namespace: str
    owner: str
    path: str
    container: str


@dataclass(slots=True)
class Running:
    """`uses` by the text of the image; `objects` were looked at."""

    uses: dict[str, set[Use]] = field(default_factory=dict)
    objects: int = 0
    pods: int = 0
    namespaces: set[str] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)  # objects whose images could not be told, and why


async def look(kube: Kube, *, namespaces: Collection[str]) -> Running:
    """All that runs in `namespaces`, or in every one that the webhook may see. Raises: OperatorError."""
    makers: dict[str, tuple[_Resource, Object]] = {}
    for resource in _MAKERS:
        for obj in await _list(kube, resource, namespaces):
            makers[_uid(obj)] = resource, obj
    running = Running()
    with_pods: set[str] = set()
    for pod in await _list(kube, _PODS, namespaces):
        lineage = list(_lineage(pod, makers))
        with_pods.update(lineage)
        if _phase(pod) in _ENDED or _is_mirror(pod):
            continue
        running.pods += 1
        _add(running, _PODS, pod, _owner(pod, lineage, makers))
    for uid, (resource, obj) in makers.items():
        lineage = list(_lineage(obj, makers))
        if uid not in with_pods and not lineage and not _has_ended(obj):
            with_pods.add(uid)
            _add(running, resource, obj, f"{resource.kind}/{_name(obj)}")
    return running


async def _list(kube: Kube, resource: _Resource, namespaces: Collection[str]) -> list[Object]:
    """Raises: OperatorError."""
    paths = [f"{resource.path}/namespaces/{one}/{resource.name}" for one in namespaces]
    found: list[Object] = []
    for path in paths or [f"{resource.path}/{resource.name}"]:
        try:
            found += (await kube.list(path))[0]
        except KubeError as error:
            hint = " (the role `view` suffices; --namespace asks for less)" if error.status == 403 else ""
            raise OperatorError(f"the Kubernetes API: {error.detail}{hint}") from error
        if len(found) > PODS_MAX:
            raise OperatorError(f"more than {PODS_MAX} {resource.name}: name some namespaces by --namespace")
    return [obj for obj in found if namespaces or _namespace(obj) not in UNSEEN]


def _add(running: Running, resource: _Resource, obj: Object, owner: str) -> None:
    running.objects += 1
    namespace = _namespace(obj)
    running.namespaces.add(namespace)
    try:
        found = _images(resource, obj)
    except CountersignError as error:
        running.unreadable.append(f"{owner} of {namespace}: {error.detail}")
        return
    for image in found:
        running.uses.setdefault(image.text, set()).add(Use(namespace, owner, image.path, image.container))


def _images(resource: _Resource, obj: Object) -> tuple[Image, ...]:
    """Raises: CountersignError."""
    if resource is _PODS:
        return workload.images_of(resource.name, "", "CREATE", obj, None, max_images=IMAGES_MAX).images
    extractor = extractors.BUILT_IN[resource.group, resource.name]
    return extractors.images_of(extractor, "CREATE", obj, None, max_images=IMAGES_MAX).images


def _lineage(obj: Object, makers: Mapping[str, tuple[_Resource, Object]]) -> Iterator[str]:
    """Who made it, and who made that: uids, the nearest first."""
    seen: set[str] = set()
    while (uid := _controller(obj)) in makers and uid not in seen:
        seen.add(uid)
        yield uid
        obj = makers[uid][1]


def _owner(pod: Object, lineage: list[str], makers: Mapping[str, tuple[_Resource, Object]]) -> str:
    if lineage:
        resource, obj = makers[lineage[-1]]
        top = _reference(obj)
        return f"{top.get('kind')}/{top.get('name')}" if top else f"{resource.kind}/{_name(obj)}"
    own = _reference(pod)
    return f"{own.get('kind')}/{own.get('name')}" if own else f"Pod/{_name(pod)}"


def _reference(obj: Object) -> Mapping[str, object]:
    owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return next((one for one in owners if one.get("controller")), {})


def _controller(obj: Object) -> str:
    return str(_reference(obj).get("uid", ""))


def _uid(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("uid", ""))


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def _namespace(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("namespace", ""))


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _is_mirror(pod: Object) -> bool:
    return workload.MIRROR_ANNOTATION in ((pod.get("metadata") or {}).get("annotations") or {})


def _has_ended(obj: Object) -> bool:
    """A Job that has run, as its controller says. batch/v1, JobStatus.conditions"""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(one.get("type") in ("Complete", "Failed") and one.get("status") == "True" for one in conditions)
