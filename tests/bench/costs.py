"""How a cost is measured, and how it is told beside that of an oracle: milliseconds of CPU, medians of many rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """`oracle` is `None` where the oracle does no such thing."""

    title: str
    ours: float
    oracle: float | None = None


def table(costs: list[Cost]) -> str:
    lines = ["| one signature | ms | oracle ms | ratio |", "|---|---|---|---|"]
    for cost in costs:
        theirs, ratio = ("", "") if cost.oracle is None else (f"{cost.oracle:.2f}", f"{cost.ours / cost.oracle:.2f}")
        lines.append(f"| {cost.title} | {cost.ours:.2f} | {theirs} | {ratio} |")
    return "\n".join(lines)


def both(rounds: int, ours: Callable[[], object], oracle: Callable[[], object]) -> tuple[float, float]:
    """Turn by turn, since machines drift."""
    first, second = median(rounds, ours), median(rounds, oracle)
    return (first + median(rounds, ours)) / 2, (second + median(rounds, oracle)) / 2


def median(rounds: int, work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return 1e3 * statistics.median(taken)
