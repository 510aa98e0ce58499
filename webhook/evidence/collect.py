"""Finds and downloads what is attached to a digest, bounded in count and bytes, and hands it over as it arrives.

Three places may hold evidence: the `.sig` tag, the referrers API and its fallback tag. They are asked in waves: first
the place that last satisfied this repository, or, where nothing is known of it, all at once; then those not yet asked.
What was learned changes only that order: a collection that was read to its end has asked every place. When a reader has
enough, requests in flight are left to end by themselves, since cancelling one throws its connection away; no further
one is sent. Nothing found here is believed: whether a manifest's layers are what they say is for `cosign` to judge.

spec: OCI distribution 1.1, referrers and referrers tag schema; cosign signature and bundle specifications.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence

from webhook import settings
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError
from webhook.evidence.model import (
    BUNDLE_PREFIX,
    IN_TOTO,
    SIGN_PREDICATE,
    SIMPLE_SIGNING,
    Asked,
    Evidence,
    Form,
    Outcome,
    Place,
    failed,
)
from webhook.oci.manifest import Descriptor, Index, Manifest
from webhook.oci.reference import Digest, Repository
from webhook.oci.registry import Registry

COSIGN_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
PREDICATE_ANNOTATION = "dev.sigstore.bundle.predicateType"
CANDIDATE_TYPES = (BUNDLE_PREFIX, COSIGN_ARTIFACT, IN_TOTO)
# Registries that list the config's media type, or nothing, where the artifact type belongs.
UNTOLD_TYPES = (None, "", "application/vnd.oci.empty.v1+json", "application/vnd.oci.image.config.v1+json")

NONE, UNSUPPORTED = "none", "not supported"
log = logging.getLogger(__name__)
Stages = Callable[[str, float], None]  # stage, seconds


class Collector:
    """Opens collections; remembers, bounded, which place last satisfied a repository."""

    def __init__(self, *, registry: Registry, limits: settings.Evidence, observe: Stages) -> None:
        self.registry, self.limits, self.observe = registry, limits, observe
        # By hash: a collision between two repositories only changes the order in which one of them is asked.
        self._hints: dict[int, Place] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def open(self, repository: Repository, digest: Digest) -> Collection:
        """A collection of what is attached to `digest`; nothing is asked before its first `next`."""
        return Collection(self, repository, digest, self._waves(repository))

    def remember(self, repository: Repository, place: Place) -> None:
        """`place` will be asked alone, and first, when this repository is asked again."""
        key = hash(repository)
        self._hints.pop(key, None)
        self._hints[key] = place
        if len(self._hints) > self.limits.hints_max:
            del self._hints[next(iter(self._hints))]

    async def close(self) -> None:
        """No request is in flight."""
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _waves(self, repository: Repository) -> list[tuple[Place, ...]]:
        first = self._hints.get(hash(repository))
        waves: list[tuple[Place, ...]] = [(first,)] if first else []
        rest = tuple(place for place in Place if place is not first)
        if Place.REFERRERS in rest and self.registry.lacks_referrers(repository.host):
            waves.append(tuple(place for place in rest if place is not Place.REFERRERS))
            rest = (Place.REFERRERS,)
        waves.append(rest)
        return waves


class Collection:
    """What is attached to one digest: evidence, and outcomes for what could not become evidence.

    `asked` grows as places answer.
    """

    def __init__(
        self, collector: Collector, repository: Repository, digest: Digest, waves: Sequence[tuple[Place, ...]]
    ) -> None:
        self.asked: list[Asked] = []
        self._collector, self._registry, self._limits = collector, collector.registry, collector.limits
        self._repository, self._digest = repository, digest
        self._waves = list(waves)
        self._queue: asyncio.Queue[Evidence | Outcome | None] = asyncio.Queue()  # `None`: a place is done
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = 0  # places of this wave that are not done
        self._parallel = asyncio.Semaphore(self._limits.parallel)
        self._seen: set[Digest] = set()  # manifests, whichever place listed them first
        self._bytes = 0
        self._over = False

    async def next(self) -> Evidence | Outcome | None:
        """The next find, as it arrives; `None` when every place was asked and all it held was handed over."""
        while True:
            if not self._pending:
                if not self._waves:
                    return None
                self._start(self._waves.pop(0))
            item = await self._queue.get()
            if item is not None:
                return item
            self._pending -= 1

    def stop(self) -> None:
        """No further request is sent; those in flight end by themselves."""
        self._over = True

    def cancel_unless_stopped(self) -> None:
        """Whoever reads gave up before the end, for a deadline say: requests in flight are cancelled."""
        if self._over:
            return
        self._over = True
        for task in tuple(self._tasks):
            task.cancel()

    def _start(self, wave: tuple[Place, ...]) -> None:
        self._pending = len(wave)
        for place in wave:
            self._spawn(self._ask(place))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        for owner in (self._tasks, self._collector.tasks):
            owner.add(task)
            task.add_done_callback(owner.discard)
        return task

    async def _ask(self, place: Place) -> None:
        started = time.perf_counter()
        try:
            match place:
                case Place.SIGNATURE_TAG:
                    await self._ask_signature_tag(started)
                case Place.REFERRERS:
                    await self._ask_referrers(started)
                case Place.FALLBACK_TAG:
                    await self._ask_fallback_tag(started)
        except CountersignError as error:
            self._fail(place, error)
            self.asked.append(Asked(place, 0, error.code))
        except Exception:
            log.exception("asking %s of %s failed", place, self._repository)
            self._fail(place, InconclusiveError(Code.INTERNAL_ERROR, f"asking the {place} failed; the log says why"))
            self.asked.append(Asked(place, 0, Code.INTERNAL_ERROR))
        finally:
            self._queue.put_nowait(None)

    async def _ask_signature_tag(self, started: float) -> None:
        place = Place.SIGNATURE_TAG
        if self._digest.algorithm != "sha256":  # a tag has at most 128 characters: cosign cannot make this one
            self._answer(place, 0, started, supported=False)
            return
        found = await self._registry.fetch_manifest(self._repository, f"{_stem(self._digest)}.sig")
        if isinstance(found, Index):
            raise MalformedError(Code.MALFORMED, "the .sig tag holds an index where a manifest belongs")
        layers = _legacy_layers(found) if found else []
        self._answer(place, len(layers), started)
        if found and layers:
            await self._fetch_layers(place, found, self._first(place, layers, "signatures in the .sig tag"))

    async def _ask_referrers(self, started: float) -> None:
        place = Place.REFERRERS
        found = await self._registry.fetch_referrers(self._repository, self._digest)
        listed = _candidates(found.manifests)
        self._answer(place, len(listed), started, supported=found.supported)
        if found.truncated:
            self._limit(place, "the list of referrers goes on beyond the limit, and its rest was not read")
        await self._fetch_listed(place, listed)

    async def _ask_fallback_tag(self, started: float) -> None:
        place = Place.FALLBACK_TAG
        found = await self._registry.fetch_manifest(self._repository, _stem(self._digest))
        if isinstance(found, Manifest):
            raise MalformedError(Code.MALFORMED, "the referrers tag holds a manifest where an index belongs")
        listed = _candidates(found.manifests) if found else []
        self._answer(place, len(listed), started)
        await self._fetch_listed(place, listed)

    def _answer(self, place: Place, candidates: int, started: float, *, supported: bool = True) -> None:
        self._collector.observe("discover", time.perf_counter() - started)
        answer = f"{candidates} found" if candidates else NONE if supported else UNSUPPORTED
        self.asked.append(Asked(place, candidates, answer))

    def _first(self, place: Place, found: list[Descriptor], what: str, limit: int | None = None) -> list[Descriptor]:
        limit = self._limits.candidates_max if limit is None else limit
        if len(found) > limit:
            self._limit(place, f"{len(found)} {what}, of which {limit} were examined")
        return found[:limit]

    async def _fetch_listed(self, place: Place, listed: list[Descriptor]) -> None:
        fresh = [descriptor for descriptor in listed if descriptor.digest not in self._seen]
        chosen = self._first(place, fresh, "candidates listed as referrers")
        self._seen.update(descriptor.digest for descriptor in chosen)
        # Each has the same share, so that none that was made to be costly hides another.
        share = self._limits.candidates_max // max(1, len(chosen))
        await self._each(self._fetch_candidate(place, descriptor, share) for descriptor in chosen)

    async def _fetch_candidate(self, place: Place, descriptor: Descriptor, share: int) -> None:
        try:
            self._spend(descriptor.size)
            async with self._parallel:
                if self._over:
                    return
                manifest = await self._registry.fetch_manifest(self._repository, descriptor.digest)
            match manifest:
                case None:
                    raise MalformedError(Code.MALFORMED, f"{descriptor.digest} is listed as referrer but missing")
                case Index():
                    raise MalformedError(Code.MALFORMED, f"the referrer {descriptor.digest} is an index")
            layers = self._layers_of_referrer(manifest)
            await self._fetch_layers(place, manifest, self._first(place, layers, "signatures in one referrer", share))
        except CountersignError as error:
            self._fail(place, error)

    def _layers_of_referrer(self, manifest: Manifest) -> list[Descriptor]:
        # A listing is only the registry's claim: the manifest itself must name its subject.
        if manifest.subject is None or manifest.subject.digest != self._digest:
            named = manifest.subject.digest if manifest.subject else "nothing"
            raise MalformedError(Code.MALFORMED, f"the referrer {manifest.digest} names {named} as its subject")
        bundles = [layer for layer in manifest.layers if layer.media_type.startswith(BUNDLE_PREFIX)]
        if not bundles:
            return _legacy_layers(manifest)
        if len(manifest.layers) != 1:
            raise MalformedError(
                Code.MALFORMED, f"the bundle manifest {manifest.digest} has {len(manifest.layers)} layers, one expected"
            )
        return bundles

    async def _fetch_layers(self, place: Place, manifest: Manifest, layers: Iterable[Descriptor]) -> None:
        by_content: dict[Digest, list[Descriptor]] = {}  # several signers may have signed one payload
        for layer in layers:
            by_content.setdefault(layer.digest, []).append(layer)
        await self._each(self._fetch_payload(place, manifest, same) for same in by_content.values())

    async def _fetch_payload(self, place: Place, manifest: Manifest, layers: Sequence[Descriptor]) -> None:
        layer = layers[0]
        form = Form.BUNDLE if layer.media_type.startswith(BUNDLE_PREFIX) else Form.LEGACY
        limits = self._limits
        try:
            self._spend(layer.size)
            async with self._parallel:
                if self._over:
                    return
                started = time.perf_counter()
                payload = await self._registry.fetch_blob(
                    self._repository,
                    layer,
                    max_bytes=limits.bundle_max_bytes if form is Form.BUNDLE else limits.payload_max_bytes,
                )
                self._collector.observe("fetch", time.perf_counter() - started)
        except CountersignError as error:
            self._fail(place, error)
            return
        for same in layers:
            self._queue.put_nowait(
                Evidence(
                    form=form,
                    subject=self._digest,
                    place=place,
                    manifest=manifest.digest,
                    layer=same.digest,
                    media_type=same.media_type,
                    annotations=same.annotations,
                    payload=payload,
                )
            )

    async def _each(self, work: Iterable[Coroutine[None, None, None]]) -> None:
        todo = list(work)
        if len(todo) == 1:  # the usual case needs no task
            await todo[0]
        elif todo:
            await asyncio.gather(*map(self._spawn, todo))

    def _spend(self, size: int) -> None:
        size = min(size, self._limits.bundle_max_bytes)  # more is read of nothing, whatever a descriptor claims
        if self._bytes + size > self._limits.image_max_bytes:
            raise MalformedError(
                Code.LIMIT_EXCEEDED, f"more than {self._limits.image_max_bytes} bytes of evidence for one image"
            )
        self._bytes += size

    def _limit(self, place: Place, detail: str) -> None:
        self._fail(place, MalformedError(Code.LIMIT_EXCEEDED, detail))

    def _fail(self, place: Place, error: CountersignError) -> None:
        self._queue.put_nowait(failed(error, place=place))


def _stem(digest: Digest) -> str:
    # OCI distribution 1.1, referrers tag schema: at most 32 characters of algorithm and 64 of hex.
    return f"{digest.algorithm}-{digest.hex[:64]}"


def _legacy_layers(manifest: Manifest) -> list[Descriptor]:
    return [layer for layer in manifest.layers if layer.media_type == SIMPLE_SIGNING]


def _candidates(listed: Sequence[Descriptor]) -> list[Descriptor]:
    """What may be a signature, the likeliest first; a type that is another artifact's is the one reason to discard."""
    told = [d for d in listed if (d.artifact_type or "").startswith(CANDIDATE_TYPES)]
    untold = [d for d in listed if d.artifact_type in UNTOLD_TYPES]
    return sorted(told, key=_says_attestation) + untold


def _says_attestation(descriptor: Descriptor) -> bool:
    return descriptor.annotations.get(PREDICATE_ANNOTATION, SIGN_PREDICATE) != SIGN_PREDICATE
