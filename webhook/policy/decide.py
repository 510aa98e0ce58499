"""Outcomes to a decision: per policy, per image, per review. The strictest result wins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from webhook.errors import Code
from webhook.evidence.model import Asked, Outcome
from webhook.oci.reference import Digest
from webhook.policy.model import Mode, TrustPolicy


class Result(StrEnum):
    """What became of one image, or of one policy's demand on it; `SILENT` only of a policy."""

    VERIFIED = "verified"
    EXEMPT = "exempt"
    EXCEPTION = "exception"
    UNCHANGED = "unchanged"
    UNMATCHED = "unmatched"  # no enforcing policy speaks, and the operator's `noMatch: allow` admits that
    WARNED = "warned"
    DENIED = "denied"
    ERROR = "error"  # could not be examined
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """What one policy says of one image. `mode` is the effective one in the review's namespace.

    `result` is VERIFIED, EXEMPT, EXCEPTION, DENIED, ERROR or SILENT, whatever the mode: the mode is applied when the
    image is decided. `counted` names the signers whose material counted; `outcomes` is everything that was looked at.
    """

    policy: TrustPolicy
    mode: Mode
    result: Result
    code: Code | None
    detail: str
    rule: str  # `rules[0]`, `signers` (no rule matched, or there are none), `exemptRegistries[2]`, `deny[0]`, …
    wants: str  # `any of: release, pipeline`; empty where nothing is demanded
    needed: int = 0
    counted: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    tampered: bool = False  # denies in a warn policy too
    blocked: bool = False  # a `deny[]` entry: denies in a warn policy too


@dataclass(frozen=True, slots=True)
class ImageDecision:
    """`paths` are all places of the object at which `reference` stands: `("spec.containers[0]", "api")`."""

    reference: str
    paths: tuple[tuple[str, str], ...]
    digest: Digest | None
    result: Result
    code: Code | None
    detail: str
    policies: tuple[PolicyDecision, ...] = ()
    asked: tuple[Asked, ...] = ()
    warnings: tuple[str, ...] = ()  # said to the user whatever the result


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """`status` is the HTTP-like code of a denial: 403, 400, 503 or 504; 200 when allowed."""

    allowed: bool
    status: int
    images: tuple[ImageDecision, ...]
    revision: str  # of the policy set
