"""The benchmark commands run, and print the keys that others read. Their figures are not tested."""

from __future__ import annotations

import json

import pytest

from benchmarks import prepare


def test_prepare_prints_its_figures_as_json(capsys, examples_dir):
    clip = examples_dir / "mouth_redrawn.mp4"
    assert prepare.main(["--clip", str(clip), "--repeats", "1", "--naive-seconds", "0.2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["width_px"] == 400 and figures["duration_s"] == pytest.approx(8.26, abs=0.05)
    assert figures["vs_naive"] == pytest.approx(figures["prepare_s"] / figures["naive_s"], rel=0.05)
    assert figures["vs_decode"] > 1  # preparing holds a decode


def test_a_clip_that_is_made_is_also_prepared_with_more_bits(capsys):
    options = ["--seconds", "1.5", "--rates", "1,4", "--repeats", "1", "--naive-seconds", "0.1", "--json"]
    assert prepare.main(options) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    rates = [figures["mbit_s"], *(one["mbit_s"] for one in figures["rates"])]
    assert len(rates) == 3 and rates == sorted(set(rates))
    assert all(one["vs_decode"] > 1 for one in figures["rates"])


def test_a_missing_clip_is_bad_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        prepare.main(["--clip", "nowhere.mp4"])
    assert stop.value.code == 2 and "not a file" in capsys.readouterr().err
