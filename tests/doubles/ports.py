"""Ports of this machine that a program of a test may listen on."""

from __future__ import annotations

import random
import socket

BELOW_EPHEMERAL = range(10_000, 20_000)  # of Linux: what connects meanwhile takes none of these

_choice = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens; for programs that cannot choose one by themselves."""
    while True:
        port = _choice.choice(BELOW_EPHEMERAL)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
