"""Every image of a workload is found with its path, none is invented, and nothing an API server stores is an error."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import Code, MalformedError
from webhook.kube import extractors
from webhook.kube.extractors import BUILT_IN, Every, Extractor
from webhook.kube.workload import Image, Images
from webhook.policy import extractors as documents

ROOT = Path(__file__).resolve().parents[2]
READY = sorted((ROOT / "charts/countersign/extractors").glob("*.yaml"))
OBJECTS = Path(__file__).parent / "objects"
REAL, MAX = "img.example.com/", 500

POD_SPEC: dict[str, Any] = {
    "initContainers": [{"name": "init", "image": "init:1"}],
    "containers": [{"name": "app", "image": "app:1"}, {"name": "side", "image": "side:1"}],
    "ephemeralContainers": None,
    "volumes": [
        {"name": "disk", "rbd": {"image": "no-oci-image"}},
        {"name": "model", "image": {"reference": "model:1"}},
    ],
}
KINDS: dict[tuple[str, str], str] = {
    ("", "podtemplates"): "template.spec",
    ("", "replicationcontrollers"): "spec.template.spec",
    ("apps", "deployments"): "spec.template.spec",
    ("apps", "replicasets"): "spec.template.spec",
    ("apps", "statefulsets"): "spec.template.spec",
    ("apps", "daemonsets"): "spec.template.spec",
    ("batch", "jobs"): "spec.template.spec",
    ("batch", "cronjobs"): "spec.jobTemplate.spec.template.spec",
}


def around(path: str, inner: object) -> Any:
    """An object in which `inner` stands at `path`."""
    for name in reversed(path.split(".")):
        inner = {name: inner}
    return inner


def images_of(
    obj: object, old: object = None, *, kind: tuple[str, str] = ("apps", "deployments"), max_images: int = MAX
) -> Images:
    operation = "CREATE" if old is None else "UPDATE"
    return extractors.images_of(BUILT_IN[kind], operation, obj, old, max_images=max_images)


def deployment(**spec: object) -> Any:
    return around("spec.template.spec", {**POD_SPEC, **spec})


# --- the kinds of Kubernetes


@pytest.mark.parametrize(("kind", "path"), KINDS.items(), ids=[f"{group}/{name}" for group, name in KINDS])
def test_every_image_of_a_kind_is_found_with_its_path(kind: tuple[str, str], path: str) -> None:
    found = images_of(around(path, POD_SPEC), kind=kind)
    assert found.unchanged == ()
    assert found.images == (
        Image(f"{path}.containers[0]", "app", "app:1"),
        Image(f"{path}.containers[1]", "side", "side:1"),
        Image(f"{path}.initContainers[0]", "init", "init:1"),
        Image(f"{path}.volumes[1].image", "model", "model:1"),
    )


def test_no_other_kind_is_built_in() -> None:
    assert set(BUILT_IN) == set(KINDS), "pods have an entry of their own"


NOTHING: dict[str, Any] = {
    "null": None,
    "empty": {},
    "list": [],
    "text": "deployment",
    "number": 7,
    "no-template": {"spec": {}},
    "template-null": {"spec": {"template": None}},
    "template-list": {"spec": {"template": []}},
    "spec-number": {"spec": 7},
    "pod-spec-null": around("spec.template.spec", None),
    "lists-null": around("spec.template.spec", {"containers": None, "initContainers": None, "volumes": None}),
    "list-of-other-things": around("spec.template.spec", {"containers": [None, 7, "app:1", ["app:1"]]}),
    "list-a-mapping": around("spec.template.spec", {"containers": {"image": "app:1"}}),
    "image-missing": around("spec.template.spec", {"containers": [{"name": "app"}]}),
    "image-empty": around("spec.template.spec", {"containers": [{"name": "app", "image": ""}]}),
    "image-null": around("spec.template.spec", {"containers": [{"name": "app", "image": None}]}),
    "image-number": around("spec.template.spec", {"containers": [{"name": "app", "image": 7}]}),
    "image-mapping": around("spec.template.spec", {"containers": [{"name": "app", "image": {"reference": "app:1"}}]}),
    "volume-image-text": around("spec.template.spec", {"volumes": [{"name": "v", "image": "app:1"}]}),
}


@pytest.mark.parametrize("obj", NOTHING.values(), ids=NOTHING)
def test_what_names_no_image_is_passed_over(obj: object) -> None:
    assert images_of(obj) == Images()
    assert images_of(deployment(), obj if obj is not None else {}).images == images_of(deployment()).images


@pytest.mark.parametrize("text", ["Nope", "a b", "$(VERSION)", "{{ image }}", "x" * 10_000])
def test_kubernetes_knows_no_expressions(text: str) -> None:
    found = images_of(deployment(containers=[{"name": "app", "image": text}]))
    assert text in [image.text for image in found.images]


# --- updates


def test_an_update_that_leaves_images_alone_leaves_nothing_to_judge() -> None:
    new = deployment()
    new["spec"]["replicas"] = 0
    found = images_of(new, deployment())
    assert (found.images, len(found.unchanged)) == ((), 4)


CHANGES: dict[str, tuple[dict[str, object], list[str]]] = {
    "an-image": ({"containers": [{"name": "app", "image": "app:2"}]}, ["app:2"]),
    "an-added-container": ({"containers": [*POD_SPEC["containers"], {"name": "new", "image": "new:1"}]}, ["new:1"]),
    "another-name": ({"containers": [{"name": "other", "image": "app:1"}]}, ["app:1"]),
    "another-list": ({"initContainers": [{"name": "app", "image": "app:1"}]}, ["app:1"]),
    "another-order": ({"containers": list(reversed(POD_SPEC["containers"]))}, []),
    "fewer": ({"containers": POD_SPEC["containers"][:1]}, []),
    "a-volume": ({"volumes": [{"name": "model", "image": {"reference": "model:2"}}]}, ["model:2"]),
}


@pytest.mark.parametrize(("change", "judged"), CHANGES.values(), ids=CHANGES)
def test_only_what_an_update_changed_is_judged(change: dict[str, object], judged: list[str]) -> None:
    assert [image.text for image in images_of(deployment(**change), deployment()).images] == judged


def test_a_create_has_no_old_object_whatever_stands_there() -> None:
    found = extractors.images_of(BUILT_IN["apps", "deployments"], "CREATE", deployment(), deployment(), max_images=MAX)
    assert (len(found.images), found.unchanged) == (4, ())


# --- limits


def many(count: int) -> Any:
    return deployment(containers=[{"name": f"c{index}", "image": f"a:{index}"} for index in range(count)])


def test_no_more_than_one_beyond_the_limit_is_read() -> None:
    assert len(images_of(many(10_000)).images) == MAX + 1
    found = images_of(many(5_000), many(5_000))
    assert (found.images, len(found.unchanged)) == ((), MAX)


def test_a_change_behind_many_is_found() -> None:
    new = many(5_000)
    new["spec"]["template"]["spec"]["containers"][-1]["image"] = "evil:1"
    assert [image.text for image in images_of(new, many(5_000)).images] == ["evil:1"]


def test_an_object_of_too_many_values_is_a_limit_and_no_object_without_images() -> None:
    with pytest.raises(MalformedError) as caught:
        images_of(deployment(containers=[{}] * extractors.VISITS_MAX))
    assert caught.value.code is Code.LIMIT_EXCEEDED


def test_depth_costs_nothing_that_no_path_leads_to() -> None:
    deep: Any = "deep:1"
    for _ in range(50_000):
        deep = [deep]
    assert images_of(deployment(containers=deep)).images == images_of(deployment(containers=[])).images
    while isinstance(deep, list):  # an end that needs no recursion
        deep = deep.pop()


# --- paths


PATHS: dict[str, tuple[str | Every, ...]] = {
    "spec": ("spec",),
    "spec.template.spec": ("spec", "template", "spec"),
    "spec.templates[*].image": ("spec", "templates", Every.ENTRY, "image"),
    "spec.steps[*][*].inline": ("spec", "steps", Every.ENTRY, Every.ENTRY, "inline"),
    "spec.replicaSpecs.*.template": ("spec", "replicaSpecs", Every.MEMBER, "template"),
    "a-b_C9": ("a-b_C9",),
}
NO_PATHS = ("", ".", "a.", ".a", "a..b", "a[0]", "a[*", "[*]", "a.[*]", "a b", "a/b", "$.a", "a.**", "a*", "é", "a\n",
            "a" * 64, ".".join("a" * 151), "a" + "[*]" * 30)  # fmt: skip


@pytest.mark.parametrize(("text", "path"), PATHS.items(), ids=PATHS)
def test_a_path_is_read(text: str, path: extractors.Path) -> None:
    assert extractors.parse_path(text) == path


@pytest.mark.parametrize("text", NO_PATHS)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        extractors.parse_path(text)
    assert caught.value.code in (Code.MALFORMED, Code.LIMIT_EXCEEDED)


def custom(*, pod_specs: tuple[str, ...] = (), images: tuple[str, ...] = ()) -> Extractor:
    read = extractors.parse_path
    return Extractor("example.com", "things", tuple(map(read, pod_specs)), tuple(map(read, images)))


def found_in(extractor: Extractor, obj: object, old: object = None) -> list[tuple[str, str, str]]:
    operation = "CREATE" if old is None else "UPDATE"
    found = extractors.images_of(extractor, operation, obj, old, max_images=MAX)
    return [(image.path, image.container, image.text) for image in found.images]


def test_a_member_of_any_name_is_looked_into_and_its_name_is_told_safely() -> None:
    replicas = {"Worker": {"spec": POD_SPEC}, "a.b]\n": {"spec": {"containers": [{"image": "x:1"}]}}, "null": None}
    found = found_in(custom(pod_specs=("spec.replicas.*.spec",)), {"spec": {"replicas": replicas}})
    assert ("spec.replicas.Worker.spec.containers[0]", "app", "app:1") in found
    assert ("spec.replicas['a.b]\\n'].spec.containers[0]", "", "x:1") in found


def test_the_nearest_name_is_told() -> None:
    extractor = custom(images=("spec.tasks[*].steps[*].image",))
    steps = [{"name": "own", "image": "a:1"}, {"image": "b:1"}, {"name": 7, "image": "c:1"}]
    assert found_in(extractor, {"spec": {"tasks": [{"name": "task", "steps": steps}]}}) == [
        ("spec.tasks[0].steps[0].image", "own", "a:1"),
        ("spec.tasks[0].steps[1].image", "task", "b:1"),
        ("spec.tasks[0].steps[2].image", "task", "c:1"),
    ]


@pytest.mark.parametrize(
    "text", ["$(params.image)", "ghcr.io/a:$(params.tag)", "{{inputs.parameters.image}}", "a:{{x}}"]
)
def test_an_expression_is_no_reference_yet(text: str) -> None:
    extractor = custom(images=("spec.image",))
    assert found_in(extractor, {"spec": {"image": text}}) == []
    assert found_in(extractor, {"spec": {"image": "$VERSION"}}) == [("spec.image", "", "$VERSION")]


def test_what_several_say_of_one_resource_holds_together() -> None:
    first, second = custom(images=("spec.image",)), custom(images=("spec.image", "spec.other"), pod_specs=("spec",))
    joined = extractors.join([first, second])
    assert set(joined) == {*BUILT_IN, ("example.com", "things")}
    obj = {"spec": {"image": "a:1", "other": "b:1", "containers": [{"name": "c", "image": "c:1"}]}}
    assert sorted(text for _, _, text in found_in(joined["example.com", "things"], obj)) == ["a:1", "b:1", "c:1"]


# --- the ready ones


def ready() -> Iterator[tuple[str, Extractor, dict[str, Any]]]:
    for file in READY:
        by_kind = {singular(one.resource): one for one in documents.parse(file.read_bytes(), origin=file.name)}
        for obj in yaml.safe_load_all((OBJECTS / file.name).read_text()):
            extractor = by_kind[obj["kind"].lower()]
            assert obj["apiVersion"].partition("/")[0] == extractor.group
            yield f"{file.stem}-{obj['kind']}-{obj['metadata'].get('name', 'generated')}", extractor, obj


def singular(resource: str) -> str:
    return resource.removesuffix("s")


def texts(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in an object with its path, found without any extractor."""
    if isinstance(value, str):
        yield path, value
    for name, entry in value.items() if isinstance(value, dict) else ():
        yield from texts(entry, f"{path}.{name}" if path else name)
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        yield from texts(entry, f"{path}[{index}]")


@pytest.mark.parametrize(("extractor", "obj"), [case[1:] for case in ready()], ids=[case[0] for case in ready()])
def test_a_ready_extractor_finds_every_image_and_invents_none(extractor: Extractor, obj: dict[str, Any]) -> None:
    before = copy.deepcopy(obj)
    expected = sorted((path, text) for path, text in texts(obj) if text.startswith(REAL))
    images = extractors.images_of(extractor, "CREATE", obj, None, max_images=MAX).images
    whole = [(path, text) for path, text in texts(obj) if any(is_at(image, path, text) for image in images)]
    assert sorted(whole) == expected
    assert len(images) == len(expected)
    assert extractors.images_of(extractor, "UPDATE", obj, obj, max_images=MAX).images == ()
    assert obj == before


def is_at(image: Image, path: str, text: str) -> bool:
    return image.text == text and re.sub(r"\.(image|reference)$", "", path).startswith(
        re.sub(r"\.(image|reference)$", "", image.path)
    )


def test_every_ready_extractor_has_objects_that_show_it() -> None:
    shown = {
        (one.group, one.resource) for _, one, obj in ready() if any(text.startswith(REAL) for _, text in texts(obj))
    }
    assert shown == {
        (one.group, one.resource) for file in READY for one in documents.parse(file.read_bytes(), origin="")
    }


# --- anything

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "image", "reference", "containers", "volumes", "spec"]), inner)
    ),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_no_object_is_an_error_or_is_written_to(obj: object, old: object) -> None:
    before = copy.deepcopy((obj, old))
    for extractor in (*BUILT_IN.values(), custom(pod_specs=("spec", "*"), images=("*[*].image", "image"))):
        extractors.images_of(extractor, "UPDATE", obj, old, max_images=5)
    assert (obj, old) == before
