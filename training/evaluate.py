"""Measured results: the same path as the app, clip by clip, with bootstrap intervals by identity.

    python -m training.evaluate ss_avd manifest ROOT [--split val] [--every N] [--rows ROWS.jsonl] [--card] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from detectors import BUILDERS, Detector, Windows, WindowScores, analyse_clip, load
from detectors.checkpoint import CHECKPOINTS
from detectors.segments import clip_score
from detectors.windows import fill, window_starts
from media import AUDIO_HZ, MediaError, forget, prepare
from training.cards import store_results
from training.datasets import DATASETS, Record, read_dataset
from training.metrics import auc, bootstrap_interval, eer, expected_calibration_error
from training.sampling import Sample, faces_at


@dataclass(frozen=True)
class Row:
    """One clip's labels beside its scores; a score is None where the detector abstained."""

    file: str
    family: str
    method: str
    source: str
    identity: str
    pair: str
    video_fake: float | None
    audio_fake: float | None
    video: float | None
    audio: float | None
    score: float | None
    verdict: str
    reasons: tuple[str, ...]

    @property
    def fake(self) -> float | None:
        """1 when either modality is known to be fake, 0 when all known ones are genuine."""
        known = [label for label in (self.video_fake, self.audio_fake) if label is not None]
        return max(known) if known else None


def window_scores(detector: Detector, samples: Iterable[Sample],
                  windows: int | None = None) -> list[tuple[Sample, WindowScores]]:
    """Scores of prepared samples, for use while training and calibrating.

    `windows` limits each clip to that many, evenly spread. Not the app's path: no quality gate, one face.
    """
    cut = ((sample, _sample_windows(sample, detector, windows)) for sample in samples)
    return [(sample, detector.score(part)) for sample, part in cut if part is not None]


def _sample_windows(sample: Sample, detector: Detector, limit: int | None) -> Windows | None:
    spec = detector.spec
    picture, sound = sample.has_picture, sample.has_sound
    if not (picture or sound):
        return None
    tensors = sample.tensors()
    starts = window_starts(sample.duration_s, spec)
    if limit and len(starts) > limit:
        starts = starts[np.linspace(0, len(starts) - 1, 2 * limit + 1).astype(int)[1::2]]
    ends = np.minimum(starts + spec.window_s, sample.duration_s)
    faces = audio = None
    if picture:
        wanted_s = starts[:, None] + np.arange(spec.frames) / spec.frames * (ends - starts)[:, None]
        faces = np.stack([faces_at(tensors, moments_s, spec.face_px) for moments_s in wanted_s])
    if sound:
        wave = tensors["waveform"].astype(np.float32) / 32767
        first = (starts * AUDIO_HZ).round().astype(int)
        audio = np.stack([fill(wave[f:f + spec.samples] if f + 800 < len(wave) else wave, spec.samples) for f in first])
    n = len(starts)
    return Windows(starts, ends, faces, np.full(n, picture), audio, np.full(n, sound))


def modality_auc(scored: list[tuple[Sample, WindowScores]]) -> dict[str, float]:
    """AUC of the picture and of the sound score over clips whose label is known."""
    result = {}
    for name in ("video", "audio"):
        rows = [(clip_score(getattr(scores, name)), getattr(sample, f"{name}_fake")) for sample, scores in scored]
        rows = [(score, label) for score, label in rows if score is not None and not np.isnan(label)]
        score, fake = np.array(rows, float).reshape(-1, 2).T
        result[name] = auc(score, fake)
    return result


def measure_clip(record: Record, root: Path, detector: str) -> Row:
    """One clip through prepare and analyse_clip, as the app does it."""
    labels = {name: getattr(record, name) for name in ("file", "family", "method", "source", "identity", "pair")}
    for name in ("video_fake", "audio_fake"):
        label = getattr(record, name)
        labels[name] = None if np.isnan(label) else label
    try:
        clip = prepare(root / record.file)
        analysis = analyse_clip(clip, load(detector, "cpu"))
    except MediaError as error:
        return Row(**labels, video=None, audio=None, score=None, verdict="CANNOT_EVALUATE",
                   reasons=(str(error.finding.reason),))
    finally:
        forget()
    return Row(**labels, video=analysis.video, audio=analysis.audio, score=analysis.score,
               verdict=str(analysis.verdict), reasons=tuple(str(f.reason) for f in analysis.findings))


def measure(records: list[Record], root: Path, detector: str, jobs: int) -> list[Row]:
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        work = pool.imap_unordered(partial(measure_clip, root=root, detector=detector), records)
        return sorted(tqdm(work, total=len(records), unit="clip", file=sys.stderr, mininterval=5),
                      key=lambda row: row.file)


def summarise(rows: list[Row]) -> dict:
    """AUC with interval per modality and per family (its fakes against all genuine clips), EER, ECE, coverage,
    and how many genuine clips were called MANIPULATED or SUSPICIOUS."""
    result: dict = {"clips": len(rows), "families": {}}
    for modality in ("video", "audio"):
        judged = [r for r in rows if getattr(r, f"{modality}_fake") is not None]
        scored = [r for r in judged if getattr(r, modality) is not None]
        result[modality] = {**_figures(scored, modality, f"{modality}_fake"),
                            "coverage": round(len(scored) / max(len(judged), 1), 3),
                            "within_source_auc": _within_source(scored, modality)}
        genuine = [r for r in scored if getattr(r, f"{modality}_fake") == 0]
        for family in sorted({r.family for r in scored if getattr(r, f"{modality}_fake") == 1}):
            fakes = [r for r in scored if r.family == family and getattr(r, f"{modality}_fake") == 1]
            result["families"][f"{modality}:{family}"] = _figures(genuine + fakes, modality, f"{modality}_fake")
    whole = [r for r in rows if r.fake is not None and r.score is not None]
    result |= _figures(whole, "score", "fake")
    fake, score = (np.array([getattr(r, n) for r in whole], float) for n in ("fake", "score"))
    result["eer"] = round(eer(score, fake), 4)
    result["ece"] = round(expected_calibration_error(score, fake), 4)
    genuine = [r for r in rows if r.fake == 0]
    result["genuine_called"] = {v: round(sum(r.verdict == v for r in genuine) / max(len(genuine), 1), 4)
                                for v in ("MANIPULATED", "SUSPICIOUS", "NO_SIGNS", "CANNOT_EVALUATE")}
    fakes = [r for r in rows if r.fake == 1]
    result["fake_called"] = {v: round(sum(r.verdict == v for r in fakes) / max(len(fakes), 1), 4)
                             for v in ("MANIPULATED", "SUSPICIOUS", "NO_SIGNS", "CANNOT_EVALUATE")}
    return result


def _figures(rows: list[Row], score_name: str, label_name: str) -> dict:
    score = np.array([getattr(r, score_name) for r in rows], float)
    fake = np.array([getattr(r, label_name) for r in rows], float)
    low, high = bootstrap_interval(auc, score, fake, [f"{r.source}/{r.identity}" for r in rows])
    return {"auc": _rounded(auc(score, fake)), "auc_95": [_rounded(low), _rounded(high)],
            "fake": int((fake == 1).sum()), "genuine": int((fake == 0).sum())}


def _within_source(rows: list[Row], modality: str) -> float | None:
    """Share of (fake, genuine) pairs of the same source that are ranked right: what no web site's look explains."""
    right = total = 0.0
    for source in {r.source for r in rows}:
        here = [r for r in rows if r.source == source]
        score = np.array([getattr(r, modality) for r in here], float)
        fake = np.array([getattr(r, f"{modality}_fake") for r in here], float)
        count = float((fake == 1).sum() * (fake == 0).sum())
        if count:
            right += auc(score, fake) * count
            total += count
    return _rounded(right / total) if total else None


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("detector", choices=list(BUILDERS))
    parser.add_argument("dataset", choices=list(DATASETS))
    parser.add_argument("root", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="only every N-th clip of the split, for a quick look")
    parser.add_argument("--jobs", type=int, default=max(multiprocessing.cpu_count(), 1))
    parser.add_argument("--rows", type=Path, help="also write every clip's scores, as JSON lines")
    parser.add_argument("--card", action="store_true", help="store the results in the shipped checkpoint's card")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        records = [r for r in read_dataset(args.dataset, args.root) if r.split == args.split][:: args.every]
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    rows = measure(records, args.root, args.detector, args.jobs)
    if args.rows:
        args.rows.write_text("".join(json.dumps(asdict(r)) + "\n" for r in rows), encoding="utf-8")
    summary = {**summarise(rows), "every": args.every}
    if args.card:
        store_results(CHECKPOINTS / f"{args.detector}.safetensors", summary)
    for key, value in summary.items():
        for name, inner in (value.items() if key == "families" else ((key, value),)):
            print(f"{name:28} {inner}")
    if args.json:
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
