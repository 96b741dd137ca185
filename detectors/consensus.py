"""What several detectors say together.

Two questions are asked of a clip: is its picture or its sound manipulated, and does its sound belong to its picture?
For the first, each set of the project's own detectors has a fit of its own, made on development folds that none of them
learnt from (training.consensus): their calibrated log-odds l are weighted, so that who adds nothing counts nothing, and
summed,

    logit = bias + sum of weight_d · l_d,      weight_d >= 0.

The second is answered by those who listen for it, on average: the others, who cannot hear it, do not dilute it. The
score is the higher of the two answers, and thresholds keep false alarms on those folds' genuine clips rare. Fits lie in
consensus.json beside the checkpoints and name the weights that they were made of. Where there is none for those who
judge (a detector from outside, new weights), the mean score and the middle verdict stand for all of them. A detector
whose development clips are not known, or too few of them those of the others, is left out by name. A sum of half-doubts
accuses nobody: SUSPICIOUS needs a detector that finds the clip at least suspicious by itself, MANIPULATED two; and what
is unlike all that was learnt from (detectors.familiarity) is never MANIPULATED.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from detectors.checkpoint import CHECKPOINTS, read_card
from detectors.contract import Analysis, Thresholds, Verdict
from detectors.familiarity import is_unusual

CONSENSUS = "consensus"  # where detectors are named, that of all of the project's own
FITS = f"{CONSENSUS}.json"
SEVERITY = (Verdict.NO_SIGNS, Verdict.SUSPICIOUS, Verdict.MANIPULATED)
SUREST = 1e-4  # scores nearer to 0 or 1 count as this far from it


@dataclass(frozen=True)
class Voice:
    """What one detector says of a clip, as Analysis has it."""

    score: float | None  # None: it abstains
    verdict: Verdict
    whole: float | None = None  # None: as score
    sync: float | None = None
    unusual: bool = False  # of a clip unlike those that the detectors learnt from

    @property
    def manipulated(self) -> float | None:
        """P(picture or sound is manipulated)."""
        return self.score if self.whole is None else self.whole


@dataclass(frozen=True)
class Fit:
    """How one set of detectors is heard together."""

    weights: dict[str, float]  # by detector, none below 0
    bias: float
    manipulated: float  # thresholds of the score
    suspicious: float

    def manipulation(self, voices: Mapping[str, Voice]) -> float:
        """Log-odds that picture or sound is manipulated."""
        return self.bias + sum(weight * log_odds(voices[name].manipulated) for name, weight in self.weights.items())

    def score(self, voices: Mapping[str, Voice]) -> float:
        return probability(max(self.manipulation(voices), mismatch(voices)))


def mismatch(voices: Mapping[str, Voice]) -> float:
    """Log-odds that the sound does not belong to the picture, of those who listen for it; without any, below all."""
    told = [log_odds(voice.sync) for voice in voices.values() if voice.sync is not None]
    return sum(told) / len(told) if told else -math.inf


@dataclass(frozen=True)
class Consensus:
    """Of those detectors that gave a score."""

    score: float | None
    verdict: Verdict
    weights: dict[str, float]  # share of each, which add up to 1
    fit: Fit | None  # None: all count alike
    by_sync: bool = False  # the sound that does not belong decides the score, and the weights do not

    def to_json(self) -> dict:
        """What the answer says of it beside score and verdict."""
        told = {"weights": {"score": {name: round(share, 4) for name, share in self.weights.items()}},
                "fitted": self.fit is not None}
        if self.fit is not None:
            told["by_sync"] = self.by_sync
            told["thresholds"] = {"manipulated": self.fit.manipulated, "suspicious": self.fit.suspicious}
        return told


def voice_of(analysis: Analysis) -> Voice:
    return Voice(analysis.score, analysis.verdict, analysis.whole, analysis.sync, is_unusual(analysis.findings))


def agree(voices: Mapping[str, Voice], folder: Path = CHECKPOINTS) -> Consensus:
    """Of detectors by id. folder: of their checkpoints."""
    judged = {name: voice for name, voice in voices.items() if voice.score is not None}
    if not judged:
        return Consensus(None, Verdict.CANNOT_EVALUATE, {}, None)
    fit = fit_for(judged, folder)
    if fit is None:
        mean = sum(voice.score for voice in judged.values()) / len(judged)
        return Consensus(mean, majority([voice.verdict for voice in judged.values()]),
                         dict.fromkeys(judged, 1 / len(judged)), None)
    if any(voice.unusual for voice in judged.values()):
        fit = widen(fit)
    score, total = fit.score(judged), sum(fit.weights.values())
    alarmed = sum(SEVERITY.index(voice.verdict) > 0 for voice in judged.values())
    verdict = min(decide(score, fit), SEVERITY[min(alarmed, 2)], key=SEVERITY.index)
    return Consensus(score, verdict, {name: fit.weights.get(name, 0.0) / total for name in judged}, fit,
                     mismatch(judged) > fit.manipulation(judged))


def decide(score: float | None, thresholds: Thresholds | Fit) -> Verdict:
    if score is None:
        return Verdict.CANNOT_EVALUATE
    if score >= thresholds.manipulated and thresholds.manipulated < 1:
        return Verdict.MANIPULATED
    return Verdict.SUSPICIOUS if score >= thresholds.suspicious else Verdict.NO_SIGNS


def widen(thresholds: Thresholds | Fit) -> Thresholds | Fit:
    """The band in which a clip is only SUSPICIOUS, up to certainty: where it is unlike all that was learnt from."""
    return replace(thresholds, manipulated=1.0)


def majority(verdicts: Sequence[Verdict]) -> Verdict:
    """The middle verdict by severity (the milder one of an even split)."""
    if not verdicts:
        return Verdict.CANNOT_EVALUATE
    ranked = sorted(verdicts, key=SEVERITY.index)
    return ranked[(len(ranked) - 1) // 2]


def log_odds(score: float) -> float:
    score = min(max(score, SUREST), 1 - SUREST)
    return math.log(score / (1 - score))


def probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


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
    return agree({a.detector: voice_of(a) for a in analyses})
