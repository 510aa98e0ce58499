"""One image under examination: what is demanded of it, what was found, and the decision by that.

What was found comes from findings of before (`recall`), from a search which another review may have begun, or, where an
outage is why there is nothing new, from findings that are older (`stand_in`). Which of them it was changes nothing of
how it is judged. Nothing is asked here but through a search; when to do what is `verification`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from webhook import judging
from webhook.errors import CountersignError
from webhook.evidence import places
from webhook.evidence.model import Asked, Outcome, failed
from webhook.evidence.settling import settle_again
from webhook.findings import Demanded, Findings, Key, Known, Memory, is_outage, stands_in
from webhook.judging import Question
from webhook.oci.authn import PrivateCredentials
from webhook.oci.reference import Digest, Reference
from webhook.oci.registry import Lent, Registry
from webhook.policy import decide, select, stale
from webhook.policy.decide import ImageDecision
from webhook.policy.decision import Blocked, Paths, PolicyDecision, Result, Weighed
from webhook.policy.model import Mode, OnUnavailable, PolicySet
from webhook.policy.select import Selection
from webhook.searching import Means, Search, Searches
from webhook.settings import Crosscheck, NoMatch
from webhook.trust.at_hand import Trust

ANSWER_SECONDS = 5.0  # for which answers about what was found before are waited for, at most
LAST_SECONDS = 0.1  # the same where the deadline is over, within the margin that every review has


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
class _Seen:
    """What there is to decide by."""

    outcomes: Sequence[Outcome]
    weighed: Sequence[Weighed] = ()
    asked: Sequence[Asked] = ()


class Common(Protocol):
    """What all examinations of one process have in common."""

    means: Means
    searches: Searches
    memory: Memory
    known: Known
    no_match: NoMatch
    crosscheck: Crosscheck

    def demanded(self, selections: Iterable[Selection], pending: Pending) -> Demanded:
        """All that outcomes depend on besides the evidence."""


class Examination:
    """`registry` is as whoever runs the image may ask it. `by` says what it is decided by, in a word."""

    def __init__(self, common: Common, pending: Pending, registry: Registry) -> None:
        self._common, self._pending, self._registry = common, pending, registry
        self._selections = pending.selections
        self._digest = pending.reference.digest
        self._search: Search | None = None
        self._recalled: _Seen | None = None
        self.by = "searched"
        self._failures: list[Outcome] = []

    @functools.cached_property
    def _blocked(self) -> Blocked:
        return select.blocked(self._pending.policies)

    async def run(self, digest: Digest) -> None:
        """All was found of `digest` that is needed, or that can be. Raises: CountersignError."""
        if self._digest is None:
            self._digest, self._selections = digest, self._select_by(digest)
        if _undecided(self._selections) and not await self._recall_settled():
            await self._look()

    def recall(self) -> ImageDecision | None:
        """The decision by what was found lately, where that suffices and nobody's answer is needed."""
        if self._digest is None or not _undecided(self._selections):
            return None
        found = self._common.memory.fresh(self._memory_key(()), self._pending.now)
        if found is None or found.unsettled:
            return None
        self.by = "remembered"
        return self._sufficing(_Seen(found.outcomes, found.weighed))

    async def stand_in(self, deadline: float) -> ImageDecision | None:
        """The decision by what was found some time ago, here or by another replica, where that suffices, and an outage
        is why nothing newer was."""
        if self._recalled is not None or self._digest is None or not _undecided(self._selections):
            return None
        if self._search is not None and self.is_met(self._search):
            return None
        found = self._kept(self._common.memory.stale)
        return await self._stood_in(found) or await self._stood_in(await self._found_by_replicas(deadline))

    async def _stood_in(self, found: Findings | None) -> ImageDecision | None:
        seen = self._seen()
        outage = stands_in(found, seen.outcomes, seen.asked) if found is not None else None
        if found is None or outage is None:
            return None
        since = f"{found.at:%Y-%m-%dT%H:%M:%SZ}: {outage.code}: {outage.detail}"
        decision = self._sufficing(await self._settled(found, LAST_SECONDS), presence=since)
        self.by = "stale" if decision is not None else self.by
        return decision

    async def _found_by_replicas(self, deadline: float) -> Findings | None:
        """What there is in the documents that replicas share, judged now, without any request to the registry."""
        registry = self._registry.remembered()
        if registry is None or not is_outage(self._seen().outcomes):
            return None
        search = self._common.searches.join(("replicas", self.search_key()), lambda: self._begin_search(registry))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(max(deadline, asyncio.get_running_loop().time() + LAST_SECONDS)):
                await search.wait()
        at = search.registry.recalled_at
        return replace(search.found(), at=datetime.fromtimestamp(at, UTC)) if at is not None else None

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
        """What `search` found is kept for the next review, where it sufficed and a registry was asked."""
        if search.registry.asks_nobody:
            return
        seen = _Seen(search.so_far(), search.weighed)
        key = self._memory_key(self._lent())
        if search.error is None and (self.is_met(search) or self._suffice(self._judge(seen))):
            self._common.memory.keep(key, search.found())
        elif any(one.result is Result.DENIED for one in self._judge(seen)):
            self._common.memory.forget(key)  # what was seen to be refused is not admitted by what was seen before

    def search_key(self) -> Hashable:
        """By which searches are shared: who demands the same, and may be told the same."""
        lent = self._lent()
        return self._memory_key(lent), asker(self._pending, lent)

    async def _recall_settled(self) -> bool:
        found = self._kept(self._common.memory.fresh)
        if found is not None:
            seen = await self._settled(found, ANSWER_SECONDS)
            self._recalled = seen if self._suffice(self._judge(seen)) else None
        if self._recalled is not None:
            self.by = "remembered"
        return self._recalled is not None

    async def _settled(self, found: Findings, seconds: float) -> _Seen:
        settled = await settle_again(found.unsettled, self._common.means.revocation, seconds=seconds)
        return _Seen([*found.outcomes, *settled], found.weighed)

    async def _look(self) -> None:
        searches, key = self._common.searches, self.search_key()
        self.by = "joined" if key in searches else "searched"
        search = await self._join(key)
        if self.by == "joined" and self._is_denied(search):
            search = await self._join(
                key
            )  # the first was begun before this review, perhaps before the image was signed
        if not (search.is_complete or search.error or self.is_met(search)):
            # Enough for whoever began it, and not by the policies or the clock of this review
            self._search = self._begin_search()
            await self._search.run()

    async def _join(self, key: Hashable) -> Search:
        """The search for it, which has ended."""
        self._search = search = self._common.searches.join(key, self._begin_search)
        await search.wait()
        return search

    def _is_denied(self, search: Search) -> bool:
        """All that `search` could look for was found, and it is not enough."""
        return search.is_complete and not self.is_met(search) and not is_outage(search.so_far())

    def _begin_search(self, registry: Registry | None = None) -> Search:
        assert self._digest is not None  # it was resolved
        question = self._question(self._digest)
        repository = self._pending.reference.repository
        return Search(self._common.means, registry or self._registry, repository, self._digest, question, self)

    def _select_by(self, digest: Digest) -> tuple[Selection, ...]:
        pending = self._pending
        selections = select.select(
            pending.policies,
            reference=pending.reference,
            digest=digest,
            namespace=pending.namespace,
            now=pending.now,
        )
        return refusing(selections) or selections

    def _question(self, digest: Digest) -> Question:
        undecided = _undecided(self._selections)
        return Question(
            signers=select.signers(undecided),
            demands=tuple(demand for one in undecided if one.rule for demand in one.rule.attestations),
            wants=select.wants(undecided),
            trust=self._pending.trust,
            image=judging.described(self._pending.reference, digest),
            now=self._pending.now,
            crosscheck=self._common.crosscheck,
        )

    def _lent(self) -> Lent:
        return self._registry.lent(self._pending.reference.repository)

    def _memory_key(self, lent: Lent) -> Key:
        assert self._digest is not None
        demanded = self._common.demanded(_undecided(self._selections), self._pending)
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
            no_match=self._common.no_match,
            asked=tuple(seen.asked),
        )
        return stale.told(decision, pending.trust, presence=presence)

    def _known_before(self, seen: _Seen) -> frozenset[str]:
        """Who was verified for this digest before; who is now will be known from here on."""
        if not _asks_known(self._selections):
            return frozenset()
        repository, known = str(self._pending.reference.repository), self._common.known
        everybody, own = ((repository, self._digest, lent) for lent in ((), self._lent()))
        before = known.signers(everybody) | known.signers(own)
        known.add(own, seen.outcomes)
        return before


def asker(pending: Pending, lent: Lent) -> Hashable:
    """Who may be told the same now: everybody, who was lent the same in one namespace, or this review alone."""
    own = pending.credentials
    if own is None:
        return None
    return (pending.namespace, lent) if lent else id(own)


def refusing(selections: tuple[Selection, ...]) -> tuple[Selection, ...]:
    """Those by which the image is refused whatever may be found: nothing needs to be asked for the others."""
    return tuple(s for s in selections if s.decision is not None and s.decision.refuses and not s.needs_digest)


def _undecided(selections: tuple[Selection, ...]) -> tuple[Selection, ...]:
    return tuple(selection for selection in selections if selection.decision is None)


def _is_listed(selection: Selection, asked: Iterable[Asked]) -> bool:
    """Some place has named what the selection's rule may want: not every place is of use to every rule."""
    named = [one.place for one in asked if one.candidates]  # none where nobody was asked
    return bool(named) and not frozenset(named).isdisjoint(places.to_ask(select.wants((selection,))))


def _asks_known(selections: tuple[Selection, ...]) -> bool:
    return any(s.rule is not None and s.rule.on_unavailable is OnUnavailable.KNOWN for s in selections)
