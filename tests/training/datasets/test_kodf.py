"""KoDF: people from file names, folders by date or not, sound that nobody labelled."""

from __future__ import annotations

from math import isnan

import pytest

from training.datasets.kodf import read_kodf

CLIPS = (
    "original_videos/110531/110531_121.mp4",
    "original_videos/0e105f8ec5146f9737d0/0e105f8ec5146f9737d0_022.mp4",
    "dffs/20200819/20589/20589_174224_2_0460.mp4",
    "fo/39340/39340_41989_4_1320.mp4",
    "audio-driven/20201024/181156/181156_181156_5_0210.mp4",
    "fsgan/20200819/20589/20589_174224_3_0001.mp4",
)


@pytest.fixture
def records(tree):
    return {r.file: r for r in read_kodf(tree(*CLIPS))}


def test_names_give_both_people_once(records):
    assert [records[c].identities for c in CLIPS] == [
        ("kodf:110531",), ("kodf:0e105f8ec5146f9737d0",), ("kodf:20589", "kodf:174224"),
        ("kodf:39340", "kodf:41989"), ("kodf:181156",), ("kodf:20589", "kodf:174224")]


def test_only_the_picture_is_labelled(records):
    assert [records[c].video_fake for c in CLIPS] == [0, 0, 1, 1, 1, 1]
    assert [isnan(records[c].audio_fake) for c in CLIPS] == [False, False, True, True, True, True]
    assert records[CLIPS[2]].extent("video") == "whole" and records[CLIPS[5]].extent("audio") == "unknown"


def test_folders_are_methods(records):
    assert [(records[c].method, records[c].family) for c in CLIPS[1:5]] == [
        ("", "real"), ("dffs", "face_swap"), ("fo", "reenactment"), ("audio-driven", "lip_sync")]
    assert {(r.split, r.pair) for r in records.values()} == {("", "")}
