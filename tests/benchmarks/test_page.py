"""The page of figures: blocks are written from results, and the page that is committed is what they give."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import page
from benchmarks.__main__ import _without_place, main
from benchmarks.page import NAMES, PAGE, fill, read_results, write_block

MACHINE = {"processor": "Abacus 3", "cores": 2, "memory_gb": 8, "gpu": None, "load": 0.1, "python": "3.11.0",
           "torch": "2.11.0", "av": "18.1.0"}


def record(figures: dict) -> dict:
    return {"command": "python -m benchmarks.x", "commit": "abc+", "day": "2026-01-02", "machine": MACHINE,
            "seconds": 12.3, "figures": figures}


def test_a_block_is_written_anew_and_the_words_around_it_stay():
    results = {"load": record({"failures": 0, "wrong_answers": 0, "p50_s": 1.5, "p95_s": None, "mb_per_request": 0.02})}
    before = "Words.\n<!-- load -->\nold\n<!-- end -->\nMore.\n<!-- fuzz -->\n<!-- end -->\n"
    after = fill(before, results)
    assert after.startswith("Words.\n<!-- load -->\n`python -m benchmarks.x`, 2026-01-02, commit `abc+`: 2 cores of")
    assert "| half have their answer within | 1.5 s |  |\n| 95 % have it within | – |  |" in after
    assert "old" not in after and "Not measured yet: `python -m benchmarks fuzz`." in after
    assert fill(after, results) == after
    with pytest.raises(KeyError):
        fill("<!-- poetry -->\n<!-- end -->", {})


def test_the_committed_page_says_what_the_committed_results_say():
    text = PAGE.read_text(encoding="utf-8")
    assert fill(text, read_results()) == text
    assert sorted(re.findall(r"<!-- (\w+) -->", text)) == sorted([*NAMES, *["end"] * len(NAMES)])
    for name, told in read_results().items():
        assert name in NAMES and told["command"].startswith(f"python -m benchmarks.{name}")


def test_what_a_figure_was_measured_with_names_no_folder_of_this_machine(tmp_path):
    assert _without_place(str(tmp_path)) == "DATA" and _without_place("--every") == "--every"


def test_robustness_has_a_row_for_each_copy_and_a_column_for_each_detector():
    quality = {"auc": 0.75, "ece": 0.1, "false_alarms": 0.05}
    copy = {"clips": 4, **quality, "auc_95": [0.5, 1.0], "before": {**quality, "auc": 0.8}, "flip_rate": 0.25,
            "lost_rate": None, "unusual_rate": 0.5}
    detector = {**copy, "copies": {"crf_35": copy},
                "unchanged": {**quality, "clips": 4, "auc_95": [0.5, None], "unusual_rate": 0.0},
                "risk_coverage": {"risk_at": {"0.5": 0.1, "1": 0.2}, "verdicts": {"coverage": 0.9, "risk": 0.125}},
                "determinism": {"clips": 2, "same": 2, "same_on_one_thread": 1, "threads": 2}}
    written = write_block("robustness", {"robustness": record({"one": detector, "two": detector})})
    assert "| crf_35 | 0.80 → 0.75 | 0.80 → 0.75 |" in written
    assert "| crf_35 | 25 %, –, 50 % | 25 %, –, 50 % |" in written
    assert "| one | 10 % | 20 % | 90 % | 12.5 % |" in written
    assert "| one | 4 | 0.75 | 0.5 to – | 0.1 | 5 % | 0 % |" in written and "| two | 2 | 2 | 2 | 1 |" in written


def test_preparing_has_a_row_for_every_rate_of_bits():
    first = {"mbit_s": 0.18, "decode_s": 0.1, "prepare_s": 0.6, "vs_decode": 6.0}
    figures = {"duration_s": 10.0, "width_px": 1280, "height_px": 720, "naive_s": 30.0, "vs_naive": 0.02, **first,
               "rates": [{"mbit_s": 2.5, "decode_s": 0.3, "prepare_s": 0.6, "vs_decode": 2.0}]}
    written = write_block("prepare", {"prepare": record(figures)})
    assert "| preparing beside naive | 0.02 | 0.25 at most |" in written
    assert "| 0.18 | 0.1 | 0.6 | 6 |" in written and "| 2.5 | 0.3 | 0.6 | 2 |" in written


def test_explanations_have_a_row_of_what_they_point_at_and_one_of_what_they_cost():
    times = {stage: {"seconds": seconds, "cpu_seconds": 9.9, "forwards": 10 * seconds}
             for stage, seconds in (("share", 0.54), ("ablation", 3.26), ("all", 12.2))}
    best = {"method": "ablation", "pointing": 0.6, "random_pointing": 0.05, "faithful_share": 0.8, "seconds": 3.26}
    figures = {"planted": 6, "artefacts": 1, "evidence": 2, "default": best, "times": times}
    written = write_block("explain", {"explain": record({"one": figures, "two": {**figures, "default": None}})})
    assert "| one | 3 of 6 | ablation | 0.6 | 0.05 | 80 % | 3.26 |" in written and "| two | 3 of 6 | – |" in written
    assert "| one | 0.5 (5) | 3.3 (33) | 12.2 (122) |" in written and "| goal | 2 | 5 | 15 |" in written


def test_an_unknown_name_lists_the_choices(capsys):
    assert main(["poetry"]) == 2 and "robustness" in capsys.readouterr().err
    assert main(["--help"]) == 0 and "benchmarks page" in capsys.readouterr().out


def test_running_keeps_the_last_line_as_figures(monkeypatch, tmp_path, capsys):
    """The command is one that stands in: it prints words and figures."""
    import benchmarks.__main__ as command

    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "start.py").write_text("import sys\nprint('words', sys.argv[1:])\nprint('{\"a\": 1}')")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "PAGE", tmp_path / "page.md")
    assert command.main(["start", "--repeats", "1", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / "results" / "start.json").read_text())
    assert kept["figures"] == {"a": 1} and kept["command"] == "python -m benchmarks.start --repeats 1 DATA"
    assert kept["machine"]["cores"] and page.provenance({**kept, "commit": None})
    assert "words ['--repeats', '1'" in capsys.readouterr().out
