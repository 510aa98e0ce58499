"""Files of extractors: what is taken, every mistake with its place, and that good versions stay in force."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.kube import extractors as kube
from webhook.kube.extractors import BUILT_IN, Every, Extractor
from webhook.policy import extractors
from webhook.policy.extracting import FILE_MAX_CHARS, FILES_MAX, ExtractorSource
from webhook.policy.syntax.mistakes import PolicyErrors

GOOD = """\
extractors:
  - apiGroup: example.com
    version: v1alpha1
    resource: things
    podSpecs:
      - spec.template.spec
    images:
      - spec.tools[*].image
"""
THING = Extractor("example.com", "things", (("spec", "template", "spec"),), (("spec", "tools", Every.ENTRY, "image"),))


def parse(text: str) -> tuple[Extractor, ...]:
    return extractors.parse(text.encode(), origin="custom/things.yaml")


def test_a_file_is_read() -> None:
    assert parse(GOOD) == (THING,)


def test_a_file_may_hold_several_documents() -> None:
    assert [one.resource for one in parse(f"{GOOD}---\n{GOOD.replace('things', 'others')}")] == ["things", "others"]


WRONG: dict[str, tuple[str, str]] = {
    "empty": ("", "1:1: a mapping with `extractors` expected: the file is empty"),
    "not-yaml": ("a: [", "not YAML"),
    "a-list": ("- a", "1:1: one field `extractors`"),
    "another-field-beside": (GOOD + "more: 1\n", "1:1: one field `extractors`"),
    "no-entries": ("extractors: []", "one field `extractors` with a list of 1 to 200"),
    "an-entry-of-text": ("extractors:\n  - things\n", "2:5: extractors[0]: a mapping of apiGroup"),
    "an-unknown-field": (GOOD.replace("podSpecs", "podSpec"), "5:5: extractors[0].podSpec: unknown field"),
    "no-group": (GOOD.replace("apiGroup: example.com", "apiGroup: ''"), "extractors[0].apiGroup: an API group"),
    "a-group-of-kubernetes": (GOOD.replace("example.com", "apps"), "resources of Kubernetes itself need no extractor"),
    "no-version": (GOOD.replace("    version: v1alpha1\n", ""), "extractors[0].version: an API version"),
    "a-version-of-another-kind": (GOOD.replace("v1alpha1", "1"), "found the number 1"),
    "a-subresource": (GOOD.replace("things", "things/scale"), "4:5: extractors[0].resource: the plural name"),
    "every-resource": (GOOD.replace("things", "'*'"), "extractors[0].resource: the plural name"),
    "nowhere": (GOOD[: GOOD.index("    podSpecs")], "2:5: extractors[0]: leads nowhere"),
    "no-paths": ("".join(GOOD.partition("podSpecs:")[:2]) + " []\n", "podSpecs: a list of 1 to 64 paths expected"),
    "a-number-for-a-path": (GOOD.replace("spec.template.spec", "7"), "6:9: extractors[0].podSpecs[0]: a path expected"),
    "an-index": (GOOD.replace("tools[*]", "tools[0]"), "8:9: extractors[0].images[0]: a path expected (names"),
    "a-path-too-long": (GOOD.replace("spec.template.spec", "a." * 150 + "b"), "at most 300 characters"),
    "an-alias": (GOOD.replace("spec.template.spec", "*a"), "the alias '*a' is not taken"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(PolicyErrors) as caught:
        parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("custom/things.yaml:")


def test_all_mistakes_are_told_at_once() -> None:
    text = GOOD.replace("things", "7").replace("example.com", "''").replace("tools[*]", "tools[")
    with pytest.raises(PolicyErrors) as caught:
        parse(text)
    assert [mistake.line for mistake in caught.value.mistakes] == [2, 4, 8]


@pytest.mark.parametrize(("entries", "paths", "taken"), [(200, 64, True), (201, 1, False), (1, 65, False)])
def test_a_file_is_bounded(entries: int, paths: int, taken: bool) -> None:
    listed = "".join(f"      - spec.a{index}\n" for index in range(paths))
    entry = f"  - apiGroup: example.com\n    version: v1\n    resource: things\n    images:\n{listed}"
    text = "extractors:\n" + entry * entries
    if taken:
        assert len(parse(text)) == entries
        return
    with pytest.raises(PolicyErrors, match="a list of 1 to"):
        parse(text)


@given(st.text(max_size=60) | st.text("exractos:-[]*. \n'a7", max_size=60))
def test_no_text_makes_anything_but_mistakes(text: str) -> None:
    with pytest.raises(PolicyErrors):
        extractors.parse(text.encode(errors="surrogatepass"), origin="x")


# --- what is in force


def config_map(*texts: str) -> dict[str, object]:
    return {"data": {f"{index}.yaml": text for index, text in enumerate(texts)}}


async def test_config_maps_come_change_and_go() -> None:
    source = ExtractorSource()
    assert source.current == BUILT_IN
    await source.changed({"a": config_map(GOOD), "b": config_map(GOOD.replace("things", "others"))})
    assert set(source.current) == {*BUILT_IN, ("example.com", "things"), ("example.com", "others")}
    before = source.current
    await source.changed({"a": config_map(GOOD)})
    assert ("example.com", "others") in before, "a value that somebody holds never changes"
    assert ("example.com", "others") not in source.current
    await source.changed({})
    assert source.current == BUILT_IN


async def test_a_bad_version_leaves_the_good_one_in_force_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    source, good = ExtractorSource(), GOOD.replace("things", "others")
    await source.changed({"a": config_map(GOOD)})
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await source.changed({"a": config_map("extractors: 7"), "b": config_map("- never good", good)})
    assert source.current["example.com", "things"] == THING
    assert ("example.com", "others") in source.current
    assert set(source.problems) == {"a/0.yaml", "b/0.yaml"}
    assert caplog.text.count("a/0.yaml:1:1") == 1, "a problem is told once"
    await source.changed({"a": config_map(GOOD)})
    assert source.problems == {}


@pytest.mark.parametrize(
    "obj", [{}, {"data": None}, {"data": []}, {"data": {"a.yaml": 7}}, {"data": {"a.txt": GOOD}}, {"binaryData": {}}]
)
async def test_what_holds_no_extractor_is_left_alone(obj: dict[str, object]) -> None:
    source = ExtractorSource()
    await source.changed({"a": obj})
    assert (source.current, source.problems) == (BUILT_IN, {})


async def test_files_are_bounded_and_those_left_out_are_told() -> None:
    source = ExtractorSource()
    await source.changed({"a": config_map(*[GOOD] * FILES_MAX), "b": config_map(GOOD)})
    assert list(source.problems) == ["b/0.yaml"]
    assert source.current == kube.join([THING])


@pytest.mark.parametrize(("chars", "taken"), [(FILE_MAX_CHARS, True), (FILE_MAX_CHARS + 1, False)])
async def test_a_file_that_is_too_long_is_told_and_what_it_said_before_stays(chars: int, taken: bool) -> None:
    source = ExtractorSource()
    await source.changed({"a": config_map(GOOD)})
    await source.changed({"a": config_map(GOOD.replace("things", "others").ljust(chars, "\n"))})
    assert (("example.com", "others") in source.current, list(source.problems) == []) == (taken, taken)
    assert (("example.com", "things") in source.current) == (not taken)
