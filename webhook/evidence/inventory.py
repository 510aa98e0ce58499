"""All that is attached to a digest, whatever it is and whoever may want it, for people to look at.

A review asks for what it wants and believes nothing; this looks into every place, at every type, one step further: what
is attached to an attachment. Nothing here is verified, and nothing of it must ever decide anything. What could not be
had is said where it would have stood, and never takes the rest along. Bounded like a review in count and bytes.

spec: OCI distribution 1.1, referrers and referrers tag schema; cosign signature, attestation and bundle specifications.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from webhook import settings
from webhook.errors import Code, CountersignError, MalformedError, RejectedError, quote
from webhook.evidence import places
from webhook.evidence.model import Form, Place
from webhook.oci.manifest import Descriptor, Index, Manifest
from webhook.oci.reference import Digest, Repository
from webhook.oci.registry import Registry

T = TypeVar("T")
PEEK_MAX_BYTES = settings.MIB  # of one bundle or envelope: what it says of itself is worth no more
NESTED_MAX = 8  # looked at of what is attached to one attachment
BUILDKIT_TYPE = "vnd.docker.reference.type"
BUILDKIT_ATTESTATION = "attestation-manifest"


class Shelf(StrEnum):
    """Where something may be attached."""

    PLATFORMS = "platforms"  # what an index lists
    SIGNATURE_TAG = "signature_tag"
    ATTESTATION_TAG = "attestation_tag"
    SBOM_TAG = "sbom_tag"  # `sha256-<hex>.sbom`, from cosign 1: nobody signed it
    REFERRERS = "referrers"
    FALLBACK_TAG = "fallback_tag"


_OPENED = (Form.BUNDLE, Form.NOTATION)
SUFFIXES = {Shelf.SIGNATURE_TAG: ".sig", Shelf.ATTESTATION_TAG: ".att", Shelf.SBOM_TAG: ".sbom"}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing: how it is listed, its manifest where it has one of its own, and what of its content was looked at.

    `nested` are its layers where they are things of their own, and what is attached to it, of which `missing` were not
    looked at. `problem` says why less is known of it than could be.
    """

    listed: Descriptor
    manifest: Manifest | None = None
    payload: bytes | None = None  # of a bundle, or an envelope of the Notary Project, that is small enough
    nested: tuple[Item, ...] = ()
    missing: int = 0
    problem: CountersignError | None = None

    @property
    def size(self) -> int:
        """Of its content, as far as is known."""
        return self.listed.size if self.manifest is None else sum(layer.size for layer in self.manifest.layers)


@dataclass(frozen=True, slots=True)
class Found:
    """One place, and what is there; `missing` counts what was not looked at, for a limit."""

    shelf: Shelf
    items: tuple[Item, ...] = ()
    missing: int = 0
    supported: bool = True
    problem: CountersignError | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    digest: Digest
    image: Manifest | Index
    found: tuple[Found, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every place answered."""
        return all(found.problem is None for found in self.found)


async def take(registry: Registry, limits: settings.Evidence, repository: Repository, digest: Digest) -> Inventory:
    """What is attached to `digest` now.

    Raises: CountersignError, where the image itself could not be had.
    """
    image = await registry.fetch_manifest(repository, digest)
    if image is None:
        raise RejectedError(Code.IMAGE_NOT_FOUND, f"{quote(str(repository))} has no {digest}")
    return await _Stocktaking(registry, limits, repository).take(digest, image)


class _Stocktaking:
    def __init__(self, registry: Registry, limits: settings.Evidence, repository: Repository) -> None:
        self._registry, self._limits, self._repository = registry, limits, repository
        self._parallel = asyncio.Semaphore(limits.parallel)
        self._bytes = 0

    async def take(self, digest: Digest, image: Manifest | Index) -> Inventory:
        platforms, tags, attached = await asyncio.gather(
            self._platforms(image.manifests if isinstance(image, Index) else ()),
            asyncio.gather(*(self._tag(shelf, digest) for shelf in SUFFIXES)),
            self._attached(digest),
        )
        return Inventory(digest, image, (platforms, *tags, *attached))

    async def _platforms(self, listed: Sequence[Descriptor]) -> Found:
        items, missing = self._items(listed)
        return Found(Shelf.PLATFORMS, tuple(await asyncio.gather(*map(self._platform, items))), missing)

    async def _platform(self, item: Item) -> Item:
        if item.listed.annotations.get(BUILDKIT_TYPE) != BUILDKIT_ATTESTATION:
            return item
        try:
            manifest = await self._manifest(item.listed)
        except CountersignError as error:
            return replace(item, problem=error)
        layers, missing = self._items(manifest.layers)
        return replace(item, manifest=manifest, nested=layers, missing=missing)

    async def _tag(self, shelf: Shelf, digest: Digest) -> Found:
        if digest.algorithm != "sha256":  # a tag has at most 128 characters: cosign cannot make this one
            return Found(shelf, supported=False)
        try:
            name = f"{digest.algorithm}-{digest.hex}{SUFFIXES[shelf]}"
            manifest = await self._bounded(self._registry.fetch_manifest(self._repository, name))
            if isinstance(manifest, Index):
                raise MalformedError(Code.MALFORMED, "an index, where a manifest belongs")
        except CountersignError as error:
            return Found(shelf, problem=error)
        return Found(shelf, *self._items(manifest.layers if manifest else ()))

    async def _attached(self, digest: Digest) -> tuple[Found, Found]:
        """What the referrers API and its fallback tag list; what both list stands with the first."""
        by_api, by_tag = await self._listings(digest)
        known = {item.listed.digest for item in by_api.items}
        by_tag = replace(by_tag, items=tuple(item for item in by_tag.items if item.listed.digest not in known))
        return await asyncio.gather(self._looked_at(by_api, digest), self._looked_at(by_tag, digest))

    async def _listings(self, digest: Digest) -> tuple[Found, Found]:
        return await asyncio.gather(self._referrers(digest), self._fallback(digest))

    async def _referrers(self, digest: Digest) -> Found:
        try:
            listing = await self._bounded(self._registry.fetch_referrers(self._repository, digest))
        except CountersignError as error:
            return Found(Shelf.REFERRERS, problem=error)
        items, missing = self._items(listing.manifests)
        return Found(Shelf.REFERRERS, items, missing + listing.truncated, listing.supported)

    async def _fallback(self, digest: Digest) -> Found:
        try:
            name = str(places.tag(Place.FALLBACK_TAG, digest))
            index = await self._bounded(self._registry.fetch_manifest(self._repository, name))
            if isinstance(index, Manifest):
                raise MalformedError(Code.MALFORMED, "a manifest, where an index belongs")
        except CountersignError as error:
            return Found(Shelf.FALLBACK_TAG, problem=error)
        return Found(Shelf.FALLBACK_TAG, *self._items(index.manifests if index else ()))

    async def _looked_at(self, found: Found, subject: Digest) -> Found:
        items = await asyncio.gather(*(self._with_nested(item, subject) for item in found.items))
        return replace(found, items=tuple(items))

    async def _with_nested(self, item: Item, subject: Digest) -> Item:
        """`item`, and what is attached to it: one level, since whoever may push can make it go on for ever."""
        digest = item.listed.digest
        item, listings = await asyncio.gather(self._looked_into(item, subject), self._listings(digest))
        listed = {each.listed.digest: each for found in listings for each in found.items}
        chosen = list(listed.values())[:NESTED_MAX]
        nested = await asyncio.gather(*(self._looked_into(each, digest) for each in chosen))
        return replace(
            item,
            nested=(*item.nested, *nested),
            missing=item.missing + len(listed) - len(chosen) + sum(found.missing for found in listings),
            problem=item.problem or next((found.problem for found in listings if found.problem), None),
        )

    async def _looked_into(self, item: Item, subject: Digest) -> Item:
        """`item` with its manifest, the bundle or envelope in it, and its layers that are things of their own."""
        try:
            manifest = await self._manifest(item.listed)
            item = replace(item, manifest=manifest)
            if manifest.subject is None or manifest.subject.digest != subject:
                raise MalformedError(Code.MALFORMED, "its manifest does not name as subject what it is listed for")
            payload = await self._peek(manifest)
        except CountersignError as error:
            return replace(item, problem=error)
        layers, missing = self._items(
            [layer for layer in manifest.layers if places.form_of(layer) in (Form.LEGACY, Form.DSSE)]
        )
        return replace(item, payload=payload, nested=layers, missing=missing)

    def _items(self, listed: Sequence[Descriptor]) -> tuple[tuple[Item, ...], int]:
        """As many as are looked at, and the number of the others."""
        chosen = listed[: self._limits.candidates_max]
        return tuple(map(Item, chosen)), len(listed) - len(chosen)

    async def _manifest(self, listed: Descriptor) -> Manifest:
        found = await self._bounded(self._registry.fetch_listed(self._repository, listed))
        if isinstance(found, Index):
            raise MalformedError(Code.MALFORMED, "an index, where a manifest belongs")
        return found

    async def _peek(self, manifest: Manifest) -> bytes | None:
        layer = next(iter(manifest.layers), None)
        if layer is None or places.form_of(layer) not in _OPENED or layer.size > PEEK_MAX_BYTES:
            return None
        if self._bytes + layer.size > self._limits.image_max_bytes:
            return None
        self._bytes += layer.size
        return await self._bounded(self._registry.fetch_blob(self._repository, layer, max_bytes=PEEK_MAX_BYTES))

    async def _bounded(self, request: Awaitable[T]) -> T:
        async with self._parallel:
            return await request
