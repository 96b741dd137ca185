"""Preparing a clip, beside a naive pipeline and beside bare decoding, in one run on one machine.

    python -m benchmarks.prepare [--clip CLIP] [--seconds 10] [--repeats 3] [--naive-seconds 2]
                                 [--rates 1,2.5,5] [--json]

Naive: moviepy decodes every frame and MTCNN (its defaults) looks for faces on every full frame. It takes minutes,
so it is timed on the first --naive-seconds of the clip and scaled to the whole; its cost per frame is constant.
All three take turns, --repeats times, and `vs_naive` and `vs_decode` are medians of the ratios within a turn. Without
--clip, a 720p clip is made from a demo clip, of as few bits as x264 needs for it; and again at --rates (Mbit/s), of
which preparing and decoding take turns: decoding takes longer the more bits there are, looking for faces does not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from media import forget, prepare  # before torch loads: it says how torch's idle threads wait

# isort: split

import av
import numpy as np

from benchmarks.clips import make_720p
from benchmarks.timing import Times, median, ratio, take_turns


def decode_bare(path: Path) -> int:
    """Decode all pictures and all sound and use nothing of it: the floor."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(len(packet.decode()) for packet in container.demux())


def prepare_naively(path: Path, seconds: float) -> int:
    """What a straightforward pipeline does: moviepy frames, MTCNN with its defaults on every one."""
    from facenet_pytorch import MTCNN
    from moviepy import VideoFileClip

    finder = MTCNN(keep_all=True)
    found = 0
    with VideoFileClip(str(path)) as clip:
        for frame in clip.subclipped(0, seconds).iter_frames():
            boxes, _, _ = finder.detect(np.ascontiguousarray(frame), landmarks=True)
            found += boxes is not None
        clip.audio.to_soundarray(fps=16_000)
    return found


def prepare_afresh(path: Path) -> None:
    forget()
    prepare(path)


def measure(path: Path, repeats: int, naive_s: float) -> dict:
    forget()
    clip = prepare(path)  # also loads the models: the figures are those after the first run
    part_s = min(naive_s, clip.duration_s)
    times = take_turns(_works(path) | {"naive": lambda: prepare_naively(path, part_s)}, repeats)
    times["naive"] = [spent * clip.duration_s / part_s for spent in times["naive"]]
    return {
        "duration_s": round(clip.duration_s, 2), "width_px": clip.info.width_px, "height_px": clip.info.height_px,
        **_beside_decoding(path, times),
        "naive_s": round(median(times)["naive"], 2), "vs_naive": round(ratio(times, "prepare", "naive"), 4),
    }


def _works(path: Path) -> dict[str, Callable[[], object]]:
    return {"decode": lambda: decode_bare(path), "prepare": lambda: prepare_afresh(path)}


def _beside_decoding(path: Path, times: Times) -> dict:
    seconds = median(times)
    mbit_s = path.stat().st_size * 8e-6 / prepare(path).duration_s
    return {"mbit_s": round(mbit_s, 2), "decode_s": round(seconds["decode"], 3),
            "prepare_s": round(seconds["prepare"], 3), "vs_decode": round(ratio(times, "prepare", "decode"), 2)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip that is made")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--naive-seconds", type=float, default=2.0)
    parser.add_argument("--rates", type=lambda text: [float(rate) for rate in text.split(",")], default=[1.0, 2.5, 5.0],
                        metavar="MBIT_S,...", help="of copies of the clip that is made (1,2.5,5)")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line, last")
    args = parser.parse_args(argv)
    if args.clip and not args.clip.is_file():
        parser.error(f"{args.clip} is not a file")
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder:
        path = args.clip or Path(folder) / "720p.mp4"
        if not args.clip:
            make_720p(path, args.seconds)
        figures = measure(path, args.repeats, args.naive_seconds) | {"rates": []}
        for mbit_s in [] if args.clip else args.rates:
            make_720p(path, args.seconds, mbit_s)
            figures["rates"].append(_beside_decoding(path, take_turns(_works(path), args.repeats)))
    for key, value in figures.items():
        print(f"{key:12} {value}")
    if args.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
