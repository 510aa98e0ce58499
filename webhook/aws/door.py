"""The door to AWS for everybody else: calls go through a few threads, and the SDK is loaded at the first of them.

The SDK blocks, and takes a tenth of a second to import, so neither happens in the event loop, and whoever asks for
nothing of AWS pays nothing. Who gives up waiting leaves the thread to its end, which the SDK's timeouts bound; how
many calls may be under way is bounded here, and so is how often somebody is asked who does not answer.

No service waits behind another, and nobody who is known behind one who is not: who creates pods names regions of ECR,
as many as he likes, and each may take seconds to not answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from webhook.aws.calls import TRANSIENT, AWSError, Call, Caller, Client, Identity, Kind
from webhook.breaker import FAILURES, Breakers

THREADS = 8  # of one lane; each is started when it is needed
IN_FLIGHT_MAX = 64  # made or waiting in one lane, of all callers together
BREAKERS_MAX = 256  # who creates pods may name regions
PAUSE = 30.0  # seconds; whoever throttles wants to be left alone from the first time on
KNOWN_MAX = 256  # clients that answered once; AWS has some forty regions, with up to four kinds of hosts each

_T = TypeVar("_T")


class AWS:
    """`load` brings the SDK, blocking; it is called once, in a thread. `clock` is monotonic, in seconds."""

    def __init__(self, load: Callable[[], Caller], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._load, self._clock = load, clock
        self._lock = threading.Lock()
        self._lanes: dict[tuple[str, bool], _Lane] = defaultdict(_Lane)  # by service and whether who is asked is known
        self._closed = False
        self._loading = threading.Lock()
        self._caller: Caller | None = None
        self._home = ""
        self._known: set[Client] = set()
        self._breakers: Breakers[Client] = Breakers(first_pause=PAUSE, max_entries=BREAKERS_MAX)

    async def call(
        self,
        service: str,
        operation: str,
        region: str,
        parameters: Mapping[str, object],
        *,
        endpoint: str = "",
        fips: bool | None = None,
        dualstack: bool | None = None,
    ) -> Mapping[str, object]:
        """What AWS answers; `Call` and `Client` say what each argument is. Raises: AWSError."""
        made = Call(Client(service, region, endpoint, fips, dualstack), operation, parameters)
        return await asyncio.wrap_future(self._begin(made))

    def call_blocking(self, made: Call) -> Mapping[str, object]:
        """What AWS answers, for callers with a thread of their own. Raises: AWSError."""
        return self._begin(made).result()

    async def identity(self, region: str = "") -> Identity:
        """As whom calls are made; asked in `region` where the SDK has none of its own. Raises: AWSError."""
        return await self._wait(lambda caller: caller.identity(region))

    async def partition_of(self, region: str) -> str:
        """The partition of `region`; that of the SDK's own where it is empty, empty where it has none.

        Raises: AWSError, for a region of no partition that the SDK knows.
        """
        return await self._wait(lambda caller: caller.partition_of(region))

    async def endpoint_of(self, client: Client) -> str:
        """The URL that is dialled for `client`. Raises: AWSError."""
        return await self._wait(lambda caller: caller.endpoint_of(client))

    def close(self) -> None:
        """Calls that wait are given up; those under way end in their own time."""
        with self._lock:
            self._closed, lanes = True, list(self._lanes.values())
        for lane in lanes:
            lane.threads.shutdown(wait=False, cancel_futures=True)
        with self._loading:
            if self._caller is not None:
                self._caller.close()

    def _begin(self, made: Call) -> Future[Mapping[str, object]]:
        client = made.client
        known = client.region in ("", self._home) or client in self._known
        return self._submit(lambda caller: self._make(caller, made), (client.service, known))

    async def _wait(self, work: Callable[[Caller], _T]) -> _T:
        return await asyncio.wrap_future(self._submit(work, ("", True)))

    def _submit(self, work: Callable[[Caller], _T], name: tuple[str, bool]) -> Future[_T]:
        with self._lock:
            lane = self._lanes[name]
            if self._closed or lane.in_flight >= IN_FLIGHT_MAX:
                raise AWSError(Kind.OVERLOADED, "AWS")
            lane.in_flight += 1
            future = lane.threads.submit(self._work, work)
        future.add_done_callback(lambda _: self._leave(lane))
        return future

    def _leave(self, lane: _Lane) -> None:
        with self._lock:
            lane.in_flight -= 1

    def _work(self, work: Callable[[Caller], _T]) -> _T:
        with self._loading:
            if self._caller is None:
                loaded = self._load()
                self._home, self._caller = loaded.home(), loaded
            caller = self._caller
        return work(caller)

    def _make(self, caller: Caller, made: Call) -> Mapping[str, object]:
        self._admit(made)
        try:
            answer = caller.call(made)
        except AWSError as error:
            if error.kind is not Kind.NO_CREDENTIALS:  # which says nothing of who would have been asked
                self._note(made.client, failed=error.kind in TRANSIENT)
            raise
        self._note(made.client, failed=False)
        with self._lock:
            if len(self._known) < KNOWN_MAX:
                self._known.add(made.client)
        return answer

    def _admit(self, made: Call) -> None:
        with self._lock:
            wait = self._breakers.admit(made.client, self._clock())
        if wait:
            note = f"the last {FAILURES} calls failed, and none is made for {wait:.0f} s"
            raise AWSError(Kind.UNREACHABLE, made.action, made.client.region, note=note)

    def _note(self, client: Client, *, failed: bool) -> None:
        with self._lock:
            if failed:
                self._breakers.failed(client, self._clock())
            else:
                self._breakers.answered(client)


class _Lane:
    """The threads for some calls, and how many of these are under way."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="aws")
        self.in_flight = 0
