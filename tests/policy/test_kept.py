from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.configmap_objects import configmap
from tests.policy.documents import policy
from webhook.policy import kept, parcel
from webhook.policy.kept import OPENED_MAX_BYTES, ROOM_BYTES, Kept, plan, read_entry, write_entry


def good(name: str, text: str | None = None) -> Kept:
    return kept.of(parcel.read(configmap(name, text)))


def noise(size: int, *, salt: int = 0) -> str:
    """Text that does not compress to less than half."""
    digests = (parcel.digest({str(number): str(salt)}) for number in range(size // 64 + 1))
    return "".join(digests)[:size]


def test_an_entry_is_read_as_it_was_written() -> None:
    one = good("prod")
    assert read_entry(write_entry(one)) == one
    marker = replace(one, files=None)
    assert read_entry(write_entry(marker)) == marker
    assert write_entry(one) == write_entry(one)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=50), max_size=4))
def test_any_files_are_kept(files: dict[str, str]) -> None:
    one = Kept("uid", parcel.digest(files), files)
    assert read_entry(write_entry(one)) == one


def packed(value: object) -> bytes:
    return gzip.compress(json.dumps(value).encode())


def bomb() -> bytes:
    opener = zlib.compressobj(1, wbits=31)
    return b"".join([opener.compress(bytes(1 << 20)) for _ in range(100)]) + opener.flush()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "it ends early, or goes on", id="empty"),
        pytest.param(b"garbage", "not compressed as expected", id="garbage"),
        pytest.param(write_entry(good("a"))[:-9], "it ends early, or goes on", id="cut"),
        pytest.param(write_entry(good("a")) + b"x", "it ends early, or goes on", id="more behind it"),
        pytest.param(bomb(), f"more than {OPENED_MAX_BYTES} bytes", id="bomb"),
        pytest.param(gzip.compress(b"no"), "not JSON as expected", id="not JSON"),
        pytest.param(packed([]), "an object expected", id="another type"),
        pytest.param(packed({"uid": 5, "content": ""}), "uid: a string expected", id="uid"),
        pytest.param(packed({"uid": "", "content": "", "files": {"a": 5}}), "a string expected", id="file"),
        pytest.param(packed({"uid": "", "content": "0" * 64, "files": {"a.yaml": ""}}), "its digest is another",
                     id="another content"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_is_of_nobody(data: bytes, problem: str) -> None:
    found = read_entry(data)
    assert (found.uid, found.content, found.files) == ("", "", None)
    assert problem in str(found)


@given(st.binary(max_size=60), st.integers(min_value=0))
def test_no_bytes_raise_and_a_changed_byte_is_never_another_content(junk: bytes, place: int) -> None:
    assert read_entry(junk).files is None
    entry = bytearray(write_entry(good("prod")))
    entry[place % len(entry)] ^= 0x41
    found = read_entry(bytes(entry))
    assert found.files is None or found.files == good("prod").files


def test_what_changed_is_written_and_nothing_else() -> None:
    a, b = good("a"), good("b")
    stored = {"a": write_entry(a), "gone": write_entry(b), "other": b"of a later version"}
    assert plan(stored, {"a": a}) == {}
    assert plan(stored, {"a": a, "b": b, "gone": None, "unheard of": None}) == {"b": write_entry(b), "gone": None}
    assert plan({"a": gzip.compress(gzip.decompress(write_entry(a)), 1, mtime=7)}, {"a": a}) == {}
    assert plan(stored, {"a": replace(a, uid="another")})["a"] is not None


def test_what_does_not_fit_is_a_marker_and_the_smallest_come_first() -> None:
    large = {f"large-{n}": good(f"large-{n}", noise(900_000, salt=n)) for n in range(3)}
    changes = {**large, "small": good("small")}
    patch = plan({}, changes)
    written = {name: read_entry(entry) for name, entry in patch.items() if entry is not None}
    assert set(written) == set(changes)
    assert sum(entry.files is None for entry in written.values()) == 2
    assert written["small"].files is not None
    assert sum(len(name) + len(entry or b"") for name, entry in patch.items()) <= ROOM_BYTES
    stored = {name: entry for name, entry in patch.items() if entry is not None}
    assert plan(stored, changes) == {}
    freed = {name: None for name, entry in written.items() if name.startswith("large") and entry.files}
    marked = next(name for name, entry in written.items() if entry.files is None)
    after = plan(stored, {**freed, marked: large[marked]})
    assert read_entry(after[marked] or b"").files is not None


def test_what_a_reader_would_not_open_is_a_marker() -> None:
    files = {"a.yaml": "\n" * (OPENED_MAX_BYTES // 2)}
    assert read_entry(write_entry(Kept("uid", "0", files))) == Kept("uid", "0", None)


def test_a_full_store_makes_room_for_markers() -> None:
    full = {f"entry-{n}": write_entry(good(f"entry-{n}", noise(400_000, salt=n))) for n in range(4)}
    assert sum(map(len, full.values())) > ROOM_BYTES - 100_000
    many = {f"new-{n}": good(f"new-{n}", noise(20_000, salt=n)) for n in range(700)}
    patch = plan(full, many)
    after = {**full, **patch}
    assert set(after) == set(full) | set(many)
    assert sum(len(name) + len(entry or b"") for name, entry in after.items()) <= ROOM_BYTES


def test_a_thousand_policies_fit() -> None:
    patch = plan({}, {f"policy-{n}": good(f"policy-{n}", policy(f"policy-{n}")) for n in range(1000)})
    assert all(read_entry(entry or b"").files for entry in patch.values())
