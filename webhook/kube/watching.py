"""The objects of one collection as they are now: listed, then watched, and listed again when the watch lost its place.

`changed` is given the whole set whenever it is another one, one call at a time; what changes meanwhile comes with the
next. An API server that is away changes nothing: the last set stays, `problem` says why, and it is asked again after a
pause that grows. A wall clock plays no part. What the objects mean is for whoever watches.

spec: Kubernetes API concepts, efficient detection of changes, bookmarks, 410 Gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from webhook.kube.client import CONNECT_SECONDS, Kube, KubeError, Object

# Seconds, chosen anew each time, so that replicas take turns; a right that was taken away ends with the watch
SHORTEST_WATCH, LONGEST_WATCH = 150, 300
RELIST_SECONDS = 600.0  # should a watch ever have missed something
SILENCE_SECONDS = 120.0  # the API server sends a bookmark each minute: who is silent for longer is gone
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
GATHER_SECONDS = 0.1  # between two calls of `changed`: what a thousand objects mean takes a while to find out
GONE_PAUSE = 0.1  # several API servers may differ on what is too old
DIALLING_SECONDS = CONNECT_SECONDS + 1.0  # a watch that ended sooner may never have begun
FORBIDDEN, GONE = 403, 410

log = logging.getLogger(__name__)

Objects = Mapping[str, Object]  # by name
Changed = Callable[[Objects], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Collection:
    """`path` as in `/api/v1/namespaces/NAME/configmaps`; selectors as kubectl takes them."""

    path: str
    label_selector: str = ""
    field_selector: str = ""

    @property
    def query(self) -> Mapping[str, str]:
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: selector for name, selector in selectors.items() if selector}

    def __str__(self) -> str:
        return " ".join((self.path, *self.query.values()))


class Watching:
    """`changed` may raise: it is asked again at the next change."""

    def __init__(self, kube: Kube, collection: Collection, changed: Changed) -> None:
        self._kube, self._collection, self._changed = kube, collection, changed
        self._objects: dict[str, Object] = {}
        self._version = ""
        self._news = asyncio.Event()
        self._contact: float | None = None
        self._listed_at = 0.0
        self.problem = "not asked yet"  # why what is at hand may be old; empty while it is not
        self.denied = False  # the API server answered, and does not let us

    @property
    def seconds_unheard(self) -> float:
        """Since the API server was last heard of; infinite before it was."""
        return float("inf") if self._contact is None else time.monotonic() - self._contact

    async def run(self) -> None:
        """Until cancelled, `changed` knows what there is."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_changes())
            group.create_task(self._follow_forever())

    async def _follow_forever(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._follow()
                pause = FIRST_PAUSE
            except KubeError as error:
                if error.status == GONE:
                    self._version = ""
                    await asyncio.sleep(GONE_PAUSE)
                    continue
                self._note(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that replicas take turns
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _follow(self) -> None:
        """Lists where it must, then follows one watch to its end. Raises: KubeError."""
        if not self._version or time.monotonic() - self._listed_at > RELIST_SECONDS:
            await self._list()
        seconds = random.randint(SHORTEST_WATCH, LONGEST_WATCH)  # noqa: S311
        query = {
            **self._collection.query,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        started = time.monotonic()
        try:
            async for event in self._kube.watch(self._collection.path, query, idle=SILENCE_SECONDS):
                self._take(event)
                if time.monotonic() - self._listed_at > RELIST_SECONDS:
                    return
        except KubeError as error:
            # A connection that was made and breaks is taken up where it ended; who cannot be reached is a problem.
            if error.status or time.monotonic() - started < DIALLING_SECONDS:
                raise

    async def _list(self) -> None:
        objects, version = await self._kube.list(self._collection.path, self._collection.query)
        self._objects = {_name(obj): _without_authors(obj) for obj in objects}
        self._version, self._listed_at = version, time.monotonic()
        self._heard()
        self._news.set()

    def _take(self, event: Object) -> None:
        obj = event.get("object") or {}
        self._version = str((obj.get("metadata") or {}).get("resourceVersion") or self._version)
        self._heard()
        match event.get("type"):
            case "ADDED" | "MODIFIED":
                self._objects[_name(obj)] = _without_authors(obj)
            case "DELETED":
                self._objects.pop(_name(obj), None)
            case _:
                return
        self._news.set()

    async def _tell_changes(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._changed(dict(self._objects))
            except Exception:
                log.exception("what changed in %s could not be taken in; what was before stays", self._collection)
            await asyncio.sleep(GATHER_SECONDS)

    def _heard(self) -> None:
        if self.problem and self._contact is not None:
            log.info("%s: watched again", self._collection)
        self._contact, self.problem, self.denied = time.monotonic(), "", False

    def _note(self, error: KubeError) -> None:
        if error.detail != self.problem:
            log.warning("%s cannot be watched: %s", self._collection, error.detail)
        self.problem, self.denied = error.detail, error.status == FORBIDDEN


def _without_authors(obj: Object) -> Object:
    # managedFields of meta/v1, who wrote which field: the greater part of a small object, and nobody asks
    metadata = {name: value for name, value in (obj.get("metadata") or {}).items() if name != "managedFields"}
    return {**obj, "metadata": metadata}


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))
