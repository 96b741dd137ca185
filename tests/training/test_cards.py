"""A card's page says what the weights carry: every figure in its place, no number from anywhere else. And a check
finds the figure that does not reproduce."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from detectors import MODULES
from detectors.checkpoint import read_card, save_checkpoint
from training import cards, evaluate
from training.cards import WORDS, card_page, compare, main, store_consensus, store_results

FIGURES = {"auc": 0.913, "auc_95": [0.871, 0.954], "shortcut_auc": 0.744, "fake": 31, "genuine": 47}
WITHIN = {"auc": 0.66, "auc_95": [0.5, 0.8], "shortcut_auc": 0.58, "compared": 9}
NONE = {"auc": None, "auc_95": [None, None], "shortcut_auc": None}
HEAD = {**FIGURES, "pauc": 0.71, "eer": 0.172, "ece": 0.061, "ece_by_chance": [0.05, 0.09], "coverage": 0.9,
        "at_manipulated": {"accuracy": 0.64, "tpr": 0.31, "fpr": 0.04},
        "at_suspicious": {"accuracy": 0.7, "tpr": 0.47, "fpr": 0.12},
        "within_source": WITHIN, "within_pair": {**NONE, "compared": 0}}
CALLED = {"MANIPULATED": 0.034, "SUSPICIOUS": 0.045, "NO_SIGNS": 0.9, "CANNOT_EVALUATE": 0.021}
SPANS = dict.fromkeys(("ap_50", "ap_75", "ap_90", "ap_95", "ar_100", "ar_50", "ar_20", "ar_10", "ar_5"), 0.25)
MATERIAL = {"route": "clips", "dataset": "manifest", "split": "val", "every": 1, "controls": True}
RESULTS = {
    **HEAD, "clips": 88, "genuine_called": CALLED, "fake_called": CALLED, "genuine_marked": 0.11,
    "genuine_marked_s_per_min": 1.5, "video": {**HEAD, "auc": 0.777}, "audio": {**HEAD, **NONE},
    "families": {"video:face_swap": {**FIGURES, "auc": 0.551}}, "compression": {"audio:heavy": FIGURES},
    "compression_by": "crf", "controls": {"whole:silence_only": {**FIGURES, "auc": 0.512}},
    "segments": {"any": {"clips": 20, "spans": 13, **SPANS, "ap_50_interval": [0.1, 0.4], "ar_20_interval": [0.1, 0.4]},
                 "sync": {"clips": 20, "spans": 0}},
    "material": MATERIAL,
}
CARD = {
    "name": "SS-AVD", "paper": "arXiv 2506.07358", "provisional": True, "step": 1800, "processes": 2, "fold": 0,
    "hours": 1.5, "input_spec": {"frames": 10, "face_px": 128, "window_s": 3.0, "hop_s": 1.0, "lips": 0},
    "recipe": {"detector": "ss_avd", "seed": 7, "batch": 16, "lesson": {}},
    "size": {"paper_parameters": 483402, "shipped_parameters": 436482, "gflops_per_window": 2.74,
             "paper_gflops_per_window": 8.36},
    "data": {"training": {"clips": 1378, "sources": 76, "hours": 1.94, "families": {"real": 286}}},
    "commit": "0123456789", "commands": ["python -m one", "python -m two"],
    "thresholds": {"manipulated": 0.812, "suspicious": 0.633, "segment_on": 0.701, "segment_off": 0.55},
    "results": RESULTS,
}


# ---- the page ---------------------------------------------------------------------------------------------------


def test_the_page_shows_the_measured_figures():
    page = card_page(CARD)
    assert "| whole clip | 0.91 | 0.87 to 0.95 | 0.74 | 31 | 47 |" in page
    assert "| picture | 0.78 |" in page and "| picture: face swap | 0.55 |" in page
    assert "| sound | – | – to – | – |" in page  # what could not be measured is a dash, not a zero
    assert "| picture, within a source | 0.66 | 0.50 to 0.80 | 0.58 |" in page
    assert "| sound: heavy compression | 0.91 |" in page and "| whole clip: silence only | 0.51 |" in page
    assert "error rate 0.17" in page and "is chance) 0.71" in page and "calibration error 0.06" in page
    assert "| any modality | 13 | 20 | 0.25 |" in page and "AR@100" in page and "| sync |" not in page
    assert "MANIPULATED from 0.812 on, SUSPICIOUS from 0.633 on" in page
    assert "| genuine clips | 3.4% | 4.5% | 90.0% | 2.1% |" in page
    assert "| MANIPULATED | 0.64 | 0.31 | 0.04 |" in page and "11.0% of the genuine clips" in page
    assert "Measured on 88 clips, all of the split `val` of manifest, through the same path as the app" in page
    assert "at commit `0123456789`" in page and "python -m one\npython -m two" in page
    assert "Seed 7, 1800 steps of 16 windows, fold 0 held out, 2 processes, 1.5 hours" in page
    assert "10 aligned faces of 128 pixels and the sound" in page and "**Provisional" in page and "Lite0" in page
    assert "436,482 parameters and 2.74 GFLOP" in page and "483,402 and 8.36" in page


def test_the_page_says_what_explanations_are_worth_where_that_was_measured():
    method = {"pointing": 0.75, "random_pointing": 0.021, "faithful_share": 0.5, "seconds": 4.25}
    found = {"planted": 12, "artefacts": 3, "evidence": 5, "methods": {"grad_cam": method},
             "default": {"method": "grad_cam", **method}}
    page = card_page({**CARD, "explanations": found})
    assert "| grad cam | 0.75 | 0.02 | 0.50 | 4.25 |" in page and "the app shows grad cam first" in page
    assert "none beats chance" in card_page({**CARD, "explanations": {**found, "default": None}})
    assert "explanations are worth" not in card_page(CARD)


def test_what_was_not_done_is_not_said():
    results = {**RESULTS, "controls": {}, "segments": {"any": {"clips": 9, "spans": 0}},
               "material": {**MATERIAL, "every": 4, "route": "prepared"}}
    page = card_page({**CARD, "recipe": {**CARD["recipe"], "lesson": {}}, "provisional": False, "hours": None,
                      "fold": None, "results": results})
    assert "one in 4 of the split" in page and "prepared shards" in page and "path as the app" not in page
    assert "**Provisional" not in page and "Controls" not in page and "AP@" not in page
    assert "was not measured" in page and "learnt from all folds" in page and " hours." not in page


@pytest.mark.parametrize("detector", ["ss_avd", "mmms_ba", "joint_av", "mis_avoidd"])
def test_every_detector_has_words_of_its_own(detector):
    page = card_page({**CARD, "recipe": {**CARD["recipe"], "detector": detector, "lesson": {}}})
    words = WORDS[detector]
    assert words.tells in page and words.departures in page and words.blind in page
    assert "Apache-2.0" in page  # its frozen face encoder
    assert ("MIT" in page) == (detector in ("mmms_ba", "mis_avoidd"))  # and one of speech


def test_no_detector_is_without_words():
    assert MODULES.keys() <= WORDS.keys()


def test_lips_are_said_where_a_detector_reads_them():
    spec = {**CARD["input_spec"], "lips": 32, "lips_px": 48}
    assert "128 pixels, 32 pictures of the lips of 48 pixels and the sound" in card_page({**CARD, "input_spec": spec})


def test_results_are_stored_in_the_checkpoint_and_beside_it(tmp_path):
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, {"w": torch.arange(3.0)}, {name: value for name, value in CARD.items() if name != "results"})
    for command in ("python -m training.evaluate ss_avd manifest DATA --card", "python -m training.evaluate it again"):
        store_results(path, RESULTS, command)
        assert read_card(path) == {**CARD, "commands": [*CARD["commands"], command]}  # the last one alone
    assert path.with_suffix(".md").read_text() == card_page(read_card(path))


FITS = {
    "fits": {"a+b": {"weights": {"a": 1.25, "b": 0.0}, "bias": 0.1, "manipulated": 0.84, "suspicious": 0.61}},
    "development": {"a+b": {"clips": 40, "genuine": 20, "auc": 0.871, "auc_within_source": 0.72}},
    "weights": {"a": "sha256:1", "b": "sha256:2"}, "left_out": ["c"],
    "command": "python -m training.consensus runs --samples SHARDS",
}


def test_the_consensus_has_a_page_with_its_weights_and_what_it_is_worth(tmp_path):
    path = tmp_path / "consensus.json"
    path.write_text(json.dumps(FITS))
    store_consensus(path, RESULTS)
    assert json.loads(path.read_text()) == {**FITS, "results": RESULTS}
    page = path.with_suffix(".md").read_text()
    assert "| a, b | 1.25 | 0.00 | 40 | 0.87 | 0.72 |" in page
    assert "| whole clip | 0.91 | 0.87 to 0.95 |" in page and "MANIPULATED from 0.840 on" in page
    assert "| genuine clips | 3.4% |" in page and "all held out: c." in page


# ---- the check --------------------------------------------------------------------------------------------------


def changed(**figures) -> dict:
    return {**copy.deepcopy(RESULTS), **figures}


def test_the_same_again_and_what_lies_within_the_tolerance_agree():
    assert compare("d", RESULTS, RESULTS) == []
    assert compare("d", RESULTS, changed(auc=0.922, auc_95=[0.845, 0.98], genuine_marked_s_per_min=1.65)) == []


@pytest.mark.parametrize("figures, place", [
    ({"auc": 0.924}, "auc"), ({"auc": None}, "auc"), ({"clips": 87}, "clips"), ({"auc_95": [0.83, 0.954]}, "auc_95.0"),
    ({"compression_by": "bits_per_s"}, "compression_by"), ({"genuine_called": {**CALLED, "NO_SIGNS": 0.88}},
                                                           "genuine_called.NO_SIGNS"),
    ({"video": {**HEAD, "auc": 0.777, "within_source": {**WITHIN, "auc": 0.6}}}, "video.within_source.auc"),
    ({"sync_told": 0.5}, "sync_told"),
])
def test_a_figure_that_does_not_reproduce_is_named(figures, place):
    [mismatch] = compare("d", RESULTS, changed(**figures))
    assert mismatch.figure == place and mismatch.detector == "d" and mismatch.card != mismatch.measured


def test_the_baseline_is_left_out_where_nothing_teaches_it():
    without = json.loads(json.dumps(RESULTS).replace("0.744", "null").replace("0.58,", "null,"))
    assert {m.figure.split(".")[-1] for m in compare("d", RESULTS, without)} == {"shortcut_auc"}
    assert compare("d", RESULTS, without, shortcuts=False) == []


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """ship(card): a folder of checkpoints that holds this one alone, and the results that are measured again."""
    measured = {"results": RESULTS, "asked": []}
    monkeypatch.setattr(cards, "CHECKPOINTS", tmp_path)

    def again(names, material, root, jobs, shortcuts):
        measured["asked"].append((names, material, root))
        return dict.fromkeys(names, measured["results"])

    monkeypatch.setattr(evaluate, "evaluate", again)

    def ship(card: dict) -> dict:
        save_checkpoint(tmp_path / "ss_avd.safetensors", {"w": torch.zeros(1)}, card)
        return measured

    return ship


def test_a_check_measures_as_the_card_says_and_fails_on_a_mismatch(shipped, tmp_path, capsys):
    measured = shipped(CARD)
    assert main([]) == 0 and (tmp_path / "ss_avd.md").read_text() == card_page(CARD)
    assert main(["--check", "--data", "ROOT", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"mismatches": [], "checked": ["ss_avd"]}
    [(names, material, root)] = measured["asked"]
    assert names == ["ss_avd"] and vars(material) == MATERIAL and str(root) == "ROOT"
    measured["results"] = changed(eer=0.3)
    assert main(["--check", "--data", "ROOT", "--json"]) == 1
    [mismatch] = json.loads(capsys.readouterr().out.splitlines()[-1])["mismatches"]
    assert mismatch == {"detector": "ss_avd", "figure": "eer", "card": 0.172, "measured": 0.3}


def test_a_page_that_somebody_wrote_into_is_a_mismatch(shipped, tmp_path, capsys):
    shipped(CARD)
    (tmp_path / "ss_avd.md").write_text(card_page(CARD).replace("0.91", "0.99"))
    assert main(["--check", "--data", "ROOT"]) == 1
    assert "page" in capsys.readouterr().out


@pytest.mark.parametrize("card, words, said", [
    (CARD, ["--check"], "give --data ROOT"), (CARD, ["--check", "--prepared", "x"], "give --data ROOT"),
    ({**CARD, "results": {**RESULTS, "material": {**MATERIAL, "route": "prepared"}}}, ["--check", "--data", "x"],
     "give --prepared SHARDS"),
    ({**CARD, "results": {"auc": 0.5}}, ["--check", "--data", "x"], "does not say how it was measured"),
    ({**CARD, "results": {"auc": 0.5}}, [], "does not say how it was measured"),
])
def test_a_check_without_its_material_is_refused_in_words(shipped, capsys, card, words, said):
    shipped(card)
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and said in capsys.readouterr().err
