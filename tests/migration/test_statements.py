"""A Notation document becomes a policy that decides as Notation does with it, or more strictly where it says so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.migration.deciding import (
    OTHER_ROOT,
    ROOT,
    SIGNATURES,
    SIGNER,
    Signature,
    admits,
    comments,
    judged,
)
from tests.notation.aws_like import Node
from webhook.errors import OperatorError
from webhook.migration import notation, statements
from webhook.migration.draft import render
from webhook.migration.notation import StoreName
from webhook.migration.signers import NOBODY
from webhook.policy.decision import Result
from webhook.trust.notary import stores
from webhook.trust.notary.inquiry import Standing
from webhook.trust.notary.stores import BUILT_IN, StoreKind, TrustStore

Raw = dict[str, Any]
APP, OTHER = "registry.example.com/team/app", "registry.example.com/team/other"
SUBJECT = "x509.subject: C=US, ST=WA, O=Acme, CN=Release"
HELD: Mapping[str, Node] = {
    "ca:acme": ROOT,
    "ca:other": OTHER_ROOT,
    "signingAuthority:acme": ROOT,
    "signingAuthority:aws-signer-ts": SIGNER.root,
    "tsa:clock": OTHER_ROOT,
    "ca:copy": ROOT,
}


def statement(name: str = "one", *scopes: str, level: str = "strict", **fields: Any) -> Raw:
    override, verify = fields.pop("override", None), fields.pop("verify", None)
    verification = {"level": level} | ({"override": override} if override else {})
    skipped = level == "skip"
    return {
        "name": name,
        "registryScopes": list(scopes or ["*"]),
        "signatureVerification": verification | ({"verifyTimestamp": verify} if verify else {}),
        "trustStores": [] if skipped else ["ca:acme"],
        "trustedIdentities": [] if skipped else [SUBJECT],
    } | fields


AWS: Raw = {"trustStores": ["signingAuthority:aws-signer-ts"], "trustedIdentities": [SIGNER.arn]}


def held(*names: str) -> Mapping[StoreName, TrustStore]:
    found = {}
    for text in names or HELD:
        kind, _, name = text.partition(":")
        found[StoreName(StoreKind(kind), name)] = HELD[text].store(name, StoreKind(kind))
    return found


def convert(*raw: Raw, given: Mapping[StoreName, TrustStore] | None = None, alone: bool = False) -> bytes:
    read = notation.parse(json.dumps({"version": "1.0", "trustPolicies": list(raw)}).encode())
    return render(statements.convert(read, None if alone else given or held(), origin="trustpolicy.json"))


def spec(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(content)["spec"]
    return found


# --- what Notation does, as the specification has it, of facts instead of bytes

ACTIONS = {
    "strict": dict.fromkeys(("authenticity", "authenticTimestamp", "expiry", "revocation"), "enforce"),
    "permissive": {"authenticity": "enforce", "authenticTimestamp": "log", "expiry": "log", "revocation": "log"},
    "audit": dict.fromkeys(("authenticity", "authenticTimestamp", "expiry", "revocation"), "log"),
}


def original(raw: Sequence[Raw], repository: str, signatures: Sequence[Signature]) -> bool:
    applies = [one for one in raw if repository in one["registryScopes"]]
    applies = applies or [one for one in raw if one["registryScopes"] == ["*"]]
    if not applies:
        return False
    verification = applies[0]["signatureVerification"]
    if verification["level"] == "skip":
        return True
    actions = ACTIONS[verification["level"]] | verification.get("override", {})
    return any(passes(applies[0], actions, one) for one in signatures)


def passes(raw: Raw, actions: Mapping[str, str], signature: Signature) -> bool:
    if not signature.whole or (signature.profile and "*" in raw["trustedIdentities"]):
        return False  # integrity; the plug-in's own rule
    wanted = "signingAuthority" if signature.profile else "ca"
    trusted = [HELD[store] for store in raw["trustStores"] if store.startswith(wanted)]
    failed = {
        "authenticity": signature.root not in trusted or not is_trusted(raw["trustedIdentities"], signature),
        "authenticTimestamp": not signature.timely,
        "expiry": signature.expired,
        "revocation": signature.standing is not Standing.GOOD,
    }
    return not any(failed[check] and actions[check] == "enforce" for check in failed)


def is_trusted(identities: Sequence[str], signature: Signature) -> bool:
    if signature.profile:
        return signature.profile.rpartition("/")[0] in identities or signature.profile in identities
    subjects = [one.partition(":")[2] for one in identities if one.startswith("x509.subject:")]
    pairs = [dict(part.strip().split("=") for part in one.split(",")) for one in subjects]
    return "*" in identities or any(one.items() <= signature.subject.items() for one in pairs)


DOCUMENTS: Mapping[str, Sequence[Raw]] = {
    "strict": [statement()],
    "permissive": [statement(level="permissive")],
    "audit": [statement(level="audit")],
    "anybody": [statement(trustedIdentities=["*"])],
    "two-subjects": [statement(trustedIdentities=[SUBJECT, "x509.subject: C=US, ST=WA, O=Acme, CN=Somebody"])],
    "two-stores": [statement(trustStores=["ca:acme", "ca:other"])],
    "authority-store": [statement(trustStores=["signingAuthority:acme"])],
    "override-log": [statement(override={"revocation": "log", "expiry": "log"})],
    "override-skip": [statement(override={"revocation": "skip"})],
    "override-enforce": [statement(level="permissive", override={"expiry": "enforce", "revocation": "enforce"})],
    "override-authenticity": [statement(override={"authenticity": "log"})],
    "aws": [statement(**AWS)],
    "aws-version": [statement(**AWS | {"trustedIdentities": [SIGNER.version_arn]})],
    "aws-permissive": [statement(level="permissive", **AWS)],
    "aws-no-revocation": [statement(override={"revocation": "skip"}, **AWS)],
    "aws-in-a-ca-store": [statement(trustStores=["ca:acme"], trustedIdentities=[SIGNER.arn])],
    "aws-and-own": [
        statement(
            trustStores=["ca:acme", "signingAuthority:aws-signer-ts"],
            trustedIdentities=[SUBJECT, SIGNER.arn],
        )
    ],
    "one-repository": [statement("app", APP)],
    "levels-by-repository": [statement("app", APP), statement("rest", level="audit")],
    "skipped-repository": [statement("app", APP, level="skip"), statement("rest")],
    "skipped-and-nothing-else": [statement("app", APP, level="skip")],
    "below-each-other": [statement("app", APP), statement("sub", f"{APP}/sub", trustStores=["ca:other"])],
    "skipped-above": [statement("app", APP, level="skip"), statement("sub", f"{APP}/sub")],
}
REPOSITORIES = (APP, f"{APP}/sub", f"{APP}/other", "registry.example.com/team", OTHER, "docker.io/library/nginx")
# Where the policy is stricter, and says so: a repository, or signatures
STRICTER: Mapping[str, Set[str]] = {
    "aws-permissive": {"aws-expired"},  # a profile has no levels
    "skipped-repository": {f"{APP}/sub", f"{APP}/other"},  # an exemption would cover them: denied instead
    "skipped-above": {APP},  # nor can it be exempt where another scope lies below
    "override-authenticity": {"another-subject", "another-root"},  # nobody is asked about strangers
}
AUDITING = {"audit", "levels-by-repository", "override-authenticity"}  # of AWS's signatures, none of a certificate's


@pytest.mark.parametrize("name", DOCUMENTS)
def test_it_decides_as_notation_does(name: str) -> None:
    raw, content = DOCUMENTS[name], convert(*DOCUMENTS[name])
    for repository in REPOSITORIES:
        for case, signatures in SIGNATURES.items():
            then, now = original(raw, repository, signatures), admits(content, repository, signatures)
            told = {case, repository} & STRICTER.get(name, set()) or (case.startswith("aws") and name in AUDITING)
            assert now is then or (told and then), (repository, case, then, now)


@pytest.mark.parametrize("name", sorted({*STRICTER, *AUDITING}))
def test_it_says_where_it_is_stricter(name: str) -> None:
    said = comments(convert(*DOCUMENTS[name]))
    assert any(word in said for word in ("Stricter", "What lies below is denied", "count for signing profiles alone"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_some_signature_tells_each_document_from_denying_everything(name: str) -> None:
    content = convert(*DOCUMENTS[name])
    admitted = [case for case, signatures in SIGNATURES.items() if admits(content, APP, signatures)]
    assert bool(admitted) is (name not in ("aws-in-a-ca-store", "authority-store", "skipped-above"))


# --- how it is written


def test_a_global_statement_is_a_policy_of_signers_alone() -> None:
    found = spec(convert(statement(level="permissive", override={"expiry": "enforce", "revocation": "log"})))
    assert found["certificates"] == [
        {
            "name": "one",
            "trustStore": "acme",
            "subjects": ["C=US, ST=WA, O=Acme, CN=Release"],
            "level": "permissive",
            "override": {"expiry": "enforce"},
        }
    ]
    assert [(store["name"], store["type"]) for store in found["trustStores"]] == [("acme", "ca")]
    assert "rules" not in found


def test_a_clock_is_for_certificates_of_a_ca() -> None:
    both = ["ca:acme", "signingAuthority:acme", "tsa:clock"]
    found = spec(convert(statement(trustStores=both, verify="afterCertExpiry")))
    assert [rule.get("timestamp") for rule in found["certificates"]] == [
        {"trustStore": "clock", "verify": "afterCertExpiry"},
        None,
    ]
    assert [store["name"] for store in found["trustStores"]] == ["acme", "clock", "acme-2"]


def test_stores_of_one_statement_are_one() -> None:
    content = convert(statement(trustStores=["ca:acme", "ca:other"]))
    (store,) = spec(content)["trustStores"]
    assert store["certificates"] == ROOT.pem + OTHER_ROOT.pem
    assert "ca:acme and ca:other of Notation: 'CN=Root,O=Acme" in comments(content)


def test_statements_that_trust_the_same_share_a_signer() -> None:
    found = spec(convert(statement("a", APP), statement("b", OTHER, trustStores=["ca:copy"])))
    assert [store["name"] for store in found["trustStores"]] == ["acme"]
    assert [rule["name"] for rule in found["certificates"]] == ["a"]
    assert found["rules"][-1] == {"images": ["**"], "signers": [NOBODY]}


def test_the_strictest_statement_on_a_profile_holds() -> None:
    content = convert(statement("a", APP, level="audit", **AWS), statement("b", override={"revocation": "log"}, **AWS))
    (profile,) = spec(content)["signerProfiles"]
    assert profile["revocation"] == "warn"
    assert "Stricter" in comments(content)
    content = convert(statement("a", APP, level="audit", **AWS), statement("b", **AWS))
    assert "revocation" not in spec(content)["signerProfiles"][0]


def test_one_profile_under_different_stores_is_refused() -> None:
    own = AWS | {"trustStores": ["signingAuthority:acme"]}
    with pytest.raises(OperatorError, match="under different trust stores"):
        convert(statement("a", APP, **AWS), statement("b", **own))


def test_what_lies_below_a_repository_is_the_last_rules() -> None:
    rules = spec(convert(statement("app", APP), statement("sub", f"{APP}/sub"), statement("rest")))["rules"]
    assert [rule["images"] for rule in rules] == [[f"{APP}/sub/**"], [f"{APP}/sub"], [f"{APP}/**"], [APP], ["**"]]


def test_names_are_such_as_a_policy_takes() -> None:
    found = spec(convert(statement("Prod: Übersee " + "x" * 80), statement("prod", APP, trustStores=["ca:other"])))
    assert [rule["name"] for rule in found["certificates"]] == ["prod-bersee-" + "x" * 38, "prod"]


# --- AWS's own root


def built_in(partition: str = "aws") -> Mapping[StoreName, TrustStore]:
    store = stores.built_in(BUILT_IN[partition])
    assert store is not None
    name = StoreName(StoreKind.SIGNING_AUTHORITY, "aws-signer-ts")
    return {name: TrustStore("aws-signer-ts", StoreKind.SIGNING_AUTHORITY, store.certificates)}


def test_the_root_of_aws_need_not_be_written() -> None:
    for given_ in (built_in(), None):
        found = spec(convert(statement(**AWS), given=given_, alone=given_ is None))
        assert found == {"mode": "enforce", "signerProfiles": [{"name": "demo-profile", "arn": SIGNER.arn}]}


def test_another_root_is_written() -> None:
    found = spec(convert(statement(**AWS)))
    assert found["signerProfiles"][0]["trustStore"] == "aws-signer-ts"


def test_a_profile_of_another_partition_than_the_root_is_nobody() -> None:
    content = convert(statement(**AWS), given=built_in("aws-us-gov"))
    assert [profile["name"] for profile in spec(content)["signerProfiles"]] == [NOBODY]
    assert "under the root of another partition" in comments(content)


def test_whoever_trusts_every_customer_of_aws_is_told() -> None:
    content = convert(statement(**AWS | {"trustedIdentities": ["*"]}), given=built_in())
    assert [profile["name"] for profile in spec(content)["signerProfiles"]] == [NOBODY]
    assert "name signing profiles" in comments(content)


LEFT_OUT = {
    "another-plug-in": ("com.example:thing", "is for a plug-in that is not run here"),
    "wildcard": (SIGNER.arn[:-1] + "*", "wildcards are not known"),
    "trailing-slash": (SIGNER.arn + "/", "nothing expected behind the profile name"),
    "another-service": ("arn:aws:s3:us-west-2:111122223333:/signing-profiles/p", "the service signer expected"),
}


@pytest.mark.parametrize(("identity", "said"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_identities_that_match_nothing_are_told(identity: str, said: str) -> None:
    content = convert(statement(trustedIdentities=[SUBJECT, identity]))
    assert said in comments(content)
    assert f"Left out of statement 'one': '{identity}'" in comments(content)
    assert "signerProfiles" not in spec(content)


# --- scopes


SAME = {
    "docker.io/library/nginx": "docker.io/nginx",
    "ghcr.io/a/b": "GHCR.io/a/b",
    "111122223333.dkr.ecr.us-west-2.amazonaws.com/a": "111122223333.dkr-ecr.us-west-2.on.aws/a",
}


@pytest.mark.parametrize(("one", "other"), SAME.items(), ids=SAME)
def test_one_repository_of_two_statements_is_refused(one: str, other: str) -> None:
    assert convert(statement("a", one, other))
    with pytest.raises(OperatorError, match="is one repository under several names"):
        convert(statement("a", one), statement("b", other))


def test_scopes_that_no_pod_can_name_are_told() -> None:
    content = convert(statement("a", "myhost/app", "127.1/app", APP))
    assert "Left out: myhost/app, 127.1/app." in comments(content)
    assert b"- myhost/app" not in content
    with pytest.raises(OperatorError, match="found none"):
        convert(statement("a", "myhost/app"))


def test_a_shared_registry_is_exempt_only_by_repository() -> None:
    content = convert(statement("hub", "docker.io/library/nginx", level="skip"))
    assert judged(content, "docker.io/library/nginx", ()).result is Result.EXEMPT
    for repository in ("docker.io/library/redis", "docker.io/library/nginx/x", "docker.io/evil/nginx"):
        assert judged(content, repository, ()).result is Result.DENIED


NAMES = ("registry.example.com/a", "registry.example.com/a/b", "registry.example.com/a/b/c", "ghcr.io/a", "ghcr.io/b")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
            st.sampled_from(["skip", "acme", "other"]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_whatever_scopes_lie_below_each_other_nothing_is_laxer(
    drawn: Sequence[tuple[Sequence[str], str]], everywhere: bool
) -> None:
    raw, used = [], set[str]()
    for number, (scopes, kind) in enumerate(drawn):
        if mine := [scope for scope in scopes if scope not in used]:
            used.update(mine)
            trusted = {} if kind == "skip" else {"trustStores": [f"ca:{kind}"]}
            raw.append(statement(f"s{number}", *mine, level="skip" if kind == "skip" else "strict", **trusted))
    if everywhere:
        raw.append(statement("rest", trustStores=["ca:other"]))
    content = convert(*raw)
    skips = any(one["signatureVerification"]["level"] == "skip" for one in raw)
    for repository in (*NAMES, *(f"{name}/z" for name in NAMES), "quay.io/x"):
        for case in ("unsigned", "good", "another-root"):
            then, now = original(raw, repository, SIGNATURES[case]), admits(content, repository, SIGNATURES[case])
            assert then or not now
            assert skips or now is then


# --- without the folder


def test_the_folder_is_needed_for_certificates() -> None:
    with pytest.raises(OperatorError, match=r"--trust-store: required, since .* certificates of ca:acme"):
        convert(statement(), alone=True)
    china = "arn:aws-cn:signer:cn-north-1:111122223333:/signing-profiles/p1"
    with pytest.raises(OperatorError, match="no root of AWS Signer is built in for aws-cn"):
        convert(statement(**AWS | {"trustedIdentities": [china]}), alone=True)
