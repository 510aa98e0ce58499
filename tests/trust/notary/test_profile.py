"""ARNs of signing profiles: what a policy may name, and which signatures are then meant."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notation import aws_like, vectors
from webhook.errors import MalformedError
from webhook.trust.notary import levels, profile, stores
from webhook.trust.notary.levels import Action, Check, Level
from webhook.trust.notary.profile import MAX_ARN_CHARS, ProfileARN, SigningProfile
from webhook.trust.notary.stores import StoreKind

PROFILE = "arn:aws:signer:us-west-2:111122223333:/signing-profiles/ecr_profile"
VERSION = f"{PROFILE}/AbCdEf1234"
SIGNED = ProfileARN.parse(VERSION)
MATCHING = json.loads((vectors.VECTORS / "aws-signer" / "index.json").read_bytes())["identityMatching"]


def covers(trusted: str, signed: str) -> bool:
    """Whether a policy that names `trusted` means what is `signed`; what cannot be written means nothing."""
    try:
        return ProfileARN.parse(trusted).covers(ProfileARN.parse(signed))
    except MalformedError:
        return False


@pytest.mark.parametrize("case", MATCHING, ids=lambda case: case["id"])
def test_identities_of_the_plugin(case: Mapping[str, Any]) -> None:
    """The plug-in ignores entries that are no ARNs of profiles; a policy of ours cannot even name them. It has an
    error for the wildcard, which is none of the things that can be named either."""
    signed = case["signingProfileVersion"]
    assert any(covers(trusted, signed) for trusted in case["trustedIdentities"]) is (case["expect"] == "match")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROFILE, ProfileARN("aws", "us-west-2", "111122223333", "ecr_profile")),
        (VERSION, ProfileARN("aws", "us-west-2", "111122223333", "ecr_profile", "AbCdEf1234")),
        (PROFILE.replace("us-west-2", "US-West-2"), ProfileARN("aws", "us-west-2", "111122223333", "ecr_profile")),
        (PROFILE.replace("aws", "aws-us-gov", 1), ProfileARN("aws-us-gov", "us-west-2", "111122223333", "ecr_profile")),
        (PROFILE.replace("aws", "aws-iso-b", 1), ProfileARN("aws-iso-b", "us-west-2", "111122223333", "ecr_profile")),
        (PROFILE.replace("ecr_profile", "ab"), ProfileARN("aws", "us-west-2", "111122223333", "ab")),
        (PROFILE.replace("ecr_profile", "a" * 64), ProfileARN("aws", "us-west-2", "111122223333", "a" * 64)),
    ],
)
def test_what_can_be_named(text: str, expected: ProfileARN) -> None:
    assert ProfileARN.parse(text) == expected
    assert ProfileARN.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "an ARN expected"),
        ("ecr_profile", "an ARN expected"),
        (f" {PROFILE}", "an ARN expected"),
        (PROFILE.replace("arn:", "ARN:"), "an ARN expected"),
        (PROFILE.upper(), "an ARN expected"),
        (PROFILE.replace("arn:aws:", "arn:AWS:"), "a partition"),
        (PROFILE.replace("arn:aws:", "arn:azure:"), "a partition"),
        (PROFILE.replace("arn:aws:", "arn::"), "a partition"),
        (PROFILE.replace(":signer:", ":Signer:"), "the service signer"),
        (PROFILE.replace(":signer:", ":kms:"), "the service signer"),
        (PROFILE.replace("us-west-2", "*"), "a region"),
        (PROFILE.replace("us-west-2", ""), "a region"),
        (PROFILE.replace("us-west-2", "us-west-2.evil.example/"), "a region"),
        (PROFILE.replace("us-west-2", "us-west-\N{SUPERSCRIPT TWO}"), "a region"),
        (PROFILE.replace("us-west-2", "eu-\N{KELVIN SIGN}-1"), "a region"),
        (PROFILE.replace("111122223333", "*"), "12 digits"),
        (PROFILE.replace("111122223333", "11112222333"), "12 digits"),
        (PROFILE.replace("111122223333", "1111222233333"), "12 digits"),
        (PROFILE.replace("111122223333", "11112222333\N{ARABIC-INDIC DIGIT THREE}"), "12 digits"),
        (PROFILE.replace("/signing-profiles/", "/Signing-Profiles/"), "the resource"),
        (PROFILE.replace("/signing-profiles/", "signing-profiles/"), "the resource"),
        (aws_like.AWSLikeSigner().job_arn, "the resource"),
        (PROFILE.replace("/signing-profiles/ecr_profile", "/aliased-signing-profiles/x"), "the resource"),
        (PROFILE.replace("ecr_profile", "ecr_*"), "wildcards"),
        (PROFILE.replace("ecr_profile", "*"), "wildcards"),
        (f"{PROFILE}/*", "wildcards"),
        (f"{PROFILE}/AbCdEf123?", "wildcards"),
        (PROFILE.replace("ecr_profile", ""), "a profile name"),
        (PROFILE.replace("ecr_profile", "a"), "a profile name"),
        (PROFILE.replace("ecr_profile", "a" * 65), "a profile name"),
        (PROFILE.replace("ecr_profile", "ecr-profile"), "a profile name"),
        (f"{PROFILE}\n", "a profile name"),
        (f"{PROFILE}/", "nothing expected behind the profile name"),
        (f"{PROFILE}/AbCdEf123", "a version"),
        (f"{PROFILE}/AbCdEf12345", "a version"),
        (f"{VERSION}/", "a version"),
        (f"{VERSION}/asda", "a version"),
        (f"{VERSION}/AbCdEf1234", "a version"),
        (f"{VERSION}\n", "a version"),
        (f"{PROFILE}//AbCdEf1234", "a version"),
    ],
)  # fmt: skip
def test_what_cannot(text: str, problem: str) -> None:
    with pytest.raises(MalformedError, match=problem) as caught:
        ProfileARN.parse(text)
    assert caught.value.code == "malformed"


def test_the_longest() -> None:
    with pytest.raises(MalformedError) as caught:
        ProfileARN.parse(PROFILE.ljust(MAX_ARN_CHARS + 1, "x"))
    assert caught.value.code == "limit_exceeded"


@given(st.text() | st.lists(st.sampled_from(["arn", ":", "aws", "signer", "/", "signing-profiles", "a1"])).map("".join))
def test_any_text(text: str) -> None:
    with contextlib.suppress(MalformedError):
        assert str(ProfileARN.parse(text)).lower() == text.lower()


@pytest.mark.parametrize(
    ("trusted", "covered"),
    [
        (PROFILE, True),
        (VERSION, True),
        (PROFILE.replace("ecr_profile", "ECR_Profile"), True),
        (VERSION.replace("AbCdEf1234", "ABCDEF1234"), True),
        (VERSION.replace("AbCdEf1234", "AbCdEf1235"), False),
        (PROFILE.replace("ecr_profile", "ecr_profil"), False),
        (PROFILE.replace("ecr_profile", "ecr_profile2"), False),
        (PROFILE.replace("us-west-2", "us-east-1"), False),
        (PROFILE.replace("111122223333", "111122223334"), False),
        (PROFILE.replace("arn:aws:", "arn:aws-cn:"), False),
    ],
)
def test_every_part_takes_part(trusted: str, covered: bool) -> None:
    assert ProfileARN.parse(trusted).covers(SIGNED) is covered


def test_a_profile_never_covers_as_if_it_were_a_version() -> None:
    assert SIGNED.profile == ProfileARN.parse(PROFILE)
    assert not SIGNED.covers(ProfileARN.parse(PROFILE))


@pytest.mark.parametrize(
    ("partition", "name"),
    [
        ("aws", "aws-signer"),
        ("aws-us-gov", "aws-us-gov-signer"),
        ("aws-cn", None),
        ("aws-eusc", None),
        ("aws-iso", None),
    ],
)
def test_the_store_that_goes_without_saying(partition: str, name: str | None) -> None:
    store = profile.default_store(partition)
    assert (store.name if store else None) == name


@pytest.mark.parametrize(
    ("partition", "store", "fits"),
    [
        ("aws", stores.built_in("aws-signer"), True),
        ("aws-us-gov", stores.built_in("aws-us-gov-signer"), True),
        ("aws-us-gov", stores.built_in("aws-signer"), False),
        ("aws-cn", stores.built_in("aws-signer"), False),
        ("aws-cn", aws_like.AWSLikeSigner().store(), True),
        ("aws", aws_like.AWSLikeSigner().store(StoreKind.CA), False),
    ],
)
def test_a_root_is_of_one_partition(partition: str, store: stores.TrustStore, fits: bool) -> None:
    arn = ProfileARN.parse(PROFILE.replace("arn:aws:", f"arn:{partition}:"))
    assert (profile.store_problem(arn, store) == "") is fits


@pytest.mark.parametrize("revocation", Action)
def test_all_but_revocation_is_enforced(revocation: Action) -> None:
    store = profile.default_store("aws")
    assert store is not None
    signing = SigningProfile(SIGNED, store, revocation)
    assert signing.actions == levels.actions_of(Level.STRICT, {Check.REVOCATION: revocation})
    assert signing.stores == (store,)


def test_profiles_that_judge_otherwise_have_other_terms() -> None:
    store = profile.default_store("aws")
    assert store is not None
    one = SigningProfile(SIGNED, store)
    others = [
        SigningProfile(SIGNED.profile, store),
        SigningProfile(SIGNED, store, Action.LOG),
        SigningProfile(SIGNED, aws_like.AWSLikeSigner().root.store("aws-signer", StoreKind.SIGNING_AUTHORITY)),
    ]
    assert len({one.terms, *(other.terms for other in others)}) == 4
    assert str(one) == VERSION
    assert pickle.loads(pickle.dumps(one)) == one
