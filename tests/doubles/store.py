"""A Valkey server of one's own on loopback, with TLS, users and little memory, and one that says what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import valkey

from tests.cluster.certificates import Authority
from tests.doubles.ports import free_port
from webhook import settings

USER, PASSWORD, ADMIN_PASSWORD = "countersign", "of-the-replicas", "of-its-owner"
COMMANDS = "+eval +get +set +del +client|setinfo"  # as docs/cache.md grants them
MEMORY = "64mb"
PATIENCE = 20.0  # seconds
UNHURRIED = 5.0  # seconds for a command, where a test is about something else


class ValkeyServer:
    """Runs within `with`, and again after `kill` by `start`; what it held is gone by then."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        authority = Authority(directory, "ca")
        self._certificate, self._key = authority.issue("server", common_name="valkey", hosts=("127.0.0.1",))
        self.ca_file = authority.certificate
        self.key_file, self.password_file = directory / "seal", directory / "password"
        self.key_file.write_bytes(b"k" * 48)
        self.password_file.write_text(f"{PASSWORD}\n")
        (directory / "users.acl").write_text(
            f"user default off\nuser admin on >{ADMIN_PASSWORD} ~* &* +@all\n"
            f"user {USER} on >{PASSWORD} ~countersign:v1:* {COMMANDS}\n"
        )
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def settings(self, **changes: Any) -> settings.Valkey:
        """Of a replica that may use it, and takes its time."""
        given: dict[str, Any] = {
            "url": f"valkeys://{USER}@127.0.0.1:{self.port}",
            "password_file": self.password_file,
            "ca_file": self.ca_file,
            "key_file": self.key_file,
            "timeout": UNHURRIED,
        }
        return settings.Valkey(**{**given, **changes})

    @contextlib.contextmanager
    def owner(self) -> Any:
        """A client of whoever owns it, and may do anything."""
        client = valkey.Valkey(
            port=self.port,
            host="127.0.0.1",
            username="admin",
            password=ADMIN_PASSWORD,
            ssl=True,
            ssl_ca_certs=str(self.ca_file),
        )
        try:
            yield client
        finally:
            client.close()

    def start(self) -> None:
        """It answers."""
        arguments = {
            "port": "0", "tls-port": str(self.port), "bind": "127.0.0.1", "dir": str(self._directory),
            "tls-cert-file": str(self._certificate), "tls-key-file": str(self._key), "tls-auth-clients": "no",
            "aclfile": str(self._directory / "users.acl"), "save": "", "appendonly": "no",
            "maxmemory": MEMORY, "maxmemory-policy": "noeviction",
        }  # fmt: skip
        words = [word for name, value in arguments.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(["valkey-server", *words], stdout=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)

    def reset(self) -> None:
        """It answers, is empty, and has the users, memory and role that it began with."""
        self.password_file.write_text(f"{PASSWORD}\n")
        if self._process is None:
            self.start()
        with self.owner() as client:
            client.replicaof("NO", "ONE")
            client.config_set("maxmemory", MEMORY)
            client.acl_load()
            client.flushall()

    def kill(self) -> None:
        """It is gone, and its memory with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It takes connections, as the kernel does that, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with self.owner() as client:
            try:
                return bool(client.ping())
            except valkey.ConnectionError:
                return False


@contextlib.asynccontextmanager
async def talker(*replies: bytes, greeting: bytes = b"+OK\r\n") -> AsyncIterator[settings.Valkey]:
    """The settings of a server that answers a connection's first command by `greeting`, and others by `replies`,
    the last of which again and again; it closes instead of an empty one."""
    rest = list(replies)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = greeting
        with contextlib.suppress(ConnectionError, asyncio.CancelledError), contextlib.closing(writer):
            while reply and await reader.read(1 << 16):
                writer.write(reply)
                reply = rest.pop(0) if len(rest) > 1 else rest[0]

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield settings.Valkey(url=f"valkey://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=UNHURRIED)
    finally:
        server.close()
