"""Rules of a policy and the attestations that they demand: each field is taken, or refused where it stands."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.policy.documents import KEYLESS, KEYS, head, parse_one, policy, refused
from webhook.evidence.model import SIGN_PREDICATE
from webhook.policy.model import PREDICATE_TYPES, AttestationDemand, OnUnavailable, Pick, Rule

SLSA = "https://slsa.dev/provenance/v1"
VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"


def rule(spec: str = "", **fields: object) -> str:
    """A policy of two keys and one rule in one line, with `#!` behind it; `spec` stands before the rules."""
    entry = {"images": ["a.io"], **{_camel(name): value for name, value in fields.items()}}
    return f"{KEYS}{spec}  rules: [{json.dumps(entry)}] #!\n"


def attested(**fields: object) -> str:
    """The same with one demand for an attestation, and no signature."""
    return rule(require="none", attestations=[{"predicateType": SLSA, **{_camel(n): v for n, v in fields.items()}}])


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def one(more: str) -> Rule:
    (parsed,) = parse_one(head() + more).rules
    return parsed


def demand(**fields: object) -> AttestationDemand:
    (parsed,) = one(attested(**fields)).attestations
    return parsed


@pytest.mark.parametrize(
    ("require", "needed"), [("any", 1), ("all", 2), (1, 1), (2, 2)], ids=["any", "all", "one", "two"]
)
def test_require(require: object, needed: int) -> None:
    parsed = one(rule(require=require))
    assert (parsed.needed, [signer.name for signer in parsed.signers]) == (needed, ["release", "pipeline"])


def test_require_none_leaves_the_attestations() -> None:
    parsed = one(attested())
    assert (parsed.needed, parsed.signers, len(parsed.attestations)) == (0, (), 1)


def test_attestations_are_demanded_besides() -> None:
    parsed = one(rule(signers=["release"], attestations=[{"predicateType": "spdx"}, {"predicateType": VULN}]))
    assert (parsed.needed, [signer.name for signer in parsed.signers]) == (1, ["release"])
    assert [(demand.label, demand.predicate_type) for demand in parsed.attestations] == [
        ("rules[0].attestations[0]", "https://spdx.dev/Document"),
        ("rules[0].attestations[1]", VULN),
    ]


def test_an_attestation_by_default_counts_by_any_signer_of_the_policy() -> None:
    parsed = demand()
    assert [signer.name for signer in parsed.signers] == ["release", "pipeline"]
    assert (parsed.condition, parsed.pick, parsed.max_age, parsed.time_field) == (None, Pick.ANY, None, ())


def test_an_attestation_by_whom_it_says() -> None:
    text = policy(more=KEYS + KEYLESS) + (
        f"  rules: [{{images: [a.io], signers: [release], attestations: [{{predicateType: {SLSA}, signers: [ci]}}]}}]\n"
    )
    (parsed,) = parse_one(text).rules
    assert [signer.name for signer in parsed.signers] == ["release"]
    assert [signer.name for signer in parsed.attestations[0].signers] == ["ci"]


@pytest.mark.parametrize(("alias", "uri"), PREDICATE_TYPES.items(), ids=PREDICATE_TYPES)
def test_short_names_of_predicates_are_cosign_s(alias: str, uri: str) -> None:
    assert one(rule(attestations=[{"predicateType": alias}])).attestations[0].predicate_type == uri


def test_no_short_name_stands_for_several_versions() -> None:
    assert PREDICATE_TYPES["slsaprovenance"] == "https://slsa.dev/provenance/v0.2"
    assert PREDICATE_TYPES["slsaprovenance1"] == SLSA


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(days=1)),
        ("90d", timedelta(days=90)),
        ("3650d", timedelta(days=3650)),
    ],
)
def test_ages(text: str, age: timedelta) -> None:
    assert one(rule(max_age=text)).max_age == age
    assert demand(max_age=text).max_age == age


@pytest.mark.parametrize(
    ("fields", "pick"),
    [
        ({}, Pick.ANY),
        ({"max_age": "24h"}, Pick.NEWEST),
        ({"max_age": "24h", "pick": "any"}, Pick.ANY),
        ({"pick": "newest"}, Pick.NEWEST),
        ({"max_age": "24h", "pick": "all"}, Pick.ALL),
    ],
)
def test_the_newest_is_picked_where_there_is_an_age(fields: dict[str, object], pick: Pick) -> None:
    assert demand(**fields).pick is pick


def test_a_time_that_the_attestation_says() -> None:
    parsed = demand(max_age="24h", time_field="predicate.metadata.scanFinishedOn")
    assert parsed.time_field == ("predicate", "metadata", "scanFinishedOn")


def test_a_condition_is_compiled_when_the_policy_loads() -> None:
    parsed = demand(condition="predicate.builder.id == 'https://example.com'")
    assert parsed.condition is not None
    statement = {"predicate": {"builder": {"id": "https://example.com"}}}
    assert parsed.condition.evaluate(statement, {}).holds


def test_annotations_are_demanded_as_they_are() -> None:
    assert one(rule(annotations={"b": "2", "a": "1=1"})).annotations == (("a", "1=1"), ("b", "2"))


def test_the_default_demands_a_signature_and_nothing_else() -> None:
    parsed = parse_one(head() + attested()).default
    assert parsed is not None
    assert (parsed.needed, parsed.annotations, parsed.max_age, parsed.attestations) == (1, (), None, ())


RULE = "spec.rules[0]"
ATTESTATION = f"{RULE}.attestations[0]"
EMPTY_LIST = "an empty list says nothing: leave the field out, or name at least one"
EMPTY_MAPPING = "an empty mapping says nothing: leave the field out, or name at least one"
AN_AGE = "a time such as 30m, 24h or 90d, at most 3650d, expected, found "
A_PATH = "names below the predicate with dots between them, predicate.metadata.scanFinishedOn, expected, found "
A_TYPE = f"a URI, https://slsa.dev/provenance/v1, or one of {', '.join(PREDICATE_TYPES)} expected, found "
NO_SIGNATURE = "is about signatures, and require: none demands none; say it of the attestations"
KNOWN = "  onUnavailable: known\n"
SBOM = [{"predicateType": "spdx"}]


def not_known(fields: str) -> str:
    return f"known remembers signers only, not {fields}: write onUnavailable: deny here"


REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "none without attestations": (
        rule(require="none"),
        [(f"{RULE}.require", "none is for rules with attestations: without any, nothing would be demanded")],
    ),
    "none with signers": (
        rule(require="none", signers=["release"], attestations=SBOM),
        [(f"{RULE}.signers", NO_SIGNATURE)],
    ),
    "none with annotations and an age": (
        rule(require="none", annotations={"a": "b"}, max_age="1d", attestations=SBOM),
        [(f"{RULE}.annotations", NO_SIGNATURE), (f"{RULE}.maxAge", NO_SIGNATURE)],
    ),
    "no attestations": (rule(attestations=[]), [(f"{RULE}.attestations", EMPTY_LIST)]),
    "too many attestations": (
        rule(attestations=SBOM * 17),
        [(f"{RULE}.attestations", "at most 16 expected, found 17")],
    ),
    "no predicate type": (
        rule(attestations=[{"condition": "true"}]),
        [(
            f"{ATTESTATION}.predicateType",
            "required, and missing: the type of the predicate, a URI or a short name of cosign's",
        )],
    ),
    "unknown short name": (
        attested(predicate_type="slsa"), [(f"{ATTESTATION}.predicateType", f"{A_TYPE}'slsa'")],
    ),
    "predicate type with a space": (
        attested(predicate_type="https://a b"), [(f"{ATTESTATION}.predicateType", f"{A_TYPE}'https://a b'")],
    ),
    "a signature as an attestation": (
        attested(predicate_type=SIGN_PREDICATE),
        [(
            f"{ATTESTATION}.predicateType",
            "that is what a signature says, not an attestation: the rule's signers demand it",
        )],
    ),
    "unknown signer of an attestation": (
        attested(signers=["nobody"]),
        [(f"{ATTESTATION}.signers[0]", "no signer is named nobody; there are pipeline, release")],
    ),
    "signer of an attestation twice": (
        attested(signers=["release", "release"]),
        [(f"{ATTESTATION}.signers[1]", "release stands twice")],
    ),
    "no signers of an attestation": (attested(signers=[]), [(f"{ATTESTATION}.signers", EMPTY_LIST)]),
    "pick, another word": (
        attested(pick="latest"), [(f"{ATTESTATION}.pick", "'any', 'newest' or 'all' expected, found 'latest'")],
    ),
    "unknown field of an attestation": (
        attested(maxage="1d"), [(f"{ATTESTATION}.maxage", "unknown field; did you mean maxAge?")],
    ),
    "empty condition": (attested(condition=""), [(f"{ATTESTATION}.condition", "text expected, found ''")]),
    "time without an age": (
        attested(time_field="predicate.x"),
        [(f"{ATTESTATION}.timeField", "means nothing without maxAge: it is the time that the age counts from")],
    ),
    "time elsewhere": (
        attested(max_age="1d", time_field="subject.x"), [(f"{ATTESTATION}.timeField", f"{A_PATH}'subject.x'")],
    ),
    "time that is the predicate": (
        attested(max_age="1d", time_field="predicate"), [(f"{ATTESTATION}.timeField", f"{A_PATH}'predicate'")],
    ),
    "time in a list": (
        attested(max_age="1d", time_field="predicate.a[0]"),
        [(f"{ATTESTATION}.timeField", f"{A_PATH}'predicate.a[0]'")],
    ),
    "no age": (rule(max_age="0d"), [(f"{RULE}.maxAge", f"{AN_AGE}'0d'")]),
    "age without a unit": (rule(max_age=24), [(f"{RULE}.maxAge", f"{AN_AGE}the number 24")]),
    "age in seconds": (rule(max_age="90s"), [(f"{RULE}.maxAge", f"{AN_AGE}'90s'")]),
    "age below nothing": (rule(max_age="-1d"), [(f"{RULE}.maxAge", f"{AN_AGE}'-1d'")]),
    "age in pieces": (rule(max_age="1d12h"), [(f"{RULE}.maxAge", f"{AN_AGE}'1d12h'")]),
    "age of more than ten years": (rule(max_age="3651d"), [(f"{RULE}.maxAge", f"{AN_AGE}'3651d'")]),
    "age of an attestation": (attested(max_age="9999999d"), [(f"{ATTESTATION}.maxAge", f"{AN_AGE}'9999999d'")]),
    "no annotations": (rule(annotations={}), [(f"{RULE}.annotations", EMPTY_MAPPING)]),
    "annotations as a list": (
        rule(annotations=["a=b"]), [(f"{RULE}.annotations", "a mapping expected, found a list")],
    ),
    "annotation by a number": (
        rule(annotations={"build": 5}),
        [(f"{RULE}.annotations.build", "text expected, found the number 5; put it in quotes")],
    ),
    "empty annotation": (
        rule(annotations={"build": ""}),
        [(f"{RULE}.annotations.build", "1 to 1024 printable characters expected, found ''")],
    ),
    "annotation of two lines": (
        rule(annotations={"build": "a\nb"}),
        [(f"{RULE}.annotations.build", r"1 to 1024 printable characters expected, found 'a\nb'")],
    ),
    "annotation without a name": (
        rule(annotations={"": "b"}),
        [(f"{RULE}.annotations['']", "1 to 1024 printable characters expected, found ''")],
    ),
    "known with attestations": (
        rule(on_unavailable="known", attestations=SBOM),
        [(f"{RULE}.onUnavailable", not_known("attestations"))],
    ),
    "known with annotations": (
        rule(on_unavailable="known", annotations={"a": "b"}),
        [(f"{RULE}.onUnavailable", not_known("annotations"))],
    ),
    "known with an age": (
        rule(on_unavailable="known", max_age="1d"), [(f"{RULE}.onUnavailable", not_known("maxAge"))],
    ),
    "known, inherited": (
        rule(KNOWN, max_age="1d", attestations=SBOM),
        [(f"{RULE}.onUnavailable", not_known("attestations or maxAge"))],
    ),
    "more than there are, of keys and identities": (
        KEYLESS + rule(require=4), [(f"{RULE}.require", "can never be met: 4 of 3 signers")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), REFUSED.values(), ids=REFUSED)
def test_mistake_is_named_with_its_path_and_line(more: str, expected: list[tuple[str, str]]) -> None:
    assert refused(more) == expected


@pytest.mark.parametrize("condition", ["predicate.", "nonsense(", "predicate == "])
def test_a_condition_that_does_not_compile_is_refused(condition: str) -> None:
    ((path, message),) = refused(attested(condition=condition))
    assert path == f"{ATTESTATION}.condition"
    assert message


def test_known_is_for_rules_that_demand_signers_alone() -> None:
    assert one(rule(KNOWN)).on_unavailable is OnUnavailable.KNOWN
    assert one(rule(KNOWN, max_age="1d", on_unavailable="deny")).on_unavailable is OnUnavailable.DENY
    assert one(rule(on_unavailable="allow", attestations=SBOM)).on_unavailable is OnUnavailable.ALLOW
