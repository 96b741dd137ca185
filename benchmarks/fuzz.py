"""Hostile files: whatever comes in, an analysis or a reason comes out, in time, in memory, and the next is served.

    python -m benchmarks.fuzz [--cases 20000] [--seed 0] [--limit-s 30] [--keep FOLDER] [--json]

Each case is a small clip with something done to it: bytes turned, cut off, left out, doubled or taken from another
clip, numbers of its header set to extremes; or a file that is a bomb, a list of other files, or has a name or tags
meant for somebody's shell or browser. It is prepared as the app prepares it, and so is what it tells of its making. A
case is known by the seed and its number: the same ones are made again. Exit status 1 where the promise was broken.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from media import Limits, MediaError, forget, isolation, prepare
from media.provenance import read_provenance

WIDTH_PX, HEIGHT_PX, FRAMES, FPS = 64, 48, 8, 25
SOUND_HZ = 16_000
MOST_MB = 600.0
SERVED_EVERY = 50  # cases, and after each one that stopped a worker
# (name, container, video encoder, sound encoder, its rate)
SEEDS = (
    ("talk.mp4", "mp4", "libx264", "aac", 16_000),
    ("talk.mov", "mov", "mjpeg", "pcm_s16le", 16_000),
    ("talk.webm", "webm", "libvpx", "libopus", 48_000),
    ("talk.mkv", "matroska", "libx264", "flac", 16_000),
    ("talk.avi", "avi", "mpeg4", "libmp3lame", 16_000),
    ("talk.ts", "mpegts", "mpeg2video", "mp2", 16_000),
    ("talk.flv", "flv", "flv", "libmp3lame", 44_100),
    ("voice.wav", "wav", None, "pcm_s16le", 16_000),
    ("voice.mp3", "mp3", None, "libmp3lame", 16_000),
    ("voice.ogg", "ogg", None, "libopus", 48_000),
    ("voice.flac", "flac", None, "flac", 16_000),
    ("voice.m4a", "ipod", None, "aac", 16_000),
)
PAYLOADS = (
    "<img src=x onerror=alert(1)>", "${alert(1)}", "{{7*7}}", "'; DROP TABLE clips; --", "$(touch planted)`id`",
    "../../../../etc/passwd", "concat:a|b", "http:example.org", "-i", "clip%03d*?", "two\nlines", "\u202egpj.evil",
    "речь 話す 🎤", "%00", "x" * 200,
)
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
_MARKS = (b"mvhd", b"tkhd", b"mdhd", b"stsz", b"stco", b"stts", b"stsc", b"ctts", b"elst", b"avc1", b"avcC", b"mp4a",
          b"esds", b"moov", b"trak", b"mdat", b"ftyp", b"fmt ", b"data", b"RIFF", b"strh", b"strf", b"avih", b"idx1",
          b"OggS", b"OpusHead", b"fLaC", b"FLV", b"ID3", b"IHDR", b"IDAT", b"VP8 ", b"\xff\xc0", b"\x9d\x01\x2a",
          b"\x1a\x45\xdf\xa3", b"\x16\x54\xae\x6b", b"\x2a\xd7\xb1", b"\x44\x89", b"\xb0\x82", b"\x1f\x43\xb6\x75")


@dataclass(frozen=True)
class Case:
    kind: str
    name: str
    content: bytes


# ---- small clips ----------------------------------------------------------------------------------------------


def make_clip(container: str, video: str | None, audio: str | None, rate_hz: int = SOUND_HZ, frames: int = FRAMES,
              fps: int = FPS, size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX), tags: dict[str, str] | None = None,
              times: list[int] | None = None) -> bytes:
    """A moving gradient and a tone. times: of the frames, in units of 1 / fps, where they are not one after another."""
    held = io.BytesIO()
    options = {"fflags": "+bitexact"} | ({"movflags": "use_metadata_tags"} if tags else {})  # no ids drawn by chance
    with av.open(held, "w", format=container, options=options) as made:
        made.metadata.update(tags or {})
        pictures = _video_stream(made, video, fps, size_px) if video else None
        sounds = made.add_stream(audio, rate=rate_hz, layout="mono") if audio else None
        for k in range(frames if pictures else 0):
            luma = (np.add.outer(np.arange(size_px[1]), np.arange(size_px[0])) * 3 + 9 * k) % 220
            planes = np.concatenate([luma, np.full((size_px[1] // 2, size_px[0]), 128)]).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = times[k] if times else k, Fraction(1, fps)
            made.mux(pictures.encode(frame))
        if pictures:
            made.mux(pictures.encode(None))
        if sounds:
            count = rate_hz * frames // fps
            tone = (3000 * np.sin(2 * np.pi * 330 * np.arange(count) / rate_hz)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            made.mux(sounds.encode(frame) + sounds.encode(None))
    return held.getvalue()


def _video_stream(made: av.container.OutputContainer, encoder: str, fps: int, size_px: tuple[int, int]):
    stream = made.add_stream(encoder, rate=fps)
    stream.width, stream.height = size_px
    stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    context = stream.codec_context
    context.thread_count = 1  # the same bytes on any machine
    context.options = {"libx264": {"preset": "ultrafast", "x264-params": "log-level=none"},
                       "libvpx": {"deadline": "realtime", "cpu-used": "8"}}.get(encoder, {})
    return stream


def make_seeds() -> dict[str, bytes]:
    """Name -> content of the clips that are mutated."""
    made = {name: make_clip(*how) for name, *how in SEEDS}
    shade = np.add.outer(np.arange(96), np.arange(128)).astype(np.uint8)
    for suffix in ("jpeg", "png", "webp"):
        held = io.BytesIO()
        Image.fromarray(np.stack([shade, shade, 255 - shade], axis=-1)).save(held, format=suffix)
        made[f"photo.{suffix}"] = held.getvalue()
    return made


# ---- what is done to them -------------------------------------------------------------------------------------


def turn_bytes(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    changed = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 600)  # headers lie in front
    for _ in range(rng.choice((1, 2, 4, 16, 64))):
        changed[rng.randrange(reach)] ^= 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    return bytes(changed)


def cut_off(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    return data[:rng.randrange(len(data))]


def leave_out(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 3, 16, 200, 2000)):]


def double(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    start = rng.randrange(len(data))
    piece = data[start:start + rng.choice((1, 3, 16, 200, 2000))]
    return data[:start] + piece * rng.choice((2, 3, 50)) + data[start:]


def splice(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    other = rng.choice(seeds)
    return data[:rng.randrange(len(data))] + other[rng.randrange(len(other)):]


def set_numbers(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Numbers after a name in the header (a size, a count, a rate) become extreme, or the size before it."""
    changed = bytearray(data)
    places = [at for mark in _MARKS if (at := data.find(mark)) >= 0] or [0]
    for _ in range(rng.choice((1, 1, 2, 4))):
        width = rng.choice((1, 2, 4, 4, 8))
        place = rng.choice(places) + rng.choice((-4, 0, 2, 4, 4, 8, 12, 16, 20, 24, 28, 32, rng.randrange(64)))
        place = min(max(place, 0), len(changed) - width)
        number = rng.choice(_EXTREMES) & ((1 << 8 * width) - 1)
        changed[place:place + width] = number.to_bytes(width, rng.choice(("big", "little")))
    return bytes(changed)


MUTATIONS: dict[str, Callable[[bytes, random.Random, list[bytes]], bytes]] = {
    "bytes turned": turn_bytes, "cut off": cut_off, "left out": leave_out, "doubled": double, "spliced": splice,
    "numbers set": set_numbers,
}


# ---- whole files that mean harm -------------------------------------------------------------------------------


def make_bombs(seeds: dict[str, bytes]) -> list[Case]:
    """Much out of little: pixels, frames, rate, duration, text, boxes."""
    def patched(name: str, mark: bytes, offset: int, number: bytes) -> bytes:
        data, at = bytearray(seeds[name]), seeds[name].find(mark)
        data[at + offset:at + offset + len(number)] = number
        return bytes(data)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    def png(width: int, height: int, *chunks: bytes) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        body = chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + body + chunk(b"IEND", b"")

    def boxes(depth: int) -> bytes:
        return b"".join(struct.pack(">I", 8 * (depth - k)) + b"moov" for k in range(depth))

    ftyp = b"\0\0\0\x14ftypisom\0\0\2\0isom"
    tiny = {"size_px": (16, 16)}
    wav = seeds["voice.wav"]
    files = {
        "pixels.mp4": patched("talk.mp4", b"avc1", 28, b"\xff\xff\xff\xff"),
        "pixels.mov": patched("talk.mov", b"\xff\xc0", 5, b"\xff\xff\xff\xff"),  # of the JPEG in it
        "pixels.webm": patched("talk.webm", b"\x9d\x01\x2a", 3, b"\xff\x3f\xff\x3f"),  # 16383 x 16383
        "pixels.jpeg": patched("photo.jpeg", b"\xff\xc0", 5, b"\xff\xff\xff\xff"),
        "pixels.png": png(2**31 - 1, 2**31 - 1),
        "pixels_missing.png": png(7_700, 7_700),
        "text.png": png(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000), 9))),
        "frames.mkv": make_clip("matroska", "mpeg4", None, fps=1000, frames=1500, **tiny),
        "frames.mp4": make_clip("mp4", "mpeg4", None, fps=1000, frames=1500, **tiny),
        "samples.mp4": patched("talk.mp4", b"stsz", 12, b"\x7f\xff\xff\xff"),
        "chunks.mp4": patched("talk.mp4", b"stco", 8, b"\x7f\xff\xff\xff"),
        "hours.mkv": make_clip("matroska", "mpeg4", None, times=[1000 * 25 * k for k in range(FRAMES)], **tiny),
        "hours.mp4": patched("talk.mp4", b"mvhd", 20, b"\x7f\xff\xff\xff"),
        "ten_minutes.mkv": make_clip("matroska", "mpeg4", "pcm_s16le", times=[84 * 25 * k for k in range(FRAMES)],
                                     **tiny),
        "rate_0.wav": wav[:24] + bytes(4) + wav[28:],
        "rate_1.wav": wav[:24] + b"\1\0\0\0" + wav[28:],
        "rate_4g.wav": wav[:24] + b"\xff\xff\xff\xff" + wav[28:],
        "channels.wav": wav[:22] + b"\xff\0" + wav[24:],
        "four_gigabytes.wav": wav[:40] + b"\xff\xff\xff\xff" + wav[44:],
        "boxes.mp4": ftyp + boxes(20_000),
        "endless.mp4": ftyp + b"\0\0\0\1moov" + struct.pack(">Q", 2**62),
        "empty.mp4": b"", "zeros.mp4": bytes(50_000),
    }
    return [Case("bomb", name, content) for name, content in files.items()]


def make_lists() -> list[Case]:
    """Texts that name other files and hosts, called clips. `neighbour.mp4` lies beside each of them."""
    playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
    texts = {
        "hls.mp4": playlist.format("neighbour.mp4"), "hls_file.mp4": playlist.format("file:///etc/passwd"),
        "hls_http.mp4": playlist.format("http://127.0.0.1:9/x.ts"), "hls_concat.mp4": playlist.format("concat:a|b"),
        "ffconcat.mp4": "ffconcat version 1.0\nfile neighbour.mp4\n",
        "concat.mp4": "file 'neighbour.mp4'\nduration 1\n",
        "dash.mp4": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period>"
                    "<AdaptationSet mimeType='video/mp4'><Representation id='1' bandwidth='1'><BaseURL>neighbour.mp4"
                    "</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "svg.mp4": "<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "entity.mp4": "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
        "page.mp4": "<!doctype html><script>alert(1)</script>",
    }
    return [Case("list", name, text.encode()) for name, text in texts.items()]


def make_names(seeds: dict[str, bytes]) -> list[Case]:
    named = [Case("name", f"{payload.replace('/', '_')}.mp4", seeds["talk.mp4"]) for payload in PAYLOADS]
    return named + [Case("tags", "tags.mp4", make_clip("mp4", "mpeg4", "aac", tags={
        "title": payload, "comment": payload, "software": f"CapCut {payload}", "make": payload}))
        for payload in PAYLOADS]


class Cases:
    """Cases by number: first the whole files, then mutations without end."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._clips = make_seeds()
        self._whole = [*make_bombs(self._clips), *make_lists(), *make_names(self._clips)]
        self.good = self._clips["talk.mp4"]

    def __getitem__(self, number: int) -> Case:
        if number < len(self._whole):
            return self._whole[number]
        rng = random.Random(f"{self._seed}/{number}")
        name, kind = rng.choice(list(self._clips)), rng.choice(list(MUTATIONS))
        data = MUTATIONS[kind](self._clips[name], rng, list(self._clips.values()))
        if rng.random() < 0.25:
            data = MUTATIONS[rng.choice(list(MUTATIONS))](data or b"\0", rng, list(self._clips.values()))
        return Case(kind, name, data)


# ---- the run --------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of all cases. The promise is that crashes, hangs, unserved and leaked_files are 0."""

    cases: int = 0
    answered: int = 0  # with an analysis
    crashes: list[int] = field(default_factory=list)  # numbers of cases that ended in something else than a reason
    hangs: list[int] = field(default_factory=list)  # that took longer than the limit
    unserved: list[int] = field(default_factory=list)  # after which a good clip was not answered as before
    reasons: Counter[str] = field(default_factory=Counter)  # of refusals
    stopped: Counter[str] = field(default_factory=Counter)  # workers that crashed, stalled or ran out of memory
    kinds: Counter[str] = field(default_factory=Counter)
    worst_s: float = 0.0
    worst_case: int | None = None


def run(cases: Cases, numbers: range, limit_s: float, folder: Path, keep: Path | None = None) -> Outcome:
    outcome = Outcome()
    limits = Limits(patience_s=limit_s, decode_s=limit_s)
    expected = _serve(cases.good, folder)
    for number in numbers:
        case = cases[number]
        with _placed(case, folder, cases.good) as path:
            begin = time.perf_counter()
            how = _try(path, limits, number, outcome)
            spent_s = time.perf_counter() - begin
        outcome.cases += 1
        outcome.kinds[case.kind] += 1
        if spent_s > limit_s:
            outcome.hangs.append(number)
        if spent_s > outcome.worst_s:
            outcome.worst_s, outcome.worst_case = spent_s, number
        if (how or number % SERVED_EVERY == 0) and _serve(cases.good, folder) != expected:
            outcome.unserved.append(number)
        if keep and number in {*outcome.crashes, *outcome.hangs, *outcome.unserved}:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}{path.suffix}").write_bytes(case.content)
    return outcome


def _try(path: Path, limits: Limits, number: int, outcome: Outcome) -> str | None:
    """How a worker was stopped by the case, if it was."""
    forget()
    try:
        clip = prepare(path, limits=limits)
        told = json.dumps(read_provenance(path, clip.info).to_json(), allow_nan=False)
        if set(told) & set("<>`") or "{{" in told or not np.isfinite(clip.duration_s):
            outcome.crashes.append(number)
        outcome.answered += 1
    except MediaError as error:
        outcome.reasons[str(error.finding.reason)] += 1
        if isinstance(error.__cause__, isolation.WorkerStopped):
            outcome.stopped[error.__cause__.how] += 1
            return error.__cause__.how
    except Exception:  # the promise is that there is none
        outcome.crashes.append(number)
    return None


@contextmanager
def _placed(case: Case, folder: Path, neighbour: bytes) -> Iterator[Path]:
    """The case as the only file of its folder but for a good clip, as a shared folder of uploads would hold it."""
    path = folder / case.name
    beside = folder / "neighbour.mp4"
    path.write_bytes(case.content)
    if case.kind == "list":
        beside.write_bytes(neighbour)
    try:
        yield path
    finally:
        path.unlink()
        beside.unlink(missing_ok=True)


def _serve(content: bytes, folder: Path) -> tuple:
    """What a good clip gives, prepared afresh."""
    forget()
    path = folder / "good.mp4"
    path.write_bytes(content)
    try:
        clip = prepare(path)
        return clip.info.frames, clip.duration_s, clip.waveform.tobytes(), clip.quality.reasons
    except MediaError:
        return ()
    finally:
        path.unlink()


def measure(count: int, seed: int, limit_s: float, keep: Path | None = None) -> dict:
    """The figures of `count` cases, as --json prints them."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="telltale-") as outer, _temporary_folder(Path(outer) / "temporary") as left:
        folder = Path(outer) / "clips"
        folder.mkdir()
        cases = Cases(seed)
        _serve(cases.good, folder)  # loads the models
        held_mb, open_files = _own_peak_mb(), _open_files()
        outcome = run(cases, range(count), limit_s, folder, keep)
        forget()
        gc.collect()
        leaked = len(list(left.iterdir())) + len(list(folder.iterdir())) + max(_open_files() - open_files, 0)
    return {
        "cases": outcome.cases, "crashes": len(outcome.crashes), "hangs": len(outcome.hangs),
        "unserved": len(outcome.unserved), "leaked_files": leaked, "peak_mb": isolation.peak_mb(),
        "own_growth_mb": round(_own_peak_mb() - held_mb, 1), "answered": outcome.answered,
        "reasons": dict(outcome.reasons), "stopped": dict(outcome.stopped), "kinds": dict(outcome.kinds),
        "worst_s": round(outcome.worst_s, 2), "worst_case": outcome.worst_case, "seed": seed,
        "broken": sorted({*outcome.crashes, *outcome.hangs, *outcome.unserved}),
        "seconds": round(time.perf_counter() - begin, 1),
    }


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Where temporary files go meanwhile, so that what is left behind can be counted."""
    folder.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before


def _own_peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def _open_files() -> int:
    """Deleted ones too."""
    return len(os.listdir("/dev/fd"))


def kept_promise(figures: dict) -> bool:
    broken = sum(figures[name] for name in ("crashes", "hangs", "unserved", "leaked_files"))
    return not broken and (figures["peak_mb"] or 0) < MOST_MB and figures["own_growth_mb"] < MOST_MB


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit-s", type=float, default=30.0, help="for one case")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where files that broke the promise are kept")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line, last")
    args = parser.parse_args(argv)
    if args.cases < 1 or args.limit_s <= 0:
        parser.error("--cases and --limit-s are positive")
    figures = measure(args.cases, args.seed, args.limit_s, args.keep)
    for key, value in figures.items():
        print(f"{key:14} {value}")
    if args.json:
        print(json.dumps(figures))
    return 0 if kept_promise(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
