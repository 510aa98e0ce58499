"""Envelopes as a whole: real ones of both kinds, each kind of key, the payload, and what a changed byte does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notation import made
from tests.notation.made import BY_AUTHORITY, COSE, JWS, SIGNED_AT, SPEC, Spec
from webhook.errors import CountersignError
from webhook.notation import envelope
from webhook.notation.envelope import Candidate, Envelope, Scheme

# What strangers' certificates break, as in webhook.trust.certificates
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")

VECTORS = Path(__file__).parent.parent / "vectors" / "notation"
INTEGRITY = {
    "envelope_malformed": "malformed",
    "envelope_unsupported": "unsupported",
    "signature_invalid": "signature_invalid",
    "cert_chain_invalid": "cert_chain_invalid",
}
CASES: list[dict[str, Any]] = json.loads((VECTORS / "index.json").read_bytes())["cases"]


@pytest.mark.parametrize("case", [pytest.param(one, id=one["id"]) for one in CASES if one["kind"] == "envelope"])
def test_real_envelopes(case: Mapping[str, Any]) -> None:
    """Integrity decides some of them; the others are whole, and for the other checks to judge."""
    data = (VECTORS / case["file"]).read_bytes()

    assert made.told(data, case["mediaType"]) == INTEGRITY.get(case["expect"].get("code"), "whole")


@pytest.mark.parametrize("case", [pytest.param(one, id=one["id"]) for one in CASES if one["kind"] == "oci-layout"])
def test_real_envelopes_as_they_are_stored(case: Mapping[str, Any]) -> None:
    blobs = VECTORS / case["dir"] / "blobs" / "sha256"
    manifests = [json.loads(blob.read_bytes()) for blob in sorted(blobs.iterdir()) if blob.read_bytes()[:1] == b"{"]
    signature = "application/vnd.cncf.notary.signature"
    [layer] = [
        layer
        for one in manifests
        if signature in (one.get("artifactType"), one.get("config", {}).get("mediaType"))
        for layer in one["layers"]
    ]
    data = (blobs / layer["digest"].removeprefix("sha256:")).read_bytes()

    assert made.told(data, layer["mediaType"]) == INTEGRITY.get(case["expect"].get("code"), "whole")


def test_no_real_envelope_was_forgotten() -> None:
    files = {str(file.relative_to(VECTORS)) for file in (VECTORS / "envelopes").iterdir()}

    assert files == {case["file"] for case in CASES if case["kind"] == "envelope"}
    assert len(CASES) == 117


def test_what_a_real_envelope_says() -> None:
    data = (VECTORS / "envelopes" / "sig_env_with_metadata.json").read_bytes()
    found = envelope.open_envelope(data, JWS)

    assert (found.media_type, found.scheme, found.expires_at) == (JWS, Scheme.X509, None)
    assert found.signed_at == datetime(2023, 1, 11, 18, 2, 54, tzinfo=UTC)  # -08:00 there
    assert found.signed_at.tzinfo is UTC
    assert found.extended == {}
    assert found.critical == {"io.cncf.notary.signingScheme"}
    assert [one.subject.rfc4514_string() for one in found.chain] == [
        "CN=wabbit-networks.io,O=Notary,L=Seattle,ST=WA,C=US"
    ]
    assert (found.timestamp_token, len(found.signature)) == (None, 256)
    assert found.signing_agent.startswith("Notation/")
    assert found.target == envelope.Target(
        media_type="application/vnd.docker.distribution.manifest.v2+json",
        digest="sha256:5a07385af4e6b6af81b0ebfd435aedccdfa3507f0609c658209e1aba57159b2b",
        size=942,
        annotations={"io.wabbit-networks.buildId": "123", "io.wabbit-networks.buildTime": "1672944615"},
    )


def signed(media_type: str, spec: Spec = SPEC, leaf: made.Node | None = None) -> bytes:
    return made.sign_jws(spec, leaf) if media_type == JWS else made.sign_cose(spec, leaf)


BOTH = pytest.mark.parametrize("media_type", [JWS, COSE])


@BOTH
@pytest.mark.parametrize("kind", made.ALGORITHMS)
def test_each_kind_of_key(media_type: str, kind: str) -> None:
    good = signed(media_type, leaf=made.leaf_of(kind))

    assert made.told(good, media_type) == "whole"
    assert made.told(good, COSE if media_type == JWS else JWS) == "malformed"


@BOTH
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("p256", "whole", id="P-256"),
        pytest.param("k256", "cert_chain_invalid", id="another curve of 256 bits"),
        pytest.param("p224", "cert_chain_invalid", id="a curve too small"),
        pytest.param("ed25519", "cert_chain_invalid", id="Ed25519"),
        pytest.param("dsa", "cert_chain_invalid", id="DSA"),
        pytest.param("rsa2048", "whole", id="RSA 2048"),
        pytest.param("rsa2048-e3", "cert_chain_invalid", id="a small exponent"),
        pytest.param("rsa1024", "cert_chain_invalid", id="RSA 1024"),
        pytest.param("rsa2047", "cert_chain_invalid", id="RSA 2047"),
        pytest.param("rsa3071", "cert_chain_invalid", id="RSA 3071"),
    ],
)
def test_kinds_of_key_that_may_sign(media_type: str, kind: str, expected: str) -> None:
    root = made.issue("root", None, made.CA)
    leaf = made.issue("leaf", root, kind=kind)

    assert made.told(signed(media_type, leaf=leaf), media_type) == expected


def test_other_media_types() -> None:
    for media_type in (
        "application/jose",
        "application/jose+json; charset=utf-8",
        "application/JOSE+JSON",
        "",
        COSE * 9,
    ):
        assert made.told(made.sign_jws(), media_type) == "unsupported"


# --- what both kinds say alike


@given(
    scheme=st.sampled_from(Scheme),
    signed_at=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001  # hypothesis wants them so
        lambda time: time.replace(microsecond=0, tzinfo=UTC)
    ),
    lasts=st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=9999)),
    extended=st.dictionaries(
        st.text(min_size=1).filter(lambda name: not name.isascii()) | st.sampled_from(["com.example.a", "z"]),
        st.text() | st.integers(-(2**63), 2**63) | st.booleans() | st.none() | st.lists(st.text(), max_size=3),
        max_size=5,
    ),
    annotations=st.none() | st.dictionaries(st.text(), st.text(), max_size=5),
    token=st.none() | st.binary(min_size=1),
)
def test_both_kinds_of_envelope_say_the_same(
    scheme: Scheme,
    signed_at: datetime,
    lasts: timedelta | None,
    extended: Mapping[str, object],
    annotations: Mapping[str, str] | None,
    token: bytes | None,
) -> None:
    spec = Spec(
        scheme=scheme,
        signed_at=signed_at,
        expires_at=signed_at + timedelta(seconds=int(lasts.total_seconds())) if lasts else None,
        extended=extended,
        critical=list(extended)[:2],
        payload=made.payload_of(annotations=annotations),
        token=token,
    )
    found = [envelope.open_envelope(signed(media_type, spec), media_type) for media_type in (JWS, COSE)]

    assert replace(found[0], media_type="", signature=b"") == replace(found[1], media_type="", signature=b"")
    assert (found[0].signed_at, found[0].expires_at) == (spec.signed_at, spec.expires_at)
    assert found[0].extended == extended
    assert found[0].critical == set(spec.all_critical)
    assert found[0].target.annotations == (annotations or {})
    assert found[0].timestamp_token == token
    assert found[0].signing_agent == "made/1.0"


# --- the payload

TEXT = "application/vnd.cncf.notary.payload.v1+json"


@BOTH
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(made.payload_of(), "whole", id="as notation writes it"),
        pytest.param(made.payload_of(annotations=None), "whole", id="annotations null"),
        pytest.param(made.payload_of(annotations={}), "whole", id="annotations empty"),
        pytest.param(made.payload_of(annotations={"a": "b"}), "whole", id="annotations"),
        pytest.param(made.payload_of(annotations={"a": 1}), "malformed", id="annotation a number"),
        pytest.param(made.payload_of(annotations={"a": None}), "malformed", id="annotation null"),
        pytest.param(made.payload_of(annotations=["a"]), "malformed", id="annotations an array"),
        pytest.param(made.payload_of(artifactType="x", more=[1.5]), "whole", id="unknown members"),
        pytest.param(made.payload_of(mediaType=made.DELETED), "malformed", id="no media type"),
        pytest.param(made.payload_of(mediaType=None), "malformed", id="media type null"),
        pytest.param(made.payload_of(digest=made.DELETED), "malformed", id="no digest"),
        pytest.param(made.payload_of(digest=["sha256"]), "malformed", id="digest an array"),
        pytest.param(made.payload_of(Digest="sha256:00"), "malformed", id="a second digest in upper case"),
        pytest.param(made.payload_of(digest=made.DELETED, DIGEST="x"), "malformed", id="digest in upper case"),
        pytest.param(
            made.payload_of()[:-2] + ', "\u017fize": 942}}'.encode(), "malformed", id="a name that folds to size"
        ),
        pytest.param(made.payload_of(size=0), "whole", id="size 0"),
        pytest.param(made.payload_of(size=-1), "malformed", id="size negative"),
        pytest.param(made.payload_of(size=942.0), "malformed", id="size a float"),
        pytest.param(made.payload_of(size=True), "malformed", id="size a boolean"),
        pytest.param(made.payload_of(size="942"), "malformed", id="size a string"),
        pytest.param(made.payload_of(size=2**63 - 1), "whole", id="size as large as it may be"),
        pytest.param(made.payload_of(size=2**63), "malformed", id="size too large"),
        pytest.param(b"{}", "malformed", id="no target"),
        pytest.param(b'{"targetArtifact":null}', "malformed", id="target null"),
        pytest.param(b'{"targetArtifact":[]}', "malformed", id="target an array"),
        pytest.param(b'{"TargetArtifact":' + made.payload_of()[18:], "malformed", id="target in other case"),
        pytest.param(b"[]", "malformed", id="an array"),
        pytest.param(b"x", "malformed", id="no JSON"),
        pytest.param(b"\xef\xbb\xbf" + made.payload_of(), "malformed", id="a byte order mark"),
        pytest.param(made.payload_of() + b"\n", "whole", id="white space behind it"),
        pytest.param(made.payload_of() + b"{}", "malformed", id="something behind it"),
        pytest.param(made.payload_of()[:-2] + b',"size":942}}', "malformed", id="a member twice"),
        pytest.param(made.payload_of(more=float("nan")), "malformed", id="NaN"),
        pytest.param(made.payload_of(more="\udead"), "malformed", id="half a surrogate pair"),
        pytest.param(made.payload_of(more=json.loads("[" * 30 + "]" * 30)), "whole", id="32 levels"),
        pytest.param(made.payload_of(more=json.loads("[" * 31 + "]" * 31)), "limit_exceeded", id="33 levels"),
        pytest.param(made.payload_of(more="a" * (255 << 10)), "whole", id="255 KiB"),
        pytest.param(made.payload_of(more="a" * (256 << 10)), "limit_exceeded", id="more than 256 KiB"),
    ],
)
def test_payloads(media_type: str, payload: bytes, expected: str) -> None:
    assert made.told(signed(media_type, replace(SPEC, payload=payload)), media_type) == expected


@BOTH
@pytest.mark.parametrize(
    "content_type", ["application/vnd.cncf.notary.payload.v2+json", TEXT.upper(), "", f"{TEXT};v=1"]
)
def test_other_types_of_payload(media_type: str, content_type: str) -> None:
    assert made.told(signed(media_type, replace(SPEC, content_type=content_type)), media_type) == "unsupported"


@BOTH
@pytest.mark.parametrize(
    ("size", "expected"), [(1, "whole"), (64 << 10, "whole"), ((64 << 10) + 1, "limit_exceeded"), (0, "malformed")]
)
def test_timestamp_tokens_are_bounded(media_type: str, size: int, expected: str) -> None:
    assert made.told(signed(media_type, replace(SPEC, token=bytes(size))), media_type) == expected


@BOTH
def test_envelopes_are_bounded(media_type: str) -> None:
    room = envelope.MAX_ENVELOPE_BYTES - len(signed(media_type, replace(SPEC, agent="")))

    assert made.told(signed(media_type, replace(SPEC, agent="a" * (room - 9))), media_type) == "whole"
    assert made.told(signed(media_type, replace(SPEC, agent="a" * (room + 1))), media_type) == "limit_exceeded"


# --- in which order


@BOTH
def test_a_wrong_signature_is_told_before_anything_that_it_signs(media_type: str) -> None:
    """Whoever changes what was signed is not to choose what it is called."""
    other = made.leaf_of("p384")
    bad = replace(SPEC, payload=b"x", content_type="x")
    forged = replace(made.leaf_of(), key=made.key_of("p256", "somebody"))
    unfit = made.issue("leaf", None, made.CA)

    assert made.told(signed(media_type, bad, forged), media_type) == "signature_invalid"
    assert made.told(signed(media_type, bad, replace(unfit, key=forged.key)), media_type) == "signature_invalid"
    assert made.told(signed(media_type, bad, unfit), media_type) == "cert_chain_invalid"
    assert made.told(signed(media_type, bad, other), media_type) == "unsupported"
    assert made.told(signed(media_type, replace(bad, content_type=TEXT), other), media_type) == "malformed"


# --- without verification


@BOTH
def test_what_an_envelope_says_of_itself_needs_no_signature(media_type: str) -> None:
    forged = replace(made.leaf_of(), key=made.key_of("p256", "somebody"))
    data = signed(media_type, replace(BY_AUTHORITY, extended={"com.example.job": "7"}), forged)
    said = envelope.parse(data, media_type)

    assert isinstance(said, Candidate)
    assert not isinstance(said, Envelope)
    assert (said.attributes.scheme, said.attributes.signed_at) == (Scheme.SIGNING_AUTHORITY, SIGNED_AT)
    assert said.attributes.extended == {"com.example.job": "7"}
    assert said.chain[0].subject == made.name_of("leaf")
    assert envelope.claimed_target(said).digest == made.TARGET["digest"]
    assert made.told(data, media_type) == "signature_invalid"


# --- changed bytes


def content(found: Envelope) -> tuple[object, ...]:
    """What of an envelope must not change: all but the token and the agent, which nobody signs."""
    return replace(found, timestamp_token=None, signing_agent=""), found.chain


@BOTH
@pytest.mark.parametrize("flipped", [0x01, 0x20, 0x80])
def test_a_changed_byte_never_gives_other_content(media_type: str, flipped: int) -> None:
    spec = replace(BY_AUTHORITY, extended={"com.example.job": "7"}, critical=["com.example.job"], token=b"token")
    data = signed(media_type, spec)
    good = content(envelope.open_envelope(data, media_type))
    passed = 0
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= flipped
        try:
            found = envelope.open_envelope(bytes(changed), media_type)
        except CountersignError:
            continue
        passed += 1
        assert content(found) == good, position

    assert passed < 160  # in the token, the agent, their names, and white space


@BOTH
@given(data=st.binary(max_size=300))
def test_any_bytes_give_our_errors_only(media_type: str, data: bytes) -> None:
    assert made.told(data, media_type) != "whole"
    assert made.told(b"\xd2\x84" + data, media_type) != "whole"


@BOTH
@given(data=st.data())
def test_any_piece_cut_or_put_in_gives_our_errors_only(media_type: str, data: st.DataObject) -> None:
    good = signed(media_type)
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 50)))
    made.told(good[:start] + data.draw(st.binary(max_size=20)) + good[end:], media_type)
