"""Countersign, put to work for a cluster in two ways: outside of any pod, and as its image inside the cluster.

Both serve the same policies to the same API server, each for the namespaces that are labelled with its name, so that
a test may ask either. Outside it is the process `countersign serve` on the node with the certificate it issues itself,
reached through a Service of type ExternalName; inside it is a Deployment of two replicas with a certificate from files.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import conftest
from tests.cluster.certificates import Authority
from tests.cluster.cluster import Cluster
from tests.cluster.components import REGISTRY

LABEL = "countersign.test/by"  # on a namespace: which webhook is asked
NAME = "countersign"  # of the Service, the Deployment, and what goes with them
SILENT_REGISTRY = f"{REGISTRY}:5001"  # nothing listens there
READY_SECONDS = 30.0
REGISTRY_AUTHORITY = Path("etc/kubernetes/pki/registry-ca.crt")  # below the cluster's directory


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


def inside(cluster: Cluster, policies: Path, directory: Path, image_archive: Path) -> Webhook:
    """Two replicas of the image run in the cluster and are asked for namespaces labelled `inside`."""
    cluster.load(image_archive)
    authority = Authority(directory)
    certificate, key = authority.issue("server", common_name=NAME, hosts=[f"{NAME}.inside.svc"])
    files = {
        "registries.yaml": _registries(Path(f"/etc/{NAME}/settings/registry-ca.crt")),
        "registry-ca.crt": (cluster.node.root / REGISTRY_AUTHORITY).read_text(),
    }
    pair = {"tls.crt": _base64(certificate.read_bytes()), "tls.key": _base64(key.read_bytes())}
    cluster.apply(
        _namespace("inside"),
        _object("v1", "ConfigMap", "policies", "inside", data={p.name: p.read_text() for p in policies.iterdir()}),
        _object("v1", "ConfigMap", "settings", "inside", data=files),
        _object("v1", "Secret", "tls", "inside", type="kubernetes.io/tls", data=pair),
        _object("v1", "Service", NAME, "inside", spec=_service()),
        _object("apps/v1", "Deployment", NAME, "inside", spec=_deployment()),
        _webhook_configuration("inside", authority.certificate.read_bytes(), port=443),
    )
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", "--namespace=inside", "--timeout=60s", seconds=70)
    return Webhook("inside", policies)


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


def _service() -> dict[str, Any]:
    return {"selector": {"app": NAME}, "ports": [{"port": 443, "targetPort": 9443}]}


def _deployment() -> dict[str, Any]:
    mounts = {"policies": "configMap", "settings": "configMap", "tls": "secret"}
    settings = {
        "COUNTERSIGN_POLICIES": f"/etc/{NAME}/policies",
        "COUNTERSIGN_REGISTRIES": f"/etc/{NAME}/settings/registries.yaml",
        "COUNTERSIGN_CERTIFICATE": f"/etc/{NAME}/tls/tls.crt",
        "COUNTERSIGN_KEY": f"/etc/{NAME}/tls/tls.key",
        "COUNTERSIGN_SHUTDOWN_DELAY": "3",
    }
    rights = {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": NAME,
        "image": conftest.IMAGE,
        "imagePullPolicy": "Never",
        "env": [{"name": name, "value": value} for name, value in settings.items()],
        "ports": [{"containerPort": 9443}, {"containerPort": 8080}],
        "readinessProbe": {"periodSeconds": 1, "httpGet": {"path": "/readyz", "port": 8080}},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
        "securityContext": rights,
        "volumeMounts": [{"name": name, "mountPath": f"/etc/{NAME}/{name}", "readOnly": True} for name in mounts],
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "fsGroup": 65532},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 40,
        "containers": [container],
        "volumes": [_volume(name, kind) for name, kind in mounts.items()],
    }
    labels = {"app": NAME}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}


def _volume(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, kind: {"name": name} if kind == "configMap" else {"secretName": name}}


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _object(version: str, kind: str, name: str, namespace: str, **parts: object) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **parts}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
