"""How an envelope is signed: one algorithm for each key, in one encoding."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.notation import made
from webhook.errors import Code, RejectedError, TamperedError
from webhook.notation import algorithm

MESSAGE = b"protected.payload"


def told(kind: str, signature: bytes, *, named: str = "") -> str:
    key = algorithm.signing_key(made.leaf_of(kind).certificate)
    try:
        key.verify(signature, MESSAGE, algorithm=named or made.ALGORITHMS[kind])
    except TamperedError as error:
        return str(error.code)
    return "verified"


@pytest.mark.parametrize("kind", made.ALGORITHMS)
def test_one_algorithm_for_each_key(kind: str) -> None:
    signature = made.sign(made.leaf_of(kind).key, MESSAGE)
    others = set(made.ALGORITHMS.values()) - {made.ALGORITHMS[kind]}

    assert told(kind, signature) == "verified"
    for named in (*others, "none", "HS256", "RS256", ""):
        key = algorithm.signing_key(made.leaf_of(kind).certificate)
        with pytest.raises(TamperedError, match="the algorithm of its signing certificate") as caught:
            key.verify(signature, MESSAGE, algorithm=named)
        assert caught.value.code is Code.SIGNATURE_INVALID


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "rsa4096"])
def test_the_salt_is_as_long_as_the_hash(kind: str) -> None:
    """RFC 7518 3.5."""
    key = made.leaf_of(kind).key
    size = int(made.ALGORITHMS[kind][2:]) // 8

    assert told(kind, made.sign(key, MESSAGE, salt=size)) == "verified"
    for other in (0, size - 1, size + 1, 100):
        assert told(kind, made.sign(key, MESSAGE, salt=other)) == "signature_invalid"


def test_other_rsa_signatures() -> None:
    key = made.leaf_of("rsa2048").key
    assert isinstance(key, rsa.RSAPrivateKey)
    sha256, sha384 = hashes.SHA256(), hashes.SHA384()
    mixed = padding.PSS(padding.MGF1(hashes.SHA1()), 32)

    assert told("rsa2048", key.sign(MESSAGE, padding.PKCS1v15(), sha256)) == "signature_invalid"
    assert told("rsa2048", key.sign(MESSAGE, padding.PSS(padding.MGF1(sha384), 48), sha384)) == "signature_invalid"
    assert told("rsa2048", key.sign(MESSAGE, mixed, sha256)) == "signature_invalid"


@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_r_and_s_are_as_long_as_the_field(kind: str) -> None:
    """RFC 7518 3.4."""
    key = made.leaf_of(kind).key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    good = made.sign(key, MESSAGE)
    half = len(good) // 2
    r, s = good[:half], good[half:]

    assert len(good) == {"p256": 64, "p384": 96, "p521": 132}[kind]
    assert told(kind, good) == "verified"
    der = key.sign(MESSAGE, ec.ECDSA(hashes.SHA256()))
    for bad in (
        der,
        b"\x00" + r + b"\x00" + s,
        r[1:] + s,
        r + b"\x00" + s,
        good + b"\x00",
        s + r,
        bytes(2 * half),
        bytes(half) + s,
        b"",
    ):
        assert told(kind, bad) == "signature_invalid"


@pytest.mark.parametrize("kind", ["k256", "p224", "ed25519", "dsa", "rsa1024", "rsa2047", "rsa3071", "rsa2048-e3"])
def test_other_keys_sign_nothing(kind: str) -> None:
    leaf = made.issue("leaf", made.issue("root", None, made.CA), kind=kind)

    with pytest.raises(RejectedError) as caught:
        algorithm.signing_key(leaf.certificate)
    assert caught.value.code is Code.CERT_CHAIN_INVALID
