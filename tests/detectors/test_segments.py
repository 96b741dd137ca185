"""Curves, hysteresis and clip scores, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.contract import Segment, Thresholds, WindowScores
from detectors.segments import STEP_S, clip_score, find_segments, mark_segments, mean_over_tracks, score_curve

THRESHOLDS = Thresholds(manipulated=0.9, suspicious=0.6, segment_on=0.5, segment_off=0.3, min_segment_s=0.5,
                        min_gap_s=0.5)


def segments_of(curve, thresholds=THRESHOLDS):
    curve = np.asarray(curve, float)
    centres = (np.arange(len(curve)) + 0.5) * STEP_S
    return find_segments(centres, curve, thresholds, modality="video", track_id=0, duration_s=len(curve) * STEP_S)


def test_the_curve_is_the_mean_of_the_windows_that_cover_a_moment():
    centres, curve = score_curve(np.array([0.0, 0.4]), np.array([0.8, 1.2]), np.array([0.2, 0.6]), 1.4)
    assert centres == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
    assert curve[:6] == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.6, 0.6])
    assert np.isnan(curve[6])


def test_windows_that_were_not_judged_leave_the_curve_open():
    _, curve = score_curve(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([np.nan, 0.7]), 2.0)
    assert np.isnan(curve[:5]).all() and curve[5:] == pytest.approx(0.7)


def test_a_segment_opens_high_closes_low_and_takes_its_rise_along():
    (segment,) = segments_of([0.1, 0.4, 0.6, 0.4, 0.35, 0.2, 0.1])
    assert (segment.start_s, segment.end_s, segment.score) == pytest.approx((0.2, 1.0, 0.6))
    assert segments_of([0.1, 0.45, 0.49, 0.4, 0.1]) == ()  # never above segment_on


def test_close_segments_join_and_short_ones_go():
    joined = segments_of([0.6, 0.6, 0.6, 0.1, 0.1, 0.6, 0.6, 0.6])  # a gap of 0.4 s
    assert [(s.start_s, s.end_s) for s in joined] == [pytest.approx((0.0, 1.6))]
    apart = segments_of([0.6, 0.6, 0.6, 0.1, 0.1, 0.1, 0.6, 0.6, 0.6])  # a gap of 0.6 s
    assert len(apart) == 2
    assert segments_of([0.1, 0.9, 0.9, 0.1]) == ()  # 0.4 s


def test_missing_scores_close_a_segment():
    first, second = segments_of([0.9] * 4 + [np.nan] * 4 + [0.9] * 4)
    assert (first.end_s, second.start_s) == pytest.approx((0.8, 1.6))


def test_the_clip_score_is_the_mean_of_the_higher_half():
    assert clip_score([0.1, 0.2, 0.7, 0.9]) == pytest.approx(0.8)
    assert clip_score([0.1, np.nan, 0.5, 0.9]) == pytest.approx(0.7)  # of 0.1, 0.5, 0.9 the upper two
    assert clip_score([np.nan]) is None
    assert clip_score(None) is None


def scores(track, video, audio):
    start = np.array([0.0, 1.0])
    return WindowScores(start, start + 1, np.array(video), np.array(audio), None, None, track)


def test_sound_is_one_track_whatever_the_number_of_faces():
    windows = [scores(0, [0.9, 0.1], [0.8, np.nan]), scores(1, [0.1, 0.9], [0.6, np.nan])]
    assert mean_over_tracks(windows, "audio")[0] == pytest.approx(0.7)
    assert np.isnan(mean_over_tracks(windows, "audio")[1])
    assert mean_over_tracks(windows, "sync") is None
    marked = {(s.modality, s.track_id, round(s.start_s, 1)) for s in mark_segments(windows, THRESHOLDS, 2.0)}
    assert marked == {("video", 0, 0.0), ("video", 1, 1.0), ("audio", None, 0.0)}


def test_a_detector_that_proposes_segments_is_taken_at_its_word():
    proposed = (Segment(0.2, 0.9, 0.95, "audio", 0), Segment(0.0, 2.0, THRESHOLDS.segment_on - 0.01, "video", 0))
    told = replace(scores(0, [0.9, 0.9], [0.9, 0.9]), proposals=proposed)
    assert mark_segments([told], THRESHOLDS, 2.0) == proposed[:1]
    assert mark_segments([replace(told, proposals=())], THRESHOLDS, 2.0) == ()


def test_what_is_proposed_of_the_sound_is_told_once_for_all_faces():
    """The same sound is judged with each face: one span, of no face, beside what each face has of its own."""
    heard, near, seen = Segment(0.2, 0.9, 0.95, "audio", 0), Segment(0.2, 1.0, 0.9, "audio", 1), \
        Segment(0.0, 1.0, 0.9, "video", 1)
    told = [replace(scores(track, [0.9, 0.9], [0.9, 0.9]), proposals=proposals)
            for track, proposals in ((0, (heard,)), (1, (near, seen)))]
    assert mark_segments(told, THRESHOLDS, 2.0) == (seen, replace(heard, track_id=None))


def test_sound_that_is_told_in_other_spans_for_another_face_is_left_out():
    other = replace(scores(1, [0.1], [0.1]), start_s=np.array([0.5]), end_s=np.array([1.5]))
    assert mean_over_tracks([scores(0, [0.9, 0.1], [0.8, 0.4]), other], "audio").tolist() == [0.8, 0.4]
