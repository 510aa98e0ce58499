"""When to stop asking somebody who does not answer: after some failures in a row, for a while that grows.

Whoever is throttled is not helped by more requests, and whoever is down keeps every caller waiting. After the while one
request goes to see: an answer ends it, another failure begins a longer while. Knows no clock and no thread, and not
what a failure is: all three are its owner's.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FAILURES = 5  # in a row
LONGEST_PAUSE = 30.0  # seconds; how long somebody who is back may go unnoticed


@dataclass(slots=True)
class Breaker:
    """Who failed since `since`, at last because of `why`. Times are monotonic, in seconds."""

    pause: float = LONGEST_PAUSE  # the next one
    since: float = 0.0
    why: str = ""
    failures: int = 0
    until: float = 0.0
    is_tried: bool = False  # one went to see, and is not back

    def admit(self, now: float) -> float:
        """Zero where a request is now made, which `note` follows if it fails; otherwise as `wait`."""
        wait = self.wait(now)
        if not wait:
            self.begin(now)
        return wait

    def wait(self, now: float) -> float:
        """Zero where a request may be made now, otherwise in how many seconds the next may."""
        return self.until - now if self.failures >= FAILURES and now < self.until else 0.0

    def begin(self, now: float) -> None:
        """A request is made, as `wait` allows; if it goes to see, the others wait for what it finds."""
        if self.failures >= FAILURES:
            self.until, self.is_tried = now + LONGEST_PAUSE, True

    def note(self, now: float, why: str = "") -> None:
        """A request failed. Those that were under way when the pause began do not make it longer."""
        self.failures += 1
        self.why = why
        if self.failures == FAILURES or self.is_tried:
            self.until, self.is_tried = now + self.pause, False
            self.pause = min(2 * self.pause, LONGEST_PAUSE)

    def leave(self, now: float) -> None:
        """Who went to see came back without knowing: the next may go at once."""
        if self.is_tried:
            self.until, self.is_tried = now, False


class Breakers(Generic[K]):
    """One for each who failed, at most `max_entries`; who has not failed for longest is forgotten first."""

    def __init__(self, *, first_pause: float, max_entries: int) -> None:
        self._first_pause, self._max_entries = first_pause, max_entries
        self._failing: dict[K, Breaker] = {}

    def __len__(self) -> int:
        return len(self._failing)

    def admit(self, key: K, now: float) -> float:
        """As `Breaker.admit`."""
        breaker = self._failing.get(key)
        return breaker.admit(now) if breaker is not None else 0.0

    def begin(self, key: K, now: float) -> None:
        """As `Breaker.begin`; `failed`, `answered` or `left` follows."""
        if (breaker := self._failing.get(key)) is not None:
            breaker.begin(now)

    def failed(self, key: K, now: float, why: str = "") -> bool:
        """Whether this failure is the one from which on nobody asks."""
        breaker = self._failing.pop(key, None) or Breaker(self._first_pause, since=now)
        while len(self._failing) >= self._max_entries:
            del self._failing[next(iter(self._failing))]
        self._failing[key] = breaker
        breaker.note(now, why)
        return breaker.failures == FAILURES

    def answered(self, key: K) -> bool:
        """Whether this answer ends a time in which nobody asked."""
        breaker = self._failing.pop(key, None)
        return breaker is not None and breaker.failures >= FAILURES

    def left(self, key: K, now: float) -> None:
        """As `Breaker.leave`."""
        if (breaker := self._failing.get(key)) is not None:
            breaker.leave(now)

    def get(self, key: K) -> Breaker | None:
        """That of `key`, where it failed."""
        return self._failing.get(key)

    def not_asked(self, now: float) -> Iterator[tuple[K, Breaker]]:
        """Those of whom nobody asks anything now."""
        return ((key, breaker) for key, breaker in self._failing.items() if breaker.wait(now))
