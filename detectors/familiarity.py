"""How far a clip lies from all that the detectors learnt from.

    moments of a face ─ FaceEncoder ─ inner textures ─┐
                                                      ├─ mean over the clip ─ whiten ─► (24,) ─ largest ─► distance
    4 s of sound ─ how restless its cepstra are ──────┘

A detector answers whatever it is shown. This tells when it was shown something else: its most unusual trait, in
deviations of the training clips. Compared with sources other than their own, 95 % of these lie within the limit
`usual`, and 99 % within `known`. Where picture or sound is beyond the first, nothing is called MANIPULATED: the band in
which a clip is only SUSPICIOUS reaches up to certainty. Beyond the second, it is not judged at all. Of several faces
the farthest decides on the first, and the nearest on the second. Detectors from outside, which learnt from other clips,
judge as they do.

It does not know how to tell manipulation, and takes no part in a score. training.familiarity makes its checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from detectors.beside import Beside
from detectors.checkpoint import CHECKPOINTS, read_card, read_checkpoint
from detectors.contract import Detector, InputSpec, Windows
from detectors.encoders import FACE_PX, PIECE_S, FaceEncoder
from detectors.scoring import to_inputs
from detectors.windows import cut_windows
from media import AUDIO_HZ, Finding, PreparedClip, Quality, Reason

CHECKPOINT = CHECKPOINTS / "familiarity.safetensors"
COMPONENTS = 24
# Moments that others look at as well: what the encoder tells of them is told once (detectors.recall).
SPEC = InputSpec(window_s=PIECE_S, hop_s=PIECE_S, frames=2, face_px=FACE_PX, audio_hz=AUDIO_HZ,
                 modalities=("video", "audio"), least_face_share=0.5, stretch=False)
MOST_WINDOWS = 8  # of those that show a modality, evenly spread: more tell little more
READ = {"video": "faces", "audio": "sound"}  # what of a window's summaries tells of a modality
MEASURES = {"video": "face_distance", "audio": "sound_distance"}  # where a clip's distances stand
_UNLIKE = {"video": "looks unlike those", "audio": "is unlike those"}


class Familiarity(nn.Module):
    """Summaries of a clip, and how far these lie from those it was fitted to. In evaluation mode, as it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder = FaceEncoder()
        self.beside = Beside(COMPONENTS)
        self.eval()

    @torch.inference_mode()
    def summaries(self, clip: PreparedClip) -> dict[str, Tensor]:
        """Modality -> (n, D), n being one for the sound and the number of faces that are seen for the picture; those
        that can be judged. Of each, the mean over MOST_WINDOWS at most."""
        tracks = cut_windows(clip, SPEC)
        faces = [self._face(windows, rows) for windows in tracks if len(rows := _spread(windows.has_face))]
        sound = [self._sound(tracks[0], rows)] if len(rows := _spread(tracks[0].has_audio)) else []
        return {name: torch.stack(told) for name, told in (("video", faces), ("audio", sound)) if told}

    def _face(self, windows: Windows, rows: np.ndarray) -> Tensor:
        """(D,)"""
        inputs = to_inputs(replace(windows, has_audio=np.zeros_like(windows.has_audio)), rows, self.beside.bank.device)
        regions = self.face_encoder(inputs.faces[inputs.face_seen])  # a moment without the face tells nothing
        return self.beside.summaries(regions[:, None], None)["faces"].mean(0)

    def _sound(self, windows: Windows, rows: np.ndarray) -> Tensor:
        """(D,)"""
        inputs = to_inputs(replace(windows, has_face=np.zeros_like(windows.has_face)), rows, self.beside.bank.device)
        return self.beside.summaries(None, inputs.audio)["sound"].mean(0)

    def deviations(self, modality: str, summaries: Tensor) -> Tensor:
        """(n, D) -> (n,): of the component that is farthest out."""
        return self.beside.whiten(READ[modality], summaries).abs().amax(1)


def _spread(shown: np.ndarray) -> np.ndarray:
    """Rows [at most MOST_WINDOWS] of those windows that show something, shown [n] bool."""
    rows = np.flatnonzero(shown)
    return rows[np.unique(np.linspace(0, len(rows) - 1, MOST_WINDOWS).round().astype(int))] if len(rows) else rows


@lru_cache(maxsize=1)
def load_familiarity() -> Familiarity:
    """The shipped one. Raises: CheckpointError."""
    model = Familiarity()
    model.load_state_dict(read_checkpoint(CHECKPOINT)[0])
    return model


@lru_cache(maxsize=1)
def _limits() -> dict[str, dict[str, float]]:
    return read_card(CHECKPOINT)["limits"]


def limits(modality: str) -> dict[str, float]:
    """Of its distance: "usual", within which 95 % of training clips lie, and "known", 99 %. Raises: CheckpointError."""
    return _limits()[modality]


def measure_distances(clip: PreparedClip) -> dict[str, list[float]]:
    """Modality ("video", "audio") -> distances, one for the sound and one for each face that is seen; of those that can
    be judged. A still picture shows no clip's mean: nothing is said of it.

    Raises: CheckpointError.
    """
    if clip.info.still:
        return {}
    model = load_familiarity()
    return {modality: [round(distance, 2) for distance in model.deviations(modality, summaries).tolist()]
            for modality, summaries in model.summaries(clip).items()}


def judge_familiarity(clip: PreparedClip) -> PreparedClip:
    """The clip with what is unlike training among its findings, and the distances among its measures: of several faces
    that of the farthest.

    Raises: CheckpointError.
    """
    distances = measure_distances(clip)
    findings = tuple(_finding(name, told, **limits(name)) for name, told in distances.items()
                     if max(told) > limits(name)["usual"])
    measures = {MEASURES[name]: max(told) for name, told in distances.items()}
    return replace(clip, quality=Quality((*_others(clip), *findings), {**clip.quality.measures, **measures}))


def _finding(modality: str, distances: list[float], usual: float, known: float) -> Finding:
    what = "The sound" if modality == "audio" else "The face" if len(distances) == 1 else "A face"
    told = (f"{what} {_UNLIKE[modality]} that Telltale's own detectors learnt from: it lies {max(distances):.2f} away, "
            f"where 95 in 100 of their clips stay within {usual:.2f}.")
    most = "call the clip some signs at most"
    remedy = "Try the original file, or another recording."
    if min(distances) <= known:
        return Finding(Reason.UNLIKE_TRAINING, f"{told} They {most}.", remedy)
    part = "sound" if modality == "audio" else "picture"
    return Finding(Reason.UNLIKE_TRAINING, f"{told} Beyond {known:.2f} they do not judge the {part}, and {most}.",
                   remedy, frozenset({modality}))


def is_unusual(findings: Iterable[Finding]) -> bool:
    """Picture or sound is unlike training."""
    return any(f.reason == Reason.UNLIKE_TRAINING for f in findings)


def as_unusual_as(copy: PreparedClip, clip: PreparedClip) -> PreparedClip:
    """A copy with the clip's findings of this kind instead of its own: what one may not say, the other may not."""
    found = tuple(f for f in clip.quality.findings if f.reason == Reason.UNLIKE_TRAINING)
    return replace(copy, quality=Quality((*_others(copy), *found), copy.quality.measures))


def as_seen_by(detector: Detector, clip: PreparedClip) -> PreparedClip:
    """The clip without these findings for a detector from outside: what it learnt from is not known."""
    return replace(clip, quality=Quality(_others(clip), clip.quality.measures)) if "added" in detector.card else clip


def _others(clip: PreparedClip) -> tuple[Finding, ...]:
    return tuple(f for f in clip.quality.findings if f.reason != Reason.UNLIKE_TRAINING)
