"""The door to a real API server, as one of its users has it, and closed in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.kube.apiserver import ADMIN, Server
from webhook.kube import client
from webhook.kube.client import Kube


@asynccontextmanager
async def reached(server: Server, user: str = ADMIN, *, namespace: str = "") -> AsyncIterator[Kube]:
    made = await client.by_kubeconfig(server.kubeconfig(user), namespace=namespace)
    try:
        yield made
    finally:
        await made.close()
