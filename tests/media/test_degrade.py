"""Degradations on arrays whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from media import AUDIO_HZ
from media.degrade import add_grain, blur, make_music, make_noise, recapture


def planes_of(shade: int, height: int = 80, width: int = 120) -> list[np.ndarray]:
    return [np.full((height, width), shade, np.uint8),
            *(np.full((height // 2, width // 2), 128, np.uint8) for _ in range(2))]


def test_blur_is_as_wide_on_colour_as_on_brightness():
    """A line of one pixel becomes a bell whose variance is sigma squared; colour has half the pixels."""
    planes = planes_of(0)
    for plane in planes:
        plane[:] = 0
        plane[:, plane.shape[1] // 2] = 255
    for plane, sigma in zip(blur(planes, 3.0), (3.0, 1.5, 1.5)):
        row = plane[10].astype(float)
        across = np.arange(len(row)) - len(row) // 2
        assert np.sqrt((row * across**2).sum() / row.sum()) == pytest.approx(sigma, rel=0.1)


def test_grain_is_the_same_for_the_same_seed_and_leaves_colour_alone():
    planes = planes_of(100)
    once, again, other = (add_grain(planes, 5.0, seed) for seed in (1, 1, 2))
    assert np.array_equal(once[0], again[0]) and not np.array_equal(once[0], other[0])
    assert once[0].std() == pytest.approx(5, rel=0.05) and once[1] is planes[1]


def test_a_filmed_screen_is_tilted_flat_and_striped_and_changes_with_time():
    planes = planes_of(255)
    planes[0][:, :12] = 0
    shown, later = recapture(planes, 0.0), recapture(planes, 0.3)
    assert [p.shape for p in shown] == [p.shape for p in planes] and shown[0].dtype == np.uint8
    assert shown[0][:, :6].mean() > 10 and shown[0][:, 70:].mean() < 245  # black is grey, white is no longer white
    assert shown[0][:, 70:].std() > 2 and shown[1].std() > 1  # fringes, coloured ones too
    assert not np.array_equal(shown[0], later[0])
    edge = [int(np.argmax(row > 128)) for row in shown[0]]
    assert edge[0] + 2 <= edge[-1] and abs(edge[40] - 11) < 3  # what was upright leans


def test_noise_falls_as_it_says_and_music_has_its_notes():
    """Pink: as much power from 200 to 400 Hz as from 2 to 4 kHz; white: ten times as much in the latter."""
    for tilt, ratio in ((1.0, 1.0), (0.0, 10.0)):
        power = np.abs(np.fft.rfft(make_noise(10 * AUDIO_HZ, tilt, np.random.default_rng(3)))) ** 2  # 0.1 Hz a bin
        assert power[20_000:40_000].sum() / power[2_000:4_000].sum() == pytest.approx(ratio, rel=0.15)
    power = np.abs(np.fft.rfft(make_music(AUDIO_HZ))) ** 2  # the first second is C major
    assert {int(hz) for hz in np.argsort(power[100:220])[-3:] + 100} <= {130, 131, 132, 165, 166, 164, 195, 196, 197}
