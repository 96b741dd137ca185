"""Manifests become records; what a manifest does not say stays unknown."""

from __future__ import annotations

import math

import pytest

from training.datasets.manifest import read_manifests

VIDEO = "file,split,family,method,label,repo,identity,pair,video_fake,audio_fake,has_audio\n"
SPEECH = "file,split,label,system,source,speaker\n"


def write(root, name: str, header: str, *rows: str) -> None:
    (root / name).write_text(header + "".join(row + "\n" for row in rows), encoding="utf-8")


def test_a_folder_without_manifests_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"video\.csv nor speech\.csv"):
        read_manifests(tmp_path)


def test_a_video_row_becomes_a_record(tmp_path):
    write(tmp_path, "video.csv", VIDEO, "v/a.mp4,train,face_swap,roop,fake,site.org,person 7,p1,1,0,1")
    [record] = read_manifests(tmp_path)
    assert (record.file, record.split, record.family, record.method) == ("v/a.mp4", "train", "face_swap", "roop")
    assert (record.source, record.identity, record.pair) == ("site.org", "person 7", "p1")
    assert (record.video_fake, record.audio_fake) == (1, 0)


def test_a_genuine_row_has_no_method_whatever_the_manifest_says(tmp_path):
    write(tmp_path, "video.csv", VIDEO, "a.mp4,val,real,camera,real,site.org,x,,0,0,1")
    assert read_manifests(tmp_path)[0].method == ""


@pytest.mark.parametrize("cells, video_fake, audio_fake", [
    ("1,,1", 1, None), (",1,1", None, 1), (",,1", None, None), ("1,0,0", 1, None), ("0,0,", 0, None),
])
def test_empty_labels_and_labels_of_absent_sound_are_unknown(tmp_path, cells, video_fake, audio_fake):
    write(tmp_path, "video.csv", VIDEO, f"a.mp4,train,lip_sync,x,fake,r,i,p,{cells}")
    [record] = read_manifests(tmp_path)
    for found, expected in ((record.video_fake, video_fake), (record.audio_fake, audio_fake)):
        assert math.isnan(found) if expected is None else found == expected


def test_speech_rows_know_nothing_of_the_picture(tmp_path):
    write(tmp_path, "speech.csv", SPEECH, "a.wav,train,fake,vits,corpus,anna", "b.wav,val,real,vits,corpus,ben")
    fake, real = read_manifests(tmp_path)
    assert math.isnan(fake.video_fake) and math.isnan(real.video_fake)
    assert (fake.audio_fake, real.audio_fake) == (1, 0)
    assert (fake.family, fake.method, fake.identity) == ("fake_speech", "vits", "anna")
    assert (real.family, real.method, real.split) == ("real_speech", "", "val")


def test_both_manifests_are_read(tmp_path):
    write(tmp_path, "video.csv", VIDEO, "a.mp4,train,real,,real,r,i,p,0,0,1")
    write(tmp_path, "speech.csv", SPEECH, "ünï 語.wav,train,real,,corpus,anna")
    assert [r.file for r in read_manifests(tmp_path)] == ["a.mp4", "ünï 語.wav"]


def test_an_unnamed_person_is_nobody_and_fakes_may_be_fake_anywhere(tmp_path):
    write(tmp_path, "video.csv", VIDEO, "a.mp4,train,lip_sync,x,fake,r,,p,1,0,1",
          "b.mp4,train,real,,real,r,ann,p,0,0,1")
    nobody, ann = read_manifests(tmp_path)
    assert (nobody.identities, nobody.identity, ann.identities) == ((), "", ("ann",))
    assert (nobody.extent("video"), nobody.extent("audio"), ann.extent("video")) == ("unknown", "none", "none")


def test_clips_need_not_be_there_yet(tmp_path):
    write(tmp_path, "speech.csv", SPEECH, "later.wav,train,real,,corpus,anna")
    assert len(read_manifests(tmp_path)) == 1
