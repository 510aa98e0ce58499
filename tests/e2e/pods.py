"""Pods, as JSON: the least that Kubernetes accepts around the images that a test is about."""

from __future__ import annotations

from typing import Any


def pod(
    name: str, *images: str, namespace: str, init: str = "", volume: str = "", scheduled: bool = True
) -> dict[str, Any]:
    """A pod with a container for each of `images`, the first being `main`, and no service account's token.

    `init` is an init container's image, `volume` an image volume's. Where it is not `scheduled`, no node ever runs it.
    """
    containers = [{"name": f"extra{index}" if index else "main", "image": image} for index, image in enumerate(images)]
    spec: dict[str, Any] = {"containers": containers, "restartPolicy": "Never", "automountServiceAccountToken": False}
    if init:
        spec["initContainers"] = [{"name": "init", "image": init}]
    if volume:
        spec["volumes"] = [{"name": "data", "image": {"reference": volume}}]
    if not scheduled:
        spec["nodeSelector"] = {"nowhere": "true"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def deployment(name: str, *images: str, namespace: str) -> dict[str, Any]:
    """A Deployment of one such pod."""
    labels = {"app": name}
    spec = pod(name, *images, namespace=namespace)["spec"] | {"restartPolicy": "Always"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
