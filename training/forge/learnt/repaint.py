"""What the swapper and the inpainter share: a clip's aligned faces out, through a network, and back."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from media import FACE_PX
from training.forge.align import cut, face_matrices, known, moved, paste
from training.forge.footage import Footage, Span, Unsuitable
from training.forge.patch import frame_spans

LEAST_FACES = 8  # frames with a face, below which there is nothing to forge
_AT_ONCE = 32  # frames in memory as crops

# (faces [m, s, s, 3] uint8, points [m, 468, 2] px in them, rows [m]) -> painted [m, s, s, 3] float32 in [0, 255],
# masks [m, s, s] float32 in [0, 1]
Paint = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def faces_of(footage: Footage, side_px: int, rows: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """The aligned faces of some rows, [m, side_px, side_px, 3] uint8; matrices [n, 2, 3] are those for FACE_PX.

    Cut at the size of training samples and reduced like them, so that a network sees what it learnt from.
    """
    return resized(cut(footage.frames[rows], matrices[rows], FACE_PX), side_px, cv2.INTER_AREA)


def find_faces(footage: Footage) -> tuple[np.ndarray, np.ndarray]:
    """(rows with a face [m], matrices [n, 2, 3] to crops of FACE_PX). Raises: Unsuitable where there are too few."""
    if footage.frames is None or footage.landmarks is None:
        raise Unsuitable("there is no picture with landmarks")
    rows = np.flatnonzero(known(footage.landmarks))
    if len(rows) < LEAST_FACES:
        raise Unsuitable(f"a face is seen in {len(rows)} frames only")
    return rows, face_matrices(footage.landmarks, FACE_PX)


def repaint(footage: Footage, side_px: int, paint: Paint) -> tuple[np.ndarray, np.ndarray, tuple[Span, ...]]:
    """Every face painted over -> frames [n, H, W, 3], region [n, H, W] uint8, and when the picture was changed.

    Raises: Unsuitable where too few frames show a face, or none of it lies in the picture.
    """
    rows, matrices = find_faces(footage)
    frames = footage.frames.copy()
    region = np.zeros(frames.shape[:3], np.uint8)
    for part in np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE)):
        faces = faces_of(footage, side_px, part, matrices)
        points = moved(footage.landmarks[part], matrices[part])
        painted, masks = paint(faces, (points + 0.5) * (side_px / FACE_PX) - 0.5, part)
        crops = np.clip(resized(painted, FACE_PX, cv2.INTER_CUBIC), 0, 255).round().astype(np.uint8)
        frames[part], region[part] = paste(footage.frames[part], crops, matrices[part],
                                           np.clip(resized(masks, FACE_PX, cv2.INTER_LINEAR), 0, 1))
    spans = frame_spans(footage, region.any(axis=(1, 2)))
    if not spans:
        raise Unsuitable("the face lies outside the picture")
    return frames, region, spans


def as_pictures(faces: np.ndarray | list[np.ndarray]) -> Tensor:
    """[m, s, s, 3] -> (m, 3, s, s), values as they are."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(faces))).permute(0, 3, 1, 2)


def as_faces(pictures: Tensor) -> np.ndarray:
    """(m, 3, s, s) in [0, 1] -> [m, s, s, 3] float32 in [0, 255]."""
    return 255 * pictures.float().permute(0, 2, 3, 1).cpu().numpy()


def resized(pictures: np.ndarray, side_px: int, interpolation: int) -> np.ndarray:
    """[m, s, s(, 3)] -> [m, side_px, side_px(, 3)]."""
    return np.stack([cv2.resize(p, (side_px, side_px), interpolation=interpolation) for p in pictures])


def sharpened(pictures: np.ndarray, amount: float, radius_px: float) -> np.ndarray:
    """Unsharp mask, as tools that restore their soft outputs do; [m, s, s, 3] float32."""
    soft = np.stack([cv2.GaussianBlur(p, (0, 0), radius_px) for p in pictures])
    return np.clip(pictures + amount * (pictures - soft), 0, 255)


def ellipse(side_px: int, centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    """[side_px, side_px] float32, 1 inside; centre and half axes as shares of the side."""
    y, x = (np.indices((side_px, side_px)) + 0.5) / side_px
    return (((x - centre[0]) / half[0])**2 + ((y - centre[1]) / half[1])**2 <= 1).astype(np.float32)
