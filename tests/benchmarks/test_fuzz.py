"""Five hundred hostile files: each is answered or refused, nothing is left behind; and the counting itself is true."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from benchmarks import fuzz
from media import MediaError, Reason

COUNT = 500


@pytest.fixture(scope="module")
def cases() -> fuzz.Cases:
    return fuzz.Cases(0)


@pytest.fixture
def some(monkeypatch, cases):
    """The first cases alone, prepared by what a test plants instead."""
    monkeypatch.setattr(fuzz, "Cases", lambda seed: cases)

    def measure(prepare, count=6, limit_s=30.0, **more) -> dict:
        answers = fuzz.prepare
        monkeypatch.setattr(fuzz, "prepare", lambda path, **limits: prepare(path) if limits else answers(path))
        return fuzz.measure(count, 0, limit_s, **more)

    return measure


@pytest.mark.timeout(900)
def test_five_hundred_hostile_files(capsys):
    code = fuzz.main(["--cases", str(COUNT), "--limit-s", "60", "--json"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {k: figures[k] for k in ("cases", "crashes", "hangs", "unserved", "leaked_files")} == {
        "cases": COUNT, "crashes": 0, "hangs": 0, "unserved": 0, "leaked_files": 0}, figures["broken"]
    assert figures["peak_mb"] is None or figures["peak_mb"] < fuzz.MOST_MB
    assert figures["own_growth_mb"] < fuzz.MOST_MB and code == 0
    assert figures["answered"] + sum(figures["reasons"].values()) == COUNT
    assert figures["answered"] > 50  # mutations that leave something to decode are the interesting ones
    assert {"DECODE_FAILED", "UNSUPPORTED_FORMAT", "TOO_LARGE", "TOO_LONG"} <= set(figures["reasons"])
    assert set(figures["kinds"]) == {*fuzz.MUTATIONS, "bomb", "list", "name", "tags"}
    assert sum(figures["kinds"].values()) == COUNT


def test_a_case_is_known_by_the_seed_and_its_number(cases):
    again, others = fuzz.Cases(0), fuzz.Cases(1)
    numbers = range(90, 130)
    assert [cases[k] for k in numbers] == [again[k] for k in numbers]
    assert [cases[k] for k in numbers] != [others[k] for k in numbers]
    assert len({cases[k].content for k in numbers}) > 35


def test_mutations_change_the_clip_and_come_in_all_kinds(cases):
    clips = set(cases._clips.values())
    mutated = [cases[k] for k in range(100, 400)]
    assert Counter(c.kind for c in mutated).keys() == fuzz.MUTATIONS.keys()
    assert sum(c.content in clips for c in mutated) < 10
    assert {c.name for c in mutated} == set(cases._clips)


def test_the_small_clips_are_answered_as_they_are(cases, tmp_path):
    for name in ("talk.mp4", "voice.ogg", "photo.png"):
        (tmp_path / name).write_bytes(cases._clips[name])
        clip = fuzz.prepare(tmp_path / name)
        assert clip.info.frames == {"talk.mp4": 8, "voice.ogg": 0, "photo.png": 1}[name]


def refuse(path):
    raise MediaError(fuzz.isolation.Finding(Reason.DECODE_FAILED, "No.", "Another."))


def test_refusals_keep_the_promise(some):
    figures = some(refuse)
    assert figures["reasons"] == {"DECODE_FAILED": 6} and not figures["broken"] and fuzz.kept_promise(figures)


def test_an_error_that_is_no_refusal_is_a_crash_and_its_file_is_kept(some, tmp_path):
    def break_down(path):
        raise KeyError("moov")

    figures = some(break_down, keep=tmp_path / "kept")
    assert figures["crashes"] == 6 and figures["broken"] == list(range(6)) and not fuzz.kept_promise(figures)
    assert len(list((tmp_path / "kept").iterdir())) == 6


def test_one_that_takes_too_long_is_a_hang(some):
    def dawdle(path):
        time.sleep(0.05)
        refuse(path)

    figures = some(dawdle, count=2, limit_s=0.04)
    assert figures["hangs"] == 2 and figures["worst_s"] >= 0.04 and not fuzz.kept_promise(figures)


def test_files_that_are_left_behind_are_counted(some):
    held = []

    def leave(path):
        _, name = fuzz.tempfile.mkstemp()  # stays open, and on the disk
        held.append(name)
        refuse(path)

    figures = some(leave, count=3)
    assert figures["leaked_files"] == 6 and not fuzz.kept_promise(figures)


def test_a_good_clip_that_gets_another_answer_afterwards_is_counted(monkeypatch, cases, tmp_path):
    answers = iter([("good",), ("other",), ("good",)])
    monkeypatch.setattr(fuzz, "_serve", lambda content, folder: next(answers))
    monkeypatch.setattr(fuzz, "prepare", lambda path, **limits: refuse(path))
    assert fuzz.run(cases, range(0, 2 * fuzz.SERVED_EVERY), 30.0, tmp_path).unserved == [0]


def test_bad_usage(capsys):
    for words in (["--cases", "0"], ["--limit-s", "-1"], ["--cases", "many"]):
        with pytest.raises(SystemExit) as stop:
            fuzz.main(words)
        assert stop.value.code == 2
