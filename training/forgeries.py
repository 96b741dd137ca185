"""Simple forgeries of aligned face windows, made while training from genuine clips.

Each is (faces [T, H, W, 3] uint8, rng, ...) -> faces of the same shape, with only the masked region changed.
Real and forged windows of a pair then go through the same degradations (training/augment.py).
"""

from __future__ import annotations

import cv2
import numpy as np

# Inner-face ellipse in the aligned crop (media/crops.py: TEMPLATE): centre and half axes as shares of the side.
_FACE = (0.5, 0.57, 0.27, 0.36)
_MOUTH = (0.5, 0.77, 0.19, 0.13)


def region_mask(side_px: int, rng: np.random.Generator, region: tuple[float, float, float, float]) -> np.ndarray:
    """[H, W, 1] float32 in [0, 1]: an ellipse of random size and outline with a feathered edge."""
    centre_x, centre_y, half_x, half_y = np.array(region) * side_px
    grow = rng.uniform(0.8, 1.15, 2)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    wobble = 1 + 0.06 * sum(rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5))
    outline = np.stack([centre_x + half_x * grow[0] * wobble * np.cos(angle),
                        centre_y + half_y * grow[1] * wobble * np.sin(angle)], axis=1)
    mask = np.zeros((side_px, side_px), np.float32)
    cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), side_px * rng.uniform(0.008, 0.05))
    return (mask * rng.choice([0.75, 1.0, 1.0]))[..., None]


def blend(faces: np.ndarray, source: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """source where the mask is 1, faces where it is 0."""
    return np.clip(faces + mask * (source.astype(np.float32) - faces), 0, 255).round().astype(np.uint8)


def match_colour(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """source [T, H, W, 3] with the mean and deviation of target under the mask (Reinhard, in RGB)."""
    inside = mask[..., 0] > 0.5
    mean_s, std_s = source[:, inside].mean((0, 1)), source[:, inside].std((0, 1)) + 1
    mean_t, std_t = target[:, inside].mean((0, 1)), target[:, inside].std((0, 1)) + 1
    return (source - mean_s) * np.clip(std_t / std_s, 0.5, 2.0) + mean_t


def self_blend(faces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A slightly moved, recoloured, resharpened copy of the face blended onto itself (after SBI, Shiohara 2022)."""
    side_px = faces.shape[1]
    mask = region_mask(side_px, rng, _FACE)
    move = cv2.getRotationMatrix2D((side_px / 2, side_px / 2), rng.uniform(-3, 3), rng.uniform(0.96, 1.05))
    move[:, 2] += rng.uniform(-0.02, 0.02, 2) * side_px
    tint = rng.uniform(0.88, 1.12, 3)
    offset = rng.uniform(-14, 14)
    soften_px = rng.uniform(0.5, 1.6) if rng.random() < 0.6 else None
    sharpen = rng.uniform(0.3, 1.0) if soften_px is None else 0.0
    source = np.empty(faces.shape, np.float32)
    for i, face in enumerate(faces):
        moved = cv2.warpAffine(face, move, (side_px, side_px), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        soft = cv2.GaussianBlur(moved, (0, 0), soften_px or 1.0)
        source[i] = soft if soften_px else moved + sharpen * (moved - soft)
    return blend(faces, source * tint + offset, mask)


def resample_face(faces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The inner face at a generator's low resolution, brought back up: what an autoencoder's bottleneck leaves."""
    side_px = faces.shape[1]
    mask = region_mask(side_px, rng, _FACE)
    small_px = int(side_px * rng.uniform(0.22, 0.5))
    up = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[rng.integers(4)]
    source = np.stack([
        cv2.resize(cv2.resize(f, (small_px, small_px), interpolation=cv2.INTER_AREA), (side_px, side_px),
                   interpolation=up) for f in faces
    ]).astype(np.float32)
    return blend(faces, match_colour(source, faces, mask) + rng.uniform(-6, 6, 3), mask)


def rerender_mouth(faces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mouth of other moments of the same clip, softened and feathered in, as lip-sync tools paste theirs."""
    side_px = faces.shape[1]
    mask = region_mask(side_px, rng, _MOUTH if rng.random() < 0.6 else (0.5, 0.74, 0.25, 0.2))
    small_px = int(side_px * rng.uniform(0.3, 0.75))
    other = np.roll(faces, int(rng.integers(1, len(faces))), axis=0)
    source = np.stack([
        cv2.resize(cv2.resize(f, (small_px, small_px), interpolation=cv2.INTER_AREA), (side_px, side_px),
                   interpolation=cv2.INTER_CUBIC) for f in other
    ]).astype(np.float32)
    if rng.random() < 0.4:  # restoration nets sharpen what they paste
        source += rng.uniform(0.3, 1.2) * (source - np.stack([cv2.GaussianBlur(f, (0, 0), 1.5) for f in source]))
    return blend(faces, match_colour(source, faces, mask), mask)


def swap_identity(faces: np.ndarray, rng: np.random.Generator, donor: np.ndarray) -> np.ndarray:
    """The inner face of another person (donor, aligned to the same template), recoloured and feathered in."""
    side_px = faces.shape[1]
    mask = region_mask(side_px, rng, _FACE)
    small_px = int(side_px * rng.uniform(0.35, 0.9))
    source = np.stack([
        cv2.resize(cv2.resize(f, (small_px, small_px), interpolation=cv2.INTER_AREA), (side_px, side_px),
                   interpolation=cv2.INTER_CUBIC) for f in donor
    ]).astype(np.float32)
    return blend(faces, match_colour(source, faces, mask), mask)


def forge_faces(faces: np.ndarray, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """One forgery drawn at random; swap_identity only where a donor is given."""
    kinds = [self_blend, resample_face, rerender_mouth]
    if donor is not None and rng.random() < 0.35:
        return swap_identity(faces, rng, donor)
    return kinds[rng.integers(len(kinds))](faces, rng)
