"""What several detectors say together.

Each set of the project's own detectors has a fit of its own, made on development folds that none of them learnt from
(training.consensus): their calibrated log-odds l are weighted, so that who adds nothing counts nothing, and summed,

    logit = bias + sum of weight_d · l_d,      weight_d >= 0,

and thresholds keep false alarms on those folds' genuine clips rare. Fits lie in consensus.json beside the checkpoints
and name the weights that they were made of. Where there is none for those who judge (a detector from outside, new
weights), the mean score and the middle verdict stand for all of them. A detector whose development clips are not known
is left out by name. One alarm alone accuses nobody: MANIPULATED
needs a second detector that finds the clip at least suspicious.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectors.checkpoint import CHECKPOINTS, read_card
from detectors.contract import Analysis, Thresholds, Verdict

CONSENSUS = "consensus"  # where detectors are named, that of all of the project's own
FITS = f"{CONSENSUS}.json"
SEVERITY = (Verdict.NO_SIGNS, Verdict.SUSPICIOUS, Verdict.MANIPULATED)
SUREST = 1e-4  # scores nearer to 0 or 1 count as this far from it


@dataclass(frozen=True)
class Fit:
    """How one set of detectors is heard together."""

    weights: dict[str, float]  # by detector, none below 0
    bias: float
    manipulated: float  # thresholds of the score
    suspicious: float

    def score(self, scores: Mapping[str, float]) -> float:
        logit = self.bias + sum(weight * log_odds(scores[name]) for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-logit))


@dataclass(frozen=True)
class Consensus:
    """Of those detectors that gave a score."""

    score: float | None
    verdict: Verdict
    weights: dict[str, float]  # share of each, which add up to 1
    fit: Fit | None  # None: all count alike

    def to_json(self) -> dict:
        """What the answer says of it beside score and verdict."""
        told = {"weights": {"score": {name: round(share, 4) for name, share in self.weights.items()}},
                "fitted": self.fit is not None}
        if self.fit is not None:
            told["thresholds"] = {"manipulated": self.fit.manipulated, "suspicious": self.fit.suspicious}
        return told


def agree(scores: Mapping[str, float | None], verdicts: Mapping[str, Verdict], folder: Path = CHECKPOINTS) -> Consensus:
    """Of detectors by id: clip scores (None: it abstained) and verdicts. folder: of their checkpoints."""
    judged = {name: score for name, score in scores.items() if score is not None}
    if not judged:
        return Consensus(None, Verdict.CANNOT_EVALUATE, {}, None)
    fit = fit_for(judged, folder)
    if fit is None:
        mean = sum(judged.values()) / len(judged)
        return Consensus(mean, majority([verdicts[name] for name in judged]),
                         dict.fromkeys(judged, 1 / len(judged)), None)
    score, total = fit.score(judged), sum(fit.weights.values())
    alarmed = sum(SEVERITY.index(verdicts[name]) > 0 for name in judged)
    verdict = decide(score, fit)
    if verdict == Verdict.MANIPULATED and alarmed < 2:
        verdict = Verdict.SUSPICIOUS
    return Consensus(score, verdict, {name: fit.weights.get(name, 0.0) / total for name in judged}, fit)


def decide(score: float | None, thresholds: Thresholds | Fit) -> Verdict:
    if score is None:
        return Verdict.CANNOT_EVALUATE
    if score >= thresholds.manipulated:
        return Verdict.MANIPULATED
    return Verdict.SUSPICIOUS if score >= thresholds.suspicious else Verdict.NO_SIGNS


def majority(verdicts: Sequence[Verdict]) -> Verdict:
    """The middle verdict by severity (the milder one of an even split)."""
    if not verdicts:
        return Verdict.CANNOT_EVALUATE
    ranked = sorted(verdicts, key=SEVERITY.index)
    return ranked[(len(ranked) - 1) // 2]


def log_odds(score: float) -> float:
    score = min(max(score, SUREST), 1 - SUREST)
    return math.log(score / (1 - score))


def fit_for(names: Collection[str], folder: Path = CHECKPOINTS) -> Fit | None:
    """The fit of these detectors, by id, without those that the fits leave out; None where there is none, or one of
    them has other weights by now."""
    path = folder / FITS
    if not path.is_file():
        return None
    card = json.loads(path.read_text(encoding="utf-8"))
    heard = sorted(set(names) - set(card["left_out"]))
    checkpoints = {name: folder / f"{name}.safetensors" for name in heard}
    known = all(at.is_file() and card["weights"].get(name) == read_card(at).get("weights", "none")
                for name, at in checkpoints.items())
    fit = card["fits"].get("+".join(heard)) if known else None
    return None if fit is None else Fit(**fit)


def together(analyses: Sequence[Analysis]) -> Consensus:
    """Of whole analyses of one clip."""
    return agree({a.detector: a.score for a in analyses}, {a.detector: a.verdict for a in analyses})
