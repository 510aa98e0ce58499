"""Policies as ConfigMaps: what `kubectl apply` is told, and what becomes of one that goes bad, or loses its key."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e import api, install
from tests.e2e.conftest import Shelf
from tests.e2e.install import NAME, REPLICAS, STATUS, TRUST_SECRET, policy_configmap, wait_until
from tests.e2e.pods import pod
from tests.e2e.signing import Key

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("by", ["inside"], indirect=True)]

HERE = "--namespace=inside"
READ = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8080/{}').read().decode())"


@pytest.fixture
def draft(cluster: Cluster, namespace: str) -> Iterator[str]:
    """The name of a ConfigMap that a test applies, and that is gone afterwards."""
    yield "draft"
    cluster.kubectl("delete", "configmap", "draft", "--ignore-not-found", HERE)


TEXT = """\
apiVersion: countersign.dev/v1
kind: TrustPolicy
metadata:
  name: draft
spec:
  mode: enforce
  namespaces:
    include: [nowhere]
  exemptRegistries:
    - registry.test/addons
"""


@dataclass(frozen=True, slots=True)
class Mistake:
    """`TEXT` with `wrong` in the place of `right`, and where `kubectl apply` says that it is."""

    name: str
    right: str
    wrong: str
    told: tuple[str, ...]


MISTAKES = (
    Mistake("field", "exemptRegistries", "exemptRegistry", ("draft.yaml:9:3: spec.exemptRegistry: unknown field",)),
    Mistake("value", "enforce", "always", ("draft.yaml:6:3: spec.mode: 'enforce' or 'warn' expected",)),
    Mistake("yaml", "[nowhere]", "[nowhere", ("draft.yaml:9:",)),
    Mistake("second-document", "addons", f"addons\n---\n{TEXT}    - x y", ("draft.yaml:22:", "'draft'")),
    Mistake(
        "two", "mode: enforce\n  namespaces", "mode: always\n  namespace", ("draft.yaml:6:3: ", "draft.yaml:7:3: ")
    ),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_told_where_it_is_applied(cluster: Cluster, draft: str, mistake: Mistake) -> None:
    said = cluster.apply(policy_configmap(draft, TEXT.replace(mistake.right, mistake.wrong)), check=False)
    assert said.returncode == 1
    assert 'admission webhook "policies.countersign.dev" denied the request' in said.stderr
    assert [where for where in mistake.told if where not in said.stderr] == []


def test_without_one_it_is_taken_and_its_status_says_so(cluster: Cluster, draft: str) -> None:
    cluster.apply(policy_configmap(draft, TEXT))
    wait_until(functools.partial(_status_says, cluster, draft, '"inForce":"this"'), "the policy is in force")


def test_a_policy_that_is_not_the_last_goes_without_a_warning(cluster: Cluster, draft: str) -> None:
    """The last one is in docs/tour.md."""
    cluster.apply(policy_configmap(draft, TEXT))
    deleted = cluster.kubectl("delete", "configmap", draft, HERE)
    assert "Warning" not in deleted.stderr


def test_the_last_good_version_outlives_all_replicas(
    cluster: Cluster, shelf: Shelf, keys: dict[str, Key], namespace: str, draft: str
) -> None:
    """While nobody could be asked, a bad text got in; replicas that never saw the good one have it all the same."""
    good = install.policy("draft", {"stranger": keys["stranger"].pem}, namespaces={"include": [namespace]})
    cluster.apply(policy_configmap(draft, good))
    wait_until(functools.partial(_status_says, cluster, draft, '"inForce":"this"'), "the policy is in force")

    cluster.kubectl("scale", f"deployment/{NAME}", "--replicas=0", HERE)
    cluster.kubectl("wait", "--for=delete", "pods", REPLICAS, "--timeout=240s", HERE)
    cluster.apply(policy_configmap(draft, good.replace('"spec"', '"spek"')))
    cluster.kubectl("scale", f"deployment/{NAME}", "--replicas=2", HERE)
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=240s", HERE)

    wait_until(functools.partial(_status_says, cluster, draft, '"inForce":"last good"'), "its status says so")
    assert _status_says(cluster, draft, "draft.yaml:1:")
    about = ("get", "events", f"--field-selector=involvedObject.name={draft},reason=PolicyInvalid", HERE)
    wait_until(lambda: "draft.yaml:1:" in cluster.kubectl(*about).stdout, "an Event says so")
    assert "configmap/draft" in _read(cluster, "readyz?verbose")
    assert "countersign_policy_errors 1.0" in _read(cluster, "metrics").splitlines()
    run = ("run", "app", f"--image={shelf.legacy.tagged}", "--dry-run=server", f"--namespace={namespace}")
    wait_until(lambda: 'policy "draft"' in cluster.kubectl(*run, check=False).stderr, "it is in force")

    cluster.apply(policy_configmap(draft, good))
    wait_until(functools.partial(_status_says, cluster, draft, '"inForce":"this"'), "it is repaired")


def test_a_key_that_goes_takes_its_signatures_along(
    cluster: Cluster, shelf: Shelf, keys: dict[str, Key], namespace: str, draft: str
) -> None:
    source = {"name": "elsewhere", "secret": {"name": TRUST_SECRET}}
    policy = install.policy("draft", {}, trustedKeys=[source], namespaces={"include": [namespace]})
    cluster.apply(policy_configmap(draft, policy))
    create = ("create", "secret", "generic", TRUST_SECRET, f"--from-file=cosign.pub={keys['release'].public}", HERE)
    cluster.kubectl(*create)
    signed = pod("app", shelf.legacy.pinned, namespace=namespace)
    with api.connect(cluster, connections=1) as server:  # kubectl would come back ten times
        wait_until(lambda: server.create(signed, dry_run=True).code == 201, "the key is there")
        cluster.kubectl("delete", "secret", TRUST_SECRET, HERE)
        wait_until(lambda: server.create(signed, dry_run=True).code == 503, "the key is gone")
        said = server.create(signed, dry_run=True)
    assert (said.code, "trust_unavailable" in said.message) == (503, True)


def _status_says(cluster: Cluster, name: str, text: str) -> bool:
    status = f"--output=jsonpath={{.metadata.annotations.{STATUS}}}"
    return text in cluster.kubectl("get", "configmap", name, HERE, status).stdout


def _read(cluster: Cluster, path: str) -> str:
    """What one of the replicas answers."""
    return cluster.kubectl("exec", f"deployment/{NAME}", HERE, "--", "python", "-c", READ.format(path)).stdout
