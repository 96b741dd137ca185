"""Mouths drawn to sound: the lower half of the face is hidden, and drawn again from what is heard.

After Prajwal et al., "A Lip Sync Expert Is All You Need" (Wav2Lip), ACM Multimedia 2020, arXiv 2008.10010: hidden lower
half + another moment of the same clip + a mel window -> the lower face. Departs from it: no lip-sync expert is asked,
a perceptual loss is, and the sound sets scale and shift of every map (FiLM) instead of joining at the bottleneck.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from media import AUDIO_HZ
from media.sound import MEL_HOP, level_dbfs, log_mel
from training.forge.footage import Footage, Forgery, Span, Truth, Unsuitable
from training.forge.learnt.genuine import Talk
from training.forge.learnt.objectives import Attempt, FeatureDifference, PatchCritic, dissimilarity, weighted_mean
from training.forge.learnt.recipe import Course, Section
from training.forge.learnt.repaint import (
    as_faces,
    as_pictures,
    ellipse,
    faces_of,
    find_faces,
    repaint,
    sharpened,
)

MELS = 80
HEARD = 40  # mel frames of 10 ms: 0.2 s before and after the picture
HIDDEN_FROM = 0.5  # rows from this share of the side on are hidden: from the middle of the nose down
MOUTH_CENTRE, MOUTH_HALF = (0.5, 0.76), (0.24, 0.16)  # on media.crops.TEMPLATE, as shares of the side
APART_S = 0.4  # the other moment is at least this far away where the clip is long enough
_LEVEL_DBFS = -25.0  # speech is brought to this level before its mel spectrogram is taken
_MOUTH_WEIGHT = 4.0  # of the mouth's pixels, against 1 for the rest of the lower half


class InpainterShape(Section):
    side_px: int = Field(multiple_of=16, ge=32)
    widths: tuple[int, int, int, int]  # of the maps at 1/2 ... 1/16
    heard: int = Field(gt=0)  # numbers that say what is heard


class InpainterLosses(Section):
    pixel: float = Field(ge=0)
    structure: float = Field(ge=0)
    features: float = Field(ge=0)


class InpainterRecipe(Course):
    generator: Literal["inpainter"]
    network: InpainterShape
    losses: InpainterLosses


# ---- the network --------------------------------------------------------------------------------------------------


class Inpainter(nn.Module):
    """Faces and others (N, 3, s, s) in [0, 1], mel (N, 80, 40) -> faces (N, 3, s, s) whose lower part is drawn anew.

    Nothing of the lower part of `faces` is seen. The upper part comes out as it went in.
    """

    def __init__(self, shape: InpainterShape) -> None:
        super().__init__()
        self.shape = shape
        self.first_row = round(shape.side_px * HIDDEN_FROM)
        w = shape.widths
        self.listen = nn.Sequential(
            nn.Conv1d(MELS, 96, 5, 2, 2), nn.SiLU(), nn.Conv1d(96, 96, 5, 2, 2), nn.SiLU(),
            nn.Flatten(), nn.Linear(96 * HEARD // 4, shape.heard), nn.SiLU(), nn.Linear(shape.heard, shape.heard))
        self.look = nn.ModuleList(nn.Sequential(nn.Conv2d(i, o, 5, 2, 2), nn.GroupNorm(8, o), nn.SiLU())
                                  for i, o in zip((6, *w), w))
        self.centre = _Told(w[3], w[3], shape.heard)
        # 1/8, 1/4, 1/2 and the full size; each is given what was seen at that size.
        self.draw = nn.ModuleList(_Told(i + o, o, shape.heard) for i, o in zip(w[::-1], w[2::-1]))
        self.finish = _Told(w[0] + 6, w[0], shape.heard)
        self.colour = nn.Conv2d(w[0], 3, 3, padding=1)

    @classmethod
    def build(cls, card: dict) -> Inpainter:
        return cls(InpainterShape.model_validate(card["network"]))

    @property
    def card(self) -> dict:
        return {"network": self.shape.model_dump()}

    def forward(self, faces: Tensor, others: Tensor, mel: Tensor) -> Tensor:
        shown = (torch.arange(self.shape.side_px, device=faces.device) < self.first_row)[:, None]  # (s, 1)
        heard = self.listen(mel)
        seen = [torch.cat([(2 * faces - 1) * shown, 2 * others - 1], dim=1)]
        for look in self.look:
            seen.append(look(seen[-1]))
        x = self.centre(seen.pop(), heard)
        for draw in (*self.draw, self.finish):
            x = draw(torch.cat([F.interpolate(x, scale_factor=2), seen.pop()], dim=1), heard)
        return torch.where(shown, faces, self.colour(x).float().sigmoid())


class _Told(nn.Module):
    """A convolution whose normalised output is scaled and shifted by what is heard (FiLM, Perez et al., AAAI 2018)."""

    def __init__(self, before: int, after: int, heard: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after)
        self.tell = nn.Linear(heard, 2 * after)

    def forward(self, x: Tensor, heard: Tensor) -> Tensor:
        scale, shift = self.tell(heard)[:, :, None, None].chunk(2, dim=1)
        return F.silu(self.norm(self.conv(x)) * (1 + scale) + shift)


def mel_windows(waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """What is heard around each moment: [n, 80, 40] float32, about -2 to 2; silence beyond the ends of the sound."""
    level = level_dbfs(waveform)
    loud = waveform * 10 ** ((_LEVEL_DBFS - max(level, -60.0)) / 20)
    mel = (log_mel(loud.astype(np.float32), MELS).numpy() + 6) / 4  # [80, T]
    half = HEARD // 2
    padded = np.pad(mel, ((0, 0), (half, half)), constant_values=mel.min())
    first = np.clip((times_s * AUDIO_HZ / MEL_HOP).round().astype(int), 0, mel.shape[1] - 1)
    return np.stack([padded[:, f:f + HEARD] for f in first]).astype(np.float32)


# ---- learning -----------------------------------------------------------------------------------------------------


class InpainterBatches:
    """A face, another moment of the same clip, and the sound around the first; clips by the root of their length."""

    @staticmethod
    def reads(recipe: InpainterRecipe) -> dict:
        return {"side_px": recipe.network.side_px, "sound": True}

    def __init__(self, recipe: InpainterRecipe, talks: list[Talk]) -> None:
        self.size = recipe.batch
        self.talks = talks
        self.mels = [mel_windows(t.waveform, t.times_s) for t in talks]
        weights = np.sqrt([len(t.faces) for t in talks])
        self.weights = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """faces, others (N, 3, s, s) uint8, mel (N, 80, 40) float32."""
        faces, others, mels = [], [], []
        for number in rng.choice(len(self.talks), self.size, p=self.weights):
            talk = self.talks[number]
            row = rng.integers(len(talk.faces))
            pair = talk.faces[[row, _another(talk.times_s, row, rng)]]
            if rng.random() < 0.5:
                pair = pair[:, :, ::-1]
            gain = rng.uniform(0.85, 1.15, 3)
            pair = np.clip(pair * gain, 0, 255).astype(np.uint8)
            faces.append(pair[0])
            others.append(pair[1])
            mels.append(self.mels[number][row])
        return {"faces": as_pictures(faces), "others": as_pictures(others), "mel": torch.from_numpy(np.stack(mels))}


def _another(times_s: np.ndarray, row: int, rng: np.random.Generator) -> int:
    """A row at least APART_S away, or the farthest one."""
    away_s = np.abs(times_s - times_s[row])
    far = np.flatnonzero(away_s >= APART_S)
    return int(rng.choice(far)) if len(far) else int(away_s.argmax())


class InpainterLesson(nn.Module):
    def __init__(self, recipe: InpainterRecipe, batches: InpainterBatches) -> None:
        super().__init__()
        self.generator = Inpainter(recipe.network)
        self.features = FeatureDifference() if recipe.losses.features else None
        side_px, first_row = recipe.network.side_px, self.generator.first_row
        hidden = (np.arange(side_px) >= first_row).astype(np.float32)[:, None]
        weights = hidden * (1 + (_MOUTH_WEIGHT - 1) * ellipse(side_px, MOUTH_CENTRE, MOUTH_HALF))
        self.register_buffer("weights", torch.from_numpy(weights)[None, None], persistent=False)

    @staticmethod
    def make_critic(width: int) -> nn.Module:
        return PatchCritic(width)

    def forward(self, batch: dict[str, Tensor]) -> Attempt:
        true, others = batch["faces"].float() / 255, batch["others"].float() / 255
        made = self.generator(true, others, batch["mel"])
        losses = {"pixel": weighted_mean((made - true).abs(), self.weights),
                  "structure": weighted_mean(dissimilarity(made, true), self.weights)}
        if self.features is not None:
            losses["features"] = self.features(made, true)
        first_row = self.generator.first_row
        return Attempt(made[:, :, first_row:], true[:, :, first_row:], losses)


# ---- the forgeries ------------------------------------------------------------------------------------------------


def rerender(inpainter: Inpainter) -> Forgery:
    """The mouth drawn again to the clip's own sound. The forgery raises Unsuitable where face or sound are missing."""

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        if footage.sound is None:
            raise Unsuitable("there is no sound to draw the mouth to")
        frames, region, spans, drawn = _mouths(inpainter, footage, footage.sound, rng)
        return replace(footage, frames=frames), Truth(footage.clip_id, spans, region, (("learnt_rerender", drawn),))

    return forge


def lip_sync(inpainter: Inpainter, speech: np.ndarray, speaker: str = "", speech_fake: bool = False) -> Forgery:
    """The mouth drawn to another speech [samples] float32 at 16 kHz, which takes the place of the clip's sound.

    Of a longer speech a random piece is taken, at the level of the sound that it replaces. speaker: whose voice it is,
    where known; speech_fake: whether it was synthesised (the truth then has the sound as manipulated too). Sound and
    picture belong together afterwards, so "sync" is not touched. The forgery raises Unsuitable where face or sound
    are missing, or the speech is shorter than the sound.
    """

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        if footage.sound is None:
            raise Unsuitable("there is no sound that the speech could replace")
        if len(speech) < len(footage.sound):
            raise Unsuitable(f"the speech is shorter ({len(speech) / AUDIO_HZ:.1f} s) than the sound that it replaces")
        first = int(rng.integers(len(speech) - len(footage.sound) + 1))
        sound = _at_level(speech[first:first + len(footage.sound)], level_dbfs(footage.sound))
        frames, region, spans, drawn = _mouths(inpainter, footage, sound, rng)
        if speech_fake:
            spans += (Span(0.0, len(sound) / AUDIO_HZ, "audio"),)
        drawn["speech_from_s"] = round(first / AUDIO_HZ, 3)
        return (replace(footage, frames=frames, sound=sound),
                Truth(footage.clip_id, spans, region, (("learnt_lip_sync", drawn),), (speaker,) if speaker else ()))

    return forge


def _mouths(inpainter: Inpainter, footage: Footage, sound: np.ndarray,
            rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple[Span, ...], dict]:
    """frames, region, spans of the picture, and what was drawn at random."""
    rows, matrices = find_faces(footage)
    side_px = inpainter.shape.side_px
    drawn = {
        "side_px": side_px,
        "outline": str(rng.choice(["box", "ellipse"])),
        "feather": round(rng.uniform(0.02, 0.06), 4),  # of the side
        "sharpen": round(rng.uniform(0.2, 1.2), 3) if rng.random() < 0.5 else 0.0,
        "other_row": int(rng.choice(rows)),  # the moment that shows what this person's mouth looks like
    }
    mask = mouth_mask(side_px, drawn["outline"], drawn["feather"] * side_px)
    mels = mel_windows(sound, footage.times_s)
    other = faces_of(footage, side_px, np.array([drawn["other_row"]]), matrices)

    def paint(faces: np.ndarray, _points: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        painted = draw_mouths(inpainter, faces, np.repeat(other, len(faces), axis=0), mels[at])
        if drawn["sharpen"]:
            painted = sharpened(painted, drawn["sharpen"], radius_px=1.0)
        return painted, np.repeat(mask[None], len(faces), axis=0)

    frames, region, spans = repaint(footage, side_px, paint)
    return frames, region, spans, drawn


@torch.inference_mode()
def draw_mouths(inpainter: Inpainter, faces: np.ndarray, others: np.ndarray, mels: np.ndarray) -> np.ndarray:
    """faces, others [m, s, s, 3] uint8, mels [m, 80, 40] -> [m, s, s, 3] float32 in [0, 255]."""
    device = inpainter.colour.weight.device
    made = inpainter(as_pictures(faces).to(device).float() / 255, as_pictures(others).to(device).float() / 255,
                     torch.from_numpy(mels).to(device))
    return as_faces(made)


def mouth_mask(side_px: int, outline: str, feather_px: float) -> np.ndarray:
    """[side_px, side_px] float32 in [0, 1]: a box over the lower face or an ellipse round mouth and chin, feathered.

    It is 0 where nothing was drawn, and at the border of the crop.
    """
    if outline == "box":
        y, x = (np.indices((side_px, side_px)) + 0.5) / side_px
        mask = ((np.abs(x - 0.5) < 0.32) & (y > 0.6) & (y < 0.93)).astype(np.float32)
    else:
        mask = ellipse(side_px, (0.5, 0.78), (0.3, 0.19))
    mask = cv2.GaussianBlur(mask, (0, 0), feather_px, borderType=cv2.BORDER_CONSTANT)
    mask[:round(side_px * HIDDEN_FROM) + 1] = 0
    mask[-1] = mask[:, 0] = mask[:, -1] = 0
    return mask


def _at_level(sound: np.ndarray, dbfs: float) -> np.ndarray:
    gain_db = np.clip(dbfs - level_dbfs(sound), -30, 30)
    return np.clip(sound * 10 ** (gain_db / 20), -1, 1).astype(np.float32)
