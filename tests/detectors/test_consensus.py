"""What several detectors say together: plain where nobody fitted it, weighted where somebody did."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from detectors import Verdict
from detectors.checkpoint import save_checkpoint
from detectors.consensus import FITS, Voice, decide, majority
from detectors.consensus import agree as agree_voices
from detectors.contract import Thresholds

M, S, N, C = Verdict.MANIPULATED, Verdict.SUSPICIOUS, Verdict.NO_SIGNS, Verdict.CANNOT_EVALUATE


@pytest.fixture
def fitted(tmp_path):
    """Of a and b: a counts twice, b once."""
    fits = {"a+b": {"weights": {"a": 2.0, "b": 1.0}, "bias": -1.0, "manipulated": 0.8, "suspicious": 0.6}}
    (tmp_path / FITS).write_text(json.dumps({"fits": fits, "weights": {"a": "sha256:1", "b": "sha256:2"},
                                              "left_out": ["old"]}))
    for number, name in enumerate("abc", start=1):
        ship(tmp_path, name, f"sha256:{number}")
    return tmp_path


def ship(folder: Path, name: str, weights: str) -> None:
    save_checkpoint(folder / f"{name}.safetensors", {"w": torch.zeros(1)}, {"weights": weights})


def agree(scores: dict, verdicts: dict, folder: Path):
    return agree_voices({name: Voice(score, verdicts[name]) for name, score in scores.items()}, folder)


def test_verdicts_by_threshold():
    thresholds = Thresholds(manipulated=0.8, suspicious=0.5)
    assert [decide(s, thresholds) for s in (0.8, 0.79, 0.5, 0.49, None)] == [M, S, S, N, C]


def test_the_middle_verdict_needs_more_than_one_alarm():
    assert majority([M, N, N, N]) == N
    assert majority([M, M, N, N]) == N
    assert majority([M, M, S, N]) == S
    assert majority([M, M, M, N]) == M
    assert majority([]) == C


def test_without_a_fit_the_mean_and_the_middle_stand_for_all(tmp_path):
    told = agree({"a": 0.9, "b": 0.8, "c": 0.1}, {"a": M, "b": M, "c": N}, tmp_path)
    assert (told.score, told.verdict, told.fit) == (pytest.approx(0.6), M, None)
    assert told.weights == dict.fromkeys("abc", pytest.approx(1 / 3))


def test_those_who_abstain_do_not_count(tmp_path):
    told = agree({"a": 0.9, "b": None}, {"a": M, "b": C}, tmp_path)
    assert (told.score, told.verdict, told.weights) == (0.9, M, {"a": 1.0})
    nobody = agree({"a": None}, {"a": C}, tmp_path)
    assert (nobody.score, nobody.verdict, nobody.weights) == (None, C, {})


def test_a_fit_weighs_log_odds(fitted):
    """log-odds of 0.9 are log 9, of 0.2 -log 4: 2 log 9 - log 4 - 1."""
    told = agree({"a": 0.9, "b": 0.2}, {"a": M, "b": S}, fitted)
    assert told.score == pytest.approx(1 / (1 + math.exp(-(2 * math.log(9) - math.log(4) - 1))))
    assert told.fit and told.weights == {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3)}
    assert told.verdict == M


def test_one_alarm_alone_accuses_nobody(fitted):
    assert agree({"a": 0.99, "b": 0.2}, {"a": M, "b": N}, fitted).verdict == S


def test_half_doubts_do_not_add_up_to_suspicion(fitted):
    told = agree({"a": 0.7, "b": 0.6}, {"a": N, "b": N}, fitted)
    assert told.score > 0.6 and told.verdict == N
    assert agree({"a": 0.7, "b": 0.6}, {"a": N, "b": S}, fitted).verdict == S


def test_a_fit_holds_for_its_own_set_and_its_own_weights(fitted):
    scores, verdicts = {"a": 0.9, "b": 0.2}, {"a": M, "b": N}
    assert not agree({**scores, "c": 0.5}, {**verdicts, "c": N}, fitted).fit
    assert not agree({"a": 0.9, "guest": 0.2}, {"a": M, "guest": N}, fitted).fit
    assert agree({**scores, "c": None}, {**verdicts, "c": C}, fitted).fit  # c abstains: a and b remain
    assert agree({"a": 0.9}, {"a": M}, fitted).score == 0.9  # one speaks for itself
    heard = agree({**scores, "old": 0.99}, {**verdicts, "old": M}, fitted)
    assert heard.fit and heard.weights["old"] == 0 and heard.score == agree(scores, verdicts, fitted).score
    assert not agree({"a": 0.9, "old": 0.2}, {"a": M, "old": N}, fitted).fit  # one alone has no fit
    ship(fitted, "b", "sha256:9")
    assert not agree(scores, verdicts, fitted).fit


def test_the_answer_says_what_the_consensus_is_made_of(fitted):
    told = agree({"a": 0.9, "b": 0.2}, {"a": M, "b": N}, fitted).to_json()
    assert told == {"weights": {"score": {"a": 0.6667, "b": 0.3333}}, "fitted": True, "by_sync": False,
                    "thresholds": {"manipulated": 0.8, "suspicious": 0.6}}
    assert agree({"a": 0.9}, {"a": M}, fitted).to_json() == {"weights": {"score": {"a": 1.0}}, "fitted": False}


def test_scores_at_the_ends_stay_finite(fitted):
    assert 0 < agree({"a": 0.0, "b": 1.0}, {"a": N, "b": M}, fitted).score < 1


def test_whether_sound_belongs_is_asked_of_those_who_listen_for_it(fitted):
    """a hears nothing of sync: its low score does not dilute what b hears. b's own score is not counted twice."""
    voices = {"a": Voice(0.2, N, 0.2), "b": Voice(0.97, M, 0.3, 0.97)}
    told = agree_voices(voices, fitted)
    assert told.by_sync and told.score == pytest.approx(0.97) and told.verdict == S  # b's alarm alone accuses nobody
    quiet = agree_voices({**voices, "b": Voice(0.3, N, 0.3, 0.001)}, fitted)
    logit = 2 * math.log(0.2 / 0.8) + math.log(0.3 / 0.7) - 1  # good sync is no sign that a clip is genuine
    assert not quiet.by_sync and quiet.score == pytest.approx(1 / (1 + math.exp(-logit)))


def test_several_who_listen_are_averaged(fitted):
    """log-odds of 0.9 and 0.5: log 9 / 2, the odds are 3 to 1."""
    told = agree_voices({"a": Voice(0.9, M, 0.2, 0.9), "b": Voice(0.5, N, 0.3, 0.5)}, fitted)
    assert told.score == pytest.approx(0.75)
