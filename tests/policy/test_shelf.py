from __future__ import annotations

import pytest

from tests.policy.documents import parse, policy
from webhook.policy.shelf import Place, Reading, make_set, shelve


def reading(name: str, help_text: str = "") -> Reading:
    more = f"  help: {help_text}\n" if help_text else ""
    return Reading(parse(policy(name) + more), f"{name} {help_text}")


BAD = Reading(None, "bad", ("first", "second"))


@pytest.mark.parametrize(
    ("now", "good", "in_force", "problems", "broken"),
    [
        pytest.param({"x": reading("a")}, {}, ["a"], {}, (), id="good"),
        pytest.param({"x": BAD}, {}, [], {"x": "first; and 1 more"}, ("x",), id="never good"),
        pytest.param({"x": BAD}, {"x": reading("a")}, ["a"], {"x": "first; and 1 more"}, (), id="last good"),
        pytest.param({}, {"x": reading("a")}, [], {}, (), id="gone"),
        pytest.param({"x": reading("a"), "y": reading("a", "other")}, {}, ["a"], {"y": "the policy a is in x already"},
                     ("y",), id="the first has the name"),
        pytest.param({"x": BAD, "y": reading("a", "other")}, {"x": reading("a")}, ["a"],
                     {"x": "first; and 1 more", "y": "the policy a is in x already"}, ("y",),
                     id="a last good version has the name"),
        pytest.param({"x": reading("b"), "y": reading("b", "other")}, {"x": reading("a"), "y": reading("b", "other")},
                     ["b", "b"], {"y": "the policy b is in x already"}, (), id="taken, and both in force"),
    ],
)  # fmt: skip
def test_what_is_in_force(
    now: dict[str, Reading],
    good: dict[str, Reading],
    in_force: list[str],
    problems: dict[str, str],
    broken: tuple[str, ...],
) -> None:
    made = make_set(shelve(now, good), searched="here", baseline=())
    assert [one.name for one in made.policies] == in_force
    assert (dict(made.problems), made.broken) == (problems, broken)


def test_places_that_could_not_be_looked_at_are_broken_where_nothing_is_known() -> None:
    made = make_set({}, searched="here", baseline=(), unseen="away", broken=("here",))
    assert (dict(made.problems), made.broken) == ({"here": "away"}, ("here",))


def test_a_place_says_its_policies_and_its_problem() -> None:
    assert Place(BAD, None, BAD.mistakes).problem == BAD.problem == "first; and 1 more"
    assert Place(BAD, None).policies == ()
    assert Place(BAD, reading("a")).problem == ""
