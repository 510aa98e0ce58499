"""Outcomes to decisions. Every admission stands beside a near miss that is refused with its code."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from tests.policy.build import (
    DIGEST,
    HOST,
    IMAGE,
    NOTHING,
    NOW,
    OTHER,
    fingerprint,
    inconclusive,
    judge,
    judge_policy,
    parsed,
    policies,
    policy,
    rejected,
    rule,
    signer,
    verified,
)
from webhook.errors import Code, InconclusiveError, MalformedError, TamperedError
from webhook.evidence.model import Outcome, Verdict, failed
from webhook.oci.reference import Digest
from webhook.policy import decide, reasons, select
from webhook.policy.decision import ImageDecision, PolicyDecision, Result, Selection, SignerLine
from webhook.policy.model import Deny, Mode, Namespaces, OnUnavailable, PolicyException, Rule, TrustPolicy
from webhook.settings import NoMatch

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
    ],
)
def test_distinct_material_meets_a_demand(demand: Rule, outcomes: list[Outcome], code: Code | None) -> None:
    one = policy(default=demand)
    decision = judge_policy(one, *outcomes)
    assert decision.code is code
    assert (decision.result is Result.VERIFIED) is (code is None)
    assert decide.is_met(asking(one), outcomes, {}) is (code is None)
    assert decision.detail


def test_what_another_policy_takes_from_a_key_does_not_count() -> None:
    elsewhere = dataclasses.replace(signer("a").material, schemes=("sha512",))
    lax = dataclasses.replace(signer("a"), material=elsewhere)
    decision = judge_policy(
        policy(default=rule("a")), Outcome(Verdict.VERIFIED, None, "signed", lax), rejected(INVALID, "a")
    )
    assert said(decision) == (Result.DENIED, Code.SIGNATURE_INVALID)


def test_one_key_under_two_names_counts_once() -> None:
    twice = Rule("signers", (), (signer("a", "same"), signer("b", "same")), 2, OnUnavailable.DENY)
    outcomes = [Outcome(Verdict.VERIFIED, None, "signed", signer) for signer in twice.signers]
    decision = judge_policy(policy(default=twice), *outcomes)
    assert said(decision) == (Result.DENIED, Code.NOT_ENOUGH_SIGNERS)
    assert decision.counted == ("a",)


def test_a_settled_selection_needs_no_evidence() -> None:
    assert decide.is_met(asking(policy(exempt=(HOST,))), (), {})


def test_neither_rule_nor_decision_is_never_met() -> None:
    nothing = Selection(policy(), Mode.ENFORCE, None, None, False)
    assert not decide.is_met(nothing, (), {})
    with pytest.raises(ValueError, match="neither decision nor rule"):
        decide.decide_policy(nothing, (), blocked={}, candidates_listed=False)


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        pytest.param([Code.UNSUPPORTED, MALFORMED], MALFORMED, id="malformed over unsupported"),
        pytest.param([INVALID, MALFORMED, Code.LIMIT_EXCEEDED], INVALID, id="invalid over malformed and limit"),
        pytest.param([Code.CLAIM_MISMATCH, INVALID], Code.CLAIM_MISMATCH, id="claim over invalid"),
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
        known = frozenset({signer("release").identity})
        loaded = policies(policy(default=demand), self.blocking)
        image = judge(loaded, inconclusive(Code.REGISTRY_UNAVAILABLE), known=known)
        assert said(image) == (Result.DENIED, Code.BLOCKED)

    @pytest.mark.parametrize(("deny", "result"), [((STOLEN,), Result.DENIED), ((), Result.WARNED)])
    def test_in_a_warn_policy_its_own_entry_denies(self, deny: tuple[Deny, ...], result: Result) -> None:
        one = policy("trial", mode=Mode.WARN, default=rule("release"), deny=deny)
        image = judge(policies(one, self.blocking), verified("release"), no_match=NoMatch.ALLOW)
        assert said(image) == (result, Code.BLOCKED)


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

    def test_never_refuses_what_is_verified(self) -> None:
        assert judge_policy(policy(default=rule("a")), self.violation, verified("a")).result is Result.VERIFIED


class TestOnUnavailable:
    known = frozenset({signer("a").identity})
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
            pytest.param([down], frozenset({signer("b").identity}), False, Code.REGISTRY_UNAVAILABLE, id="of another"),
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
