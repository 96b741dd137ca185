"""In-the-Wild (Müller et al., Interspeech 2022): 31,779 recordings of 54 public figures, genuine and synthetic.

ROOT (release_in_the_wild) holds *.wav at 16 kHz and meta.csv: file,speaker,label with label bona-fide or spoof.

To get it: Hugging Face mueller91/In-The-Wild or deepfake-total.com; Apache-2.0.
Protocol: a test set, no training part; to train on it, splits.split_identities. Metric: EER.
"""

from __future__ import annotations

import csv
from math import nan
from pathlib import Path

from training.datasets.record import Record, find_first, keep_present, whole_spans

FAKE = {"bona-fide": 0.0, "spoof": 1.0}


def read_in_the_wild(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    with open(find_first(root, ("meta.csv",), "In-the-Wild"), newline="", encoding="utf-8") as file:
        return keep_present([_record(row) for row in csv.DictReader(file)], root)


def _record(row: dict[str, str]) -> Record:
    fake = FAKE[row["label"]]
    return Record(
        file=row["file"], dataset="in_the_wild", family="fake_speech" if fake else "real_speech", source="In-the-Wild",
        identities=(row["speaker"],), video_fake=nan, audio_fake=fake, spans=whole_spans(nan, fake),
    )
