"""Commands to a server that need not answer: bounds on time and number, and mistakes in settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.store import ValkeyServer, talker
from webhook import settings, valkey
from webhook.breaker import FAILURES
from webhook.errors import OperatorError
from webhook.valkey import FailedError, SkippedError, Store

SILENT = "valkey://127.0.0.1:1"


async def test_no_more_commands_wait_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "IN_FLIGHT_MAX", 20)
    async with talker(b":1\r\n") as configured:
        store = Store(configured)
        found = await asyncio.gather(*(store.ask("GET", "x") for _ in range(25)), return_exceptions=True)
        assert [type(one) for one in found] == [int] * 20 + [SkippedError] * 5
        assert await store.ask("GET", "x") == 1
        await store.close()


async def test_few_connections_serve_many() -> None:
    async with talker(b":1\r\n") as configured:
        store = Store(configured)
        assert await asyncio.gather(*(store.ask("GET", "x") for _ in range(100))) == [1] * 100
        assert len(store._idle) <= valkey.CONNECTIONS
        await store.close()


async def test_a_cancelled_command_leaves_no_answer_to_the_next() -> None:
    async with talker(b":1\r\n", b"+late", b"r\r\n", b":4\r\n") as configured:
        store = Store(configured)
        assert await store.ask("GET", "x") == 1
        task = asyncio.create_task(store.ask("GET", "x"))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await store.ask("GET", "x") == 4
        await store.close()


async def test_nobody_waits_for_a_connection_longer_than_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "CONNECT_SECONDS", 0.5)
    async with talker(b":1\r\n", greeting=b"+O") as configured:
        store = Store(settings.Valkey(url=configured.url, timeout=0.05))
        for _ in range(3):  # the first waits, and the others know better
            with pytest.raises(SkippedError):
                await store.ask("GET", "x")
        assert store.state == "not asked yet"
        await asyncio.sleep(0.6)
        assert "no connection: no answer within 500 ms" in store.state
        await store.close()


async def test_who_goes_to_see_without_an_answer_begins_another_pause() -> None:
    now = 100.0
    store = Store(settings.Valkey(url=SILENT, timeout=5.0), clock=lambda: now)
    for _ in range(FAILURES):
        with pytest.raises(FailedError):
            await store.ask("GET", "x")
    for pause in (1.0, 2.0, 4.0):
        with pytest.raises(SkippedError):
            await store.ask("GET", "x")
        now += pause
        with pytest.raises(FailedError):
            await store.ask("GET", "x")
    assert store.state.startswith("not asked for 8 s: no connection: ConnectionError")
    await store.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "valkey://somebody@127.0.0.1"}, "PASSWORD_FILE expected with a user"),
        ({"url": "valkey://127.0.0.1:70000"}, "a port from 1 to 65535 expected"),
        ({"url": "valkeys://127.0.0.1", "ca_file": Path("/nowhere")}, "/nowhere: no certificates in PEM"),
        ({"url": "valkeys://127.0.0.1", "ca_file": Path(__file__)}, "no certificates in PEM"),
    ],
)
async def test_a_mistake_in_settings_is_told_at_the_start(changes: Any, message: str) -> None:
    with pytest.raises(OperatorError, match=message):
        Store(settings.Valkey(**changes))


@pytest.mark.packages("valkey-server")
async def test_a_database_is_chosen_where_the_user_may(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server:
        with server.owner() as owner:
            owner.execute_command("ACL", "SETUSER", "countersign", "+select")
        store = Store(server.settings(url=server.settings().url + "/3"))
        await store.ask("SET", "countersign:v1:x", "y")
        with server.owner() as owner:
            assert owner.info("keyspace").keys() == {"db3"}
        await store.close()
