"""Artefacts of known place, planted into an unaltered clip: where a map must point, if the detector falls for them.

Picture: inside one face region the crops are halved in size twice, scaled up again on a coarse grid and tinted, as a
generator's patch that was pasted in. Sound: inside one band every moment gets the band's mean level and random
phases, which buzzes as a poor vocoder does. Outside of region, band and span nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from explain.layout import Layout
from explain.regions import REGIONS, face_regions, lip_crop_regions
from explain.sound import BINS, FFT, resynthesised, spectrum
from explain.target import Target
from media import AUDIO_HZ, PreparedClip

TINT = np.array([14.0, -8.0, 6.0], np.float32)  # of 255, R G B
FEATHER = 0.01  # of the face crop's side: softness of a pasted region's edge, inwards
SHRINK = 4


@dataclass(frozen=True)
class Plant:
    """One artefact: exactly one of region and band_hz is given."""

    span_s: tuple[float, float]
    region: str | None = None  # of REGIONS
    band_hz: tuple[float, float] | None = None

    @property
    def modality(self) -> str:
        return "video" if self.region is not None else "audio"


def plant(clip: PreparedClip, what: Plant, seed: int = 0) -> PreparedClip:
    """A copy of the clip with the artefact, in the first face where it is one of the picture.

    Raises: ValueError when the clip lacks the face or the sound.
    """
    if what.region is None:
        if clip.waveform is None:
            raise ValueError("a clip without sound has no band to plant into")
        return replace(clip, waveform=_buzzing(clip.waveform, what, seed))
    if not clip.tracks:
        raise ValueError("a clip without a face has no region to plant into")
    track = clip.tracks[0]
    rows = np.flatnonzero((track.times_s >= what.span_s[0]) & (track.times_s < what.span_s[1]))
    faces, lips = dict(clip.faces), dict(clip.lips)
    for held, regions, scale in ((faces, face_regions, 1.0), (lips, lip_crop_regions, 2.0)):
        if track.track_id in held:
            crops = np.array(held[track.track_id])
            side_px = crops.shape[1]
            inside = regions(side_px) == REGIONS.index(what.region)
            weight = _feathered(inside, scale * FEATHER * side_px)
            for row in rows:
                crops[row] = _pasted(crops[row], weight)
            held[track.track_id] = crops
    return replace(clip, faces=faces, lips=lips)


def truth_on(layout: Layout, target: Target, what: Plant) -> dict[str, np.ndarray]:
    """Group -> [n, steps, places] bool, of the groups that show the artefact's modality: cells of which at least half
    lies in the artefact's place, at moments inside its span."""
    truth = {}
    for part, wire in layout.wires.items():
        if (part == "audio") != (what.modality == "audio"):
            continue
        moments_s = target.start_s[:, None] + target.moments_s(part)  # [n, T]
        during = torch.from_numpy((moments_s >= what.span_s[0]) & (moments_s < what.span_s[1]))
        place = torch.from_numpy(_place(part, wire.where, what))
        fine = (during.view(*during.shape, *[1] * place.ndim) & place).to(target.device)
        inside = layout.gather({part: fine.double()})[wire.group]
        area = layout.gather({part: torch.ones_like(fine, dtype=torch.double)})[wire.group]
        truth[wire.group] = ((inside >= 0.5 * area) & (inside > 0)).cpu().numpy()
    return truth


def _place(part: str, where: torch.Tensor, what: Plant) -> np.ndarray:
    """Bool in the shape of a part's pixels or bins."""
    if part == "audio":
        return _bins(what.band_hz)
    regions = face_regions if part == "face" else lip_crop_regions
    return regions(where.shape[0]) == REGIONS.index(what.region)


def _bins(band_hz: tuple[float, float]) -> np.ndarray:
    centres_hz = np.arange(BINS) * AUDIO_HZ / FFT
    return (centres_hz >= band_hz[0]) & (centres_hz < band_hz[1])


def _feathered(inside: np.ndarray, reach_px: float) -> np.ndarray:
    """[side, side] float in [0, 1]: 0 outside, rising to 1 within the feather."""
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(distance / max(reach_px, 1.0), 0, 1)


def _pasted(crop: np.ndarray, weight: np.ndarray) -> np.ndarray:
    side_px = len(crop)
    small = cv2.resize(crop, (side_px // SHRINK,) * 2, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(small, (side_px,) * 2, interpolation=cv2.INTER_NEAREST).astype(np.float32) + TINT
    mixed = crop + weight[..., None] * (coarse - crop)
    return np.clip(mixed.round(), 0, 255).astype(np.uint8)


def _buzzing(waveform: np.ndarray, what: Plant, seed: int) -> np.ndarray:
    """Only the span's own samples change; at its ends the change fades within 10 ms."""
    begin, end = (round(s * AUDIO_HZ) for s in what.span_s)
    sound = torch.from_numpy(np.array(waveform[None, begin:end], np.float32))
    spectra = spectrum(sound)
    inside = torch.from_numpy(_bins(what.band_hz))
    level = spectra.abs().pow(2).mean(dim=1, keepdim=True).sqrt()
    phase = 2 * np.pi * torch.rand(spectra.shape, generator=torch.Generator().manual_seed(seed))
    change = torch.where(inside, torch.polar(level.expand_as(phase), phase) - spectra, 0)
    fade = np.minimum(1, np.minimum(np.arange(end - begin) + 1, np.arange(end - begin)[::-1] + 1) / (0.01 * AUDIO_HZ))
    changed = np.array(waveform)
    changed[begin:end] += (resynthesised(sound, change) - sound)[0].numpy() * fade.astype(np.float32)
    return changed
