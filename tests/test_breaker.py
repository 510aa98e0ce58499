"""The breaker: after some failures in a row nobody asks, for a while that grows; then one goes to see."""

from __future__ import annotations

import pytest

from webhook.breaker import FAILURES, LONGEST_PAUSE, Breaker, Breakers


def stopped(pause: float = 2.0) -> Breaker:
    """It failed at 0, and nobody asks until `pause`."""
    breaker = Breaker(pause)
    for _ in range(FAILURES):
        assert breaker.admit(0.0) == 0.0
        breaker.note(0.0)
    return breaker


def test_fewer_failures_stop_nobody() -> None:
    breaker = Breaker(2.0)
    for _ in range(FAILURES - 1):
        breaker.note(0.0)
        assert breaker.admit(0.0) == 0.0


def test_the_pause_begins_with_the_last_failure() -> None:
    breaker = Breaker(2.0)
    for second in range(FAILURES):
        breaker.note(float(second))
    assert breaker.admit(FAILURES - 0.5) == 1.5


def test_while_one_goes_to_see_the_others_wait() -> None:
    breaker = stopped()
    assert breaker.admit(1.5) == 0.5
    assert breaker.admit(2.0) == 0.0
    assert breaker.admit(2.0) == LONGEST_PAUSE
    assert breaker.admit(20.0) == LONGEST_PAUSE - 18


def test_each_look_in_vain_makes_the_pause_longer_up_to_the_longest() -> None:
    breaker, now, pauses = stopped(), 2.0, []
    for _ in range(6):
        assert breaker.admit(now) == 0.0
        breaker.note(now)
        pauses.append(breaker.wait(now))
        now += pauses[-1]
    assert pauses == [4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_what_was_under_way_when_it_stopped_makes_nothing_longer() -> None:
    breaker = stopped()
    for _ in range(20):
        breaker.note(1.0)
    assert breaker.wait(1.0) == 1.0


def test_who_comes_back_without_knowing_lets_the_next_go() -> None:
    breaker = stopped()
    breaker.leave(1.0)
    assert breaker.wait(1.0) == 1.0, "nobody had gone"
    assert breaker.admit(2.0) == 0.0
    breaker.leave(3.0)
    assert breaker.admit(3.0) == 0.0
    breaker.note(3.0)
    assert breaker.wait(3.0) == 4.0, "the pause is none the longer for that"


@pytest.mark.parametrize(("failures", "ends"), [(FAILURES - 1, False), (FAILURES, True)])
def test_an_answer_begins_anew(failures: int, ends: bool) -> None:
    breakers: Breakers[str] = Breakers(first_pause=2.0, max_entries=10)
    opened = [breakers.failed("a", 0.0) for _ in range(failures)]
    assert opened == [number == FAILURES for number in range(1, failures + 1)]
    assert [key for key, _ in breakers.not_asked(1.0)] == ["a"] * ends
    assert breakers.answered("a") is ends
    assert not breakers.answered("a")
    assert not breakers.failed("a", 0.0)
    assert breakers.admit("a", 0.0) == 0.0


def test_one_stops_no_other() -> None:
    breakers: Breakers[str] = Breakers(first_pause=2.0, max_entries=10)
    for _ in range(FAILURES):
        breakers.failed("a", 0.0)
    assert breakers.admit("a", 0.0) == 2.0
    assert breakers.admit("b", 0.0) == 0.0


def test_who_has_not_failed_for_longest_is_forgotten_first() -> None:
    breakers: Breakers[str] = Breakers(first_pause=2.0, max_entries=2)
    for key in ("a", "b", "a", "c"):
        breakers.failed(key, 0.0)
    assert [breakers.get(key) is not None for key in "abc"] == [True, False, True]
    assert len(breakers) == 2
