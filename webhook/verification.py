"""One image, from its text to a decision. The table of contents of the project.

    parse the reference, select what each policy demands of it      begin: no network
    resolve its tag, once, and select again by digest               finish
    collect evidence, hold each piece against each signer,          until every demand is met, or nothing is left to ask
      ask whether anything was revoked meanwhile
    decide

`finish` always answers: what could not be examined is an outcome like any other, and the deadline is one of them.
Nothing here judges: selecting and deciding is `policy`'s, verifying is `cosign`'s and `notation`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from webhook import judging, settings
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError
from webhook.evidence import places
from webhook.evidence.collect import Collector
from webhook.evidence.model import Asked, Evidence, Outcome, Place, Verdict, failed
from webhook.evidence.settling import AskRevocation, Finds
from webhook.evidence.unsettled import Unsettled
from webhook.judging import Judgement, Question
from webhook.oci import reference
from webhook.oci.authn import PrivateCredentials
from webhook.oci.reference import Digest, Reference
from webhook.oci.registry import Lent, Registry
from webhook.policy import decide, select
from webhook.policy.decide import ImageDecision
from webhook.policy.decision import Weighed
from webhook.policy.model import OnUnavailable, PolicySet
from webhook.policy.select import Selection
from webhook.settings import Crosscheck
from webhook.trust.at_hand import Trust
from webhook.trust.notary.inquiry import Inquiry, Standing, Status

log = logging.getLogger(__name__)
Paths = tuple[tuple[str, str], ...]
_Known = tuple[str, Digest | None, Lent]  # repository, digest, the credentials besides everybody's
Judge = Callable[[Evidence, Question], Awaitable[Judgement]]


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


class Verifier:
    """`keep` says what outcomes hold of evidence once it was judged, which is for as long as the review lasts."""

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
    ) -> None:
        self.registry, self.collector, self.observe, self.trust = registry, collector, observe, trust
        self.judge, self.keep = judge or _in_a_thread, keep
        self.revocation = revocation or _nobody_knows
        self.crosscheck, self.crosschecked = crosscheck, crosschecked
        self.no_match = policy.no_match
        self.known = Known(policy)

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
        pending = Pending(parsed, paths, namespace, policies, selections, self.trust(), now, credentials)
        if any(selection.decision is None or selection.needs_digest for selection in pending.selections):
            return pending
        return Examination(self, pending).decide()

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
        return examination.decide()

    async def resolve(self, pending: Pending) -> Digest:
        """The digest behind the tag of an image now. Raises: RejectedError, InconclusiveError."""
        wanted = pending.reference
        assert wanted.tag is not None  # a reference without a digest has one
        registry, started = self.registry_for(pending), time.perf_counter()
        await registry.prepare(wanted.repository)
        digest = await registry.resolve(wanted.repository, wanted.tag)
        self.observe("resolve", time.perf_counter() - started)
        return digest

    def registry_for(self, pending: Pending) -> Registry:
        """Registries as whoever runs this image may ask them."""
        own = pending.credentials
        return self.registry if own is None else self.registry.with_credentials(own)

    def give_up(self, pending: Pending, error: InconclusiveError) -> ImageDecision:
        """The decision on an image that nobody began to examine, for a reason of ours."""
        examination = Examination(self, pending)
        examination.fail(error)
        return examination.decide()


class Examination:
    """One image under examination: what is demanded of it, and what was found so far."""

    def __init__(self, verifier: Verifier, pending: Pending) -> None:
        self._verifier, self._pending = verifier, pending
        self._registry = verifier.registry_for(pending)
        self._selections = pending.selections
        self._digest = pending.reference.digest
        self._blocked = select.blocked(pending.policies)
        self._outcomes: list[Outcome] = []
        self._weighed: list[Weighed] = []
        self._asked: list[Asked] = []

    async def run(self) -> None:
        repository = self._pending.reference.repository
        await self._registry.prepare(repository)
        if self._digest is None:
            self._digest = await self._verifier.resolve(self._pending)
            selections = self._select_by(self._digest)
            self._selections = _refusing(selections) or selections
        if _undecided(self._selections):
            # Whoever asks for a tag makes a pull-through cache fetch the image; for a digest nobody has yet.
            await self._registry.import_upstream(repository, self._digest)
            await self._examine(self._digest)

    def _select_by(self, digest: Digest) -> tuple[Selection, ...]:
        pending = self._pending
        return select.select(
            pending.policies,
            reference=pending.reference,
            digest=digest,
            namespace=pending.namespace,
            now=pending.now,
        )

    async def _examine(self, digest: Digest) -> None:
        question = self._question(digest)
        repository, collector = self._pending.reference.repository, self._verifier.collector
        collection = collector.open(repository, digest, question.wants, registry=self._registry)
        finds = Finds(collection, self._verifier.revocation)
        self._asked = collection.asked
        try:
            while (found := await finds.next()) is not None:
                if isinstance(found, Outcome):
                    self._outcomes.append(found)
                else:
                    finds.settle(await self._judge(found, question))
                if self._is_met():
                    finds.end()  # what still waits is needed no more
                    collector.remember(repository, self._told(), question.wants, registry=self._registry)
                    break
                await asyncio.sleep(0)  # what is at hand already would be judged without a pause
            else:
                self._note_end(question)
            collection.stop()
        finally:
            self._outcomes += finds.end()
            collection.cancel_unless_stopped()

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

    def _note_end(self, question: Question) -> None:
        """All there is was looked at: of what a rule wants there may be nothing, though others found what they want."""
        several = question.wants.signatures and question.wants.notation  # of which one may have been found alone
        if not self._outcomes or question.demands or several:
            self._outcomes.append(
                Outcome(Verdict.REJECTED, Code.NO_SIGNATURE, "no signature was found for this digest")
            )

    async def _judge(self, evidence: Evidence, question: Question) -> tuple[Unsettled, ...]:
        """What of it waits for answers; all else is noted."""
        started = time.perf_counter()
        if judging.is_costly(evidence, question):
            found = await self._verifier.judge(evidence, question)
        else:
            found = judging.judge(evidence, question)
        found = found.of(self._verifier.keep(evidence))
        self._outcomes += found.outcomes
        self._weighed += found.weighed
        self._report_crosscheck(found.outcomes)
        self._verifier.observe("verify", time.perf_counter() - started)
        return found.unsettled

    def _report_crosscheck(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            refused = outcome.code is Code.CROSSCHECK_DISAGREEMENT
            said = outcome.detail if refused else outcome.facts.get(judging.CROSSCHECK)
            if said is None:
                continue
            agreed = said in (judging.AGREED, judging.NOT_JUDGED)
            self._verifier.crosschecked(said if agreed else "disagreed")
            if not agreed and outcome.evidence is not None:
                log.warning("cross-check of %s: %s", outcome.evidence.layer, said)

    def _told(self) -> frozenset[Place]:
        """The places whose evidence could be believed."""
        return frozenset(o.place for o in self._outcomes if o.proof is not None and o.place is not None)

    def _is_met(self) -> bool:
        return all(
            decide.is_met(one, self._outcomes, self._blocked, weighed=self._weighed, now=self._pending.now)
            for one in _undecided(self._selections)
        )

    def fail(self, error: CountersignError) -> None:
        self._outcomes.append(failed(error))

    def decide(self) -> ImageDecision:
        pending = self._pending
        before = self._known_before()
        decisions = tuple(
            decide.decide_policy(
                selection,
                self._outcomes,
                blocked=self._blocked,
                known=before,
                candidates_listed=self._is_listed(selection),
                weighed=self._weighed,
                now=pending.now,
            )
            for selection in self._selections
        )
        return decide.decide_image(
            reference=pending.reference,
            paths=pending.paths,
            digest=self._digest,
            decisions=decisions,
            policies=pending.policies,
            no_match=self._verifier.no_match,
            asked=tuple(self._asked),
        )

    def _is_listed(self, selection: Selection) -> bool:
        """Some place has named what the selection's rule may want: not every place is of use to every rule."""
        useful = places.to_ask(select.wants((selection,)))
        return any(asked.candidates for asked in self._asked if asked.place in useful)

    def _known_before(self) -> frozenset[str]:
        """Who was verified for this digest before; who is now will be known from here on."""
        if not _asks_known(self._selections):
            return frozenset()
        repository, known = self._pending.reference.repository, self._verifier.known
        everybody, own = ((str(repository), self._digest, lent) for lent in ((), self._registry.lent(repository)))
        before = known.signers(everybody) | known.signers(own)
        known.add(own, self._outcomes)
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


def _asks_known(selections: tuple[Selection, ...]) -> bool:
    return any(s.rule is not None and s.rule.on_unavailable is OnUnavailable.KNOWN for s in selections)


async def _nobody_knows(inquiry: Inquiry) -> Status:
    del inquiry
    return Status(Standing.UNKNOWN, "this process asks nobody whether anything was revoked")


async def _in_a_thread(evidence: Evidence, question: Question) -> Judgement:
    return await asyncio.to_thread(judging.judge, evidence, question)
