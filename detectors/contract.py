"""The contract between clips and detectors. A score is P(fake) in [0, 1]: higher means more fake, always."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from detectors.memory import Memory
from media import ClipInfo, Finding

MODALITIES = ("video", "audio", "sync")


class Verdict(str, Enum):
    """Never "real": absence of signs is not proof."""

    MANIPULATED = "MANIPULATED"
    SUSPICIOUS = "SUSPICIOUS"
    NO_SIGNS = "NO_SIGNS"
    CANNOT_EVALUATE = "CANNOT_EVALUATE"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class InputSpec:
    """What a detector reads of a clip, per window."""

    window_s: float
    hop_s: float
    frames: int  # face frames per window, evenly spaced
    face_px: int
    audio_hz: int
    modalities: tuple[str, ...]  # subset of ("video", "audio")
    lips: int = 0  # lip crops per window, evenly spaced, of lips_px
    lips_px: int | None = None
    stretch: bool = True  # a shorter clip is sampled more densely and its sound repeated; False: padded with nothing
    least_face_share: float = 0.8  # of a window's frames that must show the face for it to be judged
    stills: bool = False  # a single picture says something to it; False: it judges movement, and abstains

    @property
    def fps(self) -> float:
        return self.frames / self.window_s

    @property
    def samples(self) -> int:
        return round(self.window_s * self.audio_hz)


@dataclass(frozen=True)
class Windows:
    """A clip (one face track of it) cut to an InputSpec. n windows."""

    start_s: np.ndarray  # [n]
    end_s: np.ndarray  # [n]
    faces: np.ndarray | None  # [n, frames, face_px, face_px, 3] uint8; rows without a face are zero and masked
    has_face: np.ndarray  # [n] bool
    audio: np.ndarray | None  # [n, samples] float32
    has_audio: np.ndarray  # [n] bool
    track_id: int | None = None
    face_seen: np.ndarray | None = None  # [n, frames] bool: False where a crop is zero or stands in for another moment
    lips: np.ndarray | None = None  # [n, lips, lips_px, lips_px, 3] uint8, where the spec asks for lips
    lips_seen: np.ndarray | None = None  # [n, lips] bool
    heard_s: np.ndarray | None = None  # [n] seconds until a window's sound ends; None: with the window


class Inputs(NamedTuple):
    """A batch of windows as tensors on a device; a modality that is missing from all of them is None."""

    faces: Tensor | None = None  # [n, frames, 3, face_px, face_px] float in [0, 1]
    lips: Tensor | None = None  # [n, lips, 3, lips_px, lips_px] float in [0, 1]
    audio: Tensor | None = None  # [n, samples] float
    face_seen: Tensor | None = None  # [n, frames] bool; None: all of them
    lips_seen: Tensor | None = None  # [n, lips] bool; None: all of them
    length_s: Tensor | None = None  # [n] seconds of the window that lie inside the clip; None: all of it
    heard_s: Tensor | None = None  # [n] seconds of it until the sound ends, before or with the clip; None: length_s

    @property
    def sound_s(self) -> Tensor | None:
        """heard_s, or what stands for it."""
        return self.length_s if self.heard_s is None else self.heard_s


@dataclass(frozen=True)
class WindowScores:
    """Scores of one track over time. A modality is None when the paper has no such head; NaN where a span lacks
    the modality. Spans are the windows that were scored, or finer parts of them where a detector tells those."""

    start_s: np.ndarray  # [n]
    end_s: np.ndarray  # [n]
    video: np.ndarray | None  # [n]
    audio: np.ndarray | None  # [n]
    sync: np.ndarray | None  # [n]
    whole: np.ndarray | None  # [n]
    track_id: int | None = None
    proposals: tuple[Segment, ...] | None = None  # a detector's own segments; None: they follow from the curves
    offset_s: float | None = None  # by which the sound comes after the picture, estimated; None: not told


@dataclass(frozen=True)
class Segment:
    """A span that a detector marks as manipulated."""

    start_s: float
    end_s: float
    score: float
    modality: str  # "video" | "audio" | "sync"
    track_id: int | None = None

    def to_json(self) -> dict:
        return {
            "start_s": round(self.start_s, 2),
            "end_s": round(self.end_s, 2),
            "score": round(self.score, 4),
            "modality": self.modality,
            "track": self.track_id,
        }


@dataclass(frozen=True)
class Thresholds:
    """Operating points on a calibrated P(fake), and the hysteresis that turns a curve into segments."""

    manipulated: float  # a clip score at or above it: MANIPULATED; 1: none is
    suspicious: float  # at or above it, below `manipulated`: SUSPICIOUS
    segment_on: float = 0.5  # a segment opens at or above it ...
    segment_off: float = 0.35  # ... and closes below it
    min_segment_s: float = 0.5
    min_gap_s: float = 0.5


@dataclass(frozen=True)
class Analysis:
    """One detector's answer about one clip."""

    clip: ClipInfo
    detector: str
    checkpoint: str  # "sha256:..."
    provisional: bool  # weights whose card calls them weak
    score: float | None  # P(fake) of the whole clip; None when nothing could be judged
    video: float | None
    audio: float | None
    sync: float | None
    verdict: Verdict
    segments: tuple[Segment, ...]
    windows: tuple[WindowScores, ...]  # one per face track, or one without a track (sound alone)
    findings: tuple[Finding, ...]
    thresholds: Thresholds
    seconds: float  # time the scoring took
    whole: float | None = None  # the score without `sync`: that picture or sound is manipulated
    offset_s: float | None = None  # by which the sound comes after the picture of the main face, where it is told
    memory: Memory | None = None  # that the scoring took

    def to_json(self) -> dict:
        rounded = {name: _round(getattr(self, name)) for name in ("score", "video", "audio", "sync")}
        return {
            **rounded,
            "offset_s": None if self.offset_s is None else round(self.offset_s, 2),
            "verdict": str(self.verdict),
            "provisional": self.provisional,
            "segments": [s.to_json() for s in self.segments],
            "windows": [_window_scores_json(w) for w in self.windows],
            "reasons": [str(f.reason) for f in self.findings],
            "thresholds": asdict(self.thresholds),
            "checkpoint": self.checkpoint,
        }


class Detector(Protocol):
    """What every detector gives. Built by detectors.load(); scoring never changes its state.

    A detector from outside (detectors.guests) may leave out `model` and `logits`: it scores, and is not explained.
    """

    id: str
    spec: InputSpec
    card: dict  # the checkpoint's metadata: architecture, data, results, thresholds ...
    model: torch.nn.Module  # in eval mode

    def score(self, windows: Windows) -> WindowScores: ...

    def logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Head ("video", "audio", "sync", "whole") -> calibrated logit of P(fake) [n], differentiable in the inputs.

        Heads that need a missing modality are absent. sigmoid(logit) is what score() tells of the same windows;
        where score() tells finer parts of a window, the logit is one for the window, of its most suspicious part.
        """
        ...


def _round(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def _window_scores_json(scores: WindowScores) -> dict:
    return {
        "track": scores.track_id,
        "start_s": [round(float(t), 2) for t in scores.start_s],
        "end_s": [round(float(t), 2) for t in scores.end_s],
        **{
            name: None if (values := getattr(scores, name)) is None else [_round(v) for v in values]
            for name in (*MODALITIES, "whole")
        },
    }
