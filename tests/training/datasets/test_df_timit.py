"""DF-TIMIT: people who are genuine and fake, two qualities, sound beside the picture, VidTIMIT's other people."""

from __future__ import annotations

import pytest

from training.datasets.df_timit import read_df_timit
from training.datasets.splits import leaks, split_identities

FAKES = ("higher_quality/fadg0/sa1-video-fram1.avi", "lower_quality/fadg0/sa1-video-fram1.avi",
         "higher_quality/fram1/sx1-video-fadg0.avi")
SOUND = ("higher_quality/fadg0/sa1.wav", "lower_quality/fadg0/sa1.wav", "higher_quality/fram1/sx1.wav")
GENUINE = ("real/fadg0/sa1.avi", "real/fram1/sx1.avi")


@pytest.fixture
def records(tree):
    return {r.file: r for r in read_df_timit(tree(*FAKES, *SOUND, *GENUINE, "real/mwbt0/sa1.avi"))}


def test_only_films_of_swapped_people_are_clips(records):
    assert set(records) == {*FAKES, *GENUINE}


def test_the_sound_is_always_genuine(records):
    assert {r.audio_fake for r in records.values()} == {0}
    assert {f: (r.video_fake, r.extent("video"), r.extent("audio")) for f, r in records.items()} == {
        **dict.fromkeys(FAKES, (1, "whole", "none")), **dict.fromkeys(GENUINE, (0, "none", "none"))}


def test_both_qualities_pair_with_the_genuine_clip(records):
    assert {records[f].pair for f in (FAKES[0], FAKES[1], GENUINE[0])} == {"fadg0/sa1"}
    assert records[FAKES[0]].method != records[FAKES[1]].method and records[GENUINE[0]].method == ""


def test_a_swap_belongs_to_both_people(records):
    assert records[FAKES[0]].identities == ("fadg0", "fram1") and records[GENUINE[0]].identities == ("fadg0",)


def test_without_the_genuine_clips_it_says_so(tree, caplog):
    assert len(read_df_timit(tree(*FAKES, *SOUND))) == 3 and "no genuine clips in real/" in caplog.text


def test_a_couple_stays_in_one_split(tree):
    couples = [(f"f{n}", f"m{n}") for n in range(6)]
    clips = [f"lower_quality/{a}/s{k}-video-{b}.avi" for pair in couples for a, b in (pair, pair[::-1]) for k in (1, 2)]
    clips += [f"real/{a}/s{k}.avi" for pair in couples for a in pair for k in (1, 2)]
    kept, dropped = split_identities(read_df_timit(tree(*clips)), {"train": 4 / 6, "val": 1 / 6, "test": 1 / 6})
    assert not dropped and leaks(kept)["identities"] == []
    assert {s: sum(r.split == s for r in kept) for s in ("train", "val", "test")} == {"train": 32, "val": 8, "test": 8}
