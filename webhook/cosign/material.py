"""Who vouches for a signature: entries of transparency logs and signed timestamps that a trust root believes.

What a trust root does not name proves nothing and is passed over; what it does name must be right to the last byte. The
times found here are the only ones by which a certificate is judged: never the present, and never what a signer says.

spec: sigstore client specification; RFC 3161; see `log`, `certificate` and `trust.timestamp` for their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from webhook.cosign import log
from webhook.cosign.candidate import Candidate
from webhook.cosign.entry import TILED, Logged
from webhook.cosign.log import LogEntry
from webhook.errors import Code, MalformedError, RejectedError
from webhook.evidence.model import SignedTime
from webhook.trust import certificates, timestamp
from webhook.trust.root import Authority, Log, TrustRoot
from webhook.trust.timestamp import Token

MAX_STRANGERS = 4  # timestamps that nobody we know made: each may cost a search among the certificates in it


@dataclass(frozen=True, slots=True)
class Vouched:
    """`logged` are the URL of each log whose entry was verified, and its index, where somebody vouches for that."""

    times: tuple[SignedTime, ...]
    logged: tuple[tuple[str, int | None], ...]


def verify(
    candidate: Candidate, root: TrustRoot, logged: Logged, *, require_log: bool, require_timestamp: bool
) -> Vouched:
    """Entries and timestamps of `candidate` that `root` believes, all of them right.

    Raises: MalformedError; RejectedError: `tlog_invalid`, `tlog_entry_mismatch`, `time_invalid`.
    """
    entries = _known(candidate.entries, root.logs)
    promised = [(log.verify(entry, known, logged), known) for entry, known in entries]
    if require_log and not entries:
        found = "none that it names" if candidate.entries else "none"
        raise RejectedError(
            Code.TLOG_INVALID, f"an entry of a log of the trust root expected beside the signature, found {found}"
        )
    stamps = _timestamps(candidate, root.timestamp_authorities)
    if require_timestamp and not stamps:
        raise RejectedError(Code.TIME_INVALID, "a timestamp by an authority of the trust root expected, found none")
    times = (*(SignedTime(at, known.host) for at, known in promised if at is not None), *stamps)
    _verify_windows((known for at, known in promised if at is None), times)
    return Vouched(times, tuple((known.url, _index(entry)) for entry, known in entries))


def _known(entries: Sequence[LogEntry], logs: Iterable[Log]) -> list[tuple[LogEntry, Log]]:
    # CVE-2026-49834: one entry twice is not two; not by index, which nobody signed where there is no promise
    if len({(entry.log_id, entry.body) for entry in entries}) != len(entries):
        raise MalformedError(Code.MALFORMED, "tlogEntries: the same entry stands there twice")
    by_id = {known.log_id: known for known in logs}
    return [(entry, by_id[entry.log_id]) for entry in entries if entry.log_id in by_id]


def _index(entry: LogEntry) -> int | None:
    """Rekor 1 signs an index in its promise alone, and a promise can be left out of a bundle."""
    is_tiled = f"{entry.kind} {entry.version}" == TILED
    return entry.log_index if entry.promise is not None or is_tiled else None


def _timestamps(candidate: Candidate, authorities: Sequence[Authority]) -> tuple[SignedTime, ...]:
    if len(set(candidate.timestamps)) != len(candidate.timestamps):
        raise MalformedError(Code.MALFORMED, "rfc3161Timestamps: the same timestamp stands there twice")
    found: list[SignedTime] = []
    for examined, der in enumerate(candidate.timestamps):
        if examined - len(found) == MAX_STRANGERS:
            told = f"at most {MAX_STRANGERS} by others than the authorities of the trust root are examined"
            raise MalformedError(Code.LIMIT_EXCEEDED, f"rfc3161Timestamps: {told}")
        time = _time_of(timestamp.parse_response(der), candidate.stamped, authorities)
        if time is not None:
            found.append(time)
    return tuple(found)


def _time_of(token: Token, messages: Sequence[bytes], authorities: Sequence[Authority]) -> SignedTime | None:
    """The time of a token that some authority made over one of `messages`; one that none made proves nothing."""
    for authority in authorities:
        if token.claimed_time in authority.window and any(_is_by(authority, token, message) for message in messages):
            return SignedTime(token.claimed_time, authority.host or "timestamp authority")
    return None


def _is_by(authority: Authority, token: Token, message: bytes) -> bool:
    first, *rest = authority.chain
    # The root names the one certificate that signs, and no other of the token's will do: CVE-2026-33753
    signer = first if rest and not certificates.is_authority(first) else None
    intermediates = authority.chain[1 if signer else 0 : -1]
    try:
        timestamp.verify(token, message, roots=authority.chain[-1:], intermediates=intermediates, signer=signer)
    except (RejectedError, MalformedError):
        return False
    return True


def _verify_windows(unpromised: Iterable[Log], times: Sequence[SignedTime]) -> None:
    """An entry without a promise has no time of its own: CVE-2026-54787."""
    for known in unpromised:
        for time in times:
            if time.at not in known.window:
                raise RejectedError(
                    Code.TIME_INVALID,
                    f"signed at {time.at:%Y-%m-%dT%H:%M:%SZ}, when the key of {known.host} was not valid",
                )
