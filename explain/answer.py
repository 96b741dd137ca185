"""Questions that the page and the report ask of an answer (the object that the app, the API and scan.py share)."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.consensus import SEVERITY
from explain import words

MODALITIES = ("video", "audio", "sync")

Window = tuple[float, float, float]  # start_s, end_s, score


def detector_name(detector: str, cards: dict[str, dict]) -> str:
    return str(cards.get(detector, {}).get("name") or detector)


def listed(names: Sequence[str]) -> str:
    """ "A", "A and B", "A, B and C" """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def verdict_words(answer: dict) -> tuple[str, str]:
    """The verdict, and what it means. Nobody is told that no signs were found where a detector found some."""
    alarmed = [d for d in answer["detectors"].values() if d.get("verdict") in ("SUSPICIOUS", "MANIPULATED")]
    return words.DISPUTED if answer["verdict"] == "NO_SIGNS" and alarmed else words.VERDICTS[answer["verdict"]]


def more_alarmed(answer: dict, cards: dict[str, dict]) -> list[str]:
    """Sentences that name who finds more than the verdict says, the strongest signs first."""
    said = []
    for verdict in reversed(SEVERITY):
        if verdict == answer["verdict"] or answer["verdict"] not in SEVERITY:
            break
        names = [detector_name(d, cards) for d, own in answer["detectors"].items() if own.get("verdict") == verdict]
        if names:
            told = words.MORE_ALARMED[len(names) > 1]
            said.append(told.format(names=listed(names), signs=words.VERDICTS[verdict][0].lower()))
    return said


def agreement_words(answer: dict) -> str:
    """How many detectors agree with the verdict, and how it comes about; "" for one alone."""
    consensus = answer.get("consensus") or {}
    if consensus.get("of", 0) < 2:
        return ""
    return f"{words.AGREEMENT.format(**consensus)} {verdict_rule(consensus)}"


def verdict_rule(consensus: dict) -> str:
    """How the verdict of several detectors comes about: what detectors.consensus did in this answer."""
    if not consensus.get("fitted"):
        return words.RULE["middle"]
    return words.RULE["sync" if consensus.get("by_sync") else "scores"]


def thresholds(answer: dict) -> dict | None:
    """The operating points behind the whole verdict; None where the detectors' own points differ."""
    consensus = answer.get("consensus") or {}
    if consensus.get("fitted"):
        return consensus.get("thresholds")
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
