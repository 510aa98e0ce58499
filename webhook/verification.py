"""One image, from its text to a decision. The table of contents of the project.

    parse the reference, select what each policy demands of it      begin: no network
      and decide by what was found before, where that suffices
    resolve its tag, once, and select again by digest               finish
    look for evidence, and hold each piece against each signer,     until every demand is met, or nothing is left to ask
      ask whether anything was revoked meanwhile
    decide, by older findings where nobody answered

`finish` always answers: what could not be examined is an outcome like any other, and the deadline is one of them.
Nothing here judges: selecting and deciding is `policy`'s, verifying is `cosign`'s and `notation`'s. One image under
examination is in `examining`, looking for evidence in `searching`, and what was found before in `findings`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime

from webhook import judging, settings
from webhook.cache import Cache, Loaded
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError
from webhook.evidence.collect import Collector
from webhook.evidence.model import Evidence
from webhook.evidence.settling import AskRevocation
from webhook.examining import Examination, Pending, asker, refusing
from webhook.findings import Demanded, Known, Memory
from webhook.judging import Judgement, Question
from webhook.oci import reference
from webhook.oci.authn import PrivateCredentials
from webhook.oci.reference import Digest
from webhook.oci.registry import Registry
from webhook.policy import decide, select
from webhook.policy.decision import ImageDecision, Paths
from webhook.policy.model import PolicySet
from webhook.policy.select import Selection
from webhook.searching import Judge, Judgements, Means, Searches
from webhook.settings import Crosscheck
from webhook.trust.at_hand import Trust
from webhook.trust.notary.inquiry import Inquiry, Standing, Status

__all__ = ["Pending", "Verifier"]

DEMANDS_MAX = 4_096  # as many as tags

log = logging.getLogger(__name__)
_Tag = tuple[str, str, Hashable]


@dataclass(frozen=True, slots=True)
class _Resolved:
    digest: Digest
    at: datetime


class Verifier:
    """`keep` says what outcomes hold of evidence once it was judged; `cache` how long what was found is of use.

    `found` is told by what each image was decided: `remembered`, `joined`, `searched` or `stale`.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        collector: Collector,
        policy: settings.Policy,
        observe: Callable[[str, float], None],
        trust: Callable[[], Trust] = Trust,
        judge: Judge | None = None,
        revocation: AskRevocation | None = None,
        keep: Callable[[Evidence], Evidence] = lambda evidence: evidence,
        crosscheck: Crosscheck = Crosscheck.OFF,
        crosschecked: Callable[[str], None] = lambda result: None,
        cache: settings.Cache = settings.NOTHING_KEPT,
        found: Callable[[str], None] = lambda result: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry, self.observe, self.trust = registry, observe, trust
        self.means = Means(
            collector=collector,
            judge=judge or _in_a_thread,
            revocation=revocation or _nobody_knows,
            keep=keep,
            stage=observe,
            crosschecked=crosschecked,
            judgements=Judgements(cache, monotonic),
        )
        self.crosscheck, self.no_match, self.found = crosscheck, policy.no_match, found
        self.known, self.memory = Known(policy), Memory(cache, monotonic)
        self.searches = Searches(cache.search_seconds)
        self._cache = cache
        self._tags: Cache[_Tag, _Resolved] = Cache(max_entries=cache.tags_max, clock=monotonic)
        self._demands: dict[Demanded, Demanded] = {}

    def begin(
        self,
        text: str,
        *,
        paths: Paths,
        namespace: str,
        policies: PolicySet,
        now: datetime,
        credentials: PrivateCredentials | None = None,
    ) -> ImageDecision | Pending:
        """What can be said of an image without any request: its decision, or what `finish` needs to find it."""
        try:
            parsed = reference.parse(text)
        except MalformedError as error:
            return decide.unparsable_image(text, paths, error)
        selections = select.select(policies, reference=parsed, digest=parsed.digest, namespace=namespace, now=now)
        selections = refusing(selections) or selections
        settled = [one.decision for one in selections if one.decision is not None and not one.needs_digest]
        if len(settled) == len(selections):
            return decide.decide_image(
                reference=parsed,
                paths=paths,
                digest=parsed.digest,
                decisions=settled,
                policies=policies,
                no_match=self.no_match,
            )
        pending = Pending(parsed, paths, namespace, policies, selections, self.trust(), now, credentials)
        examination = Examination(self, pending, self.registry)
        recalled = examination.recall()
        if recalled is None:
            return pending
        self.found(examination.by)
        return recalled

    async def finish(self, pending: Pending, *, deadline: float) -> ImageDecision:
        """The decision on an image, before `deadline` in the event loop's time."""
        registry = self.registry_for(pending)
        examination = Examination(self, pending, registry)
        try:
            async with asyncio.timeout_at(deadline):
                await registry.prepare(pending.reference.repository)
                await examination.run(pending.reference.digest or await self._resolve(pending, registry))
        except TimeoutError:
            examination.fail(InconclusiveError(Code.DEADLINE_EXCEEDED, "the time for this review was used up"))
        except CountersignError as error:
            examination.fail(error)
        except Exception:
            log.exception("examining %s failed", pending.reference.text)
            examination.fail(InconclusiveError(Code.INTERNAL_ERROR, "the examination failed; the log says why"))
        decision = await examination.stand_in(deadline) or examination.decide()
        self.found(examination.by)
        return decision

    async def resolve(self, pending: Pending) -> Digest:
        """The digest behind the tag of an image, now or within `tag_lifetime`. Raises: RejectedError,
        InconclusiveError."""
        registry = self.registry_for(pending)
        await registry.prepare(pending.reference.repository)
        return await self._resolve(pending, registry)

    def remembered_digest(self, pending: Pending) -> tuple[Digest, datetime] | None:
        """The digest that was behind the tag at that time, which may be long ago.

        It may be used only where it is written into the pod: nobody knows what the tag means now.
        """
        registry = self.registry_for(pending)
        keys = _tag_of(pending, None), self._tag_for(pending, registry)
        found = next((found for key in keys if (found := self._tags.get_stale(key))), None)
        return (found.digest, found.at) if found is not None else None

    def is_underway(self, pending: Pending) -> bool:
        """Whether all that `finish` has to ask for this image is being asked for already."""
        if pending.credentials is not None:
            return False
        if pending.reference.digest is None:
            return self._tags.is_loading(_tag_of(pending, None))
        return Examination(self, pending, self.registry).search_key() in self.searches

    def registry_for(self, pending: Pending) -> Registry:
        """Registries as whoever runs this image may ask them."""
        own = pending.credentials
        return self.registry if own is None else self.registry.with_credentials(own)

    def give_up(self, pending: Pending, error: InconclusiveError) -> ImageDecision:
        """The decision on an image that nobody began to examine, for a reason of ours."""
        examination = Examination(self, pending, self.registry)
        examination.fail(error)
        return examination.decide()

    def demanded(self, selections: Iterable[Selection], pending: Pending) -> Demanded:
        """All that outcomes depend on besides the evidence: the rules, whole, the material, what conditions see."""
        rules = tuple((s.policy.name, s.policy.fingerprint, s.rule.label) for s in selections if s.rule is not None)
        conditions = any(s.rule.attestations for s in selections if s.rule is not None)
        key = rules, pending.trust.fingerprint, pending.reference.text if conditions else ""
        if len(self._demands) >= DEMANDS_MAX:
            self._demands.clear()
        return self._demands.setdefault(key, key)  # one for all images of which the same is demanded

    async def close(self) -> None:
        """Nothing is looked for any more."""
        await self.searches.close()
        await self._tags.close()

    async def _resolve(self, pending: Pending, registry: Registry) -> Digest:
        known = self._tags.get(_tag_of(pending, None))
        if known is not None:  # which everybody may be told
            return known.digest
        key = self._tag_for(pending, registry)
        return (await self._tags.get_or_load(key, lambda: self._ask_tag(pending, registry))).digest

    def _tag_for(self, pending: Pending, registry: Registry) -> _Tag:
        return _tag_of(pending, asker(pending, registry.lent(pending.reference.repository)))

    async def _ask_tag(self, pending: Pending, registry: Registry) -> Loaded[_Resolved]:
        repository, tag = pending.reference.repository, pending.reference.tag
        assert tag is not None  # a reference without a digest has one
        before, started = registry.lent(repository), time.perf_counter()
        try:
            async with asyncio.timeout(self._cache.search_seconds):
                resolved = _Resolved(await registry.resolve(repository, tag), pending.now)
        except TimeoutError:
            detail = f"its tag could not be resolved within {self._cache.search_seconds:g} s"
            raise InconclusiveError(Code.DEADLINE_EXCEEDED, detail) from None
        self.observe("resolve", time.perf_counter() - started)
        lifetime, stale = self._cache.tag_lifetime, self._cache.presence_stale
        if registry.lent(repository) != before:  # it took credentials that whoever asks next may not have
            return Loaded(resolved, 0.0)
        if before or pending.credentials is None:
            return Loaded(resolved, lifetime, stale=stale)
        self._tags.put(_tag_of(pending, None), resolved, lifetime, stale=stale)
        return Loaded(resolved, 0.0)


def _tag_of(pending: Pending, told: Hashable) -> _Tag:
    """The tag of an image, as whoever is `told` the same knows it; `None`: everybody."""
    wanted = pending.reference
    assert wanted.tag is not None  # a reference without a digest has one
    return str(wanted.repository), wanted.tag, told


async def _nobody_knows(inquiry: Inquiry) -> Status:
    del inquiry
    return Status(Standing.UNKNOWN, "this process asks nobody whether anything was revoked")


async def _in_a_thread(evidence: Evidence, question: Question) -> Judgement:
    return await asyncio.to_thread(judging.judge, evidence, question)
