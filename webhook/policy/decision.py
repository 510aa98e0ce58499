"""Decisions as values: what one policy demands of an image and says of it, what became of the image, of the review.

`select` and `decide` make them; `message`, the audit record and the terminal read them. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from webhook.errors import Code
from webhook.evidence.model import Asked, Outcome, Signer
from webhook.oci.reference import Digest
from webhook.policy.model import AttestationDemand, Deny, Mode, Rule, TrustPolicy

Paths = tuple[tuple[str, str], ...]


class Result(StrEnum):
    """What became of one image, or of one policy's demand on it; `SILENT` only of a policy."""

    VERIFIED = "verified"
    EXEMPT = "exempt"
    EXCEPTION = "exception"
    UNCHANGED = "unchanged"
    UNMATCHED = "unmatched"  # no enforcing policy speaks, and the operator's COUNTERSIGN_NO_MATCH=allow admits it
    WARNED = "warned"
    DENIED = "denied"
    ERROR = "error"  # could not be examined
    SILENT = "silent"


REFUSED = frozenset({Result.DENIED, Result.ERROR})


@dataclass(frozen=True, slots=True)
class Blocked:
    """What some policy's `deny[]` says of keys, certificates and log entries, with who says it: in no policy does a
    signature count that was made by, or is, one of these."""

    keys: Mapping[str, tuple[TrustPolicy, Deny]] = field(default_factory=dict)  # by fingerprint
    certificates: Mapping[str, tuple[TrustPolicy, Deny]] = field(default_factory=dict)  # by fingerprint
    log_indices: Mapping[int, tuple[TrustPolicy, Deny]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Weighed:
    """One verified attestation held against one demand for it; `code` is `None` where it holds.

    `at` is the time its age counts from; `saw` is what its condition saw.
    """

    demand: AttestationDemand
    outcome: Outcome  # its proof without the statement, which may be large
    at: datetime | None
    code: Code | None
    detail: str
    saw: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AttestationLine:
    """What became of one demand for an attestation; `code` is `None` where it is met."""

    label: str
    predicate_type: str
    code: Code | None
    detail: str
    saw: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """What one policy says of one image. `mode` is the effective one in the review's namespace.

    `result` is VERIFIED, EXEMPT, EXCEPTION, DENIED, ERROR or SILENT, whatever the mode: the mode is applied when the
    image is decided; WARNED is an image that nobody verified, admitted because its registry could not answer and the
    rule says `onUnavailable: allow`. `counted` names the signers whose material counted; `outcomes` is everything that
    was looked at for the rule, a verified signature that it cannot use as a rejected one. `signers` are those whose
    signature it demands, `attestations` what became of each that it demands. `barred` says of a signer, by name, who
    blocks its key and why. `loud` is how an admission that is less than a verification must be told, and `notes` what
    is wrong with signatures that count all the same, since the policy wants it only told.
    """

    policy: TrustPolicy
    mode: Mode
    result: Result
    code: Code | None
    detail: str
    rule: str  # `rules[0]`, `signers` (no rule matched, or there are none), `exemptRegistries`, `deny[0]`, …
    wants: str  # `any of: release, pipeline`; empty where nothing is demanded
    needed: int = 0
    counted: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    tampered: bool = False  # denies in a warn policy too
    blocked: bool = False  # a `deny[]` entry: denies in a warn policy too
    signers: tuple[Signer, ...] = ()
    barred: Mapping[str, str] = field(default_factory=dict)
    loud: str = ""
    attestations: tuple[AttestationLine, ...] = ()
    notes: tuple[str, ...] = ()  # `ecr: revoked: signing job …`

    @property
    def refuses(self) -> bool:
        """Whether the image may not run because of this policy alone."""
        if self.blocked or self.tampered:
            return True
        return self.mode is Mode.ENFORCE and self.result in REFUSED


class Stale(StrEnum):
    """What was learned before, and stands in for an answer that could not be had now."""

    PRESENCE = "presence"  # of evidence in its registry
    REVOCATION = "revocation"  # that nothing was revoked
    KEY = "key"  # in a key service
    TAG = "tag"  # the digest behind it; only where that is written into the pod


@dataclass(frozen=True, slots=True)
class ImageDecision:
    """`paths` are all places of the object at which `reference` stands: `("spec.containers[0]", "api")`."""

    reference: str
    paths: Paths
    digest: Digest | None
    result: Result
    code: Code | None
    detail: str
    policies: tuple[PolicyDecision, ...] = ()
    asked: tuple[Asked, ...] = ()
    warnings: tuple[str, ...] = ()  # said to the user whatever the result
    stale: Mapping[Stale, str] = field(default_factory=dict, hash=False)  # since when, and why nobody says more now


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """`status` is the HTTP-like code of a denial: 403, 400, 503 or 504; 200 when allowed."""

    allowed: bool
    status: int
    images: tuple[ImageDecision, ...]
    revision: str  # of the policy set


@dataclass(frozen=True, slots=True)
class Selection:
    """What one policy demands of one image: `decision` where nothing needs to be examined, otherwise `rule`.

    `mode` is the effective one: `enforceIn` has been applied. `needs_digest` says that the policy names digests and
    the image's is not known yet: the selection is not final, and nothing is admitted by it.
    """

    policy: TrustPolicy
    mode: Mode
    decision: PolicyDecision | None
    rule: Rule | None
    needs_digest: bool


@dataclass(frozen=True, slots=True)
class SignerLine:
    """The best that was found for one signer; `code` is `None` where its signature counts."""

    name: str
    code: Code | None
    detail: str
