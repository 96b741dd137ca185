"""Segments on the time axis: their overlap, and soft-NMS among those that mark the same span."""

from __future__ import annotations

import numpy as np


def interval_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of spans (start, end): a [n, 2], b [m, 2] -> [n, m] in [0, 1].

    A span of no length overlaps nothing: 0, itself included.
    """
    start = np.maximum(a[:, None, 0], b[None, :, 0])
    end = np.minimum(a[:, None, 1], b[None, :, 1])
    both = np.maximum(end - start, 0.0)
    either = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def soft_nms(spans: np.ndarray, scores: np.ndarray, *, sigma: float = 0.5, least: float = 1e-3,
             most: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian soft-NMS (Bodla et al., ICCV 2017, Eq. 3), on time instead of boxes.

    Takes the span with the highest score, multiplies the scores of all others by exp(-IoU² / sigma), and again: what
    repeats a better span falls, what lies elsewhere stays. spans [n, 2], scores [n]. Returns the rows that were taken
    [k], in that order, and their scores [k] when they were, none below `least` and `most` of them at most. Of equal
    scores the earlier row goes first.
    """
    left = np.arange(len(scores))
    scores = np.asarray(scores, float).copy()
    taken: list[int] = []
    while len(left) and len(taken) < most:
        best = left[scores[left].argmax()]
        if scores[best] < least:
            break
        taken.append(best)
        left = left[left != best]
        scores[left] *= np.exp(-interval_iou(spans[best][None], spans[left])[0] ** 2 / sigma)
    return np.array(taken, int), scores[taken]
