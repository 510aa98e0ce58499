from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from webhook.demo import show, stage
from webhook.demo.stage import Stage


@pytest.fixture
async def on() -> AsyncIterator[Stage]:
    async with stage.opened() as opened:
        yield opened


async def test_every_scene_ends_as_expected(on: Stage) -> None:
    scenes = [scene async for scene in show.play(on)]
    assert [(scene.title, scene.expected) for scene in scenes] == [
        ("signed", "created"),
        ("signed-bundle", "created"),
        ("unsigned", "denied"),
        ("tampered", "denied"),
        ("wrong-key", "denied"),
        ("unsigned in warn mode", "created, with a warning"),
    ]
    assert [scene.title for scene in scenes if not scene.as_expected] == []
    assert all(any(line.startswith("Error from server (Forbidden): ") for line in scene.said) for scene in scenes[2:5])


async def test_an_edited_policy_is_put_back(on: Stage) -> None:
    before = on.policy_file.read_text()
    with on.policy_edited(mode="warn"):
        assert "mode: warn" in on.policy_file.read_text()
    assert on.policy_file.read_text() == before


async def test_the_folder_holds_what_the_commands_name(on: Stage) -> None:
    assert all(on.review_file(case).is_file() for case in on.cases)
    assert all(path.is_file() for path in (on.policy_file, on.key_file, on.ca_file, on.audit_file))
    review = json.loads(on.review_file(on.cases[0]).read_text())
    assert review["request"]["object"]["spec"]["containers"][0]["image"] == on.cases[0].reference


async def test_no_private_key_lies_in_the_folder(on: Stage) -> None:
    files = [path for path in on.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if b"PRIVATE" in path.read_bytes()]


async def test_nothing_is_left_behind() -> None:
    async with stage.opened() as opened:
        folder = opened.folder
    assert not folder.exists()
