"""Which public keys load, with which schemes, and what their signatures do and do not prove."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from webhook.demo import signing
from webhook.demo.signing import SigningKey
from webhook.errors import Code, CountersignError, MalformedError, RejectedError
from webhook.trust import material
from webhook.trust.material import Hash, Padding, PublicKey

DATA = b"the signed bytes"
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
SPKI, PKCS1 = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1

KINDS = {
    "p256": ("ECDSA P-256", ("sha256",)),
    "p384": ("ECDSA P-384", ("sha384", "sha256")),
    "p521": ("ECDSA P-521", ("sha512", "sha256")),
    "rsa2048": ("RSA 2048", ("sha256",)),
    "rsa3072": ("RSA 3072", ("sha256",)),
    "rsa4096": ("RSA 4096", ("sha256",)),
    "rsa-pss": ("RSA 2048", ("pss-sha256",)),
    "ed25519": ("Ed25519", ("pure",)),
}

key_of = functools.cache(signing.new_key)


def public(kind: str) -> PublicKey:
    padding = Padding.PSS if kind == "rsa-pss" else Padding.PKCS1V15
    return material.parse_public_key(key_of(kind).public_pem, padding=padding)


def code_of(act: Callable[[], object]) -> tuple[type[CountersignError], Code]:
    with pytest.raises(CountersignError) as caught:
        act()
    return type(caught.value), caught.value.code


INVALID = (RejectedError, Code.SIGNATURE_INVALID)
MALFORMED = (MalformedError, Code.MALFORMED)
UNSUPPORTED = (MalformedError, Code.UNSUPPORTED)
LIMIT = (MalformedError, Code.LIMIT_EXCEEDED)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_verifies_its_own_signature_and_no_other(kind: str) -> None:
    key, signature = public(kind), key_of(kind).sign(DATA)

    key.verify(signature, DATA)

    assert (key.algorithm, key.schemes) == KINDS[kind]
    assert code_of(lambda: key.verify(signature, DATA + b" ")) == INVALID
    assert code_of(lambda: key.verify(signature[:-1], DATA)) == INVALID
    assert code_of(lambda: key.verify(b"", DATA)) == INVALID
    other = material.parse_public_key(signing.new_key("p256").public_pem)
    assert code_of(lambda: other.verify(signature, DATA)) == INVALID


SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()


@pytest.mark.parametrize(
    ("kind", "option", "signed_with", "accepted"),
    [
        ("p256", None, SHA256, True),
        ("p256", None, SHA384, False),
        ("p256", Hash.SHA384, SHA384, True),
        ("p256", Hash.SHA384, SHA256, False),
        ("p384", None, SHA384, True),
        ("p384", None, SHA256, True),
        ("p384", None, SHA512, False),
        ("p384", Hash.SHA384, SHA384, True),
        ("p384", Hash.SHA384, SHA256, False),
        ("p384", Hash.SHA256, SHA256, True),
        ("p384", Hash.SHA256, SHA384, False),
        ("p521", None, SHA512, True),
        ("p521", None, SHA256, True),
        ("p521", None, SHA384, False),
        ("p521", Hash.SHA512, SHA256, False),
        ("rsa2048", None, SHA256, True),
        ("rsa2048", None, SHA384, False),
        ("rsa2048", Hash.SHA512, SHA512, True),
        ("rsa2048", Hash.SHA512, SHA256, False),
    ],
)
def test_hash_replaces_the_usual_hashes(
    kind: str, option: Hash | None, signed_with: hashes.HashAlgorithm, accepted: bool
) -> None:
    key = material.parse_public_key(key_of(kind).public_pem, hash=option)
    signature = key_of(kind).sign(DATA, signed_with)

    if accepted:
        key.verify(signature, DATA)
    else:
        assert code_of(lambda: key.verify(signature, DATA)) == INVALID


@pytest.mark.parametrize("salt", [rsa_padding.PSS.MAX_LENGTH, rsa_padding.PSS.DIGEST_LENGTH, 0])
def test_padding_pss_takes_any_salt_and_only_pss(salt: int) -> None:
    private = key_of("rsa2048").private
    assert isinstance(private, rsa.RSAPrivateKey)
    signature = private.sign(DATA, rsa_padding.PSS(rsa_padding.MGF1(SHA256), salt), SHA256)
    pem = key_of("rsa2048").public_pem

    material.parse_public_key(pem, padding=Padding.PSS).verify(signature, DATA)

    assert code_of(lambda: material.parse_public_key(pem).verify(signature, DATA)) == INVALID
    pss = material.parse_public_key(pem, padding=Padding.PSS)
    assert code_of(lambda: pss.verify(key_of("rsa2048").sign(DATA), DATA)) == INVALID


def test_pss_generates_its_mask_with_the_same_hash() -> None:
    private = key_of("rsa2048").private
    assert isinstance(private, rsa.RSAPrivateKey)
    mixed = private.sign(DATA, rsa_padding.PSS(rsa_padding.MGF1(SHA384), 32), SHA256)
    key = material.parse_public_key(key_of("rsa2048").public_pem, padding=Padding.PSS)

    assert code_of(lambda: key.verify(mixed, DATA)) == INVALID


@pytest.mark.parametrize(
    ("kind", "hash_option", "padding"),
    [
        ("ed25519", Hash.SHA512, Padding.PKCS1V15),
        ("ed25519", None, Padding.PSS),
        ("p256", None, Padding.PSS),
        ("p384", Hash.SHA384, Padding.PSS),
    ],
)
def test_options_that_do_not_fit_the_key_are_refused(kind: str, hash_option: Hash | None, padding: Padding) -> None:
    pem = key_of(kind).public_pem

    assert code_of(lambda: material.parse_public_key(pem, hash=hash_option, padding=padding)) == UNSUPPORTED


@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_r_and_s_side_by_side_verify_too(kind: str) -> None:
    half = {"p256": 32, "p384": 48, "p521": 66}[kind]
    r, s = decode_dss_signature(key_of(kind).sign(DATA))
    raw = r.to_bytes(half, "big") + s.to_bytes(half, "big")

    public(kind).verify(raw, DATA)

    for near_miss in (raw + b"\0", raw[:-1], b"\0" * len(raw), raw[half:] + raw[:half], b"\xff" * len(raw)):
        assert code_of(functools.partial(public(kind).verify, near_miss, DATA)) == INVALID


def test_ecdsa_signatures_are_malleable_so_they_identify_nothing() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(key_of("p256").sign(DATA))

    public("p256").verify(encode_dss_signature(r, order - s), DATA)


@pytest.mark.parametrize("kind", ["p256", "rsa2048", "ed25519"])
def test_signatures_are_bounded(kind: str) -> None:
    key = public(kind)

    assert code_of(lambda: key.verify(b"0" * 65536, DATA)) == INVALID
    assert code_of(lambda: key.verify(b"0" * 65537, DATA)) == LIMIT


def test_an_ed25519_mismatch_says_what_cosign_3_does() -> None:
    with pytest.raises(RejectedError, match=r"Ed25519ph.*docs/keys\.md#ed25519"):
        public("ed25519").verify(b"0" * 64, DATA)
    with pytest.raises(RejectedError) as caught:
        public("p256").verify(b"0" * 64, DATA)
    assert "Ed25519" not in caught.value.detail


def test_a_key_made_without_parsing_verifies_nothing() -> None:
    assert code_of(lambda: PublicKey("00" * 32, "ECDSA P-256").verify(key_of("p256").sign(DATA), DATA)) == INVALID


# --- what loads


def pem_of(key: object, form: serialization.PublicFormat = SPKI) -> str:
    return key.public_bytes(PEM, form).decode()  # type: ignore[attr-defined, no-any-return]


def rsa_pem(bits: int, exponent: int = 65537) -> str:
    """An RSA key by its size only; nobody could sign with it."""
    return pem_of(rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) | 1).public_key())


def curve_pem(curve: ec.EllipticCurve) -> str:
    return pem_of(ec.generate_private_key(curve).public_key())


def relabel(pem: str, label: str) -> str:
    return pem.replace("PUBLIC KEY", label)


def compressed(key: SigningKey) -> str:
    private = key.private
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    point = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    return wrap(der)


def wrap(der: bytes, label: str = "PUBLIC KEY") -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def with_pss_identifier(pem: str) -> str:
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    plain, pss = bytes.fromhex("06092a864886f70d0101010500"), bytes.fromhex("06092a864886f70d01010a3000")
    assert plain in der
    return wrap(der.replace(plain, pss))


PEM_256 = key_of("p256").public_pem
RSA_PEM = key_of("rsa2048").public_pem
PRIVATE = key_of("p256").private_pem
ENCRYPTED = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
CERTIFICATE = relabel(PEM_256, "CERTIFICATE")


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(PEM_256, id="as cosign writes it"),
        pytest.param(PEM_256.encode(), id="bytes"),
        pytest.param(PEM_256.strip(), id="no newline at the end"),
        pytest.param(f"\r\n \t{PEM_256}\n\n", id="space around"),
        pytest.param(PEM_256.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(rsa_pem(2048), id="RSA 2048"),
        pytest.param(rsa_pem(8192), id="RSA 8192"),
        pytest.param(rsa_pem(2048, (1 << 31) - 1), id="largest exponent"),
    ],
)
def test_keys_that_load(pem: str | bytes) -> None:
    assert material.parse_public_key(pem).schemes == ("sha256",)


@pytest.mark.parametrize(
    ("pem", "expected"),
    [
        pytest.param("", MALFORMED, id="empty"),
        pytest.param("release.pub", MALFORMED, id="a file name"),
        pytest.param("\u2028" + PEM_256, MALFORMED, id="unicode space"),
        pytest.param("key:\n" + PEM_256, MALFORMED, id="text before"),
        pytest.param(PEM_256 + "# release", MALFORMED, id="text after"),
        pytest.param(PEM_256 + PEM_256, MALFORMED, id="two blocks"),
        pytest.param(PEM_256 + RSA_PEM, MALFORMED, id="two keys"),
        pytest.param(PEM_256 + CERTIFICATE, MALFORMED, id="a key and a certificate"),
        pytest.param(PRIVATE, MALFORMED, id="private key"),
        pytest.param(PEM_256 + PRIVATE, MALFORMED, id="both halves"),
        pytest.param(ENCRYPTED, MALFORMED, id="cosign.key"),
        pytest.param(CERTIFICATE, MALFORMED, id="certificate"),
        pytest.param(PEM_256[:-30], MALFORMED, id="cut short"),
        pytest.param(PEM_256.replace("-----\n", "-----\nProc-Type: 4\n\n", 1), MALFORMED, id="headers"),
        pytest.param(PEM_256.replace("MF", "M F", 1), MALFORMED, id="space inside"),
        pytest.param(PEM_256.replace("BEGIN PUBLIC", "BEGIN RSA PUBLIC"), MALFORMED, id="labels differ"),
        pytest.param(relabel(PEM_256, "RSA PUBLIC KEY"), MALFORMED, id="EC key under the RSA label"),
        pytest.param(relabel(PEM_256, "EC PUBLIC KEY"), MALFORMED, id="unknown label"),
        pytest.param(PEM_256.replace("==\n", "=\n"), MALFORMED, id="padding missing"),
        pytest.param(wrap(b""), MALFORMED, id="nothing inside"),
        pytest.param(wrap(b"\x30\x03\x02\x01\x00"), MALFORMED, id="DER of something else"),
        pytest.param(wrap(b"\0" * 48 * 1024), LIMIT, id="over 64 KiB"),
        pytest.param(rsa_pem(2047), UNSUPPORTED, id="RSA 2047"),
        pytest.param(rsa_pem(1024), UNSUPPORTED, id="RSA 1024"),
        pytest.param(rsa_pem(8193), UNSUPPORTED, id="RSA 8193"),
        pytest.param(rsa_pem(2048, 3), UNSUPPORTED, id="exponent 3"),
        pytest.param(rsa_pem(2048, 65535), UNSUPPORTED, id="exponent below 65537"),
        pytest.param(rsa_pem(2048, (1 << 31) + 1), UNSUPPORTED, id="exponent over 31 bits"),
        pytest.param(curve_pem(ec.SECP256K1()), UNSUPPORTED, id="secp256k1"),
        pytest.param(curve_pem(ec.BrainpoolP256R1()), UNSUPPORTED, id="brainpool"),
        pytest.param(curve_pem(ec.SECP224R1()), UNSUPPORTED, id="P-224"),
        pytest.param(pem_of(ed448.Ed448PrivateKey.generate().public_key()), UNSUPPORTED, id="Ed448"),
        pytest.param(pem_of(x25519.X25519PrivateKey.generate().public_key()), UNSUPPORTED, id="X25519"),
        pytest.param(pem_of(dsa.generate_private_key(1024).public_key()), UNSUPPORTED, id="DSA"),
        pytest.param(compressed(key_of("p256")), UNSUPPORTED, id="compressed point"),
        pytest.param(with_pss_identifier(RSA_PEM), UNSUPPORTED, id="RSASSA-PSS identifier"),
        pytest.param(relabel(RSA_PEM, "RSA PUBLIC KEY"), UNSUPPORTED, id="SPKI under the PKCS#1 label"),
    ],
)
def test_keys_that_do_not_load(pem: str, expected: tuple[type[CountersignError], Code]) -> None:
    assert code_of(lambda: material.parse_public_key(pem)) == expected


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        pytest.param(PRIVATE, "this is a private key: use the public one", id="private key"),
        pytest.param(ENCRYPTED, "this is a private key: use the public one", id="cosign.key"),
        pytest.param(CERTIFICATE, "this is a certificate", id="certificate"),
        pytest.param(PEM_256 + PEM_256, "one PEM block expected, found 2", id="two keys"),
        pytest.param(rsa_pem(1024), "RSA keys of 1024 bits are not supported, only 2048 to 8192", id="RSA 1024"),
        pytest.param(curve_pem(ec.SECP256K1()), "the curve secp256k1 is not supported", id="secp256k1"),
    ],
)
def test_refusals_say_what_was_found(pem: str, said: str) -> None:
    with pytest.raises(MalformedError) as caught:
        material.parse_public_key(pem)

    assert said in caught.value.detail
    assert pem.splitlines()[1] not in caught.value.detail


# --- identity


def test_the_fingerprint_is_that_of_the_spki() -> None:
    public_key = key_of("rsa2048").private.public_key()

    key = material.parse_public_key(RSA_PEM)

    assert key.spki == public_key.public_bytes(DER, SPKI)
    assert key.fingerprint == hashlib.sha256(key.spki).hexdigest()


def test_one_key_has_one_fingerprint_however_it_is_written() -> None:
    pkcs1 = pem_of(key_of("rsa2048").private.public_key(), PKCS1)
    assert "BEGIN RSA PUBLIC KEY" in pkcs1

    key = material.parse_public_key(pkcs1)

    assert key == material.parse_public_key(RSA_PEM)
    key.verify(key_of("rsa2048").sign(DATA), DATA)


def test_keys_are_equal_by_fingerprint_and_schemes() -> None:
    narrowed = material.parse_public_key(key_of("p384").public_pem, hash=Hash.SHA256)

    assert public("p384") == material.parse_public_key(key_of("p384").public_pem)
    assert hash(public("p384")) == hash(material.parse_public_key(key_of("p384").public_pem))
    assert narrowed != public("p384")
    assert narrowed.fingerprint == public("p384").fingerprint


# --- whatever comes


@given(st.one_of(st.text(), st.binary(), st.text("-BEGIN PUBLICKY\nMA=0")))
def test_no_text_raises_anything_but_malformed(pem: str | bytes) -> None:
    assert code_of(lambda: material.parse_public_key(pem))[0] is MalformedError


@given(st.binary(max_size=200))
def test_no_der_raises_anything_but_malformed(der: bytes) -> None:
    assert code_of(lambda: material.parse_public_key(wrap(der)))[0] is MalformedError


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


FLIPPED = ["p256", "p384", "rsa2048", "rsa-pss", "ed25519"]


@pytest.mark.parametrize("kind", FLIPPED)
@given(bit=st.integers(0, 1 << 20))
def test_a_flipped_bit_in_the_signature_never_verifies(kind: str, bit: int) -> None:
    signature = flip(signed(kind), bit)

    assert code_of(lambda: public_of(kind).verify(signature, DATA)) == INVALID


@pytest.mark.parametrize("kind", FLIPPED)
@given(bit=st.integers(0, 1 << 20))
def test_a_flipped_bit_in_the_data_never_verifies(kind: str, bit: int) -> None:
    assert code_of(lambda: public_of(kind).verify(signed(kind), flip(DATA, bit))) == INVALID


@pytest.mark.parametrize("kind", FLIPPED)
@given(bit=st.integers(0, 1 << 20))
def test_a_flipped_bit_in_the_key_never_verifies(kind: str, bit: int) -> None:
    try:
        key = material.parse_public_key(wrap(flip(public_of(kind).spki, bit)))
    except MalformedError:
        return
    assert code_of(lambda: key.verify(signed(kind), DATA)) == INVALID


public_of = functools.cache(public)


@functools.cache
def signed(kind: str) -> bytes:
    return key_of(kind).sign(DATA)


def test_an_ed25519_key_takes_only_the_pure_scheme() -> None:
    private = key_of("ed25519").private
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    prehashed = private.sign(hashlib.sha512(DATA).digest())

    assert code_of(lambda: public("ed25519").verify(prehashed, DATA)) == INVALID
