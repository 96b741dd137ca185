"""Aligned crops lie where the detectors' do, and what was cut out goes back to where it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from media.crops import TEMPLATE
from tests.training.forge.drawn_face import CORNER, FACE_PX, landmarks_of, textured
from training.forge.align import cut, face_matrices, five_points, known, moved, paste


def upright(scale: float, x: float, y: float) -> np.ndarray:
    """[1, 2, 3]: picture px to crop px, enlarging by scale, the picture's (x, y) becoming (0, 0)."""
    return np.array([[[scale, 0, -scale * x], [0, scale, -scale * y]]], np.float32)


def test_the_five_points_of_the_mesh_are_those_of_the_detectors_template():
    np.testing.assert_allclose(five_points(landmarks_of(1))[0], TEMPLATE * FACE_PX + CORNER, atol=1e-4)


def test_a_face_on_the_template_gives_the_matrix_that_undoes_its_place_and_size():
    """80 px wide in the picture, 160 in the crop, its corner at (32, 24): twice as large, moved by (-64, -48)."""
    matrices = face_matrices(landmarks_of(3), 160)
    assert matrices.shape == (3, 2, 3) and matrices.dtype == np.float32
    np.testing.assert_allclose(matrices, np.repeat(upright(2, *CORNER), 3, axis=0), atol=1e-3)
    np.testing.assert_allclose(moved(five_points(landmarks_of(3)), matrices)[2], TEMPLATE * 160, atol=1e-2)


def test_frames_without_a_face_lie_between_their_neighbours():
    landmarks = landmarks_of(21, speed_px=2)
    landmarks[10] = np.nan
    assert known(landmarks).tolist() == [True] * 10 + [False] + [True] * 10
    matrices = face_matrices(landmarks, 80)
    assert matrices[10, 0, 2] == pytest.approx(-(CORNER[0] + 20), abs=0.01)


def test_before_the_first_face_the_crop_stays_where_it_will_be():
    landmarks = landmarks_of(6)
    landmarks[:3] = np.nan
    np.testing.assert_allclose(face_matrices(landmarks, 80), np.repeat(upright(1, *CORNER), 6, axis=0), atol=1e-3)


def test_without_any_face_there_is_nothing_to_align():
    with pytest.raises(ValueError, match="no frame"):
        face_matrices(np.full((3, 468, 2), np.nan, np.float32), 80)


def test_the_crop_is_steadied_against_tremor_but_not_across_a_cut():
    rng = np.random.default_rng(0)
    landmarks = landmarks_of(40) + rng.normal(0, 1, (40, 1, 2)).astype(np.float32)
    landmarks[20:, :, 0] += 50
    x = -face_matrices(landmarks, 80)[:, 0, 2]
    raw = five_points(landmarks)[:, :, 0].mean(axis=1)
    assert np.std(x[:20]) < 0.6 * np.std(raw[:20])
    assert x[19] < CORNER[0] + 2 and x[20] > CORNER[0] + 48


def test_shrinking_averages_instead_of_picking_pixels():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 200
    crop = cut(stripes, upright(0.25, 8, 8), 8)
    assert crop.shape == (1, 8, 8, 3) and crop.dtype == np.uint8
    np.testing.assert_allclose(crop, 100, atol=2)


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.3])
def test_a_blob_goes_into_the_crop_and_back_to_where_it_was(scale):
    y, x = np.indices((96, 96))
    blob = 200 * np.exp(-((x - 41.3) ** 2 + (y - 52.7) ** 2) / (2 * 5.0**2))
    frames = np.repeat(blob[None, ..., None], 3, axis=3).round().astype(np.uint8)
    turn = cv2.getRotationMatrix2D((41.3, 52.7), 12, scale)
    turn[:, 2] += 60 - np.array([41.3, 52.7])
    side_px = 120
    crops = cut(frames, turn[None], side_px)
    back, region = paste(np.zeros_like(frames), crops, turn[None].astype(np.float32), np.ones((1, side_px, side_px)))
    weight = back[0, ..., 0].astype(float)
    centre = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(centre, (41.3, 52.7), atol=0.2)
    inside = region[0] == 255
    assert np.abs(back[0, inside].astype(int) - frames[0, inside]).max() <= 12


def test_pasting_changes_only_what_the_region_says_and_by_that_share():
    frames = textured(2)
    crops = np.full((2, 40, 40, 3), 200, np.uint8)
    masks = np.zeros((2, 40, 40), np.float32)
    masks[0, 10:30, 10:30] = 1
    masks[1, 10:30, 10:30] = 0.5
    pasted, region = paste(frames, crops, np.repeat(upright(1, 50, 30), 2, axis=0), masks)
    assert region.dtype == np.uint8 and set(np.unique(region[0])) == {0, 255} and set(np.unique(region[1])) == {0, 128}
    assert region[0, 40:60, 60:80].min() == 255 and np.count_nonzero(region[0]) == 400
    np.testing.assert_array_equal(pasted[region == 0], frames[region == 0])
    assert (pasted[0, 40:60, 60:80] == 200).all()
    half = frames[1, 40:60, 60:80] + (200.0 - frames[1, 40:60, 60:80]) * 128 / 255
    np.testing.assert_allclose(pasted[1, 40:60, 60:80], half, atol=0.6)
    np.testing.assert_array_equal(frames, textured(2))


def test_a_crop_partly_or_wholly_outside_the_picture_is_cut_off():
    frames = textured(1)
    crops, masks = np.full((1, 40, 40, 3), 7, np.uint8), np.ones((1, 40, 40), np.float32)
    pasted, region = paste(frames, crops, upright(1, -20, -20), masks)
    assert (pasted[0, :20, :20] == 7).all() and not region[0, 21:].any() and not region[0, :, 21:].any()
    pasted, region = paste(frames, crops, upright(1, 500, 0), masks)
    assert not region.any() and (pasted == frames).all()
