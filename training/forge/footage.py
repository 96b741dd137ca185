"""What a forgery takes and gives: whole footage in memory, and the truth about what was done to it.

A forgery is a function `(Footage, rng) -> (Footage, Truth)`. It draws from `rng` alone, leaves its input untouched,
and keeps the frame count, the frame size and the length of the sound, so that forgeries compose and can be limited to
a span of time. Footage that it cannot work on (no face, no voice) raises Unsuitable, in words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from media import AUDIO_HZ

MODALITIES = ("video", "audio", "sync")
JOIN_S = 0.02  # sound of a limited forgery is faded in and out over this, as an editor would


class Unsuitable(ValueError):
    """This footage does not hold what the forgery needs."""


@dataclass(frozen=True)
class Footage:
    """A clip before any crop. Either frames or sound may be missing, never both."""

    clip_id: str  # of the genuine clip; a forgery keeps it
    frames: np.ndarray | None  # [n, H, W, 3] uint8 RGB, as shown on a display; H and W even
    times_s: np.ndarray | None  # [n] presentation times, starting near 0
    sound: np.ndarray | None  # [samples] float32 in [-1, 1], mono at 16 kHz, sample 0 at 0 s
    landmarks: np.ndarray | None = None  # [n, 468, 2] float32 px (MediaPipe's mesh); NaN in frames without a face

    @property
    def duration_s(self) -> float:
        picture_s = 0.0 if self.frames is None else float(self.times_s[-1] + np.median(np.diff(self.times_s)))
        return max(picture_s, 0.0 if self.sound is None else len(self.sound) / AUDIO_HZ)


@dataclass(frozen=True)
class Span:
    """Seconds in which one modality was manipulated."""

    start_s: float
    end_s: float
    modality: str  # one of MODALITIES; "sync": sound and picture do not belong together


@dataclass(frozen=True)
class Truth:
    """What was done, exactly. A genuine clip has no spans, no region and no steps."""

    pair: str  # clip_id of the genuine clip that all versions share
    spans: tuple[Span, ...] = ()
    region: np.ndarray | None = None  # [n, H, W] uint8: share of each pixel that was replaced, 255 = all
    steps: tuple[tuple[str, dict], ...] = ()  # (family, drawn parameters), in order; JSON-able
    identities: tuple[str, ...] = ()  # people whose face or voice was brought in

    @property
    def labels(self) -> dict[str, float]:
        """video, audio, sync: 1 where that modality was manipulated, else 0."""
        return {name: float(any(s.modality == name for s in self.spans)) for name in MODALITIES}

    def then(self, later: Truth) -> Truth:
        """This forgery followed by another one of the same footage."""
        regions = [r for r in (self.region, later.region) if r is not None]
        return Truth(self.pair, join_spans(self.spans + later.spans), np.maximum(*regions) if len(regions) == 2 else
                     regions[0] if regions else None, self.steps + later.steps, self.identities + later.identities)


Forgery = Callable[[Footage, np.random.Generator], tuple[Footage, Truth]]


def join_spans(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Sorted by modality and time; those of one modality that touch or overlap become one."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.modality, s.start_s)):
        last = joined[-1] if joined else None
        if last and last.modality == span.modality and span.start_s <= last.end_s:
            joined[-1] = replace(last, end_s=max(last.end_s, span.end_s))
        else:
            joined.append(span)
    return tuple(joined)


def compose(*forgeries: Forgery) -> Forgery:
    """One after the other."""

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        truth = Truth(footage.clip_id)
        for forgery in forgeries:
            footage, later = forgery(footage, rng)
            truth = truth.then(later)
        return footage, truth

    return forge


def within(forgery: Forgery, start_s: float, end_s: float) -> Forgery:
    """The same forgery between two moments only: frames outside stay as they were, sound is faded over JOIN_S, and
    spans are cut to these moments."""

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        changed, truth = forgery(footage, rng)
        frames, sound, region = footage.frames, footage.sound, truth.region
        if changed.frames is not footage.frames:
            inside = (footage.times_s >= start_s) & (footage.times_s < end_s)
            frames = np.where(inside[:, None, None, None], changed.frames, footage.frames)
            region = None if region is None else region * inside[:, None, None].astype(np.uint8)
        if changed.sound is not footage.sound:
            time_s = np.arange(len(footage.sound)) / AUDIO_HZ
            share = np.clip(np.minimum(time_s - start_s, end_s - time_s) / JOIN_S, 0, 1).astype(np.float32)
            sound = footage.sound + share * (changed.sound - footage.sound)
        spans = tuple(Span(max(s.start_s, start_s), min(s.end_s, end_s), s.modality) for s in truth.spans
                      if s.start_s < end_s and s.end_s > start_s)
        steps = tuple((name, {**drawn, "start_s": round(start_s, 3), "end_s": round(end_s, 3)})
                      for name, drawn in truth.steps)
        return (replace(changed, frames=frames, sound=sound),
                replace(truth, spans=spans, region=region, steps=steps))

    return forge
