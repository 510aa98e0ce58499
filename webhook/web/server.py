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

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from webhook import settings
from webhook.errors import OperatorError

BACKLOG = 2048
LINGER = 1.0  # seconds for a client to close its end of an idle connection


def listen(address: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server(
            (address, port),
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=address == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        number = error.errno or 0  # below 0 where a name cannot be resolved
        reason = (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()
        raise OperatorError(f"{variable}: cannot listen on port {port} of {address}: {reason}") from error


class _Protocol(HttpToolsProtocol):
    """Closing for good spares a connection on which a request has begun to arrive: its answer says `close`."""

    arriving = False

    def on_message_begin(self) -> None:
        self.arriving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.arriving = False
        super().on_headers_complete()

    def shutdown(self) -> None:
        if self.arriving:
            return
        super().shutdown()
        if self.transport.is_closing():
            # TLS waits for the other side's goodbye, half a minute long.
            self.loop.call_later(LINGER, self.transport.abort)


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
