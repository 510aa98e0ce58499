"""Who is asked what about revocation."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.doubles.responder import NOW
from webhook.trust.notary.asking import Asking
from webhook.trust.notary.inquiry import ChainInquiry, Inquiry, SignerInquiry, Standing, Status

JOB = SignerInquiry(
    partition="aws",
    region="us-west-2",
    signed_at=NOW,
    profile_version_arn="arn:aws:signer:us-west-2:111122223333:/signing-profiles/ecr/AbCdEf1234",
    job_arn="arn:aws:signer:us-west-2:111122223333:/signing-jobs/4e1c",
    certificate_hashes=("0" * 192,),
)


@dataclass(slots=True)
class Answering:
    """Answers all with one status."""

    status: Status
    asked: list[Inquiry] = field(default_factory=list)

    async def __call__(self, inquiry: Inquiry) -> Status:
        self.asked.append(inquiry)
        return self.status


async def test_each_question_goes_to_whom_it_is_for() -> None:
    signer, responders = Answering(Status(Standing.REVOKED, "gone")), Answering(Status(Standing.GOOD))
    seen: list[tuple[str, str]] = []
    asking = Asking(
        signer=signer, responders=responders, observe=lambda kind, standing, seconds: seen.append((kind, standing))
    )
    assert await asking.standing(JOB) == signer.status
    assert await asking.standing(ChainInquiry((b"leaf", b"root"))) == responders.status
    assert (signer.asked, responders.asked) == ([JOB], [ChainInquiry((b"leaf", b"root"))])
    assert seen == [("signer", "revoked")]
