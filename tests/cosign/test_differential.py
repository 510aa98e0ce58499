"""Mutated real bundles through our modules and through sigstore-python: what we accept, it must accept.

What it cannot judge, so that nothing here says anything of it:

- legacy layers, `.sig` and `.att`: their entries have a promise and no inclusion proof, which its bundles demand;
- bundles made with a key, and keys of certificates other than P-256;
- bundles without a log entry (a timestamp alone), with several, or with entries of kind intoto;
- identities by expression, and names of kind OtherName;
- subject, type and predicate type of a statement: it hands the payload back, and the comparison reads it.

What it does not look at, so that only ours is judged: windows of authorities and log keys, tree size and origin of a
checkpoint, timestamps of a promise that has no time. What we accept on purpose and it refuses stands in
`tests.fuzz.differential`. This is a sample; `make fuzz` compares all.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.conformance.cases import BUNDLES, CASES, Case
from tests.fuzz import differential
from tests.fuzz.differential import Compared

SEED = 20261121
COUNT = 800

# Unmutated, of real ones: why sigstore-python has another verdict
CANNOT_JUDGE = {
    "bundles/cosign3-sign-keyless+regex": "identity by expression",
    "bundles/leaf-PKIX_ECDSA_P384_SHA_384": "key of the certificate",
    "bundles/leaf-PKIX_RSA_PKCS1V15_3072_SHA256": "key of the certificate",
    "bundles/othername-san": "authority without a common name",
    "conformance/intoto-with-custom-trust-root": "entry of kind intoto",
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.id) for case in BUNDLES if "key" not in case.files and "regex" not in case.id]
)
def test_both_have_the_same_verdict_of_real_bundles(case: Case) -> None:
    data = case.read("bundle")
    ours, theirs = differential.ours(case, data), differential.theirs(case, data)
    assert ours == case.code
    if case.id in CANNOT_JUDGE:
        assert (ours, bool(theirs)) == ("", True)
    else:
        assert bool(ours) == bool(theirs), theirs


def test_mutants_that_we_accept_are_accepted_by_sigstore_python() -> None:
    sample = Random(SEED).sample(list(differential.mutations()), COUNT)

    compared = differential.compare(sample)

    assert not compared.findings, compared
    assert compared.counts[True, True]
    assert compared.counts[False, False] > COUNT // 2


@pytest.mark.parametrize("name", differential.BUNDLES)
def test_bundles_that_are_mutated_are_accepted_by_both(name: str) -> None:
    case = CASES[name]
    assert (differential.ours(case, case.read("bundle")), differential.theirs(case, case.read("bundle"))) == ("", "")


@pytest.mark.parametrize(
    ("ours", "theirs", "value", "is_finding"),
    [
        ("", "", "'x'", False),
        ("", "InvalidBundle", "'x'", True),
        ("malformed", "", "'x'", False),
        ("malformed", "InvalidBundle", "'x'", False),
        ("", "InvalidBundle", "None", True),
    ],
)
def test_what_counts_as_a_finding(ours: str, theirs: str, value: str, is_finding: bool) -> None:
    path = ("verificationMaterial", "certificate", "rawBytes")
    assert Compared("conformance/happy-path-v0.1", path, value, ours, theirs).is_finding is is_finding
