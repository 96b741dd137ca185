"""Heads start from what the windows of all clips say at once, every source as the square root of what it has."""

from __future__ import annotations

from math import isnan, nan
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detectors.whitening import Whiten
from training.start import Row, as_rows, fit_line, learnt_from, start_heads


def rows_of(count: int, video: bool = True, audio: bool = True) -> list[Row]:
    """Half of them fake in what they show; fakes are larger in the first number of the face, and the second of the
    sound."""
    rng, rows = np.random.default_rng(0), []
    for number in range(count):
        fake = float(number % 2)
        summaries = {}
        if video:
            summaries["faces"] = torch.tensor([3 * fake, 0.0, 0.0]) + torch.from_numpy(rng.normal(size=3)).float()
        if audio:
            summaries["sound"] = torch.tensor([0.0, 3 * fake]) + torch.from_numpy(rng.normal(size=2)).float()
        rows.append(Row(summaries, fake if video else nan, fake if audio else nan, f"site {number % 5}"))
    return rows


def started(rows: list[Row]) -> tuple[dict[str, torch.Tensor], dict[str, Whiten]]:
    heads, whiten = {}, {"faces": Whiten(3), "sound": Whiten(2)}
    start_heads(rows, whiten, lambda name, weights: heads.__setitem__(name, weights))
    return heads, whiten


def test_each_head_reads_what_tells():
    heads, whiten = started(rows_of(200))
    assert heads["video"].argmax() == 0 and heads["audio"].argmax() == 1
    assert heads["whole"].shape == (5,) and heads["whole"].topk(2).indices.sort().values.tolist() == [0, 4]
    assert whiten["faces"].mean[0] == pytest.approx(1.5, abs=0.3)  # half of them lie at 3


def test_windows_without_a_face_teach_the_sound_and_the_whole():
    heads, whiten = started(rows_of(100, video=False))
    assert set(heads) == {"audio", "whole"} and (heads["whole"][:3] == 0).all() and heads["whole"][4] > 0.5
    assert whiten["faces"].mean.tolist() == [0, 0, 0]


def test_a_head_that_saw_one_class_is_left_alone():
    assert set(started([row._replace(video_fake=0.0) for row in rows_of(100)])[0]) == {"audio", "whole"}
    assert started([row for row in rows_of(100) if row.audio_fake == 1])[0] == {}


def test_of_the_whole_is_known_what_the_shown_parts_are():
    both = {"faces": torch.zeros(1), "sound": torch.zeros(1)}
    assert Row(both, 0.0, 1.0, "").whole_fake == 1 and Row(both, 1.0, nan, "").whole_fake == 1
    assert Row(both, 0.0, 0.0, "").whole_fake == 0 and isnan(Row(both, 0.0, nan, "").whole_fake)
    assert Row({"sound": torch.zeros(1)}, nan, 0.0, "").whole_fake == 0


def test_rows_hold_what_a_window_shows():
    shown = {"faces": (np.array([True, False, True]), torch.tensor([[1.0], [3.0]])),
             "sound": (np.array([False, False, True]), torch.tensor([[30.0]]))}
    first, third = as_rows(shown, {"video": np.array([0.0, 0.0, 1.0]), "audio": np.array([1.0, 1.0, 0.0])}, "site")
    assert first.summaries == {"faces": torch.tensor([1.0])} and first.video_fake == 0 and isnan(first.audio_fake)
    assert (third.video_fake, third.audio_fake, third.source) == (1, 0, "site")
    assert (third.summaries["faces"], third.summaries["sound"]) == (3, 30)


def test_a_large_source_counts_as_the_root_of_its_size():
    """Site a says that fakes are larger, site b that they are smaller: nine times as many windows count three times as
    much, and 36 times as many six times."""

    def weight(of_a: int, of_b: int) -> float:
        x = np.concatenate([np.tile([-1.0, 1.0], of_a), np.tile([1.0, -1.0], of_b)])[:, None]
        fake = np.tile([0.0, 1.0], of_a + of_b)
        return float(fit_line(x, fake, ["a"] * 2 * of_a + ["b"] * 2 * of_b)[0])

    assert weight(100, 100) == pytest.approx(0, abs=1e-3)
    assert weight(900, 100) == pytest.approx(np.log(3), rel=0.1)
    assert weight(3600, 100) == pytest.approx(np.log(6), rel=0.1)


def test_forgeries_and_their_originals_are_learnt_from_only_where_there_is_nothing_else():
    def sample(group: str, fake: float, forged: str = ""):
        return SimpleNamespace(folder="shards", group=group, forged=forged, video_fake=fake, audio_fake=nan,
                               sync_fake=nan)

    forged = [sample("x", 0.0), sample("x", 1.0, "swap")]
    found = [sample("y", 0.0), sample("z", 1.0)]
    assert learnt_from(forged + found) == found
    assert learnt_from(forged + found[:1]) == forged + found[:1]
