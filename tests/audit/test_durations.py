"""A histogram of plain numbers is exposed as the library's own would be, to the last line."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from webhook.audit.durations import Durations

BOUNDS = (0.001, 0.25, 5.0)
NOTED = {
    "nothing": (),
    "one": (0.1,),
    "on-a-bound": (0.25, 0.25),
    "just-above-a-bound": (0.2500001,),
    "none-at-all": (0.0,),
    "longer-than-all": (5.1, 3600.0),
    "many": tuple(0.0007 * step**2 for step in range(100)),
}
NAME, TEXT = "countersign_some_duration_seconds", "Time that something takes."


def exposed(registry: CollectorRegistry) -> str:
    """All but when each series began, of which servers say nothing."""
    return "".join(re.findall(r"^(?!.*_created).*\n", generate_latest(registry).decode(), re.MULTILINE))


@pytest.mark.parametrize("noted", NOTED.values(), ids=NOTED)
@pytest.mark.parametrize("label", ["", "stage"], ids=["single", "labelled"])
def test_it_is_exposed_like_the_librarys_own(noted: tuple[float, ...], label: str) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = Durations(NAME, TEXT, BOUNDS, registry=ours, label=label)
    library = Histogram(NAME, TEXT, (label,) if label else (), buckets=BOUNDS, registry=theirs)
    for value in ("fetch", "parse") if label else ("",):
        observe = durations.of(value)
        child = library.labels(value) if label else library
        for seconds in noted:
            observe(seconds)
            child.observe(seconds)
    assert exposed(ours) == exposed(theirs)


def test_one_series_is_one_whoever_asks_for_it() -> None:
    registry = CollectorRegistry()
    durations = Durations(NAME, TEXT, BOUNDS, registry=registry, label="stage")
    durations.of("fetch")(0.1)
    durations.of("fetch")(0.2)
    assert registry.get_sample_value(f"{NAME}_count", {"stage": "fetch"}) == 2
    assert registry.get_sample_value(f"{NAME}_count", {"stage": "parse"}) is None
