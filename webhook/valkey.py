"""Commands to a Valkey server that need not answer, nor be honest, nor be there: one at a time over a few connections.

Every command ends within the configured timeout, waiting for a connection included. Whoever cannot be asked in that
time is not asked (`SkippedError`); who does not answer, or not as he should (`FailedError`), several times in a row, is
left alone for a while. An answer is a number, nothing, or bytes of a bounded size; what they are worth is for whoever
asked. This is the one door to the library. spec: RESP 2, of which no lists.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from valkey._parsers import _AsyncRESP2Parser  # the library reads lists and values of whatever length it is told
from valkey.asyncio.connection import Connection, SSLConnection
from valkey.credentials import CredentialProvider
from valkey.exceptions import InvalidResponse, OutOfMemoryError, ResponseError, ValkeyError

from webhook import files, settings
from webhook.breaker import FAILURES, Breaker
from webhook.errors import OperatorError, quote
from webhook.sealing import SEALED_MAX_BYTES

CONNECTIONS = 8
IN_FLIGHT_MAX = 256  # made or waiting for a connection
CONNECT_SECONDS = 1.0  # for names, TLS and a password; whoever asked waits for it no longer than for an answer
FIRST_PAUSE = 1.0  # seconds
PASSWORD_MAX_BYTES = 4096
DEFAULT_PORT = 6379

Reply = bytes | int | None

log = logging.getLogger(__name__)


class SkippedError(Exception):
    """It was not asked: it failed before, all connections are in use, or none was made in time."""


class FailedError(Exception):
    """It did not answer in time, or not as it should."""


class Store:
    """A Valkey server. One for each event loop. `clock` is monotonic, in seconds. Raises: OperatorError."""

    def __init__(self, configured: settings.Valkey, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout, self._clock = configured.timeout, clock
        self._open = _opener(configured)
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._in_flight = 0
        self._connecting: asyncio.Task[None] | None = None
        self._connect_by = 0.0  # until when whoever needs it waits for it
        self._breaker: Breaker | None = None
        self._problem = "not asked yet"

    @property
    def state(self) -> str:
        """How it answers, for a person."""
        pause = self._breaker.wait(self._clock()) if self._breaker else 0.0
        return f"not asked for {pause:.0f} s: {self._problem}" if pause else self._problem or "it answers"

    async def ask(self, *words: str | bytes | int) -> Reply:
        """What it answers to one command. Raises: SkippedError, FailedError."""
        if self._in_flight >= IN_FLIGHT_MAX or (self._breaker and self._breaker.wait(self._clock())):
            raise SkippedError
        if self._breaker:
            self._breaker.begin(self._clock())
        self._in_flight += 1
        try:
            return await self._ask(words, asyncio.get_running_loop().time() + self._timeout)
        except BaseException:
            if self._breaker and self._breaker.is_tried:  # to go and see without an answer is to fail
                self._breaker.note(self._clock(), self._problem)
            raise
        finally:
            self._in_flight -= 1

    async def close(self) -> None:
        """Connections are closed, one that was being made among them."""
        if self._connecting is not None:
            await asyncio.gather(self._connecting, return_exceptions=True)
        for connection in self._idle:
            with contextlib.suppress(ValkeyError, OSError):
                async with asyncio.timeout(self._timeout):
                    await connection.disconnect()
        self._idle.clear()

    async def _ask(self, words: tuple[str | bytes | int, ...], by: float) -> Reply:
        try:
            async with asyncio.timeout_at(by):
                await self._places.acquire()
        except TimeoutError:
            raise SkippedError from None
        try:
            return await self._exchange(await self._connection(by), words, by)
        finally:
            self._places.release()

    async def _connection(self, by: float) -> Connection:
        """A connection for oneself; one that is not made in time is for whoever asks next."""
        connection = await self._take()
        while connection is None:
            task = self._connecting or self._begin()
            try:
                async with asyncio.timeout_at(min(by, self._connect_by)):
                    await asyncio.shield(task)
            except TimeoutError:
                raise SkippedError from None
            connection = self._idle.pop() if self._idle else None  # somebody else may have been quicker
        return connection

    async def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not await connection.can_read_destructive():  # nobody has closed it, or said anything unasked
                return connection
            await connection.disconnect(nowait=True)
        return None

    def _begin(self) -> asyncio.Task[None]:
        self._connect_by = asyncio.get_running_loop().time() + self._timeout
        task = self._connecting = asyncio.create_task(self._connect())
        task.add_done_callback(self._connected)
        return task

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # seen, even where nobody waits any more

    async def _connect(self) -> None:
        connection = self._open()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
        except (ValkeyError, OSError, ValueError, OperatorError) as error:
            await connection.disconnect(nowait=True)
            raise self._failed(f"no connection: {_said(error, CONNECT_SECONDS)}") from error
        self._idle.append(connection)

    async def _exchange(self, connection: Connection, words: tuple[str | bytes | int, ...], by: float) -> Reply:
        try:
            async with asyncio.timeout_at(by):
                await connection.send_command(*words, check_health=False)
                reply: Reply = await connection.read_response(disable_decoding=True)
        except ResponseError as error:  # after which the connection is as good as before
            self._idle.append(connection)
            raise self._failed(_said(error, self._timeout), alive=isinstance(error, OutOfMemoryError)) from error
        except (ValkeyError, OSError, ValueError) as error:  # and the library has closed it
            raise self._failed(_said(error, self._timeout)) from error
        self._idle.append(connection)
        if self._breaker and self._breaker.failures >= FAILURES:
            log.info("the shared cache answers again")
        self._breaker, self._problem = None, ""
        return reply

    def _failed(self, problem: str, *, alive: bool = False) -> FailedError:
        """One failure more in a row, unless it is `alive` and only takes nothing in."""
        self._problem = problem
        now = self._clock()
        self._breaker = None if alive else self._breaker or Breaker(FIRST_PAUSE, since=now)
        if self._breaker:
            self._breaker.note(now, problem)
            if self._breaker.failures == FAILURES:
                log.warning("the shared cache is left alone for now, which costs time alone: %s", problem)
        return FailedError(problem)


class _Bounded(_AsyncRESP2Parser):
    """Replies of a bounded size: a value is no longer than an entry may be, and a list is none of ours."""

    async def _readline(self) -> bytes:
        line: bytes = await super()._readline()
        if line[:1] == b"*":
            raise InvalidResponse("a list, which nobody asked for")
        return line

    async def _read(self, length: int) -> bytes:
        if not 0 <= length <= SEALED_MAX_BYTES:
            raise InvalidResponse(f"a value of {length} bytes, at most {SEALED_MAX_BYTES} are read")
        value: bytes = await super()._read(length)
        return value


class _Password(CredentialProvider):
    """Read anew for each connection, so that it can be changed."""

    def __init__(self, user: str, path: Path) -> None:
        self._user, self._path = user, path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = files.load(self._path, PASSWORD_MAX_BYTES).decode().rstrip("\r\n")
        return (self._user, password) if self._user else (password,)


def _opener(configured: settings.Valkey) -> Callable[[], Connection]:
    """Makes connections as `configured`, not yet dialled."""
    url = urlsplit(configured.url)
    if url.username and configured.password_file is None:
        raise OperatorError("COUNTERSIGN_VALKEY: COUNTERSIGN_VALKEY_PASSWORD_FILE expected with a user")
    tls = _trust(configured.ca_file) if url.scheme == "valkeys" else None
    path = configured.password_file
    dial = functools.partial(
        SSLConnection if tls else Connection,
        host=url.hostname or "",
        port=_port(url),
        db=int(url.path[1:] or 0),
        credential_provider=_Password(url.username or "", path) if path else None,
        socket_timeout=None,  # every wait has its end here
        lib_name="countersign",  # also so that a connection has answered something before it is taken for one
        lib_version=None,
        parser_class=_Bounded,
    )

    def opened() -> Connection:
        connection = dial()
        if isinstance(connection, SSLConnection):
            connection.ssl_context.context = tls
        return connection

    return opened


def _port(url: SplitResult) -> int:
    try:
        return url.port or DEFAULT_PORT
    except ValueError:
        raise OperatorError("COUNTERSIGN_VALKEY: a port from 1 to 65535 expected") from None


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()  # which checks names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(f"{ca_file}: no certificates in PEM could be read: {error.strerror}") from error
    return context


def _said(error: Exception, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds * 1000:.0f} ms"
    if isinstance(error, OperatorError):
        return str(error)
    return f"{type(error).__name__} {quote(str(error))}"
