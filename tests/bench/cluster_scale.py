"""A thousand pods at once on nodes that only pretend, of one image and of fifty: what the webhook adds to each.

The API server, its controllers and the scheduler are real, and so are the images' signatures and their registry; kwok
says of each pod that it runs. The API server's own metrics tell how long it waited for the webhook, and how long a pod
took to be created; the same Deployment in a namespace that asks no webhook is the floor. Images are asked for a first
time, and again by replicas that have just been restarted and still verify what runs.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.bench.cluster_node import HERE, NAMESPACE, OPERATIONS_PORT
from tests.cluster.cluster import Cluster
from tests.e2e.install import ENFORCED, NAME, REPLICAS, apply_policies, policy, wait_until
from tests.e2e.signing import Workshop

NODES, PODS_PER_NODE = 10, 250
KWOK = {"kwok.x-k8s.io/node": "fake"}
READY_SECONDS = 600.0
WEBHOOK = "pods.countersign.dev"
ASKED = "apiserver_admission_webhook_admission_duration_seconds"
CREATED = "apiserver_request_duration_seconds"
PODS_OF_AN_IMAGE = 20  # where there are many images
SPENT, SEARCHED = "process_cpu_seconds_total", 'countersign_findings_total{result="searched"}'


def _stage(name: str, kind: str, when: Mapping[str, bool], **then: object) -> dict[str, Any]:
    """What kwok makes of an object while of `when` each field is there, or is not."""
    fields = [{"key": key, "operator": "Exists" if there else "DoesNotExist"} for key, there in when.items()]
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": fields},
        "next": then,
    }
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


READY = '.status.conditions.[] | select( .type == "Ready" and .status == "True" )'
DELETED = ".metadata.deletionTimestamp"
CONDITION = '{type: Ready, status: "True", reason: Pretended, lastTransitionTime: {{ Now | Quote }}}'
RUNNING = f"phase: Running\nstartTime: {{{{ Now | Quote }}}}\nconditions: [{CONDITION}]"
STAGES = (
    _stage("node", "Node", {READY: False}, statusTemplate=f"conditions: [{CONDITION}]"),
    _stage("pod", "Pod", {READY: False, DELETED: False}, statusTemplate=RUNNING),
    _stage("pod-gone", "Pod", {DELETED: True}, delete=True),
)


@dataclass(frozen=True, slots=True)
class Scaled:
    """Seconds until all pods were there and until all were ready, milliseconds for each in the API server, of which
    the webhook took its share; `cpu` is what each cost its replicas, which `searched` registries so often, for reviews
    and to warm up; `failed` are creations that were refused or never answered."""

    title: str
    created: float
    ready: float
    each: float
    asked: int
    webhook: float
    cpu: float
    searched: int
    share: Mapping[str, int]  # of its calls, by the longest they took, in seconds
    failed: int

    @property
    def cells(self) -> tuple[str, ...]:
        within = next((limit for limit, calls in self.share.items() if calls >= 0.99 * self.asked), "")
        calls = (f"{self.webhook:.1f}", f"{1e3 * float(within):.0f}", f"{self.cpu:.2f}", str(self.searched))
        webhook = calls if self.asked else ("", "", "", "")
        times = f"{self.created:.1f}", f"{self.ready:.1f}", f"{self.each:.1f}"
        return self.title, *times, str(self.asked), *webhook, str(self.failed)


COLUMNS = (
    *("case", "all created s", "all ready s", "create ms a pod", "webhook asked"),
    *("webhook ms a pod", "99 % within ms", "its CPU ms a pod", "searches", "failed creations"),
)


def measure(cluster: Cluster, pods: int) -> list[Scaled]:
    """Every case. Countersign is installed, and judges namespaces with the label of the chart."""
    workshop = Workshop(cluster, _directory(cluster, "signing"))
    key = workshop.key("release")
    names = ("signed", *(f"signed-{number}" for number in range(pods // PODS_OF_AN_IMAGE)))
    signed, *many = (workshop.sign_legacy(workshop.image(f"scale/{name}"), key) for name in names)
    policies = _directory(cluster, "policies")
    (policies / "scale.yaml").write_text(
        policy("scale", {"release": key.pem}, exemptRegistries=["registry.test/exempt"])
    )
    apply_policies(cluster, policies)
    _furnish(cluster)
    exempt = f"registry.test/exempt/app@{signed.digest}"
    alone = Load("no webhook", [signed.pinned], pods, enforced=False)
    loads = (
        Load("one image", [signed.pinned], pods),
        Load(f"{len(many)} images", [image.pinned for image in many], PODS_OF_AN_IMAGE),
    )
    return [
        *_measure(cluster, alone),
        *_measure(cluster, Load("exempt image", [exempt], pods)),
        *(found for load in loads for found in _measure(cluster, load, load.called("restarted"))),
        *_measure(cluster, alone.called("again")),
    ]


@dataclass(frozen=True, slots=True)
class Load:
    """A Deployment for each image, all of which are scaled from none to so many replicas at once."""

    title: str
    images: Sequence[str]
    replicas: int
    enforced: bool = True

    @property
    def namespace(self) -> str:
        return re.sub("[^a-z0-9]+", "-", f"scaled {self.title}")

    def called(self, more: str) -> Load:
        """The same once more."""
        return replace(self, title=f"{self.title}, {more}")


def _measure(cluster: Cluster, *loads: Load) -> Iterator[Scaled]:
    """Of each of `loads`, and of all but the first by replicas that have just been restarted while the others run."""
    for number, load in enumerate(loads):
        _prepare(cluster, load)
        if number:
            _restart(cluster)
        yield _scale(cluster, load)
    for load in loads:
        cluster.kubectl("delete", "namespace", load.namespace, "--timeout=180s", seconds=200)


def _restart(cluster: Cluster) -> None:
    """Others run, which remember nothing."""
    cluster.kubectl("rollout", "restart", f"deployment/{NAME}", HERE)
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=80s", HERE, seconds=90)
    listed = ("get", "pods", REPLICAS, HERE, "--output=name")
    wait_until(lambda: len(cluster.kubectl(*listed).stdout.split()) == 2, "old replicas are gone", seconds=60)


def _furnish(cluster: Cluster) -> None:
    """There are nodes that pretend."""
    room = {"cpu": "1000", "memory": "1Ti", "pods": str(PODS_PER_NODE)}
    for number in range(NODES):
        name = f"kwok-{number}"
        labels = {"type": "kwok", "kubernetes.io/hostname": name}
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "annotations": KWOK, "labels": labels},
                "spec": {"taints": [{"key": "kwok", "effect": "NoSchedule"}]},
                "status": {"allocatable": room, "capacity": room},
            }
        )
    stages = _directory(cluster, "kwok") / "stages.yaml"
    stages.write_text("---\n".join(json.dumps(stage) + "\n" for stage in STAGES))
    selector = ",".join(f"{name}={value}" for name, value in KWOK.items())
    arguments = ("--kubeconfig=/etc/kubernetes/admin.conf", f"--manage-nodes-with-annotation-selector={selector}")
    cluster.node.spawn("kwok", "kwok", *arguments, f"--config={stages}", "--node-lease-duration-seconds=40")
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--selector=type=kwok", "--timeout=50s")


def _prepare(cluster: Cluster, load: Load) -> None:
    labels = {ENFORCED: "true"} if load.enforced else {}
    here = f"--namespace={load.namespace}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": load.namespace, "labels": labels}})
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", here, "--timeout=20s")
    cluster.apply(*(_deployment(load.namespace, f"app-{number}", image) for number, image in enumerate(load.images)))


def _scale(cluster: Cluster, load: Load) -> Scaled:
    before, ours_before = _metrics(cluster), _ours(cluster)
    started = time.monotonic()
    cluster.kubectl("scale", "deployment", "--all", f"--replicas={load.replicas}", f"--namespace={load.namespace}")
    created = _wait(cluster, load, "replicas") - started
    ready = _wait(cluster, load, "readyReplicas") - started
    after, ours = _metrics(cluster), _ours(cluster)
    made = _difference(before, after, f"{CREATED}_count", verb="POST", resource="pods", subresource="")
    spent = _difference(before, after, f"{CREATED}_sum", verb="POST", resource="pods", subresource="")
    asked = _difference(before, after, f"{ASKED}_count", name=WEBHOOK)
    waited = _difference(before, after, f"{ASKED}_sum", name=WEBHOOK)
    limits = sorted({labels["le"] for name, labels, _ in after if name == f"{ASKED}_bucket"}, key=float)
    share = {limit: int(_difference(before, after, f"{ASKED}_bucket", name=WEBHOOK, le=limit)) for limit in limits}
    return Scaled(
        title=load.title,
        created=created,
        ready=ready,
        each=1e3 * spent / max(made, 1),
        asked=int(asked),
        webhook=1e3 * waited / max(asked, 1),
        cpu=1e3 * (ours[SPENT] - ours_before[SPENT]) / max(asked, 1),
        searched=int(ours[SEARCHED] - ours_before[SEARCHED]),
        share=share,
        failed=_failed(cluster, load.namespace),
    )


def _deployment(namespace: str, name: str, image: str) -> dict[str, Any]:
    labels = {"app": name}
    spec = {
        "nodeSelector": {"type": "kwok"},
        "tolerations": [{"key": "kwok", "operator": "Exists"}],
        "containers": [{"name": "app", "image": image}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _wait(cluster: Cluster, load: Load, field: str) -> float:
    deadline, wanted = time.monotonic() + READY_SECONDS, len(load.images) * load.replicas
    asked = ("get", "deployments", f"--namespace={load.namespace}", f"--output=jsonpath={{.items[*].status.{field}}}")
    while (found := sum(map(int, cluster.kubectl(*asked).stdout.split()))) != wanted:
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: {found} of {wanted} {field} in {load.namespace} after {READY_SECONDS:g} s")
        time.sleep(0.1)
    return time.monotonic()


def _failed(cluster: Cluster, namespace: str) -> int:
    """Creations that a ReplicaSet was refused, or got no answer to."""
    events = json.loads(cluster.kubectl("get", "events", f"--namespace={namespace}", "--output=json").stdout)["items"]
    return sum(event.get("count") or 1 for event in events if event.get("reason") == "FailedCreate")


_Samples = list[tuple[str, dict[str, str], float]]


def _metrics(cluster: Cluster) -> _Samples:
    found = []
    for line in cluster.kubectl("get", "--raw=/metrics").stdout.splitlines():
        if line.startswith((ASKED, CREATED)):
            name, _, rest = line.partition("{")
            labels, _, value = rest.rpartition("} ")
            found.append((name, dict(re.findall(r'([a-z_]+)="([^"]*)"', labels)), float(value)))
    return found


def _ours(cluster: Cluster) -> Mapping[str, float]:
    """Seconds of CPU and searches of all replicas so far."""
    listed = cluster.kubectl("get", "pods", REPLICAS, HERE, "--output=jsonpath={.items[*].metadata.name}").stdout
    metrics = (f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:{OPERATIONS_PORT}/proxy/metrics" for name in listed.split())
    text = "".join(cluster.kubectl("get", f"--raw={path}").stdout for path in metrics)
    return {
        metric: sum(float(found) for found in re.findall(rf"(?m)^{re.escape(metric)} (\S+)", text))
        for metric in (SPENT, SEARCHED)
    }


def _difference(before: _Samples, after: _Samples, metric: str, **labels: str) -> float:
    def total(samples: _Samples) -> float:
        return sum(value for one, has, value in samples if one == metric and labels.items() <= has.items())

    return total(after) - total(before)


def _directory(cluster: Cluster, name: str) -> Any:
    directory = cluster.node.root / "tests" / name
    directory.mkdir(parents=True)
    return directory
