"""Where detectors agree and where they differ, and how two clips differ: numbers and plain words (not escaped) from
result objects. No HTML here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from detectors.segments import STEP_S, score_curve
from explain.answer import (
    MODALITIES,
    decided_by_sync,
    detector_name,
    follow_from_curve,
    judged_windows,
    listed,
    several_faces,
)
from ui import texts

HEADS = ("score", *MODALITIES)
HEAD_NAMES = {"score": "Whole clip", **texts.MODALITIES}
LEAST_SHARED_S = 3.0  # a correlation over less says nothing
SLIVER_S = 0.5  # edges of two detectors' spans that lie nearer than this are taken as one
FAR_APART = 0.3  # clip scores that differ by at least this much are named
SAME_SCORE = 0.05  # below this, two clips' scores are called about the same

NUMBERS = ("no", "one", "two", "three", "four")
PLACES = {"video": "in the picture", "audio": "in the sound", "sync": "in the lip-sync"}
OBJECTS = {"video": "the picture", "audio": "the sound", "sync": "the lip-sync"}
NOTHING = {
    "video": ("sees nothing wrong there", "see nothing wrong there"),
    "audio": ("hears nothing wrong there", "hear nothing wrong there"),
    "sync": ("finds nothing wrong there", "find nothing wrong there"),
}
CORRELATION_WORDS = (  # below this correlation, these words
    (-0.3, "they move against each other"),
    (0.3, "they do not move together"),
    (0.7, "they move together in part"),
    (1.01, "they rise and fall together"),
)


@dataclass(frozen=True)
class Pair:
    """How two detectors go together."""

    first: str
    second: str
    same_verdict: bool | None  # None where one of them gave none
    correlations: dict[str, float | None]  # of each modality that both judge; None: too short in common, or level


@dataclass(frozen=True)
class Stance:
    """A span that somebody marks, and what every detector that judges this part of the clip says of it."""

    modality: str
    track: int | None
    start_s: float
    end_s: float
    marks: tuple[str, ...]
    clear: tuple[str, ...]  # the score stays below the level at which a span closes
    doubt: tuple[tuple[str, float], ...]  # not marked, but the score there reaches this
    apart: tuple[tuple[str, float], ...]  # the same, by a detector whose spans do not follow from its score
    silent: tuple[str, ...]  # judges this part of the clip, but not here

    @property
    def judges(self) -> int:
        return len(self.marks) + len(self.clear) + len(self.doubt) + len(self.apart)


# ---- who judges what, and its curve -----------------------------------------------------------------------------


def judges(result: dict, modality: str) -> tuple[str, ...]:
    """Ids of the detectors with at least one score of this modality, in the result's order."""
    answers = result.get("detectors") or {}
    return tuple(d for d, answer in answers.items() if judged_windows(answer, modality, None))


def tracks(result: dict, modality: str) -> list[int | None]:
    """The faces that picture and lip-sync are told of; [None] for sound, or where no face is known."""
    faces = [f.get("track") for f in (result.get("media") or {}).get("faces") or []]
    return [None] if modality == "audio" or not faces else faces


def curve(result: dict, detector: str, modality: str, track: int | None) -> np.ndarray:
    """Score in steps of 0.2 s over the clip [m], NaN where the detector does not judge: the curve that its spans
    follow from."""
    windows = judged_windows(result["detectors"][detector], modality, track)
    start_s, end_s, score = np.array(windows, float).reshape(-1, 3).T
    return score_curve(start_s, end_s, score, float(result.get("duration_s") or 0.0))[1]


def opening_level(result: dict, detector: str) -> float | None:
    """The score at which a detector's curves open a span. None where its spans are not those that its curves would
    open: it proposes spans of its own, and no level explains them."""
    answer = result["detectors"][detector]
    if not answer.get("thresholds") or not follow_from_curve(answer, float(result.get("duration_s") or 0.0)):
        return None
    return answer["thresholds"]["segment_on"]


# ---- the matrix -------------------------------------------------------------------------------------------------


def pairs(result: dict) -> list[Pair]:
    """Every two detectors of the result."""
    answers = result.get("detectors") or {}
    found = []
    for first, second in combinations(answers, 2):
        verdicts = [answers[d].get("verdict") for d in (first, second)]
        known = all(v in texts.VERDICTS and v != "CANNOT_EVALUATE" for v in verdicts)
        shared = [m for m in MODALITIES if {first, second} <= {*judges(result, m)}]
        found.append(Pair(first, second, verdicts[0] == verdicts[1] if known else None,
                          {m: correlation(result, first, second, m) for m in shared}))
    return found


def correlation(result: dict, first: str, second: str, modality: str) -> float | None:
    """Pearson's r of two score curves where both judge, over all faces. None where that is shorter than
    LEAST_SHARED_S, or one of them is level."""
    x, y = (np.concatenate([curve(result, d, modality, t) for t in tracks(result, modality)]) for d in (first, second))
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) * STEP_S < LEAST_SHARED_S - 1e-9 or min(x.std(), y.std()) < 1e-4:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def correlation_words(r: float) -> str:
    return next(words for below, words in CORRELATION_WORDS if r < below)


# ---- spans ------------------------------------------------------------------------------------------------------


def stances(result: dict) -> list[Stance]:
    """Every marked span, cut where the set of those that mark it changes, in order of modality, face and time."""
    found = []
    apart = {d for d in result.get("detectors", {}) if opening_level(result, d) is None}
    for modality in MODALITIES:
        asked = judges(result, modality)
        for track in tracks(result, modality):
            curves = {d: curve(result, d, modality, track) for d in asked}
            spans = {d: marked_spans(answer, modality, track) for d, answer in result.get("detectors", {}).items()}
            for start_s, end_s, marks in cut_spans(spans):
                found.append(_stance(result, modality, track, start_s, end_s, marks, curves, apart))
    return found


def marked_spans(answer: dict, modality: str, track: int | None) -> list[tuple[float, float]]:
    """(start, end) of what a detector marks in one part of the clip; sound belongs to every face."""
    return [(float(s["start_s"]), float(s["end_s"])) for s in answer.get("segments") or []
            if s.get("modality") == modality and (modality == "audio" or track is None or s.get("track") == track)]


def cut_spans(spans: dict[str, list[tuple[float, float]]]) -> list[tuple[float, float, tuple[str, ...]]]:
    """(start, end, who marks it) between any two edges of anybody's spans; slivers go to their longer neighbour."""
    edges = sorted({edge for listed in spans.values() for span in listed for edge in span})
    parts = []
    for start, end in zip(edges, edges[1:]):
        middle = (start + end) / 2
        if marks := tuple(d for d, listed in spans.items() if any(a <= middle < b for a, b in listed)):
            parts.append((start, end, marks))
    parts = _joined(parts)
    while slivers := [k for k, part in enumerate(parts) if part[1] - part[0] < SLIVER_S and _neighbours(parts, k)]:
        k = min(slivers, key=lambda k: parts[k][1] - parts[k][0])
        to = max(_neighbours(parts, k), key=lambda n: parts[n][1] - parts[n][0])
        parts[to] = (min(parts[k][0], parts[to][0]), max(parts[k][1], parts[to][1]), parts[to][2])
        del parts[k]
        parts = _joined(parts)
    return parts


def _neighbours(parts: list, k: int) -> list[int]:
    """Those of the parts beside part k that touch it."""
    return [n for n, (edge, other) in ((k - 1, (0, 1)), (k + 1, (1, 0)))
            if 0 <= n < len(parts) and parts[k][edge] == parts[n][other]]


def _joined(parts: list) -> list:
    """Parts that touch and are marked by the same detectors become one."""
    joined: list = []
    for start, end, marks in parts:
        if joined and joined[-1][1] == start and joined[-1][2] == marks:
            joined[-1] = (joined[-1][0], end, marks)
        else:
            joined.append((start, end, marks))
    return joined


def _stance(result: dict, modality: str, track: int | None, start_s: float, end_s: float, marks: tuple[str, ...],
            curves: dict[str, np.ndarray], apart: Collection[str]) -> Stance:
    stance = Stance(modality, track, start_s, end_s, marks, (), (), (), ())
    for detector, values in curves.items():
        if detector in marks:
            continue
        centres_s = (np.arange(len(values)) + 0.5) * STEP_S
        there = values[(centres_s >= start_s) & (centres_s < end_s)]
        judged = there[np.isfinite(there)]
        closes = (result["detectors"][detector].get("thresholds") or {}).get("segment_off", 0.5)
        if len(judged) * 2 < max(len(there), 1):
            stance = replace(stance, silent=(*stance.silent, detector))
        elif judged.max() >= closes and detector in apart:
            stance = replace(stance, apart=(*stance.apart, (detector, float(judged.max()))))
        elif judged.max() >= closes:
            stance = replace(stance, doubt=(*stance.doubt, (detector, float(judged.max()))))
        else:
            stance = replace(stance, clear=(*stance.clear, detector))
    return stance


# ---- words ------------------------------------------------------------------------------------------------------


def sentences(result: dict, cards: dict[str, dict]) -> list[str]:
    """What two or more detectors agree and disagree about: verdicts, who judges what, spans, clip scores. Empty for
    fewer."""
    if len(result.get("detectors") or {}) < 2:
        return []
    found = stances(result)
    said = [verdict_sentence(result, cards)]
    for modality in MODALITIES:
        asked = judges(result, modality)
        said += coverage_sentences(result, modality, cards)
        spans = [stance for stance in found if stance.modality == modality]
        said += [span_sentence(stance, result, cards) for stance in spans]
        if not spans and len(asked) > 1:
            said.append(f"No detector marks a span {PLACES[modality]}.")
        if len(asked) > 1:
            said += _far_apart(result, modality, asked, cards)
    return said


def verdict_sentence(result: dict, cards: dict[str, dict]) -> str:
    answers = result["detectors"]
    verdicts = Counter(answer.get("verdict") for answer in answers.values())
    if len(verdicts) == 1:
        return f"{_all(len(answers))} detectors give the same verdict: {_verdict(next(iter(verdicts)))}."
    groups = (f"{listed([detector_name(d, cards) for d, a in answers.items() if a.get('verdict') == verdict])}: "
              f"{_verdict(verdict)}" for verdict, _ in verdicts.most_common())
    return f"The verdicts differ. {'; '.join(groups)}."


def coverage_sentences(result: dict, modality: str, cards: dict[str, dict]) -> list[str]:
    """Who judges this part of the clip, where not all of them do."""
    everybody, asked = list(result["detectors"]), judges(result, modality)
    if not asked:
        return [f"No detector has judged {OBJECTS[modality]}."]
    if len(asked) == 1:
        return [f"Only {detector_name(asked[0], cards)} judges {OBJECTS[modality]}."]
    if len(asked) < len(everybody):
        others = [detector_name(d, cards) for d in everybody if d not in asked]
        return [f"{number(len(asked)).capitalize()} of {number(len(everybody))} judge {OBJECTS[modality]}; "
                f"{listed(others)} {'does' if len(others) == 1 else 'do'} not."]
    return []


def span_sentence(stance: Stance, result: dict, cards: dict[str, dict]) -> str:
    """ "Three of four mark 5.2 to 7.0 s in the picture; Joint AV sees nothing wrong there." """
    face = f" of face {stance.track + 1}" if stance.track is not None and several_faces(result) else ""
    span = f"{stance.start_s:.1f} to {stance.end_s:.1f} s {PLACES[stance.modality]}{face}"
    marks = [detector_name(d, cards) for d in stance.marks]
    everybody = len(result["detectors"])
    if len(marks) == 1:
        subject = f"{marks[0] if everybody == 1 else f'Only {marks[0]}'} marks"
    elif len(marks) == stance.judges:
        subject = f"{_all(len(marks))} detectors {'' if len(marks) == everybody else 'that judge it '}mark"
    else:
        subject = f"{number(len(marks)).capitalize()} of {number(stance.judges)} mark"
    parts = [f"{subject} {span}"]
    if stance.clear:
        one, more = NOTHING[stance.modality]
        names = [detector_name(d, cards) for d in stance.clear]
        parts.append(f"{listed(names)} {one if len(names) == 1 else more}")
    parts += [f"{detector_name(d, cards)} does not mark it, though its score there reaches {score:.2f}"
              for d, score in stance.doubt]
    parts += [f"{detector_name(d, cards)}, which finds its spans in another way than by its score, marks none there "
              f"(its score reaches {score:.2f})" for d, score in stance.apart]
    if stance.silent:
        parts.append(f"{listed([detector_name(d, cards) for d in stance.silent])} could not judge it there")
    return "; ".join(parts) + "."


def _far_apart(result: dict, modality: str, asked: tuple[str, ...], cards: dict[str, dict]) -> list[str]:
    scores = {d: s for d in asked if (s := result["detectors"][d].get(modality)) is not None}
    if len(scores) < 2 or max(scores.values()) - min(scores.values()) < FAR_APART:
        return []
    ranked = sorted(scores, key=lambda d: -scores[d])
    told = listed([f"{detector_name(d, cards)} {scores[d]:.2f}" for d in ranked])
    return [f"Over the whole clip their scores of {OBJECTS[modality]} lie far apart: {told}."]


def _verdict(verdict: str | None) -> str:
    heading = texts.VERDICTS[verdict][0] if verdict in texts.VERDICTS else texts.VERDICTS["CANNOT_EVALUATE"][0]
    return heading[0].lower() + heading[1:]


def _all(count: int) -> str:
    return "Both" if count == 2 else f"All {number(count)}"


def number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


# ---- consensus --------------------------------------------------------------------------------------------------


FITTED = "by a fit on clips that none of them learnt from: {shares}"
BY_SYNC = "the lip-sync decides, of {names}"


def weights(result: dict, head: str) -> dict[str, float]:
    """Share of each detector in the consensus of a head ("score", "video", ...). Only who has a score counts; equal
    shares unless the result carries weights of this head. Where the lip-sync decides the score, those who judge it are
    the ones that count."""
    if head == "score" and decided_by_sync(result):
        head = "sync"
    scored = [d for d, answer in (result.get("detectors") or {}).items() if answer.get(head) is not None]
    carried = ((result.get("consensus") or {}).get("weights") or {}).get(head) or {}
    total = sum(carried.get(d, 0.0) for d in scored)
    return {d: carried.get(d, 0.0) / total if total > 0 else 1 / len(scored) for d in scored}


def weights_words(result: dict, head: str, cards: dict[str, dict]) -> str:
    """Whose scores the consensus of a head is made of, and how much each counts; "" where nobody has one."""
    shares = weights(result, head)
    if head == "score" and decided_by_sync(result):
        return BY_SYNC.format(names=listed([detector_name(d, cards) for d in shares]))
    if len(shares) < 2:
        return "".join(f"{detector_name(d, cards)} alone" for d in shares)
    told = [f"{share * 100:.0f} %" for share in shares.values()]
    each = listed([f"{detector_name(d, cards)} {percent}" for d, percent in zip(shares, told)])
    if head == "score" and result["consensus"].get("fitted"):
        return FITTED.format(shares=each)
    if len({*told}) > 1:
        return each
    everybody = len(shares) == len(result["detectors"])
    who = ("both" if len(shares) == 2 else f"all {number(len(shares))}") if everybody else (
        f"the {number(len(shares))} that judge it")
    return f"mean of {who}, {told[0]} each"


# ---- two clips --------------------------------------------------------------------------------------------------

FACTS = {
    "container": "Container",
    "video_codec": "Picture codec",
    "width_px": "Picture width",
    "height_px": "Picture height",
    "fps": "Frames a second",
    "audio_codec": "Sound codec",
    "audio_hz": "Sound rate",
    "audio_channels": "Sound channels",
}


def clip_differences(first: dict, second: dict, detector: str) -> list[str]:
    """What differs between two clips in the eyes of one detector, and in their files."""
    said = [_bytes(first, second)]
    lengths = [clip.get("duration_s") for clip in (first, second)]
    if None not in lengths:
        said.append(_durations(*lengths))
    said += _formats(first.get("media") or {}, second.get("media") or {})
    answers = [(clip.get("detectors") or {}).get(detector) for clip in (first, second)]
    if None in answers:
        unread = listed([name for name, a in zip(("the first clip", "the second clip"), answers) if a is None])
        return [*said, f"There is no score to compare: {unread} could not be read."]
    verdicts = [answer.get("verdict") for answer in answers]
    said.append(f"Same verdict for both: {_verdict(verdicts[0])}." if verdicts[0] == verdicts[1] else
                f"The verdicts differ: first, {_verdict(verdicts[0])}; second, {_verdict(verdicts[1])}.")
    said += [sentence for head in HEADS if (sentence := _scores(head, *(answer.get(head) for answer in answers)))]
    return said + _spans(first, second, detector)


def _bytes(first: dict, second: dict) -> str:
    if first.get("sha256") is None or second.get("sha256") is None:
        return "The bytes could not be compared: a SHA-256 is missing."
    if first["sha256"] == second["sha256"]:
        return "Both files are the same, byte for byte: their SHA-256 is equal."
    return "The files differ in their bytes: their SHA-256 is not equal. Saving a clip once more is enough for that."


def _durations(first_s: float, second_s: float) -> str:
    longer = second_s - first_s
    if abs(longer) < 0.05:
        return f"Both last {first_s:.1f} s."
    return (f"The second clip is {abs(longer):.1f} s {'longer' if longer > 0 else 'shorter'} "
            f"({first_s:.1f} s, then {second_s:.1f} s).")


def _formats(first: dict, second: dict) -> list[str]:
    differ = [f"{name}: {_told(first.get(key))} in the first, {_told(second.get(key))} in the second."
              for key, name in FACTS.items() if first.get(key) != second.get(key)]
    return differ or (["Container, codecs, picture size and sound format are the same."] if first else [])


def _told(value: object) -> str:
    return "none" if value is None else str(value)


def _scores(head: str, first: float | None, second: float | None) -> str | None:
    name = HEAD_NAMES[head]
    if first is None and second is None:
        return None
    if first is None or second is None:
        return f"{name}: judged in the {'second' if first is None else 'first'} clip only."
    if abs(second - first) < SAME_SCORE:
        return f"{name}: about the same score ({first:.2f} and {second:.2f})."
    return (f"{name}: {abs(second - first):.2f} {'higher' if second > first else 'lower'} in the second clip "
            f"({first:.2f}, then {second:.2f}).")


def _spans(first: dict, second: dict, detector: str) -> list[str]:
    """Spans that are marked in one of the clips, second for second, faces aside."""
    said = []
    for modality in MODALITIES:
        spans = {name: marked_spans(clip["detectors"][detector], modality, None)
                 for name, clip in (("first", first), ("second", second))}
        for start, end, marks in cut_spans(spans):
            where = f"{start:.1f} to {end:.1f} s {PLACES[modality]}"
            said.append(f"Marked in both: {where}." if len(marks) == 2 else
                        f"Marked in the {marks[0]} clip only: {where}.")
    return said or ["No span is marked in either clip."]
