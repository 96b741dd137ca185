"""Variants of a clip: what they write is measured on the files, and nothing else changes."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from media import AUDIO_HZ, GRID_HZ, ClipInfo, FaceTrack, MediaError, PreparedClip, prepare
from media.crops import Picture
from media.quality import judge_quality
from media.variants import (
    VARIANTS,
    Variant,
    behind_voice,
    excerpt,
    join,
    shift_sound,
    vary,
    why_not,
    write_picture,
    write_sound,
)
from tests.media.corpus import Corpus, ffmpeg

BY_ID = {v.id: v for v in VARIANTS}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return Corpus(tmp_path_factory.mktemp("variants"))


def made_clip(length_s: float = 4.0, face_px: float = 100.0, with_sound: bool = True) -> PreparedClip:
    """A clip whose crops and samples tell their own time: crop k is filled with k, sample i is i / 1e6."""
    count = round(length_s * GRID_HZ)
    box = np.tile(np.array([10, 10, 10 + face_px, 110], np.float32), (count, 1))
    track = FaceTrack(3, np.arange(count) / GRID_HZ, box, np.zeros((count, 5, 2), np.float32),
                      np.ones(count, np.float32))
    faces = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 224, 224, 3))
    lips = faces[:, :96, :96]
    waveform = (np.arange(round(length_s * AUDIO_HZ)) / 1e6).astype(np.float32) if with_sound else None
    speech_s = ((0.5, 1.5), (2.0, 3.9)) if with_sound else ()
    info = ClipInfo("clip.mp4", "0" * 64, 1, "mov", length_s, "h264", 400, 300, 25.0, frames=count, audio_codec="aac",
                    audio_hz=16_000, audio_channels=1, audio_streams=1)
    quality = judge_quality(info, (track,), {3: faces}, waveform, speech_s, 0)
    return PreparedClip(info, (track,), {3: faces}, {3: lips}, waveform, speech_s, quality)


def picture(crf: int = 10, **changes) -> Variant:
    return Variant("x", "Changing the picture", crf=crf, **changes)


def pictures(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def colour(frame: av.VideoFrame) -> np.ndarray:
    return Picture.of(frame).reduced(32)[0].mean(axis=(0, 1))


# ---- pictures -------------------------------------------------------------------------------------------------


def test_half_size_is_half_the_size_and_keeps_every_moment(corpus, tmp_path):
    write_picture(corpus["plain"], tmp_path / "half.mp4", 0.0, 10.0, picture(18, scale=0.5))
    frames = pictures(tmp_path / "half.mp4")
    assert {(f.width, f.height) for f in frames} == {(80, 60)}
    np.testing.assert_allclose([f.time for f in frames], np.arange(30) / 25, atol=1e-4)


def test_a_higher_rate_factor_takes_fewer_bits(talking_clip, tmp_path):
    sizes = []
    for crf in (18, 35):
        target = tmp_path / f"{crf}.mp4"
        write_picture(talking_clip, target, 0.0, 1.0, picture(crf))
        frames = pictures(target)
        assert (frames[0].width, frames[0].height, len(frames)) == (400, 300, 25)
        assert f"crf={crf}.0" in target.read_bytes().decode("latin-1")
        sizes.append(target.stat().st_size)
    assert sizes[1] < 0.4 * sizes[0]


@pytest.mark.parametrize("codec", ["hevc", "vp9"])
def test_other_codecs_keep_size_moments_and_colours(corpus, tmp_path, codec):
    write_picture(corpus["plain"], tmp_path / "copy.mp4", 0.0, 0.5, picture(20, video_codec=codec))
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
        frames = list(container.decode(video=0))
    assert {(f.width, f.height) for f in frames} == {(160, 120)}
    np.testing.assert_allclose([f.time for f in frames], np.arange(13) / 25, atol=1e-4)
    np.testing.assert_allclose(colour(frames[0]), colour(pictures(corpus["plain"])[0]), atol=4)
    assert [p.name for p in tmp_path.iterdir()] == ["copy.mp4"]


def test_fewer_frames_a_second_are_frames_of_the_clip_at_their_own_times(corpus, tmp_path):
    write_picture(corpus["plain"], tmp_path / "slow.mp4", 0.0, 1.0, picture(frame_hz=10.0))
    times_s = [f.time for f in pictures(tmp_path / "slow.mp4")]
    np.testing.assert_allclose(times_s, [0, 0.12, 0.2, 0.32, 0.4, 0.52, 0.6, 0.72, 0.8, 0.92], atol=1e-4)


def test_grain_and_blur_are_as_strong_as_they_say(corpus, tmp_path):
    """What the copy has more than one that was encoded in the same way and not changed."""
    def luma(**changes) -> np.ndarray:
        write_picture(corpus["plain"], tmp_path / "copy.mp4", 0.0, 0.1, picture(0, **changes))
        return np.stack([f.to_ndarray()[:120].astype(float) for f in pictures(tmp_path / "copy.mp4")])

    plain, grainy, soft = luma(), luma(grain=6.0), luma(blur_px=2.0)
    middle = (plain > 40) & (plain < 215)  # nothing is cut off there
    assert (grainy - plain)[middle].std() == pytest.approx(6, rel=0.15)
    assert not np.array_equal(*(grainy - plain)[:2])  # every frame has its own
    assert np.abs(np.diff(soft)).max() < 0.5 * np.abs(np.diff(plain)).max()


def test_a_copy_is_the_same_each_time(tmp_path):
    """Small pictures, on which x264 with all it can do differs in one run of three."""
    source, noise = tmp_path / "noise.mkv", np.random.default_rng(0)
    coarse = noise.integers(0, 255, (14, 14)).astype(np.float32)
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for i in range(50):
            shift = np.float32([[8, 0, 3 * np.sin(i / 5)], [0, 8, 2 * np.cos(i / 7)]])
            moved = cv2.warpAffine(coarse, shift, (96, 96), borderMode=cv2.BORDER_REFLECT)
            moved += noise.normal(0, 4, (96, 96))
            planes = np.concatenate([moved.clip(0, 255).astype(np.uint8), np.full((48, 96), 128, np.uint8)])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, "yuv420p")))
        container.mux(stream.encode())
    copies = set()
    for _ in range(12):
        write_picture(source, tmp_path / "copy.mp4", 0.0, 2.0, picture(23))
        copies.add((tmp_path / "copy.mp4").read_bytes())
    assert len(copies) == 1


def test_a_span_shows_the_frames_of_that_span(tmp_path):
    """Uneven times of pictures whose grey tells which one it is, with a key frame at the start alone."""
    times_ms = [0, 40, 100, 500, 520, 800, 1000, 1040]
    source = tmp_path / "shades.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "g": "100", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for i, time_ms in enumerate(times_ms):
            planes = np.full((96, 64), 128, np.uint8)
            planes[:64] = 20 + 20 * i
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    write_picture(source, tmp_path / "part.mp4", 0.4, 1.0, picture(10))
    with av.open(str(tmp_path / "part.mp4")) as container:
        frames = [(f.time, round((f.to_ndarray(format="gray").mean() * 219 / 255 - 4) / 20))
                  for f in container.decode(video=0)]
        # A clip's clock starts with its first stream: 0 must stay where it was, though the first picture comes later.
        assert min(s.start_time * s.time_base for s in container.streams) == 0
    assert [(round(1000 * t), i) for t, i in frames] == [(100, 3), (120, 4), (400, 5)]


@pytest.mark.parametrize("case, size_px", [
    ("full_range", (160, 120)), ("rgb", (160, 120)), ("ten_bit_h264", (160, 120)), ("rotated_90", (120, 160)),
    ("wide_pixels", (160, 120)), ("odd_dimensions", (160, 120)), ("starts_late", (160, 120)),
])
def test_the_picture_stays_as_a_player_shows_it(corpus, tmp_path, case, size_px):
    with av.open(str(corpus[case])) as container:
        first = next(container.decode(video=0))
        aspect = float(container.streams.video[0].sample_aspect_ratio or 1)
    before = Picture.of(first, aspect).reduced(32)[0].mean(axis=(0, 1))
    write_picture(corpus[case], tmp_path / "copy.mp4", 0.0, 0.5, picture(10))
    frames = pictures(tmp_path / "copy.mp4")
    assert abs(frames[0].width - size_px[0]) <= 2 and abs(frames[0].height - size_px[1]) <= 2
    np.testing.assert_allclose(colour(frames[0]), before, atol=4)
    assert frames[0].time < 0.05


def test_writing_stops_at_its_time_and_says_when_there_is_no_picture(corpus, tmp_path):
    with pytest.raises(TimeoutError):
        write_picture(corpus["plain"], tmp_path / "late.mp4", 0.0, 1.0, picture(35), stop_at=time.monotonic() - 1)
    with pytest.raises(av.FFmpegError):
        write_picture(corpus["plain"], tmp_path / "none.mp4", 50.0, 51.0, picture(35))
    with pytest.raises(MediaError):
        write_picture(corpus["random"], tmp_path / "bad.mp4", 0.0, 1.0, picture(35))


# ---- sound ----------------------------------------------------------------------------------------------------


def test_16_kb_a_second_are_16_and_the_sound_keeps_its_time(examples_dir, tmp_path):
    clip = prepare(examples_dir / "speech_only.ogg")
    write_sound(clip.waveform, tmp_path / "sound.mp4", BY_ID["sound_16k"])
    with av.open(str(tmp_path / "sound.mp4")) as container:
        bits = 8 * sum(packet.size for packet in container.demux(audio=0))
    assert bits / clip.duration_s == pytest.approx(16_000, rel=0.15)
    again = prepare(tmp_path / "sound.mp4").waveform
    part = clip.waveform[16_000:48_000]
    lags = np.correlate(again[16_000 - 800:48_000 + 800], part, "valid")
    assert abs(int(lags.argmax()) - 800) <= 2  # samples
    assert 1e-3 < np.sqrt(np.mean((again[16_000:48_000] - part) ** 2)) / part.std() < 1  # changed, but the same speech


@pytest.mark.parametrize("variant, codec, hz", [
    (Variant("opus", "", sound_kbps=16, sound_codec="opus"), "opus", 48_000),
    (Variant("amr", "", sound_kbps=12.2, sound_codec="amr", sound_hz=8000), "amr_nb", 8000),
    (Variant("phone", "", sound_codec="pcm", sound_hz=8000), "pcm_s16le", 8000),
])
def test_other_codecs_of_sound_keep_its_time(examples_dir, tmp_path, variant, codec, hz):
    clip = prepare(examples_dir / "speech_only.ogg")
    waveform = clip.waveform[:4 * AUDIO_HZ]
    write_sound(waveform, tmp_path / "sound", variant)
    again = prepare(tmp_path / "sound")
    assert (again.info.audio_codec, again.info.audio_hz) == (codec, hz)
    lags = np.correlate(again.waveform[16_000 - 800:48_000 + 800], waveform[16_000:48_000], "valid")
    assert abs(int(lags.argmax()) - 800) <= 0.005 * AUDIO_HZ
    assert abs(again.duration_s - 4) < 0.05


def test_what_is_mixed_in_is_as_loud_as_it_says_and_the_voice_stays():
    """Zero to 4 s hold a steady hum as the voice, half of the time."""
    clip = made_clip()
    voice = np.sin(2 * np.pi * 200 * np.arange(4 * AUDIO_HZ) / AUDIO_HZ).astype(np.float32) * 0.1
    clip = replace(clip, waveform=voice, speech_s=((0.0, 2.0),))
    for behind in ("noise", "music"):
        added = behind_voice(clip, Variant("x", "", snr_db=10.0, behind=behind)) - voice
        assert 10 * np.log10(np.mean(voice**2) / np.mean(added**2)) == pytest.approx(10, abs=0.01)
    loud = behind_voice(replace(clip, waveform=9 * voice), Variant("x", "", snr_db=0.0))
    assert np.abs(loud).max() == pytest.approx(1, abs=1e-6)  # turned down, not cut off
    assert behind_voice(clip, BY_ID["sound_16k"]) is voice


@pytest.mark.parametrize("delay_s, place", [(0.08, 1.08), (-0.08, 0.92)])
def test_later_is_later(delay_s, place):
    clip = made_clip()
    click = np.zeros_like(clip.waveform)
    click[AUDIO_HZ] = 1.0
    moved = shift_sound(replace(clip, waveform=click), delay_s)
    assert moved.waveform.argmax() / AUDIO_HZ == pytest.approx(place) and len(moved.waveform) == len(click)
    assert moved.speech_s[0] == pytest.approx((0.5 + delay_s, 1.5 + delay_s))
    assert moved.speech_s[1][1] == pytest.approx(min(3.9 + delay_s, 4.0))


def test_the_two_shifts_of_the_probe_are_two_frames_in_both_directions():
    assert BY_ID["sound_later"].delay_s == -BY_ID["sound_earlier"].delay_s == 0.08


# ---- clips from clips -----------------------------------------------------------------------------------------


def test_an_excerpt_shows_its_own_moments_from_zero_on():
    part = excerpt(made_clip(), 1.0, 3.0)
    [track] = part.tracks
    assert track.track_id == 3 and part.duration_s == 2.0
    np.testing.assert_array_equal(track.times_s, np.arange(50) / GRID_HZ)
    np.testing.assert_array_equal(part.faces[3][:, 0, 0, 0], np.arange(25, 75))
    np.testing.assert_array_equal(part.lips[3][:, 0, 0, 0], np.arange(25, 75))
    np.testing.assert_allclose(part.waveform, (AUDIO_HZ + np.arange(2 * AUDIO_HZ)) / 1e6, atol=1e-7)
    assert part.speech_s == ((0.0, 0.5), (1.0, 2.0))
    assert "face_coverage" in part.quality.measures and part.quality.measures["duration_s"] == 2.0


def test_a_face_that_is_hardly_in_the_excerpt_is_left_out():
    clip = made_clip()
    rows = slice(0, 30)  # until 1.2 s
    brief = replace(clip.tracks[0], **{name: getattr(clip.tracks[0], name)[rows]
                                       for name in ("times_s", "boxes_px", "landmarks_px", "confidence")})
    part = excerpt(replace(clip, tracks=(brief,)), 1.0, 3.0)
    assert part.tracks == () and part.quality.blocks("video") and not part.quality.blocks("audio")


def test_joined_clips_take_the_picture_of_one_and_the_sound_of_the_other():
    one, other = made_clip(), made_clip(4.5)
    louder = replace(other, waveform=other.waveform * 2, info=replace(other.info, audio_codec="opus"))
    both = join(one, louder)
    assert both.faces is one.faces and both.tracks is one.tracks and both.duration_s == 4.0
    np.testing.assert_array_equal(both.waveform, louder.waveform[:4 * AUDIO_HZ])
    assert both.info.audio_codec == "opus" and both.info.width_px == 400


def test_variants_that_would_tell_nothing_are_not_tried():
    seen = made_clip()
    assert all(why_not(v, seen) is None for v in VARIANTS)
    mute = made_clip(with_sound=False)
    assert {v.id for v in VARIANTS if why_not(v, mute) is None} == {"half_size", "crf_35"}
    assert "sound of this clip" in why_not(BY_ID["sound_later"], mute)
    small = made_clip(face_px=60.0)
    assert "30 pixels wide" in why_not(BY_ID["half_size"], small) and why_not(BY_ID["crf_35"], small) is None
    unseen = excerpt(replace(seen, tracks=(), faces={}, lips={}), 0.0, 4.0)
    assert {v.id for v in VARIANTS if why_not(v, unseen) is None} == {"sound_16k"}


def test_a_variant_changes_one_thing_and_leaves_the_rest_as_it_was(tmp_path, monkeypatch):
    """The picture's variant is prepared from a file; here that file is another made clip without sound."""
    clip, other = made_clip(), made_clip(4.04, face_px=50.0, with_sound=False)
    monkeypatch.setattr("media.variants.write_picture", lambda *_: None)
    monkeypatch.setattr("media.variants._prepare_once", lambda path: other)
    smaller = vary(clip, "clip.mp4", 0.0, BY_ID["half_size"], tmp_path)
    assert smaller.tracks is other.tracks and smaller.duration_s == 4.0
    assert np.shares_memory(smaller.waveform, clip.waveform)
    assert smaller.speech_s == clip.speech_s and not smaller.quality.blocks("audio")
    later = vary(clip, "clip.mp4", 0.0, BY_ID["sound_later"], tmp_path)
    assert later.faces is clip.faces and later.duration_s == clip.duration_s


def test_variants_do_not_stay_in_the_cache(tmp_path):
    from media.prepare import _cache

    before = set(_cache)
    vary(made_clip(), "clip.mp4", 0.0, BY_ID["sound_16k"], tmp_path)
    assert set(_cache) <= before


def test_a_late_picture_is_as_late_in_its_variant(talking_clip, tmp_path):
    late = tmp_path / "late.mkv"
    ffmpeg("-itsoffset", "0.5", "-t", "1.2", "-i", str(talking_clip), "-t", "1.7", "-i", str(talking_clip),
           "-map", "0:v", "-map", "1:a", "-c", "copy", str(late))
    clip = prepare(late)
    smaller = vary(clip, late, 0.0, BY_ID["half_size"], tmp_path)
    assert smaller.tracks[0].times_s[0] == clip.tracks[0].times_s[0] > 0.4
    assert smaller.tracks[0].face_px == pytest.approx(clip.tracks[0].face_px / 2, rel=0.1)
    middle = len(clip.faces[0]) // 2
    np.testing.assert_allclose(smaller.faces[0][middle].mean(axis=(0, 1)), clip.faces[0][middle].mean(axis=(0, 1)),
                               atol=6)
    assert np.shares_memory(smaller.waveform, clip.waveform)
