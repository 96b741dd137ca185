"""Aligned crops, cut straight from the decoded planes: only what is used is converted to RGB."""

from __future__ import annotations

import math
import mmap
import tempfile
from dataclasses import dataclass
from functools import lru_cache

import av
import cv2
import numpy as np

from media.clip import FACE_PX, LIPS_PX
from media.isolation import Record, split

WORKING_SHORT_PX = 1080  # larger pictures are reduced first, to bound the memory of the frames kept waiting
LIPS_SPAN = 0.5  # side of the lip crop as a share of the face crop's side
ROOM = 1.0  # the face's size in its crop relative to ArcFace's template

# ArcFace's five points in a unit square (left eye, right eye, nose, mouth corners), scaled about the centre and
# lifted so that the chin and the blending border of a swap stay inside the crop.
_ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366],
                     [41.5493, 92.3655], [70.7299, 92.2041]]) / 112.0
TEMPLATE = ((_ARCFACE - 0.5) * ROOM + 0.5 - np.array([0.0, 0.06])).astype(np.float64)  # [5, 2] in [0, 1]

_PLANE = np.array([1, 1j])  # points as complex numbers
_CENTRE = (TEMPLATE @ _PLANE).mean()
_CENTRED = TEMPLATE @ _PLANE - _CENTRE

_BT601, _BT709 = (0.299, 0.114), (0.2126, 0.0722)  # (Kr, Kb)


@dataclass(frozen=True)
class Picture:
    """One decoded frame as shown on a display: Y [H, W], U and V [ceil(H/2), ceil(W/2)], uint8."""

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    bt709: bool  # else BT.601
    full_range: bool
    scale: float  # display pixels of the file per pixel here (1 unless the picture was reduced)

    @staticmethod
    def of(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> Picture:
        """Pixel aspect, size, pixel format and rotation are normalised; 8-bit 4:2:0 passes without a copy."""
        width, height = display_size(frame, pixel_aspect)
        reduce = min(1.0, WORKING_SHORT_PX / min(width, height))
        size = (max(round(width * reduce), 2), max(round(height * reduce), 2))
        bt709, full_range = _is_bt709(frame), _is_full_range(frame)
        if frame.format.name not in ("yuv420p", "yuvj420p") or size != (frame.width, frame.height):
            frame = frame.reformat(width=size[0], height=size[1], format="yuvj420p" if full_range else "yuv420p")
        planes = [_plane(p) for p in frame.planes[:3]]
        turns = round(frame.rotation / 90) % 4 if frame.rotation else 0
        if turns:
            planes = [np.ascontiguousarray(np.rot90(p, turns)) for p in planes]
        return Picture(*planes, bt709, full_range, 1 / reduce)

    def sent(self) -> tuple[dict, tuple[np.ndarray, ...]]:
        """Facts and arrays of a Record (media.isolation)."""
        facts = {"size_px": self.size_px, "bt709": self.bt709, "full_range": self.full_range, "scale": self.scale}
        return facts, (self.y, self.u, self.v)

    @staticmethod
    def received(record: Record) -> Picture:
        """From a worker, which is believed nothing.

        Raises: KeyError, TypeError, ValueError.
        """
        facts = record.facts
        width, height = (int(side) for side in facts["size_px"])
        half = ((height + 1) // 2, (width + 1) // 2)
        scale = float(facts["scale"])
        if not 1 <= scale < 1e4:
            raise ValueError("a picture is never enlarged")
        return Picture(*split(record, ((height, width), half, half)), bool(facts["bt709"]), bool(facts["full_range"]),
                       scale)

    @property
    def size_px(self) -> tuple[int, int]:
        return self.y.shape[1], self.y.shape[0]

    def reduced(self, long_px: int) -> tuple[np.ndarray, float]:
        """RGB [h, w, 3] uint8 whose long side is at most long_px, and the pixels of this picture per pixel."""
        width, height = self.size_px
        factor = max(max(width, height) / long_px, 1.0)
        size = (max(round(width / factor), 1), max(round(height / factor), 1))
        planes = [_shrunk(p, size) for p in (self.y, self.u, self.v)]
        return self._rgb(planes), width / size[0]

    def crop(self, matrix: np.ndarray, side_px: int) -> np.ndarray:
        """RGB [side_px, side_px, 3] uint8; matrix [2, 3] maps this picture's pixels to the crop's.

        Chroma is sampled at its own half resolution (centre-sited, within half a pixel of any convention).
        """
        (a, b, _), (c, d, _) = matrix.tolist()
        shrink = math.sqrt(abs(a * d - b * c))  # crop pixels per picture pixel
        luma = _warp(self.y, matrix, side_px, shrink)
        half = matrix.copy()
        half[:, :2] *= 2.0  # chroma pixel c covers luma pixels 2c, 2c + 1: x = 2c + 0.5
        half[:, 2] += matrix[:, :2] @ (0.5, 0.5)
        return self._rgb([luma, *(_warp(p, half, side_px, 2 * shrink) for p in (self.u, self.v))])

    def _rgb(self, planes: list[np.ndarray]) -> np.ndarray:
        return cv2.transform(cv2.merge(planes), _to_rgb(self.bt709, self.full_range))


def display_size(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> tuple[int, int]:
    """Width and height in square pixels, before rotation. PyAV's frames do not carry their pixel aspect."""
    if not 0.2 < pixel_aspect < 5 or abs(pixel_aspect - 1) < 0.01:
        return frame.width, frame.height
    if pixel_aspect > 1:
        return round(frame.width * pixel_aspect), frame.height
    return frame.width, round(frame.height / pixel_aspect)


def alignment(landmarks: np.ndarray, side_px: int) -> np.ndarray:
    """[2, 3] similarity that takes five landmarks [5, 2] to TEMPLATE in a square of side_px (least squares).

    Closed form (Umeyama 1991 without reflection): with centred points as complex numbers, the rotation and
    scale are one complex factor a = <z, w> / <z, z>.
    """
    z = landmarks.astype(np.float64) @ _PLANE
    z_mean = z.sum() / 5
    z -= z_mean
    factor = side_px * np.vdot(z, _CENTRED) / max(np.vdot(z, z).real, 1e-6)
    shift = side_px * _CENTRE - factor * z_mean
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def lips_alignment(landmarks: np.ndarray, side_px: int) -> np.ndarray:
    """[2, 3] map to a square of side_px centred between the mouth corners, LIPS_SPAN of the face crop wide."""
    unit = alignment(landmarks, 1)
    centre = unit @ np.append(landmarks[3:5].mean(axis=0), 1.0)
    matrix = unit * (side_px / LIPS_SPAN)
    matrix[:, 2] += side_px / 2 - centre * side_px / LIPS_SPAN
    return matrix


def face_and_lips(picture: Picture, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Face [224, 224, 3] and lips [96, 96, 3], uint8 RGB; landmarks [5, 2] in the file's display pixels."""
    points = landmarks / picture.scale
    return (picture.crop(alignment(points, FACE_PX), FACE_PX),
            picture.crop(lips_alignment(points, LIPS_PX), LIPS_PX))


class CropRoll:
    """Crops of one track, written one after another to an unlinked temporary file.

    Ten minutes of crops are 2 GB: too much for memory, and they must not outlive the process, even in a crash.
    """

    def __init__(self, side_px: int) -> None:
        self._side_px = side_px
        self._file = tempfile.TemporaryFile(prefix="telltale-")  # noqa: SIM115 (lives as long as its crops)
        self._count = 0

    def add(self, crop: np.ndarray) -> None:
        self._file.write(crop.tobytes())
        self._count += 1

    def finish(self) -> np.ndarray:
        """[N, side, side, 3] uint8, read-only, backed by the file."""
        shape = (self._count, self._side_px, self._side_px, 3)
        if not self._count:
            return np.zeros(shape, np.uint8)
        self._file.flush()
        return np.memmap(self._file, np.uint8, "r", shape=shape)


def let_go(crops: np.ndarray) -> None:
    """Crops of a CropRoll that were looked at need not stay in this process's memory: the system keeps the file, or
    reads it again. Of other arrays, nothing changes."""
    if isinstance(crops, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        crops._mmap.madvise(mmap.MADV_DONTNEED)  # numpy has no other way to it


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :plane.width]


def _shrunk(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Area average in two steps: by a whole factor, which is several times faster, then by what remains."""
    whole = min(plane.shape[1] // size[0], plane.shape[0] // size[1])
    if whole > 1:
        plane = cv2.resize(plane, (plane.shape[1] // whole, plane.shape[0] // whole), interpolation=cv2.INTER_AREA)
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA)


def _warp(plane: np.ndarray, matrix: np.ndarray, side_px: int, shrink: float) -> np.ndarray:
    """Affine cut with the area filter first where the crop is less than half as fine as the picture."""
    step = int(1 / shrink) if shrink < 0.5 else 1
    if step > 1:
        corners = np.array([[0, 0], [side_px, 0], [0, side_px], [side_px, side_px]], np.float64)
        inverse = cv2.invertAffineTransform(matrix)
        source = corners @ inverse[:, :2].T + inverse[:, 2]
        height, width = plane.shape
        x0, y0 = np.clip(np.floor(source.min(axis=0)).astype(int) - step, 0, (width - 1, height - 1))
        x1, y1 = np.clip(np.ceil(source.max(axis=0)).astype(int) + step, (x0 + 1, y0 + 1), (width, height))
        part = plane[y0:y1, x0:x1]
        size = (max(part.shape[1] // step, 1), max(part.shape[0] // step, 1))
        step_xy = np.array([part.shape[1] / size[0], part.shape[0] / size[1]])
        plane = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        # Pixel centres: x = x0 + (c + 0.5) * step - 0.5
        offset = np.array([x0, y0]) + 0.5 * step_xy - 0.5
        matrix = np.column_stack([matrix[:, :2] * step_xy, matrix[:, :2] @ offset + matrix[:, 2]])
    return cv2.warpAffine(plane, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REPLICATE)


@lru_cache
def _to_rgb(bt709: bool, full_range: bool) -> np.ndarray:
    """[3, 4] affine map from (Y, U, V) to (R, G, B)."""
    kr, kb = _BT709 if bt709 else _BT601
    y_scale, c_scale, y_zero = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    kg = 1 - kr - kb
    r_v, b_u = 2 * (1 - kr) * c_scale, 2 * (1 - kb) * c_scale
    g_u, g_v = -b_u * kb / kg, -r_v * kr / kg
    rows = np.array([[y_scale, 0, r_v], [y_scale, g_u, g_v], [y_scale, b_u, 0]])
    return np.column_stack([rows, -rows @ (y_zero, 128.0, 128.0)])


def _is_full_range(frame: av.VideoFrame) -> bool:
    """RGB is converted to limited range."""
    return not frame.format.is_rgb and (frame.format.name.startswith("yuvj") or int(frame.color_range or 0) == 2)


def _is_bt709(frame: av.VideoFrame) -> bool:
    """From the frame's own colour tags; untagged video follows players (BT.709 from 720 lines on), RGB is converted to
    BT.601."""
    space = int(frame.colorspace or 2)
    if frame.format.is_rgb or space in (5, 6):
        return False
    return space == 1 or min(frame.width, frame.height) >= 720
