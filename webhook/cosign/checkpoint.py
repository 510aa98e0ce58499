"""Checkpoints: what a transparency log signed about its whole tree, as a note.

A note is believed for the signature of the one log that is asked about; witnesses and keys that we do not know prove
nothing here and are passed over. Logs of Rekor 1 and of Rekor 2 differ in how they name themselves and their key. That
some proof leads to this very tree is left to `log`.

spec: C2SP signed-note, tlog-checkpoint; rekor and rekor-tiles, checkpoints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from webhook import untrusted
from webhook.errors import Code, CountersignError, MalformedError, RejectedError, quote
from webhook.trust import root
from webhook.trust.root import Log

MAX_NOTE_CHARS = 64 << 10
MAX_SIGNATURES = 100

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_ORIGIN_V1 = re.compile(r"(\S+) - [0-9]+")  # host and number of the tree
_SIGNATURE = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")  # C2SP signed-note: no ASCII control characters but line feeds


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of a log when it had `tree_size` entries."""

    tree_size: int
    root_hash: bytes


def verify(note: str, log: Log, *, tiled: bool) -> Checkpoint:
    """`log` signed `note`. `tiled`: as a log of tiles (Rekor 2) does.

    Raises: RejectedError, `tlog_invalid`; MalformedError, `limit_exceeded`.
    """
    _check(note)
    text, _, block = note.partition("\n\n")
    text += "\n"  # which is signed, other than the empty line
    origin, checkpoint = _parse(text)
    name = _name_of(origin, log, tiled=tiled)
    hint = root.key_id(log.key, name if tiled else "")[:4]
    _verify_by(log, _signature_of(name, hint, block), text)
    return checkpoint


def _check(note: str) -> None:
    if len(note) > MAX_NOTE_CHARS:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"checkpoint: {len(note)} characters, at most {MAX_NOTE_CHARS} are read"
        )
    if _CONTROL.search(note):
        raise _invalid("a control character in it")


def _parse(text: str) -> tuple[str, Checkpoint]:
    """C2SP tlog-checkpoint: origin, size and root, each a line; more lines may follow."""
    lines = text.split("\n")[:-1]
    if len(lines) < 3:
        raise _invalid("origin, tree size and root hash expected, each on a line")
    if not _SIZE.fullmatch(lines[1]):
        raise _invalid(f"the tree size is {quote(lines[1], max_chars=40)}")
    return lines[0], Checkpoint(int(lines[1]), _decode(lines[2], "the root hash"))


def _name_of(origin: str, log: Log, *, tiled: bool) -> str:
    """By which `log` signs a checkpoint of this origin."""
    if tiled:
        if origin != log.host:
            raise _invalid(f"the origin {log.host} expected, found {quote(origin)}")
        return origin
    # Rekor 1 calls itself by whatever name its operator gave it, often not the one in its URL
    match = _ORIGIN_V1.fullmatch(origin)
    if match is None:
        raise _invalid(f"an origin like 'HOST - TREE' expected, found {quote(origin)}")
    return match[1]


def _signature_of(name: str, hint: bytes, block: str) -> bytes:
    """The signature in `block` by the key with this name and hash."""
    found = [signature for signer, signature in _signatures(block) if signer == name and signature.startswith(hint)]
    if not found:
        raise _invalid(f"no signature by {quote(name)} with the key of the log")
    # C2SP signed-note: a signature that claims to be by a known key, and is not, spoils the note
    return found[0][len(hint) :]


def _signatures(block: str) -> list[tuple[str, bytes]]:
    """Name, and key hash with signature, of each line."""
    if block.count("\n") > MAX_SIGNATURES:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"checkpoint: at most {MAX_SIGNATURES} signatures are read")
    *lines, rest = block.split("\n")
    if rest or not lines:
        raise _invalid("an empty line and signatures expected behind the text, each on a line")
    return [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE.fullmatch(line)
    if match is None:
        raise _invalid(f"a signature line expected, found {quote(line, max_chars=40)}")
    return match[1], _decode(match[2], "a signature")


def _verify_by(log: Log, signature: bytes, text: str) -> None:
    try:
        log.key.verify(signature, text.encode())
    except UnicodeEncodeError as error:
        raise _invalid("not UTF-8") from error
    except CountersignError as error:
        raise _invalid("the signature of the log does not verify") from error


def _decode(text: str, what: str) -> bytes:
    try:
        return untrusted.decode_base64(text, what)
    except MalformedError as error:
        raise _invalid(error.detail) from error


def _invalid(problem: str) -> RejectedError:
    return RejectedError(Code.TLOG_INVALID, f"checkpoint of the log: {problem}")
