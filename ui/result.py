"""Questions that several panels ask of a result object (the JSON that the app, the API and scan.py share)."""

from __future__ import annotations

from ui import texts

MODALITIES = ("video", "audio", "sync")


def detector_name(detector: str, cards: dict[str, dict]) -> str:
    return str(cards.get(detector, {}).get("name") or detector)


def thresholds(result: dict) -> dict | None:
    """The operating points behind the whole verdict; None where the detectors' own points differ."""
    points = [d.get("thresholds") for d in result.get("detectors", {}).values()]
    points = [p for p in points if p]
    if not points:
        return None
    same = all(p[k] == points[0][k] for p in points for k in ("manipulated", "suspicious"))
    return points[0] if same else None


def modality_scores(result: dict) -> dict[str, float | None]:
    """Score of each part over all detectors; None = not judged."""
    consensus = result.get("consensus") or {}
    return {m: consensus.get(m) for m in MODALITIES}


def not_judged_reason(result: dict, modality: str) -> str:
    """Why a part has no score, in words (not escaped)."""
    for finding in result.get("findings", []):
        if modality in finding.get("blocks", []):
            return finding["message"].rstrip(".")
    detectors = result.get("detectors", {}).values()
    has_head = any(w.get(modality) is not None for d in detectors for w in d.get("windows", []))
    return texts.NOT_JUDGED_NO_WINDOW if has_head else texts.NOT_JUDGED_NO_HEAD[modality]


def judged_windows(answer: dict, modality: str, track: int | None) -> list[tuple[float, float, float]]:
    """(start, end, score) of one detector's windows that have a score, in time order. Sound belongs to every face,
    so its scores are averaged over them."""
    found: dict[tuple[float, float], list[float]] = {}
    for windows in answer.get("windows", []):
        if modality != "audio" and track is not None and windows["track"] != track:
            continue
        for start, end, score in zip(windows["start_s"], windows["end_s"], windows.get(modality) or []):
            if score is not None:
                found.setdefault((start, end), []).append(score)
    return sorted((start, end, sum(scores) / len(scores)) for (start, end), scores in found.items())


def unbroken(windows: list[tuple[float, float, float]]) -> list[list[tuple[float, float, float]]]:
    """The windows in runs that touch or overlap: a curve is never drawn over a stretch that nobody judged."""
    runs: list[list[tuple[float, float, float]]] = []
    for window in windows:
        if runs and window[0] <= runs[-1][-1][1] + 0.05:
            runs[-1].append(window)
        else:
            runs.append([window])
    return runs


def lanes(result: dict, answer: dict) -> list[tuple[str, int | None]]:
    """(modality, track) of what a detector's answer has to say: picture and lip-sync per face, sound once."""
    faces = [f["track"] for f in (result.get("media") or {}).get("faces") or []]
    judged = [w["track"] for w in answer.get("windows", []) if w.get("video") is not None]
    tracks: list[int | None] = list(dict.fromkeys([*faces, *judged])) or [None]
    return [(m, t) for m in MODALITIES for t in ([None] if m == "audio" else tracks)]


def segments(result: dict) -> list[tuple[str, dict]]:
    """(detector id, segment) of every marked span, earliest first."""
    found = [(d, s) for d, answer in result.get("detectors", {}).items() for s in answer.get("segments", [])]
    return sorted(found, key=lambda pair: (pair[1]["start_s"], pair[1]["end_s"]))


def part_name(modality: str, track: int | None, several_faces: bool) -> str:
    """"Picture", or "Picture, face 2" where the clip has more than one."""
    name = texts.MODALITIES[modality]
    if modality == "audio" or track is None or not several_faces:
        return name
    return texts.TIMELINE_LANE_FACE.format(part=name, number=track + 1)


def several_faces(result: dict) -> bool:
    return len((result.get("media") or {}).get("faces") or []) > 1
