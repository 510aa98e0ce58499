"""The trust policy as values, after parsing: nothing in here can be wrong any more.

`document` makes them from YAML; `select` asks what they demand of an image; `decide` holds outcomes against that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import compress

from webhook.evidence.model import Signer
from webhook.oci.reference import Digest, Pattern
from webhook.policy.condition import Condition
from webhook.trust.notary.stores import TrustStore
from webhook.trust.root import RootSource

GLOB = frozenset("*?[")
NAMESPACES_MAX = 10_000  # for which a set knows who speaks; a cluster has a few thousand

# cosign, `--type` of `cosign attest`: names of predicate types; of several for one, the one to be told comes first
PREDICATE_TYPES: Mapping[str, str] = {
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "openvex": "https://openvex.dev/ns",
    "link": "https://in-toto.io/Link/v1",
    "custom": "https://cosign.sigstore.dev/attestation/v1",
}


class Mode(StrEnum):
    ENFORCE = "enforce"
    WARN = "warn"


class Tags(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class OnUnavailable(StrEnum):
    DENY = "deny"
    KNOWN = "known"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Namespaces:
    """`include` are names or globs, `exclude` exact names; exclude wins."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def __contains__(self, namespace: str) -> bool:
        if namespace in self.exclude:
            return False
        return namespace in self.include or any(
            _is_glob(name) and fnmatchcase(namespace, name) for name in self.include
        )


def _is_glob(name: str) -> bool:
    return not GLOB.isdisjoint(name)  # a pattern for each of a thousand names would have to be compiled


class Pick(StrEnum):
    """Which of several attestations of one type must hold."""

    ANY = "any"
    NEWEST = "newest"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class AttestationDemand:
    """One attestation that must be there besides the signatures; `label` names it: `rules[0].attestations[1]`.

    `time_field` is the path below the statement of a signed time, `("predicate", "metadata", "scanFinishedOn")`.
    """

    label: str
    predicate_type: str
    signers: tuple[Signer, ...]
    condition: Condition | None = None
    pick: Pick = Pick.ANY
    max_age: timedelta | None = None
    time_field: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """`needed` is how many distinct materials must have signed, each of another of the `signers`; 0 with attestations
    only. `annotations` must have been signed along, and `max_age` is the age of a signature by a trusted clock.
    `label` names the rule to people: `rules[0]`."""

    label: str
    images: tuple[Pattern, ...]
    signers: tuple[Signer, ...]
    needed: int
    on_unavailable: OnUnavailable
    annotations: tuple[tuple[str, str], ...] = ()
    max_age: timedelta | None = None
    attestations: tuple[AttestationDemand, ...] = ()


@dataclass(frozen=True, slots=True)
class Deny:
    """Exactly one of those below `reason` is set; fingerprints are lower-case hex SHA-256, of a key's SPKI and of a
    certificate's DER."""

    reason: str
    digest: Digest | None = None
    image: Pattern | None = None
    key_fingerprint: str | None = None
    certificate_fingerprint: str | None = None
    log_index: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyException:
    digest: Digest
    namespaces: tuple[str, ...]  # names or globs
    until: datetime  # aware, UTC; the exception holds before it
    reason: str


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """One document. `fingerprint` is the SHA-256 of its canonical content in hex, `revision` its first 12 digits.

    `default` is what decides where no rule's images match; `None` where the policy has no signers: it is then silent
    on every image that is not exempt. `origin` is where it was read: a file's name, and the line it starts on.
    `trust_roots` and `trust_stores` are those that it lists itself, whether or not a signer names them.
    """

    name: str
    revision: str
    origin: str
    mode: Mode
    namespaces: Namespaces
    signers: tuple[Signer, ...]
    exempt: tuple[Pattern, ...]
    rules: tuple[Rule, ...]
    default: Rule | None
    deny: tuple[Deny, ...]
    exceptions: tuple[PolicyException, ...]
    enforce_in: tuple[str, ...]  # exact names
    help: str
    tags: Tags
    tampered: Mode  # `enforce`: evidence that proves tampering denies even in a warn policy; `warn`: it does not
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)  # of each path: `spec.rules[0]`
    trust_roots: tuple[RootSource, ...] = ()
    trust_stores: tuple[TrustStore, ...] = ()
    idle_overrides: tuple[str, ...] = ()  # paths of those that say what their level does anyway
    fingerprint: str = ""

    @property
    def enforces(self) -> bool:
        """Whether it denies anything anywhere: in every namespace of its own, or in some."""
        return self.mode is Mode.ENFORCE or bool(self.enforce_in)


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies in force, swapped as one. `problems` are files, by name, whose last version could not be used.

    `broken` names those of them that never had a good version: what they would demand is unknown.
    `searched` says where policies were looked for. `silent` policies were left out by `within`.
    """

    policies: tuple[TrustPolicy, ...]
    revision: str
    searched: str
    baseline: tuple[Pattern, ...] = ()  # exempt in every policy: COUNTERSIGN_BASELINE_EXEMPT
    problems: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    silent: int = 0
    _within: dict[str, PolicySet] = field(default_factory=dict, init=False, compare=False, repr=False)
    _alike: dict[bytes, PolicySet] = field(default_factory=dict, init=False, compare=False, repr=False)

    def within(self, namespace: str) -> PolicySet:
        """The same without those policies that are silent on every image in `namespace`, found once for each.

        What a policy denies it denies in every namespace.
        """
        found = self._within.get(namespace)
        if found is None:
            if len(self._within) >= NAMESPACES_MAX:
                self._within.clear()
                self._alike.clear()
            found = self._within[namespace] = self._speaking(namespace)
        return found

    def _speaking(self, namespace: str) -> PolicySet:
        # One for all namespaces of which the same policies speak: names come from whoever reaches the port
        speak = bytes(bool(policy.deny) or namespace in policy.namespaces for policy in self.policies)
        found = self._alike.get(speak)
        if found is None:
            kept = tuple(compress(self.policies, speak))
            found = self._alike[speak] = replace(self, policies=kept, silent=len(self.policies) - len(kept))
        return found
