"""Which notices become Events, and when: each once, its repetitions as a series, and nobody at the cost of the others.

What is told again within a while changes the Event that is there, once a minute at most. An object has a budget of
Events, which protects its readers and etcd against who fails without end; namespaces are served in turn, and where no
room is left, the newest of the namespace with the most is lost, so that a flood in one silences no other. All that is
remembered is bounded. Nothing is written here; the clock is monotonic, in seconds. For two threads: that of the trail
takes, that of the event loop tells.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from webhook.audit.event import Notice

WAITING_MAX = 1_000  # some 3 MiB
REMEMBERED_MAX = 4_096  # notices told, and objects with a budget
WINDOW = 600.0  # within which the same is a repetition
UPDATE_SECONDS = 60.0  # between two updates of one series
OBJECT_BURST, OBJECT_SECONDS = 25, 300.0  # Events about one object, and how long it takes until one more: as client-go
ROUNDING = 1e-9  # who waited for as long as he was told has one


@dataclass(slots=True)
class Bucket:
    """`burst` at once, and one more each `seconds`."""

    burst: float
    seconds: float
    at: float
    spent: float = 0.0

    def take(self, now: float) -> bool:
        """Whether there was one to be had; it is gone now."""
        if self.wait(now) > 0:
            return False
        self.spent += 1
        return True

    def wait(self, now: float) -> float:
        """In how many seconds there is one."""
        self.spent, self.at = max(0.0, self.spent - (now - self.at) / self.seconds), now
        missing = self.spent + 1 - self.burst
        return missing * self.seconds if missing > ROUNDING else 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be written next in `namespace`: a new Event, or in the one of that `name` how often it was so."""

    key: tuple[str, str]
    namespace: str
    notice: Notice
    name: str
    count: int
    last: datetime


@dataclass(slots=True, eq=False)
class _Series:
    key: tuple[str, str]
    notice: Notice
    last: datetime
    seen: float
    count: int = 1
    told: int = 0
    told_at: float = 0.0
    name: str = ""
    waits: bool = True

    @property
    def namespace(self) -> str:
        return self.key[0]


class Backlog:
    """`dropped` is told how many notices were lost."""

    def __init__(self, *, dropped: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._dropped, self._clock = dropped, clock
        self._lock = threading.Lock()
        self._series: OrderedDict[tuple[str, str], _Series] = OrderedDict()  # the one longest unseen comes first
        self._repeated: dict[tuple[str, str], _Series] = {}  # told, and seen again since
        self._budgets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()
        self._waiting: dict[str, deque[_Series]] = {}  # by namespace, the next to be served first
        self._count = 0

    def __len__(self) -> int:
        """How many wait to be written."""
        return self._count

    def take(self, notice: Notice, namespace: str) -> None:
        """`notice` waits to be told in `namespace`, or is counted: as a repetition, or as lost."""
        key = (namespace, notice.key)
        with self._lock:
            now = self._clock()
            known = self._series.get(key)
            if known is not None and (known.waits or now - known.seen < WINDOW):
                self._repeat(known, notice, now)
            elif self._may_be_told(namespace, notice, now) and self._make_room(namespace):
                self._remember(_Series(key, notice, notice.at, now))
            else:
                self._dropped(1)  # and not remembered: the next like it may find room

    def head(self, *, ending: bool = False) -> Due | None:
        """What is to be written now; it stays until `settle` or `lose`. Near the end no series waits for its time."""
        with self._lock:
            self._wake_series(self._clock(), ending=ending)
            queue = next(iter(self._waiting.values()), None)
            if queue is None:
                return None
            first = queue[0]
            return Due(first.key, first.namespace, first.notice, first.name, first.count, first.last)

    def next_wait(self) -> float | None:
        """In how many seconds a series is to be brought up to date; `None` where none is."""
        with self._lock:
            times = [series.told_at + UPDATE_SECONDS for series in self._repeated.values()]
            return max(0.0, min(times) - self._clock()) if times else None

    def settle(self, due: Due, name: str) -> None:
        """`due` stands in the Event of this `name`."""
        with self._lock:
            series = self._take_head(due)
            series.name, series.told, series.told_at = name, due.count, self._clock()
            if series.count > series.told:
                self._repeated[series.key] = series

    def lose(self, due: Due) -> None:
        """`due` will not be written; what is like it begins anew."""
        with self._lock:
            series = self._take_head(due)
            self._forget(series)
            self._dropped(series.count - series.told)

    def give_up(self) -> None:
        """Nothing waits any more; what did is lost."""
        with self._lock:
            waiting = {series.key: series for queue in self._waiting.values() for series in queue} | self._repeated
            lost = sum(series.count - series.told for series in waiting.values())
            self._waiting.clear()
            self._repeated.clear()
            self._series.clear()
            self._count = 0
            if lost:
                self._dropped(lost)

    def _repeat(self, series: _Series, notice: Notice, now: float) -> None:
        series.count += 1
        series.last, series.seen = max(series.last, notice.at), now
        self._series.move_to_end(series.key)
        if not series.waits:
            self._repeated[series.key] = series

    def _may_be_told(self, namespace: str, notice: Notice, now: float) -> bool:
        key = (namespace, notice.about)
        budget = self._budgets.pop(key, None) or Bucket(OBJECT_BURST, OBJECT_SECONDS, now)
        self._budgets[key] = budget
        if len(self._budgets) > REMEMBERED_MAX:
            self._budgets.popitem(last=False)
        return budget.take(now)

    def _make_room(self, namespace: str) -> bool:
        """Whether one more may wait for `namespace`; who has the most may have lost one for it."""
        if self._count < WAITING_MAX:
            return True
        most = max(self._waiting.values(), key=len)
        if len(most) <= len(self._waiting.get(namespace, ())) + 1:
            return False
        series = most.pop()  # which leaves the head where it is
        self._count -= 1
        series.waits = False
        if series.name:
            self._repeated[series.key] = series
        else:
            self._forget(series)
            self._dropped(series.count)
        return True

    def _remember(self, series: _Series) -> None:
        self._forget_key(series.key)  # one that ended long ago
        self._series[series.key] = series
        if len(self._series) > REMEMBERED_MAX:
            self._forget_key(next(iter(self._series)))
        self._enqueue(series)

    def _wake_series(self, now: float, *, ending: bool) -> None:
        for series in tuple(self._repeated.values()):
            if (ending or now - series.told_at >= UPDATE_SECONDS) and self._count < WAITING_MAX:
                del self._repeated[series.key]
                self._enqueue(series)

    def _enqueue(self, series: _Series) -> None:
        series.waits = True
        self._waiting.setdefault(series.namespace, deque()).append(series)
        self._count += 1

    def _take_head(self, due: Due) -> _Series:
        queue = self._waiting.pop(due.namespace)
        series = queue.popleft()
        if queue:
            self._waiting[due.namespace] = queue  # to the end of the line
        self._count -= 1
        series.waits = False
        return series

    def _forget(self, series: _Series) -> None:
        if self._series.get(series.key) is series:
            self._forget_key(series.key)

    def _forget_key(self, key: tuple[str, str]) -> None:
        self._series.pop(key, None)
        self._repeated.pop(key, None)
