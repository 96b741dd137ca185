"""Masks cover the part of the face that they name, to the size and softness asked for."""

from __future__ import annotations

import numpy as np
import pytest

from media.crops import TEMPLATE
from tests.training.forge.drawn_face import template_mesh
from training.forge.masks import REGIONS, Outline, draw_masks, draw_outline

SIDE = 160
POINTS = ((template_mesh() * 0.7 + 0.15) * SIDE).astype(np.float32)[None]  # with room around the face
FIVE = ((TEMPLATE * 0.7 + 0.15) * SIDE).round().astype(int)


def mask_of(outline: Outline) -> np.ndarray:
    (mask,) = draw_masks(POINTS, SIDE, outline)
    assert mask.shape == (SIDE, SIDE) and mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1
    return mask


def at_five(region: str) -> list[int]:
    mask = mask_of(Outline(region, feather=0.0))
    return [round(float(mask[y, x])) for x, y in FIVE]


def test_each_region_covers_what_it_is_called_after():
    assert at_five("face") == [1, 1, 1, 1, 1]
    assert at_five("eyes_nose") == [1, 1, 1, 0, 0]
    for region in ("mouth", "lower_face", "jaw"):
        assert at_five(region)[:2] == [0, 0] and at_five(region)[3:] == [1, 1]
    areas = {region: mask_of(Outline(region, feather=0.0)).sum() for region in REGIONS}
    assert areas["lips"] < areas["mouth"] < areas["jaw"] < areas["face"]


def test_box_and_ellipse_have_the_extent_and_the_area_of_the_vertices_box():
    vertices = POINTS[0, list(REGIONS["face"])]
    width, height = vertices.max(axis=0) - vertices.min(axis=0)
    for shape in ("box", "ellipse"):
        assert mask_of(Outline("face", shape, feather=0.0)).sum() == pytest.approx(width * height, rel=0.03)
    box = mask_of(Outline("face", "box", feather=0.0))
    rows, columns = np.flatnonzero(box.max(axis=1)), np.flatnonzero(box.max(axis=0))
    assert np.ptp(rows) == pytest.approx(height, abs=2.5) and np.ptp(columns) == pytest.approx(width, abs=2.5)


def test_growing_by_a_tenth_makes_the_area_a_fifth_larger():
    areas = [mask_of(Outline("face", grow=grow, feather=0.0)).sum() for grow in (-0.1, 0.0, 0.1)]
    assert areas[0] / areas[1] == pytest.approx(0.81, abs=0.01)
    assert areas[2] / areas[1] == pytest.approx(1.21, abs=0.01)


def test_a_feather_softens_the_edge_and_opacity_lowers_the_whole():
    steepest = [np.abs(np.diff(mask_of(Outline("jaw", feather=f)), axis=0)).max() for f in (0.0, 0.03, 0.1)]
    assert steepest[0] > 0.8 and 0.4 > steepest[1] > 2 * steepest[2]
    np.testing.assert_allclose(mask_of(Outline("jaw", opacity=0.5)), 0.5 * mask_of(Outline("jaw")), atol=1e-6)


def test_a_wobble_bends_the_outline_and_leaves_the_rest():
    plain, bent = mask_of(Outline("face")), mask_of(Outline("face", wobble=((0.05, 1.0),)))
    assert 0.02 < np.abs(plain - bent).sum() / plain.sum() < 0.2
    y, x = FIVE.mean(axis=0).round().astype(int)[::-1]
    assert plain[y, x] == bent[y, x] == pytest.approx(1, abs=1e-6)


def test_every_mask_has_faded_out_at_the_border_of_the_crop():
    (mask,) = draw_masks(POINTS, SIDE, Outline("face", grow=0.8))
    assert max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) < 0.1


def test_an_outline_is_drawn_from_the_ranges_and_again_the_same_from_the_same_seed():
    def draw(seed):
        return draw_outline(np.random.default_rng(seed), ("jaw", "mouth"), ("box",), (-0.1, 0.1), (0.02, 0.08),
                            opacities=(0.5, 1.0))

    drawn = [draw(seed) for seed in range(40)]
    assert drawn == [draw(seed) for seed in range(40)]
    assert {o.region for o in drawn} == {"jaw", "mouth"} and {o.opacity for o in drawn} == {0.5, 1.0}
    assert all(-0.1 <= o.grow <= 0.1 and 0.02 <= o.feather <= 0.08 and o.shape == "box" for o in drawn)
