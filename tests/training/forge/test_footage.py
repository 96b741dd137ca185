"""Forgeries compose, and can be limited to a span: what is outside stays as it was, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.forge.footage import Footage, Span, Truth, compose, join_spans, within

HZ = 16_000


@pytest.fixture
def footage() -> Footage:
    return Footage("me", np.full((50, 4, 6, 3), 100, np.uint8), np.arange(50) / 25, np.zeros(2 * HZ, np.float32))


def brighten(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    region = np.zeros((50, 4, 6), np.uint8)
    region[:, 1:3] = 255
    return (replace(footage, frames=footage.frames + 50),
            Truth("me", (Span(0.0, 2.0, "video"),), region, (("brighten", {"by": 50}),), ("ann",)))


def hum(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    return (replace(footage, sound=np.ones(2 * HZ, np.float32)),
            Truth("me", (Span(0.5, 1.5, "audio"),), steps=(("hum", {}),), identities=("ben",)))


def test_genuine_footage_has_no_label():
    assert Truth("me").labels == {"video": 0.0, "audio": 0.0, "sync": 0.0}


def test_one_after_the_other_tells_both(footage):
    forged, truth = compose(brighten, hum)(footage, np.random.default_rng(0))
    assert forged.frames[0, 0, 0, 0] == 150 and forged.sound[0] == 1
    assert truth.labels == {"video": 1.0, "audio": 1.0, "sync": 0.0}
    assert [name for name, _ in truth.steps] == ["brighten", "hum"] and truth.identities == ("ann", "ben")
    assert truth.region[0, 1, 0] == 255 and truth.region[0, 0, 0] == 0


def test_outside_of_the_span_nothing_changes(footage):
    forged, truth = within(compose(brighten, hum), 0.4, 1.0)(footage, np.random.default_rng(0))
    inside = (footage.times_s >= 0.4) & (footage.times_s < 1.0)
    assert (forged.frames[inside] == 150).all() and (forged.frames[~inside] == 100).all()
    assert truth.region[inside].any() and not truth.region[~inside].any()
    time_s = np.arange(2 * HZ) / HZ
    assert not forged.sound[(time_s < 0.4) | (time_s > 1.0)].any()
    assert (forged.sound[(time_s > 0.43) & (time_s < 0.97)] == 1).all()
    assert np.abs(np.diff(forged.sound)).max() < 1 / (0.019 * HZ)  # faded, no click
    assert truth.spans == (Span(0.5, 1.0, "audio"), Span(0.4, 1.0, "video"))
    assert all(drawn["start_s"] == 0.4 and drawn["end_s"] == 1.0 for _, drawn in truth.steps)


def test_a_span_without_anything_forged_is_genuine(footage):
    forged, truth = within(hum, 1.6, 1.9)(footage, np.random.default_rng(0))
    assert truth.spans == () and truth.labels["audio"] == 0


def test_spans_that_touch_become_one_and_modalities_stay_apart():
    spans = (Span(1.0, 2.0, "video"), Span(0.0, 1.0, "video"), Span(0.5, 3.0, "audio"), Span(2.5, 3.0, "video"))
    assert join_spans(spans) == (Span(0.5, 3.0, "audio"), Span(0.0, 2.0, "video"), Span(2.5, 3.0, "video"))


def test_length_is_that_of_the_longer_stream(footage):
    assert footage.duration_s == pytest.approx(2.0)
    assert replace(footage, sound=np.zeros(3 * HZ, np.float32)).duration_s == pytest.approx(3.0)
    assert replace(footage, frames=None, times_s=None).duration_s == pytest.approx(2.0)
    assert replace(footage, sound=None).duration_s == pytest.approx(2.0)
