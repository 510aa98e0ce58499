"""Half a minute of the fuzzer, and that it would find what it looks for. `make fuzz` runs it for ten minutes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from tests.fuzz import mutants, resigned, run, seeds
from tests.fuzz.mutants import Mutant
from tests.fuzz.run import Fuzzer
from tests.fuzz.seeds import Judged, Seed
from tests.private_sigstore import documents
from webhook.errors import Code

SECONDS = 14.0  # of each run at most
COUNT = 15_000
SEED = 20261121


@pytest.fixture(scope="module")
def fuzzer() -> Fuzzer:
    return Fuzzer(seeds.seeds())


@pytest.mark.parametrize("seed", [pytest.param(seed, id=seed.name) for seed in seeds.seeds()])
def test_every_seed_is_accepted(seed: Seed) -> None:
    assert seed.again().code == ""


@pytest.mark.parametrize("seed", [pytest.param(seed, id=seed.name) for seed in seeds.seeds()])
def test_no_seed_is_accepted_beside_another_image(seed: Seed) -> None:
    assert seed.judge(seed.payload, seed.annotations, seeds.OTHER_IMAGE).code in (
        Code.SUBJECT_MISMATCH,
        Code.TLOG_ENTRY_MISMATCH,
    )  # the latter of artifacts, whose entry names their digest


def test_random_mutants_prove_nothing_new(fuzzer: Fuzzer) -> None:
    cases = itertools.islice(run.random_mutants(fuzzer.seeds, SEED), COUNT)
    report = fuzzer.run(cases, until=time.monotonic() + SECONDS)
    assert not report.findings, report
    assert report.codes["accepted"] > 0, "some change nothing that matters"


def test_members_of_what_is_signed_and_logged_prove_nothing_new(fuzzer: Fuzzer) -> None:
    every = list(itertools.chain(run.every_member(fuzzer.seeds), itertools.islice(resigned.mutants(), 400)))
    sample = Random(SEED).sample(every, 1_500)
    report = fuzzer.run(sample, until=time.monotonic() + SECONDS)
    assert not report.findings, report


# --- the fuzzer finds what it looks for


def naive(seed: Seed, judged: Judged) -> Seed:
    """`seed` under a verifier that says the same of everything."""
    straight = seed.again()

    def judge(payload: bytes, annotations: Mapping[str, str], subject: str) -> Judged:
        is_straight = (payload, annotations, subject) == (seed.payload, seed.annotations, seed.subject)
        return straight if is_straight else judged

    return replace(seed, judge=judge)


def find(seed: Seed, mutant: Mutant, seconds: float = 5.0) -> str:
    report = Fuzzer((seed,)).run([(seed, mutant)], until=time.monotonic() + seconds)
    return report.findings[0].what if report.findings else ""


@pytest.fixture
def seed() -> Seed:
    return seeds.seeds()[0]


def changed(seed: Seed, path: documents.Path, value: object) -> Mutant:
    return Mutant("by hand", documents.edit(seed.payload, path, value), {}, seed.subject)


PAYLOAD = ("dsseEnvelope", "payload")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (PAYLOAD, "AAAA", "accepted, and differs at dsseEnvelope/payload"),
        (("dsseEnvelope", "signatures", 0, "keyid"), "x", ""),
        (("org.example",), {}, ""),
        (("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.3", ""),
        (
            ("verificationMaterial", "tlogEntries", 0, "logIndex"),
            "7",
            "accepted, and differs at verificationMaterial/tlogEntries/0/logIndex",
        ),
        (
            ("verificationMaterial", "tlogEntries", 0, "inclusionPromise"),
            documents.DELETED,
            "accepted, and differs at verificationMaterial/tlogEntries/0/inclusionPromise",
        ),
    ],
    ids=["payload", "keyid", "unknown-member", "media-type", "index", "promise"],
)
def test_verifier_that_accepts_everything_is_found_out(
    seed: Seed, path: documents.Path, value: object, expected: str
) -> None:
    assert find(naive(seed, seed.again()), changed(seed, path, value)) == expected


def test_other_image_is_found(seed: Seed) -> None:
    mutant = Mutant("by hand", seed.payload, {}, seeds.OTHER_IMAGE)
    assert find(naive(seed, seed.again()), mutant) == "accepted, and differs at the image"


def test_accepted_mutant_that_proves_more_is_found(seed: Seed) -> None:
    proof = seed.again().proof
    assert proof is not None
    another = Judged(proof=replace(proof, material="somebody else"))
    assert find(naive(seed, another), changed(seed, ("x",), 1)) == "accepted, and proves something else"


def test_internal_error_is_found(seed: Seed) -> None:
    crashed = Judged(Code.INTERNAL_ERROR, "unexpected KeyError")
    assert find(naive(seed, crashed), changed(seed, ("x",), 1)) == "an internal error: unexpected KeyError"


def test_exception_is_found(seed: Seed) -> None:
    def crash(payload: bytes, *_: object) -> Judged:
        return seed.again() if payload == seed.payload else Judged(seed.annotations["x"])

    assert find(replace(seed, judge=crash), changed(seed, ("x",), 1)) == "KeyError: 'x'"


def test_hang_is_found(seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(payload: bytes, *_: object) -> Judged:
        while payload != seed.payload:
            pass
        return seed.again()

    monkeypatch.setattr(run, "CPU_BUDGET", 0.05)
    assert find(replace(seed, judge=hang), changed(seed, ("x",), 1)) == "more than 0.05 s of CPU"


def test_the_same_number_makes_the_same_mutant() -> None:
    real = tuple(seed for seed in seeds.seeds() if "/" in seed.name)
    one, other = (list(itertools.islice(run.random_mutants(real, 1, first=start), 3)) for start in (5, 5))
    assert one == other
    assert mutants.mutant_of(real[0], real, Random("x")) == mutants.mutant_of(real[0], real, Random("x"))
