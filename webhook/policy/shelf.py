"""What several places say of policies, and the last good version of each: how new texts become the set in force.

A place is a file, or a ConfigMap. One whose text cannot be used, or that takes a name which another place has, is a
problem that the set carries, and what it said before stays in force. Of two that say the same name, the first in the
order given keeps it. When a text is read, and what is kept of it, is for `source` and `configmaps`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from webhook.oci.reference import Pattern
from webhook.policy.model import PolicySet, TrustPolicy
from webhook.policy.syntax.mistakes import Mistake, PolicyErrors


@dataclass(frozen=True, slots=True)
class Reading:
    """What a place says now: `policies`, or `None` and the `mistakes` for which it cannot be used."""

    policies: tuple[TrustPolicy, ...] | None
    content: str  # a digest of the text; empty where there is none
    mistakes: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """The mistakes in one line, empty where there are none."""
        if not self.mistakes:
            return ""
        first, *more = self.mistakes
        return f"{first}; and {len(more)} more" if more else first


@dataclass(frozen=True, slots=True)
class Place:
    """`good` is in force, and `None` where there never was a version to be used; `mistakes` is why `now` is not."""

    now: Reading
    good: Reading | None
    mistakes: tuple[str, ...] = ()

    @property
    def policies(self) -> tuple[TrustPolicy, ...]:
        """Those in force."""
        return self.good.policies or () if self.good else ()

    @property
    def problem(self) -> str:
        """The mistakes in one line, empty where there are none."""
        return Reading(None, "", self.mistakes).problem


def misread(errors: PolicyErrors, content: str) -> Reading:
    """A text that cannot be used, for these mistakes."""
    return Reading(None, content, tuple(str(mistake) for mistake in errors.mistakes))


def shelve(readings: Mapping[str, Reading], good: Mapping[str, Reading]) -> dict[str, Place]:
    """Each place with its version in force; `good` are those of before, by the same names."""
    taken: dict[str, str] = {}
    places: dict[str, Place] = {}
    for name, reading in readings.items():
        mistakes, best = reading.mistakes, good.get(name)
        if reading.policies is not None:
            mistakes = tuple(mistake.message for mistake in clashes(reading.policies, taken))
            best = best if mistakes else reading
        places[name] = place = Place(reading, best, mistakes)
        for policy in place.policies:
            taken.setdefault(policy.name, name)
    return places


def clashes(policies: Iterable[TrustPolicy], taken: Mapping[str, str]) -> list[Mistake]:
    """The mistakes of policies whose name another place has; `taken` are those places, by policy."""
    return [_second(policy, taken[policy.name]) for policy in policies if policy.name in taken]


def second_names(policies: Iterable[TrustPolicy]) -> list[Mistake]:
    """The mistakes of policies that have the name of an earlier one."""
    first: dict[str, TrustPolicy] = {}
    return [
        _second(policy, other.origin)
        for policy in policies
        if (other := first.setdefault(policy.name, policy)) is not policy
    ]


def _second(policy: TrustPolicy, where: str) -> Mistake:
    path, origin = "metadata.name", policy.origin.rpartition(":")[0]
    message = f"the policy {policy.name} is in {where} already"
    return Mistake(origin, policy.lines.get(path, 1), 1, path, message)


def make_set(
    places: Mapping[str, Place],
    *,
    searched: str,
    baseline: tuple[Pattern, ...],
    unseen: str = "",
    broken: Collection[str] = (),
) -> PolicySet:
    """What is in force; `unseen` is why the places themselves could not be looked at, and `broken` joins the others."""
    problems = {searched: unseen} if unseen else {}
    problems |= {name: place.problem for name, place in places.items() if place.mistakes}
    never_good = (name for name, place in places.items() if place.good is None)
    policies = tuple(policy for place in places.values() for policy in place.policies)
    return PolicySet(policies, revision(policies), searched, baseline, problems, (*broken, *never_good))


def revision(policies: Iterable[TrustPolicy]) -> str:
    """The first 12 hex digits by which a set is known."""
    text = "\n".join(f"{policy.name} {policy.revision}" for policy in policies)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
