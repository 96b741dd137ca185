"""Does the answer hold: the table of copies, the lowered card, and a probe that can be stopped."""

from __future__ import annotations

import re
import time

import pytest

import detectors as core
from detectors import consensus
from detectors.contract import Verdict
from detectors.probe import Probe, Reading, Trial, agree, weigh
from media.variants import VARIANTS
from tests.strict_html import Page
from tests.ui.test_html import PAYLOADS
from ui import details, probe, scoring, texts
from ui.probe import ProbeRun, change_words, offered, probe_html
from ui.runs import Runs
from ui.verdict import spread_html, verdict_html

M, S, N, C = Verdict.MANIPULATED, Verdict.SUSPICIOUS, Verdict.NO_SIGNS, Verdict.CANNOT_EVALUATE
LOST = Reading(None, C, ("video",))


def words(html: str) -> str:
    return " ".join(Page(html).words.split())


def probed(result: dict, copies: dict[str, list[Reading | None]], span_s: tuple[float, float] = (0.0, 10.0)) -> dict:
    """The result after a probe. copies: detector -> what it says of the clip and of each variant; None: not tried."""
    own = {name: readings[0] for name, readings in copies.items()}
    trials = []
    for k, variant in enumerate(VARIANTS[:len(next(iter(copies.values()))) - 1], start=1):
        said = {name: readings[k] for name, readings in copies.items()}
        if None in said.values():
            trials.append(Trial(variant, {}, None, "The picture of this clip is not judged."))
        else:
            trials.append(Trial(variant, said, agree(said)))
    tried = [t for t in trials if t.not_tried is None]
    outcomes = {name: weigh(own[name].verdict, own[name], [(t.variant, t.readings[name]) for t in tried])
                for name in copies}
    together = agree(own)
    consensus = weigh(together.verdict, together, [(t.variant, t.consensus) for t in tried])
    found = Probe(*span_s, tuple(trials), outcomes, consensus)
    result.update(probe=found.to_json(), verdict=str(consensus.after), score=together.score)
    for name in copies:
        result["detectors"].setdefault(name, {**result["detectors"]["ss_avd"]})
        result["detectors"][name]["verdict"] = str(outcomes[name].after)
    return result


@pytest.fixture
def turned(result) -> dict:
    """Strong signs in the clip, some in a small copy, and a compressed one that lost the face."""
    return probed(result, {"ss_avd": [Reading(0.83, M), Reading(0.55, S), Reading(0.91, M), None]})


@pytest.fixture
def held(result) -> dict:
    return probed(result, {"ss_avd": [Reading(0.83, M), Reading(0.81, M), Reading(0.91, M)]})


def table_rows(html: str) -> list[list[str]]:
    return [[words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)]
            for line in re.findall(r"<tr>(.*?)</tr>", html)]


def test_one_row_per_copy_with_scores_verdict_and_change(turned, cards):
    head, own, small, strong, sound = table_rows(probe_html(turned, cards))
    assert head == [probe.CHANGED, "SS-AVD", probe.VERDICT, probe.CHANGE]
    assert own == [probe.NOTHING_CHANGED, "0.83", "strong signs", probe.NONE]
    assert small == ["Halving the size of the picture", "0.55", "some signs", "−0.28, turns the answer"]
    assert strong[1:] == ["0.91", "strong signs", "+0.08, holds"]
    assert sound[2:] == [probe.NOT_TRIED, "The picture of this clip is not judged."]


def test_several_detectors_have_a_column_each_and_one_together(result, cards, monkeypatch):
    monkeypatch.setattr(consensus, "fit_for", lambda *_: None)  # whatever was fitted last: both count alike
    probed(result, {"ss_avd": [Reading(0.8, M), Reading(0.7, M)], "joint_av": [Reading(0.6, S), LOST]})
    head, own, small = table_rows(probe_html(result, cards))
    assert head[1:] == [probe.TOGETHER, probe.VERDICT, probe.CHANGE, "SS-AVD", "Joint AV"], "what narrow pages show"
    assert own[1:] == ["0.70", "some signs", probe.NONE, "0.80, strong signs", "0.60, some signs"]
    assert small[1] == "0.70" and small[4:] == ["0.70, strong signs", texts.NOT_JUDGED]


def test_sentence_and_spread_are_told(held, cards):
    told = words(probe_html(held, cards))
    assert "The answer holds under all 2 changes" in told
    assert probe.SPREAD.format(lowest="0.81", highest="0.91", own="0.83") in told


@pytest.mark.parametrize("copy, said", [
    (Reading(0.8302, M), "±0.00, holds"), (Reading(0.9, M), "+0.07, holds"),
    (Reading(0.2, N), "−0.63, turns the answer"),
    (LOST, "cannot be judged any more: picture lost"), (Reading(None, C), "cannot be judged any more"),
])
def test_change_in_words(copy, said):
    assert change_words(Reading(0.83, M).to_json(), copy.to_json()) == said


def test_a_lowered_verdict_replaces_probability_and_band_and_says_why(turned, cards):
    assert turned["verdict"] == "SUSPICIOUS"
    told = words(verdict_html(turned, cards))
    assert texts.VERDICTS["SUSPICIOUS"][0] in told and texts.LOWERED["SUSPICIOUS"] in told
    assert texts.VERDICTS["SUSPICIOUS"][1] not in told
    assert "strong signs of manipulation" in told.split("Before the copies were tried")[1]
    assert "Halving the size of the picture changes the score from 0.83 to 0.55: the answer does not hold." in told
    assert "55 to 91\u00a0%" in Page(verdict_html(turned, cards)).words
    assert "83\u00a0%, high" not in Page(verdict_html(turned, cards)).words
    assert "tt-spread" in verdict_html(turned, cards) and probe.LOWERED in words(probe_html(turned, cards))
    assert "tt-scale" not in probe_html(turned, cards), "the card shows the scale already"


def test_lowered_to_cannot_evaluate_never_says_that_there_is_no_score(result, cards):
    probed(result, {"ss_avd": [Reading(0.2, N), LOST]})
    told = words(verdict_html(result, cards))
    assert result["verdict"] == "CANNOT_EVALUATE" and texts.LOWERED["CANNOT_EVALUATE"] in told
    assert "There is no score" not in told and "leaves the picture impossible to judge" in told


def test_an_answer_that_holds_keeps_its_card_and_says_so(held, cards):
    html = verdict_html(held, cards)
    assert "tt-spread" not in html and "tt-scale" in html
    assert "83\u00a0%" in Page(html).words and "The answer holds under all 2 changes" in words(html)
    assert texts.LOWERED["SUSPICIOUS"] not in words(html)


def test_suspicious_stays_and_says_that_it_does_not_hold(result, cards):
    probed(result, {"ss_avd": [Reading(0.6, S), Reading(0.2, N)]})
    told = words(verdict_html(result, cards))
    assert "the verdict stays “some signs”" in told and texts.VERDICTS["SUSPICIOUS"][1] in told


def test_a_detector_s_own_answer_says_what_it_was(turned, cards):
    assert "Some signs of manipulation (before the copies were tried: strong signs" in \
        words(details.detectors_html(turned, cards))


def test_a_detector_s_own_answer_that_holds_is_only_said(held, cards):
    assert "before the copies" not in words(details.detectors_html(held, cards))


def test_nothing_tried_is_said_and_draws_no_spread(result, cards):
    probed(result, {"ss_avd": [Reading(0.6, S), None, None]})
    html = probe_html(result, cards)
    assert "whether the answer holds is not known" in words(html) and "tt-scale" not in html


def test_a_part_of_a_long_clip_is_named(result, cards):
    result["duration_s"] = 60.0
    probed(result, {"ss_avd": [Reading(0.6, S), Reading(0.61, S)]}, (23.0, 38.0))
    told = words(probe_html(result, cards))
    assert "Probed were 0:23 to 0:38" in told and probe.NOTHING_CHANGED_PART in told


def test_without_a_probe_there_is_nothing(result, error, cards):
    assert probe_html(result, cards) == probe_html(error, cards) == ""


def test_the_spread_lies_on_the_scale(turned):
    points = turned["detectors"]["ss_avd"]["thresholds"]
    html = spread_html({"lowest": 0.55, "highest": 0.91, "clip": {"score": 0.83}}, points)
    (bar,) = [a["style"] for _, a in Page(html).tags if a.get("class") == "tt-spread"]
    assert bar == "left:55.00%;width:36.00%"
    assert "from 55 to 91 %, the clip itself 83 %" in Page(html).tags[0][1]["aria-label"]
    assert spread_html({"lowest": None, "highest": None, "clip": {"score": None}}, points) == ""


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_becomes_markup(turned, cards, payload):
    views = (probe_html, verdict_html, details.detectors_html)
    clean = [Page(view(turned, cards)).tags for view in views]
    found = turned["probe"]
    found["summary"] = payload
    for variant in found["variants"]:
        variant["doing"] = payload
        if variant["not_tried"]:
            variant["not_tried"] = payload
    found["consensus"]["sentences"] = dict.fromkeys(found["consensus"]["sentences"], payload)
    cards["ss_avd"]["name"] = payload
    for view, tags in zip(views, clean):
        dirty = Page(view(turned, cards))
        assert [(t, sorted(a)) for t, a in dirty.tags] == [(t, sorted(a)) for t, a in tags]
    assert Page(probe_html(turned, cards)).words.count(payload) >= 6


# ---- the run --------------------------------------------------------------------------------------------------


def test_only_an_answer_with_a_score_is_offered_a_probe_of_the_same_clip_and_detectors(result, error):
    subject, column, *_ = offered(result, "/tmp/talk.mp4", "cpu")
    assert subject == {"path": "/tmp/talk.mp4", "detectors": ["ss_avd"], "device": "cpu"} and column.visible
    result["score"] = None
    for nothing in (None, result, error):
        subject, column, *_ = offered(nothing, "/tmp/talk.mp4")
        assert subject is None and not column.visible


def test_the_probe_is_the_terminal_s_call(monkeypatch):
    seen = {}

    def analyse(path, **options):
        options["on_stage"]("Probing: x", 0.0)
        seen.update(options, path=path)
        return {"ok": True}

    monkeypatch.setattr(core, "analyse", analyse)
    run = ProbeRun("clip.mp4", ["ss_avd"], "cuda")
    assert [run.now for _ in run.stages()] == ["Probing: x"] and run.result == {"ok": True}
    assert (seen["path"], seen["detectors"], seen["device"], seen["probe"]) == ("clip.mp4", ["ss_avd"], "cuda", True)


def test_a_lent_gpu_is_left_alone(monkeypatch):
    monkeypatch.setattr(probe, "on_lent_gpu", lambda: True)
    seen = []
    monkeypatch.setattr(core, "analyse", lambda path, **options: seen.append(options["device"]))
    list(ProbeRun("clip.mp4", ["ss_avd"], "auto").stages())
    assert seen == ["cpu"]


def test_a_probe_can_be_stopped_while_it_runs_and_while_it_waits(monkeypatch):
    reached = []

    def analyse(path, on_stage, **_):
        on_stage("Probing: one", 0.0)
        time.sleep(0.3)
        on_stage("Probing: two", 0.3)
        reached.append("two")

    monkeypatch.setattr(core, "analyse", analyse)
    runs = Runs()
    ticket, run = runs.draw("me"), ProbeRun("clip.mp4", ["ss_avd"], "cpu")
    with runs.under(ticket, run):
        for _ in run.stages():
            runs.stop(ticket)
    time.sleep(0.5)
    assert run.stopped and run.result is None and run.fault is None and reached == []

    ticket, waiting = runs.draw("me"), ProbeRun("clip.mp4", ["ss_avd"], "cpu")
    runs.stop(ticket)
    with runs.under(ticket, waiting):
        assert list(waiting.stages()) == [] and waiting.result is None


def test_a_fault_is_kept_and_logged_without_the_file_name(monkeypatch, caplog):
    def analyse(path, **_):
        raise RuntimeError(f"cannot open {path}")

    monkeypatch.setattr(core, "analyse", analyse)
    run = ProbeRun("clip.mp4", ["ss_avd"], "cpu")
    assert list(run.stages()) == [] and isinstance(run.fault, RuntimeError)
    assert "RuntimeError" in caplog.text and "clip.mp4" not in caplog.text


def test_who_leaves_stops_only_their_own_runs():
    runs = Runs()
    mine, theirs = (scoring.Run("a.mp4", [], "cpu") for _ in range(2))
    with runs.under(runs.draw("me"), mine), runs.under(runs.draw("them"), theirs):
        runs.leave("me")
        assert mine.stopped and not theirs.stopped
