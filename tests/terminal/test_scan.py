"""What runs in a cluster, held against policies before they are enforced: a real API server, images on loopback."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import API_SERVER
from tests.kube.apiserver import Server
from tests.terminal.conftest import Commands, Shelf, Told, policy

pytestmark = pytest.mark.tools(*API_SERVER)

_numbers = itertools.count(1)
READABLE = {
    "": ["pods", "replicationcontrollers"],
    "apps": ["deployments", "replicasets", "statefulsets", "daemonsets"],
    "batch": ["jobs", "cronjobs"],
}


@pytest.fixture
def namespace(api_server: Server) -> str:
    return api_server.namespace(f"scan-{next(_numbers)}")


@pytest.fixture
def kubeconfig(api_server: Server) -> Path:
    """Of a user who may read what runs, and nothing else."""
    rules = [{"apiGroups": [group], "resources": names, "verbs": ["list"]} for group, names in READABLE.items()]
    rbac = "rbac.authorization.k8s.io"
    api_server.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": "webhook"}],
        },
    )
    return api_server.kubeconfig("webhook")


def spec(*images: str) -> dict[str, Any]:
    return {"containers": [{"name": f"c{index}", "image": image} for index, image in enumerate(images)]}


def pod(namespace: str, name: str, *images: str, **metadata: object) -> dict[str, Any]:
    head = {"namespace": namespace, "name": name, **metadata}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": head, "spec": spec(*images)}


def made(kind: str, namespace: str, name: str, *images: str, **more: object) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec(*images)}
    body: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template, **more}
    version = "apps/v1"
    if kind == "CronJob":
        template["spec"]["restartPolicy"] = "Never"
        body, version = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}}, "batch/v1"
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": body}


async def scan(shelf: Shelf, kubeconfig: Path, *options: object) -> Told:
    argv = ("scan", "--kubeconfig", kubeconfig, "--insecure-registry", shelf.host, *options)
    return await asyncio.to_thread(shelf.commands.run, *argv)


@pytest.fixture
def enforced(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(policy(mode="warn"))  # what it would do once it enforces is what is asked
    return path


async def test_what_would_be_denied_is_told_by_image_with_its_owners(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    signed, unsigned, tampered = (shelf.cases[name].reference for name in ("signed", "unsigned", "tampered"))
    api_server.apply(
        pod(namespace, "alone", signed, unsigned),
        made("Deployment", namespace, "scaled-to-nothing", unsigned, replicas=0),
        made("CronJob", namespace, "at-night", tampered),
    )
    told = await scan(shelf, kubeconfig, "--policy", enforced, "--namespace", namespace)
    assert (told.code, told.err) == (1, "")
    blocks = told.out.split("\n\n")
    (about_unsigned,) = (block for block in blocks if unsigned in block)
    assert "no_signature" in about_unsigned
    assert f"in {namespace}: Deployment/scaled-to-nothing" in about_unsigned
    assert f"in {namespace}: Pod/alone" in about_unsigned
    (about_tampered,) = (block for block in blocks if tampered in block)
    assert "subject_mismatch" in about_tampered
    assert f"in {namespace}: CronJob/at-night" in about_tampered
    assert f"denied: {signed} " not in told.out
    assert told.last == "3 images of 1 pods and 2 templates in 1 namespaces: 1 admitted, 2 denied"


async def test_the_document_names_every_place(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    unsigned = shelf.cases["unsigned"].reference
    api_server.apply(pod(namespace, "alone", unsigned))
    told = await scan(shelf, kubeconfig, "--policy", enforced, "-n", namespace, "--output", "json")
    document = json.loads(told.out)
    (image,) = document["images"]
    assert (image["image"], image["result"], image["code"]) == (unsigned, "denied", "no_signature")
    assert image["digest"] == shelf.cases["unsigned"].digest
    place = {"namespace": namespace, "owner": "Pod/alone", "path": "spec.containers[0]", "container": "c0"}
    assert image["uses"] == [place]
    assert document["summary"] == {"denied": 1}


async def test_all_signed_is_exit_code_0(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    api_server.apply(pod(namespace, "good", shelf.cases["signed"].reference))
    told = await scan(shelf, kubeconfig, "--policy", enforced, "-n", namespace)
    assert (told.code, told.last) == (0, "1 images of 1 pods and 0 templates in 1 namespaces: 1 admitted")


async def test_a_registry_that_is_away_is_no_denial(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    api_server.apply(pod(namespace, "away", "127.0.0.1:1/shop/web:1.0"))
    away = await scan(shelf, kubeconfig, "--policy", enforced, "-n", namespace, "--insecure-registry", "127.0.0.1:1")
    assert away.code == 2
    assert "could not be examined: 127.0.0.1:1/shop/web:1.0" in away.out
    assert away.last.endswith("0 admitted, 1 could not be examined")


async def test_no_stranger_makes_this_machine_dial_itself(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path, commands: Commands
) -> None:
    api_server.apply(pod(namespace, "hostile", shelf.cases["signed"].reference))
    argv = ("scan", "--kubeconfig", kubeconfig, "--policy", enforced, "-n", namespace, "--output", "json")
    told = await asyncio.to_thread(commands.run, *argv)
    (image,) = json.loads(told.out)["images"]
    assert image["code"] == "host_refused"
    assert told.code == 1


async def test_who_owns_a_pod_is_told_from_the_top(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    unsigned = shelf.cases["unsigned"].reference
    api_server.apply(made("Deployment", namespace, "api", unsigned, replicas=1))
    deployment = json.loads(api_server.kubectl("get", "deployment/api", "-n", namespace, "-o", "json").stdout)
    replicas = made("ReplicaSet", namespace, "api-7d9", unsigned, replicas=1)
    replicas["metadata"]["ownerReferences"] = [_owned_by(deployment)]
    api_server.apply(replicas)
    stored = json.loads(api_server.kubectl("get", "replicaset/api-7d9", "-n", namespace, "-o", "json").stdout)
    api_server.apply(
        pod(namespace, "api-7d9-x", unsigned, ownerReferences=[_owned_by(stored)]),
        pod(
            namespace,
            "of-an-operator",
            unsigned,
            ownerReferences=[
                {"apiVersion": "db.example/v1", "kind": "Cluster", "name": "main", "uid": "u-1", "controller": True}
            ],
        ),
    )
    told = await scan(shelf, kubeconfig, "--policy", enforced, "-n", namespace)
    assert f"in {namespace}: Deployment/api" in told.out
    assert f"in {namespace}: Cluster/main" in told.out
    assert "ReplicaSet" not in told.out
    assert "of 2 pods and 0 templates" in told.last


async def test_rights_that_are_missing_are_named(
    api_server: Server, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    told = await scan(shelf, api_server.kubeconfig("stranger"), "--policy", enforced, "-n", namespace)
    assert told.code == 2
    assert "forbidden" in told.err
    assert "the role `view` suffices" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param((), "--policy: a trust policy", id="no policy"),
        pytest.param(("--policy", "missing.yaml"), "missing.yaml", id="a policy that is not there"),
        pytest.param(("--no-match", "maybe"), "maybe", id="a word that is none"),
    ],
)
async def test_mistakes_in_usage(kubeconfig: Path, shelf: Shelf, options: tuple[str, ...], said: str) -> None:
    told = await scan(shelf, kubeconfig, *options)
    assert told.code == 2
    assert said in told.err


async def test_a_kubeconfig_that_is_not_there(tmp_path: Path, shelf: Shelf, enforced: Path) -> None:
    told = await scan(shelf, tmp_path / "nowhere", "--policy", enforced)
    assert told.code == 2
    assert "nowhere" in told.err


def _owned_by(obj: dict[str, Any]) -> dict[str, Any]:
    head = {name: obj["metadata"][name] for name in ("name", "uid")}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "controller": True, **head}
