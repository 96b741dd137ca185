"""What a run is worth on sources that it did not learn from: the table that decides between recipes.

    python -m training.crossval RUN [RUN ...] --samples SHARDS [SHARDS ...] [--json]

RUN is a folder of training.train, of one held-out fold or of all (`--fold all`); SHARDS are what it learnt from.
Every fold's best network scores the samples that it held out. Published fakes, their copies by training.coded, and
forgeries of training.forge are told apart: the first stand for what is met in the wild, the second for what phones and
messengers make of it, the third are what is known to the moment. For each head:

    auc       over all held-out clips, with its interval by identity
    within    fakes against genuine clips of the same source (of the same original, for forgeries) alone
    shortcut  what file, timing, pose and border tell of the same clips, fitted to the fold's training samples
    alarms    the worst source's share of genuine clips among the highest twentieth of all genuine ones

The best step of a fold was chosen on the same samples: figures are a little too good, alike for all recipes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detectors.checkpoint import CheckpointError, read_checkpoint
from detectors.segments import clip_score
from training.calibrate import HEADS, fold_runs, threshold_at, trained_weights
from training.labels import label_of
from training.lessons import LESSONS, recipe_of
from training.metrics import auc, bootstrap_interval, stratified_auc
from training.sampling import Sample, read_training_samples, split_fold
from training.shards import read_index
from training.shortcuts import score_by_facts

MATERIALS = ("published", "coded", "forged")
ALARMS = 0.05
LEAST_CLIPS = 5  # genuine ones, of a source whose share of the alarms is told
WINDOWS = 8  # of a clip


@dataclass(frozen=True)
class Scored:
    """One held-out clip and what a head says of it."""

    sample: Sample
    head: str
    fake: float
    score: float
    shortcut: float


def score_held(run: Path, samples: Sequence[Sample]) -> list[Scored]:
    """Of every fold of a run the held-out clips, scored by the network that did not learn from them. samples: the
    training split.

    Raises: CheckpointError for a run without weights; ValueError as lessons.
    """
    _, card = read_checkpoint(trained_weights(run))
    recipe, found = recipe_of(card), []
    for folder, fold in fold_runs(run, card).items():
        state, _ = read_checkpoint(trained_weights(folder))
        learnt, held = split_fold(samples, recipe.folds, fold, recipe.seed)
        facts = {(place, line["key"]): line["facts"] for place in {s.folder for s in [*learnt, *held]}
                 for line in read_index(place) if "skipped" not in line}
        lesson = LESSONS[recipe.detector](recipe, learnt, ())
        lesson.model.load_state_dict(state, strict=False)  # what only training needs was left behind
        told = lesson.scores(lesson.model, held, WINDOWS)
        for head in HEADS:
            found += _of_head(head, told, learnt, facts)
    return found


def _of_head(head: str, told: Sequence[tuple], learnt: Sequence[Sample], facts: dict) -> list[Scored]:
    rows = [(sample, score) for sample, scores in told
            if (score := clip_score(getattr(scores, head))) is not None and not math.isnan(label_of(sample, head))]
    taught = [s for s in learnt if not math.isnan(label_of(s, head))]
    labels = np.array([label_of(s, head) for s in taught])
    if not rows or len(set(labels)) < 2:
        return []
    models = score_by_facts([facts[s.folder, s.key] for s in taught], labels,
                            [facts[sample.folder, sample.key] for sample, _ in rows])
    fake = np.array([label_of(sample, head) for sample, _ in rows])
    best = max(models.values(), key=lambda guess: np.nan_to_num(auc(guess, fake)))
    return [Scored(sample, head, label, score, guess)
            for (sample, score), label, guess in zip(rows, fake, best)]


def summarise(scored: Sequence[Scored]) -> dict[str, dict[str, dict]]:
    """Material -> head -> figures; None for what cannot be told."""
    found: dict[str, dict[str, dict]] = {}
    groups = {(s.sample.folder, s.sample.group) for s in scored if s.sample.forged}
    for material in MATERIALS:
        part = [s for s in scored if material == (
            "forged" if (s.sample.folder, s.sample.group) in groups else "coded" if s.sample.coded else "published")]
        heads = {head: figures_of([s for s in part if s.head == head], material) for head in HEADS}
        found[material] = {head: figures for head, figures in heads.items() if figures}
    return found


def figures_of(rows: Sequence[Scored], material: str) -> dict | None:
    """As this module's docstring lists them, of one head's rows; None where all are fake, or all genuine."""
    score, fake, shortcut = (np.array([getattr(r, name) for r in rows]) for name in ("score", "fake", "shortcut"))
    if len(set(fake)) < 2:
        return None
    place = [r.sample.group if material == "forged" else r.sample.source for r in rows]
    people = [f"{r.sample.source}/{r.sample.identity}" for r in rows]
    low, high = bootstrap_interval(auc, score, fake, people, draws=300)
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in {
        "clips": len(rows), "auc": auc(score, fake), "interval": None if math.isnan(low) else [low, high],
        "within": stratified_auc(score, fake, place), "shortcut": auc(shortcut, fake),
        "shortcut_within": stratified_auc(shortcut, fake, place), **_worst_source(rows, score, fake)}.items()}


def _worst_source(rows: Sequence[Scored], score: np.ndarray, fake: np.ndarray) -> dict:
    """Where the highest ALARMS of genuine clips come from: the source with the largest share of them."""
    alarm = score >= threshold_at(score[fake == 0], ALARMS)
    shares = defaultdict(list)
    for row, called in zip(rows, alarm):
        if row.fake == 0:
            shares[row.sample.source].append(called)
    worst = max(((float(np.mean(calls)), source) for source, calls in shares.items() if len(calls) >= LEAST_CLIPS),
                default=(math.nan, ""))
    return {"alarms": worst[0], "alarms_source": worst[1]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.crossval", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders that training.train wrote")
    parser.add_argument("--samples", type=Path, required=True, nargs="+", help="what the runs learnt from")
    parser.add_argument("--json", action="store_true", help="print all tables as one JSON line, last")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    tables = {}
    try:
        samples = read_training_samples(*args.samples)
        for run in args.runs:
            tables[str(run)] = summarise(score_held(run, samples))
            print(_written(run, tables[str(run)]), flush=True)
    except (CheckpointError, FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if args.json:
        print(json.dumps(tables))
    return 0


def _written(run: Path, table: dict) -> str:
    lines = [f"{run}"]
    for material, heads in table.items():
        for head, found in heads.items():
            interval = "-".join(map(_two, found["interval"] or ()))
            lines.append(
                f"  {material:9} {head:5} {found['clips']:5} clips  AUC {_two(found['auc'])} [{interval}]  within "
                f"{_two(found['within'])}  shortcut {_two(found['shortcut'])}, {_two(found['shortcut_within'])}  "
                f"alarms {_two(found['alarms'])}")
    return "\n".join(lines)


def _two(value: float | None) -> str:
    return " - " if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
