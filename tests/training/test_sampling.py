"""Prepared samples: the same windows as the app's, cut where they are wanted, of clips drawn evenly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from detectors.contract import InputSpec
from detectors.windows import cut_windows
from media import FACE_PX, LIPS_PX, ClipInfo, FaceTrack, Finding, PreparedClip, Quality, Reason
from training.datasets import Record
from training.forge.footage import Truth
from training.prepare import _line, _pack
from training.sampling import (
    Counterparts,
    Pool,
    Sample,
    cut_evenly,
    cut_window,
    draw_start,
    load_noises,
    read_samples,
    read_training_samples,
    split_fold,
    window_scores,
)
from training.shards import write_shard

SPEC = InputSpec(window_s=1.0, hop_s=0.5, frames=4, face_px=32, audio_hz=16_000, modalities=("video", "audio"))
LONG = InputSpec(window_s=2.0, hop_s=1.0, frames=5, face_px=64, audio_hz=16_000, modalities=("video", "audio"),
                 lips=10, lips_px=48, stretch=False, least_face_share=0.2)


# ---- the clip as the app sees it --------------------------------------------------------------------------------


@pytest.fixture
def make_clip():
    """A clip of 3.2 s with a gap in its face, smooth pictures (JPEG keeps them), and two stretches of voice."""

    def make(*blocked: str, duration_s: float = 3.2) -> PreparedClip:
        rng = np.random.default_rng(0)
        times_s = np.delete(np.arange(round(duration_s * 25)) / 25, slice(20, 27))
        count = len(times_s)
        ramp = np.linspace(0, 200, FACE_PX)[None, :, None, None] + np.linspace(0, 40, FACE_PX)[None, None, :, None]
        faces = (ramp * rng.uniform(0.2, 1, (count, 1, 1, 3))).astype(np.uint8)
        track = FaceTrack(0, times_s, np.zeros((count, 4), np.float32), np.zeros((count, 5, 2), np.float32),
                          np.ones(count, np.float32))
        sound = rng.uniform(-0.5, 0.5, round(duration_s * 16_000)).astype(np.float32)
        findings = tuple(Finding(Reason.TOO_NOISY, "", "", frozenset({name})) for name in blocked)
        return PreparedClip(
            ClipInfo("a.mp4", "", 0, "mp4", duration_s), (track,), {0: faces}, {0: faces[:, :LIPS_PX, :LIPS_PX]}, sound,
            ((0.1, 0.9), (2.4, 2.8)), Quality(findings, {"speech_s": 1.2}))

    return make


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """packed(clip) -> the Sample that training.prepare writes of it."""
    monkeypatch.setattr("training.prepare.clip_facts", lambda clip: {})

    def pack(clip: PreparedClip) -> Sample:
        record = Record(file="a.mp4", dataset="x", split="train", video_fake=0.0, audio_fake=nan)
        write_shard(tmp_path / "x-000000.tar", [_pack(clip, _line(record, 0), Truth("a.mp4"), None)])
        [sample] = read_samples(tmp_path)
        return sample

    return pack


@pytest.mark.parametrize("spec", [SPEC, LONG, replace(LONG, window_s=5.0), replace(SPEC, window_s=5.0)],
                         ids=["stretch", "pad", "longer than the clip", "longer, stretched"])
@pytest.mark.parametrize("blocked", [(), ("video",), ("audio",)])
def test_windows_of_a_sample_are_the_apps(make_clip, packed, spec, blocked):
    clip = make_clip(*blocked)
    [theirs], [ours] = cut_windows(clip, spec), cut_windows(packed(clip).clip(), spec)
    assert ours.track_id == theirs.track_id
    for name in ("start_s", "end_s", "has_face", "has_audio", "face_seen", "lips_seen"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert ("video" in blocked) or theirs.has_face.any()
    for name, tolerance in (("faces", 4), ("lips", 4), ("audio", 1 / 32767)):  # JPEG; 16 bits
        if getattr(theirs, name) is None:
            assert getattr(ours, name) is None
        else:
            difference = np.abs(getattr(ours, name).astype(float) - getattr(theirs, name))
            assert difference.max() <= tolerance, name
    if theirs.faces is not None:
        assert not ours.faces[~theirs.has_face].any()


def test_some_windows_are_spread_evenly(make_clip, packed):
    sample = packed(make_clip(duration_s=6.0))  # windows start at 0, 0.5, ... 5 s
    assert cut_evenly(sample, SPEC).start_s.tolist() == np.arange(0, 5.1, 0.5).tolist()
    assert cut_evenly(sample, SPEC, 2).start_s.tolist() == [1.0, 3.5]
    assert cut_evenly(sample, SPEC, 1).start_s.tolist() == [2.5]


def test_crops_are_decoded_when_asked_for(packed, make_clip):
    crops = packed(make_clip()).clip().faces[0]
    assert len(crops) == 73 and crops[0].shape == (FACE_PX, FACE_PX, 3) and not np.array_equal(crops[0], crops[72])
    with pytest.raises(IndexError):
        crops[73]


# ---- reading ----------------------------------------------------------------------------------------------------


def test_skipped_clips_are_left_out(write_samples):
    folder = write_samples({}, {"skipped": "The file is empty (0 bytes)."}, {})
    samples = read_samples(folder)
    assert [s.file for s in samples] == ["0.mp4", "2.mp4"]
    assert all(s.tensors().keys() >= {"times_s", "waveform"} for s in samples)
    assert read_samples(folder, folder) == samples + samples


def test_what_is_learnt_from_is_the_training_split(write_samples):
    folder = write_samples({"split": "val"}, {"split": "train"})
    assert [s.file for s in read_training_samples(folder)] == ["1.mp4"]


def test_labels_and_spans_are_read(write_samples):
    [sample] = read_samples(write_samples({
        "video_fake": 1.0, "audio_fake": nan, "sync_fake": 1.0, "spans": [["video", 0.5, None], ["sync", 0.0, 1.0]],
        "forged": "shifted_sound", "voice_s": [[0.0, 0.4], [1.0, 2.0]], "blocks": ["audio"]}))
    assert (sample.video_fake, sample.sync_fake) == (1.0, 1.0) and np.isnan(sample.audio_fake)
    assert sample.spans == (("video", 0.5, inf), ("sync", 0.0, 1.0)) and sample.forged == "shifted_sound"
    assert sample.voice_s == ((0.0, 0.4), (1.0, 2.0)) and sample.blocks == ("audio",)


@pytest.mark.parametrize("changes, picture, sound", [
    ({}, True, True),
    ({"faces": 37}, False, True), ({"faces": 38}, True, True),  # one and a half seconds at 25 a second: 37.5
    ({"speech_s": 0.49}, True, False), ({"speech_s": 0.5}, True, True), ({"samples": 0}, True, False),
    ({"video_fake": nan}, False, True), ({"audio_fake": nan}, True, False),
    ({"blocks": ["video"]}, False, True), ({"blocks": ["audio"]}, True, False),
])
def test_a_sample_serves_for_what_it_holds_and_is_labelled_for(write_samples, changes, picture, sound):
    [sample] = read_samples(write_samples(changes))
    assert (sample.has_picture, sample.has_sound) == (picture, sound)


def test_no_folder_of_noises_is_no_noises():
    assert load_noises(None) == []


# ---- windows ----------------------------------------------------------------------------------------------------


def test_a_window_starts_anywhere_in_the_clip(write_samples):
    [sample] = read_samples(write_samples({"duration_s": 4.0, "faces": 0, "samples": 0}))
    rng = np.random.default_rng(0)
    starts = np.array([draw_start(sample, 1.0, rng) for _ in range(400)])
    assert starts.min() >= 0 and starts.max() <= 3.0
    assert np.abs(np.quantile(starts, [0.25, 0.5, 0.75]) - [0.75, 1.5, 2.25]).max() < 0.25
    assert draw_start(sample, 9.0, rng) == 0


def test_a_window_holds_a_moment_that_is_fake_in_proportion_to_the_spans(write_samples):
    """Spans of 1 s and 0.25 s: four of five moments lie in the first."""
    [sample] = read_samples(write_samples({
        "duration_s": 12.0, "faces": 0, "samples": 0, "video_fake": 1.0,
        "spans": [["video", 2.0, 3.0], ["audio", 5.0, 6.0], ["video", 9.0, 9.25]]}))
    rng = np.random.default_rng(0)
    starts = np.array([draw_start(sample, 0.5, rng, "video") for _ in range(500)])
    first, second = (starts < 3.0) & (starts + 0.5 > 2.0), (starts < 9.25) & (starts + 0.5 > 9.0)
    assert (first | second).all() and first.mean() == pytest.approx(0.8, abs=0.06)


def test_a_span_at_the_end_of_the_clip_does_not_push_the_window_out_of_it(write_samples):
    [sample] = read_samples(write_samples({"duration_s": 4.0, "faces": 0, "samples": 0, "video_fake": 1.0,
                                           "spans": [["video", 3.5, None]]}))
    rng = np.random.default_rng(0)
    starts = [draw_start(sample, 1.0, rng, "video") for _ in range(50)]
    assert min(starts) > 2.5 - 1e-9 and max(starts) == 3.0


def test_the_first_window_with_everything_is_taken(make_clip, packed):
    """The face is gone from 0.8 s to 1.08 s; there is voice from 0.1 to 0.9 s and from 2.4 to 2.8 s."""
    sample = packed(make_clip())
    both = cut_window(sample, SPEC, [1.2, 2.0, 2.2])
    assert both.start_s.tolist() == [2.0] and both.faces.shape == (1, 4, 32, 32, 3) and both.has_audio.all()
    picture = cut_window(sample, replace(SPEC, modalities=("video",)), [1.2])
    assert picture.start_s.tolist() == [1.2] and picture.audio is None
    assert cut_window(sample, SPEC, [1.2]) is None and cut_window(sample, SPEC, []) is None


# ---- who is drawn -----------------------------------------------------------------------------------------------


def drawn(pool: Pool, times: int = 600) -> Counter:
    rng = np.random.default_rng(0)
    return Counter(pool.draw(rng).key for _ in range(times))


def test_a_large_source_weighs_by_the_square_root_of_its_size(write_samples):
    """16 clips of one page against 1 of another: four to one, not sixteen to one."""
    lines = [{"source": "large", "faces": 0, "samples": 0}] * 16 + [{"source": "small", "faces": 0, "samples": 0}]
    samples = read_samples(write_samples(*lines))
    counts = drawn(Pool(samples), 2000)
    assert (2000 - counts[samples[-1].key]) / counts[samples[-1].key] == pytest.approx(4, rel=0.25)


def test_versions_of_one_clip_weigh_together_as_one(write_samples):
    """Three forgeries of one clip and one of another, of one source: half and half."""
    bare = {"faces": 0, "samples": 0}
    samples = read_samples(write_samples(*[{**bare, "group": "a"}] * 3, {**bare, "group": "b"}))
    assert drawn(Pool(samples))[samples[3].key] / 600 == pytest.approx(0.5, abs=0.07)


def test_an_empty_pool_is_false_and_refuses_to_draw():
    pool = Pool([])
    assert not pool
    with pytest.raises(ValueError, match="no sample"):
        pool.draw(np.random.default_rng(0))


def test_a_fake_is_compared_with_its_own_group_before_its_pair(write_samples):
    bare = {"faces": 0, "samples": 0}
    same, pair, other, forged, published, alone = read_samples(write_samples(
        {**bare, "group": "a", "pair": "p"}, {**bare, "group": "b", "pair": "p"}, {**bare, "group": "c"},
        {**bare, "group": "a", "pair": "p"}, {**bare, "group": "f", "pair": "p"}, {**bare, "group": "g"}))
    counterparts, rng = Counterparts([same, pair, other]), np.random.default_rng(0)
    assert {counterparts.draw(forged, rng).key for _ in range(20)} == {same.key}
    assert {counterparts.draw(published, rng).key for _ in range(20)} == {same.key, pair.key}
    assert {counterparts.draw(alone, rng).key for _ in range(50)} == {same.key, pair.key, other.key}
    assert same.shares_chain(forged) and not same.shares_chain(pair)


def test_the_same_clip_in_another_folder_went_through_another_chain(write_samples, tmp_path):
    bare = {"faces": 0, "samples": 0, "group": "a", "pair": "p"}
    here, forged = read_samples(write_samples(bare, bare))
    elsewhere = replace(here, folder=tmp_path / "elsewhere")
    assert not elsewhere.shares_chain(forged)
    rng = np.random.default_rng(0)
    assert {Counterparts([elsewhere, here]).draw(forged, rng) for _ in range(20)} == {here}
    stranger = replace(here, group="b", pair="q")
    assert {Counterparts([elsewhere, stranger]).draw(forged, rng) for _ in range(20)} == {elsewhere}


def test_a_fake_without_its_original_is_compared_within_its_folder(write_samples, tmp_path):
    """Two folders are two preparations, and what one of them does to its clips must not tell its fakes."""
    bare = {"faces": 0, "samples": 0}
    here, fake = read_samples(write_samples({**bare, "group": "a"}, {**bare, "group": "b"}))
    elsewhere = replace(here, folder=tmp_path / "elsewhere")
    rng = np.random.default_rng(0)
    assert {Counterparts([elsewhere, here]).draw(fake, rng) for _ in range(20)} == {here}
    assert Counterparts([elsewhere]).draw(fake, rng) == elsewhere
    with pytest.raises(ValueError, match="no sample"):
        Counterparts([]).draw(fake, rng)


# ---- folds and scores -------------------------------------------------------------------------------------------


def test_every_source_is_held_out_once_and_never_learnt_from_at_the_same_time(write_samples):
    samples = read_samples(write_samples(*({"source": name, "faces": 0, "samples": 0} for name in "aabbccddee")))
    held = []
    for fold in range(3):
        learn, out = split_fold(samples, 3, fold, seed=1)
        assert not {s.source for s in learn} & {s.source for s in out} and len(learn) + len(out) == 10
        assert (learn, out) == split_fold(samples, 3, fold, seed=1)
        held += out
    assert sorted(s.key for s in held) == sorted(s.key for s in samples)
    assert split_fold(samples, 3, None, seed=1) == (samples, [])
    with pytest.raises(ValueError, match="folds 0 to 2; there is no fold 3"):
        split_fold(samples, 3, 3, seed=1)


def test_samples_that_cannot_be_judged_are_not_scored(write_samples):
    class Detector:
        spec = SPEC

        def score(self, windows):
            return windows

    mute, whole, empty = read_samples(write_samples(
        {"samples": 0, "speech_s": 0.0}, {}, {"faces": 0, "voice_s": [], "blocks": ["audio", "video"]}))
    scored = window_scores(Detector(), [mute, whole, empty], 1)
    assert [s.key for s, _ in scored] == [mute.key, whole.key]
    assert [w.has_audio.tolist() for _, w in scored] == [[False], [True]]
