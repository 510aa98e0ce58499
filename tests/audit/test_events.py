"""What is told stands in the API server as Events, whatever a pod is called, and nothing it does holds up anybody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.audit.test_event import OWNER, change, entry, image
from tests.audit.test_record import AT
from tests.conftest import API_SERVER
from tests.kube.apiserver import Server
from tests.kube.reached import reached
from webhook.audit.backlog import UPDATE_SECONDS, WAITING_MAX, WINDOW
from webhook.audit.event import CONTROLLER
from webhook.audit.events import BURST, LONGEST_PAUSE, SECONDS_EACH, TRIES, EventsSink
from webhook.audit.record import Entry, Record, compose
from webhook.audit.trail import Trail
from webhook.errors import Code
from webhook.kube import client
from webhook.kube.client import Kube
from webhook.policy.decision import Result
from webhook.settings import EventsIn

pytestmark = pytest.mark.tools(*API_SERVER)

RELEASE = "events-release"


@dataclass
class Desk:
    """A sink that writes, with a clock and pauses of the test's: who pauses sees the clock go on."""

    sink: EventsSink
    task: asyncio.Task[None]
    now: list[float]
    emitted: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def put(self, *records: Record) -> None:
        self.sink.write(b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records))

    def tell(self, *entries: Entry) -> None:
        self.put(*(compose(one) for one in entries))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.005)

    async def written(self, count: int) -> None:
        await self.until(lambda: sum(self.emitted) + sum(self.dropped) >= count)
        assert (sum(self.emitted), sum(self.dropped)) == (count, 0)


@contextlib.asynccontextmanager
async def desk(
    kube: Kube, where: EventsIn = EventsIn.OBJECT_NAMESPACE, *, instance: str = "pod-1"
) -> AsyncIterator[Desk]:
    now, emitted, dropped, pauses = [1000.0], list[int](), list[int](), list[float]()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds
        await asyncio.sleep(0)

    sink = EventsSink(
        kube=kube,
        where=where,
        namespace=RELEASE,
        instance=instance,
        emitted=emitted.append,
        dropped=dropped.append,
        clock=lambda: now[0],
        pause=pause,
    )
    task = asyncio.create_task(sink.run())
    try:
        yield Desk(sink, task, now, emitted, dropped, pauses)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def kube(api_server: Server) -> AsyncIterator[Kube]:
    async with reached(api_server) as made:
        yield made


async def events_in(kube: Kube, namespace: str) -> list[dict[str, Any]]:
    found, _ = await kube.list(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
    return [dict(one) for one in found if one.get("reportingController") == CONTROLLER]


def denied(namespace: str, **fields: Any) -> Entry:
    chosen: dict[str, Any] = {"namespace": namespace, "owner": OWNER} | fields
    return entry(image(), **chosen)


# --- what the API server takes


LONG = ".".join(["a" * 63] * 3 + ["a" * 61])  # 253, as an API server wants them
CASES: Mapping[str, Mapping[str, Any]] = {
    "owned": {},
    "alone": {"owner": None},
    "longest-names": {"name": LONG, "owner": replace(OWNER, name=LONG)},
    "name-cut-at-a-hyphen": {"owner": None, "name": "a" * 234 + "---" + "b" * 16},
    "name-to-be-made": {"owner": None, "name": "", "generate_name": "web-"},
    "user-in-any-letters": {"owner": None, "user": "\U0001f512\u202eevil\n" * 50},
    "there-already": {"operation": "UPDATE", "subresource": "ephemeralcontainers"},
    "no-uid": {"owner": None, "object_uid": "", "api_version": ""},
    "custom-resource": {
        "group": "argoproj.io", "resource": "rollouts", "kind": "Rollout", "api_version": "argoproj.io/v1alpha1",
    },
}  # fmt: skip


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
async def test_an_api_server_takes_an_event_about(kube: Kube, namespace: str, fields: Mapping[str, Any]) -> None:
    async with desk(kube) as at:
        asked = denied(namespace, **fields)
        at.tell(replace(asked, webhook="workloads") if "group" in fields else asked)
        await at.written(1)
    (found,) = await events_in(kube, namespace)
    assert found["reason"] == "ImageVerificationFailed"
    assert found["regarding"]["namespace"] == namespace


KINDS: Mapping[str, Callable[[str], Record]] = {
    "warned": lambda ns: compose(entry(image(Result.WARNED), word="warn", namespace=ns)),
    "unexamined": lambda ns: compose(entry(image(Result.ERROR, Code.DEADLINE_EXCEEDED), word="error", namespace=ns)),
    "unseen": lambda ns: compose(entry(word="deny", namespace=ns)),
    "long": lambda ns: compose(entry(image(detail="\u20ac" * 500, text="x" * 500), namespace=ns)),
    "loaded": lambda ns: change("loaded", namespace=ns, after="bb"),
    "removed": lambda ns: change("removed", namespace=ns, before="bb"),
    "repaired": lambda ns: change("repaired", namespace=ns, after="bb"),
    "invalid": lambda ns: change("invalid", namespace=ns, detail="\U0001f512" * 400),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_api_server_takes_every_kind(kube: Kube, namespace: str, kind: str) -> None:
    async with desk(kube, instance="p" * 300) as at:
        at.put(KINDS[kind](namespace))
        await at.written(1)
    assert len(await events_in(kube, namespace)) == 1


async def test_repetitions_are_one_event_with_a_count(kube: Kube, namespace: str) -> None:
    async with desk(kube) as at:
        for second in range(3):
            at.tell(replace(denied(namespace), at=AT + timedelta(seconds=second)))
            await at.until(lambda: bool(at.emitted))
        at.now[0] += UPDATE_SECONDS
        at.tell(replace(denied(namespace), at=AT + timedelta(seconds=9)))
        await at.written(2)
    (found,) = await events_in(kube, namespace)
    assert found["series"] == {"count": 4, "lastObservedTime": "2026-11-21T13:00:09.005000Z"}
    assert found["eventTime"] == "2026-11-21T13:00:00.005000Z"


async def test_an_event_that_ended_meanwhile_is_made_anew(kube: Kube, namespace: str) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    async with desk(kube) as at:
        at.tell(denied(namespace))
        await at.written(1)
        (found,) = await events_in(kube, namespace)
        await kube.delete(f"{path}/{found['metadata']['name']}")
        at.now[0] += UPDATE_SECONDS
        at.tell(denied(namespace))
        await at.written(2)
        (found,) = await events_in(kube, namespace)
        assert found["series"]["count"] == 2
        at.now[0] += WINDOW
        at.tell(denied(namespace))
        await at.written(3)
    assert len(await events_in(kube, namespace)) == 2


async def test_a_name_that_is_taken_is_not_used_again(kube: Kube, namespace: str) -> None:
    for _ in range(2):  # two replicas, at the same nanosecond
        async with desk(kube) as at:
            at.sink._stamp = lambda: 1_700_000_000_000_000_000
            at.tell(denied(namespace))
            await at.written(1)
    assert len(await events_in(kube, namespace)) == 2


PLACES = {
    EventsIn.OBJECT_NAMESPACE: (1, 0),
    EventsIn.RELEASE_NAMESPACE: (0, 1),
    EventsIn.BOTH: (1, 1),
    EventsIn.OFF: (0, 0),
}


@pytest.mark.parametrize("where", PLACES)
async def test_events_are_where_the_operator_wants_them(
    api_server: Server, kube: Kube, namespace: str, where: EventsIn
) -> None:
    api_server.namespace(RELEASE)
    async with desk(kube, where) as at:
        at.tell(denied(namespace))
        await at.written(sum(PLACES[where]))
        await asyncio.sleep(0)
    there = [found for found in await events_in(kube, RELEASE) if found["regarding"]["namespace"] == namespace]
    assert (len(await events_in(kube, namespace)), len(there)) == PLACES[where]


async def test_people_see_them_where_they_look(api_server: Server, kube: Kube, namespace: str) -> None:
    api_server.apply(replica_set(namespace))
    made = json.loads(api_server.kubectl("get", "rs/api", f"--namespace={namespace}", "--output=json").stdout)
    owner = replace(OWNER, name="api", uid=made["metadata"]["uid"])
    async with desk(kube) as at:
        at.tell(denied(namespace, owner=owner))
        await at.written(1)
    shown = api_server.kubectl("describe", "rs/api", f"--namespace={namespace}").stdout
    assert "ImageVerificationFailed" in shown
    assert "nothing signed with this key was found" in shown
    listed = api_server.kubectl("get", "events", f"--namespace={namespace}").stdout
    assert "replicaset/api" in listed


def replica_set(namespace: str) -> dict[str, Any]:
    labels = {"app": "api"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "api", "image": "x.example/y:1"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "api", "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}


# --- what the API server refuses


async def test_a_namespace_that_ends_is_no_trouble(
    api_server: Server, kube: Kube, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a controller manager a namespace never stops being terminated."""
    api_server.kubectl("delete", "namespace", namespace, "--wait=false")
    async with desk(kube) as at:
        at.tell(denied(namespace, name=LONG, owner=None))
        await at.until(lambda: sum(at.dropped) == 1)
    assert not at.emitted
    assert not caplog.records


async def test_a_namespace_that_nobody_made_is_refused_once(kube: Kube, caplog: pytest.LogCaptureFixture) -> None:
    async with desk(kube) as at:
        at.tell(denied("forged"), denied("forged-too"))
        await at.until(lambda: sum(at.dropped) == 2)
    assert caplog.text.count("Events cannot be written") == 1
    assert not at.pauses


async def test_without_the_right_to_write_events_it_is_said_once(
    api_server: Server, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with reached(api_server, "stranger") as stranger, desk(stranger) as at:
        at.tell(
            *(denied(namespace, owner=replace(OWNER, name=f"api-{number}", uid=f"{number}")) for number in range(9))
        )
        await at.until(lambda: sum(at.dropped) == 9)
    assert caplog.text.count("Events cannot be written") == 1
    assert "events.events.k8s.io is forbidden" in caplog.text
    assert not at.pauses, "and nothing waits for it"


async def test_create_and_patch_of_events_are_all_the_rights_it_needs(api_server: Server, namespace: str) -> None:
    rules = [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "events", "namespace": namespace},
    }
    subjects = [{"kind": "User", "name": "webhook", "apiGroup": "rbac.authorization.k8s.io"}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "events"}
    api_server.apply(
        {**role, "rules": rules}, {**role, "kind": "RoleBinding", "subjects": subjects, "roleRef": reference}
    )
    async with reached(api_server, "webhook") as webhook, desk(webhook) as at:
        at.tell(denied(namespace))
        await at.written(1)
        at.now[0] += UPDATE_SECONDS
        at.tell(denied(namespace))
        await at.written(2)


async def test_an_api_server_that_is_away_is_asked_again_and_holds_up_nobody(
    tools: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(tmp_path / "server", tools) as server:
        async with reached(server) as kube, desk(kube) as at:
            at.tell(denied("default"))
            await at.written(1)
            await asyncio.to_thread(server.stop)
            trail = Trail((at.sink,), dropped=lambda name, count: None)
            begun = time.monotonic()
            trail.put(compose(denied("default", owner=None)))
            await trail.close(grace=10)
            assert time.monotonic() - begun < 5
            await at.until(lambda: sum(at.dropped) == 1)
            assert len(at.pauses) == TRIES
            assert LONGEST_PAUSE / 2 <= at.pauses[-1] <= LONGEST_PAUSE
            assert caplog.text.count("Events cannot be written") == 1
            await asyncio.to_thread(server.start)
            at.tell(denied("default", owner=None))
            await at.until(lambda: sum(at.emitted) == 2)
            assert len(await events_in(kube, "default")) == 2


# --- floods


async def test_a_flood_of_forged_denials_is_bounded(kube: Kube, api_server: Server, namespace: str) -> None:
    other = api_server.namespace(f"{namespace}-other")
    async with desk(kube) as at:
        begun = time.thread_time()
        for number in range(10_000):
            at.tell(denied(namespace, owner=replace(OWNER, name=f"forged-{number}", uid=f"{number}")))
        taken = time.thread_time() - begun
        assert len(at.sink._backlog) <= WAITING_MAX
        at.tell(denied(other))
        await at.until(lambda: sum(at.emitted) >= 150)
        at.task.cancel()
        await asyncio.gather(at.task, return_exceptions=True)
        assert len(await events_in(kube, other)) == 1, "who is not to blame is told"
        assert sum(at.pauses) == pytest.approx((sum(at.emitted) - BURST) * SECONDS_EACH, abs=0.2), "10 a second"
        await at.sink.close(grace=0)
    assert taken < 10, taken
    assert sum(at.emitted) + sum(at.dropped) == 10_001


async def test_a_replica_set_that_fails_without_end_is_one_event(kube: Kube, namespace: str) -> None:
    async with desk(kube) as at:
        for number in range(10_000):
            at.tell(denied(namespace, name=f"api-7f-{number}", object_uid=f"{number}"))
        await at.until(lambda: bool(at.emitted))
        at.task.cancel()
        await asyncio.gather(at.task, return_exceptions=True)
        await at.sink.close(grace=10)
    (found,) = await events_in(kube, namespace)
    assert found["series"]["count"] == 10_000
    assert sum(at.dropped) == 0


# --- the end


async def test_at_the_end_what_waits_is_written_or_counted(kube: Kube, namespace: str, tmp_path: Path) -> None:
    async with desk(kube) as at:
        at.task.cancel()
        await asyncio.gather(at.task, return_exceptions=True)
        at.tell(denied(namespace), denied(namespace, owner=None))
        await at.sink.close(grace=10)
        assert (sum(at.emitted), sum(at.dropped)) == (2, 0)
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(json.dumps(unreachable()))
    gone = await client.by_kubeconfig(nowhere)
    async with desk(gone) as at:
        at.sink._sleep = asyncio.sleep
        at.tell(denied(namespace))
        begun = time.monotonic()
        await at.sink.close(grace=0.2)
        assert time.monotonic() - begun < 5
        assert (sum(at.emitted), sum(at.dropped)) == (0, 1)
    await gone.close()


def unreachable() -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "test", "user": {"token": "none"}}],
    }
