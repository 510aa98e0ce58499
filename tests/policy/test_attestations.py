"""One attestation against one demand: type, signer, age and condition; each that holds beside a near miss."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.build import DAY, NOW, SLSA, VULN, attested, keyless, proof, rejected, signer, verified, wanted
from webhook.errors import Code
from webhook.evidence.model import Attestation, Outcome, Verdict
from webhook.policy import attestations, condition
from webhook.policy.condition import Condition
from webhook.policy.decision import Weighed
from webhook.policy.model import AttestationDemand

IMAGE = {"digest": "sha256:ab"}
CI = keyless("ci")
SCANNED = ("predicate", "metadata", "scanFinishedOn")


def weigh(demand: AttestationDemand, *outcomes: Outcome) -> list[Weighed]:
    return attestations.weigh(outcomes, [demand], image=IMAGE, now=NOW)


def only(demand: AttestationDemand, outcome: Outcome) -> Weighed:
    (found,) = weigh(demand, outcome)
    return found


def scanned(text: object, at: datetime | None = None) -> Outcome:
    return attested(CI, kind=VULN, at=at, predicate={"metadata": {"scanFinishedOn": text}})


class TestWhatIsWeighed:
    @pytest.mark.parametrize(
        ("demand", "outcome", "count"),
        [
            pytest.param(wanted(CI), attested(CI), 1, id="its type and signer"),
            pytest.param(wanted(CI), attested(CI, kind="https://slsa.dev/provenance/v0.2"), 0, id="another version"),
            pytest.param(wanted(CI), attested(CI, kind=f"{SLSA}/"), 0, id="a type that begins alike"),
            pytest.param(wanted(CI), attested(keyless("bob")), 0, id="another signer"),
            pytest.param(wanted(CI), attested(keyless("ci", "x@example.com")), 0, id="another signer of that name"),
            pytest.param(wanted(CI), verified(CI), 0, id="a signature"),
            pytest.param(wanted(CI), rejected(Code.SIGNATURE_INVALID, CI), 0, id="a rejected one"),
            pytest.param(wanted(CI), replace(attested(CI), proof=None), 0, id="without a proof"),
            pytest.param(wanted(CI), replace(verified(CI), verdict=Verdict.ATTESTED), 0, id="without a statement"),
        ],
    )
    def test_by_predicate_type_and_signer(self, demand: AttestationDemand, outcome: Outcome, count: int) -> None:
        assert len(weigh(demand, outcome)) == count

    def test_once_for_each_signer_and_each_demand(self) -> None:
        demands = [wanted(CI, "a"), wanted("a"), wanted("a"), wanted("b")]
        found = attestations.weigh([attested(CI), attested("a")], demands, image=IMAGE, now=NOW)
        assert [(one.demand, one.outcome.signer) for one in found] == [
            (demands[0], CI),
            (demands[0], signer("a")),
            (demands[1], signer("a")),
        ]

    def test_the_statement_is_not_kept(self) -> None:
        outcome = attested(CI, predicate={"large": "x" * 1000})
        kept = only(wanted(CI), outcome).outcome
        assert kept.proof is not None
        assert kept.proof.attestation == Attestation(SLSA, {})
        assert kept == replace(outcome, proof=kept.proof)


@pytest.mark.parametrize(
    ("at", "code"),
    [
        pytest.param(NOW - DAY, None, id="just young enough"),
        pytest.param(NOW - DAY - timedelta(seconds=1), Code.TIME_INVALID, id="too old"),
        pytest.param(NOW + timedelta(minutes=5), None, id="a clock that is ahead"),
        pytest.param(NOW + timedelta(minutes=5, seconds=1), Code.TIME_INVALID, id="not yet"),
        pytest.param(None, Code.CONDITION_ERROR, id="no time"),
    ],
)
def test_age_counts_from_the_trusted_time(at: datetime | None, code: Code | None) -> None:
    found = only(wanted(CI, max_age=DAY), attested(CI, at=at))
    assert (found.code, found.at) == (code, at)
    assert found.detail


def test_without_a_maximum_no_age_is_too_great_but_none_may_lie_ahead() -> None:
    assert only(wanted(CI), attested(CI)).code is None
    assert only(wanted(CI), attested(CI, at=NOW - 9999 * DAY)).code is None
    assert only(wanted(CI), attested(CI, at=NOW + DAY)).code is Code.TIME_INVALID


@pytest.mark.parametrize(
    ("text", "trusted", "code", "at"),
    [
        pytest.param("2026-11-21T11:00:00Z", None, None, NOW - timedelta(hours=1), id="alone"),
        pytest.param("2026-11-20T11:59:59Z", None, Code.TIME_INVALID, NOW - DAY - timedelta(seconds=1), id="too old"),
        pytest.param("2026-11-20T11:59:59Z", NOW, Code.TIME_INVALID, NOW - DAY - timedelta(seconds=1), id="and logged"),
        pytest.param("2026-11-21T12:00:00Z", NOW - 2 * DAY, Code.TIME_INVALID, NOW - 2 * DAY, id="claims to be new"),
        pytest.param("2026-11-21T13:00:00.123456789+02:00", None, None, datetime(2026, 11, 21, 11, 0, 0, 123456, UTC),
                     id="an offset, and Go's nanoseconds"),
        pytest.param("2026-11-21t11:00:00z", None, None, NOW - timedelta(hours=1), id="small letters"),
        pytest.param(None, NOW, None, NOW, id="not there, but logged"),
        pytest.param(None, None, Code.CONDITION_ERROR, None, id="neither"),
        pytest.param("2026-11-21T11:00:00", NOW, Code.CONDITION_ERROR, None, id="no offset"),
        pytest.param("2026-11-21", NOW, Code.CONDITION_ERROR, None, id="a date"),
        pytest.param("20261121T110000Z", NOW, Code.CONDITION_ERROR, None, id="ISO 8601 only"),
        pytest.param("2026-11-21T25:00:00Z", NOW, Code.CONDITION_ERROR, None, id="no such hour"),
        pytest.param("0001-01-01T00:00:00+23:59", NOW, Code.CONDITION_ERROR, None, id="before all time"),
        pytest.param("2026-11-21T11:00:00Z" + " " * 99, NOW, Code.CONDITION_ERROR, None, id="long"),
        pytest.param("\uff12026-11-21T11:00:00Z", NOW, Code.CONDITION_ERROR, None, id="another alphabet's digits"),
        pytest.param(1795258800, NOW, Code.CONDITION_ERROR, None, id="a number"),
        pytest.param({}, NOW, Code.CONDITION_ERROR, None, id="an object"),
    ],
)  # fmt: skip
def test_the_earlier_of_trusted_and_signed_time_counts(
    text: object, trusted: datetime | None, code: Code | None, at: datetime | None
) -> None:
    demand = wanted(CI, kind=VULN, max_age=DAY, time_field=SCANNED)
    found = only(demand, scanned(text, trusted))
    assert (found.code, found.at) == (code, at)


@pytest.mark.parametrize(
    "predicate", [{"metadata": []}, {"metadata": "text"}, {"metadata": 7}], ids=["array", "text", "number"]
)
def test_a_path_through_something_else_is_an_error(predicate: Mapping[str, object]) -> None:
    demand = wanted(CI, kind=VULN, max_age=DAY, time_field=SCANNED)
    found = only(demand, attested(CI, kind=VULN, at=NOW, predicate=predicate))
    assert found.code is Code.CONDITION_ERROR
    assert "timeField predicate.metadata.scanFinishedOn" in found.detail


ANYTHING = st.recursive(
    st.none() | st.text() | st.floats() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["metadata", "scanFinishedOn"]), inner),
)


@given(ANYTHING)
def test_no_statement_breaks_it(predicate: object) -> None:
    demand = wanted(CI, kind=VULN, max_age=DAY, time_field=SCANNED)
    said = Attestation(VULN, {"predicate": predicate})
    (found,) = weigh(demand, replace(attested(CI, kind=VULN), proof=proof(CI, attestation=said)))
    assert found.code in (Code.CONDITION_ERROR, Code.TIME_INVALID)


class TestConditions:
    @pytest.fixture
    def built_by_us(self) -> Condition:
        return condition.parse("predicate.builder.id == 'https://ci.example.com'")

    def test_one_that_holds(self, built_by_us: Condition) -> None:
        outcome = attested(CI, predicate={"builder": {"id": "https://ci.example.com"}})
        found = only(wanted(CI, condition=built_by_us), outcome)
        assert (found.code, found.detail) == (None, outcome.detail)

    def test_one_that_is_false_says_what_it_saw(self, built_by_us: Condition) -> None:
        outcome = attested(CI, predicate={"builder": {"id": "https://evil.example.com"}})
        found = only(wanted(CI, condition=built_by_us), outcome)
        assert found.code is Code.CLAIM_MISMATCH
        assert found.detail == "condition is false: predicate.builder.id was 'https://evil.example.com'"
        assert found.saw == (("predicate.builder.id", "'https://evil.example.com'"),)

    def test_one_that_cannot_be_judged_is_no_pass(self, built_by_us: Condition) -> None:
        found = only(wanted(CI, condition=built_by_us), attested(CI, predicate={}))
        assert found.code is Code.CONDITION_ERROR

    def test_too_old_is_not_even_asked(self, built_by_us: Condition) -> None:
        demand = wanted(CI, condition=built_by_us, max_age=DAY)
        assert only(demand, attested(CI, at=NOW - 2 * DAY, predicate={})).code is Code.TIME_INVALID

    def test_what_nobody_foresaw_is_an_error_and_hides_nothing(
        self, built_by_us: Condition, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Mapping[str, object]):
            def __getitem__(self, key: str) -> object:
                raise ZeroDivisionError

            def __iter__(self) -> Iterator[str]:
                raise ZeroDivisionError

            def __len__(self) -> int:
                raise ZeroDivisionError

        broken = replace(attested(CI), proof=proof(CI, attestation=Attestation(SLSA, Broken())))
        good = attested(CI, predicate={"builder": {"id": "https://ci.example.com"}})
        with caplog.at_level(logging.ERROR):
            found = weigh(wanted(CI, condition=built_by_us), broken, good)
        assert [one.code for one in found] == [Code.CONDITION_ERROR, None]
        assert "unexpected" in caplog.text


def test_equal_conditions_are_one_demand() -> None:
    demands = [wanted(CI, condition=condition.parse("true")) for _ in range(2)]
    assert isinstance(demands[0].condition, Condition)
    assert len(attestations.weigh([attested(CI)], demands, image=IMAGE, now=NOW)) == 1
