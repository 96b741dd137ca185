"""The lesson of the face encoder: single frames, each fake beside the genuine one that it was made of.

Both trunks of detectors.encoders.FaceEncoder come from ImageNet. Here the convolutions of the second one learn what
forged pixels look like, from the frames of every clip that shows a face, before the detectors that read both are
trained on what they tell. Its norms stay as they were: their figures come from far more pictures than there are here.

    python -m training.train training/recipes/face_encoder.yaml --samples SHARDS --out runs --fold all

writes best.safetensors of each fold and of everything, which takes the place of face_encoder.safetensors beside the
speech encoder in the folder that training.encode and the recipes of MMMS-BA and MIS-AVoiDD name as their encoders.
Detectors must hold out the same fold, or their development figures tell nothing.

A linear map reads the regions of all depths, and is left behind afterwards. Loss: binary cross-entropy, and for two
frames of one moment, the fake and its original, the logistic loss of their difference (RankNet, Burges et al., ICML
2005): people, cameras and web sites cancel in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from detectors.contract import WindowScores
from detectors.encoders import REGIONS, FaceTrunk, to_half
from media import GRID_HZ
from training.augment import degrade_faces
from training.labels import labels_between
from training.lessons import Batch, Lesson
from training.pretrained import load_face_encoder, published_face_encoder
from training.recipe import Recipe, Section
from training.sampling import Counterparts, Pool, Sample
from training.shards import unpack_pictures

SAME_MOMENT_S = 0.1
SCORED_AT_ONCE = 64  # frames


class FaceEncoderPart(Section):
    start: str | None = None  # a file of training.pretrained; without it, the weights of the installed package
    frozen_stages: int = Field(ge=0, le=7)  # of Lite0's seven, from the first on; the stem with them
    frames: int = Field(gt=0)  # of a clip, evenly spread, held in memory
    forged_share: float = Field(ge=0, le=1)  # of the fakes: made by training.forge; the others are published ones
    dropout: float = Field(ge=0, lt=1)  # of what the encoder tells
    ranking: float = Field(ge=0)  # weight beside the binary cross-entropy


class FaceEncoderRecipe(Recipe):
    detector: Literal["face_encoder"]
    lesson: FaceEncoderPart


class FrameJudge(nn.Module):
    """faces (n, 3, side, side) in [0, 1] -> logits (n,)."""

    def __init__(self, trunk: FaceTrunk, dropout: float) -> None:
        super().__init__()
        self.trunk = trunk
        width = len(REGIONS) * trunk.dim
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, faces: Tensor) -> Tensor:
        told = self.trunk(faces).flatten(1)  # n R·C
        return self.head(self.dropout(self.norm(told)))[:, 0]


class Frames(NamedTuple):
    """Frames of one clip, ascending, whose label is known."""

    times_s: np.ndarray  # [k]
    faces: np.ndarray  # [k, side, side, 3] uint8
    fake: np.ndarray  # [k] 0 or 1


def read_frames(sample: Sample, count: int, side_px: int) -> Frames:
    """At most `count` frames, evenly spread."""
    tensors = sample.tensors()
    times_s = tensors["times_s"]
    rows = np.unique(np.linspace(0, len(times_s) - 1, count).round().astype(int))
    fake = labels_between(sample, times_s[rows], times_s[rows] + 1 / GRID_HZ)["video"]
    rows, fake = rows[~np.isnan(fake)], fake[~np.isnan(fake)]
    faces = [cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA)
             for face in unpack_pictures(tensors, "faces", rows)] if len(rows) else []
    return Frames(times_s[rows], np.array(faces, np.uint8).reshape(-1, side_px, side_px, 3), fake)


class FaceEncoderLesson(Lesson):
    """Noises are not used."""

    schema = FaceEncoderRecipe

    def __init__(self, recipe: FaceEncoderRecipe, samples: Sequence[Sample],
                 noises: Sequence[np.ndarray] = ()) -> None:
        """Raises: ValueError where a class is missing; MissingPackage and CheckpointError as training.pretrained."""
        super().__init__(recipe, samples, noises)
        part = recipe.lesson
        encoder = published_face_encoder() if part.start is None else load_face_encoder(Path(part.start))
        self._at_first, trunk = to_half(encoder.state_dict()), encoder.tuned
        trunk.blocks[part.frozen_stages:].requires_grad_(True)
        if not part.frozen_stages:
            trunk.conv_stem.requires_grad_(True)
        self.model = FrameJudge(trunk, part.dropout)
        self._frames: dict[tuple[Path, str], Frames] = {}
        shown = [(s, self._read(s).fake) for s in samples if s.has_picture]
        real = [s for s, fake in shown if (fake == 0).any() and s.video_fake == 0]
        fakes = [s for s, fake in shown if (fake == 1).any()]
        if not real or not fakes:
            raise ValueError("there is no genuine sample with a face to learn from" if not real else
                             "there is no fake sample with a face to learn from")
        self._counterparts = Counterparts(real)
        self._forged, self._published = (Pool(s for s in fakes if bool(s.forged) == made) for made in (True, False))

    def _read(self, sample: Sample) -> Frames:
        name = sample.folder, sample.key
        if name not in self._frames:
            self._frames[name] = read_frames(sample, self.recipe.lesson.frames, self.model.trunk.face_px)
        return self._frames[name]

    def batch(self, step: int, rank: int, ranks: int) -> Batch:
        """faces (n, 3, side, side) uint8, genuine and fake by turns; pair (n / 2,) bool: they show one moment."""
        faces, pair = [], []
        for number in range(rank, self.recipe.batch // 2, ranks):
            rng = np.random.default_rng((self.recipe.seed, step, number))
            genuine, fake, same = self._draw_pair(rng)
            faces += [degrade_faces(face[None], np.random.default_rng((self.recipe.seed, step, number, 0)))[0]
                      for face in (genuine, fake)]  # both alike
            pair.append(same)
        return {"faces": torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2), "pair": torch.tensor(pair)}

    def _draw_pair(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
        """A genuine frame, a fake one, and whether they show the same moment of one clip."""
        first, second = self._forged, self._published
        if rng.random() >= self.recipe.lesson.forged_share:
            first, second = second, first
        sample = (first or second).draw(rng)
        counterpart = self._counterparts.draw(sample, rng)
        fake, real = self._read(sample), self._read(counterpart)
        row = rng.choice(np.flatnonzero(fake.fake == 1))
        nearest = np.abs(real.times_s - fake.times_s[row]).argmin()
        same = (counterpart.shares_chain(sample)
                and bool(abs(real.times_s[nearest] - fake.times_s[row]) < SAME_MOMENT_S))
        return real.faces[nearest if same else rng.integers(len(real.faces))], fake.faces[row], same

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        genuine, fake = self.model(batch["faces"].float() / 255).unflatten(0, (-1, 2)).unbind(1)
        entropy = (F.softplus(genuine) + F.softplus(-fake)).mean() / 2
        ranked = F.softplus(genuine - fake)[batch["pair"]]
        ranking = ranked.mean() if len(ranked) else entropy.new_zeros(())
        return (entropy + self.recipe.lesson.ranking * ranking,
                {"entropy": entropy.detach(), "ranking": ranking.detach()})

    def card(self) -> dict:
        return {"network": "EfficientNet-Lite0 without its last convolution and classifier, tuned on faces"}

    def weights(self, model: FrameJudge) -> dict[str, Tensor]:
        """The whole encoder's, as training.pretrained writes it: its first trunk is as it was."""
        tuned = {f"tuned.{name}": value for name, value in model.trunk.state_dict().items()}
        return {**self._at_first, **to_half(tuned)}

    @torch.inference_mode()
    def scores(self, model: FrameJudge, samples: Sequence[Sample], windows: int) -> list[tuple[Sample, WindowScores]]:
        """Of at most so many frames of each clip, as windows of one frame."""
        device = next(model.parameters()).device
        model.eval()
        found = []
        for sample in samples:
            if not sample.has_picture or not len((frames := read_frames(sample, windows, model.trunk.face_px)).fake):
                continue
            told = torch.cat([model((torch.from_numpy(part).to(device).permute(0, 3, 1, 2)).float() / 255)
                              for part in np.array_split(frames.faces, -(-len(frames.faces) // SCORED_AT_ONCE))])
            found.append((sample, WindowScores(frames.times_s, frames.times_s + 1 / GRID_HZ,
                                               video=told.sigmoid().cpu().numpy(), audio=None, sync=None, whole=None)))
        return found
