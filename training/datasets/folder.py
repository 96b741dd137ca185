"""A folder of your own clips.

    ROOT/real/[PERSON/]clip.mp4 and ROOT/fake/[METHOD/[PERSON/]]clip.mp4, or
    ROOT/[PERSON/]clip.mp4, all genuine, where there is neither real/ nor fake/, or
    ROOT/records.csv, which says more than folders can

A clip in fake/ counts as a fake picture with sound of unknown origin, a sound file there as fake sound. The folders
give no splits and no pairs: see splits.split_identities. Clips of one PERSON folder stay together in a split, so name
those folders by who is seen; clips without one are taken for different people.

records.csv has `file` and any of the columns of Record: identities separated by ";", spans as
"video 1.2 2.0;audio 0 inf" (seconds), video_fake and audio_fake 0, 1 or empty (unknown).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import fields
from math import nan
from pathlib import Path

from training.datasets.record import MODALITIES, Record, keep_present

PICTURE = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".3gp", ".flv", ".wmv", ".ts"}
SOUND = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".amr"}


def read_folder(root: Path) -> list[Record]:
    """Raises: FileNotFoundError where there are no clips; ValueError for a table that cannot be understood."""
    if (table := root / "records.csv").is_file():
        return keep_present(_read_table(table), root)
    kinds = [kind for kind in ("real", "fake") if (root / kind).is_dir()]
    records = [_record(path.relative_to(root), kind) for kind in kinds or [""] for path in _clips(root / kind)]
    if not records:
        raise FileNotFoundError(f"{root}: expected clips in real/ and fake/METHOD/, clips in folders, or records.csv")
    return records


def _clips(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in PICTURE | SOUND and not path.name.startswith(".") and path.is_file())


def _record(path: Path, kind: str) -> Record:
    folders = list(path.parts[1:-1] if kind else path.parts[:-1])
    fake = kind == "fake"
    method = folders.pop(0) if fake and folders else ""
    picture = path.suffix.lower() in PICTURE
    if picture:
        video_fake, audio_fake = (1.0, nan) if fake else (0.0, 0.0)
    else:
        video_fake, audio_fake = nan, float(fake)
    return Record(
        file=path.as_posix(), dataset="folder", method=method,
        family="" if fake and picture else ("fake_speech" if fake else "real" if picture else "real_speech"),
        identities=(folders[0],) if folders else (), video_fake=video_fake, audio_fake=audio_fake,
    )


def _read_table(table: Path) -> list[Record]:
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = {field.name for field in fields(Record)}
        if unknown := sorted(set(reader.fieldnames or ()) - names):
            raise ValueError(f"{table}: unknown columns {', '.join(unknown)}; known are {', '.join(sorted(names))}")
        if "file" not in (reader.fieldnames or ()):
            raise ValueError(f"{table}: the column file is missing")
        return [_table_record(row, f"{table}, line {reader.line_num}") for row in reader]


def _table_record(row: dict[str, str], where: str) -> Record:
    if None in row:
        raise ValueError(f"{where}: more cells than columns")
    texts = {name: text or "" for name, text in row.items()}
    labels = {name: texts.pop(name, "") for name in ("video_fake", "audio_fake")}
    if wrong := [text for text in labels.values() if text not in ("", "0", "1")]:
        raise ValueError(f"{where}: {wrong[0]!r} is not 0, 1 or empty")
    identities = tuple(name.strip() for name in texts.pop("identities", "").split(";") if name.strip())
    spans = tuple(_span(text, where) for text in texts.pop("spans", "").split(";") if text.strip())
    return Record(**{**texts, "dataset": texts.get("dataset") or "folder"}, identities=identities, spans=spans,
                  **{name: float(text) if text else nan for name, text in labels.items()})


def _span(text: str, where: str) -> tuple[str, float, float]:
    try:
        modality, start, end = text.split()
        start_s, end_s = float(start), float(end)
    except ValueError:
        raise ValueError(f"{where}: span {text!r} is not MODALITY START_S END_S") from None
    if modality not in MODALITIES or not 0 <= start_s < end_s:
        raise ValueError(f"{where}: span {text!r} needs {' or '.join(MODALITIES)} and 0 <= start < end")
    return modality, start_s, end_s
