from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.configmap_objects import BROKEN, configmap
from tests.policy.documents import NOW, policy
from webhook import settings
from webhook.errors import Code, MalformedError
from webhook.policy import parcel
from webhook.policy.syntax.mistakes import PolicyErrors

MAX_BYTES = settings.Policy().file_max_bytes


def names(obj: object) -> list[tuple[str, str]]:
    return [(one.name, one.origin) for one in parcel.parse(parcel.read(obj), now=NOW, max_bytes=MAX_BYTES)]


def mistakes(obj: object) -> list[str]:
    with pytest.raises(PolicyErrors) as caught:
        names(obj)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_every_policy_file_of_a_config_map_is_read_and_other_keys_are_not() -> None:
    obj = configmap("prod")
    obj["data"] = {"b.yml": policy("b"), "a.yaml": policy("z") + "---\n" + policy("a"), "notes.txt": BROKEN}
    assert names(obj) == [
        ("z", "configmap/prod: a.yaml:1"), ("a", "configmap/prod: a.yaml:21"), ("b", "configmap/prod: b.yml:1"),
    ]  # fmt: skip
    assert parcel.read(obj).ignored == ("notes.txt",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"data": {"a.yaml": "{"}}, "configmap/prod: a.yaml:2:1: not YAML: ", id="not YAML"),
        pytest.param({"data": {"a.yaml": BROKEN}}, "configmap/prod: a.yaml:1:1: apiVersion: required", id="mistake"),
        pytest.param({"data": {"a.yaml": policy("a") + "---\n" + BROKEN}},
                     "configmap/prod: a.yaml:21:1: apiVersion: required", id="one of two documents"),
        pytest.param({"data": {"a.yaml": policy("a"), "b.yaml": policy("a")}},
                     "configmap/prod: b.yaml:4:1: metadata.name: the policy a is in configmap/prod: a.yaml:1 already",
                     id="the same name in two files"),
        pytest.param({"binaryData": {"b.yaml": "aGVsbG8="}},
                     "configmap/prod: binaryData[b.yaml]: policies are text: put it under data", id="binary data"),
        pytest.param({"data": {"notes.txt": ""}},
                     "configmap/prod: data: a key that ends in .yaml or .yml expected, found notes.txt", id="no file"),
        pytest.param({"data": None}, "configmap/prod: data: a key that ends in .yaml or .yml expected", id="no data"),
        pytest.param({"data": {"a.yaml": ""}}, "configmap/prod: a.yaml:1:1: no TrustPolicy found", id="empty file"),
        pytest.param({"data": {"a.yaml": "#" * (MAX_BYTES + 1)}}, "configmap/prod: at most 1048576 characters",
                     id="too large"),
        pytest.param({"data": {f"{n}.yaml": policy(f"p{n}") for n in range(201)}},
                     "configmap/prod: at most 200 policy files are read, found 201", id="too many files"),
    ],
)  # fmt: skip
def test_one_mistake_and_nothing_of_it_is_taken(changes: dict[str, Any], expected: str) -> None:
    assert mistakes(configmap("prod") | changes)[0].startswith(expected)


def test_all_mistakes_of_all_files_are_told() -> None:
    obj = configmap("prod") | {"data": {"a.yaml": BROKEN, "b.yaml": BROKEN}, "binaryData": {"c": ""}}
    assert {mistake.split(":")[1].strip() for mistake in mistakes(obj)} == {
        "a.yaml", "b.yaml", "binaryData[c]",
    }  # fmt: skip


def test_content_is_that_of_the_policy_files_alone() -> None:
    obj = configmap("prod")
    before = parcel.read(obj)
    annotated = parcel.read(obj | {"metadata": obj["metadata"] | {"annotations": {parcel.STATUS: "{}"}}})
    assert (annotated.content, annotated.status) == (before.content, "{}")
    assert parcel.read(obj | {"data": obj["data"] | {"notes.txt": "new"}}).content == before.content
    assert parcel.read(obj | {"data": {"other.yaml": obj["data"]["policy.yaml"]}}).content != before.content
    assert parcel.read(obj | {"binaryData": {"x": ""}}).content != before.content
    assert before.revision == before.content[:12]


@pytest.mark.parametrize(
    ("labels", "labelled"),
    [({parcel.LABEL: "true"}, True), ({parcel.LABEL: "True"}, False), ({parcel.LABEL: True}, False), ({}, False)],
)
def test_only_the_label_as_it_is_written_makes_policies(labels: dict[str, Any], labelled: bool) -> None:
    assert parcel.read(configmap("prod", metadata={"labels": labels})).labelled is labelled


@pytest.mark.parametrize(
    ("obj", "detail"),
    [
        (None, "the object: an object expected, found null"),
        ([], "the object: an object expected, found an array"),
        ({}, "metadata: an object expected, found null"),
        (configmap("a") | {"data": 7}, "data: an object expected, found a number"),
        (configmap("a") | {"data": {"a.yaml": 5}}, "data['a.yaml']: a string expected, found a number"),
        (configmap("a", metadata={"uid": 5}), "metadata.uid: a string expected, found a number"),
        (configmap("a", metadata={"labels": [1]}), "metadata.labels: an object expected, found an array"),
    ],
)
def test_an_object_that_is_no_config_map_is_malformed(obj: object, detail: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parcel.read(obj)
    assert (caught.value.code, caught.value.detail) == (Code.MALFORMED, detail)


def test_no_digest_is_of_two_contents() -> None:
    found = [parcel.digest({"a.yaml": "b"}), parcel.digest({"a.yamlb": ""}), parcel.digest({"a.yaml": "", "b": ""}),
             parcel.digest({"a.yaml": "b"}, ("c",))]  # fmt: skip
    assert len(set(found)) == len(found)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={
    "metadata": st.fixed_dictionaries({}, optional={"name": values, "labels": values, "annotations": values}),
    "data": st.dictionaries(st.sampled_from(["a.yaml", "b.yml", "c"]), values) | values,
    "binaryData": values,
}))  # fmt: skip
def test_no_object_raises_anything_else(obj: dict[str, Any]) -> None:
    try:
        obj = orjson.loads(orjson.dumps(obj))
    except TypeError:  # a number or text that JSON does not hold
        return
    try:
        found = parcel.read(obj)
    except MalformedError:
        return
    with pytest.raises(PolicyErrors):
        parcel.parse(found, now=NOW, max_bytes=MAX_BYTES)
