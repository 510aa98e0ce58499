"""Entries of logs and timestamps that differ in one thing from what is right: each with its code, and whether it proves
that somebody tampered. Names of vulnerabilities stand where others took such a thing for good.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import pytest

from tests.private_sigstore import documents
from tests.private_sigstore.asked import (
    IMAGE,
    LOGGED,
    MINUTE,
    OURS,
    STRAIGHT,
    STRANGER,
    Asked,
    bit,
    bundle,
    judge,
    member,
    rows,
    told,
    twisted,
    v2,
)
from tests.private_sigstore.documents import DELETED, Document, edit, flipped, put
from tests.private_sigstore.instance import (
    AT,
    YEAR,
    key_of,
)
from tests.private_sigstore.logs import RekorV2
from tests.private_sigstore.recipe import How, Twist
from webhook.demo.signing import base64_of
from webhook.evidence.model import Form

# --- near misses: log entries

ENTRY = ("verificationMaterial", "tlogEntries", 0)
PROOF = (*ENTRY, "inclusionProof")


def body(path: documents.Path, value: object) -> Callable[[], bytes]:
    """Authentic, and about something else."""
    return twisted(body=lambda document: put(document, path, value))


def checkpoint(**changes: object) -> Callable[[], bytes]:
    return twisted(logged=lambda entry: put(
        entry, ("inclusionProof", "checkpoint", "envelope"), OURS.rekor.checkpoint(**changes)))  # type: ignore[arg-type]  # fmt: skip


def with_promise() -> bytes:
    promise = json.loads(bundle(IMAGE))["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]
    return edit(bundle(IMAGE, log="v2"), (*ENTRY, "inclusionPromise"), promise)


def of_other_payload(document: Document) -> object:
    return put(document, ("spec", "payloadHash", "value"), IMAGE.removeprefix("sha256:"))


@pytest.mark.parametrize(
    ("make", "expected"),
    rows([
        ("GHSA-whqx-f9j3-ch6m: of another statement", twisted(body=of_other_payload), "tlog_entry_mismatch, tampered"),
        ("of another signature", body(("spec", "signatures", 0, "signature"), "AAAA"), "tlog_entry_mismatch, tampered"),
        ("of another certificate", twisted(verifier=lambda _: OURS.issue(key_of("p256"))),
         "tlog_entry_mismatch, tampered"),
        ("of the key, not the certificate", twisted(verifier=lambda _: key_of("p256")),
         "tlog_entry_mismatch, tampered"),
        ("of kind hashedrekord", lambda: bundle(IMAGE, entry="hashedrekord"), "tlog_entry_mismatch, tampered"),
        ("of kind intoto 0.0.1", lambda: bundle(IMAGE, entry="intoto 0.0.1"), "unsupported"),
        ("of kind rekord", body(("kind",), "rekord"), "unsupported"),
        ("of a version to come", body(("apiVersion",), "0.0.9"), "unsupported"),
        ("kindVersion lies, which nobody signs", member((*ENTRY, "kindVersion", "kind"), "hashedrekord"),
         "tlog_entry_mismatch"),
        ("body changed afterwards", member((*ENTRY, "canonicalizedBody"), bit), "malformed"),
        ("another time", member((*ENTRY, "integratedTime"), "1772366406"), "tlog_invalid"),
        ("another index", member((*ENTRY, "logIndex"), "1"), "tlog_invalid"),
        ("promise changed", member((*ENTRY, "inclusionPromise", "signedEntryTimestamp"), bit), "tlog_invalid"),
        ("CVE-2024-55655: no promise, no other time", lambda: bundle(IMAGE, promise=False), "time_invalid"),
        ("no promise, stamped", lambda: bundle(IMAGE, promise=False, timestamp=True), "verified"),
        ("no proof", lambda: bundle(IMAGE, proof=False), "malformed"),
        ("no proof, version 0.1", lambda: bundle(IMAGE, proof=False, version="0.1"), "verified"),
        ("no promise, version 0.1", lambda: bundle(IMAGE, promise=False, timestamp=True, version="0.1"), "malformed"),
        ("no checkpoint", member((*PROOF, "checkpoint"), DELETED), "malformed"),
        ("proof for another size", member((*PROOF, "treeSize"), "1000"), "tlog_invalid"),
        ("proof at another index", member((*PROOF, "logIndex"), "0"), "tlog_invalid"),
        ("proof outside of the tree", member((*PROOF, "logIndex"), "1000"), "tlog_invalid"),
        ("proof with another hash", member((*PROOF, "hashes", 0), bit), "tlog_invalid"),
        ("proof too short", member((*PROOF, "hashes", 0), DELETED), "tlog_invalid"),
        ("proof too long", member((*PROOF, "hashes"), lambda hashes: [*hashes, hashes[0]]), "tlog_invalid"),
        ("CVE-2024-53267: checkpoint of another root", checkpoint(root=b"r" * 32), "tlog_invalid"),
        ("checkpoint of another size", checkpoint(size=3), "tlog_invalid"),
        ("checkpoint of another shard", checkpoint(origin="rekor.private.test - 1"), "verified"),
        ("checkpoint of another origin", checkpoint(origin="evil.example - 1", name="rekor.private.test"),
         "tlog_invalid"),
        ("checkpoint of a Rekor 2 origin", checkpoint(origin="rekor.private.test"), "tlog_invalid"),
        ("checkpoint with another key hash", checkpoint(hint=b"hint"), "tlog_invalid"),
        ("CVE-2023-47122: of a log nobody knows", lambda: edit(
            bundle(IMAGE), ENTRY, json.loads(STRANGER.keyless_bundle(IMAGE))["verificationMaterial"]["tlogEntries"][0]),
         "tlog_invalid"),
        ("none", lambda: bundle(IMAGE, log="none", timestamp=True), "tlog_invalid"),
        ("CVE-2026-49834: twice the same", member(ENTRY[:2], lambda entries: entries * 2), "malformed"),
        ("CVE-2024-45395: 33", member(ENTRY[:2], lambda entries: entries * 33), "limit_exceeded"),
        ("one of ours, one of a stranger", member(ENTRY[:2], lambda entries: [
            *json.loads(STRANGER.keyless_bundle(IMAGE))["verificationMaterial"]["tlogEntries"], *entries]), "verified"),
    ]),
)  # fmt: skip
def test_log_entries(make: Callable[[], bytes], expected: str) -> None:
    assert told(judge(Form.BUNDLE, (make(), {}), STRAIGHT)) == expected


def v2_body(path: documents.Path, value: object) -> Callable[[], bytes]:
    return lambda: bundle(IMAGE, log="v2", twist=Twist(body=lambda document: put(document, path, value)))


def of_another_rekor() -> bytes:
    sigstore = copy.copy(OURS)
    sigstore.rekor2 = RekorV2("evil.example")
    sigstore.rekor2.key = OURS.rekor2.key
    data = sigstore.keyless_bundle(IMAGE, log="v2")
    return edit(data, (*ENTRY, "logId", "keyId"), base64_of(OURS.rekor2.log_id))


RECORD = ("spec", "hashedRekordV002")


@pytest.mark.parametrize(
    ("make", "expected"),
    rows([
        ("right", v2((), lambda document: document), "verified"),
        ("with a promise", with_promise, "tlog_invalid"),
        ("another index", v2((*ENTRY, "logIndex"), "1"), "tlog_invalid"),
        ("no proof", v2(PROOF, DELETED), "malformed"),
        ("checkpoint of another origin", of_another_rekor, "tlog_invalid"),
        ("of another digest", v2_body((*RECORD, "data", "digest"), base64_of(b"d" * 32)),
         "tlog_entry_mismatch, tampered"),
        ("of another signature", v2_body((*RECORD, "signature", "content"), "AAAA"), "tlog_entry_mismatch, tampered"),
        ("of another kind of key", v2_body((*RECORD, "signature", "verifier", "keyDetails"), "PKIX_ED25519"),
         "tlog_entry_mismatch, tampered"),
        ("no timestamp", lambda: bundle(IMAGE, log="v2", timestamp=False), "time_invalid"),
    ]),
)  # fmt: skip
def test_entries_of_rekor_2(make: Callable[[], bytes], expected: str) -> None:
    assert told(judge(Form.BUNDLE, (make(), {}), STRAIGHT)) == expected


@pytest.mark.parametrize(
    ("how", "windows", "expected"),
    [
        (How(), {"rekor": (None, LOGGED)}, "verified"),
        (How(), {"rekor": (None, AT)}, "time_invalid"),
        (How(), {"rekor": (AT + MINUTE, None)}, "time_invalid"),
        (How(timestamp=True, promise=False), {"rekor": (None, AT)}, "time_invalid"),
        (How(log="v2"), {"rekor2": (None, AT + timedelta(seconds=7))}, "verified"),
        (How(log="v2"), {"rekor2": (None, AT)}, "time_invalid"),
        (How(log="v2"), {"clock": (None, AT + timedelta(seconds=7))}, "verified"),
        (How(log="v2"), {"clock": (None, AT)}, "time_invalid"),
    ],
    ids=["log-ends-then", "CVE-2026-54787-log-ended", "log-not-begun", "log-ended-stamped", "tiles-end-then",
         "tiles-ended", "clock-ends-then", "clock-ended"],
)  # fmt: skip
def test_windows_of_logs_and_clocks(how: How, windows: Mapping[str, tuple[datetime | None, datetime | None]],
                                    expected: str) -> None:  # fmt: skip
    start = AT - YEAR
    closed = {name: (begin or start, end) for name, (begin, end) in windows.items()}
    data = bundle(IMAGE, **how)
    assert told(judge(Form.BUNDLE, (data, {}), Asked(root=OURS.trusted_root(windows=closed)))) == expected


# --- near misses: timestamps

STAMPS = ("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps")


def stamp(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: bundle(IMAGE, log="v2", twist=Twist(stamp=change))


@pytest.mark.parametrize(
    ("make", "expected"),
    rows([
        ("without its certificate", lambda: bundle(IMAGE, log="v2", embed=False), "verified"),
        ("over something else", lambda: bundle(IMAGE, log="v2", twist=Twist(stamped=lambda data: data + b"x")),
         "time_invalid"),
        ("of another clock", stamp(lambda _: STRANGER.clock.stamp(b"x", AT)), "time_invalid"),
        ("CVE-2025-52556: signature changed", stamp(flipped), "time_invalid"),
        ("garbage", stamp(lambda _: b"0\x03\x02\x01\x00"), "malformed"),
        ("cut off", stamp(lambda data: data[:-1]), "malformed"),
        ("the same twice", v2(STAMPS, lambda stamps: stamps * 2), "malformed"),
        ("CVE-2024-45395: 33", v2(STAMPS, lambda stamps: stamps * 33), "limit_exceeded"),
    ]),
)  # fmt: skip
def test_timestamps(make: Callable[[], bytes], expected: str) -> None:
    assert told(judge(Form.BUNDLE, (make(), {}), STRAIGHT)) == expected


@pytest.mark.parametrize(
    ("how", "asked", "expected"),
    [
        (How(timestamp=True), Asked(timestamp=True), "verified"),
        (How(), Asked(timestamp=True), "time_invalid"),
        (How(timestamp=True, log="none"), Asked(log=False), "verified"),
        (How(timestamp=False, log="none"), Asked(log=False), "time_invalid"),
    ],
    ids=["demanded", "demanded-and-missing", "instead-of-a-log", "no-time-at-all"],
)
def test_demands_of_a_root(how: How, asked: Asked, expected: str) -> None:
    data = bundle(IMAGE, **how)
    assert told(judge(Form.BUNDLE, (data, {}), asked)) == expected
