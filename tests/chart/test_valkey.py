"""A real Valkey, started as the chart renders it: who gets in, what he may do there, and what its probes say."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chart.rendering import Rendered, Values, render
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.doubles.ports import free_port
from webhook import settings
from webhook.cache import Loaded
from webhook.sealing import Sealer
from webhook.shared_cache import SharedCache
from webhook.valkey import Store

pytestmark = [pytest.mark.tools(*TOOLS_OF_CHART), pytest.mark.packages("valkey-server", "valkey-cli")]

ON: Values = {"valkey": {"enabled": True}}
SERVER, CLIENT = "countersign-valkey", "countersign-valkey-client"
HOST = "countersign-valkey.countersign.svc"
PORT = "6379"
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """It listens on `port`; `given` is what replicas have mounted, `probes` its container's commands."""

    port: int
    given: dict[str, bytes]
    probes: Sequence[Sequence[str]]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """As the container starts it, but for the folder of its Secret and the port."""
    rendered, folder, port = render(ON), tmp_path_factory.mktemp("valkey"), free_port()
    container = rendered.cache_pod["spec"]["containers"][0]

    def here(words: Sequence[str]) -> list[str]:
        return [str(port) if word == PORT else word.replace("/etc/valkey", str(folder)) for word in words]

    probes = [here(container[probe]["exec"]["command"]) for probe in ("readinessProbe", "livenessProbe")]
    with running(rendered, here([*container["command"], *container["args"]]), folder):
        yield Running(port, rendered.secret(CLIENT), probes)


@contextmanager
def running(rendered: Rendered, command: Sequence[str], folder: Path) -> Iterator[None]:
    for file, content in rendered.secret(SERVER).items():
        (folder / file).write_bytes(content)
    log = folder / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(command, cwd=folder, stdout=written, stderr=written)
    try:
        deadline = time.monotonic() + SECONDS
        while b"Ready to accept connections tls" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


@contextmanager
def connected(port: int, authority: bytes) -> Iterator[Callable[..., str]]:
    """Says a command, and returns the first line of the answer."""
    context = ssl.create_default_context(cadata=authority.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as secured,
    ):

        def say(*words: str) -> str:
            parts = (b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
            secured.sendall(b"*%d\r\n%s" % (len(words), b"".join(parts)))
            return secured.recv(4096).decode().partition("\r\n")[0]

        yield say


async def test_what_one_replica_puts_there_the_next_one_finds(
    valkey: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the names that the cluster would resolve, with the files that replicas have."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *given, **named: resolve("127.0.0.1" if host == HOST else host, *given, **named),
    )
    seen: list[str] = []
    one, other = (replica(valkey, tmp_path, seen.append) for _ in range(2))
    assert (await one.get_or_load("a", found)).value == b"document"
    await until(lambda: "put" in seen)
    assert (await other.get_or_load("a", unwanted)).value == b"document"
    assert seen == ["miss", "put", "hit"]
    await one.close()
    await other.close()


def replica(valkey: Running, folder: Path, observe: Callable[[str], None]) -> SharedCache:
    for file, content in valkey.given.items():
        (folder / file).write_bytes(content)
    configured = settings.Valkey(
        url=f"valkeys://countersign@{HOST}:{valkey.port}",
        password_file=folder / "password",
        ca_file=folder / "ca.crt",
        timeout=SECONDS,
    )
    return SharedCache(Store(configured), Sealer(valkey.given["key"]), observe=observe)


async def found() -> Loaded[bytes]:
    return Loaded(b"document", 60.0)


async def unwanted() -> Loaded[bytes]:
    raise AssertionError("the other replica has it")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (("SET", "countersign:v1:a", "b", "PX", "60000"), "+OK"),
        (("GET", "countersign:v1:b"), "$-1"),
        (("SET", "elsewhere:a", "b"), "-NOPERM"),
        (("GET", "elsewhere:a"), "-NOPERM"),
        (("KEYS", "*"), "-NOPERM"),
        (("SCAN", "0"), "-NOPERM"),
        (("FLUSHALL",), "-NOPERM"),
        (("CONFIG", "GET", "*"), "-NOPERM"),
        (("ACL", "LIST"), "-NOPERM"),
        (("CLIENT", "LIST"), "-NOPERM"),
        (("SAVE",), "-NOPERM"),
        (("MONITOR",), "-NOPERM"),
        (("EVAL", "return redis.call('GET', KEYS[1])", "1", "countersign:v1:b"), "$-1"),
        (("EVAL", "return redis.call('GET', KEYS[1])", "1", "elsewhere:a"), "-NOPERM"),
        (("EVAL", "return redis.call('KEYS', '*')", "0"), "-ERR ACL failure in script"),
        (("SCRIPT", "FLUSH"), "-NOPERM"),
        (("REPLICAOF", "NO", "ONE"), "-NOPERM"),
        (("MODULE", "LIST"), "-NOPERM"),
        (("PUBLISH", "a", "b"), "-NOPERM"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else None,
)
def test_a_replica_does_what_it_must_and_nothing_else(valkey: Running, command: Sequence[str], answer: str) -> None:
    with connected(valkey.port, valkey.given["ca.crt"]) as say:
        assert say("AUTH", "countersign", valkey.given["password"].decode()) == "+OK"
        assert say(*command).startswith(answer)


@pytest.mark.parametrize(
    "who",
    [(), ("default", ""), ("default", "secret"), ("countersign", "secret"), ("countersign", "")],
    ids=lambda who: " ".join(who) or "nobody",
)
def test_nobody_else_gets_in(valkey: Running, who: Sequence[str]) -> None:
    with connected(valkey.port, valkey.given["ca.crt"]) as say:
        assert not who or say("AUTH", *who).startswith("-WRONGPASS")
        assert say("GET", "countersign:v1:a").startswith("-NOAUTH")


def test_it_shows_its_own_certificate(valkey: Running) -> None:
    another = render(ON).secret(CLIENT)["ca.crt"]
    with pytest.raises(ssl.SSLCertVerificationError), connected(valkey.port, another):
        pass


def test_it_speaks_nothing_but_tls(valkey: Running) -> None:
    with socket.create_connection(("127.0.0.1", valkey.port), timeout=SECONDS) as plain:
        plain.sendall(b"PING\r\n")
        try:
            assert plain.recv(4096)[:1] not in (b"+", b"-")
        except ConnectionResetError:
            return


def test_its_probes_tell_whether_it_is_there(valkey: Running) -> None:
    def succeeds(command: Sequence[str]) -> bool:
        return subprocess.run(command, capture_output=True, timeout=SECONDS).returncode == 0

    for probe in valkey.probes:
        assert succeeds(probe)
        assert not succeeds(["1" if word == str(valkey.port) else word for word in probe])
