"""What holds of every decision, whatever the policies and whatever was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.build import (
    DAY,
    DIGEST,
    HOST,
    INCONCLUSIVE,
    NOTHING,
    NOW,
    OTHER,
    SLSA,
    VULN,
    attested,
    fingerprint,
    judge,
    judge_policy,
    keyless,
    outcome,
    policies,
    policy,
    rule,
    signer,
    verified,
    wanted,
    weighed,
)
from webhook.errors import Code
from webhook.evidence.model import Outcome, Signer, Verdict
from webhook.oci import reference
from webhook.oci.reference import Digest
from webhook.policy import counting, decide, select
from webhook.policy.decision import REFUSED, ImageDecision, Result
from webhook.policy.model import (
    AttestationDemand,
    Deny,
    Mode,
    Namespaces,
    OnUnavailable,
    Pick,
    PolicyException,
    PolicySet,
    Rule,
    Tags,
    TrustPolicy,
)
from webhook.settings import NoMatch

NAMES = ("a", "b", "c", "d")
SIGNERS = (*map(signer, NAMES), keyless("k"), keyless("l"))
BLOCKED_INDEX = 77
JUDGED = (Code.MALFORMED, Code.UNSUPPORTED, Code.SIGNATURE_INVALID, Code.SUBJECT_MISMATCH, Code.INTERNAL_ERROR)
OF_THE_REGISTRY = (
    Code.LIMIT_EXCEEDED,
    Code.REGISTRY_UNAVAILABLE,
    Code.RATE_LIMITED,
    Code.ACCESS_DENIED,
    Code.DEADLINE_EXCEEDED,
    Code.REGISTRY_VIOLATION,
    Code.HOST_REFUSED,
    Code.IMAGE_NOT_FOUND,
)
WHERE = (HOST, f"{HOST}/pay", "ghcr.io")

ANY = st.booleans()
signers = st.lists(st.sampled_from(SIGNERS), min_size=1, max_size=4, unique=True)
times = st.sampled_from([None, NOW, NOW - timedelta(hours=1), NOW - 2 * DAY, NOW + DAY])
indices = st.sampled_from([None, None, 1, BLOCKED_INDEX])
kinds = st.sampled_from([SLSA, VULN])
PICKS = st.sampled_from(Pick)
signed = st.builds(verified, st.sampled_from(SIGNERS)) | st.builds(
    verified, st.sampled_from(SIGNERS[4:]), material=st.sampled_from("mn"), index=indices, at=times
)
attestations = st.builds(attested, st.sampled_from(SIGNERS), kind=kinds, at=times, index=indices)
judged = st.builds(outcome, st.sampled_from(JUDGED), st.sampled_from(NAMES))
registry = st.builds(outcome, st.sampled_from(OF_THE_REGISTRY)) | st.just(NOTHING)


@st.composite
def demands(draw: st.DrawFn, picks: st.SearchStrategy[Pick]) -> AttestationDemand:
    return wanted(*draw(signers), kind=draw(kinds), pick=draw(picks), max_age=draw(st.sampled_from([None, DAY])))


@st.composite
def rules(draw: st.DrawFn, label: str, picks: st.SearchStrategy[Pick] = PICKS) -> Rule:
    chosen = draw(signers)
    attesting = tuple(draw(st.lists(demands(picks), max_size=2)))
    return rule(
        *chosen,
        images=() if label == "signers" else (draw(st.sampled_from(WHERE)),),
        needed=draw(st.integers(0 if attesting else 1, len(chosen))),
        label=label,
        on_unavailable=draw(st.sampled_from(OnUnavailable)),
        max_age=draw(st.sampled_from([None, None, None, DAY])),
        attestations=attesting,
    )


denials = st.sampled_from(
    [
        Deny("by digest", digest=DIGEST),
        Deny("another digest", digest=OTHER),
        Deny("by image", image=reference.parse_pattern(f"{HOST}/pay")),
        Deny("another image", image=reference.parse_pattern("ghcr.io")),
        Deny("by key", key_fingerprint=fingerprint("a")),
        Deny("by log entry", log_index=BLOCKED_INDEX),
    ]
)
exceptions = st.builds(
    PolicyException,
    st.sampled_from([DIGEST, OTHER]),
    st.sampled_from([("pay",), ("other",)]),
    st.sampled_from([NOW + timedelta(days=1), NOW]),
    st.just("soon"),
)


@st.composite
def trust_policies(draw: st.DrawFn, *, harmless: bool = False) -> TrustPolicy:
    return policy(
        draw(st.sampled_from("pqrst")),
        mode=Mode.WARN if harmless else draw(st.sampled_from(Mode)),
        default=draw(st.none() | rules("signers")),
        rules=tuple(draw(st.lists(rules("rules[0]"), max_size=2))),
        namespaces=draw(st.sampled_from([Namespaces(), Namespaces(exclude=("pay",))])),
        exempt=tuple(draw(st.lists(st.sampled_from(WHERE), max_size=1))),
        deny=() if harmless else tuple(draw(st.lists(denials, max_size=2))),
        exceptions=tuple(draw(st.lists(exceptions, max_size=1))),
        enforce_in=() if harmless else draw(st.sampled_from([(), ("pay",)])),
        tags=draw(st.sampled_from(Tags)),
        tampered=Mode.WARN if harmless else draw(st.sampled_from(Mode)),
    )


class Case(NamedTuple):
    members: tuple[TrustPolicy, ...]
    outcomes: tuple[Outcome, ...]
    digest: Digest | None
    known: frozenset[str]
    listed: bool
    no_match: NoMatch
    broken: bool
    baseline: bool

    def loaded(self) -> PolicySet:
        return policies(
            *self.members,
            baseline=(HOST,) if self.baseline else (),
            broken={"x.yaml": "line 1: not YAML"} if self.broken else None,
        )

    def decide(self) -> ImageDecision:
        return judge(
            self.loaded(),
            *self.outcomes,
            digest=self.digest,
            known=self.known,
            candidates_listed=self.listed,
            no_match=self.no_match,
        )

    def admits(self) -> bool:
        return self.decide().result not in REFUSED


@st.composite
def cases(draw: st.DrawFn, listed: st.SearchStrategy[bool] = ANY) -> Case:
    evidence_listed = draw(listed)
    # Nothing was held against a signer where nothing was listed, and nothing was found where no digest is known.
    digest = draw(st.sampled_from([DIGEST, DIGEST, DIGEST, None])) if not evidence_listed else DIGEST
    found = draw(st.lists(signed | attestations | judged | registry if evidence_listed else registry, max_size=6))
    return Case(
        members=tuple(draw(st.lists(trust_policies(), max_size=3, unique_by=lambda one: one.name))),
        outcomes=tuple(found),
        digest=digest,
        known=frozenset(one.known_as for one in draw(st.sets(st.sampled_from(SIGNERS)))),
        listed=evidence_listed,
        no_match=draw(st.sampled_from(NoMatch)),
        broken=draw(st.sampled_from([False, False, False, True])),
        baseline=draw(st.sampled_from([False, False, False, True])),
    )


EVERY = st.sampled_from([one.name for one in SIGNERS])
thorough = settings(max_examples=100, deadline=None)


@thorough
@given(cases(), trust_policies(harmless=True), st.integers(0, 3))
def test_a_warn_policy_never_changes_allow_or_deny(case: Case, added: TrustPolicy, place: int) -> None:
    added = replace(added, name="added")
    more = case._replace(members=(*case.members[:place], added, *case.members[place:]))
    assert more.admits() is case.admits()


@thorough
@given(cases())
def test_policies_that_are_silent_in_a_namespace_can_be_left_out(case: Case) -> None:
    whole = case.loaded()
    within = whole.within("pay")
    assert within is whole.within("pay")
    assert len(within.policies) + within.silent == len(whole.policies)
    found = [
        judge(
            loaded,
            *case.outcomes,
            digest=case.digest,
            known=case.known,
            candidates_listed=case.listed,
            no_match=case.no_match,
        )
        for loaded in (whole, within)
    ]
    speaking = [tuple(d for d in one.policies if d.result is not Result.SILENT) for one in found]
    assert speaking[0] == speaking[1]
    assert len({replace(one, policies=()) for one in found}) == 1


@thorough
@given(cases())
def test_every_enforcing_policy_must_be_satisfied(case: Case) -> None:
    image = case.decide()
    enforcing = [d for d in image.policies if d.mode is Mode.ENFORCE]
    if image.result in REFUSED:
        return
    assert all(d.result not in REFUSED for d in enforcing)
    assert not any(d.blocked or d.tampered for d in image.policies)
    if case.no_match is NoMatch.DENY and not case.broken:
        assert any(d.result is not Result.SILENT for d in enforcing)


@thorough
@given(cases(listed=st.just(True)), st.sampled_from(NAMES[1:]), st.integers(0, 6))
def test_more_verified_never_turns_allow_into_deny(case: Case, name: str, place: int) -> None:
    more = case._replace(outcomes=(*case.outcomes[:place], verified(name), *case.outcomes[place:]))
    assert more.admits() >= case.admits()  # the one signer left out is the one that some policies block


@thorough
@given(st.data(), cases())
def test_no_order_matters(data: st.DataObject, case: Case) -> None:
    turned = case._replace(
        members=tuple(data.draw(st.permutations(case.members))),
        outcomes=tuple(data.draw(st.permutations(case.outcomes))),
    )
    before, after = case.decide(), turned.decide()
    assert (before.result in REFUSED) is (after.result in REFUSED)
    assert (before.result, before.code) == (after.result, after.code)


@thorough
@given(cases(), EVERY)
def test_less_material_never_admits_more(case: Case, gone: str) -> None:
    less = case._replace(members=tuple(_without(gone, one) for one in case.members))
    assert less.admits() <= case.admits()


@thorough
@given(cases(listed=st.just(True)), st.sampled_from(NAMES[1:]))
def test_less_that_verified_never_admits_more(case: Case, name: str) -> None:
    less = case._replace(outcomes=tuple(o for o in case.outcomes if o != verified(name)))
    assert less.admits() <= case.admits()


@thorough
@given(rules("signers", st.just(Pick.ANY)), st.lists(signed | attestations, max_size=5), signed | attestations)
def test_more_evidence_never_unmakes_any(demand: Rule, found: list[Outcome], more: Outcome) -> None:
    one = policy(default=demand)
    if judge_policy(one, *found).result is Result.VERIFIED:
        assert judge_policy(one, *found, more).result is Result.VERIFIED


@thorough
@given(rules("signers"), st.lists(attestations | judged, min_size=1, max_size=6))
def test_no_attestation_is_a_signature(demand: Rule, found: list[Outcome]) -> None:
    decision = judge_policy(policy(default=demand), *found)
    assert decision.result in REFUSED or demand.needed == 0
    assert decision.counted == ()


@thorough
@given(rules("signers"), st.lists(signed | attestations, max_size=6))
def test_what_is_met_before_the_end_is_met_at_the_end(demand: Rule, found: list[Outcome]) -> None:
    loaded = policies(policy(default=demand))
    (selection,) = select.select(
        loaded, reference=reference.parse(f"{HOST}/x:1"), digest=DIGEST, namespace="pay", now=NOW
    )
    early = decide.is_met(selection, found, select.blocked(loaded), weighed=weighed(loaded, found), now=NOW)
    met = judge(loaded, *found).result is Result.VERIFIED
    assert met >= early
    if all(one.pick is Pick.ANY for one in demand.attestations):
        assert met is early


@thorough
@given(st.dictionaries(st.sampled_from(SIGNERS), st.sets(st.sampled_from("wxyz"))))
def test_matching_equals_brute_force(offered: dict[Signer, set[str]]) -> None:
    matched = counting.match(offered)
    assert len(matched) == _most(offered)
    assert len(matched) == _most({one: offered[one] for one in matched})  # each of them has a material
    assert list(matched) == [one for one in offered if one in matched]


def _most(offered: Mapping[Signer, set[str]]) -> int:
    """How many signers can have a material of their own, by trying everything."""
    choices = product(*([None, *sorted(materials)] for materials in offered.values()))
    given_out = ([material for material in choice if material is not None] for choice in choices)
    return max(len(each) for each in given_out if len(each) == len(set(each)))


@thorough
@given(cases())
def test_every_refusal_has_a_code_and_says_why(case: Case) -> None:
    image = case.decide()
    for code, detail, result in [(d.code, d.detail, d.result) for d in image.policies] + [
        (image.code, image.detail, image.result)
    ]:
        assert detail
        assert code is not None or result not in REFUSED
    review = decide.decide_review([image], revision="x")
    assert review.allowed is (image.result not in REFUSED)
    if image.result is Result.ERROR:
        assert image.code in INCONCLUSIVE
        assert review.status in (503, 504)


@thorough
@given(cases())
def test_a_blocked_key_alone_admits_nothing(case: Case) -> None:
    only = (*(o for o in case.outcomes if o.verdict is not Verdict.VERIFIED), verified("a"))
    blocking = policy("z", deny=(Deny("stolen", key_fingerprint=fingerprint("a")),), mode=Mode.WARN)
    with_it = case._replace(members=(*case.members, blocking), outcomes=only, digest=DIGEST, listed=True)
    without = with_it._replace(outcomes=only[:-1])
    assert not (with_it.admits() and not without.admits())


def _without(name: str, one: TrustPolicy) -> TrustPolicy:
    """The policy after the material of one signer has gone: what it demands stays."""

    def less(demand: Rule) -> Rule:
        return replace(demand, signers=tuple(s for s in demand.signers if s.name != name))

    return replace(one, default=less(one.default) if one.default else None, rules=tuple(map(less, one.rules)))
