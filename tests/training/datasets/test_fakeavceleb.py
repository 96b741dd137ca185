"""FakeAVCeleb: the column without a name, the other folder name, doubled rows, people whom only file names name."""

from __future__ import annotations

import pytest

from training.datasets.fakeavceleb import read_fakeavceleb
from training.datasets.splits import leaks, split_identities

HEADER = "source,target1,target2,method,category,type,race,gender,path,\n"
GENUINE = ("id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,"
           "FakeAVCeleb/RealVideo-RealAudio/African/men/id00076")
VOICE = ("id00076,-,-,rtvc,B,RealVideo-FakeAudio,African,men,00109_fake.mp4,"
         "FakeAVCeleb/RealVideo-FakeAudio/African/men/id00076")
SWAP = ("id00076,id00701,-,fsgan,C,FakeVideo-RealAudio,African,men,00109_id00701_lW6uzLIOwd0.mp4,"
        "FakeAVCeleb/FakeVideo-RealAudio/African/men/id00076")
BOTH = ("id00076,id01691,-,fsgan-wav2lip,D,FakeVideo-FakeAudio,African,men,"
        "00109_id01995_YUR9wTypwIo_id01691_wavtolip.mp4,FakeAVCeleb/FakeVideo-FakeAudio/African/men/id00076")
ROWS = (GENUINE, VOICE, SWAP, BOTH)


def clip(row: str) -> str:
    """What the row's file is called below the data set's own folder."""
    *_, name, folder = row.split(",")
    return f"{folder.removeprefix('FakeAVCeleb/')}/{name}"


def read(tree, *rows: str):
    return read_fakeavceleb(tree(*map(clip, rows), tables={"meta_data.csv": HEADER + "\n".join(rows) + "\n"}))


def test_paths_come_from_the_unnamed_column_without_its_first_folder(tree):
    assert [r.file for r in read(tree, *ROWS)] == list(map(clip, ROWS))
    assert clip(GENUINE) == "RealVideo-RealAudio/African/men/id00076/00109.mp4"


def test_labels_families_and_methods(tree):
    found = [(r.video_fake, r.audio_fake, r.family, r.method) for r in read(tree, *ROWS)]
    assert found == [(0, 0, "real", ""), (0, 1, "dubbed_speech", "rtvc"), (1, 0, "face_swap", "fsgan"),
                     (1, 1, "face_swap", "fsgan-wav2lip")]


def test_fakes_are_fake_throughout(tree):
    assert [(r.extent("video"), r.extent("audio")) for r in read(tree, *ROWS)] == [
        ("none", "none"), ("none", "whole"), ("whole", "none"), ("whole", "whole")]


def test_people_are_taken_from_columns_and_from_the_file_name(tree):
    genuine, _, swap, both = read(tree, *ROWS)
    assert genuine.identities == ("id00076",) and swap.identities == ("id00076", "id00701")
    assert both.identities == ("id00076", "id01691", "id01995")


def test_all_versions_of_a_person_s_one_clip_are_a_pair_from_one_source(tree):
    assert {(r.pair, r.source, r.split) for r in read(tree, *ROWS)} == {("id00076", "African/men", "")}


def test_a_number_as_second_target_is_nobody(tree):
    row = BOTH.replace("id01691,-", "id00476,10").replace("id01995_YUR9wTypwIo_id01691", "10_id00476")
    assert read(tree, row)[0].identities == ("id00076", "id00476")


def test_doubled_rows_are_one_clip(tree):
    assert len(read(tree, GENUINE, SWAP, SWAP)) == 2


def test_folders_spelt_with_brackets_are_found(tree):
    row = GENUINE.replace("African", "Asian_East")
    root = tree(clip(row).replace("Asian_East", "Asian (East)"), tables={"meta_data.csv": HEADER + row})
    [record] = read_fakeavceleb(root)
    assert record.file == "RealVideo-RealAudio/Asian (East)/men/id00076/00109.mp4" and record.source == "Asian_East/men"


def test_clips_that_were_not_downloaded_are_left_out(tree, caplog):
    root = tree(clip(GENUINE), tables={"meta_data.csv": HEADER + "\n".join(ROWS)})
    assert len(read_fakeavceleb(root)) == 1 and "3 of 4" in caplog.text


def test_the_excel_table_must_be_exported_first(tree):
    with pytest.raises(FileNotFoundError, match="save it as meta_data.csv"):
        read_fakeavceleb(tree("meta_data.xlsx"))


def test_splits_share_no_face(tree):
    """A ring: everybody wears the face of the next, so all hang together and some clips must go."""
    rows = []
    for n in range(10):
        me, other = f"id{n:05d}", f"id{(n + 1) % 10:05d}"
        rows += [GENUINE.replace("id00076", me), SWAP.replace("id00076", me).replace("id00701", other)]
    kept, dropped = split_identities(read(tree, *rows), {"train": 0.5, "test": 0.5})
    assert {r.split for r in kept} == {"train", "test"} and len(kept) + len(dropped) == 20
    assert dropped and all(r.video_fake for r in dropped)
    assert leaks(kept)["identities"] == [] and leaks(kept)["pairs"] == []
