"""Webhooks that do not work, on loopback, with the TLS name that an API server expects: each broken in one way.

An endpoint is the port of a `Service` of type ExternalName. What an API server makes of it is for the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from webhook.tls import authority
from webhook.tls.authority import Authority, Pair

Answering = Callable[[bytes], Awaitable[bytes]]
"""The whole of an HTTP answer to the body of a request; nothing at all closes the connection."""

TLS_RECORD = b"\x16"  # RFC 8446 5.1, of a handshake
HEAD = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def issued(host: str, *, ago: timedelta) -> tuple[Authority, Pair]:
    """A certificate for `host`, issued so long `ago`, and the authority that did."""
    then = datetime.now(UTC) - ago
    made = authority.make(then)
    return made, made.issue((host,), then)


def context_of(pair: Pair, folder: Path) -> ssl.SSLContext:
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(pair.chain)
    key.write_bytes(pair.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@contextlib.asynccontextmanager
async def answering(answer: Answering, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Each request on the port gets `answer`; without a `context` the port speaks plain HTTP."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            if (first := await reader.readexactly(1)) == TLS_RECORD:
                writer.write(http(400, b"{}"))
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            length = HEAD.search(head)
            writer.write(await answer(await reader.readexactly(int(length[1]) if length else 0)))
            await writer.drain()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()


@contextlib.contextmanager
def swallowing() -> Iterator[int]:
    """A port to which no connection comes about, as behind a firewall that drops packets."""
    with contextlib.ExitStack() as held:
        listening = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = int(listening.getsockname()[1])
        for _ in range(2):  # nobody accepts them: there is no room for a third
            filling = held.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(("127.0.0.1", port))
        yield port


async def allow(body: bytes) -> bytes:
    return review(json.loads(body)["request"]["uid"])


async def allow_another(body: bytes) -> bytes:
    return review("another")


async def hang(body: bytes) -> bytes:
    await asyncio.sleep(30)
    return b""


async def close(body: bytes) -> bytes:
    return b""


async def find_nothing(body: bytes) -> bytes:
    return http(404, b'{"error": "not_found", "message": "not found"}')


async def fail(body: bytes) -> bytes:
    return http(500, b'{"error": "internal_error", "message": "the request failed; the log says why"}')


def review(uid: str) -> bytes:
    response = {"uid": uid, "allowed": True}
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return http(200, json.dumps(document).encode())


def http(status: int, body: bytes, *more: str) -> bytes:
    fields = ("Content-Type: application/json", f"Content-Length: {len(body)}", *more)
    return "\r\n".join([f"HTTP/1.1 {status} Answer", *fields, "", ""]).encode() + body


FULL = http(503, b'{"error": "overloaded", "message": "too many reviews wait"}', "Retry-After: 1", "Connection: close")
