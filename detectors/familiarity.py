"""How far a clip lies from all that the detectors learnt from.

    moments of a face ─ FaceEncoder ─ inner textures ─┐
                                                      ├─ mean over the clip ─ whiten ─► (24,) ─ largest ─► distance
    4 s of sound ─ how restless its cepstra are ──────┘

A detector answers whatever it is shown. This tells when it was shown something else: its most unusual trait, in
deviations of the training clips. Compared with sources other than their own, 95 % of these lie within the limit
`usual`, and 99 % within `known`. Beyond the first, nothing is called MANIPULATED: the band in which a clip is only
SUSPICIOUS reaches up to certainty. Beyond the second, the modality is not judged at all. Detectors from outside, which
learnt from other clips, judge as they do.

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
from detectors.checkpoint import CHECKPOINTS, read_checkpoint
from detectors.contract import Detector, InputSpec, Windows
from detectors.encoders import FACE_PX, PIECE_S, FaceEncoder
from detectors.scoring import batches, to_inputs
from detectors.windows import cut_windows, window_starts
from media import AUDIO_HZ, Finding, PreparedClip, Quality, Reason

NAME = "familiarity"  # of its checkpoint
COMPONENTS = 24
# Moments that others look at as well: what the encoder tells of them is told once (detectors.recall).
SPEC = InputSpec(window_s=PIECE_S, hop_s=PIECE_S, frames=2, face_px=FACE_PX, audio_hz=AUDIO_HZ,
                 modalities=("video", "audio"), stretch=False)
MOST_WINDOWS = 8  # of a clip, evenly spread: more tell little more
READ = {"video": "faces", "audio": "sound"}  # what of a window's summaries tells of a modality
_NAMES = {"video": "face", "audio": "sound"}
MEASURES = {"video": "face_distance", "audio": "sound_distance"}  # where a clip's distances stand


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
        starts_s = window_starts(clip.duration_s, SPEC)
        some = np.unique(np.linspace(0, len(starts_s) - 1, MOST_WINDOWS).round().astype(int))
        told = [self._summaries(windows) for windows in cut_windows(clip, SPEC, starts_s[some])]
        faces = [one["faces"] for one in told if "faces" in one]
        return ({"video": torch.stack(faces)} if faces else {}) | (
            {"audio": told[0]["sound"][None]} if "sound" in told[0] else {})

    def _summaries(self, windows: Windows) -> dict[str, Tensor]:
        """"faces" and "sound" (D,): means over those of the windows that show them."""
        told: dict[str, list[Tensor]] = {}
        for rows in batches(windows, MOST_WINDOWS):
            inputs = to_inputs(windows, rows, self.beside.bank.device)
            regions = None
            if inputs.faces is not None:
                seen = inputs.face_seen
                regions = self.face_encoder(inputs.faces[seen])  # a moment without the face tells nothing
                for name, summary in self.beside.summaries(regions[:, None], None).items():
                    told.setdefault(name, []).append(summary)
            if inputs.audio is not None:
                told.setdefault("sound", []).append(self.beside.summaries(None, inputs.audio)["sound"])
        return {name: torch.cat(parts).mean(0) for name, parts in told.items()}

    def deviations(self, modality: str, summaries: Tensor) -> Tensor:
        """(n, D) -> (n,): of the component that is farthest out."""
        return self.beside.whiten(READ[modality], summaries).abs().amax(1)


@lru_cache(maxsize=1)
def load_familiarity() -> tuple[Familiarity, dict]:
    """The shipped one, and its card. Raises: CheckpointError."""
    state, card = read_checkpoint(CHECKPOINTS / f"{NAME}.safetensors")
    model = Familiarity()
    model.load_state_dict(state)
    return model, card


def measure_distances(clip: PreparedClip) -> dict[str, float]:
    """Modality ("video", "audio") -> its distance, of those that can be judged; of several faces that of the farthest,
    as the face that looks most manipulated decides. A still picture shows no clip's mean: nothing is said of it.

    Raises: CheckpointError.
    """
    if clip.info.still:
        return {}
    model, _ = load_familiarity()
    return {modality: round(model.deviations(modality, summaries).max().item(), 2)
            for modality, summaries in model.summaries(clip).items()}


def limits(modality: str) -> dict[str, float]:
    """Of its distance: "usual", within which 95 % of training clips lie, and "known", 99 %. Raises: CheckpointError."""
    return load_familiarity()[1]["limits"][modality]


def judge_familiarity(clip: PreparedClip) -> PreparedClip:
    """The clip with what is unlike training among its findings, and the distances among its measures.

    Raises: CheckpointError.
    """
    distances = measure_distances(clip)
    findings = tuple(_finding(name, value, **limits(name)) for name, value in distances.items()
                     if value > limits(name)["usual"])
    measures = {MEASURES[name]: value for name, value in distances.items()}
    return replace(clip, quality=Quality((*clip.quality.findings, *findings), {**clip.quality.measures, **measures}))


def _finding(modality: str, distance: float, usual: float, known: float) -> Finding:
    told = (f"The {_NAMES[modality]} is unlike what the detectors learnt from: its most unusual trait lies "
            f"{distance:.2f} deviations out, and 95 % of their clips lie within {usual:.2f}.")
    if distance > known:
        return Finding(Reason.UNLIKE_TRAINING, f"{told} Beyond {known:.2f} it is not judged.",
                       "Try the original file, or another recording.", frozenset({modality}))
    return Finding(Reason.UNLIKE_TRAINING, f"{told} A high score is called some signs at most.",
                   "Try the original file, or another recording.")


def is_unusual(findings: Iterable[Finding]) -> bool:
    """Something that is judged is unlike training."""
    return any(f.reason == Reason.UNLIKE_TRAINING and not f.blocks for f in findings)


def as_unusual_as(copy: PreparedClip, clip: PreparedClip) -> PreparedClip:
    """A copy with the clip's findings of this kind instead of its own: what one may not say, the other may not."""
    found = tuple(f for f in clip.quality.findings if f.reason == Reason.UNLIKE_TRAINING)
    return replace(copy, quality=Quality((*_others(copy), *found), copy.quality.measures))


def as_seen_by(detector: Detector, clip: PreparedClip) -> PreparedClip:
    """The clip without these findings for a detector from outside: what it learnt from is not known."""
    return replace(clip, quality=Quality(_others(clip), clip.quality.measures)) if "added" in detector.card else clip


def _others(clip: PreparedClip) -> tuple[Finding, ...]:
    return tuple(f for f in clip.quality.findings if f.reason != Reason.UNLIKE_TRAINING)
