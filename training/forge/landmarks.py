"""468 points of the face in every frame: MediaPipe's face mesh, run by OpenCV.

The model (models/NOTICE) is that of Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on
Mobile GPUs", 2019, arXiv 1907.06724. As there, the face is looked for once and then followed: the region of frame t is
where the mesh lay in frame t - 1. What is looked for is media's own face (MTCNN), not MediaPipe's: it is at hand, it
is the face that the detectors will be shown, and as it is needed only where a face first appears its speed matters
little.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from media.faces import DETECT_LONG_PX, Detection, find_faces
from training.forge.align import known, steadied

POINTS = 468
_MODEL = Path(__file__).parent / "models" / "face_landmark.tflite"
_INPUT_PX = 192
_MARGIN = 1.5  # side of the region over the long side of the mesh, as the model was trained
_MARGIN_FIVE = 4.2  # side of the region over the eyes' distance, where only five points are known
_SURE = 0.0  # logit of the model's belief that its region shows a face: even odds
_LOOK_EVERY = 5  # frames; where no face is in sight it is looked for this often
_SMOOTH_FRAMES = 0.7  # standard deviation: takes the model's tremor and leaves the lips their motion
_RIGHT_CORNER, _LEFT_CORNER = 263, 33  # outer corners of the eyes, in the picture


def find_landmarks(frames: np.ndarray) -> np.ndarray:
    """[n, H, W, 3] uint8 RGB of one clip -> [n, 468, 2] float32 px of its most prominent face; NaN where it is away.

    That is the largest face where the clip begins, and after it was lost (a cut, hands, a turn) the one nearest to
    where it was, unless another is much larger. Points lie on the centres of pixels: 0 is the middle of the first.
    """
    found = np.full((len(frames), POINTS, 2), np.nan, np.float32)
    region: np.ndarray | None = None
    last: np.ndarray | None = None  # the mesh most lately seen
    for i, frame in enumerate(frames):
        mesh = None if region is None else _mesh(frame, region)
        if mesh is None and (region is not None or i % _LOOK_EVERY == 0):
            region = _look(frame, last)
            mesh = None if region is None else _mesh(frame, region)
            if mesh is not None:  # again, from where the mesh says that the face is
                mesh = _mesh(frame, _region_of(mesh))
        region = None if mesh is None else _region_of(mesh)
        if mesh is not None:
            found[i] = last = mesh
    return _smoothed(found)


def _look(frame: np.ndarray, last: np.ndarray | None) -> np.ndarray | None:
    """Region of the largest face, distance from where it was last counting against size; None where there is none."""
    scale = max(max(frame.shape[:2]) / DETECT_LONG_PX, 1.0)
    small = cv2.resize(frame, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
    faces = find_faces(small)
    if not faces:
        return None

    def prominence(face: Detection) -> float:
        width = float(face.box[2] - face.box[0]) * scale
        if last is None:
            return width
        away = np.linalg.norm(face.landmarks.mean(axis=0) * scale - last.mean(axis=0)) / max(width, 1.0)
        return width * (1.0 if away < 1 else 0.5)

    points = max(faces, key=prominence).landmarks * scale
    across = points[1] - points[0]
    centre = points[:3].mean(axis=0) * 0.5 + points[2:].mean(axis=0) * 0.5
    return _region(centre, _MARGIN_FIVE * float(np.linalg.norm(across)), across)


def _region_of(mesh: np.ndarray) -> np.ndarray:
    across = mesh[_RIGHT_CORNER] - mesh[_LEFT_CORNER]
    low, high = mesh.min(axis=0), mesh.max(axis=0)
    return _region((low + high) / 2, _MARGIN * float((high - low).max()), across)


def _region(centre: np.ndarray, side_px: float, across: np.ndarray) -> np.ndarray:
    """[2, 3] similarity from the picture to the model's square, turned so that `across` is level."""
    cos, sin = across / max(float(np.linalg.norm(across)), 1e-6)
    turn = np.array([[cos, sin], [-sin, cos]]) * (_INPUT_PX / max(side_px, 1.0))
    return np.column_stack([turn, (_INPUT_PX - 1) / 2 - turn @ centre])


def _mesh(frame: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    """[468, 2] px in the picture, or None where the model sees no face in its region."""
    net, outputs = _network()
    crop = cv2.warpAffine(frame, region, (_INPUT_PX, _INPUT_PX), flags=cv2.INTER_LINEAR)
    net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
    belief, points = sorted(net.forward(outputs), key=np.size)
    if belief.item() < _SURE:
        return None
    back = cv2.invertAffineTransform(region)
    mesh = points.reshape(POINTS, 3)[:, :2] @ back[:, :2].T + back[:, 2]
    return mesh if np.isfinite(mesh).all() else None


def _smoothed(landmarks: np.ndarray) -> np.ndarray:
    """Gaussian over time, never across a cut or a moment without a face."""
    smooth = landmarks.copy()
    seen = known(landmarks)
    edges = np.flatnonzero(np.diff(seen.astype(int))) + 1
    for run in np.split(np.arange(len(seen)), edges):
        if len(run) and seen[run[0]]:
            smooth[run] = steadied(landmarks[run], _SMOOTH_FRAMES)
    return smooth


@lru_cache(maxsize=1)
def _network() -> tuple[cv2.dnn.Net, tuple[str, ...]]:
    engine = getattr(cv2.dnn, "ENGINE_CLASSIC", None)  # OpenCV 5's own engine does not take this model
    net = (cv2.dnn.readNetFromTFLite(str(_MODEL)) if engine is None else
           cv2.dnn.readNetFromTFLite(str(_MODEL), engine))
    return net, tuple(net.getUnconnectedOutLayersNames())
