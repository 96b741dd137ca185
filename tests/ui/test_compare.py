"""The Compare panel: its HTML by hand-made objects, and its handlers with a stand-in for the analysis."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import gradio as gr
import pytest

import detectors as core
from tests.strict_html import Page
from tests.ui.test_html import PAYLOADS
from ui import compare, texts
from ui.compare import comparison_html, matrix_html, scores_html, timelines_html, two_clips_html
from ui.holds import Holds
from ui.runs import Runs


@pytest.fixture
def several(result, cards) -> dict:
    """Both detectors on one clip: the first marks a span of the picture, the second sees nothing and has no sound."""
    other = copy.deepcopy(result["detectors"]["ss_avd"])
    other.update(verdict="NO_SIGNS", score=0.2, video=0.2, audio=None, segments=[], offset_s=-0.12)
    other["windows"][0].update(video=[0.2, 0.1, 0.2], audio=None)
    result["detectors"]["joint_av"] = other
    result["timings_s"] = {"prepare": 2.0, "ss_avd": 0.44, "joint_av": 1.26, "total": 3.9}
    result["consensus"].update(video=0.4, agree=1, of=2)
    return result


@pytest.fixture
def second(result) -> dict:
    other = copy.deepcopy(result)
    other.update(clip="edit.mp4", sha256="ef" * 32, duration_s=5.0)
    return other


def cells(html: str) -> list[list[str]]:
    """Words of every row of a table, cell by cell."""
    rows, row, words = [], [], None
    parser = Page(html)  # fails where tags do not close
    assert parser.tags

    class Cells(Page):
        def handle_starttag(self, tag, attrs):
            nonlocal row, words
            super().handle_starttag(tag, attrs)
            if tag == "tr":
                row = []
            elif tag in ("td", "th"):
                words = []

        def handle_endtag(self, tag):
            nonlocal words
            super().handle_endtag(tag)
            if tag in ("td", "th"):
                row.append(" ".join("".join(words).split()))
                words = None
            elif tag == "tr":
                rows.append(row)

        def handle_data(self, data):
            super().handle_data(data)
            if words is not None:
                words.append(data + " ")

    Cells(html)
    return rows


def test_side_by_side_table(several, cards):
    rows = {row[0]: row[1:] for row in cells(scores_html(several, cards))}
    assert rows["Part"] == ["Together", "SS-AVD", "Joint AV"], "a narrow page shows the first"
    signs, none = (texts.VERDICTS[v][0] for v in ("SUSPICIOUS", "NO_SIGNS"))
    assert rows["Verdict"] == [signs, signs, none]
    assert rows["Picture"] == ["0.40 below even mean of both, 50 % each", "0.60 rather high marks 2.0 to 4.4 s",
                               "0.20 low"]
    assert rows["Sound"] == ["0.10 low SS-AVD alone", "0.10 low", "not judged"]
    assert rows["Lip-sync"] == ["not judged"] * 3
    assert rows["Sound against picture"] == ["", "", "the sound comes 0.12 s before the picture"]
    assert rows["Weight in the score"] == ["", "50 %", "50 %"]
    assert rows["Time"] == ["3.9 s in all; 2.0 s of it for reading the clip, once for all", "0.4 s", "1.3 s"]


def test_where_the_lip_sync_decides_its_judges_are_the_ones_that_weigh(several, cards):
    several["consensus"].update(fitted=True, by_sync=True, weights={"score": {"ss_avd": 0.8, "joint_av": 0.2}})
    several["detectors"]["joint_av"]["sync"] = 0.9
    several["detectors"]["mute"] = {"score": None, "windows": []}
    rows = {row[0]: row[1:] for row in cells(scores_html(several, cards))}
    assert rows["Weight in the score"] == ["", compare.NOT_USED, "100 %", texts.NOT_JUDGED]
    assert rows["Whole clip"][0].endswith("the lip-sync decides, of Joint AV")


def test_no_match_of_sound_and_picture_is_no_number(several, cards):
    several["detectors"]["joint_av"]["offset_s"] = -0.6
    rows = {row[0]: row[1:] for row in cells(scores_html(several, cards))}
    assert rows["Sound against picture"] == ["", "", "no match within 0.6 s either way"]


def test_a_probe_s_hand_in_the_verdicts_is_named(several, cards):
    assert compare.AFTER_PROBE not in scores_html(several, cards)
    assert compare.AFTER_PROBE in scores_html({**several, "probe": {"of": 1}}, cards)


def test_many_spans_do_not_fill_the_cell(several, cards):
    several["detectors"]["ss_avd"]["segments"] = [
        {"start_s": float(k), "end_s": k + 0.5, "score": 0.9, "modality": "video", "track": 0} for k in range(6)]
    assert "marks 0.0 to 0.5 s, 1.0 to 1.5 s, 2.0 to 2.5 s, and 3 more" in " ".join(Page(
        scores_html(several, cards)).words.split())


def test_matrix_has_each_pair_once_in_words(several, cards):
    several["detectors"]["third"] = copy.deepcopy(several["detectors"]["ss_avd"])
    rows = cells(matrix_html(several, cards))
    assert rows[0] == ["Detector", "SS-AVD", "Joint AV"]
    assert [row[0] for row in rows[1:]] == ["Joint AV", "third"]
    assert rows[1][1].startswith("different verdicts Picture: -1.00, they move against each other")
    assert rows[1][2] == "", "each pair once"
    assert rows[2][1].startswith("same verdict Picture: 1.00, they rise and fall together Sound: ")


def test_lanes_of_all_detectors_stand_under_one_axis(several, cards):
    html = timelines_html(several, cards)
    parsed = Page(html)
    assert sum(a.get("class") == "tt-axis" for _, a in parsed.tags) == 1
    lanes = [a for _, a in parsed.tags if "tt-lane-low" in a.get("class", "")]
    assert [a["class"].split("tt-lane-")[-1] for a in lanes] == ["video", "video", "audio"]
    (button,) = [a for t, a in parsed.tags if t == "button" and a.get("class") == "tt-segment"]
    assert button["aria-label"] == "SS-AVD: Picture, 2.0 to 4.4 s, score 0.96" and button["data-start"] == "2"
    assert button["style"] == "left:20.000%;width:24.000%"
    assert "1/2" in parsed.words, "of the two that judge the picture, one marks it"


def test_one_detector_is_shown_and_told_that_it_is_alone(result, cards):
    html = comparison_html(result, cards)
    assert texts.SETTINGS in Page(html).words and "tt-lane" in html and "tt-matrix" not in html


def test_no_answer_is_a_sentence(error, cards):
    assert compare.NO_ANSWER in Page(comparison_html(error, cards)).words


def test_four_detectors_with_every_part_missing_somewhere(several, cards):
    several["detectors"]["mute"] = {**several["detectors"]["joint_av"], "windows": [], "score": None, "video": None,
                                    "verdict": "CANNOT_EVALUATE", "thresholds": {}}
    several["detectors"]["bare"] = {}
    words = Page(comparison_html(several, cards)).words
    assert "a verdict is missing" in words and compare.NOTHING_SHARED in words


@pytest.mark.parametrize("payload", PAYLOADS)
def test_user_text_never_becomes_markup(several, second, cards, payload):
    def tags(*html):
        return [[(t, sorted(a)) for t, a in Page(h).tags] for h in html]

    clean = tags(comparison_html(several, cards), two_clips_html(several, second, "ss_avd", cards))
    for clip in (several, second):
        clip["clip"] = payload
        clip["media"].update(container=payload, video_codec=payload, audio_codec=payload)
    cards["ss_avd"]["name"] = payload
    assert tags(comparison_html(several, cards), two_clips_html(several, second, "ss_avd", cards)) == clean


def test_two_clips_stand_under_one_axis_of_the_longer(result, second, cards):
    html = two_clips_html(result, second, "ss_avd", cards)
    rows = {row[0]: row[1:] for row in cells(html)}
    assert rows["Part"] == ["First clip", "Second clip"] and rows["Name"] == ["talk.mp4", "edit.mp4"]
    assert rows["SHA-256"] == ["ab" * 32, "ef" * 32] and rows["Duration"] == ["10.00 s", "5.00 s"]
    parsed = Page(html)
    assert not [t for t, _ in parsed.tags if t == "button"], "there is no player here that a button could move"
    marks = [a["style"] for t, a in parsed.tags if a.get("class") == "tt-segment"]
    assert marks == ["left:20.000%;width:24.000%"] * 2
    assert "second clip is 5.0 s shorter" in parsed.words


def test_two_clips_of_which_one_is_broken(result, error, cards):
    words = Page(two_clips_html(result, error, "ss_avd", cards)).words
    assert "could not be read" in words and compare.CLIPS_LINES not in words


def test_words_never_say_real_or_fake(several, second, cards):
    for html in (comparison_html(several, cards), two_clips_html(several, second, "ss_avd", cards)):
        assert not {"real", "fake", "authentic"} & set(Page(html).words.lower().split())


# ---- handlers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def panel(tmp_path, cards):
    """The panel inside a page of its own: its handlers by name, its holds, and a stand-in for a visitor."""
    holds = Holds(tmp_path)
    with gr.Blocks() as blocks:
        inputs = [gr.Video(), gr.Audio(), gr.State("video"), gr.Radio(["cpu"], value="cpu")]
        compare.build(cards, holds, Runs(), *inputs, concurrency_id="inference", concurrency_limit=1)
    handlers = {f.fn.__name__: f for f in blocks.fns.values() if f.fn is not None}
    return SimpleNamespace(holds=holds, folder=tmp_path, handlers=handlers, call={n: f.fn for n, f in handlers.items()},
                           visitor=SimpleNamespace(session_hash="s"))


def run(panel, first, second, video=None, by="ss_avd", turn="s:1") -> list:
    return list(panel.call["work"](first, second, video, None, "video", by, "cpu", turn, panel.visitor))


@pytest.fixture
def uploads(panel) -> list[str]:
    paths = [panel.folder / f"{k}" / "clip.mp4" for k in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(b"x")
    return [str(p) for p in paths]


def test_both_clips_are_analysed_alike_and_compared(panel, uploads, result, second, monkeypatch):
    asked = []

    def analyse(path, detectors, device, on_stage):
        asked.append((path, detectors, device))
        on_stage("Scoring", 0.0)
        return copy.deepcopy(result if path == uploads[0] else second)

    monkeypatch.setattr(core, "analyse", analyse)
    *stages, (status, answer) = run(panel, *uploads)
    assert asked == [(uploads[0], ["ss_avd"], "cpu"), (uploads[1], ["ss_avd"], "cpu")]
    assert "First clip: Scoring" in stages[0][0] and "Second clip: Scoring" in stages[1][0]
    assert "Finished" in status and "edit.mp4" in answer
    run(panel, None, uploads[1], video=uploads[0])
    assert asked[2][0] == uploads[0], "without a first clip, the one chosen under Analyse"


def test_what_is_missing_is_said(panel, uploads):
    assert compare.NO_FIRST in run(panel, None, uploads[1])[-1][0]
    assert compare.NO_SECOND in run(panel, uploads[0], None)[-1][0]
    assert texts.UPLOAD_GONE in run(panel, uploads[0], str(panel.folder / "gone.mp4"))[-1][0]


def test_stop_while_waiting_means_no_analysis(panel, uploads, monkeypatch):
    monkeypatch.setattr(core, "analyse", lambda *a, **k: pytest.fail("must not run"))
    panel.call["halt"]("s:1")
    assert texts.STOPPED in run(panel, *uploads)[-1][0]


def test_a_fault_is_a_sentence_and_the_next_comparison_works(panel, uploads, result, monkeypatch):
    def broken(path, detectors, device, on_stage):
        raise RuntimeError(path)

    monkeypatch.setattr(core, "analyse", broken)
    status, answer = run(panel, *uploads)[-1]
    assert "not with your clip" in status and "clip.mp4" not in status and answer == ""
    monkeypatch.setattr(core, "analyse", lambda path, detectors, device, on_stage: copy.deepcopy(result))
    assert "Finished" in run(panel, *uploads)[-1][0]


def test_only_uploads_are_kept_and_they_are_held_for_the_session(panel, uploads):
    keep = panel.call["keep"]
    assert keep({"path": uploads[0]}, panel.visitor) == uploads[0]
    assert keep({"path": "/etc/hostname"}, panel.visitor) is None and keep(None, panel.visitor) is None
    panel.holds.release("s")
    assert not (panel.folder / "a").exists() and (panel.folder / "b").exists()


def test_files_are_not_preprocessed_and_nothing_is_public(panel):
    # Gradio's own preprocessing of a file leaves an empty file in the upload folder.
    assert panel.handlers["keep"].preprocess is False
    assert {f.api_visibility for f in panel.handlers.values()} <= {"private", "undocumented"}
    assert panel.handlers["work"].concurrency_id == "inference"
