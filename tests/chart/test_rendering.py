"""What holds for every rendering of the chart, by both Helms, for every Kubernetes, with each of `ci/*-values.yaml`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import CHART, CI, MONITORING, Object, Rendered, render, run
from tests.conftest import CHART as TOOLS_OF_CHART

pytestmark = pytest.mark.tools(*TOOLS_OF_CHART)

HELMS = ("helm", "helm4")
KUBERNETES = tuple(f"1.{minor}" for minor in range(28, 37))
GUARDED = KUBERNETES[2:]  # ValidatingAdmissionPolicy is v1 from 1.30 on
CLUSTER_WIDE = {
    "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
}  # fmt: skip
WRITTEN_BY_US = ("countersign-last-good", "countersign-ca")


@pytest.fixture(scope="module", params=CI, ids=lambda path: path.name)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def rendered(file: Path) -> Rendered:
    return render(file=file, apis=[MONITORING])


@pytest.mark.parametrize("helm", HELMS)
def test_lint_finds_nothing(file: Path, helm: str) -> None:
    done = run(helm, "lint", "--strict", "--kube-version=1.36", CHART, "--values", file)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_both_helms_make_the_same_objects(file: Path) -> None:
    three, four = (render(file=file, apis=[MONITORING], helm=helm).objects for helm in HELMS)
    assert sorted(map(json.dumps, three)) == sorted(map(json.dumps, four))


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_every_kubernetes_gets_what_it_knows(file: Path, kubernetes: str) -> None:
    rendered = render(file=file, kubernetes=kubernetes)
    guards = rendered.all("ValidatingAdmissionPolicy")
    assert not guards or kubernetes in GUARDED
    assert len(guards) == len(rendered.all("ValidatingAdmissionPolicyBinding"))
    assert "matchConditions" in rendered.entry("pods")


def test_an_older_kubernetes_is_refused() -> None:
    done = run("helm", "template", CHART, "--kube-version=1.27.9")
    assert done.returncode != 0
    assert "incompatible with Kubernetes v1.27.9" in done.stderr


def test_every_object_is_named_and_labelled(rendered: Rendered) -> None:
    for found in rendered.objects:
        metadata = found["metadata"]
        assert metadata["name"].startswith("countersign")
        assert ("namespace" in metadata) == (found["kind"] not in CLUSTER_WIDE)
        assert {
            "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version",
            "app.kubernetes.io/component", "app.kubernetes.io/part-of", "app.kubernetes.io/managed-by", "helm.sh/chart",
        } <= set(metadata["labels"])  # fmt: skip


def test_no_object_is_rendered_twice(rendered: Rendered) -> None:
    names = [
        (found["kind"], found["metadata"]["name"], found["metadata"].get("namespace")) for found in rendered.objects
    ]
    assert len(set(names)) == len(names)


def test_selectors_can_stay_as_they_are(rendered: Rendered) -> None:
    for deployment in rendered.all("Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert set(selector) == {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        assert rendered.one("Service", deployment["metadata"]["name"])["spec"]["selector"] == selector


def test_no_certificate_and_no_key_is_made_while_rendering(rendered: Rendered) -> None:
    for found in rendered.objects:
        if found["metadata"]["name"] in WRITTEN_BY_US:
            assert not {"data", "stringData", "binaryData"} & set(found)
    assert not [found for found in rendered.all("Secret") if "data" in found]


def test_a_bundle_of_authorities_is_rendered_only_where_it_is_given(rendered: Rendered, file: Path) -> None:
    entries = list(_entries(rendered))
    bundles = [entry["clientConfig"].get("caBundle") for entry in entries]
    assert all(bundles) if file.name == "provided-values.yaml" else not any(bundles)


def test_rendering_is_the_same_again(rendered: Rendered, file: Path) -> None:
    assert render(file=file, apis=[MONITORING]).objects == rendered.objects


def test_every_pod_is_restricted_and_has_an_end(rendered: Rendered) -> None:
    for spec in _pod_specs(rendered):
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"]["limits"].keys() == {"memory"}
        mounted = {volume["name"]: volume.get("emptyDir") for volume in spec["volumes"]}
        assert mounted["tmp"]["medium"] == "Memory"
        assert mounted["tmp"]["sizeLimit"]


def test_all_pods_but_the_cache_s_run_one_image_on_any_architecture(rendered: Rendered) -> None:
    specs = list(_pod_specs(rendered))
    images = {container["image"] for spec in specs for container in spec["containers"]}
    assert len({image for image in images if "/valkey@" not in image}) == 1
    assert all(spec["nodeSelector"]["kubernetes.io/os"] == "linux" for spec in specs)
    assert not any("kubernetes.io/arch" in spec["nodeSelector"] for spec in specs)


def _entries(rendered: Rendered) -> Iterator[dict[str, Any]]:
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        for found in rendered.all(kind):
            yield from found["webhooks"]


def _pod_specs(rendered: Rendered) -> Iterator[Object]:
    for found in rendered.objects:
        match found["kind"]:
            case "Deployment" | "Job":
                yield found["spec"]["template"]["spec"]
            case "Pod":
                yield found["spec"]
