"""What the frozen encoders tell of prepared samples, kept: a detector that reads them then trains without them.

    python -m training.encode SHARDS --out ENCODED [--encoders DIR] [--jobs N]

ENCODED gets a shard for each finished one of SHARDS, with the same lines in its index; those that it has are left
alone, so the command may be run again when there are more. A sample is encoded as it is: there are no draws.

Tensors of a sample, those that it has:
    face_times_s [m] float64       multiples of 0.32 s; a moment without a crop within 0.12 s is left out
    faces [m, rows, C] float16     FaceEncoder's rows of the crops nearest to them
    speech [T, 200] float16        SpeechEncoder's rows, 50 a second, of the whole sound: its pieces of 3.84 s begin at
                                   multiples of that, so a window that does too finds the rows that it would hear
    waveform [samples] int16       as in SHARDS, like the next
    times_s [n], lips_jpeg, lips_end

ENCODED/encoders.json says which encoders these are; a folder is not mixed from several.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from detectors.checkpoint import CheckpointError
from detectors.encoders import REGIONS, STEP_S, FaceEncoder, SpeechEncoder
from training.pretrained import MissingPackage, load_encoders, published_encoders
from training.shards import Packed, read_tensors, unpack_pictures, write_shard

NEAREST_FACE_S = 0.12
FACES_AT_ONCE = 32
KEPT = ("waveform", "times_s", "lips_jpeg", "lips_end")
ENCODERS = "encoders.json"

Tensors = dict[str, np.ndarray]


class MixedEncoders(Exception):
    """A folder holds what other encoders told."""


def encode_sample(tensors: Tensors, face_encoder: FaceEncoder, speech_encoder: SpeechEncoder) -> Tensors:
    """A prepared sample's tensors -> an encoded one's, as this module's docstring lists them."""
    encoded = {name: tensors[name] for name in KEPT if name in tensors}
    if "times_s" in tensors:
        times_s, rows = nearest_crops(tensors["times_s"])
        encoded |= {"face_times_s": times_s, "faces": _encode_faces(tensors, rows, face_encoder)}
    if "waveform" in tensors:
        waveform = torch.from_numpy(tensors["waveform"].astype(np.float32) / 32767)
        encoded["speech"] = speech_encoder(waveform[None])[0].half().numpy()
    return encoded


def nearest_crops(times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multiples of STEP_S that have a crop near [m], and the row of the nearest one [m]; times_s [n] ascending."""
    wanted_s = np.arange(int((times_s[-1] + NEAREST_FACE_S) / STEP_S) + 1) * STEP_S
    rows = np.abs(times_s - wanted_s[:, None]).argmin(axis=1)
    near = np.abs(times_s[rows] - wanted_s) < NEAREST_FACE_S + 1e-6
    return wanted_s[near], rows[near]


def _encode_faces(tensors: Tensors, rows: np.ndarray, encoder: FaceEncoder) -> np.ndarray:
    """[m, R, C] float16 of the face crops at these rows"""
    told = [np.zeros((0, encoder.rows, encoder.dim), np.float16)]
    for first in range(0, len(rows), FACES_AT_ONCE):
        crops = unpack_pictures(tensors, "faces", rows[first:first + FACES_AT_ONCE])
        faces = np.stack([cv2.resize(c, (encoder.face_px,) * 2, interpolation=cv2.INTER_AREA) for c in crops])
        told.append(encoder(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255).half().numpy())
    return np.concatenate(told)


@dataclass(frozen=True)
class Work:
    """How a shard becomes an encoded one: the same for every process."""

    source: Path
    out: Path
    encoders: Path | None  # folder of training.pretrained; None: from the installed packages

    @torch.inference_mode()
    def __call__(self, index: Path) -> list[dict]:
        """Write the encoded shard of this index; gives its lines."""
        lines = read_lines(index)
        samples = (self._encode(line) for line in lines if "skipped" not in line)
        return write_shard(self.out / f"{index.stem}.tar", samples, [line for line in lines if "skipped" in line])

    def _encode(self, line: dict) -> Packed:
        tensors = read_tensors(self.source, line["shard"], line["offset"], line["bytes"])
        line = {name: value for name, value in line.items() if name not in ("shard", "offset", "bytes")}
        return Packed(line, encode_sample(tensors, *_encoders(self.encoders)))


@lru_cache(maxsize=1)
def _encoders(folder: Path | None) -> tuple[FaceEncoder, SpeechEncoder]:
    return published_encoders() if folder is None else load_encoders(folder)


def read_lines(index: Path) -> list[dict]:
    return [json.loads(text) for text in index.read_text().splitlines()]


def describe(face_encoder: FaceEncoder, speech_encoder: SpeechEncoder) -> dict:
    """What tells encoders apart, JSON-able."""
    return {"face": _digest(face_encoder), "face_px": face_encoder.face_px, "regions": list(REGIONS),
            "speech": _digest(speech_encoder), "piece_s": speech_encoder.piece_s}


def check_encoders(folders: Iterable[Path], face_encoder: FaceEncoder, speech_encoder: SpeechEncoder) -> None:
    """Raises: ValueError unless these encoders wrote all of these folders."""
    for folder in folders:
        path = folder / ENCODERS
        if not path.is_file():
            raise ValueError(f"{folder} holds no encoded samples; make some with python -m training.encode")
        if json.loads(path.read_text(encoding="utf-8")) != describe(face_encoder, speech_encoder):
            raise ValueError(f"{path} names other encoders than those that the recipe gives")


def _digest(encoder: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def encode_all(work: Work, jobs: int) -> dict:
    """Write the encoded shards that are missing, and say what there is then.

    Raises: FileNotFoundError without any shard, MixedEncoders, MissingPackage, CheckpointError.
    """
    indexes = sorted(work.source.glob("*.jsonl"))
    if not indexes:
        raise FileNotFoundError(f"{work.source} holds no shards; make some with python -m training.prepare")
    work.out.mkdir(parents=True, exist_ok=True)
    _claim(work.out / ENCODERS, describe(*_encoders(work.encoders)))
    todo = [index for index in indexes if not (work.out / index.name).is_file()]
    begin, done = time.perf_counter(), 0
    with tqdm(total=len(todo), unit="shard", file=sys.stderr, mininterval=5) as bar:
        for lines in _run(work, todo, jobs):
            done += sum("skipped" not in line for line in lines)
            bar.set_postfix(samples=done, refresh=False)
            bar.update()
    elapsed_s = time.perf_counter() - begin
    used = [line for index in indexes for line in read_lines(work.out / index.name) if "skipped" not in line]
    return {
        "samples": len(used), "hours": round(sum(line["duration_s"] for line in used) / 3600, 3),
        "samples_per_s": round(done / max(elapsed_s, 1e-9), 3),
        "bytes": sum((work.out / f"{index.stem}.tar").stat().st_size for index in indexes),
    }


def _claim(path: Path, description: dict) -> None:
    """A new folder gets the description of its encoders; an old one must have the same."""
    if not path.is_file():
        path.write_text(json.dumps(description) + "\n")
    elif json.loads(path.read_text()) != description:
        raise MixedEncoders(f"{path.parent} was written with other encoders, see {path.name}; give a new folder")


def _run(work: Work, indexes: list[Path], jobs: int) -> Iterator[list[dict]]:
    jobs = min(jobs, len(indexes))
    if jobs < 2:
        _begin()
        yield from map(work, indexes)
        return
    # spawn: a forked child would inherit torch's thread pool in an unusable state
    with multiprocessing.get_context("spawn").Pool(jobs, _begin) as pool:
        yield from pool.imap_unordered(work, indexes)


def _begin() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.encode", description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder that training.prepare wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoders", type=Path, help="folder that training.pretrained wrote; without it the weights "
                        "are taken from the installed packages")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes, one core each")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    if args.shards.resolve() == args.out.resolve():
        parser.error("--out must be another folder than SHARDS")
    try:
        summary = encode_all(Work(args.shards.resolve(), args.out.resolve(), args.encoders), args.jobs)
    except (FileNotFoundError, MixedEncoders) as error:
        parser.error(str(error))
    except (MissingPackage, CheckpointError) as error:
        print(error, file=sys.stderr)
        return 1
    for key, value in summary.items():
        print(f"{key:14} {value}")
    if args.json:
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
