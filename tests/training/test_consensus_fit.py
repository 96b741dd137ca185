"""Weights of detectors, from clips that nobody learnt from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from detectors import Verdict
from detectors.consensus import Voice
from training import consensus
from training.consensus import LEAST_CLIPS, counts, fit, fit_set, heard


def sample(number: int, fake: float) -> SimpleNamespace:
    return SimpleNamespace(folder="shards", key=str(number), group=str(number), forged="", coded="",
                           source=f"s{number % 3}", video_fake=fake, audio_fake=np.nan, sync_fake=np.nan)


def say(score: float | None, sync: float | None = None) -> Voice:
    return Voice(score, Verdict.NO_SIGNS, score, sync)


def test_who_knows_counts_and_who_guesses_does_not(monkeypatch):
    monkeypatch.setattr(consensus, "RIDGE", 0.0)
    rng = np.random.default_rng(0)
    fake = (np.arange(2000) % 2).astype(float)
    knows = (2 * fake - 1) + rng.normal(0, 1, 2000)  # log-odds 2 x for unit noise about -1 and 1
    weights, bias = fit(np.stack([knows, rng.normal(0, 1, 2000), -knows], axis=1), fake, np.full(2000, 1 / 2000))
    assert weights[0] == pytest.approx(2, abs=0.25) and weights[1] < 0.1
    assert weights[2] == 0  # never turned round
    assert bias == pytest.approx(0, abs=0.1)


def test_weights_are_pulled_towards_equal_ones():
    """Two who say the same thing share its weight, and one who guesses keeps some of his."""
    rng = np.random.default_rng(0)
    fake = (np.arange(2000) % 2).astype(float)
    knows = (2 * fake - 1) + rng.normal(0, 1, 2000)
    weights, _ = fit(np.stack([knows, knows, rng.normal(0, 1, 2000)], axis=1), fake, np.full(2000, 1 / 2000))
    assert weights[0] == pytest.approx(weights[1], abs=1e-3) and 0.3 < weights[0] < 1 and 0.05 < weights[2] < 1 / 3


def test_sources_count_alike_however_many_clips_they_have():
    """Genuine ones of two sources, of which one has three clips; fakes of one, which has two."""
    sources, fake = ["a", "b", "b", "b", "a", "a"], np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    assert counts(sources, fake) == pytest.approx([1 / 4, *[1 / 12] * 3, 1 / 4, 1 / 4])


def test_a_set_is_fitted_on_what_all_of_it_judged():
    samples = {n: sample(n, float(n % 2)) for n in range(40)}
    said = {n: {"a": say(0.9 if n % 2 else 0.1), "b": say(None if n < 4 else 0.5)} for n in samples}
    made, worth = fit_set(("a", "b"), said, samples)
    assert worth["clips"] == 36 and worth["genuine"] == 18 and worth["auc"] == 1
    assert made.weights["a"] > made.weights["b"] and made.manipulated >= 0.8 and made.suspicious >= 0.6
    assert made.score({"a": say(0.9), "b": say(0.5)}) > 0.8 > 0.2 > made.score({"a": say(0.1), "b": say(0.5)})
    with pytest.raises(ValueError, match="no genuine, or no fake"):
        fit_set(("a", "b"), said, {n: s for n, s in samples.items() if n % 2})


def test_mismatched_clips_teach_no_weights_and_still_count():
    """They look genuine but for their sync, which alone ranks them; the weights are those without them."""
    samples = {n: sample(n, float(n % 2)) for n in range(40)}
    said = {n: {"a": say(0.9 if n % 2 else 0.1, 0.1), "b": say(0.5)} for n in samples}
    without, _ = fit_set(("a", "b"), said, samples)
    for n in range(40, 60):
        samples[n] = SimpleNamespace(**{**vars(sample(n, 0.0)), "sync_fake": 1.0})
        said[n] = {"a": say(0.1, 0.9999), "b": say(0.5)}
    made, worth = fit_set(("a", "b"), said, samples)
    assert made.weights == without.weights and made.bias == without.bias
    assert worth["clips"] == 60 and worth["genuine"] == 20 and worth["auc"] == 1


def test_genuine_copies_through_codecs_raise_thresholds_and_nothing_else():
    samples = {n: sample(n, float(n % 2)) for n in range(80)}
    said = {n: {"a": say(0.9 if n % 2 else 0.1), "b": say(0.5)} for n in samples}
    without, worth_without = fit_set(("a", "b"), said, samples)
    for n in range(80, 120, 2):
        samples[n] = SimpleNamespace(**{**vars(sample(n, 0.0)), "coded": "amr 8 kHz"})
        said[n] = {"a": say(0.9), "b": say(0.5)}
    made, worth = fit_set(("a", "b"), said, samples)
    assert (made.weights, made.bias) == (without.weights, without.bias)
    assert worth == {**worth_without, "coded": 20} and made.manipulated > without.manipulated


def test_who_held_out_other_clips_than_the_rest_has_no_say():
    everything = {("shards", str(n)) for n in range(4 * LEAST_CLIPS)}
    first, second = ({("shards", str(n)) for n in range(start, start + 2 * LEAST_CLIPS)} for start in (0, LEAST_CLIPS))
    last = {("shards", str(n)) for n in range(3 * LEAST_CLIPS + 1, 4 * LEAST_CLIPS)}
    assert heard({"a": everything, "b": first, "c": second}) == ("a", "b", "c")  # b and c share LEAST_CLIPS
    assert heard({"a": everything, "b": first, "c": last}) == ("a", "b")
    assert heard({"a": everything, "b": last, "c": second}) == ("a", "c")
    with pytest.raises(ValueError, match="no two"):
        heard({"b": first, "c": last})
