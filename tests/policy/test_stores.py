"""Trust stores of a policy: parsed when it loads, or refused where they stand."""

from __future__ import annotations

import pytest

from tests.policy.documents import KEYS, head, parse_one, refused
from tests.policy.notary_documents import (
    ACME,
    CA_PEM,
    INTERMEDIATE_PEM,
    LEAF_PEM,
    OTHER_PEM,
    PROFILES,
    aws_pem,
    certificates,
    marked,
    profiles,
    store,
)
from webhook.policy.syntax.models import MAX_TRUST_STORES
from webhook.trust.notary.levels import CertificateRule
from webhook.trust.notary.profile import SigningProfile
from webhook.trust.notary.stores import StoreKind, built_in


@pytest.mark.parametrize(
    ("entry", "kind", "count"),
    [
        pytest.param({"certificates": CA_PEM}, StoreKind.CA, 1, id="ca"),
        pytest.param({"certificates": CA_PEM + OTHER_PEM}, StoreKind.CA, 2, id="two"),
        pytest.param({"certificates": INTERMEDIATE_PEM}, StoreKind.CA, 1, id="intermediate"),
        pytest.param({"type": "signingAuthority"}, StoreKind.SIGNING_AUTHORITY, 1, id="signing authority"),
        pytest.param({"type": "tsa"}, StoreKind.TSA, 1, id="clock"),
    ],
)
def test_store_is_read_when_the_policy_loads(entry: dict[str, str], kind: StoreKind, count: int) -> None:
    (found,) = parse_one(head() + KEYS + store(entry)).trust_stores
    assert (found.name, found.kind, len(found.certificates)) == ("acme", kind, count)


def test_the_stores_of_aws_are_there_without_being_listed() -> None:
    policy = parse_one(head() + PROFILES)
    assert policy.trust_stores == ()
    assert isinstance(policy.signers[0].material, SigningProfile)
    assert policy.signers[0].material.store == built_in("aws-signer")


def test_a_policy_may_put_its_own_store_in_the_place_of_a_built_in_one() -> None:
    own = store({"name": "aws-signer", "type": "signingAuthority"})
    replaced, other = parse_one(head() + PROFILES + own).signers[0].material, parse_one(head() + PROFILES)
    assert isinstance(replaced, SigningProfile)
    assert replaced.store.certificates != other.signers[0].material.store.certificates  # type: ignore[union-attr]


def test_a_rule_holds_the_store_that_it_names() -> None:
    material = parse_one(head() + certificates({}) + store({"name": "b", "certificates": OTHER_PEM}, {})).signers[0]
    assert isinstance(material.material, CertificateRule)
    assert [one.name for one in material.material.stores] == ["acme"]


OWN = "spec.trustStores[0]"
REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "a name twice": (
        KEYS + marked(store({}, {"type": "tsa"})),
        [("spec.trustStores[1].name", "a second trust store named 'acme', first in line 20")],
    ),
    "no list": (
        KEYS + "  trustStores: [] #!\n",
        [("spec.trustStores", "an empty list says nothing: leave the field out, or name at least one")],
    ),
    "too many": (
        KEYS + marked(store(*({"name": f"s{n}"} for n in range(MAX_TRUST_STORES + 1)))),
        [("spec.trustStores", f"at most {MAX_TRUST_STORES} expected, found {MAX_TRUST_STORES + 1}")],
    ),
    "unknown type": (
        KEYS + marked(store({"type": "root"})),
        [(f"{OWN}.type", "'ca', 'signingAuthority' or 'tsa' expected, found 'root'")],
    ),
    "unknown field": (
        KEYS + marked(store({"pem": CA_PEM})),
        [(f"{OWN}.pem", "unknown field; known here are name, type, certificates, secret, configMap")],
    ),
    "no certificates": (
        KEYS + marked(store({"certificates": None})),
        [(
            f"{OWN}.certificates",
            "required, and missing: one or more certificates in PEM; or secret or configMap, where they are",
        )],
    ),
    "no PEM": (
        KEYS + marked(store({"certificates": "hello"})),
        [(f"{OWN}.certificates", "a PEM block expected, -----BEGIN CERTIFICATE-----, found none")],
    ),
    "a certificate that issues nothing": (
        KEYS + marked(store({"certificates": CA_PEM + LEAF_PEM})),
        [(f"{OWN}.certificates", "certificate 2, '': neither a CA nor self-signed")],
    ),
    "a clock's authority that is no root": (
        KEYS + marked(store({"type": "tsa", "certificates": INTERMEDIATE_PEM})),
        [(
            f"{OWN}.certificates",
            "certificate 1, 'CN=Below,O=private.test': a store of the type tsa holds self-signed CAs only",
        )],
    ),
    "another type in the place of a built-in store": (
        KEYS + marked(store({"name": "aws-signer"})),
        [(f"{OWN}.type", "signingAuthority expected, as of the built-in store whose place it takes, found ca")],
    ),
    "a store that nobody lists": (
        ACME + marked(certificates({"trustStore": "acne"})),
        [(
            "spec.certificates[0].trustStore",
            "no trust store is named acne; there are acme, aws-signer, aws-us-gov-signer",
        )],
    ),
    "a clock that vouches for signers": (
        store({"type": "tsa"}) + marked(certificates({})),
        [(
            "spec.certificates[0].trustStore",
            "a trust store of the type ca or signingAuthority expected, acme is tsa",
        )],
    ),
    "a CA that vouches for AWS": (
        store({"certificates": aws_pem()}) + marked(profiles({"trustStore": "acme"})),
        [("spec.signerProfiles[0].trustStore", "a trust store of the type signingAuthority expected, acme is ca")],
    ),
    "a CA that vouches for clocks": (
        ACME + marked(certificates({"timestamp": {"trustStore": "acme"}})),
        [("spec.certificates[0].timestamp.trustStore", "a trust store of the type tsa expected, acme is ca")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), REFUSED.values(), ids=REFUSED)
def test_mistake_is_named_with_its_path_and_line(more: str, expected: list[tuple[str, str]]) -> None:
    assert refused(more) == expected
