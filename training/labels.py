"""Labels: is a clip, or this part of a prepared one, fake, genuine, or something that nobody can say?"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from detectors.contract import MODALITIES
from training.sampling import Sample

LEAST_FAKE_S = 0.3  # of a window must be fake for it to be called fake ...
LEAST_FAKE_SHARE = 0.25  # ... and at least this share of it
# Forgeries that teach what out of sync is. Other forgeries that move mouths or words ("sync" spans too) leave more
# traces than that, so their spans say nothing about sync.
MISMATCHED = ("shifted_sound", "swapped_sound", "stretched_sound")


def any_fake(labels: Iterable[float | None]) -> float | None:
    """1 where any of these is known to be fake, 0 where all that are known are genuine; None where none is known (None
    or NaN)."""
    return max((label for label in labels if label is not None and not math.isnan(label)), default=None)


def fake_of(sample: Sample) -> float | None:
    """Of a clip, as any_fake of its modalities and of their sync."""
    return any_fake(getattr(sample, f"{modality}_fake") for modality in MODALITIES)


def label_of(sample: Sample, head: str) -> float:
    """Of a clip, 1, 0 or NaN. "whole": picture and sound together, as the papers have it. "sync": fake in forgeries
    that are MISMATCHED alone."""
    if head == "whole":
        label = any_fake((sample.video_fake, sample.audio_fake))
        return math.nan if label is None else label
    label = getattr(sample, f"{head}_fake")
    return math.nan if head == "sync" and label == 1 and sample.forged not in MISMATCHED else label


def labels_between(sample: Sample, start_s: np.ndarray, end_s: np.ndarray) -> dict[str, np.ndarray]:
    """For "video", "audio" and "sync": [n] of 1 (fake), 0 (genuine), NaN (unknown or ambiguous) between start_s [n]
    and end_s [n].

    Fake: fake spans cover at least LEAST_FAKE_S and LEAST_FAKE_SHARE of the window (all of it, where it is shorter
    than LEAST_FAKE_S), or it holds the whole of a span shorter than LEAST_FAKE_S. Genuine: nothing of it is fake.
    Between the two: NaN. A modality that is fake without known spans is fake all over the clip.
    """
    start_s, end_s = np.asarray(start_s, float), np.asarray(end_s, float)
    return {modality: _label(sample, modality, start_s, end_s) for modality in MODALITIES}


def whole_label(sample: Sample, labels: dict[str, np.ndarray]) -> np.ndarray:
    """[n] of picture and sound together, from labels_between: 1 where either is fake; else NaN where one is ambiguous;
    else 0. What is unknown of the whole clip does not count; NaN where that is both."""
    known = [labels[name] for name in ("video", "audio") if not np.isnan(getattr(sample, f"{name}_fake"))]
    if not known:
        return np.full(len(labels["video"]), np.nan)
    return np.where((np.stack(known) == 1).any(axis=0), 1.0, np.sum(known, axis=0))


def _label(sample: Sample, modality: str, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    label = getattr(sample, f"{modality}_fake")
    spans = np.array([(begin_s, until_s) for name, begin_s, until_s in sample.spans if name == modality])
    fake = label_of(sample, modality)
    if label != 1 or not len(spans):
        return np.full(len(start_s), fake)
    begin_s, until_s = spans.T
    overlap_s = np.minimum(end_s[:, None], until_s) - np.maximum(start_s[:, None], begin_s)  # [n, spans]
    overlap_s = np.maximum(overlap_s, 0.0)
    length_s = end_s - start_s
    needed_s = np.minimum(np.maximum(LEAST_FAKE_S, LEAST_FAKE_SHARE * length_s), length_s)
    long_enough = overlap_s.sum(axis=1) >= needed_s - 1e-6
    short = until_s - begin_s < LEAST_FAKE_S
    holds_short = (short & (overlap_s >= until_s - begin_s - 1e-6)).any(axis=1)
    return np.where(long_enough | holds_short, fake, np.where(overlap_s.sum(axis=1) > 0, np.nan, 0.0))
