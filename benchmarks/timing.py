"""Times that can be compared: works take turns, so that a busy moment of the machine meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Times = dict[str, list[float]]  # work -> wall seconds, one a round


def take_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> Times:
    """Every work once a round, in the order given."""
    times: Times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - begin)
    return times


def median(times: Times) -> dict[str, float]:
    """Of each work, in seconds."""
    return {name: statistics.median(spent) for name, spent in times.items()}


def ratio(times: Times, work: str, beside: str) -> float:
    """The median over the rounds of how many times as long one work took as the other in the same round."""
    return statistics.median(a / b for a, b in zip(times[work], times[beside]))
