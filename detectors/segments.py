"""From window scores to one curve over time, to segments by hysteresis, to one score per modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from detectors.contract import Segment, Thresholds, WindowScores
from detectors.proposals import soft_nms

STEP_S = 0.2  # resolution of the score curve


def score_curve(start_s: np.ndarray, end_s: np.ndarray, score: np.ndarray,
                duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Bin centres [m] in seconds and the mean score [m] of the windows that cover each; NaN where none does."""
    centres = np.arange(STEP_S / 2, max(duration_s, STEP_S), STEP_S)
    known = np.isfinite(score)
    covers = ((start_s[known, None] <= centres) & (centres < end_s[known, None] + 1e-9)).astype(float)  # [k, m]
    count = covers.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return centres, np.where(count > 0, score[known] @ covers / np.maximum(count, 1), np.nan)


def find_segments(centres_s: np.ndarray, curve: np.ndarray, thresholds: Thresholds, *, modality: str,
                  track_id: int | None, duration_s: float) -> tuple[Segment, ...]:
    """Hysteresis: a segment opens at segment_on and lasts until the curve falls below segment_off or ends.

    Segments closer than min_gap_s are joined, then those shorter than min_segment_s are dropped. NaN closes.
    """
    spans: list[list[int]] = []
    is_open = False
    for i, value in enumerate(curve):
        if not is_open and value >= thresholds.segment_on:
            # The rise above segment_off that led here belongs to the segment.
            first = i
            while first > 0 and curve[first - 1] >= thresholds.segment_off and (not spans or first > spans[-1][1] + 1):
                first -= 1
            spans.append([first, i])
            is_open = True
        elif is_open and value >= thresholds.segment_off:
            spans[-1][1] = i
        else:
            is_open = False

    joined: list[list[int]] = []
    for span in spans:
        if joined and (span[0] - joined[-1][1] - 1) * STEP_S < thresholds.min_gap_s:
            joined[-1][1] = span[1]
        else:
            joined.append(span)
    segments = []
    for first, last in joined:
        start_s, end_s = centres_s[first] - STEP_S / 2, min(centres_s[last] + STEP_S / 2, duration_s)
        if end_s - start_s >= thresholds.min_segment_s - 1e-9:
            segments.append(Segment(float(start_s), float(end_s), float(np.nanmax(curve[first:last + 1])),
                                    modality, track_id))
    return tuple(segments)


def clip_score(scores: Sequence[float] | np.ndarray | None) -> float | None:
    """One score from windows: the mean of the higher half, so that a partial forgery is not averaged away
    and a single stray window does not decide. None when no window was judged."""
    values = np.array([]) if scores is None else np.asarray(scores, float)
    values = np.sort(values[np.isfinite(values)])
    return float(values[len(values) // 2:].mean()) if len(values) else None


def mark_segments(windows: Sequence[WindowScores], thresholds: Thresholds, duration_s: float) -> tuple[Segment, ...]:
    """All segments of all tracks and modalities, in order of time. Sound is scored once per face track; its
    segments come from the mean over tracks. A detector that proposes its own segments is taken at its word for those
    that reach segment_on; what it proposes of the sound, once per face track, is told once."""
    segments: list[Segment] = [p for p in _proposed(windows) if p.score >= thresholds.segment_on]
    for scores in windows:
        if scores.proposals is not None:
            continue
        for modality in ("video", "sync"):
            values = getattr(scores, modality)
            if values is not None:
                curve = score_curve(scores.start_s, scores.end_s, values, duration_s)
                segments += find_segments(*curve, thresholds, modality=modality, track_id=scores.track_id,
                                          duration_s=duration_s)
    sound = None if any(w.proposals is not None for w in windows) else mean_over_tracks(windows, "audio")
    if sound is not None:
        curve = score_curve(windows[0].start_s, windows[0].end_s, sound, duration_s)
        segments += find_segments(*curve, thresholds, modality="audio", track_id=None, duration_s=duration_s)
    return tuple(sorted(segments, key=lambda s: (s.start_s, s.modality)))


def _proposed(windows: Sequence[WindowScores]) -> Iterator[Segment]:
    """All proposals. Of several tracks, those of the sound by soft-NMS, and of no face."""
    proposals = [p for scores in windows for p in scores.proposals or ()]
    if len(windows) == 1:
        yield from proposals
        return
    yield from (p for p in proposals if p.modality != "audio")
    heard = [p for p in proposals if p.modality == "audio"]
    rows, scores = soft_nms(np.array([[p.start_s, p.end_s] for p in heard]).reshape(-1, 2),
                            np.array([p.score for p in heard]))
    yield from (replace(heard[row], score=float(score), track_id=None) for row, score in zip(rows, scores))


def mean_over_tracks(windows: Sequence[WindowScores], modality: str) -> np.ndarray | None:
    """[n] mean of the tracks' scores per window, NaN where no track has one; None when the detector has none. Tracks
    that are told in other spans than the first one, by a detector from outside, are left out."""
    values = [getattr(w, modality) for w in windows]
    if any(v is None for v in values):
        return None
    values = [v for v, w in zip(values, windows) if np.array_equal(w.start_s, windows[0].start_s)]
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    return np.where(known.any(axis=0), np.where(known, stacked, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1),
                    np.nan)
