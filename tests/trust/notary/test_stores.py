"""Trust stores: what may be in one, and the roots of AWS Signer that are built in."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.notation import aws_like, vectors
from webhook.errors import MalformedError
from webhook.trust.notary import stores
from webhook.trust.notary.stores import BUILT_IN, MAX_CERTIFICATES, MAX_PEM_BYTES, StoreKind, TrustStore

AWS = vectors.VECTORS / "aws-signer"
ROOT = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root")
CA = aws_like.issue("C=US,ST=WA,O=Acme,CN=CA", ROOT, ca=True)
LEAF = aws_like.issue("C=US,ST=WA,O=Acme,CN=Leaf", CA)
LONELY = aws_like.issue("C=US,ST=WA,O=Acme,CN=Lonely", ca=False)
KEY = ROOT.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def told(pem: str, kind: StoreKind = StoreKind.CA) -> str:
    try:
        return f"{len(stores.parse('acme', kind, pem).certificates)}"
    except MalformedError as error:
        return error.code.value


@pytest.mark.parametrize("case", vectors.cases(vectors.NOTATION, "trust-store"), ids=lambda case: case["id"])
def test_real_stores(case: Mapping[str, Any]) -> None:
    expect = case["expect"]
    pem = vectors.pem(*(vectors.NOTATION / file for file in case["files"]))
    assert told(pem, StoreKind(case["type"])) == str(expect.get("certificates", "malformed"))


@pytest.mark.parametrize(
    ("kind", "nodes", "expected"),
    [
        (StoreKind.CA, [ROOT], "1"),
        (StoreKind.CA, [ROOT, CA], "2"),
        (StoreKind.CA, [LONELY], "1"),
        (StoreKind.CA, [LEAF], "malformed"),
        (StoreKind.CA, [ROOT, LEAF], "malformed"),
        (StoreKind.SIGNING_AUTHORITY, [CA], "1"),
        (StoreKind.SIGNING_AUTHORITY, [LEAF], "malformed"),
        (StoreKind.TSA, [ROOT], "1"),
        (StoreKind.TSA, [CA], "malformed"),
        (StoreKind.TSA, [LONELY], "malformed"),
        (StoreKind.TSA, [ROOT, CA], "malformed"),
    ],
)  # fmt: skip
def test_each_kind_of_store_holds_its_kind_of_certificate(
    kind: StoreKind, nodes: list[aws_like.Node], expected: str
) -> None:
    assert told("".join(node.pem for node in nodes), kind) == expected


@pytest.mark.parametrize(
    ("pem", "expected"),
    [
        (f"# our root\n{ROOT.pem}\nand another:\n{CA.pem}", "2"),
        ("", "malformed"),
        ("MIIB", "malformed"),
        (ROOT.pem.replace("MII", "MIJ", 1), "malformed"),
        (ROOT.pem[:200], "malformed"),
        (ROOT.pem + ROOT.pem[:200], "malformed"),
        (ROOT.pem + KEY, "malformed"),
        (ROOT.pem + "-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n", "malformed"),
        (ROOT.pem + "\ud800", "malformed"),
        (ROOT.pem + " " * (MAX_PEM_BYTES - len(ROOT.pem)), "1"),
        (ROOT.pem + " " * (MAX_PEM_BYTES - len(ROOT.pem) + 1), "limit_exceeded"),
        (ROOT.pem * MAX_CERTIFICATES, str(MAX_CERTIFICATES)),
        (ROOT.pem * (MAX_CERTIFICATES + 1), "limit_exceeded"),
    ],
    ids=["text-around", "nothing", "no-block", "other-bytes", "cut", "second-cut", "private-key", "crl", "surrogate",
         "longest", "too-long", "most", "too-many"],
)  # fmt: skip
def test_what_is_read(pem: str, expected: str) -> None:
    assert told(pem) == expected


def test_a_certificate_that_is_too_long() -> None:
    padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.99"), b"\x00" * (64 << 10))
    assert told(aws_like.issue("C=US,ST=WA,O=Acme,CN=Long", extensions=[padding]).pem) == "malformed"


def test_a_certificate_that_cannot_be_read_in_part() -> None:
    assert told(aws_like.unreadable().pem) == "malformed"


@given(st.text())
def test_any_text(text: str) -> None:
    assert told(text) == "malformed"


@pytest.mark.parametrize(
    "case", json.loads((AWS / "index.json").read_bytes())["rootCertificates"], ids=lambda c: c["file"]
)
def test_the_roots_of_aws_signer_are_built_in(case: Mapping[str, Any]) -> None:
    (partition,) = case["partitions"]
    store = stores.built_in(BUILT_IN[partition])
    assert store is not None
    assert [hashlib.sha256(der).hexdigest() for der in store.certificates] == [case["sha256Fingerprint"]]
    assert (store.kind, store.partition) == (StoreKind.SIGNING_AUTHORITY, partition)


def test_nothing_else_is_built_in() -> None:
    assert sorted(BUILT_IN) == ["aws", "aws-us-gov"]
    assert stores.built_in("../data/aws-signer") is None
    assert stores.built_in("aws") is None


def test_a_store_of_the_same_name_has_no_partition() -> None:
    """A policy may replace the built-in store, and knows then what it does."""
    assert ROOT.store("aws-signer", StoreKind.SIGNING_AUTHORITY).partition == ""


def test_a_fingerprint_is_of_what_is_in_a_store() -> None:
    one = ROOT.store("acme", StoreKind.CA)
    assert ROOT.store("other", StoreKind.CA).fingerprint == one.fingerprint
    others = [CA.store("acme", StoreKind.CA), ROOT.store("acme", StoreKind.SIGNING_AUTHORITY)]
    others.append(TrustStore("acme", StoreKind.CA, (ROOT.der, CA.der)))
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_a_store_goes_to_other_processes() -> None:
    store = ROOT.store("acme", StoreKind.CA)
    assert pickle.loads(pickle.dumps(store)) == store
    assert str(store) == "ca:acme"


def test_the_files_are_those_that_were_compared() -> None:
    data = Path(stores.__file__).parent.parent / "data"
    for name in BUILT_IN.values():
        assert (data / f"{name}.pem").read_bytes() == (AWS / f"{name}-notation-root.pem").read_bytes()
