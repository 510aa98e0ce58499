"""What is known of the live webhook configurations, and what is written to them, before a real API server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.conftest import API_SERVER
from tests.kube.apiserver import Server
from tests.kube.configurations import GROUP, MUTATING, PIN, PODS, VALIDATING, WORKLOADS, configuration, rights
from webhook.kube import client
from webhook.kube.client import Kube, KubeError
from webhook.kube.registration import Registration

pytestmark = pytest.mark.tools(*API_SERVER)

CONFIGURATIONS = ("list", "watch", "patch")
_numbers = itertools.count(1)


@pytest.fixture
def name(api_server: Server) -> str:
    made = f"registered-{next(_numbers)}"
    api_server.namespace(made)
    api_server.apply(*rights("webhook", made, made, configurations=CONFIGURATIONS, secrets=()))
    return made


@contextlib.asynccontextmanager
async def running(registration: Registration) -> AsyncIterator[Registration]:
    task = asyncio.create_task(registration.run())
    try:
        yield registration
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(registration: Registration, holds: Callable[[Registration], bool], *, seconds: float = 10) -> None:
    news = asyncio.Event()
    registration.tell(news.set)
    async with asyncio.timeout(seconds):
        while not holds(registration):
            await news.wait()
            news.clear()


async def webhooks(admin: Kube, name: str, kind: str = VALIDATING) -> Sequence[Mapping[str, Any]]:
    found = await admin.get(f"{GROUP}/{kind}/{name}")
    entries: Sequence[Mapping[str, Any]] = found["webhooks"]
    return entries


def bundle_of(entry: Mapping[str, Any]) -> bytes:
    return base64.b64decode(entry["clientConfig"].get("caBundle", ""))


async def test_what_is_not_known_is_not_said(kube: Kube, name: str) -> None:
    registration = Registration(kube, name, pinning=True)
    assert (registration.fails_open, registration.bundle, registration.pins, registration.seen) == (
        None,
        None,
        None,
        (),
    )
    assert registration.problems.keys() == {VALIDATING, MUTATING}


async def test_the_failure_policy_is_seen_within_a_second(kube: Kube, admin: Kube, name: str) -> None:
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(name, WORKLOADS, PODS))
    async with running(Registration(kube, name, pinning=False)) as registration:
        await until(registration, lambda known: known.fails_open is False)
        ignore = [{"op": "replace", "path": "/webhooks/1/failurePolicy", "value": "Ignore"}]
        await admin.patch(f"{GROUP}/{VALIDATING}/{name}", ignore, kind="json")
        await until(registration, lambda known: known.fails_open is True, seconds=1)
        other = [{"op": "replace", "path": "/webhooks/1/failurePolicy", "value": "Fail"}]
        other += [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
        await admin.patch(f"{GROUP}/{VALIDATING}/{name}", other, kind="json")
        await until(registration, lambda known: known.fails_open is False, seconds=1)
        assert not registration.problems


async def test_the_entry_that_pins_comes_and_goes(kube: Kube, admin: Kube, name: str) -> None:
    async with running(Registration(kube, name, pinning=True)) as registration:
        await until(registration, lambda known: known.pins is False)
        await admin.create(f"{GROUP}/{MUTATING}", configuration(name, PIN, mutating=True))
        await until(registration, lambda known: known.pins is True, seconds=1)
        assert registration.fails_open is None, "of pods, of which nothing is installed"
        await admin.delete(f"{GROUP}/{MUTATING}/{name}")
        await until(registration, lambda known: known.pins is False, seconds=1)


async def test_another_installation_is_none_of_ours(kube: Kube, admin: Kube, name: str) -> None:
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(f"{name}-other", PODS, policy="Ignore"))
    async with running(Registration(kube, name, pinning=False)) as registration:
        await until(registration, lambda known: bool(known.seen))
        assert (registration.entries, registration.fails_open) == ({}, None)
        assert "there is no registered" in registration.problems[VALIDATING]


async def test_a_bundle_is_written_where_it_differs_and_nothing_else_is(kube: Kube, admin: Kube, name: str) -> None:
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(name, PODS, WORKLOADS, policy="Ignore"))
    await admin.create(f"{GROUP}/{MUTATING}", configuration(name, PIN, mutating=True))
    registration = Registration(kube, name, pinning=True)
    before = {kind: await admin.get(f"{GROUP}/{kind}/{name}") for kind in (VALIDATING, MUTATING)}
    assert await registration.publish(b"bundle", since=await registration.look()) == 2
    for kind, old in before.items():
        new = await admin.get(f"{GROUP}/{kind}/{name}")
        assert [bundle_of(entry) for entry in new["webhooks"]] == [b"bundle"] * len(old["webhooks"])
        for entry in new["webhooks"]:
            del entry["clientConfig"]["caBundle"]
        assert new["webhooks"] == old["webhooks"]
        assert new["metadata"].get("labels") == old["metadata"].get("labels")
    assert await registration.publish(b"bundle", since=await registration.look()) == 0
    assert registration.bundle == b"bundle"


async def test_an_order_that_changed_is_never_mispatched(kube: Kube, admin: Kube, name: str) -> None:
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(name, PODS, WORKLOADS))
    registration = Registration(kube, name, pinning=False)
    seen = await registration.look()
    first, second = await webhooks(admin, name)
    turned = [{**second, "clientConfig": first["clientConfig"]}, {**first, "clientConfig": second["clientConfig"]}]
    await admin.patch(f"{GROUP}/{VALIDATING}/{name}", {"webhooks": turned})
    with pytest.raises(KubeError) as refused:
        await registration.publish(b"bundle", since=seen)
    assert refused.value.status == 422
    assert [entry["clientConfig"] for entry in await webhooks(admin, name)] == [
        entry["clientConfig"] for entry in turned
    ]
    assert await registration.publish(b"bundle", since=await registration.look()) == 1


async def test_a_bundle_that_changed_meanwhile_is_not_overwritten(kube: Kube, admin: Kube, name: str) -> None:
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(name, PODS))
    slow, quick = Registration(kube, name, pinning=False), Registration(kube, name, pinning=False)
    seen = await slow.look()
    await quick.publish(b"old and new", since=await quick.look())
    with pytest.raises(KubeError) as refused:
        await slow.publish(b"old", since=seen)
    assert refused.value.status == 422
    assert [bundle_of(entry) for entry in await webhooks(admin, name)] == [b"old and new"]


async def test_what_was_deleted_is_left_deleted(kube: Kube, admin: Kube, name: str) -> None:
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(name, PODS))
    registration = Registration(kube, name, pinning=False)
    seen = await registration.look()
    await admin.delete(f"{GROUP}/{VALIDATING}/{name}")
    with pytest.raises(KubeError) as gone:
        await registration.publish(b"bundle", since=seen)
    assert gone.value.status == 404
    assert await registration.publish(b"bundle", since=await registration.look()) == 0
    with pytest.raises(KubeError):
        await admin.get(f"{GROUP}/{VALIDATING}/{name}")
    assert "there is no" in registration.problems[VALIDATING]
    assert (registration.fails_open, registration.bundle) == (None, None)


async def test_a_bundle_that_is_no_pem_is_told_as_it_is(kube: Kube, admin: Kube, name: str) -> None:
    body = configuration(name, PODS)
    body["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(b"\x00 no PEM").decode()
    await admin.create(f"{GROUP}/{VALIDATING}", body)
    registration = Registration(kube, name, pinning=False)
    await registration.look()
    assert registration.bundle == b"\x00 no PEM"


async def test_who_may_not_look_is_told_and_what_was_seen_counts(
    api_server: Server, kube: Kube, admin: Kube, name: str
) -> None:
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(name, PODS))
    stranger = await client.by_kubeconfig(api_server.kubeconfig("stranger"))
    registration = Registration(stranger, name, pinning=False)
    async with running(registration), asyncio.timeout(10):
        while "403" not in registration.problems.get(VALIDATING, ""):
            await asyncio.sleep(0.01)
    assert registration.fails_open is None
    await stranger.close()


async def test_a_failure_policy_and_a_removal_are_in_the_log_once(
    kube: Kube, admin: Kube, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    registration = Registration(kube, name, pinning=False)
    await admin.create(f"{GROUP}/{VALIDATING}", configuration(name, PODS))
    await registration.look()
    await registration.look()
    await admin.delete(f"{GROUP}/{VALIDATING}/{name}")
    await registration.look()
    await registration.look()
    said = [record.getMessage() for record in caplog.records if record.name == "webhook.kube.registration"]
    assert said == [
        f"{VALIDATING} {name}: {PODS}",
        f"{PODS}: failurePolicy is Fail",
        f"{VALIDATING} {name} is not there: nothing is asked of us",
    ]
