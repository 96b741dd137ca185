"""Overlap of spans and soft-NMS against numbers worked out by hand."""

import math

import numpy as np
import pytest

from detectors.proposals import interval_iou, soft_nms


def test_overlap_by_hand():
    a = np.array([[0.0, 2.0], [1.0, 4.0]])
    b = np.array([[1.0, 3.0], [5.0, 6.0], [0.0, 2.0]])
    # [0, 2] and [1, 3]: 1 of 3 s. [1, 4] and [1, 3]: 2 of 3. [1, 4] and [0, 2]: 1 of 4.
    np.testing.assert_allclose(interval_iou(a, b), [[1 / 3, 0, 1], [2 / 3, 0, 1 / 4]])


def test_a_span_of_no_length_overlaps_nothing():
    point = np.array([[1.0, 1.0]])
    assert interval_iou(point, point) == 0
    assert interval_iou(point, np.array([[0.0, 2.0]])) == 0


def test_soft_nms_by_hand():
    spans = np.array([[0.0, 2.0], [0.0, 1.0], [5.0, 6.0]])
    scores = np.array([0.9, 0.8, 0.3])
    rows, kept = soft_nms(spans, scores, sigma=0.5)
    # [0, 1] lies half in [0, 2]: .8 exp(-.25 / .5) = .485, still ahead of .3, which overlaps neither.
    assert rows.tolist() == [0, 1, 2]
    np.testing.assert_allclose(kept, [0.9, 0.8 * math.exp(-0.5), 0.3])


def test_soft_nms_lowers_again_for_every_span_that_is_taken():
    spans = np.array([[0.0, 4.0], [0.0, 2.0], [2.0, 4.0], [0.0, 4.0]])
    scores = np.array([1.0, 0.9, 0.85, 0.95])
    rows, kept = soft_nms(spans, scores, sigma=1.0)
    # After [0, 4]: .9 e^-.25, .85 e^-.25 and .95 e^-1. The two halves do not touch each other; the copy of the
    # whole meets both: .95 e^-1 e^-.25 e^-.25.
    assert rows.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(kept, [1, 0.9 * math.exp(-0.25), 0.85 * math.exp(-0.25), 0.95 * math.exp(-1.5)])


def test_the_weak_and_the_many_are_left_out():
    spans = np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    scores = np.array([0.5, 0.4, 0.3, 0.2])
    rows, _ = soft_nms(spans, scores, sigma=0.5, least=0.1)
    assert rows.tolist() == [0, 2, 3]  # .4 e^-2 = .054
    assert soft_nms(spans, scores, most=2)[0].tolist() == [0, 2]


def test_no_spans_and_the_given_arrays_stay_as_they_are():
    rows, kept = soft_nms(np.zeros((0, 2)), np.zeros(0))
    assert len(rows) == len(kept) == 0
    scores = np.array([0.9, 0.8])
    soft_nms(np.array([[0.0, 1.0], [0.0, 1.0]]), scores)
    assert scores.tolist() == [0.9, 0.8]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_order_of_the_rows_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    spans = np.sort(rng.uniform(0, 10, (12, 2)), axis=1)
    scores = rng.permutation(12) / 12 + 0.05
    shuffled = rng.permutation(12)
    rows, kept = soft_nms(spans, scores)
    rows_2, kept_2 = soft_nms(spans[shuffled], scores[shuffled])
    np.testing.assert_array_equal(rows, shuffled[rows_2])
    np.testing.assert_allclose(kept, kept_2)
