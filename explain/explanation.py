"""A clip, a detector and a span become an explanation, step by step: share, readable map, fine map, their tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit

from detectors import guests
from detectors.contract import Detector, Inputs, Segment, WindowScores
from detectors.familiarity import as_seen_by
from detectors.scoring import to_inputs
from detectors.windows import cut_windows, window_starts
from explain.baselines import REPLACEMENTS, Baseline, blurred, mean_of_window, neutral
from explain.faithfulness import Faithfulness, examine
from explain.maps import METHODS, Map, NoMap
from explain.sentences import tell_share, tell_table
from explain.share import Share, share_modalities
from explain.state import borrowed, device_of
from explain.target import Cancelled, Target
from media import PreparedClip

MOST_WINDOWS = 4  # of one explanation: a longer segment is explained by windows spread over it
CANDIDATES = 6  # moments that are tried as a neutral one
NEUTRAL_BELOW = 0.2  # a neutral moment's score lies at least this far below the explained one's
LEAST_ASKED_S = 3.0  # around the middle of a shorter span, a readable map looks at so much
LEAST_COMPLETE = 0.2  # a convergence delta above this share of the difference is said
LONG_CPU_S = 15.0  # a fine map that nobody asked for, and its test, take no longer
ALMOST_ALL = 0.9  # of a window: then a readable map looks at all of it
READABLE, FINE = "ablation", "integrated_gradients"
PART_OF_WINDOW = ("The readable map looks at {:.1f}–{:.1f} s, which was asked for; the score rests on the rest of its "
                  "window of {:.1f} s, too.")
SCORES_ALONE = "This detector gives scores alone, which cannot be explained."


class NothingToExplain(ValueError):
    """The span has no face and no voice that this detector could judge, or the detector has no such head."""


def default_method(card: dict) -> str | None:
    """The method whose map is shown first: the one that points best at planted artefacts with this checkpoint, as
    benchmarks.explain measured it and the card tells. None where it was measured that none beats random; the
    readable map where nothing was measured."""
    if "explanations" not in card:
        return READABLE
    default = card["explanations"]["default"]
    return None if default is None else default["method"]


def usual_methods(card: dict) -> tuple[str, ...]:
    """The maps that are made where none are asked for: the readable one, and the fine one that points best at planted
    artefacts with this checkpoint. No fine one where it was measured that none beats random, or that those which do
    take, with their test, more than LONG_CPU_S."""
    figures = card.get("explanations", {})
    if "methods" not in figures:
        return READABLE, FINE
    better = {name: (row["pointing"], row["faithful_share"]) for name, row in figures["methods"].items()
              if name != READABLE and row["pointing"] is not None and row["pointing"] > row["random_pointing"]
              and sum(figures.get("times", {}).get(stage, {}).get("cpu_seconds", 0.0)
                      for stage in (name, f"faithfulness of {name}")) <= LONG_CPU_S}
    return (READABLE, max(better, key=better.get)) if better else (READABLE,)


@dataclass(frozen=True)
class Explanation:
    """Parts that are not there yet are None or missing from the dicts."""

    detector: str
    checkpoint: str
    head: str
    track_id: int | None
    start_s: np.ndarray  # [n] of the windows that are explained
    end_s: np.ndarray  # [n]
    score: float  # P(fake) of the head, the mean over the windows
    replacement: str
    replacement_words: str
    share: Share | None = None
    maps: dict[str, Map] = field(default_factory=dict)
    faithfulness: dict[str, Faithfulness] = field(default_factory=dict)  # by the map's method
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what could not be done, and why
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    complete: bool = False

    def to_json(self) -> dict:
        return {
            "detector": self.detector, "checkpoint": self.checkpoint, "head": self.head, "track": self.track_id,
            "windows_s": np.round(np.stack([self.start_s, self.end_s], axis=1), 3).tolist(),
            "score": round(self.score, 4),
            "replacement": self.replacement, "replacement_words": self.replacement_words,
            "share": None if self.share is None else self.share.to_json(),
            "sentences": list(self.sentences), "notes": list(self.notes),
            "maps": {name: found.to_json() for name, found in self.maps.items()},
            "faithfulness": {name: test.to_json() for name, test in self.faithfulness.items()},
            "seconds": {stage: round(spent, 3) for stage, spent in self.seconds.items()},
            "complete": self.complete,
        }


def explain(
    clip: PreparedClip,
    detector: Detector,
    segment: Segment | None = None,
    moment_s: float | None = None,
    *,
    span_s: tuple[float, float] | None = None,
    track_id: int | None = None,
    head: str | None = None,
    replacement: str = "blur",
    methods: Sequence[str] | None = None,
    scores: WindowScores | None = None,
    sensitivity: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Explanation]:
    """Explains a segment, the window around a moment, or any span: yields the explanation after every step, fuller
    each time.

    track_id: the face; the segment's own, or the first, when None. head: "video", "audio", "sync" or "whole"; that of
    the segment's modality when None, else whole. replacement: one of baselines.REPLACEMENTS; where a clip has no
    neutral moment it is blur, and a note says so. methods: of maps.METHODS, in this order; usual_methods when None.
    scores: of this detector and face, spares the search for a neutral moment. should_stop is asked before every
    forward pass.
    Raises: NothingToExplain, also where a detector from outside cannot be explained or fails; Cancelled once
    should_stop says so; ValueError for an unknown method or replacement.
    """
    if not (hasattr(detector, "logits") and hasattr(detector, "model")):  # one from outside need not have them
        raise NothingToExplain(SCORES_ALONE)
    methods = usual_methods(detector.card) if methods is None else methods
    if unknown := set(methods) - set(METHODS):
        raise ValueError(f"unknown methods {sorted(unknown)}; there are: {', '.join(METHODS)}")
    if replacement not in REPLACEMENTS:
        raise ValueError(f"replacement is one of {', '.join(REPLACEMENTS)}, not {replacement!r}")
    if segment is not None:
        track_id = segment.track_id if track_id is None else track_id
        head = head or segment.modality
    begin = time.perf_counter()
    clip = as_seen_by(detector, clip)
    with _failing_as_a_reason(detector):
        target, notes = aim(clip, detector, span_s or _span(clip, segment, moment_s), track_id=track_id, head=head,
                            replacement=replacement, scores=scores, should_stop=should_stop)
        yield from _steps(target, notes, methods, sensitivity, time.perf_counter() - begin)


@contextmanager
def _failing_as_a_reason(detector: Detector) -> Iterator[None]:
    """What goes wrong inside a detector from outside becomes NothingToExplain; inside our own it is a fault."""
    try:
        yield
    except (NothingToExplain, Cancelled):
        raise
    except Exception as error:
        if "added" not in detector.card:
            raise
        raise NothingToExplain(guests.failure(detector, error).message) from error


def _steps(target: Target, notes: tuple[str, ...], methods: Sequence[str], sensitivity: bool,
           aimed_s: float) -> Iterator[Explanation]:
    """The explanation of a target, fuller after each step. aimed_s: seconds that finding the target took."""
    detector = target.detector
    told = Explanation(
        detector.id, detector.card["checkpoint"], target.head, target.track_id, target.start_s, target.end_s,
        float(expit(target.recorded()).mean()), target.baseline.name, target.baseline.words, notes=notes,
        seconds={"aim": aimed_s},
    )

    stage, told = _timed("share", told, lambda: share_modalities(target))
    suspicious = detector.card["thresholds"]["suspicious"]
    told = replace(told, share=stage, sentences=(tell_share(stage, told.score, suspicious),))
    yield told
    for method in methods:
        try:
            found, told = _timed(method, told, lambda method=method: METHODS[method](target))
        except NoMap as reason:
            told = replace(told, notes=(*told.notes, str(reason)))
            continue
        words = tell_table(found, target.start_s, told.share) if method == READABLE else ()
        told = replace(told, maps={**told.maps, method: found}, sentences=(*told.sentences, *words),
                       notes=(*told.notes, *_missed(found, told.share), *_left_out(found, target)))
        yield told
    for method, found in told.maps.items():
        test, told = _timed(f"faithfulness of {method}", told,
                            lambda found=found: examine(found, target, sensitivity=sensitivity))
        told = replace(told, faithfulness={**told.faithfulness, method: test})
        yield told
    yield replace(told, complete=True, seconds={**told.seconds, "total": sum(told.seconds.values())})


def aim(clip: PreparedClip, detector: Detector, span_s: tuple[float, float], *, track_id: int | None = None,
        head: str | None = None, replacement: str = "blur", scores: WindowScores | None = None,
        should_stop: Callable[[], bool] = lambda: False) -> tuple[Target, tuple[str, ...]]:
    """The target of explain(), and notes on what could not be had. Raises: NothingToExplain."""
    cut = _cut(clip, detector, _starts_over(clip, detector, span_s), track_id)
    with borrowed(detector.model), torch.no_grad():
        logits = detector.logits(cut.inputs)
    head = head if head is not None else "whole" if "whole" in logits else max(
        logits, key=lambda name: float(logits[name].mean()))
    if head not in logits:
        raise NothingToExplain(f"Here, this detector tells {', '.join(logits)}, not {head}.")
    if not torch.isfinite(logits[head]).all():
        raise NothingToExplain(f"Too little is known here for this detector's score of {head}.")
    score = float(logits[head].sigmoid().mean())
    baseline, notes = (mean_of_window if replacement == "mean" else blurred)(cut.inputs), ()
    if replacement == "neutral":
        found = _find_neutral(clip, detector, cut, head, score, scores)
        baseline = found or baseline
        notes = () if found else ("No other moment of this clip is unsuspicious enough to stand in.",)
    return Target(detector, cut.inputs, head, baseline, cut.start_s, cut.end_s, should_stop, cut.track_id,
                  _asked(cut, span_s)), notes


def _asked(cut: Cut, span_s: tuple[float, float]) -> tuple[float, float] | None:
    """Of one long window around a span, the span, no shorter than LEAST_ASKED_S. None where that is the whole window,
    where there are several, or where a moment was asked for, which stands for its window."""
    (begin_s, end_s), middle_s = span_s, (span_s[0] + span_s[1]) / 2
    half_s = max(end_s - begin_s, LEAST_ASKED_S) / 2
    window_s = cut.end_s[0] - cut.start_s[0]
    if len(cut.start_s) > 1 or end_s <= begin_s or 2 * half_s > ALMOST_ALL * window_s:
        return None
    begin_s = min(max(middle_s - half_s, cut.start_s[0]), cut.end_s[0] - 2 * half_s)
    return begin_s, begin_s + 2 * half_s


def _span(clip: PreparedClip, segment: Segment | None, moment_s: float | None) -> tuple[float, float]:
    if segment is not None:
        return segment.start_s, segment.end_s
    middle_s = clip.duration_s / 2 if moment_s is None else moment_s
    return middle_s, middle_s


def _starts_over(clip: PreparedClip, detector: Detector, span_s: tuple[float, float]) -> np.ndarray:
    """[n] window starts: one window around a short span; side by side over a longer one, the last ending with it."""
    window_s, (begin_s, end_s) = detector.spec.window_s, span_s
    latest_s = max(clip.duration_s - window_s, 0.0)
    if end_s - begin_s <= 1.05 * window_s:
        return np.clip([(begin_s + end_s - window_s) / 2], 0.0, latest_s)
    count = min(int(np.ceil((end_s - begin_s) / window_s)), MOST_WINDOWS)
    return np.clip(np.linspace(begin_s, end_s - window_s, count), 0.0, latest_s)


class Cut(NamedTuple):
    """Windows of one face that have the same modalities."""

    track_id: int | None
    start_s: np.ndarray  # [n]
    end_s: np.ndarray  # [n]
    inputs: Inputs


def _cut(clip: PreparedClip, detector: Detector, starts_s: np.ndarray, track_id: int | None) -> Cut:
    """Those windows that begin at starts_s and have the most modalities. track_id None: the first face, if any."""
    tracks = cut_windows(clip, detector.spec, starts_s)
    found = [w for w in tracks if track_id is None or w.track_id == track_id]
    if not found:
        raise NothingToExplain(f"This clip has no face {track_id}.")
    windows = found[0]
    held = windows.has_face.astype(int) + windows.has_audio
    if not held.any():
        raise NothingToExplain("This span has no face and no voice that could be judged.")
    best = int(held.argmax())
    rows = np.flatnonzero((windows.has_face == windows.has_face[best]) & (windows.has_audio == windows.has_audio[best]))
    return Cut(windows.track_id, windows.start_s[rows], windows.end_s[rows],
               to_inputs(windows, rows, device_of(detector.model)))


def _find_neutral(clip: PreparedClip, detector: Detector, cut: Cut, head: str, score: float,
                  scores: WindowScores | None) -> Baseline | None:
    """The least suspicious of a few moments that do not overlap the explained ones, if it is unsuspicious at all."""
    window_s = detector.spec.window_s
    starts_s = window_starts(clip.duration_s, detector.spec)
    starts_s = starts_s[[all(abs(t - w) >= window_s for w in cut.start_s) for t in starts_s]]
    if not len(starts_s):
        return None
    known = None if scores is None else getattr(scores, head, None)
    if known is not None and np.isfinite(known).any():
        curve = np.interp(starts_s + window_s / 2, (scores.start_s + scores.end_s) / 2, np.nan_to_num(known, nan=1.0))
        starts_s = starts_s[np.argsort(curve, kind="stable")[:CANDIDATES]]
    elif len(starts_s) > CANDIDATES:
        starts_s = starts_s[np.linspace(0, len(starts_s) - 1, CANDIDATES).round().astype(int)]
    try:
        moments = _cut(clip, detector, starts_s, cut.track_id)
    except NothingToExplain:
        return None
    if any((a is None) != (b is None) for a, b in zip(moments.inputs[:3], cut.inputs[:3])):
        return None
    with borrowed(detector.model), torch.no_grad():
        told = detector.logits(moments.inputs)[head].sigmoid()
    told = told.where(told.isfinite(), torch.inf)  # what cannot be judged is not unsuspicious
    best = int(told.argmin())
    suspicious = detector.card["thresholds"]["suspicious"]
    if float(told[best]) >= min(suspicious, score - NEUTRAL_BELOW):
        return None
    moment = Inputs(*(None if t is None else t[best:best + 1] for t in moments.inputs))
    return neutral(cut.inputs, moment, float(moments.start_s[best]))


def _missed(found: Map, share: Share) -> tuple[str, ...]:
    """A note where integration left out much of what it should add up to."""
    difference = abs(share.recorded - share.replaced)
    if found.delta is None or found.delta <= LEAST_COMPLETE * difference:
        return ()
    return (f"The fine map's values add up to {found.delta:.2f} more or less than the difference of "
            f"{difference:.2f} that they should explain.",)


def _left_out(found: Map, target: Target) -> tuple[str, ...]:
    """A note where a readable map does not look at the whole window."""
    if found.method != READABLE or target.asked_s is None:
        return ()
    return (PART_OF_WINDOW.format(*target.asked_s, target.end_s[0] - target.start_s[0]),)


def _timed(stage: str, told: Explanation, work: Callable):
    begin = time.perf_counter()
    done = work()
    return done, replace(told, seconds={**told.seconds, stage: time.perf_counter() - begin})
