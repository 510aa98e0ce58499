"""The process itself: how it starts, how it says what is wrong, and how it ends without dropping a review."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.admission import checker
from tests.private_sigstore.tuf import TUFRepository
from tests.private_sigstore.tuf import serving as serving_tuf
from tests.web.serving import EXEMPT, Serving, review, serving, write_policy
from webhook import runtime
from webhook.settings import Policy, Settings, Trust
from webhook.tls import authority as authorities
from webhook.trust import mirror

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 10


def environment(**variables: object) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("COUNTERSIGN_")}
    return inherited | {f"COUNTERSIGN_{name}": str(value) for name, value in variables.items()}


async def test_how_late_the_event_loop_is_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "LAG_PAUSE", 0.01)
    told: asyncio.Queue[float] = asyncio.Queue()
    watching = asyncio.create_task(runtime._watch_lag(told.put_nowait))
    await asyncio.sleep(0)
    time.sleep(0.06)  # nothing else runs meanwhile
    assert await told.get() >= 0.04
    watching.cancel()


async def start(*arguments: str, **variables: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "webhook.cli",
        "serve",
        *arguments,
        cwd=ROOT,
        env=environment(**variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments: str, **variables: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a process that ends by itself."""
    process = await start(*arguments, **variables)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@dataclass
class Running:
    process: asyncio.subprocess.Process
    port: int
    trust: ssl.SSLContext

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("localhost", self.port, ssl=self.trust, family=socket.AF_INET)

    async def ended(self) -> tuple[int, list[dict[str, object]], str]:
        """Exit code, records and log, once the process has ended."""
        async with asyncio.timeout(30):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()

    async def until_logged(self, text: str) -> None:
        assert self.process.stderr
        async with asyncio.timeout(30):
            while text.encode() not in (line := await self.process.stderr.readline()):
                assert line, f"ended before it said {text!r}"


@asynccontextmanager
async def running(folder: Path, **variables: object) -> AsyncIterator[Running]:
    write_policy(folder / "policies")
    given = {
        "POLICIES": folder / "policies",
        "ADDRESS": "127.0.0.1",
        "ADMISSION_PORT": 0,
        "OPERATIONS_PORT": 0,
        "CA_OUT": folder / "ca.pem",
        "SHUTDOWN_DELAY": 0,
        "TRUST_REFRESH": "off",
    }
    process = await start(**given | variables)
    assert process.stderr
    try:
        async with asyncio.timeout(60):
            while b"serving on" not in (line := await process.stderr.readline()):
                assert line, "it ended instead of serving"
        port = int(json.loads(line)["message"].partition("port ")[2].split()[0])
        yield Running(process, port, ssl.create_default_context(cafile=str(folder / "ca.pem")))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


def request(image: str, *, timeout: str = "10s") -> bytes:
    document = review(image, uid="u-1")
    body = json.dumps(document).encode()
    head = (
        f"POST /validate?timeout={timeout} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[checker.Answer, bool]:
    """The decision, and whether the connection lives on."""
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.partition(b":")[2]))
    status = int(head.split(b" ")[1])
    return checker.check(body, uid="u-1", status=status), b"connection: close" not in head


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


async def test_reviews_under_way_are_answered_and_the_end_is_clean(tmp_path: Path) -> None:
    """Clients keep asking while the process drains; idle, slow and half-sent requests are all answered."""
    silent = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{silent.getsockname()[1]}"
    (tmp_path / "registries.yaml").write_text(f"registries: [{{host: '{host}', insecureHTTP: true, loopback: true}}]")
    answers = 0

    async with running(tmp_path, SHUTDOWN_DELAY=1, REGISTRIES=tmp_path / "registries.yaml") as webhook:
        removed = asyncio.Event()  # that the endpoint is, has reached the API server

        async def ask_again_and_again() -> None:
            nonlocal answers
            while not removed.is_set():
                reader, writer = await webhook.connect()
                alive = True
                while alive and not removed.is_set():
                    writer.write(request(EXEMPT))
                    decision, alive = await answer(reader)
                    assert decision.allowed
                    answers += 1
                await close(writer)

        idle = [await webhook.connect() for _ in range(3)]
        half = await webhook.connect()
        half[1].write(request(EXEMPT)[:40])
        slow = await webhook.connect()
        slow[1].write(request(f"{host}/shop:1", timeout="3s"))
        clients = [asyncio.create_task(ask_again_and_again()) for _ in range(CONNECTIONS)]
        while answers < 100:
            await asyncio.sleep(0.01)

        webhook.process.send_signal(signal.SIGTERM)
        await webhook.until_logged("draining")
        for reader, writer in idle:
            writer.write(request(EXEMPT))
            decision, alive = await answer(reader)
            assert (decision.allowed, alive) == (True, False), "an idle connection is answered, and told to go"
            await close(writer)
        removed.set()
        await asyncio.gather(*clients)

        await until_refused(webhook)
        half[1].write(request(EXEMPT)[40:])
        assert (await answer(half[0]))[0].allowed, "a request that had begun to arrive is answered"
        decision, _ = await answer(slow[0])
        assert decision.code == 504, "a review under way is finished"
        await close(half[1])
        await close(slow[1])
        code, records, log = await webhook.ended()
        assert code == 0
        assert len(records) == answers + 5, "and every review has its record"
        assert "Traceback" not in log
    silent.close()


async def until_refused(webhook: Running) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", webhook.port)
            except ConnectionRefusedError:
                return
            await close(writer)
            await asyncio.sleep(0.05)


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, SHUTDOWN_DELAY=300) as webhook:
        webhook.process.send_signal(signal.SIGTERM)
        await webhook.until_logged("draining")
        webhook.process.send_signal(signal.SIGTERM)
        code, _, _ = await webhook.ended()
        assert code == 1


async def test_an_interrupt_ends_cleanly_too(tmp_path: Path) -> None:
    async with running(tmp_path) as webhook:
        webhook.process.send_signal(signal.SIGINT)
        code, _, log = await webhook.ended()
        assert (code, "Traceback" in log) == (0, False)


async def test_a_reader_of_the_log_that_went_away_stops_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as webhook:
        webhook.process.stdout._transport.close()  # type: ignore[union-attr]
        for _ in range(3):
            reader, writer = await webhook.connect()
            writer.write(request(EXEMPT))
            assert (await answer(reader))[0].allowed
            await close(writer)


async def test_a_certificate_is_replaced_while_the_process_serves(tmp_path: Path) -> None:
    authority = authorities.make(datetime.now(UTC))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    files = tmp_path / "tls.crt", tmp_path / "tls.key"

    def issue() -> None:
        pair = authority.issue(("localhost",), datetime.now(UTC))
        for file, content in zip(files, (pair.chain, pair.key), strict=True):
            file.write_bytes(content)

    issue()
    variables = {"CERTIFICATE": files[0], "KEY": files[1], "TLS_RELOAD_INTERVAL": 0.05, "CA_OUT": ""}
    async with running(tmp_path, **variables) as webhook:
        old_reader, old_writer = await webhook.connect()
        shown = old_writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        issue()
        await webhook.until_logged("was replaced")
        reader, writer = await webhook.connect()
        assert writer.get_extra_info("ssl_object").getpeercert()["serialNumber"] != shown
        for each, to in ((old_reader, old_writer), (reader, writer)):
            to.write(request(EXEMPT))
            assert (await answer(each))[0].allowed, "open connections live on"
            await close(to)


MISTAKES: dict[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "unknown-flag": (("--polices", "x"), {}, "unrecognized arguments: --polices x"),
    "flag-without-value": (("--policies",), {}, "argument --policies: expected one argument"),
    "argument": (("policies/",), {}, "unrecognized arguments: policies/"),
    "bad-flag": (("--no-match", "maybe"), {}, "--no-match: one of deny, warn, allow expected, found 'maybe'"),
    "bad-variable": ((), {"ADMISSION_PORT": "https"}, "COUNTERSIGN_ADMISSION_PORT: a whole number"),
    "bad-address": (("--address", "not-an-address"), {}, "cannot listen on port 0 of not-an-address"),
    "no-certificate": (("--certificate", "/none.crt", "--key", "/none.key"), {}, "/none.crt: cannot be read"),
    "not-a-certificate": (("--certificate", "pyproject.toml", "--key", "pyproject.toml"), {}, "no certificate in PEM"),
    "certificate-without-key": (("--certificate", "/x"), {}, "both or neither expected"),
    "no-registries": (("--registries", "/none.yaml"), {}, "/none.yaml: cannot be read"),
    "no-docker-config": (("--docker-config", "/none.json"), {}, "/none.json"),
    "no-ca-file": ((), {"CA_FILE": "/none.pem"}, "/none.pem"),
    "bad-proxy": ((), {"HTTPS_PROXY": "ftp://proxy"}, "proxy"),
    "bad-baseline": ((), {"BASELINE_EXEMPT": "org*/x"}, "org*/x"),
    "ca-out-nowhere": ((), {"CA_OUT": "/none/ca.pem"}, "/none/ca.pem: cannot be written"),
}


@pytest.mark.parametrize(("arguments", "variables", "expected"), MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], variables: dict[str, str], expected: str
) -> None:
    ports = {"ADMISSION_PORT": "0", "OPERATIONS_PORT": "0", "ADDRESS": "127.0.0.1"}
    code, out, err = await run(*arguments, **ports | variables)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("countersign: ")
    assert expected in line


@pytest.mark.parametrize("name", ["ADMISSION_PORT", "OPERATIONS_PORT"])
async def test_a_port_in_use_is_said(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"ADMISSION_PORT": "0", "OPERATIONS_PORT": "0", "ADDRESS": "127.0.0.1"}
        port = taken.getsockname()[1]
        code, _, err = await run(**ports | {name: str(port)})
    assert code == 2
    assert (
        err == f"countersign: COUNTERSIGN_{name}: cannot listen on port {port} of 127.0.0.1: address already in use\n"
    )


async def test_a_folder_without_policies_serves_and_is_not_ready(tmp_path: Path) -> None:
    async with running(tmp_path, POLICIES=tmp_path / "none") as webhook:
        reader, writer = await webhook.connect()
        writer.write(request(EXEMPT))
        decision, _ = await answer(reader)
        await close(writer)
        assert not decision.allowed
        assert str(tmp_path / "none") in decision.message


async def test_help_shows_flags_and_examples() -> None:
    code, out, err = await run("--help")
    assert (code, err) == (0, "")
    assert "examples:" in out
    assert "--docker-config FILE" in out


async def test_a_variable_that_is_no_setting_is_named() -> None:
    _, _, err = await run("--no-match", "maybe", FAIL_OPEN="true")
    assert "COUNTERSIGN_FAIL_OPEN is no setting" in err


async def test_the_server_imports_neither_a_terminal_nor_a_command_line_parser() -> None:
    code = "import sys, webhook.cli, webhook.runtime; print({'rich', 'typer', 'httpx', 'tuf'} & set(sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out == b"set()\n"


async def test_trust_roots_are_refreshed_in_the_background_and_told(tmp_path: Path) -> None:
    repository = TUFRepository()
    repository.publish(mirror.packaged_document())
    (tmp_path / "root.json").write_bytes(repository.root)
    with serving_tuf(repository) as url:
        trust = Trust(tuf_mirror=url, tuf_root=tmp_path / "root.json", first_refresh=0, reload_interval=0.05)
        async with serving(tmp_path, Settings(trust=trust, policy=Policy(reload_interval=0.05))) as webhook:
            demand_log(next((tmp_path / "policies").iterdir()))  # a key alone makes do with the root that is shipped
            counted = 'countersign_trust_refresh_total{result="success",root="public-good"}'
            async with asyncio.timeout(30):
                while not (await note(webhook, "public-good")).startswith(f"fetched from {url}"):
                    await asyncio.sleep(0.05)
            assert await webhook.metric(counted) == 1
            assert await webhook.metric('countersign_trust_root_refreshed_timestamp_seconds{root="public-good"}') > 0
            assert await webhook.metric("countersign_trust_root_problems") == 0


async def test_a_root_that_a_new_policy_names_is_read(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "corp.json").write_bytes(mirror.packaged_document())
    configured = Settings(
        trust=Trust(directory=tmp_path / "roots", refresh_interval=None), policy=Policy(reload_interval=0.05)
    )
    async with serving(tmp_path, configured) as webhook:
        assert not await note(webhook, "file corp.json")
        name_root(next((tmp_path / "policies").iterdir()), "corp.json")
        async with asyncio.timeout(30):
            while await note(webhook, "file corp.json") != "file corp.json":
                await asyncio.sleep(0.05)


async def test_off_dials_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        trust = Trust(tuf_mirror=f"http://{host}", tuf_hosts=(host,), refresh_interval=None, reload_interval=0.01)
        async with serving(tmp_path, Settings(trust=trust, policy=Policy(reload_interval=0.01))) as webhook:
            name_repository(
                next((tmp_path / "policies").iterdir()), f"http://{host}/corp", b'{"signed":{"_type":"root"}}'
            )
            async with asyncio.timeout(30):
                while not await notes(webhook, f"trust-root tuf http://{host}/corp"):
                    await asyncio.sleep(0.01)
            told = await notes(webhook, "trust-root")
            await asyncio.sleep(0.1)  # many rounds of the task that would ask
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert told["trust-root public-good"] == "shipped with this version"
    assert "not at hand; refresh is off, and nothing was kept" in told.values()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
async def test_a_look_under_way_ends_with_the_server(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, asked = tmp_path / "tmp", threading.Event()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    repository = TUFRepository()
    with serving_tuf(repository, stall=threading.Event(), asked=asked) as url:
        hosts = url.removeprefix("http://")
        async with running(tmp_path, TRUST_REFRESH=60, TUF_HOSTS=hosts, POLICY_RELOAD_INTERVAL=0.05) as webhook:
            name_repository(next((tmp_path / "policies").iterdir()), url, repository.root)
            assert await asyncio.to_thread(asked.wait, 30)
            [child] = children(webhook.process.pid)
            webhook.process.send_signal(signal.Signals[name])
            async with asyncio.timeout(5):
                await webhook.process.wait()
                while child in processes():
                    await asyncio.sleep(0.01)
    assert name == "SIGKILL" or not list(temporary.iterdir())


ENDS = {
    "asked": [signal.SIGTERM],
    "asked-twice": [signal.SIGINT, signal.SIGINT],
    "killed": [signal.SIGKILL],
}


@pytest.mark.parametrize("signals", ENDS.values(), ids=ENDS)
async def test_a_worker_is_there_before_it_is_needed_and_ends_with_the_server(
    tmp_path: Path, signals: list[signal.Signals]
) -> None:
    delay = 300 if len(signals) == 2 else 0
    async with running(tmp_path, POLICY_RELOAD_INTERVAL=0.05, SHUTDOWN_DELAY=delay) as webhook:
        assert not children(webhook.process.pid), "a key needs none"
        trust_identity(next((tmp_path / "policies").iterdir()))
        async with asyncio.timeout(30):
            while not (workers := children(webhook.process.pid)):
                await asyncio.sleep(0.01)
        for one in signals:
            webhook.process.send_signal(one)
            await asyncio.sleep(0.1)  # two of a kind at once are one
        await webhook.ended()
        async with asyncio.timeout(5):
            while workers & processes():
                await asyncio.sleep(0.01)


def children(parent: int) -> set[str]:
    return set(Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split())


def processes() -> set[str]:
    """All that run. Who has ended, and was not asked how by whoever took it over, does not."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] != "Z":
                found.add(path.parent.name)
    return found


async def notes(webhook: Serving, prefix: str) -> dict[str, str]:
    told = (await webhook.operations.get("/readyz?verbose")).json()["notes"]
    return {name: str(text) for name, text in told.items() if name.startswith(prefix)}


async def note(webhook: Serving, root: str) -> str:
    """What is said of a trust root to whoever asks."""
    told = (await webhook.operations.get("/readyz?verbose")).json()
    return str(told["notes"].get(f"trust-root {root}", ""))


def demand_log(path: Path) -> None:
    document = json.loads(path.read_bytes())
    document["spec"]["trustedKeys"][0]["requireLog"] = True
    path.write_text(json.dumps(document))


def name_repository(path: Path, url: str, root: bytes) -> None:
    document = json.loads(path.read_bytes())
    document["spec"]["trustRoots"] = [{"name": "corp", "tuf": {"mirror": url, "root": root.decode()}}]
    document["spec"]["trustedKeys"][0]["trustRoot"] = "corp"
    path.write_text(json.dumps(document))


def trust_identity(path: Path) -> None:
    document = json.loads(path.read_bytes())
    identity = {"name": "ci", "issuer": "https://issuer.example.com", "subject": "https://ci.example.com/build"}
    document["spec"]["keyless"] = [identity]
    path.write_text(json.dumps(document))


def name_root(path: Path, file: str) -> None:
    document = json.loads(path.read_bytes())
    document["spec"]["trustRoots"] = [{"name": "corp", "file": file}]
    document["spec"]["trustedKeys"][0]["trustRoot"] = "corp"
    path.write_text(json.dumps(document))
