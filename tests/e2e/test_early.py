"""Workloads that would have no pods: whoever applies one is told at once, whatever its kind.

Here they are only warned, which is the default; that the value `deny` denies is in docs/tour.md and `test_chart`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.conftest import Shelf

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("by", ["inside"], indirect=True)]

Object = dict[str, Any]
LABELS = {"app": "early"}
TEMPLATE = "spec.template.spec.containers[0]"


def of_template(kind: str, group: str, **more: object) -> Object:
    return {"apiVersion": group, "kind": kind, "spec": {"template": {"metadata": {"labels": LABELS}}, **more}}


SELECTOR = {"matchLabels": LABELS}
WORKLOADS: Mapping[str, tuple[Object, str]] = {
    "deployment": (of_template("Deployment", "apps/v1", selector=SELECTOR), TEMPLATE),
    "replicaset": (of_template("ReplicaSet", "apps/v1", selector=SELECTOR), TEMPLATE),
    "statefulset": (of_template("StatefulSet", "apps/v1", selector=SELECTOR, serviceName="early"), TEMPLATE),
    "daemonset": (of_template("DaemonSet", "apps/v1", selector=SELECTOR), TEMPLATE),
    "job": (of_template("Job", "batch/v1"), TEMPLATE),
    "replicationcontroller": (of_template("ReplicationController", "v1", selector=LABELS), TEMPLATE),
    "podtemplate": ({"apiVersion": "v1", "kind": "PodTemplate", "template": {}}, "template.spec.containers[0]"),
    "cronjob": (
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {}}}},
        },
        "spec.jobTemplate.spec.template.spec.containers[0]",
    ),
}


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_workload_is_warned_of(cluster: Cluster, shelf: Shelf, namespace: str, kind: str) -> None:
    workload, where = WORKLOADS[kind]
    restart = "OnFailure" if kind in ("job", "cronjob") else "Always"
    told = {}
    for name, image in (("good", shelf.legacy), ("bad", shelf.unsigned)):
        containers = [{"name": "main", "image": image.tagged}]
        spec = {"containers": containers, "restartPolicy": restart, "nodeSelector": {"nowhere": "true"}}
        made = _with_spec(workload, spec) | {"metadata": {"name": f"{kind}-{name}", "namespace": namespace}}
        told[name] = cluster.apply(made).stderr
    assert told["good"] == ""
    assert told["bad"].startswith(f'Warning: {where}: {shelf.unsigned.tagged} would be denied by policy "production"')
    assert "no_signature" in told["bad"]


def _with_spec(workload: Object, spec: Object) -> Object:
    """`workload` with `spec` in its template, wherever that is."""
    if "template" in workload:
        return {**workload, "template": {**workload["template"], "spec": spec}}
    inner = next(key for key in ("spec", "jobTemplate") if key in workload)
    return {**workload, inner: _with_spec(workload[inner], spec)}
