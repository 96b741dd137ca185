"""What in a clip tells manipulation where sources are new? Each kind of evidence alone, read by the simplest model.

    python -m training.search SHARDS [--head video|audio --encoded ENCODED] [--only NAME ...] [--repeats 3]

SHARDS holds clips as they are, ENCODED what training.encode made of them, for their sound. A kind of evidence is a list
of numbers per clip: a part of what frozen networks tell, or something taken from crops and sound. A logistic regression
on its first 64 components learns from some sources and is asked about the others (repeated source-grouped
cross-validation: neither a source nor a pair is on both sides); a clip's score is the mean over the repeats. Prints a
Markdown table: AUC with its interval by identity; within sources and within pairs; the shortcut baseline of the same
clips by the same folds; and what share of the genuine clips of the worst source lies among the highest 5 % of all
genuine ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from training.crossval import Scored, figures_of
from training.datasets.splits import source_folds
from training.evidence import EVIDENCE, Evidence, Material, degraded
from training.labels import label_of
from training.metrics import stratified_auc
from training.sampling import Sample, read_samples
from training.shards import read_index
from training.shortcuts import score_by_facts

FOLDS = 5
COMPONENTS = 64  # that the regression reads, at most
# What is also learnt in other ways: each source counting alike, forgeries ranked above what they were made of, and of
# pictures from degraded copies as well.
CHOSEN = {"video": "all but the border, stages 2 to 4", "audio": "change of both"}
PARTNERS = 8  # genuine clips that a fake one is ranked above, at most


def read_evidence(samples: Sequence[Sample], encoded: Mapping[str, Sample],
                  kinds: Mapping[str, Evidence]) -> dict[str, np.ndarray]:
    """Name -> [samples, D]. encoded: by key, those that there are."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in kinds}
    for sample in tqdm(samples, unit="clip", disable=None):
        known = encoded.get(sample.key)
        material = Material(sample, sample.tensors(), {} if known is None else known.tensors())
        for name, evidence in kinds.items():
            rows[name].append(evidence(material))
    return {name: np.stack(told) for name, told in rows.items()}


def model_for(width: int, clips: int) -> object:
    """Unfitted, in scikit-learn's manner."""
    return make_pipeline(StandardScaler(), PCA(min(COMPONENTS, width, clips), whiten=True, random_state=0),
                         LogisticRegression(C=0.05, max_iter=2000, class_weight="balanced"))


def source_weights(samples: Sequence[Sample]) -> np.ndarray:
    """[n] so that each source counts as much as any other, and 1 on average."""
    names, member, size = np.unique([s.source for s in samples], return_inverse=True, return_counts=True)
    weight = 1 / size[member]
    return weight / weight.mean()


def score_by_folds(x: np.ndarray, fake: np.ndarray, folds: Iterable[tuple[np.ndarray, np.ndarray]],
                   weights: np.ndarray | None = None) -> np.ndarray:
    """Log-odds [n], the mean over all folds that hold a clip out. x [n, D]; folds: (rows to learn from, held out)."""
    total, count = np.zeros(len(x)), np.zeros(len(x))
    for learnt, held in folds:
        given = {} if weights is None else {"logisticregression__sample_weight": weights[learnt]}
        model = model_for(x.shape[1], len(learnt)).fit(x[learnt], fake[learnt], **given)
        total[held] += model.decision_function(x[held])
        count[held] += 1
    return total / count


def rank_by_folds(x: np.ndarray, fake: np.ndarray, folds: Iterable[tuple[np.ndarray, np.ndarray]],
                  samples: Sequence[Sample]) -> np.ndarray:
    """As score_by_folds, learnt from differences: of each fake clip to genuine ones of its pair, else of its source,
    else of all."""
    total, count = np.zeros(len(x)), np.zeros(len(x))
    for learnt, held in folds:
        *reduce, _ = (step for _, step in model_for(x.shape[1], len(learnt)).steps)
        seen = make_pipeline(*reduce).fit(x[learnt])
        known, rng = seen.transform(x[learnt]), np.random.default_rng(0)
        pairs = [(row, other) for row in np.flatnonzero(fake[learnt] == 1)
                 for other in _partners(samples, learnt, fake, row, rng)]
        apart = np.stack([known[row] - known[other] for row, other in pairs])
        ranked = LogisticRegression(C=0.05, fit_intercept=False, max_iter=2000).fit(
            np.concatenate([apart, -apart]), np.repeat([1, 0], len(apart)))
        total[held] += seen.transform(x[held]) @ ranked.coef_[0]
        count[held] += 1
    return total / count


def _partners(samples: Sequence[Sample], learnt: np.ndarray, fake: np.ndarray, row: int,
              rng: np.random.Generator) -> np.ndarray:
    """Rows of `learnt`."""
    own, genuine = samples[learnt[row]], np.flatnonzero(fake[learnt] == 0)
    alike = [[r for r in genuine if own.pair and samples[learnt[r]].pair == own.pair],
             [r for r in genuine if samples[learnt[r]].source == own.source], genuine]
    found = next(rows for rows in alike if len(rows))
    return rng.choice(found, min(PARTNERS, len(found)), replace=False)


def learn_from_both(x: np.ndarray, other: np.ndarray, fake: np.ndarray,
                    folds: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """As score_by_folds, learnt from `other` views of the same clips as well [n, D]."""
    both, twice = np.concatenate([x, other]), np.concatenate([fake, fake])
    folds = [(np.concatenate([learnt, learnt + len(x)]), held) for learnt, held in folds]
    padded = [(learnt, np.concatenate([held, held + len(x)])) for learnt, held in folds]
    return score_by_folds(both, twice, padded)[:len(x)]


def shortcuts_by_folds(facts: Sequence[dict], fake: np.ndarray,
                       folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Model of training.shortcuts -> score [n], as score_by_folds."""
    total: dict[str, np.ndarray] = {}
    for learnt, held in folds:
        told = score_by_facts([facts[row] for row in learnt], fake[learnt], [facts[row] for row in held])
        for name, score in told.items():
            total.setdefault(name, np.zeros(len(fake)))[held] += score
    return total


def search(samples: Sequence[Sample], encoded: Mapping[str, Sample], head: str, only: Sequence[str] | None = None,
           repeats: int = 3) -> dict[str, dict]:
    """Name of the evidence -> crossval.figures_of, with "pairs": the AUC within pairs. samples: as they are.

    Raises: ValueError for evidence that there is not, or where one class is missing.
    """
    kinds = EVIDENCE[head]
    if unknown := set(only or ()) - kinds.keys():
        raise ValueError(f"no evidence is called {', '.join(sorted(unknown))}; there are {', '.join(kinds)}")
    kinds = {name: kinds[name] for name in only or kinds}
    used = [s for s in samples if (s.has_picture if head == "video" else s.has_sound and s.key in encoded)]
    fake = np.array([label_of(s, head) for s in used])
    if len(set(fake)) < 2:
        raise ValueError("search needs genuine and fake clips")
    row_of = {s: row for row, s in enumerate(used)}
    folds = [tuple(np.array([row_of[s] for s in side]) for side in fold) for fold in source_folds(used, FOLDS, repeats)]
    lines = {(folder, line["key"]): line["facts"] for folder in {s.folder for s in used}
             for line in read_index(folder) if "skipped" not in line}
    guesses = shortcuts_by_folds([lines[s.folder, s.key] for s in used], fake, folds)
    shortcut = max(guesses.values(), key=lambda guess: stratified_auc(guess, fake, np.zeros(len(fake))))
    found = {}
    told = read_evidence(used, encoded, kinds)
    scores = {name: score_by_folds(x, fake, folds) for name, x in told.items()}
    if (best := CHOSEN[head]) in told:
        scores[f"{best}; each source alike"] = score_by_folds(told[best], fake, folds, source_weights(used))
        scores[f"{best}; fakes above their originals"] = rank_by_folds(told[best], fake, folds, used)
        if head == "video":
            copies = read_evidence(used, encoded, {"": degraded})[""]
            scores[f"{best}; degraded copies as well"] = learn_from_both(told[best], copies, fake, folds)
    for name, score in scores.items():
        rows = [Scored(s, head, label, value, guess) for s, label, value, guess in zip(used, fake, score, shortcut)]
        found[name] = {**figures_of(rows, "published"),
                       "pairs": stratified_auc(score, fake, [s.pair or s.key for s in used])}
    return found


def as_table(found: Mapping[str, dict]) -> str:
    one = next(iter(found.values()))
    rows = [("evidence", "AUC", "within source", "within pair", "worst source's alarms"), ("---",) * 5,
            *((name, "{:.2f} [{:.2f}–{:.2f}]".format(f["auc"], *f["interval"] or (np.nan,) * 2), _two(f["within"]),
               _two(f["pairs"]), "–" if f["alarms"] is None else f"{f['alarms']:.0%}") for name, f in found.items()),
            ("shortcuts", _two(one["shortcut"]), _two(one["shortcut_within"]), "", "")]
    return f"{one['clips']} clips\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _two(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.2f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.search", description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="of training.prepare --as-is")
    parser.add_argument("--encoded", type=Path, help="what training.encode made of them; for sound")
    parser.add_argument("--head", choices=list(EVIDENCE), default="video", help="whose truth is asked about (video)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the kinds of evidence")
    parser.add_argument("--split", default="train", help="whose clips (train)")
    parser.add_argument("--repeats", type=int, default=3, help="of the cross-validation (3)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        samples = [s for s in read_samples(args.shards) if s.split == args.split]
        encoded = {s.key: s for s in read_samples(args.encoded)} if args.encoded else {}
        if args.head == "audio" and not encoded:
            raise ValueError("sound needs --encoded")
        print(as_table(search(samples, encoded, args.head, args.only, args.repeats)))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
