"""Levels: what becomes of each check's failure, and what a rule may never leave out."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.notation import aws_like
from webhook.trust.notary import levels, subject
from webhook.trust.notary.levels import Action, CertificateRule, Check, Level, VerifyTimestamp
from webhook.trust.notary.stores import StoreKind

LETTERS = {"E": Action.ENFORCE, "L": Action.LOG, "S": Action.SKIP}
ROOT = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root")
RULE = CertificateRule(
    (ROOT.store("acme", StoreKind.CA),),
    (subject.parse("C=US,ST=WA,O=Acme"),),
    levels.actions_of(Level.STRICT),
)


@pytest.mark.parametrize(
    ("level", "override", "expected"),
    [  # integrity, authenticity, authentic timestamp, expiry, revocation
        (Level.STRICT, {}, "EEEEE"),
        (Level.PERMISSIVE, {}, "EELLL"),
        (Level.AUDIT, {}, "ELLLL"),
        (Level.SKIP, {}, "SSSSS"),
        (Level.STRICT, {Check.REVOCATION: Action.SKIP}, "EEEES"),
        (Level.STRICT, {Check.EXPIRY: Action.LOG}, "EEELE"),
        (Level.PERMISSIVE, {Check.AUTHENTIC_TIMESTAMP: Action.ENFORCE}, "EEELL"),
        (Level.PERMISSIVE, {Check.AUTHENTICITY: Action.LOG, Check.REVOCATION: Action.ENFORCE}, "ELLLE"),
        (Level.AUDIT, {Check.AUTHENTICITY: Action.ENFORCE}, "EELLL"),
    ],
)
def test_actions(level: Level, override: Mapping[Check, Action], expected: str) -> None:
    actions = levels.actions_of(level, override)
    assert [check for check, _ in actions] == list(Check)
    assert [action for _, action in actions] == [LETTERS[letter] for letter in expected]


@pytest.mark.parametrize("check", [check for check in Check if check is not Check.REVOCATION])
def test_a_rule_skips_nothing_but_revocation(check: Check) -> None:
    skipping = levels.actions_of(Level.STRICT, {Check.REVOCATION: Action.SKIP})
    assert replace(RULE, actions=skipping).actions == skipping
    with pytest.raises(ValueError, match=r"skipped|enforced"):
        replace(RULE, actions=levels.actions_of(Level.STRICT, {check: Action.SKIP}))


def test_integrity_is_never_only_told() -> None:
    with pytest.raises(ValueError, match="integrity"):
        replace(RULE, actions=levels.actions_of(Level.STRICT, {Check.INTEGRITY: Action.LOG}))


def test_level_skip_is_no_rule() -> None:
    with pytest.raises(ValueError, match="integrity"):
        replace(RULE, actions=levels.actions_of(Level.SKIP))


def test_rules_that_judge_otherwise_have_other_terms() -> None:
    other = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root")
    changed = [
        replace(RULE, stores=(other.store("acme", StoreKind.CA),)),
        replace(RULE, subjects=()),
        replace(RULE, actions=levels.actions_of(Level.AUDIT)),
        replace(RULE, timestamp_stores=(ROOT.store("tsa", StoreKind.TSA),)),
        replace(RULE, verify_timestamp=VerifyTimestamp.AFTER_CERT_EXPIRY),
    ]
    assert len({RULE.terms, *(rule.terms for rule in changed)}) == 6
    assert pickle.loads(pickle.dumps(RULE)).terms == RULE.terms


def test_a_rule_in_words() -> None:
    assert str(RULE) == "C=US, ST=WA, O=Acme under ca:acme"
    assert str(replace(RULE, subjects=())) == "any subject under ca:acme"
