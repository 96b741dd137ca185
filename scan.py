"""Telltale on the command line: any number of clips in, one JSON object per clip and line out.

The numbers are those of the browser app: both call detectors.analyse. Exit status: 0 when every clip was
answered, 3 when some could not be read, 2 for bad usage.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from detectors import BUILDERS, GUESTS, CheckpointError, analyse, available, choose, resolve_device
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


def examine(path: Path, *, detectors: list[str], device: str, cards: dict[str, dict], probe: bool, explain: bool,
            report: Path | None, video: bool) -> dict:
    """One clip's answer. Its report and its annotated video are written where they were asked for."""
    answer = analyse(path, detectors, device, probe=probe)
    readable = "error" not in answer
    clip = prepare(path) if readable and (explain or video) else None  # analyse() has prepared it: it is kept
    explained = explain_answer(clip, answer, device=device) if explain and readable else []
    if report:
        page = write_report(answer, report, cards, pictures=pictures_of(clip, explained, cards))
        if video and readable and not clip.info.still:
            annotate(path, clip, answer, page.with_name(f"{page.stem}-annotated.mp4"), to_overlay(explained))
    return answer


def answers(clips: list[Path], work: Callable[[Path], dict], jobs: int) -> Iterator[dict]:
    """One answer per clip, in the order of the clips."""
    if jobs == 1:
        yield from map(work, clips)
        return
    # spawn: forked children of a process that has used torch or CUDA cannot use them
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(work, clips)


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
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error("--jobs takes 1 or more")
    if args.video and not args.report:
        parser.error("--video needs --report DIR, where the videos go")
    try:
        chosen = choose(args.detectors)
        resolve_device(args.device)
    except (KeyError, ValueError) as error:
        parser.error(str(error.args[0]))
    clips = find_clips(args.clips)
    if not clips:
        parser.error("there is no video or sound file and no picture in the folders given")
    cards = available()
    for reference, problem in GUESTS.problems.items():
        print(f"scan.py: left out: {reference}: {problem}", file=sys.stderr)
    # Worker processes find a detector from outside by its reference.
    chosen = [cards.get(name, {}).get("added", name) for name in chosen]

    unread = 0
    try:
        out = open(args.json, "w", encoding="utf-8") if args.json else sys.stdout  # noqa: SIM115 (may be stdout)
    except OSError as error:
        parser.error(f"{args.json} cannot be written: {error.strerror}")
    if args.report:
        try:
            args.report.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"{args.report} cannot be written: {error.strerror}")
    try:
        work = partial(examine, detectors=chosen, device=args.device, cards=cards, probe=args.probe,
                       explain=args.explain, report=args.report, video=args.video)
        results = answers(clips, work, min(args.jobs, len(clips)))
        for answer in tqdm(results, total=len(clips), unit="clip", disable=len(clips) == 1, file=sys.stderr):
            unread += "error" in answer
            print(json.dumps(answer), file=out, flush=True)
    except CheckpointError as error:
        print(f"scan.py: {error}", file=sys.stderr)
        return 2
    finally:
        if args.json:
            out.close()
    return 3 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
