"""What a generator may learn from: genuine clips of the training split, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.sampling import Sample, read_samples
from training.shards import unpack_pictures

FACES_HZ = 8  # at most; closer ones are nearly the same picture


@dataclass(frozen=True)
class Talk:
    """One genuine clip. What was not asked for is empty."""

    identity: str
    faces: np.ndarray  # [n, side_px, side_px, 3] uint8 RGB, aligned crops
    times_s: np.ndarray  # [n]
    waveform: np.ndarray  # [samples] float32 in [-1, 1], 16 kHz


class NothingGenuine(ValueError):
    """A folder holds no clip that may be learnt from."""


def read_genuine(folder: Path, *, side_px: int | None, sound: bool, most: int, seed: int) -> list[Talk]:
    """Clips of split "train" that are known to be genuine in what is asked for: faces of side_px (unless None), sound.

    Versions that were forged here are left out altogether: what they leave genuine is in their original too.
    At most `most` clips, drawn by the seed, since all are held in memory.
    Raises: NothingGenuine; FileNotFoundError where the folder holds no shards.
    """
    fit = [s for s in read_samples(folder) if s.split == "train" and not s.method.startswith("forge:")
           and (side_px is None or (s.has_picture and s.video_fake == 0))
           and (not sound or (s.has_sound and s.audio_fake == 0))]
    if not fit:
        wanted = " and ".join(n for n, asked in (("picture", side_px is not None), ("sound", sound)) if asked)
        raise NothingGenuine(f"{folder} holds no training clip with genuine {wanted}")
    fit.sort(key=lambda s: s.file)
    drawn = np.random.default_rng(seed).permutation(len(fit))[:most]
    return [_read(fit[i], side_px, sound) for i in sorted(drawn)]


def _read(sample: Sample, side_px: int | None, sound: bool) -> Talk:
    tensors = sample.tensors()
    faces, times_s, waveform = np.zeros((0, 0, 0, 3), np.uint8), np.zeros(0), np.zeros(0, np.float32)
    if side_px is not None:
        rows = np.unique(np.floor(tensors["times_s"] * FACES_HZ), return_index=True)[1]
        times_s = tensors["times_s"][rows]
        faces = np.stack([cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA)
                          for face in unpack_pictures(tensors, "faces", rows)])
    if sound:
        waveform = tensors["waveform"].astype(np.float32) / 32767
    return Talk(sample.identity, faces, times_s, waveform)
