"""Early feedback before a real API server: reviews are what it sends, and answers what it and kubectl make of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.certificates import Authority
from tests.conftest import API_SERVER
from tests.doubles.verifying import NOW, RELEASE, Cluster, opened
from tests.kube.apiserver import Server, webhook_service
from webhook import settings
from webhook.admission.handler import Handler
from webhook.admission.places import Places
from webhook.admission.workloads import Workloads
from webhook.audit.sinks import Metrics
from webhook.audit.trail import Trail
from webhook.kube import extractors as known
from webhook.policy import document, extractors
from webhook.policy.model import PolicySet
from webhook.settings import Early, NoMatch
from webhook.web import server
from webhook.web.app import Admission
from webhook.web.entrance import LARGE_BODIES, Entrance, Life

pytestmark = pytest.mark.tools(*API_SERVER)

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = ROOT / "tests/kube/objects"
PATH = "/validate-workloads"
BUILT_IN = {
    "": ["podtemplates", "replicationcontrollers"],
    "apps": ["deployments", "replicasets", "statefulsets", "daemonsets"],
    "batch": ["jobs", "cronjobs"],
}
LABELS = {"app": "shop"}
SELECTOR = {"selector": {"matchLabels": LABELS}}

_numbers = itertools.count(1)


@dataclass
class Site:
    """A namespace whose workloads are seen; `signed` and `unsigned` are references of images in a registry."""

    server: Server
    namespace: str
    signed: str
    unsigned: str

    async def apply(self, *objects: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        arguments = ("apply", f"--namespace={self.namespace}", "-f", "-")
        return await asyncio.to_thread(self.server.kubectl, *arguments, stdin=listed, check=False)

    async def create(self, obj: Mapping[str, Any], image: str) -> subprocess.CompletedProcess[str]:
        """`obj` with `image` for every image that it names."""
        text = re.sub(r"img\.example\.com/[a-z-]+:[0-9]+", image, json.dumps(obj))
        return await self.kubectl("create", "-f", "-", stdin=text)

    async def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        arguments = (f"--namespace={self.namespace}", *arguments)
        return await asyncio.to_thread(self.server.kubectl, *arguments, stdin=stdin, check=False)


@contextlib.asynccontextmanager
async def site(
    api_server: Server, folder: Path, early: Early, *, extracting: Sequence[known.Extractor] = ()
) -> AsyncIterator[Site]:
    namespace = await asyncio.to_thread(api_server.namespace, f"workloads-{next(_numbers)}")
    authority = Authority(folder)
    certificate, key = authority.issue("server", common_name="countersign", hosts=[f"countersign.{namespace}.svc"])
    metrics, trail = Metrics(hosts={}, version="0"), Trail((), dropped=lambda sink, count: None)
    async with opened(NoMatch.DENY) as cluster:
        entrance = Entrance(
            webhook="workloads",
            reviewer=Workloads(handler=handler(cluster), extractors=lambda: extracted, early=early, references_max=500),
            trail=trail,
            metrics=metrics,
            life=Life(problems=dict, notes=dict),
            large=asyncio.Semaphore(LARGE_BODIES),
            body_max_bytes=settings.Admission().body_max_bytes,
            fails_open=lambda: False,
        )
        extracted = known.join(extracting)
        listener = server.listen("127.0.0.1", 0, "a free port")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        async with server.running(server.make(Admission({PATH: entrance}), settings.Server(), context), listener):
            port = listener.getsockname()[1]
            registered = configuration(namespace, authority.certificate.read_bytes(), port, extracting)
            signed, unsigned = (cluster.image(name, tag=name) for name in ("signed", "unsigned"))
            cluster.sign(signed, RELEASE)
            image = f"{cluster.host}/{cluster.name}"
            there = Site(api_server, namespace, f"{image}@{signed}", f"{image}@{unsigned}")
            old = workload("apps/v1", "ReplicaSet", {**SELECTOR, "template": pods_of(there.unsigned)}, name="old")
            assert (await there.apply(old)).returncode == 0, "it was there before the webhook was"
            await asyncio.to_thread(api_server.apply, webhook_service(namespace), registered)
            try:
                yield there
            finally:
                name = registered["metadata"]["name"]
                await asyncio.to_thread(api_server.kubectl, "delete", "validatingwebhookconfiguration", name)
    await trail.close(grace=1)


def handler(cluster: Cluster) -> Handler:
    cluster.policy("production")
    found = document.parse(yaml.safe_dump_all(cluster.policies).encode(), origin="policies.yaml", now=NOW)
    policies = PolicySet(found, "revision", "policies.yaml")
    return Handler(
        policies=lambda: policies,
        verifier=cluster.verifier,
        places=Places(places=64, listed=frozenset()),
        limits=settings.Admission(),
        clock=lambda: NOW,
    )


def configuration(namespace: str, authority: bytes, port: int, extracting: Sequence[known.Extractor]) -> dict[str, Any]:
    resources = dict(BUILT_IN)
    for one in extracting:
        resources[one.group] = [*resources.get(one.group, ()), one.resource]
    service = {"namespace": namespace, "name": "countersign", "port": port, "path": PATH}
    entry = {
        "name": "workloads.countersign.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": "Fail",  # of a test: nothing that goes wrong may be passed over
        "timeoutSeconds": 5,
        "clientConfig": {"service": service, "caBundle": base64.b64encode(authority).decode()},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [
            {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": names}
            for group, names in resources.items()
        ],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"{namespace}-workloads"},
        "webhooks": [entry],
    }


def pods_of(image: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}


def workload(version: str, kind: str, spec: Mapping[str, Any], name: str = "shop") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def every_kind(image: str) -> dict[str, dict[str, Any]]:
    once = pods_of(image, restartPolicy="Never")
    pod_template = workload("v1", "PodTemplate", {}) | {"template": pods_of(image)}
    del pod_template["spec"]
    return {
        "spec.template.spec.containers[0] Deployment": workload(
            "apps/v1", "Deployment", {**SELECTOR, "template": pods_of(image)}
        ),
        "spec.template.spec.containers[0] ReplicaSet": workload(
            "apps/v1", "ReplicaSet", {**SELECTOR, "template": pods_of(image)}
        ),
        "spec.template.spec.containers[0] StatefulSet": workload(
            "apps/v1", "StatefulSet", {**SELECTOR, "serviceName": "s", "template": pods_of(image)}
        ),
        "spec.template.spec.containers[0] DaemonSet": workload(
            "apps/v1", "DaemonSet", {**SELECTOR, "template": pods_of(image)}
        ),
        "spec.template.spec.containers[0] Job": workload("batch/v1", "Job", {"template": once}),
        "spec.jobTemplate.spec.template.spec.containers[0] CronJob": workload(
            "batch/v1", "CronJob", {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": once}}}
        ),
        "spec.template.spec.containers[0] ReplicationController": workload(
            "v1", "ReplicationController", {"selector": LABELS, "template": pods_of(image)}
        ),
        "template.spec.containers[0] PodTemplate": pod_template,
    }


async def test_every_kind_is_denied_early_with_its_path_where_that_is_wanted(
    api_server: Server, tmp_path: Path
) -> None:
    async with site(api_server, tmp_path, Early.DENY) as there:
        for place, obj in every_kind(there.unsigned).items():
            denied = await there.apply(obj)
            assert denied.returncode == 1, place
            assert f'container "c" ({place.partition(" ")[0]})' in denied.stderr
            assert "no_signature" in denied.stderr
        for place, obj in every_kind(there.signed).items():
            made = await there.apply(obj)
            assert (made.returncode, made.stderr) == (0, ""), place


async def test_every_kind_is_warned_of_by_default(api_server: Server, tmp_path: Path) -> None:
    async with site(api_server, tmp_path, settings.Admission().workloads) as there:
        for place, obj in every_kind(there.unsigned).items():
            made = await there.apply(obj)
            assert made.returncode == 0, made.stderr
            assert made.stderr.startswith(f"Warning: {place.partition(' ')[0]}: "), place
            assert 'would be denied by policy "production" as it is now: no_signature; its pods' in made.stderr
        found = [event.get("annotations", {}) for event in api_server.audit()]
        told = [one for one in found if one.get("workloads.countersign.dev/reason") == "no_signature"]
        assert {one["workloads.countersign.dev/decision"] for one in told} >= {"warn"}


async def test_an_old_object_is_scaled_and_only_a_new_image_is_denied(api_server: Server, tmp_path: Path) -> None:
    async with site(api_server, tmp_path, Early.DENY) as there:
        scaled = await there.kubectl("scale", "replicaset/old", "--replicas=0")
        assert (scaled.returncode, scaled.stderr) == (0, "")
        labelled = await there.kubectl("label", "replicaset/old", "a=b")
        assert (labelled.returncode, labelled.stderr) == (0, "")
        changed = await there.kubectl(
            "set", "image", "replicaset/old", f"c={there.unsigned.partition('@')[0]}:unsigned"
        )
        assert (changed.returncode, "no_signature" in changed.stderr) == (1, True)
        mended = await there.kubectl("set", "image", "replicaset/old", f"c={there.signed}")
        assert (mended.returncode, mended.stderr) == (0, "")


async def test_no_template_is_refused_for_its_shape(api_server: Server, tmp_path: Path) -> None:
    async with site(api_server, tmp_path, Early.DENY) as there:
        pod_template = workload("v1", "PodTemplate", {}) | {"template": pods_of("")}
        del pod_template["spec"]
        scheduled = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": pods_of("", restartPolicy="Never")}}}
        null = workload("v1", "ReplicationController", {"replicas": 0, "selector": LABELS, "template": None})
        for obj in (pod_template, workload("batch/v1", "CronJob", scheduled), null):
            told = await there.apply(obj)
            assert "countersign" not in told.stderr, "whatever the API server itself thinks of it"


def definition(one: known.Extractor, kind: str, version: str) -> dict[str, Any]:
    """A custom resource of any shape; the real ones are megabytes of schema."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"plural": one.resource, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{one.resource}.{one.group}"},
        "spec": {
            "group": one.group,
            "names": names,
            "scope": "Namespaced",
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@pytest.mark.parametrize("name", ["argo-rollouts", "argo-workflows", "knative", "tekton"])
async def test_custom_resources_of_a_ready_extractor(api_server: Server, tmp_path: Path, name: str) -> None:
    file = ROOT / f"charts/countersign/extractors/{name}.yaml"
    ready = {one.resource.removesuffix("s"): one for one in extractors.parse(file.read_bytes(), origin=name)}
    text = (OBJECTS / f"{name}.yaml").read_text()
    objects = [obj for obj in yaml.safe_load_all(text) if "img.example.com/" in json.dumps(obj)]
    made = [definition(ready[obj["kind"].lower()], obj["kind"], obj["apiVersion"].split("/")[1]) for obj in objects]
    made = list({one["metadata"]["name"]: one for one in made}.values())
    await asyncio.to_thread(api_server.apply, *made)
    named = [f"crd/{one['metadata']['name']}" for one in made]
    await asyncio.to_thread(api_server.kubectl, "wait", "--for=condition=established", "--timeout=20s", *named)
    async with site(api_server, tmp_path, Early.DENY, extracting=list(ready.values())) as there:
        for obj in objects:
            denied = await there.create(obj, there.unsigned)
            assert (denied.returncode, "no_signature" in denied.stderr) == (1, True), obj["kind"]
            created = await there.create(obj, there.signed)
            assert (created.returncode, created.stderr) == (0, ""), obj["kind"]


async def test_a_custom_resource_of_any_shape(api_server: Server, tmp_path: Path) -> None:
    one = known.Extractor("shapes.example.com", "shapes", (known.parse_path("spec.template.spec"),))
    crd = definition(one, "Shape", "v1")
    await asyncio.to_thread(api_server.apply, crd)
    await asyncio.to_thread(
        api_server.kubectl, "wait", "--for=condition=established", "--timeout=20s", f"crd/{crd['metadata']['name']}"
    )
    deep: Any = {"image": "deep"}
    for _ in range(200):
        deep = {"containers": [deep]}
    shapes: dict[str, Any] = {
        "null": {"template": None},
        "number": {"template": {"spec": {"containers": [{"name": 7, "image": 7}]}}},
        "text": {"template": "spec"},
        "deep": {"template": {"spec": deep}},
    }
    async with site(api_server, tmp_path, Early.DENY, extracting=[one]) as there:
        for name, spec in shapes.items():
            created = await there.create(workload("shapes.example.com/v1", "Shape", spec, name=name), "")
            assert (created.returncode, created.stderr) == (0, ""), name
        many = {"containers": [{"name": f"c{index}", "image": f"{there.unsigned}"} for index in range(10_000)]}
        told = await there.create(
            workload("shapes.example.com/v1", "Shape", {"template": {"spec": many}}, name="many"), ""
        )
        assert (told.returncode, "too_many_references" in told.stderr) == (1, True)
