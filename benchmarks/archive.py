"""What an archive costs: scan.py over many clips, in one process and on a Ray cluster.

    python -m benchmarks.archive [--clips 16] [--seconds 10] [--jobs 2] [--json]

--clips different 720p clips of --seconds are scanned by all detectors, by `scan.py` alone and by `scan.py --engine ray
--jobs N` (on the cluster of RAY_ADDRESS where that is set). What a run takes before it is at work is found from a run
over one clip and stated apart: a further clip costs (seconds of all - seconds of one) / (clips - 1). Per engine:
`start_s`, `clip_s`, `clips_per_s`, and `core_hours_per_1000`, the hours that the engine's cores are taken for a
thousand clips. The single process may use all cores of the machine; --jobs N takes N, one thread each. `same_lines`:
whether both engines wrote the same answers; some processors add up otherwise on two threads than on one, so
`largest_difference` is that of any number, and null where anything but a number differs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.clips import make_720p

ROOT = Path(__file__).resolve().parent.parent
HOW = ("timings_s", "memory")  # of a line: what differs each time


def scan(clips: Path, out: Path, options: list[str]) -> float:
    """Seconds. Raises: subprocess.CalledProcessError where a clip was not answered."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "scan.py", str(clips), "--json", str(out), *options], cwd=ROOT, check=True,
                   stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def read_answers(out: Path) -> list[dict]:
    return [{name: value for name, value in json.loads(line).items() if name not in HOW}
            for line in out.read_text(encoding="utf-8").splitlines()]


def difference(one: object, other: object) -> float:
    """The largest of any two numbers that stand at the same place; infinite where anything else is not the same."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((difference(one[name], other[name]) for name in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(difference, one, other), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    return 0.0 if one == other else math.inf


def cost(one_s: float, all_s: float, clips: int, cores: int) -> dict:
    """From the seconds of a run over one clip and of a run over all of them."""
    clip_s = (all_s - one_s) / (clips - 1)
    return {"start_s": round(one_s - clip_s, 2), "clip_s": round(clip_s, 3), "clips_per_s": round(1 / clip_s, 3),
            "cores": cores, "core_hours_per_1000": round(1000 * clip_s * cores / 3600, 3)}


def measure(clips: int, seconds: float, jobs: int) -> dict:
    engines = {"local": ([], os.cpu_count() or 1), "ray": (["--engine", "ray", "--jobs", str(jobs)], jobs)}
    with tempfile.TemporaryDirectory(prefix="telltale-") as name:
        folder = Path(name)
        (folder / "all").mkdir()
        (folder / "one").mkdir()
        for number in range(clips):  # of slightly different lengths: no two are the same file
            make_720p(folder / "all" / f"{number:04}.mp4", seconds + 0.04 * number)
        shutil.copy(folder / "all" / "0000.mp4", folder / "one")
        figures: dict = {"clips": clips, "seconds": seconds}
        for engine, (options, cores) in engines.items():
            one_s = scan(folder / "one", folder / "one.jsonl", options)
            all_s = scan(folder / "all", folder / f"{engine}.jsonl", options)
            figures[engine] = cost(one_s, all_s, clips, cores)
        apart = difference(*(read_answers(folder / f"{engine}.jsonl") for engine in engines))
        figures |= {"same_lines": apart == 0, "largest_difference": round(apart, 6) if math.isfinite(apart) else None}
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip (10)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="workers of the Ray cluster that is started")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line, last")
    args = parser.parse_args(argv)
    if args.clips < 2 or args.jobs < 1:
        parser.error("--clips takes 2 or more, --jobs 1 or more")
    figures = measure(args.clips, args.seconds, args.jobs)
    for key, value in figures.items():
        print(f"{key:12} {value}")
    if args.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
