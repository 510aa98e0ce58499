"""Which keys, certificates and trust roots in Secrets and ConfigMaps are at hand now: objects watched by their names.

Nothing is ever asked for a review, which takes the snapshot `current`. `use` says what policies name, before they are
in force, and waits a bounded time for the first answers; `run` watches exactly those objects, of the release namespace.
What is gone, garbage or refused is not at hand from that moment on. While the API server is away what was read last
stays for an hour, says so, and then goes too. What no policy names any more stays for the reviews that began before.

spec: design, trust material follows its source; Kubernetes, RBAC, resource names of list and watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from webhook import settings
from webhook.kube.client import Kube, Object
from webhook.kube.watching import Collection, Objects, Watching
from webhook.trust import contents
from webhook.trust.at_hand import Trust
from webhook.trust.contents import Place, Reading, State
from webhook.trust.stored import ObjectKind, StoredObject

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0  # for which policies that name new objects wait for them
TICK_SECONDS = 0.5  # within which it is noticed that an object may not be read any more
RETRY_SECONDS = 5.0  # after a defect of ours
LEFT_SECONDS = 60.0  # for which something stays that no policy names any more: longer than any review
STALE_SECONDS = 3600.0  # for which it stays while the API server is away
OBJECTS_MAX = 64  # each is a connection of its own to the API server
PLACES_MAX = 256

_COLLECTIONS = {ObjectKind.SECRET: "secrets", ObjectKind.CONFIG_MAP: "configmaps"}
_FOREVER = float("inf")


@dataclass(slots=True)
class _Watched:
    """One object. `told` says whether the API server has said what it is: `found`, or that there is none."""

    watching: Watching
    told: bool = False
    found: Object | None = None
    readings: Mapping[Place, tuple[Reading, datetime]] = field(default_factory=dict)


class ObjectSource:
    """What is at hand. `use` blocks, and may be called from any thread but that of the event loop in which `run` is."""

    def __init__(
        self, kube: Kube, configured: settings.Cluster, *, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._kube, self._configured, self._clock = kube, configured, clock or _utc_now
        self._changed = threading.Condition()
        self._places: Mapping[Place, float] = {}  # until when each stays, monotonic; those that are named come first
        self._beyond: tuple[Place, ...] = ()
        self._wanted: frozenset[StoredObject] = frozenset()
        self._watched: dict[StoredObject, _Watched] = {}
        self._states: Mapping[Place, State] = {}
        self._current, self._holds_until = Trust(), _FOREVER
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    @property
    def current(self) -> Trust:
        """What is at hand, and why the rest is not: one value that never changes, replaced as a whole."""
        if time.monotonic() >= self._holds_until:  # whether or not anybody watches
            with self._changed:
                self._publish()
        return self._current

    @property
    def states(self) -> tuple[State, ...]:
        """Every place that a policy names."""
        with self._changed:
            return tuple(self._states[place] for place, until in self._places.items() if until == _FOREVER)

    def use(self, places: Iterable[Place]) -> None:
        """The policies that are next in force name `places`; each was read, if time sufficed and it may be."""
        named = dict.fromkeys(places, _FOREVER)
        with self._changed:
            ends = time.monotonic() + LEFT_SECONDS
            left = {place: min(until, ends) for place, until in self._places.items() if place not in named}
            self._places = dict(islice({**named, **left}.items(), PLACES_MAX))
            self._beyond = tuple(islice(named, PLACES_MAX, None))
            self._wanted = self._readable()
            self._publish()
            told = [watched for holder in _holders(named) if (watched := self._watched.get(holder)) and watched.told]
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._news.set)
        for watched in told:
            self._read(watched)
        with self._changed:
            self._changed.wait_for(lambda: all(map(self._is_answered, named)), timeout=FIRST_SECONDS)
            self._publish()  # a refusal is seen at once, and told only at the next tick

    async def run(self) -> None:
        """Until cancelled, every object that policies name is watched."""
        tasks: dict[StoredObject, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    gone, new = self._arrange()
                    for holder in gone:
                        tasks.pop(holder).cancel()
                    for holder, watching in new.items():
                        tasks[holder] = group.create_task(_watch(holder, watching))
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), TICK_SECONDS)
                    self._news.clear()
        finally:
            with self._changed:
                self._loop = None

    def _arrange(self) -> tuple[Iterable[StoredObject], Mapping[StoredObject, Watching]]:
        """The objects that are watched no more, and those that are from now on; one that was refused is begun anew."""
        with self._changed:
            now = time.monotonic()
            self._places = {place: until for place, until in self._places.items() if until > now}
            self._wanted = self._readable()
            gone = [
                holder
                for holder, watched in self._watched.items()
                # A watch that is taken up again would bring back what was read before the refusal
                if holder not in self._wanted or (watched.told and watched.watching.denied)
            ]
            for holder in gone:
                del self._watched[holder]
            new = {holder: self._begin(holder) for holder in self._wanted if holder not in self._watched}
            self._watched |= new
            self._publish()
            return gone, {holder: watched.watching for holder, watched in new.items()}

    def _begin(self, holder: StoredObject) -> _Watched:
        async def changed(objects: Objects) -> None:
            await asyncio.to_thread(self._take, watched, objects.get(holder.name))

        path = f"/api/v1/namespaces/{self._configured.namespace}/{_COLLECTIONS[holder.kind]}"
        # Kubernetes RBAC, resource names: who may list and watch one object alone must ask for it by this selector
        named = Collection(path, field_selector=f"metadata.name={holder.name}")
        watched = _Watched(Watching(self._kube, named, changed))
        return watched

    def _take(self, watched: _Watched, found: Object | None) -> None:
        with self._changed:
            watched.told, watched.found = True, found
        self._read(watched)

    def _read(self, watched: _Watched) -> None:
        """What policies name in the object, as it was told last, is at hand, or known not to be."""
        while True:
            with self._changed:
                found, before, places = watched.found, watched.readings, self._places_in(watched)
            readings = {place: self._reading(place, found, before.get(place)) for place in places}  # takes a while
            with self._changed:
                if watched.found is found and places == self._places_in(watched):
                    watched.readings = readings
                    self._publish()
                    return

    def _places_in(self, watched: _Watched) -> tuple[Place, ...]:
        return tuple(place for place in self._places if self._watched.get(place.entry.holder) is watched)

    def _reading(
        self, place: Place, found: Object | None, before: tuple[Reading, datetime] | None
    ) -> tuple[Reading, datetime]:
        try:
            reading = contents.read(place, found, before[0] if before else None)
        except Exception:
            log.exception("%s could not be read", place)
            reading = Reading(problem="an error of this webhook's own; its log says more")
        return before if before is not None and reading is before[0] else (reading, self._clock())

    def _readable(self) -> frozenset[StoredObject]:
        """The objects that are to be watched."""
        readable = (holder for holder in _holders(self._places) if self._may_read(holder))
        return frozenset(islice(readable, OBJECTS_MAX))

    def _may_read(self, holder: StoredObject) -> bool:
        # Other Secrets of the namespace, with our own authority's key among them, are no trust material
        return holder.kind is not ObjectKind.SECRET or holder.name in self._configured.trust_secrets

    def _is_answered(self, place: Place) -> bool:
        """Nothing better can be said of it by waiting for the API server's first answer."""
        watched = self._watched.get(place.entry.holder)
        if watched is None:
            return place not in self._places or place.entry.holder not in self._wanted
        return watched.watching.denied or place in watched.readings

    def _publish(self) -> None:
        states = {place: self._state(place) for place in self._places}
        for place, state in states.items():
            if self._is_answered(place):
                _tell(self._states.get(place, State(place)), state)
        beyond = (State(place, problem=_too_many()) for place in self._beyond)
        self._states, self._current = states, contents.at_hand((*states.values(), *beyond))
        unheard = (watched.watching.seconds_unheard for watched in self._watched.values())
        fresh = [seconds for seconds in unheard if seconds < STALE_SECONDS]
        self._holds_until = time.monotonic() + STALE_SECONDS - max(fresh) if fresh else _FOREVER
        self._changed.notify_all()

    def _state(self, place: Place) -> State:
        holder = place.entry.holder
        watched = self._watched.get(holder)
        if not self._may_read(holder) or (watched is not None and watched.watching.denied):
            remedy = ": list it in the chart's value trustSecrets" if holder.kind is ObjectKind.SECRET else ""
            return State(place, problem=f"the webhook may not read {holder}{remedy}")
        if watched is None and holder not in self._wanted:
            return State(place, problem=_too_many())
        problem = watched.watching.problem if watched is not None else ""
        if watched is None or place not in watched.readings:
            return State(place, problem=f"{holder} was not read yet{f': {problem}' if problem else ''}")
        (reading, at), problem = watched.readings[place], problem and f"{holder} cannot be watched: {problem}"
        if watched.watching.seconds_unheard >= STALE_SECONDS:
            return State(place, problem=f"{problem}; what was read last is too old by now")
        return State(place, reading.material, at, "; ".join(filter(None, (reading.problem, problem))))


async def _watch(holder: StoredObject, watching: Watching) -> None:
    while True:
        try:
            await watching.run()
        except Exception:
            log.exception("%s could not be watched; what was read last stays while it may", holder)
            await asyncio.sleep(RETRY_SECONDS)


def _too_many() -> str:
    return f"more than {OBJECTS_MAX} objects, or {PLACES_MAX} keys in them, are named, and this one is not read"


def _holders(places: Iterable[Place]) -> Iterable[StoredObject]:
    return dict.fromkeys(place.entry.holder for place in places)


def _tell(before: State, after: State) -> None:
    if after.problem and after.problem != before.problem:
        stands = "what was read last stays" if after.material is not None else "not at hand"
        log.warning("%s: %s (%s)", after.place, after.problem, stands)
    if after.material is not None and (after.material != before.material or (before.problem and not after.problem)):
        log.info("%s: at hand: %s", after.place, contents.describe(after.material))


def _utc_now() -> datetime:
    return datetime.now(UTC)
