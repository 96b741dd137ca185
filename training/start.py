"""Heads that do not start from nothing.

What a detector reads of frozen networks does not change while it learns. So the weights that a logistic regression
gives it are found in a second, from the windows of all clips at once, where steps on drawn pairs do not get in hundreds
(docs/experiments.md, 28 and 30); they are the heads' first weights, and steps go on from there.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from detectors.whitening import Whiten
from training.labels import fake_of
from training.sampling import Sample, without_forged

READ = {"video": ("faces",), "audio": ("sound",), "whole": ("faces", "sound")}  # by each head, in this order
STRENGTH = 0.05  # inverse of the penalty on the weights


class Row(NamedTuple):
    """What frozen networks tell of one window."""

    summaries: dict[str, Tensor]  # "faces" and "sound", those that it shows: (D,) each
    video_fake: float  # 1, 0 or NaN: not known, or not shown; as the next one
    audio_fake: float
    source: str

    @property
    def whole_fake(self) -> float:
        """1 where either is fake, 0 where all that is shown is genuine, else NaN."""
        labels = [label for label, name in ((self.video_fake, "faces"), (self.audio_fake, "sound"))
                  if name in self.summaries]
        return 1.0 if 1 in labels else sum(labels)


def as_rows(shown: Mapping[str, tuple[np.ndarray, Tensor]], labels: Mapping[str, np.ndarray], source: str) -> list[Row]:
    """Of the windows of a clip: those that show "faces" or "sound" [n] bool, and the summaries of these (m, D);
    labels as training.labels.labels_between has them."""
    told: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, (there, summaries) in shown.items():
        for window, summary in zip(np.flatnonzero(there), summaries):
            told[window][name] = summary
    return [Row(found, labels["video"][window] if "faces" in found else math.nan,
                labels["audio"][window] if "sound" in found else math.nan, source) for window, found in told.items()]


def learnt_from(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Clips of the corpora and their coded copies, where there are genuine and fake ones of these; else all. Partial
    forgeries add nothing to a fit (docs/experiments.md, 21)."""
    found = without_forged(samples)
    return found if {fake_of(s) for s in found} >= {0, 1} else samples


def start_heads(rows: Sequence[Row], whiten: Mapping[str, Whiten], start_head: Callable[[str, Tensor], None]) -> None:
    """Fits the whitening of "faces" and "sound" to the rows that show them, then each head to what is read of them:
    start_head(name, weights) takes the weights of the components, as READ has them, one part after another. A part that
    a row does not show is 0. A head of which the rows show one class alone is left as it is."""
    components = {}
    for name, part in whiten.items():
        shown = torch.tensor([name in row.summaries for row in rows])
        components[name] = torch.zeros(len(rows), part.out_dim)
        if shown.any():
            summaries = torch.stack([row.summaries[name] for row in rows if name in row.summaries]).float()
            part.fit(summaries)
            components[name][shown] = part(summaries)
    for head, parts in READ.items():
        taught = [n for n, row in enumerate(rows) if not math.isnan(getattr(row, f"{head}_fake"))]
        fake = np.array([getattr(rows[n], f"{head}_fake") for n in taught])
        if {0.0, 1.0} <= set(fake):
            x = torch.cat([components[name][taught] for name in parts], dim=1).numpy()
            start_head(head, fit_line(x, fake, [rows[n].source for n in taught]))


def fit_line(x: np.ndarray, fake: np.ndarray, sources: Sequence[str]) -> Tensor:
    """Weights (k,) of the log-odds x [n, k] @ weights. The windows of a source, genuine or fake, count together as the
    square root of their number, as training.sampling.Pool draws them; the two classes count alike."""
    size = Counter(zip(sources, fake))
    count = np.array([size[cell] ** -0.5 for cell in zip(sources, fake)])
    for label in (0, 1):
        count[fake == label] *= len(fake) / 2 / count[fake == label].sum()
    line = LogisticRegression(C=STRENGTH, max_iter=2000, fit_intercept=False).fit(x, fake, sample_weight=count)
    return torch.from_numpy(line.coef_[0])
