"""Footage with a planted face, and the networks of the debug recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from media.crops import TEMPLATE
from training.forge import learnt
from training.forge.align import LEFT_EYE, LEFT_LIP, NOSE_TIP, RIGHT_EYE, RIGHT_LIP
from training.forge.footage import Footage
from training.forge.learnt.train import Recipe
from training.recipe import read_recipes

AUDIO_HZ = 16_000
FRAMES, SIDE = 14, 96
FACE_PX, CORNER = 64, 16  # the aligned crop lies upright in the picture: this large, its corner this far from 0, 0
HIDDEN = (0, 6)  # frames without a face


@pytest.fixture(scope="session")
def recipes() -> dict[str, Recipe]:
    """The debug recipe's, by generator."""
    path = Path(learnt.__file__).parent / "recipes" / "debug.yaml"
    return {r.generator: r for r in read_recipes(path, Recipe)}


@pytest.fixture(autouse=True)
def _same_weights_every_time(one_thread_one_seed):
    """For every test here."""


@pytest.fixture
def footage() -> Footage:
    """14 frames of 96 x 96 at 10 Hz, noise all over, a face whose crop is the middle 64 px, and 1.4 s of noise."""
    rng = np.random.default_rng(0)
    angle, reach = rng.uniform(0, 2 * np.pi, 468), np.sqrt(rng.uniform(0, 1, 468))
    mesh = np.stack([0.5 + 0.33 * reach * np.cos(angle), 0.55 + 0.4 * reach * np.sin(angle)], axis=1)
    for vertices, place in zip((LEFT_EYE, RIGHT_EYE, NOSE_TIP, LEFT_LIP, RIGHT_LIP), TEMPLATE):
        mesh[list(vertices)] = place
    landmarks = np.repeat((mesh * FACE_PX + CORNER)[None], FRAMES, axis=0).astype(np.float32)
    landmarks[list(HIDDEN)] = np.nan
    return Footage("clip", rng.integers(30, 220, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8), np.arange(FRAMES) / 10,
                   rng.normal(0, 0.1, 22_450).astype(np.float32), landmarks)


@pytest.fixture
def assert_only_the_face_changed():
    """(before, after, truth): frames differ where the region is not 0, and nowhere else; no face, no change."""

    def check(before: Footage, after: Footage, truth) -> None:
        assert after.frames.shape == before.frames.shape and after.frames.dtype == np.uint8
        assert truth.region.shape == before.frames.shape[:3] and truth.region.dtype == np.uint8
        changed = (after.frames != before.frames).any(axis=3)
        assert not changed[truth.region == 0].any()
        with_face = np.setdiff1d(np.arange(FRAMES), HIDDEN)
        assert (changed & (truth.region > 200))[with_face].any(axis=(1, 2)).all()
        assert not truth.region[list(HIDDEN)].any()
        assert not truth.region[:, :CORNER - 1].any() and not truth.region[:, :, :CORNER - 1].any()
        spans = [(s.start_s, s.end_s) for s in truth.spans if s.modality == "video"]
        np.testing.assert_allclose(spans, [(0.1, 0.6), (0.7, 1.4)])

    return check


@pytest.fixture
def assert_loss_falls():
    """(lesson, batch, weights, below): after some steps on one batch the loss is below that share of the first."""

    def check(lesson: torch.nn.Module, batch: dict, weights: dict[str, float], below: float, steps: int = 40) -> None:
        optimizer = torch.optim.Adam([p for p in lesson.parameters() if p.requires_grad], lr=5e-3)
        seen = []
        for _ in range(steps):
            losses = lesson(batch).losses
            assert losses.keys() == weights.keys()
            loss = sum(weights[name] * value for name, value in losses.items())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        assert np.mean(seen[-3:]) < below * seen[0]

    return check
