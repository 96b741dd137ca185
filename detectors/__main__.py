"""The detectors, their size and their cost:  python -m detectors [--json]

Whether one keeps the contract:  python -m detectors check package.module:Class [--pair GENUINE MANIPULATED]
Exit status of a check: 0 when all that was tried passed, 1 when something failed, 2 for bad usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detectors import GUESTS, MODULES, available, known_id, load
from detectors.check import Outcome, check_detector, check_reference
from detectors.checkpoint import CHECKPOINTS, checkpoint_files, checkpoint_hash
from detectors.guests import is_reference


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
    """id -> size and cost of the paper's and the shipped configuration, checkpoint and its measured AUC. Of a detector
    from outside: where it is from, and the SHA-256 of what answers."""
    cards = available()
    table = {}
    for name, module in MODULES.items():
        path = CHECKPOINTS / f"{name}.safetensors"
        shipped = name in cards
        table[name] = {
            **measure_size(module),
            "checkpoint_bytes": sum(f.stat().st_size for f in checkpoint_files(path)) if shipped else None,
            "checkpoint_sha256": checkpoint_hash(path).removeprefix("sha256:") if shipped else None,
            "val_auc": cards[name].get("results", {}).get("auc") if shipped else None,
        }
    for name, guest in GUESTS.all().items():
        table[name] = {"added": guest.reference, "checkpoint_sha256": guest.card["checkpoint"].removeprefix("sha256:")}
    return table


def check(name: str, pair: tuple[Path, Path] | None) -> Iterator[Outcome]:
    """The outcomes for "package.module:Class" or the id of a detector that is listed.

    Raises: KeyError for an unknown id; CheckpointError.
    """
    if is_reference(name):
        return check_reference(name, pair=pair)
    if name in GUESTS.all():
        return check_reference(GUESTS.all()[name].reference, pair=pair)
    return check_detector(load(known_id(name), "cpu"), pair=pair)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m detectors", description="Lists the detectors.")
    parser.add_argument("--json", action="store_true", help="print the table as one JSON line, last")
    commands = parser.add_subparsers(dest="command", metavar="check")
    checking = commands.add_parser("check", help="does a detector keep the contract?",
                                   description="One line per check. It runs the code of the module that is named.")
    checking.add_argument("detector", metavar="package.module:Class", help="or the id of a detector that is listed")
    checking.add_argument("--pair", nargs=2, type=Path, metavar=("GENUINE", "MANIPULATED"),
                          help="two clips; the second one must score higher")
    args = parser.parse_args(argv)
    if args.command == "check":
        try:
            outcomes = check(args.detector, args.pair and tuple(args.pair))
        except KeyError as error:
            parser.error(str(error.args[0]))
        return _print_outcomes(outcomes)
    table = describe()
    for name, row in table.items():
        print(name)
        for key, value in row.items():
            print(f"  {key:24} {value:,}" if isinstance(value, int) else f"  {key:24} {value}")
    if args.json:
        print(json.dumps(table))
    return 0


def _print_outcomes(outcomes: Iterator[Outcome]) -> int:
    """The exit status. Each line appears when its check is done."""
    failed = 0
    for outcome in outcomes:
        print(outcome, flush=True)
        failed += outcome.passed is False
    print(f"{failed} failed." if failed else "The contract is kept, as far as it was tried.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
