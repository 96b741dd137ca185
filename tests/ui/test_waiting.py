"""One's place in the queue: who is before, and for how long."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from ui.waiting import place_of, place_words


def queue_of(waiting: list[tuple[str, str]], running: list[tuple[str, float]], usual_s: dict[str, float]):
    """waiting: (session, function); running: (function, seconds since it began)."""
    begins: dict[str, set[float]] = {}
    for fn, ago_s in running:
        begins.setdefault(fn, set()).add(time.time() - ago_s)
    line = SimpleNamespace(queue=[SimpleNamespace(session_hash=s, fn=fn) for s, fn in waiting],
                           start_times_per_fn=begins)
    return SimpleNamespace(event_queue_per_concurrency_id={"inference": line},
                           process_time_per_fn={fn: SimpleNamespace(avg_time=s) for fn, s in usual_s.items()})


def test_those_who_wait_before_and_the_rest_of_what_runs():
    queue = queue_of([("a", "work"), ("b", "explain"), ("me", "work"), ("me", "work"), ("c", "work")], [("work", 4.0)],
                     {"work": 10.0, "explain": 30.0})
    count, seconds = place_of(queue, "inference", "me")
    assert count == 3 and seconds == pytest.approx(6 + 10 + 30, abs=0.5)
    assert place_of(queue, "inference", "a")[1] == pytest.approx(6, abs=0.5)
    assert place_of(queue, "inference", "nobody") is None and place_of(queue, "mouth", "me") is None


def test_what_takes_longer_than_usual_is_not_counted_backwards():
    assert place_of(queue_of([("me", "work")], [("work", 99.0)], {"work": 10.0}), "inference", "me") == (1, 0.0)


def test_no_estimate_before_anything_was_measured():
    assert place_of(queue_of([("a", "work"), ("me", "work")], [], {}), "inference", "me") == (1, None)
    assert place_of(queue_of([("me", "work")], [], {}), "inference", "me") == (0, 0.0)


@pytest.mark.parametrize(("count", "seconds", "words"), [
    (0, 0.0, ""), (1, None, "One other is before you."), (1, 1.0, "One other is before you, for about 5 s."),
    (3, 42.0, "3 others are before you, for about 40 s."),
    (19, 200.0, "19 others are before you, for about 3 minutes."),
])
def test_in_words(count, seconds, words):
    assert place_words(count, seconds) == words
