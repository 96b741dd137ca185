"""The whole analysis: where the time goes, what a second detector adds, and what longer clips cost in time and memory.

    python -m benchmarks.speed [--seconds 10] [--repeats 3] [--lengths 10,60,595] [--device auto|cpu|cuda] [--json]

On a 720p clip of --seconds, after a first run that loads the models (medians of --repeats):
`stages_s`: seconds of each stage of an analysis by all detectors; `realtime_factor`: all of them, per second of clip.
`vs_ss_avd`: scoring by all detectors beside one forward pass of SS-AVD's network over its windows, by turns.
`second_detector_share`: what asking another detector about the same clip takes, as a share of the first analysis;
`second_prepare_s`: what of that goes into preparing, which is remembered.

On clips of --lengths, each in a fresh process whose memory is watched from outside, that of its own workers included:
`lengths`: seconds of an analysis, and the most memory; `slope_per_min`: seconds that a further minute of clip costs
(least squares); `cost_growth`: the cost of a minute of the longest clip beside one of the shortest; `peak_mb`: the most
of any; `peak_anonymous_mb` is without pages of files (crops lie in a temporary file), which the system takes back when
it needs them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from media import forget, prepare  # before torch loads: it says how torch's idle threads wait

# isort: split

import numpy as np
import psutil
import torch

from benchmarks.clips import DEMO, make_720p
from benchmarks.timing import median, ratio, take_turns
from detectors import analyse, available, load, resolve_device
from detectors.analysis import score_clip
from detectors.scoring import batches, to_inputs
from detectors.windows import cut_windows

SAMPLE_S = 0.05  # between looks at memory
MB = 1e6


# ---- one clip ---------------------------------------------------------------------------------------------------


def measure_stages(path: Path, detectors: Sequence[str], device: str, repeats: int) -> dict:
    """Seconds per stage, each time prepared afresh."""
    told: list[dict[str, float]] = []
    for _ in range(repeats):
        forget()
        answer = analyse(path, detectors, device)
        stages = {**prepare(path).stage_s, **answer["timings_s"]}
        told.append({name: stages[name] for name in stages if name != "prepare"})
    stages = {name: round(statistics.median(t[name] for t in told), 3) for name in told[0]}
    return {"duration_s": round(answer["duration_s"], 2), "stages_s": stages,
            "realtime_factor": round(stages["total"] / answer["duration_s"], 3)}


def measure_scoring(path: Path, detectors: Sequence[str], device: str, repeats: int) -> dict:
    """All detectors on the prepared clip, beside SS-AVD's network alone."""
    clip, ss_avd = prepare(path), load("ss_avd", device)
    where = resolve_device(device)
    inputs = [to_inputs(windows, rows, where) for windows in cut_windows(clip, ss_avd.spec)
              for rows in batches(windows, 8)]

    @torch.inference_mode()
    def pass_forward() -> None:
        for batch in inputs:
            ss_avd.logits(batch)["whole"].cpu()

    times = take_turns({"all": lambda: score_clip(clip, detectors, device), "ss_avd": pass_forward}, repeats)
    seconds = median(times)
    return {"scoring_s": round(seconds["all"], 3), "ss_avd_forward_s": round(seconds["ss_avd"], 3),
            "vs_ss_avd": round(ratio(times, "all", "ss_avd"), 2)}


def measure_second(path: Path, detectors: Sequence[str], device: str, repeats: int) -> dict:
    """Each detector but the first as the second one: its share of the first analysis, the mean of them."""
    first, *others = detectors
    prepared: list[float] = []

    def ask_afresh() -> None:
        forget()
        analyse(path, [first], device)

    def ask_again(name: str) -> None:
        prepared.append(analyse(path, [name], device)["timings_s"]["prepare"])

    works = {name: (lambda name=name: ask_again(name)) for name in others}
    times = take_turns({"first": ask_afresh, **works}, repeats)
    shares = {name: round(ratio(times, name, "first"), 3) for name in others}
    return {"second_detector_share": round(statistics.mean(shares.values()), 3), "second_detectors": shares,
            "second_prepare_s": round(statistics.median(prepared), 3)}


# ---- long clips -------------------------------------------------------------------------------------------------


class MemoryOfTree:
    """The most that a process and all that it has started hold together, looked at from outside."""

    def __init__(self, pid: int):
        self.peak_mb = self.peak_anonymous_mb = 0.0
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> MemoryOfTree:
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            held = anonymous = 0
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                continue
            for process in processes:
                try:
                    memory = process.memory_info()
                except psutil.Error:  # it has ended
                    continue
                held += memory.rss
                anonymous += memory.rss - getattr(memory, "shared", 0)  # Linux tells it
            self.peak_mb = max(self.peak_mb, held / MB)
            self.peak_anonymous_mb = max(self.peak_anonymous_mb, anonymous / MB)


def measure_length(seconds: float, folder: Path, device: str) -> dict:
    """One analysis of a clip of this length, in a process of its own."""
    path = folder / f"{seconds:g}.mp4"
    make_720p(path, seconds)
    here, there = multiprocessing.Pipe()
    # spawn: a forked child would begin with this process's memory
    child = multiprocessing.get_context("spawn").Process(target=_analyse_once, args=(path, device, there))
    child.start()
    there.close()
    with MemoryOfTree(child.pid) as memory:
        figures = here.recv()  # EOFError where the child died: there is no figure then
        child.join()
    path.unlink()
    return {**figures, "peak_mb": round(memory.peak_mb), "peak_anonymous_mb": round(memory.peak_anonymous_mb)}


def _analyse_once(path: Path, device: str, told: Connection) -> None:
    analyse(DEMO, device=device)  # loads the models
    forget()
    begin = time.perf_counter()
    answer = analyse(path, device=device)
    seconds = time.perf_counter() - begin
    if "error" in answer:
        raise ValueError(answer["error"])
    told.send({"duration_s": round(answer["duration_s"], 2), "seconds": round(seconds, 2),
               "seconds_per_min": round(seconds / answer["duration_s"] * 60, 2)})


def summarise_lengths(lengths: Sequence[dict]) -> dict:
    """Slope and growth; None where there is one length alone."""
    ordered = sorted(lengths, key=lambda one: one["duration_s"])
    slope = growth = None
    if len(ordered) > 1:
        minutes = [one["duration_s"] / 60 for one in ordered]
        slope = round(float(np.polyfit(minutes, [one["seconds"] for one in ordered], 1)[0]), 2)
        growth = round(ordered[-1]["seconds_per_min"] / ordered[0]["seconds_per_min"], 3)
    return {"lengths": ordered, "slope_per_min": slope, "cost_growth": growth,
            "peak_mb": max(one["peak_mb"] for one in ordered),
            "peak_anonymous_mb": max(one["peak_anonymous_mb"] for one in ordered)}


# ---- the command ------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip that stages are measured on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lengths", default="10,60,595", metavar="S,S,...", help="seconds (10,60,595)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        lengths = [float(text) for text in args.lengths.split(",")]
        device = resolve_device(args.device).type
    except ValueError as error:
        parser.error(str(error))
    names = list(available())
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder:
        path = Path(folder) / "720p.mp4"
        make_720p(path, args.seconds)
        analyse(path, names, device)  # the first run
        figures = {"device": device, **measure_stages(path, names, device, args.repeats),
                   **measure_scoring(path, names, device, args.repeats),
                   **measure_second(path, names, device, args.repeats),
                   **summarise_lengths([measure_length(seconds, Path(folder), device) for seconds in lengths])}
    for key, value in figures.items():
        print(f"{key:22} {value}")
    if args.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
