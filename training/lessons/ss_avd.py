"""The lesson of SS-AVD: windows with faces, with sound or with both; each fake beside the genuine clip it was made of.

Every batch has one presence of modalities ("picture", "sound" or "both"), because a missing modality is left out of
the network, not filled with zeros. A fake and its original show the same moment and, where they are degraded, are so
alike: only the manipulation tells them apart. Most are left as they are, because hard degradation leaves nothing of a
forged face to learn from (docs/experiments.md, 28).

The heads start from a fit to what stands beside the network's own features (training.start).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from detectors.contract import Windows
from detectors.encoders import to_half
from detectors.ss_avd import (
    SHIPPED,
    SHIPPED_SPEC,
    SSAVD,
    LossWeights,
    SSAVDConfig,
    SSAVDDetector,
    ss_avd_loss,
)
from training.augment import degrade_faces, degrade_sound
from training.labels import labels_between
from training.lessons import Batch, Lesson
from training.pretrained import load_encoders, published_face_encoder
from training.recipe import Recipe, Section
from training.sampling import Counterparts, Pool, Sample, cut_evenly, cut_window, draw_start
from training.start import Row as FittedRow
from training.start import as_rows, learnt_from, start_heads

PRESENT = {"picture": ("video",), "sound": ("audio",), "both": ("video", "audio")}
FOLLOWED = ("video", "audio", "whole")  # losses that the log keeps
FITTED_WINDOWS = 2  # of a clip: whitening and the heads' first weights come from these
Row = tuple[np.ndarray | None, np.ndarray | None, float, float]  # faces, sound, video_fake, audio_fake
_MOMENTS = 4  # of a clip that are tried before another clip is drawn
_CLIPS = 20  # that are tried before the samples are said to hold no such window
_ROWS: dict[tuple, list[FittedRow]] = {}  # of SSAVDLesson._rows_of


class Presence(Section):
    """Share of the batches that hold only faces, only sound, or both."""

    picture: float = Field(ge=0)
    sound: float = Field(ge=0)
    both: float = Field(ge=0)

    @model_validator(mode="after")
    def _add_up(self) -> Presence:
        total = self.picture + self.sound + self.both
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}, not 1")
        return self

    def draw(self, seed: int, step: int) -> str:
        """The kind of a step's batch: the same for all processes, so that none waits for the others."""
        shares = self.model_dump()
        return str(np.random.default_rng((seed, 0, step)).choice(list(shares), p=list(shares.values())))


class Losses(Section):
    """Weights of the SS-AVD terms: detectors.ss_avd.LossWeights."""

    smoothing: float = Field(ge=0, lt=1)
    margin: float
    contrast: float = Field(ge=0)
    shuffle: float = Field(ge=0)
    style: float = Field(ge=0)
    adversarial: float = Field(ge=0)


SWITCHES = {"fusion", "window", "widths", "style_shuffle", "latent_shuffle"}


class SSAVDPart(Section):
    encoders: str | None = None  # folder of training.pretrained; without it, the weights of the installed packages
    presence: Presence
    forged_share: float = Field(ge=0, le=1)  # of the fakes: made by training.forge; the others are published ones
    degraded_share: float = Field(ge=0, le=1)  # of the pairs: by training.augment
    train_filters: bool  # False keeps the sinc filter bank and its norm as they start: a third of the cost of sound
    losses: Losses
    # Of the architecture, what is not as shipped: detectors.ss_avd.SSAVDConfig.
    fusion: Literal["saavm", "concat"] | None = None
    window: int | None = Field(default=None, gt=0)
    widths: tuple[int, ...] | None = None
    style_shuffle: bool | None = None
    latent_shuffle: bool | None = None


class SSAVDRecipe(Recipe):
    detector: Literal["ss_avd"]
    lesson: SSAVDPart


class SSAVDLesson(Lesson):
    schema = SSAVDRecipe
    config: SSAVDConfig = SHIPPED
    spec = SHIPPED_SPEC

    def __init__(self, recipe: SSAVDRecipe, samples: Sequence[Sample], noises: Sequence[np.ndarray] = ()) -> None:
        super().__init__(recipe, samples, noises)
        part = recipe.lesson
        self.config = replace(self.config, **part.model_dump(include=SWITCHES, exclude_none=True))
        self.model = SSAVD(self.config, style_heads=True)
        self.model.front_end.requires_grad_(part.train_filters)
        self._weights = LossWeights(**part.losses.model_dump())
        self._pools = {kind: _Pools(kind, samples) for kind, share in part.presence if share}
        self._take_in(part.encoders)

    def _take_in(self, encoders: str | None) -> None:
        """The frozen face encoder, of this folder or of the installed packages, and what is fitted to what it tells."""
        if self.model.face_encoder is not None:
            published = published_face_encoder() if encoders is None else load_encoders(Path(encoders))[0]
            self.model.face_encoder.load_state_dict(published.state_dict())
        if self.model.beside is not None:
            self._fit_beside()

    def _fit_beside(self) -> None:
        """Whitening and the heads' first weights, from some windows of every clip as it is."""
        beside = self.model.beside
        rows = [row for sample in learnt_from(self.samples) for row in self._rows_of(sample)]
        start_heads(rows, {"faces": beside.whiten_faces, "sound": beside.whiten_sound}, self.model.start_head)

    @torch.no_grad()
    def _rows_of(self, sample: Sample) -> list[FittedRow]:
        """What stands beside the network's features in some windows of a sample. Nothing of it is trained, so lessons
        of other folds and of other changes share it."""
        key = type(self), self.recipe.lesson.encoders, self.spec, sample.folder, sample.key
        if key not in _ROWS:
            windows = cut_evenly(sample, self.spec, FITTED_WINDOWS)
            labels = labels_between(sample, windows.start_s, windows.end_s)
            shown, faces, sound = {}, windows.has_face, windows.has_audio
            if faces.any():
                seen = self.model.look(_as_video(windows.faces[faces]))
                shown["faces"] = faces, self.model.summaries(seen, None)["faces"]
            if sound.any():
                heard = torch.from_numpy(windows.audio[sound])
                shown["sound"] = sound, self.model.summaries(None, heard)["sound"]
            _ROWS[key] = as_rows(shown, labels, sample.source)
        return _ROWS[key]

    # ---- what a batch is ----------------------------------------------------------------------------------------

    def batch(self, step: int, rank: int, ranks: int) -> Batch:
        """video (B, T, 3, H, W) uint8 or None, audio (B, samples) or None, video_fake (B,), audio_fake (B,)."""
        kind = self.recipe.lesson.presence.draw(self.recipe.seed, step)
        rows = [row for pair in range(rank, self.recipe.batch // 2, ranks) for row in self._draw_pair(kind, step, pair)]
        rows = rows[::2] + rows[1::2]  # genuine ones first
        video, audio, video_fake, audio_fake = zip(*rows)
        return {
            "video": torch.from_numpy(np.stack(video)).permute(0, 1, 4, 2, 3) if "video" in PRESENT[kind] else None,
            "audio": torch.from_numpy(np.stack(audio)) if "audio" in PRESENT[kind] else None,
            "video_fake": torch.tensor(video_fake, dtype=torch.float32),
            "audio_fake": torch.tensor(audio_fake, dtype=torch.float32),
        }

    def _draw_pair(self, kind: str, step: int, pair: int) -> tuple[Row, Row]:
        """A genuine window and a fake one: of the fake's original where there is one, at the same moment. Both are
        degraded, in the recipe's share of the pairs.

        Raises: ValueError where _CLIPS draws gave no window in which the modalities can be judged.
        """
        pools, spec = self._pools[kind], replace(self.spec, modalities=PRESENT[kind])
        rng = np.random.default_rng((self.recipe.seed, 1, step, pair))
        for _ in range(_CLIPS):
            fake = pools.draw_fake(rng, self.recipe.lesson.forged_share)
            real = pools.counterparts.draw(fake, rng)
            marked = [name for name in PRESENT[kind] if getattr(fake, f"{name}_fake") == 1]
            modality = marked[rng.integers(len(marked))]
            moments_s = np.array([draw_start(fake, spec.window_s, rng, modality) for _ in range(_MOMENTS)])
            ends_s = np.minimum(moments_s + spec.window_s, fake.duration_s)
            moments_s = moments_s[labels_between(fake, moments_s, ends_s)[modality] == 1]
            fake_window = cut_window(fake, spec, moments_s)
            if fake_window is None:
                continue
            if real.shares_chain(fake):
                moments_s = fake_window.start_s
            else:
                moments_s = [draw_start(real, spec.window_s, rng) for _ in range(_MOMENTS)]
            real_window = cut_window(real, spec, moments_s)
            if real_window is not None:
                degraded = rng.random() < self.recipe.lesson.degraded_share
                looks = (self.recipe.seed, 2, step, pair) if degraded else None
                return self._row(real, real_window, looks), self._row(fake, fake_window, looks)
        raise ValueError(f"{_CLIPS} pairs of clips were drawn, and none had a window that can be judged ({kind})")

    def _row(self, sample: Sample, window: Windows, looks: tuple[int, ...] | None) -> Row:
        """The window, degraded as the seed `looks` says or as it is, and its labels; NaN for what the window lacks."""
        faces = None if window.faces is None else window.faces[0]
        sound = None if window.audio is None else window.audio[0]
        if looks is not None and faces is not None:
            faces = degrade_faces(faces, np.random.default_rng((*looks, 0)))
        if looks is not None and sound is not None:
            sound = degrade_sound(sound, np.random.default_rng((*looks, 1)), self.noises)
        labels = labels_between(sample, window.start_s, window.end_s)
        return (faces, sound, np.nan if faces is None else labels["video"][0],
                np.nan if sound is None else labels["audio"][0])

    # ---- what it is asked for -----------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        video = None if batch["video"] is None else batch["video"].float() / 255
        loss, parts = ss_avd_loss(self.model(video, batch["audio"]), batch["video_fake"], batch["audio_fake"],
                                  self._weights)
        return loss, {name: part for name, part in parts.items() if name in FOLLOWED}

    # ---- what comes of it ---------------------------------------------------------------------------------------

    def card(self) -> dict:
        return {"architecture": asdict(self.config), "input_spec": asdict(self.spec)}

    def detector(self, model: SSAVD) -> SSAVDDetector:
        return SSAVDDetector(model, self.card(), self.spec, next(model.parameters()).device)

    def weights(self, model: SSAVD) -> dict[str, Tensor]:
        """The face encoder in half precision, as training.pretrained has it; what was trained as it is."""
        state = model.inference_state_dict()
        return {**state, **to_half({name: x for name, x in state.items() if name.startswith("face_encoder.")})}


def _as_video(faces: np.ndarray) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, T, 3, H, W) in [0, 1]"""
    return torch.from_numpy(faces).permute(0, 1, 4, 2, 3).float() / 255


class _Pools:
    """The samples that serve for batches of one kind.

    Raises: ValueError when a class is missing.
    """

    def __init__(self, kind: str, samples: Sequence[Sample]) -> None:
        if kind == "both":
            fit = [s for s in samples if s.shows_face and s.has_voice]
            real = [s for s in fit if s.video_fake == 0 and s.audio_fake == 0]
            fake = [s for s in fit if 1 in (s.video_fake, s.audio_fake)]
        else:
            [modality] = PRESENT[kind]
            fit = [s for s in samples if (s.has_picture if kind == "picture" else s.has_sound)]
            real, fake = ([s for s in fit if getattr(s, f"{modality}_fake") == label] for label in (0, 1))
        for name, found in (("genuine", real), ("fake", fake)):
            if not found:
                raise ValueError(f"there is no {name} sample with {' and '.join(PRESENT[kind])} to learn from")
        self.real, self.counterparts = Pool(real), Counterparts(real)
        self._forged, self._published = (Pool(s for s in fake if bool(s.forged) == made) for made in (True, False))

    def draw_fake(self, rng: np.random.Generator, forged_share: float) -> Sample:
        """Made by training.forge with this chance, published otherwise; whichever there are where one is missing."""
        forged = rng.random() < forged_share
        first, second = (self._forged, self._published) if forged else (self._published, self._forged)
        return (first or second).draw(rng)
