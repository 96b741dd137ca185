"""The final chain: what it draws, what it writes, and that the truth keeps time with the file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import av
import numpy as np
import pytest

from training.forge.chain import PACKAGES, Chain, add_noise, colour, draw_chain, encode, retime, run_chain
from training.forge.footage import Footage, Span, Truth
from training.forge.read import read_footage

HZ = 16_000
SEEDS = range(60)


def clip(frames: int = 13, fps: float = 12.5, seconds: float = 1.04, flash: int = 6, side: tuple = (48, 64)) -> Footage:
    """A grey gradient that is white in frame `flash`, and a quiet hum with a loud tone from that frame's time on."""
    pictures = np.full((frames, *side, 3), 60, np.uint8)
    pictures += (np.arange(side[1]) // 4 * 2).astype(np.uint8)[None, None, :, None]
    pictures[flash:flash + 1] = 235
    time_s = np.arange(round(seconds * HZ)) / HZ
    sound = 0.01 * np.sin(2 * np.pi * 200 * time_s)
    loud = (time_s >= flash / fps) & (time_s < flash / fps + 0.08)
    sound[loud] = 0.5 * np.sin(2 * np.pi * 1000 * time_s[loud])
    return Footage("c", pictures, np.arange(frames) / fps, sound.astype(np.float32))


def flash_s(footage: Footage) -> float:
    return footage.times_s[footage.frames.mean(axis=(1, 2, 3)).argmax()]


def beep_s(footage: Footage) -> float:
    return np.flatnonzero(np.abs(footage.sound) > 0.15)[0] / HZ


def lead_s(sound: np.ndarray, quiet: float = 0.003) -> float:
    return np.flatnonzero(np.abs(sound) > quiet)[0] / HZ


# ---- the file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container, video, audio", dict.fromkeys(PACKAGES))
def test_the_file_holds_what_was_drawn_and_the_flash_meets_the_beep(container, video, audio, tmp_path):
    chain = Chain(container=container, video_codec=video, audio_codec=audio, audio_kbps=32, preset="ultrafast",
                  audio_hz=48_000 if audio == "opus" else 16_000, short_px=32, head_s=0.16)
    path = tmp_path / f"clip{chain.suffix}"
    forged = Truth("c", (Span(0.48, 0.56, "video"), Span(0.48, 0.56, "audio")))
    truth, times_s = run_chain(chain, clip(), forged, path)
    assert [(s.start_s, s.end_s) for s in truth.spans] == [pytest.approx((0.32, 0.40))] * 2
    with av.open(str(path)) as file:
        names = {s.type: s.codec_context.codec.canonical_name for s in file.streams}
        assert names == {"video": video, "audio": audio}
        assert set(file.format.name.split(",")) & {container, "mp4"}
    again = read_footage(path)
    assert again.frames.shape == (11, 32, 42, 3)  # frames from 0.16 s on; 64 * 32 / 48 is 42.7
    np.testing.assert_allclose(times_s, np.arange(11) / 12.5, atol=1e-9)
    np.testing.assert_allclose(again.times_s, times_s, atol=0.002)
    assert len(again.sound) / HZ == pytest.approx(0.88, abs=0.08)  # coded in whole blocks
    assert flash_s(again) == pytest.approx(0.32, abs=0.002)
    assert beep_s(again) == pytest.approx(0.32, abs=0.01)


def test_a_copy_of_a_copy_keeps_time_and_loses_detail(tmp_path):
    noisy = clip()
    noisy = replace(noisy, frames=np.random.default_rng(0).integers(0, 255, noisy.frames.shape, dtype=np.uint8))
    made = {}
    for earlier in (None, 38):
        path = tmp_path / f"{earlier}.mp4"
        run_chain(Chain(crf=18, preset="ultrafast", earlier_crf=earlier), noisy, Truth("c"), path)
        made[earlier] = read_footage(path)
    assert beep_s(made[38]) == pytest.approx(0.48, abs=0.01)
    assert len(made[38].frames) == len(noisy.frames)
    assert made[38].frames.std() < 0.8 * made[None].frames.std()


def test_quality_is_the_crf_in_every_codec(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    footage = Footage("c", noise, np.arange(5) / 25, None)
    for codec in ("h264", "vp9", "mpeg4", "hevc"):
        sizes = []
        for crf in (18, 38):
            chain = Chain(container="matroska", video_codec=codec, crf=crf, preset="ultrafast")
            with open(tmp_path / "clip.mkv", "wb") as file:
                encode(chain, footage, file)
            sizes.append((tmp_path / "clip.mkv").stat().st_size)
        assert sizes[1] < 0.7 * sizes[0], codec


def test_the_same_chain_writes_the_same_bytes(tmp_path):
    for container, video, audio in (("mp4", "h264", "aac"), ("webm", "vp9", "opus")):
        chain = Chain(container=container, video_codec=video, audio_codec=audio, noise_dbfs=-50.0, noise_seed=3)
        for name in "ab":
            run_chain(chain, clip(5, seconds=0.4, flash=2), Truth("c"), tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("missing", ["frames", "sound"])
def test_a_clip_without_picture_or_sound_stays_without(missing, tmp_path):
    footage = replace(clip(), **{missing: None})
    run_chain(Chain(head_s=0.1), footage, Truth("c"), tmp_path / "clip.mp4")
    again = read_footage(tmp_path / "clip.mp4")
    assert getattr(again, missing) is None
    if missing == "sound":  # the first frame from 0.1 s on is that of 0.16 s: here begins the file's clock
        assert len(again.frames) == 11 and flash_s(again) == pytest.approx(0.48 - 0.16, abs=0.002)


# ---- time -----------------------------------------------------------------------------------------------------


def test_dropped_frames_leave_the_others_at_their_time():
    """25 to 10 Hz: ticks 0, 0.1, ... show frames 0, 2 or 3 (0.08 or 0.12 s), 5, ..."""
    taken, truth = retime(Chain(frame_hz=10.0), clip(25, 25.0, 1.0, flash=5), Truth("c", (Span(0.2, 0.24, "video"),)))
    np.testing.assert_allclose(taken.times_s, np.arange(10) / 10)
    assert flash_s(taken) == pytest.approx(0.2)
    assert truth.spans == (Span(pytest.approx(0.2), pytest.approx(0.3), "video"),)  # the one frame is shown for 0.1 s


def test_frames_at_odd_times_keep_them(tmp_path):
    times_s = np.array([0.0, 0.031, 0.1, 0.14, 0.26, 0.3])
    footage = replace(clip(6, seconds=0.4, flash=2), times_s=times_s)
    for codec, container in (("h264", "mp4"), ("mpeg4", "mp4"), ("vp9", "webm"), ("hevc", "mov")):
        audio = "opus" if container == "webm" else "aac"
        run_chain(Chain(container=container, video_codec=codec, audio_codec=audio), footage, Truth("c"),
                  tmp_path / "clip")
        np.testing.assert_allclose(read_footage(tmp_path / "clip").times_s, times_s, atol=0.001)


def test_a_span_of_the_picture_covers_exactly_the_frames_that_show_it():
    """Frames 3, 4, 5 of 12.5 Hz are forged; half a frame of cutting moves them all by the same time."""
    footage, forged = clip(), Truth("c", (Span(0.24, 0.48, "video"),))
    for chain, expected in ((Chain(), (0.24, 0.48)), (Chain(head_s=0.04), (0.2, 0.44)),
                            (Chain(head_s=0.3), (0.02, 0.18)), (Chain(tail_s=0.7), (0.24, 0.34))):
        spans = retime(chain, footage, forged)[1].spans
        assert [(s.start_s, s.end_s) for s in spans] == [pytest.approx(expected)]


def test_what_is_cut_off_or_silenced_is_no_longer_marked():
    spans = (Span(0.0, 0.2, "video"), Span(0.0, 0.25, "audio"), Span(0.1, 0.5, "sync"))
    truth = retime(Chain(head_s=0.3), clip(), Truth("c", spans))[1]
    assert truth.labels == {"video": 0.0, "audio": 0.0, "sync": 1.0}
    assert truth.spans == (Span(0.0, pytest.approx(0.2), "sync"),)
    truth = retime(Chain(lead_s=0.3), clip(), Truth("c", spans))[1]
    assert [(s.start_s, s.end_s, s.modality) for s in truth.spans] == [
        (pytest.approx(0.3), 0.5, "sync"), (0.0, pytest.approx(0.24), "video")]


def test_the_region_follows_the_frames():
    region = np.zeros((13, 48, 64), np.uint8)
    region[6, 24:, :] = 255
    taken, truth = retime(Chain(head_s=0.16, short_px=24), clip(), Truth("c", (Span(0.48, 0.56, "video"),), region))
    assert truth.region.shape == taken.frames.shape[:3] == (11, 24, 32)
    assert (truth.region[4, 12:] == 255).all() and not truth.region[4, :12].any() and not truth.region[:4].any()
    assert retime(Chain(head_s=0.6), clip(), Truth("c", (Span(0.48, 0.56, "video"),), region))[1].region is None


# ---- look and loudness ----------------------------------------------------------------------------------------


def test_colour_by_hand():
    footage = Footage("c", np.full((1, 2, 2, 3), (50, 100, 200), np.uint8), np.zeros(1), None)
    assert colour(Chain(), footage).frames[0, 0, 0].tolist() == [50, 100, 200]
    assert colour(Chain(gains=(2.0, 1.0, 0.5)), footage).frames[0, 0, 0].tolist() == [100, 100, 100]
    assert colour(Chain(saturation=0.0), footage).frames[0, 0, 0].tolist() == [96] * 3  # .299*50 + .587*100 + .114*200
    assert colour(Chain(gamma=2.0), footage).frames[0, 0, 0].tolist() == [10, 39, 157]  # 50² / 255 and so on


def test_gain_and_noise_are_the_same_samples_in_every_version():
    chain = Chain(gain_db=-6.0206, noise_dbfs=-40.0, noise_tilt=1.0, noise_seed=5)
    real, fake = clip(), replace(clip(), sound=np.zeros_like(clip().sound))
    added = add_noise(chain, fake).sound
    assert 20 * np.log10(added.std()) == pytest.approx(-40, abs=0.1)
    np.testing.assert_allclose(add_noise(chain, real).sound - added, 0.5 * real.sound, atol=1e-5)
    halves = np.abs(np.fft.rfft(added))[1:].reshape(2, -1).mean(axis=1)
    assert halves[0] > 1.4 * halves[1]  # pink


# ---- the draw -------------------------------------------------------------------------------------------------


def test_a_draw_is_within_range_repeatable_and_json():
    footage = clip(50, 25.0, 2.0, side=(480, 640))
    chains = [draw_chain(footage, np.random.default_rng(seed)) for seed in SEEDS]
    assert chains == [draw_chain(footage, np.random.default_rng(seed)) for seed in SEEDS]
    for chain in chains:
        assert Chain(**{**json.loads(json.dumps(asdict(chain))), "gains": chain.gains}) == chain
        assert 18 <= chain.crf <= 38 and 12 <= chain.audio_kbps <= 64
        assert chain.short_px is None or 160 <= chain.short_px <= 400
        assert chain.frame_hz is None or 12.5 <= chain.frame_hz < 25
        assert (chain.container, chain.video_codec, chain.audio_codec) in PACKAGES
    assert 0.2 < np.mean([chain.head_s > 0 for chain in chains]) < 0.8
    assert {chain.video_codec for chain in chains} == {"h264", "vp9", "mpeg4", "hevc"}


def test_a_third_of_the_chains_leave_the_material_almost_as_it_is():
    chains = [draw_chain(clip(50, 25.0, 2.0, side=(480, 640)), np.random.default_rng(seed)) for seed in range(300)]
    mild = [c for c in chains if (c.gamma, c.gain_db, c.short_px, c.frame_hz, c.noise_dbfs) == (1, 0, None, None, None)]
    assert len(mild) / len(chains) == pytest.approx(0.35, abs=0.08)
    assert {c.crf for c in mild} == set(range(20, 28)) and any(c.head_s for c in mild) and any(c.lead_s for c in mild)


def test_a_draw_does_not_enlarge_and_leaves_a_short_clip_whole():
    for seed in SEEDS:
        chain = draw_chain(clip(), np.random.default_rng(seed))
        assert chain.short_px is None and chain.frame_hz is None and chain.head_s < 0.05


def test_filler_is_cut_from_both_ends():
    footage = clip(50, 25.0, 2.0)
    for seed in SEEDS:
        chain = draw_chain(footage, np.random.default_rng(seed), edges_s=(0.5, 0.25))
        assert 0.5 <= chain.head_s <= 0.75 and chain.tail_s == 0.25


def test_200_ms_of_leading_silence_more_or_less_change_no_label_and_no_draw():
    """Genuine and forged differ from 0.9 s on. Whatever silence they start with, both versions of a pair are cut and
    silenced alike, and the forged half is labelled as before."""
    genuine = clip(50, 25.0, 2.0, flash=15)
    genuine = replace(genuine, sound=0.1 * np.sin(2 * np.pi * 300 * np.arange(2 * HZ) / HZ).astype(np.float32))
    labels, leads = [], []
    for silent_s in (0.0, 0.2):
        real = replace(genuine, sound=np.where(np.arange(2 * HZ) < silent_s * HZ, 0, genuine.sound).astype(np.float32))
        fake = replace(real, sound=np.where(np.arange(2 * HZ) < 0.9 * HZ, real.sound, -real.sound).astype(np.float32))
        for seed in SEEDS:
            chain = draw_chain(real, np.random.default_rng(seed))
            assert chain == draw_chain(fake, np.random.default_rng(seed))
            (a, truth_a), (b, truth_b) = (retime(chain, *version) for version in (
                (real, Truth("c")), (fake, Truth("c", (Span(0.9, 2.0, "audio"),)))))
            assert lead_s(a.sound) == lead_s(b.sound) and len(a.sound) == len(b.sound)
            labels.append((truth_a.labels["audio"], truth_b.labels["audio"]))
            leads.append(lead_s(a.sound))
    half = len(SEEDS)
    assert labels[:half] == labels[half:] == [(0.0, 1.0)] * half
    assert np.mean(leads[half:]) > np.mean(leads[:half]) + 0.05  # the silence is really there
