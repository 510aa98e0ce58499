from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.documents import KEY_A, KEYLESS, KEYS, NOW, identity, key, policy, policy_set
from webhook.errors import MalformedError
from webhook.oci import reference
from webhook.oci.reference import Pattern, Repository
from webhook.policy.lint import Finding, covers, lint
from webhook.policy.model import PolicySet
from webhook.trust import mirror
from webhook.trust.material import parse_public_key

DIGEST = "sha256:" + "ab" * 32
FINGERPRINT = parse_public_key(KEY_A).fingerprint
QUIET = "  tags: deny\n"
ONE_KEY = "  trustedKeys:\n" + key("release", KEY_A)
FIRST = 20  # the line after a policy with KEYS


ISSUER = "https://token.actions.githubusercontent.com"


def keyless(subject: str, issuer: str = f"issuer: {ISSUER}", *, more: str = "") -> str:
    return f"  keyless:\n    - name: ci\n      {issuer}\n      {subject}\n{more}"


def attestation(fields: str) -> str:
    return f"  rules: [{{images: [a.io], require: none, attestations: [{{predicateType: spdx, {fields}}}]}}]\n"


def rules(*images: str, signers: str = "[release, pipeline]") -> str:
    return "  rules:\n" + "".join(f"    - images: {one}\n      signers: {signers}\n" for one in images)


def exception(until: str) -> str:
    return f"  exceptions: [{{digest: '{DIGEST}', namespaces: [x], reason: because, until: '{until}'}}]\n"


def found(*texts: str) -> list[tuple[str, str, int]]:
    return [(finding.code, finding.path, finding.line) for finding in lint(policy_set(*texts), now=NOW)]


# The text after KEYS and `tags: deny`; the finding's code and path; the line is the one with `#!`
CASES: dict[str, tuple[str, tuple[str, str] | list[tuple[str, str]] | None]] = {
    "nothing": ("", None),
    "rule behind the same": (rules("[a.io]", "[a.io] #!"), ("unreachable_rule", "spec.rules[1]")),
    "rule behind a wider": (rules("[a.io]", "[a.io/x, a.io/y/*] #!"), ("unreachable_rule", "spec.rules[1]")),
    "rule behind two": (rules("[a.io]", "[b.io]", "[a.io/x, b.io/y] #!"), ("unreachable_rule", "spec.rules[2]")),
    "rule behind an exemption": (
        "  exemptRegistries: [a.io]\n" + rules("[a.io/x] #!"),
        ("unreachable_rule", "spec.rules[0]"),
    ),
    "rule behind a narrower": (rules("[a.io/x]", "[a.io]"), None),
    "rule that is half behind": (rules("[a.io]", "[a.io/x, b.io]"), None),
    "rule behind a look-alike": (rules("[a.io/x]", "[a.io/xy]"), None),
    "signer that no rule names": (
        rules("['**']", signers="[release]") + "  help: x\n",
        ("unused_signer", "spec.trustedKeys[1]"),
    ),
    "signer of the default": (rules("[a.io]", signers="[release]"), None),
    "signer that a rule names": (rules("['**']"), None),
    "key that is denied": (
        f"  deny: [{{keyFingerprint: '{FINGERPRINT}', reason: stolen}}]\n",
        ("denied_signer", "spec.trustedKeys[0]"),
    ),
    "other key that is denied": (f"  deny: [{{keyFingerprint: '{'0' * 64}', reason: stolen}}]\n", None),
    "identity that no rule names": (
        KEYLESS + rules("['**']"),
        ("unused_signer", "spec.keyless[0]"),
    ),
    "identity that an attestation names": (
        KEYLESS + "  rules: [{images: ['**'], attestations: [{predicateType: spdx, signers: [ci]}]}]\n",
        None,
    ),
    "all signers of a rule denied": (
        f"  deny: [{{keyFingerprint: '{FINGERPRINT}', reason: stolen}}]\n" + rules("[a.io]", signers="[release]"),
        [("denied_signer", "spec.trustedKeys[0]"), ("unmet_demand", "spec.rules[0]")],
    ),
    "all signers of an attestation denied": (
        f"  deny: [{{keyFingerprint: '{FINGERPRINT}', reason: stolen}}]\n" + attestation("signers: [release]"),
        [("denied_signer", "spec.trustedKeys[0]"), ("unmet_demand", "spec.rules[0].attestations[0]")],
    ),
    "one signer of an attestation denied": (
        f"  deny: [{{keyFingerprint: '{FINGERPRINT}', reason: stolen}}]\n" + attestation("pick: any"),
        ("denied_signer", "spec.trustedKeys[0]"),
    ),
    "unsafe subject": (
        keyless(r"unsafeSubjectRegex: .*/acme/api/.*"),
        ("unsafe_identity", "spec.keyless[0].unsafeSubjectRegex"),
    ),
    "unsafe subject by a glob": (
        keyless("unsafeSubjectGlob: https://github.com/**"),
        ("unsafe_identity", "spec.keyless[0].unsafeSubjectGlob"),
    ),
    "unsafe issuer": (
        keyless("subject: a@b.io", "unsafeIssuerRegex: .*example.com"),
        ("unsafe_identity", "spec.keyless[0].unsafeIssuerRegex"),
    ),
    "any tenant": (
        keyless("subject: a@b.io", r"issuerRegex: https://login\.example\.com/[^/]+/v2"),
        ("any_tenant", "spec.keyless[0].issuerRegex"),
    ),
    "one of two tenants": (
        keyless("subject: a@b.io", r"issuerRegex: https://login\.example\.com/(x1|y2)/v2"),
        None,
    ),
    "any repository": (
        keyless(r"subjectRegex: https://github\.com/acme/.*"),
        ("any_repository", "spec.keyless[0].subjectRegex"),
    ),
    "any repository, by a glob": (
        keyless("subjectGlob: https://github.com/acme/**"),
        ("any_repository", "spec.keyless[0].subjectGlob"),
    ),
    "one repository": (keyless("subjectGlob: https://github.com/acme/api/**"), None),
    "loose dot": (
        keyless(r"subjectRegex: https://github.com/acme/api/.*"),
        ("loose_dot", "spec.keyless[0].subjectRegex"),
    ),
    "loose dot in an issuer": (
        keyless("subject: a@b.io", r"issuerRegex: https://login.example\.com"),
        ("loose_dot", "spec.keyless[0].issuerRegex"),
    ),
    "root that nobody names": (
        "  trustRoots: [{name: own, file: own.json}] #!\n",
        ("unused_trust_root", "spec.trustRoots[0]"),
    ),
    "root that somebody names": (
        "      trustRoot: own\n      requireLog: true\n  trustRoots: [{name: own, file: own.json}]\n",
        None,
    ),
    "root without a demand for its log": (
        "      trustRoot: own #!\n  trustRoots: [{name: own, file: own.json}]\n",
        ("log_not_required", "spec.trustedKeys[1].trustRoot"),
    ),
    "root that demands no SCT": (
        keyless("subject: a@b.io", more="      trustRoot: own\n")
        + "  trustRoots: [{name: own, file: own.json, requireSct: false}]\n",
        ("sct_not_required", "spec.keyless[0]"),
    ),
    "age that nothing proves": (
        "  rules:\n    - images: [a.io]\n      maxAge: 30d #!\n",
        ("age_without_log", "spec.rules[0].maxAge"),
    ),
    "age that a log proves": (
        "      requireLog: true\n  rules:\n    - images: [a.io]\n      signers: [pipeline]\n      maxAge: 30d #!\n",
        ("renewable_age", "spec.rules[0].maxAge"),
    ),
    "newest of what a key signed": (
        attestation("pick: newest"),
        ("renewable_age", "spec.rules[0].attestations[0].pick"),
    ),
    "newest by a signed time": (attestation("pick: newest, maxAge: 1d, timeField: predicate.created"), None),
    "part of a name": (
        keyless("subjectRegex: acme/shop"),
        ("no_address", "spec.keyless[0].subjectRegex"),
    ),
    "part of a name, of which the rest may be anything": (keyless("subjectRegex: '[a-z]+@acme[.]io'"), None),
    "age of what an identity signed": (
        KEYLESS + "  rules:\n    - images: [a.io]\n      signers: [ci]\n      maxAge: 30d\n",
        None,
    ),
    "age of an attestation that nothing proves": (
        attestation("maxAge: 30d"),
        ("age_without_log", "spec.rules[0].attestations[0].maxAge"),
    ),
    "age of an attestation that says its time": (attestation("maxAge: 30d, timeField: predicate.created"), None),
    "condition on something else": (
        attestation("condition: 'image.digest != \"\"'"),
        ("idle_condition", "spec.rules[0].attestations[0].condition"),
    ),
    "condition on the predicate": (attestation("condition: 'predicate.x == 1'"), None),
    "condition on the statement": (attestation("condition: 'statement.predicateType != \"\"'"), None),
    "exception that is over": (exception("2026-11-21T12:00:00Z"), ("expired_exception", "spec.exceptions[0].until")),
    "exception that ends soon": (exception("2026-11-24T12:00:00Z"), ("ending_exception", "spec.exceptions[0].until")),
    "exception that ends later": (exception("2026-11-24T12:00:01Z"), None),
    "excluded, never included": (
        "  namespaces:\n    include: [prod-*]\n    exclude: [dev] #!\n",
        ("namespace_contradiction", "spec.namespaces.exclude[0]"),
    ),
    "included and excluded": (
        "  namespaces:\n    include: [dev, x] #!\n    exclude: [dev]\n",
        ("namespace_contradiction", "spec.namespaces.include[0]"),
    ),
    "excluded from a glob": ("  namespaces: {include: [prod-*], exclude: [prod-x]}\n", None),
    "shared registry": (
        "  unsafeExemptRegistries: [quay.io] #!\n",
        ("unsafe_exemption", "spec.unsafeExemptRegistries[0]"),
    ),
    "own path of a shared registry": ("  exemptRegistries: [quay.io/me]\n", None),
    "pull-through cache": (
        "  exemptRegistries:\n    - b.io\n    - 111122223333.dkr.ecr.us-west-2.amazonaws.com/docker-hub #!\n",
        ("pull_through_exemption", "spec.exemptRegistries[1]"),
    ),
    "add-ons of EKS": ("  exemptRegistries: [602401143452.dkr.ecr.us-west-2.amazonaws.com/eks]\n", None),
    "look-alike of ECR": ("  exemptRegistries: [dkr.ecr.example.com/docker-hub]\n", None),
    "official image": ("  exemptRegistries: [docker.io/nginx] #!\n", ("official_image", "spec.exemptRegistries[0]")),
    "official image, denied": (
        "  deny: [{image: docker.io/redis, reason: x}]\n",
        ("official_image", "spec.deny[0].image"),
    ),
    "official image, meant": ("  exemptRegistries: [docker.io/library/nginx]\n", None),
    "user of Docker Hub": ("  exemptRegistries: [docker.io/bitnami]\n", None),
    "tampered where it means nothing": ("  tampered: warn #!\n", ("tampered_unused", "spec.tampered")),
}


@pytest.mark.parametrize(("more", "expected"), CASES.values(), ids=CASES)
def test_findings_of_one_policy(more: str, expected: tuple[str, str] | list[tuple[str, str]] | None) -> None:
    findings = found(policy(more=QUIET + KEYS) + more)
    wanted = expected if isinstance(expected, list) else [expected] if expected else []
    assert [(code, path) for code, path, _ in findings] == wanted
    marked = [number for number, line in enumerate(more.split("\n"), start=FIRST + 1) if "#!" in line]
    assert not marked or [line for _, _, line in findings] == marked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(policy(), [("tags_allowed", "spec.mode", 6)], id="by default"),
        pytest.param(policy() + "  tags: allow\n", [("tags_allowed", "spec.tags", FIRST)], id="as written"),
        pytest.param(policy() + "  tags: deny\n", [], id="denied"),
        pytest.param(policy(mode="warn"), [], id="warn"),
        pytest.param(policy(mode="warn") + "  enforceIn: [a]\n", [("tags_allowed", "spec.mode", 6)], id="enforceIn"),
        pytest.param(policy(more="  exemptRegistries: [a.io]\n"), [], id="no signers"),
    ],
)
def test_tags_are_allowed_where_it_counts(text: str, expected: list[tuple[str, str, int]]) -> None:
    assert found(text) == expected


def test_where_tags_are_pinned_they_may_be_allowed() -> None:
    assert [finding.code for finding in lint(policy_set(policy()), now=NOW)] == ["tags_allowed"]
    assert lint(policy_set(policy()), now=NOW, pinning=True) == ()


def test_enforce_in_names_namespaces_of_the_policy() -> None:
    more = QUIET + "  namespaces: {include: [a, b*], exclude: [bad]}\n  enforceIn: [a, bad, b1, c]\n"
    assert found(policy(mode="warn") + more) == [
        ("enforce_in_outside", "spec.enforceIn[1]", FIRST + 2),
        ("enforce_in_outside", "spec.enforceIn[3]", FIRST + 2),
    ]


def only(names: str) -> str:
    return f"  namespaces: {{include: {names}}}\n"


EXEMPT = "  exemptRegistries: [a.io]\n"


@pytest.mark.parametrize(
    ("first", "second", "different"),
    [
        pytest.param(EXEMPT, "", True, id="everywhere"),
        pytest.param(EXEMPT, EXEMPT, False, id="the same"),
        pytest.param("  exemptRegistries: [a.io/x]\n", EXEMPT, True, id="one way only"),
        pytest.param(EXEMPT + only("[x]"), only("[z]"), False, id="apart"),
        pytest.param(EXEMPT + only("[x*]"), only("[y*]"), False, id="starts"),
        pytest.param(EXEMPT + only("['*x']"), only("['*z']"), False, id="ends"),
        pytest.param(EXEMPT + only("[x*]"), only("['*y']"), True, id="globs"),
        pytest.param(EXEMPT + only("[x*]"), only("[x1]"), True, id="a glob"),
        pytest.param(EXEMPT + "  namespaces: {exclude: [x]}\n", only("[x]"), False, id="excluded"),
    ],
)  # fmt: skip
def test_policies_for_one_namespace_exempt_the_same(first: str, second: str, different: bool) -> None:
    codes = [code for code, _, _ in found(policy("one") + QUIET + first, policy("two") + QUIET + second)]
    assert codes == (["different_exemptions"] if different else [])


def test_a_policy_that_warns_is_asked_only_where_it_enforces() -> None:
    one = policy("one") + QUIET + EXEMPT + only("[x]")
    assert found(one, policy("two", mode="warn") + QUIET) == []
    assert [code for code, _, _ in found(one, policy("two", mode="warn") + QUIET + "  enforceIn: [x]\n")] == [
        "different_exemptions"
    ]
    assert found(one, policy("two", mode="warn") + QUIET + "  enforceIn: [z]\n") == []


def test_the_baseline_is_exempt_in_every_policy() -> None:
    policies = policy_set(policy("one") + QUIET + EXEMPT, policy("two") + QUIET)
    with_baseline = PolicySet(policies.policies, "", "here", baseline=(reference.parse_pattern("a.io"),))
    assert lint(with_baseline, now=NOW) == ()


def test_a_finding_says_where_it_is_and_what() -> None:
    (finding,) = lint(policy_set(policy(more=ONE_KEY + QUIET + exception("2026-12-01"))), now=NOW + timedelta(days=30))
    assert finding == Finding(
        origin="production.yaml",
        policy="production",
        line=15,
        path="spec.exceptions[0].until",
        code=finding.code,
        message="ended on 2026-12-01 00:00 UTC: remove it, or renew it",
    )


SEGMENT = st.sampled_from(["a", "b", "*"])
PATTERNS = st.builds(
    lambda host, path, last: "/".join([host, *path, *last]),
    st.sampled_from(["a.io", "b.io", "*.io", "*", "x.a.io", "*.a.io", "*.a.io:5000", "x.a.io:5000"]),
    st.lists(SEGMENT, max_size=3),
    st.sampled_from([[], ["**"]]),
)
REPOSITORIES = st.builds(
    Repository,
    st.sampled_from(["a.io", "b.io", "x.a.io", "y.a.io", "x.a.io:5000"]),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map("/".join),
)


def pattern(text: str) -> Pattern | None:
    try:
        return reference.parse_pattern(text)
    except MalformedError:
        return None


@given(PATTERNS | st.just("**"), PATTERNS | st.just("**"), st.lists(REPOSITORIES, min_size=1, max_size=5))
def test_what_is_covered_is_matched(wide_text: str, narrow_text: str, repositories: list[Repository]) -> None:
    wide, narrow = pattern(wide_text), pattern(narrow_text)
    if wide is None or narrow is None or not covers(wide, narrow):
        return
    for repository in repositories:
        assert not narrow.matches(repository) or wide.matches(repository)


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("**", "a.io", True),
        ("a.io", "a.io/x/**", True),
        ("a.io/**", "a.io", True),
        ("a.io/x", "a.io/x/*", True),
        ("a.io/x/*", "a.io/x/y", False),
        ("a.io/x/*", "a.io/x/**", False),
        ("a.io/x/**", "a.io/x/*", True),
        ("a.io/x/**", "a.io/x", False),
        ("a.io/*/**", "a.io/x/*", True),
        ("*.a.io", "x.a.io", True),
        ("x.a.io", "*.a.io", False),
        ("*.a.io", "*.a.io:5000", False),
        ("ghcr.io", "GHCR.IO:443/x", True),
        ("a.io", "a.io.example.com", False),
    ],
)
def test_covers(wide: str, narrow: str, covered: bool) -> None:
    assert covers(reference.parse_pattern(wide), reference.parse_pattern(narrow)) is covered


def test_a_log_of_a_root_that_is_not_believed_is_told() -> None:
    document = json.loads(mirror.packaged_document())
    document["tlogs"][1]["publicKey"]["keyDetails"] = "PKIX_ML_DSA_65"
    root = json.dumps([{"name": "own", "trustedRoot": json.dumps(document)}])
    text = policy(more=QUIET + "  keyless:\n" + identity("ci", "      trustRoot: own\n") + f"  trustRoots: {root}\n")
    ((code, path, line),) = found(text)
    assert (code, path, line) == ("unknown_log", "spec.trustRoots[0]", 13)


def test_findings_come_in_the_order_of_lines() -> None:
    more = KEYS + "  exemptRegistries: [docker.io/nginx]\n  tampered: warn\n"
    lines = [line for _, _, line in found(policy(more=more))]
    assert lines == sorted(lines)
    assert len(lines) == 3
