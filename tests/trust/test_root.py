"""What a trusted_root.json must be to be believed, each rule with a near miss."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from sigstore.models import TrustedRoot
from sigstore_models.trustroot import v1 as trustroot_v1

from webhook.demo import signing
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.trust import mirror, root, sources
from webhook.trust.at_hand import Trust
from webhook.trust.root import PUBLIC_GOOD, TrustRoot, Window

ROOTS = sorted((Path(__file__).resolve().parent.parent / "vectors" / "sigstore" / "trusted-roots").glob("*.json"))
SHIPPED = mirror.packaged_document()

key_of = functools.cache(signing.new_key)

Edit = Callable[[Any], object]


def edited(edit: Edit) -> bytes:
    document = json.loads(SHIPPED)
    edit(document)
    return json.dumps(document).encode()


def put(*path: str | int, value: object) -> Edit:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return edit


def drop(*path: str | int) -> Edit:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        del document[path[-1]]

    return edit


def test_there_are_eight_real_roots() -> None:
    assert len(ROOTS) == 8


@pytest.mark.parametrize("path", ROOTS, ids=lambda path: path.stem)
def test_real_roots_say_what_sigstore_reads(path: Path) -> None:
    ours = root.parse(path.read_bytes())
    assert not ours.notes
    document = json.loads(path.read_bytes())
    for authority in document["certificateAuthorities"]:  # which sigstore insists on, and one of these lacks
        authority["subject"].setdefault("commonName", "x")
    theirs = trustroot_v1.TrustedRoot.from_json(json.dumps(document))
    TrustedRoot(theirs)
    pairs = (
        (ours.logs, theirs.tlogs),
        (ours.ct_logs, theirs.ctlogs),
        (ours.certificate_authorities, theirs.certificate_authorities),
        (ours.timestamp_authorities, theirs.timestamp_authorities or []),
    )
    for read, expected in pairs:
        assert len(read) == len(expected)
    for log, other in zip(ours.logs + ours.ct_logs, theirs.tlogs + theirs.ctlogs, strict=True):
        assert log.log_id == other.log_id.key_id
        assert log.url == other.base_url
        assert other.public_key.valid_for is not None
        assert log.window.start == other.public_key.valid_for.start
        assert log.window.end == other.public_key.valid_for.end
    for mine, yours in zip(ours.certificate_authorities, theirs.certificate_authorities, strict=True):
        ders = [one.public_bytes(serialization.Encoding.DER) for one in mine.chain]
        assert ders == [one.raw_bytes for one in yours.cert_chain.certificates]


def test_the_shipped_root_in_full() -> None:
    shipped = sources.packaged()
    assert [(log.url, log.key.algorithm) for log in shipped.logs] == [
        ("https://rekor.sigstore.dev", "ECDSA P-256"),
        ("https://log2025-1.rekor.sigstore.dev", "Ed25519"),
    ]
    assert shipped.ct_logs[0].window == Window(
        datetime(2021, 3, 14, tzinfo=UTC), datetime(2022, 10, 31, 23, 59, 59, 999000, tzinfo=UTC)
    )
    assert shipped.logs[0].log_id == hashlib.sha256(shipped.logs[0].key.spki).digest()
    assert [len(one.chain) for one in shipped.certificate_authorities] == [1, 2]


def test_the_fingerprint_is_of_what_it_says_not_of_how() -> None:
    document = json.loads(SHIPPED)
    other = json.dumps(dict(reversed(document.items())), indent=9).encode()
    assert root.parse(other) == root.parse(SHIPPED)
    assert (
        len({root.parse(SHIPPED).fingerprint, root.parse(edited(put("tlogs", 0, "baseUrl", value="x"))).fingerprint})
        == 2
    )


FINE: dict[str, Edit] = {
    "other-media-type": put("mediaType", value="application/vnd.dev.sigstore.trustedroot.v0.1+json"),
    "unknown-member": put("tlogs", 0, "future", value={"a": [1]}),
    "no-timestamp-authorities": put("timestampAuthorities", value=None),
    "authority-always-valid": drop("certificateAuthorities", 0, "validFor"),
    "authority-open": put("certificateAuthorities", 0, "validFor", value={"start": None, "end": None}),
    "end-is-null": put("tlogs", 0, "publicKey", "validFor", "end", value=None),
    "nanoseconds": put("tlogs", 0, "publicKey", "validFor", "start", value="2021-01-12T11:53:27.123456789Z"),
    "offset": put("tlogs", 0, "publicKey", "validFor", "start", value="2021-01-12T11:53:27+02:00"),
    "no-url": drop("tlogs", 0, "baseUrl"),
    "no-subject": drop("certificateAuthorities", 0, "subject"),
    "ends-when-it-starts": put(
        *("tlogs", 0, "publicKey", "validFor"), value={"start": "2021-01-12T11:53:27Z", "end": "2021-01-12T11:53:27Z"}
    ),
}


@pytest.mark.parametrize("edit", FINE.values(), ids=FINE)
def test_what_is_as_specified_is_read(edit: Edit) -> None:
    read = root.parse(edited(edit))
    assert (len(read.logs), len(read.certificate_authorities)) == (2, 2)


def test_times_are_read_to_the_microsecond_in_utc() -> None:
    valid = {"start": "2021-01-12T11:53:27.123456789+02:00"}
    read = root.parse(edited(put("tlogs", 0, "publicKey", "validFor", value=valid)))
    assert read.logs[0].window == Window(datetime(2021, 1, 12, 9, 53, 27, 123456, tzinfo=UTC))


def test_both_ends_of_a_window_belong_to_it() -> None:
    start, end, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC), timedelta(seconds=1)
    window = Window(start, end)
    assert start in window
    assert end in window
    assert start - second not in window
    assert end + second not in window
    assert start in Window()


def _twice(document: Any) -> None:
    document["tlogs"].append(dict(document["tlogs"][0], baseUrl="https://other.example.com"))


def _many(name: str) -> Edit:
    def edit(document: Any) -> None:
        document[name] = document[name] * 129

    return edit


def _long_chain(document: Any) -> None:
    chain = document["certificateAuthorities"][0]["certChain"]
    chain["certificates"] = chain["certificates"] * 11


def _other_key(kind: str) -> str:
    return base64.b64encode(signing_spki(kind)).decode()


def signing_spki(kind: str) -> bytes:
    key = serialization.load_pem_public_key(key_of(kind).public_pem.encode())
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _weak() -> str:
    key = rsa.generate_private_key(65537, 1024).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(spki).decode()


def _trailing(document: Any) -> None:
    listed = document["certificateAuthorities"][0]["certChain"]["certificates"][0]
    listed["rawBytes"] = base64.b64encode(base64.b64decode(listed["rawBytes"]) + b"\0").decode()


def _key(raw: str, details: str) -> Edit:
    public = json.loads(SHIPPED)["tlogs"][0]["publicKey"]
    return put(*KEY, value=public | {"rawBytes": raw, "keyDetails": details})


KEY = ("tlogs", 0, "publicKey")
VALID = (*KEY, "validFor")
CERTIFICATE = ("certificateAuthorities", 0, "certChain", "certificates", 0, "rawBytes")
MALFORMED, UNSUPPORTED, LIMIT = Code.MALFORMED, Code.UNSUPPORTED, Code.LIMIT_EXCEEDED

BAD: dict[str, tuple[Edit, Code, str]] = {
    "media-type-unknown": (
        put("mediaType", value="application/vnd.dev.sigstore.trustedroot.v0.2+json"),
        UNSUPPORTED,
        "mediaType",
    ),
    "media-type-absent": (drop("mediaType"), UNSUPPORTED, "mediaType"),
    "media-type-mistyped": (put("mediaType", value=["x"]), UNSUPPORTED, "mediaType"),
    "logs-mistyped": (put("tlogs", value={}), MALFORMED, "tlogs: an array expected"),
    "log-mistyped": (put("tlogs", 1, value="x"), MALFORMED, r"tlogs\[1\]: an object expected"),
    "log-null": (put("tlogs", 1, value=None), MALFORMED, r"tlogs\[1\]"),
    "key-absent": (drop(*KEY), MALFORMED, r"tlogs\[0\]\.publicKey: an object"),
    "key-not-base64": (put(*KEY, "rawBytes", value="_-"), MALFORMED, r"tlogs\[0\]\.publicKey\.rawBytes"),
    "key-empty": (put(*KEY, "rawBytes", value=""), MALFORMED, "rawBytes: it is empty"),
    "key-no-key": (put(*KEY, "rawBytes", value="MAA="), MALFORMED, "no public key in DER"),
    "key-of-another-curve": (put(*KEY, "rawBytes", value=_other_key("p384")), MALFORMED, "does not fit"),
    "key-of-another-kind": (put(*KEY, "rawBytes", value=_other_key("ed25519")), MALFORMED, "does not fit"),
    "details-of-another-kind": (put(*KEY, "keyDetails", value="PKIX_ED25519"), MALFORMED, "does not fit"),
    "details-of-another-size": (
        _key(_other_key("rsa2048"), "PKIX_RSA_PKCS1V15_3072_SHA256"),
        MALFORMED,
        "does not fit",
    ),
    "rsa-1024": (
        _key(_weak(), "PKCS1_RSA_PKCS1V5"),
        UNSUPPORTED,
        "1024 bits",
    ),
    "details-mistyped": (put(*KEY, "keyDetails", value=5), MALFORMED, "keyDetails: a string"),
    "log-without-window": (drop(*VALID), MALFORMED, "validFor"),
    "log-without-start": (drop(*VALID, "start"), MALFORMED, r"validFor\.start"),
    "start-is-null": (put(*VALID, "start", value=None), MALFORMED, r"validFor\.start"),
    "start-is-empty": (put(*VALID, "start", value=""), MALFORMED, "RFC 3339"),
    "time-without-zone": (put(*VALID, "start", value="2021-01-12T11:53:27"), MALFORMED, "RFC 3339"),
    "time-lower-case": (put(*VALID, "start", value="2021-01-12t11:53:27z"), MALFORMED, "RFC 3339"),
    "time-date-only": (put(*VALID, "start", value="2021-01-12"), MALFORMED, "RFC 3339"),
    "time-month-13": (put(*VALID, "start", value="2021-13-12T11:53:27Z"), MALFORMED, "RFC 3339"),
    "time-other-digits": (put(*VALID, "start", value="٢٠٢١-01-12T11:53:27Z"), MALFORMED, "RFC 3339"),
    "time-before-time": (put(*VALID, "start", value="0001-01-01T00:00:00+10:00"), MALFORMED, "RFC 3339"),
    "time-offset-of-days": (put(*VALID, "start", value="2021-01-01T00:00:00+99:00"), MALFORMED, "RFC 3339"),
    "time-a-number": (put(*VALID, "start", value=1610452407), MALFORMED, "a string expected"),
    "ends-before-it-starts": (put(*VALID, "end", value="2020-01-01T00:00:00Z"), MALFORMED, "ends before"),
    "log-id-absent": (drop("tlogs", 0, "logId"), MALFORMED, "logId"),
    "log-id-short": (put("tlogs", 0, "logId", "keyId", value="wNI9ag=="), MALFORMED, "32 bytes expected, found 4"),
    "log-id-twice": (_twice, MALFORMED, "stands twice"),
    "logs-257": (_many("tlogs"), LIMIT, "at most 256"),
    "authorities-257": (_many("certificateAuthorities"), LIMIT, "at most 256"),
    "chain-of-11": (_long_chain, LIMIT, "at most 10"),
    "chain-absent": (drop("certificateAuthorities", 0, "certChain"), MALFORMED, "certChain"),
    "chain-empty": (put("certificateAuthorities", 0, "certChain", "certificates", value=[]), MALFORMED, "at least one"),
    "chain-null": (
        put("certificateAuthorities", 0, "certChain", "certificates", value=None),
        MALFORMED,
        "at least one",
    ),
    "certificate-garbage": (put(*CERTIFICATE, value="MAA="), MALFORMED, "X.509"),
    "certificate-a-key": (put(*CERTIFICATE, value=_other_key("p256")), MALFORMED, "X.509"),
    "certificate-trailing": (
        _trailing,
        MALFORMED,
        "X.509",
    ),
    "authority-ends-before-it-starts": (
        put("timestampAuthorities", 0, "validFor", "end", value="2020-01-01T00:00:00Z"),
        MALFORMED,
        r"timestampAuthorities\[0\]\.validFor: it ends before",
    ),
    "uri-mistyped": (put("certificateAuthorities", 0, "uri", value=[]), MALFORMED, "uri"),
}


@pytest.mark.parametrize(("edit", "code", "said"), BAD.values(), ids=BAD)
def test_what_is_not_as_specified_refuses_the_whole(edit: Edit, code: Code, said: str) -> None:
    with pytest.raises(MalformedError, match=said) as caught:
        root.parse(edited(edit))
    assert caught.value.code is code
    assert caught.value.detail.startswith("trust root")


RAW = {
    "empty": (b"", MALFORMED),
    "array": (b"[]", MALFORMED),
    "name-twice": (SHIPPED.replace(b'"ctlogs"', b'"tlogs"'), MALFORMED),
    "trailing": (SHIPPED + b"{}", MALFORMED),
    "not-utf-8": (SHIPPED.replace(b"https", b"\xff", 1), MALFORMED),
    "deep": (b'{"a":' * 5000 + b"1" + b"}" * 5000, MALFORMED),
    "over-4-MiB": (SHIPPED + b" " * (4 << 20), LIMIT),
}


@pytest.mark.parametrize(("data", "code"), RAW.values(), ids=RAW)
def test_what_is_no_document_is_refused(data: bytes, code: Code) -> None:
    with pytest.raises(MalformedError) as caught:
        root.parse(data)
    assert caught.value.code is code


UNKNOWN = {
    "key-details": (put(*KEY, "keyDetails", value="PKIX_ML_DSA_65"), "keyDetails 'PKIX_ML_DSA_65' is not known"),
    "key-details-absent": (drop(*KEY, "keyDetails"), "keyDetails '' is not known"),
    "tree-hash": (put("tlogs", 0, "hashAlgorithm", value="SHA2_512"), "hashAlgorithm 'SHA2_512' is not known"),
}


@pytest.mark.parametrize(("edit", "note"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_log_that_we_cannot_check_is_left_out_with_a_note(edit: Edit, note: str) -> None:
    read = root.parse(edited(edit))
    assert [log.url for log in read.logs] == ["https://log2025-1.rekor.sigstore.dev"]
    assert len(read.notes) == 1
    assert "tlogs[0]" in read.notes[0]
    assert note in read.notes[0]


def test_the_hash_of_a_larger_curve_is_its_own() -> None:
    edit = put(
        *KEY,
        value=json.loads(SHIPPED)["tlogs"][0]["publicKey"]
        | {"rawBytes": _other_key("p384"), "keyDetails": "PKIX_ECDSA_P384_SHA_384"},
    )
    assert root.parse(edited(edit)).logs[0].key.schemes == ("sha384",)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path]
    if isinstance(value, dict):
        found += [place for name, member in value.items() for place in places(member, (*path, name))]
    if isinstance(value, list):
        found += [place for index, member in enumerate(value) for place in places(member, (*path, index))]
    return found


PLACES = [place for place in places(json.loads(SHIPPED)) if place]
ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, True, -1, 1 << 70, 1.5, "", "x", "=", "A" * 9999, [], [[]], {}, {"": None}, "\x00", "é"]
)


@given(st.sampled_from(PLACES), ODD)
def test_any_member_replaced_leaves_nothing_but_our_own_error(place: tuple[str | int, ...], odd: object) -> None:
    try:
        read = root.parse(edited(put(*place, value=odd)))
    except MalformedError:
        return
    assert isinstance(read, TrustRoot)


@given(st.integers(0, len(SHIPPED) - 1), st.integers(0, 255))
def test_any_byte_changed_leaves_nothing_but_our_own_error(place: int, byte: int) -> None:
    try:
        root.parse(SHIPPED[:place] + bytes([byte]) + SHIPPED[place + 1 :])
    except MalformedError:
        return


@given(st.integers(0, 400), st.integers(0, 255))
def test_any_byte_of_a_certificate_changed_leaves_nothing_but_our_own_error(place: int, byte: int) -> None:
    document = json.loads(SHIPPED)
    listed = document["certificateAuthorities"][0]["certChain"]["certificates"][0]
    der = bytearray(base64.b64decode(listed["rawBytes"]))
    der[place % len(der)] = byte
    listed["rawBytes"] = base64.b64encode(bytes(der)).decode()
    try:
        root.parse(json.dumps(document).encode())
    except MalformedError:
        return


def test_a_root_that_is_not_at_hand_proves_nothing() -> None:
    with pytest.raises(InconclusiveError, match="was not loaded yet") as caught:
        Trust().root_of(PUBLIC_GOOD)
    assert caught.value.code is Code.TRUST_UNAVAILABLE
    with pytest.raises(InconclusiveError, match="mirror is down"):
        Trust(problems={"public-good": "mirror is down"}).root_of(PUBLIC_GOOD)
    assert Trust({"public-good": sources.packaged()}).root_of(PUBLIC_GOOD) == sources.packaged()
