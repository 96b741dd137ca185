"""Questions that the page and the report ask of an answer."""

from __future__ import annotations

import pytest

from explain import words
from explain.answer import (
    agreement_words,
    band_edges,
    band_words,
    detector_verdict_words,
    explained_score,
    follow_from_curve,
    lanes,
    listed,
    more_alarmed,
    offset_words,
    verdict_words,
    why_not_judged,
)

NAMES = {"a": {"name": "Ada"}, "b": {"name": "Ben"}}


def test_names_are_listed_as_in_a_sentence():
    assert [listed(["A", "B", "C"][:n]) for n in (1, 2, 3)] == ["A", "A and B", "A, B and C"]


def test_bands_end_where_the_next_begins_and_strong_signs_may_have_none():
    usual, widened = {"suspicious": 0.6, "manipulated": 0.8}, {"suspicious": 0.6, "manipulated": 1.0}
    assert band_edges(usual) == (0.0, 0.6, 0.8, 1.0) and band_edges(widened) == (0.0, 0.6, 1.0)
    assert band_words(usual).endswith("From 80 %: strong signs.")
    assert "unlike" in band_words(widened) and "100" not in band_words(widened)


@pytest.mark.parametrize(("verdict", "own", "said"), [
    ("NO_SIGNS", ("MANIPULATED", "MANIPULATED", "NO_SIGNS", "NO_SIGNS"),
     ["By themselves, Ada and Ben find strong signs of manipulation."]),
    ("NO_SIGNS", ("SUSPICIOUS", "MANIPULATED", "NO_SIGNS", "NO_SIGNS", "NO_SIGNS"),
     ["By itself, Ben finds strong signs of manipulation.", "By itself, Ada finds some signs of manipulation."]),
    ("SUSPICIOUS", ("NO_SIGNS", "SUSPICIOUS", "MANIPULATED"), ["By itself, c finds strong signs of manipulation."]),
    ("MANIPULATED", ("MANIPULATED", "MANIPULATED", "CANNOT_EVALUATE"), []),
    ("CANNOT_EVALUATE", ("MANIPULATED", "CANNOT_EVALUATE"), []),
])
def test_who_finds_more_than_the_verdict_says_is_named(verdict, own, said):
    answer = {"verdict": verdict, "detectors": {name: {"verdict": v} for name, v in zip("abcde", own)}}
    assert more_alarmed(answer, NAMES) == said
    heading, meaning = words.DISPUTED if verdict == "NO_SIGNS" and said else words.VERDICTS[verdict]
    assert verdict_words(answer)[0] == heading


def test_what_nobody_disputes_keeps_its_words():
    quiet = {"verdict": "NO_SIGNS", "detectors": {"a": {"verdict": "NO_SIGNS"}, "b": {"verdict": "CANNOT_EVALUATE"}}}
    assert verdict_words(quiet) == (words.VERDICTS["NO_SIGNS"][0], words.BY_ONE["NO_SIGNS"])
    assert verdict_words({"verdict": "CANNOT_EVALUATE", "detectors": {}}) == words.VERDICTS["CANNOT_EVALUATE"]


def an_answer(verdict: str = "SUSPICIOUS", own=("SUSPICIOUS",), **given) -> dict:
    """Of detectors a, b, c, ... with these verdicts."""
    detectors = {name: {"verdict": v, "score": None if v == "CANNOT_EVALUATE" else 0.5, "sync": None, "segments": [],
                        "windows": []} for name, v in zip("abcd", own)}
    return {"verdict": verdict, "detectors": detectors, "consensus": {"of": len(own)}, **given}


def test_signs_say_where_to_look_as_far_as_a_span_is_marked():
    answer = an_answer("MANIPULATED", ("MANIPULATED", "SUSPICIOUS"))
    assert verdict_words(answer)[1] == f"{words.VERDICTS['MANIPULATED'][1]} {words.LOOK[False]}"
    answer["detectors"]["a"]["segments"] = [{"start_s": 0.0, "end_s": 1.0, "score": 0.9, "modality": "video"}]
    assert verdict_words(answer)[1].endswith(words.LOOK[True])


@pytest.mark.parametrize("faces, windows, tracks", [
    ([0], [{"track": None, "video": [None], "audio": [0.3]}], [0]),  # a face that is not judged
    ([0, 1], [{"track": 0, "video": [0.2]}], [0, 1]),
    ([], [{"track": None, "video": [None], "audio": [0.3]}], [None]),
    ([0], [{"track": None, "video": [0.4]}], [0, None]),  # of a detector that does not say whose
])
def test_each_face_has_one_lane_for_the_picture(faces, windows, tracks):
    answer = {"media": {"faces": [{"track": track} for track in faces]}}
    told = lanes(answer, {"windows": windows})
    assert [track for modality, track in told if modality == "video"] == tracks
    assert [track for modality, track in told if modality == "audio"] == [None]


def test_one_detector_is_not_spoken_of_as_several():
    _, meaning = verdict_words(an_answer("MANIPULATED", ("MANIPULATED", "CANNOT_EVALUATE")))
    assert meaning.startswith("One detector judged this clip") and "together" not in meaning.lower()


def test_agreement_is_counted_before_copies_turned_a_detector_s_answer():
    answer = an_answer("SUSPICIOUS", ("SUSPICIOUS", "CANNOT_EVALUATE"))
    answer["probe"] = {"consensus": {"verdict_before": "SUSPICIOUS"},
                       "detectors": {"a": {"verdict_before": "SUSPICIOUS"}, "b": {"verdict_before": "SUSPICIOUS"}}}
    assert "2 of 2 detectors" in agreement_words(answer, {})
    assert detector_verdict_words(answer, "a") == "Some signs of manipulation"
    assert detector_verdict_words(answer, "b") == (
        "This clip cannot be judged (before the copies were tried: some signs of manipulation)")


def test_the_verdict_says_what_decided_it():
    def told(**consensus) -> str:
        answer = an_answer(own=("SUSPICIOUS", "NO_SIGNS", "NO_SIGNS"))
        return agreement_words({**answer, "consensus": {"of": 3, **consensus}}, NAMES)

    even = {"score": {"a": 0.6, "b": 0.4, "c": 0.1}}
    assert "1 of 3" in told() and "the middle one" in told(fitted=False) and "the middle one" in told()
    assert "all their scores together" in told(fitted=True, by_sync=False, weights=even)
    assert "what Ada and c say;" in told(fitted=True, weights={"score": {"a": 0.9, "b": 0.0, "c": 0.1}})
    assert "what Ada says;" in told(fitted=True, weights={"score": {"a": 0.9999, "b": 0.0, "c": 0.0001}})
    assert "The lip-sync decides" in told(fitted=True, by_sync=True) and "all their scores" not in told(
        fitted=True, by_sync=True)
    assert agreement_words(an_answer(), NAMES) == ""


def test_a_lip_sync_that_decides_unmeasured_says_so():
    answer = an_answer(own=("MANIPULATED", "SUSPICIOUS", "NO_SIGNS"))
    answer["consensus"].update(fitted=True, by_sync=True)
    for name in "ab":
        answer["detectors"][name]["sync"] = 0.9
    measured = {"results": {"sync": {"auc": 0.9}}}
    cards = {"a": {"name": "Ada", **measured}, "b": {"name": "Ben", "results": {"sync": {"auc": None}}}}
    assert agreement_words(answer, cards).endswith(words.SYNC_UNMEASURED.format(names="Ben"))
    cards["b"] |= measured
    assert "not measured" not in agreement_words(answer, cards)
    answer["consensus"]["by_sync"] = False
    answer["consensus"]["weights"] = {"score": {"a": 0.5, "b": 0.5}}
    assert "not measured" not in agreement_words(answer, {})


def test_one_detector_whose_lip_sync_decides_says_that_it_was_not_measured():
    answer = an_answer()
    answer["detectors"]["a"]["sync"] = answer["detectors"]["a"]["score"]
    assert agreement_words(answer, NAMES) == words.SYNC_UNMEASURED.format(names="Ada")


HEADS = {"video": [0.5], "audio": [0.5], "sync": None, "whole": None, "start_s": [0.0], "end_s": [1.0], "track": 0}


@pytest.mark.parametrize(("blocks", "modality", "said"), [
    (["video"], "sync", "No face was found"),
    (["audio"], "sync", "No face was found"),
    (["video"], "video", "No face was found"),
    (["video"], "audio", words.NOT_JUDGED_NO_WINDOW),
    ([], "sync", words.NOT_JUDGED_NO_WINDOW),
])
def test_a_part_that_was_not_judged_gives_what_blocks_it(blocks, modality, said):
    answer = an_answer(findings=[{"message": "No face was found.", "blocks": blocks}])
    assert why_not_judged(answer, modality) == said


def test_a_head_is_called_missing_where_detectors_judged_without_it():
    answer = an_answer(own=("NO_SIGNS", "NO_SIGNS"))
    answer["detectors"]["a"]["windows"] = answer["detectors"]["b"]["windows"] = [HEADS]
    assert why_not_judged(answer, "sync") == words.NOT_JUDGED_NO_HEAD["sync"]
    answer["detectors"]["b"]["windows"] = [{**HEADS, "sync": [None]}]
    assert why_not_judged(answer, "sync") == words.NOT_JUDGED_NO_WINDOW


@pytest.mark.parametrize(("offset_s", "said"), [
    (-0.6, words.OFFSET_NOT_FOUND[1]), (0.6, "no match within 0.6 s either way"),
    (-0.56, "the sound comes 0.56 s before the picture"), (0.28, words.OFFSET_LARGE),
    (0.04, "the sound comes 0.04 s after the picture"), (0.04, words.OFFSET_USUAL), (0.0, words.OFFSET_TOGETHER),
])
def test_an_offset_is_told_in_words_and_the_end_of_the_search_is_no_offset(offset_s, said):
    assert said in offset_words(offset_s)


def test_a_score_of_windows_alone_is_not_mistaken_for_the_clip_s():
    answer = {"detectors": {"a": {"score": 0.91, "video": 0.6, "audio": None, "sync": 0.91}}}

    def told(head: str, score: float) -> str:
        return explained_score({"detector": "a", "head": head, "score": score}, answer)

    assert told("sync", 0.6) == "0.60 from this part alone; 0.91 with the rest of the clip"
    assert told("video", 0.601) == "0.60"
    assert told("whole", 0.6) == "0.60"  # 0.91 is the lip-sync's
    answer["detectors"]["a"]["sync"] = 0.2
    assert "0.91 with" in told("whole", 0.6)


def test_spans_that_no_curve_opens_are_known_as_proposals():
    points = {"manipulated": 0.8, "suspicious": 0.6, "segment_on": 0.7, "segment_off": 0.5, "min_segment_s": 0.5,
              "min_gap_s": 0.5}
    curve = {**HEADS, "start_s": [0.0, 2.0, 4.0], "end_s": [2.0, 4.0, 6.0], "video": [0.1, 0.9, None],
             "audio": [0.1, 0.1, 0.1]}
    span = {"start_s": 2.0, "end_s": 4.0, "score": 0.9, "modality": "video", "track": 0}
    detector = {"thresholds": points, "windows": [curve], "segments": [span]}
    assert follow_from_curve(detector, 6.0)
    for other in ([], [{**span, "end_s": 3.0}], [{**span, "modality": "audio"}], [span, span]):
        assert not follow_from_curve({**detector, "segments": other}, 6.0)
    assert follow_from_curve({"thresholds": points, "windows": [], "segments": []}, 6.0)
