"""One image, from its text to a decision. The table of contents of the project.

    parse the reference, select what each policy demands of it      begin: no network
      and decide by what was found before, where that suffices
    resolve its tag, once, and select again by digest               finish
    look for evidence, and hold each piece against each signer,     until every demand is met, or nothing is left to ask
      ask whether anything was revoked meanwhile
    decide, by older findings where nobody answered

`finish` always answers: what could not be examined is an outcome like any other, and the deadline is one of them.
Nothing here judges: selecting and deciding is `policy`'s, verifying is `cosign`'s and `notation`'s, looking is
`searching`'s, and what was found before is in `findings`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from webhook import judging, settings
from webhook.cache import Cache, Loaded
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError
from webhook.evidence import places
from webhook.evidence.collect import Collector
from webhook.evidence.model import Asked, Evidence, Outcome, Verdict, failed
from webhook.evidence.settling import AskRevocation, settle_again
from webhook.findings import Demanded, Findings, Key, Memory, stands_in
from webhook.judging import Judgement, Question
from webhook.oci import reference
from webhook.oci.authn import PrivateCredentials
from webhook.oci.reference import Digest, Reference
from webhook.oci.registry import Lent, Registry
from webhook.policy import decide, select, stale
from webhook.policy.decide import ImageDecision
from webhook.policy.decision import Blocked, PolicyDecision, Result, Weighed
from webhook.policy.model import Mode, OnUnavailable, PolicySet
from webhook.policy.select import Selection
from webhook.searching import Judge, Judgements, Means, Search, Searches
from webhook.settings import Crosscheck
from webhook.trust.at_hand import Trust
from webhook.trust.notary.inquiry import Inquiry, Standing, Status

ANSWER_SECONDS = 5.0  # for which answers about what was found before are waited for, at most
LAST_SECONDS = 0.1  # the same where the deadline is over, within the margin that every review has
DEMANDS_MAX = 10_000

log = logging.getLogger(__name__)
Paths = tuple[tuple[str, str], ...]
_Known = tuple[str, Digest | None, Lent]  # repository, digest, the credentials besides everybody's
_Tag = tuple[str, str, Hashable]


@dataclass(frozen=True, slots=True)
class Pending:
    """An image that needs the network to be decided. `trust` is what was at hand when its review began.

    `credentials` are those of the pod itself, where they may be used.
    """

    reference: Reference
    paths: Paths
    namespace: str
    policies: PolicySet
    selections: tuple[Selection, ...]
    trust: Trust
    now: datetime
    credentials: PrivateCredentials | None = None


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
        selections = _refusing(selections) or selections
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
        return Examination(self, pending).recall() or pending

    async def finish(self, pending: Pending, *, deadline: float) -> ImageDecision:
        """The decision on an image, before `deadline` in the event loop's time."""
        examination = Examination(self, pending)
        try:
            async with asyncio.timeout_at(deadline):
                await examination.run()
        except TimeoutError:
            examination.fail(InconclusiveError(Code.DEADLINE_EXCEEDED, "the time for this review was used up"))
        except CountersignError as error:
            examination.fail(error)
        except Exception:
            log.exception("examining %s failed", pending.reference.text)
            examination.fail(InconclusiveError(Code.INTERNAL_ERROR, "the examination failed; the log says why"))
        stood_in = await examination.stand_in()
        self.found("stale" if stood_in else examination.by)
        return stood_in or examination.decide()

    async def resolve(self, pending: Pending) -> Digest:
        """The digest behind the tag of an image, now or within `tag_lifetime`. Raises: RejectedError,
        InconclusiveError."""
        registry = self.registry_for(pending)
        await registry.prepare(pending.reference.repository)
        key = self._tag_of(pending, registry)
        found = await self._tags.get_or_load(key, lambda: self._ask_tag(pending, registry))
        return found.digest

    def remembered_digest(self, pending: Pending) -> tuple[Digest, datetime] | None:
        """The digest that was behind the tag at that time, which may be long ago.

        It may be used only where it is written into the pod: nobody knows what the tag means now.
        """
        found = self._tags.get_stale(self._tag_of(pending, self.registry_for(pending)))
        return (found.digest, found.at) if found is not None else None

    def is_underway(self, pending: Pending) -> bool:
        """Whether all that `finish` has to ask for this image is being asked for already."""
        if pending.credentials is not None:
            return False
        if pending.reference.digest is None:
            return self._tags.is_loading(self._tag_of(pending, self.registry))
        return Examination(self, pending).search_key() in self.searches

    def registry_for(self, pending: Pending) -> Registry:
        """Registries as whoever runs this image may ask them."""
        own = pending.credentials
        return self.registry if own is None else self.registry.with_credentials(own)

    def give_up(self, pending: Pending, error: InconclusiveError) -> ImageDecision:
        """The decision on an image that nobody began to examine, for a reason of ours."""
        examination = Examination(self, pending)
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

    def _tag_of(self, pending: Pending, registry: Registry) -> _Tag:
        repository, tag = pending.reference.repository, pending.reference.tag
        assert tag is not None  # a reference without a digest has one
        return str(repository), tag, asker(pending, registry.lent(repository))

    async def _ask_tag(self, pending: Pending, registry: Registry) -> Loaded[_Resolved]:
        repository, tag = pending.reference.repository, pending.reference.tag
        assert tag is not None
        lent, started = registry.lent(repository), time.perf_counter()
        try:
            async with asyncio.timeout(self._cache.search_seconds):
                digest = await registry.resolve(repository, tag)
        except TimeoutError:
            detail = f"its tag could not be resolved within {self._cache.search_seconds:g} s"
            raise InconclusiveError(Code.DEADLINE_EXCEEDED, detail) from None
        self.observe("resolve", time.perf_counter() - started)
        if registry.lent(repository) != lent:  # it took credentials that whoever asks next may not have
            return Loaded(_Resolved(digest, pending.now), 0.0)
        return Loaded(_Resolved(digest, pending.now), self._cache.tag_lifetime, stale=self._cache.presence_stale)


def asker(pending: Pending, lent: Lent) -> Hashable:
    """Who may be told the same: everybody, who was lent the same in one namespace, or this review alone."""
    own = pending.credentials
    if own is None:
        return None
    return (pending.namespace, lent) if lent else id(own)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What there is to decide by."""

    outcomes: Sequence[Outcome]
    weighed: Sequence[Weighed] = ()
    asked: Sequence[Asked] = ()


class Examination:
    """One image under examination: what is demanded of it, and what was found so far.

    What is found comes from a search, which another review may have begun, or from what was found before.
    """

    def __init__(self, verifier: Verifier, pending: Pending) -> None:
        self._verifier, self._pending = verifier, pending
        self._registry = verifier.registry_for(pending)
        self._selections = pending.selections
        self._digest = pending.reference.digest
        self._search: Search | None = None
        self._recalled: _Seen | None = None
        self.by = "remembered"
        self._failures: list[Outcome] = []

    @functools.cached_property
    def _blocked(self) -> Blocked:
        return select.blocked(self._pending.policies)

    async def run(self) -> None:
        """All was found that is needed, or that can be. Raises: CountersignError."""
        await self._registry.prepare(self._pending.reference.repository)
        if self._digest is None:
            self.by = "searched"
            self._digest = await self._verifier.resolve(self._pending)
            self._selections = self._select_by(self._digest)
        if _undecided(self._selections) and not await self._recall_settled():
            await self._look()

    def recall(self) -> ImageDecision | None:
        """The decision by what was found lately, where that suffices and nobody's answer is needed."""
        if self._digest is None or not _undecided(self._selections):
            return None
        found = self._verifier.memory.fresh(self._memory_key(()), self._pending.now)
        if found is None or found.unsettled:
            return None
        return self._sufficing(_Seen(found.outcomes, found.weighed))

    async def stand_in(self) -> ImageDecision | None:
        """The decision by what was found some time ago, where that suffices, and an outage is why nothing newer was."""
        if self._recalled is not None or self._digest is None or not _undecided(self._selections):
            return None
        found = self._kept(self._verifier.memory.stale)
        if found is None or (self._search is not None and self.is_met(self._search)):
            return None
        seen = self._seen()
        outage = stands_in(found, seen.outcomes, seen.asked)
        if outage is None:
            return None
        since = f"{found.at:%Y-%m-%dT%H:%M:%SZ}: {outage.code}: {outage.detail}"
        return self._sufficing(await self._settled(found, LAST_SECONDS), presence=since)

    def fail(self, error: CountersignError) -> None:
        self._failures.append(failed(error))

    def decide(self) -> ImageDecision:
        """The decision by all that was found so far."""
        seen = self._recalled or self._seen()
        return self._tell(self._judge(seen, known=self._known_before(seen)), seen)

    def is_met(self, search: Search) -> bool:
        """What `search` found is enough for every policy."""
        outcomes = search.judged()
        return all(
            decide.is_met(one, outcomes, self._blocked, weighed=search.weighed, now=self._pending.now)
            for one in _undecided(self._selections)
        )

    def ended(self, search: Search) -> None:
        """What `search` found is kept for the next review, where it sufficed."""
        seen = _Seen(search.so_far(), search.weighed)
        if search.error is None and (self.is_met(search) or self._suffice(self._judge(seen))):
            self._verifier.memory.keep(self._memory_key(self._lent()), search.found())

    def search_key(self) -> Hashable:
        """By which searches are shared: who demands the same, and may be told the same."""
        lent = self._lent()
        return self._memory_key(lent), asker(self._pending, lent)

    async def _recall_settled(self) -> bool:
        found = self._kept(self._verifier.memory.fresh)
        if found is not None:
            seen = await self._settled(found, ANSWER_SECONDS)
            self._recalled = seen if self._suffice(self._judge(seen)) else None
        if self._recalled is not None:
            self.by = "remembered"
        return self._recalled is not None

    async def _settled(self, found: Findings, seconds: float) -> _Seen:
        settled = await settle_again(found.unsettled, self._verifier.means.revocation, seconds=seconds)
        return _Seen([*found.outcomes, *settled], found.weighed)

    async def _look(self) -> None:
        searches, key = self._verifier.searches, self.search_key()
        self.by = "joined" if key in searches else "searched"
        self._search = searches.join(key, self._begin_search)
        await self._search.wait()
        if not (self._search.is_complete or self._search.error or self.is_met(self._search)):
            # Enough for whoever began it, and not by the policies or the clock of this review
            self._search = self._begin_search()
            await self._search.run()

    def _begin_search(self) -> Search:
        assert self._digest is not None  # it was resolved
        question = self._question(self._digest)
        repository = self._pending.reference.repository
        return Search(self._verifier.means, self._registry, repository, self._digest, question, self)

    def _select_by(self, digest: Digest) -> tuple[Selection, ...]:
        pending = self._pending
        selections = select.select(
            pending.policies,
            reference=pending.reference,
            digest=digest,
            namespace=pending.namespace,
            now=pending.now,
        )
        return _refusing(selections) or selections

    def _question(self, digest: Digest) -> Question:
        undecided = _undecided(self._selections)
        return Question(
            signers=select.signers(undecided),
            demands=tuple(demand for one in undecided if one.rule for demand in one.rule.attestations),
            wants=select.wants(undecided),
            trust=self._pending.trust,
            image=judging.described(self._pending.reference, digest),
            now=self._pending.now,
            crosscheck=self._verifier.crosscheck,
        )

    def _lent(self) -> Lent:
        return self._registry.lent(self._pending.reference.repository)

    def _memory_key(self, lent: Lent) -> Key:
        assert self._digest is not None
        demanded = self._verifier.demanded(_undecided(self._selections), self._pending)
        return self._pending.reference.repository, self._digest, lent, demanded

    def _kept(self, look_up: Callable[[Key, datetime], Findings | None]) -> Findings | None:
        """What everybody may be told, or who was lent the same credentials."""
        for lent in dict.fromkeys(((), self._lent())):
            if found := look_up(self._memory_key(lent), self._pending.now):
                return found
        return None

    def _seen(self) -> _Seen:
        search = self._search
        if search is None:
            return _Seen(self._failures)
        return _Seen([*search.so_far(), *self._failures], search.weighed, search.asked)

    def _sufficing(self, seen: _Seen, *, presence: str = "") -> ImageDecision | None:
        decisions = self._judge(seen)
        return self._tell(decisions, seen, presence=presence) if self._suffice(decisions) else None

    def _suffice(self, decisions: Sequence[PolicyDecision]) -> bool:
        """No policy refuses by what is not looked at anew, and each that enforces is satisfied: or each, where none
        enforces. What a policy only warns of may be as old as what satisfies the others."""
        judged = [one for one, chosen in zip(decisions, self._selections, strict=True) if chosen.decision is None]
        enforcing = [one for one in judged if one.mode is Mode.ENFORCE]
        return not any(one.refuses for one in judged) and all(
            one.result is Result.VERIFIED for one in enforcing or judged
        )

    def _judge(self, seen: _Seen, *, known: frozenset[str] = frozenset()) -> tuple[PolicyDecision, ...]:
        return tuple(
            decide.decide_policy(
                selection,
                seen.outcomes,
                blocked=self._blocked,
                known=known,
                candidates_listed=_is_listed(selection, seen.asked),
                weighed=seen.weighed,
                now=self._pending.now,
            )
            for selection in self._selections
        )

    def _tell(self, decisions: tuple[PolicyDecision, ...], seen: _Seen, *, presence: str = "") -> ImageDecision:
        pending = self._pending
        decision = decide.decide_image(
            reference=pending.reference,
            paths=pending.paths,
            digest=self._digest,
            decisions=decisions,
            policies=pending.policies,
            no_match=self._verifier.no_match,
            asked=tuple(seen.asked),
        )
        return stale.told(decision, pending.trust, presence=presence)

    def _known_before(self, seen: _Seen) -> frozenset[str]:
        """Who was verified for this digest before; who is now will be known from here on."""
        if not _asks_known(self._selections):
            return frozenset()
        repository, known = str(self._pending.reference.repository), self._verifier.known
        everybody, own = ((repository, self._digest, lent) for lent in ((), self._lent()))
        before = known.signers(everybody) | known.signers(own)
        known.add(own, seen.outcomes)
        return before


class Known:
    """Which signers were verified for a digest, bounded in number and time: what `onUnavailable: known` falls back to.

    It holds outcomes, never decisions: a signer that a policy no longer names counts for nothing there. What was read
    by a pod's own credentials is known to who has the same.
    """

    def __init__(self, limits: settings.Policy) -> None:
        self._limits = limits
        self._verified: dict[_Known, dict[str, float]] = {}  # by signer, when it was last verified

    def signers(self, image: _Known) -> frozenset[str]:
        earliest = time.monotonic() - self._limits.known_lifetime
        return frozenset(signer for signer, at in self._verified.get(image, {}).items() if at > earliest)

    def add(self, image: _Known, outcomes: Iterable[Outcome]) -> None:
        verified = {o.signer.known_as for o in outcomes if o.signer and o.verdict is Verdict.VERIFIED}
        if not verified:
            return
        # Added to what was known: in half an outage only half of the signers are met.
        self._verified[image] = self._verified.pop(image, {}) | dict.fromkeys(verified, time.monotonic())
        if len(self._verified) > self._limits.known_max:
            del self._verified[next(iter(self._verified))]


def _refusing(selections: tuple[Selection, ...]) -> tuple[Selection, ...]:
    """Those by which the image is refused whatever may be found: nothing needs to be asked for the others."""
    return tuple(s for s in selections if s.decision is not None and s.decision.refuses and not s.needs_digest)


def _undecided(selections: tuple[Selection, ...]) -> tuple[Selection, ...]:
    return tuple(selection for selection in selections if selection.decision is None)


def _is_listed(selection: Selection, asked: Iterable[Asked]) -> bool:
    """Some place has named what the selection's rule may want: not every place is of use to every rule."""
    useful = places.to_ask(select.wants((selection,)))
    return any(one.candidates for one in asked if one.place in useful)


def _asks_known(selections: tuple[Selection, ...]) -> bool:
    return any(s.rule is not None and s.rule.on_unavailable is OnUnavailable.KNOWN for s in selections)


async def _nobody_knows(inquiry: Inquiry) -> Status:
    del inquiry
    return Status(Standing.UNKNOWN, "this process asks nobody whether anything was revoked")


async def _in_a_thread(evidence: Evidence, question: Question) -> Judgement:
    return await asyncio.to_thread(judging.judge, evidence, question)
