"""When to stop asking somebody who does not answer: after some failures in a row, for a while.

Whoever is throttled is not helped by more calls, and whoever is down keeps every caller waiting. After the while one
call goes out to see; if it fails too, the next while begins. Knows no clock and no thread: both are its owner's.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 5  # in a row
PAUSE = 30.0  # seconds


@dataclass(slots=True)
class Breaker:
    """`now` is monotonic, in seconds."""

    failures: int = 0
    until: float = 0.0

    def admit(self, now: float) -> float:
        """Zero where a call may be made now, otherwise in how many seconds the next may."""
        if self.failures < FAILURES:
            return 0.0
        if now < self.until:
            return self.until - now
        self.until = now + PAUSE  # this one goes to see; the others wait for what it finds
        return 0.0

    def note(self, now: float) -> None:
        """A call failed; one that did not ends this breaker."""
        self.failures += 1
        if self.failures >= FAILURES:
            self.until = now + PAUSE
