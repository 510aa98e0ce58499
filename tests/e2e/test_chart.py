"""The life of a release on a real node, by Helm 3 and by Helm 4: a fresh one denies nothing; upgrades; its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.components import REGISTRY
from tests.e2e import install
from tests.e2e.install import CHART, NAME, REGISTRY_AUTHORITY, REPLICAS, helm, wait_until
from tests.e2e.pods import pod
from tests.e2e.signing import Image, Key, Workshop
from tests.e2e.stream import stream
from tests.e2e.words import DENIED

pytestmark = pytest.mark.cluster

SHOP = "life-shop"
CONFIGURATIONS = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
CLUSTER_WIDE = (
    f"{CONFIGURATIONS},validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings"
)
# Which Kubernetes itself puts into a namespace, or remembers of what was there
NOT_OURS = ("events", "events.events.k8s.io", "endpoints", "endpointslices.discovery.k8s.io", "pods.metrics.k8s.io")
ITS_OWN = {"configmap/kube-root-ca.crt", "serviceaccount/default", "configmap/registry-ca"}


@dataclass(frozen=True, slots=True)
class Goods:
    key: Key
    signed: Image
    unsigned: Image
    workshop: Workshop


@pytest.fixture(scope="module")
def goods(vacant_cluster: Cluster) -> Goods:
    directory = vacant_cluster.node.root / "tests/life"
    directory.mkdir(parents=True)
    workshop = Workshop(vacant_cluster, directory)
    key = workshop.key("release")
    signed = workshop.sign_legacy(workshop.image("life/signed"), key)
    return Goods(key, signed, workshop.image("life/unsigned"), workshop)


@dataclass(frozen=True, slots=True)
class Release:
    """Commands of `command` on the release called `NAME` in `namespace`."""

    cluster: Cluster
    command: str
    namespace: str
    directory: Path

    def __call__(self, verb: str, *args: str | Path) -> str:
        return helm(self.cluster, verb, NAME, *args, f"--namespace={self.namespace}", command=self.command)

    def put(self, verb: str, values: dict[str, Any]) -> str:
        """Installs or upgrades."""
        file = self.directory / f"{self.command}-values.yaml"
        file.write_text(json.dumps({"image": install.VALUES["image"], **values}))
        return self(verb, CHART, f"--values={file}", "--wait", "--timeout=240s")

    def kubectl(self, *args: str) -> str:
        return self.cluster.kubectl(*args, f"--namespace={self.namespace}").stdout

    def wait_for_old_replicas(self) -> None:
        """None is left that would answer as it was installed before."""
        wait_until(lambda: len(self.kubectl("get", "pods", REPLICAS, "--output=name").split()) == 2, "two replicas")

    def left(self) -> set[str]:
        """All objects of the release, wherever, and all in its namespace that Kubernetes does not put there."""
        kinds = self.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").stdout.split()
        listed = ",".join(kind for kind in kinds if kind not in NOT_OURS)
        there = self.kubectl("get", listed, "--output=name").split()
        every = f"{CLUSTER_WIDE},{listed}"
        labelled = ("--all-namespaces", f"--selector=app.kubernetes.io/instance={NAME}", "--output=name")
        return {*there, *self.cluster.kubectl("get", every, *labelled).stdout.split()} - ITS_OWN


@pytest.fixture(params=["helm", "helm4"])
def release(request: pytest.FixtureRequest, vacant_cluster: Cluster, goods: Goods) -> Iterator[Release]:
    """Nothing is installed yet; its namespace is there, with the authority of the registry, and so is `SHOP`."""
    namespace = f"life-{request.param}"
    authority = (vacant_cluster.node.root / REGISTRY_AUTHORITY).read_text()
    for name in (namespace, SHOP):
        vacant_cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        vacant_cluster.kubectl(
            "wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=240s"
        )
    options = (f"--from-literal=ca.crt={authority}", f"--namespace={namespace}")
    vacant_cluster.kubectl("create", "configmap", "registry-ca", *options)
    yield Release(vacant_cluster, request.param, namespace, vacant_cluster.node.root / "tests/life")
    vacant_cluster.kubectl("delete", CONFIGURATIONS, NAME, "--ignore-not-found")
    vacant_cluster.kubectl("delete", "pods", "--all", f"--namespace={SHOP}", "--grace-period=0", "--force")


def test_a_release_lives_from_its_trial_to_its_end(release: Release, goods: Goods) -> None:
    release.put("install", {})
    assert release.kubectl("get", f"deployment/{NAME}", "--output=jsonpath={.status.readyReplicas}") == "2"
    _wait_until_warned(release, goods.unsigned)
    said = _run(release, "trial", goods.unsigned.tagged)
    assert "pod/trial created" in said
    assert "Warning: " in said
    assert "Succeeded" in release("test")

    enforcing = _enforcing(goods)
    release.put("upgrade", enforcing)
    release.wait_for_old_replicas()
    with stream(release.cluster, SHOP, (goods.signed.tagged, goods.unsigned.tagged)) as answers:
        # A field that was not given before, and one that has changed.
        release.put("upgrade", enforcing | {"events": {"location": "both"}, "workloads": {"action": "deny"}})
        release.wait_for_old_replicas()
        assert "no_signature" in _deployment(release, goods.unsigned.tagged)
        release("rollback", "2", "--wait", "--timeout=240s")
        release.wait_for_old_replicas()
    right = {(goods.signed.tagged, 201), (goods.unsigned.tagged, 403)}
    assert {(answer.image, answer.code) for answer in answers} == right
    assert all(answer.message.startswith(DENIED) for answer in answers if answer.code == 403)
    assert "deployment.apps/early created" in _deployment(release, goods.unsigned.tagged)

    with stream(release.cluster, SHOP, (goods.signed.tagged, goods.unsigned.tagged)) as answers:
        release.put("upgrade", enforcing | {"pin": {"enabled": True}})
        release.wait_for_old_replicas()
    assert {(answer.image, answer.code) for answer in answers} == right
    assert _image_of(release, goods.signed.tagged) == f"{goods.signed.tagged}@{goods.signed.digest}"
    verified, ran = _run_after_its_tag_has_moved(release, goods)
    assert ran == (verified.pinned, "what was verified\n")

    _leave(release)
    assert "created" in _run(release, "afterwards", goods.unsigned.tagged)
    assert release.left() == set()


def _leave(release: Release) -> None:
    """One Helm with the hook, the other as where no node can run it."""
    if release.command == "helm":
        release("uninstall", "--wait")
    else:
        release.cluster.kubectl("delete", CONFIGURATIONS, NAME)
        release("uninstall", "--no-hooks", "--wait")
    release.kubectl("wait", "--for=delete", "pods", REPLICAS, "--timeout=240s")


def _enforcing(goods: Goods) -> dict[str, Any]:
    """As `install.VALUES`, for all namespaces, and with a policy."""
    kept = ("failurePolicy", "noMatch", "extraCA", "shutdownDelaySeconds", "terminationGracePeriodSeconds")
    registries = [{"host": REGISTRY, "private": True}]
    policies = {"production.yaml": install.policy("production", {"release": goods.key.pem})}
    return {name: install.VALUES[name] for name in kept} | {"registries": registries, "policies": policies}


def _wait_until_warned(release: Release, image: Image) -> None:
    """Pods that are ready are not yet reached; until then nobody is warned, as `failurePolicy` is `Ignore`."""
    wait_until(lambda: "Warning" in _run(release, "probe", image.tagged, "--dry-run=server"), "somebody is warned")


def _run(release: Release, name: str, reference: str, *options: str) -> str:
    done = release.cluster.kubectl("run", name, f"--image={reference}", f"--namespace={SHOP}", *options, check=False)
    return done.stdout + done.stderr


def _image_of(release: Release, reference: str) -> str:
    """How the pod's image is written once it is admitted."""
    return _run(release, "pinned", reference, "--dry-run=server", "--output=jsonpath={.spec.containers[0].image}")


def _run_after_its_tag_has_moved(release: Release, goods: Goods) -> tuple[Image, tuple[str, str]]:
    """What was signed under a tag, and what ran, by its image and its words: another was pushed before the pull."""
    workshop, name = goods.workshop, f"life/moving-{release.command}"
    signed = workshop.sign_legacy(workshop.image(name, text="what was verified"), goods.key)
    new = pod("moved", signed.tagged, namespace=SHOP)
    new["spec"]["schedulingGates"] = [{"name": "countersign.test/wait"}]
    release.cluster.apply(new)
    workshop.image(name, text="something else")
    here = ("moved", f"--namespace={SHOP}")
    opened = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])
    release.cluster.kubectl("patch", "pod", *here, "--type=json", f"--patch={opened}")
    release.cluster.kubectl("wait", "pod", *here, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=240s")
    ran = "--output=jsonpath={.status.containerStatuses[0].imageID}"
    image = release.cluster.kubectl("get", "pod", *here, ran).stdout
    return signed, (image, release.cluster.kubectl("logs", *here).stdout)


def _deployment(release: Release, reference: str) -> str:
    options = (f"--image={reference}", f"--namespace={SHOP}", "--dry-run=server")
    done = release.cluster.kubectl("create", "deployment", "early", *options, check=False)
    return done.stdout + done.stderr
