"""From a clip to an answer: verdicts, consensus, abstention, and the shipped detector on the demo clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detectors import BUILDERS, Verdict, analyse, available, load
from detectors import probe as probing
from detectors.analysis import analyse_clip, whole_score
from detectors.contract import WindowScores
from detectors.probe import Probe, Reading, weigh
from detectors.scoring import batches, to_inputs
from detectors.windows import cut_windows
from media import prepare
from media.variants import VARIANTS

M, S, N = Verdict.MANIPULATED, Verdict.SUSPICIOUS, Verdict.NO_SIGNS


def test_the_most_suspicious_face_decides_halfway_with_the_more_suspicious_part():
    """Log-odds of 0.8 are twice those of 2 / 3, and of 1 / 3 their negative."""
    start = np.array([0.0])
    tracks = [WindowScores(start, start + 3, None, None, None, np.array([w]), i) for i, w in enumerate((0.2, 0.8))]
    assert whole_score(tracks, {"video": 0.1, "audio": 1 / 3, "sync": 0.9}) == pytest.approx(2 ** 0.5 / (1 + 2 ** 0.5))
    assert whole_score(tracks, {"video": 0.8, "audio": None, "sync": None}) == pytest.approx(0.8)
    assert whole_score(tracks, {"video": None, "audio": None, "sync": None}) == pytest.approx(0.8)


def test_what_a_guest_says_of_the_whole_stands():
    start = np.array([0.0])
    scores = [WindowScores(start, start + 3, None, None, None, np.array([0.8]), 0)]
    assert whole_score(scores, {"video": 0.1, "audio": 0.2, "sync": None}, guest=True) == pytest.approx(0.8)


def test_a_missing_whole_head_is_replaced():
    start = np.array([0.0])
    bare = [WindowScores(start, start + 3, np.array([0.3]), None, None, None, 0)]
    assert whole_score(bare, {"video": 0.3, "audio": None, "sync": 0.6}) == pytest.approx(0.3)
    assert whole_score((), {"video": None, "audio": None, "sync": None}) is None


@pytest.mark.parametrize("name", available())
def test_batches_give_what_single_windows_give(name, talking_clip):
    detector = load(name, "cpu")
    windows = cut_windows(prepare(talking_clip), detector.spec)[0]
    with torch.inference_mode():
        for rows in batches(windows, 8):
            together = detector.logits(to_inputs(windows, rows, torch.device("cpu")))
            assert together
            for place, row in enumerate(rows):
                alone = detector.logits(to_inputs(windows, rows[place:place + 1], torch.device("cpu")))
                for head, logit in alone.items():
                    assert logit.item() == pytest.approx(together[head][place].item(), abs=1e-4), (head, row)


@pytest.mark.parametrize("name", available())
def test_the_same_clip_gives_the_same_answer(name, talking_clip):
    clip, detector = prepare(talking_clip), load(name, "cpu")
    assert analyse_clip(clip, detector).to_json() == analyse_clip(clip, detector).to_json()


def test_every_shipped_card_says_what_a_reader_needs():
    cards = available()
    assert set(cards) == set(BUILDERS)
    for card in cards.values():
        assert {"name", "paper", "provisional", "architecture", "input_spec", "calibration", "thresholds", "recipe",
                "data", "results", "commands"} <= card.keys()
        low, high = card["results"]["video"]["auc_95"]
        assert 0 <= low <= card["results"]["video"]["auc"] <= high <= 1


def test_a_clip_without_a_face_is_judged_by_its_sound_and_says_so(examples_dir):
    answer = analyse(examples_dir / "no_face.mp4", device="cpu")
    assert "NO_FACE" in answer["reasons"] and "error" not in answer
    detector = answer["detectors"]["ss_avd"]
    assert detector["video"] is None and detector["audio"] is not None and detector["score"] == detector["audio"]


def test_a_clip_without_sound_is_judged_by_its_picture_and_says_so(examples_dir):
    answer = analyse(examples_dir / "unaltered_face_no_sound.mp4", device="cpu")
    assert "NO_AUDIO" in answer["reasons"]
    detector = answer["detectors"]["ss_avd"]
    assert detector["audio"] is None and detector["score"] == detector["video"] is not None


def test_what_copies_turn_lowers_verdicts_and_leaves_scores(examples_dir, monkeypatch):
    path = examples_dir / "speech_only.ogg"
    plain = analyse(path, ["ss_avd"], "cpu")
    one = weigh(M, Reading(0.9, M), [(VARIANTS[0], Reading(0.2, N))])
    together = replace(one, after=Verdict.CANNOT_EVALUATE)
    found = Probe(0.0, 1.0, (), {"ss_avd": one}, together)
    monkeypatch.setattr(probing, "probe", lambda path, detectors, base, on_stage: found)
    answer = analyse(path, ["ss_avd"], "cpu", probe=True)
    assert answer["probe"] == found.to_json()
    assert (answer["verdict"], answer["detectors"]["ss_avd"]["verdict"]) == ("CANNOT_EVALUATE", "SUSPICIOUS")
    assert answer["score"] == plain["score"] == answer["detectors"]["ss_avd"]["score"]
    assert answer["consensus"] == plain["consensus"]  # who agreed is told of the clip itself


def test_a_file_that_cannot_be_read_is_an_answer_not_an_exception(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"not a video")
    answer = analyse(path)
    assert answer["verdict"] == "CANNOT_EVALUATE" and answer["score"] is None
    assert answer["reasons"] == [answer["findings"][0]["code"]] and answer["error"]


def test_unknown_detectors_and_devices_are_named(talking_clip):
    with pytest.raises(KeyError, match="there are: ss_avd"):
        analyse(talking_clip, ["xception"])
    with pytest.raises(ValueError, match="auto, cpu or cuda"):
        analyse(talking_clip, device="tpu")


def test_stages_are_said_in_order_with_the_time_spent(talking_clip):
    said = []
    analyse(talking_clip, device="cpu", on_stage=lambda words, spent_s: said.append((words, spent_s)))
    scoring = [f"Scoring with {card['name']}" for card in available().values()]
    assert [words for words, _ in said[-len(scoring) - 2:]] == [
        "Reading what the file tells of its making", "Comparing the clip with what the detectors learnt from", *scoring]
    assert [spent for _, spent in said] == sorted(spent for _, spent in said)
