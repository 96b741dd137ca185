"""The record of all detectors together: read from the card beside the checkpoints, or not told at all."""

from __future__ import annotations

import json

import pytest

from detectors.checkpoint import CHECKPOINTS
from detectors.consensus import FITS
from ui import texts
from ui.record import read_record, record_words

RECORD = {"of": ("a", "b"), "results": {"genuine_called": {"MANIPULATED": 0.05, "SUSPICIOUS": 0.2},
                                        "fake_called": {"NO_SIGNS": 0.25}}}


@pytest.fixture
def folder(tmp_path):
    """The shipped checkpoints, and a card of all together that a test may change."""
    for path in CHECKPOINTS.glob("*.safetensors"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / FITS).write_text((CHECKPOINTS / FITS).read_text())
    return tmp_path


def rewrite(folder, **changes) -> None:
    card = json.loads((folder / FITS).read_text())
    (folder / FITS).write_text(json.dumps(card | changes))


def test_the_shipped_record_is_read(folder):
    record = read_record(folder)
    assert record["results"] == json.loads((folder / FITS).read_text())["results"]
    assert set(record["fit"].weights) <= set(record["of"])


def test_of_other_weights_and_of_none_there_is_no_record(folder):
    card = json.loads((folder / FITS).read_text())
    rewrite(folder, weights=dict.fromkeys(card["weights"], "sha256:0"))
    assert read_record(folder) == {}
    rewrite(folder, weights=card["weights"], results=None)
    assert read_record(folder) == {}
    (folder / FITS).unlink()
    assert read_record(folder) == {}


def test_the_sentence_says_false_alarms_and_misses_and_whose_they_are():
    told = record_words(RECORD, ["b", "a"])
    assert "5 % of the genuine ones strong signs and 20 % some signs, and found no signs in 25 %" in told
    assert record_words(RECORD, ["a"]) == f"{texts.RECORD_OF_ALL} {told}"


@pytest.mark.parametrize("results", [{}, {"genuine_called": None}, {**RECORD["results"], "fake_called": {}},
                                     {**RECORD["results"], "fake_called": {"NO_SIGNS": float("nan")}}])
def test_what_was_not_measured_is_not_told(results):
    assert record_words({}, []) == record_words({**RECORD, "results": results}, ["a", "b"]) == ""
