"""FakeAVCeleb v1.2 (Khalid et al., NeurIPS 2021 data sets): 500 genuine and 21,044 fake clips of 500 celebrities.

ROOT (FakeAVCeleb_v1.2) holds meta_data.csv and
    {RealVideo,FakeVideo}-{RealAudio,FakeAudio}/RACE/{men,women}/idXXXXX/*.mp4
Columns: source,target1,target2,method,category,type,race,gender,path and a tenth without a name, the clip's folder,
spelt from FakeAVCeleb/ on, whatever the folder on disk is called. 22 files have two rows. `source` is the person of
the genuine clip (one clip a person); names of fakes such as 00109_id01995_YUR9wTypwIo_id01691_wavtolip.mp4 name
people that no column does. The ids are those of VoxCeleb2.

To get it: Google form in github.com/DASH-Lab/FakeAVCeleb; the data stay under the form's terms.
Protocols: none official. By source 70/30 (AVH-Align), five subject-independent folds of 2,000 (MRDF); splitting by
source alone leaves nine of ten people on both sides as targets. splits.split_identities gives whole groups of race and
gender to a split, since faces are swapped within them; with keep_groups=False every split has all groups and the clips
between splits, nearly half, are dropped.
Metrics: AUC, accuracy and average precision, also per category.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from training.datasets.record import Record, find_first, keep_present, whole_spans

COLUMNS = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "name", "folder")
FAMILIES = {
    "real": "real", "rtvc": "dubbed_speech", "wav2lip": "lip_sync", "fsgan": "face_swap", "faceswap": "face_swap",
    "fsgan-wav2lip": "face_swap", "faceswap-wav2lip": "face_swap",
}
PERSON = re.compile(r"id\d{5}")


def read_fakeavceleb(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    if (root / "meta_data.xlsx").is_file() and not (root / "meta_data.csv").is_file():
        raise FileNotFoundError(f"{root} has meta_data.xlsx only: save it as meta_data.csv beside it (comma-separated)")
    table = find_first(root, ("meta_data.csv",), "FakeAVCeleb")
    races = {_plain(path.name): path.name for path in root.glob("*Video-*Audio/*")}
    with open(table, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))[1:]
    return keep_present([_record(dict(zip(COLUMNS, row)), races) for row in rows if row], root)


def _plain(race: str) -> str:
    """Copies spell the folders "Asian (East)" or "Asian_East"."""
    return "_".join(re.findall(r"\w+", race))


def _record(row: dict[str, str], races: dict[str, str]) -> Record:
    _, kind, race, *rest = row["folder"].strip("/").split("/")
    video_fake, audio_fake = float("FakeVideo" in kind), float("FakeAudio" in kind)
    people = PERSON.findall(" ".join((row["source"], row["target1"], row["target2"], row["name"])))
    return Record(
        file="/".join((kind, races.get(_plain(race), race), *rest, row["name"])), dataset="fakeavceleb",
        family=FAMILIES.get(row["method"], ""), method="" if row["method"] == "real" else row["method"],
        source=f"{_plain(race)}/{row['gender']}", identities=tuple(dict.fromkeys(people)), pair=row["source"],
        video_fake=video_fake, audio_fake=audio_fake, spans=whole_spans(video_fake, audio_fake),
    )
