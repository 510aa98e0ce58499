"""What the chart says of itself is true: its README, its version, its alerts and its dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, KUBERNETES, MONITORING, NAMESPACE, Values, render
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.conftest import ROOT, TOOLS
from webhook import environment

pytestmark = pytest.mark.tools(*TOOLS_OF_CHART)

Notes = Callable[..., str]
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
METRIC = re.compile(r"countersign_[a-z_]+")
SERIES = re.compile(r"_(bucket|sum|count)$")
# What the chart sets from values of its own, what makes no sense in a cluster, and what a mounted folder would be for
NOT_GIVEN = {
    "ADMISSION_PORT", "BASELINE_EXEMPT", "CA_FILE", "CA_OUT", "CA_SECRET", "CERTIFICATE", "DOCKER_CONFIG", "EVENTS",
    "FAILS_OPEN", "HTTPS_PROXY", "HTTP_PROXY", "KEY", "KUBECONFIG", "LAST_GOOD", "NAMES", "NAMESPACE", "NO_MATCH",
    "NO_PROXY", "OPERATIONS_PORT", "PIN", "PIN_EXCLUDE_NAMESPACES", "PIN_EXCLUDE_OWNERS", "POD", "POLICIES",
    "POLICY_RELOAD_INTERVAL", "POLICY_WRITERS", "PULL_SECRETS", "PULL_SECRET_NAMESPACES", "REGISTRIES",
    "SHUTDOWN_DELAY", "SNS_TOPIC", "TIMEOUT", "TRUST_SECRETS", "VALKEY", "VALKEY_CA_FILE", "VALKEY_KEY_FILE",
    "VALKEY_PASSWORD_FILE", "WARM_START", "WEBHOOK_CONFIGURATION", "WORKLOADS",
}  # fmt: skip


def test_the_readme_is_made_of_the_values(tmp_path: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / "countersign")
    command: list[str | Path] = [TOOLS / "bin/helm-docs", f"--chart-search-root={copy}", "--sort-values-order=file"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (copy / "README.md").read_text() == (CHART / "README.md").read_text(), "run `make chart-readme`"


def test_every_value_is_explained() -> None:
    rows = re.findall(r"^\| (\S+) \| \w+ \| .* \| (.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 80
    assert [key for key, meaning in rows if not meaning.strip()] == []


def test_chart_and_program_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["appVersion"] == version
    assert chart["kubeVersion"] == ">=1.28.0-0"


def test_the_schema_knows_every_default_and_nothing_else() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(SCHEMA["properties"]) == set(defaults)
    assert set(SCHEMA["required"]) == set(defaults) - {"runAsUser"}  # which may be null: it is absent then


def test_objects_of_the_schema_take_nothing_that_is_not_named() -> None:
    def ours(schema: object, path: str) -> Iterator[str]:
        if isinstance(schema, dict):
            if "properties" in schema and not {"additionalProperties", "if"} & set(schema):
                yield path
            for key, value in schema.items():
                if key != "allOf":
                    yield from ours(value, f"{path}/{key}")
        elif isinstance(schema, list):
            for value in schema:
                yield from ours(value, path)

    # Other charts' values may stand in `global`; variables and mounts have the fields that Kubernetes gives them
    assert set(ours(SCHEMA, "")) == {"/properties/global", "/properties/extraEnv/items"}


def test_settings_are_those_of_the_server() -> None:
    given = set(SCHEMA["properties"]["settings"]["properties"])
    assert given == set(environment._VARIABLES) - {f"COUNTERSIGN_{name}" for name in NOT_GIVEN}


def test_custom_resources_are_those_with_extractors() -> None:
    named = SCHEMA["properties"]["workloads"]["properties"]["customResources"]["items"]["enum"]
    assert named == sorted(path.stem for path in (CHART / "extractors").glob("*.yaml"))


def test_registries_have_the_fields_that_the_server_reads() -> None:
    assert set(SCHEMA["properties"]["registries"]["items"]["properties"]) == set(environment._REGISTRY_FIELDS)


@pytest.mark.parametrize("name", ["alerts.yaml", "dashboard.json"])
def test_metrics_are_those_of_the_server(name: str) -> None:
    known = set(METRIC.findall((ROOT / "docs/operations.md").read_text()))
    asked = {SERIES.sub("", metric) for metric in METRIC.findall((CHART / "monitoring" / name).read_text())}
    assert asked - known == set()


def test_the_dashboard_is_json_that_grafana_s_sidecar_finds() -> None:
    found = render({"dashboard": {"enabled": True}}).one("ConfigMap", "countersign-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    panels = json.loads(found["data"]["countersign.json"])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 8


def test_alerts_are_about_this_release() -> None:
    rendered = render({"prometheusRule": {"enabled": True}}, apis=[MONITORING], release="prod", namespace="guard")
    [group] = rendered.one("PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        assert 'namespace="guard"' in rule["expr"]
        assert "prod-countersign" in rule["expr"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert "__" not in rule["expr"]


# --- NOTES.txt


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with a template in which its notes stand: `helm template`, which knows every Kubernetes, shows none."""
    copy = shutil.copytree(CHART, tmp_path_factory.mktemp("telling") / "countersign")
    text = (copy / "templates/NOTES.txt").read_text()
    found = 'apiVersion: v1\nkind: Notes\nmetadata: {name: notes}\ntext: {{ include "notes" . | toJson }}'
    (copy / "templates/notes.yaml").write_text('{{- define "notes" }}' + text + "{{ end }}\n" + found)
    return copy


@pytest.fixture
def notes(telling: Path) -> Notes:
    def said(values: Values, *, kubernetes: str = KUBERNETES, namespace: str = NAMESPACE) -> str:
        text: str = render(values, chart=telling, kubernetes=kubernetes, namespace=namespace).one("Notes")["text"]
        return text

    return said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"failurePolicy": "Fail", "replicas": 1}, "one replica, and failurePolicy Fail"),
        ({"starterPolicy": False}, "no policy is installed: noMatch (warn) decides"),
        ({"noMatch": "allow"}, "noMatch is allow"),
        ({"noMatch": "deny"}, "noMatch is deny, but failurePolicy Ignore"),
        ({"timeoutSeconds": 20}, "timeoutSeconds is above 15"),
        ({"guards": {"enabled": False}}, "guards are off"),
        ({"pullSecrets": {"mode": "cluster"}}, "pullSecrets.mode is cluster"),
        ({"preDeleteHook": {"enabled": False}, "failurePolicy": "Fail"}, "preDeleteHook is off"),
    ],
)
def test_notes_warn_of_what_is_risky(notes: Notes, values: Values, said: str) -> None:
    assert said in notes(values)
    assert said not in notes({})


def test_notes_say_how_to_go_on_and_how_to_stop(notes: Notes) -> None:
    said = notes({})
    steps = ("countersign scan --policy", "enforceIn: [payments]", "--set failurePolicy=Fail --set noMatch=deny")
    assert [said.index(step) for step in steps] == sorted(said.index(step) for step in steps)
    assert "kubectl delete validatingwebhookconfiguration,mutatingwebhookconfiguration countersign" in said
    assert "helm test countersign -n countersign" in said
    assert "Worth a second look" not in said


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"valkey": {"enabled": True}}, "deployment countersign-valkey"),
        ({"sharedCache": {"url": "valkeys://cache.example.com", "existingSecret": "a"}}, "valkeys://cache.example.com"),
    ],
)
def test_notes_say_where_a_cache_is_shared(notes: Notes, values: Values, where: str) -> None:
    assert f"replicas share a cache, which may be lost at any time: {where}\n" in notes(values)
    assert "share a cache" not in notes({})


def test_notes_of_a_safe_installation_warn_of_nothing(notes: Notes) -> None:
    said = notes({"failurePolicy": "Fail", "noMatch": "deny", "policies": {"a": "b"}})
    assert "Worth a second look" not in said
    assert "Next, towards enforcing" not in said


@pytest.mark.parametrize(("kubernetes", "warned"), [("1.29", True), ("1.30", False)])
def test_notes_warn_where_guards_cannot_be(notes: Notes, kubernetes: str, warned: bool) -> None:
    assert ("has no ValidatingAdmissionPolicy" in notes({}, kubernetes=kubernetes)) == warned


def test_notes_warn_of_a_namespace_that_is_not_judged(notes: Notes) -> None:
    assert "the namespace default is not judged" in notes({}, namespace="default")
