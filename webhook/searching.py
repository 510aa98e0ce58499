"""Evidence for one digest, looked for and judged once for all who demand the same of it at the same time.

A search runs in a task of its own, with a budget of its own: a review that is cancelled or late ends nobody's search,
and what it finds after that is there for the next review. What was found so far can be read at any moment. Searches are
shared only by those who may be told the same; what to do with the findings, and whether they are enough, is for who
asks. Nothing here decides.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from webhook import judging, settings
from webhook.cache import Cache
from webhook.errors import Code, CountersignError, InconclusiveError
from webhook.evidence.collect import Collector
from webhook.evidence.model import Asked, Evidence, Outcome, Place, Verdict, failed
from webhook.evidence.settling import AskRevocation, Finds, Settled
from webhook.evidence.unsettled import Unsettled
from webhook.findings import Findings, size_of
from webhook.judging import Judgement, Question
from webhook.oci.reference import Digest, Repository
from webhook.oci.registry import Registry
from webhook.policy.decision import Weighed

JUDGEMENTS_MAX = 10_000
SEARCHES_MAX = 256  # above which one ends that nobody waits for

log = logging.getLogger(__name__)
Judge = Callable[[Evidence, Question], Awaitable[Judgement]]


@dataclass(slots=True)
class Means:
    """What searches work with. `keep` says what outcomes hold of evidence once it was judged; `stage` and
    `crosschecked` are told how long a stage took, and what the second implementation said."""

    collector: Collector
    judge: Judge
    revocation: AskRevocation
    keep: Callable[[Evidence], Evidence]
    stage: Callable[[str, float], None]
    crosschecked: Callable[[str], None]
    judgements: Judgements


class Judgements:
    """What was verified at a cost, by all that it was found from: the evidence, the signers and the material.

    Who found it where is part of that; the policies that ask are not. spec: oci-registry.md 8
    """

    def __init__(self, limits: settings.Cache, monotonic: Callable[[], float]) -> None:
        self._lifetime = limits.outcomes_lifetime
        self._kept: Cache[bytes, Findings] = Cache(
            max_entries=JUDGEMENTS_MAX, max_bytes=limits.outcomes_max_bytes, size_of=size_of, clock=monotonic
        )

    def get(self, evidence: Evidence, question: Question) -> Judgement | None:
        found = self._kept.get(_fingerprint(evidence, question))
        if found is None or not found.hold(question.now):
            return None
        return Judgement(found.outcomes, found.weighed, found.unsettled)

    def put(self, evidence: Evidence, question: Question, judgement: Judgement) -> None:
        """`judgement` is there for who asks the same, if it proves anything."""
        found = Findings(question.now, judgement.outcomes, judgement.weighed, judgement.unsettled)
        # What could not be examined may turn out otherwise the next time, and so may what is judged by our clock alone
        lasting = all(o.verdict is not Verdict.INCONCLUSIVE and o.code is not Code.TIME_INVALID for o in found.outcomes)
        if found.places and lasting and all(one.code is not Code.TIME_INVALID for one in found.weighed):
            self._kept.put(_fingerprint(evidence, question), found, self._lifetime)


def _fingerprint(evidence: Evidence, question: Question) -> bytes:
    asked = (
        (evidence.form, evidence.place, evidence.media_type, str(evidence.manifest), str(evidence.layer)),
        (str(evidence.subject), evidence.described, sorted(evidence.annotations.items())),
        [signer.known_as for signer in question.signers],
        [(signer.name, signer.kind) for signer in question.signers],
        (question.demands, sorted(question.wants.predicates), question.crosscheck),
        sorted(question.image.items()) if question.demands else "",
        question.trust.fingerprint,
    )
    return hashlib.sha256(repr(asked).encode(errors="surrogatepass")).digest()


class Purpose(Protocol):
    """For whom a search was begun; others may wait for it too."""

    def is_met(self, search: Search) -> bool:
        """What was found is enough."""

    def ended(self, search: Search) -> None:
        """Nothing more will be found."""


@dataclass(slots=True, eq=False)
class Search:
    """One search. `outcomes`, `weighed`, `unsettled` and `asked` grow; `error` is why it ended before its time, and
    `is_complete` says that all there is was looked at."""

    means: Means
    registry: Registry
    repository: Repository
    digest: Digest
    question: Question
    purpose: Purpose
    outcomes: list[Outcome] = field(default_factory=list)
    weighed: list[Weighed] = field(default_factory=list)
    unsettled: list[Unsettled] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    error: CountersignError | None = None
    is_complete: bool = False
    task: asyncio.Task[None] | None = None  # where it is shared
    waiting: int = 0  # reviews
    _settled: list[Outcome] = field(default_factory=list)
    _finds: Finds | None = None

    def judged(self) -> list[Outcome]:
        """Every outcome that waits for no answer, which a policy that only warns might do without."""
        return [*self.outcomes, *self._settled]

    def so_far(self) -> list[Outcome]:
        """Every outcome by now; what waits for an answer that did not come yet is inconclusive."""
        waiting = self._finds.so_far() if self._finds is not None else []
        problem = [failed(self.error)] if self.error is not None else []
        return [*self.judged(), *waiting, *problem]

    def found(self) -> Findings:
        """The same, as it can be kept."""
        return Findings(self.question.now, tuple(self.outcomes), tuple(self.weighed), tuple(self.unsettled))

    async def wait(self) -> None:
        """It has ended. Whoever is cancelled here ends nothing of it."""
        assert self.task is not None  # it was begun by `Searches`
        self.waiting += 1
        try:
            await asyncio.shield(self.task)
        finally:
            self.waiting -= 1

    async def run(self) -> None:
        """All there is was looked at, or what was found is enough. Raises: CountersignError."""
        # Whoever asks for a tag makes a pull-through cache fetch the image; for a digest nobody has yet.
        await self.registry.import_upstream(self.repository, self.digest)
        await self._look(self.registry)
        if self.is_complete and self.registry.is_shared:
            # What another replica saw may be minutes old: nobody is refused for that, and nothing newer hidden
            self._begin_anew()
            await self._look(self.registry.afresh())

    def _begin_anew(self) -> None:
        self.outcomes, self.weighed, self.unsettled, self._settled = [], [], [], []
        self.is_complete = False

    async def _look(self, registry: Registry) -> None:
        collection = self.means.collector.open(self.repository, self.digest, self.question.wants, registry=registry)
        self._finds = Finds(collection, self.means.revocation)
        self.asked = collection.asked
        try:
            await self._read(self._finds)
            collection.stop()
        finally:
            self._settled += self._finds.end()
            self._finds = None
            collection.cancel_unless_stopped()

    async def _read(self, finds: Finds) -> None:
        while (found := await finds.next()) is not None:
            match found:
                case Evidence():
                    finds.settle(await self._judge(found))
                case Settled():
                    self._settled.append(found.outcome)
                case Outcome():
                    self.outcomes.append(found)
            if self.purpose.is_met(self):
                self._settled += finds.end()  # what still waits is needed no more
                self._remember_places()
                return
            await asyncio.sleep(0)  # what is at hand already would be judged without a pause
        self.is_complete = True
        self._note_end()

    def _remember_places(self) -> None:
        """Where evidence was that could be believed."""
        believed = (o.place for o in (*self.outcomes, *self._settled) if o.proof is not None)
        places: frozenset[Place] = frozenset(place for place in believed if place is not None)
        collector = self.means.collector
        collector.remember(self.repository, places, self.question.wants, registry=self.registry)

    def _note_end(self) -> None:
        """All there is was looked at: of what a rule wants there may be nothing, though others found what they want."""
        wants = self.question.wants
        several = wants.signatures and wants.notation  # of which one may have been found alone
        if not (self.outcomes or self._settled) or self.question.demands or several:
            self.outcomes.append(Outcome(Verdict.REJECTED, Code.NO_SIGNATURE, "no signature was found for this digest"))

    async def _judge(self, evidence: Evidence) -> tuple[Unsettled, ...]:
        """What of it waits for answers; all else is noted."""
        started = time.perf_counter()
        if judging.is_costly(evidence, self.question):
            found = await self._judge_once(evidence)
        else:
            found = judging.judge(evidence, self.question)
        found = found.of(self.means.keep(evidence))
        self.outcomes += found.outcomes
        self.weighed += found.weighed
        self.unsettled += found.unsettled
        self._report_crosscheck(found.outcomes)
        self.means.stage("verify", time.perf_counter() - started)
        return found.unsettled

    async def _judge_once(self, evidence: Evidence) -> Judgement:
        known = self.means.judgements.get(evidence, self.question)
        if known is not None:
            return known
        found = await self.means.judge(evidence, self.question)
        self.means.judgements.put(evidence, self.question, found.of(self.means.keep(evidence)))
        return found

    def _report_crosscheck(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            refused = outcome.code is Code.CROSSCHECK_DISAGREEMENT
            said = outcome.detail if refused else outcome.facts.get(judging.CROSSCHECK)
            if said is None:
                continue
            agreed = said in (judging.AGREED, judging.NOT_JUDGED)
            self.means.crosschecked(said if agreed else "disagreed")
            if not agreed and outcome.evidence is not None:
                log.warning("cross-check of %s: %s", outcome.evidence.layer, said)


class Searches:
    """Those under way, one for each key, each for so many `seconds` at most. For one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._underway: dict[Hashable, Search] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._underway

    def join(self, key: Hashable, make: Callable[[], Search]) -> Search:
        """The search of that key, begun if there was none."""
        search = self._underway.get(key)
        if search is None:
            self._make_room()
            search = self._underway[key] = make()
            search.task = asyncio.create_task(self._run(key, search))
        return search

    async def close(self) -> None:
        """Nothing is looked for any more."""
        tasks = [search.task for search in self._underway.values() if search.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _make_room(self) -> None:
        """Whoever waits holds a place, so that these are few; those whom everybody left are the others."""
        if len(self._underway) < SEARCHES_MAX:
            return
        left = next((key for key, search in self._underway.items() if not search.waiting), None)
        if left is not None and (task := self._underway.pop(left).task) is not None:
            task.cancel()

    async def _run(self, key: Hashable, search: Search) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await search.run()
        except TimeoutError:
            search.error = InconclusiveError(
                Code.DEADLINE_EXCEEDED, f"what is attached to it could not be read within {self._seconds:g} s"
            )
        except CountersignError as error:
            search.error = error
        except Exception:
            log.exception("examining %s@%s failed", search.repository, search.digest)
            search.error = InconclusiveError(Code.INTERNAL_ERROR, "the examination failed; the log says why")
        finally:
            if self._underway.get(key) is search:
                del self._underway[key]
        search.purpose.ended(search)
