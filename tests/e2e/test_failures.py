"""Replicas that are evicted, killed, frozen or gone, an API server that is away, a gate that is opened by hand.

What fails is bounded, nothing is judged wrong meanwhile, and afterwards all is as it was. docs/failures.md tells it.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.cluster import components
from tests.e2e import api
from tests.e2e.alone import HERE, NOT_ASKED, SHOP, TIMEOUT_SECONDS, Alone, load
from tests.e2e.install import CHART, NAME, wait_until

pytestmark = pytest.mark.cluster

ROUNDS = int(os.environ.get("COUNTERSIGN_EVICTIONS", "3"))  # fifty for docs/failures.md, which takes four minutes
OPERATIONS_PORT = 8080
RIGHT = {("signed", "admitted"), ("unsigned", "denied")}
CONFIGURATION = "validatingwebhookconfiguration"
GONE_SECONDS = 3.0  # after a replica was killed, no create fails any more
TOO_MANY_REQUESTS = 429  # a disruption budget holds an eviction up


@pytest.fixture(autouse=True)
def _as_found(alone: Alone) -> Iterator[None]:
    yield
    alone.wait_until_ready()
    wait_until(alone.judges, "both images are judged")


# --- replicas


def test_replicas_are_evicted_one_after_another_and_no_create_fails(
    alone: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    with api.connect(alone.cluster, connections=1) as server, load(alone) as told:
        for number in range(ROUNDS):
            victim = list(alone.replicas())[number % 2]
            wait_until(functools.partial(_evict, server, victim), f"{victim} may go")
            wait_until(lambda: len(alone.replicas()) == 2, "another takes its place")
            alone.wait_until_ready()
    with capsys.disabled():
        print(f"\n  {ROUNDS} evictions, {time.monotonic() - begun:.0f} s, {len(told.answers)} creates, none failed")
    assert set(told.kinds(alone)) == RIGHT


def test_an_upgrade_and_a_rollback_under_load_fail_no_create(alone: Alone) -> None:
    with load(alone) as told:
        alone.upgrade("--set=podAnnotations.build=next")
        alone.helm("rollback", NAME, "--wait", "--timeout=240s")
    assert set(told.kinds(alone)) == RIGHT


def test_the_budget_keeps_one_replica(alone: Alone) -> None:
    with api.connect(alone.cluster, connections=1) as server:
        said = [server.evict(replica, namespace="inside") for replica in alone.replicas()]
    assert said == [201, TOO_MANY_REQUESTS]


def test_a_replica_that_is_killed_fails_creates_for_a_moment(alone: Alone, capsys: pytest.CaptureFixture[str]) -> None:
    with load(alone) as told:
        victim = _busiest(alone)
        killed = time.monotonic()
        alone.signal("KILL", victim)
        time.sleep(2 * GONE_SECONDS)
    missed = [ended - killed for _, ended, _ in told.not_asked()]
    last = max(missed, default=0.0)
    with capsys.disabled():
        print(f"\n  killed: {len(missed)} of {len(told.answers)} creates failed, the last after {last:.2f} s")
    assert set(told.kinds(alone)) <= RIGHT | {("signed", "not asked"), ("unsigned", "not asked")}
    assert last < GONE_SECONDS


def test_a_replica_that_is_frozen_fails_what_it_was_asked_and_no_more(
    alone: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    with load(alone) as told:
        victim = _busiest(alone)
        frozen = time.monotonic()
        alone.signal("STOP", victim)
        time.sleep(3 * TIMEOUT_SECONDS)
        alone.signal("CONT", victim)
    missed = told.not_asked()
    with capsys.disabled():
        print(
            f"\n  frozen: {len(missed)} of {len(told.answers)} creates failed, the longest took {told.longest():.1f} s"
        )
    assert set(told.kinds(alone)) <= RIGHT | {("signed", "not asked"), ("unsigned", "not asked")}
    assert all("context deadline exceeded" in why for _, _, why in missed)
    assert told.longest() < TIMEOUT_SECONDS + 2
    assert all(begun - frozen < TIMEOUT_SECONDS + 2 for begun, _, _ in missed)


# --- nobody to ask


def test_with_all_replicas_gone_the_entry_decides(alone: Alone) -> None:
    with alone.without_replicas():
        status, said = alone.dry_run(alone.signed.pinned)
        assert (status, NOT_ASKED in said, "connection refused" in said) == (1, True, True)
        create = ("create", "deployment", "early", f"--image={alone.unsigned.pinned}", f"--namespace={SHOP}")
        assert alone.cluster.kubectl(*create, "--dry-run=server").returncode == 0  # the pods are refused
        _patch(alone, {"failurePolicy": "Ignore"})
        wait_until(lambda: alone.dry_run(alone.unsigned.pinned) == (0, ""), "the entry fails open")
        assert alone.dry_run(alone.unsigned.pinned, namespace="default") == (0, "")
        _patch(alone, {"failurePolicy": "Fail"})
        wait_until(lambda: alone.dry_run(alone.signed.pinned)[0] == 1, "the entry fails closed")


def test_a_deleted_configuration_stays_deleted_until_an_upgrade(alone: Alone) -> None:
    """The break-glass of the chart's notes, while nothing answers; replicas that come back do not put it back."""
    with alone.without_replicas():
        assert alone.dry_run(alone.signed.pinned)[0] == 1
        alone.cluster.kubectl(
            "delete", f"{CONFIGURATION},mutatingwebhookconfiguration", NAME, "--ignore-not-found"
        )  # fmt: skip
        wait_until(lambda: alone.dry_run(alone.unsigned.pinned)[0] == 0, "the gate is open")
    alone.wait_until_ready()
    assert not _configured(alone)
    alone.upgrade()
    assert _configured(alone)


def test_the_webhook_is_taken_out_and_put_back_by_a_value(alone: Alone) -> None:
    """The break-glass where Argo CD or Flux would undo a deletion."""
    with alone.without_replicas():
        alone.helm("upgrade", NAME, CHART, "--reuse-values", "--set=webhook.enabled=false")
        wait_until(lambda: alone.dry_run(alone.unsigned.pinned)[0] == 0, "the gate is open")
    alone.upgrade("--set=webhook.enabled=true")
    assert _configured(alone)


def test_an_entry_that_was_opened_by_hand_is_closed_by_an_upgrade(alone: Alone) -> None:
    _patch(alone, {"failurePolicy": "Ignore"})
    alone.wait_until_ready()
    assert _entry(alone)["failurePolicy"] == "Ignore"
    alone.upgrade()
    assert _entry(alone)["failurePolicy"] == "Fail"


# --- the API server, the whole cluster, the authority


def test_replicas_judge_from_memory_while_the_api_server_is_away(alone: Alone) -> None:
    addresses, bundle = alone.replicas().values(), _bundle(alone)
    with _api_server_away(alone):
        for address in addresses:
            assert alone.ask(address, bundle, alone.signed.pinned)["allowed"]
            denied = alone.ask(address, bundle, alone.unsigned.pinned)
            assert (denied["allowed"], denied["status"]["code"]) == (False, 403)
            assert _probe(alone, address, "/readyz").status_code == 200
    wait_until(alone.judges, "the API server asks again")
    for address in addresses:
        wait_until(functools.partial(_has_told, alone, address), "denials are Events, or counted as dropped")


def test_a_replica_that_starts_while_the_api_server_is_away_waits_for_it(alone: Alone) -> None:
    addresses = alone.replicas().values()
    with _api_server_away(alone):
        killed = set(alone.processes())
        for process in killed:
            alone.signal("KILL", process)
        wait_until(lambda: len(set(alone.processes()) - killed) == len(killed), "the kubelet starts them again")
        for address in addresses:
            wait_until(functools.partial(_lives, alone, address), f"{address} lives")
            assert _probe(alone, address, "/readyz").status_code == 503
        started = set(alone.processes())
    wait_until(alone.judges, "the replicas are ready")
    assert set(alone.processes()) == started  # none had to be started again


def test_the_whole_cluster_comes_back(alone: Alone, capsys: pytest.CaptureFixture[str]) -> None:
    """With Fail: what the cluster needs is not judged, nor are our own pods."""
    alone.cluster.kubectl("create", "deployment", "app", f"--image={alone.signed.pinned}", f"--namespace={SHOP}", "--",
                          "sleep", "600")  # fmt: skip
    alone.cluster.kubectl("rollout", "status", "deployment/app", f"--namespace={SHOP}", "--timeout=240s", seconds=260)
    begun = time.monotonic()
    alone.cluster.restart()
    up = time.monotonic() - begun
    wait_until(alone.judges, "both images are judged", seconds=260)
    judged = time.monotonic() - begun
    alone.cluster.kubectl("delete", "pod", "--selector=app=app", f"--namespace={SHOP}", "--wait=false")
    alone.cluster.kubectl("rollout", "status", "deployment/app", f"--namespace={SHOP}", "--timeout=240s", seconds=260)
    with capsys.disabled():
        print(f"\n  full restart: the node was up after {up:.0f} s, images were judged after {judged:.0f} s")
    alone.cluster.kubectl("delete", "deployment", "app", f"--namespace={SHOP}")


def test_an_authority_that_was_deleted_is_served_from_memory_until_an_upgrade(
    alone: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _bundle(alone)
    with load(alone) as told:
        alone.cluster.kubectl("delete", "secret", f"{NAME}-ca", HERE)
        time.sleep(GONE_SECONDS)
    assert set(told.kinds(alone)) == RIGHT
    assert _bundle(alone) == before
    with load(alone) as told:
        begun = time.monotonic()
        alone.upgrade()
        wait_until(lambda: _bundle(alone) != before, "another authority is published")
        time.sleep(GONE_SECONDS)
    missed = [ended - begun for _, ended, _ in told.not_asked()]
    with capsys.disabled():
        print(f"\n  another authority: {len(missed)} of {len(told.answers)} creates failed")
    assert set(told.kinds(alone)) <= RIGHT | {("signed", "not asked"), ("unsigned", "not asked")}


# --- what they ask


def _evict(server: api.API, replica: str) -> bool:
    status = server.evict(replica, namespace="inside")
    assert status in (201, TOO_MANY_REQUESTS)
    return status == 201


def _busiest(alone: Alone) -> str:
    """The process to which the API server speaks now: it keeps its connections."""
    before = alone.processes()
    time.sleep(3)
    return max(alone.processes().items(), key=lambda item: item[1] - before.get(item[0], 0))[0]


def _patch(alone: Alone, entry: Mapping[str, str]) -> None:
    """The entry for pods says so."""
    patch = [{"op": "replace", "path": f"/webhooks/0/{name}", "value": value} for name, value in entry.items()]
    alone.cluster.kubectl("patch", CONFIGURATION, NAME, "--type=json", f"--patch={json.dumps(patch)}")


def _configured(alone: Alone) -> bool:
    return bool(alone.cluster.kubectl("get", CONFIGURATION, NAME, "--ignore-not-found", "--output=name").stdout)


def _entry(alone: Alone) -> dict[str, Any]:
    found = json.loads(alone.cluster.kubectl("get", CONFIGURATION, NAME, "--output=json").stdout)
    entry: dict[str, Any] = found["webhooks"][0]
    return entry


def _bundle(alone: Alone) -> str:
    bundle: str = _entry(alone)["clientConfig"]["caBundle"]
    return bundle


@contextmanager
def _api_server_away(alone: Alone) -> Iterator[None]:
    alone.cluster.node.end("kube-apiserver")
    try:
        yield
    finally:
        alone.cluster.node.spawn("kube-apiserver", *components.API_SERVER)
        ready = ("kubectl", "get", "--raw=/readyz")
        wait_until(
            lambda: alone.cluster.run(*ready, check=False).returncode == 0, "the API server answers", seconds=260
        )


def _probe(alone: Alone, address: str, path: str) -> httpx.Response:
    with alone.cluster.reach(OPERATIONS_PORT, address) as (host, port):
        return httpx.get(f"http://{host}:{port}{path}", timeout=5)


def _lives(alone: Alone, address: str) -> bool:
    try:
        return _probe(alone, address, "/healthz").status_code == 200
    except httpx.TransportError:
        return False


def _has_told(alone: Alone, address: str) -> bool:
    """Whether the replica at `address` has written Events, or has counted some that it could not write."""
    lines = _probe(alone, address, "/metrics").text.splitlines()
    names = ("countersign_events_emitted_total ", "countersign_events_dropped_total ")
    return any(float(line.rpartition(" ")[2]) > 0 for line in lines if line.startswith(names))
