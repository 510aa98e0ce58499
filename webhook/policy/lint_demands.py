"""Findings on signers, on the trust roots behind them, and on what rules demand of them.

What a pattern for identities leaves open is asked of all texts that it matches, see `openness`; what leaves too much
open without saying so is no finding but a mistake, and does not load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

from webhook.evidence.model import Signer, SignerKind
from webhook.oci.reference import Pattern
from webhook.policy.finding import Finding, FindingCode, found
from webhook.policy.model import AttestationDemand, Pick, Rule, TrustPolicy
from webhook.trust import expression, openness
from webhook.trust.identity import Identity
from webhook.trust.notary.levels import CertificateRule, VerifyTimestamp
from webhook.trust.notary.stores import StoreKind


def denied(policies: Iterable[TrustPolicy]) -> Mapping[str, str]:
    """The policy that denies a key, by its fingerprint: what one of them denies counts everywhere."""
    return {entry.key_fingerprint: policy.name for policy in policies for entry in policy.deny if entry.key_fingerprint}


def lint(policy: TrustPolicy, denied: Mapping[str, str]) -> Iterator[Finding]:
    """The findings on one policy, where these keys are `denied`."""
    yield from _signers(policy, denied)
    yield from _trust_roots(policy)
    for index, rule in enumerate(policy.rules):
        yield from _rule(policy, f"spec.rules[{index}]", rule, denied)


def _signers(policy: TrustPolicy, denied: Mapping[str, str]) -> Iterator[Finding]:
    named = {signer.name for rule in policy.rules for signer in _all_signers(rule)}
    default_decides = not any(_is_everything(pattern) for rule in policy.rules for pattern in rule.images)
    for path, signer in paths(policy):
        if signer.name not in named and not default_decides:
            message = f"no rule names {signer.name}, and the rules cover every image: its signatures count for nothing"
            yield found(policy, path, FindingCode.UNUSED_SIGNER, message)
        if denier := denied.get(signer.fingerprint):
            message = f"policy {denier} denies this key: signatures of {signer.name} count for nothing"
            yield found(policy, path, FindingCode.DENIED_SIGNER, message)
        if isinstance(signer.material, Identity):
            yield from _identity(policy, path, signer.material)
        yield from _trust(policy, path, signer)


def _all_signers(rule: Rule) -> Iterator[Signer]:
    yield from rule.signers
    for demand in rule.attestations:
        yield from demand.signers


def paths(policy: TrustPolicy) -> Iterator[tuple[str, Signer]]:
    """Each signer, and where it stands: `signers` holds several lists of the document, one after the other."""
    for field, kind in _FIELDS.items():
        listed = [signer for signer in policy.signers if signer.kind is kind]
        yield from ((f"spec.{field}[{index}]", signer) for index, signer in enumerate(listed))


_FIELDS = {
    "trustedKeys": SignerKind.KEY,
    "keyless": SignerKind.KEYLESS,
    "signerProfiles": SignerKind.PROFILE,
    "certificates": SignerKind.CERTIFICATE,
}


def _is_everything(pattern: Pattern) -> bool:
    return pattern.host is None and not pattern.segments and pattern.shortest <= 1 and pattern.open_ended


def _identity(policy: TrustPolicy, path: str, identity: Identity) -> Iterator[Finding]:
    unsafe = {
        "unsafeIssuerRegex": identity.unsafe_issuer_regex,
        "unsafeSubjectGlob": identity.unsafe_subject_glob,
        "unsafeSubjectRegex": identity.unsafe_subject_regex,
    }
    for field, value in unsafe.items():
        if value is not None:
            message = "whoever it lets in may sign: what it leaves open is not checked"
            yield found(policy, f"{path}.{field}", FindingCode.UNSAFE_IDENTITY, message)
    regexes = {"issuerRegex": identity.issuer_regex, "subjectRegex": identity.subject_regex}
    for field, pattern in regexes.items():
        if pattern is not None and openness.has_loose_dot(pattern):
            message = "an unescaped . in a host stands for any character: write \\."
            yield found(policy, f"{path}.{field}", FindingCode.LOOSE_DOT, message)
    if identity.issuer_regex and openness.is_any_tenant(expression.parse(identity.issuer_regex).automaton):
        message = "the path is not written out: every tenant of that issuer is let in that fits the subject"
        yield found(policy, f"{path}.issuerRegex", FindingCode.ANY_TENANT, message)
    for field, read in (("subjectGlob", identity.subject_glob), ("subjectRegex", identity.subject_regex)):
        if read is None:
            continue
        automaton = (expression.parse_glob if field == "subjectGlob" else expression.parse)(read).automaton
        if openness.is_no_address(automaton):
            message = "matches no URL and no e-mail address: a pattern must match all of the name, not a part of it"
            yield found(policy, f"{path}.{field}", FindingCode.NO_ADDRESS, message)
        if openness.is_any_repository(automaton):
            message = "the repository is not written out: whoever may run a workflow in any other of them may sign"
            yield found(policy, f"{path}.{field}", FindingCode.ANY_REPOSITORY, message)


def _trust(policy: TrustPolicy, path: str, signer: Signer) -> Iterator[Finding]:
    root = signer.trust_root
    if root is None:
        return
    if signer.kind is SignerKind.KEYLESS and not root.require_sct:
        message = f"the trust root {root.name} demands no SCT: a certificate that nobody saw being issued counts"
        yield found(policy, path, FindingCode.SCT_NOT_REQUIRED, message)
    if signer.kind is SignerKind.KEY and not signer.require_log and f"{path}.trustRoot" in policy.lines:
        message = "without requireLog: true no log entry is demanded; one that is there must be right"
        yield found(policy, f"{path}.trustRoot", FindingCode.LOG_NOT_REQUIRED, message)


def _trust_roots(policy: TrustPolicy) -> Iterator[Finding]:
    used = {signer.trust_root.name for signer in policy.signers if signer.trust_root}
    for index, root in enumerate(policy.trust_roots):
        path = f"spec.trustRoots[{index}]"
        if root.name not in used:
            yield found(policy, path, FindingCode.UNUSED_TRUST_ROOT, f"no signer names the trust root {root.name}")
        for note in root.inline.notes if root.inline else ():
            yield found(policy, path, FindingCode.UNKNOWN_LOG, note)


def _rule(policy: TrustPolicy, path: str, rule: Rule, denied: Mapping[str, str]) -> Iterator[Finding]:
    yield from _unmet(policy, path, rule.signers, rule.needed, denied)
    yield from _age(policy, path, rule.signers, rule.max_age)
    for index, demand in enumerate(rule.attestations):
        below = f"{path}.attestations[{index}]"
        yield from _unmet(policy, below, demand.signers, 1, denied)
        if not demand.time_field:
            yield from _age(policy, below, demand.signers, demand.max_age)
            if demand.pick is Pick.NEWEST and demand.max_age is None:
                yield from _renewable(policy, f"{below}.pick", demand.signers)
        yield from _condition(policy, below, demand)


def _unmet(
    policy: TrustPolicy, path: str, signers: Sequence[Signer], needed: int, denied: Mapping[str, str]
) -> Iterator[Finding]:
    left = [signer for signer in signers if signer.fingerprint not in denied]
    if len(left) < needed:
        message = f"can never be met: of its signers {_names(s for s in signers if s not in left)} are denied"
        yield found(policy, path, FindingCode.UNMET_DEMAND, message)


def _age(policy: TrustPolicy, path: str, signers: Iterable[Signer], age: timedelta | None) -> Iterator[Finding]:
    if age is None:
        return
    signers, path = tuple(signers), f"{path}.maxAge"
    unlogged = [signer for signer in signers if signer.kind is SignerKind.KEY and not signer.require_log]
    unstamped = [signer for signer in signers if _signs_itself(signer) and not _is_stamped(signer)]
    if unlogged:
        message = f"an age needs a log entry or a timestamp, which nothing demands of {_names(unlogged)}"
        yield found(policy, path, FindingCode.AGE_WITHOUT_LOG, f"{message}: requireLog does")
    if unstamped:
        message = f"an age needs a timestamp, which is not demanded of all signatures of {_names(unstamped)}"
        yield found(policy, path, FindingCode.AGE_WITHOUT_TIMESTAMP, f"{message}: timestamp, with verify: always, does")
    if not unlogged and not unstamped:
        yield from _renewable(policy, path, signers)


def _signs_itself(signer: Signer) -> bool:
    """A certificate of the signer's own; a signing authority, as AWS Signer is, says when it signed."""
    material = signer.material
    return isinstance(material, CertificateRule) and any(store.kind is StoreKind.CA for store in material.stores)


def _is_stamped(signer: Signer) -> bool:
    material = signer.material
    if not isinstance(material, CertificateRule):
        return False
    return bool(material.timestamp_stores) and material.verify_timestamp is VerifyTimestamp.ALWAYS


def _renewable(policy: TrustPolicy, path: str, signers: Iterable[Signer]) -> Iterator[Finding]:
    """A keyless certificate ends minutes after it was issued, and the Notary Project's signers sign a time, which makes
    it no younger; nothing ends what a key has signed."""
    lasting = [signer for signer in signers if signer.kind is SignerKind.KEY]
    if lasting:
        message = f"an old signature by {_names(lasting)} can be logged or stamped anew, and is young then"
        yield found(policy, path, FindingCode.RENEWABLE_AGE, message)


def _condition(policy: TrustPolicy, path: str, demand: AttestationDemand) -> Iterator[Finding]:
    if demand.condition is not None and not _LOOKS_AT_IT.search(demand.condition.text):
        message = "it mentions neither predicate nor statement: it says nothing of the attestation"
        yield found(policy, f"{path}.condition", FindingCode.IDLE_CONDITION, message)


_LOOKS_AT_IT = re.compile(r"\b(?:predicate|statement)\b")


def _names(signers: Iterable[Signer]) -> str:
    return ", ".join(signer.name for signer in signers)
