"""Entries of logs: promise, proof, checkpoint and time, and for each what just misses it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.private_sigstore.documents import Document, flipped
from tests.private_sigstore.instance import AT, YEAR, PrivateSigstore, key_of
from tests.private_sigstore.logs import RekorV1, Tree, sha256
from tests.private_sigstore.recipe import TO_LOG
from webhook.cosign import bundle, log
from webhook.cosign.entry import Logged
from webhook.cosign.log import InclusionProof, LogEntry
from webhook.errors import CountersignError, TamperedError
from webhook.trust import root
from webhook.trust.root import Log, Window

VECTORS = Path(__file__).parent.parent / "vectors" / "sigstore"
DIGEST, OTHER_DIGEST = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


@dataclass(frozen=True, slots=True)
class Case:
    """An entry, the log that it names, and what it must be about."""

    entry: LogEntry
    log: Log
    logged: Logged

    def told(self, **changes: object) -> str:
        """The time that the log gives, `no time`, or the code of the error. `changes` are fields of the entry."""
        try:
            time = log.verify(replace(self.entry, **changes), self.log, self.logged)  # type: ignore[arg-type]
        except TamperedError as error:
            return f"tampered: {error.code}"
        except CountersignError as error:
            return error.code.value
        return "no time" if time is None else f"{time:%H:%M:%S}"

    def proof(self, **changes: object) -> InclusionProof:
        """The proof of the entry, with fields of it replaced."""
        assert self.entry.proof is not None
        return replace(self.entry.proof, **changes)  # type: ignore[arg-type]


def case_of(document: bytes, trusted_root: bytes) -> Case:
    candidate = bundle.parse_image_signature(document)
    (entry,) = candidate.entries
    known = next(log for log in root.parse(trusted_root).logs if log.log_id == entry.log_id)
    return Case(entry, known, candidate.logged_by(None))


SIGSTORE = PrivateSigstore()
STRANGER = PrivateSigstore()
ROOT = SIGSTORE.trusted_root()
V1 = case_of(SIGSTORE.keyless_bundle(DIGEST), ROOT)
PROVED = replace(V1, entry=replace(V1.entry, promise=None))
PROMISED = replace(V1, entry=replace(V1.entry, proof=None))  # as a legacy signature has it
V2 = case_of(SIGSTORE.keyless_bundle(DIGEST, log="v2"), ROOT)
REKOR, REKOR2 = SIGSTORE.rekor, SIGSTORE.rekor2
LOGGED_AT = f"{AT + TO_LOG:%H:%M:%S}"


# --- what verifies


@pytest.mark.parametrize(
    ("case", "time"),
    [(V1, LOGGED_AT), (PROMISED, LOGGED_AT), (PROVED, "no time"), (V2, "no time")],
    ids=["promise and proof", "promise", "proof", "log of tiles"],
)
def test_a_time_comes_from_a_promise_alone(case: Case, time: str) -> None:
    """CVE-2024-55655: without one the time in the entry is a number that nobody signed."""
    assert case.told() == time


@pytest.mark.parametrize("integrated_time", [0, 1, int(AT.timestamp()), (1 << 63) - 1])
def test_a_time_that_nobody_signed_is_not_read(integrated_time: int) -> None:
    assert PROVED.told(integrated_time=integrated_time) == "no time"


def test_a_real_entry() -> None:
    document = (VECTORS / "bundles/cosign3-sign-keyless.sigstore.json").read_bytes()
    (name,) = {
        case["files"]["trusted_root"]
        for case in json.loads((VECTORS / "index.json").read_bytes())["cases"]
        if case["id"] == "bundles/cosign3-sign-keyless"
    }
    case = case_of(document, (VECTORS / name).read_bytes())

    assert log.verify(case.entry, case.log, case.logged) == datetime(2026, 4, 9, 7, 23, 29, tzinfo=UTC)
    assert case.told(log_index=case.entry.log_index + 1) == "tlog_invalid"


@pytest.mark.parametrize("log_", ["v1", "v2"])
@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_keys_of_signers(kind: str, log_: str) -> None:
    made = SIGSTORE.keyless_bundle(DIGEST, key=key_of(kind), log="v2" if log_ == "v2" else "v1")

    assert case_of(made, ROOT).told() == ("no time" if log_ == "v2" else LOGGED_AT)


@pytest.mark.parametrize("kind", ["p384", "rsa2048", "ed25519"])
def test_keys_of_logs(kind: str) -> None:
    sigstore = PrivateSigstore()
    sigstore.rekor = RekorV1(kind=kind)

    assert case_of(sigstore.keyless_bundle(DIGEST), sigstore.trusted_root()).told() == LOGGED_AT


# --- what it is about

OTHER = case_of(SIGSTORE.keyless_bundle(OTHER_DIGEST), ROOT)
OTHER_V2 = case_of(SIGSTORE.keyless_bundle(OTHER_DIGEST, log="v2"), ROOT)


@pytest.mark.parametrize(
    "entry",
    [OTHER.entry, replace(OTHER.entry, proof=None), replace(OTHER.entry, promise=None), OTHER_V2.entry],
    ids=["promise and proof", "promise", "proof", "log of tiles"],
)
def test_an_entry_of_another_signature_that_the_log_vouches_for(entry: LogEntry) -> None:
    """CVE-2022-23649, CVE-2026-22703: moved here from where it was right, which is no accident."""
    by = V2.log if entry is OTHER_V2.entry else V1.log

    assert Case(entry, by, V1.logged).told() == "tampered: tlog_entry_mismatch"


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: replace(entry, promise=flipped(entry.promise)),
        lambda entry: replace(entry, log_index=entry.log_index + 1),
        lambda entry: replace(entry, promise=None, proof=None),
        lambda entry: replace(entry, promise=None, proof=replace(entry.proof, hashes=())),
        lambda entry: replace(entry, body=entry.body.replace(b"payloadHash", b"payloadhash")),
        lambda entry: replace(entry, body=entry.body[:-1] + b" }"),
        lambda entry: replace(entry, integrated_time=-1),
    ],
    ids=["promise", "index", "nothing", "proof", "another name", "another byte", "a time below nothing"],
)
def test_an_entry_that_nobody_vouches_for_is_no_proof_of_tampering(change: Callable[[LogEntry], LogEntry]) -> None:
    told = Case(change(OTHER.entry), V1.log, V1.logged).told()

    assert told in {"tlog_entry_mismatch", "malformed"}


def test_what_is_logged_is_compared_before_who_vouches_for_it() -> None:
    assert Case(replace(OTHER.entry, promise=b""), V1.log, V1.logged).told() == "tlog_entry_mismatch"


def test_the_kind_that_is_announced() -> None:
    assert V1.told(kind="", version="") == LOGGED_AT
    assert V1.told(kind="hashedrekord") == "tlog_entry_mismatch"


# --- the promise


def test_the_promise_of_another_entry() -> None:
    """Each is right by itself: the body of one, the promise of the other."""
    assert PROMISED.told(promise=OTHER.entry.promise) == "tlog_invalid"
    assert OTHER.entry.promise is not None
    assert V1.told(promise=OTHER.entry.promise) == "tlog_invalid"


@pytest.mark.parametrize("case", [V1, PROMISED], ids=["with proof", "alone"])
@pytest.mark.parametrize(
    "changes",
    [
        {"log_index": V1.entry.log_index + 1},
        {"integrated_time": V1.entry.integrated_time + 1},
        {"log_id": STRANGER.rekor.log_id},
        {"body": V1.entry.body + b"\n"},
        {"promise": flipped(V1.entry.promise or b"")},
        {"promise": b""},
        {"promise": bytes(70_000)},
    ],
    ids=["index", "time", "log", "body", "signature", "no signature", "a long signature"],
)
def test_a_promise_is_about_all_of_the_entry(case: Case, changes: dict[str, object]) -> None:
    assert case.told(**changes) == "tlog_invalid"


def test_the_promise_of_another_log() -> None:
    stranger = next(one for one in root.parse(STRANGER.trusted_root()).logs if one.log_id == STRANGER.rekor.log_id)

    assert replace(PROMISED, log=stranger).told() == "tlog_invalid"
    assert replace(PROVED, log=stranger).told() == "tlog_invalid"


def test_the_index_in_a_promise_is_that_of_the_log_and_not_of_its_tree() -> None:
    assert V1.told(log_index=V1.proof().log_index) == "tlog_invalid"


# --- the window of the log's key: CVE-2026-54787

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (None, None, LOGGED_AT),
        (AT + TO_LOG, None, LOGGED_AT),
        (AT - YEAR, AT + TO_LOG, LOGGED_AT),
        (AT + TO_LOG + SECOND, None, "time_invalid"),
        (AT - YEAR, AT + TO_LOG - SECOND, "time_invalid"),
    ],
    ids=["always", "begins then", "ends then", "begins later", "ended before"],
)
def test_the_window_of_the_key(start: datetime | None, end: datetime | None, told: str) -> None:
    narrow = replace(V1.log, window=Window(start, end))

    assert replace(V1, log=narrow).told() == told
    assert replace(PROMISED, log=narrow).told() == told
    assert replace(PROVED, log=narrow).told() == "no time"  # it has none that could be held against it


# --- numbers


@pytest.mark.parametrize("number", [-1, 1 << 63, 1 << 200])
@pytest.mark.parametrize("name", ["log_index", "integrated_time"])
def test_numbers_of_an_entry(name: str, number: int) -> None:
    assert V1.told(**{name: number}) == "malformed"


@pytest.mark.parametrize("number", [-1, 1 << 63, 1 << 200])
@pytest.mark.parametrize("name", ["log_index", "tree_size"])
def test_numbers_of_a_proof(name: str, number: int) -> None:
    assert V1.told(proof=V1.proof(**{name: number})) == "malformed"


@pytest.mark.parametrize("integrated_time", [253_402_300_800, (1 << 63) - 1])
def test_a_time_in_no_calendar(integrated_time: int) -> None:
    def told(time: int) -> str:
        signed = REKOR.key.sign(_promised(replace(V1.entry, integrated_time=time), REKOR.log_id))
        return PROMISED.told(integrated_time=time, promise=signed)

    assert told(253_402_300_799) == "23:59:59"
    assert told(integrated_time) == "malformed"


def _promised(entry: LogEntry, log_id: bytes) -> bytes:
    """What a promise is over, made in another way than the log and the code under test do."""
    members = {
        "logIndex": entry.log_index,
        "logID": log_id.hex(),
        "integratedTime": entry.integrated_time,
        "body": base64.b64encode(entry.body).decode(),
    }
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


# --- the proof


def test_every_place_in_trees_of_every_size() -> None:
    """RFC 9162 2.1.3.2, against proofs that were made by 2.1.3.1."""
    rekor = RekorV1()
    rekor.key = REKOR.key
    for size in range(1, 18):
        for place in range(size):
            rekor.tree = Tree()
            for other in range(size):
                rekor.tree.append(V1.entry.body if other == place else b"%d" % other)
            assert PROVED.told(proof=_proof(rekor, place)) == "no time", (size, place)
            beside = _proof(rekor, place, log_index=place + 1)  # the last of them is outside
            assert PROVED.told(proof=beside) == "tlog_invalid", (size, place)


def _proof(rekor: RekorV1, place: int, **changes: object) -> InclusionProof:
    tree = rekor.tree
    proof = InclusionProof(place, len(tree.leaves), tree.root(), tuple(tree.path(place)), rekor.checkpoint())
    return replace(proof, **changes)  # type: ignore[arg-type]


HASHES = V1.proof().hashes
SIZE, INDEX = V1.proof().tree_size, V1.proof().log_index


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"log_index": INDEX - 1}, "tlog_invalid"),
        ({"log_index": SIZE}, "tlog_invalid"),
        ({"log_index": SIZE + INDEX}, "tlog_invalid"),
        ({"tree_size": 0}, "tlog_invalid"),
        ({"tree_size": SIZE + 1}, "tlog_invalid"),
        ({"tree_size": SIZE * 2}, "tlog_invalid"),
        ({"root_hash": flipped(V1.proof().root_hash)}, "tlog_invalid"),
        ({"root_hash": V1.proof().root_hash[:-1]}, "tlog_invalid"),
        ({"root_hash": sha256(b"\x00" + V1.entry.body)}, "tlog_invalid"),
        ({"hashes": ()}, "tlog_invalid"),
        ({"hashes": HASHES[:-1]}, "tlog_invalid"),
        ({"hashes": HASHES[1:]}, "tlog_invalid"),
        ({"hashes": (*HASHES, HASHES[0])}, "tlog_invalid"),
        ({"hashes": (flipped(HASHES[0]), *HASHES[1:])}, "tlog_invalid"),
        ({"hashes": HASHES[::-1]}, "tlog_invalid"),
        ({"hashes": (HASHES[0][:-1], *HASHES[1:])}, "tlog_invalid"),
        ({"hashes": (b"", *HASHES[1:])}, "tlog_invalid"),
        ({"hashes": (*HASHES[:-2], HASHES[-2] + HASHES[-1])}, "tlog_invalid"),
        ({"hashes": (bytes(32),) * 64}, "tlog_invalid"),
        ({"hashes": (bytes(32),) * 65}, "limit_exceeded"),
    ],
    ids=["index before", "index outside", "index far outside", "no tree", "one more", "twice the tree", "root",
         "root cut short", "the entry as root", "none", "the last is missing", "the first is missing", "one too many",
         "another hash", "another order", "a short hash", "an empty hash", "two in one", "64 hashes", "65 hashes"],
)  # fmt: skip
def test_proofs_that_do_not_lead_to_the_root(changes: dict[str, object], code: str) -> None:
    assert len(HASHES) > 1
    assert V1.told(proof=V1.proof(**changes)) == code
    assert PROVED.told(proof=V1.proof(**changes)) == code


def test_the_proof_of_another_entry() -> None:
    assert V1.told(proof=OTHER.proof()) == "tlog_invalid"


# --- the checkpoint: CVE-2024-53267


def test_a_checkpoint_of_another_size() -> None:
    """The root is the same, the log's signature right: of a tree that was never this one."""
    for size in (SIZE - 1, SIZE + 1):
        note = REKOR.checkpoint(size=size, root=V1.proof().root_hash)
        assert V1.told(proof=V1.proof(checkpoint=note)) == "tlog_invalid"
    same = REKOR.checkpoint(size=SIZE, root=V1.proof().root_hash)
    assert V1.told(proof=V1.proof(checkpoint=same)) == LOGGED_AT


def test_a_checkpoint_of_another_root() -> None:
    other = REKOR.checkpoint(size=SIZE, root=flipped(V1.proof().root_hash))

    assert V1.told(proof=V1.proof(checkpoint=other)) == "tlog_invalid"


def test_the_checkpoint_of_an_earlier_tree() -> None:
    assert V1.told(proof=V1.proof(checkpoint=REKOR.checkpoint())) == "tlog_invalid"


def test_a_tree_of_somebody_else() -> None:
    """All of it is right, but for who signed the checkpoint."""
    STRANGER.rekor.tree.append(V1.entry.body)
    place = len(STRANGER.rekor.tree.leaves) - 1

    stranger = next(one for one in root.parse(STRANGER.trusted_root()).logs if one.log_id == STRANGER.rekor.log_id)
    assert PROVED.told(proof=_proof(STRANGER.rekor, place)) == "tlog_invalid"
    assert replace(PROVED, log=stranger).told(proof=_proof(STRANGER.rekor, place)) == "no time"


# --- logs of tiles


def test_a_log_of_tiles_promises_nothing() -> None:
    """Not even with its own key."""
    promise = REKOR2.key.sign(_promised(V2.entry, REKOR2.log_id))

    assert V2.told(promise=promise) == "tlog_invalid"
    assert V2.told(promise=b"") == "tlog_invalid"


def test_a_log_of_tiles_proves_everything() -> None:
    assert V2.told(proof=None) == "tlog_invalid"


def test_a_log_of_tiles_has_one_index() -> None:
    assert V2.told(log_index=V2.entry.log_index + 1) == "tlog_invalid"


def test_a_log_of_tiles_calls_itself_as_its_url_does() -> None:
    note = REKOR2.checkpoint(AT, origin="rekor.example.com", size=V2.proof().tree_size, root=V2.proof().root_hash)

    assert V2.told(proof=V2.proof(checkpoint=note)) == "tlog_invalid"
    assert replace(V2, log=replace(V2.log, url="https://rekor.example.com")).told() == "tlog_invalid"


def test_each_kind_of_log_has_its_own_checkpoints() -> None:
    """The entry of one with the checkpoint of the other, each by the same key."""
    v1_kind = REKOR.entry(_document(V2.entry.body), AT)
    proof = v1_kind["inclusionProof"]
    assert isinstance(proof, dict)
    note = proof["checkpoint"]["envelope"]
    place = int(proof["logIndex"])
    hashes = tuple(base64.b64decode(one) for one in proof["hashes"])
    root_hash = base64.b64decode(proof["rootHash"])
    moved = InclusionProof(place, int(proof["treeSize"]), root_hash, hashes, note)

    told = replace(V2, log=V1.log).told(proof=moved, log_index=place, log_id=V1.log.log_id)
    assert told == "tlog_invalid"


def _document(body: bytes) -> Document:
    document = json.loads(body)
    assert isinstance(document, dict)
    return document


def test_neither_promise_nor_proof() -> None:
    assert V1.told(promise=None, proof=None) == "tlog_invalid"


# --- whatever it holds

CODES = {"malformed", "limit_exceeded", "unsupported", "tlog_invalid", "tlog_entry_mismatch", "time_invalid"}


@given(
    st.builds(
        LogEntry,
        body=st.sampled_from([V1.entry.body, b"", b"{}", b"[]", OTHER.entry.body[:-1]]) | st.binary(max_size=50),
        log_id=st.binary(max_size=40),
        log_index=st.integers(),
        integrated_time=st.integers(),
        promise=st.none() | st.binary(max_size=80),
        proof=st.none() | st.builds(
            InclusionProof, st.integers(), st.integers(), st.binary(max_size=33),
            st.lists(st.binary(min_size=31, max_size=33), max_size=5).map(tuple),
            st.text(max_size=50) | st.just(V1.proof().checkpoint),
        ),
    )
)  # fmt: skip
def test_whatever_stands_in_an_entry(entry: LogEntry) -> None:
    assert Case(entry, V1.log, V1.logged).told() in CODES


@given(st.data())
def test_a_flipped_bit_never_verifies(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from([V1, PROMISED, PROVED, V2]))
    body = flipped(case.entry.body, data.draw(st.integers(0, len(case.entry.body) - 1)))

    assert case.told(body=body) in CODES
