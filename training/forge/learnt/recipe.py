"""What the recipes of all learnt generators share. Unknown keys are refused, not ignored."""

from __future__ import annotations

import math
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Adversary(Section):
    """A critic that learns to tell what was made from what was recorded (hinge loss), and how much it counts."""

    weight: float = Field(gt=0)
    from_step: int = Field(ge=0)  # before this, the generator learns from the other losses alone
    width: int = Field(gt=0)


class Course(Section):
    """How long, how fast and on what a generator is trained."""

    seed: int
    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    most_clips: int = Field(gt=0)  # all are held in memory
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    clip_norm: float = Field(gt=0)
    adversary: Adversary | None
    save_every_s: float = Field(gt=0)
    log_every: int = Field(gt=0)  # steps
    threads: int = Field(gt=0)  # of torch, on the CPU
    workers: int = Field(ge=0)  # processes that draw batches; 0: the training process draws them itself

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to nothing at the last step (Loshchilov & Hutter, 2017)."""
        warm = min((step + 1) / (self.warmup_steps + 1), 1.0)
        return self.learning_rate * warm * (1 + math.cos(math.pi * step / self.steps)) / 2
