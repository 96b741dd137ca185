"""The Why panel: what can be asked, what is shown at each step, which maps are greyed, and what is kept how long."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest

from explain import explain as explain_core
from explain import usual_methods
from explain.pictures import Picture
from explain.sheet import TimeSpan
from media import PreparedClip
from tests.explain.tiny_detectors import Spots, TinyDetector, a_clip
from tests.strict_html import Page
from tests.ui.test_html import PAYLOADS
from ui import explain, explaining, scoring, texts
from ui.explain import (
    explanation_html,
    explanations_html,
    first_detector,
    first_span,
    heat_table,
    offered,
    picture_html,
    pressed_span,
    questions,
    share_html,
    signed,
    span_choices,
    subject_of,
    sums_by_time,
)
from ui.explaining import ExplainRun, Kept, Question, Told, check_question, next_stage, tell

CARDS = {"tiny": {"name": "Tiny"}, "other": {"name": "Other"}}
QUESTION = Question("tiny", 1.0, 2.0, "video", 0)
PICTURE = Picture(b"\x89PNG", "image/png", "What it shows", "How to read it", "faces",
                  (TimeSpan(0.2, 0.5, 1.0, 2.0), TimeSpan(0.6, 0.9, 3.0, 4.0)), finding="Most is at the lips.")


@pytest.fixture(scope="module")
def detector():
    """It looks at the mouth alone."""
    return TinyDetector(Spots(face=12.0, audio=0.0, bias=-6.0, frames=slice(0, 4)))


@pytest.fixture(scope="module")
def steps(detector) -> list[Told]:
    found = explain_core(a_clip(), detector, span_s=(1.0, 2.0), track_id=0, head="video")
    return [Told(json.loads(json.dumps(e.to_json()))) for e in found]


@pytest.fixture
def subject(result) -> dict:
    result["detectors"]["joint_av"] = {
        "score": 0.3, "segments": [],
        "windows": [{"track": 0, "start_s": [0.0, 1.28], "end_s": [1.28, 2.56], "video": [0.1, 0.2], "audio": None,
                     "sync": [None, None], "whole": [0.1, 0.3]}],
    }
    return subject_of(result, "clip.mp4", "cpu")


def words(html: str) -> str:
    return " ".join(Page(html).words.split())


# ---- what can be asked ------------------------------------------------------------------------------------------


def test_only_scores_that_were_told_can_be_explained_and_the_peak_is_the_whole_s_highest_window(subject):
    assert subject["detectors"]["ss_avd"]["heads"] == ["video", "audio", "whole"]
    assert subject["detectors"]["joint_av"]["heads"] == ["video", "whole"], "null in every window is no score"
    assert subject["detectors"]["ss_avd"]["peak"] == {"at_s": 3.0, "track": 0, "head": None}
    assert subject["detectors"]["joint_av"]["peak"]["at_s"] == 1.92


def test_an_unread_clip_offers_nothing(error, result):
    assert subject_of(error, "x", "cpu") is None
    assert offered(None)[0] is None and offered(error)[1].visible is False
    result["detectors"]["ss_avd"]["windows"] = []
    assert subject_of(result, "x", "cpu") is None


def test_spans_in_words_and_the_most_suspicious_one_first(subject):
    assert span_choices(subject, "ss_avd") == [
        ("Picture, 2.0 to 4.4 s, score 0.96", "segment 0"), (explain.PEAKS[None].format(time="3.0"), "peak"),
        (explain.MOMENT, "moment")]
    assert first_span(subject, "ss_avd") == "segment 0" and first_span(subject, "joint_av") == "peak"
    second = {"start_s": 6.0, "end_s": 7.0, "score": 0.99, "modality": "audio", "track": None}
    subject["detectors"]["ss_avd"]["segments"].append(second)
    assert first_span(subject, "ss_avd") == "segment 1"


def test_what_decided_is_what_is_offered_first(result):
    """Where the lip-sync decides, neither the highest score of a whole clip nor a span of the picture."""
    sync = {"start_s": 1.0, "end_s": 3.0, "score": 0.7, "modality": "sync", "track": 0}
    windows = [{"track": 0, "start_s": [0.0, 1.0], "end_s": [1.0, 2.0], "video": [0.9, 0.1], "audio": None,
                "sync": [0.4, 0.8], "whole": [0.9, 0.1]}]
    picture = result["detectors"]["ss_avd"]["segments"][0]
    result["detectors"] |= {
        "marks": {"score": 0.5, "sync": 0.6, "segments": [picture, sync], "windows": windows},
        "louder": {"score": 0.9, "sync": 0.9, "segments": [], "windows": windows},
    }
    assert first_detector(subject_of(result, "x", "cpu")) == "louder", "the most alarmed of the whole clip"
    result["consensus"]["by_sync"] = True
    subject = subject_of(result, "x", "cpu")
    assert first_detector(subject) == "marks" and first_span(subject, "marks") == "segment 1"
    assert first_span(subject, "ss_avd") == "segment 0", "it does not judge the lip-sync"
    assert span_choices(subject, "louder")[0] == (explain.PEAKS["sync"].format(time="1.5"), "peak")
    (question,) = questions(subject, "louder", "peak", None, "auto", "blur", "")
    assert (question.head, question.start_s) == ("sync", 1.5)
    result["detectors"]["marks"]["segments"] = [picture]
    assert first_detector(subject_of(result, "x", "cpu")) == "louder", "nobody marks it: the highest score of it"


def test_a_span_pressed_on_the_timeline_is_found_by_its_words(subject):
    label = "Picture, 2.0 to 4.4 s, score 0.96"
    assert pressed_span(subject, "joint_av", label, 2.0) == ("ss_avd", "segment 0")
    subject["detectors"]["joint_av"]["segments"] = subject["detectors"]["ss_avd"]["segments"]
    assert pressed_span(subject, "joint_av", label, 2.0) == ("joint_av", "segment 0")
    assert pressed_span(subject, "ss_avd", label, 2.04) is None
    assert pressed_span(subject, "ss_avd", "<b>", 2.0) is None


def test_questions_about_spans_and_moments(subject):
    ask = lambda *wishes: questions(subject, *wishes)  # noqa: E731
    assert ask("ss_avd", "segment 0", None, "auto", "blur", "") == [Question("ss_avd", 2.0, 4.4, "video", 0, "blur")]
    assert ask("ss_avd", "segment 0", None, "audio", "mean", "") == [Question("ss_avd", 2.0, 4.4, "audio", 0, "mean")]
    assert ask("ss_avd", "peak", None, "auto", "blur", "") == [Question("ss_avd", 3.0, 3.0, None, 0, "blur")]
    assert ask("ss_avd", "moment", 7, "auto", "blur", "") == [Question("ss_avd", 7.0, 7.0, None, None, "blur")]


def test_a_second_detector_is_asked_about_the_same_span_and_score_as_far_as_it_has_it(subject):
    first, second = questions(subject, "ss_avd", "segment 0", None, "auto", "blur", "joint_av")
    assert (second.detector, second.start_s, second.end_s, second.head) == ("joint_av", 2.0, 4.4, "video")
    _, second = questions(subject, "ss_avd", "segment 0", None, "audio", "blur", "joint_av")
    assert second.head is None
    assert len(questions(subject, "ss_avd", "peak", None, "auto", "blur", "ss_avd")) == 1


@pytest.mark.parametrize("wishes", [
    ("nobody", "peak", None, "auto", "blur", ""), (["ss_avd"], "peak", None, "auto", "blur", ""),
    ("ss_avd", "segment 7", None, "auto", "blur", ""), ("ss_avd", None, None, "auto", "blur", ""),
    ("ss_avd", "peak", None, "auto", "black", ""), ("ss_avd", "moment", None, "auto", "blur", ""),
    ("ss_avd", "moment", 10.1, "auto", "blur", ""), ("ss_avd", "moment", -1, "auto", "blur", ""),
    ("ss_avd", "moment", float("nan"), "auto", "blur", ""),
])
def test_wishes_that_cannot_be_answered_are_refused_in_words(subject, wishes):
    with pytest.raises(ValueError, match="Choose|Give the moment"):
        questions(subject, *wishes)


def test_what_the_endpoint_takes():
    ask = lambda *given: check_question(*given, CARDS)  # noqa: E731
    assert ask("tiny", 1, 2.5, None, None, "blur") == Question("tiny", 1.0, 2.5)
    assert ask("tiny", None, None, 3, "audio", "mean") == Question("tiny", 3.0, 3.0, "audio", None, "mean")
    for given, told in [
        (("nobody", 1, 2, None, None, "blur"), "Choose from: tiny, other"),
        ((["tiny"], 1, 2, None, None, "blur"), "Choose from: tiny, other"),
        (("tiny", 1, 2, None, "all", "blur"), "video, audio, sync, whole"),
        (("tiny", 1, 2, None, ["x"], "blur"), "Unknown head"),
        (("tiny", 1, 2, None, None, "black"), "blur, mean, neutral"), (("tiny", 1, 2, None, None, None), "blur"),
        (("tiny", None, None, None, None, "blur"), "moment_s"), (("tiny", 1, None, None, None, "blur"), "moment_s"),
        (("tiny", 1, 2, 1.5, None, "blur"), "moment_s"), (("tiny", 2, 1, None, None, "blur"), "before the end"),
        (("tiny", -1, 1, None, None, "blur"), "seconds"), (("tiny", True, 1, None, None, "blur"), "seconds"),
        (("tiny", "0", "1", None, None, "blur"), "seconds"), (("tiny", 0, 10**400, None, None, "blur"), "seconds"),
        (("tiny", float("nan"), 1, None, None, "blur"), "seconds"),
    ]:
        with pytest.raises(ValueError, match=told):
            ask(*given)


# ---- what is shown ----------------------------------------------------------------------------------------------


def test_it_grows_from_share_to_maps_to_their_tests(steps):
    shown = [words(explanation_html(QUESTION, told, CARDS, running=True)) for told in steps]
    assert all(explain.SHARE_HEADING in text and "Tiny on the picture, 1.0 to 2.0 s" in text for text in shown)
    readable, fine = explain.MAP_TITLES["ablation"], explain.MAP_TITLES["integrated_gradients"]
    assert f"{readable}: being made" in shown[0] and f"{fine}: being made" in shown[0]
    assert f"{readable} … {explain.STATES['testing'][1]}" in shown[1] and f"{fine}: being made" in shown[1]
    assert "at the lips, 1.0–2.0 s" in shown[1] and "at the lips" not in shown[0]
    assert shown[2].count(explain.STATES["testing"][1]) == 2
    assert f"{readable} ✓ {explain.STATES['passed'][1]} Removing the marked" in shown[3]
    assert shown[-1].count(explain.STATES["passed"][1]) == 2 and "being made" not in shown[-1]
    assert words(explanation_html(QUESTION, Told(), CARDS, running=True)).endswith(explain.WAITING)


def test_stages_are_announced_in_the_order_of_the_work(steps):
    wanted = usual_methods({})
    said = [next_stage(told, wanted) for told in (None, *steps)]
    maps = explaining.MAPS
    assert said == [explaining.SHARE, maps["ablation"], maps["integrated_gradients"],
                    explaining.TEST.format(number=1, count=2), explaining.TEST.format(number=2, count=2), None, None]


def test_a_map_that_failed_is_grey_and_says_so_in_its_sentence(steps):
    answer = json.loads(json.dumps(steps[-1].answer))
    answer["faithfulness"]["ablation"].update(passed=False, sentence="It proves nothing. So don't rely on this map.")
    html = explanation_html(QUESTION, Told(answer), CARDS, running=False)
    failed, passed = re.findall(r'<details class="tt-map .*?(?=<details class="tt-map|$)', html)
    assert "tt-map-failed" in failed and "tt-unreliable" in failed
    assert "So don&#x27;t rely on this map." in failed and explain.STATES["failed"][1] in failed
    assert "tt-map-passed" in passed and "tt-unreliable" not in passed


def test_a_map_that_marks_nothing_is_not_called_failed(steps):
    answer = json.loads(json.dumps(steps[-1].answer))
    answer["faithfulness"]["ablation"].update(passed=False, marked=0.0, draws=0, sentence="Nothing to test.")
    html = explanation_html(QUESTION, Told(answer), CARDS, running=False)
    assert "tt-map-empty" in html and "tt-map-failed" not in html and "random regions count less" in html
    assert "tt-unreliable" not in html, "grey is for what failed or was not tested"


def test_after_stop_untested_maps_are_grey_and_nothing_is_announced(steps):
    html = explanation_html(QUESTION, steps[2], CARDS, running=False)
    assert html.count("tt-unreliable") == 2 and html.count("not tested: do not rely on it") == 2
    stopped_early = words(explanation_html(QUESTION, steps[0], CARDS, running=False))
    assert "being made" not in stopped_early and explain.SHARE_HEADING in stopped_early


def test_the_map_that_was_measured_to_point_best_comes_first_and_open(steps):
    told = {"methods": {"integrated_gradients": {"pointing": 0.625, "random_pointing": 0.08, "faithful_share": 1.0}},
            "default": {"method": "integrated_gradients"}}
    html = explanation_html(QUESTION, steps[-1], {"tiny": {"name": "Tiny", "explanations": told}}, running=False)
    first, second = re.findall(r"<details class=.tt-map[^>]*>", html)
    assert "integrated_gradients" in first and first.endswith(" open>") and not second.endswith(" open>")
    assert "62 % of the time; a random spot 8 %" in words(html)
    nothing_points = {"tiny": {"name": "Tiny", "explanations": {"methods": {}, "default": None}}}
    html = explanation_html(QUESTION, steps[-1], nothing_points, running=False)
    assert explain.NONE_BEATS_RANDOM in words(html) and " open>" not in html


def test_share_in_bars_and_words():
    share = {"values": {"face": 1.5, "lips": -0.75, "audio": 0.01}, "of_total": {"face": 0.664, "lips": 0.332,
             "audio": 0.004}, "logit": 2.0, "logit_replaced": 1.24, "residual": 0.0, "complete": True}
    html = share_html({"share": share, "sentences": ["The face speaks most."]})
    text = words(html)
    assert "Face +1.50 for manipulation, 66 % of all" in text and "Mouth, close up −0.75 against it, 33 %" in text
    assert "Sound +0.01 hardly counts" in text and "replacement, +0.76" in text
    assert 'tt-share-for" style="left:50.0%;width:50.0%"' in html
    assert 'tt-share-against" style="left:25.0%;width:25.0%"' in html
    share.update(complete=False, residual=-0.3)
    assert "by −0.30" in words(share_html({"share": share, "sentences": [""]}))
    assert share_html({"share": None}) == ""


def test_the_table_has_every_number_of_the_map_and_jumps_to_its_times(steps):
    html = explanation_html(QUESTION, steps[1], CARDS, running=True)
    picture, _sound = re.findall(r"<table>.*?</table>", html)
    group = steps[1].answer["maps"]["ablation"]["groups"]["picture"]
    headers = re.findall(r'<th scope="col">(.*?)</th>', picture)
    assert headers == [explain.TIME.replace("'", "&#x27;"),
                       *(explain.PLACES[p].replace("'", "&#x27;") for p in group["places"])]
    cells = re.findall(r"<span class=\"tt-heat [^>]*>(.*?)</span>", picture)
    assert cells == [signed(v) for row in group["values"][0] for v in row]
    starts = [float(s) for s in re.findall(r'data-start="([\d.]+)"', picture)]
    assert starts == pytest.approx([1.0 + a for a, _ in group["steps_s"]])


def test_a_fine_map_adds_up_by_time_over_windows():
    group = {"steps_s": [[0.0, 0.5], [0.5, 1.0]], "places": ["a", "b"], "values": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}
    spans_s, sums = sums_by_time({"face": group}, [[2.0, 3.0], [2.5, 3.5]])
    # 1.5 s make 2 rows of 0.75 s: the first holds what begins at 2.0, 2.5 and 2.5 s, the second what begins at 3.0 s
    assert spans_s == [(2.0, 2.75), (2.75, 3.5)]
    assert sums.tolist() == [[1 + 2 + 3 + 4 + 5 + 6], [7 + 8]]


def test_heat_follows_size_and_sign():
    values = np.array([[2.0, -0.02], [1.0, 0.01]])
    html = heat_table("c", ["a", "b"], [(0.0, 1.0), (1.0, 2.0)], values, highest=4.0)
    found = re.findall(r'tt-heat-(for|against)" style="--heat:(\d+)">(.*?)<', html)
    assert found == [("for", "50", "+2.00"), ("against", "0", "−0.02"), ("for", "25", "+1.00"), ("for", "0", "+0.01")]
    assert "nan" not in heat_table("c", ["a"], [(0.0, 1.0)], np.zeros((1, 1)), highest=0.0)


def test_a_map_without_a_common_unit_has_columns_of_their_own_scale(steps):
    answer = json.loads(json.dumps(steps[-1].answer))
    fine = answer["maps"]["integrated_gradients"]
    fine["in_logits"] = False
    for group, scale in zip(fine["groups"].values(), (1e-6, 1.0, 1e6)):
        group["values"] = (scale * np.ones_like(group["values"])).tolist()
    html = explanation_html(QUESTION, Told(answer), CARDS, running=False)
    fine_table = html[html.index(explain.FINE_TABLE_UNITLESS):]
    assert re.findall(r'--heat:(\d+)">', fine_table).count("100") >= 3


def test_signs():
    assert [signed(v) for v in (0.123, -0.126, 0.004, -0.004)] == ["+0.12", "−0.13", "0", "0"]


def test_pictures_have_words_an_axis_for_the_cursor_and_move_only_when_opened(steps):
    html = picture_html(PICTURE, "k")
    tags = dict(Page(html).tags)
    assert tags["img"]["src"] == "data:image/png;base64,iVBORw==" and tags["img"]["alt"] == "What it shows"
    assert json.loads(tags["div"]["data-axis"]) == [[0.2, 0.5, 1.0, 2.0], [0.6, 0.9, 3.0, 4.0]]
    assert "Most is at the lips." in words(html) and "tt-cursor" in html and "<details" not in html
    loop = picture_html(Picture(b"x", "image/webp", "a", "b", "mouth"), "k")
    assert loop.startswith("<details") and " open" not in loop and "tt-cursor" not in loop
    html = explanation_html(QUESTION, Told(steps[-1].answer, {"ablation": (PICTURE,)}), CARDS, running=False)
    assert html.index("<img") < html.index(explain.READ_THEM) < html.index("How to read it") < html.index(
        explain.IN_NUMBERS) < html.index("<table>")


def test_a_picture_s_own_words_are_few_and_said_once():
    caption = "<figcaption><strong>The face, moment by moment.</strong> "
    assert f"{caption}Most is at the lips.</figcaption>" in picture_html(PICTURE, "k")
    assert f"{caption}</figcaption>" in picture_html(PICTURE, "k", ["Nothing in the sound.", "Most is at the lips."])


def test_two_detectors_stand_side_by_side_and_a_refusal_is_a_sentence(steps):
    other = Question("other", 1.0, 1.0, None)
    told = {QUESTION: steps[-1], other: Told(refusal="No face here.")}
    html = explanations_html([QUESTION, other], told, CARDS, running=False)
    assert html.count("tt-why-one") == 2 and "Other on the whole, around 1.0 s No face here." in words(html)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_is_taken_for_markup(steps, payload):
    answer = json.loads(json.dumps(steps[-1].answer))
    answer["notes"], answer["replacement_words"] = [payload], payload
    answer["sentences"] = [payload, payload]
    answer["faithfulness"]["ablation"]["sentence"] = payload
    picture = Picture(b"x", "image/png", payload, payload, "faces", finding=payload)
    html = explanation_html(QUESTION, Told(answer, {"ablation": (picture,)}), {"tiny": {"name": payload}}, False)
    html += explanation_html(QUESTION, Told(refusal=payload), {"tiny": {"name": payload}}, False)
    for tag, attributes in Page(html).tags:
        assert tag not in ("script",) and not [a for a in attributes if a.startswith("on") or a == "autofocus"]
        assert tag != "img" or attributes["src"].startswith("data:image/png")


# ---- how it runs ------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch, detector):
    """tell() finds a small clip and a small detector; drawing is counted instead of done."""
    drawn = []
    monkeypatch.setattr(explaining, "prepare", lambda path: a_clip())
    monkeypatch.setattr(explaining, "judge_familiarity", lambda clip: clip)  # it is like nothing that is known
    monkeypatch.setattr(explaining.core, "load", lambda name, device: detector)
    monkeypatch.setattr(explaining, "draw", lambda clip, found, method: drawn.append(method) or [PICTURE])
    monkeypatch.setattr(explaining, "mouth_loop", lambda clip, found, method: None)
    return drawn


def test_each_step_is_plain_and_pictures_come_with_the_test(tiny):
    told = list(tell("clip.mp4", QUESTION, "cpu"))
    assert [sorted(t.pictures) for t in told] == [[], [], [], ["ablation"], ["ablation", "integrated_gradients"],
                                                  ["ablation", "integrated_gradients"]]
    assert tiny == ["ablation", "integrated_gradients"]
    assert told[-1].finished and not any(t.finished for t in told[:-1])
    assert told[-1].answer == json.loads(json.dumps(told[-1].answer))
    assert all(t.pictures == {} for t in tell("clip.mp4", QUESTION, "cpu", pictured=False))


def test_what_lies_beyond_the_clip_is_a_refusal_and_what_reaches_beyond_is_cut(tiny):
    (told,) = tell("clip.mp4", Question("tiny", 5.0, 6.0), "cpu")
    assert told.finished and "ends at 4.0 s" in told.refusal
    assert next(tell("clip.mp4", Question("tiny", 3.0, 60.0), "cpu")).answer["windows_s"] == [[3.0, 4.0]]
    (told,) = tell("clip.mp4", Question("tiny", 1.0, 2.0, "sync"), "cpu")
    assert "not sync" in told.refusal


def test_a_lent_gpu_gets_the_decoded_clip_and_gives_plain_values(monkeypatch, tiny):
    seen = []
    monkeypatch.setattr(explaining, "on_lent_gpu", lambda: True)
    monkeypatch.setattr(explaining, "_granted", lambda *values: seen.append(values) or iter([Told(refusal="r")]))
    assert list(tell("clip.mp4", QUESTION, "auto", should_stop=lambda: True)) == [Told(refusal="r")]
    ((clip, *others),) = seen
    assert isinstance(clip, PreparedClip) and others == [QUESTION, "auto", True]


def test_a_run_announces_each_stage_and_names_the_detector_where_there_are_two(monkeypatch, steps):
    monkeypatch.setattr(explaining, "tell", lambda path, question, device, should_stop: iter(steps))
    run = ExplainRun("clip.mp4", [QUESTION], "cpu", CARDS)
    seen = [(run.now, len(run.told)) for _ in run.stages()]
    assert seen[0][0] == explaining.SHARE and len(seen) == 5 and run.told == {QUESTION: steps[-1]}
    other = Question("other", 1.0, 2.0)
    run = ExplainRun("clip.mp4", [QUESTION, other], "cpu", CARDS)
    said = [run.now for _ in run.stages()]
    assert said[0] == f"Tiny: {explaining.SHARE}" and f"Other: {explaining.SHARE}" in said and len(run.told) == 2


def test_stop_reaches_the_forward_passes_and_keeps_what_had_come(tiny):
    run = ExplainRun("clip.mp4", [QUESTION], "cpu", CARDS)
    for _ in run.stages():
        if run.told:
            run.stop()
    run._thread.join(timeout=20)
    assert not run._thread.is_alive() and run.fault is None
    assert run.told[QUESTION].answer["share"] and not run.told[QUESTION].finished


def test_a_fault_is_kept_and_logged_without_the_file_name(monkeypatch, caplog):
    def broken(path, *_, **__):
        raise RuntimeError(path)
        yield

    monkeypatch.setattr(explaining, "tell", broken)
    run = ExplainRun("clip.mp4", [QUESTION], "cpu", CARDS)
    list(run.stages())
    assert isinstance(run.fault, RuntimeError) and "RuntimeError" in caplog.text and "clip.mp4" not in caplog.text


def test_what_is_kept_is_bounded_belongs_to_one_session_and_goes_with_it():
    kept, done = Kept(most=2), Told(refusal="r")
    asked = [Question("tiny", float(k), float(k)) for k in range(3)]
    kept.put("a", "hash", asked[0], Told())
    assert kept.get("a", "hash", asked[0]) is None, "not finished"
    for question in asked:
        kept.put("a", "hash", question, done)
    assert [kept.get("a", "hash", q) for q in asked] == [None, done, done]
    assert kept.get("b", "hash", asked[1]) is None and kept.get("a", "another", asked[1]) is None
    kept.put("b", "hash", asked[0], done)
    kept.forget("a")
    assert kept.get("a", "hash", asked[2]) is None and kept.get("b", "hash", asked[0]) is done
    brief = Kept(kept_s=0.0)
    brief.put("a", "hash", asked[0], done)
    assert brief.get("a", "hash", asked[0]) is None


@pytest.fixture
def panel(subject, monkeypatch, steps, tmp_path):
    """The panel's own handlers, and a subject whose clip is there; what detectors say is replayed."""
    import gradio as gr

    from ui.runs import LIGHT, Runs

    clip = tmp_path / "clip.mp4"
    clip.touch()
    subject.update(path=str(clip))
    monkeypatch.setattr(explaining, "tell", lambda path, question, device, should_stop: iter(steps))
    with gr.Blocks() as blocks:
        why, ticket, runs = explain.WhyPanel(), gr.State(""), Runs()
        why.connect(runs, ticket, {"ss_avd": {"name": "SS-AVD"}, "joint_av": {"name": "Joint AV"}}, {}, LIGHT)
    handlers = {f.fn.__name__: f.fn for f in blocks.fns.values() if f.fn}

    class Session:
        session_hash = "mine"

    def ask(*wishes):
        turn = handlers["begin"]("", Session)[0]
        return list(handlers["work"](subject, *wishes, turn, Session))

    return ask, runs, why, handlers


def test_asking_twice_computes_once_and_leaving_forgets(panel, monkeypatch):
    ask, _, why, _ = panel
    wishes = ("ss_avd", "segment 0", None, "auto", "blur", "")
    first = ask(*wishes)
    assert "Finished" in first[-1][0] and explaining.SHARE in first[0][0] and len(first) == 6
    monkeypatch.setattr(explaining, "tell", None)  # would fail now
    ((said, shown),) = ask(*wishes)
    assert explain.KEPT_BEFORE in words(said) and shown == first[-1][1]
    why.kept.forget("mine")
    assert why.kept.get("mine", "ab" * 32, Question("ss_avd", 2.0, 4.4, "video", 0)) is None


def test_a_bad_wish_or_a_clip_that_is_gone_is_a_sentence(panel, subject):
    ask, *_ = panel
    assert "Give the moment" in ask("ss_avd", "moment", None, "auto", "blur", "")[0][0]
    subject["path"] = "/nowhere/clip.mp4"
    assert texts.UPLOAD_GONE.split(",")[0] in ask("ss_avd", "peak", None, "auto", "blur", "")[0][0]


def test_stop_leaves_what_had_come_and_keeps_nothing(panel, subject, monkeypatch, steps):
    _, runs, why, handlers = panel
    turn = runs.draw("mine")

    def slow(path, question, device, should_stop):
        yield steps[0]
        until = time.monotonic() + 30
        while not should_stop() and time.monotonic() < until:
            time.sleep(0.01)
        raise explaining.Cancelled

    monkeypatch.setattr(explaining, "tell", slow)
    working = handlers["work"](subject, "ss_avd", "peak", None, "auto", "blur", "", turn,
                               type("Session", (), {"session_hash": "mine"}))
    next(working)
    said, *_ = handlers["halt"](turn)
    assert explain.STOPPED in words(said)
    last = list(working)[-1]
    assert explain.STOPPED in words(last[0]) and "tt-shares" in last[1]
    assert not why.kept.get("mine", "ab" * 32, Question("ss_avd", 3.0, 3.0, None, 0))


def test_the_words_of_all_maps_are_there():
    from explain import METHODS, REPLACEMENTS

    assert set(explain.MAP_TITLES) == set(explain.MAP_HINTS) == set(explaining.MAPS) == set(METHODS)
    assert set(explain.REPLACEMENT_NAMES) == set(REPLACEMENTS)
    assert set(explain.HEAD_NAMES) == set(explain.HEAD_WORDS) == set(explaining.HEADS)
    assert scoring.Stopped is explaining.Stopped and texts.STOP
