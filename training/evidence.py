"""Kinds of evidence, each a list of numbers of one clip: training.search asks of one after another whether it tells.

They are taken from crops and sound as training.prepare kept them, and from what frozen networks tell of them: the whole
of EfficientNet-Lite0, of some moments of the picture, and the speech encoder, of what training.encode wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import cv2
import numpy as np
import torch
import torchaudio

from detectors.encoders import FACE_PX, INNER, REGIONS, TEXTURES, WIDTHS, FaceEncoder, part_of, region_shares
from detectors.restless import CEPSTRA, FILTERS, cepstra, filter_bank, how_restless, log_bands
from media import AUDIO_HZ, GRID_HZ
from training.augment import degrade_faces
from training.pretrained import published_face_encoder
from training.sampling import Sample
from training.shards import unpack_pictures

MOMENTS = 8  # of a clip of which crops are looked at
RESIDUALS = {  # high-pass filters of steganalysis (Fridrich & Kodovsky, 2012), without their scale
    "second order": np.array([[0, 0, 0], [1, -2, 1], [0, 0, 0]], np.float32),
    "3 x 3": np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]], np.float32),
}
RINGS = 16  # of spatial frequency
MOTION_HZ = (0.0, 1.0, 3.0, 6.0, 12.5)
OFFSETS = 6  # frames by which the mouth may be before or after the sound
MELS = 64
LOW_PASS_HZ = 4_000
ALL, SHALLOW, DEEP = (0, 8), (0, 2), (5, 8)  # of WIDTHS: stem, stages 1 to 7; TEXTURES are between the last two


@dataclass(frozen=True)
class Material:
    """One clip, read once for all kinds of evidence."""

    sample: Sample
    prepared: dict[str, np.ndarray]  # tensors as training.shards lists them
    encoded: dict[str, np.ndarray]  # as training.encode does; nothing for pictures

    @cached_property
    def regions(self) -> np.ndarray:
        """What the whole Lite0 tells of MOMENTS crops: [moments, regions, C]."""
        return look(self.crops()[::2])

    def crops(self, name: str = "faces") -> np.ndarray:
        """[2 MOMENTS, side, side, 3] uint8, or less of a short clip: pairs of neighbours, evenly spread."""
        count = len(self.prepared["times_s"])
        firsts = np.unique(np.linspace(0, max(count - 2, 0), MOMENTS).astype(int))
        rows = np.minimum(np.stack([firsts, firsts + 1], axis=1).ravel(), count - 1)
        return unpack_pictures(self.prepared, name, rows)

    @property
    def waveform(self) -> np.ndarray:
        return self.prepared["waveform"].astype(np.float32) / 32767

    @cached_property
    def mouth_motion(self) -> np.ndarray:
        """[n - 1] logarithm of the lips' mean change between pictures in a row."""
        lips = _grey(unpack_pictures(self.prepared, "lips", range(len(self.prepared["times_s"]))))
        small = np.stack([cv2.resize(picture, (24, 24), interpolation=cv2.INTER_AREA) for picture in lips])
        return np.log(np.abs(np.diff(small, axis=0)).mean(axis=(1, 2)) + 0.1)


Evidence = Callable[[Material], np.ndarray]  # -> [D]


# ---- of the picture -------------------------------------------------------------------------------------------------


def regions(material: Material, only: Sequence[str] = REGIONS, depths: tuple[int, int] = ALL) -> np.ndarray:
    """Mean over the moments of what Lite0 tells of these regions, from maps of these depths."""
    return part_of(material.regions, only, depths).mean(axis=0)


def mouth(material: Material, count: int = MOMENTS) -> np.ndarray:
    """The textures of the mouth, mean over so many moments, evenly spread."""
    told = part_of(material.regions, ("mouth",), TEXTURES)
    return told[np.linspace(0, len(told) - 1, 2 * count + 1).round().astype(int)[1::2]].mean(axis=0)


def spread(material: Material) -> np.ndarray:
    """How far the mouth's textures are from each other."""
    return np.log(part_of(material.regions, ("mouth",), TEXTURES).std(axis=0) + 1e-3)


def change(material: Material) -> np.ndarray:
    """The same of neighbouring moments."""
    told = part_of(material.regions, ("mouth",), TEXTURES)
    return np.log(np.abs(np.diff(told, axis=0, append=told[-1:])).mean(axis=0) + 1e-3)


def flicker(material: Material) -> np.ndarray:
    """How much the textures of the inner face change from one picture to the next, 0.04 s later."""
    told = part_of(look(material.crops()), INNER, TEXTURES)
    return np.log(np.abs(told[1::2] - told[::2]).mean(axis=0) + 1e-3)


def degraded(material: Material) -> np.ndarray:
    """As regions of the inner face, of crops that were degraded as in training."""
    crops = material.crops()[::2]
    rng = np.random.default_rng(list(material.sample.key.encode()))
    told = look(np.concatenate([degrade_faces(crop[None], rng) for crop in crops]))
    return part_of(told, INNER, TEXTURES).mean(axis=0)


@lru_cache(maxsize=1)
def _lite0() -> FaceEncoder:
    return published_face_encoder(stages=len(WIDTHS) - 1)


@torch.inference_mode()
def look(crops: np.ndarray) -> np.ndarray:
    """[n, side, side, 3] uint8 -> [n, regions, C]"""
    faces = np.stack([cv2.resize(crop, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA) for crop in crops])
    return _lite0()(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255).numpy()


def at_size(material: Material, side_px: int) -> np.ndarray:
    """As mouth, from every second of MOMENTS crops, made so small and large again."""
    small = [cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA) for crop in material.crops()[::4]]
    large = [cv2.resize(crop, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC) for crop in small]
    return part_of(look(np.stack(large)), ("mouth",), TEXTURES).mean(axis=0)


@lru_cache
def _shares(side: int) -> np.ndarray:
    return region_shares(side).numpy()


def _by_region(pictures: np.ndarray) -> np.ndarray:
    """[n, side, side] -> [n, R, 3]: of each region the logarithm of root mean square, fourth moment and mean."""
    shares = _shares(pictures.shape[-1])
    weights = (shares / shares.sum(axis=(1, 2), keepdims=True)).reshape(len(shares), -1).T  # px R
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    moments = [np.sqrt(flat**2 @ weights), (flat**4 @ weights) ** 0.25, np.abs(flat) @ weights]
    return np.log(np.stack(moments, axis=-1) + 1e-2)


def _grey(crops: np.ndarray) -> np.ndarray:
    return np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]).astype(np.float32)


def noise_residual(material: Material) -> np.ndarray:
    """How strong and how peaked the crop's fine noise is, by region."""
    grey = _grey(material.crops())
    return np.concatenate([_by_region(np.stack([cv2.filter2D(g, -1, kernel) for g in grey])).mean(axis=0).ravel()
                           for kernel in RESIDUALS.values()])


def frequencies(material: Material) -> np.ndarray:
    """Power by ring of spatial frequency, of the face and of the lips."""
    told = []
    for name in ("faces", "lips"):
        grey = _grey(material.crops(name))
        side = grey.shape[-1]
        window = np.hanning(side)[:, None] * np.hanning(side)
        power = np.abs(np.fft.rfft2((grey - grey.mean(axis=(1, 2), keepdims=True)) * window)) ** 2
        radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
        ring = np.minimum((radius / 0.5 * RINGS).astype(int), RINGS)  # the corners make one more
        total, places = np.bincount(ring.ravel(), power.mean(axis=0).ravel()), np.bincount(ring.ravel())
        told.append(np.log(total / np.maximum(places, 1) + 1e-3))
    return np.concatenate(told)


def frame_differences(material: Material) -> np.ndarray:
    """What changes between two pictures in a row, 0.04 s apart, and how fine it is, by region."""
    grey = _grey(material.crops())
    differences = grey[1::2] - grey[::2]
    fine = np.stack([cv2.filter2D(d, -1, RESIDUALS["3 x 3"]) for d in differences])
    return np.concatenate([_by_region(differences).mean(axis=0).ravel(), _by_region(fine).mean(axis=0).ravel()])


def mouth_rhythm(material: Material) -> np.ndarray:
    """How much the mouth moves, and in which rhythm."""
    motion = material.mouth_motion
    power = np.abs(np.fft.rfft((motion - motion.mean()) * np.hanning(len(motion)))) ** 2
    hz = np.fft.rfftfreq(len(motion), 1 / GRID_HZ)
    bands = [power[(hz >= low) & (hz < high)].sum() for low, high in zip(MOTION_HZ, MOTION_HZ[1:])]
    return np.array([motion.mean(), motion.std(), *np.log(np.array(bands) / len(motion) ** 2 + 1e-9)])


def mouth_and_sound(material: Material) -> np.ndarray:
    """Correlation of the mouth's motion with the sound's loudness, at each offset; nothing (0) of silent clips."""
    told = np.zeros(2 * OFFSETS + 1)
    if "waveform" not in material.prepared:
        return told
    hop = round(AUDIO_HZ / GRID_HZ)
    sound = material.waveform[:len(material.waveform) // hop * hop].reshape(-1, hop)
    loudness = np.log((sound**2).mean(axis=1) + 1e-6)
    steps = np.round(material.prepared["times_s"][1:] * GRID_HZ).astype(int)
    for row, offset in enumerate(range(-OFFSETS, OFFSETS + 1)):
        heard = (steps + offset >= 0) & (steps + offset < len(loudness))
        pair = material.mouth_motion[heard], loudness[steps[heard] + offset]
        if heard.sum() > GRID_HZ and all(side.std() > 1e-3 for side in pair):
            told[row] = np.corrcoef(*pair)[0, 1]
    return told


# ---- of the sound ---------------------------------------------------------------------------------------------------


def _mean_and_spread(rows: np.ndarray) -> np.ndarray:
    """[T, D] -> [2 D]"""
    return np.concatenate([rows.mean(axis=0), rows.std(axis=0)])


def speech_rows(material: Material) -> np.ndarray:
    """What the speech encoder (DistillMOS, sixth layer) tells: mean and deviation."""
    return _mean_and_spread(material.encoded["speech"].astype(np.float32))


def _restless(material: Material, low_passed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """What detectors.restless makes of the speech encoder's rows, and of cepstra."""
    rows = torch.from_numpy(material.encoded["speech"].astype(np.float32))[None]
    bands = log_bands(_wave(material, low_passed)[None], _bank())
    seen = torch.ones(bands.shape[:2], dtype=torch.bool)
    told = how_restless(rows, torch.ones(rows.shape[:2], dtype=torch.bool), cepstra(bands, seen, _dct()), seen)[0]
    return told[:rows.shape[2]].numpy(), told[rows.shape[2]:].numpy()


def speech_change(material: Material) -> np.ndarray:
    """How much the speech encoder's rows change from one to the next."""
    return _restless(material)[0]


def cepstra_change(material: Material, low_passed: bool = False) -> np.ndarray:
    """How much linear cepstra move, from frame to frame, and from change to change."""
    return _restless(material, low_passed)[1]


def restless(material: Material) -> np.ndarray:
    """Both, as detectors read them."""
    return np.concatenate(_restless(material))


@lru_cache
def _bank() -> torch.Tensor:
    return filter_bank("linear", FILTERS)


@lru_cache
def _dct() -> torch.Tensor:
    return torchaudio.functional.create_dct(CEPSTRA, FILTERS, "ortho")


def _wave(material: Material, low_passed: bool) -> torch.Tensor:
    """[samples]; low_passed: with nothing above LOW_PASS_HZ."""
    wave = torch.from_numpy(material.waveform)
    if low_passed:
        wave = torchaudio.functional.resample(wave, AUDIO_HZ, 2 * LOW_PASS_HZ)
        wave = torchaudio.functional.resample(wave, 2 * LOW_PASS_HZ, AUDIO_HZ)
    return wave


@lru_cache
def _spectral(kind: str) -> torch.nn.Module:
    plan = {"n_fft": 512, "hop_length": 160}
    if kind == "mel":
        return torchaudio.transforms.MelSpectrogram(AUDIO_HZ, n_mels=MELS, **plan)
    return torchaudio.transforms.LFCC(AUDIO_HZ, n_filter=FILTERS, n_lfcc=CEPSTRA, log_lf=True, speckwargs=plan)


def spectrum(material: Material, kind: str, low_passed: bool = False) -> np.ndarray:
    """Mean and deviation. kind: "mel" bands or "linear" cepstra."""
    told = _spectral(kind)(_wave(material, low_passed)[None])[0].T.numpy()
    return _mean_and_spread(np.log(told + 1e-6) if kind == "mel" else told)


def joined(*parts: Evidence) -> Evidence:
    return lambda material: np.concatenate([part(material) for part in parts])


EVIDENCE: dict[str, dict[str, Evidence]] = {
    "video": {
        "all regions and depths": regions,
        **{f"{name}, all depths": partial(regions, only=(name,)) for name in REGIONS},
        "all regions, stem and stage 1": partial(regions, depths=SHALLOW),
        "all regions, stages 2 to 4": partial(regions, depths=TEXTURES),
        "all regions, stages 5 to 7": partial(regions, depths=DEEP),
        "all but the border, stages 2 to 4": partial(regions, only=INNER, depths=TEXTURES),
        "mouth, stages 2 to 4": mouth,
        **{f"mouth, {'stem' if depth == 0 else f'stage {depth}'}":
           partial(regions, only=("mouth",), depths=(depth, depth + 1)) for depth in range(len(WIDTHS))},
        **{f"{name}, stages 2 to 4": partial(regions, only=(name,), depths=TEXTURES)
           for name in REGIONS if name != "mouth"},
        **{f"mouth, stages 2 to 4, {count} moments": partial(mouth, count=count) for count in (1, 2, 4)},
        **{f"mouth, stages 2 to 4, from {side} px": partial(at_size, side_px=side) for side in (160, 80, 40)},
        "mouth, spread over moments": spread,
        "mouth, change between moments": change,
        "noise residual": noise_residual,
        "frequencies": frequencies,
        "frame differences": frame_differences,
        "inner textures, change from picture to picture": flicker,
        "mouth's rhythm": mouth_rhythm,
        "mouth and sound": mouth_and_sound,
        "mouth, stages 2 to 4, and frequencies": joined(mouth, frequencies),
        "mouth, stages 2 to 4, and noise residual": joined(mouth, noise_residual),
    },
    "audio": {
        "speech encoder": speech_rows,
        "log-mel": partial(spectrum, kind="mel"),
        "LFCC": partial(spectrum, kind="linear"),
        "speech encoder, change": speech_change,
        "LFCC, change": cepstra_change,
        "change of both": restless,
        "log-mel, low-passed": partial(spectrum, kind="mel", low_passed=True),
        "LFCC, low-passed": partial(spectrum, kind="linear", low_passed=True),
        "LFCC, change, low-passed": partial(cepstra_change, low_passed=True),
    },
}
