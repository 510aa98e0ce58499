"""A code signing configuration of Lambda becomes a policy that blocks and warns where Lambda does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.migration.deciding import SIGNATURES, SIGNER, Signature, comments, judged
from webhook.errors import OperatorError
from webhook.migration import code_signing
from webhook.migration.draft import render
from webhook.policy.decision import Result
from webhook.settings import NoMatch
from webhook.trust.notary.inquiry import Standing

ARN = "arn:aws:signer:us-west-2:111122223333:/signing-profiles/demo_profile/IrwHQeF7XW"


def configuration(
    mode: str | None = "Enforce", arns: Sequence[object] = (ARN,), **members: object
) -> dict[str, object]:
    return {
        "CodeSigningConfigId": "csc-0a1b2c3d4e5f67890",
        "CodeSigningConfigArn": "arn:aws:lambda:us-west-2:111122223333:code-signing-config:csc-0a1b2c3d4e5f67890",
        "Description": "functions of the payments team",
        "AllowedPublishers": {"SigningProfileVersionArns": list(arns)},
        "CodeSigningPolicies": {} if mode is None else {"UntrustedArtifactOnDeployment": mode},
        "LastModified": "2026-08-14T09:12:55.000+0000",
        **members,
    }


def convert(config: object, *, whole: bool = False) -> bytes:
    answer = config if whole else {"CodeSigningConfig": config}
    return render(code_signing.convert(json.dumps(answer).encode(), origin="csc.json"))


def spec(content: bytes) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(content)["spec"]
    return found


# --- it decides as Lambda does


def lambda_(mode: str, allowed: Sequence[str], signatures: Sequence[Signature]) -> str:
    """AWS Lambda developer guide, code signing, signature validation: what becomes of a package."""
    if signatures and not any(one.whole for one in signatures):
        return "block"  # integrity, whatever the mode
    good = any(
        one.profile in allowed and not one.expired and one.standing is Standing.GOOD and one.whole for one in signatures
    )
    return "allow" if good else {"Enforce": "block", "Warn": "warn"}[mode]


def ours(content: bytes, signatures: Sequence[Signature]) -> str:
    # The root of the tests' signatures in the place of AWS's own
    pem = "".join(f"        {line}\n" for line in SIGNER.root.pem.splitlines())
    store = "  trustStores:\n    - name: aws-signer\n      type: signingAuthority\n      certificates: |\n"
    decision = judged(content + (store + pem).encode(), "registry.example.com/a", signatures, no_match=NoMatch.ALLOW)
    return {Result.DENIED: "block", Result.ERROR: "block", Result.WARNED: "warn"}.get(decision.result, "allow")


@pytest.mark.parametrize("mode", ["Enforce", "Warn"])
@pytest.mark.parametrize("name", SIGNATURES)
def test_it_decides_as_lambda_does(mode: str, name: str) -> None:
    signatures = SIGNATURES[name]
    assert ours(convert(configuration(mode)), signatures) == lambda_(mode, [SIGNER.version_arn], signatures)


def test_the_table_holds_every_decision_of_lambda() -> None:
    decided = {
        (mode, lambda_(mode, [SIGNER.version_arn], signatures))
        for mode in ("Enforce", "Warn")
        for signatures in SIGNATURES.values()
    }
    assert decided == {
        ("Enforce", "allow"),
        ("Enforce", "block"),
        ("Warn", "allow"),
        ("Warn", "warn"),
        ("Warn", "block"),
    }


# --- what is written


def test_every_publisher_is_a_profile_of_one_version() -> None:
    arns = [ARN, ARN.replace("IrwHQeF7XW", "AbCdEf1234"), ARN.replace("demo", "other")]
    content = convert(configuration(arns=[*arns, ARN.replace("demo", "DEMO")]))  # one profile, whatever its case
    assert spec(content) == {
        "mode": "enforce",
        "signerProfiles": [
            {"name": "demo-profile-irwhqef7xw", "arn": arns[0]},
            {"name": "demo-profile-abcdef1234", "arn": arns[1]},
            {"name": "other-profile-irwhqef7xw", "arn": arns[2]},
        ],
    }
    assert yaml.safe_load(content)["metadata"] == {"name": "csc-0a1b2c3d4e5f67890"}


SAYS = {
    "the platform": "Notation-OCI-SHA384-ECDSA",
    "the version": "Each ARN names one version",
    "the functions": "the functions that the configuration is attached to",
    "the description": "functions of the payments team",
}


@pytest.mark.parametrize("text", SAYS.values(), ids=SAYS)
def test_comments_say_what_has_no_equivalent(text: str) -> None:
    assert text in comments(convert(configuration()))


def test_a_policy_that_only_warns_says_what_decides_then() -> None:
    assert b"COUNTERSIGN_NO_MATCH" in convert(configuration("Warn"))
    assert b"COUNTERSIGN_NO_MATCH" not in convert(configuration("Enforce"))


def test_lambda_warns_where_nothing_is_said() -> None:
    assert spec(convert(configuration(None)))["mode"] == "warn"
    without = {name: value for name, value in configuration().items() if name != "CodeSigningPolicies"}
    assert spec(convert(without))["mode"] == "warn"


def test_a_list_of_one_is_taken() -> None:
    assert convert({"CodeSigningConfigs": [configuration()]}, whole=True) == convert(configuration())


@pytest.mark.parametrize("description", ["a\nspec:\n  mode: warn", "\x1b[31m", "é" * 300, "'\"#"])
def test_a_description_stays_a_comment(description: str) -> None:
    assert spec(convert(configuration(Description=description))) == spec(convert(configuration()))


# --- what is refused


REFUSED: Mapping[str, tuple[object, str]] = {
    "another-mode": (configuration("Allow"), "UntrustedArtifactOnDeployment: Warn or Enforce expected, found 'Allow'"),
    "case": (configuration("enforce"), "Warn or Enforce expected"),
    "mode-type": (configuration(CodeSigningPolicies={"UntrustedArtifactOnDeployment": 1}), "found a number"),
    "no-publishers": (configuration(arns=[]), "one ARN at least expected"),
    "21-publishers": (configuration(arns=[ARN] * 21), "21 entries, at most 20"),
    "no-version": (configuration(arns=[ARN.rpartition("/")[0]]), "[0]: the ARN of one version expected"),
    "wildcard": (configuration(arns=[ARN, ARN[:-1] + "*"]), "[1]: "),
    "another-service": (configuration(arns=[ARN.replace(":signer:", ":s3:")]), "the service signer expected"),
    "trailing-slash": (configuration(arns=[ARN + "/"]), "[0]: "),
    "no-string": (configuration(arns=[1]), "a string expected, found a number"),
    "missing": (configuration(AllowedPublishers=None), "AllowedPublishers: an object expected, found null"),
}


@pytest.mark.parametrize(("config", "said"), REFUSED.values(), ids=REFUSED)
def test_what_lambda_would_not_have_is_refused(config: object, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        convert(config)
    assert str(caught.value).startswith("csc.json: ")
    assert said in str(caught.value)


WHOLE = {
    "two": ({"CodeSigningConfigs": [configuration(), configuration()]}, "one configuration expected"),
    "more-pages": ({"CodeSigningConfigs": [configuration()], "NextMarker": "x"}, "one configuration expected"),
    "none": ({"CodeSigningConfigs": []}, "one configuration expected"),
    "a-function": ({"CodeSigningConfigArn": "arn:…", "FunctionName": "f"}, "what get-code-signing-config prints"),
    "array": ([1], "an object expected"),
}


@pytest.mark.parametrize(("document", "said"), WHOLE.values(), ids=WHOLE)
def test_other_documents_are_refused(document: object, said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        convert(document, whole=True)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_mistake_of_the_operators(data: bytes) -> None:
    with pytest.raises(OperatorError):
        code_signing.convert(data, origin="csc.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["CodeSigningConfig", "AllowedPublishers", "SigningProfileVersionArns", "Description"]),
                inner,
            )
        ),
        max_leaves=10,
    )
)
def test_any_document_is_converted_or_refused(value: object) -> None:
    with contextlib.suppress(OperatorError):
        code_signing.convert(json.dumps(value).encode(), origin="csc.json")
