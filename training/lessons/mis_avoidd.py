"""The lesson of MIS-AVoiDD: windows of encoded clips, each fake beside the genuine clip that it was made of.

It reads what training.encode wrote. Encoded clips are held in memory, in half precision, so that a step costs what
the small network costs. Every batch has one presence of modalities: that of "picture" and of "sound" alone is what
teaches the network to do without the other one (modality dropout).

A window starts at a multiple of 0.32 s, where a face was encoded. The speech encoder heard the clip in pieces of its
own, not the window; but a window is as long as a piece, so it holds each place of a piece once, as in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from detectors.contract import MODALITIES, InputSpec, WindowScores
from detectors.encoders import STEP_S, FaceEncoder, SpeechEncoder, rows_of, to_half
from detectors.mis_avoidd import (
    SHIPPED,
    SHIPPED_SPEC,
    Features,
    LossWeights,
    MISAVoiDD,
    MISAVoiDDConfig,
    MISAVoiDDDetector,
    band_frames,
    filter_bank,
    log_bands,
    mis_avoidd_loss,
)
from detectors.windows import LEAST_SPEECH_S
from media import GRID_HZ
from training.encode import check_encoders
from training.labels import labels_between
from training.lessons import Batch, Lesson
from training.lessons.ss_avd import PRESENT, Presence
from training.pretrained import load_encoders, published_encoders
from training.recipe import Recipe, Section
from training.sampling import Counterparts, Pool, Sample, spread_starts
from training.shards import unpack_pictures
from training.start import Row, as_rows, learnt_from, start_heads

FITTED_WINDOWS = 4  # of a clip: whitening and the heads' first weights come from these
SCORED_AT_ONCE = 256  # windows
LEAST_SOUND_S = 0.5  # of a window that must lie inside the clip, as in detectors.windows
BANDS_PER_STEP, ROWS_PER_STEP = round(100 * STEP_S), round(50 * STEP_S)


class Losses(Section):
    """detectors.mis_avoidd.LossWeights."""

    heads: float = Field(ge=0)
    orthogonal: float = Field(ge=0)
    similarity: float = Field(ge=0)
    invariant: float = Field(ge=0)
    smoothing: float = Field(ge=0, lt=1)
    pull: Literal["genuine", "all"]


class MISAVoiDDPart(Section):
    encoders: str | None = None  # folder of training.pretrained; without it, the weights of the installed packages
    presence: Presence
    forged_share: float = Field(ge=0, le=1)  # of the fakes: made by training.forge; the others are published ones
    feature_dropout: float = Field(ge=0, lt=1)
    codes: Literal["both", "specific", "invariant"] = "both"
    fusion: Literal["attention", "concat"] = "attention"
    lips: int = Field(default=0, ge=0)  # crops a window; more than 0 makes them the third modality
    losses: Losses


class MISAVoiDDRecipe(Recipe):
    detector: Literal["mis_avoidd"]
    lesson: MISAVoiDDPart


# ---- encoded clips ----------------------------------------------------------------------------------------------


class Places(NamedTuple):
    """Windows of one clip, at k starts."""

    start: np.ndarray  # [k] int, in steps of STEP_S
    has_face: np.ndarray  # [k] bool, by the rules of detectors.windows, as the next one
    has_voice: np.ndarray  # [k] bool

    def fit(self, kind: str) -> np.ndarray:
        """[k] bool: what batches of this kind show can be judged."""
        return ((self.has_face | ("video" not in PRESENT[kind])) & (self.has_voice | ("audio" not in PRESENT[kind])))


@dataclass(frozen=True)
class Clip:
    """An encoded clip in memory. A modality that cannot be judged has no rows."""

    sample: Sample
    face_steps: np.ndarray  # [m] int, ascending: moments that show the face, in steps of STEP_S
    faces: np.ndarray  # [m, values] float16
    bands: np.ndarray  # [T, filters] float16, 100 a second
    speech: np.ndarray  # [S, values] float16, 50 a second

    def places(self, starts: np.ndarray, spec: InputSpec) -> Places:
        end_s = np.minimum(starts * STEP_S + spec.window_s, self.sample.duration_s)
        moments = starts[:, None] + np.arange(spec.frames)  # [k, frames]
        inside = moments * STEP_S < end_s[:, None]
        seen = (np.isin(moments, self.face_steps) & inside).sum(axis=1)
        has_face = (seen > 0) & (seen >= spec.least_face_share * inside.sum(axis=1))
        voice_s = sum((np.clip(np.minimum(end_s, until_s) - np.maximum(starts * STEP_S, begin_s), 0, None)
                       for begin_s, until_s in self.sample.voice_s), np.zeros(len(starts)))
        has_voice = (voice_s >= LEAST_SPEECH_S) & (end_s - starts * STEP_S >= LEAST_SOUND_S) & bool(len(self.bands))
        return Places(starts, has_face, has_voice)

    def labels(self, starts: np.ndarray, spec: InputSpec) -> dict[str, np.ndarray]:
        end_s = np.minimum(starts * STEP_S + spec.window_s, self.sample.duration_s)
        return labels_between(self.sample, starts * STEP_S, end_s)

    def all_starts(self, spec: InputSpec) -> np.ndarray:
        """[k]: every step at which a window ends inside the clip; a clip shorter than a window has one."""
        return np.arange(max(int((self.sample.duration_s - spec.window_s) / STEP_S + 1e-6), 0) + 1)


def read_clip(sample: Sample, bank: Tensor, cfg: MISAVoiDDConfig) -> Clip:
    """What training.encode kept of a sample, and this network reads; bank (frequencies, filters) as
    detectors.mis_avoidd.filter_bank."""
    tensors = sample.tensors()
    face_steps, faces = np.zeros(0, int), cfg.read_faces(np.zeros((0, FaceEncoder.rows, FaceEncoder.dim), np.float16))
    bands = np.zeros((0, bank.shape[1]), np.float16)
    speech = np.zeros((0, SpeechEncoder.dim), np.float16)
    # Rows are copied out: what is read is a view of the whole sample, lips and all.
    if sample.shows_face and "faces" in tensors:
        near = _nearest(tensors["times_s"], tensors["face_times_s"])[1]
        face_steps = np.round(tensors["face_times_s"][near] / STEP_S).astype(int)
        faces = cfg.read_faces(tensors["faces"][near])
    if sample.has_voice and "speech" in tensors:
        waveform = torch.from_numpy(tensors["waveform"].astype(np.float32) / 32767)
        bands, speech = log_bands(waveform[None], bank)[0].half().numpy(), tensors["speech"].copy()
    return Clip(sample, face_steps, faces, bands, speech)


def _nearest(times_s: np.ndarray, wanted_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of the crop nearest to each moment [k], and whether it is near enough to show it, as detectors.windows
    has it [k] bool."""
    rows = np.abs(times_s - wanted_s[:, None]).argmin(axis=1)
    return rows, np.abs(times_s[rows] - wanted_s) < 1.5 / GRID_HZ


def cut_features(rows: Sequence[tuple[Clip, int]], spec: InputSpec, kind: str) -> dict[str, Tensor | None]:
    """Windows (clip, start) of a kind as the fields of Features, n = len(rows); lips as bytes.

    They are what `MISAVoiDD.encode` makes of the same windows, rounded to half precision.
    """
    found = dict.fromkeys(Features._fields)
    if "video" in PRESENT[kind]:
        found |= _stacked(_cut_faces(clip, start, spec) for clip, start in rows)
        if spec.lips:
            found |= _stacked(_cut_lips(clip, start, spec) for clip, start in rows)
    if "audio" in PRESENT[kind]:
        found |= _stacked(_cut_sound(clip, start, spec) for clip, start in rows)
    return found


def _stacked(windows: Iterable[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    windows = list(windows)
    return {name: torch.from_numpy(np.stack([w[name] for w in windows])) for name in windows[0]}


def _cut_faces(clip: Clip, start: int, spec: InputSpec) -> dict[str, np.ndarray]:
    first, last = np.searchsorted(clip.face_steps, (start, start + spec.frames))
    places = clip.face_steps[first:last] - start
    faces, seen = np.zeros((spec.frames, clip.faces.shape[1]), np.float16), np.zeros(spec.frames, bool)
    faces[places], seen[places] = clip.faces[first:last], True
    return {"faces": faces, "face_seen": seen}


def _cut_sound(clip: Clip, start: int, spec: InputSpec) -> dict[str, np.ndarray]:
    bands, seen = _padded(clip.bands[start * BANDS_PER_STEP:], band_frames(spec.samples))
    speech, _ = _padded(clip.speech[start * ROWS_PER_STEP:], rows_of(spec.samples))
    return {"bands": bands, "bands_seen": seen, "speech": speech}


def _padded(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first so many rows [count, D], zeros where there are no more; and which are there [count]."""
    there = min(len(rows), count)
    return np.pad(rows[:there], ((0, count - there), (0, 0))), np.arange(count) < there


def _cut_lips(clip: Clip, start: int, spec: InputSpec) -> dict[str, np.ndarray]:
    """Read from the shard: pictures would not fit into memory."""
    tensors = clip.sample.tensors()
    wanted_s = start * STEP_S + np.arange(spec.lips) * spec.window_s / spec.lips
    rows, seen = _nearest(tensors["times_s"], np.round(wanted_s * GRID_HZ) / GRID_HZ)
    lips = np.zeros((spec.lips, spec.lips_px, spec.lips_px, 3), np.uint8)
    for place in np.flatnonzero(seen):
        [crop] = unpack_pictures(tensors, "lips", [rows[place]])
        lips[place] = cv2.resize(crop, (spec.lips_px, spec.lips_px), interpolation=cv2.INTER_AREA)
    return {"lips": lips.transpose(0, 3, 1, 2), "lips_seen": seen}


def to_features(batch: Batch) -> Features:
    lips = batch["lips"]
    return Features(**{name: batch[name] for name in Features._fields if name != "lips"},
                    lips=None if lips is None else lips.float() / 255)


# ---- the lesson -------------------------------------------------------------------------------------------------


class MISAVoiDDLesson(Lesson):
    """Noises are not used: the sound was encoded before."""

    schema = MISAVoiDDRecipe
    reads_encoded = True

    def __init__(self, recipe: MISAVoiDDRecipe, samples: Sequence[Sample], noises: Sequence[np.ndarray] = ()) -> None:
        """Raises: ValueError where a class is missing, or where other encoders than the recipe's wrote the samples;
        MissingPackage and CheckpointError as training.pretrained."""
        super().__init__(recipe, samples, noises)
        part = recipe.lesson
        self.config = replace(SHIPPED, codes=part.codes, fusion=part.fusion, lips=part.lips,
                              feature_dropout=part.feature_dropout)
        self.spec = replace(SHIPPED_SPEC, lips=part.lips, lips_px=self.config.lips_px if part.lips else None)
        folder = None if part.encoders is None else Path(part.encoders)
        face_encoder, speech_encoder = published_encoders() if folder is None else load_encoders(folder)
        check_encoders({s.folder for s in samples}, face_encoder, speech_encoder)
        self.model = MISAVoiDD(self.config, face_encoder, speech_encoder)
        self._weights = LossWeights(**part.losses.model_dump())
        self._bank = filter_bank(self.config.filter_scale, self.config.filters)
        self._clips: dict[tuple[Path, str], Clip] = {}
        self._pools = {kind: _Pools(kind, [self._clip(s) for s in samples], self.spec)
                       for kind, share in part.presence if share}
        self._start()

    def _clip(self, sample: Sample) -> Clip:
        name = sample.folder, sample.key
        if name not in self._clips:
            self._clips[name] = read_clip(sample, self._bank, self.config)
        return self._clips[name]

    def _start(self) -> None:
        """Whitening and the heads' first weights, from some windows of every clip as it is."""
        rows = [row for sample in learnt_from(self.samples) for row in self._rows_of(self._clip(sample))]
        start_heads(rows, self.model.whitening, self.model.start_head)

    @torch.no_grad()
    def _rows_of(self, clip: Clip) -> list[Row]:
        """What the frozen networks tell of some windows of a clip."""
        starts = np.unique(self._at(spread_starts(clip.sample, self.spec, FITTED_WINDOWS)))
        places, shown = clip.places(starts, self.spec), {}
        for name, kind, there in (("faces", "picture", places.has_face), ("sound", "sound", places.has_voice)):
            if there.any():
                cut = cut_features([(clip, start) for start in starts[there]], replace(self.spec, lips=0), kind)
                shown[name] = there, self.model.summaries(to_features(cut))[name]
        return as_rows(shown, clip.labels(starts, self.spec), clip.sample.source)

    def _at(self, starts_s: np.ndarray) -> np.ndarray:
        """Seconds -> steps of STEP_S."""
        return np.floor(starts_s / STEP_S + 1e-6).astype(int)

    def _draw_pair(self, kind: str, *seed: int) -> list[tuple[Clip, int]]:
        """A genuine window and a fake one, (clip, start)."""
        rng = np.random.default_rng((self.recipe.seed, *seed))
        return [(self._clip(sample), start)
                for sample, start in self._pools[kind].draw_pair(rng, self.recipe.lesson.forged_share)]

    # ---- what a batch is ----------------------------------------------------------------------------------------

    def batch(self, step: int, rank: int, ranks: int) -> Batch:
        """The fields of detectors.mis_avoidd.Features, n rows, and video_fake, audio_fake, sync_fake (n,): NaN where
        unknown or not shown."""
        kind = self.recipe.lesson.presence.draw(self.recipe.seed, step)
        rows = [row for pair in range(rank, self.recipe.batch // 2, ranks)
                for row in self._draw_pair(kind, 1, step, pair)]
        labels = [clip.labels(np.array([start]), self.spec) for clip, start in rows]
        shown = (*PRESENT[kind], "sync") if kind == "both" else PRESENT[kind]
        return {**cut_features(rows, self.spec, kind),
                **{f"{name}_fake": torch.tensor([float(label[name][0]) if name in shown else np.nan
                                                 for label in labels]) for name in MODALITIES}}

    # ---- what it is asked for -----------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        out = self.model.tell(to_features(batch))
        return mis_avoidd_loss(out, *(batch[f"{name}_fake"] for name in MODALITIES), self._weights)

    # ---- what comes of it ---------------------------------------------------------------------------------------

    def card(self) -> dict:
        return {"architecture": asdict(self.config), "input_spec": asdict(self.spec)}

    def detector(self, model: MISAVoiDD) -> MISAVoiDDDetector:
        return MISAVoiDDDetector(model, self.card(), self.spec, next(model.parameters()).device)

    def weights(self, model: MISAVoiDD) -> dict[str, Tensor]:
        """The encoders in half precision, as training.pretrained has them; what was trained as it is."""
        state = model.state_dict()
        frozen = {name for name in state if name.startswith(("face_encoder.", "speech_encoder."))}
        return {**state, **to_half({name: state[name] for name in frozen})}

    @torch.inference_mode()
    def scores(self, model: MISAVoiDD, samples: Sequence[Sample], windows: int) -> list[tuple[Sample, WindowScores]]:
        """From the encoded samples. The app's last window ends with the clip; here it starts at the step before."""
        device = next(model.parameters()).device
        model.eval()
        found: list[tuple[Sample, WindowScores]] = []
        rows: dict[str, list[tuple[Clip, int, WindowScores, int]]] = {kind: [] for kind in PRESENT}
        for sample in samples:
            clip, starts_s = self._clip(sample), spread_starts(sample, self.spec, windows)
            places = clip.places(self._at(starts_s), self.spec)
            if not (places.has_face | places.has_voice).any():
                continue
            start_s = places.start * STEP_S
            nothing = [np.full(len(start_s), np.nan) for _ in range(3)]
            told = WindowScores(start_s, np.minimum(start_s + self.spec.window_s, sample.duration_s),
                                video=nothing[0], audio=nothing[1], sync=None, whole=nothing[2])
            found.append((sample, told))
            for place, (start, face, voice) in enumerate(zip(*places)):
                if face or voice:
                    kind = "both" if face and voice else "picture" if face else "sound"
                    rows[kind].append((clip, int(start), told, place))
        for kind, group in rows.items():
            for first in range(0, len(group), SCORED_AT_ONCE):
                part = group[first:first + SCORED_AT_ONCE]
                batch = cut_features([(clip, start) for clip, start, _, _ in part], self.spec, kind)
                out = model.tell(to_features({k: v if v is None else v.to(device) for k, v in batch.items()}))
                for head in ("video", "audio", "whole"):
                    if (logit := getattr(out, head)) is not None:
                        for (_, _, told, place), score in zip(part, logit.sigmoid().tolist()):
                            getattr(told, head)[place] = score
        return found


class _Pools:
    """The windows that serve for batches of one kind.

    Raises: ValueError when a class is missing.
    """

    def __init__(self, kind: str, clips: Iterable[Clip], spec: InputSpec) -> None:
        self._starts: dict[tuple[Path, str], np.ndarray] = {}  # of a sample, where its windows are of its class
        real, fake = [], []
        for clip in clips:
            sample, places = clip.sample, clip.places(clip.all_starts(spec), spec)
            labels = clip.labels(places.start, spec)
            shown = np.stack([labels[name] for name in PRESENT[kind]])  # [modalities, k]
            if any(getattr(sample, f"{name}_fake") == 1 for name in PRESENT[kind]):
                group, right = fake, (shown == 1).any(axis=0)
            elif kind == "both" and sample.sync_fake == 1:
                continue  # its parts are genuine, but not together
            else:
                group, right = real, (shown == 0).all(axis=0)
            if (right := right & places.fit(kind)).any():
                group.append(sample)
                self._starts[sample.folder, sample.key] = places.start[right]
        for name, found in (("genuine", real), ("fake", fake)):
            if not found:
                raise ValueError(f"there is no {name} window with {' and '.join(PRESENT[kind])} to learn from")
        self._counterparts = Counterparts(real)
        self._forged, self._published = (Pool(s for s in fake if bool(s.forged) == made) for made in (True, False))

    def draw_pair(self, rng: np.random.Generator, forged_share: float) -> tuple[tuple[Sample, int], tuple[Sample, int]]:
        """A genuine window and a fake one, (sample, start): of the fake's original where there is one, and where both
        went through the same chain at the same moment."""
        first, second = (self._forged, self._published)
        if rng.random() >= forged_share:
            first, second = second, first
        fake = (first or second).draw(rng)
        real = self._counterparts.draw(fake, rng)
        fake_start, starts = rng.choice(self._starts[fake.folder, fake.key]), self._starts[real.folder, real.key]
        same = real.group == fake.group and fake_start in starts
        return (real, int(fake_start if same else rng.choice(starts))), (fake, int(fake_start))
