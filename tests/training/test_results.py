"""Figures from rows that are few enough to be counted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from detectors import Thresholds
from tests.training.known_rows import row
from training import results
from training.results import summarise

THRESHOLDS = Thresholds(manipulated=0.8, suspicious=0.6)
DRAWS = 20


def test_figures_of_the_whole_of_heads_and_of_families():
    """Fakes .9 and .4 against .1 and .5: of four pairs three are right. The second family has the lower fake."""
    rows = [row("a", 0.1, 0), row("b", 0.5, 0), row("c", 0.9, 1), row("d", 0.4, 1, family="blend"), row("e", None, 1)]
    result = summarise(rows, THRESHOLDS, DRAWS)
    assert result["clips"] == 5 and result["auc"] == result["video"]["auc"] == 0.75 and "sync" not in result
    assert result["coverage"] == result["video"]["coverage"] == 0.8
    assert result["families"]["video:swap"]["auc"] == result["families"]["whole:swap"]["auc"] == 1
    assert result["families"]["video:blend"] == {"auc": 0.5, "auc_95": [0.0, 1.0], "shortcut_auc": None,
                                                 "fake": 1, "genuine": 2}
    assert result["at_manipulated"] == {"accuracy": 0.75, "tpr": 0.5, "fpr": 0}
    assert result["genuine_called"]["NO_SIGNS"] == 1
    assert result["fake_called"]["MANIPULATED"] == result["fake_called"]["CANNOT_EVALUATE"] == 0.3333
    assert result["reliability"] == [{"score": 0.475, "fake": 0.5, "clips": 4}] and "reliability" not in result["video"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_within_source_and_within_pair_compare_like_with_like():
    """Across sources every fake scores higher; within a, half of the pairs are right, and in the one pair none."""
    rows = [row("1", 0.1, 0, source="a", pair="p"), row("2", 0.05, 1, source="a", pair="p"),
            row("3", 0.2, 1, source="a"), row("4", 0.9, 1, source="b")]
    result = summarise(rows, THRESHOLDS, DRAWS)["video"]
    assert result["within_source"]["auc"] == 0.5 and result["within_source"]["compared"] == 1
    assert result["within_pair"]["auc"] == 0 and result["within_pair"]["compared"] == 1
    assert result["auc"] == pytest.approx(2 / 3, abs=1e-4)


def test_one_modality_s_unknown_label_does_not_count_there():
    rows = [row("a", 0.1, 0, audio=0.9, audio_fake=0), row("b", 0.9, None, audio=0.2, audio_fake=1)]
    result = summarise(rows, THRESHOLDS, DRAWS)
    assert result["video"]["auc"] is None and result["video"]["genuine"] == 1 and result["video"]["fake"] == 0
    assert result["audio"]["auc"] == 0 and result["auc"] == 1  # the whole: fake where anything is


def test_compression_goes_by_crf_where_it_is_known_and_else_by_bit_rate():
    by_rate = [row(str(k), 0.5, k % 2, facts={"fps": 25.0, "bits_per_s": 1000.0 * k}) for k in range(1, 7)]
    by_rate += [row(f"sound {k}", 0.5, k % 2, facts={"bits_per_s": 10.0 * k}) for k in range(1, 7)]
    levels, by = results._compression_levels(by_rate)
    assert by == "bits_per_s"
    assert [levels[str(k)] for k in range(1, 7)] == ["heavy"] * 2 + ["medium"] * 2 + ["light"] * 2
    assert [levels[f"sound {k}"] for k in range(1, 7)] == [levels[str(k)] for k in range(1, 7)]
    levels, by = results._compression_levels([replace(r, crf=20.0 + n) for n, r in enumerate(by_rate[:6])])
    assert by == "crf" and levels["1"] == "light" and levels["6"] == "heavy"
    assert summarise(by_rate, THRESHOLDS, DRAWS)["compression"]["video:light"]["fake"] == 2


def test_controls_have_figures_of_their_own():
    heard = {"sound_only": {"video": None, "audio": None, "sync": None, "score": 0.5},
             "picture_only": {"video": 0.2, "audio": None, "sync": None, "score": 0.2}}
    rows = [row("a", 0.1, 0, controls=heard), row("b", 0.9, 1, controls={**heard, "silence_only": heard["sound_only"]})]
    controls = summarise(rows, THRESHOLDS, DRAWS)["controls"]
    assert controls["whole:sound_only"]["auc"] == controls["video:picture_only"]["auc"] == 0.5
    assert "video:sound_only" not in controls and controls["whole:silence_only"]["genuine"] == 0


def test_sync_is_measured_on_genuine_talk_and_on_the_same_with_its_sound_moved():
    rows = [row(name, None, 0, sync_fake=0.0, sync=still, moved_sync=moved)
            for name, still, moved in (("a", 0.1, 0.9), ("b", 0.3, 0.2), ("c", 0.2, None))]  # 4.5 of 6
    told = summarise(rows, THRESHOLDS, DRAWS)
    assert (told["sync"]["fake"], told["sync"]["genuine"], told["sync"]["auc"]) == (2, 3, 0.75)
    assert told["families"]["sync:moved_sound"]["auc"] == told["sync"]["auc"]
    assert told["fake_called"]["NO_SIGNS"] == 0 and told["clips"] == 3  # they are no clips that anybody sent


def test_spans_are_measured_where_it_is_known_what_is_fake():
    hit, false = ("video", 2.0, 4.0, 0.9), ("video", 0.0, 1.0, 0.5)
    rows = [
        row("found", 0.9, 1, spans=(("video", 2.0, 4.0),), proposals=(hit, false, ("audio", 5.0, 6.0, 0.99))),
        row("genuine", 0.1, 0, proposals=(false,)),
        row("missed", 0.1, 1, spans=(("video", 8.0, None),)),
        row("nobody knows where", 0.9, 1, proposals=(hit,)),
        row("all of it", 0.9, 1, spans=(("video", 0.0, None),), proposals=(hit,)),
        row("abstained", None, 1, spans=(("video", 2.0, 4.0),)),
    ]
    result = summarise(rows, THRESHOLDS, DRAWS)
    told = result["segments"]["any"]
    assert told["clips"] == 3 and told["spans"] == 2
    assert result["ap_50"] == told["ap_50"] == 0.5  # the best proposal is right; nobody knows of the sound
    assert result["ar_20"] == 0.5 and result["segments"]["audio"] == {"clips": 0, "spans": 0}
    assert summarise(rows[1:2], THRESHOLDS, DRAWS)["ap_50"] is None


def test_marks_on_genuine_clips_are_false_alarms():
    marks = (("video", 1.0, 3.0, 0.9), ("audio", 2.0, 4.0, 0.9))
    rows = [row("a", 0.9, 0, segments=marks), row("b", 0.1, 0), row("c", 0.9, 1, segments=marks)]
    result = summarise(rows, THRESHOLDS, DRAWS)
    assert result["genuine_marked"] == 0.5
    assert result["genuine_marked_s_per_min"] == 9  # 3 s of 20
