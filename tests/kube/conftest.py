"""The API server as its administrator reaches it, and as the webhook does, by whatever a test lets it do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.kube.apiserver import Server
from tests.kube.reached import reached
from webhook.kube.client import Kube


@pytest.fixture
async def admin(api_server: Server) -> AsyncIterator[Kube]:
    async with reached(api_server) as made:
        yield made


@pytest.fixture
async def kube(api_server: Server) -> AsyncIterator[Kube]:
    async with reached(api_server, "webhook") as made:
        yield made
