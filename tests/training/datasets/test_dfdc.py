"""DFDC: originals in other parts, sound that nobody labelled, two kinds of table; and its preview."""

from __future__ import annotations

from math import isnan

import pytest

from training.datasets.dfdc import read_dfdc, read_dfdc_preview

PART_0 = {"aaa.mp4": {"label": "REAL", "split": "train"},
          "bbb.mp4": {"label": "FAKE", "split": "train", "original": "aaa.mp4"},
          "ccc.mp4": {"label": "FAKE", "split": "train", "original": "zzz.mp4"}}
PART_1 = {"zzz.mp4": {"label": "REAL", "split": "train"}}
LABELS = "filename,label\nttt.mp4,1\nuuu.mp4,0\n"
# As published: 1 = genuine, an unnamed index first.
MODALITIES = """Unnamed: 0,filename,label,audio_label,video_label,original,part
0,bbb.mp4,0,0,0,aaa.mp4,0
1,ccc.mp4,0,1,0,zzz.mp4,0
2,aaa.mp4,1,1,1,,0
"""


@pytest.fixture
def write(tree):
    def make(**more):
        clips = ("dfdc_train_part_0/aaa.mp4", "dfdc_train_part_0/bbb.mp4", "dfdc_train_part_0/ccc.mp4",
                 "dfdc_train_part_01/dfdc_train_part_1/zzz.mp4", "test/ttt.mp4", "test/uuu.mp4")
        return tree(*clips, tables={"dfdc_train_part_0/metadata.json": PART_0,
                                    "dfdc_train_part_01/dfdc_train_part_1/metadata.json": PART_1,
                                    "test/labels.csv": LABELS, **more})

    return make


def by_name(records) -> dict:
    return {r.file.split("/")[-1].removesuffix(".mp4"): r for r in records}


def test_parts_and_the_test_set_are_read(write):
    found = by_name(read_dfdc(write()))
    assert {name: (r.split, r.video_fake) for name, r in found.items()} == {
        "aaa": ("train", 0), "bbb": ("train", 1), "ccc": ("train", 1), "zzz": ("train", 0),
        "ttt": ("test", 1), "uuu": ("test", 0)}
    assert found["zzz"].file == "dfdc_train_part_01/dfdc_train_part_1/zzz.mp4"
    assert found["zzz"].source == "dfdc_train_part_1"


def test_pairs_reach_across_parts(write):
    found = by_name(read_dfdc(write()))
    assert found["aaa"].pair == found["bbb"].pair == "aaa" and found["ccc"].pair == found["zzz"].pair == "zzz"
    assert found["ttt"].pair == "" and found["uuu"].pair == "uuu"


def test_the_sound_of_fakes_is_unknown(write):
    found = by_name(read_dfdc(write()))
    assert isnan(found["bbb"].audio_fake) and found["bbb"].extent("audio") == "unknown"
    assert found["bbb"].extent("video") == "whole" and found["aaa"].audio_fake == 0


def test_the_table_of_modalities_says_it(write):
    found = by_name(read_dfdc(write(**{"DFDC-18000.csv": MODALITIES})))
    assert [(found[n].video_fake, found[n].audio_fake) for n in ("aaa", "bbb", "ccc")] == [(0, 0), (1, 1), (1, 0)]
    assert isnan(found["ttt"].audio_fake)


def test_the_test_set_s_own_metadata_is_not_a_part(write):
    found = by_name(read_dfdc(write(**{"test/metadata.json": {"ttt.mp4": {"is_fake": 1}}})))
    assert len(found) == 6 and found["ttt"].split == "test"


PREVIEW = {
    "original_videos/1003254/1003254_A_001.mp4": {"label": "real", "set": "train", "target_id": 1003254},
    "method_A/1003254/1003254_A/1255229_1003254_A_001.mp4":
        {"label": "fake", "set": "train", "target_id": 1003254, "swapped_id": 1255229, "augmentations": []},
    "method_B/1004567/1004567_B/1300001_1004567_B_002.mp4":
        {"label": "fake", "set": "test", "target_id": 1004567, "swapped_id": 1300001, "augmentations": []},
}


def test_the_preview_names_both_people_and_the_genuine_clip(tree):
    genuine, fake, other = read_dfdc_preview(tree(*PREVIEW, tables={"dataset.json": PREVIEW}))
    assert genuine.identities == ("dfdc:1003254",) and fake.identities == ("dfdc:1003254", "dfdc:1255229")
    assert genuine.pair == fake.pair == "1003254_A_001" and other.pair == "1004567_B_002"
    assert [(r.split, r.video_fake, r.method) for r in (genuine, fake, other)] == [
        ("train", 0, ""), ("train", 1, "method_A"), ("test", 1, "method_B")]
    assert isnan(fake.audio_fake) and genuine.audio_fake == 0
