"""The listeners, below HTTP."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest
from starlette.types import Message, Receive, Scope, Send

from webhook import settings
from webhook.web import server


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_no_answer_waits_for_the_acknowledgement_of_its_head(address: str) -> None:
    with (
        server.listen(address, 0, "PORT") as listener,
        socket.create_connection(listener.getsockname()[:2]),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


class Wire(asyncio.Transport):
    """What a protocol writes, piece by piece."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and answers with it; of the path `/parts` in parts, and of `/broken` with a head alone."""
    body = (await receive())["body"]
    length = [] if scope["path"] == "/parts" else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    if scope["path"] == "/parts":
        await send({"type": "http.response.body", "body": body, "more_body": True})
    if scope["path"] != "/broken":
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("request_line", "header", "pieces"),
    [
        ("POST /", "", [r"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]),
        ("POST /", "Connection: close\r\n", [r"HTTP/1.1 200 OK\r\n.*connection: close\r\n\r\n{}"]),
        ("POST /", "Expect: 100-continue\r\n", [r"HTTP/1.1 100 Continue\r\n\r\n", r"HTTP/1.1 200 OK\r\n.*\r\n\r\n{}"]),
        ("HEAD /", "", [r"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"]),
        ("POST /parts", "", [r"HTTP/1.1 200 .*chunked\r\n\r\n2\r\n{}\r\n", r"2\r\n{}\r\n0\r\n\r\n"]),
        ("POST /broken", "", [r"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"]),
    ],
    ids=["whole", "the last", "asked to go on", "without a body", "in parts", "broken off"],
)
async def test_an_answer_leaves_in_one_piece_with_its_head(request_line: str, header: str, pieces: list[str]) -> None:
    made = server.make(answer, settings.Server(), None)
    made.config.load()
    protocol = made.config.http_protocol_class(  # type: ignore[call-arg]
        config=made.config, server_state=made.server_state, app_state={}
    )
    wire = Wire()
    protocol.connection_made(wire)
    protocol.data_received(f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{header}\r\n{{}}".encode())
    await asyncio.gather(*made.server_state.tasks)

    assert len(wire.pieces) == len(pieces), wire.pieces
    assert all(re.fullmatch(p, w.decode(), re.DOTALL) for p, w in zip(pieces, wire.pieces, strict=True)), wire.pieces
    assert wire.closed is (bool(header.startswith("Connection")) or request_line == "POST /broken")
    protocol.connection_lost(None)


async def test_whether_a_body_is_there_is_told_before_it_is_asked_for() -> None:
    told: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(server.is_all_there(receive))
        while (await receive())["more_body"]:
            told.append(server.is_all_there(receive))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def elsewhere() -> Message:
        return {"type": "http.request"}

    made = server.make(app, settings.Server(), None)
    made.config.load()
    protocol = made.config.http_protocol_class(  # type: ignore[call-arg]
        config=made.config, server_state=made.server_state, app_state={}
    )
    protocol.connection_made(Wire())
    for pieces in ((b"{}",), (b"{", b"}")):
        protocol.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        for piece in pieces:
            protocol.data_received(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(*made.server_state.tasks)
    protocol.connection_lost(None)
    assert told == [True, False, False]  # of the second, before and after its first part
    assert not server.is_all_there(elsewhere)
