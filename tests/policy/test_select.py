"""What a policy demands of an image: the order of judgement, one near miss beside each step."""

from __future__ import annotations

import timeit
from datetime import timedelta

import pytest

from tests.policy import build
from tests.policy.build import DIGEST, HOST, IMAGE, NOW, OTHER, fingerprint, policies, policy, rule, wanted
from webhook.errors import Code
from webhook.evidence.model import Wants
from webhook.oci import reference
from webhook.oci.reference import Digest
from webhook.policy import select
from webhook.policy.decision import Result
from webhook.policy.model import Deny, Mode, Namespaces, PolicyException, PolicySet, Rule, Tags, TrustPolicy
from webhook.policy.select import Selection

SIGNED = rule("release")
IMAGE_DENY = Deny("CVE-2026-1", image=build.patterns(f"{HOST}/pay")[0])
DIGEST_DENY = Deny("CVE-2026-2", digest=DIGEST)


def selected(
    one: TrustPolicy,
    *,
    image: str = IMAGE,
    digest: Digest | None = None,
    namespace: str = "pay",
    baseline: tuple[str, ...] = (),
) -> Selection:
    parsed = reference.parse(image)
    (selection,) = select.select(
        policies(one, baseline=baseline),
        reference=parsed,
        digest=parsed.digest or digest,
        namespace=namespace,
        now=NOW,
    )
    return selection


def exception(
    digest: Digest = DIGEST, namespaces: tuple[str, ...] = ("pay",), ends: timedelta = timedelta(days=1)
) -> PolicyException:
    return PolicyException(digest, namespaces, NOW + ends, "vendor signs next week")


@pytest.mark.parametrize(
    ("one", "result", "code", "label"),
    [
        pytest.param(
            policy(deny=(IMAGE_DENY,), exempt=(HOST,)), Result.DENIED, Code.BLOCKED, "deny[0]", id="deny first"
        ),
        pytest.param(
            policy(deny=(IMAGE_DENY,), namespaces=Namespaces(exclude=("pay",))),
            Result.DENIED,
            Code.BLOCKED,
            "deny[0]",
            id="deny in every namespace",
        ),
        pytest.param(
            policy(deny=(Deny("other", digest=OTHER), DIGEST_DENY), exceptions=(exception(),)),
            Result.DENIED,
            Code.BLOCKED,
            "deny[1]",
            id="deny before an exception",
        ),
        pytest.param(
            policy(default=SIGNED, namespaces=Namespaces(exclude=("pay",)), exempt=(HOST,)),
            Result.SILENT,
            None,
            "",
            id="excluded namespace before exempt",
        ),
        pytest.param(
            policy(default=SIGNED, namespaces=Namespaces(include=("shop-*",))),
            Result.SILENT,
            None,
            "",
            id="not included",
        ),
        pytest.param(
            policy(default=SIGNED, exempt=("ghcr.io/x", HOST), tags=Tags.DENY),
            Result.EXEMPT,
            None,
            "exemptRegistries",
            id="exempt before tags",
        ),
        pytest.param(
            policy(default=SIGNED, tags=Tags.DENY, exceptions=(exception(),)),
            Result.DENIED,
            Code.TAG_NOT_ALLOWED,
            "tags",
            id="tags before exceptions",
        ),
        pytest.param(
            policy(default=SIGNED, exceptions=(exception(),)), Result.EXCEPTION, None, "exceptions[0]", id="exception"
        ),
        pytest.param(policy(exempt=("ghcr.io",)), Result.SILENT, None, "", id="only exemptions, of others"),
    ],
)
def test_settled_without_evidence(one: TrustPolicy, result: Result, code: Code | None, label: str) -> None:
    selection = selected(one, digest=DIGEST)
    assert selection.rule is None
    assert selection.decision is not None
    assert (selection.decision.result, selection.decision.code, selection.decision.rule) == (result, code, label)
    assert selection.decision.detail


@pytest.mark.parametrize(
    ("one", "label"),
    [
        pytest.param(policy(default=SIGNED, deny=(Deny("x", digest=OTHER),)), "signers", id="another digest is denied"),
        pytest.param(
            policy(default=SIGNED, deny=(Deny("x", image=build.patterns(f"{HOST}/payments")[0]),)),
            "signers",
            id="a sibling path is denied",
        ),
        pytest.param(policy(default=SIGNED, exempt=(f"{HOST}/pay/api2",)), "signers", id="a sibling path is exempt"),
        pytest.param(policy(default=SIGNED, exempt=("example.com",)), "signers", id="the parent domain is exempt"),
        pytest.param(
            policy(default=SIGNED, exceptions=(exception(OTHER),)), "signers", id="exception of another digest"
        ),
        pytest.param(
            policy(default=SIGNED, exceptions=(exception(namespaces=("pay-*",)),)),
            "signers",
            id="exception elsewhere",
        ),
        pytest.param(
            policy(default=SIGNED, exceptions=(exception(ends=timedelta(0)),)), "signers", id="exception at its end"
        ),
        pytest.param(
            policy(
                default=SIGNED,
                rules=(
                    rule("b", images=(f"{HOST}/shop",), label="rules[0]"),
                    rule("c", images=(HOST,), label="rules[1]"),
                    rule("d", images=(f"{HOST}/pay/api",), label="rules[2]"),
                ),
            ),
            "rules[1]",
            id="the first rule that matches",
        ),
        pytest.param(
            policy(default=SIGNED, rules=(rule("b", images=(f"{HOST}/shop",), label="rules[0]"),)),
            "signers",
            id="no rule matches",
        ),
        pytest.param(
            policy(default=SIGNED, namespaces=Namespaces(include=("p?y",), exclude=("pa*",))),
            "signers",
            id="exclude has no globs",
        ),
    ],
)
def test_left_to_evidence(one: TrustPolicy, label: str) -> None:
    selection = selected(one, digest=DIGEST)
    assert selection.decision is None
    assert selection.rule is not None
    assert selection.rule.label == label
    assert not selection.needs_digest


def test_baseline_is_exempt_in_every_policy() -> None:
    selection = selected(policy(default=SIGNED, exempt=("ghcr.io/x",)), baseline=("quay.io/x", HOST))
    assert selection.decision is not None
    assert (selection.decision.result, selection.decision.rule) == (Result.EXEMPT, "baselineExempt")
    assert selection.decision.detail == f"{HOST} is exempt"


def test_a_reference_with_a_digest_satisfies_tags_deny() -> None:
    assert selected(policy(default=SIGNED, tags=Tags.DENY), image=f"{IMAGE}@{DIGEST}").rule is SIGNED


@pytest.mark.parametrize(
    ("one", "needs"),
    [
        pytest.param(policy(default=SIGNED), False, id="only signers"),
        pytest.param(policy(default=SIGNED, deny=(IMAGE_DENY,)), False, id="already denied"),
        pytest.param(policy(default=SIGNED, deny=(DIGEST_DENY,)), True, id="deny by digest"),
        pytest.param(policy(deny=(DIGEST_DENY,), exempt=(HOST,)), True, id="deny by digest of an exempt image"),
        pytest.param(
            policy(deny=(DIGEST_DENY,), namespaces=Namespaces(exclude=("pay",))), True, id="deny by digest elsewhere"
        ),
        pytest.param(
            policy(deny=(DIGEST_DENY,), tags=Tags.DENY), False, id="the tag is refused, whatever it resolves to"
        ),
        pytest.param(
            policy(deny=(DIGEST_DENY,), tags=Tags.DENY, mode=Mode.WARN), True, id="the tag is only warned about"
        ),
        pytest.param(policy(default=SIGNED, exceptions=(exception(),)), True, id="exception"),
        pytest.param(policy(exempt=(HOST,), exceptions=(exception(),)), False, id="exception of an exempt image"),
        pytest.param(
            policy(default=SIGNED, exceptions=(exception(namespaces=("x",)),)), False, id="exception elsewhere"
        ),
    ],
)
def test_needs_digest_where_it_could_matter(one: TrustPolicy, needs: bool) -> None:
    assert selected(one).needs_digest is needs
    assert not selected(one, digest=OTHER).needs_digest


@pytest.mark.parametrize(
    ("mode", "namespace", "effective"),
    [
        pytest.param(Mode.WARN, "pay", Mode.ENFORCE, id="named"),
        pytest.param(Mode.WARN, "pay2", Mode.WARN, id="not named"),
        pytest.param(Mode.WARN, "*", Mode.WARN, id="no glob"),
        pytest.param(Mode.ENFORCE, "shop", Mode.ENFORCE, id="enforces anyway"),
    ],
)
def test_enforce_in(mode: Mode, namespace: str, effective: Mode) -> None:
    one = policy(default=SIGNED, mode=mode, enforce_in=("pay",))
    assert selected(one, namespace=namespace).mode is effective


def test_another_digest_algorithm_does_not_lead_past_a_denied_digest() -> None:
    one = policy(default=SIGNED, deny=(DIGEST_DENY,), exempt=(HOST,))
    found = selected(one, image=f"{IMAGE}@sha512:{'ab' * 64}").decision
    assert found is not None
    assert (found.result, found.code, found.blocked) == (Result.DENIED, Code.UNSUPPORTED, True)


def test_denied_sha512_leaves_other_images_alone() -> None:
    one = policy(default=SIGNED, deny=(Deny("x", digest=Digest("sha512", "ab" * 64)),))
    assert selected(one, digest=DIGEST).rule is SIGNED


def test_what_is_blocked_is_that_of_all_policies_and_the_first_to_say_so() -> None:
    stolen = fingerprint("release")
    first = policy("a", deny=(Deny("stolen", key_fingerprint=stolen), IMAGE_DENY, Deny("leaf", log_index=0)))
    second = policy(
        "b",
        mode=Mode.WARN,
        deny=(Deny("lost", key_fingerprint=stolen), Deny("issued wrongly", certificate_fingerprint="ab" * 32)),
    )
    third = policy("c", deny=(Deny("weak", key_fingerprint=fingerprint("old")), Deny("again", log_index=0)))
    blocked = select.blocked(policies(first, second, third))
    assert {key: (who.name, entry.reason) for key, (who, entry) in blocked.keys.items()} == {
        stolen: ("a", "stolen"),
        fingerprint("old"): ("c", "weak"),
    }
    assert {key: entry.reason for key, (_, entry) in blocked.certificates.items()} == {"ab" * 32: "issued wrongly"}
    assert {key: entry.reason for key, (_, entry) in blocked.log_indices.items()} == {0: "leaf"}


def test_nothing_is_blocked_where_nothing_says_so() -> None:
    blocked = select.blocked(policies(policy(deny=(IMAGE_DENY, DIGEST_DENY))))
    assert (blocked.keys, blocked.certificates, blocked.log_indices) == ({}, {}, {})


SBOM = wanted("scanner", kind=build.VULN)
PROVENANCE = wanted("builder", "release")


@pytest.mark.parametrize(
    ("rules", "signatures", "predicates", "names"),
    [
        pytest.param([rule("a", "b")], True, [], "a b", id="signatures"),
        pytest.param([rule(needed=0, attestations=(SBOM,))], False, [build.VULN], "scanner", id="attestations only"),
        pytest.param(
            [rule("release", attestations=(SBOM, PROVENANCE))],
            True,
            [build.VULN, build.SLSA],
            "release scanner builder",
            id="both",
        ),
        pytest.param(
            [rule(needed=0, attestations=(PROVENANCE,)), rule("a", "release")],
            True,
            [build.SLSA],
            "builder release a",
            id="of several policies",
        ),
        pytest.param([rule("a", needed=0)], True, [], "a", id="nothing at all demands no less"),
        pytest.param([], False, [], "", id="nothing undecided"),
    ],
)
def test_what_is_looked_for_and_by_whom(rules: list[Rule], signatures: bool, predicates: list[str], names: str) -> None:
    members = [policy(f"p{number}", default=one) for number, one in enumerate(rules)]
    silent = policy("silent", exempt=(HOST,))
    parsed = reference.parse(IMAGE)
    selections = select.select(policies(*members, silent), reference=parsed, digest=DIGEST, namespace="pay", now=NOW)
    assert select.wants(selections) == Wants(signatures, frozenset(predicates))
    assert " ".join(signer.name for signer in select.signers(selections)) == names


def test_no_policies_no_selections() -> None:
    parsed = reference.parse(IMAGE)
    assert select.select(policies(), reference=parsed, digest=None, namespace="pay", now=NOW) == ()


def test_namespaces_of_which_the_same_policies_speak_share_one_set() -> None:
    everywhere, pay = (
        policy("everywhere", default=SIGNED),
        policy("pay", default=SIGNED, namespaces=Namespaces(("pay-*",))),
    )
    whole = policies(everywhere, pay)
    assert [one.name for one in whole.within("pay-a").policies] == ["everywhere", "pay"]
    assert [one.name for one in whole.within("web").policies] == ["everywhere"]
    assert whole.within("web") is whole.within("shop")
    assert whole.within("web") is not whole.within("pay-a")


def test_cheap() -> None:
    loaded: PolicySet = policies(
        *(policy(f"p{n}", default=SIGNED, exempt=("ghcr.io/a", "quay.io/b")) for n in range(5))
    )
    parsed = reference.parse(IMAGE)
    best = min(
        timeit.repeat(
            lambda: select.select(loaded, reference=parsed, digest=DIGEST, namespace="pay", now=NOW),
            number=100,
            repeat=5,
        )
    )
    assert best / 100 < 0.0005  # some 20 microseconds; ten times that on a busy machine is no mistake of ours


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(policy(default=SIGNED), True, id="enforced"),
        pytest.param(policy(default=SIGNED, mode=Mode.WARN), False, id="warned"),
        pytest.param(policy(default=SIGNED, mode=Mode.WARN, enforce_in=("pay",)), True, id="enforced here"),
        pytest.param(policy(default=SIGNED, mode=Mode.WARN, enforce_in=("shop",)), False, id="enforced elsewhere"),
        pytest.param(policy(default=SIGNED, exempt=(HOST,)), False, id="exempt"),
        pytest.param(policy(default=SIGNED, namespaces=Namespaces(exclude=("pay",))), False, id="another namespace"),
        pytest.param(policy(default=None), False, id="no rule"),
        pytest.param(policy(default=SIGNED, tags=Tags.DENY), False, id="refused already"),
        pytest.param(policy(default=SIGNED, exceptions=(exception(),)), True, id="an exception is for a digest"),
    ],
)
def test_who_judges_by_a_rule_that_enforces(one: TrustPolicy, expected: bool) -> None:
    (selection,) = select.select(policies(one), reference=reference.parse(IMAGE), digest=None, namespace="pay", now=NOW)
    assert bool(select.enforced((selection,))) is expected
