"""The environment of a verifier for ECS becomes a policy that demands the same signatures."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles.verifying import NOW, PIPELINE, RELEASE, STRANGER, TRUST, Cluster, opened
from tests.migration.deciding import SIGNATURES, SIGNER, Signature, comments, judged
from webhook.demo import signing
from webhook.errors import OperatorError
from webhook.migration import ecs
from webhook.migration.draft import render
from webhook.policy import document
from webhook.policy.decision import Result
from webhook.policy.model import PolicySet
from webhook.settings import NoMatch
from webhook.trust import kms, material
from webhook.trust.at_hand import Trust
from webhook.trust.notary.inquiry import Standing

ALIAS = "arn:aws:kms:us-west-2:111122223333:alias/image-signing"
KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
TOPIC = "arn:aws:sns:us-west-2:111122223333:unsigned-tasks"
PROFILE = "arn:aws:signer:us-west-2:111122223333:/signing-profiles/demo_profile"


def convert(**variables: str) -> bytes:
    return render(ecs.convert(variables, origin="verifier.env"))


def spec(content: bytes) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(content)["spec"]
    return found


# --- it decides as cosign-ecs-verify does: whatever the key did not sign is stopped


async def ours(content: bytes, *, signed_with: Sequence[signing.SigningKey]) -> Result:
    async with opened() as cluster:
        digest = cluster.image()
        if signed_with:
            cluster.sign(digest, *signed_with)
        return await decide(cluster, content, f"@{digest}")


async def decide(cluster: Cluster, content: bytes, reference: str) -> Result:
    key = kms.parse(f"awskms:///{ALIAS}")
    public = material.parse_public_key(RELEASE.public_pem)
    cluster.verifier.trust = lambda: Trust(TRUST.roots, keys={key: public})
    policies = PolicySet(document.parse(content, origin="p", now=NOW), "revision", "p")
    return (await cluster.judge(reference, policies)).result


SIGNED: Mapping[str, tuple[Sequence[signing.SigningKey], bool]] = {
    "unsigned": ((), False),
    "by-the-key": ((RELEASE,), True),
    "by-another": ((STRANGER,), False),
    "by-both": ((STRANGER, RELEASE), True),
}


KEYS: Mapping[str, Mapping[str, str]] = {
    "pem": {"COSIGN_KEY_PEM": RELEASE.public_pem},
    "kms": {"COSIGN_KEY_ARN": ALIAS},
}


@pytest.mark.parametrize("variables", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize(("keys", "verified"), SIGNED.values(), ids=SIGNED)
async def test_what_the_verifier_would_stop_is_denied(
    variables: Mapping[str, str], keys: Sequence[signing.SigningKey], verified: bool
) -> None:
    expected = Result.VERIFIED if verified else Result.DENIED
    assert await ours(convert(**variables), signed_with=keys) is expected


async def test_an_image_that_is_about_another_digest_is_denied() -> None:
    async with opened() as cluster:
        digest, other = cluster.image("one"), cluster.image("two", tag="2")
        cluster.sign(digest, RELEASE, subject=other)
        content = convert(COSIGN_KEY_PEM=RELEASE.public_pem)
        assert await decide(cluster, content, f"@{digest}") is Result.DENIED


# --- AWS Signer's controller


def controller(behaviour: str, profiles: Sequence[str], signatures: Sequence[Signature]) -> str:
    """Notation at the level strict, with these identities; and what becomes of a deployment."""
    good = any(
        one.whole
        and not one.expired
        and one.standing is Standing.GOOD
        and {one.profile, one.profile.rpartition("/")[0]} & set(profiles)
        for one in signatures
    )
    return "allow" if good else {"BLOCK_ON_FAILURE": "block", "LOG_ON_FAILURE": "warn"}[behaviour]


@pytest.mark.parametrize("behaviour", ["BLOCK_ON_FAILURE", "LOG_ON_FAILURE"])
@pytest.mark.parametrize("name", SIGNATURES)
def test_it_decides_as_the_controller_does(behaviour: str, name: str) -> None:
    pem = "".join(f"        {line}\n" for line in SIGNER.root.pem.splitlines())
    store = "  trustStores:\n    - name: aws-signer\n      type: signingAuthority\n      certificates: |\n" + pem
    content = convert(TRUSTED_SIGNING_PROFILES=f"{PROFILE}, {PROFILE}", FAILURE_BEHAVIOR=behaviour)
    decision = judged(content + store.encode(), "registry.example.com/a", SIGNATURES[name], no_match=NoMatch.ALLOW)
    now = {Result.DENIED: "block", Result.ERROR: "block", Result.WARNED: "warn"}.get(decision.result, "allow")
    then = controller(behaviour, [PROFILE], SIGNATURES[name])
    tampered = name in ("tampered", "aws-tampered")  # denied whatever the mode
    assert now == ("block" if tampered else then)


# --- what is written


def test_a_key_in_kms_is_named() -> None:
    for name in ecs.KEY_ARN:
        assert spec(convert(**{name: KEY}))["trustedKeys"] == [{"name": "ecs", "kms": f"awskms:///{KEY}"}]
    assert spec(convert(COSIGN_KEY=f"awskms:///{ALIAS}"))["trustedKeys"] == [
        {"name": "ecs", "kms": f"awskms:///{ALIAS}"}
    ]


@pytest.mark.parametrize("alias", ["image-signing", "alias/image-signing"])
def test_the_alias_of_the_first_releases_is_of_the_servers_region(alias: str) -> None:
    content = convert(COSIGN_KEY=alias)
    assert spec(content)["trustedKeys"] == [{"name": "ecs", "kms": "awskms:///alias/image-signing"}]
    assert "AWS_REGION" in comments(content)


def test_a_key_in_pem_is_written_with_the_hash_it_was_verified_with() -> None:
    one_line = RELEASE.public_pem.strip().replace("\n", "\\n")
    assert spec(convert(KEY_PEM=one_line))["trustedKeys"] == [{"name": "ecs", "publicKey": RELEASE.public_pem}]
    assert spec(convert(KEY_PEM=PIPELINE.public_pem))["trustedKeys"] == [  # P-384
        {"name": "ecs", "publicKey": PIPELINE.public_pem, "hash": "sha256"}
    ]


def test_the_topic_is_a_setting() -> None:
    said = comments(convert(COSIGN_KEY_ARN=KEY, SNS_TOPIC_ARN=TOPIC))
    assert f"COUNTERSIGN_SNS_TOPIC={TOPIC}" in said
    assert "sns:Publish" in said


def test_what_is_not_recognised_is_named_and_its_value_is_not() -> None:
    content = convert(COSIGN_KEY_ARN=KEY, DB_PASSWORD="hunter2", AWS_SECRET_ACCESS_KEY="s3cr3t", REPO_NAME="x\ny")
    assert "Not recognised, and left out: DB_PASSWORD, REPO_NAME." in comments(content)
    assert b"hunter2" not in content
    assert b"s3cr3t" not in content


def test_the_stricter_is_taken_where_the_controller_is_not_told() -> None:
    content = convert(TRUSTED_SIGNING_PROFILES=PROFILE)
    assert spec(content)["mode"] == "enforce"
    assert "FAILURE_BEHAVIOR is not set" in comments(content)
    assert "COUNTERSIGN_NO_MATCH" in comments(
        convert(TRUSTED_SIGNING_PROFILES=PROFILE, FAILURE_BEHAVIOR="LOG_ON_FAILURE")
    )


# --- what is refused

REFUSED: Mapping[str, tuple[Mapping[str, str], str]] = {
    "nothing": ({}, "one of COSIGN_KEY_ARN, "),
    "empty": ({"COSIGN_KEY_ARN": " "}, "expected, found none"),
    "notation": ({"NOTATION_PATH": "/opt/notation"}, "there is `countersign import notation`"),
    "both-keys": ({"COSIGN_KEY_ARN": KEY, "COSIGN_KEY_PEM": RELEASE.public_pem}, "one key expected"),
    "two-verifiers": ({"COSIGN_KEY_ARN": KEY, "TRUSTED_SIGNING_PROFILES": PROFILE}, "the variables of one verifier"),
    "another-service": ({"KEY_ARN": TOPIC}, "KEY_ARN: the ARN of a KMS key or alias expected"),
    "wildcard": ({"KEY_ARN": KEY[:-1] + "*"}, "KEY_ARN: one key expected, and no wildcard"),
    "slash": ({"KEY_ARN": KEY + "/"}, "KEY_ARN: "),
    "garbage-pem": ({"KEY_PEM": "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----"}, "KEY_PEM: public key: "),
    "certificate": ({"KEY_PEM": SIGNER.root.pem}, "KEY_PEM: public key: "),
    "profile": ({"TRUSTED_SIGNING_PROFILES": f"{PROFILE},{PROFILE}/"}, "TRUSTED_SIGNING_PROFILES: "),
    "no-profiles": ({"TRUSTED_SIGNING_PROFILES": ","}, "one ARN at least expected"),
    "behaviour": (
        {"TRUSTED_SIGNING_PROFILES": PROFILE, "FAILURE_BEHAVIOR": "IGNORE"},
        "BLOCK_ON_FAILURE or LOG_ON_FAILURE expected, found 'IGNORE'",
    ),
}


@pytest.mark.parametrize(("variables", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused(variables: Mapping[str, str], said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        convert(**variables)
    assert str(caught.value).startswith("verifier.env: ")
    assert said in str(caught.value)


def test_a_private_key_is_refused_and_not_repeated() -> None:
    with pytest.raises(OperatorError) as caught:
        convert(KEY_PEM="-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHh4\n-----END PRIVATE KEY-----")
    assert "MC4CAQ" not in str(caught.value)


@given(st.dictionaries(st.sampled_from(ecs.KNOWN), st.text(), max_size=4))
def test_any_values_are_converted_or_refused(variables: Mapping[str, str]) -> None:
    with contextlib.suppress(OperatorError):
        document.parse(convert(**variables), origin="p", now=NOW)
