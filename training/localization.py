"""Where it was manipulated: marked spans against the true ones, by AP and AR over temporal IoU.

The measures of LAV-DF and AV-Deepfake1M (Cai et al., arXiv 2204.06228 and 2311.15308, and their package
`avdeepfake1m`), on seconds:

- AP@IoU: the proposals of all clips in one list, best score first. One is a hit where its IoU with a true span of its
  clip lies above the threshold and that span has not been hit before. The area under the precision-recall curve, its
  precision made monotone. Genuine clips have no true spans: whatever is proposed there is a false alarm.
- AR@n: the share of all true spans that one of the clip's n best proposals hits, mean over IoU .5, .55 ... .95.

The package differs in two points. Its AP leaves out the curve's part from recall 0 to that of the best proposal, so
that 10 spans found without an error give .9. And it takes no clip without proposals; here the spans of such a clip
count as missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from detectors import Segment, WindowScores
from detectors.contract import MODALITIES
from detectors.proposals import interval_iou, soft_nms
from detectors.segments import STEP_S, mean_over_tracks, score_curve
from training.metrics import bootstrap_interval

AP_IOUS = (0.5, 0.75, 0.9, 0.95)
AR_IOUS = tuple(np.arange(50, 100, 5) / 100)
AR_COUNTS = (100, 50, 20, 10, 5)
WHOLE = 0.9  # of the clip: a forgery that covers so much of it is not one of a part
LEVELS = 20  # heights at which a score curve is cut into proposals


def average_precision(proposals: Sequence[np.ndarray], truths: Sequence[np.ndarray], iou: float) -> float:
    """AP@iou. proposals: a clip's [p, 3] of score, start_s, end_s; truths: its [t, 2] of start_s, end_s, in seconds.

    NaN when no clip has a true span.
    """
    judged = [_judge(proposed, truth, iou) for proposed, truth in zip(proposals, truths, strict=True)]
    return _area(judged, sum(map(len, truths)))


def average_recall(proposals: Sequence[np.ndarray], truths: Sequence[np.ndarray], count: int,
                   ious: Sequence[float] = AR_IOUS) -> float:
    """AR@count: arguments as average_precision has them. NaN when no clip has a true span."""
    return _recall([_best_overlaps(proposed, truth, count) for proposed, truth in zip(proposals, truths, strict=True)],
                   ious)


def _judge(proposed: np.ndarray, truth: np.ndarray, iou: float) -> np.ndarray:
    """[p, 2] of score and hit (1, else 0): a hit fits a true span which no better proposal has taken."""
    proposed = _ranked(proposed)
    fits = interval_iou(proposed[:, 1:], truth) > iou  # [p, t]
    judged = np.column_stack([proposed[:, 0], np.zeros(len(proposed))])
    taken = np.zeros(len(truth), bool)
    for row, fit in enumerate(fits):
        free = np.flatnonzero(fit & ~taken)
        if len(free):
            taken[free[0]] = True
            judged[row, 1] = 1
    return judged


def _area(judged: Sequence[np.ndarray], spans: int) -> float:
    """Under the precision-recall curve of all clips' judged proposals."""
    if spans == 0:
        return math.nan
    score, hit = np.concatenate(judged).T
    found = hit[np.argsort(-score, kind="stable")].cumsum()
    if not len(found):
        return 0.0
    precision = found / np.arange(1, len(found) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the best that this recall or a higher one has
    step = np.diff(found / spans, prepend=0.0)
    return float((step * precision).sum())


def _best_overlaps(proposed: np.ndarray, truth: np.ndarray, count: int) -> np.ndarray:
    """[t] IoU of each true span with what fits it best of the `count` best proposals."""
    return interval_iou(_ranked(proposed)[:count, 1:], truth).max(axis=0, initial=0.0)


def _recall(overlaps: Sequence[np.ndarray], ious: Sequence[float] = AR_IOUS) -> float:
    best = np.concatenate(overlaps)
    return float(np.mean([(best > iou).mean() for iou in ious])) if len(best) else math.nan


def _ranked(proposed: np.ndarray) -> np.ndarray:
    """[p, 3], best score first; of equal ones, the order stays."""
    proposed = np.asarray(proposed, float).reshape(-1, 3)
    return proposed[np.argsort(-proposed[:, 0], kind="stable")]


def measure_spans(proposals: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> dict[str, float]:
    """"ap_50" ... "ap_95" and "ar_100" ... "ar_5" of clips, arguments as average_precision has them."""
    return {**{f"ap_{round(100 * iou)}": average_precision(proposals, truths, iou) for iou in AP_IOUS},
            **{f"ar_{count}": average_recall(proposals, truths, count) for count in AR_COUNTS}}


def span_intervals(proposals: Sequence[np.ndarray], truths: Sequence[np.ndarray], groups: Sequence[str],
                   draws: int = 1000) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals over groups (one name a clip) of "ap_50" and "ar_20"."""
    pairs = list(zip(proposals, truths, strict=True))
    judged = [_judge(proposed, truth, 0.5) for proposed, truth in pairs]
    overlaps = [_best_overlaps(proposed, truth, 20) for proposed, truth in pairs]
    counts = np.array([len(truth) for truth in truths])
    measures = {"ap_50": lambda rows, _: _area([judged[row] for row in rows], int(counts[rows].sum())),
                "ar_20": lambda rows, _: _recall([overlaps[row] for row in rows])}
    return {name: bootstrap_interval(measure, np.arange(len(pairs)), counts, groups, draws)
            for name, measure in measures.items()}


def true_spans(spans: Iterable[tuple[str, float, float | None]], duration_s: float,
               modality: str | None = None) -> np.ndarray:
    """[t, 2] seconds in which the clip is fake in this modality, or in any: sorted, those that touch joined.

    spans: (modality, start_s, end_s), the end None or infinite where it is the clip's own.
    """
    joined: list[list[float]] = []
    for name, start_s, end_s in sorted(spans, key=lambda s: s[1]):
        end_s = duration_s if end_s is None else min(end_s, duration_s)
        if modality not in (None, name) or end_s <= start_s:
            continue
        if joined and start_s <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end_s)
        else:
            joined.append([start_s, end_s])
    return np.array(joined, float).reshape(-1, 2)


def covers_whole(spans: np.ndarray, duration_s: float) -> bool:
    """Whether these true spans [t, 2] leave too little of the clip genuine to ask where it was manipulated."""
    return bool((spans[:, 1] - spans[:, 0]).sum() >= WHOLE * duration_s)


def propose_segments(windows: Sequence[WindowScores], duration_s: float) -> tuple[Segment, ...]:
    """Every span that a detector might mean, best score first within each modality, at most 100 of it.

    A detector's own proposals where it has them. Else what lies above each height of the score curves that also give
    the app's segments; its score is the curve's mean there. Soft-NMS keeps repetitions of one span behind others.
    """
    own = [p for scores in windows if scores.proposals is not None for p in scores.proposals]
    if any(scores.proposals is not None for scores in windows):
        return tuple(sorted(own, key=lambda p: -p.score))
    found: list[Segment] = []
    for modality in MODALITIES:
        if modality == "audio":
            curves = [(windows[0], mean_over_tracks(windows, "audio"))] if windows else []
        else:
            curves = [(scores, getattr(scores, modality)) for scores in windows]
        rows = [row for scores, values in curves if values is not None
                for row in _above_levels(*score_curve(scores.start_s, scores.end_s, values, duration_s), duration_s)]
        if rows:
            table = np.array(rows)  # [p, 3]: score, start_s, end_s
            taken, scores = soft_nms(table[:, 1:], table[:, 0], most=max(AR_COUNTS))
            found += [Segment(*table[row, 1:].tolist(), float(score), modality) for row, score in zip(taken, scores)]
    return tuple(found)


def _above_levels(centres_s: np.ndarray, curve: np.ndarray, duration_s: float) -> list[tuple[float, float, float]]:
    """(mean score, start_s, end_s) of each stretch at or above each of LEVELS heights of the curve, each once."""
    known = np.isfinite(curve)
    if not known.any():
        return []
    heights = np.unique(np.quantile(curve[known], np.linspace(0, 1, LEVELS), method="nearest"))
    found = {}
    for height in heights:
        above = np.concatenate([[False], known & (np.nan_to_num(curve, nan=-1.0) >= height), [False]])
        edges = np.flatnonzero(np.diff(above.astype(int)))
        for first, end in edges.reshape(-1, 2):
            start_s, end_s = centres_s[first] - STEP_S / 2, min(centres_s[end - 1] + STEP_S / 2, duration_s)
            found[first, end] = (float(curve[first:end].mean()), float(start_s), float(end_s))
    return list(found.values())
