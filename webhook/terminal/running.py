"""What runs in a cluster: every image of pods, and of what will make pods, with who owns it and where it stands.

Pods count as they are, injected sidecars included; of what has none now (a CronJob between two runs, a Deployment that
was scaled to nothing) the template counts. Pods that the node itself runs whatever the answer, those that have ended,
and earlier revisions do not. Objects are read page by page, and little is kept of each. Nothing is changed, and nothing
is read but these objects: the rights of the role `view` suffice.

spec: Kubernetes core/v1, apps/v1, batch/v1; owner references.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from webhook.errors import CountersignError, OperatorError, quote
from webhook.kube import extractors, pods, workload
from webhook.kube.client import Kube, KubeError, Object
from webhook.kube.workload import Image

OBJECTS_MAX = 200_000  # of one kind
IMAGES_MAX = 500  # of one object

UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404


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


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of an object. `above` is who made it, as `uid` and as `Kind/name`, empty where nobody did.

    `runs` says whether it is there to run, now or later; `problem` is why its images could not be told.
    """

    uid: str
    namespace: str
    shown: str
    above: tuple[str, str]
    runs: bool
    images: tuple[Image, ...]
    problem: str = ""


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
    for namespace in namespaces:
        await _require(kube, namespace)
    makers: dict[str, _Seen] = {}
    for resource in _MAKERS:
        async for maker in _list(kube, resource, namespaces):
            makers[maker.uid] = maker
    running = Running()
    with_pods: set[str] = set()
    async for pod in _list(kube, _PODS, namespaces):
        lineage = list(_lineage(pod, makers))
        with_pods.update(one.uid for one in lineage)
        if pod.runs:
            running.pods += 1
            _add(running, pod, lineage[-1] if lineage else pod)
    for maker in makers.values():
        if maker.runs and maker.uid not in with_pods and maker.above[0] not in makers:
            _add(running, maker, maker)
    return running


async def _require(kube: Kube, namespace: str) -> None:
    """The namespace is there, as far as the user may know. Raises: OperatorError."""
    try:
        await kube.get(f"/api/v1/namespaces/{namespace}")
    except KubeError as error:
        if error.status == NOT_FOUND:
            raise OperatorError(f"--namespace: there is no namespace {quote(namespace)}") from error


async def _list(kube: Kube, resource: _Resource, namespaces: Collection[str]) -> AsyncIterator[_Seen]:
    """Raises: OperatorError."""
    paths = [f"{resource.path}/namespaces/{one}/{resource.name}" for one in namespaces]
    count = 0
    for path in paths or [f"{resource.path}/{resource.name}"]:
        try:
            async for objects, _ in kube.pages(path):
                count += len(objects)
                if count > OBJECTS_MAX:
                    raise OperatorError(f"more than {OBJECTS_MAX} {resource.name}: name some namespaces by --namespace")
                for obj in objects:
                    if namespaces or _text(obj, "namespace") not in pods.UNSEEN:
                        yield _see(resource, obj)
        except KubeError as error:
            raise OperatorError(f"the Kubernetes API: {error.detail}{_hint(error)}") from error


def _hint(error: KubeError) -> str:
    if error.status == UNAUTHORIZED or "system:anonymous" in error.detail:
        return " (the credentials of the kubeconfig are not accepted: log in again)"
    if error.status == FORBIDDEN:
        return " (the role `view` suffices; --namespace asks for less)"
    return ""


def _see(resource: _Resource, obj: Object) -> _Seen:
    owner = _owner(obj)
    images: tuple[Image, ...] = ()
    problem = ""
    try:
        images = _images(resource, obj)
    except CountersignError as error:
        problem = error.detail
    return _Seen(
        uid=_text(obj, "uid"),
        namespace=_text(obj, "namespace"),
        shown=f"{resource.kind}/{_text(obj, 'name')}",
        above=(str(owner.get("uid", "")), f"{owner.get('kind')}/{owner.get('name')}" if owner else ""),
        runs=_runs(resource, obj, owned=bool(owner)),
        images=images,
        problem=problem,
    )


def _add(running: Running, seen: _Seen, top: _Seen) -> None:
    owner = top.above[1] or top.shown
    running.objects += 1
    running.namespaces.add(seen.namespace)
    if seen.problem:
        running.unreadable.append(f"{owner} of {seen.namespace}: {seen.problem}")
    for image in seen.images:
        running.uses.setdefault(image.text, set()).add(Use(seen.namespace, owner, image.path, image.container))


def _images(resource: _Resource, obj: Object) -> tuple[Image, ...]:
    """Raises: CountersignError."""
    if resource is _PODS:
        return workload.images_of(resource.name, "", "CREATE", obj, None, max_images=IMAGES_MAX).images
    extractor = extractors.BUILT_IN[resource.group, resource.name]
    return extractors.images_of(extractor, "CREATE", obj, None, max_images=IMAGES_MAX).images


def _lineage(seen: _Seen, makers: Mapping[str, _Seen]) -> Iterator[_Seen]:
    """Who made it, and who made that, the nearest first."""
    uids: set[str] = set()
    while (uid := seen.above[0]) in makers and uid not in uids:
        uids.add(uid)
        seen = makers[uid]
        yield seen


def _owner(obj: Object) -> Mapping[str, object]:
    owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return next((one for one in owners if one.get("controller")), {})


def _text(obj: Object, name: str) -> str:
    return str((obj.get("metadata") or {}).get(name, ""))


def _runs(resource: _Resource, obj: Object, *, owned: bool) -> bool:
    status = obj.get("status") or {}
    if resource is _PODS:
        return pods.runs(obj)
    if resource.name == "replicasets" and owned and (obj.get("spec") or {}).get("replicas") == 0:
        return False  # an earlier revision, also of a Rollout, which is not looked at itself
    # A Job that has run, as its controller says: batch/v1, JobStatus.conditions
    conditions = status.get("conditions") or ()
    return not any(one.get("type") in ("Complete", "Failed") and one.get("status") == "True" for one in conditions)
