"""The image of these tests in a registry on loopback, and a client that may dial it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.doubles.image import filled
from tests.doubles.registry import HostileRegistry, client, listed, running
from webhook.oci.reference import Repository
from webhook.oci.registry import Registry


@pytest.fixture
async def app() -> HostileRegistry:
    return filled()


@pytest.fixture
async def host(app: HostileRegistry) -> AsyncIterator[str]:
    async with running(app) as host:
        yield host


@pytest.fixture
def repository(host: str) -> Repository:
    return Repository(host, "team/app")


@pytest.fixture
async def registry(host: str) -> AsyncIterator[Registry]:
    async with client(listed(host)) as (registry, _):
        yield registry
