"""What lies in shards: counts, hours, people, families, what the splits share, and which clips would spoil what.

    python -m training.inspect SHARDS [--sheet PNG] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from media import GRID_HZ
from training.datasets.splits import leaks
from training.offsets import Offset, estimate_offsets, read_talk
from training.shards import read_index, read_tensors, unpack_pictures

LEAST_VOICE = 0.2  # of the duration: less does not teach about sound or sync
LEAST_FACE = 0.8  # of the duration with the main face in sight


def count(lines: list[dict]) -> dict:
    """Samples, hours, and per family and split how many there are; `leaks`: what occurs in more than one split."""
    used = [line for line in lines if "skipped" not in line]
    families = Counter((line["split"], line["family"] or "unknown") for line in used)
    return {
        "samples": len(used), "skipped": len(lines) - len(used),
        "clips": len({line["group"] for line in used}),
        "hours": round(sum(line["duration_s"] for line in used) / 3600, 3),
        "families": {f"{split}:{family}": n for (split, family), n in sorted(families.items())},
        "identities": len({name for line in used for name in line["identities"]}),
        "sources": len({line["source"] for line in used}),
        "bytes": sum(line["bytes"] for line in used),
        "leaks": find_leaks(used),
    }


def find_leaks(lines: list[dict]) -> dict[str, list[str]]:
    """Names of each kind that occur in more than one split. Forge families are meant to: they are no leak."""
    return leaks(SimpleNamespace(**{**line, "method": "" if line["forged"] else line["method"]}) for line in lines)


def find_unfit(lines: list[dict], out_of_sync: frozenset[str] = frozenset()) -> dict[str, list[str]]:
    """Genuine clips (by file) that would spoil something: `sound` without enough voice, `picture` without a steady
    face, `sync` without either or out of sync from the start."""
    unfit: dict[str, set[str]] = {"sound": set(), "picture": set(), "sync": set(out_of_sync)}
    for line in filter(_is_original, lines):
        duration_s = max(line["duration_s"], 0.1)
        if line["samples"] and line["speech_s"] < LEAST_VOICE * duration_s:
            unfit["sound"].add(line["file"])
        if "fps" in line["facts"] and line["faces"] / GRID_HZ < LEAST_FACE * duration_s:
            unfit["picture"].add(line["file"])
    unfit["sync"] |= unfit["sound"] | unfit["picture"]
    return {why: sorted(files) for why, files in unfit.items()}


def find_out_of_sync(folder: Path, lines: list[dict]) -> dict[str, Offset]:
    """File -> offset of the genuine clips whose sound is consistently early or late; empty where too few can tell."""
    unfit = find_unfit(lines)
    spoilt = set(unfit["sync"])
    talks = []
    for line in filter(_is_original, lines):
        if line["faces"] and line["samples"] and line["file"] not in spoilt:
            tensors = read_tensors(folder, line["shard"], line["offset"], line["bytes"])
            talks.append(read_talk(line["file"], tensors["times_s"], unpack_pictures(tensors, "lips",
                                                                                     range(line["faces"])),
                                   tensors["waveform"].astype(np.float32) / 32767))
    try:
        found = estimate_offsets(talks)
    except ValueError as error:
        print(f"Sync was not checked: {error}.", file=sys.stderr)
        return {}
    return {file: offset for file, offset in found.items() if offset.out_of_sync}


def _is_original(line: dict) -> bool:
    return not line["forged"] and 1 not in (line["video_fake"], line["audio_fake"])


def draw_sheet(folder: Path, lines: list[dict], families: int = 16, each: int = 6, side_px: int = 112) -> np.ndarray:
    """[H, W, 3] uint8 RGB: a row per family with faces of several samples, named at the left."""
    by_family: dict[str, list[dict]] = defaultdict(list)
    for line in lines:
        if "skipped" not in line and line["faces"]:
            by_family[line["forged"].split(" + ")[0] or line["family"]].append(line)
    rows = []
    for name in sorted(by_family)[:families]:
        label = np.full((side_px, 2 * side_px, 3), 255, np.uint8)
        cv2.putText(label, name[:24], (4, side_px // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        shown = by_family[name][:: max(len(by_family[name]) // each, 1)][:each]
        cells = [label]
        for line in shown:
            tensors = read_tensors(folder, line["shard"], line["offset"], line["bytes"])
            face = unpack_pictures(tensors, "faces", [line["faces"] // 2])[0]
            cells.append(cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA))
        cells += [np.full((side_px, side_px, 3), 230, np.uint8)] * (each + 1 - len(cells))
        rows.append(np.hstack(cells))
    return np.vstack(rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.inspect", description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--sheet", type=Path, help="also draw a contact sheet of every family to this PNG")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        lines = read_index(args.shards)
    except FileNotFoundError as error:
        parser.error(str(error))
    used = [line for line in lines if "skipped" not in line]
    late = find_out_of_sync(args.shards, used)
    unfit = find_unfit(used, frozenset(late))
    summary = {**count(lines), "unfit": {why: len(files) for why, files in unfit.items()}}
    for key, value in summary.items():
        for name, inner in (value.items() if isinstance(value, dict) else ((key, value),)):
            print(f"{name:40} {inner if not isinstance(inner, list) else ', '.join(inner) or 'none'}")
    for why, files in unfit.items():
        for file in files:
            told = f" (sound {late[file].offset_s:+.2f} s)" if file in late else ""
            print(f"keep out of {why}: {file}{told}")
    if args.sheet:
        cv2.imwrite(str(args.sheet), cv2.cvtColor(draw_sheet(args.shards, lines), cv2.COLOR_RGB2BGR))
    if args.json:
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
