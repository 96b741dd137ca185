"""A map's values at a moment and at a pixel: what every picture of it is drawn from.

Windows of one explanation may overlap, so their values are averaged there; where they do not touch, time is cut out.
"""

from __future__ import annotations

import cv2
import numpy as np

from explain.maps import Map
from explain.regions import face_regions, lip_crop_regions
from media.crops import LIPS_SPAN, TEMPLATE

TOUCH_S = 0.05  # windows that lie closer than this are drawn as one run
PEAK = 99.0  # percentile of the values that gets the full colour: single blocks of a fine map stand out too far
_MOUTH = TEMPLATE[3:5].mean(axis=0)


def runs(start_s: np.ndarray, end_s: np.ndarray) -> list[tuple[float, float]]:
    """Windows [n] that touch or overlap, joined to spans, in order of time."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(zip(start_s.tolist(), end_s.tolist())):
        if joined and start <= joined[-1][1] + TOUCH_S:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def covered(found: Map, start_s: np.ndarray, end_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of windows [n], the parts [n] that a readable map looked at: start and end."""
    if not is_readable(found):
        return start_s, end_s
    steps_s = next(iter(found.layout.groups.values())).steps_s
    return start_s + steps_s[0, 0], np.minimum(start_s + steps_s[-1, 1], end_s)


def is_readable(found: Map) -> bool:
    """Cells with names, in place of blocks."""
    return bool(set(found.values) <= {"picture", "sound"})


def scaled(found: Map) -> tuple[Map, float]:
    """The map with values in about [-1, 1], for colours, and what 1 stands for.

    Groups that share a unit share the scale, so that what matters little stays pale. Blocks count by their density,
    as where the test marks them; cells by their values, which their tables print.
    """
    weighed = found.values if is_readable(found) else {g: v * v.size for g, v in found.values.items()}
    peak = (lambda v: np.abs(v).max()) if is_readable(found) else (lambda v: np.percentile(np.abs(v), PEAK))
    peaks = {group: float(peak(v)) for group, v in weighed.items()}
    highest = max(peaks.values())
    scales = {group: max(highest if found.in_logits else own, 1e-12) for group, own in peaks.items()}
    values = {group: v / scales[group] for group, v in weighed.items()}
    return Map(found.method, found.layout, values, found.in_logits, found.delta), highest


def strongest_cells(found: Map) -> Map:
    """1 in the cell of each group that speaks most for manipulation, 0 elsewhere."""
    mask = {group: ((v == v.max()) & (v > 0)).astype(float) for group, v in found.values.items()}
    return Map(found.method, found.layout, mask)


def values_at(found: Map, group: str, start_s: np.ndarray, end_s: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """[T, places] of a group at moments [T] of the clip: the mean of the windows [n] whose steps hold them, NaN
    elsewhere."""
    steps_s = found.layout.groups[group].steps_s
    sums = np.zeros((len(times_s), found.values[group].shape[2]))
    count = np.zeros((len(times_s), 1))
    for begin, end, values in zip(start_s, end_s, found.values[group]):
        step = np.searchsorted(steps_s[:, 0], times_s - begin + 1e-6, side="right") - 1
        inside = (step >= 0) & (times_s < min(end, begin + steps_s[-1, 1]) + 1e-6)
        sums[inside] += values[step[inside]]
        count[inside] += 1
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def step_edges(found: Map, group: str, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    """[m] sorted seconds of the clip at which the group's value may change."""
    steps_s = found.layout.groups[group].steps_s
    edges = [np.minimum(begin + np.append(steps_s[:, 0], steps_s[-1, 1]), end) for begin, end in zip(start_s, end_s)]
    return np.unique(np.round(np.concatenate(edges), 4))


def on_face(group: str, values: np.ndarray, side_px: int) -> np.ndarray:
    """[side, side]: a group's values [places] at one moment over a face crop. group: picture or face."""
    if group == "picture":
        return values[face_regions(side_px)]
    return _blocks(values, side_px)


def on_mouth(group: str, values: np.ndarray, side_px: int) -> np.ndarray:
    """[side, side]: the same over a lip crop. group: picture, lips or face."""
    if group == "picture":
        return values[lip_crop_regions(side_px)]
    if group == "lips":
        return _blocks(values, side_px)
    face_px = round(side_px / LIPS_SPAN)  # a face crop on which the mouth has the lip crop's size
    matrix = np.array([[1.0, 0.0, side_px / 2 - _MOUTH[0] * face_px], [0.0, 1.0, side_px / 2 - _MOUTH[1] * face_px]])
    return cv2.warpAffine(_blocks(values, face_px), matrix, (side_px, side_px))


def mouth_group(found: Map) -> str | None:
    """The group that tells most about the mouth: the close-up, unless the head does not read it. None where the map
    holds no picture."""
    held = [group for group in ("picture", "lips", "face") if group in found.values]
    return next((group for group in held if found.values[group].any()), held[0] if held else None)


def _blocks(values: np.ndarray, side_px: int) -> np.ndarray:
    side = round(len(values) ** 0.5)
    return cv2.resize(values.reshape(side, side).astype(np.float32), (side_px, side_px),
                      interpolation=cv2.INTER_LINEAR)
