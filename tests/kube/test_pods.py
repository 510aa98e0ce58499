"""Which images a pod runs, and by which digest; that it runs makes none of them right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from webhook.kube import pods
from webhook.kube.pods import RunningImage

A, B = f"sha256:{'ab' * 32}", f"sha256:{'cd' * 32}"


def pod(image: str, image_id: str = "", *, listed: str = "containers", **more: Any) -> dict[str, Any]:
    statuses = {"containers": "containerStatuses", "initContainers": "initContainerStatuses"}
    container = {"name": "api", "image": image}
    spec = {"containers": [{"name": "first", "image": f"ghcr.io/a/first@{B}"}], listed: [container]}
    status = {"phase": "Running", statuses[listed]: [{"name": "api", "imageID": image_id}]}
    return {"metadata": {"namespace": "shop", **more.pop("metadata", {})}, "spec": spec, "status": status | more}


CASES: dict[str, tuple[str, str, str | None]] = {
    "tag": ("ghcr.io/a/b:1", f"ghcr.io/a/b@{A}", f"ghcr.io/a/b:1@{A}"),
    "docker": ("ghcr.io/a/b:1", f"docker-pullable://ghcr.io/a/b@{A}", f"ghcr.io/a/b:1@{A}"),
    "spelled-otherwise": ("nginx", f"docker.io/library/nginx@{A}", f"nginx@{A}"),
    "its-own-digest": (f"ghcr.io/a/b:1@{A}", f"ghcr.io/a/b@{B}", f"ghcr.io/a/b:1@{A}"),
    "its-own-digest-of-a-mirror": (f"ghcr.io/a/b@{A}", f"mirror.corp/a/b@{B}", f"ghcr.io/a/b@{A}"),
    "another-repository": ("ghcr.io/a/b:1", f"ghcr.io/a/c@{A}", None),
    "another-host": ("ghcr.io/a/b:1", f"ghcr.io.evil.example/a/b@{A}", None),
    "not-pulled": ("ghcr.io/a/b:1", A, None),
    "not-started": ("ghcr.io/a/b:1", "", None),
    "no-reference": ("Ghcr.io/A", f"ghcr.io/a/b@{A}", None),
    "no-image-id": ("ghcr.io/a/b:1", "://@", None),
}


@pytest.mark.parametrize(("image", "image_id", "expected"), CASES.values(), ids=CASES)
def test_an_image_is_taken_by_the_digest_of_its_own_repository(image: str, image_id: str, expected: str | None) -> None:
    found = list(pods.images_of(pod(image, image_id)))
    assert found == ([RunningImage("shop", expected)] if expected else [])


def test_every_container_counts_and_so_do_the_secrets_by_which_it_was_pulled() -> None:
    made = pod("ghcr.io/a/b:1", f"ghcr.io/a/b@{A}", listed="initContainers")
    made["spec"]["imagePullSecrets"] = [{"name": "regcred"}]
    made["spec"]["volumes"] = [{"name": "data", "image": {"reference": f"ghcr.io/a/data@{B}"}}]
    texts = {f"ghcr.io/a/first@{B}", f"ghcr.io/a/b:1@{A}", f"ghcr.io/a/data@{B}"}
    assert set(pods.images_of(made)) == {RunningImage("shop", text, ("regcred",)) for text in texts}


LEFT_OUT: dict[str, Mapping[str, Any]] = {
    "ended": pod(f"ghcr.io/a/b@{A}", phase="Succeeded"),
    "failed": pod(f"ghcr.io/a/b@{A}", phase="Failed"),
    "never-judged": pod(f"ghcr.io/a/b@{A}", metadata={"namespace": "kube-system"}),
    "of-the-node": pod(f"ghcr.io/a/b@{A}", metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}),
    "without-containers": {"metadata": {"namespace": "shop"}, "spec": {}},
    "absurd": {"metadata": [], "spec": {"containers": [7]}, "status": 3},
    "empty": {},
}


@pytest.mark.parametrize("left_out", LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_not_judged_is_left_out(left_out: Mapping[str, Any]) -> None:
    assert list(pods.images_of(left_out)) == []
