"""From an answer to its explanations: of each detector the strongest thing that it found, and the pictures of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from detectors import load
from detectors.contract import MODALITIES, Detector, Segment
from explain.answer import SIGNS, decides, detector_name
from explain.explanation import READABLE, Explanation, NothingToExplain, default_method, explain
from explain.pictures import Picture, draw
from media import PreparedClip

MOST_TRIED = 3  # of a detector's findings, until one can be explained


def explain_answer(clip: PreparedClip, answer: dict, *, device: str = "auto",
                   on_stage: Callable[[str], None] = lambda words: None) -> list[Explanation]:
    """Explains the strongest finding of each detector in an answer (the object of scan.py), and writes it there:
    answer["explanations"], and in answer["not_explained"] by detector why there is none.

    Raises: CheckpointError; ValueError for a bad device.
    """
    explained, missing = [], {}
    for name, found in answer["detectors"].items():
        detector = load(name, device)
        on_stage(f"Explaining what {detector_name(name, {name: detector.card})} found")
        try:
            explained.append(_explain_strongest(clip, detector, found))
        except NothingToExplain as reason:
            missing[name] = str(reason)
    answer["explanations"] = [told.to_json() for told in explained]
    answer["not_explained"] = missing
    return explained


def _explain_strongest(clip: PreparedClip, detector: Detector, found: dict) -> Explanation:
    """Of one detector's answer, the strongest finding that can be explained. Raises: NothingToExplain."""
    refusal = NothingToExplain("It judged no part of this clip.")
    for what in candidates(found):
        try:
            *_, told = explain(clip, detector, **what)
            return told
        except NothingToExplain as reason:
            refusal = reason
    raise refusal


def candidates(found: dict) -> list[dict]:
    """Arguments of explain() for one detector's answer, the strongest finding first: its marked segments; where
    nothing is marked, the window with the highest score. Empty where nothing was judged."""
    if found["score"] is None:
        return []
    segments = sorted(found["segments"], key=lambda s: -s["score"])
    if segments:
        return [{"segment": Segment(s["start_s"], s["end_s"], s["score"], s["modality"], s["track"])}
                for s in segments[:MOST_TRIED]]
    windows = sorted(_windows(found), key=lambda window: -window[0])
    return [{"moment_s": middle_s, "track_id": track, "head": head} for _, middle_s, track, head in windows[:1]]


def pictures_of(clip: PreparedClip, explained: Sequence[Explanation], cards: dict[str, dict]) -> list[Picture]:
    """For the report: the map that points best with each checkpoint, and the readable one, which has the tables."""
    return [picture for told in explained
            for method in dict.fromkeys((default_method(cards.get(told.detector, {})) or READABLE, READABLE))
            for picture in draw(clip, told, method)]


def to_overlay(explained: Sequence[Explanation], answer: dict) -> Explanation | None:
    """The explanation that a video shows: the highest score among those with a map that passed its test, of what the
    verdict rests on. None where it finds no signs: a face in orange would say otherwise."""
    if answer["verdict"] not in SIGNS:
        return None
    believed = [told for told in explained if decides(answer, told.detector, told.head)
                and any(test.passed for test in told.faithfulness.values())]
    return max(believed, key=lambda told: told.score, default=None)


def _windows(found: dict) -> Iterator[tuple[float, float, int | None, str]]:
    """(score, middle, track, head) of what was judged: by the whole-clip head, or by all heads where there is none."""
    for windows in found["windows"]:
        heads = ("whole",) if windows["whole"] is not None else MODALITIES
        for head in heads:
            for start_s, end_s, score in zip(windows["start_s"], windows["end_s"], windows[head] or []):
                if score is not None:
                    yield score, (start_s + end_s) / 2, windows["track"], head
