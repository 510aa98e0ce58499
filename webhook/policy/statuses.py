"""What became of each policy ConfigMap, in an annotation of its own, where `kubectl get -o yaml` shows it.

Every replica says the same of the same text, and writes only what does not stand there yet, so that they need no
leader. Where they cannot agree, during an upgrade or while one of them has no good version, nobody writes the same
twice within a minute, and who has no good version leaves the word to those who have one. Nothing waits for a status,
and nothing is ever read from it but whether it is ours.

spec: kubernetes.md 11; Kubernetes, annotations.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Mapping
from enum import StrEnum

import orjson

from webhook.kube.client import Kube, KubeError
from webhook.policy import parcel
from webhook.policy.parcel import Parcel
from webhook.policy.shelf import Place

ERRORS_MAX, ERROR_MAX_CHARS = 5, 300
NAMES_MAX = 50
GATHER_SECONDS = 0.5  # before a write, up to twice that, so that replicas take turns
RETRY_SECONDS = 30.0
REWRITE_SECONDS = 60.0
REPLACED = (404, 409)  # it is gone, or another of its name is there, whose status will come

log = logging.getLogger(__name__)


class InForce(StrEnum):
    THIS = "this"
    LAST_GOOD = "last good"
    NONE = "none"


def describe(found: Parcel, place: Place) -> str:
    """The status of a ConfigMap, as JSON: nothing in it depends on who writes it, or when."""
    names = [policy.name for policy in place.policies]
    errors = [mistake[:ERROR_MAX_CHARS] for mistake in place.mistakes[:ERRORS_MAX]]
    if more := len(place.mistakes) - len(errors):
        errors.append(f"and {more} more")
    status: dict[str, object] = {
        "loaded": not place.mistakes,
        "revision": found.revision,
        "policies": names[:NAMES_MAX],
        "errors": errors,
        "inForce": _in_force(found, place),
    }
    if len(names) > NAMES_MAX:
        status["morePolicies"] = len(names) - NAMES_MAX
    return orjson.dumps(status).decode()


def _in_force(found: Parcel, place: Place) -> InForce:
    if place.good is None:
        return InForce.NONE
    return InForce.THIS if place.good.content == found.content else InForce.LAST_GOOD


class Statuses:
    """The annotations of the ConfigMaps in the namespace of `kube`."""

    def __init__(self, kube: Kube) -> None:
        self._kube, self._path = kube, f"/api/v1/namespaces/{kube.namespace}/configmaps"
        self._wanted: Mapping[str, tuple[Parcel, Place]] = {}
        self._written: dict[str, tuple[tuple[str, str], float]] = {}  # by name: uid and status, and when
        self._held_back = False  # something was written lately, and stands there no more
        self._news = asyncio.Event()
        self.problem = ""  # why they are not written; empty while they are

    def put(self, places: Mapping[str, tuple[Parcel, Place]]) -> None:
        """The statuses of all ConfigMaps, by name, will be written. For the event loop's thread."""
        self._wanted = places
        self._news.set()

    async def run(self) -> None:
        """Until cancelled, what was put stands in the annotations, or will after a pause."""
        while True:
            await self._wait()
            await asyncio.sleep(random.uniform(1, 2) * GATHER_SECONDS)  # noqa: S311 - see there
            self._news.clear()
            try:
                await self._write(self._wanted)
                self.problem = ""
            except KubeError as error:
                problem = f"the status of policies cannot be written: {error.detail}"
                if problem != self.problem:
                    log.warning("%s", problem)
                self.problem = problem
                self._news.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _wait(self) -> None:
        """There is news, or what was held back may be written again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REWRITE_SECONDS if self._held_back else None):
                await self._news.wait()

    async def _write(self, wanted: Mapping[str, tuple[Parcel, Place]]) -> None:
        self._held_back = False
        self._written = {name: written for name, written in self._written.items() if name in wanted}
        for name, (found, place) in wanted.items():
            status = describe(found, place)
            if found.status == status or (place.good is None and _has_last_good(found)):
                continue
            if self._was_written_lately(found, status):
                self._held_back = True
                continue
            try:
                patch = {"metadata": {"uid": found.uid, "annotations": {parcel.STATUS: status}}}
                await self._kube.patch(f"{self._path}/{name}", patch)
            except KubeError as error:
                if error.status not in REPLACED:
                    raise
            self._written[name] = (found.uid, status), time.monotonic()

    def _was_written_lately(self, found: Parcel, status: str) -> bool:
        written, at = self._written.get(found.name, (("", ""), 0.0))
        return written == (found.uid, status) and time.monotonic() - at <= REWRITE_SECONDS


def _has_last_good(found: Parcel) -> bool:
    """Whether another replica says of the same text that it holds an earlier version."""
    try:
        stands = orjson.loads(found.status)
    except orjson.JSONDecodeError:
        return False
    same = isinstance(stands, dict) and stands.get("revision") == found.revision
    return same and stands.get("inForce") == InForce.LAST_GOOD
