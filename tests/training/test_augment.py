"""Degradations: the same draw for real and fake, repeatable, and within range."""

from __future__ import annotations

import numpy as np
import pytest

from media import AUDIO_HZ
from training import augment
from training.augment import degrade_faces, degrade_sound

SEEDS = range(40)


def window(seed: int, frames: int = 3, side_px: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, side_px, side_px, 3), dtype=np.uint8)


def sound_of(seed: int, samples: int = 8000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


class Lowest(np.random.Generator):
    """Draws the lower end of every range."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low=0.0, high=1.0, size=None):
        return low


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * AUDIO_HZ)) / AUDIO_HZ)


def gain_db(hz: float) -> float:
    inner = slice(1000, -1000)
    shaped = augment._shape_spectrum(tone(hz), Lowest())
    return 20 * np.log10(np.std(shaped[inner]) / np.std(tone(hz)[inner]))


# ---- faces ----------------------------------------------------------------------------------------------------


def test_faces_keep_shape_and_type_and_the_input_is_left_alone():
    for seed in SEEDS:
        faces = window(0)
        out = degrade_faces(faces, np.random.default_rng(seed))
        assert out.shape == faces.shape and out.dtype == np.uint8
        np.testing.assert_array_equal(faces, window(0))


def test_the_same_state_gives_the_same_picture_and_another_state_another():
    outs = [degrade_faces(window(0), np.random.default_rng(seed)) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(outs[0], outs[1])
    assert (outs[0] != outs[2]).mean() > 0.5


def test_what_is_drawn_does_not_depend_on_what_is_seen():
    """After two windows of one shape, whatever they show, the generators stand at the same place."""
    for seed in SEEDS:
        states = []
        for faces in (window(0), window(1), np.zeros_like(window(0))):
            rng = np.random.default_rng(seed)
            degrade_faces(faces, rng)
            states.append(rng.bit_generator.state)
        assert states[0] == states[1] == states[2]


def test_real_and_fake_are_turned_and_lit_alike():
    """The fake differs in one square: away from where that square lands, nothing else may differ much."""
    real = np.full((2, 64, 64, 3), 120, np.uint8)
    real[:, :, :20] = 180
    fake = real.copy()
    fake[:, 28:36, 30:36] = 60
    for seed in SEEDS:
        a, b = (degrade_faces(faces, np.random.default_rng(seed)).astype(int) for faces in (real, fake))
        different = np.abs(a - b).max(axis=(0, 3))
        border = np.concatenate([different[:12].ravel(), different[-12:].ravel()])
        assert different.max() > 15 and np.median(border) <= 2


def test_one_draw_serves_the_whole_window():
    """Six equal pictures of a scene with a dark and a light half stay alike: no flip or turn of single frames."""
    still = np.full((6, 64, 64, 3), 60, np.uint8)
    still[:, :, :32] = 200
    for seed in SEEDS:
        out = degrade_faces(still, np.random.default_rng(seed)).astype(int)
        assert np.abs(out - out[:1]).mean() < 12  # the strongest noise differs by 9 on average


def test_about_half_of_the_windows_are_mirrored():
    half = np.full((1, 64, 64, 3), 60, np.uint8)
    half[:, :, :32] = 200
    outs = [degrade_faces(half, np.random.default_rng(seed))[0].astype(int) for seed in range(100)]
    mirrored = sum(out[:, :24].mean() < out[:, 40:].mean() for out in outs)
    assert 30 < mirrored < 70


# ---- sound ----------------------------------------------------------------------------------------------------


def test_sound_keeps_length_and_range():
    for seed in SEEDS:
        for sound in (sound_of(0), 30 * sound_of(0), np.zeros(8000, np.float32), np.ones(8000, np.float32)):
            out = degrade_sound(sound, np.random.default_rng(seed), [sound_of(1, 5000)])
            assert out.shape == sound.shape and out.dtype == np.float32
            assert np.isfinite(out).all() and np.abs(out).max() <= 1


def test_the_same_state_gives_the_same_sound():
    outs = [degrade_sound(sound_of(0), np.random.default_rng(seed), [sound_of(1)]) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(outs[0], outs[1])
    assert (outs[0] != outs[2]).any()


def test_what_is_drawn_does_not_depend_on_what_is_heard():
    for seed in SEEDS:
        states = []
        for sound in (sound_of(0), sound_of(1), np.zeros(8000, np.float32)):
            rng = np.random.default_rng(seed)
            degrade_sound(sound, rng, [sound_of(2)])
            states.append(rng.bit_generator.state)
        assert states[0] == states[1] == states[2]


def test_the_level_of_the_recording_is_forgotten():
    """Genuine recordings are often louder than synthetic ones, or the other way round."""
    for seed in SEEDS:
        loud, quiet = (degrade_sound(scale * sound_of(0), np.random.default_rng(seed), []) for scale in (1.0, 0.05))
        assert np.abs(loud - quiet).mean() < 1e-3 * loud.std()  # coarse quantisation may round single samples apart


def test_levels_lie_between_32_and_14_db_below_full_scale():
    quiet_room = [degrade_sound(tone(1000).astype(np.float32), np.random.default_rng(seed), []) for seed in range(60)]
    levels = [10 * np.log10(np.mean(np.square(out, dtype=np.float64))) for out in quiet_room]
    assert -33 < min(levels) < -28 and -18 < max(levels) < -13


def test_a_constant_offset_is_removed():
    out = degrade_sound(sound_of(0) + 0.5, np.random.default_rng(3), [])
    assert abs(out.mean()) < 0.1 * out.std()


def test_noise_is_mixed_in_at_the_drawn_ratio():
    """With the lowest draws: noise in every clip, 5 dB below a voice of -32 dBFS."""
    class Always(Lowest):
        calls = 0

        def random(self):
            self.calls += 1
            return 0.0 if self.calls == 1 else 1.0  # noise, and nothing after it

        def integers(self, high):
            return 0

    voice, noise = tone(1000).astype(np.float32), tone(3000).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(degrade_sound(voice, Always(), [noise])))
    assert 20 * np.log10(spectrum[500] / spectrum[1500]) == pytest.approx(5, abs=0.1)  # bins of 2 Hz


def test_the_low_pass_removes_a_tone_of_7_khz():
    assert gain_db(7000) < -60


def test_the_lowest_low_pass_leaves_the_voice_band():
    """Lowest draws: low-pass 3.4 kHz, high-pass 1 Hz, tilt -6 dB a decade around 1 kHz; -3 dB more at the edge."""
    assert gain_db(1000) == pytest.approx(0, abs=0.1)
    assert gain_db(500) == pytest.approx(6 * np.log10(2), abs=0.1)
    assert gain_db(3400) == pytest.approx(-3.01 - 6 * np.log10(3.4), abs=0.2)
