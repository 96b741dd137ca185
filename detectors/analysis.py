"""From a file to an answer: prepare once, score with each detector, decide, and say it in the JSON of scan.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from detectors import guests
from detectors.consensus import decide, log_odds, probability, together, widen
from detectors.contract import Analysis, Detector, Thresholds, Verdict, Windows, WindowScores
from detectors.familiarity import as_seen_by, is_unusual, judge_familiarity
from detectors.heap import return_freed_memory
from detectors.memory import MemoryWatch
from detectors.recall import remembering
from detectors.segments import clip_score, mark_segments, mean_over_tracks
from detectors.windows import cut_windows, in_memory
from media import ClipInfo, Finding, MediaError, OnStage, PreparedClip, Reason, prepare
from media.provenance import read_provenance
from media.quality import SHORTEST_S

if TYPE_CHECKING:
    from detectors.probe import Probe

VERSION = "0.1.0"


def analyse_clip(clip: PreparedClip, detector: Detector) -> Analysis:
    """One detector on one prepared clip. What goes wrong inside a detector from outside becomes a finding."""
    begin = time.perf_counter()
    clip = as_seen_by(detector, clip)
    with MemoryWatch(getattr(detector, "model", None)) as watch, remembering():
        scores, findings = _score(clip, detector)
    thresholds = Thresholds(**detector.card["thresholds"])
    thresholds = widen(thresholds) if is_unusual(clip.quality.findings) else thresholds
    modalities = {
        "video": _highest(clip_score(s.video) for s in scores),  # the face that looks most manipulated decides
        "audio": clip_score(mean_over_tracks(scores, "audio")) if scores else None,
        "sync": _highest(clip_score(s.sync) for s in scores),
    }
    whole = whole_score(scores, modalities, "added" in detector.card)
    score = _highest((whole, modalities["sync"]))
    if clip.info.still and score is not None and not detector.card.get("calibrated_for_stills"):
        score = whole = None
        findings = (*findings, _uncalibrated(detector))
    return Analysis(
        clip=clip.info, detector=detector.id, checkpoint=detector.card["checkpoint"],
        provisional=detector.card["provisional"], score=score, **modalities, verdict=decide(score, thresholds),
        segments=mark_segments(scores, thresholds, clip.duration_s) if scores and not clip.info.still else (),
        windows=scores, findings=clip.quality.findings + findings, thresholds=thresholds, whole=whole,
        seconds=time.perf_counter() - begin, offset_s=scores[0].offset_s if scores else None,
        memory=watch.memory if scores else None,
    )


def _score(clip: PreparedClip, detector: Detector) -> tuple[tuple[WindowScores, ...], tuple[Finding, ...]]:
    """Scores of each face track (or of the sound alone), and why this detector gives none."""
    if clip.info.still and not detector.spec.stills:
        return (), (_needs_movement(detector),)
    if clip.duration_s < SHORTEST_S and not clip.info.still:
        return (), ()
    windows = [w for w in cut_windows(clip, detector.spec) if _any(w)]
    if "added" not in detector.card:
        return tuple(detector.score(w) for w in windows), ()
    try:
        return tuple(guests.score_checked(detector, in_memory(w)) for w in windows), ()
    except Exception as error:  # a stranger's code; the other detectors go on
        return (), (guests.failure(detector, error),)


def _needs_movement(detector: Detector) -> Finding:
    return Finding(Reason.NEEDS_MOVEMENT, f"{detector.card['name']} was made for faces that move, and was "
                   "never tried on a still picture.",
                   "If the picture is from a video, use at least a second of the video.")


def _uncalibrated(detector: Detector) -> Finding:
    return Finding(
        Reason.STILLS_NOT_CALIBRATED, f"{detector.card['name']} looked at the still picture, but learnt from moving "
        "faces: what it says is no probability, and no verdict is made of it.",
        "Take its score as a reason to look closer at most, and ask for the video.")


def _any(windows: Windows) -> bool:
    return bool(windows.has_face.any() or windows.has_audio.any())


def _highest(scores) -> float | None:
    return max((s for s in scores if s is not None), default=None)


def whole_score(scores: Sequence[WindowScores], modalities: dict[str, float | None],
                guest: bool = False) -> float | None:
    """That picture or sound is manipulated. Sound that does not belong to the picture counts beside it: the papers'
    heads know of manipulated modalities alone.

    Of the project's detectors: halfway, in log-odds, between their whole-clip head and the more suspicious of picture
    and sound, which tells more of new sources than either (docs/experiments.md, 30). What a detector from outside says
    of the whole clip stands as it is. Without one of the two, the other.
    """
    whole = _highest(clip_score(s.whole) for s in scores)
    part = _highest((modalities["video"], modalities["audio"]))
    if guest or whole is None or part is None:
        return part if whole is None else whole
    return probability((log_odds(whole) + log_odds(part)) / 2)


def score_clip(clip: PreparedClip, detectors: Sequence[str], device: str = "auto",
               stage: Callable[[str], None] = lambda words: None) -> list[Analysis]:
    """Each of these detectors on one prepared clip. stage is told, in words, what comes next.

    Raises: as analyse.
    """
    from detectors import load  # the registry imports this module's neighbours

    analyses = []
    with remembering():
        for detector in [load(name, device) for name in detectors]:
            stage(f"Scoring with {detector.card['name']}")
            analyses.append(analyse_clip(clip, detector))
    return analyses


def analyse(
    path: str | Path,
    detectors: Sequence[str] | None = None,
    device: str = "auto",
    on_stage: OnStage | None = None,
    probe: bool = False,
    score: Callable[..., list[Analysis]] = score_clip,
) -> dict:
    """The object that scan.py prints for one clip. A file that cannot be read gives the error form, no exception.

    probe: also try cheap copies of the clip (detectors.probe); a verdict that they turn is lowered.
    score: score_clip, or what stands in for it: where a GPU is lent for seconds, scoring alone runs on it.

    Raises: KeyError for an unknown detector id (the message lists the choices), GuestError for a class that cannot
    join the list, CheckpointError for a checkpoint that cannot be used, ValueError for a bad device.
    """
    from detectors import available, known_id  # the registry imports this module's neighbours

    begin = time.perf_counter()
    resolve_device(device)
    chosen = list(dict.fromkeys(known_id(name) for name in detectors or available()))
    try:
        answer = _analyse(path, chosen, device, _relay(on_stage, begin), probe, score)
    except MediaError as error:
        return _error_form(path, error.finding)
    answer["timings_s"]["total"] = round(time.perf_counter() - begin, 3)
    return answer


def _analyse(path: str | Path, detectors: Sequence[str], device: str, stage: Callable[[str], None], probe: bool,
             score: Callable[..., list[Analysis]]) -> dict:
    begin = time.perf_counter()
    clip = prepare(path, on_stage=lambda words, _: stage(words))
    prepared = time.perf_counter()
    stage("Reading what the file tells of its making")
    provenance = read_provenance(path, clip.info)
    timings_s = {"prepare": prepared - begin, "provenance": time.perf_counter() - prepared}
    return_freed_memory()  # of a long clip's pictures, which would stay beside what the networks take
    with remembering():
        stage("Comparing the clip with what the detectors learnt from")
        compare = time.perf_counter()
        clip = judge_familiarity(clip)
        timings_s["familiarity"] = time.perf_counter() - compare
        analyses = score(clip, detectors, device, stage)
    timings_s |= {a.detector: a.seconds for a in analyses}
    answer = _answer(clip, analyses) | {"provenance": provenance.to_json()}
    if probe:
        scored = time.perf_counter()
        _lower(answer, _try_copies(path, detectors, device, analyses, stage))
        timings_s["probe"] = time.perf_counter() - scored
    answer["timings_s"] = {name: round(seconds, 3) for name, seconds in timings_s.items()}
    return answer


def _try_copies(path: str | Path, detectors: Sequence[str], device: str, analyses: Sequence[Analysis],
                stage: Callable[[str], None]) -> Probe:
    from detectors import load, probe  # they import this module

    return probe.probe(path, [load(name, device) for name in detectors], analyses,
                       on_stage=lambda words, _: stage(words))


def _lower(answer: dict, probe: Probe) -> None:
    """Writes the probe into the answer: verdicts become those that it leaves; scores, and how many detectors agreed,
    stay what was found on the clip itself."""
    answer["probe"] = probe.to_json()
    answer["verdict"] = str(probe.consensus.after)
    for name, outcome in probe.detectors.items():
        answer["detectors"][name]["verdict"] = str(outcome.after)


def resolve_device(device: str) -> torch.device:
    """ "auto" is the GPU when there is one.

    Raises: ValueError for another word, or for cuda where there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is auto, cpu or cuda, not {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("There is no CUDA device here; use --device cpu.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def _relay(on_stage: OnStage | None, begin: float) -> Callable[[str], None]:
    return lambda words: on_stage(words, time.perf_counter() - begin) if on_stage else None


def _answer(clip: PreparedClip, analyses: Sequence[Analysis]) -> dict:
    judged = [a for a in analyses if a.score is not None]
    means = {name: _mean([v for a in analyses if (v := getattr(a, name)) is not None])
             for name in ("video", "audio", "sync")}
    consensus = together(analyses)
    agree = sum(a.verdict == consensus.verdict for a in judged)
    findings = list(dict.fromkeys(f for a in analyses for f in a.findings))
    return {
        "clip": Path(clip.info.path).name,
        "sha256": clip.info.sha256,
        "duration_s": round(clip.duration_s, 3),
        "verdict": str(consensus.verdict),
        "score": None if consensus.score is None else round(consensus.score, 4),
        "reasons": [str(r) for r in dict.fromkeys(f.reason for f in findings)],
        "findings": [f.to_json() for f in findings],
        "provisional": any(a.provisional for a in analyses),
        "consensus": {**means, "agree": agree, "of": len(judged), **consensus.to_json()},
        "detectors": {a.detector: a.to_json() for a in analyses},
        "media": _media_json(clip),
        "memory": {a.detector: a.memory.to_json() for a in analyses if a.memory is not None},
        "telltale": VERSION,
    }


def _media_json(clip: PreparedClip) -> dict:
    info: ClipInfo = clip.info
    facts = {k: v for k, v in asdict(info).items() if k not in ("path", "sha256", "duration_s")}
    return {
        **facts,
        "fps": None if info.fps is None else round(info.fps, 3),
        "faces": [
            {"track": t.track_id, "start_s": round(float(t.times_s[0]), 2), "end_s": round(float(t.times_s[-1]), 2),
             "face_px": round(t.face_px)}
            for t in clip.tracks
        ],
        "speech_s": [[round(start, 2), round(end, 2)] for start, end in clip.speech_s],
        "measures": clip.quality.measures,
    }


def _error_form(path: str | Path, finding: Finding) -> dict:
    return {
        "clip": Path(path).name,
        "sha256": None,
        "duration_s": None,
        "error": f"{finding.message} {finding.remedy}",
        "verdict": str(Verdict.CANNOT_EVALUATE),
        "score": None,
        "reasons": [str(finding.reason)],
        "findings": [finding.to_json()],
        "provisional": False,
        "consensus": {"video": None, "audio": None, "sync": None, "agree": 0, "of": 0, "weights": {"score": {}},
                      "fitted": False},
        "detectors": {},
        "media": {},
        "memory": {},
        "provenance": None,
        "telltale": VERSION,
        "timings_s": {},
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
