"""Keys, trust stores and trust roots of a policy in objects of the cluster: named when it loads, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.policy.documents import ISSUER, KEYS, NOW, WORKFLOW, head, parse_one, refused
from tests.policy.notary_documents import CA_PEM, SUBJECT, certificates, marked, profiles, store
from webhook.evidence.model import SignerKind
from webhook.policy import lint, places
from webhook.policy.model import PolicySet
from webhook.trust.material import Hash, Padding
from webhook.trust.notary.levels import CertificateRule
from webhook.trust.notary.stores import StoredCertificates, StoreKind
from webhook.trust.root import RootKind
from webhook.trust.stored import Entry, ObjectKind, StoredKey, StoredObject, StoredRoot

IN_SECRET, IN_MAP = {"secret": {"name": "corp", "key": "a"}}, {"configMap": {"name": "corp", "key": "a"}}
SECRET = Entry(StoredObject(ObjectKind.SECRET, "corp"), "a")
CONFIG_MAP = Entry(StoredObject(ObjectKind.CONFIG_MAP, "corp"), "a")


def keys(*entries: Mapping[str, object]) -> str:
    return f"  trustedKeys: {json.dumps([{'name': f'k{n}', **one} for n, one in enumerate(entries)])}\n"


def root(where: Mapping[str, object]) -> str:
    """A root of its own, and an identity under it."""
    identity = {"name": "ci", "issuer": ISSUER, "subject": WORKFLOW, "trustRoot": "own"}
    return f"  keyless: [{json.dumps(identity)}]\n  trustRoots: [{json.dumps({'name': 'own', **where})}]\n"


def stored(where: Mapping[str, object], **more: object) -> str:
    return store({"certificates": None, **where, **more})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"secret": {"name": "corp", "key": "a"}}, StoredKey(SECRET), id="both"),
        pytest.param(
            {"secret": {"name": "corp"}}, StoredKey(Entry(SECRET.holder, "cosign.pub")), id="key as cosign calls it"
        ),
        pytest.param(
            {**IN_SECRET, "hash": "sha384", "padding": "pss"}, StoredKey(SECRET, Hash.SHA384, Padding.PSS), id="options"
        ),
    ],
)
def test_a_key_in_a_secret(fields: Mapping[str, object], expected: StoredKey) -> None:
    (signer,) = parse_one(head() + keys(fields)).signers
    assert (signer.kind, signer.material, signer.fingerprint) == (SignerKind.KEY, expected, "")
    assert signer.identity == f"key:{expected}"
    assert tuple(places.named([signer])) == (expected,)


@pytest.mark.parametrize(("where", "entry"), [(IN_SECRET, SECRET), (IN_MAP, CONFIG_MAP)], ids=["Secret", "ConfigMap"])
def test_a_root_in_an_object(where: Mapping[str, object], entry: Entry) -> None:
    policy = parse_one(head() + root(where))
    (source,) = policy.trust_roots
    assert (source.kind, source.key, source.inline) == (RootKind.OBJECT, str(entry), None)
    assert tuple(places.named(policy.signers)) == (StoredRoot(entry),)


@pytest.mark.parametrize(("where", "entry"), [(IN_SECRET, SECRET), (IN_MAP, CONFIG_MAP)], ids=["Secret", "ConfigMap"])
def test_a_store_in_an_object(where: Mapping[str, object], entry: Entry) -> None:
    policy = parse_one(head() + certificates({}) + stored(where))
    (rule,) = (signer.material for signer in policy.signers)
    assert isinstance(rule, CertificateRule)
    assert rule.stores == policy.trust_stores
    assert (rule.stores[0].certificates, rule.stores[0].place) == ((), StoredCertificates(entry, StoreKind.CA))
    assert tuple(places.named(policy.signers)) == (StoredCertificates(entry, StoreKind.CA),)


def test_stores_of_profiles_and_clocks_are_named_too() -> None:
    listed = (
        {"certificates": None, "type": "signingAuthority", **IN_SECRET},
        {"name": "clock", "certificates": None, "type": "tsa", **IN_MAP},
    )
    more = profiles({"trustStore": "acme"}) + certificates({"timestamp": {"trustStore": "clock"}}) + store(*listed)
    assert list(places.named(parse_one(head() + more).signers)) == [
        StoredCertificates(SECRET, StoreKind.SIGNING_AUTHORITY),
        StoredCertificates(SECRET, StoreKind.SIGNING_AUTHORITY),
        StoredCertificates(CONFIG_MAP, StoreKind.TSA),
    ]


def test_nothing_of_the_cluster_is_needed_for_what_stands_in_the_policy() -> None:
    assert not list(places.named(parse_one(head() + KEYS + certificates({}) + store({})).signers))


def test_rules_that_judge_otherwise_are_known_apart() -> None:
    one, other = (
        parse_one(head() + certificates({}) + stored({"secret": {"name": "corp", "key": key}})).signers[0]
        for key in ("a", "b")
    )
    assert one.known_as != other.known_as


def test_nothing_is_found_wrong_with_what_is_not_at_hand() -> None:
    policy = parse_one(head() + keys(IN_SECRET) + certificates({}) + stored(IN_MAP))
    assert not [one for one in lint.lint(PolicySet((policy,), "", "here"), now=NOW) if "trustStores" in one.path]


A_NAME = "the name of an object, at most 253 characters, a-z, 0-9 and inner - and ., expected, found "
A_KEY = "a key of an object's data, A-Z, a-z, 0-9, -, _ and ., expected, found "
KEY, STORE, ROOT = "spec.trustedKeys[0]", "spec.trustStores[0]", "spec.trustRoots[0]"
KNOWN = "unknown field; known here are name, publicKey, kms, secret, hash, padding, requireLog, trustRoot"
SAME_RULE = "the same rule about certificates as acme in line 8: one rule about certificates is one signer"
ONE_KEY = "exactly one of publicKey, kms and secret expected, found "
ONE_STORE = "exactly one of certificates, secret and configMap expected, found "
ONE_ROOT = "exactly one of trustedRoot, file, tuf, material, secret and configMap expected, found "

REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "two keys": (marked(keys({**IN_SECRET, "publicKey": "x"})), [(KEY, f"{ONE_KEY}publicKey and secret")]),
    "three keys": (
        marked(keys({**IN_SECRET, "publicKey": "x", "kms": "awskms:///alias/x"})),
        [(KEY, f"{ONE_KEY}publicKey and kms and secret")],
    ),
    "one key under two names": (
        marked(keys(IN_SECRET, {**IN_SECRET, "hash": "sha512"})),
        [("spec.trustedKeys[1].secret", "the same key as k0 in line 7: one key is one signer")],
    ),
    "key in a ConfigMap": (
        marked(keys(IN_MAP)),
        [
            (f"{KEY}.configMap", KNOWN),
        ],
    ),
    "secret that is text": (
        marked(keys({"secret": "corp"})),
        [(f"{KEY}.secret", "a mapping of fields expected, found 'corp'")],
    ),
    "secret without a name": (
        marked(keys({"secret": {"key": "a"}})),
        [(
            f"{KEY}.secret.name",
            "required, and missing: the name of a Secret in the namespace where the webhook is installed",
        )],
    ),
    "secret of another namespace": (
        marked(keys({"secret": {"name": "corp", "namespace": "kube-system"}})),
        [(f"{KEY}.secret.namespace", "unknown field; did you mean name?")],
    ),
    "two selectors in a name": (
        marked(keys({"secret": {"name": "corp,metadata.name=other"}})),
        [(f"{KEY}.secret.name", f"{A_NAME}'corp,metadata.name=other'")],
    ),
    "a path": (marked(keys({"secret": {"name": "../x"}})), [(f"{KEY}.secret.name", f"{A_NAME}'../x'")]),
    "a long name": (
        marked(keys({"secret": {"name": "a" * 254}})),
        [(f"{KEY}.secret.name", f"{A_NAME}'{'a' * 80}'...")],
    ),
    "a name of two dots": (marked(keys({"secret": {"name": "a..b"}})), [(f"{KEY}.secret.name", f"{A_NAME}'a..b'")]),
    "an empty key": (
        marked(keys({"secret": {"name": "corp", "key": ""}})), [(f"{KEY}.secret.key", f"{A_KEY}''")]
    ),
    "a key with a slash": (
        marked(keys({"secret": {"name": "corp", "key": "a/b"}})), [(f"{KEY}.secret.key", f"{A_KEY}'a/b'")]
    ),
    "a key that is a number": (
        marked(keys({"secret": {"name": "corp", "key": 7}})),
        [(f"{KEY}.secret.key", "a key of an object's data expected, found the number 7; put it in quotes")],
    ),
    "two stores": (
        KEYS + marked(store({**IN_SECRET, "certificates": CA_PEM})), [(STORE, f"{ONE_STORE}certificates and secret")]
    ),
    "two objects": (KEYS + marked(stored({**IN_SECRET, **IN_MAP})), [(STORE, f"{ONE_STORE}secret and configMap")]),
    "store without a key": (
        KEYS + marked(stored({"configMap": {"name": "corp"}})),
        [(f"{STORE}.configMap.key", "required, and missing: under which its data has the text")],
    ),
    "store of AWS by its name": (
        stored(IN_SECRET, name="aws-signer", type="signingAuthority")
        + marked(certificates({"trustStore": "aws-signer"})),
        [(
            "spec.certificates[0].trustStore",
            "every customer of AWS Signer signs by the same subject: name your profile, under signerProfiles",
        )],
    ),
    "store of another type than is wanted": (
        stored(IN_SECRET, type="tsa") + marked(certificates({})),
        [("spec.certificates[0].trustStore", "a trust store of the type ca or signingAuthority expected, acme is tsa")],
    ),
    "one rule under two names": (
        stored(IN_SECRET) + marked(certificates({}, {"name": "again"})),
        [("spec.certificates[1]", SAME_RULE)],
    ),
    "two roots": (marked(root({**IN_SECRET, "file": "a"})), [(ROOT, f"{ONE_ROOT}file and secret")]),
    "root without a name": (
        marked(root({"secret": {"key": "a"}})),
        [(
            f"{ROOT}.secret.name",
            "required, and missing: the name of the object, in the namespace where the webhook is installed",
        )],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), REFUSED.values(), ids=REFUSED)
def test_mistake_is_named_with_its_path_and_line(more: str, expected: list[tuple[str, str]]) -> None:
    assert refused(more) == expected


@pytest.mark.parametrize("name", ["a", "a.b", "a-b.c-d", "0", "a" * 253])
def test_names_that_kubernetes_takes(name: str) -> None:
    assert parse_one(head() + keys({"secret": {"name": name}})).signers


def test_rules_about_two_objects_are_two_signers() -> None:
    listed = ({"certificates": None, **IN_SECRET}, {"name": "b", "certificates": None, **IN_MAP})
    more = certificates({}, {"name": "b", "trustStore": "b", "subjects": [SUBJECT]}) + store(*listed)
    assert len(parse_one(head() + more).signers) == 2
