"""Identity swap as the well-known tools do it: one encoder for everybody, a decoder that is told whose face to draw.

Trained to undo a warp (Perov et al., "DeepFaceLab", 2020, arXiv 2005.05535, and its predecessors): the encoder sees a
bent face, the decoder has to draw the straight one as the person it is told. Instead of one decoder per person, an
embedding per person sets the scale and shift of every map (AdaIN, Huang & Belongie, ICCV 2017); so that the decoder
has to rely on it, the code is kept from telling who is seen (Lample et al., "Fader Networks", NeurIPS 2017).
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

from training.forge.footage import Footage, Forgery, Truth
from training.forge.learnt.genuine import Talk
from training.forge.learnt.objectives import Attempt, PatchCritic, dissimilarity, edge_difference, weighted_mean
from training.forge.learnt.recipe import Course, Section
from training.forge.learnt.repaint import as_faces, as_pictures, ellipse, repaint, sharpened

FACE_CENTRE, FACE_HALF = (0.5, 0.58), (0.31, 0.42)  # brows to chin on media.crops.TEMPLATE, as shares of the side
_OUTSIDE = 0.1  # weight of what is drawn outside of the mask: never shown, but hair and neck help to place the face


class SwapperShape(Section):
    side_px: int = Field(multiple_of=16, ge=32)
    widths: tuple[int, int, int, int]  # of the encoder's maps at 1/2 ... 1/16; the decoder's in reverse
    code: int = Field(gt=0)
    embedding: int = Field(gt=0)


class SwapperLosses(Section):
    pixel: float = Field(ge=0)
    structure: float = Field(ge=0)
    edges: float = Field(ge=0)
    mask: float = Field(ge=0)
    anonymity: float = Field(ge=0)


class SwapperRecipe(Course):
    generator: Literal["swapper"]
    network: SwapperShape
    losses: SwapperLosses


# ---- the network --------------------------------------------------------------------------------------------------


class Swapper(nn.Module):
    """Faces (N, 3, s, s) in [0, 1] and identity numbers (N,) -> drawn (N, 3, s, s) and mask (N, 1, s, s) in [0, 1]."""

    def __init__(self, shape: SwapperShape, identities: list[str]) -> None:
        super().__init__()
        self.shape, self.identities = shape, identities
        w = shape.widths
        self.encoder = nn.Sequential(*(
            nn.Sequential(nn.Conv2d(i, o, 5, 2, 2), nn.LeakyReLU(0.1)) for i, o in zip((3, *w), w)))
        self.small_px = shape.side_px // 16
        flat = w[3] * self.small_px**2
        self.squeeze, self.expand = nn.Linear(flat, shape.code), nn.Linear(shape.code, flat)
        self.embedding = nn.Embedding(len(identities), shape.embedding)
        self.decoder = nn.ModuleList(_Enlarge(i, o, shape.embedding) for i, o in zip(w[::-1], (*w[2::-1], w[0])))
        self.draw = nn.Conv2d(w[0], 4, 5, padding=2)

    @classmethod
    def build(cls, card: dict) -> Swapper:
        return cls(SwapperShape.model_validate(card["network"]), card["identities"])

    @property
    def card(self) -> dict:
        return {"network": self.shape.model_dump(), "identities": self.identities}

    def encode(self, faces: Tensor) -> Tensor:
        """(N, 3, s, s) -> (N, code)."""
        return self.squeeze(self.encoder(2 * faces - 1).flatten(1))

    def decode(self, code: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        who = self.embedding(identity)
        x = F.leaky_relu(self.expand(code), 0.1).unflatten(1, (-1, self.small_px, self.small_px))
        for enlarge in self.decoder:
            x = enlarge(x, who)
        drawn = self.draw(x).float().sigmoid()
        return drawn[:, :3], drawn[:, 3:]

    def forward(self, faces: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        return self.decode(self.encode(faces), identity)


class _Enlarge(nn.Module):
    """Twice the size by shuffled channels (as in those tools), then the person's scale and shift."""

    def __init__(self, before: int, after: int, embedding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, 4 * after, 3, padding=1)
        self.style = nn.Linear(embedding, 2 * after)

    def forward(self, x: Tensor, who: Tensor) -> Tensor:
        x = F.instance_norm(F.pixel_shuffle(self.conv(x), 2))
        scale, shift = self.style(who)[:, :, None, None].chunk(2, dim=1)
        return F.leaky_relu(x * (1 + scale) + shift, 0.1)


# ---- learning -----------------------------------------------------------------------------------------------------


class SwapperBatches:
    """Bent faces, the straight ones, where the face is, and whose it is. Every person is drawn equally often."""

    @staticmethod
    def reads(recipe: SwapperRecipe) -> dict:
        return {"side_px": recipe.network.side_px, "sound": False}

    def __init__(self, recipe: SwapperRecipe, talks: list[Talk]) -> None:
        self.size, self.side_px = recipe.batch, recipe.network.side_px
        self.identities = sorted({t.identity for t in talks})
        self.talks = {name: [t for t in talks if t.identity == name] for name in self.identities}
        self.face = ellipse(self.side_px, FACE_CENTRE, FACE_HALF)

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """bent, straight (N, 3, s, s) uint8, mask (N, 1, s, s) float32, identity (N,) int64."""
        bent, straight, masks, who = [], [], [], rng.integers(len(self.identities), size=self.size)
        for number in who:
            talks = self.talks[self.identities[number]]
            faces = talks[rng.integers(len(talks))].faces
            moved, mask = self._moved(faces[rng.integers(len(faces))], rng)
            straight.append(moved)
            masks.append(mask)
            bent.append(_bent(moved, rng))
        return {"bent": as_pictures(bent), "straight": as_pictures(straight),
                "mask": torch.from_numpy(np.stack(masks))[:, None], "identity": torch.from_numpy(who)}

    def _moved(self, face: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Mirrored, turned, scaled and shifted, with the mask that goes along: the mask head has something to find."""
        side_px = self.side_px
        matrix = cv2.getRotationMatrix2D((side_px / 2, side_px / 2), rng.uniform(-10, 10), rng.uniform(0.93, 1.05))
        matrix[:, 2] += rng.uniform(-0.04, 0.04, 2) * side_px
        if rng.random() < 0.5:
            face = np.ascontiguousarray(face[:, ::-1])
        return (cv2.warpAffine(face, matrix, (side_px, side_px), borderMode=cv2.BORDER_REPLICATE),
                cv2.warpAffine(self.face, matrix, (side_px, side_px)))


def _bent(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pulled about at 5 x 5 points by some percent of the side, smoothly in between."""
    side_px = len(face)
    pull = rng.normal(0, 0.025 * side_px, (5, 5, 2)).astype(np.float32)
    y, x = np.indices((side_px, side_px), np.float32)
    pull = cv2.resize(pull, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return cv2.remap(face, x + pull[..., 0], y + pull[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class SwapperLesson(nn.Module):
    def __init__(self, recipe: SwapperRecipe, batches: SwapperBatches) -> None:
        super().__init__()
        self.generator = Swapper(recipe.network, batches.identities)
        self.guess = nn.Sequential(nn.Linear(recipe.network.code, 128), nn.LeakyReLU(0.1),
                                   nn.Linear(128, len(batches.identities)))

    @staticmethod
    def make_critic(width: int) -> nn.Module:
        return PatchCritic(width)

    def forward(self, batch: dict[str, Tensor]) -> Attempt:
        bent, true = batch["bent"].float() / 255, batch["straight"].float() / 255
        code = self.generator.encode(bent)
        drawn, mask = self.generator.decode(code, batch["identity"])
        weights = _OUTSIDE + (1 - _OUTSIDE) * batch["mask"]
        # The guess learns who it is from the code; the gradient turns round on its way into the encoder. Normalised,
        # since an encoder that may grow its code drives the guess into any error by size alone.
        guess = self.guess(_Reversed.apply(F.layer_norm(code, code.shape[-1:]))).float()
        return Attempt(drawn * batch["mask"], true * batch["mask"], {
            "pixel": weighted_mean((drawn - true).abs(), weights),
            "structure": weighted_mean(dissimilarity(drawn, true), weights),
            "edges": edge_difference(drawn * batch["mask"], true * batch["mask"]),
            "mask": (mask - batch["mask"]).abs().mean(),
            "anonymity": F.cross_entropy(guess, batch["identity"]),
        })


class _Reversed(torch.autograd.Function):
    """The same forward, the opposite backward (Ganin & Lempitsky, ICML 2015)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return -gradient


# ---- the forgery --------------------------------------------------------------------------------------------------


def swap(swapper: Swapper, identity: str) -> Forgery:
    """Every frame's face drawn again as another person's, recoloured, its mask eroded and feathered, and pasted back.

    identity: one of swapper.identities. Raises: ValueError where it is not; the forgery raises Unsuitable where no
    face is seen.
    """
    if identity not in swapper.identities:
        raise ValueError(f"the swapper has not learnt {identity!r}, only {len(swapper.identities)} others")
    number = swapper.identities.index(identity)
    side_px = swapper.shape.side_px

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        drawn = {
            "side_px": side_px,
            "erode": round(rng.uniform(0, 0.05), 4),  # of the side, as the next one
            "feather": round(rng.uniform(0.015, 0.06), 4),
            "recolour": bool(rng.random() < 0.85),
            "sharpen": round(rng.uniform(0.2, 1.0), 3) if rng.random() < 0.5 else 0.0,
        }

        def paint(faces: np.ndarray, points: np.ndarray, _rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            painted, masks = draw_as(swapper, faces, number)
            masks = masks * _hulls(points, side_px)
            if drawn["recolour"]:
                painted = np.stack([recoloured(p, f, m) for p, f, m in zip(painted, faces, masks)])
            if drawn["sharpen"]:
                painted = sharpened(painted, drawn["sharpen"], radius_px=1.0)
            return painted, _softened(masks, drawn["erode"] * side_px, drawn["feather"] * side_px)

        frames, region, spans = repaint(footage, side_px, paint)
        return replace(footage, frames=frames), Truth(footage.clip_id, spans, region, (("learnt_swap", drawn),),
                                                      (identity,))

    return forge


@torch.inference_mode()
def draw_as(swapper: Swapper, faces: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """[m, s, s, 3] uint8 as person `number` -> [m, s, s, 3] float32 in [0, 255], masks [m, s, s] in [0, 1]."""
    device = swapper.embedding.weight.device
    who = torch.full((len(faces),), number, device=device)
    drawn, masks = swapper(as_pictures(faces).to(device).float() / 255, who)
    return as_faces(drawn), masks[:, 0].cpu().numpy()


def recoloured(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """source with the mean and spread of target under the mask, channel by channel in L*a*b* (Reinhard et al., 2001).

    source [s, s, 3] float32, target [s, s, 3] uint8, mask [s, s] in [0, 1] -> [s, s, 3] float32 in [0, 255].
    """
    source_lab, target_lab = (cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for p in (source, target))
    inside = mask > 0.5
    if not inside.any():
        return source
    source_in, target_in = source_lab[inside], target_lab[inside]
    spread = (target_in.std(axis=0) + 0.5) / (source_in.std(axis=0) + 0.5)
    changed = (source_lab - source_in.mean(axis=0)) * np.clip(spread, 0.5, 2.0) + target_in.mean(axis=0)
    return np.clip(cv2.cvtColor(changed.astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1) * 255


def _hulls(points: np.ndarray, side_px: int) -> np.ndarray:
    """[m, 468, 2] px -> [m, side_px, side_px] float32, 1 within the outline of the mesh."""
    hulls = np.zeros((len(points), side_px, side_px), np.float32)
    for hull, mesh in zip(hulls, points):
        cv2.fillConvexPoly(hull, cv2.convexHull(mesh.round().astype(np.int32)), 1.0)
    return hulls


def _softened(masks: np.ndarray, erode_px: float, feather_px: float) -> np.ndarray:
    """Shrunk by erode_px + feather_px, then blurred, so that it fades out inside of where it was and of the crop."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(erode_px + feather_px) + 1,) * 2)
    outside = {"borderType": cv2.BORDER_CONSTANT}  # as 0: a chin that the crop cuts off must not end in a hard line
    shrunk = [cv2.erode(m, kernel, borderValue=0, **outside) for m in masks]
    soft = np.stack([cv2.GaussianBlur(m, (0, 0), feather_px, **outside) for m in shrunk])
    soft[:, [0, -1], :] = soft[:, :, [0, -1]] = 0
    return soft
