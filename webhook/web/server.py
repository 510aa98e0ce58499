"""Listeners: a socket, an HTTP server on it that leaves signals to others, and an end that drops no request.

What is served is an ASGI application of this package; when to start and when to end is left to the runtime.
spec: RFC 9112 9.6, on closing connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Generator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from webhook import settings
from webhook.errors import OperatorError

BACKLOG = 2048
LINGER = 1.0  # seconds for a client to close its end of an idle connection
HEAD_SECONDS = 10.0  # for a request's head to arrive, TLS done; the parser beneath would wait, and collect, for ever
HEAD_MAX_BYTES = 64 * settings.KIB  # of one request, all that is not body: head, chunk sizes, trailers


def listen(address: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server(
            (address, port),
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=address == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        number = error.errno or 0  # below 0 where a name cannot be resolved
        reason = (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()
        raise OperatorError(f"{variable}: cannot listen on port {port} of {address}: {reason}") from error
    # asyncio sets it only where a socket says its protocol, which this one leaves open; connections inherit it. Without
    # it, an answer's body waits for the acknowledgement of its head, which the other side delays by 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _OnePiece:
    """What an answer is written to: its head waits for the beginning of its body, for one record of TLS and not two."""

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle, self._transport = cycle, cycle.transport
        self._head: bytes | None = b"" if cycle.scope["method"] == "HEAD" else None  # no body will come

    def write(self, data: bytes) -> None:
        if self._head is None and self._cycle.response_started:  # until then it is `100 Continue`
            self._head = data
        else:
            self._flush(data)

    def close(self) -> None:
        self._flush(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._transport.write(data)


class _Protocol(HttpToolsProtocol):
    """A head is bounded in time and in bytes, and with it what whoever reaches the port can make us hold.

    Closing for good spares a connection on which a request has begun to arrive: its answer says `close`.
    """

    arriving = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_MAX_BYTES:
            self.transport.abort()
        elif self._head_timer is None and not self._is_answering():
            self._await_head()

    def on_message_begin(self) -> None:
        self.arriving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.arriving = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()

    def shutdown(self) -> None:
        if self.arriving:
            return
        super().shutdown()
        if self.transport.is_closing():
            # TLS waits for the other side's goodbye, half a minute long.
            self.loop.call_later(LINGER, self.transport.abort)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = cast(asyncio.Transport, _OnePiece(cycle))  # a cycle writes, closes, and asks no more of it
        super()._start_asgi_task(cycle, app)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # none before the first request, whatever its type says
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def is_all_there(receive: Receive) -> bool:
    """Whether a request's body has arrived, so that who asks for it need not wait. False where nobody can tell."""
    cycle = getattr(receive, "__self__", None)
    return isinstance(cycle, RequestResponseCycle) and not cycle.more_body


class Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it, and tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def make(app: ASGIApp, options: settings.Server, context: ssl.SSLContext | None) -> Server:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(options.keep_alive),
        timeout_graceful_shutdown=int(options.shutdown_grace),
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )
    return Server(config)


@contextlib.asynccontextmanager
async def running(server: Server, listener: socket.socket) -> AsyncIterator[None]:
    """The server listens; afterwards it has answered what it accepted."""
    task = asyncio.create_task(server.serve(sockets=[listener]))
    task.add_done_callback(lambda _: server.listening.set())
    try:
        await server.listening.wait()
        if task.done():
            raise RuntimeError("the server ended before it listened") from task.exception()
        yield
    finally:
        server.should_exit = True
        await task
