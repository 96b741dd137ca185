"""Which finding of an answer is explained, and what is written into the answer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from explain import findings
from explain.findings import candidates, explain_answer, pictures_of, to_overlay
from tests.explain.hand_made import FAILED, PASSED, fine, readable, told
from tests.explain.tiny_detectors import SPEC, Spots, TinyDetector, a_clip

WINDOWS = [
    {"track": 0, "start_s": [0.0, 1.0], "end_s": [1.0, 2.0], "video": [0.9, 0.1], "audio": [0.2, None], "sync": None,
     "whole": [0.3, 0.6]},
    {"track": 1, "start_s": [0.0, 1.0], "end_s": [1.0, 2.0], "video": [0.1, 0.1], "audio": [0.2, None], "sync": None,
     "whole": [0.1, 0.7]},
]


def segment(score: float, modality: str, start_s=1.0, end_s=2.0) -> dict:
    return {"start_s": start_s, "end_s": end_s, "score": score, "modality": modality, "track": 0}


def test_the_strongest_segment_comes_first():
    found = {"score": 0.8, "segments": [segment(0.7, "video"), segment(0.9, "audio")], "windows": WINDOWS}
    assert [c["segment"].score for c in candidates(found)] == [0.9, 0.7]


def test_where_nothing_is_marked_it_is_the_most_suspicious_window():
    assert candidates({"score": 0.5, "segments": [], "windows": WINDOWS}) == [
        {"moment_s": 1.5, "track_id": 1, "head": "whole"}]
    without = [{**w, "whole": None} for w in WINDOWS]
    assert candidates({"score": 0.5, "segments": [], "windows": without}) == [
        {"moment_s": 0.5, "track_id": 0, "head": "video"}]
    assert candidates({"score": None, "segments": [], "windows": WINDOWS}) == []


class ScoresAlone:
    """A detector from outside, which cannot be explained."""

    id, spec, card = "outside", SPEC, {}


def broken_guest() -> TinyDetector:
    """One from outside, whose model is none."""
    guest = TinyDetector(Spots())
    guest.card = {**guest.card, "name": "Broken", "added": "broken:Broken"}
    guest.logits = lambda inputs: None
    return guest


@pytest.fixture
def answered(monkeypatch):
    detectors = {"tiny": TinyDetector(Spots()), "quiet": TinyDetector(Spots()), "outside": ScoresAlone(),
                 "broken": broken_guest()}
    monkeypatch.setattr(findings, "load", lambda name, device: detectors[name])
    answer = {"detectors": {
        "tiny": {"score": 0.9, "segments": [segment(0.95, "sync"), segment(0.9, "video")], "windows": WINDOWS},
        "quiet": {"score": None, "segments": [], "windows": []},
        "outside": {"score": 0.9, "segments": [segment(0.9, "video")], "windows": WINDOWS},
        "broken": {"score": 0.9, "segments": [segment(0.9, "video")], "windows": WINDOWS}}}
    return answer, explain_answer(a_clip(), answer, device="cpu")


def test_each_detector_is_explained_or_it_says_why_not(answered):
    answer, explained = answered
    assert [(e.detector, e.head, e.complete) for e in explained] == [("tiny", "video", True)]  # no head tells sync
    assert explained[0].start_s.tolist() == [1.0]
    assert json.loads(json.dumps(answer["explanations"])) == [explained[0].to_json()]
    assert list(answer["not_explained"]) == ["quiet", "outside", "broken"]
    assert "failed with TypeError" in answer["not_explained"]["broken"]
    names = {p.name for p in pictures_of(a_clip(), explained, {})}
    assert {"faces", "lips", "spectrogram", "regions", "bands"} <= names


def an_answer(verdict: str = "MANIPULATED", by_sync: bool = False, weight: float = 1.0, **own) -> dict:
    """By the detector of the hand-made explanations."""
    return {"verdict": verdict, "detectors": {"tiny": {"score": 0.9, "sync": None, **own}, "other": {"score": 0.9}},
            "consensus": {"fitted": True, "by_sync": by_sync, "weights": {"score": {"tiny": weight}}}}


def test_a_video_shows_the_highest_score_among_maps_that_passed():
    low, high = replace(told(fine()), score=0.6), replace(told(readable()), score=0.7)
    assert to_overlay([low, high], an_answer()) is high
    assert to_overlay([low, replace(high, faithfulness={"ablation": FAILED})], an_answer()) is low
    assert to_overlay([replace(low, faithfulness={})], an_answer()) is None and PASSED.passed


def test_a_video_shows_only_what_the_verdict_rests_on():
    video, sync = told(fine()), replace(told(fine()), head="sync")
    assert to_overlay([video, sync], an_answer(by_sync=True, weight=0.0)) is sync
    assert to_overlay([video], an_answer(by_sync=True)) is None
    assert to_overlay([video], an_answer(weight=0.0)) is None
    assert to_overlay([sync], an_answer()) is None
    assert to_overlay([video], an_answer("NO_SIGNS")) is None
    unfitted = an_answer(sync=0.9)
    unfitted["consensus"]["fitted"] = False
    assert to_overlay([video, sync], unfitted) is sync
