"""Clips to shards: forged, put through one final chain with their originals, prepared as the app does it, written.

    python -m training.prepare DATASET ROOT --out SHARDS [--versions 4] [--files 'video/*'] [--learnt DIR] [--jobs N]
    python -m training.prepare DATASET ROOT --out SHARDS --as-is       (no forgeries, no chain: the clips themselves)

Each genuine clip gives a group: itself and its forged versions, all through the same drawn chain, so that only the
manipulation tells them apart. Published fakes go through a chain of their own draw. What comes of a clip depends on
the seed, the clip and its donors alone: not on the number of processes, nor on what was prepared before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import multiprocessing
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from tqdm import tqdm

from media import MediaError, PreparedClip, forget, prepare
from media.crops import alignment
from training.datasets import DATASETS, Record, read_dataset
from training.datasets.splits import split_identities
from training.facts import clip_facts
from training.forge.chain import draw_chain, run_chain
from training.forge.families import PARTIAL_SHARE, SHARE, Materials, Version, draw_versions, gather, left_out_of
from training.forge.footage import Footage, Span, Truth, Unsuitable
from training.forge.landmarks import find_landmarks
from training.forge.learnt import SHIPPED
from training.forge.read import MOST_PIECES, PIECE_S, read_pieces
from training.forge.sync import edges_to_cut
from training.shards import COMMAND, REGION_PX, Packed, pack_pictures, write_shard

log = logging.getLogger("telltale")

CLIPS_PER_SHARD = 8  # with 4 versions of 15 s each at most 0.5 GB; four times that where all are cut into pieces
DONOR_TRIES = 8


@dataclass(frozen=True)
class Plan:
    """How clips become samples: the same for every process."""

    root: Path
    records: tuple[Record, ...]  # all of them: donors are drawn from these
    versions: int
    as_is: bool
    learnt: Path | None
    seed: int
    voices: Path | None = None  # further ones for the speech engine Kokoro
    modalities: tuple[str, ...] = tuple(SHARE)  # what is forged first of all
    piece_s: float = PIECE_S
    pieces: int = MOST_PIECES  # of a clip, at most
    partial: float = PARTIAL_SHARE  # of the forgeries that can be limited to a part of the time, so many are


@dataclass(frozen=True)
class Unit:
    """One shard: the clips that go into it."""

    shard: Path
    records: tuple[Record, ...]


def plan_units(records: Iterable[Record], out: Path, name: str, seed: int) -> list[Unit]:
    """Clips in shuffled order, so that every shard has some of everything; the order depends on the names alone."""
    shuffled = sorted(records, key=lambda r: _digest(f"{seed}/{r.file}"))
    return [Unit(out / f"{name}-{number:06d}.tar", tuple(shuffled[first:first + CLIPS_PER_SHARD]))
            for number, first in enumerate(range(0, len(shuffled), CLIPS_PER_SHARD))]


def write_unit(unit: Unit, plan: Plan) -> list[dict]:
    """One shard and its index lines."""
    left_out: list[dict] = []
    return write_shard(unit.shard, _samples_of(unit, plan, left_out), left_out)


def _samples_of(unit: Unit, plan: Plan, left_out: list[dict]) -> Iterator[Packed]:
    for record in unit.records:
        try:
            yield from _as_it_is(record, plan) if plan.as_is else _groups(record, plan)
        except MediaError as error:
            left_out.append({**_line(record, 0), "skipped": error.finding.message})
        except (av.FFmpegError, OSError, Unsuitable) as error:
            left_out.append({**_line(record, 0), "skipped": f"{type(error).__name__}: {error}"})
        finally:
            forget()


def _as_it_is(record: Record, plan: Plan) -> Iterator[Packed]:
    truth = Truth(record.pair or record.file)
    yield _pack(prepare(plan.root / record.file), _line(record, 0), truth, None)


def _groups(record: Record, plan: Plan) -> Iterator[Packed]:
    """A clip, or each piece of a long one, with its forgeries where it is genuine."""
    for start_s, footage in read_pieces(plan.root / record.file, record.file, piece_s=plan.piece_s,
                                        most=plan.pieces):
        yield from _group(record, footage, start_s, plan)


def _group(record: Record, footage: Footage, start_s: float, plan: Plan) -> Iterator[Packed]:
    """One piece and its forgeries, through one chain."""
    rng = np.random.default_rng((plan.seed, int(_digest(_piece(record, start_s))[:12], 16)))
    original = Version("", footage, Truth(record.file, _known_spans(record, footage, start_s)))
    forged: list[Version] = []
    if plan.versions and is_genuine(record):
        if footage.frames is not None:
            footage = replace(footage, landmarks=find_landmarks(footage.frames))
        forged = draw_versions(footage, _materials(plan, record), plan.versions, rng, plan.modalities, plan.partial)
    chain = draw_chain(footage, rng, edges_to_cut(footage, *(v.truth for v in forged)))
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder:
        for number, version in enumerate([original, *forged]):
            path = Path(folder) / f"{number}{chain.suffix}"
            truth, times_s = run_chain(chain, version.footage, version.truth, path)
            clip = prepare(path)
            line = {**_line(record, number, start_s), "chain": asdict(chain)}
            line |= _forged(record, version, truth) if number else _as_timed(record, truth)
            yield _pack(clip, line, truth, times_s)
            forget()
            path.unlink()


def _piece(record: Record, start_s: float) -> str:
    """The name of a clip's piece; the first one has the clip's own."""
    return f"{record.file}@{start_s:g}" if start_s else record.file


def is_genuine(record: Record) -> bool:
    """No modality is known to be fake, and at least one is known to be genuine."""
    labels = (record.video_fake, record.audio_fake)
    return 0 in labels and 1 not in labels


def _line(record: Record, number: int, start_s: float = 0.0) -> dict:
    """What the corpus says, JSON-able: unknown labels are None, open ends of spans too."""
    line = asdict(record)
    for name in ("video_fake", "audio_fake"):
        line[name] = None if math.isnan(line[name]) else line[name]
    line["spans"] = [[modality, start_s, None if math.isinf(end_s) else end_s]
                     for modality, start_s, end_s in record.spans]
    genuine = is_genuine(record)
    line["pair"] = record.pair or (record.file if genuine else "")
    piece = _piece(record, start_s)
    return {**line, "key": f"{_digest(piece)[:16]}-{number}", "version": number, "steps": [],
            "sync_fake": 0.0 if genuine else None, "group": piece, "forged": ""}


def _known_spans(record: Record, footage: Footage, start_s: float) -> tuple[Span, ...]:
    """Where the corpus says that it is fake, on the piece's own clock, before the chain."""
    known = ((modality, max(first_s - start_s, 0.0), min(last_s - start_s, footage.duration_s))
             for modality, first_s, last_s in record.spans)
    return tuple(Span(first_s, last_s, modality) for modality, first_s, last_s in known if first_s < last_s)


def _as_timed(record: Record, truth: Truth) -> dict:
    """Spans and labels of a clip of the corpus after the chain: what it cut off is no longer there to be found."""
    cut_off = {name: 0.0 for name in ("video", "audio")
               if record.extent(name) in ("whole", "partial") and not truth.labels[name]}
    return {"spans": _spans_of(truth), **{f"{name}_fake": label for name, label in cut_off.items()}}


def _spans_of(truth: Truth) -> list[list]:
    return [[s.modality, round(s.start_s, 4), round(s.end_s, 4)] for s in truth.spans]


def _forged(record: Record, version: Version, truth: Truth) -> dict:
    """The labels of a forgery: of what the chain left of it."""
    labels = truth.labels
    known = {"video": record.video_fake, "audio": record.audio_fake}
    labels = {name: None if name in known and math.isnan(known[name]) and not label else label
              for name, label in labels.items()}
    return {
        **{f"{name}_fake": label for name, label in labels.items()},
        "family": version.family, "forged": version.family, "method": f"forge:{version.family}",
        "identities": list(dict.fromkeys([*record.identities, *truth.identities])),
        "spans": _spans_of(truth),
        "steps": [list(step) for step in truth.steps],
    }


def _pack(clip: PreparedClip, line: dict, truth: Truth, times_s: np.ndarray | None) -> Packed:
    tensors: dict[str, np.ndarray] = {}
    if clip.tracks:
        track = clip.tracks[0]
        tensors |= {"times_s": track.times_s, **pack_pictures("faces", clip.faces[track.track_id], "jpeg"),
                    **pack_pictures("lips", clip.lips[track.track_id], "jpeg")}
        if truth.region is not None:
            tensors |= pack_pictures("region", _aligned_region(truth.region, times_s, clip), "png")
    if clip.waveform is not None:
        tensors["waveform"] = np.round(clip.waveform * 32767).astype(np.int16)
    measures = clip.quality.measures
    return Packed({
        **line, "duration_s": clip.duration_s, "faces": len(tensors.get("times_s", ())),
        "samples": len(tensors.get("waveform", ())), "speech_s": measures.get("speech_s", 0.0),
        "voice_s": [[round(start_s, 3), round(end_s, 3)] for start_s, end_s in clip.speech_s],
        "reasons": [str(r) for r in clip.quality.reasons],
        "blocks": sorted(set().union(*(f.blocks for f in clip.quality.findings))), "facts": clip_facts(clip),
    }, tensors)


def _aligned_region(region: np.ndarray, times_s: np.ndarray, clip: PreparedClip) -> np.ndarray:
    """[n, H, W] uint8 of the file's frames -> [N, REGION_PX, REGION_PX] uint8 in the face crops of the main track."""
    track = clip.tracks[0]
    scale = clip.info.width_px / region.shape[2]
    rows = np.abs(times_s[None] - track.times_s[:, None]).argmin(axis=1)
    return np.stack([
        cv2.warpAffine(region[row], alignment(points / scale, REGION_PX), (REGION_PX, REGION_PX), flags=cv2.INTER_AREA)
        for row, points in zip(rows, track.landmarks_px)])


@lru_cache(maxsize=1)
def _gathered(learnt: Path | None, voices: Path | None) -> Materials:
    return gather(_no_donor, learnt, voices)


def _no_donor(kind: str, rng: np.random.Generator) -> tuple[Footage, str]:
    raise Unsuitable("there is nobody to bring in")


def _materials(plan: Plan, record: Record) -> Materials:
    """The swapper draws people of the training split, who must not turn up in another one."""
    materials = replace(_gathered(plan.learnt, plan.voices), donate=lambda kind, rng: _donor(plan, record, kind, rng))
    return materials if record.split == "train" else replace(materials, swapper=None)


def _donor(plan: Plan, record: Record, kind: str, rng: np.random.Generator) -> tuple[Footage, str]:
    """Another genuine person's clip of the same split: "face" with landmarks, "voice" with sound.

    Raises: Unsuitable where DONOR_TRIES draws gave none.
    """
    label = "video_fake" if kind == "face" else "audio_fake"
    others = [r for r in plan.records if r.split == record.split and is_genuine(r) and getattr(r, label) == 0
              and not set(r.identities) & set(record.identities) and (not r.pair or r.pair != record.pair)]
    for number in rng.permutation(len(others))[:DONOR_TRIES]:
        other = others[number]
        try:
            _, footage = next(read_pieces(plan.root / other.file, other.file, piece_s=plan.piece_s))
        except MediaError:
            continue
        if kind == "voice" and footage.sound is not None:
            return footage, other.identity
        if kind == "face" and footage.frames is not None:
            landmarks = find_landmarks(footage.frames)
            if np.isfinite(landmarks[:, 0, 0]).mean() > 0.5:
                return replace(footage, landmarks=landmarks), other.identity
    raise Unsuitable(f"no donor with a {kind} was found for {record.file}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ---- engines ----------------------------------------------------------------------------------------------------


def run_local(units: list[Unit], plan: Plan, jobs: int) -> Iterator[list[dict]]:
    """Index lines of every unit, as they are finished, from so many processes."""
    # spawn: a forked child would inherit torch's thread pool in an unusable state
    with multiprocessing.get_context("spawn").Pool(jobs, _begin) as pool:
        yield from pool.imap_unordered(_Work(plan), units)


def run_ray(units: list[Unit], plan: Plan, jobs: int) -> Iterator[list[dict]]:
    """The same from the workers of a Ray cluster: the one that RAY_ADDRESS names, else one of `jobs` workers here.

    All nodes must see ROOT and SHARDS under the same paths.
    """
    import ray

    ray.init(num_cpus=None if os.environ.get("RAY_ADDRESS") else jobs, log_to_driver=False)
    try:
        work = ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
        for row in work.map(_RayWork(plan), num_cpus=1).iter_rows():
            yield json.loads(row["lines"])
    finally:
        ray.shutdown()


def _begin() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@dataclass(frozen=True)
class _Work:
    plan: Plan

    def __call__(self, unit: Unit) -> list[dict]:
        return write_unit(unit, self.plan)


@dataclass(frozen=True)
class _RayWork:
    plan: Plan

    def __call__(self, row: dict) -> dict:
        _begin()
        return {"lines": json.dumps(write_unit(row["unit"], self.plan))}


ENGINES = {"local": run_local, "ray": run_ray}


def prepare_all(plan: Plan, out: Path, name: str, jobs: int, engine: str = "local") -> dict:
    """Write the shards that are missing, and say what there is then."""
    out.mkdir(parents=True, exist_ok=True)
    units = plan_units(plan.records, out, name, plan.seed)
    todo = [unit for unit in units if not unit.shard.with_suffix(".jsonl").is_file()]
    begin = time.perf_counter()
    if todo:
        with tqdm(total=sum(len(u.records) for u in todo), unit="clip", file=sys.stderr, mininterval=5) as bar:
            for lines in ENGINES[engine](todo, plan, jobs):
                bar.update(len({line["file"] for line in lines}))
    elapsed_s = time.perf_counter() - begin
    lines = [json.loads(text) for unit in units
             for text in unit.shard.with_suffix(".jsonl").read_text().splitlines()]
    used = [line for line in lines if "skipped" not in line]
    return {
        "clips": len({line["file"] for line in lines}), "samples": len(used), "skipped": len(lines) - len(used),
        "hours": round(sum(line["duration_s"] for line in used) / 3600, 3),
        "bytes": sum(unit.shard.stat().st_size for unit in units),
        "clips_per_s": round(sum(len(u.records) for u in todo) / max(elapsed_s, 1e-9), 3),
    }


def _command(args: argparse.Namespace) -> str:
    """All that decides what is written; not where, nor by how many processes."""
    words = ["python", "-m", "training.prepare", args.dataset, "DATA", "--out", "SHARDS"]
    for split in args.split or ():
        words += ["--split", split]
    for name, given in (("--files", args.files), ("--limit", args.limit)):
        words += [name, str(given)] if given else []
    if args.as_is:
        words += ["--as-is"]
    else:
        words += ["--versions", str(args.versions), "--forge", *args.forge, "--piece-s", f"{args.piece_s:g}",
                  "--pieces", str(args.pieces), "--partial", f"{args.partial:g}", "--seed", str(args.seed)]
        words += ["--voices", "VOICES"] if args.voices else []
    return shlex.join(words)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=list(DATASETS))
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", action="append", help="only clips of this split; may be given several times")
    parser.add_argument("--files", metavar="GLOB", help="only clips whose file below ROOT matches, as 'video/*'")
    parser.add_argument("--limit", type=int, help="the first N clips only")
    parser.add_argument("--versions", type=int, default=4, help="forgeries of each genuine clip (4)")
    parser.add_argument("--forge", nargs="+", choices=list(SHARE), default=list(SHARE), metavar="MODALITY",
                        help=f"what is forged first of all: {', '.join(SHARE)} (all)")
    parser.add_argument("--piece-s", type=float, default=PIECE_S, help=f"a clip is cut into such pieces ({PIECE_S:g})")
    parser.add_argument("--pieces", type=int, default=MOST_PIECES, help=f"of a clip, at most ({MOST_PIECES})")
    parser.add_argument("--partial", type=float, default=PARTIAL_SHARE, metavar="SHARE",
                        help=f"forged for a part of the time only, of the forgeries that can be ({PARTIAL_SHARE:g})")
    parser.add_argument("--as-is", action="store_true", help="no forgeries and no chain: the clips themselves")
    parser.add_argument("--learnt", type=Path, default=SHIPPED, metavar="DIR",
                        help="folder of generators that training.forge.learnt.train wrote (assets/generators)")
    parser.add_argument("--voices", type=Path, metavar="DIR",
                        help="further voices for Kokoro (.bin, as the npm package kokoro-js carries them)")
    parser.add_argument("--jobs", type=int, default=max(multiprocessing.cpu_count(), 1))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=list(ENGINES), default="local")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    if not 0 <= args.partial <= 1:
        parser.error(f"--partial is a share, from 0 to 1, not {args.partial:g}")
    try:
        records = read_dataset(args.dataset, args.root)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if not any(r.split for r in records):
        # FakeAVCeleb swaps faces within a race and gender: whole groups of people would leave a split without some.
        records, dropped = split_identities(records, seed=args.seed, keep_groups=args.dataset != "fakeavceleb")
        print(f"No official split: made one without common people; {len(dropped)} clips would be in two and are left "
              "out.", file=sys.stderr)
    records = [r for r in records if (not args.split or r.split in args.split)
               and (not args.files or fnmatch(r.file, args.files))][: args.limit]
    if not records:
        parser.error(f"{args.root} holds no such clip")
    if args.versions and not args.as_is:
        for sentence in left_out_of(_gathered(args.learnt, args.voices)):
            print(sentence, file=sys.stderr)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / COMMAND).write_text(_command(args) + "\n", encoding="utf-8")
    plan = Plan(args.root.resolve(), tuple(records), args.versions, args.as_is, args.learnt, args.seed,
                args.voices, tuple(args.forge), args.piece_s, args.pieces, args.partial)
    summary = prepare_all(plan, args.out.resolve(), args.dataset, args.jobs, args.engine)
    for key, value in summary.items():
        print(f"{key:12} {value}")
    if args.json:
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
