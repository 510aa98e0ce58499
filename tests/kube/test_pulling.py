"""Which names of Secrets a PodSpec is taken to say, whatever stands in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.kube import pulling

SPEC = ("spec", "template", "spec")


def spec(*names: object, **fields: object) -> dict[str, object]:
    return {"imagePullSecrets": [{"name": name} for name in names], **fields}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, ()),
        ({"imagePullSecrets": None}, ()),
        (spec("regcred"), ("regcred",)),
        (spec("b", "a", "b"), ("b", "a")),
        (spec("with.dots-and-hyphens.1"), ("with.dots-and-hyphens.1",)),
        (spec("x" * 63), ("x" * 63,)),
        (spec(*"abcdefghij"), tuple("abcdefghij")),
        (spec(*"abcdefghijklm"), tuple("abcdefghijk")),
    ],
    ids=["absent", "null", "one", "twice", "dots", "long", "ten", "more"],
)
def test_names_that_secrets_may_have(found: dict[str, object], expected: tuple[str, ...]) -> None:
    assert pulling.secrets_of(found) == expected


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../../kube-system/secrets/token", "a/b", "a..b", ".a", "a.", "-a", "a-", "A", "a_b", "a b",
        "a?watch", "a%2f", "a#", "a\n", "\nregcred", "régcred", "a\x00", "x" * 64, ".".join(["x" * 63] * 5), 7, None,
        ["a"], {"a": 1},
    ],
)  # fmt: skip
def test_what_no_secret_can_be_called_is_no_name(name: object) -> None:
    assert pulling.secrets_of(spec(name, "regcred")) == ("regcred",)
    assert pulling.of_template({"spec": {"serviceAccountName": name}}, ("spec",))[1] in ("", "default")


@pytest.mark.parametrize("listed", ["regcred", {"name": "regcred"}, 7, True, ["regcred"], [None], [[{"name": "a"}]]])
def test_what_is_no_list_of_names_says_nothing(listed: object) -> None:
    assert pulling.secrets_of({"imagePullSecrets": listed}) == ()


def test_ten_thousand_names_are_not_all_kept() -> None:
    assert len(pulling.secrets_of(spec(*(f"name-{number}" for number in range(10_000))))) == pulling.SECRETS_MAX + 1


@pytest.mark.parametrize("pod", [None, 7, [], {}, {"spec": None}, {"spec": []}, {"metadata": {}}])
def test_what_is_no_pod_names_nothing(pod: object) -> None:
    assert pulling.of_pod(pod) == ()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({}, ((), "default")),
        ({"serviceAccountName": "builder"}, ((), "builder")),
        ({"serviceAccountName": ""}, ((), "default")),
        (spec(serviceAccountName="builder"), ((), "builder")),
        (spec("regcred", serviceAccountName="builder"), (("regcred",), "")),
        ({"serviceAccountName": "../x"}, ((), "")),
        ({"serviceAccountName": 7}, ((), "")),
    ],
)
def test_a_template_that_names_none_has_those_of_its_account(
    template: dict[str, object], expected: tuple[tuple[str, ...], str]
) -> None:
    assert pulling.of_template({"spec": {"template": {"spec": template}}}, SPEC) == expected


def test_a_path_to_several_templates_is_to_none() -> None:
    assert pulling.of_template({"spec": {"template": {"spec": spec("a")}}}, ("spec", object(), "spec")) == ((), "")


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_document_raises(value: object) -> None:
    assert isinstance(pulling.secrets_of({"imagePullSecrets": value}), tuple)
    assert isinstance(pulling.of_template(value, SPEC), tuple)


@given(st.text(alphabet=st.sampled_from("abc019.-/%_A\n "), max_size=20))
def test_a_name_is_one_segment_of_a_path(name: str) -> None:
    if pulling.is_name(name):
        assert not set(name) & set("/%_A\n ")
        assert ".." not in name


@pytest.mark.parametrize(
    ("name", "expected"), [("shop", True), ("a.b", False), ("..", False), ("", False), ("a\n", False)]
)
def test_namespaces(name: str, *, expected: bool) -> None:
    assert pulling.is_namespace(name) is expected
