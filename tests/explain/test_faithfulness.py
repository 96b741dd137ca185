"""Maps are tested before they are believed: true ones pass, false ones do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from explain.faithfulness import (
    LEAST_DROP,
    Faithfulness,
    examine,
    mark_highest,
    move_at_random,
    pointing,
    temporal_pointing,
)
from explain.maps import ablate, integrate_gradients
from tests.explain.tiny_detectors import Spots, a_target, an_input


@pytest.fixture(scope="module")
def target():
    return a_target(Spots(face=8.0, audio=0.5))


@pytest.fixture(scope="module")
def true_map(target):
    return integrate_gradients(target, steps=8)


def test_a_true_map_passes_and_says_so(target, true_map):
    test = examine(true_map, target, draws=20)
    assert test.passed and test.beats == 1 and test.beats_inserted >= 0.95
    assert test.logit_drop > 3 * abs(test.random_logit_drop) and test.replacement == "blur"
    assert f"lowers the score by {test.drop:.2f}" in test.sentence and "20 draws" in test.sentence
    assert "rely" not in test.sentence


def test_a_map_that_points_elsewhere_fails_and_says_so(target, true_map):
    rng = np.random.default_rng(0)
    wrong = replace(true_map, values={g: rng.permutation(v, axis=2) for g, v in true_map.values.items()})
    wrong.values["face"][:, 2] = 0  # the frame that decides
    wrong.values["audio"][:, 12:19] = 0  # and the moment
    test = examine(wrong, target, draws=20)
    assert not test.passed and test.sentence.endswith("So don't rely on this map.")


def test_the_readable_map_is_tested_alike(target):
    assert examine(ablate(target), target).passed


def test_the_same_seed_gives_the_same_figures(target, true_map):
    first, again, other = (examine(true_map, target, draws=6, seed=seed) for seed in (3, 3, 4))
    assert first == again and first.random_drop != other.random_drop


def test_infidelity_is_low_for_the_truth_and_higher_for_nonsense(target, true_map):
    nonsense = replace(true_map, values={g: np.roll(v, 1, axis=1) for g, v in true_map.values.items()})
    assert examine(true_map, target).infidelity < 0.7 * examine(nonsense, target).infidelity


def test_max_sensitivity_is_measured_when_asked_for(target, true_map):
    assert examine(true_map, target, draws=1).max_sensitivity is None
    moved = examine(true_map, target, draws=1, sensitivity=True).max_sensitivity
    assert 0 < moved < 0.5


def test_a_map_without_evidence_marks_nothing_and_does_not_pass(target, true_map):
    none = replace(true_map, values={g: -np.abs(v) for g, v in true_map.values.items()})
    test = examine(none, target)
    assert not test.passed and test.marked == 0 and "marks nothing" in test.sentence


def test_the_highest_blocks_are_marked_up_to_the_share_and_modalities_weigh_alike(true_map):
    values = {g: np.full(v.shape, 1e-9) for g, v in true_map.values.items()}
    values["audio"][:] = 1.0
    mark = mark_highest(replace(true_map, values=values), 0.1)
    assert mark["audio"].mean() == pytest.approx(0.3, abs=0.01)  # a tenth of everything, of three modalities
    assert not mark["face"].any() and not mark["lips"].any()
    apart = mark_highest(replace(true_map, values=values, in_logits=False), 0.1)
    assert [apart[g].mean() for g in apart] == pytest.approx([0.1] * 3, abs=0.01)


def test_moved_shapes_keep_their_size_and_never_stay(true_map):
    mark = mark_highest(true_map, 0.1)
    rng = np.random.default_rng(1)
    for _ in range(20):
        moved = move_at_random(mark, true_map.layout, rng)
        assert all(moved[g].sum() == mark[g].sum() for g in mark)
        assert not np.array_equal(moved["audio"], mark["audio"])


def test_pointing_counts_the_peak_and_shares_out_ties(true_map):
    values = {g: np.zeros_like(v) for g, v in true_map.values.items()}
    inside = {"face": np.zeros_like(values["face"], bool)}
    inside["face"][0, 1, :5] = True
    values["face"][0, 1, 3] = 2.0
    assert pointing(replace(true_map, values=values), inside) == 1
    values["face"][0, 3, 9] = 2.0
    assert pointing(replace(true_map, values=values), inside) == 0.5
    values["audio"][0, 0, 0] = 99.0  # not asked for
    assert pointing(replace(true_map, values=values), inside) == 0.5


def test_temporal_pointing_against_known_segments(target, true_map):
    values = {g: v if g == "face" else np.zeros_like(v) for g, v in true_map.values.items()}
    face_only = replace(true_map, values=values)
    assert temporal_pointing(face_only, np.array([0.0]), [(0.5, 0.75)])[0] == 1
    hit, chance = temporal_pointing(face_only, np.array([0.0]), [(0.0, 0.5)])
    assert hit == 0 and chance == pytest.approx(0.5, abs=0.02)


def test_several_windows_are_tested_together():
    target = a_target(Spots(face=8.0, audio=0.5), an_input(n=2))
    assert examine(integrate_gradients(target, steps=4), target, draws=10).passed


def test_the_sentence_speaks_of_rising_scores_too():
    test = Faithfulness(0.1, "blur", 20, drop=0.41, random_drop=-0.06, logit_drop=1.9, random_logit_drop=-0.3,
                        beats=1.0)
    assert test.sentence == ("Removing the marked 10 % lowers the score by 0.41; a random 10 % raises it by 0.06 "
                             "(20 draws).")
    assert not replace(test, logit_drop=-0.1).passed and not replace(test, beats=0.9).passed


def test_a_drop_that_nobody_would_see_passes_no_test():
    hardly = Faithfulness(0.1, "blur", 20, drop=0.01, logit_drop=0.04, random_drop=0.0, beats=1.0)
    assert not hardly.passed and hardly.sentence.endswith(
        "lowers the score by 0.01; a random 10 % lowers it by 0.00 (20 draws). That is too little to explain the "
        "score, so don't rely on this map.")
    assert replace(hardly, logit_drop=LEAST_DROP).passed


def test_the_sentence_adds_log_odds_where_the_score_is_saturated():
    test = Faithfulness(0.1, "blur", 20, drop=0.004, logit_drop=3.2, random_logit_drop=0.01, beats=1.0)
    assert "by 0.00 (3.20 in log-odds); a random 10 % lowers it by 0.00 (0.01 in log-odds) (20" in test.sentence
