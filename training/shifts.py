"""How the score of lip-sync answers to sound that comes too early or too late.

    python -m training.shifts PAIR --samples SHARDS [--split val] [--most 1.0] [--each 0.2] [--json]

PAIR is a run of training.lessons.sync (sync.safetensors); SHARDS hold genuine talk. Each talk is judged as a whole, as
it is and with its sound moved, by the evidence that detectors use: the lead at the clip's own best offset within NEAR
steps. So a shift up to NEAR is found and forgiven, and one beyond it is not. Prints a Markdown table; AUC is that of
moved sound against the same talks as they are, with its interval by identity.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from detectors.checkpoint import CheckpointError
from detectors.sync import NEAR, STEP_HZ, SyncPair, load_pair
from training.lessons.sync import Told, read_talks, shifted, tell
from training.metrics import auc, bootstrap_interval

LEAST_VOICE, LEAST_FACE_S = 0.2, 2.0  # of a clip that counts as talk


@torch.no_grad()
def judge(pair: SyncPair, told: Sequence[Told], shift: int) -> np.ndarray:
    """[n] log-odds of mismatch, the sound `shift` steps late; NaN where too little is left to tell."""
    vectors = [shifted(talk, shift) for talk in told]
    return np.array([pair.mismatch(lips[None], sound[None], known[None]).item() if len(lips) else np.nan
                     for lips, sound, known in vectors])


def curve(pair: SyncPair, told: Sequence[Told], shifts: Sequence[int]) -> list[dict]:
    """A row for each shift in steps. Talks that cannot be judged unmoved, or moved so, are left out of it."""
    still, rows = judge(pair, told, 0), []
    people = np.array([talk.talk.identity for talk in told])
    for shift in shifts:
        moved = judge(pair, told, shift)
        both = np.isfinite(still) & np.isfinite(moved)
        row = {"shift_s": shift / STEP_HZ, "talks": int(both.sum()), "median_log_odds": None, "mismatched": None,
               "auc": None, "interval": None}
        if both.any():
            row["median_log_odds"] = round(float(np.median(moved[both])), 2)
            row["mismatched"] = round(float((moved[both] > 0).mean()), 3)
        if both.any() and shift:
            logit = np.concatenate([still[both], moved[both]])
            fake = np.repeat([0, 1], both.sum())
            low, high = bootstrap_interval(auc, logit, fake, list(np.tile(people[both], 2)), draws=300)
            row |= {"auc": round(auc(logit, fake), 3), "interval": [round(low, 3), round(high, 3)]}
        rows.append(row)
    return rows


def written(rows: Sequence[dict]) -> str:
    lines = ["| sound comes late by | talks | log-odds of mismatch, median | called mismatched | AUC against unmoved |",
             "|---|---|---|---|---|"]
    for row in rows:
        told = "–" if row["auc"] is None else "{:.2f} [{:.2f}–{:.2f}]".format(row["auc"], *row["interval"])
        share = "–" if row["mismatched"] is None else f"{row['mismatched']:.0%}"
        middle = "–" if row["median_log_odds"] is None else f"{row['median_log_odds']:+.1f}"
        lines.append(f"| {row['shift_s']:+.2f} s | {row['talks']} | {middle} | {share} | {told} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.shifts", description=__doc__.splitlines()[0])
    parser.add_argument("pair", type=Path, help="sync.safetensors of training.lessons.sync")
    parser.add_argument("--samples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--split", default="val")
    parser.add_argument("--most", type=float, default=1.0, metavar="S", help="seconds either way (1)")
    parser.add_argument("--each", type=float, default=0.2, metavar="S", help="seconds between shifts (0.2)")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON line, last")
    args = parser.parse_args(argv)
    count = round(args.most / args.each) if args.each > 0 else 0
    if count < 1:
        parser.error("--most must be at least --each, and --each above 0")
    try:
        pair, _ = load_pair(args.pair)
        talks = read_talks(args.samples, args.split, LEAST_VOICE, LEAST_FACE_S)
    except (CheckpointError, FileNotFoundError) as error:
        parser.error(str(error))
    if not talks:
        parser.error(f"{args.samples} holds no genuine talk of the split {args.split}")
    rows = curve(pair, tell(pair, talks), [round(n * args.each * STEP_HZ) for n in range(-count, count + 1)])
    print(written(rows))
    print(f"\nShifts up to {NEAR / STEP_HZ:g} s are looked for, and forgiven.")
    if args.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
