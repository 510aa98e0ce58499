"""Signatures by AWS Signer that are bad, or about which AWS has something to say, or does not say it.

All are of the shape that AWS's have, under a private root that takes the place of the built-in one.
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.bad_input.envelopes import enveloped, spec_of, store
from tests.bad_input.makers import Row
from tests.bad_input.world import World, around
from tests.doubles import aws
from tests.doubles.aws import Response
from tests.doubles.verifying import Shelf
from tests.notation import aws_like, made
from tests.notation.aws_like import AT, AWS_PLUGIN, DAY, JOB, MIN_VERSION, PROFILE_VERSION, AWSLikeSigner
from tests.private_sigstore.images import Attach, Fields, all_of
from webhook.errors import Code
from webhook.notation.envelope import Scheme

_JOBS = itertools.count(1)
OURS = AWSLikeSigner()
CUSTOMER = OURS.another(account="444455556666")
NEXT_VERSION = OURS.another(version="AAAAAAAAAA")
CHINESE = OURS.another(partition="aws-cn", region="cn-north-1")
FOREIGN = AWSLikeSigner(profile=OURS.profile)  # another root
STORE = store("aws-signer", "signingAuthority", OURS.root.certificate)


# --- policies


def by_profile(*more: Fields, stores: tuple[Fields, ...] = (STORE,), **fields: object) -> Fields:
    """Fields of a policy: our profile, described otherwise by `fields`, and `more` entries."""
    own = {"name": "ecr", "arn": OURS.arn, **fields}
    return {"keyless": None, "trustRoots": None, "signerProfiles": [own, *more], "trustStores": list(stores)}


PROFILE = by_profile()
ONE_VERSION = by_profile(arn=OURS.version_arn)
CHINA = by_profile(
    {"name": "cn", "arn": CHINESE.arn, "trustStore": "china"},
    stores=(STORE, store("china", "signingAuthority", OURS.root.certificate)),
)
BY_CERTIFICATE = {
    "certificates": [{"name": "aws", "trustStore": "amazon", "unsafeAnySubject": True}],
    **by_profile(stores=(STORE, store("amazon", "ca", OURS.root.certificate))),
}


# --- evidence


def signed(by: AWSLikeSigner = OURS, others: Mapping[str, object] | None = None, **how: Any) -> Attach:
    """An envelope by AWS Signer, of a job of its own."""

    def put_beside(shelf: Shelf, image: str) -> None:
        job = str(uuid.UUID(int=next(_JOBS)))
        one = replace(by, job=job, regional=by.authority)
        enveloped(lambda about: one.sign(others, image=about, **{"leaf": by.leaf, **how}))(shelf, image)

    return put_beside


def signed_and(then: Callable[[World, AWSLikeSigner], None], by: AWSLikeSigner = OURS, **how: Any) -> Attach:
    """The same, after which `then` happens; the signature's job is that of what `then` is given."""

    def put_beside(shelf: Shelf, image: str) -> None:
        one = replace(by, job=str(uuid.UUID(int=next(_JOBS))), regional=by.authority)
        enveloped(lambda about: one.sign(image=about, **{"leaf": by.leaf, **how}))(shelf, image)
        then(around(shelf), one)

    return put_beside


def revoking(entity: Callable[[AWSLikeSigner], str]) -> Callable[[World, AWSLikeSigner], None]:
    return lambda world, one: world.signer.revoked.add(entity(one))


def failing(response: Response) -> Callable[[World, AWSLikeSigner], None]:
    def then(world: World, one: AWSLikeSigner) -> None:
        world.signer.failing = response

    return then


def hanging(world: World, one: AWSLikeSigner) -> None:
    world.signer.hanging = True


def losing_credentials(world: World, one: AWSLikeSigner) -> None:
    """What the SDK has got ends, and there is nothing new."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        world.environment.delenv(name)
    world.signer.failing = aws.refusal(403, "ExpiredTokenException", "the security token has expired")


def in_cose(shelf: Shelf, image: str) -> None:
    """What AWS Signer never writes."""
    spec = made.Spec(
        scheme=Scheme.SIGNING_AUTHORITY, extended=OURS.attributes, critical=tuple(OURS.attributes), signed_at=AT,
        expires_at=AT + 90 * DAY,
    )  # fmt: skip
    leaf = made.Node(OURS.leaf.certificate, OURS.leaf.key, _node(OURS.authority))
    enveloped(lambda about: made.sign_cose(spec_of(about, spec), leaf), made.COSE)(shelf, image)


def _node(node: aws_like.Node) -> made.Node:
    return made.Node(node.certificate, node.key, _node(node.issuer) if node.issuer else None)


def tbs_hash(node: aws_like.Node) -> str:
    return hashlib.sha384(node.certificate.tbs_certificate_bytes).hexdigest()


STOLEN = OURS.new_leaf(end=AT + 6 * DAY)
LONG_AGO = AT - 300 * DAY
ENDED = OURS.new_leaf(LONG_AGO - DAY, LONG_AGO + DAY)


def row(code: Code, bad: Attach, words: str, *, good: Attach | None = None, asked: Fields = PROFILE, **how: Any) -> Row:
    return Row(code, bad, good or signed(), asked, words=words, **how)


def unknown(then: Callable[[World, AWSLikeSigner], None], words: str) -> Row:
    """AWS Signer says nothing of what is signed from now on."""
    return row(Code.REVOCATION_UNKNOWN, signed_and(then), words, status=503, alone=True)


AWS: Mapping[str, Row] = {
    "aws: another customer's profile": row(
        Code.IDENTITY_MISMATCH, signed(CUSTOMER), "444455556666:/signing-profiles/demo_profile/IrwHQeF7XW"
    ),
    "aws: another profile of ours": row(
        Code.IDENTITY_MISMATCH, signed(OURS.another(profile="demo_profile2")), "demo_profile2"
    ),
    "aws: another region": row(
        Code.IDENTITY_MISMATCH, signed(OURS.another(region="us-east-1")), "us-east-1"
    ),
    "aws: another version, where one is named": row(
        Code.IDENTITY_MISMATCH, signed(NEXT_VERSION), "AAAAAAAAAA", asked=ONE_VERSION
    ),
    "aws: a profile in upper case is the same, another is not": row(
        Code.IDENTITY_MISMATCH, signed(CUSTOMER), "444455556666:/signing-profiles/demo_profile/IrwHQeF7XW",
        asked=by_profile(arn=OURS.arn.replace("us-west-2", "US-WEST-2").replace("demo_profile", "DEMO_PROFILE")),
    ),
    "aws: another root": row(Code.UNTRUSTED_MATERIAL, signed(FOREIGN), "signingAuthority:aws-signer"),
    "aws: its root in a store of the type ca": row(
        Code.IDENTITY_MISMATCH, signed(CUSTOMER), "spec.signerProfiles", asked=BY_CERTIFICATE
    ),
    "aws: its root in a store of the type ca, not signed by a profile": row(
        Code.IDENTITY_MISMATCH,
        enveloped(lambda about: aws_like.sign(OURS.leaf, scheme=aws_like.AUTHORITY, image=about)),
        "of the type signingAuthority", asked=BY_CERTIFICATE,
    ),
    "aws: by its root, and by no profile": row(
        Code.IDENTITY_MISMATCH,
        enveloped(lambda about: aws_like.sign(OURS.leaf, scheme=aws_like.AUTHORITY, image=about)),
        "this signer is a profile of AWS Signer",
    ),
    "aws: unknown critical attribute": row(
        Code.CRITICAL_ATTRIBUTE_UNPROCESSED,
        signed(others={"com.amazonaws.signer.signingProfileAlias": "prod"}),
        "'com.amazonaws.signer.signingProfileAlias' is critical",
    ),
    **{
        f"aws: {what}": row(Code.CRITICAL_ATTRIBUTE_UNPROCESSED, signed(**how), words)
        for what, how, words in (
            ("no profile", {"without": PROFILE_VERSION}, f"{PROFILE_VERSION}: expected as text, and critical"),
            ("no job", {"without": JOB}, f"{JOB}: expected as text, and critical"),
            ("a profile that is not critical", {"critical": [aws_like.PLUGIN, JOB]},
             f"{PROFILE_VERSION}: expected as text, and critical"),
            ("a profile without version", {"others": {PROFILE_VERSION: OURS.arn}}, "a profile version expected"),
            ("a profile with a slash behind it", {"others": {PROFILE_VERSION: f"{OURS.version_arn}/"}},
             "a version of 10 letters and digits expected"),
            ("a profile with a wildcard", {"others": {PROFILE_VERSION: f"{OURS.arn}/*"}}, "wildcards are not known"),
            ("a profile in upper case", {"others": {PROFILE_VERSION: OURS.version_arn.upper()}}, "an ARN expected"),
            ("a region in upper case", {"others": {PROFILE_VERSION: OURS.version_arn.replace("us-", "US-")}},
             "a profile version expected"),
            ("a line break behind the profile", {"others": {PROFILE_VERSION: f"{OURS.version_arn}\n"}}, "a version of"),
            ("a job of another partition", {"others": {JOB: OURS.job_arn.replace(":aws:", ":aws-cn:")}},
             "and the job of aws-cn"),
            ("a job that is none", {"others": {JOB: OURS.version_arn}}, "the ARN of a signing job expected"),
        )
    },
    "aws: the other scheme": row(
        Code.VERIFICATION_PLUGIN_UNAVAILABLE, signed(scheme=aws_like.X509),
        "signs under the scheme notary.x509.signingAuthority",
    ),
    "aws: a plug-in that is newer than ours": row(
        Code.VERIFICATION_PLUGIN_UNAVAILABLE, signed(others={MIN_VERSION: "1.0.351"}), "'1.0.351' or later",
        good=signed(others={MIN_VERSION: "1.0.350"}),
    ),
    "aws: a plug-in whose name ends otherwise": row(
        Code.VERIFICATION_PLUGIN_UNAVAILABLE, signed(others={aws_like.PLUGIN: f"{AWS_PLUGIN}2"}), f"'{AWS_PLUGIN}2'"
    ),
    "aws: in COSE": row(Code.UNSUPPORTED, in_cose, "AWS Signer makes JWS envelopes"),
    "aws: about another image": row(
        Code.SUBJECT_MISMATCH, enveloped(lambda about: OURS.sign()), f"'{aws_like.IMAGE.digest}' was signed"
    ),
    "aws: expired": row(
        Code.SIGNATURE_EXPIRED, signed(expires_at=AT + timedelta(hours=1)), "expired at 2026-11-21T09:02:41Z",
        good=signed(expires_at=AT + timedelta(hours=4)),
    ),
    "aws: signed after its certificate had ended": row(
        Code.TIME_INVALID, signed(at=LONG_AGO + 2 * DAY, leaf=ENDED), "signed at",
        good=signed(at=LONG_AGO, leaf=ENDED),
    ),
    "aws: signed before its certificate began": row(
        Code.TIME_INVALID, signed(at=LONG_AGO - 2 * DAY, leaf=ENDED), "signed at"
    ),
    "aws: revoked job": row(
        Code.REVOKED, signed_and(revoking(lambda one: one.job_arn)), "AWS Signer has revoked the signing job"
    ),
    "aws: revoked profile version": row(
        Code.REVOKED, signed_and(revoking(lambda one: one.version_arn), NEXT_VERSION),
        f"AWS Signer has revoked the profile version {NEXT_VERSION.version_arn}",
    ),
    "aws: revoked profile": row(
        Code.REVOKED, signed_and(revoking(lambda one: one.arn)), f"AWS Signer has revoked the profile {OURS.arn}",
        alone=True,
    ),
    "aws: revoked certificate": row(
        Code.REVOKED, signed_and(revoking(lambda one: tbs_hash(STOLEN)), leaf=STOLEN), "a certificate of its chain"
    ),
    "aws: revoked authority": row(
        Code.REVOKED, signed_and(revoking(lambda one: tbs_hash(OURS.authority))), "a certificate of its chain",
        alone=True,
    ),
    "aws: access denied": unknown(
        failing(aws.refusal(403, "AccessDeniedException")), "the permission signer:GetRevocationStatus is missing"
    ),
    "aws: throttled": unknown(failing(aws.refusal(429, "TooManyRequestsException")), "too many requests"),
    "aws: throttled, by its old word": unknown(failing(aws.refusal(400, "ThrottlingException")), "too many requests"),
    "aws: failing": unknown(failing(aws.refusal(500, "InternalServiceErrorException")), "AWS failed to answer"),
    "aws: refusing": unknown(failing(aws.refusal(400, "ValidationException", "platform")), "(ValidationException)"),
    "aws: answering a page": unknown(failing(Response(200, b"<html>")), "not one of this service's"),
    "aws: answering another document": unknown(failing(Response(200, b'{"revokedEntities": 7}')), "not one of"),
    "aws: hanging": unknown(hanging, "AWS does not answer (ReadTimeoutError)"),
    "aws: credentials that vanish": unknown(losing_credentials, "no credentials that AWS accepts"),
    "aws: credentials that nobody knows": unknown(
        failing(aws.refusal(403, "UnrecognizedClientException")), "no credentials that AWS accepts"
    ),
    "aws: a signature of another partition": row(
        Code.REVOCATION_UNKNOWN, signed(CHINESE), "it was made in aws-cn, and this webhook runs in aws", asked=CHINA,
        status=503,
    ),
    "aws: revoked, beside another customer's": row(
        Code.REVOKED,
        all_of(signed(CUSTOMER), signed_and(revoking(lambda one: one.job_arn))), "AWS Signer has revoked",
    ),
}  # fmt: skip
