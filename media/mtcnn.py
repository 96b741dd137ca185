"""MTCNN (Zhang et al., 2016): facenet-pytorch's three networks, run only where a face may be.

facenet-pytorch's own `detect` searches the whole picture at every look and resizes each candidate in torch; here the
same stages are separate, so that a face whose place is known is found again without the search.
Boxes are [n, 4] float32, x0 y0 x1 y1 in pixels of the image.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from torchvision.ops import nms

_PYRAMID_STEP = 0.709  # area halves from level to level
_PROPOSAL_PX, _PROPOSAL_STRIDE_PX = 12, 2  # field of view and step of the first network
_LEAST_PROPOSED, _LEAST_REFINED, _LEAST_FINAL = 0.6, 0.7, 0.7  # the paper's thresholds, as facenet-pytorch has them
_SAME_FACE = 0.7  # overlap
# Squares around a candidate, moved by shares of its size. From one to the next the third network's landmarks wander;
# their mean is steadier. (Larger and smaller squares would bias it.)
_VIEWS = np.array([[0, 0], [-0.08, 0], [0.08, 0], [0, -0.08], [0, 0.08]], np.float32)


class Found(NamedTuple):
    """Faces of one image, the most confident first."""

    boxes: np.ndarray  # [n, 4]
    landmarks: np.ndarray  # [n, 5, 2]: eyes, nose, corners of the mouth
    confidences: np.ndarray  # [n]


@lru_cache(maxsize=1)
def _networks() -> MTCNN:
    return MTCNN(device=torch.device("cpu")).eval()


@torch.inference_mode()
def scan(image: np.ndarray, smallest_px: float) -> Found:
    """Search an image [H, W, 3] uint8 RGB for faces from smallest_px on."""
    return _decide(image, _propose(image, smallest_px))


@torch.inference_mode()
def look_again(image: np.ndarray, boxes: np.ndarray) -> Found:
    """The faces that were in these boxes [n, 4] a moment ago, as far as they are still about there."""
    return _decide(image, _views(boxes))


def _propose(image: np.ndarray, smallest_px: float) -> np.ndarray:
    """First stage: the fully convolutional network on a pyramid."""
    height, width = image.shape[:2]
    found, face_px = [np.zeros((0, 5), np.float32)], smallest_px
    while face_px <= min(height, width):
        scale = _PROPOSAL_PX / face_px
        level = cv2.resize(image, (int(width * scale + 1), int(height * scale + 1)), interpolation=cv2.INTER_AREA)
        shifts, scores = (x[0].numpy() for x in _networks().pnet(_tensor([level])))
        scores = scores[1]
        rows, columns = np.nonzero(scores >= _LEAST_PROPOSED)
        corner = np.stack([columns, rows], axis=1) * _PROPOSAL_STRIDE_PX
        boxes = np.floor(np.concatenate([corner + 1, corner + _PROPOSAL_PX], axis=1) / scale).astype(np.float32)
        kept = _distinct(boxes, scores[rows, columns], 0.5)
        side = (boxes[:, 2:] - boxes[:, :2])[:, [0, 1, 0, 1]]
        refined = boxes + side * shifts[:, rows, columns].T
        found.append(np.column_stack([refined, scores[rows, columns]])[kept])
        face_px /= _PYRAMID_STEP
    boxes = np.concatenate(found).astype(np.float32)
    return _squared(boxes[_distinct(boxes[:, :4], boxes[:, 4], _SAME_FACE), :4])


def _decide(image: np.ndarray, boxes: np.ndarray) -> Found:
    """Second and third stage: refine square candidates, then judge them and place the landmarks."""
    crops, boxes = _cut(image, boxes, 24)
    if len(boxes):
        shifts, scores = (x.numpy() for x in _networks().rnet(_tensor(crops)))
        good = np.flatnonzero(scores[:, 1] > _LEAST_REFINED)
        good = good[_distinct(boxes[good], scores[good, 1], _SAME_FACE)]
        crops, boxes = _cut(image, _views(_shifted(boxes[good], shifts[good])), 48)
    if not len(boxes):
        return Found(np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32))
    shifts, points, scores = (x.numpy() for x in _networks().onet(_tensor(crops)))
    side = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
    landmarks = points.reshape(-1, 2, 5).transpose(0, 2, 1) * side + boxes[:, None, :2] - 1  # n 5 2
    boxes, scores = _shifted(boxes, shifts), scores[:, 1]
    good = scores > _LEAST_FINAL
    return _merged(boxes[good], landmarks[good], scores[good])


def _merged(boxes: np.ndarray, landmarks: np.ndarray, scores: np.ndarray) -> Found:
    """One face for the boxes that lie inside one another: the mean of those that agree with the most confident."""
    faces, left = [], np.argsort(-scores)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    while len(left):
        best = left[0]
        sides = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        shared = sides.clip(0).prod(axis=1)
        agree = left[shared > _SAME_FACE * (area[best] + area[left] - shared)]
        faces.append((boxes[agree].mean(axis=0), landmarks[agree].mean(axis=0), scores[agree].mean()))
        left = left[shared <= _SAME_FACE * np.minimum(area[best], area[left])]
    none = (np.zeros((0, *x.shape[1:]), np.float32) for x in (boxes, landmarks, scores))
    return Found(*(map(np.stack, zip(*faces)) if faces else none))


def _views(boxes: np.ndarray) -> np.ndarray:
    """All _VIEWS of all boxes [n, 4]: squares [n * v, 4]."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)[:, None, None] / 2  # n 1 1
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 + _VIEWS * 2 * half  # n v 2
    return np.concatenate([centres - half, centres + half], axis=2).reshape(-1, 4)


def _tensor(images: list[np.ndarray]) -> torch.Tensor:
    """n images [h, w, 3] uint8 -> [n, 3, h, w] in -1..1."""
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - 127.5) / 128


def _cut(image: np.ndarray, boxes: np.ndarray, side_px: int) -> tuple[list[np.ndarray], np.ndarray]:
    """[side_px, side_px, 3] for each box that touches the image, and these boxes. What lies outside is left away."""
    height, width = image.shape[:2]
    whole = boxes.astype(int)
    start, end = np.maximum(whole[:, :2], 1) - 1, np.minimum(whole[:, 2:], (width, height))
    inside = (end > start).all(axis=1)
    return [cv2.resize(image[y0:y1, x0:x1], (side_px, side_px), interpolation=cv2.INTER_AREA)
            for (x0, y0), (x1, y1) in zip(start[inside], end[inside])], boxes[inside]


def _shifted(boxes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Edges moved by shares [n, 4] of the box's width and height."""
    return boxes + (boxes[:, 2:] - boxes[:, :2] + 1)[:, [0, 1, 0, 1]] * shifts


def _squared(boxes: np.ndarray) -> np.ndarray:
    centres, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def _distinct(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Indices of the boxes that remain, best first, when each takes those away that overlap it more."""
    return nms(torch.from_numpy(boxes), torch.from_numpy(scores), overlap).numpy()
