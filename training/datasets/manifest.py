"""A folder with the CSV manifests video.csv and speech.csv, either of which may be missing; it comes with splits.

video.csv   file, split, label (real | fake), video_fake, audio_fake (0, 1 or empty: unknown), family, method, repo,
            identity, pair, has_audio; further columns are ignored
speech.csv  file, split, label, system, source, speaker

Files are not looked for: whoever reads the clips reports those that cannot be read. Where in a fake clip the
manipulation lies is not said, so it counts as unknown.
"""

from __future__ import annotations

import csv
from math import nan
from pathlib import Path

from training.datasets.record import Record


def read_manifests(root: Path) -> list[Record]:
    """Raises: FileNotFoundError when there is neither."""
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
    return Record(
        file=row["file"], dataset="manifest", split=row["split"], family=row["family"],
        method=row["method"] if row["label"] == "fake" else "", source=row["repo"],
        identities=(row["identity"],) if row["identity"] else (), pair=row["pair"],
        video_fake=_label(row["video_fake"]), audio_fake=_label(row["audio_fake"]) if row["has_audio"] == "1" else nan,
    )


def _speech_record(row: dict[str, str]) -> Record:
    fake = row["label"] == "fake"
    return Record(
        file=row["file"], dataset="manifest", split=row["split"], family="fake_speech" if fake else "real_speech",
        method=row["system"] if fake else "", source=row["source"],
        identities=(row["speaker"],) if row["speaker"] else (), video_fake=nan, audio_fake=float(fake),
    )
