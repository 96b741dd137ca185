"""Soft masks from the face mesh: which part of the face a tool replaces, and how its edge fades."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.forge.align import steadied

# Vertices of MediaPipe's mesh (left and right as in the picture).
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE = (168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 64, 294, 129, 358)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
JAW = OVAL[9:28]  # from ear to ear along the chin
_NOSE_BASE = (2, 98, 327)
_CHEEKS = (205, 425, 50, 280)
_OUTER_CHEEKS = (123, 352, 213, 433)
_AROUND_LIPS = (164, 167, 393, 57, 287, 43, 273, 106, 335, 18, 200, 201, 421)

# What the hull of these vertices encloses.
REGIONS: dict[str, tuple[int, ...]] = {
    "face": OVAL,  # forehead to chin
    "inner_face": BROWS + LIPS + _OUTER_CHEEKS + _AROUND_LIPS,  # brows to just under the lips
    "eyes_nose": BROWS + LEFT_EYE + RIGHT_EYE + NOSE,
    "lips": LIPS,
    "mouth": LIPS + _AROUND_LIPS,
    "lower_face": _NOSE_BASE + LIPS + _CHEEKS[:2] + JAW[4:-4],  # nose base to chin
    "jaw": _NOSE_BASE + _CHEEKS + JAW,  # the lower half, ear to ear
}
SHAPES = ("hull", "box", "ellipse")
_BORDER = 0.04  # a mask has faded out this share of the side before the crop ends
_OUTLINE_POINTS = 72
_SOFT_PX = 3.0  # a blur by so much leaves nothing that is lost when the mask is brought up
_BOX_FRAMES = 2.0  # tools steady the boxes of their face finders over a few frames


@dataclass(frozen=True)
class Outline:
    """One mask for a whole clip, following the face. Shares are of the square root of the region's area."""

    region: str  # one of REGIONS
    shape: str = "hull"  # one of SHAPES
    grow: float = 0.0  # the outline is moved outwards by this share of its distance from the centre
    wobble: tuple[tuple[float, float], ...] = ()  # (amplitude as a share, phase in rad) of 2, 3, 4 ... waves around
    feather: float = 0.05  # standard deviation of the edge's blur, as a share
    opacity: float = 1.0


def draw_outline(rng: np.random.Generator, regions: tuple[str, ...], shapes: tuple[str, ...] = ("hull",),
                 grow: tuple[float, float] = (-0.12, 0.08), feather: tuple[float, float] = (0.01, 0.1),
                 wobble: float = 0.03, opacities: tuple[float, ...] = (1.0,)) -> Outline:
    """An outline with parameters drawn evenly from what is given (the feather evenly in its logarithm)."""
    return Outline(
        regions[rng.integers(len(regions))], shapes[rng.integers(len(shapes))], round(rng.uniform(*grow), 4),
        tuple((round(wobble * rng.normal(), 4), round(rng.uniform(0, 2 * np.pi), 4)) for _ in range(4)),
        round(float(np.exp(rng.uniform(*np.log(feather)))), 4), opacities[rng.integers(len(opacities))],
    )


def draw_masks(points: np.ndarray, side_px: int, outline: Outline) -> np.ndarray:
    """Landmarks of n crops [n, 468, 2] px, without NaN -> masks [n, side_px, side_px] float32 in [0, 1]."""
    vertices = points[:, list(REGIONS[outline.region])]
    if outline.shape != "hull":
        vertices = steadied(vertices, _BOX_FRAMES)
    ramp = np.minimum(np.arange(side_px) + 0.5, side_px - 0.5 - np.arange(side_px)) / max(_BORDER * side_px, 1)
    border = np.clip(np.minimum(ramp[:, None], ramp), 0, 1).astype(np.float32)
    return np.stack([_mask(v, side_px, outline) for v in vertices]) * border


def _mask(vertices: np.ndarray, side_px: int, outline: Outline) -> np.ndarray:
    """[k, 2] -> [side_px, side_px] float32."""
    polygon = _polygon(vertices, outline.shape)
    centre = polygon.mean(axis=0)
    spoke = polygon - centre
    angle = np.arctan2(spoke[:, 1], spoke[:, 0])
    reach = 1 + outline.grow + sum(a * np.cos(k * angle + phase) for k, (a, phase) in enumerate(outline.wobble, 2))
    polygon = (centre + spoke * np.reshape(reach, (-1, 1))).astype(np.float32)
    soft_px = outline.feather * float(np.sqrt(cv2.contourArea(polygon)))
    px = round(side_px / max(soft_px / _SOFT_PX, 1))  # a soft mask is drawn small: that takes a fraction of the time
    mask = np.zeros((px, px), np.uint8)
    corners = (polygon + 0.5) * (px / side_px) - 0.5
    cv2.fillPoly(mask, [(corners * 16).round().astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    if soft_px > 0.3:
        mask = cv2.GaussianBlur(mask, (0, 0), soft_px * px / side_px)
    if px < side_px:
        mask = cv2.resize(mask, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    return mask * np.float32(outline.opacity / 255)


def _polygon(vertices: np.ndarray, shape: str) -> np.ndarray:
    """[_OUTLINE_POINTS, 2]: evenly along the hull of the vertices, or the box or ellipse around them."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    if shape == "ellipse":
        angle = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
        # An ellipse with the box's centre and, of equal area, its half axes by 2 / sqrt(pi).
        return (low + high) / 2 + (high - low) / np.sqrt(np.pi) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    corners = (np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
               if shape == "box" else cv2.convexHull(vertices.astype(np.float32))[:, 0])
    closed = np.vstack([corners, corners[:1]]).astype(np.float64)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.linspace(0, along[-1], _OUTLINE_POINTS, endpoint=False)
    return np.stack([np.interp(at, along, closed[:, 0]), np.interp(at, along, closed[:, 1])], axis=1)
