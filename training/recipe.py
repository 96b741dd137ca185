"""Recipes: one YAML file says everything about a run. Unknown keys are refused, not ignored."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from training.sampling import Sample

T = TypeVar("T")


class Section(BaseModel):
    """A part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(Section):
    """The learning rate over the steps, as a share of its highest value: up in a straight line, then down."""

    warmup_steps: int = Field(ge=0)
    shape: Literal["linear", "cosine"]  # of the way down
    final: float = Field(ge=0, le=1)  # what is left at the last step

    def share_at(self, step: int, steps: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(steps - self.warmup_steps, 1)
        left = 1 - progress if self.shape == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return self.final + (1 - self.final) * left


class Recipe(Section):
    """What the recipes of all detectors share. A lesson's own narrows `detector` to its id and `lesson` to what it
    wants to know (training/lessons)."""

    detector: str
    seed: int
    steps: int = Field(gt=0)
    batch: int = Field(gt=0, multiple_of=2)  # windows a step, of all processes together; half of them fake
    learning_rate: float = Field(gt=0)
    schedule: Schedule
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)
    precision: Literal["fp32", "bf16"]
    folds: int = Field(ge=2)  # the sources are dealt into so many; one is held out to choose the step
    evaluate_every: int = Field(gt=0)  # steps
    evaluate_clips: int = Field(gt=0)  # held-out ones, at most; drawn by the seed
    evaluate_windows: int = Field(gt=0)  # of each of them, at most
    save_every_s: float = Field(gt=0)
    picture_family: str | None = None  # of fake pictures, the only family that is learnt from; None: all
    threads: int = Field(gt=0)  # of torch, per process, on the CPU
    workers: int = Field(default=1, ge=0)  # that draw batches, per process; 0: the training process does it itself
    lesson: Section

    def rate_at(self, step: int) -> float:
        return self.learning_rate * self.schedule.share_at(step, self.steps)

    def learns_from(self, sample: Sample) -> bool:
        return self.picture_family is None or sample.video_fake != 1 or sample.family == self.picture_family


def read_recipes(path: Path, schema: type[T]) -> list[T]:
    """The recipes of one YAML file, which may hold several documents.

    Raises: ValueError in plain words for a missing file, bad YAML or a bad value.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        return TypeAdapter(list[schema]).validate_python(documents)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:  # the first part of a place is the document's number
        problems = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"{path}: {problems}") from error
