"""Metrics have the names that dashboards rely on, and labels that nobody outside can multiply."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.audit.test_record import POLICY
from webhook.audit.record import Entry
from webhook.audit.sinks import Metrics
from webhook.errors import Code
from webhook.kube.workload import Request
from webhook.policy.decision import ImageDecision, Result, ReviewDecision
from webhook.policy.model import Mode, PolicySet
from webhook.trust.root import PUBLIC_GOOD, RootKind, RootSource
from webhook.trust.sources import State

AT = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(hosts={"10.0.0.5:5000": "registry.example.com"}, version="1.2.3")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"countersign_{name}", labels)


def request(*, operation: str = "CREATE", resource: str = "pods") -> Request:
    return Request("u", operation, "shop", "", resource, "", "Pod", "p", "jane", False, (), ())


def test_a_review_is_counted_by_what_became_of_it(metrics: Metrics) -> None:
    images = (
        ImageDecision("a", (), None, Result.VERIFIED, None, ""),
        ImageDecision("b", (), None, Result.DENIED, Code.NO_SIGNATURE, ""),
    )
    metrics.review(Entry(AT, 0.02, request(), "deny", 403, ReviewDecision(False, 403, images, "rev")))
    labels = {"webhook": "pods", "operation": "CREATE", "decision": "deny"}
    assert value(metrics, "admission_requests_total", **labels) == 1
    assert value(metrics, "admission_request_duration_seconds_count") == 1
    assert value(metrics, "admission_request_duration_seconds_bucket", le="0.025") == 1
    assert value(metrics, "admission_request_duration_seconds_bucket", le="0.01") == 0
    assert value(metrics, "stage_duration_seconds_sum", stage="total") == 0.02
    assert value(metrics, "verdicts_total", code="verified") == 1
    assert value(metrics, "verdicts_total", code="no_signature") == 1


def test_what_a_caller_invents_is_counted_as_other(metrics: Metrics) -> None:
    metrics.review(Entry(AT, 0, request(operation="EVIL", resource="evil"), "deny", 400))
    labels = {"webhook": "pods", "operation": "other", "decision": "deny"}
    assert value(metrics, "admission_requests_total", **labels) == 1
    assert b"evil" not in metrics.expose().lower()


HOSTS = {
    "listed": ("10.0.0.5:5000", "registry.example.com"),
    "docker-hub": ("registry-1.docker.io", "docker.io"),
    "well-known": ("ghcr.io", "ghcr.io"),
    "other": ("evil.example.net", "other"),
    "longer-than-known": ("ghcr.io.evil.net", "other"),
}


@pytest.mark.parametrize(("host", "label"), HOSTS.values(), ids=HOSTS)
def test_only_known_hosts_are_labels(metrics: Metrics, host: str, label: str) -> None:
    metrics.registry_request("manifest", host, 200, 0.01)
    metrics.registry_request("manifest", host, 0, 0.01)
    assert value(metrics, "registry_requests_total", host=label, kind="manifest", code="200") == 1
    assert value(metrics, "registry_requests_total", host=label, kind="manifest", code="none") == 1
    assert value(metrics, "registry_request_duration_seconds_count", kind="manifest") == 2


@pytest.mark.parametrize("stage", ["parse", "resolve", "discover", "fetch", "verify", "total"])
def test_every_stage_has_its_histogram(metrics: Metrics, stage: str) -> None:
    metrics.stage(stage, 0.5)
    assert value(metrics, "stage_duration_seconds_count", stage=stage) == 1


def test_an_exposition_says_what_is_in_force_now(metrics: Metrics) -> None:
    current = PolicySet((), "rev1", "/policies", problems={"bad.yaml": "line 3: nonsense"})
    metrics.watch(policies=lambda: current, certificate_expiry=lambda: 1234.0)
    assert value(metrics, "policy_info", revision="rev1") == 1
    assert value(metrics, "policy_errors") == 1
    assert value(metrics, "tls_certificate_expiry_timestamp_seconds") == 1234
    current = PolicySet((), "rev2", "/policies")
    assert value(metrics, "policy_info", revision="rev1") is None
    assert value(metrics, "policy_info", revision="rev2") == 1
    assert value(metrics, "policy_errors") == 0


def test_trust_roots_are_told_with_few_labels(metrics: Metrics) -> None:
    mirror = RootSource("corp", RootKind.TUF, "tuf https://tuf.corp")
    file = RootSource("file", RootKind.FILE, "file corp.json")
    states = (State(PUBLIC_GOOD, at=AT), State(mirror, problem="down"), State(file, problem="gone"))
    metrics.watch(policies=lambda: PolicySet((), "", ""), certificate_expiry=lambda: 0, trust=lambda: states)
    assert value(metrics, "trust_root_refreshed_timestamp_seconds", root="public-good") == AT.timestamp()
    assert value(metrics, "trust_root_refreshed_timestamp_seconds", root=mirror.key) == 0
    assert value(metrics, "trust_root_refreshed_timestamp_seconds", root=file.key) is None
    assert value(metrics, "trust_root_problems") == 2
    for number in range(100):
        metrics.trust_refresh(f"tuf https://{number}", "failure")
    metrics.trust_refresh("tuf https://1", "success")
    assert value(metrics, "trust_refresh_total", root="tuf https://1", result="success") == 1
    assert value(metrics, "trust_refresh_total", root="other", result="failure") == 36


def test_how_we_stand_with_the_cluster_is_told(metrics: Metrics) -> None:
    warning = replace(POLICY, mode=Mode.WARN)
    current = PolicySet((warning,), "rev", "here")
    fails_open: bool | None = True
    unheard = float("inf")
    metrics.watch_cluster(
        policies=lambda: current,
        unheard={"policies": lambda: unheard, "registration": lambda: 3.0},
        fails_open=lambda: fails_open,
        authority_expiry=lambda: 1234.0,
    )
    assert value(metrics, "kube_staleness_seconds", watch="policies") == unheard
    assert value(metrics, "kube_staleness_seconds", watch="registration") == 3
    assert value(metrics, "policy_last_sync_timestamp_seconds") == 0
    assert value(metrics, "tls_authority_expiry_timestamp_seconds") == 1234
    assert value(metrics, "enforcement_fail_open") == 0
    for current, fails_open, told in (  # noqa: B007 - which the metrics read
        (PolicySet((POLICY,), "rev", "here"), True, 1),
        (PolicySet((replace(warning, enforce_in=("shop",)),), "rev", "here"), True, 1),
        (PolicySet((POLICY,), "rev", "here"), False, 0),
        (PolicySet((POLICY,), "rev", "here"), None, None),
    ):
        assert value(metrics, "enforcement_fail_open") == told
    unheard = 10.0
    assert value(metrics, "policy_last_sync_timestamp_seconds") == pytest.approx(time.time() - 10, abs=5)


def test_events_are_counted(metrics: Metrics) -> None:
    metrics.events_emitted(2)
    metrics.events_dropped(3)
    assert value(metrics, "events_emitted_total") == 2
    assert value(metrics, "events_dropped_total") == 3


def test_losses_and_builds_are_told(metrics: Metrics) -> None:
    metrics.dropped("log", 3)
    metrics.refused(413)
    assert value(metrics, "audit_dropped_total", sink="log") == 3
    assert value(metrics, "admission_refused_total", status="413") == 1
    assert b'version="1.2.3"' in metrics.expose()
