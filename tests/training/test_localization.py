"""AP and AR on spans small enough to be counted, and beside the package of those who defined them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from detectors import Segment, WindowScores
from detectors.proposals import interval_iou
from training.localization import (
    AP_IOUS,
    AR_COUNTS,
    AR_IOUS,
    average_precision,
    average_recall,
    covers_whole,
    measure_spans,
    propose_segments,
    span_intervals,
    true_spans,
)

NOTHING = np.zeros((0, 3))
GENUINE = np.zeros((0, 2))


def spans(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, float)


# ---- AP -------------------------------------------------------------------------------------------------------


def test_ap_by_hand():
    """Two true spans in two clips, and a genuine clip. Best first: a hit (precision 1, recall 1/2), a false alarm in
    the genuine clip, a hit (2/3, 1). Area: 1/2 · 1 + 1/2 · 2/3."""
    truths = [spans((1, 2)), spans((4, 6)), GENUINE]
    proposals = [spans((0.9, 1, 2)), spans((0.3, 4, 6)), spans((0.5, 0, 1))]
    assert average_precision(proposals, truths, 0.5) == pytest.approx(1 / 2 + 1 / 3)


def test_precision_is_the_best_at_this_recall_or_beyond():
    """False alarm first, then two hits: precision 0, 1/2, 2/3 becomes 2/3 throughout."""
    proposals = [spans((0.9, 8, 9), (0.8, 1, 2), (0.7, 4, 6))]
    assert average_precision(proposals, [spans((1, 2), (4, 6))], 0.5) == pytest.approx(2 / 3)


def test_a_true_span_is_hit_once_and_by_the_better_proposal():
    """Of two proposals for one span the worse one is a false alarm, wherever it stands in the clip's list."""
    truths = [spans((1, 2), (5, 6))]
    proposals = [spans((0.5, 1, 2), (0.4, 5, 6), (0.9, 1, 2.1))]
    assert average_precision(proposals, truths, 0.5) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_an_overlap_at_the_threshold_is_not_above_it():
    truth, half = [spans((0, 2))], [spans((1, 0, 1))]  # IoU 1/2
    assert average_precision(half, truth, 0.5) == 0
    assert average_precision(half, truth, 0.49) == 1


def test_a_clip_without_proposals_misses_its_spans():
    truths = [spans((1, 2)), spans((1, 2))]
    assert average_precision([spans((0.9, 1, 2)), NOTHING], truths, 0.5) == pytest.approx(1 / 2)
    assert average_recall([spans((0.9, 1, 2)), NOTHING], truths, 5) == pytest.approx(1 / 2)
    assert average_precision([NOTHING, NOTHING], truths, 0.5) == 0


def test_without_true_spans_there_is_nothing_to_measure():
    assert math.isnan(average_precision([spans((0.9, 1, 2))], [GENUINE], 0.5))
    assert math.isnan(average_recall([spans((0.9, 1, 2))], [GENUINE], 5))


# ---- AR -------------------------------------------------------------------------------------------------------


def test_ar_by_hand():
    """IoU 0.72 is above .5, .55, .6, .65 and .7: half of the ten thresholds."""
    assert average_recall([spans((0.9, 0, 0.72))], [spans((0, 1))], 5) == pytest.approx(0.5)


def test_only_the_best_n_proposals_count():
    proposals = [spans((0.9, 8, 9), (0.1, 0, 1), (0.5, 7, 8))]
    assert average_recall(proposals, [spans((0, 1))], 2) == 0
    assert average_recall(proposals, [spans((0, 1))], 3) == 1
    assert AR_COUNTS == (100, 50, 20, 10, 5) and len(AR_IOUS) == 10


def test_all_measures_have_names():
    measured = measure_spans([spans((0.9, 0, 0.92))], [spans((0, 1))])
    assert measured == pytest.approx({"ap_50": 1, "ap_75": 1, "ap_90": 1, "ap_95": 0,
                                      **{f"ar_{n}": 0.9 for n in (100, 50, 20, 10, 5)}})


def test_intervals_hold_the_figure_and_are_a_point_where_all_people_are_alike():
    proposals, truths = random_clips(0)
    intervals = span_intervals(proposals, truths, [str(i) for i in range(40)], draws=100)
    measured = measure_spans(proposals, truths)
    for name in ("ap_50", "ar_20"):
        low, high = intervals[name]
        assert low < measured[name] < high < low + 0.5
    alike = [spans((0.9, 0, 0.92))] * 4, [spans((0, 1))] * 4
    intervals = span_intervals(*alike, list("aabb"), draws=20)
    assert intervals["ap_50"] == pytest.approx((1, 1)) and intervals["ar_20"] == pytest.approx((0.9, 0.9))


# ---- beside the package of those who defined them -------------------------------------------------------------


def random_clips(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """40 clips of 10 s with up to 3 true spans, and proposals of which some lie near them."""
    rng = np.random.default_rng(seed)
    proposals, truths = [], []
    for _ in range(40):
        truth = np.sort(rng.uniform(0, 10, 2 * rng.integers(0, 4))).reshape(-1, 2)
        rows = np.sort(rng.uniform(0, 10, (rng.integers(1, 60), 2)), axis=1)
        if len(truth):
            near = truth[rng.integers(len(truth), size=6)] + rng.normal(0, 0.1, (6, 2))
            rows = np.concatenate([rows, np.sort(near, axis=1)])
        score = np.sort(rng.random(len(rows)))[::-1]
        proposals.append(np.column_stack([score, rng.permutation(rows)]))
        truths.append(truth)
    return proposals, truths


def first_step(proposals: list[np.ndarray], truths: list[np.ndarray], iou: float) -> float:
    """The area that the package leaves out: up to the best proposal's recall, at precision 1 where that is a hit."""
    best, truth = max(zip(proposals, truths), key=lambda clip: clip[0][0, 0])
    return (interval_iou(best[:1, 1:], truth) > iou).any() / sum(map(len, truths))


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_the_official_package(tmp_path, seed):
    try:
        from avdeepfake1m.evaluation import ap_ar_1d
    except ImportError:
        pytest.skip("avdeepfake1m (CC BY-NC 4.0, for comparison alone) or what it needs is not installed")
    proposals, truths = random_clips(seed)
    told, known = tmp_path / "told.json", tmp_path / "known.json"
    told.write_text(json.dumps({str(i): p.tolist() for i, p in enumerate(proposals)}))
    known.write_text(json.dumps([{"file": str(i), "fake_segments": t.tolist()} for i, t in enumerate(truths)]))
    official = ap_ar_1d(str(told), str(known), "file", "fake_segments", 1, list(AP_IOUS), list(AR_COUNTS),
                        [float(iou) for iou in AR_IOUS])
    ours = [average_precision(proposals, truths, iou) - first_step(proposals, truths, iou) for iou in AP_IOUS]
    assert ours == pytest.approx(list(official["ap"].values()), abs=1e-5)
    ours = {count: average_recall(proposals, truths, count) for count in AR_COUNTS}
    assert ours == pytest.approx(official["ar"], abs=1e-5)
    assert ours[5] < ours[100]


# ---- from labels and scores to spans --------------------------------------------------------------------------


def test_true_spans_are_joined_and_end_with_the_clip():
    known = [("video", 2.0, 3.0), ("audio", 2.5, None), ("video", 0.0, 1.0), ("sync", 20.0, 21.0)]
    assert true_spans(known, 8.0).tolist() == [[0, 1], [2, 8]]
    assert true_spans(known, 8.0, "video").tolist() == [[0, 1], [2, 3]]
    assert true_spans(known, 8.0, "sync").shape == true_spans([("video", 1.0, 1.0)], 8.0).shape == (0, 2)
    assert true_spans([("audio", 0.0, math.inf)], 8.0).tolist() == [[0, 8]]


def test_a_forgery_of_nearly_everything_is_not_one_of_a_part():
    assert covers_whole(spans((0, 9)), 10) and not covers_whole(spans((0, 4), (5, 9)), 10)
    assert not covers_whole(GENUINE, 10)


def scores_of(video: list[float] | None, audio: list[float] | None = None, **rest) -> WindowScores:
    n = len(video or audio)
    start_s = np.arange(n, dtype=float)
    return WindowScores(start_s, start_s + 1, None if video is None else np.array(video),
                        None if audio is None else np.array(audio), None, None, **rest)


def test_a_peak_is_the_first_proposal_and_what_it_stands_in_comes_later():
    proposed = propose_segments([scores_of([0.1, 0.2, 0.9, 0.1, np.nan, 0.3])], 6.0)
    first = proposed[0]
    assert (first.start_s, first.end_s, first.score, first.modality) == pytest.approx((2, 3, 0.9, "video"))
    assert {(round(p.start_s, 3), round(p.end_s, 3)) for p in proposed} == {(2, 3), (5, 6), (1, 3), (0, 4)}
    assert [p.score for p in proposed] == sorted((p.score for p in proposed), reverse=True)


def test_sound_is_proposed_once_however_many_faces_there_are():
    tracks = [scores_of([0.5, 0.5], [0.2, 0.8], track_id=k) for k in (0, 1)]
    sound = [p for p in propose_segments(tracks, 2.0) if p.modality == "audio"]
    assert [(round(p.start_s, 3), round(p.end_s, 3)) for p in sound] == [(1, 2), (0, 2)]


def test_a_detector_s_own_proposals_are_taken_as_they_are():
    own = (Segment(0.0, 0.4, 0.2, "video"), Segment(0.5, 0.9, 0.6, "video"))
    assert propose_segments([scores_of([0.9], proposals=own)], 1.0) == own[::-1]
    assert propose_segments([scores_of([0.9], proposals=())], 1.0) == ()
    assert propose_segments([], 1.0) == ()
