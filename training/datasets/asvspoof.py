"""ASVspoof 2019 LA (Wang et al. 2020) and ASVspoof 2021 LA and DF (Liu et al. 2023): genuine and synthetic speech.

2019: ROOT (LA, or the folder above it) holds ASVspoof2019_LA_{train,dev,eval}/flac/UTTERANCE.flac and
    ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{train.trn,dev.trl,eval.trl}.txt
    SPEAKER UTTERANCE - SYSTEM KEY        SYSTEM A01 ... A19 or -, KEY bonafide or spoof
2021: ROOT holds ASVspoof2021_{LA,DF}_eval/flac/ (DF: in parts, ASVspoof2021_DF_eval_part0N) and, from the key
archives, keys/{LA,DF}/CM/trial_metadata.txt
    SPEAKER UTTERANCE CODEC TRANSMISSION ATTACK KEY TRIM PHASE ...       LA; DF has its source corpus as the fourth
ATTACK of genuine speech is "bonafide" or "-". Only PHASE "eval" is scored; "progress" and "hidden" are kept apart as
splits of their own.

To get it: datashare.ed.ac.uk 10283/3336 and zenodo (see asvspoof.org); ODC-BY.
Protocol: train and dev of 2019, eval of either. Metrics: EER, minimum t-DCF.
"""

from __future__ import annotations

from math import nan
from pathlib import Path

from training.datasets.record import Record, find_first, keep_present, whole_spans

PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}


def read_asvspoof2019_la(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    name = "ASVspoof2019_LA_cm_protocols"
    protocols = find_first(root, (name, f"LA/{name}"), "ASVspoof 2019 LA")
    base = protocols.parent.relative_to(root)
    records = []
    for split, ending in PROTOCOLS.items():
        if (table := protocols / f"ASVspoof2019.LA.cm.{ending}.txt").is_file():
            for speaker, utterance, _, system, key in _rows(table):
                file = base / f"ASVspoof2019_LA_{split}" / "flac" / f"{utterance}.flac"
                records.append(_record(file.as_posix(), "asvspoof2019_la", split, "VCTK", speaker, system, key))
    return keep_present(records, root)


def read_asvspoof2021_la(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    return _read_2021(root, "LA")


def read_asvspoof2021_df(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    return _read_2021(root, "DF")


def _read_2021(root: Path, task: str) -> list[Record]:
    keys = f"keys/{task}/CM/trial_metadata.txt"
    table = find_first(root, (keys, f"{task}-keys-full/{keys}"), f"ASVspoof 2021 {task}")
    name = f"ASVspoof2021_{task}_eval"
    folders = [*root.glob(f"{name}*/flac"), *root.glob(f"{name}_part*/{name}/flac")]
    parts = {path.stem: path.relative_to(root).as_posix() for folder in folders for path in folder.glob("*.flac")}
    records = []
    for speaker, utterance, _, origin, system, key, _, phase, *_ in _rows(table):
        file = parts.get(utterance, f"{name}/flac/{utterance}.flac")
        source = origin if task == "DF" else "VCTK"
        records.append(_record(file, f"asvspoof2021_{task.lower()}", phase, source, speaker, system, key))
    return keep_present(records, root)


def _rows(table: Path) -> list[list[str]]:
    return [line.split() for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]


def _record(file: str, dataset: str, split: str, source: str, speaker: str, system: str, key: str) -> Record:
    fake = float(key == "spoof")
    return Record(
        file=file, dataset=dataset, split=split, family="fake_speech" if fake else "real_speech",
        method=system if fake else "", source=source, identities=(speaker,), video_fake=nan, audio_fake=fake,
        spans=whole_spans(nan, fake),
    )
