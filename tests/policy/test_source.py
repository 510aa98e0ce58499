from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.policy.documents import KEYS, NOW, policy, without_permission
from webhook import settings
from webhook.errors import OperatorError
from webhook.policy.model import PolicySet
from webhook.policy.source import MAX_FILES, DirectorySource, load_files, parse_baseline
from webhook.policy.syntax.mistakes import PolicyErrors

BROKEN = "kind: TrustPolicy\n"


def source(directory: Path, **changes: object) -> DirectorySource:
    configured = replace(settings.Policy(directory=directory, reload_interval=0.01), **changes)  # type: ignore[arg-type]
    return DirectorySource(configured, clock=lambda: NOW)


def names(directory: DirectorySource) -> list[str]:
    return [one.name for one in directory.current.policies]


def write(path: Path, text: str) -> None:
    path.write_text(text)


def test_until_it_was_read_a_folder_demands_what_is_unknown(tmp_path: Path) -> None:
    current = source(tmp_path).current
    assert (current.policies, current.broken) == ((), (str(tmp_path),))


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "b.yml", policy("b"))
    write(tmp_path / "a.yaml", policy("z") + "---\n" + policy("a"))
    write(tmp_path / ".hidden.yaml", BROKEN)
    write(tmp_path / "notes.txt", BROKEN)
    (tmp_path / "below").mkdir()
    write(tmp_path / "below" / "c.yaml", BROKEN)
    loaded = source(tmp_path).load()
    assert [(one.name, one.origin) for one in loaded.policies] == [
        ("z", "a.yaml:1"),
        ("a", "a.yaml:21"),
        ("b", "b.yml:1"),
    ]
    assert (loaded.problems, loaded.broken, loaded.searched) == ({}, (), str(tmp_path))
    assert len(loaded.revision) == 12


def test_an_empty_folder_is_an_empty_set(tmp_path: Path) -> None:
    loaded = source(tmp_path).load()
    assert (loaded.policies, loaded.problems, loaded.broken, loaded.searched) == ((), {}, (), str(tmp_path))


def test_the_set_is_one_value_until_something_changes(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("a"))
    directory = source(tmp_path)
    before = directory.load()
    assert directory.load().policies == before.policies
    write(tmp_path / "a.yaml", policy("a") + "  help: other\n")
    after = directory.load()
    assert after is directory.current
    assert after.revision != before.revision
    assert before.policies[0].help == ""


def test_a_change_of_the_same_size_at_once_is_seen(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("a"))
    directory = source(tmp_path)
    for name in ("b", "c", "d"):
        write(tmp_path / "a.yaml", policy(name))
        assert [one.name for one in directory.load().policies] == [name]


def test_settled_files_are_not_read_again(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("a"))
    for path in (tmp_path / "a.yaml", tmp_path):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    directory = source(tmp_path)
    first = directory.load()
    assert directory.load().policies[0] is first.policies[0]


def test_a_set_comes_into_force_once_all_else_is_ready_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook.files.SETTLED_NS", -(10**12))
    told: list[list[str]] = []

    def prepare(new: PolicySet) -> None:
        told.append([one.name for one in new.policies])
        assert directory.current.policies == ()
        if len(told) == 1:
            raise OSError("not ready")

    write(tmp_path / "a.yaml", policy("a"))
    directory = DirectorySource(settings.Policy(directory=tmp_path), before=prepare, clock=lambda: NOW)
    with pytest.raises(OSError, match="not ready"):
        directory.load()
    assert names(directory) == []
    directory.load()
    assert (names(directory), told) == (["a"], [["a"], ["a"]])


@pytest.mark.parametrize("text", [BROKEN, "", "\t", "a: &a [*a]\n", "#" * (1 << 20) + "\n"],
                         ids=["mistake", "empty", "tab", "anchor", "too large"])  # fmt: skip
def test_last_good_stays_where_a_file_no_longer_parses(tmp_path: Path, text: str) -> None:
    write(tmp_path / "a.yaml", policy("a"))
    write(tmp_path / "b.yaml", policy("b"))
    directory = source(tmp_path)
    good = directory.load()
    write(tmp_path / "a.yaml", text)
    bad = directory.load()
    assert bad.policies == good.policies
    assert bad.revision == good.revision
    assert list(bad.problems) == ["a.yaml"]
    assert bad.problems["a.yaml"].startswith("a.yaml:1:")
    assert bad.broken == ()
    write(tmp_path / "a.yaml", policy("new"))
    assert [one.name for one in directory.load().policies] == ["new", "b"]
    assert directory.current.problems == {}


def test_a_file_that_was_never_good_is_broken(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", BROKEN)
    write(tmp_path / "b.yaml", policy("b"))
    directory = source(tmp_path)
    assert directory.load().broken == ("a.yaml",)
    assert names(directory) == ["b"]
    assert "a.yaml:1:1: apiVersion: required, and missing" in directory.current.problems["a.yaml"]
    assert directory.current.problems["a.yaml"].endswith("; and 2 more")
    (tmp_path / "a.yaml").unlink()
    assert (directory.load().broken, directory.current.problems) == ((), {})


def test_a_file_that_goes_takes_its_policies_along(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("a"))
    write(tmp_path / "b.yaml", policy("b"))
    directory = source(tmp_path)
    directory.load()
    (tmp_path / "a.yaml").unlink()
    directory.load()
    assert names(directory) == ["b"]


def test_a_name_in_two_files_is_the_later_file_s_problem(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("a"))
    write(tmp_path / "b.yaml", policy("b"))
    directory = source(tmp_path)
    directory.load()
    write(tmp_path / "b.yaml", policy("a") + "  help: other\n")
    loaded = directory.load()
    assert names(directory) == ["a", "b"]
    assert (loaded.problems, loaded.broken) == ({"b.yaml": "the policy a is in a.yaml already"}, ())
    (tmp_path / "a.yaml").unlink()
    assert directory.load().problems == {}
    assert [one.help for one in directory.current.policies] == ["other"]


def test_a_policy_whose_name_is_taken_stays_in_force(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", policy("b") + "  help: first\n")
    directory = source(tmp_path)
    directory.load()
    write(tmp_path / "a.yaml", policy("b") + "  help: second\n")
    loaded = directory.load()
    assert [one.help for one in loaded.policies] == ["second", "first"]
    assert list(loaded.problems) == ["b.yaml"]


def test_a_name_in_two_files_from_the_start_is_broken(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("a"))
    write(tmp_path / "b.yaml", policy("a"))
    loaded = source(tmp_path).load()
    assert len(loaded.policies) == 1
    assert loaded.broken == ("b.yaml",)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere.yaml")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_outside(path: Path) -> None:
    target = path.parent.parent / "outside.yaml"
    target.write_text(policy("outside"))
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(make_fifo, "not a regular file", id="pipe"),
        pytest.param(make_folder, "not a regular file", id="folder"),
        pytest.param(make_dangling, "no such file or directory", id="link to nothing"),
        pytest.param(make_loop, "too many levels of symbolic links", id="link to itself"),
        pytest.param(make_outside, "a link that leads out of the folder", id="link to outside"),
    ],
)
def test_what_cannot_be_read_is_a_problem_and_last_good_stays(tmp_path: Path, make: object, problem: str) -> None:
    assert callable(make)
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder / "a.yaml", policy("a"))
    directory = source(folder)
    directory.load()
    (folder / "a.yaml").unlink()
    make(folder / "a.yaml")
    loaded = directory.load()
    assert names(directory) == ["a"]
    assert (loaded.problems, loaded.broken) == ({"a.yaml": problem}, ())
    assert source(folder).load().broken == ("a.yaml",)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_permission_denied_is_a_problem_and_last_good_stays(open_folder: Path) -> None:
    write(open_folder / "a.yaml", policy("a"))
    directory = source(open_folder)
    directory.load()
    with without_permission(open_folder / "a.yaml"):
        assert directory.load().problems == {"a.yaml": "permission denied"}
        with pytest.raises(OperatorError, match="permission denied"):
            load_files([open_folder / "a.yaml"], now=NOW)
    assert names(directory) == ["a"]
    with without_permission(open_folder):
        assert directory.load().problems[str(open_folder)] == "permission denied"
    assert names(directory) == ["a"]
    assert directory.load().problems == {}


def test_nothing_is_left_open(tmp_path: Path) -> None:
    make_folder(tmp_path / "a.yaml")
    make_fifo(tmp_path / "b.yaml")
    write(tmp_path / "c.yaml", policy("c"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        source(tmp_path).load()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_goes_takes_nothing_along(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder / "a.yaml", policy("a"))
    directory = source(folder)
    directory.load()
    folder.rename(tmp_path / "gone")
    loaded = directory.load()
    assert (names(directory), loaded.broken) == (["a"], ())
    assert loaded.problems == {str(folder): "no such file or directory"}
    (tmp_path / "gone").rename(folder)
    assert directory.load().problems == {}


def test_a_folder_that_never_was_is_broken(tmp_path: Path) -> None:
    loaded = source(tmp_path / "none").load()
    assert loaded.broken == (str(tmp_path / "none"),)
    assert loaded.problems == {str(tmp_path / "none"): "no such file or directory"}


def test_a_folder_of_too_many_files_is_not_read(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 1):
        write(tmp_path / f"{number}.yaml", BROKEN)
    assert source(tmp_path).load().problems == {str(tmp_path): "more than 200 policy files"}


def swap(volume: Path, generation: str, files: dict[str, str]) -> None:
    """As the kubelet does: a new folder, then a link that is renamed over the old one, then the old folder goes."""
    (volume / generation).mkdir()
    for name, text in files.items():
        write(volume / generation / name, text)
    old = (volume / "..data").resolve() if (volume / "..data").exists() else None
    (volume / "..data_tmp").symlink_to(generation)
    (volume / "..data_tmp").rename(volume / "..data")
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    for link in volume.glob("*.yaml"):
        if not link.exists():
            link.unlink()
    if old is not None:
        for path in old.iterdir():
            path.unlink()
        old.rmdir()


def test_a_config_map_volume_is_swapped_as_one(tmp_path: Path) -> None:
    swap(tmp_path, "..2026_1", {"a.yaml": policy("a"), "b.yaml": policy("b")})
    directory = source(tmp_path)
    assert [one.name for one in directory.load().policies] == ["a", "b"]
    swap(tmp_path, "..2026_2", {"a.yaml": policy("b"), "c.yaml": policy("a")})
    loaded = directory.load()
    assert [(one.name, one.origin) for one in loaded.policies] == [("b", "a.yaml:1"), ("a", "c.yaml:1")]
    assert loaded.problems == {}
    swap(tmp_path, "..2026_3", {"a.yaml": BROKEN, "c.yaml": policy("a")})
    assert [one.name for one in directory.load().policies] == ["b", "a"]
    assert list(directory.current.problems) == ["a.yaml"]


async def test_watch_swaps_what_changed_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "webhook.policy.source")
    write(tmp_path / "a.yaml", policy("a"))
    directory = source(tmp_path)
    directory.load()
    task = asyncio.create_task(directory.watch())
    try:
        write(tmp_path / "a.yaml", policy("b"))
        await until(lambda: names(directory) == ["b"])
        write(tmp_path / "a.yaml", BROKEN)
        await until(lambda: bool(directory.current.problems))
    finally:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(directory) == ["b"]
    assert any("its last good version stays in force" in record.getMessage() for record in caplog.records)
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 1


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_baseline_is_parsed_once_and_joined(tmp_path: Path) -> None:
    loaded = source(tmp_path, baseline_exempt=("registry.k8s.io", "public.ecr.aws/eks")).load()
    assert [pattern.text for pattern in loaded.baseline] == ["registry.k8s.io", "public.ecr.aws/eks"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nginx", "baseline exemptions: pattern 'nginx': a host expected first"),
        ("**", "baseline exemptions: one registry expected, by its name"),
        ("docker.io", "baseline exemptions: anybody may push to docker.io"),
    ],
)
def test_bad_baseline_is_the_operator_s_mistake(text: str, message: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse_baseline([text])
    assert str(caught.value).startswith(message)


def test_load_files_takes_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    write(tmp_path / "a.yaml", policy("a"))
    write(tmp_path / "more" / "b.yaml", policy("b"))
    loaded = load_files([tmp_path / "a.yaml", tmp_path / "more"], now=NOW)
    assert [one.origin for one in loaded.policies] == [f"{tmp_path}/a.yaml:1", f"{tmp_path}/more/b.yaml:1"]
    assert loaded.searched == f"{tmp_path}/a.yaml, {tmp_path}/more"


def test_load_files_tells_every_mistake_of_every_file(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("a") + "  tags: x\n")
    write(tmp_path / "b.yaml", policy("b"))
    write(tmp_path / "c.yaml", policy("b"))
    write(tmp_path / "d.yaml", "#" * (2 << 20))
    with pytest.raises(PolicyErrors) as caught:
        load_files([tmp_path], now=NOW)
    assert [(Path(one.origin).name, one.line, one.path) for one in caught.value.mistakes] == [
        ("a.yaml", 20, "spec.tags"), ("c.yaml", 4, "metadata.name"), ("d.yaml", 1, ""),
    ]  # fmt: skip
    assert caught.value.mistakes[1].message == f"the policy b is in {tmp_path}/b.yaml:1 already"


def test_load_files_reads_a_file_that_is_named_twice_once(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("a"))
    assert len(load_files([tmp_path, tmp_path / "a.yaml"], now=NOW).policies) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("none.yaml", "none.yaml: no such file or directory", id="missing"),
        pytest.param("empty", "empty: no file in it ends in .yaml or .yml", id="empty folder"),
        pytest.param("pipe", "pipe: not a regular file", id="pipe"),
        pytest.param("x" * 300, "file name too long", id="long name"),
    ],
)
def test_load_files_says_what_it_cannot_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OperatorError) as caught:
        load_files([tmp_path / name], now=NOW)
    assert str(caught.value).endswith(message)
    assert not isinstance(caught.value, PolicyErrors)


def test_load_files_reads_the_clock_where_it_must(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    more = f"  exceptions: [{{digest: 'sha256:{'a' * 64}', namespaces: [x], reason: y1, until: {today}}}]\n"
    write(tmp_path / "a.yaml", policy("a", more=KEYS + more))
    assert load_files([tmp_path]).policies[0].exceptions
