"""Places are bounded, fair between namespaces and hosts, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from webhook.admission.places import UNLISTED_HOST_MAX, Places

LISTED = "registry.example.com"
OTHER = "ghcr.io"


@pytest.fixture
def places() -> Iterator[Places]:
    made = Places(places=32, listed=frozenset({LISTED}))
    yield made
    # Whatever a test did: all 32 can be had again, a quarter for each namespace.
    assert sum(made.take(f"end-{index // 8}", LISTED) for index in range(64)) == 32


def fill(places: Places, namespace: str, host: str = LISTED) -> int:
    taken = 0
    while places.take(namespace, host):
        taken += 1
    return taken


def release(places: Places, namespace: str, count: int, host: str = LISTED) -> None:
    for _ in range(count):
        places.release(namespace, host)


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_namespace_holds_a_quarter_at_most(places: Places) -> None:
    assert fill(places, "greedy") == 8
    assert places.take("modest", LISTED)
    release(places, "greedy", 8)
    places.release("modest", LISTED)


def test_a_host_that_nobody_listed_holds_four_at_most(places: Places) -> None:
    assert fill(places, "a", OTHER) == UNLISTED_HOST_MAX
    assert not places.take("b", OTHER), "whichever namespace asks"
    assert places.take("b", LISTED)
    places.release("b", LISTED)
    release(places, "a", 4, OTHER)


def test_few_places_still_leave_one_for_a_namespace() -> None:
    assert fill(Places(places=1, listed=frozenset({LISTED})), "a") == 1


async def test_namespaces_are_served_in_turn(places: Places) -> None:
    for namespace in ("f1", "f2", "f3", "f4"):
        assert fill(places, namespace) == 8
    served: list[str] = []

    async def wait(namespace: str) -> None:
        await places.wait(namespace, LISTED)
        served.append(namespace)

    tasks = [asyncio.create_task(wait(namespace)) for namespace in ("greedy", "greedy", "greedy", "modest")]
    await turn()
    assert not served
    for _ in range(4):
        places.release("f1", LISTED)
        await turn()
    assert served == ["greedy", "modest", "greedy", "greedy"]
    await asyncio.gather(*tasks)
    release(places, "greedy", 3)
    places.release("modest", LISTED)
    release(places, "f1", 4)
    for namespace in ("f2", "f3", "f4"):
        release(places, namespace, 8)


async def test_a_host_that_is_full_holds_up_no_other(places: Places) -> None:
    assert fill(places, "a", OTHER) == UNLISTED_HOST_MAX
    slow = asyncio.create_task(places.wait("a", OTHER))
    await turn()
    assert not slow.done()
    await places.wait("a", LISTED)
    places.release("a", OTHER)
    await turn()
    assert slow.done()
    places.release("a", LISTED)
    release(places, "a", 4, OTHER)


async def test_nobody_overtakes_those_of_the_same_namespace_who_wait(places: Places) -> None:
    assert fill(places, "a", OTHER) == UNLISTED_HOST_MAX
    first = asyncio.create_task(places.wait("a", OTHER))
    await turn()
    assert not places.take("a", OTHER)
    places.release("a", OTHER)
    assert not places.take("a", OTHER), "it was handed to the one who waits"
    await first
    release(places, "a", 4, OTHER)


@pytest.mark.parametrize("when", ["waiting", "just served", "in the same moment"])
async def test_who_gives_up_holds_nothing(places: Places, when: str) -> None:
    assert fill(places, "a") == 8
    waiter = asyncio.create_task(places.wait("a", LISTED))
    await turn()
    if when == "just served":
        places.release("a", LISTED)
    waiter.cancel()
    if when == "in the same moment":
        places.release("a", LISTED)
    with pytest.raises(asyncio.CancelledError):
        await waiter
    release(places, "a", 8 if when == "waiting" else 7)
