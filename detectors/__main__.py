"""The detectors, their size and their cost:  python -m detectors [--json]"""

from __future__ import annotations

import argparse
import json
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

from detectors import BUILDERS, available, ss_avd
from detectors.checkpoint import CHECKPOINTS, checkpoint_hash


def gflops_per_window(config: ss_avd.SSAVDConfig) -> float:
    """Billions of floating-point operations (2 per multiply-add) of one window with both modalities."""
    with torch.device("meta"):  # counts the layers as the paper has them, and computes nothing
        model = ss_avd.SSAVD(config).eval()
        video, audio = torch.zeros(1, config.frames, 3, config.face_px, config.face_px), torch.zeros(1, config.samples)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(video, audio)
    return counter.get_total_flops() / 1e9


def describe() -> dict[str, dict]:
    """id -> parameters of the paper's and the shipped configuration, cost, checkpoint and its measured AUC."""
    cards = available()
    table = {}
    for name in BUILDERS:
        path = CHECKPOINTS / f"{name}.safetensors"
        shipped = name in cards
        table[name] = {
            "paper_parameters": _parameters(ss_avd.PAPER),
            "shipped_parameters": _parameters(ss_avd.SHIPPED),
            "gflops_per_window": round(gflops_per_window(ss_avd.SHIPPED), 2),
            "paper_gflops_per_window": round(gflops_per_window(ss_avd.PAPER), 2),
            "checkpoint_bytes": path.stat().st_size if shipped else None,
            "checkpoint_sha256": checkpoint_hash(path).removeprefix("sha256:") if shipped else None,
            "val_auc": cards[name].get("results", {}).get("auc") if shipped else None,
        }
    return table


def _parameters(config: ss_avd.SSAVDConfig) -> int:
    return sum(p.numel() for p in ss_avd.SSAVD(config).parameters())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m detectors", description="Lists the detectors.")
    parser.add_argument("--json", action="store_true", help="print the table as one JSON line, last")
    args = parser.parse_args(argv)
    table = describe()
    for name, row in table.items():
        print(name)
        for key, value in row.items():
            print(f"  {key:24} {value:,}" if isinstance(value, int) else f"  {key:24} {value}")
    if args.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
