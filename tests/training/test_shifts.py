"""The score of lip-sync against moved sound: low where sound fits, high where it does not, forgiving up to NEAR."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectors.sync import NEAR, SyncConfig, SyncPair
from training import shifts
from training.lessons.sync import Talk, Told


def told(number: int, steps: int = 150) -> Told:
    """Vectors of lips and sound that agree step by step, and change slowly."""
    noise = torch.randn(steps + 4, 16, generator=torch.Generator().manual_seed(number))
    agreeing = F.normalize(noise.unfold(0, 5, 1).mean(-1), dim=1)
    talk = Talk(f"{number}.mp4", "", "", f"person {number}", np.zeros((0, 4, 4)), np.ones(0, bool), np.zeros(0), 0)
    return Told(talk, agreeing, agreeing, torch.ones(steps, dtype=torch.bool))


PAIR = SyncPair(SyncConfig()).eval()


def test_moved_sound_is_mismatched_beyond_the_offsets_that_are_forgiven():
    talks = [told(number) for number in range(6)]
    rows = {round(row["shift_s"] * 25): row for row in shifts.curve(PAIR, talks, [-15, -3, 0, NEAR, 15, 25])}
    assert [rows[shift]["mismatched"] for shift in (-15, -3, 0, NEAR, 15, 25)] == [1, 0, 0, 0, 1, 1]
    assert rows[15]["auc"] == rows[-15]["auc"] == 1 and rows[15]["interval"] == [1, 1]
    assert rows[0]["auc"] is None and rows[0]["median_log_odds"] < 0 < rows[15]["median_log_odds"]
    assert all(row["talks"] == 6 for row in rows.values())


def test_what_is_too_short_to_be_judged_is_left_out():
    talks = [told(0), told(1, steps=40), told(2, steps=10)]
    rows = shifts.curve(PAIR, talks, [0, 25, 300])
    assert [row["talks"] for row in rows] == [2, 1, 0]
    assert rows[2]["auc"] is rows[2]["mismatched"] is None
    assert math.isnan(shifts.judge(PAIR, talks[2:], 0)[0])


def test_the_table_says_what_was_found_and_what_was_not():
    text = shifts.written(shifts.curve(PAIR, [told(0), told(1)], [0, 15, 300]))
    still, moved, gone = text.splitlines()[2:]
    assert still.startswith("| +0.00 s | 2 | -") and still.endswith("| 0% | – |")
    assert moved.startswith("| +0.60 s | 2 | +") and moved.endswith("| 100% | 1.00 [1.00–1.00] |")
    assert gone == "| +12.00 s | 0 | – | – | – |"


@pytest.mark.parametrize("arguments, told_of", [
    (["--each", "0"], "--each above 0"), (["--most", "0.1"], "at least --each"), ([], "sync.safetensors")])
def test_a_wrong_call_is_told(arguments, told_of, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        shifts.main([str(tmp_path / "sync.safetensors"), "--samples", str(tmp_path), *arguments])
    assert told_of in capsys.readouterr().err
