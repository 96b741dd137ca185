"""LAV-DF: null originals, periods that hold for every modified modality, official splits."""

from __future__ import annotations

import pytest

from training.datasets.lav_df import read_lav_df


def row(file: str, video: bool, audio: bool, original: str | None, periods: list) -> dict:
    return {"file": file, "n_fakes": len(periods), "fake_periods": periods, "duration": 4.224, "original": original,
            "modify_video": video, "modify_audio": audio, "split": file.split("/")[0], "video_frames": 103,
            "audio_channels": 1, "audio_frames": 65536}


ROWS = [
    row("train/000001.mp4", False, False, None, []),
    row("train/000002.mp4", True, False, "train/000001.mp4", [[1.0, 1.4]]),
    row("dev/000003.mp4", False, True, "dev/000009.mp4", [[0.2, 0.9], [2, 3]]),
    row("test/000004.mp4", True, True, "test/000008.mp4", [[3.1, 3.5]]),
]
FILES = [r["file"] for r in ROWS]


@pytest.fixture(params=["metadata.min.json", "metadata.json"])
def records(request, tree):
    return read_lav_df(tree(*FILES, tables={request.param: ROWS}))


def test_official_splits_and_labels(records):
    assert [(r.split, r.video_fake, r.audio_fake, r.family) for r in records] == [
        ("train", 0, 0, "real"), ("train", 1, 0, "lip_sync"), ("dev", 0, 1, "dubbed_speech"),
        ("test", 1, 1, "lip_sync")]


def test_periods_belong_to_every_modified_modality(records):
    assert [r.spans for r in records] == [
        (), (("video", 1.0, 1.4),), (("audio", 0.2, 0.9), ("audio", 2.0, 3.0)),
        (("video", 3.1, 3.5), ("audio", 3.1, 3.5))]
    assert [r.extent("video") for r in records] == ["none", "partial", "none", "partial"]


def test_a_genuine_clip_without_original_pairs_with_its_fakes(records):
    assert [r.pair for r in records] == ["train/000001.mp4", "train/000001.mp4", "dev/000009.mp4", "test/000008.mp4"]


def test_methods_name_every_generator(records):
    assert [r.method for r in records] == ["", "wav2lip", "sv2tts", "wav2lip+sv2tts"]
