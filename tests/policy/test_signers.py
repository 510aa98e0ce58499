"""Keys and identities of a policy: each field is taken, or refused where it stands."""

from __future__ import annotations

import json

import pytest

from tests.policy.documents import (
    ISSUER,
    KEY_A,
    KEY_B,
    KEYLESS,
    KEYS,
    WORKFLOW,
    head,
    identity,
    key,
    parse_one,
    policy,
    refused,
)
from webhook.errors import quote
from webhook.evidence.model import SignerKind
from webhook.policy.syntax.models import MAX_KEYLESS
from webhook.trust import mirror
from webhook.trust.identity import EXTENSIONS, Claims, Identity
from webhook.trust.root import PUBLIC_GOOD

CLAIMS = Claims(ISSUER, (("uri", WORKFLOW),), {"buildTrigger": "push"})
ROOTS = "  trustRoots: [{name: own, file: own.json}]\n"


def keyless(**fields: object) -> str:
    """One identity in one line, with `#!` behind it: a field's name, and its text as it is."""
    given = {"name": "ci", "issuer": ISSUER, "subject": WORKFLOW, **fields}
    return f"  keyless: [{json.dumps({name: value for name, value in given.items() if value is not None})}] #!\n"


def test_a_policy_of_identities_alone_is_whole() -> None:
    parsed = parse_one(policy(more=KEYLESS))
    (signer,) = parsed.signers
    assert (signer.name, signer.kind, signer.trust_root, signer.require_log) == (
        "ci", SignerKind.KEYLESS, PUBLIC_GOOD, False,
    )  # fmt: skip
    assert signer.material == Identity(issuer=ISSUER, subject=WORKFLOW)
    assert parsed.default is not None
    assert (parsed.default.signers, parsed.default.needed) == ((signer,), 1)


def test_keys_come_before_identities_wherever_they_stand() -> None:
    parsed = parse_one(head() + KEYLESS + KEYS)
    assert [signer.name for signer in parsed.signers] == ["release", "pipeline", "ci"]


FIELDS: dict[str, dict[str, object]] = {
    "issuer": {"issuer": "https://oidc.example.com"},
    "issuerRegex": {"issuer": None, "issuerRegex": r"https://oidc\.example\.com"},
    "subject": {"subject": "a@example.com"},
    "subjectGlob": {"subject": None, "subjectGlob": "https://github.com/acme/web/**"},
    "subjectRegex": {"subject": None, "subjectRegex": r"https://github\.com/acme/web/.*"},
    "unsafeIssuerRegex": {"issuer": None, "unsafeIssuerRegex": r".*example\.com"},
    "unsafeSubjectGlob": {"subject": None, "unsafeSubjectGlob": "**/web/**"},
    "unsafeSubjectRegex": {"subject": None, "unsafeSubjectRegex": ".*/web/.*"},
    "extensions": {"extensions": {"buildTrigger": "release"}},
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_each_field_alone_can_deny(fields: dict[str, object]) -> None:
    (plain,) = parse_one(head() + keyless()).signers
    (signer,) = parse_one(head() + keyless(**fields)).signers
    assert isinstance(plain.material, Identity)
    assert isinstance(signer.material, Identity)
    assert plain.material.mismatch(CLAIMS) == ""
    assert signer.material.mismatch(CLAIMS)
    assert signer.identity != plain.identity


@pytest.mark.parametrize("name", EXTENSIONS)
def test_each_extension_is_taken_by_its_name(name: str) -> None:
    (signer,) = parse_one(head() + keyless(extensions={name: "wanted"})).signers
    assert isinstance(signer.material, Identity)
    assert signer.material.mismatch(Claims(ISSUER, CLAIMS.subjects, {name: "wanted"})) == ""
    assert signer.material.mismatch(Claims(ISSUER, CLAIMS.subjects, {name: "other"}))
    assert signer.material.mismatch(CLAIMS)


def test_a_key_may_name_a_root_and_demand_its_log() -> None:
    more = "      requireLog: true\n      trustRoot: own\n"
    first, second = parse_one(head() + "  trustedKeys:\n" + key("a", KEY_A) + key("b", KEY_B) + more + ROOTS).signers
    assert (first.trust_root, first.require_log) == (PUBLIC_GOOD, False)
    assert second.trust_root is not None
    assert (second.trust_root.name, second.trust_root.key, second.require_log) == ("own", "file own.json", True)


def test_one_identity_under_two_roots_is_two_signers() -> None:
    more = KEYLESS + identity("own", "      trustRoot: own\n") + ROOTS
    public, own = parse_one(head() + more).signers
    assert (public.material, public.trust_root) == (own.material, PUBLIC_GOOD)
    assert public.known_as != own.known_as


def test_a_rule_may_name_an_identity() -> None:
    parsed = parse_one(policy() + KEYLESS + "  rules: [{images: [a.io], require: all, signers: [ci, release]}]\n")
    assert [signer.name for signer in parsed.rules[0].signers] == ["ci", "release"]
    assert parsed.rules[0].needed == 2


FLAGS = "flags and names of groups are not taken: text is compared as it is, and upper case counts"
EMPTY = "text expected, found ''"
UNSAFE = "; if that is meant, name it unsafe"
BEGIN = r"leaves the beginning open: write out the host of a URL, and for e-mail [^@/]+@example\.com"
OWNER = "leaves the owner open: write out the first segment of the path, up to the slash behind it"
HOST = r"leaves the host open: write out its last two labels, as in https://[a-z0-9-]+\.example\.com"
MISSING = {
    "issuer": "required, and missing: issuer or issuerRegex; without it the subject says nothing",
    "subject": "required, and missing: subject, subjectGlob or subjectRegex; without it the issuer says nothing",
}

REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "no list": ("  keyless: [] #!\n", [
        ("spec.keyless", "an empty list says nothing: leave the field out, or name at least one"),
    ]),
    "unknown field": (keyless(subjectRegExp=".*"), [
        ("spec.keyless[0].subjectRegExp", "unknown field; did you mean subjectRegex?"),
    ]),
    "no name": (keyless(name=None), [
        ("spec.keyless[0].name", "required, and missing: the signer's name, for rules and messages"),
    ]),
    "subject without issuer": (keyless(issuer=None), [("spec.keyless[0].issuer", MISSING["issuer"])]),
    "issuer without subject": (keyless(subject=None), [("spec.keyless[0].subject", MISSING["subject"])]),
    "neither": (keyless(issuer=None, subject=None), [
        ("spec.keyless[0].issuer", MISSING["issuer"]), ("spec.keyless[0].subject", MISSING["subject"]),
    ]),
    "empty issuer": (keyless(issuer=""), [("spec.keyless[0].issuer", EMPTY)]),
    "empty pattern": (keyless(subject=None, subjectRegex=""), [("spec.keyless[0].subjectRegex", EMPTY)]),
    "empty glob": (keyless(subject=None, subjectGlob=""), [("spec.keyless[0].subjectGlob", EMPTY)]),
    "empty extensions": (keyless(extensions={}), [
        ("spec.keyless[0].extensions", "an empty mapping says nothing: leave the field out, or name at least one"),
    ]),
    "empty extension": (keyless(extensions={"buildTrigger": ""}), [
        ("spec.keyless[0].extensions.buildTrigger", EMPTY),
    ]),
    "extension by a number": (keyless(extensions={"sourceRepositoryIdentifier": 4711}), [
        (
            "spec.keyless[0].extensions.sourceRepositoryIdentifier",
            "text expected, found the number 4711; put it in quotes",
        ),
    ]),
    "unknown extension": (keyless(extensions={"buildtrigger": "push"}), [
        ("spec.keyless[0].extensions.buildtrigger", "no extension of Fulcio's; did you mean buildTrigger?"),
    ]),
    "extensions as a list": (keyless(extensions=["buildTrigger"]), [
        ("spec.keyless[0].extensions", "a mapping expected, found a list"),
    ]),
    "two issuers": (keyless(issuerRegex="https://a"), [
        ("spec.keyless[0].issuerRegex", "exactly one of issuer and issuerRegex expected"),
    ]),
    "issuer that is no text": (keyless(issuer=5), [
        ("spec.keyless[0].issuer", "text expected, found the number 5; put it in quotes"),
    ]),
    "everything": (keyless(issuer=None, issuerRegex=".*", subject=None, subjectRegex=".*"), [
        ("spec.keyless[0].issuerRegex", f"matches everything{UNSAFE}IssuerRegex"),
        ("spec.keyless[0].subjectRegex", f"matches everything{UNSAFE}SubjectRegex"),
    ]),
    "every subject of an issuer": (keyless(subject=None, subjectRegex=r"https://github\.com/.*"), [
        ("spec.keyless[0].subjectRegex", f"{OWNER}{UNSAFE}SubjectRegex"),
    ]),
    "every subject of an issuer, by a glob": (keyless(subject=None, subjectGlob="https://github.com/**"), [
        ("spec.keyless[0].subjectGlob", f"{OWNER}{UNSAFE}SubjectGlob"),
    ]),
    "open beginning": (keyless(subject=None, subjectRegex=".*/acme/api/.*"), [
        ("spec.keyless[0].subjectRegex", f"{BEGIN}{UNSAFE}SubjectRegex"),
    ]),
    "open host": (keyless(issuer=None, issuerRegex=".*example.com"), [
        ("spec.keyless[0].issuerRegex", f"{HOST}{UNSAFE}IssuerRegex"),
    ]),
    "open end": (keyless(issuer=None, issuerRegex=ISSUER + ".*"), [
        ("spec.keyless[0].issuerRegex", f"{HOST}{UNSAFE}IssuerRegex"),
    ]),
    "no regular expression": (keyless(subject=None, subjectRegex="(a"), [
        ("spec.keyless[0].subjectRegex", "no regular expression of RE2: 'missing ): (a'"),
    ]),
    "unsafe and no regular expression": (keyless(subject=None, unsafeSubjectRegex="(a"), [
        ("spec.keyless[0].unsafeSubjectRegex", "no regular expression of RE2: 'missing ): (a'"),
    ]),
    "flag": (keyless(subject=None, subjectRegex="(?i)a@example.com"), [
        (
            "spec.keyless[0].subjectRegex",
            f"{FLAGS}, at character 2 of '(?i)a@example.com'",
        ),
    ]),
    "long pattern": (keyless(subject=None, subjectRegex="a" * 513), [
        (
            "spec.keyless[0].subjectRegex",
            f"at most 512 printable characters expected, found {quote('a' * 513, max_chars=60)}",
        ),
    ]),
    "glob in exact text": (keyless(subject="https://github.com/acme/*"), [
        (
            "spec.keyless[0].subject",
            "the exact text expected, in which a * stands for itself; for a pattern use subjectGlob or subjectRegex",
        ),
    ]),
    "no such root": (keyless(trustRoot="own"), [
        ("spec.keyless[0].trustRoot", "no trust root is named own; there are public-good"),
    ]),
    "no such root, of others": (ROOTS + keyless(trustRoot="owm"), [
        ("spec.keyless[0].trustRoot", "no trust root is named owm; there are own, public-good"),
    ]),
    "no such root of a key": (
        "  trustedKeys:\n" + key("a", KEY_A) + "      trustRoot: own #!\n",
        [("spec.trustedKeys[0].trustRoot", "no trust root is named own; there are public-good")],
    ),
    "log demanded by a word": (
        "  trustedKeys:\n" + key("a", KEY_A) + "      requireLog: required #!\n",
        [("spec.trustedKeys[0].requireLog", "true or false expected, found 'required'")],
    ),
    "the same rule twice": (
        KEYLESS + "    - name: again #!\n" + identity("x").split("\n", 1)[1],
        [("spec.keyless[1]", "the same identity as ci in line 8: one identity is one signer")],
    ),
    "the same rule in another order": (
        "  keyless:\n"
        + identity("ci", "      extensions: {buildTrigger: push, buildConfigURI: x}\n")
        + "    - name: again #!\n"
        + identity("x", "      extensions: {buildConfigURI: x, buildTrigger: push}\n").split("\n", 1)[1],
        [("spec.keyless[1]", "the same identity as ci in line 8: one identity is one signer")],
    ),
    "a name of a key": (
        KEYS + "  keyless:\n    - name: release #!\n" + identity("x").split("\n", 1)[1],
        [("spec.keyless[0].name", "a second signer named 'release', first in line 8")],
    ),
    "too many": (
        "  keyless: #!\n" + "".join(identity(f"ci-{n}", subject=f"{n}@example.com") for n in range(MAX_KEYLESS + 1)),
        [("spec.keyless", f"at most {MAX_KEYLESS} expected, found {MAX_KEYLESS + 1}")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), REFUSED.values(), ids=REFUSED)
def test_mistake_is_named_with_its_path_and_line(more: str, expected: list[tuple[str, str]]) -> None:
    assert refused(more) == expected


@pytest.mark.parametrize(
    ("flags", "removed", "wanting"),
    [
        pytest.param({}, "certificateAuthorities", "certificate authority", id="authority"),
        pytest.param({}, "ctlogs", "CT log (requireSct)", id="CT log"),
        pytest.param({"requireSct": False}, "ctlogs", "", id="no SCT"),
        pytest.param({}, "tlogs", "transparency log (requireLog)", id="log"),
        pytest.param({"requireLog": False, "requireTimestamp": True}, "tlogs", "", id="timestamp instead"),
        pytest.param(
            {"requireTimestamp": True},
            "timestampAuthorities",
            "timestamp authority (requireTimestamp)",
            id="timestamp authority",
        ),
        pytest.param({}, "timestampAuthorities", "", id="timestamps that nothing demands"),
    ],
)
def test_a_root_that_lacks_what_it_demands_can_vouch_for_nobody(
    flags: dict[str, object], removed: str, wanting: str
) -> None:
    document = json.loads(mirror.packaged_document())
    del document[removed]
    entry = {"name": "own", "trustedRoot": json.dumps(document), **flags}
    more = f"  trustRoots: [{json.dumps(entry)}]\n" + keyless(trustRoot="own")
    if wanting:
        message = f"can never be met: the trust root own has no {wanting}"
        assert refused(more) == [("spec.keyless[0].trustRoot", message)]
    else:
        assert parse_one(head() + more).signers[0].trust_root is not None


def test_a_log_is_demanded_only_where_there_is_one() -> None:
    document = json.loads(mirror.packaged_document())
    del document["tlogs"]
    root = f"  trustRoots: [{json.dumps({'name': 'own', 'trustedRoot': json.dumps(document)})}]\n"
    keys = "  trustedKeys:\n" + key("a", KEY_A) + "      trustRoot: own\n"
    assert parse_one(head() + root + keys).signers
    assert refused(root + keys + "      requireLog: true #!\n") == [
        ("spec.trustedKeys[0].requireLog", "can never be met: the trust root own has no transparency log")
    ]
