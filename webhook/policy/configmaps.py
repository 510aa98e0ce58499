"""Policies from the labelled ConfigMaps of our namespace: in force as soon as they are applied, swapped as one.

Every ConfigMap keeps its last good version, see `shelf`, and across restarts too, see `kept`: a stored version is
parsed like any other, and is in force only where the present text cannot be used. One that goes, or loses its label,
takes its policies along; one of the same name made anew begins anew. What becomes of a ConfigMap is written to its
annotation, see `statuses`, and told to an observer. An API server that is away changes nothing.

spec: kubernetes.md 11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from webhook import settings
from webhook.errors import MalformedError
from webhook.kube.client import Kube, Object
from webhook.kube.watching import Collection, Objects, Watching
from webhook.policy import kept, parcel, shelf
from webhook.policy.kept import Kept, Store
from webhook.policy.model import PolicySet, TrustPolicy
from webhook.policy.parcel import Parcel
from webhook.policy.shelf import Place, Reading
from webhook.policy.source import log_changes, parse_baseline
from webhook.policy.statuses import Statuses
from webhook.policy.syntax.mistakes import PolicyErrors

CONFIGMAPS_MAX = 2_000
TOTAL_MAX_CHARS = 32 * settings.MIB  # of all policy files; parsed, a policy takes some ten times its text
REPARSE = timedelta(minutes=10)  # what is refused today may be taken later: it depends on the time, too
SELECTOR = f"{parcel.LABEL}={parcel.LABEL_VALUE}"


class Change(StrEnum):
    """What became of a ConfigMap."""

    LOADED = "loaded"
    INVALID = "invalid"
    REPAIRED = "repaired"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """`before` is the revision that was in force, `after` the one that the ConfigMap says now; empty where none."""

    configmap: str
    uid: str
    kind: Change
    before: str
    after: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Seen:
    obj: Object
    parcel: Parcel
    reading: Reading
    parsed_at: datetime


@dataclass(frozen=True, slots=True)
class _Loaded:
    """All ConfigMaps at one moment, by name, the oldest first; `lacking` says what others hold and we do not."""

    seen: Mapping[str, _Seen] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)

    def good(self, name: str, uid: str) -> Reading | None:
        """The version in force of the object `uid`: another of its name is no earlier version of it."""
        return self.places[name].good if name in self.seen and self.seen[name].parcel.uid == uid else None


class ConfigMapSource:
    """The policies in the namespace of `kube`. Until all were listed once, what they demand counts as unknown."""

    def __init__(
        self,
        configured: settings.Policy,
        *,
        kube: Kube,
        store: Store | None,
        before: Callable[[PolicySet], object] = lambda policies: None,
        told: Callable[[PolicyChange], object] = lambda change: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`before` is called with each new set before it is in force, in the thread that loads; `told` in the loop."""
        self._file_max_bytes = configured.file_max_bytes
        self._store, self._statuses = store, Statuses(kube)
        self._before, self._told, self._clock = before, told, clock
        self._baseline = parse_baseline(configured.baseline_exempt)
        self._searched = f"ConfigMaps with the label {SELECTOR} in the namespace {kube.namespace}"
        collection = Collection(f"/api/v1/namespaces/{kube.namespace}/configmaps", label_selector=SELECTOR)
        self._watching = Watching(kube, collection, self.take)
        self._stored: Mapping[str, Kept] = {}  # at start, until the first load
        self._loaded: _Loaded | None = None
        self._current = self._make_set(_Loaded(), "not listed yet", (self._searched,))

    @property
    def current(self) -> PolicySet:
        """The policies in force: one value that never changes, replaced as a whole."""
        return self._current

    @property
    def in_force(self) -> Mapping[str, Sequence[TrustPolicy]]:
        """The same policies, by the name of their ConfigMap."""
        return {name: place.policies for name, place in (self._loaded or _Loaded()).places.items()}

    @property
    def seconds_unheard(self) -> float:
        """Since the API server was last heard of; infinite before it was."""
        return self._watching.seconds_unheard

    @property
    def problems(self) -> Mapping[str, str]:
        """Why reviews should not be sent here now."""
        if self._loaded is None:
            return {"policies": f"{self._searched}: {self._watching.problem or 'not read yet'}"}
        return {f"policies in {parcel.origin(name)}": why for name, why in self._loaded.lacking.items()}

    @property
    def notes(self) -> Mapping[str, str]:
        """What an operator should know besides."""
        notes = {
            "policies-watch": self._watching.problem,
            "policies-last-good": self._store.problem if self._store else "",
            "policies-status": self._statuses.problem,
        }
        return {name: text for name, text in notes.items() if text}

    async def run(self) -> None:
        """Until cancelled, what is applied is in force, kept and told."""
        if self._store is not None:
            self._stored = await self._store.load()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watching.run())
            group.create_task(self._statuses.run())
            if self._store is not None:
                group.create_task(self._store.run())

    async def take(self, objects: Objects) -> None:
        """`objects`, by name, are all ConfigMaps there are, and in force as far as they can be."""
        old = self._loaded
        new = await asyncio.to_thread(self._load, objects)
        if self._store is not None:
            self._store.put(_to_keep(old, new, self._stored))
        self._stored = {}
        for change in _changes(old, new):
            self._told(change)
        self._statuses.put({name: (one.parcel, new.places[name]) for name, one in new.seen.items()})

    def _load(self, objects: Objects) -> _Loaded:
        old, now = self._loaded or _Loaded(), self._clock()
        seen = self._look(objects, old, now)
        good = {name: before for name, one in seen.items() if (before := old.good(name, one.parcel.uid))}
        places = _shelve(seen, good)
        lacking = {name: why for name, why in old.lacking.items() if name in places and places[name].good is None}
        if self._stored:
            restored, lacking = self._restore(seen, places, now)
            places = _shelve(seen, restored)
        loaded = _Loaded(seen, places, lacking)
        new = self._make_set(loaded)
        self._before(new)
        current, self._current, self._loaded = self._current, new, loaded
        log_changes(current, new)
        return loaded

    def _look(self, objects: Objects, old: _Loaded, now: datetime) -> dict[str, _Seen]:
        """What is there, the oldest first; what did not change is not parsed again."""
        unpacked = [(_unpack(name, obj, old.seen.get(name)), obj) for name, obj in objects.items()]
        unpacked.sort(key=lambda each: (each[0].created, each[0].name))
        seen: dict[str, _Seen] = {}
        total = 0
        for count, (found, obj) in enumerate(unpacked, 1):
            total += found.size
            if fault := _excess(count, total):
                found = replace(found, fault=fault)
            seen[found.name] = self._see(found, obj, old.seen.get(found.name), now)
        return seen

    def _see(self, found: Parcel, obj: Object, before: _Seen | None, now: datetime) -> _Seen:
        same = before and (before.parcel.content, before.parcel.fault) == (found.content, found.fault)
        if before and same and (before.reading.policies or now - before.parsed_at < REPARSE):
            return _Seen(obj, found, before.reading, before.parsed_at)
        return _Seen(obj, found, self._parse(found, now), now)

    def _parse(self, found: Parcel, now: datetime) -> Reading:
        try:
            return Reading(parcel.parse(found, now=now, max_bytes=self._file_max_bytes), found.content)
        except PolicyErrors as errors:
            return shelf.misread(errors, found.content)

    def _restore(
        self, seen: Mapping[str, _Seen], places: Mapping[str, Place], now: datetime
    ) -> tuple[dict[str, Reading], dict[str, str]]:
        """Stored versions of what was never good here, and why others cannot be had."""
        restored: dict[str, Reading] = {}
        lacking: dict[str, str] = {}
        for name, place in places.items():
            found, entry = seen[name].parcel, self._stored.get(name)
            if place.good is not None or entry is None or entry.uid not in ("", found.uid):
                continue
            if entry.files is None:
                lacking[name] = f"other replicas may hold a good version, which cannot be had from the store: {entry}"
                continue
            reading = self._parse(replace(found, files=entry.files, binary=(), content=entry.content, fault=""), now)
            if reading.policies:
                restored[name] = reading
            else:
                lacking[name] = f"other replicas may hold a good version, which no longer loads: {reading.problem}"
        return restored, lacking

    def _make_set(self, loaded: _Loaded, unseen: str = "", broken: Sequence[str] = ()) -> PolicySet:
        places = {parcel.origin(name): place for name, place in loaded.places.items()}
        return shelf.make_set(places, searched=self._searched, baseline=self._baseline, unseen=unseen, broken=broken)


def _unpack(name: str, obj: Object, before: _Seen | None) -> Parcel:
    if before and before.obj is obj:
        return replace(before.parcel, fault="") if before.parcel.fault in _EXCESSES else before.parcel
    try:
        return parcel.read(obj)
    except MalformedError as error:
        return replace(before.parcel if before else parcel.unreadable(name), fault=error.detail)


def _excess(count: int, total: int) -> str:
    if count > CONFIGMAPS_MAX:
        return TOO_MANY
    return TOO_MUCH if total > TOTAL_MAX_CHARS else ""


TOO_MANY = f"not read: more than {CONFIGMAPS_MAX} ConfigMaps are older"
TOO_MUCH = f"not read: it and those that are older hold more than {TOTAL_MAX_CHARS} characters"
_EXCESSES = (TOO_MANY, TOO_MUCH)


def _shelve(seen: Mapping[str, _Seen], good: Mapping[str, Reading]) -> Mapping[str, Place]:
    origins = {name: parcel.origin(name) for name in seen}  # as they are called in what is said of the others
    shelved = shelf.shelve(
        {origins[name]: one.reading for name, one in seen.items()},
        {origins[name]: reading for name, reading in good.items()},
    )
    return {name: shelved[origin] for name, origin in origins.items()}


def _to_keep(old: _Loaded | None, new: _Loaded, stored: Mapping[str, Kept]) -> dict[str, Kept | None]:
    """What is to change in the store; `old` is `None` at the first load, when `stored` is what it holds."""
    changes: dict[str, Kept | None] = {}
    for name, one in new.seen.items():
        good = new.places[name].good
        if good is None or good.content != one.parcel.content:
            entry = stored.get(name)
            changes |= {name: None} if entry and entry.uid not in ("", one.parcel.uid) else {}
        elif (old is None or old.good(name, one.parcel.uid) is not good) and stored.get(name) != kept.of(one.parcel):
            changes[name] = kept.of(one.parcel)
    gone = stored if old is None else old.seen
    return changes | {name: None for name in gone if name not in new.seen}


def _changes(old: _Loaded | None, new: _Loaded) -> Iterator[PolicyChange]:
    """What is to be told. Of the first load only what is wrong: all else is as somebody left it."""
    before = old or _Loaded()
    for name, one in new.seen.items():
        place, earlier = new.places[name], before.places.get(name)
        kind = _kind(place, earlier)
        if kind is not None and (old is not None or kind is Change.INVALID):
            detail = place.problem or f"policies: {', '.join(policy.name for policy in place.policies)}"
            good = place if kind is Change.INVALID else earlier  # what stays, also where the store had it
            yield _change(name, one.parcel, kind, good, after=one.parcel.revision, detail=detail)
    for name, one in before.seen.items():
        if name not in new.seen:
            detail = "its policies are no longer in force"
            yield _change(name, one.parcel, Change.REMOVED, before.places[name], after="", detail=detail)


def _kind(place: Place, earlier: Place | None) -> Change | None:
    if earlier and place.now.content == earlier.now.content and place.mistakes == earlier.mistakes:
        return None
    if place.mistakes:
        return Change.INVALID
    return Change.REPAIRED if earlier and earlier.mistakes else Change.LOADED


def _change(name: str, found: Parcel, kind: Change, earlier: Place | None, *, after: str, detail: str) -> PolicyChange:
    good = earlier.good if earlier else None
    before = parcel.shown_revision(good.content) if good else ""
    return PolicyChange(name, found.uid, kind, before, after, detail)
