"""What can be read of a sound without asking what it is like: how much it changes from moment to moment.

A voice, a room, a microphone and a codec give a sound its mean spectrum, and a web site its own; a detector that reads
them learns the site. What vocoders and speech synthesis leave is in the movement: real speech trembles. So only
standard deviations over time are taken, and no means: of the differences of a speech encoder's rows, and of cepstra,
their differences and the differences of these. Where each is worth what is measured by training.search;
docs/experiments.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torchaudio.functional as AF
from torch import Tensor

AUDIO_HZ = 16_000
FRAME_SAMPLES, HOP_SAMPLES = 400, 160  # 25 ms every 10 ms
FLOOR = 80 / 10 * math.log(10)  # 80 dB as a difference of log energies
FILTERS, CEPSTRA = 64, 40  # linear in frequency
ROWS_ORDERS, CEPSTRA_ORDERS = (1,), (0, 1, 2)  # of the differences that how_restless reads


def filter_bank(scale: str, filters: int) -> Tensor:
    """(frequencies, filters) triangles from 0 Hz to 8 kHz, evenly spaced on the "mel" or the "linear" scale."""
    triangles = AF.melscale_fbanks if scale == "mel" else AF.linear_fbanks
    with torch.device("cpu"):  # torchaudio looks at the numbers, which "meta" does not have
        bank = triangles(FRAME_SAMPLES // 2 + 1, 0.0, AUDIO_HZ / 2, filters, AUDIO_HZ)
    return bank.to(torch.get_default_device())


def log_bands(audio: Tensor, bank: Tensor) -> Tensor:
    """Waveform (n, samples) -> natural logarithms of band energies (n, T, filters), T = 1 + (samples - 400) // 160.

    Frame i reads the samples from 160·i on and no others, so that a part of a long sound has a part of its frames.
    """
    window = torch.hann_window(FRAME_SAMPLES, device=audio.device)
    spectrum = torch.stft(audio, FRAME_SAMPLES, HOP_SAMPLES, window=window, center=False, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1)  # n frequencies T
    return (power.transpose(1, 2) @ bank + 1e-10).log()


def band_frames(samples: Tensor | int) -> Tensor | int:
    """How many frames `log_bands` makes of so many samples."""
    return 1 + (samples - FRAME_SAMPLES) // HOP_SAMPLES


def statistics(x: Tensor, seen: Tensor | None = None, deviations: bool = True) -> Tensor:
    """(n, T, D) -> (n, 2D): mean and standard deviation over the steps that are seen (n, T); or (n, D): the mean.
    Where nothing is seen, the mean is 0, and the deviation 0.0001."""
    if seen is None:
        seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    weight = seen[..., None].to(x.dtype)
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
    mean = (weight * x).sum(1)
    if not deviations:
        return mean
    variance = (weight * (x - mean[:, None]).square()).sum(1)
    return torch.cat([mean, (variance + 1e-8).sqrt()], dim=1)  # the root of 0 has no slope


def cepstra(bands: Tensor, seen: Tensor, dct: Tensor) -> Tensor:
    """Log bands (n, T, filters), seen (n, T), dct (filters, cepstra) -> (n, T, cepstra), without their mean over the
    window; 0 where not seen. What lies FLOOR under the loudest point is raised to that."""
    loudest = bands.masked_fill(~seen[..., None], -math.inf).amax((1, 2), keepdim=True)
    x = torch.maximum(bands, loudest - FLOOR) @ dct
    return (x - statistics(x, seen, deviations=False)[:, None]) * seen[..., None]


def restlessness(x: Tensor, seen: Tensor, orders: Sequence[int]) -> Tensor:
    """How much (n, T, D) changes from step to step, over the steps that are seen (n, T): the standard
    deviation of its differences of each of these orders, 0 being x itself -> (n, len(orders) · D)."""
    found = []
    for order in range(max(orders) + 1):
        if order:
            x, seen = x[:, 1:] - x[:, :-1], seen[:, 1:] & seen[:, :-1]
        if order in orders:
            found.append(statistics(x, seen)[:, x.shape[2]:])
    return torch.cat(found, dim=1)


def how_restless(rows: Tensor, rows_seen: Tensor, cepstra: Tensor, cepstra_seen: Tensor) -> Tensor:
    """Rows of a speech encoder (n, S, D) and cepstra (n, T, C), each with what is seen -> (n, restless_values)."""
    return torch.cat([restlessness(rows, rows_seen, ROWS_ORDERS), restlessness(cepstra, cepstra_seen, CEPSTRA_ORDERS)],
                     dim=1)


def restless_values(rows: int, cepstra: int) -> int:
    """How many numbers how_restless gives for rows and cepstra of these widths."""
    return len(ROWS_ORDERS) * rows + len(CEPSTRA_ORDERS) * cepstra
