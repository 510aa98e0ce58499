"""What was found out about images, kept so that the next review of one need not ask its registry again.

Findings are outcomes of evidence and never a decision: whoever takes them decides anew, by the policies, the `deny[]`
and the answers about revocation of his own review. They are found again only by who demands the same of the same digest
in the same repository, by the same credentials, and believes the same material: a changed policy or key finds nothing
here. Only what satisfied somebody is kept, so that nobody is refused for what was so a while ago. Where a registry does
not answer, older findings may stand in: `stands_in` says when. spec: oci-registry.md 8.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from webhook import settings
from webhook.cache import Cache
from webhook.evidence.collect import NONE, UNSUPPORTED
from webhook.evidence.model import Asked, Outcome, Place, Verdict
from webhook.evidence.unsettled import Unsettled
from webhook.oci.reference import Digest, Repository
from webhook.oci.registry import Lent
from webhook.policy.decision import Weighed
from webhook.policy.demand import UNAVAILABLE

SKEW = timedelta(minutes=5)  # by which a clock may go back before what it saw is looked at again
MAX_ENTRIES = 100_000
ENTRY_BYTES, OUTCOME_BYTES = 1000, 1500  # without their texts, as measured

Demanded = Hashable  # what is demanded, and the material that is believed
Key = tuple[Repository, Digest, Lent, Demanded]
_Image = tuple[str, Digest | None, Lent]  # repository, digest, the credentials besides everybody's


@dataclass(frozen=True, slots=True)
class Findings:
    """What was judged at `at`. `unsettled` counts only by answers about revocation, which are asked for each time."""

    at: datetime
    outcomes: tuple[Outcome, ...]
    weighed: tuple[Weighed, ...] = ()
    unsettled: tuple[Unsettled, ...] = ()

    def hold(self, now: datetime) -> bool:
        """Judging the same again at `now` would find the same."""
        return self.at - SKEW <= now and all(now < end for end in self._ends())

    @property
    def places(self) -> frozenset[Place]:
        """Where that was found which proves anything."""
        proving = (*self.outcomes, *(one.outcome for one in self.unsettled))
        return frozenset(o.place for o in proving if o.proof is not None and o.place is not None)

    def _ends(self) -> Iterable[datetime]:
        for one in (*self.outcomes, *(each.outcome for each in self.unsettled)):
            if one.proof is not None and one.proof.valid_until is not None:
                yield one.proof.valid_until
        for one_weighed in self.weighed:
            if one_weighed.code is None and one_weighed.at is not None and one_weighed.demand.max_age is not None:
                yield one_weighed.at + one_weighed.demand.max_age


class Memory:
    """The findings of one process, bounded in bytes. For one event loop; `monotonic` is in seconds."""

    def __init__(self, limits: settings.Cache, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._kept: Cache[Key, Findings] = Cache(
            max_entries=MAX_ENTRIES, max_bytes=limits.findings_max_bytes, size_of=size_of, clock=monotonic
        )

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """About what all of it takes."""
        return self._kept.bytes

    def fresh(self, key: Key, now: datetime) -> Findings | None:
        """What was found so lately that nobody needs to be asked again."""
        found = self._kept.get(key)
        return found if found is not None and found.hold(now) else None

    def stale(self, key: Key, now: datetime) -> Findings | None:
        """What was found some time ago, for where nobody answers."""
        found = self._kept.get_stale(key)
        return found if found is not None and found.hold(now) else None

    def forget(self, key: Key) -> None:
        """What was found before stands in for nothing any more."""
        self._kept.remove(key)

    def keep(self, key: Key, found: Findings) -> None:
        """`found`, which satisfied somebody, is there for the next review."""
        self._kept.put(key, found, self._limits.findings_lifetime, stale=self._limits.presence_stale)


class Known:
    """Which signers were verified for a digest, bounded in number and time: what `onUnavailable: known` falls back to.

    It holds outcomes, never decisions: a signer that a policy no longer names counts for nothing there. What was read
    by a pod's own credentials is known to who has the same.
    """

    def __init__(self, limits: settings.Policy) -> None:
        self._limits = limits
        self._verified: dict[_Image, dict[str, float]] = {}  # by signer, when it was last verified

    def signers(self, image: _Image) -> frozenset[str]:
        earliest = time.monotonic() - self._limits.known_lifetime
        return frozenset(signer for signer, at in self._verified.get(image, {}).items() if at > earliest)

    def add(self, image: _Image, outcomes: Iterable[Outcome]) -> None:
        verified = {o.signer.known_as for o in outcomes if o.signer and o.verdict is Verdict.VERIFIED}
        if not verified:
            return
        # Added to what was known: in half an outage only half of the signers are met.
        self._verified[image] = self._verified.pop(image, {}) | dict.fromkeys(verified, time.monotonic())
        if len(self._verified) > self._limits.known_max:
            del self._verified[next(iter(self._verified))]


def stands_in(found: Findings, outcomes: Sequence[Outcome], asked: Sequence[Asked]) -> Outcome | None:
    """The outage for which `found` may stand in for `outcomes`; `None` where it may not.

    Each place that held what it rests on did not answer now: one that did answer knows better.
    """
    answered = {one.place for one in asked if one.answer in (NONE, UNSUPPORTED)}
    away = [o for o in outcomes if _is_away(o)]
    if not found.places or found.places & answered:
        return None
    causes = [next((o for o in away if o.place in (place, None)), None) for place in found.places]
    return causes[0] if all(causes) else None


def is_outage(outcomes: Iterable[Outcome]) -> bool:
    """Something was not seen because nobody answered."""
    return any(map(_is_away, outcomes))


def _is_away(outcome: Outcome) -> bool:
    return outcome.code in UNAVAILABLE and outcome.verdict is Verdict.INCONCLUSIVE


def size_of(found: Findings) -> int:
    """About how many bytes `found` takes."""
    outcomes = [*found.outcomes, *(one.outcome for one in found.unsettled), *(one.outcome for one in found.weighed)]
    return ENTRY_BYTES + sum(OUTCOME_BYTES + _texts(outcome) for outcome in outcomes)


def _texts(outcome: Outcome) -> int:
    size = len(outcome.detail) + sum(len(name) + len(text) for name, text in outcome.facts.items())
    if outcome.proof is not None:
        size += sum(len(name) + len(text) for name, text in outcome.proof.annotations.items())
        size += 64 * len(outcome.proof.authority_keys)
    return size
