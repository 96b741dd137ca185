"""The square around the face that a picture forgery works on, and the way back into the clip with its truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from training.forge.align import LEFT_EYE, RIGHT_EYE, cut, face_matrices, known, moved, paste
from training.forge.footage import Footage, Span, Truth, Unsuitable
from training.forge.landmarks import find_landmarks

ROOM = 1.5  # side of the patch over the side of the detectors' crop: the whole face and some border
FACE_SHARE = 0.66  # the face's height as a share of the patch's side, about
MOST_PX = 384
SHORTEST_S = 0.4  # a face that is seen for less is not worth forging
SMALLEST_EYES_PX = 10.0  # distance of the eyes in the picture


@dataclass(frozen=True)
class FacePatch:
    """The m frames of a clip that show the face, cut out steadily with the face upright and in the middle."""

    footage: Footage
    at: np.ndarray  # [m] indices of these frames in the footage, increasing
    matrices: np.ndarray  # [m, 2, 3] picture px -> patch px
    crops: np.ndarray  # [m, s, s, 3] uint8
    points: np.ndarray  # [m, 468, 2] float32, landmarks in patch px

    @staticmethod
    def of(footage: Footage, side_px: int | None = None) -> FacePatch:
        """The patch at the picture's own resolution (at most MOST_PX) unless side_px is given.

        Landmarks are found here where the footage does not bring them. Raises Unsuitable where there is no face, or
        one too small or too shortly seen.
        """
        if footage.frames is None:
            raise Unsuitable("no picture")
        landmarks = find_landmarks(footage.frames) if footage.landmarks is None else footage.landmarks
        at = np.flatnonzero(known(landmarks))
        if len(at) * step_s(footage) < SHORTEST_S:
            raise Unsuitable(f"a face is seen for {len(at) * step_s(footage):.1f} s only; {SHORTEST_S} s are needed")
        landmarks_seen = landmarks[at]
        eyes = [landmarks_seen[:, list(eye)].mean(axis=1) for eye in (LEFT_EYE, RIGHT_EYE)]
        apart_px = float(np.median(np.linalg.norm(eyes[0] - eyes[1], axis=1)))
        if apart_px < SMALLEST_EYES_PX:
            raise Unsuitable(f"the eyes are {apart_px:.0f} px apart; {SMALLEST_EYES_PX:.0f} are needed")
        unit = face_matrices(landmarks, 1)[at].astype(np.float64)
        if side_px is None:
            px_per_side = ROOM / float(np.median(np.sqrt(np.linalg.det(unit[:, :, :2]))))
            side_px = int(min(round(px_per_side), MOST_PX))
        matrices = unit * (side_px / ROOM)
        matrices[:, :, 2] += side_px * (1 - 1 / ROOM) / 2
        matrices = matrices.astype(np.float32)
        return FacePatch(footage, at, matrices, cut(footage.frames[at], matrices, side_px),
                         moved(landmarks_seen, matrices))

    @property
    def side_px(self) -> int:
        return self.crops.shape[1]

    @property
    def face_px(self) -> float:
        """Height of the face in the patch, about."""
        return FACE_SHARE * self.side_px

    def put_back(self, crops: np.ndarray, masks: np.ndarray, family: str, drawn: dict,
                 identities: tuple[str, ...] = ()) -> tuple[Footage, Truth]:
        """Footage with crops [m, s, s, 3] blended in by masks [m, s, s], and the truth about it.

        Raises Unsuitable where nothing was replaced (a mask outside the picture).
        """
        footage = self.footage
        frames, region = footage.frames.copy(), np.zeros(footage.frames.shape[:3], np.uint8)
        frames[self.at], region[self.at] = paste(footage.frames[self.at], crops, self.matrices, masks)
        spans = frame_spans(footage, region.any(axis=(1, 2)))
        if not spans:
            raise Unsuitable("the face lies outside the picture")
        truth = Truth(footage.clip_id, spans, region, ((family, drawn),), identities)
        return replace(footage, frames=frames), truth


def step_s(footage: Footage) -> float:
    """Seconds from frame to frame."""
    return float(np.median(np.diff(footage.times_s))) if len(footage.times_s) > 1 else 0.0


def frame_spans(footage: Footage, changed: np.ndarray) -> tuple[Span, ...]:
    """Video spans of the runs of changed [n] frames: from the first one's time to that of the first one after them."""
    times_s = np.append(footage.times_s, footage.times_s[-1] + step_s(footage))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], changed.astype(int), [0]])))
    return tuple(Span(float(times_s[a]), float(times_s[b]), "video") for a, b in zip(edges[::2], edges[1::2]))
