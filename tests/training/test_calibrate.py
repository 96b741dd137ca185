"""Scores become probabilities, and thresholds keep their promise on the clips they were drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from training.calibrate import FLOORS, calibrate, fit_platt, threshold_at
from training.refit import refit
from training.train import train


def test_platt_finds_the_scale_and_the_bias_that_made_the_labels():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20_000)
    fake = (rng.random(20_000) < 1 / (1 + np.exp(-(1.7 * logit - 0.0)))).astype(float)
    fit = fit_platt(logit, fake)
    assert fit["scale"] == pytest.approx(1.7, abs=0.08) and fit["bias"] == pytest.approx(0, abs=0.08)


def test_classes_count_alike_however_many_there_are():
    logit = np.r_[np.full(900, -1.0), np.full(100, 1.0), np.full(90, 1.0), np.full(10, -1.0)]
    fake = np.r_[np.zeros(1000), np.ones(100)]
    fit = fit_platt(logit, fake)  # 9 of 10 on the right side in both classes: the odds at +1 are 9 to 1
    assert fit["bias"] == pytest.approx(0, abs=0.01) and fit["scale"] == pytest.approx(np.log(9), abs=0.05)


def test_calibration_never_turns_a_score_round():
    assert fit_platt(np.array([-1.0, -0.5, 0.5, 1.0]), np.array([1.0, 1.0, 0.0, 0.0]))["scale"] > 0


@pytest.mark.parametrize(("share", "reaching"), [(0.05, 1), (0.15, 3), (0.0, 0)])
def test_a_threshold_lets_at_most_its_share_of_genuine_clips_through(share, reaching):
    genuine = np.random.default_rng(1).random(20)
    threshold = threshold_at(genuine, share)
    assert (genuine >= threshold).sum() == reaching
    below = genuine[genuine < threshold].max()
    assert (genuine >= below).sum() == reaching + 1  # no lower threshold would do


def test_ties_do_not_break_the_promise():
    assert (np.full(20, 0.7) >= threshold_at(np.full(20, 0.7), 0.05)).sum() == 0


@pytest.mark.timeout(300)
def test_from_a_run_to_a_checkpoint(recipe, four_kinds, tmp_path):
    """training.train, training.refit and training.calibrate hand their files on to each other."""
    run = tmp_path / "run"
    train(recipe(), four_kinds, run, resume=False)
    report = refit(run, four_kinds, None, jobs=1)
    assert report.keys() == {"video", "audio", "whole"}
    assert all(0 <= part[when] <= 1 for part in report.values() for when in ("before", "after"))
    state, card = calibrate(run, four_kinds)
    assert card["refit"] == report and card["provisional"] is True
    assert all(fit["scale"] > 0 for fit in card["calibration"].values())
    thresholds = card["thresholds"]
    assert thresholds["manipulated"] >= FLOORS["manipulated"] and thresholds["suspicious"] >= FLOORS["suspicious"]
    assert thresholds["segment_off"] < thresholds["segment_on"]
    assert card["data"]["training"]["clips"] + card["data"]["development"]["clips"] == 8
    assert [line.split()[2] for line in card["commands"] if line.startswith("python")][0] == "training.prepare"
    assert not any(name.startswith("style_heads") for name in state)
