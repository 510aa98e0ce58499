"""What the Secret of the shared authority may hold, and when which step follows."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import Code, MalformedError
from webhook.tls import authority, rotation
from webhook.tls.authority import AUTHORITY_LIFETIME, LEAF_LIFETIME, SKEW
from webhook.tls.rotation import OVERLAP, Held

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ROTATES_AT = NOW - SKEW + (AUTHORITY_LIFETIME + SKEW) * 4 / 5

FIRST = rotation.first_step(NOW).held


def following(held: Held, at: datetime, *, is_published: bool = True) -> Held:
    step = rotation.next_step(held, at, is_published=is_published)
    assert step
    return step.held


PUBLISHED = following(FIRST, ROTATES_AT)
TAKEN_OVER = following(PUBLISHED, ROTATES_AT + OVERLAP)


def stored(held: Held) -> dict[str, str]:
    return dict(rotation.to_data(held))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_the_steps_follow_one_another() -> None:
    assert FIRST.bundle == FIRST.signing.pem
    assert PUBLISHED.following
    assert PUBLISHED.signing == FIRST.signing, "published before it issues"
    assert PUBLISHED.bundle == FIRST.signing.pem + PUBLISHED.following.pem
    assert TAKEN_OVER.signing == PUBLISHED.following
    assert TAKEN_OVER.bundle == FIRST.signing.pem + TAKEN_OVER.signing.pem, "still published, since it is still served"
    last = following(TAKEN_OVER, TAKEN_OVER.due)
    assert (last.signing, last.bundle, last.since) == (TAKEN_OVER.signing, TAKEN_OVER.signing.pem, None)
    assert last.due > ROTATES_AT + AUTHORITY_LIFETIME / 2, "and begins again"
    assert FIRST.signing.not_after - ROTATES_AT > AUTHORITY_LIFETIME / 6, "a year is left when it begins"


@pytest.mark.parametrize(
    ("held", "due"),
    [
        pytest.param(FIRST, ROTATES_AT, id="at 80 % of its life"),
        pytest.param(PUBLISHED, ROTATES_AT + timedelta(minutes=5), id="5 minutes after it was published"),
        pytest.param(TAKEN_OVER, ROTATES_AT + OVERLAP + LEAF_LIFETIME + SKEW, id="when no certificate of it is left"),
    ],
)
def test_no_step_is_taken_too_early(held: Held, due: datetime) -> None:
    assert rotation.next_step(held, due - SECOND, is_published=True) is None
    assert rotation.next_step(held, due + SECOND, is_published=True) is not None


def test_who_is_not_published_does_not_issue() -> None:
    assert rotation.next_step(PUBLISHED, PUBLISHED.due + AUTHORITY_LIFETIME, is_published=False) is None


def test_an_authority_that_has_ended_is_replaced_too() -> None:
    late = FIRST.signing.not_after + timedelta(days=100)
    begun = following(FIRST, late)
    assert following(begun, begun.due).signing.not_after > late


@pytest.mark.parametrize("held", [FIRST, PUBLISHED, TAKEN_OVER], ids=["first", "published", "taken over"])
def test_what_is_held_is_read_back(held: Held) -> None:
    read = rotation.parse(stored(held))
    assert read
    assert (read.bundle, read.since, read.due) == (held.bundle, held.since, held.due)
    assert (read.signing.key_pem, read.previous) == (held.signing.key_pem, held.previous)
    assert rotation.to_data(read) == rotation.to_data(held)


@pytest.mark.parametrize("data", [{}, {"notes": "aGk="}], ids=["empty", "something else's"])
def test_nothing_is_held(data: Mapping[str, object]) -> None:
    assert rotation.parse(data) is None


def without(*names: str) -> Callable[[dict[str, str]], Mapping[str, object]]:
    return lambda data: {name: value for name, value in data.items() if name not in names}


def having(name: str, value: object) -> Callable[[dict[str, str]], Mapping[str, object]]:
    return lambda data: {**data, name: value}


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


OTHER = authority.make(NOW)
LEAF = OTHER.issue(("countersign",), NOW)
GARBAGE = {
    "no key": (FIRST, without("ca.key"), "ca.crt and ca.key expected"),
    "no certificate": (FIRST, without("ca.crt"), "ca.crt and ca.key expected"),
    "not base64": (FIRST, having("ca.crt", "%%%"), "ca.crt: not base64"),
    "a number": (FIRST, having("ca.crt", 5), "ca.crt: a string expected"),
    "not PEM": (FIRST, having("ca.crt", text(b"hello")), "one certificate of an authority in PEM expected"),
    "too large": (FIRST, having("ca.crt", text(b"x" * 20_000)), "larger than"),
    "two certificates": (
        FIRST,
        having("ca.crt", text(FIRST.signing.pem + OTHER.pem)),
        "one certificate of an authority in PEM expected",
    ),
    "no authority": (FIRST, having("ca.crt", text(LEAF.chain.partition(b"-----END")[0])), "one certificate"),
    "a server's certificate": (
        FIRST,
        having("ca.crt", text(LEAF.chain[: LEAF.chain.index(b"-----BEGIN", 10)])),
        "the certificate is none of an authority",
    ),
    "the key of another": (FIRST, having("ca.key", text(OTHER.key_pem)), "do not belong together"),
    "half a key": (FIRST, having("ca.key", text(OTHER.key_pem[:90])), "no private key in PEM found"),
    "a key of RSA": (
        FIRST,
        having("ca.key", text(pem_of(rsa.generate_private_key(65537, 2048)))),
        "a private key of ECDSA expected",
    ),
    "a successor without key": (PUBLISHED, without("next.key"), "next.crt and next.key: both or neither"),
    "a successor and a predecessor": (
        PUBLISHED,
        having("previous.crt", text(OTHER.pem)),
        "next.crt or previous.crt expected, not both",
    ),
    "a successor without its time": (PUBLISHED, without("since"), "since: a time with its zone expected"),
    "a time without zone": (PUBLISHED, having("since", text(b"2026-01-20T12:00:00")), "since: a time"),
    "a time that is none": (TAKEN_OVER, having("since", text(b"soon")), "since: a time"),
    "the end of time": (TAKEN_OVER, having("since", text(b"9999-12-31T23:59:59-12:00")), "since: a time"),
    "the beginning of time": (TAKEN_OVER, having("since", text(b"0001-01-01T00:00:00+12:00")), "since: a time"),
    "a predecessor that is none": (TAKEN_OVER, having("previous.crt", text(b"hello")), "previous.crt: one certificate"),
}


@pytest.mark.parametrize(("held", "change", "message"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_told(held: Held, change: Callable[[dict[str, str]], Mapping[str, object]], message: str) -> None:
    good = stored(held)
    assert rotation.parse(good)
    with pytest.raises(MalformedError) as refused:
        rotation.parse(change(good))
    assert message in refused.value.detail
    assert refused.value.code in (Code.MALFORMED, Code.LIMIT_EXCEEDED)


@given(
    st.dictionaries(
        st.sampled_from(rotation.ITEMS),
        st.one_of(st.binary(max_size=200).map(text), st.sampled_from(sorted(stored(TAKEN_OVER).values())), st.text()),
    )
)
def test_whatever_is_held_is_read_or_told(data: Mapping[str, object]) -> None:
    try:
        held = rotation.parse(data)
    except MalformedError:
        return
    assert held is None or rotation.to_data(held)
