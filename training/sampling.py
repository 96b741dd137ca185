"""Batches of windows from prepared samples: balanced by class, by source and by pair, degraded alike.

Every batch has one presence of modalities ("picture", "sound" or "both"), because a missing modality is left out
of the network, not filled with zeros.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from detectors.contract import InputSpec
from detectors.windows import fill
from media import AUDIO_HZ, GRID_HZ, prepare
from training.augment import degrade_faces, degrade_sound
from training.forgeries import forge_faces
from training.shards import read_index, read_tensors, unpack_pictures

LEAST_SPEECH_S = 0.5  # a sample with less voice does not teach about sound


@dataclass(frozen=True)
class Sample:
    """One prepared clip: its labels, and where its tensors lie."""

    folder: Path
    shard: str
    offset: int
    bytes: int
    key: str
    family: str
    method: str
    source: str
    identities: tuple[str, ...]
    pair: str
    video_fake: float  # 0, 1 or NaN, as the next one
    audio_fake: float
    faces: int  # crops, 25 a second
    samples: int
    speech_s: float
    duration_s: float
    split: str
    file: str

    @property
    def identity(self) -> str:
        return self.identities[0] if self.identities else ""

    @property
    def has_picture(self) -> bool:
        return self.faces >= 1.5 * GRID_HZ and not np.isnan(self.video_fake)

    @property
    def has_sound(self) -> bool:
        return self.speech_s >= LEAST_SPEECH_S and not np.isnan(self.audio_fake)

    def tensors(self) -> dict[str, np.ndarray]:
        """As training.shards lists them."""
        return read_tensors(self.folder, self.shard, self.offset, self.bytes)


def read_samples(folder: Path) -> list[Sample]:
    """The usable samples of a folder of shards."""
    names = Sample.__dataclass_fields__.keys() - {"folder", "identities", "video_fake", "audio_fake"}
    return [
        Sample(folder=folder, identities=tuple(line["identities"]),
               **{name: math.nan if line[name] is None else line[name] for name in ("video_fake", "audio_fake")},
               **{name: line[name] for name in names})
        for line in read_index(folder) if "skipped" not in line
    ]


def split_sources(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(training, development), disjoint by source and by pair: whole sources go to development."""
    groups = sorted({s.source for s in samples})
    rng = np.random.default_rng(seed)
    chosen = set(rng.permutation(groups)[: round(share * len(groups))])
    pairs = {s.pair for s in samples if s.source in chosen and s.pair}
    held = [s.source in chosen or s.pair in pairs for s in samples]
    return [s for s, h in zip(samples, held) if not h], [s for s, h in zip(samples, held) if h]


def load_window(sample: Sample, spec: InputSpec, rng: np.random.Generator, picture: bool,
                sound: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
    """A random window: faces [frames, px, px, 3] uint8 and sound [samples] float32, from the same moment."""
    tensors = sample.tensors()
    start_s = rng.uniform(0, max(sample.duration_s - spec.window_s, 0.0))
    faces = waveform = None
    if picture:
        times_s = tensors["times_s"]
        if times_s[-1] - times_s[0] < spec.window_s:
            start_s = times_s[0]
        span_s = min(spec.window_s, times_s[-1] - start_s + 1 / GRID_HZ)
        if span_s < 0.6 * spec.window_s and times_s[-1] - times_s[0] > span_s:
            start_s = max(times_s[-1] - spec.window_s, times_s[0])
            span_s = min(spec.window_s, times_s[-1] - start_s + 1 / GRID_HZ)
        wanted_s = start_s + np.arange(spec.frames) * span_s / spec.frames
        faces = faces_at(tensors, wanted_s, spec.face_px)
    if sound:
        first = int(start_s * AUDIO_HZ)
        first = max(min(first, sample.samples - spec.samples), 0)
        waveform = tensors["waveform"][first:min(first + spec.samples, sample.samples)].astype(np.float32) / 32767
        waveform = fill(waveform, spec.samples)
    return faces, waveform


def faces_at(tensors: dict[str, np.ndarray], wanted_s: np.ndarray, side_px: int) -> np.ndarray:
    """The face crops nearest to these moments [k] -> [k, side, side, 3] uint8."""
    rows = np.abs(tensors["times_s"][None] - wanted_s[:, None]).argmin(axis=1)
    return np.stack([_sized(face, side_px) for face in unpack_pictures(tensors, "faces", rows)])


def _sized(face: np.ndarray, side_px: int) -> np.ndarray:
    return face if face.shape[0] == side_px else cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA)


class Batches(Dataset):
    """Item n is the batch of rank n % ranks at step n // ranks: the same for the same seed, whatever was drawn
    before it (exact resume). All ranks of a step get the same presence, so that none waits for the others."""

    def __init__(self, samples: list[Sample], spec: InputSpec, *, size: int, seed: int, forged_share: float,
                 presence: dict[str, float], steps: int, ranks: int = 1, noise_dir: Path | None = None) -> None:
        self.spec, self.size, self.seed, self.steps, self.ranks = spec, size, seed, steps, ranks
        self.forged_share, self.presence = forged_share, presence
        picture = [s for s in samples if s.has_picture]
        sound = [s for s in samples if s.has_sound]
        both = [s for s in picture if s.has_sound or (s.speech_s >= LEAST_SPEECH_S and s.samples)]
        self.real = {
            "picture": _by_source(s for s in picture if s.video_fake == 0),
            "sound": _by_source(s for s in sound if s.audio_fake == 0),
            "both": _by_source(s for s in both if s.video_fake == 0 and s.audio_fake == 0),
        }
        self.fake = {
            "picture": _by_source(s for s in picture if s.video_fake == 1),
            "sound": _by_source(s for s in sound if s.audio_fake == 1),
            "both": _by_source(s for s in both if 1 in (s.video_fake, s.audio_fake)),
        }
        self.partners: dict[str, list[Sample]] = defaultdict(list)
        for s in picture:
            if s.pair and s.video_fake == 0:
                self.partners[s.pair].append(s)
        self._noise_dir = noise_dir

    def __len__(self) -> int:
        return self.steps * self.ranks

    def __getitem__(self, item: int) -> dict[str, torch.Tensor | None]:
        """video (B, T, 3, H, W) uint8 or None, audio (B, samples) or None, video_fake (B,), audio_fake (B,)."""
        kinds = np.random.default_rng((self.seed, item // self.ranks))
        kind = kinds.choice(list(self.presence), p=np.array(list(self.presence.values())))
        rng = np.random.default_rng((self.seed, 1, item))
        rows = self._draw(kind, rng)
        picture, sound = kind in ("picture", "both"), kind in ("sound", "both")
        videos, audios, labels = [], [], []
        for sample, forge in rows:
            faces, waveform = load_window(sample, self.spec, rng, picture, sound)
            video_fake = sample.video_fake
            if forge:
                donor = None
                if rng.random() < 0.35:
                    donor = load_window(_pick(self.real["picture"], rng), self.spec, rng, True, False)[0]
                faces, video_fake = forge_faces(faces, rng, donor), 1.0
            if picture:
                videos.append(degrade_faces(faces, rng))
            if sound:
                audios.append(degrade_sound(waveform, rng, self.load_noises(self._noise_dir)))
            labels.append((video_fake if picture else np.nan, sample.audio_fake if sound else np.nan))
        video_fake, audio_fake = torch.tensor(labels, dtype=torch.float32).unbind(1)
        return {
            "video": torch.from_numpy(np.stack(videos)).permute(0, 1, 4, 2, 3) if picture else None,
            "audio": torch.from_numpy(np.stack(audios)) if sound else None,
            "video_fake": video_fake, "audio_fake": audio_fake,
        }

    def _draw(self, kind: str, rng: np.random.Generator) -> list[tuple[Sample, bool]]:
        """Half genuine, half fake. Forged ones come from the genuine clips of the same batch, and a published
        fake brings the genuine clip of its pair where there is one: the batch compares like with like."""
        half = self.size // 2
        forged = round(half * self.forged_share) if kind != "sound" else 0
        fakes = [_pick(self.fake[kind], rng) for _ in range(half - forged)]
        reals: list[Sample] = []
        if kind == "picture":
            reals = [partners[rng.integers(len(partners))] for s in fakes if (partners := self.partners.get(s.pair))]
        reals += [_pick(self.real[kind], rng) for _ in range(half - len(reals))]
        originals = [reals[i] for i in rng.permutation(half)[:forged]]
        return [(s, False) for s in reals + fakes] + [(s, True) for s in originals]

    @staticmethod
    @lru_cache(maxsize=1)
    def load_noises(folder: Path | None) -> list[np.ndarray]:
        return [prepare(path).waveform for path in sorted(folder.glob("*.ogg"))] if folder else []


def _by_source(samples) -> list[list[Sample]]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.source].append(sample)
    return [groups[name] for name in sorted(groups)]


def _pick(groups: list[list[Sample]], rng: np.random.Generator) -> Sample:
    """A source with the square root of its size as weight (neither one page nor one clip dominates), then a clip."""
    weights = np.sqrt([len(g) for g in groups])
    group = groups[rng.choice(len(groups), p=weights / weights.sum())]
    return group[rng.integers(len(group))]
