"""Mouths that follow the loudness with a known lag: the lag is found, and only real ones count as out of sync."""

from __future__ import annotations

import numpy as np
import pytest

from training.offsets import MOST, Talk, estimate_offsets, read_talk

HZ = 16_000


def talk(number: int, late: int, seconds: float = 8.0) -> Talk:
    """The mouth's middle opens with the loudness of a noise that swells at random; the sound is `late` frames late."""
    rng = np.random.default_rng(number)
    n = int(seconds * 25)
    swell = np.clip(np.convolve(rng.normal(size=n + 40), np.hanning(7), "same"), 0, None)
    lips = np.full((n, 96, 96, 3), 120, np.uint8)
    for frame, opening in zip(lips, swell[20:20 + n]):
        frame[int(48 - 8 * opening):int(48 + 8 * opening) + 1, 30:66] = 20
    loud = swell[20 - late:20 - late + n].repeat(HZ // 25)
    sound = (0.2 * loud * rng.normal(size=len(loud)) + 1e-3 * rng.normal(size=len(loud))).astype(np.float32)
    return read_talk(f"{number}.mp4", np.arange(n) / 25, lips, sound)


@pytest.fixture(scope="module")
def found():
    return estimate_offsets([talk(i, late=5 if i == 3 else -4 if i == 8 else 1 if i == 5 else 0) for i in range(16)])


@pytest.mark.parametrize("number, late_s", [(3, 0.2), (8, -0.16), (5, 0.04), (0, 0.0), (11, 0.0)])
def test_the_lag_is_found_with_its_sign(found, number, late_s):
    assert found[f"{number}.mp4"].offset_s == pytest.approx(late_s, abs=0.041)


def test_only_a_consistent_lag_of_three_frames_counts(found):
    assert {file for file, offset in found.items() if offset.out_of_sync} == {"3.mp4", "8.mp4"}


def test_an_estimate_at_the_end_of_what_was_tried_is_no_finding():
    talks = [talk(i, late=MOST if i in (2, 7) else 0) for i in range(16)]
    judged = estimate_offsets(talks)
    assert judged["2.mp4"].offset_s == pytest.approx(MOST / 25, abs=0.041)
    assert not any(offset.out_of_sync for offset in judged.values())


def test_a_mouth_that_has_nothing_to_do_with_the_sound_fits_badly(found):
    strangers = [talk(i, 0) for i in range(16)]
    strangers[2] = Talk("stranger", strangers[2].lips, talk(99, 0).sound)
    judged = estimate_offsets(strangers)
    assert judged["stranger"].fit < 0.7 * np.median([o.fit for o in judged.values()])


def test_clips_with_too_little_face_are_left_out_and_too_few_are_refused():
    talks = [talk(i, 0, seconds=3.0) for i in range(9)]
    with pytest.raises(ValueError, match="0 clips .* too few; 8 are needed"):
        estimate_offsets(talks)
