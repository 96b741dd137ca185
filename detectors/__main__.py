"""The detectors, their size and their cost:  python -m detectors [--json]"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detectors import MODULES, available
from detectors.checkpoint import CHECKPOINTS, checkpoint_hash


def gflops_per_window(module: ModuleType, config: Any) -> float:
    """Billions of floating-point operations (2 per multiply-add) of one window with all modalities, encoders included.

    module is one of detectors.MODULES, config a configuration of it.
    """
    with torch.device("meta"):  # counts the layers as the paper has them, and computes nothing
        model, inputs = _network(module, config).eval(), module.example(config)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*inputs)
    return counter.get_total_flops() / 1e9


def count_parameters(module: ModuleType, config: Any) -> int:
    """Of the whole network, frozen encoders included."""
    with torch.device("meta"):
        return sum(p.numel() for p in _network(module, config).parameters())


def _network(module: ModuleType, config: Any) -> nn.Module:
    return module.build({"architecture": asdict(config)})


def measure_size(module: ModuleType) -> dict[str, float]:
    """Parameters and cost of a window, as the paper has it and as it is shipped."""
    return {
        "paper_parameters": count_parameters(module, module.PAPER),
        "shipped_parameters": count_parameters(module, module.SHIPPED),
        "gflops_per_window": round(gflops_per_window(module, module.SHIPPED), 2),
        "paper_gflops_per_window": round(gflops_per_window(module, module.PAPER), 2),
    }


def describe() -> dict[str, dict]:
    """id -> size and cost of the paper's and the shipped configuration, checkpoint and its measured AUC."""
    cards = available()
    table = {}
    for name, module in MODULES.items():
        path = CHECKPOINTS / f"{name}.safetensors"
        shipped = name in cards
        table[name] = {
            **measure_size(module),
            "checkpoint_bytes": path.stat().st_size if shipped else None,
            "checkpoint_sha256": checkpoint_hash(path).removeprefix("sha256:") if shipped else None,
            "val_auc": cards[name].get("results", {}).get("auc") if shipped else None,
        }
    return table


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
