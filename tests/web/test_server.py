"""The listeners, below HTTP."""

from __future__ import annotations

import socket

import pytest

from webhook.web import server


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_no_answer_waits_for_the_acknowledgement_of_its_head(address: str) -> None:
    with (
        server.listen(address, 0, "PORT") as listener,
        socket.create_connection(listener.getsockname()[:2]),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
