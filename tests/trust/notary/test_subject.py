"""Distinguished names: the rules that can be written, and the subjects that they match."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from tests.notation import aws_like, vectors
from webhook.errors import MalformedError, RejectedError
from webhook.trust.notary import subject
from webhook.trust.notary.subject import MAX_CHARS, Subject

ACME = "C=US,ST=WA,O=Acme"


def told(text: str) -> str:
    try:
        return str(dict(subject.parse(text).pairs))
    except MalformedError as error:
        return error.code.value


def of(certificate: x509.Certificate) -> str:
    try:
        return str(subject.of_certificate(certificate))
    except RejectedError as error:
        return error.code.value


@pytest.mark.parametrize("case", vectors.cases(vectors.NOTATION, "dn"), ids=lambda case: case["id"])
def test_real_names(case: Mapping[str, Any]) -> None:
    accepted = told(case["dn"]) != "malformed"
    assert accepted == (case["expect"]["result"] == "accept")


@pytest.mark.parametrize("case", vectors.cases(vectors.NOTATION, "dn-subset"), ids=lambda case: case["id"])
def test_real_subsets(case: Mapping[str, Any]) -> None:
    rule, found = (Subject(tuple(case[part].items())) for part in ("identity", "subject"))
    assert rule.matches(found) == (case["expect"]["result"] == "accept")


@pytest.mark.parametrize(
    ("text", "organization"),
    [
        ("C=US,ST=WA,O=Acme", "Acme"),
        ("C=US;ST=WA;O=Acme", "Acme"),
        (" C = US , S = WA ; O =  Acme Rockets  ", "Acme Rockets"),
        (r"C=US,ST=WA,O=Acme\, Inc.", "Acme, Inc."),
        (r"C=US,ST=WA,O=\ Acme\ ", " Acme "),
        (r"C=US,ST=WA,O=\41cme", "Acme"),
        (r"C=US,ST=WA,O=M\C3\BCller", "Müller"),
        ("C=US,ST=WA,O=Müller", "Müller"),
        (r"C=US,ST=WA,O=\#1", "#1"),
        ("C=US,ST=WA,O=No#1", "No#1"),
        ("C=US,ST=WA,O=a=b", "a=b"),
        (r"C=US,ST=WA,O=a\\b", r"a\b"),
        (r"C=US,ST=WA,O=\"a\" \<b\> \+ \;", '"a" <b> + ;'),
        (r"C=US,ST=WA,O=a\00b", "a\0b"),
    ],
)  # fmt: skip
def test_what_can_be_written(text: str, organization: str) -> None:
    assert subject.parse(text).pairs == (("C", "US"), ("ST", "WA"), ("O", organization))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "TYPE=value expected"),
        ("C=US,ST=WA", "missing is O"),
        ("O=Acme", "missing is C, ST"),
        ("C=US,ST=WA,O=", "TYPE=value"),
        ("C=US,ST=WA,O= ", "TYPE=value"),
        (f"{ACME},", "TYPE=value"),
        (f",{ACME}", "TYPE=value"),
        (f"{ACME},,CN=a", "TYPE=value"),
        (f"{ACME},=a", "TYPE=value"),
        (f"{ACME},CN", "TYPE=value"),
        (f"{ACME},CN=a+OU=b", "several attributes in one RDN"),
        (f"{ACME},CN=#0401", "hexadecimal"),
        (f"{ACME},CN= #0401", "hexadecimal"),
        (f"{ACME},O=Other", "O stands twice"),
        (f"{ACME},S=WA", "ST stands twice"),
        (f"{ACME},DC=example", "no attribute type that is looked at"),
        (f"{ACME},2.5.4.3=a", "no attribute type that is looked at"),
        ("c=US,ST=WA,O=Acme", "no attribute type that is looked at"),
        (f'{ACME},CN="a"', "with a backslash"),
        (f"{ACME},CN=a<b", "with a backslash"),
        (f"{ACME},CN=a\0b", "TYPE=value"),
        (f"{ACME},CN=a\\", "with a backslash"),
        (f"{ACME},CN=\\a", "with a backslash"),
        (f"{ACME},CN=\\4", "with a backslash"),
        (f"{ACME},CN=\\C3", "not UTF-8"),
        (f"{ACME},CN=\\ED\\A0\\80", "not UTF-8"),
        (f"{ACME},CN=\ud800", "not UTF-8"),
    ],
)  # fmt: skip
def test_what_cannot(text: str, problem: str) -> None:
    with pytest.raises(MalformedError, match=problem) as caught:
        subject.parse(text)
    assert caught.value.code == "malformed"


def test_the_longest() -> None:
    longest = f"{ACME},CN=".ljust(MAX_CHARS, "x")
    assert subject.parse(longest).pairs[-1] == ("CN", "x" * (MAX_CHARS - len(ACME) - 4))
    assert told(f"{longest}x") == "limit_exceeded"


KINDS = st.sampled_from(["L", "OU", "CN", "STREET", "SERIALNUMBER", "POSTALCODE"])
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.dictionaries(KINDS, VALUES), VALUES)
def test_what_is_shown_is_read_again(others: Mapping[str, str], organization: str) -> None:
    rule = Subject((("C", "US"), ("ST", "WA"), ("O", organization), *others.items()))
    assert subject.parse(str(rule)) == rule


@given(st.text(st.sampled_from('CSTO=US,; \\"#+<>\0a4\ud800é')) | st.text())
def test_any_text(text: str) -> None:
    with contextlib.suppress(MalformedError):
        assert {"C", "ST", "O"} <= dict(subject.parse(text).pairs).keys()


def test_blanks_without_end_are_read_in_no_time() -> None:
    assert told("C=" + " " * (MAX_CHARS - 3) + '"') == "malformed"


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (ACME, True),
        ("C=US,ST=WA,O=Acme,CN=Release", True),
        ("C=US,ST=WA,O=Acme,CN=release", False),
        ("C=US,ST=WA,O=Acme,CN=Releas", False),
        ("C=US,ST=WA,O=Acme,CN=Release ", True),
        ("C=US,ST=WA,O=Acme,CN=Release\\ ", False),
        ("C=US,ST=WA,O=Acme,L=Seattle", False),
        ("C=US,ST=OR,O=Acme", False),
    ],
)
def test_a_rule_is_part_of_the_subject(rule: str, matches: bool) -> None:
    leaf = aws_like.issue("C=US,ST=WA,O=Acme,OU=Build,CN=Release").certificate
    assert subject.parse(rule).matches(subject.of_certificate(leaf)) is matches


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (aws_like.name("CN=x,O=Acme,ST=WA,C=US"), "CN=x, O=Acme, ST=WA, C=US"),
        (aws_like.name("C=US,ST=WA,O=Acme,O=Other"), "identity_mismatch"),
        (aws_like.name("C=US,ST=WA,CN=x"), "identity_mismatch"),
        (aws_like.name("C=US,ST=WA,O=Acme,DC=example"), "identity_mismatch"),
        (x509.Name([]), "identity_mismatch"),
    ],
    ids=["plain", "twice", "no-organization", "unknown", "empty"],
)
def test_subjects_that_can_be_told(name: x509.Name, expected: str) -> None:
    assert of(aws_like.issue(name).certificate) == expected


def test_a_subject_that_cannot_be_read() -> None:
    assert of(aws_like.unreadable().certificate) == "identity_mismatch"


def test_an_rdn_of_several_attributes() -> None:
    """Even where all that is required stands beside it."""
    alone = list(aws_like.name("C=US,ST=WA,O=Acme").rdns)
    others = aws_like.name("OU=Build,CN=Release")
    plain, joined = [*alone, *others.rdns], [*alone, x509.RelativeDistinguishedName(others)]
    assert of(aws_like.issue(x509.Name(plain)).certificate) == "C=US, ST=WA, O=Acme, OU=Build, CN=Release"
    assert of(aws_like.issue(x509.Name(joined)).certificate) == "identity_mismatch"


@pytest.mark.parametrize(
    ("rules", "overlapping"),
    [
        ([], False),
        ([ACME], False),
        ([ACME, "C=US,ST=WA,O=Other"], False),
        (["C=US,ST=WA,O=Acme,CN=a", "C=US,ST=WA,O=Acme,CN=b"], False),
        ([ACME, "C=US,ST=WA,O=Acme,CN=a"], True),
        (["C=US,ST=WA,O=Acme,CN=a", ACME], True),
        ([ACME, "O=Acme,S=WA,C=US"], True),
    ],
)
def test_rules_that_overlap(rules: list[str], overlapping: bool) -> None:
    found = subject.overlap([subject.parse(rule) for rule in rules])
    assert (found is not None) is overlapping
    assert found is None or found[0].matches(found[1])
