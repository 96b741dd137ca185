"""Cells: which pixels, bins and moments each stands for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from explain.layout import blocks, cells, modalities, name_band
from explain.regions import REGIONS
from tests.explain.tiny_detectors import Spots, a_target, an_input


@pytest.mark.parametrize("make", [modalities, cells, blocks])
def test_cells_share_out_the_input_and_summing_is_the_reverse_of_spreading(make):
    target = a_target(Spots(), an_input(n=2))
    layout = make(target)
    torch.manual_seed(0)
    tables = [torch.rand_like(t) for t in layout.ones(target)]
    fine = {part: torch.rand_like(p) for part, p in layout.spread(tables).items()}
    spread = layout.spread(tables)
    gathered = layout.gather(fine)
    assert spread["face"].shape == (2, 4, 32, 32) and spread["audio"].shape == (2, 101, 257)
    inner_fine = sum((spread[p] * fine[p]).sum() for p in fine)  # <spread(c), f> = <c, gather(f)>
    inner_cells = sum((t * gathered[g]).sum() for g, t in zip(layout.groups, tables))
    torch.testing.assert_close(inner_fine, inner_cells)
    ones = layout.spread(layout.ones(target))
    assert all(torch.equal(p, torch.ones_like(p)) for p in ones.values())


def test_the_lips_row_of_the_table_covers_the_mouth_in_the_face_and_in_the_lip_crops():
    target = a_target(Spots())
    layout = cells(target)
    tables = layout.ones(target)
    tables[0][0, 1, REGIONS.index("lips")] = 0  # the second half of the second
    gone = {part: 1 - p for part, p in layout.spread(tables).items()}
    assert gone["face"][0, 2, 25, 16] == gone["lips"][0, 5, 8, 8] == 1
    assert gone["face"][0, :2].sum() == 0 and gone["lips"][0, :4].sum() == 0 and gone["audio"].sum() == 0


def test_a_missing_modality_has_no_cells():
    target = a_target(Spots(), an_input(faces=False, lips=False))
    assert list(cells(target).groups) == ["sound"] and list(modalities(target).groups) == ["audio"]


def test_blocks_of_sound_are_40_ms_and_those_of_faces_last_until_the_next_frame():
    layout = blocks(a_target(Spots()))
    np.testing.assert_allclose(np.diff(layout.groups["audio"].steps_s, axis=1), 0.04)
    np.testing.assert_allclose(layout.groups["face"].steps_s, [[0, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 1.0]])


def test_bands_are_named_in_hertz():
    named = [name_band(*band) for band in ((0, 365), (921, 1768), (3057, 5019))]
    assert named == ["0–360 Hz", "0.9–1.8 kHz", "3.1–5 kHz"]


def test_of_a_long_window_only_what_was_asked_for_is_taken_apart_and_the_rest_stays():
    target = a_target(Spots(), asked_s=(0.25, 0.75))  # faces at 0, 0.25, 0.5 and 0.75 s
    layout = cells(target)
    np.testing.assert_allclose(layout.groups["picture"].steps_s, [[0.25, 0.75]])
    nothing = [torch.zeros_like(t) for t in layout.ones(target)]
    left = layout.spread(nothing)
    assert left["face"].amax((2, 3))[0].tolist() == [1, 0, 0, 1]
    assert left["lips"].amax((2, 3))[0].tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    assert left["audio"].amax(2)[0].nonzero()[:, 0].tolist() == [*range(25), *range(75, 101)]
    areas = layout.gather({part: torch.ones_like(p) for part, p in left.items()})
    assert areas["sound"].sum() == 50 * 257 and areas["picture"].sum() == 2 * 32 * 32 + 4 * 16 * 16


def test_a_span_is_asked_for_in_seconds_of_the_clip():
    target = a_target(Spots(), an_input())
    later = replace(target, start_s=target.start_s + 7.0, end_s=target.end_s + 7.0, asked_s=(7.5, 8.0))
    np.testing.assert_allclose(cells(later).groups["sound"].steps_s, [[0.5, 1.0]])
