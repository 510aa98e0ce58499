"""Profiles of AWS Signer, rules about certificates and keys in KMS: each field is taken, or refused where it stands."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.policy.documents import KEYLESS, KEYS, head, parse_one, refused
from tests.policy.notary_documents import (
    ACME,
    ACME_AND_CLOCK,
    ARN,
    CA_PEM,
    CERTIFICATES,
    OTHER_PEM,
    PROFILES,
    SUBJECT,
    VERSION,
    aws_pem,
    certificates,
    marked,
    profiles,
    store,
)
from webhook.evidence.model import Signer, SignerKind
from webhook.policy.syntax.mistakes import PolicyErrors
from webhook.policy.syntax.models import MAX_CERTIFICATE_RULES, MAX_PROFILES, MAX_SUBJECTS
from webhook.trust.kms import KMSKey
from webhook.trust.material import Hash, Padding
from webhook.trust.notary import subject
from webhook.trust.notary.levels import Action, CertificateRule, Check, VerifyTimestamp
from webhook.trust.notary.profile import SigningProfile

KMS = "awskms:///arn:aws:kms:us-west-2:111122223333:alias/image-signing"


def kms(uri: str, more: str = "") -> str:
    return f"  trustedKeys: [{{name: pipeline, kms: '{uri}'{more}}}]\n"


def only(more: str) -> Signer:
    (signer,) = parse_one(head() + more).signers
    return signer


def profile(entry: dict[str, Any], more: str = "") -> SigningProfile:
    signer = only(profiles(entry) + more)
    assert signer.kind is SignerKind.PROFILE
    assert isinstance(signer.material, SigningProfile)
    return signer.material


def rule(entry: dict[str, Any], more: str = ACME_AND_CLOCK) -> CertificateRule:
    signer = only(certificates(entry) + more)
    assert signer.kind is SignerKind.CERTIFICATE
    assert isinstance(signer.material, CertificateRule)
    return signer.material


# --- what is taken


def test_a_key_in_kms_is_named_by_its_uri() -> None:
    signer = only(kms(KMS, ", hash: sha384, padding: pss, requireLog: true"))
    assert isinstance(signer.material, KMSKey)
    assert (signer.kind, signer.material.uri, signer.require_log) == (SignerKind.KEY, KMS, True)
    assert (signer.material.hash, signer.material.padding) == (Hash.SHA384, Padding.PSS)
    assert signer.trust_root is not None
    assert signer.identity == f"kms:{KMS}"


def test_whether_an_endpoint_may_be_named_is_not_the_policy_s_to_know() -> None:
    signer = only(kms("awskms://localhost:4566/alias/image-signing"))
    assert isinstance(signer.material, KMSKey)
    assert signer.material.endpoint == "localhost:4566"


@pytest.mark.parametrize(
    ("entry", "shown", "store_name", "revocation"),
    [
        ({}, ARN, "aws-signer", Action.ENFORCE),
        ({"arn": VERSION}, VERSION, "aws-signer", Action.ENFORCE),
        ({"revocation": "enforce"}, ARN, "aws-signer", Action.ENFORCE),
        ({"revocation": "warn"}, ARN, "aws-signer", Action.LOG),
        ({"revocation": "off"}, ARN, "aws-signer", Action.SKIP),
        (
            {"arn": ARN.replace(":aws:", ":aws-us-gov:").replace("west-2", "gov-west-1")},
            "arn:aws-us-gov:signer:us-gov-west-1:111122223333:/signing-profiles/ecr_profile",
            "aws-us-gov-signer",
            Action.ENFORCE,
        ),
        (
            {"arn": ARN.replace(":aws:", ":aws-cn:").replace("us-west-2", "cn-north-1"), "trustStore": "acme"},
            "arn:aws-cn:signer:cn-north-1:111122223333:/signing-profiles/ecr_profile",
            "acme",
            Action.ENFORCE,
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_profile(entry: dict[str, Any], shown: str, store_name: str, revocation: Action) -> None:
    found = profile(entry, store({"type": "signingAuthority"}))
    assert (str(found.arn), found.store.name, found.revocation) == (shown, store_name, revocation)


def test_off_needs_no_quotes() -> None:
    bare = only(f"  signerProfiles:\n    - {{name: a, arn: '{ARN}', revocation: off}}\n").material
    assert isinstance(bare, SigningProfile)
    assert bare.revocation is Action.SKIP


STRICT = dict.fromkeys(Check, Action.ENFORCE)
LOGGED = {Check.AUTHENTIC_TIMESTAMP: Action.LOG, Check.EXPIRY: Action.LOG, Check.REVOCATION: Action.LOG}


@pytest.mark.parametrize(
    ("entry", "actions"),
    [
        ({}, STRICT),
        ({"level": "strict"}, STRICT),
        ({"level": "permissive"}, STRICT | LOGGED),
        ({"level": "audit"}, STRICT | LOGGED | {Check.AUTHENTICITY: Action.LOG}),
        ({"override": {"revocation": "skip"}}, STRICT | {Check.REVOCATION: Action.SKIP}),
        ({"override": {"expiry": "log"}}, STRICT | {Check.EXPIRY: Action.LOG}),
        ({"override": {"authenticTimestamp": "log"}}, STRICT | {Check.AUTHENTIC_TIMESTAMP: Action.LOG}),
        ({"override": {"authenticity": "log"}}, STRICT | {Check.AUTHENTICITY: Action.LOG}),
        (
            {"level": "audit", "override": {"authenticity": "enforce", "revocation": "enforce"}},
            STRICT | LOGGED | {Check.REVOCATION: Action.ENFORCE},
        ),
    ],
    ids=str,
)
def test_level_and_override_say_what_a_failed_check_does(entry: dict[str, Any], actions: dict[Check, Action]) -> None:
    assert dict(rule(entry).actions) == actions


def test_subjects_are_alternatives() -> None:
    found = rule({"subjects": [SUBJECT, "C=DE,ST=BE,O=acme.example,CN=release"]})
    assert found.subjects == (subject.parse(SUBJECT), subject.parse("C=DE, ST=BE, O=acme.example, CN=release"))


def test_any_subject_is_said_in_so_many_words() -> None:
    assert rule({"subjects": None, "unsafeAnySubject": True}).subjects == ()


@pytest.mark.parametrize(
    ("timestamp", "stores", "verify"),
    [
        (None, [], VerifyTimestamp.ALWAYS),
        ({"trustStore": "clock"}, ["clock"], VerifyTimestamp.ALWAYS),
        ({"trustStore": "clock", "verify": "always"}, ["clock"], VerifyTimestamp.ALWAYS),
        ({"trustStore": "clock", "verify": "afterCertExpiry"}, ["clock"], VerifyTimestamp.AFTER_CERT_EXPIRY),
    ],
    ids=str,
)
def test_timestamp(timestamp: dict[str, str] | None, stores: list[str], verify: VerifyTimestamp) -> None:
    found = rule({"timestamp": timestamp})
    assert ([one.name for one in found.timestamp_stores], found.verify_timestamp) == (stores, verify)


def test_signers_of_all_kinds_stand_in_one_policy() -> None:
    more = KEYS + KEYLESS + PROFILES + CERTIFICATES
    policy = parse_one(head() + more + "  rules: [{images: [a.io], require: all, signers: [release, ci, ecr, acme]}]\n")
    assert [signer.name for signer in policy.signers] == ["release", "pipeline", "ci", "ecr", "acme"]
    assert (policy.rules[0].needed, len(policy.rules[0].signers)) == (4, 4)


def test_attestations_are_of_keys_and_identities_where_none_is_named() -> None:
    more = "  rules: [{images: [a.io], attestations: [{predicateType: spdx}]}]\n"
    (found,) = parse_one(head() + KEYS + PROFILES + more).rules
    assert [signer.name for signer in found.signers] == ["release", "pipeline", "ecr"]
    assert [signer.name for signer in found.attestations[0].signers] == ["release", "pipeline"]


def test_versions_of_one_profile_are_alternatives() -> None:
    two = profiles({"arn": VERSION}, {"name": "older", "arn": f"{ARN}/0000000000"})
    (found,) = parse_one(head() + two + "  rules: [{images: [a.io]}]\n").rules
    assert (found.needed, len(found.signers)) == (1, 2)


# --- what they are known by


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(kms(KMS), kms(KMS, ", hash: sha512"), id="hash of a key in KMS"),
        pytest.param(kms(KMS), kms(KMS, ", padding: pss"), id="padding of a key in KMS"),
        pytest.param(kms(KMS), kms(KMS, ", requireLog: true"), id="log of a key in KMS"),
        pytest.param(PROFILES, profiles({"revocation": "warn"}), id="revocation of a profile"),
        pytest.param(PROFILES, profiles({"revocation": "off"}), id="no revocation of a profile"),
        pytest.param(PROFILES, profiles({"arn": VERSION}), id="version of a profile"),
        pytest.param(
            PROFILES,
            PROFILES + store({"name": "aws-signer", "type": "signingAuthority"}),
            id="another store of the same name",
        ),
        pytest.param(CERTIFICATES, certificates({"level": "permissive"}) + ACME, id="level"),
        pytest.param(CERTIFICATES, certificates({"override": {"revocation": "skip"}}) + ACME, id="override"),
        pytest.param(CERTIFICATES, certificates({}) + store({"certificates": OTHER_PEM}), id="other certificates"),
        pytest.param(CERTIFICATES, certificates({}) + store({"type": "signingAuthority"}), id="another type of store"),
        pytest.param(CERTIFICATES, certificates({"subjects": [SUBJECT + ", CN=x"]}) + ACME, id="subject"),
        pytest.param(
            certificates({"timestamp": {"trustStore": "clock"}}) + ACME_AND_CLOCK, CERTIFICATES, id="timestamps"
        ),
        pytest.param(
            certificates({"timestamp": {"trustStore": "clock"}}) + ACME_AND_CLOCK,
            certificates({"timestamp": {"trustStore": "clock", "verify": "afterCertExpiry"}}) + ACME_AND_CLOCK,
            id="when timestamps are looked at",
        ),
    ],
)
def test_what_another_policy_judges_otherwise_is_not_known(one: str, other: str) -> None:
    strict, lax = only(one), only(other)
    assert strict.known_as == only(one).known_as
    assert strict.known_as != lax.known_as
    assert strict != lax


# --- what is refused

PROFILE, RULE = "spec.signerProfiles[0]", "spec.certificates[0]"
EMPTY_LIST = "an empty list says nothing: leave the field out, or name at least one"
SIGNED_BY_AWS = "every customer of AWS Signer signs by the same subject: name your profile, under signerProfiles"
ONE_OF = "either subjects or unsafeAnySubject: true expected, found "
NOT_ATTESTED = "attestations are made with keys and identities, not as Notary Project signatures"
EACH_VERSION = "a profile without version means each version"
VOUCHING = "the trust store, of the type ca or signingAuthority, that vouches for the certificates"
ESCAPED = 'in values " + , ; < > and \\ are written with a backslash before them'
TWO_PROFILES = f"  signerProfiles:\n    - {{name: a, arn: '{ARN}'}}\n"
FORM = "arn:<partition>:signer:<region>:<account>:/signing-profiles/<name>[/<version>]"

MANY_RULES = [{"name": f"c{n}", "subjects": [f"{SUBJECT}{n}"]} for n in range(MAX_CERTIFICATE_RULES + 1)]
REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    # keys in KMS
    "key in KMS and in PEM": (
        "  trustedKeys: [{name: a, publicKey: x, kms: 'awskms:///alias/x'}] #!\n",
        [("spec.trustedKeys[0]", "exactly one of publicKey, kms and secret expected, found publicKey and kms")],
    ),
    "key in KMS without its scheme": (
        marked(kms("alias/image-signing")),
        [("spec.trustedKeys[0].kms", "awskms:///KEY expected, found 'alias/image-signing'")],
    ),
    "two slashes": (
        marked(kms("awskms://alias/x")),
        [(
            "spec.trustedKeys[0].kms",
            "three slashes expected where no endpoint is named, awskms:///KEY, found 'awskms://alias/x'",
        )],
    ),
    "the same key in KMS twice": (
        f"  trustedKeys:\n    - {{name: a, kms: '{KMS}'}}\n    - {{name: b, kms: '{KMS}', hash: sha256}} #!\n",
        [("spec.trustedKeys[1].kms", "the same key as a in line 8: one key is one signer")],
    ),
    # profiles
    "empty profiles": ("  signerProfiles: [] #!\n", [("spec.signerProfiles", EMPTY_LIST)]),
    "profile without an ARN": (
        marked(profiles({"arn": None})),
        [(
            f"{PROFILE}.arn",
            "required, and missing: the ARN of a signing profile of AWS Signer; with its version, that version only",
        )],
    ),
    "no ARN": (
        marked(profiles({"arn": "ecr_profile"})),
        [(f"{PROFILE}.arn", f"an ARN expected, {FORM}, found 'ecr_profile'")],
    ),
    "another service": (
        marked(profiles({"arn": ARN.replace("signer:", "kms:", 1)})),
        [(f"{PROFILE}.arn", "the service signer expected, found 'kms'")],
    ),
    "service in upper case": (
        marked(profiles({"arn": ARN.replace(":signer:", ":Signer:")})),
        [(f"{PROFILE}.arn", "the service signer expected, found 'Signer'")],
    ),
    "unknown partition": (
        marked(profiles({"arn": ARN.replace(":aws:", ":azure:")})),
        [(
            f"{PROFILE}.arn",
            "a partition (aws, aws-us-gov, aws-cn, aws-eusc or aws-iso…) in lower case expected, found 'azure'",
        )],
    ),
    "trailing slash": (
        marked(profiles({"arn": f"{ARN}/"})),
        [(
            f"{PROFILE}.arn",
            "nothing expected behind the profile name, found /; each version is meant without it",
        )],
    ),
    "wildcard": (
        marked(profiles({"arn": f"{ARN}/*"})),
        [(
            f"{PROFILE}.arn",
            f"wildcards are not known, found '/signing-profiles/ecr_profile/*'; {EACH_VERSION}",
        )],
    ),
    "profile in upper case": (
        marked(profiles({"arn": ARN.replace("/signing-profiles", "/Signing-Profiles")})),
        [(
            f"{PROFILE}.arn",
            "the resource /signing-profiles/<name> expected, found '/Signing-Profiles/ecr_profile'",
        )],
    ),
    "alias": (
        marked(profiles({"arn": f"{ARN}/aliases/prod"})),
        [(f"{PROFILE}.arn", "a version of 10 letters and digits expected, found 'aliases/prod'")],
    ),
    "revocation by another word": (
        marked(profiles({"revocation": "log"})),
        [(f"{PROFILE}.revocation", "'enforce', 'warn' or 'off' expected, found 'log'")],
    ),
    "partition without a root": (
        marked(profiles({"arn": ARN.replace(":aws:", ":aws-cn:")})),
        [(
            f"{PROFILE}.trustStore",
            "required, and missing: no root of AWS Signer is built in for the partition aws-cn",
        )],
    ),
    "root of another partition": (
        marked(profiles({"trustStore": "aws-us-gov-signer"})),
        [(
            f"{PROFILE}.trustStore",
            "can never be met: the store aws-us-gov-signer is of the partition aws-us-gov, and the profile of aws",
        )],
    ),
    "the same profile twice": (
        TWO_PROFILES + f"    - {{name: b, arn: '{ARN.replace('ecr', 'ECR')}', revocation: 'off'}} #!\n",
        [("spec.signerProfiles[1].arn", "the same profile as a in line 8: one profile is one signer")],
    ),
    "too many profiles": (
        marked(profiles(*({"name": f"p{n}", "arn": f"{ARN}{n}"} for n in range(MAX_PROFILES + 1)))),
        [("spec.signerProfiles", f"at most {MAX_PROFILES} expected, found {MAX_PROFILES + 1}")],
    ),
    # certificates
    "empty certificates": ("  certificates: [] #!\n", [("spec.certificates", EMPTY_LIST)]),
    "no store": (
        marked(certificates({"trustStore": None})),
        [(
            f"{RULE}.trustStore",
            f"required, and missing: {VOUCHING}",
        )],
    ),
    "no subjects": (ACME + marked(certificates({"subjects": None})), [(RULE, f"{ONE_OF}neither")]),
    "no subject, not unsafe": (
        ACME + marked(certificates({"subjects": None, "unsafeAnySubject": False})),
        [(RULE, f"{ONE_OF}neither")],
    ),
    "subjects and any subject": (ACME + marked(certificates({"unsafeAnySubject": True})), [(RULE, f"{ONE_OF}both")]),
    "empty subjects": (ACME + marked(certificates({"subjects": []})), [(f"{RULE}.subjects", EMPTY_LIST)]),
    "too many subjects": (
        ACME + marked(certificates({"subjects": [f"{SUBJECT}{n}" for n in range(MAX_SUBJECTS + 1)]})),
        [(f"{RULE}.subjects", f"at most {MAX_SUBJECTS} expected, found {MAX_SUBJECTS + 1}")],
    ),
    "any subject by a star": (
        ACME + marked(certificates({"subjects": ["*"]})),
        [(f"{RULE}.subjects[0]", "for any subject of the trust store write unsafeAnySubject: true, and no subjects")],
    ),
    "subject without a state": (
        ACME + marked(certificates({"subjects": ["C=US, O=acme.example"]})),
        [(f"{RULE}.subjects[0]", "C, ST and O are required, and missing is ST")],
    ),
    "subject that is no name": (
        ACME + marked(certificates({"subjects": ["acme.example"]})),
        [(
            f"{RULE}.subjects[0]",
            f"TYPE=value expected, found 'acme.example'; {ESCAPED}",
        )],
    ),
    "subject within another": (
        ACME + marked(certificates({"subjects": [f"{SUBJECT}, CN=x", "C=DE, ST=BE, O=y", SUBJECT]})),
        [(f"{RULE}.subjects[2]", "one of this and the subject in line 8 contains the other")],
    ),
    "the same subject twice": (
        ACME + marked(certificates({"subjects": [SUBJECT, "O=acme.example; S=WA; C=US"]})),
        [(f"{RULE}.subjects[1]", "one of this and the subject in line 8 contains the other")],
    ),
    "level that verifies nothing": (
        ACME + marked(certificates({"level": "skip"})),
        [(
            f"{RULE}.level",
            "skip would verify nothing: list what needs no signature under exemptRegistries",
        )],
    ),
    "unknown level": (
        ACME + marked(certificates({"level": "Strict"})),
        [(f"{RULE}.level", "strict, permissive or audit expected, found 'Strict'")],
    ),
    "empty override": (
        ACME + marked(certificates({"override": {}})),
        [(f"{RULE}.override", "an empty mapping says nothing: leave the field out")],
    ),
    "override of integrity": (
        ACME + marked(certificates({"override": {"integrity": "log"}})),
        [(f"{RULE}.override.integrity", "a signature that is not whole is always refused: leave it out")],
    ),
    "skipped authenticity": (
        ACME + marked(certificates({"override": {"authenticity": "skip"}})),
        [(f"{RULE}.override.authenticity", "'enforce' or 'log' expected, found 'skip'")],
    ),
    "skipped expiry": (
        ACME + marked(certificates({"override": {"expiry": "skip"}})),
        [(f"{RULE}.override.expiry", "'enforce' or 'log' expected, found 'skip'")],
    ),
    "override of an unknown check": (
        ACME + marked(certificates({"override": {"authenticTimeStamp": "log"}})),
        [(f"{RULE}.override.authenticTimeStamp", "unknown field; did you mean authenticTimestamp?")],
    ),
    "timestamps at another time": (
        ACME_AND_CLOCK + marked(certificates({"timestamp": {"trustStore": "clock", "verify": "never"}})),
        [(f"{RULE}.timestamp.verify", "'always' or 'afterCertExpiry' expected, found 'never'")],
    ),
    "the store of AWS Signer": (
        marked(certificates({"trustStore": "aws-signer", "subjects": ["C=US, ST=WA, O=AWS"]})),
        [(f"{RULE}.trustStore", SIGNED_BY_AWS)],
    ),
    "any subject of AWS Signer": (
        marked(certificates({"trustStore": "aws-us-gov-signer", "subjects": None, "unsafeAnySubject": True})),
        [(f"{RULE}.trustStore", SIGNED_BY_AWS)],
    ),
    "roots of AWS Signer by another name": (
        store({"type": "signingAuthority", "certificates": aws_pem() + aws_pem("aws-us-gov-signer")})
        + marked(certificates({"subjects": None, "unsafeAnySubject": True})),
        [(f"{RULE}.trustStore", SIGNED_BY_AWS)],
    ),
    "what replaces the store of AWS Signer": (
        store({"name": "aws-signer", "type": "signingAuthority"}) + marked(certificates({"trustStore": "aws-signer"})),
        [(f"{RULE}.trustStore", SIGNED_BY_AWS)],
    ),
    "the same rule twice": (
        store({}, {"name": "again"}) + marked(certificates({}, {"name": "b", "trustStore": "again"})),
        [(
            "spec.certificates[1]",
            "the same rule about certificates as acme in line 8: one rule about certificates is one signer",
        )],
    ),
    "a name of a key": (
        KEYS + marked(profiles({"name": "release"})),
        [(f"{PROFILE}.name", "a second signer named 'release', first in line 8")],
    ),
    "too many rules about certificates": (
        ACME + marked(certificates(*MANY_RULES)),
        [("spec.certificates", f"at most {MAX_CERTIFICATE_RULES} expected, found {MAX_CERTIFICATE_RULES + 1}")],
    ),
    # rules
    "attestation by a profile": (
        KEYS
        + PROFILES
        + "  rules: [{images: [a.io], attestations: [{predicateType: spdx, signers: [release, ecr]}]}] #!\n",
        [("spec.rules[0].attestations[0].signers[1]", f"{NOT_ATTESTED}, which is how 'ecr' signs")],
    ),
    "attestation where nobody attests": (
        PROFILES + "  rules: [{images: [a.io], attestations: [{predicateType: spdx}]}] #!\n",
        [(
            "spec.rules[0].attestations[0]",
            f"can never be met: {NOT_ATTESTED}, and this policy has no others",
        )],
    ),
    "signed names that are reserved": (
        PROFILES + "  rules: [{images: [a.io], annotations: {io.cncf.notary.x: z}}] #!\n",
        [(
            "spec.rules[0].annotations['io.cncf.notary.x']",
            "can never be met: names that begin with io.cncf.notary are no user's to sign",
        )],
    ),
    "all versions of one profile": (
        profiles({"arn": VERSION}, {"name": "older", "arn": f"{ARN}/0000000000"})
        + "  rules: [{images: [a.io], require: all}] #!\n",
        [(
            "spec.rules[0].require",
            "can never be met: 2 of 1 signers, since all versions of one profile are one signer",
        )],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), REFUSED.values(), ids=REFUSED)
def test_mistake_is_named_with_its_path_and_line(more: str, expected: list[tuple[str, str]]) -> None:
    assert refused(more) == expected


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(KEYS + PROFILES + "  rules: [{images: [a.io], annotations: {io.cncf.notary.x: z}}]\n",
                     id="names that cosign signs"),
        pytest.param(PROFILES + "  rules: [{images: [a.io], annotations: {io.example.x: z}}]\n", id="own names"),
        pytest.param(profiles({"arn": VERSION}, {"name": "other", "arn": f"{ARN}2"})
                     + "  rules: [{images: [a.io], require: all}]\n", id="two profiles"),
        pytest.param(certificates({}, {"name": "b", "trustStore": "b"})
                     + store({}, {"name": "b", "certificates": OTHER_PEM}),
                     id="one subject under two stores"),
        pytest.param(certificates({"subjects": [SUBJECT, "C=US, ST=CA, O=acme.example"]}) + ACME, id="two states"),
        pytest.param(store({"type": "signingAuthority", "certificates": aws_pem() + CA_PEM}) + certificates({}),
                     id="a root of AWS Signer among others"),
    ],
)  # fmt: skip
def test_near_miss_is_taken(more: str) -> None:
    assert parse_one(head() + more).signers


def test_all_mistakes_are_told_at_once() -> None:
    text = store({"certificates": "x"}) + profiles({"arn": "x"}) + certificates({"subjects": ["*"], "level": "skip"})
    found = refused(text.replace("\n", " #!\n"))
    assert [path for path, _ in found] == [
        "spec.trustStores[0].certificates", "spec.signerProfiles[0].arn", f"{RULE}.level",
    ]  # fmt: skip


# --- whatever is written


ODD = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=2)
NEARLY = st.sampled_from(
    [ARN, VERSION, SUBJECT, KMS, "*", "strict", "skip", "off", "acme", "aws-signer", "tsa", CA_PEM]
)
FIELDS = ["name", "arn", "kms", "revocation", "trustStore", "subjects", "unsafeAnySubject", "level", "override",
          "timestamp", "type", "certificates"]  # fmt: skip


@given(
    st.sampled_from(["trustedKeys", "signerProfiles", "certificates", "trustStores"]),
    st.lists(st.dictionaries(st.sampled_from(FIELDS), ODD | NEARLY | st.lists(NEARLY, max_size=3)), max_size=3),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_nothing_but_mistakes_comes_of_what_is_written_wrongly(field: str, entries: list[dict[str, Any]]) -> None:
    with contextlib.suppress(PolicyErrors):
        parse_one(f"{head()}  {field}: {json.dumps(entries)}\n")
