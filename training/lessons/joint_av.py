"""The lesson of Joint AV: windows as SS-AVD's lesson draws them, and genuine windows whose sound is not their own.

The latter are made here: a genuine window beside itself with its sound shifted by 0.4 to 1 s, or with that of another
clip. Nothing in them is synthetic, so they are fake to the sync-stream alone (`whole`) and have no other label.

The lip-sound pair is trained before, by training.lessons.sync, and stays as it is; the checkpoint carries it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from detectors.contract import InputSpec
from detectors.encoders import to_half
from detectors.joint_av import (
    SHIPPED,
    SHIPPED_SPEC,
    JointAV,
    JointAVConfig,
    JointAVDetector,
    LossWeights,
    joint_av_loss,
)
from detectors.sync import load_pair
from training.lessons import Batch, Lesson
from training.lessons.ss_avd import PRESENT, Presence, Row, SSAVDLesson, _Pools
from training.recipe import Recipe, Section
from training.sampling import Sample, cut_window, draw_start

SHIFT_S = (0.4, 1.0)
_MOMENTS = 4  # of a clip that are tried before another clip is drawn
_CLIPS = 20


class Losses(Section):
    """detectors.joint_av.LossWeights."""

    video: float = Field(ge=0)
    audio: float = Field(ge=0)
    whole: float = Field(ge=0)
    smoothing: float = Field(ge=0, lt=1)


class JointAVPart(Section):
    encoders: str | None = None  # folder of training.pretrained; without it, the weights of the installed packages
    pair: str | None  # file that training.lessons.sync wrote; null: no sync score
    presence: Presence
    forged_share: float = Field(ge=0, le=1)  # of the fakes: made by training.forge; the others are published ones
    degraded_share: float = Field(ge=0, le=1)  # of the pairs: by training.augment
    mismatch_share: float = Field(ge=0, le=1)  # of the pairs in batches with both modalities
    fusion: Literal["sync", "late", "independent"] = "sync"
    losses: Losses


class JointAVRecipe(Recipe):
    detector: Literal["joint_av"]
    lesson: JointAVPart


class JointAVLesson(SSAVDLesson):
    schema = JointAVRecipe
    config: JointAVConfig = replace(SHIPPED, pair=None)
    spec: InputSpec = replace(SHIPPED_SPEC, lips=0, lips_px=None)  # of what is learnt from: the pair is not trained

    def __init__(self, recipe: JointAVRecipe, samples: Sequence[Sample], noises: Sequence[np.ndarray] = ()) -> None:
        """Raises: ValueError when a class is missing, CheckpointError without the pair that the recipe names."""
        Lesson.__init__(self, recipe, samples, noises)  # SS-AVD's own would build its network
        part = recipe.lesson
        pair = None if part.pair is None else load_pair(Path(part.pair))[0]
        self._shipped = replace(self.config, fusion=part.fusion, pair=None if pair is None else pair.cfg)
        self.model = JointAV(self._shipped)
        if pair is not None:
            self.model.pair.load_state_dict(pair.state_dict())
        self._weights = LossWeights(**part.losses.model_dump())
        alone = [s for s in samples if s.sync_fake != 1 or 1 in (s.video_fake, s.audio_fake)]
        self._pools = {kind: _Pools(kind, alone) for kind, share in part.presence if share}
        self._take_in(part.encoders)

    # ---- what a batch is ----------------------------------------------------------------------------------------

    def batch(self, step: int, rank: int, ranks: int) -> Batch:
        """As SS-AVD's, and mismatched (B,) bool: rows whose sound belongs elsewhere. Those have no other label."""
        batch = super().batch(step, rank, ranks)
        return {**batch, "mismatched": batch["video_fake"].isnan() & batch["audio_fake"].isnan()}

    def _draw_pair(self, kind: str, step: int, pair: int) -> tuple[Row, Row]:
        rng = np.random.default_rng((self.recipe.seed, 3, step, pair))
        if kind == "both" and rng.random() < self.recipe.lesson.mismatch_share:
            return self._draw_mismatch(step, pair, rng)
        return super()._draw_pair(kind, step, pair)

    def _draw_mismatch(self, step: int, pair: int, rng: np.random.Generator) -> tuple[Row, Row]:
        """A genuine window, and the same with sound of another moment or another clip.

        Raises: ValueError where _CLIPS draws gave no such sound.
        """
        pool, sound_spec = self._pools["both"].real, replace(self.spec, modalities=PRESENT["sound"])
        for _ in range(_CLIPS):
            sample = pool.draw(rng)
            window = cut_window(sample, self.spec, [draw_start(sample, self.spec.window_s, rng)
                                                    for _ in range(_MOMENTS)])
            if window is None:
                continue
            if rng.random() < 0.5:
                shifts_s = rng.uniform(*SHIFT_S) * rng.permutation([-1, 1])
                moments_s = window.start_s[0] + shifts_s
                last_s = sample.duration_s - self.spec.window_s
                other = cut_window(sample, sound_spec, moments_s[(moments_s >= 0) & (moments_s <= last_s)])
            else:
                elsewhere = pool.draw(rng)
                if elsewhere.identity == sample.identity or elsewhere.pair == sample.pair:
                    continue
                other = cut_window(elsewhere, sound_spec, [draw_start(elsewhere, self.spec.window_s, rng)
                                                           for _ in range(_MOMENTS)])
            if other is not None:
                degraded = rng.random() < self.recipe.lesson.degraded_share
                looks = (self.recipe.seed, 2, step, pair) if degraded else None
                genuine = self._row(sample, window, looks)
                faces, sound, _, _ = self._row(sample, replace(window, audio=other.audio), looks)
                return genuine, (faces, sound, np.nan, np.nan)
        raise ValueError(f"{_CLIPS} genuine clips were drawn, and none had sound that could be put elsewhere")

    # ---- what it is asked for -----------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        video = None if batch["video"] is None else batch["video"].float() / 255
        return joint_av_loss(self.model(video, batch["audio"]), batch["video_fake"], batch["audio_fake"],
                             batch["mismatched"], self._weights)

    # ---- what comes of it ---------------------------------------------------------------------------------------

    def card(self) -> dict:
        return {"architecture": asdict(self._shipped), "input_spec": asdict(self._scored_spec)}

    def detector(self, model: JointAV) -> JointAVDetector:
        return JointAVDetector(model, self.card(), self._scored_spec, next(model.parameters()).device)

    def weights(self, model: JointAV) -> dict[str, Tensor]:
        """In half precision, as what is frozen in it has been all along."""
        return to_half(model.state_dict())

    @property
    def _scored_spec(self) -> InputSpec:
        pair = self._shipped.pair
        return self.spec if pair is None else replace(self.spec, lips=self.spec.frames, lips_px=pair.lips_px)
