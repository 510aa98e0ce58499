"""Through which proxy a host is dialled, and what an operator said of it that cannot be."""

from __future__ import annotations

import asyncio
import functools
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from yarl import URL

from webhook import network as dialling
from webhook import settings
from webhook.errors import OperatorError
from webhook.network import Network, Request, Target


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "proxied"),
    [
        ("ghcr.io", 443, (), True),
        ("ghcr.io", 443, ("example.com",), True),
        ("registry.example.com", 443, ("example.com",), False),
        ("registry.example.com", 443, (".example.com",), False),
        ("registry.example.com", 443, ("*.example.com",), False),
        ("registry.example.com", 443, ("EXAMPLE.com ",), False),
        ("notexample.com", 443, ("example.com", ".example.com"), True),
        ("registry.example.com", 443, ("registry.example.com:5000",), True),
        ("registry.example.com", 5000, ("registry.example.com:5000",), False),
        ("10.1.2.3", 443, ("10.0.0.0/8",), False),
        ("11.1.2.3", 443, ("10.0.0.0/8",), True),
        ("fd12::1", 443, ("fd00::/8",), False),
        ("ghcr.io", 443, ("10.0.0.0/8", "", "."), True),
        ("ghcr.io", 443, ("*",), False),
    ],
)
def test_which_hosts_bypass_the_proxy(host: str, port: int, no_proxy: tuple[str, ...], proxied: bool) -> None:
    network = Network(settings.Network(https_proxy="http://proxy:3128", no_proxy=no_proxy))
    assert (network.proxy("https", host, port) == URL("http://proxy:3128")) is proxied
    assert network.proxy("http", host, port) is None


@pytest.mark.parametrize("proxy", ["socks5://user:s3cr3t@proxy:1080", "http://", "ftp://user:s3cr3t@proxy"])
def test_a_proxy_that_cannot_be(proxy: str) -> None:
    with pytest.raises(OperatorError) as caught:
        Network(settings.Network(https_proxy=proxy)).proxy("https", "ghcr.io", 443)
    assert "s3cr3t" not in str(caught.value)


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    network = Network(settings.Network())
    for content in (None, b"no certificate"):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(OperatorError, match=r"ca\.pem"):
            network.tls(path)


def test_tls_is_at_least_1_2_and_checked() -> None:
    context = Network(settings.Network()).tls(None)
    assert context.minimum_version.name == "TLSv1_2"
    assert (context.check_hostname, context.verify_mode.name) == (True, "CERT_REQUIRED")


def test_neither_requests_nor_targets_show_secrets() -> None:
    proxy = URL("http://user:s3cr3t@proxy:3128")
    target = Target(origin="https://ghcr.io", host="ghcr.io", port=443, proxy=proxy)
    request = Request("GET", target, URL("https://ghcr.io/?sig=s3cr3t"), {"Authorization": "s3cr3t"}, 1, 1)
    assert "s3cr3t" not in repr((target, request))


class TestConnectionsThatAreKept:
    """Of hosts that all answer, each at an address of its own."""

    KEPT, HOSTS = 4, 12

    async def test_no_more_than_may_be_in_use_however_many_hosts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dialling, "CONNECTIONS", self.KEPT)
        served: list[asyncio.StreamWriter] = []  # a connection each, until it ends
        made: list[int] = []  # the host's number, for each connection

        async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append(writer)
            made.append(number)
            while await reader.readline():
                while await reader.readline() != b"\r\n":
                    pass
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            served.remove(writer)
            writer.close()

        async with AsyncExitStack() as opened:
            servers = [
                await opened.enter_async_context(
                    await asyncio.start_server(functools.partial(serve, number), f"127.0.1.{number}", 0)
                )
                for number in range(1, self.HOSTS + 1)
            ]
            client = Network(settings.Network()).open(connections_per_host=16)
            opened.push_async_callback(client.close)
            for _ in range(2):
                for server in servers:
                    assert (await client.exchange(_request(*server.sockets[0].getsockname()))).status == 200
            while len(served) > self.KEPT:
                await asyncio.sleep(0.01)
            assert len(served) == self.KEPT
            kept, others = range(1, self.KEPT + 1), range(self.KEPT + 1, self.HOSTS + 1)
            assert made == [*kept, *others, *others]  # who came first is still connected


def _request(host: str, port: int) -> Request:
    origin = f"http://{host}:{port}"
    target = Target(origin=origin, host=host, port=port, loopback=True)
    return Request("GET", target, URL(origin), {}, max_bytes=1, error_max_bytes=1)
