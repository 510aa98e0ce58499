"""A repository into which images and signatures are pushed, and a verifier that judges them by a user's policies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import yaml

from tests.doubles.registry import registry_for, running
from webhook import settings
from webhook.demo import signing
from webhook.demo.registry import MemoryRegistry
from webhook.errors import Code
from webhook.evidence.collect import Collector
from webhook.evidence.settling import AskRevocation
from webhook.oci import manifest
from webhook.oci.authn import PrivateCredentials
from webhook.policy import document
from webhook.policy.decision import ImageDecision, Result
from webhook.policy.model import PolicySet
from webhook.settings import NoMatch
from webhook.trust import sources
from webhook.trust.at_hand import Trust
from webhook.trust.root import PUBLIC_GOOD
from webhook.verification import Pending, Verifier

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RELEASE, PIPELINE, STRANGER = signing.new_key(), signing.new_key("p384"), signing.new_key()
NAME = "pay/api"
TRUST = Trust({PUBLIC_GOOD.key: sources.packaged()})
DEADLINE = 20.0  # seconds; far more than any of this takes


@dataclass
class Shelf:
    """One repository of a registry in memory."""

    host: str
    stored: MemoryRegistry
    name: str = field(default=NAME, kw_only=True)

    def image(self, text: str = "an image", *, tag: str = "1") -> str:
        """Pushes an image of its own; returns its digest."""
        layer = self.stored.push_blob(self.name, text.encode())
        body = json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "annotations": {"layer": layer}})
        return self.stored.push_manifest(self.name, body.encode(), manifest.OCI_MANIFEST, tag=tag)

    def sign(self, digest: str, *keys: signing.SigningKey, subject: str = "") -> None:
        signed = None
        for key in keys:
            signed = signing.sign_legacy(key, subject or digest, self.name, onto=signed)
        assert signed is not None
        self.attach(digest, signed)

    def attach(self, digest: str, signed: signing.SignedLegacy) -> None:
        """`signed` stands where signatures of `digest` are looked for."""
        for blob in signed.blobs:
            self.stored.push_blob(self.name, blob)
        self.stored.push_manifest(self.name, signed.manifest, manifest.OCI_MANIFEST, tag=signature_tag(digest))

    def bundle(self, digest: str, key: signing.SigningKey, *, of: str = "") -> signing.SignedBundle:
        """Signs `of`, or this image, in a referrer of this image."""
        size = len(self.stored.repository(self.name).manifests[digest].data)
        signed = signing.sign_bundle(
            key, of or digest, {"mediaType": manifest.OCI_MANIFEST, "digest": digest, "size": size}
        )
        for blob in signed.blobs:
            self.stored.push_blob(self.name, blob)
        self.stored.push_manifest(self.name, signed.manifest, manifest.OCI_MANIFEST)
        return signed


@dataclass
class Cluster(Shelf):
    """A registry, and a verifier that may dial it."""

    verifier: Verifier
    policies: list[dict[str, object]] = field(default_factory=list)

    def policy(self, name: str = "production", **spec: object) -> None:
        spec = {"mode": "enforce", "trustedKeys": [trusted("release", RELEASE)]} | spec
        self.policies.append(
            {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": name}, "spec": spec}
        )

    async def verify(
        self,
        reference: str,
        *,
        namespace: str = "shop",
        seconds: float = DEADLINE,
        now: datetime = NOW,
        credentials: PrivateCredentials | None = None,
    ) -> ImageDecision:
        """The decision by `policies`; of this repository's image where `reference` is only a tag or digest."""
        text = yaml.safe_dump_all(self.policies).encode()
        parsed = document.parse(text, origin="policies.yaml", now=NOW) if self.policies else ()
        policies = PolicySet(parsed, "revision", "policies.yaml")
        return await self.judge(
            reference, policies, namespace=namespace, seconds=seconds, now=now, credentials=credentials
        )

    async def judge(
        self,
        reference: str,
        policies: PolicySet,
        *,
        namespace: str = "shop",
        seconds: float = DEADLINE,
        now: datetime = NOW,
        credentials: PrivateCredentials | None = None,
    ) -> ImageDecision:
        """The decision by these policies."""
        if not reference.startswith(("registry.", "127.")):
            reference = f"{self.host}/{self.name}{reference}"
        begun = self.verifier.begin(
            reference, paths=(), namespace=namespace, policies=policies, now=now, credentials=credentials
        )
        if isinstance(begun, Pending):
            begun = await self.verifier.finish(begun, deadline=asyncio.get_running_loop().time() + seconds)
        return begun


def trusted(name: str, key: signing.SigningKey) -> dict[str, str]:
    return {"name": name, "publicKey": key.public_pem}


def signature_tag(digest: str) -> str:
    return f"{digest.replace(':', '-')}.sig"


@contextlib.asynccontextmanager
async def opened(
    no_match: NoMatch = NoMatch.DENY,
    *,
    stored: MemoryRegistry | None = None,
    cache: settings.Cache = settings.NOTHING_KEPT,
    revocation: AskRevocation | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Cluster]:
    """`cache` is how long what was found is of use: not at all. `monotonic` is the clock by which it is."""
    stored = stored or MemoryRegistry()
    async with running(stored) as host, registry_for(host) as registry:
        collector = Collector(registry=registry, limits=settings.Evidence(), observe=lambda stage, seconds: None)
        verifier = Verifier(
            registry=registry,
            collector=collector,
            policy=settings.Policy(no_match=no_match),
            observe=lambda stage, seconds: None,
            trust=lambda: TRUST,
            cache=cache,
            revocation=revocation,
            monotonic=monotonic,
        )
        yield Cluster(host, stored, verifier)
        await verifier.close()
        await collector.close()


def told(decision: ImageDecision) -> tuple[Result, Code | None]:
    return decision.result, decision.code
