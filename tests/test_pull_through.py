"""Pull-through caches of ECR: an image that nobody pulled yet is not there, which is not the same as unsigned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.doubles.ecr import ELSEWHERE, HOST, entry
from tests.doubles.registry import HostileRegistry, client, running
from tests.doubles.verifying import NAME, RELEASE, TRUST, Cluster, told
from webhook import settings
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code
from webhook.evidence.collect import Collector
from webhook.policy.decision import Result
from webhook.verification import Verifier

CACHED = "docker-hub/pay/api"
UNKNOWN = b'{"errors": [{"code": "NAME_UNKNOWN", "message": "none"}]}'


class PullThrough(HostileRegistry):
    """ECR: knows nothing of a repository until the manifest of an image was asked for."""

    def __init__(self, *, imports: bool = True) -> None:
        super().__init__()
        self.imports, self.imported = imports, False

    def answer(self, request: Incoming) -> Outgoing:
        self.imported = self.imported or (self.imports and request.method == "HEAD")
        answer = super().answer(request)
        return answer if self.imported else Outgoing(404, (), UNKNOWN)


@asynccontextmanager
async def cached(stored: PullThrough, host: str, name: str) -> AsyncIterator[Cluster]:
    async with running(stored) as address, client(entry(address, host)) as (registry, _):
        collector = Collector(registry=registry, limits=settings.Evidence(), observe=lambda stage, seconds: None)
        verifier = Verifier(
            registry=registry,
            collector=collector,
            policy=settings.Policy(),
            observe=lambda stage, seconds: None,
            trust=lambda: TRUST,
        )
        yield Cluster(host, stored, verifier, name=name)
        await collector.close()


@pytest.mark.parametrize("by_tag", [True, False])
async def test_a_pull_through_cache_is_filled_before_signatures_are_looked_for(by_tag: bool) -> None:
    stored = PullThrough()
    async with cached(stored, HOST, CACHED) as cluster:
        digest = cluster.image()
        cluster.sign(digest, RELEASE)
        cluster.policy()
        text = ":1" if by_tag else f"@{digest}"
        for asked in (1, 1 + by_tag):  # for a digest once, for a tag as ever
            assert told(await cluster.verify(text)) == (Result.VERIFIED, None)
            assert sum(line.startswith("HEAD") for line in stored.lines) == asked


@pytest.mark.parametrize(
    ("host", "name", "code"),
    [
        (HOST, CACHED, Code.NOT_CACHED),
        (HOST, NAME, Code.IMAGE_NOT_FOUND),
        (ELSEWHERE, CACHED, Code.NO_SIGNATURE),
    ],
)
async def test_what_a_cache_does_not_have_is_not_unsigned(host: str, name: str, code: Code) -> None:
    stored = PullThrough(imports=False)
    async with cached(stored, host, name) as cluster:
        digest = cluster.image()
        cluster.policy()
        assert (await cluster.verify(f"@{digest}")).code is code
    assert (f"HEAD /v2/{name}/manifests/{digest}" in stored.lines) is (code is Code.NOT_CACHED)
