"""KoDF (Kwon et al., ICCV 2021): 62,166 genuine and 175,776 fake clips of 403 Korean speakers.

ROOT (KoDF) holds original_videos/ID/ID_NNN.mp4 and METHOD/DATE/ID/ID_OTHER_K_NNNN.mp4 (some copies without DATE) for
METHOD in audio-driven, dffs, dfl, fo, fsgan. Names give both people, not the genuine clip a fake was made from, so
there are no pairs. Only the picture is labelled: audio_fake of a fake is unknown, and fsgan clips have no sound.

To get it: request at github.com/deepbrainai-research/kodf.
Protocol: none official; SpeechForensics publishes its test list (data/datasets/KoDF/test_list.txt). Use
splits.split_identities. Metrics: AUC, average precision, per method.
"""

from __future__ import annotations

from math import nan
from pathlib import Path

from training.datasets.record import Record, keep_present, whole_spans

FAMILIES = {
    "original_videos": "real", "audio-driven": "lip_sync", "dffs": "face_swap", "dfl": "face_swap",
    "fo": "reenactment", "fsgan": "face_swap",
}


def read_kodf(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    files = [path for folder in FAMILIES for path in sorted((root / folder).rglob("*.mp4"))]
    if not files:
        raise FileNotFoundError(f"{root} does not look like KoDF: expected clips in {', '.join(FAMILIES)} in it")
    return keep_present([_record(path.relative_to(root)) for path in files], root)


def _record(path: Path) -> Record:
    folder = path.parts[0]
    fake = folder != "original_videos"
    people = path.stem.split("_")[: 2 if fake else 1]
    return Record(
        file=path.as_posix(), dataset="kodf", family=FAMILIES[folder], method=folder if fake else "", source="KoDF",
        identities=tuple(dict.fromkeys(f"kodf:{person}" for person in people)),
        video_fake=float(fake), audio_fake=nan if fake else 0.0, spans=whole_spans(float(fake), nan),
    )
