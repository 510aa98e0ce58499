"""Reviews of images elsewhere, while a namespace starts images on hosts that stall, or very many on a healthy one."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tests.admission import checker
from tests.doubles.registry import running, stalling
from tests.doubles.verifying import RELEASE, Shelf
from tests.web.serving import Serving, review, serving
from webhook import settings
from webhook.breaker import FAILURES
from webhook.demo.registry import MemoryRegistry
from webhook.settings import RegistryHost, Settings

IMAGES = 40
SLOW_HOSTS = 100
FLOOD = 500
AT_ONCE = 80  # reviews of the flood; the client has a hundred connections


@dataclass
class Town:
    """The webhook, and new signed images of a healthy registry."""

    webhook: Serving
    images: Iterator[str]

    async def ask(self, pod: dict[str, Any], seconds: float = 10.0) -> tuple[checker.Answer, float]:
        """The answer, and how many seconds it took."""
        started = time.monotonic()
        answer = await self.webhook.ask(pod, query=f"?timeout={seconds:g}s")
        return answer, time.monotonic() - started

    async def admit(self, namespace: str) -> list[float]:
        """New images were admitted one after the other, in so many seconds each."""
        taken = []
        for image in itertools.islice(self.images, IMAGES):
            answer, seconds = await self.ask(review(image, namespace=namespace))
            assert answer.allowed, answer
            taken.append(seconds)
        return taken

    async def flood(self, pods: list[dict[str, Any]], seconds: float) -> list[tuple[checker.Answer, float]]:
        """The answers to all of them, asked for as fast as they come."""
        room = asyncio.Semaphore(AT_ONCE)

        async def ask(pod: dict[str, Any]) -> tuple[checker.Answer, float]:
            async with room:
                return await self.ask(pod, seconds)

        return await asyncio.gather(*(ask(pod) for pod in pods))


@asynccontextmanager
async def town(folder: Path, *hosts: str, images: int = 2 * IMAGES) -> AsyncIterator[Town]:
    stored = MemoryRegistry()
    async with running(stored) as host:
        made = []
        for number in range(images):
            shelf = Shelf(host, stored, name=f"team/app-{number}")
            digest = shelf.image(f"image {number}")
            shelf.sign(digest, RELEASE)
            made.append(f"{host}/{shelf.name}@{digest}")
        entries = tuple(RegistryHost(one, insecure_http=True, loopback=True) for one in (host, *hosts))
        configured = Settings(registry=settings.Registry(hosts=entries), trust=settings.Trust(refresh_interval=None))
        async with serving(folder, configured, key=RELEASE.public_pem) as webhook:
            yield Town(webhook, iter(made))


async def test_a_hundred_slow_hosts_hold_up_no_image_elsewhere(tmp_path: Path) -> None:
    async with stalling(SLOW_HOSTS) as slow, town(tmp_path, *slow) as there:
        hosts = itertools.cycle(slow)
        pods = [
            review(*(f"{next(hosts)}/a:{number}-{part}" for part in range(5)), namespace="noisy")
            for number in range(AT_ONCE)
        ]
        quiet = await there.admit("shop")
        flood = asyncio.create_task(there.flood(pods, seconds=10))
        await asyncio.sleep(0.3)
        beside = await there.admit("shop")
        assert not flood.done()
        assert nearly_all(beside) < max(1.0, 20 * nearly_all(quiet))
        assert {answer.code for answer, _ in await flood} <= {503, 504}


async def test_a_flood_of_new_images_of_one_namespace_lets_others_by(tmp_path: Path) -> None:
    """Client, registry and webhook are one event loop here, which is what takes most of the time of all of them."""
    async with town(tmp_path, images=IMAGES + FLOOD) as there:
        pods = [review(image, namespace="noisy") for image in itertools.islice(there.images, FLOOD)]
        flood = asyncio.create_task(there.flood(pods, seconds=29))
        await asyncio.sleep(0.3)
        beside = await there.admit("shop")
        answers = await flood
        assert all(answer.allowed for answer, _ in answers)
        assert statistics.median(beside) < statistics.median(seconds for _, seconds in answers) / 4


def nearly_all(seconds: list[float]) -> float:
    """Nineteen of twenty took no longer."""
    return sorted(seconds)[-len(seconds) // 20]


async def test_a_registry_that_is_away_is_told_of_and_makes_nobody_unready(tmp_path: Path) -> None:
    gone = "127.0.0.1:1"
    async with town(tmp_path, gone) as there:
        webhook = there.webhook
        for number in range(FAILURES):
            answer = await webhook.ask(review(f"{gone}/shop/app:{number}"))
            assert (answer.allowed, answer.code) == (False, 503)
        assert "not asked again for" in answer.message
        ready = await webhook.operations.get("/readyz?verbose")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        (note,) = [text for name, text in ready.json()["notes"].items() if name.startswith("registry ")]
        assert note.startswith("has not answered for")
        assert await webhook.metric(f'countersign_registry_breaker_open{{host="{gone}"}}') == 1
        assert await webhook.metric(f'countersign_registry_courtesy_total{{event="opened",host="{gone}"}}') == 1
        assert await webhook.metric(f'countersign_registry_courtesy_total{{event="withheld",host="{gone}"}}') >= 1
        await there.admit("shop")


@pytest.mark.parametrize("kept", [300.0, 0.0], ids=["known", "nothing kept"])
async def test_who_was_verified_passes_while_his_registry_is_away(tmp_path: Path, kept: float) -> None:
    stored = MemoryRegistry()
    cache = replace(settings.Cache(), findings_lifetime=kept, presence_stale=3600.0 if kept else 0.0)
    async with AsyncExitStack() as there:
        host = await there.enter_async_context(running(stored))
        shelf = Shelf(host, stored)
        digest = shelf.image()
        shelf.sign(digest, RELEASE)
        entry = RegistryHost(host, insecure_http=True, loopback=True)
        configured = Settings(
            registry=settings.Registry(hosts=(entry,)), trust=settings.Trust(refresh_interval=None), cache=cache
        )
        async with serving(tmp_path, configured, key=RELEASE.public_pem) as webhook:
            assert (await webhook.ask(review(f"{host}/{shelf.name}@{digest}"))).allowed
            await there.aclose()
            for _ in range(2 * FAILURES):
                answer = await webhook.ask(review(f"{host}/{shelf.name}@{digest}"))
                assert answer.allowed is bool(kept)


class Slow(MemoryRegistry):
    """It answers after so many `seconds`."""

    seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(self.seconds)
        await super().__call__(scope, receive, send)


async def test_a_registry_that_answers_at_the_last_moment(tmp_path: Path) -> None:
    """Whoever was verified passes, nobody else is kept from his answer, and others do not notice."""
    stored = Slow()
    async with running(stored) as host, running(MemoryRegistry()) as empty:
        shelf = Shelf(host, stored)
        known, new = shelf.image("known"), shelf.image("new")
        for digest in (known, new):
            shelf.sign(digest, RELEASE)
        entries = tuple(RegistryHost(one, insecure_http=True, loopback=True) for one in (host, empty))
        configured = Settings(
            registry=settings.Registry(hosts=entries),
            trust=settings.Trust(refresh_interval=None),
            cache=replace(settings.Cache(), findings_lifetime=0.001),
        )
        async with serving(tmp_path, configured, key=RELEASE.public_pem) as webhook:
            pods = [review(f"{host}/{shelf.name}@{digest}") for digest in (known, new)]
            assert (await webhook.ask(pods[0])).allowed
            stored.seconds = 9.9
            started = time.monotonic()
            asking = [asyncio.create_task(webhook.ask(pod, query="?timeout=10s")) for pod in pods]
            elsewhere = await webhook.ask(review(f"{empty}/{shelf.name}@{known}"))
            assert elsewhere.code == 403
            assert not any(task.done() for task in asking)
            passed, waiting = await asyncio.gather(*asking)
            assert time.monotonic() - started < 11  # the API server gives up after 10
            assert (passed.allowed, waiting.allowed) == (True, False)
            assert waiting.code in (503, 504)
