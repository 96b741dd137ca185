"""Forged mouths: from the right moment, in the right place, as soft as lip-sync tools leave them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from media.crops import TEMPLATE
from tests.training.forge.drawn_face import CORNER, FACE_PX, drawn_footage
from training.forge import mouths
from training.forge.footage import Unsuitable
from training.forge.mouths import rerender_mouth, transplant_mouth
from training.forge.render import Rendering

EYE, NOSE = ((TEMPLATE[i] * FACE_PX + CORNER).round().astype(int) for i in (0, 2))
MOUTH = (TEMPLATE[3:].mean(axis=0) * FACE_PX + CORNER).round().astype(int)


def at(frames: np.ndarray, place: np.ndarray) -> np.ndarray:
    """[n] brightness of one pixel over time."""
    return frames[:, place[1], place[0], 0].astype(int)


def brightening(frames: int = 40):
    """Frame i shows its number, 40 + 4 i, as a ramp at the mouth, and 100 elsewhere."""
    footage = drawn_footage(frames)
    pictures = np.full(footage.frames.shape, 100, np.uint8)
    number = (40 + 4 * np.arange(frames)).astype(np.uint8)
    pictures[:, MOUTH[1] - 2:MOUTH[1] + 3, MOUTH[0] - 2:MOUTH[0] + 3] = number[:, None, None, None]
    return replace(footage, frames=pictures), number


def test_a_transplanted_mouth_is_that_of_a_moment_at_least_04_s_away_and_plays_on_from_there(monkeypatch):
    monkeypatch.setattr(mouths, "matching_colours",
                        lambda s, t, m, kind: np.repeat(np.eye(3, 4)[None], len(s), axis=0))
    monkeypatch.setattr(mouths, "draw_rendering", lambda *given, **ranges: Rendering())
    footage, number = brightening()
    shifts = set()
    for seed in range(6):
        forged, truth = transplant_mouth(footage, np.random.default_rng(seed))
        shift = truth.steps[0][1]["shift_frames"]
        assert 10 <= shift <= 30  # 0.4 s of 40 frames at 25 fps
        np.testing.assert_allclose(at(forged.frames, MOUTH), np.roll(number, -shift), atol=2)
        np.testing.assert_array_equal(at(forged.frames, EYE), at(footage.frames, EYE))
        assert truth.region[:, MOUTH[1], MOUTH[0]].min() >= 253 and truth.region[:, EYE[1], EYE[0]].max() < 12
        shifts.add(shift)
    assert len(shifts) > 2


def test_a_transplant_needs_twice_that_time():
    with pytest.raises(Unsuitable, match="19 frames; 20 are needed"):
        transplant_mouth(drawn_footage(19), np.random.default_rng(0))


def test_a_transplanted_mouth_no_longer_belongs_to_a_voice(monkeypatch):
    footage = replace(drawn_footage(24), sound=np.zeros(16_000, np.float32))
    _, truth = transplant_mouth(footage, np.random.default_rng(0))
    assert truth.labels == {"video": 1, "audio": 0, "sync": 0}  # silence: there is no voice
    monkeypatch.setattr(mouths, "voice_of", lambda footage: (footage.sound, ((0.1, 0.9),)))
    _, truth = transplant_mouth(footage, np.random.default_rng(0))
    assert [(s.start_s, round(s.end_s, 3), s.modality) for s in truth.spans] == [(0, 0.96, "video"), (0, 0.96, "sync")]


def test_a_mouth_is_brought_to_where_the_still_part_of_the_face_is():
    """Only the nose, eyes and brows count: the head moved by (7, -4), and the lips by something else as well."""
    points = drawn_footage(1).landmarks[0]
    aim = points + np.array([7, -4], np.float32)
    aim[[61, 291, 13, 14, 0, 17]] += 9
    crop = np.zeros((144, 144, 3), np.uint8)
    crop[80:84, 60:64] = 200
    moved = mouths._brought(crop, points, aim)
    assert (moved[76:80, 67:71] > 190).all() and moved.sum() == pytest.approx(crop.sum(), rel=0.02)


def test_a_redrawn_mouth_is_the_same_mouth_drawn_anew_in_every_frame_alike():
    for seed in range(6):
        footage = drawn_footage(12, seed)
        frames = np.repeat(footage.frames[:1], 12, axis=0)
        forged, truth = rerender_mouth(replace(footage, frames=frames), np.random.default_rng(seed))
        assert truth.region[:, MOUTH[1], MOUTH[0]].min() > 200 and truth.region[:, EYE[1], EYE[0]].max() < 50
        assert (forged.frames == forged.frames[:1]).all()  # a still picture stays still
        inside = truth.region[0] > 250
        same = np.corrcoef(forged.frames[0][inside].ravel(), frames[0][inside].ravel())[0, 1]
        assert 0.7 < same < 0.9999


def test_a_redrawn_mouth_keeps_its_own_time():
    """A generator that averages over neighbours still follows the mouth: each frame is nearest to itself."""
    footage, number = brightening()
    for seed in range(4):
        forged, _ = rerender_mouth(footage, np.random.default_rng(seed))
        shown = at(forged.frames, MOUTH)
        assert np.corrcoef(shown[1:-1], number[1:-1])[0, 1] > 0.99
