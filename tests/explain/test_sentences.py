"""Maps in words, on tables written by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from explain.layout import cells
from explain.maps import Map
from explain.regions import REGIONS
from explain.sentences import tell_table
from explain.share import Share
from tests.explain.tiny_detectors import Spots, a_target

STARTS_S = np.array([2.0])


@pytest.fixture(scope="module")
def table():
    layout = cells(a_target(Spots()))
    picture, sound = np.zeros((1, 2, 6)), np.zeros((1, 2, 6))
    picture[0, 1, REGIONS.index("lips")] = 3.0
    picture[0, :, REGIONS.index("skin")] = -5.0
    picture[0, 0, REGIONS.index("eyes")] = 1.0
    sound[0, 0, 3:5] = 1.0
    return Map("ablation", layout, {"picture": picture, "sound": sound})


def a_share(face=3.0, lips=0.0, audio=1.0):
    return Share({"face": face, "lips": lips, "audio": audio}, 0.0, 0.0)


def test_region_band_and_span_are_named_and_the_weightier_comes_first(table):
    picture = "Most of the evidence in the picture is at the lips, 2.5–3.0 s."
    sound = "Most of the evidence in the sound is at 1.8–5 kHz, 2.0–2.5 s."
    assert tell_table(table, STARTS_S, a_share()) == (picture, sound)
    assert tell_table(table, STARTS_S, a_share(face=0.5)) == (sound, picture)


def test_most_is_more_than_half(table):
    spread = replace(table, values={**table.values, "picture": np.ones((1, 2, 6))})
    assert tell_table(spread, STARTS_S, a_share())[0].startswith("The largest part of the evidence (17%)")


def test_what_does_not_raise_the_score_is_not_taken_apart(table):
    assert tell_table(table, STARTS_S, a_share(audio=-0.4))[1] == "The sound as a whole does not raise the score."


def test_evidence_that_no_single_cell_holds_is_not_located(table):
    flat = replace(table, values={**table.values, "picture": np.zeros((1, 2, 6))})
    assert tell_table(flat, STARTS_S, a_share())[0] == "Nothing in the picture raises the score by much."
