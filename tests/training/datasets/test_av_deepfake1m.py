"""AV-Deepfake1M and ++: both spellings of both_modified, segments by modality, unlabelled tests, three corpora."""

from __future__ import annotations

from math import isnan

import pytest

from training.datasets.av_deepfake1m import read_av_deepfake1m

CLIP = "id00012/21Uxsk56VDQ/00001"


def row(file: str, kind: str, visual=(), audio=(), **given) -> dict:
    return {"file": file, "original": None, "split": "train", "modify_type": kind, "audio_model": "vits",
            "fake_segments": [*visual, *audio], "visual_fake_segments": list(visual),
            "audio_fake_segments": list(audio), "video_frames": 100, "audio_frames": 64000, **given}


ROWS = [
    row(f"{CLIP}/real.mp4", "real", original=f"VoxCeleb2/dev/mp4/{CLIP}.mp4"),
    row(f"{CLIP}/fake_video_real_audio.mp4", "visual_modified", [[0.48, 0.86]]),
    row(f"{CLIP}/real_video_fake_audio.mp4", "audio_modified", [], [[1, 1.5]]),
    row(f"{CLIP}/fake_video_fake_audio.mp4", "both_modified", [[4.4, 4.64]], [[4.4, 4.7]]),
]


def files(rows: list[dict], folder: str) -> list[str]:
    return [f"{folder}/{r['file']}" for r in rows]


@pytest.fixture
def records(tree):
    return read_av_deepfake1m(tree(*files(ROWS, "train"), tables={"train_metadata.json": ROWS}))


def test_labels_of_all_four_kinds(records):
    assert [(r.video_fake, r.audio_fake, r.family) for r in records] == [
        (0, 0, "real"), (1, 0, "lip_sync"), (0, 1, "dubbed_speech"), (1, 1, "lip_sync")]


def test_the_hyphen_of_the_official_loader_means_the_same(tree):
    clips = [row("id00012/a/1/x.mp4", "both-modified", [[0, 1]], [[0, 1]])]
    [record] = read_av_deepfake1m(tree("val/id00012/a/1/x.mp4", tables={"val_metadata.json": clips}))
    assert (record.video_fake, record.audio_fake, record.split) == (1, 1, "val")


def test_segments_are_kept_by_modality(records):
    assert [r.spans for r in records] == [
        (), (("video", 0.48, 0.86),), (("audio", 1.0, 1.5),), (("video", 4.4, 4.64), ("audio", 4.4, 4.7))]


def test_versions_share_person_page_and_pair_although_originals_differ(records):
    assert {(r.identities, r.source, r.pair) for r in records} == {(("id00012",), "21Uxsk56VDQ", CLIP)}


def test_methods_name_the_models_that_were_used(records):
    assert [r.method for r in records] == ["", "talklip", "vits", "talklip+vits"]


def test_an_unknown_kind_is_refused(tree):
    with pytest.raises(ValueError, match="'warped'.*both_modified"):
        read_av_deepfake1m(tree("train/a/b/c/x.mp4", tables={"train_metadata.json": [row("a/b/c/x.mp4", "warped")]}))


def test_test_files_have_no_labels(tree):
    root = tree("test/000001.mp4", "testA/000007.mp4", "testB/000009.mp4", tables={
        "test_files.txt": "000001.mp4\n", "testA_files.txt": "000007.mp4\n\n", "testB_files.txt": "000009.mp4"})
    records = read_av_deepfake1m(root)
    assert [(r.file, r.split) for r in records] == [
        ("test/000001.mp4", "test"), ("testA/000007.mp4", "testA"), ("testB/000009.mp4", "testB")]
    assert all(isnan(r.video_fake) and isnan(r.audio_fake) and r.extent("video") == "unknown" for r in records)


def test_folders_that_unpacked_into_themselves_are_found(tree):
    root = tree(*files(ROWS, "train/train"), tables={"train_metadata.json": ROWS})
    assert [r.file for r in read_av_deepfake1m(root)] == files(ROWS, "train/train")


@pytest.mark.parametrize("beside", [True, False])
def test_json_of_each_clip_serves_where_the_list_is_missing(tree, beside):
    folder = "train" if beside else "train_metadata"
    own = {f"{folder}/{r['file'].removesuffix('.mp4')}.json": {k: v for k, v in r.items() if k != "file"} for r in ROWS}
    records = read_av_deepfake1m(tree(*files(ROWS, "train"), tables=own))
    assert sorted(r.file for r in records) == sorted(files(ROWS, "train"))
    assert sum(r.video_fake for r in records) == 2


def test_plusplus_knows_people_of_three_corpora_and_silent_clips(tree):
    rows = [
        row("vox_celeb_2/id01358/_1nATum8x78/00030/real.mp4", "real"),
        row("lrs3/ue2ZEmTJSXo/00013/fake_video_fake_audio_p1.mp4", "both_modified", [[0, 1]], [[0, 1]],
            video_model="LatentSync", audio_model="F5TTS"),
        row("silent_videos/subject_17_ddvyjnjfad_vid_2_6/fake.mp4", "visual_modified", [[0, 1]],
            video_model="diff2lip", audio_frames=0),
    ]
    vox, lrs, silent = read_av_deepfake1m(tree(*files(rows, "val"), tables={"val_metadata.json": rows}))
    assert [r.identity for r in (vox, lrs, silent)] == ["id01358", "ue2ZEmTJSXo", "subject_17"]
    assert [r.source for r in (vox, lrs, silent)] == ["_1nATum8x78", "ue2ZEmTJSXo", "silent_videos"]
    assert [r.method for r in (vox, lrs, silent)] == ["", "latentsync+f5tts", "diff2lip"]
    assert silent.video_fake == 1 and isnan(silent.audio_fake)
