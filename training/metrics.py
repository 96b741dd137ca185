"""AUC, partial AUC, EER, rates at a threshold and calibration, with bootstrap intervals over whole identities."""

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


def stratified_auc(score: np.ndarray, fake: np.ndarray, strata: Sequence[str] | np.ndarray) -> float:
    """The chance that a fake scores above a real one of the same stratum (ties count half): what strata have in common,
    a web site's look or a person's face, cannot help. NaN where no stratum has both classes. strata [n] names."""
    member = np.unique(strata, return_inverse=True)[1]
    size = np.bincount(member)
    positives = np.bincount(member, weights=fake)
    pairs = positives * (size - positives)
    if not pairs.sum():
        return float("nan")
    ranks = rankdata(member * (len(score) + 1.0) + rankdata(score, "dense"))  # stratum after stratum
    ranks -= (np.cumsum(size) - size)[member]
    right = np.bincount(member, weights=ranks * fake) - positives * (positives + 1) / 2
    return float(right.sum() / pairs.sum())


def partial_auc(score: np.ndarray, fake: np.ndarray, most_alarms: float = 0.1) -> float:
    """Area under the ROC curve up to this false positive rate (below 1), standardised as McClish (Medical Decision
    Making, 1989) does it: 0.5 for scores that tell nothing, 1 for perfect ones. NaN when a class is missing.

    Papers that report pAUC at FPR <= 10 % seldom say how it was scaled; without scaling it would be 0.1 at most.
    """
    if not _two_classes(fake):
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # equal scores are passed together
    hits = np.append(0, np.cumsum(fake[order])[last]) / fake.sum()
    alarms = np.append(0, np.cumsum(1 - fake[order])[last]) / (1 - fake).sum()
    inside = alarms <= most_alarms
    end = int(inside.sum())  # the first point beyond: there is one, the curve ends at 1
    slope = (hits[end] - hits[end - 1]) / (alarms[end] - alarms[end - 1])
    edge = hits[end - 1] + slope * (most_alarms - alarms[end - 1])
    area = np.trapezoid(np.append(hits[inside], edge), np.append(alarms[inside], most_alarms))
    chance = most_alarms**2 / 2
    return float((1 + (area - chance) / (most_alarms - chance)) / 2)


def rates_at(score: np.ndarray, fake: np.ndarray, threshold: float) -> dict[str, float]:
    """"accuracy", and the true and false positive rates "tpr" and "fpr", where scores at or above the threshold are
    called fake. NaN where the class that it is a share of is missing."""
    called = score >= threshold
    share = {"accuracy": called == (fake == 1), "tpr": called[fake == 1], "fpr": called[fake == 0]}
    return {name: float(right.mean()) if len(right) else float("nan") for name, right in share.items()}


def eer(score: np.ndarray, fake: np.ndarray) -> float:
    """Equal error rate: where misses and false alarms are nearest to each other. NaN when a class is missing."""
    if not _two_classes(fake):
        return float("nan")
    thresholds = np.append(np.unique(score), np.inf)
    miss = np.array([(score[fake == 1] < t).mean() for t in thresholds])
    alarm = np.array([(score[fake == 0] >= t).mean() for t in thresholds])
    nearest = np.abs(miss - alarm).argmin()
    return float((miss[nearest] + alarm[nearest]) / 2)


def _two_classes(fake: np.ndarray) -> bool:
    return len(np.unique(fake)) == 2


def reliability(score: np.ndarray, fake: np.ndarray, bins: int = 10, least: int = 10) -> list[dict[str, float]]:
    """The points of a reliability diagram: clips sorted by score, in groups of equal count. Of each its mean "score",
    the share "fake" of fakes and the number of "clips". So many groups at most, and one at least; fewer where one would
    have less than `least` clips. No clips, no groups."""
    order = np.argsort(score, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(score) // least))) if len(score) else []
    return [{"score": float(score[p].mean()), "fake": float(fake[p].mean()), "clips": len(p)} for p in parts]


def expected_calibration_error(score: np.ndarray, fake: np.ndarray, bins: int = 10) -> float:
    """Mean distance of the score from the share of fakes, over bins of equal mass. NaN without clips."""
    groups = reliability(score, fake, bins, least=1)
    distance = sum(g["clips"] * abs(g["score"] - g["fake"]) for g in groups)
    return distance / len(score) if groups else float("nan")


def calibration_error_by_chance(score: np.ndarray, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Expected calibration error of scores that are exactly right, which few clips do not show: the mean over draws of
    labels from the scores themselves, and what 95 % of the draws stay within. NaN without clips."""
    if not len(score):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = [expected_calibration_error(score, (rng.random(len(score)) < score).astype(float)) for _ in range(draws)]
    return float(np.mean(drawn)), float(np.quantile(drawn, 0.95))


def bootstrap_interval(measure: Callable[[np.ndarray, np.ndarray], float], score: np.ndarray, fake: np.ndarray,
                       groups: Sequence[str], draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval, resampling whole groups (identities): clips of one person are not independent.
    NaN without clips, or where most draws cannot be measured."""
    if not len(score):
        return float("nan"), float("nan")
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


def risk_coverage(score: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coverage [n], risk [n]): of the clips whose score is farthest from an even chance, the share answered and the
    share of wrong answers among them, where 0.5 and above is called fake. Equal confidence is answered together.
    Selective classification as in Geifman & El-Yaniv (NeurIPS 2017); empty without clips."""
    sure = np.abs(score - 0.5)
    order = np.argsort(-sure, kind="stable")
    wrong = ((score >= 0.5) != (fake == 1))[order]
    last = np.append(np.diff(sure[order]) != 0, True)[:len(order)]
    answered = np.arange(1, len(order) + 1)
    return (answered / max(len(order), 1))[last], (np.cumsum(wrong) / answered)[last]
