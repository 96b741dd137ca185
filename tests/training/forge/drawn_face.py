"""A talking face made by hand: landmarks on the template of media.crops, and pictures in which any change shows."""

from __future__ import annotations

import cv2
import numpy as np

from media.crops import TEMPLATE
from training.forge.footage import Footage
from training.forge.masks import BROWS, INNER_LIPS, LEFT_EYE, LIPS, NOSE, OVAL, RIGHT_EYE

HEIGHT, WIDTH, FPS = 128, 144, 25.0
FACE_PX, CORNER = 80.0, (32.0, 24.0)  # the detectors' crop in the picture: its side, and its upper left corner


def template_mesh(opening: float = 0.0) -> np.ndarray:
    """[468, 2] in the unit square of the aligned crop, whose five points are TEMPLATE; opening: of the mouth."""
    left_eye, right_eye, nose, left_lip, right_lip = TEMPLATE
    mouth = (left_lip + right_lip) / 2
    half = (right_lip - left_lip)[0] / 2
    mesh = np.tile(TEMPLATE.mean(axis=0), (468, 1))
    mesh[list(OVAL)] = _ring(len(OVAL), (0.5, 0.5), (0.36, 0.44), start=-0.5)
    mesh[list(BROWS)] = np.concatenate([_ring(10, left_eye - (0, 0.1), (0.1, 0.015)),
                                        _ring(10, right_eye - (0, 0.1), (0.1, 0.015))])
    mesh[list(LEFT_EYE)] = _ring(16, left_eye, (0.06, 0.02), start=1.0)
    mesh[list(RIGHT_EYE)] = _ring(16, right_eye, (0.06, 0.02), start=0.0)
    mesh[list(NOSE)] = np.linspace(left_eye * 0.5 + right_eye * 0.5, nose + (0, 0.04), len(NOSE))
    mesh[4] = nose
    mesh[list(LIPS)] = _ring(len(LIPS), mouth, (half, 0.03 + opening), start=1.0)
    mesh[list(INNER_LIPS)] = _ring(len(INNER_LIPS), mouth, (half * 0.9, 0.01 + opening), start=1.0)
    mesh[61], mesh[291] = left_lip, right_lip
    around = (164, 167, 393, 57, 287, 43, 273, 106, 335, 18, 200, 201, 421)
    mesh[list(around)] = _ring(len(around), mouth, (half * 1.25, 0.08 + opening))
    return mesh


def landmarks_of(frames: int, speed_px: float = 0.0, opening: float = 0.0) -> np.ndarray:
    """[frames, 468, 2] float32 px: the face at CORNER, going right by speed_px a frame; the mouth opens every 8th."""
    at = np.arange(frames)
    meshes = np.stack([template_mesh(opening * abs(np.sin(np.pi * i / 8))) for i in at]) * FACE_PX + CORNER
    meshes[:, :, 0] += speed_px * at[:, None]
    return meshes.astype(np.float32)


def textured(frames: int, seed: int = 0) -> np.ndarray:
    """[frames, HEIGHT, WIDTH, 3] uint8: coarse random patches that change over time."""
    coarse = np.random.default_rng(seed).integers(40, 216, (frames, 16, 18, 3), dtype=np.uint8)
    return np.stack([cv2.resize(c, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for c in coarse])


def drawn_footage(frames: int = 24, seed: int = 0, away: tuple[int, ...] = (), **motion) -> Footage:
    """A silent clip at 25 fps with the face in every frame that is not `away`."""
    landmarks = landmarks_of(frames, **motion)
    landmarks[list(away)] = np.nan
    return Footage(f"clip{seed}", textured(frames, seed), np.arange(frames) / FPS, None, landmarks)


def _ring(count: int, centre, half, start: float = 0.0) -> np.ndarray:
    """[count, 2] evenly around an ellipse from the angle start * pi on (0: its right end)."""
    angle = np.pi * (start + 2 * np.arange(count) / count)
    return np.asarray(centre) + np.asarray(half) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
