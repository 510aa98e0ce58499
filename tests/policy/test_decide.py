"""Outcomes to decisions. Every admission stands beside a near miss that is refused with its code."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

import pytest

from tests.policy.build import (
    DAY,
    DIGEST,
    HOST,
    IMAGE,
    NOTHING,
    NOW,
    OTHER,
    SLSA,
    VULN,
    attested,
    evidence,
    fingerprint,
    inconclusive,
    judge,
    judge_policy,
    keyless,
    parsed,
    policies,
    policy,
    rejected,
    rule,
    signer,
    verified,
    wanted,
    weighed,
)
from webhook.errors import Code, InconclusiveError, MalformedError, TamperedError
from webhook.evidence.model import Form, Outcome, Place, SignedTime, SignerKind, failed
from webhook.oci.reference import Digest
from webhook.policy import decide, reasons, select
from webhook.policy.decision import Blocked, ImageDecision, PolicyDecision, Result, Selection, SignerLine
from webhook.policy.model import Deny, Mode, Namespaces, OnUnavailable, Pick, PolicyException, Rule, TrustPolicy
from webhook.settings import NoMatch
from webhook.trust.material import PublicKey

INVALID, MALFORMED = Code.SIGNATURE_INVALID, Code.MALFORMED
STOLEN = Deny("stolen in May", key_fingerprint=fingerprint("release"))
DIGEST_DENY = Deny("CVE-2026-2", digest=DIGEST)
EXCEPTION = PolicyException(DIGEST, ("pay",), NOW + timedelta(days=9), "vendor signs next week")


def said(decision: PolicyDecision | ImageDecision) -> tuple[Result, Code | None]:
    assert decision.detail
    return decision.result, decision.code


def asking(one: TrustPolicy) -> Selection:
    (selection,) = select.select(policies(one), reference=parsed(), digest=DIGEST, namespace="pay", now=NOW)
    return selection


@pytest.mark.parametrize(
    ("demand", "outcomes", "code"),
    [
        pytest.param(rule("a", "b"), [verified("b")], None, id="any, by one"),
        pytest.param(rule("a", "b"), [verified("c")], Code.INTERNAL_ERROR, id="any, by a stranger"),
        pytest.param(rule("a", "b"), [NOTHING], Code.NO_SIGNATURE, id="any, by nobody"),
        pytest.param(rule("a", "b"), [rejected(INVALID, "a"), verified("a")], None, id="a bad one beside a good one"),
        pytest.param(rule("a", "b", needed=2), [verified("a"), verified("b")], None, id="all"),
        pytest.param(
            rule("a", "b", needed=2), [verified("a"), verified("a")], Code.NOT_ENOUGH_SIGNERS, id="one signed twice"
        ),
        pytest.param(rule("a", "b", "c", needed=2), [verified("c"), verified("a")], None, id="two of three"),
        pytest.param(
            rule("a", "b", "c", needed=2),
            [verified("c"), rejected(INVALID, "a")],
            Code.NOT_ENOUGH_SIGNERS,
            id="one of three where two are wanted",
        ),
        pytest.param(rule("a", needed=0), [NOTHING], Code.NO_SIGNATURE, id="no demand is met by nothing"),
        pytest.param(rule("a", needed=0), [verified("a")], Code.NOT_ENOUGH_SIGNERS, id="no demand is met by anything"),
    ],
)
def test_distinct_material_meets_a_demand(demand: Rule, outcomes: list[Outcome], code: Code | None) -> None:
    one = policy(default=demand)
    decision = judge_policy(one, *outcomes)
    assert decision.code is code
    assert (decision.result is Result.VERIFIED) is (code is None)
    assert decide.is_met(asking(one), outcomes, Blocked(), now=NOW) is (code is None)
    assert decision.detail


def test_what_another_policy_takes_from_a_key_does_not_count() -> None:
    strict = signer("a").material
    assert isinstance(strict, PublicKey)
    lax = dataclasses.replace(signer("a"), material=dataclasses.replace(strict, schemes=("sha512",)))
    decision = judge_policy(policy(default=rule("a")), verified(lax), rejected(INVALID, "a"))
    assert said(decision) == (Result.DENIED, Code.SIGNATURE_INVALID)


def test_one_key_under_two_names_counts_once() -> None:
    twice = Rule("signers", (), (signer("a", "same"), signer("b", "same")), 2, OnUnavailable.DENY)
    decision = judge_policy(policy(default=twice), *map(verified, twice.signers))
    assert said(decision) == (Result.DENIED, Code.NOT_ENOUGH_SIGNERS)
    assert decision.counted == ("a",)


def test_a_settled_selection_needs_no_evidence() -> None:
    assert decide.is_met(asking(policy(exempt=(HOST,))), (), Blocked(), now=NOW)


def test_neither_rule_nor_decision_is_never_met() -> None:
    nothing = Selection(policy(), Mode.ENFORCE, None, None, False)
    assert not decide.is_met(nothing, (), Blocked(), now=NOW)
    with pytest.raises(ValueError, match="neither decision nor rule"):
        decide.decide_policy(nothing, (), blocked=Blocked(), candidates_listed=False, now=NOW)


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        pytest.param([Code.UNSUPPORTED, MALFORMED], MALFORMED, id="malformed over unsupported"),
        pytest.param([INVALID, MALFORMED, Code.LIMIT_EXCEEDED], INVALID, id="invalid over malformed and limit"),
        pytest.param([Code.CLAIM_MISMATCH, INVALID], Code.CLAIM_MISMATCH, id="claim over invalid"),
        pytest.param([INVALID, Code.UNTRUSTED_MATERIAL], Code.UNTRUSTED_MATERIAL, id="untrusted over invalid"),
        pytest.param([Code.TLOG_INVALID, Code.IDENTITY_MISMATCH], Code.IDENTITY_MISMATCH, id="identity over log"),
        pytest.param([Code.TIME_INVALID, Code.IDENTITY_MISMATCH], Code.IDENTITY_MISMATCH, id="identity over time"),
        pytest.param([Code.IDENTITY_MISMATCH, Code.CLAIM_MISMATCH], Code.CLAIM_MISMATCH, id="claim over identity"),
        pytest.param([Code.CONDITION_ERROR, Code.SUBJECT_MISMATCH], Code.SUBJECT_MISMATCH, id="subject over condition"),
        pytest.param(
            [Code.SUBJECT_MISMATCH, Code.CROSSCHECK_DISAGREEMENT],
            Code.CROSSCHECK_DISAGREEMENT,
            id="crosscheck over all",
        ),
        pytest.param([Code.CLAIM_MISMATCH, Code.SUBJECT_MISMATCH], Code.SUBJECT_MISMATCH, id="subject over claim"),
        pytest.param(
            [Code.SUBJECT_MISMATCH, Code.REGISTRY_VIOLATION], Code.REGISTRY_VIOLATION, id="violation over all"
        ),
    ],
)
def test_the_reason_that_came_furthest_is_shown(codes: list[Code], shown: Code) -> None:
    outcomes = [NOTHING, *(rejected(code, "a") for code in codes)]
    assert said(judge_policy(policy(default=rule("a")), *outcomes)) == (Result.DENIED, shown)
    assert said(judge_policy(policy(default=rule("a")), *reversed(outcomes))) == (Result.DENIED, shown)


def test_every_code_has_a_rank() -> None:
    assert set(reasons.RANK) == set(Code)


@pytest.mark.parametrize(
    ("demand", "outcomes", "result", "code"),
    [
        pytest.param(
            rule("a"),
            [rejected(INVALID, "a"), inconclusive(Code.REGISTRY_UNAVAILABLE)],
            Result.ERROR,
            Code.REGISTRY_UNAVAILABLE,
            id="a place that did not answer",
        ),
        pytest.param(
            rule("a", "b", needed=2),
            [verified("a"), inconclusive(Code.INTERNAL_ERROR, "b")],
            Result.ERROR,
            Code.INTERNAL_ERROR,
            id="for the signer that is missing",
        ),
        pytest.param(
            rule("a", "b", needed=2),
            [rejected(INVALID, "a"), inconclusive(Code.INTERNAL_ERROR, "b")],
            Result.DENIED,
            INVALID,
            id="for one signer, when two are missing",
        ),
        pytest.param(
            rule("a"),
            [rejected(INVALID, "a"), inconclusive(Code.ACCESS_DENIED, "b")],
            Result.DENIED,
            INVALID,
            id="for a signer of another policy",
        ),
        pytest.param(
            rule("a"),
            [NOTHING, inconclusive(Code.RATE_LIMITED), inconclusive(Code.ACCESS_DENIED)],
            Result.ERROR,
            Code.ACCESS_DENIED,
            id="what takes most to mend is shown",
        ),
        pytest.param(rule("a"), [], Result.ERROR, Code.INTERNAL_ERROR, id="nothing was examined at all"),
    ],
)
def test_inconclusive_counts_where_it_could_change_the_result(
    demand: Rule, outcomes: list[Outcome], result: Result, code: Code
) -> None:
    assert said(judge_policy(policy(default=demand), *outcomes)) == (result, code)


class TestBlockedKeys:
    blocking = policy("security", mode=Mode.WARN, deny=(STOLEN,))

    def test_what_they_signed_never_counts_in_any_policy(self) -> None:
        loaded = policies(policy(default=rule("release", "b")), self.blocking)
        image = judge(loaded, verified("release"))
        assert said(image) == (Result.DENIED, Code.BLOCKED)
        assert "policy security blocks" in image.detail
        assert "stolen in May" in image.detail

    def test_another_signer_still_counts(self) -> None:
        image = judge(policies(policy(default=rule("release", "b")), self.blocking), verified("release"), verified("b"))
        assert image.result is Result.VERIFIED

    def test_without_the_entry_it_counts(self) -> None:
        assert judge(policies(policy(default=rule("release", "b"))), verified("release")).result is Result.VERIFIED

    def test_they_do_not_help_towards_a_number(self) -> None:
        loaded = policies(policy(default=rule("release", "b", needed=2)), self.blocking)
        assert said(judge(loaded, verified("release"), verified("b"))) == (Result.DENIED, Code.NOT_ENOUGH_SIGNERS)

    def test_nothing_that_could_not_be_examined_helps_them(self) -> None:
        loaded = policies(policy(default=rule("release")), self.blocking)
        image = judge(loaded, inconclusive(Code.REGISTRY_UNAVAILABLE))
        assert said(image) == (Result.DENIED, Code.BLOCKED)

    def test_no_outage_admits_what_they_alone_could_sign(self) -> None:
        demand = rule("release", "b", needed=2, on_unavailable=OnUnavailable.ALLOW)
        loaded = policies(policy(default=demand), self.blocking)
        image = judge(loaded, inconclusive(Code.REGISTRY_UNAVAILABLE), candidates_listed=False)
        assert said(image) == (Result.DENIED, Code.BLOCKED)

    def test_what_was_known_of_them_is_forgotten(self) -> None:
        demand = rule("release", on_unavailable=OnUnavailable.KNOWN)
        known = frozenset({signer("release").known_as})
        loaded = policies(policy(default=demand), self.blocking)
        image = judge(loaded, inconclusive(Code.REGISTRY_UNAVAILABLE), known=known)
        assert said(image) == (Result.DENIED, Code.BLOCKED)

    @pytest.mark.parametrize(("deny", "result"), [((STOLEN,), Result.DENIED), ((), Result.WARNED)])
    def test_in_a_warn_policy_its_own_entry_denies(self, deny: tuple[Deny, ...], result: Result) -> None:
        one = policy("trial", mode=Mode.WARN, default=rule("release"), deny=deny)
        image = judge(policies(one, self.blocking), verified("release"), no_match=NoMatch.ALLOW)
        assert said(image) == (result, Code.BLOCKED)


CI = keyless("ci")


class TestBlockedMaterial:
    """A certificate, a log entry or a key that somebody blocks, whoever the signer is."""

    by = {  # noqa: RUF012
        "certificate": Deny("lost laptop", certificate_fingerprint="ce" * 32),
        "log entry": Deny("rogue job", log_index=77),
        "key": Deny("lost laptop", key_fingerprint=fingerprint("made for ci")),
    }

    @pytest.mark.parametrize("what", by)
    def test_what_is_made_with_it_counts_in_no_policy(self, what: str) -> None:
        blocking = policy("security", mode=Mode.WARN, deny=(self.by[what],))
        loaded = policies(policy(default=rule(CI)), blocking)
        image = judge(loaded, verified(CI, certificate="ce" * 32, index=77))
        assert said(image) == (Result.DENIED, Code.BLOCKED)
        assert f"signed only with a {what} that policy security blocks: {self.by[what].reason}" == image.detail

    @pytest.mark.parametrize("what", ["certificate", "log entry"])
    def test_another_of_the_same_identity_still_counts(self, what: str) -> None:
        loaded = policies(policy(default=rule(CI), deny=(self.by[what],)))
        assert judge(loaded, verified(CI, certificate="aa" * 32, index=78)).result is Result.VERIFIED
        found = [verified(CI, certificate="ce" * 32, index=77), verified(CI, certificate="aa" * 32, index=78)]
        assert judge(loaded, *found).result is Result.VERIFIED

    def test_a_key_that_is_trusted_is_blocked_by_its_log_entry(self) -> None:
        loaded = policies(policy(default=rule("a"), deny=(self.by["log entry"],)))
        assert said(judge(loaded, verified("a", index=77))) == (Result.DENIED, Code.BLOCKED)
        assert judge(loaded, verified("a", index=78)).result is Result.VERIFIED

    @pytest.mark.parametrize("what", by)
    @pytest.mark.parametrize("own", [True, False], ids=["its own entry", "another's entry"])
    def test_in_a_warn_policy_only_its_own_entry_denies(self, what: str, own: bool) -> None:
        deny = (self.by[what],)
        one = policy("trial", mode=Mode.WARN, default=rule(CI), deny=deny if own else ())
        loaded = policies(policy("first", mode=Mode.WARN, deny=deny), one)
        image = judge(loaded, verified(CI, certificate="ce" * 32, index=77), no_match=NoMatch.ALLOW)
        assert said(image) == (Result.DENIED if own else Result.WARNED, Code.BLOCKED)

    def test_a_bad_signature_by_it_is_no_block(self) -> None:
        one = policy("trial", mode=Mode.WARN, default=rule(CI), deny=tuple(self.by.values()))
        image = judge(policies(one), rejected(Code.IDENTITY_MISMATCH, CI), no_match=NoMatch.ALLOW)
        assert said(image) == (Result.WARNED, Code.IDENTITY_MISMATCH)

    @pytest.mark.parametrize("what", by)
    def test_what_was_known_is_forgotten(self, what: str) -> None:
        demand = rule(CI, on_unavailable=OnUnavailable.KNOWN)
        down, known = inconclusive(Code.REGISTRY_UNAVAILABLE), frozenset({CI.known_as})
        assert judge(policies(policy(default=demand)), down, known=known).result is Result.VERIFIED
        blocking = policies(policy(default=demand, deny=(self.by[what],)))
        assert said(judge(blocking, down, known=known)) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)


class TestDistinctMaterial:
    """Each signer must be given a material of its own."""

    CI, TEAM, BOSS = keyless("ci"), keyless("team"), keyless("boss")

    @pytest.mark.parametrize(
        ("pairs", "wanted_signers", "counted"),
        [
            pytest.param([("ci", "m1"), ("team", "m2")], 2, ("ci", "team"), id="one each"),
            pytest.param([("ci", "m1"), ("team", "m1")], 2, ("ci",), id="one certificate that fits two names"),
            pytest.param([("ci", "m1"), ("ci", "m2")], 2, ("ci",), id="two certificates that fit one name"),
            pytest.param([("ci", "m1"), ("ci", "m2"), ("team", "m1")], 2, ("ci", "team"), id="handed on"),
            pytest.param(
                [("ci", "m1"), ("ci", "m2"), ("team", "m1"), ("team", "m2"), ("boss", "m1")],
                3,
                ("ci", "team"),
                id="two materials for three names",
            ),
            pytest.param(
                [("ci", "m1"), ("ci", "m2"), ("team", "m2"), ("team", "m3"), ("boss", "m1")],
                3,
                ("ci", "team", "boss"),
                id="handed on twice",
            ),
        ],
    )
    def test_is_given_out_once(self, pairs: list[tuple[str, str]], wanted_signers: int, counted: tuple[str]) -> None:
        signers = {"ci": self.CI, "team": self.TEAM, "boss": self.BOSS}
        one = policy(default=rule(*signers.values(), needed=wanted_signers))
        outcomes = [verified(signers[name], material=material) for name, material in pairs]
        decision = judge_policy(one, *outcomes)
        assert decision.counted == judge_policy(one, *reversed(outcomes)).counted == counted
        assert (decision.code is None) is (len(counted) >= wanted_signers)
        assert decision.code in (None, Code.NOT_ENOUGH_SIGNERS)
        assert decide.is_met(asking(one), outcomes, Blocked(), now=NOW) is (decision.code is None)

    def test_known_identities_are_one_material(self) -> None:
        demand = rule(self.CI, self.TEAM, needed=2, on_unavailable=OnUnavailable.KNOWN)
        known = frozenset({self.CI.known_as, self.TEAM.known_as})  # it may have been one certificate
        down = inconclusive(Code.REGISTRY_UNAVAILABLE)
        assert said(judge_policy(policy(default=demand), down, known=known))[0] is Result.ERROR
        assert said(judge_policy(policy(default=demand), down, verified(self.CI), known=known))[0] is Result.ERROR
        mixed = rule(self.CI, "a", needed=2, on_unavailable=OnUnavailable.KNOWN)
        decision = judge_policy(policy(default=mixed), down, verified("a"), known=known)
        assert (decision.result, decision.counted) == (Result.VERIFIED, ("ci", "a"))


class TestSignedAnnotations:
    demand = rule("a", annotations=(("env", "prod"), ("team", "pay")))

    @pytest.mark.parametrize(
        ("annotations", "code"),
        [
            pytest.param({"env": "prod", "team": "pay"}, None, id="all of them"),
            pytest.param({"env": "prod", "team": "pay", "more": "x"}, None, id="and more"),
            pytest.param({"env": "prod"}, Code.CLAIM_MISMATCH, id="one of two"),
            pytest.param({"env": "prod", "team": "Pay"}, Code.CLAIM_MISMATCH, id="another case"),
            pytest.param({"env": "prod ", "team": "pay"}, Code.CLAIM_MISMATCH, id="a space"),
            pytest.param({}, Code.CLAIM_MISMATCH, id="none"),
        ],
    )
    def test_must_all_be_there_exactly(self, annotations: dict[str, str], code: Code | None) -> None:
        decision = judge_policy(policy(default=self.demand), verified("a", annotations=annotations))
        assert decision.code is code
        assert (decision.result is Result.VERIFIED) is (code is None)

    def test_of_one_signature_and_not_of_two_together(self) -> None:
        halves = [verified("a", annotations={"env": "prod"}), verified("a", annotations={"team": "pay"})]
        assert said(judge_policy(policy(default=self.demand), *halves)) == (Result.DENIED, Code.CLAIM_MISMATCH)

    def test_it_is_told_which(self) -> None:
        decision = judge_policy(policy(default=self.demand), verified("a", annotations={"env": "dev\n"}))
        assert decision.detail == "annotation env: 'prod' expected, found 'dev\\n'"

    def test_a_key_that_was_known_is_not_known_for_them(self) -> None:
        demand = dataclasses.replace(self.demand, on_unavailable=OnUnavailable.KNOWN)
        down, known = inconclusive(Code.REGISTRY_UNAVAILABLE), frozenset({signer("a").known_as})
        assert judge_policy(policy(default=demand), down, known=known).result is Result.ERROR


@pytest.mark.parametrize(
    ("at", "code"),
    [
        pytest.param(NOW - DAY, None, id="just young enough"),
        pytest.param(NOW - DAY - timedelta(seconds=1), Code.TIME_INVALID, id="too old"),
        pytest.param(None, Code.TIME_INVALID, id="by no trusted clock"),
        pytest.param(NOW + timedelta(minutes=5), None, id="a clock that is ahead"),
        pytest.param(NOW + timedelta(minutes=6), Code.TIME_INVALID, id="not yet"),
    ],
)
def test_a_signature_must_be_young_enough(at: datetime | None, code: Code | None) -> None:
    decision = judge_policy(policy(default=rule(CI, max_age=DAY)), verified(CI, at=at))
    assert decision.code is code
    assert judge_policy(policy(default=rule(CI)), verified(CI, at=at)).code is None


def test_age_counts_from_the_earliest_time() -> None:
    old = verified(CI, at=NOW - 2 * DAY)
    assert old.proof is not None
    times = (SignedTime(NOW, "a clock that was asked again"), *old.proof.times)
    again = dataclasses.replace(old, proof=dataclasses.replace(old.proof, times=times))
    assert judge_policy(policy(default=rule(CI, max_age=DAY)), again).code is Code.TIME_INVALID


def test_verified_without_a_proof_is_not_verified() -> None:
    bare = dataclasses.replace(verified("a"), proof=None)
    assert said(judge_policy(policy(default=rule("a")), bare)) == (Result.ERROR, Code.INTERNAL_ERROR)


class TestAttestations:
    both = policy(default=rule("a", attestations=(wanted(CI),)))
    alone = policy(default=rule(needed=0, attestations=(wanted(CI),)))

    @pytest.mark.parametrize(
        ("one", "outcomes", "code"),
        [
            pytest.param(both, [verified("a"), attested(CI)], None, id="both"),
            pytest.param(both, [verified("a"), NOTHING], Code.NO_SIGNATURE, id="a signature only"),
            pytest.param(both, [attested(CI), NOTHING], Code.NO_SIGNATURE, id="an attestation only"),
            pytest.param(both, [verified("a"), attested(CI, kind=VULN)], Code.NO_SIGNATURE, id="of another type"),
            pytest.param(both, [verified("a"), attested("a")], Code.NO_SIGNATURE, id="by one who may only sign"),
            pytest.param(both, [verified("a"), verified(CI)], Code.NO_SIGNATURE, id="a signature is none"),
            pytest.param(alone, [attested(CI)], None, id="alone"),
            pytest.param(alone, [verified(CI)], Code.INTERNAL_ERROR, id="alone, nothing was looked at for it"),
            pytest.param(alone, [NOTHING], Code.NO_SIGNATURE, id="alone, nothing there"),
            pytest.param(alone, [], Code.INTERNAL_ERROR, id="alone, not examined"),
            pytest.param(policy(default=rule("a")), [attested("a")], Code.CLAIM_MISMATCH, id="no signature"),
            pytest.param(
                policy(default=rule(CI, attestations=(wanted(CI),))), [attested(CI)], Code.NO_SIGNATURE, id="not twice"
            ),
            pytest.param(
                policy(default=rule("a", attestations=(wanted(CI), wanted(CI, kind=VULN)))),
                [verified("a"), attested(CI)],
                Code.NO_SIGNATURE,
                id="one of two",
            ),
        ],
    )
    def test_are_wanted_besides_signatures(self, one: TrustPolicy, outcomes: list[Outcome], code: Code | None) -> None:
        decision = judge_policy(one, *outcomes)
        assert decision.code is code
        assert (decision.result is Result.VERIFIED) is (code is None)
        weighs = weighed(policies(one), outcomes)
        assert decide.is_met(asking(one), outcomes, Blocked(), weighed=weighs, now=NOW) is (code is None)

    def test_a_missing_one_is_told_by_its_type(self) -> None:
        decision = judge_policy(self.both, verified("a"), NOTHING)
        assert decision.detail == f"no attestation of type {SLSA} was found for this digest"
        (line,) = decision.attestations
        assert (line.label, line.predicate_type, line.code) == ("rules[0].attestations[0]", SLSA, Code.NO_SIGNATURE)

    @pytest.mark.parametrize(
        ("outcomes", "code"),
        [
            pytest.param([rejected(Code.IDENTITY_MISMATCH, CI, form=Form.BUNDLE)], Code.IDENTITY_MISMATCH, id="by bob"),
            pytest.param([rejected(Code.SUBJECT_MISMATCH, CI, form=Form.DSSE)], Code.SUBJECT_MISMATCH, id="copied"),
            pytest.param([rejected(INVALID, CI, form=Form.LEGACY)], Code.NO_SIGNATURE, id="a payload of signatures"),
            pytest.param([rejected(Code.CLAIM_MISMATCH, CI, form=Form.DSSE)], Code.NO_SIGNATURE, id="an SBOM"),
            pytest.param([inconclusive(Code.TRUST_UNAVAILABLE, CI)], Code.TRUST_UNAVAILABLE, id="no trust root"),
            pytest.param([attested(CI, at=NOW + DAY)], Code.TIME_INVALID, id="of tomorrow"),
        ],
    )
    def test_the_reason_that_came_furthest_is_told(self, outcomes: list[Outcome], code: Code) -> None:
        decision = judge_policy(self.both, verified("a"), *outcomes)
        assert (decision.code, decision.attestations[0].code) == (code, code)
        assert (decision.result is Result.ERROR) is (code is Code.TRUST_UNAVAILABLE)

    @pytest.mark.parametrize(
        ("one", "place", "result"),
        [
            pytest.param(policy(default=rule("a")), Place.ATTESTATION_TAG, Result.DENIED, id="none wanted"),
            pytest.param(policy(default=rule("a")), Place.REFERRERS, Result.WARNED, id="a place for both"),
            pytest.param(alone, Place.SIGNATURE_TAG, Result.DENIED, id="no signature wanted"),
            pytest.param(alone, Place.ATTESTATION_TAG, Result.WARNED, id="may be there"),
        ],
    )
    def test_an_outage_where_nothing_wanted_can_be_is_none(
        self, one: TrustPolicy, place: Place, result: Result
    ) -> None:
        assert one.default is not None
        allowing = dataclasses.replace(one.default, on_unavailable=OnUnavailable.ALLOW)
        down = dataclasses.replace(inconclusive(Code.REGISTRY_UNAVAILABLE), place=place)
        decision = judge_policy(dataclasses.replace(one, default=allowing), down, candidates_listed=False)
        assert decision.result is result

    def test_tampering_with_one_is_no_matter_of_a_rule_without_any(self) -> None:
        altered = dataclasses.replace(failed(TamperedError("other bytes")), place=Place.ATTESTATION_TAG)
        without = policy(mode=Mode.WARN, default=rule("a"))
        assert said(judge(policies(without), altered, no_match=NoMatch.ALLOW)) == (Result.WARNED, Code.NO_SIGNATURE)
        with_one = dataclasses.replace(self.both, mode=Mode.WARN)
        image = judge(policies(with_one), altered, no_match=NoMatch.ALLOW)
        assert said(image) == (Result.DENIED, Code.REGISTRY_VIOLATION)
        assert image.policies[0].attestations[0].code is Code.REGISTRY_VIOLATION
        both = [altered, rejected(Code.CLAIM_MISMATCH, "a")]  # which came further, but is not why it is denied
        assert said(judge(policies(with_one), *both, no_match=NoMatch.ALLOW)) == (
            Result.DENIED,
            Code.REGISTRY_VIOLATION,
        )

    def test_what_is_known_to_be_a_signature_is_not_blamed(self) -> None:
        signed = verified("a")
        other = dataclasses.replace(rejected(Code.IDENTITY_MISMATCH, CI), evidence=signed.evidence)
        assert judge_policy(self.both, signed, other).code is Code.NO_SIGNATURE

    def test_what_is_known_to_be_an_attestation_is_not_blamed_on_the_signer(self) -> None:
        given = attested(CI)
        other = dataclasses.replace(rejected(INVALID, "a"), evidence=given.evidence)
        decision = judge_policy(self.both, given, other)
        assert decide.signer_lines(decision) == (SignerLine("a", Code.NO_SIGNATURE, reasons.NOT_FOUND[SignerKind.KEY]),)

    def test_signatures_come_first(self) -> None:
        assert judge_policy(self.both, rejected(INVALID, "a"), attested(CI, at=NOW + DAY)).code is INVALID

    @pytest.mark.parametrize(
        ("outcomes", "result", "code"),
        [
            pytest.param(
                [inconclusive(Code.RATE_LIMITED, "a"), attested(CI, at=NOW + DAY), NOTHING],
                Result.ERROR,
                Code.RATE_LIMITED,
                id="only one is known, and another may be found",
            ),
            pytest.param(
                [inconclusive(Code.RATE_LIMITED, "a"), NOTHING], Result.DENIED, Code.NO_SIGNATURE, id="one is missing"
            ),
            pytest.param(
                [inconclusive(Code.RATE_LIMITED), verified("a")], Result.ERROR, Code.RATE_LIMITED, id="may be there"
            ),
        ],
    )
    def test_a_refusal_beats_what_could_not_be_examined(
        self, outcomes: list[Outcome], result: Result, code: Code
    ) -> None:
        if result is Result.ERROR and len(outcomes) == 3:
            outcomes = [inconclusive(Code.RATE_LIMITED), *outcomes]
        assert said(judge_policy(self.both, *outcomes)) == (result, code)

    @pytest.mark.parametrize("choice", OnUnavailable)
    def test_no_outage_stands_for_one(self, choice: OnUnavailable) -> None:
        one = policy(default=rule("a", attestations=(wanted(CI),), on_unavailable=choice))
        down, known = inconclusive(Code.REGISTRY_UNAVAILABLE), frozenset({signer("a").known_as, CI.known_as})
        decision = judge_policy(one, down, verified("a"), known=known)
        assert said(decision) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)

    def test_its_wants_are_told(self) -> None:
        many = policy(default=rule("release", CI, attestations=(wanted(CI), wanted(CI, "b", kind=VULN))))
        assert (
            judge_policy(many, NOTHING).wants
            == f"any of: release, ci and attestations {SLSA} (by ci), {VULN} (by ci, b)"
        )
        assert judge_policy(self.alone, NOTHING).wants == f"attestations {SLSA} (by ci)"
        assert judge_policy(self.both, verified("a"), attested(CI)).detail == "signed by a; attested: slsaprovenance1"


class TestPick:
    """`young` holds, `old` and `timeless` do not; which of them must is the demand's to say."""

    young, younger = attested(CI, at=NOW - timedelta(hours=2)), attested("b", at=NOW - timedelta(hours=1))
    old, timeless = attested(CI, at=NOW - 2 * DAY), attested(CI)
    ahead = attested(CI, at=NOW + timedelta(hours=1))

    def one(self, pick: Pick, max_age: timedelta | None = DAY) -> TrustPolicy:
        return policy(default=rule(needed=0, attestations=(wanted(CI, "b", pick=pick, max_age=max_age),)))

    @pytest.mark.parametrize(
        ("pick", "outcomes", "code"),
        [
            pytest.param(Pick.ANY, [old, young, timeless], None, id="any: one of three"),
            pytest.param(Pick.ANY, [old], Code.TIME_INVALID, id="any: none"),
            pytest.param(Pick.ANY, [old, timeless], Code.CONDITION_ERROR, id="any: the best reason"),
            pytest.param(Pick.NEWEST, [old, young], None, id="newest: the old one is past"),
            pytest.param(Pick.NEWEST, [old], Code.TIME_INVALID, id="newest: only an old one"),
            pytest.param(Pick.NEWEST, [young, ahead], Code.TIME_INVALID, id="newest: not come yet"),
            pytest.param(Pick.NEWEST, [young, timeless], Code.CONDITION_ERROR, id="newest: which is not known"),
            pytest.param(Pick.NEWEST, [young, young], None, id="newest: attached twice"),
            pytest.param(Pick.ALL, [young, younger], None, id="all: each"),
            pytest.param(Pick.ALL, [young, old], Code.TIME_INVALID, id="all: not the old one"),
            pytest.param(Pick.ALL, [NOTHING], Code.NO_SIGNATURE, id="all: of none"),
            pytest.param(Pick.NEWEST, [NOTHING], Code.NO_SIGNATURE, id="newest: of none"),
        ],
    )
    def test_says_which_must_hold(self, pick: Pick, outcomes: list[Outcome], code: Code | None) -> None:
        one = self.one(pick)
        assert judge_policy(one, *outcomes).code is code
        assert judge_policy(one, *reversed(outcomes)).code is code
        ended = decide.is_met(asking(one), outcomes, Blocked(), weighed=weighed(policies(one), outcomes), now=NOW)
        assert ended is (pick is Pick.ANY and code is None)  # another one may yet come

    def test_the_newest_needs_a_time_without_a_maximum_too(self) -> None:
        assert judge_policy(self.one(Pick.NEWEST, None), self.timeless).code is Code.CONDITION_ERROR
        assert judge_policy(self.one(Pick.NEWEST, None), self.old).code is None
        assert judge_policy(self.one(Pick.ALL, None), self.timeless).code is None

    @pytest.mark.parametrize("pick", [Pick.NEWEST, Pick.ALL])
    @pytest.mark.parametrize(
        ("unseen", "result", "code"),
        [
            pytest.param(inconclusive(Code.REGISTRY_UNAVAILABLE), Result.ERROR, Code.REGISTRY_UNAVAILABLE, id="place"),
            pytest.param(inconclusive(Code.DEADLINE_EXCEEDED), Result.ERROR, Code.DEADLINE_EXCEEDED, id="no time left"),
            pytest.param(
                inconclusive(Code.TRUST_UNAVAILABLE, "b"), Result.ERROR, Code.TRUST_UNAVAILABLE, id="its root"
            ),
            pytest.param(rejected(Code.LIMIT_EXCEEDED), Result.DENIED, Code.LIMIT_EXCEEDED, id="too many"),
            pytest.param(
                rejected(Code.LIMIT_EXCEEDED, CI, form=Form.DSSE), Result.DENIED, Code.LIMIT_EXCEEDED, id="too large"
            ),
            pytest.param(rejected(Code.REGISTRY_VIOLATION), Result.DENIED, Code.REGISTRY_VIOLATION, id="altered"),
            pytest.param(
                rejected(Code.CROSSCHECK_DISAGREEMENT, CI, form=Form.BUNDLE),
                Result.DENIED,
                Code.CROSSCHECK_DISAGREEMENT,
                id="two opinions",
            ),
        ],
    )
    def test_what_was_not_seen_may_hide_another(self, pick: Pick, unseen: Outcome, result: Result, code: Code) -> None:
        assert said(judge_policy(self.one(pick), self.young, unseen)) == (result, code)
        assert judge_policy(self.one(Pick.ANY), self.young, unseen).result is Result.VERIFIED

    @pytest.mark.parametrize("pick", [Pick.NEWEST, Pick.ALL])
    @pytest.mark.parametrize(
        "beside",
        [
            pytest.param(rejected(INVALID, CI, form=Form.BUNDLE), id="a bad one"),
            pytest.param(rejected(MALFORMED), id="no manifest"),
            pytest.param(rejected(Code.LIMIT_EXCEEDED, CI, form=Form.LEGACY), id="a signature over a limit"),
            pytest.param(inconclusive(Code.TRUST_UNAVAILABLE, "stranger"), id="of a signer who may not attest"),
            pytest.param(NOTHING, id="a place with nothing"),
        ],
    )
    def test_what_was_seen_hides_nothing(self, pick: Pick, beside: Outcome) -> None:
        assert judge_policy(self.one(pick), self.young, beside).result is Result.VERIFIED

    def test_an_answer_that_is_sure_is_not_put_off(self) -> None:
        down = inconclusive(Code.REGISTRY_UNAVAILABLE)
        assert said(judge_policy(self.one(Pick.ALL), self.old, down)) == (Result.DENIED, Code.TIME_INVALID)
        assert said(judge_policy(self.one(Pick.NEWEST), self.timeless, down)) == (Result.DENIED, Code.CONDITION_ERROR)
        assert said(judge_policy(self.one(Pick.NEWEST), self.old, down)) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)

    @pytest.mark.parametrize("pick", Pick)
    def test_a_blocked_one_neither_counts_nor_hides(self, pick: Pick) -> None:
        rogue = attested(CI, at=NOW - timedelta(minutes=1), index=77)
        rogue_and_old = attested(CI, at=NOW - 3 * DAY, index=77)
        blocking = policy("z", mode=Mode.WARN, deny=(Deny("rogue job", log_index=77),))
        loaded = policies(self.one(pick), blocking)
        image = judge(loaded, rogue)
        assert said(image) == (Result.DENIED, Code.BLOCKED)
        assert image.detail == "attested only with a log entry that policy z blocks: rogue job"
        assert judge(loaded, rogue, rogue_and_old, self.young).result is Result.VERIFIED
        assert judge(loaded, rogue, self.old).code is Code.TIME_INVALID

    def test_a_blocked_one_denies_in_a_warn_policy_of_that_entry(self) -> None:
        one = dataclasses.replace(self.one(Pick.ANY), mode=Mode.WARN)
        own = dataclasses.replace(one, deny=(Deny("rogue job", log_index=77),))
        other = policy("z", mode=Mode.WARN, deny=own.deny)
        rogue = attested(CI, at=NOW, index=77)
        assert said(judge(policies(own), rogue, no_match=NoMatch.ALLOW)) == (Result.DENIED, Code.BLOCKED)
        assert said(judge(policies(one, other), rogue, no_match=NoMatch.ALLOW)) == (Result.WARNED, Code.BLOCKED)


class TestTampering:
    violation = failed(TamperedError("other bytes than announced"))

    def test_denies_in_a_warn_policy(self) -> None:
        one = policy(mode=Mode.WARN, default=rule("a"))
        image = judge(policies(one), self.violation, no_match=NoMatch.ALLOW)
        assert said(image) == (Result.DENIED, Code.REGISTRY_VIOLATION)
        assert image.policies[0].tampered

    @pytest.mark.parametrize(
        ("one", "outcomes"),
        [
            pytest.param(
                policy(mode=Mode.WARN, default=rule("a"), tampered=Mode.WARN),
                [violation],
                id="the policy says warn",
            ),
            pytest.param(
                policy(mode=Mode.WARN, default=rule("a", "b", needed=2)),
                [violation, verified("a")],
                id="another candidate is whole",
            ),
            pytest.param(
                policy(mode=Mode.WARN, default=rule("a")), [rejected(INVALID, "a")], id="another key is no tampering"
            ),
            pytest.param(
                policy(mode=Mode.WARN, default=rule("a")),
                [rejected(Code.REGISTRY_VIOLATION)],
                id="a page of HTML is no tampering",
            ),
        ],
    )
    def test_otherwise_warns(self, one: TrustPolicy, outcomes: list[Outcome]) -> None:
        image = judge(policies(one), *outcomes, no_match=NoMatch.ALLOW)
        assert image.result is Result.WARNED
        assert image.warnings == (f'policy "production" would deny it: {image.code}',)

    @pytest.mark.parametrize(
        ("others", "result"),
        [
            pytest.param([], Result.DENIED, id="alone"),
            pytest.param([rejected(INVALID, "a")], Result.DENIED, id="beside a bad one"),
            pytest.param([attested("b")], Result.WARNED, id="beside a whole one"),
            pytest.param([attested("c")], Result.DENIED, id="beside one of another policy"),
        ],
    )
    def test_a_log_entry_of_something_else_denies_in_a_warn_policy(self, others: list[Outcome], result: Result) -> None:
        foreign = failed(
            TamperedError("of another artifact", Code.TLOG_ENTRY_MISMATCH), signer=signer("a"), evidence=evidence()
        )
        one = policy(mode=Mode.WARN, default=rule("a", attestations=(wanted("b"),)))
        image = judge(policies(one), foreign, *others, no_match=NoMatch.ALLOW)
        assert said(image) == (result, Code.TLOG_ENTRY_MISMATCH)

    def test_another_signer_of_the_same_piece_is_no_other_candidate(self) -> None:
        one = policy(mode=Mode.WARN, default=rule("a", needed=2, attestations=(wanted("b"),)))
        whole = attested("b")
        foreign = failed(
            TamperedError("of another artifact", Code.TLOG_ENTRY_MISMATCH), signer=signer("a"), evidence=whole.evidence
        )
        assert judge(policies(one), foreign, whole, no_match=NoMatch.ALLOW).result is Result.DENIED

    def test_never_refuses_what_is_verified(self) -> None:
        assert judge_policy(policy(default=rule("a")), self.violation, verified("a")).result is Result.VERIFIED


class TestOnUnavailable:
    known = frozenset({signer("a").known_as})
    down = inconclusive(Code.REGISTRY_UNAVAILABLE)

    @pytest.mark.parametrize("code", [Code.REGISTRY_UNAVAILABLE, Code.RATE_LIMITED, Code.DEADLINE_EXCEEDED])
    def test_allow_admits_and_says_so(self, code: Code) -> None:
        one = policy(default=rule("a", on_unavailable=OnUnavailable.ALLOW))
        image = judge(policies(one), NOTHING, inconclusive(code), candidates_listed=False)
        assert said(image) == (Result.WARNED, code)
        (warning,) = image.warnings
        assert warning == f'policy "production": admitted without verification (onUnavailable: allow): {code}'

    @pytest.mark.parametrize(
        ("outcomes", "listed", "code"),
        [
            pytest.param([down], True, Code.REGISTRY_UNAVAILABLE, id="a candidate was listed"),
            pytest.param([down, inconclusive(Code.ACCESS_DENIED)], False, Code.ACCESS_DENIED, id="access denied"),
            pytest.param([down, rejected(Code.HOST_REFUSED)], False, Code.REGISTRY_UNAVAILABLE, id="host refused"),
            pytest.param([down, rejected(Code.LIMIT_EXCEEDED)], False, Code.REGISTRY_UNAVAILABLE, id="a limit"),
            pytest.param([down, rejected(Code.REGISTRY_VIOLATION)], False, Code.REGISTRY_UNAVAILABLE, id="a violation"),
            pytest.param([rejected(Code.IMAGE_NOT_FOUND)], False, Code.IMAGE_NOT_FOUND, id="not found"),
            pytest.param([NOTHING], False, Code.NO_SIGNATURE, id="the registry answered"),
            pytest.param([down, inconclusive(Code.INTERNAL_ERROR)], False, Code.INTERNAL_ERROR, id="our own fault"),
            pytest.param([down, rejected(INVALID, "a")], False, Code.REGISTRY_UNAVAILABLE, id="something was judged"),
        ],
    )
    def test_allow_refuses(self, outcomes: list[Outcome], listed: bool, code: Code) -> None:
        one = policy(default=rule("a", on_unavailable=OnUnavailable.ALLOW))
        image = judge(policies(one), *outcomes, candidates_listed=listed)
        assert image.result in (Result.DENIED, Result.ERROR)
        assert image.code is code

    def test_known_admits_and_says_so(self) -> None:
        one = policy(default=rule("a", on_unavailable=OnUnavailable.KNOWN))
        image = judge(policies(one), self.down, rejected(INVALID, "a"), known=self.known)
        assert said(image) == (Result.VERIFIED, None)
        assert image.warnings == (
            'policy "production": admitted because a verified it before (onUnavailable: known): registry_unavailable',
        )

    def test_known_and_verified_now_count_together(self) -> None:
        one = policy(default=rule("a", "b", needed=2, on_unavailable=OnUnavailable.KNOWN))
        decision = judge_policy(one, self.down, verified("b"), known=self.known)
        assert (decision.result, decision.counted) == (Result.VERIFIED, ("a", "b"))

    @pytest.mark.parametrize(
        ("outcomes", "known", "listed", "code"),
        [
            pytest.param([down], frozenset(), False, Code.REGISTRY_UNAVAILABLE, id="not known"),
            pytest.param([down], frozenset({signer("b").known_as}), False, Code.REGISTRY_UNAVAILABLE, id="of another"),
            pytest.param([NOTHING], known, False, Code.NO_SIGNATURE, id="the registry answered"),
            pytest.param([inconclusive(Code.ACCESS_DENIED)], known, False, Code.ACCESS_DENIED, id="access denied"),
            pytest.param([rejected(Code.IMAGE_NOT_FOUND)], known, False, Code.IMAGE_NOT_FOUND, id="not found"),
            pytest.param(
                [inconclusive(Code.DEADLINE_EXCEEDED)],
                known,
                True,
                Code.DEADLINE_EXCEEDED,
                id="time ran out on evidence",
            ),
            pytest.param(
                [down, rejected(Code.LIMIT_EXCEEDED)], known, False, Code.REGISTRY_UNAVAILABLE, id="a limit exceeded"
            ),
        ],
    )
    def test_known_refuses(self, outcomes: list[Outcome], known: frozenset[str], listed: bool, code: Code) -> None:
        one = policy(default=rule("a", on_unavailable=OnUnavailable.KNOWN))
        decision = judge_policy(one, *outcomes, known=known, candidates_listed=listed)
        assert decision.result in (Result.DENIED, Result.ERROR)
        assert decision.code is code

    def test_deny_is_the_default(self) -> None:
        decision = judge_policy(policy(default=rule("a")), self.down, known=self.known, candidates_listed=False)
        assert said(decision) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)


class TestDigestNotKnown:
    """A tag that could not be resolved, where the policy names digests."""

    down = inconclusive(Code.REGISTRY_UNAVAILABLE)

    @pytest.mark.parametrize(
        "one",
        [
            pytest.param(policy(exempt=(HOST,), deny=(DIGEST_DENY,)), id="exempt"),
            pytest.param(policy(namespaces=Namespaces(exclude=("pay",)), deny=(DIGEST_DENY,)), id="another namespace"),
            pytest.param(
                policy(default=rule("a", on_unavailable=OnUnavailable.ALLOW), deny=(DIGEST_DENY,)), id="allow"
            ),
        ],
    )
    def test_nothing_is_admitted_past_a_denied_digest(self, one: TrustPolicy) -> None:
        image = judge(policies(one), self.down, digest=None, candidates_listed=False)
        assert said(image) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)

    def test_an_exception_only_widens(self) -> None:
        one = policy(default=rule("a", on_unavailable=OnUnavailable.ALLOW), exceptions=(EXCEPTION,))
        image = judge(policies(one), self.down, digest=None, candidates_listed=False)
        assert said(image) == (Result.WARNED, Code.REGISTRY_UNAVAILABLE)

    def test_not_found_is_a_refusal(self) -> None:
        one = policy(exempt=(HOST,), deny=(DIGEST_DENY,))
        image = judge(policies(one), rejected(Code.IMAGE_NOT_FOUND), digest=None)
        assert said(image) == (Result.DENIED, Code.IMAGE_NOT_FOUND)

    def test_nobody_asked(self) -> None:
        image = judge(policies(policy(exempt=(HOST,), deny=(DIGEST_DENY,))), digest=None)
        assert said(image) == (Result.ERROR, Code.INTERNAL_ERROR)

    def test_once_known_it_is_admitted_or_denied(self) -> None:
        one = policy(exempt=(HOST,), deny=(DIGEST_DENY,))
        assert said(judge(policies(one), digest=OTHER)) == (Result.EXEMPT, None)
        assert said(judge(policies(one), digest=DIGEST)) == (Result.DENIED, Code.BLOCKED)


SIGNED_A, SIGNED_B = policy("a", default=rule("a")), policy("b", default=rule("b"))
WARN_B = policy("b", default=rule("b"), mode=Mode.WARN)


@pytest.mark.parametrize(
    ("members", "outcomes", "result", "code"),
    [
        pytest.param([SIGNED_A, SIGNED_B], [verified("a"), verified("b")], Result.VERIFIED, None, id="both satisfied"),
        pytest.param([SIGNED_A, SIGNED_B], [verified("a"), NOTHING], Result.DENIED, Code.NO_SIGNATURE, id="one of two"),
        pytest.param([SIGNED_A, WARN_B], [verified("a"), NOTHING], Result.WARNED, Code.NO_SIGNATURE, id="warn fails"),
        pytest.param(
            [SIGNED_A, WARN_B], [verified("b"), NOTHING], Result.DENIED, Code.NO_SIGNATURE, id="warn satisfied"
        ),
        pytest.param([WARN_B], [verified("b")], Result.DENIED, Code.NO_POLICY, id="warn never satisfies"),
        pytest.param(
            [policy("x", exempt=(HOST,)), SIGNED_B], [verified("b")], Result.VERIFIED, None, id="exempt in one"
        ),
        pytest.param(
            [policy("x", exempt=(HOST,)), SIGNED_B], [NOTHING], Result.DENIED, Code.NO_SIGNATURE, id="not in the other"
        ),
        pytest.param([policy("x", exempt=(HOST,))], [], Result.EXEMPT, None, id="exempt"),
        pytest.param([policy("x", exempt=("ghcr.io",))], [], Result.DENIED, Code.NO_POLICY, id="silent"),
        pytest.param(
            [policy("x", exempt=(HOST,), mode=Mode.WARN)], [], Result.DENIED, Code.NO_POLICY, id="exempt in warn only"
        ),
        pytest.param(
            [SIGNED_A, policy("x", default=rule("b"), exceptions=(EXCEPTION,))],
            [verified("a")],
            Result.EXCEPTION,
            None,
            id="exception",
        ),
        pytest.param(
            [SIGNED_A, policy("x", mode=Mode.WARN, deny=(DIGEST_DENY,))],
            [verified("a")],
            Result.DENIED,
            Code.BLOCKED,
            id="deny in a warn policy",
        ),
        pytest.param(
            [policy("a", default=rule("a", needed=1)), policy("c", default=rule("c"))],
            [rejected(INVALID, "a"), inconclusive(Code.INTERNAL_ERROR, "c")],
            Result.DENIED,
            INVALID,
            id="a refusal beats what could not be examined",
        ),
    ],
)
def test_strictest_wins(members: list[TrustPolicy], outcomes: list[Outcome], result: Result, code: Code | None) -> None:
    assert said(judge(policies(*members), *outcomes)) == (result, code)
    assert said(judge(policies(*reversed(members)), *outcomes)) == (result, code)


def test_exceptions_are_told() -> None:
    image = judge(policies(policy(default=rule("a"), exceptions=(EXCEPTION,))))
    assert image.warnings == (
        'policy "production": admitted by an exception until 2026-11-30 12:00Z: vendor signs next week',
    )


@pytest.mark.parametrize(
    ("no_match", "result", "code"),
    [
        (NoMatch.DENY, Result.DENIED, Code.NO_POLICY),
        (NoMatch.WARN, Result.WARNED, Code.NO_POLICY),
        (NoMatch.ALLOW, Result.UNMATCHED, None),
    ],
)
class TestNoMatch:
    def test_no_policy_loaded_says_where_it_was_looked_for(
        self, no_match: NoMatch, result: Result, code: Code | None
    ) -> None:
        image = judge(policies(), no_match=no_match)
        assert said(image) == (result, code)
        assert image.detail == "no policy is loaded; policies are looked for in /etc/countersign/policies"
        assert bool(image.warnings) is (no_match is NoMatch.WARN)

    def test_a_silent_policy(self, no_match: NoMatch, result: Result, code: Code | None) -> None:
        image = judge(policies(policy(exempt=("ghcr.io",))), no_match=no_match)
        assert said(image) == (result, code)
        assert "no enforcing policy speaks" in image.detail

    def test_an_enforcing_policy_does_not_ask(self, no_match: NoMatch, result: Result, code: Code | None) -> None:
        del result, code
        assert said(judge(policies(SIGNED_A), NOTHING, no_match=no_match)) == (Result.DENIED, Code.NO_SIGNATURE)

    def test_a_failing_warn_policy_is_told(self, no_match: NoMatch, result: Result, code: Code | None) -> None:
        del result, code
        image = judge(policies(WARN_B), NOTHING, no_match=no_match)
        refused = (Result.DENIED, Code.NO_POLICY)
        assert said(image) == (refused if no_match is NoMatch.DENY else (Result.WARNED, Code.NO_SIGNATURE))
        assert image.warnings == ('policy "b" would deny it: no_signature',)


class TestBrokenPolicies:
    broken = {"base.yaml": "line 3: unknown field", "team.yaml": "line 1: not YAML"}  # noqa: RUF012

    def test_what_they_demand_is_unknown(self) -> None:
        image = judge(policies(SIGNED_A, broken=self.broken), verified("a"), no_match=NoMatch.ALLOW)
        assert said(image) == (Result.ERROR, Code.POLICY_UNAVAILABLE)
        assert image.detail == (
            "base.yaml and 1 more could not be used, and what it demands is unknown: line 3: unknown field"
        )

    def test_an_image_denied_anyway_stays_denied(self) -> None:
        image = judge(policies(SIGNED_A, broken=self.broken), NOTHING)
        assert said(image) == (Result.DENIED, Code.NO_SIGNATURE)

    @pytest.mark.parametrize(
        ("baseline", "result"),
        [((HOST,), Result.EXEMPT), ((f"{HOST}/other",), Result.ERROR)],
        ids=["exempt in all", "another path"],
    )
    def test_the_baseline_is_exempt_in_them_too(self, baseline: tuple[str, ...], result: Result) -> None:
        assert judge(policies(baseline=baseline, broken=self.broken)).result is result

    def test_an_exemption_of_one_policy_is_none_of_theirs(self) -> None:
        loaded = policies(policy(exempt=(HOST,)), broken=self.broken)
        assert said(judge(loaded)) == (Result.ERROR, Code.POLICY_UNAVAILABLE)

    def test_a_problem_with_a_good_last_version_denies_nothing(self) -> None:
        loaded = policies(SIGNED_A, broken=self.broken)
        loaded = type(loaded)(loaded.policies, loaded.revision, loaded.searched, problems=self.broken)
        assert judge(loaded, verified("a")).result is Result.VERIFIED


class TestSignerLines:
    def lines(self, demand: Rule, *outcomes: Outcome) -> tuple[SignerLine, ...]:
        return decide.signer_lines(judge_policy(policy(default=demand), *outcomes))

    def test_the_best_of_each_signer_in_the_rules_order(self) -> None:
        found = self.lines(
            rule("release", "pipeline", "vendor", needed=2),
            rejected(INVALID, "pipeline"),
            rejected(INVALID, "pipeline"),
            verified("vendor"),
            rejected(INVALID, "vendor"),
        )
        assert found == (
            SignerLine("release", Code.NO_SIGNATURE, "nothing signed with this key was found for this digest"),
            SignerLine("pipeline", INVALID, "2 cosign signatures found, none verifies with this key"),
            SignerLine("vendor", None, "legacy signature by ECDSA P-256"),
        )

    @pytest.mark.parametrize(
        ("outcomes", "code", "detail"),
        [
            ([rejected(INVALID, "a")], INVALID, "1 cosign signature found, it does not verify with this key"),
            (
                [rejected(INVALID, "a", "the signature does not verify; cosign 3 signs with Ed25519ph")],
                INVALID,
                "1 cosign signature found, it does not verify with this key; cosign 3 signs with Ed25519ph",
            ),
            ([rejected(Code.SUBJECT_MISMATCH, "a", "it names x")], Code.SUBJECT_MISMATCH, "it names x"),
            (
                [rejected(Code.SUBJECT_MISMATCH, "a", "it names x"), rejected(INVALID, "a"), rejected(INVALID, "a")],
                Code.SUBJECT_MISMATCH,
                "3 cosign signatures found: 1 subject_mismatch, 2 signature_invalid: it names x",
            ),
            (
                [rejected(INVALID, "a"), rejected(Code.LIMIT_EXCEEDED, detail="51 candidates")],
                INVALID,
                (
                    "1 cosign signature found, it does not verify with this key;"
                    " not everything was examined: 51 candidates"
                ),
            ),
            (
                [rejected(INVALID, "a"), inconclusive(Code.RATE_LIMITED)],
                Code.RATE_LIMITED,
                "it did not answer",
            ),
            ([rejected(Code.LIMIT_EXCEEDED, detail="too long")], Code.LIMIT_EXCEEDED, "too long"),
        ],
        ids=["one", "with a hint", "one of another image", "mixed", "cut short", "could have been", "only the limit"],
    )
    def test_counts_and_detail(self, outcomes: list[Outcome], code: Code, detail: str) -> None:
        assert self.lines(rule("a"), *outcomes) == (SignerLine("a", code, detail),)

    def test_an_identity_is_spoken_of_as_one(self) -> None:
        (line,) = self.lines(rule(CI), NOTHING)
        assert line.detail == "nothing signed by this identity was found for this digest"
        (line,) = self.lines(rule(CI), rejected(INVALID, CI), rejected(INVALID, CI))
        assert line.detail == "2 cosign signatures found, none verifies"
        bob = "subject 'bob@example.com' found, 'ci@example.com' expected"
        (line,) = self.lines(rule(CI), rejected(Code.IDENTITY_MISMATCH, CI, bob))
        assert (line.code, line.detail) == (Code.IDENTITY_MISMATCH, bob)
        (line,) = self.lines(rule(CI), rejected(Code.IDENTITY_MISMATCH, CI, bob), rejected(INVALID, CI))
        assert line.detail == f"2 cosign signatures found: 1 identity_mismatch, 1 signature_invalid: {bob}"

    def test_evidence_held_against_two_names_of_a_key_counts_once(self) -> None:
        once = rejected(INVALID, "a")
        again = Outcome(once.verdict, once.code, once.detail, signer("alias", "a"), once.evidence)
        (line,) = self.lines(rule("a"), once, again)
        assert line.detail == "1 cosign signature found, it does not verify with this key"

    def test_a_blocked_key_is_named(self) -> None:
        (line,) = decide.signer_lines(
            judge_policy(policy(default=rule("release"), deny=(STOLEN,)), verified("release"))
        )
        assert line == SignerLine("release", Code.BLOCKED, "policy production blocks this key: stolen in May")


def test_wants_reads_like_the_rule() -> None:
    wants = [
        judge_policy(policy(default=demand), NOTHING).wants
        for demand in (rule("a"), rule("a", "b"), rule("a", "b", needed=2), rule("a", "b", "c", needed=2))
    ]
    assert wants == ["a signature by a", "any of: a, b", "all of: a, b", "2 of: a, b, c"]


def of(result: Result, code: Code | None = None) -> ImageDecision:
    return ImageDecision(IMAGE, (), None, result, code, "why")


ERROR, LATE = of(Result.ERROR, Code.REGISTRY_UNAVAILABLE), of(Result.ERROR, Code.DEADLINE_EXCEEDED)
DENIED, BAD = of(Result.DENIED, Code.NO_SIGNATURE), of(Result.DENIED, Code.REFERENCE_INVALID)
FINE = [of(r) for r in (Result.VERIFIED, Result.EXEMPT, Result.EXCEPTION, Result.UNCHANGED, Result.UNMATCHED)]


@pytest.mark.parametrize(
    ("images", "status"),
    [
        pytest.param([], 200, id="none"),
        pytest.param([*FINE, of(Result.WARNED, Code.NO_SIGNATURE)], 200, id="all admitted"),
        pytest.param([*FINE, DENIED], 403, id="denied"),
        pytest.param([BAD, LATE, ERROR, DENIED], 403, id="a refusal is not hidden"),
        pytest.param([LATE, ERROR, BAD], 400, id="a bad reference"),
        pytest.param([of(Result.DENIED, Code.TOO_MANY_REFERENCES)], 400, id="too many"),
        pytest.param([LATE, ERROR], 503, id="could not be examined"),
        pytest.param([LATE, *FINE], 504, id="no time"),
        pytest.param([of(Result.ERROR, Code.POLICY_UNAVAILABLE)], 503, id="policy unavailable"),
    ],
)
def test_status_of_a_review(images: list[ImageDecision], status: int) -> None:
    review = decide.decide_review(images, revision="abc")
    assert (review.allowed, review.status) == (status == 200, status)
    assert decide.decide_review(images[::-1], revision="abc").status == status


def test_images_without_policy() -> None:
    bad = decide.unparsable_image("UPPER", (), MalformedError(Code.REFERENCE_INVALID, "upper case"))
    assert (*said(bad), decide.image_status(bad)) == (Result.DENIED, Code.REFERENCE_INVALID, 400)
    late = decide.error_image("x", (), InconclusiveError(Code.DEADLINE_EXCEEDED, "no time"))
    assert (*said(late), decide.image_status(late)) == (Result.ERROR, Code.DEADLINE_EXCEEDED, 504)
    many = decide.error_image("x", (), MalformedError(Code.TOO_MANY_REFERENCES, "501 images"))
    assert (*said(many), decide.image_status(many)) == (Result.DENIED, Code.TOO_MANY_REFERENCES, 400)
    same = decide.unchanged_image("x", ())
    assert (*said(same), decide.image_status(same)) == (Result.UNCHANGED, None, 200)


def test_the_digest_judged_is_told() -> None:
    found: Digest | None = judge(policies(SIGNED_A), verified("a")).digest
    assert found == DIGEST
