"""Facts of a file are what was planted in it."""

from __future__ import annotations

import numpy as np
import pytest

from media import prepare
from tests.media.corpus import ffmpeg
from training.facts import clip_facts, sound_facts

HZ = 16_000


def tone(hz: float, seconds: float, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * HZ)) / HZ)).astype(np.float32)


def test_silence_is_measured_in_seconds_at_both_ends():
    sound = np.concatenate([np.zeros(HZ // 5, np.float32), tone(440, 1.0), np.zeros(HZ * 2 // 5, np.float32)])
    facts = sound_facts(sound)
    assert facts["lead_silence_s"] == pytest.approx(0.2) and facts["tail_silence_s"] == pytest.approx(0.4)
    assert facts["quiet_share"] == pytest.approx(0.6 / 1.6, abs=0.02)
    assert facts["digital_silence"] == pytest.approx(0.6 / 1.6, abs=0.02)


@pytest.mark.parametrize("hz, band", [(100, "0_200"), (500, "200_1000"), (2000, "1000_3000"), (6000, "5000_7000")])
def test_energy_is_found_in_its_band(hz, band):
    facts = sound_facts(tone(hz, 1.0))
    bands = {name: value for name, value in facts.items() if name.startswith("band_")}
    assert max(bands, key=bands.get) == f"band_{band}_db" and bands[f"band_{band}_db"] == pytest.approx(0, abs=0.2)
    assert facts["roll_off_hz"] == pytest.approx(hz, abs=60)


def test_loudness_is_the_level_of_the_sound():
    assert sound_facts(tone(440, 1.0, 0.5))["loudness_db"] == pytest.approx(20 * np.log10(0.5 / 2**0.5), abs=0.1)


def test_a_clip_with_a_face_tells_its_place_and_its_border(talking_clip):
    clip = prepare(talking_clip)
    facts = clip_facts(clip)
    track = clip.tracks[0]
    assert facts["fps"] == pytest.approx(clip.info.fps, abs=0.01)
    assert facts["face_px"] == pytest.approx(track.face_px, rel=1e-3)
    assert facts["bits_per_s"] == pytest.approx(8 * talking_clip.stat().st_size / clip.duration_s, rel=1e-3)
    assert 0 < facts["face_x"] < 1 and 0 < facts["face_y"] < 1 and abs(facts["yaw"]) < 1
    assert {"border_red", "border_fine", "lead_silence_s"} <= facts.keys()
    assert all(np.isfinite(value) for value in facts.values())


def test_a_clip_without_a_picture_has_no_facts_of_one(tmp_path):
    path = tmp_path / "tone.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=1", str(path))
    facts = clip_facts(prepare(path))
    assert "fps" not in facts and "face_px" not in facts and facts["duration_s"] == pytest.approx(1, abs=0.05)
