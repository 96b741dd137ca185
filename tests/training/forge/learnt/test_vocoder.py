"""The vocoder: lengths, what its copies are labelled, and where a shifted voice ends up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from media.sound import MEL_HOP, log_mel
from training.forge.footage import Unsuitable
from training.forge.learnt.genuine import Talk
from training.forge.learnt.vocoder import (
    Vocoder,
    VocoderBatches,
    VocoderLesson,
    band_centres_hz,
    copy_synthesise_neural,
    shift_voice,
    shifted,
)

AUDIO_HZ = 16_000


@pytest.fixture
def vocoder(recipes) -> Vocoder:
    return Vocoder(recipes["vocoder"].network).eval()


def talk(seconds: float) -> Talk:
    time_s = np.arange(round(seconds * AUDIO_HZ)) / AUDIO_HZ
    hum = sum(np.sin(2 * np.pi * 150 * k * time_s) / k for k in range(1, 12))
    breath = np.random.default_rng(0).normal(0, 0.1, len(time_s))
    return Talk("anna", np.zeros((0, 0, 0, 3), np.uint8), np.zeros(0), (0.1 * (hum + breath)).astype(np.float32))


def test_the_loss_falls_on_one_batch(recipes, assert_loss_falls):
    recipe = recipes["vocoder"]
    batches = VocoderBatches(recipe, [talk(1.0)])
    assert_loss_falls(VocoderLesson(recipe, batches), batches.draw(np.random.default_rng(0)),
                      recipe.losses.model_dump(), below=0.75)


def test_pieces_are_as_long_as_the_recipe_says_and_their_mel_is_their_own(recipes):
    batch = VocoderBatches(recipes["vocoder"], [talk(1.0), talk(0.1)]).draw(np.random.default_rng(0))
    assert batch["sound"].shape == (2, 32 * MEL_HOP) and batch["mel"].shape == (2, 80, 33)
    for sound, mel in zip(batch["sound"], batch["mel"]):
        assert 10 ** (-20 / 20) <= sound.abs().max() <= 10 ** (-0.5 / 20) + 1e-6
        torch.testing.assert_close(log_mel(sound.numpy()), mel)


def test_sound_is_a_hop_shorter_than_its_mel(vocoder):
    assert vocoder(torch.zeros(2, 80, 9)).shape == (2, 8 * MEL_HOP)


def test_a_copy_has_the_same_length_and_is_labelled_from_end_to_end(vocoder, footage):
    forged, truth = copy_synthesise_neural(vocoder)(footage, np.random.default_rng(0))
    assert len(footage.sound) % MEL_HOP and forged.sound.shape == footage.sound.shape
    assert forged.sound.dtype == np.float32 and np.abs(forged.sound).max() <= 1
    assert forged.sound[-20:].any()  # made to the last sample, not filled up with zeros
    assert not np.array_equal(forged.sound, footage.sound) and forged.frames is footage.frames
    (span,) = truth.spans
    assert (span.start_s, span.end_s, span.modality) == (0.0, 22_450 / AUDIO_HZ, "audio")
    assert truth.steps == (("learnt_copy", {}),) and truth.region is None and truth.identities == ()


@pytest.mark.parametrize("sound", [None, np.zeros(8000, np.float32)])
def test_silence_is_not_copied(vocoder, footage, sound):
    with pytest.raises(Unsuitable, match="nothing to hear"):
        copy_synthesise_neural(vocoder)(replace(footage, sound=sound), np.random.default_rng(0))


def test_shifts_go_up_and_down_and_tell_how_far(vocoder, footage):
    ratios = [shift_voice(vocoder, "both")(footage, np.random.default_rng(seed))[1].steps[0][1]["ratio"]
              for seed in range(12)]
    assert min(ratios) < 1 < max(ratios) and all(1.06 <= max(r, 1 / r) <= 1.25 for r in ratios)
    forged, truth = shift_voice(vocoder, "pitch")(footage, np.random.default_rng(0))
    assert forged.sound.shape == footage.sound.shape and truth.labels["audio"] == 1.0
    assert truth.steps[0][0] == "learnt_shift" and truth.steps[0][1]["what"] == "pitch"
    with pytest.raises(ValueError, match="not 'speed'"):
        shift_voice(vocoder, "speed")


def test_bands_lie_where_media_s_spectrogram_has_them():
    time_s = np.arange(AUDIO_HZ) / AUDIO_HZ
    for band in (20, 40, 60, 75):
        tone = np.sin(2 * np.pi * band_centres_hz()[band] * time_s).astype(np.float32)
        assert log_mel(tone).mean(dim=1).argmax() == band


def test_a_narrow_peak_is_pitch_and_a_broad_one_is_timbre():
    bands = np.arange(80)[:, None]
    narrow, broad = (np.exp(-((bands - 40) / width)**2 / 2) * np.ones((1, 3)) for width in (0.7, 12.0))
    both = narrow + broad

    def moved(what: str) -> tuple[float, float]:
        """Ratios by which the narrow and the broad peak went up."""
        out = shifted(both, what, 1.2)[:, 0]
        fine = out - np.convolve(np.pad(out, 8, mode="edge"), np.ones(17) / 17, mode="valid")
        smooth = np.convolve(np.pad(out, 8, mode="edge"), np.ones(17) / 17, mode="valid")
        at = band_centres_hz()
        return at[fine.argmax()] / at[40], at[smooth.argmax()] / at[40]

    step = band_centres_hz()[41] / band_centres_hz()[40] - 1  # one band
    assert moved("pitch") == (pytest.approx(1.2, abs=1.5 * step), pytest.approx(1, abs=2.5 * step))
    assert moved("timbre") == (pytest.approx(1, abs=1.5 * step), pytest.approx(1.2, abs=2.5 * step))
    assert moved("both") == (pytest.approx(1.2, abs=1.5 * step), pytest.approx(1.2, abs=2.5 * step))


@pytest.mark.parametrize("what", ["pitch", "timbre", "both"])
def test_a_ratio_of_one_changes_nothing(what):
    mel = np.random.default_rng(0).normal(0, 1, (80, 5))
    np.testing.assert_allclose(shifted(mel, what, 1.0), mel, atol=1e-5)
