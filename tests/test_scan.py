"""The command line as a user runs it: lines, exit statuses, folders and globs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import scan
from detectors import analyse


@pytest.fixture
def folder(tmp_path, examples_dir):
    (tmp_path / "deep").mkdir()
    shutil.copy(examples_dir / "speech_only.ogg", tmp_path / "deep" / "speech.ogg")
    shutil.copy(examples_dir / "no_face.mp4", tmp_path / "bars.mp4")
    (tmp_path / "notes.txt").write_text("not a clip")
    return tmp_path


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_clip_is_one_line_with_the_same_numbers_as_the_call(folder, capsys):
    assert scan.main([str(folder / "bars.mp4"), "--device", "cpu"]) == 0
    (line,) = lines(capsys)
    called = analyse(folder / "bars.mp4", device="cpu")
    for key in ("timings_s", "memory"):
        line.pop(key), called.pop(key)
    assert line == json.loads(json.dumps(called))


def test_probe_adds_what_copies_say_and_decides_the_verdict(folder, capsys):
    assert scan.main([str(folder / "deep"), "--detectors", "ss_avd", "--probe"]) == 0
    (line,) = lines(capsys)
    assert {v["id"] for v in line["probe"]["variants"] if v["not_tried"] is None} == {"sound_16k"}
    assert line["verdict"] == line["probe"]["verdict"] == line["probe"]["consensus"]["verdict"]


def test_folders_and_globs_give_their_media_files(folder, capsys):
    assert scan.main([str(folder)]) == 0
    assert [line["clip"] for line in lines(capsys)] == ["bars.mp4", "speech.ogg"]
    assert [p.name for p in scan.find_clips([str(folder / "*.mp4"), str(folder / "bars.mp4")])] == ["bars.mp4"]
    assert [p.name for p in scan.find_clips([str(folder / "**" / "*.ogg")])] == ["speech.ogg"]


def test_an_unreadable_clip_is_a_line_and_status_3_and_the_others_are_answered(folder, capsys):
    (folder / "cut.mp4").write_bytes(b"\0" * 100)
    assert scan.main([str(folder / "cut.mp4"), str(folder / "missing.mp4"), str(folder / "bars.mp4")]) == 3
    cut, missing, bars = lines(capsys)
    assert cut["error"] and missing["error"] and "error" not in bars
    assert cut["verdict"] == missing["verdict"] == "CANNOT_EVALUATE"


def test_json_goes_to_a_file_and_two_jobs_keep_the_order(folder, capsys):
    out = folder / "out.jsonl"
    reports = folder / "reports"
    assert scan.main([str(folder / "deep"), str(folder / "bars.mp4"), "--json", str(out), "--jobs", "2",
                      "--detectors", "ss_avd", "--report", str(reports)]) == 0
    assert capsys.readouterr().out == ""
    assert len(list(reports.glob("*.html"))) == 2
    assert [json.loads(line)["clip"] for line in out.read_text().splitlines()] == ["speech.ogg", "bars.mp4"]


def test_explanations_and_a_video_stand_beside_the_report(make_clip, tmp_path, capsys):
    clip = make_clip(np.full((25, 64, 96, 3), 90, np.uint8), None)
    assert scan.main([str(clip), "--detectors", "ss_avd", "--explain", "--video", "--report", str(tmp_path / "r")]) == 0
    (line,) = lines(capsys)
    assert line["explanations"] == [] and list(line["not_explained"]) == ["ss_avd"]  # no face, no sound
    page, video = sorted((tmp_path / "r").iterdir(), key=lambda p: p.suffix)
    assert page.suffix == ".html" and line["not_explained"]["ss_avd"] in page.read_text(encoding="utf-8")
    assert video.name == f"{page.stem}-annotated.mp4" and video.stat().st_size > 1000


@pytest.mark.parametrize("arguments, words", [
    ([], "required"),
    (["x.mp4", "--detectors", "xception"], "there are: ss_avd"),
    (["x.mp4", "--jobs", "0"], "1 or more"),
    (["x.mp4", "--video"], "needs --report"),
    (["x.mp4", "--json", "/nowhere/out.jsonl"], "cannot be written"),
    (["{empty}"], "no video or sound file"),
])
def test_bad_usage_is_status_2_with_a_sentence(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        scan.main([a.format(empty=tmp_path) for a in arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
