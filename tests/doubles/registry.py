"""Registries for tests: the one in memory served on loopback, one that misbehaves on demand, and raw servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import uvicorn
from aiohttp import abc
from uvicorn.server import ServerState

from webhook import settings
from webhook.demo.registry import Incoming, MemoryRegistry, Outgoing, Receive, Scope, Send
from webhook.network import Network
from webhook.oci.authn import Credential, CredentialSource
from webhook.oci.reference import Repository
from webhook.oci.registry import Registry, RequestKind

Rule = Callable[[Incoming], Outgoing | None]


@contextlib.asynccontextmanager
async def running(app: object, *, certificate: tuple[str, str] | None = None) -> AsyncIterator[str]:
    """`app` is served on loopback; yields `127.0.0.1:<port>`. `certificate` is the paths of certificate and key."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="critical",
        lifespan="off",
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
    )
    config.load()
    state = ServerState()

    def connect() -> asyncio.Protocol:
        assert isinstance(config.http_protocol_class, type)
        return config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]

    # Without `uvicorn.Server`, whose loop looks ten times a second whether it should end.
    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0, ssl=config.ssl)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await asyncio.sleep(0)


def listed(host: str) -> settings.RegistryHost:
    """An entry that lets tests dial `host` over plain http on loopback."""
    return settings.RegistryHost(host=host, insecure_http=True, loopback=True)


@contextlib.asynccontextmanager
async def registry_for(*hosts: str) -> AsyncIterator[Registry]:
    """A client that may dial those hosts, and knows no name."""
    async with client(*(listed(host) for host in hosts), resolver=FixedResolver({})) as (registry, _):
        yield registry


@dataclass(slots=True)
class Observed:
    """What a client reported of its requests."""

    requests: list[tuple[RequestKind, str, int]] = field(default_factory=list)

    def __call__(self, kind: RequestKind, host: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((kind, host, status))

    @property
    def kinds(self) -> list[str]:
        return [kind.value for kind, _, _ in self.requests]


@contextlib.asynccontextmanager
async def client(
    *entries: settings.RegistryHost,
    credentials: tuple[CredentialSource, ...] = (),
    limits: settings.Registry | None = None,
    network: settings.Network | None = None,
    resolver: abc.AbstractResolver | None = None,
) -> AsyncIterator[tuple[Registry, Observed]]:
    """A client under those settings that does not wait between attempts."""
    observed = Observed()
    registry = Registry(
        limits=replace(limits or settings.Registry(), hosts=entries, backoff=0.0),
        network=Network(network or settings.Network(), resolver=resolver),
        credentials=credentials,
        observe=observed,
    )
    try:
        yield registry, observed
    finally:
        await registry.close()


@dataclass(frozen=True, slots=True)
class Given:
    """A `CredentialSource` of the same credentials for all."""

    found: tuple[Credential, ...]

    async def credentials(
        self, repository: Repository, *, refused: tuple[Credential, ...] = ()
    ) -> tuple[Credential, ...]:
        return tuple(credential for credential in self.found if credential not in refused)


@dataclass(slots=True)
class Lending:
    """The `PrivateCredentials` of one review: the same for every repository. `away` is why there may be more."""

    found: tuple[Credential, ...] = ()
    away: str = ""
    asked: list[Repository] = field(default_factory=list)

    async def credentials(
        self, repository: Repository, *, refused: tuple[Credential, ...] = ()
    ) -> tuple[Credential, ...]:
        self.asked.append(repository)
        return tuple(credential for credential in self.found if credential not in refused)

    def lent(self, repository: Repository) -> tuple[Credential, ...]:
        return self.found if repository in self.asked else ()

    def unread(self, repository: Repository) -> str:
        return self.away if repository in self.asked else ""

    def lacking(self, repository: Repository) -> str:
        return self.unread(repository)


class HostileRegistry(MemoryRegistry):
    """The registry in memory, whose answers `rules` may replace; the first that answers wins. `seen` is what came."""

    def __init__(self, *rules: Rule, referrers: bool = True) -> None:
        super().__init__(referrers=referrers)
        self.rules = list(rules)
        self.seen: list[Incoming] = []
        self.connections: set[object] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.connections.add(scope.get("client"))
        await super().__call__(scope, receive, send)

    def answer(self, request: Incoming) -> Outgoing:
        self.seen.append(request)
        for rule in self.rules:
            if (answer := rule(request)) is not None:
                return answer
        return super().answer(request)

    @property
    def lines(self) -> list[str]:
        """What came, as method and path."""
        return [f"{request.method} {request.path}" for request in self.seen]

    def authorizations(self, path: str = "") -> list[str | None]:
        """The Authorization header of every request whose path begins so."""
        return [request.headers.get("authorization") for request in self.seen if request.path.startswith(path)]


def on(
    part: str, status: int, *, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"", method: str = ""
) -> Rule:
    """Answers every request whose path holds `part`."""

    def rule(request: Incoming) -> Outgoing | None:
        matches = part in request.path and method in ("", request.method)
        return Outgoing(status, headers, body) if matches else None

    return rule


def times(count: int, rule: Rule) -> Rule:
    """`rule`, for the first `count` requests that it answers."""
    left = count

    def limited(request: Incoming) -> Outgoing | None:
        nonlocal left
        answer = rule(request) if left else None
        left -= answer is not None
        return answer

    return limited


def bearer(realm: str, *, accepts: Callable[[str], bool], service: str = "registry", error: str = "") -> Rule:
    """Asks for a bearer token of `realm` wherever none that is accepted came along."""
    challenge = f'Bearer realm="{realm}",service="{service}",scope="repository:other:push,pull"{error}'

    def rule(request: Incoming) -> Outgoing | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not request.path.startswith("/v2/") or (scheme == "Bearer" and accepts(token)):
            return None
        return Outgoing(401, (("www-authenticate", challenge),))

    return rule


def basic(expected: str) -> Rule:
    """Asks for basic credentials wherever others than `expected` came."""

    def rule(request: Incoming) -> Outgoing | None:
        if request.headers.get("authorization") == expected:
            return None
        return Outgoing(401, (("www-authenticate", 'Basic realm="registry, with a comma"'),))

    return rule


def tokens(*values: str, status: int = 200, **fields: object) -> Rule:
    """A token service at /token that hands out `values` in turn, the last one for ever."""
    left = list(values)

    def rule(request: Incoming) -> Outgoing | None:
        if request.path != "/token":
            return None
        value = left.pop(0) if len(left) > 1 else left[0]
        return Outgoing(
            status, (("content-type", "application/json"),), json.dumps({"token": value, **fields}).encode()
        )

    return rule


@dataclass(frozen=True, slots=True)
class FixedResolver(abc.AbstractResolver):
    """A resolver that knows some names, and no others."""

    names: dict[str, tuple[str, ...]]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[abc.ResolveResult]:
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            abc.ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.names[host]
        ]

    async def close(self) -> None:
        pass


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw(handler: Handler) -> AsyncIterator[str]:
    """A server that hands every connection to `handler`; yields `127.0.0.1:<port>`."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def stalling(hosts: int) -> AsyncIterator[list[str]]:
    """So many hosts, each at an address of its own, that take connections and say nothing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                pass
        writer.close()

    servers = [await asyncio.start_server(handle, f"127.0.0.{number + 2}", 0) for number in range(hosts)]
    try:
        yield ["{}:{}".format(*server.sockets[0].getsockname()) for server in servers]
    finally:
        for server in servers:
            server.close()
