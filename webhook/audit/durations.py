"""Histograms of durations, kept as plain numbers: several are noted in each review.

What an exposition shows is what `prometheus_client.Histogram` would show of the same, but `_created`. That one takes a
lock for each number, so that any thread may note; here only the event loop's may. spec: Prometheus text format.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Observe = Callable[[float], None]


class Durations(Collector):
    """`bounds` are the upper ends of the buckets but the last, in seconds; `label` is empty for a single series."""

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], *, registry: CollectorRegistry, label: str = ""
    ) -> None:
        self._name, self._text, self._label = name, text, label
        self._bounds = tuple(bounds)
        self._series: dict[str, _Series] = {}
        registry.register(self)

    def of(self, value: str = "") -> Observe:
        """What notes a duration in the series with that value of the label, which is exposed from now on."""
        series = self._series.get(value)
        if series is None:
            series = self._series[value] = _Series(self._bounds)
        return series.observe

    def collect(self) -> Iterable[Metric]:
        metric = Metric(self._name, self._text, "histogram")
        ends = [*map(str, self._bounds), "+Inf"]
        for value, series in self._series.items():
            labels = {self._label: value} if self._label else {}
            counts = [float(count) for count in accumulate(series.counts)]
            for end, count in zip(ends, counts, strict=True):
                metric.add_sample(f"{self._name}_bucket", {**labels, "le": end}, count)
            metric.add_sample(f"{self._name}_count", labels, counts[-1])
            metric.add_sample(f"{self._name}_sum", labels, series.sum)
        yield metric


class _Series:
    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds
