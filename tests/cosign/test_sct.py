"""Timestamps of certificate logs inside certificates: what counts, and for each rule what just misses it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.private_sigstore.authority import SCTS
from tests.private_sigstore.documents import flipped
from tests.private_sigstore.instance import AT, YEAR, PrivateSigstore, key_of
from tests.private_sigstore.logs import CTLog, der
from webhook.cosign import certificate, sct
from webhook.demo import signing
from webhook.errors import CountersignError
from webhook.trust import root
from webhook.trust.root import TrustRoot

SECOND = timedelta(seconds=1)
KEY = key_of("p256")
SIGSTORE = PrivateSigstore()
STRANGER = PrivateSigstore()
ROOT = root.parse(SIGSTORE.trusted_root())
LOG, UNKNOWN = SIGSTORE.ct_log, STRANGER.ct_log
ISSUER = SIGSTORE.authority.certificate


class Changed(CTLog):
    """The known log, whose timestamps are changed after they were made, or made of something else."""

    def __init__(
        self, change: Callable[[bytes], bytes], of: Callable[[x509.Certificate], x509.Certificate] = lambda one: one
    ) -> None:
        super().__init__()
        self.key, self.change, self.of = LOG.key, change, of

    def timestamp(self, precertificate: x509.Certificate, issuer_spki: bytes, at: datetime, extensions: bytes) -> bytes:
        return self.change(super().timestamp(self.of(precertificate), issuer_spki, at, extensions))


def told(
    *logs: CTLog, trusted: TrustRoot = ROOT, at: datetime | None = None, extensions: bytes = b"", required: bool = True
) -> str:
    """What becomes of a certificate with timestamps by these logs."""
    issued = SIGSTORE.issue(KEY, SIGSTORE.leaf(logs=logs, sct_at=at, sct_extensions=extensions))
    try:
        leaf = certificate.parse(issued.public_bytes(Encoding.DER))
        certificate.verify(leaf, trusted, [AT], require_sct=required)
    except CountersignError as error:
        return error.code.value
    return "verified"


def verified(leaf: x509.Certificate, issuer: x509.Certificate = ISSUER) -> str:
    try:
        sct.verify(leaf, issuer, ROOT.ct_logs)
    except CountersignError as error:
        return error.code.value
    return "verified"


# --- which and how many


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ((LOG,), "verified"),
        ((LOG, UNKNOWN), "verified"),
        ((UNKNOWN, LOG), "verified"),
        ((Changed(flipped), LOG), "verified"),
        ((*[UNKNOWN] * 15, LOG), "verified"),
        ((*[UNKNOWN] * 16, LOG), "untrusted_material"),
        ((UNKNOWN,), "untrusted_material"),
        ((UNKNOWN, Changed(flipped)), "untrusted_material"),
        ((), "untrusted_material"),
    ],
    ids=["the log", "and another", "another first", "a wrong one first", "the sixteenth", "the seventeenth",
         "another alone", "another and a wrong one", "none"],
)  # fmt: skip
def test_one_by_a_known_log_is_enough(logs: Sequence[CTLog], expected: str) -> None:
    assert told(*logs) == expected
    assert told(*logs, required=False) == "verified"  # what an instance without certificate logs demands


def test_an_empty_list() -> None:
    empty = x509.UnrecognizedExtension(SCTS, der(0x04, b"\x00\x00"))
    leaf = SIGSTORE.authority.issue(KEY, AT, SIGSTORE.leaf(logs=(), extensions={SCTS.dotted_string: empty.value}))

    assert verified(leaf) == "untrusted_material"


def test_no_certificate_log_in_the_trust_root() -> None:
    assert told(LOG, trusted=root.parse(SIGSTORE.trusted_root(without=["ct"]))) == "untrusted_material"


# --- when


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (AT, AT, "verified"),
        (AT - YEAR, None, "verified"),
        (AT + SECOND, None, "untrusted_material"),
        (AT - YEAR, AT - SECOND, "untrusted_material"),
    ],
    ids=["just then", "since long", "begins later", "ended before"],
)
def test_the_window_of_the_log(start: datetime, end: datetime | None, expected: str) -> None:
    assert told(LOG, trusted=root.parse(SIGSTORE.trusted_root(windows={"ct": (start, end)}))) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (AT + timedelta(milliseconds=1), "verified"),
        (AT + timedelta(milliseconds=999), "verified"),
        (AT - YEAR - timedelta(milliseconds=1), "untrusted_material"),
    ],
)
def test_milliseconds(at: datetime, expected: str) -> None:
    assert told(LOG, at=at) == expected


@pytest.mark.parametrize("milliseconds", [0, 253_402_300_800_000, (1 << 63) - 1, (1 << 64) - 1])
def test_a_time_in_no_calendar(milliseconds: int) -> None:
    odd = Changed(lambda made: made[:33] + struct.pack("!Q", milliseconds) + made[41:])

    assert told(odd) == "untrusted_material"


# --- over what


@pytest.mark.parametrize("extensions", [b"", b"\x00", b"\x00\x00\x05\x00\x0d\xde\x14\x04\x03", bytes(300)])
def test_extensions_are_signed_too(extensions: bytes) -> None:
    assert told(LOG, extensions=extensions) == "verified"

    def without(made: bytes) -> bytes:
        return made[:41] + b"\x00\x00" + made[43 + len(extensions) :]

    assert told(Changed(without), extensions=extensions) == ("untrusted_material" if extensions else "verified")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda made: made, "verified"),
        (lambda made: b"\x01" + made[1:], "malformed"),
        (lambda made: made[:1] + STRANGER.ct_log.log_id + made[33:], "untrusted_material"),
        (lambda made: made[:40] + bytes([made[40] ^ 1]) + made[41:], "untrusted_material"),
        (lambda made: made[:43] + b"\x05\x03" + made[45:], "untrusted_material"),
        (lambda made: made[:43] + b"\x02\x03" + made[45:], "untrusted_material"),
        (lambda made: made[:43] + b"\x00\x03" + made[45:], "malformed"),
        (lambda made: made[:43] + b"\xff\x03" + made[45:], "malformed"),
        (lambda made: made[:43] + b"\x04\xff" + made[45:], "malformed"),
        (lambda made: made[:45] + b"\x00\x00", "untrusted_material"),
        (lambda made: made[:45], "malformed"),
        (lambda made: made + b"\x00", "malformed"),
        (flipped, "untrusted_material"),
    ],
    ids=["as it is", "version", "log", "time", "SHA-384", "SHA-1", "no hash", "unknown hash", "unknown algorithm",
         "empty signature", "no signature", "a byte behind", "signature"],
)  # fmt: skip
def test_parts_of_a_timestamp(change: Callable[[bytes], bytes], expected: str) -> None:
    assert told(Changed(change)) == expected


def test_the_timestamp_of_another_certificate() -> None:
    other = SIGSTORE.issue(KEY, SIGSTORE.leaf(logs=(), subject="other@example.com"))

    assert told(Changed(lambda made: made, lambda _: other)) == "untrusted_material"


def test_the_key_of_another_log_by_the_name_of_the_known_one() -> None:
    class Forged(CTLog):
        @property
        def log_id(self) -> bytes:
            return LOG.log_id

    assert told(Forged()) == "untrusted_material"


def test_the_key_of_the_issuer_is_signed_too() -> None:
    """RFC 6962 3.2: issuer_key_hash."""
    leaf = SIGSTORE.issue(KEY)

    assert verified(leaf) == "verified"
    assert verified(leaf, SIGSTORE.root.certificate) == "untrusted_material"
    assert verified(leaf, STRANGER.authority.certificate) == "untrusted_material"


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_keys_of_logs(kind: str) -> None:
    sigstore = PrivateSigstore()
    sigstore.ct_log.key, sigstore.ct_log.kind = signing.new_key(kind), kind
    if kind == "rsa2048":  # RFC 6962 2.1.4: the algorithm is written in the timestamp
        made = CTLog.timestamp
        sigstore.ct_log.timestamp = lambda *given: _as_rsa(made(sigstore.ct_log, *given))  # type: ignore[method-assign]
    leaf = certificate.parse(sigstore.issue(KEY).public_bytes(Encoding.DER))

    certificate.verify(leaf, root.parse(sigstore.trusted_root()), [AT], require_sct=True)


def _as_rsa(made: bytes) -> bytes:
    return made[:43] + b"\x04\x01" + made[45:]


@given(st.binary(max_size=120), st.booleans())
def test_whatever_stands_in_the_list(data: bytes, framed: bool) -> None:
    lists = struct.pack("!HH", len(data) + 2, len(data)) + data if framed else data
    value = der(0x04, lists)
    issued = SIGSTORE.authority.issue(KEY, AT, SIGSTORE.leaf(logs=(), extensions={SCTS.dotted_string: value}))
    try:
        certificate.verify(certificate.parse(issued.public_bytes(Encoding.DER)), ROOT, [AT], require_sct=True)
    except CountersignError as error:
        assert error.code in {"malformed", "untrusted_material", "unsupported"}  # noqa: PT017
    else:
        pytest.fail("verified")
