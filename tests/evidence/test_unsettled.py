"""What is verified but for revocation becomes an outcome by the answers, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from webhook.errors import Code
from webhook.evidence.model import Outcome, Verdict
from webhook.evidence.unsettled import STALE, Ask, Unsettled, settle
from webhook.trust.notary.inquiry import ChainInquiry, Inquiry, SignerInquiry, Standing, Status
from webhook.trust.notary.levels import Action, Check

VERIFIED = Outcome(Verdict.VERIFIED, None, "signed", facts={"expiry": "ok"})
SIGNER = SignerInquiry("aws", "us-west-2", datetime(2026, 1, 1, tzinfo=UTC), "arn:profile", "arn:job", ("a" * 192,))
CHAIN, CLOCK = ChainInquiry((b"leaf", b"root")), ChainInquiry((b"clock", b"root"))
GOOD, REVOKED, UNKNOWN = (Status(standing, "said so") for standing in Standing)


def settled(answers: dict[Inquiry, Status], *asks: Ask) -> Outcome:
    return settle(Unsettled(VERIFIED, asks), answers)


@pytest.mark.parametrize("check", [Check.REVOCATION, Check.AUTHENTIC_TIMESTAMP])
@pytest.mark.parametrize("action", [Action.ENFORCE, Action.LOG])
def test_what_is_not_revoked_stands(check: Check, action: Action) -> None:
    outcome = settled({SIGNER: GOOD}, Ask(check, action, SIGNER))
    assert (outcome.verdict, outcome.notes) == (Verdict.VERIFIED, ())
    assert outcome.facts == {"expiry": "ok", check: "ok"}


def test_an_answer_of_before_counts_and_is_told() -> None:
    stale = Status(Standing.GOOD, stale="nothing was revoked at noon")
    outcome = settled({SIGNER: stale}, Ask(Check.REVOCATION, Action.ENFORCE, SIGNER))
    assert (outcome.verdict, outcome.notes) == (Verdict.VERIFIED, ())
    assert outcome.facts == {"expiry": "ok", "revocation": "ok", STALE: "nothing was revoked at noon"}


@pytest.mark.parametrize(
    ("check", "answer", "verdict", "code"),
    [
        (Check.REVOCATION, REVOKED, Verdict.REJECTED, Code.REVOKED),
        (Check.REVOCATION, UNKNOWN, Verdict.INCONCLUSIVE, Code.REVOCATION_UNKNOWN),
        (Check.AUTHENTIC_TIMESTAMP, REVOKED, Verdict.REJECTED, Code.TIME_INVALID),
        (Check.AUTHENTIC_TIMESTAMP, UNKNOWN, Verdict.INCONCLUSIVE, Code.REVOCATION_UNKNOWN),
    ],
)
def test_revoked_is_refused_and_an_outage_is_no_revocation(
    check: Check, answer: Status, verdict: Verdict, code: Code
) -> None:
    outcome = settled({CHAIN: answer}, Ask(check, Action.ENFORCE, CHAIN))
    assert (outcome.verdict, outcome.code, outcome.proof) == (verdict, code, None)

    told = settled({CHAIN: answer}, Ask(check, Action.LOG, CHAIN))
    assert told.verdict is Verdict.VERIFIED
    assert [note.partition(":")[0] for note in told.notes] == [code]
    assert told.facts[check].startswith(code)


def test_an_answer_that_is_missing_is_unknown() -> None:
    assert settled({SIGNER: GOOD}, Ask(Check.REVOCATION, Action.ENFORCE, CHAIN)).code is Code.REVOCATION_UNKNOWN


def test_every_answer_counts() -> None:
    asks = (Ask(Check.REVOCATION, Action.ENFORCE, CHAIN), Ask(Check.AUTHENTIC_TIMESTAMP, Action.ENFORCE, CLOCK))
    assert settled({CHAIN: GOOD, CLOCK: GOOD}, *asks).verdict is Verdict.VERIFIED
    assert settled({CHAIN: GOOD, CLOCK: REVOKED}, *asks).code is Code.TIME_INVALID
    assert settled({CHAIN: REVOKED, CLOCK: GOOD}, *asks).code is Code.REVOKED
