"""Clips' known truth beside a detector's answers becomes the figures of its card."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from detectors import Thresholds, Verdict
from detectors.contract import MODALITIES
from training.labels import fake_of
from training.localization import covers_whole, measure_spans, span_intervals, true_spans
from training.metrics import (
    auc,
    bootstrap_interval,
    calibration_error_by_chance,
    eer,
    expected_calibration_error,
    partial_auc,
    rates_at,
    reliability,
    stratified_auc,
)

HEADS = {**{name: f"{name}_fake" for name in MODALITIES}, "score": "fake"}  # score of a Row -> its label
VERDICTS = tuple(str(v) for v in Verdict)
LEVELS = ("light", "medium", "heavy")  # compression, in terciles
MOVED = "moved_sound"  # the family of genuine clips whose sound was moved to measure sync
CONTROLS = ("sound_only", "picture_only", "silence_only")


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a clip that is measured."""

    file: str
    family: str
    method: str
    source: str
    identity: str
    pair: str
    video_fake: float | None  # 0, 1 or unknown, as the next two
    audio_fake: float | None
    sync_fake: float | None
    spans: tuple[tuple[str, float, float | None], ...]  # (modality, start_s, end_s) that are fake, where it is known
    crf: float | None = None  # of the last encoding, where it is known
    facts: dict[str, float] = field(default_factory=dict)  # training.facts


@dataclass(frozen=True, kw_only=True)
class Row(Known):
    """Beside it one detector's answer. A score is None where the detector abstained or has no such head; segments and
    proposals are (modality, start_s, end_s, score)."""

    detector: str
    duration_s: float
    video: float | None = None
    audio: float | None = None
    sync: float | None = None
    score: float | None = None
    verdict: str = str(Verdict.CANNOT_EVALUATE)
    reasons: tuple[str, ...] = ()
    segments: tuple[tuple[str, float, float, float], ...] = ()
    proposals: tuple[tuple[str, float, float, float], ...] = ()
    controls: dict[str, dict[str, float | None]] = field(default_factory=dict)  # control -> head -> score
    moved_sync: float | None = None  # sync of the same genuine clip, its sound moved
    shortcut: dict[str, float] = field(default_factory=dict)  # head -> score of the baseline

    @property
    def fake(self) -> float | None:
        """1 when anything is known to be fake, 0 when all that is known is genuine."""
        return fake_of(self)

    @property
    def person(self) -> str:
        return f"{self.source}/{self.identity}"


def summarise(rows: list[Row], thresholds: Thresholds, draws: int = 1000) -> dict:
    """One detector's results, JSON-able, None for what cannot be told. Top-level figures are of the whole clip's score.

    families: a family's fakes against all genuine clips of the modality ("whole" for the clip's score). compression:
    clips by terciles of CRF where all have one, else of bit rate, among clips with, and among those without a picture.
    reliability: the groups of training.metrics.reliability, of the whole clip's score: points of a diagram.
    sync is that of genuine clips and of the same with their sound moved, beside fakes that are known to be out of sync.
    ap_*, ar_* and segments: where it was manipulated, over genuine clips and those of which a known part is fake.
    """
    result: dict = {"clips": len(rows), "families": {}, "compression": {}, "controls": {}}
    levels, result["compression_by"] = _compression_levels(rows)
    for head, label in HEADS.items():
        name = "whole" if head == "score" else head
        judged = [row for row in rows if getattr(row, label) is not None]
        judged += _moved(rows) if head == "sync" else []
        scored = [row for row in judged if getattr(row, head) is not None]
        figures = {**_head_figures(scored, head, thresholds, draws),
                   "coverage": round(len(scored) / max(len(judged), 1), 3)}
        if head == "score":
            result |= figures | {"reliability": _reliability(scored)}
        elif any(getattr(row, head) is not None for row in rows):
            result[head] = figures
        genuine = [row for row in scored if getattr(row, label) == 0]
        for family in sorted({row.family for row in scored if getattr(row, label) == 1}):
            fakes = [row for row in scored if row.family == family and getattr(row, label) == 1]
            result["families"][f"{name}:{family}"] = _figures(genuine + fakes, head, draws)
        for level in LEVELS:
            part = [row for row in scored if levels.get(row.file) == level]
            if part:
                result["compression"][f"{name}:{level}"] = _figures(part, head, draws)
        for control in CONTROLS:
            part = [replace(row, **row.controls[control]) for row in judged if control in row.controls]
            part = [row for row in part if getattr(row, head) is not None]
            if part:
                result["controls"][f"{name}:{control}"] = _figures(part, head, draws)
    for name, label in (("genuine", 0), ("fake", 1)):
        part = [row for row in rows if row.fake == label]
        result[f"{name}_called"] = {v: round(sum(row.verdict == v for row in part) / max(len(part), 1), 4)
                                    for v in VERDICTS}
    result |= _marking(rows)
    return result | _localization(rows, draws)


def _moved(rows: list[Row]) -> list[Row]:
    """Genuine clips again, out of sync: their sound was moved."""
    return [replace(row, family=MOVED, sync_fake=1.0, sync=row.moved_sync, controls={}) for row in rows
            if row.sync_fake == 0 and row.moved_sync is not None]


def _figures(rows: list[Row], head: str, draws: int) -> dict:
    """AUC with its interval, and the baseline's on the same clips."""
    score, fake = _columns(rows, head)
    return {"auc": _rounded(auc(score, fake)),
            "auc_95": _rounded_pair(bootstrap_interval(auc, score, fake, [row.person for row in rows], draws)),
            "shortcut_auc": _shortcut(rows, head, auc),
            "fake": int((fake == 1).sum()), "genuine": int((fake == 0).sum())}


def _head_figures(rows: list[Row], head: str, thresholds: Thresholds, draws: int) -> dict:
    score, fake = _columns(rows, head)
    return {
        **_figures(rows, head, draws),
        "pauc": _rounded(partial_auc(score, fake)), "eer": _rounded(eer(score, fake)),
        "ece": _rounded(expected_calibration_error(score, fake)),
        "ece_by_chance": _rounded_pair(calibration_error_by_chance(score, draws)),
        **{f"at_{name}": {key: _rounded(value) for key, value in rates_at(score, fake, threshold).items()}
           for name, threshold in (("manipulated", thresholds.manipulated), ("suspicious", thresholds.suspicious))},
        "within_source": _within(rows, head, [row.source for row in rows], draws),
        "within_pair": _within(rows, head, [row.pair for row in rows], draws),
    }


def _reliability(rows: list[Row]) -> list[dict]:
    return [{"score": _rounded(group["score"]), "fake": _rounded(group["fake"]), "clips": group["clips"]}
            for group in reliability(*_columns(rows, "score"))]


def _within(rows: list[Row], head: str, strata: list[str], draws: int) -> dict:
    """Fakes against the genuine clips of their own source, or pair: what no look of a web site or a face explains."""
    rows, strata = [row for row, name in zip(rows, strata) if name], np.array([name for name in strata if name])
    score, fake = _columns(rows, head)
    groups = [row.person for row in rows]
    interval = bootstrap_interval(lambda index, drawn: stratified_auc(score[index], drawn, strata[index]),
                                  np.arange(len(rows)), fake, groups, draws)
    return {"auc": _rounded(stratified_auc(score, fake, strata)), "auc_95": _rounded_pair(interval),
            "shortcut_auc": _shortcut(rows, head, lambda score, fake: stratified_auc(score, fake, strata)),
            "compared": int(sum(len({f for f, s in zip(fake, strata) if s == name}) == 2 for name in set(strata)))}


def _shortcut(rows: list[Row], head: str, measure: Callable[[np.ndarray, np.ndarray], float]) -> float | None:
    """The baseline's figure, where all of these clips have its score."""
    if not rows or any(head not in row.shortcut for row in rows):
        return None
    return _rounded(measure(np.array([row.shortcut[head] for row in rows]), _columns(rows, head)[1]))


def _columns(rows: list[Row], head: str) -> tuple[np.ndarray, np.ndarray]:
    """score [n], fake [n]"""
    return (np.array([getattr(row, head) for row in rows], float),
            np.array([getattr(row, HEADS[head]) for row in rows], float))


def _compression_levels(rows: list[Row]) -> tuple[dict[str, str], str]:
    """File -> level, and what it goes by. Clips without a picture are ranked by themselves."""
    by = "crf" if rows and all(row.crf is not None for row in rows) else "bits_per_s"
    levels = {}
    for picture in (True, False):
        part = [row for row in rows if row.facts and ("fps" in row.facts) == picture]
        heavy = [row.crf if by == "crf" else -row.facts["bits_per_s"] for row in part]
        edges = np.quantile(heavy, (1 / 3, 2 / 3)) if part else ()
        levels |= {row.file: LEVELS[np.searchsorted(edges, value, side="right")] for row, value in zip(part, heavy)}
    return levels, by


def _marking(rows: list[Row]) -> dict:
    """How often, and how much of, a genuine clip the app would mark as manipulated."""
    genuine = [row for row in rows if row.fake == 0 and row.score is not None]
    minutes = sum(row.duration_s for row in genuine) / 60
    marked_s = sum(float(np.diff(true_spans([s[:3] for s in row.segments], row.duration_s)).sum()) for row in genuine)
    return {"genuine_marked": round(sum(bool(row.segments) for row in genuine) / max(len(genuine), 1), 4),
            "genuine_marked_s_per_min": round(marked_s / max(minutes, 1e-9), 2)}


def _localization(rows: list[Row], draws: int) -> dict:
    """AP and AR of what a detector proposes, of each modality and regardless of it."""
    result: dict = {"segments": {}}
    for modality in ("any", *MODALITIES):
        part = [row for row in rows if row.score is not None and _is_located(row, modality)]
        truths = [true_spans(row.spans, row.duration_s, None if modality == "any" else modality) for row in part]
        figures = {"clips": len(part), "spans": sum(map(len, truths))}
        if figures["spans"]:
            proposals = [_proposed(row, modality) for row in part]
            figures |= {name: _rounded(value) for name, value in measure_spans(proposals, truths).items()}
            intervals = span_intervals(proposals, truths, [row.person for row in part], draws)
            figures |= {f"{name}_interval": _rounded_pair(interval) for name, interval in intervals.items()}
        result["segments"][modality] = figures
    told = result["segments"]["any"]
    return result | {name: told.get(name) for name in ("ap_50", "ap_75", "ap_90", "ap_95", "ar_100", "ar_50", "ar_20",
                                                        "ar_10", "ar_5")}


def _is_located(row: Row, modality: str) -> bool:
    """Whether it is known where this clip is fake, and that is nowhere or a part of it: one that is fake from end to
    end does not ask where."""
    asked = MODALITIES if modality == "any" else (modality,)
    known = [name for name in asked if getattr(row, f"{name}_fake") is not None]
    spans = true_spans(row.spans, row.duration_s, None if modality == "any" else modality)
    told = {name for name, *_ in row.spans}
    return (bool(known) and all(getattr(row, f"{name}_fake") == 0 or name in told for name in known)
            and not covers_whole(spans, row.duration_s))


def _proposed(row: Row, modality: str) -> np.ndarray:
    """[p, 3] of score, start_s, end_s. What is proposed in a modality that nobody knows of is not held against it."""
    told = {name for name, *_ in row.spans}
    asked = [name for name in MODALITIES if modality in ("any", name)
             and (getattr(row, f"{name}_fake") is not None or name in told)]
    return np.array([(score, start_s, end_s) for name, start_s, end_s, score in row.proposals if name in asked],
                    float).reshape(-1, 3)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def _rounded_pair(pair: tuple[float, float]) -> list[float | None]:
    return [_rounded(value) for value in pair]
