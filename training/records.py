"""One record per clip, whatever corpus it comes from; labels may be unknown (NaN), never guessed."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from math import nan
from pathlib import Path


@dataclass(frozen=True)
class Record:
    file: str  # relative to the data set's root
    split: str  # "train" | "val"
    family: str  # "real", "face_swap", "lip_sync", ..., "fake_speech"
    method: str  # the generator's name, "" for genuine clips
    source: str  # repository, page or corpus: what a shortcut would learn instead of the manipulation
    identity: str
    pair: str  # shared by a genuine clip and the fakes made from it; "" when none
    video_fake: float  # 0, 1 or NaN
    audio_fake: float  # 0, 1 or NaN


def read_manifests(root: Path) -> list[Record]:
    """The CSV manifests of a folder: video.csv and speech.csv, either of which may be missing.

    Raises: FileNotFoundError when there is neither.
    """
    readers = {"video.csv": _video_record, "speech.csv": _speech_record}
    found = [(root / name, read) for name, read in readers.items() if (root / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{root} holds neither video.csv nor speech.csv")
    records = []
    for path, read in found:
        with open(path, newline="", encoding="utf-8") as file:
            records += [read(row) for row in csv.DictReader(file)]
    return records


def _label(text: str) -> float:
    return float(text) if text else nan


def _video_record(row: dict[str, str]) -> Record:
    return Record(row["file"], row["split"], row["family"], row["method"] if row["label"] == "fake" else "",
                  row["repo"], row["identity"], row["pair"], _label(row["video_fake"]),
                  _label(row["audio_fake"]) if row["has_audio"] == "1" else nan)


def _speech_record(row: dict[str, str]) -> Record:
    fake = row["label"] == "fake"
    return Record(row["file"], row["split"], "fake_speech" if fake else "real_speech", row["system"] if fake else "",
                  row["source"], row["speaker"], "", nan, float(fake))
