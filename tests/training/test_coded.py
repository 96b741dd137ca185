"""Coded copies hold the sound of what was prepared, through a codec that tells nothing about the class."""

from __future__ import annotations

import numpy as np
import pytest

from training import coded
from training.coded import CODECS, code_sample, draw_codec, main, through
from training.sampling import read_samples
from training.shards import read_command, read_index, read_tensors


def noise(seconds: float = 1.0) -> np.ndarray:
    """White: it has everything that a codec could leave out."""
    return (0.1 * np.random.default_rng(0).standard_normal(round(16_000 * seconds))).astype(np.float32)


def share_above(waveform: np.ndarray, hz: float) -> float:
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float(power[round(hz * len(waveform) / 16_000):].sum() / power.sum())


def test_all_codecs_are_drawn_and_their_rates_lie_where_they_may():
    drawn = [draw_codec(np.random.default_rng(seed)) for seed in range(200)]
    assert {d.sound_codec for d in drawn} == {codec.name for codec in CODECS}
    rates = {codec.name: codec.kbps for codec in CODECS}
    assert all(rates[d.sound_codec][0] <= d.sound_kbps <= rates[d.sound_codec][1] for d in drawn if d.sound_kbps)
    assert {d.sound_hz for d in drawn if d.sound_codec in ("amr", "mulaw", "pcm")} == {8_000}


@pytest.mark.parametrize("name", [codec.name for codec in CODECS])
def test_a_codec_leaves_its_marks_on_a_sound_of_the_same_length(name):
    codec = next(d for seed in range(200) if (d := draw_codec(np.random.default_rng(seed))).sound_codec == name)
    sound = noise()
    heard = through(codec, sound)
    assert heard.shape == sound.shape and heard.dtype == np.float32
    assert not np.allclose(heard, sound, atol=1e-3) and 0.3 < heard.std() / sound.std() < 1.5
    if codec.sound_hz == 8_000:
        assert share_above(heard, 4_400) < 0.01 < share_above(sound, 4_400)


def line(**changes) -> dict:
    return {"key": "k-0", "shard": "s.tar", "offset": 0, "bytes": 1, "pair": "p", "group": "g", "duration_s": 1.0,
            "faces": 25, "video_fake": 1.0, "audio_fake": 0.0, "sync_fake": 0.0, "blocks": [], "samples": 16_000,
            "spans": [["video", 0.0, 1.0], ["audio", 0.2, 0.4]], "speech_s": 1.0, "facts": {"fps": 25.0}, **changes}


def test_a_copy_has_the_sound_s_labels_and_no_picture():
    packed = code_sample(line(), {"waveform": (noise() * 32767).astype(np.int16), "times_s": np.arange(25)}, seed=0)
    told = packed.line
    assert told["audio_fake"] == 0.0 and told["video_fake"] is told["sync_fake"] is None and told["faces"] == 0
    assert told["spans"] == [["audio", 0.2, 0.4]] and told["blocks"] == ["video"] and told["coded"]
    assert "fps" not in told["facts"] and "band_0_200_db" in told["facts"] and "offset" not in told
    assert set(packed.tensors) == {"waveform"} and packed.tensors["waveform"].dtype == np.int16


def test_a_fake_and_what_it_is_compared_with_go_through_one_codec():
    tensors = {"waveform": (noise(0.3) * 32767).astype(np.int16)}
    pair = [code_sample(line(key=key, group=key, audio_fake=fake), tensors, seed=0).line["coded"]
            for key, fake in (("a", 0.0), ("b", 1.0))]
    assert pair[0] == pair[1]
    others = {code_sample(line(pair="", group=str(n)), tensors, seed=0).line["coded"] for n in range(8)}
    assert len(others) > 4


def test_the_command_codes_what_has_a_known_voice_and_goes_on_where_it_stopped(write_samples, tmp_path, monkeypatch):
    monkeypatch.setattr(coded, "LEAST_SPEECH_S", 0.1)
    shards = write_samples({"duration_s": 0.5, "faces": 0, "audio_fake": 1.0},
                           {"duration_s": 0.5, "faces": 0, "audio_fake": None},
                           {"duration_s": 0.5, "samples": 0, "side_px": 48}, {"skipped": "no face", "duration_s": 0.0})
    out = tmp_path / "coded"
    for _ in range(2):
        assert main([str(shards), "--out", str(out), "--jobs", "1"]) == 0
    [told] = read_index(out)
    [sample] = read_samples(out)
    assert sample.coded == told["coded"] and sample.audio_fake == 1.0 and not sample.shows_face
    assert len(read_tensors(out, told["shard"], told["offset"], told["bytes"])["waveform"]) == told["samples"]
    assert "training.coded" in read_command(out)


def test_the_shards_are_not_written_over(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--out", str(tmp_path)])
    assert "another folder" in capsys.readouterr().err
