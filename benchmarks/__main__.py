"""Runs a benchmark and keeps its figures, or writes the page that publishes them.

    python -m benchmarks NAME [options of python -m benchmarks.NAME]   -> benchmarks/results/NAME.json
    python -m benchmarks page                                          -> the tables of docs/figures.md

Beside the figures stands what they were measured with: the command, the commit, the day, the machine.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from benchmarks.page import NAMES, PAGE, RESULTS, fill, read_results

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "av", "gradio", "facenet-pytorch")


def run(name: str, options: list[str]) -> int:
    """Runs it in a process of its own, shows what it prints, and keeps the JSON of its last line."""
    record = {"command": shlex.join(["python", "-m", f"benchmarks.{name}", *map(_without_place, options)]),
              "commit": commit(), "day": datetime.now(timezone.utc).date().isoformat(), "machine": machine()}
    begin, last = time.perf_counter(), ""
    with subprocess.Popen([sys.executable, "-m", f"benchmarks.{name}", *options, "--json"], cwd=ROOT,
                          stdout=subprocess.PIPE, text=True) as work:
        for line in work.stdout:
            if last:
                print(last, flush=True)
            last = line.rstrip("\n")
    try:
        figures = json.loads(last)  # also where the exit status says that a promise was broken
    except ValueError:
        print(last)
        return work.returncode or 1
    record |= {"seconds": round(time.perf_counter() - begin, 1), "figures": figures}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"kept in {path.relative_to(ROOT)}; python -m benchmarks page writes it into {PAGE.relative_to(ROOT)}")
    return work.returncode


def _without_place(option: str) -> str:
    """Where the material lies on this machine is nobody's business, and tells nothing."""
    return "DATA" if Path(option).is_absolute() else option


def commit() -> str | None:
    """Of the tree that is measured, with a plus where it holds changes; None without git."""
    try:
        done = [subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
                for words in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))]
    except (OSError, subprocess.CalledProcessError):
        return None
    return done[0] + ("+" if done[1] else "")


def machine() -> dict:
    """What figures of time and memory depend on; `load` is the system's over the last minute, before the run."""
    return {
        "processor": processor(), "cores": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": round(psutil.getloadavg()[0], 1), "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in NAMES:
        return run(argv[0], argv[1:])
    if argv == ["page"]:
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), read_results()), encoding="utf-8")
        return 0
    print(f"{__doc__}\nNAME is one of: {', '.join(NAMES)}", file=sys.stdout if argv in (["-h"], ["--help"]) else
          sys.stderr)
    return 0 if argv in (["-h"], ["--help"]) else 2


if __name__ == "__main__":
    sys.exit(main())
