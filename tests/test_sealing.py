"""Sealed entries: what opens, and what counts as none and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.cache import Loaded
from webhook.errors import OperatorError
from webhook.sealing import PAYLOAD_MAX_BYTES, SECRET_MIN_BYTES, SKEW, Refusal, RefusedError, Sealer

SEALER = Sealer(b"k" * SECRET_MIN_BYTES)
KEY, NOW = "registry.example.com/app sha256:00", 1_800_000_000.0
ENTRY = SEALER.seal(KEY, Loaded(b"document", 60.0), NOW)


@pytest.mark.parametrize(
    ("at", "left"),
    [(NOW, 60.0), (NOW + 59.5, 0.5), (NOW - SKEW, 60.0)],
    ids=["at once", "shortly before its end", "by a clock that is behind"],
)
def test_an_entry_opens_with_what_is_left_of_its_lifetime(at: float, left: float) -> None:
    opened = SEALER.open(KEY, ENTRY, at)
    assert opened.value == b"document"
    assert opened.lifetime == pytest.approx(left)


def refusal(entry: bytes, *, key: str = KEY, at: float = NOW, sealer: Sealer = SEALER) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        sealer.open(key, entry, at)
    return caught.value.refusal


@pytest.mark.parametrize(
    ("at", "expected"),
    [(NOW + 60.0, Refusal.EXPIRED), (NOW + 3600.0, Refusal.EXPIRED), (NOW - SKEW - 0.1, Refusal.EARLY)],
)
def test_an_entry_is_good_in_its_time_alone(at: float, expected: Refusal) -> None:
    assert refusal(ENTRY, at=at) is expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (b"", Refusal.VERSION),
        (b"OK", Refusal.VERSION),
        (b"\x00" + ENTRY[1:], Refusal.VERSION),
        (b"\x02" + ENTRY[1:], Refusal.VERSION),
        (ENTRY[:40], Refusal.VERSION),
        (ENTRY[:-1], Refusal.FORGED),
        (ENTRY + b"\x00", Refusal.FORGED),
        (ENTRY[:17] + b"\x00" + ENTRY[17:], Refusal.FORGED),
        (ENTRY[:-32] + bytes(32), Refusal.FORGED),
        (ENTRY[:1] + bytes(8) + ENTRY[9:], Refusal.FORGED),
        (ENTRY[:9] + b"\xff" * 8 + ENTRY[17:], Refusal.FORGED),
        (ENTRY + bytes(PAYLOAD_MAX_BYTES), Refusal.OVERSIZED),
    ],
    ids=["nothing", "no entry", "version 0", "version 2", "a piece", "cut", "longer", "payload", "seal", "time",
         "lifetime", "oversized"],
)  # fmt: skip
def test_what_was_changed_counts_as_none(entry: bytes, expected: Refusal) -> None:
    assert refusal(entry) is expected


def test_an_entry_is_nobody_elses() -> None:
    other = Sealer(b"l" * SECRET_MIN_BYTES)
    assert refusal(ENTRY, key=KEY + "1") is Refusal.FORGED
    assert refusal(ENTRY, sealer=other) is Refusal.FORGED
    assert refusal(other.seal(KEY, Loaded(b"document", 60.0), NOW)) is Refusal.FORGED


@given(st.integers(0, len(ENTRY) - 1), st.integers(1, 255))
def test_no_flipped_byte_opens(index: int, change: int) -> None:
    changed = bytearray(ENTRY)
    changed[index] ^= change
    assert refusal(bytes(changed)) in (Refusal.FORGED, Refusal.VERSION)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(entry: bytes) -> None:
    assert refusal(entry) in (Refusal.FORGED, Refusal.VERSION)


def test_the_longest_payload_opens() -> None:
    entry = SEALER.seal(KEY, Loaded(bytes(PAYLOAD_MAX_BYTES), 1.0), NOW)
    assert len(SEALER.open(KEY, entry, NOW).value) == PAYLOAD_MAX_BYTES


def test_a_name_says_nothing_of_its_key() -> None:
    name = SEALER.name(KEY)
    assert name.startswith("countersign:v1:")
    assert "example" not in name
    assert len({name, SEALER.name(KEY + "1"), Sealer(b"l" * SECRET_MIN_BYTES).name(KEY)}) == 3
    assert name == SEALER.name(KEY)


def test_a_short_secret_is_the_operators_mistake() -> None:
    with pytest.raises(OperatorError, match="at least 32 bytes expected, found 31"):
        Sealer(b"k" * 31)


@pytest.mark.parametrize(("at", "max_age"), [(NOW + 61.0, 3600.0), (NOW + 3599.0, 3600.0), (NOW - SKEW, 1.0)])
def test_the_last_entry_opens_for_as_long_as_whoever_asks_says(at: float, max_age: float) -> None:
    assert SEALER.open_last(KEY, ENTRY, at, max_age=max_age) == (b"document", NOW)


@pytest.mark.parametrize(
    ("entry", "at", "expected"),
    [
        (ENTRY, NOW + 3600.0, Refusal.EXPIRED),
        (ENTRY, NOW - SKEW - 0.1, Refusal.EARLY),
        (ENTRY[:-32] + bytes(32), NOW, Refusal.FORGED),
    ],
)
def test_the_last_entry_is_checked_like_any(entry: bytes, at: float, expected: Refusal) -> None:
    with pytest.raises(RefusedError) as caught:
        SEALER.open_last(KEY, entry, at, max_age=3600.0)
    assert caught.value.refusal is expected
