"""The report: complete, escaped, in need of nobody, never overwritten."""

from __future__ import annotations

import base64
import copy
import json
import re
from datetime import datetime, timezone

import pytest

from detectors.familiarity import MEASURES, judge_familiarity
from explain import words
from explain.answer import gaps, strongest_modality
from explain.report import Picture, lane_svg, lane_words, report_html, report_name, write_report
from media import prepare
from tests.strict_html import Page

PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</title></style><script>alert(1)</script>",
    "<!--<script>",
    "' onfocus='alert(1)' autofocus='",
    '"><svg/onload=alert(1)>',
    "{{constructor}}${alert(1)}",
    "\udcff\x00 lone surrogate",
)
CARDS = {
    "ss_avd": {"name": "SS-AVD", "paper": "arXiv 2506.07358", "commit": "964090e2f4",
               "input_spec": {"window_s": 3.0, "hop_s": 1.0},
               "data": {"training": {"clips": 1378, "hours": 1.94}},
               "results": {"auc": 0.6845, "auc_95": [0.63, 0.74], "clips": 686}},
    "joint_av": {"name": "Joint AV"},
}
THRESHOLDS = {"manipulated": 0.8, "suspicious": 0.6, "segment_on": 0.7, "segment_off": 0.55, "min_segment_s": 0.5,
              "min_gap_s": 0.5}
ANSWER = {
    "clip": "talk.mp4", "sha256": "ab" * 32, "duration_s": 10.0, "verdict": "SUSPICIOUS", "score": 0.61,
    "reasons": ["FACE_LOST"],
    "findings": [{"code": "FACE_LOST", "message": "The face is lost for 1.9 s.", "remedy": "Cut the clip.",
                  "blocks": []}],
    "provisional": True,
    "consensus": {"video": 0.6, "audio": 0.1, "sync": None, "agree": 1, "of": 1},
    "detectors": {"ss_avd": {
        "score": 0.61, "video": 0.6, "audio": 0.1, "sync": None, "offset_s": 0.12, "verdict": "SUSPICIOUS",
        "provisional": True,
        "segments": [{"start_s": 2.0, "end_s": 4.4, "score": 0.96, "modality": "video", "track": 0}],
        "windows": [{"track": 0, "start_s": [0.0, 1.5, 6.0], "end_s": [3.0, 4.5, 9.0], "video": [0.4, 0.96, None],
                     "audio": [0.1, 0.1, 0.2], "sync": None, "whole": [0.4, 0.9, 0.2]}],
        "reasons": [], "thresholds": THRESHOLDS, "checkpoint": "sha256:" + "cd" * 32,
    }},
    "media": {"container": "mp4", "faces": [{"track": 0, "start_s": 0.0, "end_s": 9.8, "face_px": 120}],
              "speech_s": [[0.4, 4.2]], "measures": {"face_px": 120.0, "snr_db": 22.5}},
    "telltale": "0.1.0", "timings_s": {"prepare": 1.5, "ss_avd": 0.2, "total": 1.7},
}
PROVENANCE = {
    "sha256": "ab" * 32, "facts": {"Written by": "Lavf"},
    "traces": [{"code": "CONVERTER_NAMED", "message": "FFmpeg wrote it.", "means": "A copy.",
                "does_not_prove": "Genuine clips have it too."}],
    "credentials": {"state": "broken", "message": "The manifest does not hold.", "limit": "It does not say why.",
                    "signer_trusted": "no", "signer": "Camera Maker", "signed_at": None, "generator": "A program",
                    "actions": ["opened", "edited"], "ingredients": [],
                    "failures": [{"code": "assertion.dataHash.mismatch", "assertion": "c2pa.hash.data",
                                  "words": "the bytes were changed"}]},
    "not_checked": ["The file was too large to look at all its timestamps."],
}
PROBE = {
    "span_s": [0.0, 10.0], "verdict": "SUSPICIOUS", "holds": False,
    "summary": "The answer does not hold under 1 of 1 changes.",
    "variants": [
        {"id": "half_size", "doing": "Halving the size of the picture", "not_tried": None,
         "consensus": {"score": 0.4, "verdict": "NO_SIGNS", "lost": []}, "detectors": {}, "seconds": 1.0},
        {"id": "sound_16k", "doing": "Compressing the sound", "not_tried": "The clip has no sound.",
         "consensus": None, "detectors": {}, "seconds": 0.0}],
    "detectors": {}, "consensus": {"lowest": 0.4, "highest": 0.61, "verdict_before": "SUSPICIOUS"},
}
EXPLANATION = {
    "detector": "ss_avd", "head": "video", "windows_s": [[2.0, 5.0]], "score": 0.93,
    "replacement_words": "Removed parts are blurred.", "sentences": ["Most of it is at the lips."],
    "notes": ["No other moment was found."], "complete": True, "maps": {},
    "share": {"values": {"face": 1.2, "audio": -0.3}, "of_total": {"face": 0.8, "audio": 0.2}},
    "faithfulness": {"ablation": {"passed": False, "sentence": "Removing it does little."}},
}
ERROR = {
    "clip": "broken.mp4", "sha256": None, "duration_s": None, "error": "The file could not be read. Export it again.",
    "verdict": "CANNOT_EVALUATE", "score": None, "reasons": ["DECODE_FAILED"],
    "findings": [{"code": "DECODE_FAILED", "message": "The file could not be read.", "remedy": "Export it again.",
                  "blocks": ["audio", "video"]}],
    "provisional": False, "consensus": {"video": None, "audio": None, "sync": None, "agree": 0, "of": 0},
    "detectors": {}, "media": {}, "telltale": "0.1.0", "timings_s": {},
}
PICTURE = Picture(b"\x89PNG", "image/png", "a mouth", "Removing the marked part lowers the score.")


@pytest.fixture
def answer() -> dict:
    return copy.deepcopy({**ANSWER, "provenance": PROVENANCE, "probe": PROBE, "explanations": [EXPLANATION],
                          "not_explained": {"joint_av": "It tells no sync here."}})


def replace_texts(value, payload: str, key: str = ""):
    """The same object with the payload in every text that comes from a file, a card or an error sentence. Codes
    that the report looks up stay."""
    if isinstance(value, dict):
        return {k: replace_texts(v, payload, k) for k, v in value.items()}
    if isinstance(value, list):
        return [replace_texts(v, payload, key) for v in value]
    codes = ("verdict", "verdict_before", "modality", "state", "signer_trusted", "blocks")
    return payload if isinstance(value, str) and key not in codes else value


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_becomes_markup(answer, payload):
    clean = Page(report_html(answer, CARDS, pictures=[PICTURE]))
    picture = Picture(b"", "image/jpeg", payload, payload)
    page = report_html(replace_texts(answer, payload), replace_texts(CARDS, payload), pictures=[picture])
    page.encode("utf-8")  # it can be written
    dirty = Page(page)
    assert [t for t, _ in dirty.tags] == [t for t, _ in clean.tags]
    assert [sorted(a) for _, a in dirty.tags] == [sorted(a) for _, a in clean.tags]
    assert json.loads(dirty.script)["clip"] == payload, "the embedded answer is whole"
    assert json.loads(saved(dirty))["clip"] == payload


def saved(page: Page) -> bytes:
    (link,) = [a for t, a in page.tags if t == "a"]
    return base64.b64decode(link["href"].split(",", 1)[1])


def test_the_file_asks_nobody_and_runs_nothing(answer):
    page = Page(report_html(answer, CARDS, pictures=[PICTURE]))
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "xlink:href", "action"):
            assert attributes.get(name, "data:").startswith("data:"), tag
        assert not any(name.startswith("on") for name in attributes)
        assert tag not in ("link", "iframe", "object", "embed")
    assert [a.get("type") for t, a in page.tags if t == "script"] == ["application/json"]
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src" not in policy
    html = report_html(answer, CARDS)
    style = html.split("<style>")[1].split("</style>")[0]
    assert "@import" not in style and "url(" not in style and "@media print" in style


def test_everything_that_a_reader_needs_is_told(answer):
    made = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
    told = " ".join(Page(report_html(answer, CARDS, pictures=[PICTURE], made=made)).words.split())
    for expected in (
        "Some signs of manipulation", "61 %, rather high", words.MEANS_NOT[0], words.PROVISIONAL,
        "2026-11-21 12:00:00 UTC by Telltale 0.1.0",
        "as SS-AVD estimates: the sound comes 0.12 s after the picture", "not judged",
        words.NOT_JUDGED_NO_HEAD["sync"],  # scores
        "The face is lost for 1.9 s. Cut the clip. FACE_LOST", "Speech above noise, dB 22.5",  # quality
        "Halving the size of the picture 0.40 No signs", "The clip has no sound.",  # probe
        "ab" * 32, "Written by Lavf", "What it does not prove: Genuine clips have it too.",  # file
        "Manifest broken", "Signer trusted no, not on the list", "the bytes were changed", "opened; edited",
        "sha256:" + "cd" * 32, "arXiv 2506.07358", "964090e2f4", "3.0 s, every 1.0 s", "1378 clips, 1.94 h",  # method
        "AUC 0.68 (95 % interval 0.63 to 0.74) on 686 clips", "open at 0.70, close below 0.55", "prepare 1.5",
        "Detectors that were not run: Joint AV.", "too large to look at all its timestamps",  # limits
        PICTURE.caption,
        "Explained: picture, 2.0 to 5.0 s. Score: 0.93 from this part alone; 0.60 with the rest of the clip.",
        "Most of it is at the lips.",  # explanations
        "Removed parts are blurred.", "No other moment was found.", "Face +1.20 80 %", "Sound -0.30 20 %",
        "map by region and band Not passed. Removing it does little.", "Joint AV Not explained: It tells no sync here.",
    ):
        assert expected in told, expected
    assert words.LIMIT_PROBE not in told and words.LIMIT_PROVENANCE not in told
    assert json.loads(Page(report_html(answer, CARDS)).script) == answer


def test_what_is_missing_from_the_answer_is_called_not_checked():
    told = Page(report_html(copy.deepcopy(ANSWER), CARDS)).words
    assert words.LIMIT_PROBE in told and words.LIMIT_PROVENANCE in told and words.PROBE_NONE in told
    assert words.PROVISIONAL not in Page(report_html({**ANSWER, "provisional": False}, CARDS)).words


def test_a_lowered_verdict_gives_a_range_and_what_it_was_before(answer):
    answer["verdict"] = answer["probe"]["verdict"] = "CANNOT_EVALUATE"
    told = " ".join(Page(report_html(answer, CARDS)).words.split())
    assert "cannot be judged" in told and words.LOWERED["CANNOT_EVALUATE"] in told and PROBE["summary"] in told
    assert "the answer was: some signs of manipulation." in told and "40 to 61 %" in told
    assert "61 %, rather high" not in told


def test_an_unreadable_file_gets_its_reason_and_no_number():
    told = Page(report_html(copy.deepcopy(ERROR), CARDS)).words
    assert "cannot be judged" in told and "Export it again." in told and "DECODE_FAILED" in told
    assert words.NO_PROBABILITY in told and words.DETECTORS not in told and words.PROBE_NONE not in told


@pytest.mark.parametrize("verdict", list(words.VERDICTS))
def test_no_report_says_real_or_fake(answer, verdict):
    answer["verdict"] = answer["detectors"]["ss_avd"]["verdict"] = verdict
    answer["probe"]["consensus"]["verdict_before"] = verdict
    told = Page(report_html(answer, CARDS)).words.lower()
    assert not re.search(r"\b(real|fake|authentic)\b", told)


def test_a_lane_in_words():
    windows = [(0.0, 3.0, 0.4), (1.5, 4.5, 0.96)]
    spans = [{"start_s": 2.0, "end_s": 4.4, "score": 0.96}]
    assert lane_words("Picture", windows, spans, 0.7, 10.0) == (
        "Picture, over 10.0 s. Lowest 0.40, highest 0.96 at 3.0 s. A span opens at 0.70. "
        "Marked: 2.0 to 4.4 s (0.96). Not judged: 4.5 to 10.0 s."
    )
    assert lane_words("Sound", [], [], 0.7, 10.0) == "Sound, over 10.0 s. Not judged at any time."


def test_a_lane_s_curve_breaks_where_nothing_was_judged_and_stays_inside():
    windows = [(0.0, 2.0, 0.0), (6.0, 10.4, 1.0)]  # the last window reaches beyond the clip
    shapes = lane_svg("video", windows, [], None, 10.0)
    first, second = re.findall(r'points="([^"]*)"', shapes)
    places = [[tuple(map(float, p.split(","))) for p in line.split()] for line in (first, second)]
    assert [x for x, _ in places[0]] == pytest.approx([8, 8 + 74.4, 8 + 148.8])  # 0, 1 and 2 of 10 s; 744 wide
    assert {y for _, y in places[0]} == {74.0} and {y for _, y in places[1]} == {14.0}  # score 0 below, 1 above
    assert max(x for x, _ in places[1]) == 752.0
    assert shapes.count('fill="url(#not-judged)"') == 1  # 2 to 6 s
    assert gaps([(0.0, 2.0), (6.0, 10.4)], 10.0) == [(2.0, 6.0)]


def test_strongest_modality():
    assert strongest_modality(ANSWER) == ("video", 0.6)
    assert strongest_modality(ERROR) is None


def test_faces_are_told_apart_where_there_are_several(answer):
    assert "face 2" not in Page(report_html(answer, CARDS)).words
    answer["media"]["faces"].append({"track": 1, "start_s": 0.0, "end_s": 5.0, "face_px": 60})
    assert "Picture, face 2" in Page(report_html(answer, CARDS)).words


def test_a_picture_stands_with_the_explanation_of_its_detector(answer):
    told = [Picture(b"\x89PNG", "image/png", "", caption, detector=detector)
            for caption, detector in (("beside ss_avd", "ss_avd"), ("of nobody", ""))]
    told = Page(report_html(answer, CARDS, pictures=told)).words
    places = [told.index(text) for text in (words.EXPLANATIONS, "Removing it does little.", "beside ss_avd",
                                            "It tells no sync here.", "of nobody")]
    assert places == sorted(places)
    assert words.EXPLANATIONS not in Page(report_html(copy.deepcopy(ANSWER), CARDS)).words


def test_only_pictures_are_embedded(answer):
    with pytest.raises(ValueError, match="image/png"):
        report_html(answer, CARDS, pictures=[Picture(b"<svg/>", "image/svg+xml", "", "")])


@pytest.mark.parametrize(("clip", "name"), [
    ("talk.mp4", "telltale-talk.mp4.html"),
    ("../../etc/passwd", "telltale-passwd.html"),
    ("..\\..\\boot.ini", "telltale-boot.ini.html"),
    ("a<b>:\"|?*\n.mp4", "telltale-a_b_______.mp4.html"),
    ("..", "telltale-clip.html"),
    ("", "telltale-clip.html"),
    (None, "telltale-clip.html"),
    ("клип.mp4", "telltale-клип.mp4.html"),
    ("\udcff.mp4", "telltale-_.mp4.html"),
])
def test_file_names_are_made_safe(clip, name):
    assert report_name({"clip": clip}) == name


def test_long_names_fit_the_file_system():
    assert len(report_name({"clip": "語" * 300 + ".mp4"}).encode()) < 200


def test_reports_are_written_side_by_side(tmp_path, answer):
    folder = tmp_path / "new" / "reports"
    paths = [write_report(answer, folder, CARDS) for _ in range(3)]
    assert [p.name for p in paths] == ["telltale-talk.mp4.html", "telltale-talk.mp4-2.html", "telltale-talk.mp4-3.html"]
    assert json.loads(Page(paths[0].read_text(encoding="utf-8")).script) == answer


def test_a_verdict_that_copies_turned_says_what_it_was_in_the_table_too(answer):
    answer["probe"]["detectors"] = {"ss_avd": {"verdict_before": "MANIPULATED"}}
    told = " ".join(Page(report_html(answer, CARDS)).words.split())
    assert "Some signs of manipulation (before the copies were tried: strong signs of manipulation) 0.61" in told


def test_a_line_where_a_span_opens_stands_only_where_spans_follow_from_the_curve(answer):
    detector = answer["detectors"]["ss_avd"]
    detector["windows"][0].update(start_s=[0.0, 2.0], end_s=[2.0, 4.0], video=[0.2, 0.9], audio=[0.2, 0.2],
                                  whole=[0.2, 0.2])
    detector["segments"] = [{"start_s": 2.0, "end_s": 4.0, "score": 0.9, "modality": "video", "track": 0}]
    assert "A span opens at 0.70." in Page(report_html(answer, CARDS)).words
    detector["segments"][0].update(start_s=0.5, end_s=1.5)  # one of its own
    assert "A span opens at" not in Page(report_html(answer, CARDS)).words


def test_no_match_of_sound_and_picture_is_no_number(answer):
    answer["detectors"]["ss_avd"]["offset_s"] = -0.6
    told = Page(report_html(answer, CARDS)).words
    assert "no match within 0.6 s either way (nothing was found, so nothing follows)" in told and "-0.60" not in told


def test_a_still_picture_s_score_is_no_probability(answer):
    answer.update(score=None, verdict="CANNOT_EVALUATE", probe=None)
    answer["media"]["still"] = True
    told = " ".join(Page(report_html(answer, CARDS)).words.split())
    assert f"Picture 0.60 {words.STILL_SCORE}" in told and words.NUMBER_RESTS not in told


def test_a_clip_unlike_training_has_no_band_of_strong_signs(answer):
    del answer["probe"]
    for points in (answer["consensus"].get("thresholds"), *(d["thresholds"] for d in answer["detectors"].values())):
        if points:
            points["manipulated"] = 1.0
    told = report_html(answer, CARDS)
    assert words.BAND_LABELS[1] in told and f">{words.BAND_LABELS[2]}<" not in told
    assert words.NO_STRONG_BAND in told and "strong signs never" in told


def test_every_measure_of_a_clip_has_a_name(examples_dir):
    measures = judge_familiarity(prepare(examples_dir / "voice_resynthesised.mp4")).quality.measures
    assert {"snr_db", *MEASURES.values()} <= measures.keys() <= words.MEASURES.keys()
