"""The norm statistics and the linear heads of a trained run, fitted again with everything else frozen.

    python -m training.refit runs/ss_avd --samples SAMPLES [--noise DATA/noise]

The averaged weights of a short, steep schedule do not fit the running statistics that were gathered on the way; VPM
multiplies its maps with each other, so a small misfit grows from block to block. Hence the statistics are measured
anew (precise batch norm, Wu & Johnson 2021). And such a schedule leaves the last layer far from its optimum; a
logistic regression finds that in seconds (classifier re-training, Kang et al., ICLR 2020). A head is replaced only
where the refit ranks the development sources better.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from detectors.checkpoint import read_checkpoint, save_checkpoint
from detectors.ss_avd import FAKE, REAL, SHIPPED_SPEC, SSAVD, DropPath, build, either_fake, load_detector
from training.augment import degrade_faces, degrade_sound
from training.forgeries import forge_faces
from training.metrics import auc
from training.recipe import Recipe
from training.sampling import Batches, Sample, load_window, read_samples, split_sources

SETTLED = "settled.safetensors"
HEADS = {"video": "f_v", "audio": "f_a", "whole": "z"}
DRAWS = 1  # windows per training clip, degraded as in training
NORM_BATCHES = 48  # of the training stream
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # inverse of the penalty; the best on development sources is taken


@torch.no_grad()
def settle_norms(model: SSAVD, batches: Batches, count: int) -> None:
    """Replace every running mean and variance by its plain average over `count` training batches."""
    model.train()
    for module in model.modules():
        if isinstance(module, DropPath):
            module.eval()
        elif isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # cumulative average
    for item in range(count):
        batch = batches[item]
        model(None if batch["video"] is None else batch["video"].float() / 255, batch["audio"])
    model.eval()


def extract(rows: list[tuple[Sample, int]], run: Path, degrade: bool, noise_dir: Path | None) -> dict[str, list]:
    """Per head: (feature [C], fake, source) of each window. Row: a clip, and which of its draws."""
    torch.set_num_threads(1)
    state, card = read_checkpoint(run / SETTLED)
    model: SSAVD = load_detector(state, card).model
    noises = Batches.load_noises(noise_dir) if degrade else []
    forged_share = card["recipe"]["forged_share"]
    found: dict[str, list] = {head: [] for head in HEADS}
    for sample, draw in rows:
        rng = np.random.default_rng((card["recipe"]["seed"], 2, draw, int(sample.key.split("-")[0], 16) % 2**32))
        faces, sound = load_window(sample, SHIPPED_SPEC, rng, sample.has_picture, sample.has_sound)
        video_fake = sample.video_fake if sample.has_picture else np.nan
        if degrade and faces is not None:
            if video_fake == 0 and rng.random() < forged_share:
                faces, video_fake = forge_faces(faces, rng, None), 1.0
            faces = degrade_faces(faces, rng)
        if degrade and sound is not None:
            sound = degrade_sound(sound, rng, noises)
        audio_fake = sample.audio_fake if sample.has_sound else np.nan
        fake = {"video": video_fake, "audio": audio_fake,
                "whole": either_fake(torch.tensor(video_fake), torch.tensor(audio_fake)).item()}
        with torch.inference_mode():
            out = model(None if faces is None else torch.from_numpy(faces)[None].permute(0, 1, 4, 2, 3).float() / 255,
                        None if sound is None else torch.from_numpy(sound)[None])
        for head, name in HEADS.items():
            feature: Tensor | None = getattr(out, name)
            if feature is not None and not np.isnan(fake[head]):
                found[head].append((feature[0].numpy(), fake[head], sample.source))
    return found


def extract_all(samples: list[Sample], draws: int, jobs: int, **how) -> dict[str, list]:
    rows = [(s, d) for s in samples if s.has_picture or s.has_sound for d in range(draws)]
    parts = [rows[i::jobs * 4] for i in range(jobs * 4)]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        found = pool.map(partial(extract, **how), parts, chunksize=1)
    return {head: [row for part in found for row in part[head]] for head in HEADS}


def fit_head(train: list, dev: list) -> tuple[np.ndarray, float]:
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


def refit(run: Path, samples_dir: Path, noise_dir: Path | None, jobs: int) -> dict[str, dict[str, float]]:
    """Writes run/refit.safetensors; gives, per head, the AUC on development sources before and after."""
    state, card = read_checkpoint(run / "best.safetensors")
    recipe = Recipe(**card["recipe"])
    learn, dev = split_sources([s for s in read_samples(samples_dir) if s.split == "train"], recipe.dev_share,
                               recipe.seed)
    model = build(card)
    model.load_state_dict(state)
    batches = Batches(learn, SHIPPED_SPEC, size=recipe.batch, seed=recipe.seed, forged_share=recipe.forged_share,
                      presence=recipe.presence.model_dump(), steps=NORM_BATCHES, noise_dir=noise_dir)
    settle_norms(model, batches, NORM_BATCHES)
    state = model.state_dict()
    save_checkpoint(run / SETTLED, state, card)
    train_rows = extract_all(learn, DRAWS, jobs, run=run, degrade=True, noise_dir=noise_dir)
    dev_rows = extract_all(dev, 1, jobs, run=run, degrade=False, noise_dir=None)
    report = {}
    for head in HEADS:
        name = f"head_{head}.weight"
        features, fake, _ = _columns(dev_rows[head])
        before = auc(features @ (state[name][FAKE] - state[name][REAL]).numpy(), fake)
        direction, after = fit_head(train_rows[head], dev_rows[head])
        report[head] = {"before": round(before, 4), "after": round(after, 4)}
        if after > before:
            half = torch.from_numpy(direction).float() / 2  # logit = fake row - real row
            state[name] = torch.stack([half, -half] if FAKE == 0 else [-half, half])
    card["refit"] = report
    save_checkpoint(run / "refit.safetensors", state, card)
    return report


def _columns(rows: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """features [n, C], fake [n], sources [n]"""
    features, fake, sources = zip(*rows)
    return np.stack(features).astype(np.float64), np.array(fake), np.array(sources)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.refit", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that training.train wrote")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    args = parser.parse_args(argv)
    if not (args.run / "best.safetensors").is_file():
        parser.error(f"{args.run} holds no best.safetensors; train first")
    print(json.dumps(refit(args.run, args.samples, args.noise, args.jobs), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
