"""Telltale on the command line: any number of clips in, one JSON object per clip and line out.

The numbers are those of the browser app: both call detectors.analyse. What is done, and a sentence on each clip with
the files that were written, go to standard error. Exit status: 0 when every clip was answered, 3 when some could not be
read, 2 for bad usage.

Archives: --resume goes on after the lines that OUT.jsonl holds; --engine ray spreads the clips over a Ray cluster, the
one that RAY_ADDRESS names, else one of --jobs workers here. Every CPU of it prepares clips; where it has GPUs, each
scores the windows that the CPUs cut. All nodes must see clips and reports under the same paths.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from detectors import BUILDERS, GUESTS, CheckpointError, analyse, available, choose, resolve_device
from detectors.analysis import score_clip
from detectors.familiarity import judge_familiarity
from detectors.remote import Scorer, score_remotely
from explain import words
from explain.answer import verdict_words, was_lowered
from explain.findings import explain_answer, pictures_of, to_overlay
from explain.report import write_report
from explain.video import annotate
from media import prepare, still

SUFFIXES = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".3gp", ".mpg", ".mpeg", ".ts", ".flv", ".wmv",
            ".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus", ".amr", *still.SUFFIXES}


def find_clips(arguments: Iterable[str]) -> list[Path]:
    """Files as given; folders give the media files below them; globs that the shell left alone are expanded.

    A name that matches nothing stays in the list: its line of output will say so.
    """
    clips: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            clips += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        elif not path.exists() and glob.has_magic(argument):
            clips += [Path(p) for p in sorted(glob.glob(argument, recursive=True))] or [path]
        else:
            clips.append(path)
    return list(dict.fromkeys(clips))


class Examined(NamedTuple):
    """What was made of one clip."""

    answer: dict
    written: tuple[Path, ...] = ()  # its report and its annotated video, where they were asked for


def examine(path: Path, *, detectors: list[str], device: str, cards: dict[str, dict], probe: bool, explain: bool,
            report: Path | None, video: bool, on_stage: Callable[[str], None],
            score: Callable[..., list] = score_clip) -> Examined:
    """One clip's answer. on_stage is told, in words, what is done next."""
    answer = analyse(path, detectors, device, lambda stage, _: on_stage(stage), probe=probe, score=score)
    readable = "error" not in answer
    clip = prepare(path) if readable and (explain or video) else None  # analyse() has prepared it: it is kept
    explained = (explain_answer(judge_familiarity(clip), answer, device=device, on_stage=on_stage)
                 if explain and readable else [])
    if not report:
        return Examined(answer)
    on_stage("Writing the report")
    page = write_report(answer, report, cards, pictures=pictures_of(clip, explained, cards))
    if not video or not readable or clip.info.still:
        return Examined(answer, (page,))
    on_stage("Writing the annotated video")
    annotated = page.with_name(f"{page.stem}-annotated.mp4")
    annotate(path, clip, answer, annotated, to_overlay(explained, answer))
    return Examined(answer, (page, annotated))


def say(text: str) -> None:
    """To who watches, beside what goes to a file or the next program."""
    tqdm.write(text, file=sys.stderr)


def keep_quiet(_: str) -> None:
    """Of several clips, the bar tells how far it is."""


def in_a_sentence(examined: Examined) -> str:
    """The clip, its verdict, and the files that were written of it."""
    answer, told = examined.answer, examined.answer.get("error")
    if told is None:
        judged = answer["score"] is not None
        score = f", score {answer['score']:.2f}" if judged and not was_lowered(answer) else ""  # one to rely on
        badge = f" ({words.PROVISIONAL_BADGE.lower()})" if judged and answer["provisional"] else ""
        told = f"{verdict_words(answer)[0]}{score}{badge}."
    written = f" Written: {', '.join(map(str, examined.written))}" if examined.written else ""
    return f"{answer['clip']}: {told}{written}"


# ---- engines ----------------------------------------------------------------------------------------------------


class NoCluster(RuntimeError):
    """There is no Ray cluster that could do what was asked for."""


def spread(engine: str, clips: Sequence[Path], work: Callable[..., Examined], jobs: int,
           device: str) -> Iterator[Examined]:
    """In the order of the clips. Raises: as start_ray."""
    if engine == "local" or not clips:
        return run_local(clips, work, min(jobs, max(len(clips), 1)))
    scorers = start_ray(jobs, device)
    # The CPU workers own no GPU: what no scorer does is done on their processors.
    return run_ray(clips, partial(work, device="cpu"), scorers)


def run_local(clips: Sequence[Path], work: Callable[..., Examined], jobs: int) -> Iterator[Examined]:
    """From so many processes; from this one where that is 1."""
    if jobs == 1:
        yield from map(work, clips)
        return
    # spawn: forked children of a process that has used torch or CUDA cannot use them
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(work, clips)


def start_ray(jobs: int, device: str) -> list:
    """Scorers of the cluster that is joined or started: one for each of its GPUs, none where there is none.

    Raises: NoCluster without Ray, and where the device is cuda and the cluster has no GPU.
    """
    try:
        import ray
    except ImportError as error:
        raise NoCluster("--engine ray needs Ray: pip install -r requirements-ray.txt") from error

    here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": jobs, "include_dashboard": False}
    ray.init(log_to_driver=False, **here)
    gpus = 0 if device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
    if device == "cuda" and not gpus:
        ray.shutdown()
        raise NoCluster("there is no GPU in the Ray cluster; use --device cpu")
    return [ray.remote(num_cpus=0, num_gpus=1)(Scorer).remote("cuda") for _ in range(gpus)]


def run_ray(clips: Sequence[Path], work: Callable[..., Examined], scorers: Sequence) -> Iterator[Examined]:
    """From the workers of the Ray cluster that start_ray found, which is left when all is done."""
    import ray

    try:
        examine_there = ray.remote(num_cpus=1)(_examine_there)
        shared = ray.put(work)
        most = 4 * max(int(ray.cluster_resources().get("CPU", 1)), 1)  # clips under way: memory stays bounded
        under_way: deque = deque()
        for number, path in enumerate(clips):
            scorer = scorers[number % len(scorers)] if scorers else None
            under_way.append(examine_there.remote(shared, path.absolute(), scorer))
            if len(under_way) == most:
                yield ray.get(under_way.popleft())
        while under_way:
            yield ray.get(under_way.popleft())
    finally:
        ray.shutdown()


def _examine_there(work: Callable[..., Examined], path: Path, scorer) -> Examined:
    """In a worker, on one thread: the cluster's CPUs are shared out clip by clip."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    # While the scorer works, Ray lends this worker's CPU to another clip.
    return work(path) if scorer is None else work(path, score=partial(score_remotely, scorer=scorer))


# ---- going on ---------------------------------------------------------------------------------------------------


def read_answered(out: Path, clips: Sequence[Path], detectors: Iterable[str]) -> list[dict]:
    """The lines of an earlier run, which are answers to the first of these clips; a last line that was cut off is taken
    out of the file.

    Raises: ValueError where they are answers to other clips, or by other detectors.
    """
    if not out.is_file():
        return []
    lines = []
    with open(out, "r+b") as file:
        for number, text in enumerate(iter(file.readline, b"")):
            if not text.endswith(b"\n"):
                file.truncate(file.tell() - len(text))
                break
            line = json.loads(text)
            if number >= len(clips) or line["clip"] != clips[number].name:
                raise ValueError(f"{out}, line {number + 1}, is about {line['clip']}, which is not the clip in this "
                                 "place of the list; --resume needs the clips of the first run.")
            if "error" not in line and line["detectors"].keys() != set(detectors):
                raise ValueError(f"{out}, line {number + 1}, is by {', '.join(line['detectors'])}; --resume needs the "
                                 "detectors of the first run.")
            lines.append(line)
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scan.py", description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="a video, sound file or picture, a folder, or a glob")
    parser.add_argument("--detectors", default="all",
                        help=f"all, or a list with commas of: {', '.join(BUILDERS)}, package.module:Class")
    parser.add_argument("--json", type=Path, metavar="OUT.jsonl", help="write there instead of standard output")
    parser.add_argument("--report", type=Path, metavar="DIR", help="also write a report of each clip there, as HTML")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--probe", action="store_true",
                        help="also try cheap copies of each clip; a verdict that they turn is lowered")
    parser.add_argument("--explain", action="store_true",
                        help="also tell what each detector reacted to, and test it; with pictures in the report")
    parser.add_argument("--video", action="store_true",
                        help="also write an annotated video beside each report (needs --report)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="clips at the same time (default: 1)")
    parser.add_argument("--engine", choices=["local", "ray"], default="local",
                        help="ray: spread over the workers of a Ray cluster (needs requirements-ray.txt)")
    parser.add_argument("--resume", action="store_true", help="go on after the lines that OUT.jsonl holds")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error("--jobs takes 1 or more")
    if args.video and not args.report:
        parser.error("--video needs --report DIR, where the videos go")
    if args.resume and not args.json:
        parser.error("--resume needs --json OUT.jsonl, which holds the lines so far")
    try:
        chosen = choose(args.detectors)
        if args.engine == "local":
            resolve_device(args.device)
    except (KeyError, ValueError) as error:
        parser.error(str(error.args[0]))
    clips = find_clips(args.clips)
    if not clips:
        parser.error("there is no video or sound file and no picture in the folders given")
    cards = available()
    for reference, problem in GUESTS.problems.items():
        say(f"scan.py: left out: {reference}: {problem}")
    try:
        answered = read_answered(args.json, clips, chosen) if args.resume else []
    except ValueError as error:
        parser.error(str(error))
    # Worker processes find a detector from outside by its reference.
    chosen = [cards.get(name, {}).get("added", name) for name in chosen]

    unread = sum("error" in line for line in answered)
    todo = clips[len(answered):]
    try:
        mode = "a" if args.resume else "w"
        out = open(args.json, mode, encoding="utf-8") if args.json else sys.stdout  # noqa: SIM115 (may be stdout)
    except OSError as error:
        parser.error(f"{args.json} cannot be written: {error.strerror}")
    if args.report:
        try:
            args.report.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"{args.report} cannot be written: {error.strerror}")
    try:
        work = partial(examine, detectors=chosen, device=args.device, cards=cards, probe=args.probe,
                       explain=args.explain, report=args.report and args.report.absolute(), video=args.video,
                       on_stage=say if len(clips) == 1 else keep_quiet)
        results = spread(args.engine, todo, work, args.jobs, args.device)
        for examined in tqdm(results, total=len(clips), initial=len(answered), unit="clip", disable=len(clips) == 1,
                             file=sys.stderr):
            unread += "error" in examined.answer
            print(json.dumps(examined.answer), file=out, flush=True)
            say(in_a_sentence(examined))
    except CheckpointError as error:
        say(f"scan.py: {error}")
        return 2
    except NoCluster as error:
        parser.error(str(error))
    finally:
        if args.json:
            out.close()
            say(f"Written: {args.json}")
    return 3 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
