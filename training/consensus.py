"""How the shipped detectors are heard together: a fit for every set of them, on sources that none of them learnt from.

    python -m training.consensus RUNS --samples SHARDS [SHARDS ...] [--clips N] [--jobs N] [--json]

RUNS/<detector> is the run that each shipped checkpoint came from (one without a run has no say); SHARDS are those that
it was calibrated on. Clips that all of them held out are scored as the app does it, by the networks that did not learn
from them. Who held out too few clips that the others held out as well has no say. For each set of two and more, weights
that are not negative are fitted by logistic regression to the calibrated log-odds of clips whose picture or sound is
manipulated, and of genuine ones; these classes, and in them the sources, count alike. A set in which nobody tells
anything gets no fit: it is heard without one. Thresholds of the whole answer, sync included, let few of
the genuine clips through, as training.calibrate has them: as they are, and as copies of training.coded. Writes
consensus.json beside the checkpoints, whose weights it names by their hashes: new ones need a new fit.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from detectors import CheckpointError, Verdict, shipped
from detectors.checkpoint import CHECKPOINTS, read_checkpoint
from detectors.consensus import FITS, Fit, Voice, log_odds, voice_of
from training.calibrate import (
    FALSE_ALARMS,
    FLOORS,
    Part,
    analyse_all,
    as_found,
    held_parts,
    some_groups,
    threshold_for_new_sources,
)
from training.labels import fake_of, label_of
from training.metrics import auc, stratified_auc
from training.sampling import Sample, read_training_samples

LEAST_CLIPS = 100  # that all who have a say held out
# On the weights' distance from equal ones. Clips are many and sources few: of the sources left out of a fit, weights
# that lie so near to equal ones tell most (docs/experiments.md, 30).
RIDGE = 0.1
Name = tuple[Path, str]  # folder and key of a sample


def fit(log_odds: np.ndarray, fake: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, float]:
    """(weights [d] >= 0, bias) of log_odds [n, d], fake [n], and what each clip counts [n], which adds up to 1."""
    equal = np.full(log_odds.shape[1], 1 / log_odds.shape[1])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights, logit = values[:-1], log_odds @ values[:-1] + values[-1]
        pull = count * (1 / (1 + np.exp(-logit)) - fake)
        away = weights - equal
        return (float(count @ (np.logaddexp(0, logit) - fake * logit) + RIDGE * away @ away),
                np.append(pull @ log_odds + 2 * RIDGE * away, pull.sum()))

    found = minimize(loss, np.append(equal, 0.0), jac=True, bounds=[*[(0, None)] * len(equal), (None, None)])
    return found.x[:-1], float(found.x[-1])


def counts(sources: Sequence[str], fake: np.ndarray) -> np.ndarray:
    """[n]: genuine and fake count alike, and within each the sources, of which some hold a hundred clips and some one:
    what is brought comes from another one."""
    size = Counter(zip(sources, fake))
    count = np.array([1 / size[cell] for cell in zip(sources, fake)])
    for label in (0, 1):
        count[fake == label] /= 2 * count[fake == label].sum()
    return count


def fit_set(names: Sequence[str], said: Mapping[Name, Mapping[str, Voice]],
            samples: Mapping[Name, Sample]) -> tuple[Fit, dict]:
    """(the fit of these detectors, what it is worth on the clips that made it).

    Raises: ValueError where a class has no clip that all of them judge.
    """
    judged = [name for name in samples if all(said[name][d].score is not None for d in names)]
    fake = np.array([fake_of(samples[name]) for name in judged])
    whole = np.array([label_of(samples[name], "whole") for name in judged])
    coded = np.array([bool(samples[name].coded) for name in judged])
    taught = [(name, label) for name, label, any_fake in zip(judged, whole, fake)
              if label == any_fake and not samples[name].coded]  # not by sync
    labels = np.array([label for _, label in taught])
    if len(set(labels)) < 2:
        raise ValueError(f"no genuine, or no fake, clip was held out and judged by all of {', '.join(names)}")
    told = np.array([[log_odds(said[name][d].manipulated) for d in names] for name, _ in taught])
    weights, bias = fit(told, labels, counts([samples[name].source for name, _ in taught], labels))
    made = Fit({d: round(float(w), 4) for d, w in zip(names, weights)}, round(bias, 4), 1.0, 1.0)
    score = np.array([made.score({d: said[name][d] for d in names}) for name in judged])
    sources = np.array([samples[name].source for name in judged])
    genuine = score[fake == 0], sources[fake == 0]
    thresholds = {name: round(max(threshold_for_new_sources(*genuine, share), FLOORS[name]), 4)
                  for name, share in FALSE_ALARMS.items()}
    found = score[~coded], fake[~coded]
    worth = {"clips": int((~coded).sum()), "genuine": int((fake[~coded] == 0).sum()), "coded": int(coded.sum()),
             "auc": round(auc(*found), 4), "auc_within_source": round(stratified_auc(*found, sources[~coded]), 4)}
    return replace(made, **thresholds), worth


def fitted() -> dict[str, dict]:
    """Cards of the shipped detectors that say which weights they are of. Those calibrated before cards did have no say:
    what they held out is not known."""
    return {name: card for name, card in shipped().items() if "weights" in card}


def heard(held: Mapping[str, set[Name]]) -> tuple[str, ...]:
    """Who has a say, of detectors and what each held out: as many as held out LEAST_CLIPS together, and of as many
    those who held out most. Raises: ValueError where no two did."""
    for size in range(len(held), 1, -1):
        together = {names: len(set.intersection(*(held[name] for name in names)))
                    for names in combinations(sorted(held), size)}
        most = max(together, key=together.get)
        if together[most] >= LEAST_CLIPS:
            return most
    raise ValueError(f"no two detectors held out {LEAST_CLIPS} clips that are the same")


def score_held(runs: Path, samples: Sequence[Sample], clips: int | None,
               jobs: int) -> tuple[dict[Name, dict[str, Voice]], dict[Name, Sample]]:
    """What each detector that is heard says, and the samples, of the labelled clips that all of them held out, and of
    the genuine ones' coded copies.

    Raises: CheckpointError as held_parts, or for a run whose weights were not the ones that were shipped; ValueError
    as heard.
    """
    parts = {name: held_parts(runs / name, card, samples) for name, card in fitted().items()}
    held = {name: {(s.folder, s.key) for part in own for s in as_found(part.held, coded=True)
                   if fake_of(s) in ((0,) if s.coded else (0, 1))} for name, own in parts.items()}
    names = heard(held)
    common = set.intersection(*(held[name] for name in names))
    kept = [s for s in samples if (s.folder, s.key) in common]
    kept = kept if clips is None else some_groups(kept, clips, seed=0)
    wanted = {(s.folder, s.key): s for s in kept}
    silent = Voice(None, Verdict.CANNOT_EVALUATE)
    found: dict[Name, dict[str, Voice]] = {name: dict.fromkeys(names, silent) for name in wanted}
    for detector in names:
        _, card = read_checkpoint(CHECKPOINTS / f"{detector}.safetensors")
        less = [Part(p.checkpoint, tuple(s for s in p.held if (s.folder, s.key) in wanted)) for p in parts[detector]]
        for sample, analysis in analyse_all(less, card["calibration"], jobs):
            found[sample.folder, sample.key][detector] = voice_of(analysis)
    return found, wanted


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.consensus", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of the shipped detectors' runs, one folder each")
    parser.add_argument("--samples", type=Path, required=True, nargs="+", help="what training.prepare wrote")
    parser.add_argument("--clips", type=int, metavar="N", help="score at most so many clips (all)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print what was written as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        samples = read_training_samples(*args.samples)
        said, held = score_held(args.runs, samples, args.clips, args.jobs)
        detectors = sorted(next(iter(said.values())))
        fits = {"+".join(names): fit_set(names, said, held)
                for size in range(2, len(detectors) + 1) for names in combinations(detectors, size)}
        fits = {names: (made, worth) for names, (made, worth) in fits.items() if any(made.weights.values())}
    except (CheckpointError, FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    card = {
        "fits": {name: asdict(fit) for name, (fit, _) in fits.items()},
        "development": {name: worth for name, (_, worth) in fits.items()},
        "weights": {name: card["weights"] for name, card in fitted().items() if name in detectors},
        "left_out": sorted(shipped().keys() - set(detectors)),
        "command": "python -m training.consensus runs --samples SHARDS"
                   + ("" if args.clips is None else f" --clips {args.clips}"),
    }
    (CHECKPOINTS / FITS).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for made, worth in fits.values():
        told = ", ".join(f"{d} {w:.2f}" for d, w in made.weights.items())
        print(f"{worth['clips']:5} clips  AUC {worth['auc']:.3f}  within {worth['auc_within_source']:.3f}  {told}")
    if args.json:
        print(json.dumps(card))
    return 0


if __name__ == "__main__":
    sys.exit(main())
