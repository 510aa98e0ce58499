"""Findings on signers of Notary Project signatures, and on trust stores."""

from __future__ import annotations

import pytest

from tests.policy.documents import NOW, head, policy_set
from tests.policy.notary_documents import (
    ACME,
    ACME_AND_CLOCK,
    ARN,
    CA_PEM,
    CERTIFICATES,
    ENDING_PEM,
    EXPIRED_PEM,
    LASTING_PEM,
    PROFILES,
    VERSION,
    certificates,
    profiles,
    store,
)
from webhook.policy.lint import lint

RULE = "spec.certificates[0]"
STAMPED = {"timestamp": {"trustStore": "clock"}}
AUTHORITY = store({"type": "signingAuthority"})
AGED = "  rules: [{images: [a.io], maxAge: 30d}]\n"
NOT_ENFORCED = "revocation_not_enforced"

CASES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "profile": (PROFILES, []),
    "one version of a profile": (profiles({"arn": VERSION}), []),
    "revocation that warns": (profiles({"revocation": "warn"}), [(NOT_ENFORCED, "spec.signerProfiles[0].revocation")]),
    "no revocation": (profiles({"revocation": "off"}), [(NOT_ENFORCED, "spec.signerProfiles[0].revocation")]),
    "revocation enforced": (profiles({"revocation": "enforce"}), []),
    "strict": (certificates({"level": "strict"}) + ACME, []),
    "permissive": (certificates({"level": "permissive"}) + ACME, [(NOT_ENFORCED, f"{RULE}.level")]),
    "audit": (
        certificates({"level": "audit"}) + ACME,
        [("anybody_signs", f"{RULE}.level"), (NOT_ENFORCED, f"{RULE}.level")],
    ),
    "logged authenticity": (
        certificates({"override": {"authenticity": "log"}}) + ACME,
        [("anybody_signs", f"{RULE}.override.authenticity")],
    ),
    "skipped revocation": (
        certificates({"override": {"revocation": "skip"}}) + ACME,
        [(NOT_ENFORCED, f"{RULE}.override.revocation")],
    ),
    "audit with two exceptions": (
        certificates({"level": "audit", "override": {"authenticity": "enforce", "revocation": "enforce"}}) + ACME,
        [],
    ),
    "override that changes nothing": (
        certificates({"override": {"expiry": "enforce", "authenticTimestamp": "log"}}) + ACME,
        [("idle_field", f"{RULE}.override.expiry")],
    ),
    "any subject": (
        certificates({"subjects": None, "unsafeAnySubject": True}) + ACME,
        [("unsafe_identity", f"{RULE}.unsafeAnySubject")],
    ),
    "timestamps of a signing authority": (
        certificates(STAMPED) + store({"type": "signingAuthority"}, {"name": "clock", "type": "tsa"}),
        [("idle_field", f"{RULE}.timestamp")],
    ),
    "timestamps": (certificates(STAMPED) + ACME_AND_CLOCK, []),
    # stores
    "store that nobody names": (PROFILES + ACME, [("unused_trust_store", "spec.trustStores[0]")]),
    "clock that nobody names": (certificates({}) + ACME_AND_CLOCK, [("unused_trust_store", "spec.trustStores[1]")]),
    "store in the place of a built-in one": (
        PROFILES + store({"name": "aws-signer", "type": "signingAuthority"}),
        [("replaced_trust_store", "spec.trustStores[0].name")],
    ),
    "certificate that has ended": (
        certificates({}) + store({"certificates": CA_PEM + EXPIRED_PEM}),
        [("expired_certificate", "spec.trustStores[0].certificates")],
    ),
    "certificate that ends in 30 days": (
        certificates({}) + store({"certificates": ENDING_PEM}),
        [("ending_certificate", "spec.trustStores[0].certificates")],
    ),
    "certificate that ends later": (certificates({}) + store({"certificates": LASTING_PEM}), []),
    # rules
    "age by nobody's clock": (CERTIFICATES + AGED, [("age_without_timestamp", "spec.rules[0].maxAge")]),
    "age by a clock that is looked at late": (
        certificates({"timestamp": {"trustStore": "clock", "verify": "afterCertExpiry"}}) + ACME_AND_CLOCK + AGED,
        [("age_without_timestamp", "spec.rules[0].maxAge")],
    ),
    "age by a clock": (certificates(STAMPED) + ACME_AND_CLOCK + AGED, []),
    "age by a signing authority": (certificates({}) + AUTHORITY + AGED, []),
    "age by AWS Signer": (PROFILES + AGED, []),
    "age of a key in KMS": (
        "  trustedKeys: [{name: k, kms: 'awskms:///alias/x'}]\n" + AGED,
        [("age_without_log", "spec.rules[0].maxAge")],
    ),
    "profile that no rule names": (
        PROFILES + CERTIFICATES + "  rules: [{images: ['**'], signers: [acme]}]\n",
        [("unused_signer", "spec.signerProfiles[0]")],
    ),
    "rule about certificates that no rule names": (
        profiles({}, {"name": "b", "arn": f"{ARN}2"})
        + CERTIFICATES
        + "  rules: [{images: ['**'], signers: [ecr, b]}]\n",
        [("unused_signer", RULE)],
    ),
}


@pytest.mark.parametrize(("more", "expected"), CASES.values(), ids=CASES)
def test_findings_of_one_policy(more: str, expected: list[tuple[str, str]]) -> None:
    findings = lint(policy_set(head() + "  tags: deny\n" + more), now=NOW)
    assert [(finding.code, finding.path) for finding in findings] == expected


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (EXPIRED_PEM, "certificate 1 ended on 2026-11-21"),
        (ENDING_PEM, "certificate 1 ends on 2026-12-21: add the one that follows it"),
    ],
    ids=["ended", "ending"],
)
def test_finding_says_when_a_certificate_ends(pem: str, message: str) -> None:
    text = head() + "  tags: deny\n" + certificates({}) + store({"certificates": pem})
    (finding,) = lint(policy_set(text), now=NOW)
    assert (finding.message, finding.line) == (message, 9)
