"""The same envelopes through our engine and through the oracle: do both say the same?

That we accept what it refuses is a finding, unless it is one of `LENIENT`. The other way round it must be one of
`STRICTER`: we demand more, and they say where. That both read the same is what `unsigned` compares.

spec: Notary Project, signature specification; trust store and trust policy specification.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.fuzz.mutants import Mutant
from tests.fuzz.notary.seeds import NotarySeed

# Where we accept what the oracle refuses: how its reason reads, and why it is so
LENIENT: Mapping[str, str] = {
    r"timestamp_invalid: malformed token: .*": "a certificate in a token that cannot be read vouches for nothing, and "
    "whoever needs none of it has the same time by the same authority without it, RFC 5652 10.2.2",
}
# Where we refuse what the oracle accepts: how our reason reads, and why it is so. Spec: notation.md 16
STRICTER: Mapping[str, str] = {
    r"malformed: .* differs in case only": "names in one spelling only, since notation-go matches them in any",
    r"malformed: .* stands? twice.*|malformed: .* duplicate.*": "no name twice",
    r"malformed: .* floating-point number.*": "times in whole seconds, which nobody reads in two ways",
    r"malformed: .*: a time in whole seconds, with the tag 1, expected": "a time that is nil is there, and no time",
    r"malformed: .*: a time of RFC 3339 expected.*": "an offset has at most 59 minutes, RFC 3339 5.6",
    r"malformed: .*annotations: an object expected.*": "annotations are a map, also where they are empty",
    r"malformed: payload: not JSON as expected: .*(surrogates not allowed|too large to be read)":
        "text that is no Unicode, and numbers that no reader keeps",
    r"malformed: .* a signature that ends within a byte": "a certificate in one encoding only, for one fingerprint",
    r"malformed: .* not CBOR as expected: the tag .*": "no tag but where one is needed",
    r"malformed: .*signingAgent: (a string|text) expected.*": "an unsigned header has its type, whoever reads it",
    r"malformed: .*timestampSignature: bytes expected": "a countersignature that is none is no absent one",
    r"limit_exceeded: .*": "bounds on all that is read, which the oracle has not",
    r"cert_chain_invalid: .*(it was not issued by the next one|a self-signed root expected).*":
        "the algorithm within what is signed is the one beside it, RFC 5280 4.1.1.2",
    r"cert_chain_invalid: .*(with critical basic constraints|critical key usage is expected, in version 3)":
        "version 1 has no extensions, RFC 5280 4.1.2.1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """One mutant and both verdicts; empty is accepted."""

    seed: str
    how: str
    ours: str
    theirs: str

    @property
    def is_finding(self) -> bool:
        if self.ours:
            return not self.theirs and not self.why_stricter
        return bool(self.theirs) and not self.why_lenient

    @property
    def why_stricter(self) -> str:
        """Why we refuse what the oracle accepts; empty where nobody knows."""
        return _why(STRICTER, self.ours)

    @property
    def why_lenient(self) -> str:
        """Why we accept what the oracle refuses; empty where nobody knows."""
        return _why(LENIENT, self.theirs)

    def __str__(self) -> str:
        return f"{self.seed}, {self.how}: we {self.ours or 'accepted'}, the oracle {self.theirs or 'accepted'}"


@dataclass(slots=True)
class Differences:
    """How many had which verdicts (ours, theirs), why they differ how often, and what must not be."""

    counts: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    findings: list[Compared] = field(default_factory=list)

    def __str__(self) -> str:
        words = {True: "accept", False: "refuse"}
        lines = [f"{count:9,}  we {words[a]}, the oracle {words[b]}" for (a, b), count in self.counts.items()]
        lines += [f"{count:9,}  since {why}" for why, count in self.reasons.most_common()]
        return "\n".join([*lines, *(f"FINDING {finding}" for finding in self.findings)])


def compare(some: Iterable[tuple[NotarySeed, Mutant]]) -> Differences:
    found = Differences()
    for seed, mutant in some:
        judged = seed.judge(mutant.payload, {}, mutant.subject)
        said = f"{judged.code}: {judged.detail}" if judged.code else ""
        one = Compared(seed.name, mutant.how, said, seed.judging.theirs(mutant.payload, mutant.subject))
        found.counts[not one.ours, not one.theirs] += 1
        if one.is_finding:
            found.findings.append(one)
        elif bool(one.ours) != bool(one.theirs):
            found.reasons[one.why_stricter or one.why_lenient] += 1
    return found


def _why(reasons: Mapping[str, str], said: str) -> str:
    return next((why for reason, why in reasons.items() if re.fullmatch(reason, said, re.DOTALL)), "")
