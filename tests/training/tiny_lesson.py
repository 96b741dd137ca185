"""A lesson of seven numbers, to test the loop with; run as a script, one of several processes that train it. And the
lesson of SS-AVD with a network of a few thousand numbers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from detectors.contract import WindowScores
from detectors.ss_avd import SPEC, SSAVDConfig
from training.lessons import LESSONS, Lesson
from training.lessons.ss_avd import SSAVDLesson
from training.recipe import Recipe, Section
from training.train import part_processes, train

VALUES = {
    "detector": "tiny", "seed": 3, "steps": 6, "batch": 8, "learning_rate": 0.05, "weight_decay": 0.01,
    "schedule": {"warmup_steps": 2, "shape": "cosine", "final": 0.1}, "clip_norm": 1.0, "ema_decay": 0.8,
    "precision": "fp32", "folds": 2, "evaluate_every": 2, "evaluate_clips": 8, "evaluate_windows": 1,
    "save_every_s": 1e-6, "threads": 1, "workers": 0, "lesson": {"dropout": 0.0, "right_at": 4},
}


class TinyPart(Section):
    dropout: float = Field(ge=0, lt=1)
    right_at: int  # step at whose measurement the scores rank best


class TinyRecipe(Recipe):
    detector: Literal["tiny"]
    lesson: TinyPart


def tiny_recipe(**changes) -> TinyRecipe:
    values = {**VALUES, "lesson": dict(VALUES["lesson"])}
    for name, value in changes.items():
        (values["lesson"] if name in values["lesson"] else values)[name] = value
    return TinyRecipe.model_validate(values)


class TinyLesson(Lesson):
    """Logistic regression on two of three drawn numbers. Held-out clips are ranked right at one measurement alone."""

    schema = TinyRecipe

    def __init__(self, recipe, samples, noises=()):
        super().__init__(recipe, samples, noises)
        self.model = nn.Sequential(nn.Linear(3, 1), nn.Dropout(recipe.lesson.dropout))
        self.unused = nn.Linear(2, 1)  # as a modality's part that a batch does not need
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.precisions: set[torch.dtype] = set()

    def batch(self, step, rank, ranks):
        rng = np.random.default_rng((self.recipe.seed, step))
        x = rng.normal(size=(self.recipe.batch, 3)).astype(np.float32)
        fake = (x[:, 0] - x[:, 1] > 0).astype(np.float32)
        return {"x": torch.from_numpy(x[rank::ranks]), "fake": torch.from_numpy(fake[rank::ranks]), "audio": None}

    def loss(self, batch):
        assert batch["audio"] is None
        self.step += 1
        logit = self.model(batch["x"])[:, 0]
        self.precisions.add(logit.dtype)
        loss = F.binary_cross_entropy_with_logits(logit.float(), batch["fake"])
        return loss, {"term": 2 * loss.detach()}

    def scores(self, model, samples, windows):
        assert windows == self.recipe.evaluate_windows and not self.model.training or model is not self.model
        right = 1 if self.step == self.recipe.lesson.right_at else -1
        at = np.zeros(1), np.ones(1)
        return [(s, WindowScores(*at, np.array([right * s.video_fake]), None, None, None)) for s in samples]

    def detector(self, model):
        return SimpleNamespace(model=model.eval())

    def card(self):
        return {"architecture": {"inputs": 3}, "input_spec": {}}


class TinySSAVD(SSAVDLesson):
    config = SSAVDConfig(widths=(4, 4, 4, 4), depths=(1, 1, 1, 1), frames=4, face_px=32, samples=16_000, sinc_filters=8,
                         sinc_kernel=51, style_shuffle=False)
    spec = replace(SPEC, window_s=1.0, hop_s=0.5, frames=4, face_px=32)


def main() -> None:
    """torchrun's process: argv is the run's folder and the steps."""
    LESSONS["tiny"] = TinyLesson
    train(tiny_recipe(steps=int(sys.argv[2])), [], Path(sys.argv[1]), fold=None)
    part_processes()


if __name__ == "__main__":
    main()
