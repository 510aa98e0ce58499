"""The chart as the real Helm renders it: objects by kind and name, or the words with which values are refused."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT, TOOLS

CHART = ROOT / "charts/countersign"
CI = sorted((CHART / "ci").glob("*.yaml"))
RELEASE, NAMESPACE = "countersign", "countersign"
KUBERNETES = "1.36"
MONITORING = "monitoring.coreos.com/v1"  # an API that a cluster may have

Object = Mapping[str, Any]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Every object, in the order in which Helm wrote it."""

    objects: tuple[Object, ...]

    def all(self, kind: str) -> tuple[Object, ...]:
        return tuple(found for found in self.objects if found["kind"] == kind)

    def one(self, kind: str, name: str = "") -> Object:
        """The only object of `kind`, or the one called `name`."""
        [found] = [found for found in self.all(kind) if not name or found["metadata"]["name"] == name]
        return found

    @property
    def pod(self) -> Object:
        """The pod's template in the webhook's Deployment."""
        return self._template("webhook")

    @property
    def cache_pod(self) -> Object:
        """The pod's template in the Deployment of the cache that replicas share."""
        return self._template("cache")

    @property
    def container(self) -> Object:
        [container] = self.pod["spec"]["containers"]
        found: Object = container
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with a value of their own."""
        return {one["name"]: one["value"] for one in self.container["env"] if "value" in one}

    def secret(self, name: str) -> dict[str, bytes]:
        """What lies in the Secret of that name, by key."""
        return {key: base64.b64decode(value) for key, value in self.one("Secret", name)["data"].items()}

    def entry(self, name: str) -> Object:
        """The webhook `name.countersign.dev`, of either configuration."""
        configurations = (*self.all("ValidatingWebhookConfiguration"), *self.all("MutatingWebhookConfiguration"))
        listed = [entry for one in configurations for entry in one["webhooks"]]
        [found] = [entry for entry in listed if entry["name"] == f"{name}.countersign.dev"]
        return dict(found)

    def _template(self, component: str) -> Object:
        templates = [found["spec"]["template"] for found in self.all("Deployment")]
        [found] = [one for one in templates if one["metadata"]["labels"]["app.kubernetes.io/component"] == component]
        template: Object = found
        return template


def render(
    values: Values | None = None,
    *,
    chart: Path = CHART,
    file: Path | None = None,
    kubernetes: str = KUBERNETES,
    helm: str = "helm",
    apis: Sequence[str] = (),
    release: str = RELEASE,
    namespace: str = NAMESPACE,
) -> Rendered:
    """What the chart makes of `values`, over those of `file`, for a cluster that has `apis` besides its own."""
    options = [f"--namespace={namespace}", f"--kube-version={kubernetes}", *(f"--api-versions={api}" for api in apis)]
    files = [f"--values={file}"] if file else []
    done = run(helm, "template", release, chart, *options, *files, "--values=-", stdin=json.dumps(values or {}))
    assert done.returncode == 0, done.stderr
    return Rendered(tuple(found for found in yaml.safe_load_all(done.stdout) if found))


def refusal(values: Values, *, helm: str = "helm") -> str:
    """The words with which the chart refuses `values`."""
    options = [f"--kube-version={KUBERNETES}", "--values=-"]
    done = run(helm, "template", RELEASE, CHART, *options, stdin=json.dumps(values))
    assert done.returncode != 0, f"accepted: {values}"
    return done.stderr


def run(
    helm: str, *args: str | Path, stdin: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What Helm wrote and returned."""
    return subprocess.run(
        [TOOLS / "bin" / helm, *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(environment or {})},
    )
