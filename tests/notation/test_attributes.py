"""What a protected header must say, and mark as critical, in either kind of envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import cbor2
import pytest

from tests.notation import made
from tests.notation.made import BY_AUTHORITY, COSE, DELETED, JWS, SIGNED_AT, SPEC, Spec
from webhook.notation.attributes import AUTHENTIC_SIGNING_TIME, EXPIRY, MAX_CRITICAL, PLUGIN, SCHEME, SIGNING_TIME

BOTH = pytest.mark.parametrize("media_type", [JWS, COSE])
LABELS: Mapping[str, int | str] = {"alg": 1, "crit": 2, "cty": 3}
LATER = SIGNED_AT + timedelta(days=1)


def written(value: object, media_type: str) -> object:
    """A time as this kind of envelope has it; other values stay."""
    if value is not LATER:
        return value
    return "2026-11-21T08:30:00Z" if media_type == JWS else cbor2.CBORTag(1, int(LATER.timestamp()))


def told(spec: Spec, media_type: str, **protected: object) -> str:
    return told_with(spec, media_type, protected)


def told_with(spec: Spec, media_type: str, protected: Mapping[str, object]) -> str:
    """What becomes of an envelope whose protected header is changed so; names are those of JWS."""
    values = {name: written(value, media_type) for name, value in protected.items()}
    if media_type == JWS:
        return made.told(made.sign_jws(spec, protected=values), JWS)
    return made.told(
        made.sign_cose(spec, protected={LABELS.get(name, name): value for name, value in values.items()}), COSE
    )


@BOTH
@pytest.mark.parametrize(
    ("spec", "protected", "expected"),
    [
        pytest.param(SPEC, {}, "whole", id="of the signer's own time"),
        pytest.param(BY_AUTHORITY, {}, "whole", id="of an authority's time"),
        pytest.param(SPEC, {SCHEME: DELETED}, "malformed", id="no scheme"),
        pytest.param(SPEC, {SCHEME: "notary.x509.other"}, "malformed", id="another scheme"),
        pytest.param(SPEC, {SCHEME: "Notary.X509"}, "malformed", id="scheme in upper case"),
        pytest.param(SPEC, {SCHEME: ["notary.x509"]}, "malformed", id="scheme an array"),
        pytest.param(SPEC, {SCHEME: 1}, "malformed", id="scheme a number"),
        pytest.param(
            SPEC, {SCHEME: "notary.x509.signingAuthority"}, "malformed", id="the other scheme, with this time"
        ),
        pytest.param(BY_AUTHORITY, {SCHEME: "notary.x509"}, "malformed", id="this scheme, with the other time"),
        pytest.param(SPEC, {SIGNING_TIME: DELETED}, "malformed", id="no signing time"),
        pytest.param(BY_AUTHORITY, {SIGNING_TIME: LATER}, "malformed", id="a claimed time beside the authentic one"),
        pytest.param(
            SPEC, {AUTHENTIC_SIGNING_TIME: LATER}, "malformed", id="an authentic time that nobody vouches for"
        ),
        pytest.param(SPEC, {"alg": DELETED}, "malformed", id="no algorithm"),
        pytest.param(SPEC, {"alg": None}, "malformed", id="algorithm null"),
        pytest.param(SPEC, {"alg": [1]}, "malformed", id="algorithm an array"),
        pytest.param(SPEC, {"alg": True}, "malformed", id="algorithm a boolean"),
        pytest.param(SPEC, {"cty": DELETED}, "malformed", id="no content type"),
        pytest.param(SPEC, {"cty": 50}, "malformed", id="content type a number"),
        pytest.param(SPEC, {EXPIRY: None}, "malformed", id="expiry null"),
        pytest.param(SPEC, {PLUGIN: "com.example.plugin"}, "whole", id="a plug-in, which is for the verifier"),
        pytest.param(SPEC, {"com.example.note": {"a": [1, None]}}, "whole", id="an attribute of somebody's own"),
    ],
)
def test_attributes(media_type: str, spec: Spec, protected: Mapping[str, object], expected: str) -> None:
    assert told_with(spec, media_type, protected) == expected


OWN = replace(SPEC, extended={"com.example.job": "7"})


@BOTH
@pytest.mark.parametrize(
    ("spec", "critical", "expected"),
    [
        pytest.param(SPEC, [SCHEME, EXPIRY], "whole", id="all that must be"),
        pytest.param(SPEC, [EXPIRY, SCHEME], "whole", id="in another order"),
        pytest.param(SPEC, [SCHEME], "malformed", id="not the expiry"),
        pytest.param(replace(SPEC, expires_at=None), [SCHEME], "whole", id="no expiry"),
        pytest.param(replace(SPEC, expires_at=None), [SCHEME, EXPIRY], "malformed", id="an expiry that is not there"),
        pytest.param(SPEC, [EXPIRY], "malformed", id="not the scheme"),
        pytest.param(BY_AUTHORITY, [SCHEME, AUTHENTIC_SIGNING_TIME, EXPIRY], "whole", id="of an authority"),
        pytest.param(BY_AUTHORITY, [SCHEME, EXPIRY], "malformed", id="not the authentic time"),
        pytest.param(OWN, [SCHEME, EXPIRY, "com.example.job"], "whole", id="somebody's own"),
        pytest.param(OWN, [SCHEME, EXPIRY, "com.example.other"], "malformed", id="one that is not there"),
        pytest.param(OWN, [SCHEME, EXPIRY, "com.example.Job"], "malformed", id="one that is there in other case"),
        pytest.param(SPEC, [SCHEME, EXPIRY, "x5c"], "malformed", id="one that is not protected"),
        pytest.param(SPEC, [SCHEME, EXPIRY, SCHEME], "malformed", id="twice"),
        pytest.param(SPEC, [SCHEME, EXPIRY, ["a"]], "malformed", id="no name"),
        pytest.param(SPEC, [SCHEME, EXPIRY, None], "malformed", id="null among them"),
        pytest.param(SPEC, [SCHEME, EXPIRY, True], "malformed", id="a boolean among them"),
        pytest.param(SPEC, [], "malformed", id="empty"),
        pytest.param(SPEC, None, "malformed", id="null"),
        pytest.param(SPEC, SCHEME, "malformed", id="no array"),
        pytest.param(SPEC, {SCHEME: EXPIRY}, "malformed", id="an object"),
        pytest.param(SPEC, DELETED, "malformed", id="none"),
    ],
)
def test_what_is_critical(media_type: str, spec: Spec, critical: object, expected: str) -> None:
    assert told(spec, media_type, crit=critical) == expected


@pytest.mark.parametrize("name", ["alg", "cty", "crit", SIGNING_TIME])
def test_what_cannot_be_critical_in_jws(name: str) -> None:
    """In COSE it can: RFC 9052 3.1 only says that it need not be."""
    critical = [SCHEME, EXPIRY, name]

    assert told(SPEC, JWS, crit=critical) == "malformed"
    assert told(SPEC, COSE, crit=[LABELS.get(one, one) for one in critical]) == "whole"


@BOTH
@pytest.mark.parametrize(("count", "expected"), [(MAX_CRITICAL, "whole"), (MAX_CRITICAL + 1, "limit_exceeded")])
def test_the_list_of_critical_headers_is_bounded(media_type: str, count: int, expected: str) -> None:
    names: Sequence[str] = [f"com.example.{number}" for number in range(count - 2)]
    spec = replace(SPEC, extended=dict.fromkeys(names, "x"), critical=names)

    assert told(spec, media_type) == expected


@BOTH
@pytest.mark.parametrize("spec", [SPEC, BY_AUTHORITY], ids=["claimed", "authentic"])
@pytest.mark.parametrize(
    ("seconds", "expected"), [(1, "whole"), (0, "malformed"), (-1, "malformed")], ids=["later", "the same", "before"]
)
def test_an_envelope_expires_after_it_was_signed(media_type: str, spec: Spec, seconds: int, expected: str) -> None:
    assert told(replace(spec, expires_at=SIGNED_AT + timedelta(seconds=seconds)), media_type) == expected
