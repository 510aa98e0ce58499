"""The container image that the Dockerfile makes: what is in it, what is not, and that it runs with nothing granted."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import conftest
from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.cluster

OWN_LAYERS_MAX_BYTES = 140_000_000  # uncompressed, without those of the base image
# Looks around and tries to write, as whoever has broken into the process would.
PROBE = """
import importlib.util, json, os, pathlib, shutil, sys
import boto3
import webhook.errors
import webhook.cosign.crosscheck, webhook.trust.tuf  # what is imported last, or elsewhere, is there too
import webhook.kube.client
from webhook.policy import cel

def writes(directory):
    try:
        (pathlib.Path(directory) / "x").touch()
        return True
    except OSError:
        return False

AT = "2026-11-21T12:00:00Z"
CONDITION = "timestamp(predicate.at).getFullYear() == 2026 && predicate.by.all(one, one.matches('^c[a-z]$'))"
installers = ["pip", "ensurepip", "setuptools", "pkg_resources", "wheel"]
SERVICES = ["ecr", "ecr-public", "kms", "signer-data", "sns", "sts"]
programs = ["pip", "pip3", "cc", "gcc", "c99", "ld", "make", "git"]
print(json.dumps({
    "user": os.getuid(),
    "installers": [name for name in installers if importlib.util.find_spec(name)],
    "programs": [name for name in programs if shutil.which(name)],
    "writable": [path for path in ["/", "/opt/countersign", "/etc", "/tmp", "/var/tmp"] if writes(path)],
    "prefix": sys.prefix,
    "compiled": pathlib.Path(webhook.errors.__cached__).exists() and pathlib.Path(json.__cached__).exists(),
    "condition": cel.compile_text(CONDITION).evaluate({"predicate": {"at": AT, "by": ["ci"]}}),
    "extensions": importlib.util.find_spec("cel_expr_python.ext") is not None,
    "kinds": [name for name in sys.modules if name.startswith("kubernetes") and ".models." in name],
    "classes": importlib.util.find_spec("kubernetes.aio.client.models.v1_pod") is not None,
    "arenas": os.environ["MALLOC_ARENA_MAX"],
    "clients": [boto3.client(name, region_name="us-west-2").meta.endpoint_url for name in SERVICES],
    "services": boto3.session.Session().get_available_services(),
}))
"""


@pytest.fixture(scope="module")
def configuration(image_archive: Path) -> dict[str, Any]:
    """The image's configuration, as an engine reads it."""
    with tarfile.open(image_archive) as archive:
        found: dict[str, Any] = _read(archive, _read(archive, "manifest.json")[0]["Config"])
    return found


@pytest.fixture(scope="module")
def found(cluster: Cluster, image_archive: Path) -> Mapping[str, Any]:
    """What `PROBE` finds."""
    cluster.load(image_archive)
    seen: dict[str, Any] = json.loads(_logs(cluster, "probe", {"command": ["python", "-c", PROBE]}))
    return seen


def test_user_is_a_number_and_not_root(configuration: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    assert configuration["config"]["User"] == "65532:65532"  # kubelet's runAsNonRoot believes numbers only
    assert found["user"] == 65532


def test_nothing_in_it_installs_or_compiles(found: Mapping[str, Any]) -> None:
    assert (found["installers"], found["programs"]) == ([], [])


def test_nothing_in_it_can_be_written(found: Mapping[str, Any]) -> None:
    assert found["writable"] == []


def test_it_runs_its_own_environment_from_bytecode(found: Mapping[str, Any]) -> None:
    assert found["prefix"] == "/opt/countersign"
    assert found["compiled"]
    assert found["arenas"] == "2"


def test_conditions_need_none_of_the_extensions_that_are_left_out(found: Mapping[str, Any]) -> None:
    assert (found["condition"], found["extensions"]) == (True, False)


def test_of_aws_it_knows_what_is_called_and_what_hands_out_credentials(found: Mapping[str, Any]) -> None:
    names = ("api.ecr", "api.ecr-public", "kms", "data-signer", "sns", "sts")
    assert found["clients"] == [f"https://{name}.us-west-2.amazonaws.com" for name in names]
    called = ["ecr", "ecr-public", "kms", "signer-data", "sns", "sts"]
    assert sorted(found["services"]) == sorted([*called, "signin", "sso", "sso-oidc"])


def test_of_kubernetes_it_knows_the_api_and_no_class_for_each_kind(found: Mapping[str, Any]) -> None:
    assert (found["kinds"], found["classes"]) == ([], False)


def test_help_is_told_on_a_read_only_root(cluster: Cluster, found: Mapping[str, Any]) -> None:
    assert "Usage: countersign" in _logs(cluster, "help", {"args": ["--help"]})


def test_configuration_names_entry_ports_and_health_check(configuration: Mapping[str, Any]) -> None:
    config = configuration["config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["countersign"], ["serve"])
    assert set(config["ExposedPorts"]) == {"9443/tcp", "8080/tcp"}
    assert "127.0.0.1:8080/healthz" in config["Healthcheck"]["Test"][-1]
    assert config["Labels"]["org.opencontainers.image.title"] == "countersign"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_layers_of_its_own_are_small(image_archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = (conftest.TOOLS / "images/python.tar").stat().st_size
    whole = image_archive.stat().st_size
    with capsys.disabled():
        print(f"\n  image: {whole / 1e6:.0f} MB, {(whole - base) / 1e6:.0f} MB of it upon the base image")
    assert whole - base < OWN_LAYERS_MAX_BYTES


def _logs(cluster: Cluster, name: str, program: Mapping[str, Any]) -> str:
    """What `program` writes in a pod of the image, which has the least rights that a pod can have."""
    rights = {
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "main", "image": conftest.IMAGE, "imagePullPolicy": "Never", "securityContext": rights, **program
    }  # fmt: skip
    spec = {"restartPolicy": "Never", "containers": [container]}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    ended = "--for=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=0"
    cluster.kubectl("wait", ended, f"pod/{name}", "--timeout=30s", check=False)
    return cluster.kubectl("logs", name).stdout


def _read(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None  # it is a regular file
    return json.load(file)
