"""Many clips: the table, its order and filter, what can be saved, and that clips go while answers stay."""

from __future__ import annotations

import base64
import csv
import io
import json
import re

import pytest

import detectors as core
from tests.strict_html import Page
from tests.ui.test_html import PAYLOADS
from ui import batch, texts
from ui.batch import Histories, History, csv_link, csv_text, opened_html, table_html, uploaded_paths


@pytest.fixture
def history(result, error) -> History:
    """Three clips in order of arrival: b (0.61), A (0.20), one that cannot be read."""
    found = History()
    found.add("x", answer={**result, "clip": "b.mp4"})
    found.add("x", answer={**result, "clip": "A.mp4", "score": 0.2, "verdict": "NO_SIGNS", "reasons": [],
                           "consensus": {"video": 0.1, "audio": 0.3, "sync": None, "agree": 1, "of": 1}})
    found.add("x", answer=error)
    return found


def names(history: History) -> list[str]:
    return [e.name for e in history.shown()]


def rows_of(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


# ---- the table ----


def test_rows_say_state_answer_score_strongest_part_and_reasons(history):
    told = " ".join(Page(table_html(history)).words.split())
    assert "b.mp4 judged Some signs of manipulation 0.61 Picture 0.60 FACE_LOST Open" in told
    assert "A.mp4 judged No agreed signs of manipulation 0.20 Sound 0.30 Open" in told, "SS-AVD by itself finds some"
    assert "broken.mp4 could not be read This clip cannot be judged DECODE_FAILED Open" in told
    assert "3 of 3 shown" in told


def test_clips_on_their_way_have_a_state_and_nothing_to_open():
    history = History()
    history.add("wait.mp4", "/x/wait.mp4")
    html = table_html(history)
    assert "waiting" in html and "data-entry" not in html
    history.take().stage = "Reading the clip"
    assert "being judged: Reading the clip" in table_html(history)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_user_text_never_becomes_markup(history, result, cards, payload):
    clean, clean_card = Page(table_html(history)), Page(opened_html(result, cards))
    history.entries[0].name = payload
    history.entries[0].answer["reasons"] = [payload]
    history.entries[0].stage = ""
    result["clip"] = cards["ss_avd"]["name"] = result["findings"][0]["message"] = payload
    for dirty, tidy in ((Page(table_html(history)), clean), (Page(opened_html(result, cards)), clean_card)):
        assert [t for t, _ in dirty.tags] == [t for t, _ in tidy.tags]
        assert [sorted(a) for _, a in dirty.tags] == [sorted(a) for _, a in tidy.tags]


@pytest.mark.parametrize(("column", "first", "again"), [
    ("clip", ["A.mp4", "b.mp4", "broken.mp4"], ["broken.mp4", "b.mp4", "A.mp4"]),
    ("score", ["b.mp4", "A.mp4", "broken.mp4"], ["A.mp4", "b.mp4", "broken.mp4"]),  # no score is last both ways
    ("verdict", ["b.mp4", "A.mp4", "broken.mp4"], ["A.mp4", "b.mp4", "broken.mp4"]),
    ("strongest", ["b.mp4", "A.mp4", "broken.mp4"], ["A.mp4", "b.mp4", "broken.mp4"]),
    ("reasons", ["broken.mp4", "b.mp4", "A.mp4"], ["b.mp4", "broken.mp4", "A.mp4"]),
])
def test_sorting(history, column, first, again):
    history.arrange(column)
    assert names(history) == first
    history.arrange(column)
    assert names(history) == again
    html = table_html(history)
    direction = "descending" if history.descending else "ascending"
    assert re.findall(r'aria-sort="(\w+)"[^>]*><button[^>]*data-column="(\w+)"', html).count((direction, column)) == 1
    assert html.count('aria-sort="none"') == len(batch.COLUMNS) - 1


@pytest.mark.parametrize("column", ["__class__", None, 3, ["clip"], {}])
def test_an_unknown_column_changes_nothing(history, column):
    history.arrange(column)
    assert history.column is None and names(history) == ["b.mp4", "A.mp4", "broken.mp4"]


def test_filter_by_words_and_answer(history):
    history.words = "face_"
    assert names(history) == ["b.mp4"]
    history.words, history.verdict = "", "NO_SIGNS"
    assert names(history) == ["A.mp4"]
    assert "1 of 3 shown" in table_html(history)
    history.words = "no such clip"
    assert batch.NO_MATCH in table_html(history) and csv_link(history) == ""


def test_an_opened_answer_has_its_card_and_both_downloads(result, cards):
    html = opened_html(result, cards)
    assert texts.VERDICTS["SUSPICIOUS"][0] in html and "data-start" not in html, "no player, nothing that jumps"
    assert 'id="tt-verdict-heading"' not in html
    links = dict(re.findall(r'download="([^"]*)" href="data:[^;]*;base64,([^"]*)"', html))
    assert json.loads(base64.b64decode(links["talk.telltale.json"])) == result
    assert base64.b64decode(links["telltale-talk.mp4.html"]).startswith(b"<!DOCTYPE html>")
    assert opened_html({**result, "clip": "broken.mp4"}, cards).count("<strong>broken.mp4</strong>") == 1


def test_an_answer_of_an_unreadable_file_can_be_opened(error, cards):
    html = opened_html(error, cards)
    assert "cannot be judged" in html and "<table" not in html


# ---- CSV ----


def test_csv_is_the_table_as_shown(history):
    history.arrange("score")
    first, second, third = rows_of(csv_text(history.shown()))
    assert (first["clip"], first["score"], first["strongest_part"]) == ("b.mp4", "0.61", "Picture")
    assert first["marked_spans"] == "video 2.0-4.4 0.96 ss_avd"
    assert first["checkpoints"] == "ss_avd=sha256:" + "cd" * 32 and first["demonstration_weights"] == "True"
    assert (second["sound"], second["lip_sync"]) == ("0.3", "")
    assert (third["state"], third["score"], third["reasons"]) == ("unreadable", "", "DECODE_FAILED")
    data = base64.b64decode(csv_link(history).split("base64,")[1].split('"')[0])
    assert data.decode("utf-8-sig") == csv_text(history.shown()) and data.startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x")', "+1", "-1+2", "@SUM(A1)", "\t=1", " =1", "\r=1"])
def test_no_cell_is_a_formula(history, name):
    history.entries[0].name = name
    (row, *_) = rows_of(csv_text(history.shown()))
    assert row["clip"] == f"'{name}"


def test_harmless_names_are_left_alone(history):
    history.entries[0].name = 'a "quoted", name.mp4'
    assert rows_of(csv_text(history.shown()))[0]["clip"] == 'a "quoted", name.mp4'


# ---- judging ----


@pytest.fixture
def clips(tmp_path):
    paths = [tmp_path / f"clip{k}.mp4" for k in range(3)]
    for path in paths:
        path.write_bytes(b"x")
    return paths


def judge_all(history: History) -> None:
    while entry := history.take():
        for _ in history.judge(entry, ["ss_avd"]):
            pass


def test_each_clip_gets_its_own_answer_also_when_one_fails(monkeypatch, result, error, clips):
    def analyse(path, detectors, device, on_stage):
        on_stage("Reading", 0.0)
        assert detectors == ["ss_avd"]
        if "clip0" in path:
            raise RuntimeError("a fault of ours")
        return {**error, "clip": "clip1.mp4"} if "clip1" in path else {**result, "clip": "clip2.mp4"}

    monkeypatch.setattr(core, "analyse", analyse)
    history = History()
    for path in clips:
        history.add(path.name, str(path))
    history.add("deleted.mp4", str(clips[0].with_name("deleted.mp4")))
    judge_all(history)
    assert [e.state for e in history.entries] == ["failed", "unreadable", "done", "gone"]
    assert [e.answer is not None for e in history.entries] == [False, True, True, False]


def test_stop_ends_the_running_clip_and_those_that_wait(monkeypatch, result, clips):
    asked = []

    def analyse(path, detectors, device, on_stage):
        asked.append(path)
        on_stage("Reading", 0.0)
        return result

    monkeypatch.setattr(core, "analyse", analyse)
    history = History()
    for path in clips:
        history.add(path.name, str(path))
    stages = history.judge(history.take(), [])
    next(stages)
    history.stop()
    assert list(stages) == [] and history.take() is None
    assert [e.state for e in history.entries] == ["stopped"] * 3 and len(asked) == 1
    assert all(e.answer is None for e in history.entries)


def test_only_settled_answers_are_dropped_or_forgotten(monkeypatch, result):
    monkeypatch.setattr(batch, "MOST_ANSWERS", 2)
    history = History()
    history.add("waits.mp4", "/x/waits.mp4")
    for k in range(3):
        history.add("", answer={**result, "clip": f"{k}.mp4"})
    assert [e.name for e in history.entries] == ["waits.mp4", "2.mp4"]
    history.forget()
    assert [e.name for e in history.entries] == ["waits.mp4"]


def test_sessions_are_apart_and_leave_nothing(result):
    histories = Histories()
    histories.record("a", result)
    assert histories.of("b").entries == []
    assert [e.name for e in histories.drop("a").entries] == ["talk.mp4"]
    assert histories.of("a").entries == []


def test_an_answer_with_its_probe_takes_the_place_of_the_one_before(result):
    histories = Histories()
    histories.record("a", result)
    histories.record("a", {**result, "probe": {"verdict": "CANNOT_EVALUATE"}, "verdict": "CANNOT_EVALUATE"})
    assert [e.verdict for e in histories.of("a").entries] == ["CANNOT_EVALUATE"]
    histories.record("a", result)
    assert len(histories.of("a").entries) == 2


def test_paths_come_only_from_file_objects():
    assert uploaded_paths(None) == uploaded_paths("/etc/passwd") == uploaded_paths([{"path": 3}, "x", None]) == []
    assert uploaded_paths([{"path": "/a"}, {"path": "/b"}]) == ["/a", "/b"]
