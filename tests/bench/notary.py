"""What one Notary Project signature costs, ours beside the oracle's; all checks, but for what others have to be asked.

The oracle keeps nothing between two envelopes, so ours forgets before each round which certificate issued which. What
it takes where the authorities are known already has a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.bench.costs import Cost, both, median
from tests.notation import made
from tests.notation.aws_like import AT, IMAGE, AWSLikeSigner
from tests.oracle.notation import verify as oracle
from webhook import judging
from webhook.evidence.model import (
    COSE_ENVELOPE,
    JWS_ENVELOPE,
    Evidence,
    Form,
    Place,
    Signer,
    SignerKind,
    Wants,
)
from webhook.judging import Question
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import parse_digest
from webhook.trust import path
from webhook.trust.at_hand import Trust
from webhook.trust.notary.levels import CertificateRule, Level, actions_of
from webhook.trust.notary.profile import ProfileARN, SigningProfile
from webhook.trust.notary.stores import StoreKind, TrustStore

NOTHING_REVOKED: Mapping[str, object] = {"revokedEntities": []}


def measure(rounds: int) -> list[Cost]:
    return [
        _certificates(rounds, "JWS, three certificates, RSA 3072", "rsa3072", JWS_ENVELOPE),
        _certificates(rounds, "COSE, three certificates, P-256", "p256", COSE_ENVELOPE),
        *_aws(rounds),
    ]


def _certificates(rounds: int, title: str, kind: str, media_type: str) -> Cost:
    leaf = made.leaf_of(kind)
    signed = (made.sign_jws if media_type == JWS_ENVELOPE else made.sign_cose)(leaf=leaf)
    described = Descriptor(str(made.TARGET["mediaType"]), parse_digest(str(made.TARGET["digest"])),
                           int(str(made.TARGET["size"])), None, {}, None)  # fmt: skip
    store = TrustStore("t", StoreKind.CA, (made.der_of(leaf.chain)[-1],))
    who = Signer("who", SignerKind.CERTIFICATE, CertificateRule((store,), (), actions_of(Level.STRICT, {})))
    question = Question((who,), (), Wants(notation=True), Trust(), {}, made.SIGNED_AT)
    statement: dict[str, Any] = {
        "signatureVerification": {"level": "strict"}, "trustStores": ["ca:t"], "trustedIdentities": ["*"],
    }  # fmt: skip
    context = oracle.Context({"ca:t": [leaf.chain[-1]]}, now=made.SIGNED_AT)
    ours = _cold(_judging(_evidence(signed, media_type, described), question))
    theirs = _verifying(signed, media_type, described, statement, context)
    return Cost(title, *both(rounds, ours, theirs))


def _aws(rounds: int) -> list[Cost]:
    signer = AWSLikeSigner()
    signed = signer.sign()
    who = Signer("who", SignerKind.PROFILE, SigningProfile(ProfileARN.parse(signer.arn), signer.store()))
    question = Question((who,), (), Wants(notation=True), Trust(), {}, AT)
    statement = {
        "signatureVerification": {"level": "strict"},
        "trustStores": ["signingAuthority:t"],
        "trustedIdentities": [signer.arn],
    }
    plugin = oracle.aws_plugin(_Service())
    context = oracle.Context({"signingAuthority:t": [signer.root.certificate]}, {plugin.name: plugin}, now=AT)
    judge = _judging(_evidence(signed, JWS_ENVELOPE, IMAGE), question)
    theirs = _verifying(signed, JWS_ENVELOPE, IMAGE, statement, context)
    title = "AWS Signer, four certificates, P-384"
    return [
        Cost(title, *both(rounds, _cold(judge), theirs)),
        Cost(f"{title}, authorities known", median(rounds, judge)),
    ]


class _Service:
    def get_revocation_status(self, **inquiry: object) -> Mapping[str, object]:
        del inquiry
        return NOTHING_REVOKED


def _evidence(payload: bytes, media_type: str, described: Descriptor) -> Evidence:
    digest = described.digest
    return Evidence(Form.NOTATION, digest, Place.REFERRERS, digest, digest, media_type, {}, payload, described)


def _judging(found: Evidence, question: Question) -> Callable[[], object]:
    judged = judging.judge(found, question)
    assert len(judged.unsettled) == 1, judged
    return lambda: judging.judge(found, question)


def _cold(work: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        path.issued.cache_clear()
        path.name_of.cache_clear()
        work()

    return run


def _verifying(
    signed: bytes, media_type: str, described: Descriptor, statement: dict[str, Any], context: oracle.Context
) -> Callable[[], object]:
    subject = {"mediaType": described.media_type, "digest": str(described.digest), "size": described.size}

    def run() -> None:
        assert oracle.verify(signed, media_type, subject, statement, context).ok

    return run
