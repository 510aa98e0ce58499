"""Whom an image string may make us dial, by which trust in TLS and through which proxy, over real sockets."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from tests.doubles.image import (
    DIGEST,
    EVERY,
    SECRET,
    Ask,
    checked,
    refusal,
)
from tests.doubles.registry import (
    FixedResolver,
    HostileRegistry,
    client,
    listed,
    raw,
    running,
)
from webhook import settings
from webhook.errors import Code, CountersignError, InconclusiveError, RejectedError
from webhook.network import Network
from webhook.oci import reference
from webhook.oci.hosts import Hosts
from webhook.oci.reference import Repository


class TestHosts:
    """Whom an image string may make us dial. docs/registries.md"""

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1:5000",
            "localhost",
            "localhost:5000",
            "10.1.2.3",
            "169.254.169.254",
            "8.8.8.8",
            "[::1]:5000",
            "[2001:4860:4860::8888]",
            "registry:5000",
            "registry.team.svc",
            "registry.team.svc.cluster.local:5000",
            "metadata.google.internal",
            "nas.local",
            "2130706433:80",
            "0x7f000001:80",
            "0177.0.0.1",
        ],
    )
    async def test_an_unlisted_host_that_is_no_public_name(self, host: str) -> None:
        async with client() as (registry, observed):
            error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
        assert (type(error), error.code) == (RejectedError, Code.HOST_REFUSED)
        assert "registries" in error.detail
        assert observed.requests == []

    @pytest.mark.parametrize("ask", EVERY)
    async def test_a_public_name_that_leads_to_loopback(self, ask: Ask, app: HostileRegistry) -> None:
        names = FixedResolver({"rebind.example.com": ("127.0.0.1",)})
        async with running(app) as host, client(resolver=names) as (registry, _):
            port = host.rpartition(":")[2]
            error = await refusal(ask(registry, Repository(f"rebind.example.com:{port}", "team/app")))
        assert (type(error), error.code) == (RejectedError, Code.HOST_REFUSED)
        for part in ("rebind.example.com", "127.0.0.1", "`loopback: true`"):
            assert part in error.detail
        assert app.connections == set()

    async def test_a_listed_name_that_leads_to_loopback_is_dialled(self, app: HostileRegistry) -> None:
        names = FixedResolver({"registry.example.com": ("127.0.0.1",)})
        async with running(app) as address:
            host = f"registry.example.com:{address.rpartition(':')[2]}"
            async with client(listed(host), resolver=names) as (registry, _):
                assert await registry.resolve(Repository(host, "team/app"), "v1") == DIGEST

    @pytest.mark.parametrize(
        ("allowed", "address", "setting"),
        [
            ({}, "10.0.0.1", "`private: true`"),
            ({"private": True}, "127.0.0.1", "`loopback: true`"),
            ({"loopback": True}, "10.0.0.1", "`private: true`"),
            ({"private": True, "loopback": True}, "169.254.169.254", "no setting allows it"),
        ],
    )
    async def test_each_allowance_is_its_own(self, allowed: dict[str, bool], address: str, setting: str) -> None:
        entry = settings.RegistryHost(host="registry.example.com", **allowed)  # type: ignore[arg-type]
        names = FixedResolver({"registry.example.com": (address,)})
        async with client(entry, resolver=names) as (registry, _):
            error = await refusal(registry.resolve(Repository("registry.example.com", "team/app"), "v1"))
        assert (type(error), error.code) == (RejectedError, Code.HOST_REFUSED)
        assert setting in error.detail

    async def test_every_address_of_a_name_is_judged_when_it_is_dialled(self, app: HostileRegistry) -> None:
        """One that is refused hides no other, and lends none its place; attempts run in tasks of their own."""
        async with running(app) as address:
            host = f"registry.example.com:{address.rpartition(':')[2]}"
            names = FixedResolver({"registry.example.com": ("169.254.1.1", "127.0.0.1", "::1")})
            async with client(listed(host), resolver=names) as (registry, _):
                assert await registry.resolve(Repository(host, "team/app"), "v1") == DIGEST
            async with client(resolver=names) as (registry, _):
                error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
        assert error.code is Code.HOST_REFUSED

    async def test_allowances_do_not_pass_to_others_at_the_same_time(self, app: HostileRegistry) -> None:
        names = FixedResolver({"ours.example.com": ("127.0.0.1",), "theirs.example.com": ("127.0.0.1",)})
        async with running(app) as address:
            port = address.rpartition(":")[2]
            ours, theirs = f"ours.example.com:{port}", f"theirs.example.com:{port}"
            async with client(listed(ours), resolver=names) as (registry, _):
                outcomes = await asyncio.gather(
                    *(registry.resolve(Repository(host, "team/app"), "v1") for host in [ours, theirs] * 20),
                    return_exceptions=True,
                )
        assert all(outcome == DIGEST for outcome in outcomes[::2])
        assert all(isinstance(outcome, RejectedError) for outcome in outcomes[1::2])

    async def test_plain_http_is_for_the_listed_port_alone(self, app: HostileRegistry) -> None:
        async with running(app) as host:
            entry = replace(listed(host), insecure_http=False)
            async with client(entry) as (registry, _):
                error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
        assert error.code is Code.REGISTRY_UNAVAILABLE
        assert "TLS" in error.detail

    async def test_an_endpoint_is_dialled_instead(self, app: HostileRegistry) -> None:
        async with running(app) as host:
            entry = settings.RegistryHost(host="docker.io", endpoint=host, insecure_http=True, loopback=True)
            async with client(entry) as (registry, _):
                assert await registry.resolve(Repository("docker.io", "team/app"), "v1") == DIGEST


class TestHops:
    """Whom a registry may send us to, by what is listed of both."""

    ENTRIES = (
        settings.RegistryHost(host="private.example.com", private=True),
        settings.RegistryHost(host="storage.example.com:9000", private=True, insecure_http=True),
        settings.RegistryHost(host="localhost:5000", loopback=True),
        settings.RegistryHost(host="localhost:5001", loopback=True),
        settings.RegistryHost(host="both.example.com", private=True, loopback=True),
    )

    def hop(self, sender: str, place: str) -> str:
        hosts = Hosts(self.ENTRIES, Network(settings.Network()))
        target, _ = hosts.find(Repository(sender, "team/app"))
        return hosts.hop(URL(place, encoded=True), sender=target).origin

    @pytest.mark.parametrize(
        ("sender", "place"),
        [
            ("registry.example.com", "https://storage.cloud.example"),
            ("registry.example.com", "https://registry.example.com"),
            ("private.example.com", "https://storage.cloud.example"),
            ("private.example.com", "https://private.example.com"),
            ("private.example.com", "http://storage.example.com:9000"),
            ("localhost:5000", "https://localhost:5000"),
            ("localhost:5000", "https://localhost:5001"),
            ("both.example.com", "https://localhost:5001"),
            ("both.example.com", "https://private.example.com"),
        ],
    )
    def test_where_one_may_send_us(self, sender: str, place: str) -> None:
        assert self.hop(sender, f"{place}/v2/x?y=z") == place

    @pytest.mark.parametrize(
        ("sender", "place"),
        [
            ("registry.example.com", "https://private.example.com"),
            ("registry.example.com", "http://storage.example.com:9000"),
            ("registry.example.com", "https://localhost:5000"),
            ("private.example.com", "https://localhost:5000"),
            ("private.example.com", "https://both.example.com"),
            ("private.example.com", "http://storage.example.com"),
            ("private.example.com", "http://private.example.com"),
            ("localhost:5000", "https://private.example.com"),
            ("localhost:5000", "https://both.example.com"),
            ("localhost:5000", "http://localhost:5000"),
            ("localhost:5000", "https://localhost:5002"),
        ],
    )
    def test_where_one_may_not(self, sender: str, place: str) -> None:
        with pytest.raises(RejectedError) as caught:
            self.hop(sender, f"{place}/v2/x?y=z")
        assert caught.value.code is Code.HOST_REFUSED


def issue(directory: Path, *names: str) -> tuple[str, str]:
    """A certificate for `names`, which is its own authority, and its key: paths of PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(paths[0]), str(paths[1])


class TestTrustInTLS:
    async def test_a_private_authority_of_the_host(self, app: HostileRegistry, tmp_path: Path) -> None:
        certificate = issue(tmp_path, "127.0.0.1")
        async with running(app, certificate=certificate) as host:
            entry = settings.RegistryHost(host=host, loopback=True, ca_file=Path(certificate[0]))
            async with client(entry) as (registry, _):
                assert await registry.resolve(Repository(host, "team/app"), "v1") == DIGEST

    async def test_a_private_authority_of_the_network(self, app: HostileRegistry, tmp_path: Path) -> None:
        certificate = issue(tmp_path, "127.0.0.1")
        network = settings.Network(ca_file=Path(certificate[0]))
        async with running(app, certificate=certificate) as host:
            entry = settings.RegistryHost(host=host, loopback=True)
            async with client(entry, network=network) as (registry, _):
                assert await registry.resolve(Repository(host, "team/app"), "v1") == DIGEST

    @pytest.mark.parametrize(
        ("names", "trusted", "expected"),
        [
            pytest.param(("127.0.0.1",), False, "`caFile`", id="an unknown authority"),
            pytest.param(("127.0.0.2",), True, "not valid for", id="another address"),
            pytest.param(("registry.example.com",), True, "not valid for", id="a name"),
        ],
    )
    async def test_a_certificate_that_is_not_trusted(
        self, names: tuple[str, ...], trusted: bool, expected: str, app: HostileRegistry, tmp_path: Path
    ) -> None:
        certificate = issue(tmp_path, *names)
        ca_file = Path(certificate[0]) if trusted else None
        async with running(app, certificate=certificate) as host:
            entry = settings.RegistryHost(host=host, loopback=True, ca_file=ca_file)
            async with client(entry) as (registry, observed):
                error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
        assert error.code is Code.REGISTRY_UNAVAILABLE
        assert "not trusted" in error.detail
        assert expected in error.detail or "mismatch" in error.detail
        assert len(observed.requests) == 1
        assert app.seen == []

    async def test_http_spoken_at_https(self, app: HostileRegistry) -> None:
        async with running(app) as host, client(replace(listed(host), insecure_http=False)) as (registry, _):
            error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
        assert error.code is Code.REGISTRY_UNAVAILABLE
        assert "TLS" in error.detail


class TestProxy:
    """A proxy is dialled where settings name it; the text of hosts is judged all the same."""

    async def ask(self, app: HostileRegistry, tmp_path: Path, host: str, **proxy: object) -> tuple[object, list[bytes]]:
        certificate = issue(tmp_path, "registry.example.com")
        heads: list[bytes] = []
        async with running(app, certificate=certificate) as address:

            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                there = await asyncio.open_connection(*address.split(":"))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                try:
                    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
                finally:
                    there[1].close()

            async with raw(handle) as proxy_address:
                network = settings.Network(
                    ca_file=Path(certificate[0]),
                    https_proxy=f"http://user:{SECRET}@{proxy_address}",
                    **proxy,  # type: ignore[arg-type]
                )
                async with client(network=network, resolver=FixedResolver({})) as (registry, _):
                    try:
                        return await registry.resolve(Repository(host, "team/app"), "v1"), heads
                    except CountersignError as error:
                        return checked(error), heads

    async def test_https_goes_through_connect(self, app: HostileRegistry, tmp_path: Path) -> None:
        outcome, heads = await self.ask(app, tmp_path, "registry.example.com")
        assert outcome == DIGEST
        (head,) = heads
        assert head.startswith(b"CONNECT registry.example.com:443 HTTP/1.1\r\n")
        assert b"proxy-authorization: basic" in head.lower()
        assert "proxy-authorization" not in app.seen[0].headers

    async def test_what_bypasses_the_proxy_is_dialled(self, app: HostileRegistry, tmp_path: Path) -> None:
        outcome, heads = await self.ask(app, tmp_path, "registry.example.com", no_proxy=(".example.com",))
        assert isinstance(outcome, InconclusiveError)
        assert "unknown host name" in outcome.detail
        assert heads == []

    @pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "vault.default.svc", "169.254.169.254"])
    async def test_the_text_of_hosts_is_judged(self, host: str, app: HostileRegistry, tmp_path: Path) -> None:
        outcome, heads = await self.ask(app, tmp_path, host)
        assert isinstance(outcome, RejectedError)
        assert outcome.code is Code.HOST_REFUSED
        assert heads == []


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.mark.parametrize(
    ("allowed", "image", "asked"),
    [
        pytest.param((), "registry.example.com/a", True, id="nothing is listed"),
        pytest.param(("registry.example.com",), "registry.example.com/a", True, id="listed"),
        pytest.param(("registry.example.com",), "registry.example.com:443/a", True, id="by its default port"),
        pytest.param(("docker.io",), "nginx", True, id="Docker Hub without its name"),
        pytest.param(("registry.example.com",), "registry.example.com:8443/a", False, id="another port"),
        pytest.param(("registry.example.com",), "registry.example.com.evil.example/a", False, id="a look-alike"),
        pytest.param(("registry.example.com",), "nginx", False, id="Docker Hub is another"),
    ],
)
def test_only_registries_that_are_allowed_are_asked(allowed: tuple[str, ...], image: str, asked: bool) -> None:
    hosts = Hosts((), Network(settings.Network()), allowed=allowed)
    repository = reference.parse(image).repository
    if asked:
        assert hosts.find(repository)
    else:
        with pytest.raises(RejectedError, match="COUNTERSIGN_REGISTRIES_ALLOWED") as refused:
            hosts.find(repository)
        assert refused.value.code is Code.HOST_REFUSED
