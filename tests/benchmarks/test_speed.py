"""Figures of time and memory, where they can be worked out by hand; and that the command measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from benchmarks import archive, speed, start, timing
from tests.media.corpus import ffmpeg


def test_works_take_turns_and_ratios_are_within_a_turn():
    order = []
    times = timing.take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3 and len(times["a"]) == 3
    times = {"a": [2.0, 30.0, 4.0], "b": [1.0, 10.0, 2.0]}  # the second round met a busy moment
    assert timing.ratio(times, "a", "b") == 2 and timing.median(times) == {"a": 4.0, "b": 2.0}


def test_slope_and_growth_by_hand():
    """Three seconds that every analysis takes, and twelve a minute."""
    told = [{"duration_s": s, "seconds": 3 + 0.2 * s, "seconds_per_min": (3 + 0.2 * s) / s * 60, "peak_mb": mb,
             "peak_anonymous_mb": mb - 100} for s, mb in ((600.0, 900), (10.0, 500))]
    figures = speed.summarise_lengths(told)
    assert figures["slope_per_min"] == 12 and figures["cost_growth"] == pytest.approx(12.3 / 30, abs=1e-3)
    assert (figures["peak_mb"], figures["peak_anonymous_mb"]) == (900, 800)
    assert [one["duration_s"] for one in figures["lengths"]] == [10, 600]
    assert speed.summarise_lengths(told[:1])["slope_per_min"] is None


def test_memory_of_a_process_that_it_started_counts():
    """80 MB are taken by a child of the process that is watched."""
    child = "b = bytearray(80_000_000); b[::4096] = b'x' * len(b[::4096]); print(flush=True); input()"
    parent = (f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', {child!r}], "
              "stdin=subprocess.PIPE, stdout=subprocess.PIPE); c.stdout.readline(); print(flush=True); input(); "
              "c.communicate(b'x')")
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as work:
        with speed.MemoryOfTree(work.pid) as memory:
            work.stdout.readline()
            while memory.peak_mb < 80 and work.poll() is None:
                time.sleep(0.1)
        work.communicate(b"x\n")
    assert 80 <= memory.peak_mb < 400 and memory.peak_anonymous_mb <= memory.peak_mb


def test_stages_a_second_detector_and_scoring_on_a_short_clip(talking_clip, tmp_path, monkeypatch):
    clip = tmp_path / "short.mp4"
    ffmpeg("-t", "1.4", "-i", str(talking_clip), "-c", "copy", str(clip))
    names = ["ss_avd", "mis_avoidd"]
    told = speed.measure_stages(clip, names, "cpu", 1)
    assert told["stages_s"].keys() == {"decode_and_faces", "sound_and_quality", "provenance", "familiarity", *names,
                                       "total"}
    parts = sum(spent for name, spent in told["stages_s"].items() if name != "total")
    assert 0 < parts <= told["stages_s"]["total"] + 0.01
    assert told["realtime_factor"] == pytest.approx(told["stages_s"]["total"] / told["duration_s"], rel=0.02)
    preparing, read = sys.modules["media.prepare"], []  # the package's own `prepare` is the function
    reader = preparing._Reader
    monkeypatch.setattr(preparing, "_Reader", lambda *given: read.append(given) or reader(*given))
    second = speed.measure_second(clip, names, "cpu", 1)
    assert second["second_detectors"].keys() == {"mis_avoidd"} and second["second_detector_share"] > 0
    assert len(read) == 1  # for the first detector alone
    scoring = speed.measure_scoring(clip, names, "cpu", 1)
    assert scoring["vs_ss_avd"] == pytest.approx(scoring["scoring_s"] / scoring["ss_avd_forward_s"], rel=0.2)


def test_two_engines_lines_are_compared_number_by_number():
    line = {"clip": "a.mp4", "score": 0.5, "windows": [{"video": [0.1, None]}]}
    assert archive.difference([line], [line]) == 0
    assert archive.difference([line], [{**line, "windows": [{"video": [0.1002, None]}]}]) == pytest.approx(2e-4)
    for other in ({**line, "clip": "b.mp4"}, {**line, "windows": [{"video": [0.1, 0.1]}]}, {"clip": "a.mp4"}):
        assert archive.difference([line], [other]) == float("inf")


def test_what_an_archive_costs_by_hand():
    """Twelve seconds until the first of 11 clips is answered, of which 10 are the start; 2 s a clip on four cores."""
    figures = archive.cost(12.0, 32.0, 11, 4)
    assert figures == {"start_s": 10.0, "clip_s": 2.0, "clips_per_s": 0.5, "cores": 4, "core_hours_per_1000": 2.222}


def test_an_import_is_timed_without_the_interpreter(monkeypatch, tmp_path):
    (tmp_path / "sleepy.py").write_text("import time; time.sleep(0.5)")
    monkeypatch.setattr("benchmarks.start.ROOT", tmp_path)
    assert start.time_import("sleepy") > 0.25


def test_rounds_of_a_start_are_told_and_the_first_does_not_count(monkeypatch, capsys):
    """The first one reads from the disk; of the two others the mean is the median."""
    imports, pages = iter([100.0, 90.0, 1.0, 2.0, 3.0, 5.0]), iter([(80.0, None), (5.0, None), (7.0, None)])
    monkeypatch.setattr(start, "time_import", lambda module: next(imports))
    monkeypatch.setattr(start, "time_page", lambda: next(pages))
    assert start.main(["--repeats", "2", "--json"]) == 0
    *rounds, last = (line for line in capsys.readouterr().out.splitlines() if line.startswith(("round", "{")))
    assert rounds[0] == "round 0, not counted: import_s 100.0 scan_import_s 90.0 page_s 80.0" and len(rounds) == 3
    assert json.loads(last) == {"import_s": 2.0, "scan_import_s": 3.5, "page_s": 6.0, "paint_s": None}


@pytest.mark.parametrize("arguments", [["--lengths", "ten"], ["--device", "abacus"]])
def test_bad_usage_is_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        speed.main(arguments)
    assert stop.value.code == 2
