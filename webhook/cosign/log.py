"""One entry of a transparency log: its promise, its inclusion proof, its checkpoint, and the time that it gives.

Only an entry of a log that the trust root names counts, and then everything in it must be right: a promise (Rekor v1)
or a proof against a signed checkpoint (v1 and v2), and a body about exactly what was signed (`entry`). A time comes
from a promise and from nothing else: without one it is a number that nobody signed.

spec: rekor, entry format and signed entry timestamp; RFC 9162 2.1.3; C2SP tlog-checkpoint, signed-note; cosign.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from webhook.cosign import checkpoint
from webhook.cosign import entry as bodies
from webhook.cosign.entry import Logged
from webhook.errors import Code, CountersignError, MalformedError, RejectedError, TamperedError
from webhook.trust.root import Log

MAX_HASHES = 64  # as many as a tree of 2^64 entries needs
MAX_INTEGER = (1 << 63) - 1  # rekor writes signed 64-bit numbers
MAX_TIME = 253_402_300_799  # the end of the year 9999, with which calendars end


@dataclass(frozen=True, slots=True)
class InclusionProof:
    log_index: int
    tree_size: int
    root_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry as it came, not yet believed. `kind` and `version` are empty where only the body says them."""

    body: bytes = field(repr=False)
    log_id: bytes
    log_index: int
    integrated_time: int  # seconds since 1970; counts only with a promise
    kind: str = ""
    version: str = ""
    promise: bytes | None = field(default=None, repr=False)  # signed entry timestamp
    proof: InclusionProof | None = None


def verify(entry: LogEntry, log: Log, logged: Logged) -> datetime | None:
    """`entry` stands in `log`, whose id it names, and is about `logged`. Returns the time that the log promises.

    Without a promise there is none, and the caller holds the times that it has against the window of `log`. Where a key
    made the signature the caller has verified it, so that no honest entry of another signer is taken for an attack.

    Raises: MalformedError; TamperedError, `tlog_entry_mismatch`, where the log does vouch for an entry about something
    else; RejectedError: `tlog_entry_mismatch` otherwise, `tlog_invalid`, `time_invalid`.
    """
    try:
        kind = bodies.verify(entry.body, entry.kind, entry.version, logged)
    except RejectedError as error:
        if _is_vouched_for(entry, log):
            raise TamperedError(error.detail, error.code) from error
        raise
    return _verify_vouched_for(entry, log, tiled=kind == bodies.TILED)


def _is_vouched_for(entry: LogEntry, log: Log) -> bool:
    for tiled in (False, True):
        try:
            _verify_vouched_for(entry, log, tiled=tiled)
        except CountersignError:
            continue
        return True
    return False


def _verify_vouched_for(entry: LogEntry, log: Log, *, tiled: bool) -> datetime | None:
    _check_range(entry)
    if tiled:
        _check_tiled(entry)
    if entry.promise is None and entry.proof is None:
        raise _invalid("neither a promise nor an inclusion proof")
    if entry.promise is not None:
        _verify_promise(entry, entry.promise, log)
    if entry.proof is not None:
        _verify_proof(entry.body, entry.proof, log, tiled=tiled)
    return None if entry.promise is None else _time_of(entry, log)


def _check_range(entry: LogEntry) -> None:
    proof = entry.proof
    numbers = (entry.log_index, entry.integrated_time, *((proof.log_index, proof.tree_size) if proof else ()))
    if not all(0 <= number <= MAX_INTEGER for number in numbers):
        raise MalformedError(Code.MALFORMED, "log entry: a number that is not from 0 to 2^63 - 1")


def _check_tiled(entry: LogEntry) -> None:
    """Rekor 2 promises nothing, and has one tree, so that an entry has one index."""
    if entry.promise is not None or entry.proof is None:
        raise _invalid("an inclusion proof and no promise expected in an entry of Rekor 2")
    if entry.log_index != entry.proof.log_index:
        raise _invalid("the index in the log differs from the one in the inclusion proof")


def _verify_promise(entry: LogEntry, promise: bytes, log: Log) -> None:
    # RFC 8785: nothing in these members needs escaping
    signed = b'{"body":"%b","integratedTime":%d,"logID":"%b","logIndex":%d}' % (
        base64.b64encode(entry.body),
        entry.integrated_time,
        entry.log_id.hex().encode("ascii"),
        entry.log_index,
    )
    try:
        log.key.verify(promise, signed)
    except CountersignError as error:
        raise _invalid("the signed entry timestamp does not verify with the key of the log") from error


def _verify_proof(body: bytes, proof: InclusionProof, log: Log, *, tiled: bool) -> None:
    leaf = hashlib.sha256(b"\x00" + body).digest()
    if _root_hash(leaf, proof.log_index, proof.tree_size, proof.hashes) != proof.root_hash:
        raise _invalid("the inclusion proof does not lead to its root hash")
    signed = checkpoint.verify(proof.checkpoint, log, tiled=tiled)
    # CVE-2024-53267: a proof is worth what the log signed, so it must be about the very same tree
    if (signed.tree_size, signed.root_hash) != (proof.tree_size, proof.root_hash):
        raise _invalid("the checkpoint is of another tree than the inclusion proof")


def _root_hash(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Of the tree of `size` entries in which `path` leads from `leaf`, the one at `index`, to the root.

    RFC 9162 2.1.3.2: `node` and `last` are `fn` and `sn`, on the way up.
    """
    if len(path) > MAX_HASHES:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"inclusion proof: at most {MAX_HASHES} hashes are read")
    if index >= size:
        raise _invalid(f"index {index} in a tree of {size} entries")
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if len(sibling) != 32 or not last:
            raise _invalid("an inclusion proof with a hash too many, or of another length than SHA-256")
        if node & 1 or node == last:
            found = hashlib.sha256(b"\x01" + sibling + found).digest()
            while node and not node & 1:  # the right edge of the tree has no sibling on these levels
                node, last = node >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + sibling).digest()
        node, last = node >> 1, last >> 1
    if last:
        raise _invalid("an inclusion proof with too few hashes")
    return found


def _time_of(entry: LogEntry, log: Log) -> datetime:
    if entry.integrated_time > MAX_TIME:
        raise MalformedError(Code.MALFORMED, "log entry: the integrated time is in no calendar")
    time = datetime.fromtimestamp(entry.integrated_time, UTC)
    if time not in log.window:
        raise RejectedError(
            Code.TIME_INVALID, f"logged at {time:%Y-%m-%dT%H:%M:%SZ}, when the key of the log was not valid"
        )
    return time


def _invalid(problem: str) -> RejectedError:
    return RejectedError(Code.TLOG_INVALID, f"log entry: {problem}")
