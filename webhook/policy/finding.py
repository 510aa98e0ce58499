"""A finding on a policy: what is allowed, but probably not meant, and where it stands. `lint` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from webhook.policy.model import TrustPolicy


class FindingCode(StrEnum):
    DIFFERENT_EXEMPTIONS = "different_exemptions"
    UNREACHABLE_RULE = "unreachable_rule"
    UNUSED_SIGNER = "unused_signer"
    DENIED_SIGNER = "denied_signer"
    UNMET_DEMAND = "unmet_demand"
    UNUSED_TRUST_ROOT = "unused_trust_root"
    UNUSED_TRUST_STORE = "unused_trust_store"
    REPLACED_TRUST_STORE = "replaced_trust_store"
    EXPIRED_CERTIFICATE = "expired_certificate"
    ENDING_CERTIFICATE = "ending_certificate"
    UNKNOWN_LOG = "unknown_log"
    UNSAFE_IDENTITY = "unsafe_identity"
    ANYBODY_SIGNS = "anybody_signs"
    REVOCATION_NOT_ENFORCED = "revocation_not_enforced"
    IDLE_FIELD = "idle_field"
    ANY_TENANT = "any_tenant"
    ANY_REPOSITORY = "any_repository"
    NO_ADDRESS = "no_address"
    LOOSE_DOT = "loose_dot"
    SCT_NOT_REQUIRED = "sct_not_required"
    LOG_NOT_REQUIRED = "log_not_required"
    AGE_WITHOUT_LOG = "age_without_log"
    AGE_WITHOUT_TIMESTAMP = "age_without_timestamp"
    RENEWABLE_AGE = "renewable_age"
    IDLE_CONDITION = "idle_condition"
    EXPIRED_EXCEPTION = "expired_exception"
    ENDING_EXCEPTION = "ending_exception"
    NAMESPACE_CONTRADICTION = "namespace_contradiction"
    ENFORCE_IN_OUTSIDE = "enforce_in_outside"
    TAGS_ALLOWED = "tags_allowed"
    UNSAFE_EXEMPTION = "unsafe_exemption"
    PULL_THROUGH_EXEMPTION = "pull_through_exemption"
    OFFICIAL_IMAGE = "official_image"
    TAMPERED_UNUSED = "tampered_unused"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`line` is 0 where it is not known; `origin` is the policy's file."""

    origin: str
    policy: str
    line: int
    path: str
    code: FindingCode
    message: str


def found(policy: TrustPolicy, path: str, code: FindingCode, message: str) -> Finding:
    """The finding at `path`, `spec.rules[0]`, of `policy`."""
    origin, _, first_line = policy.origin.rpartition(":")
    line = policy.lines.get(path, int(first_line) if first_line.isdecimal() else 0)
    return Finding(origin or policy.origin, policy.name, line, path, code, message)
