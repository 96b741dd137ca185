"""DFDC (Dolhansky et al. 2020): 128,154 clips of 10 s; and its preview (DFDCP, 2019): 5,250 clips of 66 people.

DFDC: ROOT holds folders dfdc_train_part_N/ (nested as the archives unpack) with metadata.json
    {"x.mp4": {"label": "FAKE" | "REAL", "split": "train", "original": "y.mp4"}}
and test/ or validation/ with labels.csv (filename,label: 1 = fake). No person and no method is named. Genuine clips
are genuine in both modalities; some fakes have a swapped voice too, which no official file says: audio_fake of a fake
is unknown unless ROOT holds DFDC-18000.csv (filename,audio_label,video_label,...: here 1 = genuine) as published with
github.com/RedamancyAY/Audio-Visual-Deepfake-Detection. Some clips have no sound at all.

Preview: ROOT (dfdc_preview_set) holds dataset.json, keyed by the clip's path, {label, set: train | test, target_id,
swapped_id, ...}, and original_videos/PERSON/PERSON_A_001.mp4, method_{A,B}/PERSON/PERSON_A/OTHER_PERSON_A_001.mp4.

To get it: Kaggle account and the competition's rules (ai.meta.com/datasets/dfdc).
Protocol: official parts; papers on sound use the 18,000 clips above, 75/10/15. Metrics: log loss, AUC, accuracy.
"""

from __future__ import annotations

import csv
import json
from math import nan
from pathlib import Path

from training.datasets.record import Record, find_first, keep_present, whole_spans

SPLITS = {"test": "test", "validation": "val"}
PER_MODALITY = "DFDC-18000.csv"


def read_dfdc(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    labels = _modality_labels(root / PER_MODALITY)
    tables = sorted(root.rglob("labels.csv"))
    judged = {path.parent for path in tables}  # the test set's metadata.json is of another kind
    parts = [path for path in sorted(root.rglob("metadata.json")) if path.parent not in judged]
    if not tables and not parts:
        raise FileNotFoundError(f"{root} does not look like DFDC: expected dfdc_train_part_*/metadata.json or "
                                "test/labels.csv in it")
    records = []
    for path in parts:
        for name, row in json.loads(path.read_text(encoding="utf-8")).items():
            records.append(_record(path.parent.relative_to(root) / name, row["label"] == "FAKE",
                                   row.get("split", "train"), row.get("original"), labels))
    for path in tables:
        with open(path, newline="", encoding="utf-8") as file:
            records += [_record(path.parent.relative_to(root) / row["filename"], row["label"] == "1",
                                SPLITS.get(path.parent.name, path.parent.name), None, labels)
                        for row in csv.DictReader(file)]
    return keep_present(records, root)


def _modality_labels(table: Path) -> dict[str, tuple[float, float]]:
    """Clip name to (video_fake, audio_fake); empty without the table."""
    if not table.is_file():
        return {}
    with open(table, newline="", encoding="utf-8") as file:
        return {row["filename"]: (1 - float(row["video_label"]), 1 - float(row["audio_label"]))
                for row in csv.DictReader(file)}


def _record(path: Path, fake: bool, split: str, original: str | None, labels: dict[str, tuple[float, float]]) -> Record:
    video_fake, audio_fake = labels.get(path.name, (1.0, nan) if fake else (0.0, 0.0))
    return Record(
        file=path.as_posix(), dataset="dfdc", split=split, family="face_swap" if fake else "real",
        source=path.parent.name, pair=Path(original or path.name).stem if original or not fake else "",
        video_fake=video_fake, audio_fake=audio_fake, spans=whole_spans(video_fake, audio_fake),
    )


def read_dfdc_preview(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    table = find_first(root, ("dataset.json",), "the DFDC preview")
    rows = json.loads(table.read_text(encoding="utf-8"))
    return keep_present([_preview_record(file, row) for file, row in rows.items()], root)


def _preview_record(file: str, row: dict) -> Record:
    fake = row["label"] == "fake"
    people, clip = _preview_people(Path(file).stem, fake)
    return Record(
        file=file, dataset="dfdc_preview", split=row["set"], family="face_swap" if fake else "real",
        method=Path(file).parts[0] if fake else "", source="DFDC preview",
        identities=tuple(f"dfdc:{person}" for person in people), pair=clip,
        video_fake=float(fake), audio_fake=nan if fake else 0.0, spans=whole_spans(float(fake), nan),
    )


def _preview_people(stem: str, fake: bool) -> tuple[list[str], str]:
    """(people, first that of the genuine clip; the genuine clip's stem) of "1003254_A_001" or, where fake, of
    "1255229_1003254_A_001": the face of the first on the body of the second."""
    if not fake:
        return [stem.split("_")[0]], stem
    swapped, _, clip = stem.partition("_")
    return [clip.split("_")[0], swapped], clip
