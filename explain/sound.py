"""Sound as time x frequency, and back: any detector that reads a waveform can be asked about its spectrogram."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from media import AUDIO_HZ

FFT, WINDOW, HOP = 512, 400, 160  # samples: 31 Hz per bin, 25 ms, 10 ms
BINS = FFT // 2 + 1
HOP_S = HOP / AUDIO_HZ


@lru_cache(maxsize=4)
def _taper(device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it outlives the call and must serve a backward pass too
        return torch.hann_window(WINDOW, device=device)


def spectrum(waveform: Tensor) -> Tensor:
    """Short-time Fourier transform, time before frequency. [n, samples] -> complex [n, 1 + samples // HOP, BINS]."""
    taper = _taper(waveform.device)
    return torch.stft(waveform, FFT, HOP, WINDOW, taper, return_complex=True).transpose(1, 2)


def resynthesised(waveform: Tensor, change: Tensor) -> Tensor:
    """The waveform [n, samples] with `change`, complex [n, T, BINS], added to its spectrum.

    Only the change goes through the inverse transform, so that no change gives back the very same samples.
    """
    return waveform + torch.istft(change.transpose(1, 2), FFT, HOP, WINDOW, _taper(waveform.device),
                                  length=waveform.shape[-1])


def median_spectrum(spectra: Tensor) -> Tensor:
    """Every bin's magnitude replaced by that bin's median over time, the phase kept. Complex [n, T, BINS] -> same."""
    magnitude = spectra.abs()
    return spectra / magnitude.clamp_min(1e-12) * magnitude.median(dim=1, keepdim=True).values


def mel_edges_hz(bands: int) -> np.ndarray:
    """[bands + 1] edges in hertz, evenly spaced on the mel scale from 0 to half the sample rate."""
    top_mel = 2595 * np.log10(1 + AUDIO_HZ / 2 / 700)
    return 700 * (10 ** (np.linspace(0, top_mel, bands + 1) / 2595) - 1)


def band_of_bin(edges_hz: np.ndarray) -> np.ndarray:
    """[BINS] int: the band that each bin's centre lies in. Every bin has one: bands share out the spectrum."""
    centres_hz = np.arange(BINS) * AUDIO_HZ / FFT
    return np.clip(np.searchsorted(edges_hz, centres_hz, side="right") - 1, 0, len(edges_hz) - 2)
