"""Which trust roots are at hand, through refreshes good and bad, files that change, and disks that are read-only.

Every repository is a real one on loopback, and is asked through the real child process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sigstore

from tests.private_sigstore.tuf import TUFRepository, serving
from webhook import settings
from webhook.errors import Code, InconclusiveError, OperatorError
from webhook.trust import mirror, root, sources, succession
from webhook.trust.mirror import Repository
from webhook.trust.root import PUBLIC_GOOD, RootKind, RootSource
from webhook.trust.sources import TrustSource

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SHIPPED = mirror.packaged_document()
INLINE = RootSource("inline", RootKind.INLINE, "inline sha256:00", inline=root.parse(SHIPPED))


def edited(**changes: object) -> bytes:
    """The shipped root with other members."""
    return json.dumps(json.loads(SHIPPED) | changes).encode()


def later(host: str = "fulcio.example.com") -> bytes:
    """A root that follows the shipped one."""
    document = json.loads(SHIPPED)
    document["certificateAuthorities"][1]["uri"] = f"https://{host}"
    return json.dumps(document).encode()


def file_source(name: str = "corp.json") -> RootSource:
    return RootSource("corp", RootKind.FILE, f"file {name}")


class Counted(list[tuple[str, str]]):
    def __call__(self, key: str, result: str) -> None:
        self.append((key, result))


@pytest.fixture
def repository() -> TUFRepository:
    made = TUFRepository()
    made.publish(later())
    return made


@pytest.fixture
def url(repository: TUFRepository) -> Iterator[str]:
    with serving(repository) as address:
        yield address


@pytest.fixture
def configured(repository: TUFRepository, url: str, tmp_path: Path) -> settings.Trust:
    """The public-good repository is a mirror of ours, and trust in it begins with our root."""
    begin = tmp_path / "root.json"
    begin.write_bytes(repository.root)
    return settings.Trust(
        directory=tmp_path / "roots",
        tuf_mirror=url,
        tuf_root=begin,
        tuf_hosts=(url.removeprefix("http://"),),
        cache=tmp_path / "cache",
    )


def make(configured: settings.Trust, *, now: datetime = NOW, observe: Counted | None = None) -> TrustSource:
    made = TrustSource(
        configured, settings.Network(), observe=Counted() if observe is None else observe, clock=lambda: now
    )
    made.use([PUBLIC_GOOD])
    return made


def mirror_source(url: str, repository: TUFRepository) -> RootSource:
    return RootSource("corp", RootKind.TUF, f"tuf {url}", url=url, tuf_root=repository.root)


def said(source: TrustSource, key: str = PUBLIC_GOOD.key, *, after: timedelta = timedelta(0)) -> str:
    return next(state.describe(NOW + after) for state in source.states if state.source.key == key)


def test_the_shipped_root_is_at_hand_at_once() -> None:
    source = TrustSource(settings.Trust(), settings.Network(), observe=Counted())
    assert source.current.root_of(PUBLIC_GOOD) == sources.packaged()
    assert said(source) == "shipped with this version"


def test_what_is_shipped_is_what_the_locked_library_ships_or_newer() -> None:
    store = Path(sigstore.__file__).parent / "_store" / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
    theirs = root.parse((store / "trusted_root.json").read_bytes())
    assert succession.follows(sources.packaged(), theirs)
    ours, locked = (
        json.loads(data)["signed"]["version"]
        for data in (mirror.packaged_tuf_root(), (store / "root.json").read_bytes())
    )
    assert ours >= locked


async def test_a_refresh_replaces_what_was_shipped(configured: settings.Trust, url: str) -> None:
    counted = Counted()
    source = make(configured, observe=counted)
    await source.refresh()
    assert source.current.root_of(PUBLIC_GOOD) == root.parse(later())
    assert counted == [("public-good", "success")]
    assert said(source, after=timedelta(hours=5)) == f"fetched from {url} 5 h ago"


async def test_a_mirror_serves_the_public_good_repository_by_its_own_root() -> None:
    """Without COUNTERSIGN_TUF_ROOT a mirror must show what the public-good instance signed: ours cannot."""
    stranger = TUFRepository()
    stranger.publish(later())
    with serving(stranger) as url:
        source = make(settings.Trust(tuf_mirror=url))
        await source.refresh()
    assert source.current.root_of(PUBLIC_GOOD) == sources.packaged()
    assert "not refreshed" in said(source)


async def test_a_failed_refresh_keeps_the_last_good_root_and_says_so_once(
    configured: settings.Trust, repository: TUFRepository, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    counted = Counted()
    source = make(configured, observe=counted)
    await source.refresh()
    good = repository.files.pop("/timestamp.json")
    for _ in range(3):
        await source.refresh()
    assert source.current.root_of(PUBLIC_GOOD) == root.parse(later())
    assert counted == [("public-good", "success"), *[("public-good", "failure")] * 3]
    assert "ago; not refreshed from http" in said(source)
    assert "status 404" in said(source)
    assert sum("the last good one stays" in line for line in caplog.messages) == 1
    repository.files["/timestamp.json"] = good
    await source.refresh()
    assert "not refreshed" not in said(source)
    assert any("public-good: at hand" in line for line in caplog.messages)


LESS = {
    "nothing": (edited(tlogs=[], ctlogs=[], certificateAuthorities=[], timestampAuthorities=[]), "neither"),
    "no-authority": (edited(certificateAuthorities=[]), "no certificate authority left"),
    "no-log": (edited(tlogs=[]), "no transparency log left"),
    "no-ct-log": (edited(ctlogs=None), "no certificate transparency log left"),
    "no-clock": (edited(timestampAuthorities=[]), "no timestamp authority left"),
    "not-a-root": (b"[]", "no trust root"),
}


@pytest.mark.parametrize(("document", "problem"), LESS.values(), ids=LESS)
async def test_less_than_a_whole_root_is_refused(
    configured: settings.Trust, repository: TUFRepository, document: bytes, problem: str
) -> None:
    source = make(configured)
    await source.refresh()
    repository.publish(document)
    await source.refresh()
    assert problem in said(source)
    assert source.current.root_of(PUBLIC_GOOD) == root.parse(later())
    assert make(configured).current.root_of(PUBLIC_GOOD) == root.parse(later()), "nor was it kept"


async def test_fewer_of_a_kind_are_a_rotation(configured: settings.Trust, repository: TUFRepository) -> None:
    fewer = edited(certificateAuthorities=json.loads(SHIPPED)["certificateAuthorities"][1:])
    source = make(configured)
    await source.refresh()
    repository.publish(fewer)
    await source.refresh()
    assert source.current.root_of(PUBLIC_GOOD) == root.parse(fewer)


async def test_what_was_fetched_outlives_the_process(configured: settings.Trust, repository: TUFRepository) -> None:
    await make(configured).refresh()
    repository.files.clear()
    again = make(configured)
    assert again.current.root_of(PUBLIC_GOOD) == root.parse(later())
    assert "fetched from" in said(again)
    without = make(replace(configured, cache=None))
    assert without.current.root_of(PUBLIC_GOOD) == sources.packaged()


async def test_an_older_state_is_told_after_a_restart(configured: settings.Trust, repository: TUFRepository) -> None:
    older = dict(repository.files)
    repository.publish(later("newer.example.com"))
    await make(configured).refresh()
    repository.files = older
    again = make(configured)
    await again.refresh()
    assert "BadVersionNumber" in said(again)
    assert again.current.root_of(PUBLIC_GOOD) == root.parse(later("newer.example.com"))


def _keep(cache: Path, document: bytes) -> None:
    repository = sources.public_good(settings.Trust())
    (cache / repository.folder).mkdir(parents=True)
    mirror.keep(mirror.Fetched(root.parse(document), document, NOW), cache / repository.folder)


def _without_end() -> bytes:
    document = json.loads(SHIPPED)
    del document["certificateAuthorities"][0]["validFor"]["end"]
    return json.dumps(document).encode()


OLDER = {
    "a-log-fewer": edited(tlogs=json.loads(SHIPPED)["tlogs"][:1]),
    "open-again": _without_end(),
    "nothing-left": edited(timestampAuthorities=[]),
}


@pytest.mark.parametrize("document", OLDER.values(), ids=OLDER)
def test_what_was_kept_never_takes_back_what_is_shipped(document: bytes, tmp_path: Path) -> None:
    _keep(tmp_path / "older", document)
    older = make(settings.Trust(cache=tmp_path / "older"))
    assert older.current.root_of(PUBLIC_GOOD) == sources.packaged()
    _keep(tmp_path / "newer", later())
    newer = make(settings.Trust(cache=tmp_path / "newer"))
    assert newer.current.root_of(PUBLIC_GOOD) == root.parse(later())


def test_what_was_kept_badly_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _keep(tmp_path, later())
    next(tmp_path.rglob(mirror.LAST_GOOD)).write_bytes(b"{")
    assert make(settings.Trust(cache=tmp_path)).current.root_of(PUBLIC_GOOD) == sources.packaged()
    assert "what was kept cannot be used" in caplog.text


async def test_a_read_only_file_system_leaves_a_temporary_directory(
    configured: settings.Trust, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    source = make(replace(configured, cache=Path("/proc/countersign"), reload_interval=0.01, first_refresh=0))
    watching = asyncio.create_task(source.watch())
    async with asyncio.timeout(30):
        while source.current.root_of(PUBLIC_GOOD) != root.parse(later()):
            await asyncio.sleep(0.02)
    assert list(temporary.iterdir())
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert not list(temporary.iterdir())
    assert "a temporary directory is used" in caplog.text


async def test_where_nothing_is_writable_the_shipped_root_stays(
    configured: settings.Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    source = make(replace(configured, cache=None))
    await source.refresh()
    assert "no directory is writable" in said(source)
    assert source.current.root_of(PUBLIC_GOOD) == sources.packaged()


async def test_off_is_off(configured: settings.Trust, repository: TUFRepository, url: str) -> None:
    counted = Counted()
    source = make(replace(configured, refresh_interval=None), observe=counted)
    source.use([PUBLIC_GOOD, mirror_source(url, repository)])
    await source.refresh()
    assert not counted
    assert source.current.root_of(PUBLIC_GOOD) == sources.packaged()
    with pytest.raises(InconclusiveError, match="refresh is off"):
        source.current.root_of(mirror_source(url, repository))


async def test_nothing_is_asked_that_no_policy_names(configured: settings.Trust) -> None:
    counted = Counted()
    source = make(configured, observe=counted)
    source.use([INLINE])
    await source.refresh()
    assert not counted


async def test_a_mirror_of_a_policy_is_asked_at_once_and_forgotten_with_it(
    configured: settings.Trust, repository: TUFRepository, url: str
) -> None:
    named = mirror_source(url, repository)
    source = make(configured)
    source.use([named])
    with pytest.raises(InconclusiveError, match="corp is not at hand: not fetched yet") as caught:
        source.current.root_of(named)
    assert caught.value.code is Code.TRUST_UNAVAILABLE
    await source.refresh(0.0)
    assert source.current.root_of(named) == root.parse(later())
    source.use([])
    assert [state.source for state in source.states] == [PUBLIC_GOOD]
    assert source.current.root_of(named) == root.parse(later()), "reviews that began before need it"
    await source.refresh()
    source.use([named])
    assert source.current.root_of(named) == root.parse(later()), "an edit was taken back"
    source.use([])
    source._forget(time.monotonic() + sources.LEFT_SECONDS - 60)
    assert named.key in source.current.roots
    source._forget(time.monotonic() + sources.LEFT_SECONDS + 1)
    source.load()
    assert named.key not in source.current.roots
    assert [path.name for path in configured.cache.iterdir()] == [Repository(url, repository.root).folder]  # type: ignore[union-attr]


def test_few_are_kept_of_those_that_were_named(configured: settings.Trust) -> None:
    source = make(configured)
    for number in range(2 * sources.LEFT_MAX):
        write(configured, SHIPPED, f"{number}.json")
        source.use([file_source(f"{number}.json")])
    source.load()
    assert len(source.current.roots) == sources.LEFT_MAX + 2
    assert f"file {2 * sources.LEFT_MAX - 2}.json" in source.current.roots, "the latest"


async def test_a_host_that_only_a_policy_names_is_not_dialled(
    configured: settings.Trust, repository: TUFRepository, url: str
) -> None:
    named = mirror_source(url, repository)
    source = make(replace(configured, tuf_hosts=("tuf.corp", "127.0.0.1")))  # listed for another port
    source.use([PUBLIC_GOOD, named])
    await source.refresh()
    assert "COUNTERSIGN_TUF_HOSTS does not list it" in said(source, named.key)
    with pytest.raises(InconclusiveError, match="no name of the public DNS"):
        source.current.root_of(named)
    assert source.current.root_of(PUBLIC_GOOD) == root.parse(later()), "the operator's own mirror is on loopback too"


async def test_a_problem_of_a_root_that_nobody_needs_is_none(
    configured: settings.Trust, repository: TUFRepository
) -> None:
    repository.files.clear()
    source = make(configured)
    await source.refresh()
    assert "not refreshed" in said(source)
    source.use([INLINE])
    assert said(source) == "shipped with this version"
    source.use([PUBLIC_GOOD])
    assert "not refreshed" in said(source)


async def test_a_root_that_reviews_wait_for_is_asked_first(
    configured: settings.Trust, repository: TUFRepository, url: str
) -> None:
    counted = Counted()
    source = make(configured, observe=counted)
    named = mirror_source(f"{url}/", repository)
    source.use([PUBLIC_GOOD, named])
    await source.refresh()
    assert [key for key, _ in counted] == [named.key, PUBLIC_GOOD.key]


async def test_folders_of_repositories_that_were_named_once_do_not_pile_up(
    configured: settings.Trust, repository: TUFRepository, url: str, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    (cache / "mine").mkdir(parents=True)
    once = [Repository(f"{url}/{number}", b"") for number in range(2 * mirror.UNUSED_MAX)]
    for number, one in enumerate(once):
        (cache / one.folder / "metadata").mkdir(parents=True)
        os.utime(cache / one.folder, (number, number))
    source = make(configured)
    source.use([mirror_source(url, repository)])
    await source.refresh()
    left = {path.name for path in cache.iterdir()}
    assert left == {
        "mine",
        Repository(url, repository.root).folder,
        *(one.folder for one in once[-mirror.UNUSED_MAX :]),
    }


def test_use_is_whole_or_not_at_all(configured: settings.Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    write(configured, SHIPPED)
    source = make(configured)
    with monkeypatch.context() as patched:
        patched.setattr(root, "parse", lambda data: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            source.use([file_source()])
    source.use([file_source()])
    assert source.current.root_of(file_source()) == root.parse(SHIPPED)


async def test_more_mirrors_than_are_asked_leave_the_rest(
    configured: settings.Trust, repository: TUFRepository, url: str
) -> None:
    counted = Counted()
    source = make(replace(configured, mirrors_max=1), observe=counted)
    source.use([mirror_source(url, repository), mirror_source(f"{url}/", repository)])
    await source.refresh()
    assert [key for key, _ in counted] == [f"tuf {url}"]
    with pytest.raises(InconclusiveError, match="2 repositories are named, and the first 1 asked"):
        source.current.root_of(mirror_source(f"{url}/", repository))


async def test_failures_are_retried_sooner_than_a_day_and_ever_later(
    configured: settings.Trust, repository: TUFRepository
) -> None:
    source = make(configured)
    pauses = [source._pause("x", "down") for _ in range(12)]
    assert 50 < pauses[0] < 70
    assert 100 < pauses[1] < 140
    assert 3000 < pauses[-1] < 4000
    assert 20 * 3600 < source._pause("x", "") < 27 * 3600


def write(configured: settings.Trust, data: bytes, name: str = "corp.json") -> Path:
    configured.directory.mkdir(exist_ok=True)
    path = configured.directory / name
    path.write_bytes(data)
    return path


def test_a_file_that_a_policy_names_is_read_and_read_again(configured: settings.Trust) -> None:
    path = write(configured, SHIPPED)
    source = make(configured)
    source.use([file_source()])
    assert source.current.root_of(file_source()) == root.parse(SHIPPED)
    path.write_bytes(later())
    source.load()
    assert source.current.root_of(file_source()) == root.parse(later())
    path.write_bytes(b"{")
    source.load()
    assert source.current.root_of(file_source()) == root.parse(later())
    assert "not JSON" in said(source, "file corp.json")
    path.unlink()
    source.load()
    with pytest.raises(InconclusiveError, match=r"there is no file corp\.json"):
        source.current.root_of(file_source())


def _link_out(configured: settings.Trust) -> None:
    outside = configured.directory.parent / "outside.json"
    outside.write_bytes(SHIPPED)
    (configured.directory / "corp.json").symlink_to(outside)


def _pipe(configured: settings.Trust) -> None:
    os.mkfifo(configured.directory / "corp.json")


def _folder(configured: settings.Trust) -> None:
    (configured.directory / "corp.json").mkdir()


def _huge(configured: settings.Trust) -> None:
    write(configured, b" " * (root.MAX_ROOT_BYTES + 1))


BAD_FILES: dict[str, tuple[Any, str]] = {
    "link-out-of-the-folder": (_link_out, "leads out"),
    "pipe": (_pipe, "not a regular file"),
    "folder": (_folder, "regular file|directory"),
    "over-4-MiB": (_huge, "at most 4194304"),
}


@pytest.mark.parametrize(("put", "problem"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_none_is_no_root(configured: settings.Trust, put: Any, problem: str) -> None:
    configured.directory.mkdir()
    put(configured)
    source = make(configured)
    source.use([file_source()])
    with pytest.raises(InconclusiveError, match=problem):
        source.current.root_of(file_source())


@pytest.mark.parametrize("name", ["../root.json", "/etc/passwd", "a/b.json", ".hidden", "", "a\nb", "a" * 254])
def test_only_plain_names_are_looked_for(configured: settings.Trust, name: str) -> None:
    write(configured, SHIPPED)
    source = make(configured)
    source.use([file_source(name)])
    with pytest.raises(InconclusiveError, match="plain file name"):
        source.current.root_of(file_source(name))


def test_links_of_a_config_map_stay_in_the_folder(configured: settings.Trust) -> None:
    data = configured.directory / "..2026"
    data.mkdir(parents=True)
    (data / "corp.json").write_bytes(SHIPPED)
    (configured.directory / "..data").symlink_to("..2026")
    (configured.directory / "corp.json").symlink_to("..data/corp.json")
    source = make(configured)
    source.use([file_source()])
    assert source.current.root_of(file_source()) == root.parse(SHIPPED)


def test_a_volume_that_is_swapped_again_and_again_never_takes_the_root_away(configured: settings.Trust) -> None:
    volume, over = configured.directory, threading.Event()

    def swap(generation: int) -> None:
        """As the kubelet does it: the new folder, the link over the old one, and then the old folder goes."""
        new = volume / f"..{generation}"
        new.mkdir(parents=True)
        (new / "corp.json").write_bytes(SHIPPED if generation % 2 else later())
        (volume / "..next").symlink_to(new.name)
        (volume / "..next").replace(volume / "..data")
        shutil.rmtree(volume / f"..{generation - 1}", ignore_errors=True)

    def swap_all() -> None:
        for generation in range(1, 500):
            swap(generation)
        over.set()

    swap(0)
    (volume / "corp.json").symlink_to("..data/corp.json")
    source = make(configured)
    source.use([file_source()])
    swapping = threading.Thread(target=swap_all)
    swapping.start()
    gone = 0
    while not over.is_set():
        source.load()
        gone += file_source().key not in source.current.roots
    swapping.join()
    assert gone == 0


def test_a_root_in_the_policy_needs_nothing() -> None:
    source = TrustSource(settings.Trust(), settings.Network(), observe=Counted())
    source.use([INLINE])
    assert source.current.root_of(INLINE) is INLINE.inline
    assert len(source.states) == 1


def test_what_is_set_wrongly_stops_the_start(tmp_path: Path) -> None:
    for configured, named in (
        (settings.Trust(tuf_mirror="http://tuf.example.com"), "COUNTERSIGN_TUF_MIRROR: an https URL"),
        (settings.Trust(tuf_root=tmp_path), "COUNTERSIGN_TUF_MIRROR"),
        (settings.Trust(tuf_mirror="https://x", tuf_root=tmp_path / "none"), "COUNTERSIGN_TUF_ROOT .* cannot be read"),
    ):
        with pytest.raises(OperatorError, match=named):
            TrustSource(configured, settings.Network(), observe=Counted())
