"""The failure matrix, row by row: what is told a pod, a Deployment, and a pod of a policy that only warns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

import pytest

from tests.e2e import api
from tests.e2e.alone import HERE, HOSTILE, SHOP, TRIAL, Alone, hostile_registries
from tests.e2e.install import SILENT_REGISTRY, policy_configmap, wait_until
from tests.e2e.pods import deployment, pod

pytestmark = pytest.mark.cluster

BROKEN = "apiVersion: countersign.dev/v1\nkind: TrustPolicy\nspec: {mode: enforce"
LATER = "its pods are judged when they are made"


@dataclass(frozen=True, slots=True)
class Row:
    """`image` stands in an object whose answer has the status `pod` or `workload`; `warned` is that of a policy that
    only warns. `code` is the reason, wherever one is told; `later` what it may be once the registry has failed often.
    """

    id: str
    image: str
    pod: int
    workload: int
    warned: int
    code: str = ""
    later: str = ""


ROWS = (
    Row("valid", "signed", 201, 201, 201),
    Row("no signature", "unsigned", 403, 403, 201, "no_signature"),
    Row("image not found", "registry.test/shop/missing:1", 403, 201, 201, "image_not_found"),
    Row("registry unreachable", f"{SILENT_REGISTRY}/shop/app:1", 503, 201, 201, "registry_unavailable"),
    Row("registry fails", f"{HOSTILE['failing']}/app:1", 503, 201, 201, "registry_unavailable"),
    Row("rate limited", f"{HOSTILE['limited']}/app:1", 503, 201, 201, "rate_limited"),
    Row("deadline used up", f"{HOSTILE['hanging']}/app:1", 504, 201, 201, "deadline_exceeded", "registry_unavailable"),
    Row("protocol violated", f"{HOSTILE['lying']}/app@sha256:{'1' * 64}", 403, 403, 403, "registry_violation"),
    Row("unparsable reference", "registry.test/Shop/App:1", 400, 400, 400, "reference_invalid"),
    Row("too many references", "many", 400, 400, 400, "too_many_references"),
)


@pytest.fixture(scope="module")
def registries(alone: Alone) -> Iterator[None]:
    with hostile_registries(alone.cluster):
        yield


@pytest.mark.parametrize("row", ROWS, ids=attrgetter("id"))
def test_a_row_is_told_as_the_matrix_says(alone: Alone, registries: None, row: Row) -> None:
    images = images_of(alone, row.image)
    with api.connect(alone.cluster, connections=1) as server:
        judged = server.create(pod("app", *images, namespace=SHOP), dry_run=True)
        early = server.create_deployment(deployment("app", *images, namespace=SHOP), dry_run=True)
        warned = server.create(pod("app", *images, namespace=TRIAL), dry_run=True)
    assert (judged.code, early.code, warned.code) == (row.pod, row.workload, row.warned)
    assert row.code in judged.message
    for text in (early.message + early.warnings, warned.message + warned.warnings):
        assert row.code in text or (row.later and row.later in text)
    assert (LATER in early.warnings) == (row.workload == 201 and row.pod != 201)


def images_of(alone: Alone, name: str) -> list[str]:
    if name == "many":
        return [f"registry.test/shop/app{number}:1" for number in range(501)]
    return [{"signed": alone.signed.pinned, "unsigned": alone.unsigned.pinned}.get(name, name)]


def test_a_policy_that_never_was_good_denies_and_is_named(alone: Alone) -> None:
    """Written while nobody could refuse it."""
    signed = alone.signed.pinned
    with alone.without_replicas():
        alone.cluster.apply(policy_configmap("broken", BROKEN))
    try:
        alone.wait_until_ready()
        with api.connect(alone.cluster, connections=1) as server:

            def ask(namespace: str) -> api.Answer:
                return server.create(pod("app", signed, namespace=namespace), dry_run=True)

            wait_until(lambda: ask(SHOP).code != 500, "replicas are asked again")
            judged, warned = ask(SHOP), ask(TRIAL)
            early = server.create_deployment(deployment("app", signed, namespace=SHOP), dry_run=True)
    finally:
        alone.cluster.kubectl("delete", "configmap", "broken", HERE)
    assert (judged.code, early.code, warned.code) == (503, 201, 503)
    assert "policy_unavailable" in judged.message
    assert "configmap/broken" in judged.message
    assert "policy_unavailable" in early.warnings
    wait_until(alone.judges, "policies are as they were")


def test_a_policy_of_a_later_version_leaves_its_last_good_one_in_force(alone: Alone) -> None:
    """As after a rollback: a field is used that the replicas which start do not know."""
    path = alone.directory / "policies/production.yaml"
    later = json.loads(path.read_text())
    later["spec"]["fieldOfALaterVersion"] = True
    refused = alone.cluster.apply(policy_configmap("production", json.dumps(later)), check=False)
    assert "spec.fieldOfALaterVersion" in refused.stderr
    with alone.without_replicas():
        alone.cluster.apply(policy_configmap("production", json.dumps(later)))
    try:
        alone.wait_until_ready()
        wait_until(alone.judges, "the last good policy is in force")
    finally:
        alone.cluster.apply(policy_configmap("production", path.read_text()))
