"""AUC, EER and calibration, with bootstrap intervals over whole identities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata


def auc(score: np.ndarray, fake: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real one (ties count half). NaN when a
    class is missing. score [n], fake [n] in {0, 1}."""
    positives, negatives = int(fake.sum()), int((1 - fake).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[fake == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def eer(score: np.ndarray, fake: np.ndarray) -> float:
    """Equal error rate: where misses and false alarms are nearest to each other. NaN when a class is missing."""
    if fake.min() == fake.max():
        return float("nan")
    thresholds = np.append(np.unique(score), np.inf)
    miss = np.array([(score[fake == 1] < t).mean() for t in thresholds])
    alarm = np.array([(score[fake == 0] >= t).mean() for t in thresholds])
    nearest = np.abs(miss - alarm).argmin()
    return float((miss[nearest] + alarm[nearest]) / 2)


def expected_calibration_error(score: np.ndarray, fake: np.ndarray, bins: int = 10) -> float:
    """Mean distance of the score from the share of fakes, over bins of equal mass."""
    parts = np.array_split(np.argsort(score, kind="stable"), min(bins, len(score)))
    return float(sum(len(p) * abs(score[p].mean() - fake[p].mean()) for p in parts) / len(score))


def bootstrap_interval(measure: Callable[[np.ndarray, np.ndarray], float], score: np.ndarray, fake: np.ndarray,
                       groups: Sequence[str], draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval, resampling whole groups (identities): clips of one person are not independent."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    rows = [np.flatnonzero(member == g) for g in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        drawn = np.concatenate([rows[g] for g in rng.integers(len(rows), size=len(rows))])
        values.append(measure(score[drawn], fake[drawn]))
    values = np.array(values)
    values = values[np.isfinite(values)]
    if len(values) < draws / 2:
        return float("nan"), float("nan")
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))
