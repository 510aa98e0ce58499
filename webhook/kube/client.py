"""The only door to the Kubernetes API: JSON of an object in, JSON out, and a watch as a stream of events.

Who we are there, by service account or kubeconfig with its plug-ins, TLS and the renewal of tokens are the library's;
objects stay the mappings that the API server sent, so that no field is lost that the library's models do not know,
and none of its seven hundred models is loaded. Every answer is bounded in bytes and time. What an API server refuses,
and that it cannot be reached, is a `KubeError`; nothing is repeated here.

spec: Kubernetes API concepts; Status of meta/v1.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote as quote_path

import aiohttp
import orjson
from kubernetes.aio import config as configuration
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException

from webhook import settings
from webhook.errors import OperatorError, quote

ANSWER_MAX_BYTES = 64 * settings.MIB  # a page of 500 ConfigMaps, most of them small
EVENT_MAX_BYTES = 8 * settings.MIB  # one object, and its managed fields
REQUEST_SECONDS = 15.0
CONNECT_SECONDS = 5.0
GOODBYE_SECONDS = 0.1
PAGE_ENTRIES = 500
PAGES_MAX = 1_000

Object = Mapping[str, Any]
Query = Mapping[str, str]
NO_QUERY: Query = {}


class KubeError(Exception):
    """The API server refused, or could not be asked. `status` is that of HTTP, 0 where there was no answer.

    `cause` is the first of those that a Status lists, as `NamespaceTerminating`; mostly there is none.
    """

    def __init__(self, status: int, reason: str, detail: str, *, cause: str = "") -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail, self.cause = status, reason, detail, cause

    @property
    def is_outage(self) -> bool:
        """Whether the same request may do better later."""
        return self.status in (0, 408, 429) or self.status >= 500


class Kube:
    """The API of one cluster, for one event loop. `namespace` is where we are installed, or empty."""

    def __init__(self, configured: Configuration, *, namespace: str = "") -> None:
        self.namespace = namespace
        self._api = ApiClient(configured)

    async def get(self, path: str, query: Query = NO_QUERY) -> Object:
        """The object at `path`, or one page of a list. Raises: KubeError."""
        return await self._exchange("GET", path, query)

    async def pages(self, path: str, query: Query = NO_QUERY) -> AsyncIterator[tuple[list[Object], str]]:
        """The objects of the collection at `path`, page by page, and the version of the list. Raises: KubeError."""
        more: Query = {}
        for _ in range(PAGES_MAX):
            page = await self._exchange("GET", path, {"limit": str(PAGE_ENTRIES), **query, **more})
            metadata = page.get("metadata") or {}
            yield page.get("items") or [], str(metadata.get("resourceVersion", ""))
            if not metadata.get("continue"):
                return
            more = {"continue": str(metadata["continue"])}
        raise KubeError(0, "TooManyPages", f"{path}: more than {PAGES_MAX} pages")

    async def list(self, path: str, query: Query = NO_QUERY) -> tuple[list[Object], str]:
        """All objects of the collection at `path`, and the version of the list. Raises: KubeError."""
        found: list[Object] = []
        version = ""
        async for objects, latest in self.pages(path, query):
            found += objects
            version = latest
        return found, version

    async def create(self, path: str, body: Object) -> Object:
        """The object that was made of `body` in the collection at `path`. Raises: KubeError, 409 if it is there."""
        return await self._exchange("POST", path, body=body)

    async def replace(self, path: str, body: Object) -> Object:
        """The object at `path`, now `body`. Raises: KubeError, 409 if `body` is of an earlier version."""
        return await self._exchange("PUT", path, body=body)

    async def patch(self, path: str, body: object, *, kind: str = "merge") -> Object:
        """The object at `path` after a patch: `merge` (RFC 7396) or `json` (RFC 6902). Raises: KubeError."""
        return await self._exchange("PATCH", path, body=body, content_type=f"application/{kind}-patch+json")

    async def delete(self, path: str) -> None:
        """Nothing is at `path`, or will be soon. Raises: KubeError, 404 where nothing was."""
        await self._exchange("DELETE", path)

    async def watch(self, path: str, query: Query, *, idle: float) -> AsyncIterator[Object]:
        """Events, `type` and `object`, until the API server ends them or is silent for `idle` seconds.

        Raises: KubeError; 410 where `resourceVersion` is too old.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle)
        async with self._answer("GET", path, {**query, "watch": "true"}, None, "", timeout) as answer:
            if answer.status != 200:
                raise _refusal(path, answer.status, await _read(answer, settings.MIB))
            async with aclosing(_lines(answer)) as lines:
                async for line in lines:
                    yield _event(path, line)

    async def close(self) -> None:
        """Connections are closed."""
        await self._api.close()  # type: ignore[no-untyped-call]
        # aiohttp, graceful shutdown: connections of requests that were given up say goodbye behind its back
        await asyncio.sleep(GOODBYE_SECONDS)

    async def _exchange(
        self, method: str, path: str, query: Query = NO_QUERY, *, body: object = None, content_type: str = ""
    ) -> Object:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        async with self._answer(method, path, query, body, content_type, timeout) as answer:
            content = await _read(answer, ANSWER_MAX_BYTES)
            if not 200 <= answer.status < 300:
                raise _refusal(path, answer.status, content)
            return _object(path, content)

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Query,
        body: object,
        content_type: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own, of several parts
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Accept": "application/json", "Content-Type": content_type or "application/json"}
        try:
            request = await self._api.param_serialize(
                method,
                quote_path(path, safe="/:"),
                query_params=list(query.items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = (await self._api.call_api(*request, _request_timeout=timeout)).response
            try:
                yield answer
            finally:
                _drop(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError, ConfigException) as error:
            raise KubeError(0, type(error).__name__, f"{path}: {_said(error)}") from error


def in_cluster(*, namespace: str) -> Kube:
    """The API of the cluster in which this process is a pod. Raises: OperatorError."""
    configured = Configuration()
    try:
        configuration.load_incluster_config(client_configuration=configured)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise OperatorError(
            f"the Kubernetes API: {_said(error)} (COUNTERSIGN_NAMESPACE is for a pod with its service account's token;"
            " elsewhere set COUNTERSIGN_KUBECONFIG too)"
        ) from error
    # What proxies are for lies outside of the cluster
    configured.client_session_kwargs = {"trust_env": False}
    return Kube(configured, namespace=namespace)


async def by_kubeconfig(path: Path | None, *, context: str | None = None, namespace: str = "") -> Kube:
    """The API that a kubeconfig names: the file at `path`, or where kubectl looks. Raises: OperatorError."""
    configured = Configuration()
    if path is None and not _is_any_kubeconfig():
        raise OperatorError("no kubeconfig: --kubeconfig, KUBECONFIG or ~/.kube/config expected")
    try:
        await configuration.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(path) if path else None, context=context, client_configuration=configured
        )
    except Exception as error:  # plug-ins' and strangers' files': whatever they raise is the operator's
        where = path or "kubeconfig"
        raise OperatorError(f"{where}: {_said(error)}") from error
    return Kube(configured, namespace=namespace)


def _is_any_kubeconfig() -> bool:
    """Whether there is one where kubectl looks."""
    places = (os.environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
    return any(Path(place).expanduser().is_file() for place in places)


async def by_kubeconfig_or_in_cluster(path: Path | None, *, context: str | None = None) -> Kube:
    """As a command is called: by kubeconfig, or where none is named and this is a pod, by its service account.

    Raises: OperatorError.
    """
    if path is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
        return in_cluster(namespace="")
    return await by_kubeconfig(path, context=context)


def _drop(answer: aiohttp.ClientResponse) -> None:
    """What was not read of an answer is not waited for; once all of it was, its connection is back in the pool."""
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()  # closing would go on behind our back, until the other end says goodbye too
    answer.close()


async def _read(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    chunks, size = [], 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise KubeError(0, "TooLarge", f"{answer.url.path}: more than {max_bytes} bytes, which are read at most")
        chunks.append(chunk)
    return b"".join(chunks)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    rest = bytearray()
    async for chunk in answer.content.iter_any():
        rest += chunk
        while (end := rest.find(b"\n")) >= 0:
            yield bytes(rest[:end])
            del rest[: end + 1]
        if len(rest) > EVENT_MAX_BYTES:
            raise KubeError(0, "TooLarge", f"{answer.url.path}: an event of more than {EVENT_MAX_BYTES} bytes")


def _event(path: str, line: bytes) -> Object:
    event = _object(path, line)
    if event.get("type") != "ERROR":
        return event
    status = event.get("object")
    raise _refusal(path, _code(status), orjson.dumps(status))


def _code(status: object) -> int:
    code = status.get("code") if isinstance(status, dict) else None
    return code if isinstance(code, int) else 0


def _object(path: str, content: bytes) -> Object:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise KubeError(0, "Malformed", f"{path}: JSON expected: {str(error)[:120]}") from error
    if not isinstance(found, dict):
        raise KubeError(0, "Malformed", f"{path}: an object expected")
    return found


def _refusal(path: str, status: int, content: bytes) -> KubeError:
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        said = None
    said = said if isinstance(said, dict) else {"message": content[:300].decode(errors="replace")}
    reason, message = str(said.get("reason") or ""), str(said.get("message") or "")
    detail = f"{path}: {status} {quote(message, max_chars=300)[1:-1]}".strip()
    return KubeError(status, reason, detail, cause=_cause(said.get("details")))


def _cause(details: object) -> str:
    causes = details.get("causes") if isinstance(details, dict) else None
    first = causes[0] if isinstance(causes, list) and causes else None
    return str(first.get("reason", "")) if isinstance(first, dict) else ""


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return quote(str(error) or type(error).__name__, max_chars=200)[1:-1]
