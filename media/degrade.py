"""What lenses, screens, rooms and cheap microphones do to a picture and to a voice, drawn or mixed on purpose.

Pictures are planes (Y [H, W], U and V of half the size, uint8), as media.crops reads them. Sound is [samples] float32
at 16 kHz. All of it is deterministic.
"""

from __future__ import annotations

import cv2
import numpy as np

from media.clip import AUDIO_HZ
from media.sound import level_dbfs

Planes = list[np.ndarray]

# Corners of the part of the screen that the phone sees, in shares of its width and height: it is not held straight.
_SEEN = np.array([(0.03, 0.04), (0.97, 0.01), (0.99, 0.98), (0.005, 0.95)], np.float32)
_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
_FRINGES = 7.0  # amplitude of moiré, of 255
_CHORDS_HZ = ((131, 165, 196), (98, 123, 147), (110, 131, 165), (87, 110, 131))  # C G Am F, a second each


# ---- pictures -------------------------------------------------------------------------------------------------


def blur(planes: Planes, sigma_px: float) -> Planes:
    """Gaussian, sigma in pixels of the whole picture."""
    return [cv2.GaussianBlur(plane, (0, 0), sigma_px * plane.shape[1] / planes[0].shape[1]) for plane in planes]


def add_grain(planes: Planes, sigma: float, seed: int) -> Planes:
    """Independent noise in every pixel's brightness, sigma of 255; another seed, another pattern."""
    noise = np.random.default_rng(seed).standard_normal(planes[0].shape, np.float32)
    return [_levels(planes[0] + sigma * noise), *planes[1:]]


def recapture(planes: Planes, time_s: float) -> Planes:
    """The look of a screen that was filmed by a phone: tilted, a little soft, with flat contrast, moiré that drifts
    with time, and bands that roll over the picture. Drawn, not filmed."""
    luma, *chroma = [_tilted(plane) for plane in blur(planes, 0.7)]
    across, down = _shares(luma)
    band = 1 - 0.04 * (1 + np.sin(2 * np.pi * (2 * down + 1.3 * time_s))) / 2
    luma = _levels((0.86 * luma + 16) * band + _FRINGES * _fringes(across, down, time_s))
    across, down = _shares(chroma[0])
    colour = 0.6 * _FRINGES * _fringes(across, down, time_s + 0.25)
    return [luma, _levels(chroma[0] + colour), _levels(chroma[1] - colour)]


def _tilted(plane: np.ndarray) -> np.ndarray:
    size = np.array(plane.shape[::-1], np.float32)
    turn = cv2.getPerspectiveTransform(_SEEN * size, _CORNERS * size)
    return cv2.warpPerspective(plane, turn, plane.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def _shares(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Across [1, W] and down [H, 1], each from 0 to 1."""
    height, width = plane.shape
    return (np.arange(width, dtype=np.float32)[None] + 0.5) / width, (np.arange(height, dtype=np.float32)[:, None]
                                                                       + 0.5) / height


def _fringes(across: np.ndarray, down: np.ndarray, time_s: float) -> np.ndarray:
    """[H, W] in [-1, 1]: two gratings that cross."""
    return (np.sin(2 * np.pi * (24 * across + 9 * down + 0.7 * time_s))
            * np.sin(2 * np.pi * (5 * across - 17 * down)))


def _levels(plane: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


# ---- sound ----------------------------------------------------------------------------------------------------


def mix(waveform: np.ndarray, speech_s: tuple[tuple[float, float], ...], behind: np.ndarray,
        snr_db: float) -> np.ndarray:
    """The voice with another sound [samples] behind it: so many dB between the level of the spans with a voice (of
    everything where there are none) and that of the other sound. Turned down where it would clip."""
    voiced = [waveform[int(start_s * AUDIO_HZ):int(end_s * AUDIO_HZ)] for start_s, end_s in speech_s]
    voice_dbfs = level_dbfs(np.concatenate(voiced) if voiced else waveform)
    gain = 10 ** ((voice_dbfs - snr_db - level_dbfs(behind)) / 20)
    mixed = waveform + gain * behind
    return (mixed / max(1.0, float(np.abs(mixed).max(initial=0.0)))).astype(np.float32)


def make_noise(samples: int, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """[samples] whose power falls with frequency to the power of tilt, from 50 Hz on: 0 is white, 1 pink."""
    noise = rng.normal(size=samples)
    hz = np.fft.rfftfreq(samples, 1 / AUDIO_HZ)
    return np.fft.irfft(np.fft.rfft(noise) * np.maximum(hz, 50) ** (-tilt / 2), samples)


def make_music(samples: int) -> np.ndarray:
    """[samples] of four chords in turn, plucked twice a second over a bass, as in a thousand videos."""
    times_s = np.arange(samples) / AUDIO_HZ
    since_s = times_s % 0.5  # since the last pluck
    chord = times_s.astype(int) % len(_CHORDS_HZ)
    music = np.zeros(samples)
    for note in range(3):
        hz = np.array(_CHORDS_HZ)[chord, note]
        for harmonic in range(1, 9):
            tone = np.sin(2 * np.pi * hz * harmonic * times_s)
            music += tone * np.exp(-since_s * (2 + harmonic)) / harmonic
    bass_hz = np.array(_CHORDS_HZ)[chord, 0] / 2
    return music + np.sin(2 * np.pi * bass_hz * times_s)
