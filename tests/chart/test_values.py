"""What each value becomes: a setting, a right, a mount. Rights are compared whole: no other is granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, MONITORING, NAMESPACE, Values, render
from tests.conftest import CHART as TOOLS_OF_CHART
from webhook import environment
from webhook.policy import document
from webhook.settings import EventsIn

pytestmark = pytest.mark.tools(*TOOLS_OF_CHART)

NOW = datetime(2026, 1, 20, tzinfo=UTC)
SERVICE = "countersign.countersign.svc"
DIGEST = f"sha256:{'a' * 64}"
EVERYTHING = CHART / "ci/everything-values.yaml"
EXTRACTORS = sorted(path.stem for path in (CHART / "extractors").glob("*.yaml"))
Rights = Sequence[tuple[str, str, Sequence[str], Sequence[str]]]  # group, resource, names, verbs


# --- settings


@pytest.mark.parametrize(
    ("values", "variable", "value"),
    [
        ({}, "COUNTERSIGN_WEBHOOK_CONFIGURATION", "countersign"),
        ({}, "COUNTERSIGN_LAST_GOOD", "countersign-last-good"),
        ({}, "COUNTERSIGN_CA_SECRET", "countersign-ca"),
        ({"tls": {"mode": "certManager"}}, "COUNTERSIGN_CA_SECRET", None),
        ({"tls": {"mode": "certManager"}}, "COUNTERSIGN_CERTIFICATE", "/etc/countersign/tls/tls.crt"),
        ({"tls": {"mode": "certManager"}}, "COUNTERSIGN_KEY", "/etc/countersign/tls/tls.key"),
        ({}, "COUNTERSIGN_CERTIFICATE", None),
        ({}, "COUNTERSIGN_NAMES", f"{SERVICE} {SERVICE}.cluster.local countersign.countersign countersign"),
        ({"clusterDomain": "corp.example"}, "COUNTERSIGN_NAMES",
         f"{SERVICE} {SERVICE}.corp.example countersign.countersign countersign"),
        ({"noMatch": "deny"}, "COUNTERSIGN_NO_MATCH", "deny"),
        ({"failurePolicy": "Fail"}, "COUNTERSIGN_FAILS_OPEN", "false"),
        ({"timeoutSeconds": 7}, "COUNTERSIGN_TIMEOUT", "7"),
        ({"baselineExempt": ["a.example", "b.example/c"]}, "COUNTERSIGN_BASELINE_EXEMPT", "a.example b.example/c"),
        ({}, "COUNTERSIGN_BASELINE_EXEMPT", None),
        ({"policyWriters": ["team", "system:serviceaccount:a:b"]}, "COUNTERSIGN_POLICY_WRITERS",
         "team system:serviceaccount:a:b"),
        ({"trustSecrets": ["one", "two"]}, "COUNTERSIGN_TRUST_SECRETS", "one two"),
        ({"pullSecrets": {"mode": "cluster"}}, "COUNTERSIGN_PULL_SECRETS", "cluster"),
        ({"pullSecrets": {"mode": "listed", "namespaces": ["a", "b"]}}, "COUNTERSIGN_PULL_SECRET_NAMESPACES", "a b"),
        ({"events": {"location": "off"}}, "COUNTERSIGN_EVENTS", "off"),
        ({"workloads": {"action": "deny"}}, "COUNTERSIGN_WORKLOADS", "deny"),
        ({"pin": {"enabled": True}}, "COUNTERSIGN_PIN", "true"),
        ({"pin": {"exclude": {"owners": ["A.b.c"]}}}, "COUNTERSIGN_PIN_EXCLUDE_OWNERS", "A.b.c"),
        ({"pin": {"exclude": {"namespaces": ["a"]}}}, "COUNTERSIGN_PIN_EXCLUDE_NAMESPACES", "a"),
        ({"aws": {"region": "eu-west-1"}}, "AWS_REGION", "eu-west-1"),
        ({"aws": {"snsTopic": "arn:aws:sns:us-west-2:111122223333:x"}}, "COUNTERSIGN_SNS_TOPIC",
         "arn:aws:sns:us-west-2:111122223333:x"),
        ({"proxy": {"https": "http://p:1"}}, "HTTPS_PROXY", "http://p:1"),
        ({"proxy": {"http": "http://p:1"}}, "http_proxy", "http://p:1"),
        ({"proxy": {"noProxy": ["a", "b"]}}, "NO_PROXY", "a,b"),
        ({}, "COUNTERSIGN_WARM_START", "2"),
        ({"warmStart": 0}, "COUNTERSIGN_WARM_START", "0"),
        ({"warmStart": 0.5}, "COUNTERSIGN_WARM_START", "0.5"),
        ({"shutdownDelaySeconds": 3}, "COUNTERSIGN_SHUTDOWN_DELAY", "3"),
        ({"ports": {"admission": 10250}}, "COUNTERSIGN_ADMISSION_PORT", "10250"),
        ({"settings": {"COUNTERSIGN_WORKERS": "2"}}, "COUNTERSIGN_WORKERS", "2"),
        ({"registries": [{"host": "a.example"}]}, "COUNTERSIGN_REGISTRIES",
         "/etc/countersign/registries/registries.yaml"),
        ({"dockerConfig": {"secret": "login"}}, "COUNTERSIGN_DOCKER_CONFIG", "/etc/countersign/docker/config.json"),
        ({"extraCA": {"secret": "ca"}}, "COUNTERSIGN_CA_FILE", "/etc/countersign/ca/ca.pem"),
    ],
)  # fmt: skip
def test_a_value_becomes_a_setting(values: Values, variable: str, value: str | None) -> None:
    assert render(values).environment.get(variable) == value


@pytest.mark.parametrize("values", [{}, {"events": {"location": "both"}}])
def test_the_settings_are_read_as_they_were_meant(values: Values) -> None:
    rendered = render(values)
    variables = {**rendered.environment, "COUNTERSIGN_NAMESPACE": NAMESPACE, "COUNTERSIGN_POD": "countersign-1"}
    found = environment.read(variables)
    assert environment.unknown_variables(variables) == ()
    assert (found.cluster.namespace, found.cluster.webhook_configuration) == (NAMESPACE, "countersign")
    assert found.cluster.events == EventsIn(values["events"]["location"] if values else "objectNamespace")


def test_all_settings_at_once_are_read() -> None:
    variables = {**render(file=EVERYTHING).environment, "COUNTERSIGN_NAMESPACE": NAMESPACE}
    for file in ("COUNTERSIGN_REGISTRIES", "COUNTERSIGN_DOCKER_CONFIG", "COUNTERSIGN_CA_FILE"):
        del variables[file]
    found = environment.read(variables)
    assert found.pin.exclude_namespaces == ("databases",)
    assert found.cluster.pull_secret_namespaces == ("shop", "pay")
    assert found.network.no_proxy == (".example.com", "10.0.0.0/8")
    assert found.server.admission_port == 10250


def test_where_it_is_and_who_it_is_come_from_the_pod() -> None:
    sources = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"]
               for one in render().container["env"] if "valueFrom" in one}  # fmt: skip
    assert sources == {"COUNTERSIGN_NAMESPACE": "metadata.namespace", "COUNTERSIGN_POD": "metadata.name"}


def test_registries_are_read_as_they_were_meant(tmp_path: Any) -> None:
    registries = [{"host": "registry.internal:5000", "private": True, "tokenHosts": ["auth.internal"]}]
    path = tmp_path / "registries.yaml"
    path.write_text(render({"registries": registries}).one("ConfigMap", "countersign-registries")["data"][path.name])
    [found] = environment.load_registries(path)
    assert (found.host, found.private, found.token_hosts) == ("registry.internal:5000", True, ("auth.internal",))


def test_pods_are_replaced_when_registries_change() -> None:
    one, same, other = (
        render({"registries": registries}).pod["metadata"]["annotations"]["checksum/registries"]
        for registries in ([{"host": "a.example"}], [{"host": "a.example"}], [{"host": "b.example"}])
    )
    assert one == same != other


# --- policies and extractors


def test_the_starter_policy_is_one_and_denies_nothing() -> None:
    text = render().one("ConfigMap", "countersign-policies")["data"]["starter.yaml"]
    [policy] = document.parse(text.encode(), origin="starter.yaml", now=NOW)
    assert policy.name == "starter"
    assert (policy.mode.value, policy.tampered.value, tuple(policy.enforce_in)) == ("warn", "warn", ())


def test_policies_are_one_labelled_configmap() -> None:
    rendered = render({"policies": {"one": "a: 1", "two": "b: {{ .Release.Name }}"}})
    found = rendered.one("ConfigMap", "countersign-policies")
    assert found["metadata"]["labels"]["countersign.dev/policy"] == "true"
    assert set(found["data"]) == {"starter.yaml", "one.yaml", "two.yaml"}
    assert found["data"]["two.yaml"] == "b: {{ .Release.Name }}"  # a value is no template


def test_without_policies_there_is_no_configmap_of_them() -> None:
    rendered = render({"starterPolicy": False})
    assert "countersign-policies" not in {found["metadata"]["name"] for found in rendered.all("ConfigMap")}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_custom_resources_come_with_their_rules(name: str) -> None:
    rendered = render({"workloads": {"customResources": [name]}})
    found = rendered.one("ConfigMap", "countersign-extractors")
    assert found["metadata"]["labels"]["countersign.dev/extractors"] == "true"
    wanted = {
        (one["apiGroup"], one["version"], one["resource"])
        for one in yaml.safe_load(found["data"][f"{name}.yaml"])["extractors"]
    }
    ruled = {
        (rule["apiGroups"][0], rule["apiVersions"][0], resource)
        for rule in rendered.entry("workloads")["rules"][3:]
        for resource in rule["resources"]
    }
    assert ruled == wanted


def test_an_extractor_of_ones_own_has_its_rule() -> None:
    extractor = {"apiGroup": "example.com", "version": "v1", "resource": "batches", "images": ["spec.image"]}
    rendered = render({"workloads": {"extractors": [extractor]}})
    data = rendered.one("ConfigMap", "countersign-extractors")["data"]
    assert yaml.safe_load(data["given.yaml"]) == {"extractors": [extractor]}
    assert rendered.entry("workloads")["rules"][-1]["resources"] == ["batches"]


def test_without_early_feedback_nobody_is_asked_for_it() -> None:
    names = [entry["name"] for entry in render({"workloads": {"action": "off", "customResources": ["keda"]}})
             .one("ValidatingWebhookConfiguration")["webhooks"]]  # fmt: skip
    assert names == ["pods.countersign.dev", "policies.countersign.dev"]


# --- webhooks


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pods", "/validate"),
        ("workloads", "/validate-workloads"),
        ("cronjobs", "/validate-workloads"),
        ("policies", "/validate-policy"),
        ("pin", "/mutate"),
    ],
)
def test_each_entry_has_its_path(name: str, path: str) -> None:
    service = render({"pin": {"enabled": True}}).entry(name)["clientConfig"]["service"]
    assert service == {"name": "countersign", "namespace": NAMESPACE, "path": path, "port": 443}


def test_conditions_of_ones_own_come_after_the_chart_s() -> None:
    given = {"name": "mine", "expression": "true"}
    rendered = render({"matchConditions": [given], "pin": {"enabled": True}})
    for name in ("pods", "pin"):
        assert [one["name"] for one in rendered.entry(name)["matchConditions"]] == ["images-may-have-changed", "mine"]
    for name in ("workloads", "cronjobs"):
        assert rendered.entry(name)["matchConditions"] == [given]
    assert "matchConditions" not in rendered.entry("policies")


def test_pinning_comes_again_after_others() -> None:
    assert render({"pin": {"enabled": True}}).entry("pin")["reinvocationPolicy"] == "IfNeeded"


# --- rights

CONFIGURATIONS = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
WATCH = ("list", "watch")
READ = ("get", *WATCH)
REGISTRATION = "admissionregistration.k8s.io"
BASE_ROLE = (
    ("", "configmaps", (), (*WATCH, "patch")),
    ("", "configmaps", ("countersign-last-good",), ("get",)),
)
OWN_CA = ("", "secrets", ("countersign-ca",), (*READ, "update"))
VALIDATING, MUTATING = ((REGISTRATION, kind, ("countersign",)) for kind in CONFIGURATIONS)
KEPT = (*READ, "patch")
LOOKED_FOR = (*MUTATING, ("get",))  # by `helm test`
SELF_SIGNED = ((*VALIDATING, KEPT), LOOKED_FOR)
EVENTS = ("events.k8s.io", "events", (), ("create", "patch"))
PODS = ("", "pods", (), ("list",))  # to verify again what runs
ALWAYS = (*SELF_SIGNED, PODS)
PULL = tuple(("", kind, (), ("get",)) for kind in ("secrets", "serviceaccounts"))


@pytest.mark.parametrize(
    ("values", "role", "cluster_role"),
    [
        ({}, (*BASE_ROLE, OWN_CA), (*ALWAYS, EVENTS)),
        ({"events": {"location": "off"}}, (*BASE_ROLE, OWN_CA), ALWAYS),
        ({"events": {"location": "both"}}, (*BASE_ROLE, OWN_CA), (*ALWAYS, EVENTS)),
        ({"events": {"location": "releaseNamespace"}}, (*BASE_ROLE, OWN_CA, EVENTS), ALWAYS),
        ({"warmStart": 0}, (*BASE_ROLE, OWN_CA), (*SELF_SIGNED, EVENTS)),
        ({"tls": {"mode": "certManager"}}, BASE_ROLE, ((*VALIDATING, READ), LOOKED_FOR, PODS, EVENTS)),
        ({"pin": {"enabled": True}}, (*BASE_ROLE, OWN_CA), ((*VALIDATING, KEPT), (*MUTATING, KEPT), PODS, EVENTS)),
        ({"pin": {"enabled": True}, "tls": {"mode": "certManager"}}, BASE_ROLE,
         ((*VALIDATING, READ), (*MUTATING, READ), PODS, EVENTS)),
        ({"trustSecrets": ["a", "b"]}, (*BASE_ROLE, OWN_CA, ("", "secrets", ("a", "b"), WATCH)),
         (*ALWAYS, EVENTS)),
        ({"pullSecrets": {"mode": "cluster"}}, (*BASE_ROLE, OWN_CA), (*ALWAYS, EVENTS, *PULL)),
        ({"pullSecrets": {"mode": "listed", "namespaces": ["shop"]}}, (*BASE_ROLE, OWN_CA), (*ALWAYS, EVENTS)),
        ({"pullSecrets": {"mode": "none", "namespaces": ["shop"]}}, (*BASE_ROLE, OWN_CA), (*ALWAYS, EVENTS)),
    ],
)  # fmt: skip
def test_rights_are_exactly_these(values: Values, role: Rights, cluster_role: Rights) -> None:
    rendered = render(values)
    assert rights(rendered.one("Role", "countersign")) == set(map(flat, role))
    assert rights(rendered.one("ClusterRole", "countersign")) == set(map(flat, cluster_role))


def test_pull_secrets_are_read_where_that_is_listed() -> None:
    rendered = render({"pullSecrets": {"mode": "listed", "namespaces": ["shop", "pay", "shop"]}})
    roles = [role for role in rendered.all("Role") if role["metadata"]["name"] == "countersign-pull-secrets"]
    assert [role["metadata"]["namespace"] for role in roles] == ["shop", "pay"]
    assert all(rights(role) == set(map(flat, PULL)) for role in roles)
    assert not [role for role in render().all("Role") if role["metadata"]["name"] != "countersign"]


def test_no_right_is_a_wildcard_or_leads_to_more() -> None:
    rendered = render(file=EVERYTHING)
    for role in (*rendered.all("Role"), *rendered.all("ClusterRole")):
        for group, resource, _, verbs in rights(role):
            assert "*" not in {group, resource, *verbs}
            assert not {"escalate", "bind", "impersonate"} & set(verbs)


def test_the_token_is_mounted_by_the_pod_alone() -> None:
    rendered = render()
    assert rendered.one("ServiceAccount", "countersign")["automountServiceAccountToken"] is False
    assert rendered.pod["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize(
    ("account", "name", "made"),
    [
        ({}, "countersign", True),
        ({"name": "mine"}, "mine", True),
        ({"create": False, "name": "given"}, "given", False),
        ({"create": False}, "default", False),
    ],
)
def test_the_service_account_may_be_somebody_else_s(account: Values, name: str, made: bool) -> None:
    rendered = render({"serviceAccount": account})
    assert rendered.pod["spec"]["serviceAccountName"] == name
    assert rendered.one("RoleBinding", "countersign")["subjects"][0]["name"] == name
    assert (name in {found["metadata"]["name"] for found in rendered.all("ServiceAccount")}) == made


def flat(right: tuple[str, str, Sequence[str], Sequence[str]]) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    group, resource, names, verbs = right
    return group, resource, tuple(names), tuple(verbs)


def rights(role: Mapping[str, Any]) -> set[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    return {
        flat((group, resource, rule.get("resourceNames", ()), rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


# --- certificates


def test_cert_manager_s_authority_is_not_the_leaf() -> None:
    rendered = render({"tls": {"mode": "certManager"}, "pin": {"enabled": True}})
    authority, leaf = rendered.one("Certificate", "countersign-issuer"), rendered.one("Certificate", "countersign-tls")
    assert authority["spec"]["isCA"]
    assert rendered.one("Issuer", authority["spec"]["issuerRef"]["name"])["spec"] == {"selfSigned": {}}
    issuer = rendered.one("Issuer", leaf["spec"]["issuerRef"]["name"])
    assert issuer["spec"]["ca"]["secretName"] == authority["spec"]["secretName"]
    assert leaf["spec"]["dnsNames"][0] == "countersign.countersign.svc"
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        annotations = rendered.one(kind)["metadata"]["annotations"]
        assert annotations == {"cert-manager.io/inject-ca-from": "countersign/countersign-tls"}


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"tls": {"mode": "certManager"}}, "countersign-tls"),
        ({"tls": {"mode": "provided", "secret": "mine", "caBundle": "-----BEGIN CERTIFICATE-----\nA"}}, "mine"),
    ],
)
def test_certificates_are_mounted_as_a_folder(values: Values, name: str) -> None:
    spec = render(values).pod["spec"]
    [mount] = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "tls"]
    assert mount == {"name": "tls", "mountPath": "/etc/countersign/tls", "readOnly": True}
    assert {"name": "tls", "secret": {"secretName": name}} in spec["volumes"]


# --- what is optional


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"autoscaling": {"enabled": True}}, "HorizontalPodAutoscaler"),
        ({"networkPolicy": {"enabled": True}}, "NetworkPolicy"),
        ({"resourceQuota": {"enabled": True}}, "ResourceQuota"),
        ({"serviceMonitor": {"enabled": True}}, "ServiceMonitor"),
        ({"prometheusRule": {"enabled": True}}, "PrometheusRule"),
        ({"pin": {"enabled": True}}, "MutatingWebhookConfiguration"),
    ],
)
def test_it_is_there_when_it_is_asked_for(values: Values, kind: str) -> None:
    assert not render(apis=[MONITORING]).all(kind)
    assert len(render(values, apis=[MONITORING]).all(kind)) == 1


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_what_the_cluster_does_not_know_is_left_out(kind: str) -> None:
    assert not render({"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}).all(kind)


def test_replicas_are_the_autoscaler_s_where_there_is_one() -> None:
    assert "replicas" not in render({"autoscaling": {"enabled": True}}).one("Deployment")["spec"]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "ghcr.io/countersign/countersign:0.1.0"),
        ({"image": {"tag": "1.2"}}, "ghcr.io/countersign/countersign:1.2"),
        ({"image": {"tag": "1.2", "digest": DIGEST}}, f"ghcr.io/countersign/countersign@{DIGEST}"),
        ({"global": {"imageRegistry": "mirror:5000"}}, "mirror:5000/countersign/countersign:0.1.0"),
        ({"image": {"registry": "", "repository": "countersign"}}, "countersign:0.1.0"),
    ],
)  # fmt: skip
def test_the_image_is_named(values: Values, image: str) -> None:
    assert render(values).container["image"] == image


def test_a_cluster_may_choose_the_user() -> None:
    context = render({"runAsUser": None}).pod["spec"]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_a_network_policy_names_the_ways_out() -> None:
    def ways_out(values: Values) -> set[tuple[str, int]]:
        rules = render({"networkPolicy": {"enabled": True}, **values}).one("NetworkPolicy")["spec"]["egress"]
        there = ((to["ipBlock"]["cidr"], rule["ports"]) for rule in rules for to in rule.get("to", ()))
        return {(cidr, port["port"]) for cidr, ports in there for port in ports}

    anywhere = {(cidr, port) for cidr in ("0.0.0.0/0", "::/0") for port in (80, 443, 6443)}
    assert ways_out({}) == anywhere
    assert ways_out({"aws": {"podIdentity": True}}) - anywhere == {("169.254.170.23/32", 80), ("fd00:ec2::23/128", 80)}
    metadata = {"networkPolicy": {"enabled": True, "instanceMetadata": True}}
    assert ways_out(metadata) - anywhere == {("169.254.169.254/32", 80), ("fd00:ec2::254/128", 80)}


def test_metadata_of_the_instance_are_out_of_reach() -> None:
    rules = render({"networkPolicy": {"enabled": True}}).one("NetworkPolicy")["spec"]["egress"]
    blocks = {to["ipBlock"]["cidr"]: to["ipBlock"]["except"] for rule in rules for to in rule.get("to", ())}
    assert blocks == {"0.0.0.0/0": ["169.254.169.254/32"], "::/0": ["fd00:ec2::254/128"]}


def test_host_network_resolves_names_of_the_cluster() -> None:
    spec = render({"hostNetwork": True}).pod["spec"]
    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")


@pytest.mark.parametrize("kubernetes", ["1.29", "1.30"])
def test_guards_are_there_where_kubernetes_has_them(kubernetes: str) -> None:
    names = {found["metadata"]["name"] for found in render(kubernetes=kubernetes).all("ValidatingAdmissionPolicy")}
    assert names == ({"countersign-policies", "countersign-pods"} if kubernetes == "1.30" else set())
    assert not render({"guards": {"enabled": False}}).all("ValidatingAdmissionPolicy")


def test_helm_test_asks_as_the_api_server_does() -> None:
    rendered = render()
    pod = rendered.one("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["serviceAccountName"] == "countersign"
    assert pod["spec"]["containers"][0]["args"] == ["selftest", "countersign"]
