"""Responders and servers of revocation lists, on loopback: asked in time, in bounds, and never misunderstood."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp

from tests.doubles.registry import FixedResolver, Handler, raw, running
from tests.doubles.responder import (
    DAY,
    NOW,
    Authority,
    Server,
    answer_of,
    asked,
    entry,
    large_list,
    lists,
    responders,
    root,
)
from webhook import settings
from webhook.demo.registry import Outgoing
from webhook.network import Network
from webhook.trust.notary.inquiry import ChainInquiry, Standing, Status
from webhook.trust.notary.responders import CONNECTIONS_PER_HOST, REQUESTS_MAX, Responders

GOOD, REVOKED, UNKNOWN = Standing.GOOD, Standing.REVOKED, Standing.UNKNOWN
HOUR = timedelta(hours=1)
CA = root()
SETTINGS = settings.Revocation()
QUICK = replace(SETTINGS, ocsp_timeout=0.2, crl_timeout=0.2)


@dataclass(slots=True)
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass(slots=True)
class Seen:
    answers: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, kind: str, standing: str, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append((kind, standing))


@contextlib.asynccontextmanager
async def asking(
    *hosts: str,
    limits: settings.Revocation = SETTINGS,
    names: Mapping[str, tuple[str, ...]] | None = None,
    clock: Clock | None = None,
    network: settings.Network | None = None,
) -> AsyncIterator[tuple[Responders, Seen]]:
    """`hosts` are those that an operator listed; `names` all that resolve."""
    seen = Seen()
    resolver = FixedResolver(dict(names or {}))
    found = Responders(
        replace(limits, hosts=hosts),
        network=Network(network or settings.Network(), resolver=resolver),
        observe=seen,
        clock=clock or Clock(),
    )
    try:
        yield found, seen
    finally:
        await found.close()


def chain(*certificates: x509.Certificate, signed_at: datetime | None = None) -> ChainInquiry:
    return ChainInquiry(tuple(one.public_bytes(serialization.Encoding.DER) for one in certificates), signed_at)


def by_ocsp(host: str) -> x509.Certificate:
    return CA.issue("leaf", responders(f"http://{host}/ocsp")).certificate


def by_list(host: str) -> x509.Certificate:
    return CA.issue("leaf", lists((f"http://{host}/crl",))).certificate


# --- What is asked, and how


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_chain_by_ocsp_and_lists(revoked: bool) -> None:
    server = Server()
    async with running(server) as host, asking(host) as (found, seen):
        middle = CA.issue("middle", lists((f"http://{host}/crl",)), (x509.BasicConstraints(True, None), True))
        leaf = middle.issue("leaf", responders(f"http://{host}/ocsp/")).certificate
        server.answers = {
            "/ocsp": middle.response(leaf),
            "/crl": CA.revocation_list(*([entry(middle.certificate)] if revoked else [])),
        }
        status = await found.standing(chain(leaf, middle.certificate, CA.certificate))
        assert status.standing is (REVOKED if revoked else GOOD)
        assert status.detail == ("certificate 'CN=middle' was revoked on 2026-11-01" if revoked else "")
        assert sorted(server.paths) == ["crl", "ocsp"]
        assert sorted(seen.answers) == [("crl", "revoked" if revoked else "good"), ("ocsp", "good")]


async def test_a_leaf_that_names_nobody_hides_no_revoked_issuer() -> None:
    server = Server()
    async with running(server) as host, asking(host) as (found, _):
        middle = CA.issue("middle", lists((f"http://{host}/crl",)))
        server.answers = {"/crl": CA.revocation_list(entry(middle.certificate))}
        leaf = middle.issue("leaf").certificate
        assert (await found.standing(chain(leaf, middle.certificate, CA.certificate))).standing is REVOKED


async def test_nobody_is_asked_about_a_root_or_for_chains_that_name_nobody() -> None:
    async with asking() as (found, seen):
        leaf = CA.issue("leaf").certificate
        assert await found.standing(chain(CA.certificate)) == Status(GOOD)
        assert await found.standing(chain(leaf, CA.certificate)) == Status(GOOD)
        assert seen.answers == []


async def test_short_questions_stand_in_the_address_and_long_ones_in_the_body() -> None:
    """RFC 5019 5. A serial number as long as this breaks a rule, and makes the question long."""
    server = Server()
    async with running(server) as host, asking(host) as (found, _):
        for serial, path, method in [
            (5, "/ocsp", "GET"),
            (1 << 1000, "/ocsp", "POST"),
            (6, "/ocsp?for=us", "POST"),
        ]:
            leaf = CA.issue("leaf", responders(f"http://{host}{path}"), serial=serial).certificate
            server.answers = {"/ocsp": answer_of(CA.response(leaf))}
            assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD
            request = server.seen[-1]
            assert request.method == method
            assert asked(request).serial_number == serial
            assert request.headers.get("content-type") == ("application/ocsp-request" if method == "POST" else None)


# --- What is remembered


async def test_a_hundred_at_once_ask_once_and_later_ones_not_at_all() -> None:
    server = Server()
    async with running(server) as host, asking(host) as (found, seen):
        leaf = by_ocsp(host)
        server.answers = {"/ocsp": CA.response(leaf)}
        inquiry = chain(leaf, CA.certificate)
        answers = await asyncio.gather(*(found.standing(inquiry) for _ in range(100)))
        assert {one.standing for one in answers} == {GOOD}
        assert await found.standing(inquiry) == Status(GOOD)
        assert len(server.seen) == len(seen.answers) == 1


@pytest.mark.parametrize(
    ("until", "lifetime", "requests"),
    [(NOW + HOUR, 3600.0, 1), (NOW + HOUR, 0.0, 2), (NOW, 3600.0, 2), (None, 3600.0, 1), (None, 0.0, 2)],
)
async def test_answers_are_kept_for_as_long_as_they_hold(
    until: datetime | None, lifetime: float, requests: int
) -> None:
    server = Server()
    async with running(server) as host, asking(host, limits=replace(SETTINGS, lifetime=lifetime)) as (found, _):
        leaf = by_ocsp(host)
        server.answers = {"/ocsp": CA.response(leaf, until=until)}
        for _ in range(2):
            assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD
        assert len(server.seen) == requests


async def test_outages_are_remembered_for_a_moment_and_revocations_beyond_their_answer() -> None:
    server = Server()
    for answer, limits, requests in [
        (None, SETTINGS, 1),
        (None, replace(SETTINGS, unknown_lifetime=0.0), 2),
        (ocsp.OCSPCertStatus.REVOKED, SETTINGS, 1),
    ]:
        server.seen = []
        async with running(server) as host, asking(host, limits=limits) as (found, _):
            leaf = by_ocsp(host)
            server.answers = {"/ocsp": CA.response(leaf, status=answer, until=NOW)} if answer is not None else {}
            for _ in range(2):
                status = await found.standing(chain(leaf, CA.certificate))
                assert status.standing is (UNKNOWN if answer is None else REVOKED)
            assert len(server.seen) == requests


async def test_one_answer_serves_signatures_of_all_times() -> None:
    """What was signed before the key must be taken for compromised stays good, by the same answer."""
    server = Server()
    async with running(server) as host, asking(host) as (found, _):
        leaf = by_list(host)
        server.answers = {"/crl": CA.revocation_list(entry(leaf, invalid_from=NOW - 10 * DAY))}
        for signed_at, standing in [(NOW - 20 * DAY, GOOD), (NOW - 5 * DAY, REVOKED), (None, REVOKED)]:
            inquiry = chain(leaf, CA.certificate, signed_at=signed_at)
            assert (await found.standing(inquiry)).standing is standing
        assert len(server.seen) == 1


async def test_the_same_certificate_under_another_issuer_is_another_question() -> None:
    server, other = Server(), root()
    async with running(server) as host, asking(host) as (found, _):
        leaf = by_ocsp(host)
        server.answers = {"/ocsp": CA.response(leaf)}
        assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD
        assert (await found.standing(chain(leaf, other.certificate))).standing is UNKNOWN


async def test_a_review_that_gives_up_leaves_the_answer_to_the_next() -> None:
    server = Server()
    async with running(server) as host, asking(host) as (found, _):
        leaf = by_ocsp(host)
        server.answers = {"/ocsp": CA.response(leaf)}
        asking_once = asyncio.create_task(found.standing(chain(leaf, CA.certificate)))
        await asyncio.sleep(0)
        asking_once.cancel()
        assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD
        assert len(server.seen) == 1


# --- What goes wrong


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Outgoing(500), "it answered 500"),
        (Outgoing(404), "it answered 404"),
        (Outgoing(204), "it answered 204"),
        (Outgoing(302, (("location", "http://10.0.0.1/ocsp"),)), "it redirects to 'http://10.0.0.1/ocsp'"),
        (Outgoing(301, (("location", "http://169.254.169.254/latest"),)), "redirects are not followed"),
        (Outgoing(307), "it redirects to ''"),
        (Outgoing(200, (("content-type", "text/html"),), b"<html>"), "'text/html'"),
        (Outgoing(200, (), b"x"), "application/ocsp-response expected"),
        (answer_of(b"garbage"), "cannot be read"),
        (answer_of(b""), "cannot be read"),
        (answer_of(b"\x30" * (SETTINGS.ocsp_max_bytes + 1)), f"more than {SETTINGS.ocsp_max_bytes} bytes"),
        (answer_of(b"\x30" * SETTINGS.ocsp_max_bytes), "cannot be read"),
    ],
)
async def test_what_a_responder_may_answer(answer: Outgoing, said: str) -> None:
    server = Server({"/ocsp": answer})
    async with running(server) as host, asking(host) as (found, seen):
        status = await found.standing(chain(by_ocsp(host), CA.certificate))
        assert (status.standing, said in status.detail) == (UNKNOWN, True), status.detail
        assert len(server.seen) == 1
        assert seen.answers == [("ocsp", "unknown")]


async def test_a_content_type_with_parameters() -> None:
    server = Server()
    async with running(server) as host, asking(host) as (found, _):
        leaf = by_ocsp(host)
        kind = (("content-type", "Application/OCSP-Response; charset=binary"),)
        server.answers = {"/ocsp": Outgoing(200, kind, CA.response(leaf))}
        assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"\x30")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\n")
    while True:
        writer.write(b"\x30" * 65536)
        await writer.drain()


async def _no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await writer.drain()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: 1000\r\n\r\n0")
    await writer.drain()


@pytest.mark.parametrize("handler", [_hang, _drip, _endless, _no_http, _hang_up], ids=lambda one: one.__name__[1:])
@pytest.mark.parametrize("make", [by_ocsp, by_list], ids=["ocsp", "crl"])
async def test_servers_that_never_answer_properly(handler: Handler, make: Callable[[str], x509.Certificate]) -> None:
    """They cost their time and no more, and are never taken for a revocation."""
    limits = replace(QUICK, crl_max_bytes=settings.MIB)
    async with raw(handler) as host, asking(host, limits=limits) as (found, _):
        started = time.monotonic()
        status = await found.standing(chain(make(host), CA.certificate))
        assert status.standing is UNKNOWN
        assert time.monotonic() - started < 5


async def test_a_look_up_ends_in_time_whatever_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook.trust.notary.responders.LOOK_UP_SECONDS", 0.2)
    async with raw(_hang) as host, asking(host) as (found, _):
        status = await found.standing(chain(by_ocsp(host), CA.certificate))
        assert status.standing is UNKNOWN
        assert "nobody answered within 0.2 s" in status.detail


async def test_one_host_is_not_asked_everything_at_once() -> None:
    active = most = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal active, most
        await reader.readuntil(b"\r\n\r\n")
        active, most = active + 1, max(most, active + 1)
        await asyncio.sleep(0.01)
        active -= 1
        writer.write(b"HTTP/1.1 500 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async with raw(count) as host, asking(host) as (found, _):
        inquiries = [chain(by_ocsp(host), CA.certificate) for _ in range(30)]
        await asyncio.gather(*map(found.standing, inquiries))
    assert 1 < most <= CONNECTIONS_PER_HOST


async def test_nobody_there() -> None:
    async with asking("127.0.0.1:1", names={}) as (found, _):
        leaf = CA.issue("leaf", responders("http://127.0.0.1:1/", "http://ocsp.example.com/")).certificate
        status = await found.standing(chain(leaf, CA.certificate))
        assert status.standing is UNKNOWN
        assert "connection refused" in status.detail
        assert "unknown host name" in status.detail


async def test_lists_stand_in_for_responders_that_fail() -> None:
    server = Server({"/ocsp": Outgoing(500)})
    async with running(server) as host, asking(host) as (found, seen):
        urls = (f"http://{host}/ocsp", f"http://{host}/crl")
        leaf = CA.issue("leaf", responders(urls[0]), lists((urls[1],))).certificate
        server.answers["/crl"] = CA.revocation_list()
        assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD
        assert server.paths == ["ocsp", "crl"]
        assert seen.answers == [("crl", "good")]


# --- Whom nobody may have us dial


@pytest.mark.parametrize(
    ("url", "names", "said"),
    [
        ("http://127.0.0.1:{port}/ocsp", {}, "no name of the public DNS"),
        ("http://localhost:{port}/ocsp", {}, "no name of the public DNS"),
        ("http://0x7f000001:{port}/ocsp", {}, "no name of the public DNS"),
        ("http://2130706433:{port}/ocsp", {}, "no name of the public DNS"),
        ("http://[::1]:{port}/ocsp", {}, "no name of the public DNS"),
        ("http://169.254.169.254/latest/meta-data", {}, "no name of the public DNS"),
        ("http://kubernetes.default.svc/", {}, "no name of the public DNS"),
        ("http://ocsp.example.com:{port}/ocsp", {"ocsp.example.com": ("127.0.0.1",)}, "may not be dialled"),
        ("http://ocsp.example.com:{port}/ocsp", {"ocsp.example.com": ("::ffff:127.0.0.1",)}, "may not be dialled"),
        ("http://ocsp.example.com:{port}/ocsp", {"ocsp.example.com": ("10.1.2.3",)}, "may not be dialled"),
        ("http://ocsp.example.com/ocsp", {"ocsp.example.com": ("169.254.169.254",)}, "may not be dialled"),
        ("http://user:secret@ocsp.example.com/ocsp", {}, "without a user"),
        ("http://ocsp.example.com/ocsp#here", {}, "fragment"),
        ("http://ocsp.example.com:99999/ocsp", {}, "no URL"),
        ("http://ocsp.example.com/a b", {}, "no http URL"),
        ("http://ocsp.example.com/a\r\nHost: evil", {}, "no http URL"),
        ("http:///ocsp", {}, "no http URL"),
        (f"http://ocsp.example.com/{'x' * 2048}", {}, "no http URL"),
    ],
)
@pytest.mark.parametrize("make", [responders, lambda url: lists((url,))], ids=["ocsp", "crl"])
async def test_addresses_that_are_not_dialled(
    make: Callable[[str], tuple[x509.ExtensionType, bool]], url: str, names: dict[str, tuple[str, ...]], said: str
) -> None:
    server = Server()
    async with running(server) as host, asking(names=names) as (found, _):
        leaf = CA.issue("leaf", make(url.format(port=host.partition(":")[2]))).certificate
        status = await found.standing(chain(leaf, CA.certificate))
        assert (status.standing, said in status.detail) == (UNKNOWN, True), status.detail
        assert server.seen == []


async def test_a_host_that_an_operator_lists_may_be_private_but_no_metadata_service() -> None:
    server = Server()
    async with running(server) as host:
        port = host.partition(":")[2]
        names = {"ocsp.corp": ("127.0.0.1",), "OCSP.corp": ("127.0.0.1",), "meta.corp": ("169.254.169.254",)}
        async with asking(f"ocsp.corp:{port}", "meta.corp", names=names) as (found, _):
            leaf = by_ocsp(f"OCSP.corp:{port}")
            server.answers = {"/ocsp": CA.response(leaf)}
            assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD
            for refused in ("http://meta.corp/", f"http://ocsp.corp.example.com:{port}/", "http://ocsp.corp/"):
                leaf = CA.issue("leaf", responders(refused)).certificate
                assert (await found.standing(chain(leaf, CA.certificate))).standing is UNKNOWN
        assert len(server.seen) == 1


async def test_through_a_proxy() -> None:
    server = Server()
    async with running(server) as host:
        async with asking(network=settings.Network(http_proxy=f"http://{host}")) as (found, _):
            leaf = by_list("lists.example.com")
            server.answers = {"http://lists.example.com/crl": CA.revocation_list(), "/crl": CA.revocation_list()}
            assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD
        assert len(server.seen) == 1


async def test_a_chain_takes_a_bounded_number_of_requests() -> None:
    server = Server()
    async with running(server) as host, asking(host) as (found, _):
        certificates: list[x509.Certificate] = []
        issuer: Authority = CA
        for depth in range(9):
            urls = [f"http://{host}/{depth}{n}" for n in range(8)]
            named = (responders(*urls[:3]), lists(*((url,) for url in urls[3:])))
            issuer = issuer.issue(f"c{depth}", *named)
            certificates.insert(0, issuer.certificate)
        status = await found.standing(chain(*certificates, CA.certificate))
        assert status.standing is UNKNOWN
        assert len(server.seen) == REQUESTS_MAX


# --- Large lists


async def test_a_list_of_twenty_mebibytes_is_read_and_not_kept() -> None:
    server = Server()
    async with running(server) as host, asking(host, limits=replace(SETTINGS, crl_timeout=30.0)) as (found, _):
        leaf = by_list(host)
        server.answers = {"/crl": large_list(CA, 20 * settings.MIB)}
        for _ in range(2):
            assert (await found.standing(chain(leaf, CA.certificate))).standing is GOOD
        assert len(server.seen) == 2  # its first part, and the whole where there is room for it


async def test_large_lists_that_stall_hold_up_no_small_ones() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + b"\x30" * (settings.MIB + 65536))
        await _hang(reader, writer)

    server = Server({"/crl": CA.revocation_list()})
    async with (
        raw(_hang) as silent,
        raw(stall) as stalled,
        running(server) as host,
        asking(silent, stalled, host) as (found, _),
    ):
        slow = [chain(by_list(one), CA.certificate) for one in (silent, stalled) for _ in range(8)]
        waiting = [asyncio.create_task(found.standing(one)) for one in slow]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(SETTINGS.crl_timeout / 2):
            assert (await found.standing(chain(by_list(host), CA.certificate))).standing is GOOD
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()


async def test_a_list_above_the_limit_is_not_read() -> None:
    server = Server()
    limits = replace(SETTINGS, crl_max_bytes=settings.MIB)
    whole = large_list(CA, settings.MIB - 1000)
    for data, standing in [(whole, GOOD), (whole + b"\0" * (settings.MIB - len(whole) + 1), UNKNOWN)]:
        async with running(server) as host, asking(host, limits=limits) as (found, _):
            server.answers = {"/crl": data}
            status = await found.standing(chain(by_list(host), CA.certificate))
            assert status.standing is standing
            assert standing is GOOD or f"more than {settings.MIB} bytes" in status.detail
