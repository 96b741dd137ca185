"""Explanations: how long they take, and whether they point at artefacts that were planted.

    python -m benchmarks.explain [--detectors all|ss_avd,...] [--clip CLIP] [--planted 8] [--replacement blur]
                                 [--methods ablation,...] [--card] [--json]

Into an unaltered clip, artefacts of known region or band and span are planted one at a time (explain/planted.py). The
detector notices an artefact when the logit of its head rises by at least 0.5. Where it does not, the same place gets
evidence made for this detector instead (explain/evidence.py); `artefacts` and `evidence` count the two. A method's
`pointing` is the share of them in which the map's highest value lies inside; `random_pointing` is what a random place
would get, the artefact's share of the field. `faithful_share` is the share of these maps that pass their own test.
`default` is the method that points best, of those that beat random; null where none does.

Seconds are wall time; cpu_seconds, on all cores together, hold on a busy machine too. `forwards` is the time as a
multiple of one forward pass of the same window. `all` is what explain() does when nothing else is asked for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from media import PreparedClip, prepare  # before torch loads: it says how torch's idle threads wait

# isort: split

import numpy as np

from benchmarks.clips import DEMO
from detectors import available, known_id, load
from detectors.checkpoint import CHECKPOINTS, read_checkpoint, ship_checkpoint
from detectors.recall import Memory
from explain import METHODS, NothingToExplain, aim, examine, pointing, share_modalities, usual_methods
from explain.baselines import blurred, mean_of_window
from explain.evidence import plant_evidence
from explain.layout import blocks
from explain.maps import NoMap, on_blocks
from explain.planted import Plant, plant, truth_on
from explain.regions import REGIONS
from explain.target import Target
from training.cards import write_page

NOTICED = 0.5  # logits
SPAN_S = 0.8  # of a planted artefact
SEGMENT_S = 3.0  # that is explained for the times
BANDS_HZ = ((300.0, 1000.0), (1000.0, 3000.0), (3000.0, 5000.0), (5000.0, 8000.0))


def artefacts(clip: PreparedClip, count: int, seed: int = 0) -> list[Plant]:
    """Picture and sound by turns, all regions and bands, at moments drawn from the seed."""
    rng = np.random.default_rng(seed)
    kinds = [("video", i) for i in range(len(REGIONS))] if clip.tracks else []
    sounds = [("audio", i) for i in range(len(BANDS_HZ))] if clip.waveform is not None else []
    turns = [kind for pair in zip(kinds, sounds) for kind in pair] + kinds[len(sounds):] + sounds[len(kinds):]
    plants = []
    for number in range(count):
        modality, which = turns[number % len(turns)]
        start_s = float(rng.uniform(0.3, clip.duration_s - SPAN_S - 0.3))
        span_s = (start_s, start_s + SPAN_S)
        plants.append(Plant(span_s, region=REGIONS[which]) if modality == "video"
                      else Plant(span_s, band_hz=BANDS_HZ[which]))
    return plants


def timed(work: Callable[[], object]) -> tuple[object, float, float]:
    """What it returns, wall seconds, and processor seconds."""
    begin, cpu = time.perf_counter(), time.process_time()
    done = work()
    return done, time.perf_counter() - begin, time.process_time() - cpu


def measure_times(clip: PreparedClip, detector, replacement: str, methods: Sequence[str]) -> dict:
    """Of one 3 s segment, after a first run that warms up: seconds per stage, and beside one forward pass, in which
    nothing is remembered."""
    middle_s = clip.duration_s / 2
    span_s = (max(middle_s - SEGMENT_S / 2, 0.0), min(middle_s + SEGMENT_S / 2, clip.duration_s))
    target, _ = aim(clip, detector, span_s, replacement=replacement)

    target.recorded()
    passes = [timed(replace(target, memory=Memory()).recorded)[1:] for _ in range(5)]
    one_s, one_cpu_s = (statistics.median(column) for column in zip(*passes))
    works = {"share": lambda: share_modalities(target), **{m: lambda m=m: METHODS[m](target) for m in methods}}
    times = {"forward": {"seconds": round(one_s, 3), "cpu_seconds": round(one_cpu_s, 3)}}
    for name, work in works.items():
        try:
            found, wall_s, cpu_s = timed(work)
        except NoMap:
            continue
        times[name] = _row(wall_s, cpu_s, one_cpu_s)
        if name in methods:
            _, wall_s, cpu_s = timed(lambda found=found: examine(found, target))
            times[f"faithfulness of {name}"] = _row(wall_s, cpu_s, one_cpu_s)
    return times


def plant_noticed(clip: PreparedClip, detector, what: Plant, seed: int, replacement: str) -> tuple[Target, str] | None:
    """A target with the artefact, or with evidence in its place, and which it is; None where the detector notices
    neither or cannot judge this moment. Its maps look at whole windows: where to look is what is asked of them."""
    try:
        clean = _aim_at_head(clip, detector, what, replacement)
        planted, _ = aim(plant(clip, what, seed), detector, what.span_s, head=clean.head, replacement=replacement)
        clean, planted = replace(clean, asked_s=None), replace(planted, asked_s=None)
    except NothingToExplain:
        return None
    if ("audio" if what.modality == "audio" else "face") not in clean.parts:
        return None
    if planted.recorded().mean() - clean.recorded().mean() >= NOTICED:
        return planted, "artefacts"
    risen, rise = plant_evidence(clean, what, mean_of_window if replacement == "mean" else blurred)
    return (risen, "evidence") if rise >= NOTICED else None


def measure_pointing(clip: PreparedClip, detector, plants: list[Plant], replacement: str,
                     methods: Sequence[str]) -> dict:
    """Per method, over what the detector noticed, and how much that is."""
    found: dict[str, list[tuple[float, float, bool]]] = {}  # method -> (pointing, by chance, passed)
    noticed = {"artefacts": 0, "evidence": 0}
    for number, what in enumerate(plants):
        if (got := plant_noticed(clip, detector, what, number, replacement)) is None:
            continue
        target, kind = got
        noticed[kind] += 1
        truth = truth_on(blocks(target), target, what)
        chance = float(np.concatenate([t.ravel() for t in truth.values()]).mean())
        for name in methods:
            with suppress(NoMap):
                shown = METHODS[name](target)
                hit = pointing(on_blocks(shown, target), truth)
                found.setdefault(name, []).append((hit, chance, examine(shown, target).passed))
    rows = {name: dict(zip(("pointing", "random_pointing", "faithful_share"), np.mean(tests, axis=0).round(3).tolist()))
            for name, tests in found.items()}
    return {"planted": len(plants), **noticed, "methods": rows}


def choose_default(rows: dict[str, dict]) -> str | None:
    """The method that points best, among those that beat random; of equals the one that passes its test most often."""
    better = {name: (row["pointing"], row["faithful_share"]) for name, row in rows.items()
              if row["pointing"] > row["random_pointing"]}
    return max(better, key=better.get) if better else None


def measure(clip: PreparedClip, detector, count: int, replacement: str, methods: Sequence[str]) -> dict:
    times = measure_times(clip, detector, replacement, methods)
    planted = measure_pointing(clip, detector, artefacts(clip, count), replacement, methods)
    rows = {name: {**times[name], **planted["methods"].get(name, _UNKNOWN)} for name in methods if name in times}
    default = choose_default(planted["methods"])
    made = usual_methods({"explanations": {"methods": rows, "times": times}})
    stages = ("share", *(stage for method in made for stage in (method, f"faithfulness of {method}")))
    times["all"] = {key: round(sum(times[stage][key] for stage in stages), 2) for key in times["share"]}
    return {
        "replacement": replacement, **{key: planted[key] for key in ("planted", "artefacts", "evidence")},
        "times": times, "methods": rows,
        "default": None if default is None else {"method": default, **rows[default]},
    }


_UNKNOWN = {"pointing": None, "random_pointing": None, "faithful_share": None}


def _aim_at_head(clip: PreparedClip, detector, what: Plant, replacement: str) -> Target:
    """The clip as it is, where the artefact will be, at the head of its modality if there is one."""
    try:
        return aim(clip, detector, what.span_s, head=what.modality, replacement=replacement)[0]
    except NothingToExplain:
        return aim(clip, detector, what.span_s, replacement=replacement)[0]


def _row(wall_s: float, cpu_s: float, one_cpu_s: float) -> dict:
    return {"seconds": round(wall_s, 2), "cpu_seconds": round(cpu_s, 2), "forwards": round(cpu_s / one_cpu_s, 1)}


def store(name: str, figures: dict) -> None:
    """Into the card of a shipped checkpoint, and onto its page."""
    path = CHECKPOINTS / f"{name}.safetensors"
    state, card = read_checkpoint(path)
    ship_checkpoint(path, state, {**card, "explanations": figures})
    write_page(path)


def show(name: str, figures: dict) -> None:
    print(f"{name}: {figures['replacement']}; of {figures['planted']} places, {figures['artefacts']} planted artefacts "
          f"noticed, and evidence made in {figures['evidence']}")
    for stage, row in figures["times"].items():
        print(f"  {stage:36} {row['seconds']:7.2f} s  {row['cpu_seconds']:7.2f} cpu s  "
              f"{row.get('forwards', 1.0):6.1f} x forward")
    for method, row in {**figures["methods"], "default": figures["default"]}.items():
        told = "none beats random" if row is None else (
            f"pointing {row['pointing']}, random {row['random_pointing']}, faithful {row['faithful_share']}")
        print(f"  {method:36} {told}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain", description=__doc__.splitlines()[0])
    parser.add_argument("--detectors", default="all", help="ids, comma-separated, or all")
    parser.add_argument("--clip", type=Path, default=DEMO, help="an unaltered clip to plant into")
    parser.add_argument("--planted", type=int, default=8, help="how many artefacts")
    parser.add_argument("--replacement", choices=("blur", "mean", "neutral"), default="blur")
    parser.add_argument("--methods", default=",".join(METHODS), help="of these maps, comma-separated (all)")
    parser.add_argument("--card", action="store_true", help="store the figures in the shipped checkpoints' cards, "
                        "from which the app takes its default method")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line, last")
    args = parser.parse_args(argv)
    if not args.clip.is_file():
        parser.error(f"{args.clip} is not a file")
    methods = args.methods.split(",")
    if unknown := set(methods) - set(METHODS):
        parser.error(f"unknown methods {', '.join(sorted(unknown))}; there are: {', '.join(METHODS)}")
    names = list(available()) if args.detectors == "all" else args.detectors.split(",")
    try:
        for name in names:
            known_id(name)
    except KeyError as error:
        parser.error(str(error.args[0]))
    clip = prepare(args.clip)
    figures = {}
    for name in names:
        figures[name] = measure(clip, load(name, "cpu"), args.planted, args.replacement, methods)
        show(name, figures[name])
        if args.card:
            store(name, figures[name])
    if args.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
