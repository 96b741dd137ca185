"""Questions that the page and the report ask of an answer."""

from __future__ import annotations

import pytest

from explain import words
from explain.answer import agreement_words, listed, more_alarmed, verdict_words

NAMES = {"a": {"name": "Ada"}, "b": {"name": "Ben"}}


def test_names_are_listed_as_in_a_sentence():
    assert [listed(["A", "B", "C"][:n]) for n in (1, 2, 3)] == ["A", "A and B", "A, B and C"]


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
    disputed = verdict == "NO_SIGNS" and said
    assert verdict_words(answer) == (words.DISPUTED if disputed else words.VERDICTS[verdict])


def test_what_nobody_disputes_keeps_its_words():
    quiet = {"verdict": "NO_SIGNS", "detectors": {"a": {"verdict": "NO_SIGNS"}, "b": {"verdict": "CANNOT_EVALUATE"}}}
    assert verdict_words(quiet) == words.VERDICTS["NO_SIGNS"]
    assert verdict_words({"verdict": "CANNOT_EVALUATE", "detectors": {}}) == words.VERDICTS["CANNOT_EVALUATE"]


def test_the_verdict_says_what_decided_it():
    def told(**consensus) -> str:
        return agreement_words({"consensus": {"agree": 2, "of": 3, **consensus}})

    assert "the middle one" in told(fitted=False) and "the middle one" in told()
    assert "all their scores together" in told(fitted=True, by_sync=False)
    assert "The lip-sync decides" in told(fitted=True, by_sync=True) and "all their scores" not in told(
        fitted=True, by_sync=True)
    assert agreement_words({"consensus": {"agree": 1, "of": 1}}) == ""
