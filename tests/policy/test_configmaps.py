"""Policies from ConfigMaps: what becomes of each set of objects, then all of it before a real API server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import Configuration

from tests.conftest import API_SERVER
from tests.kube.apiserver import Server
from tests.kube.reached import reached
from tests.policy.configmap_objects import BROKEN, LABELS, by_name, configmap
from tests.policy.documents import KEYS, NOW, policy
from webhook import settings
from webhook.kube import client
from webhook.kube.client import Kube
from webhook.policy import configmaps, kept, parcel, statuses
from webhook.policy.configmaps import Change, ConfigMapSource, PolicyChange
from webhook.policy.kept import Kept, Store

STORE = "countersign-last-good"


@pytest.fixture
async def nowhere() -> AsyncIterator[Kube]:
    """An API that nobody serves, for what asks for nothing."""
    kube = Kube(Configuration(host="https://127.0.0.1:1"), namespace="countersign")
    yield kube
    await kube.close()


class Told:
    """A source and what it told; its clock is `now`."""

    def __init__(self, kube: Kube, *, store: bool = False) -> None:
        self.changes: list[PolicyChange] = []
        self.now = NOW
        self.source = ConfigMapSource(
            settings.Policy(),
            kube=kube,
            store=Store(kube, STORE) if store else None,
            told=self.changes.append,
            clock=lambda: self.now,
        )

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.source.current.policies]

    async def take(self, *objects: Mapping[str, Any]) -> None:
        await self.source.take(by_name(*objects))

    def told(self) -> list[tuple[str, Change]]:
        found = [(change.configmap, change.kind) for change in self.changes]
        self.changes.clear()
        return found


@pytest.fixture
def replica(nowhere: Kube) -> Told:
    return Told(nowhere)


async def test_until_they_were_listed_config_maps_demand_what_is_unknown(replica: Told) -> None:
    searched = "ConfigMaps with the label countersign.dev/policy=true in the namespace countersign"
    current = replica.source.current
    assert (current.policies, current.broken, current.searched) == ((), (searched,), searched)
    assert replica.source.problems == {"policies": f"{searched}: not asked yet"}
    await replica.take()
    assert (replica.source.current.broken, replica.source.problems) == ((), {})


async def test_config_maps_come_change_and_go(replica: Told) -> None:
    a, b = configmap("a", created=2), configmap("b", created=1)
    await replica.take(a, b)
    assert (replica.names, replica.told()) == (["b", "a"], [])  # of the first load only what is wrong is told
    revision = replica.source.current.revision
    changed = configmap("a", policy("new"), created=2)
    await replica.take(changed, b, configmap("c", created=3))
    assert (replica.names, replica.told()) == (["b", "new", "c"], [("a", Change.LOADED), ("c", Change.LOADED)])
    assert replica.source.current.revision != revision
    assert {name: [one.name for one in found] for name, found in replica.source.in_force.items()} == {
        "a": ["new"], "b": ["b"], "c": ["c"],
    }  # fmt: skip
    await replica.take(b)
    assert (replica.names, replica.told()) == (["b"], [("a", Change.REMOVED), ("c", Change.REMOVED)])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"data": {"policy.yaml": BROKEN}}, id="mistake"),
        pytest.param({"data": {"policy.yaml": "\t"}}, id="not YAML"),
        pytest.param({"data": {"policy.yaml": policy("a"), "more.yaml": BROKEN}}, id="one bad file"),
        pytest.param({"data": {"policy.yaml": policy("a") + "---\n" + BROKEN}}, id="one bad document"),
        pytest.param({"data": {"policy.yaml": "#" * (1 << 20) + "\n"}}, id="1 MiB"),
        pytest.param({"binaryData": {"x": ""}}, id="binary data"),
        pytest.param({"data": None}, id="no data"),
        pytest.param({"data": {"policy.yaml": 5}}, id="a number for text"),
    ],
)
async def test_last_good_stays_where_a_config_map_cannot_be_used(replica: Told, changes: dict[str, Any]) -> None:
    await replica.take(configmap("a"), configmap("b"))
    await replica.take(configmap("a") | changes, configmap("b"))
    current = replica.source.current
    assert (replica.names, list(current.problems), current.broken) == (["a", "b"], ["configmap/a"], ())
    assert replica.told() == [("a", Change.INVALID)]
    await replica.take(configmap("a"), configmap("b"))
    assert (replica.names, replica.source.current.problems) == (["a", "b"], {})
    assert replica.told() == [("a", Change.REPAIRED)]


async def test_a_config_map_that_was_never_good_is_broken_and_ready(replica: Told) -> None:
    await replica.take(configmap("a", BROKEN), configmap("b"))
    current = replica.source.current
    assert (replica.names, current.broken) == (["b"], ("configmap/a",))
    assert current.problems["configmap/a"].startswith("configmap/a: policy.yaml:1:1: apiVersion: required")
    assert (replica.told(), replica.source.problems) == ([("a", Change.INVALID)], {})


async def test_what_is_told_says_revisions_and_mistakes(replica: Told) -> None:
    good, bad = configmap("a"), configmap("a", BROKEN)
    await replica.take(good)
    await replica.take(bad)
    await replica.take(bad)
    await replica.take()
    revisions = parcel.read(good).revision, parcel.read(bad).revision
    invalid, removed = replica.changes
    assert (invalid.uid, invalid.before, invalid.after) == ("uid-of-a", *revisions)
    assert invalid.detail.startswith("configmap/a: policy.yaml:1:1: ")
    assert (removed.before, removed.after) == (revisions[0], "")


async def test_the_older_of_two_config_maps_keeps_a_name(replica: Told) -> None:
    young, old = configmap("a", policy("same"), created=2), configmap("b", policy("same"), created=1)
    await replica.take(young, old)
    current = replica.source.current
    assert current.problems == {"configmap/a": "the policy same is in configmap/b already"}
    assert (current.broken, [one.origin for one in current.policies]) == (
        ("configmap/a",), ["configmap/b: policy.yaml:1"],
    )  # fmt: skip
    await replica.take(young)
    assert (replica.source.current.problems, replica.names) == ({}, ["same"])
    assert replica.told() == [("a", Change.INVALID), ("a", Change.REPAIRED), ("b", Change.REMOVED)]


async def test_another_object_of_the_same_name_begins_anew(replica: Told) -> None:
    await replica.take(configmap("a"))
    await replica.take(configmap("a", BROKEN, metadata={"uid": "another"}))
    assert (replica.names, replica.source.current.broken) == ([], ("configmap/a",))


async def test_what_stands_beside_the_policies_changes_nothing(replica: Told) -> None:
    await replica.take(configmap("a"))
    before = replica.source.current
    obj = configmap("a", metadata={"annotations": {parcel.STATUS: "{}"}})
    obj["data"]["notes.txt"] = "new"
    await replica.take(obj)
    assert replica.source.current.policies[0] is before.policies[0]
    assert replica.told() == []


async def test_a_change_of_one_does_not_parse_the_others(replica: Told) -> None:
    others = [configmap(f"p{number}") for number in range(20)]
    await replica.take(configmap("a"), *others)
    before = {one.name: one for one in replica.source.current.policies}
    await replica.take(configmap("a", policy("new")), *(configmap(f"p{number}") for number in range(20)))
    after = {one.name: one for one in replica.source.current.policies}
    assert [name for name, one in after.items() if before.get(name) is not one] == ["new"]


async def test_what_is_refused_today_is_looked_at_again_later(replica: Told) -> None:
    until = NOW + timedelta(days=30, minutes=5)
    digest = f"sha256:{'a' * 64}"
    entry = (
        f"  exceptions: [{{digest: '{digest}', namespaces: [x], reason: y1, until: '{until:%Y-%m-%dT%H:%M:%SZ}'}}]\n"
    )
    obj = configmap("a", policy("a", more=KEYS + entry))
    await replica.take(obj)
    assert "at most 30 days ahead" in replica.source.current.problems["configmap/a"]
    replica.now += timedelta(minutes=9)
    await replica.take(obj)
    assert replica.names == []
    replica.now += timedelta(minutes=1)
    await replica.take(obj)
    assert (replica.names, replica.told()) == (["a"], [("a", Change.INVALID), ("a", Change.REPAIRED)])


async def test_the_youngest_of_too_many_are_not_read(replica: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configmaps, "CONFIGMAPS_MAX", 2)
    objects = [configmap(f"p{number}", created=number) for number in range(3)]
    await replica.take(*objects)
    assert (replica.names, replica.source.current.broken) == (["p0", "p1"], ("configmap/p2",))
    assert replica.source.current.problems["configmap/p2"].startswith("configmap/p2: not read: more than")
    await replica.take(*objects[1:])
    assert (replica.names, replica.source.current.problems) == (["p1", "p2"], {})
    monkeypatch.setattr(configmaps, "TOTAL_MAX_CHARS", 1000)
    await replica.take(*(configmap(f"p{number}", created=number) for number in range(1, 3)))
    assert replica.names == ["p1", "p2"]  # what is good stays
    assert "hold more than" in replica.source.current.problems["configmap/p2"]


async def test_a_set_comes_into_force_once_all_else_is_ready_for_it(nowhere: Kube) -> None:
    def refuse(policies: object) -> None:
        raise OSError("not ready")

    source = ConfigMapSource(settings.Policy(), kube=nowhere, store=None, before=refuse)
    with pytest.raises(OSError, match="not ready"):
        await source.take(by_name(configmap("a")))
    assert source.current.policies == ()
    assert source.problems


def place_of(obj: Mapping[str, Any], source: ConfigMapSource) -> dict[str, Any]:
    loaded = source._loaded
    assert loaded is not None
    name = obj["metadata"]["name"]
    return dict(json.loads(statuses.describe(loaded.seen[name].parcel, loaded.places[name])))


async def test_a_status_says_what_is_in_force(replica: Told) -> None:
    good, bad = configmap("a"), configmap("a", BROKEN)
    await replica.take(good)
    revision = parcel.read(good).revision
    assert place_of(good, replica.source) == {
        "loaded": True, "revision": revision, "policies": ["a"], "errors": [], "inForce": "this",
    }  # fmt: skip
    await replica.take(bad, configmap("b", BROKEN * 2))
    status = place_of(bad, replica.source)
    assert (status["loaded"], status["inForce"], status["policies"]) == (False, "last good", ["a"])
    assert status["errors"][0].startswith("configmap/a: policy.yaml:1:1: apiVersion: required")
    other = place_of(configmap("b"), replica.source)
    assert (other["inForce"], other["policies"]) == ("none", [])


async def test_a_status_is_bounded(replica: Told) -> None:
    many = configmap("a", "---\n".join(policy(f"p{number}") for number in range(60)))
    await replica.take(many, configmap("b", "---\n".join([BROKEN] * 9)))
    status = place_of(many, replica.source)
    assert (len(status["policies"]), status["morePolicies"]) == (50, 10)
    errors = place_of(configmap("b"), replica.source)["errors"]
    assert (len(errors), errors[-1]) == (6, "and 22 more")


# From here on before a real API server

real = pytest.mark.tools(*API_SERVER)


@pytest.fixture
async def kube(api_server: Server, namespace: str) -> AsyncIterator[Kube]:
    async with reached(api_server, namespace=namespace) as made:
        yield made


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (kept, statuses):
        monkeypatch.setattr(module, "GATHER_SECONDS", 0.01)


@contextlib.asynccontextmanager
async def running(kube: Kube, *, store: bool = True) -> AsyncIterator[Told]:
    replica = Told(kube, store=store)
    task = asyncio.create_task(replica.source.run())
    try:
        yield replica
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.05)  # in which TLS connections that were cut off end


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


def applied(name: str, text: str | None = None) -> dict[str, Any]:
    data = {"policy.yaml": policy(name) if text is None else text}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": LABELS}, "data": data}


def path_of(kube: Kube, name: str = "") -> str:
    return f"/api/v1/namespaces/{kube.namespace}/configmaps" + (f"/{name}" if name else "")


async def make_store(kube: Kube) -> None:
    await kube.create(path_of(kube), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": STORE}})


async def stored(kube: Kube) -> Mapping[str, Kept]:
    return await Store(kube, STORE).load()


async def is_kept(kube: Kube, *names: str) -> None:
    async with asyncio.timeout(20):
        while set(await stored(kube)) != set(names):
            await asyncio.sleep(0.02)


async def status_when(kube: Kube, name: str, holds: Callable[[Any], object]) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            annotations = (await kube.get(path_of(kube, name)))["metadata"].get("annotations") or {}
            status = json.loads(annotations.get(parcel.STATUS, "{}"))
            if status and holds(status):
                return dict(status)
            await asyncio.sleep(0.02)


@real
async def test_what_is_applied_is_in_force_and_goes_with_its_label(kube: Kube) -> None:
    await make_store(kube)
    await kube.create(path_of(kube), applied("first"))
    async with running(kube) as replica:
        await until(lambda: replica.names == ["first"])
        await kube.create(path_of(kube), applied("second"))
        await until(lambda: "second" in replica.names)
        assert (await status_when(kube, "second", bool))["inForce"] == "this"
        await is_kept(kube, "first", "second")
        await kube.patch(path_of(kube, "first"), {"metadata": {"labels": {parcel.LABEL: None}}})
        await until(lambda: replica.names == ["second"])
        await kube.delete(path_of(kube, "second"))
        await until(lambda: replica.names == [])
        await is_kept(kube)
        removed = [("first", Change.REMOVED), ("second", Change.REMOVED)]
        assert replica.told() == [("second", Change.LOADED), *removed]
        assert (replica.source.problems, replica.source.notes) == ({}, {})


@real
async def test_a_good_version_outlives_every_replica(kube: Kube) -> None:
    await make_store(kube)
    await kube.create(path_of(kube), applied("a"))
    async with running(kube) as first:
        await until(lambda: first.names == ["a"])
        await is_kept(kube, "a")
    # Written while nobody watched: one that is bad, and one that is good
    await kube.patch(path_of(kube, "a"), {"data": {"policy.yaml": BROKEN}})
    await kube.create(path_of(kube), applied("b"))
    async with running(kube) as second:
        await until(lambda: second.names == ["a", "b"] and second.changes)
        current = second.source.current
        assert (list(current.problems), current.broken) == (["configmap/a"], ())
        assert (second.told(), second.source.problems) == ([("a", Change.INVALID)], {})
        status = await status_when(kube, "a", lambda status: not status["loaded"])
        assert (status["inForce"], status["policies"]) == ("last good", ["a"])
        await kube.patch(path_of(kube, "a"), {"data": {"policy.yaml": policy("a")}})
        await until(lambda: not second.source.current.problems)


def entry_of_another(entry: Kept) -> bytes:
    return kept.write_entry(Kept("another", entry.content, entry.files))


def marker(entry: Kept) -> bytes:
    return kept.write_entry(Kept(entry.uid, entry.content, None))


def of_a_later_version(entry: Kept) -> bytes:
    files = {"policy.yaml": policy("a") + "  newField: 1\n"}
    return kept.write_entry(Kept(entry.uid, parcel.digest(files), files))


def garbage(entry: Kept) -> bytes:
    return b"garbage"


def bomb(entry: Kept) -> bytes:
    return gzip.compress(b" " * (64 << 20))


@real
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(marker, "does not fit", id="marker"),
        pytest.param(garbage, "it cannot be read: not compressed", id="garbage"),
        pytest.param(bomb, "it cannot be read: more than", id="bomb"),
        pytest.param(of_a_later_version, "no longer loads: configmap/a: policy.yaml:20:3", id="later version"),
        pytest.param(entry_of_another, "", id="another object's"),
    ],
)
async def test_who_cannot_have_what_others_hold_is_not_ready(
    kube: Kube, spoil: Callable[[Kept], bytes], problem: str
) -> None:
    await make_store(kube)
    await kube.create(path_of(kube), applied("a"))
    async with running(kube) as first:
        await is_kept(kube, "a")
        entry = base64.b64encode(spoil((await stored(kube))["a"])).decode()
        await kube.patch(path_of(kube, "a"), {"data": {"policy.yaml": BROKEN}})
        await until(lambda: first.source.current.problems)
        await status_when(kube, "a", lambda status: status["inForce"] == "last good")
        await kube.patch(path_of(kube, STORE), {"binaryData": {"a": entry}})
        async with running(kube) as second:
            await until(lambda: second.source.current.problems.get("configmap/a"))
            assert (first.names, second.names, second.source.current.broken) == (["a"], [], ("configmap/a",))
            found = second.source.problems.get("policies in configmap/a", "")
            assert bool(found) is bool(problem)
            assert problem in found
            await asyncio.sleep(0.2)  # time in which it could write what it must not
            assert (await status_when(kube, "a", bool))["inForce"] == "last good"
            await kube.patch(path_of(kube, "a"), {"data": {"policy.yaml": policy("a")}})
            await until(lambda: second.names == ["a"] and not second.source.problems)


@real
async def test_replicas_agree_and_fall_silent(api_server: Server, kube: Kube) -> None:
    await make_store(kube)
    async with running(kube) as first, running(kube) as second:
        await until(lambda: not (first.source.problems or second.source.problems))
        for number in range(5):
            await kube.create(path_of(kube), applied(f"p{number}", BROKEN if number == 0 else None))
        await until(lambda: len(first.source.in_force) == len(second.source.in_force) == 5)
        await is_kept(kube, "p1", "p2", "p3", "p4")
        for number in range(5):
            await status_when(kube, f"p{number}", bool)
        await asyncio.sleep(0.5)
        before = await kube.list(path_of(kube))
        await asyncio.sleep(0.5)
        versions = [
            [obj["metadata"]["resourceVersion"] for obj in found]
            for found in (before[0], (await kube.list(path_of(kube)))[0])
        ]
        assert versions[0] == versions[1]
        assert [change.kind for change in first.changes].count(Change.LOADED) == 4
    patches = [
        event
        for event in api_server.audit()
        if event["verb"] == "patch" and event.get("objectRef", {}).get("namespace") == kube.namespace
    ]
    assert len(patches) <= 2 * 5 + 2 * 6


@real
@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["at once", "after a pause, without news"])
async def test_a_status_that_was_taken_off_or_forged_comes_back(
    kube: Kube, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(statuses, "REWRITE_SECONDS", seconds)
    await kube.create(path_of(kube), applied("a"))
    async with running(kube, store=False):
        wanted = await status_when(kube, "a", bool)
        for forged in (None, "garbage", '{"loaded": false}'):
            await kube.patch(path_of(kube, "a"), {"metadata": {"annotations": {parcel.STATUS: forged}}})
            async with asyncio.timeout(20):
                while True:
                    metadata = (await kube.get(path_of(kube, "a")))["metadata"]
                    text = (metadata.get("annotations") or {}).get(parcel.STATUS, "")
                    if text.startswith("{") and json.loads(text) == wanted:
                        break
                    await asyncio.sleep(0.02)


@real
async def test_without_a_store_policies_are_in_force_and_it_is_said(kube: Kube) -> None:
    await kube.create(path_of(kube), applied("a"))
    async with running(kube) as replica:
        await until(lambda: replica.names == ["a"])
        assert replica.source.problems == {}
        assert f"{STORE}: 404" in replica.source.notes["policies-last-good"]


@real
async def test_who_may_not_list_is_not_ready_and_says_why(api_server: Server, namespace: str) -> None:
    stranger = await client.by_kubeconfig(api_server.kubeconfig("stranger"), namespace=namespace)
    async with running(stranger) as replica:
        await until(lambda: "403" in replica.source.problems.get("policies", ""))
        assert replica.source.current.broken == (replica.source.current.searched,)
    await stranger.close()


@real
async def test_who_may_only_read_keeps_policies_in_force_and_says_so(api_server: Server, kube: Kube) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    names = {"namespace": kube.namespace, "name": "reader"}
    group = "rbac.authorization.k8s.io"
    api_server.apply(
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": names, "rules": rules},
        {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": names,
         "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
         "subjects": [{"kind": "User", "name": "webhook", "apiGroup": group}]},
    )  # fmt: skip
    await make_store(kube)
    await kube.create(path_of(kube), applied("a"))
    reader = await client.by_kubeconfig(api_server.kubeconfig("webhook"), namespace=kube.namespace)
    async with running(reader) as replica:
        await until(lambda: set(replica.source.notes) == {"policies-last-good", "policies-status"})
        assert all("403" in note for note in replica.source.notes.values())
        assert (replica.names, replica.source.problems) == (["a"], {})
    await reader.close()


@real
async def test_an_api_server_that_is_away_at_start_and_later(tools: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "server", tools) as server:
        kube = await client.by_kubeconfig(server.kubeconfig(), namespace="default")
        await make_store(kube)
        await kube.create(path_of(kube), applied("a"))
        await asyncio.to_thread(server.stop)
        async with running(kube) as replica:
            await until(lambda: replica.source.notes.get("policies-last-good"))
            assert list(replica.source.problems) == ["policies"]
            await asyncio.to_thread(server.start)
            await until(lambda: replica.names == ["a"])
            assert replica.source.problems == {}
            await asyncio.to_thread(server.stop)
            await until(lambda: replica.source.notes.get("policies-watch"))
            assert (replica.names, replica.source.problems) == (["a"], {})
            assert replica.source.seconds_unheard > 0
            await asyncio.to_thread(server.start)
            await kube.create(path_of(kube), applied("b"))
            await until(lambda: "b" in replica.names)
        await kube.close()


@real
async def test_a_change_is_in_force_within_a_second(kube: Kube) -> None:
    async with running(kube, store=False) as replica:
        await until(lambda: not replica.source.problems)
        started = time.monotonic()
        await kube.create(path_of(kube), applied("a"))
        await until(lambda: replica.names == ["a"])
        assert time.monotonic() - started < 1.0
