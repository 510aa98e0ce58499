"""Keys, certificates and trust roots in objects of a real API server: at hand, gone, garbage, refused, out of reach."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import API_SERVER, USERS
from tests.kube.apiserver import Server
from tests.policy.notary_documents import CA_PEM
from tests.trust.stored import NOW, RELEASE, SECRETS, World, config_map, in_map, in_secret, opened, secret
from webhook import settings
from webhook.demo import signing
from webhook.kube import client
from webhook.trust import mirror, objects, root
from webhook.trust.notary.stores import StoredCertificates, StoreKind, TrustStore
from webhook.trust.objects import ObjectSource
from webhook.trust.root import RootKind, RootSource
from webhook.trust.stored import StoredKey, StoredRoot

pytestmark = pytest.mark.tools(*API_SERVER)

key_of = functools.cache(signing.new_key)
LARGEST = 1 << 20  # bytes: of a Secret in all
PIPELINE = StoredKey(in_secret("pipeline"))
ROOT, STORE = StoredRoot(in_map()), StoredCertificates(in_map(key="ca.crt"), StoreKind.CA)


@pytest.fixture
async def world(api_server: Server, namespace: str) -> AsyncIterator[World]:
    async with opened(api_server, namespace) as made:
        yield made


P256, P384 = "ECDSA P-256", "ECDSA P-384"


async def test_a_secret_comes_changes_loses_its_key_goes_and_comes_back(world: World) -> None:
    await world.use(RELEASE)
    assert world.key() == "there is no Secret release", "asked, and answered before the policies are in force"
    await world.apply(secret(cosign_pub=key_of("p256").public_pem))
    await world.until(lambda said: said == P256)
    assert [state.describe(NOW) for state in world.source.states] == [
        f"{P256}, sha256:{world.source.current.key_of(RELEASE).fingerprint}, read 0 s ago"
    ]
    await world.apply(secret(cosign_pub=key_of("p384").public_pem))
    await world.until(lambda said: said == P384)
    await world.apply(secret(cosign_pub="hunter2"))
    said = await world.until(lambda said: "PEM" in said)
    assert "hunter2" not in said
    await world.apply(secret(cosign_pub=key_of("p256").private_pem))
    await world.until(lambda said: "this is a private key" in said)
    await world.apply(secret(cosign_pub=key_of("p256").public_pem))
    await world.until(lambda said: said == P256)
    await world.apply(secret(other=key_of("p256").public_pem))
    await world.until(lambda said: said == "the Secret release has no key cosign.pub, or not as text")
    await world.apply(secret(cosign_pub=key_of("p256").public_pem))
    await world.until(lambda said: said == P256)
    await world.kubectl("delete", "secret", "release")
    await world.until(lambda said: said == "there is no Secret release")
    assert [state.describe(NOW) for state in world.source.states] == ["not at hand; there is no Secret release"]
    await world.apply(secret(cosign_pub=key_of("p384").public_pem))
    await world.until(lambda said: said == P384)


async def test_what_is_named_is_at_hand_when_use_returns(world: World) -> None:
    await world.apply(
        secret(cosign_pub=key_of("p256").public_pem, other=key_of("p384").public_pem),
        secret("pipeline", cosign_pub="A" * LARGEST),
        config_map(text=mirror.packaged_document().decode(), **{"ca.crt": CA_PEM}),
    )
    await world.use(RELEASE, PIPELINE, ROOT, STORE)
    trust = world.source.current
    assert world.key() == P256
    assert world.key(PIPELINE) == f"key cosign.pub of the Secret pipeline: {LARGEST} bytes, at most 65536 are read"
    source = RootSource("own", RootKind.OBJECT, str(ROOT), place=ROOT)
    assert trust.root_of(source) == root.parse(mirror.packaged_document())
    assert len(trust.store_of(TrustStore("acme", StoreKind.CA, (), STORE)).certificates) == 1
    other = StoredKey(in_secret(key="other"))
    await world.use(RELEASE, other)
    assert (world.key(), world.key(other)) == (P256, P384), "another key of an object that is watched already"
    assert [state.place for state in world.source.states] == [RELEASE, other]


async def test_what_no_policy_names_any_more_stays_for_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.apply(secret(cosign_pub=key_of("p256").public_pem))
    await world.use(RELEASE)
    await world.use()
    assert (world.key(), world.source.states) == (P256, ())
    await world.use(RELEASE)
    monkeypatch.setattr(objects, "LEFT_SECONDS", 0.0)
    await world.use()
    await world.until(lambda said: said == "it is in the Secret release, which only a server in its cluster reads")


async def test_secrets_that_the_operator_does_not_list_are_not_read(world: World) -> None:
    ours = StoredKey(in_secret("countersign-ca", "ca.crt"))
    await world.apply(secret("countersign-ca", ca_crt=key_of("p256").public_pem))
    await world.use(ours)
    refused = "the webhook may not read the Secret countersign-ca: list it in the chart's value trustSecrets"
    assert world.key(ours) == refused
    asked = [event["requestURI"] for event in world.server.audit() if world.namespace in event["requestURI"]]
    assert not [uri for uri in asked if "name%3Dcountersign-ca" in uri or "name=countersign-ca" in uri]


def role(namespace: str, *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the chart gives the webhook: single Secrets by their names."""
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": list(names), "verbs": ["list", "watch"]}
    group, metadata = "rbac.authorization.k8s.io", {"name": "trust", "namespace": namespace}
    return (
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "trust"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "webhook"}],
        },
    )


async def test_rights_by_names_suffice_and_no_other_secret_is_read(api_server: Server, namespace: str) -> None:
    pem = key_of("p256").public_pem
    async with opened(api_server, namespace, "webhook") as world:
        await world.apply(*role(namespace, "release"), secret(cosign_pub=pem), secret("pipeline", cosign_pub=pem))
        await world.use(RELEASE, PIPELINE, ROOT)
        assert world.key() == P256
        remedy = "list it in the chart's value trustSecrets"
        assert world.key(PIPELINE) == f"the webhook may not read the Secret pipeline: {remedy}"
        assert world.source.current.problems == {str(ROOT): "the webhook may not read the ConfigMap corp"}
        await world.apply(*role(namespace, "release", "pipeline"))
        await world.until(lambda said: said == P256, PIPELINE)


async def test_rights_that_are_taken_away_end_a_key(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhook.kube.watching.SHORTEST_WATCH", 1)
    monkeypatch.setattr("webhook.kube.watching.LONGEST_WATCH", 1)
    with Server(tmp_path / "server", tools, *USERS) as server:
        namespace = server.namespace("countersign")
        async with opened(server, namespace, "webhook") as world:
            await world.apply(*role(namespace, "release"), secret(cosign_pub=key_of("p256").public_pem))
            await world.use(RELEASE)
            await world.until(lambda said: said == P256)
            await world.kubectl("delete", "rolebinding", "trust")
            await world.until(lambda said: "may not read the Secret release" in said)
            await world.apply(secret(cosign_pub=key_of("p384").public_pem))
            await world.apply(*role(namespace, "release"))
            assert await world.until(lambda said: said.startswith("ECDSA")) == P384, "what was before is not back"


async def test_while_the_api_server_is_away_what_was_read_stays_and_then_goes(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="webhook.trust.objects")
    with Server(tmp_path / "server", tools) as server:
        async with opened(server, server.namespace("countersign")) as world:
            await world.apply(secret(cosign_pub=key_of("p256").public_pem))
            await world.use(RELEASE)
            await asyncio.to_thread(server.stop)
            async with asyncio.timeout(20):
                while not world.source.states[0].problem:
                    await asyncio.sleep(0.02)
            assert world.key() == P256
            assert "read 0 s ago; the Secret release cannot be watched: " in world.source.states[0].describe(NOW)
            monkeypatch.setattr(objects, "FIRST_SECONDS", 0.1)
            await world.use(RELEASE, PIPELINE)
            assert world.key() == P256
            assert world.key(PIPELINE).startswith("the Secret pipeline was not read yet")
            monkeypatch.setattr(objects, "STALE_SECONDS", 1.0)
            said = await world.until(lambda said: said != P256)
            assert said.endswith("what was read last is too old by now")
            monkeypatch.undo()
            await asyncio.to_thread(server.start)
            await world.until(lambda said: said == P256)
    assert "secret release/cosign.pub: at hand: ECDSA P-256" in caplog.text
    assert "BEGIN" not in caplog.text


async def test_nobody_waits_for_ever_for_an_api_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api_server: Server
) -> None:
    monkeypatch.setattr(objects, "FIRST_SECONDS", 0.3)
    nowhere = api_server.kubeconfig().read_text().replace(f":{api_server.port}", ":1")
    (tmp_path / "kubeconfig").write_text(nowhere)
    kube = await client.by_kubeconfig(tmp_path / "kubeconfig", namespace="countersign")
    source = ObjectSource(kube, settings.Cluster(namespace="countersign", trust_secrets=SECRETS))
    task = asyncio.create_task(source.run())
    await asyncio.to_thread(source.use, [RELEASE])
    assert "the Secret release was not read yet" in source.current.key_problems[RELEASE]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(source.use, [PIPELINE])  # nor when nobody watches any more
    assert PIPELINE in source.current.key_problems
    await kube.close()


async def test_more_objects_than_are_watched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "OBJECTS_MAX", 2)
    monkeypatch.setattr(objects, "PLACES_MAX", 4)
    places = [StoredKey(in_secret(f"s{number}")) for number in range(6)]
    for number in range(6):
        await world.apply(secret(f"s{number}", cosign_pub=key_of("p256").public_pem))
    await world.use(*places)
    assert [world.key(place) for place in places[:2]] == [P256] * 2
    assert {world.key(place) for place in places[2:]} == {
        "more than 2 objects, or 4 keys in them, are named, and this one is not read"
    }
    await world.use(places[5])
    assert world.key(places[5]) == P256
