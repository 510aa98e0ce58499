"""What each policy demands of an image, found from its reference, digest and namespace alone.

A policy is walked in one fixed order: what it denies everywhere, its namespaces, its exemptions, tags, exceptions, its
rules from the top, and last any one of its signers. Either that settles the matter, or a rule is left that evidence
must meet. Pure, and cheap enough to be asked again once a tag has been resolved; evidence is for `decide` to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from webhook.errors import Code
from webhook.evidence.model import Signer, Wants
from webhook.oci.reference import Digest, Reference
from webhook.policy.decision import Blocked, PolicyDecision, Result, Selection
from webhook.policy.model import Deny, Mode, PolicyException, PolicySet, Rule, Tags, TrustPolicy

__all__ = ["Selection", "blocked", "enforced", "select", "signers", "wants"]


def select(
    policies: PolicySet, *, reference: Reference, digest: Digest | None, namespace: str, now: datetime
) -> tuple[Selection, ...]:
    """One selection for each policy. `digest` is the reference's own, or what its tag was resolved to, if known."""
    question = _Question(policies, reference, digest, namespace, now)
    return tuple(_select(policy, question) for policy in policies.policies)


def blocked(policies: PolicySet) -> Blocked:
    """What any policy denies of keys, certificates and log entries; of several that name one, the first to say so."""
    keys: dict[str, tuple[TrustPolicy, Deny]] = {}
    certificates: dict[str, tuple[TrustPolicy, Deny]] = {}
    log_indices: dict[int, tuple[TrustPolicy, Deny]] = {}
    for policy in policies.policies:
        for entry in policy.deny:
            if entry.key_fingerprint is not None:
                keys.setdefault(entry.key_fingerprint, (policy, entry))
            if entry.certificate_fingerprint is not None:
                certificates.setdefault(entry.certificate_fingerprint, (policy, entry))
            if entry.log_index is not None:
                log_indices.setdefault(entry.log_index, (policy, entry))
    return Blocked(keys, certificates, log_indices)


def wants(selections: Iterable[Selection]) -> Wants:
    """What has to be looked for, so that all rules of `selections` can be judged."""
    rules = list(_rules(selections))
    return Wants(
        signatures=any(_wants_signature(rule, notation=False) for rule in rules),
        notation=any(_wants_signature(rule, notation=True) for rule in rules),
        predicates=frozenset(demand.predicate_type for rule in rules for demand in rule.attestations),
    )


def signers(selections: Iterable[Selection]) -> tuple[Signer, ...]:
    """Each signer of any demand once, of signatures and of attestations, in the policies' order."""
    return tuple(dict.fromkeys(signer for rule in _rules(selections) for signer in _signers(rule)))


def enforced(selections: Iterable[Selection]) -> tuple[Selection, ...]:
    """Those by which a rule that enforces judges the image: not silent, exempting, settled, or only warning."""
    return tuple(one for one in selections if one.mode is Mode.ENFORCE and one.rule is not None)


def _wants_signature(rule: Rule, *, notation: bool) -> bool:
    signed = rule.needed > 0 or not rule.attestations
    return signed and any(signer.kind.is_notation is notation for signer in rule.signers)


def _rules(selections: Iterable[Selection]) -> Iterator[Rule]:
    return (selection.rule for selection in selections if selection.rule is not None)


def _signers(rule: Rule) -> Iterator[Signer]:
    yield from rule.signers
    for demand in rule.attestations:
        yield from demand.signers


@dataclass(frozen=True, slots=True)
class _Question:
    policies: PolicySet
    reference: Reference
    digest: Digest | None
    namespace: str
    now: datetime


def _select(policy: TrustPolicy, question: _Question) -> Selection:
    mode = Mode.ENFORCE if question.namespace in policy.enforce_in else policy.mode
    if denied := _deny(policy, mode, question):
        return Selection(policy, mode, denied, None, False)
    needs_digest = question.digest is None and any(entry.digest is not None for entry in policy.deny)
    if settled := _settle(policy, mode, question):
        # Silence, exemptions and what is only a warning come after `deny`, which may name the digest.
        refused = settled.result is Result.DENIED and mode is Mode.ENFORCE
        return Selection(policy, mode, settled, None, needs_digest and not refused)
    exceptions = _exceptions(policy, question)
    if question.digest is not None:
        for label, exception in exceptions:
            if exception.digest == question.digest:
                return Selection(policy, mode, _admit(policy, mode, label, exception), None, False)
    rule = _rule(policy, question.reference)
    silent = _silent(policy, mode, "no rule of it is about this image") if rule is None else None
    return Selection(policy, mode, silent, rule, needs_digest or (question.digest is None and bool(exceptions)))


def _deny(policy: TrustPolicy, mode: Mode, question: _Question) -> PolicyDecision | None:
    for index, entry in enumerate(policy.deny):
        if found := _denied(entry, question):
            code, detail = found
            return PolicyDecision(policy, mode, Result.DENIED, code, detail, f"deny[{index}]", "", blocked=True)
    return None


def _denied(entry: Deny, question: _Question) -> tuple[Code, str] | None:
    if entry.image is not None and entry.image.matches(question.reference.repository):
        return Code.BLOCKED, entry.reason
    if entry.digest is None or question.digest is None:
        return None
    if entry.digest == question.digest:
        return Code.BLOCKED, entry.reason
    if entry.digest.algorithm != question.digest.algorithm != "sha256":
        # The same bytes have a digest of each algorithm: the unusual one must not lead past the entry.
        return Code.UNSUPPORTED, f"a {question.digest.algorithm} digest cannot be held against {entry.digest}"
    return None


def _settle(policy: TrustPolicy, mode: Mode, question: _Question) -> PolicyDecision | None:
    if question.namespace not in policy.namespaces:
        return _silent(policy, mode, "the namespace is not one of its namespaces")
    for source, patterns in (("exemptRegistries", policy.exempt), ("baselineExempt", question.policies.baseline)):
        for pattern in patterns:
            if pattern.matches(question.reference.repository):
                return PolicyDecision(policy, mode, Result.EXEMPT, None, f"{pattern.text} is exempt", source, "")
    if policy.tags is Tags.DENY and question.reference.digest is None:
        detail = "the reference has no digest, and this policy demands one"
        return PolicyDecision(policy, mode, Result.DENIED, Code.TAG_NOT_ALLOWED, detail, "tags", "a digest")
    return None


def _exceptions(policy: TrustPolicy, question: _Question) -> list[tuple[str, PolicyException]]:
    """Those that hold here and now, for whatever digest."""
    return [
        (f"exceptions[{index}]", exception)
        for index, exception in enumerate(policy.exceptions)
        if question.now < exception.until
        and any(fnmatchcase(question.namespace, glob) for glob in exception.namespaces)
    ]


def _admit(policy: TrustPolicy, mode: Mode, label: str, exception: PolicyException) -> PolicyDecision:
    detail = f"exception until {exception.until:%Y-%m-%d %H:%M}Z: {exception.reason}"
    return PolicyDecision(policy, mode, Result.EXCEPTION, None, detail, label, "", loud=f"admitted by an {detail}")


def _rule(policy: TrustPolicy, reference: Reference) -> Rule | None:
    for rule in policy.rules:
        if any(pattern.matches(reference.repository) for pattern in rule.images):
            return rule
    return policy.default


def _silent(policy: TrustPolicy, mode: Mode, detail: str) -> PolicyDecision:
    return PolicyDecision(policy, mode, Result.SILENT, None, detail, "", "")
