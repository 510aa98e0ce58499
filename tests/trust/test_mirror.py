"""A real TUF repository on loopback, asked through the real child process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.private_sigstore.tuf import TARGET, TUFRepository, serving
from webhook import addresses, settings
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.tls import authority as authorities
from webhook.trust import mirror, root, tuf
from webhook.trust.mirror import Fetched, Repository

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DOCUMENT = mirror.packaged_document()
DAY = timedelta(days=1)


def changed(url: str = "https://fulcio.example.com") -> bytes:
    """Another whole root."""
    return DOCUMENT.replace(b"https://fulcio.sigstore.dev", url.encode())


@pytest.fixture
def repository() -> TUFRepository:
    made = TUFRepository()
    made.publish(DOCUMENT)
    return made


@pytest.fixture
def url(repository: TUFRepository) -> Iterator[str]:
    with serving(repository) as address:
        yield address


async def look(url: str, begin: bytes, directory: Path, **network: object) -> Fetched:
    configured = settings.Network(**network)  # type: ignore[arg-type]
    repository = Repository(url, begin, listed=True)
    return await mirror.fetch(repository, directory, network=configured, seconds=30, now=NOW)


async def test_what_a_repository_vouches_for_is_had(repository: TUFRepository, url: str, tmp_path: Path) -> None:
    fetched = await look(url, repository.root, tmp_path)
    assert (fetched.document, fetched.root, fetched.at) == (DOCUMENT, root.parse(DOCUMENT), NOW)


async def test_a_second_look_sees_what_changed(repository: TUFRepository, url: str, tmp_path: Path) -> None:
    await look(url, repository.root, tmp_path)
    repository.publish(changed())
    assert (await look(url + "/", repository.root, tmp_path)).document == changed()


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
async def test_keys_are_rotated_by_a_new_root(repository: TUFRepository, url: str, tmp_path: Path, role: str) -> None:
    await look(url, repository.root, tmp_path / "seen-before")
    repository.rotate(role)
    repository.publish(changed())
    for directory in ("seen-before", "new"):
        assert (await look(url, repository.root, tmp_path / directory)).document == changed()


async def test_a_repository_that_rotates_without_end_is_followed_so_far(
    repository: TUFRepository, url: str, tmp_path: Path
) -> None:
    for _ in range(tuf.MAX_ROOTS + 10):
        repository.rotate("snapshot")
    repository.publish(DOCUMENT)  # signed by the last key
    with pytest.raises(InconclusiveError, match="UnsignedMetadata"):
        await look(url, repository.root, tmp_path)
    assert len(list((tmp_path / "metadata" / "root_history").iterdir())) == tuf.MAX_ROOTS + 1


def expire(repository: TUFRepository) -> None:
    repository.publish(changed(), expires=-DAY)


def roll_back(repository: TUFRepository) -> None:
    old = dict(repository.files)
    repository.publish(DOCUMENT, version=1)
    repository.files |= {path: data for path, data in old.items() if "root" in path}


def sign_by_a_stranger(repository: TUFRepository) -> None:
    stranger = TUFRepository()
    stranger.publish(changed(), version=3)
    repository.files |= {
        path: data for path, data in stranger.files.items() if "root.json" not in path or TARGET in path
    }


def break_signature(repository: TUFRepository) -> None:
    repository.publish(changed())
    metadata = json.loads(repository.files["/timestamp.json"])
    metadata["signed"]["version"] += 1
    repository.files["/timestamp.json"] = json.dumps(metadata).encode()


def change_target(repository: TUFRepository) -> None:
    repository.publish(changed())
    repository.files[repository.target_path()] = changed("https://fulcio.example.org")


def lengthen_target(repository: TUFRepository) -> None:
    repository.publish(changed())
    repository.files[repository.target_path()] += b" " * 100


def oversize(repository: TUFRepository) -> None:
    repository.publish(b" " * (root.MAX_ROOT_BYTES + 1))


def remove_target(repository: TUFRepository) -> None:
    repository.publish(None)


def rename_target(repository: TUFRepository) -> None:
    repository.publish(changed(), name="../../trusted_root.json")


def lose_target(repository: TUFRepository) -> None:
    repository.publish(changed())
    del repository.files[repository.target_path()]


def redirect(repository: TUFRepository) -> None:
    repository.publish(changed())
    repository.files["/timestamp.json"] = b"http://127.0.0.1:1/timestamp.json"


def publish_garbage(repository: TUFRepository) -> None:
    repository.publish(b"{}")


def answer_garbage(repository: TUFRepository) -> None:
    repository.files["/timestamp.json"] = b"<html>"


def answer_too_much(repository: TUFRepository) -> None:
    repository.files["/timestamp.json"] = b" " * (64 << 10)


BROKEN: dict[str, tuple[Callable[[TUFRepository], None], str]] = {
    "timestamp-expired": (expire, "expired"),
    "rolled-back": (roll_back, "BadVersionNumber"),
    "strangers-signatures": (sign_by_a_stranger, "UnsignedMetadata"),
    "signature-broken": (break_signature, "UnsignedMetadata"),
    "target-changed": (change_target, "LengthOrHashMismatch"),
    "target-longer": (lengthen_target, "LengthMismatch"),
    "target-over-4-MiB": (oversize, "at most 4194304 are read"),
    "no-target": (remove_target, "there is no target trusted_root.json"),
    "target-of-another-name": (rename_target, "there is no target trusted_root.json"),
    "target-not-served": (lose_target, "status 404"),
    "redirect": (redirect, "status 302"),
    "no-trust-root": (publish_garbage, "no trust root: trust root: mediaType"),
    "html": (answer_garbage, "Deserialization"),
    "timestamp-too-long": (answer_too_much, "LengthMismatch"),
}


@pytest.mark.parametrize(("break_it", "said"), BROKEN.values(), ids=BROKEN)
async def test_a_bad_repository_is_no_trust_root(
    repository: TUFRepository, url: str, tmp_path: Path, break_it: Callable[[TUFRepository], None], said: str
) -> None:
    repository.publish(DOCUMENT)  # version 2, so that there is something to roll back to
    await look(url, repository.root, tmp_path / "in")
    break_it(repository)
    with pytest.raises(InconclusiveError, match=said) as caught:
        await look(url, repository.root, tmp_path / "in")
    assert caught.value.code is Code.TRUST_UNAVAILABLE
    written = {path.name for path in tmp_path.rglob("*")}
    assert TARGET in written
    assert {path.name for path in tmp_path.iterdir()} == {"in"}, "no name in metadata is a path"


async def test_trust_begins_with_a_root_of_the_same_repository(url: str, tmp_path: Path) -> None:
    with pytest.raises(InconclusiveError, match="UnsignedMetadata"):
        await look(url, TUFRepository().root, tmp_path)
    with pytest.raises(InconclusiveError, match=r"Repository|Deserialization"):
        await look(url, b"{}", tmp_path / "other")


async def test_a_mirror_that_is_down(repository: TUFRepository, tmp_path: Path) -> None:
    with serving(repository) as url:
        pass
    with pytest.raises(InconclusiveError, match="Connection refused"):
        await look(url, repository.root, tmp_path)


async def test_a_slow_mirror_ends_with_its_time(repository: TUFRepository, tmp_path: Path) -> None:
    begin = time.monotonic()
    with serving(repository, stall=threading.Event()) as url:
        slow = Repository(url, repository.root, listed=True)
        with pytest.raises(InconclusiveError, match=r"longer than 1 s"):
            await mirror.fetch(slow, tmp_path, network=settings.Network(), seconds=1, now=NOW)
    assert time.monotonic() - begin < 20


async def test_a_cancelled_look_leaves_no_process(repository: TUFRepository, tmp_path: Path) -> None:
    with serving(repository, stall=threading.Event()) as url:
        others = _children()
        task = asyncio.create_task(look(url, repository.root, tmp_path))
        async with asyncio.timeout(60):
            while not _children() - others:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not _children() - others


def _children(parent: int | None = None) -> set[str]:
    pid = parent or os.getpid()
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())


ASKER = """
import asyncio, datetime, pathlib, sys
from webhook import settings
from webhook.trust import mirror
url, root, directory = sys.argv[1:]
repository = mirror.Repository(url, pathlib.Path(root).read_bytes(), listed=True)
now = datetime.datetime.now(datetime.UTC)
asyncio.run(mirror.fetch(repository, pathlib.Path(directory), network=settings.Network(), seconds=600, now=now))
"""


async def test_a_look_ends_with_whoever_asked_however_that_ended(repository: TUFRepository, tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(repository.root)
    asked = threading.Event()
    with serving(repository, stall=threading.Event(), asked=asked) as url:
        arguments = (url, str(tmp_path / "root.json"), str(tmp_path / "in"))
        asker = await asyncio.create_subprocess_exec(sys.executable, "-c", ASKER, *arguments, cwd=ROOT)
        assert await asyncio.to_thread(asked.wait, 30)
        [child] = _children(asker.pid)
        limits = Path(f"/proc/{child}/limits").read_text(encoding="ascii")
        assert f"Max address space {tuf.MAX_MEMORY_BYTES} " in " ".join(limits.split())
        asker.send_signal(signal.SIGKILL)
        await asker.wait()
        async with asyncio.timeout(5):  # below the time that the client waits for a socket
            while _is_alive(child):
                await asyncio.sleep(0.01)


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


STRANGE = {
    "loopback": ("https://127.0.0.1:{port}", "no name of the public DNS"),
    "loopback-6": ("https://[::1]:{port}", "no name of the public DNS"),
    "plain-http": ("http://127.0.0.1:{port}", "no name of the public DNS"),
    "localhost": ("http://localhost:{port}", "no name of the public DNS"),
    "number": ("https://2130706433:{port}", "no name of the public DNS"),
    "metadata": ("https://169.254.169.254", "no name of the public DNS"),
    "private": ("https://10.0.0.1", "no name of the public DNS"),
    "in-the-cluster": ("https://kubernetes.default.svc", "no name of the public DNS"),
    "one-label": ("https://vault", "no name of the public DNS"),
}


@pytest.mark.parametrize(("url", "said"), STRANGE.values(), ids=STRANGE)
async def test_a_host_that_no_operator_named_is_public(url: str, said: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        asked = Repository(url.format(port=listener.getsockname()[1]), b"{}")
        with pytest.raises(InconclusiveError, match=said) as caught:
            await mirror.fetch(asked, tmp_path / "in", network=settings.Network(), seconds=30, now=NOW)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert caught.value.code is Code.TRUST_UNAVAILABLE
    assert "COUNTERSIGN_TUF_HOSTS" in caught.value.detail


async def test_no_operator_can_list_the_metadata_service(tmp_path: Path) -> None:
    with pytest.raises(InconclusiveError, match=r"169\.254\.169\.254 is a link-local address.* no setting allows it"):
        await look("https://169.254.169.254", TUFRepository().root, tmp_path)


async def test_the_proxy_is_asked_and_its_password_is_in_no_message(repository: TUFRepository, tmp_path: Path) -> None:
    with serving(repository) as url:
        with pytest.raises(InconclusiveError, match=r"Proxy|refused") as caught:
            await look(url, repository.root, tmp_path, http_proxy="http://user:hunter2@127.0.0.1:1")
        assert "hunter2" not in caught.value.detail
        direct = await look(url, repository.root, tmp_path, http_proxy="http://127.0.0.1:1", no_proxy=("127.0.0.0/8",))
    assert direct.document == DOCUMENT


async def test_a_mirror_on_https_is_believed_by_the_authorities_of_the_operator(
    repository: TUFRepository, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    authority = authorities.make(datetime.now(UTC))
    pair = authority.issue(("127.0.0.1",), datetime.now(UTC))
    (tmp_path / "tls.pem").write_bytes(pair.chain + pair.key)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    with serving(repository, tls=context) as url:
        fetched = await look(url, repository.root, tmp_path / "in", ca_file=tmp_path / "ca.pem")
        with pytest.raises(InconclusiveError, match="certificate verify failed"):
            await look(url, repository.root, tmp_path / "out")
    assert fetched.document == DOCUMENT
    capfd.readouterr()  # the server says that its client went away


async def test_a_directory_that_cannot_be_written_is_said(repository: TUFRepository, url: str) -> None:
    with pytest.raises(InconclusiveError, match="/proc/"):
        await look(url, repository.root, Path("/proc/countersign"))


URLS = {
    "https": ("https://tuf.example.com", ""),
    "https-port-path": ("https://tuf.example.com:8443/sigstore/", ""),
    "http-loopback": ("http://127.0.0.1:8080", ""),
    "http-loopback-6": ("http://[::1]:8080", ""),
    "http-localhost": ("http://localhost", ""),
    "http": ("http://tuf.example.com", "https"),
    "http-loopback-in-name": ("http://127.0.0.1.example.com", "https"),
    "http-private": ("http://10.0.0.1", "https"),
    "file": ("file:///etc/passwd", "host"),
    "user": ("https://user:secret@tuf.example.com", "user"),
    "query": ("https://tuf.example.com/?a=b", "query"),
    "fragment": ("https://tuf.example.com/#x", "fragment"),
    "no-host": ("https:///x", "host"),
    "port": ("https://tuf.example.com:99999", "not a URL"),
    "space": ("https://tuf.example.com/a b", "characters"),
    "not-ascii": ("https://tüf.example.com", "characters"),
    "long": ("https://tuf.example.com/" + "a" * 2048, "characters"),
    "empty": ("", "host"),
}


@pytest.mark.parametrize(("text", "problem"), URLS.values(), ids=URLS)
async def test_only_https_is_dialled_and_http_on_loopback(text: str, problem: str, tmp_path: Path) -> None:
    found = addresses.url_problem(text)
    assert bool(found) == bool(problem)
    assert problem in found
    if problem:
        with pytest.raises(InconclusiveError, match=problem):
            await look(text, b"", tmp_path / "never-made")
        assert not (tmp_path / "never-made").exists()


def test_what_is_kept_is_had_again(tmp_path: Path) -> None:
    fetched = Fetched(root.parse(DOCUMENT), DOCUMENT, NOW)
    assert mirror.kept(tmp_path) is None
    mirror.keep(fetched, tmp_path)
    assert mirror.kept(tmp_path) == fetched
    assert [path.name for path in tmp_path.iterdir()] == [mirror.LAST_GOOD]


KEPT = {
    "empty": b"",
    "not-an-object": b"[]",
    "no-document": b'{"fetched": "2026-01-01T00:00:00+00:00"}',
    "not-a-root": b'{"fetched": "2026-01-01T00:00:00+00:00", "document": "e30="}',
    "no-time": b'{"fetched": "yesterday", "document": "e30="}',
}


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT)
def test_what_was_kept_badly_is_told(data: bytes, tmp_path: Path) -> None:
    (tmp_path / mirror.LAST_GOOD).write_bytes(data)
    with pytest.raises(MalformedError):
        mirror.kept(tmp_path)


def test_another_beginning_of_trust_is_another_repository() -> None:
    here = Repository("https://a", b"1")
    assert here.folder == Repository("https://a", b"1").folder
    assert len({here.folder, Repository("https://a", b"2").folder, Repository("https://b", b"1").folder}) == 3
