"""Sound as time x frequency and back."""

from __future__ import annotations

import numpy as np
import torch

from explain.sound import BINS, HOP, band_of_bin, median_spectrum, mel_edges_hz, resynthesised, spectrum
from media import AUDIO_HZ


def noise(n=2, samples=4000):
    return torch.randn(n, samples, generator=torch.Generator().manual_seed(0))


def test_no_change_gives_back_the_very_same_samples():
    sound = noise()
    spectra = spectrum(sound)
    assert spectra.shape == (2, 1 + 4000 // HOP, BINS)
    assert torch.equal(resynthesised(sound, torch.zeros_like(spectra)), sound)


def test_taking_away_the_whole_spectrum_leaves_silence():
    sound = noise()
    torch.testing.assert_close(resynthesised(sound, -spectrum(sound)), torch.zeros_like(sound), atol=1e-5, rtol=0)


def test_taking_away_a_band_leaves_the_other_tone():
    time_s = torch.arange(8000) / AUDIO_HZ
    low, high = torch.sin(2 * torch.pi * 500 * time_s), torch.sin(2 * torch.pi * 4000 * time_s)
    spectra = spectrum((low + high)[None])
    above_2_khz = torch.arange(BINS) * AUDIO_HZ / 512 > 2000
    left = resynthesised((low + high)[None], -spectra * above_2_khz)[0]
    torch.testing.assert_close(left[800:-800], low[800:-800], atol=2e-3, rtol=0)


def test_the_median_forgets_a_click_and_keeps_the_phase():
    steady = torch.full((1, 9, BINS), 2.0) * torch.exp(1j * torch.linspace(0, 6, 9))[None, :, None]
    clicked = steady.clone()
    clicked[:, 4] *= 50
    torch.testing.assert_close(median_spectrum(clicked), steady)


def test_bands_share_out_the_spectrum_evenly_in_mel():
    edges = mel_edges_hz(6)
    assert edges[0] == 0 and abs(edges[-1] - 8000) < 1e-6
    np.testing.assert_allclose(np.diff(2595 * np.log10(1 + edges / 700)), 2840.02 / 6, rtol=1e-4)
    bands = band_of_bin(edges)
    assert sorted(set(bands)) == list(range(6)) and (np.diff(bands) >= 0).all()
    assert bands[round(4000 / AUDIO_HZ * 512)] == 4  # 3.1 to 5 kHz
