"""Renderings lose, add and match what they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from training.forge.render import (
    KERNELS,
    Rendering,
    coarser_than,
    draw_rendering,
    fitting_fields,
    matching_colours,
    shifted_colours,
    to_pixels,
)

SIDE = 66
NOISE = np.random.default_rng(0).integers(40, 216, (SIDE, SIDE, 3), dtype=np.uint8)


def detail(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


def test_a_generator_finer_than_the_clip_changes_nothing():
    np.testing.assert_array_equal(Rendering(face_px=512)(NOISE), NOISE)


@pytest.mark.parametrize("up", KERNELS)
def test_a_coarser_generator_loses_detail_and_keeps_the_mean(up):
    out = Rendering(face_px=15, up=up)(NOISE)
    assert out.shape == NOISE.shape and out.dtype == np.uint8
    assert detail(out) < 0.25 * detail(NOISE) and out.mean() == pytest.approx(NOISE.mean(), abs=1)


def test_a_generator_may_be_asked_to_be_coarser_than_the_clip():
    assert coarser_than(400, 64, 160) == (64, 160)
    assert coarser_than(100, 64, 160) == (50, 85)


def test_its_grid_is_a_checkerboard_of_the_given_share():
    out = Rendering(grid=0.05)(np.full((SIDE, SIDE, 3), 100, np.uint8))
    assert (out[::2, ::2] == 95).all() and (out[::2, 1::2] == 105).all() and (out[1::2, 1::2] == 95).all()


def test_sharpening_adds_contrast_at_edges_and_blurring_or_storing_takes_it():
    assert detail(Rendering(sharpen=0.8)(NOISE)) > 1.2 * detail(NOISE)
    assert detail(Rendering(blur_px=1.0)(NOISE)) < 0.5 * detail(NOISE)
    stored = Rendering(jpeg=50)(NOISE).astype(int)
    assert 2 < np.abs(stored - NOISE).mean() < 40


def test_the_same_seed_draws_the_same_rendering():
    def draw(seed):
        return draw_rendering(np.random.default_rng(seed), (50, 200), (0, 1), 0.02, (0.2, 0.5), 0.3)

    drawn = [draw(seed) for seed in range(60)]
    assert drawn == [draw(seed) for seed in range(60)] and len(set(drawn)) == 60
    assert all(50 <= r.face_px <= 200 and r.blur_px <= 1 and r.grid <= 0.02 and r.sharpen <= 0.5 for r in drawn)
    assert 6 <= sum(r.jpeg > 0 for r in drawn) <= 30


def test_colours_are_shifted_as_written():
    pixel = np.array([[[100, 150, 50]]], np.uint8)

    def shifted(tint=(1, 1, 1), contrast=1.0, saturation=1.0, offset=0.0):
        return cv2.transform(pixel, shifted_colours(tint, contrast, saturation, offset))[0, 0].tolist()

    assert shifted() == [100, 150, 50]
    assert shifted(tint=(1.1, 1, 0.8), offset=5) == [115, 155, 45]
    assert shifted(contrast=0.5) == [114, 139, 89]  # half way to 128
    assert shifted(saturation=0) == [124, 124, 124]  # 0.299 * 100 + 0.587 * 150 + 0.114 * 50


@pytest.mark.parametrize("kind", ["mean", "deviation", "covariance"])
def test_matched_colours_have_the_target_s_statistics_under_the_mask_and_ignore_the_rest(kind):
    rng = np.random.default_rng(1)
    mix = np.array([[20, 5, 0], [10, 15, 5], [0, 5, 10]])
    target = to_pixels(rng.normal(size=(48, 48, 3)) @ mix + (120, 100, 140))
    source = to_pixels(rng.normal(0, 12, (48, 48, 3)) + (90, 130, 110))
    mask = np.zeros((48, 48), np.float32)
    mask[:, :24] = 1
    source[:, 24:] = 255
    maps = matching_colours(source[None], target[None], mask[None], kind, frames=0)
    inside, aim = cv2.transform(source, maps[0])[:, :24].reshape(-1, 3), target[:, :24].reshape(-1, 3)
    np.testing.assert_allclose(inside.mean(axis=0), aim.mean(axis=0), atol=0.6)
    if kind != "mean":
        np.testing.assert_allclose(inside.std(axis=0), aim.std(axis=0), rtol=0.06)
    if kind == "covariance":
        np.testing.assert_allclose(np.corrcoef(inside.T), np.corrcoef(aim.T), atol=0.06)


def test_colour_maps_are_steadied_over_time():
    rng = np.random.default_rng(2)
    sources = np.full((30, 8, 8, 3), 100, np.uint8)
    targets = sources + rng.integers(0, 30, (30, 1, 1, 1)).astype(np.uint8)
    masks = np.ones((30, 8, 8), np.float32)
    rough, smooth = (matching_colours(sources, targets, masks, "mean", frames)[:, 0, 3] for frames in (0, 4.0))
    assert np.std(np.diff(smooth)) < 0.2 * np.std(np.diff(rough))
    assert smooth.mean() == pytest.approx(rough.mean(), abs=2)


def test_a_field_undoes_a_constant_difference_and_continues_a_slope():
    """The membrane between linear borders is the plane itself."""
    rng = np.random.default_rng(3)
    target = rng.integers(90, 120, (2, 80, 80, 3)).astype(np.uint8)
    target = np.stack([cv2.GaussianBlur(t, (0, 0), 6) for t in target])
    masks = np.zeros((2, 80, 80), np.float32)
    masks[:, 20:60, 20:60] = 1
    slope = np.arange(80, dtype=np.float32)[None, None, :, None] / 2
    fields = fitting_fields(target + 10, target, masks)
    np.testing.assert_allclose(fields, -10, atol=1e-3)
    fields = fitting_fields((target + slope).astype(np.float32), target, masks)
    across = fields[0, 20, 10:30, 0]
    np.testing.assert_allclose(np.diff(across), -1.0, atol=1e-3)  # two of the 80 pixels a cell, half a level each


def test_inside_the_mask_the_field_does_not_see_the_source_s_own_detail():
    target = np.full((1, 80, 80, 3), 100, np.uint8)
    source = target.copy()
    source[:, 35:45, 35:45] = 250
    masks = np.zeros((1, 80, 80), np.float32)
    masks[:, 16:64, 16:64] = 1
    np.testing.assert_allclose(fitting_fields(source, target, masks), 0, atol=1e-6)
