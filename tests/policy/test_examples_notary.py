"""The examples about AWS Signer, KMS and Notary Project certificates, exercised with signatures made for them.

Nobody has the keys of the certificates that stand in them, nor AWS Signer's: roots of our own take their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from textwrap import indent

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.notation.aws_like import AT, DAY, IMAGE, NOW, AWSLikeSigner, Node, issue, sign
from tests.policy.build import notarized, policies, verified
from tests.trust import tokens
from tests.trust.tokens import Issuer
from webhook.errors import Code
from webhook.evidence.model import JWS_ENVELOPE, Evidence, Form, Outcome, Place, Signer, Verdict
from webhook.evidence.unsettled import Unsettled, settle
from webhook.notation import verifier
from webhook.oci import reference
from webhook.policy import document, select
from webhook.policy.decide import decide_policy
from webhook.policy.decision import PolicyDecision, Result
from webhook.policy.model import TrustPolicy
from webhook.trust.notary.inquiry import Standing, Status

FOLDER = Path(__file__).resolve().parents[2] / "policies"
ECR = AWSLikeSigner(profile="ecr_signing_profile")
PLATFORM = ECR.another(region="eu-central-1", account="444455556666", profile="platform_images", version="AbCdEf1234")
ROOT = issue("C=US,ST=WA,O=example.com,CN=Example Signing Root", end=AT + 3650 * DAY)
CLOCK_KEY, STAMPER_KEY = tokens.make_key(), tokens.make_key()
CLOCK = tokens.make_certificate("Example Time Root", CLOCK_KEY)
STAMPER = tokens.make_certificate(
    "Example Clock", STAMPER_KEY, issuer=Issuer(CLOCK_KEY, CLOCK), ca=False,
    purposes=[ExtendedKeyUsageOID.TIME_STAMPING],
)  # fmt: skip
PEM = re.compile(r"^ *-----BEGIN CERTIFICATE-----$.*?-----END CERTIFICATE-----\n", re.MULTILINE | re.DOTALL)
GOOD, REVOKED = Status(Standing.GOOD), Status(Standing.REVOKED, "the signing job was revoked")
UNKNOWN = Status(Standing.UNKNOWN, "nobody answers")


@cache
def example(name: str) -> TrustPolicy:
    """The example with roots of ours."""
    roots = [ROOT.pem, CLOCK.public_bytes(Encoding.PEM).decode()]
    text = PEM.sub(lambda _: indent(roots.pop(0), " " * 8), (FOLDER / f"{name}.yaml").read_text())
    if "signerProfiles:" in text:
        pem = indent(ECR.root.pem, " " * 8)
        own = f"    - name: aws-signer\n      type: signingAuthority\n      certificates: |\n{pem}"
        field = "  trustStores:\n"
        text = text.replace(field, field + own) if field in text else text + field + own
    (policy,) = document.parse(text.encode(), origin=name, now=NOW)
    return policy


def outcomes(name: str, envelope: bytes, status: Status = GOOD) -> list[Outcome]:
    """What `envelope` comes to for each signer of the example."""
    payload = Evidence(
        Form.NOTATION, IMAGE.digest, Place.REFERRERS, IMAGE.digest, IMAGE.digest, JWS_ENVELOPE, {}, envelope, IMAGE
    )
    signers = [signer for signer in example(name).signers if signer.kind.is_notation]
    return [
        settle(one, {ask.inquiry: status for ask in one.asks}) if isinstance(one, Unsettled) else one
        for one in verifier.verify(payload, signers, now=NOW)
    ]


def judged(name: str, image: str, found: list[Outcome]) -> PolicyDecision:
    loaded = policies(example(name))
    wanted = reference.parse(f"{image}@{IMAGE.digest}")
    (selection,) = select.select(loaded, reference=wanted, digest=IMAGE.digest, namespace="pay", now=NOW)
    return decide_policy(selection, found, blocked=select.blocked(loaded), candidates_listed=True, now=NOW)


def signer(name: str, wanted: str) -> Signer:
    return next(one for one in example(name).signers if one.name == wanted)


def broken(envelope: bytes) -> bytes:
    """With another signature of the same length."""
    head, mark, rest = envelope.partition(b'"signature":"')
    return head + mark + (b"B" if rest[:1] == b"A" else b"A") + rest[1:]


@pytest.mark.parametrize(
    ("envelope", "status", "code", "counted"),
    [
        pytest.param(ECR.sign, GOOD, None, ("ecr",), id="profile"),
        pytest.param(ECR.another(version="ZZZZZZZZZZ").sign, GOOD, None, ("ecr",), id="another version"),
        pytest.param(PLATFORM.sign, GOOD, None, ("platform",), id="another account's"),
        pytest.param(PLATFORM.another(version="0000000000").sign, GOOD, Code.IDENTITY_MISMATCH, (), id="its next"),
        pytest.param(ECR.another(account="111122223334").sign, GOOD, Code.IDENTITY_MISMATCH, (), id="another customer"),
        pytest.param(ECR.another(region="us-west-1").sign, GOOD, Code.IDENTITY_MISMATCH, (), id="another region"),
        pytest.param(ECR.sign, REVOKED, Code.REVOKED, (), id="revoked"),
        pytest.param(ECR.sign, UNKNOWN, Code.REVOCATION_UNKNOWN, (), id="nobody answers"),
        pytest.param(lambda: ECR.sign(expires_at=NOW), GOOD, Code.SIGNATURE_EXPIRED, (), id="expired"),
        pytest.param(lambda: broken(ECR.sign()), GOOD, Code.SIGNATURE_INVALID, (), id="changed"),
        pytest.param(AWSLikeSigner(profile="ecr_signing_profile").sign, GOOD, Code.UNTRUSTED_MATERIAL, (),
                     id="another root"),
    ],
)  # fmt: skip
def test_aws_signer(envelope: Callable[[], bytes], status: Status, code: Code | None, counted: tuple[str, ...]) -> None:
    found = judged("aws-signer", "registry.example.com/x", outcomes("aws-signer", envelope(), status))
    assert (found.code, found.counted) == (code, counted)
    assert (found.result is Result.ERROR) is (code is Code.REVOCATION_UNKNOWN)
    assert found.tampered is (code is Code.SIGNATURE_INVALID)


def leaf(unit: str) -> Node:
    return issue(f"C=US,ST=WA,O=example.com,OU={unit},CN=one", ROOT, start=AT - DAY, end=AT + DAY)


def stamp(signature: bytes) -> bytes:
    return tokens.make_token(signature, key=STAMPER_KEY, certificate=STAMPER, at=AT)


STAGE = {"stage": "release"}
SHOP, ELSEWHERE = "registry.example.com/shop", "registry.example.com/x"


@pytest.mark.parametrize(
    ("image", "envelope", "code", "notes"),
    [
        pytest.param(SHOP, sign(leaf("Release"), annotations=STAGE, token=stamp), None, 0, id="release"),
        pytest.param(SHOP, sign(leaf("Release"), annotations=STAGE), Code.TIME_INVALID, 0, id="not stamped"),
        pytest.param(SHOP, sign(leaf("Release"), token=stamp), Code.CLAIM_MISMATCH, 0, id="without its stage"),
        pytest.param(SHOP, sign(leaf("Development"), annotations=STAGE), Code.IDENTITY_MISMATCH, 0, id="a developer"),
        pytest.param(ELSEWHERE, sign(leaf("Development")), None, 0, id="a developer, elsewhere"),
        pytest.param(ELSEWHERE, sign(leaf("Development"), expires_at=NOW), None, 1, id="expired, only told"),
        pytest.param(ELSEWHERE, sign(leaf("Sales")), Code.IDENTITY_MISMATCH, 0, id="somebody else"),
        pytest.param(ELSEWHERE, ECR.sign(), Code.IDENTITY_MISMATCH, 0, id="AWS Signer"),
    ],
)
def test_notary_certificates(image: str, envelope: bytes, code: Code | None, notes: int) -> None:
    found = judged("notary-certificates", image, outcomes("notary-certificates", envelope))
    assert (found.code, len(found.notes)) == (code, notes)


PAY = "111122223333.dkr.ecr.us-west-2.amazonaws.com/pay/api"


@pytest.mark.parametrize(
    ("image", "who", "code"),
    [
        pytest.param(PAY, ("pipeline", "security"), None, id="both"),
        pytest.param(PAY, ("pipeline",), Code.NOT_ENOUGH_SIGNERS, id="one of both"),
        pytest.param(PAY.replace("/pay", "/web"), ("pipeline",), None, id="one, elsewhere"),
        pytest.param(PAY.replace(".ecr.", ".ecr-fips."), ("security",), Code.NOT_ENOUGH_SIGNERS, id="by another name"),
    ],
)
def test_kms(image: str, who: tuple[str, ...], code: Code | None) -> None:
    found = [verified(signer("kms", name), material=f"spki:{name}") for name in who]
    assert judged("kms", image, found).code is code


HOST = "111122223333.dkr.ecr.us-west-2.amazonaws.com"


@pytest.mark.parametrize(
    ("image", "who", "code"),
    [
        pytest.param("pay/api", ("release", "ecr"), None, id="all"),
        pytest.param("pay/api", ("ecr",), Code.NOT_ENOUGH_SIGNERS, id="one of all"),
        pytest.param("pay/api", ("ecr", "pipeline"), Code.NOT_ENOUGH_SIGNERS, id="another in its place"),
        pytest.param("base/os", ("pipeline", "ecr"), None, id="two of four"),
        pytest.param("base/os", ("ci", "ecr"), None, id="two others"),
        pytest.param("base/os", ("ci",), Code.NOT_ENOUGH_SIGNERS, id="one of four"),
        pytest.param("base/os", ("ci", "vendor"), Code.NOT_ENOUGH_SIGNERS, id="one that is not asked for"),
        pytest.param("vendor/db", ("vendor",), None, id="any"),
        pytest.param("vendor/db", ("ecr",), Code.NO_SIGNATURE, id="not the vendor"),
        pytest.param("web/x", ("ecr",), None, id="no rule"),
    ],
)
def test_mixed(image: str, who: tuple[str, ...], code: Code | None) -> None:
    found = [Outcome(Verdict.REJECTED, Code.NO_SIGNATURE, "all was looked at")]
    for name in who:
        one = signer("mixed", name)
        found.append(notarized(one) if one.kind.is_notation else verified(one, material=f"of {name}"))
    assert judged("mixed", f"{HOST}/{image}", found).code is code


def test_in_the_mixed_example_real_signatures_count() -> None:
    vendor = sign(issue("C=US,ST=WA,O=example.com,CN=vendor", ROOT))
    assert judged("mixed", f"{HOST}/vendor/db", outcomes("mixed", vendor)).counted == ("vendor",)
    found = [*outcomes("mixed", ECR.sign()), verified(signer("mixed", "release"))]
    assert judged("mixed", f"{HOST}/pay/api", found).counted == ("release", "ecr")
