"""Every way in which an image gets into a pod, and what Kubernetes does with pods besides creating them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.conftest import Shelf, new_namespace, retirement
from tests.e2e.install import Webhook
from tests.e2e.pods import pod
from tests.e2e.signing import Key
from tests.e2e.words import heading

pytestmark = pytest.mark.cluster
inside_only = pytest.mark.parametrize("by", ["inside"], indirect=True)

PATIENCE_SECONDS = 20.0


def test_init_container_is_judged(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    bad = _create(cluster, namespace, "bad", shelf.legacy.pinned, init=shelf.unsigned.pinned)
    good = _create(cluster, namespace, "good", shelf.legacy.pinned, init=shelf.bundle.pinned)
    assert heading('init container "init" (spec.initContainers[0])', shelf.unsigned.pinned, shelf.unsigned) in bad
    assert good == ""


def test_image_volume_is_judged(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    bad = _create(cluster, namespace, "bad", shelf.legacy.pinned, volume=shelf.unsigned.pinned)
    good = _create(cluster, namespace, "good", shelf.legacy.pinned, volume=shelf.bundle.pinned)
    assert heading('volume "data" (spec.volumes[0].image)', shelf.unsigned.pinned, shelf.unsigned) in bad
    assert good == ""


@inside_only
def test_ephemeral_container_is_judged(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    here = f"--namespace={namespace}"
    cluster.kubectl("run", "host", f"--image={shelf.legacy.pinned}", here, "--", "sleep", "600")
    bad = cluster.kubectl("debug", "host", f"--image={shelf.unsigned.pinned}", "--container=bad", here, check=False)
    where = 'ephemeral container "bad" (spec.ephemeralContainers[0])'
    assert heading(where, shelf.unsigned.pinned, shelf.unsigned) in bad.stderr
    cluster.kubectl("wait", "--for=condition=Ready", "pod/host", "--timeout=240s", here)
    cluster.kubectl("debug", "host", f"--image={shelf.bundle.pinned}", "--container=good", here)
    assert _eventually(cluster, "logs", "host", "--container=good", here) == f"{shelf.bundle.tagged}\n"


@inside_only
def test_replica_set_says_why_a_deployment_has_no_pods(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    here = f"--namespace={namespace}"
    cluster.kubectl("create", "deployment", "bad", f"--image={shelf.unsigned.tagged}", here)
    cluster.kubectl("create", "deployment", "good", f"--image={shelf.legacy.tagged}", here, "--", "sleep", "600")
    failed = ("get", "events", "--field-selector=reason=FailedCreate", "--output=jsonpath={.items[*].message}", here)
    said = _eventually(cluster, *failed)
    assert heading('container "unsigned" (spec.containers[0])', shelf.unsigned.tagged, shelf.unsigned) in said
    assert "no_signature" in said
    cluster.kubectl("rollout", "status", "deployment/good", "--timeout=240s", here)


def test_dry_run_is_told_the_same_and_changes_nothing(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    def run(reference: str, *options: str) -> tuple[int, str]:
        done = cluster.kubectl(
            "run", "app", f"--image={reference}", f"--namespace={namespace}", *options, check=False
        )  # fmt: skip
        return done.returncode, done.stderr

    dry = "--dry-run=server"
    assert run(shelf.legacy.tagged, dry) == (0, "")
    assert run(shelf.unsigned.tagged, dry) == run(shelf.unsigned.tagged)
    assert cluster.kubectl("get", "pods", f"--namespace={namespace}", "--output=name").stdout == ""


def test_running_pod_of_an_image_no_longer_trusted_can_be_labelled(
    cluster: Cluster, outside: Webhook, shelf: Shelf, keys: dict[str, Key]
) -> None:
    here = "--namespace=retirement"
    new_namespace(cluster, "retirement", outside.by)
    cluster.kubectl("run", "app", f"--image={shelf.retired.tagged}", here, "--", "sleep", "600")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/app", "--timeout=240s", here)

    (outside.policies / "retirement.yaml").write_text(retirement({"release": keys["release"].pem}))
    again = ("run", "again", f"--image={shelf.retired.tagged}", "--dry-run=server", here)
    _until(lambda: cluster.kubectl(*again, check=False).returncode == 1)

    cluster.kubectl("label", "pod", "app", "seen=true", here)
    cluster.kubectl("annotate", "pod", "app", "note=still here", here)
    changed = cluster.kubectl("set", "image", "pod/app", f"main={shelf.unsigned.tagged}", here, check=False)
    assert changed.returncode == 1


def _create(cluster: Cluster, namespace: str, name: str, image: str, *, init: str = "", volume: str = "") -> str:
    """What kubectl says when it is refused, or nothing."""
    new = pod(name, image, namespace=namespace, init=init, volume=volume, scheduled=False)
    return cluster.apply(new, check=False).stderr


def _eventually(cluster: Cluster, *args: str) -> str:
    """What kubectl prints, once it prints something."""
    printed = ""

    def prints() -> bool:
        nonlocal printed
        printed = cluster.kubectl(*args, check=False).stdout
        return bool(printed)

    _until(prints)
    return printed


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"nothing within {PATIENCE_SECONDS} s"
        time.sleep(0.1)
