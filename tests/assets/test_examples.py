"""The demo clips are what examples.json says, and the forging functions touch only what they name."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction

import av
import numpy as np
import pytest

from assets import make_examples as me

ENTRIES = json.loads((me.EXAMPLES / "examples.json").read_text(encoding="utf-8"))
BY_NAME = {entry["file"]: entry for entry in ENTRIES}
UNALTERED = me.EXAMPLES / "unaltered_face_borrowed_voice.mp4"


def pictures(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(float)


def sound(path):
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])


def decoded_extent(path):
    """Seconds of picture and of sound that really come out; None where there is no such stream."""
    extents = []
    for kind in ("video", "audio"):
        with av.open(str(path)) as container:
            if not getattr(container.streams, kind):
                extents.append(None)
                continue
            frames = list(container.decode(**{kind: 0}))
            last = frames[-1]
            if kind == "video":
                length = 1 / float(container.streams.video[0].average_rate)
            else:
                length = last.samples / last.sample_rate
            extents.append(last.time + length - frames[0].time)
    return extents


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
class TestClip:
    def test_is_small_and_is_the_file_that_was_listed(self, entry):
        data = (me.EXAMPLES / entry["file"]).read_bytes()
        assert len(data) <= 700_000
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]

    def test_decodes_to_the_listed_duration(self, entry):
        lengths = [length for length in decoded_extent(me.EXAMPLES / entry["file"]) if length is not None]
        assert lengths
        for length in lengths:
            assert length == pytest.approx(entry["duration_s"], abs=0.05)
        assert 6 <= entry["duration_s"] <= 10

    def test_planted_spans_lie_inside_the_clip(self, entry):
        picture_s, sound_s = decoded_extent(me.EXAMPLES / entry["file"])
        for modality, length in (("video", picture_s), ("audio", sound_s)):
            for start, end in entry["manipulated"][modality]:
                assert length is not None, f"a planted {modality} span in a clip without it"
                assert 0 <= start < end <= entry["duration_s"]

    def test_says_what_was_done_and_whose_it_is(self, entry):
        assert entry["title"] and entry["what"].endswith(".")
        assert entry["licence"] and entry["sources"]
        for source in entry["sources"]:
            assert all(source[key] for key in ("file", "package", "credit", "licence"))


def test_nothing_is_unlisted_and_all_together_are_small():
    clips = {p.name: p.stat().st_size for p in me.EXAMPLES.iterdir() if p.suffix in {".mp4", ".ogg"}}
    assert set(clips) == set(BY_NAME)
    assert sum(clips.values()) <= 4_000_000


def test_codec_does_not_tell_changed_from_unchanged():
    def options(name):
        with av.open(str(me.EXAMPLES / name)) as container:
            video, audio = container.streams.video[0].codec_context, container.streams.audio[0].codec_context
            return (video.name, video.profile, video.pix_fmt, video.width, video.height, audio.name,
                    audio.sample_rate, audio.layout.name, dict(container.metadata))

    kinds = [options(e["file"]) for e in ENTRIES if e["sources"][0]["file"] == me.WEBCAM.file]
    assert len(kinds) == 4
    assert all(kind == kinds[0] for kind in kinds)


def test_mouth_clip_differs_most_at_the_mouth_and_in_the_span():
    difference = np.abs(pictures(me.EXAMPLES / "mouth_redrawn.mp4") - pictures(UNALTERED))
    [[start, end]] = BY_NAME["mouth_redrawn.mp4"]["manipulated"]["video"]
    times = np.arange(len(difference)) / 25
    inside = (times >= start) & (times < end)
    mouth = np.zeros(difference.shape[1:], bool)
    mouth[180:245, 175:245] = True  # the man hardly moves
    changed = difference[inside][:, mouth].mean()
    assert changed > 5 * difference[~inside][:, mouth].mean()
    assert changed > 5 * difference[inside][:, ~mouth].mean()


def test_face_clip_differs_in_every_frame():
    difference = np.abs(pictures(me.EXAMPLES / "face_blended.mp4") - pictures(UNALTERED))
    face, rest = difference[:, 120:230, 165:250].mean((1, 2)), difference[:, :, 280:].mean((1, 2))
    assert (face > 3 * rest).all()


def test_voice_clip_differs_only_in_the_span():
    difference = sound(me.EXAMPLES / "voice_resynthesised.mp4") - sound(UNALTERED)
    [[start, end]] = BY_NAME["voice_resynthesised.mp4"]["manipulated"]["audio"]
    level = np.sqrt(np.mean(difference[: len(difference) // 800 * 800].reshape(-1, 800) ** 2, 1))
    times = (np.arange(len(level)) + 0.5) * 800 / me.SPEECH_HZ
    inside = (times > start) & (times < end)
    near = (times > start - 0.15) & (times < end + 0.15)  # the encoder's frames overlap the seams
    assert np.median(level[inside]) > 0.02
    assert level[~near].max() < 0.005


class TestForging:
    LANDMARKS = np.array([[26, 24], [38, 24], [32, 31], [27, 37], [37, 37]], np.float32)

    @pytest.fixture
    def frames(self):
        return np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)

    @pytest.fixture
    def landmarks(self):
        return np.repeat(self.LANDMARKS[None], 8, 0)

    def test_masks_are_zero_outside_and_one_in_the_middle(self):
        for mask, middle in ((me.mouth_mask, (38, 32)), (me.face_mask, (31, 32))):
            weights = mask((64, 64), self.LANDMARKS)
            assert weights.min() == 0 and weights.max() == 1 and weights[middle] == 1
            assert weights[[0, -1]].max() == 0 and weights[:, [0, -1]].max() == 0

    @pytest.mark.parametrize("forge, mask", [
        (lambda f, p, s: me.redraw_mouth(f, p, s, later=3), me.mouth_mask),
        (me.blend_face, me.face_mask),
    ], ids=["mouth", "face"])
    def test_pixels_change_only_in_region_and_span(self, frames, landmarks, forge, mask):
        before = frames.copy()
        out = forge(frames, landmarks, range(2, 5))
        assert np.array_equal(frames, before), "the input must stay as it was"
        changed = (out != frames).any(-1)
        assert not changed[[0, 1, 5, 6, 7]].any()
        region = mask((64, 64), self.LANDMARKS) > 0
        assert not changed[2:5][:, ~region].any()
        assert changed[2:5][:, region].mean() > 0.8

    def test_span_frames_are_those_shown_in_the_span(self):
        assert me.span_frames((3.0, 5.5), Fraction(25), 206) == range(75, 138)
        assert me.span_frames((0.0, 99.0), Fraction(24000, 1001), 10) == range(0, 10)

    def test_sound_changes_only_in_the_span_and_keeps_its_level(self):
        t = np.arange(me.SPEECH_HZ * 2) / me.SPEECH_HZ
        buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)).astype(np.float32) * 0.1
        out = me.resynthesise(buzz, me.SPEECH_HZ, (0.5, 1.25))
        changed = np.flatnonzero(out != buzz)
        assert changed[0] >= 8_000 and changed[-1] < 20_000
        assert len(changed) > 0.95 * 12_000
        assert len(out) == len(buzz)
        assert np.std(out[9_000:19_000]) == pytest.approx(np.std(buzz[9_000:19_000]), rel=0.25)
        assert np.array_equal(out, me.resynthesise(buzz, me.SPEECH_HZ, (0.5, 1.25)))

    def test_pattern_moves(self):
        frames = me.moving_pattern(3, 70, 40)
        assert frames.shape == (3, 40, 70, 3) and (frames[0] != frames[1]).any()


def test_material_is_held_to_its_checksums(tmp_path):
    (tmp_path / me.WEBCAM.file).write_bytes(b"something else")
    with pytest.raises(SystemExit, match=me.WEBCAM.file):
        me.gather(tmp_path)


def test_written_clip_reads_back(make_clip):
    frames = me.moving_pattern(10, 64, 48)
    tone = np.sin(np.arange(6400) / 10).astype(np.float32) * 0.3
    picture_s, sound_s = decoded_extent(make_clip(frames, tone))
    assert picture_s == pytest.approx(0.4, abs=0.01)
    assert sound_s == pytest.approx(0.4, abs=0.07)


@pytest.mark.parametrize("suffix", [".mp4", ".ogg"])
def test_same_input_gives_the_same_bytes(make_clip, suffix):
    # Not smaller: below some 100 px x264's macroblock tree takes in stray memory and decides as it finds it.
    frames = me.moving_pattern(5, 160, 120) if suffix == ".mp4" else None
    tone = np.sin(np.arange(6400) / 10).astype(np.float32) * 0.3
    assert make_clip(frames, tone, "a" + suffix).read_bytes() == make_clip(frames, tone, "b" + suffix).read_bytes()
