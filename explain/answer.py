"""Questions that the page and the report ask of an answer (the object that the app, the API and scan.py share)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.consensus import SEVERITY
from detectors.contract import MODALITIES, Thresholds, WindowScores
from detectors.segments import STEP_S, mark_segments
from detectors.sync import MOST, NEAR, STEP_HZ
from explain import words

HEADS = (*MODALITIES, "whole")
SIGNS = ("SUSPICIOUS", "MANIPULATED")
LEAST_SHARE = 0.005  # of the common score: what has less is told as 0 %, and does not decide

Window = tuple[float, float, float]  # start_s, end_s, score


def detector_name(detector: str, cards: dict[str, dict]) -> str:
    return str(cards.get(detector, {}).get("name") or detector)


def listed(names: Sequence[str]) -> str:
    """ "A", "A and B", "A, B and C" """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def verdict_words(answer: dict) -> tuple[str, str]:
    """The verdict, and what it means. Nobody is told that no signs were found where a detector found some, nor to look
    at spans where none is marked."""
    verdict = answer["verdict"]
    own = [verdict_before(answer, d) for d in answer["detectors"]]
    disputed = verdict == "NO_SIGNS" and any(v in SIGNS for v in own)
    heading, meaning = words.DISPUTED if disputed else words.VERDICTS[verdict]
    if sum(v in SEVERITY for v in own) == 1 and not disputed:
        meaning = words.BY_ONE.get(verdict, meaning)
    if disputed or verdict in SIGNS:
        meaning = f"{meaning} {words.LOOK[bool(segments(answer))]}"
    return heading, meaning


def verdict_before(answer: dict, detector: str | None = None) -> str:
    """The verdict on the clip itself, by one detector or by all together: what it was before copies were tried."""
    probe = answer.get("probe") or {}
    outcome = probe.get("consensus", {}) if detector is None else probe.get("detectors", {}).get(detector, {})
    told = answer if detector is None else answer["detectors"][detector]
    return outcome.get("verdict_before", told.get("verdict"))


def detector_verdict_words(answer: dict, detector: str) -> str:
    """One detector's verdict; where copies of the clip turned it, with what it was before."""
    now, before = answer["detectors"][detector]["verdict"], verdict_before(answer, detector)
    heading = words.VERDICTS[now][0]
    if now == before:
        return heading
    return words.DETECTOR_BEFORE.format(verdict=heading, before=words.VERDICTS[before][0].lower())


def more_alarmed(answer: dict, cards: dict[str, dict]) -> list[str]:
    """Sentences that name who finds more than the verdict says, the strongest signs first."""
    said = []
    for verdict in reversed(SEVERITY):
        if verdict == answer["verdict"] or answer["verdict"] not in SEVERITY:
            break
        names = [detector_name(d, cards) for d in answer["detectors"] if verdict_before(answer, d) == verdict]
        if names:
            told = words.MORE_ALARMED[len(names) > 1]
            said.append(told.format(names=listed(names), signs=words.VERDICTS[verdict][0].lower()))
    return said


def agreement_words(answer: dict, cards: dict[str, dict]) -> str:
    """How many detectors agree with the verdict and how it comes about, as far as there are several; and where a
    lip-sync decides, whether it was measured.

    Counted is what each said of the clip itself: a copy that turns one detector's answer is no disagreement.
    """
    consensus, said = answer.get("consensus") or {}, []
    if consensus.get("of", 0) > 1:
        agree = sum(verdict_before(answer, d) == verdict_before(answer) for d in answer["detectors"])
        said = [words.AGREEMENT.format(agree=agree, of=consensus["of"]), verdict_rule(consensus, cards)]
    if unmeasured := sync_unmeasured(answer, cards):
        said.append(words.SYNC_UNMEASURED.format(names=listed([detector_name(d, cards) for d in unmeasured])))
    return " ".join(said)


def verdict_rule(consensus: dict, cards: dict[str, dict]) -> str:
    """How the verdict of several detectors comes about: what detectors.consensus did in this answer."""
    if not consensus.get("fitted"):
        return words.RULE["middle"]
    if consensus.get("by_sync"):
        return words.RULE["sync"]
    weights = consensus["weights"]["score"]
    heard = [name for name, share in weights.items() if share >= LEAST_SHARE]
    if len(heard) == len(weights):
        return words.RULE["scores"]
    rule = words.RULE["some scores" if len(heard) > 1 else "one score"]
    return rule.format(names=listed([detector_name(name, cards) for name in heard]))


def decided_by_sync(answer: dict) -> bool:
    """True where the score says that the sound does not belong to the picture."""
    judged = [d for d in answer["detectors"].values() if d.get("score") is not None]
    if len(judged) == 1:
        return judged[0]["score"] == judged[0]["sync"]
    return bool((answer.get("consensus") or {}).get("by_sync"))


def decides(answer: dict, detector: str, head: str) -> bool:
    """True where the common score is made of this head of this detector, beside others or alone."""
    consensus, own = answer["consensus"], answer["detectors"][detector]
    by_sync = decided_by_sync(answer) if consensus.get("fitted") else own["score"] == own["sync"]
    heard = by_sync or consensus["weights"]["score"].get(detector, 0.0) >= LEAST_SHARE
    return heard and (head == "sync") == by_sync


def sync_unmeasured(answer: dict, cards: dict[str, dict]) -> list[str]:
    """Ids of the detectors whose lip-sync decides, though no card tells how often it is right on mismatched clips."""
    if not decided_by_sync(answer):
        return []
    results = {name: cards.get(name, {}).get("results") or {}
               for name, d in answer["detectors"].items() if d.get("sync") is not None}
    return [name for name, measured in results.items() if (measured.get("sync") or {}).get("auc") is None]


def why_not_judged(answer: dict, modality: str) -> str:
    """Why a part has no score, in words without a full stop. Lip-sync needs picture and sound, and lacks what they
    lack."""
    needed = {"video", "audio", "sync"} if modality == "sync" else {modality}
    for finding in answer.get("findings") or []:
        if needed & set(finding.get("blocks", [])):
            return str(finding["message"]).rstrip(".")
    judged = [d.get("windows") or [] for d in answer.get("detectors", {}).values()]
    headless = all(judged) and all(w.get(modality) is None for windows in judged for w in windows)
    return words.NOT_JUDGED_NO_HEAD[modality] if headless else words.NOT_JUDGED_NO_WINDOW


def offset_words(offset_s: float) -> tuple[str, str]:
    """By how much the sound comes after the picture, and what follows from it. At the end of the search the curve has
    no peak: nothing was found."""
    steps = abs(offset_s) * STEP_HZ
    if steps > MOST - 0.5:
        found, meaning = words.OFFSET_NOT_FOUND
        return found.format(most=f"{MOST / STEP_HZ:.1f}"), meaning
    meaning = words.OFFSET_USUAL if steps <= NEAR + 0.5 else words.OFFSET_LARGE
    if round(abs(offset_s), 2) == 0:
        return words.OFFSET_TOGETHER, meaning
    side = words.OFFSET_AFTER if offset_s > 0 else words.OFFSET_BEFORE
    return words.OFFSET_APART.format(seconds=f"{abs(offset_s):.2f}", side=side), meaning


def explained_score(explanation: dict, answer: dict) -> str:
    """The score of what an explanation is about; where the clip has another, both, so that none is taken for the
    other. explanation, answer: as JSON."""
    alone, head = f"{explanation['score']:.2f}", explanation["head"]
    detector = answer["detectors"].get(explanation["detector"], {})
    clip = detector.get("score" if head == "whole" else head)
    if clip is None or f"{clip:.2f}" == alone or head == "whole" and clip == detector["sync"]:  # no score of the whole
        return alone
    return words.SCORE_ALONE.format(alone=alone, clip=f"{clip:.2f}")


def thresholds(answer: dict) -> dict | None:
    """The operating points behind the whole verdict; None where the detectors' own points differ."""
    consensus = answer.get("consensus") or {}
    if consensus.get("fitted"):
        return consensus.get("thresholds")
    points = [p for d in answer.get("detectors", {}).values() if (p := d.get("thresholds"))]
    same = all(p[k] == points[0][k] for p in points for k in ("manipulated", "suspicious"))
    return points[0] if points and same else None


def has_strong_band(points: dict) -> bool:
    """False for a clip that is unlike those that the detectors learnt from."""
    return points["manipulated"] < 1


def band_edges(points: dict) -> tuple[float, ...]:
    """Where the bands of words.BAND_LABELS begin, and where the last one ends."""
    return (0.0, points["suspicious"], *([points["manipulated"]] if has_strong_band(points) else []), 1.0)


def band_words(points: dict) -> str:
    """The same in sentences."""
    return words.BANDS[has_strong_band(points)].format(
        **{name: round(points[name] * 100) for name in ("suspicious", "manipulated")})


def was_lowered(answer: dict) -> bool:
    """True where copies of the clip turned its verdict (detectors.probe)."""
    return verdict_before(answer) != answer["verdict"]


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
    judged = [w["track"] for w in detector.get("windows", []) if any(s is not None for s in w.get("video") or [])]
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


def follow_from_curve(detector: dict, duration_s: float) -> bool:
    """False where a detector's answer marks other spans than its curves open: it proposes spans of its own."""
    scores = [WindowScores(np.array(w["start_s"]), np.array(w["end_s"]),
                           *(None if w.get(head) is None else np.array(w[head], float) for head in HEADS),
                           w.get("track")) for w in detector["windows"]]
    curves = mark_segments(scores, Thresholds(**detector["thresholds"]), duration_s) if scores else ()
    given = sorted(detector["segments"], key=lambda s: (s["start_s"], s["modality"]))
    return [s.modality for s in curves] == [s["modality"] for s in given] and all(
        max(abs(s.start_s - g["start_s"]), abs(s.end_s - g["end_s"])) <= STEP_S for s, g in zip(curves, given))


def segments(answer: dict) -> list[tuple[str, dict]]:
    """(detector id, segment) of every marked span, earliest first."""
    found = [(d, s) for d, detector in answer.get("detectors", {}).items() for s in detector.get("segments", [])]
    return sorted(found, key=lambda pair: (pair[1]["start_s"], pair[1]["end_s"]))
