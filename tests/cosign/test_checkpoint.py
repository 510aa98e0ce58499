"""Checkpoints of logs: those of Rekor 1 and of Rekor 2, and for each rule about notes what just misses it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.private_sigstore.instance import AT, PrivateSigstore
from tests.private_sigstore.logs import RekorV1, RekorV2, Witness, sha256, signature_line
from webhook.cosign import checkpoint
from webhook.cosign.checkpoint import Checkpoint
from webhook.demo.signing import base64_of
from webhook.errors import CountersignError
from webhook.trust import root
from webhook.trust.root import Log

SIGSTORE = PrivateSigstore()
V1, V2 = SIGSTORE.rekor, SIGSTORE.rekor2
STRANGER = PrivateSigstore()


def log_of(rekor: RekorV1 | RekorV2, sigstore: PrivateSigstore = SIGSTORE) -> Log:
    logs = root.parse(sigstore.trusted_root()).logs
    return next(log for log in logs if log.log_id == rekor.log_id)


LOG_V1, LOG_V2 = log_of(V1), log_of(V2)
NOTE_V1, NOTE_V2 = V1.checkpoint(), V2.checkpoint(AT)
TEXT_V1, TEXT_V2 = NOTE_V1.partition("\n\n")[0] + "\n", NOTE_V2.partition("\n\n")[0] + "\n"


def told(note: str, log: Log, *, tiled: bool) -> str:
    try:
        checkpoint.verify(note, log, tiled=tiled)
    except CountersignError as error:
        return error.code.value
    return "verified"


def signed_v1(text: str, name: str = V1.host) -> str:
    """A note of any text, that the log of Rekor 1 signed."""
    return f"{text}\n{signature_line(name, V1.log_id[:4], V1.key.sign(text.encode()))}"


def signed_v2(text: str, name: str = V2.origin) -> str:
    return f"{text}\n{signature_line(name, V2.log_id[:4], V2.key.sign(text.encode()))}"


def test_what_a_checkpoint_says() -> None:
    told_v1 = checkpoint.verify(NOTE_V1, LOG_V1, tiled=False)

    assert told_v1 == Checkpoint(len(V1.tree.leaves), V1.tree.root())
    assert checkpoint.verify(NOTE_V2, LOG_V2, tiled=True) == Checkpoint(len(V2.tree.leaves), V2.tree.root())


# --- whose it is


@pytest.mark.parametrize(
    ("note", "log", "tiled"),
    [
        (NOTE_V1, LOG_V1, True),
        (NOTE_V2, LOG_V2, False),
        (NOTE_V1, LOG_V2, True),
        (NOTE_V2, LOG_V1, False),
        (NOTE_V1, log_of(STRANGER.rekor, STRANGER), False),
        (NOTE_V2, log_of(STRANGER.rekor2, STRANGER), True),
        (V1.checkpoint(hint=sha256(b"")[:4]), LOG_V1, False),
        (V2.checkpoint(AT, hint=sha256(b"")[:4]), LOG_V2, True),
        (V2.checkpoint(AT, origin="log2026-2.rekor.private.test"), LOG_V2, True),
        (V2.checkpoint(AT, origin=V2.origin.upper()), LOG_V2, True),
        (V2.checkpoint(AT, origin=f"{V2.origin} - 5"), LOG_V2, True),
        (V1.checkpoint(origin=V1.host), LOG_V1, False),
        (V1.checkpoint(origin=f"{V1.host} - 0x5"), LOG_V1, False),
        (V1.checkpoint(origin=f"{V1.host} - "), LOG_V1, False),
        (signed_v1(TEXT_V1, name="rekor.example.com"), LOG_V1, False),
        (signed_v1(TEXT_V1, name=V1.origin.replace(" ", "")), LOG_V1, False),
        (signed_v2(TEXT_V2, name="rekor.example.com"), LOG_V2, True),
    ],
    ids=["1 as 2", "2 as 1", "another log, 2", "another log, 1", "a stranger's 1", "a stranger's 2", "key hint, 1",
         "key hint, 2", "origin, 2", "case of the origin", "origin of 1 in 2", "origin of 2 in 1", "tree, 1", "no tree",
         "another signer's name, 1", "name and tree", "another signer's name, 2"],
)  # fmt: skip
def test_checkpoints_of_others(note: str, log: Log, tiled: bool) -> None:
    assert told(note, log, tiled=tiled) == "tlog_invalid"


def test_rekor_1_has_whatever_name_its_operator_gave_it() -> None:
    """Real ones are `rekor-00001-deployment-56bf7777c9-jds5x - 6364419738405537866`."""
    assert told(V1.checkpoint(origin="rekor-00001 - 6364419738405537866"), LOG_V1, tiled=False) == "verified"


def test_a_log_of_tiles_with_an_ecdsa_key() -> None:
    sigstore = PrivateSigstore()
    sigstore.rekor2 = RekorV2(kind="p256")
    note, log = sigstore.rekor2.checkpoint(AT), log_of(sigstore.rekor2, sigstore)

    assert told(note, log, tiled=True) == "verified"
    assert told(sigstore.rekor2.checkpoint(AT, hint=b"\0\0\0\0"), log, tiled=True) == "tlog_invalid"


def test_rekor_1_hashes_keys_of_all_kinds_alike() -> None:
    """Where logs of tiles hash the name of the signer and the raw key."""
    sigstore = PrivateSigstore()
    sigstore.rekor = RekorV1(kind="ed25519")
    tiled = sha256(f"{sigstore.rekor.host}\n\x01".encode() + sigstore.rekor.key.private.public_key().public_bytes_raw())  # type: ignore[union-attr]

    assert told(sigstore.rekor.checkpoint(), log_of(sigstore.rekor, sigstore), tiled=False) == "verified"
    other = sigstore.rekor.checkpoint(hint=tiled[:4])
    assert told(other, log_of(sigstore.rekor, sigstore), tiled=False) == "tlog_invalid"


def test_a_log_whose_url_is_none() -> None:
    odd = Log("http://[", LOG_V2.key, LOG_V2.log_id, LOG_V2.window)

    assert told(NOTE_V2, odd, tiled=True) == "tlog_invalid"


# --- witnesses and others

WITNESS = Witness("witness.private.test/w2").line(TEXT_V2, AT)
OTHER_LINE = STRANGER.rekor2.checkpoint(AT).partition("\n\n")[2]
NO_WITNESS = signed_v2(TEXT_V2)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (lambda own: own, "verified"),
        (lambda own: own + WITNESS, "verified"),
        (lambda own: WITNESS + own, "verified"),
        (lambda own: WITNESS.replace("witness.private.test/w2", V2.origin) + own, "verified"),
        (lambda own: WITNESS * 99 + own, "verified"),
        (lambda own: WITNESS * 100 + own, "limit_exceeded"),
        (lambda own: own + own, "verified"),
        (lambda _: WITNESS, "tlog_invalid"),
        (lambda _: OTHER_LINE, "tlog_invalid"),
        (lambda own: signature_line(V2.origin, V2.log_id[:4], bytes(64)) + own, "tlog_invalid"),
        (lambda own: own + signature_line(V2.origin, V2.log_id[:4], bytes(64)), "verified"),
        (lambda _: signature_line(V2.origin, V2.log_id[:4], b""), "tlog_invalid"),
        (lambda _: signature_line(V2.origin, V2.log_id[:4], bytes(70_000)), "limit_exceeded"),
        (lambda _: signature_line(V2.origin, V2.log_id[:2], b""), "tlog_invalid"),
        (lambda _: "", "tlog_invalid"),
    ],
    ids=["the log alone", "a witness behind", "a witness before", "a witness by the log's name", "99 witnesses",
         "100 witnesses", "twice", "a witness alone", "another log by this name", "a wrong one first",
         "a wrong one behind", "empty", "too long", "half a key hash", "none"],
)  # fmt: skip
def test_signatures_by_others_are_passed_over(lines: Callable[[str], str], expected: str) -> None:
    text, _, own = NO_WITNESS.partition("\n\n")

    assert told(f"{text}\n\n{lines(own)}", LOG_V2, tiled=True) == expected


# --- the shape of a note

SIZE, ROOT = str(len(V1.tree.leaves)), base64_of(V1.tree.root())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{V1.origin}\n{SIZE}\n{ROOT}\n", "verified"),
        (f"{V1.origin}\n{SIZE}\n{ROOT}\nTimestamp: 1\nmore\n", "verified"),
        (f"{V1.origin}\n{SIZE}\n", "tlog_invalid"),
        (f"\n{V1.origin}\n{SIZE}\n{ROOT}\n", "tlog_invalid"),
        (f"{V1.origin}\n0{SIZE}\n{ROOT}\n", "tlog_invalid"),
        (f"{V1.origin}\n+{SIZE}\n{ROOT}\n", "tlog_invalid"),
        (f"{V1.origin}\n \u0665\n{ROOT}\n", "tlog_invalid"),
        (f"{V1.origin}\n-{SIZE}\n{ROOT}\n", "tlog_invalid"),
        (f"{V1.origin}\n{SIZE} \n{ROOT}\n", "tlog_invalid"),
        (f"{V1.origin}\n{'9' * 20}\n{ROOT}\n", "tlog_invalid"),
        (f"{V1.origin}\n{SIZE}\n{ROOT[:-1]}\n", "tlog_invalid"),
        (f"{V1.origin}\n{SIZE}\n{ROOT}\r\n", "tlog_invalid"),
        (f"{V1.origin}\n{SIZE}\n{ROOT}\nmore\x00\n", "tlog_invalid"),
        (f"{V1.origin}\n{SIZE}\n{ROOT}\n{'x' * (64 << 10)}\n", "limit_exceeded"),
    ],
    ids=["three lines", "more lines", "two lines", "an empty line before", "a leading zero", "a sign", "other digits",
         "negative", "a space", "too many digits", "root hash", "a carriage return", "a zero byte", "too long"],
)  # fmt: skip
def test_the_text_of_a_note(text: str, expected: str) -> None:
    assert told(signed_v1(text), LOG_V1, tiled=False) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda note: note, "verified"),
        (lambda note: note.replace("\n\n", "\n"), "tlog_invalid"),
        (lambda note: note.replace("\n\n", "\n\n\n"), "tlog_invalid"),
        (lambda note: note + "\n", "tlog_invalid"),
        (lambda note: note + "\n\u2014 x AAAA\n", "tlog_invalid"),
        (lambda note: note[:-1], "tlog_invalid"),
        (lambda note: note + "\u2014 x AAAAAAAA\n", "verified"),
        (lambda note: note + "\u2014 x AAAAAAAA", "tlog_invalid"),
        (lambda note: note.replace("\u2014", "-"), "tlog_invalid"),
        (lambda note: note.replace("\u2014 ", "\u2014\u00a0"), "tlog_invalid"),
        (lambda note: note.replace("\u2014 ", "\u2014  "), "tlog_invalid"),
        (lambda note: note + "\u2014 a+b AAAAAAAA\n", "tlog_invalid"),
        (lambda note: note + "\u2014 a b AAAAAAAA\n", "tlog_invalid"),
        (lambda note: note + "\u2014 a AAAAA\n", "tlog_invalid"),
        (lambda note: note + "more\n", "tlog_invalid"),
        (lambda note: note.replace(V1.host, "rekor.example.com"), "tlog_invalid"),
        (lambda note: note.replace(f"\n{SIZE}\n", "\n7\n"), "tlog_invalid"),
        (lambda _: "", "tlog_invalid"),
        (lambda _: "\n\n", "tlog_invalid"),
        (lambda note: note.replace(ROOT, f"{ROOT}\n\udc80"), "tlog_invalid"),
    ],
    ids=["as it is", "no empty line", "two empty lines", "an empty line behind", "more behind an empty line",
         "no line end", "another line", "no end of another line", "a hyphen", "another space",
         "two spaces", "a plus in a name", "a space in a name", "no base64",
         "text among the signatures", "another origin", "another size", "empty", "only empty lines", "no text"],
)  # fmt: skip
def test_the_parts_of_a_note(change: Callable[[str], str], expected: str) -> None:
    assert told(change(NOTE_V1), LOG_V1, tiled=False) == expected


@given(st.text(st.sampled_from("\n\u2014 +=A1\r-z\u0660") | st.characters(), max_size=200), st.booleans())
def test_whatever_stands_there(note: str, tiled: bool) -> None:
    assert told(note, LOG_V2 if tiled else LOG_V1, tiled=tiled) in {"tlog_invalid", "limit_exceeded"}


@given(st.integers(0, len(NO_WITNESS) - 1), st.characters())
def test_a_note_with_another_character_is_not_by_the_log(position: int, character: str) -> None:
    changed = NO_WITNESS[:position] + character + NO_WITNESS[position + 1 :]

    assert changed == NO_WITNESS or told(changed, LOG_V2, tiled=True) == "tlog_invalid"
