"""What each kind of evidence tells, of pictures and sounds made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.encoders import REGIONS, WIDTHS
from training.evidence import (
    MELS,
    OFFSETS,
    RINGS,
    Material,
    cepstra_change,
    change,
    frame_differences,
    frequencies,
    mouth,
    mouth_and_sound,
    mouth_rhythm,
    noise_residual,
    regions,
    restless,
    spectrum,
    speech_change,
    speech_rows,
    spread,
)
from training.shards import pack_pictures

AUDIO_HZ, GRID_HZ = 16_000, 25


def material(told: np.ndarray | None = None, faces: np.ndarray | None = None, lips: np.ndarray | None = None,
             waveform: np.ndarray | None = None, speech: np.ndarray | None = None) -> Material:
    prepared, encoded = {}, {}
    for name, pictures in (("faces", faces), ("lips", lips)):
        if pictures is not None:
            prepared |= {"times_s": np.arange(len(pictures)) / GRID_HZ, **pack_pictures(name, pictures, "png")}
    if waveform is not None:
        prepared["waveform"] = np.round(waveform * 32767).astype(np.int16)
    if speech is not None:
        encoded["speech"] = speech
    made = Material(None, prepared, encoded)
    if told is not None:
        vars(made)["regions"] = told  # as if Lite0 had looked
    return made


@pytest.fixture
def told():
    """[3 moments, regions, dim]: 100 · moment + 10 · region, and 1 more from the second stage's maps on."""
    x = np.zeros((3, len(REGIONS), sum(WIDTHS)), np.float32)
    x += 100 * np.arange(3)[:, None, None] + 10 * np.arange(len(REGIONS))[:, None]
    x[..., sum(WIDTHS[:3]):] += 1
    return x


def test_regions_and_depths_are_those_asked_for(told):
    whole = regions(material(told), only=("mouth",))
    assert whole.shape == (sum(WIDTHS),) and set(whole) == {120, 121}
    shallow = regions(material(told), only=("eyes", "skin"), depths=(0, 3))
    assert shallow.shape == (2 * sum(WIDTHS[:3]),) and set(shallow) == {100, 130}
    assert set(regions(material(told), only=("eyes",), depths=(6, 8))) == {101}


def test_moments_are_evenly_spread(told):
    assert mouth(material(told), 1)[0] == 120, "the middle one"
    assert mouth(material(told), 3)[0] == 120 and mouth(material(told[:1]), 4)[0] == 20
    assert len(mouth(material(told))) == sum(WIDTHS[2:5])


def test_spread_and_change_are_logarithms_of_how_far_moments_are_apart(told):
    assert np.exp(spread(material(told))) == pytest.approx(np.std([0, 100, 200]), rel=1e-3)
    assert np.exp(change(material(told))) == pytest.approx((100 + 100 + 0) / 3, rel=1e-3)
    assert np.isfinite(change(material(told[:1]))).all()


def faces_of(pictures: np.ndarray) -> np.ndarray:
    """[n, side, side] grey -> RGB bytes"""
    return np.repeat(np.clip(pictures, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def test_noise_shows_in_the_residual_of_its_region_alone():
    rng = np.random.default_rng(0)
    clean = np.full((4, 80, 80), 120.0)
    noisy = clean.copy()
    noisy[:, 55:68, 30:50] += rng.normal(0, 20, (4, 13, 20))  # around the mouth
    quiet, loud = (noise_residual(material(faces=faces_of(x))).reshape(2, len(REGIONS), 3) for x in (clean, noisy))
    gain = (loud - quiet).min(axis=(0, 2))
    assert gain.argmax() == REGIONS.index("mouth") and gain[REGIONS.index("mouth")] > 3
    assert gain[REGIONS.index("eyes")] < 0.01, "not at the eyes"


def test_a_grating_shows_in_its_ring():
    x = np.arange(96)
    for cycles in (8, 30):
        grating = np.tile(128 + 60 * np.sin(2 * np.pi * cycles * x / 96), (2, 96, 1))
        face, lips = frequencies(material(faces=faces_of(grating), lips=faces_of(grating))).reshape(2, RINGS + 1)
        assert face.argmax() == lips.argmax() == int(cycles / 96 / 0.5 * RINGS)


def test_differences_are_those_of_pictures_in_a_row():
    still = np.full((30, 80, 80), 100.0)
    flicker = still + 10 * (np.arange(30) % 2)[:, None, None]
    assert frame_differences(material(faces=faces_of(still))).max() < frame_differences(
        material(faces=faces_of(flicker))).reshape(2, -1)[0].min()


def talking(delay: int, count: int = 100) -> Material:
    """Loudness is a row of pulses; the mouth moves so many frames after each."""
    rng = np.random.default_rng(1)
    loud = (rng.random(count) < 0.3).astype(float)
    moves = np.roll(loud, delay)
    grey = np.full((count, 32, 32), 100.0) + 60 * (np.cumsum(moves) % 2)[:, None, None]
    sound = np.repeat(0.01 + 0.3 * loud, AUDIO_HZ // GRID_HZ) * np.sin(np.arange(count * AUDIO_HZ // GRID_HZ))
    return material(lips=faces_of(grey), waveform=sound)


@pytest.mark.parametrize("delay", [-4, 0, 3])
def test_mouth_and_sound_agree_at_their_offset(delay):
    told = mouth_and_sound(talking(delay))
    assert told.argmax() - OFFSETS == -delay and told.max() > 0.9


def test_a_silent_clip_agrees_with_nothing():
    assert not mouth_and_sound(material(lips=faces_of(np.zeros((40, 32, 32))))).any()


def test_a_quick_mouth_has_its_power_in_a_quick_band():
    time_s = np.arange(200) / GRID_HZ
    for hz, band in ((2.0, 1), (5.0, 2), (10.0, 3)):
        speed = 10 + 8 * np.sin(2 * np.pi * hz * time_s)
        grey = np.stack([np.full((32, 32), 120 + (-1) ** i * v / 2) for i, v in enumerate(speed)])
        assert mouth_rhythm(material(lips=faces_of(grey)))[2:].argmax() == band


def test_a_low_passed_sound_has_no_upper_bands():
    noise = np.random.default_rng(0).normal(0, 0.1, AUDIO_HZ)
    full, low = (spectrum(material(waveform=noise), "mel", passed)[:MELS] for passed in (False, True))
    assert low[:30] == pytest.approx(full[:30], abs=0.6) and (low[-8:] < full[-8:] - 5).all()


def test_only_the_change_of_speech_rows_and_cepstra_is_read():
    rng = np.random.default_rng(0)
    sound, rows = rng.normal(0, 0.05, AUDIO_HZ), rng.normal(size=(50, 7)).astype(np.float32)
    still = material(waveform=sound, speech=rows)
    louder = material(waveform=4 * sound, speech=rows + 3)
    assert restless(louder) == pytest.approx(restless(still), rel=0.02, abs=0.02)
    assert np.array_equal(restless(still), np.concatenate([speech_change(still), cepstra_change(still)]))
    assert speech_change(material(waveform=sound, speech=2 * rows)) == pytest.approx(2 * speech_change(still), rel=0.01)
    assert len(speech_rows(still)) == 14 and speech_rows(louder)[:7] == pytest.approx(speech_rows(still)[:7] + 3)
