"""The mouth inpainter: what it can see and hear, and what its forgeries change."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from media.sound import level_dbfs
from training.forge.footage import Unsuitable
from training.forge.learnt.genuine import Talk
from training.forge.learnt.inpainter import (
    APART_S,
    HEARD,
    Inpainter,
    InpainterBatches,
    InpainterLesson,
    InpainterLosses,
    _another,
    lip_sync,
    mel_windows,
    mouth_mask,
    rerender,
)

AUDIO_HZ = 16_000


@pytest.fixture
def inpainter(recipes) -> Inpainter:
    return Inpainter(recipes["inpainter"].network).eval()


def talk(seed: int) -> Talk:
    rng = np.random.default_rng(seed)
    faces = [cv2.resize(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)
             for _ in range(8)]
    return Talk("anna", np.stack(faces), np.arange(8) / 8, rng.normal(0, 0.1, AUDIO_HZ).astype(np.float32))


# ---- the network ----------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_the_lower_half_is_hidden_and_the_upper_half_comes_out_as_it_went_in(inpainter):
    faces, others, mel = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), torch.randn(2, 80, HEARD)
    made = inpainter(faces, others, mel)
    assert torch.equal(made[:, :, :16], faces[:, :, :16])
    without = faces.clone()
    without[:, :, 16:] = 0
    assert torch.equal(inpainter(without, others, mel), made)
    changed = {"other moment": (faces, 1 - others, mel), "sound": (faces, others, -mel),
               "upper half": (1 - faces, others, mel)}
    for name, inputs in changed.items():
        assert (inpainter(*inputs) - made)[:, :, 16:].abs().max() > 1e-4, name


def test_the_loss_falls_on_one_batch(recipes, assert_loss_falls):
    recipe = recipes["inpainter"]
    recipe = recipe.model_copy(update={"losses": InpainterLosses(pixel=1.0, structure=1.0, features=0.0)})
    batches = InpainterBatches(recipe, [talk(0), talk(1)])
    assert_loss_falls(InpainterLesson(recipe, batches), batches.draw(np.random.default_rng(0)),
                      {"pixel": 1.0, "structure": 1.0}, below=0.75)


# ---- what it hears and sees -----------------------------------------------------------------------------------


def test_a_window_holds_the_sound_around_its_moment():
    sound = np.random.default_rng(0).normal(0, 1e-4, 2 * AUDIO_HZ).astype(np.float32)
    sound[AUDIO_HZ:AUDIO_HZ + 160] += 0.5  # a click at 1 s
    windows = mel_windows(sound, np.array([0.0, 0.9, 1.0, 1.1, 2.0]))
    assert windows.shape == (5, 80, HEARD) and windows.dtype == np.float32
    loudest = windows.mean(axis=1).argmax(axis=1)
    np.testing.assert_allclose(loudest[1:4], [30, 20, 10], atol=1)  # 10 ms frames, the moment itself at 20
    assert windows[0].max() < windows[2].max() - 0.5  # a second away the click is not heard


def test_how_loud_the_clip_is_makes_no_difference():
    sound = np.random.default_rng(0).normal(0, 0.1, AUDIO_HZ).astype(np.float32)
    np.testing.assert_allclose(mel_windows(sound, np.array([0.5])), mel_windows(sound / 4, np.array([0.5])), atol=1e-3)


def test_the_other_moment_is_far_away_where_there_is_one():
    rng, times_s = np.random.default_rng(0), np.arange(10) / 8
    for row in range(10):
        assert abs(times_s[_another(times_s, row, rng)] - times_s[row]) >= APART_S
    assert _another(np.array([0.0, 0.1, 0.2]), 0, rng) == 2


def test_a_batch_shows_two_moments_of_one_clip_and_the_sound_of_the_first(recipes):
    clips = [talk(0), talk(1)]
    recipe = recipes["inpainter"].model_copy(update={"batch": 12})
    batch = InpainterBatches(recipe, clips).draw(np.random.default_rng(0))
    assert batch["faces"].shape == batch["others"].shape == (12, 3, 32, 32) and batch["mel"].shape == (12, 80, HEARD)
    for face, other, mel in zip(batch["faces"], batch["others"], batch["mel"].numpy()):
        found = [_nearest(p, clips) for p in (face, other)]
        assert found[0][0] == found[1][0] and abs(found[0][1] - found[1][1]) >= APART_S * 8
        clip = clips[found[0][0]]
        np.testing.assert_array_equal(mel, mel_windows(clip.waveform, clip.times_s)[found[0][1]])


def _nearest(picture: torch.Tensor, clips: list[Talk]) -> tuple[int, int]:
    """(clip, row) of the face that a mirrored and tinted picture shows: the highest correlation."""
    shown = picture.permute(1, 2, 0).numpy().astype(float)
    scores = {(c, r): max(np.corrcoef(shown.ravel(), f.astype(float).ravel())[0, 1] for f in (face, face[:, ::-1]))
              for c, clip in enumerate(clips) for r, face in enumerate(clip.faces)}
    return max(scores, key=scores.get)


@pytest.mark.parametrize("outline", ["box", "ellipse"])
def test_a_mouth_mask_covers_the_mouth_and_nothing_that_was_not_drawn(outline):
    mask = mouth_mask(96, outline, 3.0)
    assert mask.shape == (96, 96) and mask.min() >= 0 and mask.max() <= 1 + 1e-6
    assert mask[73, 36:61].min() > 0.95  # between the corners of the mouth
    assert not mask[:49].any() and not mask[-1].any() and not mask[:, [0, -1]].any()


# ---- the forgeries --------------------------------------------------------------------------------------------


def test_rerendering_changes_the_mouth_only(inpainter, footage, assert_only_the_face_changed):
    forged, truth = rerender(inpainter)(footage, np.random.default_rng(1))
    assert_only_the_face_changed(footage, forged, truth)
    assert not truth.region[:, :45].any()  # crop rows 0 ... 28 of 64: eyes and nose
    assert forged.sound is footage.sound and truth.labels == {"video": 1.0, "audio": 0.0, "sync": 0.0}
    again, _ = rerender(inpainter)(footage, np.random.default_rng(1))
    np.testing.assert_array_equal(again.frames, forged.frames)


def test_lip_sync_takes_a_piece_of_the_speech_at_the_level_of_the_sound(inpainter, footage,
                                                                        assert_only_the_face_changed):
    speech = np.random.default_rng(5).normal(0, 0.01, 3 * AUDIO_HZ).astype(np.float32)
    forged, truth = lip_sync(inpainter, speech, speaker="carl")(footage, np.random.default_rng(1))
    assert_only_the_face_changed(footage, forged, truth)
    assert forged.sound.shape == footage.sound.shape and forged.sound.dtype == np.float32
    assert level_dbfs(forged.sound) == pytest.approx(level_dbfs(footage.sound), abs=0.1)
    first = round(truth.steps[0][1]["speech_from_s"] * AUDIO_HZ)
    piece = max((speech[f:f + len(footage.sound)] for f in range(max(first - 16, 0), first + 17)),
                key=lambda p: np.dot(p, forged.sound))  # the time is told to a millisecond
    np.testing.assert_allclose(forged.sound / forged.sound.std(), piece / piece.std(), rtol=1e-3, atol=1e-5)
    assert truth.identities == ("carl",) and truth.labels == {"video": 1.0, "audio": 0.0, "sync": 0.0}


def test_synthetic_speech_is_told_as_manipulated_sound(inpainter, footage):
    speech = np.random.default_rng(5).normal(0, 0.1, len(footage.sound)).astype(np.float32)
    _, truth = lip_sync(inpainter, speech, speech_fake=True)(footage, np.random.default_rng(1))
    assert truth.labels == {"video": 1.0, "audio": 1.0, "sync": 0.0} and truth.identities == ()


def test_the_mouth_follows_the_speech(inpainter, footage):
    rng = np.random.default_rng(5)
    pictures = [lip_sync(inpainter, speech.astype(np.float32))(footage, np.random.default_rng(1))[0].frames
                for speech in (rng.normal(0, 0.1, len(footage.sound)),
                               np.sin(np.arange(len(footage.sound)) / 20) * 0.1)]
    assert (pictures[0] != pictures[1]).any()


def test_what_is_missing_is_told(inpainter, footage):
    rng = np.random.default_rng(0)
    with pytest.raises(Unsuitable, match="no sound"):
        rerender(inpainter)(replace(footage, sound=None), rng)
    with pytest.raises(Unsuitable, match="no sound"):
        lip_sync(inpainter, footage.sound)(replace(footage, sound=None), rng)
    with pytest.raises(Unsuitable, match="shorter"):
        lip_sync(inpainter, footage.sound[:-1])(footage, rng)
    with pytest.raises(Unsuitable, match="landmarks"):
        rerender(inpainter)(replace(footage, landmarks=None), rng)
