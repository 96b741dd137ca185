"""Contact sheets: one cell per picture, and figures that mean what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from training.forge.learnt import sheets
from training.forge.learnt.genuine import Talk
from training.forge.learnt.inpainter import Inpainter
from training.forge.learnt.sheets import SHEETS, inpainter_sheet, swapper_sheet, vocoder_sheet
from training.forge.learnt.swapper import Swapper
from training.forge.learnt.vocoder import Vocoder


@pytest.fixture
def talks() -> list[Talk]:
    """Two people who do not move, and 3 s of noise each."""
    rng = np.random.default_rng(0)
    return [Talk(name, np.repeat(rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8), 9, axis=0), np.arange(9) / 8,
                 rng.normal(0, 0.1, 48_000).astype(np.float32)) for name in ("anna", "ben")]


def test_every_person_is_drawn_as_oneself_and_as_five_others(recipes, talks):
    swapper = Swapper(recipes["swapper"].network, ["anna", "ben", *"cdef"]).eval()
    sheet, figures = swapper_sheet(swapper, talks, np.random.default_rng(0))
    assert sheet.shape == (2 * 32, 7 * 32, 3)
    np.testing.assert_array_equal(sheet[:32, :32], talks[0].faces[0])
    assert all(0 < value < 255 for value in figures.values() if not np.isnan(value))


def test_whoever_does_not_move_is_the_same_at_another_moment(recipes, talks):
    sheet, figures = inpainter_sheet(Inpainter(recipes["inpainter"].network).eval(), talks, np.random.default_rng(0))
    assert sheet.shape == (2 * 32, 5 * 32, 3)
    assert figures["mouth_error_other_moment_of_255"] == 0
    assert figures["mouth_error_own_sound_of_255"] > 0 and figures["mouth_error_other_sound_of_255"] > 0


def test_two_seconds_are_shown_as_recorded_and_as_made(recipes, talks):
    sheet, figures = vocoder_sheet(Vocoder(recipes["vocoder"].network).eval(), talks, np.random.default_rng(0))
    assert sheet.shape == (2 * 80, 2 * 201, 3) and figures["mean_log_mel_error"] > 0


def test_what_was_not_trained_has_no_sheet(tmp_path, write_samples, caplog):
    assert sheets.main([str(tmp_path), "--samples", str(write_samples({})), "--out", str(tmp_path / "sheets")]) == 0
    assert caplog.text.count("is left out") == len(SHEETS) and not list((tmp_path / "sheets").iterdir())
