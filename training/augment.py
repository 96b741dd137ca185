"""Degradations that real and fake pass through alike, so that quality tells nothing about the class.

Pictures are [T, H, W, 3] uint8 of one window; sound is [samples] float32 at 16 kHz. Draws come from `rng` only.
"""

from __future__ import annotations

import cv2
import numpy as np

from media import AUDIO_HZ


def degrade_faces(faces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip, turn and shift, light and colour, resample, blur, noise, JPEG: one draw for the whole window."""
    side_px = faces.shape[1]
    if rng.random() < 0.5:
        faces = faces[:, :, ::-1]
    angle_deg, scale = rng.uniform(-8, 8), rng.uniform(0.94, 1.12)
    turn = cv2.getRotationMatrix2D((side_px / 2, side_px / 2), angle_deg, scale)
    turn[:, 2] += rng.uniform(-0.03, 0.03, 2) * side_px
    gain, offset = rng.uniform(0.75, 1.25), rng.uniform(-20, 20)
    tint = rng.uniform(0.93, 1.07, 3)
    small_px = int(side_px * rng.uniform(0.3, 0.9)) if rng.random() < 0.5 else None
    blur_px = rng.uniform(0.4, 1.6) if rng.random() < 0.3 else None
    noise = rng.uniform(1, 8) if rng.random() < 0.3 else None
    jpeg = int(rng.integers(25, 95)) if rng.random() < 0.7 else None
    grey = rng.random() < 0.05

    out = np.empty_like(faces)
    for i, face in enumerate(faces):
        face = cv2.warpAffine(np.ascontiguousarray(face), turn, (side_px, side_px), borderMode=cv2.BORDER_REFLECT)
        if small_px:
            face = cv2.resize(face, (small_px, small_px), interpolation=cv2.INTER_AREA)
        if blur_px:
            face = cv2.GaussianBlur(face, (0, 0), blur_px)
        changed = face.astype(np.float32) * (gain * tint) + offset
        if noise:
            changed += rng.normal(0, noise, face.shape)
        face = np.clip(changed, 0, 255).astype(np.uint8)
        if jpeg:
            face = cv2.imdecode(cv2.imencode(".jpg", face, (cv2.IMWRITE_JPEG_QUALITY, jpeg))[1], cv2.IMREAD_COLOR)
        if small_px:
            face = cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
        if grey:
            face = np.repeat(face.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        out[i] = face
    return out


def degrade_sound(sound: np.ndarray, rng: np.random.Generator, noises: list[np.ndarray]) -> np.ndarray:
    """Gain, tilt, band limits, room or street noise, coarse quantisation: what codecs and phones do to a voice."""
    sound = sound - sound.mean()
    sound = sound / max(float(np.sqrt(np.mean(sound**2))), 1e-4) * 10 ** (rng.uniform(-32, -14) / 20)
    if noises and rng.random() < 0.35:
        noise = np.resize(np.roll(noises[rng.integers(len(noises))], rng.integers(AUDIO_HZ)), sound.shape)
        snr_db = rng.uniform(5, 30)
        level = np.sqrt(np.mean(sound**2) / max(float(np.mean(noise**2)), 1e-9)) * 10 ** (-snr_db / 20)
        sound = sound + level * noise
    if rng.random() < 0.8:
        sound = _shape_spectrum(sound, rng)
    if rng.random() < 0.2:  # companding as in telephony
        mu = 255.0
        peak = max(float(np.abs(sound).max()), 1e-6)
        coded = np.sign(sound) * np.log1p(mu * np.abs(sound) / peak) / np.log1p(mu)
        coded = np.round(coded * 127) / 127
        sound = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(mu)) / mu * peak
    if rng.random() < 0.5:
        sound = sound + rng.normal(0, 10 ** (rng.uniform(-80, -55) / 20), sound.shape)
    return np.clip(sound, -1, 1).astype(np.float32)


def _shape_spectrum(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random low-pass (3.4 to 8 kHz), high-pass (0 to 200 Hz) and tilt (up to 6 dB per kHz decade)."""
    spectrum = np.fft.rfft(sound)
    hz = np.fft.rfftfreq(len(sound), 1 / AUDIO_HZ)
    low_pass_hz = rng.uniform(3400, 8000)
    high_pass_hz = rng.uniform(1, 200)
    tilt_db = rng.uniform(-6, 6)
    gain = 1 / np.sqrt(1 + (hz / low_pass_hz) ** 24)
    gain *= 1 / np.sqrt(1 + (high_pass_hz / np.maximum(hz, 1)) ** 6)
    gain *= 10 ** (tilt_db * np.log10(np.maximum(hz, 50) / 1000) / 20)
    return np.fft.irfft(spectrum * gain, len(sound))
