"""Trust policy documents of Notation are read as the specification has it, and nothing but a valid one is taken."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.migration.deciding import ROOT
from tests.notation.aws_like import NOW
from webhook.errors import MalformedError
from webhook.migration import notation, statements
from webhook.migration.draft import render
from webhook.migration.notation import Statement
from webhook.oci import reference
from webhook.policy import document, select
from webhook.policy.model import PolicySet
from webhook.trust.notary import subject
from webhook.trust.notary.levels import Action, Check, Level, VerifyTimestamp
from webhook.trust.notary.stores import StoreKind

VECTORS = Path(__file__).parents[1] / "vectors" / "notation"
CASES: list[dict[str, Any]] = json.loads((VECTORS / "index.json").read_text())["cases"]
Raw = dict[str, Any]


def of_kind(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(one, id=one["id"]) for one in CASES if one["kind"] == kind])


def valid(**fields: Any) -> Raw:
    statement = {
        "name": "one",
        "registryScopes": ["registry.example.com/app"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:acme"],
        "trustedIdentities": ["x509.subject: C=US, ST=WA, O=Acme"],
    }
    return {"version": "1.0", "trustPolicies": [statement | fields]}


def parse(raw: object) -> notation.Document:
    return notation.parse(json.dumps(raw).encode())


def one(raw: object) -> Statement:
    (statement,) = parse(raw).statements
    return statement


def accepts(check: Callable[[], object]) -> str:
    try:
        check()
    except MalformedError:
        return "reject"
    return "accept"


# --- vectors


@of_kind("trust-policy")
def test_vectors_of_documents_agree(case: Raw) -> None:
    data = (VECTORS / case["file"]).read_bytes()
    assert accepts(lambda: notation.parse(data)) == case["expect"]["result"]


@of_kind("registry-scope")
def test_vectors_of_scopes_agree(case: Raw) -> None:
    assert accepts(lambda: parse(valid(registryScopes=[case["scope"]]))) == case["expect"]["result"]


@of_kind("dn")
def test_vectors_of_names_agree(case: Raw) -> None:
    identity = f"x509.subject:{case['dn']}"
    assert accepts(lambda: parse(valid(trustedIdentities=[identity]))) == case["expect"]["result"]


@of_kind("dn-subset")
def test_vectors_of_subsets_agree(case: Raw) -> None:
    rule, certificate = (
        subject.parse(", ".join(f"{kind}={value}" for kind, value in case[field].items()))
        for field in ("identity", "subject")
    )
    assert rule.matches(certificate) is (case["expect"]["result"] == "accept")


@of_kind("policy-select")
def test_vectors_of_selection_agree_with_the_rule_that_decides(case: Raw) -> None:
    read = parse(case["policy"])
    held = {name: ROOT.store("t", StoreKind.CA) for name in statements.wanted_stores(read)}
    content = render(statements.convert(read, held, origin="trustpolicy.json"))
    policies = PolicySet(document.parse(content, origin="p", now=NOW), "", "")
    wanted = reference.parse(case["repository"])
    (selection,) = select.select(policies, reference=wanted, digest=None, namespace="shop", now=NOW)
    assert selection.rule is not None
    chosen = [signer.name for signer in selection.rule.signers]
    assert chosen == [case["expect"].get("name", "no-statement-applies")]


# --- what is read


def test_a_statement_is_read_whole() -> None:
    verification = {"level": "permissive", "override": {"revocation": "skip"}, "verifyTimestamp": "afterCertExpiry"}
    statement = one(
        valid(
            signatureVerification=verification,
            trustStores=["ca:acme", "tsa:clock", "signingAuthority:aws", "ca:acme"],
            trustedIdentities=["x509.subject: C=US, ST=WA, O=Acme", "arn:aws:signer:x", "other:thing"],
        )
    )
    assert statement.level is Level.PERMISSIVE
    assert statement.override == {Check.REVOCATION: Action.SKIP}
    assert statement.verify_timestamp is VerifyTimestamp.AFTER_CERT_EXPIRY
    assert [str(store) for store in statement.stores] == ["ca:acme", "tsa:clock", "signingAuthority:aws"]
    assert [text for text, _ in statement.identities.subjects] == ["C=US, ST=WA, O=Acme"]
    assert statement.identities.plugins == ("arn:aws:signer:x", "other:thing")


def test_what_the_format_does_not_have_is_passed_over_and_told() -> None:
    raw = valid(comment="x") | {"$schema": "y"}
    raw["trustPolicies"][0]["signatureVerification"]["note"] = 1
    assert set(parse(raw).unknown) == {
        "$schema",
        "trustPolicies[0].comment",
        "trustPolicies[0].signatureVerification.note",
    }


# --- what is refused


def level(name: str, **more: Any) -> Raw:
    return {"signatureVerification": {"level": name, **more}}


SKIP: Raw = {"trustStores": [], "trustedIdentities": []}
BAD: Mapping[str, tuple[Raw, str]] = {
    "no-name": (valid(name=""), "trustPolicies[0].name: 1 to 200 characters expected"),
    "name-type": (valid(name=1), "trustPolicies[0].name: a string expected"),
    "no-scope": (valid(registryScopes=[]), "registryScopes: one repository at least expected"),
    "scope-and-star": (valid(registryScopes=["*", "registry.example.com/app"]), "registryScopes[0]: HOST"),
    "scope-line-end": (valid(registryScopes=["registry.example.com/app\n"]), "registryScopes[0]: HOST"),
    "scope-upper-path": (valid(registryScopes=["registry.example.com/App"]), "HOST"),
    "scope-scheme": (valid(registryScopes=["https://registry.example.com/app"]), "HOST"),
    "scope-digest": (valid(registryScopes=["registry.example.com/app@sha256:" + "a" * 64]), "HOST"),
    "scope-twice": (valid(registryScopes=["a.b/c", "a.b/c"]), "each scope once expected"),
    "scope-long": (valid(registryScopes=["a.b/" + "c" * 600]), "HOST"),
    "level-case": (valid(**level("Strict")), "signatureVerification.level: one of strict, permissive, audit, skip"),
    "no-level": (valid(signatureVerification={}), "level: one of"),
    "no-verification": (valid(signatureVerification=None), "signatureVerification: an object expected"),
    "timestamp": (valid(**level("strict", verifyTimestamp="never")), "verifyTimestamp: one of always, afterCertExpiry"),
    "override-integrity": (valid(**level("strict", override={"integrity": "log"})), "override: one of authenticity"),
    "override-skip": (valid(**level("strict", override={"expiry": "skip"})), "override.expiry: one of enforce, log"),
    "override-word": (valid(**level("strict", override={"expiry": "warn"})), "override.expiry: one of enforce, log"),
    "override-type": (valid(**level("strict", override=["expiry"])), "override: an object expected"),
    "no-stores": (valid(trustStores=[]), "trustStores: one entry at least"),
    "store-type": (valid(trustStores=["CA:acme"]), "trustStores[0]: TYPE:NAME expected"),
    "store-path": (valid(trustStores=["ca:../../etc"]), "trustStores[0]: TYPE:NAME expected"),
    "store-dots": (valid(trustStores=["ca:.."]), "trustStores[0]: TYPE:NAME expected"),
    "store-empty": (valid(trustStores=["ca:"]), "trustStores[0]: TYPE:NAME expected"),
    "no-identities": (valid(trustedIdentities=[]), "trustedIdentities: one entry at least"),
    "identity-empty": (valid(trustedIdentities=[""]), "trustedIdentities[0]: PREFIX:VALUE expected"),
    "identity-no-value": (valid(trustedIdentities=["x509.subject:"]), "trustedIdentities[0]: PREFIX:VALUE expected"),
    "star-and-more": (valid(trustedIdentities=["*", "x509.subject: C=US, ST=WA, O=A"]), "'*' alone expected"),
    "overlap": (
        valid(trustedIdentities=["x509.subject: C=US, ST=WA, O=A", "x509.subject: O=A, C=US, ST=WA, CN=x"]),
        "identities that do not overlap expected",
    ),
    "subject-without-o": (valid(trustedIdentities=["x509.subject: C=US, ST=WA"]), "trustedIdentities[0]: C, ST and O"),
    "skip-stores": (valid(**SKIP | level("skip") | {"trustStores": ["ca:acme"]}), "trustStores: nothing expected"),
    "skip-identities": (valid(**SKIP | level("skip") | {"trustedIdentities": ["*"]}), "trustedIdentities: nothing"),
    "skip-override": (
        valid(**SKIP | level("skip", override={"expiry": "log"})),
        "signatureVerification.override: nothing expected",
    ),
    "skip-everything": (valid(**SKIP | level("skip") | {"registryScopes": ["*"]}), "would admit everything"),
    "another-case": (valid(registryscopes=["*"]), "registryScopes: spelt so expected, found 'registryscopes'"),
    "another-case-inside": (
        valid(**level("permissive", Override={"expiry": "enforce"})),
        "override: spelt so expected",
    ),
}


@pytest.mark.parametrize(("raw", "said"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_refused_with_its_place(raw: Raw, said: str) -> None:
    parse(valid())
    with pytest.raises(MalformedError) as caught:
        parse(raw)
    assert said in caught.value.detail


DOCUMENTS: Mapping[str, tuple[Any, str]] = {
    "version": (valid() | {"version": "1.1"}, "version: '1.0' expected, found '1.1'"),
    "version-number": (valid() | {"version": 1.0}, "version: '1.0' expected, found a number"),
    "no-statements": (valid() | {"trustPolicies": []}, "trustPolicies: one statement at least"),
    "names": ({"version": "1.0", "trustPolicies": valid()["trustPolicies"] * 2}, "a name of its own expected"),
    "many": ({"version": "1.0", "trustPolicies": valid()["trustPolicies"] * 501}, "at most 500"),
    "array": ([valid()], "an object expected"),
}


@pytest.mark.parametrize(("raw", "said"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_documents_of_another_form_are_refused(raw: Any, said: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(raw)
    assert said in caught.value.detail


def test_a_name_that_stands_twice_is_refused() -> None:
    text = json.dumps(valid()).replace('"level": "strict"', '"level": "strict", "level": "audit"')
    with pytest.raises(MalformedError, match="stands twice"):
        notation.parse(text.encode())


# --- any input


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_our_own_error(data: bytes) -> None:
    with pytest.raises(MalformedError):
        notation.parse(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["*", "ca:acme", "strict"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(["name", "registryScopes", "signatureVerification", "trustStores", "trustedIdentities"])


@given(PLACES, VALUES)
def test_any_value_anywhere_is_read_or_refused(place: str, value: Any) -> None:
    with contextlib.suppress(MalformedError):
        parse(valid(**{place: value}))


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=255))
def test_a_changed_byte_is_read_or_refused(position: int, byte: int) -> None:
    data = bytearray(json.dumps(copy.deepcopy(valid())).encode())
    data[position % len(data)] = byte
    with contextlib.suppress(MalformedError):
        notation.parse(bytes(data))
