"""What of an admission rests on answers of before is found where it counts, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.policy.build import DIGEST, judge, policies, policy, rule, signer, verified
from webhook.evidence.model import Outcome, Signer
from webhook.evidence.unsettled import STALE
from webhook.policy import stale
from webhook.policy.decision import Stale
from webhook.trust import kms
from webhook.trust.at_hand import Trust

KEY, OTHER = kms.parse("awskms:///alias/release"), kms.parse("awskms:///alias/pipeline")
FRESH = Trust()
SINCE = "fetched at noon; not refreshed: too many requests"


def in_kms(name: str, place: kms.KMSKey) -> Signer:
    return replace(signer(name), material=place)


RELEASE = in_kms("release", KEY)


def found(*outcomes: Outcome, trust: Trust = FRESH, presence: str = "") -> dict[Stale, str]:
    image = judge(policies(policy(default=rule(RELEASE, "pipeline"))), *outcomes, digest=DIGEST)
    return dict(stale.told(image, trust, presence=presence).stale)


def revocation_of(outcome: Outcome) -> Outcome:
    return replace(outcome, facts={STALE: "nothing was revoked at noon"})


@pytest.mark.parametrize(
    ("trust", "expected"),
    [
        pytest.param(Trust(stale_keys={KEY: SINCE}), {Stale.KEY: SINCE}, id="its-key"),
        pytest.param(Trust(stale_keys={OTHER: SINCE}), {}, id="another-key"),
        pytest.param(FRESH, {}, id="fresh"),
    ],
)
def test_a_key_that_nobody_vouches_for_now_is_told_where_it_counted(trust: Trust, expected: dict[Stale, str]) -> None:
    assert found(verified(RELEASE), trust=trust) == expected
    assert found(verified("pipeline"), trust=trust) == {}


def test_an_answer_about_revocation_is_told_where_its_signature_counted() -> None:
    assert found(revocation_of(verified("pipeline"))) == {Stale.REVOCATION: "nothing was revoked at noon"}
    assert found(verified("pipeline"), revocation_of(verified("stranger"))) == {}


def test_presence_is_told_beside_the_others() -> None:
    trust = Trust(stale_keys={KEY: SINCE})
    kinds = found(revocation_of(verified(RELEASE)), trust=trust, presence="seen at noon")
    assert list(kinds) == [Stale.PRESENCE, Stale.REVOCATION, Stale.KEY]
    assert found(verified(RELEASE)) == {}
