"""Measured results: the app's own path from clip to answer, with bootstrap intervals by identity.

    python -m training.evaluate DETECTOR [DETECTOR ...] DATASET ROOT [--shortcuts SHARDS] [--card] [--json]
    python -m training.evaluate DETECTOR [DETECTOR ...] --prepared SHARDS [--card] [--json]

`all` stands for every detector, `consensus` for all of them and what they say together. Each clip is prepared once, or
taken as training.prepare left it in shards (of which the first face alone is judged), and scored by all of them. The
results say which of the two it was.

Beside each AUC stands the shortcut baseline (training.shortcuts): what file, timing, pose and border alone tell of the
same clips, fitted to the training split of the shards; of two models the one that does better on these very clips.
What a detector is worth is what lies above it. Three controls follow: the same clips with their sound alone, with
their picture alone, and with nothing but the silence between the words, which should tell nothing. Few corpora hold
sound that belongs elsewhere; for the figures of sync, genuine talk is judged once more with the halves of its sound
exchanged.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import shlex
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from detectors import MODULES, Analysis, Segment, Thresholds, analyse_clip, load, shipped
from detectors.consensus import CONSENSUS, fit_for, together
from detectors.contract import MODALITIES
from detectors.familiarity import judge_familiarity
from detectors.recall import remembering
from media import AUDIO_HZ, MediaError, PreparedClip, forget, prepare
from training.datasets import DATASETS, Record, read_dataset
from training.facts import clip_facts
from training.labels import any_fake, label_of
from training.localization import propose_segments
from training.metrics import auc
from training.results import CONTROLS, HEADS, Known, Row, summarise
from training.sampling import Sample, read_samples
from training.shards import read_index
from training.shortcuts import score_by_facts

LEAST_MOVED_S = 1.5  # more than lip-sync forgives, and than a word lasts


@dataclass(frozen=True)
class Material:
    """What is measured on, and how: the same again gives the same results."""

    route: str  # "clips": files, prepared as the app does it; "prepared": shards of training.prepare
    dataset: str
    split: str = "val"
    every: int = 1  # only every N-th clip, with what was forged from it
    controls: bool = True


@dataclass(frozen=True, kw_only=True)
class Item(Known):
    """A clip to be measured on: what is known of it, and where it lies. Facts of a file are taken on the way."""

    place: Path | Sample


# ---- what to measure on -----------------------------------------------------------------------------------------


def gather_items(material: Material, root: Path) -> list[Item]:
    """The clips of a data set's folder, or of a folder of shards.

    Raises: FileNotFoundError and ValueError as read_dataset and read_samples; ValueError when there is no such clip.
    """
    if material.route == "clips":
        items = {r.file: [_of_record(r, root)] for r in read_dataset(material.dataset, root)
                 if r.split == material.split}
    else:
        lines = {line["key"]: line for line in read_index(root) if "skipped" not in line}
        items = defaultdict(list)
        for sample in sorted(read_samples(root), key=lambda s: (s.group, s.key)):
            if sample.split == material.split:
                items[sample.group].append(_of_sample(sample, lines[sample.key]))
    if not items:
        raise ValueError(f"there is no clip of the split {material.split!r}")
    return [item for group in list(items.values())[::material.every] for item in group]


def _of_record(record: Record, root: Path) -> Item:
    video_fake, audio_fake = (None if math.isnan(v) else v for v in (record.video_fake, record.audio_fake))
    genuine = 0 in (video_fake, audio_fake) and 1 not in (video_fake, audio_fake)
    return Item(
        place=root / record.file, file=record.file, family=record.family, method=record.method, source=record.source,
        identity=record.identity, pair=record.pair or (record.file if genuine else ""), video_fake=video_fake,
        audio_fake=audio_fake, sync_fake=0.0 if genuine else None, spans=record.spans,
    )


def _of_sample(sample: Sample, line: dict) -> Item:
    sync_fake = label_of(sample, "sync")
    file = f"{sample.group}#{line['version']}" if line["version"] else sample.group
    return Item(
        place=sample, file=file, family=sample.family, method=sample.method, source=sample.source,
        identity=sample.identity, pair=sample.pair, video_fake=line["video_fake"], audio_fake=line["audio_fake"],
        sync_fake=None if math.isnan(sync_fake) else sync_fake, spans=tuple(tuple(s) for s in line["spans"]),
        crf=line.get("chain", {}).get("crf"), facts=line["facts"],
    )


# ---- measuring --------------------------------------------------------------------------------------------------


def measure(items: Sequence[Item], detectors: Sequence[str], jobs: int, controls: bool = True) -> dict[str, list[Row]]:
    """Detector -> one row per clip, by so many processes."""
    work = partial(measure_clip, detectors=tuple(detectors), controls=controls)
    # spawn: a forked child would inherit torch's thread pool in an unusable state
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        found = list(tqdm(pool.imap_unordered(work, items), total=len(items), unit="clip", file=sys.stderr,
                          mininterval=5))
    rows = sorted((row for part in found for row in part), key=lambda row: row.file)
    return {name: [row for row in rows if row.detector == name] for name in detectors}


def measure_clip(item: Item, detectors: Sequence[str], controls: bool = True) -> list[Row]:
    """One clip, prepared once, scored by each detector as the app does it."""
    known = {name: getattr(item, name) for name in Known.__dataclass_fields__}
    asked = shipped() if CONSENSUS in detectors else detectors
    try:
        clip = prepare(item.place) if isinstance(item.place, Path) else item.place.clip()
        known["facts"] = item.facts or clip_facts(clip)
        with remembering():
            clip = judge_familiarity(clip)
            analyses = [analyse_clip(clip, load(name, "cpu")) for name in asked]
        rows = [_answer(known, clip, analysis, controls) for analysis in analyses if analysis.detector in detectors]
        return [*rows, _common_answer(known, clip, analyses)] if CONSENSUS in detectors else rows
    except MediaError as error:
        return [Row(**known, detector=name, duration_s=0.0, reasons=(str(error.finding.reason),))
                for name in detectors]
    finally:
        forget()


def _answer(known: dict, clip: PreparedClip, analysis: Analysis, controls: bool) -> Row:
    heard = {}
    if controls:
        # Where nothing is taken away, the answer is known already.
        heard = {name: _scores(analysis if changed is clip else analyse_clip(changed, load(analysis.detector, "cpu")))
                 for name, change in _CHANGES.items() if (changed := change(clip)) is not None}
    moved = exchange_halves(clip) if known["sync_fake"] == 0 and analysis.sync is not None else None
    moved_sync = None if moved is None else analyse_clip(moved, load(analysis.detector, "cpu")).sync
    return Row(**known, detector=analysis.detector, duration_s=clip.duration_s, **_scores(analysis),
               moved_sync=moved_sync,
               verdict=str(analysis.verdict), reasons=tuple(str(f.reason) for f in analysis.findings),
               segments=_listed(analysis.segments),
               proposals=_listed(propose_segments(analysis.windows, clip.duration_s)), controls=heard)


def _common_answer(known: dict, clip: PreparedClip, analyses: Sequence[Analysis]) -> Row:
    """What they say together of the whole clip; it marks no moments."""
    common = together(analyses)
    return Row(**known, detector=CONSENSUS, duration_s=clip.duration_s, score=common.score, verdict=str(common.verdict))


def _scores(analysis: Analysis) -> dict[str, float | None]:
    return {head: getattr(analysis, head) for head in HEADS}


def _listed(segments: Iterable[Segment]) -> tuple[tuple[str, float, float, float], ...]:
    return tuple((s.modality, round(s.start_s, 3), round(s.end_s, 3), round(s.score, 5)) for s in segments)


def keep_sound(clip: PreparedClip) -> PreparedClip | None:
    """The clip without its picture; the clip itself where it has none, None where nothing would be left."""
    if clip.waveform is None:
        return None
    return replace(clip, tracks=(), faces={}, lips={}) if clip.tracks else clip


def keep_picture(clip: PreparedClip) -> PreparedClip | None:
    """The clip without its sound; likewise."""
    if not clip.tracks:
        return None
    return clip if clip.waveform is None else replace(clip, waveform=None, speech_s=())


def keep_silence(clip: PreparedClip) -> PreparedClip | None:
    """Its sound alone, with zeros instead of every voice. It still counts as spoken there, or nobody would judge it."""
    sound = keep_sound(clip)
    if sound is None:
        return None
    waveform = sound.waveform.copy()
    for start_s, end_s in clip.speech_s:
        waveform[int(start_s * AUDIO_HZ):math.ceil(end_s * AUDIO_HZ)] = 0
    return replace(sound, waveform=waveform)


def exchange_halves(clip: PreparedClip) -> PreparedClip | None:
    """The clip with the second half of its sound first: what is heard belongs to other moments of the same talk. None
    where there is no sound or no face, or less than LEAST_MOVED_S of it to move by."""
    if clip.waveform is None or not clip.tracks or (length_s := len(clip.waveform) / AUDIO_HZ) < 2 * LEAST_MOVED_S:
        return None
    half_s = length_s / 2
    halves = ((0.0, half_s, half_s), (half_s, length_s, -half_s))  # from, to, by
    speech_s = sorted((max(start_s, first_s) + by_s, min(end_s, last_s) + by_s)
                      for start_s, end_s in clip.speech_s for first_s, last_s, by_s in halves
                      if min(end_s, last_s) > max(start_s, first_s))
    return replace(clip, waveform=np.roll(clip.waveform, len(clip.waveform) // 2), speech_s=tuple(speech_s))


_CHANGES: dict[str, Callable[[PreparedClip], PreparedClip | None]] = dict(
    zip(CONTROLS, (keep_sound, keep_picture, keep_silence)))


# ---- results ----------------------------------------------------------------------------------------------------


def judge_by_facts(rows: list[Row], lines: Sequence[dict]) -> dict[str, dict[str, float]]:
    """File -> head -> score of the baseline. Index lines of the training split teach it; of its models the one that
    ranks these very clips better is taken. The rows may be any detector's: their scores are not read."""
    learnt = [line for line in lines if "skipped" not in line and line["split"] == "train"]
    known = [row for row in rows if row.facts]
    found: dict[str, dict[str, float]] = {row.file: {} for row in rows}
    for head, label in HEADS.items():
        labels = [any_fake(line[f"{name}_fake"] for name in MODALITIES) if head == "score" else line[label]
                  for line in learnt]
        taught = [(line["facts"], fake) for line, fake in zip(learnt, labels) if fake is not None]
        if not known or len({fake for _, fake in taught}) < 2:
            continue
        facts, fake = zip(*taught)
        models = score_by_facts(facts, np.array(fake), [row.facts for row in known])
        judged = np.array([getattr(row, label) is not None for row in known])
        truth = np.array([getattr(row, label) or 0.0 for row in known])
        best = max(models, key=lambda name: np.nan_to_num(auc(models[name][judged], truth[judged])))
        for row, score in zip(known, models[best]):
            found[row.file][head] = float(score)
    return found


def evaluate(detectors: Sequence[str], material: Material, root: Path, jobs: int, shortcuts: Path | None = None,
             rows_path: Path | None = None) -> dict[str, dict]:
    """Detector -> its results. `shortcuts`: shards whose training split teaches the baseline, where it is to be shown
    (prepared clips bring their own, unless told otherwise). `rows_path`: where all rows go, as JSON lines, once they
    are measured."""
    measured = measure(gather_items(material, root), detectors, jobs, material.controls)
    if rows_path:
        lines = (json.dumps(asdict(row)) + "\n" for rows in measured.values() for row in rows)
        rows_path.write_text("".join(lines), encoding="utf-8")
    shortcuts = shortcuts or (root if material.route == "prepared" else None)
    baseline = judge_by_facts(measured[detectors[0]], read_index(shortcuts)) if shortcuts else {}
    found = {}
    for name, rows in measured.items():
        rows = [replace(row, shortcut=baseline.get(row.file, {})) for row in rows]
        found[name] = {**summarise(rows, thresholds_of(name)), "material": asdict(material)}
    return found


def thresholds_of(name: str) -> Thresholds:
    """Of a shipped detector; of the consensus of all of them, which opens no segments.

    Raises: ValueError where there is no fitted consensus.
    """
    if name != CONSENSUS:
        return Thresholds(**shipped()[name]["thresholds"])
    fit = fit_for(shipped())
    if fit is None:
        raise ValueError("the shipped detectors have no common fit yet; make one with python -m training.consensus")
    return Thresholds(fit.manipulated, fit.suspicious, segment_on=1.0, segment_off=1.0)


# ---- the command ------------------------------------------------------------------------------------------------


def command_for(detector: str, material: Material, shortcuts: bool) -> str:
    """What measures this detector so again, with DATA and SHARDS in place of folders."""
    words = ["python", "-m", "training.evaluate", detector]
    words += ["--prepared", "SHARDS"] if material.route == "prepared" else [material.dataset, "DATA"]
    words += ["--split", material.split] if material.split != Material.split else []
    words += ["--every", str(material.every)] if material.every != Material.every else []
    words += [] if material.controls else ["--no-controls"]
    words += ["--shortcuts", "SHARDS"] if shortcuts else []
    return shlex.join([*words, "--card"])


def chosen_detectors(names: Sequence[str]) -> list[str]:
    """Raises: ValueError for an unknown detector, or one without a checkpoint."""
    there = shipped()
    if CONSENSUS in names:
        thresholds_of(CONSENSUS)
        names = [*there, CONSENSUS]
    names = list(there) if "all" in names else list(dict.fromkeys(names))
    for name in names:
        if name == CONSENSUS:
            continue
        if name not in MODULES:
            raise ValueError(f"unknown detector {name!r}; there are: {', '.join(MODULES)}, all, {CONSENSUS}")
        if name not in there:
            raise ValueError(f"{name} has no checkpoint; make one with training.train and training.calibrate")
    return names


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__.splitlines()[0],
        usage="%(prog)s DETECTOR [DETECTOR ...] (DATASET ROOT | --prepared SHARDS) [options]")
    parser.add_argument("words", nargs="+", metavar="DETECTOR ... DATASET ROOT",
                        help=f"detectors: {', '.join(MODULES)}, all, or {CONSENSUS} (all, and together); data sets: "
                             f"{', '.join(DATASETS)}")
    parser.add_argument("--prepared", type=Path, metavar="SHARDS", help="measure on what training.prepare wrote")
    parser.add_argument("--shortcuts", type=Path, metavar="SHARDS",
                        help="shards whose training split teaches the shortcut baseline (--prepared: those)")
    parser.add_argument("--split", default="val")
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="only every N-th clip of the split, for a quick look")
    parser.add_argument("--controls", action=argparse.BooleanOptionalAction, default=True,
                        help="also score clips without picture, sound or voice: up to four times the work")
    parser.add_argument("--jobs", type=int, default=max(multiprocessing.cpu_count(), 1))
    parser.add_argument("--rows", type=Path, help="also write every clip's scores, as JSON lines")
    parser.add_argument("--card", action="store_true",
                        help="store the results, and how they were measured, in the shipped checkpoint's card")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON line, last")
    args = parser.parse_args(argv)
    names, rest = (args.words, []) if args.prepared else (args.words[:-2], args.words[-2:])
    try:
        if not names:
            raise ValueError("give at least one detector, then DATASET ROOT or --prepared SHARDS")
        names = chosen_detectors(names)
        if args.prepared:
            root, dataset = args.prepared, "+".join(sorted({line["dataset"] for line in read_index(args.prepared)}))
        else:
            dataset, root = rest[0], Path(rest[1])
        material = Material("prepared" if args.prepared else "clips", dataset, args.split, args.every, args.controls)
        found = evaluate(names, material, root, args.jobs, args.shortcuts, args.rows)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    for name, results in found.items():
        if args.card:
            # Cards are checked by measuring again, through this module.
            from training.cards import path_of, store_consensus, store_results

            if name == CONSENSUS:
                store_consensus(path_of(name), results)
            else:
                store_results(path_of(name), results, command_for(name, material, args.shortcuts is not None))
        _print_results(name, results)
    if args.json:
        print(json.dumps(found if len(found) > 1 else found[names[0]]))
    return 0


def _print_results(name: str, results: dict) -> None:
    print(f"\n{name}: {results['clips']} clips, by {results['material']['route']}")
    print(f"{'':34}   AUC  95 %          shortcut    fake genuine")
    heads = {"whole": results, **{head: results[head] for head in MODALITIES if head in results}}
    groups = {**heads, **{f"{head}, within {what}": figures[f"within_{what}"] for head, figures in heads.items()
                          for what in ("source", "pair")},
              **results["families"], **results["compression"], **results["controls"]}
    for title, figures in groups.items():
        low, high = figures["auc_95"]
        counts = "".join(f"{figures[key]:8}" for key in ("fake", "genuine") if key in figures)
        print(f"{title:34} {_text(figures['auc'])}  {_text(low)} to {_text(high)}  {_text(figures['shortcut_auc'])}"
              f"  {counts}")
    for title, figures in heads.items():
        print(f"{title:34} pAUC {_text(figures['pauc'])}  EER {_text(figures['eer'])}  ECE {_text(figures['ece'])} "
              f"(by chance up to {_text(figures['ece_by_chance'][1])})  "
              f"coverage {figures['coverage']:.2f}")
    for key in ("at_manipulated", "at_suspicious", "genuine_called", "fake_called", "genuine_marked",
                "genuine_marked_s_per_min"):
        print(f"{key:34} {results[key]}")
    for modality, figures in results["segments"].items():
        print(f"segments, {modality:24} {figures}")


def _text(value: float | None) -> str:
    return "    –" if value is None else f"{value:5.3f}"


if __name__ == "__main__":
    sys.exit(main())
