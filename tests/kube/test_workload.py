"""Every place of a Pod that starts an image is found, and only what an update left alone is passed over."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import Code, CountersignError, MalformedError, RejectedError
from webhook.kube import workload
from webhook.kube.workload import Image, Images

Pod = dict[str, Any]  # JSON, as a test writes and changes it

NODE = "ip-10-0-0-1.internal"
NODE_USER = f"system:node:{NODE}"
NODE_GROUPS = ("system:nodes", "system:authenticated")


def container(name: str, image: object) -> Pod:
    return {"name": name, "image": image}


def pod(**spec: object) -> Pod:
    return {"metadata": {"name": "p"}, "spec": {"containers": [container("app", "app:1")], **spec}}


def full() -> Pod:
    return pod(
        initContainers=[container("init", "init:1"), {**container("side", "side:1"), "restartPolicy": "Always"}],
        ephemeralContainers=[container("debug", "debug:1")],
        volumes=[
            {"name": "config", "configMap": {"name": "c"}},
            {"name": "disk", "rbd": {"image": "no-oci-image", "pool": "p"}},
            {"name": "model", "image": {"reference": "model:1", "pullPolicy": "Always"}},
        ],
    )


FULL = (
    Image("spec.containers[0]", "app", "app:1"),
    Image("spec.initContainers[0]", "init", "init:1"),
    Image("spec.initContainers[1]", "side", "side:1"),
    Image("spec.ephemeralContainers[0]", "debug", "debug:1"),
    Image("spec.volumes[2].image", "model", "model:1"),
)


def images_of(
    obj: object,
    old: object = None,
    *,
    operation: str = "CREATE",
    resource: str = "pods",
    subresource: str = "",
    group: str = "",
    max_images: int = 500,
) -> Images:
    return workload.images_of(resource, subresource, operation, obj, old, max_images=max_images, group=group)


def update(obj: object, old: object, *, subresource: str = "") -> Images:
    return images_of(obj, old, operation="UPDATE", subresource=subresource)


def judged(found: Images) -> list[str]:
    return [image.path for image in found.images]


def test_every_place_that_starts_an_image_is_found() -> None:
    assert images_of(full()) == Images(images=FULL)


@pytest.mark.parametrize("subresource", ["", "ephemeralcontainers"])
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_without_an_old_object_everything_is_judged(subresource: str, operation: str) -> None:
    assert images_of(full(), operation=operation, subresource=subresource).images == FULL


def test_a_create_has_no_old_object_whatever_stands_there() -> None:
    assert images_of(full(), full()) == Images(images=FULL)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"metadata": {"labels": {"countersign.dev/skip": "true"}, "annotations": {"countersign.dev/skip": "true"}}},
        {"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": True}]}},
        {"metadata": {"annotations": {workload.MIRROR_ANNOTATION: "x"}}},
        {"metadata": None},
        {"status": {"phase": "Succeeded"}},
    ],
    ids=[
        "deletionTimestamp",
        "labels and annotations",
        "ownerReferences",
        "mirror annotation",
        "no metadata",
        "status",
    ],
)
def test_nothing_that_a_user_may_write_exempts(change: Pod) -> None:
    assert images_of({**full(), **change}).images == FULL


# --- updates -----------------------------------------------------------------------------------------------------


def test_an_update_of_labels_leaves_nothing_to_judge() -> None:
    new = full()
    new["metadata"]["labels"] = {"a": "b"}
    assert update(new, full()) == Images(unchanged=FULL)


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        (("containers", 0, "image"), "spec.containers[0]"),
        (("initContainers", 1, "image"), "spec.initContainers[1]"),
        (("ephemeralContainers", 0, "image"), "spec.ephemeralContainers[0]"),
        (("volumes", 2, "image"), "spec.volumes[2].image"),
    ],
)
def test_a_changed_image_is_judged_and_the_others_are_not(place: tuple[str, int, str], changed: str) -> None:
    new = full()
    listed, index, member = place
    new["spec"][listed][index][member] = {"reference": "evil:1"} if listed == "volumes" else "evil:1"
    found = update(new, full())
    assert judged(found) == [changed]
    assert found.images[0].text == "evil:1"
    assert set(found.unchanged) == {image for image in FULL if image.path != changed}


def test_an_image_written_in_another_way_is_changed() -> None:
    assert judged(update(pod(containers=[container("app", "docker.io/library/app:1")]), pod())) == [
        "spec.containers[0]"
    ]


def test_another_order_is_no_change() -> None:
    first, second = container("a", "a:1"), container("b", "b:1")
    found = update(pod(containers=[second, first]), pod(containers=[first, second]))
    assert found.images == ()
    assert [image.path for image in found.unchanged] == ["spec.containers[0]", "spec.containers[1]"]


def test_swapped_images_are_changed() -> None:
    found = update(
        pod(containers=[container("a", "b:1"), container("b", "a:1")]),
        pod(containers=[container("a", "a:1"), container("b", "b:1")]),
    )
    assert judged(found) == ["spec.containers[0]", "spec.containers[1]"]


def test_an_image_moved_to_another_list_is_changed() -> None:
    old = pod(initContainers=[container("x", "x:1")])
    new = pod(ephemeralContainers=[container("x", "x:1")])
    assert judged(update(new, old)) == ["spec.ephemeralContainers[0]"]


def test_a_volume_is_no_container_of_the_same_name() -> None:
    new = pod(volumes=[{"name": "app", "image": {"reference": "app:1"}}])
    assert judged(update(new, pod())) == ["spec.volumes[0].image"]


def test_an_image_under_another_name_is_changed() -> None:
    assert judged(update(pod(containers=[container("other", "app:1")]), pod())) == ["spec.containers[0]"]


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (["app:1", "evil:1"], ["app:1"]),
        (["evil:1", "app:1"], ["app:1"]),
        (["app:1"], ["app:1", "evil:1"]),
        (["app:1"], ["evil:1", "app:1"]),
        (["app:1", "app:1"], ["app:1", "app:1"]),
        (["app:1", "app:1"], ["app:1"]),
    ],
)
def test_what_shares_its_name_is_always_judged(new: list[str], old: list[str]) -> None:
    found = update(
        pod(containers=[container("app", image) for image in new]),
        pod(containers=[container("app", image) for image in old]),
    )
    assert [image.text for image in found.images] == new
    assert found.unchanged == ()


def test_an_added_ephemeral_container_is_judged_alone() -> None:
    new = full()
    new["spec"]["ephemeralContainers"].append(container("debug-2", "busybox"))
    found = update(new, full(), subresource="ephemeralcontainers")
    assert found.images == (Image("spec.ephemeralContainers[1]", "debug-2", "busybox"),)
    assert found.unchanged == FULL


def test_ephemeral_containers_that_share_a_name_are_all_judged() -> None:
    new, old = full(), full()
    new["spec"]["ephemeralContainers"] = [container("debug", "debug:1"), container("debug", "evil:1")]
    found = update(new, old, subresource="ephemeralcontainers")
    assert [image.text for image in found.images] == ["debug:1", "evil:1"]


def test_an_added_container_is_judged_where_the_old_object_had_no_such_list() -> None:
    old = pod(initContainers=None)
    new = pod(initContainers=[container("x", "x:1")])
    assert judged(update(new, old)) == ["spec.initContainers[0]"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x:1", "y:1"])), min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x:1", "y:1"])), min_size=1, max_size=4),
)
def test_what_is_not_judged_ran_before_under_its_name(new: list[tuple[str, str]], old: list[tuple[str, str]]) -> None:
    found = update(
        pod(containers=[container(name, image) for name, image in new]),
        pod(containers=[container(name, image) for name, image in old]),
    )
    assert len(found.images) + len(found.unchanged) == len(new)
    assert {(image.container, image.text) for image in found.unchanged} <= set(old)
    assert all([name for name, _ in old + new].count(image.container) == 2 for image in found.unchanged)


# --- odd and broken objects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a\0", "\u202e", "x" * 5000, "sha256:abc"])
def test_odd_text_is_handed_on_to_be_refused_with_its_path(text: str) -> None:
    assert images_of(pod(containers=[container("app", text)])).images == (Image("spec.containers[0]", "app", text),)


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ({"containers": [{"name": "app"}]}, Image("spec.containers[0]", "app", "")),
        ({"containers": [container("app", None)]}, Image("spec.containers[0]", "app", "")),
        ({"containers": [{"image": "app:1"}]}, Image("spec.containers[0]", "", "app:1")),
        ({"volumes": [{"name": "v", "image": {}}]}, Image("spec.volumes[0].image", "v", "")),
        ({"volumes": [{"name": "v", "image": {"reference": None}}]}, Image("spec.volumes[0].image", "v", "")),
    ],
    ids=["no image", "null image", "no name", "no reference", "null reference"],
)
def test_what_is_missing_is_empty_and_not_passed_over(spec: Pod, image: Image) -> None:
    assert images_of(pod(**spec)).images[-1] == image


@pytest.mark.parametrize("listed", ["initContainers", "ephemeralContainers", "volumes"])
@pytest.mark.parametrize("empty", [None, []], ids=["null", "empty"])
def test_empty_lists_hold_nothing(listed: str, empty: object) -> None:
    assert judged(images_of(pod(**{listed: empty}))) == ["spec.containers[0]"]


BROKEN: dict[str, tuple[object, str]] = {
    "null object": (None, "object: an object expected, found null"),
    "text": ("pod", "object: an object expected"),
    "array": ([], "object: an object expected"),
    "no spec": ({}, "object.spec: an object expected, found null"),
    "null spec": ({"spec": None}, "object.spec: an object expected, found null"),
    "array as spec": ({"spec": []}, "object.spec: an object expected"),
    "empty spec": ({"spec": {}}, "object.spec.containers: at least one container"),
    "null containers": (pod(containers=None), "object.spec.containers: at least one container"),
    "no containers": (pod(containers=[]), "object.spec.containers: at least one container"),
    "containers an object": (pod(containers={"a": 1}), "object.spec.containers: an array expected"),
    "containers a number": (pod(containers=1), "object.spec.containers: an array expected"),
    "init containers text": (pod(initContainers="x"), "object.spec.initContainers: an array expected"),
    "init containers false": (pod(initContainers=False), "object.spec.initContainers: an array expected"),
    "volumes an object": (pod(volumes={}), "object.spec.volumes: an array expected"),
    "container null": (pod(containers=[None]), "object.spec.containers[0]: an object expected"),
    "container text": (pod(containers=["app:1"]), "object.spec.containers[0]: an object expected"),
    "image a number": (pod(containers=[container("a", 1)]), "object.spec.containers[0].image: a string expected"),
    "image an array": (pod(containers=[container("a", ["x"])]), "object.spec.containers[0].image: a string expected"),
    "image false": (pod(containers=[container("a", False)]), "object.spec.containers[0].image: a string expected"),
    "name a number": (pod(containers=[{"name": 1, "image": "a"}]), "object.spec.containers[0].name: a string expected"),
    "volume null": (pod(volumes=[None]), "object.spec.volumes[0]: an object expected"),
    "volume image text": (pod(volumes=[{"name": "v", "image": "x"}]), "object.spec.volumes[0].image: an object"),
    "volume image false": (pod(volumes=[{"name": "v", "image": False}]), "object.spec.volumes[0].image: an object"),
    "volume reference a number": (
        pod(volumes=[{"name": "v", "image": {"reference": 1}}]), "object.spec.volumes[0].image.reference: a string"),
}  # fmt: skip


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
@pytest.mark.parametrize(("obj", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_object_is_malformed(obj: object, said: str, operation: str) -> None:
    with pytest.raises(MalformedError) as caught:
        images_of(obj, operation=operation)
    assert caught.value.code is Code.MALFORMED
    assert caught.value.detail.startswith(said)


@pytest.mark.parametrize(
    "old", ["pod", [], {}, {"spec": None}, pod(containers=[None]), pod(containers=[container("a", 1)])]
)
def test_a_broken_old_object_is_malformed(old: object) -> None:
    with pytest.raises(MalformedError, match="oldObject"):
        update(pod(), old)


# --- what is not ours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
@pytest.mark.parametrize("resource", ["pods", "deployments"])
def test_what_starts_nothing_is_unexpected_and_not_judged(operation: str, resource: str) -> None:
    assert images_of(None, full(), operation=operation, resource=resource) == Images(unexpected=True)


@pytest.mark.parametrize("subresource", ["status", "binding", "eviction", "resize", "exec", "log", "no-such-thing"])
def test_other_subresources_are_unexpected_and_not_judged(subresource: str) -> None:
    assert images_of(full(), operation="UPDATE", subresource=subresource) == Images(unexpected=True)


@pytest.mark.parametrize(
    ("group", "resource"),
    [
        ("apps", "deployments"),
        ("", "podtemplates"),
        ("batch", "jobs"),
        ("evil.example", "pods"),
        ("", "Pods"),
        ("", ""),
    ],
)
def test_a_resource_without_an_extractor_is_refused(group: str, resource: str) -> None:
    with pytest.raises(RejectedError, match="no extractor") as caught:
        images_of(full(), group=group, resource=resource)
    assert caught.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize("operation", ["", "create", "PATCH", "CREATE\n", "*"])
def test_an_unknown_operation_is_malformed(operation: str) -> None:
    with pytest.raises(MalformedError, match="operation") as caught:
        images_of(full(), operation=operation)
    assert caught.value.code is Code.MALFORMED


# --- limits ------------------------------------------------------------------------------------------------------


def many(count: int, image: str = "app:1") -> Pod:
    return pod(containers=[container(f"c{index}", image) for index in range(count)])


def test_no_more_than_one_beyond_the_limit_is_read() -> None:
    assert len(images_of(many(500)).images) == 500
    assert len(images_of(many(501)).images) == 501
    assert len(images_of(many(10_000)).images) == 501


def test_the_limit_counts_over_all_lists() -> None:
    assert len(images_of(full(), max_images=3).images) == 4


def test_what_is_unchanged_does_not_count() -> None:
    found = update(many(10_000), many(10_000))
    assert found.images == ()
    assert len(found.unchanged) == 500


def test_a_change_behind_many_unchanged_is_found() -> None:
    new = many(10_000)
    new["spec"]["containers"][-1]["image"] = "evil:1"
    assert [image.text for image in update(new, many(10_000)).images] == ["evil:1"]


def test_a_list_without_end_is_a_limit() -> None:
    with pytest.raises(MalformedError) as caught:
        images_of(pod(containers=[None] * 100_001))
    assert caught.value.code is Code.LIMIT_EXCEEDED


# --- mirror pods -------------------------------------------------------------------------------------------------


def mirror(annotations: object = None, node: object = NODE) -> Pod:
    annotated = {workload.MIRROR_ANNOTATION: "hash"} if annotations is None else annotations
    return {"metadata": {"annotations": annotated}, "spec": {**pod()["spec"], "nodeName": node}}


def test_the_node_itself_shows_a_mirror_pod() -> None:
    assert workload.is_mirror(mirror(), NODE_USER, NODE_GROUPS)
    assert workload.is_mirror(mirror({workload.MIRROR_ANNOTATION: ""}), NODE_USER, list(NODE_GROUPS))


@pytest.mark.parametrize(
    ("obj", "username", "groups"),
    {
        "no annotation": (mirror({}), NODE_USER, NODE_GROUPS),
        "another annotation": (mirror({"kubernetes.io/config.source": "file"}), NODE_USER, NODE_GROUPS),
        "annotations null": ({"metadata": {"annotations": None}, "spec": {"nodeName": NODE}}, NODE_USER, NODE_GROUPS),
        "annotations a list": (mirror([workload.MIRROR_ANNOTATION]), NODE_USER, NODE_GROUPS),
        "annotations text": (mirror(workload.MIRROR_ANNOTATION), NODE_USER, NODE_GROUPS),
        "a label instead": ({"metadata": {"labels": {workload.MIRROR_ANNOTATION: ""}}, "spec": {"nodeName": NODE}},
                            NODE_USER, NODE_GROUPS),
        "a user": (mirror(), "mallory", NODE_GROUPS),
        "a user of a node's name": (mirror(), NODE, NODE_GROUPS),
        "another node": (mirror(), f"system:node:{NODE}.evil", NODE_GROUPS),
        "another case": (mirror(), NODE_USER.upper(), NODE_GROUPS),
        "a service account": (mirror(), "system:serviceaccount:kube-system:x", NODE_GROUPS),
        "no group": (mirror(), NODE_USER, ()),
        "another group": (mirror(), NODE_USER, ("system:nodes-evil", "system:authenticated")),
        "no node": (mirror(node=None), NODE_USER, NODE_GROUPS),
        "empty node": (mirror(node=""), "system:node:", NODE_GROUPS),
        "node a list": (mirror(node=[NODE]), NODE_USER, NODE_GROUPS),
        "no metadata": ({"spec": {"nodeName": NODE}}, NODE_USER, NODE_GROUPS),
        "no spec": ({"metadata": mirror()["metadata"]}, NODE_USER, NODE_GROUPS),
        "null": (None, NODE_USER, NODE_GROUPS),
        "text": ("pod", NODE_USER, NODE_GROUPS),
    }.values(),
)  # fmt: skip
def test_a_mirror_pod_is_nobody_elses_claim(obj: object, username: str, groups: tuple[str, ...]) -> None:
    assert not workload.is_mirror(obj, username, groups)


# --- anything ----------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "image", "reference", "containers", "volumes", "spec", "metadata"]), inner
        )
    ),
    max_leaves=12,
)
SPECS = st.fixed_dictionaries(
    {"containers": VALUES},
    optional={"initContainers": VALUES, "ephemeralContainers": VALUES, "volumes": VALUES, "nodeName": VALUES},
)


@given(st.fixed_dictionaries({"spec": SPECS}) | VALUES, st.fixed_dictionaries({"spec": SPECS}) | VALUES)
def test_no_object_raises_anything_but_our_own_errors_or_is_written_to(obj: object, old: object) -> None:
    before = copy.deepcopy((obj, old))
    with suppress(CountersignError):
        update(obj, old)
    assert workload.is_mirror(obj, NODE_USER, NODE_GROUPS) is False
    assert (obj, old) == before
