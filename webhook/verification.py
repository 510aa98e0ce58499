"""One image, from its text to a decision. The table of contents of the project.

    parse the reference, select what each policy demands of it      begin: no network
    resolve its tag, once, and select again by digest               finish
    collect evidence, hold each piece against each signer           until every demand is met, or nothing is left to ask
    decide

`finish` always answers: what could not be examined is an outcome like any other, and the deadline is one of them.
Nothing here judges: selecting and deciding is `policy`'s, verifying is `cosign`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from webhook import settings
from webhook.cosign import verifier as cosign
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError
from webhook.evidence.collect import Collection, Collector
from webhook.evidence.model import Asked, Evidence, Outcome, Signer, Verdict, failed
from webhook.oci import reference
from webhook.oci.reference import Digest, Reference
from webhook.oci.registry import Registry
from webhook.policy import decide, select
from webhook.policy.decide import ImageDecision
from webhook.policy.model import Deny, OnUnavailable, PolicySet, TrustPolicy
from webhook.policy.select import Selection

log = logging.getLogger(__name__)
Paths = tuple[tuple[str, str], ...]
Blocked = Mapping[str, tuple[TrustPolicy, Deny]]


@dataclass(frozen=True, slots=True)
class Pending:
    """An image that needs the network to be decided."""

    reference: Reference
    paths: Paths
    namespace: str
    policies: PolicySet
    selections: tuple[Selection, ...]
    now: datetime


class Verifier:
    def __init__(
        self,
        *,
        registry: Registry,
        collector: Collector,
        policy: settings.Policy,
        observe: Callable[[str, float], None],
    ) -> None:
        self.registry, self.collector, self.observe = registry, collector, observe
        self.no_match = policy.no_match
        self.known = Known(policy)

    def begin(
        self, text: str, *, paths: Paths, namespace: str, policies: PolicySet, now: datetime
    ) -> ImageDecision | Pending:
        """What can be said of an image without any request: its decision, or what `finish` needs to find it."""
        try:
            parsed = reference.parse(text)
        except MalformedError as error:
            return decide.unparsable_image(text, paths, error)
        selections = select.select(policies, reference=parsed, digest=parsed.digest, namespace=namespace, now=now)
        pending = Pending(parsed, paths, namespace, policies, _refusing(selections) or selections, now)
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

    def give_up(self, pending: Pending, error: InconclusiveError) -> ImageDecision:
        """The decision on an image that nobody began to examine, for a reason of ours."""
        examination = Examination(self, pending)
        examination.fail(error)
        return examination.decide()


class Examination:
    """One image under examination: what is demanded of it, and what was found so far."""

    def __init__(self, verifier: Verifier, pending: Pending) -> None:
        self._verifier, self._pending = verifier, pending
        self._selections = pending.selections
        self._digest = pending.reference.digest
        self._blocked: Blocked = select.blocked_keys(pending.policies)
        self._outcomes: list[Outcome] = []
        self._asked: list[Asked] = []

    async def run(self) -> None:
        if self._digest is None:
            self._digest = await self._resolve()
            selections = self._select_by(self._digest)
            self._selections = _refusing(selections) or selections
        if _undecided(self._selections):
            await self._examine(self._verifier.collector.open(self._pending.reference.repository, self._digest))

    async def _resolve(self) -> Digest:
        wanted = self._pending.reference
        assert wanted.tag is not None  # a reference without a digest has one
        started = time.perf_counter()
        digest = await self._verifier.registry.resolve(wanted.repository, wanted.tag)
        self._verifier.observe("resolve", time.perf_counter() - started)
        return digest

    def _select_by(self, digest: Digest) -> tuple[Selection, ...]:
        pending = self._pending
        return select.select(
            pending.policies,
            reference=pending.reference,
            digest=digest,
            namespace=pending.namespace,
            now=pending.now,
        )

    async def _examine(self, collection: Collection) -> None:
        self._asked = collection.asked
        signers = _signers(self._selections)
        try:
            while (found := await collection.next()) is not None:
                if isinstance(found, Outcome):
                    self._outcomes.append(found)
                    continue
                self._outcomes += await self._judge(found, signers)
                if self._is_met():
                    self._verifier.collector.remember(self._pending.reference.repository, found.place)
                    break
                await asyncio.sleep(0)  # what is at hand already would be judged without a pause
            else:
                self._note_absence()
            collection.stop()
        finally:
            collection.cancel_unless_stopped()

    def _note_absence(self) -> None:
        if not self._outcomes:
            self._outcomes.append(
                Outcome(Verdict.REJECTED, Code.NO_SIGNATURE, "no signature was found for this digest")
            )

    async def _judge(self, evidence: Evidence, signers: tuple[Signer, ...]) -> list[Outcome]:
        started = time.perf_counter()
        if len(evidence.payload) > settings.OFF_LOOP_BYTES:
            outcomes = await asyncio.to_thread(_verify, evidence, signers, self._pending.now)
        else:
            outcomes = _verify(evidence, signers, self._pending.now)
        self._verifier.observe("verify", time.perf_counter() - started)
        return outcomes

    def _is_met(self) -> bool:
        return all(
            decide.is_met(selection, self._outcomes, self._blocked) for selection in _undecided(self._selections)
        )

    def fail(self, error: CountersignError) -> None:
        self._outcomes.append(failed(error))

    def decide(self) -> ImageDecision:
        pending = self._pending
        listed = any(asked.candidates for asked in self._asked)
        before = self._known_before()
        decisions = tuple(
            decide.decide_policy(
                selection, self._outcomes, blocked=self._blocked, known=before, candidates_listed=listed
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

    def _known_before(self) -> frozenset[str]:
        """Who was verified for this digest before; who is now will be known from here on."""
        if not _asks_known(self._selections):
            return frozenset()
        image = str(self._pending.reference.repository), self._digest
        before = self._verifier.known.signers(image)
        self._verifier.known.add(image, self._outcomes)
        return before


class Known:
    """Which signers were verified for a digest, bounded in number and time: what `onUnavailable: known` falls back to.

    It holds outcomes, never decisions: a signer that a policy no longer names counts for nothing there.
    """

    def __init__(self, limits: settings.Policy) -> None:
        self._limits = limits
        self._verified: dict[tuple[str, Digest | None], dict[str, float]] = {}  # by signer, when it was last verified

    def signers(self, image: tuple[str, Digest | None]) -> frozenset[str]:
        earliest = time.monotonic() - self._limits.known_lifetime
        return frozenset(signer for signer, at in self._verified.get(image, {}).items() if at > earliest)

    def add(self, image: tuple[str, Digest | None], outcomes: Iterable[Outcome]) -> None:
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


def _signers(selections: tuple[Selection, ...]) -> tuple[Signer, ...]:
    """Each signer of any demand once, in the policies' order."""
    return tuple(dict.fromkeys(s for selection in selections if selection.rule for s in selection.rule.signers))


def _asks_known(selections: tuple[Selection, ...]) -> bool:
    return any(s.rule is not None and s.rule.on_unavailable is OnUnavailable.KNOWN for s in selections)


def _verify(evidence: Evidence, signers: tuple[Signer, ...], now: datetime) -> list[Outcome]:
    return [cosign.verify(evidence, signer, now) for signer in signers]
