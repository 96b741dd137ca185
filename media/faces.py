"""Faces over time: MTCNN at a few hertz on a reduced frame, joined into tracks, smoothed in between.

A face seen a moment ago is looked for where it was; the whole picture is searched once a second, after cuts and
whenever a face is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from media import mtcnn

DETECT_HZ = 5.0
DETECT_LONG_PX = 480  # long side of the reduced frame
SMALLEST_FACE_PX = 24  # in the reduced frame
SCAN_EVERY = 5  # looks; a face that is still where it was needs no search in between
SMALLEST_EVERY = 10  # looks; in between a search starts near the size of the known faces
MIN_CONFIDENCE = 0.9
BRIDGE_S = 0.65  # a face missed for less is interpolated, for more it is lost
REJOIN_S = 2.0  # a face that comes back in the same place within this time is the same track
SMOOTH_S = 0.15  # standard deviation of the smoothing kernel
LOOKAHEAD_S = 0.4  # detections needed beyond a moment before its landmarks are settled
MAX_FACES = 4  # the largest are followed


@dataclass(frozen=True)
class Detection:
    box: np.ndarray  # [4] x0 y0 x1 y1, pixels of the reduced frame scaled back to display pixels
    landmarks: np.ndarray  # [5, 2]
    confidence: float

    @cached_property
    def place(self) -> np.ndarray:
        """[14]: the box and the landmarks."""
        return np.concatenate([self.box, self.landmarks.ravel()])


@dataclass
class Track:
    """Detections of one face so far."""

    track_id: int
    times_s: list[float] = field(default_factory=list)
    found: list[Detection] = field(default_factory=list)

    def add(self, time_s: float, detection: Detection) -> None:
        self.times_s.append(time_s)
        self.found.append(detection)

    def at(self, time_s: float) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Box [4], landmarks [5, 2] and confidence at a moment, or None where the face is lost.

        Local linear regression with a Gaussian kernel over the detections: interpolates and smooths at once,
        and does not lag behind a moving head.
        """
        times = np.asarray(self.times_s)
        after = int(np.searchsorted(times, time_s))
        before = max(after - 1, 0)
        after = min(after, len(times) - 1)
        reach = 1 / DETECT_HZ  # a detection speaks for the moments up to the neighbouring looks
        if time_s < times[0] - reach - 1e-6 or time_s > times[-1] + reach + 1e-6:
            return None
        if times[after] - times[before] > BRIDGE_S:
            nearest = min(abs(times[before] - time_s), abs(times[after] - time_s))
            if nearest > reach / 2:
                return None
        time_s = float(min(max(time_s, times[0]), times[-1]))  # a straight line must not be carried on outside
        low, high = np.searchsorted(times, (time_s - BRIDGE_S, time_s + BRIDGE_S))
        near = self.found[low:high]
        smooth = _local_linear(times[low:high] - time_s, np.array([d.place for d in near]))  # m 14
        return smooth[:4], smooth[4:].reshape(5, 2), sum(d.confidence for d in near) / len(near)


def _local_linear(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted straight-line fit of values [m, d] over x [m], read at x = 0."""
    weights = np.exp(-0.5 * (x / SMOOTH_S) ** 2) + 1e-9
    weights /= weights.sum()
    mean_x, mean = weights @ x, weights @ values
    spread = weights @ (x - mean_x) ** 2
    if spread < 1e-4:
        return mean
    return mean - (weights * (x - mean_x)) @ (values - mean) / spread * mean_x


def find_faces(image: np.ndarray, smallest_px: float = SMALLEST_FACE_PX) -> list[Detection]:
    """Faces in one reduced frame [H, W, 3] uint8 RGB, largest first, in that frame's pixels."""
    return _detections(*mtcnn.scan(image, smallest_px))


def find_again(image: np.ndarray, boxes: np.ndarray) -> list[Detection]:
    """Those of the faces last seen in boxes [n, 4] that are still about there; else as find_faces."""
    return _detections(*mtcnn.look_again(image, boxes))


def _detections(boxes: np.ndarray, landmarks: np.ndarray, confidences: np.ndarray) -> list[Detection]:
    found = [Detection(*one) for one in zip(boxes, landmarks, confidences.tolist()) if one[2] >= MIN_CONFIDENCE]
    return sorted(found, key=lambda d: float(np.prod(d.box[2:] - d.box[:2])), reverse=True)


class FaceFollower:
    """Turns frames at DETECT_HZ into tracks. Call `see` in order of time."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._seen = 0
        self._thumbnail: np.ndarray | None = None

    def see(self, image: np.ndarray, scale: float, time_s: float) -> None:
        """image: reduced frame [H, W, 3] uint8 RGB; scale: display pixels per pixel of it."""
        cut = self._is_cut(image)
        alive = [] if cut else [t for t in self.tracks if time_s - t.times_s[-1] <= REJOIN_S]
        found = self._look(image, [t.found[-1].box / scale for t in alive])
        self._seen += 1

        found = [Detection(d.box * scale, d.landmarks * scale, d.confidence) for d in found[:MAX_FACES]]
        for detection, track in self._match(found, alive):
            if track is None:
                track = Track(len(self.tracks))
                self.tracks.append(track)
            track.add(time_s, detection)

    def _look(self, image: np.ndarray, known: list[np.ndarray]) -> list[Detection]:
        """known: boxes of the faces that may be there, in the image's pixels."""
        smallest_px = float(SMALLEST_FACE_PX)
        if known and self._seen % SCAN_EVERY:
            found = find_again(image, np.stack(known))
            if len(found) == len(known):
                return found
        if known and self._seen % SMALLEST_EVERY:
            smallest_px = max(smallest_px, 0.4 * min(float(box[2] - box[0]) for box in known))
        return find_faces(image, smallest_px)

    def _is_cut(self, image: np.ndarray) -> bool:
        """A hard cut: the picture changes wholesale between two looks, so no face may be carried over."""
        thumbnail = image[:: max(image.shape[0] // 18, 1), :: max(image.shape[1] // 32, 1)].astype(np.float32)
        before, self._thumbnail = self._thumbnail, thumbnail
        return before is not None and (
            before.shape != thumbnail.shape or float(np.abs(before - thumbnail).mean()) > 45.0
        )

    @staticmethod
    def _match(found: list[Detection], tracks: list[Track]) -> list[tuple[Detection, Track | None]]:
        if not found or not tracks:
            return [(d, None) for d in found]
        overlap = np.array([[_iou(d.box, t.found[-1].box) for t in tracks] for d in found])
        partner = {r: tracks[c] for r, c in zip(*_best_pairs(overlap)) if overlap[r, c] > 0.25}
        return [(d, partner.get(i)) for i, d in enumerate(found)]


def _best_pairs(overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """overlap [n, m] -> rows and columns [min(n, m)] of the pairs with the highest sum."""
    if 1 in overlap.shape:
        row, column = np.unravel_index([overlap.argmax()], overlap.shape)
        return row, column
    from scipy.optimize import linear_sum_assignment  # 36 MB and 0.3 s that a clip of one person can spare

    return linear_sum_assignment(overlap, maximize=True)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return float(inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter))
