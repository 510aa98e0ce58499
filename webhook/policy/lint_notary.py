"""Findings on signers of Notary Project signatures and on the trust stores behind them.

A level or an override may let a failed check pass, which is what they are for; here it is said what that lets in. A
certificate that has ended is no mistake, since nobody changes a policy because a day has passed.

spec: Notary Project, trust store and trust policy specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509

from webhook.policy import lint_demands
from webhook.policy.finding import Finding, FindingCode, found
from webhook.policy.model import TrustPolicy
from webhook.trust.notary.levels import Action, CertificateRule, Check
from webhook.trust.notary.profile import SigningProfile
from webhook.trust.notary.stores import BUILT_IN, StoreKind, TrustStore

ENDING_SOON = timedelta(days=30)  # to have another certificate made, and its store changed in every cluster


def lint(policy: TrustPolicy, *, now: datetime) -> Iterator[Finding]:
    """The findings on one policy."""
    for path, signer in lint_demands.paths(policy):
        match signer.material:
            case SigningProfile() as profile:
                yield from _revocation(policy, f"{path}.revocation", profile.revocation)
            case CertificateRule() as rule:
                yield from _rule(policy, path, rule)
    for path in policy.idle_overrides:
        yield found(policy, path, FindingCode.IDLE_FIELD, "the level says so anyway: leave it out")
    yield from _stores(policy, now)


def _rule(policy: TrustPolicy, path: str, rule: CertificateRule) -> Iterator[Finding]:
    actions = dict(rule.actions)
    if not rule.subjects:
        message = "whoever has a certificate of the trust store may sign"
        yield found(policy, f"{path}.unsafeAnySubject", FindingCode.UNSAFE_IDENTITY, message)
    if actions[Check.AUTHENTICITY] is not Action.ENFORCE:
        message = "admits what anybody signed, by whatever certificate: who it was is only told"
        yield found(policy, _cause(policy, path, Check.AUTHENTICITY), FindingCode.ANYBODY_SIGNS, message)
    yield from _revocation(policy, _cause(policy, path, Check.REVOCATION), actions[Check.REVOCATION])
    if rule.timestamp_stores and all(store.kind is not StoreKind.CA for store in rule.stores):
        message = "never looked at: a signing authority says itself when it signed"
        yield found(policy, f"{path}.timestamp", FindingCode.IDLE_FIELD, message)


def _cause(policy: TrustPolicy, path: str, check: Check) -> str:
    """Where the action of `check` is chosen."""
    override = f"{path}.override.{check}"
    return override if override in policy.lines else f"{path}.level"


def _revocation(policy: TrustPolicy, path: str, action: Action) -> Iterator[Finding]:
    told = {Action.LOG: "what was revoked is admitted, and only told", Action.SKIP: "nobody is asked what was revoked"}
    if action in told:
        yield found(policy, path, FindingCode.REVOCATION_NOT_ENFORCED, told[action])


def _stores(policy: TrustPolicy, now: datetime) -> Iterator[Finding]:
    used = {store.name for _, signer in lint_demands.paths(policy) for store in _named(signer.material)}
    for index, store in enumerate(policy.trust_stores):
        path = f"spec.trustStores[{index}]"
        if store.name not in used:
            message = f"no signer names the trust store {store.name}"
            yield found(policy, path, FindingCode.UNUSED_TRUST_STORE, message)
        if store.name in BUILT_IN.values():
            message = f"takes the place of the built-in store {store.name}: signatures by AWS itself may count no more"
            yield found(policy, f"{path}.name", FindingCode.REPLACED_TRUST_STORE, message)
        for number, der in enumerate(store.certificates, start=1):
            yield from _certificate(policy, f"{path}.certificates", number, der, now)


def _named(material: object) -> tuple[TrustStore, ...]:
    match material:
        case SigningProfile() as profile:
            return (profile.store,)
        case CertificateRule() as rule:
            return (*rule.stores, *rule.timestamp_stores)
    return ()


def _certificate(policy: TrustPolicy, path: str, number: int, der: bytes, now: datetime) -> Iterator[Finding]:
    end = x509.load_der_x509_certificate(der).not_valid_after_utc  # read once already, when the policy was loaded
    moment = f"{end:%Y-%m-%d}"
    if end < now:
        message = f"certificate {number} ended on {moment}"
        yield found(policy, path, FindingCode.EXPIRED_CERTIFICATE, message)
    elif end - now <= ENDING_SOON:
        message = f"certificate {number} ends on {moment}: add the one that follows it"
        yield found(policy, path, FindingCode.ENDING_CERTIFICATE, message)
