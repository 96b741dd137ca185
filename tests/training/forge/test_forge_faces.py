"""Forged faces: changed where the truth says, nowhere else, and as their family says."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from media.crops import TEMPLATE
from tests.training.forge.drawn_face import CORNER, FACE_PX, drawn_footage
from training.forge import faces
from training.forge.faces import jitter, resynthesise, self_blend, swap_identity
from training.forge.footage import Footage, Forgery, Span, Unsuitable
from training.forge.masks import OVAL
from training.forge.mouths import rerender_mouth, transplant_mouth

SEEDS = range(2)


def striped(frames: int = 14) -> Footage:
    """Another person: vertical stripes of 6 px, the brightness rising with time."""
    donor = drawn_footage(frames, seed=99, opening=0.03)
    row = np.where(np.arange(donor.frames.shape[2]) // 6 % 2, 180, 60)
    stripes = row[None, None, :, None] + np.arange(frames)[:, None, None, None]
    return replace(donor, frames=np.broadcast_to(stripes, donor.frames.shape).astype(np.uint8))


FAMILIES: dict[str, Forgery] = {
    "self_blend": self_blend, "swap_identity": swap_identity(striped(), "stripes"), "resynthesise": resynthesise,
    "jitter": jitter, "transplant_mouth": transplant_mouth, "rerender_mouth": rerender_mouth,
}
each_family = pytest.mark.parametrize("name", FAMILIES)


def forge(name: str, footage: Footage, seed: int = 0):
    return FAMILIES[name](footage, np.random.default_rng(seed))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.astype(float).ravel(), b.astype(float).ravel())[0, 1])


@each_family
def test_outside_the_region_every_bit_is_as_it_was_and_inside_it_the_picture_changes(name):
    for seed in SEEDS:
        footage = drawn_footage(22, seed)
        forged, truth = forge(name, footage, seed)
        assert forged.frames.dtype == np.uint8 and truth.region.dtype == np.uint8
        assert forged.frames.shape == footage.frames.shape and truth.region.shape == footage.frames.shape[:3]
        changed = (forged.frames != footage.frames).any(axis=3)
        assert not changed[truth.region == 0].any()
        assert changed[truth.region > 100].mean() > 0.7
        np.testing.assert_array_equal(footage.frames, drawn_footage(22, seed).frames)


@each_family
def test_the_truth_says_what_was_done_and_when(name):
    footage = drawn_footage(26, away=(0, 1, 2, 25))
    forged, truth = forge(name, footage)
    assert truth.spans == (Span(0.12, 1.0, "video"),) and truth.pair == footage.clip_id
    (step,) = truth.steps
    assert step[0] == name and json.loads(json.dumps(step[1])).keys() == step[1].keys()
    assert truth.identities == (("stripes",) if name == "swap_identity" else ())
    assert not truth.region[[0, 1, 2, 25]].any() and truth.region[3:25].any(axis=(1, 2)).all()
    assert forged.sound is None and forged.times_s is footage.times_s


@each_family
def test_a_seed_decides_everything(name):
    footage = drawn_footage(22)
    (one, truth), (again, same), (other, _) = (forge(name, footage, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.frames, again.frames)
    np.testing.assert_array_equal(truth.region, same.region)
    assert truth.steps == same.steps and (one.frames != other.frames).any()


@each_family
def test_a_clip_without_a_face_is_unsuitable(name):
    with pytest.raises(Unsuitable, match="0.0 s"):
        forge(name, drawn_footage(6, away=tuple(range(6))))


def test_the_region_lies_on_the_face_and_fades_out_before_the_patch_ends():
    for seed in SEEDS:
        _, truth = forge("self_blend", drawn_footage(12), seed)
        rows, columns = np.nonzero(truth.region.max(axis=0))
        assert rows.min() > CORNER[1] - 15 and rows.max() < CORNER[1] + FACE_PX + 15
        assert columns.min() > CORNER[0] - 15 and columns.max() < CORNER[0] + FACE_PX + 15


def test_a_self_blend_is_steady_where_jitter_trembles():
    """The face stands still: one mask serves all frames, unless it is shaken."""
    still = drawn_footage(12)
    steady, shaken = (forge(name, still)[1].region.astype(int) for name in ("self_blend", "jitter"))
    assert np.abs(np.diff(steady, axis=0)).max() == 0
    assert (np.abs(np.diff(shaken, axis=0)).max(axis=(1, 2)) > 0).all()


def test_a_swap_brings_the_donor_s_structure_to_where_the_face_was():
    y, x = np.indices((20, 20)) + (TEMPLATE[2] * FACE_PX + CORNER - 10).astype(int)[::-1, None, None]  # on the nose
    stripes = striped().frames[0]
    for seed in SEEDS:
        footage = drawn_footage(12, seed)
        forged, truth = forge("swap_identity", footage, seed)
        assert truth.region[:, y, x].min() > 200
        here = [f[y, x].mean(axis=2) for f in (forged.frames[4], footage.frames[4], stripes)]
        # Its features may keep some of their own shape: a little sideways is still the same structure.
        best = [max(correlation(f, np.roll(here[2], k, axis=1)) for k in (-1, 0, 1)) for f in here[:2]]
        assert best[0] > 0.8 > best[1] + 0.4


def test_a_swap_takes_the_colours_of_the_face_that_it_covers():
    for seed in SEEDS:
        footage = drawn_footage(12, seed)
        footage = replace(footage, frames=(footage.frames * np.array([0.8, 0.5, 0.3])).astype(np.uint8))
        forged, truth = forge("swap_identity", footage, seed)
        inside = truth.region > 128
        np.testing.assert_allclose(forged.frames[inside].mean(axis=0), footage.frames[inside].mean(axis=0), atol=10)


def test_a_donor_s_moments_follow_the_expression_and_seldom_jump():
    """The mouths are the same; the donor's runs 5 frames late."""
    here, there = drawn_footage(20, opening=0.1).landmarks, drawn_footage(30, opening=0.1).landmarks[:25]
    moments, apart = faces._fitting_moments(here[5:], there, int(FACE_PX))
    np.testing.assert_allclose(here[5:], there[moments], atol=1.0)
    assert (np.abs(np.diff(moments)) <= 1).mean() > 0.8 and apart < 0.003


def test_a_donor_who_looks_another_way_does_not_serve():
    turned = striped()
    meshes = turned.landmarks.copy()
    meshes[:, list(OVAL), 0] += 20  # a head turned by so much that its outline moves by a quarter of the face
    with pytest.raises(Unsuitable, match="different ways"):
        swap_identity(replace(turned, landmarks=meshes))(drawn_footage(12), np.random.default_rng(0))


def test_a_warp_takes_landmarks_to_their_aims_and_leaves_a_face_that_is_in_place():
    points = drawn_footage(1).landmarks[0]
    dot = np.zeros((144, 144, 3), np.uint8)
    dot[..., 0] = cv2.GaussianBlur(cv2.circle(dot[..., 0].copy(), tuple(points[4].round().astype(int).tolist()), 4, 255,
                                              -1), (0, 0), 2)
    aim = points.copy()
    aim += 6 * np.exp(-((points - points[4]) ** 2).sum(axis=1, keepdims=True) / 200) * np.array([1, -1])  # the nose
    y, x = np.indices((144, 144))
    centres = [((x * w).sum() / w.sum(), (y * w).sum() / w.sum()) for w in
               (faces._warped(dot, points, p)[..., 0].astype(float) for p in (points, aim))]
    np.testing.assert_allclose(centres[0], points[4].round(), atol=0.6)
    np.testing.assert_allclose(np.subtract(centres[1], centres[0]), (6, -6), atol=1.5)


def test_a_bottleneck_takes_fine_detail_away_from_any_face():
    noise = np.random.default_rng(0).integers(60, 196, (12, 128, 144, 3), dtype=np.uint8)
    footage = replace(drawn_footage(12), frames=noise)
    for seed in range(6):
        forged, truth = forge("resynthesise", footage, seed)
        inside = truth.region[0] > 250
        before, after = ((f[0] - cv2.GaussianBlur(f[0].astype(np.float32), (0, 0), 1))[inside]
                         for f in (footage.frames, forged.frames))
        assert correlation(before, after) < 0.85


def test_few_components_keep_a_motion_that_few_can_describe_and_drop_noise():
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 40, (2, 32, 32, 3))
    share = rng.uniform(0, 1, (20, 2))
    clean = 80 + np.tensordot(share, patterns, axes=1)
    crops = (clean + rng.normal(0, 6, clean.shape)).round().astype(np.uint8)
    kept = faces._few_components(crops, np.ones((32, 32), np.float32), 2)
    assert np.abs(kept - clean).mean() < 0.5 * np.abs(crops - clean).mean()
