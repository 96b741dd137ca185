"""A trained run becomes a checkpoint: calibrated on development sources, with its operating thresholds and card.

    python -m training.calibrate runs/ss_avd --samples SAMPLES [--out assets/checkpoints/ss_avd.safetensors]

The development sources took part in choosing the best step, but no weight was fitted to them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from detectors.checkpoint import CHECKPOINTS, read_checkpoint, save_checkpoint
from detectors.segments import clip_score
from detectors.ss_avd import load_detector
from training.evaluate import window_scores
from training.recipe import Recipe
from training.sampling import Sample, read_samples, split_sources

FALSE_ALARMS = {"manipulated": 0.05, "suspicious": 0.15}  # of genuine development clips, at most
# Whatever the false alarms: an even chance is no sign, and a span that is pointed at needs more than a suspicion.
FLOORS = {"manipulated": 0.8, "suspicious": 0.6, "segment_on": 0.7}
MARKED_GENUINE = 0.15  # of genuine development clips may have a window that would open a segment
HYSTERESIS = 0.15  # a segment closes this far below where it opens
NAME, PAPER = "SS-AVD", "arXiv 2506.07358"


def fit_platt(logit: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """sigmoid(scale * logit + bias), classes weighted alike: a probability for an even prior, stated in the card.

    The scale stays positive: calibration must not turn a score round.
    """
    fit = LogisticRegression(class_weight="balanced", C=1.0).fit(logit[:, None], fake)
    return {"scale": max(float(fit.coef_[0, 0]), 0.05), "bias": float(fit.intercept_[0])}


def threshold_at(genuine: np.ndarray, false_alarms: float) -> float:
    """The lowest threshold that at most this share of genuine scores reaches."""
    ranked = np.sort(genuine)[::-1]
    allowed = int(np.floor(false_alarms * len(ranked)))
    return float(np.nextafter(ranked[allowed], 2.0))


def calibrate(run: Path, samples_dir: Path) -> tuple[dict, dict]:
    """(weights, card) with calibration and thresholds; the card's results are filled in by training.evaluate."""
    state, card = read_checkpoint(run / "refit.safetensors")
    recipe = Recipe(**card["recipe"])
    torch.set_num_threads(recipe.threads)
    samples = [s for s in read_samples(samples_dir) if s.split == "train"]
    learn, dev = split_sources(samples, recipe.dev_share, recipe.seed)
    scored = window_scores(load_detector(state, card), dev)

    card["calibration"] = {}
    for head in ("video", "audio", "whole"):
        logits, labels = _clip_logits(scored, head)
        card["calibration"][head] = fit_platt(logits, labels)
    genuine = [scores for sample, scores in window_scores(load_detector(state, card), dev) if fake_of(sample) == 0]
    clips = np.array([score for scores in genuine if (score := clip_score(scores.whole)) is not None])
    card["thresholds"] = {name: max(threshold_at(clips, share), FLOORS[name])
                          for name, share in FALSE_ALARMS.items()}
    highest = np.array([np.nanmax([scores.video, scores.audio]) for scores in genuine])
    opens = float(np.clip(threshold_at(highest, MARKED_GENUINE), FLOORS["segment_on"], 0.95))
    card["thresholds"] |= {"segment_on": opens, "segment_off": opens - HYSTERESIS}
    card |= {
        "name": NAME, "paper": PAPER, "provisional": True,
        "commit": _commit(),
        "commands": _commands(recipe.detector, card["processes"]),
        "data": {"training": _counts(learn), "development": _counts(dev)},
    }
    return state, card


def fake_of(sample: Sample) -> float:
    """1 when a modality is known to be fake, 0 when all known ones are genuine, NaN when none is known."""
    return float(np.nanmax([sample.video_fake, sample.audio_fake]))


def _clip_logits(scored: list, head: str) -> tuple[np.ndarray, np.ndarray]:
    """Uncalibrated clip logits [n] and labels [n] of the clips whose label for this head is known."""
    rows = []
    for sample, scores in scored:
        # Whole-clip logits come from windows with both modalities: elsewhere the one that is there speaks.
        both = np.isfinite(scores.video) & np.isfinite(scores.audio)
        values = scores.whole[both] if head == "whole" else getattr(scores, head)
        label = fake_of(sample) if head == "whole" else getattr(sample, f"{head}_fake")
        score = clip_score(values)
        if score is not None and not np.isnan(label):
            rows.append((score, label))
    score, label = (np.array(column, float) for column in zip(*rows))
    score = np.clip(score, 1e-6, 1 - 1e-6)
    return np.log(score / (1 - score)), label


def _commit() -> str:
    """The project's commit that runs here; empty outside of a git checkout or without git."""
    if shutil.which("git") is None:
        return ""
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip()


def _commands(detector: str, processes: int) -> list[str]:
    """What made these weights, in order."""
    run, samples = f"runs/{detector}", "--samples SAMPLES"
    return [
        "python -m training.prepare manifest DATA --out SAMPLES --as-is",
        f"torchrun --nproc-per-node {processes} -m training.train training/recipes/{detector}.yaml {samples} "
        "--noise DATA/noise",
        f"python -m training.refit {run} {samples} --noise DATA/noise",
        f"python -m training.calibrate {run} {samples}",
        f"python -m training.evaluate {detector} manifest DATA --card",
    ]


def _counts(samples: list[Sample]) -> dict:
    families = Counter(s.family for s in samples)
    return {"clips": len(samples), "sources": len({s.source for s in samples}),
            "hours": round(sum(s.duration_s for s in samples) / 3600, 2), "families": dict(sorted(families.items()))}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.calibrate", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that training.train and training.refit wrote")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    if not (args.run / "refit.safetensors").is_file():
        parser.error(f"{args.run} holds no refit.safetensors; run training.train and training.refit first")
    state, card = calibrate(args.run, args.samples)
    save_checkpoint(args.out or CHECKPOINTS / f"{card['recipe']['detector']}.safetensors", state, card)
    print(json.dumps({key: card[key] for key in ("calibration", "thresholds", "data")}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
