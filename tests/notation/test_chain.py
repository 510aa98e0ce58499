"""Which chains of certificates are complete and fit for signing code: real ones, and made ones with one mistake."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from tests.notation import made
from tests.notation.made import CA, CA_USAGE, LEAF, Node, Profile
from webhook.errors import Code, CountersignError, MalformedError, RejectedError
from webhook.notation import chain
from webhook.trust import path, timestamp

VECTORS = Path(__file__).parent.parent / "vectors" / "notation"
CASES: list[dict[str, Any]] = json.loads((VECTORS / "index.json").read_bytes())["cases"]


def read(name: str) -> x509.Certificate:
    data = (VECTORS / name).read_bytes()
    return x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)


def told(check: Callable[[], None]) -> str:
    try:
        check()
    except CountersignError as error:
        return str(error.code)
    return "accept"


def outcome(*nodes: x509.Certificate | Node) -> str:
    """What becomes of a chain of these."""
    certificates = tuple(one.certificate if isinstance(one, Node) else one for one in nodes)
    return told(lambda: chain.verify(chain.parse(made.der_of(certificates))))


# --- real ones


@pytest.mark.parametrize("case", [pytest.param(one, id=one["id"]) for one in CASES if one["kind"] == "cert-chain"])
def test_real_chains(case: Mapping[str, Any]) -> None:
    certificates = [read(name) for name in case["files"]]
    found = (
        told(lambda: check_time_stamping(certificates)) if case["purpose"] == "timestamping" else outcome(*certificates)
    )

    assert found == case["expect"].get("code", "accept")


def check_time_stamping(certificates: Sequence[x509.Certificate]) -> None:
    """The chains of timestamp authorities are checked elsewhere, where there is a path to find, and another code."""
    leaf, *others, root = certificates
    timestamp._check_leaf(leaf, pinned=False)
    if not list(path.Search([root], others).paths(leaf)):
        raise RejectedError(Code.CERT_CHAIN_INVALID, "no path")


@pytest.mark.parametrize("case", [pytest.param(one, id=one["id"]) for one in CASES if one["kind"] == "cert-role"])
def test_real_certificates(case: Mapping[str, Any]) -> None:
    certificate = read(case["file"])
    roles: dict[str, Callable[[], None]] = {
        "leaf-codesigning": lambda: chain.check_leaf(certificate),
        "leaf-timestamping": lambda: timestamp._check_leaf(certificate, pinned=False),
        "ca-codesigning": lambda: chain.check_authority(certificate, below=case["certsBelow"]),
    }
    found = told(roles[case["role"]])

    assert found.replace("untrusted_material", "cert_chain_invalid") == case["expect"].get("code", "accept")


# --- the leaf

EKU = ExtendedKeyUsageOID
ROOT = made.issue("root", None, CA)


def with_leaf(profile: Profile) -> str:
    return outcome(made.issue("leaf", ROOT, profile), ROOT)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        pytest.param(LEAF, "accept", id="the least"),
        pytest.param(replace(LEAF, constraints=(False, None)), "accept", id="said to be no CA"),
        pytest.param(replace(LEAF, constraints=(False, None), constraints_critical=False), "accept", id="not critical"),
        pytest.param(replace(LEAF, constraints=(True, None)), "cert_chain_invalid", id="a CA"),
        pytest.param(replace(CA, usage=(*CA_USAGE, "digital_signature")), "cert_chain_invalid", id="a CA that signs"),
        pytest.param(replace(LEAF, usage=None), "cert_chain_invalid", id="no key usage"),
        pytest.param(replace(LEAF, usage_critical=False), "cert_chain_invalid", id="key usage not critical"),
        pytest.param(replace(LEAF, usage=("content_commitment",)), "cert_chain_invalid", id="no digitalSignature"),
        pytest.param(
            replace(LEAF, usage=("digital_signature", "content_commitment")), "accept", id="contentCommitment"
        ),
        *(
            pytest.param(replace(LEAF, usage=("digital_signature", more)), "cert_chain_invalid", id=more)
            for more in ("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
        ),
        pytest.param(replace(LEAF, purposes=[EKU.CODE_SIGNING]), "accept", id="codeSigning"),
        pytest.param(
            replace(LEAF, purposes=[EKU.CODE_SIGNING], purposes_critical=True), "accept", id="critical purpose"
        ),
        pytest.param(replace(LEAF, purposes=[ObjectIdentifier("1.2.3.4")]), "accept", id="a purpose of its own"),
        *(
            pytest.param(replace(LEAF, purposes=[EKU.CODE_SIGNING, purpose]), "cert_chain_invalid", id=purpose._name)
            for purpose in (
                EKU.ANY_EXTENDED_KEY_USAGE,
                EKU.SERVER_AUTH,
                EKU.CLIENT_AUTH,
                EKU.EMAIL_PROTECTION,
                EKU.TIME_STAMPING,
                EKU.OCSP_SIGNING,
            )
        ),
        pytest.param(
            replace(LEAF, others=[(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3"), b"\x05\x00"), True)]),
            "accept",
            id="an unknown critical extension, which the specification lets pass",
        ),
    ],
)
def test_leaves(profile: Profile, expected: str) -> None:
    assert with_leaf(profile) == expected


@pytest.mark.parametrize("extension", [x509.KeyUsage, x509.BasicConstraints, x509.ExtendedKeyUsage])
def test_extensions_that_cannot_be_read(extension: type[x509.ExtensionType]) -> None:
    broken = (x509.UnrecognizedExtension(extension.oid, b"\x30\x01"), True)
    certificate = made.issue("leaf", ROOT, replace(LEAF, others=[broken], usage=None))

    assert outcome(certificate, ROOT) == "cert_chain_invalid"


# --- authorities


def with_authority(profile: Profile) -> str:
    authority = made.issue("authority", ROOT, profile)
    return outcome(made.issue("leaf", authority), authority, ROOT)


def with_root(profile: Profile) -> str:
    root = made.issue("the root", None, profile)
    return outcome(made.issue("leaf", root), root)


@pytest.mark.parametrize("place", [with_authority, with_root])
@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        pytest.param(CA, "accept", id="the least"),
        pytest.param(replace(CA, constraints=(True, 0)), "accept", id="no CA below"),
        pytest.param(replace(CA, constraints=None), "cert_chain_invalid", id="no basic constraints"),
        pytest.param(replace(CA, constraints=(False, None)), "cert_chain_invalid", id="no CA"),
        pytest.param(replace(CA, constraints_critical=False), "cert_chain_invalid", id="constraints not critical"),
        pytest.param(replace(CA, usage=None), "cert_chain_invalid", id="no key usage"),
        pytest.param(replace(CA, usage_critical=False), "cert_chain_invalid", id="key usage not critical"),
        pytest.param(replace(CA, usage=("key_cert_sign",)), "accept", id="keyCertSign alone"),
        pytest.param(replace(CA, usage=("crl_sign", "digital_signature")), "cert_chain_invalid", id="no keyCertSign"),
        pytest.param(replace(CA, purposes=[EKU.SERVER_AUTH]), "accept", id="purposes, which are not looked at"),
    ],
)
def test_authorities(place: Callable[[Profile], str], profile: Profile, expected: str) -> None:
    assert place(profile) == expected


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((None, None, None), "accept"),
        ((2, 1, 0), "accept"),
        ((2, 0, 0), "cert_chain_invalid"),
        ((1, 1, 0), "cert_chain_invalid"),
        ((0, None, None), "cert_chain_invalid"),
        ((9, 9, 9), "accept"),
    ],
)
def test_how_many_may_stand_below(lengths: Sequence[int | None], expected: str) -> None:
    """From the root down."""
    node: Node | None = None
    for number, length in enumerate(lengths):
        node = made.issue(f"authority {number}", node, replace(CA, constraints=(True, length)))

    assert outcome(*made.issue("leaf", node).chain) == expected


# --- how they follow each other


def test_chains() -> None:
    leaf = made.leaf_of(length=4)
    first, second, third, root = leaf.chain

    assert outcome(first, second, third, root) == "accept"
    assert outcome(first, second, third) == "cert_chain_invalid"
    assert outcome(first, third, second, root) == "cert_chain_invalid"
    assert outcome(root, third, second, first) == "cert_chain_invalid"
    assert outcome(first, second, root) == "cert_chain_invalid"
    assert outcome(first, second, third, root, root) == "cert_chain_invalid"
    assert outcome(first, first, second, third, root) == "cert_chain_invalid"
    assert (
        outcome(first, second, third, made.issue("root", None, CA, key=made.key_of("p256", "x")))
        == "cert_chain_invalid"
    )
    assert outcome(first, second, third, made.leaf_of(length=1)) == "cert_chain_invalid"
    assert outcome(second, third, root) == "cert_chain_invalid"  # complete, but a CA comes first
    assert outcome(root) == "cert_chain_invalid"
    assert outcome(first) == "cert_chain_invalid"


def test_a_self_signed_leaf_stands_alone() -> None:
    alone = made.leaf_of(length=1)

    assert outcome(alone) == "accept"
    assert outcome(alone, alone) == "cert_chain_invalid"
    assert outcome(made.issue("alone", None, replace(LEAF, usage_critical=False))) == "cert_chain_invalid"
    # a CA with the same name and key is its issuer, and still it is self-signed
    assert outcome(alone, made.issue("leaf", None, CA, key=alone.key)) == "cert_chain_invalid"


def test_self_signed_is_by_the_key_and_not_by_the_name() -> None:
    """Real ones have a leaf and a root of one name."""
    root = made.issue("one name", None, CA)
    leaf = made.issue("one name", root, key=made.key_of("p256", "another"))

    assert leaf.certificate.issuer == leaf.certificate.subject
    assert outcome(leaf, root) == "accept"
    assert outcome(leaf) == "cert_chain_invalid"


def test_who_has_the_key_of_its_issuer_under_another_name_is_not_self_signed() -> None:
    root = made.issue("root", None, CA)

    assert outcome(made.issue("leaf", root, key=root.key), root) == "accept"
    assert outcome(made.issue("root", root, key=root.key), root) == "cert_chain_invalid"


def test_the_signature_decides_and_not_the_name() -> None:
    twin = made.issue("root", None, CA, key=made.key_of("p256", "somebody"))

    assert twin.certificate.subject == ROOT.certificate.subject
    assert outcome(made.issue("leaf", ROOT), twin) == "cert_chain_invalid"


def test_names_are_compared_as_bytes() -> None:
    def name(kind: _ASN1Type) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root", kind)])

    key = made.key_of("p256", "root of two names")
    written, printed = (
        made.issue(name(kind), None, CA, key=key) for kind in (_ASN1Type.UTF8String, _ASN1Type.PrintableString)
    )

    assert written.certificate.subject == printed.certificate.subject
    assert outcome(made.issue("leaf", written), written) == "accept"
    assert outcome(made.issue("leaf", written), printed) == "cert_chain_invalid"


@pytest.mark.parametrize(
    ("kind", "profile", "expected"),
    [
        pytest.param("p256", CA, "accept", id="ECDSA P-256"),
        pytest.param("k256", CA, "accept", id="ECDSA with a curve that no leaf may have"),
        pytest.param("p384", replace(CA, hash=hashes.SHA512()), "accept", id="ECDSA with SHA-512"),
        pytest.param("rsa2048", CA, "accept", id="RSA"),
        pytest.param("rsa2048", replace(CA, pss=True), "accept", id="RSASSA-PSS"),
        pytest.param("rsa3072", replace(CA, hash=hashes.SHA384()), "accept", id="RSA with SHA-384"),
        pytest.param("rsa2047", CA, "cert_chain_invalid", id="RSA too small for any"),
        pytest.param("rsa2048-e3", CA, "cert_chain_invalid", id="RSA with a small exponent"),
        pytest.param("p256", replace(CA, hash=hashes.SHA224()), "cert_chain_invalid", id="SHA-224"),
        pytest.param("p256", replace(CA, hash=hashes.SHA3_256()), "cert_chain_invalid", id="SHA-3"),
        pytest.param("ed25519", CA, "cert_chain_invalid", id="Ed25519"),
        pytest.param("dsa", CA, "cert_chain_invalid", id="DSA"),
    ],
)
def test_how_certificates_are_signed(kind: str, profile: Profile, expected: str) -> None:
    root = made.issue("the root", None, profile, kind=kind)
    leaf = made.issue("leaf", root, replace(LEAF, hash=profile.hash, pss=profile.pss))

    assert outcome(leaf, root) == expected


def test_sha_1_signs_nothing() -> None:
    """No library makes such a certificate any more: one is signed anew, under the name of the other hash."""
    node = made.leaf_of("rsa2048", length=1)
    assert isinstance(node.key, rsa.RSAPrivateKey)
    [der] = made.der_of([node.certificate])
    sha256, sha1 = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("0b", "05"))
    signed = node.certificate.tbs_certificate_bytes
    signature = node.key.sign(signed.replace(sha256, sha1), padding.PKCS1v15(), hashes.SHA1())
    changed = (der[: -len(signature)] + signature).replace(sha256, sha1)

    assert der.count(sha256) == 2
    node.key.public_key().verify(signature, signed.replace(sha256, sha1), padding.PKCS1v15(), hashes.SHA1())
    assert told(lambda: chain.verify(chain.parse([der]))) == "accept"
    assert told(lambda: chain.verify(chain.parse([changed]))) == "cert_chain_invalid"


# --- what they are read from

GOOD = made.der_of(made.leaf_of().chain)


@pytest.mark.parametrize(
    ("listed", "code", "said"),
    [
        pytest.param([], Code.MALFORMED, "at least one certificate expected", id="none"),
        pytest.param(GOOD[:1] * 11, Code.LIMIT_EXCEEDED, "11 certificates, at most 10", id="11"),
        pytest.param(GOOD[:1] * 20, Code.LIMIT_EXCEEDED, "20 certificates, at most 10", id="20"),
        pytest.param([*GOOD, bytes(1 << 20)], Code.LIMIT_EXCEEDED, "at most 65536 bytes", id="1 MiB"),
        pytest.param([*GOOD, bytes((64 << 10) + 1)], Code.LIMIT_EXCEEDED, "at most 65536 bytes", id="over 64 KiB"),
        pytest.param([bytes(60 << 10)] * 3, Code.LIMIT_EXCEEDED, "131072 of all", id="too much altogether"),
        pytest.param([*GOOD, bytes(60 << 10)], Code.MALFORMED, "certificate 3", id="zeros"),
        pytest.param([*GOOD, b""], Code.MALFORMED, "certificate 3", id="empty"),
        pytest.param([GOOD[0] + b"\x00"], Code.MALFORMED, "certificate 0", id="a byte behind it"),
        pytest.param([GOOD[0][:-1]], Code.MALFORMED, "certificate 0", id="cut short"),
        pytest.param([b"".join(GOOD)], Code.MALFORMED, "certificate 0", id="three in one"),
        pytest.param(
            [made.leaf_of().certificate.public_bytes(Encoding.PEM)], Code.MALFORMED, "certificate 0", id="PEM"
        ),
    ],
)
def test_what_is_no_chain(listed: Sequence[bytes], code: Code, said: str) -> None:
    with pytest.raises(MalformedError, match=said) as caught:
        chain.parse(listed)
    assert caught.value.code is code


def test_ten_certificates_are_a_chain() -> None:
    assert outcome(*made.leaf_of(length=10).chain) == "accept"


def test_a_certificate_has_one_spelling() -> None:
    """X.690 8.6.2: the number of bits that are not used would change the fingerprint, and nothing else."""
    node, number = ROOT, 0
    while node.certificate.signature[-1] & 1:
        number += 1
        node = made.issue(f"authority {number}", None, CA)
    [der] = made.der_of([node.certificate])
    position = -1 - len(node.certificate.signature)
    changed = der[:position] + b"\x01" + der[position + 1 :]

    assert x509.load_der_x509_certificate(changed).signature == node.certificate.signature
    with pytest.raises(MalformedError, match="ends within a byte"):
        chain.parse([changed])


@given(data=st.data())
def test_any_certificate_gives_our_errors_only(data: st.DataObject) -> None:
    certificates = list(GOOD)
    which = data.draw(st.integers(0, 2))
    changed = bytearray(certificates[which])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    certificates[which] = bytes(changed)

    assert told(lambda: chain.verify(chain.parse(certificates))) != "accept" or certificates == GOOD
