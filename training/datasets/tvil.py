"""TVIL (Zhang et al., UMMAFormer, ACM MM 2023): YouTube-VOS clips with inpainted stretches of time.

ROOT holds an annotation (any *.json in it or in annotations/): {id: {file, split, duration, video_frames, fps,
fake_periods [[start_s, end_s], ...]}}, and the clips as SPLIT/FILE or FILE. Objects were removed with E2FGVI, FGT,
FuseFormer or STTN; the annotation does not say which, a folder of that name in FILE does. There is no sound and mostly
no face: it serves temporal localization, not talking heads.

To get it: links in github.com/ymhzyj/UMMAFormer; academic use.
Protocol: splits as given. Metrics: AP at IoU .5, .75, .95; AR at 10, 20, 50, 100 proposals.
"""

from __future__ import annotations

import json
from math import nan
from pathlib import Path

from training.datasets.record import Record, keep_present

METHODS = ("e2fgvi", "fgt", "fuseformer", "sttn")


def read_tvil(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    tables = sorted([*root.glob("*.json"), *root.glob("annotations/*.json")])
    found = [json.loads(table.read_text(encoding="utf-8")) for table in tables]
    rows = [row for table in found if isinstance(table, dict) for row in table.values()]
    if not rows:
        raise FileNotFoundError(f"{root} does not look like TVIL: expected its annotation, *.json or "
                                "annotations/*.json, in it")
    return keep_present([_record(row, root) for row in rows], root)


def _record(row: dict, root: Path) -> Record:
    split, file = row["split"].lower(), row["file"]
    spans = tuple(("video", float(start_s), float(end_s)) for start_s, end_s in row.get("fake_periods") or ())
    folders = {part.lower() for part in Path(file).parts[:-1]}
    return Record(
        file=file if (root / file).is_file() else f"{split}/{file}", dataset="tvil", split=split,
        family="inpainting" if spans else "real", method=next((m for m in METHODS if spans and m in folders), ""),
        source="YouTube-VOS", pair=Path(file).stem.split("_")[0],  # 5ef6573a99_result: YouTube-VOS's own id
        video_fake=float(bool(spans)), audio_fake=nan, spans=spans,
    )
