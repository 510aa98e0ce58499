"""The patch that pins: which images of a Pod it may touch, what it writes, and that it writes nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.serving import review
from webhook import settings
from webhook.admission.review import parse
from webhook.errors import MalformedError
from webhook.kube import pin
from webhook.kube.workload import Image, Owner, Request
from webhook.oci import reference
from webhook.oci.reference import Digest

DIGEST = Digest("sha256", "ab" * 32)
NODE = {"username": "system:node:n1", "groups": ["system:nodes", "system:authenticated"]}
MIRROR = {"annotations": {"kubernetes.io/config.mirror": "x"}}
LISTS = ("containers", "initContainers", "ephemeralContainers", "volumes")


def request(document: Mapping[str, Any]) -> Request:
    return parse(json.dumps(document).encode(), max_images=500)


def applied(operations: Sequence[Mapping[str, str]], pod: Mapping[str, Any]) -> dict[str, Any]:
    """The object after the patch, by RFC 6902 4.3: the target must exist."""
    patched: dict[str, Any] = copy.deepcopy(dict(pod))
    for operation in operations:
        assert operation["op"] == "replace"
        *parents, last = operation["path"].removeprefix("/").split("/")
        target: Any = patched
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        assert last in target
        target[last] = operation["value"]
    return patched


def pinned(document: Mapping[str, Any]) -> dict[str, Any]:
    """The object of a review, every image that may be patched having got `DIGEST`."""
    images = pin.patchable(request(document))
    digests = {image.text: DIGEST for image in images if _has_tag(image.text)}
    return applied(pin.patch(images, digests), document["request"]["object"])


def _has_tag(text: str) -> bool:
    try:
        return reference.parse(text).digest is None
    except MalformedError:
        return False


WRITTEN = {
    "name": "nginx",
    "tag": "nginx:1.27",
    "path": "ghcr.io/acme/shop:1",
    "port": "registry.example.com:5000/shop",
    "64-hex-tag": f"nginx:{'ab' * 32}",
    "upper-case-host": "GHCR.IO/acme/shop:V1",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_the_text_is_kept_and_the_digest_follows(text: str) -> None:
    written = pin.with_digest(text, DIGEST)
    before, after = reference.parse(text), reference.parse(written)
    assert written.startswith(text)
    assert (after.repository, after.digest) == (before.repository, DIGEST)


def spec_of(**lists: list[dict[str, Any]]) -> dict[str, Any]:
    return {"metadata": {"generateName": "shop-"}, "spec": {"containers": [{"name": "c", "image": "c:1"}], **lists}}


def test_each_place_of_a_pod_is_replaced() -> None:
    pod = spec_of(
        initContainers=[{"name": "i", "image": "i:1"}, {"name": "j", "image": "c:1"}],
        ephemeralContainers=[{"name": "e", "image": "e:1"}],
        volumes=[{"name": "d", "emptyDir": {}}, {"name": "v", "image": {"reference": "v:1"}}],
    )
    images = pin.patchable(request(review(object=pod, name="")))
    operations = pin.patch(images, {image.text: DIGEST for image in images})
    assert {operation["path"]: operation["value"] for operation in operations} == {
        "/spec/containers/0/image": f"c:1@{DIGEST}",
        "/spec/initContainers/0/image": f"i:1@{DIGEST}",
        "/spec/initContainers/1/image": f"c:1@{DIGEST}",
        "/spec/ephemeralContainers/0/image": f"e:1@{DIGEST}",
        "/spec/volumes/1/image/reference": f"v:1@{DIGEST}",
    }


def test_containers_of_one_name_are_each_replaced() -> None:
    pod = spec_of(containers=[{"name": "c", "image": "c:1"}, {"name": "c", "image": "c:2"}, {"name": "", "image": ""}])
    images = pin.patchable(request(review(object=pod)))
    operations = pin.patch(images, {"c:1": DIGEST, "c:2": DIGEST})
    assert [operation["path"] for operation in operations] == ["/spec/containers/0/image", "/spec/containers/1/image"]


OLD = spec_of(volumes=[{"name": "v", "image": {"reference": "v:1"}}])
NEW = spec_of(
    containers=[{"name": "c", "image": "c:1"}, {"name": "new", "image": "n:1"}],
    volumes=[{"name": "v", "image": {"reference": "v:2"}}],
)
PATCHABLE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "create": ({"object": NEW}, ["c:1", "n:1", "v:2"]),
    "create-with-an-old-object": ({"object": NEW, "oldObject": OLD}, ["c:1", "n:1", "v:2"]),
    "update": ({"object": NEW, "oldObject": OLD, "operation": "UPDATE"}, ["n:1"]),
    "update-of-nothing": ({"object": OLD, "oldObject": OLD, "operation": "UPDATE"}, []),
    "ephemeral": (
        {"object": {**OLD, "spec": {**OLD["spec"], "ephemeralContainers": [{"name": "e", "image": "e:1"}]}},
         "oldObject": OLD, "operation": "UPDATE", "subResource": "ephemeralcontainers"},
        ["e:1"],
    ),
    "mirror": ({"object": {"metadata": MIRROR, "spec": {**OLD["spec"], "nodeName": "n1"}}, "userInfo": NODE}, []),
    "forged-mirror": ({"object": {"metadata": MIRROR, "spec": {**OLD["spec"], "nodeName": "n1"}}}, ["c:1", "v:1"]),
    "binding": ({"object": {}, "subResource": "binding"}, []),
    "delete": ({"object": None, "oldObject": OLD, "operation": "DELETE"}, []),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), PATCHABLE.values(), ids=PATCHABLE)
def test_what_may_be_patched(fields: dict[str, Any], expected: list[str]) -> None:
    assert [image.text for image in pin.patchable(request(review(**fields)))] == expected


def test_a_template_keeps_its_tags() -> None:
    template = Image("spec.template.spec.containers[0]", "c", "c:1")
    of_pod = request(review("c:1"))
    deployment = Request("u", "CREATE", "shop", "apps", "deployments", "", "Deployment", "shop", "jane", False,
                         images=(template,), unchanged=())  # fmt: skip
    assert pin.patchable(of_pod)
    assert not pin.patchable(deployment)


CLUSTER = Owner("postgresql.cnpg.io/v1", "Cluster", "db", "u1")
EXCLUDED: dict[str, tuple[settings.Pin, Owner | None, bool]] = {
    "nothing": (settings.Pin(), CLUSTER, False),
    "namespace": (settings.Pin(exclude_namespaces=("shop",)), None, True),
    "another-namespace": (settings.Pin(exclude_namespaces=("shop-2", "sho")), None, False),
    "owner": (settings.Pin(exclude_owners=("Cluster.postgresql.cnpg.io",)), CLUSTER, True),
    "owner-of-another-version": (
        settings.Pin(exclude_owners=("Cluster.postgresql.cnpg.io",)),
        Owner("postgresql.cnpg.io/v2", "Cluster", "db", "u1"),
        True,
    ),
    "owner-of-another-group": (
        settings.Pin(exclude_owners=("Cluster.postgresql.cnpg.io",)),
        Owner("postgresql.cnpg.io.example/v1", "Cluster", "db", "u1"),
        False,
    ),
    "kind-in-another-case": (settings.Pin(exclude_owners=("cluster.postgresql.cnpg.io",)), CLUSTER, False),
    "core": (
        settings.Pin(exclude_owners=("ReplicationController",)), Owner("v1", "ReplicationController", "r", "u"), True,
    ),
    "no-owner": (settings.Pin(exclude_owners=("Cluster.postgresql.cnpg.io", "")), None, False),
}  # fmt: skip


@pytest.mark.parametrize(("configured", "owner", "expected"), EXCLUDED.values(), ids=EXCLUDED)
def test_whose_pods_are_left_alone(configured: settings.Pin, owner: Owner | None, expected: bool) -> None:
    references = []
    if owner is not None:
        named = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
        references = [{**named, "controller": True}]
    pod = {"metadata": {"ownerReferences": references}, "spec": OLD["spec"]}
    assert pin.is_excluded(request(review(object=pod)), configured) is expected


texts = st.sampled_from(["nginx", "a/b:1", f"a@{DIGEST}", f"a:1@{DIGEST}", "", "A/B", "a b", "ñ", "\x00", "ab" * 32])
entry = st.fixed_dictionaries({"name": st.sampled_from(["a", "b", "", "ü"]), "image": texts})
volume = st.one_of(
    st.just({"name": "d", "emptyDir": {}}),
    st.fixed_dictionaries({"name": st.just("v"), "image": st.fixed_dictionaries({"reference": texts})}),
)
pods = st.builds(
    lambda containers, init, ephemeral, volumes: {
        "metadata": {"name": "shop", "annotations": {"image": "nginx"}},
        "spec": {
            "containers": containers,
            "initContainers": init,
            "ephemeralContainers": ephemeral,
            "volumes": volumes,
            "hostname": "nginx",
        },
    },
    st.lists(entry, min_size=1, max_size=4),
    st.lists(entry, max_size=3),
    st.lists(entry, max_size=2),
    st.lists(volume, max_size=3),
)


def without_images(pod: Mapping[str, Any]) -> dict[str, Any]:
    stripped: dict[str, Any] = copy.deepcopy(dict(pod))
    for listed in LISTS:
        for one in stripped["spec"][listed]:
            one.pop("image", None)
    return stripped


@given(pods, st.sampled_from(["CREATE", "UPDATE"]))
def test_twice_is_once_and_only_images_change(pod: dict[str, Any], operation: str) -> None:
    once = pinned(review(object=pod, oldObject=OLD, operation=operation))
    assert without_images(once) == without_images(pod)
    again = review(object=once, oldObject=OLD, operation=operation)
    assert pinned(again) == once
