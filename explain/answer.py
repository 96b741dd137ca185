"""Questions that the page and the report ask of an answer (the object that the app, the API and scan.py share)."""

from __future__ import annotations

MODALITIES = ("video", "audio", "sync")

Window = tuple[float, float, float]  # start_s, end_s, score


def detector_name(detector: str, cards: dict[str, dict]) -> str:
    return str(cards.get(detector, {}).get("name") or detector)


def thresholds(answer: dict) -> dict | None:
    """The operating points behind the whole verdict; None where the detectors' own points differ."""
    points = [p for d in answer.get("detectors", {}).values() if (p := d.get("thresholds"))]
    same = all(p[k] == points[0][k] for p in points for k in ("manipulated", "suspicious"))
    return points[0] if points and same else None


def was_lowered(answer: dict) -> bool:
    """True where copies of the clip turned its verdict (detectors.probe)."""
    probe = answer.get("probe")
    return bool(probe) and probe["verdict"] != probe["consensus"]["verdict_before"]


def modality_scores(answer: dict) -> dict[str, float | None]:
    """Score of each modality over all detectors; None = not judged."""
    consensus = answer.get("consensus") or {}
    return {m: consensus.get(m) for m in MODALITIES}


def strongest_modality(answer: dict) -> tuple[str, float] | None:
    """The modality with the highest score, and that score; None where none was judged."""
    judged = [(score, m) for m, score in modality_scores(answer).items() if score is not None]
    if not judged:
        return None
    score, modality = max(judged, key=lambda pair: pair[0])
    return modality, score


def several_faces(answer: dict) -> bool:
    return len((answer.get("media") or {}).get("faces") or []) > 1


def lanes(answer: dict, detector: dict) -> list[tuple[str, int | None]]:
    """(modality, track) of what a detector's answer has to say: picture and lip-sync per face, sound once."""
    faces = [f["track"] for f in (answer.get("media") or {}).get("faces") or []]
    judged = [w["track"] for w in detector.get("windows", []) if w.get("video") is not None]
    tracks: list[int | None] = list(dict.fromkeys([*faces, *judged])) or [None]
    return [(m, t) for m in MODALITIES for t in ([None] if m == "audio" else tracks)]


def judged_windows(detector: dict, modality: str, track: int | None) -> list[Window]:
    """One detector's windows that have a score, in time order. Sound belongs to every face, so its scores are
    averaged over them."""
    found: dict[tuple[float, float], list[float]] = {}
    for windows in detector.get("windows", []):
        if modality != "audio" and track is not None and windows["track"] != track:
            continue
        for start, end, score in zip(windows["start_s"], windows["end_s"], windows.get(modality) or []):
            if score is not None:
                found.setdefault((start, end), []).append(score)
    return sorted((start, end, sum(scores) / len(scores)) for (start, end), scores in found.items())


def unbroken(windows: list[Window]) -> list[list[Window]]:
    """The windows in runs that touch or overlap: a curve is never drawn over a stretch that nobody judged."""
    runs: list[list[Window]] = []
    for window in windows:
        if runs and window[0] <= runs[-1][-1][1] + 0.05:
            runs[-1].append(window)
        else:
            runs.append([window])
    return runs


def gaps(spans: list[tuple[float, float]], duration_s: float) -> list[tuple[float, float]]:
    """What the spans leave uncovered of 0 to duration_s."""
    uncovered, at = [], 0.0
    for start, end in sorted(spans):
        if start - at > 0.05:
            uncovered.append((at, start))
        at = max(at, end)
    if duration_s - at > 0.05:
        uncovered.append((at, duration_s))
    return uncovered


def marked(detector: dict, modality: str, track: int | None) -> list[dict]:
    """The segments of one lane."""
    return [s for s in detector.get("segments", [])
            if s["modality"] == modality and (modality == "audio" or track is None or s.get("track") == track)]


def segments(answer: dict) -> list[tuple[str, dict]]:
    """(detector id, segment) of every marked span, earliest first."""
    found = [(d, s) for d, detector in answer.get("detectors", {}).items() for s in detector.get("segments", [])]
    return sorted(found, key=lambda pair: (pair[1]["start_s"], pair[1]["end_s"]))
