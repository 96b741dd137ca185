"""Samples in WebDataset tar shards, with an index that also finds any one of them without reading the rest.

    OUT/clips-000007.tar     KEY.json (the sample's line), KEY.safetensors (its tensors), KEY.json, ...
    OUT/clips-000007.jsonl   one line per sample, with the bytes where its tensors lie; and one per clip left out

A shard is written under another name and its index last, so a shard with an index is a whole one: that is all that
resuming needs. The same samples give the same bytes.

Tensors of a sample, those that it has:
    times_s [n] float64             of the face crops, on the 25 Hz grid
    faces_jpeg, lips_jpeg           [n] crops of 224 and 96 px, RGB, JPEG 95 without chroma subsampling
    region_png                      [n] crops of REGION_PX, grey: share of each part of the face crop that was replaced
    *_end [n] int64                 where each picture's bytes end
    waveform [samples] int16        16 kHz mono
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import webdataset
from safetensors.numpy import load, save

REGION_PX = 56
COMMAND = "command.txt"  # beside the shards: what wrote them
_LOSSY = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


@dataclass(frozen=True)
class Packed:
    """A sample ready to be written."""

    line: dict  # JSON-able: labels, facts, what was done
    tensors: dict[str, np.ndarray]


def pack_pictures(name: str, pictures: np.ndarray, extension: str) -> dict[str, np.ndarray]:
    """[n, H, W, 3] RGB or [n, H, W] grey, uint8 -> the two tensors NAME_jpeg or NAME_png, and NAME_end."""
    coded = []
    for picture in pictures:
        if picture.ndim == 3:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        coded.append(cv2.imencode(f".{extension}", picture, _LOSSY if extension == "jpeg" else ())[1].ravel())
    return {f"{name}_{extension}": np.concatenate(coded), f"{name}_end": np.cumsum([len(c) for c in coded])}


def unpack_pictures(tensors: dict[str, np.ndarray], name: str, rows: Iterable[int]) -> np.ndarray:
    """The pictures at these rows: [k, H, W, 3] RGB or [k, H, W] grey, uint8."""
    coded = tensors.get(f"{name}_jpeg", tensors.get(f"{name}_png"))
    ends = tensors[f"{name}_end"]
    found = []
    for row in rows:
        picture = cv2.imdecode(coded[ends[row - 1] if row else 0:ends[row]], cv2.IMREAD_UNCHANGED)
        found.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if picture.ndim == 3 else picture)
    return np.stack(found)


def write_shard(path: Path, samples: Iterable[Packed], left_out: Iterable[dict] = ()) -> list[dict]:
    """Write a shard and its index; gives the index lines. Samples are taken one at a time."""
    partial = path.with_suffix(".partial")
    lines = []
    with webdataset.TarWriter(str(partial), encoder=False, mtime=0.0, user="", group="") as tar:
        for packed in samples:
            line = {**packed.line, "shard": path.name}
            tar.write({"__key__": line["key"], "json": json.dumps(line, sort_keys=True).encode(),
                       "safetensors": save(packed.tensors)})
            lines.append(line)
    lines = [{**line, **place} for line, place in zip(lines, _places(partial), strict=True)]
    partial.rename(path)
    lines += left_out
    index = path.with_suffix(".jsonl")
    index.with_suffix(".partial").write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    index.with_suffix(".partial").rename(index)
    return lines


def _places(shard: Path) -> list[dict[str, int]]:
    """Where the tensors of each sample lie in the file."""
    with tarfile.open(shard) as tar:
        return [{"offset": m.offset_data, "bytes": m.size} for m in tar if m.name.endswith(".safetensors")]


def read_index(folder: Path) -> list[dict]:
    """The lines of all finished shards, in order; those of clips left out have `skipped`.

    Raises: FileNotFoundError when there is no finished shard.
    """
    indexes = sorted(folder.glob("*.jsonl"))
    if not indexes:
        raise FileNotFoundError(f"{folder} holds no shards; make some with python -m training.prepare")
    return [json.loads(text) for index in indexes for text in index.read_text().splitlines()]


def read_command(folder: Path) -> str:
    """The command that wrote these shards, with DATA and SHARDS in place of its folders; "" where nothing tells it."""
    path = folder / COMMAND
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def read_tensors(folder: Path, shard: str, offset: int, size: int) -> dict[str, np.ndarray]:
    """The tensors of one sample, from where its index line says that they lie."""
    with open(folder / shard, "rb") as file:
        file.seek(offset)
        return load(file.read(size))
