"""The public key under a name in AWS KMS: as moto has it, and as KMS says what moto does not."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import aws
from tests.doubles.aws import Request, Response, Server
from webhook import settings
from webhook.aws import kms
from webhook.aws.kms import KMS
from webhook.aws.sdk import SDK
from webhook.demo import signing
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError, RejectedError
from webhook.trust import kms as uris
from webhook.trust.kms import KMSKey
from webhook.trust.material import Hash, Padding

DATA = b"the signed bytes"
ARN = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PLACE = uris.parse("awskms:///alias/image-signing")
ALL = [f"RSASSA_{padding}_SHA_{bits}" for padding in ("PSS", "PKCS1_V1_5") for bits in (512, 384, 256)]
BY_PSS = KMSKey("u", "k", padding=Padding.PSS)

key_of = functools.cache(signing.new_key)


def spki_of(kind: str) -> bytes:
    return (
        key_of(kind)
        .private.public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def answer(kind: str = "p256", /, **members: object) -> dict[str, object]:
    """What KMS says of a key, with other members; `None` leaves one out."""
    found = {"KeyId": ARN, "PublicKey": spki_of(kind), "KeyUsage": "SIGN_VERIFY"} | members
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("kind", "spec", "algorithms", "place", "schemes"),
    [
        ("p256", "ECC_NIST_P256", ["ECDSA_SHA_256"], PLACE, ("sha256",)),
        ("p256", None, None, PLACE, ("sha256",)),
        ("p384", "ECC_NIST_P384", ["ECDSA_SHA_384"], PLACE, ("sha384", "sha256")),
        ("p521", "ECC_NIST_P521", ["ECDSA_SHA_512"], PLACE, ("sha512", "sha256")),
        ("p384", "ECC_NIST_P384", ["ECDSA_SHA_384"], KMSKey("u", "k", hash=Hash.SHA384), ("sha384",)),
        ("ed25519", "ECC_NIST_EDWARDS25519", ["ED25519_SHA_512", "ED25519_PH_SHA_512"], PLACE, ("pure",)),
        ("rsa2048", "RSA_2048", ALL, PLACE, ("sha256", "sha384", "sha512")),
        ("rsa3072", "RSA_3072", ALL[3:], PLACE, ("sha256", "sha384", "sha512")),
        ("rsa4096", "RSA_4096", ALL, BY_PSS, ("pss-sha256", "pss-sha384", "pss-sha512")),
        ("rsa2048", "RSA_2048", ALL, KMSKey("u", "k", padding=Padding.PKCS1V15), ("sha256", "sha384", "sha512")),
        ("rsa2048", "RSA_2048", ALL, KMSKey("u", "k", hash=Hash.SHA384), ("sha384",)),
        ("rsa2048", "RSA_2048", ALL, KMSKey("u", "k", hash=Hash.SHA512, padding=Padding.PSS), ("pss-sha512",)),
        ("rsa2048", None, [], KMSKey("u", "k", hash=Hash.SHA256, padding=Padding.PKCS1V15), ("sha256",)),
    ],
)
def test_a_key_is_tried_with_what_kms_signs_with(
    kind: str, spec: str | None, algorithms: list[str] | None, place: KMSKey, schemes: tuple[str, ...]
) -> None:
    found = kms.parse(answer(kind, KeySpec=spec, SigningAlgorithms=algorithms), place)

    assert found.key.schemes == schemes
    assert (found.key.spki, found.arn) == (spki_of(kind), ARN)


def other_curve() -> bytes:
    key = ec.generate_private_key(ec.SECP256K1()).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def odd_size() -> bytes:
    key = rsa.generate_private_key(65537, 2560).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


MALFORMED, UNSUPPORTED = Code.MALFORMED, Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("said", "place", "code", "detail"),
    [
        (answer(KeyUsage="ENCRYPT_DECRYPT"), PLACE, UNSUPPORTED, "KeyUsage: SIGN_VERIFY expected"),
        (answer(KeyUsage=None), PLACE, UNSUPPORTED, "KeyUsage: SIGN_VERIFY expected"),
        (answer(KeyUsage="KEY_AGREEMENT"), PLACE, UNSUPPORTED, "KEY_AGREEMENT"),
        (answer(KeySpec="ECC_SECG_P256K1"), PLACE, UNSUPPORTED, "ECC_SECG_P256K1"),
        (answer(KeySpec="SM2"), PLACE, UNSUPPORTED, "SM2"),
        (answer(KeySpec="ML_DSA_65"), PLACE, UNSUPPORTED, "ML_DSA_65"),
        (answer(CustomerMasterKeySpec="SYMMETRIC_DEFAULT"), PLACE, UNSUPPORTED, "SYMMETRIC_DEFAULT"),
        (answer(PublicKey=other_curve()), PLACE, UNSUPPORTED, "secp256k1"),
        (answer(PublicKey=odd_size()), PLACE, UNSUPPORTED, "RSA 2560"),
        (answer(KeySpec="ECC_NIST_P384"), PLACE, MALFORMED, "does not fit a key of ECDSA P-256"),
        (answer("rsa2048", KeySpec="RSA_4096"), PLACE, MALFORMED, "does not fit a key of RSA 2048"),
        (answer(PublicKey=b""), PLACE, MALFORMED, "no public key"),
        (answer(PublicKey=spki_of("p256") + b"\0"), PLACE, MALFORMED, "no public key"),
        (answer(PublicKey=b"\x30" * 65537), PLACE, Code.LIMIT_EXCEEDED, "65537 bytes"),
        (answer("rsa2048", SigningAlgorithms=["RSASSA_NEW"]), PLACE, UNSUPPORTED, "RSASSA_NEW"),
        (answer("rsa2048", SigningAlgorithms=ALL[3:]), BY_PSS, UNSUPPORTED, "none that"),
        (answer("rsa2048", SigningAlgorithms=ALL[:3]), PLACE, UNSUPPORTED, "none that"),
        (answer("p256"), BY_PSS, UNSUPPORTED, "for RSA keys only"),
        (answer("ed25519"), KMSKey("u", "k", hash=Hash.SHA256), UNSUPPORTED, "Ed25519"),
    ],
)
def test_what_nobody_verifies_with_is_no_key(said: dict[str, object], place: KMSKey, code: Code, detail: str) -> None:
    with pytest.raises(MalformedError) as caught:
        kms.parse(said, place)

    assert caught.value.code is code
    assert detail in caught.value.detail


@pytest.mark.parametrize("said", [answer(PublicKey=None), answer(PublicKey="text"), answer(KeyId=7)])
def test_an_answer_that_lacks_a_part_says_nothing(said: dict[str, object]) -> None:
    with pytest.raises(InconclusiveError) as caught:
        kms.parse(said, PLACE)

    assert caught.value.code is Code.TRUST_UNAVAILABLE


MEMBERS = ("KeyUsage", "KeySpec", "PublicKey", "KeyId", "SigningAlgorithms")
VALUES = st.none() | st.text() | st.binary() | st.integers() | st.lists(st.text() | st.integers())


@given(st.sampled_from(("p256", "rsa2048")), st.dictionaries(st.sampled_from(MEMBERS), VALUES))
def test_any_answer_is_a_key_or_an_error_of_ours(kind: str, members: dict[str, object]) -> None:
    try:
        found = kms.parse(answer(kind, **members), PLACE)
    except (MalformedError, InconclusiveError):
        return
    assert found.key.schemes
    assert found.key.spki == spki_of(kind)


def test_rsa_signatures_of_every_listed_scheme_verify_and_no_other() -> None:
    private = key_of("rsa2048").private
    assert isinstance(private, rsa.RSAPrivateKey)
    pss = rsa_padding.PSS(rsa_padding.MGF1(hashes.SHA384()), rsa_padding.PSS.DIGEST_LENGTH)
    by_pkcs1 = private.sign(DATA, rsa_padding.PKCS1v15(), hashes.SHA512())
    by_pss = private.sign(DATA, pss, hashes.SHA384())
    padded, usual = (kms.parse(answer("rsa2048", SigningAlgorithms=ALL), place).key for place in (BY_PSS, PLACE))

    padded.verify(by_pss, DATA)
    usual.verify(by_pkcs1, DATA)
    for key, signature, data in (
        (usual, by_pss, DATA),
        (padded, by_pkcs1, DATA),
        (padded, by_pss, DATA + b" "),
        (padded, by_pss[:-1], DATA),
    ):
        with pytest.raises(RejectedError) as caught:
            key.verify(signature, data)
        assert caught.value.code is Code.SIGNATURE_INVALID


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with aws.moto() as url:
        yield url


@pytest.fixture
def service(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client as an owner of keys has it."""
    for name, value in aws.variables(moto).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("kms", region_name=aws.REGION)
    yield client
    client.close()


@pytest.fixture
def sdk() -> Iterator[SDK]:
    made = SDK(settings.AWS(attempts=1))
    yield made
    made.close()


def fetching(sdk: SDK, *endpoints: str) -> KMS:
    return KMS(sdk.call, settings.AWS(kms_endpoints=endpoints))


SPECS = {"ECC_NIST_P256": "ECDSA_SHA_256", "ECC_NIST_P384": "ECDSA_SHA_384", "ECC_NIST_P521": "ECDSA_SHA_512",
         "RSA_2048": "RSASSA_PKCS1_V1_5_SHA_256", "RSA_3072": "RSASSA_PKCS1_V1_5_SHA_384"}  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
def test_what_kms_signs_verifies_by_every_name_of_the_key(service: Any, sdk: SDK, spec: str) -> None:
    made = service.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    alias = f"alias/{spec.lower()}"
    service.create_alias(AliasName=alias, TargetKeyId=made["KeyId"])
    signed = service.sign(KeyId=made["KeyId"], Message=DATA, SigningAlgorithm=SPECS[spec])["Signature"]
    alias_arn = f"arn:aws:kms:{aws.REGION}:{aws.ACCOUNT}:{alias}"

    found = [
        fetching(sdk).fetch(uris.parse(f"awskms:///{name}")) for name in (made["KeyId"], made["Arn"], alias, alias_arn)
    ]

    assert len({one.key for one in found}) == 1
    found[0].key.verify(signed, DATA)
    with pytest.raises(RejectedError):
        found[0].key.verify(signed, DATA + b" ")


def test_a_key_for_encryption_and_one_that_is_not_there_are_no_keys(service: Any, sdk: SDK) -> None:
    symmetric = service.create_key()["KeyMetadata"]
    with pytest.raises(MalformedError, match="KeyUsage"):
        fetching(sdk).fetch(uris.parse(f"awskms:///{symmetric['KeyId']}"))
    with pytest.raises(RejectedError, match="no such key or alias") as caught:
        fetching(sdk).fetch(uris.parse("awskms:///alias/nobody"))
    assert caught.value.code is Code.TRUST_UNAVAILABLE


def test_an_endpoint_is_asked_only_where_it_is_listed(sdk: SDK, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.variables().items():
        monkeypatch.setenv(name, value)
    with Server(lambda request: as_json(answer(KeySpec="ECC_NIST_P256"))) as listed, Server(refused) as other:
        place = uris.parse(f"awskms://{listed.authority}/alias/x")

        assert fetching(sdk, listed.authority).fetch(place).arn == ARN
        with pytest.raises(RejectedError, match="is not listed"):
            fetching(sdk, listed.authority).fetch(uris.parse(f"awskms://{other.authority}/alias/x"))

        assert [json.loads(request.body) for request in listed.requests] == [{"KeyId": "alias/x"}]
        assert not other.requests


def as_json(said: dict[str, object]) -> Response:
    members = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in said.items()
    }
    return Response(body=json.dumps(members).encode())


def refused(request: Request) -> Response:
    return aws.refusal(400, "AccessDeniedException", "User: arn:aws:iam::111122223333:user/x is not authorized")


ENDED, UNANSWERED = RejectedError, InconclusiveError


@pytest.mark.parametrize(
    ("response", "kind", "said"),
    [
        (aws.refusal(400, "DisabledException", "x is disabled."), ENDED, "the key is disabled"),
        (aws.refusal(400, "KMSInvalidStateException", "x is pending deletion."), ENDED, "pending deletion"),
        (aws.refusal(400, "NotFoundException"), ENDED, "no such key or alias"),
        (aws.refusal(400, "InvalidKeyUsageException"), ENDED, "not one for signing"),
        (aws.refusal(400, "UnsupportedOperationException"), ENDED, "no public part"),
        (aws.refusal(400, "InvalidArnException"), ENDED, "not one of KMS in that region"),
        (aws.refusal(400, "SomethingNewException", "for a reason"), ENDED, "SomethingNewException"),
        (refused(Request("POST", "/", {})), ENDED, "the permission kms:GetPublicKey is missing"),
        (aws.refusal(400, "ThrottlingException", "Rate exceeded"), UNANSWERED, "too many requests"),
        (aws.refusal(400, "LimitExceededException"), UNANSWERED, "too many requests"),
        (Response(429, b""), UNANSWERED, "too many requests"),
        (aws.refusal(500, "KMSInternalException"), UNANSWERED, "AWS failed to answer"),
        (aws.refusal(500, "KeyUnavailableException"), UNANSWERED, "AWS failed to answer"),
        (aws.refusal(503, "DependencyTimeoutException"), UNANSWERED, "AWS failed to answer"),
        (aws.refusal(400, "UnrecognizedClientException"), UNANSWERED, "no credentials that AWS accepts"),
        (aws.refusal(400, "ExpiredTokenException"), UNANSWERED, "no credentials that AWS accepts"),
        (Response(403, b"<html>blocked by a proxy</html>"), UNANSWERED, "AWS failed to answer"),
        (Response(302, b"", {"Location": "http://127.0.0.1:1/"}), UNANSWERED, "AWS failed to answer"),
        (Response(200, b"<html>log in here</html>"), UNANSWERED, "not one of this service's"),
        (Response(200, b'{"PublicKey": "%"}'), UNANSWERED, "without a key"),
        (Response(200, b'{"PublicKey": 7}'), UNANSWERED, "not one of this service's"),
        (Response(200, b"{}"), UNANSWERED, "without a key"),
    ],
)
def test_what_ends_a_key_is_told_apart_from_no_answer(
    sdk: SDK, monkeypatch: pytest.MonkeyPatch, response: Response, kind: type[CountersignError], said: str
) -> None:
    with Server(lambda request: response) as server:
        for name, value in aws.variables(server.url).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(kind) as caught:
            fetching(sdk).fetch(PLACE)

    assert said in caught.value.detail
    assert "111122223333" not in caught.value.detail  # accounts are nobody's business who creates pods


def test_nobody_there_is_no_answer(sdk: SDK, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.variables("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InconclusiveError, match="AWS does not answer") as caught:
        fetching(sdk).fetch(PLACE)

    assert caught.value.code is Code.TRUST_UNAVAILABLE


def test_without_a_region_what_to_do_is_said(sdk: SDK, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)

    with pytest.raises(RejectedError, match="set AWS_REGION"):
        fetching(sdk).fetch(PLACE)
