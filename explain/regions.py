"""Regions of a face, as masks of the aligned crops: alignment puts the same feature at the same place in each."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from media.crops import LIPS_SPAN, TEMPLATE

REGIONS = ("lips", "eyes", "nose", "skin", "border", "background")

# Ellipses (centre x, y, half width, half height) in units of the face crop's side. The eyes' hold the brows too;
# the border is where a pasted face meets the one below: around the jaw, the cheeks and the forehead.
_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH = TEMPLATE[0], TEMPLATE[1], TEMPLATE[2], TEMPLATE[3:5].mean(axis=0)
_LIPS = ((*_MOUTH, 0.21, 0.115),)
_EYES = tuple((x, y - 0.035, 0.14, 0.105) for x, y in (_LEFT_EYE, _RIGHT_EYE))
_NOSES = ((_NOSE[0], _NOSE[1] - 0.06, 0.105, 0.13),)
_FACE = (0.5, 0.54, 0.38, 0.47)
_BORDER = (0.84, 1.14)  # of the face's ellipse


def region_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Index into REGIONS of points in units of the face crop's side. Arrays of one shape -> int array of it."""
    face = _distance(x, y, _FACE)
    region = np.select([face < _BORDER[0], face < _BORDER[1]], [REGIONS.index("skin"), REGIONS.index("border")],
                       REGIONS.index("background"))
    for name, ellipses in (("nose", _NOSES), ("eyes", _EYES), ("lips", _LIPS)):  # later ones lie on top
        for ellipse in ellipses:
            region = np.where(_distance(x, y, ellipse) < 1, REGIONS.index(name), region)
    return region


@lru_cache(maxsize=16)
def face_regions(side_px: int) -> np.ndarray:
    """[side, side] int: the region of each pixel of a face crop."""
    centres = (np.arange(side_px) + 0.5) / side_px
    return region_at(*np.meshgrid(centres, centres))


@lru_cache(maxsize=16)
def lip_crop_regions(side_px: int) -> np.ndarray:
    """[side, side] int: the same for a lip crop, which shows LIPS_SPAN of the face crop around the mouth."""
    offsets = ((np.arange(side_px) + 0.5) / side_px - 0.5) * LIPS_SPAN
    x, y = np.meshgrid(_MOUTH[0] + offsets, _MOUTH[1] + offsets)
    return region_at(x, y)


def _distance(x: np.ndarray, y: np.ndarray, ellipse: tuple[float, float, float, float]) -> np.ndarray:
    """From an ellipse's centre, 1 on its outline."""
    centre_x, centre_y, half_width, half_height = ellipse
    return np.hypot((x - centre_x) / half_width, (y - centre_y) / half_height)
