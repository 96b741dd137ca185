"""Labels of a clip; and over time, worked out by hand on a line of seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.forge.families import FAMILIES
from training.labels import MISMATCHED, any_fake, fake_of, label_of, labels_between, whole_label
from training.sampling import Sample, read_samples


@pytest.fixture
def make_sample(write_samples):
    def make(**line) -> Sample:
        [sample] = read_samples(write_samples({"duration_s": 10.0, "faces": 0, "samples": 0, **line}))
        return sample

    return make


def label(sample: Sample, modality: str, *windows: tuple[float, float]) -> list:
    start_s, end_s = np.array(windows).T
    told = labels_between(sample, start_s, end_s)[modality]
    return [None if np.isnan(value) else value for value in told]


def test_a_quarter_of_the_window_makes_it_fake_a_sliver_makes_it_ambiguous(make_sample):
    sample = make_sample(video_fake=1.0, spans=[["video", 4.0, 6.0]])
    assert label(sample, "video", (0, 4), (0, 4.1), (1.0, 4.9), (1.0, 5.0), (1.5, 5.5), (6, 10)) == [
        0, None, None, 1, 1, 0]  # 0.9 of 3.9 s is less than a quarter, 1 of 4 s is one
    assert label(sample, "audio", (3, 7)) == [0]


def test_a_short_window_needs_three_tenths_of_a_second_or_all_of_itself(make_sample):
    sample = make_sample(audio_fake=1.0, spans=[["audio", 4.0, 6.0]])
    assert label(sample, "audio", (3.71, 4.29), (3.7, 4.3), (4.1, 4.3), (3.9, 4.1)) == [None, 1, 1, None]


def test_a_window_that_holds_the_whole_of_a_very_short_span_is_fake(make_sample):
    sample = make_sample(audio_fake=1.0, spans=[["audio", 4.0, 4.2]])
    assert label(sample, "audio", (0, 8), (4.0, 4.2), (4.1, 8.0), (4.2, 8.0)) == [1, 1, None, 0]


def test_spans_of_one_modality_add_up(make_sample):
    sample = make_sample(video_fake=1.0, spans=[["video", 1.0, 1.5], ["video", 3.0, 3.5], ["audio", 0.0, 4.0]])
    assert label(sample, "video", (0, 4), (0, 2.5)) == [1, None]


def test_without_spans_a_clip_carries_its_label_all_over(make_sample):
    sample = make_sample(video_fake=1.0, audio_fake=np.nan, sync_fake=np.nan)
    assert [label(sample, name, (0, 1), (5, 9)) for name in ("video", "audio", "sync")] == [
        [1, 1], [None, None], [None, None]]


def test_a_span_without_an_end_lasts_to_the_end(make_sample):
    sample = make_sample(video_fake=1.0, spans=[["video", 2.0, None]])
    assert label(sample, "video", (0, 2), (8, 10)) == [0, 1]


def test_sync_is_fake_only_where_sound_was_shifted_swapped_or_stretched(write_samples):
    lines = [{"forged": name, "sync_fake": 1.0, "spans": [["sync", 2.0, 4.0]], "duration_s": 6.0}
             for name in ("shifted_sound", "swapped_sound", "stretched_sound", "splice", "transplant_mouth", "")]
    told = [label(sample, "sync", (0, 2), (2, 4)) for sample in read_samples(write_samples(*lines))]
    assert told == [[0, 1]] * 3 + [[0, None]] * 3


@pytest.mark.parametrize(("labels", "known"), [
    ((0.0, 1.0, np.nan), 1), ((None, 0.0), 0), ((0.0, np.nan), 0), ((None, np.nan), None), ((), None),
])
def test_one_known_fake_makes_a_fake_and_what_is_unknown_does_not_count(labels, known):
    assert any_fake(labels) == known


def test_labels_of_the_whole_and_of_sync(make_sample):
    sample = make_sample()

    def clip(video=np.nan, audio=np.nan, sync=np.nan, forged=""):
        return replace(sample, video_fake=video, audio_fake=audio, sync_fake=sync, forged=forged)

    assert label_of(clip(video=0, audio=1), "whole") == 1 and label_of(clip(video=0), "whole") == 0
    assert np.isnan(label_of(clip(sync=1), "whole")) and fake_of(clip(sync=1)) == 1
    assert label_of(clip(sync=1, forged="shifted_sound"), "sync") == 1 and label_of(clip(sync=0), "sync") == 0
    assert np.isnan(label_of(clip(sync=1, forged="blend"), "sync")) and fake_of(clip()) is None


def test_mismatched_are_the_families_that_forge_sync():
    assert set(MISMATCHED) == {name for name, family in FAMILIES.items() if family.modality == "sync"}


@pytest.mark.parametrize("labels, video, audio, whole", [
    ((1.0, 0.0), 1, 0, 1), ((0.0, 1.0), 0, 1, 1), ((0.0, 0.0), 0, 0, 0),
    ((1.0, 0.0), np.nan, 0, np.nan),  # a sliver of the picture is fake: nobody can say
    ((1.0, 1.0), np.nan, 1, 1),
    ((np.nan, 0.0), np.nan, 0, 0), ((np.nan, 1.0), np.nan, 1, 1),  # a clip without a picture
    ((np.nan, np.nan), np.nan, np.nan, np.nan),
])
def test_picture_and_sound_together(make_sample, labels, video, audio, whole):
    sample = make_sample(video_fake=labels[0], audio_fake=labels[1])
    told = whole_label(sample, {"video": np.array([video, video]), "audio": np.array([audio, audio])})
    np.testing.assert_array_equal(told, [whole, whole])
