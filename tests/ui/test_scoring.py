"""A run in its own thread: stages, Stop, faults, and the lent GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import detectors as core
from ui import scoring, texts


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


def test_lent_gpu_gets_plain_values_only(monkeypatch):
    seen = []
    monkeypatch.setattr(scoring, "on_lent_gpu", lambda: True)
    monkeypatch.setattr(scoring, "_granted", lambda *values: seen.append(values) or {"ok": True})
    stages = []
    assert scoring.analyse("clip.mp4", ["a"], "auto", lambda *s: stages.append(s)) == {"ok": True}
    assert seen == [("clip.mp4", ["a"], "auto")] and stages == [(texts.GPU, 0.0)]


def test_spaces_comes_before_torch_and_lends_the_gpu(tmp_path):
    """With a stand-in for the package that Hugging Face Spaces installs."""
    (tmp_path / "spaces.py").write_text(
        "import sys\nassert 'torch' not in sys.modules, 'spaces must be imported before torch'\n"
        "def GPU(function):\n    function.lent = True\n    return function\n"
    )
    root = Path(__file__).resolve().parents[2]
    ask = "import app; from ui import scoring; assert scoring._granted.lent; assert scoring.on_lent_gpu()"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}", "SPACES_ZERO_GPU": "1"}
    subprocess.run([sys.executable, "-c", ask], env=environment, cwd=root, check=True, timeout=200)
