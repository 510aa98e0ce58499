"""What runs in a cluster, held against policies before they are enforced: a real API server, images on loopback."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import API_SERVER
from tests.kube.apiserver import Server
from tests.terminal.conftest import Commands, Shelf, Told, policy

pytestmark = pytest.mark.tools(*API_SERVER)

READABLE = {
    "": ["pods", "replicationcontrollers"],
    "apps": ["deployments", "replicasets", "statefulsets", "daemonsets"],
    "batch": ["jobs", "cronjobs"],
}


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
    assert told.last == "3 images of 1 pod and 2 templates in 1 namespace: 1 admitted, 2 denied"


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
    assert (told.code, told.last) == (0, "1 image of 1 pod and 0 templates in 1 namespace: 1 admitted")


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


async def test_every_place_of_an_image_counts_once_for_each_spelling(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    unsigned, digest = shelf.cases["unsigned"].reference, shelf.cases["unsigned"].digest
    pinned = f"{unsigned}@{digest}"
    everywhere = pod(namespace, "everywhere", unsigned)
    everywhere["spec"] |= {
        "initContainers": [{"name": "init", "image": pinned}],
        "volumes": [{"name": "model", "image": {"reference": unsigned}}],
    }
    api_server.apply(everywhere)
    debug = ("debug", "everywhere", "-n", namespace, f"--image={unsigned}", "--container=debug", "--attach=false")
    api_server.kubectl(*debug)
    told = await scan(shelf, kubeconfig, "--policy", enforced, "-n", namespace, "--output", "json")
    images = {image["image"]: [use["path"] for use in image["uses"]] for image in json.loads(told.out)["images"]}
    assert images == {
        unsigned: ["spec.containers[0]", "spec.ephemeralContainers[0]", "spec.volumes[0].image"],
        pinned: ["spec.initContainers[0]"],
    }


async def test_what_does_not_run_and_will_not_is_left_out(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    """An earlier revision of a Rollout, a Job that has run, a pod that has ended, and what the node runs by itself."""
    unsigned = shelf.cases["unsigned"].reference
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "u-2", "controller": True}
    old, now = (
        made("ReplicaSet", namespace, name, unsigned, replicas=count) for name, count in (("old", 0), ("now", 1))
    )
    for one in (old, now):
        one["metadata"]["ownerReferences"] = [rollout]
    mirror = pod(namespace, "static", unsigned, annotations={"kubernetes.io/config.mirror": "x"})
    mirror["spec"]["nodeName"] = "n-1"
    api_server.apply(old, now, pod(namespace, "ended", unsigned), mirror)
    ended = ("patch", "pod/ended", "-n", namespace, "--subresource=status", "--type=merge")
    api_server.kubectl(*ended, "-p", '{"status":{"phase":"Succeeded"}}')
    told = await scan(shelf, kubeconfig, "--policy", enforced, "-n", namespace)
    assert told.last == "1 image of 0 pods and 1 template in 1 namespace: 0 admitted, 1 denied"
    assert f"in {namespace}: Rollout/web" in told.out


async def test_names_of_strangers_do_not_steer_the_terminal(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    owner = {"apiVersion": "evil.example/v1", "kind": "\x1b[2JX", "name": "a\nb", "uid": "u-3", "controller": True}
    api_server.apply(pod(namespace, "wide", "registry.example/\u202e\u5bbf:1", ownerReferences=[owner]))
    told = await scan(shelf, kubeconfig, "--policy", enforced, "-n", namespace)
    assert told.code == 1
    assert "\x1b" not in told.out
    assert "\u202e" not in told.out
    assert rf"in {namespace}: \x1b[2JX/a\nb" in told.out


async def test_nothing_at_all(
    api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    told = await scan(shelf, kubeconfig, "--policy", enforced, "-n", namespace)
    assert (told.code, told.out) == (0, "0 images of 0 pods and 0 templates in 0 namespaces: 0 admitted\n")
    away = await scan(shelf, api_server.kubeconfig(), "--policy", enforced, "-n", f"{namespace}-with-a-typo")
    assert away.code == 2
    assert f"there is no namespace '{namespace}-with-a-typo'" in away.err


# --- policies as they are applied


def applied(namespace: str, name: str, text: str) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "labels": {"countersign.dev/policy": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a.yaml": text}}


async def test_policies_as_they_are_applied(api_server: Server, kubeconfig: Path, namespace: str, shelf: Shelf) -> None:
    """With keys from Secrets as far as the user may read them; who may not is told so, and nothing is denied for it."""
    signed, unsigned = (shelf.cases[name].reference for name in ("signed", "unsigned"))
    home = api_server.namespace(f"{namespace}-home")
    text = policy(mode="warn").partition("      publicKey")[0] + "      secret:\n        name: release\n"
    api_server.apply(pod(namespace, "one", signed, unsigned), applied(home, "production", text))
    wanted = ("--policies-in", home, "-n", namespace)
    missing = await scan(shelf, api_server.kubeconfig(), *wanted)
    assert missing.last.endswith("1 denied, 1 could not be examined"), "what nobody signed is denied whatever the key"
    assert "trust_unavailable" in missing.out
    assert "there is no Secret release" in missing.out
    create = ("create", "secret", "generic", "release", "-n", home, f"--from-file=cosign.pub={shelf.key}")
    api_server.kubectl(*create)
    told = await scan(shelf, api_server.kubeconfig(), *wanted)
    assert (told.code, told.last.partition(": ")[2]) == (1, "1 admitted, 1 denied")
    without = await scan(shelf, kubeconfig, *wanted)
    assert without.code == 2
    assert "configmaps is forbidden" in without.err
    api_server.apply(*reading(home, "webhook", "configmaps"))
    without = await scan(shelf, kubeconfig, *wanted)
    assert without.last.endswith("1 denied, 1 could not be examined")
    assert 'secrets "release" is forbidden' in without.out


async def test_what_is_applied_and_does_not_load_is_told(
    api_server: Server, namespace: str, shelf: Shelf, enforced: Path
) -> None:
    home = api_server.namespace(f"{namespace}-home")
    none = await scan(shelf, api_server.kubeconfig(), "--policies-in", home)
    assert none.code == 2
    assert "countersign.dev/policy=true in the namespace" in none.err
    api_server.apply(applied(home, "good", policy("one")), applied(home, "again", policy("one")))
    twice = await scan(shelf, api_server.kubeconfig(), "--policies-in", home)
    assert "the policy one is in configmap/again: a.yaml:1 already" in twice.err
    api_server.apply(applied(home, "good", "kind: TrustPolicy\n"))
    bad = await scan(shelf, api_server.kubeconfig(), "--policies-in", home)
    assert (twice.code, bad.code) == (2, 2)
    assert "configmap/good: a.yaml:1:1: apiVersion" in bad.err
    both = await scan(shelf, api_server.kubeconfig(), "--policies-in", home, "--policy", enforced)
    assert "one of both expected" in both.err


def reading(namespace: str, user: str, resource: str) -> tuple[dict[str, Any], ...]:
    rbac = "rbac.authorization.k8s.io"
    head = {"apiVersion": f"{rbac}/v1", "metadata": {"name": f"reads-{resource}", "namespace": namespace}}
    return (
        {**head, "kind": "Role", "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get", "list"]}]},
        {
            **head,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": f"reads-{resource}"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        },
    )


# --- what keeps it from looking


@pytest.mark.parametrize(
    ("user", "said"),
    [
        pytest.param({"token": "expired"}, "401 Unauthorized (the credentials of the kubeconfig", id="an old token"),
        pytest.param({"exec": "echo refused by the cloud >&2; exit 255"}, "log in again", id="a plug-in that fails"),
        pytest.param({"exec": "echo hello"}, "log in again", id="a plug-in that says nothing of use"),
    ],
)
async def test_credentials_that_are_not_accepted(
    api_server: Server, tmp_path: Path, shelf: Shelf, enforced: Path, user: dict[str, Any], said: str
) -> None:
    document = json.loads(api_server.kubeconfig("stranger").read_text())
    if command := user.pop("exec", ""):
        version = "client.authentication.k8s.io/v1"
        user["exec"] = {
            "apiVersion": version,
            "command": "/bin/sh",
            "args": ["-c", command],
            "interactiveMode": "Never",
        }
    document["users"][0]["user"] = user
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(document))
    told = await scan(shelf, path, "--policy", enforced)
    assert told.code == 2
    assert said in told.err
    assert "the role `view`" not in told.err


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
        pytest.param((), "--policy FILE, or --policies-in NAMESPACE", id="no policy"),
        pytest.param(("--policy", "missing.yaml"), "missing.yaml", id="a policy that is not there"),
        pytest.param(("--no-match", "maybe"), "maybe", id="a word that is none"),
    ],
)
async def test_mistakes_in_usage(kubeconfig: Path, shelf: Shelf, options: tuple[str, ...], said: str) -> None:
    told = await scan(shelf, kubeconfig, *options)
    assert told.code == 2
    assert said in told.err


async def test_a_kubeconfig_that_is_not_there(tmp_path: Path, shelf: Shelf, enforced: Path) -> None:
    usual = await asyncio.to_thread(shelf.commands.run, "scan", "--policy", enforced)
    assert usual.code == 2
    assert "no kubeconfig: --kubeconfig, KUBECONFIG or ~/.kube/config expected" in usual.err
    told = await scan(shelf, tmp_path / "nowhere", "--policy", enforced)
    assert told.code == 2
    assert "nowhere" in told.err


def _owned_by(obj: dict[str, Any]) -> dict[str, Any]:
    head = {name: obj["metadata"][name] for name in ("name", "uid")}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "controller": True, **head}
