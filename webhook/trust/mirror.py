"""One TUF repository: what it vouches for now, asked in a child process, and what it vouched for last, on disk.

The child verifies by TUF from the root.json with which trust begins; what it hands back is parsed here, and only a
whole trust root is returned. A directory keeps the metadata between two looks, which is what an older state of the
repository is told by; it must be writable by Countersign alone. The last good document lies beside it for the next
start. Whoever writes a policy names a host that is dialled, so it is a public one unless an operator listed it. The
server process never imports the client.

spec: The Update Framework; RFC 6890, on what is dialled; the child's side is `tuf`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import webhook
from webhook import addresses, settings, untrusted
from webhook.errors import Code, InconclusiveError, MalformedError, OperatorError, RejectedError, quote
from webhook.network import Network
from webhook.trust import root
from webhook.trust.root import MAX_ROOT_BYTES, TrustRoot

PUBLIC_GOOD_URL = "https://tuf-repo-cdn.sigstore.dev"
MAX_TUF_ROOT_BYTES = 512 << 10
MAX_ANSWER_BYTES = 2 * MAX_ROOT_BYTES  # base64 and what stands around it
LAST_GOOD = "last-good.json"
UNUSED_MAX = 8  # directories that are kept of repositories which nobody names now

_FOLDER = re.compile("[0-9a-f]{32}")
# What the child is told of our environment: where the system's authorities are, if not where they are expected
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class Repository:
    """`root` is the root.json with which trust in it begins.

    `listed`: an operator names its host, which may have a private or a loopback address.
    """

    url: str
    root: bytes
    listed: bool = False

    @property
    def folder(self) -> str:
        """The name of a directory for this one alone: another beginning of trust is another repository."""
        return hashlib.sha256(self.url.encode() + b"\n" + self.root).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Fetched:
    """`document` is the trusted_root.json that `root` was read from, `at` when the repository vouched for it."""

    root: TrustRoot
    document: bytes
    at: datetime


def packaged_document() -> bytes:
    """The trusted_root.json of the public-good instance that this version ships."""
    return _packaged("trusted_root.json")


def packaged_tuf_root() -> bytes:
    """The root.json of its TUF repository."""
    return _packaged("root.json")


def _packaged(name: str) -> bytes:
    return resources.files("webhook.trust").joinpath("data", name).read_bytes()


def authority(url: str) -> str:
    """`host[:port]` of a repository, as an operator lists it: in lower case, without the port that goes without saying.

    `url` is one to which `addresses.url_problem` has no objection.
    """
    parts = urlsplit(url)
    return parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")


async def fetch(
    repository: Repository, directory: Path, *, network: settings.Network, seconds: float, now: datetime
) -> Fetched:
    """What the repository vouches for at `now`, in at most `seconds`; `directory` remembers what was seen of it.

    Raises: InconclusiveError, `trust_unavailable`: nothing that is wrong with a repository proves anything.
    """
    request = await asyncio.to_thread(_prepare, repository, directory, network)
    document = _read_answer(await _ask(request, directory, seconds))
    try:
        return Fetched(root.parse(document), document, now)
    except MalformedError as error:
        raise _unavailable(f"what it vouches for is no trust root: {error.detail}") from error


def _prepare(repository: Repository, directory: Path, network: settings.Network) -> bytes:
    if problem := addresses.url_problem(repository.url):
        raise _unavailable(f"{quote(repository.url)}: {problem}")
    if not repository.listed:
        _check_host(urlsplit(repository.url).hostname or "")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "metadata").mkdir(mode=0o700, exist_ok=True)
        return _request(repository, directory, network)
    except OperatorError as error:
        raise _unavailable(str(error)) from error
    except OSError as error:
        raise _unavailable(f"{directory}: {error.strerror}") from error


def _check_host(host: str) -> None:
    try:
        addresses.check_name(host)
    except RejectedError as error:
        problem = "is no name of the public DNS, and COUNTERSIGN_TUF_HOSTS does not list it"
        raise _unavailable(f"host {quote(host, max_chars=80)} {problem}") from error


def _request(repository: Repository, directory: Path, network: settings.Network) -> bytes:
    url = urlsplit(repository.url)
    proxy = Network(network).proxy(url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    return json.dumps(
        {
            "url": repository.url,
            "listed": repository.listed,
            "directory": str(directory.absolute()),
            "root": base64.b64encode(repository.root).decode("ascii"),
            "proxy": str(proxy or ""),  # may hold a password: neither argument nor environment
            "ca_file": str(network.ca_file.absolute()) if network.ca_file else "",
        }
    ).encode()  # one line: whatever is a line's end stands escaped in it


async def _ask(request: bytes, directory: Path, seconds: float) -> bytes:
    package = Path(webhook.__path__[0]).parent
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"PYTHONPATH": str(package), "HOME": str(directory), "TMPDIR": str(directory)}
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-s", "-B", "-m", "webhook.trust.tuf"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            cwd=directory,
        )
    except OSError as error:
        raise _unavailable(f"the TUF client could not be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(seconds):
            answer = await _talk(child, request)
            status = await child.wait()
    except TimeoutError:
        raise _unavailable(f"it took longer than {seconds:g} s") from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if status != 0:
        raise _unavailable(f"the TUF client ended with status {status}")
    return answer


async def _talk(child: asyncio.subprocess.Process, request: bytes) -> bytes:
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(ConnectionError):  # it ended early: its status says so
        child.stdin.write(request + b"\n")  # and no end: the child would take it for ours
        await child.stdin.drain()
    parts, size = [], 0
    while part := await child.stdout.read(64 << 10):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise _unavailable(f"the TUF client answered with more than {MAX_ANSWER_BYTES} bytes")
    return b"".join(parts)


def _read_answer(answer: bytes) -> bytes:
    try:
        members = untrusted.as_object(
            untrusted.parse_json(answer, max_bytes=MAX_ANSWER_BYTES, what="answer"), "the TUF client's answer"
        )
        if "problem" in members:
            raise _unavailable(_plain(untrusted.as_string(members["problem"], "problem")))
        return untrusted.decode_base64(untrusted.as_string(members.get("document"), "document"), "document")
    except MalformedError as error:
        raise _unavailable(error.detail) from error


def _plain(text: str) -> str:
    """What the client says, much of which a repository made up, as it may stand in a log."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:400])


def keep(fetched: Fetched, directory: Path) -> None:
    """What was fetched is there at the next start. Raises: OSError."""
    content = {"fetched": fetched.at.isoformat(), "document": base64.b64encode(fetched.document).decode("ascii")}
    handle, name = tempfile.mkstemp(dir=directory)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            json.dump(content, file)
        temporary.replace(directory / LAST_GOOD)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def kept(directory: Path) -> Fetched | None:
    """What was fetched last and kept in `directory`, parsed again; `None` where nothing was.

    Raises: MalformedError, OSError.
    """
    try:
        with (directory / LAST_GOOD).open("rb") as file:
            data = file.read(MAX_ANSWER_BYTES + 1)
    except FileNotFoundError:
        return None
    what = str(directory / LAST_GOOD)
    members = untrusted.as_object(untrusted.parse_json(data, max_bytes=MAX_ANSWER_BYTES, what=what), what)
    document = untrusted.decode_base64(untrusted.as_string(members.get("document"), what), what)
    try:
        at = datetime.fromisoformat(untrusted.as_string(members.get("fetched"), what)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedError(Code.MALFORMED, f"{what}: a time expected in `fetched`") from error
    return Fetched(root.parse(document), document, at)


def prune(directory: Path, in_use: Set[str]) -> None:
    """Of the repositories' folders in `directory` few besides those `in_use` are left: each edit may have made one."""
    try:
        unused = [path for path in directory.iterdir() if _FOLDER.fullmatch(path.name) and path.name not in in_use]
        unused.sort(key=lambda path: path.lstat().st_mtime, reverse=True)
    except OSError:
        return  # whatever it is, who writes there next will say so
    for path in unused[UNUSED_MAX:]:
        shutil.rmtree(path, ignore_errors=True)


def _unavailable(problem: str) -> InconclusiveError:
    return InconclusiveError(Code.TRUST_UNAVAILABLE, problem)
