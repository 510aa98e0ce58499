"""Values that are wrong: each is refused before anything is rendered, in words that name it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import Values, refusal, render
from tests.conftest import CHART as TOOLS_OF_CHART

pytestmark = pytest.mark.tools(*TOOLS_OF_CHART)


def at(path: str, value: object) -> dict[str, Any]:
    """`value` at `path`, whose keys are parted by slashes."""
    for key in reversed(path.split("/")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


REGISTRY = {"host": "a.example"}
CACHE = {"url": "valkeys://cache.example.com", "existingSecret": "cache"}
EXTRACTOR = {"apiGroup": "example.com", "version": "v1", "resource": "batches"}
WRONG: tuple[tuple[str, object], ...] = (
    ("failurePolicy", "Fial"),
    ("failurePolicy", "fail"),
    ("failurePolicy", None),
    ("noMatch", "audit"),
    ("noMatch", True),
    ("timeoutSeconds", 0),
    ("timeoutSeconds", 31),
    ("timeoutSeconds", "10s"),
    ("matchConditions/0", {"name": "a"}),
    ("matchConditions/0", {"name": "not a name", "expression": "true"}),
    ("excludedNamespaces", "kube-system"),
    ("excludedNamespaces/0", "kube-*"),
    ("excludedNamespaces/0", "Kube"),
    ("selector/mode", "optout"),
    ("selector", "optIn"),
    ("webhook/enabled", "false"),
    ("webhook/annotations/a", 1),
    ("workloads/action", "enforce"),
    ("workloads/action", False),
    ("workloads/timeoutSeconds", 60),
    ("workloads/customResources/0", "flux"),
    ("workloads/extractors/0", EXTRACTOR),
    ("workloads/extractors/0", {**EXTRACTOR, "images": ["spec.image"], "version": "*"}),
    ("workloads/extractors/0", {**EXTRACTOR, "images": ["spec.image"], "resource": "*"}),
    ("workloads/extractors/0", {**EXTRACTOR, "images": []}),
    ("pin/enabled", "yes"),
    ("pin/exclude/owners/0", "not an owner"),
    ("pin/exclude/namespaces/0", "db-*"),
    ("starterPolicy", "no"),
    ("policies", "apiVersion: countersign.dev/v1"),
    ("policies/production", {"kind": "TrustPolicy"}),
    ("policies/production", ""),
    ("policies/Not A Key", "a: 1"),
    ("policies/large", "#" * 1_000_000),
    ("baselineExempt/0", "a.example, b.example"),
    ("policyWriters/0", "two words"),
    ("policyWriters/0", "it's"),
    ("policyWriters/0", ""),
    ("trustSecrets/0", "No_Name"),
    ("guards/enabled", "true"),
    ("guards/podCreators/0", 'a"b'),
    ("registries/0", {"private": True}),
    ("registries/0", {**REGISTRY, "privat": True}),
    ("registries/0", {**REGISTRY, "insecureHTTP": "yes"}),
    ("registries/0", {"host": "https://a.example"}),
    ("registries/0", {"host": "a.example/path"}),
    ("dockerConfig/secret", "not a name"),
    ("pullSecrets/mode", "all"),
    ("pullSecrets/namespaces", None),
    ("proxy/https", "proxy.example.com:3128"),
    ("proxy/noProxy", ".example.com"),
    ("aws/region", "us_west_2"),
    ("aws/snsTopic", "arn:aws:sqs:us-west-2:111122223333:x"),
    ("events/location", "everywhere"),
    ("sharedCache/url", "https://cache.example.com"),
    ("sharedCache/url", "valkeys://countersign:secret@cache.example.com"),
    ("sharedCache/existingSecret", "not a name"),
    ("sharedCache/passwordKey", "a/b"),
    ("valkey/enabled", "true"),
    ("valkey/image/digest", "sha256:abc"),
    ("valkey/persistence", {"enabled": True}),
    ("warmStart", -1),
    ("warmStart", "2"),
    ("settings/COUNTERSIGN_READ_TIMEOUT", 3),
    ("settings/COUNTERSIGN_READ_TIMEUOT", "3"),
    ("settings/COUNTERSIGN_NAMESPACE", "elsewhere"),
    ("tls/mode", "letsencrypt"),
    ("tls/caBundle", "LS0tLS1CRUdJTg=="),
    ("replicas", 0),
    ("replicas", 1.5),
    ("autoscaling/targetCPUUtilizationPercentage", 150),
    ("resources/request", {}),
    ("runAsUser", 0),
    ("tolerations", {"operator": "Exists"}),
    ("hostNetwork", "true"),
    ("ports/admission", 443),
    ("ports/operations", 70000),
    ("shutdownDelaySeconds", -1),
    ("image/digest", "sha256:abc"),
    ("image/repository", "Countersign"),
    ("image/tag", "a b"),
    ("image/pullPolicy", "Sometimes"),
    ("global/imagePullSecrets", "mirror"),
    ("fullnameOverride", "a_b"),
    ("fullnameOverride", "a" * 53),
    ("networkPolicy/apiServerCIDRs/0", "10.0.0.1"),
    ("networkPolicy/egressPorts", []),
    ("serviceMonitor/interval", "often"),
    ("failurepolicy", "Fail"),
    ("replicaCount", 3),
    ("pin/enable", True),
)


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda part: str(part)[:60])
def test_a_wrong_value_is_refused_by_name(path: str, value: object) -> None:
    *parents, last = path.split("/")
    given = at("/".join(parents), [value]) if last == "0" else at(path, value)
    said = refusal(given)
    assert "values don't meet the specifications of the schema" in said
    assert (f"at '/{path}" if last == "0" else last) in said


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"tls": {"mode": "provided"}}, "/tls/secret"),
        ({"tls": {"mode": "provided", "secret": "a"}}, "/tls/caBundle"),
        ({"pullSecrets": {"mode": "listed"}}, "/pullSecrets/namespaces"),
        ({"extraCA": {"configMap": "a", "secret": "b"}}, "/extraCA/secret"),
        ({"terminationGracePeriodSeconds": 30}, "terminationGracePeriodSeconds: 40 at least is expected"),
        (
            {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}},
            "autoscaling.maxReplicas: 5 at least is expected",
        ),
        (
            {"valkey": {"enabled": True}, "sharedCache": CACHE},
            "sharedCache.url, valkey.enabled: one of them is expected",
        ),
        (
            {"sharedCache": {**CACHE, "existingSecret": ""}},
            "sharedCache.existingSecret: the name of a Secret is expected",
        ),
        (
            {"valkey": {"enabled": True, "existingSecret": "server"}},
            "sharedCache.existingSecret, valkey.existingSecret: both or neither is expected",
        ),
        (
            {"valkey": {"enabled": True}, "sharedCache": {"existingSecret": "client"}},
            "sharedCache.existingSecret, valkey.existingSecret: both or neither is expected",
        ),
    ],
)
@pytest.mark.parametrize("helm", ["helm", "helm4"])
def test_values_that_do_not_go_together_are_refused_by_name(values: Values, named: str, helm: str) -> None:
    assert named in refusal(values, helm=helm)


@pytest.mark.parametrize(
    "values",
    [
        {"failurePolicy": "Fail"},
        {"timeoutSeconds": 1},
        {"timeoutSeconds": 30},
        {"registries": [{**REGISTRY, "host": "[2001:db8::1]:5000"}]},
        {"policyWriters": ["arn:aws:iam::111122223333:role/platform", "user@example.com", "system:masters"]},
        {"fullnameOverride": "a" * 52},
        {"networkPolicy": {"apiServerCIDRs": ["10.0.0.1/32", "fd00::/8"]}},
        {"global": {"storageClass": "of another chart"}},
        {"sharedCache": {**CACHE, "url": "valkeys://countersign@[2001:db8::1]:6380/2"}},
        {"warmStart": 0.5},
        {"valkey": {"enabled": True}, "global": {"storageClass": "of another chart"}},
    ],
)
def test_what_is_right_is_accepted(values: Values) -> None:
    assert render(values).objects
