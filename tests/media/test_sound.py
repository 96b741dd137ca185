"""The waveform lies on the clip's clock; spectra, levels and voice spans have known values."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from media import AUDIO_HZ, prepare, sound
from media.sound import (
    MEL_HOP,
    find_speech,
    level_dbfs,
    log_mel,
    speech_to_noise_db,
)
from media.waveform import WaveformBuilder


def tone(hz: float, seconds: float, amplitude: float = 0.5, rate: int = AUDIO_HZ) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def frame(samples: np.ndarray, rate: int = AUDIO_HZ) -> av.AudioFrame:
    """samples [n] or [channels, n]."""
    samples = np.atleast_2d(samples).astype(np.float32)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    made.sample_rate = rate
    return made


def build(*frames: tuple[np.ndarray, float | None], rate: int = AUDIO_HZ) -> np.ndarray:
    builder = WaveformBuilder()
    for samples, time_s in frames:
        builder.add(frame(samples, rate), time_s)
    return builder.finish()


def strongest_hz(waveform: np.ndarray) -> float:
    return np.abs(np.fft.rfft(waveform)).argmax() * AUDIO_HZ / len(waveform)


# ---- the waveform ---------------------------------------------------------------------------------------------


def test_sound_that_follows_on_is_joined_without_a_change():
    first, second = tone(300, 0.1), tone(500, 0.1)
    np.testing.assert_array_equal(build((first, 0.0), (second, 0.1)), np.concatenate([first, second]))


def test_late_start_becomes_leading_silence():
    sound = tone(300, 0.2)
    waveform = build((sound, 0.5))
    assert not waveform[:8000].any()
    np.testing.assert_array_equal(waveform[8000:], sound)


def test_hole_becomes_silence_so_that_later_sound_keeps_its_time():
    first, second = tone(300, 0.2), tone(500, 0.2)
    waveform = build((first, 0.0), (second, 0.7))
    np.testing.assert_array_equal(waveform[:3200], first)
    assert not waveform[3200:11200].any()
    np.testing.assert_array_equal(waveform[11200:], second)


def test_overlap_is_trimmed_and_the_later_packet_wins():
    first, second, third = tone(300, 0.2), tone(500, 0.2), tone(700, 0.2)
    waveform = build((first, 0.0), (second, 0.2), (third, 0.1))  # takes back all of the second, half of the first
    np.testing.assert_array_equal(waveform, np.concatenate([first[:1600], third]))


def test_small_disagreement_of_timestamps_is_left_alone():
    first, second = tone(300, 0.2), tone(500, 0.2)
    for jitter_s in (-0.05, 0.05):
        waveform = build((first, 0.0), (second, 0.2 + jitter_s))
        np.testing.assert_array_equal(waveform, np.concatenate([first, second]))


def test_sound_before_time_zero_is_kept_whole():
    assert len(build((tone(300, 0.2), -0.1))) == 3200


def test_frames_without_a_timestamp_follow_the_previous_one():
    first, second = tone(300, 0.2), tone(500, 0.2)
    np.testing.assert_array_equal(build((first, 0.0), (second, None)), np.concatenate([first, second]))


@pytest.mark.parametrize("rates", [(16_000, 48_000, 8_000), (48_000, 16_000, 8_000), (8_000, 44_100, 16_000)])
def test_change_of_rate_midway_keeps_pitch_and_time(rates):
    builder = WaveformBuilder()
    for i, rate in enumerate(rates):
        builder.add(frame(tone(400, 0.5, rate=rate), rate), 0.5 * i)
    waveform = builder.finish()
    assert len(waveform) == pytest.approx(1.5 * AUDIO_HZ, abs=80)
    for part in np.split(waveform[:23_700], 3):
        assert strongest_hz(part) == pytest.approx(400, abs=3)
        assert level_dbfs(part) == pytest.approx(level_dbfs(tone(400, 0.5)), abs=0.2)


def test_nothing_added_gives_nothing():
    assert WaveformBuilder().finish() is None


def test_what_is_no_number_becomes_silence_and_too_loud_is_clipped():
    waveform = build((np.array([np.nan, 0.25, 3.0, -3.0], np.float32), None))
    np.testing.assert_array_equal(waveform, np.array([0, 0.25, 1, -1], np.float32))


# ---- channels -------------------------------------------------------------------------------------------------


def test_stereo_of_one_voice_equals_the_mono_recording():
    """No clipping either: the two sides are averaged, not added."""
    voice = tone(300, 0.2, 0.9)
    np.testing.assert_allclose(build((np.stack([voice, voice]), 0.0)), voice, atol=1e-6)


def test_different_sides_are_averaged():
    left, right = tone(300, 0.2), tone(1000, 0.2)
    np.testing.assert_allclose(build((np.stack([left, right]), 0.0)), (left + right) / 2, atol=1e-6)


def test_opposite_phase_is_heard_through_the_louder_side():
    left, right = tone(300, 0.2, 0.5), tone(300, 0.2, -0.49)
    np.testing.assert_array_equal(build((np.stack([left, right]), 0.0)), left)
    np.testing.assert_array_equal(build((np.stack([right, left]), 0.0)), left)


@pytest.mark.parametrize("share, side", [(0.79, "mix"), (0.81, "left")])
def test_the_mix_is_given_up_when_20_db_below_the_louder_side(share, side):
    """left a, right -share * a: the mix is (1 - share) / 2 * a, a tenth of it at share 0.8."""
    left = tone(300, 0.2)
    expected = {"mix": left * (1 - share) / 2, "left": left}[side]
    np.testing.assert_allclose(build((np.stack([left, -share * left]), 0.0)), expected, atol=1e-6)


def test_silent_side_does_not_count_as_opposite_phase():
    left = tone(300, 0.2)
    np.testing.assert_allclose(build((np.stack([left, 0 * left]), 0.0)), left / 2, atol=1e-6)


def test_mono_that_turns_stereo_midway_keeps_level_and_length():
    voice = tone(300, 0.2)
    waveform = build((voice, 0.0), (np.stack([voice, voice]), 0.2))
    np.testing.assert_allclose(waveform, np.concatenate([voice, voice]), atol=1e-6)


# ---- spectra --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1600, 16_000, 16_001, 16_159, 16_160])
def test_a_spectrum_has_one_column_per_hop_and_one_more(samples):
    waveform = tone(440, samples / AUDIO_HZ)
    assert log_mel(waveform).shape == (80, 1 + samples // MEL_HOP)
    assert log_mel(waveform, 40).shape == (40, 1 + samples // MEL_HOP)


@pytest.mark.parametrize("hz", [250, 1000, 3000, 6500])
def test_a_tone_lands_in_its_mel_band(hz):
    """Band i of 80 is centred at mel(20 Hz) + (i + 1) / 81 of the way to mel(7600 Hz), HTK scale."""
    def mel(f: float) -> float:
        return 2595 * np.log10(1 + f / 700)

    expected = (mel(hz) - mel(20)) / (mel(7600) - mel(20)) * 81 - 1
    spectrum = log_mel(tone(hz, 0.5))
    assert spectrum.mean(dim=1).argmax().item() == pytest.approx(expected, abs=1)


def test_silence_lies_on_the_floor_of_the_log_spectrum():
    assert log_mel(np.zeros(3200, np.float32)).unique().tolist() == pytest.approx([np.log(1e-6)])


def test_a_sound_moves_with_its_time_in_the_spectrum():
    click = np.zeros(16_000, np.float32)
    click[8000] = 1.0
    assert log_mel(click).sum(dim=0).argmax().item() == 50  # 8000 samples / 160


# ---- levels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amplitude, expected_dbfs", [(1.0, -3.0103), (0.5, -9.0309), (0.1, -23.0103), (1e-3, -63.01)])
def test_level_of_a_sine_is_its_amplitude_less_3_db(amplitude, expected_dbfs):
    assert level_dbfs(tone(400, 1.0, amplitude)) == pytest.approx(expected_dbfs, abs=0.01)


def test_silence_has_minus_120_dbfs():
    assert level_dbfs(np.zeros(100, np.float32)) == level_dbfs(np.zeros(0, np.float32)) == -120


def test_speech_to_noise_is_the_ratio_of_the_two_levels():
    waveform = np.concatenate([tone(400, 1.0, 0.01), tone(400, 1.0, 0.5), tone(400, 1.0, 0.01)])
    assert speech_to_noise_db(waveform, ((1.0, 2.0),)) == pytest.approx(20 * np.log10(50), abs=0.01)


def test_speech_to_noise_needs_enough_of_both():
    waveform = tone(400, 2.0)
    assert speech_to_noise_db(waveform, ((0.0, 0.29),)) is None  # too little voice
    assert speech_to_noise_db(waveform, ((0.0, 1.75),)) is None  # too little between
    assert speech_to_noise_db(waveform, ()) is None
    assert speech_to_noise_db(waveform, ((0.0, 0.2), (0.5, 0.7))) == pytest.approx(0, abs=0.1)


# ---- voice ----------------------------------------------------------------------------------------------------


def test_a_voice_is_found_in_the_spoken_demo_clip(examples_dir):
    waveform = prepare(examples_dir / "speech_only.ogg").waveform
    spans = find_speech(waveform)
    assert sum(end - start for start, end in spans) > 0.6 * len(waveform) / AUDIO_HZ
    assert all(0 <= start < end <= len(waveform) / AUDIO_HZ for start, end in spans)
    assert all(a[1] < b[0] for a, b in zip(spans, spans[1:]))


def test_spans_are_those_that_silero_finds_piece_by_piece(examples_dir):
    """Its own loop calls the network for each piece in turn; no whole number of pieces, and more than one block."""
    waveform = np.tile(prepare(examples_dir / "speech_only.ogg").waveform, 3)[: 20 * AUDIO_HZ + 123]
    silero_vad, model = sound._voice_model()
    model.reset_states()
    last = np.zeros(-len(waveform) % sound.VOICE_PIECE, np.float32)
    pieces = torch.from_numpy(np.concatenate([waveform, last])).split(sound.VOICE_PIECE)
    with torch.inference_mode():
        one_by_one = [model(piece, AUDIO_HZ).item() for piece in pieces]
    assert len(pieces) > sound._PIECES_AT_ONCE
    np.testing.assert_allclose(sound._voice_probabilities(model._model, waveform), one_by_one, atol=1e-4)
    spans = silero_vad.get_speech_timestamps_from_probs(one_by_one, AUDIO_HZ, audio_length_samples=len(waveform))
    assert find_speech(waveform) == tuple((s["start"] / AUDIO_HZ, s["end"] / AUDIO_HZ) for s in spans)


def test_speech_spans_move_with_the_speech(examples_dir):
    waveform = prepare(examples_dir / "speech_only.ogg").waveform[: 4 * AUDIO_HZ]
    [(straight, *_), (moved, *_)] = (find_speech(np.concatenate([np.zeros(n, np.float32), waveform]))
                                     for n in (0, 3 * AUDIO_HZ))
    assert moved[0] == pytest.approx(straight[0] + 3.0, abs=0.15)


def test_no_voice_is_found_in_silence_or_in_a_hum():
    assert find_speech(np.zeros(2 * AUDIO_HZ, np.float32)) == ()
    assert find_speech(tone(100, 2.0, 0.3)) == ()


def test_finding_speech_leaves_the_number_of_threads_alone():
    """Loading the voice model sets torch's thread count to 1, which would slow every detector down."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        sound._voice_model.cache_clear()
        find_speech(np.zeros(AUDIO_HZ, np.float32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
