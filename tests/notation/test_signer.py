"""AWS Signer without its plug-in: whose signature it is, what may be in it, and what AWS is asked about it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from tests.notation import aws_like, vectors
from tests.notation.aws_like import AT, AUTHORITY, DAY, IMAGE, NOW, SECOND, X509, AWSLikeSigner
from webhook.errors import Code
from webhook.evidence import unsettled
from webhook.evidence.model import JWS_ENVELOPE, Outcome, SignedTime, Signer, SignerKind, Verdict
from webhook.evidence.unsettled import Unsettled
from webhook.notation import signer, verifier
from webhook.trust.notary import levels, profile, stores, subject
from webhook.trust.notary.inquiry import SignerInquiry, Standing, Status
from webhook.trust.notary.levels import Action, CertificateRule, Check, Level
from webhook.trust.notary.profile import ProfileARN, SigningProfile
from webhook.trust.notary.stores import StoreKind

FOLDER = vectors.VECTORS / "aws-signer"
VERIFIED = "verified"
MINE = AWSLikeSigner()
STORE = MINE.store()
TRUSTED = SigningProfile(ProfileARN.parse(MINE.arn), STORE)
GOOD = Status(Standing.GOOD)
REVOKED = Status(Standing.REVOKED, f"the signing job {MINE.job_arn} was revoked")


def judge(payload: bytes, material: SigningProfile | CertificateRule = TRUSTED, *, now: datetime = NOW) -> Any:
    kind = SignerKind.PROFILE if isinstance(material, SigningProfile) else SignerKind.CERTIFICATE
    evidence = vectors.evidence(payload, JWS_ENVELOPE, IMAGE)
    (found,) = verifier.verify(evidence, [Signer("mine", kind, material)], now=now)
    return found


def settled(found: Outcome | Unsettled, status: Status = GOOD) -> Outcome:
    if isinstance(found, Outcome):
        return found
    return unsettled.settle(found, {ask.inquiry: status for ask in found.asks})


def told(payload: bytes, material: SigningProfile | CertificateRule = TRUSTED, *, now: datetime = NOW) -> str:
    outcome = settled(judge(payload, material, now=now))
    return outcome.code.value if outcome.code else outcome.verdict.value


# --- vectors

# A policy of ours has no statement whose identity is the wildcard: `unsafeAnySubject` is a rule about certificates,
# which never speaks of AWS Signer. And a profile has no level: what permissive and audit only record is enforced.
OTHERWISE = {
    "wildcard": "identity_mismatch",
    "wildcard-audit": "identity_mismatch",
    "expired-permissive": "signature_expired",
    "other-customer-audit": "identity_mismatch",
}


@pytest.mark.parametrize("case", vectors.cases(vectors.AWS, "aws-envelope"), ids=lambda case: case["id"])
def test_vectors(case: Mapping[str, Any]) -> None:
    signers = vectors.Statement.of_case(case, vectors.AWS).signers()
    found = verifier.verify(vectors.of_case(case, vectors.AWS), signers, now=vectors.time(case["now"]))
    asks = [ask for one in found if isinstance(one, Unsettled) for ask in one.asks]
    service = None if case["id"] in OTHERWISE else case["service"]
    assert [ask.check for ask in asks] == ([] if service is None else [Check.REVOCATION])
    if "request" in case["expect"]:
        (inquiry,) = [ask.inquiry for ask in asks]
        assert isinstance(inquiry, SignerInquiry)
        assert wire(inquiry) == case["expect"]["request"]
    outcomes = [settled(one, standing(service or {})) for one in found]
    code = OTHERWISE.get(case["id"], vectors.code(case["expect"].get("code", VERIFIED)))
    outcome = next((one for one in outcomes if one.verdict is Verdict.VERIFIED), outcomes[-1])
    assert (outcome.code or VERIFIED) == code, outcome.detail
    if case["id"] not in OTHERWISE:
        logged = [vectors.code(name) for name in case["expect"].get("logged", {}).values()]
        assert [note.partition(":")[0] for note in outcome.notes] == logged


def standing(service: Mapping[str, Any]) -> Status:
    if "error" in service:
        return Status(Standing.UNKNOWN, service["error"])
    return Status(Standing.REVOKED, "it was revoked") if service.get("revokedEntities") else GOOD


def wire(inquiry: SignerInquiry) -> Mapping[str, object]:
    """The parameters as they are sent."""
    return {
        "signatureTimestamp": aws_like.written(inquiry.signed_at),
        "platformId": inquiry.platform,
        "profileVersionArn": inquiry.profile_version_arn,
        "jobArn": inquiry.job_arn,
        "certificateHashes": list(inquiry.certificate_hashes),
    }


@pytest.mark.parametrize(
    "case", json.loads((FOLDER / "index.json").read_bytes())["certificateHashes"], ids=lambda c: c["id"]
)
def test_certificate_hashes(case: Mapping[str, Any]) -> None:
    chain = [x509.load_pem_x509_certificate((FOLDER / file).read_bytes()) for file in case["chain"]]
    assert list(signer.certificate_hashes(chain)) == case["expect"]


# --- whose it is

ANOTHER = MINE.another(account="999988887777")
SUBJECT = subject.parse("C=US,ST=WA,O=AWS,CN=AWS Signer")
STRICT = levels.actions_of(Level.STRICT)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (MINE.sign(), VERIFIED),
        (MINE.another(version="AAAAAAAAAA").sign(), VERIFIED),
        (MINE.another(job="00000000-0000-0000-0000-000000000000").sign(), VERIFIED),
        (ANOTHER.sign(), "identity_mismatch"),
        (MINE.another(region="us-east-1").sign(), "identity_mismatch"),
        (MINE.another(profile="demo_profile2").sign(), "identity_mismatch"),
        (MINE.another(profile="DEMO_profile").sign(), VERIFIED),
        (AWSLikeSigner().sign(), "untrusted_material"),
    ],
    ids=["mine", "another-version", "another-job", "another-customer", "another-region", "longer-name", "case",
         "another-root"],
)  # fmt: skip
def test_a_profile_is_what_its_arn_says(payload: bytes, expected: str) -> None:
    assert told(payload) == expected


def test_a_job_may_be_another_accounts() -> None:
    """With cross-account signing the job is the caller's and the profile its owner's."""
    assert told(MINE.sign({aws_like.JOB: ANOTHER.job_arn})) == VERIFIED
    assert told(ANOTHER.sign({aws_like.JOB: MINE.job_arn})) == "identity_mismatch"


def test_one_version() -> None:
    pinned = replace(TRUSTED, arn=ProfileARN.parse(MINE.version_arn))
    assert told(MINE.sign(), pinned) == VERIFIED
    assert told(MINE.another(version="AAAAAAAAAA").sign(), pinned) == "identity_mismatch"


def test_both_profiles_are_told() -> None:
    other = MINE.another(account="444455556666")
    found = judge(other.sign(), TRUSTED)
    assert isinstance(found, Outcome)
    assert found.detail == f"signed under {other.version_arn}, not under {TRUSTED.arn}"


@pytest.mark.parametrize("level", [Level.STRICT, Level.PERMISSIVE, Level.AUDIT])
@pytest.mark.parametrize("subjects", [(), (SUBJECT,)], ids=["any", "its-subject"])
def test_certificates_never_stand_for_a_profile(level: Level, subjects: tuple[subject.Subject, ...]) -> None:
    """All customers of AWS Signer have the same subject under the same root."""
    rule = CertificateRule((STORE,), subjects, levels.actions_of(level))
    found = judge(MINE.sign(), rule)
    assert isinstance(found, Outcome)
    assert (found.code, found.proof) == (Code.IDENTITY_MISMATCH, None)
    assert "spec.signerProfiles" in found.detail
    # Without the plug-in it is an envelope like any other, and no signature by AWS Signer
    assert told(aws_like.sign(MINE.leaf, scheme=AUTHORITY), rule) == VERIFIED


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (aws_like.sign(MINE.leaf, scheme=AUTHORITY), "identity_mismatch"),
        (aws_like.sign(MINE.leaf), "untrusted_material"),
        (aws_like.sign(MINE.leaf, scheme=AUTHORITY, extended={aws_like.PROFILE_VERSION: MINE.version_arn}),
         "critical_attribute_unprocessed"),
        (aws_like.sign(MINE.leaf, scheme=AUTHORITY, extended={aws_like.PROFILE_VERSION: MINE.version_arn}, critical=()),
         "identity_mismatch"),
    ],
    ids=["plain", "another-scheme", "attributes-alone", "attributes-not-critical"],
)  # fmt: skip
def test_a_profile_never_stands_for_certificates(payload: bytes, expected: str) -> None:
    assert told(payload) == expected


def test_the_root_counts_as_a_signing_authority_only() -> None:
    assert told(MINE.sign(), replace(TRUSTED, store=MINE.store(StoreKind.CA))) == "untrusted_material"


@pytest.mark.parametrize("name", stores.BUILT_IN.values())
def test_the_built_in_roots_trust_no_likeness(name: str) -> None:
    store = stores.built_in(name)
    assert store is not None
    assert told(MINE.sign(), replace(TRUSTED, store=store)) == "untrusted_material"


def test_a_built_in_root_speaks_for_its_own_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "built_in", lambda name: STORE if name == "aws-signer" else None)
    china = MINE.another(partition="aws-cn", region="cn-north-1")
    trusted = replace(TRUSTED, arn=ProfileARN.parse(china.arn))
    assert profile.store_problem(trusted.arn, STORE) != ""
    assert told(china.sign(), trusted) == "untrusted_material"
    assert told(MINE.sign()) == VERIFIED


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn"])
def test_partitions(partition: str) -> None:
    mine = MINE.another(partition=partition)
    assert told(mine.sign(), replace(TRUSTED, arn=ProfileARN.parse(mine.arn))) == VERIFIED


# --- what may be in it

UNPROCESSED, UNAVAILABLE = "critical_attribute_unprocessed", "verification_plugin_unavailable"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (MINE.sign({"com.amazonaws.signer.signingProfileAlias": f"{MINE.arn}/aliases/a"}), UNPROCESSED),
        (MINE.sign(without=aws_like.JOB), UNPROCESSED),
        (MINE.sign(without=aws_like.PROFILE_VERSION), UNPROCESSED),
        (MINE.sign(critical=[aws_like.PLUGIN, aws_like.JOB]), UNPROCESSED),
        (MINE.sign(critical=[aws_like.PLUGIN, aws_like.PROFILE_VERSION]), UNPROCESSED),
        (MINE.sign(critical=[aws_like.PROFILE_VERSION, aws_like.JOB]), UNAVAILABLE),
        (MINE.sign(without=aws_like.PLUGIN), UNPROCESSED),
        (MINE.sign(scheme=X509), UNAVAILABLE),
        (MINE.sign({aws_like.PLUGIN: "com.example.plugin"}), UNAVAILABLE),
        (MINE.sign({aws_like.PLUGIN: aws_like.AWS_PLUGIN.upper()}), UNAVAILABLE),
        (MINE.sign({aws_like.PLUGIN: ""}), UNAVAILABLE),
        (MINE.sign({aws_like.PLUGIN: " "}), UNAVAILABLE),
        (MINE.sign({aws_like.PLUGIN: 7}), UNAVAILABLE),
        (MINE.sign({aws_like.PLUGIN: None}), UNAVAILABLE),
    ],
    ids=["alias", "no-job", "no-profile", "profile-not-critical", "job-not-critical", "plugin-not-critical",
         "no-plugin", "scheme", "plugin", "plugin-case", "plugin-empty", "plugin-blank", "plugin-number",
         "plugin-null"],
)  # fmt: skip
def test_what_is_critical_is_processed(payload: bytes, expected: str) -> None:
    assert told(payload) == expected


def test_what_is_not_critical_says_nothing() -> None:
    marked = [aws_like.PLUGIN, aws_like.PROFILE_VERSION, aws_like.JOB]
    assert told(MINE.sign({"com.example.note": "hello"}, critical=marked)) == VERIFIED


@pytest.mark.parametrize(
    "arn",
    [
        "",
        7,
        None,
        [MINE.version_arn],
        MINE.arn,
        f"{MINE.version_arn} ",
        f"{MINE.version_arn}\n",
        f"{MINE.version_arn}/x",
        MINE.version_arn.replace("us-west-2", "US-WEST-2"),
        MINE.version_arn.replace("us-west-2", "us-west-2.evil.example"),
        MINE.version_arn.replace("arn:aws:", "arn:aws-cn:"),
        MINE.version_arn.replace("arn:aws:", "arn:evil:"),
        MINE.version_arn.replace(":signer:", ":s3:"),
        MINE.version_arn.replace("111122223333", "1111\u0662\u06622223333"),
        MINE.version_arn.replace("demo_profile", "demo_profile" * 200),
        MINE.job_arn,
    ],
)
def test_near_misses_of_the_profile(arn: object) -> None:
    """That of another partition than the job's too."""
    assert told(MINE.sign({aws_like.PROFILE_VERSION: arn})) == UNPROCESSED


@pytest.mark.parametrize(
    "arn",
    [
        "",
        7,
        f"{MINE.job_arn}\n",
        f"{MINE.job_arn}0",
        MINE.job_arn[:-1],
        MINE.job_arn.upper(),
        MINE.job_arn.replace("arn:aws:", "arn:aws-us-gov:"),
        MINE.job_arn.replace(":signer:", ":s3:"),
        MINE.job_arn.replace("5808635f", "5808635F"),
        MINE.job_arn.replace("us-west-2", "us_west"),
        MINE.version_arn,
    ],
)
def test_near_misses_of_the_job(arn: object) -> None:
    assert told(MINE.sign({aws_like.JOB: arn})) == UNPROCESSED


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [  # Semantic Versioning 2.0.0, 11, against 1.0.350
        ("1.0.350", VERIFIED),
        ("1.0.350+build.7", VERIFIED),
        ("1.0.350-rc.1", VERIFIED),
        ("1.0.350--", VERIFIED),
        ("1.0.351-alpha", UNAVAILABLE),
        ("1.0.351", UNAVAILABLE),
        ("1.0.99", VERIFIED),
        ("1.0.1000", UNAVAILABLE),
        ("0.9.9999999999", VERIFIED),
        ("1.1.0", UNAVAILABLE),
        ("2.0.0-0", UNAVAILABLE),
        ("1.0", UNAVAILABLE),
        ("v1.0.350", UNAVAILABLE),
        ("1.0.0350", UNAVAILABLE),
        ("1.0.350-01", UNAVAILABLE),
        ("1.0.350-", UNAVAILABLE),
        ("1.0.350+", UNAVAILABLE),
        ("1.0.350\n", UNAVAILABLE),
        ("1.0.\u0663", UNAVAILABLE),
        ("1.0." + "9" * 5000, UNAVAILABLE),
        ("", UNAVAILABLE),
        (1, UNAVAILABLE),
    ],
)
def test_the_least_version(wanted: object, expected: str) -> None:
    assert told(MINE.sign({aws_like.MIN_VERSION: wanted})) == expected


# Semantic Versioning 2.0.0, 11.4: each lower than the next
ORDERED = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
           "1.0.0-rc.1", "1.0.0", "1.0.1-0", "1.2.0", "1.10.0", "2.0.0"]  # fmt: skip


@pytest.mark.parametrize("ours", ORDERED)
@pytest.mark.parametrize("wanted", ORDERED)
def test_versions_have_an_order(ours: str, wanted: str) -> None:
    evidence = vectors.evidence(MINE.sign({aws_like.MIN_VERSION: wanted}), JWS_ENVELOPE, IMAGE)
    plugins = {aws_like.AWS_PLUGIN: replace(signer.PLUGIN, version=ours)}
    (found,) = verifier.verify(evidence, [Signer("mine", SignerKind.PROFILE, TRUSTED)], now=NOW, plugins=plugins)
    assert (settled(found).code is None) is (ORDERED.index(ours) >= ORDERED.index(wanted))


def test_a_least_version_of_nothing() -> None:
    payload = aws_like.sign(MINE.leaf, scheme=AUTHORITY, extended={aws_like.MIN_VERSION: "1.0.0"})
    assert told(payload) == UNAVAILABLE
    not_critical = aws_like.sign(MINE.leaf, scheme=AUTHORITY, extended={aws_like.MIN_VERSION: "1.0.0"}, critical=())
    assert told(not_critical) == UNAVAILABLE
    marked = [aws_like.PLUGIN, aws_like.PROFILE_VERSION, aws_like.JOB]
    assert told(MINE.sign({aws_like.MIN_VERSION: "1.0.0"}, critical=marked)) == UNAVAILABLE


# --- when


@pytest.mark.parametrize(
    ("at", "now", "expected"),
    [
        (AT, NOW + 3000 * DAY, VERIFIED),
        (AT + 5 * DAY, NOW + 3000 * DAY, VERIFIED),
        (AT + 5 * DAY + SECOND, NOW + 6 * DAY, "time_invalid"),
        (AT - DAY - SECOND, NOW, "time_invalid"),
        (AT, AT + 4109 * DAY - SECOND, VERIFIED),
        (AT, AT + 4109 * DAY, "signature_expired"),
    ],
)
def test_a_leaf_lives_for_days_and_a_signature_for_years(at: datetime, now: datetime, expected: str) -> None:
    assert told(MINE.sign(at=at, expires_at=AT + 4109 * DAY), now=now) == expected


# --- what is asked


def test_the_question() -> None:
    found = judge(MINE.sign())
    assert isinstance(found, Unsettled)
    (ask,) = found.asks
    assert (ask.check, ask.action) == (Check.REVOCATION, Action.ENFORCE)
    assert ask.inquiry == SignerInquiry(
        partition="aws",
        region="us-west-2",
        signed_at=AT,
        profile_version_arn=MINE.version_arn,
        job_arn=MINE.job_arn,
        certificate_hashes=signer.certificate_hashes(MINE.leaf.chain),
    )
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_question_is_about_whole_seconds() -> None:
    found = judge(MINE.sign(at=(AT + timedelta(milliseconds=999)).astimezone(timezone(timedelta(hours=1)))))
    assert isinstance(found, Unsettled)
    (ask,) = found.asks
    assert isinstance(ask.inquiry, SignerInquiry)
    assert ask.inquiry.signed_at == AT


def test_the_region_is_that_of_the_profile() -> None:
    """Which certainly knows of a revocation, wherever a job ran."""
    elsewhere = MINE.job_arn.replace("us-west-2", "eu-central-1")
    found = judge(MINE.sign({aws_like.JOB: elsewhere}))
    assert isinstance(found, Unsettled)
    assert [ask.inquiry.region for ask in found.asks if isinstance(ask.inquiry, SignerInquiry)] == ["us-west-2"]


@pytest.mark.parametrize(
    ("action", "status", "code", "noted"),
    [
        (Action.ENFORCE, GOOD, None, []),
        (Action.ENFORCE, REVOKED, Code.REVOKED, []),
        (Action.ENFORCE, Status(Standing.UNKNOWN, "throttled"), Code.REVOCATION_UNKNOWN, []),
        (Action.LOG, GOOD, None, []),
        (Action.LOG, REVOKED, None, ["revoked"]),
        (Action.LOG, Status(Standing.UNKNOWN, "throttled"), None, ["revocation_unknown"]),
        (Action.SKIP, REVOKED, None, []),
    ],
)
def test_what_becomes_of_the_answer(action: Action, status: Status, code: Code | None, noted: list[str]) -> None:
    found = judge(MINE.sign(), replace(TRUSTED, revocation=action))
    assert isinstance(found, Outcome) is (action is Action.SKIP)
    outcome = settled(found, status)
    assert outcome.code is code
    assert [note.partition(":")[0] for note in outcome.notes] == noted


@pytest.mark.parametrize(
    "payload",
    [
        ANOTHER.sign(),
        AWSLikeSigner().sign(),
        MINE.sign(expires_at=AT + SECOND),
        MINE.sign(at=AT + 6 * DAY),
        MINE.sign(without=aws_like.JOB),
        MINE.sign(image=replace(IMAGE, size=1)),
        MINE.sign().replace(b'"signature":"', b'"signature":"AAAA'),
    ],
    ids=["another-customer", "another-root", "expired", "outside-validity", "no-job", "another-size", "broken"],
)
@pytest.mark.parametrize("action", Action)
def test_aws_is_asked_nothing_about_what_fails_anyhow(payload: bytes, action: Action) -> None:
    """Or whoever may push to a repository spends the quota."""
    found = judge(payload, replace(TRUSTED, revocation=action))
    assert isinstance(found, Outcome)
    assert found.verdict is Verdict.REJECTED


# --- what is proved


def test_the_proof() -> None:
    candidate = MINE.sign(annotations={"build": "42"})
    outcome = settled(judge(candidate))
    proof = outcome.proof
    assert proof is not None
    assert proof.material == f"profile:{MINE.arn}"
    assert proof.times == (SignedTime(AT, "AWS Signer"),)
    assert proof.annotations == {"build": "42"}
    assert outcome.detail == f"notation signature by AWS Signer, {MINE.version_arn}"
    assert outcome.facts["plugin"] == aws_like.AWS_PLUGIN
    assert (outcome.facts["profile_version"], outcome.facts["job"]) == (MINE.version_arn, MINE.job_arn)
    assert outcome.facts["signed_at"] == "2026-11-21T08:02:41Z"
    assert {check: outcome.facts[check] for check in Check} == dict.fromkeys(Check, "ok")


def test_versions_of_a_profile_are_one_material_and_profiles_are_two() -> None:
    """However they are written: one signer is not two by the case of its letters."""
    cased = MINE.another(profile="DEMO_profile", version="AAAAAAAAAA")
    proofs = [
        settled(judge(one.sign(), replace(TRUSTED, arn=ProfileARN.parse(one.arn)))).proof
        for one in (MINE, cased, ANOTHER)
    ]
    mine, other_version, another = (proof.material for proof in proofs if proof is not None)
    assert mine == other_version
    assert mine != another


def test_several_signers_of_one_envelope() -> None:
    others = [replace(TRUSTED, arn=ProfileARN.parse(ANOTHER.arn)), TRUSTED, replace(TRUSTED, revocation=Action.SKIP)]
    evidence = vectors.evidence(MINE.sign(), JWS_ENVELOPE, IMAGE)
    signers = [Signer(f"{number}", SignerKind.PROFILE, one) for number, one in enumerate(others)]
    found = verifier.verify(evidence, signers, now=NOW)
    assert [type(one) for one in found] == [Outcome, Unsettled, Outcome]
    assert [settled(one).code for one in found] == [Code.IDENTITY_MISMATCH, None, None]


ENVELOPE = MINE.sign()


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_another_envelope_or_none(position: int, change: int) -> None:
    changed = bytearray(ENVELOPE)
    changed[position] ^= change
    assert isinstance(judge(bytes(changed)), Outcome) or changed == ENVELOPE


NAMES = st.sampled_from([aws_like.PLUGIN, aws_like.PROFILE_VERSION, aws_like.JOB, aws_like.MIN_VERSION])
VALUES = st.none() | st.text() | st.integers() | st.lists(st.text(), max_size=2)


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_any_attributes(attributes: Mapping[str, object]) -> None:
    found = judge(MINE.sign(attributes))
    assert isinstance(found, Outcome)
    assert found.code in (Code.VERIFICATION_PLUGIN_UNAVAILABLE, Code.CRITICAL_ATTRIBUTE_UNPROCESSED)
