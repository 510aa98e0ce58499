"""What the TUF client's own process dials. The rest of it is tested where it is asked, in `test_mirror`."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIAL = """
import socket, sys
from webhook.trust import tuf
host, port, listed = sys.argv[1:]
tuf.guard(listed=listed == "listed")
try:
    socket.create_connection((host, int(port)), timeout=0.01).close()
    print("dialled")
except OSError as error:
    print(error)
"""


def dial(host: str, port: int, listed: str) -> str:
    command = [sys.executable, "-c", DIAL, host, str(port), listed]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


NAMES = {
    "address": ("127.0.0.1", "listed", "dialled"),
    "address-not-listed": ("127.0.0.1", "", "127.0.0.1 is a private or loopback address: COUNTERSIGN_TUF_HOSTS"),
    "name": ("localhost", "listed", "dialled"),
    "name-that-leads-to-loopback": ("localhost", "", "127.0.0.1 is a private or loopback address"),
    "mapped": ("::ffff:127.0.0.1", "", "is a private or loopback address"),
    "private": ("10.255.255.1", "", "10.255.255.1 is a private or loopback address"),
    "metadata": ("169.254.169.254", "listed", "169.254.169.254 is a link-local address"),
    "metadata-mapped": ("::ffff:169.254.169.254", "listed", "is a link-local address"),
    "reserved": ("0.0.0.0", "listed", "0.0.0.0 is an unspecified"),
}


@pytest.mark.parametrize(("host", "listed", "said"), NAMES.values(), ids=NAMES)
def test_every_address_is_judged_where_it_is_dialled(host: str, listed: str, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert said in dial(host, listener.getsockname()[1], listed)
