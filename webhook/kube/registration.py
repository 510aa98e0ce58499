"""What the live webhook configurations say of us: which entries are there, whether they fail open, whom they trust.

Both configurations of our name are watched, and what was seen last counts while the API server is away. The only thing
that is ever written is `caBundle` of an entry that exists: whoever deleted a configuration, or changed its failure
policy, did so to open the gate, and nothing here closes it again. What bundle belongs there is for `webhook.tls`.

specs: admissionregistration.k8s.io/v1; kubernetes.md 3, 8.9, 13; RFC 6902.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from webhook.errors import MalformedError
from webhook.kube.client import Kube, Object
from webhook.kube.watching import Collection, Objects, Watching
from webhook.untrusted import decode_base64

GROUP = "/apis/admissionregistration.k8s.io/v1"
VALIDATING, MUTATING = "validatingwebhookconfigurations", "mutatingwebhookconfigurations"
KINDS = (VALIDATING, MUTATING)
PODS, PIN = "pods.countersign.dev", "pin.countersign.dev"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One webhook of a configuration. `bundle` is PEM, of whatever quality; empty where none is published."""

    name: str
    fails_open: bool
    bundle: bytes
    client_config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """A configuration as it was at one time: its entries in their order, or `None` where there is none."""

    path: str
    entries: tuple[Entry, ...] | None


class Registration:
    """The configurations called `name`: the validating one, and the mutating one where we pin.

    What is asked before they were seen is unknown: `None`, or empty.
    """

    def __init__(self, kube: Kube, name: str, *, pinning: bool) -> None:
        self._kube, self._name = kube, name
        self._seen: dict[str, Seen] = {}
        self._tell: list[Callable[[], None]] = []
        kinds = KINDS if pinning else (VALIDATING,)
        self._watchings = {kind: Watching(kube, _collection(kind, name), self._taker(kind)) for kind in kinds}

    @property
    def seen(self) -> tuple[Seen, ...]:
        """All that is known of the configurations."""
        return tuple(self._seen.values())

    @property
    def entries(self) -> Mapping[str, Entry]:
        """By name, those of both configurations."""
        return {entry.name: entry for seen in self.seen for entry in seen.entries or ()}

    @property
    def fails_open(self) -> bool | None:
        """Whether pods are admitted where we do not answer; `None` while that is unknown, or there is no such entry."""
        entry = self.entries.get(PODS)
        return entry.fails_open if entry else None

    @property
    def bundle(self) -> bytes | None:
        """Whom the API server trusts when it asks about pods, in PEM; `None` as for `fails_open`."""
        entry = self.entries.get(PODS)
        return entry.bundle if entry else None

    @property
    def pins(self) -> bool | None:
        """Whether the entry that pins is installed; `None` while that is unknown."""
        return PIN in self.entries if MUTATING in self._seen else None

    @property
    def problems(self) -> Mapping[str, str]:
        """What is amiss, by configuration. Nothing of it keeps a replica from answering."""
        found = {kind: watching.problem for kind, watching in self._watchings.items() if watching.problem}
        for kind, seen in self._seen.items():
            if seen.entries is None:
                found[kind] = f"there is no {self._name}: nothing is asked of us, until somebody installs it again"
        return found

    def tell(self, changed: Callable[[], None]) -> None:
        """`changed` is called whenever something else is seen from now on."""
        self._tell.append(changed)

    async def run(self) -> None:
        """Until cancelled, what is known is what the API server says."""
        async with asyncio.TaskGroup() as group:
            for watching in self._watchings.values():
                group.create_task(watching.run())

    async def look(self) -> tuple[Seen, ...]:
        """What is known is what the API server says now. Raises: KubeError."""
        for kind in self._watchings:
            collection = _collection(kind, self._name)
            objects, _ = await self._kube.list(collection.path, collection.query)
            self._take(kind, {self._name: objects[0]} if objects else {})
        return self.seen

    async def publish(self, bundle: bytes, *, since: Iterable[Seen]) -> int:
        """Every entry of the configurations in `since` has `bundle`, where all is still as it was seen then.

        Whoever reads `bundle` after `since` was seen never overwrites a newer one. Returns how many were written.
        Raises: KubeError; 422 where an entry has changed meanwhile, 404 where the configuration is gone.
        """
        written = 0
        for seen in since:
            differing = [entry.name for entry in seen.entries or () if entry.bundle != bundle]
            if differing:
                await self._kube.patch(seen.path, _patch(seen.entries or (), bundle), kind="json")
                written += 1
                log.info("%s: caBundle was written to %s", seen.path, ", ".join(differing))
        return written

    def _taker(self, kind: str) -> Callable[[Objects], Any]:
        async def take(objects: Objects) -> None:
            self._take(kind, objects)

        return take

    def _take(self, kind: str, objects: Objects) -> None:
        before = self._seen.get(kind)
        path, found = f"{GROUP}/{kind}/{self._name}", objects.get(self._name)
        seen = Seen(path, None if found is None else tuple(map(_entry, found.get("webhooks") or ())))
        if seen == before:
            return
        self._seen[kind] = seen
        self._log(kind, before, seen)
        for changed in self._tell:
            changed()

    def _log(self, kind: str, before: Seen | None, seen: Seen) -> None:
        if seen.entries is None:
            log.warning("%s %s is not there: nothing is asked of us", kind, self._name)
        elif before is None or before.entries is None:
            log.info("%s %s: %s", kind, self._name, ", ".join(entry.name for entry in seen.entries) or "no entry")
        old, new = _pods(before), _pods(seen)
        if new is not None and (old is None or old.fails_open != new.fails_open):
            log.info("%s: failurePolicy is %s", PODS, "Ignore" if new.fails_open else "Fail")


def _pods(seen: Seen | None) -> Entry | None:
    entries = (seen and seen.entries) or ()
    return next((entry for entry in entries if entry.name == PODS), None)


def _collection(kind: str, name: str) -> Collection:
    return Collection(f"{GROUP}/{kind}", field_selector=f"metadata.name={name}")


def _entry(webhook: Object) -> Entry:
    config = webhook.get("clientConfig") or {}
    return Entry(
        name=str(webhook.get("name", "")),
        fails_open=webhook.get("failurePolicy") == "Ignore",
        bundle=_decode(str(config.get("caBundle") or "")),
        client_config=config,
    )


def _decode(text: str) -> bytes:
    try:
        return decode_base64(text, "caBundle")
    except MalformedError:
        return b""


def _patch(entries: Iterable[Entry], bundle: bytes) -> list[Mapping[str, object]]:
    """RFC 6902: all of it is done, or nothing, where an entry is another one or says something else by now."""
    operations: list[Mapping[str, object]] = []
    for index, entry in enumerate(entries):
        if entry.bundle == bundle:
            continue
        place, value = f"/webhooks/{index}", base64.b64encode(bundle).decode()
        operations += [
            {"op": "test", "path": f"{place}/name", "value": entry.name},
            {"op": "test", "path": f"{place}/clientConfig", "value": entry.client_config},
            {"op": "add", "path": f"{place}/clientConfig/caBundle", "value": value},
        ]
    return operations
