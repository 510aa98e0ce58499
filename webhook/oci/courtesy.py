"""Whom not to ask now: who asked to be left alone, and who does not answer.

What is learned of a host through one registry and with one credential holds for that registry and credential alone:
whoever creates pods chooses registries, and these name the hosts to which they send us on. Who does not answer is not
asked for anything; who answers with a failure is not asked for the same repository, since he is there, and what fails
may stand behind that repository alone, such as the registry from which it is pulled through. What was verified before
needs nobody, and so passes all the same. Nothing here waits or sends.

spec: oci-registry.md 8; RFC 6585 4; RFC 9110 10.2.3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from webhook.breaker import FAILURES, Breaker, Breakers
from webhook.cache import Cache
from webhook.errors import Code, InconclusiveError, quote
from webhook.network import Answer, UnreachableError
from webhook.oci.authn import Credential

FIRST_PAUSE = 2.0  # seconds
LIMIT_LONGEST = 60.0  # seconds; a registry may say more, but it is asked again
KEPT_MAX = 4096  # whoever creates pods chooses hosts and repositories
NOTES_MAX = 20

_FAILING = frozenset((500, 502, 503, 504))  # 501 says that there is no such thing, which is an answer

_Key = tuple[str, str, Credential, str]  # origin dialled, origin of the registry, as whom, about what; empty: anything


class Event(StrEnum):
    """What became of somebody, as metrics count it."""

    OPENED = "opened"  # from now on nobody asks
    CLOSED = "closed"  # an answer came after that
    LIMITED = "limited"  # he asked to be left alone
    WITHHELD = "withheld"  # a request was not made


CourtesyObserver = Callable[[Event, str], None]  # of whom: his authority


@dataclass(frozen=True, slots=True, repr=False)
class Whom:
    """Who is dialled, on behalf of which registry, as whom, and about which repository or scope."""

    origin: str
    registry: str
    credential: Credential
    about: str

    @property
    def keys(self) -> tuple[_Key, _Key]:
        """Of all that he is asked for, and of this alone."""
        asked = (self.origin, self.registry, self.credential)
        return (*asked, ""), (*asked, self.about)

    @property
    def authority(self) -> str:
        return _authority(self.origin)


@dataclass(frozen=True, slots=True)
class _Limit:
    until: float
    status: int


@dataclass(frozen=True, slots=True)
class Shunned:
    """Somebody who is not asked now: his authority, the repository or scope (empty: for nothing at all), and why."""

    authority: str
    about: str
    why: str


class Courtesy:
    """What was learned so far of whom not to ask. `clock` is monotonic, in seconds. For one event loop."""

    def __init__(
        self, *, told: CourtesyObserver = lambda event, authority: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._told, self._clock = told, clock
        self._limits: Cache[_Key, _Limit] = Cache(max_entries=KEPT_MAX, clock=clock)
        self._breakers: Breakers[_Key] = Breakers(first_pause=FIRST_PAUSE, max_entries=KEPT_MAX)

    def wait(self, whom: Whom, patience: float) -> float:
        """Seconds until `whom` may be asked, `patience` at most; zero: now.

        Raises: InconclusiveError (`rate_limited`, `registry_unavailable`), where nobody should wait that long.
        """
        if not self._limits and not self._breakers:  # as nearly always
            return 0.0
        now, longest = self._clock(), 0.0
        for key in whom.keys:
            limit = self._limits.get(key)
            if limit is not None and limit.until - now > patience:
                raise self._withheld(whom, _limited(whom, limit, now))
            longest = max(longest, limit.until - now if limit is not None else 0.0)
        for key in whom.keys:
            breaker = self._breakers.get(key)
            if breaker is not None and breaker.wait(now):
                detail = f"{quote(whom.authority)} {_said(key, breaker, now)}"
                raise self._withheld(whom, InconclusiveError(Code.REGISTRY_UNAVAILABLE, detail))
        return longest

    def begin(self, whom: Whom) -> None:
        """A request is made, which `wait` allowed in this moment; `note` follows."""
        if self._breakers:
            now = self._clock()
            for key in whom.keys:
                self._breakers.begin(key, now)

    def note(self, whom: Whom, learned: Answer | UnreachableError | None) -> None:
        """What came of the request is remembered; `None` where whoever asked gave up."""
        if not self._breakers and isinstance(learned, Answer) and learned.status not in _FAILING:
            return
        everything, this = whom.keys
        now = self._clock()
        match learned:
            case UnreachableError(answered=False):
                self._failed(whom, everything, now, learned.detail.removeprefix(f"{quote(whom.authority)}: "))
                self._breakers.left(this, now)
            case Answer(status=status) if status in _FAILING:
                self._answered(whom, everything)
                self._failed(whom, this, now, f"answered {status}")
            case None:
                self._breakers.left(everything, now)
                self._breakers.left(this, now)
            case _:  # 401, 403, 404 and 429 too, and what breaks the protocol: it is there
                self._answered(whom, everything)
                self._answered(whom, this)

    def limit(self, whom: Whom, status: int, seconds: float) -> None:
        """`whom` is left alone for `seconds`, a minute at most: with 429 about anything, with 503 about this."""
        seconds = min(seconds, LIMIT_LONGEST)
        everything, this = whom.keys
        key = everything if status == 429 else this
        self._limits.put(key, _Limit(self._clock() + seconds, status), seconds)
        self._told(Event.LIMITED, whom.authority)

    def shunned(self) -> tuple[Shunned, ...]:
        """Who does not answer, and is not asked now."""
        now = self._clock()
        return tuple(
            Shunned(_authority(key[0]), key[3], _said(key, breaker, now))
            for key, breaker in self._breakers.not_asked(now)
        )

    def _failed(self, whom: Whom, key: _Key, now: float, why: str) -> None:
        if self._breakers.failed(key, now, why):
            self._told(Event.OPENED, whom.authority)

    def _answered(self, whom: Whom, key: _Key) -> None:
        if self._breakers.answered(key):
            self._told(Event.CLOSED, whom.authority)

    def _withheld(self, whom: Whom, error: InconclusiveError) -> InconclusiveError:
        self._told(Event.WITHHELD, whom.authority)
        return error


def notes(shunned: tuple[Shunned, ...]) -> Mapping[str, str]:
    """A line for each of them, at most twenty; those of several credentials in one."""
    lines: dict[str, str] = {}
    for one in shunned:
        about = f" {quote(one.about)}" if one.about else ""
        lines.setdefault(f"registry {quote(one.authority)}{about}", one.why)
        if len(lines) == NOTES_MAX:
            break
    return lines


def retry_after(answer: Answer) -> float | None:
    """The seconds for which an answer asks, of either form; `None` where it names none that can be read."""
    text = answer.headers.get("Retry-After", "").strip()  # RFC 9110 10.2.3
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _limited(whom: Whom, limit: _Limit, now: float) -> InconclusiveError:
    code = Code.RATE_LIMITED if limit.status == 429 else Code.REGISTRY_UNAVAILABLE
    return InconclusiveError(
        code,
        f"{quote(whom.authority)} asked to be left alone ({limit.status}) and is not asked again for"
        f" {math.ceil(limit.until - now)} s",
    )


def _said(key: _Key, breaker: Breaker, now: float) -> str:
    kind, what = ("failed for this", "for it again") if key[3] else ("not answered", "again")
    return (
        f"has {kind} for {math.ceil(now - breaker.since)} s ({max(breaker.failures, FAILURES)} times in a row, at last:"
        f" {breaker.why}) and is not asked {what} for {math.ceil(breaker.wait(now))} s"
    )


def _authority(origin: str) -> str:
    return origin.partition("://")[2]
