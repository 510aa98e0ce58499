"""Some seconds of the fuzzer of Notary Project signatures, and that it would find what it looks for."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from tests.fuzz import run
from tests.fuzz.mutants import Mutant
from tests.fuzz.notary import differential, items, mutants, resigned, seeds, statements, unsigned
from tests.fuzz.notary.seeds import NotarySeed
from tests.fuzz.run import Fuzzer
from tests.fuzz.seeds import OTHER_IMAGE, Judged, Seed
from tests.private_sigstore import documents
from webhook.errors import Code

SECONDS = 5.0  # of each run at most
COUNT = 4_000
SEED = 20261121
SEEDS = [pytest.param(seed, id=seed.name) for seed in seeds.seeds()]


@pytest.fixture(scope="module")
def fuzzer() -> Fuzzer:
    return Fuzzer(seeds.seeds(), unsigned.differences)


@pytest.mark.parametrize("seed", [*SEEDS, *(pytest.param(seed, id=seed.name) for seed in statements.seeds())])
def test_every_seed_is_accepted(seed: Seed) -> None:
    assert seed.again().code == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_the_oracle_accepts_every_seed(seed: NotarySeed) -> None:
    assert seed.judging.theirs(seed.payload, seed.subject) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_seed_is_accepted_beside_another_image(seed: NotarySeed) -> None:
    assert seed.judge(seed.payload, {}, OTHER_IMAGE).code == Code.SUBJECT_MISMATCH
    assert seed.judging.theirs(seed.payload, OTHER_IMAGE).startswith("subject_mismatch")


def test_random_mutants_prove_nothing_new(fuzzer: Fuzzer) -> None:
    cases = itertools.islice(run.random_mutants(fuzzer.seeds, SEED, mutate=mutants.mutant_of), COUNT)
    report = fuzzer.run(cases, until=time.monotonic() + SECONDS)
    assert not report.findings, report
    assert report.codes["accepted"] > 0, "some change nothing that matters"


def test_what_is_signed_again_has_the_verdict_of_the_oracle() -> None:
    some = Random(SEED).sample(list(resigned.plans()), 1_000)
    found = differential.compare((seed, make()) for seed, make in some)
    assert not found.findings, found
    assert found.counts[True, True] > 0
    assert found.counts[False, False] > 0


def test_statements_about_revocation_say_the_same_or_nothing() -> None:
    fuzzer = Fuzzer(statements.seeds(), unsigned.differences)
    signed = Random(SEED).sample(list(statements.resigned()), 1_500)
    straight = itertools.islice(run.random_mutants(fuzzer.seeds, SEED, mutate=statements.mutant_of), COUNT)
    report = fuzzer.run(itertools.chain(signed, straight), until=time.monotonic() + SECONDS)
    assert not report.findings, report
    assert set(report.codes) == {"accepted", Code.REVOCATION_UNKNOWN}


# --- the fuzzer finds what it looks for


def naive(seed: Seed) -> NotarySeed:
    """`seed` under a verifier that says the same of everything."""
    assert isinstance(seed, NotarySeed)
    straight = seed.again()
    return replace(seed, judge=lambda *_: straight)


def find(seed: Seed, payload: bytes) -> str:
    mutant = Mutant("by hand", payload, {}, seed.subject)
    report = Fuzzer((seed,), unsigned.differences).run([(seed, mutant)], until=time.monotonic() + SECONDS)
    return report.findings[0].what if report.findings else ""


JWS, COSE = (next(one for one in seeds.seeds() if one.name == f"{form} stamped") for form in ("jws", "cose"))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("payload",), "AAAA", "accepted, and differs at payload"),
        (("protected",), "AAAA", "accepted, and differs at protected"),
        (("signature",), "AAAA", "accepted, and differs at signature"),
        (("header", "x5c", 2), documents.DELETED, "accepted, and differs at chain"),
        (("header",), 1, "accepted, and differs at that another reader cannot read it: TypeError"),
        (("header", "io.cncf.notary.signingAgent"), "x", ""),
        (("header", "kid"), "x", ""),
    ],
    ids=["payload", "protected", "signature", "chain", "header", "agent", "unknown"],
)
def test_verifier_of_jws_that_accepts_everything_is_found_out(
    path: documents.Path, value: object, expected: str
) -> None:
    assert find(naive(JWS), documents.edit(JWS.payload, path, value)) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((0, 0), "accepted, and differs at protected"),
        ((0, 1, 1), "accepted, and differs at chain"),
        ((0, 2), "accepted, and differs at payload"),
        ((0, 3), "accepted, and differs at signature"),
    ],
    ids=["protected", "chain", "payload", "signature"],
)
def test_verifier_of_cose_that_accepts_everything_is_found_out(path: items.Path, expected: str) -> None:
    changed = items.change(items.parse(COSE.payload), path, lambda item: replace(item, raw=b"\x41\x00"))
    assert find(naive(COSE), changed.write()) == expected


def test_accepted_mutant_that_says_something_else_is_found() -> None:
    another = next(one for one in seeds.seeds() if one.name == "jws rich").again()
    one = replace(JWS, judge=lambda payload, *_: JWS.again() if payload == JWS.payload else another)
    assert find(one, JWS.payload + b" ") == "accepted, and proves something else"


def test_response_that_says_something_else_is_found() -> None:
    good = statements.seeds()[0]

    def judge(payload: bytes, annotations: Mapping[str, str], subject: str) -> Judged:
        said = good.judge(good.payload, annotations, subject)
        return said if payload == good.payload else Judged(signed="revoked")

    assert find(replace(good, judge=judge), b"x") == "accepted, and proves something else"


def test_every_way_in_which_the_oracle_and_we_may_not_differ_is_a_finding() -> None:
    def compared(ours: str, theirs: str) -> bool:
        return differential.Compared("seed", "how", ours, theirs).is_finding

    assert compared("", "signature_invalid: x")
    assert compared("untrusted_material: x", "")
    assert compared("", "timestamp_invalid: message imprint does not match the signature")
    assert not compared("", "")
    assert not compared("malformed: x", "envelope_malformed: x")
    assert not compared("limit_exceeded: payload: at most 32 levels are read", "")


# --- what it changes with


@pytest.mark.parametrize("seed", [one for one in seeds.seeds() if one.is_cose], ids=lambda seed: seed.name)
def test_cbor_is_written_again_as_it_was(seed: NotarySeed) -> None:
    assert items.parse(seed.payload).write() == seed.payload


def test_the_same_number_makes_the_same_mutant() -> None:
    real = tuple(seed for seed in seeds.seeds() if "/" in seed.name)
    streams = [run.random_mutants(real, 1, first=5, mutate=mutants.mutant_of) for _ in range(2)]
    one, other = (list(itertools.islice(stream, 20)) for stream in streams)
    assert one == other
