"""Objects with trust material in a namespace of a real API server, and a source that watches them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.kube.apiserver import Server
from webhook import settings
from webhook.errors import InconclusiveError
from webhook.kube import client
from webhook.trust import objects
from webhook.trust.contents import Place
from webhook.trust.objects import ObjectSource
from webhook.trust.stored import Entry, ObjectKind, StoredKey, StoredObject

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECRETS = ("release", "pipeline", "corp", *(f"s{number}" for number in range(objects.OBJECTS_MAX + 1)))


def in_secret(name: str = "release", key: str = "cosign.pub") -> Entry:
    return Entry(StoredObject(ObjectKind.SECRET, name), key)


def in_map(name: str = "corp", key: str = "text") -> Entry:
    return Entry(StoredObject(ObjectKind.CONFIG_MAP, name), key)


RELEASE = StoredKey(in_secret())


def secret(name: str = "release", **data: str) -> dict[str, Any]:
    encoded = {key.replace("_", "."): base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


def config_map(name: str = "corp", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class World:
    """A namespace, and a source that is watching it as `user`."""

    def __init__(self, server: Server, namespace: str, source: ObjectSource) -> None:
        self.server, self.namespace, self.source = server, namespace, source

    async def apply(self, *stored: Mapping[str, Any]) -> None:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": stored})
        # On the client's side it would write all of it into an annotation too, where there is less room
        await self.kubectl("apply", "--server-side", "-f", "-", stdin=listed)

    async def kubectl(self, *args: str, stdin: str = "") -> None:
        await asyncio.to_thread(self.server.kubectl, "-n", self.namespace, *args, stdin=stdin)

    async def use(self, *places: Place) -> None:
        await asyncio.to_thread(self.source.use, places)

    def key(self, place: StoredKey = RELEASE) -> str:
        """The kind of key that is at hand, or why there is none."""
        try:
            return self.source.current.key_of(place).algorithm
        except InconclusiveError as error:
            return error.detail.removeprefix(f"the key {place} is not at hand: ")

    async def until(self, holds: Callable[[str], bool], place: StoredKey = RELEASE) -> str:
        async with asyncio.timeout(20):
            while not holds(self.key(place)):
                await asyncio.sleep(0.01)
        return self.key(place)


@contextlib.asynccontextmanager
async def opened(server: Server, namespace: str, user: str = "admin") -> AsyncIterator[World]:
    kube = await client.by_kubeconfig(server.kubeconfig(user), namespace=namespace)
    source = ObjectSource(kube, settings.Cluster(namespace=namespace, trust_secrets=SECRETS), clock=lambda: NOW)
    task = asyncio.create_task(source.run())
    try:
        yield World(server, namespace, source)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await kube.close()
