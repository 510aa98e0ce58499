"""Many pods at once, and replicas that come and go meanwhile: no answer is wrong, whoever gives it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import cycle, islice

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e import api
from tests.e2e.conftest import Shelf
from tests.e2e.install import NAME, REPLICAS
from tests.e2e.pods import pod
from tests.e2e.stream import stream
from tests.e2e.words import DENIED

pytestmark = pytest.mark.cluster
inside_only = pytest.mark.parametrize("by", ["inside"], indirect=True)

AT_ONCE = 50
HERE = "--namespace=inside"
NOT_REACHED = "failed calling webhook"


def test_fifty_pods_at_once_are_each_judged_right(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    good = cycle((shelf.legacy.tagged, shelf.bundle.pinned, shelf.index_legacy.pinned, shelf.index_bundle.tagged))
    bad = cycle((shelf.unsigned.tagged, shelf.wrong_key.pinned, shelf.copied.tagged, shelf.edited.pinned))
    alternating = [image for pair in zip(good, islice(bad, AT_ONCE // 2), strict=False) for image in pair]
    pods = [pod(f"pod{index}", image, namespace=namespace, scheduled=False) for index, image in enumerate(alternating)]
    with api.connect(cluster, connections=AT_ONCE) as server:
        answers = server.create_all(pods)
    assert [(answer.image, answer.code) for answer in answers] == [
        (image, 403 if index % 2 else 201) for index, image in enumerate(alternating)
    ]
    assert all(answer.message.startswith(DENIED) for answer in answers[1::2])


@inside_only
def test_replicas_are_replaced_under_load_and_every_answer_is_right(
    cluster: Cluster, shelf: Shelf, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with _load(cluster, shelf, namespace) as answers:
        for replica in _replicas(cluster):
            cluster.kubectl("delete", replica, "--wait=true", HERE)
            _wait_until_ready(cluster)
    with capsys.disabled():
        print(f"\n  {len(answers)} creates while each replica was replaced")
    assert {_kind(answer, shelf) for answer in answers} == {("signed", "admitted"), ("other", "denied")}


@inside_only
def test_replicas_are_killed_under_load_and_no_answer_is_wrong(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    """While nobody can be asked, nothing is admitted, and the reason that is told is not a policy's."""
    with _load(cluster, shelf, namespace) as answers:
        cluster.kubectl("delete", *_replicas(cluster), "--grace-period=0", "--force", HERE)
        _wait_until_ready(cluster)
    right = {("signed", "admitted"), ("other", "denied")}
    assert right <= {_kind(answer, shelf) for answer in answers}
    assert {_kind(answer, shelf) for answer in answers} <= right | {("signed", "not asked"), ("other", "not asked")}


def _load(cluster: Cluster, shelf: Shelf, namespace: str) -> AbstractContextManager[list[api.Answer]]:
    images = shelf.legacy.pinned, shelf.unsigned.pinned, shelf.bundle.tagged, shelf.wrong_key.tagged
    return stream(cluster, namespace, images)


def _kind(answer: api.Answer, shelf: Shelf) -> tuple[str, str]:
    image = "signed" if answer.image in (shelf.legacy.pinned, shelf.bundle.tagged) else "other"
    if answer.code == 201:
        return image, "admitted"
    if answer.code == 403 and answer.message.startswith(DENIED):
        return image, "denied"
    return image, "not asked" if NOT_REACHED in answer.message else answer.message


def _replicas(cluster: Cluster) -> list[str]:
    return cluster.kubectl("get", "pods", REPLICAS, "--output=name", HERE).stdout.split()


def _wait_until_ready(cluster: Cluster) -> None:
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=240s", HERE, seconds=260)
