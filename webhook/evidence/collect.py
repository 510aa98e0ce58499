"""Finds and downloads what is attached to a digest, bounded in count and bytes, and hands it over as it arrives.

Four places may hold evidence: the `.sig` and `.att` tags, the referrers API and its fallback tag. Those that may hold
what is wanted are asked in waves: first the places that last satisfied this repository, or, where nothing is known of
it, all at once; then those not yet asked. What was learned changes only that order: a collection that was read to its
end has asked each of them. When a reader has enough, requests in flight are left to end by themselves, since cancelling
one throws its connection away; no further one is sent. What was fetched and not judged yet is bounded over all
collections, so that many at once do not take more memory than there is; a little of it each may always have. Nothing
found here is believed: what may be wanted is told by `places` from unsigned hints, and whether it is what it says is
for `cosign` to judge.

spec: OCI distribution 1.1, referrers and referrers tag schema; cosign signature, attestation and bundle specifications.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

from webhook import settings
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError
from webhook.evidence import places
from webhook.evidence.model import Asked, Evidence, Form, Outcome, Place, Wants, failed
from webhook.evidence.room import Held, Room
from webhook.oci.manifest import Descriptor, Index, Manifest
from webhook.oci.reference import Digest, Repository
from webhook.oci.registry import Registry
from webhook.settings import MIB

# Held at once by all collections together, and by each besides: 64 images of 64 MiB would be more than a pod has.
PAYLOADS_MAX_BYTES = 128 * MIB
MANIFESTS_MAX_BYTES = 32 * MIB  # of referrers; what is made of one may be six times its size
OWN_MAX_BYTES = MIB  # far more than what signs an image takes, so that it waits for nobody's inventories
NONE, UNSUPPORTED = "none", "not supported"
WHATEVER_SIGNS = Wants()
log = logging.getLogger(__name__)
Stages = Callable[[str, float], None]  # stage, seconds


class Collector:
    """Opens collections; remembers, bounded, which places last satisfied a repository."""

    def __init__(self, *, registry: Registry, limits: settings.Evidence, observe: Stages) -> None:
        self.registry, self.limits, self.observe = registry, limits, observe
        # By hash: a collision between two repositories only changes the order in which one of them is asked.
        self._hints: dict[int, tuple[Place, ...]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        # Two, as whoever holds a manifest waits for the payloads in it.
        self.manifests, self.payloads = Room(MANIFESTS_MAX_BYTES), Room(PAYLOADS_MAX_BYTES)

    def open(
        self,
        repository: Repository,
        digest: Digest,
        wants: Wants = WHATEVER_SIGNS,
        *,
        registry: Registry | None = None,
    ) -> Collection:
        """A collection of what is attached to `digest` and wanted; nothing is asked before its first `next`.

        `registry` is a view with the credentials of whoever asks, where there are any.
        """
        registry = registry or self.registry
        return Collection(self, registry, repository, digest, wants, self._waves(registry, repository, wants))

    def remember(
        self,
        repository: Repository,
        supplied: Iterable[Place],
        wants: Wants = WHATEVER_SIGNS,
        *,
        registry: Registry | None = None,
    ) -> None:
        """The places that `supplied` what counted will be asked first when the same is wanted of this repository.

        Not for others who ask by other credentials: how long they wait would tell them that it was there.
        """
        key = _key(registry or self.registry, repository, wants)
        self._hints.pop(key, None)
        self._hints[key] = tuple(dict.fromkeys(supplied))
        if len(self._hints) > self.limits.hints_max:
            del self._hints[next(iter(self._hints))]

    async def close(self) -> None:
        """No request is in flight."""
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _waves(self, registry: Registry, repository: Repository, wants: Wants) -> list[tuple[Place, ...]]:
        todo = places.to_ask(wants)
        known = self._hints.get(_key(registry, repository, wants), ())
        first = tuple(place for place in todo if place in known)
        rest = tuple(place for place in todo if place not in known)
        if Place.REFERRERS in rest and registry.lacks_referrers(repository.host):
            others = tuple(place for place in rest if place is not Place.REFERRERS)
            return [first, others, (Place.REFERRERS,)]
        return [first, rest]


class Collection:
    """What is attached to one digest: evidence, and outcomes for what could not become evidence.

    `asked` grows as places answer.
    """

    def __init__(
        self,
        collector: Collector,
        registry: Registry,
        repository: Repository,
        digest: Digest,
        wants: Wants,
        waves: Iterable[tuple[Place, ...]],
    ) -> None:
        self.asked: list[Asked] = []
        self._collector, self._registry, self._limits = collector, registry, collector.limits
        self._repository, self._digest, self._wants = repository, digest, wants
        self._waves = list(waves)
        # `None`: a place is done. `Held` stands behind the evidence that it was for.
        self._queue: asyncio.Queue[Evidence | Outcome | Held | None] = asyncio.Queue()
        self._own = Room(OWN_MAX_BYTES)
        # One of the largest at a time: whoever sends slowly holds what was announced, and must not hold all there is.
        largest = max(self._limits.attestation_max_bytes, self._limits.bundle_max_bytes)
        self._share = Room(largest, within=collector.payloads)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = 0  # places of this wave that are not done
        self._parallel = asyncio.Semaphore(self._limits.parallel)
        self._seen: set[_Content] = set()  # manifests, whichever place listed them first
        self._bytes = 0
        self._over = False

    async def next(self, before_more: Callable[[], Awaitable[None]] | None = None) -> Evidence | Outcome | None:
        """The next find, as it arrives; `None` when every place was asked and all it held was handed over.

        `before_more` is awaited before places are asked besides those where it was found last.
        """
        while True:
            while not self._pending:
                if not self._waves:
                    return None
                if self.asked and before_more is not None:
                    await before_more()
                self._start(self._waves.pop(0))
            match await self._queue.get():
                case None:
                    self._pending -= 1
                case Held() as held:
                    held.close()
                case found:
                    return found

    def stop(self) -> None:
        """No further request is sent; those in flight end by themselves."""
        self._over = True
        while not self._queue.empty():
            if isinstance(item := self._queue.get_nowait(), Held):
                item.close()

    def cancel_unless_stopped(self) -> None:
        """Whoever reads gave up before the end, for a deadline say: requests in flight are cancelled."""
        if self._over:
            return
        self.stop()
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
                case Place.SIGNATURE_TAG | Place.ATTESTATION_TAG:
                    await self._ask_suffixed_tag(place, started)
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

    async def _ask_suffixed_tag(self, place: Place, started: float) -> None:
        suffix, tag = places.SUFFIXES[place], places.tag(place, self._digest)
        if tag is None:
            self._answer(place, 0, started, supported=False)
            return
        found = await self._registry.fetch_manifest(self._repository, tag)
        if isinstance(found, Index):
            raise MalformedError(Code.MALFORMED, f"the {suffix} tag holds an index where a manifest belongs")
        choose, what = _KINDS[place]
        layers = choose(found, self._wants) if found else ()
        self._answer(place, len(layers), started)
        if found and layers:
            await self._fetch_layers(place, found, self._first(place, layers, f"{what} in the {suffix} tag"))

    async def _ask_referrers(self, started: float) -> None:
        place = Place.REFERRERS
        found = await self._registry.fetch_referrers(self._repository, self._digest)
        listed = places.candidates(found.manifests, self._wants)
        self._answer(place, len(listed), started, supported=found.supported)
        if found.truncated:
            self._limit(place, "the list of referrers goes on beyond the limit, and its rest was not read")
        await self._fetch_listed(place, listed)

    async def _ask_fallback_tag(self, started: float) -> None:
        place = Place.FALLBACK_TAG
        found = await self._registry.fetch_manifest(self._repository, str(places.tag(place, self._digest)))
        if isinstance(found, Manifest):
            raise MalformedError(Code.MALFORMED, "the referrers tag holds a manifest where an index belongs")
        listed = places.candidates(found.manifests, self._wants) if found else []
        self._answer(place, len(listed), started)
        await self._fetch_listed(place, listed)

    def _answer(self, place: Place, candidates: int, started: float, *, supported: bool = True) -> None:
        self._collector.observe("discover", time.perf_counter() - started)
        answer = f"{candidates} found" if candidates else NONE if supported else UNSUPPORTED
        self.asked.append(Asked(place, candidates, answer))

    def _first(
        self, place: Place, found: Sequence[Descriptor], what: str, limit: int | None = None
    ) -> Sequence[Descriptor]:
        limit = self._limits.candidates_max if limit is None else limit
        if len(found) > limit:
            self._limit(place, f"{len(found)} {what}, of which {limit} were examined")
        return found[:limit]

    async def _fetch_listed(self, place: Place, listed: Sequence[Descriptor]) -> None:
        fresh = [descriptor for descriptor in listed if _content(descriptor) not in self._seen]
        chosen = self._first(place, fresh, "candidates listed as referrers")
        self._seen.update(map(_content, chosen))
        # Each has the same share, so that none that was made to be costly hides another.
        share = self._limits.candidates_max // max(1, len(chosen))
        await self._each(self._fetch_candidate(place, descriptor, share) for descriptor in chosen)

    async def _fetch_candidate(self, place: Place, descriptor: Descriptor, share: int) -> None:
        try:
            size = self._spend(descriptor.size, self._registry.manifest_max_bytes)
            with contextlib.closing(await self._hold(self._collector.manifests, size)):
                async with self._parallel:
                    if self._over:
                        return
                    manifest = await self._registry.fetch_listed(self._repository, descriptor)
                if isinstance(manifest, Index):
                    raise MalformedError(Code.MALFORMED, f"the referrer {descriptor.digest} is an index")
                layers = places.referrer_layers(manifest, self._digest, self._wants)
                chosen = self._first(place, layers, "signatures or attestations in one referrer", share)
                await self._fetch_layers(place, manifest, chosen)
        except CountersignError as error:
            self._fail(place, error)

    async def _fetch_layers(self, place: Place, manifest: Manifest, layers: Iterable[Descriptor]) -> None:
        by_content: dict[_Content, list[Descriptor]] = {}  # several signers may have signed one payload
        for layer in layers:
            by_content.setdefault(_content(layer), []).append(layer)
        await self._each(self._fetch_payload(place, manifest, same) for same in by_content.values())

    async def _fetch_payload(self, place: Place, manifest: Manifest, layers: Sequence[Descriptor]) -> None:
        layer = layers[0]
        form = places.form_of(layer)
        assert form is not None  # as the layer was chosen by its form
        max_bytes = self._max_bytes(form)
        with contextlib.ExitStack() as kept:
            try:
                size = self._spend(layer.size, max_bytes)
                held = kept.enter_context(contextlib.closing(await self._hold(self._share, size)))
                payload = await self._fetch_blob(layer, max_bytes)
            except CountersignError as error:
                self._fail(place, error)
                return
            if payload is None or self._over:
                return
            kept.pop_all()
        for same in layers:
            self._queue.put_nowait(self._evidence(form, place, manifest, same, payload))
        self._queue.put_nowait(held)

    def _evidence(self, form: Form, place: Place, manifest: Manifest, layer: Descriptor, payload: bytes) -> Evidence:
        return Evidence(
            form=form,
            subject=self._digest,
            place=place,
            manifest=manifest.digest,
            layer=layer.digest,
            media_type=layer.media_type,
            annotations=layer.annotations,
            payload=payload,
            described=manifest.subject,
        )

    async def _hold(self, room: Room, size: int) -> Held:
        return await (self._own if self._own.has(size) else room).take(size)

    async def _fetch_blob(self, layer: Descriptor, max_bytes: int) -> bytes | None:
        """The content of `layer`; `None` where nobody waits for it any more."""
        async with self._parallel:
            if self._over:
                return None
            started = time.perf_counter()
            payload = await self._registry.fetch_blob(self._repository, layer, max_bytes=max_bytes)
            self._collector.observe("fetch", time.perf_counter() - started)
            return payload

    def _max_bytes(self, form: Form) -> int:
        match form:
            case Form.LEGACY:
                return self._limits.payload_max_bytes
            case Form.DSSE:
                return self._limits.attestation_max_bytes
            case Form.BUNDLE:
                return self._limits.bundle_max_bytes
            case Form.NOTATION:
                return self._limits.envelope_max_bytes

    async def _each(self, work: Iterable[Coroutine[None, None, None]]) -> None:
        todo = list(work)
        if len(todo) == 1:  # the usual case needs no task
            await todo[0]
        elif todo:
            await asyncio.gather(*map(self._spawn, todo))

    def _spend(self, size: int, max_bytes: int) -> int:
        """How much of `size` will be read, which is noted."""
        if size > max_bytes:  # refused unread by whoever fetches it
            return 0
        if self._bytes + size > self._limits.image_max_bytes:
            raise MalformedError(
                Code.LIMIT_EXCEEDED, f"more than {self._limits.image_max_bytes} bytes of evidence for one image"
            )
        self._bytes += size
        return size

    def _limit(self, place: Place, detail: str) -> None:
        self._fail(place, MalformedError(Code.LIMIT_EXCEEDED, detail))

    def _fail(self, place: Place, error: CountersignError) -> None:
        self._queue.put_nowait(failed(error, place=place))


_Content = tuple[str, Digest, int, bytes | None]
_KINDS = {
    Place.SIGNATURE_TAG: (places.signatures, "signatures"),
    Place.ATTESTATION_TAG: (places.attestations, "attestations"),
}


def _content(descriptor: Descriptor) -> _Content:
    """What is fetched once. All that can make fetching fail is part of it: a listing with a wrong size, say, does not
    hide that with the right one."""
    return descriptor.media_type, descriptor.digest, descriptor.size, descriptor.data


def _key(registry: Registry, repository: Repository, wants: Wants) -> int:
    """Signatures and attestations may be in different places: what satisfied one review is no hint for another kind."""
    return hash((repository, registry.lent(repository), wants.signatures, wants.notation, bool(wants.predicates)))
