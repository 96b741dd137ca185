"""Clips to training samples: aligned faces and 16 kHz sound, one safetensors file per clip, resumable.

    python -m training.prepare manifest ROOT --out SAMPLES [--limit N] [--jobs N]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from tqdm import tqdm

from media import GRID_HZ, MediaError, PreparedClip, forget, prepare
from training.records import Record, read_manifests

FRAME_STEP = 3  # every third grid point: 8.3 faces a second, enough for any 10-in-3-s window
FRAMES_HZ = GRID_HZ / FRAME_STEP


def sample_name(record: Record) -> str:
    return hashlib.sha256(record.file.encode()).hexdigest()[:16]


def write_sample(record: Record, root: Path, out: Path) -> dict:
    """One clip to one file; its index line, with `skipped` in words where the clip cannot serve."""
    line = {**asdict(record), "sample": sample_name(record)}
    path = out / "samples" / f"{line['sample']}.safetensors"
    try:
        clip = prepare(root / record.file)
    except MediaError as error:
        return {**line, "skipped": error.finding.message}
    tensors = _tensors(clip)
    forget()
    if not tensors:
        return {**line, "skipped": "neither a face nor sound"}
    partial_path = path.with_suffix(".partial")
    save_file(tensors, partial_path)
    partial_path.rename(path)
    return {**line, "duration_s": clip.duration_s, "faces": len(tensors.get("faces", ())),
            "samples": len(tensors.get("waveform", ())), "speech_s": clip.quality.measures.get("speech_s", 0.0),
            "reasons": [str(r) for r in clip.quality.reasons]}


def _tensors(clip: PreparedClip) -> dict[str, np.ndarray]:
    """faces [n, 224, 224, 3] uint8 and their times_s [n]; waveform [samples] int16."""
    tensors = {}
    if clip.tracks:
        track = clip.tracks[0]
        on_step = np.flatnonzero(np.round(track.times_s * GRID_HZ).astype(int) % FRAME_STEP == 0)
        tensors["faces"] = np.ascontiguousarray(clip.faces[track.track_id][on_step])
        tensors["times_s"] = track.times_s[on_step]
    if clip.waveform is not None:
        tensors["waveform"] = np.round(clip.waveform * 32767).astype(np.int16)
    return tensors


def prepare_all(records: Iterable[Record], root: Path, out: Path, jobs: int) -> dict:
    """Write what is missing; the index is appended to as clips finish, so an interrupted run goes on."""
    (out / "samples").mkdir(parents=True, exist_ok=True)
    index = out / "index.jsonl"
    lines = [json.loads(text) for text in index.read_text().splitlines()] if index.is_file() else []
    done = {line["file"] for line in lines}
    todo = [r for r in records if r.file not in done]
    begin = time.perf_counter()
    # spawn: a forked child would inherit torch's thread pool in an unusable state
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool, open(index, "a") as file:
        work = pool.imap_unordered(partial(write_sample, root=root, out=out), todo)
        for line in tqdm(work, total=len(todo), unit="clip", file=sys.stderr, mininterval=5):
            lines.append(line)
            file.write(json.dumps(line) + "\n")
            file.flush()
    used = [line for line in lines if "skipped" not in line]
    return {
        "clips": len(lines), "samples": len(used), "skipped": len(lines) - len(used),
        "hours": round(sum(line["duration_s"] for line in used) / 3600, 3),
        "clips_per_s": round(len(todo) / max(time.perf_counter() - begin, 1e-9), 2),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=["manifest"], help="how ROOT is read: a folder with CSV manifests")
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="the first N clips only")
    parser.add_argument("--jobs", type=int, default=max(multiprocessing.cpu_count(), 1))
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        records = read_manifests(args.root)[: args.limit]
    except FileNotFoundError as error:
        parser.error(str(error))
    summary = prepare_all(records, args.root, args.out, args.jobs)
    for key, value in summary.items():
        print(f"{key:12} {value}")
    if args.json:
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
