"""What the page says of detectors from outside, of still pictures, and of the memory that detectors took."""

from __future__ import annotations

import re

import pytest

from ui import compare, explain, mouth, probe, texts
from ui.api import describe
from ui.detectors import detectors_html
from ui.explaining import check_question
from ui.figures import scores_figure
from ui.player import player_html
from ui.timeline import timeline_html
from ui.verdict import verdict_html

ADDED = {"name": "<b>Flicker</b>", "added": "flicker:Flicker", "checkpoint": "sha256:" + "ab" * 32, "provisional": True,
         "explainable": False, "input_spec": {"modalities": ("video",)},
         "thresholds": {"manipulated": 0.9, "suspicious": 0.5}}


def words(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html)


@pytest.fixture
def guest(result, cards):
    """The result and cards with a detector from outside beside SS-AVD."""
    result["detectors"]["flicker"] = {**result["detectors"]["ss_avd"]}
    return result, {**cards, "flicker": ADDED}


@pytest.fixture
def still(result):
    """What SS-AVD says of a still picture."""
    window = {"track": 0, "start_s": [0.0], "end_s": [0.04], "video": [0.7], "audio": None, "sync": None,
              "whole": [0.7]}
    result["detectors"]["ss_avd"] |= {"score": None, "verdict": "CANNOT_EVALUATE", "segments": [], "windows": [window],
                                      "video": 0.7, "audio": None, "reasons": ["STILLS_NOT_CALIBRATED"]}
    result["media"] |= {"still": True, "container": "jpeg", "video_codec": "jpeg", "audio_codec": None, "fps": None}
    return {**result, "duration_s": 0.0, "score": None, "verdict": "CANNOT_EVALUATE", "clip": "face.jpg",
            "consensus": {"video": 0.7, "audio": None, "sync": None, "agree": 0, "of": 0},
            "findings": [{"code": "STILL_PICTURE", "message": "This is a still picture.", "remedy": "Use the video.",
                          "blocks": ["audio"]}]}


def test_a_detector_from_outside_is_named_where_it_counted(guest, cards):
    result, all_cards = guest
    told = verdict_html(result, all_cards)
    assert texts.ADDED_BADGE in told and "&lt;b&gt;Flicker" in told and "<b>Flicker" not in told
    assert texts.PROVISIONAL_BADGE in told  # SS-AVD's own
    del result["detectors"]["ss_avd"]
    assert texts.PROVISIONAL_BADGE not in verdict_html(result, all_cards)
    assert texts.ADDED_BADGE not in verdict_html({**result, "detectors": {}}, cards)


def test_its_card_says_whose_word_it_is_and_what_is_missing(guest):
    told = words(detectors_html(guest[1]))
    assert "class flicker:Flicker of this machine" in told and "its author’s word" in told
    for missing in ("What it tells is not in its card", "No measured results are in its card",
                    "What it learnt from is not in its card", "names no licence"):
        assert missing in told
    assert describe({"flicker": ADDED})[0]["checkpoint"] == ADDED["checkpoint"]


def test_what_has_no_logits_is_not_offered_to_be_explained(guest):
    result, all_cards = guest
    subject = explain.offered(result, all_cards, "clip.mp4")[0]
    assert list(subject["detectors"]) == ["ss_avd"]
    del result["detectors"]["ss_avd"]
    assert explain.offered(result, all_cards, "clip.mp4")[0] is None
    with pytest.raises(ValueError, match="cannot be explained"):
        check_question("flicker", 0.0, 1.0, None, None, "blur", all_cards)


def test_a_still_picture_is_shown_and_nothing_that_needs_time(still, cards):
    told = player_html(still, '/tmp/a b"<.jpg')
    assert told.startswith("<img ") and texts.PICTURE_ALT in told and '"<' not in told and "<video" not in told
    assert timeline_html(still, cards) == "" and mouth.offered(still, "face.jpg")[1] == ""
    assert explain.offered(still, cards, "face.jpg")[0] is None and probe.offered(still, "face.jpg")[0] is None
    assert scores_figure(still, cards).data  # one point


def test_a_still_picture_s_verdict_has_the_part_the_reason_and_no_probability(still, cards):
    told = words(verdict_html(still, cards))
    assert texts.VERDICTS["CANNOT_EVALUATE"][0] in told and "This is a still picture. Use the video." in told
    assert "0.70" in told and texts.STILL_SCORE in told and "%" not in told and "Estimated probability" not in told


def test_memory_stands_in_the_comparison_with_what_it_means(result, cards):
    result["detectors"]["joint_av"] = {**result["detectors"]["ss_avd"]}
    result["memory"] = {"ss_avd": {"weights_mb": 1.84, "rise_mb": 120.4, "of": "process"},
                        "joint_av": {"weights_mb": None, "rise_mb": 3.0, "of": "process"}}
    told = words(compare.scores_html(result, cards))
    assert "2 MB of weights, +120 MB while scoring" in told and " +3 MB while scoring" in told
    assert "no budget" in told and "graphics card" not in told
    result["memory"]["ss_avd"]["of"] = result["memory"]["joint_av"]["of"] = "card"
    assert "no budget" not in words(compare.scores_html(result, cards))
    del result["memory"]
    assert "MB" not in words(compare.scores_html(result, cards))
