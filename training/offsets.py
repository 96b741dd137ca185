"""How late or early the sound of genuine clips is: clips that are out of sync from the start must not teach sync.

The mouth's next picture is told from the sound by ridge regression, fitted on other clips; the offset at which the
telling fits best is the clip's own. Clips are aligned by the first estimate and the regression fitted again. A clip
counts as out of sync when both of its halves say so on their own: one estimate of a few seconds is often wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from sklearn.linear_model import Ridge

from media import AUDIO_HZ, GRID_HZ

HOP = round(AUDIO_HZ / GRID_HZ)  # a sound frame per picture
BANDS = 32
CONTEXT = 4  # sound frames before and after that take part
LIPS_PX = 16
MOST = 12  # frames: offsets that are tried
LATE = 3  # frames from which on a clip is out of sync
AGREE = 1  # frames by which its halves may differ
FOLDS = 4
LEAST_S = 2.0  # of steady face, in each half
COMPONENTS = 16
PENALTY = 300.0


@dataclass(frozen=True)
class Talk:
    """One genuine clip with face and voice on one 25 Hz grid from 0 s on; rows without a face are NaN."""

    file: str
    lips: np.ndarray  # [n, d] float32
    sound: np.ndarray  # [n, BANDS] float32


@dataclass(frozen=True)
class Offset:
    """In seconds, positive: the sound is late."""

    offset_s: float
    fit: float  # correlation at the offset
    out_of_sync: bool


def read_talk(file: str, times_s: np.ndarray, lips: np.ndarray, waveform: np.ndarray) -> Talk:
    """times_s [m], lips [m, 96, 96, 3] uint8, waveform [samples] at 16 kHz."""
    small = np.stack([cv2.resize(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), (LIPS_PX, LIPS_PX), interpolation=cv2.INTER_AREA)
                      for p in lips]).reshape(len(lips), -1).astype(np.float32)  # m d
    small = (small - small.mean(axis=1, keepdims=True)) / (small.std(axis=1, keepdims=True) + 4)  # light does not count
    sound = _bands(waveform)
    rows = np.round(times_s * GRID_HZ).astype(int)
    grid = np.full((len(sound), small.shape[1]), np.nan, np.float32)
    inside = rows < len(grid)
    grid[rows[inside]] = small[inside]
    return Talk(file, grid - np.nanmean(grid, axis=0), sound - sound.mean(axis=0))


def estimate_offsets(talks: list[Talk]) -> dict[str, Offset]:
    """File -> offset, of the clips that are long enough. Each is judged by regressions that have not seen it.

    Raises: ValueError for fewer than 2 * FOLDS clips.
    """
    talks = [t for t in talks if _steady_rows(t).size >= 2 * LEAST_S * GRID_HZ]
    if len(talks) < 2 * FOLDS:
        raise ValueError(f"{len(talks)} clips with face and voice are too few; {2 * FOLDS} are needed")
    axes = _lip_axes(talks)
    shifts = {t.file: 0 for t in talks}
    for _ in range(2):
        told = {}
        for fold in range(FOLDS):
            model = _fit([t for i, t in enumerate(talks) if i % FOLDS != fold], axes, shifts)
            told |= {t.file: model.predict(_context(t.sound)) for i, t in enumerate(talks) if i % FOLDS == fold}
        found = {t.file: _judge(t, told[t.file], axes) for t in talks}
        shifts = {file: round(offset.offset_s * GRID_HZ) if offset.out_of_sync else 0 for file, offset in found.items()}
    return found


def _bands(waveform: np.ndarray) -> np.ndarray:
    """[samples] -> log energies [n, BANDS] of mel-spaced bands, 25 a second."""
    n = len(waveform) // HOP
    padded = np.pad(waveform, (HOP // 2, 2 * HOP))
    frames = np.stack([padded[i * HOP:i * HOP + 2 * HOP] for i in range(n)]) * np.hanning(2 * HOP)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    hz = np.fft.rfftfreq(2 * HOP, 1 / AUDIO_HZ)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 7600 / 700), BANDS + 1) / 2595) - 1)
    band = np.clip(np.searchsorted(edges, hz, side="right") - 1, 0, BANDS - 1)
    summed = np.stack([power[:, band == b].sum(axis=1) for b in range(BANDS)], axis=1)
    return np.log(summed + 1e-6 * summed.max() + 1e-9).astype(np.float32)


def _context(sound: np.ndarray) -> np.ndarray:
    """[n, BANDS] -> [n, (2 CONTEXT + 1) BANDS]: each frame with its neighbours."""
    padded = np.pad(sound, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    return np.concatenate([padded[i:i + len(sound)] for i in range(2 * CONTEXT + 1)], axis=1)


def _steady_rows(talk: Talk) -> np.ndarray:
    return np.flatnonzero(np.isfinite(talk.lips[:, 0]))


def _lip_axes(talks: list[Talk]) -> np.ndarray:
    """[d, COMPONENTS]: the directions in which mouths move most."""
    moves = np.concatenate([t.lips[_steady_rows(t)] for t in talks])
    return np.linalg.svd(moves[:: max(len(moves) // 20_000, 1)], full_matrices=False)[2][:COMPONENTS].T


def _fit(talks: list[Talk], axes: np.ndarray, shifts: dict[str, int]) -> Ridge:
    x, y = [], []
    for talk in talks:
        rows = _steady_rows(talk)
        rows = rows[(rows + shifts[talk.file] >= 0) & (rows + shifts[talk.file] < len(talk.sound))]
        x.append(_context(talk.sound)[rows + shifts[talk.file]])
        y.append(talk.lips[rows] @ axes)
    return Ridge(PENALTY).fit(np.concatenate(x), np.concatenate(y))


def _judge(talk: Talk, told: np.ndarray, axes: np.ndarray) -> Offset:
    rows = _steady_rows(talk)
    whole, curve = _best(talk.lips @ axes, told, rows)
    found = (whole, *(_best(talk.lips @ axes, told, half)[0] for half in np.array_split(rows, 2)))
    out = min(map(abs, found)) >= LATE and max(found) - min(found) <= AGREE
    out &= max(map(abs, found)) < MOST  # at the end of what was tried the curve has no peak: nothing was found
    return Offset(whole / GRID_HZ, float(curve.max()), bool(out))


def _best(lips: np.ndarray, told: np.ndarray, rows: np.ndarray) -> tuple[int, np.ndarray]:
    """The shift of the sound, in frames, at which it tells the mouth best, and the correlation at all of them."""
    rows = rows[(rows >= MOST) & (rows < len(told) - MOST)]
    seen = lips[rows] - lips[rows].mean(axis=0)
    curve = []
    for shift in range(-MOST, MOST + 1):
        heard = told[rows + shift] - told[rows + shift].mean(axis=0)
        curve.append((seen * heard).sum() / np.sqrt((seen**2).sum() * (heard**2).sum() + 1e-9))
    return int(np.argmax(curve)) - MOST, np.array(curve)
