from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.terminal.conftest import Commands, policy


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    path = tmp_path / "clean.yaml"
    path.write_text(policy(tags="deny"))
    return path


@pytest.fixture
def unwise(tmp_path: Path) -> Path:
    path = tmp_path / "unwise.yaml"
    path.write_text(policy("unwise"))
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text(policy("wrong", mode="enforced", tag="deny"))
    return path


def test_clean_policies_end_with_0(commands: Commands, clean: Path) -> None:
    told = commands.run("policy", "lint", clean)
    assert (told.code, told.out, told.err) == (0, "1 policy, no mistakes\n", "")


def test_a_folder_is_all_policies_in_it(commands: Commands, clean: Path) -> None:
    (clean.parent / "second.yml").write_text(policy("second", tags="deny"))
    assert commands.run("policy", "lint", clean.parent).last.startswith("2 policies")


def test_every_mistake_has_its_line_and_column(commands: Commands, wrong: Path, clean: Path) -> None:
    told = commands.run("policy", "lint", clean, wrong)
    assert told.code == 1
    first, second, last = told.out.splitlines()
    assert first.startswith(f"{wrong}:6:3: spec.mode: ")
    assert second.startswith(f"{wrong}:7:3: spec.tag: unknown field; did you mean tags?")
    assert last == "2 mistakes"


def test_findings_count_only_when_strict(commands: Commands, unwise: Path) -> None:
    told = commands.run("policy", "lint", unwise)
    assert told.code == 0
    assert "[tags_allowed]" in told.out
    assert told.last == "1 policy, 1 finding"
    assert commands.run("policy", "lint", "--strict", unwise).code == 1


def test_strict_is_content_with_clean_policies(commands: Commands, clean: Path) -> None:
    assert commands.run("policy", "lint", "--strict", clean).code == 0


def test_json_holds_mistakes(commands: Commands, wrong: Path) -> None:
    told = commands.run("policy", "lint", wrong, "--output", "json")
    document = json.loads(told.out)
    assert told.code == 1
    assert document["policies"] == 0
    assert document["findings"] == []
    assert [(m["file"], m["line"], m["column"], m["path"]) for m in document["mistakes"]] == [
        (str(wrong), 6, 3, "spec.mode"),
        (str(wrong), 7, 3, "spec.tag"),
    ]


def test_json_holds_findings(commands: Commands, unwise: Path) -> None:
    document = json.loads(commands.run("policy", "lint", unwise, "--output", "json").out)
    assert (document["policies"], document["mistakes"]) == (1, [])
    assert [finding["code"] for finding in document["findings"]] == ["tags_allowed"]


def test_an_empty_folder_is_not_clean(commands: Commands, tmp_path: Path) -> None:
    told = commands.run("policy", "lint", tmp_path)
    assert told.code == 2
    assert told.err.count("\n") == 1
