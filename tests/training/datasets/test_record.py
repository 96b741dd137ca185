"""Labels and spans say how much of a clip is fake; absent and doubled files are left out."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import inf, nan

import pytest

from training.datasets.record import Record, keep_present, whole_spans


def record(file: str = "a.mp4", **given) -> Record:
    return Record(**{"file": file, "dataset": "x", "video_fake": nan, "audio_fake": nan, **given})


@pytest.mark.parametrize("label, spans, expected", [
    (0.0, (), "none"),
    (1.0, (("video", 0.0, inf),), "whole"),
    (1.0, (("video", 0.0, 2.5),), "partial"),
    (1.0, (("video", 0.0, 2.5), ("video", 4.0, inf)), "partial"),
    (1.0, (), "unknown"),
    (1.0, (("audio", 0.0, inf),), "unknown"),
    (nan, (), "unknown"),
])
def test_extent_tells_whole_partial_and_unknown_apart(label, spans, expected):
    assert record(video_fake=label, spans=spans).extent("video") == expected


def test_extent_is_of_one_modality():
    clip = record(video_fake=0.0, audio_fake=1.0, spans=whole_spans(0.0, 1.0))
    assert (clip.extent("video"), clip.extent("audio")) == ("none", "whole")
    assert whole_spans(nan, 0.0) == () and whole_spans(1.0, 1.0) == (("video", 0.0, inf), ("audio", 0.0, inf))


def test_the_first_identity_is_the_clip_s():
    assert record(identities=("ann", "ben")).identity == "ann" and record().identity == ""


def test_a_record_survives_json():
    clip = record(identities=("ann", "ben"), video_fake=1.0, spans=(("video", 0.5, inf),))
    line = json.loads(json.dumps(asdict(clip)))
    assert line["spans"] == [["video", 0.5, inf]] and line["identities"] == ["ann", "ben"]


def test_absent_clips_are_left_out_and_counted(tree, caplog):
    root = tree("a.mp4", "c.mp4")
    kept = keep_present([record(name) for name in ("a.mp4", "b.mp4", "c.mp4", "d/e.mp4")], root)
    assert [r.file for r in kept] == ["a.mp4", "c.mp4"]
    assert "2 of 4" in caplog.text and "b.mp4" in caplog.text


def test_a_file_listed_twice_is_one_clip_with_its_first_row(tree, caplog):
    kept = keep_present([record("a.mp4", method="first"), record("b.mp4"), record("a.mp4", method="second")],
                        tree("a.mp4", "b.mp4"))
    assert [(r.file, r.method) for r in kept] == [("a.mp4", "first"), ("b.mp4", "")] and not caplog.text


def test_nothing_on_disk_is_an_error_with_an_example(tree):
    with pytest.raises(FileNotFoundError, match=r"none of the 1 listed clips.*missing\.mp4"):
        keep_present([record("missing.mp4")], tree("other.mp4"))
