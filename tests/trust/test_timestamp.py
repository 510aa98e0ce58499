"""Which timestamp tokens are believed: those of real authorities, and made ones with one mistake each."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import rfc3161_client
from asn1crypto import cms, parser, tsp  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from rfc3161_client.errors import VerificationError

from tests.trust import tokens
from tests.trust.tokens import TIME_STAMPING, CoSigner, Details, Issuer, Mistakes, PrivateKey, make_certificate
from webhook.errors import Code, CountersignError, MalformedError, RejectedError
from webhook.trust import path, timestamp, token
from webhook.trust.timestamp import Timestamp

VECTORS = Path(__file__).parent.parent / "vectors"
SIGSTORE, NOTATION = VECTORS / "sigstore", VECTORS / "notation-timestamps"

# ---- tokens of real authorities


@dataclass(frozen=True, slots=True)
class Authority:
    source: str
    chain: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Stamped:
    response: bytes
    message: bytes


def _bundles() -> Iterator[tuple[str, Stamped]]:
    for file in sorted([*SIGSTORE.glob("bundles/*.json"), *SIGSTORE.glob("conformance/*/bundle.sigstore.json")]):
        try:
            bundle: Any = json.loads(file.read_bytes())
        except ValueError:
            continue
        signed = bundle["messageSignature"] if "messageSignature" in bundle else bundle["dsseEnvelope"]["signatures"][0]
        message = base64.b64decode(signed.get("signature") or signed["sig"])
        stamps = (bundle["verificationMaterial"].get("timestampVerificationData") or {}).get("rfc3161Timestamps") or []
        for stamp in stamps:
            name = file.parent.name if file.name == "bundle.sigstore.json" else file.name
            yield name, Stamped(base64.b64decode(stamp["signedTimestamp"]), message)


def _authorities() -> Iterator[Authority]:
    for file in sorted(SIGSTORE.glob("trusted-roots/*.json")):
        for authority in json.loads(file.read_bytes()).get("timestampAuthorities", []):
            raw = [base64.b64decode(one["rawBytes"]) for one in authority["certChain"]["certificates"]]
            yield Authority(file.name, tuple(map(x509.load_der_x509_certificate, raw)))


BUNDLES = dict(_bundles())
AUTHORITIES = list(_authorities())
BELIEVED = {  # by one of the trust roots, with its authority's certificate as the signer
    "cosign3-sign-keyless.sigstore.json",
    "bundle-with-sct-with-extensions",
    "intoto-with-custom-trust-root",
    "managed-key-happy-path",
    "managed-key-no-key_fail",
    "rekor2-checkpoint-cosigned",
    "rekor2-checkpoint-missing-log-signature_fail",
    "rekor2-checkpoint-missing-origin_fail",
    "rekor2-dsse-happy-path",
    "rekor2-dsse-mismatch-sig_fail",
    "rekor2-happy-path",
    "rekor2-no-inclusion-proof_fail",
    "rekor2-timestamp-with-embedded-cert",
}


def _verify_real(stamped: Stamped, authority: Authority, *, pinned: bool) -> Timestamp:
    return timestamp.verify(
        timestamp.parse_response(stamped.response),
        stamped.message,
        roots=authority.chain[-1:],
        intermediates=authority.chain[1:-1],
        signer=authority.chain[0] if pinned else None,
    )


def _is_believed(stamped: Stamped, authority: Authority, *, pinned: bool) -> bool:
    try:
        _verify_real(stamped, authority, pinned=pinned)
    except CountersignError:
        return False
    return True


def _is_believed_elsewhere(stamped: Stamped, authority: Authority, *, pinned: bool) -> bool:
    builder = rfc3161_client.VerifierBuilder().add_root_certificate(authority.chain[-1])
    for one in authority.chain[1:-1]:
        builder = builder.add_intermediate_certificate(one)
    if pinned:
        builder = builder.tsa_certificate(authority.chain[0])
    response = rfc3161_client.decode_timestamp_response(stamped.response)
    try:
        return builder.build().verify_message(response, stamped.message)
    except (VerificationError, ValueError):
        return False


@pytest.mark.parametrize("name", BUNDLES)
def test_verdict_on_a_real_token_is_that_of_another_implementation(name: str) -> None:
    stamped = BUNDLES[name]
    cases = [(authority, pinned) for authority in AUTHORITIES for pinned in (True, False)]
    ours = [_is_believed(stamped, authority, pinned=pinned) for authority, pinned in cases]
    assert ours == [_is_believed_elsewhere(stamped, authority, pinned=pinned) for authority, pinned in cases]
    assert any(ours) == (name in BELIEVED)


@pytest.mark.parametrize("name", BUNDLES)
def test_fields_of_a_real_token_are_those_of_another_parser(name: str) -> None:
    der = BUNDLES[name].response
    signed = tsp.TimeStampResp.load(der)["time_stamp_token"]["content"]
    info = signed["encap_content_info"]["content"].parsed
    parsed = timestamp.parse_response(der)
    assert parsed.claimed_time == info["gen_time"].native
    assert parsed.claimed_accuracy.total_seconds() == ((info["accuracy"].native or {}).get("seconds") or 0)
    assert parsed.imprint == info["message_imprint"]["hashed_message"].native
    assert [one.public_bytes(DER) for one in parsed.certificates] == [one.dump() for one in signed["certificates"]]
    (signer,), (other,) = parsed.signers, signed["signer_infos"]
    assert signer.signature == other["signature"].native
    assert signer.identifier is not None
    assert signer.identifier[1] == other["sid"].chosen["serial_number"].native
    assert signer.signed_attributes == other["signed_attrs"].untag().dump()
    assert [name for name, _ in signer.attributes] == [one["type"].dotted for one in other["signed_attrs"]]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("rekor2-timestamp-payload-mismatch_fail", "ed6a9cf4e7c2.json"),
        ("rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail", "ed6a9cf4e7c2.json"),
    ],
)
@pytest.mark.parametrize("pinned", [True, False])
def test_real_token_of_another_signature_or_authority_is_refused(name: str, source: str, pinned: bool) -> None:
    authority = next(one for one in AUTHORITIES if one.source == source)
    with pytest.raises(RejectedError) as refused:
        _verify_real(BUNDLES[name], authority, pinned=pinned)
    assert refused.value.code is Code.TIME_INVALID


def test_real_authority_of_another_instance_is_untrusted() -> None:
    production = next(one for one in AUTHORITIES if one.source == "52b2af38cbe5.json")
    for pinned in (True, False):
        with pytest.raises(RejectedError) as refused:
            _verify_real(BUNDLES["rekor2-happy-path"], production, pinned=pinned)
        assert refused.value.code is Code.UNTRUSTED_MATERIAL


DER = serialization.Encoding.DER
CASES = {case["id"]: case for case in json.loads((NOTATION / "index.json").read_bytes())["cases"]}
NOTATION_CODES = {
    "tst-bad-tstinfo": Code.MALFORMED,
    "tst-cert-hash-mismatch": Code.UNTRUSTED_MATERIAL,
    "tst-v2-empty": Code.MALFORMED,
    "tst-untrusted-root": Code.UNTRUSTED_MATERIAL,
    "cms-unknown-signer-issuer": Code.UNTRUSTED_MATERIAL,
}


def _load_certificate(file: str) -> x509.Certificate:
    raw = (NOTATION / file).read_bytes()
    return x509.load_pem_x509_certificate(raw) if raw.startswith(b"-----") else x509.load_der_x509_certificate(raw)


def _verify_notation(case: dict[str, Any]) -> Timestamp:
    parsed = timestamp.parse_token((NOTATION / case["file"]).read_bytes())
    return timestamp.verify(parsed, case["message"].encode(), roots=[_load_certificate(one) for one in case["roots"]])


@pytest.mark.parametrize("name", CASES)
def test_tokens_of_the_notary_project_get_their_verdict(name: str) -> None:
    case = CASES[name]
    if case["expect"] == "pass":
        verified = _verify_notation(case)
        assert verified.time == datetime.fromisoformat(case["time"])
        assert verified.accuracy == timedelta(seconds=case["accuracySeconds"])
        assert verified.chain[-1] == _load_certificate(case["roots"][0])
        return
    with pytest.raises(CountersignError) as refused:
        _verify_notation(case)
    assert refused.value.code is NOTATION_CODES.get(name, Code.TIME_INVALID)


# ---- made tokens that are right

AT = datetime(2025, 6, 1, 12, tzinfo=UTC)
MESSAGE = b"the raw signature"
ROOT_KEY, TSA_KEY, OTHER_KEY = tokens.make_key(), tokens.make_key(), tokens.make_key()
ROOT = make_certificate("root", ROOT_KEY)
TOP = Issuer(ROOT_KEY, ROOT)
TSA = make_certificate("tsa", TSA_KEY, issuer=TOP, purposes=[TIME_STAMPING])
OTHER = make_certificate("other tsa", OTHER_KEY, issuer=TOP, purposes=[TIME_STAMPING])
FOREIGN_KEY = tokens.make_key()
FOREIGN_ROOT = make_certificate("root", FOREIGN_KEY)


def _make(
    details: Details = tokens.PLAIN,
    mistakes: Mistakes = tokens.NONE,
    *,
    key: PrivateKey = TSA_KEY,
    certificate: x509.Certificate = TSA,
    at: datetime = AT,
    embed: bool = True,
) -> bytes:
    return tokens.make_response(
        MESSAGE, key=key, certificate=certificate, at=at, embed=embed, details=details, mistakes=mistakes
    )


def _verify(der: bytes, *, root: x509.Certificate = ROOT, signer: x509.Certificate | None = None) -> Timestamp:
    return timestamp.verify(timestamp.parse_response(der), MESSAGE, roots=[root], signer=signer)


def _refusal(der: bytes, *, root: x509.Certificate = ROOT, signer: x509.Certificate | None = None) -> CountersignError:
    with pytest.raises(CountersignError) as refused:
        _verify(der, root=root, signer=signer)
    return refused.value


@cache
def _key(kind: str) -> PrivateKey:
    curves = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "p224": ec.SECP224R1()}
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    bits, _, exponent = kind.removeprefix("rsa").partition("-e")
    return rsa.generate_private_key(3 if exponent == "3" else 65537, int(bits))


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "rsa3072"])
def test_every_accepted_key_and_hash_verifies(kind: str, digest: str) -> None:
    certificate = make_certificate("tsa", _key(kind), issuer=TOP, purposes=[TIME_STAMPING])
    mistakes = Mistakes(digest=digest, imprint_hash=digest, named_hash=digest)
    der = _make(mistakes=mistakes, key=_key(kind), certificate=certificate)
    assert _verify(der) == Timestamp(AT, timedelta(seconds=1), (certificate, ROOT))
    flipped = _make(mistakes=replace(mistakes, flip_signature=True), key=_key(kind), certificate=certificate)
    assert _refusal(flipped).code is Code.TIME_INVALID


def test_rsa_encryption_as_the_algorithm_takes_the_hash_of_the_digest() -> None:
    certificate = make_certificate("tsa", _key("rsa2048"), issuer=TOP, purposes=[TIME_STAMPING])
    mistakes = Mistakes(signature_algorithm="rsassa_pkcs1v15", digest="sha384")
    assert _verify(_make(mistakes=mistakes, key=_key("rsa2048"), certificate=certificate)).time == AT


@pytest.mark.parametrize(
    ("details", "accuracy"),
    [
        pytest.param(Details(accuracy=None), timedelta(), id="none"),
        pytest.param(Details(accuracy=timedelta(seconds=2, microseconds=30_400)), None, id="all-parts"),
        pytest.param(Details(accuracy=None, policy="0.4.0.2023.1.1"), timedelta(seconds=1), id="baseline-policy"),
        pytest.param(Details(accuracy=timedelta(milliseconds=5), policy="0.4.0.2023.1.1"), None, id="both"),
        pytest.param(Details(accuracy=timedelta(days=1)), None, id="a-day"),
    ],
)
def test_accuracy_is_what_the_token_or_its_policy_says(details: Details, accuracy: timedelta | None) -> None:
    assert _verify(_make(details)).accuracy == (details.accuracy if accuracy is None else accuracy)


@pytest.mark.parametrize(
    "details",
    [
        pytest.param(Details(nonce=2**64), id="nonce"),
        pytest.param(Details(serial=-559038737), id="negative-serial"),
        pytest.param(Details(serial=2**159 + 7), id="long-serial"),
        pytest.param(Details(ordering=True), id="ordering"),
        pytest.param(Details(policy="1.2.3"), id="policy"),
        pytest.param(Details(signing_time=AT), id="signing-time"),
    ],
)
def test_what_the_requester_would_examine_is_ignored(details: Details) -> None:
    assert _verify(_make(details)).time == AT


def test_fraction_of_a_second_is_kept() -> None:
    at = AT + timedelta(milliseconds=250)
    assert _verify(_make(at=at)).time == at


@pytest.mark.parametrize("embed", [True, False])
def test_given_signer_need_not_be_embedded(embed: bool) -> None:
    assert _verify(_make(embed=embed), signer=TSA).chain == (TSA, ROOT)


def test_signer_may_come_from_the_caller_s_intermediates() -> None:
    parsed = timestamp.parse_response(_make(embed=False))
    assert timestamp.verify(parsed, MESSAGE, roots=[ROOT], intermediates=[TSA]).chain == (TSA, ROOT)
    with pytest.raises(RejectedError) as refused:
        timestamp.verify(parsed, MESSAGE, roots=[ROOT])
    assert refused.value.code is Code.UNTRUSTED_MATERIAL


@pytest.mark.parametrize("place", ["token", "caller"])
def test_path_leads_over_intermediates_of_token_and_caller(place: str) -> None:
    middle_key = tokens.make_key()
    middle = make_certificate("middle", middle_key, issuer=TOP)
    leaf = make_certificate("tsa", TSA_KEY, issuer=Issuer(middle_key, middle), purposes=[TIME_STAMPING])
    in_token = (ROOT, middle) if place == "token" else ()
    parsed = timestamp.parse_response(_make(Details(certificates=in_token), certificate=leaf))
    verified = timestamp.verify(parsed, MESSAGE, roots=[ROOT], intermediates=() if in_token else [middle])
    assert verified.chain == (leaf, middle, ROOT)


def test_renewed_intermediate_beside_an_expired_one_is_found() -> None:
    middle_key = tokens.make_key()
    old = make_certificate("middle", middle_key, issuer=TOP, end=AT - timedelta(days=1))
    new = make_certificate("middle", middle_key, issuer=TOP)
    leaf = make_certificate("tsa", TSA_KEY, issuer=Issuer(middle_key, new), purposes=[TIME_STAMPING])
    for bag in ((old, new), (new, old)):
        assert _verify(_make(Details(certificates=bag), certificate=leaf)).chain == (leaf, new, ROOT)
    assert _refusal(_make(Details(certificates=(old,)), certificate=leaf)).code is Code.TIME_INVALID


def test_self_signed_certificate_of_an_authority_may_be_the_root_itself() -> None:
    alone = make_certificate("tsa", TSA_KEY, ca=False, purposes=[TIME_STAMPING])
    assert _verify(_make(certificate=alone), root=alone).chain == (alone,)
    assert _refusal(_make(certificate=alone), root=ROOT).code is Code.UNTRUSTED_MATERIAL
    assert _refusal(_make(), root=TSA).code is Code.UNTRUSTED_MATERIAL  # trusted, and not self-signed


def test_one_good_signer_of_two_is_enough() -> None:
    bad, good = Mistakes(flip_signature=True), tokens.NONE
    for first, second in ((bad, good), (good, bad)):
        details = Details(certificates=(OTHER,), co_signers=(CoSigner(OTHER_KEY, OTHER, second),))
        assert _verify(_make(details, first)).chain[0] == (TSA if first is good else OTHER)
    details = Details(certificates=(OTHER,), co_signers=(CoSigner(OTHER_KEY, OTHER, bad),))
    assert _refusal(_make(details, bad)).code is Code.TIME_INVALID


def test_given_signer_is_found_among_several_and_no_other_counts() -> None:
    details = Details(certificates=(OTHER,), co_signers=(CoSigner(OTHER_KEY, OTHER),))
    assert _verify(_make(details), signer=OTHER).chain == (OTHER, ROOT)
    details = Details(certificates=(OTHER,), co_signers=(CoSigner(OTHER_KEY, OTHER, Mistakes(flip_signature=True)),))
    assert _refusal(_make(details), signer=OTHER).code in (Code.TIME_INVALID, Code.UNTRUSTED_MATERIAL)


# ---- made tokens with one mistake

WRONG = {
    "signature-flipped": (Mistakes(flip_signature=True), Code.TIME_INVALID),
    "imprint-of-another-message": (Mistakes(imprint=bytes(32)), Code.TIME_INVALID),
    "imprint-sha1": (Mistakes(imprint_hash="sha1"), Code.TIME_INVALID),
    "digest-sha1": (Mistakes(digest="sha1"), Code.TIME_INVALID),
    "signature-algorithm-sha1": (Mistakes(signature_algorithm="sha1_ecdsa"), Code.TIME_INVALID),
    "signature-algorithm-of-another-key": (Mistakes(signature_algorithm="sha256_rsa"), Code.TIME_INVALID),
    "signature-algorithm-pss": (Mistakes(signature_algorithm="rsassa_pss"), Code.TIME_INVALID),
    "another-certificate-named": (Mistakes(named=ROOT), Code.UNTRUSTED_MATERIAL),
    "another-certificate-named-that-is-embedded": (Mistakes(named=OTHER), Code.UNTRUSTED_MATERIAL),
    "another-certificate-in-issuer-serial": (Mistakes(named_issuer_serial=OTHER), Code.UNTRUSTED_MATERIAL),
    "another-certificate-in-identifier": (Mistakes(sid=OTHER), Code.UNTRUSTED_MATERIAL),
    "another-certificate-throughout": (Mistakes(named=OTHER, sid=OTHER), Code.TIME_INVALID),
    "certificate-named-with-sha1": (Mistakes(named_hash="sha1"), Code.TIME_INVALID),
    "certificate-named-by-v1-only": (Mistakes(name_signer=False, named_v1=True), Code.TIME_INVALID),
    "certificate-not-named": (Mistakes(name_signer=False), Code.TIME_INVALID),
    "content-type-missing": (Mistakes(content_type_attribute=None), Code.TIME_INVALID),
    "content-type-data": (Mistakes(content_type_attribute="data"), Code.TIME_INVALID),
    "message-digest-missing": (Mistakes(message_digest=None), Code.TIME_INVALID),
    "message-digest-of-other-content": (Mistakes(message_digest=bytes(32)), Code.TIME_INVALID),
    "attribute-twice": (Mistakes(twice="message_digest"), Code.TIME_INVALID),
    "no-signed-attributes": (Mistakes(unsigned=True), Code.TIME_INVALID),
    "signer-version": (Mistakes(signer_version=3), Code.TIME_INVALID),
    "signer-by-key-identifier": (Mistakes(key_identifier=True), Code.TIME_INVALID),
    "no-signer": (Mistakes(no_signers=True), Code.TIME_INVALID),
    "critical-extension": (Mistakes(critical_extension=True), Code.TIME_INVALID),
    "accuracy-negative": (Mistakes(accuracy=(("seconds", -1),)), Code.MALFORMED),
    "accuracy-thousand-millis": (Mistakes(accuracy=(("millis", 1000),)), Code.MALFORMED),
    "accuracy-thousand-micros": (Mistakes(accuracy=(("micros", 1000),)), Code.MALFORMED),
    "status-rejection": (Mistakes(status="rejection"), Code.MALFORMED),
    "status-granted-with-mods": (Mistakes(status="granted_with_mods"), Code.MALFORMED),
    "info-version": (Mistakes(version=2), Code.MALFORMED),
    "signed-data-version": (Mistakes(signed_data_version=1), Code.MALFORMED),
    "content-is-no-token": (Mistakes(content_type="data"), Code.MALFORMED),
}
# The second set of certificates holds OTHER, which the root has issued as well
BAG = Details(certificates=(OTHER,))


@pytest.mark.parametrize("name", WRONG)
def test_token_with_a_mistake_is_refused(name: str) -> None:
    mistakes, code = WRONG[name]
    details = tokens.PLAIN if name == "another-certificate-named" else BAG
    assert _verify(_make(details)).time == AT
    assert _refusal(_make(details, mistakes)).code is code


@pytest.mark.parametrize("name", sorted(WRONG.keys() - {"another-certificate-throughout"}))
def test_token_with_a_mistake_is_refused_with_a_given_signer(name: str) -> None:
    mistakes, code = WRONG[name]
    assert _verify(_make(BAG), signer=TSA).time == AT
    assert _refusal(_make(BAG, mistakes), signer=TSA).code is code


def test_both_kinds_of_names_for_the_certificate_are_fine_together() -> None:
    assert _verify(_make(mistakes=Mistakes(named_v1=True, named_issuer_serial=TSA))).time == AT


def test_token_over_another_message_is_refused() -> None:
    with pytest.raises(RejectedError) as refused:
        timestamp.verify(timestamp.parse_response(_make()), MESSAGE + b".", roots=[ROOT])
    assert refused.value.code is Code.TIME_INVALID


# CVE-2026-33753: a certificate of the bag, and not the one that signed, was compared with what was asked for
@pytest.mark.parametrize(
    ("mistakes", "code"),
    [
        pytest.param(tokens.NONE, Code.UNTRUSTED_MATERIAL, id="signed-by-its-own"),
        pytest.param(Mistakes(named=TSA), Code.TIME_INVALID, id="names-the-given"),
        pytest.param(Mistakes(sid=TSA), Code.UNTRUSTED_MATERIAL, id="identifies-the-given"),
        pytest.param(Mistakes(named=TSA, sid=TSA), Code.TIME_INVALID, id="claims-to-be-the-given"),
    ],
)
@pytest.mark.parametrize("issuer", [TOP, Issuer(FOREIGN_KEY, FOREIGN_ROOT)], ids=["same-root", "foreign-root"])
def test_given_certificate_in_the_bag_of_another_signer_proves_nothing(
    mistakes: Mistakes, code: Code, issuer: Issuer
) -> None:
    other = make_certificate("tsa", OTHER_KEY, issuer=issuer, purposes=[TIME_STAMPING], serial=TSA.serial_number)
    der = _make(Details(certificates=(TSA,)), mistakes, key=OTHER_KEY, certificate=other)
    assert _refusal(der, signer=TSA).code is code


def test_embedded_root_gives_no_trust() -> None:
    leaf = make_certificate("tsa", TSA_KEY, issuer=Issuer(FOREIGN_KEY, FOREIGN_ROOT), purposes=[TIME_STAMPING])
    der = _make(Details(certificates=(FOREIGN_ROOT,)), certificate=leaf)
    assert _verify(der, root=FOREIGN_ROOT).chain == (leaf, FOREIGN_ROOT)
    assert _refusal(der).code is Code.UNTRUSTED_MATERIAL
    with pytest.raises(RejectedError) as refused:
        timestamp.verify(timestamp.parse_response(der), MESSAGE, roots=[], intermediates=[FOREIGN_ROOT])
    assert refused.value.code is Code.UNTRUSTED_MATERIAL


# ---- certificates

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("start", "end", "valid"),
    [
        pytest.param(AT, AT, True, id="to-the-second"),
        pytest.param(AT + SECOND, tokens.END, False, id="not-yet"),
        pytest.param(tokens.START, AT - SECOND, False, id="no-longer"),
    ],
)
@pytest.mark.parametrize("which", ["signer", "root"])
def test_certificates_are_valid_at_the_time_of_the_token(
    which: str, start: datetime, end: datetime, valid: bool
) -> None:
    window: dict[str, Any] = {"start": start, "end": end}
    root = make_certificate("root", ROOT_KEY, **(window if which == "root" else {}))
    leaf = make_certificate(
        "tsa", TSA_KEY, issuer=Issuer(ROOT_KEY, root), purposes=[TIME_STAMPING], **(window if which == "signer" else {})
    )
    for signer in (None, leaf):
        der = _make(certificate=leaf)
        if valid:
            assert _verify(der, root=root, signer=signer).time == AT
        else:
            assert _refusal(der, root=root, signer=signer).code is Code.TIME_INVALID


def test_signing_time_must_fit_the_certificates_too() -> None:
    leaf = make_certificate("tsa", TSA_KEY, issuer=TOP, purposes=[TIME_STAMPING], end=AT + timedelta(days=1))
    assert _verify(_make(Details(signing_time=AT + timedelta(hours=1)), certificate=leaf)).time == AT
    assert _refusal(_make(Details(signing_time=AT + timedelta(days=2)), certificate=leaf)).code is Code.TIME_INVALID


CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


@pytest.mark.parametrize(
    ("leaf", "fits"),
    [
        pytest.param({}, True, id="plain"),
        pytest.param({"ca": False}, True, id="says-it-is-no-ca"),
        pytest.param({"ca": True, "usage": ["digital_signature"]}, False, id="a-ca"),
        pytest.param({"usage_critical": False}, True, id="key-usage-not-critical"),
        pytest.param({"usage": ["digital_signature", "content_commitment"]}, True, id="commits-too"),
        pytest.param({"usage": []}, False, id="no-key-usage"),
        pytest.param({"usage": ["content_commitment"]}, False, id="no-digital-signature"),
        pytest.param({"usage": ["digital_signature", "key_encipherment"]}, False, id="encrypts-too"),
        pytest.param({"usage": ["digital_signature", "key_cert_sign"]}, False, id="issues-too"),
        pytest.param({"purposes": [], "ca": False}, False, id="no-purpose"),
        pytest.param({"purposes": [CODE_SIGNING]}, False, id="another-purpose"),
        pytest.param({"purposes": [ANY]}, False, id="any-purpose"),
        pytest.param({"purposes": [TIME_STAMPING, CODE_SIGNING]}, False, id="two-purposes"),
        pytest.param({"purposes": [TIME_STAMPING, TIME_STAMPING]}, False, id="purpose-twice"),
        pytest.param({"algorithm": hashes.SHA512()}, True, id="issued-with-sha512"),
        pytest.param({"algorithm": hashes.SHA224()}, False, id="issued-with-sha224"),
    ],
)
@pytest.mark.parametrize("pinned", [True, False])
def test_certificate_of_the_signer(leaf: dict[str, Any], fits: bool, pinned: bool) -> None:
    certificate = make_certificate("tsa", TSA_KEY, **{"issuer": TOP, "purposes": [TIME_STAMPING], **leaf})
    der, signer = _make(certificate=certificate), certificate if pinned else None
    if fits:
        assert _verify(der, signer=signer).chain == (certificate, ROOT)
    else:
        assert _refusal(der, signer=signer).code is Code.UNTRUSTED_MATERIAL


def test_purpose_that_is_not_critical_is_taken_from_a_given_signer_only() -> None:
    leaf = make_certificate("tsa", TSA_KEY, issuer=TOP, purposes=[TIME_STAMPING], purposes_critical=False)
    assert _verify(_make(certificate=leaf), signer=leaf).chain == (leaf, ROOT)
    assert _refusal(_make(certificate=leaf)).code is Code.UNTRUSTED_MATERIAL
    github = next(one for one in AUTHORITIES if one.source == "f779f7740f78.json").chain[0]
    assert not github.extensions.get_extension_for_class(x509.ExtendedKeyUsage).critical


@pytest.mark.parametrize("kind", ["p224", "rsa1024", "rsa2056", "rsa2048-e3"])
@pytest.mark.parametrize("pinned", [True, False])
def test_keys_of_other_sizes_are_refused(kind: str, pinned: bool) -> None:
    certificate = make_certificate("tsa", _key(kind), issuer=TOP, purposes=[TIME_STAMPING])
    der = _make(key=_key(kind), certificate=certificate)
    assert _refusal(der, signer=certificate if pinned else None).code is Code.UNTRUSTED_MATERIAL


@pytest.mark.parametrize(
    ("ca", "fits"),
    [
        pytest.param({}, True, id="plain"),
        pytest.param({"path_length": 0}, True, id="path-length-0"),
        pytest.param({"usage_critical": False}, True, id="key-usage-not-critical"),
        pytest.param({"usage": []}, False, id="no-key-usage"),
        pytest.param({"usage": ["digital_signature", "crl_sign"]}, False, id="no-cert-sign"),
        pytest.param({"ca": False, "usage": ["key_cert_sign"]}, False, id="no-ca"),
        pytest.param({"ca": True, "ca_critical": False}, False, id="basic-constraints-not-critical"),
        pytest.param({"ca": True, "purposes": [TIME_STAMPING, CODE_SIGNING]}, True, id="purposes-include-ours"),
        pytest.param({"ca": True, "purposes": [ANY]}, True, id="any-purpose"),
        pytest.param({"ca": True, "purposes": [CODE_SIGNING]}, False, id="purposes-exclude-ours"),
        pytest.param({"algorithm": hashes.SHA224()}, False, id="signed-with-sha224"),
    ],
)
@pytest.mark.parametrize("which", ["root", "intermediate"])
def test_certificates_of_authorities(which: str, ca: dict[str, Any], fits: bool) -> None:
    middle_key = tokens.make_key()
    middle = make_certificate("middle", middle_key, issuer=TOP, **(ca if which == "intermediate" else {}))
    root = ROOT if which == "intermediate" else make_certificate("root", ROOT_KEY, **ca)
    issuer = Issuer(middle_key, middle) if which == "intermediate" else Issuer(ROOT_KEY, root)
    leaf = make_certificate("tsa", TSA_KEY, issuer=issuer, purposes=[TIME_STAMPING])
    der = _make(Details(certificates=(middle,)), certificate=leaf)
    if fits:
        assert _verify(der, root=root).chain[-1] == root
    else:
        assert _refusal(der, root=root).code is Code.UNTRUSTED_MATERIAL


@pytest.mark.parametrize(
    ("kind", "fits"),
    [("p384", True), ("p521", True), ("rsa2048", True), ("rsa3072", True), ("rsa1024", False), ("rsa2048-e3", False)],
)
def test_keys_of_authorities(kind: str, fits: bool) -> None:
    root = make_certificate("root", _key(kind))
    leaf = make_certificate("tsa", TSA_KEY, issuer=Issuer(_key(kind), root), purposes=[TIME_STAMPING])
    if fits:
        assert _verify(_make(certificate=leaf), root=root).chain == (leaf, root)
    else:
        assert _refusal(_make(certificate=leaf), root=root).code is Code.UNTRUSTED_MATERIAL


def _chain(below_root: int, **lowest: Any) -> tuple[tuple[x509.Certificate, ...], Issuer]:
    issuer, certificates = TOP, []
    for index in range(below_root):
        key = tokens.make_key()
        arguments = lowest if index == 0 else {}
        issuer = Issuer(key, make_certificate(f"ca {index}", key, issuer=issuer, **arguments))
        certificates.append(issuer.certificate)
    return tuple(certificates), issuer


@pytest.mark.parametrize(("below_root", "fits"), [(path.MAX_PATH - 2, True), (path.MAX_PATH - 1, False)])
def test_paths_are_bounded_in_length(below_root: int, fits: bool) -> None:
    certificates, issuer = _chain(below_root)
    leaf = make_certificate("tsa", TSA_KEY, issuer=issuer, purposes=[TIME_STAMPING])
    der = _make(Details(certificates=certificates), certificate=leaf)
    if fits:
        assert len(_verify(der).chain) == path.MAX_PATH
    else:
        assert _refusal(der).code is Code.UNTRUSTED_MATERIAL


@pytest.mark.parametrize(("path_length", "fits"), [(1, True), (0, False)])
def test_path_length_counts_the_authorities_below(path_length: int, fits: bool) -> None:
    certificates, issuer = _chain(2, path_length=path_length)
    leaf = make_certificate("tsa", TSA_KEY, issuer=issuer, purposes=[TIME_STAMPING])
    der = _make(Details(certificates=certificates), certificate=leaf)
    if fits:
        assert len(_verify(der).chain) == 4
    else:
        assert _refusal(der).code is Code.UNTRUSTED_MATERIAL


def test_self_signed_certificate_is_no_step_on_a_path() -> None:
    middle_key = tokens.make_key()
    loop = make_certificate("middle", middle_key)
    cross = make_certificate("middle", middle_key, issuer=TOP)
    leaf = make_certificate("tsa", TSA_KEY, issuer=Issuer(middle_key, loop), purposes=[TIME_STAMPING])
    for bag in ((loop, cross), (cross, loop)):
        assert _verify(_make(Details(certificates=bag), certificate=leaf)).chain == (leaf, cross, ROOT)


def test_root_of_the_same_name_and_another_key_is_no_issuer() -> None:
    assert FOREIGN_ROOT.subject == ROOT.subject
    assert _refusal(_make(), root=FOREIGN_ROOT).code is Code.UNTRUSTED_MATERIAL


def test_certificates_that_all_name_each_other_are_not_searched_forever() -> None:
    key = tokens.make_key()
    crowd = tuple(make_certificate("ca", key, issuer=Issuer(key, make_certificate("ca", key))) for _ in range(19))
    assert len(set(crowd)) == 19
    same = Issuer(key, crowd[0])
    crossed = tuple(make_certificate("ca", key, issuer=Issuer(tokens.make_key(), same.certificate)) for _ in range(19))
    leaf = make_certificate("tsa", TSA_KEY, issuer=same, purposes=[TIME_STAMPING])
    assert _refusal(_make(Details(certificates=crossed), certificate=leaf)).code is Code.LIMIT_EXCEEDED
    few = Details(certificates=crowd[: path.MAX_ISSUER_CHECKS // 2])
    assert _refusal(_make(few, certificate=leaf)).code is Code.UNTRUSTED_MATERIAL


def test_issuers_of_a_given_signer_are_not_searched_in_the_token() -> None:
    """Whose authority stamps for everybody must not let everybody choose how long that takes to check."""
    middle_key = tokens.make_key()
    middle = make_certificate("middle", middle_key, issuer=TOP)
    leaf = make_certificate("tsa", TSA_KEY, issuer=Issuer(middle_key, middle), purposes=[TIME_STAMPING])
    crowd = tuple(make_certificate("middle", tokens.make_key()) for _ in range(19))
    parsed = timestamp.parse_response(_make(Details(certificates=crowd), certificate=leaf))
    given = timestamp.verify(parsed, MESSAGE, roots=[ROOT], intermediates=[middle], signer=leaf)
    assert given.chain == (leaf, middle, ROOT)
    in_token = timestamp.parse_response(_make(Details(certificates=(middle,)), certificate=leaf))
    assert timestamp.verify(in_token, MESSAGE, roots=[ROOT]).chain == (leaf, middle, ROOT)
    with pytest.raises(RejectedError) as refused:
        timestamp.verify(in_token, MESSAGE, roots=[ROOT], signer=leaf)
    assert refused.value.code is Code.UNTRUSTED_MATERIAL


def test_no_certificate_is_twice_on_a_path() -> None:
    one, two = tokens.make_key(), tokens.make_key()
    crossed = Issuer(one, make_certificate("one", one, issuer=Issuer(two, make_certificate("two", two))))
    back = make_certificate("two", two, issuer=crossed)
    out = make_certificate("two", two, issuer=TOP)
    leaf = make_certificate("tsa", TSA_KEY, issuer=crossed, purposes=[TIME_STAMPING])
    found = list(path.Search([ROOT], [back, crossed.certificate, out]).paths(leaf))
    assert found == [(leaf, crossed.certificate, out, ROOT)]


def test_certificates_that_have_nothing_to_do_with_it_cost_no_checks() -> None:
    certificates, issuer = _chain(5)
    leaf = make_certificate("tsa", TSA_KEY, issuer=issuer, purposes=[TIME_STAMPING])
    others = tuple(make_certificate(f"other {index}", OTHER_KEY, issuer=TOP) for index in range(14))
    assert len(_verify(_make(Details(certificates=others + certificates), certificate=leaf)).chain) == 7


def test_certificate_that_cannot_be_read_is_no_crash() -> None:
    twice = _resigned(TSA, lambda tbs: tbs["extensions"].append(tbs["extensions"][0]), ROOT_KEY)
    assert _refusal(_make(certificate=twice), signer=twice).code is Code.UNTRUSTED_MATERIAL
    middle_key = tokens.make_key()
    middle = make_certificate("middle", middle_key, issuer=TOP)
    broken = _resigned(middle, lambda tbs: tbs["extensions"].append(tbs["extensions"][0]), ROOT_KEY)
    leaf = make_certificate("tsa", TSA_KEY, issuer=Issuer(middle_key, middle), purposes=[TIME_STAMPING])
    assert _refusal(_make(Details(certificates=(broken,)), certificate=leaf)).code is Code.UNTRUSTED_MATERIAL
    assert _verify(_make(Details(certificates=(broken, middle)), certificate=leaf)).chain == (leaf, middle, ROOT)


@pytest.mark.parametrize("which", ["signer", "root"])
def test_certificates_of_version_1_have_no_extensions(which: str) -> None:
    root = _resigned(ROOT, lambda tbs: tbs.__setitem__("version", "v1"), ROOT_KEY) if which == "root" else ROOT
    leaf = _resigned(TSA, lambda tbs: tbs.__setitem__("version", "v1"), ROOT_KEY) if which == "signer" else TSA
    der = _make(certificate=leaf)
    assert _refusal(der, root=root, signer=leaf).code is Code.UNTRUSTED_MATERIAL


@pytest.mark.parametrize(("critical", "expected"), [(False, None), (True, Code.UNTRUSTED_MATERIAL)])
@pytest.mark.parametrize("which", ["leaf", "middle", "root"])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_critical_extension_that_is_not_known_is_refused(
    which: str, critical: bool, expected: Code | None, pinned: bool
) -> None:
    """RFC 5280 4.2: it may say that the certificate is for something else, as name constraints do."""
    unknown = {"extn_id": "1.2.3.4", "critical": critical, "extn_value": b"\x05\x00"}

    def changed(certificate: x509.Certificate, name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        if name != which:
            return certificate
        return _resigned(certificate, lambda tbs: tbs["extensions"].append(unknown), key)

    middle_key = tokens.make_key()
    root = changed(ROOT, "root", ROOT_KEY)
    middle = changed(make_certificate("middle", middle_key, issuer=TOP), "middle", ROOT_KEY)
    leaf = make_certificate("tsa", TSA_KEY, issuer=Issuer(middle_key, middle), purposes=[TIME_STAMPING])
    leaf = changed(leaf, "leaf", middle_key)
    parsed = timestamp.parse_response(_make(certificate=leaf))
    found: Code | None = None
    try:
        timestamp.verify(parsed, MESSAGE, roots=[root], intermediates=[middle], signer=leaf if pinned else None)
    except CountersignError as error:
        found = error.code
    assert found is expected


def _resigned(certificate: x509.Certificate, change: Any, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    parsed = asn1_x509.Certificate.load(certificate.public_bytes(DER))
    change(parsed["tbs_certificate"])
    parsed["signature_value"] = key.sign(parsed["tbs_certificate"].dump(force=True), ec.ECDSA(hashes.SHA256()))
    return x509.load_der_x509_certificate(parsed.dump(force=True))


# ---- what does not parse

GOOD = _make()


@pytest.mark.parametrize(
    ("der", "code"),
    [
        pytest.param(b"", Code.MALFORMED, id="empty"),
        pytest.param(GOOD + b"\x00", Code.MALFORMED, id="trailing-byte"),
        pytest.param(GOOD[:-1], Code.MALFORMED, id="truncated"),
        pytest.param(b"\x30\x80" + GOOD[4:] + b"\x00\x00", Code.MALFORMED, id="indefinite-length"),
        pytest.param(b"\x30\x83\x00" + GOOD[2:], Code.MALFORMED, id="long-length"),
        pytest.param(b"\x30\x05\x30\x03\x02\x01\x00", Code.MALFORMED, id="granted-without-token"),
        pytest.param(b"\x30\x05\x30\x03\x02\x01\x02", Code.MALFORMED, id="rejection-without-token"),
        pytest.param(b"{}", Code.MALFORMED, id="json"),
        pytest.param(bytes(token.MAX_TOKEN_BYTES), Code.MALFORMED, id="as-large-as-may-be"),
        pytest.param(bytes(token.MAX_TOKEN_BYTES + 1), Code.LIMIT_EXCEEDED, id="too-large"),
        pytest.param(_make(Details(certificates=(OTHER,) * token.MAX_CERTIFICATES)), Code.LIMIT_EXCEEDED, id="bag"),
        pytest.param(
            _make(Details(co_signers=(CoSigner(TSA_KEY, TSA),) * token.MAX_SIGNERS)), Code.LIMIT_EXCEEDED, id="signers"
        ),
        pytest.param(_make(Details(accuracy=timedelta(days=1, seconds=1))), Code.MALFORMED, id="accuracy"),
    ],
)
def test_what_is_no_response(der: bytes, code: Code) -> None:
    with pytest.raises(MalformedError) as refused:
        timestamp.parse_response(der)
    assert refused.value.code is code


def test_as_many_certificates_and_signers_as_may_be_are_read() -> None:
    details = Details(
        certificates=(OTHER,) * (token.MAX_CERTIFICATES - 1),
        co_signers=(CoSigner(OTHER_KEY, OTHER, Mistakes(flip_signature=True)),) * (token.MAX_SIGNERS - 1),
    )
    assert _verify(_make(details)).time == AT


@pytest.mark.parametrize(("count", "code"), [(32, Code.TIME_INVALID), (33, Code.LIMIT_EXCEEDED)])
def test_signed_attributes_are_bounded(count: int, code: Code) -> None:
    response = tsp.TimeStampResp.load(_make())
    signed = response["time_stamp_token"]["content"]
    attributes = signed["signer_infos"][0]["signed_attrs"]
    for number in range(count - len(attributes)):
        attributes.append(cms.CMSAttribute({"type": f"1.2.3.{number}", "values": []}))
    assert _refusal(response.dump(force=True)).code is code


def test_token_is_no_response_and_response_no_token() -> None:
    bare = tokens.make_token(MESSAGE, key=TSA_KEY, certificate=TSA, at=AT)
    assert timestamp.verify(timestamp.parse_token(bare), MESSAGE, roots=[ROOT]).time == AT
    for parse, der in ((timestamp.parse_token, GOOD), (timestamp.parse_response, bare)):
        with pytest.raises(MalformedError) as refused:
            parse(der)
        assert refused.value.code is Code.MALFORMED


def _sequence(*items: bytes) -> bytes:
    der: bytes = parser.emit(0, 1, 16, b"".join(items))
    return der


HASH, SERIAL, EMPTY_NAME = b"\x04\x01\xaa", b"\x02\x01\x05", b"\x30\x00"
DIRECTORY_NAME, DNS_NAME = b"\xa4\x02" + EMPTY_NAME, b"\x82\x01a"
SHA512 = _sequence(b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03")


@pytest.mark.parametrize(
    ("parts", "fits"),
    [
        pytest.param((HASH,), True, id="hash"),
        pytest.param((SHA512, HASH), True, id="algorithm"),
        pytest.param((_sequence(), HASH), False, id="algorithm-empty"),
        pytest.param((_sequence(b"\x05\x00"), HASH), False, id="algorithm-without-identifier"),
        pytest.param((HASH, _sequence(_sequence(DIRECTORY_NAME), SERIAL)), True, id="issuer-and-serial"),
        pytest.param((HASH, _sequence(_sequence(), SERIAL)), False, id="no-issuer"),
        pytest.param((HASH, _sequence(_sequence(DNS_NAME), SERIAL)), False, id="issuer-is-a-host"),
        pytest.param((HASH, _sequence(_sequence(DIRECTORY_NAME, DIRECTORY_NAME), SERIAL)), False, id="two-issuers"),
        pytest.param((), False, id="no-hash"),
    ],
)
def test_how_a_certificate_may_be_named(parts: tuple[bytes, ...], fits: bool) -> None:
    der = _sequence(_sequence(_sequence(*parts)))
    if fits:
        named = token.parse_named(der)
        assert named.hash == b"\xaa"
        assert named.hash_algorithm == ("2.16.840.1.101.3.4.2.3" if SHA512 in parts else token.SHA256)
        assert named.issuer_serial == (None if parts[-1] == HASH else (EMPTY_NAME, 5))
    else:
        with pytest.raises(MalformedError) as refused:
            token.parse_named(der)
        assert refused.value.code is Code.MALFORMED


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b"\x30\x00", id="empty-certificate"),
        pytest.param(b"\xa1\x03\x02\x01\x01", id="attribute-certificate"),
        pytest.param(b"\x04\x00", id="octets"),
    ],
)
def test_what_does_not_load_in_the_bag_vouches_for_nothing_and_harms_nothing(odd: bytes) -> None:
    bare = tokens.make_token(MESSAGE, key=TSA_KEY, certificate=TSA, at=AT)
    der = _with_bag(bare, odd + TSA.public_bytes(DER))
    assert timestamp.verify(timestamp.parse_token(der), MESSAGE, roots=[ROOT]).chain == (TSA, ROOT)
    with pytest.raises(RejectedError) as refused:
        timestamp.verify(timestamp.parse_token(_with_bag(bare, odd)), MESSAGE, roots=[ROOT])
    assert refused.value.code is Code.UNTRUSTED_MATERIAL


def _with_bag(bare: bytes, bag: bytes) -> bytes:
    content = cms.ContentInfo.load(bare)
    signed = content["content"]
    parts = [signed[name].dump() for name in ("version", "digest_algorithms", "encap_content_info")]
    inside = b"".join([*parts, parser.emit(2, 1, 0, bag), signed["signer_infos"].dump()])
    der: bytes = parser.emit(
        0, 1, 16, content["content_type"].dump() + parser.emit(2, 1, 0, parser.emit(0, 1, 16, inside))
    )
    return der


# ---- bytes that were changed

REAL = [
    pytest.param("rekor2-timestamp-with-embedded-cert", "ed6a9cf4e7c2.json", True, id="staging-pinned"),
    pytest.param("rekor2-timestamp-with-embedded-cert", "ed6a9cf4e7c2.json", False, id="staging-embedded"),
    pytest.param("cosign3-sign-keyless.sigstore.json", "52b2af38cbe5.json", True, id="production"),
    pytest.param("intoto-with-custom-trust-root", "7d76b75f0a69.json", True, id="p256"),
]


# Not signed, and so free to change: SignedData.digestAlgorithms, which nothing is decided by, and, when the signer is
# given, the certificates. Status, identifier and algorithms are not signed either, but leave no choice.
@pytest.mark.parametrize(("name", "source", "pinned"), REAL)
@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_flipped_byte_is_refused_wherever_it_is_signed(name: str, source: str, pinned: bool, mask: int) -> None:
    stamped, authority = BUNDLES[name], next(one for one in AUTHORITIES if one.source == source)
    right = _verify_real(stamped, authority, pinned=pinned)
    accepted = set()
    for index in range(len(stamped.response)):
        changed = bytearray(stamped.response)
        changed[index] ^= mask
        try:
            verified = _verify_real(Stamped(bytes(changed), stamped.message), authority, pinned=pinned)
        except CountersignError:
            continue
        assert verified == right
        accepted.add(index)
    digests, certificates = _unsigned(stamped.response)
    assert accepted <= digests | (certificates if pinned else set())


def _unsigned(response: bytes) -> tuple[set[int], set[int]]:
    signed = tsp.TimeStampResp.load(response)["time_stamp_token"]["content"]
    digests, content = signed["digest_algorithms"].dump(), signed["encap_content_info"].dump()
    start = response.index(digests + content)
    bag = start + len(digests + content)
    return set(range(start, start + len(digests))), set(range(bag, response.index(signed["signer_infos"].dump())))


@given(st.data())
def test_no_change_raises_anything_but_our_own_errors(data: st.DataObject) -> None:
    stamped = BUNDLES["rekor2-timestamp-with-embedded-cert"]
    authority = next(one for one in AUTHORITIES if one.source == "ed6a9cf4e7c2.json")
    start = data.draw(st.integers(0, len(stamped.response)))
    end = data.draw(st.integers(start, min(start + 40, len(stamped.response))))
    changed = stamped.response[:start] + data.draw(st.binary(max_size=40)) + stamped.response[end:]
    for pinned in (True, False):
        try:
            verified = _verify_real(Stamped(changed, stamped.message), authority, pinned=pinned)
        except CountersignError:
            continue
        assert verified == _verify_real(stamped, authority, pinned=pinned)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_malformed(der: bytes) -> None:
    for parse in (timestamp.parse_response, timestamp.parse_token):
        with pytest.raises(MalformedError):
            parse(der)
