"""A run in its own thread: stages, Stop, faults, and the lent GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import detectors as core
from media import ClipInfo, PreparedClip, Quality
from ui import scoring


def run_with(monkeypatch, analyse) -> scoring.Run:
    monkeypatch.setattr(core, "analyse", analyse)
    return scoring.Run("clip.mp4", [], "cpu")


def test_stages_come_in_order_with_their_time(monkeypatch):
    def analyse(path, detectors, device, on_stage):
        on_stage("Reading", 0.0)
        time.sleep(0.2)
        on_stage("Scoring", 0.2)
        return {"path": path, "detectors": detectors, "device": device}

    run = run_with(monkeypatch, analyse)
    assert [run.now for _ in run.stages()] == ["Reading", "Scoring"]
    assert run.result == {"path": "clip.mp4", "detectors": None, "device": "cpu"}, "no choice means all"
    (first, first_s), (second, _) = run.done
    assert (first, second) == ("Reading", "Scoring") and first_s >= 0.2


def test_stop_ends_the_wait_at_once_and_the_work_at_its_next_stage(monkeypatch):
    reached = []

    def analyse(path, detectors, device, on_stage):
        on_stage("Reading", 0.0)
        time.sleep(0.3)
        on_stage("Scoring", 0.3)
        reached.append("Scoring")

    run = run_with(monkeypatch, analyse)
    for _ in run.stages():
        run.stop()
    assert run.result is None and run.fault is None
    time.sleep(0.6)
    assert reached == []


def test_stop_before_the_start_means_no_start(monkeypatch):
    def analyse(path, detectors, device, on_stage):
        raise AssertionError("must not run")

    run = run_with(monkeypatch, analyse)
    run.stop()
    assert list(run.stages()) == [] and run.result is None and run.fault is None


def test_fault_is_kept_and_logged_without_the_file_name(monkeypatch, caplog):
    def analyse(path, detectors, device, on_stage):
        raise RuntimeError(f"cannot open {path}")

    run = run_with(monkeypatch, analyse)
    assert list(run.stages()) == [] and isinstance(run.fault, RuntimeError)
    assert "RuntimeError" in caplog.text and "clip.mp4" not in caplog.text


def clip_of(duration_s: float, faces: int) -> PreparedClip:
    info = ClipInfo("x.mp4", "0" * 64, 1, "mp4", duration_s)
    return PreparedClip(info, (None,) * faces, {}, {}, None, (), Quality((), {}))


def test_the_grant_grows_with_windows_faces_and_detectors_and_has_an_end(monkeypatch):
    spec = {"window_s": 2.0, "hop_s": 1.0, "frames": 1, "face_px": 8, "audio_hz": 16_000, "modalities": ["video"]}
    monkeypatch.setattr(core, "available", lambda: {"a": {"input_spec": spec}, "b": {"input_spec": spec}})
    monkeypatch.setattr(scoring, "GRANT_WINDOW_S", 0.5)
    ask = lambda duration_s, faces, *names: scoring.grant_s(clip_of(duration_s, faces), names, "auto")  # noqa: E731
    assert ask(11.0, 1, "a") == scoring.GRANT_S + 5  # 10 windows of half a second
    assert ask(11.0, 0, "a") == scoring.GRANT_S + 5  # the sound alone is windows too
    assert ask(11.0, 2, "a", "b") == scoring.GRANT_S + 20
    assert ask(600.0, 4, "a", "b") == scoring.LONGEST_GRANT_S


STAND_IN = """
import sys
assert "torch" not in sys.modules, "spaces must be imported before torch"
import pickle

inside, asked = [], []

def GPU(function=None, duration=60):
    def lent(*arguments):
        if function.__module__ == "ui.scoring":
            asked.append(duration(*arguments))
        inside.append(True)
        try:
            return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(arguments)))))  # another process
        finally:
            inside.pop()
    return lent
"""
ASK = """
import app, spaces
import detectors.analysis as analysis
from detectors import Analysis, Thresholds, Verdict
from ui import scoring, texts

where = {"prepare": [], "provenance": [], "score": []}

def watched(name, function):
    def call(*arguments, **given):
        where[name].append(bool(spaces.inside))
        return function(*arguments, **given)
    return call

analysis.prepare = watched("prepare", analysis.prepare)
analysis.read_provenance = watched("provenance", analysis.read_provenance)
analysis.analyse_clip = watched("score", lambda clip, detector: Analysis(
    clip.info, detector.id, "sha256:0", True, 0.3, None, 0.3, None, Verdict.NO_SIGNS, (), (), (),
    Thresholds(0.8, 0.6), 1.0))
assert scoring.on_lent_gpu()
stages = []
short = scoring.analyse(CLIP, ["ss_avd"], "cpu", lambda words, _: stages.append(words))
assert short["score"] == 0.3
assert where == {"prepare": [False], "provenance": [False], "score": [True]}, where
assert stages[-1] == texts.GPU and stages[0] == "Checking the file", stages
assert spaces.asked == [scoring.GRANT_S + 1], spaces.asked
"""


@pytest.mark.timeout(600)  # the app is imported anew, which takes minutes on a machine with much else to do
def test_with_a_lent_gpu_the_clip_is_decoded_before_the_grant_and_scored_in_it(tmp_path, examples_dir):
    """With a stand-in for the package that Hugging Face Spaces installs, whose worker is another process."""
    (tmp_path / "spaces.py").write_text(STAND_IN)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}", "SPACES_ZERO_GPU": "1"}
    code = f"CLIP = {str(examples_dir / 'speech_only.ogg')!r}\n{ASK}"
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, check=True, timeout=580)
