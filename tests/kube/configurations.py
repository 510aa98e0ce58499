"""Webhook configurations as our chart makes them, asked about nothing that exists, and the rights to keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PODS, WORKLOADS, PIN = "pods.countersign.dev", "workloads.countersign.dev", "pin.countersign.dev"
GROUP = "/apis/admissionregistration.k8s.io/v1"
VALIDATING, MUTATING = "validatingwebhookconfigurations", "mutatingwebhookconfigurations"


def configuration(
    name: str, *entries: str, namespace: str = "countersign", policy: str = "Fail", mutating: bool = False
) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration" if mutating else "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [_entry(entry, namespace, policy) for entry in entries],
    }


def _entry(name: str, namespace: str, policy: str) -> Mapping[str, Any]:
    rule = {"apiGroups": ["nothing.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["*"]}
    return {
        "name": name,
        "clientConfig": {"service": {"name": "countersign", "namespace": namespace, "path": "/validate"}},
        "rules": [rule],
        "failurePolicy": policy,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }


def rights(
    user: str, name: str, namespace: str, *, configurations: Sequence[str], secrets: Sequence[str]
) -> tuple[Mapping[str, Any], ...]:
    """Roles and their bindings: what `user` may do to configurations and Secrets called `name`, and to no others."""
    return (
        *_bound("ClusterRole", user, name, "", _rule("admissionregistration.k8s.io", (VALIDATING, MUTATING), name,
                                                     configurations)),
        *_bound("Role", user, name, namespace, _rule("", ("secrets",), name, secrets)),
    )  # fmt: skip


def _rule(group: str, resources: Sequence[str], name: str, verbs: Sequence[str]) -> Mapping[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "resourceNames": [name], "verbs": list(verbs)}


def _bound(
    kind: str, user: str, name: str, namespace: str, rule: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    group = "rbac.authorization.k8s.io"
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    role = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "rules": [rule] if rule["verbs"] else []}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": kind, "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    return role, binding
