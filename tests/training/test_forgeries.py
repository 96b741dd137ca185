"""Forgeries change what they say they change: inside the mask, on the face or mouth, and repeatably."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from media.crops import TEMPLATE
from training import forgeries
from training.forgeries import (
    blend,
    forge_faces,
    match_colour,
    region_mask,
    rerender_mouth,
    resample_face,
    self_blend,
    swap_identity,
)

SIDE = 96
SEEDS = range(25)
EYES, MOUTH = TEMPLATE[:2], TEMPLATE[3:5].mean(axis=0, keepdims=True)


def noisy_faces(seed: int = 0, frames: int = 4) -> np.ndarray:
    """Coarse random patches that change over time: any change to them shows."""
    coarse = np.random.default_rng(seed).integers(20, 236, (frames, 16, 16, 3), dtype=np.uint8)
    return np.stack([cv2.resize(c, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for c in coarse])


def striped_faces(frames: int = 4) -> np.ndarray:
    """Vertical stripes of 8 pixels: another person's structure."""
    row = np.where(np.arange(SIDE) // 8 % 2, 200, 60).astype(np.uint8)
    return np.broadcast_to(row[None, None, :, None], (frames, SIDE, SIDE, 3)).copy()


def mask_of(forge, seed: int) -> np.ndarray:
    """The mask that a forgery draws first from this seed."""
    rng = np.random.default_rng(seed)
    if forge is rerender_mouth:
        return region_mask(SIDE, rng, forgeries._MOUTH if rng.random() < 0.6 else (0.5, 0.74, 0.25, 0.2))
    return region_mask(SIDE, rng, forgeries._FACE)


def apply(forge, faces: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return forge(faces, rng, striped_faces()) if forge is swap_identity else forge(faces, rng)


FORGERIES = [self_blend, resample_face, rerender_mouth, swap_identity]
each_forgery = pytest.mark.parametrize("forge", FORGERIES, ids=lambda f: f.__name__)


# ---- masks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", [forgeries._FACE, forgeries._MOUTH])
def test_a_mask_has_values_from_0_to_1_and_fades_out_at_the_edge(region):
    for seed in SEEDS:
        mask = region_mask(SIDE, np.random.default_rng(seed), region)
        assert mask.shape == (SIDE, SIDE, 1)
        assert mask.min() >= 0 and 0.7 < mask.max() <= 1 + 1e-6
        assert np.abs(np.diff(mask[..., 0], axis=1)).max() < 0.6  # no hard edge
        rows, columns = np.indices((SIDE, SIDE)) / SIDE
        centre = np.array([(columns * mask[..., 0]).sum(), (rows * mask[..., 0]).sum()]) / mask.sum()
        np.testing.assert_allclose(centre, region[:2], atol=0.06)


def covered(region: tuple, points: np.ndarray) -> np.ndarray:
    """Mean over seeds of the mask's value at points in the unit square."""
    at = (points * SIDE).round().astype(int)
    masks = [region_mask(SIDE, np.random.default_rng(seed), region)[..., 0] for seed in SEEDS]
    return np.mean([[mask[y, x] for x, y in at] for mask in masks], axis=0)


def test_the_face_mask_covers_eyes_nose_and_mouth_but_not_the_corners():
    assert covered(forgeries._FACE, TEMPLATE).min() > 0.5
    assert covered(forgeries._FACE, np.array([[0.02, 0.02], [0.95, 0.02], [0.02, 0.95], [0.95, 0.95]])).max() < 0.02


def test_the_mouth_mask_covers_the_mouth_but_not_the_eyes():
    assert covered(forgeries._MOUTH, MOUTH).min() > 0.75
    assert covered(forgeries._MOUTH, EYES).max() < 0.01


# ---- each forgery ---------------------------------------------------------------------------------------------


@each_forgery
def test_only_the_inside_of_the_mask_changes(forge):
    for seed in SEEDS:
        faces = noisy_faces(seed)
        out, mask = apply(forge, faces, seed), mask_of(forge, seed)
        assert out.shape == faces.shape and out.dtype == np.uint8
        changed = (out != faces).any(axis=(0, 3))
        assert not changed[mask[..., 0] == 0].any()
        assert changed[mask[..., 0] > 0.7].mean() > 0.8


@each_forgery
def test_the_same_state_gives_the_same_forgery_and_leaves_the_original_alone(forge):
    faces = noisy_faces()
    np.testing.assert_array_equal(apply(forge, faces, 3), apply(forge, faces, 3))
    assert (apply(forge, faces, 3) != apply(forge, faces, 4)).any()
    np.testing.assert_array_equal(faces, noisy_faces())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.astype(float).ravel(), b.astype(float).ravel())[0, 1])


def test_a_swap_puts_the_donor_s_structure_inside_and_keeps_it_out_of_the_rest():
    faces, donor = noisy_faces(), striped_faces()
    for seed in SEEDS:
        out, mask = apply(swap_identity, faces, seed), mask_of(swap_identity, seed)[..., 0]
        inside = mask > 0.9 * mask.max()
        assert correlation(out[:, inside], donor[:, inside]) > 0.6
        assert correlation(faces[:, inside], donor[:, inside]) < 0.2


def test_a_swap_takes_the_colours_of_the_face_that_it_covers():
    faces, donor = noisy_faces() // 4, striped_faces() // 2 + 120
    out, mask = (swap_identity(faces, np.random.default_rng(0), donor), mask_of(swap_identity, 0)[..., 0])
    inside = mask > 0.9 * mask.max()
    assert out[:, inside].mean() == pytest.approx(faces[:, inside].mean(), abs=8)


def test_a_redrawn_mouth_comes_from_another_moment():
    """Each frame is one flat grey: the mouth of frame i must show another frame's, shifted by one number for all."""
    faces = np.broadcast_to(np.arange(40, 200, 40, np.uint8)[:, None, None, None], (4, SIDE, SIDE, 3)).copy()
    moved = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        out = rerender_mouth(faces, rng)
        y, x = (np.array([0.77, 0.5]) * SIDE).astype(int)
        assert (out[:, 5, 5, 0] == faces[:, 0, 0, 0]).all()
        moved.append((out[:, y, x, 0].astype(int) != faces[:, y, x, 0]).all())
    assert all(moved)


def test_a_resampled_face_has_less_detail_inside():
    faces = np.random.default_rng(0).integers(60, 196, (2, SIDE, SIDE, 3), dtype=np.uint8)
    for seed in SEEDS:
        out, mask = apply(resample_face, faces, seed), mask_of(resample_face, seed)[..., 0]
        inside = mask > 0.9 * mask.max()
        detail = [np.abs(np.diff(f.astype(float), axis=2))[:, inside[:, 1:]].mean() for f in (faces, out)]
        assert detail[1] < 0.8 * detail[0]


# ---- the parts ------------------------------------------------------------------------------------------------


def test_blend_is_linear_in_the_mask():
    faces, source = np.full((1, 2, 2, 3), 100, np.uint8), np.full((1, 2, 2, 3), 200.0, np.float32)
    mask = np.array([[0, 0.25], [0.5, 1]], np.float32)[..., None]
    np.testing.assert_array_equal(blend(faces, source, mask)[0, ..., 0], [[100, 125], [150, 200]])
    np.testing.assert_array_equal(blend(faces, source + 500, mask)[0, ..., 0], [[100, 250], [255, 255]])


def test_matched_colours_have_the_target_s_mean_and_spread_under_the_mask():
    target, source = noisy_faces(0), noisy_faces(1).astype(np.float32) * 0.8 + 40
    mask = region_mask(SIDE, np.random.default_rng(0), forgeries._FACE)
    inside = mask[..., 0] > 0.5
    matched = match_colour(source, target, mask)[:, inside]
    np.testing.assert_allclose(matched.mean(axis=(0, 1)), target[:, inside].mean(axis=(0, 1)), atol=0.5)
    np.testing.assert_allclose(matched.std(axis=(0, 1)), target[:, inside].std(axis=(0, 1)), rtol=0.02)


def test_without_a_donor_nothing_is_swapped_and_with_one_about_a_third(monkeypatch):
    swaps = []
    monkeypatch.setattr(forgeries, "swap_identity", lambda faces, rng, donor: swaps.append(1) or faces)
    for donor in (None, striped_faces(2)):
        swaps.clear()
        for seed in range(120):
            forge_faces(noisy_faces(frames=2), np.random.default_rng(seed), donor)
        assert len(swaps) == 0 if donor is None else 25 < len(swaps) < 60


def test_a_forged_window_always_differs_from_its_original():
    for seed in range(40):
        faces = noisy_faces(seed)
        out = forge_faces(faces, np.random.default_rng(seed), None)
        assert (out != faces).mean() > 0.02
