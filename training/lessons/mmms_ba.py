"""The lesson of MMMS-BA: windows of cached features, each fake beside the genuine clip that it was made of.

Learns from what training.encode wrote. Features of a sequence are computed once per clip, when the lesson is built,
and kept in half precision: drawing a batch is cutting arrays. A fake and its original show the same moment, and the two
windows of a pair lack the same modalities, so that neither tells the class.

The speech encoder heard clips in pieces from their beginning, and the app's windows begin where such a piece does, so
the rows are the same, but for the app's last window, which ends with the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from detectors.contract import MODALITIES, WindowScores
from detectors.encoders import ROW_SAMPLES, FaceEncoder, SpeechEncoder, to_half
from detectors.mmms_ba import (
    MMMSBA,
    SHIPPED,
    Features,
    LossWeights,
    MMMSBAConfig,
    MMMSBADetector,
    PretrainedEncoder,
    Targets,
    mmms_ba_loss,
)
from detectors.sync import STEP_HZ, load_pair
from detectors.windows import LEAST_SPEECH_S
from media import AUDIO_HZ
from training.encode import check_encoders
from training.labels import label_of, labels_between
from training.lessons import Batch, Lesson
from training.localization import true_spans
from training.pretrained import load_encoders, published_encoders
from training.recipe import Recipe, Section
from training.sampling import Counterparts, Pool, Sample, draw_start, spread_starts
from training.shards import unpack_pictures

FITTED_WINDOWS = 256  # from which the whitening is taken
STRENGTH = 0.05  # inverse of the penalty on StandOut's weights
_WINDOWS = 20  # that are drawn before the samples are said to hold none that can be judged
Clip = dict[str, np.ndarray]  # fields of Features [m, ...] of the m sequences of a clip, float16 or bool
PICTURE = ("face", "lips", "lip_steps")


class Shares(Section):
    """Of the fakes in a batch. Where there is none of a kind, the others take its share."""

    forged: float = Field(ge=0)  # made by training.forge
    published: float = Field(ge=0)  # with a face
    sound: float = Field(ge=0)  # published ones without a face

    @model_validator(mode="after")
    def _add_up(self) -> Shares:
        total = self.forged + self.published + self.sound
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}, not 1")
        return self


class Hiding(Section):
    """Modality dropout: the chance that a pair of windows lacks this, one of them at most."""

    face: float = Field(ge=0, le=1)  # but not the lips
    lips: float = Field(ge=0, le=1)
    picture: float = Field(ge=0, le=1)  # face and lips
    audio: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0, le=1)  # face and lips, for some of the window

    @model_validator(mode="after")
    def _leave_some(self) -> Hiding:
        if sum(self.model_dump().values()) > 1:
            raise ValueError("the chances add up to more than 1")
        return self


class Losses(Section):
    """detectors.mmms_ba.LossWeights."""

    alpha: float = Field(ge=0, le=1)
    gamma: float = Field(ge=0)
    regression: float = Field(ge=0)
    per: Literal["clip", "batch"]
    heads: float = Field(ge=0)


class MMMSBAPart(Section):
    encoders: str | None = None  # folder of training.pretrained; without it, the weights of the installed packages
    pair: str  # path of the checkpoint that training.lessons.sync wrote
    attention: Literal["bi-modal", "mmus-sa", "ms-sa"] = "bi-modal"
    parts: tuple[Literal["face", "lips", "audio"], ...] = SHIPPED.parts
    shares: Shares
    hiding: Hiding
    losses: Losses


class MMMSBARecipe(Recipe):
    detector: Literal["mmms_ba"]
    lesson: MMMSBAPart


class MMMSBALesson(Lesson):
    schema = MMMSBARecipe
    reads_encoded = True
    shipped: MMMSBAConfig = SHIPPED

    def __init__(self, recipe: MMMSBARecipe, samples: Sequence[Sample], noises: Sequence[np.ndarray] = ()) -> None:
        """Raises: CheckpointError for encoders that cannot be read; ValueError when a class is missing, or where
        other encoders than the recipe's wrote the samples."""
        super().__init__(recipe, samples, noises)
        part = recipe.lesson
        self.config = replace(self.shipped, sync=load_pair(Path(part.pair))[0].cfg, attention=part.attention,
                              parts=part.parts, agreement={"lips", "audio"} <= set(part.parts))
        self.spec = self.config.spec
        self._weights = LossWeights(**part.losses.model_dump())

        judged = [s for s in samples if s.has_picture or s.has_sound]
        genuine = [s for s in judged if 1 not in self._labels(s) and 0 in self._labels(s)[:2]]
        fakes = [s for s in judged if 1 in self._labels(s)]
        kinds = {"forged": Pool(s for s in fakes if s.forged),
                 "published": Pool(s for s in fakes if not s.forged and s.shows_face),
                 "sound": Pool(s for s in fakes if not s.forged and not s.shows_face)}
        self._fakes = [(pool, share) for kind, pool in kinds.items() if (share := getattr(part.shares, kind)) and pool]
        alike = {shown: [s for s in genuine if s.shows_face == shown] for shown in (True, False)}
        self._counterparts = {shown: Counterparts(alike[shown] or genuine) for shown in alike}
        if not genuine or not self._fakes:
            raise ValueError(f"there is no {'fake' if genuine else 'genuine'} sample to learn from")

        self.model = MMMSBA(self.config)
        self._encoders = self.config, part.encoders, part.pair
        check_encoders({s.folder for s in samples}, *_published(part.encoders))
        self.model.encoder.load_state_dict(load_encoder(*self._encoders).state_dict())
        for sample in judged:
            self.clip(sample)
        self.model.fit_whitening(self._some_features(judged))
        if self.model.stand_out is not None:
            self._fit_stand_out(judged)

    def clip(self, sample: Sample) -> Clip:
        """The features of a sample, computed when they are first asked for."""
        return read_clip(sample, *self._encoders)

    def _some_features(self, samples: Sequence[Sample]) -> Features:
        rng = np.random.default_rng((self.recipe.seed, 2))
        windows = []
        for _ in range(min(FITTED_WINDOWS, 4 * len(samples))):
            sample = samples[rng.integers(len(samples))]
            windows.append(self._cut(sample, self._on_grid(draw_start(sample, self.spec.window_s, rng))))
        return to_features(stack(windows))

    def _fit_stand_out(self, samples: Sequence[Sample]) -> None:
        """By logistic regression on the sequences of forged clips and of those that they were made of; forged sequences
        and genuine ones count alike. Clips that are forged throughout are left out: nothing stands out of them."""
        stand_out = self.model.stand_out
        groups = {(s.folder, s.group) for s in samples if s.forged}
        starts_s = self.config.sequence_s * np.arange(self.config.sequences)
        for modality, line in stand_out.maps.items():
            rows, labels = [], []
            for sample in samples:
                if (sample.folder, sample.group) not in groups or getattr(sample, f"{modality}_fake") not in (0, 1):
                    continue
                window = self._cut(sample, 0.0)
                fake = labels_between(sample, starts_s, starts_s + self.config.sequence_s)[modality]
                apart, there = stand_out.contrasts(to_features(stack([window])), modality)
                known = there[0].numpy() & ~np.isnan(fake)
                if (fake[known] == 0).any():
                    rows.append(apart[0, known])
                    labels.append(fake[known])
            fake = np.concatenate(labels) if labels else np.zeros(0)
            if len(set(fake)) == 2 and len(fake) > self.config.contrasts:
                apart = torch.cat(rows)
                stand_out.whiten[modality].fit(apart)
                told = LogisticRegression(C=STRENGTH, max_iter=1000, class_weight="balanced").fit(
                    stand_out.whiten[modality](apart).numpy(), fake)
                line.weight.copy_(torch.from_numpy(told.coef_))
                line.bias.copy_(torch.from_numpy(told.intercept_))

    # ---- what a batch is ----------------------------------------------------------------------------------------

    def batch(self, step: int, rank: int, ranks: int) -> Batch:
        """The fields of Features, (B, N, ...) float16 or bool, and those of Targets as true_NAME, (B, N, ...)."""
        rows = [row for pair in range(rank, self.recipe.batch // 2, ranks) for row in self._draw_pair(step, pair)]
        return stack(rows[::2] + rows[1::2])  # genuine ones first

    def _draw_pair(self, step: int, pair: int) -> tuple[Clip, Clip]:
        """A genuine window and a fake one: of the fake's original where there is one, at the same moment.

        Raises: ValueError where _WINDOWS draws gave none in which anything can be judged.
        """
        rng = np.random.default_rng((self.recipe.seed, 1, step, pair))
        shares = np.array([share for _, share in self._fakes])
        for _ in range(_WINDOWS):
            pool = self._fakes[rng.choice(len(shares), p=shares / shares.sum())][0]
            fake = pool.draw(rng)
            real = self._counterparts[fake.shows_face].draw(fake, rng)  # one that shows a face, too, or none
            marked = [name for name, label in zip(MODALITIES, self._labels(fake)) if label == 1]
            fake_s = draw_start(fake, self.spec.window_s, rng, marked[rng.integers(len(marked))])
            real_s = fake_s if real.group == fake.group else draw_start(real, self.spec.window_s, rng)
            moments = [(sample, self._on_grid(start_s)) for sample, start_s in ((real, real_s), (fake, fake_s))]
            windows = levelled([self._cut(*moment) for moment in moments])
            if all(_anything(window) for window in windows):
                windows = self._hide(windows, rng)
                return tuple(window | self._targets(*moment, window) for window, moment in zip(windows, moments))
        raise ValueError(f"{_WINDOWS} pairs of clips were drawn, and none had a window that can be judged")

    def _on_grid(self, start_s: float) -> float:
        return round(start_s / self.config.sequence_s) * self.config.sequence_s

    def _cut(self, sample: Sample, start_s: float) -> Clip:
        """One window that starts on the grid: what the app's rules (detectors.windows) let be judged of it."""
        cfg = self.config
        window = cut_clip(self.clip(sample), round(start_s / cfg.sequence_s), cfg.sequences)
        end_s = min(start_s + cfg.window_s, sample.duration_s)
        sequences = max(round((end_s - start_s) / cfg.sequence_s), 1)
        voiced_s = sum(max(min(end_s, e) - max(start_s, s), 0.0) for s, e in sample.voice_s)
        shown = window["face_there" if "face" in cfg.parts else "lips_there"]
        if shown.sum() < self.spec.least_face_share * sequences or not sample.shows_face:
            window |= _without(window, PICTURE)
        if voiced_s < LEAST_SPEECH_S or not sample.has_voice:
            window |= _without(window, ("audio",))
        return window

    def _hide(self, windows: list[Clip], rng: np.random.Generator) -> list[Clip]:
        """Modality dropout, alike in all of these windows, unless nothing would be left of one."""
        chances = self.recipe.lesson.hiding.model_dump()
        drawn = rng.choice([*chances, ""], p=[*chances.values(), max(1 - sum(chances.values()), 0.0)])
        length = rng.integers(1, self.config.sequences)
        first = rng.integers(self.config.sequences - length + 1)
        gone = slice(first, first + length) if drawn == "seconds" else slice(None)
        parts = {"": (), "face": ("face",), "lips": ("lips", "lip_steps"), "audio": ("audio",)}.get(drawn, PICTURE)
        left = [window | _without(window, parts, gone) for window in windows]
        return left if all(_anything(window) for window in left) else windows

    def _targets(self, sample: Sample, start_s: float, window: Clip) -> dict[str, np.ndarray]:
        """true_whole, true_video, true_audio [N] and true_spans [N, 2].

        Whole: 1 where a modality that is there is fake, else NaN where one is ambiguous, else 0; NaN where nothing is.
        """
        cfg = self.config
        starts_s = start_s + cfg.sequence_s * np.arange(cfg.sequences)
        labels = labels_between(sample, starts_s, starts_s + cfg.sequence_s)
        there = {"video": np.any([window[f"{part}_there"] for part in cfg.parts if part != "audio"], axis=0),
                 "audio": window.get("audio_there", np.zeros(cfg.sequences, bool))}
        there["sync"] = there["video"] & there["audio"]
        known = dict(zip(MODALITIES, self._labels(sample)))
        counts = {name: there[name] & (not np.isnan(label)) for name, label in known.items()}
        counted = np.stack([np.where(counts[name], labels[name], 0.0) for name in MODALITIES])
        whole = np.where((counted == 1).any(axis=0), 1.0, counted.sum(axis=0))
        whole[~(counts["video"] | counts["audio"])] = np.nan
        fake = [name for name, label in known.items() if label == 1 and there[name].any()]
        return {"true_whole": whole.astype(np.float32), "true_video": labels["video"].astype(np.float32),
                "true_audio": labels["audio"].astype(np.float32),
                "true_spans": self._spans(sample, fake, start_s, starts_s, whole)}

    def _labels(self, sample: Sample) -> tuple[float, float, float]:
        """Of MODALITIES, NaN for what the network does not read."""
        read = MODALITIES if "audio" in self.config.parts else ("video",)
        return tuple(label_of(sample, name) if name in read else np.nan for name in MODALITIES)

    def _spans(self, sample: Sample, modalities: list[str], start_s: float, starts_s: np.ndarray,
               whole: np.ndarray) -> np.ndarray:
        """[N, 2] seconds of the window: the fake span around the middle of each fake sequence, NaN elsewhere."""
        spans = []
        for modality in modalities:
            own = [span for span in sample.spans if span[0] == modality]
            spans += own or [(modality, 0.0, sample.duration_s)]
        joined = true_spans(spans, sample.duration_s)
        middles_s = starts_s + self.config.sequence_s / 2
        found = np.full((len(starts_s), 2), np.nan, np.float32)
        end_s = min(self.config.window_s, sample.duration_s - start_s)
        for begin_s, until_s in joined:
            within = (whole == 1) & (middles_s >= begin_s) & (middles_s <= until_s)
            found[within] = max(begin_s - start_s, 0.0), min(until_s - start_s, end_s)
        return found

    # ---- what it is asked for -----------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        out = self.model.tell(to_features(batch))
        targets = Targets(**{name: batch[f"true_{name}"] for name in Targets._fields})
        return mmms_ba_loss(out, self.model.spans(out.boundaries), targets, self._weights)

    # ---- what comes of it ---------------------------------------------------------------------------------------

    def card(self) -> dict:
        return {"architecture": asdict(self.config), "input_spec": asdict(self.spec)}

    def detector(self, model: MMMSBA) -> MMMSBADetector:
        return MMMSBADetector(model, self.card(), self.spec, next(model.parameters()).device)

    def weights(self, model: MMMSBA) -> dict[str, Tensor]:
        """Frozen encoders in half precision, the rest as it was trained."""
        state = model.state_dict()
        return {**state, **to_half({name: value for name, value in state.items() if name.startswith("encoder.")})}

    @torch.inference_mode()
    def scores(self, model: MMMSBA, samples: Sequence[Sample], windows: int) -> list[tuple[Sample, WindowScores]]:
        """From cached features: windows begin on the grid of sequences, where the app's last one ends with the clip."""
        detector = self.detector(model)
        found = []
        for sample in samples:
            starts_s = np.array([self._on_grid(start_s) for start_s in spread_starts(sample, self.spec, windows)])
            cut = [(row, window) for row, start_s in enumerate(starts_s)
                   if _anything(window := self._cut(sample, start_s))]
            if cut:
                rows, parts = zip(*cut)
                batch = {name: value.to(detector.device) for name, value in stack(parts).items()}
                ends_s = np.minimum(starts_s + self.spec.window_s, sample.duration_s)
                outputs = [(np.array(rows), model.tell(to_features(batch)))]
                track_id = 0 if sample.shows_face else None
                found.append((sample, detector.join(outputs, starts_s, ends_s, track_id)))
        return found


# ---- features -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def load_encoder(cfg: MMMSBAConfig, encoders: str | None, pair: str) -> PretrainedEncoder:
    """The frozen part of the network, with the weights of these files. Raises: CheckpointError."""
    encoder = PretrainedEncoder(cfg)
    published = zip((encoder.face, encoder.speech), _published(encoders))
    for own, theirs in ((encoder.pair, load_pair(Path(pair))[0]), *published):
        if own is not None:
            own.load_state_dict(theirs.state_dict())
    return encoder


def _published(encoders: str | None) -> tuple[FaceEncoder, SpeechEncoder]:
    return published_encoders() if encoders is None else load_encoders(Path(encoders))


@cache  # the lessons of all folds share what was read
@torch.inference_mode()
def read_clip(sample: Sample, cfg: MMMSBAConfig, encoders: str | None, pair: str) -> Clip:
    """All fields of Features of one encoded sample, without the batch; what it lacks is zero and masked.

    A clip shorter than a window is padded to one, as in the app: so its end looks as it will.
    """
    encoder, tensors = load_encoder(cfg, encoders, pair), sample.tensors()
    count = max(int(np.ceil(sample.duration_s / cfg.sequence_s - 0.5)), cfg.sequences)
    inside = (np.arange(count) + 0.5) * cfg.sequence_s < sample.duration_s
    told: dict[str, Tensor] = {}
    if "face" in cfg.parts:
        told |= encoder.face_features(*_faces(tensors, inside, cfg))
    if "lips" in cfg.parts:
        told |= encoder.lip_features(*_lips(tensors, inside, cfg))
    if "audio" in cfg.parts:
        told |= encoder.sound_features(*_sound(tensors, inside, cfg))
    return {name: (value if value.dtype == torch.bool else value.half())[0].numpy() for name, value in told.items()}


def _faces(tensors: dict[str, np.ndarray], inside: np.ndarray, cfg: MMMSBAConfig) -> tuple[Tensor, Tensor]:
    """(1, m, R, C) and (1, m, 1) bool"""
    known = tensors.get("faces", np.zeros((0, FaceEncoder.rows, FaceEncoder.dim), np.float16))
    regions = torch.zeros(1, len(inside), *known.shape[1:])
    seen = torch.zeros(1, len(inside), 1, dtype=torch.bool)
    if len(known):
        rows = np.round(tensors["face_times_s"] / cfg.sequence_s).astype(int)
        known, rows = known[rows < inside.sum()], rows[rows < inside.sum()]
        regions[0, rows] = torch.from_numpy(known).float()
        seen[0, rows] = True
    return regions, seen


def _lips(tensors: dict[str, np.ndarray], inside: np.ndarray, cfg: MMMSBAConfig) -> tuple[Tensor, Tensor]:
    """(1, m·k, 3, px, px) and (1, m, k) bool"""
    lips = np.zeros((len(inside) * cfg.lips, cfg.lips_px, cfg.lips_px, 3), np.uint8)
    seen = np.zeros(len(lips), bool)
    if "lips_end" in tensors:
        steps = np.round(tensors["times_s"] * STEP_HZ).astype(int)
        rows = np.flatnonzero(steps < inside.sum() * cfg.lips)
        for step, picture in zip(steps[rows], unpack_pictures(tensors, "lips", rows) if len(rows) else ()):
            lips[step] = cv2.resize(picture, (cfg.lips_px, cfg.lips_px), interpolation=cv2.INTER_AREA)
        seen[steps[rows]] = True
    return (torch.from_numpy(lips).permute(0, 3, 1, 2).float()[None] / 255,
            torch.from_numpy(seen).reshape(1, len(inside), cfg.lips))


def _sound(tensors: dict[str, np.ndarray], inside: np.ndarray, cfg: MMMSBAConfig) -> tuple[Tensor, Tensor, Tensor]:
    """(1, samples), (1, rows, 200) and (1, m) bool"""
    samples = round(len(inside) * cfg.sequence_s * AUDIO_HZ)
    audio = np.zeros(samples, np.float32)
    speech = np.zeros((samples // ROW_SAMPLES, SpeechEncoder.dim), np.float32)
    heard = np.zeros(len(inside), bool)
    if "speech" in tensors and len(tensors["speech"]):
        waveform, rows = tensors["waveform"][:samples], tensors["speech"][:len(speech)]
        audio[:len(waveform)] = waveform.astype(np.float32) / 32767
        speech[:len(rows)], speech[len(rows):] = rows, rows[-1]  # as PretrainedEncoder has it
        heard = inside & ((np.arange(len(inside)) + 0.5) * cfg.sequence_s * AUDIO_HZ < len(waveform))
    return tuple(torch.from_numpy(x)[None] for x in (audio, speech, heard))


def cut_clip(clip: Clip, first: int, sequences: int) -> Clip:
    """These sequences of a clip; after its end come zeros, masked."""
    found = {}
    for name, values in clip.items():
        part = values[first:first + sequences]
        found[name] = np.pad(part, [(0, sequences - len(part)), *[(0, 0)] * (values.ndim - 1)])
    return found


def _without(window: Clip, parts: Sequence[str], gone: slice = slice(None)) -> Clip:
    """The masks of these parts, False in these sequences."""
    masks = {name: window[name].copy() for part in parts if (name := f"{part}_there") in window}
    for mask in masks.values():
        mask[gone] = False
    return masks


def levelled(windows: list[Clip]) -> list[Clip]:
    """The same windows; where one has no picture, or no sound, the others have none either: that tells no class."""
    for parts in (PICTURE, ("audio",)):
        if not all(any(window[f"{part}_there"].any() for part in parts if part in window) for window in windows):
            windows = [window | _without(window, parts) for window in windows]
    return windows


def _anything(window: Clip) -> bool:
    return any(window[name].any() for name in ("face_there", "lips_there", "audio_there") if name in window)


def stack(windows: Sequence[Clip]) -> dict[str, Tensor]:
    """Windows -> one batch, (B, N, ...)."""
    return {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in windows[0]}


def to_features(batch: dict[str, Tensor | None]) -> Features:
    """The fields of Features in a batch, in single precision."""
    given = {name: batch[name] for name in Features._fields if name in batch}
    return Features(**{name: x if x.dtype == torch.bool else x.float() for name, x in given.items()})
