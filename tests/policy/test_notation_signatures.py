"""Notary Project signatures beside cosign's: what counts, what only warns, what denies, and what is said of it."""

from __future__ import annotations

import itertools

import pytest

from tests.policy.build import (
    DAY,
    IMAGE,
    NOTHING,
    NOW,
    certificate,
    evidence,
    inconclusive,
    judge,
    judge_policy,
    keyless,
    notarized,
    parsed,
    policies,
    policy,
    profile,
    rejected,
    rule,
    signer,
    verified,
    wanted,
)
from webhook.errors import Code, InconclusiveError, TamperedError
from webhook.evidence.model import Form, Outcome, Place, Signer, Verdict, failed
from webhook.policy import message, remedies, select
from webhook.policy.decide import decide_review
from webhook.policy.decision import Result
from webhook.policy.model import Deny, Mode, OnUnavailable
from webhook.trust.notary.levels import Action, Level

ECR, ACME = profile("ecr"), certificate("acme")
RELEASE = signer("release")


def wrong(code: Code, who: Signer = ECR, detail: str = "as forged") -> Outcome:
    return rejected(code, who, detail, form=Form.NOTATION)


def unknown(who: Signer = ECR) -> Outcome:
    error = InconclusiveError(Code.REVOCATION_UNKNOWN, "AWS Signer did not answer")
    return failed(error, signer=who, evidence=evidence(Form.NOTATION))


def tampered(who: Signer = ECR) -> Outcome:
    error = TamperedError("its own certificate did not sign it", Code.SIGNATURE_INVALID)
    return failed(error, signer=who, evidence=evidence(Form.NOTATION))


# --- counting


@pytest.mark.parametrize(
    ("needed", "outcomes", "counted"),
    [
        pytest.param(1, [notarized(ECR)], ("ecr",), id="any: the profile"),
        pytest.param(1, [verified(RELEASE)], ("release",), id="any: the key"),
        pytest.param(1, [notarized(ACME)], ("acme",), id="any: the certificate"),
        pytest.param(3, [notarized(ECR), verified(RELEASE), notarized(ACME)], ("release", "ecr", "acme"), id="all"),
        pytest.param(2, [notarized(ECR), notarized(ACME)], ("ecr", "acme"), id="two"),
    ],
)
def test_signers_of_all_kinds_count_alike(needed: int, outcomes: list[Outcome], counted: tuple[str, ...]) -> None:
    found = judge_policy(policy(default=rule(RELEASE, ECR, ACME, needed=needed)), *outcomes)
    assert (found.result, found.counted) == (Result.VERIFIED, counted)


@pytest.mark.parametrize(
    ("signers", "outcomes"),
    [
        pytest.param((ECR, ACME), [notarized(ECR)], id="one of two"),
        pytest.param((RELEASE, ACME), [verified(RELEASE), notarized(ACME, key="release")], id="one key, as both sign"),
        pytest.param(
            (profile("ecr", version="AbCdEf1234"), profile("ecr", version="0000000000")),
            [notarized(profile("ecr", version="AbCdEf1234")), notarized(profile("ecr", version="0000000000"))],
            id="two versions of one profile",
        ),
        pytest.param((ACME, certificate("other")), [notarized(ACME, key="k"), notarized(certificate("other"), key="k")],
                     id="one certificate that fits two rules"),
    ],
)  # fmt: skip
def test_distinct_material_is_counted(signers: tuple[Signer, ...], outcomes: list[Outcome]) -> None:
    found = judge_policy(policy(default=rule(*signers, needed=2)), *outcomes)
    assert (found.result, found.code) == (Result.DENIED, Code.NOT_ENOUGH_SIGNERS)


def test_a_laxer_rule_of_another_policy_counts_for_nothing_here() -> None:
    lax = profile("ecr", revocation=Action.SKIP)
    strict = policy("strict", default=rule(ECR))
    image = judge(policies(strict, policy("lax", default=rule(lax))), notarized(lax), wrong(Code.REVOKED))
    assert [(one.policy.name, one.result) for one in image.policies] == [
        ("strict", Result.DENIED), ("lax", Result.VERIFIED),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "code"),
    [
        pytest.param(notarized(ECR, annotations={"env": "prod"}, at=NOW - DAY), None, id="right"),
        pytest.param(notarized(ECR, annotations={"env": "dev"}, at=NOW - DAY), Code.CLAIM_MISMATCH, id="other text"),
        pytest.param(notarized(ECR, at=NOW - DAY), Code.CLAIM_MISMATCH, id="not signed along"),
        pytest.param(notarized(ECR, annotations={"env": "prod"}, at=NOW - 3 * DAY), Code.TIME_INVALID, id="too old"),
        pytest.param(notarized(ECR, annotations={"env": "prod"}), Code.TIME_INVALID, id="without a time"),
    ],
)
def test_user_metadata_and_age_are_demanded_as_of_cosign(found: Outcome, code: Code | None) -> None:
    demand = rule(ECR, annotations=(("env", "prod"),), max_age=2 * DAY)
    assert judge_policy(policy(default=demand), found).code is code


@pytest.mark.parametrize(
    ("entry", "blocked"),
    [
        pytest.param(Deny("stolen", certificate_fingerprint="cd" * 32), True, id="certificate"),
        pytest.param(Deny("stolen", certificate_fingerprint="ce" * 32), False, id="another certificate"),
        pytest.param(Deny("stolen", key_fingerprint=signer("made for acme").fingerprint), True, id="key"),
        pytest.param(Deny("stolen", key_fingerprint=signer("made for you").fingerprint), False, id="another key"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["own", "of another policy"])
def test_a_key_or_certificate_that_is_denied_counts_for_nothing(entry: Deny, blocked: bool, elsewhere: bool) -> None:
    one = policy("one", default=rule(ACME), deny=() if elsewhere else (entry,))
    two = policy("two", default=rule(ACME), deny=(entry,) if elsewhere else ())
    image = judge(policies(one, two), notarized(ACME, certificate="cd" * 32))
    assert image.code is (Code.BLOCKED if blocked else None)


# --- Lambda's table: specs of AWS Lambda code signing, UntrustedArtifactOnDeployment Warn and Enforce


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("outcomes", "code", "blocks"),
    [
        pytest.param([NOTHING], Code.NO_SIGNATURE, False, id="mismatch: not signed"),
        pytest.param([wrong(Code.IDENTITY_MISMATCH)], Code.IDENTITY_MISMATCH, False, id="mismatch: another profile"),
        pytest.param([wrong(Code.UNTRUSTED_MATERIAL)], Code.UNTRUSTED_MATERIAL, False, id="mismatch: another root"),
        pytest.param([wrong(Code.SIGNATURE_EXPIRED)], Code.SIGNATURE_EXPIRED, False, id="expiry"),
        pytest.param([wrong(Code.REVOKED)], Code.REVOKED, False, id="revocation"),
        pytest.param([unknown()], Code.REVOCATION_UNKNOWN, False, id="revocation: nobody answered"),
        pytest.param([tampered()], Code.SIGNATURE_INVALID, True, id="integrity"),
        pytest.param([tampered(), wrong(Code.MALFORMED)], Code.SIGNATURE_INVALID, True, id="integrity, beside rubbish"),
        pytest.param([tampered(), wrong(Code.SUBJECT_MISMATCH)], Code.SUBJECT_MISMATCH, True,
                     id="integrity, beside another image's"),
        pytest.param([tampered(), wrong(Code.REVOKED)], Code.REVOKED, False, id="integrity, beside a whole one"),
        pytest.param([tampered(), unknown()], Code.REVOCATION_UNKNOWN, False, id="integrity, beside one not asked for"),
        pytest.param([wrong(Code.MALFORMED)], Code.MALFORMED, False, id="rubbish"),
        pytest.param([wrong(Code.CERT_CHAIN_INVALID)], Code.CERT_CHAIN_INVALID, False, id="a chain that is none"),
        pytest.param([wrong(Code.SUBJECT_MISMATCH)], Code.SUBJECT_MISMATCH, False, id="another image's"),
    ],
)  # fmt: skip
def test_warn_admits_all_but_what_was_tampered_with(
    mode: Mode, outcomes: list[Outcome], code: Code, *, blocks: bool
) -> None:
    spoken = policies(policy("lambda", mode=mode, default=rule(ECR)), policy("open", exempt=("**",)))
    for order in itertools.permutations(outcomes):
        image = judge(spoken, *order)
        denied = mode is Mode.ENFORCE or blocks
        assert (image.result in (Result.DENIED, Result.ERROR)) is denied
        assert (image.result is Result.WARNED) is not denied
        assert image.code is (Code.SIGNATURE_INVALID if blocks and mode is Mode.WARN else code)
        assert denied or image.warnings == (f'policy "lambda" would deny it: {code}',)


def test_one_good_signature_makes_tampering_beside_it_harmless() -> None:
    for mode in Mode:
        image = judge(policies(policy(mode=mode, default=rule(ECR, ACME))), tampered(), notarized(ACME))
        assert image.policies[0].result is Result.VERIFIED


def test_tampered_warn_lets_it_pass_in_a_warn_policy() -> None:
    one = policy(mode=Mode.WARN, default=rule(ECR), tampered=Mode.WARN)
    assert judge(policies(one, policy("open", exempt=("**",))), tampered()).result is Result.WARNED


# --- what is only told


@pytest.mark.parametrize("mode", Mode)
def test_what_a_policy_wants_only_told_is_a_warning(mode: Mode) -> None:
    lax = profile("ecr", revocation=Action.LOG)
    found = notarized(lax, notes=("revoked: the signing job was revoked",))
    image = judge(policies(policy("x", mode=mode, default=rule(lax))), found)
    assert image.policies[0].result is Result.VERIFIED
    assert image.warnings == ('policy "x" counts it all the same: ecr: revoked: the signing job was revoked',)


def test_of_several_signatures_by_one_signer_the_best_is_told() -> None:
    audit = certificate("acme", level=Level.AUDIT)
    clean, noted = notarized(audit), notarized(audit, notes=("revoked: a", "signature_expired: b"))
    less = notarized(audit, notes=("signature_expired: b",))
    for order in itertools.permutations([noted, less]):
        image = judge(policies(policy("x", default=rule(audit))), *order)
        assert image.warnings == ('policy "x" counts it all the same: acme: signature_expired: b',)
    for order in itertools.permutations([noted, less, clean]):
        assert judge(policies(policy("x", default=rule(audit))), *order).warnings == ()


def test_notes_of_a_signer_that_does_not_count_are_not_told() -> None:
    audit = certificate("acme", level=Level.AUDIT)
    noted = notarized(audit, notes=("revoked: a",))
    assert judge_policy(policy(default=rule(RELEASE, audit, needed=2)), noted).notes == ()
    blocked = policy(
        default=rule(RELEASE, audit), deny=(Deny("x", key_fingerprint=signer("made for acme").fingerprint),)
    )
    assert judge_policy(blocked, noted, verified(RELEASE)).notes == ()


# --- what was of no use to a rule


@pytest.mark.parametrize("place", [Place.SIGNATURE_TAG, Place.ATTESTATION_TAG])
def test_cosign_s_tags_tell_a_rule_for_notation_nothing(place: Place) -> None:
    outage = failed(InconclusiveError(Code.REGISTRY_UNAVAILABLE, "no answer"), place=place)
    served = failed(TamperedError("another digest"), place=place)
    image = judge(policies(policy(mode=Mode.WARN, default=rule(ECR)), policy("o", exempt=("**",))), outage, served)
    assert (image.result, image.code) == (Result.WARNED, Code.NO_SIGNATURE)


@pytest.mark.parametrize(
    ("signers", "place"),
    [((ECR, RELEASE), Place.SIGNATURE_TAG), ((ECR,), Place.REFERRERS), ((ECR,), Place.FALLBACK_TAG)],
)
def test_what_may_hold_a_signature_tells_something(signers: tuple[Signer, ...], place: Place) -> None:
    outage = failed(InconclusiveError(Code.REGISTRY_UNAVAILABLE, "no answer"), place=place)
    assert judge_policy(policy(default=rule(*signers)), outage).result is Result.ERROR


def test_a_signature_is_never_an_attestation() -> None:
    demand = rule(ECR, RELEASE, attestations=(wanted(RELEASE),))
    found = judge_policy(policy(default=demand), notarized(ECR), wrong(Code.MALFORMED), NOTHING)
    assert (found.code, found.attestations[0].code) == (Code.NO_SIGNATURE, Code.NO_SIGNATURE)


def test_only_what_is_demanded_is_looked_for() -> None:
    def looked_for(*signers: Signer) -> tuple[bool, bool]:
        one = policies(policy(default=rule(*signers)))
        wants = select.wants(select.select(one, reference=parsed(), digest=None, namespace="x", now=NOW))
        return wants.signatures, wants.notation

    assert looked_for(ECR) == (False, True)
    assert looked_for(RELEASE) == (True, False)
    assert looked_for(RELEASE, ACME) == (True, True)


# --- while a registry is away

DOWN = inconclusive(Code.REGISTRY_UNAVAILABLE)


def known(*signers: Signer) -> frozenset[str]:
    return frozenset(one.known_as for one in signers)


@pytest.mark.parametrize(
    ("signers", "needed", "before", "outcomes", "admitted"),
    [
        pytest.param((ECR,), 1, (ECR,), [], True, id="profile"),
        pytest.param((ACME,), 1, (ACME,), [], True, id="certificate"),
        pytest.param((ECR,), 1, (profile("other"),), [], False, id="another profile"),
        pytest.param((ECR, profile("b")), 2, (ECR, profile("b")), [], True, id="two profiles"),
        pytest.param((profile("ecr", version="AbCdEf1234"), profile("ecr", version="0000000000")), 2,
                     (profile("ecr", version="AbCdEf1234"), profile("ecr", version="0000000000")), [], False,
                     id="two versions of one profile"),
        pytest.param((ACME, certificate("b")), 2, (ACME, certificate("b")), [], False, id="perhaps one certificate"),
        pytest.param((RELEASE, ACME), 2, (RELEASE, ACME), [], False, id="perhaps one key"),
        pytest.param((ECR,), 1, (ECR,), [wrong(Code.REVOKED)], False, id="revoked since"),
        pytest.param((ECR,), 1, (ECR,), [wrong(Code.SIGNATURE_EXPIRED)], False, id="expired since"),
        pytest.param((ECR,), 1, (ECR,), [unknown()], False, id="perhaps revoked since"),
        pytest.param((ECR,), 1, (ECR,), [wrong(Code.VERIFICATION_PLUGIN_UNAVAILABLE)], True, id="beside rubbish"),
        pytest.param((ECR,), 1, (ECR,), [inconclusive(Code.NOT_CACHED)], False, id="not cached"),
    ],
)  # fmt: skip
def test_who_was_known_before(
    signers: tuple[Signer, ...], needed: int, before: tuple[Signer, ...], outcomes: list[Outcome], *, admitted: bool
) -> None:
    one = policy(default=rule(*signers, needed=needed, on_unavailable=OnUnavailable.KNOWN))
    assert (judge_policy(one, DOWN, *outcomes, known=known(*before)).result is Result.VERIFIED) is admitted


@pytest.mark.parametrize("who", [ECR, ACME], ids=["profile", "certificate"])
def test_what_is_denied_may_be_what_was_known(who: Signer) -> None:
    entry = Deny("stolen", key_fingerprint="ab" * 32)
    one = policy(default=rule(who, on_unavailable=OnUnavailable.KNOWN), deny=(entry,))
    assert judge_policy(one, DOWN, known=known(who)).result is Result.ERROR


# --- in words


@pytest.mark.parametrize(
    ("outcomes", "who", "line"),
    [
        ([NOTHING], ECR, "- ecr  no_signature   nothing signed with this profile was found for this digest"),
        ([NOTHING], ACME, "- acme  no_signature   no Notary Project signature was found for this digest"),
        (
            [wrong(Code.REVOKED, detail="the signing job was revoked")],
            ECR,
            "- ecr  revoked   the signing job was revoked",
        ),
        (
            [tampered()],
            ECR,
            "- ecr  signature_invalid   its own certificate did not sign it",
        ),
        (
            [wrong(Code.IDENTITY_MISMATCH, detail="profile b"), wrong(Code.MALFORMED)],
            ECR,
            "- ecr  identity_mismatch   2 Notary Project signatures found: 1 identity_mismatch, 1 malformed: profile b",
        ),
        ([unknown(), wrong(Code.MALFORMED)], ECR, "- ecr  revocation_unknown   AWS Signer did not answer"),
    ],
    ids=["profile", "certificate", "one", "tampered", "two", "unknown"],
)
def test_a_denial_says_what_was_found(outcomes: list[Outcome], who: Signer, line: str) -> None:
    image = judge(policies(policy(default=rule(who))), *outcomes)
    told = message.denial(decide_review([image], revision="1"))
    assert f"wants a signature by {who.name}" in told
    assert line in told
    remedy = remedies.TAMPERED if outcomes == [tampered()] else remedies.REMEDIES[outcomes[0].code or Code.NO_SIGNATURE]
    assert remedy in told


def test_signatures_of_both_kinds_are_told_beside_each_other() -> None:
    loaded = policies(policy(default=rule(RELEASE, keyless("ci"), ECR)))
    told = message.denial(decide_review([judge(loaded, rejected(Code.SIGNATURE_INVALID, RELEASE))], revision="1"))
    assert "- release  signature_invalid   1 cosign signature found, it does not verify with this key" in told
    assert "- ecr      no_signature        nothing signed with this profile was found for this digest" in told


@pytest.mark.parametrize("code", [Code.REVOCATION_UNKNOWN, Code.NOT_CACHED])
def test_what_may_be_known_a_little_later_is_worth_a_retry(code: Code) -> None:
    image = judge(policies(policy(default=rule(ECR))), inconclusive(code))
    review = decide_review([image], revision="1")
    assert (review.status, message.retry_after(review)) == (503, 2)
    assert image.reference == IMAGE
    assert image.policies[0].outcomes[0].verdict is Verdict.INCONCLUSIVE
