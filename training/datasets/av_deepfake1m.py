"""AV-Deepfake1M (Cai et al., ACM MM 2024; 1.1 million clips) and AV-Deepfake1M++ (2025; about 2 million).

ROOT holds {train,val}_metadata.json, {train,val}/ and, without labels, test_files.txt with test/ (++: testA_files.txt
with testA/, testB_files.txt with testB/). The list has file (relative to the split's folder), modify_type,
audio_model, (++:) video_model, visual_fake_segments and audio_fake_segments [[start_s, end_s], ...], audio_frames.
Where a list is missing, its clips' own json files are read: in {split}_metadata/, or (++) beside the clips.
    1M:  SPLIT/idXXXXX/YOUTUBE/NNNNN/{real,fake_video_fake_audio,...}.mp4, idXXXXX as in VoxCeleb2
    ++:  SPLIT/vox_celeb_2/idXXXXX/YOUTUBE/NNNNN/*.mp4, SPLIT/lrs3/YOUTUBE/NNNNN/*.mp4,
         SPLIT/silent_videos/subject_N_.../*.mp4
The archives unpack to SPLIT/SPLIT/ in some places; both are found. modify_type is written "both_modified"; the
official loader tests for "both-modified" and so takes those clips for genuine: here both spellings are read.
`original` of a genuine clip names the VoxCeleb2 file, so the pair is the clip's folder, which all versions share.

To get it: EULA form at deepfakes1m.github.io/2024 and /2025, gated on Hugging Face; repository CC BY-NC 4.0.
Protocol: train/val as given; test labels are on the challenge's server. Metrics: AUC of the clip; AP at IoU .5, .75,
.9, .95 and AR at 50, 30, 20, 10, 5 proposals (PyPI avdeepfake1m).
"""

from __future__ import annotations

import json
import re
from math import nan
from pathlib import Path

from training.datasets.record import Record, keep_present

LABELLED = ("train", "val")
UNLABELLED = ("test", "testA", "testB")
LABELS = {  # modify_type: video_fake, audio_fake
    "real": (0.0, 0.0), "visual_modified": (1.0, 0.0), "audio_modified": (0.0, 1.0), "both_modified": (1.0, 1.0),
}
MOUTHS = "talklip"  # the only lip-sync model of the first release, which has no field for it


def read_av_deepfake1m(root: Path) -> list[Record]:
    """Raises: FileNotFoundError; ValueError for an unknown modify_type."""
    records = [_labelled(row, split, _folder(root, split)) for split in LABELLED for row in _rows(root, split)]
    for split in UNLABELLED:
        if (names := root / f"{split}_files.txt").is_file():
            files = filter(None, map(str.strip, names.read_text(encoding="utf-8").splitlines()))
            records += [Record(file=f"{_folder(root, split)}/{file}", dataset="av_deepfake1m", split=split,
                               video_fake=nan, audio_fake=nan) for file in files]
    if not records:
        raise FileNotFoundError(f"{root} does not look like AV-Deepfake1M: expected train_metadata.json, "
                                "val_metadata.json, their folders, or test_files.txt in it")
    return keep_present(records, root)


def _rows(root: Path, split: str) -> list[dict]:
    if (table := root / f"{split}_metadata.json").is_file():
        return json.loads(table.read_text(encoding="utf-8"))
    own = root / f"{split}_metadata"
    own = own if own.is_dir() else root / _folder(root, split)
    return [{"file": path.relative_to(own).with_suffix(".mp4").as_posix(), **json.loads(path.read_text("utf-8"))}
            for path in sorted(own.rglob("*.json"))]


def _folder(root: Path, split: str) -> str:
    return f"{split}/{split}" if (root / split / split).is_dir() else split


def _labelled(row: dict, split: str, folder: str) -> Record:
    file, kind = row["file"], row["modify_type"].replace("-", "_")
    if kind not in LABELS:
        raise ValueError(f"{file}: unknown modify_type {row['modify_type']!r}; known are {', '.join(LABELS)}")
    video_fake, audio_fake = LABELS[kind]
    models = [(row.get("video_model") or MOUTHS).lower()] if video_fake else []
    models += [(row.get("audio_model") or "").lower()] if audio_fake else []
    segments = (("video", row.get("visual_fake_segments")), ("audio", row.get("audio_fake_segments")))
    identity, source = _origin(file)
    return Record(
        file=f"{folder}/{file}", dataset="av_deepfake1m", split=split,
        family="lip_sync" if video_fake else "dubbed_speech" if audio_fake else "real",
        method="+".join(filter(None, models)), source=source, identities=(identity,), pair=Path(file).parent.as_posix(),
        video_fake=video_fake, audio_fake=nan if row.get("audio_frames") == 0 else audio_fake,
        spans=tuple((name, float(start_s), float(end_s)) for name, found in segments for start_s, end_s in found or ()),
    )


def _origin(file: str) -> tuple[str, str]:
    """(identity, source): the speaker and the page where known."""
    *_, page, _, _ = ("", "", *Path(file).parts)
    if speaker := re.search(r"\bid\d{5}\b", file):
        return speaker[0], page
    if subject := re.match(r"silent_videos/(subject_\d+)", file):
        return subject[1], page  # "silent_videos"
    return page, page  # LRS3 knows its pages, not its speakers
