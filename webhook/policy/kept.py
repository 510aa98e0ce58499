"""The last good versions of policy ConfigMaps, in a ConfigMap of our own, so that they outlive every replica.

Each entry of its binary data is named after a ConfigMap and holds, compressed, the object's uid, the digest of its
policy files, and the files. What does not fit is kept without its files: a marker, by which a new replica learns that
others hold a version that it cannot have. Nothing that is read here is believed: it is bounded, held against its own
digest, and parsed by whoever reads it like any other text. All replicas write, each only what changed for it, and a
write that another replica overtook is made again on top of that.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from webhook import settings, untrusted
from webhook.errors import Code, MalformedError, quote
from webhook.kube.client import Kube, KubeError, Object
from webhook.policy import parcel
from webhook.policy.parcel import Parcel

ROOM_BYTES = 900 * settings.KIB  # of entries and their names: a ConfigMap may hold 1 MiB
OPENED_MAX_BYTES = 3 * settings.MIB  # of one entry: text of 1 MiB, and what JSON adds to it
ENTRIES_MAX = 4_000
ATTEMPTS = 5
FIRST_PAUSE = 0.5  # seconds, doubled each time: whoever starts waits for eight at most
GATHER_SECONDS = 1.0  # before a write, up to twice that
LONGEST_PAUSE = 30.0
CONFLICT = 409

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """One good version. `files` is `None` in a marker, and where an entry cannot be read: then `problem` says why."""

    uid: str
    content: str
    files: Mapping[str, str] | None
    problem: str = ""

    def __str__(self) -> str:
        if self.files is not None:
            return f"revision {parcel.shown_revision(self.content)}"
        return self.problem or f"revision {parcel.shown_revision(self.content)} does not fit"


def of(good: Parcel) -> Kept:
    """What is to be kept of a ConfigMap all of whose content is in force."""
    return Kept(good.uid, good.content, good.files)


class Store:
    """The ConfigMap `name` in the namespace of `kube`, which somebody else makes."""

    def __init__(self, kube: Kube, name: str) -> None:
        self._kube, self._path = kube, f"/api/v1/namespaces/{kube.namespace}/configmaps/{name}"
        self._changes: dict[str, Kept | None] = {}
        self._news = asyncio.Event()
        self.problem = ""  # why it is not read or written; empty while it is

    async def load(self) -> Mapping[str, Kept]:
        """Every entry, by the name of its ConfigMap; none where the store cannot be had, which `problem` then says."""
        for attempt in range(ATTEMPTS):
            try:
                stored = await self._kube.get(self._path)
            except KubeError as error:
                self._note(f"the last good policies cannot be read: {error.detail}")
                if not error.is_outage:
                    break
                await asyncio.sleep(FIRST_PAUSE * 2**attempt)
            else:
                self._note("")
                return await asyncio.to_thread(_read_all, stored)
        return {}

    def put(self, changes: Mapping[str, Kept | None]) -> None:
        """Each of `changes` will be kept, `None` no longer. For the event loop's thread."""
        self._changes |= changes
        if changes:
            self._news.set()

    async def run(self) -> None:
        """Until cancelled, what was put is written."""
        pause = FIRST_PAUSE
        while True:
            await self._news.wait()
            await asyncio.sleep(random.uniform(1, 2) * GATHER_SECONDS)  # noqa: S311 - so that replicas take turns
            self._news.clear()
            changes, self._changes = self._changes, {}
            try:
                await self._save(changes)
                self._note("")
                pause = FIRST_PAUSE
            except KubeError as error:
                self._note(f"the last good policies cannot be stored: {error.detail}")
                self._changes = changes | self._changes
                self._news.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _save(self, changes: Mapping[str, Kept | None]) -> None:
        for attempt in range(ATTEMPTS):
            stored = await self._kube.get(self._path)
            patch = await asyncio.to_thread(plan, _entries(stored), changes)
            if not patch:
                return
            version = str((stored.get("metadata") or {}).get("resourceVersion", ""))
            data = {name: base64.b64encode(entry).decode() if entry else None for name, entry in patch.items()}
            try:
                # With the version it was read at, so that no replica overwrites what it has not seen
                await self._kube.patch(self._path, {"metadata": {"resourceVersion": version}, "binaryData": data})
            except KubeError as error:
                if error.status != CONFLICT or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem


def plan(stored: Mapping[str, bytes], changes: Mapping[str, Kept | None]) -> dict[str, bytes | None]:
    """The entries to write, or with `None` to remove, so that `stored` holds `changes` as far as there is room.

    An entry that is right stays as it is, whoever compressed it. What is new goes in by size, the smallest first; where
    there is no room even for markers, the largest of the others become markers.
    """
    there = {name: read_entry(stored[name]) for name in changes if name in stored}
    wanted = {name: kept for name, kept in changes.items() if kept is not None and there.get(name) != kept}
    patch: dict[str, bytes | None] = {name: None for name in there if changes[name] is None}
    staying = {name: entry for name, entry in stored.items() if name not in wanted and name not in patch}
    markers = {name: write_entry(_marker(kept)) for name, kept in wanted.items()}
    room = ROOM_BYTES - sum(len(name) + len(entry) for name, entry in (*staying.items(), *markers.items()))
    for name in sorted(staying, key=lambda name: (-len(staying[name]), name)):
        if room >= 0:
            break
        patch[name] = marker = write_entry(_marker(read_entry(staying[name])))
        room += len(staying[name]) - len(marker)
    whole = {name: write_entry(kept) for name, kept in wanted.items()}
    for name in sorted(whole, key=lambda name: (len(whole[name]), name)):
        more = len(whole[name]) - len(markers[name])
        if more <= room:
            room -= more
            patch[name] = whole[name]
        elif there.get(name) != _marker(wanted[name]):
            patch[name] = markers[name]
    return patch


def _marker(kept: Kept) -> Kept:
    return replace(kept, files=None)


def write_entry(kept: Kept) -> bytes:
    """`kept`, compressed; a marker where its files are larger than a reader would take."""
    text = orjson.dumps({"uid": kept.uid, "content": kept.content, "files": kept.files})
    if len(text) > OPENED_MAX_BYTES:
        return write_entry(_marker(kept))
    return gzip.compress(text, mtime=0)


def read_entry(data: bytes) -> Kept:
    """The entry in `data`; one that cannot be read has a `problem` and no uid."""
    try:
        fields = untrusted.as_object(untrusted.parse_json(_open(data), max_bytes=OPENED_MAX_BYTES, what="it"), "it")
        uid, content = (
            untrusted.as_string(fields.get("uid"), "uid"),
            untrusted.as_string(fields.get("content"), "content"),
        )
        if fields.get("files") is None:
            return Kept(uid, content, None)
        members = untrusted.as_object(fields["files"], "files")
        files = {key: untrusted.as_string(text, "a file") for key, text in members.items()}
    except MalformedError as error:
        return Kept("", "", None, f"it cannot be read: {error.detail}")
    if parcel.digest(files) != content:
        return Kept("", "", None, "it cannot be read: its digest is another")
    return Kept(uid, content, files)


def _open(data: bytes) -> bytes:
    opener = zlib.decompressobj(wbits=31)  # gzip
    try:
        text = opener.decompress(data, OPENED_MAX_BYTES + 1)
    except zlib.error as error:
        raise MalformedError(
            Code.MALFORMED, f"not compressed as expected: {quote(str(error), max_chars=80)}"
        ) from error
    if len(text) > OPENED_MAX_BYTES:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"more than {OPENED_MAX_BYTES} bytes")
    if not opener.eof or opener.unused_data:
        raise MalformedError(Code.MALFORMED, "not compressed as expected: it ends early, or goes on")
    return text


def _read_all(stored: Object) -> Mapping[str, Kept]:
    return {name: read_entry(entry) for name, entry in _entries(stored).items()}


def _entries(stored: Object) -> dict[str, bytes]:
    found = stored.get("binaryData") or {}
    return {name: _decode(found[name]) for name in sorted(found)[:ENTRIES_MAX]}


def _decode(value: object) -> bytes:
    try:
        return untrusted.decode_base64(untrusted.as_string(value, ""), "")
    except MalformedError:
        return b""  # an entry that cannot be read, like any other
