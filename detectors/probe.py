"""The robustness probe: does the answer about a clip hold on cheap variants of the same clip?

Each variant (media.variants) is scored by the same detectors as the clip. A verdict that another copy of the same
recording turns is not one to rely on, so a probe only ever lowers a verdict:

| the clip's verdict | some variants say less | some say more    | some say less, some more |
|--------------------|------------------------|------------------|--------------------------|
| MANIPULATED        | SUSPICIOUS             | -                | -                        |
| SUSPICIOUS         | SUSPICIOUS             | SUSPICIOUS       | CANNOT_EVALUATE          |
| NO_SIGNS           | -                      | CANNOT_EVALUATE  | -                        |

A variant that was made and cannot be judged, though the clip could be, gives CANNOT_EVALUATE in every row. Variants
that would tell nothing (sound variants of a silent clip, halves of a small face) are not tried and change nothing.
NO_SIGNS never becomes an accusation: it is our own copy, not the clip, that raised suspicion.

Of a long clip only the LONGEST_S around its most suspicious moment are probed: variants are compared with the answer
about that part, and what is found lowers the verdict of the whole clip.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

from detectors import consensus
from detectors.analysis import analyse_clip
from detectors.consensus import SEVERITY, Voice, voice_of
from detectors.contract import MODALITIES, Analysis, Detector, Verdict
from detectors.familiarity import as_unusual_as, judge_familiarity
from detectors.recall import remembering
from detectors.segments import score_curve
from media import GRID_HZ, MediaError, OnStage, PreparedClip, prepare
from media.variants import VARIANTS, Variant, excerpt, vary, why_not

LONGEST_S = 15.0
LIMIT_S = 120.0
_WORDS = {Verdict.MANIPULATED: "strong signs", Verdict.SUSPICIOUS: "some signs", Verdict.NO_SIGNS: "no signs",
          Verdict.CANNOT_EVALUATE: "cannot be judged"}
_NAMES = {"video": "picture", "audio": "sound", "sync": "agreement of sound and picture"}


@dataclass(frozen=True)
class Reading:
    """What one detector, or all of them together, say of one copy of the clip."""

    score: float | None
    verdict: Verdict
    lost: tuple[str, ...] = ()  # modalities that were judged in the clip and cannot be in this copy
    voice: Voice | None = None  # a detector's, of which a consensus is made
    unusual: bool = False  # unlike what was learnt from (detectors.familiarity)

    @classmethod
    def of(cls, analysis: Analysis) -> Reading:
        voice = voice_of(analysis)
        return cls(analysis.score, analysis.verdict, voice=voice, unusual=voice.unusual)

    def to_json(self) -> dict:
        return {"score": None if self.score is None else round(self.score, 4), "verdict": str(self.verdict),
                "lost": list(self.lost)}


@dataclass(frozen=True)
class Outcome:
    """How one answer fared over all variants that were tried."""

    clip: Reading  # of the probed part of the clip itself
    lowest: float | None  # score, the clip's own included
    highest: float | None
    flips: tuple[str, ...]  # ids of the variants that turn the verdict
    lost: tuple[str, ...]  # ids of the variants that cannot be judged
    tried: int
    before: Verdict  # of the whole clip
    after: Verdict
    sentences: dict[str, str]  # variant id -> what it does to the answer
    summary: str

    @property
    def holds(self) -> bool | None:
        """None where nothing was tried, or nothing was judged."""
        if not self.tried or self.clip.verdict == Verdict.CANNOT_EVALUATE:
            return None
        return not (self.flips or self.lost)

    def to_json(self) -> dict:
        rounded = {name: None if (v := getattr(self, name)) is None else round(v, 4) for name in ("lowest", "highest")}
        return {"clip": self.clip.to_json(), **rounded, "flips": list(self.flips), "lost": list(self.lost),
                "tried": self.tried, "holds": self.holds, "verdict_before": str(self.before),
                "verdict": str(self.after), "sentences": self.sentences, "summary": self.summary}


@dataclass(frozen=True)
class Trial:
    """One variant: what each detector said, or why it was not tried."""

    variant: Variant
    readings: dict[str, Reading]  # by detector id; empty where it was not tried
    consensus: Reading | None
    not_tried: str | None = None  # in a sentence
    seconds: float = 0.0

    def to_json(self) -> dict:
        return {"id": self.variant.id, "doing": self.variant.doing, "not_tried": self.not_tried,
                "consensus": None if self.consensus is None else self.consensus.to_json(),
                "detectors": {name: r.to_json() for name, r in self.readings.items()},
                "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Probe:
    start_s: float  # the part of the clip that was probed
    end_s: float
    trials: tuple[Trial, ...]
    detectors: dict[str, Outcome]
    consensus: Outcome

    def to_json(self) -> dict:
        return {"span_s": [round(self.start_s, 2), round(self.end_s, 2)], "verdict": str(self.consensus.after),
                "holds": self.consensus.holds, "summary": self.consensus.summary,
                "variants": [t.to_json() for t in self.trials],
                "detectors": {name: o.to_json() for name, o in self.detectors.items()},
                "consensus": self.consensus.to_json()}


def probe(path: str | Path, detectors: Sequence[Detector], base: Sequence[Analysis], on_stage: OnStage | None = None,
          limit_s: float = LIMIT_S) -> Probe:
    """Scores variants of the clip at `path`. base: what each of the detectors said of it, in any order.

    Nothing is left on the disk. After limit_s no further variant is begun, and the answer says so.

    Raises: MediaError where the clip cannot be read; ValueError where base lacks a detector.
    """
    begin = time.monotonic()
    whole = {a.detector: a for a in base}
    if missing := [d.id for d in detectors if d.id not in whole]:
        raise ValueError(f"no analysis of the clip by {', '.join(missing)}")
    clip = judge_familiarity(prepare(path))
    start_s, end_s = suspicious_span([whole[d.id] for d in detectors], clip.duration_s)
    part, heard = clip, whole
    if end_s - start_s < clip.duration_s:
        part = as_unusual_as(excerpt(clip, start_s, end_s), clip)
        with remembering():
            heard = {d.id: analyse_clip(part, d) for d in detectors}

    trials = []
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder:
        for variant in VARIANTS:
            if on_stage:
                on_stage(f"Probing: {variant.doing[0].lower()}{variant.doing[1:]}", time.monotonic() - begin)
            trials.append(try_variant(variant, part, path, start_s, detectors, heard, Path(folder), begin + limit_s))
    readings = {d.id: Reading.of(heard[d.id]) for d in detectors}
    outcomes = {
        d.id: weigh(whole[d.id].verdict, readings[d.id],
                    [(t.variant, t.readings[d.id]) for t in trials if t.not_tried is None])
        for d in detectors
    }
    together = weigh(
        consensus.together([whole[d.id] for d in detectors]).verdict, agree(readings),
        [(t.variant, t.consensus) for t in trials if t.consensus is not None])
    return Probe(start_s, end_s, tuple(trials), outcomes, together)


def suspicious_span(analyses: Sequence[Analysis], duration_s: float) -> tuple[float, float]:
    """(start, end) in seconds of the LONGEST_S around the moment that the detectors find most suspicious, on average.

    The whole of a shorter clip; the beginning of a clip of which nothing could be judged.
    """
    if duration_s <= LONGEST_S:
        return 0.0, duration_s
    curves, centres_s = [], None
    for analysis in analyses:
        heads = []
        for scores in analysis.windows:
            for head in (*MODALITIES, "whole"):
                values = getattr(scores, head)
                if values is not None:
                    centres_s, curve = score_curve(scores.start_s, scores.end_s, values, duration_s)
                    heads.append(curve)
        if heads:
            curves.append(np.fmax.reduce(heads))
    known = np.isfinite(curves).any(axis=0) if curves else np.zeros(1, bool)
    if not known.any():
        return 0.0, LONGEST_S
    mean = np.where(known, np.nansum(curves, axis=0) / np.maximum(np.isfinite(curves).sum(axis=0), 1), -1.0)
    start_s = np.clip(centres_s[int(np.argmax(mean))] - LONGEST_S / 2, 0.0, duration_s - LONGEST_S)
    start_s = float(np.floor(start_s * GRID_HZ) / GRID_HZ)
    return start_s, start_s + LONGEST_S


def try_variant(variant: Variant, part: PreparedClip, path: str | Path, start_s: float, detectors: Sequence[Detector],
                heard: dict[str, Analysis], folder: Path, stop_at: float = float("inf"),
                judge: Callable[[PreparedClip], PreparedClip] | None = None) -> Trial:
    """Makes one variant of the part of the clip at `path` that begins at start_s, and scores it. heard: what each
    detector said of that part; files go into `folder`, which the caller removes; stop_at as media.variants.vary.
    judge: as detectors.familiarity.judge_familiarity; without it, the variant counts for as unusual as the part."""
    begin = time.monotonic()
    reason = why_not(variant, part)
    if reason is None and begin > stop_at:
        reason = "The time set for the probe was up."
    if reason is not None:
        return Trial(variant, {}, None, reason)
    try:
        varied = vary(part, path, start_s, variant, folder, stop_at)
        with remembering():
            varied = judge(varied) if judge else as_unusual_as(varied, part)
            readings = {d.id: read(analyse_clip(varied, d), heard[d.id]) for d in detectors}
    except TimeoutError:
        return Trial(variant, {}, None, "The time set for the probe was up.", time.monotonic() - begin)
    except (av.FFmpegError, OSError):
        return Trial(variant, {}, None, "This copy of the clip could not be written here.", time.monotonic() - begin)
    except MediaError:  # written, but nobody can read it any more
        readings = {d.id: _unread(heard[d.id]) for d in detectors}
    return Trial(variant, readings, agree(readings), None, time.monotonic() - begin)


def read(varied: Analysis, clip: Analysis) -> Reading:
    """What the variant's analysis says, held against the clip's: a modality that is lost makes it unjudgeable."""
    lost = tuple(m for m in MODALITIES if getattr(clip, m) is not None and getattr(varied, m) is None)
    if lost or varied.score is None:
        return Reading(None, Verdict.CANNOT_EVALUATE, lost)
    return Reading.of(varied)


def _unread(clip: Analysis) -> Reading:
    return Reading(None, Verdict.CANNOT_EVALUATE, tuple(m for m in MODALITIES if getattr(clip, m) is not None))


def agree(readings: Mapping[str, Reading]) -> Reading:
    """The consensus of those that judged, as detectors.consensus forms it; by id."""
    told = consensus.agree({name: r.voice or Voice(r.score, r.verdict) for name, r in readings.items()})
    lost = dict.fromkeys(m for r in readings.values() for m in r.lost) if told.score is None else ()
    return Reading(told.score, told.verdict, tuple(lost), unusual=any(r.unusual for r in readings.values()))


def weigh(before: Verdict, clip: Reading, variants: Sequence[tuple[Variant, Reading]]) -> Outcome:
    """The rule of this module. before: the whole clip's verdict; clip: of its probed part; variants: those tried."""
    if clip.verdict == Verdict.CANNOT_EVALUATE:
        return Outcome(clip, None, None, (), (), 0, before, before, {},
                       "Nothing of the clip could be judged, so there is no answer to probe.")
    flips = [(v, r) for v, r in variants if r.verdict not in (clip.verdict, Verdict.CANNOT_EVALUATE)]
    lost = [v for v, r in variants if r.verdict == Verdict.CANNOT_EVALUATE]
    severities = [SEVERITY.index(r.verdict) for _, r in flips]
    own = SEVERITY.index(clip.verdict)
    both_ways = any(s < own for s in severities) and any(s > own for s in severities)
    after = _lowered(before, bool(flips), bool(lost) or both_ways)
    scores = [clip.score, *(r.score for _, r in variants if r.score is not None)]
    outcome = Outcome(clip, min(scores), max(scores), tuple(v.id for v, _ in flips), tuple(v.id for v in lost),
                      len(variants), before, after, {v.id: _sentence(v, clip, r) for v, r in variants}, "")
    return replace(outcome, summary=_summary(outcome))


def _lowered(before: Verdict, flipped: bool, unclear: bool) -> Verdict:
    if unclear or before == Verdict.CANNOT_EVALUATE:
        return Verdict.CANNOT_EVALUATE
    if not flipped:
        return before
    return Verdict.CANNOT_EVALUATE if before == Verdict.NO_SIGNS else Verdict.SUSPICIOUS


def _sentence(variant: Variant, clip: Reading, reading: Reading) -> str:
    if reading.verdict == Verdict.CANNOT_EVALUATE:
        parts = " and the ".join(_NAMES[m] for m in reading.lost) or "clip"
        return f"{variant.doing} leaves the {parts} impossible to judge: the answer does not hold."
    if reading.verdict != clip.verdict:
        return f"{variant.doing} {_change(clip, reading)}: the answer does not hold."
    return f"{variant.doing} {_change(clip, reading)}: the answer holds."


def _change(clip: Reading, reading: Reading) -> str:
    digits = 2 if reading.verdict == clip.verdict else 3
    digits = 2 if f"{clip.score:.2f}" != f"{reading.score:.2f}" else digits
    before, after = f"{clip.score:.{digits}f}", f"{reading.score:.{digits}f}"
    return f"leaves the score at {before}" if before == after else f"changes the score from {before} to {after}"


def _summary(outcome: Outcome) -> str:
    if not outcome.tried:
        return "No variant of this clip could be tried: whether the answer holds is not known."
    bad = len(outcome.flips) + len(outcome.lost)
    span = f"scores from {outcome.lowest:.2f} to {outcome.highest:.2f}"
    if not bad:
        changes = "the one change that was tried" if outcome.tried == 1 else f"all {outcome.tried} changes"
        return f"The answer holds under {changes} ({span})."
    changes = "the one change that was tried" if outcome.tried == 1 else f"{bad} of {outcome.tried} changes"
    changed = f"The answer does not hold under {changes} ({span})"
    if outcome.after == outcome.before:
        return f"{changed}; the verdict stays “{_WORDS[outcome.after]}”."
    return f"{changed}; the verdict is lowered from “{_WORDS[outcome.before]}” to “{_WORDS[outcome.after]}”."
