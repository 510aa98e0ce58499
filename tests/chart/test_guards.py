"""The guards on a real API server: who may write policies and trust material, run pods beside the webhook, opt out.

No right is ever wanting, so that what is refused was refused by a guard; whoever asks is impersonated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chart.releases import Release
from tests.chart.rendering import Object
from tests.conftest import API_SERVER
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.kube.apiserver import Server

pytestmark = pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART)

ACTIVE_SECONDS = 30.0  # until the API server has compiled a policy that was just created
CONTROLLER = "system:serviceaccount:kube-system:replicaset-controller"
GUARDED = "guarded"
REFUSED = (  # by each of the guards
    ("create", "configmap", "probe"),
    ("run", "probe", "--image=a"),
    ("label", "namespace", "opted-in", "countersign.dev/enforce-"),
)


@pytest.fixture(scope="module")
def guarded(api_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Somebody does something in a namespace that is guarded; what the API server said of it."""
    namespace = api_server.namespace(GUARDED)
    release = Release(api_server, tmp_path_factory.mktemp("guarded"), "helm", namespace, release=GUARDED)
    values = {
        "policyWriters": ["platform", "system:serviceaccount:argocd:argocd"],
        "trustSecrets": ["release-key"],
        "guards": {"podCreators": ["system:serviceaccount:mesh:injector"]},
        "selector": {"mode": "optIn"},
    }
    release("install", values=values)
    everybody = [{"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"}]
    rules = [{"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["*"]}]
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "all-but-guards"}}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all-but-guards"}
    api_server.apply(
        {**head, "kind": "ClusterRole", "rules": rules},
        {**head, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": everybody},
        secret("release-key"),
        {"apiVersion": "v1", "kind": "Namespace",
         "metadata": {"name": "opted-in", "labels": {"countersign.dev/enforce": "true"}}},
    )  # fmt: skip

    def does(*args: str, who: str = "dev", groups: tuple[str, ...] = ()) -> str:
        identity = [f"--as={who}", *(f"--as-group={group}" for group in (*groups, "system:authenticated"))]
        return api_server.kubectl(f"-n={namespace}", *args, *identity, check=False).stderr

    deadline = time.monotonic() + ACTIVE_SECONDS
    while not all("denied request" in does(*act, "--dry-run=server") for act in REFUSED):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield does
    release("uninstall", "--no-hooks")
    api_server.kubectl("delete", "clusterrole/all-but-guards", "clusterrolebinding/all-but-guards")


def secret(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": GUARDED}}


OWN = f"system:serviceaccount:{GUARDED}:guarded-countersign"
MERGE = "--type=merge"
POLICIES, LAST_GOOD, CA = "guarded-countersign-policies", "guarded-countersign-last-good", "guarded-countersign-ca"
STATUS = '{"metadata":{"annotations":{"countersign.dev/status":"{}"}}}'
CHANGED = '{"data":{"starter.yaml":"a: 1"}}'
DATA = '{"data":{"a":"YQ=="}}'
DENIED, DONE = True, False


@pytest.mark.parametrize(
    ("who", "groups", "act", "denied"),
    [
        ("dev", (), ("create", "configmap", "theirs"), DENIED),
        ("dev", ("platform",), ("create", "configmap", "theirs"), DONE),
        ("dev", ("platform-team",), ("create", "configmap", "theirs"), DENIED),
        ("platform", (), ("create", "configmap", "theirs"), DONE),  # a user of that name is as good
        ("system:serviceaccount:argocd:argocd", (), ("create", "configmap", "theirs"), DONE),
        ("system:serviceaccount:argocd:other", (), ("create", "configmap", "theirs"), DENIED),
        ("dev", (), ("patch", "configmap", POLICIES, MERGE, "-p", CHANGED), DENIED),
        ("dev", (), ("patch", "configmap", POLICIES, MERGE, "-p", STATUS), DENIED),
        ("dev", (), ("delete", "configmap", POLICIES), DENIED),
        ("dev", (), ("delete", "configmap", "--all"), DENIED),
        ("dev", ("platform",), ("patch", "configmap", POLICIES, MERGE, "-p", CHANGED), DONE),
        ("dev", ("platform",), ("delete", "configmap", POLICIES), DONE),
        ("dev", (), ("patch", "configmap", LAST_GOOD, MERGE, "-p", DATA), DENIED),
        ("dev", (), ("patch", "secret", CA, MERGE, "-p", DATA), DENIED),
        ("dev", (), ("delete", "secret", CA), DENIED),
        ("dev", (), ("patch", "secret", "release-key", MERGE, "-p", DATA), DENIED),
        ("dev", ("platform",), ("patch", "secret", "release-key", MERGE, "-p", DATA), DONE),
        ("dev", (), ("create", "secret", "generic", "theirs"), DONE),  # no trust material
        ("dev", (), ("create", "configmap", "kube-root-ca.crt"), DONE),  # others put it there
        ("system:serviceaccount:kube-system:namespace-controller", (), ("delete", "configmap", POLICIES), DONE),
        ("system:serviceaccount:kube-systems:namespace-controller", (), ("delete", "configmap", POLICIES), DENIED),
        (OWN, (), ("patch", "configmap", POLICIES, MERGE, "-p", STATUS), DONE),
        (OWN, (), ("patch", "configmap", POLICIES, MERGE, "-p", CHANGED), DENIED),
        (OWN, (), ("label", "configmap", POLICIES, "countersign.dev/policy-"), DENIED),
        (OWN, (), ("delete", "configmap", POLICIES), DENIED),
        (OWN, (), ("create", "configmap", "theirs"), DENIED),
        (OWN, (), ("patch", "configmap", LAST_GOOD, MERGE, "-p", DATA), DONE),
        (OWN, (), ("delete", "configmap", LAST_GOOD), DENIED),
        (OWN, (), ("patch", "secret", CA, MERGE, "-p", DATA), DONE),
        (OWN, (), ("patch", "secret", "release-key", MERGE, "-p", DATA), DENIED),
        ("root", ("system:masters",), ("delete", "configmap", POLICIES), DONE),  # who may change the guard
    ],
    ids=lambda part: part[1] if isinstance(part, tuple) and len(part) > 1 else None,
)
def test_policies_and_trust_material_are_written_by_whom_the_guard_lets(
    guarded: Callable[..., str], who: str, groups: tuple[str, ...], act: tuple[str, ...], denied: bool
) -> None:
    said = guarded(*act, "--dry-run=server", who=who, groups=groups)
    assert ("denied request" in said) == denied, said
    assert denied or not said.strip() or said.startswith("Warning")


POLICY, EXTRACTORS = "countersign.dev/policy", "countersign.dev/extractors"


@pytest.mark.parametrize(
    ("labels", "act", "denied"),
    [
        ({}, ("patch", MERGE, "-p", CHANGED), DONE),
        ({}, ("label", "team=mesh"), DONE),
        ({}, ("label", f"{POLICY}=true"), DENIED),
        ({}, ("label", f"{EXTRACTORS}=true"), DENIED),
        ({POLICY: "true"}, ("patch", MERGE, "-p", CHANGED), DENIED),
        ({POLICY: "true"}, ("label", f"{POLICY}-"), DENIED),
        ({POLICY: "true"}, ("delete",), DENIED),
        ({POLICY: "false"}, ("delete",), DONE),
    ],
)
def test_what_anybody_may_write_holds_no_policies(
    guarded: Callable[..., str], api_server: Server, labels: dict[str, str], act: tuple[str, ...], denied: bool
) -> None:
    metadata = {"name": "istio-ca-root-cert", "namespace": GUARDED, "labels": labels}
    api_server.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    said = guarded(act[0], "configmap", "istio-ca-root-cert", *act[1:], "--dry-run=server")
    api_server.kubectl("delete", "configmap", "istio-ca-root-cert", f"-n={GUARDED}")
    assert ("denied request" in said) == denied, said


@pytest.mark.parametrize(
    ("who", "groups", "denied"),
    [
        ("dev", (), DENIED),
        ("dev", ("platform",), DENIED),
        (CONTROLLER, (), DONE),
        ("system:kube-controller-manager", (), DONE),
        ("system:serviceaccount:mesh:injector", (), DONE),
        ("system:serviceaccount:kube-system-2:replicaset-controller", (), DENIED),
        (OWN, (), DENIED),
        ("root", ("system:masters",), DONE),
    ],
)
@pytest.mark.parametrize(
    "act",
    [
        ("run", "theirs", "--image=a"),
        ("create", "deployment", "theirs", "--image=a"),
        ("create", "job", "theirs", "--image=a"),
        ("create", "cronjob", "theirs", "--image=a", "--schedule=@daily"),
        ("patch", "deployment", "guarded-countersign", "-p", '{"spec":{"template":{"metadata":{"labels":{"a":"b"}}}}}'),
    ],
    ids=lambda act: " ".join(act[:2]),
)
def test_what_runs_pods_is_created_by_whom_the_guard_lets(
    guarded: Callable[..., str], act: tuple[str, ...], who: str, groups: tuple[str, ...], denied: bool
) -> None:
    said = guarded(*act, "--dry-run=server", who=who, groups=groups)
    assert ("denied request" in said) == denied, said
    assert not denied or "no image is judged in the namespace guarded" in said


def test_nobody_slips_into_a_pod_that_runs(guarded: Callable[..., str], api_server: Server) -> None:
    spec = {"containers": [{"name": "a", "image": "a"}]}
    metadata = {"name": "one", "namespace": GUARDED}
    api_server.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    act = ("debug", "one", "--image=b", "--attach=false")
    assert "denied request" in guarded(*act)
    assert "denied request" not in guarded(*act, who="root", groups=("system:masters",))
    api_server.kubectl("delete", "pod/one", f"-n={GUARDED}", "--force", "--grace-period=0")


@pytest.mark.parametrize(
    ("who", "groups", "act", "denied"),
    [
        ("dev", (), "countersign.dev/enforce-", DENIED),
        ("dev", (), "countersign.dev/enforce=false", DENIED),
        ("dev", (), "team=dev", DONE),
        ("dev", ("platform",), "countersign.dev/enforce-", DONE),
        (CONTROLLER, (), "countersign.dev/enforce-", DENIED),
    ],
)
def test_a_namespace_that_opted_in_stays_so(
    guarded: Callable[..., str], who: str, groups: tuple[str, ...], act: str, denied: bool
) -> None:
    said = guarded("label", "ns", "opted-in", act, "--overwrite", "--dry-run=server", who=who, groups=groups)
    assert ("denied request" in said) == denied, said


OPTED_OUT = '{"metadata":{"labels":{"countersign.dev/enforce":null}}}'


def test_nor_by_way_of_its_status(guarded: Callable[..., str]) -> None:
    """Who may write the status of a namespace writes its labels too."""
    act = ("patch", "ns", "opted-in", "--subresource=status", MERGE, "-p")
    assert "a namespace that is judged stays so" in guarded(*act, OPTED_OUT, "--dry-run=server")
    assert not guarded(*act, OPTED_OUT, "--dry-run=server", groups=("platform",))
    assert not guarded(*act, '{"metadata":{"labels":{"team":"dev"}}}', "--dry-run=server")


def test_nor_by_way_of_its_finalizers(guarded: Callable[..., str], api_server: Server, tmp_path: Path) -> None:
    found = json.loads(api_server.kubectl("get", "ns", "opted-in", "-o=json").stdout)
    del found["metadata"]["labels"]["countersign.dev/enforce"]
    path = tmp_path / "namespace.json"
    path.write_text(json.dumps(found))
    raw = ("replace", "--raw=/api/v1/namespaces/opted-in/finalize?dryRun=All", f"--filename={path}")
    assert "a namespace that is judged stays so" in guarded(*raw)
    assert not guarded(*raw, groups=("platform",))


def test_other_namespaces_are_nobody_s_business(guarded: Callable[..., str], api_server: Server) -> None:
    namespace = api_server.namespace("unguarded")
    for act in (("create", "configmap", "theirs"), ("run", "theirs", "--image=a")):
        assert not guarded(*act, f"--namespace={namespace}", "--dry-run=server")
