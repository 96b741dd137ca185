"""How well file, timing, pose and border alone tell real from fake: what no detector should be able to live on.

    python -m training.shortcuts SHARDS [--json]

For each family a logistic regression and boosted trees see only training/facts.py of its fakes and of genuine clips,
and are tested on sources (forged ones: on pairs) that they were not fitted to. 0.5: nothing to learn there. Forged
families should stay within 0.5 ± 0.05; for published generators' outputs the figure is the baseline to beat.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.metrics import auc, bootstrap_interval
from training.shards import read_index

LEAST = 10  # fakes, and genuine clips, without which nothing is said of a family
FOLDS = 5


def simple_models() -> dict[str, object]:
    """Name -> an unfitted model, in scikit-learn's manner, that takes NaN for a fact that a clip lacks."""
    return {
        "linear": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
        "trees": HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=0),
    }


def score_by_facts(facts: Sequence[dict[str, float]], fake: np.ndarray,
                   asked: Sequence[dict[str, float]]) -> dict[str, np.ndarray]:
    """Model -> what it, fitted to facts and fake [n], says of the clips that are asked for [m]. Classes count alike."""
    names = sorted({name for fact in facts for name in fact})
    x, asked_x = (np.array([[fact.get(name, np.nan) for name in names] for fact in part]) for part in (facts, asked))
    known = np.isfinite(x).any(axis=0)
    x, asked_x = x[:, known], asked_x[:, known]
    weight = np.where(fake == 1, 1 / (fake == 1).sum(), 1 / (fake == 0).sum())
    scores = {}
    for name, model in simple_models().items():
        last = {"logisticregression__sample_weight": weight} if name == "linear" else {"sample_weight": weight}
        scores[name] = model.fit(x, fake, **last).predict_proba(asked_x)[:, 1]
    return scores


def rank_by_facts(facts: list[dict[str, float]], fake: np.ndarray, groups: list[str]) -> dict[str, np.ndarray]:
    """Model -> held-out score of every clip [n]; NaN where too few groups leave it out."""
    scores = {model: np.full(len(fake), np.nan) for model in simple_models()}
    for fit, held in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(fake, fake, groups):
        if len(set(fake[fit])) < 2:
            continue
        for name, told in score_by_facts([facts[row] for row in fit], fake[fit], [facts[row] for row in held]).items():
            scores[name][held] = told
    return scores


def measure(lines: list[dict], split: str = "train") -> dict[str, dict]:
    """Family -> AUC of the better model with its 95 % interval over groups.

    A forged family is set against the originals of its own clips, a published one against all genuine clips.
    """
    used = [line for line in lines if "skipped" not in line and line["split"] == split]
    genuine = [line for line in used if line["version"] == 0 and 1 not in (line["video_fake"], line["audio_fake"])]
    families: dict[str, list[dict]] = {}
    for line in used:
        if line["forged"]:
            families.setdefault(f"forge:{line['forged'].split(' + ')[0]}", []).append(line)
        elif 1 in (line["video_fake"], line["audio_fake"]):
            families.setdefault(line["family"], []).append(line)
    if forged := [line for name, found in families.items() if name.startswith("forge:") for line in found]:
        families["forge:all"] = forged
    return {name: figures for name, fakes in sorted(families.items())
            if (figures := _measure_family(name, fakes, genuine))}


def _measure_family(name: str, fakes: list[dict], genuine: list[dict]) -> dict | None:
    forged = name.startswith("forge:")
    if forged:
        groups = {line["group"] for line in fakes}
        genuine = [line for line in genuine if line["group"] in groups]
    if min(len(fakes), len(genuine)) < LEAST:
        return None
    rows = fakes + genuine
    fake = np.array([1.0] * len(fakes) + [0.0] * len(genuine))
    by = [line["group"] if forged else line["source"] for line in rows]
    if len(set(by)) < FOLDS:
        return None
    best = None
    for model, score in rank_by_facts([line["facts"] for line in rows], fake, by).items():
        known = np.isfinite(score)
        value = auc(score[known], fake[known])
        if best is None or abs(value - 0.5) > abs(best["auc"] - 0.5):
            low, high = bootstrap_interval(auc, score[known], fake[known], [g for g, k in zip(by, known) if k], 300)
            best = {"auc": round(value, 3), "auc_95": [round(low, 3), round(high, 3)], "model": model,
                    "fake": len(fakes), "genuine": len(genuine)}
    return best


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.shortcuts", description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        found = measure(read_index(args.shards), args.split)
    except FileNotFoundError as error:
        parser.error(str(error))
    for name, figures in found.items():
        print(f"{name:28} {figures['auc']:.3f}  {figures['auc_95'][0]:.3f} to {figures['auc_95'][1]:.3f}  "
              f"{figures['model']:6}  {figures['fake']} fake, {figures['genuine']} genuine")
    if args.json:
        forged = {n: f for n, f in found.items() if n.startswith("forge:")}
        worst = max(forged or found, key=lambda n: abs(found[n]["auc"] - 0.5), default=None)
        print(json.dumps({"auc": {n: f["auc"] for n, f in found.items()}, "worst": worst, "families": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
