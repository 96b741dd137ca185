"""The norm statistics and the linear heads of a trained SS-AVD run, fitted again with everything else frozen.

    python -m training.refit runs/ss_avd --samples SHARDS [SHARDS ...] [--noise DATA/noise]

The averaged weights of a short, steep schedule do not fit the running statistics that were gathered on the way; VPM
multiplies its maps with each other, so a small misfit grows from block to block. Hence the statistics are measured
anew (precise batch norm, Wu & Johnson 2021). And such a schedule leaves the last layer far from its optimum; a
logistic regression finds that in seconds (classifier re-training, Kang et al., ICLR 2020). A head is replaced only
where the refit ranks the sources of the held-out fold better; of a run that learnt from everything, none is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from detectors.checkpoint import read_checkpoint, save_checkpoint
from detectors.scoring import to_inputs
from detectors.ss_avd import FAKE, REAL, SSAVD, DropPath, build, load_detector
from detectors.windows import cut_windows
from training.augment import degrade_faces, degrade_sound
from training.labels import labels_between, whole_label
from training.lessons import LESSONS, Batch, recipe_of
from training.metrics import auc
from training.sampling import Sample, draw_start, load_noises, read_samples, split_fold

SETTLED = "settled.safetensors"
HEADS = {"video": "f_v", "audio": "f_a", "whole": "z"}
NORM_BATCHES = 48  # of the training stream
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # inverse of the penalty; the best on the held-out fold is taken

Row = tuple[np.ndarray, float, str]  # feature [C], fake, source


@torch.no_grad()
def settle_norms(model: SSAVD, draw: Callable[[int], Batch], count: int) -> None:
    """Replace every running mean and variance by its plain average over `count` training batches; draw(step) gives
    one."""
    model.train()
    for module in model.modules():
        if isinstance(module, DropPath):
            module.eval()
        elif isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # cumulative average
    for step in range(count):
        batch = draw(step)
        model(None if batch["video"] is None else batch["video"].float() / 255, batch["audio"])
    model.eval()


def extract(samples: Sequence[Sample], run: Path, noises: Sequence[np.ndarray] | None) -> dict[str, list[Row]]:
    """Per head, the feature, label and source of one window of each sample, as the run's settled network sees it.
    Windows are degraded as in training where `noises` are given, even if empty; None leaves them as they are."""
    torch.set_num_threads(1)
    state, card = read_checkpoint(run / SETTLED)
    detector = load_detector(state, card)
    found: dict[str, list[Row]] = {head: [] for head in HEADS}
    for sample in samples:
        rng = np.random.default_rng((card["recipe"]["seed"], *sample.key.encode()))
        marked = [name for name in ("video", "audio") if getattr(sample, f"{name}_fake") == 1]
        start_s = draw_start(sample, detector.spec.window_s, rng, marked[rng.integers(len(marked))] if marked else "")
        windows = cut_windows(sample.clip(), detector.spec, np.array([start_s]))[0]
        if not (windows.has_face[0] or windows.has_audio[0]):
            continue
        if noises is not None and windows.has_face[0]:
            windows.faces[0] = degrade_faces(windows.faces[0], rng)
        if noises is not None and windows.has_audio[0]:
            windows.audio[0] = degrade_sound(windows.audio[0], rng, noises)
        labels = labels_between(sample, windows.start_s, windows.end_s)
        labels["whole"] = whole_label(sample, labels)
        inputs = to_inputs(windows, np.array([0]), detector.device)
        with torch.inference_mode():
            out = detector.model(inputs.faces, inputs.audio)
        for head, name in HEADS.items():
            feature: Tensor | None = getattr(out, name)
            if feature is not None and not np.isnan(labels[head][0]):
                found[head].append((feature[0].numpy(), labels[head][0], sample.source))
    return found


def extract_all(samples: Sequence[Sample], jobs: int, **how) -> dict[str, list[Row]]:
    parts = [samples[i::jobs * 4] for i in range(jobs * 4)]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        found = pool.map(partial(extract, **how), parts, chunksize=1)
    return {head: [row for part in found for row in part[head]] for head in HEADS}


def fit_head(train: list[Row], dev: list[Row]) -> tuple[np.ndarray, float]:
    """Weights [C] on the feature and their AUC on dev. Sources count by the square root of their size, classes
    alike. The intercept is left to calibration: the paper's heads have none."""
    features, fake, sources = _columns(train)
    mean, scale = features.mean(0), features.std(0) + 1e-6
    names, member, size = np.unique(sources, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(size[member])
    for label in (0, 1):
        weight[fake == label] /= weight[fake == label].sum()
    dev_features, dev_fake, _ = _columns(dev)
    best = (np.zeros(features.shape[1]), -1.0)
    for strength in STRENGTHS:
        fit = LogisticRegression(C=strength, max_iter=2000)
        fit.fit((features - mean) / scale, fake, sample_weight=weight * len(fake) / 2)
        direction = fit.coef_[0] / scale
        measured = auc(dev_features @ direction, dev_fake)
        if measured > best[1]:
            best = (direction, measured)
    return best


def refit(run: Path, samples: Sequence[Sample], noises: Sequence[np.ndarray], jobs: int) -> dict[str, dict[str, float]]:
    """Writes run/refit.safetensors; gives, per head, the AUC on the held-out fold before and after."""
    state, card = read_checkpoint(run / "best.safetensors")
    recipe = recipe_of(card)
    learn, held = split_fold(samples, recipe.folds, card["fold"], recipe.seed)
    model = build(card)
    model.load_state_dict(state)
    lesson = LESSONS[recipe.detector](recipe, learn, noises)
    settle_norms(model, lambda step: lesson.batch(step, 0, 1), NORM_BATCHES)
    state = model.state_dict()
    save_checkpoint(run / SETTLED, state, card)
    report = _refit_heads(run, state, learn, held, noises, jobs) if held else {}
    card["refit"] = report
    save_checkpoint(run / "refit.safetensors", state, card)
    return report


def _refit_heads(run: Path, state: dict[str, Tensor], learn: Sequence[Sample], held: Sequence[Sample],
                 noises: Sequence[np.ndarray], jobs: int) -> dict[str, dict[str, float]]:
    """Changes `state` where a fitted head ranks better. Heads that lack a class are left alone and out."""
    train_rows = extract_all(learn, jobs, run=run, noises=noises)
    dev_rows = extract_all(held, jobs, run=run, noises=None)
    report = {}
    for head in HEADS:
        if any(len({fake for _, fake, _ in rows[head]}) < 2 for rows in (train_rows, dev_rows)):
            continue
        name = f"head_{head}.weight"
        features, fake, _ = _columns(dev_rows[head])
        before = auc(features @ (state[name][FAKE] - state[name][REAL]).numpy(), fake)
        direction, after = fit_head(train_rows[head], dev_rows[head])
        report[head] = {"before": round(before, 4), "after": round(after, 4)}
        if after > before:
            half = torch.from_numpy(direction).float() / 2  # logit = fake row - real row
            state[name] = torch.stack([half, -half] if FAKE == 0 else [-half, half])
    return report


def _columns(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """features [n, C], fake [n], sources [n]"""
    features, fake, sources = zip(*rows)
    return np.stack(features).astype(np.float64), np.array(fake), np.array(sources)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.refit", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that training.train wrote")
    parser.add_argument("--samples", type=Path, required=True, nargs="+")
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    args = parser.parse_args(argv)
    if not (args.run / "best.safetensors").is_file():
        parser.error(f"{args.run} holds no best.safetensors; train first")
    samples = [s for s in read_samples(*args.samples) if s.split == "train"]
    print(json.dumps(refit(args.run, samples, load_noises(args.noise), args.jobs), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
