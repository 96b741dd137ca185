"""TVIL: an annotation by id, clips with or without their split's folder, no sound."""

from __future__ import annotations

from math import isnan

import pytest

from training.datasets.tvil import read_tvil

ROWS = {
    "1": {"file": "5ef6573a99_result.mp4", "split": "Train", "duration": 6.0, "fake_periods": [[1, 2.5], [4.0, 5.0]]},
    "2": {"file": "STTN/5ef6573a99_other.mp4", "split": "test", "duration": 6.0, "fake_periods": [[0.0, 1.0]]},
    "3": {"file": "c3bb62a2f7.mp4", "split": "val", "duration": 6.0, "fake_periods": []},
}
CLIPS = ("train/5ef6573a99_result.mp4", "STTN/5ef6573a99_other.mp4", "val/c3bb62a2f7.mp4")


@pytest.mark.parametrize("table", ["tvil.json", "annotations/tvil.json"])
def test_clips_and_periods(tree, table):
    records = read_tvil(tree(*CLIPS, tables={table: ROWS, "classes.json": ["Fake"]}))
    assert [r.file for r in records] == list(CLIPS)
    assert [(r.split, r.family, r.method, r.pair) for r in records] == [
        ("train", "inpainting", "", "5ef6573a99"), ("test", "inpainting", "sttn", "5ef6573a99"),
        ("val", "real", "", "c3bb62a2f7")]
    assert records[0].spans == (("video", 1.0, 2.5), ("video", 4.0, 5.0))
    assert [r.extent("video") for r in records] == ["partial", "partial", "none"]
    assert all(isnan(r.audio_fake) for r in records)
