"""Between a picture and the aligned crop that detectors see: where the face lies, cutting it out, pasting it back."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from media.crops import alignment

# Vertices of MediaPipe's mesh that MTCNN's five points correspond to, in that order ("left": left in the picture).
LEFT_EYE, RIGHT_EYE, NOSE_TIP, LEFT_LIP, RIGHT_LIP = (33, 133, 159, 145), (263, 362, 386, 374), (4,), (61,), (291,)
_FIVE = (LEFT_EYE, RIGHT_EYE, NOSE_TIP, LEFT_LIP, RIGHT_LIP)

SMOOTH_FRAMES = 2.0  # standard deviation of the kernel that steadies the crop
CUT_SHARE = 0.25  # points that move by more than this share of their extent in one frame: a cut, not a motion


def known(landmarks: np.ndarray) -> np.ndarray:
    """[n] bool: frames with a face. landmarks: [n, 468, 2], NaN in frames without one."""
    return np.isfinite(landmarks).all(axis=(1, 2))


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """[n, 468, 2] -> [n, 5, 2]: eye centres, nose tip, mouth corners, as media's face detector finds them."""
    return np.stack([landmarks[:, list(vertices)].mean(axis=1) for vertices in _FIVE], axis=1)


def face_matrices(landmarks: np.ndarray, side_px: int) -> np.ndarray:
    """Where the aligned crop lies in every frame: landmarks [n, 468, 2] px -> [n, 2, 3] float32.

    Each is a similarity from the picture's pixels to those of a square of side_px, on the template of media.crops,
    steadied over time. Frames without a face (NaN) get theirs from the nearest frames before and after that have one.
    Raises ValueError where no frame has one.
    """
    has_face = known(landmarks)
    if not has_face.any():
        raise ValueError("no frame has landmarks")
    points = _interpolated(five_points(landmarks), has_face)  # [n, 5, 2]
    return np.stack([alignment(p, side_px) for p in steadied(points, SMOOTH_FRAMES)]).astype(np.float32)


def steadied(points: np.ndarray, frames: float) -> np.ndarray:
    """points [n, k, 2] smoothed over time by a Gaussian of that many frames, separately on either side of a cut."""
    return np.concatenate([gaussian_filter1d(part.astype(np.float64), frames, axis=0, mode="nearest", truncate=3.0)
                           for part in _split_at_cuts(points)])


def moved(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """points [n, k, 2] through matrices [n, 2, 3] -> [n, k, 2] float32."""
    return (points @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]).astype(np.float32)


def cut(frames: np.ndarray, matrices: np.ndarray, side_px: int) -> np.ndarray:
    """[n, H, W, 3] uint8 -> [n, side_px, side_px, 3] uint8; matrices [n, 2, 3] map picture pixels to crop pixels."""
    return np.stack([_warp(f, m, (side_px, side_px), cv2.BORDER_REPLICATE) for f, m in zip(frames, matrices)])


def paste(frames: np.ndarray, crops: np.ndarray, matrices: np.ndarray,
          masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blends crops [n, s, s, 3] uint8 into frames [n, H, W, 3] uint8 where masks [n, s, s] in [0, 1] say so.

    -> frames [n, H, W, 3] uint8 and region [n, H, W] uint8, the share of each pixel that was replaced in steps of
    1/255. The blend uses that very share, so where region is 0 the picture is bit-identical to the input.
    """
    pasted, region = frames.copy(), np.zeros(frames.shape[:3], np.uint8)
    height, width = frames.shape[1:3]
    for out, share, crop, matrix, mask in zip(pasted, region, crops, matrices, masks):
        back = cv2.invertAffineTransform(matrix.astype(np.float64))
        x, y, across, down = cv2.boundingRect((mask > 0).astype(np.uint8))
        corners = np.array([[x, y], [x + across, y], [x, y + down], [x + across, y + down]]) - 0.5
        corners = corners @ back[:, :2].T + back[:, 2]
        reach = 1 + 1 / np.sqrt(np.linalg.det(matrix[:, :2]))  # what interpolation adds around
        x0, y0 = np.clip(np.floor(corners.min(axis=0) - reach).astype(int), 0, (width, height))
        x1, y1 = np.clip(np.ceil(corners.max(axis=0) + reach).astype(int) + 1, 0, (width, height))
        if not across or x0 >= x1 or y0 >= y1:
            continue
        back[:, 2] -= (x0, y0)
        size = (int(x1 - x0), int(y1 - y0))
        part = (slice(y0, y1), slice(x0, x1))
        moved_mask = _warp(np.asarray(mask, np.float32), back, size, cv2.BORDER_CONSTANT)
        share[part] = cv2.convertScaleAbs(moved_mask, alpha=255)
        out[part] = blend(out[part], _warp(crop, back, size, cv2.BORDER_REPLICATE), share[part])
    return pasted, region


def blend(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    """[h, w, 3] uint8: `above` where share [h, w] uint8 is 255, `below` where it is 0, linear in between."""
    weight = share.astype(np.float32) / 255
    return cv2.blendLinear(above, np.ascontiguousarray(below), weight, 1 - weight)


def _split_at_cuts(points: np.ndarray) -> list[np.ndarray]:
    """points [n, k, 2] in the pieces between cuts."""
    step = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)  # [n - 1] px
    extent = np.linalg.norm(np.ptp(points, axis=1), axis=1)  # [n] px
    return np.split(points, np.flatnonzero(step > CUT_SHARE * extent[1:]) + 1)


def _interpolated(points: np.ndarray, has_face: np.ndarray) -> np.ndarray:
    """points [n, k, 2] with the frames that has_face [n] excludes filled in linearly over time."""
    at, seen = np.arange(len(points)), np.flatnonzero(has_face)
    columns = points.reshape(len(points), -1)
    return np.stack([np.interp(at, seen, c[seen]) for c in columns.T], axis=1).reshape(points.shape)


def _warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int) -> np.ndarray:
    """image [h, w(, 3)] through matrix [2, 3] to size (width, height), without aliasing where it shrinks.

    When shrinking it is warped to a finer grid first, each of whose cells is then averaged.
    """
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64))))  # target pixels per source pixel
    finer = int(np.ceil(1 / scale - 0.1)) if scale < 1 else 1
    if finer == 1:
        return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    fine = matrix.astype(np.float64) * finer
    fine[:, 2] += (finer - 1) / 2  # pixel centres: x' = finer * (x + 0.5) - 0.5
    large = cv2.warpAffine(image, fine, (size[0] * finer, size[1] * finer), flags=cv2.INTER_LINEAR, borderMode=border)
    return cv2.resize(large, size, interpolation=cv2.INTER_AREA)
