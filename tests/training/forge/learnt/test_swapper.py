"""The face swap: what the network is shown, what it draws, and that the forgery stays within the face."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from training.forge.footage import Unsuitable
from training.forge.learnt.genuine import Talk
from training.forge.learnt.repaint import ellipse
from training.forge.learnt.swapper import (
    FACE_CENTRE,
    FACE_HALF,
    Swapper,
    SwapperBatches,
    SwapperLesson,
    _hulls,
    _Reversed,
    _softened,
    recoloured,
    swap,
)


def talk(identity: str, face: np.ndarray) -> Talk:
    return Talk(identity, np.repeat(face[None], 3, axis=0), np.arange(3) / 8, np.zeros(0, np.float32))


def noise(seed: int, side_px: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)


@pytest.fixture
def swapper(recipes) -> Swapper:
    return Swapper(recipes["swapper"].network, ["anna", "ben"]).eval()


def test_the_mask_goes_along_when_a_face_is_moved(recipes):
    recipe = recipes["swapper"].model_copy(update={"batch": 16})
    painted = (255 * ellipse(32, FACE_CENTRE, FACE_HALF)).astype(np.uint8)[..., None].repeat(3, axis=2)
    batch = SwapperBatches(recipe, [talk("anna", painted)]).draw(np.random.default_rng(0))
    straight, mask = batch["straight"][:, :1] / 255, batch["mask"]
    assert (straight - mask).abs().mean() < 0.02
    assert mask.std(dim=0).max() > 0.2  # it does move
    assert ((batch["bent"][:, :1] / 255 - mask).abs().mean(dim=(1, 2, 3)) > 0.01).all()  # and what is shown is bent


def test_people_are_drawn_equally_often_however_many_clips_they_have(recipes):
    recipe = recipes["swapper"].model_copy(update={"batch": 400})
    talks = [talk("ben", noise(1)), *(talk("anna", noise(n)) for n in range(9))]
    batches = SwapperBatches(recipe, talks)
    assert batches.identities == ["anna", "ben"]
    assert batches.draw(np.random.default_rng(0))["identity"].float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_the_loss_falls_on_one_batch(recipes, assert_loss_falls):
    recipe = recipes["swapper"]
    talks = [talk(name, cv2.resize(noise(seed, 4), (32, 32), interpolation=cv2.INTER_CUBIC))
             for seed, name in enumerate(("anna", "ben"))]
    batches = SwapperBatches(recipe, talks)
    assert_loss_falls(SwapperLesson(recipe, batches), batches.draw(np.random.default_rng(0)),
                      recipe.losses.model_dump(), below=0.75)


def test_the_gradient_turns_round_between_the_guess_and_the_encoder():
    x = torch.tensor([2.0], requires_grad=True)
    (3 * _Reversed.apply(x)).backward()
    assert _Reversed.apply(x).item() == 2.0 and x.grad.item() == -3.0


def test_another_person_is_drawn_otherwise(swapper):
    faces = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        (anna, mask), (ben, _) = (swapper(faces, torch.tensor([n, n])) for n in (0, 1))
    assert anna.shape == (2, 3, 32, 32) and mask.shape == (2, 1, 32, 32)
    assert anna.min() >= 0 and anna.max() <= 1 and (anna - ben).abs().max() > 1e-3


def test_a_swap_stays_within_the_face_and_says_whose_it_is(swapper, footage, assert_only_the_face_changed):
    with torch.no_grad():
        swapper.draw.bias[3] = 4.0  # an untrained mask is half everywhere: this one is sure
    before = footage.frames.copy()
    forged, truth = swap(swapper, "ben")(footage, np.random.default_rng(3))
    assert_only_the_face_changed(footage, forged, truth)
    np.testing.assert_array_equal(footage.frames, before)
    assert forged.sound is footage.sound and truth.labels == {"video": 1.0, "audio": 0.0, "sync": 0.0}
    assert truth.pair == "clip" and truth.identities == ("ben",) and truth.steps[0][0] == "learnt_swap"
    again, _ = swap(swapper, "ben")(footage, np.random.default_rng(3))
    np.testing.assert_array_equal(again.frames, forged.frames)


def test_who_was_not_learnt_cannot_be_put_in(swapper):
    with pytest.raises(ValueError, match="has not learnt 'carl'"):
        swap(swapper, "carl")


def test_without_a_face_nothing_is_forged(swapper, footage):
    with pytest.raises(Unsuitable, match="no picture with landmarks"):
        swap(swapper, "anna")(replace(footage, landmarks=None), np.random.default_rng(0))
    faceless = footage.landmarks.copy()
    faceless[3:] = np.nan
    with pytest.raises(Unsuitable, match="in 2 frames only"):
        swap(swapper, "anna")(replace(footage, landmarks=faceless), np.random.default_rng(0))


def test_recolouring_gives_the_target_s_mean_and_spread_under_the_mask():
    rng = np.random.default_rng(0)
    source = rng.uniform(100, 160, (32, 32, 3)).astype(np.float32)
    target = np.clip(rng.normal((150, 110, 90), 15, (32, 32, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros((32, 32), np.float32)
    mask[8:24, 8:24] = 1
    changed = recoloured(source, target, mask)
    lab = [cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[8:24, 8:24] for p in (changed, target)]
    np.testing.assert_allclose(lab[0].mean(axis=(0, 1)), lab[1].mean(axis=(0, 1)), atol=0.7)
    np.testing.assert_allclose(lab[0].std(axis=(0, 1)), lab[1].std(axis=(0, 1)), rtol=0.15)
    np.testing.assert_array_equal(recoloured(source, target, np.zeros_like(mask)), source)  # no mask: nothing to match


def test_a_hull_fills_the_outline_of_the_points():
    square = np.array([[[4, 4], [11, 4], [4, 11], [11, 11], [7, 7]]], np.float32)
    hull = _hulls(square, 16)[0]
    assert hull.sum() == 64 and hull[4:12, 4:12].all()


def test_a_softened_mask_lies_within_the_hard_one():
    hard = np.zeros((1, 64, 64), np.float32)
    hard[0, 10:50, 10:50] = 1
    soft = _softened(hard, 2.0, 3.0)[0]
    assert soft[30, 30] == pytest.approx(1, abs=1e-3) and soft[hard[0] == 0].max() < 0.1
    assert 0.1 < soft[15, 30] < 0.9  # the eroded edge: half faded


def test_a_mask_that_reaches_the_border_fades_before_it():
    soft = _softened(np.ones((1, 64, 64), np.float32), 2.0, 3.0)[0]
    assert not soft[[0, -1]].any() and not soft[:, [0, -1]].any()
    assert soft[-2, 32] < 0.15 and soft[32, 32] == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(soft[:, 32])).max() < 0.2


def test_an_encoder_gains_nothing_from_a_larger_code(recipes):
    """The guess sees the code's direction only; else the encoder drives it into any error by growing the code."""
    torch.manual_seed(0)
    batches = SwapperBatches(recipes["swapper"], [talk(name, np.full((32, 32, 3), shade, np.uint8))
                                                  for name, shade in (("ann", 60), ("ben", 190))])
    lesson = SwapperLesson(recipes["swapper"], batches)
    batch = batches.draw(np.random.default_rng(0))
    told = []
    for scale in (1.0, 100.0):
        with torch.no_grad():
            for part in (lesson.generator.squeeze.weight, lesson.generator.squeeze.bias):
                part.mul_(scale)
        told.append(lesson(batch).losses["anonymity"].item())
    assert told[0] == pytest.approx(told[1], rel=1e-2)
