"""A registry with one image to which things are attached, and a collector that is asked for them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.doubles.registry import HostileRegistry, registry_for, running
from webhook import settings
from webhook.demo import signing
from webhook.demo.content import as_json, descriptor, digest_of
from webhook.demo.registry import OCI_INDEX
from webhook.errors import Code
from webhook.evidence.collect import Collector
from webhook.evidence.model import DSSE_ENVELOPE, Evidence, Outcome, Place, Wants
from webhook.oci import manifest, reference
from webhook.oci.reference import Digest, Repository

KEY, STEADY = signing.new_key(), signing.new_key("ed25519")  # the latter signs one thing in one way
NAME = "team/app"
SLSA, SPDX = "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"
SIGNATURES, PROVENANCE = Wants(), Wants(signatures=False, predicates=frozenset({SLSA}))
BOTH = Wants(signatures=True, predicates=frozenset({SLSA}))
Fields = dict[str, object]


@dataclass
class Shop:
    registry: HostileRegistry
    collector: Collector
    repository: Repository
    digest: Digest
    descriptor: Fields

    def sign(self, *, key: signing.SigningKey = KEY, onto: signing.SignedLegacy | None = None) -> signing.SignedLegacy:
        signed = signing.sign_legacy(key, str(self.digest), NAME, onto=onto)
        self.push(signed.blobs, signed.manifest, tag=signed.tag)
        return signed

    def bundle(self, *, listed_by: Place = Place.REFERRERS) -> signing.SignedBundle:
        signed = signing.sign_bundle(KEY, str(self.digest), self.descriptor)
        self.push(signed.blobs, signed.manifest)
        if listed_by is Place.FALLBACK_TAG:
            self.fallback([dict(signed.descriptor)])
        return signed

    def envelope(self, predicate_type: str = SLSA, *, padding: int = 0) -> bytes:
        """A real envelope of a statement about the image, `padding` bytes larger than need be."""
        return envelope(str(self.digest), predicate_type) + b" " * padding

    def attest(self, *layers: Fields) -> Fields:
        """The `.att` tag holds these layers; returns its manifest."""
        return self.put(layers, f"sha256-{self.digest.hex}.att")

    def refer(self, *layers: Fields, **fields: object) -> Fields:
        """A referrer with these layers; returns how it is listed."""
        pushed = self.put(layers, None, subject=self.descriptor, **fields)
        return {**descriptor(manifest.OCI_MANIFEST, as_json(pushed)), "artifactType": fields.get("artifactType")}

    def attest_bundle(self, predicate_type: str = SLSA, *, hint: str | None = None, **fields: object) -> Fields:
        """A referrer with a bundle; returns how it is listed, with the hint that its annotation gives."""
        bundle = as_json({"dsseEnvelope": json.loads(self.envelope(predicate_type))})
        self.registry.push_blob(NAME, bundle)
        hints = {"dev.sigstore.bundle.predicateType": predicate_type if hint is None else hint}
        listed = self.refer(
            descriptor(signing.BUNDLE, bundle), artifactType=signing.BUNDLE, annotations=hints, **fields
        )
        return {**listed, "annotations": hints}

    def put(self, layers: Sequence[Fields], tag: str | None, **fields: object) -> Fields:
        pushed = {
            "schemaVersion": 2,
            "mediaType": manifest.OCI_MANIFEST,
            "config": descriptor(signing.IMAGE_CONFIG, b"{}"),
            "layers": list(layers),
            **fields,
        }
        self.registry.push_manifest(NAME, as_json(pushed), manifest.OCI_MANIFEST, tag=tag)
        return pushed

    def layer(
        self, content: bytes, *, hint: str | None = SLSA, media_type: str = DSSE_ENVELOPE, inline: bool = False
    ) -> Fields:
        """`content` as a layer: pushed, or inlined."""
        if not inline:
            self.registry.push_blob(NAME, content)
        annotations = {"dev.cosignproject.cosign/signature": ""} | ({"predicateType": hint} if hint is not None else {})
        data = {"data": base64.b64encode(content).decode()} if inline else {}
        return {**descriptor(media_type, content), "annotations": annotations, **data}

    def fallback(self, listed: Iterable[Mapping[str, object]]) -> None:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(listed)}
        self.registry.push_manifest(NAME, as_json(index), OCI_INDEX, tag=f"sha256-{self.digest.hex}")

    def push(self, blobs: Iterable[bytes], data: bytes, *, tag: str | None = None) -> None:
        for blob in blobs:
            self.registry.push_blob(NAME, blob)
        self.registry.push_manifest(NAME, data, manifest.OCI_MANIFEST, tag=tag)

    async def collect(self, wants: Wants = SIGNATURES, *, enough: int = 1000) -> tuple[list[Evidence], list[Outcome]]:
        """What is found, until `enough` pieces of evidence are; and how often the registry was asked, in `requests`."""
        self.registry.requests.clear()
        self.registry.seen.clear()
        evidence: list[Evidence] = []
        outcomes: list[Outcome] = []
        collection = self.collector.open(self.repository, self.digest, wants)
        while (found := await collection.next()) is not None:
            if isinstance(found, Outcome):
                outcomes.append(found)
                continue
            evidence.append(found)
            if len(evidence) == enough:
                self.collector.remember(self.repository, {each.place for each in evidence}, wants)
                break
        collection.stop()
        await self.finish()
        self.asked = {asked.place: asked.answer for asked in collection.asked}
        return evidence, outcomes

    async def finish(self) -> None:
        """No request is in flight."""
        while self.collector.tasks:
            await asyncio.wait(self.collector.tasks)

    @property
    def requests(self) -> int:
        return self.registry.requests.total()


def envelope(digest: str, predicate_type: str) -> bytes:
    return as_json(signing.sign_envelope(STEADY, signing.sign_statement(digest, predicate_type)))


def blob_of(listed: Mapping[str, object]) -> str:
    return f"/blobs/{listed['digest']}"


def codes(outcomes: Iterable[Outcome]) -> list[tuple[Place | None, Code | None]]:
    return [(outcome.place, outcome.code) for outcome in outcomes]


@contextlib.asynccontextmanager
async def opened(*, referrers: bool = True, limits: settings.Evidence | None = None) -> AsyncIterator[Shop]:
    stored = HostileRegistry(referrers=referrers)
    image = as_json({"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "layers": []})
    digest = reference.parse_digest(stored.push_manifest(NAME, image, manifest.OCI_MANIFEST, tag="1"))
    async with running(stored) as host, registry_for(host) as registry:
        collector = Collector(
            registry=registry, limits=limits or settings.Evidence(), observe=lambda stage, seconds: None
        )
        listed = {"mediaType": manifest.OCI_MANIFEST, "size": len(image), "digest": digest_of(image)}
        yield Shop(stored, collector, Repository(host, NAME), digest, listed)
        await collector.close()
