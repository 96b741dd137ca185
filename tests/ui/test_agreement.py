"""Agreement and disagreement, on result objects whose answers are worked out by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from detectors import consensus
from detectors.analysis import analyse
from detectors.consensus import Fit
from detectors.contract import Analysis, Thresholds, Verdict
from ui import agreement
from ui.agreement import (
    clip_differences,
    correlation_words,
    cut_spans,
    opening_level,
    pairs,
    sentences,
    stances,
    weights,
    weights_words,
)

NAMES = {"a": {"name": "Ada"}, "b": {"name": "Ben"}, "c": {"name": "Cy"}, "d": {"name": "Dee"}}
THRESHOLDS = {"manipulated": 0.8, "suspicious": 0.6, "segment_on": 0.7, "segment_off": 0.5}


def answer(video=None, audio=None, sync=None, segments=(), verdict="NO_SIGNS", track: int | None = 0) -> dict:
    """One-second windows over the clip, with one list of scores per part."""
    length = max(len(s) for s in (video, audio, sync) if s is not None)
    return {
        **{m: None if s is None else max(v for v in s if v is not None)
           for m, s in (("video", video), ("audio", audio), ("sync", sync))},
        "score": 0.5, "verdict": verdict, "thresholds": THRESHOLDS,
        "segments": [{"start_s": a, "end_s": b, "score": 0.9, "modality": m, "track": None if m == "audio" else 0}
                     for m, a, b in segments],
        "windows": [{"track": track, "start_s": [float(k) for k in range(length)],
                     "end_s": [float(k + 1) for k in range(length)], "video": video, "audio": audio, "sync": sync}],
    }


def result(**answers: dict) -> dict:
    return {"clip": "talk.mp4", "sha256": "ab" * 32, "duration_s": 10.0, "verdict": "NO_SIGNS", "score": 0.5,
            "detectors": answers, "media": {"faces": [{"track": 0}]}, "timings_s": {},
            "consensus": {"video": 0.5, "audio": None, "sync": None, "agree": 1, "of": len(answers)}}


LOW = [0.1] * 10
HIGH = [0.1] * 5 + [0.9] * 2 + [0.1] * 3
MARKED = answer(HIGH, segments=[("video", 5.2, 7.0)], verdict="MANIPULATED")


def test_three_of_four_in_words():
    found = result(a=MARKED, b=MARKED, c=MARKED, d=answer(LOW))
    assert "Three of four mark 5.2 to 7.0 s in the picture; Dee sees nothing wrong there." in sentences(found, NAMES)


def test_all_one_and_nobody_in_words():
    said = sentences(result(a=MARKED, b=MARKED), NAMES)
    assert "Both detectors mark 5.2 to 7.0 s in the picture." in said
    assert "Both detectors give the same verdict: strong signs of manipulation." in said
    said = sentences(result(a=MARKED, b=answer(LOW), c=answer(LOW)), NAMES)
    assert "Only Ada marks 5.2 to 7.0 s in the picture; Ben and Cy see nothing wrong there." in said
    assert ("The verdicts differ. Ben and Cy: no signs of manipulation found; Ada: strong signs of manipulation."
            in said)
    assert "No detector marks a span in the picture." in sentences(result(a=answer(LOW), b=answer(LOW)), NAMES)


def test_one_detector_alone_has_nothing_to_agree_with():
    assert sentences(result(a=MARKED), NAMES) == [] and pairs(result(a=MARKED)) == []
    assert sentences({"error": "x", "detectors": {}}, NAMES) == []


def test_who_judges_what_is_said():
    said = sentences(result(a=answer(LOW, audio=LOW), b=answer(LOW), c=answer(LOW)), NAMES)
    assert "Only Ada judges the sound." in said and "No detector has judged the lip-sync." in said
    said = sentences(result(a=answer(LOW, audio=LOW), b=answer(LOW, audio=LOW), c=answer(LOW)), NAMES)
    assert "Two of three judge the sound; Cy does not." in said
    assert not any("judge the picture" in sentence for sentence in said), "all three do: nothing to say"


def test_those_that_judge_a_part_are_counted_not_all():
    span = [("audio", 2.0, 4.0)]
    found = result(a=answer(LOW, HIGH, segments=span), b=answer(LOW, HIGH, segments=span), c=answer(LOW))
    assert "Both detectors that judge it mark 2.0 to 4.0 s in the sound." in sentences(found, NAMES)


def test_doubt_and_silence_are_not_called_clear():
    nearly = [0.1] * 5 + [0.62] * 2 + [0.1] * 3
    away = [0.1] * 5 + [None] * 2 + [0.1] * 3
    found = result(a=MARKED, b=answer(nearly), c=answer(away), d=answer(LOW))
    (stance,) = stances(found)
    assert (stance.marks, stance.clear, stance.doubt, stance.silent) == (("a",), ("d",), (("b", 0.62),), ("c",))
    assert stance.judges == 3
    assert ("Only Ada marks 5.2 to 7.0 s in the picture; Dee sees nothing wrong there; Ben does not mark it, though "
            "its score there reaches 0.62; Cy could not judge it there.") in sentences(found, NAMES)


def test_a_detector_whose_spans_are_not_its_curve_s_is_not_held_to_its_level():
    """Its line is above the level all along, and it marks nothing: its spans come from elsewhere."""
    found = result(a=answer(HIGH, segments=[("video", 5.0, 7.0)]), b=answer([0.97] * 10), c=answer(LOW))
    assert [opening_level(found, d) for d in "abc"] == [0.7, None, 0.7]
    assert ("Only Ada marks 5.0 to 7.0 s in the picture; Cy sees nothing wrong there; Ben, which finds its spans in "
            "another way than by its score, marks none there (its score reaches 0.97).") in sentences(found, NAMES)
    (stance,) = stances(found)
    assert stance.apart == (("b", 0.97),) and stance.judges == 3
    proposed = answer(LOW, segments=[("video", 1.0, 2.0)])
    assert opening_level(result(a=proposed), "a") is None, "a span where the line is low"


def test_a_real_answer_s_rounded_spans_are_still_its_curves(examples_dir):
    found = analyse(examples_dir / "mouth_redrawn.mp4", ["joint_av"], "cpu")
    assert opening_level(found, "joint_av") == found["detectors"]["joint_av"]["thresholds"]["segment_on"]


def test_scores_of_the_whole_clip_far_apart_are_named():
    said = sentences(result(a=answer([0.1] * 9 + [0.5]), b=answer(LOW)), NAMES)
    assert "Over the whole clip their scores of the picture lie far apart: Ada 0.50 and Ben 0.10." in said
    assert not any("far apart" in s for s in sentences(result(a=answer([0.3] * 10), b=answer(LOW)), NAMES))


def test_spans_are_cut_where_the_markers_change_and_slivers_go_to_the_longer_neighbour():
    assert cut_spans({"a": [(2.0, 8.0)], "b": [(5.0, 6.0)]}) == [
        (2.0, 5.0, ("a",)), (5.0, 6.0, ("a", "b")), (6.0, 8.0, ("a",))]
    assert cut_spans({"a": [(2.0, 4.0)], "b": [(2.2, 4.1)]}) == [(2.0, 4.1, ("a", "b"))]
    assert cut_spans({"a": [(2.0, 2.3)], "b": [(6.0, 7.0)]}) == [(2.0, 2.3, ("a",)), (6.0, 7.0, ("b",))]
    assert cut_spans({"a": [], "b": []}) == []


def test_faces_are_told_apart():
    found = result(a=MARKED, b=answer(LOW))
    found["media"]["faces"].append({"track": 1})
    assert any("in the picture of face 1; " in sentence for sentence in sentences(found, NAMES))


def test_curves_correlate_as_numpy_has_it_over_what_both_judge():
    rng = np.random.default_rng(3)
    x, y = (np.round(rng.random(10), 4).tolist() for _ in range(2))
    (pair,) = pairs(result(a=answer(x), b=answer(y)))
    assert pair.correlations == {"video": pytest.approx(np.corrcoef(x, y)[0, 1])}
    y[:4] = [None] * 4
    (pair,) = pairs(result(a=answer(x), b=answer(y)))
    assert pair.correlations["video"] == pytest.approx(np.corrcoef(x[4:], y[4:])[0, 1])


def test_no_correlation_where_it_would_mean_nothing():
    two = [0.1, 0.9] + [None] * 8
    assert pairs(result(a=answer(HIGH), b=answer(LOW)))[0].correlations == {"video": None}, "level"
    assert pairs(result(a=answer(HIGH), b=answer(two)))[0].correlations == {"video": None}, "two seconds"
    assert pairs(result(a=answer(HIGH), b=answer(audio=HIGH)))[0].correlations == {}, "no part in common"


def test_verdicts_of_a_pair():
    found = result(a=MARKED, b=MARKED, c=answer(LOW), d=answer(LOW, verdict="CANNOT_EVALUATE"))
    same = {(p.first, p.second): p.same_verdict for p in pairs(found)}
    assert same == {("a", "b"): True, ("a", "c"): False, ("b", "c"): False,
                    ("a", "d"): None, ("b", "d"): None, ("c", "d"): None}


@pytest.mark.parametrize(("r", "words"), [(-1.0, "against"), (0.0, "not move"), (0.5, "in part"), (1.0, "together")])
def test_correlation_words(r, words):
    assert words in correlation_words(r)


def test_weights_are_equal_among_those_with_a_score_unless_carried():
    found = result(a=answer(LOW), b=answer(LOW), c=answer(audio=LOW))
    assert weights(found, "video") == {"a": 0.5, "b": 0.5} and weights(found, "sync") == {}
    found["consensus"]["weights"] = {"score": {"a": 3, "b": 1, "c": 4}}
    assert weights(found, "score") == {"a": 0.375, "b": 0.125, "c": 0.5}
    assert weights(found, "video") == {"a": 0.5, "b": 0.5}, "parts have none of their own"
    found["detectors"]["c"]["score"] = None
    assert weights(found, "score") == {"a": 0.75, "b": 0.25}


def test_weights_in_words():
    found = result(a=answer(LOW), b=answer(LOW), c=answer(audio=LOW))
    assert weights_words(found, "score", NAMES) == "mean of all three, 33 % each"
    assert weights_words(found, "audio", NAMES) == "Cy alone" and weights_words(found, "sync", NAMES) == ""
    assert weights_words(found, "video", NAMES) == "mean of the two that judge it, 50 % each"
    found["consensus"]["weights"] = {"score": {"a": 3, "b": 1, "c": 4}}
    assert weights_words(found, "score", NAMES) == "Ada 38 %, Ben 12 % and Cy 50 %"
    found["consensus"]["weights"]["score"] = {"a": 1, "b": 1, "c": 1}
    found["consensus"]["fitted"] = True
    assert weights_words(found, "score", NAMES).endswith("none of them learnt from: Ada 33 %, Ben 33 % and Cy 33 %")
    assert weights_words(found, "video", NAMES).startswith("mean of the two"), "a fit is of the whole clip alone"
    found["consensus"]["by_sync"], found["detectors"]["b"]["sync"] = True, HIGH
    assert weights_words(found, "score", NAMES) == "the lip-sync decides, of Ben"
    assert weights(found, "score") == {"b": 1.0}, "the fit's weights are not what counted"


@pytest.mark.parametrize("fit", [None, Fit({"ss_avd": 1.5, "mmms_ba": 0.5}, -0.2, 0.8, 0.6)])
def test_the_weights_are_those_that_the_consensus_is_made_with(make_clip, monkeypatch, fit):
    """The core call itself, on made-up analyses: what the page says of the weights gives the consensus again."""
    monkeypatch.setattr(consensus, "fit_for", lambda *_: fit)
    scores = {"ss_avd": (0.9, 0.2, 0.8, None), "mmms_ba": (0.3, 0.5, None, 0.6), "joint_av": (None, None, None, None)}

    def score(clip, detectors, device, stage):
        told = [(d, *scores[d]) for d in detectors]
        return [Analysis(clip.info, d, "sha256:0", False, whole, video, audio, sync, Verdict.NO_SIGNS, (), (), (),
                         Thresholds(0.8, 0.6), 0.1) for d, whole, video, audio, sync in told]

    path = make_clip(None, 0.1 * np.sin(np.arange(32_000) * 0.06).astype(np.float32), "hum.ogg")
    found = analyse(path, list(scores), "cpu", score=score)
    heads = ("video", "audio", "sync") if fit else ("score", "video", "audio", "sync")
    for head in heads:
        together = sum(found["detectors"][d][head] * share for d, share in weights(found, head).items())
        assert together == pytest.approx({**found["consensus"], "score": found["score"]}[head])
    if fit:
        assert weights_words(found, "score", NAMES).endswith("ss_avd 75 % and mmms_ba 25 %")


# ---- two clips --------------------------------------------------------------------------------------------------


def two(first: dict | None = None, second: dict | None = None) -> tuple[dict, dict]:
    clips = tuple(copy.deepcopy(result(a=a or answer(LOW))) for a in (first, second))
    for clip in clips:
        clip["media"] = {"faces": [{"track": 0}], "container": "mp4", "video_codec": "h264", "audio_codec": "aac"}
    return clips


def test_the_same_file_twice():
    said = clip_differences(*two(), "a")
    assert "Both files are the same, byte for byte: their SHA-256 is equal." in said
    assert "Both last 10.0 s." in said and "No span is marked in either clip." in said
    assert "Container, codecs, picture size and sound format are the same." in said
    assert "Picture: about the same score (0.10 and 0.10)." in said
    assert "Same verdict for both: no signs of manipulation found." in said


def test_what_an_edit_changes():
    first, second = two(answer(LOW, audio=LOW), MARKED)
    second["sha256"], second["duration_s"], second["media"]["video_codec"] = "cd" * 32, 8.5, "vp9"
    said = clip_differences(first, second, "a")
    assert any("SHA-256 is not equal" in s for s in said)
    assert "The second clip is 1.5 s shorter (10.0 s, then 8.5 s)." in said
    assert "Picture codec: h264 in the first, vp9 in the second." in said
    assert "Picture: 0.80 higher in the second clip (0.10, then 0.90)." in said
    assert "Sound: judged in the first clip only." in said
    assert "The verdicts differ: first, no signs of manipulation found; second, strong signs of manipulation." in said
    assert "Marked in the second clip only: 5.2 to 7.0 s in the picture." in said
    assert "Marked in the first clip only: 5.2 to 7.0 s in the picture." in clip_differences(second, first, "a")


def test_a_clip_that_could_not_be_read_is_named():
    first, _ = two()
    broken = {"clip": "x", "error": "no", "sha256": None, "duration_s": None, "detectors": {}, "media": {}}
    said = clip_differences(first, broken, "a")
    assert "There is no score to compare: the second clip could not be read." in said
    assert said[0] == "The bytes could not be compared: a SHA-256 is missing."


def test_words_never_say_real_or_fake():
    words = " ".join([*sentences(result(a=MARKED, b=answer(LOW)), NAMES), *clip_differences(*two(MARKED), "a")]).lower()
    assert not {"real", "fake", "authentic"} & set(words.replace(".", " ").split())
    assert agreement.number(7) == "7"
