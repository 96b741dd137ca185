"""The command line as a user runs it: lines, exit statuses, folders and globs."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch

import scan
from detectors import analyse
from detectors.remote import Scorer
from tests.media.corpus import ffmpeg


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


HOW = ("timings_s", "memory")  # of a line: what differs each time


def answers_in(path) -> list[dict]:
    return [{k: v for k, v in json.loads(line).items() if k not in HOW} for line in path.read_text().splitlines()]


@pytest.mark.timeout(400)
def test_a_ray_cluster_of_two_workers_gives_the_same_lines_with_and_without_a_scorer(folder, talking_clip, monkeypatch,
                                                                                   capsys):
    """The scorer is one on the processor; every other clip goes without it."""
    import ray

    start = scan.start_ray
    monkeypatch.setattr(scan, "start_ray",
                        lambda jobs, device: [*start(jobs, device), None, ray.remote(num_cpus=0)(Scorer).remote("cpu")])
    ffmpeg("-t", "2", "-i", str(talking_clip), "-c", "copy", str(folder / "face.mp4"))
    (folder / "cut.mp4").write_bytes(b"\0" * 100)
    arguments = [str(folder), "--detectors", "ss_avd,mis_avoidd", "--device", "cpu", "--json"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the workers
    try:
        assert scan.main([*arguments, str(folder / "one.jsonl")]) == 3
    finally:
        torch.set_num_threads(threads)
    assert scan.main([*arguments, str(folder / "ray.jsonl"), "--engine", "ray", "--jobs", "2"]) == 3
    lines = answers_in(folder / "ray.jsonl")
    assert [line["clip"] for line in lines] == ["bars.mp4", "cut.mp4", "speech.ogg", "face.mp4"]
    assert lines == answers_in(folder / "one.jsonl")
    assert lines[3]["detectors"]["ss_avd"]["video"] is not None  # by the scorer
    assert not ray.is_initialized()


def test_an_interrupted_run_goes_on_after_the_last_whole_line(folder, monkeypatch, capsys):
    out, seen = folder / "out.jsonl", []

    def examine(path, **options):
        seen.append(path.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return scan.Examined({"clip": path.name, "error": "unreadable"} if path.name == "a.mp4" else {
            "clip": path.name, "verdict": "NO_SIGNS", "score": 0.2, "provisional": False,
            "detectors": {d: {} for d in options["detectors"]}})

    monkeypatch.setattr(scan, "examine", examine)
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / "deep" / name).touch()
    run = [str(folder / "deep"), "--detectors", "ss_avd", "--json", str(out), "--resume"]
    with pytest.raises(KeyboardInterrupt):
        scan.main(run)
    with open(out, "a", encoding="utf-8") as file:
        file.write('{"clip": "b.mp4", "dete')  # as a killed process leaves it
    assert scan.main(run) == 3  # a.mp4 could not be read, by the first run
    assert [json.loads(line)["clip"] for line in out.read_text().splitlines()] == ["a.mp4", "b.mp4", "c.mp4",
                                                                                  "speech.ogg"]
    assert seen == ["a.mp4", "b.mp4", "b.mp4", "c.mp4", "speech.ogg"]
    assert scan.main(run) == 3 and len(seen) == 5  # nothing is left to do
    for changed, words in ((["--detectors", "mmms_ba"], "line 2, is by ss_avd"), ([str(folder)], "not the clip")):
        with pytest.raises(SystemExit) as stop:
            scan.main([*changed, *run] if changed[0] != "--detectors" else [*run, *changed])
        assert stop.value.code == 2 and words in capsys.readouterr().err


def test_without_ray_its_engine_says_what_to_install(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as stop:
        scan.main([str(folder), "--engine", "ray"])
    assert stop.value.code == 2 and "requirements-ray.txt" in capsys.readouterr().err


def test_explanations_and_a_video_stand_beside_the_report(make_clip, tmp_path, capsys):
    clip = make_clip(np.full((25, 64, 96, 3), 90, np.uint8), None)
    assert scan.main([str(clip), "--detectors", "ss_avd", "--explain", "--video", "--report", str(tmp_path / "r")]) == 0
    told = capsys.readouterr()
    line = json.loads(told.out)
    assert line["explanations"] == [] and list(line["not_explained"]) == ["ss_avd"]  # no face, no sound
    page, video = sorted((tmp_path / "r").iterdir(), key=lambda p: p.suffix)
    assert page.suffix == ".html" and line["not_explained"]["ss_avd"] in page.read_text(encoding="utf-8")
    assert video.name == f"{page.stem}-annotated.mp4" and video.stat().st_size > 1000
    *stages, last = told.err.splitlines()
    assert [s for s in stages if s.startswith("Writing")] == ["Writing the report", "Writing the annotated video"]
    assert any("Scoring with SS-AVD" in s for s in stages) and any("Explaining what SS-AVD" in s for s in stages)
    assert last == f"clip.mp4: This clip cannot be judged. Written: {page}, {video}"


def test_a_sentence_on_each_clip_goes_beside_the_lines(folder, monkeypatch, capsys):
    probe = {"verdict": "SUSPICIOUS", "consensus": {"verdict_before": "MANIPULATED"}, "detectors": {}}
    answers = {"bars.mp4": {"verdict": "MANIPULATED", "score": 0.944},
               "speech.ogg": {"verdict": "SUSPICIOUS", "score": 0.9, "probe": probe}}
    monkeypatch.setattr(scan, "examine", lambda path, **_: scan.Examined(
        {"clip": path.name, "provisional": path.suffix == ".mp4", "detectors": {}, **answers[path.name]}))
    assert scan.main([str(folder), "--json", str(folder / "out.jsonl")]) == 0
    told = capsys.readouterr().err
    assert "bars.mp4: Strong signs of manipulation, score 0.94 (demonstration weights).\n" in told
    assert "speech.ogg: Some signs of manipulation.\n" in told, "a score that copies turned is not given"
    assert told.splitlines()[-1] == f"Written: {folder / 'out.jsonl'}"


@pytest.mark.parametrize("arguments, words", [
    ([], "required"),
    (["x.mp4", "--detectors", "xception"], "there are: ss_avd"),
    (["x.mp4", "--jobs", "0"], "1 or more"),
    (["x.mp4", "--video"], "needs --report"),
    (["x.mp4", "--resume"], "needs --json"),
    (["x.mp4", "--json", "/nowhere/out.jsonl"], "cannot be written"),
    (["{empty}"], "no video or sound file"),
])
def test_bad_usage_is_status_2_with_a_sentence(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        scan.main([a.format(empty=tmp_path) for a in arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
