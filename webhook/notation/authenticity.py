"""Whose signature it is: the second check, in two steps, a certificate that is trusted and an identity that is meant.

Which stores count is decided by the signing scheme: one of another type is never consulted, whatever it holds. Who
signed is the subject of the leaf, or for AWS Signer the signing profile, and never the one in place of the other.

spec: Notary Project, trust store and trust policy specification, trust store, trusted identities.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from webhook.errors import Code, RejectedError, quote
from webhook.notation import signer
from webhook.notation.envelope import Scheme
from webhook.notation.signature import Signature
from webhook.trust.notary import profile, subject
from webhook.trust.notary.levels import CertificateRule
from webhook.trust.notary.profile import SigningProfile
from webhook.trust.notary.stores import StoreKind, TrustStore
from webhook.trust.notary.subject import Subject

Rule = SigningProfile | CertificateRule

_KINDS = {Scheme.X509: StoreKind.CA, Scheme.SIGNING_AUTHORITY: StoreKind.SIGNING_AUTHORITY}


def check_kind(signature: Signature, rule: Rule) -> None:
    """`rule` may speak of `signature` at all, whatever its level. Raises: RejectedError, `identity_mismatch`."""
    if signature.signing is not None and isinstance(rule, CertificateRule):
        # All customers of AWS Signer share one subject under one root: the rule would mean all of them
        raise _mismatch(f"made by {signature.whom}: in spec.signerProfiles a policy names it, never by certificates")


def verify(signature: Signature, rule: Rule) -> TrustStore:
    """A store of `rule` trusts the chain, and `rule` means who signed. Returns the store.

    Raises: RejectedError: `untrusted_material`, `identity_mismatch`.
    """
    store = _store_of(signature, rule)
    if isinstance(rule, CertificateRule):
        _verify_subject(signature.envelope.chain[0], rule.subjects)
        return store
    if signature.signing is None:
        raise _mismatch(f"made by {signature.whom}, and this signer is a profile of AWS Signer")
    if problem := profile.store_problem(rule.arn, store):
        raise _untrusted(problem)
    signer.verify(signature.signing, rule)
    return store


def _store_of(signature: Signature, rule: Rule) -> TrustStore:
    scheme = signature.envelope.scheme
    consulted = [store for store in rule.stores if store.kind is _KINDS[scheme]]
    if not consulted and isinstance(rule, SigningProfile):
        raise _untrusted(f"made by {signature.whom}, and this signer is a profile of AWS Signer")
    if not consulted:
        named = ", ".join(map(str, rule.stores))
        raise _untrusted(f"the scheme {scheme} needs a trust store of the type {_KINDS[scheme]}, and this is {named}")
    for store in consulted:
        if not set(store.certificates).isdisjoint(signature.envelope.ders):
            return store
    names = ", ".join(map(str, consulted))
    raise _untrusted(f"none of its certificates, up to {signature.root}, is in the trust store {names}")


def _verify_subject(leaf: x509.Certificate, subjects: Sequence[Subject]) -> None:
    if not subjects:
        return
    signed_by = subject.of_certificate(leaf)
    if not any(rule.matches(signed_by) for rule in subjects):
        raise _mismatch(f"the certificate's subject is {quote(str(signed_by))}")


def _untrusted(problem: str) -> RejectedError:
    return RejectedError(Code.UNTRUSTED_MATERIAL, problem)


def _mismatch(problem: str) -> RejectedError:
    return RejectedError(Code.IDENTITY_MISMATCH, problem)
