"""LAV-DF (Cai et al., DICTA 2022): 36,431 genuine and 99,873 partly fake clips of 153 people; 25 fps, 16 kHz.

ROOT (LAV-DF) holds metadata.min.json (or metadata.json) and {train,dev,test}/NNNNNN.mp4. The list has file (with its
split's folder), original (the genuine clip's file; null when genuine), split, modify_video, modify_audio and
fake_periods [[start_s, end_s], ...], which hold for every modified modality. It names no person: the splits are the
authors', and `pair` is all there is to group by. Words are replaced by SV2TTS speech, mouths follow by Wav2Lip.

To get it: Hugging Face ControlNet/LAV-DF after accepting the terms; CC BY-NC 4.0 and VoxCeleb2's terms.
Protocol: train/dev/test as given. Metrics: AP at IoU .5, .75, .95; AR at 100, 50, 20, 10 proposals; AUC.
"""

from __future__ import annotations

import json
from pathlib import Path

from training.datasets.record import Record, find_first, keep_present


def read_lav_df(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    table = find_first(root, ("metadata.min.json", "metadata.json"), "LAV-DF")
    return keep_present([_record(row) for row in json.loads(table.read_text(encoding="utf-8"))], root)


def _record(row: dict) -> Record:
    video_fake, audio_fake = float(row["modify_video"]), float(row["modify_audio"])
    modified = ["video"] * bool(video_fake) + ["audio"] * bool(audio_fake)
    periods = [(float(start_s), float(end_s)) for start_s, end_s in row["fake_periods"]]
    return Record(
        file=row["file"], dataset="lav_df", split=row["split"],
        family="lip_sync" if video_fake else "dubbed_speech" if audio_fake else "real",
        method="+".join(["wav2lip"] * bool(video_fake) + ["sv2tts"] * bool(audio_fake)),
        source="LAV-DF", pair=row["original"] or row["file"], video_fake=video_fake, audio_fake=audio_fake,
        spans=tuple((name, *period) for name in modified for period in periods),
    )
