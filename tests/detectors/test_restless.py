"""How much a sound changes: by hand, and blind to what it is like."""

from __future__ import annotations

import pytest
import torch

from detectors.restless import AUDIO_HZ, cepstra, filter_bank, how_restless, log_bands, restless_values, restlessness

SEEN = torch.ones(1, 5, dtype=torch.bool)


def test_deviations_of_differences_by_hand():
    x = torch.tensor([[[0.0], [1.0], [3.0], [6.0], [10.0]]])  # differences 1, 2, 3, 4; of these 1, 1, 1
    told = restlessness(x, SEEN, (0, 1, 2))
    mean_square = torch.tensor([[0.0, 1.0, 3.0, 6.0, 10.0], [1, 2, 3, 4, torch.nan]])
    wanted = [mean_square[0].std(correction=0), mean_square[1, :4].std(correction=0), 1e-4]
    torch.testing.assert_close(told[0], torch.tensor(wanted), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(restlessness(x, SEEN, (1,))[0], torch.tensor([wanted[1]]))


def test_what_is_not_seen_takes_no_part():
    x = torch.randn(1, 8, 3)
    seen = torch.arange(8)[None] < 5
    other = x.clone()
    other[:, 5:] = 100.0
    torch.testing.assert_close(restlessness(x, seen, (0, 1, 2)), restlessness(other, seen, (0, 1, 2)))
    torch.testing.assert_close(restlessness(x, seen, (0, 1)), restlessness(x[:, :5], seen[:, :5], (0, 1)))


def told(sound: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    bands = log_bands(sound[None], filter_bank("linear", 24))
    seen = torch.ones(bands.shape[:2], dtype=torch.bool)
    dct = torch.linalg.qr(torch.randn(24, 10, generator=torch.Generator().manual_seed(0)))[0]
    return how_restless(rows[None], torch.ones(1, len(rows), dtype=torch.bool), cepstra(bands, seen, dct), seen)[0]


def test_gain_and_an_encoders_offset_change_nothing_and_trembling_does():
    generator = torch.Generator().manual_seed(1)
    sound, rows = 0.1 * torch.randn(AUDIO_HZ, generator=generator), torch.randn(50, 7, generator=generator)
    base = told(sound, rows)
    assert base.shape == (restless_values(7, 10),) == (7 + 3 * 10,)
    torch.testing.assert_close(told(4 * sound, rows + 3.0), base, atol=1e-3, rtol=1e-3)
    assert (told(sound, 2 * rows)[:7] / base[:7]).tolist() == pytest.approx([2.0] * 7, rel=1e-3)
    beating = sound * (1 + 0.9 * torch.sin(2 * torch.pi * 20 * torch.arange(AUDIO_HZ) / AUDIO_HZ))
    assert told(beating, rows)[7] > 1.2 * base[7]
