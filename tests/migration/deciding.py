"""A policy as it was written, held against Notary Project signatures of one image by the engine itself.

`Signature` is a real envelope together with what is true of it, for oracles that know no cryptography.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.notation import aws_like, vectors
from tests.notation.aws_like import AT, DAY, IMAGE, NOW, AWSLikeSigner, Node
from webhook.errors import Code
from webhook.evidence.model import JWS_ENVELOPE, Outcome, Place, Verdict
from webhook.evidence.unsettled import Unsettled, settle
from webhook.migration.draft import Draft, render
from webhook.notation import verifier
from webhook.oci import reference
from webhook.policy import decide, document, select
from webhook.policy.decision import ImageDecision, Result
from webhook.policy.model import PolicySet
from webhook.settings import NoMatch
from webhook.trust.notary.inquiry import Standing, Status

SUBJECT = {"C": "US", "ST": "WA", "O": "Acme", "CN": "Release"}


def _dn(pairs: Mapping[str, str]) -> str:
    return ",".join(f"{kind}={value}" for kind, value in pairs.items())


ROOT = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root")
OTHER_ROOT = aws_like.issue("C=US,ST=WA,O=Other,CN=Root")
LEAF = aws_like.issue(_dn(SUBJECT), ROOT)
ENDED = aws_like.issue(_dn(SUBJECT), ROOT, start=AT - 2 * DAY, end=AT - DAY)
SOMEBODY = aws_like.issue("C=US,ST=WA,O=Acme,CN=Somebody", ROOT)
STRANGER = aws_like.issue(_dn(SUBJECT), OTHER_ROOT)
SIGNER = AWSLikeSigner()
OTHER_CUSTOMER = SIGNER.another(account="444455556666")
NEXT_VERSION = SIGNER.another(version="AbCdEf1234")


@dataclass(frozen=True, slots=True)
class Signature:
    envelope: bytes = field(repr=False)
    root: Node
    subject: Mapping[str, str] = field(default_factory=dict)
    profile: str = ""  # version ARN, of AWS Signer's
    whole: bool = True
    expired: bool = False
    timely: bool = True
    standing: Standing = Standing.GOOD


def _plain(leaf: Node, subject: Mapping[str, str] = SUBJECT, *, root: Node = ROOT, **said: object) -> Signature:
    expires_at = NOW - DAY / 2 if said.get("expired") else None
    at = AT - DAY if expires_at else AT
    return Signature(aws_like.sign(leaf, at=at, expires_at=expires_at), root, subject, **said)  # type: ignore[arg-type]


def _aws(signer: AWSLikeSigner, **said: object) -> Signature:
    expired = bool(said.get("expired"))
    at = AT - DAY / 2 if expired else AT
    envelope = signer.sign(at=at, expires_at=at + DAY / 4 if expired else AT + 4000 * DAY)
    return Signature(envelope, SIGNER.root, profile=signer.version_arn, **said)  # type: ignore[arg-type]


def _tampered(envelope: bytes) -> bytes:
    document = json.loads(envelope)
    signature = document["signature"]
    document["signature"] = ("B" if signature[0] == "A" else "A") + signature[1:]
    return json.dumps(document).encode()


SIGNATURES: Mapping[str, tuple[Signature, ...]] = {
    "unsigned": (),
    "good": (_plain(LEAF),),
    "another-subject": (_plain(SOMEBODY, {**SUBJECT, "CN": "Somebody"}),),
    "another-root": (_plain(STRANGER, root=OTHER_ROOT),),
    "expired": (_plain(LEAF, expired=True),),
    "certificate-ended": (_plain(ENDED, timely=False),),
    "certificate-revoked": (_plain(LEAF, standing=Standing.REVOKED),),
    "revocation-unknown": (_plain(LEAF, standing=Standing.UNKNOWN),),
    "tampered": (Signature(_tampered(aws_like.sign(LEAF)), ROOT, SUBJECT, whole=False),),
    "bad-and-good": (_plain(STRANGER, root=OTHER_ROOT), _plain(LEAF)),
    "aws": (_aws(SIGNER),),
    "aws-next-version": (_aws(NEXT_VERSION),),
    "aws-other-customer": (_aws(OTHER_CUSTOMER),),
    "aws-expired": (_aws(SIGNER, expired=True),),
    "aws-revoked": (_aws(SIGNER, standing=Standing.REVOKED),),
    "aws-unknown": (_aws(SIGNER, standing=Standing.UNKNOWN),),
    "aws-tampered": (
        Signature(_tampered(SIGNER.sign()), SIGNER.root, profile=SIGNER.version_arn, whole=False),
    ),
}  # fmt: skip


def judged(
    policy: Draft | bytes,
    repository: str,
    signatures: Sequence[Signature],
    *,
    no_match: NoMatch = NoMatch.DENY,
    now: datetime = NOW,
) -> ImageDecision:
    """The decision on an image of `repository` with these signatures."""
    content = policy if isinstance(policy, bytes) else render(policy)
    policies = _policies(content, now)
    wanted = reference.parse(f"{repository}@{IMAGE.digest}")
    selections = select.select(policies, reference=wanted, digest=wanted.digest, namespace="shop", now=now)
    signers = select.signers(selections)
    outcomes = [Outcome(Verdict.REJECTED, Code.NO_SIGNATURE, "nothing else is there", place=Place.REFERRERS)]
    for one in signatures:
        answer = Status(one.standing, "as the test has it")
        evidence = vectors.evidence(one.envelope, JWS_ENVELOPE, IMAGE)
        for found in verifier.verify(evidence, [signer for signer in signers if signer.kind.is_notation], now=now):
            if isinstance(found, Unsettled):
                outcomes.append(settle(found, {ask.inquiry: answer for ask in found.asks}))
            else:
                outcomes.append(found)
    decisions = [
        decide.decide_policy(selection, outcomes, blocked=select.blocked(policies), candidates_listed=True, now=now)
        for selection in selections
    ]
    return decide.decide_image(
        reference=wanted, paths=(), digest=wanted.digest, decisions=decisions, policies=policies, no_match=no_match
    )


@functools.lru_cache
def _policies(content: bytes, now: datetime) -> PolicySet:
    return PolicySet(document.parse(content, origin="policy.yaml", now=now), "revision", "policy.yaml")


def admits(policy: Draft | bytes, repository: str, signatures: Sequence[Signature]) -> bool:
    return judged(policy, repository, signatures).result not in (Result.DENIED, Result.ERROR)


def comments(content: bytes) -> str:
    """What the comments of a policy say, without their line breaks."""
    lines = (line.strip() for line in content.decode().splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
