"""One HTTP exchange at a time: to whom it is dialled, by which trust in TLS, through which proxy.

Whoever creates a pod chooses the host that is dialled for it, so every address is judged where the socket is made:
there the address really dialled is seen, whatever a name resolved to and however a literal was spelled. An exchange
follows no redirect, keeps no cookie, decodes no body and reads no more than it was told to. Which hosts get allowances,
what is asked and what an answer means is left to `oci`. specs: RFC 6890 and its registries; RFC 9110; RFC 8446.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import abc, hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from webhook import addresses, settings, version
from webhook.errors import Code, InconclusiveError, OperatorError, RejectedError, quote

KEEP_ALIVE = 60.0  # seconds; below the 75 s after which nginx, in front of many registries, closes
CONNECTIONS = 512  # in all, so that a few hosts that stall do not take the connections of all others
DNS_LIFETIME = 30  # seconds
LOOKUPS = 128  # of names at once: two for each image under examination, since who gives up leaves his to its end


@dataclass(frozen=True, slots=True)
class Target:
    """One authority and how it may be dialled. The allowances are the authority's own, whoever sends us there."""

    origin: str  # `https://host[:port]`
    host: str
    port: int
    private: bool = False
    loopback: bool = False
    tls: ssl.SSLContext | None = None  # None: plain http
    proxy: URL | None = field(default=None, repr=False)  # may hold a password

    @property
    def authority(self) -> str:
        return self.origin.partition("://")[2]


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """`max_bytes` bounds the body of a success, `error_max_bytes` that of every other answer."""

    method: str
    target: Target
    url: URL
    headers: Mapping[str, str]
    max_bytes: int
    error_max_bytes: int
    form: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """`cut` says that the body went on beyond the limit and was not read to its end."""

    status: int
    url: URL
    headers: Mapping[str, str]
    challenges: tuple[str, ...]
    links: tuple[str, ...]
    body: bytes
    cut: bool


class UnreachableError(InconclusiveError):
    """No HTTP answer came. `transient` says that asking again at once may help, `answered` that something else came."""

    def __init__(self, detail: str, *, transient: bool, answered: bool = False) -> None:
        super().__init__(Code.REGISTRY_UNAVAILABLE, detail)
        self.transient, self.answered = transient, answered


class Network:
    """Rules and trust for everything that is dialled. Certificates of authorities are read when first needed."""

    def __init__(self, limits: settings.Network, *, resolver: abc.AbstractResolver | None = None) -> None:
        self._limits = limits
        self._resolver = resolver or _Names()
        self._contexts: dict[tuple[Path | None, bool, bool], ssl.SSLContext] = {}

    def tls(self, ca_file: Path | None, *, private: bool = False, loopback: bool = False) -> ssl.SSLContext:
        """A context that trusts the system's authorities, the network's and `ca_file`. Raises: OperatorError.

        Each set of allowances has its own, since connections are pooled by it: who lacks one is lent none.
        """
        key = (ca_file, private, loopback)
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = _trust([self._limits.ca_file, ca_file])
        return context

    def proxy(self, scheme: str, host: str, port: int) -> URL | None:
        """The proxy that is dialled instead of `host`, if any. Raises: OperatorError."""
        text = self._limits.https_proxy if scheme == "https" else self._limits.http_proxy
        if not text or any(_bypasses(entry, host, port) for entry in self._limits.no_proxy):
            return None
        url = URL(text if "://" in text else f"http://{text}")
        if url.scheme not in ("http", "https") or not url.host:
            raise OperatorError(f"the proxy for {scheme}: an http or https URL expected")
        return url

    def open(self, *, connections_per_host: int) -> Client:
        """A pool of connections under these rules; nothing is dialled yet."""
        return Client(self._limits, connections_per_host=connections_per_host, resolver=self._resolver)


class Client:
    """The pool of connections: one per process, made in the event loop that first uses it."""

    def __init__(self, limits: settings.Network, *, connections_per_host: int, resolver: abc.AbstractResolver) -> None:
        self._limits = limits
        self._connections_per_host = connections_per_host
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, request: Request) -> Answer:
        """The answer to one request, whatever its status; its connection goes back to the pool where it can.

        Raises: RejectedError (`host_refused`), UnreachableError.
        """
        session = self._session or self._open()
        dial = _Dial(request.target)
        previous = _dialling.set(dial)
        try:
            response = await session.request(
                request.method,
                request.url,
                headers=request.headers,
                data=request.form,
                allow_redirects=False,
                ssl=request.target.tls or True,
                proxy=request.target.proxy,
            )
            try:
                return await _read(response, request)
            finally:
                response.release()  # closes the connection where the body was not read to its end
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if dial.refused is not None:
                raise _refused(request.target, *dial.refused) from None
            raise self._translate(error, request.target) from error
        finally:
            _dialling.reset(previous)

    async def close(self) -> None:
        """Connections are closed."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = _Pool(
            limit=CONNECTIONS,
            limit_per_host=self._connections_per_host,
            keepalive_timeout=KEEP_ALIVE,
            ttl_dns_cache=DNS_LIFETIME,
            resolver=self._resolver,
            socket_factory=_open_socket,
        )
        timeout = aiohttp.ClientTimeout(
            total=self._limits.request_timeout,
            sock_connect=self._limits.connect_timeout,
            sock_read=self._limits.read_timeout,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={hdrs.USER_AGENT: f"countersign/{version.installed()}", hdrs.ACCEPT_ENCODING: "identity"},
        )
        return self._session

    def _translate(self, error: Exception, target: Target) -> UnreachableError:
        where = quote(target.authority)
        limits = self._limits
        match error:
            case aiohttp.ConnectionTimeoutError():
                return UnreachableError(
                    f"{where}: no connection in time ({limits.connect_timeout:g} s for each address)", transient=False
                )
            case aiohttp.SocketTimeoutError():
                return UnreachableError(
                    f"{where}: timed out after {limits.read_timeout:g} s without data", transient=False
                )
            case TimeoutError() if not isinstance(error, aiohttp.ClientOSError):
                return UnreachableError(f"{where}: timed out after {limits.request_timeout:g} s", transient=False)
            case aiohttp.ClientConnectorCertificateError():
                return UnreachableError(f"{where}: {_certificate_problem(error)}", transient=False)
            case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
                return UnreachableError(f"{where}: TLS failed: {quote(str(error), max_chars=120)}", transient=False)
            case aiohttp.ClientConnectorDNSError():
                return _unknown_name(error, where)
            case aiohttp.ClientProxyConnectionError():
                return UnreachableError(f"{where}: the proxy cannot be reached", transient=True)
            case aiohttp.ClientHttpProxyError():
                return UnreachableError(f"{where}: the proxy answered {error.status}", transient=False)
            case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
                return UnreachableError(f"{where}: connection refused", transient=True)
            case aiohttp.ClientResponseError() | aiohttp.InvalidURL() | ValueError():
                return UnreachableError(f"{where}: the answer is not HTTP as expected", transient=False, answered=True)
            case OSError() if error.strerror:
                return UnreachableError(f"{where}: {quote(error.strerror, max_chars=120)}", transient=True)
        return UnreachableError(f"{where}: the connection broke", transient=True)


class _Pool(aiohttp.TCPConnector):
    """Keeps no connection for the next request where more are open than may be in use.

    The library bounds those in use, and those that are idle for each host: of hosts, anybody may name thousands.
    """

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        opened = len(self._acquired) + sum(len(idle) for idle in self._conns.values())
        super()._release(key, protocol, should_close=should_close or opened > CONNECTIONS)


async def _read(response: aiohttp.ClientResponse, request: Request) -> Answer:
    success = 200 <= response.status < 300
    limit = request.max_bytes if success else request.error_max_bytes
    headers = response.headers
    body, cut = await _read_body(response, limit)
    return Answer(
        status=response.status,
        url=request.url,
        headers=headers,
        challenges=() if success else tuple(headers.getall(hdrs.WWW_AUTHENTICATE, ())),
        links=tuple(headers.getall(hdrs.LINK, ())) if success else (),
        body=body,
        cut=cut,
    )


async def _read_body(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    first = await response.content.readany()
    if not first or (response.content.at_eof() and len(first) <= limit):
        return first, False
    parts, size = [first], len(first)
    while size <= limit:
        part = await response.content.readany()
        if not part:
            return b"".join(parts), False
        parts.append(part)
        size += len(part)
    return b"".join(parts)[:limit], True


class _Names(abc.AbstractResolver):
    """Looks names up in threads of its own, started as they are needed.

    The event loop's are a handful, two of them with uvloop: as many names whose servers never answer, which anybody may
    put into a pod, would stop the lookups of all others.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[abc.ResolveResult]:
        look_up = functools.partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            abc.ResolveResult(hostname=host, host=str(there[0]), port=port, family=kind, proto=protocol, flags=flags)
            for kind, _, protocol, _, there in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Dial:
    """Who is being dialled in this context, and the first address that was refused on the way."""

    __slots__ = ("refused", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.refused: tuple[str, str] | None = None


# Connecting runs in the task of the request, or in tasks that it starts, which inherit its context.
_dialling: ContextVar[_Dial | None] = ContextVar("webhook.network.dialling", default=None)


def _open_socket(info: tuple[int, int, int, str, tuple[str | int, ...]]) -> socket.socket:
    family, kind, protocol, _, endpoint = info
    dial = _dialling.get()
    if dial is None:
        raise PermissionError("dialled outside of an exchange")
    target = dial.target
    if target.proxy is None:  # the operator named the proxy, and with it its address
        text = str(endpoint[0]).partition("%")[0]
        reason = addresses.refusal(ipaddress.ip_address(text), private=target.private, loopback=target.loopback)
        if reason is not None:
            dial.refused = dial.refused or (text, reason)
            raise PermissionError(f"{text} is {reason}")
    return socket.socket(family, kind, protocol)


def _refused(target: Target, address: str, reason: str) -> RejectedError:
    return RejectedError(
        Code.HOST_REFUSED, f"host {quote(target.authority)} was not dialled: it leads to {address}, {reason}"
    )


def _trust(ca_files: list[Path | None]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for path in ca_files:
        if path is None:
            continue
        try:
            context.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(f"caFile {path}: no certificates in PEM could be read: {error.strerror}") from error
    return context


def _bypasses(entry: str, host: str, port: int) -> bool:
    """Whether `entry` of NO_PROXY names `host`: a name and all below it, an address or network, or `*`."""
    name, _, entry_port = (
        entry.strip().lower().partition(":") if entry.count(":") == 1 else (entry.strip().lower(), "", "")
    )
    if entry_port and entry_port != str(port):
        return False
    if name == "*":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        suffix = name.removeprefix("*").removeprefix(".")
        return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))


def _certificate_problem(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    why = quote(getattr(cause, "verify_message", "") or str(cause), max_chars=120)
    return f"its certificate is not trusted: {why}; a private authority is named by `caFile`"


def _unknown_name(error: aiohttp.ClientConnectorDNSError, where: str) -> UnreachableError:
    if error.os_error.errno == socket.EAI_AGAIN:
        return UnreachableError(f"{where}: its name could not be resolved now", transient=True)
    return UnreachableError(f"{where}: unknown host name", transient=False)
