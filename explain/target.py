"""What is explained: one logit of a detector, as a function of how much of each part of the clip is there.

    presence in [0, 1] ─► recorded · presence + replacement · (1 - presence) ─► detector.logits ─► one head's logit

Presence is 1 where the clip is as recorded and 0 where its replacement (baselines.py) stands. It is held per pixel
and frame for the pictures, and per frequency bin and time step for the sound: the mixed spectrum is turned back into
a waveform inside the function, so a detector that reads a waveform gets a map over time and frequency. An
attribution to presence is the attribution to the pixels themselves, summed over colours: the mixture is linear, so
by the chain rule integrated gradients over presence from 0 to 1 are those over the pixels from the replacement to
the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from detectors.contract import Detector, Inputs
from detectors.recall import Memory, remembering
from explain.baselines import Baseline
from explain.sound import HOP_S, resynthesised, spectrum

PARTS = ("face", "lips", "audio")


class Cancelled(Exception):
    """The person who asked for the explanation no longer wants it."""


@dataclass(frozen=True)
class Target:
    """Windows of one clip and one head of one detector. n windows, all with the same modalities."""

    detector: Detector
    inputs: Inputs
    head: str
    baseline: Baseline
    start_s: np.ndarray  # [n]
    end_s: np.ndarray  # [n]
    should_stop: Callable[[], bool] = lambda: False
    track_id: int | None = None  # the face
    asked_s: tuple[float, float] | None = None  # of the clip: a readable map looks at no more; None: whole windows
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)  # of what encoders told of it

    def __len__(self) -> int:
        return len(self.start_s)

    @property
    def parts(self) -> tuple[str, ...]:
        """The modalities that these windows have, of PARTS."""
        held = (self.inputs.faces, self.inputs.lips, self.inputs.audio)
        return tuple(part for part, tensor in zip(PARTS, held) if tensor is not None)

    @property
    def device(self) -> torch.device:
        return next(t.device for t in self.inputs if t is not None)

    @property
    def rows(self) -> Tensor:
        """[n] the windows' own indices: what `logit` takes when each of them is wanted once."""
        return torch.arange(len(self), device=self.device)

    def moments_s(self, part: str) -> np.ndarray:
        """[T] seconds from the window's start of the part's frames or time steps. Sound that is repeated to fill a
        window lies where it was recorded."""
        spec = self.detector.spec
        length_s = float(self.end_s[0] - self.start_s[0]) if spec.stretch else spec.window_s
        if part == "audio":
            steps = np.arange(self.baseline.spectra.shape[1]) * HOP_S
            return np.minimum(steps, spec.window_s - 1e-6) % length_s
        frames = (self.inputs.faces if part == "face" else self.inputs.lips).shape[1]
        return np.arange(frames) * length_s / frames

    @property
    def length_s(self) -> float:
        """Of a window, as far as it lies in the clip."""
        return float((self.end_s - self.start_s).max())

    def logit(self, presence: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """[k] logit of window rows[i] as presence i shows it; a part that is not named is all there.

        presence: face and lips [k, frames, px, px], audio [k, T, BINS]. rows: [k] int64.
        Raises: Cancelled.
        """
        if self.should_stop():
            raise Cancelled
        # Of one window all rows are the same, in no more memory: what is not replaced need not be encoded for each.
        held = Inputs(*(None if t is None else t.expand(len(rows), *t.shape[1:]) if len(self) == 1 else t[rows]
                        for t in self.inputs))
        if "face" in presence:
            held = held._replace(faces=_mix(held.faces, self.baseline.faces[rows], presence["face"][:, :, None]))
        if "lips" in presence:
            held = held._replace(lips=_mix(held.lips, self.baseline.lips[rows], presence["lips"][:, :, None]))
        if "audio" in presence:
            change = (self.baseline.spectra[rows] - spectrum(held.audio)) * (1 - presence["audio"])
            held = held._replace(audio=resynthesised(held.audio, change))
        with remembering(self.memory):  # where little is replaced, most of what encoders hear and see stays the same
            return self.detector.logits(held)[self.head]

    def recorded(self) -> np.ndarray:
        """[n] logits as recorded."""
        with torch.no_grad():
            return self.logit({}, self.rows).double().cpu().numpy()


def _mix(recorded: Tensor, replacement: Tensor, presence: Tensor) -> Tensor:
    return torch.lerp(replacement, recorded, presence.expand_as(recorded))
