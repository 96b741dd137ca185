"""A trained run becomes a checkpoint: calibrated on clips of sources that it never learnt from, with its operating
thresholds and its card.

    python -m training.calibrate runs/ss_avd --samples SHARDS [SHARDS ...] [--out assets/checkpoints/ss_avd.safetensors]

A run that held a fold out is calibrated on that fold: it took part in choosing the step, but no weight was fitted to
it. A run that learnt from everything is calibrated by the networks of its folds, RUN/fold-K, each on what it held out.
SHARDS hold pictures and sound: what training.prepare wrote, not training.encode.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from detectors import MODULES, Analysis, CheckpointError, Detector, Thresholds, WindowScores, analyse_clip
from detectors.__main__ import measure_size
from detectors.checkpoint import CHECKPOINTS, read_card, read_checkpoint, ship_checkpoint, weights_hash
from detectors.segments import clip_score
from training.labels import fake_of, label_of
from training.lessons import LESSONS
from training.log import read_log
from training.sampling import Sample, read_training_samples, split_fold, without_forged
from training.shards import read_command

HEADS = ("video", "audio", "sync", "whole")
FALSE_ALARMS = {"manipulated": 0.05, "suspicious": 0.15}  # of genuine clips of sources that are not known yet, at most
SURE = 0.8  # in so many of all redrawn sets of development sources; other sources look unlike these
# Whatever the false alarms: an even chance is no sign, and a span that is pointed at needs more than a suspicion.
FLOORS = {"manipulated": 0.8, "suspicious": 0.6, "segment_on": 0.7}
# Sound that does not belong to its picture is rare, and its evidence is noisy: so many genuine development clips may
# look more likely mismatched than not. At even odds every fifth would.
MISMATCHED_GENUINE = 0.02
MARKED_GENUINE = 0.15  # of genuine development clips may have a moment that would open a segment
HYSTERESIS = 0.15  # a segment closes this far below where it opens
_UNSET = Thresholds(manipulated=1.0, suspicious=1.0, segment_on=1.0, segment_off=1.0)  # while scores are gathered

Scored = list[tuple[Sample, Analysis]]


@dataclass(frozen=True)
class Part:
    """A trained network, and samples of sources that it never learnt from."""

    checkpoint: Path
    held: tuple[Sample, ...]


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
    return float(np.nextafter(ranked[allowed], np.inf))


def threshold_for_new_sources(genuine: np.ndarray, sources: Sequence[str], false_alarms: float) -> float:
    """The threshold that keeps its promise for SURE of 500 bootstrap draws of the sources of genuine scores [n]: some
    sources are full of alarms, and it is chance whether one of them is among those at hand."""
    sources, rng = np.asarray(sources), np.random.default_rng(0)
    names = np.unique(sources)
    of_source = [genuine[sources == name] for name in names]
    draws = (rng.integers(len(names), size=len(names)) for _ in range(500))
    drawn = [threshold_at(np.concatenate([of_source[i] for i in draw]), false_alarms) for draw in draws]
    return float(np.quantile(drawn, SURE))


def calibrate(run: Path, samples: Sequence[Sample], jobs: int = 1, clips: int | None = None) -> tuple[dict, dict]:
    """(weights, card) with calibration and thresholds; the card's results are filled in by training.evaluate.

    samples are those of the training split; of the development clips at most `clips` are scored, all versions of a
    clip or none.

    Raises: CheckpointError for a run without weights; ValueError where no genuine development clip can be judged.
    """
    state, card = read_checkpoint(trained_weights(run))
    parts = held_parts(run, card, samples, clips)
    card["calibration"] = fit_heads(analyse_all(parts, {}, jobs))
    genuine = [Part(part.checkpoint, tuple(s for s in as_found(part.held, coded=True) if fake_of(s) == 0))
               for part in parts]
    card["thresholds"] = draw_thresholds(analyse_all(genuine, card["calibration"], jobs))
    module = MODULES[card["recipe"]["detector"]]
    held = {(s.folder, s.key) for part in parts for s in part.held}
    learnt = samples
    if card["fold"] is not None:
        kept = {(s.folder, s.key) for s in held_samples(samples, card, card["fold"])}
        learnt = [s for s in samples if (s.folder, s.key) not in kept]
    card |= {
        "name": module.NAME, "paper": module.CITATION, "provisional": True,
        "weights": weights_hash(state, card["calibration"]),
        "size": measure_size(module),
        "commit": commit(),
        "commands": _commands(card, samples, clips),
        "hours": _hours(run, card),
        "data": {"training": _counts(learnt),
                 "development": _counts([s for s in samples if (s.folder, s.key) in held])},
    }
    return state, card


def trained_weights(run: Path) -> Path:
    """The checkpoint of a run.

    Raises: CheckpointError when there is none.
    """
    if not (run / "best.safetensors").is_file():
        raise CheckpointError(f"{run} holds no best.safetensors; run training.train first")
    return run / "best.safetensors"


def held_parts(run: Path, card: dict, samples: Sequence[Sample], clips: int | None = None) -> list[Part]:
    """The network of the run, or those of its folds, each with the samples of the fold that it held out. Of `clips` at
    most in all, and beside them every genuine one with picture and sound: few of these look mismatched, and how few is
    told by the highest of all.

    Raises: CheckpointError where a fold's network is missing.
    """
    folds, parts = fold_runs(run, card), []
    for folder, fold in folds.items():
        weights = trained_weights(folder)
        held = held_samples(samples, read_card(weights), fold)
        if clips is not None:
            some = {(s.folder, s.key) for s in some_groups(held, math.ceil(clips / len(folds)), card["recipe"]["seed"])}
            held = [s for s in held if (s.folder, s.key) in some or (s.sync_fake == 0 and s.shows_face and s.has_voice)]
        parts.append(Part(weights, tuple(held)))
    return parts


def held_samples(samples: Sequence[Sample], card: dict, fold: int) -> list[Sample]:
    """Those of the sources that a fold's run held out; they may be more than it had then, or other forgeries of them.
    A run on clips without sources is dealt again, which needs the same samples."""
    if sources := card.get("held_sources"):
        return [s for s in samples if s.source in sources]
    return split_fold(samples, card["recipe"]["folds"], fold, card["recipe"]["seed"])[1]


def as_found(samples: Sequence[Sample], coded: bool = False) -> list[Sample]:
    """Clips of the corpora, without forgeries, the originals beside them and (unless `coded`) copies through codecs,
    where there are genuine and fake ones of these: what training.forge makes is shorter, more hidden and more degraded
    than what people bring, and a probability that was fitted to it would be timid."""
    found = [s for s in without_forged(samples) if coded or not s.coded]
    return found if {fake_of(s) for s in found} >= {0, 1} else list(samples)


def fold_runs(run: Path, card: dict) -> dict[Path, int]:
    """The run itself, or where it learnt from everything the runs of its folds; and the fold that each held out."""
    return {run: card["fold"]} if card["fold"] is not None else {
        run / f"fold-{fold}": fold for fold in range(card["recipe"]["folds"])}


def some_groups(samples: Sequence[Sample], most: int, seed: int) -> list[Sample]:
    """At most so many samples, in whole groups, drawn at random."""
    size = Counter(s.group for s in samples)
    names = np.array(sorted(size))[np.random.default_rng(seed).permutation(len(size))]
    kept = {name for name, total in zip(names, np.cumsum([size[name] for name in names])) if total <= most}
    return [s for s in samples if s.group in kept]


# ---- scores -----------------------------------------------------------------------------------------------------


def analyse_all(parts: Sequence[Part], calibration: dict, jobs: int) -> Scored:
    """Every held sample as the app would answer it, thresholds aside; those without an answer are left out."""
    tasks = [(part.checkpoint, sample) for part in parts for sample in part.held]
    work = partial(_analyse, calibration=json.dumps(calibration))
    how = {"total": len(tasks), "unit": "clip", "file": sys.stderr, "mininterval": 5}
    if jobs == 1:
        found = list(tqdm(map(work, tasks), **how))
    else:
        # spawn: a forked child would inherit torch's thread pool in an unusable state
        with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
            found = list(tqdm(pool.imap(work, tasks, chunksize=4), **how))
    return [(sample, analysis) for (_, sample), analysis in zip(tasks, found) if analysis.score is not None]


def _analyse(task: tuple[Path, Sample], calibration: str) -> Analysis:
    checkpoint, sample = task
    return analyse_clip(sample.clip(), _detector(checkpoint, calibration))


@lru_cache(maxsize=2)
def _detector(checkpoint: Path, calibration: str) -> Detector:
    """calibration: JSON of card["calibration"]."""
    state, card = read_checkpoint(checkpoint)
    card |= {"calibration": json.loads(calibration), "thresholds": asdict(_UNSET), "checkpoint": "",
             "provisional": True}
    return MODULES[card["recipe"]["detector"]].load_detector(state, card, "cpu")


# ---- calibration ------------------------------------------------------------------------------------------------


def fit_heads(scored: Scored) -> dict[str, dict[str, float]]:
    """Head -> Platt's scale and bias, of uncalibrated clips, for even odds. A head whose development clips are all
    genuine, or all fake, has none and stays as it is. The others are fitted to clips as_found. `sync` is only moved,
    so that few genuine clips, degraded ones too, lie above an even chance: its scale was fitted with the lip-sound
    pair, to far more mismatched clips than there are here."""
    fits, found = {}, {(s.folder, s.key) for s in as_found([sample for sample, _ in scored])}
    for head in HEADS:
        told = scored if head == "sync" else [(s, a) for s, a in scored if (s.folder, s.key) in found]
        logits, labels = clip_logits(told, head)
        if head == "sync" and 0 in labels:
            fits[head] = {"scale": 1.0, "bias": -threshold_at(logits[labels == 0], MISMATCHED_GENUINE)}
        elif len(set(labels)) == 2:
            fits[head] = fit_platt(logits, labels)
    return fits


def clip_logits(scored: Scored, head: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n] and labels [n] of the clips that have both for this head."""
    rows = []
    for sample, analysis in scored:
        scores = analysis.windows[0]
        score = clip_score(own_whole(scores) if head == "whole" else getattr(scores, head))
        label = label_of(sample, head)
        if score is not None and not math.isnan(label):
            rows.append((score, label))
    score, label = np.array(rows, float).reshape(-1, 2).T
    score = np.clip(score, 1e-6, 1 - 1e-6)
    return np.log(score / (1 - score)), label


def own_whole(scores: WindowScores) -> np.ndarray | None:
    """What the whole-clip head says [k], without the windows in which it repeats the head of the only modality that
    is there: that one has a calibration of its own."""
    if scores.whole is None or scores.video is None or scores.audio is None:
        return scores.whole
    repeated = ((np.isnan(scores.audio) & (scores.whole == scores.video))
                | (np.isnan(scores.video) & (scores.whole == scores.audio)))
    return scores.whole[~repeated]


def draw_thresholds(genuine: Scored) -> dict[str, float]:
    """Operating points from the answers to genuine clips, as they are and through codecs: the clip's score, and its
    highest moment.

    Raises: ValueError when there is none.
    """
    if not genuine:
        raise ValueError("no genuine development clip can be judged; thresholds need some")
    clips, sources = np.array([analysis.score for _, analysis in genuine]), [sample.source for sample, _ in genuine]
    thresholds = {name: max(threshold_for_new_sources(clips, sources, share), FLOORS[name])
                  for name, share in FALSE_ALARMS.items()}
    highest = np.array([highest_moment(analysis.windows) for _, analysis in genuine])
    opens = float(np.clip(threshold_at(highest, MARKED_GENUINE), FLOORS["segment_on"], 0.95))
    return {**thresholds, "segment_on": opens, "segment_off": opens - HYSTERESIS}


def highest_moment(windows: Iterable[WindowScores]) -> float:
    """The score that a segment could have at most: of the detector's own proposals, else of any window and modality."""
    found = [0.0]
    for scores in windows:
        if scores.proposals is not None:
            found += [p.score for p in scores.proposals]
        else:
            curves = [values for values in (scores.video, scores.audio, scores.sync) if values is not None]
            found += [float(values[np.isfinite(values)].max(initial=0.0)) for values in curves]
    return max(found)


# ---- the card ---------------------------------------------------------------------------------------------------


def commit() -> str:
    """The project's commit that runs here; empty outside of a git checkout or without git."""
    if shutil.which("git") is None:
        return ""
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip()


def _commands(card: dict, samples: Sequence[Sample], clips: int | None = None) -> list[str]:
    """What made these weights, in order; training.evaluate --card adds how they were measured. SHARDS stands for all
    folders of them. Noises are told of where a lesson could mix them in, not where it learnt from what was encoded."""
    recipe, fold = card["recipe"], "all" if card["fold"] is None else card["fold"]
    detector, processes = recipe["detector"], card["processes"]
    run = f"runs/{detector}"
    lesson = recipe.get("lesson", {})
    encoding, learnt_from = _encoding(lesson.get("encoders"), LESSONS[detector].reads_encoded)
    noise = "--noise DATA/noise " if card.get("noises") and learnt_from == "SHARDS" else ""
    start = "python" if processes == 1 else f"torchrun --nproc-per-node {processes}"
    return [
        *sorted({read_command(folder) for folder in {s.folder for s in samples}} - {""}),
        *encoding,
        *(["python -m training.lessons.sync training/recipes/sync.yaml --samples SHARDS"] if "pair" in lesson else []),
        f"{start} -m training.train training/recipes/{detector}.yaml --samples {learnt_from} {noise}--fold {fold}",
        f"python -m training.calibrate {run} --samples SHARDS" + ("" if clips is None else f" --clips {clips}"),
    ]


def _encoding(encoders: str | None, reads_encoded: bool) -> tuple[list[str], str]:
    """What came before a detector that builds on encoders, kept in that folder; and what it learnt from."""
    taken = [] if encoders is None else [f"python -m training.pretrained --out {encoders}"]
    if encoders is None or not reads_encoded:
        return taken, "SHARDS"
    return [*taken, f"python -m training.encode SHARDS --out ENCODED --encoders {encoders}"], "ENCODED"


def _hours(run: Path, card: dict) -> float | None:
    """That the training took, folds aside: what the run's log says of its pace. None without a log."""
    if not (run / "log.csv").is_file():
        return None
    pace = read_log(run / "log.csv").get("samples_per_s", {})
    last = pace[max(pace)] if pace else 0.0
    return round(max(pace) * card["recipe"]["batch"] / last / 3600, 2) if last else None


def _counts(samples: Sequence[Sample]) -> dict:
    families = Counter(s.family for s in samples)
    return {"clips": len(samples), "forged": sum(bool(s.forged) for s in samples),
            "sources": len({s.source for s in samples}),
            "hours": round(sum(s.duration_s for s in samples) / 3600, 2), "families": dict(sorted(families.items()))}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.calibrate", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that training.train wrote")
    parser.add_argument("--samples", type=Path, required=True, nargs="+", help="what training.prepare wrote")
    parser.add_argument("--clips", type=int, metavar="N", help="score at most so many development clips (all)")
    parser.add_argument("--jobs", type=int, default=max(multiprocessing.cpu_count(), 1))
    parser.add_argument("--out", type=Path, help="default: where the app looks for the detector's checkpoint")
    args = parser.parse_args(argv)
    try:
        detector = read_card(trained_weights(args.run))["recipe"]["detector"]
        samples = read_training_samples(*args.samples)
        state, card = calibrate(args.run, samples, args.jobs, args.clips)
    except (CheckpointError, FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    ship_checkpoint(args.out or CHECKPOINTS / f"{detector}.safetensors", state, card)
    print(json.dumps({key: card[key] for key in ("calibration", "thresholds", "data")}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
