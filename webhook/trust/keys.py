"""Which keys of key services are at hand now, fetched when a policy names them and kept fresh in the background.

Nothing is ever fetched for a review, which takes the snapshot `current`. `use` asks for keys that are new before the
policies that name them are in force, for a bounded time; `watch` asks for each again and again. What ends a key takes
it away at once; where no answer comes, the last good key stays for a while, says so, and then goes too. A key that no
policy names any more stays for the reviews that began before. Who is asked, and how, is behind `fetch`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from webhook import settings
from webhook.errors import CountersignError, InconclusiveError, quote
from webhook.trust.at_hand import KeyPlace, Trust
from webhook.trust.kms import Fetched, KMSKey
from webhook.trust.material import PublicKey

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0  # for which policies that name new keys wait for them
TICK_SECONDS = 1.0
RETRY_SECONDS = 10.0  # after a failure; doubled at each further one, up to the usual interval
LEFT_SECONDS = 60.0  # for which a key stays that no policy names any more: longer than any review
THREADS = 4
KEYS_MAX = 256

Fetch = Callable[[KMSKey], Fetched]  # blocks, for a bounded time; InconclusiveError where there was no answer
Observer = Callable[[str, str], None]  # the key's URI, and what became of asking: `success`, `ended` or `failure`


@dataclass(frozen=True, slots=True)
class State:
    """One key as it stands. `at` is when it was last vouched for, and `until`, monotonic, for how long that is good."""

    place: KMSKey
    fetched: Fetched | None = None
    at: datetime | None = None
    until: float = 0.0
    problem: str = ""

    @property
    def stale(self) -> str:
        """Since when nobody vouched for the key at hand, and why; empty where somebody just did, or there is none."""
        if self.at is None or not self.problem:
            return ""
        return f"fetched at {self.at.isoformat(timespec='seconds')}; {self.problem}"

    def describe(self, now: datetime) -> str:
        """All of it, for a person who asks at `now`."""
        if self.fetched is None or self.at is None:
            return f"not at hand; {self.problem}"
        said = f"{self.fetched.key}, {quote(self.fetched.arn)[1:-1]}, fetched {_age(now - self.at)} ago"
        return f"{said}; {self.problem}" if self.problem else said


@dataclass(slots=True)
class _Entry:
    """`ends` is when a key goes that no policy names any more; `due` and it are monotonic."""

    state: State
    due: float = 0.0
    failures: int = 0
    asked: Future[None] | None = None
    ends: float | None = None


class KeySource:
    """The keys at hand. `use` blocks, and may be called from any thread. `monotonic` is in seconds."""

    def __init__(
        self,
        configured: settings.AWS,
        fetch: Fetch,
        *,
        observe: Observer,
        clock: Callable[[], datetime] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured, self._fetch, self._observe = configured, fetch, observe
        self._clock, self._monotonic = clock or _utc_now, monotonic
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="keys")
        self._lock = threading.Lock()
        self._entries: dict[KMSKey, _Entry] = {}
        self._beyond: tuple[KMSKey, ...] = ()
        self._current, self._holds_until = Trust(), float("inf")

    @property
    def current(self) -> Trust:
        """The keys at hand, and why others are not: one value that never changes, replaced as a whole."""
        if self._monotonic() >= self._holds_until:  # whether or not anybody watches
            with self._lock:
                self._publish()
        return self._current

    @property
    def states(self) -> tuple[State, ...]:
        """Every key that a policy names."""
        with self._lock:
            return tuple(entry.state for entry in self._entries.values() if entry.ends is None)

    def use(self, places: Iterable[KMSKey]) -> None:
        """The policies that are next in force name `places`; each that is new was asked for, if time sufficed."""
        named = list(dict.fromkeys(places))
        with self._lock:
            named, self._beyond = named[:KEYS_MAX], tuple(named[KEYS_MAX:])
            self._leave(self._entries.keys() - set(named))
            asked = [self._ask(entry) for place in named if (entry := self._begin(place)) is not None]
            self._publish()
        concurrent.futures.wait(asked, timeout=FIRST_SECONDS)

    def ask_due(self) -> tuple[Future[None], ...]:
        """Every key whose time has come is being asked for, and those that were left long enough ago are gone."""
        now = self._monotonic()
        with self._lock:
            gone = [place for place, entry in self._entries.items() if entry.ends is not None and entry.ends <= now]
            for place in gone:
                del self._entries[place]
            if gone:
                self._publish()
            return tuple(
                self._ask(entry) for entry in self._entries.values() if entry.ends is None and entry.due <= now
            )

    async def watch(self) -> None:
        """Asks for keys again and again, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self.ask_due()
            except Exception:
                log.exception("keys could not be asked for; those at hand stay while they may")

    def close(self) -> None:
        """Nothing more is asked for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, place: KMSKey) -> _Entry | None:
        """The entry of a key that no policy in force names, and that must be asked for."""
        entry = self._entries.get(place)
        if entry is None:
            entry = self._entries[place] = _Entry(State(place, problem="it was not fetched yet"))
        elif entry.ends is None:
            return None
        entry.ends = None
        return entry

    def _leave(self, places: Iterable[KMSKey]) -> None:
        ends = self._monotonic() + LEFT_SECONDS
        for place in places:
            entry = self._entries[place]
            entry.ends = entry.ends or ends

    def _ask(self, entry: _Entry) -> Future[None]:
        """One call at a time for each key, whoever wants it."""
        if entry.asked is None:
            entry.asked = self._threads.submit(self._refresh, entry)
        return entry.asked

    def _refresh(self, entry: _Entry) -> None:
        state, started = entry.state, self._monotonic()
        try:
            fetched = self._fetch(state.place)
        except InconclusiveError as error:
            self._settle(entry, _unanswered(state, error.detail), "failure")
        except CountersignError as error:
            self._settle(entry, State(state.place, problem=error.detail), "ended")
        except Exception:
            log.exception("key %s could not be asked for", state.place)
            self._settle(entry, _unanswered(state, "an error of this webhook's own; its log says more"), "failure")
        else:
            until = started + self._configured.kms_stale
            self._settle(entry, State(state.place, fetched, self._clock(), until), "success")

    def _settle(self, entry: _Entry, state: State, result: str) -> None:
        place = str(state.place)
        with self._lock:
            before, entry.state, entry.asked = entry.state, state, None
            entry.failures = 0 if result == "success" else entry.failures + 1
            entry.due = self._monotonic() + self._pause(entry.failures)
            self._publish()
        _tell(before, entry.state)
        self._observe(place, result)

    def _pause(self, failures: int) -> float:
        usual = self._configured.kms_refresh
        sooner = RETRY_SECONDS * 2 ** min(failures - 1, 10) if failures else usual
        return min(usual, sooner) * random.uniform(0.8, 1.0)  # noqa: S311 - so that replicas take turns

    def _publish(self) -> None:
        now = self._monotonic()
        for entry in self._entries.values():
            before, entry.state = entry.state, _expired(entry.state, now)
            _tell(before, entry.state)
        states = [entry.state for entry in self._entries.values()]
        problems: dict[KeyPlace, str] = {state.place: state.problem for state in states if state.fetched is None}
        problems |= dict.fromkeys(self._beyond, f"more than {KEYS_MAX} keys are named, and this one is not asked for")
        keys: dict[KeyPlace, PublicKey] = {
            state.place: state.fetched.key for state in states if state.fetched is not None
        }
        stale: dict[KeyPlace, str] = {state.place: state.stale for state in states if state.stale}
        self._current = Trust(keys=keys, key_problems=problems, stale_keys=stale)
        self._holds_until = min((state.until for state in states if state.fetched is not None), default=float("inf"))


def _unanswered(state: State, problem: str) -> State:
    return replace(state, problem=f"not {'fetched' if state.fetched is None else 'refreshed'}: {problem}")


def _expired(state: State, now: float) -> State:
    if state.fetched is None or now < state.until:
        return state
    return State(state.place, problem=f"{state.problem or 'not refreshed'}; the last good key is too old by now")


def _tell(before: State, after: State) -> None:
    old, new = before.fetched, after.fetched
    if after.problem and after.problem != before.problem:
        log.warning("key %s: %s (%s)", after.place, after.problem, "the last good one stays" if new else "not at hand")
    if new is None or (old == new and not before.problem):
        return
    if old is not None and old != new:
        log.info("key %s: now %s; before, %s", after.place, _said(new), _said(old))
    else:
        log.info("key %s: at hand: %s", after.place, _said(new))


def _said(fetched: Fetched) -> str:
    return f"{quote(fetched.arn)}, {fetched.key.algorithm}, sha256:{fetched.key.fingerprint}"


def _age(age: timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


def _utc_now() -> datetime:
    return datetime.now(UTC)
