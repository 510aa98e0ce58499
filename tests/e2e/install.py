"""Countersign, put to work for a cluster in two ways: outside of any pod, and as its image inside the cluster.

Both serve the same policies to the same API server, each for the namespaces that are labelled with its name, so that
a test may ask either. Outside it is the process `countersign serve` on the node with the certificate it issues itself
and policies in files, reached through a Service of type ExternalName; inside it is what the chart installs, with its
policies in ConfigMaps.
"""

from __future__ import annotations

import base64
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import conftest
from tests.cluster.cluster import Cluster
from tests.cluster.components import REGISTRY

LABEL = "countersign.test/by"  # on a namespace: which webhook is asked
NAME = "countersign"  # of the Service, the Deployment, and what goes with them
SILENT_REGISTRY = f"{REGISTRY}:5001"  # nothing listens there
READY_SECONDS = 240.0
CHART = conftest.ROOT / "charts/countersign"
REPLICAS = f"--selector=app.kubernetes.io/name={NAME},app.kubernetes.io/component=webhook"
STATUS = "countersign\\.dev/status"  # as jsonpath has it
ENFORCED = "countersign.dev/enforce"  # the label by which a namespace opts in
REGISTRY_AUTHORITY = Path("etc/kubernetes/pki/registry-ca.crt")  # below the cluster's directory
TRUST_SECRET = "release-key"  # of the namespace `inside`: a policy may take keys from it, once it is there
VALUES: dict[str, Any] = {
    "image": {"registry": "localhost", "repository": "countersign", "tag": "test", "pullPolicy": "Never"},
    "failurePolicy": "Fail",
    "noMatch": "deny",
    "selector": {"mode": "optIn"},
    "starterPolicy": False,
    "trustSecrets": [TRUST_SECRET],
    "registries": [{"host": host, "private": True} for host in (REGISTRY, SILENT_REGISTRY)],
    "extraCA": {"configMap": "registry-ca"},
    "shutdownDelaySeconds": 3,
    "terminationGracePeriodSeconds": 40,
}


@dataclass(frozen=True, slots=True)
class Webhook:
    """`by` is the value of `LABEL` that makes a namespace ask this one, and the namespace of its Service."""

    by: str
    policies: Path  # of the one outside; the other has a copy in a ConfigMap


def outside(
    cluster: Cluster,
    policies: Path,
    directory: Path,
    *,
    by: str = "outside",
    ports: tuple[int, int] = (9443, 8080),
    plain: str = "",
) -> Webhook:
    """`countersign serve` runs on the node and is asked for namespaces labelled `by`; `ports` are for admission and
    operations. `plain` is a registry on the node's loopback that speaks plain HTTP."""
    registries, authority = directory / "registries.yaml", directory / "authority.pem"
    listed = json.loads(_registries(cluster.node.root / REGISTRY_AUTHORITY))
    listed["registries"] += [{"host": plain, "insecureHTTP": True, "loopback": True}] if plain else []
    registries.write_text(json.dumps(listed))
    settings = {
        "ADMISSION_PORT": ports[0],
        "OPERATIONS_PORT": ports[1],
        "POLICIES": policies,
        "POLICY_RELOAD_INTERVAL": "0.1",
        "REGISTRIES": registries,
        "NAMES": f"{NAME}.{by}.svc",
        "CA_OUT": authority,
    }
    environment = [f"COUNTERSIGN_{name}={value}" for name, value in settings.items()]
    serve = "import sys; from webhook.cli import main; sys.exit(main())"
    command = ["env", f"--chdir={conftest.ROOT}", *environment, sys.executable, "-c", serve, "serve"]
    cluster.node.spawn(NAME if by == "outside" else f"{NAME}-{by}", *command)
    _wait_for_file(cluster, authority)
    service = {"type": "ExternalName", "externalName": "localhost"}
    cluster.apply(
        _namespace(by),
        _object("v1", "Service", NAME, by, spec=service),
        _webhook_configuration(by, authority.read_bytes(), port=ports[0]),
    )
    return Webhook(by, policies)


def inside(cluster: Cluster, policies: Path, directory: Path, image_archive: Path, **values: object) -> Webhook:
    """The chart is installed in the namespace `inside`, two replicas, and asked for namespaces labelled so.

    Each file of `policies` is a ConfigMap, `kubectl apply`ed once the webhook answers.
    """
    cluster.load(image_archive)
    authority = (cluster.node.root / REGISTRY_AUTHORITY).read_text()
    cluster.apply(_namespace("inside"), _object("v1", "ConfigMap", "registry-ca", "inside", data={"ca.crt": authority}))
    file = directory / "values.yaml"
    file.write_text(json.dumps(VALUES | values))
    helm(cluster, "install", NAME, CHART, "--namespace=inside", f"--values={file}", "--wait", "--timeout=240s")
    apply_policies(cluster, policies)
    return Webhook("inside", policies)


def helm(cluster: Cluster, *args: str | Path, command: str = "helm", check: bool = True) -> str:
    """What Helm, 3 or 4, wrote."""
    done = cluster.run(command, *args, seconds=260, check=check)
    return done.stdout + done.stderr


def apply_policies(cluster: Cluster, policies: Path) -> None:
    """The ConfigMaps of `inside` say what the files of `policies` say, and are in force."""
    cluster.apply(*(policy_configmap(path.stem, path.read_text()) for path in sorted(policies.iterdir())))
    for path in policies.iterdir():
        wait_until(functools.partial(_is_in_force, cluster, path.stem), f"{path.stem} is in force")


def policy_configmap(name: str, text: str, namespace: str = "inside") -> dict[str, Any]:
    made = _object("v1", "ConfigMap", name, namespace, data={f"{name}.yaml": text})
    made["metadata"]["labels"] = {"countersign.dev/policy": "true"}
    return made


def wait_until(holds: Callable[[], bool], what: str, *, seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def _is_in_force(cluster: Cluster, name: str) -> bool:
    status = f"--output=jsonpath={{.metadata.annotations.{STATUS}}}"
    return '"inForce":"this"' in cluster.kubectl("get", "configmap", name, "--namespace=inside", status).stdout


def policy(name: str, keys: Mapping[str, str], **spec: object) -> str:
    """A trust policy document, as JSON, which is YAML too; `keys` are public keys by signer's name."""
    trusted = [{"name": signer, "publicKey": pem} for signer, pem in keys.items()]
    return json.dumps(
        {
            "apiVersion": "countersign.dev/v1",
            "kind": "TrustPolicy",
            "metadata": {"name": name},
            "spec": {"mode": "enforce", "trustedKeys": trusted, **spec},
        }
    )


def _registries(authority: Path) -> str:
    """The registries file: addresses in the cluster are private, and so is the registry's authority."""
    hosts = (REGISTRY, SILENT_REGISTRY)
    return json.dumps({"registries": [{"host": host, "private": True, "caFile": str(authority)} for host in hosts]})


def _wait_for_file(cluster: Cluster, path: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not path.exists() or not path.read_bytes():
        cluster.node.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not appear within {READY_SECONDS} s:\n{cluster.logs('countersign')}")
        time.sleep(0.05)


def _webhook_configuration(by: str, authority: bytes, *, port: int) -> dict[str, Any]:
    def rule(resource: str, *operations: str) -> dict[str, Any]:
        return {"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": [resource]}

    service = {"namespace": by, "name": NAME, "port": port, "path": "/validate"}
    webhook = {
        "name": "pods.countersign.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
        "clientConfig": {"service": service, "caBundle": _base64(authority)},
        "namespaceSelector": {"matchLabels": {LABEL: by}},
        "rules": [rule("pods", "CREATE", "UPDATE"), rule("pods/ephemeralcontainers", "UPDATE")],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"{NAME}-{by}"},
        "webhooks": [webhook],
    }


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _object(version: str, kind: str, name: str, namespace: str, **parts: object) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **parts}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
