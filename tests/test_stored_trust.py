"""Images judged by keys, certificates and trust roots in objects of a cluster: admitted, and denied when they are gone.

From policy to decision, with a real API server and a registry in memory; what is costly is judged in workers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from tests.bad_input import envelopes
from tests.conftest import API_SERVER
from tests.doubles import verifying
from tests.doubles.verifying import NOW, PIPELINE, RELEASE, TRUST, Cluster, told, trusted
from tests.kube.apiserver import Server
from tests.private_sigstore import documents, images
from tests.private_sigstore.asked import OURS
from tests.trust import stored
from tests.trust.stored import World, config_map, secret
from webhook import settings
from webhook.errors import Code
from webhook.policy import decide, document, places
from webhook.policy.decision import Result
from webhook.settings import NoMatch
from webhook.workers import Workers

pytestmark = pytest.mark.tools(*API_SERVER)

_numbers = itertools.count(1)
VERIFIED, DENIED, UNAVAILABLE = (
    (Result.VERIFIED, None),
    (Result.DENIED, Code.SIGNATURE_INVALID),
    (Result.ERROR, Code.TRUST_UNAVAILABLE),
)
IN_SECRET = {"name": "release", "secret": {"name": "release"}}


@dataclass
class Site:
    """A cluster whose policies name objects of a namespace."""

    cluster: Cluster
    world: World

    async def policy(self, **spec: object) -> None:
        """The one policy, which is in force."""
        head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "production"}}
        policy: dict[str, object] = {**head, "spec": {"mode": "enforce", **spec}}
        self.cluster.policies[:] = [policy]
        (parsed,) = document.parse(yaml.safe_dump(policy).encode(), origin="p", now=NOW)
        await self.world.use(*places.named(parsed.signers))

    async def judge(self, tag: str) -> tuple[Result, Code | None]:
        return told(await self.cluster.verify(f":{tag}"))

    async def until(self, tag: str, expected: tuple[Result, Code | None]) -> str:
        """The message of the first decision that is so."""
        async with asyncio.timeout(20):
            while told(found := await self.cluster.verify(f":{tag}")) != expected:
                await asyncio.sleep(0.01)
        if expected == UNAVAILABLE:
            assert decide.image_status(found) == 503
        return found.detail

    async def gone(self, kind: str, name: str) -> None:
        await self.world.kubectl("delete", kind, name)


@pytest.fixture
async def site(api_server: Server) -> AsyncIterator[Site]:
    namespace = api_server.namespace(f"stored-{next(_numbers)}")
    workers = Workers(settings.Verification(time_limit=60.0))
    async with (
        stored.opened(api_server, namespace) as world,
        verifying.opened(NoMatch.ALLOW, cache=settings.Cache()) as cluster,
    ):
        cluster.verifier.trust = lambda: TRUST | world.source.current
        cluster.verifier.means.judge = workers.judge
        try:
            yield Site(cluster, world)
        finally:
            await workers.close()


@pytest.mark.parametrize("signer", [RELEASE, PIPELINE], ids=["judged here", "judged in a worker"])
async def test_a_key_in_a_secret(site: Site, signer: Any) -> None:
    by_key, by_other = site.cluster.image("one", tag="good"), site.cluster.image("two", tag="other")
    site.cluster.sign(by_key, signer)
    site.cluster.sign(by_other, verifying.STRANGER)
    await site.world.apply(secret(cosign_pub=signer.public_pem))
    await site.policy(trustedKeys=[IN_SECRET])
    assert await site.judge("good") == VERIFIED
    assert await site.judge("other") == DENIED
    await site.gone("secret", "release")
    said = await site.until("good", UNAVAILABLE)
    assert "there is no Secret release" in said
    assert await site.judge("other") == UNAVAILABLE
    await site.world.apply(secret(cosign_pub=verifying.STRANGER.public_pem))
    await site.until("other", VERIFIED)
    assert await site.judge("good") == DENIED


async def test_the_policy_stays_when_a_signer_ends(site: Site) -> None:
    by_inline = site.cluster.image("one", tag="inline")
    site.cluster.sign(by_inline, PIPELINE)
    await site.policy(trustedKeys=[IN_SECRET, trusted("pipeline", PIPELINE)])
    assert await site.judge("inline") == VERIFIED
    await site.policy(mode="warn", trustedKeys=[IN_SECRET])
    found = await site.cluster.verify(":inline")
    assert told(found) == (Result.WARNED, Code.TRUST_UNAVAILABLE)


async def test_one_key_in_two_secrets_is_one_material(site: Site) -> None:
    image = site.cluster.image("one", tag="image")
    site.cluster.sign(image, RELEASE)
    again = {"name": "again", "secret": {"name": "pipeline"}}
    both: dict[str, Any] = {
        "trustedKeys": [IN_SECRET, again],
        "rules": [{"images": ["**"], "require": 2}],
    }
    pem = RELEASE.public_pem
    await site.world.apply(secret(cosign_pub=pem), secret("pipeline", cosign_pub=pem))
    await site.policy(**both)
    assert await site.judge("image") == (Result.DENIED, Code.NOT_ENOUGH_SIGNERS)
    site.cluster.sign(image, RELEASE, PIPELINE)
    assert await site.judge("image") == (Result.DENIED, Code.NOT_ENOUGH_SIGNERS), "another key, that nobody trusts"
    await site.world.apply(secret("pipeline", cosign_pub=PIPELINE.public_pem))
    await site.until("image", VERIFIED)
    inline = {"trustedKeys": [IN_SECRET, trusted("inline", RELEASE)]}
    site.cluster.sign(image, RELEASE)
    await site.policy(**{**both, **inline})
    assert await site.judge("image") == (Result.DENIED, Code.NOT_ENOUGH_SIGNERS), "nor in a Secret and in the policy"


async def test_a_key_that_is_blocked_is_blocked_wherever_it_stands(site: Site) -> None:
    site.cluster.sign(site.cluster.image("one", tag="image"), RELEASE)
    await site.world.apply(secret(cosign_pub=RELEASE.public_pem))
    await site.policy(trustedKeys=[IN_SECRET])
    assert await site.judge("image") == VERIFIED
    key = site.world.source.current.key_of(stored.RELEASE)
    await site.policy(trustedKeys=[IN_SECRET], deny=[{"keyFingerprint": key.fingerprint, "reason": "stolen"}])
    assert await site.judge("image") == (Result.DENIED, Code.BLOCKED)


CERTIFICATES = {"ca.crt": documents.pem(envelopes.ROOT.certificate)}
STRANGERS = {"ca.crt": documents.pem(envelopes.STRANGER.chain[-1])}
STORED = {"configMap": {"name": "corp", "key": "ca.crt"}}


def by_stored(level: str = "strict", **clock: object) -> dict[str, object]:
    """A rule about certificates whose store is a ConfigMap's; nobody is asked about revocation."""
    override = {"revocation": "skip"} if level == "strict" else None
    rule = {"name": "acme", "trustStore": "acme", "subjects": [envelopes.SUBJECT], "level": level, **clock}
    written = {**rule, **({"override": override} if override else {})}
    return {"certificates": [written], "trustStores": [{"name": "acme", "type": "ca", **STORED}]}


async def test_a_store_in_a_config_map(site: Site) -> None:
    envelopes.jws()(site.cluster, site.cluster.image("one", tag="good"))
    envelopes.jws(leaf=envelopes.STRANGER)(site.cluster, site.cluster.image("two", tag="other"))
    await site.world.apply(config_map(**CERTIFICATES))
    await site.policy(**by_stored())
    assert await site.judge("good") == VERIFIED
    assert await site.judge("other") == (Result.DENIED, Code.UNTRUSTED_MATERIAL)
    await site.gone("configmap", "corp")
    said = await site.until("good", UNAVAILABLE)
    assert "the trust store acme is not at hand: there is no ConfigMap corp" in said
    await site.world.apply(config_map(**STRANGERS))
    await site.until("other", VERIFIED)
    assert await site.judge("good") == (Result.DENIED, Code.UNTRUSTED_MATERIAL)


async def test_a_store_that_is_gone_admits_nobody_at_any_level(site: Site) -> None:
    envelopes.jws()(site.cluster, site.cluster.image("one", tag="good"))
    await site.policy(**by_stored("audit"))
    assert await site.judge("good") == UNAVAILABLE


async def test_a_clock_that_is_gone_ends_the_rule(site: Site) -> None:
    envelopes.jws()(site.cluster, site.cluster.image("one", tag="good"))
    await site.world.apply(config_map(**CERTIFICATES))
    timestamp = {"trustStore": "clock", "verify": "afterCertExpiry"}
    asked = by_stored(timestamp=timestamp)
    clock = {"name": "clock", "type": "tsa", "configMap": {"name": "clock", "key": "ca.crt"}}
    await site.policy(**{**asked, "trustStores": [{"name": "acme", "type": "ca", **STORED}, clock]})
    assert await site.judge("good") == UNAVAILABLE
    await site.world.apply(config_map("clock", **CERTIFICATES))
    await site.until("good", VERIFIED)


async def test_a_root_in_a_config_map(site: Site) -> None:
    images.bundle()(site.cluster, site.cluster.image("one", tag="good"))
    named = {"name": "private", "configMap": {"name": "corp", "key": "trusted_root.json"}}
    await site.world.apply(config_map(**{"trusted_root.json": OURS.trusted_root().decode()}))
    await site.policy(keyless=[images.DEV], trustRoots=[named])
    assert await site.judge("good") == VERIFIED
    await site.world.apply(config_map(**{"trusted_root.json": "{}"}))
    said = await site.until("good", UNAVAILABLE)
    assert "the trust root private is not at hand: key trusted_root.json of the ConfigMap corp: mediaType" in said


async def test_where_nothing_of_a_cluster_is_read_its_signers_are_not_available(site: Site) -> None:
    site.cluster.sign(site.cluster.image("one", tag="image"), RELEASE)
    await site.world.apply(secret(cosign_pub=RELEASE.public_pem))
    await site.policy(trustedKeys=[IN_SECRET])
    site.cluster.verifier.trust = lambda: replace(TRUST)
    said = await site.until("image", UNAVAILABLE)
    assert "it is in the Secret release, which only a server in its cluster reads" in said
