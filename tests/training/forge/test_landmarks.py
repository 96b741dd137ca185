"""The mesh lies on the face that media finds, moves with it, and is absent where there is none."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from media.faces import find_faces
from training.forge import landmarks as module
from training.forge.align import five_points, known
from training.forge.landmarks import find_landmarks
from training.forge.read import read_footage


@pytest.fixture(scope="module")
def frames(examples_dir) -> np.ndarray:
    """[4, H, W, 3]: the beginning of a demo clip."""
    return read_footage(examples_dir / "unaltered_face_no_sound.mp4").frames[:4]


@pytest.fixture(scope="module")
def mesh(frames) -> np.ndarray:
    return find_landmarks(frames)


def test_the_vendored_model_is_the_one_of_the_notice():
    notice = (module._MODEL.parent / "NOTICE").read_text()
    assert hashlib.sha256(module._MODEL.read_bytes()).hexdigest() in notice


def test_the_mesh_agrees_with_the_five_points_of_media(frames, mesh):
    assert mesh.shape == (4, 468, 2) and mesh.dtype == np.float32 and known(mesh).all()
    detected = find_faces(frames[1])[0].landmarks
    eyes_px = np.linalg.norm(detected[1] - detected[0])
    assert np.linalg.norm(five_points(mesh)[1] - detected, axis=1).max() < 0.12 * eyes_px


def test_landmarks_are_in_the_picture_s_pixels(frames, mesh):
    """A face that is moved by (14, 9) px has its landmarks moved by (14, 9) px."""
    height, width = frames.shape[1:3]
    shifted = np.zeros((1, height + 20, width + 20, 3), np.uint8)
    shifted[0, 9:9 + height, 14:14 + width] = frames[0]
    (moved,) = find_landmarks(shifted)
    alone = find_landmarks(frames[:1])[0]
    np.testing.assert_allclose((moved - alone).mean(axis=0), (14, 9), atol=0.7)


def test_where_there_is_no_face_there_are_no_landmarks_and_a_returning_face_is_found_again(frames):
    grey = np.full_like(frames[:1], 90)
    clip = np.concatenate([frames[:1], grey, grey, grey, grey, frames[:1]])
    assert known(find_landmarks(clip)).tolist() == [True, False, False, False, False, True]
    assert np.isnan(find_landmarks(grey)).all()
