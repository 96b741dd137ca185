"""A card's page says what the weights carry: every figure in its place, no number from anywhere else."""

from __future__ import annotations

import torch

from detectors.checkpoint import read_card, save_checkpoint
from training.cards import card_page, store_results

FIGURES = {"auc": 0.913, "auc_95": [0.871, 0.954], "fake": 31, "genuine": 47}
CALLED = {"CANNOT_EVALUATE": 0.021, "MANIPULATED": 0.034, "NO_SIGNS": 0.9, "SUSPICIOUS": 0.045}
RESULTS = {
    **FIGURES, "clips": 88, "every": 1, "eer": 0.172, "ece": 0.061, "genuine_called": CALLED, "fake_called": CALLED,
    "video": {**FIGURES, "auc": 0.777, "within_source_auc": 0.66, "coverage": 0.9},
    "audio": {**FIGURES, "auc": None, "auc_95": [None, None], "within_source_auc": None, "coverage": 0.9},
    "families": {"video:face_swap": {**FIGURES, "auc": 0.551}},
}
CARD = {
    "name": "SS-AVD", "paper": "arXiv 2506.07358", "provisional": True, "step": 1800, "processes": 2,
    "input_spec": {"frames": 10, "face_px": 128, "window_s": 3.0, "hop_s": 1.0},
    "recipe": {"seed": 7, "batch": 16, "imitation": 1.0},
    "data": {"training": {"clips": 1378, "sources": 76, "hours": 1.94, "families": {"real": 286}}},
    "commit": "0123456789", "commands": ["python -m one", "python -m two"],
    "thresholds": {"manipulated": 0.812, "suspicious": 0.633, "segment_on": 0.701, "segment_off": 0.55},
}


def test_the_page_shows_the_measured_figures():
    page = card_page({**CARD, "results": RESULTS})
    assert "| whole clip | 0.91 | 0.87 to 0.95 | 31 | 47 |" in page
    assert "| picture | 0.78 |" in page and "| video: face_swap | 0.55 |" in page
    assert "| sound | – | – to – |" in page  # what could not be measured is a dash, not a zero
    assert "picture 0.66, sound –" in page and "error rate 0.17" in page and "error 0.06" in page
    assert "MANIPULATED from 0.812 on, SUSPICIOUS from 0.633 on" in page
    assert "| genuine clips | 2.1% | 3.4% | 90.0% | 4.5% |" in page
    assert "Measured on 88 clips, all of the validation split" in page
    assert "at commit `0123456789`" in page and "python -m one\npython -m two" in page
    assert "Seed 7, 1800 steps of 16 windows in each of 2" in page
    assert "10 aligned faces of 128 pixels" in page and "**Provisional" in page and "Lite0" in page


def test_a_part_of_the_split_and_a_run_without_teacher_are_said_so():
    page = card_page({**CARD, "recipe": {**CARD["recipe"], "imitation": 0}, "provisional": False,
                      "results": {**RESULTS, "every": 4}})
    assert "one in 4 of the validation split" in page and "Lite0" not in page and "**Provisional" not in page


def test_results_are_stored_in_the_checkpoint_and_beside_it(tmp_path):
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, {"w": torch.arange(3.0)}, CARD)
    store_results(path, RESULTS)
    assert read_card(path) == {**CARD, "results": RESULTS}
    assert path.with_suffix(".md").read_text() == card_page(read_card(path))
