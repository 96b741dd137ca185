"""Forgeries of the sound: each does what it says, where it says, and leaves level, noise floor and length alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from media.sound import level_dbfs
from training.forge import sound as forge_sound
from training.forge.footage import JOIN_S, Footage, Unsuitable, within
from training.forge.sound import (
    COPIES,
    SPOKEN_PER_S,
    STRETCHES,
    choose_text,
    convert_voice,
    copy_synthesise,
    has_world,
    match_spectrum,
    noise_floor,
    paste,
    quiet_moment,
    replace_speech,
    room_tone,
    splice,
    voiced_stretch,
    warp_time,
)

HZ = 16_000
FLOOR = 0.002
VOICE = ((0.3, 1.2), (1.5, 2.7))  # of speech(), 3 s


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def speech(seed: int = 0, f0: float = 160.0) -> np.ndarray:
    """3 s: syllables of a harmonic tone in VOICE, five a second, over a noise floor."""
    time_s = np.arange(3 * HZ) / HZ
    tone = sum(np.sin(2 * np.pi * f0 * k * time_s + k) / k for k in range(1, 16))
    syllables = np.sin(np.pi * 5 * time_s) ** 2
    speaking = sum((time_s >= a) & (time_s < b) for a, b in VOICE)
    return (0.1 * tone * syllables * speaking + FLOOR * rng(seed).normal(size=len(time_s))).astype(np.float32)


@pytest.fixture
def clip(monkeypatch) -> Footage:
    """A voice where VOICE says so, whatever a network would say to harmonic tones."""
    monkeypatch.setattr(forge_sound, "find_speech", lambda sound: VOICE)
    return Footage("c", np.zeros((75, 2, 2, 3), np.uint8), np.arange(75) / 25, speech())


class Robot:
    """An engine that says every text at 16 characters a second, as syllables at another pitch than speech()'s."""

    name, voices, pitches_hz = "robot", ("low", "high"), {"low": 230, "high": 310}

    def say(self, text, voice, rng):
        time_s = np.arange(len(text) * 1000) / HZ
        tone = sum(np.sin(2 * np.pi * self.pitches_hz[voice] * k * time_s) / k for k in range(1, 16))
        return (0.3 * tone * np.sin(np.pi * 4 * time_s) ** 2).astype(np.float32)


def peak_hz(sound: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * HZ / len(sound))


def pitch_hz(sound: np.ndarray) -> float:
    """Of 0.4 s, from the autocorrelation between 60 and 400 Hz."""
    sound = sound[:6400].astype(float)
    spectrum = np.abs(np.fft.rfft(sound, 16384)) ** 2
    lags = np.arange(HZ // 400, HZ // 60)
    return HZ / float(lags[np.fft.irfft(spectrum)[lags].argmax()])


def floor_of(sound: np.ndarray) -> float:
    """Level of what lies outside VOICE."""
    return level_dbfs(np.concatenate([sound[:4000], sound[20200:23000], sound[44200:]]))


# ---- parts ----------------------------------------------------------------------------------------------------


def test_room_tone_has_the_level_of_the_floor_and_no_period():
    tone = room_tone(speech(), 2 * HZ, rng())
    assert tone.shape == (2 * HZ,) and tone.dtype == np.float32
    assert level_dbfs(tone) == pytest.approx(20 * np.log10(FLOOR), abs=1.5)
    again = np.fft.irfft(np.abs(np.fft.rfft(tone, 4 * HZ)) ** 2)
    assert again[800:HZ].max() < 0.35 * again[0]


def test_padding_is_not_the_room_but_a_silent_room_is():
    padded = np.concatenate([np.zeros(HZ, np.float32), speech(), np.zeros(HZ, np.float32)])
    assert noise_floor(padded).min() >= HZ - 1
    assert level_dbfs(room_tone(padded, HZ, rng())) > -60
    gated = speech()
    gated[HZ:2 * HZ] = 0
    assert not room_tone(gated, HZ, rng()).any()


def test_silence_to_the_last_bit_stays_so_where_it_was(clip):
    gated = clip.sound.copy()
    gated[20_000:22_000], gated[47_000:], gated[5000:5100] = 0, 0, 0  # 100 samples are too few to be a gate
    assert forge_sound.digital_silence(gated).tolist() == [[20_000, 22_000], [47_000, 48_000]]
    forged = copy_synthesise("griffin_lim")(replace(clip, sound=gated), rng())[0].sound
    assert not forged[20_000:22_000].any() and not forged[47_000:].any() and forged[5000:5100].any()


def test_steps_are_json(clip):
    for forgery in (copy_synthesise("mel"), convert_voice("resample"), splice, replace_speech(Robot(), TEXTS)):
        steps = forgery(clip, rng())[1].steps
        assert json.loads(json.dumps(steps)) == [list(step) for step in steps]


def test_paste_fades_within_the_piece():
    sound, piece = np.zeros(3000, np.float32), np.ones(1000, np.float32)
    out = paste(sound, piece, 500)
    join = round(JOIN_S * HZ)
    assert not out[:500].any() and not out[1500:].any() and not sound.any()
    assert out[500] == pytest.approx(1 / join) and out[500 + join // 2 - 1] == pytest.approx(0.5)
    assert (out[500 + join:1500 - join] == 1).all() and out[1499] == pytest.approx(1 / join)


def test_an_edge_moves_to_the_gap_between_words():
    sound = np.ones(HZ, np.float32)
    sound[8500:8700] = 0
    assert quiet_moment(sound, 8000) == pytest.approx(8600, abs=25)
    assert quiet_moment(sound, 10) >= 0 and quiet_moment(sound, HZ - 10) < HZ


def test_a_stretch_lies_within_speech():
    sound = speech()
    for seed in range(30):
        start, end = voiced_stretch(sound, VOICE, rng(seed))
        assert any(a - 0.07 <= start / HZ and end / HZ <= b + 0.07 for a, b in VOICE)
        assert 0.15 <= (end - start) / HZ <= 1.4
    with pytest.raises(Unsuitable, match="at a time"):
        voiced_stretch(sound, VOICE, rng(), (1.3, 2.0))


@pytest.mark.parametrize("method", STRETCHES)
@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_another_pace_keeps_the_pitch_and_moves_the_moments(method, rate):
    """400 Hz until 1 s, then 700 Hz: at 0.8 times the pace the change is heard at 1.25 s, at 1.25 times at 0.8 s."""
    time_s = np.arange(2 * HZ) / HZ
    sound = np.where(time_s < 1, np.sin(2 * np.pi * 400 * time_s), np.sin(2 * np.pi * 700 * time_s)).astype(np.float32)
    out = warp_time(sound, np.arange(round(2 * HZ / rate)) * rate, method)
    change = round(HZ / rate)
    assert len(out) == round(2 * HZ / rate)
    assert peak_hz(out[1000:change - 1000]) == pytest.approx(400, abs=4)
    assert peak_hz(out[change + 1000:-1000]) == pytest.approx(700, abs=4)
    assert level_dbfs(out[1000:-1000]) == pytest.approx(level_dbfs(sound), abs=1)


@pytest.mark.parametrize("method", STRETCHES)
def test_the_same_pace_is_the_same_sound(method):
    out = warp_time(speech(), np.arange(3 * HZ), method)
    assert np.corrcoef(out[500:-500], speech()[500:-500])[0, 1] > 0.99


# ---- resynthesis ----------------------------------------------------------------------------------------------


def needs_world(method: str):
    return pytest.param(method, marks=pytest.mark.skipif(
        method == "world" and not has_world(), reason="WORLD (pyworld-prebuilt) is not installed"))


RESYNTHESES = [pytest.param(copy_synthesise(m), marks=needs_world(m).marks, id=f"copy {m}") for m in COPIES]
RESYNTHESES += [pytest.param(convert_voice(m), marks=needs_world(m).marks, id=f"convert {m}")
                for m in ("world", "resample")]


@pytest.mark.parametrize("forgery", RESYNTHESES)
def test_resynthesis_keeps_length_level_and_floor_and_nothing_of_the_waveform(clip, forgery):
    forged, truth = forgery(clip, rng(3))
    assert forged.sound.shape == clip.sound.shape and forged.sound.dtype == np.float32
    np.testing.assert_array_equal(clip.sound, speech())
    inside = slice(24_000, 43_200)
    assert level_dbfs(forged.sound[inside]) == pytest.approx(level_dbfs(clip.sound[inside]), abs=1.5)
    assert floor_of(forged.sound) == pytest.approx(floor_of(clip.sound), abs=3)
    assert abs(np.corrcoef(forged.sound[inside], clip.sound[inside])[0, 1]) < 0.95
    assert [(s.start_s, s.end_s, s.modality) for s in truth.spans] == [(0.0, 3.0, "audio")]
    assert forged.frames is clip.frames and truth.pair == "c"
    assert forgery(clip, rng(3))[0].sound.tobytes() == forged.sound.tobytes()


@pytest.mark.parametrize("method", [needs_world("world"), "resample"])
def test_a_converted_voice_has_the_pitch_that_was_drawn(clip, method):
    forged, truth = convert_voice(method)(clip, rng(1))
    drawn = truth.steps[0][1]["pitch"]
    assert abs(np.log2(drawn)) > 1 / 13
    assert pitch_hz(forged.sound[24_600:]) == pytest.approx(160 * drawn, rel=0.04)


@pytest.mark.parametrize("method", [needs_world("world"), "griffin_lim", "mel"])
def test_a_copy_has_the_pitch_of_the_original(clip, method):
    assert pitch_hz(copy_synthesise(method)(clip, rng())[0].sound[24_600:]) == pytest.approx(160, rel=0.03)


def test_a_copy_within_a_span_leaves_the_rest_as_it_was(clip):
    forged, truth = within(copy_synthesise("griffin_lim"), 0.5, 1.0)(clip, rng())
    assert (forged.sound[:8000] == clip.sound[:8000]).all() and (forged.sound[16_000:] == clip.sound[16_000:]).all()
    assert np.abs(forged.sound[9000:15_000] - clip.sound[9000:15_000]).max() > 0.02
    assert [(s.start_s, s.end_s, s.modality) for s in truth.spans] == [(0.5, 1.0, "audio")]


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(ValueError, match="world, griffin_lim, mel"):
        copy_synthesise("magic")


# ---- other words ----------------------------------------------------------------------------------------------

TEXTS = ["a" * 8, "b" * 16, "c" * 24]


def test_replaced_speech_covers_what_was_spoken_and_nothing_else(clip):
    """The pause of 0.3 s joins both spans; 80 ms around them are taken too."""
    forged, truth = replace_speech(Robot(), TEXTS)(clip, rng())
    assert [(s.start_s, s.end_s, s.modality) for s in truth.spans] == [
        (pytest.approx(0.22), pytest.approx(2.78), "audio"), (pytest.approx(0.22), pytest.approx(2.78), "sync")]
    first, last = round(0.22 * HZ), round(2.78 * HZ)
    assert (forged.sound[:first] == clip.sound[:first]).all() and (forged.sound[last:] == clip.sound[last:]).all()
    _, drawn = truth.steps[0]
    assert truth.identities == (f"robot:{drawn['voice']}",)
    assert pitch_hz(forged.sound[round(0.4 * HZ):]) == pytest.approx(Robot.pitches_hz[drawn["voice"]], rel=0.03)
    onset, length = first + 800, min(len(" ".join(drawn["text"])) * 1000, last - first - 800)
    assert level_dbfs(forged.sound[onset:onset + length]) == pytest.approx(level_dbfs(clip.sound[first:last]), abs=1)
    assert replace_speech(Robot(), TEXTS)(clip, rng())[0].sound.tobytes() == forged.sound.tobytes()


def test_a_replaced_phrase_is_one_stretch_of_the_speech(clip):
    for seed in range(8):
        forged, truth = replace_speech(Robot(), TEXTS, partial=True)(clip, rng(seed))
        changed = np.flatnonzero(forged.sound != clip.sound) / HZ
        audio = truth.spans[0]
        assert audio.start_s <= changed[0] and changed[-1] < audio.end_s
        assert changed[-1] - changed[0] > 0.95 * (audio.end_s - audio.start_s) and audio.end_s - audio.start_s < 1.4
        assert np.abs(forged.sound).max() <= 1 and not (forged.sound[round(audio.start_s * HZ) + 2:][:4000] == 0).all()


def test_without_a_picture_there_is_nothing_to_be_out_of_sync(clip):
    deaf = replace(clip, frames=None, times_s=None)
    assert {s.modality for s in replace_speech(Robot(), TEXTS)(deaf, rng())[1].spans} == {"audio"}


def test_a_text_takes_about_as_long_as_there_is_room():
    texts = ["x" * length for length in range(4, 60)]
    for length_s in (0.5, 1.0, 4.0, 9.0):
        lengths = [len(choose_text(texts, length_s, rng(seed))) / SPOKEN_PER_S for seed in range(20)]
        assert np.abs(np.array(lengths) - length_s).max() < 0.8
    assert len(choose_text(TEXTS, 60.0, rng())) / SPOKEN_PER_S < 13


def test_speech_takes_the_band_of_the_recording():
    """The recording ends at 3.4 kHz: 30 dB less above it, next to nothing changed below."""
    noise = rng().normal(size=2 * HZ)
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / HZ) > 3400] = 0
    shaped = np.fft.rfft(match_spectrum(noise[:HZ].astype(np.float32), np.fft.irfft(spectrum).astype(np.float32)))
    power = 10 * np.log10([np.mean(np.abs(shaped[a:b]) ** 2) for a, b in ((500, 3000), (5000, 7500))])
    plain = 10 * np.log10(np.mean(np.abs(np.fft.rfft(noise[:HZ])) ** 2))
    assert power[0] == pytest.approx(plain, abs=1.5) and power[1] < plain - 25


def test_a_splice_is_what_the_same_person_said_elsewhere(clip):
    for seed in range(8):
        forged, truth = splice(clip, rng(seed))
        drawn = truth.steps[0][1]
        start, length, taken = (round(drawn[k] * HZ) for k in ("to_s", "length_s", "from_s"))
        end = start + length
        assert abs(start - taken) >= length
        assert [(round(s.start_s * HZ), round(s.end_s * HZ), s.modality) for s in truth.spans] == [
            (start, end, "audio"), (start, end, "sync")]
        assert (forged.sound[:start] == clip.sound[:start]).all() and (forged.sound[end:] == clip.sound[end:]).all()
        piece = clip.sound[taken + 330:taken + length - 330] * 10 ** (drawn["gain_db"] / 20)
        np.testing.assert_allclose(forged.sound[start + 330:end - 330], piece, atol=1e-3)


# ---- what cannot be done --------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgery", [copy_synthesise("mel"), convert_voice("resample"), splice,
                                     replace_speech(Robot(), TEXTS)])
def test_a_clip_without_sound_or_voice_is_unsuitable(clip, forgery, monkeypatch):
    with pytest.raises(Unsuitable, match="no sound"):
        forgery(replace(clip, sound=None), rng())
    monkeypatch.setattr(forge_sound, "find_speech", lambda sound: ((0.5, 0.7),))
    with pytest.raises(Unsuitable, match="voice"):
        forgery(clip, rng())


def test_a_splice_needs_two_moments(clip, monkeypatch):
    monkeypatch.setattr(forge_sound, "find_speech", lambda sound: ((0.3, 0.8),))
    with pytest.raises(Unsuitable, match="nothing else"):
        splice(clip, rng())
