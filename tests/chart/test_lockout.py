"""The rules that keep an admission webhook from locking a cluster out, one by one, on what the chart renders."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import CHART, CI, NAMESPACE, Rendered, Values, render
from tests.conftest import CHART as TOOLS_OF_CHART

pytestmark = pytest.mark.tools(*TOOLS_OF_CHART)

ALWAYS = {NAMESPACE, "kube-system", "kube-node-lease", "kube-public"}
EVERYTHING = CHART / "ci/everything-values.yaml"
JUDGING = ("pods", "workloads", "cronjobs", "pin")


@pytest.fixture(scope="module")
def everything() -> Rendered:
    return render(file=EVERYTHING)


def excluded(rendered: Rendered, entry: str) -> set[str]:
    [expression] = rendered.entry(entry)["namespaceSelector"]["matchExpressions"]
    assert (expression["key"], expression["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
    return set(expression["values"])


# --- 1: namespaces that are never judged


@pytest.mark.parametrize("entry", JUDGING)
@pytest.mark.parametrize(
    ("values", "more"),
    [
        ({}, set()),
        ({"excludedNamespaces": ["calico-system", "cilium"]}, {"calico-system", "cilium"}),
        ({"excludedNamespaces": []}, set()),
        ({"excludedNamespaces": ["kube-system"]}, set()),
        ({"selector": {"mode": "optIn"}}, set()),
    ],
)
def test_own_and_system_namespaces_are_always_excluded(entry: str, values: Values, more: set[str]) -> None:
    rendered = render({"pin": {"enabled": True}, **values})
    assert excluded(rendered, entry) == ALWAYS | more


def test_the_excluded_namespace_is_that_of_the_release() -> None:
    rendered = render(namespace="elsewhere")
    assert "elsewhere" in excluded(rendered, "pods")
    assert NAMESPACE not in excluded(rendered, "pods")


def test_what_is_not_pinned_is_judged_all_the_same(everything: Rendered) -> None:
    assert "databases" in excluded(everything, "pin")
    assert "databases" not in excluded(everything, "pods")


def test_only_policies_of_the_own_namespace_are_asked_about(everything: Rendered) -> None:
    entry = everything.entry("policies")
    assert entry["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    assert entry["objectSelector"] == {"matchLabels": {"countersign.dev/policy": "true"}}


# --- 2 and 3: who opts in, and that nobody opts out by a label


def test_opting_in_is_a_label_on_namespaces_that_a_guard_keeps() -> None:
    rendered = render({"selector": {"mode": "optIn"}})
    for entry in ("pods", "workloads", "cronjobs"):
        assert rendered.entry(entry)["namespaceSelector"]["matchLabels"] == {"countersign.dev/enforce": "true"}
    assert rendered.one("ValidatingAdmissionPolicy", "countersign-opt-in")


@pytest.mark.parametrize("entry", JUDGING)
def test_no_label_of_a_namespace_or_an_object_exempts(entry: str) -> None:
    found = render({"pin": {"enabled": True}}).entry(entry)
    assert set(found["namespaceSelector"]) == {"matchExpressions"}
    assert "objectSelector" not in found


# --- 4: narrow, and Fail only where it must be


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
def test_only_pods_may_fail(policy: str) -> None:
    rendered = render({"failurePolicy": policy, "pin": {"enabled": True}})
    given = {name: rendered.entry(name)["failurePolicy"] for name in (*JUDGING, "policies")}
    assert given == {**dict.fromkeys((*JUDGING, "policies"), "Ignore"), "pods": policy}


@pytest.mark.parametrize("file", CI, ids=lambda path: path.name)
def test_rules_name_what_they_match(file: Any) -> None:
    rendered = render(file=file)
    configurations = (*rendered.all("ValidatingWebhookConfiguration"), *rendered.all("MutatingWebhookConfiguration"))
    for entry in (entry for one in configurations for entry in one["webhooks"]):
        assert entry["sideEffects"] == "NoneOnDryRun"
        assert entry["admissionReviewVersions"] == ["v1"]
        for rule in entry["rules"]:
            words = [*rule["apiGroups"], *rule["apiVersions"], *rule["resources"], *rule["operations"]]
            assert not any("*" in word for word in words)
            assert not {"DELETE", "CONNECT"} & set(rule["operations"]) or entry["name"].startswith("policies.")
            assert rule["scope"] == "Namespaced"


def test_pods_are_asked_about_with_their_ephemeral_containers() -> None:
    rules = render().entry("pods")["rules"]
    assert [(rule["resources"], rule["operations"]) for rule in rules] == [
        (["pods"], ["CREATE", "UPDATE"]),
        (["pods/ephemeralcontainers"], ["UPDATE"]),
    ]


def test_timeouts_are_short() -> None:
    rendered = render({"pin": {"enabled": True}})
    given = {name: rendered.entry(name)["timeoutSeconds"] for name in (*JUDGING, "policies")}
    assert given == {"pods": 10, "workloads": 5, "cronjobs": 5, "pin": 5, "policies": 10}


# --- 5 and 11: replicas


def test_replicas_are_two_and_apart() -> None:
    rendered = render()
    deployment, spec = rendered.one("Deployment"), rendered.pod["spec"]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["spec"]["revisionHistoryLimit"] == 3
    spread = {one["topologyKey"]: one["whenUnsatisfiable"] for one in spec["topologySpreadConstraints"]}
    assert spread == dict.fromkeys(["topology.kubernetes.io/zone", "kubernetes.io/hostname"], "ScheduleAnyway")
    assert "podAntiAffinity" in spec["affinity"]
    assert spec["priorityClassName"] == "system-cluster-critical"


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"replicas": 2}, True),
        ({"replicas": 3}, True),
        ({"replicas": 1}, False),  # it would hold up the drain of its node for ever
        ({"replicas": 1, "autoscaling": {"enabled": True, "minReplicas": 2}}, True),
        ({"replicas": 3, "autoscaling": {"enabled": True, "minReplicas": 1}}, False),
        ({"podDisruptionBudget": {"enabled": False}}, False),
    ],
)
def test_a_drain_leaves_one_replica_where_there_are_more(values: Values, kept: bool) -> None:
    budgets = render(values).all("PodDisruptionBudget")
    assert [budget["spec"]["minAvailable"] for budget in budgets] == ([1] if kept else [])
    assert all(budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" for budget in budgets)


# --- 6: nothing that starts it is gated by it


def test_start_up_depends_on_nothing_that_is_gated(everything: Rendered) -> None:
    assert not render().all("Certificate")
    assert {found["metadata"].get("namespace") for kind in ("Deployment", "Job", "Pod")
            for found in everything.all(kind)} == {NAMESPACE}  # fmt: skip


# --- 7: readiness is its own


def test_probes_ask_the_process_alone() -> None:
    container = render().container
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert (container["startupProbe"]["periodSeconds"], container["startupProbe"]["failureThreshold"]) == (2, 30)
    assert {container[f"{name}Probe"]["timeoutSeconds"] for name in ("startup", "liveness", "readiness")} == {3}


# --- 8: with no policy of its own, what no policy speaks of


def test_a_fresh_install_warns_denies_nothing_and_stops_nothing() -> None:
    rendered = render()
    assert rendered.entry("pods")["failurePolicy"] == "Ignore"
    assert rendered.environment["COUNTERSIGN_FAILS_OPEN"] == "true"
    assert rendered.environment["COUNTERSIGN_NO_MATCH"] == "warn"
    assert rendered.environment["COUNTERSIGN_WORKLOADS"] == "warn"
    assert rendered.environment["COUNTERSIGN_PIN"] == "false"
    assert not rendered.all("MutatingWebhookConfiguration")
    assert set(rendered.one("ConfigMap", "countersign-policies")["data"]) == {"starter.yaml"}


# --- 9: break-glass


def test_one_value_takes_the_webhook_away_and_nothing_else() -> None:
    enabled, disabled = (render({"webhook": {"enabled": on}, "pin": {"enabled": True}}) for on in (True, False))
    gone = [found for found in enabled.objects if found not in disabled.objects]
    assert {found["kind"] for found in gone} == {
        "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "Pod",
    }  # fmt: skip
    assert [found for found in disabled.objects if found not in enabled.objects] == []


def test_nothing_may_register_the_webhook_again() -> None:
    for role in (*render(file=EVERYTHING).all("ClusterRole"), *render(file=EVERYTHING).all("Role")):
        for rule in role["rules"]:
            if rule["apiGroups"] == ["admissionregistration.k8s.io"]:
                assert not {"create", "update"} & set(rule["verbs"])
                assert rule["resourceNames"] == ["countersign"]


def test_webhook_configurations_are_ordinary_objects_of_the_release(everything: Rendered) -> None:
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        assert not any(key.startswith("helm.sh/") for key in everything.one(kind)["metadata"]["annotations"])


def test_uninstalling_begins_with_the_webhook_configurations() -> None:
    rendered = render()
    hooks = [found for found in rendered.objects if "helm.sh/hook" in found["metadata"].get("annotations", {})]
    of_uninstall = [hook for hook in hooks if hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"]
    assert {hook["kind"] for hook in of_uninstall} == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"}
    for hook in of_uninstall:
        policies = hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
        assert policies == "before-hook-creation,hook-succeeded,hook-failed"
    job = rendered.one("Job")["spec"]
    assert job["ttlSecondsAfterFinished"] == 300
    assert job["template"]["spec"]["containers"][0]["args"] == ["unregister", "countersign"]
    [rule] = rendered.one("ClusterRole", "countersign-unregister")["rules"]
    assert (rule["verbs"], rule["resourceNames"]) == (["delete"], ["countersign"])
    assert not render({"preDeleteHook": {"enabled": False}}).all("Job")


# --- 12: AKS


def test_annotations_of_webhooks_are_given() -> None:
    annotations = {"admissions.enforcer/disabled": "true"}
    rendered = render({"webhook": {"annotations": annotations}, "pin": {"enabled": True}})
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        assert rendered.one(kind)["metadata"]["annotations"] == annotations


# --- 13: two installations


def test_two_installations_share_no_object() -> None:
    one, two = (
        {(found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]) for found in rendered.objects}
        for rendered in (render(release=name, file=EVERYTHING) for name in ("one", "two"))
    )
    assert one & two == set()


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("countersign", {}, "countersign"),
        ("prod-countersign", {}, "prod-countersign"),
        ("prod", {}, "prod-countersign"),
        ("prod", {"nameOverride": "guard"}, "prod-guard"),
        ("prod", {"fullnameOverride": "guard"}, "guard"),
        ("r" * 53, {}, "r" * 52),
    ],
)
def test_names_are_the_release_s_and_fit(release: str, values: Values, name: str) -> None:
    rendered = render(values, release=release)
    assert rendered.one("ValidatingWebhookConfiguration")["metadata"]["name"] == name
    assert rendered.entry("pods")["clientConfig"]["service"]["name"] == rendered.one("Service")["metadata"]["name"]
    assert max(len(found["metadata"]["name"]) for found in rendered.objects) <= 63
