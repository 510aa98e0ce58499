from __future__ import annotations

import timeit
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import Code, MalformedError
from webhook.trust.identity import EXTENSIONS, Claims, Identity, IdentityError

ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "https://github.com/acme/api/.github/workflows/release.yml@refs/heads/main"
CLAIMS = Claims(
    ISSUER,
    (("uri", SUBJECT),),
    {"sourceRepositoryRef": "refs/heads/main", "buildTrigger": "push", "githubWorkflowRef": "refs/heads/main"},
)
EXACT = Identity(issuer=ISSUER, subject=SUBJECT)

# Each field of a rule alone: the rule, and a certificate that differs from `CLAIMS` in what that field is about.
FIELDS: dict[str, tuple[Identity, Claims]] = {
    "issuer": (EXACT, replace(CLAIMS, issuer=f"{ISSUER}/acme")),
    "issuer is no prefix": (EXACT, replace(CLAIMS, issuer=ISSUER[:-1])),
    "issuer in upper case": (EXACT, replace(CLAIMS, issuer=ISSUER.upper())),
    "issuer with a slash": (EXACT, replace(CLAIMS, issuer=f"{ISSUER}/")),
    "issuerRegex": (
        Identity(issuer_regex=r"https://token\.actions\.githubusercontent\.com(/acme)?", subject=SUBJECT),
        replace(CLAIMS, issuer=f"{ISSUER}.evil.example"),
    ),
    "issuerRegex from the start": (
        Identity(issuer_regex=r"https://token\.actions\.githubusercontent\.com", subject=SUBJECT),
        replace(CLAIMS, issuer=f"https://evil.example/{ISSUER}"),
    ),
    "subject": (EXACT, replace(CLAIMS, subjects=(("uri", SUBJECT.replace("main", "dev")),))),
    "subject in upper case": (EXACT, replace(CLAIMS, subjects=(("uri", SUBJECT.replace("acme", "ACME")),))),
    "subject, not normalised": (EXACT, replace(CLAIMS, subjects=(("uri", SUBJECT.replace("/api/", "/x/../api/")),))),
    "no subject": (EXACT, replace(CLAIMS, subjects=())),
    "subjectGlob": (
        Identity(issuer=ISSUER, subject_glob="https://github.com/acme/api/.github/workflows/*@refs/heads/main"),
        replace(CLAIMS, subjects=(("uri", SUBJECT.replace("release", "x/release")),)),
    ),
    "subjectGlob, one character at least": (
        Identity(issuer=ISSUER, subject_glob="https://github.com/acme/api/.github/workflows/release.yml*@refs/**"),
        CLAIMS,
    ),
    "subjectGlob, a dot is a dot": (
        Identity(issuer=ISSUER, subject_glob="https://github.com/acme/api/**"),
        replace(CLAIMS, subjects=(("uri", SUBJECT.replace("github.com", "githubxcom")),)),
    ),
    "subjectRegex": (
        Identity(issuer=ISSUER, subject_regex=r"https://github\.com/acme/api/\.github/workflows/[a-z]+\.yml@refs/.*"),
        replace(CLAIMS, subjects=(("uri", SUBJECT.replace("/api/", "/apis/")),)),
    ),
    "subjectRegex to the end": (
        Identity(issuer=ISSUER, subject_regex=r"https://github\.com/acme/api/.*@refs/heads/main"),
        replace(CLAIMS, subjects=(("uri", f"{SUBJECT}-evil"),)),
    ),
    "extensions": (
        replace(EXACT, extensions=(("sourceRepositoryRef", "refs/heads/main"),)),
        replace(CLAIMS, extensions={**CLAIMS.extensions, "sourceRepositoryRef": "refs/heads/dev"}),
    ),
    "extension that is not there": (
        replace(EXACT, extensions=(("sourceRepositoryRef", "refs/heads/main"),)),
        replace(CLAIMS, extensions={"githubWorkflowRef": "refs/heads/main"}),
    ),
    "second extension": (
        replace(EXACT, extensions=(("sourceRepositoryRef", "refs/heads/main"), ("buildTrigger", "push"))),
        replace(CLAIMS, extensions={**CLAIMS.extensions, "buildTrigger": "pull_request"}),
    ),
    "unsafeIssuerRegex": (
        Identity(unsafe_issuer_regex=r"https://gitlab\.example\.com/.*", subject=SUBJECT),
        CLAIMS,
    ),
    "unsafeSubjectGlob": (Identity(issuer=ISSUER, unsafe_subject_glob="https://gitlab.com/**"), CLAIMS),
    "unsafeSubjectRegex": (Identity(issuer=ISSUER, unsafe_subject_regex=r".*@refs/tags/.*"), CLAIMS),
}


@pytest.mark.parametrize(("identity", "claims"), FIELDS.values(), ids=FIELDS)
def test_each_field_alone_refuses(identity: Identity, claims: Claims) -> None:
    assert identity.mismatch(claims)


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param(EXACT, id="exact"),
        pytest.param(
            Identity(issuer_regex=r"https://(token|oidc)\.actions\.githubusercontent\.com", subject=SUBJECT),
            id="issuerRegex",
        ),
        pytest.param(Identity(issuer=ISSUER, subject_glob="https://github.com/acme/api/**"), id="subjectGlob"),
        pytest.param(
            Identity(issuer=ISSUER, subject_glob="https://github.com/acme/*/.github/workflows/*@refs/heads/*"),
            id="subjectGlob by segments",
        ),
        pytest.param(Identity(issuer=ISSUER, subject_regex=r"https://github\.com/acme/api/.*"), id="subjectRegex"),
        pytest.param(Identity(issuer=ISSUER, subject_regex=r"^https://github\.com/acme/api/.*$"), id="with anchors"),
        pytest.param(replace(EXACT, extensions=(("buildTrigger", "push"),)), id="extension"),
        pytest.param(replace(EXACT, extensions=(("githubWorkflowRef", "refs/heads/main"),)), id="old extension"),
        pytest.param(Identity(unsafe_issuer_regex=".*", unsafe_subject_regex=".*"), id="unsafe"),
        pytest.param(Identity(unsafe_issuer_regex=".*", unsafe_subject_glob="**"), id="unsafe glob"),
    ],
)
def test_what_is_as_wanted_has_no_mismatch(identity: Identity) -> None:
    assert identity.mismatch(CLAIMS) == ""


def test_any_name_of_the_certificate_may_be_the_subject() -> None:
    claims = replace(CLAIMS, subjects=(("email", "a@example.com"), ("uri", SUBJECT), ("dns", "x.example.com")))
    assert EXACT.mismatch(claims) == ""
    assert replace(EXACT, subject="x.example.com").mismatch(claims) == ""
    assert replace(EXACT, subject="y.example.com").mismatch(claims)


def test_issuer_of_one_and_subject_of_another_is_neither() -> None:
    one = Identity(issuer="https://accounts.example.com", subject="a@example.com")
    claims = Claims("https://accounts.example.com", (("uri", SUBJECT),))
    assert one.mismatch(claims)
    assert EXACT.mismatch(claims)


@pytest.mark.parametrize("spoiled", ["\n", "\0", "\x7f", "\u202e", "\u200b", "\ud800"])
def test_what_cannot_be_seen_never_matches(spoiled: str) -> None:
    anybody = Identity(unsafe_issuer_regex=r"[\s\S]*", unsafe_subject_regex=r"[\s\S]*")
    assert anybody.mismatch(CLAIMS) == ""
    assert anybody.mismatch(replace(CLAIMS, issuer=ISSUER + spoiled))
    assert anybody.mismatch(replace(CLAIMS, subjects=(("uri", SUBJECT + spoiled),)))


def test_empty_and_endless_text_never_matches() -> None:
    anybody = Identity(unsafe_issuer_regex=".*", unsafe_subject_regex=".*")
    for issuer, subject in (("", SUBJECT), (ISSUER, ""), (ISSUER, "x" * 2049), ("x" * 2049, SUBJECT)):
        assert anybody.mismatch(Claims(issuer, (("uri", subject),)))
    assert anybody.mismatch(Claims(ISSUER, (("uri", "x" * 2048),))) == ""


@pytest.mark.parametrize("hidden", ["https://evil.example?x=", "https://evil.example#", "https://evil.example\\"])
def test_no_host_hides_before_the_one_that_a_pattern_names(hidden: str) -> None:
    identity = Identity(issuer_regex=r"https://[^/]*\.example\.com", subject=SUBJECT)
    assert identity.mismatch(replace(CLAIMS, issuer="https://oidc.example.com")) == ""
    assert identity.mismatch(replace(CLAIMS, issuer=f"{hidden}.example.com"))


@pytest.mark.parametrize(
    ("identity", "claims", "said"),
    [
        pytest.param(
            EXACT,
            replace(CLAIMS, issuer="https://evil.example"),
            f"the issuer is 'https://evil.example', wanted '{ISSUER}'",
            id="issuer",
        ),
        pytest.param(
            Identity(issuer=ISSUER, subject_glob="https://github.com/acme/web/**"),
            replace(CLAIMS, subjects=(("email", "a@b.example"), ("email", "c@d.example"))),
            "the subject is 'a@b.example', 'c@d.example', wanted subjectGlob 'https://github.com/acme/web/**'",
            id="subjects",
        ),
        pytest.param(
            EXACT,
            replace(CLAIMS, subjects=tuple(("dns", f"{n}.example") for n in range(9))),
            f"the subject is '0.example', '1.example', '2.example' and 6 more, wanted '{SUBJECT}'",
            id="many subjects",
        ),
        pytest.param(
            EXACT, replace(CLAIMS, subjects=()), f"the certificate names no subject, wanted '{SUBJECT}'", id="none"
        ),
        pytest.param(
            replace(EXACT, extensions=(("buildTrigger", "release"),)),
            CLAIMS,
            "buildTrigger is 'push', wanted 'release'",
            id="extension",
        ),
        pytest.param(
            replace(EXACT, extensions=(("deploymentEnvironment", "prod"),)),
            CLAIMS,
            "the certificate has no deploymentEnvironment, wanted 'prod'",
            id="no extension",
        ),
        pytest.param(
            EXACT,
            replace(CLAIMS, issuer="evil\x1b[2J\u202e"),
            rf"the issuer is 'evil\x1b[2J\u202e', wanted '{ISSUER}'",
            id="escaped",
        ),
    ],
)
def test_a_mismatch_is_told_with_what_was_found_and_wanted(identity: Identity, claims: Claims, said: str) -> None:
    assert identity.mismatch(claims) == said


MISSING_ISSUER = "required, and missing: issuer or issuerRegex; without it the subject says nothing"
MISSING_SUBJECT = "required, and missing: subject, subjectGlob or subjectRegex; without it the issuer says nothing"
PLAIN = "at most 2048 printable characters without spaces around them expected, found "
EVERYTHING = "matches everything; if that is meant, name it unsafe"

REFUSED: dict[str, tuple[dict[str, object], list[tuple[str, str]]]] = {
    "subject without issuer": ({"subject": SUBJECT}, [("issuer", MISSING_ISSUER)]),
    "issuer without subject": ({"issuer": ISSUER}, [("subject", MISSING_SUBJECT)]),
    "nothing": ({}, [("issuer", MISSING_ISSUER), ("subject", MISSING_SUBJECT)]),
    "empty text": (
        {"issuer": "", "subject": ""},
        [("issuer", "text expected, found empty text"), ("subject", "text expected, found empty text")],
    ),
    "empty patterns": (
        {"issuer_regex": "", "subject_regex": ""},
        [
            ("issuerRegex", "a regular expression expected, found empty text"),
            ("subjectRegex", "a regular expression expected, found empty text"),
        ],
    ),
    "empty glob": ({"issuer": ISSUER, "subject_glob": ""}, [("subjectGlob", "a glob expected, found empty text")]),
    "two issuers": (
        {"issuer": ISSUER, "issuer_regex": "x", "subject": SUBJECT},
        [("issuerRegex", "exactly one of issuer and issuerRegex expected")],
    ),
    "three subjects": (
        {"issuer": ISSUER, "subject": SUBJECT, "subject_glob": "x", "unsafe_subject_regex": "x"},
        [
            ("subjectGlob", "exactly one of subject and subjectGlob and unsafeSubjectRegex expected"),
            ("unsafeSubjectRegex", "exactly one of subject and subjectGlob and unsafeSubjectRegex expected"),
        ],
    ),
    "everything": (
        {"issuer_regex": ".*", "subject_regex": ".*"},
        [("issuerRegex", EVERYTHING + "IssuerRegex"), ("subjectRegex", EVERYTHING + "SubjectRegex")],
    ),
    "everything by a glob": (
        {"issuer": ISSUER, "subject_glob": "**"},
        [("subjectGlob", EVERYTHING + "SubjectGlob")],
    ),
    "a glob in exact text": (
        {"issuer": "https://*.example.com", "subject": "https://github.com/acme/*"},
        [
            ("issuer", "the exact text expected, in which a * stands for itself; for a pattern use issuerRegex"),
            (
                "subject",
                (
                    "the exact text expected, in which a * stands for itself; "
                    "for a pattern use subjectGlob or subjectRegex"
                ),
            ),
        ],
    ),
    "a line end": ({"issuer": ISSUER, "subject": "a\n"}, [("subject", PLAIN + r"'a\n'")]),
    "a space behind": ({"issuer": f"{ISSUER} ", "subject": "a"}, [("issuer", PLAIN + f"'{ISSUER} '")]),
    "too long": ({"issuer": ISSUER, "subject": "a" * 2049}, [("subject", PLAIN + f"'{'a' * 60}'...")]),
    "unknown extension": (
        {"issuer": ISSUER, "subject": SUBJECT, "extensions": (("sourceRepositoryUri", "x"),)},
        [("extensions.sourceRepositoryUri", "no extension of Fulcio's; did you mean sourceRepositoryURI?")],
    ),
    "the issuer is no extension": (
        {"issuer": ISSUER, "subject": SUBJECT, "extensions": (("issuer", "x"),)},
        [("extensions.issuer", f"no extension of Fulcio's; known are {', '.join(EXTENSIONS)}")],
    ),
    "empty extension": (
        {"issuer": ISSUER, "subject": SUBJECT, "extensions": (("buildTrigger", ""),)},
        [("extensions.buildTrigger", "text expected, found empty text")],
    ),
    "extension twice": (
        {"issuer": ISSUER, "subject": SUBJECT, "extensions": (("buildTrigger", "a"), ("buildTrigger", "b"))},
        [("extensions.buildTrigger", "stands twice"), ("extensions.buildTrigger", "stands twice")],
    ),
}


@pytest.mark.parametrize(("fields", "problems"), REFUSED.values(), ids=REFUSED)
def test_an_identity_that_says_too_little_is_refused(
    fields: dict[str, object], problems: list[tuple[str, str]]
) -> None:
    with pytest.raises(IdentityError) as caught:
        Identity(**fields)  # type: ignore[arg-type]
    assert list(caught.value.problems) == problems
    assert isinstance(caught.value, MalformedError)
    assert caught.value.code is Code.MALFORMED


def test_a_rule_reads_as_itself_and_as_no_other() -> None:
    rules = [
        EXACT,
        replace(EXACT, subject=f"{SUBJECT}', issuer 'x"),
        Identity(issuer=ISSUER, subject_glob=SUBJECT),
        Identity(issuer=ISSUER, subject_regex=SUBJECT),
        Identity(issuer=ISSUER, unsafe_subject_regex=SUBJECT),
        Identity(issuer_regex=ISSUER, subject=SUBJECT),
        replace(EXACT, extensions=(("buildTrigger", "push"),)),
        replace(EXACT, extensions=(("buildTrigger", "push', x 'y"),)),
    ]
    assert len({str(rule) for rule in rules}) == len(rules)
    assert str(EXACT) == f"subject '{SUBJECT}', issuer '{ISSUER}'"


TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12)
PLAIN_TEXT = TEXT.filter(lambda text: "*" not in text)


@given(st.lists(st.tuples(PLAIN_TEXT, PLAIN_TEXT), min_size=2, max_size=2, unique=True))
def test_two_rules_read_the_same_only_if_they_are(pairs: list[tuple[str, str]]) -> None:
    one, other = (Identity(issuer=issuer, subject=subject) for issuer, subject in pairs)
    assert str(one) != str(other)
    assert one != other


@given(PLAIN_TEXT, PLAIN_TEXT, PLAIN_TEXT, PLAIN_TEXT)
def test_exact_text_matches_itself_alone(issuer: str, subject: str, other_issuer: str, other_subject: str) -> None:
    mismatch = Identity(issuer=issuer, subject=subject).mismatch(Claims(other_issuer, (("uri", other_subject),)))
    assert (mismatch == "") == ((issuer, subject) == (other_issuer, other_subject))


def test_the_order_of_extensions_says_nothing() -> None:
    one = replace(EXACT, extensions=(("buildTrigger", "push"), ("buildConfigURI", "x")))
    other = replace(EXACT, extensions=(("buildConfigURI", "x"), ("buildTrigger", "push")))
    assert (one, str(one), hash(one)) == (other, str(other), hash(other))


def test_extensions_have_the_names_and_numbers_of_fulcio() -> None:
    assert sorted(EXTENSIONS.values()) == [*range(2, 7), *range(9, 25)]
    assert (EXTENSIONS["buildSignerURI"], EXTENSIONS["sourceRepositoryRef"], EXTENSIONS["tokenSubject"]) == (9, 14, 24)


def test_cheap() -> None:
    identity = Identity(
        issuer_regex=r"https://[a-z0-9-]+\.example\.com",
        subject_regex=r"https://github\.com/acme/api/\.github/workflows/[^/]+@refs/tags/v[0-9.]+",
    )
    claims = Claims("https://ci.example.com", (("uri", SUBJECT),))
    best = min(timeit.repeat(lambda: identity.mismatch(claims), number=200, repeat=5)) / 200
    assert best < 0.0002  # some 10 microseconds
