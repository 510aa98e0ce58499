"""What a pattern leaves open, and the near miss beside it that does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.errors import MalformedError
from webhook.trust import expression, openness

HOST = "leaves the host open"
END = "leaves the end open"
ALL = "matches everything"
EMPTY = "matches the empty text"

ISSUERS: dict[str, str] = {
    # anchored in effect
    r"https://token\.actions\.githubusercontent\.com": "",
    r"^https://token\.actions\.githubusercontent\.com$": "",
    r"https://token.actions.githubusercontent.com": "",
    r"https://token\.actions\.githubusercontent\.com(/acme)?": "",
    r"https?://gitlab\.example\.com(:\d+)?": "",
    r"https://[^/]*\.example\.com": "",
    r"https://[a-z0-9-]+\.example\.com": "",
    r"https://(oidc|sso)\.example\.(com|net)": "",
    r"https://(www\.)?example\.com": "",
    r"https://oidc\.eks\.[a-z0-9-]+\.amazonaws\.com/id/[A-F0-9]+": "",
    r"https://login\.example\.com/[^/]+/v2\.0": "",
    r"accounts\.google\.com": "",
    # an open beginning
    r".*token\.actions\.githubusercontent\.com": HOST,
    r".*\.example\.com": HOST,
    r".*example.com": HOST,
    r".+example\.com": HOST,
    r"[^x]*\.example\.com": HOST,
    r"(.|x)*\.example\.com": HOST,
    r"[a-z:/]*example\.com": HOST,
    r"[^/]*example\.com": HOST,
    r"https://[^/]+example\.com": HOST,
    r"https://.*\.example\.com": HOST,
    r"https://.{1,40}\.example\.com": HOST,
    r"https://[a-z]+\.com": HOST,
    r"https://[abc]+\.com": HOST,
    r"https://example\.[a-z]+": HOST,
    r"https://.*": HOST,
    r"https://[^/]+": HOST,
    r"https://good\.com@.*": HOST,
    r"https://a\.example\.com|https://.*": HOST,
    r"[0-9]{5,}": HOST,
    # an open end
    r"https://gitlab\.com.*": HOST,
    r"https://gitlab\.com\S*": HOST,
    r"https://gitlab\.com[^/]*": HOST,
    r"https://gitlab\.com(/|.*)": HOST,
    r"https://gitlab\.com/.*": END,
    r"https://gitlab\.com/.+": END,
    r"https://gitlab\.com/[^x]*": END,
    r"https://gitlab\.com/\S*": END,
    r"https://gitlab\.com/.{0,50}": END,
    r"https://gitlab\.com/(a|.*)": END,
    r"https://gitlab\.com/(\w|\W)+": END,
    # everything, nothing
    r".*": ALL,
    r".+": ALL,
    r"^.*$": ALL,
    r"(.*)": ALL,
    r"(|.*)": ALL,
    r"[\s\S]*": ALL,
    r"(\w|\W)*": ALL,
    r"[^x]+": ALL,
    r"https://a\.example\.com|.*": ALL,
    r"a*": EMPTY,
    r"(https://a\.example\.com)?": EMPTY,
}

BEGIN = "leaves the beginning open"
DOMAIN = "leaves the domain of an e-mail address open"
OWNER = "leaves the owner open"
NAME = "matches every subject that is a plain name"

SUBJECTS: dict[str, str] = {
    # anchored in effect
    r"https://github\.com/acme/api/.*": "",
    r"https://github\.com/acme/.*": "",
    r"https://github\.com/acme(/.*)?": "",
    r"https://github\.com/(acme|corp)/.*": "",
    r"https://github.com/acme/api/.*": "",
    r"^https://github\.com/acme/api/\.github/workflows/[^/]+@refs/tags/v[0-9.]+$": "",
    r"https://github\.com/acme/api/\.github/workflows/release\.yml@.*": "",
    r"https://kubernetes\.io/namespaces/ci/serviceaccounts/.*": "",
    r"spiffe://example\.org/ns/.*": "",
    r"[^@/]+@example\.com": "",
    r"[\w.+-]+@example\.com": "",
    r"release@.*\.example\.com": "",
    r"(alice|bob)@example\.com": "",
    r"repo:acme/.*": "",
    r"release-bot": "",
    # an open beginning
    r".*/acme/api/.*": BEGIN,
    r".*@example\.com": BEGIN,
    r"[^@]+@example\.com": BEGIN,
    r"[^x]*foo": BEGIN,
    r".*:ref:refs/heads/main": BEGIN,
    r"https://.*/acme/api": BEGIN,
    r"https://[^/]+/acme/api": BEGIN,
    r"spiffe://[^/]+/ns/x": BEGIN,
    r"(https://github\.com/acme/api|.*)/x": BEGIN,
    # every subject of an issuer, or another's
    r"https://github\.com/.*": OWNER,
    r"https://github\.com/[^/]+/api/.*": OWNER,
    r"https://github\.com/acme.*": OWNER,
    r"https://github\.com/acme-[a-z]+/.*": OWNER,
    r"https://github\.com/acme/?.*": OWNER,
    r"release@.*": DOMAIN,
    r"release@[a-z]+\.com": DOMAIN,
    r"release@.*example\.com": DOMAIN,
    r"[a-z0-9-]+": NAME,
    r"\w{3,}": NAME,
    r".*": ALL,
    r".+": ALL,
    r".{3,}": ALL,
    r"[^\s]*": ALL,
    r"x*": EMPTY,
}


@pytest.mark.parametrize(("pattern", "problem"), ISSUERS.items(), ids=ISSUERS)
def test_issuers(pattern: str, problem: str) -> None:
    found = openness.issuer_problem(expression.parse(pattern).automaton)
    assert found.startswith(problem) if problem else found == ""


@pytest.mark.parametrize(("pattern", "problem"), SUBJECTS.items(), ids=SUBJECTS)
def test_subjects(pattern: str, problem: str) -> None:
    found = openness.subject_problem(expression.parse(pattern).automaton)
    assert found.startswith(problem) if problem else found == ""


@pytest.mark.parametrize(
    ("glob", "problem"),
    [
        ("https://github.com/acme/api/**", ""),
        ("https://github.com/acme/*/.github/workflows/*@refs/heads/main", ""),
        ("https://*.example.com/acme/api", ""),
        ("*@example.com", ""),
        ("https://github.com/**", OWNER),
        ("https://github.com/*/api/**", OWNER),
        ("https://github.com/acme*/api/**", OWNER),
        ("https://*/acme/api", BEGIN),
        ("**/acme/api", BEGIN),
        ("**@example.com", BEGIN),
        ("release@*.com", DOMAIN),
        ("**", ALL),
        ("*", ALL),
    ],
)
def test_globs(glob: str, problem: str) -> None:
    found = openness.subject_problem(expression.parse_glob(glob).automaton)
    assert found.startswith(problem) if problem else found == ""


@pytest.mark.parametrize(
    ("pattern", "any_tenant"),
    [
        (r"https://oidc\.eks\.[a-z0-9-]+\.amazonaws\.com/id/[A-F0-9]+", True),
        (r"https://login\.example\.com/[^/]+/v2\.0", True),
        (r"https://oidc\.eks\.[a-z0-9-]+\.amazonaws\.com/id/(A1|B2)", False),
        (r"https://[a-z0-9-]+\.example\.com", False),
    ],
)
def test_an_issuer_for_any_tenant(pattern: str, any_tenant: bool) -> None:
    assert openness.is_any_tenant(expression.parse(pattern).automaton) is any_tenant


@pytest.mark.parametrize(
    ("pattern", "any_repository"),
    [
        (r"https://github\.com/acme/.*", True),
        (r"https://github\.com/acme/api.*", True),
        (r"https://github\.com/acme/(api|[^/]+)/x", True),
        (r"https://github\.com/acme/api/.*", False),
        (r"https://github\.com/acme/(api|web)/.*", False),
        (r"[^@/]+@example\.com", False),
    ],
)
def test_a_subject_in_any_repository(pattern: str, any_repository: bool) -> None:
    assert openness.is_any_repository(expression.parse(pattern).automaton) is any_repository


@pytest.mark.parametrize(
    ("pattern", "loose"),
    [
        (r"https://gitlab.example.com", True),
        (r"https://gitlab\.example.com/acme", True),
        (r"[^@/]+@example.com", True),
        (r"https://gitlab\.example\.com/a.b", False),
        (r"https://[a-z.]+\.example\.com", False),
        (r"https://[^/]*\.example\.com/.*", False),
        (r"[^@/]+@example\.com", False),
    ],
)
def test_a_loose_dot_in_a_host(pattern: str, loose: bool) -> None:
    assert openness.has_loose_dot(pattern) is loose


HOSTS = st.sampled_from(["evil.example", "token.evil.example", "evilexample.com", "example.com.evil.net", "evil.com"])
PARTS = st.sampled_from([
    "https://", "http://", r"example\.com", "example", ".*", "[^/]*", r"[a-z.]+", r"\.", "/", r"\w+", "(a|.*)", "x?",
    r"[a-z0-9-]*", "com", r"(\.net)?", ".", ".+", "[^@]+", "@", "acme", "/api", "(https://|.*)",
])  # fmt: skip


@settings(max_examples=400)
@given(st.lists(PARTS, min_size=1, max_size=6).map("".join), HOSTS, st.sampled_from(["", "/", "/acme", "/acme/api"]))
def test_no_pattern_that_is_taken_admits_a_host_of_somebody_s_choice(pattern: str, host: str, path: str) -> None:
    try:
        parsed = expression.parse(pattern)
    except MalformedError:
        return
    for text in (f"https://{host}{path}", f"https://x.{host}{path}"):
        if not openness.issuer_problem(parsed.automaton):
            assert not parsed.matches(text)
        if not openness.subject_problem(parsed.automaton):
            assert not parsed.matches(text)
