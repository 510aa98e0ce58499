"""The serving certificate: issued, read, replaced while connections live; a broken successor changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store

from webhook import settings
from webhook.errors import OperatorError
from webhook.tls import authority as authorities
from webhook.tls.authority import AUTHORITY_LIFETIME, LEAF_LIFETIME, Pair
from webhook.tls.certificate import ServingCertificate

NOW = datetime.now(UTC).replace(microsecond=0)
NAME = "countersign.countersign.svc"


def write(folder: Path, pair: Pair) -> None:
    (folder / "tls.crt").write_bytes(pair.chain)
    (folder / "tls.key").write_bytes(pair.key)


def options(folder: Path) -> settings.Server:
    return settings.Server(certificate_file=folder / "tls.crt", key_file=folder / "tls.key")


def leaf(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


@contextlib.asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[int]:
    """An echo under `context`; when the block ends, every client must have closed."""
    serving: set[asyncio.Task[None]] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        serving.add(task)
        while data := await reader.read(100):
            writer.write(data)
        await close(writer)

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*serving)


async def handshake(port: int, authority: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """A connection as an API server makes it, and the serial number of the certificate that it was shown."""
    trust = ssl.create_default_context(cadata=authority.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=NAME)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return reader, writer, x509.load_der_x509_certificate(shown).serial_number


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


def test_an_issued_certificate_is_what_an_api_server_verifies(tmp_path: Path) -> None:
    names = (NAME, "localhost", "127.0.0.1")
    certificate = ServingCertificate(settings.Server(names=names, ca_out_file=tmp_path / "ca.pem"), now=NOW)
    authority = leaf((tmp_path / "ca.pem").read_bytes())
    assert certificate.authority_pem == (tmp_path / "ca.pem").read_bytes()
    issued = leaf(certificate._pair.chain)
    verifier = PolicyBuilder().store(Store([authority])).time(NOW).build_server_verifier(x509.DNSName(NAME))
    assert verifier.verify(issued, [])
    alternatives = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == [NAME, "localhost"]
    assert [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert certificate.not_after == NOW + LEAF_LIFETIME


def test_no_certificate_outlives_its_authority() -> None:
    issuer = authorities.make(NOW - AUTHORITY_LIFETIME + timedelta(days=12))
    pair = issuer.issue((NAME,), NOW)
    assert (pair.not_after, pair.renew_at) == (issuer.not_after, NOW + timedelta(days=8))
    for moment in (issuer.not_after, issuer.not_before - timedelta(seconds=1)):
        with pytest.raises(OperatorError, match="the authority is good from"):
            issuer.issue((NAME,), moment)


async def test_an_issued_certificate_is_renewed_at_two_thirds() -> None:
    start = NOW - LEAF_LIFETIME * 2 / 3  # both certificates must hold today, when the handshakes are made
    certificate = ServingCertificate(settings.Server(names=(NAME,)), now=start)
    assert certificate.authority_pem
    async with listening(certificate.context) as port:
        reader, writer, first = await handshake(port, certificate.authority_pem)
        assert not certificate.refresh(NOW - timedelta(seconds=1))
        assert certificate.refresh(NOW)
        _, other, second = await handshake(port, certificate.authority_pem)
        assert first != second, "a new handshake gets the new certificate"
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here", "an open connection lives on"
        await close(writer)
        await close(other)


async def test_files_that_change_are_in_force_without_a_restart(tmp_path: Path) -> None:
    authority = authorities.make(NOW)
    write(tmp_path, authority.issue((NAME,), NOW))
    certificate = ServingCertificate(options(tmp_path), now=NOW)
    async with listening(certificate.context) as port:
        _, writer, first = await handshake(port, authority.pem)
        await close(writer)
        assert not certificate.refresh(NOW), "nothing changed"
        write(tmp_path, authority.issue((NAME,), NOW))
        assert certificate.refresh(NOW)
        _, writer, second = await handshake(port, authority.pem)
        await close(writer)
        assert first != second


def expired() -> Pair:
    then = NOW - LEAF_LIFETIME - timedelta(days=1)
    return authorities.make(then).issue((NAME,), then)


def broken(folder: Path, what: str) -> None:
    """The files are as a mistake would leave them."""
    authority = authorities.make(NOW)
    good, other = authority.issue((NAME,), NOW), authority.issue((NAME,), NOW)
    match what:
        case "key-of-another":
            write(folder, Pair(good.chain, other.key, good.not_after))
        case "no-certificate":
            write(folder, Pair(b"", good.key, good.not_after))
        case "garbage":
            write(folder, Pair(b"\x00" * 100, good.key, good.not_after))
        case "truncated-key":
            write(folder, Pair(good.chain, good.key[:60], good.not_after))
        case "encrypted-key":
            key = serialization.load_pem_private_key(good.key, None)
            secret = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
            write(folder, Pair(good.chain, secret, good.not_after))
        case "expired":
            write(folder, expired())
        case "key-gone":
            (folder / "tls.key").unlink()
        case "too-large":
            (folder / "tls.crt").write_bytes(b"x" * (1024 * 1024 + 1))


BROKEN = (
    "key-of-another",
    "no-certificate",
    "garbage",
    "truncated-key",
    "encrypted-key",
    "expired",
    "key-gone",
    "too-large",
)


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_new_pair_keeps_the_old_one_and_says_so(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = authorities.make(NOW)
    write(tmp_path, authority.issue((NAME,), NOW))
    certificate = ServingCertificate(options(tmp_path), now=NOW)
    async with listening(certificate.context) as port:
        _, writer, first = await handshake(port, authority.pem)
        await close(writer)
        broken(tmp_path, what)
        assert not certificate.refresh(NOW)
        assert not certificate.refresh(NOW)
        assert certificate.problem
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1, "said once"
        _, writer, second = await handshake(port, authority.pem)
        await close(writer)
        assert first == second
        write(tmp_path, authority.issue((NAME,), NOW))
        assert certificate.refresh(NOW), "and mended, it is taken"
        assert certificate.problem is None


@pytest.mark.parametrize("what", [what for what in BROKEN if what != "expired"])
def test_a_broken_pair_at_start_is_the_operators_mistake(tmp_path: Path, what: str) -> None:
    write(tmp_path, authorities.make(NOW).issue((NAME,), NOW))
    broken(tmp_path, what)
    with pytest.raises(OperatorError):
        ServingCertificate(options(tmp_path), now=NOW)


def test_an_expired_pair_at_start_is_used_and_can_be_seen(tmp_path: Path) -> None:
    write(tmp_path, expired())
    assert ServingCertificate(options(tmp_path), now=NOW).not_after < NOW


@pytest.mark.parametrize("name", ["", "exämple.com"])
def test_a_name_that_is_none_is_the_operators_mistake(name: str) -> None:
    with pytest.raises(OperatorError, match="COUNTERSIGN_NAMES"):
        ServingCertificate(settings.Server(names=(name,)), now=NOW)


def test_a_folder_that_cannot_be_written_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot be written"):
        ServingCertificate(settings.Server(ca_out_file=tmp_path / "none" / "ca.pem"), now=NOW)


async def test_tls_below_1_2_is_refused() -> None:
    certificate = ServingCertificate(settings.Server(names=(NAME,)), now=NOW)
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2


class Stumbling(ServingCertificate):
    """Fails at its first look, in a way that nobody foresaw."""

    looks = 0

    def refresh(self, now: datetime) -> bool:
        self.looks += 1
        if self.looks == 1:
            raise ZeroDivisionError
        return super().refresh(now)


async def test_watch_outlives_what_nobody_foresaw() -> None:
    certificate = Stumbling(settings.Server(reload_interval=0.001), now=datetime.now(UTC))
    watching = asyncio.create_task(certificate.watch())
    async with asyncio.timeout(10):
        while certificate.looks < 2 and not watching.done():
            await asyncio.sleep(0.001)
    assert not watching.done()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
