"""Recipes: one YAML file says everything about a run. Unknown keys are refused, not ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

T = TypeVar("T")


class Presence(BaseModel):
    """Share of the batches that hold only faces, only sound, or both."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    picture: float = Field(ge=0)
    sound: float = Field(ge=0)
    both: float = Field(ge=0)

    @model_validator(mode="after")
    def _add_up(self) -> Presence:
        total = self.picture + self.sound + self.both
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}, not 1")
        return self


class Losses(BaseModel):
    """Weights of the SS-AVD terms: detectors.ss_avd.LossWeights."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    smoothing: float = Field(ge=0, lt=1)
    margin: float
    contrast: float = Field(ge=0)
    shuffle: float = Field(ge=0)
    style: float = Field(ge=0)
    adversarial: float = Field(ge=0)


class Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    detector: Literal["ss_avd"]
    seed: int
    steps: int = Field(gt=0)
    batch: int = Field(ge=4, multiple_of=2)
    presence: Presence
    forged_share: float = Field(ge=0, le=1)
    dev_share: float = Field(gt=0, lt=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    final_rate: float = Field(ge=0, le=1)
    ema_decay: float = Field(ge=0, lt=1)
    clip_norm: float = Field(gt=0)
    train_filters: bool  # False keeps the sinc filter bank and its norm as they start: a third of the cost of sound
    losses: Losses
    imitation: float = Field(ge=0)  # weight of training.imitate; 0 trains without a teacher
    imitated_frames: int = Field(gt=0)  # frames a window that the teacher looks at
    evaluate_every: int = Field(gt=0)
    save_every_s: float = Field(gt=0)
    threads: int = Field(gt=0)

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then linear fall to final_rate * learning_rate (the paper's schedule)."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * (1 - (1 - self.final_rate) * progress)


def read_recipe(path: Path) -> Recipe:
    """Raises: ValueError in plain words for a missing file, bad YAML, a bad value, or more than one recipe."""
    recipes = read_recipes(path, Recipe)
    if len(recipes) != 1:
        raise ValueError(f"{path} holds {len(recipes)} recipes, not one")
    return recipes[0]


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
