"""Explaining as the app does it: a question in, ever fuller plain values out; in a thread, stoppable, kept a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cachetools import TTLCache

import detectors as core
from detectors.contract import MODALITIES
from detectors.familiarity import judge_familiarity
from explain import REPLACEMENTS, Cancelled, NothingToExplain, default_method, explain, usual_methods
from explain.explanation import READABLE
from explain.pictures import Picture, draw, mouth_loop
from media import MediaError, PreparedClip, prepare
from ui import texts
from ui.scoring import Run, Stopped, log_fault, on_lent_gpu, spaces

HEADS = (*MODALITIES, "whole")
KEPT, KEPT_S = 16, 1500.0  # explanations, of all sessions; a clip is not kept for longer either
LATEST_S = 1e6  # no clip is this long; larger numbers are no times

SHARE = "Asking which part counts: face, mouth or sound"
MAPS = {
    "ablation": "Replacing regions, bands and moments one by one",
    "integrated_gradients": "Following the evidence into single spots",
    "grad_cam": "Asking the detector's own layers where they look",
    "smooth_grad": "Shaking the clip a little and watching the score",
}
TEST = "Testing whether map {number} of {count} tells the truth"
NAMED = "{detector}: {stage}"

NOT_EXPLAINABLE = "{name} cannot be explained: it tells scores alone."
UNKNOWN_REPLACEMENT = "Unknown replacement. Choose from: {choices}."
UNKNOWN_HEAD = "Unknown head. Choose from: {choices}; or leave it out."
BAD_SPAN = "Give start_s and end_s, or moment_s alone: seconds from the clip's beginning, the start before the end."
BEYOND = "The clip ends at {end} s; there is nothing at {asked} s to explain."


@dataclass(frozen=True)
class Question:
    """Why does this detector say so, here? A moment has the same start and end."""

    detector: str
    start_s: float
    end_s: float
    head: str | None = None  # one of HEADS; None: whole
    track_id: int | None = None  # None: the first face
    replacement: str = REPLACEMENTS[0]


@dataclass(frozen=True)
class Told:
    """What is known so far of a question, as plain values: on a lent GPU they come out of another process."""

    answer: dict | None = None  # Explanation.to_json()
    pictures: Mapping[str, tuple[Picture, ...]] = field(default_factory=dict)  # by the map's method
    refusal: str | None = None  # why there is nothing to explain, in words

    @property
    def finished(self) -> bool:
        return self.refusal is not None or bool(self.answer and self.answer["complete"])


def check_question(
    detector: object, start_s: object, end_s: object, moment_s: object, head: object, replacement: object,
    cards: Mapping[str, dict],
) -> Question:
    """The question behind these arguments, which come from anybody. Raises: ValueError in words."""
    if not isinstance(detector, str) or detector not in cards:
        raise ValueError(texts.UNKNOWN_DETECTOR.format(names=str(detector)[:60], choices=", ".join(cards)))
    if not cards[detector].get("explainable", True):
        raise ValueError(NOT_EXPLAINABLE.format(name=cards[detector]["name"]))
    if head is not None and head not in HEADS:
        raise ValueError(UNKNOWN_HEAD.format(choices=", ".join(HEADS)))
    if replacement not in REPLACEMENTS:
        raise ValueError(UNKNOWN_REPLACEMENT.format(choices=", ".join(REPLACEMENTS)))
    span = (start_s, end_s) if moment_s is None else (moment_s, moment_s)
    if (moment_s is not None and (start_s, end_s) != (None, None)) or not all(_is_time(t) for t in span):
        raise ValueError(BAD_SPAN)
    if span[0] > span[1]:
        raise ValueError(BAD_SPAN)
    return Question(detector, float(span[0]), float(span[1]), head, None, replacement)


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LATEST_S


def tell(path: str, question: Question, device: str = "auto", pictured: bool = True,
         should_stop: Callable[[], bool] = lambda: False) -> Iterator[Told]:
    """What explain() yields, as plain values. A clip or a span that cannot be explained is a refusal, no exception.

    pictured: a map's pictures are drawn as soon as its test is known, which they show.
    A lent GPU's process is not asked to stop: who no longer wants the answer stops listening.
    Raises: Cancelled once should_stop says so; ValueError for a bad device.
    """
    try:
        clip = judge_familiarity(prepare(path))  # the processor's work: before a grant, and kept from the analysis
    except MediaError as reason:
        yield Told(refusal=str(reason))
        return
    if on_lent_gpu():
        yield from _granted(clip, question, device, pictured)
    else:
        yield from _tell(clip, question, device, pictured, should_stop)


def _tell(clip: PreparedClip, question: Question, device: str, pictured: bool,
          should_stop: Callable[[], bool]) -> Iterator[Told]:
    try:
        if question.start_s > clip.duration_s:
            raise NothingToExplain(BEYOND.format(end=f"{clip.duration_s:.1f}", asked=f"{question.start_s:.1f}"))
        detector = core.load(question.detector, device)
        span_s = (question.start_s, min(question.end_s, clip.duration_s))
        pictures: dict[str, tuple[Picture, ...]] = {}
        for found in explain(clip, detector, span_s=span_s, track_id=question.track_id, head=question.head,
                             replacement=question.replacement, should_stop=should_stop):
            for method in found.faithfulness.keys() - pictures.keys() if pictured else ():
                loop = mouth_loop(clip, found, method) if method == _shown_first(detector.card) else None
                pictures[method] = (*draw(clip, found, method), *([loop] if loop else []))
            yield Told(found.to_json(), dict(pictures))
    except NothingToExplain as reason:
        yield Told(refusal=str(reason))


def _granted(clip: PreparedClip, question: Question, device: str, pictured: bool) -> Iterator[Told]:
    """What the forked worker runs. The clip goes in decoded; only plain values come out."""
    yield from _tell(clip, question, device, pictured, lambda: False)


if spaces is not None:
    _granted = spaces.GPU(_granted)


def _shown_first(card: dict) -> str:
    return default_method(card) or READABLE


def next_stage(told: Told | None, wanted: Sequence[str]) -> str | None:
    """In words, what is done after `told`; None when nothing is left. wanted: explain.usual_methods."""
    if told is None:
        return SHARE
    if told.finished:
        return None
    maps, tested = list(told.answer["maps"]), list(told.answer["faithfulness"])
    # A method that cannot answer leaves no map: what comes after the last map is next.
    left = wanted[wanted.index(maps[-1]) + 1:] if maps else wanted
    if left and not tested:
        return MAPS[left[0]]
    return TEST.format(number=len(tested) + 1, count=len(maps)) if len(tested) < len(maps) else None


class ExplainRun(Run):
    """Answers questions about one clip, one after the other. `told` grows while stages() is iterated over."""

    def __init__(self, path: str, questions: Sequence[Question], device: str, cards: Mapping[str, dict]):
        super().__init__(path, None, device)
        self.told: dict[Question, Told] = {}
        self._questions = questions
        self._cards = cards

    def _work(self, path: str, _detectors: None, device: str) -> None:
        try:
            for question in self._questions:
                card = self._cards[question.detector]
                self._announce(card, next_stage(None, usual_methods(card)))
                for told in tell(path, question, device, should_stop=lambda: self.stopped):
                    self.told[question] = told
                    self._announce(card, next_stage(told, usual_methods(card)))
        except (Stopped, Cancelled):
            pass
        except Exception as fault:  # as in Run: the page has to say something
            log_fault(fault)
            self.fault = fault
        finally:
            self._events.put(None)

    def _announce(self, card: dict, stage: str | None) -> None:
        if stage is not None:
            several = len(self._questions) > 1
            self._on_stage(NAMED.format(detector=card["name"], stage=stage) if several else stage, 0.0)


class Kept:
    """Explanations that are finished, so that asking again costs nothing: a few, of this session alone, for a while.
    Thread-safe."""

    def __init__(self, most: int = KEPT, kept_s: float = KEPT_S) -> None:
        self._told: TTLCache[tuple[str, str, Question], Told] = TTLCache(most, kept_s)
        self._lock = threading.Lock()

    def get(self, session: str, sha256: str, question: Question) -> Told | None:
        with self._lock:
            return self._told.get((session, sha256, question))

    def put(self, session: str, sha256: str, question: Question, told: Told) -> None:
        if told.finished:
            with self._lock:
                self._told[session, sha256, question] = told

    def forget_old(self) -> None:
        """What is too old: the cache itself hides it, and lets go of it at its next use only."""
        with self._lock:
            self._told.expire()

    def forget(self, session: str) -> None:
        """What was explained to this session: its clips go too."""
        with self._lock:
            self._told.expire()
            for key in [k for k in self._told if k[0] == session]:
                del self._told[key]
