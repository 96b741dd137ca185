"""Measures on examples small enough to be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.metrics import (
    auc,
    bootstrap_interval,
    calibration_error_by_chance,
    eer,
    expected_calibration_error,
    partial_auc,
    rates_at,
    reliability,
    risk_coverage,
    stratified_auc,
)


def columns(real: list[float], fake: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([*real, *fake], float), np.array([0] * len(real) + [1] * len(fake), float)


def mean_score(score: np.ndarray, fake: np.ndarray) -> float:
    return float(score.mean())


# ---- AUC ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("real, fake, expected", [
    ([1, 2], [2, 3], 3.5 / 4),  # 2 > 1, 2 = 2, 3 > 1, 3 > 2
    ([1, 2, 3], [4], 1.0),
    ([4], [1, 2, 3], 0.0),
    ([5, 5, 5], [5, 5], 0.5),
    ([0.1, 0.4, 0.35], [0.3, 0.8], 4 / 6),  # 0.3 beats one of three, 0.8 all
])
def test_auc_is_the_share_of_pairs_in_order_with_ties_as_half(real, fake, expected):
    assert auc(*columns(real, fake)) == pytest.approx(expected)


def test_auc_does_not_depend_on_order_or_scale():
    score, fake = columns([0.1, 0.5, 0.6], [0.4, 0.55, 0.9])
    shuffled = np.random.default_rng(0).permutation(6)
    assert auc(score[shuffled], fake[shuffled]) == auc(np.exp(5 * score), fake) == auc(score, fake)


def test_measures_of_one_class_are_not_a_number():
    for real, fake in (([], [0.1, 0.2]), ([0.1, 0.2], [])):
        assert all(math.isnan(measure(*columns(real, fake))) for measure in (auc, eer, partial_auc))


# ---- within strata --------------------------------------------------------------------------------------------


def test_only_pairs_of_the_same_stratum_count():
    """In a: 0.3 > 0.2 and 0.3 = 0.3, in b: 0.1 < 0.9. Of three pairs, one and a half are right; c has no genuine one,
    and that its fake scores above everybody counts for nothing."""
    score, fake = columns([0.2, 0.3, 0.9], [0.3, 0.1, 1.0])
    assert stratified_auc(score, fake, ["a", "a", "b", "a", "b", "c"]) == pytest.approx(1.5 / 3)
    assert math.isnan(stratified_auc(score, fake, list("aaabbb")))


def test_strata_agree_with_counting_pair_by_pair():
    rng = np.random.default_rng(1)
    score, fake, strata = np.round(rng.random(80), 1), rng.integers(0, 2, 80).astype(float), rng.integers(0, 9, 80)
    pairs = [(score[i] > score[j]) + 0.5 * (score[i] == score[j]) for i in range(80) for j in range(80)
             if fake[i] and not fake[j] and strata[i] == strata[j]]
    assert stratified_auc(score, fake, strata) == pytest.approx(np.mean(pairs))
    assert stratified_auc(score, fake, ["one"] * 80) == pytest.approx(auc(score, fake))


# ---- partial AUC and rates ------------------------------------------------------------------------------------


def test_partial_auc_by_hand():
    """Two fakes, twenty genuine clips. One fake lies above all of them, the other above all but one: the curve is
    at 1/2 up to FPR 1/20 and at 1 from there on. Area up to 1/10: 1/40 + 1/20 = 3/40; chance has 1/200, perfection
    1/10. So (1 + (3/40 - 1/200) / (1/10 - 1/200)) / 2 = (1 + 14/19) / 2."""
    score, fake = columns([0.8] + [0.1] * 19, [0.9, 0.7])
    assert partial_auc(score, fake) == pytest.approx(33 / 38)


def test_partial_auc_of_nothing_told_is_a_half_and_of_everything_told_one():
    assert partial_auc(*columns([0.5] * 7, [0.5] * 3)) == pytest.approx(0.5)
    assert partial_auc(*columns([0.1, 0.2], [0.3, 0.4])) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))
def test_partial_auc_agrees_with_an_independent_one(seed):
    rng = np.random.default_rng(seed)
    fake = rng.integers(0, 2, 60).astype(float)
    score = np.round(fake * 0.3 + rng.random(60), 1)  # with ties
    assert partial_auc(score, fake) == pytest.approx(roc_auc_score(fake, score, max_fpr=0.1))


def test_rates_at_a_threshold_that_counts_as_reached():
    score, fake = columns([0.1, 0.5, 0.2, 0.3], [0.5, 0.9, 0.4])
    assert rates_at(score, fake, 0.5) == pytest.approx({"accuracy": 5 / 7, "tpr": 2 / 3, "fpr": 1 / 4})
    alone = rates_at(*columns([0.1, 0.9], []), 0.5)
    assert alone["accuracy"] == alone["fpr"] == 0.5 and math.isnan(alone["tpr"])


# ---- EER ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("real, fake, expected", [
    ([0.1, 0.2, 0.3, 0.6], [0.4, 0.5, 0.7, 0.8], 1 / 4),  # at 0.5: 0.4 is missed, 0.6 is an alarm
    ([0.1, 0.2, 0.9], [0.5, 0.6], (1 / 2 + 1 / 3) / 2),  # at 0.6: one of two missed, one of three an alarm
    ([0.1, 0.2], [0.8, 0.9], 0.0),
    ([0.8, 0.9], [0.1, 0.2], 1.0),
    ([0.5, 0.5], [0.5], 0.5),
])
def test_eer_is_where_misses_and_alarms_meet(real, fake, expected):
    assert eer(*columns(real, fake)) == pytest.approx(expected)


# ---- calibration ----------------------------------------------------------------------------------------------


def test_calibration_error_by_hand():
    """Two bins of two: mean score 0.15 against half fakes, 0.85 against all fakes: (0.35 + 0.15) / 2."""
    score, fake = np.array([0.9, 0.1, 0.8, 0.2]), np.array([1, 0, 1, 1])
    assert expected_calibration_error(score, fake, bins=2) == pytest.approx(0.25)


def test_calibration_error_weighs_bins_by_their_mass():
    """Five rows in two bins: three at 0.2 without fakes (off by 0.2), two at 0.9 with fakes (off by 0.1)."""
    score, fake = np.array([0.2, 0.2, 0.2, 0.9, 0.9]), np.array([0, 0, 0, 1, 1])
    assert expected_calibration_error(score, fake, bins=2) == pytest.approx((3 * 0.2 + 2 * 0.1) / 5)


def test_calibrated_scores_have_no_error_and_few_rows_are_enough():
    assert expected_calibration_error(np.full(10, 0.3), np.array([1, 1, 1] + [0] * 7), bins=1) == pytest.approx(0)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([0, 1])) == 0


def test_reliability_by_hand():
    """Sorted: 0.1, 0.2 (one of two fake) and 0.8, 0.8, 0.9 (two of three); five clips in two groups are three and
    two, so 0.8 goes to the lower one."""
    score, fake = np.array([0.9, 0.1, 0.8, 0.2, 0.8]), np.array([1, 0, 0, 1, 1])
    low, high = reliability(score, fake, bins=2, least=2)
    assert low == pytest.approx({"score": (0.1 + 0.2 + 0.8) / 3, "fake": 1 / 3, "clips": 3})
    assert high == pytest.approx({"score": 0.85, "fake": 1, "clips": 2})


@pytest.mark.parametrize("clips, groups", [(0, []), (1, [1]), (19, [19]), (20, [10, 10]), (35, [12, 12, 11]),
                                           (104, [11, 11, 11, 11, 10, 10, 10, 10, 10, 10])])
def test_few_clips_make_few_groups_and_every_clip_is_in_one(clips, groups):
    score = np.random.default_rng(0).permutation(np.linspace(0, 1, clips))
    found = reliability(score, (score > 0.5).astype(float))
    assert [g["clips"] for g in found] == groups
    assert sum(g["clips"] * g["score"] for g in found) == pytest.approx(score.sum())
    assert [g["score"] for g in found] == sorted(g["score"] for g in found)


def test_the_calibration_error_is_the_mean_distance_of_the_diagram_from_its_diagonal():
    rng = np.random.default_rng(2)
    score, fake = rng.random(200), rng.integers(0, 2, 200).astype(float)
    distance = np.mean([abs(g["score"] - g["fake"]) for g in reliability(score, fake)])  # groups of equal count
    assert expected_calibration_error(score, fake) == pytest.approx(distance)
    assert math.isnan(expected_calibration_error(np.array([]), np.array([])))


def test_scores_that_are_exactly_right_show_an_error_too_where_clips_are_few():
    """A hundred clips of score 1/2 in ten groups: a group's share is off by .126 on average, as ten coins are."""
    mean, most = calibration_error_by_chance(np.full(100, 0.5))
    coins = sum(math.comb(10, heads) / 2**10 * abs(heads / 10 - 0.5) for heads in range(11))
    assert mean == pytest.approx(coins, abs=0.003) and mean < most < 0.2
    many, _ = calibration_error_by_chance(np.full(10_000, 0.5), draws=50)
    assert many == pytest.approx(mean / 10, rel=0.1), "ten times less on a hundred times as many"
    assert calibration_error_by_chance(np.array([0.0, 1.0])) == (0, 0)
    assert math.isnan(calibration_error_by_chance(np.array([]))[0])


# ---- intervals ------------------------------------------------------------------------------------------------


def test_one_person_with_many_clips_makes_the_interval_wide():
    """60 clips: 50 of one person, all scored 1, and one each of ten others, scored 0."""
    score = np.array([1.0] * 50 + [0.0] * 10)
    groups = ["often seen"] * 50 + [f"person {i}" for i in range(10)]
    by_group = bootstrap_interval(mean_score, score, score, groups)
    by_row = bootstrap_interval(mean_score, score, score, [str(i) for i in range(60)])
    assert by_row[1] - by_row[0] < 0.25
    assert by_group[1] - by_group[0] > 0.75  # that person is drawn never, once or several times
    for low, high in (by_group, by_row):
        assert low <= 50 / 60 <= high


def test_interval_of_groups_that_agree_is_a_point():
    score = np.tile([0.2, 0.4], 5)
    groups = np.repeat(list("abcde"), 2)
    assert bootstrap_interval(mean_score, score, score, groups) == pytest.approx((0.3, 0.3))


def test_interval_is_the_same_for_the_same_seed_and_narrows_with_more_groups():
    rng = np.random.default_rng(0)

    def interval(n: int, seed: int = 0):
        score = rng.permutation(np.linspace(0, 1, n))
        return bootstrap_interval(mean_score, np.sort(score), score, [str(i) for i in range(n)], seed=seed)

    assert interval(20) == interval(20) != interval(20, seed=1)
    few, many = interval(10), interval(200)
    assert many[1] - many[0] < 0.4 * (few[1] - few[0])


def test_interval_is_not_a_number_when_most_draws_lack_a_class():
    """The one fake of nine people is left out of a draw with a chance of (8/9)⁹ = 0.35: enough draws remain."""
    score, fake = columns([0.1] * 8, [0.9])
    assert bootstrap_interval(auc, score, fake, [str(i) for i in range(9)]) == (1.0, 1.0)
    only_real = np.zeros(9)
    assert all(math.isnan(v) for v in bootstrap_interval(auc, score, only_real, [str(i) for i in range(9)]))


def test_the_most_certain_answers_come_first_and_ties_together():
    """Certainty 3/8 (right), 1/4 twice (one wrong), 1/8 (wrong): one of four, three, all are answered."""
    score, fake = np.array([0.875, 0.25, 0.75, 0.375]), np.array([1, 0, 0, 1])
    coverage, risk = risk_coverage(score, fake)
    np.testing.assert_allclose(coverage, [0.25, 0.75, 1.0])
    np.testing.assert_allclose(risk, [0, 1 / 3, 1 / 2])
    assert all(len(part) == 0 for part in risk_coverage(np.zeros(0), np.zeros(0)))
    np.testing.assert_allclose(risk_coverage(np.array([0.5, 0.5]), np.array([1, 0])), [[1.0], [0.5]])
