"""The pure HTML and figure functions: wording, escaping, geometry. No browser, no server."""

from __future__ import annotations

import base64
import json
import re

import pytest

from explain.answer import gaps, judged_windows
from explain.words import NO_STRONG_BAND
from tests.strict_html import Page
from ui import details, player, progress, texts, verdict
from ui.demos import demos_html, planted, read_demos
from ui.figures import figure_alt, scores_figure
from ui.markup import clock, percent, table
from ui.timeline import MAX_TICKS, tick_step_s, timeline_html
from ui.verdict import band_html, probability_words, spread_html, verdict_html

PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    "clip${Object.assign(window,{xe:1})}.mp4",
    "{{constructor.constructor('alert(1)')()}}",
    '"><script>alert(1)</script>',
    "' onfocus='alert(1)' autofocus='",
)


def every_html(result: dict, cards: dict) -> dict[str, str]:
    return {
        "verdict": verdict_html(result, cards),
        "timeline": timeline_html(result, cards),
        "player": player.player_html(result, "/tmp/x/" + str(result["clip"])),
        "segments": details.segments_html(result, cards),
        "detectors": details.detectors_html(result, cards),
        "file": details.file_html(result),
        "download": details.downloads_html(result, cards),
    }


@pytest.mark.parametrize("payload", PAYLOADS)
def test_user_text_never_becomes_markup(result, cards, payload):
    clean = {name: Page(html) for name, html in every_html(result, cards).items()}
    result["clip"] = payload
    result["findings"][0]["message"] = payload
    result["provenance"]["facts"] = dict.fromkeys(result["provenance"]["facts"], payload)
    cards["ss_avd"]["name"] = payload
    result["detectors"]["ss_avd"]["checkpoint"] = payload
    for name, html in every_html(result, cards).items():
        dirty = Page(html)
        assert [t for t, _ in dirty.tags] == [t for t, _ in clean[name].tags]
        assert [sorted(a) for _, a in dirty.tags] == [sorted(a) for _, a in clean[name].tags]


@pytest.mark.parametrize("verdict", ["MANIPULATED", "SUSPICIOUS", "NO_SIGNS", "CANNOT_EVALUATE"])
def test_no_verdict_says_real_or_fake(result, cards, verdict):
    result["verdict"] = result["detectors"]["ss_avd"]["verdict"] = verdict
    words = Page(verdict_html(result, cards)).words.lower()
    assert texts.VERDICTS[verdict][0].lower() in words
    assert not re.search(r"\b(real|fake|authentic)\b", words)


def test_no_signs_are_not_told_where_a_detector_finds_some(result, cards):
    other = {**result["detectors"]["ss_avd"], "verdict": "NO_SIGNS"}
    result.update(verdict="NO_SIGNS", detectors={**result["detectors"], "joint_av": other})
    told = Page(verdict_html(result, cards)).words
    assert texts.VERDICTS["NO_SIGNS"][0] not in told and "No agreed signs of manipulation" in told
    assert "By itself, SS-AVD finds some signs of manipulation." in told


def test_the_card_names_the_file_that_it_answers(result, error, cards):
    told = " ".join(Page(verdict_html(result, cards)).words.split())
    assert "Answer to talk.mp4 SHA-256 abababababab…" in told
    told = " ".join(Page(verdict_html(error, cards)).words.split())
    assert "Answer to broken.mp4" in told and "SHA-256" not in told


@pytest.fixture
def measured(monkeypatch) -> dict:
    """A record of both detectors together, and nobody else's."""
    record = {"of": ("ss_avd", "joint_av"), "results": {"genuine_called": {"MANIPULATED": 0.021, "SUSPICIOUS": 0.114},
                                                        "fake_called": {"NO_SIGNS": 0.333}}}
    monkeypatch.setattr(verdict, "read_record", lambda: record)
    return record


def test_the_record_of_all_together_stands_under_their_answer(result, cards, measured):
    def told() -> str:
        return " ".join(Page(verdict_html(result, cards)).words.split())

    result["detectors"]["joint_av"] = json.loads(json.dumps(result["detectors"]["ss_avd"]))
    assert "How often the answer of all detectors together is wrong" not in told(), "a mean of scores was not measured"
    result["consensus"]["fitted"] = True
    assert "2 % of the genuine ones strong signs and 11 % some signs, and found no signs in 33 %" in told()
    assert texts.RECORD_OF_ALL not in told()
    result["detectors"]["joint_av"]["score"] = None
    assert texts.RECORD_OF_ALL in told(), "who abstained was not heard"
    measured.clear()
    assert "How often the answer of all detectors together is wrong" not in told()


def test_probability_has_words_number_and_direction(result, cards):
    words = Page(verdict_html(result, cards)).words
    assert "61\u00a0%" in words and "rather high" in words and texts.PROBABILITY_SCALE in words


@pytest.mark.parametrize(
    ("score", "words"), [(0.0, "very low"), (0.2, "low"), (0.5, "about even"), (0.8, "high"), (1.0, "very high")]
)
def test_probability_words(score, words):
    assert probability_words(score) == words


def test_no_certainty_is_claimed():
    assert percent(0.0) == 1 and percent(1.0) == 99 and percent(0.614) == 61


def test_bands_stand_at_the_thresholds():
    html = band_html(0.61, {"suspicious": 0.4, "manipulated": 0.7})
    tags = Page(html).tags
    widths = [a["style"] for _, a in tags if "tt-band " in a.get("class", "")]
    assert widths == ["width:40.00%", "width:30.00%", "width:30.00%"]
    assert "From 40 to 70 %: some signs" in tags[0][1]["aria-label"]


def test_a_clip_unlike_training_has_no_band_of_strong_signs():
    points, outcome = {"suspicious": 0.6, "manipulated": 1.0}, {"lowest": 0.5, "highest": 0.9, "clip": {"score": 0.8}}
    for html in (band_html(0.93, points), spread_html(outcome, points)):
        tags = Page(html).tags
        assert [a["style"] for _, a in tags if "tt-band " in a.get("class", "")] == ["width:60.00%", "width:40.00%"]
        assert f">{texts.BAND_LABELS[2]}<" not in html
        assert NO_STRONG_BAND in Page(html).words, "in sight, not in the label alone"
        assert "From 60 % on: some signs" in tags[0][1]["aria-label"] and "learnt from" in tags[0][1]["aria-label"]


def test_no_band_where_detectors_have_different_thresholds(result, cards):
    other = json.loads(json.dumps(result["detectors"]["ss_avd"]))
    other["thresholds"]["manipulated"] = 0.9
    result["detectors"]["joint_av"] = other
    assert "tt-scale" not in verdict_html(result, cards)


def test_part_without_score_says_why(result, cards):
    words = Page(verdict_html(result, cards)).words
    assert texts.NOT_JUDGED in words and texts.NOT_JUDGED_NO_HEAD["sync"] in words
    result["consensus"]["audio"] = None
    result["findings"] = [{"code": "NO_AUDIO", "message": "There is no sound.", "remedy": "", "blocks": ["audio"]}]
    assert "There is no sound" in Page(verdict_html(result, cards)).words.split(texts.REASONS_HEADING)[0]


def test_provisional_weights_are_named(result, cards):
    assert texts.PROVISIONAL_BADGE in verdict_html(result, cards)
    result["provisional"] = False
    assert texts.PROVISIONAL_BADGE not in verdict_html(result, cards)


def test_detectors_that_were_not_chosen_are_named(result, cards):
    assert "Joint AV" in verdict_html(result, cards)


def test_error_is_a_sentence_with_a_remedy(error, cards):
    words = Page(verdict_html(error, cards)).words
    assert "could not be read" in words and "Export it again." in words and "DECODE_FAILED" in words
    assert timeline_html(error, cards) == "" and details.segments_html(error, cards)
    Page(details.file_html(error))
    Page(details.downloads_html(error, cards))


def test_detectors_with_bands_of_their_own_get_a_scale_each(result, cards):
    own, other = result["detectors"]["ss_avd"], json.loads(json.dumps(result["detectors"]["ss_avd"]))
    result["detectors"]["joint_av"] = {**other, "score": 0.95, "verdict": "MANIPULATED"}
    assert texts.OWN_HEADING not in verdict_html(result, cards), "one scale serves both"
    result["detectors"]["joint_av"]["thresholds"].update(manipulated=0.9, suspicious=0.5)
    parsed = Page(verdict_html(result, cards))
    told = " ".join(parsed.words.split())
    assert "SS-AVD 61 % some signs" in told and "Joint AV 95 % strong signs" in told and texts.OWN_HEADING in told
    scales = [a["aria-label"] for _, a in parsed.tags if a.get("class") == "tt-small-scale"]
    assert "From 40 to 70 %" in scales[0] and "From 50 to 90 %" in scales[1]
    own["score"] = None
    assert texts.OWN_HEADING not in verdict_html(result, cards), "one that abstained has no place on a scale"


def test_no_score_is_never_left_without_a_word(result, cards):
    result.update(score=None, verdict="CANNOT_EVALUATE", findings=[])
    assert texts.REASON_MISSING in Page(verdict_html(result, cards)).words


def test_segments_are_buttons_that_say_part_time_and_score(result, cards):
    tags = Page(timeline_html(result, cards)).tags
    buttons = [a for t, a in tags if t == "button" and a.get("class") == "tt-segment"]
    assert [b["aria-label"] for b in buttons] == ["Picture, 2.0 to 4.4 s, score 0.96"]
    assert (buttons[0]["data-start"], buttons[0]["data-end"], buttons[0]["data-track"]) == ("2", "4.4", "0")
    assert buttons[0]["style"] == "left:20.000%;width:24.000%"


@pytest.mark.parametrize(("duration", "zooms"), [(1.9, [1]), (3.0, [1, 2]), (7.9, [1, 2, 4]), (600.0, [1, 2, 4, 8])])
def test_zooms_have_ticks_of_their_own_and_end_at_a_second(result, cards, duration, zooms):
    result["duration_s"] = duration
    parsed = Page(timeline_html(result, cards))
    (line,) = [a for _, a in parsed.tags if "data-zooms" in a]
    assert json.loads(line["data-zooms"]) == zooms
    assert [a["class"] for _, a in parsed.tags if "tt-ticks" in a.get("class", "")] == [f"tt-track tt-ticks-{z}"
                                                                                      for z in zooms]
    tools = [a["data-zoom"] for t, a in parsed.tags if t == "button" and "data-zoom" in a]
    assert tools == (list(texts.ZOOM_BUTTONS) if len(zooms) > 1 else [])


def test_without_a_marked_span_there_is_none_to_zoom_to(result, cards):
    result["detectors"]["ss_avd"]["segments"] = []
    assert 'data-zoom="in"' in timeline_html(result, cards) and 'data-zoom="span"' not in timeline_html(result, cards)


def test_second_face_has_a_lane_of_its_own(result, cards):
    result["media"]["faces"].append({"track": 1, "start_s": 5.0, "end_s": 9.0, "face_px": 80})
    words = Page(timeline_html(result, cards)).words
    assert "Picture, face 1" in words and "Picture, face 2" in words


def test_sound_alone_has_a_timeline(result, cards):
    result["media"] = {"audio_codec": "pcm_s16le", "faces": []}
    windows = result["detectors"]["ss_avd"]["windows"][0]
    windows.update(track=None, video=None, whole=None)
    result["detectors"]["ss_avd"]["segments"] = []
    html = timeline_html(result, cards)
    words = Page(html).words
    assert texts.TIMELINE_NO_SEGMENTS in words and "Sound" in words
    assert 'class="tt-tick"' in html
    assert player.player_html(result, "/tmp/a.wav").startswith("<audio")


def test_sound_is_averaged_over_faces(result):
    answer = result["detectors"]["ss_avd"]
    answer["windows"].append({**answer["windows"][0], "track": 1, "audio": [0.3, 0.3, None]})
    scores = [(a, round(s, 3)) for a, _, s in judged_windows(answer, "audio", None)]
    assert scores == [(0.0, 0.2), (1.5, 0.2), (6.0, 0.2)]


def test_unjudged_spans_are_what_windows_leave():
    assert gaps([(0.0, 3.0), (1.5, 4.5), (6.0, 9.0)], 10.0) == [(4.5, 6.0), (9.0, 10.0)]
    assert gaps([], 10.0) == [(0.0, 10.0)]


@pytest.mark.parametrize("duration", [0.4, 3.0, 9.8, 61.0, 600.0])
def test_ticks_stay_few_enough_to_press(duration):
    assert duration / tick_step_s(duration) <= MAX_TICKS


def test_several_detectors_get_a_heading_each(result, cards):
    result["detectors"]["joint_av"] = json.loads(json.dumps(result["detectors"]["ss_avd"]))
    words = Page(timeline_html(result, cards)).words
    assert "SS-AVD" in words and "Joint AV" in words


def test_table_repeats_the_timeline(result, cards):
    words = Page(details.segments_html(result, cards)).words
    assert all(cell in words for cell in ("0:02", "0:04.4", "Picture", "0.96", "SS-AVD"))


def test_downloads_are_the_report_and_the_result_itself(result, cards):
    tags = Page(details.downloads_html(result, cards)).tags
    assert tags[0] == ("p", {"class": "tt-downloads"}), "which keeps the two apart"
    report, plain = [a for t, a in tags if t == "a"]
    assert json.loads(base64.b64decode(plain["href"].split(",", 1)[1])) == result
    assert plain["download"] == "talk.telltale.json" and report["download"].endswith(".html")


def test_captions_carry_the_spans(result):
    (tag, attributes), *_ = Page(player.player_html(result, "/tmp/a b#1.mp4")).tags
    assert tag == "video" and attributes["src"].endswith("/tmp/a%20b%231.mp4")
    assert json.loads(attributes["data-captions"]) == [[2.0, 4.4, "Marked: picture, score 0.96"]]


def test_figure_draws_scores_thresholds_and_has_a_text_twin(result, cards):
    result["detectors"]["ss_avd"]["segments"][0].update(start_s=0.0, end_s=4.5)  # as the curve opens and closes it
    figure = scores_figure(result, cards)
    assert [a.text for a in figure.layout.annotations][:2] == ["Picture", "Sound"]
    assert [(t.name, t.yaxis) for t in figure.data] == [("SS-AVD", "y"), ("SS-AVD", "y2")]
    assert list(figure.data[0].y) == [0.4, 0.96]
    assert list(figure.data[1].x) == [1.5, 3.0, None, 7.5], "the line breaks where nothing was judged"
    assert tuple(figure.layout.xaxis.range) == tuple(figure.layout.xaxis2.range) == (0, 10.0)
    assert sorted(s.y0 for s in figure.layout.shapes) == [0.35, 0.35, 0.5, 0.5], "in each panel"
    assert "Picture: lowest 0.40, highest 0.96 at 3.0 s." in figure_alt(result, cards)


def test_a_detector_with_spans_of_its_own_has_no_level_that_opens_one(result, cards):
    html, figure = timeline_html(result, cards), scores_figure(result, cards)
    assert "<line " not in html and not figure.layout.shapes
    words = Page(html).words
    assert texts.LEGEND_THRESHOLD not in words and texts.TIMELINE_PROPOSES[False].format(names="SS-AVD") in words
    result["detectors"]["ss_avd"]["segments"] = []
    words = Page(timeline_html(result, cards)).words
    assert texts.TIMELINE_NO_SEGMENTS in words and "threshold" not in words, "its line is above any"
    result["detectors"]["ss_avd"]["thresholds"] = {**result["detectors"]["ss_avd"]["thresholds"], "segment_on": 0.99}
    html = timeline_html(result, cards)
    assert "<line " in html and texts.LEGEND_THRESHOLD in html and "in another way" not in html


def test_figure_tells_detectors_apart_by_more_than_colour(result, cards):
    result["detectors"]["joint_av"] = result["detectors"]["ss_avd"]
    figure = scores_figure(result, cards)
    first, second = (t for t in figure.data if t.yaxis == "y")
    assert (first.name, second.name) == ("SS-AVD", "Joint AV") and first.line.dash != second.line.dash
    assert first.marker.symbol != second.marker.symbol and first.line.color != second.line.color
    assert [t.showlegend for t in figure.data] == [True, True, False, False], "each name once"
    assert "Joint AV: Sound: lowest" in figure_alt(result, cards)


def test_figure_of_nothing_says_so(error, cards):
    assert texts.FIGURE_ALT_NONE in figure_alt(error, cards)


def test_stages_name_what_is_done_and_what_runs():
    html = progress.stages_html([("Reading the file", 0.42)], "Finding <faces>")
    assert "0.4 s" in html and "Finding &lt;faces&gt; …" in html
    assert 'aria-hidden="true" data-running="0"' in html


@pytest.mark.parametrize(("cell", "html"), [
    ("0.91 (0.87 to 0.95)", "0.91&nbsp;(0.87&nbsp;to&nbsp;0.95)"), ("−0.4 s", "−0.4&nbsp;s"), ("1,234", "1,234"),
    ("12 %", "12&nbsp;%"), ("2 of 3 mark it", "2 of 3 mark it"), ("0.73, some signs", "0.73, some signs"),
])
def test_numbers_of_a_table_are_not_broken_and_words_are(cell, html):
    assert f"<td>{html}</td>" in table("c", ("a",), [(cell,)])


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.25, "1:15.2"), (59.97, "1:00"), (600, "10:00")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_demo_clips_say_what_they_are_and_their_truth_is_shown(result, cards):
    demos = read_demos()
    assert demos, "assets/examples/examples.json names no clip that is there"
    tags = Page(demos_html(demos)).tags
    assert sum(t == "button" for t, _ in tags) == len(demos)
    changed = next(d for d in demos if d["manipulated"]["video"])
    result["sha256"] = changed["sha256"]
    truth = planted(result, demos)
    assert truth == changed["manipulated"]
    assert "tt-planted" in timeline_html(result, cards, truth)
    result["sha256"] = "00" * 32
    assert planted(result, demos) is None
